//! Sessions that are larger than a worker: publishers on one, subscribers on others.

use clock::Duration;
use sfu::discard::{DropReason, Stage};
use sim::{BrowserId, Conditions, Loss, Settings, Simulation, Style, over_seeds};

use crate::{
    STYLE, check_seen_and_heard, complete_of_thousand, due_pictures, good, millis, style_of,
};

fn several(workers: u16) -> Settings {
    Settings {
        workers,
        ..Settings::default()
    }
}

/// Packets that a worker handed to others, and that it took over from them.
fn crossed(simulation: &Simulation, worker: u16) -> (u64, u64) {
    let stats = simulation.node.stats_of(worker);
    let out = stats.stage(Stage::CrossOut).packets_out;
    (out, stats.stage(Stage::CrossIn).packets_out)
}

fn stop(simulation: &mut Simulation, publisher: BrowserId) {
    let source = &mut simulation.browser_mut(publisher).source;
    source.as_mut().expect("it publishes").stop();
}

#[test]
fn a_subscriber_on_another_worker_gets_the_same() {
    over_seeds("a_subscriber_on_another_worker_gets_the_same", |seed| {
        let mut simulation = Simulation::new(seed, several(2));
        let style = style_of(&mut simulation);
        let (publisher, stream) = simulation.publish_on(1, good(), style);
        // Two over there, one at home; and one of another stream that crosses the other way.
        let receivers = [0, 0, 1].map(|worker| simulation.subscribe_on(worker, good(), stream));
        let (opposite, other) = simulation.publish_on(0, good(), style_of_number(seed));
        let listener = simulation.subscribe_on(1, good(), other);
        simulation.run(Duration::from_secs(4));
        stop(&mut simulation, publisher);
        stop(&mut simulation, opposite);
        simulation.run(millis(500));
        let pairs = receivers.map(|receiver| (publisher, receiver));
        for (publisher, receiver) in pairs.into_iter().chain([(opposite, listener)]) {
            check_seen_and_heard(&simulation, publisher, receiver);
        }
        // Once for the worker, not once for each subscriber: everything that the sources sent since then, and no more.
        for (worker, publisher) in [(1, publisher), (0, opposite)] {
            let source = simulation.source(publisher);
            let parts: u64 = source
                .taken
                .values()
                .map(|(_, parts)| u64::from(*parts))
                .sum();
            let sent = parts + u64::from(source.sounds_sent());
            let out = crossed(&simulation, worker).0;
            assert!(out <= sent && out + 30 > sent, "{out} of {sent} crossed");
            assert_eq!(crossed(&simulation, 1 - worker).1, out);
            assert!(simulation.source(publisher).feedback > 30);
        }
        let wakes = simulation.node.crossing_of(1).wakes;
        assert!(wakes <= crossed(&simulation, 1).0 + 50, "{wakes} wakes");
        simulation.finish();
    });
}

#[test]
fn what_crosses_in_one_turn_is_not_mixed_up() {
    over_seeds("what_crosses_in_one_turn_is_not_mixed_up", |seed| {
        let mut simulation = Simulation::new(seed, several(3));
        // Two take their pictures and sounds at the same instants, at home on the same worker; a third crosses back.
        let publishers = [0, 0, 1].map(|worker| {
            let style = style_of(&mut simulation);
            simulation.publish_on(worker, good(), style)
        });
        let mut pairs = Vec::new();
        for (publisher, stream) in publishers {
            for worker in 0..3 {
                let receiver = simulation.subscribe_on(worker, good(), stream);
                pairs.push((publisher, receiver));
            }
        }
        simulation.run(Duration::from_secs(4));
        for (publisher, _) in publishers {
            stop(&mut simulation, publisher);
        }
        simulation.run(millis(500));
        for (publisher, receiver) in &pairs {
            check_seen_and_heard(&simulation, *publisher, *receiver);
            let identity = simulation.source(*publisher).identity();
            let sink = simulation.sink(*receiver);
            assert!(
                sink.publishers().into_iter().eq([identity]),
                "of nobody else"
            );
        }
        let identities = publishers.map(|(publisher, _)| simulation.source(publisher).identity());
        assert!(identities[0] != identities[1] && identities[1] != identities[2]);
        // They did cross together: a turn for each of their instants, and not one for each of them.
        let sounds = |nth: usize| simulation.source(publishers[nth].0).sounds_sent();
        let turns = simulation.node.stats().stage(Stage::CrossOut).calls;
        let instants = u64::from(sounds(0).max(sounds(1)));
        assert!(
            turns < instants + 50,
            "{turns} turns for {instants} instants"
        );
        simulation.finish();
    });
}

