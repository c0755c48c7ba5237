//! Media from one publisher to its subscribers.

use proto::rtcp;
use proto::rtp::Fields;
use proto::srtp::Profile;
use sfu::api::*;
use sfu::discard::DropReason;

use crate::harness::*;

#[test]
fn two_subscribers_get_the_packets_as_they_were() {
    let mut net = Net::new();
    let (mut source, receivers) = call(&mut net, 2);
    for _ in 0..40 {
        source.frame(&mut net, false, &[]);
        source.audio(&mut net);
        net.run(20);
    }
    let sent = usize::from(PACKETS_PER_FRAME) * 41;
    for receiver in receivers {
        let (audio, video, _) = out_ssrcs(receiver);
        let peer = &net.peers[receiver];
        let pictures = peer.of(video);
        assert_eq!(pictures.len(), sent);
        assert!(pictures[0].index < 1 << 15);
        for (nth, packet) in pictures.iter().enumerate() {
            assert_eq!(packet.index, pictures[0].index + nth as u64, "gapless");
            let original = &source.payloads[&65_500_u16.wrapping_add(nth as u16)];
            assert_eq!(&packet.payload, original);
            assert_eq!(packet.header.payload_type, OUT_VP8);
            assert_eq!(packet.header.marker, nth % 3 == 2);
            let ticks = packet
                .header
                .timestamp
                .wrapping_sub(pictures[0].header.timestamp);
            assert_eq!(ticks, 3_000 * (nth as u32 / 3));
            let mut elements = vec![(OUT_MID, b"v".to_vec())];
            if packet.header.marker {
                elements.push((OUT_ORIENTATION, vec![1]));
            }
            assert_eq!(packet.elements, elements);
        }
        let sounds = peer.of(audio);
        assert_eq!(sounds.len(), 41);
        assert_eq!(
            sounds[7].elements,
            [(OUT_MID, b"a".to_vec()), (OUT_LEVEL, vec![33])]
        );
        assert_eq!(sounds[7].payload, [b'o', 17, 3, 4]);
        assert_eq!(peer.rtp.len(), sent + 41);
    }
    net.finish();
}

#[test]
fn every_profile_carries_a_call() {
    for profile in Profile::ALL {
        let mut net = Net::new();
        let sender = net.connect_with(profile);
        let spec = publisher(&net, sender, 1);
        net.command(Command::AddPublisher(Box::new(spec)));
        let receiver = net.connect_with(Profile::AeadAes256Gcm);
        let spec = subscriber(&net, receiver, 1);
        net.command(Command::AddSubscriber(Box::new(spec)));
        let mut source = Source::new(sender);
        source.frame(&mut net, true, &[]);
        net.run(10);
        assert_eq!(net.peers[receiver].of(out_ssrcs(receiver).1).len(), 3);
        net.finish();
    }
}

#[test]
fn a_foreign_implementation_opens_what_subscribers_get() {
    use webrtc_srtp::context::Context;
    use webrtc_srtp::protection_profile::ProtectionProfile;

    let profiles = [
        (Profile::AeadAes256Gcm, ProtectionProfile::AeadAes256Gcm),
        (Profile::AeadAes128Gcm, ProtectionProfile::AeadAes128Gcm),
        (
            Profile::Aes128CmHmacSha1_80,
            ProtectionProfile::Aes128CmHmacSha1_80,
        ),
    ];
    for (ours, theirs) in profiles {
        let mut net = Net::new();
        let sender = net.connect();
        let spec = publisher(&net, sender, 1);
        net.command(Command::AddPublisher(Box::new(spec)));
        let receiver = net.connect_with(ours);
        let spec = subscriber(&net, receiver, 1);
        net.command(Command::AddSubscriber(Box::new(spec)));
        let mut source = Source::new(sender);
        for _ in 0..20 {
            source.frame(&mut net, true, &[]);
            net.run(5);
        }
        let peer = &net.peers[receiver];
        // RFC 5764 §4.2: client key, server key, client salt, server salt; the node is the server.
        let (keys, salts) = peer.exported.split_at(2 * ours.key_len());
        let (key, salt) = (&keys[ours.key_len()..], &salts[ours.salt_len()..]);
        let mut context = Context::new(key, salt, theirs, None, None).unwrap();
        for (nth, datagram) in peer.raw.iter().enumerate() {
            let plain = context.decrypt_rtp(datagram).unwrap();
            let original = &source.payloads[&65_500_u16.wrapping_add(nth as u16)];
            assert!(plain.ends_with(original));
        }
        assert_eq!(peer.raw.len(), 60);
        net.finish();
    }
}

