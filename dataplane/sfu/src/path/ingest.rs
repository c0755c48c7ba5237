//! Which encoding a packet belongs to, and what its arrival says. RTCP and empty retransmissions end here.

use core::ops::Range;

use clock::Instant;
use packet::Arena;
use proto::codec::dependency::{self, Layer};
use proto::codec::is_key_frame_start;
use proto::loss::Arrival;
use proto::rtp::extension::AudioLevel;
use proto::rtp::{Header, LayersAllocation, Uri, extension};
use proto::rtx::{self, Retransmission};

use super::rewrite::is_passed_on;
use super::{Plain, ahead};
use crate::api::{Event, Kind};
use crate::discard::{DropReason, Stage};
use crate::engine::Engine;
use crate::feedback;
use crate::model::encoding::{SILENCE, Sighting};
use crate::model::packet::{ElementAt, Elements, Packet};
use crate::model::policer::Verdict;
use crate::model::publisher::Role;
use crate::model::templates::Flood;
use crate::model::transport::{SOURCES_MAX, Source};
use crate::model::{Encoding, Medium};
use crate::redundancy;
use crate::select;
use crate::stats::{Consumed, Refusal};

/// `plain` → `media`.
#[inline(never)]
pub(crate) fn run(engine: &mut Engine, now: Instant, arena: &mut Arena) {
    let cells = engine.stats.stage_mut(Stage::Ingest);
    cells.calls += 1;
    cells.packets_in += engine.plain.len() as u64;
    let mut plain = core::mem::take(&mut engine.plain);
    ahead::fetch_encodings(&engine.model, &plain);
    for one in plain.drain(..) {
        let bytes = &arena.bytes(one.slot)[usize::from(one.start)..usize::from(one.end)];
        let outcome = match one.header {
            None => feedback::on_rtcp(engine, now, arena, &one)
                .map(|()| Outcome::Consumed(Consumed::Rtcp)),
            Some(header) => ingest(engine, now, bytes, &one, &header),
        };
        match outcome {
            Ok(Outcome::Media(packet)) => {
                if packet.repeats {
                    redundancy::recover(engine, arena, &packet);
                }
                engine.stats.stage_mut(Stage::Ingest).packets_out += 1;
                engine.media.push(packet);
                continue;
            }
            Ok(Outcome::Consumed(what)) => engine.stats.consume(Stage::Ingest, what),
            Err(reason) => engine.stats.drop_at(Stage::Ingest, reason),
        }
        arena.release(one.slot);
    }
    engine.plain = plain;
}

enum Outcome {
    Media(Packet),
    Consumed(Consumed),
}

fn ingest(
    engine: &mut Engine,
    now: Instant,
    bytes: &[u8],
    plain: &Plain,
    header: &Header,
) -> Result<Outcome, DropReason> {
    note_transport_sequence(engine, bytes, plain, header);
    if engine.config.drop_rtp {
        return Err(DropReason::Injected);
    }
    let source = resolve(engine, now, bytes, plain.transport, header).inspect_err(|_| {
        // What means nothing to us must not fill the peer's table of SSRCs.
        if let Some(inbound) = &mut engine.model.transports[plain.transport].inbound {
            inbound.forget(header.ssrc);
        }
    })?;
    let encoding = &mut engine.model.encodings[source.encoding];
    let medium = &engine.model.media[encoding.medium];
    let (codec, role) = medium
        .codec(header.payload_type)
        .ok_or(DropReason::UnknownPayloadType)?;
    if role != source.role {
        return Err(DropReason::UnknownPayloadType);
    }
    encoding.arrived += bytes.len() as u64;
    let (payload_type, codec) = (codec.payload_type, codec.codec);
    let Some((sequence, payload)) = place(encoding, role, bytes, header)? else {
        return Ok(Outcome::Consumed(Consumed::Probe));
    };
    let late = note_arrival(engine, now, plain, header, &source, sequence)?;
    let encoding = &mut engine.model.encodings[source.encoding];
    encoding.bytes += payload.end as u64;
    let (key, place) = (encoding.medium, encoding.place);
    let medium = &mut engine.model.media[key];
    let verdict = (medium.policer).judge(plain.arrival, place, medium.arriving, bytes.len());
    if verdict != Verdict::Passes {
        police(engine, source.encoding, verdict)?;
    }
    let medium = &engine.model.media[key];
    let elements = elements(medium, bytes, plain, header);
    let key_frame = medium.kind == Kind::Video
        && described_as_key_frame(&elements, bytes, plain)
            .unwrap_or_else(|| is_key_frame_start(codec, &bytes[payload.clone()]));
    let shift = |at: usize| plain.start + u16::try_from(at).expect("a slot is shorter than 64 KiB");
    let layer = layer(engine, now, &elements, (bytes, plain), (&source, sequence));
    let packet = Packet {
        slot: plain.slot,
        payload: (shift(payload.start), shift(payload.end)),
        encoding: source.encoding,
        source: engine.model.encodings[source.encoding].source,
        arrival: Some(plain.arrival),
        sequence,
        timestamp: header.timestamp,
        payload_type,
        marker: header.marker,
        key_frame,
        late,
        repeats: redundancy::concerns(codec),
        layer,
        elements,
    };
    note_meaning(engine, now, bytes, plain, header, &packet);
    Ok(Outcome::Media(packet))
}

