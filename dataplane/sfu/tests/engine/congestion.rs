//! What is sent to a subscriber who can choose among encodings: numbers, feedback about them, and what is made of that.

use core::net::SocketAddr;

use proto::rtcp::{Fir, FirEntry, Nack, Pli, ReceiverReport, write_transport_feedback};
use proto::rtp::{Fields, Uri, extension};
use proto::twcc::FeedbackGenerator;
use sfu::api::*;
use sfu::stats::Refusal;

use crate::harness::*;
use crate::simulcast::*;

pub const OUT_TWCC: u8 = 8;
const OUT_SEND_TIME: u8 = 2;

pub fn measuring() -> Config {
    Config {
        transport_wide: true,
        follow_remb: false,
        ..config()
    }
}

/// Somebody whose browser tells what came.
pub fn subscribe(net: &mut Net) -> usize {
    let receiver = net.connect();
    let spec = subscription(net, receiver, 1);
    net.command(Command::AddSubscriber(Box::new(spec)));
    receiver
}

fn subscription(net: &Net, receiver: usize, publisher: u64) -> SubscriberSpec {
    let mut spec = subscriber(net, receiver, publisher);
    for medium in &mut spec.media {
        medium.extensions.push((OUT_TWCC, Uri::TransportCc));
        medium.extensions.push((OUT_SEND_TIME, Uri::AbsSendTime));
    }
    spec
}

pub fn element(packet: &Received, id: u8) -> Option<&[u8]> {
    let mut elements = packet.elements.iter();
    let (_, data) = elements.find(|(of, _)| *of == id)?;
    Some(data)
}

/// The same with several receivers, each with the feedback of its own.
fn watch_all(net: &mut Net, camera: &mut Camera, receivers: &[usize], seconds: u64) {
    let mut all: Vec<_> = receivers
        .iter()
        .map(|receiver| {
            let feedback = FeedbackGenerator::new(clock::Duration::from_millis(50));
            (*receiver, net.peers[*receiver].rtp.len(), feedback)
        })
        .collect();
    for _ in 0..seconds * 1_000 / INTERVAL {
        camera.picture(net, arrives);
        for (receiver, told, feedback) in &mut all {
            for packet in &net.peers[*receiver].rtp[*told..] {
                let number = element(packet, OUT_TWCC).and_then(extension::transport_sequence);
                feedback.on_packet(number.expect("it is numbered"), packet.at);
            }
            *told = net.peers[*receiver].rtp.len();
            net.send_rtcp(*receiver, |out| {
                ReceiverReport::write(1, &[], out)?;
                feedback.write(1, 2, out).map(|_| ())
            });
        }
    }
}

#[test]
fn what_is_not_to_be_numbered_does_not_count_as_lost() {
    let mut net = Net::with(measuring());
    let mut camera = Camera::new(&mut net, false);
    let receiver = net.connect();
    let mut spec = subscriber(&net, receiver, 1);
    for (nth, medium) in spec.media.iter_mut().enumerate() {
        medium.extensions.push((OUT_SEND_TIME, Uri::AbsSendTime));
        if nth == 1 {
            medium.extensions.push((OUT_TWCC, Uri::TransportCc));
        }
    }
    net.command(Command::AddSubscriber(Box::new(spec)));
    let mut feedback = FeedbackGenerator::new(clock::Duration::from_millis(50));
    let (audio, ..) = out_ssrcs(receiver);
    let (mut told, mut numbers, mut sounds) = (0, Vec::new(), 0);
    for nth in 0..5_000 / INTERVAL as u16 {
        // As much sound as pictures.
        for step in 0..4 {
            let sequence = nth * 4 + step;
            let fields = Fields {
                payload_type: OPUS,
                sequence,
                timestamp: u32::from(sequence) * 480,
                ssrc: AUDIO_SSRC,
                ..Fields::default()
            };
            net.send_rtp(camera.peer, &fields, &[(IN_MID, b"0")], b"sound");
        }
        camera.picture(&mut net, arrives);
        for packet in &net.peers[receiver].rtp[told..] {
            let number = element(packet, OUT_TWCC).and_then(extension::transport_sequence);
            if packet.header.ssrc == audio {
                sounds += 1;
                assert_eq!(number, None);
                assert!(element(packet, OUT_SEND_TIME).is_some());
                continue;
            }
            let number = number.expect("pictures are numbered");
            numbers.push(number);
            feedback.on_packet(number, packet.at);
        }
        told = net.peers[receiver].rtp.len();
        net.send_rtcp(receiver, |out| {
            ReceiverReport::write(1, &[], out)?;
            feedback.write(1, 2, out).map(|_| ())
        });
    }
    assert!(sounds > 400, "{sounds}");
    assert!(
        numbers
            .windows(2)
            .all(|two| two[0].wrapping_add(1) == two[1])
    );
    assert_eq!(showing(&net, receiver), Some(2));
    net.finish();
}

