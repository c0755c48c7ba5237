//! From a few words on the command line to plans: the loads that media nodes meet.

mod gate;
mod media;
mod ramp;
mod shapes;

use core::time::Duration;

use clap::{Args, Subcommand, ValueEnum};

pub use gate::{Gate, GateLoad};
pub use media::{MediaArguments, MediaKind};
pub use ramp::{Growth, Judgement, Ramp};
pub use shapes::{Audio, Churn, Fanout, Mesh, Webinar};

use crate::compare::{Contest, Entrants};
use crate::exit;
use crate::plan::{Plan, Session, Stream, Suite};

/// Of so many subscribers no packet need be checked; half of what a result may leave out.
const UNCHECKED: f64 = 0.05;

/// What every scenario lets be said.
#[derive(Clone, Debug, PartialEq, Args)]
pub struct Common {
    /// Where the packets go: `loopback` charges receivers' kernel work to the sender; `drop` needs root.
    #[arg(long, value_enum, default_value_t = ExitChoice::Loopback, global = true)]
    pub exit: ExitChoice,
    /// What the peers offer for SRTP. With several the load is run with each of them, in turn. aes256 unless said otherwise, and
    /// with `gate` aes256,aes128 for drop1, drop4 and drop8.
    #[arg(
        long,
        value_enum,
        value_delimiter = ',',
        value_name = "SUITES",
        global = true
    )]
    pub suite: Vec<SuiteChoice>,
    /// How long is measured.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = humantime::parse_duration, global = true)]
    pub duration: Duration,
    /// Time between the last join and the measurement.
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = humantime::parse_duration, global = true)]
    pub warm_up: Duration,
    /// Packets per second that strangers send at the forwarder meanwhile.
    #[arg(long, value_name = "PACKETS/S", default_value_t = 0, global = true)]
    pub strangers: u32,
    /// How many of the sends of media pass the exit that drops and are checked; passing costs the forwarder something. Unless said
    /// otherwise 1, or as many as give 95 % of the subscribers a checked packet.
    #[arg(long, value_name = "PERCENT", value_parser = parse_percent, global = true)]
    pub pass: Option<f64>,
    /// Everything random is drawn from it.
    #[arg(long, default_value_t = 1, global = true)]
    pub seed: u64,
}

/// [`exit::Kind`] on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ExitChoice {
    /// Into bound sockets on the same machine.
    Loopback,
    /// Down to a virtual device that drops nearly all RTP packets.
    Drop,
}

/// [`Suite`] on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SuiteChoice {
    /// AEAD_AES_256_GCM: what browsers get.
    Aes256,
    /// AEAD_AES_128_GCM.
    Aes128,
    /// AES128_CM_HMAC_SHA1_80.
    Cm80,
}

/// A load by name.
#[derive(Clone, Debug, PartialEq, Subcommand)]
pub enum Scenario {
    /// Few publishers, each watched by everybody: 1 → N.
    Fanout(Fanout),
    /// Sessions of people who all see and hear each other.
    Mesh(Mesh),
    /// Few publishers and many viewers, who join in a storm.
    Webinar(Webinar),
    /// Many small packets: speakers and listeners.
    Audio(Audio),
    /// Viewers who leave and are replaced, all the time.
    Churn(Churn),
    /// The loads by which the engine is judged.
    Gate(Gate),
}

/// A plan and where its packets go.
#[derive(Clone, Debug, PartialEq)]
pub struct Load {
    /// What happens.
    pub plan: Plan,
    /// Where to.
    pub exit: exit::Kind,
}

impl Scenario {
    /// The scenario's loads; all but `gate` have one for each suite.
    pub fn loads(&self, common: &Common) -> Vec<Load> {
        if let Self::Gate(gate) = self {
            return gate.loads(common);
        }
        let load = |common: Common| common.load(self.plan(&common));
        common
            .each_suite(&[SuiteChoice::Aes256])
            .map(load)
            .collect()
    }

    /// What is to be compared under this scenario. The contests of an inner list are run in turn, round by round.
    pub fn contests(&self, common: &Common, entrants: &Entrants) -> Vec<Vec<Contest>> {
        if let Self::Gate(gate) = self {
            return gate.contests(common, entrants);
        }
        let loads = self.loads(common);
        vec![loads.iter().map(|load| entrants.under(load)).collect()]
    }

