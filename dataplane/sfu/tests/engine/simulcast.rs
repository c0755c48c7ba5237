//! A publisher with three encodings, and what a subscriber makes of what it gets.

use std::collections::{BTreeMap, HashMap, HashSet};

use clock::{Duration, Instant, NtpTime};
use proto::codec::vp8::{Descriptor, PictureId, Temporal};
use proto::rtcp::{self, Nack, SenderInfo, SenderReport};
use proto::rtp::Fields;
use sfu::api::*;

use crate::harness::*;

/// As openvidu-browser names them.
pub const RIDS: [&str; 3] = ["rdiv4", "rdiv2", "rdiv1"];
/// Time between two pictures, in milliseconds.
pub const INTERVAL: u64 = 40;
/// Packets of a picture, by encoding.
const PARTS: [u16; 3] = [1, 3, 5];

/// One encoding as its sender sees it.
pub struct Sent {
    pub ssrc: u32,
    pub rtx: u32,
    pub sequence: u16,
    rtx_sequence: u16,
    /// Timestamp at the clock's zero.
    base: u32,
    picture_id: u16,
    tl0: u8,
    pub active: bool,
    pub reports: bool,
    pub key_wanted: bool,
    pub key_frames: u32,
    /// Packets by sequence number: timestamp, marker, payload.
    pub packets: HashMap<u16, (u32, bool, Vec<u8>)>,
}

/// A camera with three encodings.
pub struct Camera {
    pub peer: usize,
    pub encodings: [Sent; 3],
    /// Counts pictures, whether they are encoded or not.
    pub frame: u32,
    /// Temporal layers: 1 or 3.
    pub temporal: u8,
    /// Says which encodings it goes on with (video-layers-allocation00).
    pub tells: bool,
    /// It is slow to send packets again: those asked for wait here.
    pub slow: bool,
    waiting: Vec<(u32, u16)>,
    begun: Instant,
    heard: usize,
    transport_sequence: u16,
}

/// What becomes of a packet on its way to the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Arrives,
    Lost,
    /// It comes one picture later.
    Late,
}

/// Of every packet.
pub fn arrives() -> Fate {
    Fate::Arrives
}

/// Somebody who watches the publisher.
pub fn subscribe(net: &mut Net) -> usize {
    let receiver = net.connect();
    let spec = subscriber(net, receiver, 1);
    net.command(Command::AddSubscriber(Box::new(spec)));
    receiver
}

impl Camera {
    /// SSRCs are announced, or found out by MID and RID.
    pub fn new(net: &mut Net, announced: bool) -> Self {
        Self::publishing(net, announced, 1)
    }

    /// The same as another publisher.
    pub fn publishing(net: &mut Net, announced: bool, id: u64) -> Self {
        let peer = net.connect();
        let sent = |nth: u32| Sent {
            ssrc: 0xc0c0_0000 + nth,
            rtx: 0xc0c0_1000 + nth,
            sequence: [65_400, 100, 30_000][nth as usize],
            rtx_sequence: 7,
            base: [u32::MAX - 400_000, 77, 0x8000_0000][nth as usize],
            picture_id: [0x7ff0, 5, 4_000][nth as usize],
            tl0: [250, 3, 90][nth as usize],
            active: true,
            reports: true,
            key_wanted: true,
            key_frames: 0,
            packets: HashMap::new(),
        };
        let camera = Self {
            peer,
            encodings: [sent(0), sent(1), sent(2)],
            frame: 0,
            temporal: 1,
            tells: false,
            slow: false,
            waiting: Vec::new(),
            begun: net.now,
            heard: 0,
            transport_sequence: 0,
        };
        let mut spec = camera.describe(net, announced);
        spec.id = PublisherId(id);
        net.command(Command::AddPublisher(Box::new(spec)));
        camera
    }

    /// What the node was told of it, with RIDs.
    pub fn spec(&self, net: &Net) -> PublisherSpec {
        self.describe(net, false)
    }

    fn describe(&self, net: &Net, announced: bool) -> PublisherSpec {
        let encodings = (self.encodings.iter()).zip(RIDS);
        let mut spec = publisher(net, self.peer, 1);
        spec.media[1].encodings = encodings
            .map(|(sent, rid)| EncodingSpec {
                rid: (!announced).then(|| rid.into()),
                ssrc: announced.then_some(sent.ssrc),
                rtx_ssrc: announced.then_some(sent.rtx),
            })
            .collect();
        spec
    }

