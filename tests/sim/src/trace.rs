//! What happens on the way to a viewer whose path carries less for a while: figures over time, and a plot of them.

use std::fmt::Write as _;

use clock::Duration;

use crate::conditions::{Conditions, Rate};
use crate::quality::{GOOD, SIMULCAST};
use crate::simulation::{Settings, Simulation};

/// Between two samples.
const STEP: Duration = Duration::from_millis(100);
/// When the limit begins, when it is lifted, and when everything ends, in steps.
const LIMITED: usize = 150;
const LIFTED: usize = 450;
const END: usize = 600;

/// One moment.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// Since the call began, in seconds.
    pub at: f64,
    /// What the path carries, if there is a limit, in kbit/s; the others too.
    pub limit: Option<f64>,
    /// What the node believes that it carries, once it knows.
    pub estimate: Option<f64>,
    /// What the node sent.
    pub sent: f64,
    /// What came.
    pub received: f64,
    /// Packets that the node sent again, as answers and as probes.
    pub again: [u64; 2],
    /// How long packets waited in the queue of the path, at most, in milliseconds.
    pub queueing: f64,
    /// Which encoding was shown last, from zero.
    pub encoding: Option<u8>,
}

/// A viewer of simulcast on a good path, which carries only so many kbit/s from the 15th to the 45th second.
pub fn limited(seed: u64, settings: Settings, kbit: u64) -> Vec<Sample> {
    let mut simulation = Simulation::new(seed, settings);
    let (_, stream) = simulation.publish(GOOD, SIMULCAST);
    let viewer = simulation.watch(GOOD, stream);
    let host = simulation.browser(viewer).host;
    let transport = simulation.browser(viewer).transport;
    let mut samples = Vec::new();
    let mut before = (0, 0, [0; 2]);
    let narrow = GOOD.limited(Rate::kbit(kbit));
    let set = |simulation: &Simulation, down: Conditions| {
        simulation.network().set_conditions(host, GOOD, down);
    };
    for step in 0..END {
        match step {
            LIMITED => set(&simulation, narrow),
            LIFTED => set(&simulation, GOOD),
            _ => {}
        }
        let since = simulation.now();
        simulation.run(STEP);
        let now = simulation.now();
        let way = simulation.node.way(now, transport);
        let seen = simulation.viewer(viewer);
        let received = seen.received.iter().map(|(_, bytes)| *bytes as u64).sum();
        let sent = simulation.network().seen(host).other_bytes;
        let stats = simulation.node.stats();
        let again = [
            stats.retransmissions_sent - stats.probes_sent,
            stats.probes_sent,
        ];
        let kbit_s = |bytes: u64| bytes as f64 * 8.0 / 1e3 / STEP.as_secs_f64();
        samples.push(Sample {
            at: (step + 1) as f64 * STEP.as_secs_f64(),
            limit: (LIMITED..LIFTED).contains(&step).then_some(kbit as f64),
            estimate: way.map(|way| way.estimate as f64 / 1e3),
            sent: kbit_s(sent - before.0),
            received: kbit_s(received - before.1),
            again: [0, 1].map(|of| again[of] - before.2[of]),
            queueing: simulation
                .network()
                .waited(host, since..now, 1_000)
                .as_secs_f64()
                * 1e3,
            encoding: seen.shown().last().map(|shown| shown.encoding),
        });
        before = (sent, received, again);
    }
    samples
}

/// The same as a table, comma-separated.
pub fn table(samples: &[Sample]) -> String {
    let mut text =
        "second,limit,estimate,sent,received,answers,probes,queueing_ms,encoding\n".to_owned();
    let number = |value: Option<f64>| value.map(|value| format!("{value:.0}")).unwrap_or_default();
    for one in samples {
        let _ = writeln!(
            text,
            "{:.1},{},{},{:.0},{:.0},{},{},{:.1},{}",
            one.at,
            number(one.limit),
            number(one.estimate),
            one.sent,
            one.received,
            one.again[0],
            one.again[1],
            one.queueing,
            number(one.encoding.map(f64::from)),
        );
    }
    text
}

/// Size of a plot and of one of its two parts, in pixels.
const WIDTH: f64 = 1_000.0;
const HEIGHT: f64 = 560.0;
const TOP: (f64, f64) = (40.0, 320.0);
const BOTTOM: (f64, f64) = (350.0, 520.0);
const LEFT: f64 = 60.0;
const RIGHT: f64 = 980.0;

/// Lines of a plot: name, colour, and how they are drawn.
struct Line<'a> {
    name: &'a str,
    style: &'a str,
    points: Vec<(f64, f64)>,
}

