//! `ringcast-bench placement`.

mod files;
mod live;
mod simulate;

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use clap::Args;
use placement::incidents::Verdict;
use placement::policy::{self, Entry};
use placement::run::{PEAK_LOAD, Plan};
use placement::timing::Timings;
use placement::workload::{RECURRING, SPIKE, Scale};

use super::{Running, terminal};
use crate::report::{self, Table, placement::Simulated};
use crate::runner::interruption;
use files::Output;
use simulate::{accidents, simulate};

/// What is simulated, if nothing is said.
const NODES: u32 = 500;
const SESSIONS: u32 = 50_000;
/// With `--full`.
const FULL: (u32, u32) = (10_000, 1_000_000);
/// What fits into memory and into numbers.
const NODES_MAX: u32 = 100_000;
const SESSIONS_MAX: u32 = 10_000_000;
/// The second spike comes after nine tenths of the time and must end within it, ms.
const SPAN_MIN: u64 = 10 * SPIKE;
/// A rule takes about so long on one processor of 2024 for a million sessions, and for reading ten thousand nodes for two and a half
/// hours, s. Some take a third, others three times that.
const SECONDS_A_MILLION: f64 = 30.0;
const SECONDS_OF_READING: f64 = 100.0;
/// Sentences take lines of at most so many characters.
const LINE: usize = 100;
/// How programs end that were interrupted: 128 and the number of SIGINT.
const INTERRUPTED: u8 = 130;

