//! What one run measured: the record that reports are made from, and that JSON files hold.
//!
//! Whatever could not be measured is absent rather than zero, and a run whose forwarding was not right has no result at all.

use core::time::Duration;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::exit;
use crate::measure::Machine;
use crate::plan::{Plan, Suite};

/// A run counts only if at least this share of the packets that were due was delivered.
pub const DELIVERED_MIN: f64 = 0.999;
/// And at most this share: who delivers more was behind when the measurement began.
pub const DELIVERED_MAX: f64 = 1.005;
/// Of the copies due, this share may have been dropped by the generator's own queues where shares are compared: of more nobody
/// knows whether the forwarder had sent them.
const GENERATOR_DROPS_MAX: f64 = 0.01;
/// This share of what publishers send may fail to leave the generator.
const UNSENT_MAX: f64 = 0.001;
/// Of the subscribers this share at least must have had a packet checked, where only a sample arrives.
const LOOKED_INTO_MIN: f64 = 0.9;
/// Strangers who send less than this share of what was asked are no flood.
const FLOOD_MIN: f64 = 0.95;
/// So many bytes the forwarder's memory may grow by under strangers: at 100 000 datagrams a second an entry for each would take
/// more within a second.
const GROWN_MAX: u64 = 1 << 20;
/// Changes of viewers that fall short of this share of what was asked are another load.
const CHURN_MIN: f64 = 0.9;

/// One run: one plan through one forwarder.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// Who forwarded.
    pub subject: String,
    /// Where the packets went.
    pub exit: exit::Kind,
    /// The plan's name.
    pub load: String,
    /// Which SRTP profile the peers got.
    pub suite: Suite,
    /// When the run ended, in seconds since the Unix epoch.
    pub ended_at: u64,
    /// Length of the measurement.
    pub measured: Duration,
    /// Whether the figures below may be used.
    pub verdict: Verdict,
    /// What came and went while it was measured.
    pub packets: Packets,
    /// Who was busy meanwhile.
    pub processor: Processor,
    /// From the publisher's stamp to the subscriber's kernel, in nanoseconds.
    pub latency: Option<Distribution>,
    /// From arrival to sending within the forwarder, in nanoseconds, where it tells.
    pub forwarding_latency: Option<Distribution>,
    /// What strangers did meanwhile, if there were any.
    #[serde(default)]
    pub strangers: Option<Strangers>,
    /// Of the forwarder, per delivered packet, where it can be counted.
    pub syscalls_per_packet: Option<f64>,
    /// What a bare sendmmsg of packets of the load's size cost at this exit right after the measurement, in nanoseconds a packet: a
    /// measure of the machine and of how busy it was.
    #[serde(default)]
    pub bare_send: Option<f64>,
    /// How many packets left in one send, where the forwarder tells.
    pub run_lengths: Option<Distribution>,
    /// At the end of the measurement.
    pub memory: Option<Memory>,
    /// From the first ICE check to the first media, in nanoseconds. Signalling comes before that. None where most media are
    /// dropped on the way.
    pub joins: Option<Distribution>,
    /// The same from the request for a token on, where the forwarder is talked to as by browsers.
    #[serde(default)]
    pub whole_joins: Option<Distribution>,
    /// From the first request until everybody of the plan was connected.
    #[serde(default)]
    pub all_joined: Option<Duration>,
    /// How fast viewers were replaced, if that was asked for.
    #[serde(default)]
    pub churn: Option<Churn>,
    /// Where it ran.
    pub machine: Machine,
    /// Whatever else a reader must know.
    pub notes: Vec<String>,
}

/// Whether a run's figures mean anything.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// They do.
    Result,
    /// They don't.
    NoResult {
        /// Why, for people.
        because: String,
    },
}

/// Packets of the measurement. A *copy* is one packet on its way to one subscriber.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Packets {
    /// What publishers sent.
    pub published: u64,
    /// Copies that were due.
    pub expected: u64,
    /// Copies that arrived, each counted once; at an exit that drops, copies that were counted there.
    pub delivered: u64,
    /// Copies that arrived again.
    pub duplicates: u64,
    /// Copies that were decrypted with an independent library and compared with what was sent.
    pub checked: u64,
    /// Of these, copies that did not pass authentication.
    pub unauthentic: u64,
    /// Of these, copies with another payload than was sent.
    pub wrong: u64,
    /// Copies that came as retransmissions.
    pub retransmitted: u64,
    /// Frames that publishers left out because the generator could not keep up.
    pub left_out: u64,
    /// Datagrams that arrived at the generator and were dropped there, because it did not take them in time.
    #[serde(default)]
    pub generator_drops: u64,
    /// Datagrams that the generator could not send.
    #[serde(default)]
    pub unsent: u64,
    /// Packets of RTP streams that nobody announced.
    #[serde(default)]
    pub unannounced: u64,
    /// Subscribers at the end, at an exit that drops; zero where all packets arrive.
    #[serde(default)]
    pub subscribers: u64,
    /// Of these, subscribers of whom a packet was checked.
    #[serde(default)]
    pub looked_into: u64,
}

