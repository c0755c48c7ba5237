//! Who meets, when, how many and for how long: drawn once from a seed, so that each policy sees the same.

use std::ops::Range;

use clock::Rng;
use scheduler::{Hint, Shape};

use crate::random::{between, happens, log_normal, noise, unit};

/// Who a session belongs to.
pub const TENANTS: u32 = 50;

/// A spike at the top of an hour lasts for so long, ms.
pub const SPIKE: u64 = 60_000;
/// Then so many times as many sessions begin as usual.
const SPIKE_FACTORS: (f64, f64) = (10.0, 50.0);

/// Of this share of sessions the size is two.
const OF_TWO: f64 = 0.62;
/// The others have two and so many more: median and sigma.
const MORE: (f64, f64) = (3.0, 1.15);
/// The largest.
pub const SIZE_MAX: u32 = 1000;
/// Up to this size all publish; of larger ones a few.
const ALL_PUBLISH: u32 = 12;
/// Publishers of the larger ones: median and sigma.
const FEW: (f64, f64) = (4.0, 0.7);
/// A session with more streams than these needs nodes that share it, which is not simulated.
const STREAMS_MAX: u32 = 600;

/// Length of a session, ms: median and sigma.
const LENGTH: (f64, f64) = (30.0 * 60e3, 0.8);
/// The shortest and the longest, ms.
const LENGTHS: (f64, f64) = (30e3, 6.0 * 3600e3);
/// Until the second of two is there, ms.
const SECOND_JOINS: (f64, f64) = (15e3, 0.8);
/// Until others are there, ms: 95 of 100 within five minutes.
const OTHERS_JOIN: (f64, f64) = (60e3, 1.0);
/// Leave before the end.
const LEAVES_EARLY: f64 = 0.15;

/// Sessions without pictures, and what they take of the packets and bits of one with.
const SOUND_ONLY: f64 = 0.2;
const SOUND: (f64, f64) = (0.3, 0.06);
/// What a session takes differs from what it is taken to take.
const COST_SIGMA: f64 = 0.3;

/// Sessions whose name has been used before.
const RECURRING: f64 = 0.6;
/// Sizes under one name differ by that.
const NAME_SIGMA: f64 = 0.25;
/// Sessions of a recurring name that were seen on earlier days, at most.
const EARLIER_MAX: u64 = 5;
/// Sessions of which the application says how many it expects, how wrong it is, and how often it says who publishes.
const HINTED: f64 = 0.3;
const HINT_SIGMA: f64 = 0.3;
const HINT_NAMES_PUBLISHERS: f64 = 0.5;

/// What is to be simulated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scale {
    /// Media nodes at the beginning.
    pub nodes: u32,
    /// Sessions that begin in all.
    pub sessions: u32,
    /// Simulated time, ms.
    pub span: u64,
    /// Of everything that chance decides.
    pub seed: u64,
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
        let mut drawing = Drawing {
            series: Series::draw(scale.sessions, &mut rng),
            rng,
            steps: Vec::new(),
            next_new: 0,
        };
        let sessions = begins.into_iter().map(|at| drawing.session(at)).collect();
        Self {
            earlier: drawing.series.earlier(&mut drawing.rng),
            sessions,
            steps: drawing.steps,
            spikes,
        }
    }
}

