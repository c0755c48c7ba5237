//! Several encodings of one video, and a choice for each subscriber.

use clock::Rng;
use proptest::prelude::*;
use proto::rtcp;
use proto::rtp::Fields;
use sfu::api::*;
use sfu::discard::DropReason;

use crate::counting::{show_none, watch};
use crate::harness::*;
use crate::simulcast::*;

fn limit(net: &mut Net, receiver: usize, encoding: Option<u8>, temporal: u8) {
    net.command(Command::LimitLayers {
        subscriber: SubscriberId(receiver as u64),
        medium: 1,
        limit: LayerLimit { encoding, temporal },
    });
}

#[test]
fn everybody_gets_the_highest_encoding_by_rid_and_by_ssrc() {
    for announced in [false, true] {
        let mut net = Net::new();
        let mut camera = Camera::new(&mut net, announced);
        let receiver = subscribe(&mut net);
        for _ in 0..50 {
            camera.picture(&mut net, arrives);
        }
        let all = shown(&net, receiver);
        let verdict = judge(&all);
        assert_eq!((verdict.holes, verdict.cut), (0, 0));
        assert!(verdict.pictures >= 50, "{verdict:?}");
        // It counts after a second, and then a key frame is asked for.
        let mut then = all.iter().filter(|packet| packet.frame > 30);
        assert!(then.all(|packet| packet.encoding == 2));
        net.finish();
    }
}

#[test]
fn three_hundred_switches_leave_no_trace() {
    let mut net = Net::new();
    let mut camera = Camera::new(&mut net, false);
    let receiver = subscribe(&mut net);
    for _ in 0..40 {
        camera.picture(&mut net, arrives);
    }
    let begun = judge(&shown(&net, receiver)).switches;
    let mut dice = Rng::from_number(7);
    let mut encoding = 2;
    for _ in 0..300 {
        encoding = (encoding + 1 + dice.below(2) as usize) % 3;
        limit(&mut net, receiver, Some(encoding as u8), 7);
        // A key frame may be asked for every 500 ms only.
        for _ in 0..15 {
            camera.picture(&mut net, arrives);
        }
        assert_eq!(showing(&net, receiver), encoding);
    }
    let all = shown(&net, receiver);
    let verdict = judge(&all);
    assert_eq!(verdict.switches - begun, 300);
    assert_eq!((verdict.holes, verdict.cut), (0, 0));
    // Sender reports are rounded; a tick is 11 microseconds.
    assert!(verdict.drift <= 9, "{verdict:?}");
    net.finish();
}

#[test]
fn without_sender_reports_arrival_keeps_the_time() {
    let mut net = Net::new();
    let mut camera = Camera::new(&mut net, false);
    for sent in &mut camera.encodings {
        sent.reports = false;
    }
    let receiver = subscribe(&mut net);
    for round in 0..100 {
        limit(&mut net, receiver, Some(round % 3), 7);
        for _ in 0..15 {
            camera.picture(&mut net, arrives);
        }
    }
    let verdict = judge(&shown(&net, receiver));
    assert!(verdict.switches >= 99);
    assert_eq!((verdict.holes, verdict.cut), (0, 0));
    // Each switch errs by what the node waited with a packet: a turn of five milliseconds here.
    assert!(verdict.drift <= 100 * 450, "{verdict:?}");
    net.finish();
}

#[test]
fn switches_ask_for_no_memory() {
    let mut net = Net::new();
    let mut camera = Camera::new(&mut net, false);
    camera.temporal = 3;
    let mut receivers: Vec<usize> = (0..5).map(|_| subscribe(&mut net)).collect();
    let mut fates = Rng::from_number(3);
    let mut fate = || match fates.below(30) {
        0 => Fate::Lost,
        1 => Fate::Late,
        _ => Fate::Arrives,
    };
    for round in 0..90_u8 {
        if round == 30 {
            // Every list has met what it is for; and whoever comes now has memory by the order that brings it.
            receivers.push(subscribe(&mut net));
            net.allocations = Some(0);
        }
        for (nth, receiver) in receivers.iter().enumerate() {
            let encoding = (round + nth as u8) % 4;
            limit(&mut net, *receiver, encoding.checked_sub(1), round % 3);
        }
        camera.encodings[2].active = round % 5 > 0;
        for _ in 0..10 {
            camera.picture(&mut net, &mut fate);
        }
    }
    let last = receivers[5];
    assert!(judge(&shown(&net, last)).switches > 20);
    assert_eq!(net.allocations, Some(0));
    show_none();
    let (_, control) = watch(|| vec![last]);
    assert_eq!(control, 1, "the control: they are counted");
    net.finish();
}

