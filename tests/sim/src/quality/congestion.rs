//! Paths that carry less than there is.

use super::{
    Call, Case, Control, GOOD, Length, Measure, Promise, REST, SIMULCAST, WARM_UP, ms, seconds,
};
use sfu::api::ConnectionId;

use crate::conditions::Rate;
use crate::network::HostId;
use crate::report::Report;
use crate::simulation::{BrowserId, Settings, Simulation};

pub(super) const CASES: [Case; 8] = [
    Case {
        name: "limit-1000",
        what: "one of three viewers limited to 1000 kbit/s",
        promise: Promise::Holds,
        run: |seed, length, settings| limited(seed, length, settings, 1_000),
        control: FROZEN,
    },
    Case {
        name: "limit-500",
        what: "one of three viewers limited to 500 kbit/s",
        promise: Promise::Holds,
        run: |seed, length, settings| limited(seed, length, settings, 500),
        control: FROZEN,
    },
    Case {
        name: "limit-250",
        what: "one of three viewers limited to 250 kbit/s",
        promise: Promise::Holds,
        run: |seed, length, settings| limited(seed, length, settings, 250),
        control: UNPACED,
    },
    Case {
        name: "six-behind-one",
        what: "six subscriptions of one browser behind 1.5 Mbit/s",
        promise: Promise::Holds,
        run: six_behind_one,
        control: FROZEN,
    },
    Case {
        name: "limit-lifted",
        what: "a viewer's limit of 500 kbit/s is lifted",
        promise: Promise::Holds,
        run: lifted,
        control: None,
    },
    Case {
        name: "uplink-300",
        what: "the publisher's uplink carries 300 kbit/s",
        promise: Promise::Holds,
        run: narrow_uplink,
        control: None,
    },
    Case {
        name: "uplink-falls",
        what: "the publisher's uplink falls to 300 kbit/s during the call",
        promise: Promise::Open,
        run: falling_uplink,
        control: None,
    },
    Case {
        name: "two-share",
        what: "two viewers behind one 2 Mbit/s bottleneck",
        promise: Promise::Open,
        run: two_share,
        control: None,
    },
];

/// The estimator says nothing.
pub(super) const FROZEN: Option<Control> = Some(("estimator frozen", |settings| {
    settings.transport_wide = false;
}));
/// What is sent to narrow paths leaves as it comes.
const UNPACED: Option<Control> = Some(("pacer off", |settings| settings.pacing = false));
/// What sound takes, with its headers, in bits per second.
const SOUND: f64 = 45e3;
/// Of the rate of a path, how many percent of RTP come with the headers of UDP and IP: 1000 bytes and 28.
const WITH_HEADERS: f64 = 1.03;

fn limited(seed: u64, length: Length, settings: Settings, kbit: u64) -> Vec<Measure> {
    let mut call = Call::estimating(seed, settings, 3, GOOD);
    call.simulation.run(WARM_UP);
    call.set_path(call.viewers[0], GOOD, GOOD.limited(Rate::kbit(kbit)));
    let began = call.simulation.now();
    call.simulation.run(seconds(3));
    let settled = call.simulation.now();
    call.simulation.run(match length {
        Length::Short => seconds(10),
        Length::Full => seconds(30),
    });
    let until = call.simulation.now();
    call.simulation.run(REST);
    let report = call.report(0, settled, until);
    let used = percent(report.rate, kbit);
    let (highest, fits) = fitting(&call.simulation, call.publisher, (settled, until), kbit);
    let settles = settles_after(&call, highest, began);
    let host = call.simulation.browser(call.viewers[0]).host;
    let others = [1, 2].map(|other| call.report(other, began, until));
    let used_of_fitting = 100.0 * report.rate as f64 / fits;
    let used_of_fitting = Measure::at_least("of what fits is used", used_of_fitting, "%", 75.0);
    let mut measures = vec![
        used_of_fitting,
        Measure::any("of the rate is used", used, "%"),
        Measure::at_most("settles after", settles, "s", 3.0),
        Measure::at_most(
            "queueing p95",
            waited(&call.simulation, host, settled, until),
            "ms",
            150.0,
        ),
        Measure::at_least("pictures shown", report.shown_percent(), "%", 97.0),
        Measure::at_most("time frozen", report.frozen_percent(), "%", 1.0).open(),
    ];
    measures.extend(unharmed(&others));
    measures
}

