//! What clients were told and have not confirmed, as rows: a client that comes back after a restart of the master hears it then.
//!
//! A notification to many is one row. Nothing is written when a client confirms: rows go, a little later, when everybody has.

use std::collections::HashMap;

use axum::extract::ws::Utf8Bytes;
use serde::{Deserialize, Serialize};

use super::sessions::{RpcId, Urgency};
use crate::domain::{SessionId, StreamId};
use crate::store::{Batch, Table};

/// One notification to everybody who hears it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Notice {
    /// The session of those who hear it.
    pub session: SessionId,
    /// What it says.
    pub text: String,
    /// It may wait a little for others.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub can_wait: bool,
    /// The stream that it announces, if it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub announces: Option<StreamId>,
    /// Who hears it.
    pub to: To,
}

/// Who hears a notification.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum To {
    /// These.
    Only(Vec<RpcId>),
    /// Everybody who was in the session then, but these.
    AllBut(Vec<RpcId>),
}

impl To {
    /// Whether somebody who was in the session then is meant.
    pub fn is_for(&self, rpc: &RpcId) -> bool {
        match self {
            Self::Only(these) => these.contains(rpc),
            Self::AllBut(these) => !these.contains(rpc),
        }
    }
}

impl Notice {
    /// How soon it must be written.
    pub fn urgency(&self) -> Urgency {
        match self.can_wait {
            true => Urgency::CanWait,
            false => Urgency::Prompt,
        }
    }

    /// What it says, to be shared.
    pub fn words(&self) -> Utf8Bytes {
        Utf8Bytes::from(self.text.as_str())
    }
}

/// The numbers of notifications, and how many have not confirmed each.
#[derive(Debug, Default)]
pub struct Notices {
    last: u64,
    open: HashMap<u64, usize>,
    new: Vec<(u64, Notice)>,
    done: Vec<u64>,
}

impl Notices {
    /// The last number that was given.
    pub fn last(&self) -> u64 {
        self.last
    }

    /// Numbers up to this one were given before.
    pub fn skip_to(&mut self, number: u64) {
        self.last = self.last.max(number);
    }

    /// A number for one more notification.
    pub fn number(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    /// One more will have to confirm it.
    pub fn told(&mut self, number: u64) {
        *self.open.entry(number).or_default() += 1;
    }

    /// A notification is complete: nobody else will hear it.
    pub fn keep(&mut self, number: u64, notice: Notice) {
        self.new.push((number, notice));
    }

    /// One of those who heard it has confirmed it, or never will.
    pub fn settled(&mut self, number: u64) {
        let Some(count) = self.open.get_mut(&number) else {
            return;
        };
        *count -= 1;
        if *count == 0 {
            self.open.remove(&number);
            self.done.push(number);
        }
    }

    /// A row that nobody is to hear any more.
    pub fn drop_row(&mut self, number: u64) {
        self.done.push(number);
    }

    /// Writes what is new.
    pub fn write(&mut self, batch: &mut Batch) {
        for (number, notice) in self.new.drain(..) {
            batch.put(Table::Notices, key(number), &notice);
        }
    }

    /// Takes away what everybody has confirmed. Nobody waits for that.
    pub fn tidy(&mut self, batch: &mut Batch) {
        for number in self.done.drain(..) {
            batch.remove(Table::Notices, key(number));
        }
    }
}

/// In the order of the numbers.
fn key(number: u64) -> String {
    format!("{number:020}")
}