#[test]
fn a_late_joiner_starts_at_a_key_frame_and_asks_for_it_at_once() {
    let mut net = Net::new();
    let (mut source, _) = call(&mut net, 1);
    net.run(600);
    let before = pictures_requested(&net, source.peer);
    let late = net.connect();
    let spec = subscriber(&net, late, 1);
    net.command(Command::AddSubscriber(Box::new(spec)));
    net.run(15);
    assert_eq!(pictures_requested(&net, source.peer), before + 1);
    source.frame(&mut net, false, &[]);
    net.run(5);
    assert!(net.peers[late].of(out_ssrcs(late).1).is_empty());
    assert_eq!(net.stat(DropReason::AwaitingKeyFrame), 3);
    let first = source.sequence;
    source.frame(&mut net, true, &[]);
    source.frame(&mut net, false, &[]);
    net.run(5);
    let got = net.peers[late].of(out_ssrcs(late).1);
    assert_eq!(got.len(), 6);
    assert_eq!(got[0].payload, source.payloads[&first]);
    net.finish();
}

#[test]
fn a_subscriber_may_come_before_its_publisher_and_outlive_it() {
    let mut net = Net::new();
    let (sender, receiver) = (net.connect(), net.connect());
    let spec = subscriber(&net, receiver, 7);
    net.command(Command::AddSubscriber(Box::new(spec)));
    let video = out_ssrcs(receiver).1;
    let mut total = 0;
    let mut source = Source::new(sender);
    for round in 0..3 {
        let spec = publisher(&net, sender, 7);
        net.command(Command::AddPublisher(Box::new(spec)));
        source.frame(&mut net, round != 1, &[]);
        net.run(50);
        total += if round == 1 { 0 } else { 3 };
        assert_eq!(net.peers[receiver].of(video).len(), total, "round {round}");
        net.command(Command::RemovePublisher(PublisherId(7)));
        source.frame(&mut net, true, &[]);
        net.run(50);
        assert_eq!(net.peers[receiver].of(video).len(), total);
    }
    assert_eq!(net.stat(DropReason::UnknownEncoding), 9);
    let got = net.peers[receiver].of(video);
    for (nth, packet) in got.iter().enumerate() {
        assert_eq!(
            packet.index,
            got[0].index + nth as u64,
            "one gapless RTP stream"
        );
    }
    net.finish();
}

#[test]
fn a_subscriber_that_comes_back_with_its_ssrc_goes_on_counting() {
    let mut net = Net::new();
    let (mut source, receivers) = call(&mut net, 1);
    let video = out_ssrcs(receivers[0]).1;
    for _ in 0..3 {
        net.command(Command::RemoveSubscriber(SubscriberId(receivers[0] as u64)));
        source.frame(&mut net, true, &[]);
        net.run(5);
        let spec = subscriber(&net, receivers[0], 1);
        net.command(Command::AddSubscriber(Box::new(spec)));
        source.frame(&mut net, true, &[]);
        net.run(5);
    }
    let got = net.peers[receivers[0]].of(video);
    assert_eq!(got.len(), 12);
    assert_eq!(got[11].index, got[0].index + 11);
    assert_eq!(net.stat(DropReason::Replay), 0);
    assert_eq!(net.stat(DropReason::NoSubscriber), 9);
    net.finish();
}

