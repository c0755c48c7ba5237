//! A session: one who publishes sound and pictures, and some who subscribe; losses in both directions, repaired.

use std::collections::BTreeSet;

use clock::Rng;
use proto::codec::Codec;
use proto::rtcp::{self, Nack, Pli, ReceiverReport};
use proto::rtp::{Element, Fields, Uri};
use sfu::api::*;

use crate::node::Node;
use crate::peer::{Arrival, Peer};

const OPUS: u8 = 111;
const VP8: u8 = 96;
const VP8_RTX: u8 = 97;
const MID: u8 = 4;
const LEVEL: u8 = 1;
const TRANSPORT_CC: u8 = 3;
const AUDIO_SSRC: u32 = 0xa0a0_0001;
const VIDEO_SSRC: u32 = 0xb0b0_0001;
const VIDEO_RTX_SSRC: u32 = 0xb0b0_0002;
/// One packet in so many is lost, each way.
const LOSS: u64 = 100;
/// A subscriber asks for a picture once in so many frames.
const PICTURE_WANTED: u64 = 500;
/// Turns in which transports have to connect.
const PATIENCE: usize = 2_000;
pub const PACKETS_PER_FRAME: u64 = 8;
const PAYLOAD: usize = 1_100;

pub struct Session {
    source: Source,
    viewers: Vec<Viewer>,
}

struct Source {
    peer: Peer,
    publisher: PublisherId,
    frame: u32,
    sequence: u16,
    audio_sequence: u16,
    rtx_sequence: u16,
    transport_sequence: u16,
    /// What the node asked for again.
    asked: Vec<u16>,
    payload: Vec<u8>,
}

struct Viewer {
    peer: Peer,
    ssrcs: [u32; 3],
    /// Sequence numbers that were lost on the way here.
    missing: BTreeSet<u16>,
    lost: Vec<u16>,
    video: u64,
    repaired: u64,
}

/// What all viewers of a session have received.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Received {
    pub video: u64,
    pub repaired: u64,
}

impl Session {
    /// Makes it and connects everybody. Ids from `first_id` on are taken.
    pub fn begin(node: &mut Node, first_id: u64, viewers: u64, rng: &mut Rng, quiet: bool) -> Self {
        let peer = Peer::join(node, first_id, rng);
        let source = Source {
            peer,
            publisher: PublisherId(first_id),
            frame: 0,
            sequence: 65_000,
            audio_sequence: 10,
            rtx_sequence: 500,
            transport_sequence: 0,
            asked: Vec::new(),
            payload: vec![7; PAYLOAD],
        };
        let viewers = (1..=viewers).map(|number| Viewer {
            peer: Peer::join(node, first_id + number, rng),
            ssrcs: [0, 1, 2].map(|kind| 0x1000_0000 + 0x10 * (first_id + number) as u32 + kind),
            missing: BTreeSet::new(),
            lost: Vec::new(),
            video: 0,
            repaired: 0,
        });
        let viewers = viewers.collect();
        let mut session = Self { source, viewers };
        for _ in 0..PATIENCE {
            session.pump(node, rng);
            if session.peers().all(Peer::is_connected) {
                break;
            }
            match quiet {
                true => node.turn_unwatched(),
                false => node.turn(),
            }
        }
        assert!(
            session.peers().all(Peer::is_connected),
            "everybody connects"
        );
        session.peers().for_each(|peer| peer.give_keys(node));
        node.order(Command::AddPublisher(Box::new(session.source.spec())));
        for viewer in &session.viewers {
            let spec = viewer.spec(session.source.publisher);
            node.order(Command::AddSubscriber(Box::new(spec)));
        }
        session
    }

    fn peers(&self) -> impl Iterator<Item = &Peer> {
        std::iter::once(&self.source.peer).chain(self.viewers.iter().map(|viewer| &viewer.peer))
    }

    /// Everybody leaves.
    pub fn end(self, node: &mut Node) {
        for peer in self.peers() {
            node.order(Command::RemoveTransport(peer.id));
            node.detach(peer.address());
        }
    }

