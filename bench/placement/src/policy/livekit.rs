//! LiveKit's selectors (livekit/livekit, pkg/routing/selector/{any,sysload,cpuload,utils}.go): nodes whose statistics are younger than
//! five seconds; of these the ones below a limit, or all if there is none; of these any one, the lowest, or the lower of two. A room
//! stays where it is.
//!
//! What is shipped (pkg/config/config.go) is `any` and `random`, with limits of 0.9; 0.7 is what its sample file has for `sysload`.
//! Statistics are told every two seconds.

use clock::Rng;

use super::board::Board;
use super::{Cadence, Entry, Family, Policy, Refused, Request, Standing};
use crate::node::Reading;

/// `AvailableSeconds`, ms.
const FRESH: u64 = 5000;
/// `statsUpdateInterval`, ms.
const TOLD: u64 = 2000;
/// `sysload_limit` of config-sample.yaml.
const SYSTEM_LIMIT: f64 = 0.7;
/// `cpu_load_limit` by default.
const PROCESSOR_LIMIT: f64 = 0.9;
/// Draws after which a list is made of those that are left.
const DRAWS: usize = 64;

pub(super) fn entries() -> Vec<Entry> {
    let existing = |name, about, make| Entry {
        name,
        family: Family::Existing,
        about,
        make,
    };
    vec![
        existing("livekit-any", "LiveKit as shipped, any fresh node", || {
            Box::new(LiveKit::new(Kind::Any, Algorithm::Any))
        }),
        existing(
            "livekit-lowest",
            "LiveKit, sysload below 0.7, the lowest load average",
            || Box::new(LiveKit::new(Kind::System, Algorithm::Lowest)),
        ),
        existing(
            "livekit-twochoice",
            "LiveKit, the same, the lower of two",
            || Box::new(LiveKit::new(Kind::System, Algorithm::TwoChoice)),
        ),
        existing(
            "livekit-cpuload-twochoice",
            "LiveKit, cpuload below 0.9, the lower CPU of two",
            || Box::new(LiveKit::new(Kind::Processor, Algorithm::TwoChoice)),
        ),
    ]
}

/// `node_selector.kind`, and what is sorted by.
#[derive(Clone, Copy)]
enum Kind {
    /// `any`.
    Any,
    /// `sysload`: the load average of a minute for each processor.
    System,
    /// `cpuload`.
    Processor,
}

impl Kind {
    fn limit(self) -> f64 {
        match self {
            Self::Any => f64::MAX,
            Self::System => SYSTEM_LIMIT,
            Self::Processor => PROCESSOR_LIMIT,
        }
    }

    fn load(self, reading: &Reading) -> f64 {
        match self {
            Self::Any => 0.0,
            Self::System => reading.load_average,
            Self::Processor => reading.cpu(),
        }
    }
}

/// `node_selector.sort_by: random`, or else `node_selector.algorithm`.
#[derive(Clone, Copy)]
enum Algorithm {
    Any,
    Lowest,
    TwoChoice,
}

struct LiveKit {
    board: Board,
    kind: Kind,
    algorithm: Algorithm,
    /// Of each node when its statistics were updated; none: there are none yet, and it counts as fresh.
    updated: Vec<Option<u64>>,
}

impl LiveKit {
    fn new(kind: Kind, algorithm: Algorithm) -> Self {
        Self {
            board: Board::default(),
            kind,
            algorithm,
            updated: Vec::new(),
        }
    }

    fn is_fresh(&self, now: u64, node: u32) -> bool {
        let updated = self.updated[node as usize];
        updated.is_none_or(|at| now.saturating_sub(at) < FRESH)
    }

    /// The load of a node that is eligible.
    fn load(&self, now: u64, node: u32, limit: f64) -> Option<f64> {
        let load = self.board.values[node as usize];
        (load < limit && self.is_fresh(now, node)).then_some(load)
    }

    fn select(&self, now: u64, limit: f64, rng: &mut Rng) -> Option<u32> {
        match self.algorithm {
            Algorithm::Any => self.some(now, limit, 1, rng).first().copied(),
            Algorithm::Lowest => self.board.least(rng, |node| self.load(now, node, limit)),
            Algorithm::TwoChoice => {
                let two = self.some(now, limit, 2, rng);
                let load = |node: &u32| self.board.values[*node as usize];
                two.into_iter()
                    .min_by(|one, other| load(one).total_cmp(&load(other)))
            }
        }
    }