#[test]
fn streams_are_told_apart_by_mid_and_rid_when_no_ssrc_is_announced() {
    let mut net = Net::new();
    let (sender, receiver) = (net.connect(), net.connect());
    let mut spec = publisher(&net, sender, 1);
    spec.media[0].encodings = vec![EncodingSpec::default()];
    spec.media[1].encodings = ["l", "h"]
        .map(|rid| EncodingSpec {
            rid: Some(rid.into()),
            ..EncodingSpec::default()
        })
        .to_vec();
    net.command(Command::AddPublisher(Box::new(spec)));
    let spec = subscriber(&net, receiver, 1);
    net.command(Command::AddSubscriber(Box::new(spec)));
    let fields = |ssrc, payload_type, sequence| Fields {
        marker: true,
        padding: false,
        payload_type,
        sequence,
        timestamp: u32::from(sequence) * 3_000,
        ssrc,
    };
    // A probe of the higher encoding comes before any media; a long extension forces the two-byte form.
    let probe: [(u8, &[u8]); 2] = [(IN_MID, b"1"), (IN_REPAIRED_RID, b"h")];
    net.send_rtp(sender, &fields(22, VP8_RTX, 5), &probe, &[]);
    let low: [(u8, &[u8]); 3] = [(IN_MID, b"1"), (IN_RID, b"l"), (200, &[7; 40])];
    net.send_rtp(
        sender,
        &fields(31, VP8, 100),
        &low,
        &picture(true, true, 1, 0),
    );
    net.run(5);
    let high: [(u8, &[u8]); 2] = [(IN_MID, b"1"), (IN_RID, b"h")];
    net.send_rtp(
        sender,
        &fields(32, VP8, 200),
        &high,
        &picture(false, true, 2, 0),
    );
    // An encoding must have come for a second.
    for sequence in 201..231 {
        net.run(40);
        let delta = picture(false, true, 2, 0);
        net.send_rtp(sender, &fields(32, VP8, sequence), &high, &delta);
    }
    net.run(5);
    net.send_rtp(
        sender,
        &fields(32, VP8, 231),
        &high,
        &picture(true, true, 3, 0),
    );
    net.run(5);
    net.send_rtp(
        sender,
        &fields(31, VP8, 101),
        &[],
        &picture(false, true, 4, 0),
    );
    net.send_rtp(sender, &fields(77, OPUS, 1), &[], b"sound");
    net.run(5);
    let frames: Vec<u8> = net.peers[receiver]
        .of(out_ssrcs(receiver).1)
        .iter()
        .map(|packet| packet.payload[899])
        .collect();
    assert_eq!(
        frames,
        [1, 3],
        "up at a key frame, and one encoding at a time"
    );
    let (early, low) = (
        net.stat(DropReason::AwaitingKeyFrame),
        net.stat(DropReason::NotSelected),
    );
    assert_eq!(early + low, 31 + 1);
    assert_eq!(
        net.engine.stats().consumed[sfu::stats::Consumed::Probe as usize],
        1
    );
    assert_eq!(
        net.peers[receiver].of(out_ssrcs(receiver).0).len(),
        1,
        "by payload type"
    );
    net.finish();
}

#[test]
fn a_long_header_extension_is_passed_on_in_the_two_byte_form() {
    let mut net = Net::new();
    let (source, receivers) = call(&mut net, 1);
    let fields = Fields {
        payload_type: VP8,
        sequence: source.sequence,
        ssrc: VIDEO_SSRC,
        ..Fields::default()
    };
    let elements: [(u8, &[u8]); 3] = [
        (IN_DESCRIPTOR, &[5; 40]),
        (77, b"foreign"),
        (IN_TWCC, &[0, 9]),
    ];
    net.send_rtp(source.peer, &fields, &elements, b"payload");
    net.run(5);
    let got = net.peers[receivers[0]].of(out_ssrcs(receivers[0]).1);
    assert_eq!(got[3].payload, b"payload");
    assert_eq!(
        got[3].elements,
        [(OUT_MID, b"v".to_vec()), (OUT_DESCRIPTOR, vec![5; 40])]
    );
    net.finish();
}

