//! Media as rows: what changed is written, and what was written is there again after a restart.

use link::{Change, Entry, Key};

use super::{Owner, Publication, Reconciler, Subscription};
use crate::domain::NodeId;
use crate::store::{Batch, Error, Kept, Loaded, Table};

impl Reconciler {
    /// Writes what changed since this was last asked.
    pub fn write(&mut self, batch: &mut Batch) {
        for key in self.publications.take_touched() {
            write(
                batch,
                Table::Publications,
                &key,
                self.publications.get(&key),
            );
        }
        for key in self.subscriptions.take_touched() {
            write(
                batch,
                Table::Subscriptions,
                &key,
                self.subscriptions.get(&key),
            );
        }
    }

    /// Everything is to be written again.
    #[cfg(test)]
    pub fn touch_all(&mut self) {
        self.publications.touch_all();
        self.subscriptions.touch_all();
    }

    /// The media of a predecessor. A publisher that waited for its answer waits in vain: its transport goes. A subscriber that has
    /// our offer may still answer it.
    ///
    /// # Errors
    /// [`Error::Row`] when a row is not what we write.
    pub fn restored(loaded: &mut Loaded) -> Result<Self, Error> {
        let mut media = Self::new();
        let publications = loaded.parse_keyed(Table::Publications)?;
        media.publications = Kept::restored(publications);
        let subscriptions = loaded.parse_keyed(Table::Subscriptions)?;
        media.subscriptions = Kept::restored(subscriptions);
        let publications = media.publications.iter();
        let publishing = publications.flat_map(|((session, stream), one): (&_, &Publication)| {
            let owner = Owner::Publication(session.clone(), stream.clone());
            let pending = one.pending.iter().map(|pending| pending.transport.clone());
            let transports = one.current.iter().map(|(_, id)| id.clone()).chain(pending);
            transports.map(move |id| (id, owner.clone()))
        });
        let subscriptions = media.subscriptions.iter();
        let subscribing = subscriptions.flat_map(|(key, one): (_, &Subscription)| {
            let owner = Owner::Subscription(key.0.clone(), key.1.clone(), key.2.clone());
            let pending = one.pending.iter().map(|pending| pending.transport.clone());
            let transports = one.current.iter().map(|(_, id, _)| id.clone());
            transports.chain(pending).map(move |id| (id, owner.clone()))
        });
        media.owners = publishing.chain(subscribing).collect();
        let waiting = media.publications.values();
        let waiting = waiting.filter_map(|one| Some(one.pending.as_ref()?.transport.clone()));
        for transport in waiting.collect::<Vec<_>>() {
            media.abandon(&transport);
        }
        Ok(media)
    }
}

/// Writes what should be on a node.
pub fn write_desired(batch: &mut Batch, node: &NodeId, change: &Change<Entry>) {
    match change {
        Change::Put(entry) => batch.put(Table::Desired, desired_key(node, &entry.key()), entry),
        Change::Remove(key) => batch.remove(Table::Desired, desired_key(node, key)),
    }
}

/// What should be on nodes.
///
/// # Errors
/// [`Error::Row`] when a row is not what we write.
pub fn restored_desired(loaded: &mut Loaded) -> Result<Vec<(NodeId, Entry)>, Error> {
    let rows = loaded.parse_keyed::<(NodeId, Key), Entry>(Table::Desired)?;
    Ok(rows
        .into_iter()
        .map(|((node, _), entry)| (node, entry))
        .collect())
}

fn desired_key(node: &NodeId, key: &Key) -> String {
    text(&(node, key))
}

fn write(
    batch: &mut Batch,
    table: Table,
    key: &impl serde::Serialize,
    value: Option<&impl serde::Serialize>,
) {
    match value {
        Some(value) => batch.put(table, text(key), value),
        None => batch.remove(table, text(key)),
    }
}

/// A key of several parts: no character of theirs can make two of them equal.
fn text(key: &impl serde::Serialize) -> String {
    serde_json::to_string(key).expect("ids are texts")
}
