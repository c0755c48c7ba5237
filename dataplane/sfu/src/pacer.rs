//! Lets what is sent to one peer leave evenly, so that a key frame does not fill the queues on its way, and fills up probes.
//!
//! Sound never waits.

use std::collections::VecDeque;

use clock::{Duration, Instant};
use proto::bwe::Probe;

use crate::model::packet::Packet;

/// How much faster than the estimate pictures leave: they come in bursts, and must be gone before the next. Where everybody has
/// what they want the estimate says only what was tried, so what waits waits for little; where the path is too narrow for that
/// every burst queues on it.
const FACTOR: f64 = 5.0;
const FACTOR_NARROW: f64 = 1.5;
/// The same when packets already wait in queues on the way for so long: those must empty first, or what is sent is lost.
const LEVELS: [(Duration, f64); 2] = [
    (Duration::from_millis(80), 0.5),
    (Duration::from_millis(40), 1.0),
];
/// The more waits the faster it leaves, so that hardly anything waits longer than this.
const HOLD_MAX: Duration = Duration::from_millis(400);
/// Packets that may wait; there is memory for so many. The oldest leaves at once when there are more.
const HELD_MAX: usize = 128;
/// Nobody's share of a path is less than this.
const SHARE_MIN: f64 = 0.05;
/// What may leave at once after a silence.
const BURST: Duration = Duration::from_millis(20);
/// A probe that is not complete by then was none: there was too little to send.
const PROBE_MAX: Duration = Duration::from_millis(200);

/// A packet that waits, with a reference to its slot.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Held {
    pub(crate) packet: Packet,
    /// Key of the outgoing RTP stream.
    pub(crate) outgoing: u32,
    /// See [`Run::retransmission`](crate::path::Run).
    pub(crate) retransmission: Option<u16>,
}

/// The packets of one transport that wait, and when they may leave.
#[derive(Debug)]
pub(crate) struct Pacer {
    held: VecDeque<Held>,
    bytes: usize,
    /// Bits per second; endless as long as nothing is known.
    rate: f64,
    /// How much of the path is this transport's.
    share: f64,
    is_narrow: bool,
    /// Bytes that may leave; what left beyond that is owed.
    credit: f64,
    counted: Instant,
    probing: Option<Probing>,
}

/// What was sent of a probe.
#[derive(Clone, Copy, Debug)]
struct Probing {
    probe: Probe,
    begun: Instant,
    packets: u32,
    bytes: u32,
}

