//! What there is to do, what a node can do, and the one number that comes of it.

use clock::Instant;

/// Packets a second that a node is taken to manage if it does not say: a quarter of what one core was measured to carry.
const ASSUMED_PACKETS: f64 = 200_000.0;
/// A worker that is busy for so much of its time has no room for bursts.
const WORKER_BUSY_MAX: f64 = 0.9;
/// A node that loses so much of what arrives is overloaded, whatever else it says.
const DROPPED_SHARE_MAX: f64 = 0.01;
/// Fewer losses a second than this say nothing: one burst, a debugger.
const DROPPED_LEAST: f64 = 50.0;

/// Packets a second of one stream of sound and pictures, one way.
const STREAM_PACKETS: f64 = 200.0;
/// Its bits a second.
const STREAM_BITS: f64 = 1.6e6;
/// Memory of a published stream: mostly what is kept for retransmission.
const PUBLISHER_MEMORY: f64 = 700e3;
/// Memory of a received stream.
const SUBSCRIBER_MEMORY: f64 = 20e3;

/// How much a session is, by what the master knows itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shape {
    /// Users in it.
    pub connections: u32,
    /// Streams that they publish.
    pub publishers: u32,
    /// Streams that they receive.
    pub subscribers: u32,
    /// Sound and pictures of all of these, counted singly.
    pub media_lines: u32,
    /// Further consumers inside the node, such as recorders.
    pub taps: u32,
}

impl Shape {
    /// Publishers and subscribers.
    pub fn streams(&self) -> u32 {
        self.publishers.saturating_add(self.subscribers)
    }

    /// The larger of each.
    pub(crate) fn greatest(self, other: Self) -> Self {
        Self {
            connections: self.connections.max(other.connections),
            publishers: self.publishers.max(other.publishers),
            subscribers: self.subscribers.max(other.subscribers),
            media_lines: self.media_lines.max(other.media_lines),
            taps: self.taps.max(other.taps),
        }
    }

    /// What that takes of a node, reckoned with usual streams.
    pub fn demand(&self) -> Demand {
        self.ends().demand()
    }

    pub(crate) fn ends(&self) -> Ends {
        Ends {
            publishers: self.publishers,
            subscribers: self.subscribers,
        }
    }
}

/// What makes load: both ends of streams.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ends {
    pub publishers: u32,
    pub subscribers: u32,
}

impl Ends {
    /// What is here and not there.
    pub fn beyond(self, there: Self) -> Self {
        Self {
            publishers: self.publishers.saturating_sub(there.publishers),
            subscribers: self.subscribers.saturating_sub(there.subscribers),
        }
    }

    /// What is both here and there.
    pub fn common(self, there: Self) -> Self {
        Self {
            publishers: self.publishers.min(there.publishers),
            subscribers: self.subscribers.min(there.subscribers),
        }
    }

    /// What that takes, reckoned with usual streams.
    pub fn demand(self) -> Demand {
        Demand::of(self.publishers.into(), self.subscribers.into())
    }
}

/// What something takes of a node.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Demand {
    /// Packets a second, both ways.
    pub packets: f64,
    /// Bits a second, both ways.
    pub bits: f64,
    /// Transports.
    pub transports: f64,
    /// Bytes of memory.
    pub memory: f64,
}

impl Demand {
    /// Nothing.
    pub const NONE: Self = Self {
        packets: 0.0,
        bits: 0.0,
        transports: 0.0,
        memory: 0.0,
    };

    /// What usual streams take. Parts of streams are expected ones.
    pub(crate) fn of(publishers: f64, subscribers: f64) -> Self {
        let streams = publishers + subscribers;
        Self {
            packets: streams * STREAM_PACKETS,
            bits: streams * STREAM_BITS,
            transports: streams,
            memory: publishers * PUBLISHER_MEMORY + subscribers * SUBSCRIBER_MEMORY,
        }
    }

    pub(crate) fn plus(self, other: Self) -> Self {
        Self {
            packets: self.packets + other.packets,
            bits: self.bits + other.bits,
            transports: self.transports + other.transports,
            memory: self.memory + other.memory,
        }
    }

    /// Never below nothing: sums of fractions need not cancel out.
    pub(crate) fn minus(self, other: Self) -> Self {
        Self {
            packets: (self.packets - other.packets).max(0.0),
            bits: (self.bits - other.bits).max(0.0),
            transports: (self.transports - other.transports).max(0.0),
            memory: (self.memory - other.memory).max(0.0),
        }
    }

    pub(crate) fn times(self, factor: f64) -> Self {
        Self {
            packets: self.packets * factor,
            bits: self.bits * factor,
            transports: self.transports * factor,
            memory: self.memory * factor,
        }
    }
}

/// What a node says that it can take. What it does not say limits nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Limits {
    /// Packets a second, both ways.
    pub packets: Option<f64>,
    /// Bits a second, both ways.
    pub bits: Option<f64>,
    /// Transports.
    pub transports: Option<f64>,
    /// Bytes of memory.
    pub memory: Option<f64>,
}

/// What was read of a node.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Report {
    /// When it was asked for: what came later can't show in it.
    pub at: Instant,
    /// What it did since the report before; none in the first.
    pub rates: Option<Rates>,
    /// The busiest worker's share of its time at work, 0 to 1.
    pub busiest_worker: f64,
    /// Resident memory, bytes.
    pub memory: f64,
    /// Transports that are not closed.
    pub transports: f64,
    /// It takes new transports.
    pub ready: bool,
    /// What it can take.
    pub limits: Limits,
}

