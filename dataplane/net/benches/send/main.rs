//! What a send costs: CPU nanoseconds per packet, by way of sending, run length and exit.
//!
//! `cargo bench -p net --bench send -- [--exit drop|loopback] [--peers 100] [--rounds 15] [--runs 1,4,8]`
//!
//! One packet stream is copied to every peer, `k` packets in a row to each, as a worker does in one turn. All ways take turns in
//! rounds of one process, and the smallest figure of each counts, because the machine is rarely ours alone.

mod exit;
mod ways;

use std::time::Duration;

use exit::Exit;
use rustix::time::{ClockId, clock_gettime};
use ways::Way;

/// Bytes of a packet: what a browser's video packets have, roughly.
const PACKET_BYTES: usize = 1200;
/// Packets sent by one way in one round.
const PACKETS_PER_ROUND: usize = 12_000;

struct Settings {
    exit: exit::Kind,
    peers: usize,
    rounds: usize,
    runs: Vec<usize>,
}

fn main() {
    let settings = settings();
    let exit = match Exit::prepare(settings.exit, settings.peers) {
        Ok(exit) => exit,
        Err(why) => {
            println!("cannot measure: {why}");
            return;
        }
    };
    println!(
        "{:?}, {} peers, {PACKET_BYTES} B, ns of CPU per packet: minimum (median) of {} rounds; [ratio of minima to sendmmsg]",
        settings.exit, settings.peers, settings.rounds
    );
    for &run in &settings.runs {
        measure(&settings, &exit, run);
    }
}

fn measure(settings: &Settings, exit: &Exit, run: usize) {
    let mut ways: Vec<Box<dyn Way>> = Vec::new();
    let mut names = Vec::new();
    for (name, make) in ways::ALL {
        match make(exit, run) {
            Ok(way) => {
                ways.push(way);
                names.push(name);
            }
            Err(error) => println!("{name:34} not here: {error}"),
        }
    }
    let turns = (PACKETS_PER_ROUND / (settings.peers * run)).max(1);
    let packets = (turns * settings.peers * run) as f64;
    let mut figures = vec![Vec::new(); ways.len()];
    for round in 0..=settings.rounds {
        for (way, figures) in ways.iter_mut().zip(&mut figures) {
            let mut spent = Duration::ZERO;
            for _ in 0..turns {
                way.before();
                let start = cpu();
                way.turn();
                spent += cpu() - start;
            }
            // The first round warms up.
            if round > 0 {
                figures.push(spent.as_nanos() as f64 / packets);
            }
        }
    }
    println!("k = {run}");
    let minimum = |figures: &[f64]| figures.iter().copied().fold(f64::INFINITY, f64::min);
    let rival = minimum(&figures[0]);
    for ((name, figures), way) in names.iter().zip(&mut figures).zip(&ways) {
        figures.sort_by(f64::total_cmp);
        let (least, median) = (figures[0], figures[figures.len() / 2]);
        println!(
            "  {name:34} {least:7.0} ({median:5.0})  [{:.2}]  {}",
            least / rival,
            way.remark()
        );
    }
}

fn cpu() -> Duration {
    let spent = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(
        spent.tv_sec.unsigned_abs(),
        spent.tv_nsec.unsigned_abs() as u32,
    )
}

fn settings() -> Settings {
    let mut settings = Settings {
        exit: exit::Kind::Drop,
        peers: 100,
        rounds: 15,
        runs: vec![1, 4, 8],
    };
    // `cargo bench` adds a flag of its own at the end.
    let mut words = std::env::args().skip(1).filter(|word| word != "--bench");
    while let (Some(name), Some(value)) = (words.next(), words.next()) {
        let number = || value.parse().expect("a number");
        match name.as_str() {
            "--exit" if value == "loopback" => settings.exit = exit::Kind::Loopback,
            "--exit" => settings.exit = exit::Kind::Drop,
            "--peers" => settings.peers = number(),
            "--rounds" => settings.rounds = number(),
            "--runs" => {
                let runs = value.split(',').map(|run| run.parse().expect("a number"));
                settings.runs = runs.collect();
            }
            _ => panic!("what is {name}?"),
        }
    }
    settings
}
