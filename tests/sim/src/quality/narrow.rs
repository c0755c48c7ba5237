//! Ways that carry less than everybody's lowest encoding: sound goes on, and pictures are paused until they fit.

use clock::{Duration, Instant};

use super::{
    Call, Case, FROZEN, GOOD, Length, Measure, Promise, SIMULCAST, WARM_UP, ms, seconds, unharmed,
    waited,
};
use crate::conditions::{Loss, Rate};
use crate::media::Style;
use crate::report::Report;
use crate::simulation::{BrowserId, Settings, Simulation};
use sfu::api::ConnectionId;

pub(super) const CASES: [Case; 3] = [
    Case {
        name: "narrow-100",
        what: "one of three viewers limited to 100 kbit/s, with sound",
        promise: Promise::Holds,
        run: hardly_sound,
        control: FROZEN,
    },
    Case {
        name: "narrow-six",
        what: "six subscriptions of one browser behind 500 kbit/s, four with sound",
        promise: Promise::Holds,
        run: six_behind_little,
        control: FROZEN,
    },
    Case {
        name: "narrow-dark",
        what: "nothing passes the way to a viewer limited to 250 kbit/s for 10.3 s",
        promise: Promise::Holds,
        run: dark_for_long,
        control: FROZEN,
    },
];

/// Most sounds of a hundred that may have to be invented.
const CONCEALED: f64 = 3.0;

fn length_of(length: Length) -> clock::Duration {
    match length {
        Length::Short => seconds(10),
        Length::Full => seconds(30),
    }
}

fn hardly_sound(seed: u64, length: Length, settings: Settings) -> Vec<Measure> {
    let mut call = Call::estimating(seed, settings, 3, GOOD);
    call.simulation.run(WARM_UP);
    let began = call.simulation.now();
    call.set_path(call.viewers[0], GOOD, GOOD.limited(Rate::kbit(100)));
    call.simulation.run(seconds(5));
    let settled = call.simulation.now();
    call.simulation.run(length_of(length));
    let until = call.simulation.now();
    call.set_path(call.viewers[0], GOOD, GOOD);
    call.simulation.run(seconds(12));
    let report = call.report(0, settled, until);
    let others = [1, 2].map(|other| call.report(other, began, until));
    let host = call.simulation.browser(call.viewers[0]).host;
    let back = back_after(&call.simulation, call.viewers[0], until);
    let mut measures = vec![
        Measure::at_most("sound concealed", report.concealed, "%", CONCEALED),
        Measure::at_most(
            "queueing p95",
            waited(&call.simulation, host, settled, until),
            "ms",
            150.0,
        ),
        Measure::at_most("above the base", above_base(&report), "%", 0.0),
        Measure::any("pictures shown", report.shown_percent(), "%"),
        Measure::at_most("picture again", back, "s", 10.0),
    ];
    measures.extend(unharmed(&others));
    measures
}

fn six_behind_little(seed: u64, length: Length, settings: Settings) -> Vec<Measure> {
    let mut simulation = Simulation::new(seed, settings);
    // Two of them have switched their microphones off: six sounds take 370 kbit/s, and no picture would fit beside them.
    let streams = [0, 1, 2, 3, 4, 5].map(|nth| {
        let style = Style {
            sound: nth % 3 > 0,
            ..SIMULCAST
        };
        simulation.publish(GOOD, style)
    });
    simulation.run(WARM_UP);
    simulation.estimates = true;
    simulation.connection = Some(ConnectionId(1));
    let bottleneck = simulation.network().add_bottleneck(Rate::kbit(500));
    let viewers = streams.map(|(_, stream)| {
        let viewer = simulation.watch(GOOD, stream);
        let host = simulation.browser(viewer).host;
        let mut network = simulation.network();
        network.put_behind(host, None, Some(bottleneck));
        viewer
    });
    simulation.run(seconds(6));
    let settled = simulation.now();
    simulation.run(length_of(length));
    let until = simulation.now();
    simulation.network().set_rate(bottleneck, None);
    simulation.run(seconds(12));
    let reports: Vec<_> = (0..6)
        .map(|nth| simulation.report(streams[nth].0, viewers[nth], settled, until))
        .collect();
    let host = simulation.browser(viewers[0]).host;
    let concealed = reports.iter().map(|report| report.concealed);
    let shown: Vec<_> = reports.iter().map(Report::shown_percent).collect();
    let back = viewers.iter();
    let back = back.map(|viewer| back_after(&simulation, *viewer, until));
    vec![
        Measure::at_most(
            "most sound concealed",
            concealed.fold(0.0, f64::max),
            "%",
            CONCEALED,
        ),
        Measure::at_most(
            "queueing p95",
            waited(&simulation, host, settled, until),
            "ms",
            150.0,
        ),
        Measure::at_least(
            "most pictures shown",
            shown.iter().copied().fold(0.0, f64::max),
            "%",
            90.0,
        ),
        Measure::any(
            "of all pictures shown",
            shown.iter().sum::<f64>() / 6.0,
            "%",
        ),
        Measure::at_most("all pictures again", back.fold(0.0, f64::max), "s", 10.0),
    ]
}

