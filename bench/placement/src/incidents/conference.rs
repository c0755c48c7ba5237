//! One large conference that all come to at once (jitsi/jicofo #1298): 92 endpoints within 31 s, of which 58 got to one bridge, whose
//! stress became 1.1, while 9 to 11 others stayed below 0.05 and what it had told stood at 0.008.
//!
//! Who places whole sessions has all of it on one node, whatever it knows: [`whole`], in the world where all else is simulated. Jitsi
//! splits conferences, which that world can't; so [`split`] is a small one of its own, of nothing but this conference.

use std::ops::Range;

use clock::Rng;
use scheduler::{Cluster, Demand, Policy as Settings, Shape};

use super::{Burst, Incident, NODES, SEEDS, STREAM, Script, Verdict};
use crate::node::{Node, Reading, instant};
use crate::policy::Cadence;
use crate::policy::jitsi::{Cascade, TOLD};

/// The first so many publish, and everybody sees them: each who comes then costs the same.
const PUBLISHERS: u32 = 10;
/// Packets a second of a node that 58 people load to 1.1.
const UNIT: f64 = 58.0 / 1.1 * PUBLISHERS as f64 * STREAM;
/// Streams on each node that are of others: a load of 0.008.
const OTHERS: u32 = 4;
/// Jitsi's remedy of that time: `max-bridge-participants-per-interval`, as suggested there.
const REMEDY: usize = 30;
/// People of a part, where our scheduler is asked for each part.
const PART: u32 = 10;
/// Simulated time goes by such steps, ms.
const STEP: u64 = 50;
/// Nodes tell their load for so long before anybody comes, ms.
const BEFORE: u64 = 60_000;

/// Nobody splits it.
pub fn whole(burst: Burst) -> Incident {
    let mut script = Script::default();
    let after: Vec<u64> = burst.joins().map(|at| at - Burst::BEGINS).collect();
    script.session(Burst::BEGINS, &after, PUBLISHERS);
    Incident {
        name: "conference",
        about: "92 people join one conference in 31 s, 58 are more than a node carries; by all but the last three rules it is on one node",
        load: script.load,
        unit: UNIT,
        span: burst.span(),
        frozen: burst.freeze(),
    }
}

/// Who splits it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Splits {
    /// Jitsi, where conferences may be split: it stays on its bridges until they are overloaded.
    Jitsi,
    /// The same with the remedy: no more than 30 a minute on each bridge.
    JitsiLimited,
    /// Our scheduler, asked for a node for every ten people, and told that they become ten: whoever splits knows. Our master does not do
    /// that, for it never splits a session.
    OursByTens,
}

impl Splits {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Jitsi, Self::JitsiLimited, Self::OursByTens];

    /// The word in tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Jitsi => "jitsi-split",
            Self::JitsiLimited => "jitsi-split-30",
            Self::OursByTens => "ours-by-tens",
        }
    }

    fn make(self) -> Box<dyn Rule> {
        match self {
            Self::Jitsi => Box::new(Cascade::new(NODES, None)),
            Self::JitsiLimited => Box::new(Cascade::new(NODES, Some(REMEDY))),
            Self::OursByTens => Box::new(Parts::new()),
        }
    }
}

/// What became of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// People on each node in the end.
    pub people: Vec<u32>,
    /// The load of the fullest node at the worst moment.
    pub fullest: f64,
}

/// Those who split it, under all seeds.
pub(super) fn judge(seed: u64) -> impl Iterator<Item = Verdict> {
    Splits::ALL.into_iter().map(move |rule| Verdict {
        incident: "conference".to_owned(),
        policy: rule.as_str().to_owned(),
        fullest: (seed..seed + SEEDS)
            .map(|seed| split(rule, Burst::ACCIDENT, seed).fullest)
            .collect(),
    })
}

/// Plays it, split by that rule.
pub fn split(rule: Splits, burst: Burst, seed: u64) -> Found {
    let mut rule = rule.make();
    let mut dice = Rng::from_number(seed ^ 0xd1ce);
    let mut field = Field::new(rule.cadence(), burst, seed);
    let mut joins = burst.joins().peekable();
    let mut now = Burst::BEGINS - BEFORE;
    while joins.peek().is_some() {
        field.tell(now, rule.as_mut());
        while joins.next_if(|at| *at <= now).is_some() {
            let node = rule.join(now, &mut dice);
            field.join(now, node);
        }
        now += STEP;
    }
    field.found
}

/// Where each of its people goes.
trait Rule {
    fn cadence(&self) -> Cadence;
    fn report(&mut self, now: u64, node: u32, reading: &Reading);
    fn join(&mut self, now: u64, rng: &mut Rng) -> u32;
}

impl Rule for Cascade {
    fn cadence(&self) -> Cadence {
        TOLD
    }

