//! When and about what to send transport-wide feedback (draft-holmer-rmcat-transport-wide-cc-extensions-01 §2, §3).

use clock::{Duration, Instant};

use crate::rtcp::{Full, Writer, write_transport_feedback};
use crate::rtp::Unwrapper;

/// How many sequence numbers are remembered.
const HISTORY: u64 = 2048;
/// So many packets call for a feedback at once.
const HURRY: u32 = 256;
/// Longer losses are passed over in silence: the sender notices by the next base.
const MAX_LEADING_LOSS: u64 = 256;
/// At most so many packets are looked at for one feedback.
const WINDOW: usize = 512;
/// A packet that comes so much later than its neighbours is not told any more.
const MAX_STEP_BACK: u64 = 256;
/// Marks a number whose packet has not come.
const MISSING: u64 = 0;
/// The unit of arrival times, 250 µs.
const NANOS_PER_TICK: u64 = 250_000;

/// Collects when the packets of a transport arrived, and writes feedback about them.
#[derive(Clone, Debug)]
pub struct FeedbackGenerator {
    interval: Duration,
    numbers: Unwrapper,
    /// A ring by sequence number: 1 + the arrival in ticks, or `MISSING`.
    arrivals: Vec<u64>,
    /// The first number that the next feedback is about.
    base: u64,
    pending: u32,
    deadline: Option<Instant>,
    feedback_count: u8,
}

impl FeedbackGenerator {
    /// One that waits `interval` after a packet for more to tell about. Chromium expects 50 to 250 ms.
    pub fn new(interval: Duration) -> Self {
        Self {
            interval,
            numbers: Unwrapper::new(),
            arrivals: vec![MISSING; HISTORY as usize],
            base: 0,
            pending: 0,
            deadline: None,
            feedback_count: 0,
        }
    }

    /// Notes the `arrival` of the packet with transport-wide number `sequence`. Of a duplicate the first counts.
    pub fn on_packet(&mut self, sequence: u16, arrival: Instant) {
        let newest = self.numbers.newest();
        let number = self.numbers.unwrap(sequence);
        match newest {
            None => self.base = number,
            Some(newest) if number > newest => self.forget(newest, number),
            Some(newest) if newest.saturating_sub(number) >= HISTORY => return,
            Some(_) => {}
        }
        if self.base.saturating_sub(number) > MAX_STEP_BACK {
            return;
        }
        let Some(slot) = self.arrivals.get_mut((number % HISTORY) as usize) else {
            return;
        };
        if *slot != MISSING {
            return;
        }
        *slot = (arrival.as_nanos() / NANOS_PER_TICK).saturating_add(1);
        // Told as lost before; it is told again, and its successors with it.
        self.base = self.base.min(number);
        self.pending = self.pending.saturating_add(1);
        if self.pending >= HURRY {
            self.deadline = Some(arrival);
        } else if self.deadline.is_none() {
            self.deadline = Some(core::ops::Add::add(arrival, self.interval));
        }
    }

    /// Asks for the memory in which the arrival of the next packet will be noted.
    #[inline]
    pub fn prefetch(&self) {
        let next = self
            .numbers
            .newest()
            .map_or(0, |newest| newest.wrapping_add(1));
        if let Some(slot) = self.arrivals.get((next % HISTORY) as usize) {
            crate::srtp::prefetch(slot);
        }
    }

    /// When the next feedback should be written; `None` if there is nothing to tell.
    pub const fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Writes one feedback from `sender`; `media` is any RTP stream of the transport. `false` if there is nothing to tell.
    ///
    /// A long silence or many packets need more than one feedback, so the caller writes until `false`.
    ///
    /// # Errors
    /// [`Full`] if there is no room; the packets stay to be told.
    pub fn write(&mut self, sender: u32, media: u32, out: &mut Writer<'_>) -> Result<bool, Full> {
        let Some(newest) = self.numbers.newest().filter(|_| self.pending > 0) else {
            return Ok(false);
        };
        let oldest = newest.saturating_sub(HISTORY.saturating_sub(1));
        self.base = self.base.max(oldest);
        let Some(first) = (self.base..=newest).find(|&n| self.arrival(n).is_some()) else {
            self.finish();
            return Ok(false);
        };
        if first.saturating_sub(self.base) > MAX_LEADING_LOSS {
            self.base = first;
        }
        let mut window = [None; WINDOW];
        for (slot, number) in window.iter_mut().zip(self.base..=newest) {
            *slot = self.arrival(number);
        }
        let base = self.base as u16;
        let told =
            write_transport_feedback((sender, media), base, self.feedback_count, &window, out)?;
        self.feedback_count = self.feedback_count.wrapping_add(1);
        self.base = self.base.saturating_add(told as u64);
        if self.base > newest {
            self.finish();
        }
        Ok(true)
    }

    fn finish(&mut self) {
        self.pending = 0;
        self.deadline = None;
    }

    /// Empties the places of the numbers after `newest` up to `number`.
    fn forget(&mut self, newest: u64, number: u64) {
        let count = number.saturating_sub(newest).min(HISTORY);
        let start = number.saturating_sub(count);
        for stale in start..number {
            let position = (stale.saturating_add(1) % HISTORY) as usize;
            if let Some(slot) = self.arrivals.get_mut(position) {
                *slot = MISSING;
            }
        }
    }