/// Where consent was last given long before the cut it ends meanwhile (RFC 7675), and another seed is taken: that is not the case.
fn dark_for_long(seed: u64, length: Length, settings: Settings) -> Vec<Measure> {
    let mut seeds = (0_u64..10).map(|nth| seed + 1_000 * nth);
    let measures = seeds.find_map(|seed| dark(seed, length, settings));
    measures.expect("of ten consents one is younger than some seconds")
}

fn dark(seed: u64, length: Length, settings: Settings) -> Option<Vec<Measure>> {
    let mut call = Call::estimating(seed, settings, 2, GOOD);
    call.simulation.run(WARM_UP);
    let line = GOOD.limited(Rate::kbit(250));
    call.set_path(call.viewers[0], GOOD, line);
    call.simulation.run(seconds(8));
    let cut = Loss::All;
    call.set_path(call.viewers[0], GOOD.losing(cut), line.losing(cut));
    // Longer than anything is believed without a word, and shorter than consent lives.
    call.simulation.run(Duration::from_millis(10_300));
    call.set_path(call.viewers[0], GOOD, line);
    let healed = call.simulation.now();
    if !call.simulation.closed.is_empty() {
        return None;
    }
    call.simulation.run(length_of(length));
    let until = call.simulation.now();
    call.simulation.run(seconds(2));
    let report = call.report(0, healed + seconds(2), until);
    let at_once = call.report(0, healed, healed + seconds(2));
    let host = call.simulation.browser(call.viewers[0]).host;
    let back = back_after(&call.simulation, call.viewers[0], healed);
    Some(vec![
        Measure::at_most("above the base", above_base(&report), "%", 0.0),
        Measure::at_most("above the base at once", above_base(&at_once), "%", 0.0),
        // Pictures that began anew at the top would drown it.
        Measure::at_most("sound concealed at once", at_once.concealed, "%", 10.0),
        Measure::at_most("picture again", back, "s", 10.0),
        // An estimate that knows little yet paces badly, and the way is full as it is.
        Measure::at_most("sound concealed", report.concealed, "%", 2.0 * CONCEALED),
        Measure::at_most(
            "queueing p95",
            waited(&call.simulation, host, healed + seconds(2), until),
            "ms",
            200.0,
        ),
        Measure::any("pictures shown", report.shown_percent(), "%"),
    ])
}

/// Of a hundred pictures that were shown, how many were more than the lowest encoding.
fn above_base(report: &Report) -> f64 {
    match report.shown {
        0 => 0.0,
        _ => 100.0 - report.percent_of_encoding(0),
    }
}

/// After how many seconds a picture was shown that goes on: the next comes within one.
fn back_after(simulation: &Simulation, viewer: BrowserId, since: Instant) -> f64 {
    let shown = simulation.viewer(viewer).shown();
    let after = shown.partition_point(|one| one.at <= since);
    let mut two = shown[after..].windows(2);
    let first = two.find(|two| two[1].at - two[0].at < seconds(1));
    first.map_or(f64::INFINITY, |two| ms(two[0].at - since) / 1e3)
}
