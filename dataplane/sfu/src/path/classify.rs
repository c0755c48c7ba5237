//! First byte to protocol (RFC 7983, RFC 5761), address to transport. STUN and DTLS are consumed here.
//!
//! A stranger costs no state: until a check proves the password of a ufrag, an address is looked up and forgotten, and no
//! answer is longer than its question.

use clock::{Duration, Instant};
use packet::{Arena, Batch, Datagram};
use proto::demux::{self, Packet};
use proto::ice::{self, Ignored};
use proto::stun::{Class, MAX_RESPONSE_LEN, Message};

use super::Arrived;
use crate::api::Event;
use crate::discard::{DropReason, Stage};
use crate::engine::Engine;
use crate::model::Path;
use crate::stats::{Consumed, Direction, PacketKind};

/// Most handshake datagrams that one transport may hand in per [`DTLS_INTERVAL`]: a flight or two, fragments included. More
/// would fill the queue that the handshakes of all others go through.
const DTLS_MAX: u8 = 16;
/// A client repeats its flight no sooner than this.
const DTLS_INTERVAL: Duration = Duration::from_millis(50);

/// `batch` → `arrived`.
#[inline(never)]
pub(crate) fn run(engine: &mut Engine, now: Instant, arena: &mut Arena, batch: &mut Batch) {
    let cells = engine.stats.stage_mut(Stage::Classify);
    cells.calls += 1;
    cells.packets_in += batch.len() as u64;
    for datagram in batch.drain() {
        let payload = datagram.payload(arena);
        let (kind, consumed) = match demux::classify(payload) {
            Packet::Stun => (PacketKind::Stun, stun(engine, now, payload, &datagram)),
            Packet::Dtls => (PacketKind::Dtls, dtls(engine, now, payload, &datagram)),
            Packet::Rtp => (PacketKind::Srtp, media(engine, &datagram, false)),
            Packet::Rtcp => (PacketKind::Srtcp, media(engine, &datagram, true)),
            Packet::Other => (PacketKind::Other, Err(DropReason::UnknownProtocol)),
        };
        engine
            .stats
            .datagram(Direction::In, kind, usize::from(datagram.len));
        match consumed {
            Ok(None) => {
                // The slot goes on with the packet.
                engine.stats.stage_mut(Stage::Classify).packets_out += 1;
                continue;
            }
            Ok(Some(what)) => engine.stats.consume(Stage::Classify, what),
            Err(reason) => engine.stats.drop_at(Stage::Classify, reason),
        }
        arena.release(datagram.slot);
    }
}

type Outcome = Result<Option<Consumed>, DropReason>;

fn media(engine: &mut Engine, datagram: &Datagram, is_rtcp: bool) -> Outcome {
    let transport = engine.model.addresses.get(&datagram.source);
    engine.arrived.push(Arrived {
        datagram: *datagram,
        transport: *transport.ok_or(DropReason::Stranger)?,
        is_rtcp,
    });
    Ok(None)
}

fn dtls(engine: &mut Engine, now: Instant, payload: &[u8], datagram: &Datagram) -> Outcome {
    let key = engine.model.addresses.get(&datagram.source);
    let key = *key.ok_or(DropReason::Stranger)?;
    if engine.events_are_full() {
        return Err(DropReason::DtlsFlood);
    }
    let transport = &mut engine.model.transports[key];
    let (since, count) = &mut transport.dtls_lately;
    if now - *since >= DTLS_INTERVAL {
        (*since, *count) = (now, 0);
    }
    if *count >= DTLS_MAX {
        return Err(DropReason::DtlsFlood);
    }
    *count += 1;
    transport.handshake = Some(Path {
        remote: datagram.source,
        local: datagram.local,
    });
    let event = Event::Dtls {
        transport: transport.id,
        from: datagram.source,
        datagram: payload.to_vec(),
    };
    engine.push_event(event);
    Ok(Some(Consumed::Dtls))
}

fn stun(engine: &mut Engine, now: Instant, payload: &[u8], datagram: &Datagram) -> Outcome {
    let message = Message::parse(payload).map_err(|_| DropReason::StunMalformed)?;
    match message.class() {
        Class::Request => request(engine, now, &message, datagram)?,
        Class::SuccessResponse | Class::ErrorResponse => {
            response(engine, now, &message, datagram)?;
        }
        // RFC 8445 §11: a keepalive asks for nothing.
        Class::Indication if engine.model.addresses.contains_key(&datagram.source) => {}
        Class::Indication => return Err(DropReason::Stranger),
    }
    Ok(Some(Consumed::Stun))
}

fn request(
    engine: &mut Engine,
    now: Instant,
    message: &Message<'_>,
    datagram: &Datagram,
) -> Result<(), DropReason> {
    let name = message.username().and_then(ice::split_username);
    let key = name.and_then(|(ufrag, _)| engine.model.ufrags.get(ufrag));
    let Some(&key) = key else {
        note_unknown_ufrag(engine, name.map(|(_, theirs)| theirs));
        return Err(DropReason::StunUnknownUfrag);
    };
    let path = Path {
        remote: datagram.source,
        local: datagram.local,
    };
    let transport = &mut engine.model.transports[key];
    let mut response = [0; MAX_RESPONSE_LEN];
    let answered = transport
        .ice
        .on_request(now, message, datagram.source, &mut response);
    let len = answered.map_err(|ignored| {
        let refused = matches!(ignored, Ignored::WrongIntegrity | Ignored::NoIntegrity);
        transport.standing.wrong_integrity |= refused;
        reason(ignored)
    })?;
    // Not so if the check was answered by an error.
    if transport.ice.is_checked(path.remote) {
        transport.note_path(path);
        engine.model.claim_address(path.remote, key);
    }
    engine
        .outbox
        .push(&mut engine.stats, path, PacketKind::Stun, &response[..len]);
    engine.drain_ice(key);
    Ok(())
}

/// Who waits for the sender of a check by its own ufrag finds out why it waits.
fn note_unknown_ufrag(engine: &mut Engine, theirs: Option<&[u8]>) {
    let awaited = theirs.and_then(|ufrag| engine.model.awaited.get(ufrag));
    if let Some(transport) = awaited.and_then(|key| engine.model.transports.get_mut(*key)) {
        transport.standing.unknown_ufrag = true;
    }
}

fn response(
    engine: &mut Engine,
    now: Instant,
    message: &Message<'_>,
    datagram: &Datagram,
) -> Result<(), DropReason> {
    let mut outcome = Err(DropReason::Stranger);
    for key in engine.model.asked(datagram.source).into_iter().flatten() {
        let ice = &mut engine.model.transports[key].ice;
        outcome = ice
            .on_response(now, message, datagram.source)
            .map_err(reason);
        if outcome.is_ok() {
            engine.model.prove_address(datagram.source, key);
            engine.drain_ice(key);
            break;
        }
    }
    outcome
}

fn reason(ignored: Ignored) -> DropReason {
    match ignored {
        Ignored::NotBinding | Ignored::Incomplete | Ignored::AnswerTooLong => {
            DropReason::StunMalformed
        }
        Ignored::WrongFingerprint
        | Ignored::WrongUsername
        | Ignored::NoIntegrity
        | Ignored::WrongIntegrity
        | Ignored::UnknownTransaction
        | Ignored::Refused => DropReason::StunUnauthentic,
        Ignored::Ended => DropReason::Gone,
    }
}
