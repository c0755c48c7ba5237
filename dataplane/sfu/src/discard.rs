//! Where and why a packet ended without being forwarded.
//!
//! Every datagram ends as forwarded, consumed or dropped, and a drop has exactly one reason at exactly one stage. Both
//! enums are closed, so that a table of plain cells counts them and a scrape can name every cell.

/// A step of the way of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stage {
    /// First byte to protocol, address to transport (RFC 7983, RFC 5761).
    Classify,
    /// Authentication, decryption, replay window (RFC 3711, RFC 7714).
    Unprotect,
    /// SSRC to encoding, RTX unwrapped, reception recorded (RFC 3550, RFC 4588).
    Ingest,
    /// Remembered, and turned around from publishers to subscribers.
    Route,
    /// The subscriber's SSRC, payload type, sequence number, timestamp and extensions.
    Rewrite,
    /// Encryption from the slot into a burst.
    Protect,
    /// What the engine says itself: STUN, DTLS and RTCP on their way out.
    Control,
    /// Copied into a slot of another worker, which has subscribers.
    CrossOut,
    /// Taken over from another worker, which has the publisher.
    CrossIn,
}

/// Number of stages.
pub const STAGES: usize = 9;

impl Stage {
    /// All stages, in the order of the path.
    pub const ALL: [Self; STAGES] = [
        Self::Classify,
        Self::Unprotect,
        Self::Ingest,
        Self::Route,
        Self::Rewrite,
        Self::Protect,
        Self::Control,
        Self::CrossOut,
        Self::CrossIn,
    ];

    /// The name in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Classify => "classify",
            Self::Unprotect => "unprotect",
            Self::Ingest => "ingest",
            Self::Route => "route",
            Self::Rewrite => "rewrite",
            Self::Protect => "protect",
            Self::Control => "control",
            Self::CrossOut => "cross_out",
            Self::CrossIn => "cross_in",
        }
    }
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// Why a packet was not forwarded.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum DropReason { $($(#[$doc])* $name,)* }

        impl DropReason {
            /// All reasons.
            pub const ALL: [Self; REASONS] = [$(Self::$name,)*];

            /// The name in metrics.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }

        /// Number of reasons.
        pub const REASONS: usize = [$($text,)*].len();
    };
}

reasons! {
    /// No protocol of RFC 7983 begins with this byte, or there is no byte.
    UnknownProtocol = "unknown_protocol",
    /// The address has never proven a password of ours.
    Stranger = "stranger",
    /// Not a STUN message that we understand.
    StunMalformed = "stun_malformed",
    /// A check for a ufrag that nobody has.
    StunUnknownUfrag = "stun_unknown_ufrag",
    /// Message integrity does not match, or a response that nobody waits for.
    StunUnauthentic = "stun_unauthentic",
    /// More datagrams of the handshake in one turn than are taken.
    DtlsFlood = "dtls_flood",
    /// The keys of the transport are not ready.
    NoKeys = "no_keys",
    /// The authentication tag does not match.
    Unauthentic = "unauthentic",
    /// Seen before, or too old to tell (RFC 3711 §3.3.2).
    Replay = "replay",
    /// The transport has as many RTP streams as it may.
    TooManySources = "too_many_sources",
    /// Not a valid SRTP or SRTCP packet.
    SrtpMalformed = "srtp_malformed",
    /// Not a valid RTP packet.
    RtpMalformed = "rtp_malformed",
    /// Not a valid RTCP packet.
    RtcpMalformed = "rtcp_malformed",
    /// Fault injection is on.
    Injected = "injected",
    /// Neither SSRC nor MID nor RID belongs to a published medium.
    UnknownEncoding = "unknown_encoding",
    /// The payload type was not negotiated.
    UnknownPayloadType = "unknown_payload_type",
    /// The packet came before, perhaps by RTX.
    Duplicate = "duplicate",
    /// Older than the window in which duplicates are told.
    TooOld = "too_old",
    /// A retransmission without a packet in it or of an RTP stream that we don't know.
    RtxMalformed = "rtx_malformed",
    /// More comes than the ceiling of the medium allows, and has for seconds.
    AboveCeiling = "above_ceiling",
    /// Nobody subscribes.
    NoSubscriber = "no_subscriber",
    /// Another encoding of the same video is being forwarded.
    NotSelected = "not_selected",
    /// The subscriber begins at the next key frame.
    AwaitingKeyFrame = "awaiting_key_frame",
    /// The packet precedes the first one that the subscriber got.
    BeforeStart = "before_start",
    /// Another RTP stream has taken the place of the one that it belongs to.
    Superseded = "superseded",
    /// The subscriber did not negotiate this codec.
    CodecNotNegotiated = "codec_not_negotiated",
    /// More packets wait for this transport than may.
    QueueFull = "queue_full",
    /// It waited here until it was of no use any more.
    Stale = "stale",
    /// The subscriber, its transport, or the publisher went away with the packet on its way.
    Gone = "gone",
    /// No address of the peer is proven.
    NoAddress = "no_address",
    /// No room for it in a burst.
    NoBurst = "no_burst",
    /// Longer than a datagram that we send.
    TooLong = "too_long",
    /// The key has protected as many packets as it may (RFC 3711 §9.2).
    KeyExhausted = "key_exhausted",
    /// The worker that it should cross to has no more slots lent.
    NoLoan = "no_loan",
    /// The worker that it should cross to is about to lend its first slots.
    NoLoanYet = "no_loan_yet",
}

/// Counts of drops, by stage and reason.
#[derive(Clone, Debug)]
pub struct DropTable(pub [[u64; REASONS]; STAGES]);

impl Default for DropTable {
    fn default() -> Self {
        Self([[0; REASONS]; STAGES])
    }
}

impl DropTable {
    /// Counts one packet.
    pub fn count(&mut self, stage: Stage, reason: DropReason) {
        self.0[stage as usize][reason as usize] += 1;
    }

    /// Packets dropped at `stage` for `reason`.
    pub fn get(&self, stage: Stage, reason: DropReason) -> u64 {
        self.0[stage as usize][reason as usize]
    }

    /// Packets dropped at `stage`.
    pub fn at(&self, stage: Stage) -> u64 {
        self.0[stage as usize].iter().sum()
    }

    /// Packets dropped for `reason`, wherever.
    pub fn of(&self, reason: DropReason) -> u64 {
        self.0.iter().map(|row| row[reason as usize]).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_list_every_cell_once() {
        for (index, stage) in Stage::ALL.into_iter().enumerate() {
            assert_eq!(stage as usize, index);
        }
        let mut names = std::collections::BTreeSet::new();
        for (index, reason) in DropReason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, index);
            assert!(names.insert(reason.as_str()));
        }
    }
}
