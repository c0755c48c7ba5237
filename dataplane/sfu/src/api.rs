//! What goes into the engine besides packets, and what comes out besides bursts.
//!
//! Commands come from the agent by mailbox, in order; events go back the same way. Ids are given by the agent, so that it
//! need not wait for an answer. Everything here is off the packet path and may own memory.

use std::net::{IpAddr, SocketAddr};

use clock::{Duration, NtpTime};
use proto::codec::Codec;
use proto::rtp::Uri;
use proto::srtp::KeyingMaterial;

use crate::statistics::TransportStatistics;

pub use crate::loudness::Activity;

/// A transport of this engine. Never given twice in the life of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TransportId(pub u64);

/// A person's membership of a session. All its transports are of one engine, and share what the way to that person carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub u64);

/// A publisher of this engine. Never given twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublisherId(pub u64);

/// A subscriber of this engine. Never given twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SubscriberId(pub u64);

/// A tap: the crossing of one stream to one other worker. Never given twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TapId(pub u64);

/// What an engine is told once.
#[derive(Clone, Debug)]
pub struct Config {
    /// Wall-clock time at `Instant::ZERO`, for sender reports.
    pub ntp_at_zero: NtpTime,
    /// Most transports; further ones are refused by [`Event::Refused`].
    pub transports_max: usize,
    /// Most packets that the cache keeps for one encoding.
    pub cache_packets_max: usize,
    /// Answer NACKs of subscribers and send our own (off only to show what it is worth).
    pub nack: bool,
    /// By how many bytes packets of a picture may be padded, so that they are equal and leave as one run; 0 for never.
    pub padding_max: u8,
    /// Number what is sent to subscribers who can choose among encodings, so that their peers' transport-wide feedback tells
    /// what the way to them carries, and give them what fits.
    pub transport_wide: bool,
    /// Let pictures leave evenly where that is known.
    pub pacing: bool,
    /// How much longer pictures may be held back at most where packets get lost, so that repetitions come in time; zero for never.
    pub playout_delay_max: Duration,
    /// Whether other subscribers get lower encodings when their browsers estimate (REMB) that the way to them carries no more.
    pub follow_remb: bool,
    /// A counter that only grows, to measure stages by: the processor's cycles, or a constant where time must not matter.
    pub cycles: fn() -> u64,
    /// Fault injection: drop every RTP packet after authentication, reason `Injected`.
    pub drop_rtp: bool,
}

/// What is known of the way to a peer whose packets are numbered for transport-wide feedback.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Way {
    /// What it carries, in bits per second, all transports of the connection together.
    pub estimate: u64,
    /// How long packets wait in queues on it.
    pub queueing: Duration,
    /// From sending a packet until the peer's word of it is here, smoothed.
    pub round_trip: Duration,
}

