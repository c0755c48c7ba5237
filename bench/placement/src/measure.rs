//! Counts what happens to nodes and people.

use std::collections::VecDeque;
use std::ops::Range;

use crate::node::Node;
use crate::outcome::{HOT, Outcome, Point, Prediction, Quantiles, Recovery, Tenants};
use crate::workload::{BURSTING, TENANTS};

/// Loads are counted in steps of a hundredth, up to 200: a rule that sends all to one node makes it that full.
const LOAD_MAX: usize = 20_000;
const LOAD_STEPS: f64 = 100.0;
/// Every so many seconds loads are counted, and a point is kept.
const COUNTED: u64 = 10;
const POINTS: u64 = 30;
/// A cluster this idle says nothing of how even it is.
const IDLE: f64 = 0.02;
/// So long after the loss of a rack, and before it, s.
const AFTER: u64 = 300;
const BEFORE: usize = 60;

/// Since when what is measured, ms.
#[derive(Clone, Copy, Debug, Default)]
pub struct Since {
    /// Everything but requests, and who comes and goes.
    pub all: u64,
    /// How tenants fare.
    pub tenants: u64,
}

/// What is counted while a world goes on.
#[derive(Clone, Debug)]
pub struct Meter {
    /// What it comes to; shares and quantiles are filled in at the end.
    pub outcome: Outcome,
    /// Participants who ever were on a hot node.
    pub hot: [u64; 2],
    since: Since,
    /// Whoever went before it was measured, or would have if he had been let in.
    gone: u64,
    never_in: u64,
    loads: Vec<u64>,
    variations: (f64, u64),
    /// Participant-seconds of each tenant, in all and on hot nodes.
    tenants: Vec<(f64, f64)>,
    rack: Option<Rack>,
    /// The share of people on overloaded nodes in each second before the rack is lost.
    lately: VecDeque<f64>,
    predicted: Predicted,
}

#[derive(Clone, Debug, Default)]
struct Rack {
    lost_at: u64,
    people: u64,
    back: u64,
    recovery: Recovery,
}

#[derive(Clone, Copy, Debug, Default)]
struct Predicted {
    sessions: u64,
    near: u64,
    expected: f64,
    real: f64,
    wrong: f64,
}

impl Meter {
    /// Of a policy of this name.
    pub fn new(policy: &str, since: Since) -> Self {
        Self {
            outcome: Outcome {
                policy: policy.to_owned(),
                ..Outcome::default()
            },
            hot: [0; 2],
            since,
            gone: 0,
            never_in: 0,
            loads: vec![0; LOAD_MAX + 1],
            variations: (0.0, 0),
            tenants: vec![(0.0, 0.0); TENANTS as usize],
            rack: None,
            lately: VecDeque::new(),
            predicted: Predicted::default(),
        }
    }

    /// Looks at all nodes, once a second. Answers which of them are above each bound of [`HOT`], if it is measured already.
    pub fn second(&mut self, now: u64, nodes: &[Node]) -> [Vec<u32>; 2] {
        let second = now / 1000;
        let mut above = [Vec::new(), Vec::new()];
        let mut people = [0_u64; 2];
        let mut all = 0;
        for (number, node) in (0..).zip(nodes).filter(|(_, node)| node.up) {
            all += u64::from(node.participants);
            for (bound, most) in HOT.iter().enumerate() {
                if node.load > *most && node.participants > 0 {
                    people[bound] += u64::from(node.participants);
                    above[bound].push(number);
                }
            }
        }
        let share = people.map(|people| people as f64 / (all as f64).max(1.0));
        if second.is_multiple_of(POINTS) {
            self.point(second, nodes, share);
        }
        if now < self.since.all {
            self.gone = self.outcome.people.went;
            return [Vec::new(), Vec::new()];
        }
        self.measure(second, nodes);
        for (minutes, people) in self.outcome.overload_minutes.iter_mut().zip(people) {
            *minutes += people as f64 / 60.0;
        }
        self.look_at_rack(now, share[1]);
        above
    }