#[test]
fn probes_go_where_somebody_tells_what_became_of_them() {
    let mut net = Net::with(measuring());
    let mut camera = Camera::new(&mut net, false);
    net.connection = Some(ConnectionId(7));
    let receivers = [0; 4].map(|_| subscribe(&mut net));
    // The first of them lacks something and never tells anything.
    watch_all(&mut net, &mut camera, &receivers[1..], 20);
    for receiver in receivers {
        assert_eq!(showing(&net, receiver), Some(2), "there is room");
    }
    net.finish();
}

#[test]
fn whoever_falls_silent_keeps_what_was_found_out() {
    let mut net = Net::with(measuring());
    let mut camera = Camera::new(&mut net, false);
    let receiver = subscribe(&mut net);
    watch(&mut net, &mut camera, receiver, 5, 0);
    watch(&mut net, &mut camera, receiver, 1, 10_000);
    assert_eq!(showing(&net, receiver), Some(0));
    let before = shown(&net, receiver).len();
    pass(&mut net, &mut camera, 15);
    let mut then = shown(&net, receiver);
    assert!(then.drain(before..).all(|packet| packet.encoding == 0));
    net.finish();
}

/// Pictures for so many seconds, and nobody tells anything.
fn pass(net: &mut Net, camera: &mut Camera, seconds: u64) {
    for _ in 0..seconds * 1_000 / INTERVAL {
        camera.picture(net, arrives);
    }
}

/// Pictures for so many seconds, and feedback about all of them that come; `late` is how much later than the one before each
/// packet seems to come, in microseconds.
fn watch(net: &mut Net, camera: &mut Camera, receiver: usize, seconds: u64, late: u64) {
    watch_afar(net, camera, receiver, seconds, (late, 0));
}

/// The same on a way that takes `far` microseconds.
fn watch_afar(
    net: &mut Net,
    camera: &mut Camera,
    receiver: usize,
    seconds: u64,
    (late, far): (u64, u64),
) {
    let mut feedback = FeedbackGenerator::new(clock::Duration::from_millis(50));
    let (mut told, mut delay) = (net.peers[receiver].rtp.len(), far);
    for _ in 0..seconds * 1_000 / INTERVAL {
        camera.picture(net, arrives);
        for packet in &net.peers[receiver].rtp[told..] {
            delay += late;
            let number = element(packet, OUT_TWCC).and_then(extension::transport_sequence);
            let arrival = packet.at + clock::Duration::from_micros(delay);
            feedback.on_packet(number.expect("it is numbered"), arrival);
        }
        told = net.peers[receiver].rtp.len();
        net.send_rtcp(receiver, |out| {
            ReceiverReport::write(1, &[], out)?;
            feedback.write(1, 2, out).map(|_| ())
        });
    }
}

pub fn showing(net: &Net, receiver: usize) -> Option<usize> {
    shown(net, receiver).last().map(|packet| packet.encoding)
}

#[test]
fn everything_on_a_transport_is_numbered_in_the_order_of_sending() {
    let mut net = Net::with(measuring());
    let mut camera = Camera::new(&mut net, false);
    let receiver = subscribe(&mut net);
    watch(&mut net, &mut camera, receiver, 5, 0);
    let newest = net.peers[receiver].rtp.last().expect("something came");
    let (media, sequence) = (newest.header.ssrc, newest.header.sequence);
    net.send_rtcp(receiver, |out| {
        ReceiverReport::write(1, &[], out)?;
        Nack::write(1, media, &[sequence], out).map(|_| ())
    });
    watch(&mut net, &mut camera, receiver, 5, 0);
    let packets = &net.peers[receiver].rtp;
    let ssrcs: std::collections::HashSet<u32> =
        packets.iter().map(|packet| packet.header.ssrc).collect();
    assert!(
        ssrcs.len() >= 2,
        "pictures, and what fills probes: {ssrcs:?}"
    );
    let numbers = packets.iter().map(|packet| {
        assert_eq!(element(packet, OUT_SEND_TIME), None);
        let number = element(packet, OUT_TWCC).and_then(extension::transport_sequence);
        number.expect("it is numbered")
    });
    let numbers: Vec<u16> = numbers.collect();
    assert!(
        numbers
            .windows(2)
            .all(|two| two[0].wrapping_add(1) == two[1])
    );
    assert_eq!(showing(&net, receiver), Some(2));
    assert_eq!(judge(&shown(&net, receiver)).holes, 0);
    net.finish();
}

