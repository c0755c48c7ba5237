//! Encryption from the shared slot into a burst of one subscriber's transport. The copy is the cipher.

use clock::Instant;
use packet::{Arena, Bursts};
use proto::srtp::{Outbound, Refusal};

use super::Job;
use super::rewrite::{Rewritten, rewrite};
use crate::cache::PACKETS_MAX;
use crate::discard::{DropReason, Stage};
use crate::engine::Engine;
use crate::model::packet::Packet;
use crate::stats::{Direction, PacketKind};

/// Longest packet that we send: what fits into an Ethernet frame with IPv4 and UDP.
pub(crate) const DATAGRAM_MAX: usize = 1472;

/// Rewrites and protects all jobs, transport by transport, so that one subscriber's state and keys are hot at a time.
pub(crate) fn run(engine: &mut Engine, now: Instant, arena: &mut Arena, bursts: &mut Bursts) {
    let mut dirty = core::mem::take(&mut engine.dirty);
    for transport in dirty.drain(..) {
        rewrite_all(engine, now, arena, transport);
        protect_all(engine, now, arena, bursts, transport);
    }
    engine.dirty = dirty;
    for packet in engine.routed.drain(..) {
        arena.release(packet.slot);
    }
}

fn rewrite_all(engine: &mut Engine, now: Instant, arena: &mut Arena, key: u32) {
    let Some(transport) = engine.model.transports.get_mut(key) else {
        return;
    };
    let unready = match (&transport.outbound, transport.selected) {
        (None, _) => Some(DropReason::NoKeys),
        (_, None) => Some(DropReason::NoAddress),
        _ => None,
    };
    let mut jobs = core::mem::take(&mut transport.jobs);
    let ntp = engine.ntp(now);
    let cells = engine.stats.stage_mut(Stage::Rewrite);
    cells.calls += 1;
    cells.held -= jobs.len() as u64;
    for job in &jobs {
        let packet = engine.routed[job.packet as usize];
        let rewritten = match unready {
            None => rewrite(
                &mut engine.model,
                arena,
                job,
                &packet,
                now,
                ntp,
                &mut engine.headers,
            ),
            Some(reason) => Err(reason),
        };
        match rewritten {
            Ok(rewritten) => {
                engine.stats.stage_mut(Stage::Rewrite).packets_out += 1;
                engine.rewritten.push((job.outgoing, rewritten));
                if rewritten.starts_late {
                    catch_up(engine, now, arena, job.outgoing, &packet);
                }
            }
            Err(reason) => {
                engine.stats.drop_at(Stage::Rewrite, reason);
                if reason == DropReason::AwaitingKeyFrame {
                    engine.want_key_frame(packet.encoding);
                }
            }
        }
    }
    jobs.clear();
    engine.model.transports[key].jobs = jobs;
}

/// A subscriber starts with a packet that came late: what follows it was passed over and is in the cache.
fn catch_up(engine: &mut Engine, now: Instant, arena: &mut Arena, outgoing: u32, first: &Packet) {
    let ntp = engine.ntp(now);
    let newest = engine.model.encodings[first.encoding].unwrapper.newest();
    let missed = first.sequence + 1..=newest.unwrap_or_default();
    for sequence in missed.take(PACKETS_MAX) {
        let encoding = &engine.model.encodings[first.encoding];
        let Some(packet) = encoding.cache.get(sequence).copied() else {
            continue;
        };
        arena.retain(packet.slot);
        let job = Job {
            outgoing,
            packet: engine.routed.len() as u32,
            retransmission: None,
        };
        engine.routed.push(packet);
        engine.stats.stage_mut(Stage::Rewrite).made += 1;
        let (model, headers) = (&mut engine.model, &mut engine.headers);
        match rewrite(model, arena, &job, &packet, now, ntp, headers) {
            Ok(rewritten) => {
                engine.stats.stage_mut(Stage::Rewrite).packets_out += 1;
                engine.rewritten.push((outgoing, rewritten));
            }
            Err(reason) => engine.stats.drop_at(Stage::Rewrite, reason),
        }
    }
}

fn protect_all(engine: &mut Engine, now: Instant, arena: &Arena, bursts: &mut Bursts, key: u32) {
    if engine.rewritten.is_empty() {
        return;
    }
    let transport = &mut engine.model.transports[key];
    let (Some(outbound), Some(path)) = (&mut transport.outbound, transport.selected) else {
        unreachable!("nothing is rewritten for a transport that is not ready");
    };
    let cells = engine.stats.stage_mut(Stage::Protect);
    cells.calls += 1;
    cells.packets_in += engine.rewritten.len() as u64;
    bursts.begin(path.remote, path.local);
    for (outgoing, rewritten) in engine.rewritten.drain(..) {
        let packet = &engine.routed[rewritten.packet as usize];
        let outgoing = &mut engine.model.outgoing[outgoing];
        let header = rewritten.header(&engine.headers);
        match protect(outbound, arena, bursts, &rewritten, header, packet) {
            Ok(len) => {
                engine.stats.stage_mut(Stage::Protect).packets_out += 1;
                engine.stats.datagram(Direction::Out, PacketKind::Srtp, len);
                let octets = packet.payload_len() + rewritten.prefix().len();
                let timestamp = rewritten.timestamp;
                match &mut outgoing.rtx {
                    Some(rtx) if rewritten.is_retransmission => {
                        rtx.sent.count(octets, timestamp, now);
                        engine.stats.retransmissions_sent += 1;
                    }
                    rtx => {
                        if let Some(rtx) = rtx {
                            rtx.earn(len);
                        }
                        outgoing.sent.count(octets, timestamp, now);
                    }
                }
            }
            Err(reason) => engine.stats.drop_at(Stage::Protect, reason),
        }
    }
    engine.headers.clear();
}

/// Appends a packet to the burst and returns its length.
fn protect(
    outbound: &mut Outbound,
    arena: &Arena,
    bursts: &mut Bursts,
    rewritten: &Rewritten,
    header: &[u8],
    packet: &Packet,
) -> Result<usize, DropReason> {
    let payload = packet.payload(arena);
    let overhead = outbound.profile().rtp_overhead();
    let len = header.len() + rewritten.prefix().len() + payload.len() + overhead;
    if len > DATAGRAM_MAX {
        return Err(DropReason::TooLong);
    }
    let out = bursts.reserve(len).ok_or(DropReason::NoBurst)?;
    let len = outbound
        .protect_rtp(
            rewritten.index,
            rewritten.ssrc,
            header,
            rewritten.prefix(),
            payload,
            out,
        )
        .map_err(reason)?;
    bursts.commit(len);
    Ok(len)
}

fn reason(refusal: Refusal) -> DropReason {
    match refusal {
        Refusal::Repeated | Refusal::TooOld => DropReason::Replay,
        Refusal::TooManySources => DropReason::TooManySources,
        Refusal::IndexExhausted => DropReason::KeyExhausted,
        Refusal::BufferTooSmall => DropReason::TooLong,
        Refusal::NoContext => DropReason::NoKeys,
        Refusal::TooShort | Refusal::HeaderMismatch | Refusal::PrefixTooLong | Refusal::Cipher => {
            DropReason::RtpMalformed
        }
    }
}
