//! What a simulation found with one seed or several, as it is kept in files.

use placement::outcome::{Outcome, Prediction, Quantiles, Recovery, SourceError, Tenants};
use placement::run::Report;
use serde::{Deserialize, Serialize};

/// Everything that a command found.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Simulated {
    /// Somebody did not wait for the end: policies are missing, or seeds.
    pub partial: bool,
    /// The policy to which others are compared.
    pub reference: String,
    /// With each seed.
    pub worlds: Vec<Report>,
}

impl Simulated {
    /// As JSON: of one seed its report alone, unless it is partial.
    ///
    /// # Errors
    /// Never: it is plain data.
    pub fn json(&self) -> serde_json::Result<String> {
        match self.worlds.as_slice() {
            [one] if !self.partial => serde_json::to_string_pretty(one),
            _ => serde_json::to_string_pretty(self),
        }
    }

    /// What a file says; none where it is of something else.
    pub fn read(text: &str) -> Option<Self> {
        let of_many = serde_json::from_str(text).ok();
        of_many.or_else(|| {
            let one: Report = serde_json::from_str(text).ok()?;
            Some(Self {
                worlds: vec![one],
                ..Self::default()
            })
        })
    }

    /// Every policy once.
    pub(super) fn policies(&self) -> Vec<&str> {
        let mut names: Vec<&str> = Vec::new();
        for one in self.worlds.iter().flat_map(|world| &world.outcomes) {
            if !names.contains(&one.policy.as_str()) {
                names.push(&one.policy);
            }
        }
        names
    }

    /// What a policy came to with each seed.
    pub(super) fn of(&self, policy: &str) -> Vec<&Outcome> {
        let outcomes = self.worlds.iter().flat_map(|world| &world.outcomes);
        outcomes.filter(|one| one.policy == policy).collect()
    }

    /// Seeds with which all policies are through, for means of different seeds compare nothing; of the first what there is.
    pub(super) fn whole(&self) -> Self {
        let mut whole = self.clone();
        if self.unfinished().is_some() {
            whole.worlds.pop();
        }
        whole
    }

    /// The seed that was not through, if that is not the only one.
    pub(super) fn unfinished(&self) -> Option<&Report> {
        let [first, .., last] = self.worlds.as_slice() else {
            return None;
        };
        (last.outcomes.len() < first.outcomes.len()).then_some(last)
    }

    /// How many times a policy's figures are those of the reference: their means, and each in its world, where only the reference may
    /// have none. None where it has none in all.
    pub(super) fn ratios(
        &self,
        policy: &str,
        figure: fn(&Outcome) -> f64,
    ) -> Option<(f64, Vec<f64>)> {
        let of = |name: &str| -> Vec<f64> { self.of(name).into_iter().map(figure).collect() };
        let (ones, others) = (of(policy), of(&self.reference));
        let all = mean(&ones) / mean(&others);
        let pairs = ones.iter().zip(&others);
        // Nothing divided by nothing says nothing.
        let each = pairs
            .map(|(one, other)| one / other)
            .filter(|ratio| !ratio.is_nan());
        all.is_finite().then(|| (all, each.collect()))
    }
}

/// The least and the most of several figures.
pub(super) fn range(figures: &[f64]) -> (f64, f64) {
    let least = figures.iter().copied().fold(f64::INFINITY, f64::min);
    (least, figures.iter().copied().fold(0.0, f64::max))
}

/// Their mean; of none 0.
pub(super) fn mean(figures: &[f64]) -> f64 {
    figures.iter().sum::<f64>() / (figures.len() as f64).max(1.0)
}

/// The mean world of a policy: means of all figures that tables show but the overload, and the most of what is a most.
pub(super) fn mean_outcome(all: &[&Outcome]) -> Outcome {
    let of = |figure: fn(&Outcome) -> f64| {
        let figures: Vec<f64> = all.iter().map(|one| figure(one)).collect();
        (mean(&figures), range(&figures).1)
    };
    let whole = |figure: fn(&Outcome) -> f64| of(figure).0.round() as u64;
    Outcome {
        policy: all
            .first()
            .map_or_else(String::new, |one| one.policy.clone()),
        load: Quantiles {
            p50: of(|one| one.load.p50).0,
            p99: of(|one| one.load.p99).0,
            max: of(|one| one.load.max).1,
        },
        variation: of(|one| one.variation).0,
        refusals: whole(|one| one.refusals as f64),
        turned_away: whole(|one| one.turned_away as f64),
        recovery: mean_recovery(all),
        fairness: of(|one| one.fairness).0,
        tenants: Tenants {
            usual: of(|one| one.tenants.usual).0,
            worst: of(|one| one.tenants.worst).0,
            bursting: of(|one| one.tenants.bursting).0,
        },
        prediction: mean_prediction(all),
        sources: mean_sources(all),
        ..Outcome::default()
    }
}