/// What is simulated.
#[derive(Clone, Debug, Args)]
pub(super) struct Options {
    /// Media nodes. More do not make the cluster emptier, for they carry less each: --peak-load does. [default: 500, with --full 10000]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=i64::from(NODES_MAX)))]
    nodes: Option<u32>,
    /// Sessions that begin in all. [default: 50000, with --full 1000000]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=i64::from(SESSIONS_MAX)))]
    sessions: Option<u32>,
    /// Ten thousand nodes, a million sessions.
    #[arg(long)]
    full: bool,
    /// All that chance decides follows from it. The same seed gives the same file, byte for byte.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// So many seeds from --seed on, one world after the other: tables show means, the least and the most, and ratios to the first
    /// policy that is named, or to `ours`.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    seeds: u32,
    /// Simulated time, 10min at least. In the first two fifths the cluster fills, which is not measured; spikes come after a half and
    /// after nine tenths.
    #[arg(long, default_value = "150min", value_parser = humantime::parse_duration)]
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
    /// The share of sessions whose name has been used before, 0 to 1: of the others nothing is known but what applications say.
    #[arg(long, default_value_t = RECURRING, value_parser = share)]
    recurring: f64,
    /// All nodes are of one size, in place of two.
    #[arg(long)]
    one_size: bool,
    /// No node fails, comes, goes or is upgraded.
    #[arg(long)]
    calm: bool,
    /// Accidents of the field on ten nodes, in place of a cluster that is drawn: a herd while reports stand still, a conference that all
    /// come to at once, and classes that grow after they were placed. Of the other options, --policies, --seed, --json and --html go with
    /// it.
    #[arg(long, conflicts_with_all = ["nodes", "sessions", "full", "seeds", "span", "threads", "peak_load", "recurring", "one_size", "calm", "timings"])]
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

fn share(text: &str) -> Result<f64, String> {
    let share: f64 = text.parse().map_err(|_| "it is no number")?;
    match (0.0..=1.0).contains(&share) {
        true => Ok(share),
        false => Err("it is from 0 to 1: 0.6 is 60 %".to_owned()),
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

/// What is to be written.
struct Files {
    json: Option<Output>,
    html: Option<Output>,
    timings: Option<Output>,
}

impl Files {
    fn open(running: &Running, timings: Option<&PathBuf>) -> anyhow::Result<Self> {
        let files = Self {
            json: Output::open(running.json.as_ref())?,
            html: Output::open(running.html.as_ref())?,
            timings: Output::open(timings)?,
        };
        files::ensure_different(&[&files.json, &files.html, &files.timings])?;
        Ok(files)
    }
}

/// Runs it and shows what comes of it.
pub(super) fn perform(options: &Options, running: &Running) -> anyhow::Result<ExitCode> {
    let plans = plans(options)?;
    let files = Files::open(running, options.timings.as_ref())?;
    if options.incidents {
        return replay(&plans[0], files);
    }
    if let Some(text) = forecast(&plans) {
        eprintln!("{text}");
    }
    let (found, timings) = simulate(&plans, reference(options), interruption()?);
    if found.worlds.is_empty() {
        return Ok(nothing());
    }
    // Tables first: a disk that is full meanwhile takes files only. And whoever reads tables no more may want files.
    let shown = print(&found, &timings, false);
    if let Some(file) = files.json {
        file.write(&found.json()?)?;
    }
    if let Some(file) = files.timings {
        file.write(&timings_json(&plans, &timings)?)?;
    }
    if let Some(file) = files.html {
        let page = report::placement::page(&found, &timings, &command_line());
        file.write(&page)?;
    }
    shown?;
    if found.partial {
        eprintln!("ringcast-bench: interrupted; this is what was through");
        return Ok(ExitCode::from(INTERRUPTED));
    }
    Ok(ExitCode::SUCCESS)
}

fn nothing() -> ExitCode {
    eprintln!("ringcast-bench: interrupted before anything was through; no file is written");
    ExitCode::from(INTERRUPTED)
}

/// What a file of --incidents says; none where it is of something else.
pub(super) fn kept_incidents(text: &str) -> Option<Vec<Verdict>> {
    serde_json::from_str(text).ok()
}

/// The table of such a file, and a page if one is wanted.
pub(super) fn show_incidents(
    verdicts: &[Verdict],
    markdown: bool,
    running: &Running,
) -> anyhow::Result<()> {
    let html = Output::open(running.html.as_ref())?;
    let table = report::placement::incidents(verdicts);
    let shown = show(&match markdown {
        true => table.markdown(),
        false => table.narrow_text(width()),
    });
    if let Some(file) = html {
        file.write(&report::placement::incidents_page(
            verdicts,
            &command_line(),
        ))?;
    }
    shown
}

/// What a file of an earlier simulation says; none where it is of something else.
pub(super) fn kept(text: &str) -> Option<Simulated> {
    Simulated::read(text)
}

/// Tables of a file on the terminal, and a page if one is wanted.
pub(super) fn show_kept(
    found: &Simulated,
    markdown: bool,
    running: &Running,
) -> anyhow::Result<()> {
    let html = Output::open(running.html.as_ref())?;
    let shown = print(found, &[], markdown);
    if let Some(file) = html {
        file.write(&report::placement::page(found, &[], &command_line()))?;
    }
    shown
}

fn print(found: &Simulated, timings: &[Vec<Timings>], markdown: bool) -> anyhow::Result<()> {
    let tables = report::placement::tables(found, timings);
    let text = |table: &Table| match markdown {
        true => table.markdown(),
        false => table.narrow_text(width()),
    };
    let texts: Vec<String> = tables.iter().map(text).collect();
    show(&texts.join("\n"))
}

/// Of lines on standard output: longer ones than these nobody likes to read.
fn width() -> usize {
    terminal::width(io::stdout()).map_or(LINE, |width| width.min(LINE))
}

/// Text on standard output, as far as anybody reads it.
fn show(text: &str) -> anyhow::Result<()> {
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(error).context("tables can't be shown")
        }
        _ => Ok(()),
    }
}

/// Shows what the accidents of the field come to.
fn replay(plan: &Plan, files: Files) -> anyhow::Result<ExitCode> {
    let Some(verdicts) = accidents(plan, interruption()?) else {
        return Ok(nothing());
    };
    let shown = show(&report::placement::incidents(&verdicts).narrow_text(width()));
    if let Some(file) = files.json {
        file.write(&serde_json::to_string_pretty(&verdicts)?)?;
    }
    if let Some(file) = files.html {
        file.write(&report::placement::incidents_page(
            &verdicts,
            &command_line(),
        ))?;
    }
    shown?;
    Ok(ExitCode::SUCCESS)
}

fn command_line() -> String {
    report::command_line(&std::env::args().collect::<Vec<_>>())
}

/// Of one seed its list alone.
fn timings_json(plans: &[Plan], timings: &[Vec<Timings>]) -> serde_json::Result<String> {
    if let ([_], [one]) = (plans, timings) {
        return serde_json::to_string_pretty(one);
    }
    let seeds = plans.iter().map(|plan| plan.scale.seed);
    let all: Vec<(u64, &Vec<Timings>)> = seeds.zip(timings).collect();
    serde_json::to_string_pretty(&all)
}

/// The first that was named.
fn reference(options: &Options) -> String {
    let first = options.policies.first();
    first.map_or("ours", |entry| entry.name).to_owned()
}

/// How long it takes about, if that is more than a minute.
fn forecast(plans: &[Plan]) -> Option<String> {
    let plan = plans.first()?;
    let runs = plan.policies.len() * plans.len();
    let threads = plan.threads.min(plan.policies.len()).max(1);
    let scale = &plan.scale;
    let sessions = f64::from(scale.sessions) / 1e6 * SECONDS_A_MILLION;
    let reading = f64::from(scale.nodes) / 1e4 * (scale.span as f64 / 9e6) * SECONDS_OF_READING;
    let seconds = runs as f64 * (sessions + reading) / threads as f64;
    (seconds > 60.0).then(|| {
        format!(
            "{} policies, {} nodes, {} sessions, seeds: {}; that takes about {:.0} min, {threads} at a time. Ctrl-C shows what is through by then.",
            plan.policies.len(),
            plan.scale.nodes,
            plan.scale.sessions,
            plans.len(),
            seconds / 60.0,
        )
    })
}

/// One for each seed.
fn plans(options: &Options) -> anyhow::Result<Vec<Plan>> {
    let plan = plan(options)?;
    let seed = options.seed;
    let last = seed.checked_add(u64::from(options.seeds) - 1);
    let last = last.context("--seed is too large for so many --seeds")?;
    let with = |seed| {
        let scale = Scale { seed, ..plan.scale };
        Plan {
            scale,
            ..plan.clone()
        }
    };
    Ok((seed..=last).map(with).collect())
}

fn plan(options: &Options) -> anyhow::Result<Plan> {
    let (nodes, sessions) = if options.full {
        FULL
    } else {
        (NODES, SESSIONS)
    };
    let span = options.span.as_millis();
    ensure!(
        (u128::from(SPAN_MIN)..=24 * 3_600_000).contains(&span),
        "--span is from 10min to 24h: the second spike comes after nine tenths of it and lasts a minute"
    );
    let mut policies = options.policies.clone();
    if policies.is_empty() {
        policies = policy::all();
    }
    for (place, entry) in policies.iter().enumerate() {
        let again = policies[..place].iter().any(|one| one.name == entry.name);
        ensure!(!again, "--policies names {} twice", entry.name);
    }
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    Ok(Plan {
        scale: Scale {
            nodes: options.nodes.unwrap_or(nodes),
            sessions: options.sessions.unwrap_or(sessions),
            span: span as u64,
            seed: options.seed,
            recurring: options.recurring,
            one_size: options.one_size,
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

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        options: Options,
    }

    fn options(words: &str) -> Options {
        let words = ["placement"].into_iter().chain(words.split_whitespace());
        Line::try_parse_from(words).expect("a sane line").options
    }

    #[test]
    fn seeds_follow_each_other() {
        let seeds = |words: &str| -> anyhow::Result<Vec<u64>> {
            let plans = plans(&options(words))?;
            Ok(plans.iter().map(|plan| plan.scale.seed).collect())
        };
        assert_eq!(seeds("--seed 7 --seeds 3").expect("sane"), [7, 8, 9]);
        assert_eq!(seeds("").expect("sane"), [1]);
        assert!(seeds(&format!("--seed {} --seeds 2", u64::MAX)).is_err());
    }

    #[test]
    fn spikes_fit_into_the_span() {
        for (span, fits) in [
            ("9min", false),
            ("10min", true),
            ("24h", true),
            ("25h", false),
        ] {
            let plans = plans(&options(&format!("--span {span}")));
            assert_eq!(plans.is_ok(), fits, "{span}");
        }
        assert_eq!(SPAN_MIN - SPAN_MIN * 9 / 10, SPIKE);
    }

    #[test]
    fn others_are_compared_to_the_first_that_was_named() {
        assert_eq!(reference(&options("--policies jitsi,ours")), "jitsi");
        assert_eq!(reference(&options("")), "ours");
    }

    #[test]
    fn nobody_runs_against_himself() {
        let plans = plans(&options("--policies ours,jitsi,ours"));
        let error = plans.expect_err("one is there twice");
        assert!(error.to_string().contains("ours twice"), "{error}");
    }

    #[test]
    fn what_takes_long_says_so() {
        let text = |words: &str| forecast(&plans(&options(words)).expect("sane"));
        assert_eq!(text("--policies ours --threads 1"), None);
        let full = text("--full --policies ours,jitsi --threads 1").expect("it takes long");
        assert!(full.contains("about 4 min, 1 at a time"), "{full}");
    }
}
