//! What this node can take: measured of itself at the start, unless the configuration says it.
//!
//! The master weighs what a node does by these figures, and the node refuses what would be more. So they are rather too
//! low than too high: of what the processors could do a part is kept back, and loopback, where it is tried, costs more
//! than a card.

use std::fmt::Write as _;

use crate::check_host::{Host, print_bytes};
use crate::config::{BitRate, Config};

mod guard;
mod measure;

pub use guard::{Guard, LIMITS, Limit, Over, Usage};
pub use measure::forwarding;

/// The part of the processors' time that a node plans with; the rest is for storms, the agent and the kernel.
const USABLE: f64 = 0.75;
/// All that a packet of a real call costs, in relation to what is measured: the engine's part, and that of caches which many calls
/// share. With it a worker that carried 247 000 packets/s of calls of four at most says 220 000.
const ENGINE: f64 = 1.5;
/// Packets per second and core where nothing can be measured: what a slow core does.
const PACKETS_PER_CORE: u64 = 100_000;
/// The bounds of what is believed of a measurement, per core.
const BELIEVED: (u64, u64) = (10_000, 5_000_000);
/// Payload of a packet, sound and pictures mixed, where no interface says what it carries.
const MEAN_BITS: u64 = 8 * 1000;
/// The part of an interface's speed that is payload and not headers or gaps, in percent; in and out together are held to
/// what it carries one way.
const PAYLOAD_PERCENT: u64 = 90;
/// The part of the memory that the process may have, in percent; the rest is the kernel's, for queues.
const MEMORY_PERCENT: u64 = 90;
/// Memory where nobody says how much there is.
const MEMORY_UNKNOWN: u64 = 1 << 30;

/// How much a node takes, all workers together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// Datagrams in and out.
    pub packets_per_second: u64,
    /// Payload of those datagrams, in and out.
    pub bits_per_second: u64,
    /// Resident memory of the process.
    pub memory_bytes: u64,
}

impl Capacity {
    /// No limit at all.
    pub const UNLIMITED: Self = Self {
        packets_per_second: u64::MAX,
        bits_per_second: u64::MAX,
        memory_bytes: u64::MAX,
    };
}

/// What one packet took, as it was measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cost {
    /// Processor time, nanoseconds.
    pub nanos: f64,
    /// How packets got in and out.
    pub driver: &'static str,
}

/// What a node of this configuration can take on this host, and in one line where each figure comes from.
///
/// `measure` is asked for the cost of a packet only if the configuration leaves that open.
pub fn assess(
    config: &Config,
    host: &Host<'_>,
    measure: impl FnOnce() -> Result<Cost, String>,
) -> (Capacity, String) {
    let mut told = String::new();
    let limits = &config.limits;
    let packets_per_second = limits.packets_per_second.unwrap_or_else(|| {
        let (packets, why) = packets(cores(config), measure());
        let _ = write!(told, "{packets} packets/s ({why})");
        packets
    });
    let bits_per_second = limits.bits_per_second.map_or_else(
        || {
            let (bits, why) = bits(config, host, packets_per_second);
            let _ = write!(told, ", {} ({why})", BitRate(bits));
            bits
        },
        |rate| rate.0,
    );
    let memory_bytes = limits.memory.map_or_else(
        || {
            let (memory, why) = memory(host);
            let _ = write!(told, ", {} of memory ({why})", print_bytes(memory));
            memory
        },
        |memory| memory.0,
    );
    let configured = configured(config);
    if !configured.is_empty() {
        let _ = write!(told, ", configured: {configured}");
    }
    let capacity = Capacity {
        packets_per_second,
        bits_per_second,
        memory_bytes,
    };
    (capacity, told.trim_start_matches(", ").to_owned())
}

/// Cores that workers can have: those that the process may use, by affinity and quota.
fn cores(config: &Config) -> u64 {
    let allowed = std::thread::available_parallelism().map_or(1, usize::from) as u64;
    allowed.min(u64::from(config.media.workers)).max(1)
}

fn packets(cores: u64, measured: Result<Cost, String>) -> (u64, String) {
    let plural = if cores == 1 { "core" } else { "cores" };
    match measured {
        Ok(Cost { nanos, driver }) => {
            let (least, most) = BELIEVED;
            let each = USABLE * 1e9 / (nanos.max(1.0) * ENGINE);
            let each = (each as u64).clamp(least, most);
            let why = format!("measured: {nanos:.0} ns each by {driver}, {cores} {plural}");
            (each * cores, why)
        }
        Err(error) => {
            let why = format!("not measured: {error}; taken for {cores} slow {plural}");
            (PACKETS_PER_CORE * cores, why)
        }
    }
}

fn bits(config: &Config, host: &Host<'_>, packets: u64) -> (u64, String) {
    let speeds = host.media_speeds(config);
    let total: u64 = speeds.iter().map(|(_, speed)| speed).sum();
    if total == 0 {
        return (
            packets.saturating_mul(MEAN_BITS),
            "no interface says its speed".into(),
        );
    }
    let names: Vec<&str> = speeds.iter().map(|(name, _)| name.as_str()).collect();
    let why = format!("{} of {}", BitRate(total), names.join(", "));
    (total / 100 * PAYLOAD_PERCENT, why)
}

