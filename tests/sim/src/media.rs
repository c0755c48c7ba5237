//! What simulated browsers negotiate, and pictures and sounds that say themselves whether they arrived whole.

use std::hash::BuildHasher;

use clock::NtpTime;
use foldhash::fast::FixedState;
use proto::codec::red::Redundant;
use proto::codec::{Codec, vp8};
use proto::rtp::Uri;
use sfu::api::{
    EncodingSpec, Kind, PayloadType, PublishedMedia, PublisherId, PublisherSpec, SubscribedMedia,
    SubscriberId, SubscriberSpec, TransportId,
};

use crate::encoder::Encoder;

// What publishers negotiate; subscribers have other numbers for the same things.
pub(crate) const IN_OPUS: u8 = 111;
pub(crate) const IN_RED: u8 = 63;
pub(crate) const IN_VP8: u8 = 96;
pub(crate) const IN_RTX: u8 = 97;
const OUT_OPUS: u8 = 109;
const OUT_RED: u8 = 62;
const OUT_VP8: u8 = 39;
const OUT_RTX: u8 = 40;
pub(crate) const IN_MID: u8 = 4;
pub(crate) const IN_LEVEL: u8 = 1;
pub(crate) const IN_TWCC: u8 = 3;
pub(crate) const IN_RID: u8 = 10;
pub(crate) const IN_REPAIRED_RID: u8 = 11;
const OUT_MID: u8 = 9;
const OUT_LEVEL: u8 = 5;
pub(crate) const OUT_TWCC: u8 = 7;
pub(crate) const OUT_SEND_TIME: u8 = 2;
pub(crate) const AUDIO_MID: &str = "0";
pub(crate) const VIDEO_MID: &str = "1";
pub(crate) const CLOCK_VIDEO: u32 = 90_000;
pub(crate) const CLOCK_AUDIO: u32 = 48_000;

/// Headers, what is known of it and checksum around the filler.
const PART_MIN: usize = 64;
/// Stands for no picture.
const NOTHING: u32 = u32::MAX;

/// RIDs of three encodings, lowest first, as openvidu-browser names them.
pub(crate) const RIDS: [&str; 3] = ["rdiv4", "rdiv2", "rdiv1"];

/// How somebody publishes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Style {
    /// Pictures per second.
    pub pictures: u32,
    /// Whether there is sound, 50 packets a second.
    pub sound: bool,
    /// Whether the node is told the SSRCs beforehand.
    pub announced: bool,
    /// The sequence number of the first picture's first packet. Browsers begin below 2^15.
    pub first_sequence: u16,
    /// What makes the pictures.
    pub encoder: Encoder,
}

/// SSRCs of one stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ssrcs {
    pub(crate) audio: u32,
    pub(crate) video: u32,
    pub(crate) rtx: u32,
}

impl Ssrcs {
    /// Those of the video's nth encoding and its retransmissions.
    pub(crate) const fn encoding(&self, nth: usize) -> (u32, u32) {
        let apart = (nth as u32) << 20;
        (self.video ^ apart, self.rtx ^ apart)
    }
}

/// A part of a picture as big as a packet, or a sound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    /// Counts pictures, or sounds.
    pub(crate) number: u32,
    /// Which part of the picture this is.
    pub(crate) part: u16,
    /// How many parts it has.
    pub(crate) parts: u16,
    pub(crate) is_key: bool,
    /// When it was taken, by the clock of whoever took it.
    pub(crate) taken: NtpTime,
    /// Who took it.
    pub(crate) whose: u32,
    /// Which encoding it is of.
    pub(crate) encoding: u8,
    /// Pictures of the encoding that it builds on.
    pub(crate) builds_on: [Option<u32>; 2],
}

/// Temporal layer, whether it builds on the lowest one only, and TL0PICIDX.
pub(crate) type Temporal = (u8, bool, u8);

/// A VP8 payload (RFC 7741): descriptor with a picture id, payload header if it starts the frame, and the part.
pub(crate) fn write_picture(
    part: &Part,
    picture_id: u16,
    temporal: Option<Temporal>,
    len: usize,
) -> Vec<u8> {
    let starts = part.part == 0;
    let mut descriptor = vp8::Descriptor::default();
    descriptor.starts_partition = starts;
    descriptor.picture_id = Some(vp8::PictureId::Long(picture_id & 0x7fff));
    if let Some((id, layer_sync, tl0)) = temporal {
        descriptor.tl0_picture_index = Some(tl0);
        descriptor.temporal = Some(vp8::Temporal { id, layer_sync });
    }
    let mut bytes = [0; vp8::MAX_DESCRIPTOR_LENGTH];
    let used = descriptor.write(&mut bytes).expect("it fits");
    let mut payload = bytes[..used].to_vec();
    if starts && part.is_key {
        // RFC 6386 §9.1: frame tag with P = 0, start code, 320 × 240.
        payload.extend([0x10, 0x02, 0x00, 0x9d, 0x01, 0x2a, 0x40, 0x01, 0xf0, 0x00]);
    } else if starts {
        payload.extend([0x11, 0x02, 0x00]);
    }
    let content_at = payload.len();
    write_part(part, &mut payload);
    payload.resize(len.max(content_at + PART_MIN), part.number as u8);
    seal(&mut payload, content_at);
    payload
}

