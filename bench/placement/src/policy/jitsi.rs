//! Jitsi's rule for one bridge per conference (jitsi/jicofo, Bridge.kt and BridgeSelectionStrategy.kt): the least stress, where
//! stress is what the bridge reported plus a hundredth for each endpoint that was added in the last 20 s; bridges at 0.8 or more only
//! if there is no other. Bridges tell their stress every 5 to 10 s (jicofo #1298).
//!
//! Its limit of 80 participants of a conference on a bridge splits conferences, which nobody does here.

use std::collections::VecDeque;

use clock::Rng;
use scheduler::Shape;

use super::board::Board;
use super::counts::Counts;
use super::{Cadence, Entry, Family, Policy, Refused, Request, Standing};
use crate::node::Reading;

/// `participant-rampup-interval`, ms.
const RAMP_UP: u64 = 20_000;
/// `average-participant-stress`.
const EACH: f64 = 0.01;

pub(super) fn entries() -> Vec<Entry> {
    vec![Entry {
        name: "jitsi",
        family: Family::Existing,
        about: "Jitsi: the least stress of every 5 to 10 s, with who joined in the last 20 s",
        make: || Box::<Jitsi>::default(),
    }]
}

#[derive(Default)]
struct Jitsi {
    /// Stress, who joined lately reckoned in.
    board: Board,
    reported: Vec<f64>,
    recent: Vec<u32>,
    /// When who joined a node is no longer new.
    joins: VecDeque<(u64, u32)>,
    counts: Counts,
}

impl Jitsi {
    fn forget(&mut self, now: u64) {
        while let Some((_, node)) = self
            .joins
            .front()
            .copied()
            .filter(|(until, _)| *until <= now)
        {
            self.joins.pop_front();
            let recent = &mut self.recent[node as usize];
            *recent = recent.saturating_sub(1);
            self.correct(node);
        }
    }

    fn correct(&mut self, node: u32) {
        let at = node as usize;
        *self.board.value(node) = self.reported[at] + f64::from(self.recent[at]) * EACH;
    }
}

impl Policy for Jitsi {
    fn cadence(&self) -> Option<Cadence> {
        Some(Cadence {
            every: (5000, 10_000),
        })
    }

    fn node(&mut self, _now: u64, node: u32, standing: Standing) {
        self.board.node(node, standing);
        let at = node as usize;
        if self.reported.len() <= at {
            self.reported.resize(at + 1, 0.0);
            self.recent.resize(at + 1, 0);
        }
        if standing == Standing::Gone {
            self.reported[at] = 0.0;
        }
    }

    fn report(&mut self, _now: u64, node: u32, reading: &Reading) {
        self.reported[node as usize] = reading.load();
        self.correct(node);
    }

    fn place(&mut self, now: u64, request: &Request, rng: &mut Rng) -> Result<u32, Refused> {
        self.forget(now);
        let values = &self.board.values;
        // The threshold changes nothing here: the least of all is below it if any is.
        let least = self.board.least(rng, |node| Some(values[node as usize]));
        let node = least.ok_or(Refused)?;
        self.counts.put(request.session, node);
        Ok(node)
    }

    fn reshape(&mut self, now: u64, session: u32, shape: Shape) {
        let Some((node, was)) = self.counts.reshape(session, shape) else {
            return;
        };
        for _ in was.connections..shape.connections {
            self.joins.push_back((now + RAMP_UP, node));
            self.recent[node as usize] += 1;
        }
        self.correct(node);
    }

    fn end(&mut self, _now: u64, session: u32, _name: u32) {
        self.counts.take(session);
    }
}
