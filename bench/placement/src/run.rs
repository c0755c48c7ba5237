//! Several policies in the same world, on as many threads as wanted.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::autoscale::Autoscaler;
use crate::faults::{Faults, Kind};
use crate::measure::Since;
use crate::oracle::{self, Oracle};
use crate::outcome::Outcome;
use crate::policy::Entry;
use crate::timing::{Clock, Timing, Timings};
use crate::workload::{SIZE_MAX, Scale, Spike, Workload};
use crate::world::{Setting, World};

/// The load of all nodes at the worst moment if it is spread evenly, unless another is wanted.
pub const PEAK_LOAD: f64 = 0.55;

/// What is run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// How large.
    pub scale: Scale,
    /// Who decides.
    pub policies: Vec<Entry>,
    /// At most so many runs at the same time.
    pub threads: usize,
    /// The load of all nodes at the worst moment if it were spread evenly: it decides how much a node carries.
    pub peak_load: f64,
    /// Without nodes that fail, come and go.
    pub calm: bool,
    /// Who adds nodes and empties them.
    pub autoscaler: Option<fn() -> Box<dyn Autoscaler>>,
    /// To time decisions by.
    pub clock: Option<Clock>,
}

/// The world of a plan, in figures.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Facts {
    /// Nodes at the beginning.
    pub nodes: u32,
    /// Sessions that begin.
    pub sessions: u32,
    /// Simulated time, s.
    pub span_seconds: u64,
    /// Of everything that chance decides.
    pub seed: u64,
    /// People who join.
    pub people: u64,
    /// The largest session.
    pub largest_session: u32,
    /// What is before fills the cluster and is not measured, s.
    #[serde(default)]
    pub measured_from_seconds: u64,
    /// The share of sessions whose name has been used before.
    #[serde(default)]
    pub recurring: f64,
    /// All nodes are of one size.
    #[serde(default)]
    pub one_size: bool,
    /// When many begin at once: s, and how many times as many as usual.
    pub spikes: Vec<(u64, f64)>,
    /// The load of all nodes at the worst moment if it were spread evenly.
    #[serde(default)]
    pub peak_load: f64,
    /// Packets a second that a node of the smaller size carries.
    pub node_packets: f64,
    /// What the most demanding session takes of a node of the smaller size.
    pub largest_of_node: f64,
    /// Nodes that whoever knows the future needs at least, for sessions that can be cut at will: the peak of the total demand, divided
    /// by what the mean node carries. It follows from `peak_load`.
    pub oracle_nodes: u32,
    /// The same if no node may be above 80 %.
    pub oracle_nodes_at_80: u32,
    /// Nodes that are enough for whoever knows of each session how large it becomes, and moves and cuts none.
    #[serde(default)]
    pub oracle_nodes_whole: u32,
    /// The same if no node may be above 80 %.
    #[serde(default)]
    pub oracle_nodes_whole_at_80: u32,
    /// So many nodes die, those of the rack among them.
    #[serde(default)]
    pub deaths: u32,
    /// So many are drained.
    #[serde(default)]
    pub drains: u32,
    /// So many come anew.
    #[serde(default)]
    pub added: u32,
    /// When a rack is lost, s; none: none is.
    #[serde(default)]
    pub rack_lost: Option<u64>,
}

/// Everything that a plan found, and nothing that a clock said.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Where it was found.
    pub facts: Facts,
    /// Of each policy.
    pub outcomes: Vec<Outcome>,
}

