//! Raising the load until it breaks: how much does one core carry?

use core::time::Duration;

use clap::Args;
use serde::{Deserialize, Serialize};

use super::{Common, Load, Scenario};
use crate::outcome::{Outcome, Verdict};

/// A step is so many times the one before, until one breaks.
const GROWTH: f64 = 1.5;
/// Then the limit is narrowed down to this share of itself.
const PRECISION: f64 = 0.08;
/// A machine with less idle time than this is full.
const MACHINE_FULL: f64 = 0.95;
/// A forwarder that uses at least this much of one processor is busy with forwarding, not held up by others.
const SUBJECT_FULL: f64 = 0.85;

/// Raises a load until 1 % of its packets are lost or its latency breaks the bound.
#[derive(Clone, Debug, PartialEq, Args)]
pub struct Ramp {
    /// Sessions (mesh), viewers (fanout, webinar, churn) or listeners (audio) to begin with.
    #[arg(long, default_value_t = 20)]
    pub from: usize,
    /// Not more than so many.
    #[arg(long, default_value_t = 20_000)]
    pub to: usize,
    /// Loss that is still good, in percent.
    #[arg(long, value_name = "PERCENT", default_value_t = 1.0)]
    pub loss: f64,
    /// Latency that 99 of 100 packets must keep.
    #[arg(long, value_name = "TIME", default_value = "100ms", value_parser = humantime::parse_duration)]
    pub latency: Duration,
    /// What is raised.
    #[command(subcommand)]
    pub scenario: Scenario,
}

/// What a step of a ramp has shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Judgement {
    /// It was carried.
    Carried,
    /// It was too much for the forwarder.
    Broke(String),
    /// It was too much for the machine that makes the load, so the limit lies at or above what was carried.
    GeneratorFull(String),
    /// It shows nothing.
    Failed(String),
}

/// How a ramp goes on: up in steps until one breaks, then halfway between.
#[derive(Clone, Copy, Debug)]
pub struct Growth {
    next: Option<usize>,
    most: usize,
    carried: Option<usize>,
    broke: Option<usize>,
}

impl Ramp {
    /// The load of size `size`; none if the scenario cannot be raised.
    pub fn load(&self, common: &Common, size: usize) -> Option<Load> {
        let scenario = match self.scenario.clone() {
            Scenario::Fanout(mut fanout) => {
                fanout.viewers = size;
                Scenario::Fanout(fanout)
            }
            Scenario::Mesh(mut mesh) => {
                mesh.sessions = size;
                Scenario::Mesh(mesh)
            }
            Scenario::Webinar(mut webinar) => {
                webinar.viewers = size;
                Scenario::Webinar(webinar)
            }
            Scenario::Audio(mut audio) => {
                audio.listeners = size;
                Scenario::Audio(audio)
            }
            Scenario::Churn(mut churn) => {
                churn.viewers = size;
                Scenario::Churn(churn)
            }
            Scenario::Gate(_) => return None,
        };
        let mut loads = scenario.loads(common);
        Some(loads.swap_remove(0))
    }

    /// Begins.
    pub fn growth(&self) -> Growth {
        Growth {
            next: Some(self.from.clamp(1, self.to.max(1))),
            most: self.to.max(1),
            carried: None,
            broke: None,
        }
    }

    /// Whether `outcome` was good enough.
    pub fn judge(&self, outcome: &Outcome) -> Judgement {
        let packets = &outcome.packets;
        if let Verdict::NoResult { because } = &outcome.verdict
            && (packets.delivered == 0
                || packets.checked == 0
                || packets.wrong + packets.unauthentic + packets.unannounced > 0)
        {
            return Judgement::Failed(because.clone());
        }
        if packets.left_out > 0 {
            let left_out = packets.left_out;
            return Judgement::GeneratorFull(format!("publishers left out {left_out} frames"));
        }
        if packets.generator_drops > 0 {
            let dropped = packets.generator_drops;
            return Judgement::GeneratorFull(format!("its queues dropped {dropped} datagrams"));
        }
        if packets.is_unsent() {
            let unsent = packets.unsent;
            return Judgement::GeneratorFull(format!("it could not send {unsent} datagrams"));
        }
        // How much may be lost is the ramp's own affair; whatever else spoils a result says nothing about the load.
        if let Verdict::NoResult { because } = &outcome.verdict
            && packets.verdict() == Verdict::Result
        {
            return Judgement::Failed(because.clone());
        }
        let loss = packets.loss() * 100.0;
        let latency = outcome.latency.as_ref().map(|latency| latency.p99);
        let slow = latency.filter(|latency| u128::from(*latency) > self.latency.as_nanos());
        let broken = if loss > self.loss {
            format!("{loss:.2} % lost")
        } else if let Some(latency) = slow {
            let latency = Duration::from_millis(latency / 1_000_000);
            format!("p99 latency {}", humantime::format_duration(latency))
        } else {
            return carried(outcome);
        };
        if is_machine_full(outcome) && outcome.subject_share() < SUBJECT_FULL {
            return Judgement::GeneratorFull(format!("{broken}, with the machine full"));
        }
        Judgement::Broke(broken)
    }
}

