//! Measures the cases of [`sim::quality`] and says which targets are reached.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;
use serde_json::{Value, json};
use sim::quality::{Case, Control, Length, Measure, Promise, Target, cases};
use sim::{Settings, trace};

/// Measures what people see on bad paths, in simulation.
#[derive(Parser)]
struct Arguments {
    /// Only cases whose name contains this.
    only: Option<String>,
    /// How many seeds.
    #[arg(long, default_value_t = 3)]
    seeds: u64,
    /// This seed alone.
    #[arg(long, conflicts_with = "seeds")]
    seed: Option<u64>,
    /// A quarter of a minute instead of a whole one.
    #[arg(long)]
    short: bool,
    /// Instead of the cases: a viewer limited to so many kbit/s from the 15th to the 45th second, as a table; a file named
    /// `--plot` gets a picture of it.
    #[arg(long, value_name = "KBIT")]
    trace: Option<u64>,
    /// Where the picture goes, as SVG.
    #[arg(long, requires = "trace")]
    plot: Option<PathBuf>,
    /// Where the figures are written as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
}

fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    let seeds: Vec<u64> = match arguments.seed {
        Some(seed) => vec![seed],
        None => (0..arguments.seeds.max(1)).collect(),
    };
    if let Some(kbit) = arguments.trace {
        return draw(&arguments, kbit, seeds[0]);
    }
    let length = match arguments.short {
        true => Length::Short,
        false => Length::Full,
    };
    let only = arguments.only.as_deref().unwrap_or_default();
    let mut rows = Vec::new();
    for case in cases().iter().filter(|case| case.name.contains(only)) {
        rows.extend(measured(case, &seeds, length, None));
        if case.control.is_some() {
            rows.extend(measured(case, &seeds, length, case.control));
        }
    }
    if let Some(file) = &arguments.json {
        let text = serde_json::to_string_pretty(&rows)?;
        std::fs::write(file, text)
            .with_context(|| format!("{} can't be written", file.display()))?;
    }
    let is_broken = rows.iter().any(|row| row["broken"] == true);
    Ok(ExitCode::from(u8::from(is_broken)))
}

/// A trace, as a table and perhaps as a picture.
fn draw(arguments: &Arguments, kbit: u64, seed: u64) -> Result<ExitCode> {
    let samples = trace::limited(seed, Settings::default(), kbit);
    print!("{}", trace::table(&samples));
    if let Some(file) = &arguments.plot {
        let title = format!("One viewer, limited to {kbit} kbit/s from 15 s to 45 s (seed {seed})");
        std::fs::write(file, trace::plot(&title, &samples))
            .with_context(|| format!("{} can't be written", file.display()))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The figures of a case, one row for each measure.
fn measured(case: &Case, seeds: &[u64], length: Length, control: Option<Control>) -> Vec<Value> {
    let mut settings = Settings::default();
    if let Some((_, switch)) = control {
        switch(&mut settings);
    }
    let of_seeds: Vec<Vec<Measure>> = seeds
        .iter()
        .map(|seed| (case.run)(*seed, length, settings))
        .collect();
    let count = of_seeds.first().map_or(0, Vec::len);
    let of_measures: Vec<Vec<Measure>> = (0..count)
        .map(|nth| of_seeds.iter().map(|measures| measures[nth]).collect())
        .collect();
    let all_kept = !of_measures.iter().flatten().any(Measure::is_broken);
    // A control that nothing notices is as bad as a promise that isn't kept.
    let broken = match control {
        Some(_) => all_kept,
        None => !all_kept && case.promise == Promise::Holds,
    };
    println!("{}: {}", name(case, control), case.what);
    let rows = of_measures.iter();
    let rows = rows.map(|measures| row(case, control, seeds, measures, broken));
    let rows: Vec<_> = rows.collect();
    if broken {
        println!("  FAILS");
    }
    rows
}

fn name(case: &Case, control: Option<Control>) -> String {
    match control {
        Some((what, _)) => format!("{}, {what}", case.name),
        None => case.name.to_owned(),
    }
}

/// One measure with all seeds, printed and for the file.
fn row(
    case: &Case,
    control: Option<Control>,
    seeds: &[u64],
    measures: &[Measure],
    broken: bool,
) -> Value {
    let (what, unit, target) = (measures[0].what, measures[0].unit, measures[0].target);
    let mut values: Vec<f64> = measures.iter().map(|measure| measure.value).collect();
    let worst = target.worst(&values);
    values.sort_unstable_by(f64::total_cmp);
    let median = values[values.len() / 2];
    let (wanted, verdict) = match target {
        Target::AtLeast(least) => (format!("≥ {least} {unit}"), target.is_met(worst)),
        Target::AtMost(most) => (format!("≤ {most} {unit}"), target.is_met(worst)),
        Target::Any => (String::new(), true),
    };
    let verdict = match (target, verdict) {
        (Target::Any, _) => "",
        (_, true) => "met",
        (_, false) => "not met",
    };
    println!("  {what:<28} {worst:>9.1} {unit:<3} (median {median:.1}) {wanted:<12} {verdict}");
    json!({
        "case": case.name,
        "what": case.what,
        "where": "simulation",
        "control": control.map(|(what, _)| what),
        "promised": case.promise == Promise::Holds && measures[0].promise == Promise::Holds,
        "broken": broken,
        "measure": what,
        "unit": unit,
        "target": wanted.trim(),
        "worst": finite(worst),
        "median": finite(median),
        "met": verdict != "not met",
        "seeds": seeds,
    })
}

/// JSON knows no infinity; what never happened is null.
fn finite(value: f64) -> Option<f64> {
    value.is_finite().then_some((value * 100.0).round() / 100.0)
}
