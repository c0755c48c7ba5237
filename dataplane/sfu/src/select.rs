//! Which layer a subscriber gets next. At which packet it gets it is decided in `path/layered.rs`.
//!
//! Every subscriber has a *current* encoding and a *target*: the highest that arrives and is allowed. Towards another target
//! the current one flows on until the target's key frame; if the current one has stopped, whatever allowed encoding begins
//! first is taken meanwhile.

use clock::{Duration, Instant};

use proto::rtp::LayersAllocation;

use crate::api::{LayerLimit, SubscriberId};
use crate::congestion;
use crate::engine::Engine;
use crate::model::layers::{Layers, Places, Room};
use crate::model::subscriber::Stance;

/// An encoding counts once it has arrived for so long, unless there is none below it.
const STEADY_AFTER: Duration = Duration::from_secs(1);
/// After so many requests in vain an encoding is passed over.
const DEAF_AFTER: u32 = 3;
/// For so long, unless a key frame comes.
const DEAF_FOR: Duration = Duration::from_secs(10);
/// For so long packets of an encoding may come after its sender said that it has stopped.
const TRAILING: Duration = Duration::from_millis(500);

/// A packet of a picture of `encoding` has arrived: perhaps for the first time, and perhaps it shows that another encoding has
/// stopped.
pub(crate) fn on_arrival(engine: &mut Engine, encoding: u32, timestamp: u32, arrival: Instant) {
    let model = &mut engine.model;
    let one = &mut model.encodings[encoding];
    let begins = one.pace.on_packet(timestamp, arrival);
    let (key, place, pace) = (one.medium, one.place, one.pace);
    let medium = &model.media[key];
    let mut arriving = medium.arriving;
    let is_deaf = one.deaf_until.is_some_and(|until| until > arrival);
    // A sender that tries whether its path carries one encoding more takes it back at once if not, and then nobody should
    // have left the ones below.
    let is_needed = arriving.and(Places::below(place)).is_empty();
    if !is_deaf && (is_needed || pace.has_lasted(arrival) >= STEADY_AFTER) {
        one.deaf_until = None;
        arriving = arriving.or(Places::only(place));
    }
    if begins {
        for other in medium.arriving.without(place).iter() {
            let other_pace = &model.encodings[medium.encodings[usize::from(other)]].pace;
            if other_pace.has_stopped_beside(&pace, arrival) {
                arriving = arriving.without(other);
            }
        }
    }
    if arriving != medium.arriving {
        model.media[key].arriving = arriving;
        retarget(engine, key);
    }
}

/// The sender says which encodings it goes on with. Those that it leaves out need not be waited for.
pub(crate) fn on_allocation(
    engine: &mut Engine,
    encoding: u32,
    allocation: LayersAllocation,
    arrival: Instant,
) {
    let model = &mut engine.model;
    let key = model.encodings[encoding].medium;
    let medium = &model.media[key];
    let active =
        Places::from_bits(allocation.active).or(Places::only(model.encodings[encoding].place));
    let arriving = medium.arriving.and(active);
    let stopped = medium.arriving.minus(active);
    if stopped.is_empty() {
        return;
    }
    for place in stopped.iter() {
        // What is still on its way of it says nothing.
        let one = &mut model.encodings[medium.encodings[usize::from(place)]];
        one.deaf_until = Some(arrival + TRAILING);
    }
    model.media[key].arriving = arriving;
    retarget(engine, key);
}

/// The worker with the publisher says which encodings of a medium arrive there.
pub(crate) fn on_arriving(engine: &mut Engine, key: u32, arriving: Places) {
    let medium = &mut engine.model.media[key];
    let arriving = arriving.and(medium.places());
    if arriving != medium.arriving {
        medium.arriving = arriving;
        retarget(engine, key);
    }
}

/// A key frame of `encoding` was asked for once more. If it never comes, the encoding is of no use to those who want it.
pub(crate) fn on_request(engine: &mut Engine, now: Instant, encoding: u32) {
    let model = &mut engine.model;
    let one = &mut model.encodings[encoding];
    let (key, place) = (one.medium, one.place);
    let others = model.media[key].arriving.without(place);
    if one.key_frame.in_vain() < DEAF_AFTER || others.is_empty() || one.deaf_until.is_some() {
        return;
    }
    one.deaf_until = Some(now + DEAF_FOR);
    model.media[key].arriving = others;
    retarget(engine, key);
}

/// Other encodings arrive than before: every listener aims anew.
fn retarget(engine: &mut Engine, key: u32) {
    let medium = &mut engine.model.media[key];
    for tap in &mut medium.taps {
        // Another worker that wants nothing of what arrives would not hear that it must choose again.
        if tap.wants.and(medium.arriving).is_empty() {
            tap.wants = Places::ALL;
        }
    }
    let mut needed = Places::NONE;
    for at in 0..engine.model.media[key].listeners.len() {
        let outgoing = engine.model.media[key].listeners[at].outgoing;
        needed = needed.or(aim(engine, outgoing));
    }
    for place in needed.iter() {
        let encoding = engine.model.media[key].encodings[usize::from(place)];
        // What was asked for in vain was asked of an encoder that was switched off.
        engine.model.encodings[encoding].key_frame.renew();
        engine.want_key_frame(encoding);
    }
}

