//! Runs worlds, one seed after the other, until they are through or somebody does not want to wait.

use std::panic;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use placement::incidents::{self, Verdict};
use placement::outcome::Outcome;
use placement::run::{Facts, Plan, Progress, Report, run};
use placement::timing::Timings;

use super::live::Live;
use crate::report::placement::Simulated;

/// How soon somebody who does not want to wait is heard.
const POLL: Duration = Duration::from_millis(200);

/// All plans; they differ in their seeds. What is through when `over` is set is kept, with the times of each seed.
pub(super) fn simulate(
    plans: &[Plan],
    reference: String,
    over: &AtomicBool,
) -> (Simulated, Vec<Vec<Timings>>) {
    let mut found = Simulated {
        reference,
        ..Simulated::default()
    };
    let mut timings = Vec::new();
    let mut live = Live::default();
    for (number, plan) in plans.iter().enumerate() {
        live.begin(number, plans);
        let (world, of_world) = one_world(plan, &mut live, over);
        let is_whole = world.outcomes.len() == plan.policies.len();
        if !world.outcomes.is_empty() {
            found.worlds.push(world);
            timings.push(of_world);
        }
        if !is_whole {
            break;
        }
    }
    live.end();
    let whole = |(world, plan): (&Report, &Plan)| world.outcomes.len() == plan.policies.len();
    found.partial = found.worlds.len() < plans.len() || !found.worlds.iter().zip(plans).all(whole);
    (found, timings)
}

/// What accidents of the field come to; none if somebody does not wait.
pub(super) fn accidents(plan: &Plan, over: &AtomicBool) -> Option<Vec<Verdict>> {
    let (policies, seed) = (plan.policies.clone(), plan.scale.seed);
    let judging = thread::spawn(move || incidents::judge(&policies, seed));
    while !judging.is_finished() {
        if over.load(Ordering::Relaxed) {
            return None;
        }
        thread::sleep(POLL);
    }
    let judged = judging.join();
    Some(judged.unwrap_or_else(|cause| panic::resume_unwind(cause)))
}

/// Runs that nobody waits for any more end with the process.
fn one_world(plan: &Plan, live: &mut Live, over: &AtomicBool) -> (Report, Vec<Timings>) {
    let (send, told) = channel();
    let wanted = plan.clone();
    let running = thread::spawn(move || {
        run(&wanted, &|progress| {
            // Who does not listen any more is about to end the process.
            let _ = send.send(progress);
        })
    });
    let mut facts = Facts::default();
    let mut done: Vec<(Outcome, Timings)> = Vec::new();
    while !over.load(Ordering::Relaxed) {
        let progress = match told.recv_timeout(POLL) {
            Ok(progress) => progress,
            Err(RecvTimeoutError::Timeout) => continue,
            Err(RecvTimeoutError::Disconnected) => {
                // Through; or it panicked, and so does this.
                let ended = running.join();
                return ended.unwrap_or_else(|cause| panic::resume_unwind(cause));
            }
        };
        live.tell(&progress);
        match progress {
            Progress::Drawn(drawn) => facts = drawn,
            Progress::At(..) => {}
            Progress::Done(outcome, timings) => done.push((*outcome, timings)),
        }
    }
    let place = |name: &str| plan.policies.iter().position(|entry| entry.name == name);
    done.sort_by_key(|(outcome, _)| place(&outcome.policy));
    let (outcomes, timings) = done.into_iter().unzip();
    (Report { facts, outcomes }, timings)
}

#[cfg(test)]
mod tests {
    use super::*;
    use placement::policy::named;
    use placement::run::PEAK_LOAD;
    use placement::workload::{RECURRING, Scale};

    fn plan(seed: u64) -> Plan {
        let policies = ["ours", "random"].map(|name| named(name).expect("it is there"));
        Plan {
            scale: Scale {
                nodes: 10,
                sessions: 200,
                span: 600_000,
                seed,
                recurring: RECURRING,
                one_size: false,
            },
            policies: policies.to_vec(),
            threads: 2,
            peak_load: PEAK_LOAD,
            calm: false,
            autoscaler: None,
            clock: None,
        }
    }

    #[test]
    fn seeds_are_worlds_of_their_own_and_the_same_again() {
        let over = AtomicBool::new(false);
        let again = || simulate(&[plan(1), plan(2)], "ours".to_owned(), &over);
        let (found, timings) = again();
        assert!(!found.partial && timings.len() == 2);
        let seeds: Vec<u64> = found.worlds.iter().map(|one| one.facts.seed).collect();
        assert_eq!(seeds, [1, 2]);
        assert_ne!(found.worlds[0].outcomes, found.worlds[1].outcomes);
        let alone = run(&plan(2), &|_| {}).0;
        assert_eq!(found.worlds[1], alone, "a seed is the same among others");
        let text = |found: &Simulated| found.json().expect("plain data");
        assert_eq!(text(&found), text(&again().0));
    }

    #[test]
    fn who_does_not_wait_gets_what_is_through() {
        let over = AtomicBool::new(true);
        let (found, timings) = simulate(&[plan(1)], "ours".to_owned(), &over);
        assert!(found.partial && found.worlds.is_empty() && timings.is_empty());
        assert!(accidents(&plan(1), &over).is_none());
        over.store(false, Ordering::Relaxed);
        assert!(accidents(&plan(1), &over).is_some());
    }
}
