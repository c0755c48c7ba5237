//! Peers with keys who say what is none of their business, or say it without end.

use proto::rtcp::{self, Bye, Fir, FirEntry, ReceiverReport, Sdes};
use proto::rtp::Fields;
use proto::srtp::Outbound;
use sfu::discard::DropReason;

use crate::harness::*;
use crate::simulcast::*;

/// A publisher that says RIDs of its own and others with ever new SSRCs, beside the encodings that it really sends.
#[test]
fn churning_rids_cost_a_bounded_number_of_streams_and_key_frames() {
    let mut net = Net::new();
    let mut camera = Camera::new(&mut net, false);
    let receivers = [subscribe(&mut net), subscribe(&mut net)];
    for _ in 0..30 {
        camera.picture(&mut net, arrives);
    }
    let asked = net.engine.stats().key_frame_requests_sent;
    let made = net.engine.stats().encodings;
    let rids: [&[u8]; 5] = [b"rdiv4", b"rdiv2", b"rdiv1", b"q", b"0123456789abcdef"];
    let mut ssrc = 1_u32;
    // Five seconds.
    for _ in 0..125 {
        // The contexts of an honest peer know fewer SSRCs.
        let peer = &mut net.peers[camera.peer];
        let many = Outbound::new(&peer.keys.local).unwrap();
        let own = core::mem::replace(&mut peer.outbound, many);
        for nth in 0..40_usize {
            ssrc += 1;
            let fields = Fields {
                payload_type: VP8,
                sequence: ssrc as u16,
                timestamp: ssrc,
                ssrc,
                ..Fields::default()
            };
            let names: [(u8, &[u8]); 2] = [(IN_MID, b"1"), (IN_RID, rids[nth % 5])];
            let payload = picture(true, true, ssrc, 0);
            net.send_rtp(camera.peer, &fields, &names, &payload);
        }
        net.peers[camera.peer].outbound = own;
        camera.picture(&mut net, arrives);
    }
    assert_eq!(net.engine.stats().encodings, made);
    // Two of five are of no encoding, nor are the camera's own, whose places were taken. The rest may begin anew every 500 ms.
    let unknown = net.stat(DropReason::UnknownEncoding);
    assert!((2_000..=2_000 + 125 * 9).contains(&unknown), "{unknown}");
    let refused = net.stat(DropReason::TooManySources);
    assert!((2_900..3_000).contains(&refused), "{refused}");
    let asked = net.engine.stats().key_frame_requests_sent - asked;
    assert!(
        asked <= 3 * 11,
        "{asked} key frames asked for in five seconds"
    );
    // With its own SSRCs it goes on as before.
    for sent in &mut camera.encodings {
        sent.ssrc += 0x0100_0000;
        sent.rtx += 0x0100_0000;
        sent.key_wanted = true;
        sent.packets.clear();
    }
    net.run(600);
    for _ in 0..60 {
        camera.picture(&mut net, arrives);
    }
    for receiver in receivers {
        assert_eq!(showing(&net, receiver), 2);
    }
    net.finish();
}

/// Each FIR has a number of its own, so that each asks for another key frame (RFC 5104 §4.3.1.2).
#[test]
fn a_flood_of_fir_is_one_request_per_encoding_and_interval() {
    let mut net = Net::new();
    let mut camera = Camera::new(&mut net, false);
    let receivers: Vec<usize> = (0..8).map(|_| subscribe(&mut net)).collect();
    for _ in 0..50 {
        camera.picture(&mut net, arrives);
    }
    let before = net.engine.stats().clone();
    // Two seconds, ten datagrams of each in each picture, with requests about everybody's and nobody's streams.
    for round in 0..50_u8 {
        for &receiver in &receivers {
            for nth in 0..10 {
                let others = receivers.iter().flat_map(|other| {
                    let (audio, video, rtx) = out_ssrcs(*other);
                    [audio, video, rtx, 0xc0c0_0000, VIDEO_SSRC]
                });
                let entries: Vec<FirEntry> = others
                    .map(|ssrc| FirEntry {
                        ssrc,
                        sequence: round.wrapping_mul(10).wrapping_add(nth),
                    })
                    .collect();
                net.send_rtcp(receiver, |out| {
                    ReceiverReport::write(1, &[], out)?;
                    Fir::write(1, &entries, out)
                });
            }
        }
        camera.picture(&mut net, arrives);
    }
    let stats = net.engine.stats();
    let asked = stats.key_frame_requests_sent - before.key_frame_requests_sent;
    assert!((1..=3 * 5).contains(&asked), "{asked} in two seconds");
    let came = stats.key_frame_requests_received - before.key_frame_requests_received;
    assert_eq!(came, 50 * 8 * 10 * 40);
    for receiver in receivers {
        assert_eq!(judge(&shown(&net, receiver)).cut, 0);
        assert_eq!(showing(&net, receiver), 2);
    }
    net.finish();
}

/// RFC 3550 §6.6 and §6.5: farewells and names, of oneself and of others. Streams end by orders, and names are the node's.
#[test]
fn farewells_and_names_of_others_change_nothing() {
    let mut net = Net::new();
    let (mut source, receivers) = call(&mut net, 3);
    let ssrcs: Vec<u32> = (receivers.iter().copied())
        .flat_map(|receiver| <[u32; 3]>::from(out_ssrcs(receiver)))
        .chain([VIDEO_SSRC, VIDEO_RTX, AUDIO_SSRC, 0])
        .collect();
    let before: Vec<usize> = of_video(&net, &receivers);
    for _ in 0..50 {
        for peer in [source.peer, receivers[0]] {
            net.send_rtcp(peer, |out| {
                ReceiverReport::write(1, &[], out)?;
                for ssrc in &ssrcs {
                    Sdes::write(*ssrc, b"mallory", out)?;
                }
                Bye::write(&ssrcs, out)
            });
        }
        source.frame(&mut net, false, &[]);
        net.run(40);
    }
    let after = of_video(&net, &receivers);
    assert!(
        after
            .iter()
            .zip(before)
            .all(|(after, before)| after - before == 150)
    );
    assert_eq!(net.stat(DropReason::RtcpMalformed), 0);
    for peer in &net.peers {
        let foreign = |packet: &rtcp::Packet<'_>| match packet {
            rtcp::Packet::Bye(_) => true,
            rtcp::Packet::Sdes(sdes) => sdes.clone().any(|(_, name)| name == b"mallory"),
            _ => false,
        };
        assert_eq!(peer.count_rtcp(foreign), 0);
    }
    net.finish();
}

fn of_video(net: &Net, receivers: &[usize]) -> Vec<usize> {
    let packets = |receiver: &usize| net.peers[*receiver].of(out_ssrcs(*receiver).1).len();
    receivers.iter().map(packets).collect()
}
