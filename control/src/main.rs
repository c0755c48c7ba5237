//! `ringcast-master`: see `--help`.
#![forbid(unsafe_code)]

use clap::Parser as _;

fn main() -> anyhow::Result<()> {
    control::cli::run(control::cli::Cli::parse())
}
