//! How loaded the nodes are by their own metrics, and where sessions go by that.
//!
//! Pure: what is read comes in by [`Loads::sampled`], from [`watch`](crate::load_watch) in the running master.

pub mod kept;
mod sample;

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use clock::Rng;
use scheduler::history::Learned;
use scheduler::{
    Cluster, Ended, Hint, History, NoNode, NodeView, Policy, Predictor, Shape, Sources, Strategy,
};

use crate::domain::{NodeId, SessionId};

pub use sample::{NAMES, Sample};

/// The nodes' loads.
pub struct Loads {
    cluster: Cluster<NodeId, SessionId>,
    predictor: Predictor,
    rng: Rng,
    /// The zero of the scheduler's time.
    zero: Instant,
    /// The last readings: rates are what came since.
    last: HashMap<NodeId, (Instant, Sample)>,
}

/// Why a session was not placed.
pub type Unplaced = NoNode<NodeId>;

impl Loads {
    /// No nodes, and what is known of earlier sessions. `seed` is for chance that nobody need be afraid of.
    pub fn new(policy: Policy, history: History, seed: u64) -> Self {
        Self {
            cluster: Cluster::new(policy),
            predictor: Predictor::new(Sources::default(), history),
            rng: Rng::from_number(seed),
            // Before everything that is told of, and so far that nothing is that old by mistake.
            zero: Instant::now(),
            last: HashMap::new(),
        }
    }

    /// By what sessions are placed.
    pub fn strategy(&self) -> Strategy {
        self.cluster.strategy()
    }

    /// These are the nodes, and these of them take sessions.
    pub fn look<'a>(
        &mut self,
        now: Instant,
        nodes: impl Iterator<Item = (&'a NodeId, bool)> + Clone,
    ) {
        for (node, takes) in nodes.clone() {
            self.may_take(now, node, takes);
        }
        // All of them are known by now: if more are, some have gone.
        if self.cluster.names().count() > nodes.clone().count() {
            let there: HashSet<_> = nodes.map(|(node, _)| node).collect();
            let names = self.cluster.names();
            let gone: Vec<_> = names
                .filter(|name| !there.contains(name))
                .cloned()
                .collect();
            for node in gone {
                self.remove(&node);
            }
        }
    }

    /// A node takes sessions, or takes none any more.
    pub fn may_take(&mut self, now: Instant, node: &NodeId, takes: bool) {
        let now = self.time(now);
        if self.cluster.may_take(now, node, takes) && !takes {
            tracing::debug!(%node, "takes no sessions");
        }
    }

    /// A node is no longer of the cluster.
    pub fn remove(&mut self, node: &NodeId) {
        self.cluster.remove(node);
        self.last.remove(node);
    }

    /// A node's metrics were read. They were asked for at `asked`; it has so many workers.
    pub fn sampled(
        &mut self,
        now: Instant,
        node: &NodeId,
        asked: Instant,
        sample: Sample,
        workers: u16,
    ) {
        let before = self.last.get(node);
        let before = before.map(|(at, before)| (before, asked.duration_since(*at).as_secs_f64()));
        let mut report = sample.report(before, workers);
        report.at = self.time(asked);
        let now = self.time(now);
        self.cluster.report(now, node, report);
        self.last.insert(node.clone(), (asked, sample));
    }

    /// A node refused something for want of room.
    pub fn refused(&mut self, now: Instant, node: &NodeId) {
        let now = self.time(now);
        self.cluster.refused(now, node);
    }

    /// Finds a node for a session and puts it there.
    ///
    /// # Errors
    /// [`Unplaced`], when nobody takes it.
    pub fn place(
        &mut self,
        now: Instant,
        session: &SessionId,
        wanted: Option<&NodeId>,
        hint: Hint,
    ) -> Result<NodeId, Unplaced> {
        let forecast = self.predictor.foresee(name(session), hint);
        let now = self.time(now);
        self.cluster
            .place(now, session.clone(), wanted, forecast, &mut self.rng)
    }

    /// Whether somebody would take a session now.
    ///
    /// # Errors
    /// As [`Loads::place`].
    pub fn could_place(&mut self, now: Instant, wanted: Option<&NodeId>) -> Result<(), Unplaced> {
        let now = self.time(now);
        self.cluster.could_place(now, wanted, &mut self.rng)
    }

    /// A session has been on a node since before this master's time.
    pub fn adopt(&mut self, now: Instant, session: &SessionId, node: &NodeId, shape: Shape) {
        let now = self.time(now);
        self.cluster.adopt(now, session.clone(), node, shape);
    }

    /// A session has become larger or smaller.
    pub fn reshape(&mut self, now: Instant, session: &SessionId, shape: Shape) {
        let now = self.time(now);
        self.cluster.reshape(now, session, shape);
    }

    /// A session is no longer where it was, and goes on elsewhere.
    pub fn unplace(&mut self, session: &SessionId) {
        // Nothing can be learned from part of it.
        let _ = self.cluster.end(session);
    }

    /// A session is over. Answers what became of it, and what there is to keep of that.
    pub fn over(&mut self, session: &SessionId) -> Option<(Ended, Option<Learned>)> {
        let ended = self.cluster.end(session)?;
        let learned = self.predictor.ended(name(session), &ended);
        Some((ended, learned))
    }

