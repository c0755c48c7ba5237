//! Single values that outlive the process.

use serde::{Deserialize, Serialize};

use super::{Batch, Error, Loaded, Table};
use crate::domain::{Chance, Millis, ids};

const KEY: &str = "master";

/// What this master is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Facts {
    /// Grows at each start, so that nodes can tell an old master from its successor.
    pub epoch: u64,
    /// When it began to exist. Clients compare it to tell a master that knows them from one that does not: it stays over restarts.
    pub life: Millis,
    /// The cluster's name in events, drawn at the first start.
    pub cluster: String,
}

impl Facts {
    /// What they are from this start on. The epoch is never below the clock, in seconds, so that a lost file does not bring back an
    /// old one.
    ///
    /// # Errors
    /// [`Error::Row`] when what is kept can't be understood.
    pub fn next(loaded: &mut Loaded, now: Millis, chance: &mut dyn Chance) -> Result<Self, Error> {
        let kept = loaded.parse::<Self>(Table::Facts)?;
        let kept = kept.into_iter().find(|(key, _)| key == KEY);
        let seconds = now / 1000;
        Ok(match kept {
            Some((_, kept)) => Self {
                epoch: seconds.max(kept.epoch.saturating_add(1)),
                ..kept
            },
            None => Self {
                epoch: seconds,
                life: now,
                cluster: ids::random("cluster_", 9, chance),
            },
        })
    }

    /// To be written before anything is done in the new epoch.
    pub fn batch(&self) -> Batch {
        let mut batch = Batch::default();
        batch.put(Table::Facts, KEY, self);
        batch
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::testing::Seeded;

    #[test]
    fn the_epoch_grows_even_when_the_clock_does_not() {
        let start = |loaded: &mut Loaded, seconds: u64| {
            Facts::next(loaded, seconds * 1000, &mut Seeded(1)).expect("readable")
        };
        let mut facts = start(&mut Loaded::default(), 100);
        let first = facts.clone();
        for (seconds, epoch) in [(100, 101), (50, 102), (500, 500)] {
            let mut loaded = Loaded::of(Table::Facts, &facts.batch());
            facts = start(&mut loaded, seconds);
            assert_eq!(facts.epoch, epoch);
        }
        assert_eq!((facts.life, &facts.cluster), (first.life, &first.cluster));
    }
}
