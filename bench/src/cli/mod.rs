//! The command line of `ringcast-bench`.

mod choice;
mod placement;
mod session;
mod terminal;
mod unused;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use crate::baseline;
use crate::compare::{Entrants, Side, take_turns};
use crate::report::{RampRecord, RampStep, Report};
use crate::runner::CHECK_EVERY;
use crate::scenario::{Common, Judgement, Ramp, Scenario};

use choice::parse_choice;
use session::Session;

/// Rounds of a comparison, unless said otherwise.
const COMPARED_ROUNDS: u32 = 5;

/// Loads a media node with simulated browsers and reports what that costs.
#[derive(Debug, Parser)]
#[command(
    name = "ringcast-bench",
    version,
    after_help = "SUBJECT is one of\n  \
        ringcast           ringcast-master and ringcast-node from the folder of this program\n  \
        ringcast@FOLDER    those from another folder: another build\n  \
        ringcast+KEY=VALUE a setting: driver, workers, pin, transport-cc, scrape, env.NAME, engine.KEY of the\n  \
        \x20                  node's [engine], or any KEY of its [media]; several are possible\n  \
        running@URL        a cluster that runs, its secret in RINGCAST_BENCH_SECRET; settings are\n  \
        \x20                  pid (of the node), metrics (its ADDRESS:PORT), insecure (true or false)\n  \
        conventional       recvmmsg, one OpenSSL call per packet, sendmmsg: what a good C server does\n  \
        naive              tokio sockets and webrtc-srtp\n  \
        janus              Janus with its videoroom, as installed; needs --exit drop; setting: threads (0: one for each transport)\n  \
        rtpengine          Sipwise's rtpengine in user space, as installed; setting: threads\n\n\
        The exit status is 1 when a run has no result or a target is missed, 2 when nothing could be run."
)]
struct Arguments {
    #[command(flatten)]
    common: Common,
    #[command(flatten)]
    running: Running,
    #[command(subcommand)]
    command: Command,
}

/// How runs are made and reported.
#[derive(Clone, Debug, Args)]
struct Running {
    /// Who forwards, if nobody is compared.
    #[arg(long, default_value = "ringcast", value_parser = checked_subject, global = true)]
    subject: String,
    /// How often everything is run; compared sides take turns. 1 for single subjects, 5 for comparisons.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1000), global = true)]
    rounds: Option<u32>,
    /// Write everything to a file, for programs and for `table`.
    #[arg(long, value_name = "FILE", global = true)]
    json: Option<PathBuf>,
    /// Write one page with tables and plots.
    #[arg(long, visible_alias = "page", value_name = "FILE", global = true)]
    html: Option<PathBuf>,
    /// Threads of the load generator.
    #[arg(long, value_name = "THREADS", default_value_t = 1, global = true)]
    fleet_threads: usize,
    /// Of so many packets of an RTP stream one is decrypted with another library and compared.
    #[arg(long, value_name = "PACKETS", default_value_t = CHECK_EVERY, global = true)]
    check_every: u32,
}

#[derive(Debug, Subcommand)]
enum Command {
    #[command(flatten)]
    Scenario(Scenario),
    /// Raise a load until 1 % of its packets are lost or its latency breaks the bound.
    Ramp(Ramp),
    /// Run two subjects or more in turn and compare them.
    #[command(subcommand_precedence_over_arg = true)]
    Compare {
        /// Whose figures are divided by that of one of them. Targets are asked of the first of the others.
        #[arg(value_name = "SUBJECT", value_parser = checked_subject, num_args = 2.., required = true)]
        subjects: Vec<String>,
        /// To whom the others are compared; of two to the second, of more to `conventional` where it takes part.
        #[arg(long, value_name = "SUBJECT", value_parser = checked_subject)]
        to: Option<String>,
        /// The load.
        #[command(subcommand)]
        scenario: Scenario,
    },
    /// Show what a JSON file of earlier runs says; with --html as a page.
    Table {
        /// The file.
        file: PathBuf,
        /// As Markdown.
        #[arg(long)]
        markdown: bool,
    },
    /// Simulate which nodes sessions are given to, with our scheduler and with others' rules.
    #[command(after_help = placement::policies_help())]
    Placement(placement::Options),
    /// Is a forwarder to compare with; started by runs that need it.
    #[command(hide = true)]
    Baseline(baseline::Settings),
}

