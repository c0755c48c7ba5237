//! What a capture shows of a transport: what came from the peer and what goes to it, decrypted, and no more than was asked for.

use proto::rtp::Header;
use sfu::api::*;
use sfu::capture::{Record, records};

use crate::harness::*;

const BUFFER: usize = 16 << 10;

fn start(net: &mut Net, peer: usize, packets: u64, with_payload: bool, buffers: usize) {
    let spec = CaptureSpec {
        number: 7,
        transport: net.peers[peer].id,
        packets,
        with_payload,
        buffers: (0..buffers).map(|_| Vec::with_capacity(BUFFER)).collect(),
    };
    net.command(Command::StartCapture(Box::new(spec)));
}

/// Everything that was captured, and how it ended.
fn end(net: &mut Net) -> (Vec<u8>, Event) {
    net.command(Command::StopCapture(7));
    let mut all = Vec::new();
    let mut last = None;
    for event in net.events.drain(..) {
        match event {
            Event::Captured { number: 7, records } => all.extend(records),
            ended @ Event::CaptureEnded { .. } => last = Some(ended),
            _ => {}
        }
    }
    (all, last.expect("it ends"))
}

fn play(net: &mut Net, source: &mut Source, frames: usize) {
    for _ in 0..frames {
        source.frame(net, false, &[]);
        source.audio(net);
        net.run(20);
    }
}

fn rtp<'a>(all: &'a [Record<'a>]) -> Vec<&'a Record<'a>> {
    all.iter().filter(|record| !record.is_rtcp).collect()
}

#[test]
fn headers_are_what_the_peer_sends_and_payloads_are_left_out() {
    for with_payload in [false, true] {
        let mut net = Net::new();
        let (mut source, _receivers) = call(&mut net, 2);
        start(&mut net, source.peer, 1_000, with_payload, 8);
        let first = source.sequence;
        play(&mut net, &mut source, 10);
        net.run(1_500);
        let (bytes, ended) = end(&mut net);
        let all: Vec<_> = records(&bytes).collect();
        let expected = Event::CaptureEnded {
            number: 7,
            packets: all.len() as u64,
            missed: 0,
            why: CaptureEnd::Asked,
        };
        assert_eq!(ended, expected);
        let media = rtp(&all);
        assert_eq!(
            media.len(),
            40,
            "three packets of a picture and one of sound, ten times"
        );
        let mut sequence = first;
        for record in media {
            assert!(record.incoming);
            let header = Header::parse(record.octets).expect("a whole header");
            if header.ssrc == VIDEO_SSRC {
                assert_eq!(header.sequence, sequence);
                let sent = &source.payloads[&sequence];
                let mid: Vec<_> = header
                    .extensions(record.octets)
                    .map(|one| (one.id, one.data))
                    .collect();
                assert_eq!(mid[0], (IN_MID, b"1".as_slice()), "with its extensions");
                assert_eq!(usize::from(record.len), header.len() + sent.len());
                match with_payload {
                    true => assert_eq!(record.octets[header.len()..], sent[..]),
                    false => assert_eq!(record.octets.len(), header.len()),
                }
                sequence = sequence.wrapping_add(1);
            } else {
                assert_eq!(header.ssrc, AUDIO_SSRC);
                assert_eq!(header.payload_type, OPUS);
            }
        }
        // What we tell the publisher is no media, and whole.
        let reports = all
            .iter()
            .filter(|record| record.is_rtcp && !record.incoming);
        let reports: Vec<_> = reports.map(|record| record.octets.to_vec()).collect();
        assert!(reports.len() >= 2);
        assert!(
            reports
                .iter()
                .all(|one| net.peers[source.peer].rtcp.contains(one))
        );
        net.finish();
    }
}

