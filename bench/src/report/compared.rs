//! The tables of comparisons: each subject with the one to whom all are compared, and of many an overview.

use super::Table;
use super::number::{NONE, bytes, nanos, or_none, percent, plain, ratio};
use super::table::head;
use super::tables::{failures, load_name, values};
use crate::compare::{Comparison, Estimate, Figure, Metric, Pair, Summary, median};
use crate::outcome::{Outcome, Verdict};

/// Of a reason so many characters fit into a cell; notes have it whole.
const REASON_MAX: usize = 48;
/// What of one processor is about half.
const HALF_LOAD: (f64, f64) = (0.4, 0.6);

/// Of each figure that some comparison asks for.
pub(super) fn tables(comparisons: &[Comparison]) -> Vec<Table> {
    let mut tables = Vec::new();
    for metric in Metric::ALL {
        let asked = |comparison: &&Comparison| {
            let also = comparison.also.iter();
            comparison.metric == metric || also.into_iter().any(|(other, _)| *other == metric)
        };
        let asked: Vec<&Comparison> = comparisons.iter().filter(asked).collect();
        tables.extend(overview(metric, &asked));
        if !asked.is_empty() {
            tables.push(pairs(metric, &asked));
        }
    }
    tables
}

/// Loads down, subjects across, where there are more than two of them. What is compared with oneself has no place in it.
fn overview(metric: Metric, comparisons: &[&Comparison]) -> Option<Table> {
    let many: Vec<&&Comparison> = { comparisons.iter() }
        .filter(|comparison| comparison.sides.len() > 2 && metric.is_compared())
        .collect();
    let first = many.first()?;
    // One command compares the same subjects under each load.
    let reference = subject(first.reference());
    let mut names = vec!["row".to_owned(), "load".to_owned()];
    for (place, side) in first.sides.iter().enumerate() {
        let sign = if place == first.reference { " = 1" } else { "" };
        names.push(subject(side) + sign);
    }
    let row = |comparison: &&Comparison| {
        let mut cells = vec![row_name(comparison), name_of_load(comparison)];
        let mut pairs = comparison.pairs();
        for place in 0..comparison.sides.len() {
            cells.push(if place == comparison.reference {
                whole_figure(metric, comparison.reference())
            } else {
                or_none(pairs.next().map(|pair| overview_cell(metric, &pair)))
            });
        }
        cells
    };
    let what = match metric {
        Metric::Latency => "Latency that 99 of 100 packets kept",
        Metric::Delivered => "Delivered share",
        _ => "Cost per delivered packet",
    };
    let table = Table {
        title: format!("{what}, as a ratio to {reference}"),
        head: names,
        rows: many.iter().map(|comparison| row(comparison)).collect(),
        notes: vec![
            "Ratios of medians over interleaved rounds, in brackets with 95 % confidence; only where every round of both counts."
                .to_owned(),
        ],
    };
    Some(table.without_empty_columns())
}

fn overview_cell(metric: Metric, pair: &Pair<'_>) -> String {
    if let Some(why) = reason(metric, pair.left) {
        return why;
    }
    let all = pair.summaries().into_iter();
    let summary = all.into_iter().find(|summary| summary.metric == metric);
    let complete = summary.filter(|summary| summary.is_complete);
    match complete.and_then(|summary| summary.ratio) {
        Some(found) => interval(found, ratio),
        None => whole_figure(metric, pair.left),
    }
}

/// The median of all rounds, or why there is none.
fn whole_figure(metric: Metric, rounds: &[Outcome]) -> String {
    reason(metric, rounds).unwrap_or_else(|| {
        let values: Vec<Option<f64>> = rounds.iter().map(|run| metric.of(run)).collect();
        let unit = if metric == Metric::Cost { " ns" } else { "" };
        figure(metric, &Figure::of(&values)) + unit
    })
}

/// Why not every round counts, in few words.
fn reason(metric: Metric, rounds: &[Outcome]) -> Option<String> {
    let missing: Vec<&Outcome> = { rounds.iter() }
        .filter(|run| metric.of(run).is_none())
        .collect();
    let why = match &missing.first()?.verdict {
        Verdict::NoResult { because } => because.as_str(),
        Verdict::Result => "not told",
    };
    let mut why = why.to_owned();
    if why.chars().count() > REASON_MAX {
        why = why.chars().take(REASON_MAX - 1).collect();
        why.truncate(why.trim_end().len());
        why.push('…');
    }
    Some(if missing.len() == rounds.len() {
        format!("no result: {why}")
    } else {
        let (missing, all) = (missing.len(), rounds.len());
        format!("no result in {missing} of {all} rounds: {why}")
    })
}

