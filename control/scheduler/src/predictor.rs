//! How large a session becomes: by its application, else by what became of others, and corrected by how it grows.

use crate::accuracy::Accuracy;
use crate::forecast::{Ended, Forecast, Source};
use crate::growth::{self, Hint};
use crate::history::{Expected, History, Known, Learned};

/// What forecasts are made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sources {
    /// What applications say.
    pub hint: bool,
    /// What earlier sessions became.
    pub history: bool,
    /// How quickly a session grows.
    pub growth: bool,
}

impl Default for Sources {
    /// All of them.
    fn default() -> Self {
        Self {
            hint: true,
            history: true,
            growth: true,
        }
    }
}

/// Says what sessions will become, and learns from what they became.
#[derive(Clone, Debug, Default)]
pub struct Predictor {
    sources: Sources,
    history: History,
    accuracy: Accuracy,
}

impl Predictor {
    /// One that remembers this.
    pub fn new(sources: Sources, history: History) -> Self {
        Self {
            sources,
            history,
            accuracy: Accuracy::default(),
        }
    }

    /// What a session will become of that name, if it has one that may come again.
    pub fn foresee(&self, name: Option<&str>, hint: Hint) -> Forecast {
        let hint = match self.sources.hint {
            true => hint,
            false => Hint::default(),
        };
        Forecast {
            follows_growth: self.sources.growth,
            ..self.placed(name, hint)
        }
    }

    fn placed(&self, name: Option<&str>, hint: Hint) -> Forecast {
        let expected = match self.sources.history {
            true => self.history.expect(name),
            false => None,
        };
        if let Some(connections) = hint.connections {
            let publishers = hint
                .publishers
                .or_else(|| usual_share(expected?, connections));
            let hint = Hint { publishers, ..hint };
            return Forecast {
                source: Source::Hint,
                ..growth::peak(hint).into()
            };
        }
        let Some(expected) = expected else {
            return growth::peak(hint).into();
        };
        Forecast {
            source: match expected.known {
                Known::Name => Source::Name,
                Known::Stem => Source::Stem,
                Known::Stranger => Source::Strangers,
            },
            seen: expected.seen,
            ..match hint.publishers {
                // How many they are is not said, but how many of them publish.
                Some(publishers) => growth::audience(expected.peak.connections, publishers),
                None => expected.peak,
            }
            .into()
        }
    }

    /// A session of that name is over. Answers what there is to keep.
    pub fn ended(&mut self, name: Option<&str>, ended: &Ended) -> Option<Learned> {
        self.accuracy.ended(ended);
        let source = ended.forecast.map(|forecast| forecast.source);
        let was_stranger = matches!(source, Some(Source::Strangers | Source::Usual));
        match self.sources.history {
            true => self.history.learn(name, ended.became, was_stranger),
            false => None,
        }
    }

    /// How good its forecasts were.
    pub fn accuracy(&self) -> &Accuracy {
        &self.accuracy
    }

    /// What it remembers.
    pub fn history(&self) -> &History {
        &self.history
    }
}

/// How many of so many publish if it is as it was under that name; none: nobody knows that name.
fn usual_share(expected: Expected, connections: u32) -> Option<u32> {
    let peak = expected.peak;
    if expected.known == Known::Stranger || peak.connections == 0 {
        return None;
    }
    let share = f64::from(peak.publishers) / f64::from(peak.connections);
    Some((f64::from(connections) * share).ceil() as u32)
}
