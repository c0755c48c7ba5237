//! The world: one queue of events, in virtual time.

mod scale;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::ops::Range;

use clock::Rng;
use scheduler::Demand;

use crate::autoscale::{self, Autoscaler};
use crate::faults::{Fault, Faults, Kind};
use crate::measure::{Meter, Since};
use crate::node::{Node, Reading, instant};
use crate::oracle::cost;
use crate::outcome::Outcome;
use crate::policy::{Cadence, Entry, Policy, Request, Standing};
use crate::random::{between, happens, unit};
use crate::timing::Timing;
use crate::workload::{Session, Workload, shape};

/// Of so many readings one fails.
const LOST: f64 = 0.01;
/// An answer takes so long in the mean, ms; and at most this share of the time between two readings.
const DELAY: f64 = 40.0;
const DELAY_MAX: f64 = 0.6;
/// Of so many one is slow, and takes any time up to that.
const SLOW: f64 = 0.02;
/// Until the master knows that a node is dead, ms.
const NOTICED: u64 = 3000;
/// People whose node is gone come again after so long, ms: all later than the master knows of it.
const COME_AGAIN: (f64, f64) = (4000.0, 9000.0);
/// Who was refused tries again after so long, ms, and so often in all.
const TRY_AGAIN: u64 = 5000;
const TRIES: u32 = 3;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    /// The next session begins.
    Begin,
    /// Somebody joins a session or leaves it.
    Step(u32),
    /// A session ends.
    Finish(u32),
    /// A session needs a node.
    Place(u32),
    /// A node is read: its number, and which of its lives it is.
    Read(u32, u32),
    /// The answer is there.
    Answered(u32, u32),
    /// The fault of this number happens.
    Fault(u32),
    /// The master knows that this node is gone.
    Noticed(u32),
    /// The autoscaler looks.
    Scale,
    /// A node that it ordered is there.
    Added(u32),
    /// A second is over.
    Second,
}

/// A session as it is.
#[derive(Clone, Copy, Debug, Default)]
struct Live {
    stage: Stage,
    joined: u32,
    left: u32,
    /// The next of its steps.
    next: usize,
    /// Where it is among the sessions of its node.
    place: usize,
    tries: u32,
    /// Since when those who are in it have been counted, ms.
    since: u64,
    /// Of those who joined, the first so many have been judged hot or never will be.
    judged: [u32; 2],
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Waits,
    On(u32),
    Over,
}

impl Live {
    fn present(&self) -> u32 {
        self.joined - self.left
    }
}

/// What else there is to say of a world.
#[derive(Clone, Debug)]
pub struct Setting {
    /// It ends after so long, ms.
    pub span: u64,
    /// And is measured since then.
    pub since: Since,
    /// Of what policies and networks draw.
    pub seed: u64,
    /// A node of the smaller size carries so many packets a second.
    pub unit: f64,
    /// In this time, ms, nodes tell again what they told before.
    pub frozen: Option<Range<u64>>,
    /// Who adds nodes and empties them.
    pub autoscaler: Option<fn() -> Box<dyn Autoscaler>>,
}

/// A cluster under one policy.
pub struct World<'a> {
    load: &'a Workload,
    faults: &'a Faults,
    setting: Setting,
    now: u64,
    order: u64,
    events: BinaryHeap<Reverse<(u64, u64, What)>>,
    begun: u32,
    policy: Box<dyn Policy>,
    autoscaler: Option<Box<dyn Autoscaler>>,
    /// What its orders drain.
    drains: BTreeSet<u32>,
    truthful: bool,
    cadence: Option<Cadence>,
    nodes: Vec<Node>,
    /// Which of its lives a node is in.
    lives_of: Vec<u32>,
    answers: Vec<Option<Reading>>,
    /// What nodes told last.
    told: Vec<Reading>,
    /// Sessions that a dead node had, until that is noticed.
    lost: Vec<Vec<u32>>,
    sessions: Vec<Live>,
    /// Of sessions that were on the lost rack, how many were in them.
    rack: BTreeMap<u32, u64>,
    meter: Meter,
    timing: Timing,
    /// What the policy draws from, and what networks do.
    dice: Rng,
    networks: Rng,
}

