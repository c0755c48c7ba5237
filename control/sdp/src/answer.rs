//! Answers to the offers of publishers and, where the client offers to receive, of subscribers (RFC 3264 §6, RFC 9429 §5.3).

use crate::codecs::{CodecPreferences, choose, compatible, is_redundancy, parameter, redundancy};
use crate::error::Error;
use crate::extensions::{RID, useful_from_publisher, useful_to_subscriber};
use crate::model::{
    Codec, CodecMapping, Encoding, Extension, Kind, LocalParameters, PublishParameters,
    PublishedMedia, SubscribeMedia, SubscribeParameters, SubscribedMedia,
};
use crate::remote::{Direction, RemoteDescription, RemoteExtension, RemoteMedia, Rid, Setup};
use crate::write::{
    Section, Source, announced, distinct, peer, publisher_feedback, rejected, section, session,
    subscriber_feedback,
};

/// The most simulcast encodings that are taken of one video. OpenVidu clients send up to three.
const MAX_ENCODINGS: usize = 8;

/// RFC 5763 §5: the offer lets us be the server.
const SETUPS: [Setup; 2] = [Setup::Actpass, Setup::Active];

/// Answers the offer of a client that publishes: we receive what it sends, one section of each kind.
///
/// # Errors
///
/// [`Error::ForcedCodecNotOffered`] when `preferences` insist on a codec that is not there; otherwise when the offer has
/// nothing for us, or can't be served by one transport with us as ICE-lite DTLS server: see [`Error`].
pub fn answer_publisher(
    offer: &RemoteDescription,
    local: &LocalParameters,
    preferences: &CodecPreferences,
) -> Result<(String, PublishParameters), Error> {
    let (text, published, _) = answer_loopback(offer, local, preferences, &[])?;
    Ok((text, published))
}

/// Answers the offer of a client that publishes and wants its own media back on the same transport (`doLoopback`): what
/// it offers `sendrecv` and `media` has a source for goes both ways. The codecs in `media` are not looked at.
///
/// # Errors
///
/// As [`answer_publisher`].
pub fn answer_loopback(
    offer: &RemoteDescription,
    local: &LocalParameters,
    preferences: &CodecPreferences,
    media: &[SubscribeMedia],
) -> Result<(String, PublishParameters, SubscribeParameters), Error> {
    let plans = offer
        .media
        .iter()
        .scan(Vec::new(), |taken, remote| {
            Some(plan_publisher(remote, local, preferences, media, taken))
        })
        .collect::<Result<Vec<_>, _>>()?;
    finish(offer, local, plans)
}

/// Answers the offer of a client that subscribes (`recvonly`): we send `media` in the client's payload types, as far as it
/// can decode what the publisher sends.
///
/// # Errors
///
/// When nothing of `media` can be sent, or the offer can't be served by one transport with us as ICE-lite DTLS server:
/// see [`Error`].
pub fn answer_subscriber(
    offer: &RemoteDescription,
    local: &LocalParameters,
    media: &[SubscribeMedia],
) -> Result<(String, SubscribeParameters), Error> {
    let plans = offer
        .media
        .iter()
        .scan(Vec::new(), |taken, remote| {
            Some(plan_subscriber(remote, local, media, taken))
        })
        .collect();
    let (text, _, subscribed) = finish(offer, local, plans)?;
    Ok((text, subscribed))
}

/// What becomes of one offered section; `None` rejects it.
type Plan<'a> = Option<Used<'a>>;

struct Used<'a> {
    remote: &'a RemoteMedia,
    section: Section<'a>,
    published: Option<PublishedMedia>,
    subscribed: Option<SubscribedMedia>,
}

