use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use clock::{Instant, NtpTime};
use proto::codec;
use proto::rtcp::{self, Nack, Packet, Pli, ReceiverReport, ReportBlock, Writer};
use proto::rtp::Header;
use proto::rtp::extension::transport_sequence;
use proto::rtx::{self, Retransmission};
use proto::srtp::{Inbound, KeyingMaterial, Outbound};
use proto::twcc::FeedbackGenerator;

use super::outbox::Outbox;
use super::reception::{Arrival, NACK_MAX, Reception};
use super::registry::Registry;
use super::second_opinion::SecondOpinion;
use super::spec::{ExpectedStream, SubscriberSpec};
use super::thread::Shared;
use crate::plan::Codec;
use crate::stream::Verifier;

/// Reports are this far apart (RFC 3550 §6.2 with the reduced minimum of RFC 4585 §3.4 would allow more).
const REPORT_INTERVAL: Duration = Duration::from_secs(1);
/// As Chromium does it.
const FEEDBACK_INTERVAL: Duration = Duration::from_millis(100);
/// A subscriber that has got no key frame by then asks for one, and again after as long.
const KEY_FRAME_PATIENCE: Duration = Duration::from_millis(800);
/// As long as no key frame has come so many packets are looked into at most.
const FIRST_LOOKS: u32 = 256;
/// So many packets of every RTP stream are always checked.
const FIRST_SAMPLES: u32 = 3;
/// The round trip before any is known.
const RTT_GUESS: Duration = Duration::from_millis(20);
/// A stream is silent when it got nothing between two reports in which at least so many packets were published.
const SILENCE: u64 = 4;
/// Room for one RTCP datagram before protection.
const RTCP_BYTES: usize = 1200;

/// A subscriber before it is connected.
#[derive(Debug)]
pub(super) struct Plan {
    expect: Vec<(ExpectedStream, Arc<AtomicU64>)>,
    transport_sequence: Option<u8>,
    asked: Option<Instant>,
}

impl Plan {
    pub(super) fn new(spec: &SubscriberSpec, registry: &Registry) -> Self {
        let expect = spec.expect.iter();
        Self {
            expect: expect
                .map(|stream| (stream.clone(), registry.published(stream.seed)))
                .collect(),
            transport_sequence: spec.transport_sequence,
            asked: spec.asked,
        }
    }
}

/// The receiving side of one transport.
#[derive(Debug)]
pub(super) struct Subscriber {
    streams: Vec<Stream>,
    begun: Instant,
    asked: Option<Instant>,
    has_media: bool,
    is_looked_into: bool,
    transport_sequence: Option<u8>,
    /// Present once media may flow.
    keys: Option<Keys>,
    feedback: Option<Box<FeedbackGenerator>>,
    next_report: Instant,
    rtt: Duration,
    own_ssrc: u32,
}

#[derive(Debug)]
struct Keys {
    outbound: Box<Outbound>,
    inbound: Box<Inbound>,
    opinion: Box<SecondOpinion>,
}

/// One RTP stream that should come, with its retransmissions.
#[derive(Debug)]
struct Stream {
    ssrc: u32,
    rtx_ssrc: Option<u32>,
    /// Packets until the next sample.
    until_sample: u32,
    reception: Reception,
    seen: Seen,
    /// Key frame wanted: when to ask next, and packets still to be looked into.
    key_frame: Option<(Instant, u32)>,
    key_frames_on_request: bool,
    codec: codec::Codec,
    clock_rate: u32,
    verifier: Verifier,
    last_sample: Option<(u64, u64)>,
    sender_report: Option<(NtpTime, Instant)>,
    published: Arc<AtomicU64>,
    /// Packets that came, and that were published. `None` before the first report, which says nothing of a whole interval.
    at_last_report: Option<(u64, u64)>,
    is_silent: bool,
}

/// What reports need of single packets.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    packets: u64,
    timestamp: u32,
    arrival: Instant,
    /// Sixteen times the jitter (RFC 3550 §A.8), measured at the first packets of frames.
    jitter_scaled: i64,
}

