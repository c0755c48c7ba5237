//! Rules of the textbook.

use clock::Rng;

use super::board::Board;
use super::counts::Counts;
use super::{Cadence, Entry, Family, Policy, Refused, Request, Standing};
use crate::node::Reading;

pub(super) fn entries() -> Vec<Entry> {
    let entry = |name, family, about, make| Entry {
        name,
        family,
        about,
        make,
    };
    let textbook = |name, about, make| entry(name, Family::Textbook, about, make);
    vec![
        textbook("random", "any node", || Box::new(Random(Board::default()))),
        textbook("round-robin", "one node after the other", || {
            Box::new(RoundRobin::default())
        }),
        textbook(
            "sessions",
            "the fewest sessions, as the master counts them",
            || Box::new(Fewest::default()),
        ),
        entry(
            "least-now",
            Family::Ideal,
            "the least load as it really is at that moment",
            || {
                Box::new(Least {
                    board: Board::default(),
                    every: None,
                })
            },
        ),
        textbook(
            "least-1s",
            "the least load by reports of every second",
            || Box::new(Least::every(1000)),
        ),
        textbook("least-5s", "the least load by reports of every 5 s", || {
            Box::new(Least::every(5000))
        }),
        textbook(
            "least-10s",
            "the least load by reports of every 10 s",
            || Box::new(Least::every(10_000)),
        ),
    ]
}

/// Any node.
struct Random(Board);

impl Policy for Random {
    fn cadence(&self) -> Option<Cadence> {
        None
    }

    fn node(&mut self, _now: u64, node: u32, standing: Standing) {
        self.0.node(node, standing);
    }

    fn place(&mut self, _now: u64, _request: &Request, rng: &mut Rng) -> Result<u32, Refused> {
        self.0.any(rng).ok_or(Refused)
    }
}

/// One after the other.
#[derive(Default)]
struct RoundRobin {
    board: Board,
    next: usize,
}

impl Policy for RoundRobin {
    fn cadence(&self) -> Option<Cadence> {
        None
    }

    fn node(&mut self, _now: u64, node: u32, standing: Standing) {
        self.board.node(node, standing);
    }

    fn place(&mut self, _now: u64, _request: &Request, _rng: &mut Rng) -> Result<u32, Refused> {
        self.next += 1;
        let many = self.board.open.len().max(1);
        self.board
            .open
            .get(self.next % many)
            .copied()
            .ok_or(Refused)
    }
}

/// The fewest sessions.
#[derive(Default)]
struct Fewest {
    board: Board,
    counts: Counts,
}

impl Policy for Fewest {
    fn cadence(&self) -> Option<Cadence> {
        None
    }

    fn node(&mut self, _now: u64, node: u32, standing: Standing) {
        self.board.node(node, standing);
    }

    fn place(&mut self, _now: u64, request: &Request, rng: &mut Rng) -> Result<u32, Refused> {
        let values = &self.board.values;
        let least = self.board.least(rng, |node| Some(values[node as usize]));
        let node = least.ok_or(Refused)?;
        self.counts.put(request.session, node);
        *self.board.value(node) += 1.0;
        Ok(node)
    }

    fn end(&mut self, _now: u64, session: u32, _name: u32) {
        if let Some((node, _)) = self.counts.take(session) {
            *self.board.value(node) -= 1.0;
        }
    }
}

/// The least load: that was reported, or that is.
struct Least {
    board: Board,
    every: Option<u64>,
}

impl Least {
    fn every(every: u64) -> Self {
        Self {
            board: Board::default(),
            every: Some(every),
        }
    }
}

impl Policy for Least {
    fn cadence(&self) -> Option<Cadence> {
        self.every.map(Cadence::every)
    }

    fn sees_truth(&self) -> bool {
        self.every.is_none()
    }

    fn truth(&mut self, node: u32, load: f64) {
        *self.board.value(node) = load;
    }

    fn node(&mut self, _now: u64, node: u32, standing: Standing) {
        self.board.node(node, standing);
    }

    fn report(&mut self, _now: u64, node: u32, reading: &Reading) {
        *self.board.value(node) = reading.load();
    }

    fn place(&mut self, _now: u64, _request: &Request, rng: &mut Rng) -> Result<u32, Refused> {
        let values = &self.board.values;
        let least = self.board.least(rng, |node| Some(values[node as usize]));
        least.ok_or(Refused)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Tried, reading};
    use super::*;
    use crate::workload::shape;

    #[test]
    fn any_node_is_any_and_one_after_the_other_is_each_in_turn() {
        assert_eq!(Tried::new("random", 4).places(0), [0, 1, 2, 3]);
        let mut tried = Tried::new("round-robin", 3);
        let six: Vec<_> = (0..6).filter_map(|_| tried.place(0)).collect();
        assert_eq!(six[..3], six[3..]);
        assert_ne!(six[0], six[1]);
        assert_ne!(six[0], six[2]);
        assert_ne!(six[1], six[2]);
    }

    #[test]
    fn the_fewest_sessions_are_counted_whatever_is_in_them() {
        let mut tried = Tried::new("sessions", 2);
        let first = tried.place(0);
        tried.policy.reshape(0, 0, shape(100, 1));
        let second = tried.place(0);
        assert_ne!(first, second);
        tried.policy.end(0, 0, 0);
        assert_eq!(tried.place(0), first, "it has none any more");
        assert_eq!(tried.policy.cadence(), None, "no reports are asked for");
    }

    #[test]
    fn the_least_load_is_that_of_the_last_report_or_the_real_one() {
        for (name, every) in [
            ("least-1s", 1000),
            ("least-5s", 5000),
            ("least-10s", 10_000),
        ] {
            let mut tried = Tried::new(name, 3);
            for (node, load) in [(0, 0.3), (1, 0.2), (2, 0.25)] {
                tried.report(0, node, reading(load));
            }
            assert_eq!(tried.places(0), [1], "{name}");
            tried.report(0, 1, reading(0.26));
            assert_eq!(tried.places(0), [2], "{name}");
            assert_eq!(tried.policy.cadence(), Some(Cadence::every(every)));
        }
        let mut tried = Tried::new("least-now", 2);
        tried.policy.truth(0, 0.1);
        assert_eq!(tried.places(0), [1]);
        assert!(tried.policy.sees_truth() && tried.policy.cadence().is_none());
    }
}
