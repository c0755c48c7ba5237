//! Jitsi's rules (jitsi/jicofo, Bridge.kt, BridgeSelectionStrategy.kt and reference.conf). Stress is what the bridge reported plus a
//! hundredth for each endpoint that was added in the last 20 s; bridges tell it every 5 to 10 s (jicofo #1298).
//!
//! By default a conference goes to the bridge with the least stress, one at 0.8 or more only if there is no other, and stays there:
//! the policy `jitsi`. Where conferences may be split, each endpoint goes to a bridge that has the conference already, until that
//! is overloaded: [`Cascade`], for one conference alone.

use std::collections::VecDeque;

use clock::Rng;
use scheduler::Shape;

use super::board::Board;
use super::counts::Counts;
use super::{Cadence, Entry, Family, Policy, Refused, Request, Standing};
use crate::node::Reading;

/// Bridges tell their stress after so long, ms.
pub(crate) const TOLD: Cadence = Cadence {
    every: (5000, 10_000),
};
/// `participant-rampup-interval`, ms.
const RAMP_UP: u64 = 20_000;
/// `average-participant-stress`.
const EACH: f64 = 0.01;
/// `stress-threshold`.
const OVERLOADED: f64 = 0.8;
/// `max-bridge-participants`: of a conference on a bridge.
const PARTICIPANTS: u32 = 80;
/// `max-bridge-participants-interval`, ms.
const INTERVAL: u64 = 60_000;

pub(super) fn entries() -> Vec<Entry> {
    vec![Entry {
        name: "jitsi",
        family: Family::Existing,
        about: "Jitsi: the least stress of every 5 to 10 s, with who joined in the last 20 s",
        make: || Box::<Jitsi>::default(),
    }]
}

/// The stress of bridges.
#[derive(Default)]
struct Stress {
    /// Who joined lately reckoned in.
    board: Board,
    reported: Vec<f64>,
    recent: Vec<u32>,
    /// When who joined a node is no longer new.
    joins: VecDeque<(u64, u32)>,
}

impl Stress {
    fn node(&mut self, node: u32, standing: Standing) {
        self.board.node(node, standing);
        let at = node as usize;
        if self.reported.len() <= at {
            self.reported.resize(at + 1, 0.0);
            self.recent.resize(at + 1, 0);
        }
        if standing == Standing::Gone {
            self.reported[at] = 0.0;
        }
    }

    fn report(&mut self, node: u32, reading: &Reading) {
        self.reported[node as usize] = reading.load();
        self.correct(node);
    }

    fn joined(&mut self, now: u64, node: u32) {
        self.joins.push_back((now + RAMP_UP, node));
        self.recent[node as usize] += 1;
        self.correct(node);
    }

    fn forget(&mut self, now: u64) {
        while let Some((_, node)) = self.joins.pop_front_if(|(until, _)| *until <= now) {
            let recent = &mut self.recent[node as usize];
            *recent = recent.saturating_sub(1);
            self.correct(node);
        }
    }

    fn correct(&mut self, node: u32) {
        let at = node as usize;
        *self.board.value(node) = self.reported[at] + f64::from(self.recent[at]) * EACH;
    }

    fn of(&self, node: u32) -> f64 {
        self.board.values[node as usize]
    }

    /// The bridge with the least of those that are wanted.
    fn least(&self, rng: &mut Rng, wanted: impl Fn(u32) -> bool) -> Option<u32> {
        self.board
            .least(rng, |node| wanted(node).then(|| self.of(node)))
    }
}

#[derive(Default)]
struct Jitsi {
    stress: Stress,
    counts: Counts,
}

impl Policy for Jitsi {
    fn cadence(&self) -> Option<Cadence> {
        Some(TOLD)
    }

    fn node(&mut self, _now: u64, node: u32, standing: Standing) {
        self.stress.node(node, standing);
    }

    fn report(&mut self, _now: u64, node: u32, reading: &Reading) {
        self.stress.report(node, reading);
    }

    fn place(&mut self, now: u64, request: &Request, rng: &mut Rng) -> Result<u32, Refused> {
        self.stress.forget(now);
        // The threshold changes nothing here: the least of all is below it if any is.
        let node = self.stress.least(rng, |_| true).ok_or(Refused)?;
        self.counts.put(request.session, node);
        Ok(node)
    }

    fn reshape(&mut self, now: u64, session: u32, shape: Shape) {
        if let Some((node, was)) = self.counts.reshape(session, shape) {
            (was.connections..shape.connections).for_each(|_| self.stress.joined(now, node));
        }
    }

    fn end(&mut self, _now: u64, session: u32, _name: u32) {
        self.counts.take(session);
    }
}

/// One conference that may be split over bridges, all of one region (`RegionBasedBridgeSelectionStrategy`).
#[derive(Default)]
pub(crate) struct Cascade {
    stress: Stress,
    /// Endpoints of it on each bridge.
    on: Vec<u32>,
    /// So many may come to a bridge within [`INTERVAL`] (`max-bridge-participants-per-interval`); none: it is not limited, as by default.
    per_interval: Option<usize>,
    /// When who came, and where.
    came: VecDeque<(u64, u32)>,
}

impl Cascade {
    /// With bridges of these numbers.
    pub fn new(bridges: u32, per_interval: Option<usize>) -> Self {
        let mut cascade = Self {
            on: vec![0; bridges as usize],
            per_interval,
            ..Self::default()
        };
        (0..bridges).for_each(|bridge| cascade.stress.node(bridge, Standing::Takes));
        cascade
    }