/// None of the times where there is none with one of the seeds.
fn mean_recovery(all: &[&Outcome]) -> Option<Recovery> {
    let found: Vec<Recovery> = all.iter().filter_map(|one| one.recovery).collect();
    let seconds: Option<Vec<f64>> = found.iter().map(|one| one.seconds).collect();
    let overloaded: Vec<f64> = found.iter().map(|one| one.overloaded).collect();
    let before: Vec<f64> = found.iter().map(|one| one.overloaded_before).collect();
    (!found.is_empty()).then(|| Recovery {
        seconds: seconds.map(|all| mean(&all)),
        overloaded: mean(&overloaded),
        overloaded_before: mean(&before),
        ..Recovery::default()
    })
}

fn mean_prediction(all: &[&Outcome]) -> Option<Prediction> {
    let found: Vec<Prediction> = all.iter().filter_map(|one| one.prediction).collect();
    let of = |figure: fn(&Prediction) -> f64| {
        let figures: Vec<f64> = found.iter().map(figure).collect();
        mean(&figures)
    };
    (!found.is_empty()).then(|| Prediction {
        sessions: of(|one| one.sessions as f64).round() as u64,
        bias: of(|one| one.bias),
        within_two: of(|one| one.within_two),
        error: of(|one| one.error),
    })
}

/// Of each source over the seeds in which it forecast something.
fn mean_sources(all: &[&Outcome]) -> Vec<SourceError> {
    let found = || all.iter().flat_map(|one| &one.sources);
    let mut names: Vec<&str> = Vec::new();
    for one in found() {
        if !names.contains(&one.source.as_str()) {
            names.push(&one.source);
        }
    }
    let means = names.into_iter().map(|name| {
        let of = |figure: fn(&SourceError) -> f64| {
            let figures = found().filter(|one| one.source == name).map(figure);
            mean(&figures.collect::<Vec<f64>>())
        };
        SourceError {
            source: name.to_owned(),
            sessions: of(|one| one.sessions as f64).round() as u64,
            bias: of(|one| one.bias),
            error: of(|one| one.error),
        }
    });
    means.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn world(ours: f64, jitsi: f64) -> Report {
        let outcome = |policy: &str, share: f64| Outcome {
            policy: policy.to_owned(),
            hot_participants: [share, 0.0],
            load: Quantiles {
                max: share,
                ..Quantiles::default()
            },
            ..Outcome::default()
        };
        Report {
            outcomes: vec![outcome("jitsi", jitsi), outcome("ours", ours)],
            ..Report::default()
        }
    }

    fn two() -> Simulated {
        Simulated {
            partial: false,
            reference: "ours".to_owned(),
            worlds: vec![world(0.1, 0.4), world(0.2, 0.2)],
        }
    }

    #[test]
    fn one_seed_is_kept_as_its_report_and_all_are_read_again() {
        let mut found = two();
        let read = |found: &Simulated| Simulated::read(&found.json().expect("plain data"));
        assert_eq!(read(&found).as_ref(), Some(&found));
        found.worlds.truncate(1);
        let text = found.json().expect("plain data");
        assert!(serde_json::from_str::<Report>(&text).is_ok());
        assert_eq!(read(&found).expect("it is one").worlds, found.worlds);
        found.partial = true;
        assert!(read(&found).expect("it is one").partial);
        assert_eq!(Simulated::read("{}"), None);
    }

    #[test]
    fn ratios_are_of_the_same_world() {
        let people: fn(&Outcome) -> f64 = |one| one.hot_participants[0];
        let found = two();
        assert_eq!(found.policies(), ["jitsi", "ours"]);
        let (all, each) = found.ratios("jitsi", people).expect("both have some");
        assert!((all - 2.0).abs() < 1e-9);
        assert_eq!(each, [4.0, 1.0]);
        let none: fn(&Outcome) -> f64 = |one| one.hot_participants[1];
        assert!(found.ratios("jitsi", none).is_none(), "0 by 0 is nothing");
    }

    #[test]
    fn where_only_the_reference_has_none_there_is_no_end() {
        let people: fn(&Outcome) -> f64 = |one| one.hot_participants[0];
        let mut found = two();
        found.worlds.extend([world(0.0, 0.3), world(0.0, 0.0)]);
        let (all, each) = found.ratios("jitsi", people).expect("both have some");
        assert!((all - 3.0).abs() < 1e-9);
        assert_eq!(each, [4.0, 1.0, f64::INFINITY]);
    }

    #[test]
    fn a_seed_that_is_not_through_is_kept_but_not_compared() {
        let mut found = two();
        assert_eq!(found.whole(), found);
        found.worlds[1].outcomes.pop();
        assert_eq!(found.unfinished(), found.worlds.last());
        assert_eq!(found.whole().worlds, found.worlds[..1]);
        found.worlds.remove(0);
        assert_eq!(found.whole(), found, "it is all there is");
    }

    #[test]
    fn a_mean_outcome_keeps_the_most() {
        let found = two();
        let one = mean_outcome(&found.of("jitsi"));
        assert_eq!((one.policy.as_str(), one.load.max), ("jitsi", 0.4));
        assert!(one.prediction.is_none() && one.recovery.is_none());
        assert_eq!(range(&[3.0, 1.0, 2.0]), (1.0, 3.0));
    }
}
