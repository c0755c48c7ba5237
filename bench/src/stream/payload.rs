//! Synthetic payloads: a codec's own headers, then a stamp, then bytes that follow from the stamp.

use clock::Instant;
use proto::codec::vp8;

use crate::plan::Codec;

/// Sequence parameters of a 640 × 480 constrained baseline stream, level 3.1 (ITU-T H.264 §7.3.2.1).
const SPS: [u8; 9] = [0x67, 0x42, 0xe0, 0x1f, 0xda, 0x02, 0x80, 0xf6, 0x40];
/// Picture parameters that go with them (ITU-T H.264 §7.3.2.2).
const PPS: [u8; 4] = [0x68, 0xce, 0x38, 0x80];
/// NAL header of an IDR slice with the highest importance (RFC 6184 §1.3).
const NAL_IDR: u8 = 0x65;
/// NAL header of a slice of any other picture that others refer to.
const NAL_SLICE: u8 = 0x61;
/// NAL header of supplemental information, and the type of such that means something to its sender only (H.264 §D.1).
const NAL_SEI: u8 = 0x06;
const SEI_USER_DATA: u8 = 0x05;
/// NAL header of a STAP-A (RFC 6184 §5.7.1) and of an FU-A (§5.8), with the importance of what they carry.
const NAL_STAP_A: u8 = 0x78;
const NAL_FU_A: u8 = 0x7c;
/// First byte of a slice header: `first_mb_in_slice` is 0, a single 1 bit, then `slice_type` 5 (P) or 7 (I).
const FIRST_SLICE_P: u8 = 0x9a;
const FIRST_SLICE_I: u8 = 0x88;
/// RFC 6716 §3.1: hybrid full band, 20 ms, one channel, one frame.
const OPUS_TOC: u8 = 0x78;
/// Dimensions that VP8 key frames announce.
const WIDTH: u16 = 640;
const HEIGHT: u16 = 480;
/// Key frame start code (RFC 6386 §9.1).
const VP8_START_CODE: [u8; 3] = [0x9d, 0x01, 0x2a];
/// Our VP8 descriptor: flags, 15 bits of picture id, TL0PICIDX, TID (RFC 7741 §4.2).
const VP8_DESCRIPTOR_BYTES: usize = 6;

/// Stream seed, packet number, time of sending, shape, length of the payload.
const STAMP_BYTES: usize = 8 + 8 + 8 + 1 + 2;
/// The longest headers before a stamp: those of a VP8 key frame.
const HEADERS_BYTES_MAX: usize = 32;
/// No payload is shorter: whatever its headers, it has room for a stamp.
pub(super) const PAYLOAD_BYTES_MIN: usize = STAMP_BYTES + HEADERS_BYTES_MAX;

/// Where in a stream a packet stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Position {
    /// Counts the packets of the stream.
    pub(super) number: u64,
    /// Counts its frames.
    pub(super) frame: u64,
    /// The frame is a key frame.
    pub(super) is_key_frame: bool,
    /// Counts the packets of the frame.
    pub(super) index: u32,
    /// How many packets the frame has.
    pub(super) count: u32,
}

/// A payload that is as its sender made it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verified {
    /// Counts the packets of the stream, from 0; of a recording, those of the file.
    pub number: u64,
    /// When it was made, on the system's monotonic clock; recordings don't say.
    pub sent_at: Option<Instant>,
}

/// What is wrong with a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Wrong {
    /// It is shorter than anything that is sent.
    #[error("too short")]
    TooShort,
    /// The codec's headers are not those that the packet was sent with.
    #[error("not the codec's headers that were sent")]
    Headers,
    /// It belongs to another stream.
    #[error("a payload of stream {seed:#x}")]
    OtherStream {
        /// The seed of that stream.
        seed: u64,
    },
    /// It was cut or lengthened.
    #[error("not as long as it was sent")]
    Length,
    /// The bytes behind the stamp are not those that follow from it.
    #[error("not the bytes that were sent")]
    Body,
    /// A recording has no such payload.
    #[error("not in the recording")]
    Unrecorded,
}

