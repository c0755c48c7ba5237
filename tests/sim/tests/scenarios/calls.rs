//! What must work when nothing is wrong, and that a run can be repeated.

use clock::Duration;
use sim::{Conditions, Loss, Settings, Simulation, over_seeds};

use crate::{check_seen_and_heard, good, millis, style_of};

#[test]
fn a_clean_call_delivers_everything_in_order() {
    over_seeds("a_clean_call_delivers_everything_in_order", |seed| {
        let mut simulation = Simulation::new(seed, Settings::default());
        let style = style_of(&mut simulation);
        let mut line = good();
        line.jitter = millis(simulation.rng.below(15));
        let (publisher, stream) = simulation.publish(line, style);
        let receivers = [
            simulation.subscribe(line, stream),
            simulation.subscribe(good(), stream),
        ];
        simulation.run(Duration::from_secs(4));
        simulation
            .browser_mut(publisher)
            .source
            .as_mut()
            .expect("it publishes")
            .stop();
        simulation.run(millis(500));
        for receiver in receivers {
            check_seen_and_heard(&simulation, publisher, receiver);
            assert_eq!(simulation.browser(receiver).unopened, 0);
        }
        let source = simulation.source(publisher);
        assert_eq!((source.nacked, source.resent), (0, 0));
        assert!(source.feedback > 30, "{} feedback", source.feedback);
        simulation.finish();
        let byes = receivers.map(|receiver| simulation.sink(receiver).byes);
        assert_eq!(byes, [0; 2], "goodbyes are still on their way");
        simulation.run(millis(100));
        assert!(receivers.iter().all(|one| simulation.sink(*one).byes > 0));
    });
}

/// A call in which everything that can happen to a datagram happens; what is left of it is one number.
fn trace(seed: u64) -> (u64, u64) {
    let mut simulation = Simulation::new(seed, Settings::default());
    let style = style_of(&mut simulation);
    let line = Conditions {
        loss: Loss::Independent(50),
        delay: millis(30),
        jitter: millis(10),
        reordered: 50,
        held_back: millis(20),
        duplicated: 20,
        rate: None,
    };
    let (publisher, stream) = simulation.publish(line, style);
    let receiver = simulation.subscribe(line, stream);
    simulation.run(Duration::from_secs(2));
    simulation.move_browser(publisher);
    simulation.vanish(receiver);
    simulation.subscribe(line, stream);
    simulation.run(Duration::from_secs(2));
    simulation.finish();
    let protected = simulation.network().oracle().looked_at();
    (simulation.network().trace(), protected)
}

#[test]
fn a_seed_repeats_itself_exactly() {
    over_seeds("a_seed_repeats_itself_exactly", |seed| {
        let first = trace(seed);
        assert!(first.1 > 150, "{} packets", first.1);
        assert_eq!(trace(seed), first);
        assert_ne!(trace(seed + 1_000), first);
    });
}
