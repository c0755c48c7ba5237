//! Dialling media nodes: those of the configuration and those that an earlier life of the master knew at the start, others when they are
//! added.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use link::desired::DesiredState;
use link::pki;
use link::quic::Credentials;
use link::quic::master::{Dialer, NodeConfig as LinkConfig, NodeEvent, NodeLink};
use tokio::sync::mpsc;

use super::{Error, MASTER_CERTIFICATE, MASTER_KEY, follow};
use crate::app::{App, Core, now_millis};
use crate::cluster::{Link, MediaNode, NodeRow, Removal, Status, address};
use crate::config::{Config, NodeConfig};
use crate::domain::NodeId;
use crate::metrics::Metrics;

/// Room for news of all nodes.
const EVENTS: usize = 1024;
/// How long somebody who adds a node waits to learn who is there.
const IDENTIFY: Duration = Duration::from_secs(4);
/// A node that was added and is not met within this time has failed.
pub const LAUNCH_TIMEOUT: Duration = Duration::from_secs(20);
/// What the ids of media nodes begin with, as applications expect it.
const ID_PREFIX: &str = "media_";

/// Who dials nodes, so that tests can put another one in its place.
pub trait Dials: Send + Sync {
    /// Begins to dial, and goes on until the link is stopped.
    fn dial(&self, order: DialOrder) -> Arc<dyn Link>;
    /// The id in the certificate of the node that is there, or why there is none to be had.
    fn identify(&self, address: SocketAddr) -> Identified;
}

/// Who is there.
pub type Identified = Pin<Box<dyn Future<Output = Result<String, String>> + Send>>;

/// What is to be dialled.
#[derive(Clone, Debug)]
pub struct DialOrder {
    /// The master's name for the node.
    pub id: NodeId,
    /// Where it listens.
    pub address: SocketAddr,
    /// The id that its certificate must name; none: any.
    pub node_id: Option<String>,
    /// The process that was met in an earlier life of the master.
    pub known_instance: Option<String>,
    /// What should be on it.
    pub desired: DesiredState,
}

/// Why a node was not added.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAdded {
    /// Nobody dials here.
    #[error("this master dials no media nodes: it has no certificates of the cluster")]
    NoDialler,
    /// No node of the cluster is there.
    #[error("no media node of this cluster can be reached at {address}: {why}")]
    Unreachable {
        /// Where.
        address: SocketAddr,
        /// Why.
        why: String,
    },
    /// It is here already.
    #[error("{0}")]
    Known(String),
    /// There are too many.
    #[error("this master has {0} media nodes and takes no more")]
    TooMany(usize),
}

/// Dials over QUIC.
struct Quic {
    dialer: Dialer,
    events: mpsc::Sender<NodeEvent>,
    epoch: u64,
}

impl Dials for Quic {
    fn dial(&self, order: DialOrder) -> Arc<dyn Link> {
        let config = LinkConfig {
            name: order.id.to_string(),
            address: order.address,
            node_id: order.node_id,
            epoch: self.epoch,
            known_instance: order.known_instance,
        };
        let (dialer, events) = (self.dialer.clone(), self.events.clone());
        Arc::new(NodeLink::spawn(dialer, config, order.desired, events))
    }

    fn identify(&self, address: SocketAddr) -> Identified {
        let dialer = self.dialer.clone();
        Box::pin(async move {
            let there = dialer.identify(address, IDENTIFY).await;
            there.map_err(|error| super::with_mend(error.trouble(), &error.to_string()))
        })
    }
}

/// Tells operators when our certificate for the link ends, and that of the authority.
pub fn tell_expiry(metrics: &Metrics, credentials: &Credentials) {
    metrics.certificate("link", Some(credentials.expiry()));
    metrics.certificate("authority", Some(credentials.authority_expiry()));
}

/// Begins to dial every node that the configuration names or that an earlier life of the master knew. Must be called inside a tokio
/// runtime.
///
/// # Errors
/// When certificates or addresses are unusable. A node that does not answer is no error.
///
/// Answers the socket from which nodes are dialled; none: there are no certificates, and no nodes.
pub fn dial(app: &Arc<App>, epoch: u64) -> Result<Option<Dialer>, Error> {
    let kept = app.step(|core| core.registry.take_all_kept());
    let any = !app.config().nodes.is_empty() || !kept.is_empty();
    let dialer = match credentials(&app.config()).and_then(|credentials| {
        tell_expiry(&app.metrics, &credentials);
        Dialer::new(&credentials)
    }) {
        Ok(dialer) => dialer,
        Err(error) if any => return Err(error.into()),
        Err(why) => {
            tracing::warn!(%why, "no media nodes are configured, and none can be added: nobody can join");
            return Ok(None);
        }
    };
    if !any {
        tracing::warn!(
            "no media nodes are configured or known: nobody can join until one is added"
        );
    }
    let (events, news) = mpsc::channel(EVENTS);
    let quic = Quic {
        dialer: dialer.clone(),
        events,
        epoch,
    };
    app.dial_with(Box::new(quic));
    dial_all(app, kept)?;
    tokio::spawn(follow(app.clone(), news));
    Ok(Some(dialer))
}

