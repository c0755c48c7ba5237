//! The runs of one command: progress while they go on, files after each, tables at the end.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use super::Running;
use super::choice::parse_choice;
use crate::compare::Side;
use crate::outcome::{Outcome, Verdict};
use crate::report::{Live, Report};
use crate::runner;

pub(super) struct Session<'a> {
    running: &'a Running,
    pub(super) report: Report,
    live: Live,
    over: &'static AtomicBool,
    done: usize,
    /// How many runs there will be; 0: nobody knows.
    of: usize,
}

impl<'a> Session<'a> {
    pub(super) fn begin(running: &'a Running, of: usize) -> anyhow::Result<Self> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        Ok(Self {
            running,
            report: Report::begin(now.map_or(0, |now| now.as_secs())),
            live: Live::new(),
            over: runner::interruption()?,
            done: 0,
            of,
        })
    }

    /// Whether somebody wants to stop.
    pub(super) fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    /// One run. Whatever goes wrong is in its verdict.
    pub(super) fn run(&mut self, side: &Side) -> Outcome {
        self.done += 1;
        let count = match self.of {
            0 => self.done.to_string(),
            of => format!("{}/{of}", self.done),
        };
        let subject = &side.subject;
        let (load, suite) = (&side.plan.name, side.plan.suite);
        self.live
            .begin(format!("[{count}] {subject}: {load}, {suite}"));
        let mut outcome = self.try_run(side).unwrap_or_else(|error| {
            let because = format!("{error:#}");
            Outcome::impossible(subject, side.exit, &side.plan, because)
        });
        // Two builds of one program are called what the command line calls them.
        outcome.subject.clone_from(subject);
        self.live.end(&summary(&outcome));
        outcome
    }

    fn try_run(&mut self, side: &Side) -> anyhow::Result<Outcome> {
        let settings = runner::Settings {
            subject: parse_choice(&side.subject)?,
            exit: side.exit,
            plan: side.plan.clone(),
            fleet_threads: self.running.fleet_threads,
            check_every: self.running.check_every,
            program: None,
        };
        if self.is_over() {
            anyhow::bail!("interrupted");
        }
        let live = &mut self.live;
        let mut listener = |event| live.tell(&event);
        Ok(runner::run(&settings, &mut listener, self.over))
    }

    /// Writes the files that were asked for, with what there is so far.
    pub(super) fn save(&self) -> anyhow::Result<()> {
        if let Some(path) = &self.running.json {
            self.report.write_json(path)?;
        }
        if let Some(path) = &self.running.html {
            self.report.write_html(path)?;
        }
        Ok(())
    }

    /// Prints the tables; says whether all went well.
    pub(super) fn end(self) -> anyhow::Result<bool> {
        print!("{}", self.report.text());
        if self.is_over() {
            anyhow::bail!("interrupted");
        }
        Ok(self.report.is_good())
    }
}

fn summary(outcome: &Outcome) -> String {
    match (&outcome.verdict, outcome.cost()) {
        (Verdict::NoResult { because }, _) => format!("no result: {because}"),
        (Verdict::Result, Some(cost)) => {
            let rate = outcome.rate();
            format!("{cost:.0} ns a packet at {rate:.0} packets/s")
        }
        (Verdict::Result, None) => "nothing delivered".to_owned(),
    }
}