#[test]
fn a_publisher_that_changes_its_ssrc_is_followed_across() {
    let name = "a_publisher_that_changes_its_ssrc_is_followed_across";
    over_seeds(name, |seed| {
        let mut simulation = Simulation::new(seed, several(2));
        let style = style_of(&mut simulation);
        let (publisher, stream) = simulation.publish(good(), style);
        let receivers = [0, 1].map(|worker| simulation.subscribe_on(worker, good(), stream));
        simulation.run(millis(1_500));
        let source = &mut simulation.browser_mut(publisher).source;
        source.as_mut().expect("it publishes").change_ssrc();
        simulation.run(millis(1_500));
        stop(&mut simulation, publisher);
        simulation.run(millis(500));
        for receiver in receivers {
            let sink = simulation.sink(receiver);
            let due = due_pictures(&simulation, publisher, sink, Duration::ZERO);
            assert!(due.len() > 50, "only {} pictures", due.len());
            let is_shown = |number: &u32| sink.decoded.contains(number);
            assert!(due.iter().all(is_shown), "of both RTP streams");
            sink.check_order();
        }
        simulation.finish();
    });
}

fn style_of_number(seed: u64) -> Style {
    Style {
        announced: seed.is_multiple_of(2),
        ..STYLE
    }
}

#[test]
fn what_a_subscriber_lost_comes_from_its_own_worker() {
    over_seeds("what_a_subscriber_lost_comes_from_its_own_worker", |seed| {
        let mut simulation = Simulation::new(seed, several(2));
        let style = style_of(&mut simulation);
        let (publisher, stream) = simulation.publish(good(), style);
        let lossy = good().losing(Loss::Independent(50));
        let receiver = simulation.subscribe_on(1, lossy, stream);
        simulation.run(Duration::from_secs(8));
        let complete = complete_of_thousand(&simulation, publisher, receiver);
        assert!(complete >= 990, "{complete} ‰ complete");
        let sink = simulation.sink(receiver);
        assert!(sink.recovered > 10);
        sink.check_order();
        let resent = [0, 1].map(|worker| simulation.node.stats_of(worker).retransmissions_sent);
        assert!(resent[0] == 0 && resent[1] > 10, "{resent:?}");
        assert_eq!(
            simulation.source(publisher).resent,
            0,
            "it had lost nothing"
        );
        simulation.finish();
    });
}

#[test]
fn what_a_publisher_lost_is_asked_for_where_its_transport_is() {
    let name = "what_a_publisher_lost_is_asked_for_where_its_transport_is";
    over_seeds(name, |seed| {
        let mut simulation = Simulation::new(seed, several(2));
        let style = style_of(&mut simulation);
        let line = good().losing(Loss::Independent(50));
        let (publisher, stream) = simulation.publish(line, style);
        let receiver = simulation.subscribe_on(1, good(), stream);
        simulation.run(Duration::from_secs(8));
        let complete = complete_of_thousand(&simulation, publisher, receiver);
        assert!(complete >= 990, "{complete} ‰ complete");
        simulation.sink(receiver).check_order();
        assert!(simulation.source(publisher).resent > 10);
        let asked = [0, 1].map(|worker| simulation.node.stats_of(worker).nacks_sent);
        assert!(asked[0] > 10 && asked[1] == 0, "{asked:?}");
        simulation.finish();
    });
}

