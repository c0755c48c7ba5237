//! Accidents of the field, as worlds.

pub mod conference;

use std::ops::Range;

use scheduler::Hint;
use serde::{Deserialize, Serialize};

use crate::faults::Faults;
use crate::measure::Since;
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

    /// The best of them.
    pub fn best(&self) -> f64 {
        self.fullest.iter().copied().fold(f64::MAX, f64::min)
    }
}

/// Each incident is played so often.
pub const SEEDS: u64 = 5;

/// All incidents under all these policies; and the conference under those who split it.
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
        .chain(conference::judge(seed))
        .collect()
}

/// People who come at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Burst {
    /// All have come after so long, ms.
    pub lasts: u64,
    /// Meanwhile nodes tell again what they told before.
    pub frozen: bool,
}

impl Burst {
    /// As it was in jitsi/jicofo #1298.
    pub const ACCIDENT: Self = Self {
        lasts: 31_000,
        frozen: true,
    };
    /// So many joins.
    pub const JOINS: u64 = 92;
    /// The first of them, ms.
    const BEGINS: u64 = 1_200_000;

    /// When each comes.
    fn joins(self) -> impl Iterator<Item = u64> {
        (0..Self::JOINS).map(move |join| Self::BEGINS + join * self.lasts / Self::JOINS)
    }

    /// When nodes tell nothing new.
    fn freeze(self) -> Option<Range<u64>> {
        let frozen = Self::BEGINS - 10_000..Self::BEGINS + self.lasts + 10_000;
        self.frozen.then_some(frozen)
    }

    fn span(self) -> u64 {
        Self::BEGINS + self.lasts + 120_000
    }
}

/// All of them, as they were.
pub fn all() -> Vec<Incident> {
    vec![
        herd(Burst::ACCIDENT),
        conference::whole(Burst::ACCIDENT),
        classroom(Classes::ACCIDENT),
        classroom(Classes {
            days: 1,
            ..Classes::ACCIDENT
        }),
        classroom(Classes {
            hint: true,
            ..Classes::ACCIDENT
        }),
    ]
}

/// 92 calls on ten nodes whose reports stand still. In jitsi/jicofo #477 the conferences that came back at once after a restart went
/// to one or two of ten bridges, for their reports were too late; the documentation of OpenVidu says the same of its own rule. 53 calls
/// fill a node.
///
/// One node is a little emptier than the others at the beginning.
pub fn herd(burst: Burst) -> Incident {
    let mut script = Script::default();
    for number in 0..u64::from(NODES) {
        // One a minute: each goes to an idle node.
        let size = if number == 0 { 2 } else { 3 };
        script.session(number * 60_000, &vec![0; size], size as u32);
    }
    for at in burst.joins() {
        script.session(at, &[0, 8000], 2);
    }
    Incident {
        name: "herd",
        about: "92 calls begin in 31 s on 10 nodes whose reports stand still",
        load: script.load,
        unit: 53.0 * 4.0 * STREAM,
        span: burst.span(),
        frozen: burst.freeze(),
    }
}

/// Classes that meet, and who knows of them beforehand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Classes {
    /// Students come with their teachers.
    pub prompt: bool,
    /// They met on so many earlier days.
    pub days: usize,
    /// Their application says how many they become.
    pub hint: bool,
}

impl Classes {
    /// As it was: nobody knows anything.
    pub const ACCIDENT: Self = Self {
        prompt: false,
        days: 0,
        hint: false,
    };

    fn words(self) -> (&'static str, &'static str) {
        match self {
            Self { hint: true, .. } => (
                "classroom, hint",
                "the same, but the application says how many each class becomes",
            ),
            Self { days: 1.., .. } => (
                "classroom, day 2",
                "the same, but each class met once before",
            ),
            _ => (
                "classroom",
                "23 teachers come before their classes do, while 7 classes have begun; nobody knows of them",
            ),
        }
    }
}

/// Thirty classes of a teacher and fifteen students on ten nodes (jitsi/jicofo #1300). Seven begin and fill; on the nodes of the others
/// nothing is to be seen when 23 teachers come within seven minutes, one after the other, and wait alone. Then all their students
/// come within a minute. Five classes fill a node; three on each is even.
pub fn classroom(classes: Classes) -> Incident {
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
        let waits = if classes.prompt || class < FIRST {
            1000
        } else {
            BEGINS - at
        };
        let mut joins = vec![0];
        let pace = if classes.prompt { 500 } else { 4000 };
        joins.extend((0..STUDENTS).map(|student| waits + student * pace));
        script.class(at, &joins, classes);
    }
    let (name, about) = classes.words();
    Incident {
        name,
        about,
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
            since: Since::default(),
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
            peak: joins.len() as u32,
            publishers,
            name: number,
            tenant: 0,
            packets: 1.0,
            bits: 1.0,
            hint: Hint::default(),
            steps: start..self.load.steps.len(),
        });
    }

    /// One in which all publish, and that was as large on earlier days.
    fn class(&mut self, at: u64, joins: &[u64], classes: Classes) {
        let size = joins.len() as u32;
        let name = self.load.sessions.len() as u32;
        let peak = shape(size, size);
        let earlier = std::iter::repeat_n(Earlier { name, peak }, classes.days);
        self.load.earlier.extend(earlier);
        self.session(at, joins, size);
        if let Some(class) = self.load.sessions.last_mut().filter(|_| classes.hint) {
            class.hint.connections = Some(size);
        }
    }
}
