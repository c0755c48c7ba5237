//! One subscriber's view of a packet: SSRC, payload type, sequence number, timestamp and header extensions.
//!
//! The payload stays where it is; only a header is written, and the two bytes that RTX puts before the payload.

use clock::Instant;
use packet::{Arena, MAX_BATCH, SlotId};
use proto::rtp::{Element, Fields, Refused, Uri, write_header};
use proto::srtp::Handle;

use super::level::{PADDING_BIT, level};
use super::queue::{Queue, STAY_MAX};
use super::rewritten::{Changes, Numbers, PREFIX_MAX, Prefix, Rewritten};
use super::{Run, layered, pace};
use crate::api::Kind;
use crate::cache::PACKETS_MAX;
use crate::congestion;
use crate::discard::{DropReason, Stage};
use crate::engine::{Engine, FLUSHED_MAX};
use crate::model::exit::Exit;
use crate::model::packet::{ELEMENTS_MAX, ElementAt, Packet};
use crate::model::subscriber::Stance;
use crate::model::{Encoding, Medium, Model, Outgoing, Slab};
use crate::redundancy;

/// Longest packet that we send: what fits into an Ethernet frame with IPv4 and UDP.
pub(crate) const DATAGRAM_MAX: usize = 1472;
/// Longest header that we write; extensions that do not fit are left out.
const HEADER_MAX: usize = 320;
/// Most header extensions of a packet that leaves: those passed on, MID, the send time, and the playout delay.
const ELEMENTS_OUT_MAX: usize = ELEMENTS_MAX + 3;
/// Longest header extension that is passed on: a dependency descriptor with its template structure.
const ELEMENT_MAX: usize = 200;
/// Most packets that are looked at beyond the budget of a turn: a run as long as a batch with what other workers handed over,
/// and what a subscriber that starts late has missed.
pub(crate) const OVERSHOOT_MAX: usize = 2 * MAX_BATCH + PACKETS_MAX;
/// Copies from the cache are made up to so many packets of a turn; the rest of the run that brought the first of them comes on
/// top, so that there is memory for all.
const COPIES_UP_TO: usize = FLUSHED_MAX + PACKETS_MAX;
/// Most that is written of a packet: header and prefix.
pub(crate) const WRITTEN_MAX: usize = HEADER_MAX + PREFIX_MAX;
/// How many transports ahead the way out is fetched, and the RTP stream that comes first on it.
const EXIT_AHEAD: usize = 8;
const OUTGOING_AHEAD: usize = 4;

/// When, in the forms that are needed.
#[derive(Clone, Copy)]
pub(super) struct Moment {
    pub(super) now: Instant,
    /// What arrived before this is of no use any more; there may be such.
    oldest: Option<Instant>,
    send_time: [u8; 3],
}

/// Where to: a transport that is ready.
#[derive(Clone, Copy)]
pub(super) struct Way {
    /// Key.
    pub(super) transport: u32,
    pub(super) context: Handle,
    pub(super) overhead: usize,
    pub(super) is_numbered: bool,
    /// Octets of padding that every packet gets, to fill up a probe.
    pub(super) padding: u8,
}

/// Rewrites what waits, transport by transport, so that the state of one subscriber is hot at a time, until `budget` packets
/// or at most [`OVERSHOOT_MAX`] more were looked at. What is left waits on. Packets that are refused take time too, so they
/// count, and so do those that a subscriber is given from the cache.
#[inline(never)]
pub(crate) fn run(engine: &mut Engine, now: Instant, arena: &mut Arena, budget: usize) {
    if engine.queue.is_empty() && engine.paced.is_empty() {
        return;
    }
    engine.stats.stage_mut(Stage::Rewrite).calls += 1;
    let oldest = now.saturating_sub(STAY_MAX);
    let moment = Moment {
        now,
        oldest: (engine.queue.oldest() < oldest).then_some(oldest),
        send_time: proto::rtp::extension::abs_send_time(engine.ntp(now)),
    };
    let mut spent = release_paced(engine, &moment, arena, budget);
    while spent < budget
        && let Some(transport) = engine.queue.next_transport()
    {
        fetch_ahead(engine);
        spent += serve(engine, &moment, arena, transport, budget - spent);
    }
    let packets = engine.rewritten.len() as u64;
    engine.stats.stage_mut(Stage::Rewrite).packets_out += packets;
}

