//! Nodes in order of their rank: the lowest, the highest below a bound, and any by chance, without looking at all.

use std::collections::BTreeMap;

use clock::Rng;

/// The number of a node.
pub type Slot = u32;

#[derive(Clone, Copy, Debug)]
struct Position {
    rank: u64,
    in_rank: usize,
    in_all: usize,
}

/// Who may be chosen.
#[derive(Debug, Default)]
pub struct Index {
    by_rank: BTreeMap<u64, Vec<Slot>>,
    all: Vec<Slot>,
    positions: Vec<Option<Position>>,
}

impl Index {
    /// A node has this rank; none: it can't be chosen.
    pub fn set(&mut self, slot: Slot, rank: Option<u64>) {
        let at = slot as usize;
        if self.positions.len() <= at {
            self.positions.resize(at + 1, None);
        }
        match (self.positions[at], rank) {
            (None, None) => {}
            (Some(position), Some(rank)) if position.rank == rank => {}
            (Some(position), Some(rank)) => {
                self.leave_rank(position);
                let in_rank = self.enter_rank(slot, rank);
                self.positions[at] = Some(Position {
                    rank,
                    in_rank,
                    ..position
                });
            }
            (Some(position), None) => {
                self.leave_rank(position);
                self.all.swap_remove(position.in_all);
                if let Some(&moved) = self.all.get(position.in_all) {
                    self.position(moved).in_all = position.in_all;
                }
                self.positions[at] = None;
            }
            (None, Some(rank)) => {
                let in_rank = self.enter_rank(slot, rank);
                self.positions[at] = Some(Position {
                    rank,
                    in_rank,
                    in_all: self.all.len(),
                });
                self.all.push(slot);
            }
        }
    }

    /// How many can be chosen.
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// The number `at` of those that can be chosen, in no order.
    pub fn at(&self, at: usize) -> Option<Slot> {
        self.all.get(at).copied()
    }

    /// One of the lowest rank, by chance.
    pub fn lowest(&self, rng: &mut Rng) -> Option<Slot> {
        any(self.by_rank.first_key_value()?.1, rng)
    }

    /// All ranks, the lowest first, with their nodes.
    pub fn rising(&self) -> impl Iterator<Item = &[Slot]> {
        self.by_rank.values().map(|slots| &slots[..])
    }

    /// Ranks below a bound, the highest first, with their nodes.
    pub fn below(&self, rank: u64) -> impl Iterator<Item = &[Slot]> {
        self.by_rank
            .range(..rank)
            .rev()
            .map(|(_, slots)| &slots[..])
    }

    fn enter_rank(&mut self, slot: Slot, rank: u64) -> usize {
        let slots = self.by_rank.entry(rank).or_default();
        slots.push(slot);
        slots.len() - 1
    }

    fn leave_rank(&mut self, position: Position) {
        let Some(slots) = self.by_rank.get_mut(&position.rank) else {
            return;
        };
        slots.swap_remove(position.in_rank);
        match slots.get(position.in_rank).copied() {
            Some(moved) => self.position(moved).in_rank = position.in_rank,
            None if slots.is_empty() => {
                self.by_rank.remove(&position.rank);
            }
            None => {}
        }
    }

    fn position(&mut self, slot: Slot) -> &mut Position {
        let position = self.positions[slot as usize].as_mut();
        position.expect("what is in a list has a position")
    }
}

/// One of these, by chance.
pub fn any(slots: &[Slot], rng: &mut Rng) -> Option<Slot> {
    slots.get(rng.below(slots.len() as u64) as usize).copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{prop, prop_assert, prop_assert_eq, proptest};

    proptest! {
        #[test]
        fn it_agrees_with_a_plain_list(steps in prop::collection::vec((0_u32..8, prop::option::of(0_u64..4)), 0..200)) {
            let mut index = Index::default();
            let mut plain: BTreeMap<Slot, u64> = BTreeMap::new();
            let mut rng = Rng::from_number(1);
            for (slot, rank) in steps {
                index.set(slot, rank);
                match rank {
                    Some(rank) => plain.insert(slot, rank),
                    None => plain.remove(&slot),
                };
                prop_assert_eq!(index.len(), plain.len());
                let mut all: Vec<_> = (0..index.len()).filter_map(|at| index.at(at)).collect();
                all.sort_unstable();
                prop_assert!(all.iter().eq(plain.keys()));
                let lowest = index.lowest(&mut rng).map(|slot| plain[&slot]);
                prop_assert_eq!(lowest, plain.values().min().copied());
                let below: Vec<_> = index.below(3).flatten().map(|slot| plain[slot]).collect();
                prop_assert_eq!(below.len(), plain.values().filter(|rank| **rank < 3).count());
                prop_assert!(below.is_sorted_by(|a, b| a >= b));
            }
        }
    }
}
