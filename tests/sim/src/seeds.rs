//! Running a scenario with many seeds, and saying how to repeat the one that failed.

use std::process::Command;

/// Seeds of a scenario unless the environment says otherwise.
const SEEDS: u64 = 8;

/// Runs `scenario` once for each seed: `RINGCAST_SIM_SEEDS` of them, or `RINGCAST_SIM_SEED` alone. `name` is the test's.
///
/// # Panics
/// As `scenario` does, after saying with which seed; or if a variable is not a number.
pub fn over_seeds(name: &'static str, scenario: impl Fn(u64)) {
    over_few_seeds(name, SEEDS, scenario);
}

/// The same with so many seeds unless the environment says otherwise, for scenarios that take long.
///
/// # Panics
/// As [`over_seeds`].
pub fn over_few_seeds(name: &'static str, count: u64, scenario: impl Fn(u64)) {
    let seeds = match number("RINGCAST_SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("RINGCAST_SIM_SEEDS").unwrap_or(count),
    };
    for seed in seeds {
        let witness = Witness { name, seed };
        scenario(seed);
        drop(witness);
    }
}

fn number(variable: &str) -> Option<u64> {
    let value = std::env::var(variable).ok()?;
    match value.parse() {
        Ok(number) => Some(number),
        Err(_) => panic!("{variable} is not a number: {value}"),
    }
}

/// Speaks up when the scenario does not end well.
struct Witness {
    name: &'static str,
    seed: u64,
}

impl Drop for Witness {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let Self { name, seed } = self;
            eprintln!("seed {seed} fails at commit {}; again:", commit());
            eprintln!("RINGCAST_SIM_SEED={seed} cargo test -p sim {name}");
        }
    }
}

fn commit() -> String {
    let git = Command::new("git")
        .args(["rev-parse", "--short", "HEAD"])
        .output();
    match git {
        Ok(output) if output.status.success() => {
            String::from_utf8_lossy(&output.stdout).trim().to_owned()
        }
        _ => "unknown".to_owned(),
    }
}