#[test]
fn what_only_the_ends_can_read_begins_where_its_descriptor_says() {
    let mut net = Net::new();
    let (sender, receiver) = (net.connect(), net.connect());
    let spec = publisher(&net, sender, 1);
    net.command(Command::AddPublisher(Box::new(spec)));
    let spec = subscriber(&net, receiver, 1);
    net.command(Command::AddSubscriber(Box::new(spec)));
    // The first packet of a frame, without and with a structure (AV1 RTP specification, §A.8.2).
    let (plain, key): ([u8; 3], [u8; 5]) = ([0x80, 0, 1], [0x80, 0, 2, 0x80, 0]);
    for (sequence, descriptor) in [(1, &plain[..]), (2, &key[..]), (3, &plain[..])] {
        let fields = Fields {
            marker: true,
            payload_type: VP8,
            sequence,
            timestamp: u32::from(sequence) * 3_000,
            ssrc: VIDEO_SSRC,
            ..Fields::default()
        };
        let elements: [(u8, &[u8]); 1] = [(IN_DESCRIPTOR, descriptor)];
        net.send_rtp(sender, &fields, &elements, b"\x10\xffsecret");
        net.run(5);
    }
    let got = net.peers[receiver].of(out_ssrcs(receiver).1);
    assert_eq!(got.len(), 2);
    assert_eq!(got[0].elements[1], (OUT_DESCRIPTOR, key.to_vec()));
    net.finish();
}

#[test]
fn what_is_still_on_its_way_when_another_rtp_stream_takes_over_does_not_lead_it_astray() {
    let mut net = Net::new();
    let (source, receivers) = call(&mut net, 1);
    let fields = |ssrc, sequence| Fields {
        payload_type: OPUS,
        sequence,
        ssrc,
        ..Fields::default()
    };
    let heard = |net: &Net| net.peers[receivers[0]].of(out_ssrcs(receivers[0]).0).len();
    net.send_rtp(source.peer, &fields(AUDIO_SSRC, 30_000), &[], b"old");
    net.run(5);
    // One batch: the numbers of the old RTP stream are far above those of the new one.
    net.send_rtp(source.peer, &fields(AUDIO_SSRC, 30_001), &[], b"old");
    net.send_rtp(source.peer, &fields(77, 5), &[], b"new");
    net.run(5);
    let before = heard(&net);
    for sequence in 6..16 {
        net.send_rtp(source.peer, &fields(77, sequence), &[], b"new");
        net.run(5);
    }
    assert_eq!(heard(&net) - before, 10);
    assert_eq!(
        net.stat(DropReason::Superseded),
        1,
        "the control: there was such a packet"
    );
    net.finish();
}

#[test]
fn padding_alone_keeps_the_numbers_gapless() {
    let mut net = Net::new();
    let (source, receivers) = call(&mut net, 1);
    let fields = Fields {
        marker: false,
        padding: true,
        payload_type: VP8,
        sequence: source.sequence,
        timestamp: 3_000,
        ssrc: VIDEO_SSRC,
    };
    let mut padding = [0; 200];
    padding[199] = 200;
    net.send_rtp(source.peer, &fields, &[], &padding);
    net.run(5);
    let got = net.peers[receivers[0]].of(out_ssrcs(receivers[0]).1);
    assert_eq!(got.len(), 4);
    assert!(got[3].payload.is_empty() && !got[3].header.padding);
    assert_eq!(got[3].index, got[0].index + 3);
    net.finish();
}