impl Pacer {
    /// One that lets everything through. All its memory, some 12 KiB, is taken here.
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            held: VecDeque::with_capacity(HELD_MAX),
            bytes: 0,
            rate: f64::INFINITY,
            share: 1.0,
            is_narrow: false,
            credit: 0.0,
            counted: now,
            probing: None,
        }
    }

    /// The path carries so many bits per second, and packets wait so long on it already.
    pub(crate) fn set_estimate(&mut self, now: Instant, estimate: f64, queueing: Duration) {
        self.count(now);
        let level = LEVELS.iter().find(|(least, _)| queueing >= *least);
        self.rate = estimate
            * match level {
                // Key frames of all transports of a connection seldom come together.
                None if self.is_narrow => FACTOR_NARROW * (1.0 + self.share) / 2.0,
                None => FACTOR * (1.0 + self.share) / 2.0,
                Some((_, factor)) => factor * self.share,
            };
    }

    /// This transport has so much of the path, from zero to one, and the path is or is not too narrow for what is wanted.
    pub(crate) fn set_share(&mut self, share: f64, is_narrow: bool) {
        self.share = share.clamp(SHARE_MIN, 1.0);
        self.is_narrow = is_narrow;
    }

    /// Everything that leaves from now on is part of this probe, until it is complete.
    pub(crate) fn probe(&mut self, now: Instant, probe: Probe) {
        self.count(now);
        self.credit = self.credit.min(0.0);
        self.probing = Some(Probing {
            probe,
            begun: now,
            packets: 0,
            bytes: 0,
        });
    }

    /// The probe that what leaves now belongs to; 0 for none.
    pub(crate) fn probe_id(&self) -> u16 {
        self.probing.map_or(0, |probing| probing.probe.id)
    }

    /// Whether a packet can't leave now: others wait, or too much has left.
    pub(crate) fn is_closed(&mut self, now: Instant) -> bool {
        self.count(now);
        !self.held.is_empty() || !self.is_open()
    }

    /// Whether what waits would take longer than [`HOLD_MAX`] at the speed that the path is said to carry.
    pub(crate) fn is_full(&self) -> bool {
        self.bytes as f64 * 8.0 > self.rate * HOLD_MAX.as_secs_f64()
    }

    /// Lets a packet wait; retransmissions leave first. Returns one that must leave now because too many wait.
    pub(crate) fn hold(
        &mut self,
        packet: Packet,
        outgoing: u32,
        retransmission: Option<u16>,
    ) -> Option<Held> {
        let overflow = match self.held.len() >= HELD_MAX {
            true => self.take_first(),
            false => None,
        };
        let held = Held {
            packet,
            outgoing,
            retransmission,
        };
        self.bytes += packet.payload_len();
        match retransmission {
            Some(_) => {
                let is_again = |held: &Held| held.retransmission.is_some();
                let place = self.held.iter().take_while(|held| is_again(held)).count();
                self.held.insert(place, held);
            }
            None => self.held.push_back(held),
        }
        overflow
    }

    /// A packet that may leave now.
    pub(crate) fn release(&mut self, now: Instant) -> Option<Held> {
        self.count(now);
        if !self.is_open() {
            return None;
        }
        self.take_first()
    }

    /// How long a packet should be that fills up a probe now, if one should leave: what is left, evenly.
    pub(crate) fn wants_filling(&mut self, now: Instant) -> Option<usize> {
        self.count(now);
        let probing = self.probing?;
        if !self.held.is_empty() || !self.is_open() {
            return None;
        }
        let Probe { packets, bytes, .. } = probing.probe;
        let bytes = bytes.saturating_sub(probing.bytes);
        let packets = packets.saturating_sub(probing.packets).max(1);
        Some(bytes.div_ceil(packets) as usize)
    }

    /// There is nothing to fill the probe with.
    pub(crate) fn end_probe(&mut self) {
        self.probing = None;
    }

    /// A packet of so many bytes leaves.
    pub(crate) fn on_sent(&mut self, bytes: usize) {
        self.owe(bytes);
        if let Some(probing) = &mut self.probing {
            probing.packets += 1;
            probing.bytes = probing.bytes.saturating_add(bytes as u32);
            let Probe { packets, bytes, .. } = probing.probe;
            if probing.packets >= packets && probing.bytes >= bytes {
                self.probing = None;
            }
        }
    }

    /// A packet of so many bytes leaves that no probe counts. Sound does not wait for what it owes, so more may be owed than can ever be paid back. Nothing waits longer for that than it
    /// may wait at all.
    pub(crate) fn owe(&mut self, bytes: usize) {
        let most = self.speed() * HOLD_MAX.as_secs_f64() / 8.0;
        self.credit = (self.credit - bytes as f64).max(-most);
    }

    /// When the next packet may leave, if one waits or a probe is to be filled.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        if self.held.is_empty() && self.probing.is_none() {
            return None;
        }
        let owed = (-self.credit).max(0.0) * 8.0 / self.speed();
        Some(self.counted + Duration::from_secs_f64(owed.clamp(0.0, 1.0)))
    }

    /// Takes out what is not to be sent any more.
    pub(crate) fn remove(&mut self, gone: impl Fn(u32) -> bool, mut each: impl FnMut(&Held)) {
        let bytes = &mut self.bytes;
        self.held.retain(|held| {
            let goes = gone(held.outgoing);
            if goes {
                *bytes -= held.packet.payload_len();
                each(held);
            }
            !goes
        });
    }

    /// What waits.
    pub(crate) fn held(&self) -> impl Iterator<Item = &Held> {
        self.held.iter()
    }

    fn take_first(&mut self) -> Option<Held> {
        let held = self.held.pop_front()?;
        self.bytes -= held.packet.payload_len();
        Some(held)
    }

    fn is_open(&self) -> bool {
        self.credit >= 0.0
    }

    /// Bits per second that leave now.
    fn speed(&self) -> f64 {
        let least = self.bytes as f64 * 8.0 / HOLD_MAX.as_secs_f64();
        let probe = self.probing.map_or(0.0, |probing| probing.probe.rate);
        self.rate.max(least).max(probe).max(1.0)
    }

    fn count(&mut self, now: Instant) {
        let passed = now.saturating_since(self.counted).as_secs_f64();
        self.counted = now;
        let speed = self.speed();
        if speed.is_infinite() {
            self.credit = 0.0;
            return;
        }
        let most = speed * BURST.as_secs_f64() / 8.0;
        self.credit = (self.credit + speed * passed / 8.0).min(most);
        if self
            .probing
            .is_some_and(|probing| now.saturating_since(probing.begun) > PROBE_MAX)
        {
            self.probing = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use packet::{Arena, ArenaSize};

    use super::*;

    fn at(millis: u64) -> Instant {
        Instant::from_millis(1_000 + millis)
    }

    fn packet(sequence: u64) -> Packet {
        let size = ArenaSize {
            slots: 1,
            small_slots: 0,
            reserve: 0,
        };
        let mut arena = Arena::new(size).expect("a slot is little");
        Packet {
            payload: (0, 1_000),
            sequence,
            ..Packet::empty(arena.alloc().expect("there is one"))
        }
    }

    /// Releases what may leave until `end`, every five milliseconds; when each packet left, and which it was.
    fn drain(pacer: &mut Pacer, from: u64, end: u64) -> Vec<(u64, u64)> {
        let mut left = Vec::new();
        for now in (from..end).step_by(5) {
            while let Some(held) = pacer.release(at(now)) {
                pacer.on_sent(1_000);
                left.push((now, held.packet.sequence));
            }
        }
        left
    }

    #[test]
    fn nothing_waits_before_the_path_is_known() {
        let mut pacer = Pacer::new(at(0));
        for _ in 0..1_000 {
            assert!(!pacer.is_closed(at(0)));
            pacer.on_sent(1_200);
        }
        assert_eq!(pacer.deadline(), None);
    }

    #[test]
    fn a_burst_leaves_at_its_speed_and_what_is_sent_again_first() {
        let mut pacer = Pacer::new(at(0));
        // Somewhat less than would leave all in time.
        pacer.set_estimate(at(0), 80e3, Duration::ZERO);
        for nth in 0..20 {
            assert!(pacer.hold(packet(nth), 0, None).is_none());
        }
        pacer.hold(packet(100), 0, Some(7));
        pacer.hold(packet(101), 0, Some(8));
        assert!(pacer.is_full());
        let left = drain(&mut pacer, 0, 1_000);
        let order: Vec<_> = left.iter().map(|(_, nth)| *nth).collect();
        assert_eq!(order[..4], [100, 101, 0, 1]);
        assert_eq!(order.len(), 22);
        let last = left[21].0;
        assert!((360..=450).contains(&last), "{last} ms for 22 packets");
        assert!(pacer.deadline().is_none() && !pacer.is_full());
    }

    #[test]
    fn a_queue_on_the_way_empties_before_more_comes() {
        let mut pacer = Pacer::new(at(0));
        pacer.set_estimate(at(0), 800e3, Duration::from_millis(100));
        for nth in 0..5 {
            pacer.hold(packet(nth), 0, None);
        }
        let left = drain(&mut pacer, 0, 1_000);
        // Half of 800 kbit/s.
        assert!((70..=110).contains(&left[4].0), "{left:?}");
    }

    #[test]
    fn too_much_leaves_at_once_and_is_not_lost() {
        let mut pacer = Pacer::new(at(0));
        pacer.set_estimate(at(0), 30e3, Duration::ZERO);
        let overflow = (0..2 * HELD_MAX as u64).filter_map(|nth| pacer.hold(packet(nth), 0, None));
        let overflow: Vec<_> = overflow.map(|held| held.packet.sequence).collect();
        assert_eq!(overflow, (0..HELD_MAX as u64).collect::<Vec<_>>());
        let mut gone = 0;
        pacer.remove(|_| true, |_| gone += 1);
        assert_eq!((gone, pacer.bytes), (HELD_MAX, 0));
    }

    #[test]
    fn what_sound_takes_is_not_owed_for_ever() {
        let mut pacer = Pacer::new(at(0));
        pacer.set_estimate(at(0), 30e3, Duration::from_millis(100));
        // A minute of sound at three times the rate.
        for now in (0..60_000).step_by(20) {
            assert!(pacer.is_closed(at(now)) || now < 100);
            pacer.on_sent(120);
        }
        pacer.set_estimate(at(60_000), 600e3, Duration::ZERO);
        pacer.hold(packet(1), 0, None);
        let left = drain(&mut pacer, 60_000, 63_000);
        assert!(left[0].0 <= 60_400, "{left:?}");
        // A key frame that is more than may wait.
        for _ in 0..300 {
            pacer.on_sent(1_200);
        }
        pacer.hold(packet(2), 0, None);
        let left = drain(&mut pacer, 60_400, 63_000);
        assert!(left[0].0 <= 60_810, "{left:?}");
    }

    #[test]
    fn a_probe_is_filled_at_its_rate_and_ends() {
        let mut pacer = Pacer::new(at(0));
        pacer.set_estimate(at(0), 100e3, Duration::ZERO);
        let probe = Probe {
            id: 3,
            rate: 1.6e6,
            packets: 5,
            bytes: 4_000,
        };
        pacer.probe(at(0), probe);
        let mut sent = Vec::new();
        for now in (0..100).step_by(5) {
            while let Some(len) = pacer.wants_filling(at(now)) {
                assert!(len <= 1_000);
                assert_eq!(pacer.probe_id(), 3);
                pacer.on_sent(1_000);
                sent.push(now);
            }
        }
        assert_eq!(sent.len(), 5);
        assert!((20..=25).contains(&sent[4]), "{sent:?}");
        assert_eq!((pacer.probe_id(), pacer.wants_filling(at(200))), (0, None));
        pacer.probe(at(200), probe);
        assert_eq!(
            pacer.wants_filling(at(401)),
            None,
            "there was nothing to send"
        );
    }
}
