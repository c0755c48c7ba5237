//! What simple rules know of nodes: a number for each that takes sessions, less is better.

use clock::Rng;

use super::Standing;

/// A number for each node.
#[derive(Clone, Debug, Default)]
pub struct Board {
    /// Those that take sessions, in no order.
    pub open: Vec<u32>,
    /// Of each node where it is among these.
    places: Vec<Option<usize>>,
    /// Of each node the number.
    pub values: Vec<f64>,
}

impl Board {
    /// A node comes, goes or drains. One that comes is at 0.
    pub fn node(&mut self, node: u32, standing: Standing) {
        let at = node as usize;
        if self.places.len() <= at {
            self.places.resize(at + 1, None);
            self.values.resize(at + 1, 0.0);
        }
        match (self.places[at], standing) {
            (None, Standing::Takes) => {
                self.values[at] = 0.0;
                self.places[at] = Some(self.open.len());
                self.open.push(node);
            }
            (Some(place), Standing::Drains | Standing::Gone) => {
                self.places[at] = None;
                self.open.swap_remove(place);
                if let Some(moved) = self.open.get(place) {
                    self.places[*moved as usize] = Some(place);
                }
            }
            _ => {}
        }
    }

    /// The number of a node.
    pub fn value(&mut self, node: u32) -> &mut f64 {
        let at = node as usize;
        if self.values.len() <= at {
            self.values.resize(at + 1, 0.0);
            self.places.resize(at + 1, None);
        }
        &mut self.values[at]
    }

    /// Any that takes sessions.
    pub fn any(&self, rng: &mut Rng) -> Option<u32> {
        let at = rng.below(self.open.len() as u64) as usize;
        self.open.get(at).copied()
    }

    /// Two that differ, if there are two.
    pub fn two(&self, rng: &mut Rng) -> Option<(u32, u32)> {
        let many = self.open.len() as u64;
        let first = rng.below(many);
        let second = rng.below(many.saturating_sub(1));
        let second = second + u64::from(second >= first);
        let first = *self.open.get(first as usize)?;
        Some((
            first,
            self.open.get(second as usize).copied().unwrap_or(first),
        ))
    }

    /// The one for which `key` is least, if it is a number there. Of equals the first behind a place that chance names.
    pub fn least(&self, rng: &mut Rng, key: impl Fn(u32) -> Option<f64>) -> Option<u32> {
        let start = rng.below(self.open.len() as u64) as usize;
        let (before, behind) = self.open.split_at(start);
        let mut best: Option<(f64, u32)> = None;
        for node in behind.iter().chain(before) {
            if let Some(key) = key(*node)
                && best.is_none_or(|(least, _)| key < least)
            {
                best = Some((key, *node));
            }
        }
        best.map(|(_, node)| node)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_those_that_take_sessions_are_found() {
        let mut board = Board::default();
        let mut rng = Rng::from_number(1);
        assert_eq!((board.any(&mut rng), board.two(&mut rng)), (None, None));
        for node in 0..5 {
            board.node(node, Standing::Takes);
            *board.value(node) = f64::from(10 - node);
        }
        board.node(4, Standing::Drains);
        board.node(0, Standing::Gone);
        let least = board.least(&mut rng, |node| Some(board.values[node as usize]));
        assert_eq!(least, Some(3));
        for _ in 0..100 {
            let (first, second) = board.two(&mut rng).expect("there are three");
            assert!(first != second && (1..=3).contains(&first) && (1..=3).contains(&second));
        }
        board.node(4, Standing::Takes);
        assert_eq!(*board.value(4), 0.0, "it begins anew");
    }

    #[test]
    fn of_equals_each_is_found_and_those_without_a_number_are_not() {
        let mut board = Board::default();
        let mut rng = Rng::from_number(1);
        (0..4).for_each(|node| board.node(node, Standing::Takes));
        *board.value(3) = 0.1;
        let wanted = |node: u32| (node != 1).then(|| f64::from(node / 3));
        let found: std::collections::BTreeSet<_> = (0..200)
            .filter_map(|_| board.least(&mut rng, wanted))
            .collect();
        assert_eq!(found, [0, 2].into());
        assert_eq!(board.least(&mut rng, |_| None), None);
    }
}