    fn measure(&mut self, second: u64, nodes: &[Node]) {
        let loads = loads(nodes);
        self.outcome.node_hours += loads.len() as f64 / 3600.0;
        let max = &mut self.outcome.load.max;
        *max = loads.iter().copied().fold(*max, f64::max);
        if second.is_multiple_of(COUNTED) {
            self.count_loads(&loads);
        }
    }

    fn count_loads(&mut self, loads: &[f64]) {
        for load in loads {
            self.loads[((load * LOAD_STEPS).ceil() as usize).min(LOAD_MAX)] += 1;
        }
        let many = (loads.len() as f64).max(1.0);
        let mean = loads.iter().sum::<f64>() / many;
        let squares = loads.iter().map(|load| (load - mean).powi(2)).sum::<f64>();
        if mean > IDLE {
            self.variations.0 += (squares / many).sqrt() / mean;
            self.variations.1 += 1;
        }
    }

    fn point(&mut self, second: u64, nodes: &[Node], hot: [f64; 2]) {
        let mut loads = loads(nodes);
        if loads.is_empty() {
            return;
        }
        let at = ((loads.len() - 1) as f64 * 0.99) as usize;
        let (_, p99, _) = loads.select_nth_unstable_by(at, f64::total_cmp);
        let p99 = *p99;
        self.outcome.series.push(Point {
            at: second,
            mean: loads.iter().sum::<f64>() / loads.len() as f64,
            p99,
            max: loads.iter().copied().fold(0.0, f64::max),
            hot,
        });
    }

    /// So many of a tenant have been in, in this time, ms.
    pub fn attended(&mut self, tenant: u32, people: u32, time: Range<u64>) {
        self.outcome.minutes += seconds(people, &time, self.since.all) / 60.0;
        self.tenants[tenant as usize].0 += seconds(people, &time, self.since.tenants);
    }

    /// So many had no node in this time, since none was given. That is as bad as a hot one.
    pub fn unserved(&mut self, tenant: u32, people: u32, time: Range<u64>) {
        let minutes = seconds(people, &time, self.since.all) / 60.0;
        self.outcome.unserved_minutes += minutes;
        for hot in &mut self.outcome.overload_minutes {
            *hot += minutes;
        }
        self.tenants[tenant as usize].1 += seconds(people, &time, self.since.tenants);
        self.attended(tenant, people, time);
    }

    /// A session is given up with those who are in it and those who would have come; it would have ended then, ms. Of these people the
    /// last `unjudged` were on no hot node yet.
    pub fn turned_away(&mut self, (present, later): (u32, u32), ends: u64, unjudged: [u32; 2]) {
        let outcome = &mut self.outcome;
        outcome.turned_away += 1;
        outcome.people.came += u64::from(later);
        outcome.people.turned_away += u64::from(present + later);
        if ends <= self.since.all {
            self.never_in += u64::from(present + later);
            return;
        }
        for (hot, unjudged) in self.hot.iter_mut().zip(unjudged) {
            *hot += u64::from(unjudged + later);
        }
    }

    /// So many of a tenant were on a hot node for a second.
    pub fn suffered(&mut self, now: u64, tenant: u32, people: u32) {
        if now >= self.since.tenants {
            self.tenants[tenant as usize].1 += f64::from(people);
        }
    }

    /// A session that becomes so many streams was expected to become so many.
    pub fn predicted(&mut self, now: u64, expected: u32, real: u32) {
        if now < self.since.all {
            return;
        }
        let (expected, real) = (f64::from(expected.max(1)), f64::from(real.max(1)));
        let predicted = &mut self.predicted;
        predicted.sessions += 1;
        predicted.near += u64::from((0.5..=2.0).contains(&(expected / real)));
        predicted.expected += expected;
        predicted.real += real;
        predicted.wrong += (expected - real).abs();
    }

    /// A rack with so many people is lost.
    pub fn rack_lost(&mut self, now: u64, people: u64) {
        let rack = self.rack.get_or_insert_with(Rack::default);
        rack.lost_at = now;
        rack.people += people;
    }

