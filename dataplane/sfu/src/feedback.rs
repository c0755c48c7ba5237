//! RTCP terminated: what we tell publishers, what we ask of them, what we tell subscribers, and what they tell us.
//!
//! Nothing is passed through. Key-frame requests of many subscribers become at most one per encoding and interval; a
//! NACK is served from the cache; sender reports are translated, so that a subscriber's audio and video stay in step by
//! the publisher's own clock.

use clock::{Duration, Instant};
use packet::Arena;
use proto::rtcp::{
    self, FirEntry, Nack, Pli, ReceiverReport, Remb, ReportBlock, ReportBlocks, Sdes, SenderInfo,
    SenderReport, Writer,
};

use crate::api::Kind;
use crate::ceiling;
use crate::congestion;
use crate::discard::{DropReason, Stage};
use crate::engine::{Engine, Gathering};
use crate::model::exit::WAITING_MAX;
use crate::model::observed::Told;
use crate::model::{Medium, Model, Outgoing, Transport};
use crate::path::{Plain, Run};
use crate::select;
use crate::share;
use crate::stats::{PacketKind, Refusal};
use crate::{playout, redundancy};

/// Reports leave this often, give or take half of it (RFC 3550 §6.2: randomized, so that ends do not fall into step).
pub(crate) const REPORT_INTERVAL: Duration = Duration::from_secs(1);
/// How often a publisher without transport-wide feedback is told an estimate.
const REMB_INTERVAL: Duration = Duration::from_secs(1);
/// Bounds of that estimate, in bit/s.
const REMB_RANGE: (u64, u64) = (150_000, 6_000_000);
/// What sound takes of what a transport may carry, in bit/s.
const SOUND_RATE: u64 = 100_000;
/// The estimate before anything was measured.
pub(crate) const REMB_START: u64 = 600_000;
/// Longest RTCP datagram that we write.
const COMPOUND_MAX: usize = 1200;
/// Room for SRTCP's index and tag.
const PROTECTED_MAX: usize = COMPOUND_MAX + 32;
/// Most report blocks of one report (RFC 3550 §6.4.1).
const BLOCKS_MAX: usize = 31;
/// Most sequence numbers that one NACK asks for.
const NACK_MAX: usize = 128;
/// Most NACKs about one encoding that leave at once; the rest follows.
const NACKS_MAX: usize = 4;
/// Most sequence numbers of one RTCP datagram of a subscriber that are looked up.
const NACK_SERVED_MAX: usize = 256;
/// Most key-frame requests of one RTCP datagram that are listened to.
const REQUESTS_MAX: usize = 64;
/// Most transport-wide feedbacks of one RTCP datagram that are listened to. Browsers send one every 50 to 250 ms, and a few at
/// once where the steps between arrivals were long.
const FEEDBACKS_HEARD_MAX: usize = 4;

