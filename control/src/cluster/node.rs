//! One media node, and what of it outlives the master.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ::link::Hello;
use ::link::quic::Trouble;
use serde::{Deserialize, Serialize};

use super::{Health, Link, Status};
use crate::domain::{Millis, NodeId};
use crate::events::NodeIdentity;

/// The port of STUN (RFC 8489 §14).
const STUN_PORT: u16 = 3478;

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
    /// What it is for.
    pub status: Status,
    /// The configuration names it.
    pub configured: bool,
    /// The id that its certificate must name; none: any.
    pub expected: Option<String>,
    /// The id in its certificate, once it was met.
    pub node_id: Option<String>,
    /// The process that answered last.
    pub instance: Option<String>,
    /// When the master began to dial it.
    pub launching_time: Millis,
    /// When it was last connected.
    pub connection_time: Option<Millis>,
    /// When it was last lost.
    pub disconnection_time: Option<Millis>,
    /// The same, as far as this life of the master can tell: what was before it dialled does not count.
    pub lost: Instant,
    /// While it is drained: when what is left on it is closed.
    pub drain_deadline: Option<DrainDeadline>,
    /// Where its media arrive, by its own last report: the best first.
    pub media_address: Option<SocketAddr>,
    /// Another node whose certificate this one shows: it gets no work, and the link is given up.
    pub copy_of: Option<NodeId>,
    /// Why the last attempt to dial it failed, until one succeeds.
    pub unreached: Option<(Trouble, String)>,
    /// It was met in this life of the master, or in an earlier one.
    pub known: bool,
    /// Since when this life of the master has dialled it.
    pub dialled: Instant,
    /// It has failed if it is not met within this time.
    pub launch_timeout: Option<Duration>,
    /// Since when it has its status, in this life of the master.
    pub status_since: Instant,
    /// Why it is let go.
    pub removed: Option<Removal>,
    /// It says that it is about to end by itself, or has ended so: it takes no sessions until it is back.
    pub leaving: bool,
}

/// When what is left on a drained node is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DrainDeadline {
    /// What decides: whoever sets the machine's clock does not move it.
    pub due: Instant,
    /// The same by the wall clock, to be shown and kept.
    pub shown: Millis,
}

impl DrainDeadline {
    /// So long from now; none when no clock counts so far.
    pub fn after(length: Duration, now: Instant, millis: Millis) -> Option<Self> {
        Some(Self {
            due: now.checked_add(length)?,
            shown: millis.saturating_add(length.as_millis() as Millis),
        })
    }
}

/// What is kept of a node over a restart of the master.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeRow {
    /// [`MediaNode::uri`].
    pub uri: String,
    /// [`MediaNode::environment_id`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment_id: Option<String>,
    /// [`MediaNode::status`].
    pub status: Status,
    /// [`MediaNode::configured`].
    #[serde(default)]
    pub configured: bool,
    /// [`MediaNode::node_id`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_id: Option<String>,
    /// [`MediaNode::instance`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// [`MediaNode::launching_time`].
    pub launching_time: Millis,
    /// [`MediaNode::connection_time`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection_time: Option<Millis>,
    /// [`MediaNode::disconnection_time`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disconnection_time: Option<Millis>,
    /// [`MediaNode::drain_deadline`], as it is shown: all that a later life of the master has is the wall clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drain_deadline: Option<Millis>,
    /// It was declared dead and has not come back.
    #[serde(default)]
    pub crashed: bool,
    /// [`MediaNode::removed`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub removed: Option<Removal>,
}

/// Why a node is let go. One that the configuration names stays known with that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Removal {
    /// Somebody removed it: it stays away until somebody adds it.
    Ordered,
    /// It had crashed and did not come back in time, or was added and never came up: it is dialled again at the master's next start, or when nodes are looked for.
    GivenUp,
}

impl MediaNode {
    /// A node that is dialled from now on and was never met.
    pub fn new(
        id: NodeId,
        uri: String,
        address: SocketAddr,
        link: Arc<dyn Link>,
        now: Millis,
    ) -> Self {
        let dialled = Instant::now();
        Self {
            id,
            uri,
            address,
            environment_id: None,
            link,
            health: Health::Launching,
            status: Status::Launching,
            configured: false,
            expected: None,
            node_id: None,
            instance: None,
            launching_time: now,
            connection_time: None,
            disconnection_time: None,
            lost: dialled,
            drain_deadline: None,
            media_address: None,
            copy_of: None,
            unreached: None,
            known: false,
            dialled,
            launch_timeout: None,
            status_since: dialled,
            removed: None,
            leaving: false,
        }
    }

