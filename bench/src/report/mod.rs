//! What was measured, for people and programs: terminal, JSON, Markdown, one HTML page.

mod compared;
mod live;
mod number;
mod page;
pub mod placement;
mod plot;
mod table;
mod tables;

use std::fs;
use std::path::Path;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

pub use live::Live;
pub use table::Table;

use crate::compare::{Comparison, Summary};
use crate::measure::Machine;
use crate::outcome::Outcome;
use crate::scenario::Judgement;

/// Everything that one command measured.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Of `ringcast-bench`.
    pub version: String,
    /// The command, word by word.
    pub command: Vec<String>,
    /// In seconds since the Unix epoch.
    pub started_at: u64,
    /// Where it ran.
    pub machine: Machine,
    /// Runs that stand for themselves; several of one load are its rounds.
    #[serde(default)]
    pub runs: Vec<Outcome>,
    /// Runs of several subjects in turn.
    #[serde(default)]
    pub comparisons: Vec<Comparison>,
    /// Loads that were raised.
    #[serde(default)]
    pub ramps: Vec<RampRecord>,
}

/// A load that was raised until it broke.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RampRecord {
    /// Who forwarded.
    pub subject: String,
    /// Every step, in the order in which they were tried.
    pub steps: Vec<RampStep>,
    /// The largest size that was carried.
    pub carried: Option<usize>,
    /// The limit lies at or above that: the generator or the ramp ended before the forwarder.
    pub at_least: bool,
}

/// One size of a load.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RampStep {
    /// Sessions, viewers or listeners.
    pub size: usize,
    /// Streams that the forwarder had to send; sound and pictures of one person are one.
    pub streams_out: usize,
    /// What was measured.
    pub outcome: Outcome,
    /// Whether it was good.
    pub judgement: Judgement,
}

/// The file: the report, and what follows from it for programs that only read.
#[derive(Serialize)]
struct File<'a> {
    #[serde(flatten)]
    report: &'a Report,
    summaries: Vec<Summary>,
}

impl Report {
    /// A report of this command, with nothing in it.
    pub fn begin(started_at: u64) -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            command: std::env::args().collect(),
            started_at,
            machine: Machine::read(),
            ..Self::default()
        }
    }

    /// Reads what [`Report::write_json`] wrote.
    ///
    /// # Errors
    /// When it can't be read, or is something else.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let text = fs::read_to_string(path)
            .with_context(|| format!("{} can't be read", path.display()))?;
        serde_json::from_str(&text).with_context(|| format!("{} is no report", path.display()))
    }

    /// Writes everything.
    ///
    /// # Errors
    /// When the file can't be written.
    pub fn write_json(&self, path: &Path) -> anyhow::Result<()> {
        let file = File {
            report: self,
            summaries: self
                .comparisons
                .iter()
                .flat_map(Comparison::summaries)
                .collect(),
        };
        write(path, &serde_json::to_string(&file)?)
    }

    /// Writes one page that needs nothing else.
    ///
    /// # Errors
    /// When the file can't be written.
    pub fn write_html(&self, path: &Path) -> anyhow::Result<()> {
        write(path, &page::render(self))
    }

    /// The tables as text.
    pub fn text(&self) -> String {
        let tables = tables::all(self);
        let texts: Vec<String> = tables.iter().map(Table::text).collect();
        texts.join("\n")
    }

    /// The tables in Markdown, the command and the machine before them.
    pub fn markdown(&self) -> String {
        let mut text = format!(
            "`{}`\n\n{}\n",
            self.command_line(),
            tables::machine_line(&self.machine)
        );
        for table in tables::all(self) {
            text.push('\n');
            text.push_str(&table.markdown());
        }
        text
    }

    /// Whether every run has a result and every target was met: what an exit status can tell. Where shares are compared, a run
    /// that merely lost packets has one.
    pub fn is_good(&self) -> bool {
        let mut summaries = self.comparisons.iter().flat_map(Comparison::summaries);
        self.runs.iter().all(Outcome::is_result)
            && self.comparisons.iter().all(Comparison::is_complete)
            && summaries.all(|summary| summary.is_met != Some(false))
            && self.ramps.iter().all(|ramp| ramp.carried.is_some())
    }

    pub(crate) fn command_line(&self) -> String {
        command_line(&self.command)
    }
}