impl<'a> World<'a> {
    /// Before anything has happened.
    pub fn new(
        load: &'a Workload,
        faults: &'a Faults,
        setting: Setting,
        entry: &Entry,
        timing: Timing,
    ) -> Self {
        let many = faults.sizes.len();
        let policy = entry.make();
        let mut world = Self {
            load,
            faults,
            now: 0,
            order: 0,
            events: BinaryHeap::new(),
            begun: 0,
            truthful: policy.sees_truth(),
            cadence: policy.cadence(),
            policy,
            autoscaler: setting.autoscaler.map(|make| make()),
            drains: BTreeSet::new(),
            nodes: faults
                .sizes
                .iter()
                .map(|size| Node::new(size * setting.unit))
                .collect(),
            lives_of: vec![0; many],
            answers: vec![None; many],
            told: vec![Reading::default(); many],
            lost: vec![Vec::new(); many],
            sessions: vec![Live::default(); load.sessions.len()],
            rack: BTreeMap::new(),
            meter: Meter::new(entry.name, setting.since),
            timing,
            dice: Rng::from_number(setting.seed ^ 0xd1ce),
            networks: Rng::from_number(setting.seed ^ 0x4e7),
            setting,
        };
        world.prepare();
        world
    }

    fn prepare(&mut self) {
        for earlier in &self.load.earlier {
            self.policy.learn(earlier.name, earlier.peak);
        }
        for node in 0..self.faults.at_start {
            self.start(node);
        }
        for (number, fault) in (0..).zip(&self.faults.faults) {
            self.at(fault.at, What::Fault(number));
        }
        if let Some(first) = self.load.sessions.first() {
            self.at(first.at, What::Begin);
        }
        self.at(1000, What::Second);
        if self.autoscaler.is_some() {
            self.at(autoscale::EVERY, What::Scale);
        }
    }

    /// Plays it to the end. `progress` hears of each simulated minute.
    pub fn run(mut self, mut progress: impl FnMut(u64)) -> (Outcome, Timing) {
        while let Some(Reverse((at, _, what))) = self.events.pop() {
            if at > self.setting.span {
                break;
            }
            if at / 60_000 > self.now / 60_000 {
                progress(at);
            }
            self.now = at;
            self.happen(what);
        }
        self.finish()
    }

    fn finish(mut self) -> (Outcome, Timing) {
        self.now = self.setting.span;
        for number in 0..self.sessions.len() as u32 {
            let live = self.sessions[number as usize];
            if live.stage != Stage::Over {
                self.attend(number);
                self.meter.outcome.people.inside += u64::from(live.present());
            }
        }
        let mut outcome = self.meter.finish();
        outcome.sources = self.policy.accuracy();
        (outcome, self.timing)
    }

    fn at(&mut self, at: u64, what: What) {
        self.order += 1;
        self.events.push(Reverse((at, self.order, what)));
    }

    fn happen(&mut self, what: What) {
        match what {
            What::Begin => self.begin(),
            What::Step(session) => self.step(session),
            What::Finish(session) => self.end(session),
            What::Place(session) => self.place(session),
            What::Read(node, life) => self.read(node, life),
            What::Answered(node, life) => self.answered(node, life),
            What::Fault(number) => self.fault(self.faults.faults[number as usize]),
            What::Noticed(node) => self.noticed(node),
            What::Scale => self.scale(),
            What::Added(node) => self.start(node),
            What::Second => self.second(),
        }
    }

