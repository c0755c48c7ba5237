//! What can be wrong with a description.

use crate::codecs::VideoCodec;

/// Why a description was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The text is longer than [`MAX_BYTES`](crate::MAX_BYTES).
    #[error("the description has {bytes} bytes, more than {}", crate::MAX_BYTES)]
    TooLong {
        /// Its length, bytes.
        bytes: usize,
    },
    /// The text has more than [`MAX_LINES`](crate::MAX_LINES) lines.
    #[error("the description has more than {} lines", crate::MAX_LINES)]
    TooManyLines,
    /// The text has more than [`MAX_MEDIA`](crate::MAX_MEDIA) media sections.
    #[error("line {line}: more than {} media sections", crate::MAX_MEDIA)]
    TooManyMedia {
        /// The first line that is too much.
        line: u32,
    },
    /// A line is not what the grammar asks for.
    #[error("line {line}: {what}")]
    Syntax {
        /// The line, counted from 1; 0 where the text as a whole is meant.
        line: u32,
        /// What is wrong with it.
        what: &'static str,
    },
    /// The one video codec that is allowed is not among those offered.
    #[error("{} is required and not offered", .0.name())]
    ForcedCodecNotOffered(VideoCodec),
    /// Not one media section can be used.
    #[error("no media section can be used: nothing is sent the right way in a codec that we know")]
    NoUsableMedia,
    /// The peer's DTLS role does not fit ours: we are passive, so it has to be able to start (RFC 5763 §5).
    #[error("media section {mid:?}: a=setup lets the peer not start DTLS")]
    Setup {
        /// The `a=mid` of the section.
        mid: String,
    },
    /// No ICE credentials are given.
    #[error("media section {mid:?}: a=ice-ufrag or a=ice-pwd is missing")]
    NoIceCredentials {
        /// The `a=mid` of the section.
        mid: String,
    },
    /// No certificate fingerprint is given in sha-256, sha-384 or sha-512.
    #[error("media section {mid:?}: no a=fingerprint in sha-256, sha-384 or sha-512")]
    NoFingerprint {
        /// The `a=mid` of the section.
        mid: String,
    },
    /// RTCP would need a port of its own.
    #[error("media section {mid:?}: a=rtcp-mux is missing")]
    NoRtcpMux {
        /// The `a=mid` of the section.
        mid: String,
    },
    /// Sections that would need a transport each.
    #[error("media section {mid:?} is not in the bundle group of the first")]
    NotBundled {
        /// The `a=mid` of the section.
        mid: String,
    },
    /// Both ends are ICE-lite, so neither would send checks.
    #[error("the peer is ICE-lite like us")]
    PeerIsLite,
}

impl Error {
    /// A grammar error in `line`.
    pub(crate) fn syntax(line: u32, what: &'static str) -> Self {
        Self::Syntax { line, what }
    }
}
