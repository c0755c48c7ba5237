use clock::Instant;

use super::dump::DumpError;
use super::recording::Playback;
use super::synthetic::{Schedule, clock_rate};
use crate::plan::{Codec, Medium};

/// Plays one medium of one publisher.
///
/// Until the first [`poll`](Self::poll) the deadline has passed: the stream begins with it, at a phase of its own.
#[derive(Debug)]
pub struct Player(Kind);

#[derive(Debug)]
enum Kind {
    Synthetic(Box<Schedule>),
    Recorded(Box<Playback>),
}

/// A packet that is to be sent now. RTP header, sequence number, extensions and SRTP are the sender's.
#[derive(Clone, Copy, Debug)]
pub struct Outgoing<'a> {
    /// What follows the RTP header.
    pub payload: &'a [u8],
    /// The marker bit: the frame ends here.
    pub marker: bool,
    /// The RTP timestamp.
    pub timestamp: u32,
    /// The packet is part of a key frame, of which a recording knows only the start.
    pub is_key_frame: bool,
}

/// Why a medium can't be played.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Packets would not have room for codec headers and our stamp, or not fit into an Ethernet frame.
    #[error("packets of {bytes} bytes: from {least} to {most} are possible")]
    PacketBytes {
        /// What was asked for, RTP header included.
        bytes: u16,
        /// The smallest possible.
        least: u16,
        /// The largest possible.
        most: u16,
    },
    /// No stream has such a rate.
    #[error("{0} frames per second are not possible")]
    Rate(f64),
    /// No frame has so many packets.
    #[error("{0} packets per frame are not possible")]
    PacketsPerFrame(f64),
    /// A recording can't be used.
    #[error("recording {path} can't be played")]
    Recording {
        /// The file.
        path: std::path::PathBuf,
        /// Why.
        source: DumpError,
    },
}

impl Player {
    /// A player that has not begun. Everything random about it is drawn from `seed`, which also names the stream.
    ///
    /// # Errors
    /// When the medium makes no sense, or its recording can't be read.
    pub fn new(medium: &Medium, seed: u64) -> Result<Self, Error> {
        Ok(Self(match medium {
            Medium::Synthetic(synthetic) => {
                Kind::Synthetic(Box::new(Schedule::new(synthetic, seed)?))
            }
            Medium::Recorded { path, codec } => {
                Kind::Recorded(Box::new(Playback::open(path, *codec, seed)?))
            }
        }))
    }

    /// What the payloads are.
    pub fn codec(&self) -> Codec {
        match &self.0 {
            Kind::Synthetic(schedule) => schedule.codec(),
            Kind::Recorded(playback) => playback.codec(),
        }
    }

    /// Ticks of the RTP timestamp a second.
    pub fn clock_rate(&self) -> u32 {
        clock_rate(self.codec())
    }

    /// When the next packet is due.
    pub fn deadline(&self) -> Instant {
        match &self.0 {
            Kind::Synthetic(schedule) => schedule.deadline(),
            Kind::Recorded(playback) => playback.deadline(),
        }
    }

    /// Hands out every packet that is due, in the order in which they are to be sent. `now` is stamped on them, so it should be
    /// as fresh as the caller can afford.
    pub fn poll(&mut self, now: Instant, send: &mut impl FnMut(Outgoing<'_>)) {
        match &mut self.0 {
            Kind::Synthetic(schedule) => schedule.poll(now, send),
            Kind::Recorded(playback) => playback.poll(now, send),
        }
    }

    /// The next frame is to be a key frame, as after a PLI (RFC 4585 §6.3.1). A recording goes on as it is.
    pub fn want_key_frame(&mut self) {
        if let Kind::Synthetic(schedule) = &mut self.0 {
            schedule.want_key_frame();
        }
    }

    /// The RTP timestamp that belongs to `now`, for sender reports (RFC 3550 §6.4.1).
    pub fn timestamp_at(&self, now: Instant) -> u32 {
        match &self.0 {
            Kind::Synthetic(schedule) => schedule.timestamp_at(now),
            Kind::Recorded(playback) => playback.timestamp_at(now),
        }
    }

    /// Frames (of a recording: packets) that were left out because the player was polled far too late.
    pub fn skipped(&self) -> u64 {
        match &self.0 {
            Kind::Synthetic(schedule) => schedule.skipped(),
            Kind::Recorded(playback) => playback.skipped(),
        }
    }
}
