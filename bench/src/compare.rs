//! Several sides in turn: A B C, B C A …, so that whatever the machine does meanwhile happens to all of them.

mod metric;
mod statistics;
mod summary;

use anyhow::{Context as _, ensure};
use serde::{Deserialize, Serialize};

pub use metric::Metric;
pub use statistics::{Estimate, median};
pub use summary::{Figure, Pair, Summary};

use crate::exit;
use crate::outcome::Outcome;
use crate::plan::Plan;
use crate::scenario::Load;

/// To whom others are compared where he takes part, in the words of the command line.
pub const CONVENTIONAL: &str = "conventional";

/// Who takes part in a comparison.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entrants {
    names: Vec<String>,
    reference: usize,
}

/// What is to be compared.
#[derive(Clone, Debug, PartialEq)]
pub struct Contest {
    /// For people.
    pub name: String,
    /// Two or more.
    pub sides: Vec<Side>,
    /// The place of the side by whose figure those of all others are divided.
    pub reference: usize,
    /// Which figure.
    pub metric: Metric,
    /// What is asked of the first side that is not the reference.
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

/// The runs of a contest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "Kept")]
pub struct Comparison {
    /// The contest's name.
    pub name: String,
    /// The figure.
    pub metric: Metric,
    /// What is asked for: of shares at least, of everything else at most.
    pub target: Option<f64>,
    /// What else is asked of the same runs.
    pub also: Vec<(Metric, Option<f64>)>,
    /// Each side's runs, one a round, in the order of the contest's sides.
    pub sides: Vec<Vec<Outcome>>,
    /// The place of the side by whose figure those of all others are divided.
    pub reference: usize,
}

/// A [`Comparison`] in a file. There were only two sides once, and they had names.
#[derive(Deserialize)]
struct Kept {
    name: String,
    metric: Metric,
    target: Option<f64>,
    #[serde(default)]
    also: Vec<(Metric, Option<f64>)>,
    #[serde(default)]
    sides: Vec<Vec<Outcome>>,
    #[serde(default)]
    reference: usize,
    #[serde(default)]
    left: Vec<Outcome>,
    #[serde(default)]
    right: Vec<Outcome>,
}

impl Entrants {
    /// `names` in the words of the command line. All are compared to `to`; if nobody was named, of two to the second, of more to
    /// [`CONVENTIONAL`] where he takes part.
    ///
    /// # Errors
    /// Of fewer than two, and where `to` is none of them.
    pub fn new(names: Vec<String>, to: Option<&str>) -> anyhow::Result<Self> {
        ensure!(names.len() >= 2, "a comparison takes two subjects or more");
        let place = |wanted: &str| names.iter().position(|name| name == wanted);
        let reference = match to {
            Some(to) => {
                place(to).with_context(|| format!("--to {to} is none of the subjects compared"))?
            }
            None if names.len() == 2 => 1,
            None => place(CONVENTIONAL).unwrap_or(1),
        };
        Ok(Self { names, reference })
    }

    /// To whom the others are compared.
    pub fn reference(&self) -> &str {
        &self.names[self.reference]
    }

    /// All but the reference; targets are asked of the first.
    pub fn others(&self) -> impl Iterator<Item = &str> {
        let all = self.names.iter().enumerate();
        all.filter(|(place, _)| *place != self.reference)
            .map(|(_, name)| name.as_str())
    }