    fn session(&self, number: u32) -> &'a Session {
        &self.load.sessions[number as usize]
    }

    // Sessions.

    fn begin(&mut self) {
        let number = self.begun;
        self.begun += 1;
        let session = self.session(number);
        if let Some(next) = self.load.sessions.get(self.begun as usize) {
            self.at(next.at, What::Begin);
        }
        let live = &mut self.sessions[number as usize];
        (live.next, live.since) = (session.steps.start, self.now);
        self.at(session.ends, What::Finish(number));
        self.predict(number);
        self.place(number);
        self.step(number);
    }

    fn request(&self, number: u32) -> Request {
        let session = self.session(number);
        Request {
            session: number,
            name: session.name,
            hint: session.hint,
            becomes: shape(session.peak, session.publishers),
        }
    }

    fn predict(&mut self, number: u32) {
        let session = self.session(number);
        if let Some(expected) = self.policy.expects(&self.request(number)) {
            let real = shape(session.peak, session.publishers).streams();
            self.meter.predicted(self.now, expected.streams(), real);
        }
    }

    fn place(&mut self, number: u32) {
        if self.sessions[number as usize].stage != Stage::Waits {
            return;
        }
        let (now, request) = (self.now, self.request(number));
        let (policy, dice) = (&mut self.policy, &mut self.dice);
        let placed = self.timing.place(|| policy.place(now, &request, dice));
        let Ok(node) = placed else {
            return self.refused(number);
        };
        self.meter.outcome.placements += 1;
        if !self.nodes[node as usize].up {
            self.meter.outcome.misplaced += 1;
            self.policy.end(now, number, request.name);
            self.at(now + COME_AGAIN.0 as u64, What::Place(number));
            return;
        }
        self.attend(number);
        let live = &mut self.sessions[number as usize];
        let present = live.present();
        live.stage = Stage::On(node);
        live.tries = 0;
        live.place = self.nodes[node as usize].sessions.len();
        self.nodes[node as usize].sessions.push(number);
        self.reshaped(number, node, (0, present));
        if let Some(people) = self.rack.remove(&number) {
            self.meter.rack_back(now, people);
        }
    }

    fn refused(&mut self, number: u32) {
        self.meter.outcome.refusals += 1;
        let live = &mut self.sessions[number as usize];
        live.tries += 1;
        if live.tries < TRIES {
            self.at(self.now + TRY_AGAIN, What::Place(number));
            return;
        }
        self.attend(number);
        self.turn_away(number);
        self.rack.remove(&number);
    }

    /// Nobody takes a session: those who are in it, and those who would have come, get nothing until its end.
    fn turn_away(&mut self, number: u32) {
        let (now, session) = (self.now, self.session(number));
        let live = self.sessions[number as usize];
        let ends = session.ends.min(self.setting.span);
        let (mut present, mut later, mut since) = (live.present(), 0, now);
        for step in &self.load.steps[live.next..session.steps.end] {
            let at = step.at.min(ends);
            self.meter.unserved(session.tenant, present, since..at);
            since = at;
            match step.joins {
                _ if step.at > ends => {}
                true => (present, later) = (present + 1, later + 1),
                false => present -= 1,
            }
        }
        self.meter.unserved(session.tenant, present, since..ends);
        let unjudged = live
            .judged
            .map(|judged| live.joined - judged.max(live.left));
        let people = (live.present(), later);
        self.meter.turned_away(people, session.ends, unjudged);
        self.sessions[number as usize].stage = Stage::Over;
    }

    /// Does the next step of a session, and announces the one after it.
    fn step(&mut self, number: u32) {
        let session = self.session(number);
        if self.sessions[number as usize].stage == Stage::Over {
            return;
        }
        self.attend(number);
        let live = &mut self.sessions[number as usize];
        let was = live.present();
        let joins = self.load.steps[live.next].joins;
        match joins {
            true => live.joined += 1,
            false => live.left += 1,
        }
        live.next += 1;
        let (is, next, stage) = (live.present(), live.next, live.stage);
        let people = &mut self.meter.outcome.people;
        match joins {
            true => people.came += 1,
            false => people.went += 1,
        }
        if let Stage::On(node) = stage {
            self.reshaped(number, node, (was, is));
        }
        if next < session.steps.end {
            self.at(self.load.steps[next].at, What::Step(number));
        }
    }

    /// A session on a node changes its size.
    fn reshaped(&mut self, number: u32, node: u32, (was, is): (u32, u32)) {
        if was == is {
            return;
        }
        let (now, session) = (self.now, self.session(number));
        let demand = |present: u32| match present {
            0 => Demand::NONE,
            _ => cost(session, present),
        };
        let of = &mut self.nodes[node as usize];
        of.participants = of.participants + is - was;
        of.change(now, demand(was), demand(is));
        let load = of.load;
        if self.truthful {
            self.policy.truth(node, load);
        }
        let policy = &mut self.policy;
        let shape = shape(is, session.publishers);
        self.timing.tell(|| policy.reshape(now, number, shape));
    }

    /// Counts the time of those who are in a session.
    fn attend(&mut self, number: u32) {
        let tenant = self.session(number).tenant;
        let live = &mut self.sessions[number as usize];
        let time = live.since..self.now;
        live.since = self.now;
        let (present, refused) = (live.present(), live.tries > 0);
        match live.stage {
            Stage::On(_) => self.meter.attended(tenant, present, time),
            Stage::Waits if refused => self.meter.unserved(tenant, present, time),
            // On the way to another node, whatever the rule.
            Stage::Waits | Stage::Over => {}
        }
    }

    fn end(&mut self, number: u32) {
        self.attend(number);
        let session = self.session(number);
        let live = self.sessions[number as usize];
        if live.stage == Stage::Over {
            return;
        }
        if let Stage::On(node) = live.stage {
            let of = &mut self.nodes[node as usize];
            of.sessions.swap_remove(live.place);
            if let Some(moved) = of.sessions.get(live.place) {
                self.sessions[*moved as usize].place = live.place;
            }
            of.participants -= live.present();
            of.change(self.now, cost(session, live.present()), Demand::NONE);
            let load = of.load;
            if self.truthful {
                self.policy.truth(node, load);
            }
        }
        let (now, policy) = (self.now, &mut self.policy);
        self.timing.tell(|| policy.end(now, number, session.name));
        self.sessions[number as usize].stage = Stage::Over;
        self.meter.outcome.people.went += u64::from(live.present());
        if let Some(people) = self.rack.remove(&number) {
            self.meter.rack_back(now, people);
        }
    }

    // Nodes.

    fn start(&mut self, node: u32) {
        let of = &mut self.nodes[node as usize];
        if !of.up {
            of.start(self.now);
        }
        self.lives_of[node as usize] += 1;
        self.tell_of(node, Standing::Takes);
        if let Some(cadence) = self.cadence {
            let first = self.networks.below(cadence.every.1);
            self.at(
                self.now + first,
                What::Read(node, self.lives_of[node as usize]),
            );
        }
    }

    fn is_in(&self, node: u32, life: u32) -> bool {
        self.nodes[node as usize].up && self.lives_of[node as usize] == life
    }

    fn read(&mut self, node: u32, life: u32) {
        let Some(Cadence {
            every: (least, most),
        }) = self.cadence.filter(|_| self.is_in(node, life))
        else {
            return;
        };
        let again = least + self.networks.below(most - least + 1);
        self.at(self.now + again, What::Read(node, life));
        if happens(&mut self.networks, LOST) {
            return;
        }
        let longest = least as f64 * DELAY_MAX;
        let delay = match happens(&mut self.networks, SLOW) {
            true => between(&mut self.networks, 0.0, longest),
            false => (-DELAY * (1.0 - unit(&mut self.networks)).ln()).min(longest),
        };
        let frozen = self.setting.frozen.as_ref();
        if !frozen.is_some_and(|time| time.contains(&self.now)) {
            self.told[node as usize] = self.nodes[node as usize].read(self.now);
        }
        let mut reading = self.told[node as usize];
        reading.report.at = instant(self.now);
        self.answers[node as usize] = Some(reading);
        self.at(self.now + delay as u64, What::Answered(node, life));
    }

    fn answered(&mut self, node: u32, life: u32) {
        if !self.is_in(node, life) {
            return;
        }
        if let Some(reading) = self.answers[node as usize].take() {
            let (now, policy) = (self.now, &mut self.policy);
            self.timing.tell(|| policy.report(now, node, &reading));
        }
    }

    fn fault(&mut self, fault: Fault) {
        let node = fault.node;
        match fault.kind {
            Kind::Up => self.start(node),
            Kind::Drain => self.tell_of(node, Standing::Drains),
            Kind::Ends => {
                self.stop(node);
                self.noticed(node);
            }
            Kind::Dies => {
                self.note_rack(node);
                self.stop(node);
                self.at(self.now + NOTICED, What::Noticed(node));
            }
        }
    }

    fn note_rack(&mut self, node: u32) {
        let lost = self.faults.rack_lost.as_ref();
        if !lost.is_some_and(|(at, rack)| *at == self.now && rack.contains(&node)) {
            return;
        }
        let of = &self.nodes[node as usize];
        self.meter.rack_lost(self.now, u64::from(of.participants));
        for number in &of.sessions {
            let people = self.sessions[*number as usize].present();
            self.rack.insert(*number, u64::from(people));
        }
    }

    /// A node runs no more. Who was on it comes again.
    fn stop(&mut self, node: u32) {
        let of = &mut self.nodes[node as usize];
        let sessions = std::mem::take(&mut of.sessions);
        of.participants = 0;
        of.change(self.now, Demand::NONE, Demand::NONE);
        of.up = false;
        for number in &sessions {
            self.attend(*number);
            self.sessions[*number as usize].stage = Stage::Waits;
            let after = between(&mut self.networks, COME_AGAIN.0, COME_AGAIN.1);
            self.at(self.now + after as u64, What::Place(*number));
        }
        self.lost[node as usize] = sessions;
    }

    fn noticed(&mut self, node: u32) {
        for number in std::mem::take(&mut self.lost[node as usize]) {
            let name = self.session(number).name;
            let (now, policy) = (self.now, &mut self.policy);
            self.timing.tell(|| policy.end(now, number, name));
        }
        self.tell_of(node, Standing::Gone);
    }

    fn tell_of(&mut self, node: u32, standing: Standing) {
        let (now, policy) = (self.now, &mut self.policy);
        self.timing.tell(|| policy.node(now, node, standing));
    }

    // Measuring.

    fn second(&mut self) {
        self.at(self.now + 1000, What::Second);
        let above = self.meter.second(self.now, &self.nodes);
        for (bound, nodes) in above.iter().enumerate() {
            for node in nodes {
                for number in &self.nodes[*node as usize].sessions {
                    let live = &mut self.sessions[*number as usize];
                    // Who came first leaves first, so those who are in are the last that joined.
                    let newly = live.joined - live.judged[bound].max(live.left);
                    live.judged[bound] = live.joined;
                    self.meter.hot[bound] += u64::from(newly);
                    if bound == 0 {
                        let tenant = self.load.sessions[*number as usize].tenant;
                        self.meter.suffered(self.now, tenant, live.present());
                    }
                }
            }
        }
    }
}