#[test]
fn a_storm_of_joins_on_all_workers_asks_for_few_key_frames() {
    let name = "a_storm_of_joins_on_all_workers_asks_for_few_key_frames";
    over_seeds(name, |seed| {
        let mut simulation = Simulation::new(seed, several(3));
        let style = Style {
            pictures: 10,
            sound: false,
            ..STYLE
        };
        let (publisher, stream) = simulation.publish(good(), style);
        simulation.run(millis(500));
        let mut crowd = Vec::new();
        for _ in 0..45 {
            let worker = simulation.rng.below(3) as u16;
            crowd.push(simulation.subscribe_on(worker, good(), stream));
            let pause = simulation.rng.below(30);
            simulation.run(millis(pause));
        }
        simulation.run(millis(1_500));
        let requests = &simulation.source(publisher).key_frame_requests;
        for (earlier, later) in requests.iter().zip(&requests[1..]) {
            let apart = *later - *earlier;
            assert!(apart >= millis(495), "two requests within {apart:?}");
        }
        let wishes = |worker| simulation.node.stats_of(worker).key_frame_wishes_sent;
        assert!(wishes(1) > 0 && wishes(2) > 0, "they crossed");
        for one in &crowd {
            let sink = simulation.sink(*one);
            let newest = simulation.source(publisher).taken.len() as u32;
            let shown = sink.newest().expect("everyone sees something");
            assert!(shown + 3 > newest, "{shown} of {newest}");
            sink.check_order();
        }
        simulation.finish();
    });
}

#[test]
fn without_slots_packets_are_dropped_and_counted_and_nobody_waits() {
    let name = "without_slots_packets_are_dropped_and_counted_and_nobody_waits";
    over_seeds(name, |seed| {
        let settings = Settings {
            loans: 1,
            ..several(2)
        };
        let mut simulation = Simulation::new(seed, settings);
        let style = style_of(&mut simulation);
        let (publisher, stream) = simulation.publish(good(), style);
        let at_home = simulation.subscribe_on(0, good(), stream);
        let away = simulation.subscribe_on(1, good(), stream);
        simulation.run(Duration::from_secs(4));
        let stats = simulation.node.stats();
        let dropped = stats.drops.get(Stage::CrossOut, DropReason::NoLoan);
        assert!(
            dropped > 50,
            "a picture has more parts than there are slots: {dropped}"
        );
        let wanted = stats.stage(Stage::CrossOut).packets_in;
        assert_eq!(wanted, crossed(&simulation, 0).0 + dropped);
        assert_eq!(complete_of_thousand(&simulation, publisher, at_home), 1_000);
        assert!(simulation.sink(away).sounds() > 100, "sounds fit into one");
        simulation.finish();
    });
}

#[test]
fn a_publisher_that_comes_again_is_seen_on_every_worker() {
    over_seeds(
        "a_publisher_that_comes_again_is_seen_on_every_worker",
        |seed| {
            let mut simulation = Simulation::new(seed, several(3));
            let style = style_of(&mut simulation);
            let (first, stream) = simulation.publish_on(0, good(), style);
            let receivers = [0, 1, 2].map(|worker| simulation.subscribe_on(worker, good(), stream));
            simulation.run(millis(1_500));
            let before = receivers.map(|one| simulation.sink(one).newest());
            assert!(before.iter().all(Option::is_some), "{before:?}");
            simulation.leave(first);
            let worker = simulation.rng.below(3) as u16;
            let pause = simulation.rng.below(100);
            simulation.run(millis(pause));
            let style = style_of(&mut simulation);
            // Its pictures are counted from zero again, so only their number tells.
            let pictures =
                |simulation: &Simulation| receivers.map(|one| simulation.sink(one).packets());
            let (count, again) = (
                pictures(&simulation),
                simulation.publish_as(stream, worker, good(), style),
            );
            simulation.run(millis(2_000));
            let after = pictures(&simulation);
            for (before, after) in count.into_iter().zip(after) {
                assert!(after > before + 60, "{before} packets, then {after}");
            }
            assert!(simulation.source(again).key_frame_requests.len() <= 4);
            simulation.finish();
        },
    );
}

