//! The stages of the path, in the order in which a packet passes them. Each is a function over a batch.
//!
//! What is rewritten is protected in the same turn; what has to wait for its time (`pace.rs`) waits before that, so that its
//! numbers follow those of what left in between.

pub(crate) mod ahead;
pub(crate) mod block;
pub(crate) mod classify;
pub(crate) mod ingest;
pub(crate) mod layered;
pub(crate) mod level;
pub(crate) mod pace;
pub(crate) mod protect;
pub(crate) mod queue;
pub(crate) mod rewrite;
pub(crate) mod rewritten;
pub(crate) mod route;
pub(crate) mod unprotect;

use clock::Instant;
use packet::{Datagram, SlotId};
use proto::rtp::Header;

/// A datagram of a transport that is still protected.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrived {
    pub(crate) datagram: Datagram,
    /// Key.
    pub(crate) transport: u32,
    pub(crate) is_rtcp: bool,
}

/// An authentic, decrypted packet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plain {
    pub(crate) slot: SlotId,
    /// Where it lies in the slot.
    pub(crate) start: u16,
    pub(crate) end: u16,
    /// Key.
    pub(crate) transport: u32,
    pub(crate) arrival: Instant,
    /// Of RTP; `None` for RTCP.
    pub(crate) header: Option<Header>,
}

/// Packets of one encoding, in a row in the queue, for one subscriber.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run {
    /// Key of the outgoing RTP stream.
    pub(crate) outgoing: u32,
    /// Place of the first packet.
    pub(crate) first: u32,
    pub(crate) count: u32,
    /// Place of the next run for the same transport, unless it is the last.
    pub(crate) next: u32,
    /// One packet, to be sent again as RTX on request for this sequence number of the outgoing RTP stream.
    pub(crate) retransmission: Option<u16>,
}