/// An order to the engine.
#[derive(Debug)]
pub enum Command {
    /// Make a transport. It waits for the peer's checks.
    AddTransport(Box<TransportSpec>),
    /// The peer's ICE credentials, when its description comes late or restarts ICE.
    SetRemoteIce {
        /// Whose.
        transport: TransportId,
        /// `a=ice-ufrag` of the peer.
        ufrag: String,
        /// `a=ice-pwd` of the peer.
        pwd: String,
    },
    /// Begin ICE anew on both sides (RFC 8445 §9), while media go on as they do until the new way works.
    RestartIce(Box<IceRestart>),
    /// Take a transport down with everything on it.
    RemoveTransport(TransportId),
    /// The handshake is done and the fingerprint matched: media may flow.
    KeysReady {
        /// Whose.
        transport: TransportId,
        /// The keys, from our point of view.
        keys: Box<KeyingMaterial>,
    },
    /// A DTLS datagram for the peer.
    SendDtls {
        /// Whose.
        transport: TransportId,
        /// The whole datagram, at most 1500 bytes.
        datagram: Vec<u8>,
    },
    /// The handshake completed with this address (for peers that never answer our checks).
    DtlsCompleted {
        /// Whose.
        transport: TransportId,
        /// Where the client's last flight came from.
        address: SocketAddr,
    },
    /// A stream arrives on a transport.
    AddPublisher(Box<PublisherSpec>),
    /// It ends; its subscribers stay and are silent until removed.
    RemovePublisher(PublisherId),
    /// Send a copy of a stream. The publisher may be added later or replaced; the subscriber waits for it.
    AddSubscriber(Box<SubscriberSpec>),
    /// Stop sending it.
    RemoveSubscriber(SubscriberId),
    /// What one medium of a subscriber gets at most, from now on: at once where the codec allows, with a key frame otherwise.
    LimitLayers {
        /// Whose.
        subscriber: SubscriberId,
        /// Place among the media of its description, from zero.
        medium: u8,
        /// The most.
        limit: LayerLimit,
    },
    /// The publisher is the one who speaks in its session, or no longer: where there is not room for all, its pictures come
    /// first.
    SetSpeaking {
        /// Whose.
        publisher: PublisherId,
        /// Whether it speaks.
        speaks: bool,
    },
    /// Hand every packet of a stream that arrives here to another worker too, once. Without the publisher nothing happens; with
    /// it the tap ends.
    AddTap {
        /// Its id.
        tap: TapId,
        /// The stream.
        publisher: PublisherId,
        /// Who gets it.
        worker: u16,
    },
    /// Stop handing it over.
    RemoveTap(TapId),
    /// A stream arrives from another worker. It is removed like any other; one that is replaced goes first.
    AddRemotePublisher(Box<RemotePublisherSpec>),
    /// Copy the packets of a transport, decrypted, until there are enough or it is to end: [`Event::Captured`].
    StartCapture(Box<CaptureSpec>),
    /// Memory of the capture of that number, which was read, comes back, empty.
    ReturnBuffer(u64, Vec<u8>),
    /// That capture is to end.
    StopCapture(u64),
    /// Say what is known of these transports: [`Event::Statistics`]. It takes about half a microsecond for each, so that many are
    /// to be asked about in several orders.
    TellStatistics {
        /// Given back in the answer.
        number: u64,
        /// Which.
        transports: Vec<TransportId>,
    },
}

/// A capture to be, one at a time.
#[derive(Debug)]
pub struct CaptureSpec {
    /// Its number, given back in the answers.
    pub number: u64,
    /// Whose packets.
    pub transport: TransportId,
    /// The most packets, both directions together.
    pub packets: u64,
    /// Media as well, and not only headers.
    pub with_payload: bool,
    /// Memory to write into, a few pieces, each empty and of some kilobytes at least. Without more of it packets are missed.
    pub buffers: Vec<Vec<u8>>,
}

/// Why a capture is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CaptureEnd {
    /// There are as many packets as were asked for.
    Complete,
    /// It was to end.
    Asked,
    /// The transport is gone, or was never there.
    Gone,
    /// Another one is under way, or there was no memory to write into.
    Busy,
}

/// A transport to be.
#[derive(Debug)]
pub struct TransportSpec {
    /// Its id.
    pub id: TransportId,
    /// The connection that it belongs to; none if it has nothing to share with others.
    pub connection: Option<ConnectionId>,
    /// Our ICE credentials. The ufrag is unique on this engine.
    pub local_ufrag: String,
    /// Our password.
    pub local_pwd: String,
    /// The peer's credentials, if known yet: ufrag, pwd.
    pub remote: Option<(String, String)>,
}

/// New ICE credentials for both sides of a transport.
#[derive(Debug)]
pub struct IceRestart {
    /// Whose.
    pub transport: TransportId,
    /// Our new ufrag and password.
    pub local: (String, String),
    /// The peer's.
    pub remote: (String, String),
}

