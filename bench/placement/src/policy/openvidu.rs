//! OpenVidu Pro 2.32, by its documentation (docs.openvidu.io/en/2.32.0/openvidu-pro/scalability): a session goes to the media node
//! with the least load at its first join, and stays. `OPENVIDU_PRO_CLUSTER_LOAD_STRATEGY` is `cpu` in what that page describes, where
//! each node pushes its CPU load, and `streams` in the configuration files that are shipped, where the server counts them itself.
//!
//! A node's controller reads its CPU every `OPENVIDU_PRO_CLUSTER_LOAD_INTERVAL`, 3 s where that is unset, and tells the mean of the last
//! 9 s (`CpuService` of the media node controller). How often that reaches the server where it is unset is not documented; here it is
//! taken to be as often.

use std::collections::VecDeque;

use clock::Rng;
use scheduler::Shape;

use super::board::Board;
use super::counts::Counts;
use super::{Cadence, Entry, Family, Policy, Refused, Request, Standing};
use crate::node::Reading;

/// `OPENVIDU_PRO_CLUSTER_LOAD_INTERVAL` where it is unset, ms.
const INTERVAL: u64 = 3000;
/// Values that make the mean: those of 9 s.
const AVERAGED: usize = 3;

pub(super) fn entries() -> Vec<Entry> {
    let existing = |name, about, make| Entry {
        name,
        family: Family::Existing,
        about,
        make,
    };
    vec![
        existing(
            "openvidu-cpu",
            "OpenVidu 2.32, cpu: the least CPU, told every 3 s as the mean of 9 s",
            || Box::<Cpu>::default(),
        ),
        existing(
            "openvidu-streams",
            "OpenVidu 2.32, streams: the fewest, counted by the server",
            || Box::new(Streams::default()),
        ),
    ]
}

#[derive(Default)]
struct Cpu {
    board: Board,
    /// Of each node what it read last, the newest at the end.
    read: Vec<VecDeque<f64>>,
}

impl Policy for Cpu {
    fn cadence(&self) -> Option<Cadence> {
        Some(Cadence::every(INTERVAL))
    }

    fn node(&mut self, _now: u64, node: u32, standing: Standing) {
        self.board.node(node, standing);
        let at = node as usize;
        if self.read.len() <= at {
            self.read.resize(at + 1, VecDeque::new());
        }
        if standing == Standing::Gone {
            self.read[at].clear();
        }
    }

    fn report(&mut self, _now: u64, node: u32, reading: &Reading) {
        let read = &mut self.read[node as usize];
        if read.len() == AVERAGED {
            read.pop_front();
        }
        read.push_back(reading.cpu());
        *self.board.value(node) = read.iter().sum::<f64>() / read.len() as f64;
    }

    fn place(&mut self, _now: u64, _request: &Request, rng: &mut Rng) -> Result<u32, Refused> {
        let values = &self.board.values;
        self.board
            .least(rng, |node| Some(values[node as usize]))
            .ok_or(Refused)
    }
}

#[derive(Default)]
struct Streams {
    board: Board,
    counts: Counts,
}

impl Policy for Streams {
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
        Ok(node)
    }

    fn reshape(&mut self, _now: u64, session: u32, shape: Shape) {
        if let Some((node, was)) = self.counts.reshape(session, shape) {
            *self.board.value(node) += f64::from(shape.streams()) - f64::from(was.streams());
        }
    }

    fn end(&mut self, _now: u64, session: u32, _name: u32) {
        if let Some((node, was)) = self.counts.take(session) {
            *self.board.value(node) -= f64::from(was.streams());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Tried, reading};
    use super::*;
    use crate::workload::shape;

    #[test]
    fn the_least_mean_of_three_values_takes_it() {
        let mut tried = Tried::new("openvidu-cpu", 2);
        for (one, other) in [(0.9, 0.5), (0.2, 0.5), (0.4, 0.51)] {
            tried.report(0, 0, reading(one));
            tried.report(0, 1, reading(other));
        }
        // 0.5 and 0.503: with two values or the last alone it is 0 as well, with four below not.
        assert_eq!(tried.places(0), [0]);
        tried.report(0, 0, reading(0.95));
        assert_eq!(tried.places(0), [1], "0.517 by the last three");
        tried.report(0, 0, reading(0.1));
        assert_eq!(tried.places(0), [0], "0.483, where four would be 0.41");
        tried.report(0, 0, reading(0.5));
        assert_eq!(
            tried.places(0),
            [1],
            "0.517, where the last two would be 0.3"
        );
    }

    #[test]
    fn nodes_tell_their_load_every_three_seconds() {
        let every = Tried::new("openvidu-cpu", 1).policy.cadence();
        assert_eq!(every, Some(Cadence::every(3000)));
        let counts = Tried::new("openvidu-streams", 1).policy.cadence();
        assert_eq!(counts, None, "the server knows its streams itself");
    }

    #[test]
    fn streams_are_those_that_are_published_and_received() {
        let mut tried = Tried::new("openvidu-streams", 2);
        // A call of four is 16 streams, a lecture of one to ten people 10.
        let call = tried.place(0);
        tried.policy.reshape(0, 0, shape(4, 4));
        let lecture = tried.place(0);
        assert_ne!(call, lecture, "the first is not empty any more");
        tried.policy.reshape(0, 1, shape(10, 1));
        assert_eq!(tried.place(0), lecture);
        assert_eq!(
            tried.place(0),
            lecture,
            "sessions without streams count nothing"
        );
        tried.policy.reshape(0, 2, shape(3, 3));
        assert_eq!(tried.place(0), call, "16 against 19");
        tried.policy.end(0, 1, 0);
        assert_eq!(tried.place(0), lecture, "16 against 9");
    }
}
