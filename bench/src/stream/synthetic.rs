//! When a synthetic stream's packets are due, and how large they are.

use core::time::Duration;

use clock::{Instant, Rng};

use super::payload::{self, PAYLOAD_BYTES_MIN, Position};
use super::player::{Error, Outgoing};
use crate::plan::{Codec, Packets, Sizes, Synthetic};

/// The fixed part of an RTP header (RFC 3550 §5.1), which [`Sizes`] count.
const RTP_HEADER_BYTES: u16 = 12;
/// Larger than any packet on a path of 1500 bytes.
const PACKET_BYTES_MAX: u16 = 1460;
/// A key frame has so many times the packets of an ordinary one.
const KEY_FRAME_FACTOR: f64 = 5.0;
/// A frame has at most so many packets.
const FRAME_PACKETS_MAX: u32 = 4096;
/// A player that is further behind leaves frames out: the machine can't keep up, and a flood would not help.
const BEHIND_MAX: Duration = Duration::from_millis(500);

/// The schedule of one stream.
#[derive(Debug)]
pub(super) struct Schedule {
    plan: Synthetic,
    seed: u64,
    rng: Rng,
    interval: Duration,
    ticks_per_frame: f64,
    first_timestamp: u32,
    /// When the frame that is being sent, or else the next one, began or begins; none before the first poll.
    started: Option<Instant>,
    next_frame_at: Instant,
    frame: Option<Frame>,
    frames: u64,
    packets: u64,
    since_key_frame: u32,
    key_frame_wanted: bool,
    skipped: u64,
    buffer: Vec<u8>,
}

/// A frame of which packets are still to be sent.
#[derive(Clone, Copy, Debug)]
struct Frame {
    number: u64,
    timestamp: u32,
    is_key_frame: bool,
    /// How many packets it has.
    count: u32,
    /// How many of them were sent.
    sent: u32,
    /// Payload bytes of the smaller packets.
    part: u16,
    /// From this packet on they are one byte longer.
    longer_from: u32,
    next_at: Instant,
}

impl Schedule {
    pub(super) fn new(plan: &Synthetic, seed: u64) -> Result<Self, Error> {
        let least_payload = PAYLOAD_BYTES_MIN as u16;
        let (largest, smallest) = match plan.packet_bytes {
            Sizes::Fixed(bytes) => (bytes, RTP_HEADER_BYTES + least_payload),
            // A frame that is hardly too large for one packet makes two of half the size.
            Sizes::EqualParts { max } => (max, RTP_HEADER_BYTES + 2 * least_payload),
        };
        if !(smallest..=PACKET_BYTES_MAX).contains(&largest) {
            return Err(Error::PacketBytes {
                bytes: largest,
                least: smallest,
                most: PACKET_BYTES_MAX,
            });
        }
        let rate = plan.frames_per_second;
        if !(rate > 0.0 && rate <= 1e6) {
            return Err(Error::Rate(rate));
        }
        let mean = match plan.packets_per_frame {
            Packets::Fixed(packets) => f64::from(packets),
            Packets::AroundMean(mean) => mean,
        };
        if !(mean > 0.0 && mean <= f64::from(FRAME_PACKETS_MAX)) {
            return Err(Error::PacketsPerFrame(mean));
        }
        let mut rng = Rng::from_number(seed);
        let clock_rate = clock_rate(plan.codec);
        Ok(Self {
            interval: Duration::from_secs_f64(1.0 / rate),
            ticks_per_frame: f64::from(clock_rate) / rate,
            // RFC 3550 §5.1: a timestamp starts anywhere.
            first_timestamp: rng.next_u32(),
            rng,
            plan: plan.clone(),
            seed,
            started: None,
            next_frame_at: Instant::ZERO,
            frame: None,
            frames: 0,
            packets: 0,
            since_key_frame: 0,
            key_frame_wanted: true,
            skipped: 0,
            buffer: vec![0; usize::from(PACKET_BYTES_MAX)],
        })
    }

    pub(super) fn codec(&self) -> Codec {
        self.plan.codec
    }

    pub(super) fn deadline(&self) -> Instant {
        self.frame.map_or(self.next_frame_at, |frame| frame.next_at)
    }