impl Growth {
    /// The size to try next; none at the end.
    pub fn next(&self) -> Option<usize> {
        self.next
    }

    /// The largest size that was carried.
    pub fn carried(&self) -> Option<usize> {
        self.carried
    }

    /// Takes what the size that was tried has shown. A step that failed ends the ramp.
    pub fn learn(&mut self, judgement: &Judgement) {
        let Some(tried) = self.next else { return };
        self.next = None;
        match judgement {
            Judgement::Carried => {
                self.carried = self.carried.max(Some(tried));
                self.next = match self.broke {
                    Some(broke) => between(tried, broke),
                    None if tried >= self.most => None,
                    None => Some(grown(tried).min(self.most)),
                };
            }
            Judgement::Broke(_) | Judgement::GeneratorFull(_) => {
                self.broke = Some(tried);
                self.next = between(self.carried.unwrap_or(0), tried);
            }
            Judgement::Failed(_) => {}
        }
    }
}

/// What a step has shown in which nothing broke: a backlog or packets that nobody looked into are not carried, and neither is a
/// load whose latency nobody knows.
fn carried(outcome: &Outcome) -> Judgement {
    match &outcome.verdict {
        Verdict::NoResult { because } if !outcome.is_right_but_for_loss() => {
            Judgement::Failed(because.clone())
        }
        _ if outcome.latency.is_none() => Judgement::Failed("no latency was measured".to_owned()),
        _ => Judgement::Carried,
    }
}

fn is_machine_full(outcome: &Outcome) -> bool {
    let possible = outcome.measured.as_secs_f64() * outcome.machine.processors as f64;
    let used = outcome.processor.machine + outcome.processor.stolen;
    used.as_secs_f64() >= possible * MACHINE_FULL
}

fn grown(size: usize) -> usize {
    (size as f64 * GROWTH).ceil() as usize
}