/// Takes in a decrypted RTCP datagram.
pub(crate) fn on_rtcp(
    engine: &mut Engine,
    now: Instant,
    arena: &mut Arena,
    plain: &Plain,
) -> Result<(), DropReason> {
    // The datagram may ask for retransmissions, which need the arena: the few bytes are copied.
    let mut copy = [0; packet::SLOT_BYTES];
    let bytes = &arena.bytes(plain.slot)[usize::from(plain.start)..usize::from(plain.end)];
    let copy = &mut copy[..bytes.len()];
    copy.copy_from_slice(bytes);
    let packets = rtcp::compound(copy).map_err(|_| DropReason::RtcpMalformed)?;
    let (mut served, mut requests) = (NACK_SERVED_MAX, REQUESTS_MAX);
    let mut feedbacks = FEEDBACKS_HEARD_MAX;
    for packet in packets {
        match packet.map_err(|_| DropReason::RtcpMalformed)? {
            rtcp::Packet::SenderReport(report) => {
                on_sender_report(engine, now, plain, &report.info);
                on_blocks(engine, now, plain.transport, report.blocks);
            }
            rtcp::Packet::ReceiverReport(report) => {
                on_blocks(engine, now, plain.transport, report.blocks);
            }
            rtcp::Packet::Nack(nack) => {
                on_nack(engine, now, arena, plain.transport, &nack, &mut served);
            }
            rtcp::Packet::Pli(pli) if requests > 0 => {
                requests -= 1;
                on_key_frame_request(engine, plain.transport, pli.media);
            }
            rtcp::Packet::Fir(fir) => {
                let mut entries = fir.entries();
                for entry in entries.by_ref().take(requests) {
                    requests -= 1;
                    on_key_frame_request(engine, plain.transport, entry.ssrc);
                }
                let refused = entries.count() as u64;
                engine.stats.refuse(Refusal::RequestFlood, refused);
            }
            rtcp::Packet::ExtendedReport(report) => {
                if let Some(time) = report.reference_time() {
                    engine.model.transports[plain.transport].reference_time =
                        Some((report.sender, time, plain.arrival));
                }
            }
            rtcp::Packet::Remb(remb) => share::on_estimate(engine, now, plain.transport, &remb),
            rtcp::Packet::TransportFeedback(feedback) if feedbacks > 0 => {
                feedbacks -= 1;
                congestion::on_feedback(engine, now, plain.transport, &feedback);
            }
            rtcp::Packet::TransportFeedback(_) => {
                engine.stats.refuse(Refusal::FeedbackFlood, 1);
            }
            rtcp::Packet::Pli(_) => engine.stats.refuse(Refusal::RequestFlood, 1),
            // A stream that ends with BYE falls silent, and its publisher is removed by the agent.
            rtcp::Packet::Sdes(_) | rtcp::Packet::Bye(_) => {}
        }
    }
    Ok(())
}

fn on_sender_report(engine: &mut Engine, now: Instant, plain: &Plain, info: &SenderInfo) {
    let model = &mut engine.model;
    let source = model.transports[plain.transport]
        .sources
        .iter()
        .find(|source| source.ssrc == info.ssrc);
    let Some(source) = source else {
        return;
    };
    let encoding = &mut model.encodings[source.encoding];
    if encoding.ssrc != Some(info.ssrc) {
        return;
    }
    encoding.reception.on_sender_report(info.ntp, plain.arrival);
    let first = encoding
        .sender_report
        .replace((info.ntp, info.timestamp, plain.arrival))
        .is_none();
    if first {
        let medium = encoding.medium;
        engine.report_soon(now, medium);
    }
}

fn on_blocks(engine: &mut Engine, now: Instant, key: u32, blocks: ReportBlocks<'_>) {
    let mut measured = None;
    for block in blocks {
        let Some(about) = outgoing_with(&engine.model, key, block.ssrc) else {
            continue;
        };
        let outgoing = &mut engine.model.outgoing[about];
        outgoing.observed.lose(block.fraction_lost, now);
        outgoing.observed.told = Told {
            packets_lost: block.cumulative_lost,
            jitter: block.jitter,
        };
        let round_trip = outgoing.round_trip(
            block.last_sender_report,
            block.delay_since_last_sender_report,
            now,
        );
        measured = round_trip.or(measured);
        redundancy::on_report(engine, now, key, &block);
        playout::on_report(engine, key, about);
    }
    if let Some(round_trip) = measured {
        engine.model.transports[key].round_trip = Some(round_trip);
    }
}

fn on_key_frame_request(engine: &mut Engine, key: u32, ssrc: u32) {
    engine.stats.key_frame_requests_received += 1;
    let about = outgoing_with(&engine.model, key, ssrc);
    let about = about.filter(|outgoing| engine.model.outgoing[*outgoing].kind == Kind::Video);
    let Some(outgoing) = about else {
        return;
    };
    engine.model.outgoing[outgoing].observed.key_frame_requests += 1;
    let shown = select::shown_by(engine, outgoing);
    if let Some(encoding) = shown {
        engine.want_key_frame(encoding);
    }
}