/// The descriptor and the part in a VP8 payload.
///
/// # Panics
/// If the part is not as it was written.
pub(crate) fn read_picture(payload: &[u8]) -> (vp8::Descriptor, Part) {
    let descriptor = vp8::Descriptor::parse(payload).expect("a VP8 descriptor");
    let mut content = &payload[descriptor.len()..];
    if descriptor.starts_frame() {
        let header = if content[0] & 1 == 0 { 10 } else { 3 };
        assert_eq!(
            vp8::is_key_frame_start(payload),
            header == 10,
            "the header says what the P bit says"
        );
        content = &content[header..];
    }
    let part = read_part(content);
    assert_eq!(descriptor.starts_frame(), part.part == 0);
    (descriptor, part)
}

pub(crate) fn write_sound(part: &Part, len: usize) -> Vec<u8> {
    let mut payload = Vec::new();
    write_part(part, &mut payload);
    payload.resize(len.max(PART_MIN), part.number as u8);
    seal(&mut payload, 0);
    payload
}

/// A sound and the one before it, which came so many ticks earlier (RFC 2198), as browsers send them.
pub(crate) fn repeat(before: Option<(&[u8], u32)>, own: &[u8]) -> Vec<u8> {
    let mut payload = Vec::new();
    if let Some((sound, ticks)) = before {
        let word = ticks << 10 | sound.len() as u32;
        payload.push(0x80 | IN_OPUS);
        payload.extend_from_slice(&word.to_be_bytes()[1..]);
    }
    payload.push(IN_OPUS);
    payload.extend(before.into_iter().flat_map(|(sound, _)| sound));
    payload.extend_from_slice(own);
    payload
}

/// The sounds of a packet, its own first, and how many packets before each is.
///
/// # Panics
/// If a sound is not as it was written.
pub(crate) fn read_sounds(payload_type: u8, payload: &[u8]) -> Vec<(u64, Part)> {
    if payload_type != OUT_RED {
        assert_eq!(payload_type, OUT_OPUS, "a payload type that was agreed on");
        return vec![(0, read_part(payload))];
    }
    let red = Redundant::parse(payload).expect("a packet of RFC 2198");
    core::iter::once((0, &red.own))
        .chain(red.repeated())
        .map(|(before, block)| (before, read_part(&payload[block.range.clone()])))
        .collect()
}

fn write_part(part: &Part, out: &mut Vec<u8>) {
    out.extend(part.number.to_be_bytes());
    out.extend(part.part.to_be_bytes());
    out.extend(part.parts.to_be_bytes());
    out.push(u8::from(part.is_key));
    out.extend(part.taken.to_bits().to_be_bytes());
    out.extend(part.whose.to_be_bytes());
    out.push(part.encoding);
    for number in part.builds_on {
        out.extend(number.unwrap_or(NOTHING).to_be_bytes());
    }
}

/// Makes the last eight bytes a checksum over the rest.
fn seal(payload: &mut [u8], content_at: usize) {
    let content = &mut payload[content_at..];
    let end = content.len() - 8;
    let sum = FixedState::with_seed(0).hash_one(&content[..end]);
    content[end..].copy_from_slice(&sum.to_be_bytes());
}

fn read_part(content: &[u8]) -> Part {
    let (body, sum) = content
        .split_last_chunk::<8>()
        .expect("there is a checksum");
    assert_eq!(
        u64::from_be_bytes(*sum),
        FixedState::with_seed(0).hash_one(body),
        "the payload leaves as it came in"
    );
    let bytes = |at: usize, len: usize| &body[at..at + len];
    let four = |at: usize| u32::from_be_bytes(bytes(at, 4).try_into().expect("four bytes"));
    let two = |at: usize| u16::from_be_bytes(bytes(at, 2).try_into().expect("two bytes"));
    Part {
        number: four(0),
        part: two(4),
        parts: two(6),
        is_key: body[8] == 1,
        taken: NtpTime::from_bits(u64::from_be_bytes(
            bytes(9, 8).try_into().expect("eight bytes"),
        )),
        whose: four(17),
        encoding: body[21],
        builds_on: [22, 26].map(|at| Some(four(at)).filter(|number| *number != NOTHING)),
    }
}

fn payload_type(number: u8, codec: Codec, clock_rate: u32, rtx: Option<u8>) -> PayloadType {
    let video = codec.is_video();
    PayloadType {
        payload_type: number,
        codec,
        clock_rate,
        rtx,
        nack: video,
        pli: video,
        fir: video,
        remb: video,
        transport_cc: true,
    }
}

