//! What this process uses.

use std::time::Duration;

/// Where Linux tells of the descriptors that are open.
const DESCRIPTORS: &str = "/proc/self/fd";

/// Processor time of all its threads.
pub fn cpu() -> Duration {
    let used = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    // Processor time counts up from zero, and nanoseconds stay below a second.
    Duration::new(
        used.tv_sec.unsigned_abs(),
        used.tv_nsec.unsigned_abs() as u32,
    )
}

/// Resident memory; 0 if the system does not say.
pub fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kibibytes = line.and_then(|rest| rest.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kibibytes.unwrap_or(0) * 1024
}

/// Open descriptors; 0 if the system does not say. Linux 6.2 and later tell their number as the folder's size; before that they are
/// counted one by one, which takes a microsecond for each.
pub fn open_descriptors() -> u64 {
    let told = std::fs::metadata(DESCRIPTORS).map_or(0, |folder| folder.len());
    match told {
        0 => std::fs::read_dir(DESCRIPTORS).map_or(0, |folder| folder.count() as u64),
        told => told,
    }
}

/// Most descriptors that it may have open; none: as many as it likes.
pub fn descriptors_max() -> Option<u64> {
    rustix::process::getrlimit(rustix::process::Resource::Nofile).current
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_is_measured() {
        assert!(resident_bytes() > 100_000);
        assert!(cpu() > Duration::ZERO);
        assert!(descriptors_max().is_none_or(|most| most > 0));
    }

    #[test]
    fn open_descriptors_are_counted() {
        let many = || -> Vec<_> {
            let file = || std::fs::File::open("/dev/null").expect("it is always there");
            std::iter::repeat_with(file).take(100).collect()
        };
        // Other tests open a few meanwhile.
        let before = open_descriptors();
        let opened = many();
        let after = open_descriptors();
        assert!(
            (before + 80..before + 120).contains(&after),
            "{before}, {after}"
        );
        drop(opened);
    }
}
