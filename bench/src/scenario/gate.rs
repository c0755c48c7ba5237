//! The loads by which the engine is judged, with what is asked of it.

use core::time::Duration;

use clap::{Args, ValueEnum};

use super::media::sound;
use super::shapes::Mesh;
use super::{Common, ExitChoice, Load, MediaArguments, SuiteChoice};
use crate::compare::{CONVENTIONAL, Contest, Entrants, Metric, Side};
use crate::exit;
use crate::plan::{Codec, Medium, Packets, Plan, Session, Sizes, Stream, Synthetic};

/// A stranger's flood.
const STRANGERS_PER_SECOND: u32 = 100_000;
/// Calls of four: 40 of them have 480 streams and 56 000 packets a second, which two cores can both make and carry.
const MESH_SESSIONS: usize = 40;
const MESH_PEOPLE: usize = 4;

/// Frames a second to 5000.
const SCALE_RATE: f64 = 10.0;

/// Nanoseconds that half of the packets may wait within the node.
const INSIDE_MAX: f64 = 60_000.0;
/// Bytes that a transport may take.
const TRANSPORT_MAX: f64 = 16_384.0;

/// The loads by which the engine is judged. drop1, drop4 and drop8 are run with AES-256-GCM and AES-128-GCM, in turn, all others
/// with AES-256-GCM; with --suite each is run with each suite named.
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
    /// Egress drop, 40 calls of four, each with pictures of 500 kbit/s and sound: many publishers. No target.
    Mesh,
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

    /// The chosen loads, each once with each of its suites. Exits are theirs, whatever `common` says.
    pub fn loads(&self, common: &Common) -> Vec<Load> {
        let load = |choice: GateLoad| {
            let each = common.each_suite(choice.suites());
            each.map(move |common| choice.load(&common))
        };
        self.chosen().into_iter().flat_map(load).collect()
    }

    /// What is compared: all entrants, except where each but the reference is compared with himself under another load. The suites
    /// of a load take turns.
    pub fn contests(&self, common: &Common, entrants: &Entrants) -> Vec<Vec<Contest>> {
        let contests = |choice: GateLoad| {
            let each = common.each_suite(choice.suites());
            each.flat_map(|common| choice.contests(&common, entrants))
                .collect()
        };
        self.chosen().into_iter().map(contests).collect()
    }
}

impl GateLoad {
    /// With which it is run unless others are asked for: the primary loads with both that matter.
    const fn suites(self) -> &'static [SuiteChoice] {
        match self {
            Self::Drop1 | Self::Drop4 | Self::Drop8 => &[SuiteChoice::Aes256, SuiteChoice::Aes128],
            _ => &[SuiteChoice::Aes256],
        }
    }

    fn contests(self, common: &Common, entrants: &Entrants) -> Vec<Contest> {
        let name = format!("{} {}", word(self), word(common.first_suite()));
        let load = self.load(common);
        if let Some((other, metric)) = self.other(common) {
            let own = |(place, subject)| Contest {
                name: name.clone(),
                sides: vec![Side::new(subject, &load), Side::new(subject, &other)],
                reference: 1,
                metric,
                target: self.target().filter(|_| place == 0),
                also: Vec::new(),
            };
            return entrants.others().enumerate().map(own).collect();
        }
        // Ratios are asked for against the conventional forwarder; who is compared with another has no such target.
        let is_reference = entrants.reference() == CONVENTIONAL;
        let is_latency = self == Self::Latency;
        vec![Contest {
            name,
            metric: if is_latency {
                Metric::Inside
            } else {
                Metric::Cost
            },
            target: self.target().filter(|_| is_latency || is_reference),
            also: match is_latency {
                true => vec![(Metric::Latency, is_reference.then_some(1.0))],
                false => Vec::new(),
            },
            ..entrants.under(&load)
        }]
    }

    /// Where a subject is compared with himself: under what else, and by which figure.
    fn other(self, common: &Common) -> Option<(Load, Metric)> {
        Some(match self {
            Self::Scale => (few(common), Metric::Cost),
            Self::Strangers => (strangers(common, 0), Metric::Delivered),
            Self::Memory => (memory(common, 100), Metric::Memory),
            _ => return None,
        })
    }

    fn load(self, common: &Common) -> Load {
        match self {
            // What a core carries is asked of a busy core: at half the rate both sides mostly pay for waking up.
            Self::Drop1 => bursts(common, exit::Kind::Drop, 1, 2_080.0, 100),
            Self::Drop4 => bursts(common, exit::Kind::Drop, 4, 520.0, 100),
            Self::Drop8 => bursts(common, exit::Kind::Drop, 8, 260.0, 100),
            Self::Drop4Idle => bursts(common, exit::Kind::Drop, 4, 260.0, 100),
            Self::Mesh => mesh(common),
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
            Self::Drop4Idle | Self::Mesh => return None,
            Self::Bursts => 0.50,
            Self::Paced | Self::Audio => 0.80,
            Self::Scale => 1.25,
            Self::Latency => INSIDE_MAX,
            Self::Memory => TRANSPORT_MAX,
            Self::Strangers => 0.90,
        })
    }
}