/// What is told while it goes on.
#[derive(Clone, Debug, PartialEq)]
pub enum Progress {
    /// The world is drawn.
    Drawn(Facts),
    /// A policy has come so far, from 0 to 1.
    At(&'static str, f64),
    /// A policy is through: what it came to, and how long it took.
    Done(Box<Outcome>, Timings),
}

/// The world of a plan.
struct Ready {
    load: Workload,
    faults: Faults,
    unit: f64,
}

/// Runs a plan.
///
/// # Panics
/// When a run does.
pub fn run(plan: &Plan, tell: &(dyn Fn(Progress) + Sync)) -> (Report, Vec<Timings>) {
    let (ready, facts) = prepare(plan);
    tell(Progress::Drawn(facts.clone()));
    let next = AtomicUsize::new(0);
    let found = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..plan.threads.clamp(1, plan.policies.len().max(1)) {
            scope.spawn(|| {
                while let Some(number) = Some(next.fetch_add(1, Ordering::Relaxed))
                    && let Some(entry) = plan.policies.get(number)
                {
                    let one = run_one(plan, &ready, entry, tell);
                    found.lock().expect("no run panics").push((number, one));
                }
            });
        }
    });
    let mut found = found.into_inner().expect("no run panics");
    found.sort_by_key(|(number, _)| *number);
    let (outcomes, timings) = found.into_iter().map(|(_, one)| one).unzip();
    (Report { facts, outcomes }, timings)
}

fn prepare(plan: &Plan) -> (Ready, Facts) {
    let scale = plan.scale;
    let load = Workload::draw(scale);
    let faults = if plan.calm {
        Faults::none(scale)
    } else {
        Faults::draw(scale)
    };
    let oracle = Oracle::of(&load, scale.span);
    let units: f64 = faults.sizes[..faults.at_start as usize].iter().sum();
    let unit = oracle.peak() / (plan.peak_load * units);
    let mean = unit * units / f64::from(scale.nodes);
    let needed = |full: f64| oracle.nodes(mean * full);
    let whole = |full: f64| oracle::nodes_for_whole(&load, &faults.sizes, unit * full);
    let of = |kind: Kind| faults.faults.iter().filter(|one| one.kind == kind).count() as u32;
    let largest = load.sessions.iter().map(|one| one.size).max();
    let facts = Facts {
        nodes: scale.nodes,
        sessions: scale.sessions,
        span_seconds: scale.span / 1000,
        seed: scale.seed,
        measured_from_seconds: scale.measured_from() / 1000,
        recurring: scale.recurring,
        one_size: scale.one_size,
        people: load.sessions.iter().map(|one| u64::from(one.size)).sum(),
        largest_session: largest.unwrap_or_default().min(SIZE_MAX),
        spikes: load
            .spikes
            .map(|Spike { at, factor }| (at / 1000, factor))
            .to_vec(),
        peak_load: plan.peak_load,
        node_packets: unit,
        largest_of_node: oracle.largest / unit,
        oracle_nodes: needed(1.0),
        oracle_nodes_at_80: needed(0.8),
        oracle_nodes_whole: whole(1.0),
        oracle_nodes_whole_at_80: whole(0.8),
        deaths: of(Kind::Dies),
        drains: of(Kind::Drain),
        added: faults.sizes.len() as u32 - faults.at_start,
        rack_lost: faults.rack_lost.as_ref().map(|(at, _)| at / 1000),
    };
    (Ready { load, faults, unit }, facts)
}

fn run_one(
    plan: &Plan,
    ready: &Ready,
    entry: &Entry,
    tell: &(dyn Fn(Progress) + Sync),
) -> (Outcome, Timings) {
    let Scale { span, seed, .. } = plan.scale;
    let began = Instant::now();
    let timing = Timing::by(plan.clock);
    let setting = Setting {
        span,
        since: Since {
            all: plan.scale.measured_from(),
            tenants: plan.scale.spikes()[1],
        },
        seed,
        unit: ready.unit,
        frozen: None,
        autoscaler: plan.autoscaler,
    };
    let world = World::new(&ready.load, &ready.faults, setting, entry, timing);
    let (outcome, timing) = world.run(|at| tell(Progress::At(entry.name, at as f64 / span as f64)));
    let timings = Timings {
        run_seconds: began.elapsed().as_secs_f64(),
        ..timing.timings(entry.name)
    };
    tell(Progress::Done(Box::new(outcome.clone()), timings.clone()));
    (outcome, timings)
}