    /// The source sends a frame and some sound; everybody takes what has come, and asks for what was lost.
    pub fn play(&mut self, node: &mut Node, rng: &mut Rng) {
        self.source.send_frame(rng);
        self.source.send_sound();
        self.pump(node, rng);
    }

    /// Everybody takes what has come.
    pub fn pump(&mut self, node: &Node, rng: &mut Rng) {
        let now = node.now();
        let source = &mut self.source;
        let asked = &mut source.asked;
        source.peer.pump(now, |arrival| {
            if let Arrival::Rtcp(compound) = arrival {
                for packet in rtcp::compound(compound).expect("RTCP") {
                    if let rtcp::Packet::Nack(nack) = packet.expect("RTCP") {
                        asked.extend(nack.sequences());
                    }
                }
            }
        });
        source.resend();
        for viewer in &mut self.viewers {
            viewer.watch(now, rng);
        }
    }

    pub fn received(&self) -> Received {
        let mut sum = Received::default();
        for viewer in &self.viewers {
            sum.video += viewer.video;
            sum.repaired += viewer.repaired;
        }
        sum
    }

    /// Packets that were lost on the way to viewers and have not come again.
    pub fn missing(&self) -> usize {
        self.viewers.iter().map(|viewer| viewer.missing.len()).sum()
    }
}

impl Source {
    fn spec(&self) -> PublisherSpec {
        let media = |kind, mid: &str, codec, encoding| PublishedMedia {
            bandwidth_max: None,
            is_screen: false,
            kind,
            mid: mid.into(),
            codecs: vec![codec],
            extensions: vec![
                (MID, Uri::Mid),
                (LEVEL, Uri::AudioLevel),
                (TRANSPORT_CC, Uri::TransportCc),
            ],
            encodings: vec![encoding],
        };
        let sound = EncodingSpec {
            ssrc: Some(AUDIO_SSRC),
            ..EncodingSpec::default()
        };
        let pictures = EncodingSpec {
            ssrc: Some(VIDEO_SSRC),
            rtx_ssrc: Some(VIDEO_RTX_SSRC),
            ..EncodingSpec::default()
        };
        PublisherSpec {
            id: self.publisher,
            transport: self.peer.id,
            media: vec![
                media(Kind::Audio, "0", opus(), sound),
                media(Kind::Video, "1", vp8(), pictures),
            ],
        }
    }

    fn send_frame(&mut self, rng: &mut Rng) {
        self.frame += 1;
        // RFC 7741: a descriptor, and the first bit of the payload header says whether this is a key frame.
        let is_key = self.frame % 300 == 1;
        for part in 0..PACKETS_PER_FRAME {
            let fields = Fields {
                marker: part + 1 == PACKETS_PER_FRAME,
                padding: false,
                payload_type: VP8,
                sequence: self.sequence,
                timestamp: self.frame.wrapping_mul(3_000),
                ssrc: VIDEO_SSRC,
            };
            let begin: [u8; 11] = match (part, is_key) {
                (0, true) => [0x10, 0x10, 2, 0, 0x9d, 1, 0x2a, 0x40, 1, 0xf0, 0],
                (0, false) => [0x10, 0x11, 2, 0, 0, 0, 0, 0, 0, 0, 0],
                _ => [0; 11],
            };
            self.payload[..11].copy_from_slice(&begin);
            // The last packet of a frame is shorter.
            let len = if fields.marker { PAYLOAD / 3 } else { PAYLOAD };
            self.transport_sequence = self.transport_sequence.wrapping_add(1);
            let number = self.transport_sequence.to_be_bytes();
            let elements = [Element::new(MID, b"1"), Element::new(TRANSPORT_CC, &number)];
            let is_lost = rng.next_u64().is_multiple_of(LOSS);
            self.peer
                .send_rtp(&fields, &elements, &self.payload[..len], is_lost);
            self.sequence = self.sequence.wrapping_add(1);
        }
    }

