//! What publishes: an encoder's packets, answers to NACK and PLI, obedience to feedback, sender reports.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Range;

use clock::{Duration, Instant, NtpTime, Rng};
use proto::bwe::{Beside, Estimator, Leg, Limits, Probe};
use proto::rtcp::{self, Sdes, SenderInfo, SenderReport};
use proto::rtp::{Element, Fields, write_header};
use proto::rtx;
use proto::srtp::Outbound;

use crate::encoder::{Camera, Encoder, Pace, Picture};
use crate::media::{self, Part, RIDS, Ssrcs, Style};

/// Packets that are kept for NACK.
const HISTORY: usize = 600;
const REPORT_INTERVAL: Duration = Duration::from_secs(1);
const SOUND_INTERVAL: Duration = Duration::from_millis(20);
/// Bytes of every part of a picture but the last, or one less.
const PART_BYTES: usize = 1_000;
/// How often an obedient encoder thinks about its rate.
const THINK_INTERVAL: Duration = Duration::from_millis(25);
/// How much faster than the estimate pictures leave (libwebrtc's pacing factor).
const PACING: f64 = 2.5;
/// What waits to leave does so within this, however slow that should be.
const PACING_QUEUE: f64 = 2.0;
/// Around every payload: RTP's header with extensions, SRTP's tag, UDP and IPv4. What is sent is counted with it
/// (libwebrtc's TransportFeedbackAdapter).
const OVERHEAD: usize = 32 + 28;
/// How long a sound is, fifty times a second.
const SOUND_BYTES: Range<usize> = 60..120;
/// After over-use so much is left free beside the draft's share, in bits per second (libwebrtc's AimdRateControl).
const SPARED: f64 = 5e3;
/// What is set aside of the estimate for sound, in bits per second: what its encoder makes, and headers (libwebrtc's
/// AudioSendStream). That it is sent twice is not counted.
const SOUND_RATE: f64 = (50 * 8 * ((SOUND_BYTES.start + SOUND_BYTES.end) / 2 + OVERHEAD)) as f64;
/// Bytes of padding in a probe (RFC 3550 §5.1: one byte says how many).
const PADDING: usize = 224;
/// Beginning and least of the estimate of an obedient publisher, as in Chromium.
const LIMITS: Limits = Limits {
    min: 30e3,
    start: 300e3,
    max: 10e6,
    jitter: Duration::ZERO,
    unproven: 1.5,
    probe_interval: Duration::from_secs(5),
};

/// A camera, a microphone, and who sends what they take.
pub struct Source {
    style: Style,
    ssrcs: Ssrcs,
    rng: Rng,
    /// This publisher's clock at `Instant::ZERO`.
    ntp_at_zero: NtpTime,
    audio: Stream,
    video: Vec<Stream>,
    twcc: u16,
    pictures: u32,
    sounds: u32,
    /// The sound before, and its timestamp: it is sent twice.
    sound_before: Option<(Vec<u8>, u32)>,
    next_picture: Instant,
    next_sound: Instant,
    reports_due: Instant,
    stopped: bool,
    wants_key_frame: bool,
    obedience: Option<Obedience>,
    /// Whether it does what a receiver says it can take.
    pub heeds_remb: bool,
    /// When somebody asked for a key frame, of which encoding.
    pub key_frame_requests: Vec<Instant>,
    /// Sequence numbers that were asked for again.
    pub nacked: u64,
    /// Packets that were sent again.
    pub resent: u64,
    /// Transport-wide feedback messages.
    pub feedback: u64,
    /// When each picture was taken, and of how many parts it is.
    pub taken: BTreeMap<u32, (Instant, u16)>,
    /// Encodings, and pictures that their encoder left out.
    pub left_out: BTreeSet<(u8, u32)>,
    /// When each sound was taken.
    pub heard: BTreeMap<u32, Instant>,
    /// The estimate, and rates of the encodings, whenever they were thought about.
    pub rates: Vec<(Instant, u64, [u64; 3])>,
}

/// One RTP stream, and that of its retransmissions.
struct Stream {
    ssrc: u32,
    rtx_ssrc: u32,
    /// Its RID, with simulcast.
    rid: Option<&'static str>,
    clock_rate: u32,
    timestamp_offset: u32,
    next: u64,
    next_rtx: u64,
    picture_id: u16,
    packets: u32,
    octets: u32,
    history: VecDeque<Kept>,
}

