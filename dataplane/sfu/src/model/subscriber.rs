//! A subscriber and its outgoing RTP streams.

use clock::{Duration, Instant, NtpTime, Rng};
use proto::rtp::sequence::timestamp_distance;
use proto::rtp::{ExtensionMap, Rewriter, Uri};

use super::Medium;
use super::layers::{Layers, Places, Room};
use super::observed::Observed;
use crate::api::{Kind, LayerLimit, PayloadType, PublisherId, SubscriberId};
use crate::ceiling::Ceiling;
use crate::path::block::Block;
use crate::playout::Hold;
use crate::redundancy;

/// Retransmissions that are remembered per RTP stream, so that none is repeated within a round trip.
const RESENT: usize = 64;
/// A retransmission is not repeated sooner than this, however short the round trip.
const RESEND_INTERVAL_MIN: Duration = Duration::from_millis(20);
/// Retransmissions may take this part of what media takes.
const RESEND_SHARE: u64 = 4;
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
// What every packet needs comes first, so that it shares few cache lines.
#[repr(C, align(64))]
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(crate) ssrc: u32,
    pub(crate) transport: u32,
    /// [`Encoding::source`](super::Encoding) that the rewriter follows.
    pub(crate) source: Option<u32>,
    pub(crate) kind: Kind,
    pub(crate) stance: Stance,
    /// The publisher's payload type that came last, and ours for it.
    last_codec: Option<(u8, u8)>,
    pub(crate) sent: Sent,
    /// The extension block of packets with nothing to pass on; `None` if it is too long for that.
    pub(crate) extensions: Option<Block>,
    pub(crate) rewriter: Rewriter,
    // From here on what few packets need.
    pub(crate) rtx: Option<Box<Rtx>>,
    /// Key of the medium that it copies.
    pub(crate) medium: Option<u32>,
    /// Its place among the listeners of that.
    pub(crate) listens_at: u32,
    /// What is forwarded of the medium, if that is not simply all of it.
    pub(crate) layers: Option<Box<Layers>>,
    /// The newest packet that was passed over while waiting: its source and its number there.
    pub(crate) passed_over: Option<(u32, u64)>,
    /// The last sender report: the middle of its NTP time, and when it left.
    pub(crate) reported: Option<(u32, Instant)>,
    /// For statistics.
    pub(crate) observed: Observed,
    pub(crate) described: Box<Described>,
}

/// What decides about the next packet of an RTP stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stance {
    /// It is forwarded if it is of the same source as those before.
    Following,
    /// Only a key frame is.
    Awaiting,
    /// As [`Stance::Following`], without what a packet of sound repeats of others.
    Plain,
    /// [`Outgoing::layers`].
    Layered,
}

impl Stance {
    /// What it takes to begin.
    fn starting(kind: Kind) -> Self {
        match kind {
            Kind::Audio => Self::Following,
            Kind::Video => Self::Awaiting,
        }
    }
}

/// An RTP stream as it was negotiated.
#[derive(Debug)]
pub(crate) struct Described {
    pub(crate) mid: Box<[u8]>,
    pub(crate) cname: Box<[u8]>,
    /// The publisher's payload type, and ours.
    pub(crate) codecs: Vec<(u8, PayloadType)>,
    pub(crate) extensions: ExtensionMap,
    /// How much of a picture is sent at most, in bit/s.
    pub(crate) bandwidth_max: Option<u64>,
    /// How long its pictures are held back, if that was ever longer than usual.
    pub(crate) hold: Option<Hold>,
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
    /// By place of the index: its lower bits, and when it was sent again, the lower bits of milliseconds. A mistake after 65 s or
    /// 65 536 packets costs one retransmission.
    resent: [(u16, u16); RESENT],
    /// Which of those were asked for, by place, a bit each.
    asked: u64,
    /// Bytes that may be sent.
    allowance: u64,
    /// Octets of media that the allowance has grown with.
    earned: u32,
}

impl Rtx {
    /// `next` is the first index; it is random for a new SSRC.
    pub(crate) fn new(ssrc: u32, next: u64) -> Self {
        Self {
            ssrc,
            next,
            sent: Sent::default(),
            // Nothing that belongs into its place.
            resent: core::array::from_fn(|place| (place as u16 + 1, 0)),
            asked: 0,
            allowance: RESEND_BYTES_MAX,
            earned: 0,
        }
    }

