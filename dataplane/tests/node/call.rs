//! One publishes, another subscribes: the whole way, on every driver.

use std::time::Duration;

use link::desired::DesiredState;
use link::quic::master::News;
use link::state::*;
use proto::rtp::{Element, Fields};

use crate::harness::{Peer, World};

const PUBLISHED_SSRC: u32 = 0x1111_1111;
const SUBSCRIBED_SSRC: u32 = 0x2222_2222;
const MID: u8 = 4;

fn opus(payload_type: u8) -> Codec {
    Codec {
        payload_type,
        name: "opus".into(),
        clock_rate: 48_000,
        rtx_payload_type: None,
        feedback: Feedback::default(),
    }
}

fn mid_extension() -> Vec<Extension> {
    vec![Extension {
        id: MID,
        uri: "urn:ietf:params:rtp-hdrext:sdes:mid".into(),
    }]
}

pub fn publisher(id: &str, transport: &Peer) -> Entry {
    Entry::Publisher(Publisher {
        id: PublisherId::new(id),
        transport: transport.entry.id.clone(),
        media: vec![PublishedMedia {
            bandwidth_max: None,
            is_screen: false,
            kind: Kind::Audio,
            mid: "0".into(),
            codecs: vec![opus(111)],
            extensions: mid_extension(),
            encodings: vec![Encoding {
                ssrc: Some(PUBLISHED_SSRC),
                ..Encoding::default()
            }],
        }],
    })
}

pub fn subscriber(id: &str, publisher: &str, transport: &Peer) -> Entry {
    Entry::Subscriber(Subscriber {
        id: SubscriberId::new(id),
        transport: transport.entry.id.clone(),
        publisher: PublisherId::new(publisher),
        media: vec![SubscribedMedia {
            bandwidth_max: None,
            kind: Kind::Audio,
            mid: "7".into(),
            ssrc: SUBSCRIBED_SSRC,
            rtx_ssrc: None,
            cname: "someone".into(),
            codecs: vec![CodecMapping {
                published_payload_type: 111,
                codec: opus(96),
            }],
            extensions: mid_extension(),
        }],
    })
}

/// Alice, who publishes, and Bob, who subscribes to it, on their way to the node.
pub fn bob_hears_alice(world: &mut World) -> (Peer, Peer) {
    let mut alice = world.peer("alice", "session", true);
    let mut bob = world.peer("bob", "session", true);
    world.link.put(publisher("alice-stream", &alice));
    world
        .link
        .put(subscriber("bob-of-alice", "alice-stream", &bob));
    alice.connect();
    bob.connect();
    (alice, bob)
}

/// One packet of sound whose payload tells which one it is.
pub fn say(peer: &mut Peer, number: u16) {
    say_so(peer, number, format!("sound {number}").as_bytes());
}

/// One packet of sound with that payload.
pub fn say_so(peer: &mut Peer, number: u16, payload: &[u8]) {
    let fields = Fields {
        marker: number == 0,
        payload_type: 111,
        sequence: 1000 + number,
        timestamp: u32::from(number) * 960,
        ssrc: PUBLISHED_SSRC,
        ..Fields::default()
    };
    let mid = [Element::new(MID, b"0")];
    peer.send_rtp(1000 + u64::from(number), fields, &mid, payload);
}

fn a_call(driver: &str) {
    let mut world = World::start(&["--driver", driver]);
    let mut alice = world.peer("alice", "session", true);
    let mut bob = world.peer("bob", "session", true);
    alice.connect();
    bob.connect();
    let connected = |state: &TransportState| matches!(state, TransportState::Connected { .. });
    let state = world.wait_for_state("alice", connected);
    let profile = "SRTP_AEAD_AES_256_GCM".to_owned();
    assert_eq!(
        state,
        TransportState::Connected {
            srtp_profile: profile.into()
        }
    );
    world.wait_for_state("bob", connected);

    world.link.put(publisher("alice-stream", &alice));
    world
        .link
        .put(subscriber("bob-of-alice", "alice-stream", &bob));
    bob.wait_for_own_socket(driver == "uring");
    // The orders take a moment to arrive; until then what is said is dropped, and counted.
    let mut said = 0;
    while bob.received.is_empty() {
        say(&mut alice, said);
        said += 1;
        bob.run_for(Duration::from_millis(20));
        assert!(said < 500, "nothing arrives");
    }
    let before = bob.received.len();
    for number in said..said + 50 {
        say(&mut alice, number);
    }
    bob.run_until("all of it", |bob| bob.received.len() >= before + 50);
    let first = &bob.received[0].header;
    for (index, packet) in bob.received.iter().enumerate() {
        assert_eq!(
            (packet.header.ssrc, packet.header.payload_type),
            (SUBSCRIBED_SSRC, 96)
        );
        let expected = first
            .sequence
            .wrapping_add(u16::try_from(index).expect("few"));
        assert_eq!(packet.header.sequence, expected, "gapless and in order");
    }
    let last = bob.received.last().expect("many");
    assert_eq!(last.payload, format!("sound {}", said + 49).as_bytes());
    // The node reports to both: reception to the publisher, the sender to the subscriber.
    bob.run_until("a report", |bob| !bob.rtcp.is_empty());

    let carried = format!("driver=\"{driver}\",direction=\"out\"");
    world.wait_for_metric("ringcast_node_driver_packets_total", &carried, |sent| {
        sent > 50.0
    });
    world.wait_for_metric(
        "ringcast_node_packets_total",
        "direction=\"in\",kind=\"rtp\"",
        |received| received >= 50.0,
    );
    assert_eq!(world.metric("ringcast_node_packets_unbalanced", ""), 0.0);
    assert_eq!(
        world.metric("ringcast_node_transports", "state=\"connected\""),
        2.0
    );

    // What the master no longer wants ends, and the peer is told.
    world.link.remove(&Key::Transport(bob.entry.id.clone()));
    bob.run_until("told", |bob| bob.closed.is_some());
    bob.wait_for_own_socket(false);
}

