//! Two sides in turn: A B A B …, so that whatever the machine does meanwhile happens to both.

mod statistics;

use serde::{Deserialize, Serialize};

pub use statistics::{Estimate, median};

use crate::exit;
use crate::outcome::Outcome;
use crate::plan::Plan;
use crate::scenario::Load;

/// What is to be compared.
#[derive(Clone, Debug, PartialEq)]
pub struct Pairing {
    /// For people.
    pub name: String,
    /// The one whose figure is divided.
    pub left: Side,
    /// The one by whose figure it is divided.
    pub right: Side,
    /// Which figure.
    pub metric: Metric,
    /// What is asked of it.
    pub target: Option<f64>,
    /// What else the same runs are asked, with what is asked of that.
    pub also: Vec<(Metric, Option<f64>)>,
}

/// Who, under what load.
#[derive(Clone, Debug, PartialEq)]
pub struct Side {
    /// The forwarder, in the words of the command line.
    pub subject: String,
    /// What it has to carry.
    pub plan: Plan,
    /// Where the packets go.
    pub exit: exit::Kind,
}

/// The figure of a run that is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// The forwarder's processor time per delivered packet, in nanoseconds: the less the better.
    Cost,
    /// The share of packets that was forwarded: the more the better. Here a lossy run counts, if what came was right, the
    /// strangers that it may have had were as many as asked for, and they left nothing behind.
    Delivered,
    /// Latency that 99 of 100 packets kept from publisher to subscriber, in nanoseconds: the less the better.
    Latency,
    /// Latency that half of the packets kept within the left forwarder, in nanoseconds. It is not compared with anybody's.
    Inside,
    /// Memory for each transport that the left side has more than the right, in bytes: process and kernel.
    Memory,
}

/// The runs of a pairing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// The pairing's name.
    pub name: String,
    /// The figure.
    pub metric: Metric,
    /// What is asked for: of shares at least, of everything else at most.
    pub target: Option<f64>,
    /// What else is asked of the same runs.
    #[serde(default)]
    pub also: Vec<(Metric, Option<f64>)>,
    /// The left side's runs, in their order.
    pub left: Vec<Outcome>,
    /// The right side's, as many.
    pub right: Vec<Outcome>,
}

/// What a comparison comes to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
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

impl Side {
    /// `subject` under `load`.
    pub fn new(subject: &str, load: &Load) -> Self {
        Self {
            subject: subject.to_owned(),
            plan: load.plan.clone(),
            exit: load.exit,
        }
    }
}

impl Pairing {
    /// Runs both sides in turn, `rounds` times, with `run`. Each round has a seed of its own, the same for both sides.
    ///
    /// A side that can't be run at all has a run that says why.
    pub fn run(&self, rounds: u32, mut run: impl FnMut(&Side) -> Outcome) -> Comparison {
        let mut comparison = Comparison {
            name: self.name.clone(),
            metric: self.metric,
            target: self.target,
            also: self.also.clone(),
            left: Vec::new(),
            right: Vec::new(),
        };
        for round in 0..rounds {
            for (side, outcomes) in [
                (&self.left, &mut comparison.left),
                (&self.right, &mut comparison.right),
            ] {
                let mut side = side.clone();
                side.plan.seed = side.plan.seed.wrapping_add(u64::from(round));
                outcomes.push(run(&side));
            }
        }
        comparison
    }
}

impl Metric {
    /// All.
    pub const ALL: [Self; 5] = [
        Self::Cost,
        Self::Delivered,
        Self::Latency,
        Self::Inside,
        Self::Memory,
    ];

    /// Whether one side's figure is divided by the other's.
    pub fn is_compared(self) -> bool {
        matches!(self, Self::Cost | Self::Delivered | Self::Latency)
    }

    /// The figure of `outcome`; none if it has none that counts.
    pub fn of(self, outcome: &Outcome) -> Option<f64> {
        match self {
            Self::Cost => outcome.cost(),
            Self::Delivered => {
                let objection = outcome.strangers.and_then(|them| them.objection());
                let is_right = outcome.is_right_but_for_loss() && objection.is_none();
                outcome.packets.forwarded_share().filter(|_| is_right)
            }
            Self::Latency => {
                let latency = outcome.latency.as_ref().filter(|_| outcome.is_result())?;
                Some(latency.p99 as f64)
            }
            Self::Inside => {
                let inside = outcome.forwarding_latency.as_ref();
                Some(inside.filter(|_| outcome.is_result())?.p50 as f64)
            }
            Self::Memory => {
                let memory = outcome.memory.filter(|_| outcome.is_result())?;
                Some((memory.resident as i64 + memory.slab_growth) as f64)
            }
        }
    }
}

