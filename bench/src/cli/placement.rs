//! `ringcast-bench placement`.

use std::collections::BTreeMap;
use std::fs;
use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use clap::Args;
use placement::incidents;
use placement::policy::{self, Entry};
use placement::run::{PEAK_LOAD, Plan, Progress, Report, run};
use placement::timing::Timings;
use placement::workload::Scale;

use super::Running;
use crate::report;

/// What is simulated, if nothing is said.
const NODES: u32 = 500;
const SESSIONS: u32 = 50_000;
/// With `--full`.
const FULL: (u32, u32) = (10_000, 1_000_000);
/// What fits into memory and into numbers.
const NODES_MAX: u32 = 100_000;
const SESSIONS_MAX: u32 = 10_000_000;
/// Where lines stay, progress is told after so long.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is simulated.
#[derive(Clone, Debug, Args)]
pub(super) struct Options {
    /// Media nodes. [default: 500, with --full 10000]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=i64::from(NODES_MAX)))]
    nodes: Option<u32>,
    /// Sessions that begin in all. [default: 50000, with --full 1000000]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=i64::from(SESSIONS_MAX)))]
    sessions: Option<u32>,
    /// Ten thousand nodes, a million sessions.
    #[arg(long)]
    full: bool,
    /// Of everything that chance decides. The same seed gives the same file, byte for byte.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Simulated time. Spikes come after a sixth and after five sixths of it.
    #[arg(long, default_value = "90min", value_parser = humantime::parse_duration)]
    span: Duration,
    /// Policies, separated by commas. They are listed below.
    #[arg(long, value_delimiter = ',', value_parser = known)]
    policies: Vec<Entry>,
    /// Policies that run at the same time, each on one thread. [default: processors]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=256))]
    threads: Option<u32>,
    /// The load of all nodes at the worst moment, were it spread evenly: nodes carry so much that it is this, 0.55 is 55 %.
    #[arg(long, default_value_t = PEAK_LOAD, value_parser = peak_load)]
    peak_load: f64,
    /// No node fails, comes, goes or is upgraded.
    #[arg(long)]
    calm: bool,
    /// Accidents of the field on ten nodes, in place of a cluster that is drawn: a herd while reports stand still, a conference that all
    /// come to at once, and classes that grow after they were placed. Of the other options, --policies, --seed and --json count.
    #[arg(long)]
    incidents: bool,
    /// Write how long decisions took to a file of its own: no seed decides that.
    #[arg(long, value_name = "FILE")]
    timings: Option<PathBuf>,
}

/// A policy by its name.
fn known(name: &str) -> Result<Entry, String> {
    policy::named(name).ok_or_else(|| {
        let names: Vec<&str> = policy::all().iter().map(|entry| entry.name).collect();
        format!("there is no such policy; there are {}", names.join(", "))
    })
}

fn peak_load(text: &str) -> Result<f64, String> {
    let load: f64 = text.parse().map_err(|_| "it is no number")?;
    match (0.05..=2.0).contains(&load) {
        true => Ok(load),
        false => Err("it is from 0.05 to 2: 0.55 is 55 %".to_owned()),
    }
}

/// The list of policies, for the help.
pub(super) fn policies_help() -> String {
    let mut text = String::from("Policies:\n");
    for entry in policy::all() {
        text += &format!("  {:<26} {}\n", entry.name, entry.about);
    }
    text + "\n--json writes what was found, --html a page with tables and plots."
}

/// Runs it and shows what comes of it.
pub(super) fn perform(options: &Options, running: &Running) -> anyhow::Result<bool> {
    let plan = plan(options)?;
    if options.incidents {
        return replay(&plan, running);
    }
    let live = Live::default();
    let (found, timings) = run(&plan, &|progress| live.tell(progress));
    live.end();
    if let Some(path) = &running.json {
        write(path, &serde_json::to_string_pretty(&found)?)?;
    }
    if let Some(path) = &options.timings {
        write(path, &serde_json::to_string_pretty(&timings)?)?;
    }
    show(&found, &timings, false, running)
}

