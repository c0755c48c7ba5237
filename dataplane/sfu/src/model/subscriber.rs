//! A subscriber and its outgoing RTP streams.

use clock::{Duration, Instant, NtpTime, Rng};
use proto::rtp::sequence::timestamp_distance;
use proto::rtp::{ExtensionMap, Rewriter};

use crate::api::{Kind, PayloadType, PublisherId, SubscriberId};

/// Retransmissions that are remembered per RTP stream, so that none is repeated within a round trip.
const RESENT: usize = 128;
/// A retransmission is not repeated sooner than this, however short the round trip.
const RESEND_INTERVAL_MIN: Duration = Duration::from_millis(20);
/// Retransmissions may take this part of what media takes.
const RESEND_SHARE: u64 = 3;
/// Bytes of retransmissions that may be saved up, and that a new RTP stream starts with.
const RESEND_BYTES_MAX: u64 = 64 << 10;

/// Someone who gets a copy.
#[derive(Debug)]
pub(crate) struct Subscriber {
    pub(crate) id: SubscriberId,
    pub(crate) transport: u32,
    pub(crate) publisher: PublisherId,
    /// Keys of its RTP streams, in the order of its description.
    pub(crate) outgoing: Vec<u32>,
}

/// An RTP stream that we send, with the one for its retransmissions.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(crate) kind: Kind,
    pub(crate) transport: u32,
    /// Key of the medium that it copies.
    pub(crate) medium: Option<u32>,
    pub(crate) mid: Box<[u8]>,
    pub(crate) ssrc: u32,
    pub(crate) cname: Box<[u8]>,
    /// The publisher's payload type, and ours.
    pub(crate) codecs: Vec<(u8, PayloadType)>,
    pub(crate) extensions: ExtensionMap,
    pub(crate) rewriter: Rewriter,
    /// [`Encoding::source`](super::Encoding) that the rewriter follows.
    pub(crate) source: Option<u32>,
    pub(crate) awaiting_key_frame: bool,
    /// The newest packet that was passed over while waiting: its source and its number there.
    pub(crate) passed_over: Option<(u32, u64)>,
    pub(crate) sent: Sent,
    pub(crate) rtx: Option<Rtx>,
    /// The last sender report: the middle of its NTP time, and when it left.
    pub(crate) reported: Option<(u32, Instant)>,
}

/// What was sent in an RTP stream.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sent {
    pub(crate) packets: u32,
    pub(crate) octets: u32,
    /// Timestamp of the newest packet, and when it left; before that the first timestamp to use.
    pub(crate) timestamp: u32,
    pub(crate) at: Option<Instant>,
}

/// Retransmissions of one RTP stream (RFC 4588).
#[derive(Debug)]
pub(crate) struct Rtx {
    pub(crate) ssrc: u32,
    /// Index of the next packet.
    pub(crate) next: u64,
    pub(crate) sent: Sent,
    resent: Box<[(u64, Instant)]>,
    allowance: u64,
}

impl Rtx {
    /// `next` is the first index; it is random for a new SSRC.
    pub(crate) fn new(ssrc: u32, next: u64) -> Self {
        Self {
            ssrc,
            next,
            sent: Sent::default(),
            resent: vec![(u64::MAX, Instant::ZERO); RESENT].into_boxed_slice(),
            allowance: RESEND_BYTES_MAX,
        }
    }

    /// Media of so many bytes was sent, which allows for more retransmissions.
    pub(crate) fn earn(&mut self, bytes: usize) {
        self.allowance = RESEND_BYTES_MAX.min(self.allowance + bytes as u64 / RESEND_SHARE);
    }

    /// Whether the packet with this index may be sent again now; it then counts as sent.
    pub(crate) fn spend(&mut self, index: u64, bytes: usize, rtt: Duration, now: Instant) -> bool {
        let (last_index, last) = &mut self.resent[(index % RESENT as u64) as usize];
        let recently = *last_index == index && now - *last < rtt.max(RESEND_INTERVAL_MIN);
        if recently || self.allowance < bytes as u64 {
            return false;
        }
        self.allowance -= bytes as u64;
        (*last_index, *last) = (index, now);
        true
    }
}

impl Sent {
    pub(crate) fn count(&mut self, octets: usize, timestamp: u32, now: Instant) {
        self.packets = self.packets.wrapping_add(1);
        self.octets = self.octets.wrapping_add(octets as u32);
        let is_newer = timestamp_distance(self.timestamp, timestamp) >= 0;
        if is_newer || self.at.is_none() {
            self.timestamp = timestamp;
            self.at = Some(now);
        }
    }
}

impl Outgoing {
    /// Follows another source from the packet with these numbers on. The medium's clock runs on meanwhile.
    pub(crate) fn switch(
        &mut self,
        source: u32,
        sequence: u64,
        timestamp: u32,
        clock_rate: u32,
        now: Instant,
    ) {
        let passed = self.sent.at.map_or(0, |last| {
            let units = (now - last).as_nanos() * u128::from(clock_rate) / 1_000_000_000;
            // Two pictures never share a timestamp, even if they leave in the same turn.
            (units as u32).max(1)
        });
        let continued = self.sent.timestamp.wrapping_add(passed);
        self.rewriter.switch(source, sequence, timestamp, continued);
        self.source = Some(source);
        self.awaiting_key_frame = false;
        // Sender reports of the old source say nothing about the new one.
        self.reported = None;
    }

    /// Our payload type for one of the publisher's.
    pub(crate) fn codec(&self, payload_type: u8) -> Option<&PayloadType> {
        self.codecs
            .iter()
            .find(|(theirs, _)| *theirs == payload_type)
            .map(|(_, ours)| ours)
    }

    /// The round trip, from a reception report of the peer that names our last sender report (RFC 3550 §6.4.1).
    pub(crate) fn round_trip(
        &self,
        last_sender_report: u32,
        delay: u32,
        now: Instant,
    ) -> Option<Duration> {
        let (reported, at) = self.reported?;
        let delay = Duration::from_nanos(u64::from(delay) * 1_000_000_000 / 65_536);
        (last_sender_report != 0 && reported == last_sender_report)
            .then(|| (now - at).saturating_sub(delay))
    }

    /// A sender report with this NTP time leaves now.
    pub(crate) fn on_reported(&mut self, ntp: NtpTime, now: Instant) {
        self.reported = Some((ntp.middle_bits(), now));
    }
}

/// A first RTX sequence number: random, and low enough that a loss is not taken for a wrap (RFC 3711 §3.3.1).
pub(crate) fn first_index(rng: &mut Rng) -> u64 {
    rng.below(1 << 15)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retransmissions_are_bounded_in_rate_and_repetition() {
        let mut rtx = Rtx::new(1, 0);
        let rtt = Duration::from_millis(50);
        assert!(rtx.spend(7, 1_000, rtt, Instant::from_millis(0)));
        assert!(!rtx.spend(7, 1_000, rtt, Instant::from_millis(49)));
        assert!(rtx.spend(7, 1_000, rtt, Instant::from_millis(50)));
        let later = Instant::from_millis(60);
        let granted = (100..200)
            .filter(|index| rtx.spend(*index, 1_000, rtt, later))
            .count();
        assert_eq!(granted, (RESEND_BYTES_MAX as usize - 2_000) / 1_000);
        rtx.earn(3_000);
        assert!(rtx.spend(300, 1_000, rtt, later));
    }
}