struct Kept {
    sequence: u16,
    timestamp: u32,
    marker: bool,
    payload: Vec<u8>,
    resent: Option<Instant>,
}

/// What an encoder needs in order to obey.
struct Obedience {
    camera: Camera,
    estimator: Estimator,
    leg: Leg,
    pace: Pace,
    waiting: VecDeque<Waiting>,
    waiting_bytes: usize,
    probe: Option<(Probe, u32, u32)>,
    think_due: Instant,
}

/// A packet that the pacer has not let go yet.
struct Waiting {
    stream: usize,
    packet: What,
}

enum What {
    Picture {
        timestamp: u32,
        marker: bool,
        payload: Vec<u8>,
    },
    Again {
        sequence: u16,
    },
}

/// How a browser sends: its keys, and where datagrams go.
pub(crate) struct Wire<'a> {
    pub(crate) now: Instant,
    pub(crate) srtp: &'a mut Outbound,
    pub(crate) out: &'a mut Vec<Vec<u8>>,
}

impl Source {
    pub(crate) fn new(now: Instant, style: Style, ssrcs: Ssrcs, mut rng: Rng) -> Self {
        // Nobody's clock is right.
        let ntp = Duration::from_secs(1_700_000_000 + rng.below(1_000));
        let audio = Stream::new(&mut rng, media::CLOCK_AUDIO, (ssrcs.audio, 0), None);
        let first = u64::from(style.first_sequence);
        let (count, obedience) = match style.encoder {
            Encoder::Careless => (1, None),
            Encoder::Obedient { encodings, layers } => {
                let camera = Camera::new(encodings, layers, style.pictures, rng.fork());
                (encodings, Some(Obedience::new(now, camera)))
            }
        };
        let video = (0..usize::from(count)).map(|nth| {
            let rid = (count > 1).then(|| RIDS[nth]);
            let stream = Stream::new(&mut rng, media::CLOCK_VIDEO, ssrcs.encoding(nth), rid);
            Stream {
                next: first + 1_000 * nth as u64,
                ..stream
            }
        });
        Self {
            style,
            ssrcs,
            ntp_at_zero: NtpTime::from_unix(ntp),
            audio,
            video: video.collect(),
            rng,
            twcc: 0,
            pictures: 0,
            sounds: 0,
            sound_before: None,
            next_picture: now,
            next_sound: now,
            reports_due: now + REPORT_INTERVAL / 4,
            stopped: false,
            wants_key_frame: true,
            obedience,
            heeds_remb: true,
            key_frame_requests: Vec::new(),
            nacked: 0,
            resent: 0,
            feedback: 0,
            taken: BTreeMap::new(),
            left_out: BTreeSet::new(),
            heard: BTreeMap::new(),
            rates: Vec::new(),
        }
    }

    /// Video goes on in another RTP stream, with lower numbers and a key frame.
    pub fn change_ssrc(&mut self) {
        let stream = &mut self.video[0];
        stream.ssrc ^= 0x100;
        stream.rtx_ssrc ^= 0x100;
        stream.next = self.rng.below(50);
        stream.history.clear();
        self.wants_key_frame = true;
    }

    /// What is in everything that it sends and in nothing of anybody else.
    pub fn identity(&self) -> u32 {
        self.ssrcs.audio
    }

    /// Sounds sent.
    pub fn sounds_sent(&self) -> u32 {
        self.sounds
    }

    /// No more pictures and sounds; what was sent can still be asked for.
    pub fn stop(&mut self) {
        self.stopped = true;
    }

    pub(crate) fn deadline(&self) -> Instant {
        let pacing = self.obedience.as_ref().map(Obedience::deadline);
        let due = pacing.map_or(self.reports_due, |due| due.min(self.reports_due));
        if self.stopped {
            return due;
        }
        let sound = self.style.sound.then_some(self.next_sound);
        let media = self.next_picture.min(sound.unwrap_or(self.next_picture));
        media.min(due)
    }

    /// Takes what is due, and sends it.
    pub(crate) fn on_timeout(&mut self, wire: &mut Wire<'_>) {
        if !self.stopped && self.style.sound && self.next_sound <= wire.now {
            self.next_sound += SOUND_INTERVAL;
            self.take_sound(wire);
        }
        if !self.stopped && self.next_picture <= wire.now {
            self.next_picture += Duration::from_secs(1) / self.style.pictures;
            match self.obedience {
                Some(_) => self.take_obediently(wire.now),
                None => self.take_carelessly(wire),
            }
        }
        if self.reports_due <= wire.now {
            self.reports_due = wire.now + REPORT_INTERVAL;
            self.report(wire);
        }
        self.think(wire.now);
        self.let_go(wire);
    }

