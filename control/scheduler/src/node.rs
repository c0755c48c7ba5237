//! What is known of one node.

use clock::Instant;

use crate::load::{Demand, Load, Report, Shape};
use crate::sessions;
use crate::strategy::{Policy, Strategy};

/// A load that nothing is known of: neither preferred nor shunned.
const UNKNOWN_LOAD: f64 = 0.25;
/// What a stale report costs.
const STALE_PENALTY: f64 = 0.25;
/// Steps of load that the index tells apart.
const STEPS: f64 = 1000.0;
/// Sessions decide among nodes with as much of everything else.
const SECOND: u64 = 1 << 20;

/// How old the last report is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Freshness {
    Fresh,
    Stale,
    Excluded,
}

/// What a node is to a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It may be chosen.
    Open,
    /// It may be chosen, but its last report is old.
    Stale,
    /// Its last report is too old.
    Excluded,
    /// It is at a limit, or has refused lately.
    Full,
    /// It takes no sessions: it is not up, or is to be emptied.
    Closed,
}

impl Standing {
    /// All of them, for metrics.
    pub const ALL: [Self; 5] = [
        Self::Open,
        Self::Stale,
        Self::Excluded,
        Self::Full,
        Self::Closed,
    ];

    /// The word in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Stale => "stale",
            Self::Excluded => "excluded",
            Self::Full => "full",
            Self::Closed => "closed",
        }
    }
}

#[derive(Debug)]
pub(crate) struct Node<N> {
    pub name: N,
    /// It is up and wanted.
    pub takes: bool,
    /// Since when; it is given as much time for its first report as for any other.
    pub takes_since: Instant,
    pub report: Option<Report>,
    pub freshness: Freshness,
    pub full_until: Option<Instant>,
    /// When time alone changes something.
    pub deadline: Option<Instant>,
    pub held: Held,
    /// Placed and can't show in a report yet.
    pub unseen: Demand,
    /// Expected to come.
    pub growth: Demand,
    /// Sessions with a reservation.
    pub young: Vec<sessions::Number>,
}

/// What is on a node, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Held {
    pub sessions: u64,
    pub connections: u64,
    pub streams: u64,
    pub media_lines: u64,
    pub taps: u64,
}

impl Held {
    pub fn add(&mut self, shape: &Shape) {
        self.connections += u64::from(shape.connections);
        self.streams += u64::from(shape.streams());
        self.media_lines += u64::from(shape.media_lines);
        self.taps += u64::from(shape.taps);
    }

    pub fn remove(&mut self, shape: &Shape) {
        self.connections -= u64::from(shape.connections);
        self.streams -= u64::from(shape.streams());
        self.media_lines -= u64::from(shape.media_lines);
        self.taps -= u64::from(shape.taps);
    }
}

impl<N> Node<N> {
    pub fn new(name: N, now: Instant) -> Self {
        Self {
            name,
            takes: false,
            takes_since: now,
            report: None,
            freshness: Freshness::Fresh,
            full_until: None,
            deadline: None,
            held: Held::default(),
            unseen: Demand::NONE,
            growth: Demand::NONE,
            young: Vec::new(),
        }
    }

    /// Judges by the time again, and says when that is to be done next.
    pub fn wake(&mut self, now: Instant, policy: &Policy) {
        self.full_until = self.full_until.filter(|until| *until > now);
        let seen = self.last_seen();
        let (stale, excluded) = (seen + policy.stale_after, seen + policy.excluded_after);
        let next;
        (self.freshness, next) = if now >= excluded {
            (Freshness::Excluded, None)
        } else if now >= stale {
            (Freshness::Stale, Some(excluded))
        } else {
            (Freshness::Fresh, Some(stale))
        };
        self.deadline = [next, self.full_until].into_iter().flatten().min();
    }

    /// The last sign of its load, or when we began to wait for one.
    pub fn last_seen(&self) -> Instant {
        let reported = self.report.map_or(Instant::ZERO, |report| report.at);
        reported.max(self.takes_since)
    }

    /// What is measured and what can't show there yet.
    pub fn load(&self) -> Load {
        Load::of(self.report.as_ref(), &self.unseen)
    }

    /// The same, and what is expected, and what else speaks against it.
    pub fn score(&self, with: Demand) -> f64 {
        let reserved = self.unseen.plus(self.growth).plus(with);
        let known = Load::of(self.report.as_ref(), &reserved).ratio;
        let unknown = match self.report {
            None => UNKNOWN_LOAD,
            Some(_) => 0.0,
        };
        let stale = match self.freshness {
            Freshness::Fresh => 0.0,
            Freshness::Stale | Freshness::Excluded => STALE_PENALTY,
        };
        known + unknown + stale
    }

    /// It can take nothing more, as far as is known.
    pub fn is_full(&self) -> bool {
        if self.full_until.is_some() {
            return true;
        }
        // What is too old to choose by is too old to refuse by.
        let report = self
            .report
            .filter(|_| self.freshness != Freshness::Excluded);
        // Its first report may be of the moment before it had us.
        let unready = report.is_some_and(|report| report.rates.is_some() && !report.ready);
        unready || report.is_some() && self.load().ratio >= 1.0
    }

    pub fn standing(&self, strategy: Strategy) -> Standing {
        let stale = match strategy.needs_reports() {
            true => self.freshness,
            false => Freshness::Fresh,
        };
        match (self.takes, stale) {
            (false, _) => Standing::Closed,
            (true, _) if self.is_full() => Standing::Full,
            (true, Freshness::Excluded) => Standing::Excluded,
            (true, Freshness::Stale) => Standing::Stale,
            (true, Freshness::Fresh) => Standing::Open,
        }
    }

    /// Its place in the order, if it may be chosen.
    pub fn rank(&self, strategy: Strategy) -> Option<u64> {
        match self.standing(strategy) {
            Standing::Open | Standing::Stale => Some(self.order(strategy)),
            Standing::Excluded | Standing::Full | Standing::Closed => None,
        }
    }

    fn order(&self, strategy: Strategy) -> u64 {
        let held = &self.held;
        let then_sessions = |count: u64| count * SECOND + held.sessions.min(SECOND - 1);
        match strategy {
            Strategy::Capacity => steps(self.score(Demand::NONE)),
            Strategy::Cpu => steps(self.cpu()),
            Strategy::Sessions => held.sessions,
            Strategy::Streams => then_sessions(held.streams),
            Strategy::MediaObjects => then_sessions(held.media_lines + held.taps),
            Strategy::Connections => then_sessions(held.connections),
            Strategy::Manual => 0,
        }
    }

    /// Processor time, and what the reserved will take of it.
    fn cpu(&self) -> f64 {
        let rates = self.report.and_then(|report| report.rates);
        let reserved = self.unseen.plus(self.growth);
        let limits = self.report.map(|report| Report {
            limits: report.limits,
            ..Report::default()
        });
        let share = Load::of(
            limits.as_ref(),
            &Demand {
                packets: reserved.packets,
                ..Demand::NONE
            },
        );
        let measured = rates.map_or(UNKNOWN_LOAD, |rates| rates.cpu);
        let stale = match self.freshness {
            Freshness::Fresh => 0.0,
            Freshness::Stale | Freshness::Excluded => STALE_PENALTY,
        };
        measured + share.ratio + stale
    }
}

/// A load as the index orders it.
pub(crate) fn steps(load: f64) -> u64 {
    // Saturates, and no number is 0.
    (load * STEPS) as u64
}
