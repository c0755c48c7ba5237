//! OpenVidu Pro 2.32, by its documentation (docs.openvidu.io/en/2.32.0/openvidu-pro/scalability): a session goes to the media node
//! with the least load at its first join, and stays. `OPENVIDU_PRO_CLUSTER_LOAD_STRATEGY` is `cpu` in what that page describes, where
//! each node pushes its CPU load, and `streams` in the configuration files that are shipped, where the server counts them itself.

use clock::Rng;
use scheduler::Shape;

use super::board::Board;
use super::counts::Counts;
use super::{Cadence, Entry, Family, Policy, Refused, Request, Standing};
use crate::node::Reading;

/// `OPENVIDU_PRO_STATS_MONITORING_INTERVAL`, by default, ms.
const MONITORED: u64 = 10_000;

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
            "OpenVidu 2.32, cpu: the least CPU that was pushed every 10 s",
            || Box::new(Cpu(Board::default())),
        ),
        existing(
            "openvidu-streams",
            "OpenVidu 2.32, streams: the fewest, counted by the server",
            || Box::new(Streams::default()),
        ),
    ]
}

struct Cpu(Board);

impl Policy for Cpu {
    fn cadence(&self) -> Option<Cadence> {
        Some(Cadence::every(MONITORED))
    }

    fn node(&mut self, _now: u64, node: u32, standing: Standing) {
        self.0.node(node, standing);
    }

    fn report(&mut self, _now: u64, node: u32, reading: &Reading) {
        *self.0.value(node) = reading.cpu();
    }

    fn place(&mut self, _now: u64, _request: &Request, rng: &mut Rng) -> Result<u32, Refused> {
        let values = &self.0.values;
        self.0
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
