//! What was foreseen of a session when it was placed, and what became of that.

use crate::load::Shape;

/// Who foresaw it, the most trusted first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The application said so.
    Hint,
    /// Earlier sessions of that name.
    Name,
    /// Earlier sessions whose names begin as this one does.
    Stem,
    /// Earlier sessions of which nothing was known either.
    Strangers,
    /// Nobody: it was taken for a usual one.
    Usual,
    /// How it had grown when it was a minute old.
    Growth,
}

impl Source {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Hint,
        Self::Name,
        Self::Stem,
        Self::Strangers,
        Self::Usual,
        Self::Growth,
    ];

    /// The word in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hint => "hint",
            Self::Name => "name",
            Self::Stem => "stem",
            Self::Strangers => "strangers",
            Self::Usual => "usual",
            Self::Growth => "growth",
        }
    }
}

/// What a session is expected to become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forecast {
    /// Its shape at its peak.
    pub peak: Shape,
    /// Who says so.
    pub source: Source,
    /// By how many earlier sessions, where it is by those.
    pub seen: u32,
    /// How quickly it grows corrects it.
    pub follows_growth: bool,
}

impl From<Shape> for Forecast {
    /// A usual session of that size.
    fn from(peak: Shape) -> Self {
        Self {
            peak,
            source: Source::Usual,
            seen: 0,
            follows_growth: true,
        }
    }
}

impl Forecast {
    /// How many sessions it is worth to whoever sees the session itself grow.
    pub(crate) fn trust(&self) -> f64 {
        match self.source {
            Source::Hint => 8.0,
            Source::Name => 1.0 + f64::from(self.seen) / 2.0,
            Source::Stem => 1.5,
            Source::Strangers | Source::Usual | Source::Growth => 0.5,
        }
    }
}

/// A session that is over.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ended {
    /// What it was at its greatest, each part for itself, as far as it was seen.
    pub became: Shape,
    /// What was foreseen when it was placed; none of one that was adopted.
    pub forecast: Option<Forecast>,
    /// How many streams its growth promised when it was a minute old; none if it never was, or nobody looked.
    pub promised: Option<f64>,
}

impl Ended {
    /// Streams that were foreseen for each that there was at the peak, and by whom: 1 is right, 2 is twice too many. Nothing of a session
    /// that nobody came to; one without streams counts as one.
    pub fn ratios(&self) -> impl Iterator<Item = (Source, f64)> + use<> {
        let came = self.became.connections > 0;
        let streams = f64::from(self.became.streams().max(1));
        let foreseen = self.forecast.map(|forecast| {
            let streams = f64::from(forecast.peak.streams());
            (forecast.source, streams)
        });
        let promised = self.promised.map(|streams| (Source::Growth, streams));
        let all = foreseen.into_iter().chain(promised);
        all.filter(move |_| came)
            .map(move |(source, foreseen)| (source, foreseen / streams))
    }
}
