//! Viewers that are given another encoding, or more and fewer temporal layers, all the time.

use clock::Duration;
use sfu::api::LayerLimit;

use super::{Call, Case, GOOD, Length, Measure, Promise, REST, SIMULCAST, WARM_UP, millis, ms};
use crate::conditions::{Conditions, Loss};
use crate::encoder::Encoder;
use crate::media::Style;
use crate::report::Report;
use crate::simulation::{Settings, Simulation};

pub(super) const CASES: [Case; 3] = [
    Case {
        name: "switches",
        what: "300 forced layer switches, one a second",
        promise: Promise::Holds,
        run: |seed, length, settings| {
            let switched = switches(seed, length, settings, GOOD, |_| millis(1_000));
            let mut measures = switched.without_loss();
            let longest = ms(switched.report.longest);
            measures.push(Measure::at_most("longest freeze", longest, "ms", 400.0));
            measures
        },
        control: None,
    },
    Case {
        name: "switches-hasty",
        what: "300 forced layer switches, the next after 20 to 1500 ms",
        promise: Promise::Holds,
        run: |seed, length, settings| {
            let pause = |dice| millis(20 + dice % 1_480);
            let switched = switches(seed, length, settings, GOOD, pause);
            let mut measures = switched.without_loss();
            measures.push(switched.longest());
            measures
        },
        control: None,
    },
    Case {
        name: "switches-loss",
        what: "300 forced layer switches, the next after 20 to 1500 ms, on a viewer's path that loses 2 %",
        promise: Promise::Holds,
        run: |seed, length, settings| {
            let line = GOOD.losing(Loss::Independent(20));
            let pause = |dice| millis(20 + dice % 1_480);
            let switched = switches(seed, length, settings, line, pause);
            let mut measures = switched.always();
            measures.push(Measure::at_most("missing", switched.missing, "", 0.0));
            measures.push(switched.longest());
            measures
        },
        control: None,
    },
];

/// What was made of them.
struct Switched {
    report: Report,
    /// Changes of what was shown, of encodings.
    changes: usize,
    /// Packets that the viewer asked for once more: what it takes for a hole.
    nacked: f64,
    /// Key frames that it asked for itself.
    asked: f64,
    /// Packets that it missed in the end.
    missing: f64,
}

/// A viewer is limited to another encoding and other temporal layers, again and again.
fn switches(
    seed: u64,
    length: Length,
    settings: Settings,
    line: Conditions,
    pause: impl Fn(u64) -> Duration,
) -> Switched {
    let style = Style {
        encoder: Encoder::Obedient {
            encodings: 3,
            layers: 3,
        },
        ..SIMULCAST
    };
    let simulation = Simulation::new(seed, settings);
    let mut call = Call::playing(simulation, style, 1, line);
    let viewer = call.viewers[0];
    call.simulation.run(WARM_UP);
    let from = call.simulation.now();
    let before = call.simulation.viewer(viewer);
    let (nacked, asked) = (before.nacked, before.key_frame_requests);
    let first = before.shown().len();
    let mut encoding = 2;
    let count = match length {
        Length::Short => 40,
        Length::Full => 300,
    };
    for _ in 0..count {
        let rng = &mut call.simulation.rng;
        encoding = (encoding + 1 + rng.below(2) as u8) % 3;
        let temporal = rng.below(3) as u8;
        let next = pause(rng.below(1 << 32));
        let limit = LayerLimit {
            encoding: Some(encoding),
            temporal,
        };
        call.simulation.limit(viewer, limit);
        call.simulation.run(next);
    }
    let until = call.simulation.now();
    call.simulation.limit(viewer, LayerLimit::NONE);
    // What is missing then will never come.
    call.set_path(viewer, GOOD, GOOD);
    call.simulation.run(REST);
    let after = call.simulation.viewer(viewer);
    let shown = after.shown()[first..].windows(2);
    Switched {
        report: call.report(0, from, until),
        changes: shown
            .filter(|two| two[0].encoding != two[1].encoding)
            .count(),
        nacked: (after.nacked - nacked) as f64,
        asked: (after.key_frame_requests - asked) as f64,
        missing: after.missing() as f64,
    }
}

impl Switched {
    fn always(&self) -> Vec<Measure> {
        vec![
            Measure::at_most("decoder errors", self.report.errors as f64, "", 0.0),
            Measure::at_most("key frames asked for", self.asked, "", 0.0),
            Measure::any("changes that were shown", self.changes as f64, ""),
        ]
    }

    fn without_loss(&self) -> Vec<Measure> {
        let mut measures = self.always();
        measures.push(Measure::at_most("asked for again", self.nacked, "", 0.0));
        measures
    }

    /// Whoever switches in haste asks for key frames of all encodings in a row, and a camera that owes for so many leaves out
    /// pictures.
    fn longest(&self) -> Measure {
        Measure::any("longest freeze", ms(self.report.longest), "ms")
    }
}
