//! A browser that watches and listens: its jitter buffer and decoder, what it asks for again and when, and its feedback.

use std::collections::BTreeMap;

use clock::{Duration, Instant};
use proto::rtcp::{self, Nack, Pli, ReceiverReport, Remb};
use proto::rtp::sequence::nearest;
use proto::rtp::{Header, Reception, extension};
use proto::rtx::{self, Retransmission};
use proto::srtp::Outbound;
use proto::twcc::FeedbackGenerator;

use crate::decoder::{Decoder, Freeze, Piece, Shown};
use crate::estimate::Estimate;
use crate::media::{self, Part, Ssrcs};
use crate::source::protect_rtcp;

const REPORT_INTERVAL: Duration = Duration::from_secs(1);
/// How often the browser looks whether a request should be repeated (libwebrtc's NackRequester).
const NACK_TICK: Duration = Duration::from_millis(20);
/// A packet is asked for at most so often.
const NACK_TRIES: u32 = 10;
/// If more than this is missing only a key frame helps.
const NACK_MAX: usize = 1_000;
/// Transport-wide feedback waits so long for more to tell.
const FEEDBACK_INTERVAL: Duration = Duration::from_millis(100);
/// Patience with a stream that must begin with a key frame, and with one that goes on (libwebrtc's VideoReceiveStream2).
const PATIENCE_KEY_FRAME: Duration = Duration::from_millis(200);
const PATIENCE: Duration = Duration::from_secs(3);

/// Who watches as a browser does.
pub struct Viewer {
    ssrcs: Ssrcs,
    /// The SSRC of our own RTCP.
    own: u32,
    round_trip: Duration,
    video: Reception,
    audio: Reception,
    decoder: Decoder,
    newest: Option<u64>,
    missing: BTreeMap<u64, Missing>,
    resent: Vec<(Instant, u64, usize)>,
    nack_due: Instant,
    reports_due: Instant,
    feedback: FeedbackGenerator,
    /// Since when nothing new was shown, and whether only a key frame helps.
    stuck_since: Instant,
    needs_key_frame: bool,
    wants_picture: bool,
    /// What it says that it can take, in bits per second; nothing unless set.
    pub remb: Option<u64>,
    /// What it finds out about that.
    estimate: Option<Estimate>,
    /// Whether it sends transport-wide feedback.
    pub is_telling: bool,
    /// When each sound came.
    pub sounds: BTreeMap<u32, Instant>,
    /// Bytes of RTP, whenever some came.
    pub received: Vec<(Instant, usize)>,
    /// Key-frame requests sent.
    pub key_frame_requests: u64,
    /// Packets asked for again, counting repetitions.
    pub nacked: u64,
    /// Packets that came by retransmission.
    pub recovered: u64,
    /// Packets that came twice, once as a retransmission.
    pub needless: u64,
    /// Transport-wide feedback sent.
    pub feedback_sent: u64,
}

struct Missing {
    asked: Instant,
    tries: u32,
}

impl Viewer {
    /// Somebody whose path has that round trip, as reports would say.
    pub(crate) fn new(now: Instant, ssrcs: Ssrcs, own: u32, round_trip: Duration) -> Self {
        Self {
            ssrcs,
            own,
            round_trip,
            video: Reception::new(media::CLOCK_VIDEO),
            audio: Reception::new(media::CLOCK_AUDIO),
            decoder: Decoder::new(round_trip),
            newest: None,
            missing: BTreeMap::new(),
            resent: Vec::new(),
            nack_due: now + NACK_TICK,
            reports_due: now + REPORT_INTERVAL,
            feedback: FeedbackGenerator::new(FEEDBACK_INTERVAL),
            stuck_since: now,
            needs_key_frame: true,
            wants_picture: false,
            remb: None,
            estimate: None,
            is_telling: true,
            sounds: BTreeMap::new(),
            received: Vec::new(),
            key_frame_requests: 0,
            nacked: 0,
            recovered: 0,
            needless: 0,
            feedback_sent: 0,
        }
    }

    /// From now on it estimates what the way to it can take, and says so.
    pub(crate) fn estimate(&mut self, now: Instant) {
        self.estimate = Some(Estimate::new(now));
    }

    /// Every picture that was shown, in order.
    pub fn shown(&self) -> &[Shown] {
        &self.decoder.shown
    }

    /// Every freeze that is over.
    pub fn freezes(&self) -> &[Freeze] {
        &self.decoder.freezes
    }

