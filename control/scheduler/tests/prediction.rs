//! What forecasts are worth, on sessions that come again: each source alone and all together.

use clock::{Duration, Instant, Rng};
use scheduler::{
    Cluster, Forecast, Hint, Limits, Policy, Predictor, Report, Shape, Source, Sources, growth,
};

const NOTHING: Sources = Sources {
    hint: false,
    history: false,
    growth: false,
};

/// One node, and sessions on it one after the other.
struct Week {
    cluster: Cluster<u8, u32>,
    predictor: Predictor,
    rng: Rng,
    now: Instant,
    sessions: u32,
}

impl Week {
    fn new(sources: Sources) -> Self {
        let mut week = Self {
            cluster: Cluster::new(Policy::default()),
            predictor: Predictor::new(sources, scheduler::History::default()),
            rng: Rng::from_number(3),
            now: Instant::from_millis(10_000_000),
            sessions: 0,
        };
        week.cluster.may_take(week.now, &0, true);
        week
    }

    fn place(&mut self, name: &str, hint: Hint) -> Forecast {
        self.sessions += 1;
        let forecast = self.predictor.foresee(Some(name), hint);
        let (now, number) = (self.now, self.sessions);
        let placed = self
            .cluster
            .place(now, number, None, forecast, &mut self.rng);
        assert_eq!(placed, Ok(0));
        forecast
    }

    fn is(&mut self, shape: Shape) {
        self.cluster.reshape(self.now, &self.sessions, shape);
    }

    fn end(&mut self, name: &str) {
        let ended = self.cluster.end(&self.sessions).expect("it was placed");
        self.predictor.ended(Some(name), &ended);
    }

    fn pass(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
        let report = Report {
            at: self.now,
            ready: true,
            limits: Limits::default(),
            ..Report::default()
        };
        self.cluster.report(self.now, &0, report);
    }

    /// A session that becomes so large, as sessions do: one user first, half of them after a minute.
    fn session(&mut self, name: &str, users: u32, hint: Hint) {
        self.place(name, hint);
        for step in 0..=30_u32 {
            let share = 1.0 - f64::from(step) * -0.115_f64;
            let came = 1.0 - (1.0 / share).powi(2);
            self.is(meeting(
                1 + (f64::from(users - 1) * came * 1.06).round() as u32,
            ));
            self.pass(10);
        }
        self.is(meeting(users));
        self.is(meeting(1));
        self.end(name);
    }

    /// Groups that meet every day, each of its own size, more or less; and calls of two without names that come again.
    fn of_groups(sources: Sources, hint: fn(u32) -> Hint) -> Predictor {
        let (mut week, mut chance) = (Self::new(sources), Rng::from_number(9));
        for _ in 0..7 {
            for group in 0..30_u32 {
                let usual = 2 + group * group / 30;
                let users = usual + chance.below(u64::from(usual) / 3 + 1) as u32;
                week.session(&format!("group {group} of us"), users, hint(users));
                for _ in 0..3 {
                    let call = format!("call {} or so", week.sessions);
                    week.session(&call, 2, Hint::default());
                }
            }
        }
        week.predictor
    }
}

fn meeting(users: u32) -> Shape {
    growth::peak(Hint {
        connections: Some(users),
        publishers: None,
    })
}

fn silent(_: u32) -> Hint {
    Hint::default()
}

/// Sessions and their mean errors, of all forecasts that were made when sessions were placed.
fn at_placing(predictor: &Predictor) -> (u64, f64) {
    let of = |source| predictor.accuracy().of(source);
    let placing = Source::ALL.into_iter().filter(|one| *one != Source::Growth);
    let (sessions, errors) = placing.fold((0, 0.0), |(sessions, errors), source| {
        let tally = of(source);
        let sum = tally.error() * tally.sessions as f64;
        (sessions + tally.sessions, errors + sum)
    });
    (sessions, errors / sessions as f64)
}

