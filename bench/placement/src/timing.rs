//! How long decisions take: by a clock that whoever runs the simulation lends, and kept apart from what the seed decides.

use serde::{Deserialize, Serialize};

/// Nanoseconds since any zero.
pub type Clock = fn() -> u64;

/// Steps of the histogram for each doubling.
const STEPS: f64 = 16.0;

/// Times of decisions, and of everything that a policy was told.
#[derive(Clone, Debug, Default)]
pub struct Timing {
    clock: Option<Clock>,
    counts: Vec<u64>,
    placing: u64,
    telling: u64,
    most: u64,
}

/// What a run took, in real time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Timings {
    /// The policy.
    pub policy: String,
    /// Decisions.
    pub decisions: u64,
    /// Decisions a second, deciding alone.
    pub rate: f64,
    /// Decisions a second with all that the policy is told between them: reports, users that come and go, ends.
    pub rate_with_all: f64,
    /// A decision took so many ns, half of them less.
    pub p50: f64,
    /// 99 of 100 less.
    pub p99: f64,
    /// At most.
    pub max: f64,
    /// The whole run, s.
    pub run_seconds: f64,
}

impl Timing {
    /// By this clock.
    pub fn by(clock: Option<Clock>) -> Self {
        Self {
            clock,
            ..Self::default()
        }
    }

    /// A decision.
    pub fn place<T>(&mut self, place: impl FnOnce() -> T) -> T {
        let Some(clock) = self.clock else {
            return place();
        };
        let began = clock();
        let placed = place();
        let nanos = clock() - began;
        let bucket = ((nanos.max(1) as f64).log2() * STEPS) as usize;
        if self.counts.len() <= bucket {
            self.counts.resize(bucket + 1, 0);
        }
        self.counts[bucket] += 1;
        self.placing += nanos;
        self.most = self.most.max(nanos);
        placed
    }

    /// Anything else that the policy has to do.
    pub fn tell<T>(&mut self, tell: impl FnOnce() -> T) -> T {
        let Some(clock) = self.clock else {
            return tell();
        };
        let began = clock();
        let told = tell();
        self.telling += clock() - began;
        told
    }

    /// What was found.
    pub fn timings(&self, policy: &str) -> Timings {
        let decisions: u64 = self.counts.iter().sum();
        let rate = |nanos: u64| decisions as f64 / (nanos.max(1) as f64 / 1e9);
        Timings {
            policy: policy.to_owned(),
            decisions,
            rate: rate(self.placing),
            rate_with_all: rate(self.placing + self.telling),
            p50: self.quantile(0.5),
            p99: self.quantile(0.99),
            max: self.most as f64,
            run_seconds: 0.0,
        }
    }

    /// The upper end of the bucket.
    fn quantile(&self, share: f64) -> f64 {
        let all: u64 = self.counts.iter().sum();
        let wanted = (all as f64 * share).ceil() as u64;
        let mut below = 0;
        let bucket = self.counts.iter().position(|count| {
            below += count;
            below >= wanted
        });
        let end = bucket.map_or(0.0, |bucket| ((bucket + 1) as f64 / STEPS).exp2());
        end.min(self.most as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};

    #[test]
    fn quantiles_are_of_what_the_clock_said() {
        static NOW: AtomicU64 = AtomicU64::new(0);
        let mut timing = Timing::by(Some(|| NOW.load(Ordering::Relaxed)));
        for round in 0..100 {
            let takes = if round == 0 { 50_000 } else { 1000 };
            timing.place(|| NOW.fetch_add(takes, Ordering::Relaxed));
            timing.tell(|| NOW.fetch_add(1000, Ordering::Relaxed));
        }
        let found = timing.timings("x");
        assert_eq!((found.decisions, found.max), (100, 50_000.0));
        assert!((1000.0..1050.0).contains(&found.p50), "{found:?}");
        assert!(found.p99 < 1050.0);
        assert!((found.rate / found.rate_with_all - 249.0 / 149.0).abs() < 1e-6);
        let mut none = Timing::by(None);
        none.place(|| ());
        assert_eq!(none.timings("x").decisions, 0);
    }
}