    /// The freeze that is not over at `now`.
    pub fn frozen(&self, now: Instant) -> Option<Freeze> {
        let last = self.shown().last()?;
        let length = now - last.at;
        let from = last.at;
        (length >= self.decoder.freezes_from()).then_some(Freeze { from, length })
    }

    /// Pictures whose packets promised that they could be decoded, and it was not true.
    pub fn errors(&self) -> u64 {
        self.decoder.errors
    }

    /// Packets of pictures that never came, nor were given up yet.
    pub fn missing(&self) -> usize {
        self.missing.len()
    }

    /// Retransmissions: when they came, of which packet, and how many bytes.
    pub fn resent(&self) -> &[(Instant, u64, usize)] {
        &self.resent
    }

    /// The SSRC of its video.
    pub fn video_ssrc(&self) -> u32 {
        self.ssrcs.video
    }

    pub(crate) fn deadline(&self) -> Instant {
        let first = self.reports_due.min(self.nack_due);
        let estimate = self.estimate.as_ref().map(Estimate::deadline);
        let dues = [self.feedback.deadline(), self.decoder.deadline(), estimate];
        dues.into_iter().flatten().fold(first, Instant::min)
    }

    pub(crate) fn on_rtp(&mut self, now: Instant, header: &Header, index: u64, packet: &[u8]) {
        self.received.push((now, packet.len()));
        let number = header.extensions(packet).find(media::OUT_TWCC);
        if let Some(number) = number.and_then(extension::transport_sequence) {
            self.feedback.on_packet(number, now);
        }
        let sent = header.extensions(packet).find(media::OUT_SEND_TIME);
        if let (Some(estimate), Some([a, b, c])) = (&mut self.estimate, sent) {
            estimate.on_packet(now, u32::from_be_bytes([0, *a, *b, *c]), packet.len());
        }
        if header.ssrc == self.ssrcs.rtx {
            self.on_retransmission(now, header, packet);
            return;
        }
        let payload = header.payload_range(packet).expect("padding is right");
        let payload = &packet[payload];
        if header.ssrc == self.ssrcs.video {
            self.video.on_packet(index, header.timestamp, now);
            self.on_video(now, index, header, payload, false);
            return;
        }
        assert_eq!(header.ssrc, self.ssrcs.audio, "an SSRC that was agreed on");
        self.audio.on_packet(index, header.timestamp, now);
        for (_, Part { number, .. }) in media::read_sounds(header.payload_type, payload) {
            self.sounds.entry(number).or_insert(now);
        }
    }

    fn on_retransmission(&mut self, now: Instant, header: &Header, packet: &[u8]) {
        let retransmission = rtx::unwrap(header, packet).expect("RTX is well-formed");
        let Retransmission::Original { sequence, payload } = retransmission else {
            return;
        };
        let Some(newest) = self.newest else {
            return;
        };
        self.recovered += 1;
        let index = nearest(newest, sequence);
        self.resent.push((now, index, packet.len()));
        self.on_video(now, index, header, &packet[payload], true);
    }

    fn on_video(
        &mut self,
        now: Instant,
        index: u64,
        header: &Header,
        payload: &[u8],
        is_again: bool,
    ) {
        self.note_missing(index, is_again);
        if payload.is_empty() {
            self.decoder.on_padding(index);
            return;
        }
        let (descriptor, part) = media::read_picture(payload);
        let piece = Piece {
            timestamp: header.timestamp,
            marker: header.marker,
            descriptor,
            part,
            is_again,
        };
        self.decoder.on_piece(now, index, piece);
        self.look(now);
    }

    /// Decodes what is due, and notices whether that was something.
    fn look(&mut self, now: Instant) {
        let before = self.decoder.shown.len();
        self.decoder.on_timeout(now);
        if self.decoder.shown.len() > before {
            self.stuck_since = now;
            self.needs_key_frame = false;
        }
    }

    fn note_missing(&mut self, index: u64, is_again: bool) {
        let was_missing = self.missing.remove(&index).is_some();
        self.needless += u64::from(is_again && !was_missing);
        let newest = *self.newest.get_or_insert(index);
        self.newest = Some(newest.max(index));
        let gap = newest + 1..index;
        if index > newest && gap.clone().count() + self.missing.len() > NACK_MAX {
            self.missing.clear();
            self.wants_picture = true;
            return;
        }
        for index in gap {
            let fresh = Missing {
                asked: Instant::ZERO,
                tries: 0,
            };
            self.missing.insert(index, fresh);
            self.nack_due = Instant::ZERO;
        }
    }

