//! Calls in a simulated world, each with several seeds.

mod browsers;
mod calls;
mod crossings;
mod crowds;
mod departures;
mod losses;
mod overload;
mod quality;
mod strangers;

use clock::Duration;
use sim::{BrowserId, Conditions, Encoder, Simulation, Sink, Style};

/// Twenty-five pictures a second and sound.
const STYLE: Style = Style {
    pictures: 25,
    sound: true,
    announced: true,
    first_sequence: 100,
    encoder: Encoder::Careless,
};

const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// A good line: 20 ms.
const fn good() -> Conditions {
    Conditions::delayed(millis(20))
}

/// A style that differs from seed to seed: SSRCs announced or not, sequence numbers that wrap during the call or not.
fn style_of(simulation: &mut Simulation) -> Style {
    let wraps = simulation.rng.below(2) == 0;
    Style {
        announced: simulation.rng.below(2) == 0,
        first_sequence: if wraps {
            65_300 + simulation.rng.below(100) as u16
        } else {
            simulation.rng.below(1 << 15) as u16
        },
        ..STYLE
    }
}

/// Nothing that was published over a good network is missing or out of step, and nothing was asked for or sent again.
fn check_seen_and_heard(simulation: &Simulation, publisher: BrowserId, receiver: BrowserId) {
    let sink = simulation.sink(receiver);
    let due = due_pictures(simulation, publisher, sink, Duration::ZERO);
    assert!(due.len() > 85, "only {} pictures", due.len());
    let missing: Vec<_> = due
        .iter()
        .filter(|number| !sink.decoded.contains(number))
        .collect();
    assert!(missing.is_empty(), "never shown: {missing:?}");
    assert!(sink.sounds() > 170, "{} sounds", sink.sounds());
    sink.check_order();
    assert_eq!((sink.nacked, sink.recovered, sink.needless), (0, 0, 0));
    assert_eq!(sink.out_of_sync, 0, "sender reports keep lips in step");
    assert!(sink.in_sync > 300);
}

/// Numbers of the pictures that were taken at least `late` ago and no earlier than the first one that somebody could show.
fn due_pictures(
    simulation: &Simulation,
    publisher: BrowserId,
    sink: &Sink,
    late: Duration,
) -> Vec<u32> {
    let first = sink.first().unwrap_or(u32::MAX);
    let taken = &simulation.source(publisher).taken;
    let now = simulation.now();
    let due = taken
        .iter()
        .filter(|(number, (at, _))| **number >= first && *at + late <= now);
    due.map(|(number, _)| *number).collect()
}

/// How many of a thousand pictures came whole, of those that were due.
fn complete_of_thousand(
    simulation: &Simulation,
    publisher: BrowserId,
    subscriber: BrowserId,
) -> usize {
    let sink = simulation.sink(subscriber);
    let due = due_pictures(simulation, publisher, sink, millis(1_500));
    assert!(due.len() > 30, "only {} pictures were due", due.len());
    let complete = due.iter().filter(|number| sink.has(**number)).count();
    complete * 1_000 / due.len()
}
