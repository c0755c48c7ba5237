//! `ringcast-master`: see `--help`.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    match control::cli::run(control::cli::Cli::parse()) {
        Ok(code) => code,
        // One line with all causes: a backtrace says nothing to whoever mistyped a port.
        Err(error) => {
            eprintln!("ringcast-master: {}", control::cli::in_words(&error));
            ExitCode::FAILURE
        }
    }
}