    /// One picture of every active encoding, and time passes until the next. The node's requests are heard meanwhile.
    pub fn picture(&mut self, net: &mut Net, mut fate: impl FnMut() -> Fate) {
        self.listen(net);
        self.frame += 1;
        let mut late = Vec::new();
        for nth in 0..3 {
            if self.encodings[nth].active {
                late.extend(self.encode(net, nth, &mut fate));
            }
        }
        net.run(INTERVAL);
        for (from, datagram) in late {
            net.send(from, datagram);
        }
        if self.frame % 10 == 3 {
            for nth in 0..3 {
                self.report(net, nth);
            }
        }
    }

    fn encode(
        &mut self,
        net: &mut Net,
        nth: usize,
        fate: &mut impl FnMut() -> Fate,
    ) -> Vec<(std::net::SocketAddr, Vec<u8>)> {
        let timestamp = self.timestamp(net.now, nth);
        let active = self.encodings.each_ref().map(|sent| u8::from(sent.active));
        let allocation = [
            (nth as u8) << 6 | 0x20,
            active[0] << 4 | active[1],
            active[2] << 4,
        ];
        let frame = self.frame;
        let sent = &mut self.encodings[nth];
        let key = core::mem::take(&mut sent.key_wanted);
        sent.key_frames += u32::from(key);
        let layer = match (self.temporal, frame % 4) {
            (1, _) | (_, 0) => 0,
            (_, 2) => 1,
            _ => 2,
        };
        let layer = if key { 0 } else { layer };
        sent.picture_id = sent.picture_id.wrapping_add(1) & 0x7fff;
        sent.tl0 = sent.tl0.wrapping_add(u8::from(layer == 0));
        let mut late = Vec::new();
        for part in 0..PARTS[nth] {
            let payload = payload(sent, nth, (frame, part), key, layer);
            let marker = part + 1 == PARTS[nth];
            let sequence = sent.sequence;
            sent.sequence = sequence.wrapping_add(1);
            sent.packets
                .insert(sequence, (timestamp, marker, payload.clone()));
            let fields = Fields {
                marker,
                padding: false,
                payload_type: VP8,
                sequence,
                timestamp,
                ssrc: sent.ssrc,
            };
            self.transport_sequence = self.transport_sequence.wrapping_add(1);
            let number = self.transport_sequence.to_be_bytes();
            let told = if self.tells && part == 0 {
                &allocation[..]
            } else {
                &[]
            };
            let names: [(u8, &[u8]); 4] = [
                (IN_TWCC, &number),
                (if told.is_empty() { 77 } else { IN_ALLOCATION }, told),
                (IN_MID, b"1"),
                (IN_RID, RIDS[nth].as_bytes()),
            ];
            // Browsers say the names until they were heard.
            let count = if sent.packets.len() < 60 { 4 } else { 2 };
            let datagram = net.peers[self.peer].protect(&fields, &names[..count], &payload);
            let from = net.peers[self.peer].address;
            match fate() {
                Fate::Arrives => net.send(from, datagram),
                Fate::Lost => {}
                Fate::Late => late.push((from, datagram)),
            }
        }
        late
    }

    fn timestamp(&self, now: Instant, nth: usize) -> u32 {
        let passed = (now - self.begun).as_micros() as u64 * 9 / 100;
        self.encodings[nth].base.wrapping_add(passed as u32)
    }

    /// A sender report of one encoding.
    pub fn report(&self, net: &mut Net, nth: usize) {
        let sent = &self.encodings[nth];
        if !sent.reports {
            return;
        }
        let info = SenderInfo {
            ssrc: sent.ssrc,
            ntp: NtpTime::from_unix(Duration::from_secs(5_000)).plus(net.now - self.begun),
            timestamp: self.timestamp(net.now, nth),
            packets: 0,
            octets: 0,
        };
        net.send_rtcp(self.peer, |out| SenderReport::write(&info, &[], out));
    }

    /// Does what the node asks for: key frames and retransmissions. Returns how many of each.
    pub fn listen(&mut self, net: &mut Net) {
        let (mut pictures, mut missing) = (Vec::new(), Vec::new());
        for datagram in &net.peers[self.peer].rtcp[self.heard..] {
            for packet in rtcp::compound(datagram).unwrap() {
                match packet.unwrap() {
                    rtcp::Packet::Pli(pli) => pictures.push(pli.media),
                    rtcp::Packet::Nack(nack) => {
                        missing.extend(nack.sequences().map(|sequence| (nack.media, sequence)));
                    }
                    _ => {}
                }
            }
        }
        self.heard = net.peers[self.peer].rtcp.len();
        for sent in &mut self.encodings {
            sent.key_wanted |= sent.active && pictures.contains(&sent.ssrc);
        }
        self.waiting.extend(missing);
        if !self.slow {
            for (ssrc, sequence) in core::mem::take(&mut self.waiting) {
                self.resend(net, ssrc, sequence);
            }
        }
    }

