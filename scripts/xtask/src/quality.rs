//! What people see on bad paths: the cases in simulation, those with real browsers, and one table of both.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::run::step_status;

/// What `cargo xtask quality` is told.
pub struct Wishes<'a> {
    /// Only cases whose name contains this.
    pub filter: Option<&'a str>,
    /// Short runs instead of whole ones.
    pub short: bool,
    /// Seeds of each simulated case.
    pub seeds: u32,
    /// Without browsers.
    pub simulation_only: bool,
    /// Where all figures go, as JSON.
    pub json: Option<&'a Path>,
}

/// Measures everything and prints the table. A promise that isn't kept fails the task, and so does a control that nobody notices.
pub fn quality(root: &Path, wishes: &Wishes<'_>) -> Result<()> {
    let folder = std::env::temp_dir().join(format!("ringcast-quality-{}", std::process::id()));
    fs::create_dir_all(&folder)?;
    let measured = measure(root, wishes, &folder);
    fs::remove_dir_all(&folder)?;
    let rows = measured?;
    if rows.is_empty() {
        bail!("no case has such a name");
    }
    print_table(&rows);
    print_beside_direct(&rows);
    if let Some(file) = wishes.json {
        let all = json!({ "commit": commit(root), "rows": rows });
        fs::write(file, serde_json::to_string_pretty(&all)?)
            .with_context(|| format!("{} can't be written", file.display()))?;
    }
    let broken: Vec<_> = rows.iter().filter(|row| row["broken"] == true).collect();
    if !broken.is_empty() {
        bail!(
            "{} figures belong to promises that are not kept, or to controls that change nothing",
            broken.len()
        );
    }
    Ok(())
}

fn measure(root: &Path, wishes: &Wishes<'_>, folder: &Path) -> Result<Vec<Value>> {
    let seeds = wishes.seeds.to_string();
    let file = folder.join("simulation.json");
    let named = file.to_string_lossy();
    let mut arguments = vec![
        "run",
        "--release",
        "--quiet",
        "--package",
        "sim",
        "--bin",
        "quality",
        "--",
    ];
    arguments.extend(["--seeds", &seeds, "--json", &named]);
    arguments.extend(wishes.short.then_some("--short"));
    arguments.extend(wishes.filter);
    step_status(root, "cargo", &arguments, &[])?;
    let mut rows = read(&file)?;
    if !wishes.simulation_only {
        rows.extend(with_browsers(root, wishes, folder)?);
    }
    Ok(rows)
}

/// The same with Chromium, through the impairer of the end-to-end tests.
fn with_browsers(root: &Path, wishes: &Wishes<'_>, folder: &Path) -> Result<Vec<Value>> {
    let e2e = root.join("tests/e2e");
    if !e2e.join("node_modules").is_dir() {
        bail!("the browsers' libraries are missing: (cd tests/e2e && npm ci)");
    }
    let file = folder.join("browsers.json");
    let named = file.to_string_lossy();
    let mut arguments = vec!["quality.mjs", "--json", &named];
    arguments.extend(wishes.short.then_some("--short"));
    arguments.extend(wishes.filter);
    step_status(&e2e, "node", &arguments, &[])?;
    read(&file)
}

fn read(file: &Path) -> Result<Vec<Value>> {
    let text =
        fs::read_to_string(file).with_context(|| format!("{} was not written", file.display()))?;
    Ok(serde_json::from_str(&text)?)
}

fn commit(root: &Path) -> String {
    let git = Command::new("git")
        .args(["rev-parse", "--short", "HEAD"])
        .current_dir(root)
        .output();
    git.map_or_else(
        |_| "unknown".to_owned(),
        |output| String::from_utf8_lossy(&output.stdout).trim().to_owned(),
    )
}

/// One line for each figure that has a target; what is only told is in the file.
fn print_table(rows: &[Value]) {
    println!();
    println!("| case | where | figure | target | worst | median | |");
    println!("|---|---|---|---|---|---|---|");
    for row in rows.iter().filter(|row| row["target"] != "") {
        let text = |name: &str| row[name].as_str().unwrap_or_default().to_owned();
        let number = |name: &str| match row[name].as_f64() {
            Some(number) => format!("{number:.1}"),
            None => "never".to_owned(),
        };
        let control = row["control"].as_str();
        let case = match control {
            Some(control) => format!("{}, {control}", text("case")),
            None => text("case"),
        };
        let verdict = match (
            row["met"] == true,
            control.is_some(),
            row["promised"] == true,
        ) {
            (true, ..) => "met",
            (false, true, _) => "not met, as it should be",
            (false, false, true) => "NOT MET",
            (false, false, false) => "not met, not promised",
        };
        println!(
            "| {case} | {} | {} | {} | {} | {} | {verdict} |",
            text("where"),
            text("measure"),
            text("target"),
            number("worst"),
            number("median"),
        );
    }
}

/// What the same paths let two browsers reach without a server, beside ours; the goal is to be no more than three points worse.
fn print_beside_direct(rows: &[Value]) {
    let in_browsers = |row: &&Value| row["where"] != "simulation" && row["control"].is_null();
    let direct_of = |row: &Value| {
        let case = match row["case"].as_str()? {
            "uplink-300" => "limit-300",
            case => case
                .trim_end_matches("-everywhere")
                .trim_end_matches("-firefox"),
        };
        let named = format!("direct-{case}");
        let mut same = rows.iter().filter(in_browsers);
        let same = same.find(|one| one["case"] == named && one["measure"] == row["measure"])?;
        same["worst"].as_f64()
    };
    let pairs: Vec<_> = rows
        .iter()
        .filter(in_browsers)
        .filter_map(|row| Some((row, row["worst"].as_f64()?, direct_of(row)?)))
        .collect();
    if pairs.is_empty() {
        return;
    }
    println!("\n| case | figure | here | direct | |\n|---|---|---|---|---|");
    for (row, here, direct) in pairs {
        let unit = row["unit"].as_str().unwrap_or_default();
        let measure = row["measure"].as_str().unwrap_or_default();
        let worse = match measure {
            "pictures decoded" => direct - here,
            _ => here - direct,
        };
        let verdict = match unit {
            "%" if worse <= 3.0 => "within 3 points",
            "%" => "worse by more than 3 points",
            _ => "",
        };
        let case = row["case"].as_str().unwrap_or_default();
        println!("| {case} | {measure} ({unit}) | {here:.1} | {direct:.1} | {verdict} |");
    }
}