/// A stream to receive.
#[derive(Debug)]
pub struct PublisherSpec {
    /// Its id.
    pub id: PublisherId,
    /// Where it arrives.
    pub transport: TransportId,
    /// Its media sections.
    pub media: Vec<PublishedMedia>,
}

/// A stream to take over from another worker.
#[derive(Debug)]
pub struct RemotePublisherSpec {
    /// Its id, the same as over there.
    pub id: PublisherId,
    /// The tap that it comes through.
    pub tap: TapId,
    /// The worker that has its transport.
    pub worker: u16,
    /// Its media sections, the same as over there.
    pub media: Vec<PublishedMedia>,
}

/// Audio or video.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Sound.
    Audio,
    /// Pictures.
    Video,
}

/// One media section of a published stream.
#[derive(Clone, Debug)]
pub struct PublishedMedia {
    /// Audio or video.
    pub kind: Kind,
    /// Value of the MID extension.
    pub mid: String,
    /// Payload types that may arrive.
    pub codecs: Vec<PayloadType>,
    /// Negotiated header extensions.
    pub extensions: Vec<(u8, Uri)>,
    /// Encodings, lowest first; one without simulcast.
    pub encodings: Vec<EncodingSpec>,
    /// How much of a picture may come, all encodings together, in bit/s. The publisher is told (REMB), and loses encodings if
    /// it goes on above it.
    pub bandwidth_max: Option<u64>,
    /// A screen that is shared: where there is not room for all, it comes before cameras, that of who speaks included.
    pub is_screen: bool,
}

/// A payload type and what it stands for.
#[derive(Clone, Copy, Debug)]
pub struct PayloadType {
    /// 0 to 127.
    pub payload_type: u8,
    /// The codec.
    pub codec: Codec,
    /// Hertz.
    pub clock_rate: u32,
    /// Payload type of its RTX, if negotiated.
    pub rtx: Option<u8>,
    /// Generic NACK negotiated.
    pub nack: bool,
    /// PLI negotiated.
    pub pli: bool,
    /// FIR negotiated.
    pub fir: bool,
    /// REMB negotiated.
    pub remb: bool,
    /// Transport-wide feedback negotiated.
    pub transport_cc: bool,
}

/// One version of a published medium.
#[derive(Clone, Debug, Default)]
pub struct EncodingSpec {
    /// RID, with simulcast.
    pub rid: Option<String>,
    /// SSRC, if announced.
    pub ssrc: Option<u32>,
    /// SSRC of its RTX, if announced.
    pub rtx_ssrc: Option<u32>,
}

/// A copy to send.
#[derive(Debug)]
pub struct SubscriberSpec {
    /// Its id.
    pub id: SubscriberId,
    /// Where it leaves.
    pub transport: TransportId,
    /// What it copies.
    pub publisher: PublisherId,
    /// Its media sections.
    pub media: Vec<SubscribedMedia>,
}

/// What is forwarded of a medium at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LayerLimit {
    /// Place of the highest encoding among those of the publisher's medium, from zero, lowest first; `None` for no picture at
    /// all. If neither this nor a lower one arrives, the lowest that does is forwarded.
    pub encoding: Option<u8>,
    /// The highest temporal layer, from zero, where the codec has such (VP8: RFC 7741 §4.2, TID; others by the dependency descriptor, from the next key frame on).
    pub temporal: u8,
}

impl LayerLimit {
    /// Everything is forwarded.
    pub const NONE: Self = Self {
        encoding: Some(u8::MAX),
        temporal: u8::MAX,
    };
}

impl Default for LayerLimit {
    fn default() -> Self {
        Self::NONE
    }
}