/// Halfway, unless the limit is known well enough.
fn between(carried: usize, broke: usize) -> Option<usize> {
    let middle = carried.midpoint(broke);
    let is_close = (broke - carried) as f64 <= carried as f64 * PRECISION;
    (middle > carried && !is_close).then_some(middle)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit;
    use crate::outcome::{Distribution, Packets};
    use crate::scenario::tests::parse;

    fn ramp(from: usize, to: usize, scenario: Scenario) -> Ramp {
        Ramp {
            from,
            to,
            loss: 1.0,
            latency: Duration::from_millis(100),
            scenario,
        }
    }

    fn climb(from: usize, to: usize, limit: usize) -> (Vec<usize>, Option<usize>) {
        let (_, scenario) = parse("mesh");
        let ramp = ramp(from, to, scenario);
        let mut growth = ramp.growth();
        let mut tried = Vec::new();
        while let Some(size) = growth.next() {
            tried.push(size);
            growth.learn(&if size <= limit {
                Judgement::Carried
            } else {
                Judgement::Broke("too much".to_owned())
            });
        }
        (tried, growth.carried())
    }

    #[test]
    fn the_limit_is_found() {
        let (tried, carried) = climb(20, 20_000, 133);
        let carried = carried.expect("something was carried");
        assert!((123..=133).contains(&carried), "{tried:?}");
        assert!(tried.len() < 12, "{tried:?}");
        assert_eq!(climb(20, 50, 1_000).1, Some(50), "the end of the ramp");
        let (tried, carried) = climb(20, 50, 3);
        assert_eq!(carried, Some(3), "{tried:?}");
        assert_eq!(climb(20, 50, 0).1, None);
    }

    #[test]
    fn loads_are_raised_where_it_makes_sense() {
        let (common, scenario) = parse("mesh --people 3");
        let mut ramp = ramp(1, 9, scenario);
        let load = ramp.load(&common, 7).expect("a mesh can be raised");
        assert_eq!(load.plan.sessions.len(), 7);
        assert_eq!(load.plan.streams_out(), 7 * 3 * 2);
        ramp.scenario = parse("fanout").1;
        let load = ramp.load(&common, 7).expect("a fanout can be raised");
        assert_eq!(load.plan.streams_out(), 7);
        ramp.scenario = parse("gate").1;
        assert_eq!(ramp.load(&common, 7), None);
    }

    #[test]
    fn who_is_full_decides_what_a_broken_step_means() {
        let (common, scenario) = parse("mesh");
        let ramp = ramp(1, 9, scenario);
        let plan = ramp.load(&common, 1).expect("a mesh can be raised").plan;
        let mut outcome =
            Outcome::impossible("ringcast", exit::Kind::Loopback, &plan, String::new());
        assert!(matches!(ramp.judge(&outcome), Judgement::Failed(_)));
        outcome.measured = Duration::from_secs(10);
        outcome.machine.processors = 2;
        outcome.packets = Packets {
            published: 100,
            expected: 1_000,
            delivered: 995,
            checked: 20,
            ..Packets::default()
        };
        outcome.verdict = outcome.packets.verdict();
        outcome.latency = Distribution::from_buckets(&[(1_000_000, 995)]);
        assert!(!outcome.is_result());
        assert_eq!(ramp.judge(&outcome), Judgement::Carried, "half a percent");
        outcome.packets.delivered = 900;
        outcome.processor.subject = Duration::from_secs(5);
        outcome.processor.machine = Duration::from_secs(12);
        assert!(matches!(ramp.judge(&outcome), Judgement::Broke(_)));
        outcome.processor.machine = Duration::from_millis(19_500);
        assert!(matches!(ramp.judge(&outcome), Judgement::GeneratorFull(_)));
        outcome.processor.subject = Duration::from_secs(9);
        assert!(matches!(ramp.judge(&outcome), Judgement::Broke(_)));
        outcome.packets.left_out = 1;
        assert!(matches!(ramp.judge(&outcome), Judgement::GeneratorFull(_)));
        outcome.packets.left_out = 0;
        outcome.packets.generator_drops = 1;
        assert!(matches!(ramp.judge(&outcome), Judgement::GeneratorFull(_)));
        outcome.packets.generator_drops = 0;
        outcome.packets.unsent = 1;
        assert!(matches!(ramp.judge(&outcome), Judgement::GeneratorFull(_)));
        outcome.packets.unsent = 0;
        outcome.packets.unannounced = 1;
        assert!(matches!(ramp.judge(&outcome), Judgement::Failed(_)));
        outcome.packets.unannounced = 0;
        outcome.packets.delivered = 1_000;
        outcome.verdict = Verdict::NoResult {
            because: "a transport is not connected".to_owned(),
        };
        assert!(matches!(ramp.judge(&outcome), Judgement::Failed(_)));
        outcome.packets.wrong = 1;
        assert!(matches!(ramp.judge(&outcome), Judgement::Failed(_)));
    }

    #[test]
    fn what_is_no_result_is_not_carried() {
        let (common, scenario) = parse("fanout");
        let ramp = ramp(1, 9, scenario);
        let plan = ramp.load(&common, 1).expect("a fanout can be raised").plan;
        let mut good = Outcome::impossible("ringcast", exit::Kind::Loopback, &plan, String::new());
        good.measured = Duration::from_secs(10);
        good.machine.processors = 2;
        good.packets = Packets {
            published: 100,
            expected: 1_000,
            delivered: 1_000,
            checked: 20,
            subscribers: 100,
            looked_into: 95,
            ..Packets::default()
        };
        good.latency = Distribution::from_buckets(&[(1_000_000, 1_000)]);
        good.verdict = good.packets.verdict();
        assert_eq!(ramp.judge(&good), Judgement::Carried);
        let judge = |change: fn(&mut Outcome)| {
            let mut outcome = good.clone();
            change(&mut outcome);
            outcome.verdict = outcome.packets.verdict();
            ramp.judge(&outcome)
        };
        let failed = |judgement: Judgement, why: &str| match judgement {
            Judgement::Failed(because) => assert!(because.contains(why), "{because}"),
            other => panic!("{other:?}"),
        };
        failed(
            judge(|outcome| outcome.packets.delivered = 1_100),
            "backlog",
        );
        failed(judge(|outcome| outcome.packets.looked_into = 50), "checked");
        failed(judge(|outcome| outcome.packets.expected = 0), "published");
        failed(judge(|outcome| outcome.latency = None), "latency");
        let mut unconnected = good.clone();
        unconnected.packets.delivered = 995;
        let because = "a transport is not connected".to_owned();
        unconnected.verdict = Verdict::NoResult { because };
        failed(ramp.judge(&unconnected), "connected");
        unconnected.packets.delivered = 900;
        assert!(matches!(ramp.judge(&unconnected), Judgement::Broke(_)));
    }
}