    fn plan(&self, common: &Common) -> Plan {
        match self {
            Self::Fanout(fanout) => fanout.plan(common),
            Self::Mesh(mesh) => mesh.plan(common),
            Self::Webinar(webinar) => webinar.plan(common),
            Self::Audio(audio) => audio.plan(common),
            Self::Churn(churn) => churn.plan(common),
            // The callers have taken that way already; an empty plan would be a lie.
            Self::Gate(gate) => gate.loads(common).swap_remove(0).plan,
        }
    }
}

impl Common {
    /// A plan of `sessions` in which nothing special happens.
    fn plan(&self, name: String, sessions: Vec<Session>) -> Plan {
        let pass_share = match self.pass {
            Some(percent) => percent / 100.0,
            None => enough_to_check(&sessions, self.duration).max(exit::PASS_SHARE),
        };
        Plan {
            name,
            sessions,
            suite: self.first_suite().into(),
            joins_per_second: None,
            churn_per_second: 0.0,
            strangers_per_second: self.strangers,
            silent_joins: false,
            pass_share,
            warm_up: self.warm_up,
            measure: self.duration,
            seed: self.seed,
        }
    }

    fn first_suite(&self) -> SuiteChoice {
        self.suite.first().copied().unwrap_or(SuiteChoice::Aes256)
    }

    /// The same with one suite each: those that were asked for, or else `default`.
    fn each_suite(&self, default: &[SuiteChoice]) -> impl Iterator<Item = Self> {
        let suites = match self.suite.as_slice() {
            [] => default.to_vec(),
            asked => asked.to_vec(),
        };
        suites.into_iter().map(|suite| Self {
            suite: vec![suite],
            ..self.clone()
        })
    }

    fn load(&self, plan: Plan) -> Load {
        Load {
            plan,
            exit: self.exit.into(),
        }
    }
}

/// The share of sends that gives nearly everybody one of them. The packets of a frame may leave in one send, which passes as a whole
/// or not at all.
fn enough_to_check(sessions: &[Session], duration: Duration) -> f64 {
    let streams = sessions.iter().flat_map(|session| &session.streams);
    let rates = streams.map(Stream::frames_per_second);
    let rarest = rates.fold(f64::INFINITY, f64::min);
    1.0 - UNCHECKED.powf(1.0 / (rarest * duration.as_secs_f64()).max(1.0))
}

/// More than nothing, and at most everything.
fn parse_percent(text: &str) -> Result<f64, String> {
    let percent = text.parse().ok();
    percent
        .filter(|percent| *percent > 0.0 && *percent <= 100.0)
        .ok_or_else(|| format!("{text} is no number above 0 and up to 100"))
}

impl From<ExitChoice> for exit::Kind {
    fn from(choice: ExitChoice) -> Self {
        match choice {
            ExitChoice::Loopback => Self::Loopback,
            ExitChoice::Drop => Self::Drop,
        }
    }
}

