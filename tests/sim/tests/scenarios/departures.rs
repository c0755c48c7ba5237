//! Peers that go, and peers that go on elsewhere.

use clock::Duration;
use sfu::api::CloseReason;
use sim::{Settings, Simulation, over_seeds};

use crate::{good, millis, style_of};

#[test]
fn who_vanishes_is_let_go_with_everything() {
    over_seeds("who_vanishes_is_let_go_with_everything", |seed| {
        let mut simulation = Simulation::new(seed, Settings::default());
        let style = style_of(&mut simulation);
        let (publisher, stream) = simulation.publish(good(), style);
        let receivers: Vec<_> = (0..3)
            .map(|_| simulation.subscribe(good(), stream))
            .collect();
        simulation.run(Duration::from_secs(1));
        // One never gets as far as a first check.
        let stillborn = simulation.join(good());
        simulation.vanish(stillborn);
        simulation.run(Duration::from_secs(1));
        assert!(simulation.node.slots_in_use() > 0, "the cache is in use");
        let gone_at = simulation.now();
        simulation.vanish(publisher);
        receivers.iter().for_each(|one| simulation.vanish(*one));
        simulation.run(Duration::from_secs(20));
        assert_eq!(simulation.closed.len(), 4, "{:?}", simulation.closed);
        for (at, who, reason) in &simulation.closed {
            assert_eq!(*reason, CloseReason::ConsentLost);
            let after = *at - gone_at;
            assert!(
                // The last answer may be as old as the longest interval between questions.
                (millis(8_500)..millis(15_500)).contains(&after),
                "{who:?} is let go after {after:?}"
            );
        }
        assert_eq!(simulation.node.slots_in_use(), 0);
        simulation.run(Duration::from_secs(12));
        let last = simulation.closed.last().expect("five closed");
        assert_eq!((last.1, last.2), (stillborn, CloseReason::IceTimeout));
        simulation.node.check_empty();
        simulation.finish();
    });
}

#[test]
fn a_publisher_on_another_address_is_seen_again() {
    over_seeds("a_publisher_on_another_address_is_seen_again", |seed| {
        let mut simulation = Simulation::new(seed, Settings::default());
        let style = style_of(&mut simulation);
        let (publisher, stream) = simulation.publish(good(), style);
        let receiver = simulation.subscribe(good(), stream);
        let when = 1_500 + simulation.rng.below(2_000);
        simulation.run(millis(when));
        let before = simulation.sink(receiver).newest();
        let before = before.expect("there is a picture");
        let moves = [publisher, receiver][(seed % 2) as usize];
        simulation.move_browser(moves);
        // Until the browser's next check, which may be 3 s away, nobody knows the new address. Then, as the cache has forgotten
        // what it missed, a subscriber needs a second to see that only a key frame helps.
        simulation.run(millis(5_000));
        let middle = simulation.sink(receiver).newest();
        let middle = middle.expect("there is a picture");
        assert!(middle > before + 10, "pictures again: {before}, {middle}");
        simulation.run(millis(2_000));
        let sink = simulation.sink(receiver);
        let after = sink.newest().expect("there is a picture");
        assert!(after >= middle + 45, "and they stay: {middle}, {after}");
        sink.check_order();
        assert!(simulation.closed.is_empty());
        let source = simulation.source(publisher);
        assert!(source.feedback > 40, "what we say to it follows, too");
        simulation.finish();
    });
}

#[test]
fn joining_and_leaving_leaves_nothing() {
    over_seeds("joining_and_leaving_leaves_nothing", |seed| {
        let mut simulation = Simulation::new(seed, Settings::default());
        let style = style_of(&mut simulation);
        let (_, stream) = simulation.publish(good(), style);
        let mut inside = Vec::new();
        for _ in 0..30 {
            inside.push(simulation.subscribe(good(), stream));
            let pause = simulation.rng.below(150);
            simulation.run(millis(pause));
            if simulation.rng.below(3) > 0 {
                let nth = simulation.rng.below(inside.len() as u64) as usize;
                let leaves = inside.swap_remove(nth);
                simulation.leave(leaves);
            }
        }
        simulation.run(millis(1_000));
        let stats = simulation.node.stats();
        assert_eq!(stats.subscribers, inside.len() as u64);
        assert_eq!(stats.transports_connected, inside.len() as u64 + 1);
        for one in inside {
            assert!(simulation.sink(one).newest().is_some());
        }
        simulation.finish();
    });
}
