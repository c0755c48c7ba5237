//! Tasks that run other programs, one after the other, and stop at the first that fails.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::tidy;

/// Crypto libraries that must not enter what we ship: aws-lc-rs is the one.
const UNWANTED_CRYPTO: [&str; 3] = ["ring", "openssl-sys", "mbedtls"];

/// The folder with the workspace's Cargo.toml.
pub fn workspace_root() -> Result<PathBuf> {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = own
        .ancestors()
        .nth(2)
        .context("xtask lies two folders below the workspace root")?;
    Ok(root.to_path_buf())
}

/// Formatting, tidy, lints, dependency policy, tests.
pub fn ci(root: &Path) -> Result<()> {
    step(root, "cargo", &["fmt", "--all", "--check"])?;
    tidy::check(root)?;
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

/// The end-to-end tests, or those whose file name contains `filter`.
pub fn e2e(root: &Path, filter: Option<&str>) -> Result<()> {
    let folder = root.join("tests/e2e");
    let mut arguments = vec!["run.mjs"];
    arguments.extend(filter);
    step(&folder, "node", &arguments)
}

/// Each fuzz target for `seconds`.
pub fn fuzz(root: &Path, seconds: u32, only: Option<&str>) -> Result<()> {
    if !installed("cargo-fuzz") {
        bail!("cargo-fuzz is not installed: cargo install --locked cargo-fuzz");
    }
    let folder = root.join("tests/fuzz");
    for target in fuzz_targets(&folder)? {
        if only.is_some_and(|only| only != target) {
            continue;
        }
        let corpus = root.join("tests/data/corpus").join(&target);
        std::fs::create_dir_all(&corpus)?;
        let corpus = corpus.to_string_lossy().into_owned();
        let limit = format!("-max_total_time={seconds}");
        let arguments = [
            "fuzz",
            "run",
            "--fuzz-dir",
            ".",
            &target,
            &corpus,
            "--",
            &limit,
        ];
        step(&folder, "cargo", &arguments)?;
    }
    Ok(())
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

fn step(folder: &Path, program: &str, arguments: &[&str]) -> Result<()> {
    println!("── {program} {}", arguments.join(" "));
    let started = Instant::now();
    // cargo-fuzz needs flags that only nightly has; the stable compiler takes them with this variable.
    let status = Command::new(program)
        .args(arguments)
        .current_dir(folder)
        .env(
            "RUSTC_BOOTSTRAP",
            if arguments.first() == Some(&"fuzz") {
                "1"
            } else {
                "0"
            },
        )
        .status()
        .with_context(|| format!("{program} did not start"))?;
    if !status.success() {
        bail!("{program} {} failed", arguments.join(" "));
    }
    println!("   {:.1} s", started.elapsed().as_secs_f64());
    Ok(())
}