/// What a file of an earlier simulation says; none where it is of something else.
pub(super) fn kept(text: &str) -> Option<Report> {
    serde_json::from_str(text).ok()
}

/// Tables on the terminal, and a page if one is wanted.
pub(super) fn show(
    found: &Report,
    timings: &[Timings],
    markdown: bool,
    running: &Running,
) -> anyhow::Result<bool> {
    if let Some(path) = &running.html {
        let command = report::command_line(&std::env::args().collect::<Vec<_>>());
        write(path, &report::placement::page(found, timings, &command))?;
    }
    let tables = report::placement::tables(found, timings);
    let text = if markdown {
        report::Table::markdown
    } else {
        report::Table::text
    };
    let texts: Vec<String> = tables.iter().map(text).collect();
    print!("{}", texts.join("\n"));
    Ok(true)
}

/// Shows what the accidents of the field come to.
fn replay(plan: &Plan, running: &Running) -> anyhow::Result<bool> {
    let verdicts = incidents::judge(&plan.policies, plan.scale.seed);
    if let Some(path) = &running.json {
        write(path, &serde_json::to_string_pretty(&verdicts)?)?;
    }
    print!("{}", report::placement::incidents(&verdicts).text());
    Ok(true)
}

fn plan(options: &Options) -> anyhow::Result<Plan> {
    let (nodes, sessions) = if options.full {
        FULL
    } else {
        (NODES, SESSIONS)
    };
    let span = options.span.as_millis();
    ensure!(
        (60_000..=24 * 3_600_000).contains(&span),
        "--span is from 1min to 24h"
    );
    let mut policies = options.policies.clone();
    if policies.is_empty() {
        policies = policy::all();
    }
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    Ok(Plan {
        scale: Scale {
            nodes: options.nodes.unwrap_or(nodes),
            sessions: options.sessions.unwrap_or(sessions),
            span: span as u64,
            seed: options.seed,
        },
        policies,
        threads: options
            .threads
            .map_or(processors, |threads| threads as usize),
        peak_load: options.peak_load,
        calm: options.calm,
        autoscaler: None,
        clock: Some(nanos),
    })
}

/// Nanoseconds since this was first asked.
fn nanos() -> u64 {
    static FIRST: OnceLock<Instant> = OnceLock::new();
    FIRST.get_or_init(Instant::now).elapsed().as_nanos() as u64
}

fn write(path: &std::path::Path, text: &str) -> anyhow::Result<()> {
    fs::write(path, text).with_context(|| format!("{} can't be written", path.display()))
}

/// One line on standard error that changes, or a line now and then.
#[derive(Default)]
struct Live {
    shown: Mutex<Shown>,
}

#[derive(Default)]
struct Shown {
    at: BTreeMap<&'static str, f64>,
    done: usize,
    told: Option<Instant>,
}

impl Live {
    fn tell(&self, progress: Progress) {
        let mut shown = self.shown.lock().expect("nobody panics while showing");
        match progress {
            Progress::Drawn(_) => {}
            Progress::At(policy, share) => {
                shown.at.insert(policy, share);
            }
            Progress::Done(policy) => {
                shown.at.remove(policy);
                shown.done += 1;
            }
        }
        let is_terminal = std::io::stderr().is_terminal();
        let wait = if is_terminal {
            Duration::from_millis(200)
        } else {
            PATIENCE
        };
        if shown.told.is_some_and(|told| told.elapsed() < wait) {
            return;
        }
        shown.told = Some(Instant::now());
        let now: Vec<String> = shown
            .at
            .iter()
            .map(|(policy, share)| format!("{policy} {:.0} %", share * 100.0))
            .collect();
        let line = format!("{} policies done; {}", shown.done, now.join(", "));
        match is_terminal {
            true => eprint!("\r\x1b[K{line}"),
            false => eprintln!("{line}"),
        }
        let _ = std::io::stderr().flush();
    }

    fn end(&self) {
        if std::io::stderr().is_terminal() {
            eprint!("\r\x1b[K");
        }
    }
}