/// Where something goes, and what is known there.
pub(super) struct Way<'a> {
    pub(super) local: IpAddr,
    pub(super) remote: SocketAddr,
    pub(super) out: &'a mut Outbox,
}

impl Subscriber {
    pub(super) fn new(now: Instant, plan: Plan, shared: &mut Shared) -> Self {
        let streams = plan.expect.into_iter();
        shared.counters.subscribers += 1;
        Self {
            streams: streams
                .map(|(expected, published)| Stream::new(expected, published))
                .collect(),
            begun: now,
            asked: plan.asked,
            has_media: false,
            is_looked_into: false,
            transport_sequence: plan.transport_sequence,
            keys: None,
            feedback: None,
            next_report: Instant::FAR_FUTURE,
            rtt: RTT_GUESS,
            own_ssrc: shared.rng.next_u32() | 1,
        }
    }

    /// Media may flow; false if the libraries do not take the keys.
    pub(super) fn connect(
        &mut self,
        now: Instant,
        keys: &KeyingMaterial,
        shared: &mut Shared,
    ) -> bool {
        let made = (
            Outbound::new(&keys.local),
            Inbound::new(&keys.remote),
            SecondOpinion::new(&keys.remote, shared.settings.sampled),
        );
        let (Ok(outbound), Ok(inbound), Some(opinion)) = made else {
            return false;
        };
        self.keys = Some(Keys {
            outbound: Box::new(outbound),
            inbound: Box::new(inbound),
            opinion: Box::new(opinion),
        });
        // Thousands that joined at once must not report at once ever after.
        let phase = shared.rng.below(REPORT_INTERVAL.as_nanos() as u64);
        self.next_report = now + Duration::from_nanos(phase);
        for stream in &mut self.streams {
            let wanted = stream.key_frames_on_request && !shared.settings.sampled;
            stream.key_frame = wanted.then(|| (now + KEY_FRAME_PATIENCE, FIRST_LOOKS));
        }
        true
    }

    /// From now on none of its packets has been checked.
    pub(super) fn begin_checks(&mut self) {
        self.is_looked_into = false;
    }

    /// Takes an RTP packet. Says whether a deadline may have changed.
    pub(super) fn on_rtp(
        &mut self,
        packet: &[u8],
        arrival: Instant,
        now: Instant,
        shared: &mut Shared,
    ) -> bool {
        let checked = shared.counters.samples;
        let changed = self.take_rtp(packet, arrival, now, shared);
        if shared.counters.samples > checked && !self.is_looked_into {
            self.is_looked_into = true;
            shared.counters.looked_into += 1;
        }
        changed
    }

    fn take_rtp(
        &mut self,
        packet: &[u8],
        arrival: Instant,
        now: Instant,
        shared: &mut Shared,
    ) -> bool {
        let Some(keys) = &mut self.keys else {
            shared.counters.stray += 1;
            return false;
        };
        let counters = &mut shared.counters;
        counters.received_packets += 1;
        counters.received_bytes += packet.len() as u64;
        let Some(&[_, _, s0, s1, t0, t1, t2, t3, c0, c1, c2, c3]) = packet.first_chunk::<12>()
        else {
            counters.stray += 1;
            return false;
        };
        let ssrc = u32::from_be_bytes([c0, c1, c2, c3]);
        let mut changed = false;
        if let Some(id) = self.transport_sequence {
            changed |= note_for_feedback(&mut self.feedback, id, packet, arrival);
        }
        let media = self.streams.iter_mut().find(|stream| stream.ssrc == ssrc);
        if let Some(stream) = media {
            if !self.has_media {
                self.has_media = true;
                let took = arrival.saturating_since(self.begun).as_micros();
                shared.counters.first_packet.saturating_record(took as u64);
                if let Some(asked) = self.asked {
                    let took = arrival.saturating_since(asked).as_micros();
                    shared.counters.whole_join.saturating_record(took as u64);
                }
            }
            let sequence = u16::from_be_bytes([s0, s1]);
            let timestamp = u32::from_be_bytes([t0, t1, t2, t3]);
            stream.note(timestamp, arrival);
            return changed | stream.on_media(keys, packet, sequence, arrival, now, shared);
        }
        let repaired = |stream: &&mut Stream| stream.rtx_ssrc == Some(ssrc);
        if let Some(stream) = self.streams.iter_mut().find(repaired) {
            stream.on_retransmission(keys, packet, shared);
        } else {
            shared.counters.unknown_ssrc += 1;
        }
        changed
    }

