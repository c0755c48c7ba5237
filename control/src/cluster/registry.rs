//! All media nodes: who they are, how they are, and everything that happens to them, in its order.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use ::link::Hello;

use super::{DrainDeadline, Health, MediaNode, NodeRow, Removal, Status};
use crate::domain::{Millis, NodeId, SessionId};
use crate::events::Event;
use crate::store::{Batch, Table};

/// How long a node that is let go may take to clear up.
const RELEASE: Duration = Duration::from_secs(5);
/// How long one that is no longer wanted is waited for, before it is let go unseen.
const CANCELED: Duration = Duration::from_secs(20);

/// All media nodes, in the order in which they came.
#[derive(Default)]
pub struct Registry {
    nodes: Vec<MediaNode>,
    places: HashMap<NodeId, usize>,
    /// Those of the configuration that are no longer of the cluster, or rows of an earlier life that were not dialled yet.
    away: BTreeMap<NodeId, NodeRow>,
    /// Whose rows must be written.
    changed: BTreeSet<NodeId>,
    news: Vec<Event>,
    reconnection: Option<Duration>,
}

/// A change of a node's health.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthChange {
    /// Whose.
    pub node: NodeId,
    /// What it was.
    pub was: Health,
    /// What it is.
    pub is: Health,
}

/// What is due for a node, for it has taken long enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// It was never met in time.
    LaunchFailed,
    /// It is not wanted, and did not come up to be told so.
    Canceled,
    /// It did not come back in time.
    GivenUp,
    /// It has cleared up, or had time enough.
    Released,
}

impl Registry {
    /// Without nodes. One that has crashed may come back within `reconnection` (none: whenever it likes).
    pub fn new(reconnection: Option<Duration>) -> Self {
        Self {
            reconnection,
            ..Self::default()
        }
    }

    /// Takes what an earlier life of the master kept, to be asked for with [`take_all_kept`](Self::take_all_kept).
    pub fn restore(&mut self, rows: impl IntoIterator<Item = (String, NodeRow)>) {
        let rows = rows.into_iter();
        self.away
            .extend(rows.map(|(id, row)| (NodeId::new(id), row)));
    }

    /// Everything that an earlier life knew and nobody has asked for.
    pub fn take_all_kept(&mut self) -> BTreeMap<NodeId, NodeRow> {
        std::mem::take(&mut self.away)
    }

    /// That one stays away, as its row says.
    pub fn keep_away(&mut self, id: NodeId, row: NodeRow) {
        self.changed.insert(id.clone());
        self.away.insert(id, row);
    }

    /// That row is of no use any more.
    pub fn forget(&mut self, id: &NodeId) {
        self.away.remove(id);
        self.changed.insert(id.clone());
    }

    /// The nodes of the configuration that were given up.
    pub fn given_up(&self) -> Vec<NodeId> {
        let given_up = |row: &NodeRow| row.removed == Some(Removal::GivenUp);
        let away = self.away.iter().filter(|(_, row)| given_up(row));
        away.map(|(id, _)| id.clone()).collect()
    }

    /// Adds a node. One that is new is news.
    pub fn add(&mut self, node: MediaNode) {
        if node.status == Status::Launching && !node.known {
            self.news.push(Event::MediaNodeStatusChanged {
                node: node.identity(),
                new_status: Status::Launching.as_str(),
                old_status: None,
            });
        }
        self.away.remove(&node.id);
        self.changed.insert(node.id.clone());
        self.places.insert(node.id.clone(), self.nodes.len());
        self.nodes.push(node);
    }

    /// All of them.
    pub fn nodes(&self) -> &[MediaNode] {
        &self.nodes
    }

    /// The node of that id.
    pub fn node(&self, id: &NodeId) -> Option<&MediaNode> {
        let place = *self.places.get(id)?;
        self.nodes.get(place)
    }

    /// The node of that id, as a place.
    pub fn node_mut(&mut self, id: &NodeId) -> Option<&mut MediaNode> {
        let place = *self.places.get(id)?;
        self.nodes.get_mut(place)
    }

