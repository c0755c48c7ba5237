//! The one thread that writes.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::time::timeout;

use super::file::Database;
use super::{Batch, Error, Loaded, Reader, Table};

/// Most rows of one commit; more wait for the next.
const ROWS_MAX: usize = 20_000;
/// How long after a failure the next try comes.
const RETRY: Duration = Duration::from_millis(500);

/// A commit that takes longer is one that the disk does not take at the moment.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often whoever waits for a commit looks whether the disk hangs.
const LOOK: Duration = Duration::from_secs(1);

/// A handle on the writer. Cheap to clone; the file is closed, all of it written, when the last one goes.
#[derive(Clone)]
pub struct Store {
    shared: Arc<Shared>,
}

struct Shared {
    queue: Mutex<Option<Queue>>,
    submitted: AtomicU64,
    progress: watch::Receiver<Progress>,
    reader: Reader,
    commits: Arc<Commits>,
    thread: Mutex<Option<std::thread::JoinHandle<()>>>,
}

struct Queue {
    batches: Sender<(u64, Batch)>,
}

/// How far the writer is.
#[derive(Clone, Debug, Default)]
struct Progress {
    committed: u64,
    /// Why nothing is written at the moment.
    failure: Option<Arc<str>>,
}

/// What the writer has done so far.
#[derive(Debug, Default)]
pub struct Commits {
    /// Transactions.
    pub count: AtomicU64,
    /// Rows in them.
    pub rows: AtomicU64,
    /// Time that they took, in nanoseconds.
    pub nanoseconds: AtomicU64,
    /// Transactions that failed.
    pub failures: AtomicU64,
    /// Nothing is written at the moment.
    pub failing: AtomicBool,
    /// When the one under way began.
    under_way: Mutex<Option<Instant>>,
}

impl Commits {
    fn begin(&self) {
        *self.under_way() = Some(Instant::now());
    }

    fn end(&self) {
        *self.under_way() = None;
    }

    /// How long the one under way has taken so far.
    fn waiting(&self) -> Duration {
        self.under_way()
            .map_or(Duration::ZERO, |began| began.elapsed())
    }

    /// What it guards is one value, whole at every moment.
    fn under_way(&self) -> std::sync::MutexGuard<'_, Option<Instant>> {
        self.under_way
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// A change is not on the disk. It is kept in memory and written as soon as that is possible.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the change could not be written to the disk: {0}")]
pub struct Unwritten(pub Arc<str>);

impl Store {
    /// Opens the state in that directory, or makes it, and reads it.
    ///
    /// # Errors
    /// [`Error`], which names the file and what to do.
    pub fn open(dir: &Path) -> Result<(Self, Loaded), Error> {
        Self::begin(Database::open(dir)?)
    }

    /// One that is gone with the process.
    ///
    /// # Errors
    /// When there is no memory for it.
    pub fn in_memory() -> Result<(Self, Loaded), Error> {
        Self::begin(Database::in_memory()?)
    }

    fn begin(database: Database) -> Result<(Self, Loaded), Error> {
        let loaded = database.load()?;
        let reader = database.reader();
        let (batches, queue) = channel();
        let (progress, watched) = watch::channel(Progress::default());
        let commits = Arc::new(Commits::default());
        let writer = Writer {
            database,
            queue,
            progress,
            waiting: HashMap::new(),
            up_to: 0,
            commits: commits.clone(),
        };
        let thread = std::thread::Builder::new()
            .name("store".to_owned())
            .spawn(move || writer.run())
            .map_err(|source| Error::Io {
                path: "thread".into(),
                source,
            })?;
        let shared = Shared {
            queue: Mutex::new(Some(Queue { batches })),
            submitted: AtomicU64::new(0),
            progress: watched,
            reader,
            commits,
            thread: Mutex::new(Some(thread)),
        };
        Ok((
            Self {
                shared: Arc::new(shared),
            },
            loaded,
        ))
    }

    /// Has a batch written after all that came before. Answers the number of the last batch so far, this one or, if it is empty,
    /// an earlier one.
    pub fn submit(&self, batch: Batch) -> u64 {
        let queue = self.shared.queue();
        if batch.is_empty() {
            return self.submitted();
        }
        let number = self.shared.submitted.fetch_add(1, Ordering::SeqCst) + 1;
        if let Some(queue) = &*queue {
            // It fails only if the writer's thread is gone, and then the process is about to be.
            let _ = queue.batches.send((number, batch));
        }
        number
    }

