//! Applications that say how much a stream may take.

use sfu::discard::DropReason;

use super::{Case, GOOD, Length, Measure, Promise, REST, SIMULCAST, WARM_UP, ms, seconds};
use crate::encoder::Encoder;
use crate::media::Style;
use crate::report::Report;
use crate::simulation::{BrowserId, Settings, Simulation};

pub(super) const CASES: [Case; 4] = [
    Case {
        name: "ceiling-obeyed",
        what: "a publisher may send 700 kbit/s, and keeps to it",
        promise: Promise::Holds,
        run: |seed, length, settings| {
            let published = publish(seed, length, settings, true);
            let mut measures = published.measures(700.0);
            measures.extend([
                Measure::at_most("dropped above the ceiling", published.dropped, "", 0.0),
                Measure::at_least("of the ceiling is used", published.made / 7.0, "%", 75.0),
                Measure::at_most("longest freeze", published.longest, "ms", 400.0),
            ]);
            measures
        },
        control: None,
    },
    Case {
        name: "ceiling-ignored",
        what: "a publisher may send 700 kbit/s, and goes on with more",
        promise: Promise::Holds,
        run: |seed, length, settings| {
            let published = publish(seed, length, settings, false);
            let mut measures = published.measures(700.0);
            measures.extend([
                Measure::at_least("dropped above the ceiling", published.dropped, "", 100.0),
                Measure::at_most("top encoding shown", published.top, "%", 0.0),
                Measure::at_most("longest freeze", published.longest, "ms", 400.0),
            ]);
            measures
        },
        control: None,
    },
    Case {
        name: "ceiling-sent",
        what: "one of three viewers is sent 500 kbit/s of a picture at most",
        promise: Promise::Holds,
        run: sent,
        control: None,
    },
    Case {
        name: "ceiling-thinned",
        what: "a viewer is sent 300 kbit/s at most of a picture with one encoding and three temporal layers",
        promise: Promise::Holds,
        run: thinned,
        control: None,
    },
];

/// Of the rate of a picture, how many percent of RTP come with headers, and of sound in kbit/s.
const WITH_HEADERS: f64 = 1.06;
const SOUND: f64 = 65.0;

fn duration(length: Length) -> clock::Duration {
    match length {
        Length::Short => seconds(15),
        Length::Full => seconds(60),
    }
}

/// What became of a publisher with a ceiling, and of another one beside it.
struct Published {
    /// Most that a viewer got in a second, in kbit/s.
    most: f64,
    /// What the publisher's encoder was allowed, on average, in kbit/s.
    made: f64,
    dropped: f64,
    top: f64,
    longest: f64,
    errors: f64,
    shown: f64,
    /// What the other's viewer missed.
    other: Report,
}

fn publish(seed: u64, length: Length, settings: Settings, obeys: bool) -> Published {
    let mut simulation = Simulation::new(seed, settings);
    let (other, beside) = simulation.publish(GOOD, SIMULCAST);
    let neighbour = simulation.watch(GOOD, beside);
    simulation.bandwidth_max = Some(700_000);
    let (publisher, stream) = simulation.publish(GOOD, SIMULCAST);
    simulation.bandwidth_max = None;
    let viewer = simulation.watch(GOOD, stream);
    simulation.browser_mut(publisher).source_mut().heeds_remb = obeys;
    simulation.run(WARM_UP);
    if !obeys {
        // It may save up for some seconds, and then encodings go.
        simulation.run(seconds(10));
    }
    let from = simulation.now();
    simulation.run(duration(length));
    let until = simulation.now();
    simulation.run(REST);
    let report = simulation.report(publisher, viewer, from, until);
    let dropped = simulation.node.stats().drops.of(DropReason::AboveCeiling);
    Published {
        most: most(&simulation, viewer, from, until),
        made: made(&simulation, publisher, from, until),
        dropped: dropped as f64,
        top: report.percent_of_encoding(2),
        longest: ms(report.longest),
        errors: report.errors as f64,
        shown: report.shown_percent(),
        other: simulation.report(other, neighbour, from, until),
    }
}