    /// Takes in what the node says.
    pub(crate) fn on_rtcp(&mut self, packet: &rtcp::Packet<'_>, wire: &mut Wire<'_>) {
        let stream_of = |ssrc| self.video.iter().position(|stream| stream.ssrc == ssrc);
        match packet {
            rtcp::Packet::Pli(pli) => {
                let stream = stream_of(pli.media);
                assert!(stream.is_some(), "only video has key frames");
                self.key_frame_requests.push(wire.now);
                self.wants_key_frame = true;
                if let Some(obedience) = &mut self.obedience {
                    obedience.camera.want_key_frame();
                }
            }
            rtcp::Packet::Fir(_) => panic!("who negotiated PLI is not sent FIR"),
            rtcp::Packet::Nack(nack) => {
                let stream = stream_of(nack.media).expect("NACK is for video");
                for sequence in nack.sequences() {
                    self.nacked += 1;
                    self.on_nack(stream, sequence, wire);
                }
            }
            rtcp::Packet::TransportFeedback(feedback) => {
                self.feedback += 1;
                if let Some(obedience) = &mut self.obedience {
                    let (leg, beside) = (&mut obedience.leg, Beside::default());
                    let estimator = &mut obedience.estimator;
                    estimator.on_feedback(leg, beside, wire.now, feedback);
                }
            }
            rtcp::Packet::Remb(remb) if self.heeds_remb => {
                if let Some(obedience) = &mut self.obedience {
                    obedience.estimator.on_remb(remb.bits_per_second);
                }
            }
            _ => {}
        }
    }

    /// One picture, as big as the dice say.
    fn take_carelessly(&mut self, wire: &mut Wire<'_>) {
        let is_key = core::mem::take(&mut self.wants_key_frame);
        let parts = match is_key {
            true => 5 + self.rng.below(6),
            false => 1 + self.rng.below(4),
        };
        let number = self.pictures;
        self.pictures += 1;
        let picture = Picture {
            encoding: 0,
            number,
            bytes: (parts as usize - 1) * PART_BYTES + 100 + self.rng.below(800) as usize,
            is_key,
            temporal: None,
            builds_on: [number.checked_sub(1).filter(|_| !is_key), None],
        };
        for (marker, payload) in self.cut(wire.now, &picture) {
            let timestamp = self.video[0].timestamp(wire.now);
            self.send_picture(0, timestamp, marker, payload, wire);
        }
    }

    /// One picture in every encoding that is on; they leave when the pacer lets them.
    fn take_obediently(&mut self, now: Instant) {
        let obedience = self.obedience.as_mut().expect("it obeys");
        let pictures = obedience.camera.take();
        self.left_out.append(&mut obedience.camera.left_out);
        for picture in pictures {
            let timestamp = self.video[picture.encoding].timestamp(now);
            for (marker, payload) in self.cut(now, &picture) {
                let obedience = self.obedience.as_mut().expect("it obeys");
                obedience.waiting_bytes += payload.len();
                obedience.waiting.push_back(Waiting {
                    stream: picture.encoding,
                    packet: What::Picture {
                        timestamp,
                        marker,
                        payload,
                    },
                });
            }
        }
    }

    /// A picture in payloads, each with whether it is the last.
    fn cut(&mut self, now: Instant, picture: &Picture) -> Vec<(bool, Vec<u8>)> {
        let parts = picture.bytes.div_ceil(PART_BYTES).max(1);
        let stream = &mut self.video[picture.encoding];
        stream.picture_id = stream.picture_id.wrapping_add(1) & 0x7fff;
        let picture_id = stream.picture_id;
        self.taken.insert(picture.number, (now, parts as u16));
        let mut payloads = Vec::new();
        for part in 0..parts {
            let last = part + 1 == parts;
            let content = Part {
                number: picture.number,
                part: part as u16,
                parts: parts as u16,
                is_key: picture.is_key,
                taken: self.ntp_at_zero.plus(now - Instant::ZERO),
                whose: self.ssrcs.audio,
                encoding: picture.encoding as u8,
                builds_on: picture.builds_on,
            };
            let len = match last {
                true => picture.bytes - part * PART_BYTES,
                // Cut as browsers do it: neighbours may differ by a byte.
                false => PART_BYTES + self.rng.below(2) as usize,
            };
            let payload = media::write_picture(&content, picture_id, picture.temporal, len);
            payloads.push((last, payload));
        }
        payloads
    }

