//! RTCP in both directions, and repair.

use clock::{Duration, NtpTime, Rng};
use proto::loss::NackGenerator;
use proto::rtcp::{
    self, Fir, FirEntry, Nack, Pli, ReceiverReport, ReportBlock, SenderInfo, SenderReport,
};
use proto::rtp::Unwrapper;
use sfu::api::*;
use sfu::discard::{DropReason, Stage};

use crate::forwarding::pictures_requested;
use crate::harness::*;

/// Sequence numbers that the node asked this peer for.
fn nacked(net: &Net, peer: usize) -> Vec<u16> {
    let mut all = Vec::new();
    for datagram in &net.peers[peer].rtcp {
        for packet in rtcp::compound(datagram).unwrap() {
            if let rtcp::Packet::Nack(nack) = packet.unwrap() {
                assert_eq!(nack.media, VIDEO_SSRC);
                all.extend(nack.sequences());
            }
        }
    }
    all
}

#[test]
fn what_is_lost_on_the_way_in_is_asked_for_and_recovered() {
    let mut net = Net::new();
    let (mut source, receivers) = call(&mut net, 1);
    let lost = source.sequence.wrapping_add(1);
    source.frame(&mut net, false, &[1]);
    source.frame(&mut net, false, &[]);
    net.run(30);
    assert_eq!(nacked(&net, source.peer), [lost]);
    let video = out_ssrcs(receivers[0]).1;
    assert_eq!(net.peers[receivers[0]].of(video).len(), 8);
    source.resend(&mut net, lost, 500);
    source.resend(&mut net, lost, 501);
    net.run(200);
    let got = net.peers[receivers[0]].of(video);
    assert_eq!(got.len(), 9);
    assert_eq!(got[4].payload, source.payloads[&lost]);
    assert_eq!(
        got[4].index,
        got[0].index + 4,
        "it takes the place that was kept"
    );
    assert_eq!(
        nacked(&net, source.peer),
        [lost],
        "and is not asked for again"
    );
    assert_eq!(net.stat(DropReason::Duplicate), 1);
    assert_eq!(net.engine.stats().retransmissions_received, 1);
    net.finish();
}

#[test]
fn what_stays_lost_is_asked_for_a_few_times_and_then_a_key_frame_is() {
    let mut net = Net::new();
    let (mut source, _) = call(&mut net, 1);
    source.frame(&mut net, false, &[1]);
    for _ in 0..60 {
        source.frame(&mut net, false, &[]);
        net.run(30);
    }
    let asked = nacked(&net, source.peer).len();
    assert!((3..=10).contains(&asked), "{asked} requests");
    assert!(pictures_requested(&net, source.peer) >= 1);
    net.finish();
}

fn nack(net: &mut Net, peer: usize, media: u32, sequences: &[u16]) {
    net.send_rtcp(peer, |out| {
        ReceiverReport::write(99, &[], out)?;
        Nack::write(99, media, sequences, out).map(|_| ())
    });
}

#[test]
fn what_is_lost_on_the_way_out_is_sent_again_as_rtx() {
    let mut net = Net::new();
    let (mut source, receivers) = call(&mut net, 2);
    for _ in 0..10 {
        source.frame(&mut net, false, &[]);
        net.run(20);
    }
    let receiver = receivers[1];
    let (_, video, rtx) = out_ssrcs(receiver);
    let lost: Vec<Received> = net.peers[receiver].of(video)[4..7]
        .iter()
        .map(|packet| (*packet).clone())
        .collect();
    let numbers: Vec<u16> = lost.iter().map(|packet| packet.header.sequence).collect();
    nack(&mut net, receiver, video, &numbers);
    nack(&mut net, receiver, video, &numbers);
    net.run(5);
    let again = net.peers[receiver].of(rtx);
    assert_eq!(again.len(), 3, "once per round trip");
    for (packet, original) in again.iter().zip(&lost) {
        assert_eq!(packet.header.payload_type, OUT_VP8_RTX);
        assert_eq!(packet.header.timestamp, original.header.timestamp);
        assert_eq!(packet.header.marker, original.header.marker);
        assert_eq!(packet.elements, original.elements);
        let (number, payload) = packet.payload.split_at(2);
        assert_eq!(number, original.header.sequence.to_be_bytes());
        assert_eq!(payload, original.payload);
    }
    assert_eq!(again[2].index, again[0].index + 2);
    assert!(
        net.peers[receivers[0]]
            .of(out_ssrcs(receivers[0]).2)
            .is_empty()
    );
    // What was never sent, and what is long gone, is not found.
    let newest = net.peers[receiver]
        .of(video)
        .last()
        .unwrap()
        .header
        .sequence;
    nack(&mut net, receiver, video, &[newest.wrapping_add(1)]);
    net.run(1_100);
    let before = pictures_requested(&net, source.peer);
    nack(&mut net, receiver, video, &numbers);
    net.run(5);
    assert_eq!(net.peers[receiver].of(rtx).len(), 3);
    // A key frame is asked for at the first that is gone; the others would not help.
    assert_eq!(net.engine.stats().retransmissions_refused, 3 + 1 + 1);
    assert_eq!(pictures_requested(&net, source.peer), before + 1);
    net.finish();
}