/// A plot as SVG: rates above, time in the queue below.
pub fn plot(title: &str, samples: &[Sample]) -> String {
    let of = |value: fn(&Sample) -> Option<f64>| {
        let points = samples.iter().filter_map(|one| Some((one.at, value(one)?)));
        points.collect::<Vec<_>>()
    };
    let line = |name, style, value| Line {
        name,
        style,
        points: of(value),
    };
    let rates = [
        line("sent", "stroke:#9aa5b1;stroke-width:1", |one| {
            Some(one.sent)
        }),
        line("received", "stroke:#2f9e6e;stroke-width:1.5", |one| {
            Some(one.received)
        }),
        line("estimate", "stroke:#1f5fbf;stroke-width:2", |one| {
            one.estimate
        }),
        line(
            "limit",
            "stroke:#c0392b;stroke-width:2;stroke-dasharray:6 4",
            |one| one.limit,
        ),
    ];
    let queueing = [line(
        "queueing, ms",
        "stroke:#8e44ad;stroke-width:1.5",
        |one| Some(one.queueing),
    )];
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" font-size=\"13\">\
         <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/><text x=\"{LEFT}\" y=\"17\" font-size=\"15\">{title}</text>\n"
    );
    let end = samples.last().map_or(1.0, |one| one.at);
    part(&mut svg, &rates, TOP, end, "kbit/s");
    part(&mut svg, &queueing, BOTTOM, end, "ms");
    let mut second = 0.0;
    while second <= end {
        let x = LEFT + (RIGHT - LEFT) * second / end;
        let _ = writeln!(
            svg,
            "<text x=\"{x:.0}\" y=\"540\" text-anchor=\"middle\">{second:.0} s</text>"
        );
        second += 5.0;
    }
    svg.push_str("</svg>\n");
    svg
}

fn part(svg: &mut String, lines: &[Line<'_>], (top, bottom): (f64, f64), end: f64, unit: &str) {
    let values = lines.iter().flat_map(|line| &line.points);
    let most = values.fold(1.0_f64, |most, (_, value)| most.max(*value));
    let step = 10_f64.powf(most.log10().floor());
    let step = if most / step < 3.0 { step / 2.0 } else { step };
    let y = |value: f64| bottom - (bottom - top) * value / (most * 1.05);
    let mut mark = 0.0;
    while mark <= most {
        let y = y(mark);
        let _ = writeln!(
            svg,
            "<line x1=\"{LEFT}\" x2=\"{RIGHT}\" y1=\"{y:.1}\" y2=\"{y:.1}\" stroke=\"#e3e7eb\"/>\
             <text x=\"54\" y=\"{:.1}\" text-anchor=\"end\">{mark:.0}</text>",
            y + 4.0
        );
        mark += step;
    }
    let _ = writeln!(svg, "<text x=\"8\" y=\"{:.0}\">{unit}</text>", top - 6.0);
    for (nth, line) in lines.iter().enumerate() {
        let points = line.points.iter().map(|(at, value)| {
            let x = LEFT + (RIGHT - LEFT) * at / end;
            format!("{x:.1},{:.1} ", y(*value))
        });
        let points: String = points.collect();
        let (x, style, name) = (LEFT + 60.0 + 130.0 * nth as f64, line.style, line.name);
        let _ = writeln!(
            svg,
            "<polyline points=\"{points}\" fill=\"none\" style=\"{style}\"/>\
             <line x1=\"{x}\" x2=\"{}\" y1=\"{}\" y2=\"{}\" style=\"{style}\"/><text x=\"{}\" y=\"{}\">{name}</text>",
            x + 24.0,
            top - 10.0,
            top - 10.0,
            x + 30.0,
            top - 6.0
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plot_shows_every_figure() {
        let sample = |at: f64| Sample {
            at,
            limit: Some(500.0),
            estimate: (at > 1.0).then_some(450.0),
            sent: 1_200.0,
            received: 480.0,
            again: [2, 1],
            queueing: 90.0,
            encoding: Some(1),
        };
        let samples = [1.0, 2.0, 3.0].map(sample);
        let svg = plot("a limit", &samples);
        for name in ["sent", "received", "estimate", "limit", "queueing, ms"] {
            assert!(svg.contains(&format!(">{name}</text>")), "{name}");
        }
        assert_eq!(svg.matches("<polyline").count(), 5);
        let table = table(&samples);
        assert_eq!(table.lines().nth(1), Some("1.0,500,,1200,480,2,1,90.0,1"));
    }
}
