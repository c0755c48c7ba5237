//! What is on a node: both sides.

use crate::message::ToMaster;
use crate::replica::{Gap, Replica, Source, Step, Update};
use crate::state::{Key, Report};

/// The node's side: what it reports, and what of that the master has been told.
#[derive(Clone, Debug, Default)]
pub struct ReportedState(Source<Report>);

impl ReportedState {
    /// Nothing to report.
    pub fn new() -> Self {
        Self::default()
    }

    /// Says how something is. Answers whether that is news.
    pub fn put(&mut self, report: Report) -> bool {
        self.0.put(report)
    }

    /// There is nothing to say about this any more. Answers whether there was.
    pub fn remove(&mut self, key: &Key) -> bool {
        self.0.remove(key)
    }

    /// What is said about this.
    pub fn get(&self, key: &Key) -> Option<&Report> {
        self.0.get(key)
    }

    /// All reports.
    pub fn reports(&self) -> impl Iterator<Item = &Report> {
        self.0.values()
    }

    /// A master has connected.
    pub fn on_connected(&mut self) {
        self.0.on_connected();
    }

    /// The connection is gone.
    pub fn on_disconnected(&mut self) {
        self.0.on_disconnected();
    }

    /// The next message for the master, until there is nothing to say.
    pub fn poll(&mut self) -> Option<ToMaster> {
        self.0.poll().map(|update| match update {
            Update::Snapshot(snapshot) => ToMaster::ReportedSnapshot(snapshot),
            Update::Delta(delta) => ToMaster::Reported(delta),
        })
    }
}

/// The master's side: what it has been told.
#[derive(Clone, Debug, Default)]
pub struct ReportedView {
    instance: Option<String>,
    reports: Replica<Report>,
}

impl ReportedView {
    /// Nothing is known.
    pub fn new() -> Self {
        Self::default()
    }

    /// A node has introduced itself as this process.
    pub fn on_hello(&mut self, instance: &str) {
        let anew = self.instance.as_deref() != Some(instance);
        self.instance = Some(instance.to_owned());
        self.reports.on_connected(anew);
    }

    /// Takes a message and answers what is new. What a new process does not report any more counts as removed.
    ///
    /// # Errors
    ///
    /// [`Gap`] if a message is missing: the connection is to be closed.
    pub fn on_message(&mut self, message: ToMaster) -> Result<Vec<Step<Report>>, Gap> {
        match message {
            ToMaster::ReportedSnapshot(part) => Ok(self.reports.on_snapshot(part)),
            ToMaster::Reported(delta) => self.reports.on_delta(delta),
            ToMaster::Hello(_)
            | ToMaster::Heartbeat(_)
            | ToMaster::Statistics(_)
            | ToMaster::Unknown => Ok(Vec::new()),
        }
    }

    /// What is reported under this name.
    pub fn get(&self, key: &Key) -> Option<&Report> {
        self.reports.get(key)
    }

    /// All reports.
    pub fn reports(&self) -> impl Iterator<Item = &Report> {
        self.reports.values()
    }

    /// The process that reported last.
    pub fn instance(&self) -> Option<&str> {
        self.instance.as_deref()
    }
}