/// From the first packet on, with encodings that are known by their RIDs, and when another SSRC takes the place of one.
#[test]
fn another_ssrc_asks_for_no_memory() {
    let mut net = Net::new();
    let mut camera = Camera::new(&mut net, false);
    let receivers = [(); 3].map(|()| subscribe(&mut net));
    net.run(20);
    net.allocations = Some(0);
    for round in 0..20 {
        let sent = &mut camera.encodings[round % 3];
        sent.ssrc += 0x10;
        sent.rtx += 0x10;
        // The names are said again.
        sent.packets.clear();
        sent.sequence = sent.sequence.wrapping_add(7_000);
        sent.key_wanted = true;
        for _ in 0..40 {
            camera.picture(&mut net, arrives);
        }
    }
    assert_eq!(net.allocations, Some(0));
    assert_eq!(net.stat(DropReason::UnknownEncoding), 0);
    for receiver in receivers {
        assert_eq!(showing(&net, receiver), 2);
    }
    net.finish();
}

#[test]
fn the_old_encoding_flows_until_the_key_frame_of_the_new_one() {
    let mut net = Net::new();
    let mut camera = Camera::new(&mut net, false);
    let receiver = subscribe(&mut net);
    for _ in 0..30 {
        camera.picture(&mut net, arrives);
    }
    limit(&mut net, receiver, Some(0), 7);
    net.run(5);
    camera.listen(&mut net);
    assert!(camera.encodings[0].key_wanted, "asked for at once");
    camera.encodings[0].key_wanted = false;
    for _ in 0..10 {
        camera.picture(&mut net, arrives);
        assert_eq!(showing(&net, receiver), 2);
    }
    for _ in 0..20 {
        camera.picture(&mut net, arrives);
    }
    assert_eq!(showing(&net, receiver), 0, "asked for again");
    let verdict = judge(&shown(&net, receiver));
    assert_eq!((verdict.holes, verdict.cut), (0, 0));
    net.finish();
}

#[test]
fn when_an_encoding_is_switched_off_the_next_best_takes_its_place() {
    let mut net = Net::new();
    let mut camera = Camera::new(&mut net, false);
    let receiver = subscribe(&mut net);
    for _ in 0..30 {
        camera.picture(&mut net, arrives);
    }
    for encoding in [2, 1] {
        assert_eq!(showing(&net, receiver), encoding);
        let before = shown(&net, receiver).len();
        camera.encodings[encoding].active = false;
        let mut waited = 0;
        while shown(&net, receiver).len() == before {
            camera.picture(&mut net, arrives);
            waited += INTERVAL;
            assert!(waited <= 360, "{waited} ms without a picture");
        }
        assert_eq!(showing(&net, receiver), encoding - 1);
        for _ in 0..20 {
            camera.picture(&mut net, arrives);
        }
    }
    // They come back with key frames, as encoders begin.
    for encoding in [1, 2] {
        camera.encodings[encoding].active = true;
        camera.encodings[encoding].key_wanted = true;
        let mut waited = 0;
        while showing(&net, receiver) != encoding {
            camera.picture(&mut net, arrives);
            waited += INTERVAL;
            assert!(waited <= 1_200);
        }
        assert!(waited >= 1_000, "it may have been a try");
    }
    // The path stands still: nobody is switched off.
    net.run(75 * INTERVAL);
    camera.frame += 75;
    for _ in 0..3 {
        camera.picture(&mut net, arrives);
        assert_eq!(showing(&net, receiver), 2);
    }
    let verdict = judge(&shown(&net, receiver));
    assert_eq!((verdict.holes, verdict.cut), (0, 0));
    assert!(verdict.drift <= 9, "{verdict:?}");
    net.finish();
}