/// When, in the first six seconds, a picture was shown last of an encoding that does not fit.
fn settles_after(call: &Call, highest: usize, began: clock::Instant) -> f64 {
    let shown = call.simulation.viewer(call.viewers[0]).shown().iter();
    let then = shown.filter(|one| (began..began + seconds(6)).contains(&one.at));
    let mut above = then.filter(|one| usize::from(one.encoding) > highest);
    above
        .next_back()
        .map_or(0.0, |one| ms(one.at - began) / 1e3)
}

/// The highest encoding that fits into a path, and what it takes with sound, in bits per second. Between the encodings there is
/// nothing.
fn fitting(
    simulation: &Simulation,
    publisher: BrowserId,
    (from, until): (clock::Instant, clock::Instant),
    kbit: u64,
) -> (usize, f64) {
    let rates = &simulation.source(publisher).rates;
    let then = rates.iter().filter(|one| (from..until).contains(&one.0));
    let then: Vec<_> = then.map(|one| one.2).collect();
    let mean = |encoding: usize| {
        let sum: u64 = then.iter().map(|rates| rates[encoding]).sum();
        sum as f64 / then.len().max(1) as f64 + SOUND
    };
    let takes = [0, 1, 2].map(mean);
    let fits = takes
        .iter()
        .rposition(|takes| *takes * WITH_HEADERS <= kbit as f64 * 1e3);
    let highest = fits.unwrap_or(0);
    (highest, takes[highest])
}

/// The others keep the top encoding without a freeze.
pub(super) fn unharmed(others: &[Report]) -> [Measure; 2] {
    let top = others.iter().map(|other| other.percent_of_encoding(2));
    let freezes: usize = others.iter().map(|other| other.freezes).sum();
    [
        Measure::at_least(
            "top encoding for others",
            top.fold(100.0, f64::min),
            "%",
            100.0,
        ),
        Measure::at_most("freezes of others", freezes as f64, "", 0.0),
    ]
}

fn percent(rate: u64, kbit: u64) -> f64 {
    100.0 * rate as f64 * WITH_HEADERS / (kbit as f64 * 1e3)
}

/// How long 95 of a hundred packets had to wait at most, in milliseconds.
pub(super) fn waited(
    simulation: &Simulation,
    host: HostId,
    since: clock::Instant,
    until: clock::Instant,
) -> f64 {
    ms(simulation.network().waited(host, since..until, 950))
}

fn six_behind_one(seed: u64, length: Length, settings: Settings) -> Vec<Measure> {
    let mut simulation = Simulation::new(seed, settings);
    let streams = [0; 6].map(|_| simulation.publish(GOOD, SIMULCAST));
    simulation.run(WARM_UP);
    simulation.estimates = true;
    simulation.connection = Some(ConnectionId(1));
    let bottleneck = simulation.network().add_bottleneck(Rate::kbit(1_500));
    let viewers = streams.map(|(_, stream)| {
        let viewer = simulation.watch(GOOD, stream);
        let host = simulation.browser(viewer).host;
        simulation
            .network()
            .put_behind(host, None, Some(bottleneck));
        viewer
    });
    simulation.run(seconds(5));
    let settled = simulation.now();
    simulation.run(match length {
        Length::Short => seconds(5),
        Length::Full => seconds(30),
    });
    let until = simulation.now();
    simulation.run(REST);
    let reports: Vec<_> = (0..6)
        .map(|nth| simulation.report(streams[nth].0, viewers[nth], settled, until))
        .collect();
    let host = simulation.browser(viewers[0]).host;
    let rate = reports.iter().map(|report| report.rate).sum();
    let least = reports.iter().map(Report::shown_percent);
    vec![
        Measure::at_least("of the rate is used", percent(rate, 1_500), "%", 75.0),
        Measure::at_most(
            "queueing p95",
            waited(&simulation, host, settled, until),
            "ms",
            150.0,
        ),
        Measure::any("least pictures shown", least.fold(100.0, f64::min), "%"),
    ]
}

