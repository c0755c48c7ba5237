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
            "{}; {} carries {} packets/s.",
            grouped(facts.nodes.into()),
            if facts.one_size {
                "each"
            } else {
                "one of the smaller size"
            },
            figure(|facts| facts.node_packets),
        ),
    ));
    all.push((
        "Sessions",
        format!(
            "{} of {} people in {} min, {} of them under names that were used before; the largest has {} people, the dearest takes {} of a smaller node.",
            grouped(facts.sessions.into()),
            figure(|facts| facts.people as f64),
            facts.span_seconds / 60,
            percent(facts.recurring),
            figure(|facts| facts.largest_session.into()),
            share(|facts| facts.largest_of_node),
        ),
    ));
    match facts.seed == latest {
        true => all.push(("Seed", format!("{}.", facts.seed))),
        false => all.push(("Seeds", format!("{} to {latest}.", facts.seed))),
    }
    all.push((
        "Measured",
        format!(
            "from minute {} on; until then the cluster fills.",
            facts.measured_from_seconds / 60
        ),
    ));
    if !facts.spikes.is_empty() {
        all.push(("Spikes", spikes(worlds)));
    }
    all.push(("Failures", failures(worlds)));
    all.push((
        "How full",
        format!(
            "nodes carry so much that each would be at {} at the worst moment if all were spread evenly, however many there are.",
            share(|facts| facts.peak_load),
        ),
    ));
    all.push(("At best", at_best(worlds)));
    all
}

/// Nodes that those who know the future need.
fn at_best(worlds: &[Report]) -> String {
    let nodes = |of: fn(&Facts) -> f64| span(worlds, of, |many| grouped(many as i64));
    format!(
        "{} nodes would do for whoever could cut sessions at will, {} with each below 80 %. Who cuts none, but knows how large each becomes, gets by with {}, and {}.",
        nodes(|facts| facts.oracle_nodes.into()),
        nodes(|facts| facts.oracle_nodes_at_80.into()),
        nodes(|facts| facts.oracle_nodes_whole.into()),
        nodes(|facts| facts.oracle_nodes_whole_at_80.into()),
    )
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
    let many = |of: fn(&Facts) -> f64| span(worlds, of, |many| grouped(many as i64));
    let rack = match worlds[0].facts.rack_lost {
        Some(at) => format!(", most of them a rack in minute {}", at / 60),
        None => String::new(),
    };
    match worlds[0].facts.deaths {
        0 => "none.".to_owned(),
        _ => format!(
            "{} nodes die{rack}; {} are drained, most to be upgraded; {} come anew.",
            many(|facts| facts.deaths.into()),
            many(|facts| facts.drains.into()),
            many(|facts| facts.added.into()),
        ),
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