/// Processor time of the measurement.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Processor {
    /// The forwarder's, all threads and kernel workers.
    pub subject: Duration,
    /// The load generator's.
    pub generator: Duration,
    /// The whole machine's, interrupts included.
    pub machine: Duration,
    /// What a hypervisor gave to others meanwhile.
    pub stolen: Duration,
    /// The forwarder's share of one processor, in equal parts of the measurement.
    pub timeline: Vec<f64>,
}

/// What the forwarder holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// Resident set, in bytes.
    pub resident: u64,
    /// What the kernel's slab grew by since before anybody joined, in bytes.
    pub slab_growth: i64,
    /// Resident set before anybody joined, in bytes.
    pub resident_before: u64,
    /// Transports at the time.
    pub transports: u64,
}

/// Viewers who left and were replaced by others, per second.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Churn {
    /// As many were asked for.
    pub asked: f64,
    /// So many newcomers became connected.
    pub achieved: f64,
}

impl Churn {
    /// Why this was not the load that was asked for.
    pub fn objection(&self) -> Option<String> {
        let Self { asked, achieved } = self;
        (*achieved < asked * CHURN_MIN)
            .then(|| format!("{achieved:.1} of {asked:.1} viewers a second were replaced"))
    }
}

/// What strangers threw at the forwarder, and what it made of that.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Strangers {
    /// Datagrams a second that were asked for.
    pub asked: f64,
    /// Datagrams a second that they sent.
    pub sent: f64,
    /// Entries of the forwarder's tables before the first of them came, where it tells.
    pub state_before: Option<u64>,
    /// The same at the end.
    pub state_after: Option<u64>,
    /// The resident set of a forwarder that tells of its state when the measurement began, in bytes: by then they had come for the
    /// length of a warm-up, so that what lies ready for datagrams, whose ever, had been touched.
    #[serde(default)]
    pub resident_before: Option<u64>,
    /// The same at the end.
    #[serde(default)]
    pub resident_after: Option<u64>,
}

/// A histogram in few enough numbers to keep.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Distribution {
    /// How many values.
    pub count: u64,
    /// The smallest.
    pub min: u64,
    /// Their mean.
    pub mean: f64,
    /// Half are below.
    pub p50: u64,
    /// Nine of ten are below.
    pub p90: u64,
    /// 99 of 100 are below.
    pub p99: u64,
    /// 999 of 1000 are below.
    pub p999: u64,
    /// The largest.
    pub max: u64,
    /// Where values above a bound were not told apart, that bound: they count as one more than it, and all that is known of them
    /// is that they were longer.
    #[serde(default)]
    pub open_above: Option<u64>,
    /// The histogram itself: upper end of a bucket, and how many values are in it; empty buckets are left out.
    pub buckets: Vec<(u64, u64)>,
}

impl Outcome {
    /// A run that did not take place, or came to nothing.
    pub fn impossible(subject: &str, exit: exit::Kind, plan: &Plan, because: String) -> Self {
        Self {
            subject: subject.to_owned(),
            exit,
            load: plan.name.clone(),
            suite: plan.suite,
            ended_at: 0,
            measured: Duration::ZERO,
            verdict: Verdict::NoResult { because },
            packets: Packets::default(),
            processor: Processor::default(),
            latency: None,
            forwarding_latency: None,
            strangers: None,
            syscalls_per_packet: None,
            bare_send: None,
            run_lengths: None,
            memory: None,
            joins: None,
            whole_joins: None,
            all_joined: None,
            churn: None,
            machine: Machine::read(),
            notes: Vec::new(),
        }
    }

    /// Whether the figures may be used.
    pub fn is_result(&self) -> bool {
        self.verdict == Verdict::Result
    }

    /// Whether nothing is wrong with it but that packets were lost.
    pub fn is_right_but_for_loss(&self) -> bool {
        self.verdict == self.packets.verdict() && self.packets.is_right_but_for_loss()
    }

