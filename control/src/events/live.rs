//! Events as they happen, for whoever listens now. Nothing is kept for who comes later: that is what targets are for.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, broadcast};

use crate::store::Store;

/// Most who listen at a time.
pub const LISTENERS_MAX: usize = 32;
/// Most events by which a listener may be behind.
pub const BEHIND_MAX: usize = 1024;
/// How long after a failure of the disk it is asked again.
const AGAIN: Duration = Duration::from_secs(1);

/// An event as listeners get it.
#[derive(Debug)]
pub struct Told {
    /// The same that targets are told.
    pub id: String,
    /// JSON in one line: the body of a webhook.
    pub body: String,
    /// The batch with the change that it tells of.
    batch: u64,
}

/// Tells events to those who listen.
pub(super) struct Live {
    told: broadcast::Sender<Arc<Told>>,
    places: Arc<Semaphore>,
    /// Those of the step under way.
    step: Vec<(String, String)>,
}

impl Live {
    /// Nobody listens yet.
    pub(super) fn new() -> Self {
        Self {
            told: broadcast::Sender::new(BEHIND_MAX),
            places: Arc::new(Semaphore::new(LISTENERS_MAX)),
            step: Vec::new(),
        }
    }

    /// Somebody listens.
    pub(super) fn is_heard(&self) -> bool {
        self.told.receiver_count() > 0
    }

    /// How many listen.
    pub(super) fn listeners(&self) -> usize {
        LISTENERS_MAX - self.places.available_permits()
    }

    /// Has an event told, once its step is over and on the disk.
    pub(super) fn tell(&mut self, id: String, body: String) {
        self.step.push((id, body));
    }

    /// The step is over, and its batch has this number.
    pub(super) fn submitted(&mut self, batch: u64) {
        for (id, body) in self.step.drain(..) {
            // It fails when the last one has just stopped listening.
            let _ = self.told.send(Arc::new(Told { id, body, batch }));
        }
    }

    /// Somebody who hears of everything from now on; none: as many listen as may.
    pub(super) fn listen(&self, store: &Store) -> Option<Listener> {
        let place = self.places.clone().try_acquire_owned().ok()?;
        Some(Listener {
            told: self.told.subscribe(),
            store: store.clone(),
            due: None,
            _place: place,
        })
    }
}

/// Somebody who listens, until it is dropped.
pub struct Listener {
    told: broadcast::Receiver<Arc<Told>>,
    store: Store,
    /// The next one, which may not be on the disk yet.
    due: Option<Arc<Told>>,
    _place: OwnedSemaphorePermit,
}

impl Listener {
    /// The next event, as soon as no crash can undo it. May be given up and begun again. None when the listener was so slow that events
    /// are lost to it: it has to begin anew.
    pub async fn next(&mut self) -> Option<Arc<Told>> {
        let told = match &self.due {
            Some(told) => told.clone(),
            None => match self.told.recv().await {
                Ok(told) => self.due.insert(told).clone(),
                Err(RecvError::Lagged(_) | RecvError::Closed) => return None,
            },
        };
        while self.store.committed(told.batch).await.is_err() {
            tokio::time::sleep(AGAIN).await;
        }
        self.due = None;
        Some(told)
    }
}