    fn resend(&mut self, net: &mut Net, ssrc: u32, sequence: u16) {
        let nth = (self.encodings.iter()).position(|sent| sent.ssrc == ssrc);
        let nth = nth.expect("the node asks for what there is");
        let sent = &mut self.encodings[nth];
        let Some((timestamp, marker, original)) = sent.packets.get(&sequence) else {
            return;
        };
        let mut payload = sequence.to_be_bytes().to_vec();
        payload.extend(original);
        let fields = Fields {
            marker: *marker,
            padding: false,
            payload_type: VP8_RTX,
            sequence: sent.rtx_sequence,
            timestamp: *timestamp,
            ssrc: sent.rtx,
        };
        sent.rtx_sequence = sent.rtx_sequence.wrapping_add(1);
        let names: [(u8, &[u8]); 2] = [(IN_MID, b"1"), (IN_REPAIRED_RID, RIDS[nth].as_bytes())];
        net.send_rtp(self.peer, &fields, &names, &payload);
    }
}

fn payload(sent: &Sent, nth: usize, (frame, part): (u32, u16), key: bool, layer: u8) -> Vec<u8> {
    let mut descriptor = Descriptor::default();
    descriptor.starts_partition = part == 0;
    descriptor.picture_id = Some(PictureId::Long(sent.picture_id));
    descriptor.tl0_picture_index = Some(sent.tl0);
    descriptor.temporal = Some(Temporal {
        id: layer,
        layer_sync: layer > 0,
    });
    let mut payload = vec![0; 6];
    let len = descriptor.write(&mut payload).unwrap();
    payload.truncate(len);
    payload.push(if key { 0x10 } else { 0x11 });
    payload.push(nth as u8);
    payload.push(u8::from(key));
    payload.extend(frame.to_be_bytes());
    payload.extend(part.to_be_bytes());
    payload.resize(payload.len() + 300, frame as u8);
    payload
}

/// A packet as a subscriber sees it.
#[derive(Clone, Debug)]
pub struct Shown {
    pub index: u64,
    pub timestamp: u32,
    pub descriptor: Descriptor,
    pub encoding: usize,
    pub key: bool,
    pub frame: u32,
    pub part: u16,
}

/// The encoding of the video packet that came last.
pub fn showing(net: &Net, receiver: usize) -> usize {
    let (_, video, _) = out_ssrcs(receiver);
    let mut packets = net.peers[receiver].rtp.iter().rev();
    let packet = packets.find(|packet| packet.header.ssrc == video).unwrap();
    read(packet, packet.index, &packet.payload).encoding
}

/// What a subscriber has got of the video, in order, retransmissions in their places.
pub fn shown(net: &Net, receiver: usize) -> Vec<Shown> {
    let (_, video, rtx) = out_ssrcs(receiver);
    let peer = &net.peers[receiver];
    let mut all: BTreeMap<u64, Shown> = BTreeMap::new();
    for packet in peer.of(video) {
        let before = all.insert(packet.index, read(packet, packet.index, &packet.payload));
        assert!(before.is_none());
    }
    // Padding alone finds out what the way carries.
    for packet in peer.of(rtx).iter().filter(|one| !one.payload.is_empty()) {
        let sequence = u16::from_be_bytes([packet.payload[0], packet.payload[1]]);
        let newest = *all.last_key_value().unwrap().0;
        let index = proto::rtp::sequence::nearest(newest, sequence);
        let again = read(packet, index, &packet.payload[2..]);
        if let Some(before) = all.get(&index) {
            assert_eq!(
                (before.encoding, before.frame, before.part, before.timestamp),
                (again.encoding, again.frame, again.part, again.timestamp),
                "a retransmission is what was sent"
            );
            assert_eq!(before.descriptor, again.descriptor);
        }
        all.insert(index, again);
    }
    all.into_values().collect()
}

fn read(packet: &Received, index: u64, payload: &[u8]) -> Shown {
    let descriptor = Descriptor::parse(payload).unwrap();
    let rest = &payload[descriptor.len()..];
    Shown {
        index,
        timestamp: packet.header.timestamp,
        descriptor,
        encoding: usize::from(rest[1]),
        key: rest[2] == 1,
        frame: u32::from_be_bytes(rest[3..7].try_into().unwrap()),
        part: u16::from_be_bytes(rest[7..9].try_into().unwrap()),
    }
}