/// What a publisher's encoder was allowed on average, all encodings together, in kbit/s.
fn made(
    simulation: &Simulation,
    publisher: BrowserId,
    from: clock::Instant,
    until: clock::Instant,
) -> f64 {
    let rates = &simulation.source(publisher).rates;
    let then = rates.iter().filter(|(at, ..)| (from..until).contains(at));
    let sums: Vec<u64> = then.map(|(_, _, rates)| rates.iter().sum()).collect();
    sums.iter().sum::<u64>() as f64 / 1e3 / sums.len().max(1) as f64
}

/// The most that a viewer got in a second, in kbit/s.
fn most(
    simulation: &Simulation,
    viewer: BrowserId,
    from: clock::Instant,
    until: clock::Instant,
) -> f64 {
    let mut seconds = std::collections::BTreeMap::<u128, usize>::new();
    for (at, bytes) in &simulation.viewer(viewer).received {
        if (from..until).contains(at) {
            *seconds.entry((*at - from).as_millis() / 1_000).or_default() += bytes * 8;
        }
    }
    seconds.into_values().max().unwrap_or(0) as f64 / 1e3
}

impl Published {
    fn measures(&self, kbit: f64) -> Vec<Measure> {
        let ceiling = kbit * 1.25 * WITH_HEADERS + SOUND;
        vec![
            Measure::at_most("most in a second", self.most, "kbit/s", ceiling),
            Measure::at_most("decoder errors", self.errors, "", 0.0),
            Measure::at_least("pictures shown", self.shown, "%", 97.0),
            Measure::at_least(
                "shown of another stream",
                self.other.shown_percent(),
                "%",
                100.0,
            ),
            Measure::at_most("its freezes", self.other.freezes as f64, "", 0.0),
        ]
    }
}

fn sent(seed: u64, length: Length, settings: Settings) -> Vec<Measure> {
    let mut simulation = Simulation::new(seed, settings);
    let (publisher, stream) = simulation.publish(GOOD, SIMULCAST);
    let others = [0; 2].map(|_| simulation.watch(GOOD, stream));
    simulation.bandwidth_max = Some(500_000);
    let viewer = simulation.watch(GOOD, stream);
    simulation.run(WARM_UP);
    let from = simulation.now();
    simulation.run(duration(length));
    let until = simulation.now();
    simulation.run(REST);
    let report = simulation.report(publisher, viewer, from, until);
    let others = others.map(|other| simulation.report(publisher, other, from, until));
    let top = others.iter().map(|other| other.percent_of_encoding(2));
    let rate = report.rate as f64 / 1e3;
    vec![
        Measure::at_most("rate", rate, "kbit/s", 500.0 * WITH_HEADERS + SOUND),
        Measure::at_least("middle encoding", report.percent_of_encoding(1), "%", 100.0),
        Measure::at_least("pictures shown", report.shown_percent(), "%", 99.0),
        Measure::at_most("longest freeze", ms(report.longest), "ms", 400.0),
        Measure::at_least(
            "top encoding for others",
            top.fold(100.0, f64::min),
            "%",
            100.0,
        ),
    ]
}

fn thinned(seed: u64, length: Length, settings: Settings) -> Vec<Measure> {
    let mut simulation = Simulation::new(seed, settings);
    // The way to the node leaves some 450 kbit/s for the picture.
    let line = GOOD.limited(crate::Rate::kbit(600));
    let style = Style {
        encoder: Encoder::Obedient {
            encodings: 1,
            layers: 3,
        },
        ..SIMULCAST
    };
    let (publisher, stream) = simulation.publish(line, style);
    let other = simulation.watch(GOOD, stream);
    simulation.bandwidth_max = Some(300_000);
    let viewer = simulation.watch(GOOD, stream);
    simulation.run(WARM_UP + seconds(10));
    let from = simulation.now();
    simulation.run(duration(length));
    let until = simulation.now();
    simulation.run(REST);
    let report = simulation.report(publisher, viewer, from, until);
    let other = simulation.report(publisher, other, from, until);
    let rate = report.rate as f64 / 1e3;
    vec![
        Measure::at_most("rate", rate, "kbit/s", 330.0 * WITH_HEADERS + SOUND),
        Measure::at_least("pictures shown", report.shown_percent(), "%", 20.0),
        Measure::at_most("longest freeze", ms(report.longest), "ms", 1_000.0),
        Measure::at_most("decoder errors", report.errors as f64, "", 0.0),
        Measure::any("rate of another", other.rate as f64 / 1e3, "kbit/s"),
        Measure::at_least("shown to another", other.shown_percent(), "%", 97.0),
    ]
}