/// What waited for its time, and what fills probes; how many packets that was. Whoever does not fit into the budget comes next.
fn release_paced(engine: &mut Engine, moment: &Moment, arena: &mut Arena, budget: usize) -> usize {
    let mut spent = 0;
    while spent < budget
        && let Some(key) = engine.paced.pop()
    {
        spent += pace::release(engine, moment, arena, key);
    }
    spent
}

/// A cold cache line costs as much as the rest of the rewriting.
fn fetch_ahead(engine: &Engine) {
    let (model, queue) = (&engine.model, &engine.queue);
    if let Some(transport) = queue.ahead(EXIT_AHEAD) {
        model.exits.prefetch(transport);
    }
    if let Some(transport) = queue.ahead(OUTGOING_AHEAD)
        && let Some(outgoing) = queue.first_outgoing(&model.exits[transport])
    {
        model.outgoing.prefetch(outgoing, Outgoing::HOT_BYTES);
    }
}

/// What waits for one transport, up to the run with which `budget` is spent; how much that was. Packets that waited too long
/// go all at once, so they count as one for each run.
fn serve(
    engine: &mut Engine,
    moment: &Moment,
    arena: &mut Arena,
    transport: u32,
    budget: usize,
) -> usize {
    let exit = &mut engine.model.exits[transport];
    let waiting = core::mem::take(&mut exit.waiting);
    if waiting == 0 {
        return 0;
    }
    let list = exit.runs;
    let way = way(transport, exit);
    let (first, first_header) = (engine.rewritten.len(), engine.headers.len());
    let mut place = list.first;
    let (mut served, mut spent) = (0, 0);
    loop {
        let run = engine.queue.run(place);
        served += run.count;
        spent += run.count as usize;
        match way {
            Err(reason) => {
                let stats = &mut engine.stats;
                stats.drop_many(Stage::Rewrite, reason, u64::from(run.count));
            }
            Ok(_) if is_stale(&engine.queue, &run, moment) => {
                let stats = &mut engine.stats;
                stats.drop_many(Stage::Rewrite, DropReason::Stale, u64::from(run.count));
                spent -= run.count as usize - 1;
            }
            Ok(way) => {
                for packet in run.first..run.first + run.count {
                    let held = match way.is_numbered {
                        true => pace::holds(engine, moment, arena, &run, packet, way),
                        false => None,
                    };
                    spent += match held {
                        Some(others) => others,
                        None => rewrite(engine, moment, arena, &run, packet, way),
                    };
                }
            }
        }
        if place == list.last {
            break;
        }
        place = run.next;
        if spent >= budget {
            let exit = &mut engine.model.exits[transport];
            engine
                .queue
                .put_back(exit, transport, place, waiting - served);
            break;
        }
    }
    engine.stats.stage_mut(Stage::Rewrite).held -= u64::from(served);
    let list = &mut engine.rewritten[first..];
    let most = u16::from(engine.config.padding_max);
    if most > 0 && list.len() > 1 {
        engine.stats.padding_bytes += level(list, &mut engine.headers[first_header..], most);
    }
    spent
}

/// Whether a run has waited for so long that it is of no use.
#[inline]
fn is_stale(queue: &Queue, run: &Run, moment: &Moment) -> bool {
    let oldest = moment.oldest;
    oldest.is_some_and(|oldest| queue.since(run.first) < oldest)
}

/// Where to, or why nothing can leave yet.
pub(super) fn way(transport: u32, exit: &Exit) -> Result<Way, DropReason> {
    let keys = exit.keys.ok_or(DropReason::NoKeys)?;
    if exit.path.is_none() {
        return Err(DropReason::NoAddress);
    }
    Ok(Way {
        transport,
        context: keys.context,
        overhead: usize::from(keys.overhead),
        is_numbered: exit.is_numbered,
        padding: 0,
    })
}