/// What [`judge`] found.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    pub pictures: usize,
    pub switches: usize,
    /// Sequence numbers between the first and the last that never came.
    pub holes: u64,
    /// Greatest distance of a picture from where the first one would have it, in units of the clock.
    pub drift: u32,
    /// Pictures that are not complete, but for the last.
    pub cut: usize,
}

/// Judges what a subscriber has got. Panics over what must never be: a picture of two encodings, another encoding without a key
/// frame, time or picture ids that stand still or run back, and picture ids that jump where no packet is missing.
pub fn judge(packets: &[Shown]) -> Verdict {
    let mut verdict = Verdict::default();
    let first = &packets[0];
    assert!(first.key && first.part == 0);
    let mut last_of: Option<(&Shown, HashSet<u16>)> = None;
    let mut missing = false;
    for (nth, packet) in packets.iter().enumerate() {
        let gap = nth
            .checked_sub(1)
            .map_or(0, |before| packet.index - packets[before].index - 1);
        verdict.holes += gap;
        missing |= gap > 0;
        let picture = match &mut last_of {
            Some((picture, parts)) if picture.timestamp == packet.timestamp => {
                assert_eq!(
                    (picture.encoding, picture.frame),
                    (packet.encoding, packet.frame),
                    "one picture, one encoding"
                );
                assert_eq!(ids(picture), ids(packet));
                parts.insert(packet.part);
                continue;
            }
            other => other.replace((packet, HashSet::from([packet.part]))),
        };
        verdict.pictures += 1;
        let told = packet.timestamp.wrapping_sub(first.timestamp);
        let meant = (packet.frame - first.frame) * (INTERVAL as u32 * 90);
        verdict.drift = verdict
            .drift
            .max(told.wrapping_sub(meant).cast_signed().unsigned_abs());
        let Some((picture, parts)) = picture else {
            continue;
        };
        let ahead = packet
            .timestamp
            .wrapping_sub(picture.timestamp)
            .cast_signed();
        assert!(ahead > 0, "time goes on: {picture:?} {packet:?}");
        verdict.cut += usize::from(parts.len() != usize::from(PARTS[picture.encoding]));
        if packet.encoding != picture.encoding {
            verdict.switches += 1;
            assert!(
                missing || packet.key && packet.part == 0,
                "{picture:?} {packet:?}"
            );
        }
        let ((id, tl0), (old_id, old_tl0)) = (ids(packet), ids(picture));
        let step = id.wrapping_sub(old_id) & 0x7fff;
        assert!(step > 0 && step < 0x4000, "{picture:?} {packet:?}");
        if !missing {
            assert_eq!(step, 1, "{picture:?} {packet:?}");
            let is_base = packet.descriptor.temporal.unwrap().id == 0;
            assert_eq!(tl0, old_tl0.wrapping_add(u8::from(is_base)));
        }
        missing = false;
    }
    verdict
}

fn ids(packet: &Shown) -> (u16, u8) {
    let descriptor = &packet.descriptor;
    (
        descriptor.picture_id.unwrap().value(),
        descriptor.tl0_picture_index.unwrap(),
    )
}

/// A subscriber that asks for what it misses.
pub struct Asker {
    receiver: usize,
    taken: usize,
    missing: proto::loss::NackGenerator,
    numbers: proto::rtp::Unwrapper,
    pub asked: usize,
}

impl Asker {
    pub fn new(receiver: usize) -> Self {
        Self {
            receiver,
            taken: 0,
            missing: proto::loss::NackGenerator::new(),
            numbers: proto::rtp::Unwrapper::new(),
            asked: 0,
        }
    }

    pub fn ask(&mut self, net: &mut Net) {
        let (_, video, rtx) = out_ssrcs(self.receiver);
        for packet in &net.peers[self.receiver].rtp[self.taken..] {
            let sequence = match packet.header.ssrc {
                ssrc if ssrc == video => packet.header.sequence,
                ssrc if ssrc == rtx => u16::from_be_bytes([packet.payload[0], packet.payload[1]]),
                _ => continue,
            };
            self.missing
                .on_packet(net.now, self.numbers.unwrap(sequence));
        }
        self.taken = net.peers[self.receiver].rtp.len();
        let due = self.missing.poll_nack(net.now, Duration::from_millis(20));
        let sequences = due.sequences.to_vec();
        self.asked += sequences.len();
        if !sequences.is_empty() {
            net.send_rtcp(self.receiver, |out| {
                Nack::write(1, video, &sequences, out).map(|_| ())
            });
        }
    }
}