    /// The packet with this index is sent again without having been asked for. Whether it was not just before.
    pub(crate) fn probe_with(&mut self, index: u64, rtt: Duration, now: Instant) -> bool {
        let now_ms = now.as_millis() as u16;
        let (last_index, last) = &mut self.resent[(index % RESENT as u64) as usize];
        let interval = rtt.max(RESEND_INTERVAL_MIN).as_millis();
        let is_again = *last_index == index as u16;
        if is_again && u128::from(now_ms.wrapping_sub(*last)) < interval {
            return false;
        }
        (*last_index, *last) = (index as u16, now_ms);
        if !is_again {
            self.asked &= !(1 << (index % RESENT as u64));
        }
        true
    }

    /// How often the packet with this index may be sent again now; it then counts as sent. `media` is how many octets of media
    /// were sent so far, which allow for more. Who asks once more has lost the answer, or we the request: it is late, and a third
    /// time would be too late for most, so the second answer goes twice. Where much gets lost (`is_lossy`) each goes once more,
    /// for then it is the lost answers that stop the picture.
    pub(crate) fn spend(
        &mut self,
        index: u64,
        bytes: usize,
        media: u32,
        is_lossy: bool,
        (rtt, now): (Duration, Instant),
    ) -> u8 {
        let earned = u64::from(media.wrapping_sub(self.earned)) / RESEND_SHARE;
        self.allowance = RESEND_BYTES_MAX.min(self.allowance + earned);
        self.earned = media;
        let now_ms = now.as_millis() as u16;
        let (last_index, last) = &mut self.resent[(index % RESENT as u64) as usize];
        let interval = rtt.max(RESEND_INTERVAL_MIN).as_millis();
        let is_again = *last_index == index as u16;
        let recently = is_again && u128::from(now_ms.wrapping_sub(*last)) < interval;
        // What was sent to fill a probe was no answer.
        let place = 1 << (index % RESENT as u64);
        let was_asked = is_again && self.asked & place != 0;
        let copies = 1 + u8::from(was_asked) + u8::from(is_lossy);
        if recently || self.allowance < u64::from(copies) * bytes as u64 {
            return 0;
        }
        self.allowance -= u64::from(copies) * bytes as u64;
        (*last_index, *last) = (index as u16, now_ms);
        self.asked |= place;
        copies
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

    /// The packet that was counted last did not leave.
    pub(crate) fn uncount(&mut self, octets: usize) {
        self.packets = self.packets.wrapping_sub(1);
        self.octets = self.octets.wrapping_sub(octets as u32);
    }
}

impl Outgoing {
    /// How many of its bytes nearly every packet needs: all up to the older segments of the rewriter.
    pub(crate) const HOT_BYTES: usize = 320;

    /// An RTP stream without a medium. `first_timestamp` is what its timestamps begin with.
    pub(crate) fn new(
        (transport, ssrc, kind): (u32, u32, Kind),
        described: Described,
        rewriter: Rewriter,
        rtx: Option<Rtx>,
        first_timestamp: u32,
    ) -> Self {
        let extensions = Block::new(&described, false);
        Self {
            ssrc,
            transport,
            source: None,
            kind,
            stance: Stance::starting(kind),
            last_codec: None,
            sent: Sent {
                timestamp: first_timestamp,
                ..Sent::default()
            },
            extensions,
            rewriter,
            rtx: rtx.map(Box::new),
            medium: None,
            listens_at: 0,
            layers: None,
            passed_over: None,
            reported: None,
            observed: Observed::default(),
            described: Box::new(described),
        }
    }

    /// What the block is made of has changed; packets `are_numbered` or not, if the peer wants that.
    pub(crate) fn rebuild_extensions(&mut self, are_numbered: bool) {
        let are_numbered = are_numbered && self.is_counted();
        self.extensions = Block::new(&self.described, are_numbered);
    }

    /// Whether the peer wants transport-wide numbers in its packets. Numbers that it never sees would count as lost.
    pub(crate) fn is_counted(&self) -> bool {
        self.described.extensions.id(Uri::TransportCc).is_some()
    }

    /// Our payload type for one of the publisher's.
    pub(crate) fn payload_type(&mut self, theirs: u8) -> Option<u8> {
        match self.last_codec {
            Some((last, ours)) if last == theirs => Some(ours),
            _ => {
                let ours = self.codec(theirs)?.payload_type;
                self.last_codec = Some((theirs, ours));
                Some(ours)
            }
        }
    }

    /// Begins with a medium. `is_lossy` says whether packets get lost on the way. Returns which of its encodings it wants.
    pub(crate) fn begin(&mut self, key: u32, medium: &Medium, is_lossy: bool) -> Places {
        self.medium = Some(key);
        let before = self.layers.take();
        let wish = before
            .as_ref()
            .map_or(LayerLimit::NONE, |layers| layers.wish);
        let ceiling = self.described.bandwidth_max.map(Ceiling::new);
        if !medium.has_layers() && wish == LayerLimit::NONE && ceiling.is_none() {
            self.stance = match self.kind {
                Kind::Audio => redundancy::stance(self, medium, is_lossy),
                Kind::Video => Stance::Awaiting,
            };
            return medium.places();
        }
        self.stance = Stance::Layered;
        let mut layers = Box::new(Layers::new(wish));
        layers.ceiling = ceiling.map(Box::new);
        layers.set_room(before.map_or(Room::Unknown, |layers| layers.room));
        layers.aim(medium.arriving);
        let wants = layers.wants(medium.arriving);
        self.rewriter.make_room();
        self.layers = Some(layers);
        wants
    }

