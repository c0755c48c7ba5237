//! Forwarders to compare with: what one writes first, and what a good C server does.
//!
//! Each runs as a process of its own, `ringcast-bench baseline NAME`. It is told over its standard input, in lines of JSON, who
//! sends and who receives with which keys, and answers on its standard output. They forward RTP and nothing else: RTCP that comes
//! in is ignored, which spares them work that a media node has.

pub mod conventional;
pub mod naive;

use std::fmt;
use std::io::Write;
use std::net::{IpAddr, SocketAddr};

use proto::srtp::{MasterKey, Profile};
use serde::{Deserialize, Serialize};

/// The largest datagram that they take, in octets.
const MAX_DATAGRAM: usize = 2048;
/// Queues of the socket, in octets.
const SOCKET_BUFFER: usize = 8 << 20;
/// The shortest RTP header (RFC 3550 §5.1), in octets.
const RTP_HEADER: usize = 12;

/// Which of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// One thread, recvmmsg, one SRTP call per packet on OpenSSL with cached contexts, sendmmsg of 64.
    Conventional,
    /// tokio sockets and `webrtc-srtp`, one send per packet.
    Naive,
}

impl Kind {
    /// Its name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Conventional => "conventional",
            Self::Naive => "naive",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How one is started: the arguments of `ringcast-bench baseline`.
#[derive(Clone, Debug, clap::Args)]
pub struct Settings {
    /// Which one.
    pub kind: Kind,
    /// The address to listen on; the system chooses the port.
    #[arg(long)]
    pub listen: IpAddr,
    /// The SRTP profile of everybody, by its number in IANA's registry.
    #[arg(long)]
    pub profile: u16,
    /// Spoils one octet of every so many packets sent; for checking that the benchmark notices.
    #[arg(long)]
    pub spoil_every: Option<u64>,
    /// Leaves out every so many packets; for checking that the benchmark notices.
    #[arg(long)]
    pub skip_every: Option<u64>,
    /// With more subscribers of a stream, leaves out every tenth packet; for checking that the benchmark notices. Of conventional.
    #[arg(long)]
    pub carries: Option<u64>,
}

/// Runs a baseline until its standard input ends.
///
/// # Errors
/// If the socket or the cipher library is not to be had.
pub fn run(settings: &Settings) -> anyhow::Result<()> {
    let profile = Profile::from_id(settings.profile)
        .ok_or_else(|| anyhow::anyhow!("no SRTP profile has the number {}", settings.profile))?;
    match settings.kind {
        Kind::Conventional => conventional::run(settings, profile),
        Kind::Naive => naive::run(settings, profile),
    }
}

/// What a baseline is told, one line each.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// Somebody who sends.
    Publisher {
        /// From where.
        address: SocketAddr,
        /// What it encrypts with.
        key: Key,
    },
    /// Somebody who receives.
    Subscriber {
        /// Where.
        address: SocketAddr,
        /// What to encrypt with.
        key: Key,
        /// Which streams.
        streams: Vec<Mapping>,
    },
    /// Somebody has gone.
    Remove {
        /// From where.
        address: SocketAddr,
    },
    /// Answer with [`Answer::Statistics`]; everything told before is in force then.
    Statistics,
}

/// One stream of one subscriber.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mapping {
    /// The SSRC under which it is published; unique in the process.
    pub from: u32,
    /// The SSRC under which the subscriber gets it.
    pub to: u32,
    /// The first sequence number that the subscriber gets.
    pub first_sequence: u16,
}

/// A master key and salt (RFC 3711 §3.2.1).
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key {
    /// The master key.
    pub key: Vec<u8>,
    /// The master salt.
    pub salt: Vec<u8>,
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").finish_non_exhaustive()
    }
}

impl From<&MasterKey> for Key {
    fn from(master: &MasterKey) -> Self {
        Self {
            key: master.key().to_vec(),
            salt: master.salt().to_vec(),
        }
    }
}

/// What a baseline says, one line each.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// It listens.
    Ready {
        /// Where.
        address: SocketAddr,
    },
    /// What it has done.
    Statistics(Statistics),
    /// An order that it could not follow; it goes on.
    Refused(String),
}

/// What a baseline has done since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Statistics {
    /// Datagrams received.
    pub received: u64,
    /// Copies handed to the kernel.
    pub forwarded: u64,
    /// Datagrams from nobody we know, and those that are not RTP.
    pub ignored: u64,
    /// RTP packets that were not authentic, repeated or too old.
    pub unauthentic: u64,
    /// Copies that the kernel refused.
    pub refused: u64,
    /// System calls.
    pub system_calls: u64,
}

fn say(answer: &Answer) -> anyhow::Result<()> {
    let mut line = serde_json::to_string(answer)?;
    line.push('\n');
    let mut out = std::io::stdout().lock();
    out.write_all(line.as_bytes())?;
    Ok(out.flush()?)
}

/// Lets a deliberate mistake happen every so many packets.
#[derive(Clone, Copy, Debug)]
struct Every {
    period: Option<u64>,
    count: u64,
}

