//! What publishing and subscribing have in common: a transport on the session's node, and our half of its description.

use std::time::Duration;

use link::quic::master::NoReport;
use link::{Hello, TransportReport, TransportState};
use sdp::{LocalParameters, RemoteDescription};

use super::sessions::Member;
use crate::app::{App, Core};
use crate::domain::{Code, NodeId, Refused};
use crate::media;
use crate::reconcile::{Pending, Place};

/// Orders a transport and waits until the node has made it: only the node knows its port.
///
/// The master guesses how full a node is, the node knows: a session that it refuses, and that has nothing there yet, goes to another one, once.
pub async fn open(
    app: &App,
    member: &Member,
    order: impl Fn(&mut Core, &Place) -> Result<Pending, Refused>,
) -> Result<(Pending, LocalParameters), Refused> {
    let full = match open_here(app, member, &order).await {
        Err(NotOpen::Full(full)) => full,
        opened => return opened.map_err(NotOpen::into_refused),
    };
    if !app.step(|core| core.node_is_full(&full.node, &member.0)) {
        return Err(full.refused);
    }
    let opened = open_here(app, member, &order).await;
    if let Err(NotOpen::Full(full)) = &opened {
        // Whoever comes next tries elsewhere.
        app.step(|core| core.node_is_full(&full.node, &member.0));
    }
    opened.map_err(NotOpen::into_refused)
}

/// Why there is no transport.
enum NotOpen {
    /// The node has no room for it.
    Full(Full),
    Other(Refused),
}

struct Full {
    node: NodeId,
    refused: Refused,
}

impl NotOpen {
    fn into_refused(self) -> Refused {
        match self {
            Self::Full(full) => full.refused,
            Self::Other(refused) => refused,
        }
    }
}

impl From<Refused> for NotOpen {
    fn from(refused: Refused) -> Self {
        Self::Other(refused)
    }
}

async fn open_here(
    app: &App,
    member: &Member,
    order: &impl Fn(&mut Core, &Place) -> Result<Pending, Refused>,
) -> Result<(Pending, LocalParameters), NotOpen> {
    let (pending, link, node) = app.step(|core| {
        let place = core.place_of(member)?;
        let link = core
            .registry
            .node(&place.node)
            .map(|node| node.link.clone())
            .ok_or_else(|| endpoint("its media node is gone"))?;
        Ok::<_, Refused>((order(core, &place)?, link, place.node))
    })?;
    let patience: Duration = app.config().node_answer_timeout;
    let reported = link
        .transport_report(pending.transport.clone(), patience)
        .await;
    // Stream or client went away meanwhile: that happens, and is nobody's fault.
    let withdrawn = reported == Err(NoReport::Withdrawn);
    let full = matches!(reported, Err(NoReport::Refused(_)));
    let reported = reported.map_err(|error| endpoint(&error.to_string()));
    let local = reported
        .and_then(|report| ourselves(app, member, (&node, link.hello()), &pending.ice, report));
    match local {
        Ok(local) => {
            let described = &local;
            app.step(|core| core.media.described(&pending.transport, described));
            Ok((pending, local))
        }
        Err(refused) => {
            if !withdrawn {
                tracing::warn!(session = %member.0, connection = %member.1, %node, %refused, "no transport");
            }
            app.step(|core| core.media.abandon(&pending.transport));
            Err(match full {
                true => NotOpen::Full(Full { node, refused }),
                false => NotOpen::Other(refused),
            })
        }
    }
}

/// How we describe ourselves on a transport that a node has made.
fn ourselves(
    app: &App,
    member: &Member,
    (node, hello): (&NodeId, Option<Hello>),
    ice: &link::IceCredentials,
    report: TransportReport,
) -> Result<LocalParameters, Refused> {
    if let TransportState::Closed { reason } = report.state {
        return Err(endpoint(&format!("closed at once: {reason:?}")));
    }
    let fingerprint = hello
        .and_then(|hello| media::node_fingerprint(&hello.dtls_fingerprints))
        .ok_or_else(|| endpoint("the media node has no certificate"))?;
    let (session_id, bandwidth) = app.step(|core| {
        if let (Some(node), Some(first)) = (core.registry.node_mut(node), report.addresses.first())
        {
            node.media_address = Some(*first);
        }
        let defaults = app.config().video_bandwidth();
        let connection = core.domain.connection(&member.0, &member.1);
        let own = connection.map_or(defaults, |one| one.properties.bandwidth(defaults));
        let session = core.domain.session(&member.0);
        let bandwidth = session.map_or(own, |one| one.properties.limits.bandwidth(own));
        (core.chance.next_u64(), bandwidth)
    });
    Ok(LocalParameters {
        session_id,
        session_version: 1,
        ice: media::sdp_ice(ice),
        fingerprint,
        candidates: report.addresses,
        transport_cc: app.config().transport_cc,
        audio_redundancy: app.config().audio_redundancy,
        video_receive_max: bandwidth.receive_max(),
        video_send_max: bandwidth.send_max(),
    })
}

/// Reads a description of the client.
pub fn parse(text: &str) -> Result<RemoteDescription, Refused> {
    RemoteDescription::parse(text).map_err(|error| description(&error))
}

/// What is wrong with a client's description.
pub fn description(error: &sdp::Error) -> Refused {
    let code = match error {
        sdp::Error::ForcedCodecNotOffered(_) => Code::ForcedCodec,
        _ => Code::Sdp,
    };
    Refused::new(code, format!("SDP: {error}"))
}

/// The media node could not do it.
pub fn endpoint(why: &str) -> Refused {
    Refused::new(Code::MediaEndpoint, format!("Media endpoint: {why}"))
}
