//! Simulations of placement as tables.

mod page;
mod simulated;
mod world;

pub use page::{incidents_page, page};
pub use simulated::Simulated;

use placement::incidents::{self, Verdict};
use placement::outcome::Outcome;
use placement::timing::Timings;

use super::number::{NONE, fine_percent, grouped, nanos, or_none, percent, ratio, short};
use super::table::{Table, head};
use simulated::{mean, mean_outcome, range};

/// A figure of one world.
type Of = fn(&Outcome) -> f64;

/// Who is on hot nodes: the figures by which policies are judged, as shares.
const OVERLOAD: [(&str, Of); 4] = [
    ("minutes >\u{a0}80\u{a0}%", |one| {
        one.overload_minutes[0] / one.minutes.max(1.0)
    }),
    ("minutes >\u{a0}100\u{a0}%", |one| {
        one.overload_minutes[1] / one.minutes.max(1.0)
    }),
    ("people >\u{a0}80\u{a0}%", |one| one.hot_participants[0]),
    ("people >\u{a0}100\u{a0}%", |one| one.hot_participants[1]),
];

/// What was simulated, what each policy came to, how well it predicted, and how long it took: `timings` of each seed.
pub fn tables(found: &Simulated, timings: &[Vec<Timings>]) -> Vec<Table> {
    let mut tables = vec![world::table(found)];
    tables.extend(results(&found.whole(), timings));
    tables
}

/// The same without the world, of seeds that are through.
fn results(found: &Simulated, timings: &[Vec<Timings>]) -> Vec<Table> {
    let timings = &timings[..timings.len().min(found.worlds.len())];
    let means: Vec<Outcome> = { found.policies().into_iter() }
        .map(|policy| mean_outcome(&found.of(policy)))
        .collect();
    let mut tables = vec![overload(found)];
    tables.extend(compared(found));
    tables.push(loads(&means, found.worlds.len()));
    tables.push(rack_and_tenants(&means));
    tables.extend(predictions(&means));
    tables.extend(sources(&means));
    if timings.iter().any(|of_seed| !of_seed.is_empty()) {
        tables.push(times(&summed(timings)));
    }
    tables
}

/// What the accidents of the field came to.
pub fn incidents(verdicts: &[Verdict]) -> Table {
    let all = incidents::all();
    let mut names = vec!["policy"];
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
    Table {
        title: "Accidents of the field".to_owned(),
        head: head(&names),
        rows,
        notes: about.chain([of_accidents()]).collect(),
    }
}

fn of_accidents() -> String {
    format!(
        "Load of the fullest node at the worst moment; from the best to the worst of {} seeds, where they differ. *: overload.",
        incidents::SEEDS
    )
}

fn fullest(verdict: &Verdict) -> String {
    let (best, worst) = (ratio(verdict.best()), ratio(verdict.worst()));
    let mark = if verdict.worst() > 1.0 { "* " } else { "" };
    match best == worst {
        true => format!("{mark}{worst}"),
        false => format!("{mark}{best}–{worst}"),
    }
}

/// Means over the seeds, with the least and the most.
fn overload(found: &Simulated) -> Table {
    let names = OVERLOAD.map(|(name, _)| name);
    let seeds = found.worlds.len();
    let cell = |policy: &str, figure: Of| {
        let shares: Vec<f64> = found.of(policy).into_iter().map(figure).collect();
        let percents: Vec<f64> = shares.iter().map(|share| share * 100.0).collect();
        match seeds {
            0 | 1 => fine_percent(mean(&shares)),
            _ => format!("{} {}", short(mean(&percents)), between(&percents)),
        }
    };
    let mut notes = vec![
        "minutes: the share of all participant-minutes on nodes above that load, or on none because all refused. people: the share of those who ever were on one, or were turned away."
            .to_owned(),
    ];
    if seeds > 1 {
        notes.push(format!("In percent: means of {seeds} seeds [least–most]."));
    } else {
        notes.push("One seed can't rank neighbours: --seeds N runs several.".to_owned());
    }
    Table {
        title: "Who is on overloaded nodes".to_owned(),
        head: head(&[&["policy"], &names[..]].concat()),
        rows: rows(found, cell),
        notes,
    }
}

/// How many times as many as by the reference; nothing of one seed, of which it would say little.
fn compared(found: &Simulated) -> Option<Table> {
    let names = OVERLOAD.map(|(name, _)| name);
    let cell = |policy: &str, figure: Of| {
        let ratios = found.ratios(policy, figure);
        or_none(ratios.map(|(of_means, each)| format!("{} {}", short(of_means), between(&each))))
    };
    let ran = found.policies().contains(&found.reference.as_str());
    (found.worlds.len() > 1 && ran).then(|| Table {
        title: format!("Times as many as by {}", found.reference),
        head: head(&[&["policy"], &names[..]].concat()),
        rows: rows(found, cell),
        notes: vec![
            format!("Means of all seeds, divided by those of {} [least–most of single seeds; ∞: there was nobody by {0}].", found.reference),
        ],
    })
}