#[test]
fn what_a_sender_only_tries_makes_nobody_switch() {
    let mut net = Net::new();
    let mut camera = Camera::new(&mut net, false);
    (1..3).for_each(|nth| camera.encodings[nth].active = false);
    let receiver = subscribe(&mut net);
    for _ in 0..5 {
        for try_of in [0, 20] {
            camera.encodings[1].active = try_of > 0;
            camera.encodings[1].key_wanted = true;
            for _ in 0..20 {
                camera.picture(&mut net, arrives);
            }
        }
    }
    let verdict = judge(&shown(&net, receiver));
    assert_eq!((verdict.switches, verdict.holes), (0, 0));
    assert_eq!(verdict.pictures, 200);
    net.finish();
}

#[test]
fn what_the_sender_says_need_not_be_waited_for() {
    let mut net = Net::new();
    let mut camera = Camera::new(&mut net, false);
    camera.tells = true;
    let receiver = subscribe(&mut net);
    for _ in 0..30 {
        camera.picture(&mut net, arrives);
    }
    for encoding in [2, 1] {
        assert_eq!(showing(&net, receiver), encoding);
        camera.encodings[encoding].active = false;
        // One that tells it, and one that was asked for.
        camera.picture(&mut net, arrives);
        camera.picture(&mut net, arrives);
        assert_eq!(showing(&net, receiver), encoding - 1);
    }
    camera.encodings[2].active = true;
    camera.encodings[2].key_wanted = true;
    camera.picture(&mut net, arrives);
    assert_eq!(showing(&net, receiver), 2);
    let verdict = judge(&shown(&net, receiver));
    assert_eq!((verdict.holes, verdict.cut), (0, 0));
    net.finish();
}

#[test]
fn each_subscriber_has_its_own() {
    let mut net = Net::new();
    let mut camera = Camera::new(&mut net, false);
    let receivers: Vec<usize> = (0..4).map(|_| subscribe(&mut net)).collect();
    for (nth, receiver) in receivers.iter().enumerate().take(3) {
        limit(&mut net, *receiver, Some(nth as u8), 7);
    }
    limit(&mut net, receivers[3], None, 7);
    for _ in 0..40 {
        camera.picture(&mut net, arrives);
    }
    for (nth, receiver) in receivers.iter().enumerate().take(3) {
        let all = shown(&net, *receiver);
        assert_eq!(all.last().unwrap().encoding, nth);
        assert_eq!(judge(&all).holes, 0);
    }
    let (_, video, _) = out_ssrcs(receivers[3]);
    assert_eq!(
        net.peers[receivers[3]].of(video).len(),
        0,
        "nothing is wanted"
    );
    // Nobody has the middle one any more: it ends at route.
    net.command(Command::RemoveSubscriber(SubscriberId(receivers[1] as u64)));
    limit(&mut net, receivers[3], Some(7), 7);
    let refused = net.stat(DropReason::NotSelected);
    for _ in 0..40 {
        camera.picture(&mut net, arrives);
    }
    assert!(net.stat(DropReason::NotSelected) - refused >= 39 * 3);
    assert_eq!(showing(&net, receivers[3]), 2);
    limit(&mut net, receivers[3], None, 7);
    let before = net.peers[receivers[3]].of(video).len();
    for _ in 0..10 {
        camera.picture(&mut net, arrives);
    }
    assert_eq!(net.peers[receivers[3]].of(video).len(), before);
    limit(&mut net, receivers[3], Some(7), 7);
    for _ in 0..20 {
        camera.picture(&mut net, arrives);
    }
    let verdict = judge(&shown(&net, receivers[3]));
    assert_eq!((verdict.holes, verdict.cut), (0, 0));
    assert!(
        verdict.drift <= 2,
        "time went on while nothing was sent: {verdict:?}"
    );
    net.finish();
}

