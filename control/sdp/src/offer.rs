//! Our offer to a subscriber, and what its answer makes of it (RFC 3264 §5 and §7).

use serde::{Deserialize, Serialize};

use crate::codecs::{compatible, is_redundancy, redundancy_of};
use crate::error::Error;
use crate::extensions::offered;
use crate::model::{
    Codec, CodecMapping, Extension, Kind, LocalParameters, SubscribeMedia, SubscribeParameters,
    SubscribedMedia,
};
use crate::remote::{Direction, RemoteDescription, RemoteExtension, RemoteMedia, Setup};
use crate::session::Attribute;
use crate::write::{Section, Source, distinct, peer, section, session, subscriber_feedback};

/// The payload types that Chromium uses itself, each with that of its retransmissions.
const CANONICAL: [(&str, u8, u8); 6] = [
    ("opus", 111, 112),
    ("red", 63, 62),
    ("VP8", 96, 97),
    ("VP9", 98, 99),
    ("H264", 102, 103),
    ("AV1", 45, 46),
];

/// What we offered, to be kept until the answer comes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offered {
    /// The sections in order, as they would be if everything were accepted.
    pub media: Vec<SubscribedMedia>,
}

/// Offers to send `media`: audio as mid `0`, then video, at most one of each kind.
///
/// # Errors
///
/// [`Error::NoUsableMedia`] when there is nothing to send.
pub fn offer_subscriber(
    local: &LocalParameters,
    media: &[SubscribeMedia],
) -> Result<(String, Offered), Error> {
    let mut sent = Vec::new();
    let mut used = Vec::new();
    for kind in [Kind::Audio, Kind::Video] {
        let usable = |one: &&SubscribeMedia| one.kind == kind && !one.codecs.is_empty();
        if let Some(one) = media.iter().find(usable) {
            used.push(offered_media(one, local, &mut sent));
        }
    }
    if sent.is_empty() {
        return Err(Error::NoUsableMedia);
    }
    let offered = Offered { media: sent };
    let bundle: Vec<&str> = offered.media.iter().map(|one| one.mid.as_str()).collect();
    let mut offer = session(local, &bundle);
    offer.attributes.push(Attribute::flag("extmap-allow-mixed"));
    // RFC 8840: the client may answer before it has gathered.
    offer
        .attributes
        .push(Attribute::new("ice-options", "trickle"));
    offer.media = offered
        .media
        .iter()
        .zip(used)
        .map(|(agreed, one)| offered_section(local, agreed, one))
        .collect();
    Ok((offer.to_string(), offered))
}

/// What a subscriber accepted of our offer. Sections that it rejected are missing.
///
/// # Errors
///
/// When nothing is left, or the answer does not let it start DTLS on the one transport: see [`Error`].
pub fn accept_answer(
    offered: &Offered,
    answer: &RemoteDescription,
) -> Result<SubscribeParameters, Error> {
    let mut used = Vec::new();
    let mut media = Vec::new();
    for ours in &offered.media {
        let section = answer.media.iter().find(|section| section.mid == ours.mid);
        let Some(section) = section.filter(|section| takes(section, ours.kind)) else {
            continue;
        };
        if let Some(agreed) = accepted(ours, section) {
            used.push(section);
            media.push(agreed);
        }
    }
    let peer = peer(answer, &used, &[Setup::Active])?;
    Ok(SubscribeParameters {
        ice: peer.ice,
        fingerprints: peer.fingerprints,
        media,
    })
}

fn offered_media<'a>(
    one: &'a SubscribeMedia,
    local: &LocalParameters,
    sent: &mut Vec<SubscribedMedia>,
) -> &'a SubscribeMedia {
    let kind = one.kind;
    let retransmit = kind == Kind::Video && one.rtx_ssrc.is_some();
    let mut taken: Vec<u8> = sent
        .iter()
        .flat_map(|other: &SubscribedMedia| &other.codecs)
        .flat_map(|mapping| numbers(&mapping.codec))
        .collect();
    let mut codecs: Vec<CodecMapping> = Vec::new();
    for published in &one.codecs {
        let Some((payload_type, rtx)) = payload_types(&published.name, &taken) else {
            continue;
        };
        taken.extend([payload_type, rtx]);
        codecs.push(CodecMapping {
            published_payload_type: published.payload_type,
            codec: Codec {
                payload_type,
                rtx_payload_type: retransmit.then_some(rtx),
                feedback: subscriber_feedback(kind, local),
                ..published.clone()
            },
        });
    }
    describe_redundancy(&mut codecs);
    let extensions = offered(kind, &distinct(&codecs), local.transport_cc);
    sent.push(SubscribedMedia {
        kind,
        mid: sent.len().to_string(),
        ssrc: one.ssrc,
        rtx_ssrc: one.rtx_ssrc.filter(|_| retransmit),
        cname: one.cname.clone(),
        codecs,
        extensions,
        bandwidth_max: local.video_send_max.filter(|_| kind == Kind::Video),
    });
    one
}

