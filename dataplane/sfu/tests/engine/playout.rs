//! How long pictures are held back where packets get lost.

use clock::Duration;
use proto::rtcp::{ReceiverReport, ReportBlock};
use sfu::api::Config;

use crate::harness::*;

/// Of 256 packets so many were lost.
fn report(net: &mut Net, receiver: usize, fraction_lost: u8) {
    let block = ReportBlock {
        ssrc: out_ssrcs(receiver).1,
        fraction_lost,
        ..ReportBlock::default()
    };
    net.send_rtcp(receiver, |out| ReceiverReport::write(9, &[block], out));
    net.run(5);
}

/// What the newest packets of a picture say: the least that it is held back, in milliseconds.
fn told(net: &mut Net, source: &mut Source, receiver: usize) -> Option<u32> {
    let video = out_ssrcs(receiver).1;
    let before = net.peers[receiver].of(video).len();
    source.frame(net, false, &[]);
    net.run(20);
    let packets = net.peers[receiver].of(video);
    let values: Vec<_> = packets[before..]
        .iter()
        .map(|packet| {
            let mut elements = packet.elements.iter();
            let found = elements.find(|(id, _)| *id == OUT_PLAYOUT);
            found.map(|(_, value)| value.clone())
        })
        .collect();
    assert!(values.len() > 1 && values.iter().all(|one| *one == values[0]));
    values[0].as_ref().map(|value| {
        let bits = u32::from_be_bytes([0, value[0], value[1], value[2]]);
        assert_eq!(
            bits & 0xfff,
            1_000,
            "browsers take less for a wish to show at once"
        );
        (bits >> 12) * 10
    })
}

#[test]
fn pictures_are_held_back_where_packets_get_lost_until_they_do_not() {
    let mut net = Net::new();
    let (mut source, receivers) = call(&mut net, 2);
    report(&mut net, receivers[0], 2);
    assert_eq!(told(&mut net, &mut source, receivers[0]), None);
    report(&mut net, receivers[0], 12);
    let held = told(&mut net, &mut source, receivers[0]).expect("that is much");
    assert!((60..=200).contains(&held), "{held} ms");
    assert_eq!(
        told(&mut net, &mut source, receivers[1]),
        None,
        "another way"
    );
    // A good report or two say little.
    report(&mut net, receivers[0], 0);
    assert_eq!(told(&mut net, &mut source, receivers[0]), Some(held));
    for _ in 0..40 {
        net.run(1_000);
        report(&mut net, receivers[0], 0);
    }
    assert_eq!(told(&mut net, &mut source, receivers[0]), Some(0));
    net.finish();
}

#[test]
fn what_is_lost_on_the_way_here_counts_for_all() {
    let mut net = Net::new();
    let (mut source, receivers) = call(&mut net, 2);
    for _ in 0..20 {
        for _ in 0..10 {
            source.frame(&mut net, false, &[1]);
            net.run(20);
        }
        report(&mut net, receivers[1], 0);
    }
    assert_eq!(
        told(&mut net, &mut source, receivers[0]),
        None,
        "it reports nothing"
    );
    let held = told(&mut net, &mut source, receivers[1]);
    assert!(held > Some(50), "{held:?}");
    net.finish();
}

#[test]
fn where_that_is_switched_off_nobody_is_told() {
    let mut net = Net::with(Config {
        playout_delay_max: Duration::ZERO,
        ..config()
    });
    let (mut source, receivers) = call(&mut net, 1);
    report(&mut net, receivers[0], 50);
    assert_eq!(told(&mut net, &mut source, receivers[0]), None);
    net.finish();
}
