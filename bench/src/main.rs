//! `ringcast-bench`.

use clap::Parser;

/// Loads a media node with simulated browsers and reports what that costs.
#[derive(Debug, Parser)]
#[command(name = "ringcast-bench", version)]
struct Arguments {}

fn main() {
    let _arguments = Arguments::parse();
}