#[test]
fn temporal_layers_leave_no_hole() {
    let mut net = Net::new();
    let mut camera = Camera::new(&mut net, false);
    camera.temporal = 3;
    let receiver = subscribe(&mut net);
    for _ in 0..40 {
        camera.picture(&mut net, arrives);
    }
    let mut counts = Vec::new();
    for most in [2, 0, 1, 2, 1, 0] {
        limit(&mut net, receiver, Some(7), most);
        let before = shown(&net, receiver).len();
        for _ in 0..40 {
            camera.picture(&mut net, arrives);
        }
        let all = shown(&net, receiver);
        let layers = all[before..]
            .iter()
            .map(|packet| packet.descriptor.temporal.unwrap().id);
        assert_eq!(layers.max(), Some(most));
        counts.push((all.len() - before) / 5);
    }
    assert_eq!(counts[0], 40);
    assert_eq!((counts[1], counts[5]), (10, 10));
    assert!(
        (19..=20).contains(&counts[2]) && (37..=40).contains(&counts[3]),
        "{counts:?}"
    );
    let verdict = judge(&shown(&net, receiver));
    assert_eq!(
        (verdict.holes, verdict.cut, verdict.drift),
        (0, 0, verdict.drift.min(2))
    );
    net.finish();
}

#[test]
fn a_limit_works_on_a_single_encoding_too() {
    let mut net = Net::new();
    let (mut source, receivers) = call(&mut net, 1);
    let video = out_ssrcs(receivers[0]).1;
    source.frame(&mut net, false, &[]);
    net.run(20);
    assert_eq!(net.peers[receivers[0]].of(video).len(), 6);
    limit(&mut net, receivers[0], None, 0);
    source.frame(&mut net, false, &[]);
    net.run(20);
    assert_eq!(net.peers[receivers[0]].of(video).len(), 6);
    limit(&mut net, receivers[0], Some(0), 0);
    source.frame(&mut net, false, &[]);
    net.run(5);
    assert_eq!(net.peers[receivers[0]].of(video).len(), 6);
    source.frame(&mut net, true, &[]);
    source.frame(&mut net, false, &[]);
    net.run(20);
    let got = net.peers[receivers[0]].of(video);
    assert_eq!(got.len(), 12);
    assert_eq!(got[11].index, got[0].index + 11);
    net.finish();
}

#[test]
fn probes_before_media_bind_nothing_wrong() {
    let mut net = Net::new();
    let mut camera = Camera::new(&mut net, false);
    let receiver = subscribe(&mut net);
    let fields = |ssrc, payload_type, sequence| Fields {
        padding: true,
        payload_type,
        sequence,
        timestamp: 5,
        ssrc,
        ..Fields::default()
    };
    // Padding alone; what RFC 3550 §5.1 has in its last octet is how much.
    let padding = [0, 0, 0, 4];
    for sequence in 0..20 {
        let names: [(u8, &[u8]); 2] = [(IN_MID, b"1"), (IN_REPAIRED_RID, b"rdiv2")];
        let rtx = camera.encodings[1].rtx;
        net.send_rtp(
            camera.peer,
            &fields(rtx, VP8_RTX, sequence),
            &names,
            &padding,
        );
        let names: [(u8, &[u8]); 2] = [(IN_MID, b"1"), (IN_RID, b"rdiv1")];
        let ssrc = camera.encodings[2].ssrc;
        net.send_rtp(camera.peer, &fields(ssrc, VP8, sequence), &names, &padding);
        // Without a name nothing is bound.
        net.send_rtp(camera.peer, &fields(99, VP8_RTX, sequence), &[], &padding);
        net.run(5);
    }
    assert_eq!(net.stat(DropReason::UnknownEncoding), 20);
    assert_eq!(net.peers[receiver].of(out_ssrcs(receiver).1).len(), 0);
    camera.encodings[2].active = false;
    for sequence in 20..50 {
        let ssrc = camera.encodings[2].ssrc;
        net.send_rtp(camera.peer, &fields(ssrc, VP8, sequence), &[], &padding);
        camera.picture(&mut net, arrives);
    }
    camera.encodings[2].sequence = 50;
    assert_eq!(showing(&net, receiver), 1, "padding is no picture");
    camera.encodings[2].active = true;
    for _ in 0..30 {
        camera.picture(&mut net, arrives);
    }
    assert_eq!(showing(&net, receiver), 2);
    assert_eq!(judge(&shown(&net, receiver)).cut, 0);
    net.finish();
}