/// Dials what is configured or was kept.
pub(crate) fn dial_all(app: &Arc<App>, mut kept: BTreeMap<NodeId, NodeRow>) -> Result<(), Error> {
    for node in &app.config().nodes {
        let row = kept.remove(&node.id);
        let ordered_away =
            |row: &NodeRow| row.status.is_final() && row.removed != Some(Removal::GivenUp);
        match row {
            Some(row) if ordered_away(&row) => {
                tracing::warn!(node = %node.id, uri = node.uri, "this media node is configured, but was removed: it stays away until it is added");
                app.step(|core| core.registry.keep_away(node.id.clone(), row));
            }
            row => begin_configured(app, node, row.filter(|row| !row.status.is_final()))?,
        }
    }
    for (id, row) in kept {
        // Once its entry has left the configuration nothing has to be remembered of a node that is gone.
        match (row.status.is_final(), address::parse(&row.uri)) {
            (false, Ok(address)) => begin_kept(app, id, row, address),
            _ => app.step(|core| core.registry.forget(&id)),
        }
    }
    Ok(())
}

/// Adds the node that is at that address. Answers its id.
///
/// # Errors
/// [`NotAdded`].
pub async fn add(
    app: &Arc<App>,
    address: SocketAddr,
    environment_id: Option<String>,
) -> Result<NodeId, NotAdded> {
    let known = |core: &mut Core| match core.registry.at(address) {
        Some(node) => Err(NotAdded::Known(format!(
            "{address} is media node '{}' already",
            node.id
        ))),
        None => Ok(()),
    };
    app.step(known)?;
    let dialler = app.dialler().ok_or(NotAdded::NoDialler)?;
    let node_id = dialler.identify(address).await;
    let node_id = node_id.map_err(|why| NotAdded::Unreachable { address, why })?;
    let config = app.config();
    let mut configured = config.nodes.iter();
    let configured = configured.find(|node| node.address().ok() == Some(address));
    let id = match configured {
        Some(node) => node.id.clone(),
        None if node_id.starts_with(ID_PREFIX) => NodeId::new(node_id.clone()),
        None => NodeId::new(format!("{ID_PREFIX}{node_id}")),
    };
    // Looked at again in the step that adds it: others add nodes too.
    app.step(|core| {
        known(core)?;
        let same = core.registry.certified(&node_id);
        if let Some(node) = same.or_else(|| core.registry.node(&id)) {
            let (id, uri) = (&node.id, &node.uri);
            let text = format!(
                "the node at {address} shows the certificate of '{node_id}', as '{id}' at {uri} does: remove that one first, or give \
                 each its own"
            );
            return Err(NotAdded::Known(text));
        }
        let count = core.registry.nodes().len();
        if count >= crate::config::NODES_MAX {
            return Err(NotAdded::TooMany(count));
        }
        let order = DialOrder {
            id: id.clone(),
            address,
            node_id: Some(node_id.clone()),
            known_instance: None,
            desired: DesiredState::new(),
        };
        let link = dialler.dial(order);
        let uri = format!("quic://{address}");
        let mut node = MediaNode::new(id.clone(), uri, address, link, now_millis());
        node.configured = configured.is_some();
        node.environment_id =
            environment_id.or_else(|| configured.and_then(|node| node.environment_id.clone()));
        node.expected = Some(node_id.clone());
        node.node_id = Some(node_id);
        node.launch_timeout = Some(LAUNCH_TIMEOUT);
        core.registry.add(node);
        Ok(id)
    })
}

/// Dials at once what is known and away, what was refused as a copy, and what is configured and was given up. Answers those who may
/// come.
pub fn look_for_nodes(app: &Arc<App>) -> Vec<NodeId> {
    let Some(dialler) = app.dialler() else {
        return Vec::new();
    };
    let given_up = app.step(|core| core.registry.given_up());
    for node in &app.config().nodes {
        if given_up.contains(&node.id)
            && let Err(error) = begin_configured(app, node, None)
        {
            tracing::warn!(node = %node.id, %error, "can't be dialled");
        }
    }
    app.step(|core| {
        let nodes = core.registry.nodes().iter();
        let away = nodes.filter(|node| !node.link.is_up() || node.copy_of.is_some());
        let away: Vec<_> = away.map(|node| node.id.clone()).collect();
        for id in &away {
            redial(core, dialler, id);
        }
        away
    })
}

