//! A map in two places: a [`Source`] that is written to, and a [`Replica`] that follows over an unreliable connection.
//!
//! Per connection the source sends its map once, in parts, and then every change in order. The replica answers with the
//! smallest list of [`Step`]s from what it had to what it should have, so that nothing is carried out twice.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::message::{Change, Delta, Snapshot};
use crate::state::{Entry, Key, Report};

/// Most entries in one message. An entry is a few kilobytes at most, so a message fits its frame with room to spare.
pub const ENTRIES_PER_MESSAGE: usize = 256;

/// A value that carries its own name.
pub trait Keyed: Clone + PartialEq {
    /// The name under which it is kept.
    fn key(&self) -> Key;
}

impl Keyed for Entry {
    fn key(&self) -> Key {
        Entry::key(self)
    }
}

impl<V: Keyed> Keyed for Arc<V> {
    fn key(&self) -> Key {
        V::key(self)
    }
}

impl Keyed for Report {
    fn key(&self) -> Key {
        Report::key(self)
    }
}

/// The side that is written to.
#[derive(Clone, Debug)]
pub struct Source<V> {
    values: BTreeMap<Key, V>,
    revision: u64,
    /// Keys that the peer has not been told about, by the revision that first touched them; the value sent is the latest.
    pending: BTreeMap<u64, Key>,
    pending_at: HashMap<Key, u64>,
    sending: Sending,
}

/// How far the peer of the present connection has been told.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Sending {
    /// There is no connection.
    Offline,
    /// The parts of a snapshot are under way; the next one begins behind this key.
    Snapshot { after: Option<Key>, revision: u64 },
    /// Up to this revision.
    Changes { sent: u64 },
}

/// What a source wants to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Update<V> {
    /// Part of everything.
    Snapshot(Snapshot<V>),
    /// What changed.
    Delta(Delta<V>),
}

impl<V: Keyed> Source<V> {
    /// An empty map at revision 0.
    pub fn new() -> Self {
        Self::restored(0, [])
    }

    /// A map as it was saved.
    pub fn restored(revision: u64, values: impl IntoIterator<Item = V>) -> Self {
        Self {
            values: values
                .into_iter()
                .map(|value| (value.key(), value))
                .collect(),
            revision,
            pending: BTreeMap::new(),
            pending_at: HashMap::new(),
            sending: Sending::Offline,
        }
    }

    /// Has this value, new or in place of the one with the same key. Answers whether that changed anything.
    pub fn put(&mut self, value: V) -> bool {
        let key = value.key();
        if self.values.get(&key) == Some(&value) {
            return false;
        }
        self.values.insert(key.clone(), value);
        self.touch(key);
        true
    }

    /// No longer has the value. Answers whether it was there.
    pub fn remove(&mut self, key: &Key) -> bool {
        let there = self.values.remove(key).is_some();
        if there {
            self.touch(key.clone());
        }
        there
    }

    /// The value under `key`.
    pub fn get(&self, key: &Key) -> Option<&V> {
        self.values.get(key)
    }

    /// All values in the order of their keys.
    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.values.values()
    }

    /// How often the map has changed.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// A connection begins: the peer gets everything.
    pub fn on_connected(&mut self) {
        self.pending.clear();
        self.pending_at.clear();
        self.sending = Sending::Snapshot {
            after: None,
            revision: self.revision,
        };
    }

    /// The connection is gone.
    pub fn on_disconnected(&mut self) {
        self.pending.clear();
        self.pending_at.clear();
        self.sending = Sending::Offline;
    }

    /// The next message for the peer, until there is nothing to say.
    pub fn poll(&mut self) -> Option<Update<V>> {
        match self.sending.clone() {
            Sending::Offline => None,
            Sending::Snapshot { after, revision } => Some(self.next_part(after, revision)),
            Sending::Changes { sent } if sent < self.revision => Some(self.next_delta(sent)),
            Sending::Changes { .. } => None,
        }
    }

    fn touch(&mut self, key: Key) {
        self.revision += 1;
        if self.sending != Sending::Offline && !self.pending_at.contains_key(&key) {
            self.pending_at.insert(key.clone(), self.revision);
            self.pending.insert(self.revision, key);
        }
    }

    /// What changes while the parts are under way is in `pending` too and follows as a delta from the snapshot's revision.
    fn next_part(&mut self, after: Option<Key>, revision: u64) -> Update<V> {
        use std::ops::Bound;
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut rest = self.values.range((start, Bound::Unbounded));
        let part: Vec<(&Key, &V)> = rest.by_ref().take(ENTRIES_PER_MESSAGE).collect();
        let last = part.last().map(|(key, _)| (*key).clone());
        let entries = part.into_iter().map(|(_, value)| value.clone()).collect();
        let more = rest.next().is_some();
        self.sending = if more {
            Sending::Snapshot {
                after: last,
                revision,
            }
        } else {
            Sending::Changes { sent: revision }
        };
        Update::Snapshot(Snapshot {
            revision,
            entries,
            more,
        })
    }

    fn next_delta(&mut self, from: u64) -> Update<V> {
        let mut changes = Vec::new();
        let mut to = self.revision;
        while let Some((revision, key)) = self.pending.pop_first() {
            self.pending_at.remove(&key);
            changes.push(match self.values.get(&key) {
                Some(value) => Change::Put(value.clone()),
                None => Change::Remove(key),
            });
            if changes.len() == ENTRIES_PER_MESSAGE && !self.pending.is_empty() {
                to = revision;
                break;
            }
        }
        self.sending = Sending::Changes { sent: to };
        Update::Delta(Delta { from, to, changes })
    }
}

