//! What happens to nodes: some die, a rack dies, some come, some are drained, some are upgraded one after the other.

use clock::Rng;

use crate::random::{happens, unit};
use crate::workload::Scale;

/// Mean time between failures of a node, ms: 30 days.
const MTBF: f64 = 30.0 * 86_400e3;
/// In small worlds too some must fail.
const FAILURES_MIN: u32 = 2;
/// So many nodes of a hundred are in the rack that is lost: one of 40 where there are 2000.
const RACK: u32 = 2;
/// A node that died is back after so long, ms.
const REPAIR: u64 = 300_000;
/// So many nodes of a hundred are drained for an upgrade, in waves; are drained for good; come anew.
const UPGRADED: u32 = 20;
const DRAINED: u32 = 2;
const ADDED: u32 = 2;
/// Waves of an upgrade.
const WAVES: u64 = 8;
/// A drained node ends after so long at the latest, ms; who is left then must come again elsewhere.
const DRAIN: u64 = 15 * 60_000;
/// A node that is upgraded is away for so long, ms.
const RESTART: u64 = 60_000;
/// So many nodes are twice as large, unless all are of one size.
const LARGE: f64 = 1.0 / 3.0;

/// Something happens to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// It begins.
    Up,
    /// It takes nothing new.
    Drain,
    /// It ends in order; everybody knows at once.
    Ends,
    /// It dies; nobody is told.
    Dies,
}

/// Something happens to a node at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fault {
    /// When, ms.
    pub at: u64,
    /// To which.
    pub node: u32,
    /// What.
    pub kind: Kind,
}

/// Nodes, and what will happen to them.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// For each node: how many times the smaller size it is.
    pub sizes: Vec<f64>,
    /// So many are there at the beginning: the first ones.
    pub at_start: u32,
    /// In the order of time.
    pub faults: Vec<Fault>,
    /// When a rack is lost, ms, and which nodes are in it.
    pub rack_lost: Option<(u64, std::ops::Range<u32>)>,
}

impl Faults {
    /// Nodes to whom nothing happens.
    pub fn none(scale: Scale) -> Self {
        let mut rng = Rng::from_number(scale.seed ^ 0xfa17);
        Self {
            sizes: sizes(scale, scale.nodes, &mut rng),
            at_start: scale.nodes,
            ..Self::default()
        }
    }

    /// Draws who fails and who is upgraded. No node has two stories.
    pub fn draw(scale: Scale) -> Self {
        let mut rng = Rng::from_number(scale.seed ^ 0xfa17);
        let Scale { nodes, span, .. } = scale;
        let added = nodes * ADDED / 100;
        let mut drawn = Self {
            sizes: sizes(scale, nodes + added, &mut rng),
            at_start: nodes,
            ..Self::default()
        };
        let mut free: Vec<u32> = (0..nodes).collect();
        drawn.lose_rack(scale, &mut free);
        for number in 0..added {
            let at = span * 4 / 10 + u64::from(number) * 1000;
            drawn.tell(at, nodes + number, Kind::Up);
        }
        let failures = f64::from(nodes) * span as f64 / MTBF;
        let failures = (failures.round() as u32).max(FAILURES_MIN);
        for _ in 0..failures.min(nodes / 10) {
            let node = take(&mut free, &mut rng);
            drawn.fail((span as f64 * unit(&mut rng)) as u64, node);
        }
        for number in 0..nodes * DRAINED / 100 {
            let at = span * 45 / 100 + u64::from(number) * 1000;
            drawn.drain(at, take(&mut free, &mut rng));
        }
        let upgraded = u64::from(nodes * UPGRADED / 100);
        for number in 0..upgraded {
            let wave = number * WAVES / upgraded;
            let at = span / 20 + wave * (DRAIN + RESTART);
            let node = take(&mut free, &mut rng);
            drawn.drain(at, node);
            drawn.tell(at + DRAIN + RESTART, node, Kind::Up);
        }
        drawn.faults.retain(|fault| fault.at < span);
        drawn.faults.sort_unstable();
        drawn
    }

    /// Between the spikes, when little else changes: what comes is of the loss. Where there are few nodes it is one of them.
    fn lose_rack(&mut self, scale: Scale, free: &mut Vec<u32>) {
        let lost = 0..(scale.nodes * RACK / 100).max(u32::from(scale.nodes >= 10));
        let at = scale.span * 7 / 10;
        free.retain(|node| !lost.contains(node));
        for node in lost.clone() {
            self.fail(at, node);
        }
        if !lost.is_empty() {
            self.rack_lost = Some((at, lost));
        }
    }

    fn fail(&mut self, at: u64, node: u32) {
        self.tell(at, node, Kind::Dies);
        self.tell(at + REPAIR, node, Kind::Up);
    }

    fn drain(&mut self, at: u64, node: u32) {
        self.tell(at, node, Kind::Drain);
        self.tell(at + DRAIN, node, Kind::Ends);
    }

    fn tell(&mut self, at: u64, node: u32, kind: Kind) {
        self.faults.push(Fault { at, node, kind });
    }
}

fn sizes(scale: Scale, many: u32, rng: &mut Rng) -> Vec<f64> {
    let large = if scale.one_size { 0.0 } else { LARGE };
    let sizes = (0..many).map(|_| if happens(rng, large) { 2.0 } else { 1.0 });
    sizes.collect()
}

fn take(free: &mut Vec<u32>, rng: &mut Rng) -> u32 {
    let at = rng.below(free.len() as u64) as usize;
    free.swap_remove(at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::RECURRING;

    const SCALE: Scale = Scale {
        nodes: 10,
        sessions: 1,
        span: 600_000,
        seed: 1,
        recurring: RECURRING,
        one_size: false,
    };

    #[test]
    fn each_kind_happens_and_no_node_has_two_stories() {
        let scale = Scale {
            nodes: 200,
            sessions: 1,
            span: 9_000_000,
            seed: 4,
            ..SCALE
        };
        let drawn = Faults::draw(scale);
        let of = |kind: Kind| drawn.faults.iter().filter(move |fault| fault.kind == kind);
        let (_, rack) = drawn.rack_lost.clone().expect("it is large enough");
        assert_eq!(
            of(Kind::Dies).count() as u32,
            rack.len() as u32 + FAILURES_MIN
        );
        assert_eq!(
            of(Kind::Drain).count() as u32,
            200 * (UPGRADED + DRAINED) / 100
        );
        assert_eq!(
            of(Kind::Up).filter(|fault| fault.node >= 200).count() as u32,
            4
        );
        for kind in [Kind::Dies, Kind::Drain, Kind::Ends] {
            let mut nodes: Vec<u32> = of(kind).map(|fault| fault.node).collect();
            nodes.sort_unstable();
            nodes.dedup();
            assert_eq!(nodes.len(), of(kind).count(), "{kind:?}");
        }
        assert!(drawn.sizes.contains(&1.0) && drawn.sizes.contains(&2.0));
    }

    #[test]
    fn small_worlds_have_faults_too() {
        let drawn = Faults::draw(Scale {
            nodes: 10,
            sessions: 1,
            seed: 1,
            ..SCALE
        });
        assert!(drawn.faults.iter().any(|fault| fault.kind == Kind::Dies));
        assert_eq!(drawn.rack_lost.map(|(_, rack)| rack.len()), Some(1));
        assert!(
            Faults::draw(Scale {
                nodes: 1,
                sessions: 1,
                ..SCALE
            })
            .faults
            .is_empty()
        );
    }
}
