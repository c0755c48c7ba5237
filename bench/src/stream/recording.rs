//! Recorded media: a file's RTP stream, played in a loop, and the table that knows its payloads again.

use core::time::Duration;
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex, PoisonError, Weak};

use clock::{Instant, Rng};
use proto::codec::{self, vp8};
use proto::rtp::Header;

use super::dump::{DumpError, datagrams};
use super::payload::{Verified, Wrong};
use super::player::{Error, Outgoing};
use super::synthetic::clock_rate;
use crate::plan::Codec;

/// A timestamp's clock may seem to run so much too fast or slow, in a short recording or over a shaky network.
const CLOCK_TOLERANCE: f64 = 0.25;
/// A player that is further behind leaves packets out.
const BEHIND_MAX: Duration = Duration::from_millis(500);
/// Between the last packet of a turn of the loop and the first of the next, where a file does not tell how long frames are.
const FRAME_DEFAULT: Duration = Duration::from_millis(33);

/// One RTP stream of a file, in memory.
#[derive(Debug)]
pub struct Recording {
    codec: Codec,
    packets: Vec<Packet>,
    /// One turn of the loop.
    length: Duration,
    ticks: u32,
    /// By [`digest`]; of equal payloads the first.
    numbers: HashMap<u64, usize>,
}

#[derive(Debug)]
struct Packet {
    /// Since the first.
    at: Duration,
    /// Since the first.
    ticks: u32,
    marker: bool,
    is_key_frame: bool,
    payload: Vec<u8>,
}

/// Recordings in use, so that a thousand publishers of one file share it.
static OPENED: LazyLock<Mutex<Opened>> = LazyLock::new(Mutex::default);

type Opened = HashMap<(PathBuf, Codec), Weak<Recording>>;

impl Recording {
    /// The RTP stream of `codec` in the file at `path`: the one with most bytes among those whose timestamps run at the codec's
    /// rate. A file that is in use is not read again.
    ///
    /// # Errors
    /// When the file can't be read, or has no such stream.
    pub fn open(path: &Path, codec: Codec) -> Result<Arc<Self>, Error> {
        let mut opened = OPENED.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (path.to_path_buf(), codec);
        if let Some(recording) = opened.get(&key).and_then(Weak::upgrade) {
            return Ok(recording);
        }
        let load = || -> Result<Self, DumpError> { Self::parse(&std::fs::read(path)?, codec) };
        let recording = load().map_err(|source| Error::Recording {
            path: path.to_path_buf(),
            source,
        })?;
        let recording = Arc::new(recording);
        opened.insert(key, Arc::downgrade(&recording));
        Ok(recording)
    }

    fn parse(file: &[u8], codec: Codec) -> Result<Self, DumpError> {
        let mut streams: HashMap<u32, Vec<Captured<'_>>> = HashMap::new();
        for datagram in datagrams(file)? {
            if let Some((ssrc, captured)) = Captured::read(datagram.at, datagram.payload) {
                streams.entry(ssrc).or_default().push(captured);
            }
        }
        let rate = clock_rate(codec);
        let mut streams: Vec<Vec<Captured<'_>>> = streams.into_values().map(in_order).collect();
        if streams.len() > 1 {
            streams.retain(|stream| runs_at(stream, rate));
        }
        let bytes = |stream: &Vec<Captured<'_>>| -> usize {
            stream.iter().map(|packet| packet.payload.len()).sum()
        };
        let stream = streams
            .into_iter()
            .max_by_key(bytes)
            .ok_or(DumpError::NoStream { clock_rate: rate })?;
        Ok(Self::from_stream(codec, &stream))
    }

    /// `stream` has at least one packet.
    fn from_stream(codec: Codec, stream: &[Captured<'_>]) -> Self {
        let first = stream[0];
        let mut at = Duration::ZERO;
        let mut packets = Vec::with_capacity(stream.len());
        for captured in stream {
            // What arrived after a later packet is played right before it, not earlier than the one it follows.
            at = at.max(captured.at.saturating_sub(first.at));
            packets.push(Packet {
                at,
                ticks: captured.timestamp.wrapping_sub(first.timestamp),
                marker: captured.marker,
                is_key_frame: codec::is_key_frame_start(known(codec), captured.payload),
                payload: captured.payload.to_vec(),
            });
        }
        let rate = f64::from(clock_rate(codec));
        let frame = frame_ticks(&packets).unwrap_or((FRAME_DEFAULT.as_secs_f64() * rate) as u32);
        let last = &packets[packets.len() - 1];
        let mut numbers = HashMap::with_capacity(packets.len());
        for (number, packet) in packets.iter().enumerate() {
            numbers
                .entry(digest(codec, &packet.payload))
                .or_insert(number);
        }
        Self {
            codec,
            length: last.at + Duration::from_secs_f64(f64::from(frame) / rate),
            ticks: last.ticks.wrapping_add(frame),
            packets,
            numbers,
        }
    }

    /// How many packets one turn of the loop has.
    pub fn packets(&self) -> usize {
        self.packets.len()
    }

    /// How long one turn of the loop takes.
    pub fn length(&self) -> Duration {
        self.length
    }

    /// Checks that `payload` is one of the recording, but for the picture numbers in a VP8 descriptor.
    ///
    /// # Errors
    /// When it is not.
    pub fn verify(&self, payload: &[u8]) -> Result<Verified, Wrong> {
        let number = self.numbers.get(&digest(self.codec, payload));
        number.map_or(Err(Wrong::Unrecorded), |number| {
            Ok(Verified {
                number: *number as u64,
                sent_at: None,
            })
        })
    }
}

