//! Processor time.

use std::io;
use std::time::Duration;

use nix::sys::time::TimeSpec;
use nix::time::{ClockId, clock_getcpuclockid, clock_gettime};
use nix::unistd::Pid;

/// What process `pid` has used so far, in user and system mode: all threads, those that have ended and io_uring's workers
/// included, to the nanosecond.
///
/// # Errors
/// If there is no such process.
pub fn process_time(pid: u32) -> io::Result<Duration> {
    let pid = i32::try_from(pid).map_err(|_| io::ErrorKind::InvalidInput)?;
    read(clock_getcpuclockid(Pid::from_raw(pid))?)
}

/// What this process has used so far.
pub fn own_time() -> Duration {
    read(ClockId::CLOCK_PROCESS_CPUTIME_ID).unwrap_or_default()
}

/// What the calling thread has used so far.
pub fn thread_time() -> Duration {
    read(ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap_or_default()
}

fn read(clock: ClockId) -> io::Result<Duration> {
    let time: TimeSpec = clock_gettime(clock)?;
    Ok(Duration::from(time))
}

/// Processor time of the whole machine, by what it went to, summed over its processors. The kernel counts it in ticks of 10 ms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Busy {
    /// Everything but idleness, waiting for disks, and what the hypervisor took.
    pub busy: Duration,
    /// What the hypervisor gave to others while we wanted to run.
    pub stolen: Duration,
}

impl Busy {
    /// Since the machine started.
    ///
    /// # Errors
    /// If `/proc/stat` cannot be read.
    pub fn read() -> io::Result<Self> {
        let text = std::fs::read_to_string("/proc/stat")?;
        Self::parse(&text)
            .ok_or_else(|| io::Error::other("/proc/stat has no line for all processors"))
    }

    /// What was added since `earlier`.
    #[must_use]
    pub fn since(self, earlier: Self) -> Self {
        Self {
            busy: self.busy.saturating_sub(earlier.busy),
            stolen: self.stolen.saturating_sub(earlier.stolen),
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let line = text.lines().find_map(|line| line.strip_prefix("cpu "))?;
        // user nice system idle iowait irq softirq steal guest guest_nice; the guests are in user and nice already.
        let ticks: Vec<u64> = line
            .split_whitespace()
            .map(str::parse)
            .collect::<Result<_, _>>()
            .ok()?;
        let tick = Duration::from_millis(10);
        let sum = |columns: &[usize]| -> Option<u32> {
            let sum: u64 = columns
                .iter()
                .map(|column| ticks.get(*column).copied())
                .sum::<Option<u64>>()?;
            u32::try_from(sum).ok()
        };
        Some(Self {
            busy: tick * sum(&[0, 1, 2, 5, 6])?,
            stolen: tick * sum(&[7])?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spin(duration: Duration) {
        let start = thread_time();
        while thread_time() - start < duration {
            std::hint::spin_loop();
        }
    }

    #[test]
    fn the_time_of_ended_threads_counts() {
        let before = process_time(std::process::id()).unwrap();
        std::thread::spawn(|| spin(Duration::from_millis(20)))
            .join()
            .unwrap();
        let used = process_time(std::process::id()).unwrap() - before;
        assert!(used >= Duration::from_millis(20), "{used:?}");
        assert!(own_time() >= used);
    }

    #[test]
    fn a_process_that_is_gone_is_an_error() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        child.wait().unwrap();
        assert!(process_time(child.id()).is_err());
    }

    #[test]
    fn the_machine_is_at_least_as_busy_as_we_are() {
        let before = Busy::read().unwrap();
        spin(Duration::from_millis(60));
        let busy = Busy::read().unwrap().since(before).busy;
        assert!(busy >= Duration::from_millis(40), "{busy:?}");
    }

    #[test]
    fn busy_leaves_out_idleness_and_what_was_stolen() {
        let busy = Busy::parse("cpu  1 2 3 400 500 6 7 8 900 0\ncpu0 1 1\n").unwrap();
        assert_eq!(busy.busy, Duration::from_millis(190));
        assert_eq!(busy.stolen, Duration::from_millis(80));
        assert_eq!(Busy::parse("cpu 1 2 x"), None);
        assert_eq!(Busy::parse(""), None);
    }
}
