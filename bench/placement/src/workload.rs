//! Who meets, when, how many and for how long: drawn once from a seed, so that each policy sees the same.

mod series;

use std::ops::Range;

use clock::Rng;
use scheduler::{Hint, Shape};

use self::series::{Meeting, Series, Usual};
use crate::random::{between, happens, log_normal, noise, unit};

/// Who a session belongs to.
pub const TENANTS: u32 = 50;
/// One that has few sessions; but in the second spike so many of those without an earlier name are his.
pub const BURSTING: u32 = TENANTS - 1;
const BURST: f64 = 0.5;

/// A spike at the top of an hour lasts for so long, ms.
pub const SPIKE: u64 = 60_000;
/// Then so many times as many sessions begin as usual.
const SPIKE_FACTORS: (f64, f64) = (10.0, 50.0);

/// The largest.
pub const SIZE_MAX: u32 = 1000;
/// Length of a session, ms: median and sigma.
const LENGTH: (f64, f64) = (30.0 * 60e3, 0.8);
/// The shortest and the longest, ms.
const LENGTHS: (f64, f64) = (30e3, 6.0 * 3600e3);
/// Until the second of two is there, ms.
const SECOND_JOINS: (f64, f64) = (15e3, 0.8);
/// Until others are there, ms: 95 of 100 within five minutes.
const OTHERS_JOIN: (f64, f64) = (60e3, 1.0);
/// The same where somebody waits for them.
const CLASS_JOINS: (f64, f64) = (20e3, 0.8);
/// Leave before the end.
const LEAVES_EARLY: f64 = 0.15;

/// Sessions without pictures, and what they take of the packets and bits of one with.
const SOUND_ONLY: f64 = 0.2;
const SOUND: (f64, f64) = (0.3, 0.06);
/// What a session takes differs from what it is taken to take.
const COST_SIGMA: f64 = 0.3;

/// Sessions whose name has been used before, unless another share is wanted.
pub const RECURRING: f64 = 0.6;
/// Sessions of which the application says how many it expects, how wrong it is, and how often it says who publishes.
const HINTED: f64 = 0.3;
const HINT_SIGMA: f64 = 0.3;
const HINT_NAMES_PUBLISHERS: f64 = 0.5;

/// What is to be simulated.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scale {
    /// Media nodes at the beginning.
    pub nodes: u32,
    /// Sessions that begin in all.
    pub sessions: u32,
    /// Simulated time, ms.
    pub span: u64,
    /// Of everything that chance decides.
    pub seed: u64,
    /// The share of sessions whose name has been used before.
    pub recurring: f64,
    /// All nodes are of one size.
    pub one_size: bool,
}

impl Scale {
    /// Until then the cluster fills, ms. From then on it is measured.
    pub fn measured_from(&self) -> u64 {
        self.span * 2 / 5
    }

    /// When many begin at once, ms: an hour apart in two and a half.
    pub fn spikes(&self) -> [u64; 2] {
        [self.span / 2, self.span * 9 / 10]
    }
}

/// One session, before anybody knows where it goes.
#[derive(Clone, Debug)]
pub struct Session {
    /// When the first joins, ms.
    pub at: u64,
    /// When the last leaves, ms.
    pub ends: u64,
    /// How many join it in all.
    pub size: u32,
    /// How many are in it at most at the same time.
    pub peak: u32,
    /// How many of those in it publish.
    pub publishers: u32,
    /// Its name; equal ones are of one series of meetings.
    pub name: u32,
    /// Who it belongs to.
    pub tenant: u32,
    /// Packets that it takes for each that the scheduler reckons with.
    pub packets: f64,
    /// Bits likewise.
    pub bits: f64,
    /// What its application says.
    pub hint: Hint,
    /// Who joins and leaves before its end: a range of [`Workload::steps`].
    pub steps: Range<usize>,
}

/// Somebody joins or leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Step {
    /// When, ms.
    pub at: u64,
    /// Joins; or else leaves.
    pub joins: bool,
}

/// What a name has been used for on an earlier day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Earlier {
    /// The name.
    pub name: u32,
    /// What it became.
    pub peak: Shape,
}

/// A spike.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spike {
    /// When it begins, ms.
    pub at: u64,
    /// So many times as many sessions begin as usual.
    pub factor: f64,
}

/// All that happens, whatever is decided.
#[derive(Clone, Debug)]
pub struct Workload {
    /// In the order in which they begin.
    pub sessions: Vec<Session>,
    /// Of all sessions; those of one in the order of time.
    pub steps: Vec<Step>,
    /// What came before.
    pub earlier: Vec<Earlier>,
    /// When many begin at once.
    pub spikes: [Spike; 2],
}