/// The RTP stream with that SSRC that leaves on a transport.
pub(crate) fn outgoing_with(model: &Model, key: u32, ssrc: u32) -> Option<u32> {
    let mut streams = model.transports[key].outgoing.iter();
    streams
        .find(|outgoing| model.outgoing[**outgoing].ssrc == ssrc)
        .copied()
}

/// Serves a NACK from the cache; a peer without RTX gets a key frame instead, for the same packet must not be encrypted
/// again under its old index.
fn on_nack(
    engine: &mut Engine,
    now: Instant,
    arena: &mut Arena,
    key: u32,
    nack: &Nack<'_>,
    left: &mut usize,
) {
    if !engine.config.nack {
        return;
    }
    let Some(stream) = outgoing_with(&engine.model, key, nack.media) else {
        return;
    };
    if engine.model.outgoing[stream].rtx.is_none() {
        on_key_frame_request(engine, key, nack.media);
        return;
    }
    for sequence in nack.sequences().take(*left) {
        *left -= 1;
        engine.stats.nacks_received += 1;
        engine.model.outgoing[stream].observed.nacks += 1;
        match resend(engine, now, arena, key, stream, sequence) {
            Resend::Done => continue,
            Resend::Refused => engine.stats.retransmissions_refused += 1,
            Resend::Gone => {
                // What comes behind can't be decoded without it, so nothing of that is worth its bytes either.
                engine.stats.retransmissions_refused += 1;
                on_key_frame_request(engine, key, nack.media);
                return;
            }
        }
    }
}

/// What becomes of a request for a packet.
enum Resend {
    Done,
    /// It may be asked for again: it has not come yet, or too much is asked for.
    Refused,
    /// It was here once. Only a key frame helps.
    Gone,
}

fn resend(
    engine: &mut Engine,
    now: Instant,
    arena: &mut Arena,
    key: u32,
    stream: u32,
    sequence: u16,
) -> Resend {
    let model = &mut engine.model;
    let transport = &model.transports[key];
    let outgoing = &mut model.outgoing[stream];
    if is_of_no_use(outgoing, sequence) || congestion::is_full(transport, (stream, sequence)) {
        return Resend::Refused;
    }
    let Some((source, original)) = outgoing.rewriter.source_of(sequence) else {
        return Resend::Refused;
    };
    let encoding = outgoing.medium.and_then(|medium| {
        let encodings = model.media[medium].encodings.iter();
        let mut encodings = encodings.map(|encoding| &model.encodings[*encoding]);
        encodings.find(|encoding| encoding.source == source)
    });
    let packet = encoding.and_then(|encoding| encoding.cache.get(original).copied());
    let (Some(packet), Some(rtx)) = (packet, &mut outgoing.rtx) else {
        return match encoding.is_some_and(|encoding| encoding.seen.is_past(original)) {
            true => Resend::Gone,
            false => Resend::Refused,
        };
    };
    let round_trip = transport.round_trip();
    let is_lossy = transport.lossy_until.is_some();
    let exit = &mut model.exits[key];
    let media = outgoing.sent.octets;
    let mut copies = 0;
    if exit.waiting < WAITING_MAX && !engine.queue.is_full_for_retransmissions() {
        let bytes = packet.payload_len();
        copies = rtx.spend(original, bytes, media, is_lossy, (round_trip, now));
    }
    let mut made = 0;
    while made < copies && exit.waiting < WAITING_MAX {
        arena.retain(packet.slot);
        let run = Run {
            outgoing: stream,
            first: engine.queue.add(now, packet),
            count: 1,
            next: 0,
            retransmission: Some(sequence),
        };
        let pushed = engine.queue.push(exit, key, run);
        debug_assert!(pushed, "there was room for one more");
        made += 1;
    }
    if made == 0 {
        return Resend::Refused;
    }
    engine.gathering = Gathering::Urgent;
    let cells = engine.stats.stage_mut(Stage::Rewrite);
    cells.made += u64::from(made);
    cells.held += u64::from(made);
    Resend::Done
}