    pub(crate) fn on_rtcp(&mut self, now: Instant, packet: &rtcp::Packet<'_>) {
        if let rtcp::Packet::SenderReport(report) = packet {
            if report.info.ssrc == self.ssrcs.video {
                self.video.on_sender_report(report.info.ntp, now);
            } else if report.info.ssrc == self.ssrcs.audio {
                self.audio.on_sender_report(report.info.ntp, now);
            }
        }
    }

    pub(crate) fn on_timeout(&mut self, now: Instant, srtp: &mut Outbound, out: &mut Vec<Vec<u8>>) {
        self.look(now);
        if self.nack_due <= now {
            self.nack_due = now + NACK_TICK;
            self.ask_again(now, srtp, out);
            self.ask_for_picture(now, srtp, out);
        }
        if self.feedback.deadline().is_some_and(|due| due <= now) {
            self.tell(srtp, out);
        }
        if let Some(rate) = self.estimate.as_mut().and_then(|one| one.poll(now)) {
            say(srtp, out, |writer| {
                Remb::write(self.own, rate, &[self.ssrcs.video], writer)
            });
        }
        if self.reports_due <= now {
            self.reports_due = now + REPORT_INTERVAL;
            self.report(now, srtp, out);
        }
    }

    /// Once a round trip for each packet, the first time at once.
    fn ask_again(&mut self, now: Instant, srtp: &mut Outbound, out: &mut Vec<Vec<u8>>) {
        let decoder = &self.decoder;
        self.missing
            .retain(|index, one| one.tries < NACK_TRIES && !decoder.is_past(*index));
        let round_trip = self.round_trip;
        let due = |one: &Missing| one.tries == 0 || now.saturating_since(one.asked) >= round_trip;
        let mut sequences = Vec::new();
        for (index, one) in self.missing.iter_mut().filter(|(_, one)| due(one)) {
            one.asked = now;
            one.tries += 1;
            sequences.push(*index as u16);
        }
        self.nacked += sequences.len() as u64;
        let mut rest = &sequences[..];
        while !rest.is_empty() {
            let mut written = 0;
            say(srtp, out, |writer| {
                written = Nack::write(self.own, self.ssrcs.video, rest, writer)?;
                Ok(())
            });
            rest = &rest[written..];
        }
    }

    fn ask_for_picture(&mut self, now: Instant, srtp: &mut Outbound, out: &mut Vec<Vec<u8>>) {
        let patience = match self.needs_key_frame {
            true => PATIENCE_KEY_FRAME,
            false => PATIENCE,
        };
        let is_stuck = now - self.stuck_since >= patience;
        if !is_stuck && !self.wants_picture {
            return;
        }
        self.wants_picture = false;
        self.needs_key_frame = true;
        self.stuck_since = now;
        self.key_frame_requests += 1;
        let pli = Pli {
            sender: self.own,
            media: self.ssrcs.video,
        };
        say(srtp, out, |writer| pli.write(writer));
    }

    fn tell(&mut self, srtp: &mut Outbound, out: &mut Vec<Vec<u8>>) {
        let mut more = true;
        while more {
            let mut plain = [0; 1_200];
            let mut writer = rtcp::Writer::new(&mut plain);
            let written = self.feedback.write(self.own, self.ssrcs.video, &mut writer);
            more = written.expect("it fits");
            let len = writer.len();
            if more && self.is_telling {
                self.feedback_sent += 1;
                out.push(protect_rtcp(&plain[..len], srtp));
            }
        }
    }

    fn report(&mut self, now: Instant, srtp: &mut Outbound, out: &mut Vec<Vec<u8>>) {
        let video = self.video.report(self.ssrcs.video, now);
        let audio = self.audio.report(self.ssrcs.audio, now);
        let blocks: Vec<_> = video.into_iter().chain(audio).collect();
        say(srtp, out, |writer| {
            ReceiverReport::write(self.own, &blocks, writer)?;
            match self.remb {
                Some(rate) => Remb::write(self.own, rate, &[self.ssrcs.video], writer),
                None => Ok(()),
            }
        });
    }
}

/// One datagram of RTCP (reduced size, RFC 5506, as browsers negotiate it).
fn say(
    srtp: &mut Outbound,
    out: &mut Vec<Vec<u8>>,
    write: impl FnOnce(&mut rtcp::Writer<'_>) -> Result<(), rtcp::Full>,
) {
    let mut plain = [0; 1_200];
    let mut writer = rtcp::Writer::new(&mut plain);
    write(&mut writer).expect("it fits");
    let len = writer.len();
    out.push(protect_rtcp(&plain[..len], srtp));
}
