//! What somebody who knows the future needs: the demand of all sessions together, and the nodes that it takes at least.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};

use scheduler::Demand;

use crate::workload::{Session, Workload, shape};

/// Demand is summed up in slots of so many ms.
const SLOT: u64 = 1000;

/// The demand of everything that is asked for, whoever serves it.
#[derive(Clone, Debug, Default)]
pub struct Oracle {
    /// Packets a second in each second.
    pub packets: Vec<f64>,
    /// The most that one session takes, packets a second.
    pub largest: f64,
}

/// What a session really takes: the scheduler's reckoning, times what is peculiar to it.
pub fn cost(session: &Session, present: u32) -> Demand {
    let usual = shape(present, session.publishers).demand();
    Demand {
        packets: usual.packets * session.packets,
        bits: usual.bits * session.bits,
        ..usual
    }
}

impl Oracle {
    /// Looks at all that will happen until `span`, ms.
    pub fn of(load: &Workload, span: u64) -> Self {
        let mut changes = vec![0.0; (span / SLOT + 2) as usize];
        let last = changes.len() - 1;
        let mut largest: f64 = 0.0;
        for session in &load.sessions {
            let (mut present, mut takes) = (0, 0.0);
            let steps = &load.steps[session.steps.clone()];
            for step in steps {
                present = if step.joins { present + 1 } else { present - 1 };
                let now = cost(session, present).packets;
                changes[((step.at / SLOT) as usize).min(last)] += now - takes;
                takes = now;
                largest = largest.max(now);
            }
            changes[((session.ends / SLOT) as usize).min(last)] -= takes;
        }
        let mut sum = 0.0;
        for change in &mut changes {
            sum += *change;
            *change = sum;
        }
        changes.truncate((span / SLOT) as usize);
        Self {
            packets: changes,
            largest,
        }
    }

    /// Nodes that carry all of it, each so many packets a second, if sessions can be cut at will.
    pub fn nodes(&self, packets: f64) -> u32 {
        // What is one too many by rounding only is none.
        (self.peak() / packets - 1e-9).ceil() as u32
    }

    /// Packets a second when there are most.
    pub fn peak(&self) -> f64 {
        self.packets.iter().copied().fold(0.0, f64::max)
    }
}

/// Nodes that are enough for whoever knows how much each session takes at its peak, and neither moves nor cuts any: he keeps that free
/// until it ends, on the fullest node that has it, and takes another where none has. They are of `sizes`, one after the other, each of
/// `unit` packets a second for its size; whoever needs more than a node has one for himself.
pub fn nodes_for_whole(load: &Workload, sizes: &[f64], unit: f64) -> u32 {
    let mut sizes = sizes.iter().cycle();
    let mut packing = Packing::default();
    // Who ends next, and where.
    let mut ends = BinaryHeap::new();
    for session in &load.sessions {
        while let Some(Reverse((at, node, gives))) = ends.peek().copied()
            && at <= session.at
        {
            ends.pop();
            packing.change(node, gives);
        }
        let needs = cost(session, session.peak).packets.ceil() as i64;
        let node = packing.fullest_with(needs).unwrap_or_else(|| {
            let size = sizes.next().copied().unwrap_or(1.0);
            packing.add((size * unit) as i64)
        });
        packing.change(node, -needs);
        ends.push(Reverse((session.ends, node, needs)));
    }
    packing.free.len() as u32
}

/// What is free on nodes, packets a second.
#[derive(Default)]
struct Packing {
    free: Vec<i64>,
    /// The same by how much it is.
    by_free: BTreeSet<(i64, usize)>,
}

impl Packing {
    fn fullest_with(&self, free: i64) -> Option<usize> {
        let first = self.by_free.range((free, 0)..).next();
        first.map(|(_, node)| *node)
    }

    fn add(&mut self, free: i64) -> usize {
        let node = self.free.len();
        self.free.push(free);
        self.by_free.insert((free, node));
        node
    }

    fn change(&mut self, node: usize, by: i64) {
        self.by_free.remove(&(self.free[node], node));
        self.free[node] += by;
        self.by_free.insert((self.free[node], node));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::{RECURRING, Scale};

    const SCALE: Scale = Scale {
        nodes: 10,
        sessions: 20_000,
        span: 9_000_000,
        seed: 3,
        recurring: RECURRING,
        one_size: false,
    };

    #[test]
    fn the_peak_comes_after_a_spike_and_all_is_counted() {
        let load = Workload::draw(SCALE);
        let oracle = Oracle::of(&load, SCALE.span);
        let peak = oracle.peak();
        let at = oracle.packets.iter().position(|packets| *packets == peak);
        let at = at.expect("there is a peak") as u64 * SLOT;
        let after = load
            .spikes
            .iter()
            .any(|spike| (spike.at..spike.at + 1_200_000).contains(&at));
        assert!(after, "{at}");
        assert!(oracle.packets.iter().all(|packets| *packets > -1.0));
        assert!(oracle.largest < peak && oracle.largest > peak / 20_000.0);
    }

    #[test]
    fn whole_sessions_need_some_more_nodes_than_cut_ones() {
        let load = Workload::draw(SCALE);
        let oracle = Oracle::of(&load, SCALE.span);
        let unit = oracle.peak() / 100.0;
        assert_eq!(oracle.nodes(unit), 100);
        assert_eq!(oracle.nodes(0.8 * unit), 125);
        let whole = nodes_for_whole(&load, &[1.0], unit);
        assert!((100..150).contains(&whole), "{whole}");
        assert!(nodes_for_whole(&load, &[2.0], unit) < whole);
    }
}
