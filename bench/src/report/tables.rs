//! The tables of a report.

use super::number::{bytes, grouped, nanos, or_none, percent, plain, ratio};
use super::table::head;
use super::{RampRecord, Report, Table, compared};
use crate::compare::median;
use crate::measure::Machine;
use crate::outcome::{Distribution, Memory, Outcome, Verdict};
use crate::scenario::Judgement;

/// With fewer transports their memory is not told.
const TRANSPORTS_MIN: u64 = 50;

/// All that have rows.
pub(super) fn all(report: &Report) -> Vec<Table> {
    let mut tables = compared::tables(&report.comparisons);
    let groups = groups(report);
    if !groups.is_empty() {
        tables.push(costs(&groups));
        let has_result = |group: &&Group<'_>| group.rounds.iter().any(|round| round.is_result());
        let good: Vec<&Group<'_>> = groups.iter().filter(has_result).collect();
        if !good.is_empty() {
            tables.push(qualities(&good));
        }
    }
    tables.extend(report.ramps.iter().map(ramp));
    tables
}

/// The rounds of one subject under one load.
pub(super) struct Group<'a> {
    pub(super) load: String,
    pub(super) subject: &'a str,
    pub(super) rounds: Vec<&'a Outcome>,
}

/// All runs of a report but those of ramps, by load and subject, in their order.
pub(super) fn groups(report: &Report) -> Vec<Group<'_>> {
    let of_comparisons = report
        .comparisons
        .iter()
        .flat_map(|comparison| comparison.sides.iter().flatten());
    let mut groups: Vec<Group<'_>> = Vec::new();
    for outcome in of_comparisons.chain(&report.runs) {
        let load = load_name(outcome);
        let known = groups
            .iter_mut()
            .find(|group| group.load == load && group.subject == outcome.subject);
        match known {
            Some(group) => group.rounds.push(outcome),
            None => groups.push(Group {
                load,
                subject: &outcome.subject,
                rounds: vec![outcome],
            }),
        }
    }
    groups
}

/// The load with its exit, which only some names tell, and its suite.
pub(super) fn load_name(outcome: &Outcome) -> String {
    let exit = outcome.exit.to_string();
    let suite = outcome.suite;
    if outcome.load.starts_with(&exit) {
        format!("{}, {suite}", outcome.load)
    } else {
        format!("{exit}, {}, {suite}", outcome.load)
    }
}

/// One line about a machine.
pub(super) fn machine_line(machine: &Machine) -> String {
    let kind = if machine.virtual_machine {
        ", virtual"
    } else {
        ""
    };
    format!(
        "{} × {}{kind}, Linux {}, {}",
        machine.processors,
        machine.processor,
        machine.kernel,
        bytes(machine.memory as f64)
    )
}

/// The rounds' values of some figure, those that have it.
pub(super) fn values(rounds: &[&Outcome], figure: impl Fn(&Outcome) -> Option<f64>) -> Vec<f64> {
    rounds
        .iter()
        .filter(|outcome| outcome.is_result())
        .filter_map(|outcome| figure(outcome))
        .collect()
}