    /// The node that is dialled there.
    pub fn at(&self, address: SocketAddr) -> Option<&MediaNode> {
        self.nodes.iter().find(|node| node.address == address)
    }

    /// The node whose certificate names this id.
    pub fn certified(&self, node_id: &str) -> Option<&MediaNode> {
        let named = |node: &&MediaNode| node.node_id.as_deref() == Some(node_id);
        self.nodes.iter().find(named)
    }

    /// A newer master has taken over at least one of the nodes.
    pub fn superseded(&self) -> bool {
        self.nodes.iter().any(MediaNode::superseded)
    }

    /// A node has introduced itself. If another one has that id in its certificate already, this one gets no work; answers that one.
    pub fn met(&mut self, id: &NodeId, hello: &Hello) -> Option<NodeId> {
        let other = self.certified(&hello.node).map(|other| other.id.clone());
        let other = other.filter(|other| other != id);
        let node = self.node_mut(id)?;
        match other {
            Some(other) => {
                node.copy_of = Some(other.clone());
                node.link.stop();
                Some(other)
            }
            None => {
                node.reached(hello);
                self.changed.insert(id.clone());
                None
            }
        }
    }

    /// Looks at every node again. Answers those whose health changed.
    pub fn look(
        &mut self,
        now: Instant,
        millis: Millis,
        crashed_after: Duration,
    ) -> Vec<HealthChange> {
        let mut changes = Vec::new();
        for node in &mut self.nodes {
            let was = node.health;
            let is = node.judge(now, crashed_after);
            if was == is {
                continue;
            }
            node.health = is;
            match is {
                Health::Up => {
                    node.known = true;
                    node.connection_time = Some(millis);
                }
                _ if was == Health::Up => {
                    let silence = node.silence();
                    node.lost = now.checked_sub(silence).unwrap_or(now);
                    let silence = silence.as_millis() as Millis;
                    node.disconnection_time = Some(millis.saturating_sub(silence));
                }
                _ => {}
            }
            self.changed.insert(node.id.clone());
            let node = node.id.clone();
            changes.push(HealthChange { node, was, is });
        }
        changes
    }

    /// Another process answers in the place of that node. Answers whether it had not been declared dead already.
    pub fn restarted(&mut self, id: &NodeId, millis: Millis) -> bool {
        let Some(node) = self.node_mut(id) else {
            return false;
        };
        let alive = node.health != Health::Crashed;
        if node.health == Health::Up {
            node.lost = Instant::now();
            node.disconnection_time = Some(millis);
        }
        node.health = Health::Crashed;
        self.changed.insert(id.clone());
        alive
    }

    /// A node says whether it is about to end by itself. Answers whether that is news.
    pub fn leaves(&mut self, id: &NodeId, leaving: bool) -> bool {
        let Some(node) = self.node_mut(id) else {
            return false;
        };
        std::mem::replace(&mut node.leaving, leaving) != leaving
    }

    /// Tells that it was declared dead, with what was on it.
    pub fn tell_crashed(&mut self, id: &NodeId, sessions: Vec<SessionId>, millis: Millis) {
        if let Some(node) = self.node(id) {
            let told = Event::NodeCrashed {
                node: node.identity(),
                sessions,
                disconnected_at: node.disconnection_time.unwrap_or(millis),
            };
            self.news.push(told);
        }
    }

    /// Tells that it is back.
    pub fn tell_recovered(&mut self, id: &NodeId) {
        if let Some(node) = self.node(id) {
            let node = node.identity();
            self.news.push(Event::NodeRecovered { node });
        }
    }

    /// Changes a node's status, and tells it. One that has ended leaves the list, and its link is given up. Answers whether it could be changed.
    pub fn set_status(&mut self, id: &NodeId, new: Status) -> bool {
        let Some(node) = self.node_mut(id) else {
            return false;
        };
        let old = node.status;
        if !old.may_become(new) {
            return false;
        }
        node.status = new;
        node.drain_deadline = None;
        node.status_since = Instant::now();
        let told = Event::MediaNodeStatusChanged {
            node: node.identity(),
            new_status: new.as_str(),
            old_status: Some(old.as_str()),
        };
        self.news.push(told);
        self.changed.insert(id.clone());
        if new.is_final() {
            self.remove(id);
        }
        true
    }

