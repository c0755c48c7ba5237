//! The parameters that a negotiation ends in. Their shapes are those of the link, so that they map one to one.

use std::fmt;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

/// Audio or video.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Kind {
    /// Sound.
    Audio,
    /// Pictures.
    Video,
}

impl Kind {
    /// The media type in `m=`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Audio => "audio",
            Self::Video => "video",
        }
    }
}

/// A codec under a payload type (RFC 8866 §6.6).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Codec {
    /// The payload type, 0 to 127.
    pub payload_type: u8,
    /// The encoding name: `VP8`, `H264`, `opus`…
    pub name: String,
    /// The RTP clock, hertz.
    pub clock_rate: u32,
    /// The channels, for audio.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channels: Option<u8>,
    /// The value of `a=fmtp` after the payload type, empty without one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub fmtp: String,
    /// The payload type of its retransmissions (RFC 4588), if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rtx_payload_type: Option<u8>,
    /// Its feedback.
    #[serde(default)]
    pub feedback: Feedback,
}

/// `a=rtcp-fb` of a codec (RFC 4585 §4.2), as far as we know its values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Feedback {
    /// Generic NACK (RFC 4585 §6.2.1).
    pub nack: bool,
    /// Picture loss indication (RFC 4585 §6.3.1).
    pub pli: bool,
    /// Full intra request (RFC 5104 §4.3.1).
    pub fir: bool,
    /// Receiver estimated maximum bitrate.
    pub remb: bool,
    /// Transport-wide congestion control.
    pub transport_cc: bool,
}

impl Feedback {
    /// What both have.
    pub(crate) fn and(self, other: Self) -> Self {
        Self {
            nack: self.nack && other.nack,
            pli: self.pli && other.pli,
            fir: self.fir && other.fir,
            remb: self.remb && other.remb,
            transport_cc: self.transport_cc && other.transport_cc,
        }
    }

    /// What either has.
    pub(crate) fn or(self, other: Self) -> Self {
        Self {
            nack: self.nack || other.nack,
            pli: self.pli || other.pli,
            fir: self.fir || other.fir,
            remb: self.remb || other.remb,
            transport_cc: self.transport_cc || other.transport_cc,
        }
    }
}

/// A negotiated RTP header extension (RFC 8285).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extension {
    /// Its id on this transport, 1 to 255, never 15.
    pub id: u8,
    /// Its URI.
    pub uri: String,
}

/// One version of a published medium.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Encoding {
    /// The RID of a simulcast encoding (RFC 8852).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rid: Option<String>,
    /// The SSRC, if the peer announced it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ssrc: Option<u32>,
    /// The SSRC of its retransmissions, if the peer announced it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rtx_ssrc: Option<u32>,
}

/// `a=ice-ufrag` and `a=ice-pwd` (RFC 8839 §5.4).
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IceCredentials {
    /// The username fragment, 4 to 256 characters.
    pub ufrag: String,
    /// The password, 22 to 256 characters.
    pub pwd: String,
}

impl fmt::Debug for IceCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The password opens the transport: it stays out of logs.
        write!(f, "IceCredentials({})", self.ufrag)
    }
}

/// `a=fingerprint` (RFC 8122 §5): the hash of a certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprint {
    /// `sha-256` and the like, lower case.
    pub algorithm: String,
    /// Upper-case hexadecimal with colons between the bytes.
    pub value: String,
}

/// What we say of ourselves in every description.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LocalParameters {
    /// The session id of `o=` (RFC 8866 §5.2); 63 bits of it are used.
    pub session_id: u64,
    /// The version in `o=`: it grows with every description of the same connection (RFC 3264 §8).
    pub session_version: u64,
    /// Our ICE credentials.
    pub ice: IceCredentials,
    /// The hash of our certificate.
    pub fingerprint: Fingerprint,
    /// Where we are reached, best first: they become host candidates.
    pub candidates: Vec<SocketAddr>,
    /// Whether transport-wide congestion control may be negotiated; without it neither its feedback nor its header
    /// extension appears.
    pub transport_cc: bool,
    /// Whether publishers who can are asked to repeat their sound in the packets that follow (RFC 2198).
    pub audio_redundancy: bool,
    /// How much of a picture we take, in bit/s; the answer says so.
    pub video_receive_max: Option<u64>,
    /// How much of a picture we send, in bit/s.
    pub video_send_max: Option<u64>,
}

/// What was agreed with the sender of a stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PublishParameters {
    /// The peer's ICE credentials.
    pub ice: IceCredentials,
    /// The peer's certificate fingerprints in sha-256, sha-384 and sha-512, any of which may match.
    pub fingerprints: Vec<Fingerprint>,
    /// What it sends, at most one of each kind.
    pub media: Vec<PublishedMedia>,
}

/// One media section that comes in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PublishedMedia {
    /// Audio or video.
    pub kind: Kind,
    /// The value of the MID header extension on its packets (RFC 9143).
    pub mid: String,
    /// The negotiated codecs; the peer may send any of them.
    pub codecs: Vec<Codec>,
    /// The header extensions that the peer may put on its packets.
    pub extensions: Vec<Extension>,
    /// The simulcast encodings, lowest first; exactly one without simulcast.
    pub encodings: Vec<Encoding>,
    /// How much of it may come, in bit/s, as the answer says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bandwidth_max: Option<u64>,
}

/// One medium that we want to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubscribeMedia {
    /// Audio or video.
    pub kind: Kind,
    /// The codecs of the publisher, from [`PublishedMedia::codecs`].
    pub codecs: Vec<Codec>,
    /// The SSRC that we send under.
    pub ssrc: u32,
    /// The SSRC for retransmissions; none to do without.
    pub rtx_ssrc: Option<u32>,
    /// The canonical name (RFC 3550 §6.5.1).
    pub cname: String,
    /// The stream and track that the browser makes of it.
    pub msid: Msid,
}

/// `a=msid` (RFC 8830 §2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Msid {
    /// The id of the `MediaStream`, the same for the audio and the video of one stream.
    pub stream: String,
    /// The id of the track.
    pub track: String,
}

/// What was agreed with the receiver of a stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SubscribeParameters {
    /// The peer's ICE credentials.
    pub ice: IceCredentials,
    /// The peer's certificate fingerprints in sha-256, sha-384 and sha-512, any of which may match.
    pub fingerprints: Vec<Fingerprint>,
    /// What it receives, at most one of each kind; what it does not want or cannot decode is missing.
    pub media: Vec<SubscribedMedia>,
}

/// One media section that goes out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SubscribedMedia {
    /// Audio or video.
    pub kind: Kind,
    /// The value of the MID header extension that we write.
    pub mid: String,
    /// The SSRC that we send under.
    pub ssrc: u32,
    /// The SSRC that our retransmissions use; none without RTX.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rtx_ssrc: Option<u32>,
    /// The canonical name (RFC 3550 §6.5.1).
    pub cname: String,
    /// Which payload type of the publisher becomes which of ours. What is not listed is not forwarded.
    pub codecs: Vec<CodecMapping>,
    /// The header extensions that we may write.
    pub extensions: Vec<Extension>,
    /// How much of it is sent at most, in bit/s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bandwidth_max: Option<u64>,
}

/// How one codec of the publisher is sent to a subscriber.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CodecMapping {
    /// The payload type under which the publisher sends it.
    pub published_payload_type: u8,
    /// The codec as negotiated with the subscriber.
    #[serde(flatten)]
    pub codec: Codec,
}