/// Whoever gets the key frame of another encoding needs nothing of one that was given up before.
fn is_of_no_use(outgoing: &Outgoing, sequence: u16) -> bool {
    let Some(layers) = &outgoing.layers else {
        return false;
    };
    let sent = outgoing.rewriter.mapped(sequence, 0);
    layers.current.is_none() || sent.is_some_and(|sent| sent.index < layers.obsolete)
}

/// When [`serve`] has something to do for a transport.
pub(crate) fn deadline(model: &Model, key: u32) -> Option<Instant> {
    let transport = &model.transports[key];
    if !is_ready(transport) {
        return None;
    }
    let mut earliest = transport.reports_due;
    if let Some(due) = transport.feedback.as_ref().and_then(|one| one.deadline()) {
        earliest = earliest.min(due);
    }
    if let Some(due) = transport.remb.due {
        earliest = earliest.min(due);
    }
    if let Some(due) = model.connections[transport.connection].due {
        earliest = earliest.min(due);
    }
    for encoding in model.encodings_of(transport) {
        let encoding = &model.encodings[encoding];
        let nack = encoding.nack.as_ref().and_then(|nack| nack.deadline());
        for due in nack.into_iter().chain(encoding.key_frame.deadline()) {
            earliest = earliest.min(due);
        }
    }
    Some(earliest)
}

fn is_ready(transport: &Transport) -> bool {
    transport.outbound.is_some() && transport.selected.is_some()
}

/// Sends what is due to the peer of a transport.
pub(crate) fn serve(engine: &mut Engine, now: Instant, key: u32) {
    if !is_ready(&engine.model.transports[key]) {
        return;
    }
    share::serve(engine, now, key);
    let mut mail = Mail::new();
    if engine.model.transports[key].reports_due <= now {
        ceiling::look(engine, now, key);
        report(engine, now, key, &mut mail);
    }
    request(engine, now, key, &mut mail);
    tell_transport_wide(engine, now, key, &mut mail);
    tell_estimate(engine, now, key, &mut mail);
    mail.send(engine, key);
}

/// RTCP on its way into as few datagrams as it takes.
struct Mail {
    buffer: [u8; COMPOUND_MAX],
    len: usize,
}

impl Mail {
    fn new() -> Self {
        Self {
            buffer: [0; COMPOUND_MAX],
            len: 0,
        }
    }

