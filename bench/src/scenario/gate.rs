//! The loads by which the engine is judged, with what is asked of it.

use core::time::Duration;

use clap::{Args, ValueEnum};

use super::media::sound;
use super::{Common, Load};
use crate::compare::{Metric, Pairing, Side};
use crate::exit;
use crate::plan::{Codec, Medium, Packets, Plan, Session, Sizes, Stream, Synthetic};

/// The subject against which ratios are asked for, in the words of the command line.
const CONVENTIONAL: &str = "conventional";
/// A stranger's flood.
const STRANGERS_PER_SECOND: u32 = 100_000;

/// Nanoseconds that half of the packets may wait within the node.
const INSIDE_MAX: f64 = 60_000.0;
/// Bytes that a transport may take.
const TRANSPORT_MAX: f64 = 16_384.0;

/// The loads by which the engine is judged.
#[derive(Clone, Debug, PartialEq, Args)]
pub struct Gate {
    /// Only these; all without it.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "LOADS")]
    pub only: Vec<GateLoad>,
}

/// One of these loads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum GateLoad {
    /// Egress drop, 2080 packets a second of 1200 bytes, one at a time, 1 → 100.
    Drop1,
    /// Egress drop, the same in bursts of 4.
    Drop4,
    /// Egress drop, the same in bursts of 8.
    Drop8,
    /// Egress drop, bursts of 4, half as many a second: what waking up costs as well. No target.
    Drop4Idle,
    /// Loopback, 8 packets back to back 30 times a second → 100.
    Bursts,
    /// Loopback, 260 packets a second, evenly paced → 100.
    Paced,
    /// Loopback, 1040 packets a second in frames as from a browser → 50.
    Frames,
    /// Loopback, audio: 50 packets a second of 120 bytes → 300.
    Audio,
    /// Egress drop, 1 → 5000 against 1 → 100 with as many packets a second in all, per packet.
    Scale,
    /// Loopback, 1500 packets a second, evenly paced → 100, about half of what a core carries: latency.
    Latency,
    /// Loopback, 1 → 1100 against 1 → 100: memory for each transport more.
    Memory,
    /// Loopback, 1 → 100 with 100 000 strangers' packets a second against without.
    Strangers,
}

impl Gate {
    fn chosen(&self) -> Vec<GateLoad> {
        if self.only.is_empty() {
            return GateLoad::value_variants().to_vec();
        }
        self.only.clone()
    }

    /// The chosen loads, each once. Exits are theirs, whatever `common` says.
    pub fn loads(&self, common: &Common) -> Vec<Load> {
        self.chosen()
            .into_iter()
            .map(|load| load.load(common))
            .collect()
    }

    /// What is compared: `left` with `right`, except where `left` is compared with itself under another load.
    pub fn pairings(&self, common: &Common, left: &str, right: &str) -> Vec<Pairing> {
        let pairing = |choice: GateLoad| {
            let load = choice.load(common);
            let name = load.plan.name.clone();
            let (other, metric) = match choice {
                GateLoad::Scale => (Side::new(left, &few(common)), Metric::Cost),
                GateLoad::Strangers => (Side::new(left, &strangers(common, 0)), Metric::Delivered),
                GateLoad::Memory => (Side::new(left, &memory(common, 100)), Metric::Memory),
                GateLoad::Latency => (Side::new(right, &load), Metric::Inside),
                _ => (Side::new(right, &load), Metric::Cost),
            };
            // Ratios are asked for against the conventional forwarder; who is compared with another has no such target.
            let is_reference = right == CONVENTIONAL;
            let also = match choice {
                GateLoad::Latency => vec![(Metric::Latency, is_reference.then_some(1.0))],
                _ => Vec::new(),
            };
            let is_own = matches!(
                choice,
                GateLoad::Scale | GateLoad::Strangers | GateLoad::Memory | GateLoad::Latency
            );
            let target = choice.target().filter(|_| is_own || is_reference);
            Pairing {
                name,
                left: Side::new(left, &load),
                right: other,
                metric,
                target,
                also,
            }
        };
        self.chosen().into_iter().map(pairing).collect()
    }
}

