//! What a subscriber's browser says of the way to it, and what it gets then.

use proto::codec::vp8::Descriptor;
use proto::rtcp::{ReceiverReport, Remb};
use sfu::api::*;

use crate::harness::*;
use crate::simulcast::*;

/// What the encodings of [`Camera`] take in bit/s, roughly, headers included.
const RATES: [u64; 3] = [75_000, 210_000, 345_000];

/// The peer says that it can take so much.
fn estimate(net: &mut Net, receiver: usize, bits_per_second: u64) {
    let media = out_ssrcs(receiver).1;
    net.send_rtcp(receiver, |out| {
        ReceiverReport::write(1, &[], out)?;
        Remb::write(1, bits_per_second, &[media], out)
    });
}

/// The encoding of the newest picture.
fn showing(net: &Net, receiver: usize) -> usize {
    let video = out_ssrcs(receiver).1;
    let newest = (net.peers[receiver].rtp.iter().rev()).find(|packet| packet.header.ssrc == video);
    let payload = &newest.expect("something was shown").payload;
    let descriptor = Descriptor::parse(payload).expect("it is VP8");
    usize::from(payload[descriptor.len() + 1])
}

/// Lets so many seconds pass. `say` is what the first receiver estimates, five times a second.
fn watch(
    net: &mut Net,
    camera: &mut Camera,
    seconds: u64,
    receiver: usize,
    say: impl Fn(u64) -> Option<u64>,
) {
    for nth in 0..seconds * 1_000 / INTERVAL {
        if nth % 5 == 0
            && let Some(rate) = say(nth / 5)
        {
            estimate(net, receiver, rate);
        }
        camera.picture(net, arrives);
    }
}

/// A camera, and so many who watch it; they do so for a few seconds.
fn scene(receivers: usize) -> (Net, Camera, Vec<usize>) {
    scene_with(receivers, config())
}

fn scene_with(receivers: usize, config: Config) -> (Net, Camera, Vec<usize>) {
    let mut net = Net::with(config);
    let mut camera = Camera::new(&mut net, false);
    let receivers: Vec<usize> = (0..receivers).map(|_| subscribe(&mut net)).collect();
    watch(&mut net, &mut camera, 5, receivers[0], |_| Some(500_000));
    for receiver in &receivers {
        assert_eq!(showing(&net, *receiver), 2);
    }
    (net, camera, receivers)
}

#[test]
fn each_gets_what_its_way_carries_and_the_others_keep_the_top() {
    for (says, settles) in [(300_000, 1), (100_000, 0), (20_000, 0)] {
        let (mut net, mut camera, receivers) = scene(3);
        watch(&mut net, &mut camera, 3, receivers[0], |_| Some(says));
        assert_eq!(showing(&net, receivers[0]), settles, "{says} bit/s");
        for other in &receivers[1..] {
            assert_eq!(showing(&net, *other), 2);
        }
        let all = shown(&net, receivers[0]);
        let verdict = judge(&all);
        assert_eq!((verdict.holes, verdict.cut), (0, 0));
        net.finish();
    }
}

#[test]
fn estimates_are_not_followed_unless_told_to() {
    let off = Config {
        follow_remb: false,
        ..config()
    };
    let (mut net, mut camera, receivers) = scene_with(1, off);
    watch(&mut net, &mut camera, 3, receivers[0], |_| Some(20_000));
    assert_eq!(showing(&net, receivers[0]), 2);
    net.finish();
}

#[test]
fn when_the_limit_is_lifted_the_top_comes_back() {
    let (mut net, mut camera, receivers) = scene(2);
    watch(&mut net, &mut camera, 3, receivers[0], |_| Some(100_000));
    assert_eq!(showing(&net, receivers[0]), 0);
    watch(&mut net, &mut camera, 10, receivers[0], |_| Some(1_000_000));
    assert_eq!(showing(&net, receivers[0]), 2);
    assert_eq!(judge(&shown(&net, receivers[0])).holes, 0);
    net.finish();
}

