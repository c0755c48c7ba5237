//! Temporal layers that only dependency descriptors tell of.

use proto::codec::Codec;
use proto::rtp::Fields;
use sfu::api::*;

use crate::harness::*;

/// The descriptor of a key frame: one spatial and three temporal layers in four templates (the first for key frames), three decode
/// targets with the indications SSS, SSS, -DS and --D. The first template has number 5.
const STRUCTURE: [u8; 9] = [0xc5, 0, 0, 0x80, 0xa2, 0x17, 0xaa, 0xa1, 0x81];

/// Somebody who publishes what nobody can read.
struct Sealed {
    peer: usize,
    sequence: u16,
    timestamp: u32,
    frame: u16,
}

impl Sealed {
    fn new(net: &mut Net) -> (Self, usize) {
        let h264 = |payload_type: PayloadType| PayloadType {
            codec: Codec::H264,
            ..payload_type
        };
        let peer = net.connect();
        let mut spec = publisher(net, peer, 1);
        spec.media[1].codecs = vec![h264(vp8(VP8, Some(VP8_RTX)))];
        net.command(Command::AddPublisher(Box::new(spec)));
        let receiver = net.connect();
        let mut spec = subscriber(net, receiver, 1);
        spec.media[1].codecs = vec![(VP8, h264(vp8(OUT_VP8, Some(OUT_VP8_RTX))))];
        net.command(Command::AddSubscriber(Box::new(spec)));
        let source = Self {
            peer,
            sequence: 65_500,
            timestamp: 7,
            frame: 0,
        };
        (source, receiver)
    }

    /// One frame of two packets, described by the nth template, or with a structure of its own.
    fn frame(&mut self, net: &mut Net, template: Option<u8>) {
        for part in 0..2_u8 {
            let mut data = STRUCTURE.to_vec();
            if part > 0 || template.is_some() {
                data.truncate(3);
            }
            let bounds = if part == 0 { 0x80 } else { 0x40 };
            data[0] = bounds | (5 + template.unwrap_or(0));
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
    source.frame(&mut net, None);
    limit(&mut net, receiver, 0);
    source.round(&mut net);
    assert_eq!(came(&net, receiver, 0), [9, 1, 3, 2, 3]);
    // The next key frame brings the structure.
    source.frame(&mut net, None);
    source.round(&mut net);
    assert_eq!(came(&net, receiver, 10), [9, 1]);
    net.finish();
}