fn plan_publisher<'a>(
    remote: &'a RemoteMedia,
    local: &LocalParameters,
    preferences: &CodecPreferences,
    media: &'a [SubscribeMedia],
    taken: &mut Vec<Kind>,
) -> Result<Plan<'a>, Error> {
    let Some(kind) = forwardable(remote) else {
        return Ok(None);
    };
    if !remote.direction.sends() {
        return Ok(inactive(remote, kind));
    }
    if taken.contains(&kind) {
        return Ok(None);
    }
    let Some(mut codec) = choose(kind, &remote.codecs, preferences)? else {
        return Ok(None);
    };
    taken.push(kind);
    codec.feedback = codec.feedback.and(publisher_feedback(kind, local));
    let back = media
        .iter()
        .find(|one| one.kind == kind && remote.direction.receives());
    let direction = match back {
        Some(_) => Direction::SendRecv,
        None => Direction::RecvOnly,
    };
    let codecs = with_redundancy(codec, remote, local);
    let extensions = Extensions::negotiate(remote, kind, direction, &codecs, local.transport_cc);
    let (rids, simulcast) = accepted_rids(remote, &codecs, &extensions.incoming);
    let receive_max = local.video_receive_max.filter(|_| kind == Kind::Video);
    let published = PublishedMedia {
        kind,
        mid: remote.mid.clone(),
        encodings: encodings(remote, &rids, &codecs),
        codecs: codecs.clone(),
        extensions: extensions.incoming,
        bandwidth_max: receive_max,
    };
    let subscribed = back.map(|one| {
        let mappings = codecs.iter().map(|codec| CodecMapping {
            published_payload_type: codec.payload_type,
            codec: Codec {
                feedback: codec.feedback.and(subscriber_feedback(kind, local)),
                rtx_payload_type: one.rtx_ssrc.and(codec.rtx_payload_type),
                ..codec.clone()
            },
        });
        subscribed(one, remote, mappings.collect(), extensions.outgoing, local)
    });
    Ok(Some(Used {
        remote,
        section: Section {
            kind,
            mid: &remote.mid,
            protocol: &remote.protocol,
            direction,
            codecs,
            extensions: extensions.written,
            rtcp_rsize: remote.rtcp_rsize,
            rids,
            simulcast,
            receive_max,
            source: back.zip(subscribed.as_ref()).map(source),
        },
        published: Some(published),
        subscribed,
    }))
}

/// What a publisher may send. It repeats its sound only where we name that first.
fn with_redundancy(codec: Codec, remote: &RemoteMedia, local: &LocalParameters) -> Vec<Codec> {
    let wanted = local.audio_redundancy && remote.media_type.kind() == Some(Kind::Audio);
    let repeating = redundancy(&codec, &remote.codecs).filter(|_| wanted);
    let repeating = repeating.map(|repeating| Codec {
        name: "red".to_owned(),
        feedback: repeating.feedback.and(codec.feedback),
        ..repeating.clone()
    });
    repeating.into_iter().chain([codec]).collect()
}

fn plan_subscriber<'a>(
    remote: &'a RemoteMedia,
    local: &LocalParameters,
    media: &'a [SubscribeMedia],
    taken: &mut Vec<Kind>,
) -> Plan<'a> {
    let kind = forwardable(remote)?;
    let wanted = remote.direction.receives() && !taken.contains(&kind);
    let Some(one) = media.iter().find(|one| wanted && one.kind == kind) else {
        return inactive(remote, kind);
    };
    let feedback = subscriber_feedback(kind, local);
    let mappings: Vec<CodecMapping> = one
        .codecs
        .iter()
        .filter_map(|published| {
            let found = remote
                .codecs
                .iter()
                .find(|codec| compatible(published, codec) && is_whole(codec, remote))?;
            Some(CodecMapping {
                published_payload_type: published.payload_type,
                codec: Codec {
                    // As the publisher's was written, which is as registered.
                    name: published.name.clone(),
                    rtx_payload_type: one.rtx_ssrc.and(found.rtx_payload_type),
                    feedback: found.feedback.and(feedback),
                    ..found.clone()
                },
            })
        })
        .collect();
    if mappings.iter().all(|one| is_redundancy(&one.codec)) {
        return inactive(remote, kind);
    }
    taken.push(kind);
    let codecs = distinct(&mappings);
    let direction = Direction::SendOnly;
    let extensions = Extensions::negotiate(remote, kind, direction, &codecs, local.transport_cc);
    let subscribed = subscribed(one, remote, mappings, extensions.outgoing, local);
    Some(Used {
        remote,
        section: Section {
            kind,
            mid: &remote.mid,
            protocol: &remote.protocol,
            direction,
            codecs,
            extensions: extensions.written,
            rtcp_rsize: remote.rtcp_rsize,
            rids: Vec::new(),
            simulcast: false,
            receive_max: None,
            source: Some(source((one, &subscribed))),
        },
        published: None,
        subscribed: Some(subscribed),
    })
}

/// A format that repeats is of use only with the one format that it repeats.
fn is_whole(codec: &Codec, remote: &RemoteMedia) -> bool {
    !is_redundancy(codec)
        || choose(Kind::Audio, &remote.codecs, &CodecPreferences::default())
            .ok()
            .flatten()
            .and_then(|opus| redundancy(&opus, &remote.codecs))
            .is_some_and(|repeating| repeating.payload_type == codec.payload_type)
}

