//! Encryption from the shared slot into the bursts of the subscribers' transports. The copy is the cipher.

use packet::{Arena, Bursts};
use proto::srtp::{Job, Refusal, protect_batch};

use super::queue::STAY_MAX;
use super::rewritten::Rewritten;
use crate::discard::{DropReason, Stage};
use crate::engine::Engine;
use crate::stats::{Direction, PacketKind};

/// Most packets of one list of jobs; so many are never too much for a chunk of transmit memory.
pub(crate) const JOBS_MAX: usize = 32;

/// Protects everything that was rewritten.
#[inline(never)]
pub(crate) fn run(engine: &mut Engine, arena: &Arena, bursts: &mut Bursts) {
    if engine.rewritten.is_empty() {
        return;
    }
    let cells = engine.stats.stage_mut(Stage::Protect);
    cells.calls += 1;
    cells.packets_in += engine.rewritten.len() as u64;
    let mut rewritten = core::mem::take(&mut engine.rewritten);
    let mut headers = core::mem::take(&mut engine.headers);
    let mut rest = headers.as_slice();
    for list in rewritten.chunks(JOBS_MAX) {
        rest = protect(engine, arena, bursts, list, rest);
    }
    rewritten.clear();
    engine.rewritten = rewritten;
    headers.clear();
    engine.headers = headers;
}

/// Protects the packets of `list`, whose headers come first in `headers`. Returns the other headers.
fn protect<'a>(
    engine: &mut Engine,
    arena: &Arena,
    bursts: &mut Bursts,
    list: &[Rewritten],
    mut headers: &'a [u8],
) -> &'a [u8] {
    let mut outcomes = [Err(DropReason::NoBurst); JOBS_MAX];
    let bytes = list.iter().map(|one| usize::from(one.len)).sum();
    // The first packet's peer; whose the others are is said when they are committed.
    begin(engine, bursts, &list[0]);
    if let Some(mut room) = bursts.reserve_run(bytes, list.len()) {
        let mut jobs = recycled(core::mem::take(&mut engine.jobs));
        for one in list {
            let (header, others) = headers.split_at(usize::from(one.header_len));
            let (prefix, other_headers) = others.split_at(usize::from(one.changes.prefix_len));
            let (out, other_room) = room.split_at_mut(usize::from(one.len));
            (headers, room) = (other_headers, other_room);
            jobs.push(Job {
                context: one.context,
                index: one.index,
                ssrc: one.ssrc,
                header,
                prefix,
                padding: one.padding,
                payload: &engine.queue.packet(one.packet).payload(arena)
                    [usize::from(one.changes.left_out)..],
                out,
                outcome: Ok(0),
            });
        }
        protect_batch(&mut engine.model.contexts, &mut jobs);
        for (job, outcome) in jobs.iter().zip(&mut outcomes) {
            *outcome = job.outcome.map_err(reason);
        }
        engine.jobs = recycled(jobs);
    } else {
        let skipped = list.iter().map(Rewritten::written_len).sum();
        headers = &headers[skipped..];
    }
    commit(engine, bursts, list, &outcomes);
    headers
}

/// Hands the protected packets to their bursts.
fn commit(
    engine: &mut Engine,
    bursts: &mut Bursts,
    list: &[Rewritten],
    outcomes: &[Result<usize, DropReason>; JOBS_MAX],
) {
    let (mut packets, mut bytes) = (0, 0);
    let mut transport = list[0].transport;
    for (one, outcome) in list.iter().zip(outcomes) {
        if one.transport != transport {
            transport = one.transport;
            begin(engine, bursts, one);
        }
        match *outcome {
            Ok(len) => {
                engine.last_burst = Some(bursts.commit(len));
                packets += 1;
                bytes += len as u64;
            }
            Err(reason) => {
                if reason != DropReason::NoBurst {
                    bursts.skip(usize::from(one.len));
                }
                failed(engine, one, reason);
            }
        }
    }
    let stats = &mut engine.stats;
    stats.stage_mut(Stage::Protect).packets_out += packets;
    stats.datagrams(Direction::Out, PacketKind::Srtp, packets, bytes);
}

/// What follows goes where `one` does.
fn begin(engine: &Engine, bursts: &mut Bursts, one: &Rewritten) {
    let path = engine.model.exits[one.transport].path;
    let path = path.expect("nothing is rewritten for a transport that is not ready");
    bursts.begin(path.remote, path.local);
    bursts.expire(engine.queue.since(one.packet) + STAY_MAX);
}

/// A packet does not leave after all.
#[cold]
fn failed(engine: &mut Engine, one: &Rewritten, reason: DropReason) {
    engine.stats.drop_at(Stage::Protect, reason);
    let payload_len = engine.queue.packet(one.packet).payload_len();
    let octets = one.changes.apply(payload_len);
    let outgoing = &mut engine.model.outgoing[one.outgoing];
    match &mut outgoing.rtx {
        Some(rtx) if one.changes.is_again => {
            rtx.sent.uncount(octets);
            engine.stats.retransmissions_sent -= 1;
        }
        _ => outgoing.sent.uncount(octets),
    }
}

/// The memory of a list of jobs for another one: in place, nothing is allocated.
fn recycled<'a>(mut jobs: Vec<Job<'_>>) -> Vec<Job<'a>> {
    jobs.clear();
    let none = jobs
        .into_iter()
        .map(|_| unreachable!("the list was just cleared"));
    none.collect()
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