/// One packet for one subscriber; how many more that subscriber was given from the cache.
pub(super) fn rewrite(
    engine: &mut Engine,
    moment: &Moment,
    arena: &mut Arena,
    run: &Run,
    place: u32,
    way: Way,
) -> usize {
    let wide = match way.is_numbered {
        true => congestion::next_number(&engine.model, way.transport, run.outgoing),
        false => None,
    };
    let packet = engine.queue.packet(place);
    let (outgoing, numbers) = match number(&mut engine.model, run, packet, arena, moment.now) {
        Ok(numbered) => numbered,
        Err(reason) => return refused(engine, packet.encoding, reason),
    };
    let headers = &mut engine.headers;
    let before = headers.len();
    write(outgoing, arena, packet, &numbers, (moment, wide), headers);
    let header_len = headers.len() - before;
    let (mut octets, mut changes) = (packet.payload_len(), Changes::default());
    if let Some(prefix) = &numbers.prefix {
        changes = prefix.changes;
        octets = changes.apply(octets);
        headers.extend_from_slice(&prefix.bytes[..usize::from(changes.prefix_len)]);
    }
    let len = header_len + octets + usize::from(way.padding) + way.overhead;
    if way.padding > 0 {
        headers[before] |= PADDING_BIT;
    }
    if len > DATAGRAM_MAX {
        headers.truncate(before);
        engine.stats.drop_at(Stage::Rewrite, DropReason::TooLong);
        return 0;
    }
    match &mut outgoing.rtx {
        Some(rtx) if changes.is_again => {
            rtx.sent.count(octets, numbers.timestamp, moment.now);
            engine.stats.retransmissions_sent += 1;
        }
        _ => outgoing.sent.count(octets, numbers.timestamp, moment.now),
    }
    let starts_late = numbers.starts_late.then_some(*packet);
    engine.rewritten.push(Rewritten {
        index: numbers.index,
        ssrc: numbers.ssrc,
        outgoing: run.outgoing,
        transport: way.transport,
        context: way.context,
        packet: place,
        header_len: header_len as u16,
        len: len as u16,
        changes,
        padding: way.padding,
        may_pad: outgoing.kind == Kind::Video && !changes.is_again,
    });
    if way.is_numbered {
        congestion::on_sent(&mut engine.model, moment.now, way.transport, wide, len);
    }
    match starts_late {
        Some(first) => catch_up(engine, moment, arena, run.outgoing, &first, way),
        None => 0,
    }
}

/// A retransmission of nothing: only `way`'s padding, made of the empty packet in `place`. Whether there is one.
pub(super) fn write_padding(
    engine: &mut Engine,
    moment: &Moment,
    arena: &Arena,
    outgoing: u32,
    place: u32,
    way: Way,
) -> bool {
    let wide = congestion::next_number(&engine.model, way.transport, outgoing);
    let stream = &mut engine.model.outgoing[outgoing];
    let mut codecs = stream.described.codecs.iter();
    let payload_type = codecs.find_map(|(_, ours)| ours.rtx);
    let (Some(payload_type), Some(rtx)) = (payload_type, &mut stream.rtx) else {
        return false;
    };
    let numbers = Numbers {
        index: rtx.next,
        ssrc: rtx.ssrc,
        payload_type,
        timestamp: stream.sent.timestamp,
        prefix: None,
        starts_late: false,
    };
    rtx.next += 1;
    rtx.sent.count(0, numbers.timestamp, moment.now);
    let (packet, headers) = (engine.queue.packet(place), &mut engine.headers);
    let before = headers.len();
    write(stream, arena, packet, &numbers, (moment, wide), headers);
    headers[before] |= PADDING_BIT;
    let header_len = headers.len() - before;
    let len = header_len + usize::from(way.padding) + way.overhead;
    let changes = Changes {
        is_again: true,
        ..Changes::default()
    };
    engine.rewritten.push(Rewritten {
        index: numbers.index,
        ssrc: numbers.ssrc,
        outgoing,
        transport: way.transport,
        context: way.context,
        packet: place,
        header_len: header_len as u16,
        len: len as u16,
        changes,
        padding: way.padding,
        may_pad: false,
    });
    engine.stats.retransmissions_sent += 1;
    congestion::on_sent(&mut engine.model, moment.now, way.transport, wide, len);
    true
}