    pub(super) fn want_key_frame(&mut self) {
        self.key_frame_wanted = self.plan.codec != Codec::Opus;
    }

    pub(super) fn skipped(&self) -> u64 {
        self.skipped
    }

    pub(super) fn timestamp_at(&self, now: Instant) -> u32 {
        let Some(started) = self.started else {
            return self.first_timestamp;
        };
        let frames = (now - started).as_secs_f64() / self.interval.as_secs_f64();
        self.timestamp_of(frames)
    }

    /// The timestamp of frame `frames`, or of a moment between two frames.
    fn timestamp_of(&self, frames: f64) -> u32 {
        let ticks = (frames * self.ticks_per_frame).round();
        // Timestamps wrap (RFC 3550 §5.1).
        self.first_timestamp.wrapping_add(ticks as u64 as u32)
    }

    pub(super) fn poll(&mut self, now: Instant, send: &mut impl FnMut(Outgoing<'_>)) {
        if self.started.is_none() {
            // Publishers that begin together don't stay in step: each has a phase of its own.
            let phase = self.rng.below(self.interval.as_nanos() as u64);
            self.next_frame_at = now + Duration::from_nanos(phase);
            self.started = Some(self.next_frame_at);
        }
        while self.deadline() <= now {
            let frame = match self.frame {
                Some(frame) => frame,
                None => self.begin_frame(now),
            };
            self.frame = self.send_packet(frame, now, send);
        }
    }

    /// The frame that is due at `now`, after leaving out those that nobody would miss.
    fn begin_frame(&mut self, now: Instant) -> Frame {
        while now - self.next_frame_at > BEHIND_MAX {
            self.next_frame_at += self.interval;
            self.frames += 1;
            self.skipped += 1;
        }
        let is_due = self
            .plan
            .key_frame_every
            .is_some_and(|every| self.since_key_frame >= every);
        let is_key_frame = self.plan.codec != Codec::Opus && (self.key_frame_wanted || is_due);
        if is_key_frame {
            self.key_frame_wanted = false;
            self.since_key_frame = 0;
        }
        self.since_key_frame += 1;
        let (count, bytes) = self.draw_size(is_key_frame);
        let number = self.frames;
        let frame = Frame {
            number,
            timestamp: self.timestamp_of(number as f64),
            is_key_frame,
            count,
            sent: 0,
            // Between the smallest and the largest packet, both of 16 bits.
            part: (bytes / count) as u16,
            longer_from: count - bytes % count,
            next_at: self.next_frame_at,
        };
        self.frames += 1;
        self.next_frame_at += self.interval;
        frame
    }

    /// How many packets the next frame has, and how many bytes of payload in all.
    fn draw_size(&mut self, is_key_frame: bool) -> (u32, u32) {
        let factor = self.draw_factor(is_key_frame);
        match (self.plan.packets_per_frame, self.plan.packet_bytes) {
            (Packets::Fixed(count), Sizes::Fixed(bytes)) => {
                (count, count * u32::from(bytes - RTP_HEADER_BYTES))
            }
            (Packets::Fixed(count), Sizes::EqualParts { max }) => {
                // Full but for less than a byte in each.
                let full = count * u32::from(max - RTP_HEADER_BYTES);
                (count, full - self.rng.below(u64::from(count)) as u32)
            }
            (Packets::AroundMean(mean), Sizes::Fixed(bytes)) => {
                let count = ((mean * factor).round() as u32).clamp(1, FRAME_PACKETS_MAX);
                (count, count * u32::from(bytes - RTP_HEADER_BYTES))
            }
            (Packets::AroundMean(mean), Sizes::EqualParts { max }) => {
                let most = u32::from(max - RTP_HEADER_BYTES);
                let least = PAYLOAD_BYTES_MIN as u32;
                let bytes = (mean * factor * f64::from(most)).round() as u32;
                let bytes = bytes.clamp(least, most * FRAME_PACKETS_MAX);
                (bytes.div_ceil(most), bytes)
            }
        }
    }

    /// How many times the mean the next frame is. The mean of all but key frames is 1.
    fn draw_factor(&mut self, is_key_frame: bool) -> f64 {
        if is_key_frame {
            return KEY_FRAME_FACTOR;
        }
        // One in ten is nearly twice the mean, the others are around nine tenths of it.
        if self.rng.below(10) == 0 {
            return 1.9;
        }
        0.7 + 0.4 * (self.rng.below(1 << 20) as f64 / f64::from(1 << 20))
    }

    /// Sends the next packet of `frame`; returns the frame if it has more.
    fn send_packet(
        &mut self,
        mut frame: Frame,
        now: Instant,
        send: &mut impl FnMut(Outgoing<'_>),
    ) -> Option<Frame> {
        let longer = u16::from(frame.sent >= frame.longer_from);
        let payload = &mut self.buffer[..usize::from(frame.part + longer)];
        let position = Position {
            number: self.packets,
            frame: frame.number,
            is_key_frame: frame.is_key_frame,
            index: frame.sent,
            count: frame.count,
        };
        payload::write(self.plan.codec, self.seed, position, now, payload);
        self.packets += 1;
        frame.sent += 1;
        frame.next_at += self.plan.spacing;
        let is_last = frame.sent == frame.count;
        send(Outgoing {
            payload,
            // Of sound the marker tells the start of a talkspurt (RFC 7587 §4.1), and this one never pauses.
            marker: is_last && self.plan.codec != Codec::Opus,
            timestamp: frame.timestamp,
            is_key_frame: frame.is_key_frame,
        });
        (!is_last).then_some(frame)
    }
}

/// Ticks of an RTP timestamp a second (RFC 7741 §6.1, RFC 6184 §8.1, RFC 7587 §4.1).
pub(super) const fn clock_rate(codec: Codec) -> u32 {
    match codec {
        Codec::Vp8 | Codec::H264 => 90_000,
        Codec::Opus => 48_000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::verify;

    const START: Instant = Instant::from_millis(1_000);

    fn video() -> Synthetic {
        Synthetic {
            codec: Codec::Vp8,
            frames_per_second: 30.0,
            packets_per_frame: Packets::AroundMean(7.0),
            packet_bytes: Sizes::EqualParts { max: 1_200 },
            spacing: Duration::ZERO,
            key_frame_every: Some(100),
        }
    }

    /// Size, marker, timestamp, key frame, and when it was sent.
    type Sent = (usize, bool, u32, bool, Instant);

    fn play(plan: &Synthetic, time: Duration) -> Vec<Sent> {
        let mut schedule = Schedule::new(plan, 5).expect("a sane plan");
        let mut sent = Vec::new();
        schedule.poll(START, &mut |_| ());
        assert!(schedule.deadline() >= START);
        while schedule.deadline() < START + time {
            let now = schedule.deadline();
            schedule.poll(now, &mut |packet| {
                let verified = verify(plan.codec, 5, packet.payload).expect("as it was made");
                assert_eq!(verified.number, sent.len() as u64);
                assert_eq!(verified.sent_at, Some(now));
                let Outgoing {
                    payload,
                    marker,
                    timestamp,
                    is_key_frame,
                } = packet;
                sent.push((payload.len(), marker, timestamp, is_key_frame, now));
            });
        }
        sent
    }

    #[test]
    fn frames_come_as_from_browsers() {
        let sent = play(&video(), Duration::from_secs(20));
        let frames: Vec<&[Sent]> = sent.chunk_by(|a, b| a.2 == b.2).collect();
        assert!((599..=601).contains(&frames.len()), "{}", frames.len());
        let mut counts = Vec::new();
        for frame in &frames {
            let (smallest, largest) = (frame[0].0, frame[frame.len() - 1].0);
            assert!(largest <= smallest + 1 && largest <= 1_188);
            assert!(frame.iter().rev().skip(1).all(|packet| !packet.1));
            assert!(frame[frame.len() - 1].1, "the marker ends it");
            assert_eq!(frame[0].4, frame[frame.len() - 1].4, "back to back");
            counts.push(frame.len());
        }
        let key_frames = frames.iter().filter(|frame| frame[0].3).count();
        assert!((6..=7).contains(&key_frames), "{key_frames}");
        assert!(frames[0][0].3 && frames[0].len() >= 35);
        counts.sort_unstable();
        assert_eq!(counts[counts.len() / 2], 7);
        let mean = sent.len() as f64 / frames.len() as f64;
        assert!((7.0..8.5).contains(&mean), "{mean}");
        let ticks = frames[30][0].2.wrapping_sub(frames[0][0].2);
        assert_eq!(ticks, 90_000);
    }

    #[test]
    fn fixed_bursts_are_all_alike() {
        let plan = Synthetic {
            packets_per_frame: Packets::Fixed(8),
            packet_bytes: Sizes::Fixed(1_200),
            key_frame_every: None,
            ..video()
        };
        let sent = play(&plan, Duration::from_secs(2));
        assert!(sent.iter().all(|packet| packet.0 == 1_188));
        assert!(
            sent.chunk_by(|a, b| a.2 == b.2)
                .all(|frame| frame.len() == 8)
        );
        assert_eq!(sent.iter().filter(|packet| packet.3).count(), 8, "one");
    }

    #[test]
    fn spaced_packets_keep_their_distance() {
        let plan = Synthetic {
            packets_per_frame: Packets::Fixed(3),
            spacing: Duration::from_millis(2),
            ..video()
        };
        let sent = play(&plan, Duration::from_secs(1));
        for frame in sent.chunk_by(|a, b| a.2 == b.2).take(29) {
            assert_eq!(frame[2].4 - frame[0].4, Duration::from_millis(4));
        }
    }

    #[test]
    fn sound_is_steady_and_has_no_key_frames() {
        let plan = Synthetic {
            codec: Codec::Opus,
            frames_per_second: 50.0,
            packets_per_frame: Packets::Fixed(1),
            packet_bytes: Sizes::Fixed(120),
            ..video()
        };
        let sent = play(&plan, Duration::from_secs(1));
        assert!((49..=51).contains(&sent.len()));
        assert!(
            sent.iter()
                .all(|packet| !packet.3 && !packet.1 && packet.0 == 108)
        );
        assert_eq!(sent[1].2.wrapping_sub(sent[0].2), 960);
    }

    #[test]
    fn a_key_frame_comes_when_asked_for() {
        let mut schedule = Schedule::new(&video(), 1).expect("a sane plan");
        let mut key_frames = Vec::new();
        for frame in 0..10_u64 {
            if frame == 5 {
                schedule.want_key_frame();
            }
            schedule.poll(START + schedule.interval * (frame as u32), &mut |packet| {
                if packet.is_key_frame && packet.marker {
                    key_frames.push(frame);
                }
            });
        }
        assert_eq!(key_frames.len(), 2, "the first, and the one asked for");
        assert!((5..=6).contains(&key_frames[1]), "{key_frames:?}");
    }

    #[test]
    fn who_is_late_catches_up_but_not_with_everything() {
        let mut schedule = Schedule::new(&video(), 1).expect("a sane plan");
        schedule.poll(START, &mut |_| ());
        let mut frames = 0;
        schedule.poll(START + Duration::from_secs(10), &mut |packet| {
            frames += u32::from(packet.marker);
        });
        assert!(
            (14..=17).contains(&frames),
            "half a second of frames: {frames}"
        );
        assert!((280..=290).contains(&schedule.skipped()));
        let timestamp = schedule.timestamp_at(START + Duration::from_secs(10));
        let expected = schedule.first_timestamp.wrapping_add(900_000);
        assert!(expected.wrapping_sub(timestamp) <= 3_000, "less a phase");
    }

    #[test]
    fn impossible_streams_are_refused() {
        let refused = |plan: Synthetic| Schedule::new(&plan, 0).expect_err("refused");
        let sized = |packet_bytes| Synthetic {
            packet_bytes,
            ..video()
        };
        assert!(matches!(
            refused(sized(Sizes::Fixed(50))),
            Error::PacketBytes { bytes: 50, .. }
        ));
        assert!(matches!(
            refused(sized(Sizes::EqualParts { max: 2_000 })),
            Error::PacketBytes { .. }
        ));
        let still = Synthetic {
            frames_per_second: 0.0,
            ..video()
        };
        assert!(matches!(refused(still), Error::Rate(_)));
        let empty = Synthetic {
            packets_per_frame: Packets::Fixed(0),
            ..video()
        };
        assert!(matches!(refused(empty), Error::PacketsPerFrame(_)));
    }
}
