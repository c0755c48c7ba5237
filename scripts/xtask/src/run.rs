//! Tasks that run other programs, one after the other, and stop at the first that fails.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::{boards, tidy};

/// Crypto libraries that must not enter what we ship: aws-lc-rs is the one.
const UNWANTED_CRYPTO: [&str; 3] = ["ring", "openssl-sys", "mbedtls"];

/// The packages of what runs in a cluster.
const DAEMONS: [&str; 4] = ["--package", "control", "--package", "dataplane"];

/// One input that takes longer hangs, as far as a call is concerned.
const FUZZ_INPUT_SECONDS_MAX: u32 = 10;

/// The folder with the workspace's Cargo.toml.
pub fn workspace_root() -> Result<PathBuf> {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = own
        .ancestors()
        .nth(2)
        .context("xtask lies two folders below the workspace root")?;
    Ok(root.to_path_buf())
}

/// Formatting, tidy, boards, lints, dependency policy, tests.
pub fn ci(root: &Path) -> Result<()> {
    step(root, "cargo", &["fmt", "--all", "--check"])?;
    tidy::check(root)?;
    boards::run(root, true)?;
    step(
        root,
        "cargo",
        &[
            "clippy",
            "--workspace",
            "--all-targets",
            "--",
            "-D",
            "warnings",
        ],
    )?;
    one_crypto_library(root)?;
    if installed("cargo-deny") {
        step(
            root,
            "cargo",
            &["deny", "check", "bans", "licenses", "sources"],
        )?;
    } else {
        println!(
            "cargo-deny is not installed: licences and duplicates are not checked (cargo install --locked cargo-deny)"
        );
    }
    if installed("cargo-nextest") {
        step(
            root,
            "cargo",
            &["nextest", "run", "--workspace", "--no-fail-fast"],
        )
    } else {
        step(root, "cargo", &["test", "--workspace", "--no-fail-fast"])
    }
}

/// The end-to-end tests, or those whose file name contains `filter`; `whole`: also what takes long.
pub fn e2e(root: &Path, filter: Option<&str>, whole: bool) -> Result<()> {
    let folder = root.join("tests/e2e");
    let mut arguments = vec!["run.mjs"];
    arguments.extend(whole.then_some("--whole"));
    arguments.extend(filter);
    step(&folder, "node", &arguments)
}

/// What becomes of a cluster whose parts fail, with release builds of the daemons.
pub fn faults(root: &Path, filter: Option<&str>, short: bool, json: Option<&Path>) -> Result<()> {
    let folder = end_to_end_folder(root)?;
    let build = [&["build", "--release", "--quiet"][..], &DAEMONS].concat();
    step(root, "cargo", &build)?;
    // A relative name is meant as it was typed, and not below the folder of the tests.
    let json = json.map(std::path::absolute).transpose()?;
    let json = json.map(|file| file.to_string_lossy().into_owned());
    let mut arguments = vec!["faults.mjs"];
    arguments.extend(short.then_some("--short"));
    arguments.extend(json.iter().flat_map(|file| ["--json", file.as_str()]));
    arguments.extend(filter);
    let binaries = target_folder(root).join("release");
    let binaries = binaries.to_string_lossy();
    step_with(&folder, "node", &arguments, &[("RINGCAST_BIN", &binaries)])
}

/// Draws the boards as they look at a cluster of debug builds, into a folder.
pub fn pictures(root: &Path, into: &Path) -> Result<()> {
    let folder = end_to_end_folder(root)?;
    let build = [&["build", "--quiet"][..], &DAEMONS].concat();
    step(root, "cargo", &build)?;
    let into = std::path::absolute(into)?;
    let (into, binaries) = (into.to_string_lossy(), target_folder(root).join("debug"));
    let variables = [("RINGCAST_BIN", &*binaries.to_string_lossy())];
    step_with(&folder, "node", &["pictures.mjs", &into], &variables)
}

fn end_to_end_folder(root: &Path) -> Result<PathBuf> {
    let folder = root.join("tests/e2e");
    if !folder.join("node_modules").is_dir() {
        bail!("the clients' libraries are missing: (cd tests/e2e && npm ci)");
    }
    Ok(folder)
}

/// Where cargo puts what it builds.
fn target_folder(root: &Path) -> PathBuf {
    let chosen = std::env::var_os("CARGO_TARGET_DIR");
    chosen.map_or_else(|| root.join("target"), |folder| root.join(folder))
}

