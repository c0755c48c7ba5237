//! The words of the link: what should be ([`Entry`]) and what is ([`Report`]).
//!
//! The node never sees SDP, tokens or users. It knows transports, the media that arrive on them, and who gets a copy.
//! Every id is chosen by the master, so that an order can be repeated to the same effect.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::cause::Trouble;
use crate::word::Word;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Wraps the text of an id.
            pub fn new(text: impl Into<String>) -> Self {
                Self(text.into().into())
            }

            /// The text of the id.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                Cow::<str>::deserialize(deserializer).map(|text| Self((&*text).into()))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

id!(
    /// A session: the transports of one session belong together and start on one worker.
    SessionId
);
id!(
    /// A connection: one user's membership; all its transports live on one worker.
    ConnectionId
);
id!(
    /// One ICE + DTLS + SRTP association, that is one `RTCPeerConnection`.
    TransportId
);
id!(
    /// The sending end of a stream: everything one user sends on one transport.
    PublisherId
);
id!(
    /// One receiving end of a stream.
    SubscriberId
);

/// One thing that should exist on the node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "entry", rename_all = "camelCase")]
pub enum Entry {
    /// An ICE + DTLS + SRTP association.
    Transport(Transport),
    /// A stream that arrives on a transport.
    Publisher(Publisher),
    /// A copy of a stream that leaves by a transport.
    Subscriber(Subscriber),
}

/// The name of an [`Entry`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(tag = "entry", content = "id", rename_all = "camelCase")]
pub enum Key {
    /// Names a [`Transport`].
    Transport(TransportId),
    /// Names a [`Publisher`].
    Publisher(PublisherId),
    /// Names a [`Subscriber`].
    Subscriber(SubscriberId),
    /// Names a session, of which only is reported.
    Session(SessionId),
}

impl Entry {
    /// The name under which the entry is kept.
    pub fn key(&self) -> Key {
        match self {
            Self::Transport(transport) => Key::Transport(transport.id.clone()),
            Self::Publisher(publisher) => Key::Publisher(publisher.id.clone()),
            Self::Subscriber(subscriber) => Key::Subscriber(subscriber.id.clone()),
        }
    }

    /// Gives up the room that its lists have for more.
    pub(crate) fn shrink_to_fit(&mut self) {
        match self {
            Self::Transport(transport) => transport.remote_fingerprints.shrink_to_fit(),
            Self::Publisher(publisher) => {
                publisher.media.shrink_to_fit();
                for medium in &mut publisher.media {
                    medium.codecs.shrink_to_fit();
                    medium.extensions.shrink_to_fit();
                    medium.encodings.shrink_to_fit();
                }
            }
            Self::Subscriber(subscriber) => {
                subscriber.media.shrink_to_fit();
                for medium in &mut subscriber.media {
                    medium.codecs.shrink_to_fit();
                    medium.extensions.shrink_to_fit();
                }
            }
        }
    }
}

/// One `RTCPeerConnection` as the node should see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Transport {
    /// Its name.
    pub id: TransportId,
    /// The session that it belongs to.
    pub session: SessionId,
    /// The connection (user) that it belongs to.
    pub connection: ConnectionId,
    /// Our own ICE credentials.
    pub local_ice: IceCredentials,
    /// The peer's ICE credentials, once its description is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remote_ice: Option<IceCredentials>,
    /// The peer's certificate fingerprints, any of which may match (RFC 8122 §5). Until they are here the keys stay withheld.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remote_fingerprints: Vec<Fingerprint>,
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
    /// `sha-256`, `sha-384` or `sha-512`, lower case.
    pub algorithm: Word,
    /// Upper-case hexadecimal with colons between the bytes.
    pub value: String,
}

/// Audio or video.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Kind {
    /// Sound.
    Audio,
    /// Pictures.
    Video,
}

/// A stream that arrives on a transport.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Publisher {
    /// Its name.
    pub id: PublisherId,
    /// The transport on which it arrives.
    pub transport: TransportId,
    /// Its media sections, at most one of each kind.
    pub media: Vec<PublishedMedia>,
}

/// One media section of a published stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PublishedMedia {
    /// Audio or video.
    pub kind: Kind,
    /// The value of the MID header extension on its packets (RFC 9143).
    pub mid: String,
    /// The negotiated codecs; the peer may send any of them.
    pub codecs: Vec<Codec>,
    /// The negotiated header extensions.
    pub extensions: Vec<Extension>,
    /// The simulcast encodings, lowest first; exactly one without simulcast.
    pub encodings: Vec<Encoding>,
    /// How much of a picture may come, all encodings together, in bit/s. The node tells the peer, and drops what goes on above it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bandwidth_max: Option<u64>,
    /// A screen that is shared: where there is not room for all, it comes before cameras.
    #[serde(default, skip_serializing_if = "is_no")]
    pub is_screen: bool,
}