/// Camera and microphone.
pub(crate) fn publisher(
    id: PublisherId,
    transport: TransportId,
    ssrcs: Ssrcs,
    style: &Style,
) -> PublisherSpec {
    let announce = |ssrc| style.announced.then_some(ssrc);
    let mut extensions = vec![
        (IN_MID, Uri::Mid),
        (IN_LEVEL, Uri::AudioLevel),
        (IN_TWCC, Uri::TransportCc),
    ];
    let encodings = match style.encoder {
        Encoder::Obedient { encodings: 3, .. } => {
            extensions.extend([(IN_RID, Uri::Rid), (IN_REPAIRED_RID, Uri::RepairedRid)]);
            let named = RIDS.map(|rid| EncodingSpec {
                rid: Some(rid.into()),
                ..EncodingSpec::default()
            });
            named.to_vec()
        }
        _ => vec![EncodingSpec {
            rid: None,
            ssrc: announce(ssrcs.video),
            rtx_ssrc: announce(ssrcs.rtx),
        }],
    };
    PublisherSpec {
        id,
        transport,
        media: vec![
            PublishedMedia {
                bandwidth_max: None,
                is_screen: false,
                kind: Kind::Audio,
                mid: AUDIO_MID.into(),
                codecs: vec![
                    payload_type(IN_RED, Codec::Red, CLOCK_AUDIO, None),
                    payload_type(IN_OPUS, Codec::Opus, CLOCK_AUDIO, None),
                ],
                extensions: extensions.clone(),
                encodings: vec![EncodingSpec {
                    ssrc: announce(ssrcs.audio),
                    ..EncodingSpec::default()
                }],
            },
            PublishedMedia {
                bandwidth_max: None,
                is_screen: false,
                kind: Kind::Video,
                mid: VIDEO_MID.into(),
                codecs: vec![payload_type(IN_VP8, Codec::Vp8, CLOCK_VIDEO, Some(IN_RTX))],
                extensions,
                encodings,
            },
        ],
    }
}

/// Which medium of a [`subscriber`] is the picture.
pub(crate) const VIDEO_PLACE: u8 = 1;

/// Who watches and listens.
pub(crate) fn subscriber(
    id: SubscriberId,
    transport: TransportId,
    publisher: PublisherId,
    ssrcs: Ssrcs,
) -> SubscriberSpec {
    let extensions = vec![
        (OUT_MID, Uri::Mid),
        (OUT_LEVEL, Uri::AudioLevel),
        (OUT_TWCC, Uri::TransportCc),
        (OUT_SEND_TIME, Uri::AbsSendTime),
    ];
    let opus = payload_type(OUT_OPUS, Codec::Opus, CLOCK_AUDIO, None);
    let red = payload_type(OUT_RED, Codec::Red, CLOCK_AUDIO, None);
    let vp8 = payload_type(OUT_VP8, Codec::Vp8, CLOCK_VIDEO, Some(OUT_RTX));
    SubscriberSpec {
        id,
        transport,
        publisher,
        media: vec![
            SubscribedMedia {
                bandwidth_max: None,
                kind: Kind::Audio,
                mid: "a".into(),
                ssrc: ssrcs.audio,
                rtx_ssrc: None,
                cname: "someone".into(),
                codecs: vec![(IN_OPUS, opus), (IN_RED, red)],
                extensions: extensions.clone(),
            },
            SubscribedMedia {
                bandwidth_max: None,
                kind: Kind::Video,
                mid: "v".into(),
                ssrc: ssrcs.video,
                rtx_ssrc: Some(ssrcs.rtx),
                cname: "someone".into(),
                codecs: vec![(IN_VP8, vp8)],
                extensions,
            },
        ],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_read_as_written() {
        for (part, is_key) in [(0, true), (0, false), (3, true)] {
            let part = Part {
                number: 40_000,
                part,
                parts: 4,
                is_key,
                taken: NtpTime::from_bits(77),
                whose: 5,
                encoding: 2,
                builds_on: [Some(39_999), None],
            };
            for temporal in [None, Some((2, true, 77))] {
                let payload = write_picture(&part, 40_000, temporal, 900);
                assert_eq!(payload.len(), 900);
                let (descriptor, read) = read_picture(&payload);
                assert_eq!(read, part);
                let id = descriptor.picture_id.expect("it was written").value();
                assert_eq!(id, 40_000 & 0x7fff);
                assert_eq!(descriptor.tl0_picture_index, temporal.map(|one| one.2));
                let layer = descriptor.temporal.map(|one| (one.id, one.layer_sync));
                assert_eq!(layer, temporal.map(|one| (one.0, one.1)));
            }
            let sound = write_sound(&part, 80);
            assert_eq!(read_sounds(OUT_OPUS, &sound), [(0, part)]);
            let twice = repeat(Some((&sound, 960)), &sound);
            assert_eq!(read_sounds(OUT_RED, &twice), [(0, part), (1, part)]);
        }
    }

    #[test]
    #[should_panic(expected = "leaves as it came in")]
    fn a_changed_byte_is_noticed() {
        let part = Part {
            number: 1,
            part: 0,
            parts: 1,
            is_key: true,
            taken: NtpTime::from_bits(0),
            whose: 0,
            encoding: 0,
            builds_on: [None; 2],
        };
        let mut payload = write_picture(&part, 1, None, 100);
        payload[50] ^= 1;
        read_picture(&payload);
    }
}