#[test]
fn who_asks_once_more_is_answered_twice() {
    let mut net = Net::new();
    let (mut source, receivers) = call(&mut net, 1);
    source.frame(&mut net, false, &[]);
    net.run(20);
    let (_, video, rtx) = out_ssrcs(receivers[0]);
    let sequence = net.peers[receivers[0]].of(video)[2].header.sequence;
    for answers in [1, 3] {
        nack(&mut net, receivers[0], video, &[sequence]);
        net.run(200);
        assert_eq!(net.peers[receivers[0]].of(rtx).len(), answers);
    }
    net.finish();
}

#[test]
fn what_has_not_come_yet_is_no_reason_for_a_key_frame() {
    let mut net = Net::new();
    let (mut source, receivers) = call(&mut net, 1);
    source.frame(&mut net, false, &[]);
    net.run(600);
    let before = pictures_requested(&net, source.peer);
    source.frame(&mut net, false, &[1]);
    source.frame(&mut net, false, &[]);
    net.run(2);
    let (_, video, rtx) = out_ssrcs(receivers[0]);
    let got = net.peers[receivers[0]].of(video);
    let mut pairs = got.iter().zip(&got[1..]);
    let gap = pairs.find(|(a, b)| b.index > a.index + 1);
    let missing = gap.unwrap().0.header.sequence.wrapping_add(1);
    nack(&mut net, receivers[0], video, &[missing]);
    net.run(2);
    assert!(net.peers[receivers[0]].of(rtx).is_empty());
    assert_eq!(net.engine.stats().retransmissions_refused, 1);
    assert_eq!(pictures_requested(&net, source.peer), before);
    net.finish();
}

#[test]
fn a_flood_of_nacks_is_answered_within_a_budget() {
    let mut net = Net::new();
    let (mut source, receivers) = call(&mut net, 1);
    let (_, video, rtx) = out_ssrcs(receivers[0]);
    for _ in 0..60 {
        source.frame(&mut net, false, &[]);
    }
    net.run(5);
    for _ in 0..100 {
        let newest = net.peers[receivers[0]]
            .of(video)
            .last()
            .unwrap()
            .header
            .sequence;
        let all: Vec<u16> = (0..200)
            .map(|back| newest.wrapping_sub(199 - back))
            .collect();
        nack(&mut net, receivers[0], video, &all);
        net.run(5);
    }
    let bytes: usize = net.peers[receivers[0]]
        .of(rtx)
        .iter()
        .map(|packet| packet.payload.len())
        .sum();
    assert!((1..=(64 << 10) + 60_000).contains(&bytes), "{bytes} bytes");
    net.finish();
}