/// Writes the payload of the packet at `position` to `out`, filling it.
///
/// # Panics
/// When `out` is shorter than [`PAYLOAD_BYTES_MIN`]: players check it once.
pub(super) fn write(codec: Codec, seed: u64, position: Position, sent_at: Instant, out: &mut [u8]) {
    assert!(out.len() >= PAYLOAD_BYTES_MIN, "room for headers and stamp");
    let shape = Shape::of(codec, position);
    let mut headers = Headers::of(shape, out.len());
    if codec == Codec::Vp8 {
        headers.number_picture(position.frame);
    }
    // Packets are shorter than 64 KiB.
    let length = out.len() as u16;
    let (front, body) = out.split_at_mut(headers.length);
    front.copy_from_slice(headers.bytes());
    let (stamp, filler) = body.split_at_mut(STAMP_BYTES);
    stamp[..8].copy_from_slice(&seed.to_be_bytes());
    stamp[8..16].copy_from_slice(&position.number.to_be_bytes());
    stamp[16..24].copy_from_slice(&sent_at.as_nanos().to_be_bytes());
    stamp[24] = shape.code();
    stamp[25..].copy_from_slice(&length.to_be_bytes());
    let filler_seed = filler_seed(stamp);
    for (word, chunk) in words(filler_seed).zip(filler.chunks_mut(8)) {
        chunk.copy_from_slice(&word[..chunk.len()]);
    }
}

/// Checks that `payload` is one that a synthetic stream of this `codec` and `seed` sent, and says which.
///
/// A forwarder may renumber the pictures in a VP8 descriptor, so those values are not looked at; everything else must be as sent.
///
/// # Errors
/// Says what is wrong with it.
pub fn verify(codec: Codec, seed: u64, payload: &[u8]) -> Result<Verified, Wrong> {
    if payload.len() < PAYLOAD_BYTES_MIN {
        return Err(Wrong::TooShort);
    }
    let shape = Shape::read(codec, payload).ok_or(Wrong::Headers)?;
    let mut headers = Headers::of(shape, payload.len());
    if codec == Codec::Vp8 {
        headers.take_picture_numbers(payload);
    }
    let (front, body) = payload.split_at(headers.length);
    if front != headers.bytes() {
        return Err(Wrong::Headers);
    }
    let (stamp, filler) = body.split_at(STAMP_BYTES);
    let stamped_seed = u64_at(stamp, 0);
    let filler_seed = filler_seed(stamp);
    let is_as_sent = words(filler_seed)
        .zip(filler.chunks(8))
        .all(|(word, chunk)| word[..chunk.len()] == *chunk);
    if !is_as_sent {
        return Err(Wrong::Body);
    }
    if stamped_seed != seed {
        return Err(Wrong::OtherStream { seed: stamped_seed });
    }
    if stamp[24] != shape.code() {
        return Err(Wrong::Headers);
    }
    if stamp[25..] != (payload.len() as u16).to_be_bytes() {
        return Err(Wrong::Length);
    }
    Ok(Verified {
        number: u64_at(stamp, 8),
        sent_at: Some(Instant::from_nanos(u64_at(stamp, 16))),
    })
}

/// What the headers of a payload say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    /// Every Opus packet.
    Opus,
    /// VP8: the first packet of a frame, or a later one.
    Vp8First {
        is_key_frame: bool,
    },
    Vp8Later,
    /// H.264: parameters, and behind them the picture or, where it needs packets of its own, an SEI.
    Parameters {
        with_picture: bool,
    },
    /// H.264: a picture that fits into one packet.
    Single {
        is_key_frame: bool,
    },
    /// H.264: a part of a picture.
    Fragment {
        is_key_frame: bool,
        is_start: bool,
        is_end: bool,
    },
}

