//! The transpose: packets arrive grouped by publisher and leave grouped by the transport of the subscriber.

use clock::Instant;
use packet::Arena;

use super::Job;
use crate::discard::{DropReason, Stage};
use crate::engine::Engine;
use crate::model::packet::Packet;
use crate::model::transport::JOBS_MAX;

/// `media` → cache, and jobs at the transports of the subscribers.
pub(crate) fn run(engine: &mut Engine, now: Instant, arena: &mut Arena) {
    let cells = engine.stats.stage_mut(Stage::Route);
    cells.calls += 1;
    cells.packets_in += engine.media.len() as u64;
    let mut media = core::mem::take(&mut engine.media);
    for packet in media.drain(..) {
        engine
            .quota
            .insert(&mut engine.model.encodings, arena, &packet, now);
        if let Err(reason) = route(engine, &packet) {
            engine.stats.drop_at(Stage::Route, reason);
            arena.release(packet.slot);
        }
    }
    engine.media = media;
}

/// On success the reference to the slot belongs to `engine.routed`.
fn route(engine: &mut Engine, packet: &Packet) -> Result<(), DropReason> {
    let medium = engine.model.encodings[packet.encoding].medium;
    let medium = &engine.model.media[medium];
    if medium.selected != Some(packet.encoding) {
        return Err(DropReason::NotSelected);
    }
    if medium.listeners.is_empty() {
        return Err(DropReason::NoSubscriber);
    }
    let place = u32::try_from(engine.routed.len()).expect("a turn has fewer than 2^32 packets");
    engine.routed.push(*packet);
    let cells = engine.stats.stage_mut(Stage::Route);
    cells.made += medium.listeners.len() as u64 - 1;
    for &outgoing in &medium.listeners {
        let key = engine.model.outgoing[outgoing].transport;
        let transport = &mut engine.model.transports[key];
        if transport.jobs.len() >= JOBS_MAX {
            engine.stats.drop_at(Stage::Route, DropReason::QueueFull);
            continue;
        }
        if transport.jobs.is_empty() {
            engine.dirty.push(key);
        }
        transport.jobs.push(Job {
            outgoing,
            packet: place,
            retransmission: None,
        });
        engine.stats.stage_mut(Stage::Route).packets_out += 1;
        let rewrite = engine.stats.stage_mut(Stage::Rewrite);
        rewrite.packets_in += 1;
        rewrite.held += 1;
    }
    Ok(())
}
