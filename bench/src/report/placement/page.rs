//! Simulations of placement as a page that needs nothing else.

use placement::outcome::{Outcome, Point};
use placement::policy::{Family, named};
use placement::run::Report;
use placement::timing::Timings;

use super::super::page::{document, section};
use super::super::plot::{self, Line, Row};
use super::super::table::escape;

/// Kinds of rules, each with its colour.
const FAMILIES: [(Family, &str); 4] = [
    (Family::Ours, "this scheduler"),
    (Family::Existing, "what others run"),
    (Family::Textbook, "rules of the textbook"),
    (Family::Ideal, "what nobody can have"),
];
/// Who is shown over time, the first of them that ran; more would hide each other.
const SHOWN: [&str; 8] = [
    "ours",
    "jitsi",
    "two-choices-books",
    "livekit-twochoice",
    "ours-usual",
    "random",
    "openvidu-streams",
    "openvidu-cpu",
];
const SHOWN_MAX: usize = 5;

/// The whole page. `command` is what was typed.
pub fn page(report: &Report, timings: &[Timings], command: &str) -> String {
    let mut body = format!(
        "<h1>Placement, simulated</h1>\n<dl><dt>Command</dt><dd><code>{}</code></dd></dl>\n",
        escape(command)
    );
    body += &dots(report);
    body += &over_time(report);
    for table in super::tables(report, timings) {
        body += &table.html();
    }
    document(&body)
}

fn dots(report: &Report) -> String {
    type Of = fn(&Outcome) -> f64;
    let plots: [(&str, Of); 4] = [
        ("Participant-minutes on nodes above 100 %, of all", |one| {
            one.overload_minutes[1] / one.minutes.max(1.0)
        }),
        ("Participant-minutes above 80 %, of all", |one| {
            one.overload_minutes[0] / one.minutes.max(1.0)
        }),
        ("People who ever were above 100 %", |one| {
            one.hot_participants[1]
        }),
        ("People who ever were above 80 %", |one| {
            one.hot_participants[0]
        }),
    ];
    let plots = plots.map(|(title, of)| {
        let mut rows: Vec<Row> = report
            .outcomes
            .iter()
            .map(|one| row(one, of(one)))
            .collect();
        rows.sort_by(|a, b| a.share.total_cmp(&b.share));
        figure(title, &plot::rows(&rows))
    });
    let kinds = FAMILIES.map(|(_, name)| name);
    section(
        "Who is on overloaded nodes",
        "Left is good; the scale is logarithmic. All rules met the same sessions and the same failures on the same nodes.",
        &kinds,
        &plots.concat(),
    )
}

fn row(outcome: &Outcome, share: f64) -> Row {
    let family = named(&outcome.policy).map(|entry| entry.family);
    let kind = FAMILIES.iter().position(|(one, _)| Some(*one) == family);
    Row {
        name: outcome.policy.clone(),
        series: kind.unwrap_or_default(),
        share,
    }
}

fn over_time(report: &Report) -> String {
    let ran = |name: &&str| report.outcomes.iter().find(|one| one.policy == *name);
    let shown: Vec<&Outcome> = SHOWN.iter().filter_map(ran).take(SHOWN_MAX).collect();
    let minutes = report.facts.span_seconds as f64 / 60.0;
    type Of = fn(&Point) -> f64;
    let plots: [(&str, Of); 4] = [
        ("Load that 99 of 100 nodes are below", |point| point.p99),
        ("Load of the fullest node", |point| point.max),
        ("People on nodes above 80 %", |point| point.hot[0]),
        ("People on nodes above 100 %", |point| point.hot[1]),
    ];
    let plots = plots.map(|(title, of)| {
        let lines = (0..).zip(&shown).map(|(series, one)| Line {
            series,
            points: one
                .series
                .iter()
                .map(|point| (point.at as f64 / 60.0, of(point)))
                .collect(),
        });
        let lines: Vec<Line> = lines.collect();
        figure(title, &plot::timelines(&lines, minutes, "min"))
    });
    let names: Vec<&str> = shown.iter().map(|one| one.policy.as_str()).collect();
    section(
        "Over time",
        "Spikes of arrivals come after a sixth and after five sixths of the time; a rack is lost a few minutes after the second.",
        &names,
        &plots.concat(),
    )
}

/// Nothing where there is no plot.
fn figure(title: &str, plot: &str) -> String {
    match plot.is_empty() {
        true => String::new(),
        false => format!("<figure><figcaption>{title}</figcaption>{plot}</figure>\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::example;
    use super::*;

    #[test]
    fn the_page_has_everything_and_needs_nothing() {
        let (mut report, timings) = example();
        report.facts.span_seconds = 5400;
        for outcome in &mut report.outcomes {
            outcome.minutes = 100_000.0;
            outcome.series = (0..10)
                .map(|step| Point {
                    at: step * 30,
                    max: 0.4,
                    ..Point::default()
                })
                .collect();
        }
        let page = page(&report, &timings, "placement --seed '<1>'");
        for part in [
            "prefers-color-scheme: dark",
            "&lt;1&gt;",
            "this scheduler",
            "1.2 %",
            "Load of the fullest node",
            "80 min",
            "Predicted peaks",
        ] {
            assert!(page.contains(part), "{part} is missing");
        }
        for outside in ["http:", "https:", "<script", "src=", "url(", "@import"] {
            assert!(!page.contains(outside), "{outside} in the page");
        }
        // Nobody was above 80 % at any of the moments.
        assert!(!page.contains("<figcaption>People on nodes above 80 %"));
        assert_eq!(page.matches("<svg").count(), page.matches("</svg>").count());
    }
}
