//! How far simulations are: one line on standard error that changes, or a line now and then.

use std::collections::BTreeMap;
use std::io::{IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use placement::run::{Plan, Progress};

use super::super::terminal;

/// Where lines stay, progress is told after so long; where one changes, after so long.
const PATIENCE: Duration = Duration::from_secs(10);
const FRAME: Duration = Duration::from_millis(200);

/// Tells it.
#[derive(Debug, Default)]
pub(super) struct Live {
    at: BTreeMap<&'static str, f64>,
    /// Which seed it is, where there are several.
    seed: String,
    done: usize,
    of: usize,
    told: Option<Instant>,
}

impl Live {
    /// The plan of this number is next.
    pub(super) fn begin(&mut self, number: usize, plans: &[Plan]) {
        let plan = &plans[number];
        if plans.len() > 1 {
            let (seed, of) = (plan.scale.seed, plans.len());
            self.seed = format!("seed {seed}, {} of {of}: ", number + 1);
        }
        self.at.clear();
        self.done = 0;
        self.of = plan.policies.len();
    }

    /// Something has come further.
    pub(super) fn tell(&mut self, progress: &Progress) {
        match progress {
            Progress::Drawn(_) => return,
            Progress::At(policy, share) => {
                self.at.insert(policy, *share);
            }
            Progress::Done(outcome, _) => {
                self.at.remove(outcome.policy.as_str());
                self.done += 1;
            }
        }
        let is_terminal = std::io::stderr().is_terminal();
        let wait = if is_terminal { FRAME } else { PATIENCE };
        if self.told.is_some_and(|told| told.elapsed() < wait) {
            return;
        }
        self.told = Some(Instant::now());
        match is_terminal {
            true => {
                // What is too long would leave lines behind.
                let width = terminal::width(std::io::stderr()).unwrap_or(usize::MAX);
                let line: String = self.line().chars().take(width - 1).collect();
                eprint!("\r\x1b[K{line}");
            }
            false => eprintln!("{}", self.line()),
        }
        let _ = std::io::stderr().flush();
    }

    fn line(&self) -> String {
        let runs = self.at.iter();
        let runs = runs.map(|(policy, share)| format!("{policy} {:.0} %", share * 100.0));
        let runs: Vec<String> = runs.collect();
        let Self { seed, done, of, .. } = self;
        match runs.is_empty() {
            true => format!("{seed}{done} of {of} policies"),
            false => format!("{seed}{done} of {of} policies; {}", runs.join(", ")),
        }
    }

    /// Takes the line away.
    pub(super) fn end(&self) {
        if std::io::stderr().is_terminal() {
            eprint!("\r\x1b[K");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use placement::outcome::Outcome;
    use placement::timing::Timings;

    #[test]
    fn it_says_how_many_of_how_many() {
        let mut live = Live {
            of: 32,
            // Told just now: the test prints nothing.
            told: Some(Instant::now()),
            ..Live::default()
        };
        live.tell(&Progress::At("ours", 0.404));
        live.tell(&Progress::At("random", 0.99));
        let random = Outcome {
            policy: "random".to_owned(),
            ..Outcome::default()
        };
        live.tell(&Progress::Done(Box::new(random), Timings::default()));
        assert_eq!(live.line(), "1 of 32 policies; ours 40 %");
    }
}
