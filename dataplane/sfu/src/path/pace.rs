//! What waits before it is rewritten, on transports whose packets are numbered for transport-wide feedback.

use std::collections::VecDeque;

use packet::Arena;

use super::Run;
use super::rewrite::{Moment, Way, rewrite, way, write_padding};
use crate::api::Kind;
use crate::congestion::{self, Filling};
use crate::discard::{DropReason, Stage};
use crate::engine::Engine;
use crate::model::packet::Packet;
use crate::pacer::{Held, Pacer};

/// Packets that leave for one transport in one turn, at most; the rest in the next.
const RELEASED_MAX: usize = 64;

/// Payload of a packet that fills a probe, as far as padding can make it so long (RFC 3550 §5.1: one octet says how much).
const FILLING: usize = 1_000;
/// A packet of padding alone may be so long, without what goes before and behind the payload, and that takes so much.
const PADDING: usize = u8::MAX as usize;
const AROUND: usize = 40;
/// It is no shorter than it can be if it should be so long.
const LEN_SHORT: usize = 150;

/// Transports on which something that waited may leave, in the order in which they became due. Each is listed once.
#[derive(Debug)]
pub(crate) struct Due {
    keys: VecDeque<u32>,
    /// By key.
    listed: Box<[bool]>,
}

impl Due {
    /// None. There is memory for as many transports.
    pub(crate) fn new(transports: usize) -> Self {
        Self {
            keys: VecDeque::with_capacity(transports),
            listed: vec![false; transports].into_boxed_slice(),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// One more, if it is not listed.
    pub(crate) fn push(&mut self, key: u32) {
        if let Some(listed) = self.listed.get_mut(key as usize)
            && !core::mem::replace(listed, true)
        {
            self.keys.push_back(key);
        }
    }

    /// The one that has waited longest.
    pub(crate) fn pop(&mut self) -> Option<u32> {
        let key = self.keys.pop_front()?;
        self.listed[key as usize] = false;
        Some(key)
    }

    /// That transport is no more.
    pub(crate) fn remove(&mut self, key: u32) {
        if let Some(listed) = self.listed.get_mut(key as usize)
            && core::mem::take(listed)
        {
            self.keys.retain(|other| *other != key);
        }
    }
}

/// How many packets of others left when one had to wait; `None` if it need not. Sound never waits.
#[cold]
#[inline(never)]
pub(super) fn holds(
    engine: &mut Engine,
    moment: &Moment,
    arena: &mut Arena,
    run: &Run,
    place: u32,
    way: Way,
) -> Option<usize> {
    let stream = engine.model.outgoing.get(run.outgoing)?;
    let is_sound = stream.kind == Kind::Audio;
    let transport = &mut engine.model.transports[way.transport];
    let numbered = transport.numbered.as_mut().filter(|_| !is_sound)?;
    let pacer = &mut numbered.pacer;
    if !pacer.is_closed(moment.now) {
        return None;
    }
    let packet = *engine.queue.packet(place);
    arena.retain(packet.slot);
    let overflow = pacer.hold(packet, run.outgoing, run.retransmission);
    let due = pacer.deadline();
    engine.stats.stage_mut(Stage::Rewrite).held += 1;
    engine.paced_packets += 1;
    if let Some(due) = due {
        engine.wheel.schedule(way.transport, due);
    }
    Some(match overflow {
        Some(held) if engine.queue.is_full_for_copies() => {
            discard(engine, arena, &held, DropReason::QueueFull);
            0
        }
        Some(held) => leave(engine, moment, arena, held, way),
        None => 0,
    })
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
        released += match way {
            Ok(way) => leave(engine, moment, arena, held, way),
            Err(reason) => {
                discard(engine, arena, &held, reason);
                1
            }
        };
    }
    if let Ok(way) = way {
        released += fill(engine, moment, arena, way, released);
    }
    if let Some(due) = pacer(engine, key).and_then(|pacer| pacer.deadline()) {
        engine.wheel.schedule(key, due);
    }
    released
}

/// Fills up a probe with packets that were sent before or with padding, where so many were released in this turn. How many it took.
fn fill(
    engine: &mut Engine,
    moment: &Moment,
    arena: &mut Arena,
    way: Way,
    released: usize,
) -> usize {
    let key = way.transport;
    let (mut filled, mut empty) = (0, None);
    while released + filled < RELEASED_MAX
        && !engine.queue.is_full_for_copies()
        && let Some(len) = pacer(engine, key).and_then(|pacer| pacer.wants_filling(moment.now))
    {
        // On a narrow way whole packets would take longer than a probe should.
        let is_small = len <= PADDING + AROUND;
        let did = match congestion::filling(engine, moment.now, key, is_small) {
            Some(Filling::Again(outgoing, sequence, packet)) => {
                let again = (outgoing, sequence, packet);
                fill_again(engine, moment, arena, again, way)
            }
            Some(Filling::Padding(outgoing)) => {
                // Short packets are for the narrowest ways: with all headers they take much more than what is counted.
                let padding = match len {
                    LEN_SHORT.. => PADDING,
                    len => len.saturating_sub(AROUND).max(1),
                };
                let padding = padding as u8;
                let way = Way { padding, ..way };
                pad(engine, moment, arena, outgoing, &mut empty, way)
            }
            None => false,
        };
        if !did {
            if let Some(pacer) = pacer(engine, key) {
                pacer.end_probe();
            }
            break;
        }
        engine.stats.stage_mut(Stage::Rewrite).made += 1;
        engine.stats.probes_sent += 1;
        filled += 1;
    }
    filled
}

fn fill_again(
    engine: &mut Engine,
    moment: &Moment,
    arena: &mut Arena,
    (outgoing, sequence, packet): (u32, u16, Packet),
    way: Way,
) -> bool {
    arena.retain(packet.slot);
    let run = Run {
        outgoing,
        first: engine.queue.add(moment.now, packet),
        count: 1,
        next: 0,
        retransmission: Some(sequence),
    };
    // Small packets alone would not make a probe.
    let padding = FILLING.saturating_sub(packet.payload_len());
    let way = Way {
        padding: padding.min(PADDING) as u8,
        ..way
    };
    rewrite(engine, moment, arena, &run, run.first, way);
    true
}

/// Sends a retransmission of nothing. `empty` is where in the queue the packet lies that it is made of, once there is one.
fn pad(
    engine: &mut Engine,
    moment: &Moment,
    arena: &mut Arena,
    outgoing: u32,
    empty: &mut Option<u32>,
    way: Way,
) -> bool {
    if empty.is_none() {
        let slot = arena.alloc();
        *empty = slot.map(|slot| engine.queue.add(moment.now, Packet::empty(slot)));
    }
    empty.is_some_and(|place| write_padding(engine, moment, arena, outgoing, place, way))
}

/// A packet that waited is of no use any more.
fn discard(engine: &mut Engine, arena: &mut Arena, held: &Held, reason: DropReason) {
    engine.stats.stage_mut(Stage::Rewrite).held -= 1;
    engine.paced_packets -= 1;
    engine.stats.drop_at(Stage::Rewrite, reason);
    arena.release(held.packet.slot);
}

/// A packet has waited long enough. How many leave with it, if its subscriber begins with it and gets more from the cache.
fn leave(engine: &mut Engine, moment: &Moment, arena: &mut Arena, held: Held, way: Way) -> usize {
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
    engine.paced_packets -= 1;
    1 + rewrite(engine, moment, arena, &run, run.first, way)
}

fn pacer(engine: &mut Engine, key: u32) -> Option<&mut Pacer> {
    let transport = engine.model.transports.get_mut(key)?;
    Some(&mut transport.numbered.as_mut()?.pacer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_waits_longest_is_next_and_each_is_listed_once() {
        let mut due = Due::new(5);
        for key in [3, 1, 3, 4, 1, 9] {
            due.push(key);
        }
        due.remove(1);
        due.remove(0);
        due.push(1);
        let order: Vec<u32> = core::iter::from_fn(|| due.pop()).collect();
        assert_eq!(order, [3, 4, 1]);
        let room = due.keys.capacity();
        for _ in 0..10 {
            (0..5).for_each(|key| due.push(key));
        }
        assert_eq!((due.keys.len(), due.keys.capacity()), (5, room));
    }
}
