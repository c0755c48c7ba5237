//! One ICE + DTLS + SRTP association.

use core::mem::offset_of;

use clock::{Duration, Instant, NtpTime};
use proto::bwe::Leg;
use proto::ice::lite::{Lite, MAX_CANDIDATES};
use proto::rtp::ExtensionMap;
use proto::srtp::{Inbound, OutboundRtcp};
use proto::twcc::FeedbackGenerator;

use super::Path;
use super::publisher::Role;
use crate::api::TransportId;
use crate::budget::Downlink;
use crate::pacer::Pacer;
use crate::standing::Standing;

/// Most RTP streams that a peer may send on one transport.
pub(crate) const SOURCES_MAX: usize = 64;
/// Most SSRCs of removed subscribers whose numbers are remembered.
const RETIRED_MAX: usize = 1024;
/// The round trip until one was measured.
const ROUND_TRIP_DEFAULT: Duration = Duration::from_millis(100);

/// A transport and everything that hangs on it.
// What every packet of a publisher needs comes first, so that it can be fetched together.
#[repr(C)]
#[derive(Debug)]
pub(crate) struct Transport {
    pub(crate) inbound: Option<Inbound>,
    pub(crate) feedback: Option<FeedbackGenerator>,
    pub(crate) sources: Vec<Source>,
    /// Any RTP stream of those that the feedback is about.
    pub(crate) feedback_ssrc: u32,
    /// Of everything published here: ids mean the same in all sections of a BUNDLE (RFC 9143 §7.1).
    pub(crate) extensions: ExtensionMap,
    // From here on what few packets need.
    pub(crate) id: TransportId,
    pub(crate) local_ufrag: Box<[u8]>,
    /// Of before the last restart of ICE; it may be known for longer than it is taken.
    pub(crate) former_ufrag: Option<Box<[u8]>>,
    pub(crate) ice: Lite,
    /// For RTCP; what protects media is found at the exit.
    pub(crate) outbound: Option<OutboundRtcp>,
    /// Where media may go.
    pub(crate) selected: Option<Path>,
    /// Where DTLS came from last.
    pub(crate) handshake: Option<Path>,
    /// Our address that the peer uses, by the peer's address.
    pub(crate) paths: Vec<Path>,
    /// The SSRC of our own RTCP when we send no media.
    pub(crate) ssrc: u32,
    /// Keys.
    pub(crate) publishers: Vec<u32>,
    /// Keys.
    pub(crate) subscribers: Vec<u32>,
    /// Keys of all RTP streams that leave here.
    pub(crate) outgoing: Vec<u32>,
    pub(crate) reports_due: Instant,
    pub(crate) remb: Remb,
    /// Key.
    pub(crate) connection: u32,
    pub(crate) downlink: Downlink,
    /// Where what is sent is numbered for transport-wide feedback.
    pub(crate) numbered: Option<Box<Numbered>>,
    pub(crate) round_trip: Option<Duration>,
    /// The peer misses packets, or did not long before; until then.
    pub(crate) lossy_until: Option<Instant>,
    /// The next index of SSRCs that were in use: they continue, for a packet index never returns.
    pub(crate) retired: Vec<(u32, u64)>,
    pub(crate) standing: Standing,
    /// Handshake datagrams taken from it: since when, how many.
    pub(crate) dtls_lately: (Instant, u8),
    /// A receiver's clock that is to be answered (RFC 3611 §4.4): SSRC, its time, arrival.
    pub(crate) reference_time: Option<(u32, NtpTime, Instant)>,
}

/// What is sent on a transport, counted by transport-wide feedback, and what waits to be.
#[derive(Debug)]
pub(crate) struct Numbered {
    pub(crate) leg: Leg,
    pub(crate) pacer: Pacer,
    /// Since when something is sent.
    pub(crate) since: Option<Instant>,
}

/// An RTP stream of the peer, and what it was found to be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Source {
    pub(crate) ssrc: u32,
    pub(crate) encoding: u32,
    pub(crate) role: Role,
}

/// What we last told a publisher: one without transport-wide feedback, or one that may not send as much as the path carries.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Remb {
    pub(crate) due: Option<Instant>,
    pub(crate) bits_per_second: u64,
    /// The most that the peer may send in all, in bit/s.
    pub(crate) ceiling: Option<u64>,
}

/// How far a transport has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// No address is proven.
    New,
    /// An address is proven, and there are no keys.
    Connecting,
    /// Media may flow.
    Connected,
}

impl Transport {
    /// How many of its bytes nearly every packet that arrives needs.
    pub(crate) const HOT_BYTES: usize = offset_of!(Transport, id);

    pub(crate) fn state(&self) -> State {
        match (self.selected, &self.outbound) {
            (None, _) => State::New,
            (Some(_), None) => State::Connecting,
            (Some(_), Some(_)) => State::Connected,
        }
    }

    pub(crate) fn round_trip(&self) -> Duration {
        self.measured_round_trip().unwrap_or(ROUND_TRIP_DEFAULT)
    }

    /// By reception reports, else by connectivity checks.
    pub(crate) fn measured_round_trip(&self) -> Option<Duration> {
        self.round_trip.or_else(|| self.ice.rtt())
    }

    /// The path on which `remote` reaches us.
    pub(crate) fn path(&self, remote: std::net::SocketAddr) -> Path {
        let known = self.paths.iter().find(|path| path.remote == remote);
        known.copied().unwrap_or(Path {
            remote,
            local: None,
        })
    }

    /// The peer reached us on this path.
    pub(crate) fn note_path(&mut self, path: Path) {
        match self
            .paths
            .iter_mut()
            .find(|known| known.remote == path.remote)
        {
            Some(known) => *known = path,
            None => {
                // As many as the agent remembers addresses; it says which one it forgot just after this.
                if self.paths.len() > MAX_CANDIDATES {
                    self.paths.remove(0);
                }
                self.paths.push(path);
            }
        }
    }

    /// Where an SSRC goes on, if it was in use here before. That is remembered, for it may go again with nothing sent.
    pub(crate) fn resume(&self, ssrc: u32) -> Option<u64> {
        let mut retired = self.retired.iter();
        retired.find(|(old, _)| *old == ssrc).map(|(_, next)| *next)
    }

    /// Remembers where an SSRC that is no longer in use would go on.
    pub(crate) fn retire(&mut self, ssrc: u32, next: u64) {
        if let Some((_, known)) = self.retired.iter_mut().find(|(old, _)| *old == ssrc) {
            *known = next;
        } else if self.retired.len() < RETIRED_MAX {
            self.retired.push((ssrc, next));
        }
    }
}