/// The kind of a section that could be ours at all.
fn forwardable(remote: &RemoteMedia) -> Option<Kind> {
    // RFC 9429 §5.1.2: the prefix of the profile is history and not to be trusted.
    let secure = remote.protocol.ends_with("RTP/SAVPF");
    remote
        .media_type
        .kind()
        .filter(|_| secure && !remote.rejected)
}

/// A section that is kept for its place in the bundle though nothing flows; rejected if we know none of its codecs.
fn inactive(remote: &RemoteMedia, kind: Kind) -> Plan<'_> {
    let mut codec = choose(kind, &remote.codecs, &CodecPreferences::default()).ok()??;
    codec.rtx_payload_type = None;
    codec.feedback = Default::default();
    Some(Used {
        remote,
        section: Section {
            kind,
            mid: &remote.mid,
            protocol: &remote.protocol,
            direction: Direction::Inactive,
            codecs: vec![codec],
            extensions: Vec::new(),
            rtcp_rsize: remote.rtcp_rsize,
            rids: Vec::new(),
            simulcast: false,
            receive_max: None,
            source: None,
        },
        published: None,
        subscribed: None,
    })
}

fn subscribed(
    one: &SubscribeMedia,
    remote: &RemoteMedia,
    codecs: Vec<CodecMapping>,
    extensions: Vec<Extension>,
    local: &LocalParameters,
) -> SubscribedMedia {
    let rtx = codecs
        .iter()
        .any(|mapping| mapping.codec.rtx_payload_type.is_some());
    SubscribedMedia {
        kind: one.kind,
        mid: remote.mid.clone(),
        ssrc: one.ssrc,
        rtx_ssrc: one.rtx_ssrc.filter(|_| rtx),
        cname: one.cname.clone(),
        codecs,
        extensions,
        bandwidth_max: local.video_send_max.filter(|_| one.kind == Kind::Video),
    }
}

fn source<'a>((one, agreed): (&'a SubscribeMedia, &SubscribedMedia)) -> Source<'a> {
    Source {
        ssrc: one.ssrc,
        rtx_ssrc: agreed.rtx_ssrc,
        cname: &one.cname,
        msid: &one.msid,
    }
}

/// Writes the answer and gathers what was agreed.
fn finish(
    offer: &RemoteDescription,
    local: &LocalParameters,
    plans: Vec<Plan<'_>>,
) -> Result<(String, PublishParameters, SubscribeParameters), Error> {
    let used: Vec<&RemoteMedia> = plans.iter().flatten().map(|used| used.remote).collect();
    let flows = |used: &Used<'_>| used.published.is_some() || used.subscribed.is_some();
    if !plans.iter().flatten().any(flows) {
        return Err(Error::NoUsableMedia);
    }
    let peer = peer(offer, &used, &SETUPS)?;
    let grouped = |mid: &&str| {
        let of = |mids: &Vec<String>| mids.iter().any(|one| one == mid);
        offer.bundles.iter().any(of)
    };
    let mids: Vec<&str> = used.iter().map(|remote| remote.mid.as_str()).collect();
    let bundle: Vec<&str> = mids.into_iter().filter(grouped).collect();
    let mut answer = session(local, &bundle);
    // RFC 8285 §6: only in answer to an offer that has it, and then at session level if all have it.
    if used.iter().all(|remote| remote.extmap_allow_mixed) {
        answer
            .attributes
            .push(crate::session::Attribute::flag("extmap-allow-mixed"));
    }
    answer.media = offer
        .media
        .iter()
        .zip(&plans)
        .map(|(remote, plan)| match plan {
            Some(used) => section(local, &used.section, "passive"),
            None => rejected(remote),
        })
        .collect();
    let mut published = PublishParameters {
        ice: peer.ice.clone(),
        fingerprints: peer.fingerprints.clone(),
        media: Vec::new(),
    };
    let mut subscribed = SubscribeParameters {
        ice: peer.ice,
        fingerprints: peer.fingerprints,
        media: Vec::new(),
    };
    for used in plans.into_iter().flatten() {
        published.media.extend(used.published);
        subscribed.media.extend(used.subscribed);
    }
    Ok((answer.to_string(), published, subscribed))
}

/// The header extensions of one section.
struct Extensions {
    /// As we write them.
    written: Vec<RemoteExtension>,
    /// What may come.
    incoming: Vec<Extension>,
    /// What we may send.
    outgoing: Vec<Extension>,
}

