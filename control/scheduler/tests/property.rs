//! What holds whatever happens, in whatever order.

use std::collections::BTreeMap;

use clock::{Duration, Instant, Rng};
use proptest::prelude::{
    Just, Strategy as _, prop, prop_assert, prop_assert_eq, prop_oneof, proptest,
};
use scheduler::{
    Cluster, Demand, Fit, Limits, NoNode, Policy, Rates, Report, Shape, Standing, Strategy,
};

const NODES: u32 = 6;
const SESSIONS: u32 = 12;

#[derive(Clone, Debug)]
enum Step {
    Pass(u64),
    MayTake(u32, bool),
    Remove(u32),
    Report {
        node: u32,
        load: f64,
        ready: bool,
        first: bool,
    },
    Refused(u32),
    Place {
        session: u32,
        wanted: Option<u32>,
        publishers: u32,
    },
    Adopt(u32, u32),
    Reshape(u32, u32, u32),
    End(u32),
}

fn step() -> impl proptest::strategy::Strategy<Value = Step> {
    let (node, session) = (0..NODES, 0..SESSIONS);
    prop_oneof![
        3 => (0_u64..4000).prop_map(Step::Pass),
        2 => (node.clone(), prop::bool::weighted(0.8)).prop_map(|(node, takes)| Step::MayTake(node, takes)),
        1 => node.clone().prop_map(Step::Remove),
        4 => (node.clone(), 0.0..1.3, prop::bool::weighted(0.9), prop::bool::weighted(0.2))
            .prop_map(|(node, load, ready, first)| Step::Report { node, load, ready, first }),
        1 => node.clone().prop_map(Step::Refused),
        6 => (session.clone(), prop_oneof![3 => Just(None), 1 => node.clone().prop_map(Some)], 0_u32..40)
            .prop_map(|(session, wanted, publishers)| Step::Place { session, wanted, publishers }),
        1 => (session.clone(), node.clone()).prop_map(|(session, node)| Step::Adopt(session, node)),
        3 => (session.clone(), 0_u32..20, 0_u32..60).prop_map(|(session, publishers, subscribers)| Step::Reshape(session, publishers, subscribers)),
        2 => session.prop_map(Step::End),
    ]
}

fn policy() -> impl proptest::strategy::Strategy<Value = Policy> {
    let strategy = prop::sample::select(Strategy::ALL.to_vec());
    let fits = vec![Fit::Least, Fit::TwoChoices, Fit::BestFit { below: 0.7 }];
    let fit = prop::sample::select(fits);
    (strategy, fit, prop::bool::ANY).prop_map(|(strategy, fit, blind)| Policy {
        strategy,
        fit,
        may_place_blind: blind,
        ..Policy::default()
    })
}

fn shape(publishers: u32, subscribers: u32) -> Shape {
    Shape {
        connections: publishers,
        publishers,
        subscribers,
        media_lines: 2 * publishers + subscribers,
        taps: subscribers % 2,
    }
}

fn report(at: Instant, load: f64, ready: bool, first: bool) -> Report {
    let rates = Rates {
        packets: load * 100_000.0,
        received: load * 10_000.0,
        cpu: load.min(1.0),
        ..Rates::default()
    };
    Report {
        at,
        rates: (!first).then_some(rates),
        busiest_worker: load / 2.0,
        ready,
        limits: Limits {
            packets: Some(100_000.0),
            transports: Some(1000.0),
            ..Limits::default()
        },
        ..Report::default()
    }
}

/// What the test knows by itself, in the plainest way.
struct World {
    cluster: Cluster<u32, u32>,
    policy: Policy,
    now: Instant,
    rng: Rng,
    takes: BTreeMap<u32, bool>,
    placed: BTreeMap<u32, (u32, Shape)>,
}

impl World {
    fn new(policy: Policy) -> Self {
        Self {
            cluster: Cluster::new(policy),
            policy,
            now: Instant::from_millis(10_000_000),
            rng: Rng::from_number(5),
            takes: BTreeMap::new(),
            placed: BTreeMap::new(),
        }
    }

    fn standings(&mut self) -> BTreeMap<u32, Standing> {
        let nodes: Vec<_> = self.cluster.names().copied().collect();
        let view = nodes.into_iter().filter_map(|node| {
            let view = self.cluster.view(self.now, &node)?;
            Some((node, view.standing))
        });
        view.collect()
    }

    fn step(&mut self, step: &Step) {
        let now = self.now;
        match *step {
            Step::Pass(millis) => self.now += Duration::from_millis(millis),
            Step::MayTake(node, takes) => {
                self.cluster.may_take(now, &node, takes);
                self.takes.insert(node, takes);
            }
            Step::Remove(node) => {
                self.cluster.remove(&node);
                self.takes.remove(&node);
                self.placed.retain(|_, (on, _)| *on != node);
            }
            Step::Report {
                node,
                load,
                ready,
                first,
            } => {
                self.cluster
                    .report(now, &node, report(now, load, ready, first));
            }
            Step::Refused(node) => self.cluster.refused(now, &node),
            Step::Place {
                session,
                wanted,
                publishers,
            } => self.place(session, wanted, publishers),
            Step::Adopt(session, node) => {
                self.cluster.adopt(now, session, &node, shape(3, 6));
                self.takes.entry(node).or_insert(false);
                self.placed.insert(session, (node, shape(3, 6)));
            }
            Step::Reshape(session, publishers, subscribers) => {
                self.cluster
                    .reshape(now, &session, shape(publishers, subscribers));
                if let Some((_, shape_of)) = self.placed.get_mut(&session) {
                    *shape_of = shape(publishers, subscribers);
                }
            }
            Step::End(session) => {
                self.cluster.end(&session);
                self.placed.remove(&session);
            }
        }
    }