#[test]
fn a_worker_that_stops_takes_only_its_own() {
    over_seeds("a_worker_that_stops_takes_only_its_own", |seed| {
        let mut simulation = Simulation::new(seed, several(2));
        let style = style_of(&mut simulation);
        let (publisher, stream) = simulation.publish(good(), style);
        let at_home = simulation.subscribe_on(0, good(), stream);
        let away = simulation.subscribe_on(1, good(), stream);
        simulation.run(Duration::from_secs(2));
        assert!(simulation.sink(away).newest().is_some());
        // Whichever has the publisher or the subscriber.
        let stops = (seed % 2) as u16;
        simulation.node.stop(stops);
        simulation.run(Duration::from_secs(3));
        let lent = simulation.node.crossing_of(1).slots_lent;
        if stops == 1 {
            assert_eq!(complete_of_thousand(&simulation, publisher, at_home), 1_000);
            let drops = &simulation.node.stats().drops;
            assert!(
                drops.get(Stage::CrossOut, DropReason::NoLoan) > 0,
                "the slots ran out"
            );
        } else {
            assert!(lent <= 256, "{lent} wait for the one that is gone");
        }
    });
}

/// Everything at once on three workers, drawn by lot; what holds always is asserted after every turn, and nothing is left.
#[test]
fn a_day_of_anything_across_workers() {
    over_seeds("a_day_of_anything_across_workers", |seed| {
        let mut simulation = Simulation::new(seed, several(3));
        let mut streams = Vec::new();
        let mut crowd: Vec<BrowserId> = Vec::new();
        for _ in 0..60 {
            let worker = simulation.rng.below(3) as u16;
            let line = Conditions {
                jitter: millis(simulation.rng.below(30)),
                ..good().losing(Loss::Independent(simulation.rng.below(100)))
            };
            let style = Style {
                pictures: 15,
                ..style_of(&mut simulation)
            };
            match simulation.rng.below(12) {
                0..=1 if streams.len() < 4 => {
                    let (publisher, stream) = simulation.publish_on(worker, line, style);
                    streams.push((publisher, stream));
                    crowd.push(publisher);
                }
                0..=6 if !streams.is_empty() && crowd.len() < 20 => {
                    let nth = simulation.rng.below(streams.len() as u64) as usize;
                    crowd.push(simulation.subscribe_on(worker, line, streams[nth].1));
                }
                7 if !streams.is_empty() => {
                    // A publisher comes again under its name, anywhere, perhaps at once.
                    let nth = simulation.rng.below(streams.len() as u64) as usize;
                    let (former, stream) = streams[nth];
                    simulation.leave(former);
                    let pause = simulation.rng.below(2);
                    simulation.run(millis(pause));
                    let publisher = simulation.publish_as(stream, worker, line, style);
                    streams[nth].0 = publisher;
                    crowd.push(publisher);
                }
                8..=9 if crowd.len() > 4 => {
                    let nth = simulation.rng.below(crowd.len() as u64) as usize;
                    let gone = crowd.swap_remove(nth);
                    simulation.leave(gone);
                }
                10 if crowd.len() > 4 => {
                    let nth = simulation.rng.below(crowd.len() as u64) as usize;
                    simulation.vanish(crowd[nth]);
                }
                _ => {}
            }
            let pause = simulation.rng.below(200);
            simulation.run(millis(pause));
        }
        let all: u64 = (0..3).map(|worker| crossed(&simulation, worker).0).sum();
        assert!(all > 500, "only {all} packets crossed");
        simulation.finish();
    });
}