/// As browsers do: eight percent more a second, but never far beyond what is sent, and back when it was too much.
#[test]
fn an_estimate_that_only_follows_what_is_sent_is_tried_out() {
    let (mut net, mut camera, receivers) = scene(1);
    let receiver = receivers[0];
    watch(&mut net, &mut camera, 3, receiver, |_| Some(64_000));
    assert_eq!(showing(&net, receiver), 0);
    let mut says = 64_000_u64;
    let mut took = 0;
    while showing(&net, receiver) < 2 && took < 40 {
        took += 1;
        let sent = RATES[showing(&net, receiver)];
        let most = (sent * 3 / 2 + 10_000).max(says);
        let from = says;
        watch(&mut net, &mut camera, 1, receiver, |nth| {
            Some((from * (1_000 + 16 * nth) / 1_000).min(most))
        });
        says = (says * 108 / 100).min(most);
    }
    assert!(took <= 25, "{took} s");
    net.finish();
}

#[test]
fn what_fails_is_tried_ever_more_rarely() {
    let (mut net, mut camera, receivers) = scene(1);
    let receiver = receivers[0];
    // Just enough for the middle one, however much is sent.
    watch(&mut net, &mut camera, 70, receiver, |_| Some(230_000));
    let all = shown(&net, receiver);
    let tries = all
        .windows(2)
        .filter(|two| (two[0].encoding, two[1].encoding) == (1, 2))
        .count();
    // After 4 s, 8, 16 and 32.
    assert!((3..=4).contains(&tries), "{tries}");
    let top = (all.iter()).filter(|packet| packet.encoding == 2 && packet.part == 0);
    assert!(top.count() < (5 + 5 + 4 * 4) * 25);
    net.finish();
}

#[test]
fn whoever_says_nothing_gets_everything_and_so_does_who_falls_silent() {
    let (mut net, mut camera, receivers) = scene(2);
    watch(&mut net, &mut camera, 2, receivers[0], |_| Some(50_000));
    assert_eq!(showing(&net, receivers[0]), 0);
    watch(&mut net, &mut camera, 13, receivers[0], |_| None);
    assert_eq!(showing(&net, receivers[0]), 2);
    assert_eq!(showing(&net, receivers[1]), 2);
    net.finish();
}

#[test]
fn whoever_lies_hurts_only_himself_and_asks_for_few_key_frames() {
    let (mut net, mut camera, receivers) = scene(2);
    let before: u32 = camera.encodings.iter().map(|sent| sent.key_frames).sum();
    for nth in 0..750_u64 {
        for _ in 0..5 {
            estimate(
                &mut net,
                receivers[0],
                [0, u64::MAX, 1, 300_000][nth as usize % 4],
            );
        }
        camera.picture(&mut net, arrives);
        assert_eq!(showing(&net, receivers[1]), 2);
    }
    let after: u32 = camera.encodings.iter().map(|sent| sent.key_frames).sum();
    // Thirty seconds.
    assert!(after - before <= 12, "{} key frames", after - before);
    // About what others get, nobody has a say.
    let (mut net, mut camera, receivers) = scene(2);
    for _ in 0..100 {
        let media = out_ssrcs(receivers[1]).1;
        net.send_rtcp(receivers[0], |out| {
            Remb::write(1, 0, &[media, 0, u32::MAX], out)
        });
        camera.picture(&mut net, arrives);
    }
    assert_eq!(showing(&net, receivers[0]), 2);
    assert_eq!(showing(&net, receivers[1]), 2);
    net.finish();
}

/// Two transports of one person share one way: what one of them says goes for both.
#[test]
fn a_connection_shares_among_its_transports() {
    let mut net = Net::new();
    let mut camera = Camera::new(&mut net, false);
    net.connection = Some(ConnectionId(7));
    let both = [subscribe(&mut net), subscribe(&mut net)];
    net.connection = None;
    let other = subscribe(&mut net);
    watch(&mut net, &mut camera, 5, both[0], |_| Some(500_000));
    estimate(&mut net, both[1], 500_000);
    watch(&mut net, &mut camera, 3, both[0], |_| Some(190_000));
    // What one could not take is taken from both: there is room for 190 of the one and 345 of the other.
    let shows = both.map(|receiver| showing(&net, receiver));
    assert_eq!(shows, [1, 1], "in rounds");
    assert_eq!(showing(&net, other), 2);
    // Who comes now begins with the least.
    net.connection = Some(ConnectionId(7));
    let late = subscribe(&mut net);
    for _ in 0..13 {
        camera.picture(&mut net, arrives);
    }
    assert_eq!(showing(&net, late), 0);
    for receiver in both.into_iter().chain([other, late]) {
        assert_eq!(judge(&shown(&net, receiver)).holes, 0);
    }
    net.finish();
}