    /// So many of those who were on it are on a node again, or have gone.
    pub fn rack_back(&mut self, now: u64, people: u64) {
        let Some(rack) = &mut self.rack else { return };
        rack.back += people;
        if rack.back * 100 >= rack.people * 99 && rack.recovery.seconds.is_none() {
            let millis = now.saturating_sub(rack.lost_at);
            rack.recovery.seconds = Some(millis as f64 / 1000.0);
        }
    }

    fn look_at_rack(&mut self, now: u64, overloaded: f64) {
        let Some(rack) = &mut self.rack else {
            self.lately.push_back(overloaded);
            if self.lately.len() > BEFORE {
                self.lately.pop_front();
            }
            return;
        };
        if now < rack.lost_at + AFTER * 1000 {
            rack.recovery.overloaded = rack.recovery.overloaded.max(overloaded);
        }
    }

    /// All that was found.
    pub fn finish(mut self) -> Outcome {
        let outcome = &mut self.outcome;
        let count: u64 = self.loads.iter().sum();
        let quantile = |share: f64| {
            let wanted = (count as f64 * share).ceil() as u64;
            let mut below = 0;
            let step = self.loads.iter().position(|count| {
                below += count;
                below >= wanted
            });
            step.unwrap_or_default() as f64 / LOAD_STEPS
        };
        outcome.load = Quantiles {
            p50: quantile(0.5),
            p99: quantile(0.99),
            max: outcome.load.max,
        };
        outcome.variation = self.variations.0 / (self.variations.1 as f64).max(1.0);
        let came = ((outcome.people.came - self.gone - self.never_in) as f64).max(1.0);
        outcome.hot_participants = self.hot.map(|hot| hot as f64 / came);
        outcome.fairness = jain(&self.tenants);
        outcome.tenants = tenants(&self.tenants);
        let before = self.lately.iter().copied().fold(0.0, f64::max);
        outcome.recovery = self.rack.map(|rack| Recovery {
            people: rack.people,
            overloaded_before: before,
            ..rack.recovery
        });
        let predicted = self.predicted;
        outcome.prediction = (predicted.sessions > 0).then(|| Prediction {
            sessions: predicted.sessions,
            bias: predicted.expected / predicted.real,
            within_two: predicted.near as f64 / predicted.sessions as f64,
            error: predicted.wrong / predicted.real,
        });
        self.outcome
    }
}

fn loads(nodes: &[Node]) -> Vec<f64> {
    let up = nodes.iter().filter(|node| node.up);
    up.map(|node| node.load).collect()
}

fn tenants(found: &[(f64, f64)]) -> Tenants {
    let share = |(all, hot): &(f64, f64)| hot / all.max(1.0);
    let mut shares: Vec<f64> = found.iter().map(share).collect();
    shares.sort_unstable_by(f64::total_cmp);
    Tenants {
        usual: shares[shares.len() / 2],
        worst: shares.last().copied().unwrap_or_default(),
        bursting: share(&found[BURSTING as usize]),
    }
}

/// So long until the end of a time as it is measured, for so many people.
fn seconds(people: u32, time: &Range<u64>, measured_since: u64) -> f64 {
    let millis = time.end.saturating_sub(time.start.max(measured_since));
    f64::from(people) * millis as f64 / 1000.0
}

