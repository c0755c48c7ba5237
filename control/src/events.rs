//! What applications are told: every event of OpenVidu that exists here, in its exact words, kept until it is delivered.
//!
//! A step that changes something writes its events into the same batch as the change, one row for each target that wants it
//! ([`Ledger::write`]). Whoever delivers reads the rows back from the file, so nothing is told that a crash could undo. Who only wants to
//! see what happens now [listens](live): nothing is kept for them.

pub mod live;
mod words;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::config::Config;
use crate::domain::{Millis, NodeId, SessionEvent, SessionId};
use crate::store::{Batch, Store, Table};

use live::{Listener, Live};

/// Something that applications are told.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// In a session.
    Session(SessionEvent),
    /// A media node is treated differently from now on.
    MediaNodeStatusChanged {
        /// Which.
        node: NodeIdentity,
        /// From now on, as OpenVidu names statuses.
        new_status: &'static str,
        /// Until now; none: it was not known.
        old_status: Option<&'static str>,
    },
    /// A media node is dead. What its sessions' users are told comes after this.
    NodeCrashed {
        /// Which.
        node: NodeIdentity,
        /// The sessions that it carried.
        sessions: Vec<SessionId>,
        /// When it was last heard of.
        disconnected_at: Millis,
    },
    /// A media node that was dead is back.
    NodeRecovered {
        /// Which.
        node: NodeIdentity,
    },
}

/// What events say of a media node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeIdentity {
    /// The master's name for it.
    pub id: NodeId,
    /// The operator's own label.
    pub environment_id: Option<String>,
    /// Its address.
    pub ip: IpAddr,
    /// Where it is dialled.
    pub uri: String,
}

/// Every name of an event in OpenVidu 2.32, those included that nothing here causes yet.
pub const NAMES: [&str; 17] = [
    "sessionCreated",
    "sessionDestroyed",
    "participantJoined",
    "participantLeft",
    "webrtcConnectionCreated",
    "webrtcConnectionDestroyed",
    "recordingStatusChanged",
    "filterEventDispatched",
    "signalSent",
    "broadcastStarted",
    "broadcastStopped",
    "mediaNodeStatusChanged",
    "nodeCrashed",
    "nodeRecovered",
    "autoscaling",
    "HANodeRegistered",
    "HANodeDeregistered",
];

/// Where events go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Channel {
    /// To the application's own server.
    Webhook,
    /// To a file.
    Cdr,
}

impl Channel {
    /// The word in keys and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Webhook => "webhook",
            Self::Cdr => "cdr",
        }
    }

    /// The key of a row of this channel: in the order of their numbers. No session's id has a slash.
    pub fn key(self, number: u64, session: &str) -> String {
        format!("{}/{number:020}/{session}", self.as_str())
    }

    /// The number and the session that a key of this channel is about.
    pub fn parse(self, key: &str) -> Option<(u64, &str)> {
        let rest = key.strip_prefix(self.as_str())?.strip_prefix('/')?;
        let (number, session) = rest.split_once('/')?;
        Some((number.parse().ok()?, session))
    }
}

/// A row of the table of events.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiting {
    /// Who has seen this has seen the event: the same when it is delivered again, and never another's.
    pub id: String,
    /// The name of the event.
    pub name: String,
    /// When it happened.
    pub at: Millis,
    /// What is delivered.
    pub body: String,
}

/// How much waits to be delivered to a target.
#[derive(Debug)]
pub struct Backlog {
    most: u64,
    waiting: AtomicU64,
    refused: AtomicU64,
    /// When what waits longest happened; 0: nothing waits.
    oldest_at: AtomicU64,
}

impl Backlog {
    /// Room for so many.
    pub fn new(most: u64) -> Arc<Self> {
        Arc::new(Self {
            most,
            waiting: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            oldest_at: AtomicU64::new(0),
        })
    }

    /// When what waits longest happened.
    pub fn oldest_at(&self) -> Option<Millis> {
        Some(self.oldest_at.load(Ordering::Relaxed)).filter(|at| *at > 0)
    }

    /// What waits longest happened then.
    pub fn set_oldest_at(&self, at: Option<Millis>) {
        self.oldest_at.store(at.unwrap_or(0), Ordering::Relaxed);
    }

    /// How many wait.
    pub fn waiting(&self) -> u64 {
        self.waiting.load(Ordering::Relaxed)
    }

    /// How many were not kept because there were too many.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// So many wait since an earlier life of the master.
    pub fn found(&self, count: u64) {
        self.waiting.fetch_add(count, Ordering::Relaxed);
    }

    /// So many wait no more.
    pub fn gone(&self, count: u64) {
        self.waiting.fetch_sub(count, Ordering::Relaxed);
    }