#[test]
fn hundreds_who_ask_at_once_cost_the_publisher_one_key_frame() {
    let mut net = Net::with(Config {
        transports_max: 600,
        ..config()
    });
    let mut camera = Camera::new(&mut net, false);
    let receivers: Vec<usize> = (0..100).map(|_| subscribe(&mut net)).collect();
    for _ in 0..20 {
        camera.picture(&mut net, arrives);
    }
    let before: u32 = camera.encodings.iter().map(|sent| sent.key_frames).sum();
    let begun = camera.frame;
    for _ in 0..25 {
        for receiver in &receivers {
            let media = out_ssrcs(*receiver).1;
            net.send_rtcp(*receiver, |out| rtcp::Pli { sender: 1, media }.write(out));
        }
        camera.picture(&mut net, arrives);
    }
    let passed = u64::from(camera.frame - begun) * INTERVAL;
    let after: u32 = camera.encodings.iter().map(|sent| sent.key_frames).sum();
    assert!(
        u64::from(after - before) <= passed / 500 + 1,
        "{} key frames",
        after - before
    );
    assert!(after > before);
    // Half of them go down at once, and all are served by one key frame.
    let before = camera.encodings[0].key_frames;
    for receiver in receivers.iter().step_by(2) {
        limit(&mut net, *receiver, Some(0), 7);
    }
    for _ in 0..15 {
        camera.picture(&mut net, arrives);
    }
    assert_eq!(camera.encodings[0].key_frames, before + 1);
    for (nth, receiver) in receivers.iter().enumerate() {
        assert_eq!(showing(&net, *receiver), 2 * (nth % 2));
        assert_eq!(judge(&shown(&net, *receiver)).holes, 0);
    }
    net.finish();
}

#[test]
fn an_encoding_that_never_begins_keeps_nobody_waiting() {
    let mut net = Net::new();
    let mut camera = Camera::new(&mut net, false);
    camera.encodings[2].key_wanted = false;
    let receiver = subscribe(&mut net);
    for _ in 0..200 {
        camera.picture(&mut net, arrives);
        camera.listen(&mut net);
        camera.encodings[2].key_wanted = false;
    }
    let verdict = judge(&shown(&net, receiver));
    assert!(verdict.pictures >= 195, "{verdict:?}");
    assert_eq!(showing(&net, receiver), 1);
    net.finish();
}

#[test]
fn what_comes_late_of_the_old_encoding_fills_its_hole() {
    let mut net = Net::new();
    let mut camera = Camera::new(&mut net, false);
    let receiver = subscribe(&mut net);
    for _ in 0..30 {
        camera.picture(&mut net, arrives);
    }
    // Of the highest encoding the third packet is lost: one of the lowest, three of the middle one come before.
    let mut sent = 0;
    camera.slow = true;
    camera.picture(&mut net, || {
        sent += 1;
        if sent == 7 { Fate::Lost } else { Fate::Arrives }
    });
    limit(&mut net, receiver, Some(0), 7);
    net.run(5);
    for _ in 0..2 {
        camera.picture(&mut net, arrives);
    }
    assert_eq!(showing(&net, receiver), 0);
    let before = judge(&shown(&net, receiver));
    assert_eq!((before.holes, before.cut), (1, 1), "the control");
    camera.slow = false;
    for _ in 0..2 {
        camera.picture(&mut net, arrives);
    }
    let after = judge(&shown(&net, receiver));
    assert_eq!((after.holes, after.cut), (0, 0));
    net.finish();
}

/// SSRCs of what the node asked the camera for once more.
fn asked_again(net: &Net, camera: &Camera) -> Vec<u32> {
    let datagrams = net.peers[camera.peer].rtcp.iter();
    let packets = datagrams.flat_map(|datagram| rtcp::compound(datagram).unwrap());
    packets
        .filter_map(|packet| match packet.unwrap() {
            rtcp::Packet::Nack(nack) => Some(nack.media),
            _ => None,
        })
        .collect()
}

