//! Two accidents of the field, as worlds.

use std::ops::Range;

use scheduler::Hint;
use serde::{Deserialize, Serialize};

use crate::faults::Faults;
use crate::outcome::Outcome;
use crate::policy::Entry;
use crate::timing::Timing;
use crate::workload::{Earlier, Session, Spike, Step, Workload, shape};
use crate::world::{Setting, World};

/// Nodes in either.
const NODES: u32 = 10;
/// Packets a second of one stream, as the scheduler reckons.
const STREAM: f64 = 200.0;
/// A session that stays until the end of the world, ms.
const STAYS: u64 = 3_600_000;

/// A world in which something went wrong.
#[derive(Clone, Debug)]
pub struct Incident {
    /// The word for it.
    pub name: &'static str,
    /// What happened.
    pub about: &'static str,
    load: Workload,
    unit: f64,
    span: u64,
    frozen: Option<Range<u64>>,
}

/// What became of an incident under a policy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// The incident.
    pub incident: String,
    /// The policy.
    pub policy: String,
    /// The load of the fullest node at the worst moment, with each of [`SEEDS`] seeds.
    pub fullest: Vec<f64>,
}

impl Verdict {
    /// The worst of them.
    pub fn worst(&self) -> f64 {
        self.fullest.iter().copied().fold(0.0, f64::max)
    }
}

/// Each incident is played so often.
pub const SEEDS: u64 = 5;

/// All incidents under all these policies.
pub fn judge(policies: &[Entry], seed: u64) -> Vec<Verdict> {
    let incidents = all();
    let pairs = incidents
        .iter()
        .flat_map(|incident| policies.iter().map(move |entry| (incident, entry)));
    pairs
        .map(|(incident, entry)| Verdict {
            incident: incident.name.to_owned(),
            policy: entry.name.to_owned(),
            fullest: (seed..seed + SEEDS)
                .map(|seed| incident.run(entry, seed).load.max)
                .collect(),
        })
        .collect()
}

/// Both.
pub fn all() -> Vec<Incident> {
    vec![herd(true), classroom(false)]
}

/// 92 joins within 31 s on ten nodes whose reports stand still (jitsi/jicofo #1298: 58 of 92 on one bridge, whose stress became 1.1,
/// while all others stayed below 0.05). There it was one conference, whose people may be anywhere; here each join is a call of its own
/// that a second person comes to. 53 calls fill a node, so that 58 are a load of 1.1.
///
/// One node is a little emptier than the others at the beginning. Without `frozen`, for comparison: 92 joins within 31 minutes, with
/// reports as ever.
pub fn herd(frozen: bool) -> Incident {
    const CALLS: u64 = 92;
    const BEGINS: u64 = 1_200_000;
    const LASTS: u64 = 31_000;
    let mut script = Script::default();
    for number in 0..u64::from(NODES) {
        // One a minute: each goes to an idle node.
        let size = if number == 0 { 2 } else { 3 };
        script.session(number * 60_000, &vec![0; size], size as u32);
    }
    let lasts = if frozen { LASTS } else { LASTS * 60 };
    for call in 0..CALLS {
        script.session(BEGINS + call * lasts / CALLS, &[0, 8000], 2);
    }
    Incident {
        name: "herd",
        about: "92 joins in 31 s on 10 nodes whose reports stand still",
        load: script.load,
        unit: 53.0 * 4.0 * STREAM,
        span: BEGINS + lasts + 120_000,
        frozen: frozen.then_some(BEGINS - 10_000..BEGINS + lasts + 10_000),
    }
}

/// Thirty classes of a teacher and fifteen students on ten nodes (jitsi/jicofo #1300). Seven begin and fill; on the nodes of the others
/// nothing is to be seen when 23 teachers come within seven minutes, one after the other, and wait alone. Then all their students
/// come within a minute. Five classes fill a node; three on each is even.
///
/// They meet every day, and nobody says how many they are. With `prompt`, for comparison, students come with their teachers.
pub fn classroom(prompt: bool) -> Incident {
    const CLASSES: u64 = 30;
    const FIRST: u64 = 7;
    const STUDENTS: u64 = 15;
    const TEACHERS: u64 = 600_000;
    const BETWEEN: u64 = 18_000;
    const BEGINS: u64 = TEACHERS + (CLASSES - FIRST) * BETWEEN;
    let mut script = Script::default();
    for class in 0..CLASSES {
        let at = match class < FIRST {
            true => class * 30_000,
            false => TEACHERS + (class - FIRST) * BETWEEN,
        };
        let waits = if prompt || class < FIRST {
            1000
        } else {
            BEGINS - at
        };
        let mut joins = vec![0];
        let pace = if prompt { 500 } else { 4000 };
        joins.extend((0..STUDENTS).map(|student| waits + student * pace));
        script.class(at, &joins);
    }
    Incident {
        name: "classroom",
        about: "23 teachers come before their classes do, while 7 classes have begun",
        load: script.load,
        unit: 5.0 * 256.0 * STREAM,
        span: BEGINS + 600_000,
        frozen: None,
    }
}

impl Incident {
    /// What becomes of it under a policy.
    pub fn run(&self, entry: &Entry, seed: u64) -> Outcome {
        let faults = Faults {
            sizes: vec![1.0; NODES as usize],
            at_start: NODES,
            ..Faults::default()
        };
        let setting = Setting {
            span: self.span,
            seed,
            unit: self.unit,
            frozen: self.frozen.clone(),
            autoscaler: None,
        };
        let world = World::new(&self.load, &faults, setting, entry, Timing::default());
        world.run(|_| ()).0
    }
}

struct Script {
    load: Workload,
}

impl Default for Script {
    fn default() -> Self {
        let never = Spike {
            at: u64::MAX,
            factor: 1.0,
        };
        Self {
            load: Workload {
                sessions: Vec::new(),
                steps: Vec::new(),
                earlier: Vec::new(),
                spikes: [never; 2],
            },
        }
    }
}

impl Script {
    /// A session whose people come so long after it has begun, ms. All cost what the scheduler reckons.
    fn session(&mut self, at: u64, joins: &[u64], publishers: u32) {
        let number = self.load.sessions.len() as u32;
        let start = self.load.steps.len();
        let steps = joins.iter().map(|after| Step {
            at: at + after,
            joins: true,
        });
        self.load.steps.extend(steps);
        self.load.sessions.push(Session {
            at,
            ends: at + STAYS,
            size: joins.len() as u32,
            publishers,
            name: number,
            tenant: 0,
            packets: 1.0,
            bits: 1.0,
            hint: Hint::default(),
            steps: start..self.load.steps.len(),
        });
    }

    /// One in which all publish, and that was as large on three earlier days.
    fn class(&mut self, at: u64, joins: &[u64]) {
        let size = joins.len() as u32;
        let name = self.load.sessions.len() as u32;
        let peak = shape(size, size);
        self.load.earlier.extend([Earlier { name, peak }; 3]);
        self.session(at, joins, size);
    }
}