#[test]
fn a_peer_without_rtx_gets_a_key_frame_instead() {
    let mut net = Net::new();
    let (source, _) = call(&mut net, 1);
    net.run(600);
    let plain = net.connect();
    let mut spec = subscriber(&net, plain, 1);
    spec.media[1].rtx_ssrc = None;
    spec.media[1].codecs = vec![(VP8, vp8(OUT_VP8, None))];
    net.command(Command::AddSubscriber(Box::new(spec)));
    let mut source = source;
    source.frame(&mut net, true, &[]);
    net.run(600);
    let before = pictures_requested(&net, source.peer);
    let got = net.peers[plain].rtp.len();
    let sequence = net.peers[plain].of(out_ssrcs(plain).1)[1].header.sequence;
    nack(&mut net, plain, out_ssrcs(plain).1, &[sequence]);
    net.run(20);
    assert_eq!(
        net.peers[plain].rtp.len(),
        got,
        "nothing is encrypted twice"
    );
    assert_eq!(pictures_requested(&net, source.peer), before + 1);
    net.finish();
}

#[test]
fn without_nack_nothing_is_repaired_in_either_direction() {
    let mut net = Net::with(Config {
        nack: false,
        ..config()
    });
    let (mut source, receivers) = call(&mut net, 1);
    source.frame(&mut net, false, &[1]);
    source.frame(&mut net, false, &[]);
    let (_, video, rtx) = out_ssrcs(receivers[0]);
    net.run(100);
    let sequence = net.peers[receivers[0]].of(video)[0].header.sequence;
    nack(&mut net, receivers[0], video, &[sequence]);
    net.run(100);
    assert!(nacked(&net, source.peer).is_empty());
    assert!(net.peers[receivers[0]].of(rtx).is_empty());
    net.finish();
}

#[test]
fn picture_requests_of_many_are_merged_and_rate_limited() {
    let mut net = Net::new();
    let (mut source, receivers) = call(&mut net, 5);
    net.run(1_000);
    let before = pictures_requested(&net, source.peer);
    for round in 0..200 {
        for &receiver in &receivers {
            let media = out_ssrcs(receiver).1;
            net.send_rtcp(receiver, |out| {
                if round % 2 == 0 {
                    Pli { sender: 1, media }.write(out)
                } else {
                    Fir::write(
                        1,
                        &[FirEntry {
                            ssrc: media,
                            sequence: round as u8,
                        }],
                        out,
                    )
                }
            });
        }
        if round % 20 == 19 {
            source.frame(&mut net, true, &[]);
        }
        net.run(10);
    }
    let asked = pictures_requested(&net, source.peer) - before;
    assert!((3..=5).contains(&asked), "{asked} in two seconds");
    assert_eq!(net.engine.stats().key_frame_requests_received, 1_000);
    net.finish();
}

#[test]
fn after_an_outage_a_picture_is_asked_for_without_delay() {
    let mut net = Net::new();
    let (mut source, receivers) = call(&mut net, 1);
    net.run(1_000);
    let media = out_ssrcs(receivers[0]).1;
    // Nothing comes, and the subscriber asks for a picture all the time: the node asks ever more rarely.
    for _ in 0..85 {
        net.send_rtcp(receivers[0], |out| Pli { sender: 1, media }.write(out));
        net.run(100);
    }
    let before = pictures_requested(&net, source.peer);
    source.frame(&mut net, false, &[]);
    net.run(50);
    assert_eq!(pictures_requested(&net, source.peer), before + 1);
    // The same for a subscriber that has just come.
    for _ in 0..80 {
        source.frame(&mut net, false, &[]);
        net.run(100);
    }
    let late = net.connect();
    let before = pictures_requested(&net, source.peer);
    let spec = subscriber(&net, late, 1);
    net.command(Command::AddSubscriber(Box::new(spec)));
    net.run(600);
    assert!(pictures_requested(&net, source.peer) > before);
    net.finish();
}