    /// Takes an RTCP packet: the forwarder's sender reports, for the round trip.
    pub(super) fn on_rtcp(&mut self, packet: &mut [u8], arrival: Instant, shared: &mut Shared) {
        let Some(keys) = &mut self.keys else {
            return;
        };
        let Ok(len) = keys.inbound.unprotect_rtcp(packet) else {
            shared.counters.unauthentic += 1;
            shared.wrong(|| "an RTCP packet is not authentic".to_owned());
            return;
        };
        let Ok(packets) = rtcp::compound(packet.get(..len).unwrap_or_default()) else {
            return;
        };
        for packet in packets.flatten() {
            if let Packet::SenderReport(report) = packet {
                let about = |stream: &&mut Stream| stream.ssrc == report.info.ssrc;
                if let Some(stream) = self.streams.iter_mut().find(about) {
                    stream.sender_report = Some((report.info.ntp, arrival));
                }
            }
        }
    }

    /// Does what is due: reports, feedback, requests.
    pub(super) fn on_timeout(
        &mut self,
        now: Instant,
        rtt: Option<Duration>,
        way: &mut Way<'_>,
        shared: &mut Shared,
    ) {
        self.rtt = rtt.unwrap_or(self.rtt);
        let Some(keys) = &mut self.keys else {
            return;
        };
        let mut buffer = [0; RTCP_BYTES];
        if self.next_report <= now {
            self.next_report = now + REPORT_INTERVAL;
            let mut writer = Writer::new(&mut buffer);
            let sampled = shared.settings.sampled;
            let mut blocks = [ReportBlock::default(); 4];
            let mut count = 0;
            for stream in &mut self.streams {
                stream.watch_silence(shared);
                if stream.reception.has_begun()
                    && let Some(block) = blocks.get_mut(count)
                {
                    *block = stream.report(now, sampled);
                    count += 1;
                }
            }
            let blocks = blocks.get(..count).unwrap_or_default();
            if ReceiverReport::write(self.own_ssrc, blocks, &mut writer).is_ok() {
                let len = writer.len();
                shared.counters.reports += 1;
                send(way, &mut keys.outbound, &buffer[..len]);
            }
        }
        if let Some(feedback) = &mut self.feedback
            && feedback.deadline().is_some_and(|due| due <= now)
        {
            let media = self.streams.first().map_or(0, |stream| stream.ssrc);
            loop {
                let mut writer = Writer::new(&mut buffer);
                match feedback.write(self.own_ssrc, media, &mut writer) {
                    Ok(true) => {}
                    Ok(false) | Err(rtcp::Full) => break,
                }
                let len = writer.len();
                shared.counters.feedback += 1;
                send(way, &mut keys.outbound, &buffer[..len]);
            }
        }
        for stream in &mut self.streams {
            stream.ask(now, self.rtt, self.own_ssrc, keys, way, shared);
        }
    }

    /// When [`Subscriber::on_timeout`] is due.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.keys.as_ref()?;
        let feedback = self.feedback.as_ref().and_then(|f| f.deadline());
        let streams = self.streams.iter().flat_map(|stream| {
            let key_frame = stream.key_frame.map(|(at, _)| at);
            [stream.reception.nack_deadline(), key_frame]
        });
        streams
            .chain([feedback, Some(self.next_report)])
            .flatten()
            .min()
    }

    /// It is being removed: what it contributed to gauges goes.
    pub(super) fn retire(&mut self, shared: &mut Shared) {
        let silent = self.streams.iter().filter(|stream| stream.is_silent);
        shared.counters.silent -= silent.count() as u64;
        shared.counters.subscribers -= 1;
        shared.counters.looked_into -= u64::from(self.is_looked_into);
    }
}

