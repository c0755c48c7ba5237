//! Call detail records: every event as a line of a file, in order.
//!
//! Lines are on the disk before their rows are removed from the state, so none is missing after a crash; those that were written
//! but not noted so are recognised in the file and not written again. The file is [`FILE`]; when it is full, or the day (UTC) is
//! over, it becomes `CDR-YYYY-MM-DD.N.log`.

mod journal;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use crate::app::{App, now_millis};
use crate::events::Channel;
use crate::metrics::Metrics;
use crate::outbox::{Feed, Parcel, warn_of_leftovers};

pub use journal::FILE;
use journal::Journal;

/// The first pause after a failure; each further one is twice as long.
const PAUSE: Duration = Duration::from_secs(1);
/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// Begins to write what waits and what will come, if records are configured. Must be called inside a tokio runtime.
pub fn start(app: &Arc<App>) {
    let (Some(feed), Some(dir)) = (Feed::new(app, Channel::Cdr), app.config().cdr_path.clone())
    else {
        return warn_of_leftovers(app, Channel::Cdr);
    };
    tracing::info!(directory = %dir.display(), "events go to call detail records");
    let recorder = Recorder {
        feed,
        journal: Some(Journal::new(
            dir,
            app.config().cdr_file_size_max,
            app.config().cdr_files_max,
        )),
        metrics: app.metrics.clone(),
        dir: app.config().cdr_path.clone().unwrap_or_default(),
    };
    tokio::spawn(recorder.run());
}

struct Recorder {
    feed: Feed,
    /// Away while it is written to.
    journal: Option<Journal>,
    metrics: Metrics,
    dir: PathBuf,
}

impl Recorder {
    async fn run(mut self) {
        loop {
            if !self.feed.has_more() {
                self.feed.wait().await;
            }
            let parcels = self.feed.read().await;
            if parcels.is_empty() {
                continue;
            }
            let oldest = parcels.first().map(|parcel| parcel.row.at);
            self.feed.backlog().set_oldest_at(oldest);
            self.record(parcels).await;
            self.feed.clear();
            self.feed.backlog().set_oldest_at(None);
        }
    }

    /// Writes these lines, however long it takes.
    async fn record(&mut self, parcels: Vec<Parcel>) {
        let lines: Arc<Vec<String>> =
            Arc::new(parcels.iter().map(|one| one.row.body.clone()).collect());
        let mut pause = PAUSE;
        let mut troubled = false;
        while let Err(why) = self.write(lines.clone()).await {
            self.metrics.cdr("failed", lines.len());
            if !std::mem::replace(&mut troubled, true) {
                let directory = self.dir.display();
                tracing::error!(%directory, %why, "call detail records can't be written; events are kept and tried again");
            }
            sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
        if troubled {
            tracing::info!("call detail records are written again");
        }
        self.metrics.cdr("written", lines.len());
        for parcel in parcels {
            self.feed.done(parcel.key);
        }
    }

    async fn write(&mut self, lines: Arc<Vec<String>>) -> std::io::Result<()> {
        let mut journal = match self.journal.take() {
            Some(journal) => journal,
            None => return Err(std::io::Error::other("the journal is lost")),
        };
        let write = move || {
            let written = journal.append(&lines, now_millis());
            (journal, written)
        };
        let (journal, written) = tokio::task::spawn_blocking(write).await?;
        self.journal = Some(journal);
        written
    }
}

#[cfg(test)]
mod tests;