    /// The forwarder's processor time per delivered packet, in nanoseconds; none without a result.
    pub fn cost(&self) -> Option<f64> {
        self.per_packet(self.processor.subject)
    }

    /// What the whole machine was busy with per delivered packet, less the generator, in nanoseconds; none without a result.
    ///
    /// Receivers' kernel work on loopback is in it, and whatever else the machine did.
    pub fn machine_cost(&self) -> Option<f64> {
        let others = self
            .processor
            .machine
            .checked_sub(self.processor.generator)?;
        self.per_packet(others)
    }

    /// The generator's processor time per delivered packet, in nanoseconds; none without a result.
    pub fn generator_cost(&self) -> Option<f64> {
        self.per_packet(self.processor.generator)
    }

    /// The forwarder's processor time per delivered packet, as a multiple of what a bare sendmmsg of such packets cost here; none
    /// without a result.
    pub fn cost_in_bare_sends(&self) -> Option<f64> {
        let bare = self.bare_send.filter(|bare| *bare > 0.0)?;
        self.cost().map(|cost| cost / bare)
    }

    /// The generator's part of all that the generator and the forwarder used, from 0 to 1.
    pub fn generator_share(&self) -> f64 {
        let generator = self.processor.generator.as_secs_f64();
        let both = generator + self.processor.subject.as_secs_f64();
        if both > 0.0 { generator / both } else { 0.0 }
    }

    /// The forwarder's use of processors, 1 for one.
    pub fn subject_share(&self) -> f64 {
        let measured = self.measured.as_secs_f64();
        self.processor.subject.as_secs_f64() / measured.max(f64::MIN_POSITIVE)
    }

    /// Delivered packets per second.
    pub fn rate(&self) -> f64 {
        let seconds = self.measured.as_secs_f64();
        if seconds > 0.0 {
            self.packets.delivered as f64 / seconds
        } else {
            0.0
        }
    }

    fn per_packet(&self, time: Duration) -> Option<f64> {
        let is_measured = self.is_result() && self.packets.delivered > 0;
        is_measured.then(|| time.as_nanos() as f64 / self.packets.delivered as f64)
    }
}

impl Strangers {
    /// Why this was no flood, or one that the forwarder did not take as it should.
    pub fn objection(&self) -> Option<String> {
        let Self { asked, sent, .. } = self;
        if *sent < asked * FLOOD_MIN {
            return Some(format!(
                "strangers sent {sent:.0} of {asked:.0} datagrams a second: the generator was too slow"
            ));
        }
        let (before, after) = (self.state_before, self.state_after);
        if before != after {
            return Some(format!(
                "the forwarder's state changed from {before:?} to {after:?} entries under strangers"
            ));
        }
        let grown = self.grown().filter(|grown| *grown > GROWN_MAX)?;
        Some(format!(
            "the forwarder's memory grew by {} KiB under strangers",
            grown >> 10
        ))
    }

    /// By how many bytes the forwarder's resident set grew; zero if it shrank, none if nobody knows.
    pub fn grown(&self) -> Option<u64> {
        let (before, after) = self.resident_before.zip(self.resident_after)?;
        Some(after.saturating_sub(before))
    }
}

impl Packets {
    /// The share of the copies due that the forwarder delivered, from 0 to 1. What the generator's own queues dropped had been,
    /// but where that is more than a hundredth there is no figure: it would be the generator's.
    pub fn forwarded_share(&self) -> Option<f64> {
        if self.expected == 0 || self.is_generator_overloaded() {
            return None;
        }
        let forwarded = self.delivered + self.generator_drops;
        Some((forwarded as f64 / self.expected as f64).min(1.0))
    }

    /// Whether the generator's queues dropped more than a hundredth of what was due.
    pub fn is_generator_overloaded(&self) -> bool {
        self.generator_drops as f64 > self.expected as f64 * GENERATOR_DROPS_MAX
    }

    /// Whether so much did not leave the generator that it is not the load that was asked for.
    pub fn is_unsent(&self) -> bool {
        self.unsent as f64 > self.published as f64 * UNSENT_MAX
    }

    /// Whether this is a result, or would be one if what is missing had arrived.
    pub fn is_right_but_for_loss(&self) -> bool {
        let whole = Self {
            delivered: self.delivered.max(self.expected),
            generator_drops: 0,
            ..*self
        };
        self.delivered > 0 && !self.is_generator_overloaded() && whole.verdict() == Verdict::Result
    }

