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
        textbook("best-fit-20", "the fullest with 20 % of headroom", || {
            Box::new(BestFit::below(0.8))
        }),
        textbook("best-fit-30", "the fullest with 30 % of headroom", || {
            Box::new(BestFit::below(0.7))
        }),
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