impl From<SuiteChoice> for Suite {
    fn from(choice: SuiteChoice) -> Self {
        match choice {
            SuiteChoice::Aes256 => Self::Aes256Gcm,
            SuiteChoice::Aes128 => Self::Aes128Gcm,
            SuiteChoice::Cm80 => Self::AesCm80,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::plan::{Medium, Packets, Sizes, Synthetic};
    use crate::stream::Player;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        common: Common,
        #[command(subcommand)]
        scenario: Scenario,
    }

    pub(crate) fn parse(words: &str) -> (Common, Scenario) {
        let words = ["bench"].into_iter().chain(words.split_whitespace());
        let line = Line::try_parse_from(words).expect("a sane line");
        (line.common, line.scenario)
    }

    fn only_plan(words: &str) -> Plan {
        let (common, scenario) = parse(words);
        let mut loads = scenario.loads(&common);
        assert_eq!(loads.len(), 1);
        loads.remove(0).plan
    }

    fn video(plan: &Plan) -> &Synthetic {
        match &plan.sessions[0].streams[0].video {
            Some(Medium::Synthetic(synthetic)) => synthetic,
            other => panic!("no made-up video: {other:?}"),
        }
    }

    #[test]
    fn every_scenario_can_be_played_with_its_defaults() {
        for words in ["fanout", "mesh", "webinar", "audio", "churn", "gate"] {
            let (common, scenario) = parse(words);
            for load in scenario.loads(&common) {
                let plan = load.plan;
                assert!(!plan.name.is_empty() && !plan.sessions.is_empty());
                let streams = plan.sessions.iter().flat_map(|session| &session.streams);
                for medium in streams.flat_map(|stream| stream.video.iter().chain(&stream.audio)) {
                    Player::new(medium, 1).expect(words);
                }
            }
        }
    }

    #[test]
    fn a_bitrate_becomes_packets_of_a_frame() {
        let plan = only_plan("fanout --viewers 7 --bitrate 2.4M --fps 25 --packet-bytes 1200");
        assert_eq!(plan.sessions[0].viewers, 7);
        let video = video(&plan);
        assert_eq!(video.packets_per_frame, Packets::AroundMean(10.0));
        assert_eq!(video.packet_bytes, Sizes::EqualParts { max: 1_200 });
        assert_eq!(plan.sessions[0].streams[0].audio, None);
    }

    #[test]
    fn bursts_are_exact() {
        let plan = only_plan("fanout --burst 8 --fps 30 --exit drop --suite aes128 --duration 3s");
        assert_eq!(video(&plan).packets_per_frame, Packets::Fixed(8));
        assert_eq!(video(&plan).packet_bytes, Sizes::Fixed(1_200));
        assert_eq!(plan.suite, Suite::Aes128Gcm);
        assert_eq!(plan.measure, Duration::from_secs(3));
    }

    #[test]
    fn several_suites_are_several_loads_in_turn() {
        let (common, scenario) = parse("fanout --suite aes256,cm80");
        let suites =
            |loads: Vec<Load>| -> Vec<Suite> { loads.iter().map(|load| load.plan.suite).collect() };
        let both = [Suite::Aes256Gcm, Suite::AesCm80];
        assert_eq!(suites(scenario.loads(&common)), both);
        let names = vec!["a".to_owned(), "b".to_owned(), "c".to_owned()];
        let entrants = Entrants::new(names, None).expect("three");
        let contests = scenario.contests(&common, &entrants);
        let [contests] = contests.as_slice() else {
            panic!("they take turns");
        };
        let of = |contest: &Contest| contest.sides.iter().map(|side| side.plan.suite).collect();
        let found: Vec<Vec<Suite>> = contests.iter().map(of).collect();
        assert_eq!(found, [[Suite::Aes256Gcm; 3], [Suite::AesCm80; 3]]);
    }

    #[test]
    fn people_of_a_mesh_watch_each_other() {
        let plan = only_plan("mesh --sessions 3 --people 4");
        assert_eq!(plan.sessions.len(), 3);
        let session = &plan.sessions[0];
        assert_eq!((session.streams.len(), session.viewers), (4, 0));
        assert!(session.publishers_watch);
        assert!(session.streams[0].video.is_some() && session.streams[0].audio.is_some());
    }

    #[test]
    fn storms_and_churn_have_their_rates() {
        assert_eq!(only_plan("webinar --joins 50").joins_per_second, Some(50.0));
        assert_eq!(only_plan("churn --changes 7").churn_per_second, 7.0);
        assert_eq!(only_plan("fanout --strangers 9").strangers_per_second, 9);
    }

    #[test]
    fn so_much_passes_that_nearly_everybody_has_a_checked_packet() {
        let share = |words| only_plan(words).pass_share;
        assert_eq!(share("fanout --pass 2.5"), 0.025);
        assert_eq!(share("fanout --fps 30"), exit::PASS_SHARE, "300 sends");
        let found = share("fanout --fps 30 --duration 3s");
        assert!((found - 0.0327).abs() < 0.0005, "90 sends: {found}");
        // Sound has 50 sends a second more.
        assert!(share("mesh --duration 3s") < found);
        assert!(share("fanout --fps 1 --duration 1s") <= 1.0);
    }

    #[test]
    fn nonsense_is_refused() {
        for words in [
            "fanout --bitrate fast",
            "fanout --burst 3 --bitrate 1M",
            "fanout --pass 0",
            "fanout --pass 101",
            "dance",
        ] {
            let words = ["bench"].into_iter().chain(words.split_whitespace());
            assert!(Line::try_parse_from(words).is_err());
        }
    }
}
