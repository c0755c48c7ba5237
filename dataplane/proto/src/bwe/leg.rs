//! One of the transports that share a path: what was sent on it, and what its peer says of that.

use clock::{Duration, Instant};

use super::acknowledged::Acknowledged;
use super::delay::{Detector, Usage};
use super::history::{History, Sent};
use super::millis;
use super::probe::Prober;
use crate::rtcp::{Report, TransportFeedback};
use crate::rtp::sequence::nearest;

/// A tick of the receiver's clock in transport-wide feedback, in milliseconds.
const TICK_MS: f64 = 0.25;
/// The reference time has 24 bits and counts 64 ms; what that is in ticks.
const WRAP: i64 = (1 << 24) * 256;
/// What a leg said is believed for so long.
const RECENT: Duration = Duration::from_millis(500);
/// The shortest way of a packet is looked for in the last one to two of these.
const SHORTEST_OF: Duration = Duration::from_secs(30);
/// Queues are measured by the luckiest packet of so many feedbacks, for jitter is no queue.
const LUCKIEST_OF: usize = 3;

/// What is sent on one transport, and the feedback about it.
#[derive(Debug)]
pub struct Leg {
    history: History,
    detector: Detector,
    acknowledged: Acknowledged,
    queue: Queue,
    /// What is added to the arrival times of the peer, whose clock wraps, and the last of its reference times.
    offset: i64,
    reference: Option<i32>,
    heard: Option<Instant>,
    /// Bytes.
    arrived: u64,
}

/// What other legs of a path say together.
#[derive(Clone, Copy, Debug, Default)]
pub struct Beside {
    /// Bits per second that arrive on them.
    pub(super) arriving: f64,
    pub(super) usage: Usage,
    /// How long packets wait on the way, by the leg where they wait longest.
    pub(super) queueing: Duration,
}

impl Beside {
    /// With what one more leg says.
    #[must_use]
    pub fn and(self, leg: &Leg, now: Instant) -> Self {
        if !leg.is_recent(now) {
            return self;
        }
        Self {
            arriving: self.arriving + leg.acknowledged().unwrap_or_default(),
            usage: self.usage.or(leg.usage()),
            queueing: self.queueing.max(leg.queueing(now)),
        }
    }
}

/// What one feedback has told.
pub(super) struct Told {
    /// Packets that it was about, and how many of those did not come.
    pub(super) packets: u64,
    pub(super) lost: u64,
    /// When the newest of those that came was sent.
    pub(super) newest: Option<Instant>,
    /// What a probe has shown.
    pub(super) passed: Option<f64>,
}

impl Leg {
    /// One on which nothing was sent. All its memory, some 17 KiB, is taken here.
    #[expect(clippy::new_without_default, reason = "it is no small thing")]
    pub fn new() -> Self {
        Self {
            history: History::new(),
            detector: Detector::new(),
            acknowledged: Acknowledged::new(),
            queue: Queue::default(),
            offset: 0,
            reference: None,
            heard: None,
            arrived: 0,
        }
    }

    /// From now on packets take another path to the same peer: how long they were on their way before says nothing of it.
    pub fn on_new_path(&mut self) {
        self.detector.reset();
        self.acknowledged.reset();
        self.queue = Queue::default();
        self.history.forget();
    }

    /// The transport-wide sequence number that the next packet will get.
    pub fn next_number(&self) -> u16 {
        self.history.next() as u16
    }

    pub(super) fn on_sent(&mut self, now: Instant, bytes: u16, probe: u16) -> u16 {
        let sent = Sent {
            at: now,
            bytes,
            probe,
        };
        self.history.push(sent) as u16
    }

    pub(super) fn on_feedback(
        &mut self,
        now: Instant,
        feedback: &TransportFeedback<'_>,
        prober: &mut Prober,
    ) -> Told {
        self.unwrap(feedback.reference_time);
        let mut told = Told {
            packets: 0,
            lost: 0,
            newest: None,
            passed: None,
        };
        let mut shortest = f64::INFINITY;
        // What is too old or not sent yet says nothing.
        for report in feedback.reports() {
            let (sequence, arrival) = match report {
                Report::Arrived { sequence, at } => (sequence, at),
                Report::Missing { sequence, count } => {
                    let first = nearest(self.history.next(), sequence);
                    // They may yet be reported as come; until then they count as lost, and are not forgotten.
                    let lost = self.history.unheard_of(first, count.into());
                    told.packets = told.packets.saturating_add(lost);
                    told.lost = told.lost.saturating_add(lost);
                    continue;
                }
            };
            let number = nearest(self.history.next(), sequence);
            let Some(sent) = self.history.take(number) else {
                continue;
            };
            told.packets = told.packets.saturating_add(1);
            told.newest = told.newest.max(Some(sent.at));
            let arrival = arrival.saturating_add(self.offset) as f64 * TICK_MS;
            shortest = shortest.min(arrival - millis(sent.at));
            self.acknowledged.on_packet(arrival, sent.bytes);
            self.arrived = self.arrived.saturating_add(u64::from(sent.bytes));
            self.detector.on_packet(millis(sent.at), arrival);
            if sent.probe != 0 {
                let found = prober.on_arrival(now, sent.probe, arrival, sent.bytes);
                told.passed = found.or(told.passed);
            }
        }
        if told.newest.is_some() {
            self.queue.on_way(now, shortest);
            self.heard = Some(now);
        }
        told
    }