#[test]
fn each_source_makes_forecasts_better() {
    let told = |users| Hint {
        connections: Some(users),
        publishers: None,
    };
    let history = Sources {
        history: true,
        ..NOTHING
    };
    let growth = Sources {
        growth: true,
        ..NOTHING
    };
    let mut errors = Vec::new();
    for (name, sources, hint) in [
        ("nothing", NOTHING, told as fn(u32) -> Hint),
        ("growth", growth, silent),
        ("history", history, silent),
        ("all", Sources::default(), silent),
        ("all, and hints for groups", Sources::default(), told),
    ] {
        let predictor = Week::of_groups(sources, hint);
        let (sessions, error) = at_placing(&predictor);
        assert_eq!(sessions, 840);
        println!("{name}: wrong by {error:.2} doublings when placed");
        for source in Source::ALL {
            let tally = predictor.accuracy().of(source);
            if tally.sessions > 0 {
                println!(
                    "  {}: {} sessions, bias {:+.2}, error {:.2}",
                    source.as_str(),
                    tally.sessions,
                    tally.bias(),
                    tally.error()
                );
            }
        }
        errors.push((error, predictor));
    }
    let error = |at: usize| errors[at].0;
    let of = |at: usize, source| errors[at].1.accuracy().of(source);
    assert_eq!(error(0), error(1), "growth is not known when it is placed");
    assert!(error(2) < 0.8 * error(0) && error(4) < error(3));
    assert!(of(1, Source::Growth).error() < error(1));
    // The names of groups are known by their second day, and not before.
    assert_eq!(of(3, Source::Name).sessions, 180);
    assert!(of(3, Source::Name).error() < 0.5);
    assert_eq!(of(4, Source::Hint).error(), 0.0);
    // What is turned off says nothing.
    assert_eq!(of(0, Source::Usual).sessions, 840);
    for source in [
        Source::Hint,
        Source::Name,
        Source::Stem,
        Source::Strangers,
        Source::Growth,
    ] {
        assert_eq!(of(0, source).sessions, 0, "{source:?}");
    }
}

#[test]
fn room_is_reserved_for_what_the_name_became() {
    let mut week = Week::new(Sources::default());
    let reserved = |week: &mut Week, name: &str| {
        week.place(name, Hint::default());
        let now = week.now;
        let view = week.cluster.view(now, &0).expect("it is there");
        week.end(name);
        week.pass(1);
        view.growth.transports
    };
    week.session("class", 20, Hint::default());
    assert_eq!(reserved(&mut week, "class"), 400.0);
    assert_eq!(reserved(&mut week, "other class"), 16.0);
    let says_ten = Hint {
        connections: Some(10),
        publishers: Some(1),
    };
    let forecast = week.place("class", says_ten);
    assert_eq!(
        (forecast.source, forecast.peak.streams()),
        (Source::Hint, 10)
    );
    // The session itself is believed in the end.
    for _ in 0..6 {
        week.pass(10);
        week.is(meeting(20));
    }
    let now = week.now;
    let view = week.cluster.view(now, &0).expect("it is there");
    assert!(view.growth.transports > 100.0, "{view:?}");
}

#[test]
fn who_does_not_say_how_many_publish_is_known_to_have_few() {
    let mut week = Week::new(Sources::default());
    let twenty = Hint {
        connections: Some(20),
        publishers: None,
    };
    week.place("lecture", Hint::default());
    week.is(growth::peak(Hint {
        connections: Some(10),
        publishers: Some(1),
    }));
    week.end("lecture");
    let forecast = week.place("lecture", twenty);
    let peak = forecast.peak;
    assert_eq!((forecast.source, peak.connections), (Source::Hint, 20));
    assert_eq!((peak.publishers, peak.subscribers), (2, 38));
    // The control: of others nobody knows better than that all do.
    assert_eq!(week.place("meeting", twenty).peak.publishers, 20);
}

#[test]
fn who_only_says_how_many_publish_is_believed_that() {
    let mut week = Week::new(Sources::default());
    week.session("lecture", 20, Hint::default());
    let hint = Hint {
        connections: None,
        publishers: Some(1),
    };
    let forecast = week.place("lecture", hint);
    let peak = forecast.peak;
    assert_eq!((forecast.source, peak.connections), (Source::Name, 20));
    assert_eq!((peak.publishers, peak.subscribers), (1, 19));
}
