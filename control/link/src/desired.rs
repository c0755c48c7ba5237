//! What should be on a node: the master's side.

use crate::message::ToNode;
use crate::replica::{Source, Update};
use crate::state::{Entry, Key};

/// The entries that one node should have, and what it has been told of them.
#[derive(Clone, Debug, Default)]
pub struct DesiredState(Source<Entry>);

impl DesiredState {
    /// Nothing should be there.
    pub fn new() -> Self {
        Self::default()
    }

    /// As it was saved.
    pub fn restored(revision: u64, entries: impl IntoIterator<Item = Entry>) -> Self {
        Self(Source::restored(revision, entries))
    }

    /// This should be there, new or in place of the entry of the same name. Answers whether that changed anything.
    ///
    /// A removed name should not be used again for something else: the node may see the two as one change.
    pub fn put(&mut self, entry: Entry) -> bool {
        self.0.put(entry)
    }

    /// This should no longer be there. Answers whether it was.
    pub fn remove(&mut self, key: &Key) -> bool {
        self.0.remove(key)
    }

    /// Nothing should be there any more.
    pub fn clear(&mut self) {
        let keys: Vec<Key> = self.entries().map(Entry::key).collect();
        for key in keys.iter().rev() {
            self.0.remove(key);
        }
    }

    /// The entry of this name.
    pub fn get(&self, key: &Key) -> Option<&Entry> {
        self.0.get(key)
    }

    /// All entries: transports, publishers, subscribers.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.0.values()
    }

    /// How often it has changed.
    pub fn revision(&self) -> u64 {
        self.0.revision()
    }

    /// A connection to the node begins.
    pub fn on_connected(&mut self) {
        self.0.on_connected();
    }

    /// The connection is gone.
    pub fn on_disconnected(&mut self) {
        self.0.on_disconnected();
    }

    /// The next message for the node, until there is nothing to say.
    pub fn poll(&mut self) -> Option<ToNode> {
        self.0.poll().map(|update| match update {
            Update::Snapshot(snapshot) => ToNode::DesiredSnapshot(snapshot),
            Update::Delta(delta) => ToNode::Desired(delta),
        })
    }
}
