//! Whether the node has as much to do as it may. It begins to refuse at a limit and takes more again well below it, so that it
//! does not waver between the two.

use std::fmt;

use clock::Duration;

use super::Capacity;
use crate::check_host::print_bytes;
use crate::config::BitRate;

/// Rates are smoothed over about so long: a key frame for everybody is no overload.
const SMOOTHING: Duration = Duration::from_secs(2);
/// The part of a limit below which more is taken again.
const RELIEVED: f64 = 0.9;

/// What a node has no more of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// Transports of all workers.
    Transports,
    /// [`Capacity::packets_per_second`].
    PacketsPerSecond,
    /// [`Capacity::bits_per_second`].
    BitsPerSecond,
    /// [`Capacity::memory_bytes`].
    Memory,
}

/// How many limits there are.
pub const LIMITS: usize = 4;

impl Limit {
    /// All of them.
    pub const ALL: [Self; LIMITS] = [
        Self::Transports,
        Self::PacketsPerSecond,
        Self::BitsPerSecond,
        Self::Memory,
    ];

    /// The name in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Transports => "transports",
            Self::PacketsPerSecond => "packets_per_second",
            Self::BitsPerSecond => "bits_per_second",
            Self::Memory => "memory",
        }
    }
}

/// What the node has to do.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Usage {
    /// Datagrams in and out.
    pub packets_per_second: f64,
    /// Payload of those.
    pub bits_per_second: f64,
    /// Resident memory.
    pub memory_bytes: u64,
}

/// A limit that is reached, with figures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Over {
    /// Which.
    pub limit: Limit,
    usage: u64,
    most: u64,
}

impl fmt::Display for Over {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { limit, usage, most } = *self;
        match limit {
            Limit::Transports => write!(f, "the node has {usage} transports of at most {most}"),
            Limit::PacketsPerSecond => {
                write!(
                    f,
                    "the node is over its limit of packets: {usage} packets/s of at most {most}"
                )
            }
            Limit::BitsPerSecond => write!(
                f,
                "the node is over its limit of bits: {} of at most {}",
                BitRate(usage),
                BitRate(most)
            ),
            Limit::Memory => write!(
                f,
                "the node is over its limit of memory: {} of at most {}",
                print_bytes(usage),
                print_bytes(most)
            ),
        }
    }
}

/// Watches what the node does.
#[derive(Debug)]
pub struct Guard {
    capacity: Capacity,
    smooth: Usage,
    /// In the order of [`Limit::ALL`]; transports are counted elsewhere.
    over: [bool; LIMITS],
}

impl Guard {
    /// Nothing is done yet.
    pub fn new(capacity: Capacity) -> Self {
        Self {
            capacity,
            smooth: Usage::default(),
            over: [false; LIMITS],
        }
    }

    /// So much may be done from now on.
    pub fn set_capacity(&mut self, capacity: Capacity) {
        self.capacity = capacity;
    }

    /// So much was done during `passed`. To be said a few times a second.
    pub fn observe(&mut self, passed: Duration, usage: Usage) {
        let share = 1.0 - (-passed.as_secs_f64() / SMOOTHING.as_secs_f64()).exp();
        let smooth = &mut self.smooth;
        smooth.packets_per_second += share * (usage.packets_per_second - smooth.packets_per_second);
        smooth.bits_per_second += share * (usage.bits_per_second - smooth.bits_per_second);
        smooth.memory_bytes = usage.memory_bytes;
        for limit in Limit::ALL {
            let Some((usage, most)) = self.reading(limit) else {
                continue;
            };
            let over = &mut self.over[limit as usize];
            let bound = if *over { RELIEVED * most } else { most };
            *over = usage >= bound;
        }
    }

    /// The first limit that is reached.
    pub fn over(&self) -> Option<Over> {
        let reached = |limit: &Limit| self.is_over(*limit);
        let limit = Limit::ALL.into_iter().find(reached)?;
        let (usage, most) = self.reading(limit)?;
        Some(Over {
            limit,
            usage: usage as u64,
            most: most as u64,
        })
    }

    /// Whether this one is reached.
    pub fn is_over(&self, limit: Limit) -> bool {
        self.over[limit as usize]
    }

    /// What there is of it, and what there may be.
    fn reading(&self, limit: Limit) -> Option<(f64, f64)> {
        let Self {
            capacity, smooth, ..
        } = self;
        Some(match limit {
            Limit::Transports => return None,
            Limit::PacketsPerSecond => (
                smooth.packets_per_second,
                capacity.packets_per_second as f64,
            ),
            Limit::BitsPerSecond => (smooth.bits_per_second, capacity.bits_per_second as f64),
            Limit::Memory => (smooth.memory_bytes as f64, capacity.memory_bytes as f64),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEAT: Duration = Duration::from_millis(200);

    fn usage(packets_per_second: f64) -> Usage {
        Usage {
            packets_per_second,
            bits_per_second: 8_000.0 * packets_per_second,
            memory_bytes: 1 << 20,
        }
    }

    fn guard() -> Guard {
        Guard::new(Capacity {
            packets_per_second: 1_000,
            bits_per_second: 9_000_000,
            memory_bytes: 2 << 20,
        })
    }

    #[test]
    fn it_refuses_at_the_limit_and_takes_more_well_below_it() {
        let mut guard = guard();
        let mut run = |seconds: u32, packets: f64| {
            (0..5 * seconds).for_each(|_| guard.observe(BEAT, usage(packets)));
            guard.over()
        };
        assert_eq!(run(20, 990.0), None);
        assert_eq!(run(1, 1_005.0), None, "that is a peak");
        let over = run(20, 1_020.0).expect("that is too much");
        assert_eq!(over.limit, Limit::PacketsPerSecond);
        assert!(over.to_string().contains("of at most 1000"), "{over}");
        assert!(run(20, 950.0).is_some(), "it does not waver");
        assert_eq!(run(20, 880.0), None);
        assert_eq!(run(20, 950.0), None);
        assert_eq!(
            run(20, 1_200.0).map(|over| over.limit),
            Some(Limit::PacketsPerSecond)
        );
    }

    #[test]
    fn every_limit_is_watched() {
        let mut guard = guard();
        let mut full = usage(10.0);
        full.memory_bytes = 2 << 20;
        guard.observe(BEAT, full);
        let over = guard.over().expect("memory");
        assert_eq!(
            over.to_string(),
            "the node is over its limit of memory: 2 MiB of at most 2 MiB"
        );
        let mut wide = usage(10.0);
        wide.bits_per_second = 1e12;
        guard.observe(BEAT, wide);
        assert_eq!(
            guard.over().map(|over| over.limit),
            Some(Limit::BitsPerSecond)
        );
        assert!(!guard.is_over(Limit::Memory));
    }

    #[test]
    fn without_limits_there_is_none() {
        let mut guard = Guard::new(Capacity::UNLIMITED);
        guard.observe(BEAT, usage(1e12));
        assert_eq!(guard.over(), None);
    }
}