/// Each fuzz target, or `only` one, for `seconds`, after the inputs that the repository keeps. A finding fails the task;
/// its input lies in `tests/fuzz/artifacts`.
pub fn fuzz(root: &Path, seconds: u32, only: Option<&str>) -> Result<()> {
    if !installed("cargo-fuzz") {
        bail!("cargo-fuzz is not installed: cargo install --locked cargo-fuzz");
    }
    let folder = root.join("tests/fuzz");
    let targets = fuzz_targets(&folder)?;
    if let Some(only) = only
        && !targets.iter().any(|target| target == only)
    {
        bail!("no fuzz target {only}; there are {}", targets.join(", "));
    }
    for target in targets {
        if only.is_some_and(|only| only != target) {
            continue;
        }
        fuzz_one(root, &folder, &target, seconds)?;
    }
    Ok(())
}

fn fuzz_one(root: &Path, folder: &Path, target: &str, seconds: u32) -> Result<()> {
    // What is found goes to the first folder, which git ignores; the others are only read.
    let found = folder.join("corpus").join(target);
    std::fs::create_dir_all(&found)?;
    let kept = root.join("tests/data/corpus").join(target);
    let is_empty = std::fs::read_dir(&kept)
        .with_context(|| format!("{} can't be read", kept.display()))?
        .next()
        .is_none();
    if is_empty {
        bail!("{} has no inputs to start from", kept.display());
    }
    let mut arguments = ["fuzz", "run", "--fuzz-dir", ".", target]
        .map(str::to_owned)
        .to_vec();
    arguments.extend([found, kept].map(|path| path.to_string_lossy().into_owned()));
    let captures = root.join("tests/data").join(target);
    if captures.is_dir() {
        arguments.push(captures.to_string_lossy().into_owned());
    }
    arguments.push("--".to_owned());
    arguments.push(format!("-max_total_time={seconds}"));
    arguments.push(format!("-timeout={FUZZ_INPUT_SECONDS_MAX}"));
    let words = folder.join("words").join(format!("{target}.dict"));
    if words.is_file() {
        arguments.push(format!("-dict={}", words.display()));
    }
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    // cargo-fuzz needs flags that only nightly has; the stable compiler takes them with this variable.
    step_with(folder, "cargo", &arguments, &[("RUSTC_BOOTSTRAP", "1")])
}

fn fuzz_targets(folder: &Path) -> Result<Vec<String>> {
    let mut targets = Vec::new();
    for file in std::fs::read_dir(folder.join("fuzz_targets"))? {
        let path = file?.path();
        let stem = path.file_stem().context("a fuzz target has a name")?;
        targets.push(stem.to_string_lossy().into_owned());
    }
    targets.sort();
    Ok(targets)
}

fn one_crypto_library(root: &Path) -> Result<()> {
    for library in UNWANTED_CRYPTO {
        let output = Command::new("cargo")
            .args([
                "tree",
                "--workspace",
                "--edges",
                "normal",
                "--invert",
                library,
            ])
            .current_dir(root)
            .output()?;
        if !output.stdout.is_empty() {
            let users = String::from_utf8_lossy(&output.stdout);
            bail!(
                "{library} has entered the product; aws-lc-rs is the one crypto library:\n{users}"
            );
        }
    }
    println!("one crypto library: ok");
    Ok(())
}

fn installed(program: &str) -> bool {
    Command::new(program)
        .arg("--version")
        .output()
        .is_ok_and(|output| output.status.success())
}

/// Runs `program` in `folder`, with its output for all to see.
pub fn step(folder: &Path, program: &str, arguments: &[&str]) -> Result<()> {
    step_with(folder, program, arguments, &[])
}

fn step_with(
    folder: &Path,
    program: &str,
    arguments: &[&str],
    environment: &[(&str, &str)],
) -> Result<()> {
    if !step_status(folder, program, arguments, environment)? {
        bail!("{program} {} failed", arguments.join(" "));
    }
    Ok(())
}

/// The same, and whether it was content.
pub fn step_status(
    folder: &Path,
    program: &str,
    arguments: &[&str],
    environment: &[(&str, &str)],
) -> Result<bool> {
    println!("── {program} {}", arguments.join(" "));
    let started = Instant::now();
    let status = Command::new(program)
        .args(arguments)
        .current_dir(folder)
        .envs(environment.iter().copied())
        .status()
        .with_context(|| format!("{program} did not start"))?;
    println!("   {:.1} s", started.elapsed().as_secs_f64());
    Ok(status.success())
}
