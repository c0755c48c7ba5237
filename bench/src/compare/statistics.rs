//! Medians, and how sure of them one may be after a few rounds.

use clock::Rng;
use serde::{Deserialize, Serialize};

/// Resamples for an interval.
const RESAMPLES: usize = 4_000;
/// Intervals repeat exactly: the same rounds give the same interval.
const SEED: u64 = 20_260_101;
/// Fewer rounds say nothing about how far they spread.
const ROUNDS_MIN: usize = 3;

/// A value and where it lies with 95 % confidence, by the bootstrap's percentiles (Efron, Tibshirani: An introduction to the
/// bootstrap, 1993, §13.3). With few rounds it is a rough guide; with less than three it is everything from smallest to largest.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// What the rounds say.
    pub value: f64,
    /// The lower end.
    pub low: f64,
    /// The upper end.
    pub high: f64,
}

/// The middle of `values`, or the mean of the two in the middle.
pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    let upper = *sorted.get(middle)?;
    Some(if sorted.len().is_multiple_of(2) {
        f64::midpoint(sorted[middle - 1], upper)
    } else {
        upper
    })
}

/// The median of `values` with its interval.
pub(super) fn median_estimate(values: &[f64]) -> Option<Estimate> {
    let value = median(values)?;
    Some(estimate(value, values, median))
}

/// The ratio of medians of both sides. Rounds are resampled as pairs: what the machine did in a round, it did to both.
pub(super) fn ratio(pairs: &[(f64, f64)]) -> Option<Estimate> {
    let of_medians = |pairs: &[(f64, f64)]| {
        let (left, right): (Vec<f64>, Vec<f64>) = pairs.iter().copied().unzip();
        let right = median(&right).filter(|right| *right > 0.0)?;
        Some(median(&left)? / right)
    };
    Some(estimate(of_medians(pairs)?, pairs, of_medians))
}

fn estimate<T: Copy>(
    value: f64,
    rounds: &[T],
    statistic: impl Fn(&[T]) -> Option<f64>,
) -> Estimate {
    let mut found: Vec<f64> = if rounds.len() < ROUNDS_MIN {
        let each = rounds.iter();
        each.filter_map(|round| statistic(&[*round])).collect()
    } else {
        let mut rng = Rng::from_number(SEED);
        let mut sample = rounds.to_vec();
        let resample = |_| {
            for place in &mut sample {
                *place = rounds[rng.below(rounds.len() as u64) as usize];
            }
            statistic(&sample)
        };
        (0..RESAMPLES).filter_map(resample).collect()
    };
    found.sort_by(f64::total_cmp);
    let at = |share: f64| {
        let index = (share * (found.len().saturating_sub(1)) as f64).round() as usize;
        found.get(index).copied().unwrap_or(value)
    };
    let (low, high) = if rounds.len() < ROUNDS_MIN {
        (at(0.0), at(1.0))
    } else {
        (at(0.025), at(0.975))
    };
    Estimate { value, low, high }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0]), Some(3.0));
        assert_eq!(median(&[9.0, 1.0, 4.0]), Some(4.0));
        assert_eq!(median(&[9.0, 1.0, 4.0, 2.0]), Some(3.0));
    }

    #[test]
    fn intervals_hold_the_truth_about_as_often_as_they_claim() {
        let mut rng = Rng::from_number(3);
        let mut held = 0;
        for _ in 0..100 {
            // Around 100, uniform: the median is 100.
            let rounds: Vec<f64> = (0..15)
                .map(|_| 90.0 + rng.below(2_001) as f64 / 100.0)
                .collect();
            let estimate = median_estimate(&rounds).expect("there are rounds");
            assert!(estimate.low <= estimate.value && estimate.value <= estimate.high);
            held += u32::from((estimate.low..=estimate.high).contains(&100.0));
        }
        assert!((86..=100).contains(&held), "{held} of 100");
    }

    #[test]
    fn pairs_take_away_what_both_sides_share() {
        let together: Vec<(f64, f64)> = [1.0, 2.0, 1.1, 1.9, 1.5, 1.3, 1.7]
            .map(|epoch| (300.0 * epoch, 1_000.0 * epoch))
            .into();
        let estimate = ratio(&together).expect("there are rounds");
        assert!(estimate.high - estimate.low < 1e-9, "{estimate:?}");
        let mut apart = together.clone();
        for (index, pair) in together.iter().enumerate() {
            apart[(index + 3) % 7].1 = pair.1;
        }
        let estimate = ratio(&apart).expect("there are rounds");
        assert!(estimate.high - estimate.low > 0.05, "{estimate:?}");
    }

    #[test]
    fn two_rounds_span_what_they_saw() {
        let estimate = median_estimate(&[5.0, 3.0]).expect("there are rounds");
        assert_eq!(
            (estimate.value, estimate.low, estimate.high),
            (4.0, 3.0, 5.0)
        );
        assert_eq!(ratio(&[(1.0, 0.0)]), None);
    }

    #[test]
    fn the_same_rounds_give_the_same_interval() {
        let rounds = [1.0, 5.0, 2.0, 8.0, 3.0];
        assert_eq!(median_estimate(&rounds), median_estimate(&rounds));
    }
}