fn rows(found: &Simulated, cell: impl Fn(&str, Of) -> String) -> Vec<Vec<String>> {
    let row = |policy: &str| {
        let cells = OVERLOAD.iter().map(|(_, figure)| cell(policy, *figure));
        [policy.to_owned()].into_iter().chain(cells).collect()
    };
    found.policies().into_iter().map(row).collect()
}

/// `[1.15–1.31]`.
fn between(figures: &[f64]) -> String {
    let (least, most) = range(figures);
    format!("[{}–{}]", short(least), short(most))
}

fn loads(outcomes: &[Outcome], seeds: usize) -> Table {
    let mut notes = vec!["refused and given up count all of the time.".to_owned()];
    if seeds > 1 {
        notes.push(format!("Means of {seeds} seeds; max is that of all."));
    }
    Table {
        title: "Load and refusals".to_owned(),
        head: head(&[
            "policy",
            "load p50",
            "p99",
            "max",
            "variation",
            "refused",
            "given up",
        ]),
        rows: outcomes.iter().map(load_row).collect(),
        notes,
    }
}

fn load_row(outcome: &Outcome) -> Vec<String> {
    vec![
        outcome.policy.clone(),
        ratio(outcome.load.p50),
        ratio(outcome.load.p99),
        ratio(outcome.load.max),
        ratio(outcome.variation),
        grouped(outcome.refusals as i64),
        grouped(outcome.turned_away as i64),
    ]
}

/// What the loss of a rack did, and whether tenants suffer alike.
fn rack_and_tenants(outcomes: &[Outcome]) -> Table {
    Table {
        title: "The lost rack, and tenants".to_owned(),
        head: head(&[
            "policy",
            "rack back",
            "before >\u{a0}100\u{a0}%",
            "then",
            "tenant >\u{a0}80\u{a0}%",
            "worst",
            "bursting",
            "fairness",
        ]),
        rows: outcomes.iter().map(rack_and_tenants_row).collect(),
        notes: vec![
            "rack back: until 99 % of those on a lost rack were on a node again. before: the most people who were on overloaded nodes within the minute before, then: within five minutes after.".to_owned(),
            "tenant > 80 %: since the second spike, the share of a tenant's participant-minutes that were; of the one in the middle, the one that has most, and the one that begins many sessions in that spike. fairness: Jain's index of the shares that were not, 1 if all fare alike.".to_owned(),
        ],
    }
}

fn rack_and_tenants_row(outcome: &Outcome) -> Vec<String> {
    let recovery = outcome.recovery;
    let back = recovery.and_then(|found| found.seconds);
    let tenants = outcome.tenants;
    vec![
        outcome.policy.clone(),
        or_none(back.map(|seconds| format!("{seconds:.1} s"))),
        or_none(recovery.map(|found| fine_percent(found.overloaded_before))),
        or_none(recovery.map(|found| fine_percent(found.overloaded))),
        fine_percent(tenants.usual),
        fine_percent(tenants.worst),
        fine_percent(tenants.bursting),
        format!("{:.3}", outcome.fairness),
    ]
}

/// What each policy's own account of its forecasts says.
fn sources(outcomes: &[Outcome]) -> Option<Table> {
    let rows: Vec<Vec<String>> = outcomes
        .iter()
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
        head: head(&["policy", "by", "sessions", "too many, 2^", "wrong by, 2^"]),
        rows,
        notes: vec![
            "In doublings of the streams of a session that is over, as powers of two: 1 is twice as many or half. All of the time counts. growth: by how it had grown in its first minute.".to_owned(),
        ],
    })
}

fn predictions(outcomes: &[Outcome]) -> Option<Table> {
    let rows: Vec<Vec<String>> = outcomes
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
            "policy",
            "sessions",
            "predicted / real",
            "within ×2",
            "error",
        ]),
        rows,
        notes: vec![
            "In streams. within ×2: the share of sessions that were foreseen within a factor of two. error: absolute errors of all sessions, divided by all their streams."
                .to_owned(),
        ],
    })
}