/// All rounds' distributions in one.
pub(super) fn merged<'a>(
    rounds: &[&'a Outcome],
    part: impl Fn(&'a Outcome) -> Option<&'a Distribution>,
) -> Option<Distribution> {
    let mut buckets = std::collections::BTreeMap::new();
    let mut open_above = None;
    let results = rounds.iter().filter(|outcome| outcome.is_result());
    for distribution in results.filter_map(|outcome| part(outcome)) {
        open_above = open_above.max(distribution.open_above);
        for (value, count) in &distribution.buckets {
            *buckets.entry(*value).or_insert(0) += count;
        }
    }
    let buckets: Vec<(u64, u64)> = buckets.into_iter().collect();
    let merged = Distribution::from_buckets(&buckets)?;
    Some(Distribution {
        open_above,
        ..merged
    })
}

/// Why runs have no result, each reason once.
pub(super) fn failures(name: &str, outcomes: &[Outcome]) -> Vec<String> {
    let mut reasons: Vec<(String, usize)> = Vec::new();
    for outcome in outcomes {
        let Verdict::NoResult { because } = &outcome.verdict else {
            continue;
        };
        let text = format!("No result of {} under {name}: {because}", outcome.subject);
        match reasons.iter_mut().find(|(known, _)| *known == text) {
            Some((_, times)) => *times += 1,
            None => reasons.push((text, 1)),
        }
    }
    let said = |(text, times): (String, usize)| match times {
        1 => format!("{text}."),
        times => format!("{text} ({times} rounds)."),
    };
    reasons.into_iter().map(said).collect()
}

/// What runs cost.
fn costs(groups: &[Group<'_>]) -> Table {
    let mut notes = Vec::new();
    for group in groups {
        let rounds: Vec<Outcome> = group.rounds.iter().copied().cloned().collect();
        notes.extend(failures(&group.load, &rounds));
        for outcome in &group.rounds {
            let said = outcome.notes.iter();
            notes.extend(
                said.map(|note| format!("{} under {}: {note}.", outcome.subject, outcome.load)),
            );
        }
    }
    let mut seen = std::collections::BTreeSet::new();
    notes.retain(|note| seen.insert(note.clone()));
    Table {
        title: "Runs: what they cost".to_owned(),
        head: head(&[
            "load",
            "subject",
            "ns/packet",
            "least",
            "bare send",
            "in sends",
            "machine ns",
            "generator ns",
            "generator",
            "packets/s",
            "lost",
            "checked",
            "syscalls/packet",
        ]),
        rows: groups.iter().map(cost_row).collect(),
        notes,
    }
    .without_empty_columns()
}

fn cost_row(group: &Group<'_>) -> Vec<String> {
    let rounds = &group.rounds;
    let of = |figure: fn(&Outcome) -> Option<f64>| median(&values(rounds, figure));
    let costs = values(rounds, Outcome::cost);
    let whole = |value: f64| grouped(value.round() as i64);
    vec![
        group.load.clone(),
        group.subject.to_owned(),
        median(&costs).map_or_else(|| "no result".to_owned(), plain),
        or_none(costs.iter().copied().reduce(f64::min).map(plain)),
        or_none(of(|outcome| outcome.bare_send).map(plain)),
        or_none(of(Outcome::cost_in_bare_sends).map(ratio)),
        or_none(of(Outcome::machine_cost).map(plain)),
        or_none(of(Outcome::generator_cost).map(plain)),
        or_none(of(|outcome| Some(outcome.generator_share())).map(percent)),
        or_none(of(|outcome| Some(outcome.rate())).map(whole)),
        or_none(of(|outcome| Some(outcome.packets.loss())).map(percent)),
        or_none(of(|outcome| Some(outcome.packets.checked as f64)).map(whole)),
        or_none(of(|outcome| outcome.syscalls_per_packet).map(plain)),
    ]
}

/// How well runs went.
fn qualities(groups: &[&Group<'_>]) -> Table {
    Table {
        title: "Runs: latency, sends, memory, joins".to_owned(),
        head: head(&[
            "load",
            "subject",
            "latency p50",
            "p99",
            "p99.9",
            "inside p50",
            "inside p99",
            "packets/send",
            "in threes or more",
            "per transport",
            "join p50",
            "join p99",
            "join whole p50",
            "all joined",
        ]),
        rows: groups.iter().map(|group| quality_row(group)).collect(),
        notes: memory_slopes(groups),
    }
    .without_empty_columns()
}

fn quality_row(group: &Group<'_>) -> Vec<String> {
    let rounds = &group.rounds;
    let of = |figure: fn(&Outcome) -> Option<f64>| median(&values(rounds, figure));
    let latency = merged(rounds, |outcome| outcome.latency.as_ref());
    let inside = merged(rounds, |outcome| outcome.forwarding_latency.as_ref());
    let lengths = merged(rounds, |outcome| outcome.run_lengths.as_ref());
    let joins = merged(rounds, |outcome| outcome.joins.as_ref());
    let whole_joins = merged(rounds, |outcome| outcome.whole_joins.as_ref());
    let all_joined = |outcome: &Outcome| Some(outcome.all_joined?.as_nanos() as f64);
    let time = |of: Option<u64>| or_none(of.map(|value| nanos(value as f64)));
    let time_inside = |quantile: fn(&Distribution) -> u64| {
        let inside = inside.as_ref()?;
        let value = quantile(inside);
        let open = inside.open_above.filter(|bound| value > *bound);
        Some(open.map_or_else(
            || nanos(value as f64),
            |bound| format!("> {}", nanos(bound as f64)),
        ))
    };
    vec![
        group.load.clone(),
        group.subject.to_owned(),
        time(latency.as_ref().map(|latency| latency.p50)),
        time(latency.as_ref().map(|latency| latency.p99)),
        time(latency.as_ref().map(|latency| latency.p999)),
        or_none(time_inside(|inside| inside.p50)),
        or_none(time_inside(|inside| inside.p99)),
        or_none(lengths.as_ref().map(|lengths| plain(lengths.mean))),
        or_none(
            lengths
                .as_ref()
                .map(|lengths| percent(in_runs_of(lengths, 3))),
        ),
        or_none(of(per_transport).map(bytes)),
        time(joins.as_ref().map(|joins| joins.p50)),
        time(joins.as_ref().map(|joins| joins.p99)),
        time(whole_joins.as_ref().map(|joins| joins.p50)),
        or_none(of(all_joined).map(nanos)),
    ]
}

/// What a transport takes, for each subject that was seen with few and with many: what a process has anyway cancels out.
fn memory_slopes(groups: &[&Group<'_>]) -> Vec<String> {
    let mut sizes: Vec<(&str, Memory)> = Vec::new();
    for group in groups {
        let rounds = group.rounds.iter().filter(|round| round.is_result());
        let memory = rounds.filter_map(|round| round.memory);
        sizes.extend(memory.map(|memory| (group.subject, memory)));
    }
    let mut notes = Vec::new();
    while let Some((subject, _)) = sizes.first().copied() {
        let of_subject = sizes.extract_if(.., |(other, _)| *other == subject);
        let mut found: Vec<Memory> = of_subject.map(|(_, memory)| memory).collect();
        found.sort_by_key(|memory| memory.transports);
        if let (Some(few), Some(many)) = (found.first(), found.last())
            && let Some(slope) = many.slope_from(few)
        {
            notes.push(format!(
                "Memory of {subject} from {} to {} transports: {} each.",
                few.transports,
                many.transports,
                bytes(slope)
            ));
        }
    }
    notes
}

/// Memory of a transport, where there are enough of them to tell it from what a process takes anyway.
fn per_transport(outcome: &Outcome) -> Option<f64> {
    let memory = outcome.memory?;
    (memory.transports >= TRANSPORTS_MIN)
        .then(|| memory.per_transport())
        .flatten()
}

/// The share of packets that left in runs of at least so many.
fn in_runs_of(lengths: &Distribution, least: u64) -> f64 {
    let packets = |from: u64| -> f64 {
        let long = lengths.buckets.iter().filter(|(length, _)| *length >= from);
        long.map(|(length, count)| *length as f64 * *count as f64)
            .sum()
    };
    packets(least) / packets(0).max(1.0)
}

fn ramp(ramp: &RampRecord) -> Table {
    let mut notes = Vec::new();
    let sign = if ramp.at_least { "≥ " } else { "" };
    let best = ramp
        .steps
        .iter()
        .rfind(|step| Some(step.size) == ramp.carried && step.judgement == Judgement::Carried);
    if let Some(step) = best {
        let busy = step.outcome.subject_share();
        let rate = grouped(step.outcome.rate().round() as i64);
        notes.push(format!(
            "Carried: {sign}{} streams, {rate} packets/s, with {} of one processor.",
            grouped(step.streams_out as i64),
            percent(busy),
        ));
    } else {
        notes.push("Nothing was carried.".to_owned());
    }
    let row = |step: &super::RampStep| {
        let outcome = &step.outcome;
        let verdict = match &step.judgement {
            Judgement::Carried => "carried".to_owned(),
            Judgement::Broke(why) => format!("too much: {why}"),
            Judgement::GeneratorFull(why) => format!("generator full: {why}"),
            Judgement::Failed(why) => format!("failed: {why}"),
        };
        vec![
            step.size.to_string(),
            grouped(step.streams_out as i64),
            grouped(outcome.rate().round() as i64),
            percent(outcome.packets.loss()),
            or_none(outcome.latency.as_ref().map(|it| nanos(it.p99 as f64))),
            percent(outcome.subject_share()),
            percent(outcome.generator_share()),
            verdict,
        ]
    };
    let load = ramp.steps.first().map(|step| load_name(&step.outcome));
    Table {
        title: format!(
            "Ramp of {}, from {}",
            ramp.subject,
            load.unwrap_or_default()
        ),
        head: head(&[
            "size",
            "streams out",
            "packets/s",
            "lost",
            "latency p99",
            "processor",
            "generator",
            "verdict",
        ]),
        rows: ramp.steps.iter().map(row).collect(),
        notes,
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::example;
    use super::*;

    #[test]
    fn everything_measured_is_in_the_tables() {
        let text = example().text();
        for part in [
            "Cost per delivered packet, compared",
            "≤ 0.50",
            "yes",
            "no result",
            "3 of 100 checked payloads were wrong (3 rounds).",
            "Ramp of ringcast",
            "Carried: 240 streams, 100\u{202f}000 packets/s",
            "too much: 2.00 % lost",
            "10 KiB",
            "bare send",
            "2000",
            "join whole p50",
            "77 ms",
            "2.5 s",
        ] {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
        assert!(!text.contains("inside p50"), "nobody measured it");
    }

    #[test]
    fn latency_says_how_busy_it_was_and_what_is_not_known_of_it() {
        let mut report = example();
        report.comparisons.truncate(1);
        let comparison = &mut report.comparisons[0];
        comparison.metric = crate::compare::Metric::Latency;
        for outcome in &mut comparison.sides[0] {
            outcome.processor.subject = outcome.measured / 2;
            outcome.forwarding_latency =
                Distribution::from_open_buckets(&[(50_000, 90), (5_000_000, 0)], 10);
        }
        let text = report.text();
        for part in ["AES-256-GCM: about half load.", "> 5 ms", "50 µs"] {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
    }

    #[test]
    fn rounds_of_a_subject_are_one_row() {
        let mut report = example();
        report.comparisons.truncate(1);
        report.runs.clear();
        let groups = groups(&report);
        let sizes: Vec<(&str, usize)> = groups
            .iter()
            .map(|group| (group.subject, group.rounds.len()))
            .collect();
        assert_eq!(sizes, [("ringcast", 5), ("conventional", 5)]);
        let latency = merged(&groups[0].rounds, |outcome| outcome.latency.as_ref());
        let one = groups[0].rounds[0].latency.as_ref().expect("measured");
        assert_eq!(latency.expect("measured").count, 5 * one.count);
    }
}