/// A format that repeats another names that by its payload type here, and comes after it: it is the lesser one.
fn describe_redundancy(codecs: &mut [CodecMapping]) {
    codecs.sort_by_key(|mapping| is_redundancy(&mapping.codec));
    let (repeating, plain): (Vec<_>, Vec<_>) = codecs
        .iter_mut()
        .partition(|mapping| is_redundancy(&mapping.codec));
    let Some(plain) = plain.first() else {
        return;
    };
    for mapping in repeating {
        mapping.codec.fmtp = redundancy_of(&plain.codec);
    }
}

fn numbers(codec: &Codec) -> impl Iterator<Item = u8> {
    [Some(codec.payload_type), codec.rtx_payload_type]
        .into_iter()
        .flatten()
}

/// The usual pair for a codec, or else the first free one (RFC 5761 §4 keeps 64 to 95 away from RTP).
fn payload_types(name: &str, taken: &[u8]) -> Option<(u8, u8)> {
    let usual = CANONICAL
        .iter()
        .filter(|(codec, ..)| codec.eq_ignore_ascii_case(name))
        .map(|&(_, payload_type, rtx)| (payload_type, rtx));
    let reserved = |number: &u8| {
        let mut canonical = CANONICAL.iter();
        canonical.any(|(_, payload_type, rtx)| number == payload_type || number == rtx)
    };
    let spare = (104..127)
        .step_by(2)
        .chain((35..63).step_by(2))
        .map(|number| (number, number + 1))
        .filter(|(payload_type, rtx)| !reserved(payload_type) && !reserved(rtx));
    usual
        .chain(spare)
        .find(|(payload_type, rtx)| !taken.contains(payload_type) && !taken.contains(rtx))
}

fn offered_section(
    local: &LocalParameters,
    agreed: &SubscribedMedia,
    one: &SubscribeMedia,
) -> crate::session::MediaSection {
    let extensions = agreed.extensions.iter().map(|extension| RemoteExtension {
        id: extension.id,
        direction: None,
        uri: extension.uri.clone(),
    });
    let ours = Section {
        kind: agreed.kind,
        mid: &agreed.mid,
        protocol: "UDP/TLS/RTP/SAVPF",
        direction: Direction::SendOnly,
        codecs: distinct(&agreed.codecs),
        extensions: extensions.collect(),
        rtcp_rsize: true,
        rids: Vec::new(),
        simulcast: false,
        receive_max: None,
        source: Some(Source {
            ssrc: agreed.ssrc,
            rtx_ssrc: agreed.rtx_ssrc,
            cname: &agreed.cname,
            msid: &one.msid,
        }),
    };
    // RFC 5763 §5: an offer leaves the choice, and as the ICE-lite end we hope for an active peer.
    section(local, &ours, "actpass")
}

fn takes(section: &RemoteMedia, kind: Kind) -> bool {
    let same = section.media_type.kind() == Some(kind);
    same && !section.rejected && section.direction.receives()
}

/// One section as the client wants it; `None` when it took none of the codecs.
fn accepted(ours: &SubscribedMedia, section: &RemoteMedia) -> Option<SubscribedMedia> {
    let codecs: Vec<CodecMapping> = ours
        .codecs
        .iter()
        .filter_map(|mapping| {
            let codec = answered(&mapping.codec, &section.codecs)?;
            Some(CodecMapping {
                published_payload_type: mapping.published_payload_type,
                codec,
            })
        })
        .collect();
    if codecs.iter().all(|one| is_redundancy(&one.codec)) {
        return None;
    }
    let rtx = codecs
        .iter()
        .any(|mapping| mapping.codec.rtx_payload_type.is_some());
    // The peer receives what it does not mark as sent only (RFC 8285 §7).
    let wanted = |extension: &&Extension| {
        section.extensions.iter().any(|theirs| {
            theirs.uri == extension.uri && theirs.direction.is_none_or(Direction::receives)
        })
    };
    let extensions = ours.extensions.iter().filter(wanted).map(|extension| {
        let mut theirs = section.extensions.iter();
        let id = theirs.find(|theirs| theirs.uri == extension.uri);
        Extension {
            id: id.map_or(extension.id, |theirs| theirs.id),
            uri: extension.uri.clone(),
        }
    });
    Some(SubscribedMedia {
        rtx_ssrc: ours.rtx_ssrc.filter(|_| rtx),
        extensions: extensions.collect(),
        codecs,
        ..ours.clone()
    })
}

/// Our codec with what the answer makes of it. The answer's payload types are what the client expects (RFC 3264 §6.1 asks
/// it to keep ours, but leaves it free), its parameters what it can decode.
fn answered(ours: &Codec, theirs: &[Codec]) -> Option<Codec> {
    let same = |codec: &&Codec| {
        codec.payload_type == ours.payload_type && codec.name.eq_ignore_ascii_case(&ours.name)
    };
    let found = theirs
        .iter()
        .find(same)
        .or_else(|| theirs.iter().find(|codec| compatible(ours, codec)))?;
    Some(Codec {
        payload_type: found.payload_type,
        rtx_payload_type: ours.rtx_payload_type.and(found.rtx_payload_type),
        feedback: ours.feedback.and(found.feedback),
        ..ours.clone()
    })
}