impl Shape {
    fn of(codec: Codec, position: Position) -> Self {
        let Position {
            is_key_frame,
            index,
            count,
            ..
        } = position;
        // The parameters take the first packet of a key frame.
        let picture_from = u32::from(is_key_frame);
        match codec {
            Codec::Opus => Self::Opus,
            Codec::Vp8 if index == 0 => Self::Vp8First { is_key_frame },
            Codec::Vp8 => Self::Vp8Later,
            Codec::H264 if index < picture_from => Self::Parameters {
                with_picture: count == 1,
            },
            Codec::H264 if count == picture_from + 1 => Self::Single { is_key_frame },
            Codec::H264 => Self::Fragment {
                is_key_frame,
                is_start: index == picture_from,
                is_end: index + 1 == count,
            },
        }
    }

    fn read(codec: Codec, payload: &[u8]) -> Option<Self> {
        match codec {
            Codec::Opus => Some(Self::Opus),
            Codec::Vp8 => {
                let descriptor = vp8::Descriptor::parse(payload)?;
                let tag = payload.get(descriptor.len())?;
                Some(if descriptor.starts_frame() {
                    Self::Vp8First {
                        is_key_frame: tag & 1 == 0,
                    }
                } else {
                    Self::Vp8Later
                })
            }
            Codec::H264 => match *payload.first()? {
                NAL_STAP_A => Some(Self::Parameters {
                    with_picture: *payload.get(STAP_A_UNIT_AT)? == NAL_IDR,
                }),
                NAL_FU_A => {
                    let header = *payload.get(1)?;
                    Some(Self::Fragment {
                        is_key_frame: header & 0x1f == NAL_IDR & 0x1f,
                        is_start: header & 0x80 != 0,
                        is_end: header & 0x40 != 0,
                    })
                }
                unit => Some(Self::Single {
                    is_key_frame: unit == NAL_IDR,
                }),
            },
        }
    }

    /// A number of its own for each shape, to be stamped.
    fn code(self) -> u8 {
        match self {
            Self::Opus => 0,
            Self::Vp8First { is_key_frame } => 0x10 | u8::from(is_key_frame),
            Self::Vp8Later => 0x20,
            Self::Parameters { with_picture } => 0x30 | u8::from(with_picture),
            Self::Single { is_key_frame } => 0x40 | u8::from(is_key_frame),
            Self::Fragment {
                is_key_frame,
                is_start,
                is_end,
            } => 0x50 | u8::from(is_key_frame) | u8::from(is_start) << 1 | u8::from(is_end) << 2,
        }
    }
}

/// Where the third unit of our STAP-A begins: its header, two sizes with their units, a third size.
const STAP_A_UNIT_AT: usize = 1 + 2 + SPS.len() + 2 + PPS.len() + 2;

/// What a payload has before its stamp.
struct Headers {
    storage: [u8; HEADERS_BYTES_MAX],
    length: usize,
}

impl Headers {
    /// The headers of a payload of `length` bytes in all.
    fn of(shape: Shape, length: usize) -> Self {
        let mut headers = Self {
            storage: [0; HEADERS_BYTES_MAX],
            length: 0,
        };
        match shape {
            Shape::Opus => headers.push(&[OPUS_TOC]),
            Shape::Vp8First { is_key_frame } => headers.push_vp8_first(is_key_frame),
            Shape::Vp8Later => headers.push_vp8_descriptor(0),
            Shape::Parameters { with_picture } => headers.push_parameters(with_picture, length),
            Shape::Single { is_key_frame: true } => headers.push(&[NAL_IDR, FIRST_SLICE_I]),
            Shape::Single {
                is_key_frame: false,
            } => headers.push(&[NAL_SLICE, FIRST_SLICE_P]),
            Shape::Fragment {
                is_key_frame,
                is_start,
                is_end,
            } => headers.push_fragment(is_key_frame, is_start, is_end),
        }
        headers
    }

    fn bytes(&self) -> &[u8] {
        &self.storage[..self.length]
    }

    fn push(&mut self, bytes: &[u8]) {
        self.storage[self.length..self.length + bytes.len()].copy_from_slice(bytes);
        self.length += bytes.len();
    }