    fn take_sound(&mut self, wire: &mut Wire<'_>) {
        let content = Part {
            number: self.sounds,
            part: 0,
            parts: 1,
            is_key: true,
            taken: self.ntp_at_zero.plus(wire.now - Instant::ZERO),
            whose: self.identity(),
            encoding: 0,
            builds_on: [None; 2],
        };
        self.heard.insert(self.sounds, wire.now);
        self.sounds += 1;
        let len = SOUND_BYTES.start + self.rng.below(SOUND_BYTES.len() as u64) as usize;
        let sound = media::write_sound(&content, len);
        let timestamp = self.audio.timestamp(wire.now);
        let before = self.sound_before.as_ref();
        let before = before.map(|(sound, at)| (&**sound, timestamp.wrapping_sub(*at)));
        let payload = media::repeat(before.filter(|(_, ticks)| *ticks < 1 << 14), &sound);
        self.sound_before = Some((sound, timestamp));
        let fields = Fields {
            marker: false,
            padding: false,
            payload_type: media::IN_RED,
            sequence: self.audio.next as u16,
            timestamp,
            ssrc: self.audio.ssrc,
        };
        let index = self.audio.next;
        self.audio.next += 1;
        self.audio.count(payload.len());
        self.send(
            index,
            &fields,
            &[(media::IN_MID, media::AUDIO_MID)],
            &payload,
            0,
            wire,
        );
    }

    fn send_picture(
        &mut self,
        stream: usize,
        timestamp: u32,
        marker: bool,
        payload: Vec<u8>,
        wire: &mut Wire<'_>,
    ) -> usize {
        let of = &mut self.video[stream];
        let index = of.next;
        let fields = Fields {
            marker,
            padding: false,
            payload_type: media::IN_VP8,
            sequence: index as u16,
            timestamp,
            ssrc: of.ssrc,
        };
        of.next += 1;
        of.count(payload.len());
        let names = names(of.rid.map(|rid| (media::IN_RID, rid)));
        let probe = self.probe_id();
        let sent = self.send(index, &fields, &names, &payload, probe, wire);
        let of = &mut self.video[stream];
        if of.history.len() == HISTORY {
            of.history.pop_front();
        }
        of.history.push_back(Kept {
            sequence: fields.sequence,
            timestamp,
            marker,
            payload,
            resent: None,
        });
        sent
    }

    fn on_nack(&mut self, stream: usize, sequence: u16, wire: &mut Wire<'_>) {
        let Some(obedience) = &mut self.obedience else {
            self.resend(stream, sequence, wire);
            return;
        };
        let kept = self.video[stream].kept(sequence);
        let round_trip = obedience.estimator.round_trip();
        let is_recent = |at: Instant| wire.now.saturating_since(at) < round_trip;
        // Once a round trip, and before pictures that wait, as libwebrtc does.
        if let Some(kept) = kept.filter(|kept| !kept.resent.is_some_and(is_recent)) {
            kept.resent = Some(wire.now);
            obedience.waiting_bytes += kept.payload.len();
            let again = |waiting: &Waiting| matches!(waiting.packet, What::Again { .. });
            let place = obedience
                .waiting
                .iter()
                .take_while(|one| again(one))
                .count();
            let packet = What::Again { sequence };
            obedience.waiting.insert(place, Waiting { stream, packet });
        }
    }

    /// RFC 4588: the packet again in the RTP stream of retransmissions.
    fn resend(&mut self, stream: usize, sequence: u16, wire: &mut Wire<'_>) -> usize {
        let of = &mut self.video[stream];
        let Some(kept) = of.kept(sequence) else {
            return 0;
        };
        let mut payload = rtx::prefix(sequence).to_vec();
        payload.extend(&kept.payload);
        let (marker, timestamp) = (kept.marker, kept.timestamp);
        self.resent += 1;
        self.send_rtx(stream, timestamp, marker, &payload, wire)
    }

    /// What means nothing, to fill a probe: padding, which goes with the retransmissions.
    fn pad(&mut self, wire: &mut Wire<'_>) -> usize {
        let mut payload = vec![0; PADDING];
        payload[PADDING - 1] = PADDING as u8;
        let timestamp = self.video[0].timestamp(wire.now);
        self.send_rtx(0, timestamp, false, &payload, wire)
    }

