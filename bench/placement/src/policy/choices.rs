//! Two choices (Azar, Broder, Karlin and Upfal, 1994), and packing, by reports of every two seconds.

use clock::Rng;

use super::board::Board;
use super::{Entry, Family, Policy, Refused, Request, Standing};
use crate::node::Reading;
use crate::workload::shape;

/// A session that was just placed is taken for a call of so many.
const BOOKED: u32 = 2;

pub(super) fn entries() -> Vec<Entry> {
    let textbook = |name, about, make| Entry {
        name,
        family: Family::Textbook,
        about,
        make,
    };
    vec![
        textbook(
            "two-choices",
            "the less loaded of two that chance names",
            || Box::new(TwoChoices::new(false)),
        ),
        textbook(
            "two-choices-books",
            "the same, counting what it has just placed",
            || Box::new(TwoChoices::new(true)),
        ),
        textbook(
            "best-fit-20",
            "the fullest with 20 % of headroom, by reports alone",
            || Box::new(BestFit::below(0.8)),
        ),
        textbook(
            "best-fit-30",
            "the fullest with 30 % of headroom, by reports alone",
            || Box::new(BestFit::below(0.7)),
        ),
    ]
}

/// Sessions placed since the last report, and between that and the one before: rates show them only by half.
#[derive(Clone, Copy, Debug, Default)]
struct Booked {
    since: u32,
    before: u32,
    /// What one takes of the node.
    each: f64,
}

struct TwoChoices {
    board: Board,
    books: bool,
    booked: Vec<Booked>,
}

impl TwoChoices {
    fn new(books: bool) -> Self {
        Self {
            board: Board::default(),
            books,
            booked: Vec::new(),
        }
    }

    fn booked(&mut self, node: u32) -> &mut Booked {
        let at = node as usize;
        if self.booked.len() <= at {
            self.booked.resize(at + 1, Booked::default());
        }
        &mut self.booked[at]
    }

    fn load(&self, node: u32) -> f64 {
        let load = self.board.values[node as usize];
        match (self.books, self.booked.get(node as usize)) {
            (true, Some(booked)) => load + f64::from(booked.since + booked.before) * booked.each,
            _ => load,
        }
    }
}

impl Policy for TwoChoices {
    fn node(&mut self, _now: u64, node: u32, standing: Standing) {
        self.board.node(node, standing);
        if standing == Standing::Gone {
            *self.booked(node) = Booked::default();
        }
    }

    fn report(&mut self, _now: u64, node: u32, reading: &Reading) {
        *self.board.value(node) = reading.load();
        let packets = reading.report.limits.packets.unwrap_or(f64::MAX);
        let booked = self.booked(node);
        (booked.before, booked.since) = (booked.since, 0);
        booked.each = shape(BOOKED, BOOKED).demand().packets / packets;
    }

    fn place(&mut self, _now: u64, _request: &Request, rng: &mut Rng) -> Result<u32, Refused> {
        let (first, second) = self.board.two(rng).ok_or(Refused)?;
        let node = match self.load(second) < self.load(first) {
            true => second,
            false => first,
        };
        self.booked(node).since += 1;
        Ok(node)
    }
}

struct BestFit {
    board: Board,
    below: f64,
}

impl BestFit {
    fn below(below: f64) -> Self {
        Self {
            board: Board::default(),
            below,
        }
    }
}

impl Policy for BestFit {
    fn node(&mut self, _now: u64, node: u32, standing: Standing) {
        self.board.node(node, standing);
    }

    fn report(&mut self, _now: u64, node: u32, reading: &Reading) {
        *self.board.value(node) = reading.load();
    }

    fn place(&mut self, _now: u64, _request: &Request, rng: &mut Rng) -> Result<u32, Refused> {
        let values = &self.board.values;
        let load = |node: u32| values[node as usize];
        let fullest = |node: u32| Some(-load(node)).filter(|_| load(node) <= self.below);
        let found = self.board.least(rng, fullest);
        let found = found.or_else(|| self.board.least(rng, |node| Some(load(node))));
        found.ok_or(Refused)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Cadence;
    use super::super::testing::{Tried, reading};

    #[test]
    fn the_less_loaded_of_two_takes_it() {
        let mut tried = Tried::new("two-choices", 3);
        for (node, load) in [(0, 0.2), (1, 0.6), (2, 0.4)] {
            tried.report(0, node, reading(load));
        }
        assert_eq!(tried.places(0), [0, 2], "never the fullest");
        assert_eq!(tried.policy.cadence(), Some(Cadence::every(2000)));
    }

    #[test]
    fn books_count_four_streams_for_each_session_until_the_second_report() {
        // Four streams of 200 packets a second, of the 10 000 of a node.
        let call = 0.08;
        let placed = |reports: usize| {
            let mut tried = Tried::new("two-choices-books", 2);
            tried.report(0, 0, reading(0.0));
            tried.report(0, 1, reading(3.5 * call));
            let four: Vec<_> = (0..4).map(|_| tried.place(0)).collect();
            assert_eq!(four, [Some(0); 4], "up to 0.24 it is the emptier one");
            (0..reports).for_each(|_| tried.report(2000, 0, reading(0.0)));
            tried.place(0)
        };
        assert_eq!(placed(0), Some(1), "0.32 against 0.28");
        assert_eq!(
            placed(1),
            Some(1),
            "the first report shows them by half at most"
        );
        assert_eq!(placed(2), Some(0));
        let mut blind = Tried::new("two-choices", 2);
        blind.report(0, 1, reading(0.01));
        assert_eq!(blind.places(0), [0], "without books it is ever the same");
    }

    #[test]
    fn the_fullest_with_headroom_takes_it() {
        for (name, most) in [("best-fit-20", 0.8), ("best-fit-30", 0.7)] {
            let mut tried = Tried::new(name, 3);
            for (node, load) in [(0, 0.1), (1, most), (2, most + 0.001)] {
                tried.report(0, node, reading(load));
            }
            assert_eq!(tried.places(0), [1], "{name}");
            // Where none has headroom, the least loaded.
            for (node, load) in [(0, 1.2), (1, 0.95), (2, 0.99)] {
                tried.report(0, node, reading(load));
            }
            assert_eq!(tried.places(0), [1], "{name}");
        }
    }
}