/// A packet of that encoding is of no use to a subscriber.
fn refused(engine: &mut Engine, encoding: u32, reason: DropReason) -> usize {
    engine.stats.drop_at(Stage::Rewrite, reason);
    if reason == DropReason::AwaitingKeyFrame {
        engine.want_key_frame(encoding);
    }
    0
}

/// A subscriber starts with a packet that came late: what follows it was passed over and is in the cache. How many packets
/// that is.
#[cold]
fn catch_up(
    engine: &mut Engine,
    moment: &Moment,
    arena: &mut Arena,
    outgoing: u32,
    first: &Packet,
    way: Way,
) -> usize {
    let newest = engine.model.encodings[first.encoding].seen.highest();
    let missed = first.sequence + 1..=newest.unwrap_or_default();
    let mut made = 0;
    for sequence in missed.take(PACKETS_MAX) {
        if engine.queue.is_full_for_copies() || engine.rewritten.len() >= COPIES_UP_TO {
            break;
        }
        let encoding = &engine.model.encodings[first.encoding];
        let Some(packet) = encoding.cache.get(sequence).copied() else {
            continue;
        };
        arena.retain(packet.slot);
        let run = Run {
            outgoing,
            first: engine.queue.add(moment.now, packet),
            count: 1,
            next: 0,
            retransmission: None,
        };
        engine.stats.stage_mut(Stage::Rewrite).made += 1;
        made += 1 + rewrite(engine, moment, arena, &run, run.first, way);
    }
    made
}

/// The numbers under which a packet of `run` leaves.
fn number<'a>(
    model: &'a mut Model,
    run: &Run,
    packet: &Packet,
    arena: &Arena,
    now: Instant,
) -> Result<(&'a mut Outgoing, Numbers), DropReason> {
    let encodings = &model.encodings;
    let Some(encoding) = encodings.get(packet.encoding) else {
        return Err(DropReason::Gone);
    };
    let outgoing = model.outgoing.get_mut(run.outgoing);
    let outgoing = outgoing.ok_or(DropReason::Gone)?;
    let numbers = match run.retransmission {
        None => {
            let around = (&mut model.media, encodings);
            fresh(outgoing, packet, encoding, around, (arena, now))?
        }
        Some(sequence) => again(outgoing, packet, sequence, arena)?,
    };
    Ok((outgoing, numbers))
}

fn fresh(
    outgoing: &mut Outgoing,
    packet: &Packet,
    encoding: &Encoding,
    around: (&mut Slab<Medium>, &Slab<Encoding>),
    (arena, now): (&Arena, Instant),
) -> Result<Numbers, DropReason> {
    let source = encoding.source;
    if packet.source != source {
        return Err(DropReason::Superseded);
    }
    let payload_type = outgoing.payload_type(packet.payload_type);
    let follows = outgoing.stance == Stance::Following && outgoing.source == Some(source);
    match payload_type {
        Some(payload_type) if follows => follow(outgoing, packet, source, payload_type),
        _ => special(
            outgoing,
            packet,
            encoding,
            around,
            payload_type,
            (arena, now),
        ),
    }
}

/// A packet like the one before it.
#[inline(always)]
fn follow(
    outgoing: &mut Outgoing,
    packet: &Packet,
    source: u32,
    payload_type: u8,
) -> Result<Numbers, DropReason> {
    let (sequence, timestamp) = (packet.sequence, packet.timestamp);
    let mapped = outgoing.rewriter.forward(source, sequence, timestamp);
    let mapped = mapped.map_err(refusal)?;
    Ok(Numbers {
        index: mapped.index,
        ssrc: outgoing.ssrc,
        payload_type,
        timestamp: mapped.timestamp,
        prefix: None,
        starts_late: false,
    })
}