#[test]
fn publishers_hear_how_their_packets_arrive() {
    let mut net = Net::new();
    let (mut source, _) = call(&mut net, 1);
    for _ in 0..100 {
        source.frame(&mut net, false, &[2]);
        source.audio(&mut net);
        net.run(20);
    }
    let peer = &net.peers[source.peer];
    let (mut told, mut arrived, mut lost) = (0, 0, Vec::new());
    for datagram in &peer.rtcp {
        for packet in rtcp::compound(datagram).unwrap() {
            match packet.unwrap() {
                rtcp::Packet::TransportFeedback(feedback) => {
                    told += 1;
                    let statuses: Vec<_> = feedback.statuses().collect();
                    arrived += statuses
                        .iter()
                        .filter(|status| status.arrival.is_some())
                        .count();
                }
                rtcp::Packet::ReceiverReport(report) => {
                    lost.extend(report.blocks.filter(|block| block.ssrc == VIDEO_SSRC));
                }
                _ => {}
            }
        }
    }
    assert!((15..=25).contains(&told), "{told} feedbacks in two seconds");
    assert!(arrived >= 290, "{arrived} of 304 packets told of");
    let last: ReportBlock = *lost.last().unwrap();
    assert!(
        (80..=90).contains(&last.fraction_lost),
        "a third is lost: {last:?}"
    );
    assert!(peer.count_rtcp(|packet| matches!(packet, rtcp::Packet::Remb(_))) == 0);
    net.finish();
}

#[test]
fn a_publisher_without_transport_wide_feedback_is_told_an_estimate() {
    let mut net = Net::new();
    let sender = net.connect();
    let mut spec = publisher(&net, sender, 1);
    for medium in &mut spec.media {
        medium.extensions.retain(|(id, _)| *id != IN_TWCC);
    }
    net.command(Command::AddPublisher(Box::new(spec)));
    let mut source = Source::new(sender);
    for _ in 0..250 {
        source.frame(&mut net, false, &[]);
        net.run(20);
    }
    let estimates: Vec<u64> = net.peers[sender]
        .rtcp
        .iter()
        .flat_map(|datagram| rtcp::compound(datagram).unwrap())
        .filter_map(|packet| match packet.unwrap() {
            rtcp::Packet::Remb(remb) => Some(remb.bits_per_second),
            _ => None,
        })
        .collect();
    // 3 packets of 900 bytes 50 times a second are 1.1 Mbit/s, and there may be some more.
    assert!(estimates.len() >= 4);
    assert!(*estimates.last().unwrap() > 1_200_000, "{estimates:?}");
    net.finish();
}

#[test]
fn sender_reports_keep_audio_and_video_in_step() {
    let mut net = Net::new();
    let (mut source, receivers) = call(&mut net, 1);
    let wall = NtpTime::from_unix(Duration::from_secs(1_600_000_000));
    let (audio_at, video_at) = (4_800, 90_000);
    for (ssrc, timestamp) in [(AUDIO_SSRC, audio_at), (VIDEO_SSRC, video_at)] {
        net.send_rtcp(source.peer, |out| {
            let info = SenderInfo {
                ssrc,
                ntp: wall,
                timestamp,
                packets: 1,
                octets: 1,
            };
            SenderReport::write(&info, &[], out)
        });
    }
    net.run(1_600);
    source.frame(&mut net, false, &[]);
    net.run(5);
    let peer = &net.peers[receivers[0]];
    let (audio, video, _) = out_ssrcs(receivers[0]);
    let report = |ssrc| {
        let all = peer
            .rtcp
            .iter()
            .flat_map(|datagram| rtcp::compound(datagram).unwrap());
        let infos = all.filter_map(|packet| match packet.unwrap() {
            rtcp::Packet::SenderReport(report) if report.info.ssrc == ssrc => Some(report.info),
            _ => None,
        });
        infos.last().expect("a sender report came")
    };
    let (sound, picture) = (report(audio), report(video));
    let seconds =
        |info: &SenderInfo| (info.ntp.to_bits() - wall.to_bits()) as f64 / f64::from(u32::MAX);
    assert!(seconds(&sound) > 0.5 && seconds(&sound) < 1.7);
    // The first packets say how far the node shifted each clock; the reports must be shifted alike.
    let sound_shift = peer.of(audio)[0].header.timestamp.wrapping_sub(10 * 960);
    let picture_shift = peer.of(video)[0].header.timestamp.wrapping_sub(3_000);
    let sound_ticks = sound
        .timestamp
        .wrapping_sub(sound_shift)
        .wrapping_sub(audio_at);
    let picture_ticks = picture
        .timestamp
        .wrapping_sub(picture_shift)
        .wrapping_sub(video_at);
    assert!((f64::from(sound_ticks) - seconds(&sound) * 48_000.0).abs() < 3.0);
    assert!((f64::from(picture_ticks) - seconds(&picture) * 90_000.0).abs() < 3.0);
    assert_eq!((sound.packets, sound.octets), (1, 4));
    assert!(peer.count_rtcp(|packet| matches!(packet, rtcp::Packet::Sdes(_))) >= 2);
    // Somebody who listens only may ask for the round trip (RFC 3611 §4.4).
    net.send_rtcp(receivers[0], |out| rtcp::write_reference_time(5, wall, out));
    net.run(2_000);
    let answers = |packet: &rtcp::Packet<'_>| match packet {
        rtcp::Packet::ExtendedReport(report) => report.dlrr().any(|one| one.ssrc == 5),
        _ => false,
    };
    assert_eq!(net.peers[receivers[0]].count_rtcp(answers), 1);
    net.command(Command::RemoveTransport(net.peers[receivers[0]].id));
    net.run(5);
    let goodbyes = |packet: &rtcp::Packet<'_>| matches!(packet, rtcp::Packet::Bye(_));
    assert_eq!(net.peers[receivers[0]].count_rtcp(goodbyes), 1);
    net.finish();
}

