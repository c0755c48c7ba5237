//! What people see on bad paths: cases with targets, each measured for a seed.
//!
//! A case that the engine [`Promise::Holds`] is a test. What it cannot do yet is measured all the same and reported.

mod ceilings;
mod congestion;
mod crowds;
mod layers;
mod lies;
mod loss;
mod narrow;

use clock::{Duration, Instant};

use congestion::{FROZEN, unharmed, waited};

use crate::conditions::Conditions;
use crate::encoder::Encoder;
use crate::media::Style;
use crate::simulation::{BrowserId, Settings, Simulation};
use sfu::api::PublisherId;

/// How long a case runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    /// Long enough to see a fault, short enough for every build.
    Short,
    /// As long as the target says.
    Full,
}

/// Whether the engine is expected to reach a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Promise {
    /// It does; if not, that is a fault.
    Holds,
    /// It lacks what that takes: the figures are only reported.
    Open,
}

/// Something to be measured.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// Its name, for the command line.
    pub name: &'static str,
    /// What happens, in words.
    pub what: &'static str,
    /// Whether the target is reached.
    pub promise: Promise,
    /// Measures with a seed.
    pub run: fn(u64, Length, Settings) -> Vec<Measure>,
    /// What is switched off to see that the case notices, and how.
    pub control: Option<Control>,
}

/// What is switched off, in words, and how.
pub type Control = (&'static str, fn(&mut Settings));

/// A figure, and what it should be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Measure {
    /// Of what.
    pub what: &'static str,
    /// How much.
    pub value: f64,
    /// In which unit.
    pub unit: &'static str,
    /// What it should be.
    pub target: Target,
    /// Whether the engine is expected to reach that where its case holds.
    pub promise: Promise,
}

/// What a figure should be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Target {
    /// No less.
    AtLeast(f64),
    /// No more.
    AtMost(f64),
    /// Whatever it is.
    Any,
}

impl Target {
    /// Whether a value is as it should be.
    pub fn is_met(self, value: f64) -> bool {
        match self {
            Self::AtLeast(least) => value >= least,
            Self::AtMost(most) => value <= most,
            Self::Any => true,
        }
    }

    /// Of several values the one that is furthest from it.
    pub fn worst(self, values: &[f64]) -> f64 {
        let values = values.iter().copied();
        match self {
            Self::AtLeast(_) => values.fold(f64::INFINITY, f64::min),
            _ => values.fold(f64::NEG_INFINITY, f64::max),
        }
    }
}

impl Measure {
    const fn at_least(what: &'static str, value: f64, unit: &'static str, least: f64) -> Self {
        Self {
            what,
            value,
            unit,
            target: Target::AtLeast(least),
            promise: Promise::Holds,
        }
    }

    const fn at_most(what: &'static str, value: f64, unit: &'static str, most: f64) -> Self {
        Self {
            what,
            value,
            unit,
            target: Target::AtMost(most),
            promise: Promise::Holds,
        }
    }

    const fn any(what: &'static str, value: f64, unit: &'static str) -> Self {
        Self {
            what,
            value,
            unit,
            target: Target::Any,
            promise: Promise::Open,
        }
    }

    /// The same, but nobody promises it yet.
    #[must_use]
    pub const fn open(self) -> Self {
        Self {
            promise: Promise::Open,
            ..self
        }
    }

    /// Whether a promise is broken, if its case holds.
    pub fn is_broken(&self) -> bool {
        self.promise == Promise::Holds && !self.is_met()
    }

    /// Whether it is as it should be.
    pub fn is_met(&self) -> bool {
        self.target.is_met(self.value)
    }
}

/// All cases.
pub fn cases() -> Vec<Case> {
    let all: [&[Case]; 7] = [
        &loss::CASES,
        &congestion::CASES,
        &narrow::CASES,
        &crowds::CASES,
        &layers::CASES,
        &ceilings::CASES,
        &lies::CASES,
    ];
    all.concat()
}

/// 960×540 at fifteen pictures a second in three encodings, with sound: what all cases are about.
pub(crate) const SIMULCAST: Style = Style {
    pictures: 15,
    sound: true,
    announced: false,
    first_sequence: 100,
    encoder: Encoder::Obedient {
        encodings: 3,
        layers: 1,
    },
};

/// So long a call lasts before it is judged: estimates begin low, and browsers' encoders with them.
const WARM_UP: Duration = Duration::from_secs(15);
/// So long what is on its way may take to be shown.
const REST: Duration = Duration::from_millis(1_500);

const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A good path: 20 ms each way.
pub(crate) const GOOD: Conditions = Conditions::delayed(millis(20));
/// A good path with a round trip of 60 ms.
const FAR: Conditions = Conditions::delayed(millis(30));

/// One who publishes and some who watch.
struct Call {
    simulation: Simulation,
    publisher: BrowserId,
    stream: PublisherId,
    viewers: Vec<BrowserId>,
}

impl Call {
    /// The publisher on a good path, and so many viewers on paths like that.
    fn new(seed: u64, settings: Settings, viewers: usize, line: Conditions) -> Self {
        Self::of(Simulation::new(seed, settings), viewers, line)
    }

    /// The same with viewers that estimate what the way to them can take.
    fn estimating(seed: u64, settings: Settings, viewers: usize, line: Conditions) -> Self {
        let mut simulation = Simulation::new(seed, settings);
        simulation.estimates = true;
        Self::of(simulation, viewers, line)
    }

    fn of(simulation: Simulation, viewers: usize, line: Conditions) -> Self {
        Self::playing(simulation, SIMULCAST, viewers, line)
    }

    /// The same with another camera.
    fn playing(mut simulation: Simulation, style: Style, viewers: usize, line: Conditions) -> Self {
        let (publisher, stream) = simulation.publish(GOOD, style);
        let viewers = (0..viewers)
            .map(|_| simulation.watch(line, stream))
            .collect();
        Self {
            simulation,
            publisher,
            stream,
            viewers,
        }
    }

    fn set_path(&mut self, id: BrowserId, up: Conditions, down: Conditions) {
        let host = self.simulation.browser(id).host;
        self.simulation.network().set_conditions(host, up, down);
    }

    fn report(&self, viewer: usize, from: Instant, until: Instant) -> crate::Report {
        let viewer = self.viewers[viewer];
        self.simulation.report(self.publisher, viewer, from, until)
    }

    /// How long after `from` the first picture was shown.
    fn shown_after(&self, viewer: usize, from: Instant) -> Duration {
        let viewer = self.simulation.viewer(self.viewers[viewer]);
        let mut shown = viewer.shown().iter();
        let first = shown.find(|shown| shown.at >= from);
        first.map_or(Duration::MAX, |shown| shown.at - from)
    }
}

fn ms(duration: Duration) -> f64 {
    match duration {
        Duration::MAX => f64::INFINITY,
        duration => duration.as_secs_f64() * 1e3,
    }
}