/// A session of `connections`, of whom `publishers` publish and everybody sees everybody.
pub fn shape(connections: u32, publishers: u32) -> Shape {
    let publishers = publishers.min(connections);
    let subscribers = publishers * connections.saturating_sub(1);
    Shape {
        connections,
        publishers,
        subscribers,
        media_lines: 2 * (publishers + subscribers),
        taps: 0,
    }
}

impl Workload {
    /// Draws it.
    pub fn draw(scale: Scale) -> Self {
        let mut rng = Rng::from_number(scale.seed);
        let spikes = spikes(scale, &mut rng);
        let begins = begins(scale, &spikes, &mut rng);
        let names = (f64::from(scale.sessions) * scale.recurring / 2.0).ceil();
        let mut drawing = Drawing {
            recurring: scale.recurring,
            burst: spikes[1].at..spikes[1].at + SPIKE,
            series: Series::draw(names as u32, &mut rng),
            rng,
            steps: Vec::new(),
            next_new: 0,
        };
        let mut sessions: Vec<Session> = begins.into_iter().map(|at| drawing.session(at)).collect();
        sessions.sort_by_key(|session| session.at);
        Self {
            earlier: drawing.series.earlier(&mut drawing.rng),
            sessions,
            steps: drawing.steps,
            spikes,
        }
    }
}

fn spikes(scale: Scale, rng: &mut Rng) -> [Spike; 2] {
    let (least, most) = SPIKE_FACTORS;
    scale.spikes().map(|at| Spike {
        at,
        factor: least * (most / least).powf(unit(rng)),
    })
}

/// Beginnings of a Poisson process of this density, given how many there are: independent draws, sorted.
fn begins(scale: Scale, spikes: &[Spike; 2], rng: &mut Rng) -> Vec<u64> {
    let extra = spikes.map(|spike| (spike.factor - 1.0) * SPIKE as f64);
    let total = scale.span as f64 + extra[0] + extra[1];
    let mut begins: Vec<u64> = (0..scale.sessions)
        .map(|_| {
            let place = unit(rng) * total;
            let ordinary = place - extra[0] - extra[1];
            let in_spike =
                |spike: Spike, place: f64| spike.at + (place / (spike.factor - 1.0)) as u64;
            if place < extra[0] {
                in_spike(spikes[0], place)
            } else if ordinary < 0.0 {
                in_spike(spikes[1], place - extra[0])
            } else {
                ordinary as u64
            }
        })
        .collect();
    begins.sort_unstable();
    begins
}

struct Drawing {
    recurring: f64,
    /// When one tenant has many.
    burst: Range<u64>,
    series: Series,
    rng: Rng,
    steps: Vec<Step>,
    next_new: u32,
}

impl Drawing {
    /// One that meets at `at`; who waits for it comes earlier.
    fn session(&mut self, at: u64) -> Session {
        let (name, usual) = self.name(at);
        let rng = &mut self.rng;
        let meeting = usual.meeting(rng);
        let length = log_normal(rng, LENGTH.0, LENGTH.1).clamp(LENGTHS.0, LENGTHS.1);
        let ends = at + length as u64;
        let mut begins = at.saturating_sub(meeting.waits.unwrap_or_default());
        if name < self.series.names() {
            begins = begins.max(self.series.take(name, ends));
        }
        let (sound, cost) = (happens(rng, SOUND_ONLY), noise(rng, COST_SIGMA));
        let (packets, bits) = if sound { SOUND } else { (1.0, 1.0) };
        let bits = bits * cost * noise(rng, COST_SIGMA);
        let hint = hint(meeting, rng);
        let steps = self.steps_of(begins, at..ends, meeting);
        Session {
            at: begins,
            ends,
            size: meeting.size,
            publishers: meeting.publishers.min(meeting.size),
            name,
            tenant: usual.tenant,
            packets: packets * cost,
            bits,
            hint,
            peak: peak(&self.steps[steps.clone()]),
            steps,
        }
    }

    fn name(&mut self, at: u64) -> (u32, Usual) {
        let rng = &mut self.rng;
        if happens(rng, self.recurring)
            && let Some(found) = self.series.free(at, rng)
        {
            return found;
        }
        self.next_new += 1;
        let name = self.series.names() + self.next_new;
        let mut usual = Usual::draw(rng);
        if self.burst.contains(&at) && happens(rng, BURST) {
            usual.tenant = BURSTING;
        }
        (name, usual)
    }

