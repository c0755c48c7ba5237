//! What publishes: an encoder's packets, answers to NACK and PLI, sender reports.

use std::collections::{BTreeMap, VecDeque};

use clock::{Duration, Instant, NtpTime, Rng};
use proto::rtcp::{self, Sdes, SenderInfo, SenderReport};
use proto::rtp::{Element, Fields, write_header};
use proto::rtx;
use proto::srtp::Outbound;

use crate::media::{self, Part, Ssrcs, Style};

/// Packets that are kept for NACK.
const HISTORY: usize = 600;
const REPORT_INTERVAL: Duration = Duration::from_secs(1);
const SOUND_INTERVAL: Duration = Duration::from_millis(20);
/// Bytes of every part of a picture but the last, or one less.
const PART_BYTES: usize = 1_000;

/// A camera, a microphone, and who sends what they take.
pub struct Source {
    style: Style,
    ssrcs: Ssrcs,
    rng: Rng,
    /// This publisher's clock at `Instant::ZERO`.
    ntp_at_zero: NtpTime,
    timestamp_offset: u32,
    video: u64,
    audio: u64,
    rtx: u64,
    twcc: u16,
    pictures: u32,
    sounds: u32,
    next_picture: Instant,
    next_sound: Instant,
    reports_due: Instant,
    stopped: bool,
    wants_key_frame: bool,
    sent: [Sent; 2],
    history: VecDeque<Kept>,
    /// When somebody asked for a key frame.
    pub key_frame_requests: Vec<Instant>,
    /// Sequence numbers that were asked for again.
    pub nacked: u64,
    /// Packets that were sent again.
    pub resent: u64,
    /// Transport-wide feedback messages.
    pub feedback: u64,
    /// When each picture was taken, and of how many parts it is.
    pub taken: BTreeMap<u32, (Instant, u16)>,
    /// Sounds sent.
    pub sounds_sent: u32,
}

#[derive(Clone, Copy, Default)]
struct Sent {
    packets: u32,
    octets: u32,
}

struct Kept {
    sequence: u16,
    timestamp: u32,
    marker: bool,
    payload: Vec<u8>,
}

impl Source {
    pub(crate) fn new(now: Instant, style: Style, ssrcs: Ssrcs, mut rng: Rng) -> Self {
        // Nobody's clock is right.
        let ntp = Duration::from_secs(1_700_000_000 + rng.below(1_000));
        Self {
            style,
            ssrcs,
            ntp_at_zero: NtpTime::from_unix(ntp),
            timestamp_offset: rng.next_u32(),
            video: u64::from(style.first_sequence),
            audio: rng.below(1 << 15),
            rtx: rng.below(1 << 15),
            rng,
            twcc: 0,
            pictures: 0,
            sounds: 0,
            next_picture: now,
            next_sound: now,
            reports_due: now + REPORT_INTERVAL / 4,
            stopped: false,
            wants_key_frame: true,
            sent: [Sent::default(); 2],
            history: VecDeque::new(),
            key_frame_requests: Vec::new(),
            nacked: 0,
            resent: 0,
            feedback: 0,
            taken: BTreeMap::new(),
            sounds_sent: 0,
        }
    }

    /// Video goes on in another RTP stream, with lower numbers and a key frame.
    pub fn change_ssrc(&mut self) {
        self.ssrcs.video ^= 0x100;
        self.ssrcs.rtx ^= 0x100;
        self.video = self.rng.below(50);
        self.wants_key_frame = true;
        self.history.clear();
    }

    /// What is in everything that it sends and in nothing of anybody else.
    pub fn identity(&self) -> u32 {
        self.ssrcs.audio
    }

    /// No more pictures and sounds; what was sent can still be asked for.
    pub fn stop(&mut self) {
        self.stopped = true;
    }

    pub(crate) fn deadline(&self) -> Instant {
        if self.stopped {
            return self.reports_due;
        }
        let sound = self.style.sound.then_some(self.next_sound);
        let media = self.next_picture.min(sound.unwrap_or(self.next_picture));
        media.min(self.reports_due)
    }

    /// Takes what is due, and sends it.
    pub(crate) fn on_timeout(&mut self, now: Instant, srtp: &mut Outbound, out: &mut Vec<Vec<u8>>) {
        if !self.stopped && self.style.sound && self.next_sound <= now {
            self.next_sound += SOUND_INTERVAL;
            self.take_sound(now, srtp, out);
        }
        if !self.stopped && self.next_picture <= now {
            self.next_picture += Duration::from_secs(1) / self.style.pictures;
            self.take_picture(now, srtp, out);
        }
        if self.reports_due <= now {
            self.reports_due = now + REPORT_INTERVAL;
            self.report(now, srtp, out);
        }
    }

    /// Takes in what the node says.
    pub(crate) fn on_rtcp(
        &mut self,
        now: Instant,
        packet: &rtcp::Packet<'_>,
        srtp: &mut Outbound,
        out: &mut Vec<Vec<u8>>,
    ) {
        match packet {
            rtcp::Packet::Pli(pli) => {
                assert_eq!(pli.media, self.ssrcs.video, "only video has key frames");
                self.key_frame_requests.push(now);
                self.wants_key_frame = true;
            }
            rtcp::Packet::Fir(_) => panic!("who negotiated PLI is not sent FIR"),
            rtcp::Packet::Nack(nack) => {
                assert_eq!(nack.media, self.ssrcs.video, "NACK is for video");
                for sequence in nack.sequences() {
                    self.nacked += 1;
                    self.resend(sequence, srtp, out);
                }
            }
            rtcp::Packet::TransportFeedback(_) => self.feedback += 1,
            _ => {}
        }
    }

