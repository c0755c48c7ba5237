//! Simulations of placement as a page that needs nothing else.

use placement::incidents::{self, Verdict};
use placement::outcome::{Outcome, Point};
use placement::policy::{Family, named};
use placement::run::{Facts, Report};
use placement::timing::Timings;

use super::super::page::{document, section};
use super::super::plot::{self, Line, Mark, Row};
use super::super::table::{Table, escape};
use super::simulated::{mean, range};
use super::{Of, Simulated, world};

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
pub fn page(found: &Simulated, timings: &[Vec<Timings>], command: &str) -> String {
    let mut facts = vec![("Command", format!("<code>{}</code>", escape(command)))];
    let sentences = world::sentences(found).into_iter();
    facts.extend(sentences.map(|(name, text)| (name, escape(&text))));
    let found = found.whole();
    let mut body = top(&facts);
    body += &dots(&found);
    if let Some(world) = found.worlds.first() {
        body += &over_time(world, found.worlds.len());
    }
    for table in super::results(&found, timings) {
        body += &table.html();
    }
    document(&body)
}

/// The accidents of the field as a page.
pub fn incidents_page(verdicts: &[Verdict], command: &str) -> String {
    let mut facts = vec![("Command", format!("<code>{}</code>", escape(command)))];
    let all = incidents::all().into_iter();
    facts.extend(all.map(|one| (one.name, escape(&format!("{}.", one.about)))));
    let table = Table {
        // What they are stands at the top.
        notes: vec![super::of_accidents()],
        ..super::incidents(verdicts)
    };
    document(&(top(&facts) + &table.html()))
}

fn top(facts: &[(&str, String)]) -> String {
    let list = facts.iter();
    let list: Vec<String> = list
        .map(|(name, text)| format!("<dt>{name}</dt><dd>{text}</dd>"))
        .collect();
    format!(
        "<h1>Placement, simulated</h1>\n<dl>{}</dl>\n",
        list.concat()
    )
}

fn dots(found: &Simulated) -> String {
    let titles = [
        "Participant-minutes on nodes above 80 %, of all",
        "Participant-minutes above 100 %, of all",
        "People who ever were above 80 %",
        "People who ever were above 100 %",
    ];
    let plots = titles
        .iter()
        .zip(super::OVERLOAD)
        .map(|(title, (_, figure))| {
            let policies = found.policies().into_iter();
            let mut rows: Vec<Row> = policies.map(|name| row(found, name, figure)).collect();
            rows.sort_by(|a, b| a.share.total_cmp(&b.share));
            self::figure(title, &plot::rows(&rows))
        });
    let plots: Vec<String> = plots.collect();
    let kinds = FAMILIES.map(|(_, name)| name);
    let seeds = match found.worlds.len() {
        0 | 1 => "",
        _ => " Dots are means of all seeds, lines go from the least to the most.",
    };
    let about = "Left is good; the scale is logarithmic. All rules met the same sessions and the same failures on the same nodes.";
    section(
        "At a glance",
        &format!("{about}{seeds}"),
        &kinds,
        &plots.concat(),
    )
}

fn row(found: &Simulated, policy: &str, figure: Of) -> Row {
    let family = named(policy).map(|entry| entry.family);
    let kind = FAMILIES.iter().position(|(one, _)| Some(*one) == family);
    let shares: Vec<f64> = found.of(policy).into_iter().map(figure).collect();
    Row {
        name: policy.to_owned(),
        series: kind.unwrap_or_default(),
        share: mean(&shares),
        range: (shares.len() > 1).then(|| range(&shares)),
    }
}

fn over_time(report: &Report, seeds: usize) -> String {
    let ran = |name: &&str| report.outcomes.iter().find(|one| one.policy == *name);
    let shown: Vec<&Outcome> = SHOWN.iter().filter_map(ran).take(SHOWN_MAX).collect();
    let minutes = report.facts.span_seconds as f64 / 60.0;
    let marks = marks(&report.facts);
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
        figure(title, &plot::timelines(&lines, &marks, minutes, "min"))
    });
    let names: Vec<&str> = shown.iter().map(|one| one.policy.as_str()).collect();
    let dashed = "Dashed: since when it is measured, spikes of arrivals, and the loss of a rack.";
    let about = match seeds {
        0 | 1 => dashed.to_owned(),
        _ => format!("With seed {}. {dashed}", report.facts.seed),
    };
    section("Over time", &about, &names, &plots.concat())
}

fn marks(facts: &Facts) -> Vec<Mark> {
    let mark = |at: u64, label: &'static str| Mark {
        at: at as f64 / 60.0,
        label,
    };
    let from = Some(facts.measured_from_seconds).filter(|at| *at > 0);
    let from = from.map(|at| mark(at, "measured from here"));
    let spikes = facts.spikes.iter().map(|(at, _)| mark(*at, "spike"));
    let racks = facts.rack_lost.iter().map(|at| mark(*at, "rack"));
    let mut all: Vec<Mark> = from.into_iter().chain(spikes).chain(racks).collect();
    all.sort_by(|one, other| one.at.total_cmp(&other.at));
    all
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
    use super::super::tests::{example, of_two_seeds};
    use super::*;

    /// With points over time, as a run has them.
    fn with_points(mut found: Simulated) -> Simulated {
        for outcome in found.worlds.iter_mut().flat_map(|one| &mut one.outcomes) {
            outcome.series = (0..10)
                .map(|step| Point {
                    at: step * 30,
                    max: 0.4,
                    ..Point::default()
                })
                .collect();
        }
        found
    }

    #[test]
    fn the_page_has_everything_and_needs_nothing() {
        let (found, timings) = example();
        let page = page(&with_points(found), &timings, "placement --seed '<1>'");
        for part in [
            "prefers-color-scheme: dark",
            "&lt;1&gt;",
            "<dt>Nodes</dt><dd>10\u{202f}000;",
            "this scheduler",
            "1.23 %",
            "Load of the fullest node",
            "80 min",
            "Predicted peaks",
            ">spike</text>",
            ">rack</text>",
        ] {
            assert!(page.contains(part), "{part} is missing");
        }
        for outside in ["http:", "https:", "<script", "src=", "url(", "@import"] {
            assert!(!page.contains(outside), "{outside} in the page");
        }
        // Nobody was above 80 % at any of the moments.
        assert!(!page.contains("<figcaption>People on nodes above 80 %"));
        assert_eq!(page.matches("<svg").count(), page.matches("</svg>").count());
        assert!(!page.contains("class=\"whisker\""), "one seed has no range");
    }

    #[test]
    fn several_seeds_have_ranges_and_one_shows_time() {
        let page = page(&with_points(of_two_seeds()), &[], "placement --seeds 2");
        for part in ["class=\"whisker\"", "With seed 3.", "8.47 [3.39–13.6]"] {
            assert!(page.contains(part), "{part} is missing");
        }
    }

    #[test]
    fn what_did_not_happen_is_not_marked() {
        assert!(marks(&Facts::default()).is_empty());
    }
}
