//! LiveKit's `sysload` selector (livekit/livekit, pkg/routing/selector/{sysload,utils}.go): nodes whose statistics are younger than five
//! seconds; of these the ones with a load average per processor below a limit, or all if there is none; of these the lowest, or the
//! lower of two. A room stays where it is.

use clock::Rng;

use super::board::Board;
use super::{Cadence, Entry, Family, Policy, Refused, Request, Standing};
use crate::node::Reading;

/// `AvailableSeconds`, ms.
const FRESH: u64 = 5000;
/// `sysload_limit` of the documentation.
const LIMIT: f64 = 0.7;
/// Draws after which nobody is looked for any more by chance.
const DRAWS: usize = 64;

pub(super) fn entries() -> Vec<Entry> {
    let existing = |name, about, make| Entry {
        name,
        family: Family::Existing,
        about,
        make,
    };
    vec![
        existing(
            "livekit-lowest",
            "LiveKit, sysload below 0.7, the lowest load average",
            || Box::new(LiveKit::new(false)),
        ),
        existing(
            "livekit-twochoice",
            "LiveKit, the same, the lower of two",
            || Box::new(LiveKit::new(true)),
        ),
    ]
}

struct LiveKit {
    board: Board,
    two: bool,
    /// Of each node when its statistics were updated; none: there are none yet, and it counts as fresh.
    updated: Vec<Option<u64>>,
}

impl LiveKit {
    fn new(two: bool) -> Self {
        Self {
            board: Board::default(),
            two,
            updated: Vec::new(),
        }
    }

    fn is_fresh(&self, now: u64, node: u32) -> bool {
        let updated = self.updated[node as usize];
        updated.is_none_or(|at| now.saturating_sub(at) < FRESH)
    }

    fn load(&self, now: u64, node: u32, limit: f64) -> Option<f64> {
        let load = self.board.values[node as usize];
        (load < limit && self.is_fresh(now, node)).then_some(load)
    }

    /// Two of those that are eligible. Drawing until there are two is as good as drawing of a list.
    fn lower_of_two(&self, now: u64, limit: f64, rng: &mut Rng) -> Option<u32> {
        let mut eligible = None;
        for _ in 0..DRAWS {
            let node = self.board.any(rng)?;
            let Some(load) = self.load(now, node, limit) else {
                continue;
            };
            match eligible {
                None => eligible = Some((load, node)),
                Some((_, first)) if first == node => {}
                Some((least, first)) => return Some(if load < least { node } else { first }),
            }
        }
        None
    }

    fn lowest(&self, now: u64, limit: f64, rng: &mut Rng) -> Option<u32> {
        self.board.least(rng, |node| self.load(now, node, limit))
    }
}

impl Policy for LiveKit {
    fn cadence(&self) -> Option<Cadence> {
        Some(Cadence::every(2000))
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
        *self.board.value(node) = reading.load_average;
        self.updated[node as usize] = Some(now);
    }

    fn place(&mut self, now: u64, _request: &Request, rng: &mut Rng) -> Result<u32, Refused> {
        let two = if self.two {
            self.lower_of_two(now, LIMIT, rng)
        } else {
            None
        };
        let found = two.or_else(|| self.lowest(now, LIMIT, rng));
        found
            .or_else(|| self.lowest(now, f64::MAX, rng))
            .ok_or(Refused)
    }
}