/// A command with the program's name alone in place of its path.
pub(crate) fn command_line(command: &[String]) -> String {
    let quote = |word: &str| {
        if word.contains([' ', '"', '*', '$', '\'']) {
            format!("'{word}'")
        } else {
            word.to_owned()
        }
    };
    let mut words: Vec<String> = command.iter().map(|word| quote(word)).collect();
    if let Some(program) = words.first_mut() {
        *program = program.rsplit('/').next().unwrap_or(program).to_owned();
    }
    words.join(" ")
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    fs::write(path, text).with_context(|| format!("{} can't be written", path.display()))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::compare::tests::{first_summary, pairing, run_all, run_of};
    use crate::outcome::{Distribution, Memory, Verdict};
    use core::time::Duration;

    /// A report with everything in it: a good comparison, one without result, single runs, a ramp.
    pub(crate) fn example() -> Report {
        let mut number = 0_u32;
        let full = |side: &crate::compare::Side| {
            number += 1;
            let is_ours = side.subject == "ringcast";
            let cost = if is_ours { 420.0 } else { 1_500.0 } + f64::from(number * 13 % 40);
            let mut outcome = run_of(side, cost);
            let latency: Vec<(u64, u64)> = (10..400)
                .map(|step| (step * 1_000 * if is_ours { 1 } else { 2 }, 4_000 / step))
                .collect();
            outcome.latency = Distribution::from_buckets(&latency);
            outcome.run_lengths =
                Distribution::from_buckets(&[(1, 30), (2, 10), (7, 900), (8, 300)]);
            outcome.syscalls_per_packet = Some(0.021);
            outcome.bare_send = Some(2_000.0);
            outcome.all_joined = Some(Duration::from_millis(2_500));
            outcome.whole_joins = Distribution::from_buckets(&[(77_000_000, 80)]);
            outcome.joins = Distribution::from_buckets(&[(31_000_000, 80), (120_000_000, 20)]);
            outcome.memory = Some(Memory {
                resident: 30 << 20,
                slab_growth: 1 << 20,
                resident_before: 28 << 20,
                transports: 300,
            });
            outcome.processor.timeline = (0..20)
                .map(|part| 0.3 + f64::from(part % 5) / 50.0)
                .collect();
            outcome.processor.machine = Duration::from_millis(150);
            outcome.processor.generator = Duration::from_millis(40);
            outcome
        };
        let good = run_all(pairing(), 5, full);
        let mut bad = run_all(pairing(), 3, |side| run_of(side, 500.0));
        bad.name = "loopback, 8 < 9 & \"quoted\"".to_owned();
        for outcome in &mut bad.sides[1] {
            outcome.verdict = Verdict::NoResult {
                because: "3 of 100 checked payloads were wrong".to_owned(),
            };
        }
        let outcome = good.sides[0][0].clone();
        let step = |size: usize, judgement: Judgement| RampStep {
            size,
            streams_out: size * 12,
            outcome: outcome.clone(),
            judgement,
        };
        Report {
            version: "0.1.0".to_owned(),
            command: ["/bin/ringcast-bench", "compare", "ringcast", "with space"]
                .map(str::to_owned)
                .into(),
            started_at: 1_790_000_000,
            machine: Machine::read(),
            runs: vec![outcome.clone()],
            ramps: vec![RampRecord {
                subject: "ringcast".to_owned(),
                steps: vec![
                    step(20, Judgement::Carried),
                    step(30, Judgement::Broke("2.00 % lost".to_owned())),
                ],
                carried: Some(20),
                at_least: false,
            }],
            comparisons: vec![good, bad],
        }
    }

    #[test]
    fn json_is_read_back() {
        let report = example();
        let path =
            std::env::temp_dir().join(format!("ringcast-report-{}.json", std::process::id()));
        report.write_json(&path).expect("a writable folder");
        let text = fs::read_to_string(&path).expect("it was written");
        let again = Report::read(&path);
        fs::remove_file(&path).expect("it was written");
        // A mean may come back with another last bit.
        let again = again.expect("what was written");
        assert!(again.text() == report.text() && again.ramps.len() == 1);
        let value: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        let ratio = &value["summaries"][0]["ratio"]["value"];
        assert!((0.2..0.4).contains(&ratio.as_f64().expect("a ratio")));
    }

    #[test]
    fn good_is_only_what_has_results_and_meets_targets() {
        let mut report = example();
        assert!(!report.is_good(), "one comparison has no result");
        report.comparisons.truncate(1);
        assert!(report.is_good());
        let right = report.comparisons[0].sides[1][3].clone();
        report.comparisons[0].sides[1][3].verdict = Verdict::NoResult {
            because: "2.00 % of the packets were lost".to_owned(),
        };
        assert!(!report.is_good(), "one round of five has no result");
        assert_eq!(first_summary(&report.comparisons[0]).is_met, None);
        report.comparisons[0].sides[1][3] = right;
        report.comparisons[0].target = Some(0.1);
        assert!(!report.is_good(), "the target is missed");
        report.comparisons.clear();
        report.ramps[0].carried = None;
        assert!(!report.is_good(), "nothing was carried");
    }

    #[test]
    fn commands_can_be_copied() {
        let line = example().command_line();
        assert_eq!(line, "ringcast-bench compare ringcast 'with space'");
    }
}
