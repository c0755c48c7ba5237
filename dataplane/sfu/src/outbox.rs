//! What the engine itself has to say: STUN, DTLS and protected RTCP, waiting for the next flush.

use packet::Bursts;

use crate::discard::{DropReason, Stage};
use crate::model::Path;
use crate::stats::{Direction, PacketKind, Stats};

/// Bytes that may wait.
const BYTES_MAX: usize = 256 << 10;
/// Messages that may wait.
const MESSAGES_MAX: usize = 2048;

/// Messages and their bytes, end to end.
#[derive(Debug)]
pub(crate) struct Outbox {
    messages: Vec<Message>,
    bytes: Vec<u8>,
}

#[derive(Clone, Copy, Debug)]
struct Message {
    path: Path,
    kind: PacketKind,
    end: usize,
}

impl Outbox {
    pub(crate) fn new() -> Self {
        Self {
            messages: Vec::with_capacity(MESSAGES_MAX),
            bytes: Vec::with_capacity(BYTES_MAX),
        }
    }

    /// Adds a message, or counts a drop when there is no room.
    pub(crate) fn push(&mut self, stats: &mut Stats, path: Path, kind: PacketKind, message: &[u8]) {
        stats.stage_mut(Stage::Control).made += 1;
        if self.messages.len() >= MESSAGES_MAX || self.bytes.len() + message.len() > BYTES_MAX {
            stats.drop_at(Stage::Control, DropReason::QueueFull);
            return;
        }
        stats.stage_mut(Stage::Control).held += 1;
        self.bytes.extend_from_slice(message);
        self.messages.push(Message {
            path,
            kind,
            end: self.bytes.len(),
        });
    }

    /// Moves everything into bursts.
    pub(crate) fn flush(&mut self, stats: &mut Stats, bursts: &mut Bursts) {
        stats.stage_mut(Stage::Control).calls += 1;
        let mut start = 0;
        for message in self.messages.drain(..) {
            let bytes = &self.bytes[start..message.end];
            start = message.end;
            stats.stage_mut(Stage::Control).held -= 1;
            bursts.begin(message.path.remote, message.path.local);
            let Some(room) = bursts.reserve(bytes.len()) else {
                stats.drop_at(Stage::Control, DropReason::NoBurst);
                continue;
            };
            room.copy_from_slice(bytes);
            bursts.commit(bytes.len());
            stats.stage_mut(Stage::Control).packets_out += 1;
            stats.datagram(Direction::Out, message.kind, bytes.len());
        }
        // Media don't continue a run of ours: they may become stale, and this may not.
        bursts.finish();
        self.bytes.clear();
    }
}
