//! The transpose: packets arrive grouped by publisher and leave grouped by the transport of the subscriber.

use clock::{Duration, Instant};
use packet::Arena;

use super::{Run, ahead};
use crate::api::Kind;
use crate::discard::{DropReason, Stage};
use crate::engine::{Engine, Gathering};
use crate::model::Medium;
use crate::model::layers::Places;
use crate::model::packet::Packet;
use crate::tap;

/// How many listeners ahead the memory of a transport is fetched.
const AHEAD: usize = 8;
/// For so long what comes late of an encoding is offered to those who had it and have another one now.
const LINGERING: Duration = Duration::from_millis(500);

/// `media` → cache, and runs at the transports of the subscribers.
#[inline(never)]
pub(crate) fn run(engine: &mut Engine, now: Instant, arena: &mut Arena) {
    let cells = engine.stats.stage_mut(Stage::Route);
    cells.calls += 1;
    cells.packets_in += engine.media.len() as u64;
    let mut media = core::mem::take(&mut engine.media);
    let mut order = core::mem::take(&mut engine.order);
    ahead::fetch_listeners(engine, &media);
    sort(&mut order, &media);
    let mut encoding = None;
    let mut first = engine.queue.len() as u32;
    for (_, place) in &order {
        let packet = &media[*place as usize];
        if encoding != Some(packet.encoding) {
            hand_out(engine, encoding, first, now);
            encoding = Some(packet.encoding);
            first = engine.queue.len() as u32;
        }
        // The whole batch is taken in by now, so what a later packet of it has replaced is known.
        let encoding = &engine.model.encodings[packet.encoding];
        let superseded = packet.source != encoding.source;
        // Nobody asks for what nobody was sent.
        let medium = &engine.model.media[encoding.medium];
        let is_kept = !medium.has_layers() || medium.is_wanted(encoding.place);
        if !superseded && is_kept {
            let encodings = &mut engine.model.encodings;
            engine.quota.insert(encodings, arena, packet, now);
        }
        let superseded = superseded.then_some(DropReason::Superseded);
        match superseded.or_else(|| refusal(engine, packet, now)) {
            // The reference to the slot is the queue's.
            None => {
                engine.queue.add(now, *packet);
            }
            Some(reason) => {
                engine.stats.drop_at(Stage::Route, reason);
                arena.release(packet.slot);
            }
        }
    }
    hand_out(engine, encoding, first, now);
    engine.order = order;
    media.clear();
    engine.media = media;
}

/// Brings the packets of each encoding together and leaves them in their order.
fn sort(order: &mut Vec<(u32, u32)>, media: &[Packet]) {
    order.clear();
    let keys = media.iter().zip(0..);
    order.extend(keys.map(|(packet, place)| (packet.encoding, place)));
    order.sort_unstable();
}

/// Why nobody gets a packet.
fn refusal(engine: &Engine, packet: &Packet, now: Instant) -> Option<DropReason> {
    let encoding = &engine.model.encodings[packet.encoding];
    let medium = &engine.model.media[encoding.medium];
    if !medium.is_wanted(encoding.place) && !is_missed(medium, packet, now) {
        Some(if medium.has_audience() {
            DropReason::NotSelected
        } else {
            DropReason::NoSubscriber
        })
    } else if engine.queue.is_full() {
        Some(DropReason::QueueFull)
    } else {
        None
    }
}

/// Whether somebody may have got an RTP stream with a hole in it that this packet fills, and another encoding since.
fn is_missed(medium: &Medium, packet: &Packet, now: Instant) -> bool {
    packet.late && medium.left.is_some_and(|left| now - left < LINGERING)
}

/// Lets everybody who listens to an encoding wait for the packets in the queue from `first` on.
fn hand_out(engine: &mut Engine, encoding: Option<u32>, first: u32, now: Instant) {
    let count = engine.queue.len() as u32 - first;
    let (Some(encoding), true) = (encoding, count > 0) else {
        return;
    };
    let encoding = &engine.model.encodings[encoding];
    let medium = &engine.model.media[encoding.medium];
    let place = encoding.place;
    let queue = &engine.queue;
    let everybody = medium.left.is_some()
        && (first..first + count).any(|place| is_missed(medium, queue.packet(place), now));
    let (concerned, copied) = if everybody {
        (medium.places(), medium.awake())
    } else {
        (Places::only(place), medium.audience(place))
    };
    let last = engine.queue.packet(first + count - 1);
    if medium.kind == Kind::Audio || last.marker || engine.gathering == Gathering::Urgent {
        engine.gathering = Gathering::Urgent;
    } else {
        engine.gathering = Gathering::Pictures;
    }
    let listeners = &medium.listeners;
    let mut waiting = 0;
    for (nth, listener) in listeners.iter().enumerate() {
        if let Some(soon) = listeners.get(nth + AHEAD) {
            engine.model.exits.prefetch(soon.transport);
        }
        if listener.wants.and(concerned).is_empty() {
            continue;
        }
        let run = Run {
            outgoing: listener.outgoing,
            first,
            count,
            next: 0,
            retransmission: None,
        };
        let exit = &mut engine.model.exits[listener.transport];
        if engine.queue.push(exit, listener.transport, run) {
            waiting += u64::from(count);
        }
    }
    let copies = u64::from(copied) * u64::from(count);
    let crossing = tap::route(
        &mut engine.taps,
        &mut engine.stats,
        medium,
        place,
        first,
        count,
    );
    if copies + crossing == 0 {
        // It came late, for somebody who wants nothing at all any more.
        let stats = &mut engine.stats;
        stats.drop_many(Stage::Route, DropReason::NotSelected, u64::from(count));
        return;
    }
    let cells = engine.stats.stage_mut(Stage::Route);
    cells.made += copies + crossing - u64::from(count);
    cells.packets_out += waiting + crossing;
    engine
        .stats
        .drop_many(Stage::Route, DropReason::QueueFull, copies - waiting);
    let rewrite = engine.stats.stage_mut(Stage::Rewrite);
    rewrite.packets_in += waiting;
    rewrite.held += waiting;
}