    /// RFC 7741 §4.2: X and `start`; then I, L and T, a long picture id, and all pictures in layer 0.
    fn push_vp8_descriptor(&mut self, start: u8) {
        self.push(&[0x80 | start, 0xe0, 0x80, 0, 0, 0]);
    }

    fn push_vp8_first(&mut self, is_key_frame: bool) {
        self.push_vp8_descriptor(0x10);
        // RFC 6386 §9.1: inverse key frame bit, show_frame, and a first partition that is said to be 1024 bytes long.
        let tag: u32 = u32::from(!is_key_frame) | 1 << 4 | 1024 << 5;
        self.push(&tag.to_le_bytes()[..3]);
        if is_key_frame {
            self.push(&VP8_START_CODE);
            self.push(&WIDTH.to_le_bytes());
            self.push(&HEIGHT.to_le_bytes());
        }
    }

    fn push_parameters(&mut self, with_picture: bool, length: usize) {
        self.push(&[NAL_STAP_A]);
        self.push(&(SPS.len() as u16).to_be_bytes());
        self.push(&SPS);
        self.push(&(PPS.len() as u16).to_be_bytes());
        self.push(&PPS);
        // Packets are shorter than 64 KiB.
        self.push(&((length - STAP_A_UNIT_AT) as u16).to_be_bytes());
        self.push(&if with_picture {
            [NAL_IDR, FIRST_SLICE_I]
        } else {
            [NAL_SEI, SEI_USER_DATA]
        });
    }

    fn push_fragment(&mut self, is_key_frame: bool, is_start: bool, is_end: bool) {
        let (unit, slice) = if is_key_frame {
            (NAL_IDR, FIRST_SLICE_I)
        } else {
            (NAL_SLICE, FIRST_SLICE_P)
        };
        // RFC 6184 §5.8: start bit, end bit, type.
        let start = if is_start { 0x80 } else { 0 };
        let end = if is_end { 0x40 } else { 0 };
        self.push(&[NAL_FU_A, start | end | (unit & 0x1f)]);
        if is_start {
            self.push(&[slice]);
        }
    }

    /// Puts the numbers of picture `frame` into a VP8 descriptor. There is one layer, so every picture counts.
    fn number_picture(&mut self, frame: u64) {
        let id = 0x8000 | (frame & 0x7fff) as u16;
        self.storage[2..4].copy_from_slice(&id.to_be_bytes());
        self.storage[4] = frame as u8;
    }

    /// Takes over the numbers that a forwarder may change.
    fn take_picture_numbers(&mut self, payload: &[u8]) {
        self.storage[2] = payload[2] | 0x80;
        self.storage[3..5].copy_from_slice(&payload[3..5]);
    }
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[at..at + 8]);
    u64::from_be_bytes(word)
}

/// What the bytes behind a stamp are drawn from: every bit of the stamp counts.
fn filler_seed(stamp: &[u8]) -> u64 {
    let [seed, number, sent_at] = [0, 8, 16].map(|at| u64_at(stamp, at));
    let rest = u64::from_be_bytes([stamp[24], stamp[25], stamp[26], 0, 0, 0, 0, 0]);
    scramble(scramble(scramble(seed) ^ number) ^ sent_at ^ rest)
}

/// Bytes that look random, eight at a time.
fn words(seed: u64) -> impl Iterator<Item = [u8; 8]> {
    (1..).map(move |index: u64| {
        scramble(seed.wrapping_add(index.wrapping_mul(GOLDEN_RATIO))).to_le_bytes()
    })
}

/// 2⁶⁴ divided by the golden ratio.
const GOLDEN_RATIO: u64 = 0x9e37_79b9_7f4a_7c15;

