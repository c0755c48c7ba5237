//! What should be on a node: the node's side.

use std::sync::Arc;

use crate::message::{ToNode, Welcome};
use crate::replica::{Gap, Replica, Step};
use crate::state::{Entry, Key};

/// The desired state as far as the node has heard of it.
#[derive(Clone, Debug, Default)]
pub struct AppliedState {
    epoch: Option<u64>,
    /// Shared with who carries out the steps.
    entries: Replica<Arc<Entry>>,
}

/// A master of an older epoch: another one has taken over, and its orders don't count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the master is of epoch {theirs}, and one of epoch {ours} has taken over")]
pub struct Superseded {
    /// The epoch of the refused master.
    pub theirs: u64,
    /// The newest epoch that we know.
    pub ours: u64,
}

impl AppliedState {
    /// Nothing is desired, no master is known.
    pub fn new() -> Self {
        Self::default()
    }

    /// A master introduces itself on a new connection.
    ///
    /// # Errors
    ///
    /// [`Superseded`] if a later epoch is known: the connection is to be closed.
    pub fn on_welcome(&mut self, welcome: &Welcome) -> Result<(), Superseded> {
        let known = self.epoch.unwrap_or(0);
        if welcome.epoch < known {
            return Err(Superseded {
                theirs: welcome.epoch,
                ours: known,
            });
        }
        self.entries.on_connected(self.epoch != Some(welcome.epoch));
        self.epoch = Some(welcome.epoch);
        Ok(())
    }

    /// Takes a message of the welcomed connection and answers what is to be done, in that order.
    ///
    /// # Errors
    ///
    /// [`Gap`] if a message is missing: the connection is to be closed.
    pub fn on_message(&mut self, message: ToNode) -> Result<Vec<Step<Arc<Entry>>>, Gap> {
        match message {
            ToNode::DesiredSnapshot(part) => Ok(self.entries.on_snapshot(part.map(kept))),
            ToNode::Desired(delta) => self.entries.on_delta(delta.map(kept)),
            ToNode::Welcome(_) | ToNode::AskStatistics(_) | ToNode::Unknown => Ok(Vec::new()),
        }
    }

    /// The newest epoch of a master so far.
    pub fn epoch(&self) -> Option<u64> {
        self.epoch
    }

    /// The revision that has been taken up.
    pub fn revision(&self) -> u64 {
        self.entries.revision()
    }

    /// The entry of this name.
    pub fn get(&self, key: &Key) -> Option<&Entry> {
        self.entries.get(key).map(Arc::as_ref)
    }

    /// All entries: transports, publishers, subscribers.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.values().map(Arc::as_ref)
    }
}

/// An entry as it is kept, for long.
fn kept(mut entry: Entry) -> Arc<Entry> {
    entry.shrink_to_fit();
    Arc::new(entry)
}