/// As it is said on the command line.
fn word(value: impl ValueEnum) -> String {
    let name = value.to_possible_value();
    name.map_or_else(String::new, |name| name.get_name().to_owned())
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
    let mut load = bursts(common, exit::Kind::Drop, 8, SCALE_RATE, 5_000);
    // Hundreds of thousands of packets a second while thousands join are another load, and not the one that is asked for.
    load.plan.silent_joins = true;
    load
}

/// The same packets a second to few, so that waking up costs each packet the same, and so does what passes the exit.
fn few(common: &Common) -> Load {
    let mut load = bursts(common, exit::Kind::Drop, 8, SCALE_RATE * 50.0, 100);
    load.plan.pass_share = many(common).plan.pass_share;
    load.plan.silent_joins = true;
    load
}

/// As `mesh` has it, at the exit that drops.
fn mesh(common: &Common) -> Load {
    let mesh = Mesh {
        sessions: MESH_SESSIONS,
        people: MESH_PEOPLE,
        media: MediaArguments::default(),
    };
    let common = Common {
        exit: ExitChoice::Drop,
        ..common.clone()
    };
    common.load(mesh.plan(&common))
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

    fn contests_of(words: &str, subjects: &[&str]) -> Vec<Vec<Contest>> {
        let (common, scenario) = parse(words);
        let names = subjects.iter().map(|name| (*name).to_owned()).collect();
        let entrants = Entrants::new(names, None).expect("a sane line");
        scenario.contests(&common, &entrants)
    }

    fn contests(words: &str) -> Vec<Contest> {
        contests_of(words, &["ringcast", "conventional"]).concat()
    }

    #[test]
    fn every_load_has_a_name_of_its_own_and_all_but_two_a_target() {
        let contests = contests("gate");
        assert_eq!(contests.len(), 13 + 3, "three of them with two suites");
        let untold = contests.iter().filter(|contest| contest.target.is_none());
        let untold: Vec<&str> = untold.map(|contest| contest.name.as_str()).collect();
        assert_eq!(untold, ["drop4-idle aes256", "mesh aes256"]);
        for (index, contest) in contests.iter().enumerate() {
            let same = |other: &Contest| other.name == contest.name;
            assert_eq!(contests.iter().position(same), Some(index));
        }
    }

    #[test]
    fn suites_of_a_load_take_turns() {
        let names = |words: &str| -> Vec<Vec<String>> {
            let all = contests_of(words, &["ringcast", "conventional"]).into_iter();
            all.map(|turns| turns.into_iter().map(|contest| contest.name).collect())
                .collect()
        };
        assert_eq!(
            names("gate --only drop1,paced"),
            [vec!["drop1 aes256", "drop1 aes128"], vec!["paced aes256"]],
            "the primary loads have both"
        );
        assert_eq!(
            names("gate --only drop8,audio --suite aes128,cm80"),
            [
                ["drop8 aes128", "drop8 cm80"],
                ["audio aes128", "audio cm80"]
            ]
        );
        let contests = contests("gate --only drop1");
        let suites: Vec<_> = contests[1]
            .sides
            .iter()
            .map(|side| side.plan.suite)
            .collect();
        assert_eq!(suites, [crate::plan::Suite::Aes128Gcm; 2]);
    }

    #[test]
    fn ratios_are_asked_for_against_the_conventional_forwarder_only() {
        let of_builds = contests_of("gate", &["ringcast", "ringcast+driver=mmsg"]).concat();
        let asked: Vec<_> = of_builds
            .iter()
            .filter(|contest| contest.target.is_some())
            .map(|contest| contest.metric)
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
            of_builds
                .iter()
                .flat_map(|contest| &contest.also)
                .all(|(_, target)| target.is_none())
        );
        let reference = contests("gate --only latency").remove(0);
        assert_eq!(reference.also, [(Metric::Latency, Some(1.0))]);
    }

    #[test]
    fn many_entrants_meet_under_each_load() {
        let all = contests_of("gate", &["ringcast", "conventional", "janus"]);
        let drop1 = &all[0][0];
        assert_eq!((drop1.sides.len(), drop1.reference), (3, 1));
        assert_eq!(drop1.target, Some(0.75));
        let memory = contests_of("gate --only memory", &["ringcast", "conventional", "janus"]);
        let own = |contest: &Contest| {
            assert!(contest.sides[0].subject == contest.sides[1].subject);
            (contest.sides[0].subject.clone(), contest.target)
        };
        let own: Vec<_> = memory.concat().iter().map(own).collect();
        let target = Some(TRANSPORT_MAX);
        assert_eq!(
            own,
            [("ringcast".to_owned(), target), ("janus".to_owned(), None)],
            "each but the reference with himself, the first judged"
        );
    }

    #[test]
    fn scale_and_strangers_are_compared_with_oneself() {
        let contests = contests("gate --only scale,strangers");
        let other = |contest: &Contest| contest.sides[1].clone();
        assert!({ contests.iter() }.all(|contest| other(contest).subject == "ringcast"));
        let viewers = |side: &Side| side.plan.sessions[0].viewers;
        let per_second = |side: &Side| {
            let Some(Medium::Synthetic(video)) = &side.plan.sessions[0].streams[0].video else {
                panic!("no video");
            };
            video.frames_per_second * viewers(side) as f64
        };
        let (many, few) = (&contests[0].sides[0], &contests[0].sides[1]);
        assert_eq!((viewers(many), viewers(few)), (5_000, 100));
        assert_eq!(per_second(many), per_second(few), "equal work");
        assert!(many.plan.silent_joins && few.plan.silent_joins);
        assert_eq!(
            many.plan.pass_share, few.plan.pass_share,
            "equally disturbed"
        );
        let strangers = |side: &Side| side.plan.strangers_per_second;
        let (with, without) = (&contests[1].sides[0], &contests[1].sides[1]);
        assert_eq!((strangers(with), strangers(without)), (100_000, 0));
        assert_eq!(contests[1].metric, Metric::Delivered);
        let memory = self::contests("gate --only memory").remove(0);
        let [many, few] = memory.sides.as_slice() else {
            panic!("two sides");
        };
        assert_eq!((viewers(many), viewers(few)), (1_100, 100));
        assert_eq!(few.subject, "ringcast");
        assert_eq!((memory.reference, memory.metric), (1, Metric::Memory));
    }

    #[test]
    fn of_nearly_everybody_among_many_a_packet_is_checked() {
        for (duration, expected) in [("10s", 0.0295), ("4s", 0.072), ("60s", 0.01)] {
            let words = format!("gate --only scale --duration {duration}");
            let share = contests(&words)[0].sides[0].plan.pass_share;
            assert!((share / expected - 1.0).abs() < 0.02, "{duration}: {share}");
        }
        let drop8 = &contests("gate --only drop8")[0];
        assert_eq!(drop8.sides[0].plan.pass_share, exit::PASS_SHARE);
    }

    #[test]
    fn calls_of_four_leave_by_the_exit_that_drops() {
        let mesh = contests("gate --only mesh").remove(0);
        let side = &mesh.sides[0];
        assert_eq!(side.exit, exit::Kind::Drop);
        assert_eq!(side.plan.streams_out(), 480);
        let stream = &side.plan.sessions[0].streams[0];
        assert!(stream.video.is_some() && stream.audio.is_some());
        let (common, scenario) = parse("mesh --sessions 40 --people 4 --exit drop");
        assert_eq!(scenario.loads(&common)[0].plan, side.plan);
    }

    #[test]
    fn drop_loads_send_as_many_packets_a_second_each() {
        for contest in contests("gate --only drop1,drop4,drop8,drop4-idle") {
            let packets_per_second = if contest.target.is_some() {
                2_080.0
            } else {
                1_040.0
            };
            let side = &contest.sides[0];
            assert_eq!(side.exit, exit::Kind::Drop);
            let Some(Medium::Synthetic(video)) = &side.plan.sessions[0].streams[0].video else {
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