impl Every {
    fn new(period: Option<u64>) -> Self {
        Self { period, count: 0 }
    }

    fn is_due(&mut self) -> bool {
        let Some(period) = self.period else {
            return false;
        };
        self.count += 1;
        self.count.is_multiple_of(period.max(1))
    }
}

/// The length of an RTP header with its contributing sources and extension (RFC 3550 §5.1, §5.3.1).
fn rtp_header_length(packet: &[u8]) -> Option<usize> {
    let first = *packet.first()?;
    if first >> 6 != 2 || packet.len() < RTP_HEADER {
        return None;
    }
    let mut length = RTP_HEADER + 4 * usize::from(first & 0x0f);
    if first & 0x10 != 0 {
        let words = packet.get(length + 2..length + 4)?;
        length += 4 + 4 * usize::from(u16::from_be_bytes([words[0], words[1]]));
    }
    (length <= packet.len()).then_some(length)
}

/// Whether a datagram is RTP: not STUN, DTLS (RFC 7983 §7) or RTCP (RFC 5761 §4).
fn is_rtp(packet: &[u8]) -> bool {
    packet.len() >= RTP_HEADER
        && (128..192).contains(&packet[0])
        && !(192..224).contains(&packet[1])
}

fn sequence_of(packet: &[u8]) -> u16 {
    u16::from_be_bytes([packet[2], packet[3]])
}

fn ssrc_of(packet: &[u8]) -> u32 {
    u32::from_be_bytes([packet[8], packet[9], packet[10], packet[11]])
}

/// Puts the sequence number and SSRC of one subscriber into a header.
fn rewrite(header: &mut [u8], sequence: u16, ssrc: u32) {
    header[2..4].copy_from_slice(&sequence.to_be_bytes());
    header[8..12].copy_from_slice(&ssrc.to_be_bytes());
}

/// Extends 16-bit sequence numbers (RFC 3711 §3.3.1) and remembers the last 64 (§3.3.2).
#[derive(Clone, Copy, Debug, Default)]
struct Replay {
    highest: Option<u64>,
    seen: u64,
}

impl Replay {
    /// The index that `sequence` stands for, unless it was accepted before or is too old.
    fn index(&self, sequence: u16) -> Option<u64> {
        let Some(highest) = self.highest else {
            return Some(u64::from(sequence));
        };
        let distance = sequence.wrapping_sub(highest as u16) as i16;
        let index = highest.checked_add_signed(i64::from(distance))?;
        let behind = highest.saturating_sub(index);
        (index > highest || (behind < 64 && self.seen >> behind & 1 == 0)).then_some(index)
    }

    /// Remembers an index that [`Replay::index`] gave and that was authentic.
    fn accept(&mut self, index: u64) {
        let highest = self.highest.unwrap_or(index);
        if index >= highest {
            let ahead = index - highest;
            self.seen = if ahead < 64 { self.seen << ahead } else { 0 } | 1;
            self.highest = Some(index);
        } else {
            self.seen |= 1 << (highest - index);
        }
    }
}

/// Numbers the packets of one stream for one subscriber: gapless where the publisher's are, from its own first number.
#[derive(Clone, Copy, Debug)]
struct Numbering {
    first_sequence: u16,
    /// The publisher's index of the first packet that was sent on.
    base: Option<u64>,
}

impl Numbering {
    fn new(first_sequence: u16) -> Self {
        Self {
            first_sequence,
            base: None,
        }
    }

    /// The outgoing index; none for a packet older than the first one.
    fn map(&mut self, index: u64) -> Option<u64> {
        let base = *self.base.get_or_insert(index);
        Some(index.checked_sub(base)? + u64::from(self.first_sequence))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replay_extends_over_the_wrap_and_refuses_repetitions() {
        let mut replay = Replay::default();
        for sequence in [65534_u16, 65535, 1, 0, 2] {
            let index = replay.index(sequence).unwrap();
            let expected = u64::from(sequence) + if sequence < 10 { 65536 } else { 0 };
            assert_eq!(index, expected);
            replay.accept(index);
            assert_eq!(replay.index(sequence), None, "{sequence} again");
        }
        assert_eq!(replay.index(3), Some(65539));
        replay.accept(65539 + 100);
        assert_eq!(replay.index(3), None, "behind the window");
        assert!(replay.index(90).is_some());
    }

    #[test]
    fn a_subscriber_begins_with_its_own_number() {
        let mut numbering = Numbering::new(1000);
        assert_eq!(numbering.map(70_000), Some(1000));
        assert_eq!(numbering.map(70_002), Some(1002));
        assert_eq!(numbering.map(69_999), None);
    }

    #[test]
    fn headers_are_measured() {
        let mut packet = [0; 40];
        packet[0] = 0x80;
        assert_eq!(rtp_header_length(&packet), Some(12));
        packet[0] = 0x91;
        packet[19] = 2;
        assert_eq!(rtp_header_length(&packet), Some(12 + 4 + 4 + 8));
        packet[19] = 20;
        assert_eq!(rtp_header_length(&packet), None);
    }
}
