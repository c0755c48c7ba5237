use std::net::SocketAddr;

use clock::Instant;
use proto::dtls::{Certificate, Fingerprint};
use proto::ice::Credentials;
use proto::srtp::KeyingMaterial;

use crate::plan::{Codec, Medium, Suite};
use crate::stream::Verifier;

/// How a peer and the forwarder come to agree on addresses and keys.
#[derive(Clone, Debug)]
pub enum Association {
    /// Both were told by a third: no ICE, no DTLS.
    Keyed {
        /// The forwarder's address.
        remote: SocketAddr,
        /// The keys, as the simulated browser sees them.
        keys: Box<KeyingMaterial>,
    },
    /// As browsers do it: ICE in the controlling role (RFC 8445), then DTLS as the client (RFC 5763).
    Negotiated(Box<Negotiated>),
}

/// What signalling has told about an [`Association::Negotiated`].
#[derive(Clone, Debug)]
pub struct Negotiated {
    /// Our ICE credentials.
    pub local: Credentials,
    /// The forwarder's.
    pub remote: Credentials,
    /// The forwarder's address: the best of its candidates.
    pub candidate: SocketAddr,
    /// Certificates that are acceptable of the forwarder: those with any of these fingerprints.
    pub fingerprints: Vec<Fingerprint>,
    /// Our certificate.
    pub certificate: Certificate,
    /// What we offer for SRTP.
    pub suite: Suite,
}

/// A simulated browser that sends.
#[derive(Clone, Debug)]
pub struct PublisherSpec {
    /// Its own address, from [`super::Fleet::allocate`].
    pub local: SocketAddr,
    /// Whom it talks to, and how.
    pub association: Association,
    /// What it sends.
    pub media: Vec<PublishedMedium>,
}

/// One medium that a publisher sends: an RTP stream, and another for its retransmissions.
#[derive(Clone, Debug)]
pub struct PublishedMedium {
    /// What it is made of.
    pub medium: Medium,
    /// Names the stream within the run, and everything pseudo-random in it is drawn from it.
    pub seed: u64,
    /// The SSRC.
    pub ssrc: u32,
    /// The payload type.
    pub payload_type: u8,
    /// Retransmissions (RFC 4588), if negotiated.
    pub rtx: Option<Rtx>,
    /// The value of the MID header extension (RFC 9143), sent if it has an id.
    pub mid: String,
    /// Which header extensions its packets carry.
    pub extensions: ExtensionIds,
}

/// An RTP stream of retransmissions (RFC 4588 §4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rtx {
    /// Its SSRC.
    pub ssrc: u32,
    /// Its payload type.
    pub payload_type: u8,
}

/// The negotiated ids of header extensions (RFC 8285); those without one are not sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExtensionIds {
    /// `urn:ietf:params:rtp-hdrext:sdes:mid`.
    pub mid: Option<u8>,
    /// `abs-send-time`.
    pub abs_send_time: Option<u8>,
    /// The transport-wide sequence number.
    pub transport_sequence: Option<u8>,
    /// `ssrc-audio-level` (RFC 6464).
    pub audio_level: Option<u8>,
}

/// A simulated browser that receives.
#[derive(Clone, Debug)]
pub struct SubscriberSpec {
    /// Its own address, from [`super::Fleet::allocate`].
    pub local: SocketAddr,
    /// Whom it talks to, and how.
    pub association: Association,
    /// What it should get.
    pub expect: Vec<ExpectedStream>,
    /// The id of the transport-wide sequence number, if transport-wide feedback was negotiated.
    pub transport_sequence: Option<u8>,
    /// When whoever watches first asked to be let in, if that is to be measured: signalling comes before ICE.
    pub asked: Option<Instant>,
}

/// One RTP stream that a subscriber should get.
#[derive(Clone, Debug)]
pub struct ExpectedStream {
    /// The SSRC under which the forwarder sends it.
    pub ssrc: u32,
    /// What its payloads are.
    pub codec: Codec,
    /// The [`PublishedMedium::seed`] of what was published.
    pub seed: u64,
    /// Compares payloads with what was published.
    pub verifier: Verifier,
    /// Its retransmissions, if negotiated: then missing packets are asked for.
    pub rtx: Option<Rtx>,
    /// Whether a key frame may be asked for.
    pub key_frames_on_request: bool,
}
