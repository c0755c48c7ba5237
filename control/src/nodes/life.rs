//! The lives of media nodes: what becomes of them, and of the sessions on them, when they come, fall silent, are drained and go.

use std::time::{Duration, Instant};

use link::Hello;

use crate::app::{Core, now_millis};
use crate::cluster::registry::Due;
use crate::cluster::{DrainDeadline, Health, Removal, Status};
use crate::domain::{NodeId, Reason};
use crate::events::Event;

/// What is to become of a node that is to be removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strategy {
    /// Its sessions are closed.
    Now,
    /// It stays if there is a session on it.
    IfNoSessions,
    /// It takes no more sessions, and goes when it is empty, or after so long whatever is on it (none: whenever it is empty).
    WhenNoSessions(Option<Duration>),
}

/// How long a node that is drained may keep what is on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DrainFor {
    /// Nothing was said: one that is being drained keeps the deadline that it has, if any, and another gets none.
    Unsaid,
    /// However long it takes.
    Ever,
    /// So long.
    AtMost(Duration),
}

/// What was done about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removing {
    /// It is being let go.
    Begun,
    /// There is a session on it: it is drained first.
    Draining,
}

/// Why nothing was done to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is no such node.
    #[error("there is no such media node")]
    Unknown,
    /// There is a session on it.
    #[error("the media node has sessions")]
    Busy,
    /// It has that status already.
    #[error("the media node is '{}' already", .0.as_str())]
    Already(Status),
    /// Its status can't be changed in that way.
    #[error("a media node can't be made '{}' that is '{}'", to.as_str(), from.as_str())]
    Transition {
        /// What it is.
        from: Status,
        /// What was wanted.
        to: Status,
    },
}

impl Core {
    /// Looks at every node: those that were lost or are back, those that have had time enough, and those that are empty at last.
    pub fn tend_nodes(&mut self, now: Instant, crashed_after: Duration) {
        let millis = now_millis();
        for (node, due) in self.registry.due(now) {
            // What it has still to be told is not written down yet.
            if due == Due::Released && self.held.waits_for(&node) {
                continue;
            }
            self.overdue(&node, due);
        }
        self.look_at_drained(now);
        for change in self.registry.look(now, millis, crashed_after) {
            let (node, was, is) = (&change.node, change.was, change.is);
            tracing::info!(%node, was = was.as_str(), is = is.as_str(), "media node");
            match is {
                Health::Crashed => self.node_lost(node),
                Health::Up => self.node_is_up(node, was),
                Health::Launching | Health::Suspect => {}
            }
        }
    }

    /// A node has introduced itself. `restarted`: it is another process than before, and everything that was on it is gone.
    pub fn node_met(&mut self, node: &NodeId, hello: &Hello, restarted: bool) {
        if let Some(other) = self.registry.met(node, hello) {
            tracing::error!(
                %node, same_as = %other, node_id = hello.node,
                "refused: this media node shows the certificate of another one. Give each its own (`ringcast-master pki node`), or remove \
                 the one that is gone; then look for nodes anew (PUT /openvidu/api/media-nodes)"
            );
        } else if restarted && self.registry.restarted(node, now_millis()) {
            self.node_lost(node);
        }
    }

    /// A node says whether it is about to end by itself, and how long it takes at most: it gets no more sessions, and those of which nothing
    /// is there go elsewhere. When there is no more time, what is left on it is closed.
    pub fn node_leaves(&mut self, node: &NodeId, left: Option<Duration>) {
        let is_news = self.registry.leaves(node, left.is_some());
        let Some(left) = left else {
            if is_news {
                self.look_at_load(node);
            }
            return;
        };
        if is_news {
            tracing::info!(%node, ?left, "media node is about to end: it gets no more sessions");
            self.look_at_load(node);
        }
        if is_news || left.is_zero() {
            self.move_what_is_not_there_yet(node);
        }
        if left.is_zero() {
            let sessions = self.domain.node_lost(node, Reason::MediaServerDisconnect);
            if sessions > 0 {
                tracing::warn!(%node, sessions, "media node ends: its sessions are closed");
            }
        }
    }

    /// Sessions that are to be on that node and have no media get another one when they need it.
    fn move_what_is_not_there_yet(&mut self, node: &NodeId) {
        for id in self.domain.sessions_on(node) {
            let session = self.domain.session(&id);
            // Whoever is in a session that wants this node and no other can't go elsewhere.
            let must_stay = session.is_some_and(|one| {
                one.properties.media_node.is_some() && one.active().next().is_some()
            });
            if !must_stay && !self.media.has_media(&id) {
                tracing::info!(session = %id, %node, "the session goes elsewhere");
                self.loads.unplace(&id);
                self.domain.unplace(&id);
            }
        }
    }

    /// A node is dead: its sessions are over.
    pub fn node_lost(&mut self, node: &NodeId) {
        let sessions = self.domain.sessions_on(node);
        let has_left = self.registry.node(node).is_some_and(|one| one.leaving);
        self.standings.forget_node(node);
        if has_left && sessions.is_empty() {
            tracing::info!(%node, "media node has ended in order");
            return;
        }
        // It was about to, and did not get so far.
        self.registry.leaves(node, false);
        self.registry.tell_crashed(node, sessions, now_millis());
        // Applications hear of the node before they hear of its sessions.
        self.tell_of_nodes();
        let sessions = self.domain.node_lost(node, Reason::NodeCrashed);
        tracing::warn!(%node, sessions, "media node crashed: its sessions are closed");
    }