    /// Bits per second that arrive, if that is known.
    pub fn acknowledged(&self) -> Option<f64> {
        self.acknowledged.rate()
    }

    /// Bytes that have arrived since the beginning, as far as the peer has told.
    pub fn arrived(&self) -> u64 {
        self.arrived
    }

    /// How long packets wait in queues on the way, as far as is known lately.
    pub fn queueing(&self, now: Instant) -> Duration {
        match self.is_recent(now) {
            true => Duration::from_secs_f64(self.queue.length() / 1e3),
            false => Duration::ZERO,
        }
    }

    /// When the peer last said that something came.
    pub fn heard(&self) -> Option<Instant> {
        self.heard
    }

    pub(super) fn usage(&self) -> Usage {
        self.detector.usage()
    }

    fn is_recent(&self, now: Instant) -> bool {
        self.heard
            .is_some_and(|heard| now.saturating_since(heard) <= RECENT)
    }

    fn unwrap(&mut self, reference: i32) {
        let before = self.reference.replace(reference).unwrap_or(reference);
        let step = i64::from(reference).saturating_sub(i64::from(before));
        if step < -(1 << 23) {
            self.offset = self.offset.saturating_add(WRAP);
        } else if step > 1 << 23 {
            self.offset = self.offset.saturating_sub(WRAP);
        }
    }
}

/// How much longer packets take than the quickest of the last minute did: that is time in queues.
#[derive(Debug)]
struct Queue {
    /// Shortest way of the running period and of the one before, in milliseconds between two clocks.
    shortest: [f64; 2],
    since: Option<Instant>,
    /// Of the last feedbacks.
    luckiest: [f64; LUCKIEST_OF],
}

impl Default for Queue {
    fn default() -> Self {
        Self {
            shortest: [f64::INFINITY; 2],
            since: None,
            luckiest: [f64::INFINITY; LUCKIEST_OF],
        }
    }
}

impl Queue {
    fn on_way(&mut self, now: Instant, way: f64) {
        let since = *self.since.get_or_insert(now);
        if now.saturating_since(since) > SHORTEST_OF {
            self.since = Some(now);
            self.shortest = [f64::INFINITY, self.shortest[0]];
        }
        self.shortest[0] = self.shortest[0].min(way);
        self.luckiest.rotate_left(1);
        self.luckiest[LUCKIEST_OF - 1] = way;
    }

    /// In milliseconds.
    fn length(&self) -> f64 {
        let shortest = self.shortest[0].min(self.shortest[1]);
        let luckiest = self.luckiest.into_iter().fold(f64::INFINITY, f64::min);
        let longer = luckiest - shortest;
        if longer.is_finite() {
            longer.max(0.0)
        } else {
            0.0
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_is_what_even_the_luckiest_packets_wait() {
        let mut queue = Queue::default();
        assert!(queue.length() < 0.1);
        let mut now = Instant::from_millis(5);
        let mut say = |way: f64| {
            now = core::ops::Add::add(now, Duration::from_secs(1));
            queue.on_way(now, -7_000.0 + way);
            queue.length()
        };
        say(20.0);
        say(20.0);
        assert!(say(90.0) < 0.1, "jitter");
        say(95.0);
        assert!((say(92.0) - 70.0).abs() < 0.1);
        for _ in 0..20 {
            assert!((say(80.0) - 60.0).abs() < 13.0);
        }
        for _ in 0..60 {
            say(120.0);
        }
        assert!(say(120.0) < 0.1, "another route");
    }

    #[test]
    fn the_clock_of_the_peer_may_wrap() {
        let mut leg = Leg::new();
        leg.unwrap((1 << 23) - 1);
        leg.unwrap(-(1 << 23));
        assert_eq!(leg.offset, WRAP);
        leg.unwrap((1 << 23) - 2);
        assert_eq!(leg.offset, 0, "an old feedback came late");
    }
}