    /// A bridge tells its stress.
    pub fn report(&mut self, bridge: u32, reading: &Reading) {
        self.stress.report(bridge, reading);
    }

    /// Where somebody who joins the conference goes; none: there is no bridge.
    pub fn join(&mut self, now: u64, rng: &mut Rng) -> Option<u32> {
        self.stress.forget(now);
        while self
            .came
            .front()
            .is_some_and(|(at, _)| at + INTERVAL <= now)
        {
            self.came.pop_front();
        }
        let is_in = |bridge: u32| self.on[bridge as usize] > 0;
        let takes = |bridge: u32| !self.is_overloaded(bridge);
        let least = self
            .stress
            .least(rng, |bridge| takes(bridge) && is_in(bridge));
        let least = least.or_else(|| self.stress.least(rng, takes));
        let least = least.or_else(|| self.stress.least(rng, is_in));
        let bridge = least.or_else(|| self.stress.least(rng, |_| true))?;
        self.on[bridge as usize] += 1;
        self.came.push_back((now, bridge));
        self.stress.joined(now, bridge);
        Some(bridge)
    }

    /// In itself, or for this conference.
    fn is_overloaded(&self, bridge: u32) -> bool {
        let came = || self.came.iter().filter(|(_, to)| *to == bridge).count();
        self.stress.of(bridge) >= OVERLOADED
            || self.on[bridge as usize] >= PARTICIPANTS
            || self.per_interval.is_some_and(|most| came() >= most)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Tried, reading};
    use super::*;
    use crate::workload::shape;

    /// Two bridges, of which the first has this stress and the other a session of so many.
    fn with_session(stress: f64, people: u32) -> Tried {
        let mut tried = Tried::new("jitsi", 2);
        tried.report(0, 0, reading(stress));
        assert_eq!(tried.place(0), Some(1));
        tried.policy.reshape(0, 0, shape(people, 1));
        tried
    }

    #[test]
    fn each_who_joined_is_a_hundredth_for_twenty_seconds() {
        assert_eq!(with_session(0.105, 10).places(0), [1], "0.1");
        assert_eq!(with_session(0.105, 11).places(0), [0], "0.11");
        assert_eq!(with_session(0.105, 11).places(19_999), [0]);
        assert_eq!(with_session(0.105, 11).places(20_000), [1]);
    }

    #[test]
    fn who_joined_comes_on_top_of_what_is_reported_and_who_leaves_takes_nothing_away() {
        let mut tried = with_session(0.3, 11);
        tried.report(0, 1, reading(0.2));
        assert_eq!(tried.places(0), [0], "0.31");
        tried.policy.reshape(0, 0, shape(3, 1));
        assert_eq!(tried.places(0), [0], "they were new all the same");
        tried.report(0, 1, reading(0.15));
        assert_eq!(tried.places(0), [1], "0.26");
        assert_eq!(
            tried.policy.cadence().map(|told| told.every),
            Some((5000, 10_000))
        );
    }

    /// Where so many go who join within 20 s, after bridges have told these stresses.
    fn cascade(stresses: &[f64], per_interval: Option<usize>, people: u32) -> Vec<u32> {
        let mut cascade = Cascade::new(stresses.len() as u32, per_interval);
        for (bridge, stress) in (0..).zip(stresses) {
            cascade.report(bridge, &reading(*stress));
        }
        let mut rng = Rng::from_number(1);
        (0..people).for_each(|_| assert!(cascade.join(0, &mut rng).is_some()));
        cascade.on
    }

    #[test]
    fn a_conference_stays_on_its_bridge_until_that_has_a_stress_of_eight_tenths() {
        assert_eq!(
            cascade(&[0.005, 0.01], None, 80),
            [80, 0],
            "0.005 + 0.79 is less"
        );
        assert_eq!(cascade(&[0.5, 0.6], None, 30), [30, 0]);
        assert_eq!(cascade(&[0.5, 0.6], None, 31), [30, 1]);
        // Where all are overloaded, it stays on its bridges.
        assert_eq!(cascade(&[0.85, 0.9, 2.0], None, 4), [4, 0, 0]);
    }

    #[test]
    fn eighty_of_a_conference_are_the_most_on_a_bridge() {
        let mut cascade = Cascade::new(2, None);
        let mut rng = Rng::from_number(1);
        // So slowly that nobody is new for long.
        for join in 0..81 {
            cascade.join(join * 10_000, &mut rng);
        }
        cascade.on.sort_unstable();
        assert_eq!(cascade.on, [1, 80]);
    }

    #[test]
    fn so_many_within_a_minute_are_the_most_where_that_is_limited() {
        let mut found = cascade(&[0.0, 0.0, 0.0], Some(30), 61);
        found.sort_unstable();
        assert_eq!(found, [1, 30, 30]);
        let mut slow = Cascade::new(2, Some(30));
        let mut rng = Rng::from_number(1);
        let mut joined: Vec<_> = (0..30).map(|_| slow.join(0, &mut rng)).collect();
        joined.extend([slow.join(59_999, &mut rng), slow.join(60_000, &mut rng)]);
        assert_ne!(joined[0], joined[30], "within the minute");
        assert!(
            slow.on.contains(&1) && slow.on.iter().sum::<u32>() == 32,
            "{:?}",
            slow.on
        );
    }
}
