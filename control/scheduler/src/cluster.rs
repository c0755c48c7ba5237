//! The view of all nodes, and what may happen to it.

use std::collections::{BTreeSet, HashMap};
use std::fmt::Display;
use std::hash::Hash;

use clock::{Duration, Instant, Rng};

use crate::choose::NoNode;
use crate::forecast::{Ended, Forecast};
use crate::index::{Index, Slot};
use crate::load::{Demand, Load, Report, Shape};
use crate::node::{Node, Standing};
use crate::sessions::{Number, Session, Sessions};
use crate::strategy::{Fit, Policy, Strategy};

/// All nodes and the sessions on them. `N` and `S` are their names.
#[derive(Debug)]
pub struct Cluster<N, S> {
    pub(crate) policy: Policy,
    pub(crate) index: Index,
    slots: HashMap<N, Slot>,
    nodes: Vec<Option<Node<N>>>,
    free: Vec<Slot>,
    sessions: Sessions<S>,
    /// When time alone changes what a node is.
    deadlines: BTreeSet<(Instant, Slot)>,
}

/// A node as others may see it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NodeView {
    /// What it is to a decision.
    pub standing: Standing,
    /// What was measured and what can't show there yet.
    pub load: Load,
    /// Since its last report, or since one was waited for.
    pub age: Duration,
    /// What is placed and can't show in a report yet.
    pub unseen: Demand,
    /// What is expected to come.
    pub growth: Demand,
    /// Sessions on it.
    pub sessions: u64,
}

