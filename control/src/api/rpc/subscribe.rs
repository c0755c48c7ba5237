//! Receiving: `prepareReceiveVideoFrom`, `receiveVideoFrom`, `unsubscribeFromVideo`, and a subscriber's `reconnectStream`.

use sdp::{LocalParameters, RemoteDescription, SubscribeMedia};
use serde_json::{Map, json};

use super::sessions::Member;
use super::{Call, Outcome, force, object, transport};
use crate::app::{App, Core, now_millis};
use crate::domain::{ConnectionId, Refused, StreamId};
use crate::reconcile::Owner;

/// `prepareReceiveVideoFrom`: we offer.
pub async fn prepare(call: &Call, member: &Member) {
    let outcome = offer(call, member).await;
    call.finish(|_| outcome);
}

/// `receiveVideoFrom`: the client answers our offer, or makes its own.
pub async fn receive(call: &Call, member: &Member) {
    let stream = match call.request.text("sender") {
        Ok(sender) => StreamId::new(sender),
        Err(refused) => return call.refuse(refused),
    };
    match call.request.optional_text("sdpAnswer") {
        Some(answer) => accept(call, member, &stream, answer),
        None => answer(call, member, &stream).await,
    }
}

/// `reconnectStream` of a subscriber: the same two ways under other names.
pub async fn reconnect(call: &Call, member: &Member, stream: &StreamId) {
    match call.request.optional_text("sdpString") {
        Some(answer) => accept(call, member, stream, answer),
        None => answer(call, member, stream).await,
    }
}

/// `unsubscribeFromVideo`
pub fn unsubscribe(call: &Call, member: &Member) {
    call.finish(|core| {
        let publisher = ConnectionId::new(call.request.text("sender")?);
        core.domain.unsubscribe(&member.0, &member.1, &publisher)?;
        Ok(Map::new())
    });
}

async fn offer(call: &Call, member: &Member) -> Outcome {
    let stream = StreamId::new(call.request.text("sender")?);
    if call.request.flag("iceRestart") {
        return call.app.step(|core| offer_restart(core, member, &stream));
    }
    offer_anew(&call.app, member, &stream, |_, offer| {
        Ok(object([("sdpOffer", json!(offer))]))
    })
    .await
}

/// Offers a stream on a transport of its own, and says so by `tell`.
pub async fn offer_anew<T>(
    app: &App,
    member: &Member,
    stream: &StreamId,
    tell: impl FnOnce(&mut Core, String) -> Result<T, Refused>,
) -> Result<T, Refused> {
    let (pending, local) = open(app, member, stream).await?;
    let id = pending.transport.clone();
    app.step(|core| {
        let offered = media(core, member, stream).and_then(|media| {
            sdp::offer_subscriber(&local, &media).map_err(|error| transport::description(&error))
        });
        let told = offered.and_then(|(text, offered)| {
            core.media
                .keep_offer(&member.0, &member.1, stream, &id, offered)
                .map_err(|overtaken| transport::endpoint(&overtaken.to_string()))?;
            tell(core, text)
        });
        if told.is_err() {
            core.media.abandon(&id);
        }
        told
    })
}

/// The client's answer to our newest offer.
fn accept(call: &Call, member: &Member, stream: &StreamId, answer: &str) {
    let answer = transport::parse(answer);
    call.finish(|core| {
        let answer = answer?;
        let node = core.place(&member.0)?;
        core.expect_up(&node)?;
        let owner = owner(member, stream);
        if let Some((local, offered)) = core.media.open_restart(&owner, &answer) {
            let agreed = sdp::accept_answer(&offered, &answer)
                .map_err(|error| transport::description(&error))?;
            restart(core, &owner, local, &agreed)?;
            return Ok(Map::new());
        }
        let open = core.media.open_offer(&member.0, &member.1, stream);
        if open.is_none() && call.request.flag("forciblyReconnect") {
            // Overtaken by a negotiation of its own; the client has given up what it had for that offer, so it needs another.
            force::soon(&call.app, member, stream);
        }
        let (id, offered) =
            open.ok_or_else(|| transport::endpoint("no offer waits for this answer"))?;
        let agreed = sdp::accept_answer(&offered, &answer).map_err(|error| {
            core.media.abandon(&id);
            transport::description(&error)
        })?;
        commit(core, member, stream, &id, &agreed)?;
        core.media.note_peer(&owner, &answer);
        Ok(Map::new())
    });
}