impl GateLoad {
    fn load(self, common: &Common) -> Load {
        match self {
            // What a core carries is asked of a busy core: at half the rate both sides mostly pay for waking up.
            Self::Drop1 => bursts(common, exit::Kind::Drop, 1, 2_080.0, 100),
            Self::Drop4 => bursts(common, exit::Kind::Drop, 4, 520.0, 100),
            Self::Drop8 => bursts(common, exit::Kind::Drop, 8, 260.0, 100),
            Self::Drop4Idle => bursts(common, exit::Kind::Drop, 4, 260.0, 100),
            Self::Bursts => bursts(common, exit::Kind::Loopback, 8, 30.0, 100),
            Self::Paced => bursts(common, exit::Kind::Loopback, 1, 260.0, 100),
            Self::Frames => frames(common),
            Self::Audio => audio(common),
            Self::Scale => many(common),
            Self::Latency => bursts(common, exit::Kind::Loopback, 1, 1_500.0, 100),
            Self::Memory => memory(common, 1_100),
            Self::Strangers => strangers(common, STRANGERS_PER_SECOND),
        }
    }

    /// What is asked for: the ratio to the other side, of costs at most, of delivered packets at least; of latency nanoseconds and
    /// of memory bytes. None where a row is there to be read.
    fn target(self) -> Option<f64> {
        Some(match self {
            Self::Drop1 => 0.75,
            Self::Drop4 | Self::Frames => 0.35,
            Self::Drop8 => 0.25,
            Self::Drop4Idle => return None,
            Self::Bursts => 0.50,
            Self::Paced | Self::Audio => 0.80,
            Self::Scale => 1.25,
            Self::Latency => INSIDE_MAX,
            Self::Memory => TRANSPORT_MAX,
            Self::Strangers => 0.90,
        })
    }
}

/// Packets of 1200 bytes in bursts of the same size.
fn bursts(common: &Common, exit: exit::Kind, packets: u32, rate: f64, viewers: usize) -> Load {
    let name = match packets {
        1 => format!("{exit}, {rate} packets/s evenly paced, 1 → {viewers}"),
        _ => format!("{exit}, bursts of {packets}, {rate}/s, 1 → {viewers}"),
    };
    let medium = Medium::Synthetic(Synthetic {
        codec: Codec::Vp8,
        frames_per_second: rate,
        packets_per_frame: Packets::Fixed(packets),
        packet_bytes: Sizes::Fixed(1_200),
        spacing: Duration::ZERO,
        key_frame_every: None,
    });
    one_to_many(common, exit, name, video(medium), viewers)
}

fn frames(common: &Common) -> Load {
    let medium = Medium::Synthetic(Synthetic {
        codec: Codec::Vp8,
        frames_per_second: 30.0,
        packets_per_frame: Packets::AroundMean(1_040.0 / 30.0),
        packet_bytes: Sizes::EqualParts { max: 1_200 },
        spacing: Duration::ZERO,
        key_frame_every: None,
    });
    let name = "loopback, 1040 packets/s in frames, 1 → 50".to_owned();
    one_to_many(common, exit::Kind::Loopback, name, video(medium), 50)
}

fn audio(common: &Common) -> Load {
    let stream = Stream {
        video: None,
        audio: Some(sound(50.0, 120)),
    };
    let name = "loopback, audio 50 packets/s × 120 B, 1 → 300".to_owned();
    one_to_many(common, exit::Kind::Loopback, name, stream, 300)
}

/// 400 000 packets a second to many, as much as one core can do.
fn many(common: &Common) -> Load {
    bursts(common, exit::Kind::Drop, 8, 10.0, 5_000)
}

/// The same packets a second to few, so that waking up costs each packet the same.
fn few(common: &Common) -> Load {
    bursts(common, exit::Kind::Drop, 8, 500.0, 100)
}

/// Pictures and sound, as little of both as shows that they arrive.
fn memory(common: &Common, viewers: usize) -> Load {
    let pictures = Medium::Synthetic(Synthetic {
        codec: Codec::Vp8,
        frames_per_second: 5.0,
        packets_per_frame: Packets::Fixed(2),
        packet_bytes: Sizes::Fixed(1_200),
        spacing: Duration::ZERO,
        key_frame_every: None,
    });
    let stream = Stream {
        video: Some(pictures),
        audio: Some(sound(10.0, 120)),
    };
    let name = format!("loopback, few packets, 1 → {viewers}");
    one_to_many(common, exit::Kind::Loopback, name, stream, viewers)
}