#[test]
fn injected_loss_drops_all_media_by_that_name() {
    let mut net = Net::with(Config {
        drop_rtp: true,
        ..config()
    });
    let (source, receivers) = call(&mut net, 1);
    assert!(net.peers[receivers[0]].rtp.is_empty());
    assert_eq!(net.stat(DropReason::Injected), 4);
    assert_eq!(source.payloads.len(), 3);
    net.finish();
}

pub fn pictures_requested(net: &Net, peer: usize) -> usize {
    net.peers[peer].count_rtcp(|packet| matches!(packet, rtcp::Packet::Pli(_)))
}

#[test]
fn a_publisher_may_change_its_ssrc_and_use_low_payload_types() {
    const LOW_VP8: u8 = 35;
    let mut net = Net::new();
    let (sender, receiver) = (net.connect(), net.connect());
    let mut spec = publisher(&net, sender, 1);
    spec.media[1].codecs = vec![vp8(LOW_VP8, None)];
    net.command(Command::AddPublisher(Box::new(spec)));
    let mut spec = subscriber(&net, receiver, 1);
    spec.media[1].codecs = vec![(LOW_VP8, vp8(OUT_VP8, None))];
    net.command(Command::AddSubscriber(Box::new(spec)));
    // Each RTP stream begins somewhere else, and its second packet needs the key frame before it.
    for (round, ssrc) in [VIDEO_SSRC, 5, 6, 7].into_iter().enumerate() {
        let start = [65_535_u16, 9, 40_000, 3][round];
        for (nth, key) in [false, true, false].into_iter().enumerate() {
            let fields = Fields {
                marker: true,
                payload_type: LOW_VP8,
                sequence: start.wrapping_add(nth as u16),
                timestamp: round as u32 * 1_000_000 + nth as u32 * 3_000,
                ssrc,
                ..Fields::default()
            };
            net.send_rtp(
                sender,
                &fields,
                &[(IN_MID, b"1")],
                &picture(key, true, nth as u32, 0),
            );
            net.run(10);
        }
        net.run(600);
    }
    let got = net.peers[receiver].of(out_ssrcs(receiver).1);
    assert_eq!(got.len(), 8);
    for pair in got.windows(2) {
        assert_eq!(pair[1].index, pair[0].index + 1);
        let ticks = pair[1]
            .header
            .timestamp
            .wrapping_sub(pair[0].header.timestamp);
        assert!((1..90_000).contains(&ticks), "time goes on: {ticks}");
    }
    assert_eq!(net.stat(DropReason::AwaitingKeyFrame), 4);
    assert_eq!(
        pictures_requested(&net, sender),
        4,
        "each time a key frame is asked for"
    );
    net.finish();
}

/// A picture whose packets differ by a byte, as browsers cut them.
fn uneven(net: &mut Net, source: &mut Source, key: bool) -> Vec<Vec<u8>> {
    source.frame += 1;
    let lens = [1_000, 1_001, 1_001, 1_000, 300];
    let mut payloads = Vec::new();
    for (part, len) in lens.into_iter().enumerate() {
        let fields = Fields {
            marker: part + 1 == lens.len(),
            payload_type: VP8,
            sequence: source.sequence,
            timestamp: source.frame * 3_000,
            ssrc: VIDEO_SSRC,
            padding: false,
        };
        source.sequence = source.sequence.wrapping_add(1);
        let mut payload = picture(key, part == 0, source.frame, part as u16);
        payload.resize(len, part as u8);
        net.send_rtp(source.peer, &fields, &[(IN_MID, b"1")], &payload);
        payloads.push(payload);
    }
    payloads
}

