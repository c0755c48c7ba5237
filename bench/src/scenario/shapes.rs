//! The scenarios: who publishes and who watches.

use clap::Args;

use super::Common;
use super::media::{MediaArguments, MediaKind, plural, sound};
use crate::plan::{Plan, Session, Stream};

/// A good picture for many.
const FANOUT_BITRATE: f64 = 1_500_000.0;
/// A small picture of each of several people.
const MESH_BITRATE: f64 = 500_000.0;

/// Few publishers, each watched by everybody.
#[derive(Clone, Debug, PartialEq, Args)]
pub struct Fanout {
    /// People who publish and watch nobody.
    #[arg(long, default_value_t = 1)]
    pub publishers: usize,
    /// People who watch every publisher.
    #[arg(long, default_value_t = 100)]
    pub viewers: usize,
    /// What each publishes; pictures of 1.5 Mbit/s unless said otherwise.
    #[command(flatten)]
    pub media: MediaArguments,
}

impl Fanout {
    pub(super) fn plan(&self, common: &Common) -> Plan {
        let Self {
            publishers,
            viewers,
            media,
        } = self;
        let what = media.describe(MediaKind::Video, FANOUT_BITRATE);
        let session = watched(media, *publishers, *viewers);
        common.plan(
            format!("fanout {publishers} → {viewers}, {what}"),
            vec![session],
        )
    }
}

/// Sessions of people who all see and hear each other.
#[derive(Clone, Debug, PartialEq, Args)]
pub struct Mesh {
    /// Sessions.
    #[arg(long, default_value_t = 10)]
    pub sessions: usize,
    /// People in each.
    #[arg(long, default_value_t = 4)]
    pub people: usize,
    /// What each publishes; pictures of 500 kbit/s and sound unless said otherwise.
    #[command(flatten)]
    pub media: MediaArguments,
}

impl Mesh {
    pub(super) fn plan(&self, common: &Common) -> Plan {
        let Self {
            sessions, people, ..
        } = self;
        let what = self.media.describe(MediaKind::Both, MESH_BITRATE);
        let stream = self.media.stream(MediaKind::Both, MESH_BITRATE);
        let session = Session {
            streams: vec![stream; *people],
            viewers: 0,
            publishers_watch: true,
        };
        common.plan(
            format!("mesh {sessions} × {people} people, {what}"),
            vec![session; *sessions],
        )
    }
}

/// Few publishers and many viewers, who join in a storm.
#[derive(Clone, Debug, PartialEq, Args)]
pub struct Webinar {
    /// People who publish and see each other.
    #[arg(long, default_value_t = 3)]
    pub publishers: usize,
    /// People who only watch.
    #[arg(long, default_value_t = 300)]
    pub viewers: usize,
    /// Joins per second; 0: as fast as they are let in.
    #[arg(long, value_name = "JOINS/S", default_value_t = 0.0)]
    pub joins: f64,
    /// What each publishes; pictures of 1.5 Mbit/s and sound unless said otherwise.
    #[command(flatten)]
    pub media: MediaArguments,
}

impl Webinar {
    pub(super) fn plan(&self, common: &Common) -> Plan {
        let Self {
            publishers,
            viewers,
            joins,
            ..
        } = self;
        let what = self.media.describe(MediaKind::Both, FANOUT_BITRATE);
        let stream = self.media.stream(MediaKind::Both, FANOUT_BITRATE);
        let session = Session {
            streams: vec![stream; *publishers],
            viewers: *viewers,
            publishers_watch: true,
        };
        Plan {
            joins_per_second: (*joins > 0.0).then_some(*joins),
            ..common.plan(
                format!("webinar {publishers} → {viewers}, {what}"),
                vec![session],
            )
        }
    }
}

/// Many small packets.
#[derive(Clone, Debug, PartialEq, Args)]
pub struct Audio {
    /// Sessions.
    #[arg(long, default_value_t = 1)]
    pub sessions: usize,
    /// People who speak, in each session; they hear each other.
    #[arg(long, default_value_t = 3)]
    pub speakers: usize,
    /// People who only listen, in each session.
    #[arg(long, default_value_t = 100)]
    pub listeners: usize,
    /// Packets per second of each speaker.
    #[arg(long, value_name = "PACKETS/S", default_value_t = 50.0)]
    pub rate: f64,
    /// Size of a packet, in bytes, with an RTP header of 12 bytes.
    #[arg(long, value_name = "BYTES", default_value_t = 120)]
    pub packet_bytes: u16,
}

impl Audio {
    pub(super) fn plan(&self, common: &Common) -> Plan {
        let stream = Stream {
            video: None,
            audio: Some(sound(self.rate, self.packet_bytes)),
        };
        let session = Session {
            streams: vec![stream; self.speakers],
            viewers: self.listeners,
            publishers_watch: true,
        };
        let Self {
            sessions,
            speakers,
            listeners,
            rate,
            packet_bytes,
        } = self;
        let times = match sessions {
            1 => String::new(),
            sessions => format!("{sessions} × "),
        };
        common.plan(
            format!("audio {times}{speakers} → {listeners}, {packet_bytes} B {rate}/s"),
            vec![session; *sessions],
        )
    }
}

/// Viewers who leave and are replaced.
#[derive(Clone, Debug, PartialEq, Args)]
pub struct Churn {
    /// People who publish and watch nobody.
    #[arg(long, default_value_t = 1)]
    pub publishers: usize,
    /// People who watch at any time.
    #[arg(long, default_value_t = 100)]
    pub viewers: usize,
    /// Viewers replaced per second.
    #[arg(long, value_name = "PEOPLE/S", default_value_t = 10.0)]
    pub changes: f64,
    /// What each publishes; pictures of 1.5 Mbit/s unless said otherwise.
    #[command(flatten)]
    pub media: MediaArguments,
}

impl Churn {
    pub(super) fn plan(&self, common: &Common) -> Plan {
        let Self {
            publishers,
            viewers,
            changes,
            media,
        } = self;
        let what = media.describe(MediaKind::Video, FANOUT_BITRATE);
        let session = watched(media, *publishers, *viewers);
        let people = plural(*publishers as u64, "publisher");
        Plan {
            churn_per_second: *changes,
            ..common.plan(
                format!("churn of {changes}/s among {viewers}, {people}, {what}"),
                vec![session],
            )
        }
    }
}

/// A few publish pictures, and the others watch.
fn watched(media: &MediaArguments, publishers: usize, viewers: usize) -> Session {
    let stream = media.stream(MediaKind::Video, FANOUT_BITRATE);
    Session {
        streams: vec![stream; publishers],
        viewers,
        publishers_watch: false,
    }
}
