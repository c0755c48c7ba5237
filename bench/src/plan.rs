//! What a run consists of: who publishes what, who watches, how they come and go.
//!
//! Scenarios make plans, the runner follows them. A plan says nothing about who forwards.

use std::fmt;
use std::time::Duration;

use proto::srtp::Profile;
use serde::{Deserialize, Serialize};

/// One load, held for a while.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// A name for people, such as `fanout 1→100, bursts of 4`.
    pub name: String,
    /// The calls.
    pub sessions: Vec<Session>,
    /// What the peers offer for SRTP.
    pub suite: Suite,
    /// How fast people join, per second; none: as fast as they are let in.
    pub joins_per_second: Option<f64>,
    /// Viewers that leave and are replaced, per second, over all sessions.
    pub churn_per_second: f64,
    /// Packets per second that strangers send at the forwarder while it is measured: rubbish of every kind, from many addresses.
    #[serde(default)]
    pub strangers_per_second: u32,
    /// Whether nobody publishes before everybody has joined.
    pub silent_joins: bool,
    /// The share of sends of media that pass the exit that drops, from 0 to 1: of what passes, everything is checked.
    pub pass_share: f64,
    /// Time between the last join and the measurement.
    pub warm_up: Duration,
    /// How long is measured.
    pub measure: Duration,
    /// Everything random is drawn from it.
    pub seed: u64,
}

impl Plan {
    /// Streams that the forwarder has to send: of every publisher, one to everyone who watches him. Sound and pictures of one
    /// person are one stream.
    pub fn streams_out(&self) -> usize {
        self.sessions.iter().map(Session::streams_out).sum()
    }

    /// People in all sessions.
    pub fn people(&self) -> usize {
        let people = |session: &Session| session.streams.len() + session.viewers;
        self.sessions.iter().map(people).sum()
    }
}

impl Session {
    fn streams_out(&self) -> usize {
        let publishers = self.streams.len();
        let others = if self.publishers_watch {
            publishers.saturating_sub(1)
        } else {
            0
        };
        publishers * (self.viewers + others)
    }
}

/// One call.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Session {
    /// One publisher each.
    pub streams: Vec<Stream>,
    /// People who publish nothing and watch every stream.
    pub viewers: usize,
    /// Whether publishers watch the streams of all others (a mesh of people) or nobody's.
    pub publishers_watch: bool,
}

impl Stream {
    /// Frames of pictures and packets of sound together, each at a time of its own; of a recording nobody knows, so it is as good as
    /// infinite.
    pub fn frames_per_second(&self) -> f64 {
        let media = [&self.video, &self.audio].into_iter().flatten();
        media
            .map(|medium| match medium {
                Medium::Synthetic(synthetic) => synthetic.frames_per_second,
                Medium::Recorded { .. } => f64::INFINITY,
            })
            .sum()
    }
}

/// What one publisher sends.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stream {
    /// Pictures.
    pub video: Option<Medium>,
    /// Sound.
    pub audio: Option<Medium>,
}

/// One medium of a stream.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Medium {
    /// Made up while the run goes on.
    Synthetic(Synthetic),
    /// Played from a file (rtpdump or pcap) in a loop, with its own timing.
    Recorded {
        /// The file.
        path: std::path::PathBuf,
        /// What its payloads are.
        codec: Codec,
    },
}

impl Medium {
    /// What its payloads are.
    pub const fn codec(&self) -> Codec {
        match self {
            Self::Synthetic(synthetic) => synthetic.codec,
            Self::Recorded { codec, .. } => *codec,
        }
    }
}

/// A stream with the structure of a real one: frames of several packets, key frames, codec headers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Synthetic {
    /// What the payloads look like.
    pub codec: Codec,
    /// Frames per second; of audio, packets per second.
    pub frames_per_second: f64,
    /// Packets of a frame.
    pub packets_per_frame: Packets,
    /// Whole RTP packet before encryption, header of 12 bytes included, in bytes.
    pub packet_bytes: Sizes,
    /// Time between the packets of a frame, as paced by the sender; zero: back to back.
    pub spacing: Duration,
    /// Every so many frames one is a key frame; none: only the first and when asked.
    pub key_frame_every: Option<u32>,
}

/// How many packets a frame has.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Packets {
    /// Always as many.
    Fixed(u32),
    /// As browsers have it: mostly the mean, sometimes twice it, key frames several times.
    AroundMean(f64),
}

/// How large packets are.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Sizes {
    /// All alike.
    Fixed(u16),
    /// As Chromium cuts a frame: equal parts, some one byte longer, at most so many bytes.
    EqualParts {
        /// The largest.
        max: u16,
    },
}

/// What a payload looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Codec {
    /// RFC 7741.
    Vp8,
    /// RFC 6184.
    H264,
    /// RFC 7587.
    Opus,
}

/// SRTP protection profile (RFC 5764 §4.1.2, RFC 7714 §14.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Suite {
    /// What browsers get today.
    Aes256Gcm,
    /// A third fewer rounds.
    Aes128Gcm,
    /// For peers that know nothing else.
    AesCm80,
}

impl Suite {
    /// As the protocols call it.
    pub const fn profile(self) -> Profile {
        match self {
            Self::Aes256Gcm => Profile::AeadAes256Gcm,
            Self::Aes128Gcm => Profile::AeadAes128Gcm,
            Self::AesCm80 => Profile::Aes128CmHmacSha1_80,
        }
    }
}

impl fmt::Display for Suite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Aes256Gcm => "AES-256-GCM",
            Self::Aes128Gcm => "AES-128-GCM",
            Self::AesCm80 => "AES-CM-SHA1-80",
        })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Two publishers and three viewers for a second.
    pub(crate) fn example() -> Plan {
        let video = Medium::Synthetic(Synthetic {
            codec: Codec::Vp8,
            frames_per_second: 30.0,
            packets_per_frame: Packets::AroundMean(3.0),
            packet_bytes: Sizes::EqualParts { max: 1_200 },
            spacing: Duration::ZERO,
            key_frame_every: None,
        });
        let stream = Stream {
            video: Some(video),
            audio: None,
        };
        Plan {
            name: "an example".to_owned(),
            sessions: vec![Session {
                streams: vec![stream.clone(), stream],
                viewers: 3,
                publishers_watch: true,
            }],
            suite: Suite::Aes256Gcm,
            joins_per_second: None,
            churn_per_second: 0.0,
            strangers_per_second: 0,
            silent_joins: false,
            pass_share: crate::exit::PASS_SHARE,
            warm_up: Duration::ZERO,
            measure: Duration::from_secs(1),
            seed: 1,
        }
    }
}