fn send(way: &mut Way<'_>, srtp: &mut Outbound, packet: &[u8]) {
    way.out.send_rtcp(way.local, way.remote, srtp, packet);
}

/// Notes a packet's transport-wide number. Says whether feedback has become due at another time.
fn note_for_feedback(
    feedback: &mut Option<Box<FeedbackGenerator>>,
    id: u8,
    packet: &[u8],
    arrival: Instant,
) -> bool {
    let Ok(header) = Header::parse(packet) else {
        return false;
    };
    let element = header.extensions(packet).find(id);
    let Some(sequence) = element.and_then(transport_sequence) else {
        return false;
    };
    let feedback =
        feedback.get_or_insert_with(|| Box::new(FeedbackGenerator::new(FEEDBACK_INTERVAL)));
    let before = feedback.deadline();
    feedback.on_packet(sequence, arrival);
    feedback.deadline() != before
}

impl Stream {
    fn new(expected: ExpectedStream, published: Arc<AtomicU64>) -> Self {
        let (codec, clock_rate) = match expected.codec {
            Codec::Vp8 => (codec::Codec::Vp8, 90_000),
            Codec::H264 => (codec::Codec::H264, 90_000),
            Codec::Opus => (codec::Codec::Opus, 48_000),
        };
        Self {
            ssrc: expected.ssrc,
            rtx_ssrc: expected.rtx.map(|rtx| rtx.ssrc),
            until_sample: 0,
            reception: Reception::new(),
            seen: Seen::default(),
            key_frame: None,
            key_frames_on_request: expected.key_frames_on_request && codec.is_video(),
            codec,
            clock_rate,
            verifier: expected.verifier,
            last_sample: None,
            sender_report: None,
            at_last_report: None,
            published,
            is_silent: false,
        }
    }

    fn note(&mut self, timestamp: u32, arrival: Instant) {
        let seen = &mut self.seen;
        seen.packets += 1;
        if timestamp == seen.timestamp {
            return;
        }
        if seen.packets > 1 {
            let elapsed = arrival.saturating_since(seen.arrival).as_micros() as i64;
            let elapsed = elapsed * i64::from(self.clock_rate) / 1_000_000;
            let advanced = timestamp.wrapping_sub(seen.timestamp).cast_signed();
            let step = (elapsed - i64::from(advanced)).abs();
            // RFC 3550 §A.8; a step of seconds is a pause and no jitter.
            if step < 5 * i64::from(self.clock_rate) {
                seen.jitter_scaled += step - ((seen.jitter_scaled + 8) >> 4);
            }
        }
        seen.timestamp = timestamp;
        seen.arrival = arrival;
    }

    /// Says whether there is something new to ask for.
    fn on_media(
        &mut self,
        keys: &mut Keys,
        packet: &[u8],
        sequence: u16,
        arrival: Instant,
        now: Instant,
        shared: &mut Shared,
    ) -> bool {
        let number = self.reception.extend(sequence);
        let mut changed = false;
        let sampled = shared.settings.sampled;
        let counters = &mut shared.counters;
        match self.reception.on_packet(number) {
            Arrival::Newer { gap } => {
                if !sampled {
                    counters.expected += gap + 1;
                    counters.delivered += 1;
                }
                if gap > 0 && !sampled && self.rtx_ssrc.is_some() {
                    changed = true;
                    if !self.reception.ask_for(now, gap) {
                        self.want_key_frame(now);
                    }
                }
            }
            Arrival::Filled if !sampled => counters.delivered += 1,
            Arrival::BeforeFirst { more } if !sampled => {
                counters.expected += more;
                counters.delivered += 1;
            }
            Arrival::Filled | Arrival::BeforeFirst { .. } => {}
            Arrival::Duplicate => counters.duplicates += 1,
            Arrival::Late => counters.late += 1,
        }
        let looks = self.key_frame.as_mut().filter(|(_, looks)| *looks > 0);
        if self.until_sample > 0 && looks.is_none() {
            self.until_sample -= 1;
            return changed;
        }
        if let Some((_, looks)) = looks {
            *looks -= 1;
        }
        let every = shared.settings.sample_every.max(1);
        let is_first = self.seen.packets < u64::from(FIRST_SAMPLES);
        // Irregularly: a forwarder may err in step with its bursts.
        self.until_sample = if is_first {
            0
        } else {
            shared.rng.below(2 * u64::from(every) - 1) as u32
        };
        self.check(keys, packet, number, arrival, shared);
        changed
    }

