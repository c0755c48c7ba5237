//! Sending: `publishVideo`, `unpublishVideo`, `streamPropertyChanged`, and a publisher's `reconnectStream`.

use sdp::{
    CodecPreferences, LocalParameters, PublishParameters, RemoteDescription, SubscribeParameters,
    VideoCodec,
};
use serde_json::{Map, Value, json};

use super::sessions::Member;
use super::{Call, Outcome, force, object, transport};
use crate::app::{Core, now_millis};
use crate::domain::{Code, Refused, SessionId, Stream, StreamId, StreamProperties};
use crate::reconcile::{Owner, Pending, Publishing, Reconciler};

/// `publishVideo`
pub async fn publish(call: &Call, member: &Member) {
    let properties = properties(call);
    let offer = call.request.text("sdpOffer").and_then(transport::parse);
    let stream = call.app.step(|core| {
        let chance = core.chance.as_mut();
        core.domain
            .begin_publish(&member.0, &member.1, &properties, chance)
    });
    let stream = match stream {
        Ok(stream) => stream,
        Err(refused) => return call.refuse(refused),
    };
    let loopback = call.request.flag("doLoopback");
    let negotiated = match &offer {
        Ok(offer) => negotiate(call, member, &stream, offer, loopback).await,
        Err(refused) => Err(refused.clone()),
    };
    call.finish(|core| {
        let published = negotiated.and_then(|negotiated| {
            if !core.rpc.is_open(call.socket) {
                // The client will never learn of this stream: it would stay a ghost.
                return Err(Refused::new(Code::TransportGeneric, "The socket is gone"));
            }
            let published = complete(core, member, &stream, properties, &negotiated)?;
            let owner = Owner::Publication(member.0.clone(), stream.clone());
            if let Ok(offer) = &offer {
                core.media.note_peer(&owner, offer);
            }
            Ok(published)
        });
        if published.is_err() {
            core.domain.abandon_publish(&member.0, &member.1, &stream);
            core.media.stream_gone(&member.0, &stream);
        }
        published
    });
}

/// `reconnectStream` of a publisher: a new transport under the same stream, whose subscribers stay attached.
pub async fn reconnect(call: &Call, member: &Member, stream: &StreamId) {
    let offer = call
        .request
        .text("sdpString")
        .or_else(|refused| call.request.optional_text("sdpOffer").ok_or(refused))
        .and_then(transport::parse);
    let offer = match offer {
        Ok(offer) => offer,
        Err(refused) => return call.refuse(refused),
    };
    let owner = Owner::Publication(member.0.clone(), stream.clone());
    let (loopback, is_restart) = call.app.step(|core| {
        let media = &core.media;
        let loopback = media.wants_loopback(&member.0, stream);
        (loopback, media.is_restart(&owner, &offer))
    });
    if is_restart {
        return call.finish(|core| restart(core, member, stream, &offer));
    }
    let negotiated = negotiate(call, member, stream, &offer, loopback).await;
    let mut has_others = false;
    call.finish(|core| {
        let negotiated = negotiated?;
        let live = core.domain.stream(&member.0, stream)?.clone();
        let before = core.media.published_codecs(&member.0, stream);
        let is_screen = live.properties.is_screen();
        commit(core, (&member.0, stream), is_screen, &negotiated)?;
        core.media.note_peer(&owner, &offer);
        has_others = before != core.media.published_codecs(&member.0, stream);
        Ok(result(&live, &negotiated.answer))
    });
    if has_others {
        // Under the payload types that subscribers know comes something else now, or nothing.
        let (app, session, stream) = (call.app.clone(), member.0.clone(), stream.clone());
        tokio::spawn(async move { force::reconnect_all(&app, &session, &stream, None).await });
    }
}

/// The publisher's connection goes on and begins ICE anew: its transport stays, keys and all.
fn restart(
    core: &mut Core,
    member: &Member,
    stream: &StreamId,
    offer: &RemoteDescription,
) -> Outcome {
    let owner = Owner::Publication(member.0.clone(), stream.clone());
    let live = core.domain.stream(&member.0, stream)?.clone();
    let local = core.media.restarted(&owner, core.chance.as_mut());
    let local = local.map_err(|overtaken| transport::endpoint(&overtaken.to_string()))?;
    let preferences = preferences(core, &member.0);
    let answered = match answer(offer, &local, &preferences.codecs, None) {
        Err(sdp::Error::ForcedCodecNotOffered(_)) if preferences.may_differ => {
            answer(offer, &local, &CodecPreferences::default(), None)
        }
        answered => answered,
    };
    let (text, agreed, _) = answered.map_err(|error| transport::description(&error))?;
    core.media
        .restart(&owner, local, &agreed.ice, &agreed.media)
        .map_err(|error| transport::endpoint(&error.to_string()))?;
    tracing::info!(session = %member.0, %stream, "ICE restarted by the publisher");
    Ok(result(&live, &text))
}

/// `unpublishVideo`
pub fn unpublish(call: &Call, member: &Member) {
    call.finish(|core| {
        core.domain.unpublish(&member.0, &member.1)?;
        Ok(Map::new())
    });
}