/// What is not so is not written.
fn is_no(flag: &bool) -> bool {
    !flag
}

/// A codec under a payload type.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Codec {
    /// The payload type, 0 to 127.
    pub payload_type: u8,
    /// The encoding name as registered: `VP8`, `H264`, `opus`…
    pub name: Word,
    /// The RTP clock, hertz.
    pub clock_rate: u32,
    /// The payload type of its retransmissions (RFC 4588), if negotiated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rtx_payload_type: Option<u8>,
    /// The negotiated feedback.
    #[serde(default)]
    pub feedback: Feedback,
}

/// `a=rtcp-fb` of a codec, as negotiated.
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

/// A negotiated RTP header extension (RFC 8285).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extension {
    /// Its id on this transport, 1 to 255, never 15 in the one-byte form.
    pub id: u8,
    /// Its URI.
    pub uri: Word,
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

/// A copy of a stream that leaves by a transport.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Subscriber {
    /// Its name.
    pub id: SubscriberId,
    /// The transport by which it leaves.
    pub transport: TransportId,
    /// The stream of which it is a copy.
    pub publisher: PublisherId,
    /// Its media sections, at most one of each kind.
    pub media: Vec<SubscribedMedia>,
}

/// One media section of a subscriber.
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
    /// The canonical name in our SDES (RFC 3550 §6.5.1).
    pub cname: String,
    /// Which payload type of the publisher becomes which of ours. What is not listed is not forwarded.
    pub codecs: Vec<CodecMapping>,
    /// The header extensions negotiated with this peer.
    pub extensions: Vec<Extension>,
    /// How much of a picture is sent at most, in bit/s, as far as encodings and temporal layers allow.
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

/// What a node says of one entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "report", rename_all = "camelCase")]
pub enum Report {
    /// Of a transport.
    Transport(TransportReport),
    /// An entry that the node can't or won't have.
    Refused(Refusal),
    /// Of the sound of a session.
    Voice(VoiceReport),
}

impl Report {
    /// The entry that is reported on.
    pub fn key(&self) -> Key {
        match self {
            Self::Transport(report) => Key::Transport(report.id.clone()),
            Self::Refused(refusal) => refusal.key.clone(),
            Self::Voice(report) => Key::Session(report.id.clone()),
        }
    }
}

/// How a transport is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TransportReport {
    /// Its name.
    pub id: TransportId,
    /// The worker that owns it.
    pub worker: u16,
    /// Where the peer reaches it: the addresses of its ICE candidates, best first.
    pub addresses: Vec<SocketAddr>,
    /// What became of it so far.
    pub state: TransportState,
    /// Since when that is so, or its trouble: milliseconds since 1970 by the node's clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<u64>,
    /// Why nothing flows, or did not when it ended; nothing while it works, and for the first seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<Trouble>,
}

/// The life of a transport.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "camelCase")]
pub enum TransportState {
    /// Waits for the peer's first check.
    New,
    /// The peer's address is proven; the DTLS handshake is under way.
    Connecting,
    /// Keys are in place; media flow.
    #[serde(rename_all = "camelCase")]
    Connected {
        /// The SRTP protection profile by its IANA name, `SRTP_AEAD_AES_256_GCM` for one.
        srtp_profile: Word,
    },
    /// It is over.
    Closed {
        /// Why.
        reason: CloseReason,
    },
}

/// Why a transport ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum CloseReason {
    /// The master no longer wants it.
    Removed,
    /// No check came in time.
    IceTimeout,
    /// The peer stopped answering consent checks (RFC 7675).
    ConsentLost,
    /// The DTLS handshake failed or took too long.
    HandshakeFailed,
    /// The peer's certificate is not the announced one.
    FingerprintMismatch,
    /// The fingerprint did not come in time.
    FingerprintTimeout,
    /// The peer offers no SRTP protection profile that we speak.
    NoCommonSrtpProfile,
    /// The peer said goodbye (DTLS `close_notify`).
    ClosedByPeer,
    /// The node shuts down.
    NodeStopped,
}

/// Who is heard in a session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VoiceReport {
    /// The session.
    pub id: SessionId,
    /// Who speaks, or spoke last; nobody before that, or if it is muted or gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub speaker: Option<PublisherId>,
    /// Smoothed levels in dBov (RFC 6464), −127 to 0, of those who can be heard.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub levels: BTreeMap<PublisherId, i8>,
}

/// An entry that the node refuses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Refusal {
    /// The entry.
    pub key: Key,
    /// The limit that it would break, or what is wrong with it, in words for an operator.
    pub limit: String,
}
