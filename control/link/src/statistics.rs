//! Statistics of streams: asked for by the master, told by the node, and no part of any state.
//!
//! A node says nothing of them unasked: thousands of transports cost nothing while nobody looks. An answer comes in parts of a bounded
//! size; the last one has `more: false`. Who does not know the question never answers.

use serde::{Deserialize, Serialize};

use crate::state::{ConnectionId, Kind, SessionId, TransportId};

/// A question about streams.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct StatisticsQuestion {
    /// Given back in the answer.
    pub number: u64,
    /// Of the transports of this session only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<SessionId>,
    /// Of the transports of this connection only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connection: Option<ConnectionId>,
}

/// A part of the answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct StatisticsAnswer {
    /// Which question it answers.
    pub number: u64,
    /// What is known of each transport.
    pub transports: Vec<TransportStatistics>,
    /// Another part follows.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub more: bool,
}

/// A transport and its RTP streams.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TransportStatistics {
    /// Which.
    pub id: TransportId,
    /// The round trip to its peer, microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub round_trip_micros: Option<u32>,
    /// What the way to its peer carries, in bit/s, where that is estimated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub estimate_bits_per_second: Option<u64>,
    /// What arrives, lowest encoding first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub received: Vec<ReceivedStatistics>,
    /// What leaves.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sent: Vec<SentStatistics>,
}

/// An RTP stream of the peer, as the node counts it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReceivedStatistics {
    /// Audio or video.
    pub kind: Kind,
    /// The RID of its encoding, with simulcast.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rid: Option<String>,
    /// Its numbers.
    #[serde(default)]
    pub stream: StreamStatistics,
}

/// An RTP stream to the peer, as the peer counts it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SentStatistics {
    /// Audio or video.
    pub kind: Kind,
    /// The RID of the encoding that is forwarded, with simulcast.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rid: Option<String>,
    /// The highest temporal layer that is forwarded; none: all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temporal: Option<u8>,
    /// What the best encoding that the application allows takes, in bit/s; 0 where there is no choice.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub wanted_bits_per_second: u64,
    /// Its numbers.
    #[serde(default)]
    pub stream: StreamStatistics,
}

/// The numbers of an RTP stream. Zeros are not written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct StreamStatistics {
    /// Bits of it in a second lately, retransmissions included.
    #[serde(skip_serializing_if = "is_zero")]
    pub bits_per_second: u64,
    /// Packets since its beginning, retransmissions not included.
    #[serde(skip_serializing_if = "is_zero")]
    pub packets: u64,
    /// Packets that its receiver misses; negative if more came again than got lost (RFC 3550 §6.4.1).
    #[serde(skip_serializing_if = "is_zero")]
    pub packets_lost: i32,
    /// The part of packets lost lately, in millionths, before retransmission.
    #[serde(skip_serializing_if = "is_zero")]
    pub loss_ppm: u32,
    /// Mean deviation of the transit time (RFC 3550 §6.4.1), microseconds.
    #[serde(skip_serializing_if = "is_zero")]
    pub jitter_micros: u32,
    /// Packets that its receiver asked for again.
    #[serde(skip_serializing_if = "is_zero")]
    pub nacks: u32,
    /// Key frames that its receiver asked for (PLI and FIR).
    #[serde(skip_serializing_if = "is_zero")]
    pub key_frame_requests: u32,
}

fn is_zero<T: Default + PartialEq>(number: &T) -> bool {
    *number == T::default()
}
