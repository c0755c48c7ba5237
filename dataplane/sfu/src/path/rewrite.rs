//! One subscriber's view of a packet: SSRC, payload type, sequence number, timestamp and header extensions.
//!
//! The payload stays where it is; only a header is written, and the two bytes that RTX puts before the payload.

use clock::{Instant, NtpTime};
use packet::Arena;
use proto::rtp::extension::abs_send_time;
use proto::rtp::{Element, Fields, Refused, Uri, write_header};
use proto::rtx;

use super::Job;
use crate::api::Kind;
use crate::discard::DropReason;
use crate::model::packet::{ELEMENTS_MAX, Packet};
use crate::model::{Model, Outgoing};

/// Longest header that we write; extensions that do not fit are left out.
pub(crate) const HEADER_MAX: usize = 320;
/// Most header extensions of a packet that leaves: those passed on, MID, and the send time.
const ELEMENTS_OUT_MAX: usize = ELEMENTS_MAX + 2;
/// Longest header extension that is passed on: a dependency descriptor with its template structure.
const ELEMENT_MAX: usize = 200;

/// A packet ready to be encrypted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rewritten {
    /// Packet index of SRTP, ROC × 2^16 + sequence number.
    pub(crate) index: u64,
    pub(crate) ssrc: u32,
    /// Which bytes of all headers written are its own.
    header: (u32, u32),
    pub(crate) timestamp: u32,
    prefix: [u8; rtx::PREFIX_LENGTH],
    prefix_len: usize,
    /// Which packet of this turn has the payload.
    pub(crate) packet: u32,
    pub(crate) is_retransmission: bool,
    /// It is the first packet of its source for this subscriber, and came late: later ones were passed over.
    pub(crate) starts_late: bool,
}

impl Rewritten {
    /// Its header, out of all `headers` of the run.
    pub(crate) fn header<'a>(&self, headers: &'a [u8]) -> &'a [u8] {
        &headers[self.header.0 as usize..self.header.1 as usize]
    }

    pub(crate) fn prefix(&self) -> &[u8] {
        &self.prefix[..self.prefix_len]
    }
}

/// What the header of a packet for a subscriber is made of.
struct Numbers {
    index: u64,
    ssrc: u32,
    payload_type: u8,
    timestamp: u32,
    prefix: Option<u16>,
    starts_late: bool,
}

/// Writes the header of `job`.
pub(crate) fn rewrite(
    model: &mut Model,
    arena: &Arena,
    job: &Job,
    packet: &Packet,
    now: Instant,
    ntp: NtpTime,
    headers: &mut Vec<u8>,
) -> Result<Rewritten, DropReason> {
    let Some(encoding) = model.encodings.get(packet.encoding) else {
        return Err(DropReason::Gone);
    };
    let (source, clock_rate) = (encoding.source, encoding.clock_rate);
    let outgoing = model
        .outgoing
        .get_mut(job.outgoing)
        .ok_or(DropReason::Gone)?;
    let numbers = match job.retransmission {
        None => fresh(outgoing, packet, source, clock_rate, now)?,
        Some(sequence) => again(outgoing, packet, sequence)?,
    };
    let start = headers.len() as u32;
    write(outgoing, arena, packet, &numbers, ntp, headers);
    Ok(Rewritten {
        index: numbers.index,
        ssrc: numbers.ssrc,
        header: (start, headers.len() as u32),
        timestamp: numbers.timestamp,
        prefix: numbers.prefix.map(rtx::prefix).unwrap_or_default(),
        prefix_len: numbers.prefix.map_or(0, |_| rtx::PREFIX_LENGTH),
        packet: job.packet,
        is_retransmission: numbers.prefix.is_some(),
        starts_late: numbers.starts_late,
    })
}

fn fresh(
    outgoing: &mut Outgoing,
    packet: &Packet,
    source: u32,
    clock_rate: u32,
    now: Instant,
) -> Result<Numbers, DropReason> {
    let Some(codec) = outgoing.codec(packet.payload_type) else {
        outgoing.rewriter.skip(source, packet.sequence);
        return Err(DropReason::CodecNotNegotiated);
    };
    let payload_type = codec.payload_type;
    let starts = outgoing.awaiting_key_frame || outgoing.source != Some(source);
    let mut starts_late = false;
    if starts {
        if outgoing.kind == Kind::Video && !packet.key_frame {
            outgoing.awaiting_key_frame = true;
            let before = outgoing.passed_over.filter(|(of, _)| *of == source);
            let newest = before.max(Some((source, packet.sequence)));
            outgoing.passed_over = newest;
            return Err(DropReason::AwaitingKeyFrame);
        }
        let passed_over = outgoing.passed_over.take();
        let overtaken =
            passed_over.is_some_and(|(of, newest)| of == source && newest > packet.sequence);
        starts_late = packet.recovered || overtaken;
        outgoing.switch(source, packet.sequence, packet.timestamp, clock_rate, now);
    }
    let mapped = outgoing
        .rewriter
        .forward(source, packet.sequence, packet.timestamp)
        .map_err(|refused| match refused {
            Refused::Duplicate => DropReason::Duplicate,
            Refused::TooLate => DropReason::TooOld,
            Refused::NotSelected => DropReason::BeforeStart,
            Refused::Exhausted => DropReason::KeyExhausted,
        })?;
    Ok(Numbers {
        index: mapped.index,
        ssrc: outgoing.ssrc,
        payload_type,
        timestamp: mapped.timestamp,
        prefix: None,
        starts_late,
    })
}

/// RFC 4588 §4: the retransmission has the timestamp of the original, and numbers of its own.
fn again(outgoing: &mut Outgoing, packet: &Packet, sequence: u16) -> Result<Numbers, DropReason> {
    let payload_type = outgoing
        .codec(packet.payload_type)
        .and_then(|codec| codec.rtx)
        .ok_or(DropReason::CodecNotNegotiated)?;
    let mapped = outgoing
        .rewriter
        .mapped(sequence, packet.timestamp)
        .ok_or(DropReason::TooOld)?;
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
        prefix: Some(sequence),
        starts_late: false,
    })
}

/// Appends the header to `headers`.
fn write(
    outgoing: &Outgoing,
    arena: &Arena,
    packet: &Packet,
    numbers: &Numbers,
    ntp: NtpTime,
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
    let sent_at = abs_send_time(ntp);
    let mut elements = [Element::new(0, &[]); ELEMENTS_OUT_MAX];
    let mut count = 0;
    let mut room = HEADER_MAX - 64;
    let mut push = |uri: Uri, data: &[u8]| -> Option<u8> {
        let id = outgoing.extensions.id(uri)?;
        room = room.checked_sub(data.len() + 2)?;
        (data.len() <= ELEMENT_MAX).then_some(id)
    };
    if let Some(id) = push(Uri::Mid, &outgoing.mid) {
        elements[count] = Element::new(id, &outgoing.mid);
        count += 1;
    }
    if let Some(id) = push(Uri::AbsSendTime, &sent_at) {
        elements[count] = Element::new(id, &sent_at);
        count += 1;
    }
    let bytes = arena.bytes(packet.slot);
    for at in packet.elements.iter() {
        let data = &bytes[usize::from(at.offset)..][..usize::from(at.len)];
        if let Some(id) = push(at.uri, data) {
            elements[count] = Element::new(id, data);
            count += 1;
        }
    }
    let mut header = [0; HEADER_MAX];
    let len = write_header(&mut header, &fields, &elements[..count]);
    headers.extend_from_slice(&header[..len.expect("the elements were chosen to fit")]);
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