/// One media section of a subscriber.
#[derive(Debug)]
pub struct SubscribedMedia {
    /// Audio or video.
    pub kind: Kind,
    /// Value of the MID extension that we write.
    pub mid: String,
    /// Our SSRC.
    pub ssrc: u32,
    /// The SSRC of our retransmissions.
    pub rtx_ssrc: Option<u32>,
    /// CNAME in our SDES.
    pub cname: String,
    /// The publisher's payload type, and ours.
    pub codecs: Vec<(u8, PayloadType)>,
    /// Negotiated header extensions.
    pub extensions: Vec<(u8, Uri)>,
    /// How much of a picture is sent at most, in bit/s, as far as encodings and temporal layers allow.
    pub bandwidth_max: Option<u64>,
}

/// News from the engine.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    /// A DTLS datagram from an address that passed a check.
    Dtls {
        /// Whose.
        transport: TransportId,
        /// Where it came from.
        from: SocketAddr,
        /// The whole datagram.
        datagram: Vec<u8>,
    },
    /// The peer's address is proven: the handshake's answers have somewhere to go.
    IceConnected(TransportId),
    /// Media goes to another address of the peer from now on, or to its first. Left out when too much news is waiting: whoever
    /// acts on it must do without at times.
    PathSelected {
        /// Whose.
        transport: TransportId,
        /// The peer.
        remote: SocketAddr,
        /// The address of ours that the peer uses.
        local: IpAddr,
    },
    /// How loud a publisher is, a few times a second while it speaks. Left out when too much news is waiting.
    Heard {
        /// Whose sound.
        publisher: PublisherId,
        /// What there was of it lately.
        activity: Activity,
    },
    /// Something is wrong with a transport, and has been for seconds; or nothing any more. Told when it changes.
    Standing {
        /// Which.
        transport: TransportId,
        /// What is wrong.
        trouble: Option<Trouble>,
    },
    /// The transport is gone from the engine by itself.
    Closed {
        /// Whose.
        transport: TransportId,
        /// Why.
        reason: CloseReason,
    },
    /// Packets of a capture, for [`capture::records`](crate::capture::records).
    Captured {
        /// The capture.
        number: u64,
        /// The packets.
        records: Vec<u8>,
    },
    /// A capture is over. Nothing comes of it after this.
    CaptureEnded {
        /// The capture.
        number: u64,
        /// Packets that were copied.
        packets: u64,
        /// Packets for which there was no memory.
        missed: u64,
        /// Why it is over.
        why: CaptureEnd,
    },
    /// The answer to [`Command::TellStatistics`].
    Statistics {
        /// As it was asked.
        number: u64,
        /// Of those transports that are here.
        transports: Vec<TransportStatistics>,
    },
    /// An order that can't be followed.
    Refused {
        /// The transport it was about.
        transport: TransportId,
        /// What is wrong, in words.
        why: &'static str,
    },
}

/// Why nothing flows on a transport, as far as the engine can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Trouble {
    /// No connectivity check arrived.
    NoCheck,
    /// Checks of its peer are for a ufrag that nobody has.
    UnknownUfrag,
    /// Checks for it have a wrong MESSAGE-INTEGRITY.
    WrongIntegrity,
    /// Checks arrive, and the peer's credentials are not known.
    NoRemoteDescription,
    /// Checks arrive, and ours are not answered.
    AddressNotProven,
    /// An address is proven, and there are no keys: what is missing the handshake knows.
    NoKeys,
    /// Nothing arrives of what is published on it.
    NoMedia,
    /// Sound arrives, and no pictures.
    NoPictures,
    /// What it should send is not there.
    PublisherAbsent,
    /// Nothing arrives of what it should send.
    PublisherSilent,
    /// Pictures arrive, and none to begin with.
    NoKeyFrame,
    /// A picture is paused for want of room on the way to the peer.
    NoRoom,
    /// What arrives was not agreed on with the peer.
    NotForwarded,
}

/// Why the engine lets a transport go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CloseReason {
    /// No check came in time.
    IceTimeout,
    /// The peer stopped answering consent checks (RFC 7675).
    ConsentLost,
}
