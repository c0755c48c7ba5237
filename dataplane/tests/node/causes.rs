//! Peers that can't work, each for one reason: the node names it, and nothing of one that works.

use std::time::{Duration, Instant};

use link::Cause;
use link::state::{Entry, TransportState};

use crate::call::{bob_hears_alice, publisher, say, subscriber};
use crate::harness::{PATIENCE, Peer, World};

/// Who is in trouble while it goes on trying is told so after so long at the latest.
const TOLD_WITHIN: Duration = Duration::from_secs(11);

fn cause_of(world: &World, id: &str) -> Option<Cause> {
    world.report_of(id).trouble.map(|trouble| trouble.cause)
}

#[test]
fn every_transport_that_does_not_work_has_its_cause() {
    let mut world = World::start(&["--driver", "mmsg"]);
    let began = Instant::now();
    let _unheard = world.peer("unheard", "session", true);
    let mut mistaken = world
        .peer("mistaken", "session", true)
        .with_wrong_password();
    let mut undecided = world.peer("undecided", "session", true).without_dtls();
    let mut unprotected = world
        .peer("unprotected", "session", true)
        .without_common_profile();
    let mut undescribed = world.peer("undescribed", "session", false);
    let mut impostor = world.peer("impostor", "session", false);
    let Entry::Transport(mut entry) = impostor.complete_entry() else {
        unreachable!("it is a transport")
    };
    let another = world.peer("another", "session", true);
    entry
        .remote_fingerprints
        .clone_from(&another.entry.remote_fingerprints);
    world.link.put(Entry::Transport(entry));
    let mut silent = world.peer("silent", "session", true);
    let mut works = world.peer("works", "session", true);
    for (name, peer) in [("silent-stream", &silent), ("works-stream", &works)] {
        world.link.put(publisher(name, peer));
    }
    let expected = [
        ("unheard", Cause::NoCheck, "no_check"),
        ("mistaken", Cause::WrongIntegrity, "wrong_integrity"),
        ("undecided", Cause::NoClientHello, "no_client_hello"),
        (
            "unprotected",
            Cause::NoCommonSrtpProfile,
            "no_common_srtp_profile",
        ),
        (
            "undescribed",
            Cause::FingerprintMissing,
            "fingerprint_missing",
        ),
        (
            "impostor",
            Cause::FingerprintMismatch,
            "fingerprint_mismatch",
        ),
        ("silent", Cause::NoMedia, "no_media"),
    ];
    let mut number = 0;
    loop {
        for peer in [
            &mut mistaken,
            &mut undecided,
            &mut unprotected,
            &mut undescribed,
            &mut impostor,
            &mut silent,
            &mut works,
        ] {
            peer.run_for(Duration::from_millis(4));
        }
        if works.is_connected() {
            say(&mut works, number);
            number += 1;
        }
        let told = |(id, cause, _): &(&str, Cause, &str)| cause_of(&world, id) == Some(*cause);
        if expected.iter().all(told) {
            break;
        }
        let late = began.elapsed() > PATIENCE;
        let found = expected.map(|(id, ..)| (id, cause_of(&world, id)));
        assert!(!late, "{found:?}");
    }
    assert!(began.elapsed() < TOLD_WITHIN, "{:?}", began.elapsed());
    assert_eq!(cause_of(&world, "works"), None);
    for (id, _, label) in expected {
        let report = world.report_of(id);
        let is_over = matches!(id, "unprotected" | "impostor");
        let closed = matches!(report.state, TransportState::Closed { .. });
        assert_eq!(closed, is_over, "{id}");
        assert!(report.since.is_some_and(|since| since > 1_700_000_000_000));
        let label = format!("cause=\"{label}\"");
        let now = match id {
            _ if is_over => 0.0,
            // And the one whose certificate the impostor should have.
            "unheard" => 2.0,
            _ => 1.0,
        };
        world.wait_for_metric("ringcast_node_transports_troubled", &label, |n| n == now);
        world.wait_for_metric("ringcast_node_transport_troubles_total", &label, |n| {
            n >= 1.0
        });
    }
    // The fingerprint comes after all.
    world.link.put(undescribed.complete_entry());
    world.wait_until("it works", || cause_of(&world, "undescribed").is_none());
    let connected = |state: &TransportState| matches!(state, TransportState::Connected { .. });
    world.wait_for_state("undescribed", connected);
}

#[test]
fn what_a_subscriber_did_not_agree_on_is_named_at_that_subscriber_alone() {
    let mut world = World::start(&["--driver", "mmsg"]);
    let (mut alice, mut bob) = bob_hears_alice(&mut world);
    let mut carol = world.peer("carol", "session", true);
    let agreed = subscriber("carol-of-alice", "alice-stream", &carol);
    let Entry::Subscriber(mut other) = agreed.clone() else {
        unreachable!("it is a subscriber")
    };
    // Alice may send that, and does not.
    other.media[0].codecs[0].published_payload_type = 112;
    world.link.put(Entry::Subscriber(other));
    carol.connect();
    let (mut number, began) = (0, Instant::now());
    let mut goes_on = |world: &World, carol: &mut Peer, what: &str, so: &dyn Fn(&Peer) -> bool| {
        while !so(carol) {
            say(&mut alice, number);
            number += 1;
            for peer in [&mut bob, &mut *carol] {
                peer.run_for(Duration::from_millis(10));
            }
            assert!(began.elapsed() < PATIENCE, "never: {what}");
        }
        assert!(!bob.received.is_empty() && cause_of(world, "bob").is_none());
    };
    let is_named = |_: &Peer| cause_of(&world, "carol") == Some(Cause::NotForwarded);
    goes_on(&world, &mut carol, "it is named", &is_named);
    assert!(carol.received.is_empty());
    assert_eq!(cause_of(&world, "alice"), None);
    let label = "cause=\"not_forwarded\"";
    world.wait_for_metric("ringcast_node_transports_troubled", label, |n| n == 1.0);
    // It agrees on it after all.
    world.link.put(agreed);
    let works = |carol: &Peer| !carol.received.is_empty() && cause_of(&world, "carol").is_none();
    goes_on(&world, &mut carol, "it is taken back", &works);
}