/// The finaliser of splitmix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014).
fn scramble(word: u64) -> u64 {
    let word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

const _: () = assert!(VP8_DESCRIPTOR_BYTES + 3 + 7 <= HEADERS_BYTES_MAX);
const _: () = assert!(STAP_A_UNIT_AT + 2 <= HEADERS_BYTES_MAX);

#[cfg(test)]
mod tests {
    use super::*;
    use proto::codec::{self, h264};

    const SEED: u64 = 0xfeed_0042;

    fn position(is_key_frame: bool, index: u32, count: u32) -> Position {
        Position {
            number: 77,
            frame: 40_000,
            is_key_frame,
            index,
            count,
        }
    }

    fn made(codec: Codec, position: Position) -> Vec<u8> {
        let mut payload = vec![0; 300];
        write(codec, SEED, position, Instant::from_millis(5), &mut payload);
        payload
    }

    fn everywhere() -> impl Iterator<Item = (Codec, Position)> {
        let places = [(0, 1), (0, 2), (1, 2), (0, 4), (1, 4), (3, 4)];
        [Codec::Vp8, Codec::H264, Codec::Opus]
            .into_iter()
            .flat_map(move |codec| {
                places.into_iter().flat_map(move |(index, count)| {
                    [false, true].map(|is_key| (codec, position(is_key, index, count)))
                })
            })
    }

    #[test]
    fn what_was_written_is_verified() {
        for (codec, position) in everywhere() {
            let verified = verify(codec, SEED, &made(codec, position));
            let expected = Verified {
                number: 77,
                sent_at: Some(Instant::from_millis(5)),
            };
            assert_eq!(verified, Ok(expected), "{codec:?} {position:?}");
        }
    }

    #[test]
    fn every_flipped_bit_is_found_but_in_picture_numbers() {
        for (codec, position) in everywhere() {
            let right = made(codec, position);
            for bit in 0..right.len() * 8 {
                let mut payload = right.clone();
                payload[bit / 8] ^= 1 << (bit % 8);
                let is_picture_number = codec == Codec::Vp8 && (17..40).contains(&(bit ^ 7));
                assert_eq!(
                    verify(codec, SEED, &payload).is_ok(),
                    is_picture_number,
                    "{codec:?} {position:?} bit {bit}"
                );
            }
        }
    }

    #[test]
    fn other_streams_and_stumps_are_refused() {
        for (codec, position) in everywhere() {
            let payload = made(codec, position);
            let verdict = verify(codec, SEED + 1, &payload);
            assert_eq!(verdict, Err(Wrong::OtherStream { seed: SEED }));
            assert!(verify(codec, SEED, &payload[1..]).is_err());
            assert_eq!(verify(codec, SEED, &payload[..20]), Err(Wrong::TooShort));
        }
    }

    #[test]
    fn cut_payloads_are_refused() {
        for (codec, position) in everywhere() {
            let payload = made(codec, position);
            let verdict = verify(codec, SEED, &payload[..200]);
            assert!(
                matches!(verdict, Err(Wrong::Length | Wrong::Headers)),
                "{codec:?} {position:?}"
            );
        }
    }

    #[test]
    fn forwarders_find_frames_and_key_frames() {
        for (codec, position) in everywhere() {
            let payload = made(codec, position);
            let known = match codec {
                Codec::Vp8 => codec::Codec::Vp8,
                Codec::H264 => codec::Codec::H264,
                Codec::Opus => continue,
            };
            let is_key_frame = codec::is_key_frame_start(known, &payload);
            let starts = codec::starts_frame(known, &payload);
            if position.index == 0 {
                assert_eq!(
                    is_key_frame, position.is_key_frame,
                    "{codec:?} {position:?}"
                );
                assert!(starts);
            } else if codec == Codec::Vp8 || position.index > 1 {
                assert!(!is_key_frame && !starts, "{codec:?} {position:?}");
            }
        }
        let parameters = made(Codec::H264, position(true, 0, 3));
        let units: Vec<u8> = h264::units(&parameters).map(|unit| unit.kind).collect();
        assert_eq!(units, [7, 8, 6]);
        let first = made(Codec::Vp8, position(true, 0, 3));
        assert_eq!(vp8::dimensions(&first), Some((640, 480)));
    }
}