#[test]
fn who_starts_with_a_recovered_packet_gets_the_whole_picture() {
    let mut net = Net::new();
    let (mut source, _) = call(&mut net, 1);
    let late = net.connect();
    let spec = subscriber(&net, late, 1);
    net.command(Command::AddSubscriber(Box::new(spec)));
    net.run(10);
    let first = source.sequence;
    source.frame(&mut net, true, &[0]);
    source.frame(&mut net, false, &[]);
    net.run(20);
    assert!(net.peers[late].of(out_ssrcs(late).1).is_empty());
    source.resend(&mut net, first, 500);
    net.run(5);
    let got = net.peers[late].of(out_ssrcs(late).1);
    assert_eq!(got.len(), 6);
    for (nth, packet) in got.iter().enumerate() {
        assert_eq!(packet.index, got[0].index + nth as u64);
        assert_eq!(
            packet.payload,
            source.payloads[&first.wrapping_add(nth as u16)]
        );
    }
    net.finish();
}

/// Everybody waits for one packet, and with it comes all that they have missed: more than leaves in one turn.
#[test]
fn many_who_start_with_a_recovered_packet_do_so_in_more_than_one_turn() {
    const BUDGET: u64 = 512;
    const WAITING: usize = 40;
    let mut net = Net::new();
    let (mut source, _) = call(&mut net, 1);
    let waiting: Vec<usize> = (0..WAITING).map(|_| net.connect()).collect();
    for late in &waiting {
        let spec = subscriber(&net, *late, 1);
        net.command(Command::AddSubscriber(Box::new(spec)));
    }
    net.run(10);
    let first = source.sequence;
    source.frame(&mut net, true, &[0]);
    for _ in 0..20 {
        source.frame(&mut net, false, &[]);
        net.run(5);
    }
    let each = u64::from(source.sequence.wrapping_sub(first));
    assert!(each * WAITING as u64 > 3 * BUDGET, "{each} each");
    source.resend(&mut net, first, 500);
    net.allocations = Some(0);
    net.receive();
    let written = |net: &Net| net.engine.stats().stage(Stage::Protect).packets_out;
    let before = written(&net);
    net.stands_still = true;
    net.flush();
    let once = written(&net) - before;
    assert!((BUDGET..BUDGET + each).contains(&once), "{once} at once");
    net.stands_still = false;
    net.flush();
    assert_eq!(net.allocations, Some(0));
    for late in &waiting {
        let got = net.peers[*late].of(out_ssrcs(*late).1);
        assert_eq!(got.len() as u64, each);
    }
    net.finish();
}

#[test]
fn who_starts_with_an_overtaken_packet_gets_the_whole_picture() {
    let mut net = Net::new();
    let (mut source, _) = call(&mut net, 1);
    let late = net.connect();
    let spec = subscriber(&net, late, 1);
    net.command(Command::AddSubscriber(Box::new(spec)));
    net.run(10);
    let first = source.sequence;
    source.frame(&mut net, true, &[]);
    net.hold_first_back();
    net.run(5);
    let got = net.peers[late].of(out_ssrcs(late).1);
    assert_eq!(got.len(), usize::from(PACKETS_PER_FRAME));
    for (nth, packet) in got.iter().enumerate() {
        assert_eq!(packet.index, got[0].index + nth as u64);
        assert_eq!(
            packet.payload,
            source.payloads[&first.wrapping_add(nth as u16)]
        );
    }
    net.finish();
}

