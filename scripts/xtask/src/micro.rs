//! What each stage of the packet path costs in instructions, which are the same on every run and under every load.
//!
//! Callgrind counts a few turns of the engine's benchmark. Valgrind's processor has AES-NI and AVX2 and nothing newer, so
//! that these are the counts of that code, whatever the machine has.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

/// The counts to compare with, in the repository.
const BASELINE: &str = "dataplane/sfu/benches/instructions.txt";
/// A stage that costs so much more than before is warned of.
const TOLERANCE: f64 = 0.05;
const SUBSCRIBERS: &str = "20";
const PACKETS: &str = "8";
const TURNS: &str = "50";
const NACKS: &str = "4";

/// What a cost is divided by.
#[derive(Clone, Copy)]
enum Per {
    Received,
    Forwarded,
    Resent,
}

/// A stage, the function whose cost is taken with everything it calls, and per what.
const STAGES: [(&str, &str, Per); 9] = [
    ("classify", "sfu::path::classify::run", Per::Received),
    ("unprotect", "sfu::path::unprotect::run", Per::Received),
    ("ingest", "sfu::path::ingest::run", Per::Received),
    ("route", "sfu::path::route::run", Per::Forwarded),
    ("cache lookup", "sfu::cache::Cache::get", Per::Resent),
    ("rewrite", "sfu::path::rewrite::run", Per::Forwarded),
    ("protect", "sfu::path::protect::run", Per::Forwarded),
    ("receive", "sfu::engine::Engine::receive", Per::Received),
    ("flush", "sfu::engine::Engine::flush", Per::Forwarded),
];

/// Counts, prints, and fails where a stage costs more than before; with `write` the counts become the baseline.
pub fn run(root: &Path, write: bool) -> Result<()> {
    let program = build(root)?;
    let folder = program.parent().context("a program lies in a folder")?;
    let record = folder.join("micro.callgrind");
    let load = [
        "--subscribers",
        SUBSCRIBERS,
        "--packets",
        PACKETS,
        "--count",
        TURNS,
        "--nacks",
        NACKS,
    ];
    let said = output(
        Command::new("valgrind")
            .args(["--tool=callgrind", "--toggle-collect=*counted_turn*"])
            .arg(format!("--callgrind-out-file={}", record.display()))
            .arg(&program)
            .args(load),
        "apt-get install valgrind",
    )?;
    let costs = output(
        Command::new("callgrind_annotate")
            .args(["--inclusive=yes", "--threshold=100", "--auto=no"])
            .arg(&record),
        "apt-get install valgrind",
    )?;
    std::fs::remove_file(&record)?;
    let counts = STAGES
        .iter()
        .map(|(stage, function, per)| {
            let name = match per {
                Per::Received => "received",
                Per::Forwarded => "forwarded",
                Per::Resent => "resent",
            };
            let cost =
                cost_of(&costs, function).with_context(|| format!("{function} was not called"))?;
            Ok((*stage, cost / number_after(&said, name)?, name))
        })
        .collect::<Result<Vec<_>>>()?;
    let judged = report(root, &counts);
    if write {
        let lines = counts
            .iter()
            .map(|(stage, count, _)| format!("{stage}: {count:.1}\n"));
        std::fs::write(root.join(BASELINE), lines.collect::<String>())?;
        return Ok(());
    }
    judged
}

fn report(root: &Path, counts: &[(&str, f64, &str)]) -> Result<()> {
    let baseline = std::fs::read_to_string(root.join(BASELINE)).unwrap_or_default();
    println!(
        "{:<13} {:>13} {:>10} {:>8}",
        "stage", "instructions", "before", "change"
    );
    let mut dearer = Vec::new();
    for (stage, count, per) in counts {
        let before = before(&baseline, stage);
        let change = before.map(|before| count / before - 1.0);
        let texts = (
            before.map_or_else(|| "-".into(), |before| format!("{before:.1}")),
            change.map_or_else(|| "-".into(), |change| format!("{:+.1} %", change * 100.0)),
        );
        println!(
            "{stage:<13} {count:>13.1} {:>10} {:>8}  per packet {per}",
            texts.0, texts.1
        );
        if change.is_some_and(|change| change > TOLERANCE) {
            dearer.push(*stage);
        }
    }
    if !dearer.is_empty() {
        bail!(
            "{} over {:.0} % more than in {BASELINE}: mend it, or say why and keep the new counts (--write)",
            dearer.join(" and "),
            TOLERANCE * 100.0
        );
    }
    Ok(())
}

fn before(baseline: &str, stage: &str) -> Option<f64> {
    let mut lines = baseline.lines();
    lines.find_map(|line| {
        let (name, count) = line.split_once(':')?;
        (name == stage).then(|| count.trim().parse().ok())?
    })
}

/// The benchmark, optimised; cargo says where it lies.
fn build(root: &Path) -> Result<PathBuf> {
    let built = Command::new("cargo")
        .args(["bench", "-p", "sfu", "--bench", "engine", "--no-run"])
        .current_dir(root)
        .output()
        .context("cargo did not start")?;
    let said = String::from_utf8_lossy(&built.stderr);
    if !built.status.success() {
        bail!("the benchmark is not built:\n{said}");
    }
    let line = said.lines().find(|line| line.contains("Executable"));
    let path = line.and_then(|line| line.rsplit_once('(')?.1.strip_suffix(')'));
    Ok(root.join(path.context("cargo does not say where the benchmark lies")?))
}

fn output(command: &mut Command, mend: &str) -> Result<String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command
        .output()
        .with_context(|| format!("{program} did not start: {mend}"))?;
    if !output.status.success() {
        bail!(
            "{program} failed:\n{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Lines are `1,234 (5.6%)  FILE:FUNCTION [OBJECT]`, and a function may have several, by the files that are inlined into it:
/// the greatest counts everything.
fn cost_of(costs: &str, function: &str) -> Option<f64> {
    let cost = |line: &str| {
        let (count, rest) = line.trim_start().split_once(' ')?;
        let named = rest.split_whitespace().any(|word| {
            word.strip_suffix(function)
                .is_some_and(|before| before.ends_with(".rs:"))
        });
        named.then(|| count.replace(',', "").parse::<f64>().ok())?
    };
    costs.lines().filter_map(cost).reduce(f64::max)
}

fn number_after(text: &str, word: &str) -> Result<f64> {
    let mut words = text.split_whitespace();
    words
        .by_ref()
        .find(|candidate| *candidate == word)
        .with_context(|| format!("the benchmark does not say how many it {word}"))?;
    let number = words.next().context("a number follows")?;
    Ok(number.parse()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn costs_are_found_by_the_name_of_the_function() {
        let costs = " 1,000 (10.0%)  /a/protect.rs:sfu::path::protect::run\n\
                     900 ( 9.0%)  a/protect.rs:sfu::path::protect::run [/b/engine]\n\
                     7,000 (70.0%)  /a/other.rs:other::sfu::path::protect::run\n";
        assert_eq!(cost_of(costs, "sfu::path::protect::run"), Some(1000.0));
        assert_eq!(cost_of(costs, "sfu::path::route::run"), None);
        assert_eq!(
            number_after("received 4 forwarded 80", "forwarded").unwrap(),
            80.0
        );
        assert_eq!(before("protect: 10.5\nroute: 2.0\n", "route"), Some(2.0));
    }
}