/// What a node did, each second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rates {
    /// Packets, both ways.
    pub packets: f64,
    /// Packets that arrived.
    pub received: f64,
    /// Bits, both ways.
    pub bits: f64,
    /// Packets that the kernel dropped because a socket's queue was full.
    pub dropped: f64,
    /// Processor time used, in shares of all cores given to the node, 0 to 1.
    pub cpu: f64,
}

/// What a load is made of; the largest counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Component {
    /// Packets a second.
    #[default]
    Packets,
    /// Bits a second.
    Bits,
    /// The busiest worker.
    Worker,
    /// Losses at receiving.
    Drops,
    /// Memory.
    Memory,
    /// Transports.
    Transports,
}

impl Component {
    /// The word in logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Packets => "packets",
            Self::Bits => "bits",
            Self::Worker => "worker",
            Self::Drops => "drops",
            Self::Memory => "memory",
            Self::Transports => "transports",
        }
    }
}

/// How full a node is: the largest of its components, each divided by its limit.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Load {
    /// 0: idle; 1: at a limit.
    pub ratio: f64,
    /// Which limit that is.
    pub component: Component,
}

impl Load {
    /// What was reported, and what is reserved beside it.
    pub fn of(report: Option<&Report>, reserved: &Demand) -> Self {
        let idle = Report::default();
        let report = report.unwrap_or(&idle);
        let limits = &report.limits;
        let rates = report.rates.unwrap_or_default();
        let packets_max = limits.packets.unwrap_or(ASSUMED_PACKETS);
        let share = |value: f64, limit: Option<f64>| limit.map_or(0.0, |limit| ratio(value, limit));
        let dropped_max = (rates.received * DROPPED_SHARE_MAX).max(DROPPED_LEAST);
        let worker = report.busiest_worker + ratio(reserved.packets, packets_max);
        let components = [
            (
                ratio(rates.packets + reserved.packets, packets_max),
                Component::Packets,
            ),
            (
                share(rates.bits + reserved.bits, limits.bits),
                Component::Bits,
            ),
            (ratio(worker, WORKER_BUSY_MAX), Component::Worker),
            (ratio(rates.dropped, dropped_max), Component::Drops),
            (
                share(report.memory + reserved.memory, limits.memory),
                Component::Memory,
            ),
            (
                share(report.transports + reserved.transports, limits.transports),
                Component::Transports,
            ),
        ];
        let largest = components.into_iter().max_by(|a, b| a.0.total_cmp(&b.0));
        largest.map_or_else(Self::default, |(ratio, component)| Self {
            ratio,
            component,
        })
    }
}

/// A limit of nothing is always reached; what is no number counts as nothing.
fn ratio(value: f64, limit: f64) -> f64 {
    match value.is_finite() && value > 0.0 {
        false => 0.0,
        true if limit > 0.0 => value / limit,
        true => f64::MAX,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        Report {
            rates: Some(Rates {
                packets: 10_000.0,
                received: 1000.0,
                bits: 80e6,
                dropped: 0.0,
                cpu: 0.1,
            }),
            busiest_worker: 0.09,
            memory: 100e6,
            transports: 50.0,
            ready: true,
            limits: Limits {
                packets: Some(100_000.0),
                bits: Some(1e9),
                transports: Some(1000.0),
                memory: Some(1e9),
            },
            ..Report::default()
        }
    }

    #[test]
    fn the_largest_component_is_the_load() {
        let none = Demand::NONE;
        let load = |report: &Report| Load::of(Some(report), &none);
        assert!((load(&report()).ratio - 0.1).abs() < 1e-9);
        type Change = fn(&mut Report);
        let cases: [(Change, Component, f64); 6] = [
            (
                |r| r.limits.packets = Some(20_000.0),
                Component::Packets,
                0.5,
            ),
            (|r| r.limits.bits = Some(100e6), Component::Bits, 0.8),
            (|r| r.busiest_worker = 0.45, Component::Worker, 0.5),
            (
                |r| {
                    r.rates = r.rates.map(|rates| Rates {
                        dropped: 25.0,
                        ..rates
                    })
                },
                Component::Drops,
                0.5,
            ),
            (|r| r.memory = 600e6, Component::Memory, 0.6),
            (|r| r.transports = 700.0, Component::Transports, 0.7),
        ];
        for (change, component, ratio) in cases {
            let mut changed = report();
            change(&mut changed);
            let load = load(&changed);
            assert_eq!(load.component, component);
            assert!((load.ratio - ratio).abs() < 1e-9, "{load:?}");
        }
    }

    #[test]
    fn what_is_reserved_counts_as_if_it_were_there() {
        let ends = Ends {
            publishers: 50,
            subscribers: 50,
        };
        let load = Load::of(Some(&report()), &ends.demand());
        assert!(load.ratio > 0.29, "{load:?}");
        assert!(Load::of(None, &ends.demand()).ratio > 0.09);
    }

    #[test]
    fn nonsense_is_no_load_and_no_limit_is_none() {
        let mut odd = report();
        odd.limits = Limits::default();
        odd.memory = f64::NAN;
        odd.busiest_worker = f64::NEG_INFINITY;
        assert!(Load::of(Some(&odd), &Demand::NONE).ratio < 0.1);
        odd.limits.transports = Some(0.0);
        assert!(Load::of(Some(&odd), &Demand::NONE).ratio > 1.0);
    }
}
