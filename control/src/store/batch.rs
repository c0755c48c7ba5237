//! What one step changes.

use serde::Serialize;

/// Where a row is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Table {
    /// Sessions, by their ids.
    Sessions,
    /// Connections with what they publish and receive, by `SESSION/NUMBER`.
    Connections,
    /// With which secret a client comes back to its connection.
    RpcSessions,
    /// What clients must hear and have not confirmed yet, by their numbers.
    Notices,
    /// What was agreed on with publishers, by `[SESSION, STREAM]`.
    Publications,
    /// What was agreed on with subscribers, by `[SESSION, CONNECTION, STREAM]`.
    Subscriptions,
    /// What should be on media nodes, by `[NODE, KEY]`.
    Desired,
    /// Media nodes, by their ids.
    Nodes,
    /// Events that wait to be delivered, by their numbers.
    Events,
    /// Who the master is: epoch, life, cluster.
    Facts,
    /// What was counted and must never be counted again.
    Counters,
    /// What earlier sessions became, by their ids.
    History,
}

/// One row from now on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Row {
    /// It is there, with this JSON text.
    Put(Table, String, String),
    /// It is gone.
    Remove(Table, String),
}

/// All rows that one step changes, in its order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    rows: Vec<Row>,
}

impl Batch {
    /// This is there from now on, under that key.
    pub fn put(&mut self, table: Table, key: impl Into<String>, value: &impl Serialize) {
        let text = serde_json::to_string(value).expect("what we keep has text for keys");
        self.rows.push(Row::Put(table, key.into(), text));
    }

    /// This is there no more.
    pub fn remove(&mut self, table: Table, key: impl Into<String>) {
        self.rows.push(Row::Remove(table, key.into()));
    }

    /// Nothing changed.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The rows.
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// Everything of it, leaving nothing.
    pub fn take(&mut self) -> Self {
        std::mem::take(self)
    }
}

impl Batch {
    /// The rows, given away.
    pub(super) fn into_rows(self) -> std::vec::IntoIter<Row> {
        self.rows.into_iter()
    }
}