#[test]
fn what_goes_to_a_subscriber_is_what_it_gets() {
    let mut net = Net::new();
    let (mut source, receivers) = call(&mut net, 2);
    let (watched, other) = (receivers[0], receivers[1]);
    net.peers[watched].rtp.clear();
    start(&mut net, watched, 1_000, true, 16);
    play(&mut net, &mut source, 5);
    // One is asked for again.
    let lost = net.peers[watched].of(out_ssrcs(watched).1)[4]
        .header
        .sequence;
    let media = out_ssrcs(watched).1;
    net.send_rtcp(watched, |out| {
        proto::rtcp::ReceiverReport::write(1, &[], out)?;
        proto::rtcp::Nack::write(1, media, &[lost], out).map(|_| ())
    });
    net.run(100);
    let (bytes, _) = end(&mut net);
    let all: Vec<_> = records(&bytes).collect();
    let media = rtp(&all);
    let got = &net.peers[watched].rtp;
    assert_eq!(media.len(), got.len());
    assert!(got.len() > 20, "with what was sent again");
    for (record, received) in media.iter().zip(got) {
        assert!(!record.incoming);
        let header = Header::parse(record.octets).expect("a whole header");
        assert_eq!(
            (header.ssrc, header.sequence),
            (received.header.ssrc, received.header.sequence)
        );
        let range = header
            .payload_range(record.octets)
            .expect("padding is right");
        assert_eq!(record.octets[range], received.payload[..]);
        assert_eq!(usize::from(record.len), record.octets.len());
    }
    let ours = out_ssrcs(other);
    let is_other = |record: &&Record<'_>| {
        let ssrc = Header::parse(record.octets).map(|header| header.ssrc);
        ssrc.is_ok_and(|ssrc| [ours.0, ours.1, ours.2].contains(&ssrc))
    };
    assert_eq!(
        media.iter().copied().filter(is_other).count(),
        0,
        "nobody else's"
    );
    let asked = all
        .iter()
        .filter(|record| record.is_rtcp && record.incoming)
        .count();
    assert_eq!(asked, 1);
    net.finish();
}

#[test]
fn it_ends_when_there_is_enough_and_with_its_transport() {
    let mut net = Net::new();
    let (mut source, receivers) = call(&mut net, 1);
    start(&mut net, source.peer, 5, false, 4);
    play(&mut net, &mut source, 5);
    let (bytes, ended) = end(&mut net);
    assert_eq!(records(&bytes).count(), 5);
    let expected = Event::CaptureEnded {
        number: 7,
        packets: 5,
        missed: 0,
        why: CaptureEnd::Complete,
    };
    assert_eq!(ended, expected);

    start(&mut net, receivers[0], 1_000, false, 4);
    play(&mut net, &mut source, 1);
    let transport = net.peers[receivers[0]].id;
    net.command(Command::RemoveTransport(transport));
    let (bytes, ended) = end(&mut net);
    assert!(records(&bytes).count() >= 4, "what there was is told");
    assert!(matches!(
        ended,
        Event::CaptureEnded {
            why: CaptureEnd::Gone,
            ..
        }
    ));
    // It is gone, so there is nothing to capture.
    start(&mut net, receivers[0], 1_000, false, 4);
    let (_, ended) = end(&mut net);
    assert!(matches!(
        ended,
        Event::CaptureEnded {
            why: CaptureEnd::Gone,
            packets: 0,
            ..
        }
    ));
    net.finish();
}

#[test]
fn without_memory_packets_are_missed_and_counted_and_it_asks_for_none() {
    let mut net = Net::new();
    let (mut source, _receivers) = call(&mut net, 2);
    start(&mut net, source.peer, 100_000, true, 2);
    start(&mut net, source.peer, 100_000, true, 2);
    assert!(matches!(
        net.events.last(),
        Some(Event::CaptureEnded {
            why: CaptureEnd::Busy,
            ..
        })
    ));
    net.events.clear();
    play(&mut net, &mut source, 50);
    let filled = net
        .events
        .iter()
        .filter(|event| matches!(event, Event::Captured { .. }))
        .count();
    assert_eq!(filled, 1, "the other one is being written, and is full too");
    let buffer = Vec::with_capacity(BUFFER);
    net.command(Command::ReturnBuffer(7, buffer));
    play(&mut net, &mut source, 5);
    let (bytes, ended) = end(&mut net);
    let Event::CaptureEnded {
        packets, missed, ..
    } = ended
    else {
        panic!("it ends")
    };
    assert_eq!(records(&bytes).count() as u64, packets);
    assert!(
        packets + missed >= 220 && missed > 100,
        "{packets} {missed}"
    );
    net.finish();
}
