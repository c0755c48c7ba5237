//! Who publishes what and who subscribes to it, and the packets of a camera and a microphone.

use std::collections::HashMap;

use proto::codec::Codec;
use proto::rtp::{Fields, Uri};
use sfu::api::*;

use super::Net;

pub const OPUS: u8 = 111;
pub const VP8: u8 = 96;
pub const VP8_RTX: u8 = 97;
/// What subscribers have negotiated instead.
pub const OUT_OPUS: u8 = 109;
pub const OUT_VP8: u8 = 39;
pub const OUT_VP8_RTX: u8 = 40;

pub const IN_MID: u8 = 4;
pub const IN_LEVEL: u8 = 1;
pub const IN_TWCC: u8 = 3;
pub const IN_RID: u8 = 10;
pub const IN_REPAIRED_RID: u8 = 11;
pub const IN_DESCRIPTOR: u8 = 12;
pub const IN_ORIENTATION: u8 = 13;
pub const IN_ALLOCATION: u8 = 14;
pub const OUT_MID: u8 = 9;
pub const OUT_LEVEL: u8 = 5;
pub const OUT_DESCRIPTOR: u8 = 7;
pub const OUT_ORIENTATION: u8 = 6;
pub const OUT_PLAYOUT: u8 = 11;

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

pub fn opus(number: u8) -> PayloadType {
    payload_type(number, Codec::Opus, 48_000, None)
}

pub fn vp8(number: u8, rtx: Option<u8>) -> PayloadType {
    payload_type(number, Codec::Vp8, 90_000, rtx)
}

pub fn in_extensions() -> Vec<(u8, Uri)> {
    vec![
        (IN_MID, Uri::Mid),
        (IN_LEVEL, Uri::AudioLevel),
        (IN_TWCC, Uri::TransportCc),
        (IN_RID, Uri::Rid),
        (IN_REPAIRED_RID, Uri::RepairedRid),
        (IN_DESCRIPTOR, Uri::DependencyDescriptor),
        (IN_ORIENTATION, Uri::VideoOrientation),
        (IN_ALLOCATION, Uri::VideoLayersAllocation),
    ]
}

pub const AUDIO_SSRC: u32 = 0xa0a0_0001;
pub const VIDEO_SSRC: u32 = 0xb0b0_0001;
pub const VIDEO_RTX: u32 = 0xb0b0_0002;

/// Camera and microphone; SSRCs announced.
pub fn publisher(net: &Net, peer: usize, id: u64) -> PublisherSpec {
    PublisherSpec {
        id: PublisherId(id),
        transport: net.peers[peer].id,
        media: vec![
            PublishedMedia {
                bandwidth_max: None,
                is_screen: false,
                kind: Kind::Audio,
                mid: "0".into(),
                codecs: vec![opus(OPUS)],
                extensions: in_extensions(),
                encodings: vec![EncodingSpec {
                    ssrc: Some(AUDIO_SSRC),
                    ..EncodingSpec::default()
                }],
            },
            PublishedMedia {
                bandwidth_max: None,
                is_screen: false,
                kind: Kind::Video,
                mid: "1".into(),
                codecs: vec![vp8(VP8, Some(VP8_RTX))],
                extensions: in_extensions(),
                encodings: vec![EncodingSpec {
                    ssrc: Some(VIDEO_SSRC),
                    rtx_ssrc: Some(VIDEO_RTX),
                    ..EncodingSpec::default()
                }],
            },
        ],
    }
}

/// SSRCs of what a subscriber on `peer` gets.
pub fn out_ssrcs(peer: usize) -> (u32, u32, u32) {
    let base = 0x1000_0000 + 0x100 * peer as u32;
    (base, base + 1, base + 2)
}

pub fn subscriber(net: &Net, peer: usize, publisher: u64) -> SubscriberSpec {
    let (audio, video, rtx) = out_ssrcs(peer);
    let extensions = vec![
        (OUT_MID, Uri::Mid),
        (OUT_LEVEL, Uri::AudioLevel),
        (OUT_DESCRIPTOR, Uri::DependencyDescriptor),
        (OUT_PLAYOUT, Uri::PlayoutDelay),
        (OUT_ORIENTATION, Uri::VideoOrientation),
    ];
    SubscriberSpec {
        id: SubscriberId(peer as u64),
        transport: net.peers[peer].id,
        publisher: PublisherId(publisher),
        media: vec![
            SubscribedMedia {
                bandwidth_max: None,
                kind: Kind::Audio,
                mid: "a".into(),
                ssrc: audio,
                rtx_ssrc: None,
                cname: "someone".into(),
                codecs: vec![(OPUS, opus(OUT_OPUS))],
                extensions: extensions.clone(),
            },
            SubscribedMedia {
                bandwidth_max: None,
                kind: Kind::Video,
                mid: "v".into(),
                ssrc: video,
                rtx_ssrc: Some(rtx),
                cname: "someone".into(),
                codecs: vec![(VP8, vp8(OUT_VP8, Some(OUT_VP8_RTX)))],
                extensions,
            },
        ],
    }
}