    /// How many subscribers there were of whom no packet was checked, in words; none if there were none.
    pub fn unchecked_subscribers(&self) -> Option<String> {
        let Self {
            subscribers,
            looked_into,
            ..
        } = self;
        (looked_into < subscribers).then(|| {
            format!(
                "of {} of {subscribers} subscribers no packet was checked; where a hundredth passes, 300 sends to each, runs or single packets, make it less than 5 %",
                subscribers - looked_into
            )
        })
    }

    /// The share of copies that did not arrive, from 0 to 1.
    pub fn loss(&self) -> f64 {
        if self.expected == 0 {
            return 0.0;
        }
        self.expected.saturating_sub(self.delivered) as f64 / self.expected as f64
    }

    /// Whether such a run is a result: everything that was checked was right, and nearly everything arrived.
    pub fn verdict(&self) -> Verdict {
        let because = if self.published == 0 || self.expected == 0 {
            "nothing was published".to_owned()
        } else if self.delivered == 0 {
            "nothing was delivered".to_owned()
        } else if self.wrong > 0 {
            format!(
                "{} of {} checked payloads were wrong",
                self.wrong, self.checked
            )
        } else if self.unauthentic > 0 {
            let (unauthentic, checked) = (self.unauthentic, self.checked);
            format!("{unauthentic} of {checked} checked packets were not authentic")
        } else if self.unannounced > 0 {
            let unannounced = self.unannounced;
            format!("{unannounced} packets were of RTP streams that nobody announced")
        } else if self.checked == 0 {
            "no payload was checked".to_owned()
        } else if self.is_unsent() {
            let unsent = self.unsent;
            format!("the generator is overloaded: it could not send {unsent} datagrams")
        } else if self.delivered as f64 > self.expected as f64 * DELIVERED_MAX {
            // What waited in queues before would be measured as if it had been done in this time.
            let (delivered, expected) = (self.delivered, self.expected);
            format!("{delivered} packets were delivered though {expected} were due: a backlog")
        } else if self.generator_drops > 0 {
            let dropped = self.generator_drops;
            format!("the generator is overloaded: its queues dropped {dropped} datagrams")
        } else if self.loss() > 1.0 - DELIVERED_MIN {
            format!("{:.2} % of the packets were lost", self.loss() * 100.0)
        } else if let Some(unchecked) = self
            .unchecked_subscribers()
            .filter(|_| (self.looked_into as f64) < self.subscribers as f64 * LOOKED_INTO_MIN)
        {
            unchecked
        } else {
            return Verdict::Result;
        };
        Verdict::NoResult { because }
    }
}

impl Memory {
    /// Bytes per transport, of the process and of the kernel for it; none without transports.
    pub fn per_transport(&self) -> Option<f64> {
        let grown = self.resident as i64 - self.resident_before as i64 + self.slab_growth;
        (self.transports > 0).then(|| grown as f64 / self.transports as f64)
    }
}

impl Memory {
    /// Bytes for each transport more than `few` had: process and kernel, what both runs have anyway cancelled out. None unless
    /// there are at least twice as many.
    pub fn slope_from(&self, few: &Self) -> Option<f64> {
        let total = |memory: &Self| memory.resident as i64 + memory.slab_growth;
        let is_wide = few.transports > 0 && self.transports / 2 >= few.transports;
        is_wide
            .then(|| (total(self) - total(few)) as f64 / (self.transports - few.transports) as f64)
    }
}

impl Distribution {
    /// What `histogram` holds; none if that is nothing.
    pub fn of(histogram: &Histogram<u64>) -> Option<Self> {
        if histogram.is_empty() {
            return None;
        }
        let quantile = |quantile| histogram.value_at_quantile(quantile);
        Some(Self {
            count: histogram.len(),
            min: histogram.min(),
            mean: histogram.mean(),
            p50: quantile(0.5),
            p90: quantile(0.9),
            p99: quantile(0.99),
            p999: quantile(0.999),
            max: histogram.max(),
            open_above: None,
            buckets: histogram
                .iter_recorded()
                .map(|bucket| {
                    (
                        bucket.value_iterated_to(),
                        bucket.count_since_last_iteration(),
                    )
                })
                .collect(),
        })
    }