    /// It never came up. If the configuration names it, it is dialled again at the next start, or when nodes are looked for.
    pub fn launch_failed(&mut self, id: &NodeId) {
        if let Some(node) = self.node_mut(id) {
            node.removed = Some(Removal::GivenUp);
        }
        self.set_status(id, Status::Failed);
    }

    /// Lets a node go for that reason, from whatever it is for now. Its sessions are over already.
    pub fn let_go(&mut self, id: &NodeId, why: Removal) {
        if let Some(node) = self.node_mut(id) {
            node.removed.get_or_insert(why);
        }
        // On the way from launching; anything else refuses it.
        self.set_status(id, Status::Canceled);
        self.set_status(id, Status::Terminating);
    }

    /// When what is left on a drained node is closed; none: never.
    pub fn set_drain_deadline(&mut self, id: &NodeId, deadline: Option<DrainDeadline>) {
        if let Some(node) = self.node_mut(id) {
            node.drain_deadline = deadline;
            self.changed.insert(id.clone());
        }
    }

    /// The nodes for which something is due.
    pub fn due(&self, now: Instant) -> Vec<(NodeId, Due)> {
        let is_over = |since: Instant, patience| now.saturating_duration_since(since) >= patience;
        let due = |node: &MediaNode| match node.status {
            Status::Launching => {
                let late = |patience| is_over(node.status_since, patience);
                let failed = node.launch_timeout.is_some_and(late);
                failed.then_some(Due::LaunchFailed)
            }
            Status::Canceled => is_over(node.status_since, CANCELED).then_some(Due::Canceled),
            Status::Running | Status::WaitingIdleToTerminate => {
                let late = |patience| is_over(node.lost, patience);
                let late = self.reconnection.is_some_and(late);
                (node.health == Health::Crashed && late).then_some(Due::GivenUp)
            }
            Status::Terminating => {
                let clear = !node.link.is_up() || node.link.unapplied() == 0;
                (clear || is_over(node.status_since, RELEASE)).then_some(Due::Released)
            }
            Status::Failed | Status::Terminated => None,
        };
        let nodes = self.nodes.iter();
        nodes
            .filter_map(|node| Some((node.id.clone(), due(node)?)))
            .collect()
    }

    /// The nodes that are being drained, with when what is left on them is closed.
    pub fn draining(&self) -> Vec<(NodeId, Option<Instant>)> {
        let nodes = self.nodes.iter();
        let draining = nodes.filter(|node| node.status == Status::WaitingIdleToTerminate);
        draining
            .map(|node| (node.id.clone(), node.drain_deadline.map(|at| at.due)))
            .collect()
    }

    /// What applications must hear, in this order.
    pub fn take_news(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.news)
    }

    /// Writes down what has changed of what must outlive us.
    pub fn keep(&mut self, batch: &mut Batch) {
        for id in std::mem::take(&mut self.changed) {
            match (self.node(&id), self.away.get(&id)) {
                (Some(node), _) => batch.put(Table::Nodes, id.as_str(), &node.row()),
                (None, Some(row)) => batch.put(Table::Nodes, id.as_str(), row),
                (None, None) => batch.remove(Table::Nodes, id.as_str()),
            }
        }
    }

    /// Writes down everything that must outlive us.
    #[cfg(test)]
    pub fn keep_all(&mut self, batch: &mut Batch) {
        self.changed.extend(self.places.keys().cloned());
        self.changed.extend(self.away.keys().cloned());
        self.keep(batch);
    }

    fn remove(&mut self, id: &NodeId) {
        let Some(place) = self.places.remove(id) else {
            return;
        };
        let node = self.nodes.remove(place);
        for at in self.places.values_mut().filter(|at| **at > place) {
            *at -= 1;
        }
        node.link.stop();
        if node.configured {
            self.away.insert(node.id.clone(), node.row());
        }
    }
}