    /// Gives a node the status that somebody ordered. `drain_for`: what is left on a drained one is closed after so long; to order that
    /// alone is something else than what is already.
    ///
    /// # Errors
    /// [`Refusal`], when it is not there, has that status, or can't get there.
    pub fn order_status(
        &mut self,
        id: &NodeId,
        to: Status,
        drain_for: DrainFor,
        now: Instant,
    ) -> Result<(), Refusal> {
        let node = self.registry.node(id).ok_or(Refusal::Unknown)?;
        let (from, has_deadline) = (node.status, node.drain_deadline.is_some());
        let length = match drain_for {
            DrainFor::AtMost(length) => Some(length),
            DrainFor::Unsaid | DrainFor::Ever => None,
        };
        if from == to {
            let is_new = length.is_some() || (drain_for == DrainFor::Ever && has_deadline);
            if !is_new {
                return Err(Refusal::Already(to));
            }
            self.registry.set_drain_deadline(id, deadline(length, now));
            return Ok(());
        }
        if !from.may_be_ordered(to) {
            return Err(Refusal::Transition { from, to });
        }
        match to {
            Status::Terminating => self.let_go(id, Removal::Ordered, now),
            _ => {
                self.registry.set_status(id, to);
                self.registry.set_drain_deadline(id, deadline(length, now));
            }
        }
        Ok(())
    }

    /// Removes a node, in that way.
    ///
    /// # Errors
    /// [`Refusal`], when it is not there or has sessions that must stay.
    pub fn remove_node(
        &mut self,
        id: &NodeId,
        strategy: Strategy,
        now: Instant,
    ) -> Result<Removing, Refusal> {
        let node = self.registry.node(id).ok_or(Refusal::Unknown)?;
        let status = node.status;
        if status == Status::Terminating {
            return Ok(Removing::Begun);
        }
        let busy = self.domain.nodes_in_use().contains(id);
        match strategy {
            Strategy::IfNoSessions if busy => return Err(Refusal::Busy),
            Strategy::WhenNoSessions(drain_for) if busy => {
                self.registry.set_status(id, Status::WaitingIdleToTerminate);
                if drain_for.is_some() || status == Status::Running {
                    self.registry
                        .set_drain_deadline(id, deadline(drain_for, now));
                }
                return Ok(Removing::Draining);
            }
            _ => self.let_go(id, Removal::Ordered, now),
        }
        Ok(Removing::Begun)
    }

    /// Passes on what has happened to nodes.
    pub fn tell_of_nodes(&mut self) {
        for event in self.registry.take_news() {
            match &event {
                Event::MediaNodeStatusChanged {
                    node,
                    new_status: status,
                    old_status: before,
                } => {
                    tracing::info!(node = %node.id, status, before, "media node's status");
                    self.look_at_load(&node.id);
                }
                Event::NodeRecovered { node } => {
                    tracing::info!(node = %node.id, "media node is back");
                }
                _ => {}
            }
            self.event(&event);
        }
    }

    /// Whether that node takes sessions from now on.
    fn look_at_load(&mut self, id: &NodeId) {
        match self.registry.node(id) {
            Some(node) => self
                .loads
                .may_take(Instant::now(), id, node.takes_sessions()),
            None => self.loads.remove(id),
        }
    }

    fn node_is_up(&mut self, id: &NodeId, was: Health) {
        // Whoever left in order was not told of as crashed.
        let had_left = self.registry.leaves(id, false);
        if was == Health::Crashed && !had_left {
            self.registry.tell_recovered(id);
        }
        match self.registry.node(id).map(|node| node.status) {
            Some(Status::Launching) => {
                self.registry.set_status(id, Status::Running);
            }
            Some(Status::Canceled) => self.registry.let_go(id, Removal::Ordered),
            _ => {}
        }
    }

    fn overdue(&mut self, node: &NodeId, due: Due) {
        match due {
            Due::LaunchFailed => {
                tracing::warn!(%node, "media node was added and never came up: it is given up");
                self.registry.launch_failed(node);
            }
            Due::Canceled => {
                tracing::info!(%node, "media node was canceled and did not come up");
                self.registry.let_go(node, Removal::Ordered);
            }
            Due::GivenUp => {
                tracing::warn!(%node, "media node crashed and did not come back in time: it is given up");
                self.registry.let_go(node, Removal::GivenUp);
            }
            Due::Released => {
                tracing::info!(%node, "media node is no longer of the cluster: its machine may be switched off");
                self.registry.set_status(node, Status::Terminated);
            }
        }
    }

    fn look_at_drained(&mut self, now: Instant) {
        let draining = self.registry.draining();
        if draining.is_empty() {
            return;
        }
        let in_use = self.domain.nodes_in_use();
        for (node, deadline) in draining {
            let late = deadline.is_some_and(|deadline| now >= deadline);
            if late && in_use.contains(&node) {
                tracing::warn!(%node, "media node was to be empty by now: what is left on it is closed");
            }
            if late || !in_use.contains(&node) {
                self.let_go(&node, Removal::Ordered, now);
            }
        }
    }

    /// Closes what is on a node, and lets it go.
    fn let_go(&mut self, node: &NodeId, why: Removal, now: Instant) {
        // Who has a place on it and was never there gets another one.
        for session in self.domain.unjoined_on(node) {
            self.domain.unplace(&session);
            self.loads.unplace(&session);
        }
        let sessions = self.domain.node_lost(node, Reason::MediaServerDisconnect);
        if sessions > 0 {
            tracing::warn!(%node, sessions, "media node is removed: its sessions are closed");
        }
        // Applications hear of the sessions before they hear of the node.
        self.carry_outputs(now);
        self.registry.let_go(node, why);
    }
}

fn deadline(length: Option<Duration>, now: Instant) -> Option<DrainDeadline> {
    DrainDeadline::after(length?, now, now_millis())
}
