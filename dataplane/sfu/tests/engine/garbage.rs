//! Anything may arrive. Nothing panics, every packet is accounted for, every slot comes back, and the call goes on.

use std::net::SocketAddr;

use clock::Rng;
use packet::{ArenaSize, BurstsSize};
use proptest::prelude::*;
use proto::rtp::Fields;
use sfu::api::*;
use sfu::discard::DropReason;

use crate::harness::*;

/// What is thrown at the node next.
#[derive(Clone, Debug)]
enum Throw {
    /// Bytes from a stranger or a peer.
    Raw { from: u8, bytes: Vec<u8> },
    /// The first bytes of a protocol, then noise.
    Shaped {
        from: u8,
        kind: u8,
        len: u16,
        seed: u64,
    },
    /// Authentic RTP with a strange header and payload.
    Rtp {
        peer: u8,
        ssrc: u8,
        payload_type: u8,
        sequence: u16,
        element: u8,
        payload: Vec<u8>,
    },
    /// Authentic RTCP with strange contents.
    Rtcp { peer: u8, bytes: Vec<u8> },
    /// An order.
    Order { kind: u8, which: u8 },
    /// Time.
    Pass { millis: u16 },
    /// The call itself.
    Frame { key: bool },
}

fn throws() -> impl Strategy<Value = Vec<Throw>> {
    let bytes = |max| prop::collection::vec(any::<u8>(), 0..max);
    let rtcp = (
        any::<u8>(),
        prop::sample::select(vec![200_u8, 201, 202, 203, 205, 206, 207, 210]),
        any::<u8>(),
        bytes(120),
    )
        .prop_map(|(peer, kind, count, body)| {
            let words = body.len().div_ceil(4);
            let mut bytes = vec![0x80 | (count & 0x3f), kind, 0, words as u8];
            bytes.extend(&body);
            bytes.resize(4 + words * 4, 0);
            Throw::Rtcp { peer, bytes }
        });
    let one = prop_oneof![
        2 => (any::<u8>(), bytes(200)).prop_map(|(from, bytes)| Throw::Raw { from, bytes }),
        4 => (any::<u8>(), any::<u8>(), 0_u16..1_500, any::<u64>())
            .prop_map(|(from, kind, len, seed)| Throw::Shaped { from, kind, len, seed }),
        6 => (any::<u8>(), any::<u8>(), any::<u8>(), any::<u16>(), any::<u8>(), bytes(100))
            .prop_map(|(peer, ssrc, payload_type, sequence, element, payload)| Throw::Rtp {
                peer, ssrc, payload_type, sequence, element, payload
            }),
        6 => rtcp,
        2 => (any::<u8>(), any::<u8>()).prop_map(|(kind, which)| Throw::Order { kind, which }),
        2 => (0_u16..300).prop_map(|millis| Throw::Pass { millis }),
        3 => any::<bool>().prop_map(|key| Throw::Frame { key }),
    ];
    prop::collection::vec(one, 1..80)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn nothing_panics_or_leaks(throws in throws()) {
        let mut net = Net::new();
        let (mut source, receivers) = call(&mut net, 2);
        let peers = [source.peer, receivers[0], receivers[1]];
        for throw in throws {
            apply(&mut net, &mut source, &peers, throw);
        }
        net.run(20);
        net.finish();
    }
}

fn apply(net: &mut Net, source: &mut Source, peers: &[usize; 3], throw: Throw) {
    let address = |net: &Net, from: u8| match from % 4 {
        3 => SocketAddr::from(([203, 0, 113, from], 9)),
        peer => net.peers[peers[usize::from(peer)]].address,
    };
    match throw {
        Throw::Raw { from, bytes } => net.send(address(net, from), bytes),
        Throw::Shaped {
            from,
            kind,
            len,
            seed,
        } => {
            let mut bytes = vec![0; usize::from(len)];
            Rng::from_number(seed).fill(&mut bytes);
            let start: &[u8] = match kind % 6 {
                0 => &[0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42],
                1 => &[1, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42],
                2 => &[22, 254, 253],
                3 => &[0x90, 96],
                4 => &[0x80, 200],
                _ => &[0xb0, 0x6f],
            };
            for (byte, wanted) in bytes.iter_mut().zip(start) {
                *byte = *wanted;
            }
            net.send(address(net, from), bytes);
        }
        Throw::Rtp {
            peer,
            ssrc,
            payload_type,
            sequence,
            element,
            payload,
        } => {
            let peer = peers[usize::from(peer % 3)];
            let ssrc =
                [VIDEO_SSRC, VIDEO_RTX, AUDIO_SSRC, 0, u32::from(ssrc)][usize::from(ssrc % 5)];
            let types = [VP8, VP8_RTX, OPUS, payload_type & 0x7f];
            // The peer's own SRTP context refuses to repeat an index; strange numbers come with strange SSRCs.
            let sequence = if ssrc == VIDEO_SSRC || ssrc == AUDIO_SSRC {
                return;
            } else {
                sequence
            };
            let fields = Fields {
                marker: false,
                padding: payload_type & 0x80 != 0,
                payload_type: types[usize::from(payload_type % 4)],
                sequence,
                timestamp: u32::from(sequence) << 8,
                ssrc,
            };
            let elements: [(u8, &[u8]); 2] = [(element.max(1), &payload), (IN_MID, b"1")];
            let mut header = [0; 600];
            let elements = elements.map(|(id, data)| proto::rtp::Element::new(id, data));
            let len = proto::rtp::write_header(&mut header, &fields, &elements).unwrap();
            let mut out = vec![0; len + payload.len() + 64];
            let from = net.peers[peer].address;
            let protected = net.peers[peer].outbound.protect_rtp(
                u64::from(sequence),
                ssrc,
                &header[..len],
                &[],
                &payload,
                &mut out,
            );
            if let Ok(len) = protected {
                net.send(from, out[..len].to_vec());
            }
        }
        Throw::Rtcp { peer, bytes } => {
            let peer = &mut net.peers[peers[usize::from(peer % 3)]];
            let mut out = vec![0; bytes.len() + 64];
            let from = peer.address;
            if let Ok(len) = peer.outbound.protect_rtcp(&bytes, &mut out) {
                net.send(from, out[..len].to_vec());
            }
        }
        Throw::Order { kind, which } => order(net, peers, kind, which),
        Throw::Pass { millis } => net.run(u64::from(millis)),
        Throw::Frame { key } => source.frame(net, key, &[]),
    }
}

