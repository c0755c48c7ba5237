//! What decides where a session goes.

use std::collections::BTreeMap;

use clock::{Duration, Instant, Rng};
use scheduler::{
    Cluster, Fit, Forecast, Limits, NoNode, Policy, Rates, Report, Shape, Source, Standing,
    Strategy, growth,
};

type View = Cluster<&'static str, u32>;

const SECOND: Duration = Duration::from_secs(1);

fn policy(strategy: Strategy) -> Policy {
    Policy {
        strategy,
        ..Policy::default()
    }
}

/// A report of a node of which this share is used.
fn report(at: Instant, load: f64) -> Report {
    Report {
        at,
        rates: Some(Rates {
            packets: load * 100_000.0,
            received: load * 10_000.0,
            cpu: load,
            ..Rates::default()
        }),
        ready: true,
        limits: Limits {
            packets: Some(100_000.0),
            ..Limits::default()
        },
        ..Report::default()
    }
}

fn view(strategy: Strategy, loads: &[(&'static str, f64)]) -> (View, Instant, Rng) {
    let now = Instant::from_millis(1_000_000);
    let mut view = View::new(policy(strategy));
    for (name, load) in loads {
        view.may_take(now, name, true);
        view.report(now, name, report(now, *load));
    }
    (view, now, Rng::from_number(11))
}

/// Where so many sessions go of which nothing comes.
fn spread(view: &mut View, now: Instant, rng: &mut Rng, many: u32) -> BTreeMap<&'static str, u32> {
    let mut counts = BTreeMap::new();
    for session in 0..many {
        let node = view.place(now, session, None, Shape::default(), rng);
        *counts.entry(node.expect("there is room")).or_default() += 1;
        view.end(&session);
    }
    counts
}

fn streams(publishers: u32, subscribers: u32) -> Shape {
    Shape {
        connections: publishers,
        publishers,
        subscribers,
        media_lines: 2 * (publishers + subscribers),
        taps: 0,
    }
}

#[test]
fn the_less_loaded_node_takes_the_session() {
    for strategy in [Strategy::Capacity, Strategy::Cpu] {
        let (mut view, now, mut rng) = view(strategy, &[("busy", 0.6), ("idle", 0.1)]);
        assert_eq!(spread(&mut view, now, &mut rng, 50), [("idle", 50)].into());
        // It is the report that decides, and nothing else.
        view.report(now, &"idle", report(now, 0.8));
        assert_eq!(spread(&mut view, now, &mut rng, 50), [("busy", 50)].into());
    }
}

#[test]
fn the_busiest_of_many_is_never_the_choice() {
    let loads = [("a", 0.1), ("b", 0.1), ("c", 0.1), ("d", 0.9)];
    let (mut view, now, mut rng) = view(Strategy::Capacity, &loads);
    let spread = spread(&mut view, now, &mut rng, 300);
    assert_eq!(spread.len(), 3);
    assert!(!spread.contains_key("d"));
}

#[test]
fn equals_are_chosen_equally_often() {
    for strategy in Strategy::ALL {
        if strategy == Strategy::Manual {
            continue;
        }
        let (mut view, now, mut rng) = view(strategy, &[("a", 0.2), ("b", 0.2), ("c", 0.2)]);
        let spread = spread(&mut view, now, &mut rng, 3000);
        // Five standard deviations of a fair die.
        let fair = 870..1130;
        assert!(
            spread.len() == 3 && spread.values().all(|many| fair.contains(many)),
            "{strategy}: {spread:?}"
        );
    }
}

#[test]
fn each_strategy_counts_what_it_says() {
    let shapes = [
        ("few streams", streams(1, 0)),
        (
            "few media",
            Shape {
                connections: 9,
                publishers: 5,
                subscribers: 0,
                media_lines: 1,
                taps: 0,
            },
        ),
        (
            "few users",
            Shape {
                connections: 1,
                publishers: 3,
                subscribers: 6,
                media_lines: 20,
                taps: 1,
            },
        ),
    ];
    for (strategy, wanted) in [
        (Strategy::Streams, "few streams"),
        (Strategy::MediaObjects, "few media"),
        (Strategy::Connections, "few users"),
    ] {
        let (mut view, now, mut rng) = view(strategy, &[]);
        for (number, (name, shape)) in (1000..).zip(shapes) {
            view.may_take(now, &name, true);
            let shape = match name {
                "few streams" => Shape {
                    connections: 5,
                    media_lines: 2,
                    ..shape
                },
                _ => shape,
            };
            view.adopt(now, number, &name, shape);
        }
        let counts = spread(&mut view, now, &mut rng, 10);
        assert_eq!(counts, [(wanted, 10)].into(), "{strategy}");
    }
    let (mut view, now, mut rng) = view(Strategy::Sessions, &[("one", 0.0), ("two", 0.0)]);
    view.adopt(now, 1000, &"one", streams(100, 100));
    view.adopt(now, 1001, &"two", Shape::default());
    view.adopt(now, 1002, &"two", Shape::default());
    assert_eq!(spread(&mut view, now, &mut rng, 10), [("one", 10)].into());
}

#[test]
fn a_large_session_goes_where_it_takes_less_of_a_node() {
    let chosen = |fit: Fit, peak: Shape| {
        let (now, mut rng) = (Instant::from_millis(1_000_000), Rng::from_number(11));
        let mut view = View::new(Policy {
            fit,
            ..Policy::default()
        });
        let mut large = report(now, 0.4);
        large.limits.packets = Some(400_000.0);
        for (name, report) in [("small", report(now, 0.05)), ("large", large)] {
            view.may_take(now, &name, true);
            view.report(now, &name, report);
        }
        view.place(now, 1, None, peak, &mut rng)
            .expect("there is room")
    };
    // A twentieth of the small one is in use, and a tenth of the large one, which is four times as large.
    let call = streams(0, 0);
    let meeting = streams(10, 90);
    assert_eq!(chosen(Fit::Least, call), "small");
    assert_eq!(chosen(Fit::Least, meeting), "large");
    assert_eq!(
        chosen(Fit::TwoChoices, meeting),
        "small",
        "by what is there now"
    );
}

#[test]
fn what_was_placed_counts_until_a_report_covers_it() {
    let (mut view, now, mut rng) = view(Strategy::Capacity, &[("a", 0.0)]);
    let peak = growth::peak(growth::Hint::default());
    assert!(view.place(now, 1, None, peak, &mut rng).is_ok());
    let reserved = |view: &mut View, now| {
        let seen = view.view(now, &"a").expect("known");
        (seen.unseen.transports, seen.growth.transports)
    };
    assert_eq!(reserved(&mut view, now), (0.0, 16.0));
    view.reshape(now + SECOND, &1, streams(4, 12));
    assert_eq!(reserved(&mut view, now + SECOND).0, 16.0);
    // Asked before it came: that can't show it. Then once for the part of the time that it was there, and once for all of it.
    let mut at = now;
    for expected in [16.0, 16.0, 0.0] {
        view.report(at + SECOND, &"a", report(at, 0.1));
        assert_eq!(reserved(&mut view, at).0, expected, "asked at {at:?}");
        at += 2 * SECOND;
    }
    // A first report has no rates and shows nothing.
    view.reshape(at, &1, streams(5, 20));
    for _ in 0..3 {
        at += 2 * SECOND;
        let first = Report {
            rates: None,
            ..report(at, 0.1)
        };
        view.report(at, &"a", first);
    }
    assert_eq!(reserved(&mut view, at).0, 9.0);
    view.end(&1);
    assert_eq!(reserved(&mut view, at), (0.0, 0.0));
}

#[test]
fn growth_that_does_not_come_is_forgotten() {
    let (mut view, now, mut rng) = view(Strategy::Capacity, &[("a", 0.0)]);
    let peak = growth::peak(growth::Hint::default());
    assert!(view.place(now, 1, None, peak, &mut rng).is_ok());
    let mut last = f64::MAX;
    for minute in 1..=5 {
        let at = now + Duration::from_secs(60 * minute);
        view.report(at, &"a", report(at, 0.0));
        let growth = view.view(at, &"a").expect("known").growth.packets;
        assert!(growth < last, "{growth} after {minute} min");
        last = growth;
    }
    assert_eq!(last, 0.0);
}

#[test]
fn room_is_kept_while_somebody_waits_alone_where_more_are_known_to_come() {
    let kept = |source: Source, users: u32, minutes: u64| {
        let (mut view, now, mut rng) = view(Strategy::Capacity, &[("a", 0.0)]);
        let class = Forecast {
            source,
            seen: 3,
            ..growth::peak(growth::Hint::default()).into()
        };
        assert!(view.place(now, 1, None, class, &mut rng).is_ok());
        view.reshape(now, &1, streams(users, users * (users - 1)));
        let at = now + Duration::from_secs(60 * minutes);
        view.report(at, &"a", report(at, 0.0));
        view.view(at, &"a").expect("known").growth.packets
    };
    let at_once = kept(Source::Name, 1, 0);
    assert!(at_once > 0.0);
    assert_eq!(kept(Source::Name, 1, 20), at_once);
    assert_eq!(kept(Source::Hint, 1, 20), kept(Source::Hint, 1, 0));
    // Not where nothing is known, not in a call that has begun, and not for ever.
    assert_eq!(kept(Source::Usual, 1, 20), 0.0);
    assert_eq!(kept(Source::Name, 2, 20), 0.0);
    assert_eq!(kept(Source::Name, 1, 31), 0.0);
}

#[test]
fn old_reports_cost_and_then_exclude() {
    let (mut view, start, mut rng) = view(Strategy::Capacity, &[("quiet", 0.1), ("busy", 0.3)]);
    let at = |secs| start + Duration::from_secs(secs);
    let mut chosen = |view: &mut View, now: Instant| {
        view.report(now, &"busy", report(now, 0.3));
        let chosen = spread(view, now, &mut rng, 20);
        assert_eq!(chosen.len(), 1, "{chosen:?}");
        (
            chosen.into_keys().next(),
            view.view(now, &"quiet").map(|one| one.standing),
        )
    };
    assert_eq!(
        chosen(&mut view, at(5)),
        (Some("quiet"), Some(Standing::Open))
    );
    assert_eq!(
        chosen(&mut view, at(7)),
        (Some("busy"), Some(Standing::Stale))
    );
    assert_eq!(
        chosen(&mut view, at(13)),
        (Some("busy"), Some(Standing::Excluded))
    );
    view.report(at(14), &"quiet", report(at(14), 0.1));
    assert_eq!(
        chosen(&mut view, at(14)),
        (Some("quiet"), Some(Standing::Open))
    );
}

#[test]
fn an_excluded_node_does_not_help_a_full_one() {
    let (mut view, start, mut rng) = view(Strategy::Capacity, &[("quiet", 0.1), ("full", 1.2)]);
    let late = start + Duration::from_secs(20);
    view.report(late, &"full", report(late, 1.2));
    let placed = view.place(late, 1, None, Shape::default(), &mut rng);
    assert_eq!(placed, Err(NoNode::AllStale));
}

#[test]
fn where_nobody_reports_the_asking_is_at_fault() {
    let names = ["a", "b", "c"].map(|name| (name, 0.0));
    let late = Duration::from_secs(60);
    let (mut view, start, mut rng) = view(Strategy::Capacity, &names);
    let mut counts = BTreeMap::new();
    for session in 0..30 {
        let node = view.place(start + late, session, None, Shape::default(), &mut rng);
        *counts.entry(node.expect("somebody")).or_insert(0) += 1;
    }
    // Sessions are counted even where nothing is known.
    assert_eq!(counts, names.map(|(name, _)| (name, 10)).into());
    let mut strict = View::new(Policy {
        may_place_blind: false,
        ..Policy::default()
    });
    strict.may_take(start, &"a", true);
    let mut place = |now| strict.place(now, 1, None, Shape::default(), &mut rng);
    assert_eq!(place(start), Ok("a"), "it has had no time to report");
    assert_eq!(place(start + late), Err(NoNode::AllStale));
    // What the master counts itself needs no reports.
    let mut view = View::new(policy(Strategy::Sessions));
    view.may_take(start, &"a", true);
    let placed = view.place(start + late, 1, None, Shape::default(), &mut rng);
    assert_eq!(placed, Ok("a"));
    assert_eq!(
        view.view(start + late, &"a").map(|a| a.standing),
        Some(Standing::Open)
    );
}

#[test]
fn full_nodes_take_nothing_whatever_the_strategy() {
    for strategy in Strategy::ALL {
        let (mut view, now, mut rng) = view(strategy, &[("a", 1.0), ("b", 3.0)]);
        let wanted = (strategy == Strategy::Manual).then_some(&"a");
        let refusal = match wanted {
            Some(_) => NoNode::WantedFull("a"),
            None => NoNode::AllFull,
        };
        assert_eq!(
            view.could_place(now, wanted, &mut rng),
            Err(refusal.clone())
        );
        let placed = view.place(now, 1, wanted, Shape::default(), &mut rng);
        assert_eq!(placed, Err(refusal), "{strategy}");
        view.report(now, &"a", report(now, 0.9));
        assert_eq!(view.could_place(now, wanted, &mut rng), Ok(()));
        assert_eq!(view.sessions(), 0);
    }
}

#[test]
fn a_node_that_refused_or_is_not_ready_counts_as_full() {
    let (mut view, now, mut rng) = view(Strategy::Capacity, &[("a", 0.1)]);
    view.refused(now, &"a");
    assert_eq!(view.could_place(now, None, &mut rng), Err(NoNode::AllFull));
    let later = now + 5 * SECOND;
    assert_eq!(view.could_place(later, None, &mut rng), Ok(()));
    let unready = Report {
        ready: false,
        ..report(later, 0.1)
    };
    view.report(later, &"a", unready);
    assert_eq!(
        view.could_place(later, None, &mut rng),
        Err(NoNode::AllFull)
    );
    // Its first report may be of the moment before we came.
    let first = Report {
        rates: None,
        ..unready
    };
    view.report(later, &"a", first);
    assert_eq!(view.could_place(later, None, &mut rng), Ok(()));
}

#[test]
fn the_wanted_node_or_none() {
    for strategy in [Strategy::Manual, Strategy::Capacity] {
        let (mut view, now, mut rng) = view(strategy, &[("a", 0.9), ("b", 0.0), ("c", 0.0)]);
        view.may_take(now, &"c", false);
        let mut place = |wanted| view.place(now, 1, wanted, Shape::default(), &mut rng);
        assert_eq!(place(Some(&"a")), Ok("a"));
        assert_eq!(place(Some(&"c")), Err(NoNode::WantedNotUp("c")));
        assert_eq!(place(Some(&"z")), Err(NoNode::WantedNotUp("z")));
        match strategy {
            Strategy::Manual => assert_eq!(place(None), Err(NoNode::NotNamed)),
            _ => assert_eq!(place(None), Ok("b")),
        }
    }
}

#[test]
fn nodes_come_and_go() {
    let (mut view, now, mut rng) = view(Strategy::Capacity, &[("a", 0.1), ("b", 0.1)]);
    view.adopt(now, 1001, &"a", streams(2, 2));
    view.adopt(now, 1002, &"b", streams(2, 2));
    view.remove(&"a");
    assert_eq!((view.sessions(), view.view(now, &"a")), (1, None));
    assert_eq!(spread(&mut view, now, &mut rng, 20), [("b", 20)].into());
    assert!(view.may_take(now, &"b", false));
    assert!(!view.may_take(now, &"b", false));
    assert_eq!(view.could_place(now, None, &mut rng), Err(NoNode::NoneUp));
    // One that comes back is another one.
    view.may_take(now, &"a", true);
    assert_eq!(view.view(now, &"a").map(|a| a.sessions), Some(0));
    assert_eq!(spread(&mut view, now, &mut rng, 20), [("a", 20)].into());
    assert_eq!(view.view(now, &"b").map(|b| b.sessions), Some(1));
}

#[test]
fn best_fit_fills_one_node_and_keeps_below_its_bound() {
    let mut view = View::new(Policy {
        fit: Fit::BestFit { below: 0.7 },
        ..Policy::default()
    });
    let (now, mut rng) = (Instant::from_millis(1_000_000), Rng::from_number(3));
    for (name, load) in [("a", 0.1), ("b", 0.5), ("c", 0.8)] {
        view.may_take(now, &name, true);
        view.report(now, &name, report(now, load));
    }
    let place = |view: &mut View, rng: &mut Rng, session, publishers: u32| {
        view.place(now, session, None, streams(publishers, 0), rng)
    };
    assert_eq!(place(&mut view, &mut rng, 1, 50), Ok("b"));
    // 200 packets a second for each stream: 10 % and another 15 % do not fit below 70 % on b.
    assert_eq!(place(&mut view, &mut rng, 2, 75), Ok("a"));
    // Where nothing fits, the emptiest.
    assert_eq!(place(&mut view, &mut rng, 3, 400), Ok("a"));
}
