//! Temporal layers that only dependency descriptors tell of.

use proto::codec::Codec;
use proto::rtp::Fields;
use sfu::api::*;
use sfu::stats::{REFUSALS, Refusal};

use crate::harness::*;

/// The descriptor of a key frame: one spatial and three temporal layers in four templates (the first for key frames), three decode
/// targets with the indications SSS, SSS, -DS and --D. The first template has number 5.
const STRUCTURE: [u8; 9] = [0xc5, 0, 0, 0x80, 0xa2, 0x17, 0xaa, 0xa1, 0x81];

fn h264(payload_type: PayloadType) -> PayloadType {
    PayloadType {
        codec: Codec::H264,
        ..payload_type
    }
}

/// Somebody who publishes what nobody can read.
struct Sealed {
    peer: usize,
    sequence: u16,
    timestamp: u32,
    frame: u16,
    /// What comes with its key frames, and the number of the first template.
    structure: Vec<u8>,
    offset: u8,
}

impl Sealed {
    fn new(net: &mut Net) -> (Self, usize) {
        let peer = net.connect();
        let mut spec = publisher(net, peer, 1);
        spec.media[1].codecs = vec![h264(vp8(VP8, Some(VP8_RTX)))];
        net.command(Command::AddPublisher(Box::new(spec)));
        let source = Self {
            peer,
            sequence: 65_500,
            timestamp: 7,
            frame: 0,
            structure: STRUCTURE.to_vec(),
            offset: 5,
        };
        let receiver = source.subscribe(net);
        (source, receiver)
    }

    fn subscribe(&self, net: &mut Net) -> usize {
        let receiver = net.connect();
        let mut spec = subscriber(net, receiver, 1);
        spec.media[1].codecs = vec![(VP8, h264(vp8(OUT_VP8, Some(OUT_VP8_RTX))))];
        net.command(Command::AddSubscriber(Box::new(spec)));
        receiver
    }

    /// The next structure is the same but for the number of its first template.
    fn renumber(&mut self, offset: u8) {
        self.offset = offset;
        // Behind five flags come its six bits.
        self.structure[3] = 0x80 | offset >> 3;
        self.structure[4] = (self.structure[4] & 0x1f) | offset << 5;
    }

    /// One frame of two packets, described by the nth template, or with a structure of its own.
    fn frame(&mut self, net: &mut Net, template: Option<u8>) {
        for part in 0..2_u8 {
            let mut data = self.structure.clone();
            if part > 0 || template.is_some() {
                data.truncate(3);
            }
            let bounds = if part == 0 { 0x80 } else { 0x40 };
            data[0] = bounds | (self.offset + template.unwrap_or(0));
            data[1..3].copy_from_slice(&self.frame.to_be_bytes());
            let fields = Fields {
                marker: part == 1,
                padding: false,
                payload_type: VP8,
                sequence: self.sequence,
                timestamp: self.timestamp,
                ssrc: VIDEO_SSRC,
            };
            // What it is may not be guessed from it.
            let payload = [&[0x65, template.unwrap_or(9), part][..], &[0xee; 200]].concat();
            let elements: [(u8, &[u8]); 1] = [(IN_DESCRIPTOR, &data)];
            net.send_rtp(self.peer, &fields, &elements, &payload);
            self.sequence = self.sequence.wrapping_add(1);
        }
        self.timestamp = self.timestamp.wrapping_add(3_000);
        self.frame = self.frame.wrapping_add(1);
        net.run(33);
    }

    /// The usual four frames: T0, T2, T1, T2.
    fn round(&mut self, net: &mut Net) {
        for template in [1, 3, 2, 3] {
            self.frame(net, Some(template));
        }
    }
}

/// Templates of the frames that came since so many packets; 9 for a key frame.
fn came(net: &Net, receiver: usize, since: usize) -> Vec<u8> {
    let all = net.peers[receiver].of(out_ssrcs(receiver).1);
    let first = all[0].index;
    for (nth, packet) in all.iter().enumerate() {
        assert_eq!(packet.index, first + nth as u64, "no hole");
    }
    let starts = all[since..].iter().filter(|packet| packet.payload[2] == 0);
    starts.map(|packet| packet.payload[1]).collect()
}

fn limit(net: &mut Net, receiver: usize, temporal: u8) {
    net.command(Command::LimitLayers {
        subscriber: SubscriberId(receiver as u64),
        medium: 1,
        limit: LayerLimit {
            encoding: Some(0),
            temporal,
        },
    });
}

