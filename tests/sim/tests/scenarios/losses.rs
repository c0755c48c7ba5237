//! Paths that lose, reorder and repeat.

use clock::Duration;
use sim::{BrowserId, Conditions, Loss, Settings, Simulation, over_seeds};

use crate::{complete_of_thousand, due_pictures, good, millis, style_of};

/// A call over such a line both ways. Returns who published, and who subscribed.
fn call(seed: u64, line: Conditions, nack: bool) -> (Simulation, BrowserId, BrowserId) {
    let settings = Settings {
        nack,
        ..Settings::default()
    };
    let mut simulation = Simulation::new(seed, settings);
    let style = style_of(&mut simulation);
    let (publisher, stream) = simulation.publish(line, style);
    let receiver = simulation.subscribe(line, stream);
    simulation.run(Duration::from_secs(8));
    (simulation, publisher, receiver)
}

fn check_loss(seed: u64, loss: Loss, at_least: usize, without_at_most: usize) {
    let (mut simulation, publisher, receiver) = call(seed, good().losing(loss), true);
    let complete = complete_of_thousand(&simulation, publisher, receiver);
    let sink = simulation.sink(receiver);
    assert!(sink.recovered + simulation.source(publisher).resent > 0);
    sink.check_order();
    assert_eq!(sink.out_of_sync, 0);
    simulation.finish();

    let (mut simulation, publisher, receiver) = call(seed, good().losing(loss), false);
    let without = complete_of_thousand(&simulation, publisher, receiver);
    assert_eq!(simulation.sink(receiver).recovered, 0);
    assert_eq!(simulation.source(publisher).nacked, 0);
    simulation.sink(receiver).check_order();
    simulation.finish();

    println!("seed {seed}: {complete} ‰ complete with NACK, {without} ‰ without");
    assert!(complete >= at_least, "{complete} ‰ with NACK");
    assert!(without <= without_at_most, "{without} ‰ without NACK");
}

#[test]
fn nack_repairs_five_percent_of_loss() {
    over_seeds("nack_repairs_five_percent_of_loss", |seed| {
        check_loss(seed, Loss::Independent(50), 990, 900);
    });
}

#[test]
fn nack_repairs_bursts_of_loss() {
    let bursts = Loss::Bursts {
        good: millis(800),
        bad: millis(80),
        lost: 800,
    };
    over_seeds("nack_repairs_bursts_of_loss", |seed| {
        check_loss(seed, bursts, 980, 975);
    });
}

#[test]
fn reordering_and_repetition_lose_nothing() {
    over_seeds("reordering_and_repetition_lose_nothing", |seed| {
        let line = Conditions {
            reordered: 100,
            held_back: millis(40),
            duplicated: 50,
            jitter: millis(5),
            ..good()
        };
        let (mut simulation, publisher, receiver) = call(seed, line, true);
        let sink = simulation.sink(receiver);
        let due = due_pictures(&simulation, publisher, sink, millis(1_000));
        // Nothing is missing for ever. (A picture may come whole after a later key frame; then nobody shows it.)
        let missing: Vec<_> = due.iter().filter(|number| !sink.has(**number)).collect();
        assert!(missing.is_empty(), "never whole: {missing:?}");
        sink.check_order();
        assert!(
            simulation.browser(receiver).unopened > 5,
            "repeated datagrams are replays"
        );
        let requests = simulation.source(publisher).key_frame_requests.len();
        assert!(requests <= 2, "{requests} key frames for nothing");
        simulation.finish();
    });
}

#[test]
fn a_line_that_breaks_for_a_while_is_healed() {
    over_seeds("a_line_that_breaks_for_a_while_is_healed", |seed| {
        let mut simulation = Simulation::new(seed, Settings::default());
        let style = style_of(&mut simulation);
        let (publisher, stream) = simulation.publish(good(), style);
        let receiver = simulation.subscribe(good(), stream);
        simulation.run(Duration::from_secs(2));
        // Longer than anything is kept for.
        let cut = good().losing(Loss::Independent(1_000));
        let broken = [publisher, receiver][simulation.rng.below(2) as usize];
        let host = simulation.browser(broken).host;
        simulation.network().set_conditions(host, cut, cut);
        let pause = 2_000 + simulation.rng.below(2_000);
        simulation.run(millis(pause));
        simulation.network().set_conditions(host, good(), good());
        let healed_at = simulation.now();
        simulation.run(millis(2_500));
        let sink = simulation.sink(receiver);
        let late = simulation.now() - (healed_at + millis(1_500));
        let shown_again = simulation
            .source(publisher)
            .taken
            .iter()
            .filter(|(_, (at, _))| {
                *at >= healed_at + millis(1_500) && *at + late / 2 <= simulation.now()
            })
            .all(|(number, _)| sink.decoded.contains(number));
        assert!(shown_again, "pictures go on after the line is healed");
        sink.check_order();
        assert!(
            simulation.closed.is_empty(),
            "consent outlives a short break"
        );
        simulation.finish();
    });
}
