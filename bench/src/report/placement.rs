//! Simulations of placement as tables.

mod page;

pub use page::page;

use placement::incidents::{self, Verdict};
use placement::outcome::Outcome;
use placement::run::{Facts, Report};
use placement::timing::Timings;

use super::number::{NONE, grouped, nanos, or_none, percent, ratio};
use super::table::{Table, head};

/// What each policy came to, how well it predicted, and how long it took.
pub fn tables(report: &Report, timings: &[Timings]) -> Vec<Table> {
    let mut tables = vec![outcomes(report)];
    tables.extend(predictions(report));
    tables.extend(sources(report));
    if !timings.is_empty() {
        tables.push(times(timings));
    }
    tables
}

/// What the accidents of the field came to.
pub fn incidents(verdicts: &[Verdict]) -> Table {
    let all = incidents::all();
    let mut names = vec!["subject"];
    names.extend(all.iter().map(|incident| incident.name));
    let mut rows: Vec<Vec<String>> = Vec::new();
    for one in verdicts {
        let row = rows.iter().position(|row| row[0] == one.policy);
        let row = row.unwrap_or_else(|| {
            let mut row = vec![NONE.to_owned(); names.len()];
            row[0].clone_from(&one.policy);
            rows.push(row);
            rows.len() - 1
        });
        if let Some(column) = names.iter().position(|name| *name == one.incident) {
            rows[row][column] = fullest(one);
        }
    }
    let about = all
        .iter()
        .map(|incident| format!("{}: {}.", incident.name, incident.about));
    let notes = about.chain([format!(
        "Load of the fullest node at the worst moment; from the best to the worst of {} seeds, where they differ.",
        incidents::SEEDS
    )]);
    Table {
        title: "Accidents of the field".to_owned(),
        head: head(&names),
        rows,
        notes: notes.collect(),
    }
}

fn fullest(verdict: &Verdict) -> String {
    let (best, worst) = (ratio(verdict.best()), ratio(verdict.worst()));
    let is = if verdict.worst() > 1.0 {
        "overload "
    } else {
        ""
    };
    match best == worst {
        true => format!("{is}{worst}"),
        false => format!("{is}{best} to {worst}"),
    }
}

fn outcomes(report: &Report) -> Table {
    Table {
        title: "Placement".to_owned(),
        head: head(&[
            "subject",
            "load p50",
            "p99",
            "max",
            "variation",
            "min >\u{a0}80\u{a0}%",
            "min >\u{a0}100\u{a0}%",
            "people >\u{a0}80\u{a0}%",
            "people >\u{a0}100\u{a0}%",
            "refused",
            "given up",
            "rack back",
            "then >\u{a0}100\u{a0}%",
            "fairness",
        ]),
        rows: report.outcomes.iter().map(row).collect(),
        notes: notes(&report.facts),
    }
}

fn row(outcome: &Outcome) -> Vec<String> {
    let whole = |minutes: f64| grouped(minutes.round() as i64);
    let recovery = outcome.recovery;
    let back = recovery.and_then(|found| found.seconds);
    vec![
        outcome.policy.clone(),
        ratio(outcome.load.p50),
        ratio(outcome.load.p99),
        ratio(outcome.load.max),
        ratio(outcome.variation),
        whole(outcome.overload_minutes[0]),
        whole(outcome.overload_minutes[1]),
        percent(outcome.hot_participants[0]),
        percent(outcome.hot_participants[1]),
        grouped(outcome.refusals as i64),
        grouped(outcome.turned_away as i64),
        or_none(back.map(|seconds| format!("{seconds:.1} s"))),
        or_none(recovery.map(|found| percent(found.overloaded))),
        ratio(outcome.fairness),
    ]
}

fn notes(facts: &Facts) -> Vec<String> {
    let many = |number: u64| grouped(number as i64);
    let spikes = facts.spikes.iter();
    let spikes: Vec<String> = spikes
        .map(|(at, factor)| format!("{factor:.0} times as many sessions in minute {}", at / 60))
        .collect();
    vec![
        format!(
            "{} nodes, {} sessions of {} people in {} min, seed {}; {}; {} events of nodes.",
            many(facts.nodes.into()),
            many(facts.sessions.into()),
            many(facts.people),
            facts.span_seconds / 60,
            facts.seed,
            spikes.join(", "),
            facts.faults,
        ),
        format!(
            "A node of the smaller size carries {} packets/s. The largest session has {} people; the dearest takes {} of such a node.",
            many(facts.node_packets.round() as u64),
            facts.largest_session,
            percent(facts.largest_of_node),
        ),
        format!(
            "All nodes together carry so much that they are at {} at the worst moment if that is spread evenly: who could cut sessions at will would need {} nodes, and {} to keep each below 80 %.",
            percent(facts.peak_load),
            many(facts.oracle_nodes.into()),
            many(facts.oracle_nodes_at_80.into()),
        ),
        "min: participant-minutes on nodes above that load, or on none because all refused. people: who ever were on one, or were turned away. rack back: until 99 % of those on a lost rack were on a node again; then > 100 %: the most that were on overloaded nodes within five minutes. fairness: Jain's index of the tenants' shares of time above 80 %: 1 if all suffer alike; where few do, chance picks them.".to_owned(),
    ]
}