impl Comparison {
    /// Everything that is asked of these runs.
    pub fn summaries(&self) -> Vec<Summary> {
        let first = (self.metric, self.target);
        let all = std::iter::once(first).chain(self.also.iter().copied());
        all.map(|(metric, target)| self.summary_of(metric, target))
            .collect()
    }

    /// Medians, minima, ratios of what is asked first.
    pub fn summary(&self) -> Summary {
        self.summary_of(self.metric, self.target)
    }

    /// Whether every round has a result; where shares are compared, one that lost packets counts as well.
    pub fn is_complete(&self) -> bool {
        let counts = |outcome: &Outcome| match self.metric {
            Metric::Delivered => self.metric.of(outcome).is_some(),
            _ => outcome.is_result(),
        };
        let all = self.left.iter().chain(&self.right);
        self.summaries().iter().all(|summary| summary.is_complete) && { all }.all(counts)
    }

    fn summary_of(&self, metric: Metric, target: Option<f64>) -> Summary {
        let values = |outcomes: &[Outcome]| -> Vec<Option<f64>> {
            outcomes.iter().map(|outcome| metric.of(outcome)).collect()
        };
        let (left, right) = (values(&self.left), values(&self.right));
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
        let minima = left.min.zip(right.min);
        Summary {
            metric,
            target,
            ratio_of_minima: minima
                .filter(|_| is_compared)
                .map(|(left, right)| left / right),
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
        let rounds = self.left.iter().zip(&self.right);
        let slope = |(many, few): (&Outcome, &Outcome)| {
            let are_results = many.is_result() && few.is_result();
            let (many, few) = many.memory.zip(few.memory).filter(|_| are_results)?;
            many.slope_from(&few)
        };
        rounds.filter_map(slope).collect()
    }
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

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::outcome::{Distribution, Memory, Packets, Verdict};
    use core::time::Duration;

    /// A run of `subject` that cost so many nanoseconds a packet.
    pub(crate) fn run_of(side: &Side, cost: f64) -> Outcome {
        let mut outcome = Outcome::impossible(&side.subject, side.exit, &side.plan, String::new());
        outcome.packets = Packets {
            published: 1_000,
            expected: 100_000,
            delivered: 100_000,
            checked: 1_000,
            ..Packets::default()
        };
        outcome.measured = Duration::from_secs(1);
        outcome.processor.subject = Duration::from_nanos((cost * 100_000.0) as u64);
        outcome.verdict = Verdict::Result;
        outcome
    }

    pub(crate) fn pairing() -> Pairing {
        let side = |subject: &str| Side {
            subject: subject.to_owned(),
            plan: crate::plan::tests::example(),
            exit: exit::Kind::Loopback,
        };
        Pairing {
            name: "example".to_owned(),
            left: side("ringcast"),
            right: side("conventional"),
            metric: Metric::Cost,
            target: Some(0.5),
            also: Vec::new(),
        }
    }

    #[test]
    fn sides_take_turns_with_the_same_seeds() {
        let mut order = Vec::new();
        let comparison = pairing().run(3, |side| {
            order.push((side.subject.clone(), side.plan.seed));
            run_of(side, 1_000.0)
        });
        let seeds: Vec<u64> = order.iter().map(|(_, seed)| *seed).collect();
        assert_eq!(seeds, [1, 1, 2, 2, 3, 3]);
        assert!(
            order
                .chunks(2)
                .all(|pair| pair[0].0 == "ringcast" && pair[1].0 == "conventional")
        );
        assert_eq!((comparison.left.len(), comparison.right.len()), (3, 3));
    }

    #[test]
    fn ratios_survive_a_machine_that_changes_between_rounds() {
        let mut round = 0;
        let comparison = pairing().run(5, |side| {
            let epoch = if (round / 2) % 2 == 0 { 1.0 } else { 1.5 };
            round += 1;
            let cost = if side.subject == "ringcast" {
                400.0
            } else {
                1_000.0
            };
            run_of(side, cost * epoch)
        });
        let summary = comparison.summary();
        assert_eq!(summary.paired_ratio, Some(0.4));
        assert_eq!(summary.ratio_of_minima, Some(0.4));
        let ratio = summary.ratio.expect("all rounds have results");
        assert!((ratio.value - 0.4).abs() < 1e-6);
        assert!(ratio.low >= 0.39 && ratio.high <= 0.41, "{ratio:?}");
        assert_eq!(summary.is_met, Some(true));
        assert_eq!(summary.left.min, Some(400.0));
    }

    #[test]
    fn a_round_without_result_does_not_count() {
        let mut calls = 0;
        let mut comparison = pairing().run(3, |side| {
            calls += 1;
            run_of(side, f64::from(calls))
        });
        comparison.left[1].verdict = Verdict::NoResult {
            because: "lost".to_owned(),
        };
        let summary = comparison.summary();
        assert_eq!((summary.left.rounds, summary.left.results), (3, 2));
        assert_eq!(summary.right.results, 3);
        assert!(summary.ratio.is_some() && !comparison.is_complete());
        assert_eq!(summary.is_met, None, "two of three rounds are not all");
        for outcome in &mut comparison.left {
            outcome.verdict = Verdict::NoResult {
                because: "lost".to_owned(),
            };
        }
        let summary = comparison.summary();
        assert_eq!((summary.ratio, summary.is_met), (None, None));
        assert_eq!(summary.left.median, None);
    }

    #[test]
    fn the_same_runs_answer_several_questions() {
        let buckets = |value: u64| Distribution::from_buckets(&[(value, 100)]);
        let comparison = Pairing {
            metric: Metric::Inside,
            target: Some(60_000.0),
            also: vec![
                (Metric::Latency, Some(1.0)),
                (Metric::Memory, Some(16_384.0)),
            ],
            ..pairing()
        }
        .run(3, |side| {
            let is_left = side.subject == "ringcast";
            let mut outcome = run_of(side, 1_000.0);
            outcome.forwarding_latency = buckets(40_000).filter(|_| is_left);
            outcome.latency = buckets(if is_left { 300_000 } else { 200_000 });
            outcome.memory = Some(Memory {
                resident: if is_left { 30 << 20 } else { 20 << 20 },
                slab_growth: 0,
                resident_before: 1 << 20,
                transports: if is_left { 1_124 } else { 100 },
            });
            outcome
        });
        let summaries = comparison.summaries();
        let found: Vec<_> = summaries
            .iter()
            .map(|summary| {
                (
                    summary.metric,
                    summary.ratio.map(|it| it.value),
                    summary.is_met,
                )
            })
            .collect();
        assert_eq!(
            found,
            [
                (Metric::Inside, Some(40_000.0), Some(true)),
                (Metric::Latency, Some(1.5), Some(false)),
                (Metric::Memory, Some(10_240.0), Some(true)),
            ]
        );
        assert_eq!(summaries[2].ratio_of_minima, None);
    }

    #[test]
    fn delivered_shares_are_compared_though_packets_were_lost() {
        let mut comparison = Pairing {
            metric: Metric::Delivered,
            target: Some(0.9),
            ..pairing()
        }
        .run(3, |side| run_of(side, 1_000.0));
        for outcome in &mut comparison.left {
            outcome.packets.delivered = 95_000;
            outcome.verdict = outcome.packets.verdict();
        }
        let summary = comparison.summary();
        assert!((summary.ratio.expect("shares").value - 0.95).abs() < 1e-9);
        assert_eq!(summary.is_met, Some(true));
        assert!(comparison.is_complete());
        for outcome in &mut comparison.left {
            outcome.verdict = Verdict::NoResult {
                because: "a transport is not connected".to_owned(),
            };
        }
        assert_eq!(comparison.summary().ratio, None, "more than loss");
        assert!(!comparison.is_complete());
        for outcome in &mut comparison.left {
            outcome.verdict = outcome.packets.verdict();
            outcome.packets.generator_drops = 1_001;
        }
        assert_eq!(comparison.summary().ratio, None, "the generator's loss");
        for outcome in &mut comparison.left {
            outcome.packets.generator_drops = 0;
            outcome.strangers = Some(crate::outcome::Strangers {
                asked: 100.0,
                sent: 50.0,
                state_before: None,
                state_after: None,
            });
        }
        assert_eq!(comparison.summary().ratio, None, "no flood");
        for outcome in &mut comparison.left {
            outcome.strangers = None;
            outcome.packets.wrong = 1;
        }
        assert_eq!(comparison.summary().ratio, None);
    }
}