#[test]
fn what_nobody_is_shown_is_not_asked_for_again() {
    let mut net = Net::new();
    let mut camera = Camera::new(&mut net, false);
    let receiver = subscribe(&mut net);
    for _ in 0..40 {
        camera.picture(&mut net, arrives);
    }
    let mut dice = Rng::from_number(9);
    for _ in 0..40 {
        camera.picture(&mut net, || match dice.below(5) {
            0 => Fate::Lost,
            _ => Fate::Arrives,
        });
    }
    let asked = asked_again(&net, &camera);
    let of = |nth: usize| {
        let ssrc = camera.encodings[nth].ssrc;
        asked.iter().filter(|media| **media == ssrc).count()
    };
    assert!(of(2) >= 10, "{asked:x?}");
    assert_eq!((of(0), of(1)), (0, 0));
    limit(&mut net, receiver, Some(0), 7);
    for _ in 0..20 {
        camera.picture(&mut net, arrives);
    }
    assert_eq!(showing(&net, receiver), 0);
    let verdict = judge(&shown(&net, receiver));
    assert_eq!((verdict.holes, verdict.cut), (0, 0));
    net.finish();
}

#[test]
fn retransmissions_reach_over_a_switch() {
    let mut net = Net::new();
    let mut camera = Camera::new(&mut net, false);
    let receiver = subscribe(&mut net);
    let mut asker = Asker::new(receiver);
    let mut dice = Rng::from_number(5);
    net.lose_out = Box::new(move |peer, datagram| {
        peer == receiver && datagram[0] >= 128 && datagram[1] < 192 && dice.below(10) == 0
    });
    for round in 0..60 {
        limit(&mut net, receiver, Some(round % 3), 7);
        for _ in 0..14 {
            camera.picture(&mut net, arrives);
            asker.ask(&mut net);
        }
    }
    net.lose_out = Box::new(|_, _| false);
    for _ in 0..10 {
        camera.picture(&mut net, arrives);
        asker.ask(&mut net);
    }
    let verdict = judge(&shown(&net, receiver));
    assert!(asker.asked > 100, "the control: packets were lost");
    assert!(verdict.switches >= 55, "{verdict:?}");
    assert_eq!(
        (verdict.holes, verdict.cut),
        (0, 0),
        "{} asked",
        asker.asked
    );
    net.finish();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]

    /// Loss and reordering on the way in, repaired by the publisher, with limits that change all the time.
    #[test]
    fn whatever_is_lost_on_the_way_in(seed: u64, temporal in prop::sample::select(vec![1_u8, 3]), reports: bool) {
        let mut net = Net::new();
        let mut camera = Camera::new(&mut net, seed % 2 == 0);
        camera.temporal = temporal;
        camera.encodings[1].reports = reports;
        let receiver = subscribe(&mut net);
        let mut asker = Asker::new(receiver);
        let (mut dice, mut fates) = (Rng::from_number(seed), Rng::from_number(seed ^ 1));
        let mut fate = || match fates.below(20) {
            0 => Fate::Lost,
            1 => Fate::Late,
            _ => Fate::Arrives,
        };
        for _ in 0..150 {
            match dice.below(10) {
                0 => limit(&mut net, receiver, Some(dice.below(3) as u8), dice.below(3) as u8),
                1 => limit(&mut net, receiver, Some(7), 7),
                2 if dice.below(4) == 0 => limit(&mut net, receiver, None, 7),
                3 => {
                    let nth = dice.below(3) as usize;
                    camera.encodings[nth].active = dice.below(3) > 0;
                }
                _ => {}
            }
            camera.picture(&mut net, &mut fate);
            asker.ask(&mut net);
        }
        // Calm down: everything asked for comes, and the highest is shown.
        limit(&mut net, receiver, Some(7), 7);
        for sent in &mut camera.encodings {
            sent.active = true;
        }
        for _ in 0..60 {
            camera.picture(&mut net, arrives);
            asker.ask(&mut net);
        }
        let all = shown(&net, receiver);
        judge(&all);
        prop_assert_eq!(all.last().unwrap().encoding, 2);
        net.finish();
    }
}