    /// So many different ones of those that are eligible, or all if there are fewer.
    fn some(&self, now: u64, limit: f64, many: usize, rng: &mut Rng) -> Vec<u32> {
        let mut some = Vec::with_capacity(many);
        for _ in 0..DRAWS {
            let drawn = self.board.any(rng);
            let eligible = drawn.filter(|node| self.load(now, *node, limit).is_some());
            some.extend(eligible.filter(|node| !some.contains(node)));
            if some.len() == many {
                return some;
            }
        }
        let is_left = |node: &u32| !some.contains(node) && self.load(now, *node, limit).is_some();
        let open = self.board.open.iter().copied();
        let mut left: Vec<u32> = open.filter(is_left).collect();
        while some.len() < many && !left.is_empty() {
            some.push(left.swap_remove(rng.below(left.len() as u64) as usize));
        }
        some
    }
}

impl Policy for LiveKit {
    fn cadence(&self) -> Option<Cadence> {
        Some(Cadence::every(TOLD))
    }

    fn node(&mut self, _now: u64, node: u32, standing: Standing) {
        self.board.node(node, standing);
        let at = node as usize;
        if self.updated.len() <= at {
            self.updated.resize(at + 1, None);
        }
        if standing == Standing::Gone {
            self.updated[at] = None;
        }
    }

    fn report(&mut self, now: u64, node: u32, reading: &Reading) {
        *self.board.value(node) = self.kind.load(reading);
        self.updated[node as usize] = Some(now);
    }

    fn place(&mut self, now: u64, _request: &Request, rng: &mut Rng) -> Result<u32, Refused> {
        let below = self.select(now, self.kind.limit(), rng);
        below
            .or_else(|| self.select(now, f64::INFINITY, rng))
            .ok_or(Refused)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Tried, reading};
    use super::*;

    #[test]
    fn statistics_of_five_seconds_ago_are_too_old() {
        for name in ["livekit-any", "livekit-lowest", "livekit-twochoice"] {
            let mut tried = Tried::new(name, 2);
            tried.report(0, 0, reading(0.0));
            tried.report(3000, 1, reading(0.6));
            assert!(tried.places(4999).contains(&0), "{name}");
            assert_eq!(tried.places(5000), [1], "{name}");
            assert_eq!(tried.places(7999), [1], "{name}");
            assert!(tried.places(8000).is_empty(), "{name}: nobody is left");
        }
    }

    #[test]
    fn what_has_told_nothing_yet_is_fresh() {
        let mut tried = Tried::new("livekit-lowest", 2);
        tried.report(0, 0, reading(0.1));
        assert_eq!(tried.places(60_000), [1]);
    }

    #[test]
    fn nodes_at_the_limit_take_nothing_while_another_is_below() {
        for (name, below, at) in [
            ("livekit-twochoice", 0.69, 0.7),
            ("livekit-cpuload-twochoice", 0.89, 0.9),
        ] {
            let mut tried = Tried::new(name, 4);
            (0..4).for_each(|node| tried.report(0, node, reading(at)));
            tried.report(0, 2, reading(below));
            assert_eq!(tried.places(0), [2], "{name}");
        }
    }

    #[test]
    fn as_shipped_any_node_takes_it_however_full() {
        let mut tried = Tried::new("livekit-any", 3);
        for (node, load) in [(0, 0.1), (1, 0.8), (2, 1.5)] {
            tried.report(0, node, reading(load));
        }
        assert_eq!(tried.places(0), [0, 1, 2]);
        let every = tried.policy.cadence();
        assert_eq!(every, Some(Cadence::every(2000)));
    }

    #[test]
    fn two_choices_are_of_all_where_no_node_is_below_the_limit() {
        let mut tried = Tried::new("livekit-twochoice", 4);
        for (node, load) in [(0, 0.8), (1, 0.9), (2, 1.0), (3, 1.1)] {
            tried.report(0, node, reading(load));
        }
        // All but the fullest are the lower of some two.
        assert_eq!(tried.places(0), [0, 1, 2]);
    }

    #[test]
    fn few_that_are_eligible_are_found_among_many() {
        let mut tried = Tried::new("livekit-twochoice", 2000);
        (0..2000).for_each(|node| tried.report(0, node, reading(0.9)));
        for (node, load) in [(7, 0.1), (8, 0.2), (1999, 0.3)] {
            tried.report(0, node, reading(load));
        }
        assert_eq!(tried.places(0), [7, 8]);
    }

    #[test]
    fn it_is_the_load_average_or_the_processor() {
        let busy_lately = Reading {
            load_average: 0.1,
            ..reading(0.6)
        };
        for (name, wanted) in [("livekit-twochoice", 0), ("livekit-cpuload-twochoice", 1)] {
            let mut tried = Tried::new(name, 2);
            tried.report(0, 0, busy_lately);
            tried.report(0, 1, reading(0.3));
            assert_eq!(tried.places(0), [wanted], "{name}");
        }
    }
}