    /// The first is there when it begins, the others come when it is time, and a few leave.
    fn steps_of(&mut self, begins: u64, time: Range<u64>, meeting: Meeting) -> Range<usize> {
        let start = self.steps.len();
        let ends = time.end;
        let length = (ends - time.start) as f64;
        let (median, sigma) = match meeting {
            Meeting { size: 2, .. } => SECOND_JOINS,
            Meeting { waits: None, .. } => OTHERS_JOIN,
            Meeting { waits: Some(_), .. } => CLASS_JOINS,
        };
        let rng = &mut self.rng;
        for number in 0..meeting.size {
            let joins = match number {
                0 => begins,
                _ => {
                    let after = log_normal(rng, median, sigma);
                    // A short session is joined in time all the same.
                    time.start + after.min(length * between(rng, 0.3, 0.8)) as u64
                }
            };
            self.steps.push(Step {
                at: joins,
                joins: true,
            });
            if number > 0 && happens(rng, LEAVES_EARLY) {
                let leaves = joins + (unit(rng) * (ends - joins) as f64) as u64;
                self.steps.push(Step {
                    at: leaves,
                    joins: false,
                });
            }
        }
        // Who joins and leaves at once joins first.
        self.steps[start..].sort_unstable_by_key(|step| (step.at, !step.joins));
        start..self.steps.len()
    }
}

fn peak(steps: &[Step]) -> u32 {
    let (mut present, mut most) = (0_u32, 0);
    for step in steps {
        present = if step.joins { present + 1 } else { present - 1 };
        most = most.max(present);
    }
    most
}

