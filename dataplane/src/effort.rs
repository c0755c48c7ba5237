//! Where the time of a worker goes: the engine measures its stages, and the rest is the driver's.
//!
//! A driver works and waits in one call, and only the kernel knows how long it did which. So what it took is what the thread
//! used less what the stages took; and in a turn it is known where the driver was not to wait.

use clock::{Duration, Instant};
use net::Wait;
use sfu::discard::STAGES;
use sfu::stats::Stats;

use crate::worker::TURN_BUDGET;

/// What the time of a worker is divided into: the stages, then [`ORDERS`] and [`DRIVER`].
pub const PARTS: usize = STAGES + 2;
/// Following orders.
pub const ORDERS: usize = STAGES;
/// Receiving and sending, and what little is between all the rest.
pub const DRIVER: usize = STAGES + 1;

/// Clocks, read together.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reading {
    pub(crate) now: Instant,
    /// In the unit of [`sfu::api::Config::cycles`].
    pub(crate) cycles: u64,
    /// Processor time of the thread, nanoseconds.
    pub(crate) cpu_nanos: u64,
}

/// The book of one worker.
#[derive(Debug)]
pub(crate) struct Effort {
    first: Reading,
    /// What each part has taken when the turn began; the driver has nothing here.
    before: [u64; PARTS],
    /// When the turn began, so far as it can't have waited since.
    begun: Instant,
    ended: Instant,
    /// What the driver took of this turn, if that is known.
    driver: u64,
    driver_total: u64,
}

impl Effort {
    /// Begins.
    pub(crate) fn new(first: Reading) -> Self {
        Self {
            first,
            before: [0; PARTS],
            begun: first.now,
            ended: first.now,
            driver: 0,
            driver_total: 0,
        }
    }

    /// Whether the driver is not to wait, so that its time is work.
    pub(crate) fn is_pressed(&self, wait: Wait) -> bool {
        match wait {
            Wait::Poll => true,
            Wait::Until(deadline) => deadline <= self.ended,
            Wait::Forever | Wait::Gather(_) => false,
        }
    }

    /// The driver comes back at `now`; it took so many cycles of work, if that is known.
    pub(crate) fn driven(&mut self, now: Instant, cycles: Option<u64>) {
        self.driver = cycles.unwrap_or(0);
        self.begun = match cycles {
            Some(_) => self.ended,
            None => now,
        };
    }

    /// The turn has waited for more packets meanwhile.
    pub(crate) fn waited(&mut self, how_long: Duration) {
        self.begun += how_long;
    }

    /// The turn ends. Which part took the most of it, if it was a long one.
    pub(crate) fn end(&mut self, now: Instant, stats: &Stats) -> Option<usize> {
        let after = parts(stats);
        let is_long = now.saturating_since(self.begun) > TURN_BUDGET;
        let slowest = is_long.then(|| {
            let taken = |part: &usize| match *part {
                DRIVER => self.driver,
                part => after[part].wrapping_sub(self.before[part]),
            };
            (0..PARTS).max_by_key(taken).unwrap_or(DRIVER)
        });
        self.before = after;
        self.ended = now;
        slowest
    }

    /// What the driver has taken since the beginning: what the thread used of the processor and no other part took.
    pub(crate) fn driver_cycles(&mut self, reading: Reading, stats: &Stats) -> u64 {
        let nanos = reading.now.saturating_since(self.first.now).as_nanos();
        let used = u128::from(reading.cpu_nanos.saturating_sub(self.first.cpu_nanos));
        let cycles = u128::from(reading.cycles.wrapping_sub(self.first.cycles));
        let busy = (used * cycles).checked_div(nanos).unwrap_or(0);
        let others = u128::from(parts(stats).iter().sum::<u64>());
        // Interrupted stages take longer than the thread was running; a counter does not go back for that.
        let rest = u64::try_from(busy.saturating_sub(others)).unwrap_or(u64::MAX);
        self.driver_total = self.driver_total.max(rest);
        self.driver_total
    }
}

/// What each part but the driver has taken.
fn parts(stats: &Stats) -> [u64; PARTS] {
    let mut parts = [0; PARTS];
    for (part, stage) in parts.iter_mut().zip(&stats.stages) {
        *part = stage.cycles;
    }
    parts[ORDERS] = stats.order_cycles;
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(millis: u64) -> Instant {
        Instant::from_millis(millis)
    }

    /// Cycles at three a nanosecond.
    fn reading(millis: u64, busy_millis: u64) -> Reading {
        Reading {
            now: at(millis),
            cycles: 77 + 3_000_000 * millis,
            cpu_nanos: 5 + 1_000_000 * busy_millis,
        }
    }

    #[test]
    fn the_driver_has_what_nobody_else_took() {
        let mut effort = Effort::new(reading(0, 0));
        let mut stats = Stats::default();
        stats.stages[0].cycles = 30_000_000;
        stats.order_cycles = 3_000_000;
        // 41 ms of 100 ms were used, 11 of them by others.
        assert_eq!(effort.driver_cycles(reading(100, 41), &stats), 90_000_000);
        // Somebody had the processor in the middle of a stage.
        stats.stages[1].cycles = 600_000_000;
        assert_eq!(effort.driver_cycles(reading(200, 42), &stats), 90_000_000);
        let mut unread = Effort::new(reading(0, 0));
        assert_eq!(unread.driver_cycles(reading(0, 0), &stats), 0);
    }

    #[test]
    fn a_long_turn_is_the_slowest_parts() {
        let mut effort = Effort::new(reading(10, 0));
        let mut stats = Stats::default();
        assert!(effort.is_pressed(Wait::Poll) && effort.is_pressed(Wait::Until(at(10))));
        assert!(!effort.is_pressed(Wait::Until(at(11))) && !effort.is_pressed(Wait::Forever));
        // It waited for long and worked for a millisecond.
        stats.stages[2].cycles = 500;
        effort.driven(at(60), None);
        assert_eq!(effort.end(at(61), &stats), None);
        stats.stages[2].cycles = 1_500;
        stats.order_cycles = 900;
        effort.driven(at(70), None);
        assert_eq!(effort.end(at(72), &stats), Some(2));
        // The driver was not to wait and came back late.
        stats.stages[2].cycles = 2_000;
        effort.driven(at(75), Some(600));
        assert_eq!(effort.end(at(75), &stats), Some(DRIVER));
        stats.order_cycles = 1_800;
        effort.driven(at(78), Some(600));
        assert_eq!(effort.end(at(78), &stats), Some(ORDERS));
        // It waited for the rest of a picture, and then it did not.
        effort.driven(at(80), None);
        effort.waited(Duration::from_millis(4));
        assert_eq!(effort.end(at(85), &stats), None);
        effort.driven(at(90), None);
        effort.waited(Duration::from_millis(3));
        assert!(effort.end(at(95), &stats).is_some());
    }
}