    /// The distribution of which only `buckets` are known: upper ends, and how many values are in each. None if there are none.
    pub fn from_buckets(buckets: &[(u64, u64)]) -> Option<Self> {
        let buckets: Vec<(u64, u64)> = buckets
            .iter()
            .copied()
            .filter(|(_, count)| *count > 0)
            .collect();
        let count: u64 = buckets.iter().map(|(_, count)| count).sum();
        let (min, max) = (buckets.first()?.0, buckets.last()?.0);
        let total: f64 = buckets
            .iter()
            .map(|(value, count)| *value as f64 * *count as f64)
            .sum();
        let quantile = |share: f64| {
            let rank = (share * count as f64).ceil() as u64;
            let mut below = 0;
            let bucket = buckets.iter().find(|(_, count)| {
                below += count;
                below >= rank
            });
            bucket.map_or(max, |(value, _)| *value)
        };
        Some(Self {
            count,
            min,
            mean: total / count as f64,
            p50: quantile(0.5),
            p90: quantile(0.9),
            p99: quantile(0.99),
            p999: quantile(0.999),
            max,
            open_above: None,
            buckets,
        })
    }

    /// The same of a histogram whose last bucket is open: `bounds` are the finite upper ends, with what is in each, and `above` lie
    /// beyond the last of them.
    pub fn from_open_buckets(bounds: &[(u64, u64)], above: u64) -> Option<Self> {
        let last = bounds.last()?.0;
        let mut buckets = bounds.to_vec();
        buckets.push((last.saturating_add(1), above));
        let distribution = Self::from_buckets(&buckets)?;
        Some(Self {
            open_above: Some(last),
            ..distribution
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: Packets = Packets {
        published: 100,
        expected: 10_000,
        delivered: 9_995,
        duplicates: 3,
        checked: 200,
        unauthentic: 0,
        wrong: 0,
        retransmitted: 1,
        left_out: 0,
        generator_drops: 0,
        unsent: 0,
        unannounced: 0,
        subscribers: 0,
        looked_into: 0,
    };

    fn reason(packets: Packets) -> String {
        match packets.verdict() {
            Verdict::Result => "a result".to_owned(),
            Verdict::NoResult { because } => because,
        }
    }

    #[test]
    fn only_right_and_nearly_complete_forwarding_is_a_result() {
        assert_eq!(GOOD.verdict(), Verdict::Result);
        let wrong = Packets { wrong: 1, ..GOOD };
        assert_eq!(reason(wrong), "1 of 200 checked payloads were wrong");
        let forged = Packets {
            unauthentic: 2,
            ..GOOD
        };
        assert_eq!(
            reason(forged),
            "2 of 200 checked packets were not authentic"
        );
        let lossy = Packets {
            delivered: 9_980,
            ..GOOD
        };
        assert_eq!(reason(lossy), "0.20 % of the packets were lost");
        let late = Packets {
            delivered: 20_000,
            ..GOOD
        };
        assert!(reason(late).ends_with("10000 were due: a backlog"));
        let unchecked = Packets { checked: 0, ..GOOD };
        assert_eq!(reason(unchecked), "no payload was checked");
        assert_eq!(reason(Packets::default()), "nothing was published");
        let silent = Packets {
            delivered: 0,
            ..GOOD
        };
        assert_eq!(reason(silent), "nothing was delivered");
    }

    #[test]
    fn a_flood_has_its_rate_and_leaves_nothing_behind() {
        let flood = Strangers {
            asked: 1_000.0,
            sent: 960.0,
            state_before: Some(7),
            state_after: Some(7),
            resident_before: Some(10 << 20),
            resident_after: Some(11 << 20),
        };
        assert_eq!(flood.objection(), None);
        let weak = Strangers {
            sent: 940.0,
            ..flood
        };
        assert!(weak.objection().is_some_and(|why| why.contains("too slow")));
        let leaky = Strangers {
            state_after: Some(8),
            ..flood
        };
        assert!(leaky.objection().is_some_and(|why| why.contains("state")));
        let fat = Strangers {
            resident_after: Some((11 << 20) + 4096),
            ..flood
        };
        let why = fat.objection().expect("more than a mebibyte is too much");
        assert!(why.contains("1028 KiB"), "{why}");
    }

    #[test]
    fn changes_that_fall_short_are_another_load() {
        let asked = 20.0;
        let good = Churn {
            asked,
            achieved: 18.5,
        };
        assert_eq!(good.objection(), None);
        let slow = Churn {
            asked,
            achieved: 12.25,
        };
        assert_eq!(
            slow.objection().as_deref(),
            Some("12.2 of 20.0 viewers a second were replaced")
        );
    }

    #[test]
    fn a_little_that_the_generator_dropped_was_forwarded() {
        let packets = Packets {
            delivered: 9_000,
            generator_drops: 100,
            ..GOOD
        };
        assert_eq!(packets.forwarded_share(), Some(0.91));
        assert_eq!(GOOD.forwarded_share(), Some(0.9995));
        assert!(reason(packets).contains("its queues dropped 100"));
        assert!(packets.is_right_but_for_loss());
        let overloaded = Packets {
            generator_drops: 101,
            ..packets
        };
        assert_eq!(overloaded.forwarded_share(), None);
        assert!(!overloaded.is_right_but_for_loss());
    }

    #[test]
    fn what_nobody_announced_or_could_not_be_sent_is_no_result() {
        let stray = Packets {
            unannounced: 1,
            ..GOOD
        };
        assert!(reason(stray).contains("nobody announced"));
        let published = 10_000;
        let trifle = Packets {
            published,
            unsent: 10,
            ..GOOD
        };
        assert_eq!(trifle.verdict(), Verdict::Result);
        let unsent = Packets {
            unsent: 11,
            ..trifle
        };
        assert!(reason(unsent).contains("could not send 11"));
        for packets in [stray, unsent] {
            assert!(!packets.is_right_but_for_loss());
        }
        let backlog = Packets {
            delivered: 11_000,
            ..GOOD
        };
        assert!(!backlog.is_right_but_for_loss());
    }

    #[test]
    fn nine_in_ten_subscribers_must_have_been_looked_into() {
        let most = Packets {
            subscribers: 100,
            looked_into: 90,
            ..GOOD
        };
        assert_eq!(most.verdict(), Verdict::Result);
        assert!(most.unchecked_subscribers().is_some());
        let few = Packets {
            looked_into: 89,
            ..most
        };
        assert!(reason(few).starts_with("of 11 of 100 subscribers no packet"));
        let all = Packets {
            looked_into: 100,
            ..most
        };
        assert_eq!(all.unchecked_subscribers(), None);
    }

    #[test]
    fn costs_are_per_delivered_packet_and_of_results_only() {
        let plan = crate::plan::tests::example();
        let mut outcome =
            Outcome::impossible("ringcast", exit::Kind::Loopback, &plan, "no".to_owned());
        outcome.packets = GOOD;
        outcome.measured = Duration::from_secs(2);
        outcome.processor.subject = Duration::from_micros(9_995);
        outcome.processor.generator = Duration::from_micros(9_995 * 3);
        outcome.processor.machine = Duration::from_micros(9_995 * 5);
        assert_eq!(outcome.cost(), None);
        outcome.verdict = Verdict::Result;
        assert_eq!(outcome.cost(), Some(1_000.0));
        assert_eq!(outcome.cost_in_bare_sends(), None);
        outcome.bare_send = Some(2_000.0);
        assert_eq!(outcome.cost_in_bare_sends(), Some(0.5));
        assert_eq!(outcome.machine_cost(), Some(2_000.0));
        assert!((outcome.generator_share() - 0.75).abs() < 1e-9);
        assert!((outcome.rate() - 4_997.5).abs() < 1e-9);
        let text = serde_json::to_string(&outcome).expect("plain data");
        let again: Outcome = serde_json::from_str(&text).expect("what was written");
        assert_eq!(again, outcome);
    }

    #[test]
    fn distributions_of_histograms_and_of_buckets_agree() {
        let mut histogram = Histogram::<u64>::new(3).expect("3 digits are possible");
        for value in 1..=100 {
            histogram.record(value).expect("it grows");
        }
        let whole = Distribution::of(&histogram).expect("it has values");
        assert_eq!((whole.p50, whole.p90, whole.p99), (50, 90, 99));
        let again = Distribution::from_buckets(&whole.buckets).expect("it has values");
        assert_eq!(again, whole);
        assert_eq!(Distribution::from_buckets(&[(5, 0)]), None);
        let open = Distribution::from_open_buckets(&[(50, 98), (100, 0)], 2);
        let open = open.expect("it has values");
        assert_eq!((open.p50, open.p99, open.open_above), (50, 101, Some(100)));
    }

    #[test]
    fn memory_per_transport_is_a_slope() {
        let memory = Memory {
            resident: 5_000_000,
            slab_growth: 1_000_000,
            resident_before: 4_000_000,
            transports: 200,
        };
        assert_eq!(memory.per_transport(), Some(10_000.0));
        let many = Memory {
            resident: 9_000_000,
            transports: 1_200,
            ..memory
        };
        assert_eq!(many.slope_from(&memory), Some(4_000.0));
        assert_eq!(memory.slope_from(&memory), None);
    }
}
