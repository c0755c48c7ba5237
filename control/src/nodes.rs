//! The links to all media nodes: dialled at the start, and what they report carried into the calls.

use std::sync::Arc;
use std::time::Instant;

use link::desired::DesiredState;
use link::quic::Credentials;
use link::quic::master::{Dialer, News, NodeConfig as LinkConfig, NodeEvent, NodeLink};
use link::replica::Step;
use link::{CloseReason, Report, TransportReport, TransportState, VoiceReport, pki};
use tokio::sync::mpsc;

use crate::api::rpc::force;
use crate::app::{App, Core, now_millis};
use crate::cluster::MediaNode;
use crate::config::{Config, Error as ConfigError};
use crate::domain::{Connection, NodeId, Voice};
use crate::reconcile::{Owner, Place};

/// The files of the master's own certificate in the PKI directory.
pub const MASTER_CERTIFICATE: &str = "master.pem";
/// Its key.
pub const MASTER_KEY: &str = "master.key";

/// Room for news of all nodes.
const EVENTS: usize = 1024;

/// Why the nodes can't be dialled.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Certificates or sockets.
    #[error("{0} (the cluster's certificates are made by `ringcast-master pki init`)")]
    Link(#[from] link::quic::Error),
    /// A node's address.
    #[error(transparent)]
    Config(#[from] ConfigError),
}

/// Begins to dial every node. Must be called inside a tokio runtime.
///
/// # Errors
/// When certificates or addresses are unusable. A node that does not answer is no error.
pub fn dial(app: &Arc<App>, epoch: u64) -> Result<(), Error> {
    if app.config.nodes.is_empty() {
        tracing::warn!("no media nodes are configured: nobody can join");
        return Ok(());
    }
    let dialer = Dialer::new(&credentials(&app.config)?)?;
    let (events, news) = mpsc::channel(EVENTS);
    for node in &app.config.nodes {
        let address = node.address()?;
        let config = LinkConfig {
            name: node.id.to_string(),
            address,
            node_id: node.node_id.clone(),
            epoch,
            known_instance: None,
        };
        let link = NodeLink::spawn(dialer.clone(), config, DesiredState::new(), events.clone());
        let (id, uri) = (node.id.clone(), node.uri.clone());
        let mut known = MediaNode::new(id, uri, address, Arc::new(link), now_millis());
        known.environment_id.clone_from(&node.environment_id);
        app.step(|core| core.registry.add(known));
    }
    tokio::spawn(follow(app.clone(), news));
    Ok(())
}

fn credentials(config: &Config) -> Result<Credentials, link::quic::Error> {
    let dir = &config.pki_dir;
    Credentials::load(
        &dir.join(pki::CA_CERTIFICATE_FILE),
        &dir.join(MASTER_CERTIFICATE),
        &dir.join(MASTER_KEY),
    )
}

async fn follow(app: Arc<App>, mut news: mpsc::Receiver<NodeEvent>) {
    while let Some(NodeEvent { name, news }) = news.recv().await {
        let node = NodeId::new(name);
        on_news(&app, &node, news);
        // A browser that noticed has reconnected by itself long before its consent is over.
        for (member, stream) in app.step(|core| std::mem::take(&mut core.cut_off)) {
            force::soon(&app, &member, &stream);
        }
    }
}

fn on_news(app: &App, node: &NodeId, news: News) {
    let crashed_after = app.config.node_silence;
    match news {
        News::Up { hello, restarted } => {
            tracing::info!(%node, instance = hello.instance, software = hello.software, workers = hello.capacity.workers, restarted, "media node connected");
            app.step(|core| {
                if let Some(known) = core.registry.node_mut(node) {
                    known.reached();
                }
                if restarted {
                    core.node_lost(node);
                }
                core.look_at_nodes(Instant::now(), crashed_after);
            });
        }
        News::Down { why, was_up: true } => {
            tracing::warn!(%node, why, "link to media node lost");
            app.step(|core| core.look_at_nodes(Instant::now(), crashed_after));
        }
        News::Down { why, was_up: false } => {
            let news = app.step(|core| {
                let known = core.registry.node_mut(node);
                known.is_some_and(|known| known.failed_to_reach(&why))
            });
            match news {
                true => {
                    tracing::warn!(%node, why, "media node can't be reached; trying on");
                }
                false => tracing::debug!(%node, why, "media node still can't be reached"),
            }
        }
        News::Heartbeat(_) => {}
        News::Reports(steps) => app.step(|core| {
            for step in steps {
                match step {
                    Step::Add(report) | Step::Change { new: report, .. } => {
                        on_report(app, core, node, &report);
                    }
                    Step::Remove(Report::Voice(silent)) => {
                        core.hear(&silent.id, Voice::default());
                    }
                    Step::Remove(_) => {}
                }
            }
        }),
    }
}

/// Takes up what a node says of one entry.
pub(crate) fn on_report(app: &App, core: &mut Core, node: &NodeId, report: &Report) {
    match report {
        Report::Transport(transport) => on_transport(app, core, node, transport),
        Report::Voice(voice) => on_voice(core, voice),
        Report::Refused(refusal) => {
            app.metrics.refusal(node.as_str());
            tracing::warn!(%node, key = ?refusal.key, limit = refusal.limit, "media node refuses");
        }
    }
}

fn on_voice(core: &mut Core, report: &VoiceReport) {
    let Some((id, _)) = Place::session_of(&report.id) else {
        return;
    };
    let Some(session) = core.domain.session(&id) else {
        return;
    };
    let mut voice = Voice::default();
    for stream in session.active().filter_map(Connection::stream) {
        let Some(publisher) = core.media.publisher(&id, &stream.id) else {
            continue;
        };
        if report.speaker.as_ref() == Some(publisher) {
            voice.speaker = Some(stream.id.clone());
        }
        let level = report.levels.get(publisher);
        voice
            .levels
            .extend(level.map(|level| (stream.id.clone(), *level)));
    }
    core.hear(&report.id, voice);
}

fn on_transport(app: &App, core: &mut Core, node: &NodeId, report: &TransportReport) {
    if let Some(address) = report.addresses.first()
        && let Some(known) = core.registry.node_mut(node)
    {
        known.media_address = Some(*address);
    }
    let transport = &report.id;
    match &report.state {
        TransportState::New | TransportState::Connecting => {}
        TransportState::Connected { srtp_profile } => {
            tracing::info!(%node, %transport, %srtp_profile, "transport connected");
        }
        TransportState::Closed { reason } => {
            // What we took down ourselves ends as well; that is no news.
            if let Some(owner) = core.media.owner(transport) {
                app.metrics.transport_closed(*reason);
                match reason {
                    // A browser that reconnects, or a page that is closed, says goodbye first.
                    CloseReason::ClosedByPeer => {
                        tracing::info!(%node, %transport, %owner, "transport closed by the client");
                    }
                    _ => {
                        tracing::warn!(%node, %transport, ?reason, %owner, "transport closed by the media node");
                    }
                }
                if let (
                    CloseReason::ConsentLost,
                    Owner::Subscription(session, connection, stream),
                ) = (reason, owner)
                {
                    let member = (session.clone(), connection.clone());
                    // Who has lost its socket too has no network, and reconnects by itself.
                    if !core.rpc.is_away(&member) {
                        let stream = stream.clone();
                        core.cut_off.push((member, stream));
                    }
                }
                core.media.transport_closed(transport);
            }
        }
    }
}