/// Plays a recording.
#[derive(Debug)]
pub(super) struct Playback {
    recording: Arc<Recording>,
    phase: Duration,
    first_timestamp: u32,
    /// When the present turn of the loop began; none before the first poll.
    turn_began: Option<Instant>,
    /// Timestamp of the first packet of this turn.
    turn_timestamp: u32,
    next: usize,
    skipped: u64,
}

impl Playback {
    pub(super) fn open(path: &Path, codec: Codec, seed: u64) -> Result<Self, Error> {
        Ok(Self::new(Recording::open(path, codec)?, seed))
    }

    fn new(recording: Arc<Recording>, seed: u64) -> Self {
        let mut rng = Rng::from_number(seed);
        let first_timestamp = rng.next_u32();
        Self {
            phase: Duration::from_nanos(rng.below(FRAME_DEFAULT.as_nanos() as u64)),
            first_timestamp,
            turn_began: None,
            turn_timestamp: first_timestamp,
            next: 0,
            skipped: 0,
            recording,
        }
    }

    pub(super) fn codec(&self) -> Codec {
        self.recording.codec
    }

    pub(super) fn deadline(&self) -> Instant {
        self.turn_began.map_or(Instant::ZERO, |began| {
            began + self.recording.packets[self.next].at
        })
    }

    pub(super) fn skipped(&self) -> u64 {
        self.skipped
    }

    pub(super) fn timestamp_at(&self, now: Instant) -> u32 {
        let Some(began) = self.turn_began else {
            return self.first_timestamp;
        };
        let rate = f64::from(clock_rate(self.recording.codec));
        let ticks = ((now - began).as_secs_f64() * rate).round();
        // Timestamps wrap (RFC 3550 §5.1).
        self.turn_timestamp.wrapping_add(ticks as u64 as u32)
    }

    pub(super) fn poll(&mut self, now: Instant, send: &mut impl FnMut(Outgoing<'_>)) {
        if self.turn_began.is_none() {
            self.turn_began = Some(now + self.phase);
        }
        while self.deadline() <= now {
            let is_late = now - self.deadline() > BEHIND_MAX;
            let packet = &self.recording.packets[self.next];
            if is_late {
                self.skipped += 1;
            } else {
                send(Outgoing {
                    payload: &packet.payload,
                    marker: packet.marker,
                    timestamp: self.turn_timestamp.wrapping_add(packet.ticks),
                    is_key_frame: packet.is_key_frame,
                });
            }
            self.advance();
        }
    }

    fn advance(&mut self) {
        self.next += 1;
        if self.next == self.recording.packets.len() {
            self.next = 0;
            self.turn_timestamp = self.turn_timestamp.wrapping_add(self.recording.ticks);
            self.turn_began = self.turn_began.map(|began| began + self.recording.length);
        }
    }
}

/// An RTP packet of a file.
#[derive(Clone, Copy, Debug)]
struct Captured<'a> {
    at: Duration,
    sequence: u16,
    timestamp: u32,
    marker: bool,
    payload: &'a [u8],
}