    fn report(&mut self, _now: u64, node: u32, reading: &Reading) {
        self.report(node, reading);
    }

    fn join(&mut self, now: u64, rng: &mut Rng) -> u32 {
        self.join(now, rng).expect("there are bridges")
    }
}

/// Our scheduler, for which each part is a session.
struct Parts {
    cluster: Cluster<u32, u32>,
    came: u32,
    node: u32,
}

impl Parts {
    fn new() -> Self {
        Self {
            cluster: Cluster::new(Settings::default()),
            came: 0,
            node: 0,
        }
    }
}

impl Rule for Parts {
    fn cadence(&self) -> Cadence {
        Cadence::every(2000)
    }

    fn report(&mut self, now: u64, node: u32, reading: &Reading) {
        self.cluster.may_take(instant(now), &node, true);
        self.cluster.report(instant(now), &node, reading.report);
    }

    fn join(&mut self, now: u64, rng: &mut Rng) -> u32 {
        let part = self.came / PART;
        let publishers = |people| if part == 0 { people } else { 0 };
        if self.came.is_multiple_of(PART) {
            let becomes = shape(PART, publishers(PART), PUBLISHERS);
            let placed = self.cluster.place(instant(now), part, None, becomes, rng);
            self.node = placed.expect("none is full");
        }
        self.came += 1;
        let people = self.came - part * PART;
        let is = shape(people, publishers(people), self.came.min(PUBLISHERS));
        self.cluster.reshape(instant(now), &part, is);
        self.node
    }
}

/// So many people of a conference, some of whom publish, and all of whom see all that is published.
fn shape(people: u32, publishers: u32, published: u32) -> Shape {
    let subscribers = people * published - publishers;
    Shape {
        connections: people,
        publishers,
        subscribers,
        media_lines: 2 * (publishers + subscribers),
        taps: 0,
    }
}

/// The nodes as they are.
struct Field {
    nodes: Vec<Node>,
    /// What each has to do.
    takes: Vec<Demand>,
    /// What nodes told last, and when each tells next.
    told: Vec<(Reading, u64)>,
    cadence: Cadence,
    frozen: Option<Range<u64>>,
    networks: Rng,
    publishers: Vec<u32>,
    found: Found,
}

impl Field {
    fn new(cadence: Cadence, burst: Burst, seed: u64) -> Self {
        let mut networks = Rng::from_number(seed ^ 0x4e7);
        let begins = Burst::BEGINS - BEFORE;
        let mut field = Self {
            nodes: vec![Node::new(UNIT); NODES as usize],
            takes: vec![Demand::NONE; NODES as usize],
            told: Vec::new(),
            cadence,
            frozen: burst.freeze(),
            publishers: vec![0; NODES as usize],
            found: Found {
                people: vec![0; NODES as usize],
                fullest: 0.0,
            },
            networks: Rng::from_number(0),
        };
        for node in &mut field.nodes {
            node.start(begins);
            let first = begins + networks.below(cadence.every.1);
            field.told.push((Reading::default(), first));
        }
        field.networks = networks;
        field.load(begins);
        field
    }

    /// All nodes that are due tell their load, as it is or as it was.
    fn tell(&mut self, now: u64, rule: &mut dyn Rule) {
        let stands = self.frozen.as_ref().is_some_and(|time| time.contains(&now));
        let (least, most) = self.cadence.every;
        for ((told, next), node) in self.told.iter_mut().zip(0..) {
            if *next > now {
                continue;
            }
            *next = now + least + self.networks.below(most - least + 1);
            if !stands {
                *told = self.nodes[node as usize].read(now);
            }
            told.report.at = instant(now);
            rule.report(now, node, told);
        }
    }

    fn join(&mut self, now: u64, node: u32) {
        let came: u32 = self.found.people.iter().sum();
        self.found.people[node as usize] += 1;
        self.publishers[node as usize] += u32::from(came < PUBLISHERS);
        self.load(now);
    }

    /// Loads each node with its people, and with the streams that go to other nodes and come from them.
    fn load(&mut self, now: u64) {
        let published: u32 = self.publishers.iter().sum();
        let used = self.found.people.iter().filter(|people| **people > 0);
        let others = (used.count() as u32).saturating_sub(1);
        for (at, node) in self.nodes.iter_mut().enumerate() {
            let (people, publishers) = (self.found.people[at], self.publishers[at]);
            let mut is = shape(people, publishers, published);
            is.subscribers += OTHERS;
            if people > 0 {
                is.subscribers += published - publishers + publishers * others;
            }
            node.participants = people + OTHERS;
            let was = std::mem::replace(&mut self.takes[at], is.demand());
            node.change(now, was, self.takes[at]);
            self.found.fullest = self.found.fullest.max(node.load);
        }
    }
}