fn redial(core: &mut Core, dialler: &dyn Dials, id: &NodeId) {
    let Some(node) = core.registry.node_mut(id) else {
        return;
    };
    match node.copy_of.take() {
        // Its link was given up, and nothing was ever put on it.
        Some(_) => {
            let order = DialOrder {
                id: id.clone(),
                address: node.address,
                node_id: node.expected.clone(),
                known_instance: node.instance.clone(),
                desired: DesiredState::new(),
            };
            node.link = dialler.dial(order);
        }
        None => node.link.dial_now(),
    }
}

fn begin_configured(
    app: &Arc<App>,
    config: &NodeConfig,
    row: Option<NodeRow>,
) -> Result<(), Error> {
    begin(
        app,
        Known {
            id: config.id.clone(),
            uri: config.uri.clone(),
            address: config.address()?,
            environment_id: config.environment_id.clone(),
            expected: config.node_id.clone(),
            configured: true,
            row,
        },
    );
    Ok(())
}

/// A node that the configuration does not name: it was added, or its entry is gone.
fn begin_kept(app: &Arc<App>, id: NodeId, row: NodeRow, address: SocketAddr) {
    let unwanted = row.configured && row.status == Status::Running;
    begin(
        app,
        Known {
            id: id.clone(),
            uri: row.uri.clone(),
            address,
            environment_id: row.environment_id.clone(),
            expected: row.node_id.clone(),
            configured: false,
            row: Some(row),
        },
    );
    if unwanted {
        tracing::warn!(node = %id, "this media node is no longer in the configuration: it is drained");
        app.step(|core| {
            core.registry
                .set_status(&id, Status::WaitingIdleToTerminate)
        });
    }
}

/// A node that is dialled at the start, or again.
struct Known {
    id: NodeId,
    uri: String,
    address: SocketAddr,
    environment_id: Option<String>,
    expected: Option<String>,
    configured: bool,
    row: Option<NodeRow>,
}

fn begin(app: &Arc<App>, known: Known) {
    let Some(dialler) = app.dialler() else {
        return;
    };
    app.step(|core| {
        let row = known.row.as_ref();
        // Others look for nodes and add them at the same time. One with a row has its calls to answer for, whoever else is there.
        let other = core.registry.node(&known.id).or_else(|| {
            let at = core.registry.at(known.address);
            at.filter(|_| row.is_none())
        });
        if let Some(other) = other {
            tracing::warn!(node = %known.id, uri = known.uri, other = %other.id, "not dialled: a media node is there already");
            return;
        }
        let desired = core.desired_before(&known.id);
        let order = DialOrder {
            id: known.id.clone(),
            address: known.address,
            node_id: known.expected.clone(),
            known_instance: row.and_then(|row| row.instance.clone()),
            desired,
        };
        let (link, now) = (dialler.dial(order), now_millis());
        let mut node = MediaNode::new(known.id, known.uri, known.address, link, now);
        node.environment_id = known.environment_id;
        node.configured = known.configured;
        node.expected = known.expected;
        node.launch_timeout = (!known.configured).then_some(LAUNCH_TIMEOUT);
        let node = match known.row {
            Some(row) => node.restored(row, now),
            None => node,
        };
        core.registry.add(node);
    });
}

/// Tries the files with which nodes are dialled, if there are any: they may still have to be made.
///
/// # Errors
/// When one of them is missing or damaged, or they don't fit together.
pub fn check(config: &Config) -> Result<(), link::quic::Error> {
    let files = [pki::CA_CERTIFICATE_FILE, MASTER_CERTIFICATE, MASTER_KEY];
    match files.map(|file| config.pki_dir.join(file).exists()) {
        [false, false, false] => Ok(()),
        _ => credentials(config)?.check(),
    }
}

/// Who we are towards nodes, by the files that the configuration names.
///
/// # Errors
/// When a file is missing or damaged.
pub fn credentials(config: &Config) -> Result<Credentials, link::quic::Error> {
    let dir = &config.pki_dir;
    Credentials::load(
        &dir.join(pki::CA_CERTIFICATE_FILE),
        &dir.join(MASTER_CERTIFICATE),
        &dir.join(MASTER_KEY),
    )
}