    /// When packet `number` came, in ticks.
    fn arrival(&self, number: u64) -> Option<i64> {
        let stored = self.arrivals.get((number % HISTORY) as usize)?;
        Some(stored.checked_sub(1)?.cast_signed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rtcp::{Packet, compound};
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn at(millis: u64) -> Instant {
        Instant::from_millis(millis)
    }

    type Told = Vec<(u16, Option<i64>)>;

    /// Number of the feedback, then each sequence number with its arrival in ticks.
    fn poll(generator: &mut FeedbackGenerator, size: usize) -> Option<(u8, Told)> {
        let mut buffer = vec![0; size];
        let mut writer = Writer::new(&mut buffer);
        if !generator.write(1, 2, &mut writer).unwrap() {
            return None;
        }
        let length = writer.len();
        match compound(&buffer[..length]).unwrap().next() {
            Some(Ok(Packet::TransportFeedback(feedback))) => {
                let list = feedback.statuses().map(|s| (s.sequence, s.arrival));
                Some((feedback.feedback_count, list.collect()))
            }
            other => panic!("not a transport feedback: {other:?}"),
        }
    }

    #[test]
    fn waits_an_interval_and_counts_losses_across_feedbacks() {
        let mut generator = FeedbackGenerator::new(Duration::from_millis(100));
        assert_eq!(
            (generator.deadline(), poll(&mut generator, 100)),
            (None, None)
        );
        generator.on_packet(65534, at(1000));
        generator.on_packet(0, at(1001));
        assert_eq!(generator.deadline(), Some(at(1100)));
        let ticks = |ms: i64| Some(ms * 4);
        assert_eq!(
            poll(&mut generator, 100),
            Some((
                0,
                vec![(65534, ticks(1000)), (65535, None), (0, ticks(1001))]
            ))
        );
        assert_eq!(
            (generator.deadline(), poll(&mut generator, 100)),
            (None, None)
        );
        generator.on_packet(2, at(1200));
        assert_eq!(
            poll(&mut generator, 100),
            Some((1, vec![(1, None), (2, ticks(1200))]))
        );
        // Late, after it was told as lost.
        generator.on_packet(1, at(1300));
        assert_eq!(
            poll(&mut generator, 100),
            Some((2, vec![(1, ticks(1300)), (2, ticks(1200))]))
        );
        generator.on_packet(1, at(1400));
        assert_eq!(generator.deadline(), None, "a duplicate is no news");
    }

    #[test]
    fn many_packets_hurry_and_take_several_feedbacks() {
        let mut generator = FeedbackGenerator::new(Duration::from_millis(100));
        for sequence in 0..1000 {
            generator.on_packet(sequence, at(50));
        }
        assert_eq!(generator.deadline(), Some(at(50)));
        let mut told = 0;
        while let Some((_, list)) = poll(&mut generator, 1200) {
            assert_eq!(list[0].0, told);
            told += list.len() as u16;
        }
        assert_eq!(told, 1000);
    }

    #[test]
    fn a_leap_is_passed_over() {
        let mut generator = FeedbackGenerator::new(Duration::from_millis(100));
        generator.on_packet(1, at(0));
        poll(&mut generator, 100).unwrap();
        generator.on_packet(20_000, at(1));
        generator.on_packet(19_000, at(1));
        let (_, list) = poll(&mut generator, 1400).unwrap();
        assert_eq!(list, [(19_000, Some(4))]);
        let (_, list) = poll(&mut generator, 1400).unwrap();
        assert_eq!(list, [(20_000, Some(4))]);
        assert_eq!(poll(&mut generator, 1400), None);
    }

    #[test]
    fn no_room_loses_nothing() {
        let mut generator = FeedbackGenerator::new(Duration::from_millis(100));
        generator.on_packet(1, at(0));
        let mut small = [0; 20];
        assert_eq!(
            generator.write(1, 2, &mut Writer::new(&mut small)),
            Err(Full)
        );
        assert!(generator.deadline().is_some());
        assert_eq!(poll(&mut generator, 100).unwrap().1, [(1, Some(0))]);
    }

    proptest! {
        #[test]
        fn everything_that_came_is_told_with_its_time(
            start: u16,
            steps in prop::collection::vec((-5i64..8, 0u64..400, any::<bool>()), 1..200),
            size in 64usize..1400,
        ) {
            let mut generator = FeedbackGenerator::new(Duration::from_millis(50));
            let mut number = 65536 + i64::from(start);
            let mut lowest = number;
            let mut millis = 0;
            let (mut came, mut told) = (BTreeMap::new(), BTreeMap::new());
            let drain = |generator: &mut FeedbackGenerator, told: &mut BTreeMap<u16, i64>| {
                while let Some((_, list)) = poll(generator, size) {
                    told.extend(list.into_iter().filter_map(|(s, arrival)| Some((s, arrival?))));
                }
            };
            for (step, wait, flush) in steps {
                let this = number + step;
                number = number.max(this);
                lowest = lowest.min(this);
                millis += wait;
                generator.on_packet(this as u16, at(millis));
                came.entry(this as u16).or_insert(millis as i64 * 4);
                if flush {
                    drain(&mut generator, &mut told);
                }
            }
            drain(&mut generator, &mut told);
            prop_assert!(number - lowest < 2000);
            prop_assert_eq!(told, came);
        }
    }
}