impl Extensions {
    fn negotiate(
        remote: &RemoteMedia,
        kind: Kind,
        ours: Direction,
        codecs: &[Codec],
        transport_cc: bool,
    ) -> Self {
        let mut all = Self {
            written: Vec::new(),
            incoming: Vec::new(),
            outgoing: Vec::new(),
        };
        for offered in &remote.extensions {
            let repeated = |one: &RemoteExtension| one.id == offered.id || one.uri == offered.uri;
            if all.written.iter().any(repeated) {
                continue;
            }
            let uri = offered.uri.as_str();
            let theirs = offered.direction.unwrap_or(Direction::SendRecv);
            let comes =
                ours.receives() && theirs.sends() && useful_from_publisher(uri, kind, transport_cc);
            let goes = ours.sends()
                && theirs.receives()
                && useful_to_subscriber(uri, kind, codecs, transport_cc);
            let extension = Extension {
                id: offered.id,
                uri: uri.to_owned(),
            };
            if comes {
                all.incoming.push(extension.clone());
            }
            if goes {
                all.outgoing.push(extension);
            }
            if comes || goes {
                // RFC 8285 §7: the direction is turned around as that of the section is. Firefox takes an extension
                // that comes back as it was for one that it may not send.
                all.written.push(RemoteExtension {
                    direction: offered.direction.map(Direction::flipped),
                    ..offered.clone()
                });
            }
        }
        all
    }
}

/// The offered encodings that we take, and whether they are simulcast.
fn accepted_rids(
    remote: &RemoteMedia,
    codecs: &[Codec],
    extensions: &[Extension],
) -> (Vec<Rid>, bool) {
    // Without the header extension we could not tell them apart.
    if !extensions.iter().any(|extension| extension.uri == RID) {
        return (Vec::new(), false);
    }
    let declared = |id: &str| {
        let rid = remote.rids.iter().find(|rid| rid.send && rid.id == id)?;
        restrict(rid, codecs)
    };
    let mut rids: Vec<Rid> = Vec::new();
    if remote.simulcast_send.is_empty() {
        let only = remote.rids.iter().find(|rid| rid.send);
        rids.extend(only.and_then(|rid| restrict(rid, codecs)));
        return (rids, false);
    }
    for id in &remote.simulcast_send {
        let known = rids.iter().any(|rid| rid.id == *id);
        if !known && rids.len() < MAX_ENCODINGS {
            rids.extend(declared(id));
        }
    }
    let simulcast = !rids.is_empty();
    (rids, simulcast)
}

/// RFC 8851 §6: restrictions stay, `pt=` is cut down to what the answer has; `None` if nothing is left of it.
fn restrict(rid: &Rid, codecs: &[Codec]) -> Option<Rid> {
    let Some(list) = parameter(&rid.restrictions, "pt") else {
        return Some(rid.clone());
    };
    let chosen = |word: &&str| {
        let number = word.trim().parse().ok();
        codecs.iter().any(|codec| {
            number == Some(codec.payload_type)
                || number.is_some() && number == codec.rtx_payload_type
        })
    };
    let kept: Vec<&str> = list.split(',').filter(chosen).collect();
    if kept.is_empty() {
        return None;
    }
    let mut pairs = vec![format!("pt={}", kept.join(","))];
    let others = rid
        .restrictions
        .split(';')
        .filter(|pair| !pair.trim_start().starts_with("pt="));
    pairs.extend(others.map(str::to_owned));
    Some(Rid {
        restrictions: pairs.join(";"),
        ..rid.clone()
    })
}

/// The encodings as the node is told of them.
fn encodings(remote: &RemoteMedia, rids: &[Rid], codecs: &[Codec]) -> Vec<Encoding> {
    let rtx = codecs.iter().any(|codec| codec.rtx_payload_type.is_some());
    match rids {
        [] => announced(remote)
            .into_iter()
            .take(MAX_ENCODINGS)
            .map(|(ssrc, rtx_ssrc)| Encoding {
                rid: None,
                ssrc,
                rtx_ssrc: rtx_ssrc.filter(|_| rtx),
            })
            .collect(),
        // No standard says which SSRC is which RID: the packets do.
        _ => rids
            .iter()
            .map(|rid| Encoding {
                rid: Some(rid.id.clone()),
                ssrc: None,
                rtx_ssrc: None,
            })
            .collect(),
    }
}
