//! Our scheduler: the code that the master runs.

use clock::{Duration, Rng};
use scheduler::{
    Cluster, Ended, Fit, Forecast, Hint, History, Policy as Settings, Predictor, Shape, Source,
    Sources, Strategy,
};

use super::{Cadence, Entry, Family, Policy, Refused, Request, Standing};
use crate::node::{Reading, instant};
use crate::outcome::SourceError;

const NOTHING: Sources = Sources {
    hint: false,
    history: false,
    growth: false,
};
/// Names that the master remembers that may have so many sessions, as one must here: by default it is a fifth of that.
const NAMES: usize = 500_000;
/// And by one with little memory.
const FEW_NAMES: usize = 10_000;

pub(super) fn entries() -> Vec<Entry> {
    let mut entries = by_sources();
    entries.push(Entry {
        family: Family::Ideal,
        ..entry(
            "ours-told",
            "ours, if it were told what each session becomes",
            || {
                let ours = Ours::new(Settings::default(), Sources::default(), History::new(NAMES));
                Box::new(Ours { told: true, ..ours })
            },
        )
    });
    entries.extend(by_reports());
    entries.extend(by_choice());
    entries
}

fn entry(name: &'static str, about: &'static str, make: fn() -> Box<dyn Policy>) -> Entry {
    Entry {
        name,
        family: Family::Ours,
        about,
        make,
    }
}

/// What is foreseen of sessions.
fn by_sources() -> Vec<Entry> {
    vec![
        entry(
            "ours",
            "our scheduler as the master runs it by default, sessions_max raised",
            || by_default(Settings::default()),
        ),
        entry(
            "ours-forgetful",
            "ours, remembering 10 000 names in place of 500 000",
            || {
                let history = History::new(FEW_NAMES);
                Box::new(Ours::new(Settings::default(), Sources::default(), history))
            },
        ),
        entry(
            "ours-usual",
            "ours, taking every session for a usual one",
            || foreseeing(NOTHING),
        ),
        entry(
            "ours-hint",
            "ours, foreseeing by what applications say alone",
            || {
                foreseeing(Sources {
                    hint: true,
                    ..NOTHING
                })
            },
        ),
        entry(
            "ours-history",
            "ours, foreseeing by earlier sessions alone",
            || {
                foreseeing(Sources {
                    history: true,
                    ..NOTHING
                })
            },
        ),
        entry(
            "ours-growth",
            "ours, foreseeing by how quickly a session grows alone",
            || {
                foreseeing(Sources {
                    growth: true,
                    ..NOTHING
                })
            },
        ),
    ]
}

/// How late reports come.
fn by_reports() -> Vec<Entry> {
    vec![
        entry("ours-1s", "ours, by reports of every second", || {
            reading_every(1)
        }),
        entry("ours-5s", "ours, by reports of every 5 s", || {
            reading_every(5)
        }),
        entry("ours-10s", "ours, by reports of every 10 s", || {
            reading_every(10)
        }),
    ]
}

/// How a node is chosen.
fn by_choice() -> Vec<Entry> {
    vec![
        entry(
            "ours-two-choices",
            "ours, the less loaded of two that chance names",
            || fitting(Fit::TwoChoices),
        ),
        entry(
            "ours-packing",
            "ours, filling one node after the other to 70 %",
            || fitting(Fit::BestFit { below: 0.7 }),
        ),
        entry("ours-cpu", "ours by the strategy cpu", || by(Strategy::Cpu)),
        entry("ours-streams", "ours by the strategy streams", || {
            by(Strategy::Streams)
        }),
        entry("ours-sessions", "ours by the strategy sessions", || {
            by(Strategy::Sessions)
        }),
    ]
}

fn by_default(settings: Settings) -> Box<dyn Policy> {
    Box::new(Ours::new(settings, Sources::default(), History::new(NAMES)))
}

fn foreseeing(sources: Sources) -> Box<dyn Policy> {
    Box::new(Ours::new(Settings::default(), sources, History::new(NAMES)))
}

fn fitting(fit: Fit) -> Box<dyn Policy> {
    by_default(Settings {
        fit,
        ..Settings::default()
    })
}