    /// All of them under `load`, without a target.
    pub fn under(&self, load: &Load) -> Contest {
        let sides = self.names.iter().map(|name| Side::new(name, load));
        Contest {
            name: load.plan.name.clone(),
            sides: sides.collect(),
            reference: self.reference,
            metric: Metric::Cost,
            target: None,
            also: Vec::new(),
        }
    }
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

/// Runs all sides of `contests` in turn, `rounds` times, with `run`. Each round begins with another contest and, within each of them,
/// with another side, so that nobody has the same one before him every time; it has a seed of its own, the same for all.
///
/// A side that can't be run at all has a run that says why.
pub fn take_turns(
    contests: &[Contest],
    rounds: u32,
    mut run: impl FnMut(&Side) -> Outcome,
) -> Vec<Comparison> {
    let mut comparisons: Vec<Comparison> = contests.iter().map(Comparison::begin).collect();
    for round in 0..rounds {
        for contest in turned(contests.len(), round) {
            let Contest { sides, .. } = &contests[contest];
            for place in turned(sides.len(), round) {
                let mut side = sides[place].clone();
                side.plan.seed = side.plan.seed.wrapping_add(u64::from(round));
                comparisons[contest].sides[place].push(run(&side));
            }
        }
    }
    comparisons
}

/// All places, beginning with another one each round.
fn turned(places: usize, round: u32) -> impl Iterator<Item = usize> {
    let first = round as usize % places.max(1);
    (first..places).chain(0..first)
}

impl Comparison {
    fn begin(contest: &Contest) -> Self {
        Self {
            name: contest.name.clone(),
            metric: contest.metric,
            target: contest.target,
            also: contest.also.clone(),
            sides: vec![Vec::new(); contest.sides.len()],
            reference: contest.reference,
        }
    }

    /// The runs of the reference.
    pub fn reference(&self) -> &[Outcome] {
        self.sides.get(self.reference).map_or(&[], Vec::as_slice)
    }

    /// Each side but the reference with the reference, in their order.
    pub fn pairs(&self) -> impl Iterator<Item = Pair<'_>> {
        let others = self.sides.iter().enumerate();
        let others = others.filter(|(place, _)| *place != self.reference);
        others.enumerate().map(|(number, (_, left))| Pair {
            comparison: self,
            left,
            right: self.reference(),
            is_judged: number == 0,
        })
    }

    /// Everything that is asked of these runs, of one pair after the other.
    pub fn summaries(&self) -> Vec<Summary> {
        self.pairs().flat_map(|pair| pair.summaries()).collect()
    }

