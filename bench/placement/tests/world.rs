//! Whole runs of small worlds.

use placement::outcome::Outcome;
use placement::policy::named;
use placement::run::{Plan, Report, run};
use placement::workload::Scale;

fn plan(policies: &[&str], seed: u64) -> Plan {
    Plan {
        scale: Scale {
            nodes: 60,
            sessions: 3000,
            span: 1_800_000,
            seed,
        },
        policies: policies
            .iter()
            .map(|name| named(name).expect("known"))
            .collect(),
        threads: 2,
        calm: false,
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
        assert!(
            again.people > 0 && again.seconds.is_some_and(|seconds| seconds < 60.0),
            "{again:?}"
        );
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