#[test]
fn a_byte_of_padding_keeps_a_picture_in_one_run() {
    for (padding_max, runs) in [(0, vec![1, 3, 1]), (1, vec![5])] {
        let mut net = Net::with(Config {
            padding_max,
            ..config()
        });
        let (mut source, receivers) = call(&mut net, 1);
        let receiver = receivers[0];
        let (_, video, rtx) = out_ssrcs(receiver);
        let before = net.peers[receiver].of(video).len();
        let address = net.peers[receiver].address;
        net.runs.clear();
        let payloads = uneven(&mut net, &mut source, true);
        net.turn();
        let seen: Vec<usize> = net
            .runs
            .iter()
            .filter(|(to, bytes)| *to == address && bytes[0] > 200)
            .map(|(_, bytes)| bytes.len())
            .collect();
        assert_eq!(seen, runs);
        let got = net.peers[receiver].of(video)[before..].to_vec();
        let padded: Vec<bool> = got.iter().map(|packet| packet.header.padding).collect();
        assert_eq!(
            padded,
            [padding_max > 0, false, false, padding_max > 0, false]
        );
        for (packet, payload) in got.iter().zip(&payloads) {
            assert_eq!(&packet.payload, payload, "padding is no payload");
        }
        let padded_sequence = got[0].header.sequence;
        assert_eq!(net.engine.stats().padding_bytes, 2 * u64::from(padding_max));
        net.send_rtcp(receiver, |out| {
            rtcp::ReceiverReport::write(99, &[], out)?;
            rtcp::Nack::write(99, video, &[padded_sequence], out).map(|_| ())
        });
        net.run(10);
        let again = net.peers[receiver].of(rtx);
        assert!(!again[0].header.padding, "what is sent again needs none");
        assert_eq!(again[0].payload[2..], payloads[0]);
        net.finish();
    }
}

#[test]
fn padding_is_not_counted_as_payload() {
    let mut octets = Vec::new();
    for padding_max in [0, 1] {
        let mut net = Net::with(Config {
            padding_max,
            ..config()
        });
        let (mut source, receivers) = call(&mut net, 1);
        uneven(&mut net, &mut source, false);
        net.send_rtcp(source.peer, |out| {
            let info = rtcp::SenderInfo {
                ssrc: VIDEO_SSRC,
                ntp: clock::NtpTime::from_unix(clock::Duration::from_secs(1_700_000_000)),
                timestamp: 3_000,
                packets: 1,
                octets: 1,
            };
            rtcp::SenderReport::write(&info, &[], out)
        });
        net.run(2_000);
        let video = out_ssrcs(receivers[0]).1;
        let peer = &net.peers[receivers[0]];
        let mut reported = Vec::new();
        for datagram in &peer.rtcp {
            for packet in rtcp::compound(datagram).unwrap() {
                if let rtcp::Packet::SenderReport(report) = packet.unwrap()
                    && report.info.ssrc == video
                {
                    reported.push((report.info.packets, report.info.octets));
                }
            }
        }
        octets.push(
            *reported
                .last()
                .expect("the publisher's report was passed on"),
        );
    }
    assert_eq!(octets[0], octets[1]);
    assert_eq!(octets[0].0, u32::from(PACKETS_PER_FRAME) + 5);
}

#[test]
fn only_beginnings_of_pictures_may_wait_for_more() {
    let mut net = Net::new();
    let (mut source, _) = call(&mut net, 1);
    assert!(!net.engine.may_gather());
    let expected = [
        ((true, false), true),
        ((true, true), false),
        ((false, false), false),
        ((false, true), false),
    ];
    for ((beginning, sound), gather) in expected {
        let fields = Fields {
            marker: !beginning,
            payload_type: VP8,
            sequence: source.sequence,
            timestamp: 9_000,
            ssrc: VIDEO_SSRC,
            padding: false,
        };
        source.sequence = source.sequence.wrapping_add(1);
        let payload = picture(false, beginning, 7, 0);
        net.send_rtp(source.peer, &fields, &[(IN_MID, b"1")], &payload);
        if sound {
            source.audio(&mut net);
        }
        net.receive();
        assert_eq!(net.engine.may_gather(), gather, "{beginning} {sound}");
        net.flush();
        assert!(!net.engine.may_gather());
    }
    net.finish();
}
