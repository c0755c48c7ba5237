//! One HTML page that needs nothing else: tables, plots, the machine, the command.

use super::plot::{self, Bar, Line};
use super::table::escape;
use super::tables::{self, Group, groups, merged, values};
use super::{Report, number};
use crate::compare::Figure;
use crate::outcome::{Distribution, Outcome};

const STYLE: &str = include_str!("page.css");

/// The whole page.
pub(super) fn render(report: &Report) -> String {
    let groups = groups(report);
    let subjects = subjects(&groups);
    let mut body = String::from("<h1>ringcast-bench</h1>\n");
    body += &facts(report);
    for table in tables::all(report) {
        body += &table.html();
    }
    body += &costs(&groups, &subjects);
    let loads = loads(&groups);
    body += &section(
        "Latency",
        "From the publisher to the subscriber's kernel: so much of the packets was faster than so long.",
        &subjects,
        &per_load(&loads, |rounds| {
            let series = distributions(rounds, &subjects, |outcome| outcome.latency.as_ref());
            plot::quantiles(&borrowed(&series))
        }),
    );
    body += &section(
        "Packets per send",
        "Share of the packets that left in one send together with so many in all.",
        &subjects,
        &per_load(&loads, |rounds| {
            let series = distributions(rounds, &subjects, |outcome| outcome.run_lengths.as_ref());
            plot::run_lengths(&borrowed(&series))
        }),
    );
    body += &section(
        "Processor",
        "What the forwarder used of one processor while it was measured, in each subject's round of median cost.",
        &subjects,
        &per_load(&loads, |rounds| timelines(rounds, &subjects)),
    );
    document(&body)
}

/// A page with that in it.
pub(super) fn document(body: &str) -> String {
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>ringcast-bench</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n{body}</body>\n</html>\n"
    )
}

fn facts(report: &Report) -> String {
    let rows = [
        (
            "Command",
            format!("<code>{}</code>", escape(&report.command_line())),
        ),
        ("Machine", escape(&tables::machine_line(&report.machine))),
        ("Begun", number::date(report.started_at)),
        ("Version", escape(&report.version)),
    ];
    let mut text = String::from("<dl>");
    for (name, value) in rows {
        text += &format!("<dt>{name}</dt><dd>{value}</dd>");
    }
    text + "</dl>\n"
}

/// Every subject once; its place is its colour.
fn subjects<'a>(groups: &[Group<'a>]) -> Vec<&'a str> {
    let mut subjects = Vec::new();
    for group in groups {
        if !subjects.contains(&group.subject) {
            subjects.push(group.subject);
        }
    }
    subjects
}

fn colour(subjects: &[&str], subject: &str) -> usize {
    let place = subjects.iter().position(|known| *known == subject);
    place.unwrap_or_default()
}

