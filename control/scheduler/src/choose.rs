//! The decision itself.

use std::fmt::Display;
use std::hash::Hash;

use clock::Rng;

use crate::cluster::Cluster;
use crate::index::{Slot, any};
use crate::load::Demand;
use crate::node::{Standing, steps};
use crate::strategy::{Fit, Strategy};

/// Why no node takes a session.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoNode<N: Display> {
    /// There is none that is up and wanted.
    #[error("no media node is available")]
    NoneUp,
    /// Each one that is up is at a limit.
    #[error("every media node is full")]
    AllFull,
    /// None that has room has told its load lately.
    #[error("no media node with room has told its load lately (its /metrics can't be read)")]
    AllStale,
    /// The one that was asked for is not up.
    #[error("media node '{0}' is not available")]
    WantedNotUp(N),
    /// The one that was asked for is at a limit.
    #[error("media node '{0}' is full")]
    WantedFull(N),
    /// Nobody asked for one, and only the application may choose.
    #[error("the session names no media node ('mediaNode'), which the strategy 'manual' wants")]
    NotNamed,
}

impl<N: Display> NoNode<N> {
    /// The word in metrics.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::NoneUp => "none_up",
            Self::AllFull => "all_full",
            Self::AllStale => "all_stale",
            Self::WantedNotUp(_) => "wanted_not_up",
            Self::WantedFull(_) => "wanted_full",
            Self::NotNamed => "not_named",
        }
    }
}

impl<N, S> Cluster<N, S>
where
    N: Clone + Eq + Hash + Display,
    S: Eq + Hash,
{
    /// The node for a session that will take `peak`. The time must have been told.
    pub(crate) fn choose(
        &self,
        wanted: Option<&N>,
        peak: Demand,
        rng: &mut Rng,
    ) -> Result<Slot, NoNode<N>> {
        if let Some(wanted) = wanted {
            return self.choose_wanted(wanted);
        }
        let found = match (self.policy.strategy, self.policy.fit) {
            (Strategy::Manual, _) => return Err(NoNode::NotNamed),
            (Strategy::Capacity, Fit::Least) => self.least(peak, rng),
            (Strategy::Capacity, Fit::TwoChoices) => self.two_choices(peak, rng),
            (Strategy::Capacity, Fit::BestFit { below }) => self.best_fit(below, peak, rng),
            _ => self.index.lowest(rng),
        };
        match found {
            Some(slot) => Ok(slot),
            None => self.choose_blind(rng),
        }
    }

    /// Who is named is taken even if its load is not known.
    fn choose_wanted(&self, wanted: &N) -> Result<Slot, NoNode<N>> {
        let named = self.slot(wanted).map(|slot| (slot, self.node(slot)));
        match named.map(|(slot, node)| (slot, node.standing(self.policy.strategy))) {
            None | Some((_, Standing::Closed)) => Err(NoNode::WantedNotUp(wanted.clone())),
            Some((_, Standing::Full)) => Err(NoNode::WantedFull(wanted.clone())),
            Some((slot, Standing::Open | Standing::Stale | Standing::Excluded)) => Ok(slot),
        }
    }

    /// The lowest, and any: among the lowest small nodes are frequent, and a large session takes less of a large one. Of equals it is
    /// the first, which chance has named.
    fn least(&self, peak: Demand, rng: &mut Rng) -> Option<Slot> {
        /// So many of either are looked at.
        const EACH: usize = 8;
        let many = self.index.len() as u64;
        let first = self.index.lowest(rng);
        let by_chance: [usize; EACH] = core::array::from_fn(|_| rng.below(many) as usize);
        let lowest = self.index.rising().flatten().copied().take(EACH);
        let others = by_chance.into_iter().filter_map(|at| self.index.at(at));
        let with_peak = |slot: &Slot| self.node(*slot).score(peak);
        let all = first.into_iter().chain(lowest).chain(others);
        all.map(|slot| (with_peak(&slot), slot))
            .min_by(|a, b| a.0.total_cmp(&b.0))
            .map(|(_, slot)| slot)
    }

    /// Late reports make no herd here: each decision sees another pair.
    fn two_choices(&self, peak: Demand, rng: &mut Rng) -> Option<Slot> {
        let many = self.index.len();
        let first = rng.below(many as u64) as usize;
        let second = rng.below(many.saturating_sub(1) as u64) as usize;
        // The one after the first stands in for the first: two that differ.
        let second = second + usize::from(second >= first);
        let (first, second) = (self.index.at(first)?, self.index.at(second));
        let score = |slot: Slot| self.node(slot).score(Demand::NONE);
        let better = match second {
            Some(second) if score(second) < score(first) => second,
            _ => first,
        };
        if self.node(better).score(peak) <= 1.0 {
            return Some(better);
        }
        // Chance named two that are nearly full. The emptiest may still have room for it as it will become.
        self.index.lowest(rng)
    }

    fn best_fit(&self, below: f64, peak: Demand, rng: &mut Rng) -> Option<Slot> {
        /// Ranks that are looked at: after those, what is taken for one session hardly differs.
        const RANKS: usize = 16;
        let mut ranks = self.index.below(steps(below)).take(RANKS);
        let fitting = ranks
            .find_map(|slots| any(slots, rng).filter(|slot| self.node(*slot).score(peak) <= below));
        fitting.or_else(|| self.index.lowest(rng))
    }

    /// Nobody can be chosen: because nobody has told its load, or for a better reason.
    fn choose_blind(&self, rng: &mut Rng) -> Result<Slot, NoNode<N>> {
        let mut counts = [0_usize; 5];
        let (mut least, mut ties) = (None, 0);
        for (slot, node) in self.nodes() {
            let standing = node.standing(self.policy.strategy);
            counts[standing as usize] += 1;
            if standing != Standing::Excluded {
                continue;
            }
            let held = (node.held.streams, node.held.sessions);
            ties = match least {
                Some((least, _)) if held > least => continue,
                Some((least, _)) if held == least => ties + 1,
                _ => 1,
            };
            // Each of `ties` equals ends up here with the same chance.
            if ties == 1 || rng.below(ties) == 0 {
                least = Some((held, slot));
            }
        }
        let [_, _, excluded, full, _] = counts;
        match least {
            Some((_, slot)) if full == 0 && self.policy.may_place_blind => Ok(slot),
            Some(_) => Err(NoNode::AllStale),
            None if full > 0 => Err(NoNode::AllFull),
            None => {
                debug_assert_eq!(excluded, 0);
                Err(NoNode::NoneUp)
            }
        }
    }
}
