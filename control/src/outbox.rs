//! Events that wait in the file of the state, on their way to a target: read when they are written there for good, and removed
//! when they are delivered.

mod lanes;

use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use tokio::sync::watch;

use crate::app::App;
use crate::events::{Backlog, Channel, Waiting};
use crate::store::{Batch, Reader, Store, Table};

pub use lanes::{Failure, Lanes, Next};

/// Most rows that are read at a time.
const PAGE: usize = 512;
/// How long after a failure the file is read again.
const AGAIN: Duration = Duration::from_secs(1);

/// A row that is to be delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parcel {
    /// Where it lies.
    pub key: String,
    /// Its place in the order of all events.
    pub number: u64,
    /// What is to be delivered.
    pub row: Waiting,
}

impl Parcel {
    fn open(channel: Channel, (key, text): (String, String)) -> Option<Self> {
        let (number, _) = channel.parse(&key)?;
        match serde_json::from_str(&text) {
            Ok(row) => Some(Self { key, number, row }),
            Err(error) => {
                tracing::error!(%key, %error, "an event that waits can't be understood: it stays where it is");
                None
            }
        }
    }

    /// The session that it is about; empty: none.
    pub fn session(&self) -> &str {
        self.key.rsplit('/').next().unwrap_or_default()
    }

    /// The sessions whose later events follow from this one, and must not come before it.
    fn holds(&self) -> Vec<String> {
        #[derive(Deserialize)]
        struct Crash {
            #[serde(rename = "sessionIds")]
            sessions: Vec<String>,
        }
        if self.row.name != "nodeCrashed" {
            return Vec::new();
        }
        serde_json::from_str(&self.row.body)
            .map_or_else(|_| Vec::new(), |crash: Crash| crash.sessions)
    }
}

/// Says so when events wait for a target that is no longer configured: they are kept, and go out when it is again. Blocks.
pub fn warn_of_leftovers(app: &App, channel: Channel) {
    let (after, before) = range(channel);
    let page = app
        .store()
        .reader()
        .page(Table::Events, (&after, &before), 1);
    if page.is_ok_and(|rows| !rows.is_empty()) {
        let target = channel.as_str();
        tracing::warn!(
            target,
            "events wait for a target that is not configured: they are kept until it is"
        );
    }
}

/// The keys of a target lie behind the first and before the second.
fn range(channel: Channel) -> (String, String) {
    // The character behind the slash ends the range.
    (
        format!("{}/", channel.as_str()),
        format!("{}0", channel.as_str()),
    )
}

/// The rows of one target, in their order.
pub struct Feed {
    channel: Channel,
    backlog: Arc<Backlog>,
    store: Store,
    reader: Reader,
    news: watch::Receiver<u64>,
    /// A batch with events that may not be written yet.
    due: Option<u64>,
    /// What was read so far.
    after: String,
    /// There is perhaps more.
    more: bool,
    /// Numbers up to this one are of earlier lives of the master.
    before: u64,
    delivered: Batch,
    delivered_count: u64,
}

impl Feed {
    /// Everything that waits for this target, from the first on. None if there is no such target.
    pub fn new(app: &App, channel: Channel) -> Option<Self> {
        app.step(|core| {
            let backlog = core.events.backlog(channel)?;
            let mut news = core.events.news();
            // What was said before may still be on its way to the disk, and nobody says it again.
            let due = *news.borrow_and_update();
            Some(Self {
                channel,
                backlog,
                store: app.store().clone(),
                reader: app.store().reader(),
                news,
                due: Some(due),
                after: range(channel).0,
                more: true,
                before: core.events.before(),
                delivered: Batch::default(),
                delivered_count: 0,
            })
        })
    }

    /// What waits, and what could not be kept.
    pub fn backlog(&self) -> &Arc<Backlog> {
        &self.backlog
    }

    /// Rows may be there that were not read yet.
    pub fn has_more(&self) -> bool {
        self.more
    }

    /// The next rows; none: there are no more for now.
    pub async fn read(&mut self) -> Vec<Parcel> {
        let rows = self.page(self.after.clone(), PAGE).await;
        self.more = rows.len() == PAGE;
        let Some((last, _)) = rows.last() else {
            return Vec::new();
        };
        self.after.clone_from(last);
        let channel = self.channel;
        let parcels: Vec<_> = rows
            .into_iter()
            .filter_map(|row| Parcel::open(channel, row))
            .collect();
        let earlier = parcels.iter().filter(|one| one.number <= self.before);
        self.backlog.found(earlier.count() as u64);
        parcels
    }

    /// One row again, by its number.
    pub async fn again(&self, number: u64) -> Option<Parcel> {
        let mut key = self.channel.key(number, "");
        // Without the last slash it is before all keys of that number.
        key.pop();
        let row = self.page(key, 1).await.into_iter().next()?;
        Parcel::open(self.channel, row).filter(|one| one.number == number)
    }

    /// Waits until there is more than was read. May be given up and begun again.
    pub async fn wait(&mut self) {
        while !self.more {
            let due = match self.due {
                Some(due) => due,
                None => {
                    if self.news.changed().await.is_err() {
                        // The master is gone, and this task is about to be.
                        std::future::pending::<()>().await;
                    }
                    *self.due.insert(*self.news.borrow_and_update())
                }
            };
            match self.store.committed(due).await {
                Ok(()) => {
                    self.due = None;
                    self.more = true;
                }
                Err(_) => tokio::time::sleep(AGAIN).await,
            }
        }
    }

    /// This is delivered, or given up. It is gone with the next [`Feed::clear`].
    pub fn done(&mut self, key: String) {
        self.delivered.remove(Table::Events, key);
        self.delivered_count += 1;
    }

    /// So much is done and not yet cleared.
    pub fn uncleared(&self) -> u64 {
        self.delivered_count
    }

    /// Has everything that is done removed.
    pub fn clear(&mut self) {
        self.store.submit(self.delivered.take());
        self.backlog.gone(std::mem::take(&mut self.delivered_count));
    }

    async fn page(&self, after: String, limit: usize) -> Vec<(String, String)> {
        let (_, before) = range(self.channel);
        loop {
            let (reader, after, before) = (self.reader.clone(), after.clone(), before.clone());
            let read = move || reader.page(Table::Events, (&after, &before), limit);
            match tokio::task::spawn_blocking(read).await {
                Ok(Ok(rows)) => return rows,
                Ok(Err(error)) => tracing::error!(%error, "events that wait can't be read"),
                Err(error) => tracing::error!(%error, "events that wait were not read"),
            }
            tokio::time::sleep(AGAIN).await;
        }
    }
}

impl Drop for Feed {
    /// What is delivered need not be delivered again.
    fn drop(&mut self) {
        self.clear();
    }
}