    fn want_key_frame(&mut self, now: Instant) {
        if self.key_frames_on_request && self.key_frame.is_none() {
            self.key_frame = Some((now, FIRST_LOOKS));
        }
    }

    /// Authenticates, decrypts and compares a media packet.
    fn check(
        &mut self,
        keys: &mut Keys,
        packet: &[u8],
        number: u64,
        arrival: Instant,
        shared: &mut Shared,
    ) {
        let ssrc = self.ssrc;
        let Some((header, plain)) = decrypt(keys, packet, ssrc, shared) else {
            return;
        };
        let Ok(payload) = header.payload_range(&plain) else {
            return shared.wrong_payload(|| format!("RTP stream {ssrc:#x}: impossible padding"));
        };
        let payload = plain.get(payload).unwrap_or_default();
        if payload.is_empty() {
            // Only padding: a probe of the path, not a copy of anything.
            return;
        }
        if codec::is_key_frame_start(self.codec, payload) {
            self.key_frame = None;
        }
        match self.verifier.verify(payload) {
            Ok(verified) => {
                if let Some(sent_at) = verified.sent_at {
                    let took = arrival.saturating_since(sent_at).as_nanos();
                    shared.counters.latency.saturating_record(took as u64);
                    self.watch_renumbering(verified.number, number, shared);
                }
            }
            Err(wrong) => shared.wrong_payload(|| format!("RTP stream {ssrc:#x}: {wrong}")),
        }
    }

    /// Packets that the forwarder lost and hid by numbering the others without a gap are lost all the same.
    fn watch_renumbering(&mut self, number: u64, sequence: u64, shared: &mut Shared) {
        if let Some((last_number, last_sequence)) = self.last_sample
            && number > last_number
            && sequence > last_sequence
            && !shared.settings.sampled
        {
            let hidden = (number - last_number).saturating_sub(sequence - last_sequence);
            shared.counters.expected += hidden;
        }
        if self
            .last_sample
            .is_none_or(|(_, last_sequence)| sequence > last_sequence)
        {
            self.last_sample = Some((number, sequence));
        }
    }

    /// Every retransmission is decrypted: which packet it brings is not written on the outside.
    fn on_retransmission(&mut self, keys: &mut Keys, packet: &[u8], shared: &mut Shared) {
        let Some((header, plain)) = decrypt(keys, packet, self.ssrc, shared) else {
            return;
        };
        let Ok(Retransmission::Original { sequence, payload }) = rtx::unwrap(&header, &plain)
        else {
            return;
        };
        let payload = plain.get(payload).unwrap_or_default();
        if let Err(wrong) = self.verifier.verify(payload) {
            let ssrc = self.ssrc;
            return shared.wrong_payload(|| format!("retransmission of {ssrc:#x}: {wrong}"));
        }
        let number = self.reception.extend(sequence);
        let sampled = shared.settings.sampled;
        let counters = &mut shared.counters;
        match self.reception.on_packet(number) {
            Arrival::Filled if !sampled => {
                counters.delivered += 1;
                counters.recovered += 1;
            }
            Arrival::Newer { gap } if !sampled => {
                counters.expected += gap + 1;
                counters.delivered += 1;
                counters.recovered += 1;
            }
            Arrival::BeforeFirst { more } if !sampled => {
                counters.expected += more;
                counters.delivered += 1;
            }
            Arrival::Newer { .. } | Arrival::Filled | Arrival::BeforeFirst { .. } => {}
            Arrival::Duplicate => counters.duplicates += 1,
            Arrival::Late => counters.late += 1,
        }
    }