#[test]
fn nobody_is_numbered_who_can_not_tell_or_when_told_not_to() {
    for config in [config(), measuring()] {
        let is_off = !config.transport_wide;
        let mut net = Net::with(config);
        let mut camera = Camera::new(&mut net, false);
        let receiver = match is_off {
            true => subscribe(&mut net),
            false => {
                let receiver = net.connect();
                let spec = subscriber(&net, receiver, 1);
                net.command(Command::AddSubscriber(Box::new(spec)));
                receiver
            }
        };
        for _ in 0..100 {
            camera.picture(&mut net, arrives);
        }
        let packets = &net.peers[receiver].rtp;
        assert!(
            packets
                .iter()
                .all(|packet| element(packet, OUT_TWCC).is_none())
        );
        let timed = packets
            .iter()
            .any(|packet| element(packet, OUT_SEND_TIME).is_some());
        assert_eq!(timed, is_off);
        assert_eq!(showing(&net, receiver), Some(2));
        net.finish();
    }
}

/// Whoever has negotiated feedback and sends none gets everything after a while.
#[test]
fn silence_is_no_limit() {
    let mut net = Net::with(measuring());
    let mut camera = Camera::new(&mut net, false);
    let receiver = subscribe(&mut net);
    pass(&mut net, &mut camera, 8);
    assert_eq!(showing(&net, receiver), Some(2));
    net.finish();
}

#[test]
fn silence_is_no_limit_for_pictures_that_begin_later() {
    let mut net = Net::with(measuring());
    let mut camera = Camera::new(&mut net, false);
    let mut later = Camera::publishing(&mut net, false, 2);
    let receiver = net.connect();
    for (publisher, ssrcs) in [(1, 0x10), (2, 0)] {
        let mut spec = subscription(&net, receiver, publisher);
        spec.id = SubscriberId(publisher);
        for medium in &mut spec.media {
            medium.ssrc += ssrcs;
            medium.rtx_ssrc = medium.rtx_ssrc.map(|ssrc| ssrc + ssrcs);
        }
        net.command(Command::AddSubscriber(Box::new(spec)));
    }
    pass(&mut net, &mut camera, 8);
    pass(&mut net, &mut later, 3);
    assert_eq!(showing(&net, receiver), Some(2));
    net.finish();
}

#[test]
fn who_moves_to_a_longer_way_is_not_taken_for_one_behind_a_queue() {
    for moves in [true, false] {
        let mut net = Net::with(measuring());
        let mut camera = Camera::new(&mut net, false);
        let receiver = subscribe(&mut net);
        watch(&mut net, &mut camera, receiver, 5, 0);
        if moves {
            let elsewhere = SocketAddr::from(([198, 51, 100, 77], 6_000));
            net.peers[receiver].address = elsewhere;
            net.run(4_000);
        }
        watch_afar(&mut net, &mut camera, receiver, 2, (0, 150_000));
        let way = net.engine.way(net.now, net.peers[receiver].id);
        let queueing = way.expect("feedback has come").queueing.as_millis();
        assert_eq!(queueing < 20, moves, "{queueing} ms");
        if moves {
            assert_eq!(showing(&net, receiver), Some(2));
        }
        net.finish();
    }
}

#[test]
fn a_queue_that_grows_means_less_and_the_others_keep_what_they_have() {
    let mut net = Net::with(measuring());
    let mut camera = Camera::new(&mut net, false);
    let (receiver, other) = (subscribe(&mut net), subscribe(&mut net));
    watch(&mut net, &mut camera, receiver, 5, 0);
    assert_eq!(showing(&net, receiver), Some(2));
    watch(&mut net, &mut camera, receiver, 1, 10_000);
    assert_eq!(showing(&net, receiver), Some(0));
    assert_eq!(showing(&net, other), Some(2));
    let way = net.engine.way(net.now, net.peers[receiver].id);
    let way = way.expect("feedback has come");
    assert!(
        way.queueing.as_millis() > 100 && way.estimate < 345_000,
        "{way:?}"
    );
    assert_eq!(net.engine.way(net.now, net.peers[other].id), None);
    net.finish();
}