/// What a packet of media says besides having come.
#[inline]
fn note_meaning(
    engine: &mut Engine,
    now: Instant,
    bytes: &[u8],
    plain: &Plain,
    header: &Header,
    packet: &Packet,
) {
    let encoding = &mut engine.model.encodings[packet.encoding];
    if packet.key_frame {
        engine.stats.key_frames_received += 1;
        encoding.key_frame.satisfied();
        encoding.deaf_until = None;
        if let Some(nack) = &mut encoding.nack {
            nack.forget_before(packet.sequence);
        }
    }
    let is_media = encoding.ssrc == Some(header.ssrc);
    let medium = &engine.model.media[encoding.medium];
    if medium.kind == Kind::Audio {
        listen(engine, now, bytes, plain, packet);
    } else if medium.has_layers() && is_media && packet.payload_len() > 0 {
        note_layers(engine, bytes, plain, header, packet);
    }
}

/// The sequence number in the encoding, and where the payload lies; `None` for a retransmission with nothing in it.
fn place(
    encoding: &mut Encoding,
    role: Role,
    bytes: &[u8],
    header: &Header,
) -> Result<Option<(u64, Range<usize>)>, DropReason> {
    if role == Role::Media {
        let payload = header.payload_range(bytes);
        let payload = payload.map_err(|_| DropReason::RtpMalformed)?;
        return Ok(Some((encoding.unwrapper.unwrap(header.sequence), payload)));
    }
    match rtx::unwrap(header, bytes).map_err(|_| DropReason::RtxMalformed)? {
        Retransmission::Probe => Ok(None),
        // Before its first packet the RTP stream has no sequence number to place this one by.
        Retransmission::Original { .. } if encoding.last_arrival.is_none() => {
            Err(DropReason::RtxMalformed)
        }
        Retransmission::Original { sequence, payload } => {
            Ok(Some((encoding.unwrapper.unwrap(sequence), payload)))
        }
    }
}

/// Ceilings hold for those too who do not listen. After a pause the picture has to begin anew.
#[cold]
fn police(engine: &mut Engine, encoding: u32, verdict: Verdict) -> Result<(), DropReason> {
    if verdict == Verdict::TooMuch {
        return Err(DropReason::AboveCeiling);
    }
    engine.want_key_frame(encoding);
    Ok(())
}

/// Transport-wide feedback is about every packet, whatever becomes of it.
fn note_transport_sequence(engine: &mut Engine, bytes: &[u8], plain: &Plain, header: &Header) {
    let transport = &mut engine.model.transports[plain.transport];
    let Some(generator) = &mut transport.feedback else {
        return;
    };
    let value = transport
        .extensions
        .id(Uri::TransportCc)
        .and_then(|id| header.extensions(bytes).find(id))
        .and_then(extension::transport_sequence);
    if let Some(sequence) = value {
        generator.on_packet(sequence, plain.arrival);
        transport.feedback_ssrc = header.ssrc;
        if let Some(deadline) = generator.deadline() {
            engine.wheel.schedule(plain.transport, deadline);
        }
    }
}