/// Alice talks until Bob hears her.
fn talk(alice: &mut Peer, bob: &mut Peer, numbers: std::ops::Range<u16>) {
    let before = bob.received.len();
    for number in numbers {
        say(alice, number);
        alice.run_for(Duration::from_millis(5));
        bob.run_for(Duration::from_millis(5));
        if bob.received.len() > before {
            return;
        }
    }
    panic!("nothing arrives");
}

#[test]
fn media_go_on_without_a_master_and_its_successor_finds_everything() {
    let mut world = World::start(&["--driver", "uring"]);
    let (mut alice, mut bob) = bob_hears_alice(&mut world);
    talk(&mut alice, &mut bob, 0..500);
    let desired = world.link.desired();
    world.link.stop();
    world.wait_for_admin("/healthz/ready", 503);
    assert_eq!(
        world.get("/healthz/live").0,
        200,
        "a missing master is no reason to be restarted"
    );
    talk(&mut alice, &mut bob, 500..1000);

    // The successor knows of Alice and of nothing else.
    let mut known = DesiredState::new();
    known.put(Entry::Transport(alice.entry.clone()));
    world.succeed(3, known);
    world.wait_for_state("alice", |state| {
        matches!(state, TransportState::Connected { .. })
    });
    bob.run_until("told", |bob| bob.closed.is_some());
    // The node tells the peer first and the master then.
    world.wait_until("one is left", || world.link.reports().len() == 1);

    // One with an older epoch is turned away, and changes nothing.
    world.link.stop();
    world.wait_for_admin("/healthz/ready", 503);
    world.succeed(2, desired);
    let News::Down {
        why, was_up: false, ..
    } = world.wait_for(|news| matches!(news, News::Down { .. }))
    else {
        panic!("an older master got in")
    };
    assert!(why.contains("epoch 3"), "{why}");
    assert_eq!(world.metric("ringcast_node_transports", ""), 1.0);
}

#[test]
fn rubbish_from_strangers_is_counted_and_not_answered() {
    let mut world = World::start(&["--driver", "uring"]);
    let (mut alice, mut bob) = bob_hears_alice(&mut world);
    talk(&mut alice, &mut bob, 0..500);
    let dropped = |world: &World| world.metric("ringcast_node_packets_dropped_total", "");
    let before = dropped(&world);
    let mut rng = clock::Rng::from_number(1);
    for length in 0..2000 {
        let mut rubbish = vec![0; length % 1500];
        rng.fill(&mut rubbish);
        bob.send_raw(&rubbish);
        if length % 100 == 0 {
            bob.run_for(Duration::from_millis(5));
        }
    }
    talk(&mut alice, &mut bob, 500..1000);
    world.wait_for_metric("ringcast_node_packets_dropped_total", "", |now| {
        now - before > 1000.0
    });
    assert_eq!(world.metric("ringcast_node_packets_unbalanced", ""), 0.0);
}

fn worker_of(world: &World, id: &str) -> u16 {
    let key = Key::Transport(TransportId::new(id));
    match world.link.report(&key) {
        Some(Report::Transport(report)) => report.worker,
        other => panic!("{id}: {other:?}"),
    }
}

