//! Receiving: `prepareReceiveVideoFrom`, `receiveVideoFrom`, `unsubscribeFromVideo`, and a subscriber's `reconnectStream`.

use sdp::SubscribeMedia;
use serde_json::{Map, json};

use super::sessions::Member;
use super::{Call, Outcome, object, transport};
use crate::app::{Core, now_millis};
use crate::domain::{ConnectionId, Refused, StreamId};

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
    let (pending, local) = open(call, member, &stream).await?;
    let id = pending.transport.clone();
    call.app.step(|core| {
        let offered = media(core, member, &stream).and_then(|media| {
            sdp::offer_subscriber(&local, &media).map_err(|error| transport::description(&error))
        });
        let kept = offered.and_then(|(text, offered)| {
            core.media
                .keep_offer(&member.0, &member.1, &stream, &id, offered)
                .map_err(|overtaken| transport::endpoint(&overtaken.to_string()))?;
            Ok(object([("sdpOffer", json!(text))]))
        });
        if kept.is_err() {
            core.media.abandon(&id);
        }
        kept
    })
}

/// The client's answer to our newest offer.
fn accept(call: &Call, member: &Member, stream: &StreamId, answer: &str) {
    let answer = transport::parse(answer);
    call.finish(|core| {
        let answer = answer?;
        let node = core.place(&member.0)?;
        core.expect_up(&node)?;
        let (id, offered) = core
            .media
            .open_offer(&member.0, &member.1, stream)
            .ok_or_else(|| transport::endpoint("no offer waits for this answer"))?;
        let agreed = sdp::accept_answer(&offered, &answer).map_err(|error| {
            core.media.abandon(&id);
            transport::description(&error)
        })?;
        commit(core, member, stream, &id, &agreed)?;
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
    let opened = open(call, member, stream).await;
    call.finish(|core| {
        let (pending, local) = opened?;
        let id = pending.transport;
        let answered = media(core, member, stream).and_then(|media| {
            sdp::answer_subscriber(&offer, &local, &media)
                .map_err(|error| transport::description(&error))
        });
        let outcome = answered.and_then(|(text, agreed)| {
            commit(core, member, stream, &id, &agreed)?;
            Ok(object([("sdpAnswer", json!(text))]))
        });
        if outcome.is_err() {
            core.media.abandon(&id);
        }
        outcome
    });
}

async fn open(
    call: &Call,
    member: &Member,
    stream: &StreamId,
) -> Result<(crate::reconcile::Pending, sdp::LocalParameters), Refused> {
    transport::open(call, member, |core, place| {
        core.domain.stream(&member.0, stream)?;
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
        .subscribe(&member.0, &member.1, stream, now_millis())
}