    fn send_rtx(
        &mut self,
        stream: usize,
        timestamp: u32,
        marker: bool,
        payload: &[u8],
        wire: &mut Wire<'_>,
    ) -> usize {
        let of = &mut self.video[stream];
        let index = of.next_rtx;
        of.next_rtx += 1;
        let fields = Fields {
            marker,
            padding: payload.len() == PADDING && payload[PADDING - 1] == PADDING as u8,
            payload_type: media::IN_RTX,
            sequence: index as u16,
            timestamp,
            ssrc: of.rtx_ssrc,
        };
        let names = names(of.rid.map(|rid| (media::IN_REPAIRED_RID, rid)));
        let probe = self.probe_id();
        self.send(index, &fields, &names, payload, probe, wire)
    }

    fn probe_id(&self) -> u16 {
        let obedience = self.obedience.as_ref();
        let probe = obedience.and_then(|obedience| obedience.probe);
        probe.map_or(0, |(probe, ..)| probe.id)
    }

    /// Encrypts and sends. Returns how many bytes it was.
    fn send(
        &mut self,
        index: u64,
        fields: &Fields,
        names: &[(u8, &str)],
        payload: &[u8],
        probe: u16,
        wire: &mut Wire<'_>,
    ) -> usize {
        let len = payload.len() + OVERHEAD;
        let number = match &mut self.obedience {
            Some(obedience) => {
                let leg = &mut obedience.leg;
                obedience.estimator.on_sent(leg, wire.now, len, probe)
            }
            None => {
                self.twcc = self.twcc.wrapping_add(1);
                self.twcc.wrapping_sub(1)
            }
        };
        let number = number.to_be_bytes();
        let mut elements = vec![Element::new(media::IN_TWCC, &number)];
        elements.extend(
            names
                .iter()
                .map(|(id, name)| Element::new(*id, name.as_bytes())),
        );
        if fields.payload_type == media::IN_RED {
            elements.push(Element::new(media::IN_LEVEL, &[33]));
        }
        let mut header = [0; 64];
        let len = write_header(&mut header, fields, &elements).expect("it fits");
        let header = &header[..len];
        let mut datagram = vec![0; len + payload.len() + 32];
        let len = wire
            .srtp
            .protect_rtp(index, fields.ssrc, header, &[], payload, &mut datagram)
            .expect("an index is used once");
        datagram.truncate(len);
        wire.out.push(datagram);
        len
    }

    /// Follows the estimate, and probes when it should.
    fn think(&mut self, now: Instant) {
        let Some(obedience) = &mut self.obedience else {
            return;
        };
        if obedience.think_due > now {
            return;
        }
        obedience.think_due = now + THINK_INTERVAL;
        let estimator = &mut obedience.estimator;
        estimator.on_timeout(now);
        let estimate = estimator.estimate();
        let sound = if self.style.sound { SOUND_RATE } else { 0.0 };
        let rate = (estimate - sound).max(0.0);
        let rate = without_headers(rate, self.style.pictures);
        obedience.camera.set_rate(rate as u64);
        let wanted = obedience.camera.rate_max() as f64 + sound;
        if !self.stopped
            && let Some(probe) = estimator.poll_probe(now, wanted)
        {
            obedience.probe = Some((probe, 0, 0));
        }
        self.rates
            .push((now, estimate as u64, obedience.camera.rates()));
    }

    /// Sends what the pacer lets go, and what a probe needs.
    fn let_go(&mut self, wire: &mut Wire<'_>) {
        while let Some(obedience) = &mut self.obedience
            && obedience.deadline_of_pacer() <= wire.now
        {
            let sent = match obedience.waiting.pop_front() {
                Some(waiting) => self.release(waiting, wire),
                None => self.pad(wire),
            };
            let obedience = self.obedience.as_mut().expect("it obeys");
            obedience.spend(wire.now, sent);
        }
    }

    fn release(&mut self, waiting: Waiting, wire: &mut Wire<'_>) -> usize {
        let obedience = self.obedience.as_mut().expect("it obeys");
        let stream = waiting.stream;
        let waited = match &waiting.packet {
            What::Picture { payload, .. } => payload.len(),
            What::Again { sequence } => self.video[stream]
                .kept(*sequence)
                .map_or(0, |kept| kept.payload.len()),
        };
        obedience.waiting_bytes = obedience.waiting_bytes.saturating_sub(waited);
        match waiting.packet {
            What::Picture {
                timestamp,
                marker,
                payload,
            } => self.send_picture(stream, timestamp, marker, payload, wire),
            What::Again { sequence } => self.resend(stream, sequence, wire),
        }
    }

