//! What waits before it is rewritten, on transports whose packets are numbered for transport-wide feedback.

use packet::Arena;

use super::Run;
use super::rewrite::{Moment, Way, rewrite, way};
use crate::api::Kind;
use crate::congestion;
use crate::discard::Stage;
use crate::engine::Engine;
use crate::pacer::{Held, Pacer};

/// Packets that leave for one transport in one turn, at most; the rest in the next.
const RELEASED_MAX: usize = 64;

/// Payload of a packet that fills a probe, as far as padding can make it so long (RFC 3550 §5.1: one octet says how much).
const FILLING: usize = 1_000;

/// Whether a packet has to wait. Sound never does.
#[cold]
#[inline(never)]
pub(super) fn holds(
    engine: &mut Engine,
    moment: &Moment,
    arena: &mut Arena,
    run: &Run,
    place: u32,
    way: Way,
) -> bool {
    let Some(stream) = engine.model.outgoing.get(run.outgoing) else {
        return false;
    };
    let is_sound = stream.kind == Kind::Audio;
    let transport = &mut engine.model.transports[way.transport];
    let Some(numbered) = transport.numbered.as_mut().filter(|_| !is_sound) else {
        return false;
    };
    let pacer = &mut numbered.pacer;
    if !pacer.is_closed(moment.now) {
        return false;
    }
    let packet = *engine.queue.packet(place);
    arena.retain(packet.slot);
    let overflow = pacer.hold(packet, run.outgoing, run.retransmission);
    let due = pacer.deadline();
    engine.stats.stage_mut(Stage::Rewrite).held += 1;
    if let Some(due) = due {
        engine.wheel.schedule(way.transport, due);
    }
    if let Some(held) = overflow {
        leave(engine, moment, arena, held, way);
    }
    true
}

/// What may leave now for a transport, and what fills up its probe; how many packets that was.
pub(super) fn release(engine: &mut Engine, moment: &Moment, arena: &mut Arena, key: u32) -> usize {
    let Some(transport) = engine.model.transports.get(key) else {
        return 0;
    };
    if transport.numbered.is_none() {
        return 0;
    }
    let way = way(key, &engine.model.exits[key]);
    let mut released = 0;
    while released < RELEASED_MAX && !engine.queue.is_full_for_copies() {
        let Some(held) = pacer(engine, key).and_then(|pacer| pacer.release(moment.now)) else {
            break;
        };
        match way {
            Ok(way) => leave(engine, moment, arena, held, way),
            Err(reason) => {
                let cells = engine.stats.stage_mut(Stage::Rewrite);
                cells.held -= 1;
                engine.stats.drop_at(Stage::Rewrite, reason);
                arena.release(held.packet.slot);
            }
        }
        released += 1;
    }
    if let Ok(way) = way {
        released += fill(engine, moment, arena, way);
    }
    if let Some(due) = pacer(engine, key).and_then(|pacer| pacer.deadline()) {
        engine.wheel.schedule(key, due);
    }
    released
}

/// Fills up a probe with packets that were sent before.
fn fill(engine: &mut Engine, moment: &Moment, arena: &mut Arena, way: Way) -> usize {
    let key = way.transport;
    let mut filled = 0;
    while filled < RELEASED_MAX
        && !engine.queue.is_full_for_copies()
        && pacer(engine, key).is_some_and(|pacer| pacer.wants_filling(moment.now))
    {
        let Some((outgoing, sequence, packet)) = congestion::filling(engine, moment.now, key)
        else {
            if let Some(pacer) = pacer(engine, key) {
                pacer.end_probe();
            }
            break;
        };
        arena.retain(packet.slot);
        let run = Run {
            outgoing,
            first: engine.queue.add(moment.now, packet),
            count: 1,
            next: 0,
            retransmission: Some(sequence),
        };
        engine.stats.stage_mut(Stage::Rewrite).made += 1;
        engine.stats.probes_sent += 1;
        // Small packets alone would not make a probe.
        let padding = FILLING.saturating_sub(packet.payload_len());
        let way = Way {
            padding: padding.min(u8::MAX.into()) as u8,
            ..way
        };
        rewrite(engine, moment, arena, &run, run.first, way);
        filled += 1;
    }
    filled
}

/// A packet has waited long enough.
fn leave(engine: &mut Engine, moment: &Moment, arena: &mut Arena, held: Held, way: Way) {
    let mut packet = held.packet;
    // It waited on purpose: that makes it neither too old nor late.
    packet.arrival = None;
    let run = Run {
        outgoing: held.outgoing,
        first: engine.queue.add(moment.now, packet),
        count: 1,
        next: 0,
        retransmission: held.retransmission,
    };
    engine.stats.stage_mut(Stage::Rewrite).held -= 1;
    rewrite(engine, moment, arena, &run, run.first, way);
}

fn pacer(engine: &mut Engine, key: u32) -> Option<&mut Pacer> {
    let transport = engine.model.transports.get_mut(key)?;
    Some(&mut transport.numbered.as_mut()?.pacer)
}
