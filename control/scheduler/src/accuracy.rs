//! How good forecasts were.

use crate::forecast::{Ended, Source};

/// A forecast of no streams is wrong by as many doublings as one of this share of a stream.
const NONE: f64 = 0.5;

/// How good the forecasts of each source were.
#[derive(Clone, Debug, Default)]
pub struct Accuracy {
    tallies: [Tally; Source::ALL.len()],
}

/// How good those of one source were, in doublings: forecasts are wrong by factors, and half as much is as wrong as twice as much.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Tally {
    /// Sessions that are over.
    pub sessions: u64,
    signed: f64,
    absolute: f64,
}

impl Accuracy {
    /// A session is over.
    pub fn ended(&mut self, ended: &Ended) {
        for (source, ratio) in ended.ratios() {
            let tally = &mut self.tallies[source as usize];
            let streams = f64::from(ended.became.streams().max(1));
            let doublings = ratio.max(NONE / streams).log2();
            tally.sessions += 1;
            tally.signed += doublings;
            tally.absolute += doublings.abs();
        }
    }

    /// The forecasts of that source.
    pub fn of(&self, source: Source) -> Tally {
        self.tallies[source as usize]
    }
}

impl Tally {
    /// By how many doublings forecasts were too large in the mean; below 0: too small.
    pub fn bias(&self) -> f64 {
        self.mean(self.signed)
    }

    /// By how many doublings they were wrong in the mean, either way.
    pub fn error(&self) -> f64 {
        self.mean(self.absolute)
    }

    fn mean(&self, sum: f64) -> f64 {
        match self.sessions {
            0 => 0.0,
            many => sum / many as f64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::growth::audience;

    #[test]
    fn twice_too_many_and_half_too_few_are_equally_wrong() {
        let mut accuracy = Accuracy::default();
        let became = audience(11, 1);
        for (users, promised) in [(21, None), (6, Some(11.0))] {
            accuracy.ended(&Ended {
                became,
                forecast: Some(audience(users, 1).into()),
                promised,
            });
        }
        let usual = accuracy.of(Source::Usual);
        assert_eq!(usual.sessions, 2);
        assert!(
            usual.error() > 0.85 && usual.bias().abs() < 0.1,
            "{usual:?}"
        );
        assert_eq!(accuracy.of(Source::Growth).sessions, 1);
        assert!(accuracy.of(Source::Growth).error() < 0.1);
        assert_eq!(accuracy.of(Source::Hint).error(), 0.0);
    }

    #[test]
    fn no_forecast_makes_it_endless() {
        let mut accuracy = Accuracy::default();
        let nobody = audience(0, 0);
        for (users, became) in [(0, audience(5, 5)), (5, audience(1, 0)), (5, nobody)] {
            accuracy.ended(&Ended {
                became,
                forecast: Some(audience(users, users).into()),
                promised: Some(0.0),
            });
        }
        // Nobody came to the last.
        assert_eq!(accuracy.of(Source::Usual).sessions, 2);
        assert!(accuracy.of(Source::Usual).error().is_finite());
        assert!(accuracy.of(Source::Growth).bias() < 0.0);
    }
}
