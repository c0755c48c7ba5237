//! A look at the packets of one transport, decrypted, for whoever searches a fault.
//!
//! Off, it costs a branch for each batch. On, packets are copied into memory that the order brought; what finds none is counted as
//! missed, and nobody waits. Media are copied only if the order says so; RTCP has none and is copied whole.

use clock::Instant;
use packet::Arena;

use crate::api::{CaptureEnd, CaptureSpec, Event, TransportId};
use crate::engine::Engine;

/// In front of the octets of a packet: [`Record`] as it is written.
const RECORD_HEADER: usize = 14;
/// No packet is longer with that in front.
const RECORD_MAX: usize = RECORD_HEADER + 2048;
/// Memory that an order may bring, in pieces.
const BUFFERS_MAX: usize = 64;

/// A packet as it was captured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// When it arrived, or was about to leave.
    pub at: Instant,
    /// It came from the peer.
    pub incoming: bool,
    /// It is RTCP, else RTP.
    pub is_rtcp: bool,
    /// How long the whole packet is, decrypted: `octets` may be less of it.
    pub len: u16,
    /// From its beginning.
    pub octets: &'a [u8],
}

impl Record<'_> {
    fn write(&self, out: &mut Vec<u8>, tail: &[&[u8]]) {
        let kept = self.octets.len() + tail.iter().map(|part| part.len()).sum::<usize>();
        out.extend(self.at.as_nanos().to_be_bytes());
        out.push(u8::from(self.incoming));
        out.push(u8::from(self.is_rtcp));
        out.extend(self.len.to_be_bytes());
        out.extend((kept as u16).to_be_bytes());
        out.extend(self.octets);
        tail.iter().for_each(|part| out.extend(*part));
    }
}

/// Reads what a capture wrote, packet by packet.
pub fn records(mut bytes: &[u8]) -> impl Iterator<Item = Record<'_>> {
    std::iter::from_fn(move || {
        let (header, rest) = bytes.split_first_chunk::<RECORD_HEADER>()?;
        let [
            t0,
            t1,
            t2,
            t3,
            t4,
            t5,
            t6,
            t7,
            incoming,
            is_rtcp,
            l0,
            l1,
            k0,
            k1,
        ] = *header;
        let kept = usize::from(u16::from_be_bytes([k0, k1]));
        let (octets, rest) = rest.split_at_checked(kept)?;
        bytes = rest;
        Some(Record {
            at: Instant::from_nanos(u64::from_be_bytes([t0, t1, t2, t3, t4, t5, t6, t7])),
            incoming: incoming != 0,
            is_rtcp: is_rtcp != 0,
            len: u16::from_be_bytes([l0, l1]),
            octets,
        })
    })
}

/// A capture under way.
#[derive(Debug)]
pub(crate) struct Capture {
    number: u64,
    id: TransportId,
    transport: u32,
    packets_left: u64,
    with_payload: bool,
    buffer: Vec<u8>,
    spare: Vec<Vec<u8>>,
    packets: u64,
    missed: u64,
    /// Filled, and to be told of.
    full: Vec<Vec<u8>>,
    now: Instant,
}

impl Capture {
    /// Copies a packet that consists of those parts, of which the first is no media.
    fn add(&mut self, record: &Record<'_>, media: &[&[u8]]) {
        if self.packets_left == 0 {
            return;
        }
        if self.buffer.len() + RECORD_MAX > self.buffer.capacity() {
            let Some(next) = self.spare.pop() else {
                self.missed += 1;
                return;
            };
            self.full.push(core::mem::replace(&mut self.buffer, next));
        }
        let tail = if self.with_payload { media } else { &[] };
        record.write(&mut self.buffer, tail);
        self.packets += 1;
        self.packets_left -= 1;
    }

    /// RTCP of ours, before it is protected.
    pub(crate) fn outgoing_rtcp(&mut self, transport: u32, plain: &[u8]) {
        if transport == self.transport {
            let record = Record {
                at: self.now,
                incoming: false,
                is_rtcp: true,
                len: plain.len() as u16,
                octets: plain,
            };
            self.add(&record, &[]);
        }
    }
}

/// Follows the order to begin. Another one that is under way goes on, and this one is refused.
pub(crate) fn start(engine: &mut Engine, now: Instant, spec: CaptureSpec) {
    let CaptureSpec {
        number,
        transport: id,
        packets,
        with_payload,
        mut buffers,
    } = spec;
    let key = engine.model.transport_key(id);
    let why = match (key, &engine.capture) {
        (_, Some(_)) => Some(CaptureEnd::Busy),
        (None, _) => Some(CaptureEnd::Gone),
        _ => None,
    };
    buffers.retain(|buffer| buffer.is_empty() && buffer.capacity() >= RECORD_MAX);
    buffers.truncate(BUFFERS_MAX);
    let (Some(transport), Some(buffer), None) = (key, buffers.pop(), why) else {
        return engine.push_event(Event::CaptureEnded {
            number,
            packets: 0,
            missed: 0,
            why: why.unwrap_or(CaptureEnd::Busy),
        });
    };
    engine.capture = Some(Box::new(Capture {
        number,
        id,
        transport,
        packets_left: packets,
        with_payload,
        full: Vec::with_capacity(buffers.len() + 1),
        buffer,
        spare: buffers,
        packets: 0,
        missed: 0,
        now,
    }));
}