fn lifted(seed: u64, _: Length, settings: Settings) -> Vec<Measure> {
    let mut call = Call::estimating(seed, settings, 2, GOOD);
    call.simulation.run(WARM_UP);
    let viewer = call.viewers[0];
    call.set_path(viewer, GOOD, GOOD.limited(Rate::kbit(500)));
    call.simulation.run(seconds(15));
    let limited_until = call.simulation.now();
    let limited = call.report(0, limited_until.saturating_sub(seconds(10)), limited_until);
    call.set_path(viewer, GOOD, GOOD);
    call.simulation.run(seconds(20));
    let shown = call.simulation.viewer(viewer).shown();
    let top = shown
        .iter()
        .find(|shown| shown.at > limited_until && shown.encoding == 2);
    let back = top.map_or(f64::INFINITY, |shown| ms(shown.at - limited_until) / 1e3);
    vec![
        Measure::at_most("top encoding again", back, "s", 10.0),
        // Whoever never went down does not come up.
        Measure::at_most(
            "top encoding before",
            limited.percent_of_encoding(2),
            "%",
            5.0,
        ),
    ]
}

fn narrow_uplink(seed: u64, length: Length, settings: Settings) -> Vec<Measure> {
    let mut simulation = Simulation::new(seed, settings);
    let line = GOOD.limited(Rate::kbit(300));
    let (publisher, stream) = simulation.publish(line, SIMULCAST);
    let viewers = [0; 2].map(|_| simulation.watch(GOOD, stream));
    simulation.run(WARM_UP);
    let from = simulation.now();
    simulation.run(match length {
        Length::Short => seconds(15),
        Length::Full => seconds(60),
    });
    let until = simulation.now();
    simulation.run(REST);
    let reports = viewers.map(|viewer| simulation.report(publisher, viewer, from, until));
    base_flows(&reports)
}

fn falling_uplink(seed: u64, length: Length, settings: Settings) -> Vec<Measure> {
    let mut call = Call::new(seed, settings, 2, GOOD);
    call.simulation.run(WARM_UP);
    let from = call.simulation.now();
    call.set_path(call.publisher, GOOD.limited(Rate::kbit(300)), GOOD);
    call.simulation.run(match length {
        Length::Short => seconds(15),
        Length::Full => seconds(60),
    });
    let until = call.simulation.now();
    call.simulation.run(REST);
    base_flows(&[0, 1].map(|viewer| call.report(viewer, from, until)))
}

fn base_flows(reports: &[Report]) -> Vec<Measure> {
    let longest = reports.iter().map(|report| ms(report.longest));
    let shown = reports.iter().map(Report::shown_percent);
    let base = reports.iter().map(|report| report.percent_of_encoding(0));
    vec![
        Measure::at_most("longest freeze", longest.fold(0.0, f64::max), "ms", 500.0),
        Measure::at_least("pictures shown", shown.fold(100.0, f64::min), "%", 97.0),
        Measure::at_least("base encoding", base.fold(100.0, f64::min), "%", 99.0),
    ]
}

fn two_share(seed: u64, length: Length, settings: Settings) -> Vec<Measure> {
    let mut call = Call::estimating(seed, settings, 2, GOOD);
    call.simulation.run(WARM_UP);
    let bottleneck = call.simulation.network().add_bottleneck(Rate::kbit(2_000));
    for viewer in &call.viewers {
        let host = call.simulation.browser(*viewer).host;
        let mut network = call.simulation.network();
        network.put_behind(host, None, Some(bottleneck));
    }
    call.simulation.run(seconds(20));
    let from = call.simulation.now();
    call.simulation.run(match length {
        Length::Short => seconds(10),
        Length::Full => seconds(30),
    });
    let until = call.simulation.now();
    let rates = [0, 1].map(|viewer| call.report(viewer, from, until).rate);
    let sum = rates[0] + rates[1];
    let least = 100.0 * rates[0].min(rates[1]) as f64 / sum.max(1) as f64;
    let host = call.simulation.browser(call.viewers[0]).host;
    vec![
        Measure::at_least("the smaller share", least, "%", 40.0),
        Measure::at_least("of the rate is used", percent(sum, 2_000), "%", 75.0),
        Measure::at_most(
            "queueing p95",
            waited(&call.simulation, host, from, until),
            "ms",
            150.0,
        ),
    ]
}
