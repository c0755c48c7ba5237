//! What the master needs of the link to a media node, so that tests can put another one in its place.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use link::quic::master::{NoReport, NodeLink};
use link::statistics::{StatisticsQuestion, TransportStatistics};
use link::{Change, Entry, Hello, Load, TransportId, TransportReport};

/// What the master needs of the link to one node. Nothing here waits, but for reports.
pub trait Link: Send + Sync {
    /// Changes what should be on the node; all of it travels together.
    fn apply(&self, changes: Vec<Change<Entry>>);
    /// The node is connected.
    fn is_up(&self) -> bool;
    /// How long nothing has been heard of it; none: never met.
    fn silence(&self) -> Option<Duration>;
    /// How it last introduced itself.
    fn hello(&self) -> Option<Hello>;
    /// How busy it says it is.
    fn load(&self) -> Load;
    /// Revisions that the node has not taken up yet.
    fn unapplied(&self) -> u64;
    /// Waits until the node has made a transport.
    fn transport_report(
        &self,
        transport: TransportId,
        patience: Duration,
    ) -> Pin<Box<dyn Future<Output = Result<TransportReport, NoReport>> + Send>>;
    /// Asks how streams are doing.
    fn statistics(&self, question: StatisticsQuestion, patience: Duration) -> StatisticsAnswer;
    /// Dials at once where it waits to do so.
    fn dial_now(&self);
    /// Hangs up for good.
    fn stop(&self);
}

/// What becomes of a question about streams.
pub type StatisticsAnswer =
    Pin<Box<dyn Future<Output = Result<Vec<TransportStatistics>, NoReport>> + Send>>;

impl Link for NodeLink {
    fn apply(&self, changes: Vec<Change<Entry>>) {
        self.change(|desired| {
            for change in changes {
                match change {
                    Change::Put(entry) => desired.put(entry),
                    Change::Remove(key) => desired.remove(&key),
                };
            }
        });
    }

    fn is_up(&self) -> bool {
        NodeLink::is_up(self)
    }

    fn silence(&self) -> Option<Duration> {
        NodeLink::silence(self)
    }

    fn hello(&self) -> Option<Hello> {
        NodeLink::hello(self)
    }

    fn load(&self) -> Load {
        self.heartbeat().load
    }

    fn unapplied(&self) -> u64 {
        self.revision().saturating_sub(self.heartbeat().applied)
    }

    fn transport_report(
        &self,
        transport: TransportId,
        patience: Duration,
    ) -> Pin<Box<dyn Future<Output = Result<TransportReport, NoReport>> + Send>> {
        let link = self.clone();
        Box::pin(async move { NodeLink::transport_report(&link, &transport, patience).await })
    }

    fn statistics(&self, question: StatisticsQuestion, patience: Duration) -> StatisticsAnswer {
        let link = self.clone();
        Box::pin(async move { NodeLink::statistics(&link, question, patience).await })
    }

    fn dial_now(&self) {
        NodeLink::dial_now(self);
    }

    fn stop(&self) {
        NodeLink::stop(self);
    }
}