/// Does what the command line says. Errors are printed.
pub fn main() -> ExitCode {
    let arguments = parsed(std::env::args_os()).unwrap_or_else(|error| error.exit());
    match perform(&arguments) {
        Ok(ended) => ended,
        Err(error) => {
            eprintln!("ringcast-bench: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// A command line that makes sense.
fn parsed(words: impl IntoIterator<Item = OsString>) -> Result<Arguments, clap::Error> {
    let mut command = unused::hide(Arguments::command());
    let matches = command.try_get_matches_from_mut(words)?;
    unused::refuse(&mut command, &matches)?;
    Arguments::from_arg_matches(&matches).map_err(|error| error.format(&mut command))
}

fn perform(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let Arguments {
        common,
        running,
        command,
    } = arguments;
    let is_good = match command {
        Command::Baseline(settings) => baseline::run(settings).map(|()| true),
        Command::Table { file, markdown } => table(file, *markdown, running),
        Command::Placement(options) => return placement::perform(options, running),
        Command::Scenario(scenario) => single(scenario, common, running),
        Command::Ramp(ramp) => raise(ramp, common, running),
        Command::Compare {
            subjects,
            to,
            scenario,
        } => {
            let entrants = Entrants::new(subjects.clone(), to.as_deref())?;
            compare(scenario, &entrants, common, running)
        }
    };
    Ok(ExitCode::from(u8::from(!is_good?)))
}

fn table(file: &std::path::Path, markdown: bool, running: &Running) -> anyhow::Result<bool> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    if let Some(found) = placement::kept(&text) {
        return placement::show_kept(&found, markdown, running).map(|()| true);
    }
    if let Some(verdicts) = placement::kept_incidents(&text) {
        return placement::show_incidents(&verdicts, markdown, running).map(|()| true);
    }
    let report = Report::read(file)?;
    if let Some(page) = &running.html {
        report.write_html(page)?;
    }
    if markdown {
        print!("{}", report.markdown());
    } else {
        print!("{}", report.text());
    }
    Ok(true)
}

/// Every load of a scenario through one subject.
fn single(scenario: &Scenario, common: &Common, running: &Running) -> anyhow::Result<bool> {
    let loads = scenario.loads(common);
    let rounds = running.rounds.unwrap_or(1);
    let mut session = Session::begin(running, loads.len() * rounds as usize)?;
    for _ in 0..rounds {
        for load in &loads {
            if session.is_over() {
                break;
            }
            let side = Side::new(&running.subject, load);
            let outcome = session.run(&side);
            session.report.runs.push(outcome);
            session.save()?;
        }
    }
    session.end()
}

fn compare(
    scenario: &Scenario,
    entrants: &Entrants,
    common: &Common,
    running: &Running,
) -> anyhow::Result<bool> {
    let contests = scenario.contests(common, entrants);
    let rounds = running.rounds.unwrap_or(COMPARED_ROUNDS);
    let sides: usize = { contests.iter().flatten() }
        .map(|contest| contest.sides.len())
        .sum();
    let mut session = Session::begin(running, sides * rounds as usize)?;
    for in_turn in &contests {
        if session.is_over() {
            break;
        }
        let comparisons = take_turns(in_turn, rounds, |side| session.run(side));
        session.report.comparisons.extend(comparisons);
        session.save()?;
    }
    session.end()
}

fn raise(ramp: &Ramp, common: &Common, running: &Running) -> anyhow::Result<bool> {
    anyhow::ensure!(
        common.suite.len() <= 1,
        "a ramp takes one suite: its steps are of one load"
    );
    let mut session = Session::begin(running, 0)?;
    let mut growth = ramp.growth();
    let mut record = RampRecord {
        subject: running.subject.clone(),
        steps: Vec::new(),
        carried: None,
        at_least: false,
    };
    while let Some(size) = growth.next()
        && !session.is_over()
    {
        let load = ramp
            .load(common, size)
            .context("`gate` is not one load and can't be raised")?;
        let streams_out = load.plan.streams_out();
        let outcome = session.run(&Side::new(&running.subject, &load));
        let judgement = ramp.judge(&outcome);
        growth.learn(&judgement);
        record.steps.push(RampStep {
            size,
            streams_out,
            outcome,
            judgement,
        });
        record.carried = growth.carried();
        record.at_least = is_at_least(ramp, &record);
        session.report.ramps = vec![record.clone()];
        session.save()?;
    }
    session.end()
}

/// Whether a ramp ended before the forwarder did: at its own end, or because the smallest load that was too much was too much for
/// the generator.
fn is_at_least(ramp: &Ramp, record: &RampRecord) -> bool {
    let broken = record.steps.iter().filter(|step| {
        matches!(
            step.judgement,
            Judgement::Broke(_) | Judgement::GeneratorFull(_)
        )
    });
    match broken.min_by_key(|step| step.size) {
        Some(step) => matches!(step.judgement, Judgement::GeneratorFull(_)),
        None => record.carried >= Some(ramp.to),
    }
}

/// A subject in words that make sense, still as words: reports call it by them.
fn checked_subject(text: &str) -> Result<String, String> {
    parse_choice(text)
        .map(|_| text.to_owned())
        .map_err(|error| format!("{error:#}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &str) -> Result<Arguments, clap::Error> {
        let words = ["ringcast-bench"].into_iter().chain(words.split(' '));
        parsed(words.map(OsString::from))
    }

    #[test]
    fn the_command_line_is_well_formed() {
        unused::hide(Arguments::command()).debug_assert();
    }

    #[test]
    fn options_may_stand_anywhere() {
        let line = parse("compare conventional naive fanout --viewers 5 --exit drop --rounds 3")
            .expect("a sane line");
        assert_eq!(line.running.rounds, Some(3));
        assert_eq!(line.common.exit, crate::scenario::ExitChoice::Drop);
        let line = parse("compare conventional naive janus ringcast --to naive gate --only drop1");
        let Command::Compare { subjects, to, .. } = line.expect("a sane line").command else {
            panic!("no comparison");
        };
        assert_eq!((subjects.len(), to.as_deref()), (4, Some("naive")));
        assert!(parse("--suite aes128 --json x.json mesh --people 3").is_ok());
        assert!(parse("ramp --from 5 audio --speakers 2").is_ok());
        assert!(parse("table x.json --markdown").is_ok());
        assert!(parse("placement --full --policies ours,random --page x.html").is_ok());
    }

    #[test]
    fn simulations_are_told_from_measurements() {
        let simulated = ::placement::run::Report::default();
        let text = serde_json::to_string(&simulated).expect("plain data");
        assert!(super::placement::kept(&text).is_some());
        let measured = serde_json::to_string(&crate::report::tests::example());
        assert!(super::placement::kept(&measured.expect("plain data")).is_none());
    }

    #[test]
    fn nonsense_is_refused() {
        for words in [
            "compare conventional fanout",
            "compare conventional janus-of-mars fanout",
            "fanout --rounds 0",
            "fanout --subject nobody",
            "ramp",
            "placement --policies ours,nobody",
            "placement --nodes 0",
            "placement --seeds 0",
            "placement --exit drop",
            "--subject naive placement",
            "placement --incidents --full",
            "placement --incidents --seeds 2",
        ] {
            assert!(parse(words).is_err(), "{words}");
        }
    }

    #[test]
    fn a_ramp_says_whether_the_forwarder_was_the_limit() {
        let arguments = parse("ramp --from 10 --to 90 mesh").expect("a sane line");
        let Command::Ramp(ramp) = arguments.command else {
            panic!("no ramp");
        };
        let mut record = crate::report::tests::example().ramps.remove(0);
        assert!(!is_at_least(&ramp, &record), "it broke");
        record.steps[1].judgement = Judgement::GeneratorFull(String::new());
        assert!(is_at_least(&ramp, &record));
        record.steps.truncate(1);
        record.carried = Some(90);
        assert!(is_at_least(&ramp, &record), "the end of the ramp");
        record.carried = Some(20);
        assert!(!is_at_least(&ramp, &record), "it failed or was interrupted");
    }
}
