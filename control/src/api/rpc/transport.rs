//! What publishing and subscribing have in common: a transport on the session's node, and our half of its description.

use std::time::Duration;

use link::TransportState;
use link::quic::master::NoReport;
use sdp::{LocalParameters, RemoteDescription};

use super::sessions::Member;
use crate::app::{App, Core};
use crate::domain::{Code, Refused};
use crate::media;
use crate::reconcile::{Pending, Place};

/// Orders a transport and waits until the node has made it: only the node knows its port.
pub async fn open(
    app: &App,
    member: &Member,
    order: impl FnOnce(&mut Core, &Place) -> Result<Pending, Refused>,
) -> Result<(Pending, LocalParameters), Refused> {
    let (pending, link, node) = app.step(|core| {
        let place = core.place_of(member)?;
        let link = core
            .registry
            .node(&place.node)
            .map(|node| node.link.clone())
            .ok_or_else(|| endpoint("its media node is gone"))?;
        Ok((order(core, &place)?, link, place.node))
    })?;
    let patience: Duration = app.config.node_answer_timeout;
    let reported = link
        .transport_report(pending.transport.clone(), patience)
        .await;
    // Stream or client went away meanwhile: that happens, and is nobody's fault.
    let withdrawn = reported == Err(NoReport::Withdrawn);
    let reported = reported.map_err(|error| endpoint(&error.to_string()));
    let local = reported.and_then(|report| {
        if let TransportState::Closed { reason } = report.state {
            return Err(endpoint(&format!("closed at once: {reason:?}")));
        }
        let fingerprint = link
            .hello()
            .and_then(|hello| media::node_fingerprint(&hello.dtls_fingerprints))
            .ok_or_else(|| endpoint("the media node has no certificate"))?;
        let (session_id, bandwidth) = app.step(|core| {
            if let (Some(node), Some(first)) =
                (core.registry.node_mut(&node), report.addresses.first())
            {
                node.media_address = Some(*first);
            }
            let defaults = app.config.video_bandwidth;
            let connection = core.domain.connection(&member.0, &member.1);
            let bandwidth = connection.map_or(defaults, |one| one.properties.bandwidth(defaults));
            (core.chance.next_u64(), bandwidth)
        });
        Ok(LocalParameters {
            session_id,
            session_version: 1,
            ice: media::sdp_ice(&pending.ice),
            fingerprint,
            candidates: report.addresses,
            transport_cc: app.config.transport_cc,
            audio_redundancy: app.config.audio_redundancy,
            video_receive_max: bandwidth.receive_max(),
            video_send_max: bandwidth.send_max(),
        })
    });
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
            Err(refused)
        }
    }
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