/// Reception statistics, duplicates and losses. Whether others that follow it came before.
fn note_arrival(
    engine: &mut Engine,
    now: Instant,
    plain: &Plain,
    header: &Header,
    source: &Source,
    sequence: u64,
) -> Result<bool, DropReason> {
    let encoding = &mut engine.model.encodings[source.encoding];
    if source.role == Role::Media {
        encoding
            .reception
            .on_packet(sequence, header.timestamp, plain.arrival);
        let before = encoding.last_arrival.replace(plain.arrival);
        if before.is_some_and(|before| plain.arrival - before > SILENCE) {
            // Nobody could hear our requests meanwhile, so that they were in vain says nothing.
            encoding.key_frame.renew();
            if let Some(deadline) = encoding.key_frame.deadline() {
                engine.wheel.schedule(plain.transport, deadline);
            }
        }
    }
    let late = encoding.seen.highest() > Some(sequence);
    match encoding.seen.note(sequence) {
        Sighting::New => {}
        Sighting::Again => return Err(DropReason::Duplicate),
        Sighting::TooOld => return Err(DropReason::TooOld),
    }
    if source.role == Role::Rtx {
        engine.stats.retransmissions_received += 1;
    }
    let Some(nack) = &mut encoding.nack else {
        return Ok(late);
    };
    let arrival = nack.on_packet(now, sequence);
    if let Some(deadline) = nack.deadline() {
        engine.wheel.schedule(plain.transport, deadline);
    }
    if arrival == Arrival::KeyFrameNeeded {
        engine.want_key_frame(source.encoding);
    }
    Ok(late)
}

/// A payload that only the ends can read may have a descriptor beside it that says what it is; then it is not looked at.
fn described_as_key_frame(elements: &Elements, bytes: &[u8], plain: &Plain) -> Option<bool> {
    let descriptor = elements.value(Uri::DependencyDescriptor, bytes, plain.start)?;
    dependency::Descriptor::parse(descriptor).map(|read| read.is_key_frame_start())
}

/// The temporal layer that the dependency descriptor tells of, where the payload itself says nothing.
#[inline]
fn layer(
    engine: &mut Engine,
    now: Instant,
    elements: &Elements,
    (bytes, plain): (&[u8], &Plain),
    (source, sequence): (&Source, u64),
) -> Option<Layer> {
    let templates = engine.model.encodings[source.encoding].templates.as_mut()?;
    let descriptor = elements.value(Uri::DependencyDescriptor, bytes, plain.start)?;
    let layer = templates.on_packet(now, sequence, descriptor);
    layer.unwrap_or_else(|Flood| {
        engine.stats.refuse(Refusal::StructureFlood, 1);
        None
    })
}

/// Sound says how loud it is, for whoever has the time to listen to many.
fn listen(engine: &mut Engine, now: Instant, bytes: &[u8], plain: &Plain, packet: &Packet) {
    let medium = engine.model.encodings[packet.encoding].medium;
    let Some(voice) = &mut engine.model.media[medium].voice else {
        return;
    };
    let level = packet.elements.value(Uri::AudioLevel, bytes, plain.start);
    let Some(level) = level.and_then(AudioLevel::parse) else {
        return;
    };
    let publisher = voice.publisher;
    if let Some(activity) = voice.loudness.on_packet(now, packet.timestamp, level)
        && !engine.events_are_full()
    {
        engine.push_event(Event::Heard {
            publisher,
            activity,
        });
    }
}

/// A part of a picture of one of several encodings: that it comes says something about all of them, and so may its sender.
fn note_layers(engine: &mut Engine, bytes: &[u8], plain: &Plain, header: &Header, packet: &Packet) {
    select::on_arrival(engine, packet.encoding, packet.timestamp, plain.arrival);
    let medium = &engine.model.media[engine.model.encodings[packet.encoding].medium];
    let id = medium.extensions.id(Uri::VideoLayersAllocation);
    let told = id
        .and_then(|id| header.extensions(bytes).find(id))
        .and_then(LayersAllocation::parse);
    if let Some(allocation) = told {
        select::on_allocation(engine, packet.encoding, allocation, plain.arrival);
    }
}

