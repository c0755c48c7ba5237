//! What was simulated, in sentences.

use placement::run::{Facts, Report};

use super::super::number::{grouped, percent};
use super::super::table::Table;
use super::simulated::{Simulated, range};

/// For a terminal: sentences without figures in columns.
pub(super) fn table(found: &Simulated) -> Table {
    let sentences = sentences(found).into_iter();
    Table {
        title: "Placement, simulated".to_owned(),
        head: Vec::new(),
        rows: Vec::new(),
        notes: sentences
            .map(|(name, text)| format!("{name}: {text}"))
            .collect(),
    }
}

/// What is said of it, each under its name.
pub(super) fn sentences(found: &Simulated) -> Vec<(&'static str, String)> {
    let mut all = Vec::new();
    if found.partial {
        all.push(("Partial", partial(found)));
    }
    let worlds = &found.whole().worlds;
    let (Some(first), Some(last)) = (worlds.first(), worlds.last()) else {
        return all;
    };
    let (facts, latest) = (&first.facts, last.facts.seed);
    let figure = |of: fn(&Facts) -> f64| span(worlds, of, |value| grouped(value.round() as i64));
    let share = |of: fn(&Facts) -> f64| span(worlds, of, percent);
    all.push((
        "Nodes",
        format!(
            "{}; one of the smaller size carries {} packets/s.",
            grouped(facts.nodes.into()),
            figure(|facts| facts.node_packets),
        ),
    ));
    all.push((
        "Sessions",
        format!(
            "{} of {} people in {} min; the largest has {} people, the dearest takes {} of a smaller node.",
            grouped(facts.sessions.into()),
            figure(|facts| facts.people as f64),
            facts.span_seconds / 60,
            figure(|facts| facts.largest_session.into()),
            share(|facts| facts.largest_of_node),
        ),
    ));
    match facts.seed == latest {
        true => all.push(("Seed", format!("{}.", facts.seed))),
        false => all.push(("Seeds", format!("{} to {latest}.", facts.seed))),
    }
    if !facts.spikes.is_empty() {
        all.push(("Spikes", spikes(worlds)));
    }
    all.push(("Failures", failures(worlds)));
    all.push((
        "At best",
        format!(
            "nodes carry so much that all are at {} at the worst moment if that is spread evenly: who could cut sessions at will would need {} of them, and {} to keep each below 80 %.",
            share(|facts| facts.peak_load),
            figure(|facts| facts.oracle_nodes.into()),
            figure(|facts| facts.oracle_nodes_at_80.into()),
        ),
    ));
    all
}

fn partial(found: &Simulated) -> String {
    match found.unfinished() {
        Some(left_out) => format!(
            "it was interrupted; seed {}, with which {} policies are through, is not in what follows.",
            left_out.facts.seed,
            left_out.outcomes.len(),
        ),
        None => "it was interrupted; policies are missing, or seeds.".to_owned(),
    }
}

fn spikes(worlds: &[Report]) -> String {
    let minutes = worlds[0].facts.spikes.iter().map(|(at, _)| at / 60);
    let texts = minutes.enumerate().map(|(number, minute)| {
        let factors = worlds.iter().filter_map(|one| one.facts.spikes.get(number));
        let factors: Vec<f64> = factors.map(|(_, factor)| factor.round()).collect();
        let factors = from_to(&factors, |factor| format!("{factor:.0}"));
        format!("{factors} times as many in minute {minute}")
    });
    texts.collect::<Vec<_>>().join(", ") + "."
}

fn failures(worlds: &[Report]) -> String {
    let events = span(
        worlds,
        |facts| facts.faults.into(),
        |many| grouped(many as i64),
    );
    match worlds[0].facts.rack_lost {
        Some(at) => format!(
            "{events} events of nodes. A rack is lost in minute {}.",
            at / 60
        ),
        None => format!("{events} events of nodes."),
    }
}

/// A figure of all worlds.
fn span(worlds: &[Report], of: fn(&Facts) -> f64, show: impl Fn(f64) -> String) -> String {
    let figures: Vec<f64> = worlds.iter().map(|world| of(&world.facts)).collect();
    from_to(&figures, show)
}

/// One figure where all are shown alike.
fn from_to(figures: &[f64], show: impl Fn(f64) -> String) -> String {
    let (least, most) = range(figures);
    let (least, most) = (show(least), show(most));
    match least == most {
        true => least,
        false => format!("{least} to {most}"),
    }
}