impl<N, S> Cluster<N, S>
where
    N: Clone + Eq + Hash + Display,
    S: Eq + Hash,
{
    /// No nodes yet.
    pub fn new(policy: Policy) -> Self {
        Self {
            policy,
            index: Index::default(),
            slots: HashMap::new(),
            nodes: Vec::new(),
            free: Vec::new(),
            sessions: Sessions::new(),
            deadlines: BTreeSet::new(),
        }
    }

    /// There is such a node, and it takes sessions or does not. One that begins to has as much time for its first report as for
    /// any other. Answers whether that is news.
    pub fn may_take(&mut self, now: Instant, name: &N, takes: bool) -> bool {
        let known = self.slot(name);
        let slot = known.unwrap_or_else(|| self.add(now, name));
        let node = self.node_mut(slot);
        if known.is_some() && node.takes == takes {
            return false;
        }
        node.takes = takes;
        node.takes_since = now;
        self.wake(now, slot);
        true
    }

    /// A node is no more, and what was on it is not either.
    pub fn remove(&mut self, name: &N) {
        let Some(slot) = self.slots.remove(name) else {
            return;
        };
        // It looks at all there are.
        if self.node(slot).held.sessions > 0 {
            self.sessions.forget_node(slot);
        }
        self.index.set(slot, None);
        if let Some(deadline) = self.node(slot).deadline {
            self.deadlines.remove(&(deadline, slot));
        }
        self.nodes[slot as usize] = None;
        self.free.push(slot);
    }

    /// A node told its load.
    pub fn report(&mut self, now: Instant, name: &N, report: Report) {
        let Some(slot) = self.slot(name) else {
            return;
        };
        self.node_mut(slot).report = Some(report);
        let young = std::mem::take(&mut self.node_mut(slot).young);
        let (mut unseen, mut growth) = (Demand::NONE, Demand::NONE);
        let mut still = Vec::with_capacity(young.len());
        for number in young {
            let session = self.sessions.get_mut(number);
            session.on_report(report.at, report.rates.is_some());
            (session.unseen, session.growth) = session.reservation(now);
            session.young = None;
            if session.unseen != Demand::NONE || session.growth != Demand::NONE {
                session.young = Some(still.len());
                still.push(number);
                unseen = unseen.plus(session.unseen);
                growth = growth.plus(session.growth);
            }
        }
        let node = self.node_mut(slot);
        (node.young, node.unseen, node.growth) = (still, unseen, growth);
        self.wake(now, slot);
    }

    /// A node refused something for want of room.
    pub fn refused(&mut self, now: Instant, name: &N) {
        if let Some(slot) = self.slot(name) {
            self.node_mut(slot).full_until = Some(now + self.policy.full_after_refusal);
            self.wake(now, slot);
        }
    }

    /// Finds a node for a session that is foreseen to become that, and puts it there: the wanted one, or else the best.
    ///
    /// # Errors
    /// [`NoNode`], when nobody can take it.
    pub fn place(
        &mut self,
        now: Instant,
        session: S,
        wanted: Option<&N>,
        forecast: impl Into<Forecast>,
        rng: &mut Rng,
    ) -> Result<N, NoNode<N>> {
        self.advance(now);
        let forecast = forecast.into();
        let slot = self.choose(wanted, forecast.peak.ends().demand(), rng)?;
        self.put(now, slot, session, forecast);
        Ok(self.node(slot).name.clone())
    }

    /// Whether a node could take a session now.
    ///
    /// # Errors
    /// As [`Cluster::place`].
    pub fn could_place(
        &mut self,
        now: Instant,
        wanted: Option<&N>,
        rng: &mut Rng,
    ) -> Result<(), NoNode<N>> {
        self.advance(now);
        self.choose(wanted, Demand::NONE, rng).map(|_| ())
    }

    /// A session is on a node since long: its load shows in what that reports.
    pub fn adopt(&mut self, now: Instant, session: S, name: &N, shape: Shape) {
        let slot = self.slot(name).unwrap_or_else(|| self.add(now, name));
        let number = self.put(now, slot, session, Shape::default().into());
        self.change(now, number, |session| session.settle(shape));
    }

    /// A session is of this shape now.
    pub fn reshape(&mut self, now: Instant, session: &S, shape: Shape) {
        if let Some(number) = self.sessions.number(session) {
            self.change(now, number, |session| session.reshape(now, shape));
        }
    }

    /// A session is over, or no longer where it was. Answers what became of it, if it was anywhere.
    pub fn end(&mut self, session: &S) -> Option<Ended> {
        let number = self.sessions.number(session)?;
        self.unreserve(number);
        let session = self.sessions.remove(session)?;
        let held = &mut self.node_mut(session.node).held;
        held.remove(&session.shape);
        held.sessions -= 1;
        self.rank(session.node);
        Some(session.ended())
    }

    /// How many sessions are placed.
    pub fn sessions(&self) -> usize {
        self.sessions.len()
    }

    /// A node as it is now.
    pub fn view(&mut self, now: Instant, name: &N) -> Option<NodeView> {
        self.advance(now);
        let node = self.node(self.slot(name)?);
        Some(NodeView {
            standing: node.standing(self.policy.strategy),
            load: node.load(),
            age: now.saturating_since(node.last_seen()),
            unseen: node.unseen,
            growth: node.growth,
            sessions: node.held.sessions,
        })
    }

    /// Processor time that a node uses, in shares of all cores given to it, 0 to 1, if it was measured.
    pub fn cpu(&self, name: &N) -> Option<f64> {
        let report = self.node(self.slot(name)?).report?;
        report.rates.map(|rates| rates.cpu)
    }

    /// The names of all nodes.
    pub fn names(&self) -> impl Iterator<Item = &N> {
        self.slots.keys()
    }

    pub(crate) fn slot(&self, name: &N) -> Option<Slot> {
        self.slots.get(name).copied()
    }

    pub(crate) fn nodes(&self) -> impl Iterator<Item = (Slot, &Node<N>)> {
        (0..)
            .zip(&self.nodes)
            .filter_map(|(slot, node)| Some((slot, node.as_ref()?)))
    }

    pub(crate) fn node(&self, slot: Slot) -> &Node<N> {
        let node = self.nodes[slot as usize].as_ref();
        node.expect("slots are of nodes that are there")
    }

    fn node_mut(&mut self, slot: Slot) -> &mut Node<N> {
        let node = self.nodes[slot as usize].as_mut();
        node.expect("slots are of nodes that are there")
    }

    fn add(&mut self, now: Instant, name: &N) -> Slot {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.nodes.push(None);
            Slot::try_from(self.nodes.len() - 1).expect("fewer than 2^32 nodes")
        });
        self.nodes[slot as usize] = Some(Node::new(name.clone(), now));
        self.slots.insert(name.clone(), slot);
        slot
    }

    /// What time alone has changed.
    fn advance(&mut self, now: Instant) {
        while let Some(&(deadline, slot)) = self.deadlines.first()
            && deadline <= now
        {
            self.wake(now, slot);
        }
    }

    fn wake(&mut self, now: Instant, slot: Slot) {
        let policy = self.policy;
        let node = self.node_mut(slot);
        let before = node.deadline;
        node.wake(now, &policy);
        let after = node.deadline;
        if before != after {
            before.map(|before| self.deadlines.remove(&(before, slot)));
            after.map(|after| self.deadlines.insert((after, slot)));
        }
        self.rank(slot);
    }

    fn rank(&mut self, slot: Slot) {
        let rank = self.node(slot).rank(self.policy.strategy);
        self.index.set(slot, rank);
    }

    fn put(&mut self, now: Instant, slot: Slot, session: S, forecast: Forecast) -> Number {
        self.end(&session);
        let number = self
            .sessions
            .insert(session, Session::new(slot, now, forecast));
        self.node_mut(slot).held.sessions += 1;
        self.change(now, number, |_| {});
        number
    }

    /// Changes a session, and what its node has of it.
    fn change(&mut self, now: Instant, number: Number, change: impl FnOnce(&mut Session)) {
        self.unreserve(number);
        let session = self.sessions.get_mut(number);
        let (slot, was) = (session.node, session.shape);
        change(session);
        let is = session.shape;
        let (unseen, growth) = session.reservation(now);
        (session.unseen, session.growth) = (unseen, growth);
        let node = self.nodes[slot as usize].as_mut();
        let node = node.expect("slots are of nodes that are there");
        node.held.remove(&was);
        node.held.add(&is);
        if unseen != Demand::NONE || growth != Demand::NONE {
            session.young = Some(node.young.len());
            node.young.push(number);
            node.unseen = node.unseen.plus(unseen);
            node.growth = node.growth.plus(growth);
        }
        self.rank(slot);
    }

    fn unreserve(&mut self, number: Number) {
        let session = self.sessions.get_mut(number);
        let Some(at) = session.young.take() else {
            return;
        };
        let slot = session.node;
        let (unseen, growth) = (session.unseen, session.growth);
        let node = self.node_mut(slot);
        node.young.swap_remove(at);
        node.unseen = node.unseen.minus(unseen);
        node.growth = node.growth.minus(growth);
        let moved = node.young.get(at).copied();
        if node.young.is_empty() {
            // What rounding has left.
            (node.unseen, node.growth) = (Demand::NONE, Demand::NONE);
        }
        if let Some(moved) = moved {
            self.sessions.get_mut(moved).young = Some(at);
        }
    }
}

impl<N, S> Cluster<N, S> {
    /// The strategy that it follows.
    pub fn strategy(&self) -> Strategy {
        self.policy.strategy
    }

    /// How it chooses among nodes by capacity.
    pub fn fit(&self) -> Fit {
        self.policy.fit
    }
}
