//! What tests of rules share: a few nodes that tell what they are told to tell.

use std::collections::BTreeSet;

use clock::Rng;
use scheduler::{Hint, Limits, Rates, Report, Shape};

use super::{Policy, Request, Standing, named};
use crate::node::{Reading, instant};

/// Packets a second of a node.
const PACKETS: f64 = 10_000.0;
/// So often a rule is asked, to see what chance makes of it.
const ASKED: usize = 400;

/// A rule and its dice.
pub struct Tried {
    pub policy: Box<dyn Policy>,
    rng: Rng,
    sessions: u32,
}

impl Tried {
    /// The rule of this name, with so many nodes.
    pub fn new(name: &str, nodes: u32) -> Self {
        let mut policy = named(name).expect("known").make();
        (0..nodes).for_each(|node| policy.node(0, node, Standing::Takes));
        Self {
            policy,
            rng: Rng::from_number(1),
            sessions: 0,
        }
    }

    pub fn report(&mut self, now: u64, node: u32, reading: Reading) {
        self.policy.report(now, node, &reading);
    }

    /// Where the next session goes; none: it is refused. They are numbered from 0.
    pub fn place(&mut self, now: u64) -> Option<u32> {
        let request = Request {
            session: self.sessions,
            name: 0,
            hint: Hint::default(),
            becomes: Shape::default(),
        };
        self.sessions += 1;
        self.policy.place(now, &request, &mut self.rng).ok()
    }

    /// All nodes to which a session may go, by rules that don't count sessions.
    pub fn places(&mut self, now: u64) -> Vec<u32> {
        let found: BTreeSet<u32> = (0..ASKED).filter_map(|_| self.place(now)).collect();
        found.into_iter().collect()
    }
}

/// What a node tells that is so full by whatever is asked.
pub fn reading(load: f64) -> Reading {
    Reading {
        report: Report {
            at: instant(0),
            rates: Some(Rates {
                packets: load * PACKETS,
                cpu: load,
                ..Rates::default()
            }),
            limits: Limits {
                packets: Some(PACKETS),
                ..Limits::default()
            },
            ready: true,
            ..Report::default()
        },
        load_average: load,
    }
}