#[test]
fn the_application_has_the_last_word() {
    let (mut net, mut camera, receivers) = scene(1);
    let receiver = receivers[0];
    let limit = |encoding| Command::LimitLayers {
        subscriber: SubscriberId(receiver as u64),
        medium: 1,
        limit: LayerLimit {
            encoding,
            temporal: 7,
        },
    };
    net.command(limit(Some(1)));
    watch(&mut net, &mut camera, 10, receiver, |_| Some(9_000_000));
    assert_eq!(showing(&net, receiver), 1);
    watch(&mut net, &mut camera, 2, receiver, |_| Some(50_000));
    assert_eq!(showing(&net, receiver), 0);
    net.command(limit(Some(2)));
    watch(&mut net, &mut camera, 1, receiver, |_| Some(50_000));
    assert_eq!(showing(&net, receiver), 0);
    net.command(limit(None));
    let before = shown(&net, receiver).len();
    watch(&mut net, &mut camera, 1, receiver, |_| Some(50_000));
    assert_eq!(shown(&net, receiver).len(), before);
    net.command(limit(Some(2)));
    watch(&mut net, &mut camera, 8, receiver, |_| Some(9_000_000));
    assert_eq!(showing(&net, receiver), 2);
    net.finish();
}

/// What two viewers on one way are shown, each of one of two cameras, where there is room for the middle of both, and for everything
/// of one if that is not the first, whose way complains. One of them is a screen, and the publisher of one speaks.
fn two_on_one_way(screen: Option<u64>, speaker: Option<u64>) -> [usize; 2] {
    let mut net = Net::new();
    let mut cameras = [(); 2].map(|()| Camera::new(&mut net, false));
    net.command(Command::RemovePublisher(PublisherId(1)));
    for (id, camera) in (1..).zip(&cameras) {
        let mut spec = camera.spec(&net);
        spec.id = PublisherId(id);
        for medium in &mut spec.media {
            medium.is_screen = screen == Some(id) && medium.kind == Kind::Video;
        }
        net.command(Command::AddPublisher(Box::new(spec)));
    }
    net.connection = Some(ConnectionId(7));
    let receivers = [1, 2].map(|publisher| {
        let receiver = net.connect();
        let spec = subscriber(&net, receiver, publisher);
        net.command(Command::AddSubscriber(Box::new(spec)));
        receiver
    });
    let mut watch = |net: &mut Net, pictures: u64, says: u64| {
        for nth in 0..pictures {
            if nth % 3 == 0 {
                estimate(net, receivers[0], says);
            }
            for camera in &mut cameras {
                camera.picture(net, arrives);
            }
        }
        receivers.map(|receiver| showing(net, receiver))
    };
    assert_eq!(watch(&mut net, 60, 500_000), [2, 2]);
    if let Some(speaker) = speaker {
        net.command(Command::SetSpeaking {
            publisher: PublisherId(speaker),
            speaks: true,
        });
    }
    let shows = watch(&mut net, 40, 130_000);
    net.finish();
    shows
}

#[test]
fn a_screen_comes_before_who_speaks_and_who_speaks_before_others() {
    let (first, second) = ([1, 1], [1, 2]);
    for (screen, speaker, expected) in [
        (None, Some(1), first),
        (None, Some(2), second),
        (Some(1), None, first),
        (Some(2), None, second),
        (Some(1), Some(2), first),
        (Some(2), Some(1), second),
    ] {
        let shows = two_on_one_way(screen, speaker);
        assert_eq!(shows, expected, "screen {screen:?}, speaker {speaker:?}");
    }
}