    /// Follows another source from the packet with these numbers on. The medium's clock runs on meanwhile.
    pub(crate) fn switch(
        &mut self,
        source: u32,
        sequence: u64,
        timestamp: u32,
        clock_rate: u32,
        now: Instant,
    ) {
        let continued = self.continued(clock_rate, now);
        self.follow(source, sequence, timestamp, continued);
    }

    /// The timestamp of now, by when the last packet left.
    pub(crate) fn continued(&self, clock_rate: u32, now: Instant) -> u32 {
        let passed = self.sent.at.map_or(0, |last| {
            let units = (now - last).as_nanos() * u128::from(clock_rate) / 1_000_000_000;
            // Two pictures never share a timestamp, even if they leave in the same turn.
            (units as u32).max(1)
        });
        self.sent.timestamp.wrapping_add(passed)
    }

    /// The same as [`Outgoing::switch`], with `continued` for a first timestamp.
    pub(crate) fn follow(&mut self, source: u32, sequence: u64, timestamp: u32, continued: u32) {
        self.rewriter.switch(source, sequence, timestamp, continued);
        self.source = Some(source);
        if self.stance == Stance::Awaiting {
            self.stance = Stance::Following;
        }
        // Sender reports of the old source say nothing about the new one.
        self.reported = None;
    }

    /// Our codec for one of the publisher's payload types.
    pub(crate) fn codec(&self, payload_type: u8) -> Option<&PayloadType> {
        self.described
            .codecs
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

    /// Looks at what was sent, for statistics.
    pub(crate) fn observe(&mut self, now: Instant) {
        let resent = self.rtx.as_ref().map_or(0, |rtx| rtx.sent.octets);
        let octets = self.sent.octets.wrapping_add(resent);
        self.observed.count(octets, now);
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
        assert_eq!(
            rtx.spend(7, 1_000, 0, false, (rtt, Instant::from_millis(0))),
            1
        );
        assert_eq!(
            rtx.spend(7, 1_000, 0, false, (rtt, Instant::from_millis(49))),
            0
        );
        assert_eq!(
            rtx.spend(7, 1_000, 0, false, (rtt, Instant::from_millis(50))),
            2
        );
        let later = Instant::from_millis(60);
        let granted = (100..200)
            .filter(|index| rtx.spend(*index, 1_000, 0, false, (rtt, later)) == 1)
            .count();
        assert_eq!(granted, (RESEND_BYTES_MAX as usize - 3_000) / 1_000);
        assert_eq!(rtx.spend(300, 1_000, 4_000, false, (rtt, later)), 1);
        assert_eq!(rtx.spend(301, 1_000, 4_000, false, (rtt, later)), 0);
        // Each goes once more where much gets lost, if there is room.
        let mut rtx = Rtx::new(1, 0);
        let mut spend = |millis| rtx.spend(7, 1_000, 0, true, (rtt, Instant::from_millis(millis)));
        assert_eq!((spend(0), spend(49), spend(50)), (2, 0, 3));
    }

    #[test]
    fn what_filled_a_probe_was_no_answer() {
        let mut rtx = Rtx::new(1, 0);
        let rtt = Duration::from_millis(50);
        let at = Instant::from_millis;
        assert!(rtx.probe_with(7, rtt, at(0)));
        assert_eq!(rtx.spend(7, 1_000, 0, false, (rtt, at(60))), 1);
        assert_eq!(rtx.spend(7, 1_000, 0, false, (rtt, at(120))), 2);
        // Nor does it make one forgotten; another packet in its place does.
        assert!(rtx.probe_with(7, rtt, at(180)));
        assert_eq!(rtx.spend(7, 1_000, 0, false, (rtt, at(240))), 2);
        let other = 7 + RESENT as u64;
        assert!(rtx.probe_with(other, rtt, at(300)));
        assert_eq!(rtx.spend(other, 1_000, 0, false, (rtt, at(360))), 1);
    }

    #[test]
    fn what_every_packet_needs_lies_together() {
        let older = core::mem::offset_of!(Outgoing, rewriter) + 72 + 128;
        assert!(older <= Outgoing::HOT_BYTES, "{older} bytes");
    }
}