/// A packet with which something begins, that is one of several encodings, or of which something is left out.
#[cold]
#[inline(never)]
fn special(
    outgoing: &mut Outgoing,
    packet: &Packet,
    encoding: &Encoding,
    around: (&mut Slab<Medium>, &Slab<Encoding>),
    payload_type: Option<u8>,
    (arena, now): (&Arena, Instant),
) -> Result<Numbers, DropReason> {
    let source = encoding.source;
    if outgoing.stance == Stance::Plain {
        return plain(outgoing, packet, encoding, (arena, now));
    }
    let Some(payload_type) = payload_type else {
        outgoing.rewriter.skip(source, packet.sequence);
        return Err(DropReason::CodecNotNegotiated);
    };
    if outgoing.stance == Stance::Layered {
        return layered::fresh(outgoing, around, packet, payload_type, (arena, now));
    }
    let starts_late = start(outgoing, packet, encoding, now)?;
    let numbers = follow(outgoing, packet, source, payload_type)?;
    Ok(Numbers {
        starts_late,
        ..numbers
    })
}

fn refusal(refused: Refused) -> DropReason {
    match refused {
        Refused::Duplicate => DropReason::Duplicate,
        Refused::TooLate => DropReason::TooOld,
        Refused::NotSelected => DropReason::BeforeStart,
        Refused::Exhausted => DropReason::KeyExhausted,
    }
}

/// Sound without what it repeats.
fn plain(
    outgoing: &mut Outgoing,
    packet: &Packet,
    encoding: &Encoding,
    (arena, now): (&Arena, Instant),
) -> Result<Numbers, DropReason> {
    let source = encoding.source;
    let own = match redundancy::plain(outgoing, packet, arena) {
        Ok(own) => own,
        Err(reason) => {
            outgoing.rewriter.skip(source, packet.sequence);
            return Err(reason);
        }
    };
    if outgoing.source != Some(source) {
        start(outgoing, packet, encoding, now)?;
    }
    let mapped = outgoing
        .rewriter
        .forward(source, packet.sequence, packet.timestamp)
        .map_err(refusal)?;
    let prefix = (own.left_out > 0).then(|| {
        let mut prefix = Prefix::default();
        prefix.changes.left_out = own.left_out;
        prefix
    });
    Ok(Numbers {
        index: mapped.index,
        ssrc: outgoing.ssrc,
        payload_type: own.payload_type,
        timestamp: mapped.timestamp,
        prefix,
        starts_late: false,
    })
}

/// Begins with an encoding, if it can be begun with this packet. Whether that came late, after others that follow it.
#[cold]
fn start(
    outgoing: &mut Outgoing,
    packet: &Packet,
    encoding: &Encoding,
    now: Instant,
) -> Result<bool, DropReason> {
    let source = encoding.source;
    if outgoing.kind == Kind::Video && !packet.key_frame {
        outgoing.stance = Stance::Awaiting;
        let before = outgoing.passed_over.filter(|(of, _)| *of == source);
        let newest = before.max(Some((source, packet.sequence)));
        outgoing.passed_over = newest;
        return Err(DropReason::AwaitingKeyFrame);
    }
    let passed_over = outgoing.passed_over.take();
    let overtaken =
        passed_over.is_some_and(|(of, newest)| of == source && newest > packet.sequence);
    outgoing.switch(
        source,
        packet.sequence,
        packet.timestamp,
        encoding.clock_rate,
        now,
    );
    Ok(packet.late || overtaken)
}

/// RFC 4588 §4: the retransmission has the timestamp of the original, and numbers of its own.
fn again(
    outgoing: &mut Outgoing,
    packet: &Packet,
    sequence: u16,
    arena: &Arena,
) -> Result<Numbers, DropReason> {
    let codec = outgoing.codec(packet.payload_type);
    let (codec, payload_type) = codec
        .and_then(|codec| Some((codec.codec, codec.rtx?)))
        .ok_or(DropReason::CodecNotNegotiated)?;
    let mapped = outgoing
        .rewriter
        .mapped(sequence, packet.timestamp)
        .ok_or(DropReason::TooOld)?;
    let mut prefix = Prefix::of_retransmission(sequence);
    if let (Stance::Layered, Some(layers)) = (outgoing.stance, &mut outgoing.layers) {
        layered::again(layers, codec, packet, &mut prefix, arena)?;
    }
    let rtx = outgoing
        .rtx
        .as_mut()
        .ok_or(DropReason::CodecNotNegotiated)?;
    let index = rtx.next;
    rtx.next += 1;
    Ok(Numbers {
        index,
        ssrc: rtx.ssrc,
        payload_type,
        timestamp: mapped.timestamp,
        prefix: Some(prefix),
        starts_late: false,
    })
}