/// Memory that was told of comes back, empty.
pub(crate) fn refill(engine: &mut Engine, number: u64, buffer: Vec<u8>) {
    if let Some(capture) = engine.capture.as_mut().filter(|one| one.number == number)
        && buffer.is_empty()
        && buffer.capacity() >= RECORD_MAX
        && capture.spare.len() < BUFFERS_MAX
    {
        capture.spare.push(buffer);
    }
}

/// Follows the order to end.
pub(crate) fn stop(engine: &mut Engine, number: u64) {
    if engine
        .capture
        .as_ref()
        .is_some_and(|one| one.number == number)
    {
        end(engine, CaptureEnd::Asked);
    }
}

/// A transport goes, and with it what looks at it.
pub(crate) fn transport_gone(engine: &mut Engine, id: TransportId) {
    if engine.capture.as_ref().is_some_and(|one| one.id == id) {
        end(engine, CaptureEnd::Gone);
    }
}

/// What was decrypted in this turn.
#[cold]
#[inline(never)]
pub(crate) fn incoming(engine: &mut Engine, arena: &Arena) {
    let Some(mut capture) = engine.capture.take() else {
        return;
    };
    let transport = capture.transport;
    let plain = engine.plain.iter();
    for one in plain.filter(|one| one.transport == transport) {
        let bytes = &arena.bytes(one.slot)[usize::from(one.start)..usize::from(one.end)];
        let head = one
            .header
            .as_ref()
            .map_or(bytes.len(), |header| header.len());
        let (head, media) = bytes.split_at(head.min(bytes.len()));
        let record = Record {
            at: one.arrival,
            incoming: true,
            is_rtcp: one.header.is_none(),
            len: bytes.len() as u16,
            octets: head,
        };
        capture.add(&record, &[media]);
    }
    engine.capture = Some(capture);
}

/// What is about to be encrypted in this turn.
#[cold]
#[inline(never)]
pub(crate) fn outgoing(engine: &mut Engine, now: Instant, arena: &Arena) {
    let Some(mut capture) = engine.capture.take() else {
        return;
    };
    capture.now = now;
    let mut rest = engine.headers.as_slice();
    for one in &engine.rewritten {
        let (written, others) = rest.split_at(one.written_len());
        rest = others;
        if one.transport != capture.transport {
            continue;
        }
        let (head, prefix) = written.split_at(usize::from(one.header_len));
        let payload = engine.queue.packet(one.packet).payload(arena);
        let payload = &payload[usize::from(one.changes.left_out)..];
        // RFC 3550 §5.1: the last octet of padding says how many there are.
        let mut padding = [0; u8::MAX as usize];
        let padding = &mut padding[..usize::from(one.padding)];
        if let Some(last) = padding.last_mut() {
            *last = one.padding;
        }
        let record = Record {
            at: now,
            incoming: false,
            is_rtcp: false,
            len: (written.len() + payload.len() + padding.len()) as u16,
            octets: head,
        };
        capture.add(&record, &[prefix, payload, padding]);
    }
    engine.capture = Some(capture);
}

/// Tells of what is full, and ends what is complete. To be called each turn while there is a capture.
#[cold]
#[inline(never)]
pub(crate) fn serve(engine: &mut Engine, now: Instant) {
    let Some(capture) = &mut engine.capture else {
        return;
    };
    capture.now = now;
    let number = capture.number;
    let (mut full, is_over) = (
        core::mem::take(&mut capture.full),
        capture.packets_left == 0,
    );
    for records in full.drain(..) {
        engine.push_event(Event::Captured { number, records });
    }
    if let Some(capture) = &mut engine.capture {
        capture.full = full;
    }
    if is_over {
        end(engine, CaptureEnd::Complete);
    }
}

fn end(engine: &mut Engine, why: CaptureEnd) {
    let Some(capture) = engine.capture.take() else {
        return;
    };
    let number = capture.number;
    for records in capture.full.into_iter().chain([capture.buffer]) {
        if !records.is_empty() {
            engine.push_event(Event::Captured { number, records });
        }
    }
    engine.push_event(Event::CaptureEnded {
        number,
        packets: capture.packets,
        missed: capture.missed,
        why,
    });
}
