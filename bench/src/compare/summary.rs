//! What a comparison comes to: figures, ratios, and whether that is what was asked for.

use serde::{Deserialize, Serialize};

use super::statistics::{self, Estimate, median};
use super::{Comparison, Metric};
use crate::outcome::Outcome;

/// One side of a comparison and the side by whose figure its own is divided.
#[derive(Clone, Copy, Debug)]
pub struct Pair<'a> {
    pub(super) comparison: &'a Comparison,
    /// The runs whose figure is divided, one a round.
    pub left: &'a [Outcome],
    /// The reference's, as many.
    pub right: &'a [Outcome],
    /// Whether targets are asked of this one.
    pub is_judged: bool,
}

/// What a pair comes to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// The comparison's name.
    pub name: String,
    /// Whose figure is divided.
    pub subject: String,
    /// By whose it is divided.
    pub reference: String,
    /// Which figure.
    pub metric: Metric,
    /// What is asked of it.
    pub target: Option<f64>,
    /// The left side's figure.
    pub left: Figure,
    /// The right side's.
    pub right: Figure,
    /// Median of the left side through median of the right, with the interval that holds it with 95 % confidence; of a figure that
    /// is not compared, its median.
    pub ratio: Option<Estimate>,
    /// Median of the ratios of each round.
    pub paired_ratio: Option<f64>,
    /// Smallest of the left side through smallest of the right.
    pub ratio_of_minima: Option<f64>,
    /// Whether every round of both sides counts.
    pub is_complete: bool,
    /// Whether the target was met; none without target, or where a round does not count.
    pub is_met: Option<bool>,
}

/// One side's figure over all rounds that have a result.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    /// Rounds.
    pub rounds: usize,
    /// Of these, rounds with a result.
    pub results: usize,
    /// The median, with the interval that holds it with 95 % confidence.
    pub median: Option<Estimate>,
    /// The smallest.
    pub min: Option<f64>,
    /// The largest.
    pub max: Option<f64>,
}

impl<'a> Pair<'a> {
    /// Of what it is a part.
    pub fn comparison(&self) -> &'a Comparison {
        self.comparison
    }

    /// Everything that is asked of these runs.
    pub fn summaries(&self) -> Vec<Summary> {
        let Comparison {
            metric,
            target,
            also,
            ..
        } = self.comparison;
        let all = std::iter::once((*metric, *target)).chain(also.iter().copied());
        all.filter(|(metric, _)| self.is_asked(*metric))
            .map(|(metric, target)| self.summary_of(metric, target.filter(|_| self.is_judged)))
            .collect()
    }

    /// Whether every round of both has a result; where shares are compared, one that lost packets counts as well.
    pub fn is_complete(&self) -> bool {
        let metric = self.comparison.metric;
        let counts = |outcome: &Outcome| match metric {
            Metric::Delivered => metric.of(outcome).is_some(),
            _ => outcome.is_result(),
        };
        let mut all = self.left.iter().chain(self.right);
        self.summaries().iter().all(|summary| summary.is_complete) && all.all(counts)
    }

    /// Who is only there to be compared with need not know how long packets stay within him.
    fn is_asked(&self, metric: Metric) -> bool {
        let tells = |outcome: &Outcome| outcome.forwarding_latency.is_some();
        self.is_judged || metric != Metric::Inside || self.left.iter().any(tells)
    }

    fn summary_of(&self, metric: Metric, target: Option<f64>) -> Summary {
        let values = |outcomes: &[Outcome]| -> Vec<Option<f64>> {
            outcomes.iter().map(|outcome| metric.of(outcome)).collect()
        };
        let (left, right) = (values(self.left), values(self.right));
        let pairs: Vec<(f64, f64)> = left
            .iter()
            .zip(&right)
            .filter_map(|(left, right)| left.zip(*right))
            .collect();
        let ratios: Vec<f64> = pairs.iter().map(|(left, right)| left / right).collect();
        let rounds = left.len().max(right.len());
        let (ratio, counted) = match metric {
            Metric::Inside => {
                let inside: Vec<f64> = left.iter().copied().flatten().collect();
                (statistics::median_estimate(&inside), inside.len())
            }
            Metric::Memory => {
                let slopes = self.slopes();
                (statistics::median_estimate(&slopes), slopes.len())
            }
            _ => (statistics::ratio(&pairs), pairs.len()),
        };
        let is_complete = rounds > 0 && counted == rounds;
        let is_compared = metric.is_compared();
        let (left, right) = (Figure::of(&left), Figure::of(&right));
        let judged = ratio.zip(target).filter(|_| is_complete);
        let is_met = judged.map(|(ratio, target)| match metric {
            Metric::Delivered => ratio.value >= target,
            _ => ratio.value <= target,
        });
        let minima = left.min.zip(right.min).filter(|_| is_compared);
        Summary {
            name: self.comparison.name.clone(),
            subject: subject(self.left),
            reference: subject(self.right),
            metric,
            target,
            ratio_of_minima: minima.map(|(left, right)| left / right),
            left,
            right,
            ratio,
            paired_ratio: median(&ratios).filter(|_| is_compared),
            is_complete,
            is_met,
        }
    }

    /// Of each round, the bytes for each transport more.
    fn slopes(&self) -> Vec<f64> {
        let rounds = self.left.iter().zip(self.right);
        let slope = |(many, few): (&Outcome, &Outcome)| {
            let are_results = many.is_result() && few.is_result();
            let (many, few) = many.memory.zip(few.memory).filter(|_| are_results)?;
            many.slope_from(&few)
        };
        rounds.filter_map(slope).collect()
    }
}

fn subject(rounds: &[Outcome]) -> String {
    let first = rounds.first().map(|outcome| outcome.subject.clone());
    first.unwrap_or_default()
}

impl Figure {
    /// Over all rounds.
    pub fn of(rounds: &[Option<f64>]) -> Self {
        let values: Vec<f64> = rounds.iter().copied().flatten().collect();
        Self {
            rounds: rounds.len(),
            results: values.len(),
            median: statistics::median_estimate(&values),
            min: values.iter().copied().reduce(f64::min),
            max: values.iter().copied().reduce(f64::max),
        }
    }
}