impl<V: Keyed> Default for Source<V> {
    fn default() -> Self {
        Self::new()
    }
}

/// The side that follows.
#[derive(Clone, Debug)]
pub struct Replica<V> {
    values: BTreeMap<Key, V>,
    revision: u64,
    /// The parts of a snapshot so far, while one is awaited.
    parts: Option<BTreeMap<Key, V>>,
}

/// What became different.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step<V> {
    /// It was not there.
    Add(V),
    /// It was there in another form.
    Change {
        /// The form it had.
        old: V,
        /// The form it should have.
        new: V,
    },
    /// It is no longer there.
    Remove(V),
}

impl<V> From<Step<V>> for Step<Arc<V>> {
    fn from(step: Step<V>) -> Self {
        match step {
            Step::Add(value) => Self::Add(value.into()),
            Step::Change { old, new } => Self::Change {
                old: old.into(),
                new: new.into(),
            },
            Step::Remove(value) => Self::Remove(value.into()),
        }
    }
}

/// A message builds on a revision that never arrived: the connection is to be closed, and a new one brings a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a change builds on revision {from}, and we are at {have}")]
pub struct Gap {
    /// What it builds on.
    pub from: u64,
    /// What we have.
    pub have: u64,
}

impl<V: Keyed> Replica<V> {
    /// Nothing, at revision 0.
    pub fn new() -> Self {
        Self {
            values: BTreeMap::new(),
            revision: 0,
            parts: None,
        }
    }

    /// A connection begins; its first update is a snapshot. `anew`: the source counts its revisions from the start again.
    pub fn on_connected(&mut self, anew: bool) {
        self.parts = Some(BTreeMap::new());
        if anew {
            self.revision = 0;
        }
    }

    /// Takes a part of a snapshot. Only the last part yields steps: removals first, dependants before what they depend on.
    pub fn on_snapshot(&mut self, part: Snapshot<V>) -> Vec<Step<V>> {
        let Some(parts) = &mut self.parts else {
            return Vec::new(); // A repetition.
        };
        if part.revision < self.revision {
            return Vec::new(); // Older than what we have, of the same source: a repetition too.
        }
        parts.extend(part.entries.into_iter().map(|value| (value.key(), value)));
        if part.more {
            return Vec::new();
        }
        let new = self.parts.take().unwrap_or_default();
        let old = std::mem::replace(&mut self.values, new);
        self.revision = part.revision;
        differences(old, &self.values)
    }

    /// Takes a change.
    ///
    /// # Errors
    ///
    /// [`Gap`] if something is missing in between.
    pub fn on_delta(&mut self, delta: Delta<V>) -> Result<Vec<Step<V>>, Gap> {
        if self.parts.is_some() || delta.from > self.revision {
            return Err(Gap {
                from: delta.from,
                have: self.revision,
            });
        }
        if delta.to <= self.revision {
            return Ok(Vec::new()); // A repetition.
        }
        let steps = delta
            .changes
            .into_iter()
            .filter_map(|change| self.apply(change))
            .collect();
        self.revision = delta.to;
        Ok(steps)
    }

    /// The value under `key`.
    pub fn get(&self, key: &Key) -> Option<&V> {
        self.values.get(key)
    }

    /// All values in the order of their keys.
    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.values.values()
    }

    /// The revision that this copy has reached.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// A snapshot is still awaited: what is here may be out of date.
    pub fn awaits_snapshot(&self) -> bool {
        self.parts.is_some()
    }

    fn apply(&mut self, change: Change<V>) -> Option<Step<V>> {
        match change {
            Change::Remove(key) => self.values.remove(&key).map(Step::Remove),
            Change::Put(new) => match self.values.insert(new.key(), new.clone()) {
                None => Some(Step::Add(new)),
                Some(old) if old == new => None,
                Some(old) => Some(Step::Change { old, new }),
            },
        }
    }
}

impl<V: Keyed> Default for Replica<V> {
    fn default() -> Self {
        Self::new()
    }
}

/// Keys are ordered transport, publisher, subscriber: things are added in that order and removed in the opposite one.
fn differences<V: Keyed>(old: BTreeMap<Key, V>, new: &BTreeMap<Key, V>) -> Vec<Step<V>> {
    let mut steps: Vec<Step<V>> = old
        .iter()
        .rev()
        .filter(|(key, _)| !new.contains_key(key))
        .map(|(_, value)| Step::Remove(value.clone()))
        .collect();
    for (key, value) in new {
        match old.get(key) {
            None => steps.push(Step::Add(value.clone())),
            Some(before) if before == value => {}
            Some(before) => steps.push(Step::Change {
                old: before.clone(),
                new: value.clone(),
            }),
        }
    }
    steps
}

#[cfg(test)]
mod tests;
