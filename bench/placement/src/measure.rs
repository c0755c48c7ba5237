//! Counts what happens to nodes and people.

use crate::node::Node;
use crate::outcome::{HOT, Outcome, Point, Prediction, Quantiles, Recovery};
use crate::workload::TENANTS;

/// Loads are counted in steps of a hundredth, up to this.
const LOAD_MAX: usize = 1000;
const LOAD_STEPS: f64 = 100.0;
/// Every so many seconds loads are counted, and a point is kept.
const COUNTED: u64 = 10;
const POINTS: u64 = 30;
/// A cluster this idle says nothing of how even it is.
const IDLE: f64 = 0.02;
/// So long after the loss of a rack, and before it, s.
const AFTER: u64 = 300;
const BEFORE: u64 = 60;

/// What is counted while a world goes on.
#[derive(Clone, Debug)]
pub struct Meter {
    /// What it comes to; shares and quantiles are filled in at the end.
    pub outcome: Outcome,
    /// Participants who ever were on a hot node.
    pub hot: [u64; 2],
    loads: Vec<u64>,
    variations: (f64, u64),
    /// Participant-seconds of each tenant, in all and on hot nodes.
    tenants: Vec<(f64, f64)>,
    rack: Option<Rack>,
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
    pub fn new(policy: &str) -> Self {
        Self {
            outcome: Outcome {
                policy: policy.to_owned(),
                ..Outcome::default()
            },
            hot: [0; 2],
            loads: vec![0; LOAD_MAX + 1],
            variations: (0.0, 0),
            tenants: vec![(0.0, 0.0); TENANTS as usize],
            rack: None,
            predicted: Predicted::default(),
        }
    }

    /// Looks at all nodes, once a second. Answers which of them are above each bound of [`HOT`].
    pub fn second(&mut self, now: u64, nodes: &[Node]) -> [Vec<u32>; 2] {
        let second = now / 1000;
        let mut above = [Vec::new(), Vec::new()];
        let mut people = [0_u64; 2];
        let mut all = 0;
        for (number, node) in (0..).zip(nodes).filter(|(_, node)| node.up) {
            all += u64::from(node.participants);
            self.outcome.node_hours += 1.0 / 3600.0;
            self.outcome.load.max = self.outcome.load.max.max(node.load);
            for (bound, most) in HOT.iter().enumerate() {
                if node.load > *most && node.participants > 0 {
                    people[bound] += u64::from(node.participants);
                    above[bound].push(number);
                }
            }
        }
        let share = people.map(|people| people as f64 / (all as f64).max(1.0));
        for (minutes, people) in self.outcome.overload_minutes.iter_mut().zip(people) {
            *minutes += people as f64 / 60.0;
        }
        self.look_at_rack(now, share[1]);
        if second.is_multiple_of(COUNTED) {
            self.count_loads(second, nodes, share);
        }
        above
    }

    fn count_loads(&mut self, second: u64, nodes: &[Node], hot: [f64; 2]) {
        let mut loads: Vec<f64> = nodes
            .iter()
            .filter(|node| node.up)
            .map(|node| node.load)
            .collect();
        for load in &loads {
            self.loads[((load * LOAD_STEPS).ceil() as usize).min(LOAD_MAX)] += 1;
        }
        let many = (loads.len() as f64).max(1.0);
        let mean = loads.iter().sum::<f64>() / many;
        let squares = loads.iter().map(|load| (load - mean).powi(2)).sum::<f64>();
        if mean > IDLE {
            self.variations.0 += (squares / many).sqrt() / mean;
            self.variations.1 += 1;
        }
        if second.is_multiple_of(POINTS) && !loads.is_empty() {
            let at = ((loads.len() - 1) as f64 * 0.99) as usize;
            let (_, p99, _) = loads.select_nth_unstable_by(at, f64::total_cmp);
            let p99 = *p99;
            self.outcome.series.push(Point {
                at: second,
                mean,
                p99,
                max: loads.iter().copied().fold(0.0, f64::max),
                hot,
            });
        }
    }

    /// So many of a tenant have been in for so many ms.
    pub fn attended(&mut self, tenant: u32, people: u32, millis: u64) {
        let seconds = f64::from(people) * millis as f64 / 1000.0;
        self.outcome.minutes += seconds / 60.0;
        self.tenants[tenant as usize].0 += seconds;
    }

    /// So many participant-ms without a node, since none was given. They are as bad as any on a hot one.
    pub fn unserved(&mut self, millis: u64) {
        let minutes = millis as f64 / 60_000.0;
        let outcome = &mut self.outcome;
        outcome.minutes += minutes;
        outcome.unserved_minutes += minutes;
        for hot in &mut outcome.overload_minutes {
            *hot += minutes;
        }
    }

    /// A session is given up with those who are in it and those who would have come.
    pub fn turned_away(&mut self, present: u32, later: u32) {
        let outcome = &mut self.outcome;
        outcome.turned_away += 1;
        outcome.people.came += u64::from(later);
        outcome.people.turned_away += u64::from(present + later);
    }

    /// So many of a tenant were on a hot node for a second.
    pub fn suffered(&mut self, tenant: u32, people: u32) {
        self.tenants[tenant as usize].1 += f64::from(people);
    }

    /// A session that becomes so many streams was expected to become so many.
    pub fn predicted(&mut self, expected: u32, real: u32) {
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
        if let Some(rack) = &mut self.rack
            && now < rack.lost_at + AFTER * 1000
        {
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
        let came = (outcome.people.came as f64).max(1.0);
        outcome.hot_participants = self.hot.map(|hot| hot as f64 / came);
        outcome.fairness = jain(&self.tenants);
        outcome.recovery = self.rack.map(|rack| {
            let lost_at = rack.lost_at / 1000;
            let before = outcome
                .series
                .iter()
                .filter(|point| (lost_at.saturating_sub(BEFORE)..=lost_at).contains(&point.at));
            Recovery {
                people: rack.people,
                overloaded_before: before.map(|point| point.hot[1]).fold(0.0, f64::max),
                ..rack.recovery
            }
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

/// Jain, Chiu and Hawe, 1984, of the share of each tenant's time that was on hot nodes.
fn jain(tenants: &[(f64, f64)]) -> f64 {
    let there = tenants.iter().filter(|(all, _)| *all > 0.0);
    let shares: Vec<f64> = there.map(|(all, hot)| hot / all).collect();
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
        assert_eq!(jain(&[(0.0, 0.0)]), 1.0);
    }

    #[test]
    fn people_on_hot_nodes_are_counted_by_the_second() {
        let mut meter = Meter::new("x");
        let mut nodes = vec![Node::new(1000.0); 3];
        for (node, load) in nodes.iter_mut().zip([0.5, 0.9, 1.1]) {
            node.start(0);
            (node.participants, node.load) = (10, load);
        }
        for second in 0..60 {
            let above = meter.second(second * 1000, &nodes);
            assert_eq!(above, [vec![1, 2], vec![2]]);
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
        assert_eq!(outcome.series.len(), 2);
        assert!(
            (outcome.variation - 0.2994).abs() < 1e-3,
            "{}",
            outcome.variation
        );
    }

    #[test]
    fn a_rack_is_back_when_99_of_100_are() {
        let mut meter = Meter::new("x");
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
    fn errors_of_predictions_are_weighed_by_streams() {
        let mut meter = Meter::new("x");
        assert_eq!(meter.clone().finish().prediction, None);
        meter.predicted(4, 4);
        meter.predicted(16, 4);
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