/// With reports so many seconds apart, of which three are stale and six too old, as by default.
fn reading_every(seconds: u64) -> Box<dyn Policy> {
    let settings = Settings {
        stale_after: Duration::from_secs(3 * seconds),
        excluded_after: Duration::from_secs(6 * seconds),
        ..Settings::default()
    };
    let ours = Ours::new(settings, Sources::default(), History::new(NAMES));
    Box::new(Ours {
        every: seconds * 1000,
        ..ours
    })
}

fn by(strategy: Strategy) -> Box<dyn Policy> {
    by_default(Settings {
        strategy,
        ..Settings::default()
    })
}

struct Ours {
    cluster: Cluster<u32, u32>,
    predictor: Predictor,
    /// It knows what nobody can know.
    told: bool,
    /// Nodes are read so often, ms.
    every: u64,
}

impl Ours {
    fn new(settings: Settings, sources: Sources, history: History) -> Self {
        Self {
            cluster: Cluster::new(settings),
            predictor: Predictor::new(sources, history),
            told: false,
            every: 2000,
        }
    }

    fn foresee(&self, request: &Request) -> Forecast {
        let hint = match self.told {
            true => Hint {
                connections: Some(request.becomes.connections),
                publishers: Some(request.becomes.publishers),
            },
            false => request.hint,
        };
        self.predictor.foresee(Some(&spelled(request.name)), hint)
    }
}

impl Policy for Ours {
    fn cadence(&self) -> Option<Cadence> {
        Some(Cadence::every(self.every))
    }

    fn learn(&mut self, name: u32, became: Shape) {
        let ended = Ended {
            became,
            forecast: None,
            promised: None,
        };
        self.predictor.ended(Some(&spelled(name)), &ended);
    }

    fn node(&mut self, now: u64, node: u32, standing: Standing) {
        match standing {
            Standing::Takes => {
                self.cluster.may_take(instant(now), &node, true);
            }
            Standing::Drains => {
                self.cluster.may_take(instant(now), &node, false);
            }
            Standing::Gone => self.cluster.remove(&node),
        }
    }

    fn report(&mut self, now: u64, node: u32, reading: &Reading) {
        self.cluster.report(instant(now), &node, reading.report);
    }

    fn place(&mut self, now: u64, request: &Request, rng: &mut Rng) -> Result<u32, Refused> {
        let forecast = self.foresee(request);
        let placed = self
            .cluster
            .place(instant(now), request.session, None, forecast, rng);
        placed.map_err(|_| Refused)
    }

    fn reshape(&mut self, now: u64, session: u32, shape: Shape) {
        self.cluster.reshape(instant(now), &session, shape);
    }

    fn end(&mut self, _now: u64, session: u32, name: u32) {
        if let Some(ended) = self.cluster.end(&session) {
            self.predictor.ended(Some(&spelled(name)), &ended);
        }
    }

    fn accuracy(&self) -> Vec<SourceError> {
        let of = |source: Source| {
            let tally = self.predictor.accuracy().of(source);
            SourceError {
                source: source.as_str().to_owned(),
                sessions: tally.sessions,
                bias: tally.bias(),
                error: tally.error(),
            }
        };
        let all = Source::ALL.into_iter().map(of);
        all.filter(|found| found.sessions > 0).collect()
    }

    fn expects(&self, request: &Request) -> Option<Shape> {
        Some(self.foresee(request).peak)
    }
}

/// A name in letters: with digits at its end it would be taken for one of a series.
fn spelled(name: u32) -> String {
    const LETTERS: u32 = 26;
    let mut left = name;
    let mut text = String::with_capacity(8);
    loop {
        text.push(char::from(b'a' + (left % LETTERS) as u8));
        left /= LETTERS;
        if left == 0 {
            return text;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_differ_and_have_no_digits() {
        let mut names: Vec<String> = (0..3000).map(spelled).collect();
        assert!(
            names
                .iter()
                .flat_map(|name| name.chars())
                .all(|c| c.is_ascii_lowercase())
        );
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), 3000);
    }
}
