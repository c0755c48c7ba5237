//! The links to all media nodes, and what they report carried into the calls. How they are dialled is in [`dialling`], and what becomes of
//! the nodes in [`life`]; whether one of them takes new sessions says `intake`.

pub mod dialling;
mod intake;
pub mod life;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use link::message::Heartbeat;
use link::quic::Trouble;
use link::quic::master::{News, NodeEvent};
use link::replica::Step;
use link::{CloseReason, Key, Report, TransportReport, TransportState, VoiceReport};
use tokio::sync::mpsc;

use crate::api::rpc::force;
use crate::app::{App, Core, now_millis};
use crate::config::Error as ConfigError;
use crate::domain::{Connection, NodeId, Voice};
use crate::reconcile::{Owner, Place};
use crate::standing;

pub use dialling::dial;

/// The files of the master's own certificate in the PKI directory.
pub const MASTER_CERTIFICATE: &str = "master.pem";
/// Its key.
pub const MASTER_KEY: &str = "master.key";

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

async fn follow(app: Arc<App>, mut news: mpsc::Receiver<NodeEvent>) {
    // Of whom heartbeats are worth a step.
    let mut leaving = HashSet::new();
    while let Some(NodeEvent { name, news }) = news.recv().await {
        let node = NodeId::new(name);
        match news {
            News::Heartbeat(heartbeat) => on_heartbeat(&app, &node, &heartbeat, &mut leaving),
            news => on_news(&app, &node, news),
        }
        // A browser that noticed has reconnected by itself long before its consent is over.
        for (member, stream) in app.step(|core| std::mem::take(&mut core.cut_off)) {
            force::soon(&app, &member, &stream);
        }
    }
}

fn on_heartbeat(app: &App, node: &NodeId, heartbeat: &Heartbeat, leaving: &mut HashSet<NodeId>) {
    let left = heartbeat.leaving.map(Duration::from_millis);
    let was_leaving = match left {
        Some(_) => !leaving.insert(node.clone()),
        None => leaving.remove(node),
    };
    if was_leaving || left.is_some() {
        app.step(|core| core.node_leaves(node, left));
    }
}

fn on_news(app: &App, node: &NodeId, news: News) {
    let crashed_after = app.config().node_silence;
    match news {
        News::Up { hello, restarted } => {
            tracing::info!(%node, instance = hello.instance, software = hello.software, workers = hello.capacity.workers, restarted, "media node connected");
            app.step(|core| {
                core.node_met(node, &hello, restarted);
                core.look_at_nodes(Instant::now(), crashed_after);
            });
        }
        News::Down {
            why, was_up: true, ..
        } => {
            tracing::warn!(%node, why, "link to media node lost");
            app.step(|core| core.look_at_nodes(Instant::now(), crashed_after));
        }
        News::Down {
            why,
            trouble,
            was_up: false,
        } => {
            let news = app.step(|core| {
                let known = core.registry.node_mut(node);
                known.is_some_and(|known| known.failed_to_reach(trouble, &why))
            });
            match (news, trouble) {
                (true, Trouble::Superseded) => {
                    tracing::error!(%node, why = with_mend(trouble, &why), "this master is no longer the one of this media node");
                }
                (true, _) => {
                    tracing::warn!(%node, why = with_mend(trouble, &why), "media node can't be reached; trying on");
                }
                (false, _) => tracing::debug!(%node, why, "media node still can't be reached"),
            }
        }
        News::Heartbeat(_) => {}
        News::Reports(steps) => app.step(|core| {
            for step in steps {
                match step {
                    // What is wrong with a transport comes and goes; its state was taken up before.
                    Step::Change {
                        old: Report::Transport(old),
                        new: Report::Transport(new),
                    } if old.state == new.state => {
                        standing::on_report(core, node, &new, now_millis());
                    }
                    Step::Add(report) | Step::Change { new: report, .. } => {
                        on_report(app, core, node, &report);
                    }
                    Step::Remove(Report::Transport(gone)) => core.standings.forget(&gone.id),
                    Step::Remove(Report::Voice(silent)) => {
                        core.hear(&silent.id, Voice::default());
                    }
                    Step::Remove(_) => {}
                }
            }
        }),
    }
}

/// What is wrong with a link, and how it is mended where more than waiting is needed.
fn with_mend(trouble: Trouble, why: &str) -> String {
    let mend = match trouble {
        Trouble::Unreachable | Trouble::Broken => return why.to_owned(),
        Trouble::Certificate => {
            "one side does not trust the other's certificate: both must be of the same authority and not have ended (`ringcast-master \
             pki node`)"
        }
        Trouble::WrongPeer => {
            "another media node listens there than the one that is meant: mend its address or `node_id`"
        }
        Trouble::Superseded => {
            "another master was started later and has taken over, and nodes obey one at a time: stop this one. If there is no other, \
             start this one again"
        }
        Trouble::Version => "it speaks a later version: update this master",
    };
    format!("{why}; {mend}")
}

/// Takes up what a node says of one entry.
pub(crate) fn on_report(app: &App, core: &mut Core, node: &NodeId, report: &Report) {
    match report {
        Report::Transport(transport) => on_transport(app, core, node, transport),
        Report::Voice(voice) => on_voice(core, voice),
        Report::Refused(refusal) => {
            app.metrics.refusal(node.as_str());
            if let Key::Transport(transport) = &refusal.key {
                core.loads.refused(Instant::now(), node);
                standing::on_refusal(core, node, transport, &refusal.limit, now_millis());
            }
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
    standing::on_report(core, node, report, now_millis());
    let transport = &report.id;
    match &report.state {
        TransportState::New | TransportState::Connecting => {}
        TransportState::Connected { srtp_profile } => {
            tracing::info!(%node, %transport, %srtp_profile, "transport connected");
            core.media_connected(transport);
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
                    // Why is said above, where the node says it.
                    _ if report.trouble.is_some() => {}
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