/// All seeds of a policy as one: the longest of times, decisions and runs together.
fn summed(timings: &[Vec<Timings>]) -> Vec<Timings> {
    let mut sums: Vec<Timings> = Vec::new();
    for one in timings.iter().flatten() {
        let Some(sum) = sums.iter_mut().find(|sum| sum.policy == one.policy) else {
            sums.push(one.clone());
            continue;
        };
        let (before, here) = (sum.decisions as f64, one.decisions as f64);
        // Seconds are what is added, not rates.
        let rate =
            |a: f64, b: f64| (before + here) / (before / a + here / b).max(f64::MIN_POSITIVE);
        sum.rate = rate(sum.rate, one.rate);
        sum.rate_with_all = rate(sum.rate_with_all, one.rate_with_all);
        sum.decisions += one.decisions;
        sum.p50 = sum.p50.max(one.p50);
        sum.p99 = sum.p99.max(one.p99);
        sum.max = sum.max.max(one.max);
        sum.run_seconds += one.run_seconds;
    }
    sums
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
        head: head(&["policy", "decisions", "a second", "with all", "p50", "p99", "max", "run"]),
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
    use placement::run::{Facts, Report};

    pub(in crate::report) fn example() -> (Simulated, Vec<Vec<Timings>>) {
        let outcome = |policy: &str| Outcome {
            policy: policy.to_owned(),
            load: Quantiles {
                p50: 0.31,
                p99: 0.97,
                max: 1.42,
            },
            overload_minutes: [3621.0, 1234.5],
            minutes: 100_000.0,
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
                span_seconds: 5400,
                seed: 3,
                spikes: vec![(900, 32.4)],
                rack_lost: Some(4860),
                deaths: 46,
                drains: 2200,
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
        let found = Simulated {
            reference: "ours".to_owned(),
            worlds: vec![report],
            ..Simulated::default()
        };
        (found, vec![timings])
    }

    pub(in crate::report) fn of_two_seeds() -> Simulated {
        let (mut found, _) = example();
        let mut other = found.worlds[0].clone();
        other.facts.seed = 4;
        other.outcomes[0].hot_participants[1] = 0.1356;
        found.worlds.push(other);
        found
    }

    fn texts(found: &Simulated, timings: &[Vec<Timings>]) -> String {
        tables(found, timings)
            .iter()
            .map(|table| table.narrow_text(100))
            .collect()
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
        assert_eq!(table.rows[0][..3], ["jitsi", "0.20–0.31", NONE]);
        assert_eq!(table.rows[0][3..], ["* 1.40", NONE, NONE]);
        assert_eq!(table.rows[1][..3], ["jitsi-split", NONE, "* 0.90–1.50"]);
    }

    #[test]
    fn all_that_was_found_is_in_the_tables() {
        let (found, timings) = example();
        let texts = texts(&found, &timings);
        for part in [
            "3.62 %",
            "9.44 %",
            "7.9 s",
            "32 times as many in minute 15",
            "46 nodes die, most of them a rack in minute 81; 2200 are drained",
            "1.21",
            "1\u{202f}234\u{202f}568",
            "1.2 µs",
        ] {
            assert!(texts.contains(part), "{part} is not in\n{texts}");
        }
        assert!(
            texts.lines().all(|line| line.chars().count() <= 100),
            "{texts}"
        );
        assert_eq!(
            predictions(&found.worlds[0].outcomes)
                .expect("one predicts")
                .rows
                .len(),
            1
        );
        assert!(compared(&found).is_none(), "one seed compares nobody");
    }

    #[test]
    fn seeds_give_means_ranges_and_ratios() {
        let found = of_two_seeds();
        let texts = texts(&found, &[]);
        for part in [
            "Seeds: 3 to 4",
            "8.47 [3.39–13.6]",
            "2.50 [1.00–4.00]",
            "1.00 [1.00–1.00]",
        ] {
            assert!(texts.contains(part), "{part} is not in\n{texts}");
        }
        assert!(
            texts.lines().all(|line| line.chars().count() <= 100),
            "{texts}"
        );
        let partial = Simulated {
            partial: true,
            reference: "jitsi".to_owned(),
            ..found
        };
        assert!(compared(&partial).is_none(), "the reference did not run");
        assert!(super::tests::texts(&partial, &[]).contains("Partial"));
    }

    #[test]
    fn seeds_are_one_time() {
        let one = |decisions: u64, rate: f64| Timings {
            policy: "ours".to_owned(),
            decisions,
            rate,
            rate_with_all: rate,
            run_seconds: 2.0,
            ..Timings::default()
        };
        let sums = summed(&[vec![one(100, 50.0)], vec![one(300, 100.0)]]);
        assert_eq!((sums.len(), sums[0].decisions), (1, 400));
        assert!((sums[0].rate - 80.0).abs() < 1e-9 && sums[0].run_seconds == 4.0);
    }
}