/// A sixth and five sixths into the span: an hour apart in one and a half.
fn spikes(scale: Scale, rng: &mut Rng) -> [Spike; 2] {
    let (least, most) = SPIKE_FACTORS;
    [1, 5].map(|sixth| Spike {
        at: scale.span * sixth / 6,
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

/// What is usual under a name.
#[derive(Clone, Copy, Debug)]
struct Usual {
    size: f64,
    publishers: u32,
    tenant: u32,
}

/// Meetings that take place again and again.
struct Series(Vec<Usual>);

impl Series {
    fn draw(sessions: u32, rng: &mut Rng) -> Self {
        let many = (f64::from(sessions) * RECURRING / 2.0).ceil().max(1.0) as u32;
        Self((0..many).map(|_| usual(rng)).collect())
    }

    fn earlier(&self, rng: &mut Rng) -> Vec<Earlier> {
        let mut earlier = Vec::new();
        for (name, usual) in (0..).zip(&self.0) {
            for _ in 0..=rng.below(EARLIER_MAX) {
                let size = size_under(usual, rng);
                earlier.push(Earlier {
                    name,
                    peak: shape(size, publishers_of(size, usual.publishers)),
                });
            }
        }
        earlier
    }
}

fn usual(rng: &mut Rng) -> Usual {
    let size = match happens(rng, OF_TWO) {
        true => 2.0,
        false => 2.0 + log_normal(rng, MORE.0, MORE.1),
    };
    // Few tenants have most of the sessions.
    let tenant = (f64::from(TENANTS).powf(unit(rng)) as u32).min(TENANTS) - 1;
    Usual {
        size: size.min(f64::from(SIZE_MAX)),
        publishers: log_normal(rng, FEW.0, FEW.1).round().max(1.0) as u32,
        tenant,
    }
}

fn size_under(usual: &Usual, rng: &mut Rng) -> u32 {
    match usual.size <= 2.0 {
        true => 2,
        false => (usual.size * noise(rng, NAME_SIGMA))
            .round()
            .clamp(2.0, f64::from(SIZE_MAX)) as u32,
    }
}

fn publishers_of(size: u32, few: u32) -> u32 {
    match size <= ALL_PUBLISH {
        true => size,
        false => few.min(STREAMS_MAX / size).max(1),
    }
}

struct Drawing {
    series: Series,
    rng: Rng,
    steps: Vec<Step>,
    next_new: u32,
}

impl Drawing {
    fn session(&mut self, at: u64) -> Session {
        let rng = &mut self.rng;
        let (name, usual) = match happens(rng, RECURRING) {
            true => {
                let name = rng.below(self.series.0.len() as u64) as u32;
                (name, self.series.0[name as usize])
            }
            false => {
                self.next_new += 1;
                (self.series.0.len() as u32 + self.next_new, usual(rng))
            }
        };
        let size = size_under(&usual, rng);
        let publishers = publishers_of(size, usual.publishers);
        let length = log_normal(rng, LENGTH.0, LENGTH.1).clamp(LENGTHS.0, LENGTHS.1);
        let (sound, cost) = (happens(rng, SOUND_ONLY), noise(rng, COST_SIGMA));
        let (packets, bits) = if sound { SOUND } else { (1.0, 1.0) };
        let ends = at + length as u64;
        Session {
            at,
            ends,
            size,
            publishers,
            name,
            tenant: usual.tenant,
            packets: packets * cost,
            bits: bits * cost * noise(rng, COST_SIGMA),
            hint: hint(size, publishers, rng),
            steps: self.steps_of(at, ends, size),
        }
    }

    /// The first is there at once, the others come and a few leave.
    fn steps_of(&mut self, at: u64, ends: u64, size: u32) -> Range<usize> {
        let start = self.steps.len();
        let length = (ends - at) as f64;
        let rng = &mut self.rng;
        for number in 0..size {
            let (median, sigma) = if size == 2 { SECOND_JOINS } else { OTHERS_JOIN };
            let after = match number {
                0 => 0.0,
                // A short session is joined in time all the same.
                _ => log_normal(rng, median, sigma).min(length * between(rng, 0.3, 0.8)),
            };
            let joins = at + after as u64;
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

fn hint(size: u32, publishers: u32, rng: &mut Rng) -> Hint {
    if !happens(rng, HINTED) {
        return Hint::default();
    }
    let said = f64::from(size) * noise(rng, HINT_SIGMA);
    Hint {
        connections: Some(said.round().max(1.0) as u32),
        publishers: happens(rng, HINT_NAMES_PUBLISHERS).then_some(publishers),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCALE: Scale = Scale {
        nodes: 100,
        sessions: 50_000,
        span: 5_400_000,
        seed: 11,
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
        let usual = begun(0, load.spikes[0].at);
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
        assert!((0.6..0.72).contains(&two), "{two}");
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
        assert!(early * 100 > joins * 93, "{early} of {joins}");
        let mut lengths: Vec<u64> = load.sessions.iter().map(|one| one.ends - one.at).collect();
        lengths.sort_unstable();
        let median = lengths[lengths.len() / 2] as f64;
        assert!((median / LENGTH.0 - 1.0).abs() < 0.05, "{median}");
        let mean = lengths.iter().sum::<u64>() as f64 / lengths.len() as f64;
        assert!(mean > 1.2 * median, "log-normal: {mean} {median}");
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
    }

    #[test]
    fn another_seed_is_another_world() {
        let again = Workload::draw(SCALE);
        let other = Workload::draw(Scale { seed: 12, ..SCALE });
        assert_eq!(again.steps, Workload::draw(SCALE).steps);
        assert_ne!(again.steps, other.steps);
    }
}
