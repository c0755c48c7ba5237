//! How fast decisions are made: `cargo run --release -p scheduler --example decisions [NODES [SESSIONS [STRATEGY]]]`.
//!
//! The cluster first gets its sessions; then sessions end and are learned from, come by names, some of them known, and grow for a
//! while, every node reports at least every two seconds,
//! and each decision is timed. Rates are by processor time, so that they say the same on a busy machine; the tails of single decisions
//! do not.

use std::time::Instant as Clock;

use clock::{Duration, Instant, Rng};
use scheduler::{
    Cluster, Fit, Hint, Limits, Policy, Predictor, Rates, Report, Shape, Strategy, UnknownStrategy,
};

/// Decisions that are timed.
const DECISIONS: u32 = 100_000;
/// Decisions a second in the time of the simulation.
const RATE: u64 = 10_000;

fn main() -> Result<(), UnknownStrategy> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let number = |at: usize, default: u32| {
        let given = arguments.get(at).and_then(|text| text.parse().ok());
        given.unwrap_or(default)
    };
    let (nodes, sessions) = (number(0, 10_000), number(1, 1_000_000));
    let chosen: Option<Strategy> = arguments.get(2).map(|word| word.parse()).transpose()?;
    println!("{nodes} nodes, {sessions} sessions, {DECISIONS} decisions timed");
    for strategy in Strategy::ALL {
        if strategy == Strategy::Manual || chosen.is_some_and(|chosen| chosen != strategy) {
            continue;
        }
        run(strategy, Fit::Least, nodes, sessions);
        if strategy == Strategy::Capacity {
            run(strategy, Fit::TwoChoices, nodes, sessions);
            run(strategy, Fit::BestFit { below: 0.7 }, nodes, sessions);
        }
    }
    Ok(())
}

/// What this thread has used so far.
fn processor_time() -> Duration {
    let used = std::fs::read_to_string("/proc/thread-self/schedstat");
    let nanos = used
        .ok()
        .and_then(|text| text.split(' ').next()?.parse().ok());
    Duration::from_nanos(nanos.expect("Linux tells what a thread has used"))
}

/// Some come again, and more of them than can be remembered.
fn name(session: u32) -> String {
    format!("meeting-{}-of-many", session % 50_000)
}

struct World {
    cluster: Cluster<u32, u32>,
    predictor: Predictor,
    rng: Rng,
    now: Instant,
    nodes: u32,
    /// The node that reports next.
    reporting: u32,
}

fn run(strategy: Strategy, fit: Fit, nodes: u32, sessions: u32) {
    let policy = Policy {
        strategy,
        fit,
        ..Policy::default()
    };
    let mut world = World {
        cluster: Cluster::new(policy),
        predictor: Predictor::default(),
        rng: Rng::from_number(1),
        now: Instant::from_millis(3_600_000),
        nodes,
        reporting: 0,
    };
    for node in 0..nodes {
        world.cluster.may_take(world.now, &node, true);
        world.report(node);
    }
    let filling = processor_time();
    for session in 0..sessions {
        world.pass();
        world.place(session);
    }
    let filled = processor_time() - filling;
    let mut took = Vec::with_capacity(DECISIONS as usize);
    let all = processor_time();
    for decision in 0..DECISIONS {
        world.pass();
        world.end(decision);
        let began = Clock::now();
        world.place(sessions + decision);
        took.push(began.elapsed());
    }
    let all = processor_time() - all;
    took.sort_unstable();
    let at = |share: f64| took[((took.len() - 1) as f64 * share) as usize];
    println!(
        "{strategy} {fit:?}: {:.0} decisions/s with reports, growth and ends (filling: {:.0}); a decision takes {:?} (median), {:?} (p99), {:?} (p99.9), {:?} (max)",
        f64::from(DECISIONS) / all.as_secs_f64(),
        f64::from(sessions) / filled.as_secs_f64(),
        at(0.5),
        at(0.99),
        at(0.999),
        at(1.0),
    );
}

impl World {
    /// The time between two decisions, and who reports in it.
    fn pass(&mut self) {
        self.now += Duration::from_nanos(1_000_000_000 / RATE);
        // Everybody every two seconds.
        let share = u64::from(self.nodes).div_ceil(2 * RATE);
        for _ in 0..share {
            self.report(self.reporting);
            self.reporting = (self.reporting + 1) % self.nodes;
        }
    }

    fn end(&mut self, session: u32) {
        if let Some(ended) = self.cluster.end(&session) {
            self.predictor.ended(Some(&name(session)), &ended);
        }
    }

    fn place(&mut self, session: u32) {
        let forecast = self
            .predictor
            .foresee(Some(&name(session)), Hint::default());
        let placed = self
            .cluster
            .place(self.now, session, None, forecast, &mut self.rng);
        assert!(placed.is_ok(), "{placed:?}");
        let call = Shape {
            connections: 2,
            publishers: 2,
            subscribers: 2,
            media_lines: 8,
            taps: 0,
        };
        self.cluster.reshape(self.now, &session, call);
    }

    fn report(&mut self, node: u32) {
        let load = 0.1 + self.rng.below(1000) as f64 / 2000.0;
        let report = Report {
            at: self.now,
            rates: Some(Rates {
                packets: load * 1e6,
                received: load * 1e5,
                bits: load * 1e10,
                dropped: 0.0,
                cpu: load,
            }),
            busiest_worker: load * 0.9,
            memory: load * 8e9,
            transports: load * 40_000.0,
            ready: true,
            limits: Limits {
                packets: Some(1e6),
                bits: Some(1e10),
                transports: Some(40_000.0),
                memory: Some(8e9),
            },
        };
        self.cluster.report(self.now, &node, report);
    }
}