fn hint(meeting: Meeting, rng: &mut Rng) -> Hint {
    if !happens(rng, HINTED) {
        return Hint::default();
    }
    let wrong = noise(rng, HINT_SIGMA);
    let said = |people: u32| (f64::from(people) * wrong).round().max(1.0) as u32;
    Hint {
        connections: Some(said(meeting.invited)),
        publishers: happens(rng, HINT_NAMES_PUBLISHERS).then(|| said(meeting.publishers)),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::series::{ALL_PUBLISH, STREAMS_MAX};
    use super::*;

    const SCALE: Scale = Scale {
        nodes: 100,
        sessions: 50_000,
        span: 9_000_000,
        seed: 11,
        recurring: RECURRING,
        one_size: false,
    };

    #[test]
    fn spikes_are_of_ten_to_fifty_within_a_minute() {
        let load = Workload::draw(SCALE);
        let begun = |from: u64, to: u64| {
            let within = load
                .sessions
                .iter()
                .filter(|one| (from..to).contains(&one.at));
            within.count() as f64 / (to - from) as f64
        };
        let usual = begun(600_000, load.spikes[0].at - 900_000);
        for spike in load.spikes {
            assert!((10.0..=50.0).contains(&spike.factor), "{spike:?}");
            let found = begun(spike.at, spike.at + SPIKE) / usual;
            assert!(
                (found / spike.factor - 1.0).abs() < 0.15,
                "{found} {spike:?}"
            );
            let after = begun(spike.at + SPIKE, spike.at + 10 * SPIKE) / usual;
            assert!((after - 1.0).abs() < 0.2, "{after}");
        }
    }

    #[test]
    fn most_sessions_are_of_two_and_the_tail_is_heavy() {
        let load = Workload::draw(SCALE);
        let share = |is: &dyn Fn(&Session) -> bool| {
            let many = load.sessions.iter().filter(|one| is(one)).count();
            many as f64 / load.sessions.len() as f64
        };
        let two = share(&|one| one.size == 2);
        assert!((0.57..0.68).contains(&two), "{two}");
        let alone = share(&|one| one.size == 1);
        assert!((0.04..0.06).contains(&alone), "{alone}");
        let large = share(&|one| one.size > 50);
        assert!((0.001..0.01).contains(&large), "{large}");
        assert!(share(&|one| one.size >= 100) > 0.0001);
        let most = load.sessions.iter().map(|one| one.size).max();
        assert!(most > Some(200) && most <= Some(SIZE_MAX), "{most:?}");
        // All of a small one publish, and few of a large one.
        assert_eq!(
            share(&|one| one.size <= ALL_PUBLISH && one.publishers != one.size),
            0.0
        );
        assert_eq!(share(&|one| one.size > 100 && one.publishers > 9), 0.0);
        // In between some have all cameras on.
        let open = |one: &Session| (13..=24).contains(&one.size) && one.publishers == one.size;
        assert!((0.003..0.05).contains(&share(&open)), "{}", share(&open));
        let too_many = |one: &Session| {
            let streams = shape(one.size, one.publishers).streams();
            one.publishers > 1 && streams > STREAMS_MAX
        };
        // Of each size, for few are drawn that are large.
        let usual = || Usual::draw(&mut Rng::from_number(3));
        assert!(
            (2..=SIZE_MAX).all(|size| usual().publishers_of(size) * size <= STREAMS_MAX.max(size))
        );
        assert_eq!(share(&too_many), 0.0);
    }

    #[test]
    fn sessions_grow_early_and_last_as_long_as_calls() {
        let load = Workload::draw(SCALE);
        let (mut joins, mut early) = (0, 0);
        for one in &load.sessions {
            let steps = &load.steps[one.steps.clone()];
            assert!(steps.is_sorted_by_key(|step| step.at));
            assert_eq!(
                steps[0],
                Step {
                    at: one.at,
                    joins: true
                }
            );
            assert_eq!(
                steps.iter().filter(|step| step.joins).count(),
                one.size as usize
            );
            for step in steps {
                assert!((one.at..=one.ends).contains(&step.at));
                joins += usize::from(step.joins);
                early += usize::from(step.joins && step.at < one.at + 300_000);
            }
        }
        assert!(early * 100 > joins * 85, "{early} of {joins}");
        let mut lengths: Vec<u64> = load.sessions.iter().map(|one| one.ends - one.at).collect();
        lengths.sort_unstable();
        let median = lengths[lengths.len() / 2] as f64;
        assert!((median / LENGTH.0 - 1.0).abs() < 0.05, "{median}");
        let mean = lengths.iter().sum::<u64>() as f64 / lengths.len() as f64;
        assert!(mean > 1.2 * median, "log-normal: {mean} {median}");
    }

    #[test]
    fn somebody_waits_for_a_class() {
        let load = Workload::draw(SCALE);
        let waits = |one: &&Session| {
            let second = &load.steps[one.steps.start + 1];
            one.size > 5 && second.at > one.at + 120_000
        };
        let all = load.sessions.iter().filter(|one| one.size > 5).count();
        let classes = load.sessions.iter().filter(waits);
        let share = classes.clone().count() as f64 / all as f64;
        assert!((0.1..0.2).contains(&share), "{share}");
        // Then they come within two minutes or so.
        let together = classes.clone().filter(|one| {
            let steps = &load.steps[one.steps.clone()];
            let mut joins = steps[1..].iter().filter(|step| step.joins);
            let first = joins.next().expect("there are more than two");
            joins
                .nth(2)
                .is_some_and(|fifth| fifth.at < first.at + 120_000)
        });
        assert!(together.count() * 10 > classes.count() * 9);
    }

    #[test]
    fn one_tenant_begins_many_in_the_second_spike() {
        let load = Workload::draw(SCALE);
        let share = |from: u64| {
            let within = |one: &&Session| (from..from + SPIKE).contains(&one.at);
            let all = load.sessions.iter().filter(within);
            let of = all.clone().filter(|one| one.tenant == BURSTING).count();
            of as f64 / all.count() as f64
        };
        let [first, second] = load.spikes.map(|spike| share(spike.at));
        assert!(
            first > 0.0005 && first < 0.03 && second > 0.15,
            "{first} {second}"
        );
    }

    #[test]
    fn a_name_is_never_used_twice_at_once() {
        let load = Workload::draw(SCALE);
        let mut until = HashMap::new();
        for one in &load.sessions {
            if let Some(ended) = until.insert(one.name, one.ends) {
                assert!(ended < one.at, "{one:?}");
            }
        }
        assert!(until.len() < load.sessions.len() * 9 / 10, "names recur");
    }

    #[test]
    fn where_no_name_recurs_nothing_came_before() {
        let load = Workload::draw(Scale {
            recurring: 0.0,
            ..SCALE
        });
        assert!(load.earlier.is_empty());
        let mut names: Vec<u32> = load.sessions.iter().map(|one| one.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), load.sessions.len());
    }

    #[test]
    fn names_recur_and_hints_are_near() {
        let load = Workload::draw(SCALE);
        let names = load.sessions.len() as f64 * RECURRING / 2.0;
        let recurring = load
            .sessions
            .iter()
            .filter(|one| f64::from(one.name) < names);
        let share = recurring.count() as f64 / load.sessions.len() as f64;
        assert!((share - RECURRING).abs() < 0.02, "{share}");
        assert!(load.earlier.len() as f64 > names * 2.0);
        let hinted: Vec<(f64, f64)> = load
            .sessions
            .iter()
            .filter_map(|one| Some((f64::from(one.hint.connections?), f64::from(one.size))))
            .collect();
        assert!((hinted.len() as f64 / 50_000.0 - HINTED).abs() < 0.02);
        let near = hinted
            .iter()
            .filter(|(said, is)| (said / is).ln().abs() < 0.7);
        assert!(near.count() * 10 > hinted.len() * 9);
        // Who says how many publish is as wrong.
        let told = |one: &&Session| one.size > 6 && one.hint.publishers.is_some();
        let large = load.sessions.iter().filter(told);
        let right = large
            .clone()
            .filter(|one| one.hint.publishers == Some(one.publishers));
        assert!(right.count() * 3 < large.count());
    }

    #[test]
    fn another_seed_is_another_world() {
        let again = Workload::draw(SCALE);
        let other = Workload::draw(Scale { seed: 12, ..SCALE });
        assert_eq!(again.steps, Workload::draw(SCALE).steps);
        assert_ne!(again.steps, other.steps);
    }
}