/// Our answer to the client's offer.
async fn answer(call: &Call, member: &Member, stream: &StreamId) {
    let offer = call.request.text("sdpOffer").and_then(transport::parse);
    let offer = match offer {
        Ok(offer) => offer,
        Err(refused) => return call.refuse(refused),
    };
    let owner = owner(member, stream);
    if call.app.step(|core| core.media.is_restart(&owner, &offer)) {
        return call.finish(|core| answer_restart(core, &owner, &offer));
    }
    let opened = open(&call.app, member, stream).await;
    call.finish(|core| {
        let (pending, local) = opened?;
        let id = pending.transport;
        let answered = media(core, member, stream).and_then(|media| {
            sdp::answer_subscriber(&offer, &local, &media)
                .map_err(|error| transport::description(&error))
        });
        let outcome = answered.and_then(|(text, agreed)| {
            commit(core, member, stream, &id, &agreed)?;
            core.media.note_peer(&owner, &offer);
            Ok(object([("sdpAnswer", json!(text))]))
        });
        if outcome.is_err() {
            core.media.abandon(&id);
        }
        outcome
    });
}

/// Our offer to begin ICE anew on the transport that the subscriber has. OpenVidu has nothing like it; clients ask for it by
/// `iceRestart` and keep their connection.
fn offer_restart(core: &mut Core, member: &Member, stream: &StreamId) -> Outcome {
    core.domain.stream(&member.0, stream)?;
    let owner = owner(member, stream);
    let (local, media) = restarted(core, &owner)?;
    let (text, offered) =
        sdp::offer_subscriber(&local, &media).map_err(|error| transport::description(&error))?;
    core.media
        .keep_restart_offer(&owner, local, offered)
        .map_err(|overtaken| transport::endpoint(&overtaken.to_string()))?;
    Ok(object([("sdpOffer", json!(text))]))
}

/// Our answer to a subscriber whose connection goes on and begins ICE anew.
fn answer_restart(core: &mut Core, owner: &Owner, offer: &RemoteDescription) -> Outcome {
    let (local, media) = restarted(core, owner)?;
    let (text, agreed) = sdp::answer_subscriber(offer, &local, &media)
        .map_err(|error| transport::description(&error))?;
    restart(core, owner, local, &agreed)?;
    Ok(object([("sdpAnswer", json!(text))]))
}

/// How we describe ourselves and what we send, if ICE begins anew.
fn restarted(
    core: &mut Core,
    owner: &Owner,
) -> Result<(LocalParameters, Vec<SubscribeMedia>), Refused> {
    let chance = core.chance.as_mut();
    let local = core.media.restarted(owner, chance);
    let local = local.map_err(|overtaken| transport::endpoint(&overtaken.to_string()))?;
    Ok((local, core.media.sent_media(owner, chance)))
}

fn restart(
    core: &mut Core,
    owner: &Owner,
    local: LocalParameters,
    agreed: &sdp::SubscribeParameters,
) -> Result<(), Refused> {
    core.media
        .restart(owner, local, &agreed.ice, &agreed.media)
        .map_err(|error| transport::endpoint(&error.to_string()))?;
    tracing::info!(%owner, "ICE restarted");
    Ok(())
}

fn owner(member: &Member, stream: &StreamId) -> Owner {
    Owner::Subscription(member.0.clone(), member.1.clone(), stream.clone())
}

async fn open(
    app: &App,
    member: &Member,
    stream: &StreamId,
) -> Result<(crate::reconcile::Pending, sdp::LocalParameters), Refused> {
    transport::open(app, member, |core, place| {
        core.domain.stream(&member.0, stream)?;
        core.domain.check_subscribe(&member.0, &member.1, stream)?;
        let chance = core.chance.as_mut();
        Ok(core
            .media
            .begin_subscription(place, &member.0, &member.1, stream, chance))
    })
    .await
}

/// What the stream has for its subscribers, which negotiate exactly the kinds that it announces.
fn media(
    core: &mut Core,
    member: &Member,
    stream: &StreamId,
) -> Result<Vec<SubscribeMedia>, Refused> {
    let properties = &core.domain.stream(&member.0, stream)?.properties;
    let (audio, video) = (properties.has_audio, properties.has_video);
    let wanted = |kind| match kind {
        sdp::Kind::Audio => audio,
        sdp::Kind::Video => video,
    };
    let chance = core.chance.as_mut();
    Ok(core
        .media
        .subscribe_media(&member.0, stream, wanted, chance))
}

fn commit(
    core: &mut Core,
    member: &Member,
    stream: &StreamId,
    id: &link::TransportId,
    agreed: &sdp::SubscribeParameters,
) -> Result<(), Refused> {
    core.domain.stream(&member.0, stream)?;
    core.media
        .commit_subscription(
            &member.0,
            &member.1,
            stream,
            id,
            agreed,
            core.chance.as_mut(),
        )
        .map_err(|overtaken| transport::endpoint(&overtaken.to_string()))?;
    core.domain
        .subscribe(&member.0, &member.1, stream, now_millis())?;
    core.media_agreed(member, id);
    core.reshape(&member.0);
    Ok(())
}