/// Jain, Chiu and Hawe, 1984, of the share of each tenant's time that was on nodes that are not hot.
fn jain(tenants: &[(f64, f64)]) -> f64 {
    let there = tenants.iter().filter(|(all, _)| *all > 0.0);
    let shares: Vec<f64> = there.map(|(all, hot)| 1.0 - hot / all).collect();
    let sum: f64 = shares.iter().sum();
    let squares: f64 = shares.iter().map(|share| share * share).sum();
    match squares > 0.0 {
        true => sum * sum / (shares.len() as f64 * squares),
        false => 1.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fairness_is_jains_index() {
        assert_eq!(jain(&[(10.0, 1.0), (100.0, 10.0)]), 1.0);
        assert_eq!(jain(&[(10.0, 0.0), (10.0, 10.0)]), 0.5);
        assert!(jain(&[(10.0, 0.0), (10.0, 0.1)]) > 0.999);
        assert_eq!(jain(&[(0.0, 0.0)]), 1.0);
    }

    #[test]
    fn people_on_hot_nodes_are_counted_by_the_second() {
        let mut meter = Meter::new(
            "x",
            Since {
                all: 10_000,
                tenants: 0,
            },
        );
        let mut nodes = vec![Node::new(1000.0); 3];
        for (node, load) in nodes.iter_mut().zip([0.5, 0.9, 1.1]) {
            node.start(0);
            (node.participants, node.load) = (10, load);
        }
        // Of seventy seconds the first ten are not measured.
        for second in 0..70 {
            let above = meter.second(second * 1000, &nodes);
            match second < 10 {
                true => assert_eq!(above, [Vec::<u32>::new(), Vec::new()]),
                false => assert_eq!(above, [vec![1, 2], vec![2]]),
            }
        }
        let outcome = meter.finish();
        assert!((outcome.overload_minutes[0] - 20.0).abs() < 1e-9);
        assert!((outcome.overload_minutes[1] - 10.0).abs() < 1e-9);
        assert_eq!(
            outcome.load,
            Quantiles {
                p50: 0.9,
                p99: 1.11,
                max: 1.1
            }
        );
        assert_eq!(outcome.series.len(), 3);
        assert!(
            (outcome.variation - 0.2994).abs() < 1e-3,
            "{}",
            outcome.variation
        );
    }

    #[test]
    fn a_rack_is_back_when_99_of_100_are() {
        let mut meter = Meter::new("x", Since::default());
        meter.rack_lost(10_000, 150);
        meter.rack_lost(10_000, 50);
        meter.rack_back(13_000, 197);
        assert_eq!(
            meter
                .clone()
                .finish()
                .recovery
                .and_then(|found| found.seconds),
            None
        );
        meter.rack_back(15_500, 1);
        meter.rack_back(19_000, 2);
        let found = meter.finish().recovery.expect("a rack was lost");
        assert_eq!((found.people, found.seconds), (200, Some(5.5)));
    }

    #[test]
    fn what_was_before_the_loss_of_a_rack_is_told_apart_from_what_came_then() {
        let mut meter = Meter::new("x", Since::default());
        let mut nodes = vec![Node::new(1000.0); 2];
        for node in &mut nodes {
            node.start(0);
            node.participants = 10;
        }
        // Half are overloaded until a minute before, none then, and all after it.
        for second in 1..=200 {
            let overloaded = match second {
                ..40 => 1,
                40..=100 => 0,
                _ => 2,
            };
            for (number, node) in (0..).zip(&mut nodes) {
                node.load = if number < overloaded { 1.1 } else { 0.5 };
            }
            meter.second(second * 1000, &nodes);
            if second == 100 {
                meter.rack_lost(100_000, 10);
            }
        }
        let found = meter.finish().recovery.expect("a rack was lost");
        assert_eq!((found.overloaded_before, found.overloaded), (0.0, 1.0));
    }

    #[test]
    fn who_was_refused_before_it_is_measured_counts_for_nothing() {
        let mut meter = Meter::new(
            "x",
            Since {
                all: 10_000,
                tenants: 0,
            },
        );
        meter.outcome.people.came = 4;
        // One would have been over by then, the other is not.
        meter.turned_away((2, 0), 9000, [2, 2]);
        meter.turned_away((1, 0), 90_000, [1, 1]);
        meter.unserved(0, 2, 1000..9000);
        let outcome = meter.finish();
        assert_eq!(outcome.hot_participants, [0.5, 0.5], "one of two");
        assert_eq!(outcome.unserved_minutes, 0.0);
    }

    #[test]
    fn errors_of_predictions_are_weighed_by_streams() {
        let mut meter = Meter::new("x", Since::default());
        assert_eq!(meter.clone().finish().prediction, None);
        meter.predicted(0, 4, 4);
        meter.predicted(0, 16, 4);
        let found = meter.finish().prediction.expect("two");
        let is = Prediction {
            sessions: 2,
            bias: 2.5,
            within_two: 0.5,
            error: 1.5,
        };
        assert_eq!(found, is);
    }
}