    /// One more, if there is room. What is refused is said loudly, but not each time.
    fn take(&self, channel: Channel) -> bool {
        if self.waiting.fetch_add(1, Ordering::Relaxed) < self.most {
            return true;
        }
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        let refused = self.refused.fetch_add(1, Ordering::Relaxed) + 1;
        if refused.is_power_of_two() || refused.is_multiple_of(10_000) {
            tracing::error!(
                target = channel.as_str(),
                most = self.most,
                refused,
                "too many events wait to be delivered: new ones are LOST"
            );
        }
        false
    }
}

/// Somewhere that events go.
#[derive(Clone, Debug)]
pub struct Target {
    /// Which way.
    pub channel: Channel,
    /// The names that are wanted; none: all.
    pub only: Option<BTreeSet<String>>,
    /// What waits.
    pub backlog: Arc<Backlog>,
}

/// The targets that are configured.
pub fn targets(config: &Config) -> Vec<Target> {
    let webhook = config.webhook_endpoint.as_ref().map(|_| {
        let only = &config.webhook_events;
        Target {
            channel: Channel::Webhook,
            only: (!only.is_empty()).then(|| only.iter().cloned().collect()),
            backlog: Backlog::new(config.webhook_backlog_max),
        }
    });
    let cdr = config.cdr_path.as_ref().map(|_| Target {
        channel: Channel::Cdr,
        only: None,
        backlog: Backlog::new(config.cdr_backlog_max),
    });
    webhook.into_iter().chain(cdr).collect()
}

/// Writes events down.
pub struct Ledger {
    cluster: String,
    targets: Vec<Target>,
    first: u64,
    last: u64,
    /// Something was written in this step.
    written: bool,
    news: watch::Sender<u64>,
    live: Live,
}

impl Ledger {
    /// Nothing is written yet in this life of the master, which is the `epoch`-th of the `cluster`.
    pub fn new(cluster: String, epoch: u64, targets: Vec<Target>) -> Self {
        let first = epoch << 32;
        Self {
            cluster,
            targets,
            first,
            last: first,
            written: false,
            news: watch::Sender::new(0),
            live: Live::new(),
        }
    }

    /// Has an event delivered to every target that wants it, and to everybody who listens, if what is in the batch comes to pass.
    pub fn write(&mut self, event: &Event, now: Millis, batch: &mut Batch) {
        let name = event.name();
        let wants = |target: &&Target| target.only.as_ref().is_none_or(|only| only.contains(name));
        let id = |number: u64| format!("{}-{number:020}", self.cluster);
        let mut said = None;
        let mut say = || {
            self.last += 1;
            (self.last, event.fields(now, &self.cluster))
        };
        for target in self.targets.iter().filter(wants) {
            if !target.backlog.take(target.channel) {
                continue;
            }
            let (number, fields) = said.get_or_insert_with(&mut say);
            let row = Waiting {
                id: id(*number),
                name: name.to_owned(),
                at: now,
                body: match target.channel {
                    Channel::Webhook => fields.webhook(name),
                    Channel::Cdr => fields.cdr(name),
                },
            };
            let session = event.session().map_or("", SessionId::as_str);
            let key = target.channel.key(*number, session);
            batch.put(Table::Events, key, &row);
            self.written = true;
        }
        if self.live.is_heard() {
            let (number, fields) = said.get_or_insert_with(say);
            self.live.tell(id(*number), fields.webhook(name));
        }
    }

    /// The step is over, and its batch has this number. Whoever delivers may look for its events as soon as that is written.
    pub fn submitted(&mut self, number: u64) {
        if std::mem::take(&mut self.written) {
            self.news.send_replace(number);
        }
        self.live.submitted(number);
    }

    /// Somebody who hears of every event from now on; none: as many listen as may.
    pub fn listen(&self, store: &Store) -> Option<Listener> {
        self.live.listen(store)
    }

    /// How many hear of every event.
    pub fn listeners(&self) -> usize {
        self.live.listeners()
    }

    /// The numbers of batches with events.
    pub fn news(&self) -> watch::Receiver<u64> {
        self.news.subscribe()
    }

    /// What waits for a target; none: there is no such target.
    pub fn backlog(&self, channel: Channel) -> Option<Arc<Backlog>> {
        let mut targets = self.targets.iter();
        let target = targets.find(|target| target.channel == channel)?;
        Some(target.backlog.clone())
    }

    /// The targets.
    pub fn targets(&self) -> &[Target] {
        &self.targets
    }

    /// Numbers up to this one are of earlier lives of the master.
    pub fn before(&self) -> u64 {
        self.first
    }
}

#[cfg(test)]
mod tests;
