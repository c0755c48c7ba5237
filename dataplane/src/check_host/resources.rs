//! What the host has: how fast its interfaces are, and how much memory there is.

use super::Host;
use super::kernel::control_group;
use super::plan::Plan;
use crate::config::Config;

impl Host<'_> {
    /// The interfaces that media will use and what each carries one way, in bit/s. Those that do not say are left out.
    pub fn media_speeds(&self, config: &Config) -> Vec<(String, u64)> {
        let plan = Plan::new(self, config);
        let speeds = plan.interfaces.into_iter().filter_map(|name| {
            // In Mbit/s; interfaces without a speed say -1, or give no answer at all.
            let speed = self.value::<i64>(&format!("/sys/class/net/{name}/speed"))?;
            let speed = u64::try_from(speed).ok().filter(|speed| *speed > 0)?;
            Some((name, speed.saturating_mul(1_000_000)))
        });
        speeds.collect()
    }

    /// The memory that this process may have, in bytes, and in words whose limit that is: the smallest of the control groups
    /// around it, or of the host.
    pub fn memory_limit(&self) -> Option<(u64, &'static str)> {
        let group = self
            .group_limit()
            .map(|limit| (limit, "of the control group"));
        let total = self.field("/proc/meminfo", "MemTotal");
        let total = total.and_then(|text| text.split_whitespace().next()?.parse::<u64>().ok());
        let total = total.map(|kibibytes| (kibibytes << 10, "of the host"));
        group
            .into_iter()
            .chain(total)
            .min_by_key(|(bytes, _)| *bytes)
    }

    /// The least `memory.max` of our control group and those around it.
    fn group_limit(&self) -> Option<u64> {
        const TOP: &str = "/sys/fs/cgroup";
        let mut folder = control_group(self)?;
        let mut least = None;
        loop {
            // "max" is no number, and no limit.
            let limit = self.value::<u64>(&format!("{folder}/memory.max"));
            least = least.into_iter().chain(limit).min();
            match folder.rfind('/') {
                Some(end) if end >= TOP.len() => folder.truncate(end),
                _ => return least,
            }
        }
    }
}
