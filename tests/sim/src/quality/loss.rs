//! Paths that lose: at random, in bursts, and everything for a while.

use super::{Call, Case, FAR, GOOD, Length, Measure, Promise, REST, WARM_UP, millis, ms, seconds};
use crate::conditions::{Conditions, Loss};
use crate::report::Report;
use crate::simulation::Settings;

pub(super) const CASES: [Case; 5] = [
    Case {
        name: "loss-5",
        what: "5 % random loss both ways, 60 ms round trip, on a viewer's path",
        promise: Promise::Holds,
        run: |seed, length, settings| {
            let report = lossy(seed, length, settings, Loss::Independent(50), false).0;
            watched(&report, 97.0)
        },
        control: Some(("NACK off", without_nack)),
    },
    Case {
        name: "loss-5-everywhere",
        what: "5 % random loss both ways, 60 ms round trip, on the publisher's path and a viewer's",
        promise: Promise::Holds,
        run: |seed, length, settings| {
            let report = lossy(seed, length, settings, Loss::Independent(50), true).0;
            watched(&report, 97.0)
        },
        control: Some(("NACK off", without_nack)),
    },
    Case {
        name: "loss-bursts",
        what: "10 % loss in bursts of three both ways on a viewer's path",
        promise: Promise::Holds,
        run: |seed, length, settings| {
            let loss = Loss::Runs {
                share: 100,
                mean: 3,
            };
            let (report, recovered) = lossy(seed, length, settings, loss, false);
            vec![
                Measure::at_least("pictures shown", report.shown_percent(), "%", 92.0),
                Measure::at_most("picture again after it ends", recovered, "ms", 1_000.0),
                Measure::any("time frozen", report.frozen_percent(), "%"),
                Measure::any("sound concealed", report.concealed, "%"),
            ]
        },
        control: Some(("NACK off", without_nack)),
    },
    Case {
        name: "blackout",
        what: "nothing passes a viewer's path for 2 s",
        promise: Promise::Holds,
        run: blackout_of_a_viewer,
        control: None,
    },
    Case {
        name: "blackout-publisher",
        what: "nothing passes the publisher's path for 2 s",
        promise: Promise::Holds,
        run: blackout_of_the_publisher,
        control: None,
    },
];

fn without_nack(settings: &mut Settings) {
    settings.nack = false;
}

fn watched(report: &Report, shown: f64) -> Vec<Measure> {
    vec![
        Measure::at_least("pictures shown", report.shown_percent(), "%", shown),
        Measure::at_most("time frozen", report.frozen_percent(), "%", 1.0),
        // Lost sound stays lost: there is no NACK for it, and no redundant encoding (RFC 2198).
        Measure::at_most("sound concealed", report.concealed, "%", 3.0),
        Measure::any("delay p95", ms(report.delay), "ms"),
    ]
}

/// A call on a path that loses, and how long after the loss a picture came, in milliseconds.
fn lossy(
    seed: u64,
    length: Length,
    settings: Settings,
    loss: Loss,
    everywhere: bool,
) -> (Report, f64) {
    let mut call = Call::new(seed, settings, 1, FAR);
    call.simulation.run(WARM_UP);
    let line = FAR.losing(loss);
    call.set_path(call.viewers[0], line, line);
    if everywhere {
        call.set_path(call.publisher, line, line);
    }
    // Before a jitter buffer has heard of loss it may freeze once, which is much of a short time.
    call.simulation.run(match length {
        Length::Short => seconds(2),
        Length::Full => seconds(0),
    });
    let from = call.simulation.now();
    call.simulation.run(match length {
        Length::Short => seconds(25),
        Length::Full => seconds(60),
    });
    let until = call.simulation.now();
    call.set_path(call.viewers[0], FAR, FAR);
    call.set_path(call.publisher, FAR, FAR);
    call.simulation.run(REST);
    let report = call.report(0, from, until);
    assert_eq!(report.errors, 0, "no decoder was misled");
    let recovered = ms(call.shown_after(0, until));
    (report, recovered)
}

const CUT: Conditions = GOOD.losing(Loss::All);

fn blackout_of_a_viewer(seed: u64, _: Length, settings: Settings) -> Vec<Measure> {
    let mut call = Call::new(seed, settings, 3, GOOD);
    call.simulation.run(WARM_UP);
    let from = call.simulation.now();
    call.set_path(call.viewers[0], CUT, CUT);
    call.simulation.run(seconds(2));
    call.set_path(call.viewers[0], GOOD, GOOD);
    let healed = call.simulation.now();
    call.simulation.run(seconds(5));
    let until = call.simulation.now();
    call.simulation.run(REST);
    let back = ms(call.shown_after(0, healed + millis(1)));
    let after = call.report(0, healed + seconds(1), until);
    let others = [1, 2].map(|other| call.report(other, from, until));
    let shown = others.iter().map(Report::shown_percent);
    vec![
        Measure::at_most("picture again", back, "ms", 1_000.0),
        Measure::at_least("pictures shown then", after.shown_percent(), "%", 98.0),
        Measure::at_least("shown to others", shown.fold(100.0, f64::min), "%", 100.0),
        Measure::at_most("freezes of others", freezes(&others), "", 0.0),
    ]
}

fn blackout_of_the_publisher(seed: u64, _: Length, settings: Settings) -> Vec<Measure> {
    let mut call = Call::new(seed, settings, 3, GOOD);
    call.simulation.run(WARM_UP);
    call.set_path(call.publisher, CUT, CUT);
    call.simulation.run(seconds(2));
    call.set_path(call.publisher, GOOD, GOOD);
    let healed = call.simulation.now();
    call.simulation.run(seconds(5));
    let until = call.simulation.now();
    call.simulation.run(REST);
    let back = (0..3).map(|viewer| ms(call.shown_after(viewer, healed + millis(1))));
    let after = [0, 1, 2].map(|viewer| call.report(viewer, healed + seconds(1), until));
    let shown = after.iter().map(Report::shown_percent);
    vec![
        Measure::at_most("picture again", back.fold(0.0, f64::max), "ms", 1_000.0),
        Measure::at_least(
            "pictures shown then",
            shown.fold(100.0, f64::min),
            "%",
            98.0,
        ),
    ]
}

fn freezes(reports: &[Report]) -> f64 {
    reports.iter().map(|report| report.freezes).sum::<usize>() as f64
}