    /// Takes over what an earlier life of the master knew of it. Its silence counts from now.
    pub fn restored(mut self, row: NodeRow, now: Millis) -> Self {
        self.known = row.connection_time.is_some();
        self.health = match (self.known, row.crashed) {
            (false, _) => Health::Launching,
            (true, false) => Health::Suspect,
            (true, true) => Health::Crashed,
        };
        let was_lost = row.disconnection_time >= row.connection_time;
        self.disconnection_time = match self.known && !was_lost {
            true => Some(now),
            false => row.disconnection_time,
        };
        self.status = row.status;
        self.node_id = row.node_id;
        self.instance = row.instance;
        self.launching_time = row.launching_time;
        self.connection_time = row.connection_time;
        self.drain_deadline = row.drain_deadline.and_then(|at| {
            let left = Duration::from_millis(at.saturating_sub(now));
            let due = self.dialled.checked_add(left)?;
            Some(DrainDeadline { due, shown: at })
        });
        self.removed = row.removed;
        self
    }

    /// What is kept of it.
    pub fn row(&self) -> NodeRow {
        NodeRow {
            uri: self.uri.clone(),
            environment_id: self.environment_id.clone(),
            status: self.status,
            configured: self.configured,
            node_id: self.node_id.clone(),
            instance: self.instance.clone(),
            launching_time: self.launching_time,
            connection_time: self.connection_time,
            disconnection_time: self.disconnection_time,
            drain_deadline: self.drain_deadline.map(|deadline| deadline.shown),
            crashed: self.health == Health::Crashed,
            removed: self.removed,
        }
    }

    /// What applications are told of it with everything that happens to it.
    pub fn identity(&self) -> NodeIdentity {
        NodeIdentity {
            id: self.id.clone(),
            environment_id: self.environment_id.clone(),
            ip: self.ip(),
            uri: self.uri.clone(),
        }
    }

    /// New sessions may be placed on it.
    pub fn takes_sessions(&self) -> bool {
        self.status.takes_sessions() && self.health == Health::Up && !self.leaving
    }

    /// It was about to end when it was last heard of, and nobody has missed it since.
    pub fn has_ended(&self) -> bool {
        self.leaving && !self.link.is_up()
    }

    /// An attempt to dial it failed. Answers whether that is news: attempts are many, and their reason is mostly the same.
    pub fn failed_to_reach(&mut self, trouble: Trouble, why: &str) -> bool {
        let known = self.unreached.as_ref();
        let news = known.is_none_or(|(kind, text)| *kind != trouble || text != why);
        self.unreached = Some((trouble, why.to_owned()));
        news
    }

    /// It answered, and introduced itself.
    pub fn reached(&mut self, hello: &Hello) {
        self.unreached = None;
        self.node_id = Some(hello.node.clone());
        self.instance = Some(hello.instance.clone());
    }

    /// A newer master has taken it over.
    pub fn superseded(&self) -> bool {
        matches!(self.unreached, Some((Trouble::Superseded, _)))
    }

    /// How it is now.
    pub fn judge(&self, now: Instant, crashed_after: Duration) -> Health {
        if self.copy_of.is_some() && !self.known {
            return Health::Launching;
        }
        let connected = self.link.is_up() && self.copy_of.is_none();
        let here = || now.saturating_duration_since(self.dialled);
        let silence = self.link.silence().or_else(|| self.known.then(here));
        match Health::judge(connected, silence, crashed_after) {
            // It lives, and its calls with it: they are another master's now.
            Health::Crashed if self.superseded() => Health::Suspect,
            Health::Suspect if self.health == Health::Crashed => Health::Crashed,
            health => health,
        }
    }

    /// How long nothing has been heard of it, as far as this life of the master can tell.
    pub fn silence(&self) -> Duration {
        let heard = self.link.silence();
        heard.unwrap_or_else(|| self.dialled.elapsed())
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
