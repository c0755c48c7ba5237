use core::num::NonZeroU64;
use std::io;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity, set_current_timer_slack};

/// The cores that this thread may run on, in ascending order: what the operator, or the container, gave us.
///
/// # Errors
/// If the system does not say.
pub fn available_cores() -> io::Result<Vec<usize>> {
    let set = sched_getaffinity(None)?;
    Ok((0..CpuSet::MAX_CPU)
        .filter(|core| set.is_set(*core))
        .collect())
}

/// Keeps the calling thread on one core from now on.
///
/// # Errors
/// If there is no such core, or it is not ours to use.
pub fn pin_to_core(core: usize) -> io::Result<()> {
    if core >= CpuSet::MAX_CPU {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut set = CpuSet::new();
    set.set(core);
    Ok(sched_setaffinity(None, &set)?)
}

/// Lets the calling thread wake up when it asked to. Otherwise the system may let it sleep some 50 µs longer, to save power.
///
/// # Errors
/// If the system refuses.
pub fn sharpen_timers() -> io::Result<()> {
    Ok(set_current_timer_slack(NonZeroU64::new(1))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pinned_thread_has_one_core() {
        let core = available_cores().unwrap()[0];
        let seen = std::thread::spawn(move || {
            pin_to_core(core).unwrap();
            available_cores().unwrap()
        });
        assert_eq!(seen.join().unwrap(), [core]);
        assert!(pin_to_core(usize::MAX).is_err());
    }
}