    /// What is remembered of earlier sessions.
    #[cfg(test)]
    pub fn history(&self) -> &History {
        self.predictor.history()
    }

    /// How a node stands.
    pub fn view(&mut self, now: Instant, node: &NodeId) -> Option<NodeView> {
        let now = self.time(now);
        self.cluster.view(now, node)
    }

    /// Processor time that a node uses, in shares of the cores given to it, 0 to 1; 0 where it was not read yet.
    pub fn cpu(&self, node: &NodeId) -> f64 {
        self.cluster.cpu(node).unwrap_or(0.0)
    }

    /// What was last read of a node's metrics.
    pub fn last_read(&self, node: &NodeId) -> Option<&Sample> {
        self.last.get(node).map(|(_, sample)| sample)
    }

    fn time(&self, at: Instant) -> clock::Instant {
        /// So that what came before can be told from nothing.
        const START: Duration = Duration::from_secs(3600);
        clock::Instant::ZERO + START + at.saturating_duration_since(self.zero)
    }
}

/// The name by which a session may come again.
fn name(session: &SessionId) -> Option<&str> {
    session.is_chosen().then_some(session.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::testing::Seeded;

    fn loads() -> (Loads, Instant, [NodeId; 2]) {
        let nodes = ["a", "b"].map(NodeId::new);
        let (mut loads, now) = (
            Loads::new(Policy::default(), History::default(), 1),
            Instant::now(),
        );
        loads.look(now, nodes.iter().map(|node| (node, true)));
        (loads, now, nodes)
    }

    fn sample(packets: f64, cpu: f64) -> Sample {
        Sample::parse(&format!(
            "ringcast_node_ready 1\nringcast_node_transports 30\nringcast_node_transports_max 100\n\
             ringcast_node_capacity_packets_per_second 1000\nringcast_node_packets_total {packets}\nringcast_node_cpu_seconds_total {cpu}\n"
        ))
    }

    #[test]
    fn one_reading_counts_with_what_is_and_two_with_what_was_done() {
        let (mut loads, now, [node, _]) = loads();
        let later = now + Duration::from_secs(2);
        let load = |loads: &mut Loads, at| loads.view(at, &node).map(|view| view.load.ratio);
        loads.sampled(now, &node, now, sample(5000.0, 1.0), 2);
        assert_eq!((load(&mut loads, now), loads.cpu(&node)), (Some(0.3), 0.0));
        loads.sampled(later, &node, later, sample(6000.0, 2.0), 2);
        assert_eq!(
            (load(&mut loads, later), loads.cpu(&node)),
            (Some(0.5), 0.25)
        );
        // The process began anew.
        let again = later + Duration::from_secs(2);
        loads.sampled(again, &node, again, sample(10.0, 0.1), 2);
        assert_eq!(load(&mut loads, again), Some(0.3));
    }

    #[test]
    fn who_is_gone_is_forgotten_with_its_sessions() {
        let (mut loads, now, [a, b]) = loads();
        let session = SessionId::new("S");
        let placed = loads.place(now, &session, Some(&b), Hint::default());
        assert_eq!(placed, Ok(b.clone()));
        loads.look(now, [(&a, true)].into_iter());
        assert_eq!(loads.view(now, &b), None);
        // One of that name that comes later has nothing of it.
        loads.look(now, [(&a, false), (&b, true)].into_iter());
        assert_eq!(loads.view(now, &b).map(|view| view.sessions), Some(0));
        assert_eq!(loads.place(now, &session, None, Hint::default()), Ok(b));
    }

    #[test]
    fn what_an_earlier_master_placed_is_there_and_reserves_nothing() {
        let (mut loads, now, [a, _]) = loads();
        let shape = Shape {
            publishers: 5,
            subscribers: 20,
            ..Shape::default()
        };
        loads.adopt(now, &SessionId::new("S"), &a, shape);
        let view = loads.view(now, &a).expect("known");
        assert_eq!(
            (view.sessions, view.unseen, view.growth),
            (1, scheduler::Demand::NONE, scheduler::Demand::NONE)
        );
    }

    #[test]
    fn a_name_that_we_drew_is_nobodys_habit() {
        let (mut loads, now, _) = loads();
        let large = Shape {
            connections: 20,
            publishers: 20,
            subscribers: 380,
            ..Shape::default()
        };
        let mut reserved = |id: &str| {
            let session = SessionId::new(id);
            let placed = loads.place(now, &session, None, Hint::default());
            let node = placed.expect("there is room");
            let view = loads.view(now, &node).expect("known");
            loads.reshape(now, &session, large);
            let (_, learned) = loads.over(&session).expect("it was there");
            (view.growth.transports, learned.is_some())
        };
        let drawn = crate::domain::ids::random("ses_", 9, &mut Seeded(3));
        assert_eq!(reserved(&drawn), (16.0, false));
        assert_eq!(reserved(&drawn), (16.0, false));
        assert_eq!(reserved("ses_lecture"), (16.0, true));
        assert_eq!(reserved("ses_lecture"), (400.0, true));
    }

    #[test]
    fn who_is_moved_is_not_over() {
        let (mut loads, now, _) = loads();
        let session = SessionId::new("S");
        let placed = loads.place(now, &session, None, Hint::default());
        assert!(placed.is_ok());
        loads.unplace(&session);
        assert!(loads.over(&session).is_none());
        assert_eq!(loads.history().names(), 0);
    }
}