#[test]
fn temporal_layers_go_and_come_back_by_descriptors_alone() {
    let mut net = Net::new();
    let (mut source, receiver) = Sealed::new(&mut net);
    source.frame(&mut net, Some(1));
    assert_eq!(net.peers[receiver].of(out_ssrcs(receiver).1).len(), 0);
    limit(&mut net, receiver, 2);
    source.frame(&mut net, None);
    source.round(&mut net);
    assert_eq!(came(&net, receiver, 0), [9, 1, 3, 2, 3]);
    let mut expect = |most: u8, frames: &[u8]| {
        limit(&mut net, receiver, most);
        let before = net.peers[receiver].of(out_ssrcs(receiver).1).len();
        source.round(&mut net);
        assert_eq!(came(&net, receiver, before), frames, "up to {most}");
    };
    expect(1, &[1, 2]);
    expect(0, &[1]);
    expect(0, &[1]);
    // With the lowest layer one may go over to any.
    expect(2, &[1, 3, 2, 3]);
    expect(0, &[1]);
    // But not in the middle.
    source.frame(&mut net, Some(1));
    source.frame(&mut net, Some(3));
    limit(&mut net, receiver, 2);
    let before = net.peers[receiver].of(out_ssrcs(receiver).1).len();
    source.frame(&mut net, Some(3));
    assert_eq!(came(&net, receiver, before), []);
    source.round(&mut net);
    assert_eq!(came(&net, receiver, before), [1, 3, 2, 3]);
    net.finish();
}

#[test]
fn what_nobody_explained_is_forwarded() {
    let mut net = Net::new();
    let (mut source, receiver) = Sealed::new(&mut net);
    // Cut short.
    source.structure.truncate(6);
    source.frame(&mut net, None);
    limit(&mut net, receiver, 0);
    source.round(&mut net);
    assert_eq!(came(&net, receiver, 0), [9, 1, 3, 2, 3]);
    // The next key frame brings the structure.
    source.structure = STRUCTURE.to_vec();
    source.frame(&mut net, None);
    source.round(&mut net);
    assert_eq!(came(&net, receiver, 10), [9, 1]);
    net.finish();
}

/// Templates numbered otherwise, among them two of the numbers from before with another meaning.
#[test]
fn another_structure_is_followed_by_all_who_watch() {
    let mut net = Net::new();
    let (mut source, first) = Sealed::new(&mut net);
    let second = source.subscribe(&mut net);
    source.frame(&mut net, None);
    for receiver in [first, second] {
        limit(&mut net, receiver, 1);
    }
    source.round(&mut net);
    source.renumber(7);
    source.frame(&mut net, None);
    source.round(&mut net);
    for receiver in [first, second] {
        assert_eq!(came(&net, receiver, 0), [9, 1, 2, 9, 1, 2]);
    }
    assert_eq!(net.engine.stats().refusals, [0; REFUSALS]);
    net.finish();
}

/// As long as a header extension can be, other bits each time, and as many templates as there can be.
#[test]
fn a_flood_of_structures_is_read_a_few_times_a_second() {
    let mut net = Net::new();
    let (mut source, first) = Sealed::new(&mut net);
    let receivers = [first, source.subscribe(&mut net)];
    source.frame(&mut net, None);
    for receiver in receivers {
        limit(&mut net, receiver, 1);
    }
    let before: Vec<usize> = receivers
        .map(|receiver| net.peers[receiver].rtp.len())
        .into();
    for nth in 0..300_u16 {
        source.structure = vec![0xaa; 255];
        source.structure[..6].copy_from_slice(&[0xc5, 0, 0, 0x80, 0xbe, 0x00]);
        source.structure[250..252].copy_from_slice(&nth.to_be_bytes());
        source.frame(&mut net, None);
    }
    // Ten seconds.
    let refused = net.engine.stats().refusals[Refusal::StructureFlood as usize];
    assert!((250..=262).contains(&refused), "{refused}");
    for (receiver, before) in receivers.iter().zip(before) {
        let got = net.peers[*receiver].rtp.len() - before;
        assert_eq!(got, 600, "what nobody can tell is forwarded");
    }
    net.run(1_000);
    // Whoever has sense again is followed again.
    source.structure = STRUCTURE.to_vec();
    source.frame(&mut net, None);
    let before = net.peers[first].of(out_ssrcs(first).1).len();
    source.round(&mut net);
    assert_eq!(came(&net, first, before), [1, 2]);
    net.finish();
}