fn order(net: &mut Net, peers: &[usize; 3], kind: u8, which: u8) {
    let receiver = peers[1 + usize::from(which % 2)];
    let command = match kind % 6 {
        0 => Command::RemovePublisher(PublisherId(1)),
        1 => Command::AddPublisher(Box::new(publisher(net, peers[0], 1))),
        2 => Command::RemoveSubscriber(SubscriberId(receiver as u64)),
        3 => Command::AddSubscriber(Box::new(subscriber(net, receiver, 1))),
        4 if which < 16 => Command::RemoveTransport(net.peers[receiver].id),
        _ => Command::SendDtls {
            transport: net.peers[receiver].id,
            datagram: vec![23; usize::from(which) * 6],
        },
    };
    net.command(command);
}

#[test]
fn a_flood_of_garbage_does_not_touch_the_call() {
    let mut net = Net::new();
    let (mut source, receivers) = call(&mut net, 1);
    let mut rng = Rng::from_number(5);
    for round in 0..200_u64 {
        for nth in 0..100 {
            let mut bytes = vec![0; rng.below(1_400) as usize + 1];
            rng.fill(&mut bytes);
            bytes[0] = [0, 1, 22, 0x80, 0x90, bytes[0]][nth % 6];
            let from = match nth % 3 {
                0 => net.peers[source.peer].address,
                1 => net.peers[receivers[0]].address,
                _ => SocketAddr::from(([203, 0, 113, nth as u8], round as u16)),
            };
            net.send(from, bytes);
        }
        source.frame(&mut net, false, &[]);
        net.run(5);
    }
    let got = net.peers[receivers[0]].of(out_ssrcs(receivers[0]).1);
    assert_eq!(got.len(), 603);
    assert!(net.astray.is_empty());
    net.finish();
}

#[test]
fn too_little_memory_costs_packets_and_nothing_else() {
    let arena = ArenaSize {
        slots: 70,
        small_slots: 2,
        reserve: 60,
    };
    let bursts = BurstsSize {
        chunks: 2,
        bursts: 8,
    };
    let mut net = Net::sized(config(), arena, bursts);
    let (mut source, receivers) = call(&mut net, 12);
    let mut cached = 0;
    for _ in 0..200 {
        source.frame(&mut net, true, &[]);
        source.audio(&mut net);
        net.run(10);
        cached = cached.max(net.engine.stats().cache_packets);
    }
    assert!((1..=12).contains(&cached), "{cached} packets cached");
    assert!(net.stat(DropReason::NoBurst) > 0);
    let got: usize = receivers
        .iter()
        .map(|receiver| net.peers[*receiver].rtp.len())
        .sum();
    assert!(got > 1_000, "{got} packets still came");
    net.finish();
}

#[test]
fn a_peer_that_changes_its_ssrc_all_the_time_costs_nothing_more() {
    let mut net = Net::new();
    let (mut source, receivers) = call(&mut net, 1);
    for ssrc in 1..1_000_u32 {
        let fields = Fields {
            payload_type: VP8,
            sequence: ssrc as u16,
            ssrc,
            ..Fields::default()
        };
        net.send_rtp(
            source.peer,
            &fields,
            &[(IN_MID, b"1")],
            &picture(true, true, 1, 0),
        );
        if ssrc % 20 == 0 {
            net.run(5);
        }
    }
    assert!(net.stat(DropReason::TooManySources) > 950);
    assert!(net.peers[receivers[0]].rtp.len() < 20);
    net.run(600);
    let before = net.peers[receivers[0]].rtp.len();
    source.frame(&mut net, true, &[]);
    net.run(5);
    assert_eq!(
        net.peers[receivers[0]].rtp.len(),
        before + 3,
        "and may return"
    );
    net.finish();
}
