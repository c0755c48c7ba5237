//! What a run was made on: without that, a figure says nothing.

use serde::{Deserialize, Serialize};

/// The facts of a machine that figures depend on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// Release of the kernel.
    pub kernel: String,
    /// Model of the processor, as it names itself.
    pub processor: String,
    /// How many of them this process may use.
    pub processors: usize,
    /// Whether it runs under a hypervisor: system calls and wake-ups are dearer there.
    pub virtual_machine: bool,
    /// Octets of memory.
    pub memory: u64,
}

impl Machine {
    /// Looks around. What cannot be found out stays empty.
    pub fn read() -> Self {
        let read = |path| std::fs::read_to_string(path).unwrap_or_default();
        let cpuinfo = read("/proc/cpuinfo");
        let cpu = |name: &str| {
            cpuinfo
                .lines()
                .find(|line| line.starts_with(name))
                .and_then(|line| line.split_once(':'))
                .map(|(_, value)| value.trim().to_owned())
                .unwrap_or_default()
        };
        let memory = read("/proc/meminfo")
            .lines()
            .find_map(|line| line.strip_prefix("MemTotal:"))
            .and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok())
            .unwrap_or_default();
        Self {
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            processor: cpu("model name"),
            processors: std::thread::available_parallelism().map_or(0, Into::into),
            virtual_machine: cpu("flags").split(' ').any(|flag| flag == "hypervisor"),
            memory: memory * 1024,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_a_kernel_and_processors() {
        let machine = Machine::read();
        assert!(!machine.kernel.is_empty());
        assert!(machine.processors > 0);
        assert!(machine.memory > 1 << 20);
    }
}