/// `streamPropertyChanged`
pub fn property_changed(call: &Call, member: &Member) {
    call.finish(|core| {
        let request = &call.request;
        let stream = StreamId::new(request.text("streamId")?);
        let value = request.params.get("newValue").unwrap_or(&Value::Null);
        core.domain.change_stream(
            &member.0,
            &member.1,
            &stream,
            request.text("property")?,
            value,
            request.optional_text("reason").unwrap_or(""),
        )?;
        Ok(Map::new())
    });
}

/// A publisher's offer and our answer to it, not in force yet.
struct Negotiated {
    pending: Pending,
    answer: String,
    agreed: PublishParameters,
    loopback: Option<SubscribeParameters>,
}

async fn negotiate(
    call: &Call,
    member: &Member,
    stream: &StreamId,
    offer: &RemoteDescription,
    loopback: bool,
) -> Result<Negotiated, Refused> {
    let (pending, local) = transport::open(&call.app, member, |core, place| {
        let chance = core.chance.as_mut();
        Ok(core
            .media
            .begin_publication(place, &member.0, stream, chance))
    })
    .await?;
    let preferences = call.app.step(|core| preferences(core, &member.0));
    let own = loopback.then(|| {
        call.app
            .step(|core| Reconciler::loopback_media(stream, core.chance.as_mut()))
    });
    let answered = match answer(offer, &local, &preferences.codecs, own.as_deref()) {
        Err(sdp::Error::ForcedCodecNotOffered(_)) if preferences.may_differ => {
            answer(offer, &local, &CodecPreferences::default(), own.as_deref())
        }
        answered => answered,
    };
    match answered {
        Ok((answer, agreed, loopback)) => Ok(Negotiated {
            pending,
            answer,
            agreed,
            loopback,
        }),
        Err(error) => {
            call.app.step(|core| core.media.abandon(&pending.transport));
            Err(transport::description(&error))
        }
    }
}

type Answered = (String, PublishParameters, Option<SubscribeParameters>);

fn answer(
    offer: &RemoteDescription,
    local: &LocalParameters,
    codecs: &CodecPreferences,
    own: Option<&[sdp::SubscribeMedia]>,
) -> Result<Answered, sdp::Error> {
    match own {
        Some(media) => sdp::answer_loopback(offer, local, codecs, media)
            .map(|(text, agreed, back)| (text, agreed, Some(back))),
        None => {
            sdp::answer_publisher(offer, local, codecs).map(|(text, agreed)| (text, agreed, None))
        }
    }
}

fn complete(
    core: &mut Core,
    member: &Member,
    stream: &StreamId,
    mut properties: StreamProperties,
    negotiated: &Negotiated,
) -> Outcome {
    // Subscribers negotiate what the stream says that it has: it may not promise what was not agreed on.
    let has = |kind| {
        negotiated
            .agreed
            .media
            .iter()
            .any(|media| media.kind == kind)
    };
    properties.has_audio &= has(sdp::Kind::Audio);
    properties.has_video &= has(sdp::Kind::Video);
    let is_screen = properties.is_screen();
    commit(core, (&member.0, stream), is_screen, negotiated)?;
    core.media_agreed(member, &negotiated.pending.transport);
    let live =
        core.domain
            .complete_publish(&member.0, &member.1, stream, properties, now_millis())?;
    core.reshape(&member.0);
    tracing::info!(session = %member.0, stream = %live.id, "published");
    Ok(result(&live, &negotiated.answer))
}

fn commit(
    core: &mut Core,
    (session, stream): (&SessionId, &StreamId),
    is_screen: bool,
    negotiated: &Negotiated,
) -> Result<(), Refused> {
    let publishing = Publishing {
        agreed: &negotiated.agreed,
        loopback: negotiated.loopback.as_ref(),
        is_screen,
    };
    core.media
        .commit_publication(
            session,
            stream,
            &negotiated.pending.transport,
            publishing,
            core.chance.as_mut(),
        )
        .map_err(|overtaken| transport::endpoint(&overtaken.to_string()))
}

fn result(stream: &Stream, answer: &str) -> Map<String, Value> {
    object([
        ("id", json!(stream.id)),
        ("sdpAnswer", json!(answer)),
        ("createdAt", json!(stream.created_at)),
    ])
}

struct Preferences {
    codecs: CodecPreferences,
    may_differ: bool,
}

fn preferences(core: &Core, session: &SessionId) -> Preferences {
    let properties = core
        .domain
        .session(session)
        .map(|session| &session.properties);
    let forced =
        properties.and_then(|properties| VideoCodec::from_name(&properties.forced_video_codec));
    Preferences {
        codecs: forced.map_or_else(CodecPreferences::default, CodecPreferences::forced),
        may_differ: properties.is_some_and(|properties| properties.allow_transcoding),
    }
}

fn properties(call: &Call) -> StreamProperties {
    let request = &call.request;
    let text = |name| request.optional_text(name).map(str::to_owned);
    let flag = |name: &str| request.params.get(name).and_then(Value::as_bool);
    let has_video = request.flag("hasVideo");
    StreamProperties {
        has_audio: request.flag("hasAudio"),
        has_video,
        audio_active: flag("audioActive"),
        video_active: flag("videoActive"),
        type_of_video: text("typeOfVideo").filter(|_| has_video),
        frame_rate: request
            .params
            .get("frameRate")
            .and_then(Value::as_f64)
            .map(|rate| rate as i64),
        video_dimensions: text("videoDimensions"),
        filter: request
            .params
            .get("filter")
            .filter(|one| one.is_object())
            .cloned(),
    }
}
