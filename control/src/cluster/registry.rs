//! The nodes that the operator named, each with its link.

use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use link::quic::master::{NoReport, NodeLink};
use link::statistics::{StatisticsQuestion, TransportStatistics};
use link::{Change, Entry, Hello, Load, TransportId, TransportReport};

use super::Health;
use super::placement::Candidate;
use crate::domain::{Millis, NodeId, Occupancy};

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
}

/// One media node.
#[derive(Clone)]
pub struct MediaNode {
    /// The master's name for it.
    pub id: NodeId,
    /// Where it is dialled, as the operator wrote it.
    pub uri: String,
    /// The same, parsed.
    pub address: SocketAddr,
    /// The operator's own label.
    pub environment_id: Option<String>,
    /// Its link.
    pub link: Arc<dyn Link>,
    /// How it was at the last look.
    pub health: Health,
    /// When the master began to dial it.
    pub launching_time: Millis,
    /// When it was last connected.
    pub connection_time: Option<Millis>,
    /// When it was last lost.
    pub disconnection_time: Option<Millis>,
    /// Where its media arrive, by its own last report: the best first.
    pub media_address: Option<SocketAddr>,
    /// Why the last attempt to dial it failed, for people.
    unreached: Option<String>,
}

impl MediaNode {
    /// A node that is dialled from now on.
    pub fn new(
        id: NodeId,
        uri: String,
        address: SocketAddr,
        link: Arc<dyn Link>,
        now: Millis,
    ) -> Self {
        Self {
            id,
            uri,
            address,
            environment_id: None,
            link,
            health: Health::Launching,
            launching_time: now,
            connection_time: None,
            disconnection_time: None,
            media_address: None,
            unreached: None,
        }
    }

    /// An attempt to dial it failed. Answers whether that is news: attempts are many, and their reason is mostly the same.
    pub fn failed_to_reach(&mut self, why: &str) -> bool {
        let news = self.unreached.as_deref() != Some(why);
        self.unreached = Some(why.to_owned());
        news
    }

    /// It answered.
    pub fn reached(&mut self) {
        self.unreached = None;
    }

    /// Where browsers may ask for their own address when there is no better server: the node, on the port of STUN.
    ///
    /// Never a media port: Chromium takes every datagram from the address of a STUN server for an answer of that server
    /// and drops it, so a call whose media came from there would never connect. Whether anybody listens does not
    /// matter, for the node's candidates are all that is needed; the entry keeps clients from asking public servers.
    pub fn stun_address(&self) -> SocketAddr {
        let address = self.media_address.unwrap_or(self.address);
        SocketAddr::new(address.ip(), STUN_PORT)
    }

    /// Its address.
    pub fn ip(&self) -> IpAddr {
        self.address.ip()
    }
}

/// The port of STUN (RFC 8489 §14).
const STUN_PORT: u16 = 3478;

/// All media nodes, in the operator's order.
#[derive(Default)]
pub struct Registry {
    nodes: Vec<MediaNode>,
}

impl Registry {
    /// Adds a node.
    pub fn add(&mut self, node: MediaNode) {
        self.nodes.push(node);
    }

    /// All of them.
    pub fn nodes(&self) -> &[MediaNode] {
        &self.nodes
    }

    /// The node of that id.
    pub fn node(&self, id: &NodeId) -> Option<&MediaNode> {
        self.nodes.iter().find(|node| node.id == *id)
    }

    /// The node of that id, as a place.
    pub fn node_mut(&mut self, id: &NodeId) -> Option<&mut MediaNode> {
        self.nodes.iter_mut().find(|node| node.id == *id)
    }

    /// Looks at every node again. Answers those whose health changed, with what it was.
    pub fn look(&mut self, crashed_after: Duration, now: Millis) -> Vec<(NodeId, Health, Health)> {
        let mut changed = Vec::new();
        for node in &mut self.nodes {
            let was = node.health;
            let is = Health::judge(node.link.is_up(), node.link.silence(), crashed_after);
            if was == is {
                continue;
            }
            node.health = is;
            match is {
                Health::Up => node.connection_time = Some(now),
                _ if was == Health::Up => node.disconnection_time = Some(now),
                _ => {}
            }
            changed.push((node.id.clone(), was, is));
        }
        changed
    }

    /// The nodes as placement sees them.
    pub fn candidates(&self, occupancy: impl Fn(&NodeId) -> Occupancy) -> Vec<Candidate> {
        self.nodes
            .iter()
            .map(|node| Candidate {
                id: node.id.clone(),
                health: node.health,
                occupancy: occupancy(&node.id),
            })
            .collect()
    }
}