fn strangers(common: &Common, per_second: u32) -> Load {
    let mut load = bursts(common, exit::Kind::Loopback, 8, 30.0, 100);
    load.plan.strangers_per_second = per_second;
    if per_second > 0 {
        load.plan.name = format!("{}, {per_second} strangers' packets/s", load.plan.name);
    }
    load
}

fn video(medium: Medium) -> Stream {
    Stream {
        video: Some(medium),
        audio: None,
    }
}

fn one_to_many(
    common: &Common,
    exit: exit::Kind,
    name: String,
    stream: Stream,
    viewers: usize,
) -> Load {
    let session = Session {
        streams: vec![stream],
        viewers,
        publishers_watch: false,
    };
    let plan: Plan = common.plan(name, vec![session]);
    Load { plan, exit }
}

#[cfg(test)]
mod tests {
    use super::super::tests::parse;
    use super::*;

    fn pairings(words: &str) -> Vec<Pairing> {
        let (common, scenario) = parse(words);
        scenario.pairings(&common, "ringcast", "conventional")
    }

    #[test]
    fn every_load_has_a_name_of_its_own_and_all_but_one_a_target() {
        let pairings = pairings("gate");
        assert_eq!(pairings.len(), 12);
        let untold = pairings.iter().filter(|pairing| pairing.target.is_none());
        assert_eq!(untold.count(), 1);
        for (index, pairing) in pairings.iter().enumerate() {
            let same = |other: &Pairing| other.name == pairing.name;
            assert_eq!(pairings.iter().position(same), Some(index));
        }
    }

    #[test]
    fn ratios_are_asked_for_against_the_conventional_forwarder_only() {
        let (common, scenario) = parse("gate");
        let pairings = scenario.pairings(&common, "ringcast", "ringcast+driver=mmsg");
        let asked: Vec<_> = pairings
            .iter()
            .filter(|pairing| pairing.target.is_some())
            .map(|pairing| pairing.metric)
            .collect();
        assert_eq!(
            asked,
            [
                Metric::Cost,
                Metric::Inside,
                Metric::Memory,
                Metric::Delivered
            ],
            "scale, latency, memory, strangers"
        );
        assert!(
            pairings
                .iter()
                .flat_map(|pairing| &pairing.also)
                .all(|(_, target)| target.is_none())
        );
        let reference = self::pairings("gate --only latency").remove(0);
        assert_eq!(reference.also, [(Metric::Latency, Some(1.0))]);
    }

    #[test]
    fn scale_and_strangers_are_compared_with_oneself() {
        let pairings = pairings("gate --only scale,strangers");
        assert!(
            pairings
                .iter()
                .all(|pairing| pairing.right.subject == "ringcast")
        );
        let viewers = |side: &Side| side.plan.sessions[0].viewers;
        assert_eq!(viewers(&pairings[0].left), 5_000);
        assert_eq!(viewers(&pairings[0].right), 100);
        let per_second = |side: &Side| {
            let Some(Medium::Synthetic(video)) = &side.plan.sessions[0].streams[0].video else {
                panic!("no video");
            };
            video.frames_per_second * viewers(side) as f64
        };
        let (many, few) = (&pairings[0].left, &pairings[0].right);
        assert_eq!(per_second(many), per_second(few), "equal work");
        assert_eq!(pairings[1].left.plan.strangers_per_second, 100_000);
        assert_eq!(pairings[1].right.plan.strangers_per_second, 0);
        assert_eq!(pairings[1].metric, Metric::Delivered);
        let memory = self::pairings("gate --only memory").remove(0);
        assert_eq!(
            (viewers(&memory.left), viewers(&memory.right)),
            (1_100, 100)
        );
        assert_eq!(
            (memory.right.subject.as_str(), memory.metric),
            ("ringcast", Metric::Memory)
        );
    }

    #[test]
    fn drop_loads_send_as_many_packets_a_second_each() {
        for pairing in pairings("gate --only drop1,drop4,drop8,drop4-idle") {
            let packets_per_second = if pairing.target.is_some() {
                2_080.0
            } else {
                1_040.0
            };
            assert_eq!(pairing.left.exit, exit::Kind::Drop);
            let Some(Medium::Synthetic(video)) = &pairing.left.plan.sessions[0].streams[0].video
            else {
                panic!("no video");
            };
            let Packets::Fixed(packets) = video.packets_per_frame else {
                panic!("not exact");
            };
            assert_eq!(
                video.frames_per_second * f64::from(packets),
                packets_per_second
            );
        }
    }
}