    /// Whether every round of every side counts: each for itself, so that one who can't be run takes nothing from the others.
    pub fn is_complete(&self) -> bool {
        self.pairs().all(|pair| pair.is_complete())
    }
}

impl From<Kept> for Comparison {
    fn from(kept: Kept) -> Self {
        let (sides, reference) = if kept.sides.is_empty() {
            (vec![kept.left, kept.right], 1)
        } else {
            (kept.sides, kept.reference)
        };
        Self {
            name: kept.name,
            metric: kept.metric,
            target: kept.target,
            also: kept.also,
            sides,
            reference,
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

    /// These subjects under the same load, compared to the one at `reference`.
    pub(crate) fn contest(subjects: &[&str], reference: usize) -> Contest {
        let side = |subject: &&str| Side {
            subject: (*subject).to_owned(),
            plan: crate::plan::tests::example(),
            exit: exit::Kind::Loopback,
        };
        Contest {
            name: "example".to_owned(),
            sides: subjects.iter().map(side).collect(),
            reference,
            metric: Metric::Cost,
            target: Some(0.5),
            also: Vec::new(),
        }
    }

    pub(crate) fn pairing() -> Contest {
        contest(&["ringcast", "conventional"], 1)
    }

    /// Every run of one contest.
    pub(crate) fn run_all(
        contest: Contest,
        rounds: u32,
        run: impl FnMut(&Side) -> Outcome,
    ) -> Comparison {
        take_turns(&[contest], rounds, run).remove(0)
    }

    /// What the judged side's runs say to the first question.
    pub(crate) fn first_summary(comparison: &Comparison) -> Summary {
        comparison.summaries().remove(0)
    }

    /// Another outcome of every run of one side.
    fn change(comparison: &mut Comparison, side: usize, how: impl FnMut(&mut Outcome)) {
        comparison.sides[side].iter_mut().for_each(how);
    }

    fn no_result(because: &str) -> Verdict {
        Verdict::NoResult {
            because: because.to_owned(),
        }
    }

    #[test]
    fn sides_take_turns_with_the_same_seeds() {
        let order_of = |contests: &[Contest], rounds| {
            let mut order = Vec::new();
            let comparisons = take_turns(contests, rounds, |side| {
                let suite = format!("{:?}", side.plan.suite);
                order.push((format!("{} {suite}", side.subject), side.plan.seed));
                run_of(side, 1_000.0)
            });
            let each = |comparison: &Comparison| comparison.sides.iter().map(Vec::len).collect();
            let counts: Vec<Vec<usize>> = comparisons.iter().map(each).collect();
            let (subjects, seeds): (Vec<String>, Vec<u64>) = order.into_iter().unzip();
            let letters = subjects.iter().map(|subject| {
                let suite = if subject.ends_with("Aes128Gcm") {
                    "'"
                } else {
                    ""
                };
                format!("{}{suite}", &subject[..1])
            });
            (letters.collect::<Vec<_>>().join(" "), seeds, counts)
        };
        let (order, seeds, counts) = order_of(&[contest(&["a", "b", "c"], 1)], 4);
        assert_eq!(order, "a b c b c a c a b a b c");
        assert_eq!(seeds, [1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4]);
        assert_eq!(counts, [[4, 4, 4]]);
        assert_eq!(order_of(&[pairing()], 3).0, "r c c r r c");

        let mut other = contest(&["a", "b"], 1);
        for side in &mut other.sides {
            side.plan.suite = crate::plan::Suite::Aes128Gcm;
        }
        let (order, _, counts) = order_of(&[contest(&["a", "b"], 1), other], 3);
        assert_eq!(order, "a b a' b' b' a' b a a b a' b'", "suites as well");
        assert_eq!(counts, [[3, 3], [3, 3]]);
    }

    #[test]
    fn the_reference_is_the_conventional_one_unless_said_otherwise() {
        let of = |names: &str, to| {
            let names = names.split(' ').map(str::to_owned).collect();
            Entrants::new(names, to).map(|entrants| entrants.reference().to_owned())
        };
        let found = |names, to| of(names, to).expect("a sane line");
        assert_eq!(found("ringcast conventional", None), "conventional");
        assert_eq!(
            found("conventional naive", None),
            "naive",
            "the second of two"
        );
        assert_eq!(found("conventional naive janus", None), "conventional");
        assert_eq!(found("a b naive", None), "b");
        assert_eq!(found("a b naive", Some("a")), "a");
        assert!(of("a b", Some("c")).is_err() && of("a", None).is_err());
        let entrants = Entrants::new(vec!["a".into(), "b".into(), "c".into()], Some("b"));
        let entrants = entrants.expect("a sane line");
        assert_eq!(entrants.others().collect::<Vec<_>>(), ["a", "c"]);
    }

    #[test]
    fn each_of_many_is_divided_by_the_reference() {
        let contest = contest(&["ringcast", "conventional", "janus", "rtpengine"], 1);
        let mut comparison = run_all(contest, 3, |side| {
            let cost = match side.subject.as_str() {
                "ringcast" => 500.0,
                "conventional" => 1_000.0,
                "janus" => 4_000.0,
                _ => 2_500.0,
            };
            run_of(side, cost * side.plan.seed as f64)
        });
        let ratios = |comparison: &Comparison| -> Vec<(String, Option<f64>, bool, Option<bool>)> {
            let all = comparison.summaries().into_iter();
            let each = all.map(|it| {
                assert_eq!(it.reference, "conventional");
                (
                    it.subject,
                    it.ratio.map(|it| it.value),
                    it.is_complete,
                    it.is_met,
                )
            });
            each.collect()
        };
        let named =
            |name: &str, ratio, is_complete, is_met| (name.to_owned(), ratio, is_complete, is_met);
        assert!(comparison.is_complete());
        assert_eq!(
            ratios(&comparison),
            [
                named("ringcast", Some(0.5), true, Some(true)),
                named("janus", Some(4.0), true, None),
                named("rtpengine", Some(2.5), true, None),
            ],
            "a target is asked of the first only"
        );
        // Who can't be run takes nothing from the others.
        change(&mut comparison, 2, |run| {
            run.verdict = no_result("loopback")
        });
        comparison.sides[3][1].verdict = no_result("lost");
        assert!(!comparison.is_complete());
        assert_eq!(
            ratios(&comparison),
            [
                named("ringcast", Some(0.5), true, Some(true)),
                named("janus", None, false, None),
                named("rtpengine", Some(2.5), false, None),
            ]
        );
        // Without the one to whom all are compared nothing is.
        comparison.sides[1][0].verdict = no_result("lost");
        let all = ratios(&comparison);
        assert!(all.iter().all(|(_, _, is_complete, _)| !is_complete));
    }

    #[test]
    fn comparisons_of_a_left_and_a_right_side_are_still_read() {
        let comparison = run_all(pairing(), 1, |side| run_of(side, 700.0));
        let mut value = serde_json::to_value(&comparison).expect("JSON");
        let again: Comparison = serde_json::from_value(value.clone()).expect("what was written");
        assert_eq!(again, comparison);
        let fields = value.as_object_mut().expect("fields");
        let mut sides = fields.remove("sides").expect("sides");
        fields.remove("reference");
        fields.insert("left".to_owned(), sides[0].take());
        fields.insert("right".to_owned(), sides[1].take());
        let again: Comparison = serde_json::from_value(value).expect("as it once was");
        assert_eq!(again, comparison);
    }

    #[test]
    fn ratios_survive_a_machine_that_changes_between_rounds() {
        let mut round = 0;
        let comparison = run_all(pairing(), 5, |side| {
            let epoch = if (round / 2) % 2 == 0 { 1.0 } else { 1.5 };
            round += 1;
            let cost = if side.subject == "ringcast" {
                400.0
            } else {
                1_000.0
            };
            run_of(side, cost * epoch)
        });
        let summary = first_summary(&comparison);
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
        let mut comparison = run_all(pairing(), 3, |side| {
            calls += 1;
            run_of(side, f64::from(calls))
        });
        comparison.sides[0][1].verdict = no_result("lost");
        let summary = first_summary(&comparison);
        assert_eq!((summary.left.rounds, summary.left.results), (3, 2));
        assert_eq!(summary.right.results, 3);
        assert!(summary.ratio.is_some() && !comparison.is_complete());
        assert_eq!(summary.is_met, None, "two of three rounds are not all");
        change(&mut comparison, 0, |run| run.verdict = no_result("lost"));
        let summary = first_summary(&comparison);
        assert_eq!((summary.ratio, summary.is_met), (None, None));
        assert_eq!(summary.left.median, None);
    }

    #[test]
    fn the_same_runs_answer_several_questions() {
        let buckets = |value: u64| Distribution::from_buckets(&[(value, 100)]);
        let contest = Contest {
            metric: Metric::Inside,
            target: Some(60_000.0),
            also: vec![
                (Metric::Latency, Some(1.0)),
                (Metric::Memory, Some(16_384.0)),
            ],
            ..pairing()
        };
        let comparison = run_all(contest, 3, |side| {
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
        let contest = Contest {
            metric: Metric::Delivered,
            target: Some(0.9),
            ..pairing()
        };
        let mut comparison = run_all(contest, 3, |side| run_of(side, 1_000.0));
        let ratio = |comparison: &Comparison| first_summary(comparison).ratio;
        change(&mut comparison, 0, |run| {
            run.packets.delivered = 95_000;
            run.verdict = run.packets.verdict();
        });
        let summary = first_summary(&comparison);
        assert!((summary.ratio.expect("shares").value - 0.95).abs() < 1e-9);
        assert_eq!(summary.is_met, Some(true));
        assert!(comparison.is_complete());
        change(&mut comparison, 0, |run| {
            run.verdict = no_result("a transport is not connected");
        });
        assert_eq!(ratio(&comparison), None, "more than loss");
        assert!(!comparison.is_complete());
        change(&mut comparison, 0, |run| {
            run.verdict = run.packets.verdict();
            run.packets.generator_drops = 1_001;
        });
        assert_eq!(ratio(&comparison), None, "the generator's loss");
        change(&mut comparison, 0, |run| {
            run.packets.generator_drops = 0;
            run.strangers = Some(crate::outcome::Strangers {
                asked: 100.0,
                sent: 50.0,
                state_before: None,
                state_after: None,
                resident_before: None,
                resident_after: None,
            });
        });
        assert_eq!(ratio(&comparison), None, "no flood");
        change(&mut comparison, 0, |run| {
            run.strangers = None;
            run.packets.wrong = 1;
        });
        assert_eq!(ratio(&comparison), None);
    }
}
