//! The transpose: packets arrive grouped by publisher and leave grouped by the transport of the subscriber.

use clock::Instant;
use packet::Arena;

use super::Run;
use crate::api::Kind;
use crate::discard::{DropReason, Stage};
use crate::engine::{Engine, Gathering};
use crate::model::packet::Packet;
use crate::tap;

/// How many listeners ahead the memory of a transport is fetched.
const AHEAD: usize = 8;

/// `media` → cache, and runs at the transports of the subscribers.
#[inline(never)]
pub(crate) fn run(engine: &mut Engine, now: Instant, arena: &mut Arena) {
    let cells = engine.stats.stage_mut(Stage::Route);
    cells.calls += 1;
    cells.packets_in += engine.media.len() as u64;
    let mut media = core::mem::take(&mut engine.media);
    let mut order = core::mem::take(&mut engine.order);
    sort(&mut order, &media);
    let mut encoding = None;
    let mut first = engine.queue.len() as u32;
    for (_, place) in &order {
        let packet = &media[*place as usize];
        if encoding != Some(packet.encoding) {
            hand_out(engine, encoding, first);
            encoding = Some(packet.encoding);
            first = engine.queue.len() as u32;
        }
        // The whole batch is taken in by now, so what a later packet of it has replaced is known.
        let superseded = packet.source != engine.model.encodings[packet.encoding].source;
        if !superseded {
            let encodings = &mut engine.model.encodings;
            engine.quota.insert(encodings, arena, packet, now);
        }
        let superseded = superseded.then_some(DropReason::Superseded);
        match superseded.or_else(|| refusal(engine, packet)) {
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
    hand_out(engine, encoding, first);
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
fn refusal(engine: &Engine, packet: &Packet) -> Option<DropReason> {
    let medium = engine.model.encodings[packet.encoding].medium;
    let medium = &engine.model.media[medium];
    if medium.selected != Some(packet.encoding) {
        Some(DropReason::NotSelected)
    } else if !medium.has_audience() {
        Some(DropReason::NoSubscriber)
    } else if engine.queue.is_full() {
        Some(DropReason::QueueFull)
    } else {
        None
    }
}

/// Lets everybody who listens to an encoding wait for the packets in the queue from `first` on.
fn hand_out(engine: &mut Engine, encoding: Option<u32>, first: u32) {
    let count = engine.queue.len() as u32 - first;
    let (Some(encoding), true) = (encoding, count > 0) else {
        return;
    };
    let medium = &engine.model.media[engine.model.encodings[encoding].medium];
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
    let copies = listeners.len() as u64 * u64::from(count);
    let cells = engine.stats.stage_mut(Stage::Route);
    let crossing = medium.taps.len() as u64 * u64::from(count);
    cells.made += copies + crossing - u64::from(count);
    cells.packets_out += waiting + crossing;
    engine
        .stats
        .drop_many(Stage::Route, DropReason::QueueFull, copies - waiting);
    let rewrite = engine.stats.stage_mut(Stage::Rewrite);
    rewrite.packets_in += waiting;
    rewrite.held += waiting;
    tap::route(&mut engine.taps, &mut engine.stats, medium, first, count);
}