    fn place(&mut self, session: u32, wanted: Option<u32>, publishers: u32) {
        let before = self.standings();
        let could = self
            .cluster
            .could_place(self.now, wanted.as_ref(), &mut self.rng);
        let peak = shape(publishers, 0);
        let placed = self
            .cluster
            .place(self.now, session, wanted.as_ref(), peak, &mut self.rng);
        assert_eq!(could.is_ok(), placed.is_ok(), "{could:?} {placed:?}");
        let any = |wanted: &[Standing]| before.values().any(|one| wanted.contains(one));
        match placed {
            Ok(node) => {
                let standing = before[&node];
                let usable = any(&[Standing::Open, Standing::Stale]);
                match standing {
                    Standing::Open | Standing::Stale => {}
                    Standing::Excluded if wanted == Some(node) => {}
                    Standing::Excluded => {
                        assert!(self.policy.may_place_blind && !usable && !any(&[Standing::Full]));
                    }
                    Standing::Full | Standing::Closed => panic!("{node} is {standing:?}"),
                }
                assert!(wanted.is_none_or(|wanted| wanted == node));
                self.placed.insert(session, (node, Shape::default()));
            }
            Err(NoNode::NotNamed) => {
                assert_eq!((self.policy.strategy, wanted), (Strategy::Manual, None))
            }
            Err(NoNode::WantedFull(node)) => {
                assert_eq!((wanted, before[&node]), (Some(node), Standing::Full))
            }
            Err(NoNode::WantedNotUp(node)) => {
                assert_eq!(wanted, Some(node));
                assert!(before.get(&node).is_none_or(|one| *one == Standing::Closed));
            }
            Err(NoNode::NoneUp) => assert!(before.values().all(|one| *one == Standing::Closed)),
            Err(NoNode::AllFull) => {
                assert!(any(&[Standing::Full]));
                assert!(!any(&[Standing::Open, Standing::Stale, Standing::Excluded]));
            }
            Err(NoNode::AllStale) => {
                assert!(any(&[Standing::Excluded]) && !any(&[Standing::Open, Standing::Stale]));
            }
        }
    }

    fn check(&mut self) {
        assert_eq!(self.cluster.sessions(), self.placed.len());
        let nodes: Vec<_> = self
            .takes
            .iter()
            .map(|(node, takes)| (*node, *takes))
            .collect();
        assert_eq!(self.cluster.names().count(), nodes.len());
        for (node, takes) in nodes {
            let view = self.cluster.view(self.now, &node).expect("it is there");
            let on_it = self.placed.values().filter(|(on, _)| *on == node);
            assert_eq!(view.sessions, on_it.count() as u64);
            assert_eq!(view.standing == Standing::Closed, !takes);
            assert!(view.unseen.packets >= 0.0 && view.growth.packets >= 0.0);
        }
    }
}

proptest! {
    #[test]
    fn no_strategy_ever_chooses_who_is_excluded(policy in policy(), steps in prop::collection::vec(step(), 1..120)) {
        let mut world = World::new(policy);
        for step in &steps {
            world.step(step);
            world.check();
        }
        // Reservations do not leak.
        for session in 0..SESSIONS {
            world.step(&Step::End(session));
        }
        for node in world.standings().into_keys() {
            let view = world.cluster.view(world.now, &node).expect("it is there");
            prop_assert_eq!((view.unseen, view.growth, view.sessions), (Demand::NONE, Demand::NONE, 0));
        }
    }

    #[test]
    fn what_reports_cover_is_no_longer_reserved(steps in prop::collection::vec(step(), 1..80)) {
        let mut world = World::new(Policy::default());
        for step in &steps {
            world.step(step);
        }
        // Nothing changes any more, and all that was placed is old.
        for _ in 0..4 {
            world.step(&Step::Pass(100_000));
            for node in 0..NODES {
                world.step(&Step::Report { node, load: 0.1, ready: true, first: false });
            }
        }
        for node in world.standings().into_keys() {
            let view = world.cluster.view(world.now, &node).expect("it is there");
            prop_assert_eq!((view.unseen, view.growth), (Demand::NONE, Demand::NONE));
        }
    }

    #[test]
    fn the_lowest_count_is_chosen(strategy in prop::sample::select(vec![Strategy::Streams, Strategy::Sessions, Strategy::MediaObjects, Strategy::Connections]),
        placed in prop::collection::vec((0..NODES, 0_u32..10, 0_u32..20), 0..40), seed in 0_u64..1000) {
        let mut cluster: Cluster<u32, u32> = Cluster::new(Policy { strategy, ..Policy::default() });
        let now = Instant::from_millis(10_000_000);
        let mut counts = BTreeMap::new();
        for node in 0..NODES {
            cluster.may_take(now, &node, true);
            counts.insert(node, 0);
        }
        for (session, (node, publishers, subscribers)) in (0..).zip(placed) {
            let shape = shape(publishers, subscribers);
            cluster.adopt(now, session, &node, shape);
            *counts.entry(node).or_default() += match strategy {
                Strategy::Streams => shape.streams(),
                Strategy::MediaObjects => shape.media_lines + shape.taps,
                Strategy::Connections => shape.connections,
                _ => 1,
            };
        }
        let chosen = cluster.place(now, 1000, None, Shape::default(), &mut Rng::from_number(seed));
        let least = counts.values().min().copied();
        let chosen = chosen.ok().and_then(|node| counts.get(&node)).copied();
        prop_assert!(chosen.is_some() && chosen == least);
    }
}
