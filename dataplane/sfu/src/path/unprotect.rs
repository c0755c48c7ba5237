//! Authentication and decryption in place (RFC 3711, RFC 7714). Nobody else has a reference to the slot yet.

use packet::Arena;
use proto::rtp::Header;
use proto::srtp::Reject;

use super::{Arrived, Plain, ahead};
use crate::discard::{DropReason, Stage};
use crate::engine::Engine;

/// `arrived` → `plain`.
#[inline(never)]
pub(crate) fn run(engine: &mut Engine, arena: &mut Arena) {
    let cells = engine.stats.stage_mut(Stage::Unprotect);
    cells.calls += 1;
    cells.packets_in += engine.arrived.len() as u64;
    let mut arrived = core::mem::take(&mut engine.arrived);
    ahead::fetch_transports(&engine.model, &arrived);
    for one in arrived.drain(..) {
        match unprotect(engine, arena, &one) {
            Ok(plain) => {
                engine.stats.stage_mut(Stage::Unprotect).packets_out += 1;
                engine.plain.push(plain);
            }
            Err(reason) => {
                engine.stats.drop_at(Stage::Unprotect, reason);
                arena.release(one.datagram.slot);
            }
        }
    }
    engine.arrived = arrived;
}

fn unprotect(
    engine: &mut Engine,
    arena: &mut Arena,
    arrived: &Arrived,
) -> Result<Plain, DropReason> {
    let transport = engine.model.transports.get_mut(arrived.transport);
    let transport = transport.ok_or(DropReason::Gone)?;
    let inbound = transport.inbound.as_mut().ok_or(DropReason::NoKeys)?;
    let datagram = &arrived.datagram;
    let bytes = datagram.payload_mut(arena);
    let (len, header) = if arrived.is_rtcp {
        (inbound.unprotect_rtcp(bytes).map_err(reason)?, None)
    } else {
        let header = Header::parse(bytes).map_err(|_| DropReason::RtpMalformed)?;
        let (len, _) = inbound
            .unprotect_rtp(bytes, header.len(), header.ssrc, header.sequence)
            .map_err(reason)?;
        (len, Some(header))
    };
    Ok(Plain {
        slot: datagram.slot,
        start: datagram.offset,
        end: datagram.offset + u16::try_from(len).expect("plain text is shorter than its datagram"),
        transport: arrived.transport,
        arrival: datagram.arrival,
        header,
    })
}

fn reason(reject: Reject) -> DropReason {
    match reject {
        Reject::TooShort => DropReason::SrtpMalformed,
        Reject::Replayed | Reject::TooOld => DropReason::Replay,
        Reject::Unauthentic => DropReason::Unauthentic,
        Reject::TooManySources => DropReason::TooManySources,
        Reject::IndexExhausted => DropReason::KeyExhausted,
        // The peer publishes nothing.
        Reject::Unexpected => DropReason::UnknownEncoding,
    }
}