    fn send_sound(&mut self) {
        let fields = Fields {
            marker: false,
            padding: false,
            payload_type: OPUS,
            sequence: self.audio_sequence,
            timestamp: u32::from(self.audio_sequence).wrapping_mul(960),
            ssrc: AUDIO_SSRC,
        };
        self.audio_sequence = self.audio_sequence.wrapping_add(1);
        self.transport_sequence = self.transport_sequence.wrapping_add(1);
        let number = self.transport_sequence.to_be_bytes();
        let elements = [
            Element::new(MID, b"0"),
            Element::new(LEVEL, &[33]),
            Element::new(TRANSPORT_CC, &number),
        ];
        self.peer.send_rtp(&fields, &elements, &[5; 80], false);
    }

    /// RFC 4588 §4: the original's sequence number before its payload.
    fn resend(&mut self) {
        for sequence in std::mem::take(&mut self.asked) {
            let fields = Fields {
                marker: false,
                padding: false,
                payload_type: VP8_RTX,
                sequence: self.rtx_sequence,
                timestamp: self.frame.wrapping_mul(3_000),
                ssrc: VIDEO_RTX_SSRC,
            };
            self.rtx_sequence = self.rtx_sequence.wrapping_add(1);
            let mut payload = sequence.to_be_bytes().to_vec();
            payload.extend([0; PAYLOAD]);
            self.peer
                .send_rtp(&fields, &[Element::new(MID, b"1")], &payload, false);
        }
    }
}

impl Viewer {
    fn spec(&self, publisher: PublisherId) -> SubscriberSpec {
        let [audio, video, rtx] = self.ssrcs;
        let media = |kind, mid: &str, ssrc, rtx_ssrc, codec| SubscribedMedia {
            bandwidth_max: None,
            kind,
            mid: mid.into(),
            ssrc,
            rtx_ssrc,
            cname: "someone".into(),
            codecs: vec![codec],
            extensions: vec![(MID, Uri::Mid), (LEVEL, Uri::AudioLevel)],
        };
        SubscriberSpec {
            id: SubscriberId(self.peer.id.0),
            transport: self.peer.id,
            publisher,
            media: vec![
                media(Kind::Audio, "a", audio, None, (OPUS, opus())),
                media(Kind::Video, "v", video, Some(rtx), (VP8, vp8())),
            ],
        }
    }

    fn watch(&mut self, now: clock::Instant, rng: &mut Rng) {
        let [_, video, rtx] = self.ssrcs;
        let (missing, lost) = (&mut self.missing, &mut self.lost);
        let (mut came, mut repaired) = (0, 0);
        self.peer.pump(now, |arrival| {
            let Arrival::Rtp(header) = arrival else {
                return;
            };
            if header.ssrc == rtx {
                repaired += 1;
                // Which one it repairs is encrypted; the oldest is as good a guess as any.
                missing.pop_first();
            } else if header.ssrc == video {
                if rng.next_u64().is_multiple_of(LOSS) {
                    missing.insert(header.sequence);
                    lost.push(header.sequence);
                }
                came += 1;
            }
        });
        self.video += came;
        self.repaired += repaired;
        if !lost.is_empty() {
            let all = std::mem::take(lost);
            self.peer.send_rtcp(|out| {
                ReceiverReport::write(99, &[], out)?;
                Nack::write(99, video, &all, out).map(|_| ())
            });
        }
        if rng.next_u64().is_multiple_of(PICTURE_WANTED) {
            self.peer.send_rtcp(|out| {
                ReceiverReport::write(99, &[], out)?;
                Pli {
                    sender: 99,
                    media: video,
                }
                .write(out)
            });
        }
    }
}

fn payload_type(number: u8, codec: Codec, clock_rate: u32, rtx: Option<u8>) -> PayloadType {
    let is_video = codec.is_video();
    PayloadType {
        payload_type: number,
        codec,
        clock_rate,
        rtx,
        nack: is_video,
        pli: is_video,
        fir: is_video,
        remb: is_video,
        transport_cc: true,
    }
}

fn opus() -> PayloadType {
    payload_type(OPUS, Codec::Opus, 48_000, None)
}

fn vp8() -> PayloadType {
    payload_type(VP8, Codec::Vp8, 90_000, Some(VP8_RTX))
}
