//! Whole runs of small worlds.

use std::collections::BTreeMap;

use clock::Rng;
use placement::autoscale::{Autoscaler, Order, Seen};
use placement::node::Reading;
use placement::outcome::Outcome;
use placement::policy::{Cadence, Entry, Family, Policy, Refused, Request, Standing, named};
use placement::run::{PEAK_LOAD, Plan, Report, run};
use placement::workload::{RECURRING, Scale, Workload};

fn plan(policies: &[&str], seed: u64) -> Plan {
    Plan {
        scale: Scale {
            nodes: 60,
            sessions: 3000,
            span: 3_000_000,
            seed,
            recurring: RECURRING,
            one_size: false,
        },
        policies: policies
            .iter()
            .map(|name| named(name).expect("known"))
            .collect(),
        threads: 2,
        peak_load: PEAK_LOAD,
        calm: false,
        autoscaler: None,
        clock: None,
    }
}

fn report(plan: &Plan) -> Report {
    run(plan, &|_| ()).0
}

fn outcome<'a>(report: &'a Report, policy: &str) -> &'a Outcome {
    let mut found = report.outcomes.iter().filter(|one| one.policy == policy);
    found.next().expect("it ran")
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    let policies = ["random", "ours", "least-1s"];
    let bytes = |plan: &Plan| serde_json::to_string(&report(plan)).expect("plain data");
    let once = bytes(&plan(&policies, 5));
    let alone = Plan {
        threads: 1,
        ..plan(&policies, 5)
    };
    assert!(once == bytes(&alone), "however many threads there are");
    assert!(
        once != bytes(&plan(&policies, 6)),
        "another seed is another world"
    );
}

#[test]
fn whoever_came_went_or_is_inside() {
    for one in report(&plan(&["random", "ours", "least-1s"], 7)).outcomes {
        let people = one.people;
        assert!(people.came > 8000, "{people:?}");
        assert_eq!(
            people.came,
            people.went + people.inside + people.turned_away,
            "{}",
            one.policy
        );
        let again = one.recovery.expect("a rack was lost");
        assert!(again.people > 0 && again.seconds.is_some(), "{again:?}");
        // Of a sixtieth of the nodes.
        assert!(again.people * 10 < people.came, "{again:?}");
        assert!(one.placements >= 3000 - one.turned_away);
    }
}

#[test]
fn what_is_plainly_bad_is_measured_as_bad() {
    let report = report(&plan(&["random", "ours"], 9));
    let (random, ours) = (outcome(&report, "random"), outcome(&report, "ours"));
    assert!(
        random.overload_minutes[1] > 2.0 * ours.overload_minutes[1],
        "{random:?} {ours:?}"
    );
    assert!(random.hot_participants[1] > ours.hot_participants[1]);
    assert!(random.variation > ours.variation);
    assert!(ours.prediction.is_some() && random.prediction.is_none());
}

/// Takes one session in two.
#[derive(Default)]
struct Choosy(Vec<u32>);

impl Policy for Choosy {
    fn cadence(&self) -> Option<Cadence> {
        None
    }

    fn node(&mut self, _now: u64, node: u32, standing: Standing) {
        self.0.retain(|known| *known != node);
        if standing == Standing::Takes {
            self.0.push(node);
        }
    }

    fn report(&mut self, _now: u64, _node: u32, _reading: &Reading) {}

    fn place(&mut self, _now: u64, request: &Request, rng: &mut Rng) -> Result<u32, Refused> {
        if request.session.is_multiple_of(2) || self.0.is_empty() {
            return Err(Refused);
        }
        Ok(self.0[rng.below(self.0.len() as u64) as usize])
    }
}

#[test]
fn nobody_wins_by_turning_people_away() {
    let mut plan = plan(&["random"], 9);
    plan.policies.push(Entry {
        name: "choosy",
        family: Family::Textbook,
        about: "refuses every other session",
        make: || Box::<Choosy>::default(),
    });
    let report = report(&plan);
    let (random, choosy) = (outcome(&report, "random"), outcome(&report, "choosy"));
    assert_eq!(random.unserved_minutes, 0.0);
    assert!(
        choosy.overload_minutes[1] > 2.0 * random.overload_minutes[1],
        "{choosy:?}"
    );
    assert!(choosy.hot_participants[1] > 0.4 && choosy.turned_away > 1400);
    // Who would have come is known as well, so both worlds have the same people and minutes, up to moments of failures.
    let people = choosy.people;
    assert_eq!(
        people.came,
        people.went + people.inside + people.turned_away
    );
    assert!(people.came >= random.people.came, "{people:?}");
    assert!((choosy.minutes / random.minutes - 1.0).abs() < 0.01);
}