/// What a camera and a microphone send.
pub struct Source {
    pub peer: usize,
    pub ssrc: u32,
    pub sequence: u16,
    pub frame: u32,
    pub audio_sequence: u16,
    /// Everything sent, by sequence number: what arrives must be this.
    pub payloads: HashMap<u16, Vec<u8>>,
    pub transport_sequence: u16,
}

pub const PACKETS_PER_FRAME: u16 = 3;

impl Source {
    pub fn new(peer: usize) -> Self {
        Self {
            peer,
            ssrc: VIDEO_SSRC,
            sequence: 65_500,
            frame: 0,
            audio_sequence: 10,
            payloads: HashMap::new(),
            transport_sequence: 0,
        }
    }

    /// A picture of a few packets. `lose` says which of its packets never reach the node.
    pub fn frame(&mut self, net: &mut Net, key: bool, lose: &[u16]) {
        self.frame += 1;
        for part in 0..PACKETS_PER_FRAME {
            let fields = Fields {
                marker: part + 1 == PACKETS_PER_FRAME,
                padding: false,
                payload_type: VP8,
                sequence: self.sequence,
                timestamp: self.frame.wrapping_mul(3_000),
                ssrc: self.ssrc,
            };
            let payload = picture(key, part == 0, self.frame, part);
            self.payloads.insert(self.sequence, payload.clone());
            self.transport_sequence = self.transport_sequence.wrapping_add(1);
            let number = self.transport_sequence.to_be_bytes();
            let elements: [(u8, &[u8]); 3] =
                [(IN_MID, b"1"), (IN_TWCC, &number), (IN_ORIENTATION, &[1])];
            let count = if fields.marker { 3 } else { 2 };
            let datagram = net.peers[self.peer].protect(&fields, &elements[..count], &payload);
            if !lose.contains(&part) {
                let from = net.peers[self.peer].address;
                net.send(from, datagram);
            }
            self.sequence = self.sequence.wrapping_add(1);
        }
    }

    pub fn audio(&mut self, net: &mut Net) {
        let fields = Fields {
            marker: false,
            padding: false,
            payload_type: OPUS,
            sequence: self.audio_sequence,
            timestamp: u32::from(self.audio_sequence) * 960,
            ssrc: AUDIO_SSRC,
        };
        self.audio_sequence += 1;
        self.transport_sequence = self.transport_sequence.wrapping_add(1);
        let number = self.transport_sequence.to_be_bytes();
        let elements: [(u8, &[u8]); 3] = [(IN_MID, b"0"), (IN_LEVEL, &[33]), (IN_TWCC, &number)];
        let payload = [b'o', fields.sequence as u8, 3, 4];
        net.send_rtp(self.peer, &fields, &elements, &payload);
    }

    /// Sends a packet again as RTX, the way browsers do.
    pub fn resend(&self, net: &mut Net, sequence: u16, rtx_sequence: u16) {
        let mut payload = sequence.to_be_bytes().to_vec();
        payload.extend(&self.payloads[&sequence]);
        let fields = Fields {
            marker: false,
            padding: false,
            payload_type: VP8_RTX,
            sequence: rtx_sequence,
            timestamp: self.frame.wrapping_mul(3_000),
            ssrc: VIDEO_RTX,
        };
        net.send_rtp(self.peer, &fields, &[(IN_MID, b"1")], &payload);
    }

    /// Sends as much padding as there can be, in RTX with nothing in it.
    pub fn pad(&self, net: &mut Net, rtx_sequence: u16) {
        let mut padding = [0; 255];
        padding[254] = 255;
        let fields = Fields {
            padding: true,
            payload_type: VP8_RTX,
            sequence: rtx_sequence,
            timestamp: self.frame.wrapping_mul(3_000),
            ssrc: VIDEO_RTX,
            ..Fields::default()
        };
        net.send_rtp(self.peer, &fields, &[(IN_MID, b"1")], &padding);
    }
}

/// A VP8 payload (RFC 7741): descriptor, payload header, and something that can be recognised.
pub fn picture(key: bool, first: bool, frame: u32, part: u16) -> Vec<u8> {
    let mut payload = vec![if first { 0x10 } else { 0x00 }];
    if first && key {
        payload.extend([0x10, 0x02, 0x00, 0x9d, 0x01, 0x2a, 0x40, 0x01, 0xf0, 0x00]);
    } else {
        payload.extend([0x11, 0x02, 0x00]);
    }
    payload.extend(frame.to_be_bytes());
    payload.extend(part.to_be_bytes());
    // The last packet of a frame is short.
    let len = if part + 1 == PACKETS_PER_FRAME {
        60
    } else {
        900
    };
    payload.resize(len, frame as u8);
    payload
}

/// Publisher on the first peer, subscribers on the others, a key frame forwarded.
pub fn call(net: &mut Net, subscribers: usize) -> (Source, Vec<usize>) {
    let sender = net.connect();
    let spec = publisher(net, sender, 1);
    net.command(Command::AddPublisher(Box::new(spec)));
    let mut receivers = Vec::new();
    for _ in 0..subscribers {
        let receiver = net.connect();
        let spec = subscriber(net, receiver, 1);
        net.command(Command::AddSubscriber(Box::new(spec)));
        receivers.push(receiver);
    }
    let mut source = Source::new(sender);
    source.frame(net, true, &[]);
    source.audio(net);
    net.run(5);
    (source, receivers)
}