    /// Has a batch written and waits for it: for the start, when nothing else runs.
    ///
    /// # Errors
    /// When the disk does not take it.
    pub fn submit_and_wait(&self, batch: Batch) -> Result<(), Error> {
        let number = self.submit(batch);
        loop {
            let now = self.shared.progress.borrow().clone();
            if now.committed >= number {
                return Ok(());
            }
            if let Some(why) = now.failure {
                return Err(Error::Unwritten(Unwritten(why)));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// The number of the last batch.
    pub fn submitted(&self) -> u64 {
        self.shared.submitted.load(Ordering::SeqCst)
    }

    /// Everything up to this number is on the disk.
    pub fn is_committed(&self, number: u64) -> bool {
        self.shared.progress.borrow().committed >= number
    }

    /// Waits until everything up to this number is on the disk.
    ///
    /// # Errors
    /// [`Unwritten`] when the disk takes nothing at the moment.
    pub async fn committed(&self, number: u64) -> Result<(), Unwritten> {
        let mut progress = self.shared.progress.clone();
        loop {
            let settled = |now: &Progress| now.committed >= number || now.failure.is_some();
            // A disk that hangs says nothing, so it is looked at now and then.
            match timeout(LOOK, progress.wait_for(settled)).await {
                Ok(Ok(now)) if now.committed >= number => return Ok(()),
                Ok(Ok(now)) => return Err(Unwritten(now.failure.clone().unwrap_or_default())),
                Ok(Err(_)) => return Err(Unwritten("the writer has ended".into())),
                Err(_) => {}
            }
            if let Some(unwritten) = self.failure() {
                return Err(unwritten);
            }
        }
    }

    /// Tells of every commit that ends from now on.
    pub fn endings(&self) -> Endings {
        Endings(self.shared.progress.clone())
    }

    /// Why nothing can be written at the moment, if so: changes should be refused then.
    pub fn failure(&self) -> Option<Unwritten> {
        let failure = self.shared.progress.borrow().failure.clone();
        let hangs = self.shared.commits.waiting() >= PATIENCE;
        let hangs = hangs.then(|| "the disk does not answer".into());
        failure.or(hangs).map(Unwritten)
    }

    /// As if a commit had begun long ago.
    #[cfg(test)]
    pub fn hang_for_test(&self) {
        *self.shared.commits.under_way() = Instant::now().checked_sub(PATIENCE);
    }

    /// A second way in, to read.
    pub fn reader(&self) -> Reader {
        self.shared.reader.clone()
    }

    /// What the writer has done so far.
    pub fn commits(&self) -> &Commits {
        &self.shared.commits
    }
}

/// Commits that end.
pub struct Endings(watch::Receiver<Progress>);

impl Endings {
    /// Waits until one has ended that was not told of, well or not; several may be told of at once.
    pub async fn next(&mut self) {
        // It fails when the writer has ended: nothing more will come.
        if self.0.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

impl Shared {
    /// What it guards is a handle, whole at every moment.
    fn queue(&self) -> std::sync::MutexGuard<'_, Option<Queue>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Shared {
    /// What was submitted is written before the process may end.
    fn drop(&mut self) {
        self.queue().take();
        let thread = self.thread.lock().map_or_else(
            |poisoned| poisoned.into_inner().take(),
            |mut thread| thread.take(),
        );
        if let Some(thread) = thread {
            // It panics for nobody: a failed write is tried again and given up at the end.
            let _ = thread.join();
        }
    }
}

struct Writer {
    database: Database,
    queue: Receiver<(u64, Batch)>,
    progress: watch::Sender<Progress>,
    /// What is to be written: of each row the last form.
    waiting: HashMap<(Table, String), Option<String>>,
    /// The last batch of it.
    up_to: u64,
    commits: Arc<Commits>,
}

impl Writer {
    fn run(mut self) {
        let mut open = true;
        while open {
            open = self.gather();
            if self.waiting.is_empty() {
                continue;
            }
            self.commit();
        }
    }

    /// Takes what is there; waits for something if there is nothing. Answers false when nothing more will come.
    fn gather(&mut self) -> bool {
        if !self.waiting.is_empty() {
            return self.gather_while_failing();
        }
        match self.queue.recv() {
            Ok(first) => self.take(first),
            Err(_) => return false,
        }
        while self.waiting.len() < ROWS_MAX
            && let Ok(more) = self.queue.try_recv()
        {
            self.take(more);
        }
        true
    }

    /// Takes all that comes until the next try: of each row only the last form is kept, so that no more waits than there is state.
    fn gather_while_failing(&mut self) -> bool {
        let next = Instant::now() + RETRY;
        loop {
            let pause = next.saturating_duration_since(Instant::now());
            match self.queue.recv_timeout(pause) {
                Ok(more) => self.take(more),
                Err(RecvTimeoutError::Timeout) => return true,
                Err(RecvTimeoutError::Disconnected) => return false,
            }
        }
    }

    fn take(&mut self, (number, batch): (u64, Batch)) {
        self.up_to = number;
        self.waiting
            .extend(batch.into_rows().map(super::Row::into_parts));
    }

    fn commit(&mut self) {
        let began = Instant::now();
        self.commits.begin();
        let written = self.database.write(self.waiting.iter());
        self.commits.end();
        match written {
            Ok(()) => {
                let rows = self.waiting.len() as u64;
                self.waiting.clear();
                let took = began.elapsed().as_nanos() as u64;
                self.commits.count.fetch_add(1, Ordering::Relaxed);
                self.commits.rows.fetch_add(rows, Ordering::Relaxed);
                self.commits.nanoseconds.fetch_add(took, Ordering::Relaxed);
                if self.commits.failing.swap(false, Ordering::Relaxed) {
                    tracing::info!(rows, "the state is written again: nothing is missing");
                }
                self.progress.send_replace(Progress {
                    committed: self.up_to,
                    failure: None,
                });
            }
            Err(error) => {
                let why = in_words(&error);
                self.commits.failures.fetch_add(1, Ordering::Relaxed);
                if !self.commits.failing.swap(true, Ordering::Relaxed) {
                    let rows = self.waiting.len();
                    tracing::error!(%why, rows, "the state can't be written: changes are refused until it can");
                }
                self.progress
                    .send_modify(|now| now.failure = Some(why.into()));
            }
        }
    }
}

/// What is wrong and what helps.
fn in_words(error: &rusqlite::Error) -> String {
    use rusqlite::ErrorCode::{DatabaseBusy, DatabaseCorrupt, DiskFull, ReadOnly, SystemIoFailure};
    match error.sqlite_error_code() {
        Some(DiskFull) => "the disk is full; make room in the data directory".to_owned(),
        Some(SystemIoFailure) => format!("the disk does not take it ({error})"),
        Some(ReadOnly) => "the file or its directory is read-only".to_owned(),
        Some(DatabaseBusy) => "another program holds the file".to_owned(),
        Some(DatabaseCorrupt) => "the file is damaged; restart the master to see how".to_owned(),
        _ => error.to_string(),
    }
}
