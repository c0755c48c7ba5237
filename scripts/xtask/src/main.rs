//! The project's own tasks: `cargo xtask <task>`.
#![forbid(unsafe_code)]

mod bench;
mod boards;
mod micro;
mod openapi;
mod quality;
mod run;
mod tidy;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::quality::Wishes;

#[derive(Parser)]
#[command(
    name = "cargo xtask",
    about = "Ringcast's own tasks",
    disable_help_subcommand = true
)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Check what the compiler does not: layout, lengths of files and functions, where unsafe code lives.
    Tidy,
    /// Everything that needs no browser: formatting, tidy, lints, dependency policy, tests.
    Ci,
    /// The end-to-end tests: real processes, real browsers.
    E2e {
        /// Only the files whose name contains this.
        filter: Option<String>,
        /// Also what takes long.
        #[arg(long)]
        whole: bool,
    },
    /// A few seconds of load through debug builds: everything must arrive as it was sent.
    Bench,
    /// Write the Grafana boards of scripts/grafana.
    Boards {
        /// Compare what is there with what would be written instead.
        #[arg(long)]
        check: bool,
        /// Draw them, and the inspector, as they look at a small cluster that carries calls, into this folder (needs browsers).
        #[arg(long, conflicts_with = "check")]
        picture: Option<PathBuf>,
    },
    /// Count the instructions of each stage of the packet path, and compare them with those in the repository (needs valgrind).
    Micro {
        /// Make these counts the ones to compare with.
        #[arg(long)]
        write: bool,
    },
    /// Measure what people see on bad paths, in simulation and with Chromium, and compare it with the targets.
    Quality {
        /// Only cases whose name contains this.
        filter: Option<String>,
        /// A quarter of a minute for each instead of a whole one.
        #[arg(long)]
        short: bool,
        /// Seeds of each simulated case.
        #[arg(long, default_value_t = 5)]
        seeds: u32,
        /// Without browsers.
        #[arg(long)]
        simulation: bool,
        /// Write all figures to this file.
        #[arg(long)]
        json: Option<PathBuf>,
    },
    /// Make the parts of a cluster fail, each node in a network namespace of its own, and tell what became of it, with figures (needs root).
    Faults {
        /// Only scenarios whose name contains this.
        filter: Option<String>,
        /// A short form of each.
        #[arg(long)]
        short: bool,
        /// Write all figures to this file.
        #[arg(long)]
        json: Option<PathBuf>,
    },
    /// Check the REST API against the OpenAPI document that the master serves (needs python3; installs schemathesis).
    Openapi {
        /// Requests of each operation in each way of making them.
        #[arg(long, default_value_t = 30)]
        examples: u32,
    },
    /// Fuzz every target in turn (needs cargo-fuzz).
    Fuzz {
        /// Seconds for each target.
        #[arg(long, default_value_t = 60)]
        seconds: u32,
        /// Only this target.
        target: Option<String>,
    },
}

fn main() -> ExitCode {
    match perform(Arguments::parse().task) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn perform(task: Task) -> Result<()> {
    let root = run::workspace_root()?;
    match task {
        Task::Tidy => tidy::check(&root),
        Task::Ci => run::ci(&root),
        Task::E2e { filter, whole } => run::e2e(&root, filter.as_deref(), whole),
        Task::Bench => bench::bench(&root),
        Task::Boards {
            picture: Some(folder),
            ..
        } => run::pictures(&root, &folder),
        Task::Boards { check, .. } => boards::run(&root, check),
        Task::Micro { write } => micro::run(&root, write),
        Task::Quality {
            filter,
            short,
            seeds,
            simulation,
            json,
        } => {
            let wishes = Wishes {
                filter: filter.as_deref(),
                short,
                seeds,
                simulation_only: simulation,
                json: json.as_deref(),
            };
            quality::quality(&root, &wishes)
        }
        Task::Faults {
            filter,
            short,
            json,
        } => run::faults(&root, filter.as_deref(), short, json.as_deref()),
        Task::Openapi { examples } => openapi::check(&root, examples),
        Task::Fuzz { seconds, target } => run::fuzz(&root, seconds, target.as_deref()),
    }
}