/// Three users of one session, of whom one worker may have one: what is said crosses, once for both who listen.
fn a_call_across_workers(driver: &str) {
    let mut world = World::start(&["--driver", driver, "--session-worker-transports", "1"]);
    let mut alice = world.peer("alice", "session", true);
    let mut bob = world.peer("bob", "session", true);
    let (home, away) = (worker_of(&world, "alice"), worker_of(&world, "bob"));
    assert_ne!(home, away);
    // Both workers have their share, so whoever comes now goes where there is less to do.
    let mut carol = world.peer("carol", "session", true);
    for peer in [&mut alice, &mut bob, &mut carol] {
        peer.connect();
    }
    world.link.put(publisher("alice-stream", &alice));
    world
        .link
        .put(subscriber("bob-of-alice", "alice-stream", &bob));
    world
        .link
        .put(subscriber("carol-of-alice", "alice-stream", &carol));
    let mut said = 0;
    while bob.received.is_empty() || carol.received.is_empty() {
        say(&mut alice, said);
        said += 1;
        bob.run_for(Duration::from_millis(10));
        carol.run_for(Duration::from_millis(10));
        assert!(said < 500, "nothing arrives");
    }
    for number in said..said + 50 {
        say(&mut alice, number);
        bob.run_for(Duration::from_millis(2));
    }
    let last = format!("sound {}", said + 49);
    for peer in [&mut bob, &mut carol] {
        peer.run_until("all of it", |peer| {
            let newest = peer.received.last();
            newest.is_some_and(|packet| packet.payload == last.as_bytes())
        });
        let first = peer.received[0].header.sequence;
        for (index, packet) in (0u16..).zip(&peer.received) {
            let expected = first.wrapping_add(index);
            assert_eq!(packet.header.sequence, expected, "gapless and in order");
        }
        peer.run_until("a report", |peer| !peer.rtcp.is_empty());
    }
    let out = "direction=\"out\"";
    world.wait_for_metric("ringcast_node_crossed_packets_total", out, |crossed| {
        crossed >= 50.0
    });
    let crossed = world.metric("ringcast_node_crossed_packets_total", out);
    assert!(crossed <= f64::from(said + 50), "once, whoever listens");
    assert_eq!(world.metric("ringcast_node_crossing_taps", out), 1.0);
    assert!(world.metric("ringcast_node_crossing_slots_lent", "") > 0.0);
    let several = "workers=\"several\"";
    assert_eq!(world.metric("ringcast_node_sessions", several), 1.0);
    assert_eq!(world.metric("ringcast_node_packets_unaccounted", ""), 0.0);
    assert_eq!(world.metric("ringcast_node_publishers", ""), 1.0);

    // When nobody listens over there, nothing crosses and the slots are back.
    for peer in [&mut bob, &mut carol] {
        world.link.remove(&Key::Transport(peer.entry.id.clone()));
        peer.run_until("told", |peer| peer.closed.is_some());
    }
    let gone = |left: f64| left == 0.0;
    world.wait_for_metric("ringcast_node_crossing_taps", "", gone);
    world.wait_for_metric("ringcast_node_crossing_slots_lent", "", gone);
}

#[test]
fn a_call_across_workers_over_io_uring() {
    a_call_across_workers("uring");
}

#[test]
fn a_call_across_workers_over_plain_system_calls() {
    a_call_across_workers("mmsg");
}

#[test]
fn a_call_over_io_uring() {
    a_call("uring");
}

#[test]
fn a_call_over_plain_system_calls() {
    a_call("mmsg");
}

#[test]
fn media_wait_for_a_late_fingerprint() {
    let mut world = World::start(&["--driver", "mmsg"]);
    let mut alice = world.peer("alice", "session", false);
    let mut bob = world.peer("bob", "session", true);
    bob.connect();
    world.link.put(publisher("alice-stream", &alice));
    world
        .link
        .put(subscriber("bob-of-alice", "alice-stream", &bob));
    // Alice finishes her half; the node does not know yet whether she is who she should be.
    alice.connect();
    for number in 0..10 {
        say(&mut alice, number);
        bob.run_for(Duration::from_millis(10));
    }
    assert!(bob.received.is_empty(), "nobody vouches for these packets");
    assert!(matches!(
        world.wait_for_state("alice", |_| true),
        TransportState::New | TransportState::Connecting
    ));
    world.wait_for_metric(
        "ringcast_node_packets_dropped_total",
        "reason=\"no_keys\"",
        |dropped| dropped >= 10.0,
    );

    world.link.put(alice.complete_entry());
    world.wait_for_state("alice", |state| {
        matches!(state, TransportState::Connected { .. })
    });
    let mut number = 10;
    while bob.received.is_empty() {
        say(&mut alice, number);
        number += 1;
        bob.run_for(Duration::from_millis(10));
        assert!(number < 500, "nothing arrives");
    }
}

#[test]
fn a_wrong_certificate_ends_the_transport() {
    let mut world = World::start(&["--driver", "mmsg"]);
    let alice = world.peer("alice", "session", true);
    let mut mallory = world.peer("mallory", "session", false);
    let Entry::Transport(mut entry) = mallory.complete_entry() else {
        unreachable!()
    };
    entry
        .remote_fingerprints
        .clone_from(&alice.entry.remote_fingerprints);
    world.link.put(Entry::Transport(entry));
    let until = std::time::Instant::now() + crate::harness::PATIENCE;
    let key = Key::Transport(TransportId::new("mallory"));
    loop {
        mallory.run_for(Duration::from_millis(10));
        if let Some(Report::Transport(report)) = world.link.report(&key)
            && let TransportState::Closed { reason } = report.state
        {
            assert_eq!(reason, CloseReason::FingerprintMismatch);
            break;
        }
        assert!(std::time::Instant::now() < until, "the transport stays");
    }
    let label = "reason=\"fingerprint_mismatch\"";
    world.wait_for_metric("ringcast_node_transports_closed_total", label, |closed| {
        closed == 1.0
    });
}