fn pairs(metric: Metric, comparisons: &[&Comparison]) -> Table {
    let mut notes = vec![
        "Medians over interleaved rounds; in brackets the 95 % interval of the ratio of medians, by bootstrap over rounds."
            .to_owned(),
    ];
    let is_latency = matches!(metric, Metric::Latency | Metric::Inside);
    if is_latency {
        notes.push(
            "Half load is one that takes half of one processor. Sends grow with the load, so a processor carries more than twice as \
             much."
                .to_owned(),
        );
    }
    for comparison in comparisons {
        for outcomes in &comparison.sides {
            notes.extend(failures(&comparison.name, outcomes));
            if is_latency {
                notes.extend(business(outcomes));
            }
        }
    }
    notes.dedup();
    let title = match metric {
        Metric::Cost => "Cost per delivered packet, compared",
        Metric::Delivered => "Delivered share, compared",
        Metric::Latency => "Latency that 99 of 100 packets kept, compared",
        Metric::Inside => "Latency within the forwarder that half of the packets kept",
        Metric::Memory => "Memory, and what each transport more takes",
    };
    let (left, right, middle) = match metric {
        Metric::Cost => ("left ns", "right ns", "ratio"),
        Metric::Delivered => ("left share", "right share", "ratio"),
        Metric::Latency => ("left", "right", "ratio"),
        Metric::Inside => ("left", "right", "inside p50"),
        Metric::Memory => ("left", "right", "per transport"),
    };
    let rows = comparisons.iter().flat_map(|comparison| comparison.pairs());
    Table {
        title: title.to_owned(),
        head: head(&[
            "row",
            "load",
            "left",
            "right",
            left,
            right,
            "left busy",
            "right busy",
            middle,
            "by rounds",
            "of minima",
            "target",
            "met",
            "rounds",
        ]),
        rows: rows.filter_map(|pair| pair_row(&pair, metric)).collect(),
        notes,
    }
    .without_empty_columns()
}

/// None where it is not asked.
fn pair_row(pair: &Pair<'_>, metric: Metric) -> Option<Vec<String>> {
    let comparison = pair.comparison();
    let all = pair.summaries().into_iter();
    let summary = all.into_iter().find(|summary| summary.metric == metric)?;
    let load = |rounds: &[Outcome]| rounds.first().map(|outcome| outcome.load.clone());
    let (left_load, right_load) = (load(pair.left), load(pair.right));
    let mut right = summary.reference.clone();
    if let Some(other) = &right_load
        && right_load != left_load
    {
        // The same subject under another load.
        right = format!("{right}, {other}");
    }
    let is_inside = metric == Metric::Inside;
    let share = |rounds: &[Outcome]| match metric {
        Metric::Latency | Metric::Inside => or_none(of_one_processor(rounds).map(percent)),
        _ => NONE.to_owned(),
    };
    // A side that the question is not about has no figure, which is no fault of it.
    let rounds = match is_inside {
        true => summary.left.results,
        false => summary.left.results.min(summary.right.results),
    };
    Some(vec![
        row_name(comparison),
        name_of_load(comparison),
        summary.subject.clone(),
        right,
        figure(metric, &summary.left),
        match is_inside {
            true => NONE.to_owned(),
            false => figure(metric, &summary.right),
        },
        share(pair.left),
        share(pair.right),
        or_none(summary.ratio.map(|found| whole(metric, found))),
        or_none(summary.paired_ratio.map(ratio)),
        or_none(summary.ratio_of_minima.map(ratio)),
        or_none(target(&summary)),
        match summary.is_met {
            Some(true) => "yes",
            Some(false) => "no",
            None => "",
        }
        .to_owned(),
        format!("{rounds}/{}", summary.left.rounds),
    ])
}

/// The row's own name, where it is another than the load's.
fn row_name(comparison: &Comparison) -> String {
    let mut runs = comparison.sides.iter().flatten();
    let is_own = runs.all(|run| run.load != comparison.name);
    or_none(is_own.then(|| comparison.name.clone()))
}

fn name_of_load(comparison: &Comparison) -> String {
    let others = comparison.pairs().next();
    let first = others.and_then(|pair| pair.left.first());
    first.map_or_else(|| comparison.name.clone(), load_name)
}

fn subject(rounds: &[Outcome]) -> String {
    or_none(rounds.first().map(|outcome| outcome.subject.clone()))
}

fn target(summary: &Summary) -> Option<String> {
    let target = summary.target?;
    Some(match summary.metric {
        Metric::Delivered => format!("≥ {target:.2}"),
        Metric::Inside | Metric::Memory => format!("≤ {}", of_metric(summary.metric, target)),
        Metric::Cost | Metric::Latency => format!("≤ {target:.2}"),
    })
}

fn whole(metric: Metric, estimate: Estimate) -> String {
    match metric.is_compared() {
        true => interval(estimate, ratio),
        false => interval(estimate, |value| of_metric(metric, value)),
    }
}