/// Appends the header to `headers`.
fn write(
    outgoing: &Outgoing,
    arena: &Arena,
    packet: &Packet,
    numbers: &Numbers,
    (moment, number): (&Moment, Option<u16>),
    headers: &mut Vec<u8>,
) {
    let fields = Fields {
        marker: packet.marker,
        padding: false,
        payload_type: numbers.payload_type,
        sequence: numbers.index as u16,
        timestamp: numbers.timestamp,
        ssrc: numbers.ssrc,
    };
    match &outgoing.extensions {
        Some(block) if packet.elements.is_empty() => {
            block.write_header(&fields, moment.send_time, number, headers);
        }
        _ => {
            // Frame numbers of the encodings have nothing to do with each other; those of VP8 itself are continued.
            let unnumbered = numbers
                .prefix
                .is_some_and(|prefix| prefix.changes.left_out > 0);
            let elements = packet.elements.iter();
            let elements =
                elements.filter(|at| !(unnumbered && at.uri == Uri::DependencyDescriptor));
            let place = (arena, packet.slot);
            let given = (moment, number);
            write_with_elements(outgoing, place, elements, &fields, given, headers);
        }
    }
}

/// The general way.
fn write_with_elements(
    outgoing: &Outgoing,
    (arena, slot): (&Arena, SlotId),
    passed_on: impl Iterator<Item = ElementAt>,
    fields: &Fields,
    (moment, number): (&Moment, Option<u16>),
    headers: &mut Vec<u8>,
) {
    let described = &outgoing.described;
    let mut elements = [Element::new(0, &[]); ELEMENTS_OUT_MAX];
    let mut count = 0;
    let mut room = HEADER_MAX - 64;
    let mut push = |uri: Uri, data: &[u8]| -> Option<u8> {
        let id = described.extensions.id(uri)?;
        room = room.checked_sub(data.len() + 2)?;
        (data.len() <= ELEMENT_MAX).then_some(id)
    };
    if let Some(id) = push(Uri::Mid, &described.mid) {
        elements[count] = Element::new(id, &described.mid);
        count += 1;
    }
    // One of the two is enough for the peer to find out how long packets take.
    let number = number.map(u16::to_be_bytes);
    let (uri, time) = match &number {
        Some(number) => (Uri::TransportCc, number.as_slice()),
        None => (Uri::AbsSendTime, moment.send_time.as_slice()),
    };
    if let Some(id) = push(uri, time) {
        elements[count] = Element::new(id, time);
        count += 1;
    }
    let bytes = arena.bytes(slot);
    // A publisher who says how long to wait knows better.
    let mut hold = described.hold.as_ref();
    for at in passed_on {
        hold = hold.filter(|_| at.uri != Uri::PlayoutDelay);
        let data = &bytes[usize::from(at.offset)..][..usize::from(at.len)];
        if let Some(id) = push(at.uri, data) {
            elements[count] = Element::new(id, data);
            count += 1;
        }
    }
    if let Some(hold) = hold
        && let Some(id) = push(Uri::PlayoutDelay, &hold.0)
    {
        elements[count] = Element::new(id, &hold.0);
        count += 1;
    }
    let start = headers.len();
    headers.resize(start + HEADER_MAX, 0);
    let len = write_header(&mut headers[start..], fields, &elements[..count]);
    headers.truncate(start + len.expect("the elements were chosen to fit"));
}

/// Whether a header extension of a publisher is passed on to subscribers who negotiated it. MID and the send time are
/// written anew; RID and TWCC's number mean something between the publisher and us only.
pub(crate) const fn is_passed_on(uri: Uri) -> bool {
    matches!(
        uri,
        Uri::AudioLevel
            | Uri::VideoOrientation
            | Uri::PlayoutDelay
            | Uri::ContentType
            | Uri::VideoTiming
            | Uri::ColorSpace
            | Uri::DependencyDescriptor
    )
}
