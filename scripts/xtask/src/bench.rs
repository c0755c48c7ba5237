//! A few seconds of load through debug builds: not for figures, but to see that everything arrives as it was sent.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::run::step;

/// Few viewers: debug builds on a busy machine must carry them.
const LOADS: [&str; 3] = [
    "fanout --viewers 5 --bitrate 300k",
    "mesh --sessions 1 --people 3 --bitrate 150k",
    "churn --viewers 4 --changes 1 --bitrate 150k",
];
/// What every load is run with.
const SHORTLY: [&str; 4] = ["--duration", "2s", "--warm-up", "1s"];
/// A forwarder that leaves packets out, which the benchmark has to notice.
const MISTAKEN: &str = "fanout --viewers 5 --bitrate 300k --subject conventional+skip=50";

/// Builds what takes part, then runs each load. Each must have a result, and a forwarder that loses packets must have none.
pub fn bench(root: &Path) -> Result<()> {
    step(
        root,
        "cargo",
        &[
            "build",
            "--package",
            "bench",
            "--package",
            "control",
            "--package",
            "dataplane",
        ],
    )?;
    let program = target_folder(root)?.join("debug/ringcast-bench");
    let program = program.to_string_lossy();
    for load in LOADS {
        step(root, &program, &arguments(load))?;
    }
    println!("── the same with a forwarder that makes mistakes: no result is right");
    let status = Command::new(program.as_ref())
        .args(arguments(MISTAKEN))
        .current_dir(root)
        .status()?;
    // 1 is a run without result; 2 would be a command that could not be run.
    if status.code() != Some(1) {
        bail!("a forwarder that loses packets went unnoticed ({status})");
    }
    Ok(())
}

fn arguments(load: &str) -> Vec<&str> {
    load.split(' ').chain(SHORTLY).collect()
}

/// Where cargo builds, which the environment and its configuration may move.
fn target_folder(root: &Path) -> Result<std::path::PathBuf> {
    let output = Command::new("cargo")
        .args(["metadata", "--format-version", "1", "--no-deps"])
        .current_dir(root)
        .output()
        .context("cargo did not start")?;
    let text = String::from_utf8_lossy(&output.stdout);
    // The one field that is needed is not worth a JSON parser; a quote in a path would be.
    let (_, rest) = text
        .split_once("\"target_directory\":\"")
        .context("cargo does not say where it builds")?;
    let (folder, _) = rest
        .split_once('"')
        .context("cargo does not say where it builds")?;
    Ok(folder.into())
}