fn figure(metric: Metric, figure: &Figure) -> String {
    let text = |estimate: Estimate| of_metric(metric, estimate.value);
    figure.median.map_or_else(|| "no result".to_owned(), text)
}

fn of_metric(metric: Metric, value: f64) -> String {
    match metric {
        Metric::Cost => plain(value),
        Metric::Delivered => percent(value),
        Metric::Latency | Metric::Inside => nanos(value),
        Metric::Memory => bytes(value),
    }
}

fn interval(estimate: Estimate, text: impl Fn(f64) -> String) -> String {
    let Estimate { value, low, high } = estimate;
    format!("{} [{}–{}]", text(value), text(low), text(high))
}

/// How busy a forwarder was: latency means little where it is not told under what load.
fn business(outcomes: &[Outcome]) -> Option<String> {
    let share = of_one_processor(outcomes)?;
    let outcome = outcomes.first()?;
    let than_half = match share {
        share if share < HALF_LOAD.0 => "less than",
        share if share > HALF_LOAD.1 => "more than",
        _ => "about",
    };
    Some(format!(
        "{} took {} of one processor under {}: {than_half} half load.",
        outcome.subject,
        percent(share),
        load_name(outcome)
    ))
}

fn of_one_processor(outcomes: &[Outcome]) -> Option<f64> {
    let rounds: Vec<&Outcome> = outcomes.iter().collect();
    median(&values(&rounds, |outcome| Some(outcome.subject_share())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::tests::{contest, run_all, run_of};

    const LONG: &str = "Janus sends from the device of its candidate alone and skips loopback";

    /// Three subjects, of whom the last can't be run.
    fn three() -> Comparison {
        let subjects = ["ringcast", "conventional", "janus"];
        let mut comparison = run_all(contest(&subjects, 1), 3, |side| {
            let cost = if side.subject == "ringcast" {
                400.0
            } else {
                1_000.0
            };
            run_of(side, cost)
        });
        for run in &mut comparison.sides[2] {
            run.verdict = Verdict::NoResult {
                because: LONG.to_owned(),
            };
        }
        comparison.name = "drop1 aes256".to_owned();
        comparison
    }

    fn text(comparison: &Comparison) -> String {
        let tables = tables(std::slice::from_ref(comparison));
        tables.iter().map(Table::text).collect()
    }

    #[test]
    fn many_subjects_have_an_overview_with_reasons_in_its_cells() {
        let mut comparison = three();
        let all = text(&comparison);
        let mut lines = all.lines();
        assert_eq!(
            lines.next(),
            Some("Cost per delivered packet, as a ratio to conventional")
        );
        let names = lines.next().expect("a head");
        assert!(names.contains("conventional = 1") && names.starts_with("row "));
        let row = lines.next().expect("a row");
        for part in [
            "drop1 aes256 ",
            " 0.40 [0.40–0.40] ",
            " 1000 ns ",
            "no result: Janus sends from the device of its candidate al…",
        ] {
            assert!(row.contains(part), "{part} is not in {row}");
        }
        let note = format!("No result of janus under drop1 aes256: {LONG} (3 rounds).");
        assert!(all.contains(&note) && all.contains("0/3"), "{all}");

        // A ratio counts only where every round does; a figure needs no reference.
        comparison.sides[0][1].verdict = Verdict::NoResult {
            because: "lost".to_owned(),
        };
        let told = "no result in 1 of 3 rounds: lost";
        assert!(text(&comparison).contains(told));
        let mut comparison = three();
        comparison.reference = 2;
        let all = text(&comparison);
        let row = all.lines().nth(2).expect("a row");
        assert!(
            row.contains(" 400 ns ") && row.contains(" 1000 ns "),
            "{row}"
        );
    }

    #[test]
    fn two_subjects_need_no_overview_and_a_load_without_a_row_no_name() {
        let mut two = run_all(contest(&["a", "b"], 1), 3, |side| run_of(side, 500.0));
        two.name.clone_from(&two.sides[0][0].load);
        let all = tables(&[two]);
        let [table] = all.as_slice() else {
            panic!("{} tables", all.len());
        };
        assert_eq!(table.head[..3], ["load", "left", "right"]);
        assert_eq!(table.rows.len(), 1);
    }

    #[test]
    fn only_those_who_tell_are_asked_for_what_is_inside() {
        let mut comparison = three();
        comparison.metric = Metric::Inside;
        let all = tables(std::slice::from_ref(&comparison));
        assert_eq!(all.len(), 1, "nobody is compared");
        let subjects: Vec<&str> = { all[0].rows.iter() }.map(|row| row[2].as_str()).collect();
        assert_eq!(subjects, ["ringcast"]);
        assert!(all[0].head.contains(&"left busy".to_owned()));
    }
}