    fn report(&self, wire: &mut Wire<'_>) {
        let mut plain = [0; 600];
        let mut writer = rtcp::Writer::new(&mut plain);
        for stream in self.video.iter().chain([&self.audio]) {
            // Nobody reports what it has not begun to send; careless ones do.
            if stream.packets == 0 && self.obedience.is_some() {
                continue;
            }
            let info = SenderInfo {
                ssrc: stream.ssrc,
                ntp: self.ntp_at_zero.plus(wire.now - Instant::ZERO),
                timestamp: stream.timestamp(wire.now),
                packets: stream.packets,
                octets: stream.octets,
            };
            SenderReport::write(&info, &[], &mut writer).expect("it fits");
            Sdes::write(stream.ssrc, b"publisher", &mut writer).expect("it fits");
        }
        let len = writer.len();
        if len > 0 {
            wire.out.push(protect_rtcp(&plain[..len], wire.srtp));
        }
    }
}

impl Stream {
    fn new(
        rng: &mut Rng,
        clock_rate: u32,
        (ssrc, rtx_ssrc): (u32, u32),
        rid: Option<&'static str>,
    ) -> Self {
        Self {
            ssrc,
            rtx_ssrc,
            rid,
            clock_rate,
            timestamp_offset: rng.next_u32(),
            next: rng.below(1 << 15),
            next_rtx: rng.below(1 << 15),
            picture_id: rng.below(1 << 15) as u16,
            packets: 0,
            octets: 0,
            history: VecDeque::new(),
        }
    }

    fn timestamp(&self, now: Instant) -> u32 {
        let ticks = u128::from(now.as_nanos()) * u128::from(self.clock_rate) / 1_000_000_000;
        self.timestamp_offset.wrapping_add(ticks as u32)
    }

    fn count(&mut self, octets: usize) {
        self.packets += 1;
        self.octets += octets as u32;
    }

    fn kept(&mut self, sequence: u16) -> Option<&mut Kept> {
        self.history
            .iter_mut()
            .find(|kept| kept.sequence == sequence)
    }
}

impl Obedience {
    fn new(now: Instant, camera: Camera) -> Self {
        Self {
            camera,
            estimator: Estimator::new(LIMITS).sparing(SPARED),
            leg: Leg::new(),
            pace: Pace::new(now),
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            probe: None,
            think_due: now,
        }
    }

    fn deadline(&self) -> Instant {
        self.think_due.min(self.deadline_of_pacer())
    }

    fn deadline_of_pacer(&self) -> Instant {
        match self.waiting.is_empty() && self.probe.is_none() {
            true => Instant::FAR_FUTURE,
            false => self.pace.next(),
        }
    }

    fn spend(&mut self, now: Instant, bytes: usize) {
        if let Some((probe, packets, sent)) = &mut self.probe {
            *packets += 1;
            *sent += bytes as u32;
            self.pace.spend(now, bytes, probe.rate as u64, false);
            if *packets >= probe.packets && *sent >= probe.bytes {
                self.probe = None;
            }
            return;
        }
        let least = self.waiting_bytes as f64 * 8.0 / PACING_QUEUE;
        let rate = (self.estimator.estimate() * PACING).max(least);
        self.pace.spend(now, bytes, rate as u64, true);
    }
}

/// What is left for pictures of a rate that has to do for their packets (libwebrtc's RtpVideoSender::CalculateOverheadRate).
fn without_headers(rate: f64, pictures: u32) -> f64 {
    let pictures = f64::from(pictures);
    let packet = 8.0 * (PART_BYTES + OVERHEAD) as f64;
    let packets = pictures * (rate / pictures / packet).ceil();
    (rate - packets * 8.0 * OVERHEAD as f64).max(0.0)
}

/// MID, and another name.
fn names(other: Option<(u8, &'static str)>) -> Vec<(u8, &'static str)> {
    let mid = (media::IN_MID, media::VIDEO_MID);
    [mid].into_iter().chain(other).collect()
}

/// Encrypts RTCP.
pub(crate) fn protect_rtcp(plain: &[u8], srtp: &mut Outbound) -> Vec<u8> {
    let mut datagram = vec![0; plain.len() + 32];
    let len = srtp
        .protect_rtcp(plain, &mut datagram)
        .expect("there are indices left");
    datagram.truncate(len);
    datagram
}