fn sent_to(net: &mut Net, receiver: usize) -> sfu::statistics::SentStatistics {
    let transports = vec![net.peers[receiver].id];
    net.command(Command::TellStatistics {
        number: 7,
        transports,
    });
    net.run(1);
    let told = net.events.drain(..).find_map(|event| match event {
        Event::Statistics { transports, .. } => Some(transports),
        _ => None,
    });
    let told = told.expect("an answer").remove(0);
    let mut sent = told.sent.into_iter();
    sent.find(|one| one.kind == Kind::Video)
        .expect("it is listed")
}

#[test]
fn a_paused_picture_is_told_as_such_and_taken_back() {
    let mut net = Net::with(measuring());
    let mut camera = Camera::new(&mut net, false);
    let receiver = subscribe(&mut net);
    let told = |net: &Net| {
        let id = net.peers[receiver].id;
        let events = net.events.iter();
        let of_receiver = events.filter_map(|event| match event {
            Event::Standing { transport, trouble } if *transport == id => Some(*trouble),
            _ => None,
        });
        of_receiver.collect::<Vec<_>>()
    };
    watch(&mut net, &mut camera, receiver, 5, 0);
    assert_eq!(told(&net), []);
    watch(&mut net, &mut camera, receiver, 24, 10_000);
    // It may be tried again meanwhile.
    assert_eq!(told(&net).first(), Some(&Some(Trouble::NoRoom)));
    watch(&mut net, &mut camera, receiver, 40, 0);
    assert_eq!(told(&net).last(), Some(&None));
    net.finish();
}

#[test]
fn a_picture_that_does_not_fit_at_all_is_paused_until_it_does() {
    let mut net = Net::with(measuring());
    let mut camera = Camera::new(&mut net, false);
    let receiver = subscribe(&mut net);
    watch(&mut net, &mut camera, receiver, 5, 0);
    watch(&mut net, &mut camera, receiver, 4, 10_000);
    let before = shown(&net, receiver).len();
    let packets = net.peers[receiver].rtp.len();
    watch(&mut net, &mut camera, receiver, 4, 10_000);
    assert_eq!(shown(&net, receiver).len(), before, "it is paused");
    // What finds out whether there is room is padding that nobody takes for anything else.
    let (_, _, rtx) = out_ssrcs(receiver);
    let probes = &net.peers[receiver].rtp[packets..];
    assert!(!probes.is_empty() && probes.len() < 60, "{}", probes.len());
    for probe in probes {
        assert_eq!(probe.header.ssrc, rtx);
        assert!(probe.payload.is_empty());
    }
    let sent = sent_to(&mut net, receiver);
    assert_eq!(
        (sent.rid, sent.stream.bits_per_second < 30_000),
        (None, true)
    );
    assert!(sent.wanted_bits_per_second > 100_000);
    watch(&mut net, &mut camera, receiver, 10, 0);
    assert!(shown(&net, receiver).len() > before + 20, "it is back");
    watch(&mut net, &mut camera, receiver, 15, 0);
    assert_eq!(showing(&net, receiver), Some(2));
    assert_eq!(judge(&shown(&net, receiver)).holes, 0);
    net.finish();
}

/// Of two transports of a person one tells of a queue and goes away, and the other has never told anything.
#[test]
fn when_nothing_is_known_any_more_everybody_gets_everything() {
    for (seconds, encoding) in [(1, Some("rdiv4")), (8, None)] {
        let mut net = Net::with(measuring());
        let mut camera = Camera::new(&mut net, false);
        net.connection = Some(ConnectionId(7));
        let (silent, telling) = (subscribe(&mut net), subscribe(&mut net));
        watch(&mut net, &mut camera, telling, 10, 0);
        assert_eq!(showing(&net, silent), Some(2));
        watch(&mut net, &mut camera, telling, seconds, 10_000);
        assert_eq!(sent_to(&mut net, silent).rid.as_deref(), encoding);
        net.command(Command::RemoveTransport(net.peers[telling].id));
        pass(&mut net, &mut camera, 2);
        assert_eq!(showing(&net, silent), Some(2), "{encoding:?}");
        net.finish();
    }
}