impl<'a> Captured<'a> {
    fn read(at: Duration, packet: &'a [u8]) -> Option<(u32, Self)> {
        // RFC 5761 §4: a second byte of 192..=223 is RTCP's.
        let is_rtp = packet.first()? >> 6 == 2 && !(192..=223).contains(packet.get(1)?);
        if !is_rtp {
            return None;
        }
        let header = Header::parse(packet).ok()?;
        let range = header.payload_range(packet).ok()?;
        let payload = packet.get(range)?;
        let captured = Self {
            at,
            sequence: header.sequence,
            timestamp: header.timestamp,
            marker: header.marker,
            payload,
        };
        // Packets of padding only are probes; they carry nothing.
        (!payload.is_empty()).then_some((header.ssrc, captured))
    }
}

/// The packets of one RTP stream by sequence number, each once.
fn in_order(stream: Vec<Captured<'_>>) -> Vec<Captured<'_>> {
    let mut extended = i64::from(stream[0].sequence);
    let mut numbered: Vec<(i64, Captured<'_>)> = Vec::with_capacity(stream.len());
    for captured in stream {
        // The nearest number with these 16 bits (RFC 3550 §A.1).
        let step = captured.sequence.wrapping_sub(extended as u16) as i16;
        extended += i64::from(step);
        numbered.push((extended, captured));
    }
    numbered.sort_by_key(|(number, _)| *number);
    numbered.dedup_by_key(|(number, _)| *number);
    numbered.into_iter().map(|(_, captured)| captured).collect()
}

/// Whether the timestamps of `stream` run at about `rate` a second.
fn runs_at(stream: &[Captured<'_>], rate: u32) -> bool {
    let [first, .., last] = stream else {
        return false;
    };
    let seconds = last.at.saturating_sub(first.at).as_secs_f64();
    let ticks = f64::from(last.timestamp.wrapping_sub(first.timestamp));
    let share = ticks / seconds / f64::from(rate);
    (1.0 - CLOCK_TOLERANCE..=1.0 + CLOCK_TOLERANCE).contains(&share)
}

/// The usual step from one frame's timestamp to the next one's.
fn frame_ticks(packets: &[Packet]) -> Option<u32> {
    let mut steps: Vec<u32> = packets
        .windows(2)
        .map(|pair| pair[1].ticks.wrapping_sub(pair[0].ticks))
        .filter(|step| *step != 0)
        .collect();
    steps.sort_unstable();
    steps.get(steps.len() / 2).copied()
}

/// Of everything in a payload that a forwarder must leave alone.
fn digest(codec: Codec, payload: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    let mut rest = payload;
    if codec == Codec::Vp8
        && let Some(mut descriptor) = vp8::Descriptor::parse(payload)
    {
        rest = payload.get(descriptor.len()..).unwrap_or_default();
        descriptor.picture_id = descriptor.picture_id.map(|id| id.with_value(0));
        descriptor.tl0_picture_index = descriptor.tl0_picture_index.map(|_| 0);
        descriptor.key_index = descriptor.key_index.map(|_| 0);
        let mut canonical = [0; vp8::MAX_DESCRIPTOR_LENGTH];
        // It was read from a payload, so it is not longer than the longest.
        let length = descriptor.write(&mut canonical).unwrap_or_default();
        hasher.write(&canonical[..length]);
    }
    rest.hash(&mut hasher);
    hasher.finish()
}

/// The codec in the protocols' words.
fn known(codec: Codec) -> codec::Codec {
    match codec {
        Codec::Vp8 => codec::Codec::Vp8,
        Codec::H264 => codec::Codec::H264,
        Codec::Opus => codec::Codec::Opus,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::dump::tests::rtpdump_file;

    /// An RTP packet with one byte of padding.
    fn rtp(ssrc: u32, sequence: u16, timestamp: u32, marker: bool, payload: &[u8]) -> Vec<u8> {
        let mut packet = vec![0xa0, 96 | u8::from(marker) << 7];
        packet.extend(sequence.to_be_bytes());
        packet.extend(timestamp.to_be_bytes());
        packet.extend(ssrc.to_be_bytes());
        packet.extend(payload);
        packet.push(1);
        packet
    }

    fn picture(number: u8, part: u8) -> Vec<u8> {
        let start = if part == 0 { 0x10 } else { 0 };
        let tag = u8::from(number != 0);
        vec![0x80 | start, 0x80, number, tag, part, number, 7, 7, 7]
    }

    /// Ten frames of two packets, wrapping numbers, one pair swapped, one packet twice; a stream of sound between them; RTCP.
    fn file() -> Vec<u8> {
        let mut packets = vec![(0, vec![0x80, 200, 0, 0])];
        for frame in 0..10_u8 {
            let millis = u32::from(frame) * 40;
            let timestamp = (u32::MAX - 9_000).wrapping_add(u32::from(frame) * 3_600);
            let sequence = 65_530_u16.wrapping_add(u16::from(frame) * 2);
            let mut pair: Vec<(u32, Vec<u8>)> = (0..2_u8)
                .map(|part| {
                    let payload = picture(frame, part);
                    let sequence = sequence.wrapping_add(part.into());
                    (millis, rtp(1, sequence, timestamp, part == 1, &payload))
                })
                .collect();
            if frame == 4 {
                pair.reverse();
                pair.push(pair[0].clone());
            }
            packets.extend(pair);
            for half in 0..2_u32 {
                let number = u32::from(frame) * 2 + half;
                let sound = [0x78, frame, half as u8];
                let packet = rtp(2, number as u16, number * 960, false, &sound);
                packets.push((millis + half * 20, packet));
            }
        }
        rtpdump_file(&packets)
    }

    #[test]
    fn a_stream_is_played_in_order_and_in_a_loop() {
        let recording = Recording::parse(&file(), Codec::Vp8).expect("a good file");
        assert_eq!(recording.packets(), 20);
        assert_eq!(recording.length(), Duration::from_millis(400));
        let mut playback = Playback::new(Arc::new(recording), 3);
        let start = Instant::from_millis(1_000);
        playback.poll(start, &mut |_| ());
        let mut sent = Vec::new();
        while playback.deadline() < start + Duration::from_millis(900) {
            let now = playback.deadline();
            playback.poll(now, &mut |packet| {
                sent.push((packet.timestamp, packet.marker, packet.is_key_frame));
            });
        }
        assert!((43..=46).contains(&sent.len()), "{}", sent.len());
        for (index, packet) in sent.iter().enumerate() {
            let ticks = packet.0.wrapping_sub(sent[0].0);
            assert_eq!(ticks, index as u32 / 2 * 3_600, "also across the loop");
            assert_eq!(packet.1, index % 2 == 1);
            assert_eq!(packet.2, index % 20 == 0);
        }
    }

    #[test]
    fn sound_is_found_by_its_clock() {
        let recording = Recording::parse(&file(), Codec::Opus).expect("a good file");
        assert_eq!(recording.packets(), 20);
        assert!(recording.verify(&[0x78, 9, 1]).is_ok());
        let only_sound = rtpdump_file(&[(0, vec![0x80, 200, 0, 0])]);
        assert!(matches!(
            Recording::parse(&only_sound, Codec::Opus),
            Err(DumpError::NoStream { clock_rate: 48_000 })
        ));
    }

    #[test]
    fn payloads_are_known_again_even_if_pictures_were_renumbered() {
        let recording = Recording::parse(&file(), Codec::Vp8).expect("a good file");
        let mut payload = picture(3, 1);
        payload[2] = 99;
        let verified = recording.verify(&payload).expect("renumbered");
        assert_eq!((verified.number, verified.sent_at), (7, None));
        payload[4] ^= 1;
        assert_eq!(recording.verify(&payload), Err(Wrong::Unrecorded));
        assert_eq!(recording.verify(&[]), Err(Wrong::Unrecorded));
    }

    #[test]
    fn who_is_late_leaves_packets_out() {
        let recording = Recording::parse(&file(), Codec::Vp8).expect("a good file");
        let mut playback = Playback::new(Arc::new(recording), 3);
        playback.poll(Instant::ZERO, &mut |_| ());
        let mut sent = 0;
        playback.poll(Instant::from_millis(4_000), &mut |_| sent += 1);
        assert!((22..=28).contains(&sent), "{sent}");
        assert!(playback.skipped() > 160);
    }
}
