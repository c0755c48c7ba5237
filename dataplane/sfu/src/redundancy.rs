//! Sound that its publisher repeats in the packets that follow (RFC 2198).
//!
//! What got lost on its way to us is taken out of the next packet that comes and goes on as the packet that it was, so every
//! subscriber has it. From then on the repetition is of use only on ways that lose packets themselves: who reports no loss, or
//! can't read it, gets each packet's own sound alone, which is half the bytes.

use clock::{Duration, Instant};
use packet::Arena;
use proto::codec::Codec;
use proto::codec::red::Redundant;
use proto::rtcp::ReportBlock;

use crate::api::Kind;
use crate::discard::{DropReason, Stage};
use crate::engine::Engine;
use crate::model::encoding::Sighting;
use crate::model::packet::{Elements, Packet};
use crate::model::publisher::Role;
use crate::model::subscriber::Stance;
use crate::model::{Medium, Outgoing};

/// A way loses packets if its receiver misses so many of 256 (RFC 3550 §6.4.1): one in a hundred.
const LOSSY: u8 = 3;
/// Repetitions go on for so long after the last loss: several reports of a browser about sound, which come 5 s apart.
const CAUTION: Duration = Duration::from_secs(30);

/// Whether a packet may repeat others.
#[inline]
pub(crate) fn concerns(codec: Codec) -> bool {
    codec == Codec::Red
}

/// Takes out of `packet` those before it that did not come. They go ahead of it.
#[inline(never)]
pub(crate) fn recover(engine: &mut Engine, arena: &mut Arena, packet: &Packet) {
    let Some(redundant) = Redundant::parse(packet.payload(arena)) else {
        return;
    };
    let encoding = &mut engine.model.encodings[packet.encoding];
    let medium = &engine.model.media[encoding.medium];
    let mut found = [None; proto::codec::red::REPEATED_MAX];
    for (place, (before, block)) in found.iter_mut().zip(redundant.repeated()) {
        let known = medium.codec(block.payload_type);
        let is_sound =
            known.is_some_and(|(codec, role)| role == Role::Media && !concerns(codec.codec));
        let sequence = packet.sequence.checked_sub(before);
        let Some(sequence) = sequence.filter(|_| is_sound && !block.range.is_empty()) else {
            continue;
        };
        if encoding.seen.note(sequence) != Sighting::New {
            continue;
        }
        let shift = |at: usize| packet.payload.0 + at as u16;
        *place = Some(Packet {
            payload: (shift(block.range.start), shift(block.range.end)),
            sequence,
            timestamp: packet
                .timestamp
                .wrapping_sub(u32::from(block.timestamp_offset)),
            payload_type: block.payload_type,
            marker: false,
            repeats: false,
            elements: Elements::default(),
            ..*packet
        });
    }
    for lost in found.into_iter().rev().flatten() {
        arena.retain(lost.slot);
        let cells = engine.stats.stage_mut(Stage::Ingest);
        cells.made += 1;
        cells.packets_out += 1;
        engine.stats.sound_recovered += 1;
        engine.media.push(lost);
    }
}

/// How one who does not get repetitions is sent a packet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plain {
    /// Our payload type for its own sound.
    pub(crate) payload_type: u8,
    /// How many octets of the payload come before that.
    pub(crate) left_out: u16,
}

/// What is left of `packet` without what it repeats.
pub(crate) fn plain(
    outgoing: &Outgoing,
    packet: &Packet,
    arena: &Arena,
) -> Result<Plain, DropReason> {
    let ours = |theirs| {
        let codec = outgoing.codec(theirs);
        codec
            .map(|codec| codec.payload_type)
            .ok_or(DropReason::CodecNotNegotiated)
    };
    if !packet.repeats {
        return Ok(Plain {
            payload_type: ours(packet.payload_type)?,
            left_out: 0,
        });
    }
    let redundant = Redundant::parse(packet.payload(arena)).ok_or(DropReason::RtpMalformed)?;
    Ok(Plain {
        payload_type: ours(redundant.own.payload_type)?,
        left_out: redundant.own.range.start as u16,
    })
}

/// How an RTP stream of sound begins: repetitions are for ways that are known to lose packets.
pub(crate) fn stance(outgoing: &Outgoing, medium: &Medium, is_lossy: bool) -> Stance {
    let mut repeating = medium.codecs.iter().filter(|codec| concerns(codec.codec));
    match repeating.next() {
        Some(codec) if !is_lossy || outgoing.codec(codec.payload_type).is_none() => Stance::Plain,
        _ => Stance::Following,
    }
}

/// A receiver has said how much of what it was sent is missing.
pub(crate) fn on_report(engine: &mut Engine, now: Instant, key: u32, block: &ReportBlock) {
    let model = &mut engine.model;
    let transport = &mut model.transports[key];
    // What is lost because too much is sent does not get better by sending more.
    let is_short = model.connections[transport.connection].is_short;
    if is_short {
        if transport.lossy_until.take().is_none() {
            return;
        }
    } else if block.fraction_lost >= LOSSY {
        let before = transport.lossy_until.replace(now + CAUTION);
        if before.is_some() {
            return;
        }
    } else if transport.lossy_until.is_some_and(|until| until <= now) {
        transport.lossy_until = None;
    } else {
        return;
    }
    let is_lossy = transport.lossy_until.is_some();
    for outgoing in &transport.outgoing {
        let stream = &mut model.outgoing[*outgoing];
        let medium = stream.medium.and_then(|medium| model.media.get(medium));
        if let Some(medium) = medium
            && stream.kind == Kind::Audio
            && stream.stance != Stance::Layered
        {
            stream.stance = stance(stream, medium, is_lossy);
        }
    }
}