#[test]
fn feedback_about_what_was_never_sent_changes_nothing() {
    let mut net = Net::with(measuring());
    let mut camera = Camera::new(&mut net, false);
    let receiver = subscribe(&mut net);
    watch(&mut net, &mut camera, receiver, 5, 0);
    let id = net.peers[receiver].id;
    let before = net.engine.way(net.now, id).expect("feedback has come");
    for nth in 0..200_u16 {
        net.send_rtcp(receiver, |out| {
            ReceiverReport::write(1, &[], out)?;
            let mut lost = [None; 400];
            (lost[0], lost[399]) = (Some(1_000_000), Some(1_000_100));
            let base = 20_000_u16.wrapping_add(nth.wrapping_mul(131));
            write_transport_feedback((1, 2), base, 0, &lost, out).map(|_| ())
        });
        net.run(5);
    }
    let after = net.engine.way(net.now, id).expect("feedback has come");
    assert_eq!(after.estimate, before.estimate);
    assert_eq!(showing(&net, receiver), Some(2));
    net.finish();
}

/// A datagram of a peer, as it is before it is encrypted.
fn say(net: &mut Net, peer: usize, bytes: &[u8]) {
    let mut out = vec![0; bytes.len() + 64];
    let peer = &mut net.peers[peer];
    let len = peer.outbound.protect_rtcp(bytes, &mut out).unwrap();
    let from = peer.address;
    net.send(from, out[..len].to_vec());
}

fn refused(net: &Net, reason: Refusal) -> u64 {
    net.engine.stats().refusals[reason as usize]
}

/// 24 bytes claim that 16 382 packets are missing, and there are 58 of them in a datagram.
#[test]
fn feedback_is_listened_to_a_few_times_in_a_datagram() {
    let mut net = Net::with(measuring());
    let mut camera = Camera::new(&mut net, false);
    let receiver = subscribe(&mut net);
    watch(&mut net, &mut camera, receiver, 5, 0);
    let way = |net: &Net| net.engine.way(net.now, net.peers[receiver].id);
    let before = way(&net).expect("feedback has come");
    let lie = [
        0x8f, 205, 0, 5, 0, 0, 0, 1, 0, 0, 0, 2, 0xa0, 0, 0x3f, 0xfe, 0, 0, 5, 9, 0x1f, 0xff, 0x1f,
        0xff,
    ];
    let consumed = net.engine.stats().consumed;
    for _ in 0..100 {
        say(&mut net, receiver, &lie.repeat(58));
        net.run(5);
    }
    let taken: u64 = net.engine.stats().consumed.iter().sum();
    assert!(taken >= consumed.iter().sum::<u64>() + 100);
    assert_eq!(refused(&net, Refusal::FeedbackFlood), 5_400);
    assert_eq!(refused(&net, Refusal::FeedbackUnasked), 0);
    assert_eq!(way(&net).map(|way| way.estimate), Some(before.estimate));
    // Nothing that leaves to the camera is numbered.
    say(&mut net, camera.peer, &lie.repeat(3));
    net.run(5);
    assert_eq!(refused(&net, Refusal::FeedbackUnasked), 3);
    net.finish();
}

#[test]
fn key_frame_requests_of_a_datagram_beyond_a_few_are_refused() {
    let mut net = Net::new();
    let (_, receivers) = call(&mut net, 1);
    let media = out_ssrcs(receivers[0]).1;
    let entries = [FirEntry {
        ssrc: media,
        sequence: 1,
    }; 60];
    net.send_rtcp(receivers[0], |out| {
        for _ in 0..10 {
            Pli { sender: 1, media }.write(out)?;
        }
        Fir::write(1, &entries, out)?;
        Pli { sender: 1, media }.write(out)
    });
    net.run(5);
    assert_eq!(net.engine.stats().key_frame_requests_received, 64);
    assert_eq!(refused(&net, Refusal::RequestFlood), 7);
    net.finish();
}

/// What waits on purpose is nothing to wait for others with.
#[test]
fn paced_packets_are_no_copies_that_are_about_to_leave() {
    let mut net = Net::with(measuring());
    let mut camera = Camera::new(&mut net, false);
    let receiver = subscribe(&mut net);
    watch(&mut net, &mut camera, receiver, 3, 0);
    // The way is full, so that what comes leaves slowly. After each flush everything else has left: the harness sees to that.
    watch(&mut net, &mut camera, receiver, 2, 10_000);
    assert!(net.paced_most > 0, "something was paced");
    assert_eq!(net.engine.copies_waiting(), 0);
    net.finish();
}