/// A tenth of everything is lost in both directions; browsers ask and answer as they do.
fn share_that_arrives(repair: bool) -> f64 {
    let mut net = Net::with(Config {
        nack: repair,
        ..config()
    });
    let (mut source, receivers) = call(&mut net, 1);
    let receiver = receivers[0];
    let (_, video, rtx) = out_ssrcs(receiver);
    let mut dice = Rng::from_number(3);
    net.lose_out = Box::new(move |place, datagram| {
        place == receiver && datagram[0] >= 128 && datagram[1] < 192 && dice.below(10) == 0
    });
    let mut dice = Rng::from_number(4);
    let (mut missing, mut numbers) = (NackGenerator::new(), Unwrapper::new());
    let (mut taken, mut answered, mut rtx_sequence) = (0, 0, 1_000);
    let first = net.peers[receiver].of(video)[0].header.sequence;
    let mut complete = std::collections::HashSet::new();
    let mut frames = 1;
    for _ in 0..400 {
        let lose: Vec<u16> = (0..PACKETS_PER_FRAME)
            .filter(|_| dice.below(10) == 0)
            .collect();
        source.frame(&mut net, false, &lose);
        frames += 1;
        for _ in 0..4 {
            net.run(5);
            for packet in net.peers[receiver].rtp.split_off(taken) {
                let sequence = match packet.header.ssrc {
                    ssrc if ssrc == video => packet.header.sequence,
                    ssrc if ssrc == rtx => {
                        u16::from_be_bytes([packet.payload[0], packet.payload[1]])
                    }
                    _ => continue,
                };
                complete.insert(sequence.wrapping_sub(first));
                missing.on_packet(net.now, numbers.unwrap(sequence));
            }
            taken = net.peers[receiver].rtp.len();
            let due = missing
                .poll_nack(net.now, Duration::from_millis(20))
                .sequences
                .to_vec();
            if !due.is_empty() {
                nack(&mut net, receiver, video, &due);
            }
            let asked = nacked(&net, source.peer);
            for sequence in &asked[answered..] {
                if dice.below(10) != 0 {
                    source.resend(&mut net, *sequence, rtx_sequence);
                }
                rtx_sequence += 1;
            }
            answered = asked.len();
        }
    }
    net.run(5);
    let sent = frames * usize::from(PACKETS_PER_FRAME);
    net.finish();
    complete.len() as f64 / sent as f64
}

#[test]
fn a_tenth_lost_both_ways_is_repaired() {
    let share = share_that_arrives(true);
    assert!(share > 0.97, "{share} arrived");
    let share = share_that_arrives(false);
    assert!(share < 0.85, "{share} arrived without repair");
}

#[test]
fn deadlines_alone_keep_everything_going() {
    let mut net = Net::new();
    let (mut source, receivers) = call(&mut net, 1);
    let mut turns = net.run_lazily(60_000);
    assert!(
        !net.events
            .iter()
            .any(|event| matches!(event, Event::Closed { .. }))
    );
    let lost = source.sequence;
    source.frame(&mut net, false, &[0]);
    turns += net.run_lazily(40);
    assert_eq!(nacked(&net, source.peer)[0], lost);
    turns += net.run_lazily(2_000);
    let told = |packet: &rtcp::Packet<'_>| matches!(packet, rtcp::Packet::TransportFeedback(_));
    assert!(net.peers[source.peer].count_rtcp(told) >= 2);
    let named = |packet: &rtcp::Packet<'_>| matches!(packet, rtcp::Packet::Sdes(_));
    assert!(net.peers[receivers[0]].count_rtcp(named) >= 2 * 40);
    assert_eq!(net.engine.stats().cache_packets, 0);
    assert!(turns < 1_200, "{turns} turns in a minute of near silence");
    net.finish();
}