/// The groups of each load.
fn loads<'a, 'b>(groups: &'b [Group<'a>]) -> Vec<(&'b str, Vec<&'b Group<'a>>)> {
    let mut loads: Vec<(&str, Vec<&Group<'_>>)> = Vec::new();
    for group in groups {
        match loads.iter_mut().find(|(load, _)| *load == group.load) {
            Some((_, of_load)) => of_load.push(group),
            None => loads.push((&group.load, vec![group])),
        }
    }
    loads
}

fn costs(groups: &[Group<'_>], subjects: &[&str]) -> String {
    let bars: Vec<(String, Vec<Bar>)> = loads(groups)
        .into_iter()
        .map(|(load, groups)| {
            let bar = |group: &&Group<'_>| {
                let costs: Vec<Option<f64>> =
                    group.rounds.iter().map(|outcome| outcome.cost()).collect();
                Bar {
                    label: group.subject.to_owned(),
                    series: colour(subjects, group.subject),
                    value: Figure::of(&costs).median,
                }
            };
            (load.to_owned(), groups.iter().map(bar).collect())
        })
        .collect();
    if bars.is_empty() {
        return String::new();
    }
    let plot = plot::bars(&bars, "ns");
    section(
        "Cost per delivered packet",
        "Processor time of the forwarder, all its threads and kernel workers; median of the rounds with its 95 % interval.",
        subjects,
        &format!("<figure class=\"wide\">{plot}</figure>\n"),
    )
}

/// A heading, a legend, plots; nothing without plots.
pub(super) fn section(title: &str, explanation: &str, subjects: &[&str], plots: &str) -> String {
    if plots.is_empty() {
        return String::new();
    }
    let mut legend = String::new();
    for (place, subject) in subjects.iter().enumerate() {
        legend += &format!(
            "<span><i class=\"k{}\"></i>{}</span> ",
            place % 6,
            escape(subject)
        );
    }
    format!(
        "<h2>{title}</h2>\n<p class=\"note\">{explanation}</p>\n<p class=\"legend\">{legend}</p>\n<div class=\"plots\">\n{plots}</div>\n"
    )
}

/// A plot for each load that gives one.
fn per_load<'a, 'b>(
    loads: &[(&'b str, Vec<&'b Group<'a>>)],
    draw: impl Fn(&[&'b Group<'a>]) -> String,
) -> String {
    let mut text = String::new();
    for (load, groups) in loads {
        let plot = draw(groups);
        if !plot.is_empty() {
            text += &format!(
                "<figure><figcaption>{}</figcaption>{plot}</figure>\n",
                escape(load)
            );
        }
    }
    text
}

fn distributions(
    groups: &[&Group<'_>],
    subjects: &[&str],
    part: fn(&Outcome) -> Option<&Distribution>,
) -> Vec<(usize, Distribution)> {
    groups
        .iter()
        .filter_map(|group| {
            let distribution = merged(&group.rounds, part)?;
            Some((colour(subjects, group.subject), distribution))
        })
        .collect()
}

fn borrowed(series: &[(usize, Distribution)]) -> Vec<(usize, &Distribution)> {
    let pairs = series.iter();
    pairs
        .map(|(colour, distribution)| (*colour, distribution))
        .collect()
}

fn timelines(groups: &[&Group<'_>], subjects: &[&str]) -> String {
    let mut lines = Vec::new();
    let mut seconds: f64 = 0.0;
    for group in groups {
        let Some(outcome) = median_round(group) else {
            continue;
        };
        let parts = &outcome.processor.timeline;
        let length = outcome.measured.as_secs_f64();
        seconds = seconds.max(length);
        let points = parts.iter().enumerate().map(|(part, share)| {
            let middle = (part as f64 + 0.5) / parts.len() as f64 * length;
            (middle, *share)
        });
        lines.push(Line {
            series: colour(subjects, group.subject),
            points: points.collect(),
        });
    }
    plot::timelines(&lines, &[], seconds, "s")
}

/// The round whose cost is nearest to the median.
fn median_round<'a>(group: &Group<'a>) -> Option<&'a Outcome> {
    let middle = crate::compare::median(&values(&group.rounds, Outcome::cost))?;
    let distance = |outcome: &&&Outcome| {
        let cost = outcome.cost().unwrap_or(f64::INFINITY);
        (cost - middle).abs()
    };
    group
        .rounds
        .iter()
        .min_by(|left, right| distance(left).total_cmp(&distance(right)))
        .copied()
}

#[cfg(test)]
mod tests {
    use super::super::tests::example;
    use super::*;

    #[test]
    fn the_page_has_everything_and_needs_nothing() {
        let page = render(&example());
        for part in [
            "prefers-color-scheme: dark",
            "width=device-width",
            "<code>ringcast-bench compare ringcast 'with space'</code>",
            "Cost per delivered packet",
            "<h2>Latency</h2>",
            "<h2>Packets per send</h2>",
            "<h2>Processor</h2>",
            "8 &lt; 9 &amp; &quot;quoted&quot;",
        ] {
            assert!(page.contains(part), "{part} is missing");
        }
        for outside in ["http:", "https:", "<script", "src=", "url(", "@import"] {
            assert!(!page.contains(outside), "{outside} in the page");
        }
        let count = |part: &str| page.matches(part).count();
        assert_eq!(count("<svg"), count("</svg>"));
        assert_eq!(count("<figure"), count("</figure>"));
    }

    #[test]
    fn what_was_not_measured_has_no_section() {
        let mut report = example();
        for comparison in &mut report.comparisons {
            for outcome in comparison.sides.iter_mut().flatten() {
                outcome.latency = None;
            }
        }
        report.runs.clear();
        assert!(!render(&report).contains("<h2>Latency</h2>"));
    }
}