fn memory(host: &Host<'_>) -> (u64, String) {
    match host.memory_limit() {
        Some((bytes, whose)) => {
            let why = format!("{MEMORY_PERCENT} % of {} {whose}", print_bytes(bytes));
            (bytes / 100 * MEMORY_PERCENT, why)
        }
        None => (MEMORY_UNKNOWN, "nobody says how much there is".into()),
    }
}

/// What of the limits the configuration sets.
fn configured(config: &Config) -> String {
    let limits = &config.limits;
    let packets = limits
        .packets_per_second
        .map(|packets| format!("{packets} packets/s"));
    let bits = limits.bits_per_second.map(|bits| bits.to_string());
    let memory = limits.memory.map(|memory| format!("{memory} of memory"));
    let all: Vec<String> = packets.into_iter().chain(bits).chain(memory).collect();
    all.join(", ")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::check_host::SystemProbes;

    fn config(text: &str) -> Config {
        let text = format!("media.advertise = ['192.0.2.1']\nmedia.workers = 1\n{text}");
        Config::load(None, text.parse().expect("TOML")).expect("valid")
    }

    /// A host of one interface and one control group.
    fn with_host(name: &str, files: &[(&str, &str)], see: impl FnOnce(&Host<'_>)) {
        let root = std::env::temp_dir().join(format!("ringcast-{name}-{}", std::process::id()));
        for (path, text) in files {
            let path = root.join(path);
            std::fs::create_dir_all(path.parent().unwrap_or(Path::new("/"))).expect("a folder");
            std::fs::write(path, text).expect("written");
        }
        see(&Host::new(&root, &SystemProbes));
        let _ = std::fs::remove_dir_all(&root);
    }

    const ROUTE: (&str, &str) = (
        "proc/net/route",
        "Iface Destination Gateway Flags RefCnt Use Metric Mask\neth0 00000000 010000C0 0003 0 0 0 00000000\n",
    );

    #[test]
    fn what_is_measured_is_told_with_its_reason() {
        let files = [
            ROUTE,
            ("sys/class/net/eth0/speed", "10000\n"),
            ("proc/meminfo", "MemTotal:       8388608 kB\n"),
        ];
        with_host("assess", &files, |host| {
            let cost = Cost {
                nanos: 2_000.0,
                driver: "uring",
            };
            let (found, told) = assess(&config(""), host, || Ok(cost));
            assert_eq!(found.packets_per_second, 250_000, "{told}");
            assert_eq!(found.bits_per_second, 9_000_000_000);
            assert_eq!(found.memory_bytes, (8 << 30) / 100 * 90);
            for part in ["2000 ns", "1 core", "10Gbit/s of eth0", "90 % of 8 GiB"] {
                assert!(told.contains(part), "{part}: {told}");
            }
        });
    }

    #[test]
    fn a_measurement_that_fails_is_said_and_replaced() {
        with_host("fails", &[], |host| {
            let (found, told) = assess(&config(""), host, || Err("no loopback".into()));
            assert_eq!(found.packets_per_second, PACKETS_PER_CORE);
            assert_eq!(found.bits_per_second, PACKETS_PER_CORE * MEAN_BITS);
            assert_eq!(found.memory_bytes, MEMORY_UNKNOWN);
            assert!(
                told.contains("no loopback") && told.contains("no interface"),
                "{told}"
            );
        });
    }

    #[test]
    fn the_smallest_group_around_us_counts() {
        let files = [
            ("proc/self/cgroup", "0::/pod/node\n"),
            ("sys/fs/cgroup/cgroup.controllers", "memory\n"),
            ("sys/fs/cgroup/pod/cgroup.controllers", "memory\n"),
            ("sys/fs/cgroup/pod/memory.max", "1073741824\n"),
            ("sys/fs/cgroup/pod/node/cgroup.controllers", "memory\n"),
            ("sys/fs/cgroup/pod/node/memory.max", "max\n"),
            ("proc/meminfo", "MemTotal:       8388608 kB\n"),
        ];
        with_host("group", &files, |host| {
            let (bytes, whose) = host.memory_limit().expect("told");
            assert_eq!(bytes, 1 << 30, "{whose}");
        });
    }

    #[test]
    fn what_is_configured_is_not_measured() {
        let text =
            "limits = { packets_per_second = 5000, bits_per_second = '20Mbit/s', memory = '1GiB' }";
        with_host("told", &[], |host| {
            let (found, told) = assess(&config(text), host, || panic!("it is configured"));
            let expected = Capacity {
                packets_per_second: 5_000,
                bits_per_second: 20_000_000,
                memory_bytes: 1 << 30,
            };
            assert_eq!(found, expected);
            assert_eq!(told, "configured: 5000 packets/s, 20Mbit/s, 1GiB of memory");
        });
    }

    #[test]
    fn nonsense_is_not_believed() {
        let cost = |nanos| {
            let driver = "mmsg";
            packets(1, Ok(Cost { nanos, driver })).0
        };
        assert_eq!(cost(0.0), BELIEVED.1);
        assert_eq!(cost(1e12), BELIEVED.0);
    }
}