fn elements(medium: &Medium, bytes: &[u8], plain: &Plain, header: &Header) -> Elements {
    let mut elements = Elements::default();
    for element in header.extensions(bytes) {
        let uri = medium.extensions.uri(element.id);
        if let Some(uri) = uri.filter(|uri| is_passed_on(*uri)) {
            elements.push(ElementAt {
                uri,
                offset: plain.start + element.offset,
                len: element.data.len() as u8,
            });
        }
    }
    elements
}

/// What the RTP stream of a packet is: known already, announced, or told by MID and RID (RFC 8843 §9.2, RFC 8852 §3),
/// or at last the only medium that has its payload type.
fn resolve(
    engine: &mut Engine,
    now: Instant,
    bytes: &[u8],
    key: u32,
    header: &Header,
) -> Result<Source, DropReason> {
    let transport = &engine.model.transports[key];
    let known = transport
        .sources
        .iter()
        .find(|source| source.ssrc == header.ssrc);
    if let Some(source) = known {
        return Ok(*source);
    }
    let found = announced(engine, key, header.ssrc)
        .or_else(|| by_names(engine, key, bytes, header))
        .or_else(|| by_payload_type(engine, key, header));
    let (encoding, role) = found.ok_or(DropReason::UnknownEncoding)?;
    let fits = engine.model.transports[key].sources.len() < SOURCES_MAX;
    if !fits || !engine.model.encodings[encoding].may_become(header.ssrc, role, now) {
        return Err(DropReason::TooManySources);
    }
    Ok(engine.learn(
        key,
        Source {
            ssrc: header.ssrc,
            encoding,
            role,
        },
    ))
}

fn announced(engine: &Engine, key: u32, ssrc: u32) -> Option<(u32, Role)> {
    let model = &engine.model;
    model
        .encodings_of(&model.transports[key])
        .find_map(|encoding| {
            let of = &model.encodings[encoding];
            if of.ssrc == Some(ssrc) {
                Some((encoding, Role::Media))
            } else if of.rtx_ssrc == Some(ssrc) {
                Some((encoding, Role::Rtx))
            } else {
                None
            }
        })
}

fn by_names(engine: &Engine, key: u32, bytes: &[u8], header: &Header) -> Option<(u32, Role)> {
    let model = &engine.model;
    let transport = &model.transports[key];
    let value = |uri| {
        let id = transport.extensions.id(uri)?;
        header.extensions(bytes).find(id)
    };
    let mid = value(Uri::Mid)?;
    let medium = media_of(engine, key).find(|medium| *medium.mid == *mid)?;
    let (_, role) = medium.codec(header.payload_type)?;
    let rid = match role {
        Role::Media => value(Uri::Rid),
        Role::Rtx => value(Uri::RepairedRid).or_else(|| value(Uri::Rid)),
    };
    let encoding = match rid {
        Some(rid) => medium
            .encodings
            .iter()
            .find(|key| model.encodings[**key].rid.as_deref() == Some(rid))
            .or_else(|| only(&medium.encodings)),
        None => only(&medium.encodings),
    };
    Some((*encoding?, role))
}

fn by_payload_type(engine: &Engine, key: u32, header: &Header) -> Option<(u32, Role)> {
    let mut fitting = media_of(engine, key).filter_map(|medium| {
        let (_, role) = medium.codec(header.payload_type)?;
        Some((medium, role))
    });
    let (medium, role) = fitting.next()?;
    if fitting.next().is_some() {
        return None;
    }
    only(&medium.encodings).map(|encoding| (*encoding, role))
}

fn media_of(engine: &Engine, key: u32) -> impl Iterator<Item = &Medium> {
    let model = &engine.model;
    model.transports[key]
        .publishers
        .iter()
        .flat_map(|publisher| &model.publishers[*publisher].media)
        .map(|medium| &model.media[*medium])
}

fn only<T>(list: &[T]) -> Option<&T> {
    match list {
        [one] => Some(one),
        _ => None,
    }
}
