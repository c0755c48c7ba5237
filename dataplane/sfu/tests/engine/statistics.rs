//! What is told of streams when somebody asks.

use clock::Duration;
use proto::rtcp::{Nack, Pli, ReceiverReport, ReportBlock};
use sfu::api::*;
use sfu::discard::DropReason;
use sfu::statistics::TransportStatistics;

use crate::harness::*;
use crate::simulcast::{Camera, Fate, RIDS};

fn asked(net: &mut Net, peers: &[usize]) -> Vec<TransportStatistics> {
    let mut transports: Vec<TransportId> = peers.iter().map(|peer| net.peers[*peer].id).collect();
    // Nobody has that one.
    transports.push(TransportId(u64::MAX));
    let number = 77;
    net.command(Command::TellStatistics { number, transports });
    net.run(1);
    let told = net.events.drain(..).find_map(|event| match event {
        Event::Statistics {
            number: 77,
            transports,
        } => Some(transports),
        _ => None,
    });
    told.expect("an answer")
}

#[test]
fn both_ends_of_a_stream_are_told_of() {
    let mut net = Net::new();
    let (mut source, receivers) = call(&mut net, 2);
    let (_, video, _) = out_ssrcs(receivers[0]);
    // A third of the publisher's packets are lost, and nobody asks for them in vain for ever.
    for _ in 0..100 {
        source.frame(&mut net, false, &[1]);
        source.audio(&mut net);
        net.run(30);
    }
    let sequence = net.peers[receivers[0]]
        .of(video)
        .last()
        .unwrap()
        .header
        .sequence;
    let block = ReportBlock {
        ssrc: video,
        fraction_lost: 64,
        cumulative_lost: -3,
        jitter: 1_800,
        ..ReportBlock::default()
    };
    net.send_rtcp(receivers[0], |out| {
        ReceiverReport::write(99, &[block], out)?;
        Pli {
            sender: 99,
            media: video,
        }
        .write(out)?;
        Nack::write(99, video, &[sequence, sequence.wrapping_sub(1)], out).map(|_| ())
    });
    net.run(30);
    let told = asked(&mut net, &[source.peer, receivers[0], receivers[1]]);
    let [publisher, first, second] = &told[..] else {
        panic!("{} transports", told.len());
    };
    assert_eq!(publisher.id, net.peers[source.peer].id);
    assert!(publisher.sent.is_empty() && first.received.is_empty());

    let [sound, picture] = &publisher.received[..] else {
        panic!("{:?}", publisher.received);
    };
    assert_eq!((sound.kind, picture.kind), (Kind::Audio, Kind::Video));
    assert_eq!((sound.stream.packets, sound.stream.packets_lost), (101, 0));
    let lost = 1_000_000 / u32::from(PACKETS_PER_FRAME);
    let of = &picture.stream;
    assert!(
        of.loss_ppm.abs_diff(lost) < 30_000,
        "{} of a million",
        of.loss_ppm
    );
    assert!(of.packets_lost >= 99 && of.nacks >= 99, "{of:?}");
    assert!(of.bits_per_second > 100_000, "{of:?}");
    assert!(picture.rid.is_none());

    let [_, picture] = &first.sent[..] else {
        panic!("{:?}", first.sent);
    };
    let of = &picture.stream;
    assert_eq!(of.packets, net.peers[receivers[0]].of(video).len() as u64);
    assert_eq!(
        (of.packets_lost, of.loss_ppm, of.jitter_micros),
        (-3, 250_000, 20_000)
    );
    assert_eq!((of.nacks, of.key_frame_requests), (2, 1));
    let received = publisher.received[1].stream.bits_per_second;
    assert!(
        of.bits_per_second.abs_diff(received) < received / 5,
        "{of:?}"
    );
    assert_eq!(picture.wanted_bits_per_second, 0, "there is no choice");
    let of = &second.sent[1].stream;
    assert_eq!(
        (
            of.packets_lost,
            of.loss_ppm,
            of.nacks,
            of.key_frame_requests
        ),
        (0, 0, 0, 0)
    );
    assert!(
        first
            .round_trip
            .is_some_and(|rtt| rtt < Duration::from_millis(100))
    );

    // Silence is no rate.
    net.run(4_000);
    let told = asked(&mut net, &[source.peer]);
    assert_eq!(told[0].received[1].stream.bits_per_second, 0);
    net.finish();
}

#[test]
fn what_is_sent_to_try_a_way_is_no_rate_of_a_picture() {
    let rates = [false, true].map(|tries| {
        let mut net = Net::new();
        let (mut source, _) = call(&mut net, 1);
        let mut rtx_sequence = 1;
        for _ in 0..100 {
            let first = source.sequence;
            source.frame(&mut net, false, &[]);
            for _ in 0..if tries { 5 } else { 0 } {
                // Chromium fills probes with what it has just sent, and with padding alone.
                source.resend(&mut net, first, rtx_sequence);
                source.pad(&mut net, rtx_sequence + 1);
                rtx_sequence += 2;
            }
            net.run(30);
        }
        let again = net.stat(DropReason::Duplicate);
        let padding = net.engine.stats().consumed[sfu::stats::Consumed::Probe as usize];
        let expected = if tries { 500 } else { 0 };
        assert_eq!((again, padding), (expected, expected), "it came");
        let told = asked(&mut net, &[source.peer]);
        net.finish();
        told[0].received[1].stream.bits_per_second
    });
    assert!(rates[0] > 100_000 && rates[0] == rates[1], "{rates:?}");
}

#[test]
fn of_several_encodings_it_is_told_which_one_is_forwarded_and_what_the_best_takes() {
    let mut net = Net::new();
    let mut camera = Camera::new(&mut net, false);
    let spec = camera.spec(&net);
    net.command(Command::AddPublisher(Box::new(spec)));
    let viewers: Vec<usize> = (0..2)
        .map(|_| {
            let receiver = net.connect();
            let spec = subscriber(&net, receiver, 1);
            net.command(Command::AddSubscriber(Box::new(spec)));
            receiver
        })
        .collect();
    let id = subscriber(&net, viewers[1], 1).id;
    let limit = LayerLimit {
        encoding: Some(1),
        temporal: 1,
    };
    for medium in 0..2 {
        let subscriber = id;
        net.command(Command::LimitLayers {
            subscriber,
            medium,
            limit,
        });
    }
    for _ in 0..150 {
        camera.picture(&mut net, || Fate::Arrives);
    }
    let told = asked(&mut net, &[camera.peer, viewers[0], viewers[1]]);
    let received = told[0].received.iter();
    let rids: Vec<Option<&str>> = received.map(|one| one.rid.as_deref()).collect();
    assert_eq!(rids, RIDS.map(Some));
    for (of, rid, temporal) in [(&told[1], RIDS[2], None), (&told[2], RIDS[1], Some(1))] {
        let video = of.sent.iter().find(|one| one.kind == Kind::Video).unwrap();
        assert_eq!(
            (video.rid.as_deref(), video.temporal),
            (Some(rid), temporal)
        );
        let source = told[0]
            .received
            .iter()
            .find(|one| one.rid.as_deref() == Some(rid));
        let rate = source.unwrap().stream.bits_per_second;
        assert_eq!(video.wanted_bits_per_second, rate, "no more is allowed");
        let had = video.stream.bits_per_second;
        assert!(had > rate / 2 && had < rate * 5 / 4, "{had} of {rate}");
    }
    net.finish();
}