    /// Asks for what is missing and for pictures, when it is time to.
    fn ask(
        &mut self,
        now: Instant,
        rtt: Duration,
        own_ssrc: u32,
        keys: &mut Keys,
        way: &mut Way<'_>,
        shared: &mut Shared,
    ) {
        let mut buffer = [0; RTCP_BYTES];
        if self.reception.nack_deadline().is_some_and(|due| due <= now) {
            let mut sequences = [0; NACK_MAX];
            let due = self.reception.poll_nack(now, rtt, &mut sequences);
            if due.given_up {
                self.want_key_frame(now);
            }
            let sequences = sequences.get(..due.count).unwrap_or_default();
            let mut writer = Writer::new(&mut buffer);
            if !sequences.is_empty()
                && let Ok(told) = Nack::write(own_ssrc, self.ssrc, sequences, &mut writer)
            {
                shared.counters.nacks += told as u64;
                let len = writer.len();
                send(way, &mut keys.outbound, &buffer[..len]);
            }
        }
        if let Some((at, _)) = self.key_frame.filter(|(at, _)| *at <= now) {
            self.key_frame = Some((at.max(now) + KEY_FRAME_PATIENCE, FIRST_LOOKS));
            let pli = Pli {
                sender: own_ssrc,
                media: self.ssrc,
            };
            let mut writer = Writer::new(&mut buffer);
            if pli.write(&mut writer).is_ok() {
                shared.counters.plis += 1;
                let len = writer.len();
                send(way, &mut keys.outbound, &buffer[..len]);
            }
        }
    }

    /// The report block about this stream, and the beginning of the next interval (RFC 3550 §6.4.1).
    fn report(&mut self, now: Instant, sampled: bool) -> ReportBlock {
        let (last_sender_report, delay_since_last_sender_report) = match self.sender_report {
            Some((ntp, arrival)) => {
                let delay = now.saturating_since(arrival).as_micros() * 65_536 / 1_000_000;
                (ntp.middle_bits(), delay as u32)
            }
            None => (0, 0),
        };
        let fraction = self.reception.fraction_lost();
        let expected = self.reception.expected().cast_signed();
        let lost = expected - self.reception.received().cast_signed();
        ReportBlock {
            ssrc: self.ssrc,
            fraction_lost: if sampled { 0 } else { fraction },
            cumulative_lost: if sampled { 0 } else { lost as i32 },
            extended_highest_sequence: self.reception.extended_highest(),
            jitter: (self.seen.jitter_scaled >> 4).unsigned_abs() as u32,
            last_sender_report,
            delay_since_last_sender_report,
        }
    }

    /// Once a report: has anything come while the publisher sent?
    fn watch_silence(&mut self, shared: &mut Shared) {
        let now = (self.seen.packets, self.published.load(Ordering::Relaxed));
        let Some((came, sent)) = self.at_last_report.replace(now) else {
            return;
        };
        let (came, sent) = (now.0 - came, now.1 - sent);
        let is_silent = came == 0 && sent >= SILENCE && !shared.settings.sampled;
        match (self.is_silent, is_silent) {
            (false, true) => shared.counters.silent += 1,
            (true, false) => shared.counters.silent -= 1,
            (true, true) | (false, false) => {}
        }
        self.is_silent = is_silent;
    }
}

/// The second opinion on a packet, counted.
fn decrypt(
    keys: &mut Keys,
    packet: &[u8],
    ssrc: u32,
    shared: &mut Shared,
) -> Option<(Header, bytes::Bytes)> {
    shared.counters.samples += 1;
    let plain = keys.opinion.decrypt(packet);
    let read = plain.and_then(|plain| Some((Header::parse(&plain).ok()?, plain)));
    if read.is_none() {
        shared.counters.unauthentic += 1;
        shared.wrong(|| format!("a packet of RTP stream {ssrc:#x} is not authentic"));
    }
    read
}