#[test]
fn where_there_are_too_few_nodes_people_are_turned_away() {
    let crowded = report(&Plan {
        peak_load: 1.5,
        ..plan(&["ours"], 5)
    });
    let roomy = report(&plan(&["ours"], 5));
    let (crowded, roomy) = (outcome(&crowded, "ours"), outcome(&roomy, "ours"));
    assert!(crowded.turned_away > 50 && crowded.unserved_minutes > 100.0);
    assert!(roomy.turned_away == 0 && roomy.unserved_minutes == 0.0);
    let people = crowded.people;
    assert_eq!(
        people.came,
        people.went + people.inside + people.turned_away
    );
}

#[test]
fn each_source_of_forecasts_has_its_own_error() {
    let report = report(&plan(&["ours", "ours-usual"], 5));
    let of = |policy: &str| {
        let sources = outcome(&report, policy).sources.iter();
        let found = sources.map(|one| (one.source.clone(), (one.sessions, one.error)));
        found.collect::<BTreeMap<_, _>>()
    };
    let (ours, usual) = (of("ours"), of("ours-usual"));
    for source in ["hint", "name", "strangers", "growth"] {
        assert!(ours[source].0 > 20, "{source}: {ours:?}");
    }
    assert!(ours["hint"].1 < usual["usual"].1, "{ours:?} {usual:?}");
    assert!(!usual.contains_key("hint") && !usual.contains_key("name"));
}

/// Adds nodes while the mean of what is told is above 40 %, and empties the last at the end.
struct Simple;

impl Autoscaler for Simple {
    fn look(&mut self, now: u64, nodes: &[Seen]) -> Vec<Order> {
        let told = nodes.iter().filter_map(|node| node.reading);
        let loads: Vec<f64> = told.map(|reading| reading.load()).collect();
        let mean = loads.iter().sum::<f64>() / loads.len().max(1) as f64;
        match nodes.last() {
            _ if mean > 0.4 => {
                let order = Order::Add {
                    size: 1.0,
                    after: 60_000,
                };
                vec![order; 3]
            }
            Some(last) if now > 2_900_000 && !last.drains => vec![Order::Drain(last.node)],
            _ => Vec::new(),
        }
    }
}

#[test]
fn whoever_sits_in_the_autoscalers_seat_adds_nodes_that_are_used() {
    let crowded = Plan {
        peak_load: 0.9,
        ..plan(&["ours"], 5)
    };
    let alone = report(&crowded);
    let scaled = report(&Plan {
        autoscaler: Some(|| Box::new(Simple)),
        ..crowded
    });
    let (alone, scaled) = (outcome(&alone, "ours"), outcome(&scaled, "ours"));
    assert!(
        scaled.node_hours > 1.05 * alone.node_hours,
        "{} {}",
        scaled.node_hours,
        alone.node_hours
    );
    assert!(
        2.0 * scaled.overload_minutes[0] < alone.overload_minutes[0],
        "{:?} {:?}",
        scaled.overload_minutes,
        alone.overload_minutes
    );
    let people = scaled.people;
    let known = people.went + people.inside + people.turned_away;
    assert_eq!(people.came, known);
}

#[test]
fn what_is_before_it_is_measured_counts_for_nobody() {
    let plan = Plan {
        calm: true,
        ..plan(&["round-robin", "ours"], 3)
    };
    let from = plan.scale.measured_from();
    let load = Workload::draw(plan.scale);
    // The time of all who are in, from the steps themselves.
    let mut minutes = 0.0;
    let mut people = 0;
    for session in &load.sessions {
        let mut present = 0_u32;
        let mut since = session.at;
        let ends = session.ends.min(plan.scale.span);
        let steps = load.steps[session.steps.clone()].iter();
        let end = steps.clone().map(|step| (step.at, step.joins));
        for (at, joins) in end.filter(|(at, _)| *at <= ends).chain([(ends, true)]) {
            let millis = at.saturating_sub(since.max(from));
            minutes += f64::from(present) * millis as f64 / 60_000.0;
            since = at;
            present = if joins { present + 1 } else { present - 1 };
        }
        people += u64::from(session.at >= from);
    }
    for one in report(&plan).outcomes {
        assert!((one.minutes / minutes - 1.0).abs() < 1e-6, "{}", one.policy);
        if let Some(prediction) = one.prediction {
            assert_eq!(prediction.sessions, people);
        }
    }
}