    fn take_picture(&mut self, now: Instant, srtp: &mut Outbound, out: &mut Vec<Vec<u8>>) {
        let is_key = core::mem::take(&mut self.wants_key_frame);
        let parts = match is_key {
            true => 5 + self.rng.below(6),
            false => 1 + self.rng.below(4),
        } as u16;
        self.taken.insert(self.pictures, (now, parts));
        for part in 0..parts {
            let last = part + 1 == parts;
            let content = Part {
                number: self.pictures,
                part,
                parts,
                is_key,
                taken: self.ntp_at_zero.plus(now - Instant::ZERO),
                whose: self.identity(),
            };
            let len = match last {
                true => 100 + self.rng.below(800) as usize,
                // Cut as browsers do it: neighbours may differ by a byte.
                false => PART_BYTES + self.rng.below(2) as usize,
            };
            let payload = media::write_picture(&content, len);
            let fields = Fields {
                marker: last,
                padding: false,
                payload_type: media::IN_VP8,
                sequence: self.video as u16,
                timestamp: self.timestamp(now, media::CLOCK_VIDEO),
                ssrc: self.ssrcs.video,
            };
            let index = self.video;
            self.video += 1;
            self.send(index, &fields, media::VIDEO_MID, &payload, srtp, out);
            self.count(0, payload.len());
            if self.history.len() == HISTORY {
                self.history.pop_front();
            }
            self.history.push_back(Kept {
                sequence: fields.sequence,
                timestamp: fields.timestamp,
                marker: fields.marker,
                payload,
            });
        }
        self.pictures += 1;
    }

    fn take_sound(&mut self, now: Instant, srtp: &mut Outbound, out: &mut Vec<Vec<u8>>) {
        let content = Part {
            number: self.sounds,
            part: 0,
            parts: 1,
            is_key: true,
            taken: self.ntp_at_zero.plus(now - Instant::ZERO),
            whose: self.identity(),
        };
        self.sounds += 1;
        self.sounds_sent += 1;
        let payload = media::write_sound(&content, 60 + self.rng.below(60) as usize);
        let fields = Fields {
            marker: false,
            padding: false,
            payload_type: media::IN_OPUS,
            sequence: self.audio as u16,
            timestamp: self.timestamp(now, media::CLOCK_AUDIO),
            ssrc: self.ssrcs.audio,
        };
        let index = self.audio;
        self.audio += 1;
        self.send(index, &fields, media::AUDIO_MID, &payload, srtp, out);
        self.count(1, payload.len());
    }

    /// RFC 4588: the packet again in the RTP stream of retransmissions.
    fn resend(&mut self, sequence: u16, srtp: &mut Outbound, out: &mut Vec<Vec<u8>>) {
        let kept = self.history.iter().find(|kept| kept.sequence == sequence);
        let Some(kept) = kept else {
            return;
        };
        let mut payload = rtx::prefix(sequence).to_vec();
        payload.extend(&kept.payload);
        let fields = Fields {
            marker: kept.marker,
            padding: false,
            payload_type: media::IN_RTX,
            sequence: self.rtx as u16,
            timestamp: kept.timestamp,
            ssrc: self.ssrcs.rtx,
        };
        let index = self.rtx;
        self.rtx += 1;
        self.resent += 1;
        self.send(index, &fields, media::VIDEO_MID, &payload, srtp, out);
    }

    fn send(
        &mut self,
        index: u64,
        fields: &Fields,
        mid: &str,
        payload: &[u8],
        srtp: &mut Outbound,
        out: &mut Vec<Vec<u8>>,
    ) {
        let number = self.twcc.to_be_bytes();
        self.twcc = self.twcc.wrapping_add(1);
        let elements = [
            Element::new(media::IN_MID, mid.as_bytes()),
            Element::new(media::IN_TWCC, &number),
            Element::new(media::IN_LEVEL, &[33]),
        ];
        let count = if mid == media::AUDIO_MID { 3 } else { 2 };
        let mut header = [0; 64];
        let len = write_header(&mut header, fields, &elements[..count]).expect("it fits");
        let header = &header[..len];
        let mut datagram = vec![0; len + payload.len() + 32];
        let len = srtp
            .protect_rtp(index, fields.ssrc, header, &[], payload, &mut datagram)
            .expect("an index is used once");
        datagram.truncate(len);
        out.push(datagram);
    }

    fn report(&self, now: Instant, srtp: &mut Outbound, out: &mut Vec<Vec<u8>>) {
        let mut plain = [0; 400];
        let mut writer = rtcp::Writer::new(&mut plain);
        let streams = [
            (self.ssrcs.video, media::CLOCK_VIDEO, self.sent[0]),
            (self.ssrcs.audio, media::CLOCK_AUDIO, self.sent[1]),
        ];
        for (ssrc, clock_rate, sent) in streams {
            let info = SenderInfo {
                ssrc,
                ntp: self.ntp_at_zero.plus(now - Instant::ZERO),
                timestamp: self.timestamp(now, clock_rate),
                packets: sent.packets,
                octets: sent.octets,
            };
            SenderReport::write(&info, &[], &mut writer).expect("it fits");
            Sdes::write(ssrc, b"publisher", &mut writer).expect("it fits");
        }
        let len = writer.len();
        out.push(protect_rtcp(&plain[..len], srtp));
    }

    fn timestamp(&self, now: Instant, clock_rate: u32) -> u32 {
        let ticks = u128::from(now.as_nanos()) * u128::from(clock_rate) / 1_000_000_000;
        self.timestamp_offset.wrapping_add(ticks as u32)
    }

    fn count(&mut self, stream: usize, octets: usize) {
        self.sent[stream].packets += 1;
        self.sent[stream].octets += octets as u32;
    }
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
