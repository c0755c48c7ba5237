//! `ringcast-bench`.

use bench::baseline;
use clap::{Parser, Subcommand};

/// Loads a media node with simulated browsers and reports what that costs.
#[derive(Debug, Parser)]
#[command(name = "ringcast-bench", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Is a forwarder to compare with; started by runs that need it.
    #[command(hide = true)]
    Baseline(baseline::Settings),
}

fn main() -> anyhow::Result<()> {
    match Arguments::parse().command {
        Command::Baseline(settings) => baseline::run(&settings),
    }
}