/// Chooses a target for one RTP stream. Returns the encoding of which it needs a key frame, if any.
fn aim(engine: &mut Engine, outgoing: u32) -> Places {
    let stream = &mut engine.model.outgoing[outgoing];
    let (Some(key), Some(layers)) = (stream.medium, &mut stream.layers) else {
        return Places::NONE;
    };
    let medium = &mut engine.model.media[key];
    let needs = layers.aim(medium.arriving);
    medium.want(stream.listens_at, layers.wants(medium.arriving));
    Places::from(layers.target.filter(|_| needs))
}

/// Follows [`Command::LimitLayers`](crate::api::Command::LimitLayers).
pub(crate) fn limit_medium(
    engine: &mut Engine,
    subscriber: SubscriberId,
    medium: u8,
    limit: LayerLimit,
) {
    let key = engine.model.subscriber_keys.get(&subscriber);
    let outgoing = key.and_then(|key| {
        let streams = &engine.model.subscribers[*key].outgoing;
        streams.get(usize::from(medium)).copied()
    });
    if let Some(outgoing) = outgoing {
        limit_stream(engine, outgoing, limit);
    }
}

/// From now on no more than `limit` leaves in one RTP stream.
pub(crate) fn limit_stream(engine: &mut Engine, outgoing: u32, limit: LayerLimit) {
    let stream = &mut engine.model.outgoing[outgoing];
    match &mut stream.layers {
        Some(layers) => layers.set_wish(limit),
        None if limit == LayerLimit::NONE => return,
        None => begin(engine, outgoing, limit),
    }
    turn(engine, outgoing);
}

/// No more than `limit` keeps to the ceiling of an RTP stream.
pub(crate) fn cap(engine: &mut Engine, outgoing: u32, limit: LayerLimit) {
    let layers = &mut engine.model.outgoing[outgoing].layers;
    if let Some(layers) = layers.as_mut().filter(|layers| layers.cap != limit) {
        layers.set_cap(limit);
        turn(engine, outgoing);
    }
}

/// There is room for so much. Where there is no choice nothing happens.
pub(crate) fn grant(engine: &mut Engine, outgoing: u32, room: Room) {
    let layers = &mut engine.model.outgoing[outgoing].layers;
    if let Some(layers) = layers.as_mut().filter(|layers| layers.room != room) {
        layers.set_room(room);
        turn(engine, outgoing);
        if room == Room::Nothing {
            congestion::discard(engine, outgoing);
        }
    }
}

/// There is room for less, and what is forwarded beyond that ends now. What is granted begins when [what waits on the way has
/// left](resume): before that its key frame would only come behind it. Whether there was anything to end.
pub(crate) fn grant_later(engine: &mut Engine, outgoing: u32, room: Room) -> bool {
    let stream = &mut engine.model.outgoing[outgoing];
    let next = stream.rewriter.next_index();
    let layers = stream.layers.as_mut();
    let Some(layers) = layers.filter(|layers| layers.exceeds(room)) else {
        grant(engine, outgoing, room);
        return false;
    };
    layers.hold(next);
    grant(engine, outgoing, room);
    congestion::discard(engine, outgoing);
    true
}

/// What was granted may begin.
pub(crate) fn resume(engine: &mut Engine, outgoing: u32) {
    let layers = &mut engine.model.outgoing[outgoing].layers;
    if layers.as_mut().is_some_and(|layers| layers.resume()) {
        turn(engine, outgoing);
    }
}

/// Something else may be forwarded from now on.
fn turn(engine: &mut Engine, outgoing: u32) {
    for place in aim(engine, outgoing).iter() {
        let stream = &engine.model.outgoing[outgoing];
        if let Some(medium) = stream.medium {
            let encoding = engine.model.media[medium].encodings[usize::from(place)];
            engine.model.encodings[encoding].key_frame.renew();
            engine.want_key_frame(encoding);
        }
    }
}

/// An RTP stream of which everything was forwarded has layers from now on.
fn begin(engine: &mut Engine, outgoing: u32, limit: LayerLimit) {
    let stream = &mut engine.model.outgoing[outgoing];
    let mut layers = Box::new(Layers::new(limit));
    if let (Stance::Following, Some(source), Some(_)) =
        (stream.stance, stream.source, stream.medium)
    {
        // Only media with a single encoding are forwarded without layers.
        layers.current = Some(0);
        layers.last = Some((0, source));
        layers.numbers.switch(source);
    }
    if stream.medium.is_some() {
        stream.stance = Stance::Layered;
    }
    stream.rewriter.make_room();
    stream.layers = Some(layers);
}

/// The encoding of which a subscriber needs a key frame, if it can't go on without one; by key.
pub(crate) fn needed_by(engine: &Engine, outgoing: u32) -> Option<u32> {
    let stream = &engine.model.outgoing[outgoing];
    let medium = &engine.model.media[stream.medium?];
    let place = match (stream.stance, &stream.layers) {
        (Stance::Layered, Some(layers)) => layers
            .target
            .filter(|target| layers.current != Some(*target))?,
        (Stance::Awaiting, _) => 0,
        _ => return None,
    };
    medium.encodings.get(usize::from(place)).copied()
}

/// The encoding of which a key frame mends the picture of a subscriber; by key.
pub(crate) fn shown_by(engine: &Engine, outgoing: u32) -> Option<u32> {
    let stream = &engine.model.outgoing[outgoing];
    let medium = &engine.model.media[stream.medium?];
    let place = match &stream.layers {
        Some(layers) => layers.current.or(layers.target)?,
        None => 0,
    };
    medium.encodings.get(usize::from(place)).copied()
}