    /// Appends what `write` writes, in a further datagram if this one is full.
    fn add(
        &mut self,
        engine: &mut Engine,
        key: u32,
        mut write: impl FnMut(&mut Engine, &mut Writer<'_>) -> Result<(), rtcp::Full>,
    ) {
        for _attempt in 0..2 {
            if self.len == 0 {
                // RFC 3550 §6.1: a compound packet begins with a report, for peers without RFC 5506.
                let mut writer = Writer::new(&mut self.buffer);
                let sender = engine.model.transports[key].ssrc;
                let written = ReceiverReport::write(sender, &[], &mut writer);
                written.expect("an empty report fits");
                self.len = writer.len();
            }
            let mut writer = Writer::new(&mut self.buffer[self.len..]);
            let written = write(engine, &mut writer);
            self.len += writer.len();
            if written.is_ok() {
                return;
            }
            self.send(engine, key);
        }
    }

    fn send(&mut self, engine: &mut Engine, key: u32) {
        let len = core::mem::take(&mut self.len);
        let transport = &mut engine.model.transports[key];
        let (Some(path), Some(outbound)) = (transport.selected, &mut transport.outbound) else {
            return;
        };
        if len == 0 {
            return;
        }
        if let Some(capture) = &mut engine.capture {
            capture.outgoing_rtcp(key, &self.buffer[..len]);
        }
        let mut protected = [0; PROTECTED_MAX];
        match outbound.protect(&self.buffer[..len], &mut protected) {
            Ok(len) => engine.outbox.push(
                &mut engine.stats,
                path,
                PacketKind::Srtcp,
                &protected[..len],
            ),
            Err(_) => {
                engine.stats.stage_mut(Stage::Control).made += 1;
                engine
                    .stats
                    .drop_at(Stage::Control, DropReason::KeyExhausted);
            }
        }
    }
}

/// Sender reports about what we send, reception reports about what we receive, and names.
fn report(engine: &mut Engine, now: Instant, key: u32, mail: &mut Mail) {
    let half = REPORT_INTERVAL / 2;
    let jitter = Duration::from_nanos(engine.rng.below(REPORT_INTERVAL.as_nanos() as u64));
    engine.model.transports[key].reports_due = now + half + jitter;
    report_reception(engine, now, key, mail);
    for place in 0..engine.model.transports[key].outgoing.len() {
        let stream = engine.model.transports[key].outgoing[place];
        engine.model.outgoing[stream].observe(now);
        if let Some(info) = sender_info(&engine.model, stream, now) {
            engine.model.outgoing[stream].on_reported(info.ntp, now);
            mail.add(engine, key, |_, out| SenderReport::write(&info, &[], out));
        }
        mail.add(engine, key, |engine, out| {
            let outgoing = &engine.model.outgoing[stream];
            Sdes::write(outgoing.ssrc, &outgoing.described.cname, out)
        });
    }
    if let Some((receiver, time, arrival)) = engine.model.transports[key].reference_time.take() {
        let sender = engine.model.transports[key].ssrc;
        let answer = [rtcp::dlrr(receiver, time, now - arrival)];
        mail.add(engine, key, |_, out| rtcp::write_dlrr(sender, &answer, out));
    }
}

fn report_reception(engine: &mut Engine, now: Instant, key: u32, mail: &mut Mail) {
    let mut blocks = [ReportBlock::default(); BLOCKS_MAX];
    let mut count = 0;
    let transport = &engine.model.transports[key];
    for source in &transport.sources {
        let encoding = &mut engine.model.encodings[source.encoding];
        if encoding.ssrc != Some(source.ssrc) || count == BLOCKS_MAX {
            continue;
        }
        if let Some(block) = encoding.reception.report(source.ssrc, now) {
            encoding.observed.count(encoding.bytes as u32, now);
            encoding.observed.lose(block.fraction_lost, now);
            blocks[count] = block;
            count += 1;
        }
    }
    let sender = transport.ssrc;
    if count > 0 {
        mail.add(engine, key, |_, out| {
            ReceiverReport::write(sender, &blocks[..count], out)
        });
    }
}

/// The publisher's last sender report in the numbers of one subscriber. NTP time and timestamp are moved on by the same
/// time, so the pair says exactly what the publisher said.
fn sender_info(model: &Model, stream: u32, now: Instant) -> Option<SenderInfo> {
    let outgoing = &model.outgoing[stream];
    let encodings = model.media[outgoing.medium?].encodings.iter();
    let encoding = encodings
        .map(|encoding| &model.encodings[*encoding])
        .find(|encoding| Some(encoding.source) == outgoing.source)?;
    let (ntp, timestamp, arrival) = encoding.sender_report?;
    let passed = now - arrival;
    let ticks = passed.as_nanos() * u128::from(encoding.clock_rate) / 1_000_000_000;
    Some(SenderInfo {
        ssrc: outgoing.ssrc,
        ntp: ntp.plus(passed),
        timestamp: outgoing
            .rewriter
            .timestamp(timestamp.wrapping_add(ticks as u32)),
        packets: outgoing.sent.packets,
        octets: outgoing.sent.octets,
    })
}

/// NACKs and key-frame requests to a publisher.
fn request(engine: &mut Engine, now: Instant, key: u32, mail: &mut Mail) {
    for publisher in 0..engine.model.transports[key].publishers.len() {
        let publisher = engine.model.transports[key].publishers[publisher];
        for medium in 0..engine.model.publishers[publisher].media.len() {
            let medium = engine.model.publishers[publisher].media[medium];
            for place in 0..engine.model.media[medium].encodings.len() {
                let encoding = engine.model.media[medium].encodings[place];
                request_packets(engine, now, key, encoding, mail);
                request_key_frame(engine, now, key, encoding, mail);
            }
        }
    }
}

fn request_packets(engine: &mut Engine, now: Instant, key: u32, encoding: u32, mail: &mut Mail) {
    let round_trip = engine.model.transports[key].round_trip();
    let sender = engine.model.transports[key].ssrc;
    let of = &mut engine.model.encodings[encoding];
    let (Some(nack), Some(media)) = (&mut of.nack, of.ssrc) else {
        return;
    };
    if nack.deadline().is_none_or(|due| due > now) {
        return;
    }
    if !engine.model.media[of.medium].is_wanted(of.place) {
        // Whoever wants it later begins with a key frame; until then answers would only burden the way here.
        nack.forget_before(u64::MAX);
        return;
    }
    for _ in 0..NACKS_MAX {
        let of = &mut engine.model.encodings[encoding];
        let nack = of.nack.as_mut().expect("it was there just now");
        let due = nack.poll_nack(now, round_trip);
        if due.given_up > 0 {
            of.key_frame.want();
        }
        let mut missing = [0; NACK_MAX];
        let count = due.sequences.len().min(NACK_MAX);
        missing[..count].copy_from_slice(&due.sequences[..count]);
        if count == 0 {
            break;
        }
        let mut rest = &missing[..count];
        while !rest.is_empty() {
            let mut written = 0;
            mail.add(engine, key, |_, out| {
                written = Nack::write(sender, media, rest, out)?;
                Ok(())
            });
            if written == 0 {
                break;
            }
            engine.stats.nacks_sent += written as u64;
            engine.model.encodings[encoding].observed.nacks += written as u32;
            rest = &rest[written..];
        }
    }
}

fn request_key_frame(engine: &mut Engine, now: Instant, key: u32, encoding: u32, mail: &mut Mail) {
    let sender = engine.model.transports[key].ssrc;
    let of = &mut engine.model.encodings[encoding];
    let medium = &engine.model.media[of.medium];
    if !medium.is_wanted(of.place) {
        of.key_frame.give_up();
        return;
    }
    let (pli, fir) = (medium.any(|codec| codec.pli), medium.any(|codec| codec.fir));
    let Some(media) = of.ssrc.filter(|_| pli || fir) else {
        of.key_frame.give_up();
        return;
    };
    if !of.key_frame.poll(now) {
        return;
    }
    of.fir_sequence = of.fir_sequence.wrapping_add(1);
    of.observed.key_frame_requests += 1;
    let entry = FirEntry {
        ssrc: media,
        sequence: of.fir_sequence,
    };
    engine.stats.key_frame_requests_sent += 1;
    mail.add(engine, key, |_, out| {
        if pli {
            Pli { sender, media }.write(out)
        } else {
            rtcp::Fir::write(sender, &[entry], out)
        }
    });
    select::on_request(engine, now, encoding);
}

/// So many feedbacks at most leave for one transport at once; the rest follows.
const FEEDBACKS_MAX: usize = 8;

fn tell_transport_wide(engine: &mut Engine, now: Instant, key: u32, mail: &mut Mail) {
    let transport = &engine.model.transports[key];
    let due = transport.feedback.as_ref().and_then(|one| one.deadline());
    if due.is_none_or(|due| due > now) {
        return;
    }
    let (sender, media) = (transport.ssrc, transport.feedback_ssrc);
    for _ in 0..FEEDBACKS_MAX {
        let mut more = false;
        mail.add(engine, key, |engine, out| {
            let feedback = engine.model.transports[key].feedback.as_mut();
            let feedback = feedback.expect("it had a deadline just now");
            more = feedback.write(sender, media, out)?;
            Ok(())
        });
        if !more {
            break;
        }
        engine.stats.transport_feedback_sent += 1;
    }
}

/// How much the peer of a transport may send, by what may come of the media on it.
pub(crate) fn set_ceiling(engine: &mut Engine, key: u32) {
    let model = &engine.model;
    let media = || {
        let publishers = model.transports[key].publishers.iter();
        publishers
            .flat_map(|publisher| &model.publishers[*publisher].media)
            .map(|medium| &model.media[*medium])
    };
    let mut pictures = media().filter(|medium| medium.kind == Kind::Video);
    let has_pictures = pictures.next().is_some();
    let is_limited = media().all(|one| one.kind == Kind::Audio || one.bandwidth_max.is_some());
    let takes = |medium: &Medium| match medium.kind {
        Kind::Audio => SOUND_RATE,
        Kind::Video => medium.bandwidth_max.unwrap_or(0),
    };
    let sum = media().map(takes).sum();
    let ceiling = (has_pictures && is_limited).then_some(sum);
    engine.model.transports[key].remb.ceiling = ceiling;
}

/// Publishers that know no transport-wide feedback are told an estimate, or they would stay at their start bit rate: what
/// arrives and some more as long as little is lost (the loss-based part of draft-ietf-rmcat-gcc-02 §6). Those that estimate for
/// themselves are told their ceiling: what a receiver can take bounds their own estimate (libwebrtc's GoogCC).
fn tell_estimate(engine: &mut Engine, now: Instant, key: u32, mail: &mut Mail) {
    let transport = &engine.model.transports[key];
    let (estimates, ceiling) = (transport.feedback.is_none(), transport.remb.ceiling);
    if !estimates && ceiling.is_none() {
        return;
    }
    let media = |model: &Model, encoding: u32| model.encodings[encoding].medium;
    let concerned = engine.model.encodings_of(transport).any(|encoding| {
        let medium = &engine.model.media[media(&engine.model, encoding)];
        medium.any(|codec| codec.remb)
    });
    if !concerned {
        return;
    }
    let due = *engine.model.transports[key]
        .remb
        .due
        .get_or_insert(now + REMB_INTERVAL);
    if due > now {
        return;
    }
    let mut ssrcs = [0; BLOCKS_MAX];
    let (count, bits, lost) = measure(engine, key, &mut ssrcs);
    let transport = &mut engine.model.transports[key];
    let before = transport.remb.bits_per_second;
    let estimate = match lost {
        0.1.. => before * 85 / 100,
        0.02.. => before,
        _ => (before * 2).min(bits * 3 / 2 + 300_000),
    };
    let mut estimate = estimate.max(before / 2).clamp(REMB_RANGE.0, REMB_RANGE.1);
    if !estimates {
        estimate = u64::MAX;
    }
    let estimate = estimate.min(ceiling.unwrap_or(u64::MAX));
    transport.remb.bits_per_second = estimate;
    transport.remb.due = Some(now + REMB_INTERVAL);
    let sender = transport.ssrc;
    engine.stats.remb_sent += 1;
    mail.add(engine, key, |_, out| {
        Remb::write(sender, estimate, &ssrcs[..count], out)
    });
}

/// SSRCs of what arrives on a transport, their bits since the last time, and the part of packets lost since then.
fn measure(engine: &mut Engine, key: u32, ssrcs: &mut [u32]) -> (usize, u64, f64) {
    let transport = &engine.model.transports[key];
    let (mut count, mut bits, mut expected, mut received) = (0, 0, 0, 0);
    for source in &transport.sources {
        let encoding = &mut engine.model.encodings[source.encoding];
        if encoding.ssrc != Some(source.ssrc) || count == ssrcs.len() {
            continue;
        }
        ssrcs[count] = source.ssrc;
        count += 1;
        let (expects, receives) = (encoding.reception.expected(), encoding.reception.received());
        let total = (expects, receives, encoding.arrived);
        bits += total.2.saturating_sub(encoding.measured.2) * 8;
        expected += total.0.saturating_sub(encoding.measured.0);
        received += total.1.saturating_sub(encoding.measured.1);
        encoding.measured = total;
    }
    let lost = expected.saturating_sub(received) as f64 / expected.max(1) as f64;
    (count, bits, lost)
}
