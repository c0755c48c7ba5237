//! A node as it really is, and what it tells of that.

use clock::Instant;
use scheduler::{Demand, Limits, Load, Rates, Report};

/// Bits a second that a node carries for each packet a second: 1250 octets, more than is usual.
const BITS: f64 = 10_000.0;
/// Memory in bytes, and transports, likewise: seldom what limits.
const MEMORY: f64 = 20_000.0;
const TRANSPORTS: f64 = 0.05;
/// Packets that arrive of all, and that must get lost of those that are too many.
const RECEIVED: f64 = 0.3;
/// Loads are averaged over so long by the kernel's load average, ms.
const LOAD_AVERAGE: f64 = 60_000.0;
/// Busiest worker at full load.
const WORKER: f64 = 0.9;

/// What somebody who reads a node sees.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Reading {
    /// As our master reads it.
    pub report: Report,
    /// Load average of a minute, for each processor.
    pub load_average: f64,
}

impl Reading {
    /// Processor time, 0 to 1.
    pub fn cpu(&self) -> f64 {
        self.report.rates.map_or(0.0, |rates| rates.cpu)
    }

    /// How full it looks: the largest of what it tells.
    pub fn load(&self) -> f64 {
        Load::of(Some(&self.report), &Demand::NONE).ratio
    }
}

/// A node as it is.
#[derive(Clone, Debug)]
pub struct Node {
    /// It runs.
    pub up: bool,
    /// Participants on it.
    pub participants: u32,
    /// Sessions on it.
    pub sessions: Vec<u32>,
    /// How full it is; 1: what it takes is what it can. More than that is what nobody must get.
    pub load: f64,
    limits: Limits,
    takes: Demand,
    /// Loads times ms, until `summed_at`, in all.
    sums: Sums,
    summed_at: u64,
    /// The same when it was last read.
    read: Option<(u64, Sums)>,
    load_average: f64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    packets: f64,
    bits: f64,
}

impl Node {
    /// One that carries so many packets a second.
    pub fn new(packets: f64) -> Self {
        Self {
            up: false,
            participants: 0,
            sessions: Vec::new(),
            load: 0.0,
            limits: Limits {
                packets: Some(packets),
                bits: Some(packets * BITS),
                transports: Some((packets * TRANSPORTS).ceil()),
                memory: Some(packets * MEMORY),
            },
            takes: Demand::NONE,
            sums: Sums::default(),
            summed_at: 0,
            read: None,
            load_average: 0.0,
        }
    }

    /// Packets a second that it carries.
    pub fn packets(&self) -> f64 {
        self.limits.packets.unwrap_or_default()
    }

    /// It begins anew.
    pub fn start(&mut self, now: u64) {
        *self = Self::new(self.packets());
        (self.up, self.summed_at) = (true, now);
    }

    /// What it has to do changes from `was` to `is`, for some of it.
    pub fn change(&mut self, now: u64, was: Demand, is: Demand) {
        self.sum(now);
        let takes = &mut self.takes;
        takes.packets = (takes.packets + is.packets - was.packets).max(0.0);
        takes.bits = (takes.bits + is.bits - was.bits).max(0.0);
        takes.transports = (takes.transports + is.transports - was.transports).max(0.0);
        takes.memory = (takes.memory + is.memory - was.memory).max(0.0);
        if self.participants == 0 {
            // What rounding has left.
            *takes = Demand::NONE;
        }
        self.load = self.ratio();
    }

    /// The largest component, as the scheduler has it.
    fn ratio(&self) -> f64 {
        let (takes, limits) = (&self.takes, &self.limits);
        let components = [
            (takes.packets, limits.packets),
            (takes.bits, limits.bits),
            (takes.transports, limits.transports),
            (takes.memory, limits.memory),
        ];
        let ratios = components.map(|(takes, limit)| takes / limit.unwrap_or(f64::MAX));
        ratios.into_iter().fold(0.0, f64::max)
    }

    /// Reads it at `now`.
    pub fn read(&mut self, now: u64) -> Reading {
        self.sum(now);
        let limits = self.limits;
        let reading = self.read.map(|(at, before)| {
            let millis = now.saturating_sub(at).max(1) as f64;
            let average = |sum: f64, before: f64| (sum - before) / millis;
            let packets = average(self.sums.packets, before.packets);
            let bits = average(self.sums.bits, before.bits);
            let full = limits.packets.unwrap_or(f64::MAX);
            let busy = packets / full;
            let keep = (-millis / LOAD_AVERAGE).exp();
            self.load_average = self.load_average * keep + busy * (1.0 - keep);
            // It can't do more than it can; the rest is lost where it arrives.
            Rates {
                packets: packets.min(full),
                received: packets * RECEIVED,
                bits: bits.min(limits.bits.unwrap_or(f64::MAX)),
                dropped: (packets - full).max(0.0) * RECEIVED,
                cpu: busy.min(1.0),
            }
        });
        self.read = Some((now, self.sums));
        Reading {
            report: Report {
                at: instant(now),
                rates: reading,
                busiest_worker: reading.map_or(0.0, |rates| rates.cpu * WORKER),
                memory: self.takes.memory,
                transports: self.takes.transports,
                ready: limits
                    .transports
                    .is_none_or(|most| self.takes.transports < most),
                limits,
            },
            load_average: self.load_average,
        }
    }

    fn sum(&mut self, now: u64) {
        let millis = now.saturating_sub(self.summed_at) as f64;
        self.sums.packets += self.takes.packets * millis;
        self.sums.bits += self.takes.bits * millis;
        self.summed_at = now;
    }
}

/// Simulated time for the scheduler. It begins well after its zero, which means "long ago" there.
pub fn instant(now: u64) -> Instant {
    Instant::from_millis(86_400_000 + now)
}