/// What each policy's own account of its forecasts says.
fn sources(report: &Report) -> Option<Table> {
    let judged = report.outcomes.iter().filter(|one| !one.sources.is_empty());
    let rows: Vec<Vec<String>> = judged
        .flat_map(|outcome| {
            outcome.sources.iter().map(|of| {
                vec![
                    outcome.policy.clone(),
                    of.source.clone(),
                    grouped(of.sessions as i64),
                    format!("{:+.2}", of.bias),
                    ratio(of.error),
                ]
            })
        })
        .collect();
    (!rows.is_empty()).then(|| Table {
        title: "Forecasts by source".to_owned(),
        head: head(&["subject", "by", "sessions", "too many", "wrong by"]),
        rows,
        notes: vec![
            "In doublings of the streams of a session that is over: 1 is twice as many or half. growth: by how it had grown in its first minute.".to_owned(),
        ],
    })
}

fn predictions(report: &Report) -> Option<Table> {
    let rows: Vec<Vec<String>> = report
        .outcomes
        .iter()
        .filter_map(|outcome| Some((outcome, outcome.prediction?)))
        .map(|(outcome, found)| {
            vec![
                outcome.policy.clone(),
                grouped(found.sessions as i64),
                ratio(found.bias),
                percent(found.within_two),
                percent(found.error),
            ]
        })
        .collect();
    (!rows.is_empty()).then(|| Table {
        title: "Predicted peaks".to_owned(),
        head: head(&[
            "subject",
            "sessions",
            "predicted / real",
            "within a factor of two",
            "error",
        ]),
        rows,
        notes: vec![
            "In streams. error: absolute errors of all sessions, divided by all their streams."
                .to_owned(),
        ],
    })
}

fn times(timings: &[Timings]) -> Table {
    let row = |one: &Timings| {
        let rate = |rate: f64| match one.decisions {
            0 => NONE.to_owned(),
            _ => grouped(rate.round() as i64),
        };
        vec![
            one.policy.clone(),
            grouped(one.decisions as i64),
            rate(one.rate),
            rate(one.rate_with_all),
            nanos(one.p50),
            nanos(one.p99),
            nanos(one.max),
            format!("{:.1} s", one.run_seconds),
        ]
    };
    Table {
        title: "Decisions, in real time".to_owned(),
        head: head(&["subject", "decisions", "a second", "with all", "p50", "p99", "max", "run"]),
        rows: timings.iter().map(row).collect(),
        notes: vec![
            "with all: what the policy does between decisions is reckoned in: reports, users that come and go, ends. Each run is on one thread; single decisions wait where other threads need the processor.".to_owned(),
        ],
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use placement::outcome::{Prediction, Quantiles, Recovery};

    pub(in crate::report) fn example() -> (Report, Vec<Timings>) {
        let outcome = |policy: &str| Outcome {
            policy: policy.to_owned(),
            load: Quantiles {
                p50: 0.31,
                p99: 0.97,
                max: 1.42,
            },
            overload_minutes: [36_286.4, 1234.5],
            hot_participants: [0.0944, 0.0339],
            recovery: Some(Recovery {
                people: 10,
                seconds: Some(7.94),
                ..Recovery::default()
            }),
            prediction: (policy == "ours").then_some(Prediction {
                sessions: 7,
                bias: 1.21,
                within_two: 0.75,
                error: 0.5,
            }),
            ..Outcome::default()
        };
        let report = Report {
            facts: Facts {
                nodes: 10_000,
                spikes: vec![(900, 32.4)],
                ..Facts::default()
            },
            outcomes: vec![outcome("random"), outcome("ours")],
        };
        let timings = vec![Timings {
            policy: "ours".to_owned(),
            decisions: 5,
            rate: 1_234_567.8,
            p99: 1234.0,
            ..Timings::default()
        }];
        (report, timings)
    }

    #[test]
    fn who_overloads_in_an_incident_is_marked() {
        let verdict = |incident: &str, policy: &str, fullest: [f64; 2]| Verdict {
            incident: incident.to_owned(),
            policy: policy.to_owned(),
            fullest: fullest.to_vec(),
        };
        let table = incidents(&[
            verdict("herd", "jitsi", [0.2, 0.31]),
            verdict("classroom", "jitsi", [1.402, 1.402]),
            verdict("conference", "jitsi-split", [0.9, 1.5]),
        ]);
        assert_eq!(table.rows[0][..3], ["jitsi", "0.20 to 0.31", NONE]);
        assert_eq!(table.rows[0][3..], ["overload 1.40", NONE, NONE]);
        assert_eq!(
            table.rows[1][..3],
            ["jitsi-split", NONE, "overload 0.90 to 1.50"]
        );
    }

    #[test]
    fn all_that_was_found_is_in_the_tables() {
        let (report, timings) = example();
        let texts = tables(&report, &timings)
            .iter()
            .map(Table::text)
            .collect::<String>();
        for part in [
            "36\u{202f}286",
            "9.4 %",
            "7.9 s",
            "32 times as many sessions in minute 15",
            "1.21",
            "1\u{202f}234\u{202f}568",
            "1.2 µs",
        ] {
            assert!(texts.contains(part), "{part} is not in\n{texts}");
        }
        let predicted = predictions(&report).expect("one predicts");
        assert_eq!(predicted.rows.len(), 1);
    }
}
