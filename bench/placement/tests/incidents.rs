//! What went wrong elsewhere goes wrong here by the same rules, and not by ours.

use placement::incidents::{Incident, classroom, herd, judge};
use placement::policy::named;

/// The load of the fullest node, of each of a few seeds.
fn fullest(incident: &Incident, policy: &str) -> Vec<f64> {
    let entry = named(policy).expect("known");
    (1..=5)
        .map(|seed| incident.run(&entry, seed).load.max)
        .collect()
}

fn all(loads: &[f64], is: impl Fn(f64) -> bool) -> bool {
    loads.iter().all(|load| is(*load))
}

#[test]
fn a_herd_overloads_one_node_by_reported_load_and_none_by_ours() {
    let incident = herd(true);
    for rule in ["openvidu-cpu", "least-1s", "livekit-lowest"] {
        let found = fullest(&incident, rule);
        assert!(all(&found, |load| load > 1.0), "{rule}: {found:?}");
    }
    let found = fullest(&incident, "ours");
    assert!(all(&found, |load| load < 0.4), "{found:?}");
    // It is the standing still that does it: with fresh reports and time, the rule is good.
    let found = fullest(&herd(false), "least-1s");
    assert!(all(&found, |load| load < 0.4), "{found:?}");
}

#[test]
fn classes_that_grow_after_they_were_placed_overload_nodes_by_present_load_and_none_by_ours() {
    let incident = classroom(false);
    for rule in ["jitsi", "openvidu-cpu", "livekit-lowest"] {
        let found = fullest(&incident, rule);
        assert!(all(&found, |load| load > 1.0), "{rule}: {found:?}");
    }
    let found = fullest(&incident, "ours");
    assert!(all(&found, |load| load < 1.0), "{found:?}");
    // It is the growing late that does it: where students come with their teacher, the rule is good.
    let found = fullest(&classroom(true), "jitsi");
    assert!(all(&found, |load| load < 1.0), "{found:?}");
}

#[test]
fn verdicts_name_who_failed_where() {
    let policies = ["jitsi", "ours"].map(|name| named(name).expect("known"));
    let found = judge(&policies, 1);
    let failed: Vec<_> = found
        .iter()
        .filter(|one| one.worst() > 1.0)
        .map(|one| (one.incident.as_str(), one.policy.as_str()))
        .collect();
    assert_eq!(found.len(), 4);
    assert_eq!(failed, [("classroom", "jitsi")]);
}
