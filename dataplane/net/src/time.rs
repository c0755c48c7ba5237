//! The two clocks of the system, and how a stamp of one becomes an instant of the other.

use core::time::Duration;

use clock::Instant;
use rustix::time::{ClockId, Timespec, clock_gettime};

/// A stamp older than this is a clock that was stepped, not a packet that waited.
const OLDEST: Duration = Duration::from_secs(1);

/// The present on the monotonic clock of the system: what [`crate::Driver::now`] says outside of simulation.
pub fn now() -> Instant {
    Instant::from_nanos(u64::try_from(read(ClockId::Monotonic).as_nanos()).unwrap_or(u64::MAX))
}

/// The processor's counter of cycles, or nanoseconds where it has none that can be read: to measure short work by.
pub fn cycles() -> u64 {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: every processor of this architecture has the instruction, and it touches nothing but registers.
    unsafe {
        core::arch::x86_64::_rdtsc()
    }
    #[cfg(not(target_arch = "x86_64"))]
    now().as_nanos()
}

/// Both clocks at one moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    pub(crate) now: Instant,
    wall: Duration,
}

impl Moment {
    /// This moment.
    pub(crate) fn read() -> Self {
        Self {
            now: now(),
            wall: read(ClockId::Realtime),
        }
    }

    /// When something arrived that the kernel stamped with `stamp` since the Unix epoch: never in the future, and never more
    /// than a second ago.
    pub(crate) fn arrival(self, stamp: Option<Duration>) -> Instant {
        let ago = stamp.map_or(Duration::ZERO, |stamp| self.wall.saturating_sub(stamp));
        self.now.saturating_sub(ago.min(OLDEST))
    }
}

fn read(clock: ClockId) -> Duration {
    let Timespec { tv_sec, tv_nsec } = clock_gettime(clock);
    // Both clocks count up from zero, and nanoseconds stay below a second.
    Duration::new(tv_sec.unsigned_abs(), tv_nsec.unsigned_abs() as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrivals_lie_within_the_last_second() {
        let moment = Moment {
            now: Instant::from_millis(10_000),
            wall: Duration::from_secs(500),
        };
        let at = |millis| moment.arrival(Some(Duration::from_millis(millis)));
        assert_eq!(at(499_998), Instant::from_millis(9_998));
        assert_eq!(at(600_000), moment.now, "the wall clock was stepped back");
        assert_eq!(at(1), Instant::from_millis(9_000), "or forward");
        assert_eq!(moment.arrival(None), moment.now);
    }

    #[test]
    fn the_monotonic_clock_does_not_go_back() {
        let before = now();
        assert!(Moment::read().now >= before && before > Instant::ZERO);
    }
}
