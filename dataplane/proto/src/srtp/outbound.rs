//! The sending SRTP context. It encrypts no packet index twice, whatever it is asked.

use thiserror::Error;

use super::backend::prefetch_front;
use super::kdf::Use;
use super::outbound_rtp::{HOT_LEN, OutboundRtp};
use super::profile::{KeyError, MasterKey, Profile};
use super::seldom::SeldomUsed;
use super::transform::{RTCP_CLEAR_LEN, RtpParts};

/// The SRTCP index has 31 bits; the keys end with it (RFC 3711 §9.2).
const RTCP_INDEX_END: u32 = 1 << 31;

/// Why a packet was not encrypted. Nothing was written that could be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
pub enum Refusal {
    /// Less than an RTP header, or less than the eight octets every RTCP packet begins with.
    #[error("not an RTP or RTCP packet")]
    TooShort,
    /// The header names another SSRC or sequence number than the caller, so that the peer could not decrypt it; or there
    /// is padding and the header does not say so.
    #[error("the RTP header contradicts SSRC, index or padding")]
    HeaderMismatch,
    /// More than [`MAX_PREFIX_LEN`] octets are to go before the payload.
    #[error("prefix too long")]
    PrefixTooLong,
    /// The protected packet does not fit into the buffer.
    #[error("buffer too small for the protected packet")]
    BufferTooSmall,
    /// This index was encrypted before; doing it again would give the key away (RFC 3711 §9.1, RFC 7714 §8.4).
    #[error("packet index used before")]
    Repeated,
    /// So far behind the highest index that a repetition could not be told.
    #[error("packet index behind the window")]
    TooOld,
    /// A new SSRC, and [`MAX_OUTBOUND_SOURCES`] are in use.
    #[error("too many SSRCs on one transport")]
    TooManySources,
    /// No index is left; the transport needs new keys.
    #[error("packet index exhausted")]
    IndexExhausted,
    /// The job names a context that does not exist.
    #[error("no such SRTP context")]
    NoContext,
    /// The cipher library failed.
    #[error("the cipher library failed")]
    Cipher,
}

/// One transport's SRTP context for what we send: RTP and RTCP. Who sends for many transports keeps the RTP half in a
/// [`super::Slab`].
///
/// Of one master key there must be one `Outbound` only, or indices repeat behind its back.
#[derive(Debug)]
pub struct Outbound {
    rtp: OutboundRtp,
    pub(super) rtcp: OutboundRtcp,
}

impl Outbound {
    /// Derives the session keys from our master key.
    ///
    /// # Errors
    /// [`KeyError`] if the cipher library refuses a key.
    pub fn new(master: &MasterKey) -> Result<Self, KeyError> {
        Ok(Self {
            rtp: OutboundRtp::new(master)?,
            rtcp: OutboundRtcp::new(master)?,
        })
    }

    /// The profile in use.
    pub fn profile(&self) -> Profile {
        self.rtp.profile()
    }

    /// How many SSRCs were sent.
    pub fn source_count(&self) -> usize {
        self.rtp.source_count()
    }

    /// Writes a protected RTP packet to the front of `out` and returns its length: header in clear, `prefix` and
    /// `payload` encrypted, tag. `prefix` is for what is not in the shared payload, such as the original sequence number
    /// of RTX (RFC 4588 §4) or a rewritten descriptor.
    ///
    /// `index` is ROC × 2^16 + sequence number. The caller owns the ROC, starts it at 0, and starts the sequence number
    /// below 2^15: a peer that loses all packets before the wrap would otherwise never guess ROC 1.
    ///
    /// # Errors
    /// [`Refusal`]; after [`Refusal::Cipher`] the index counts as used, after any other nothing changed.
    pub fn protect_rtp(
        &mut self,
        index: u64,
        ssrc: u32,
        header: &[u8],
        prefix: &[u8],
        payload: &[u8],
        out: &mut [u8],
    ) -> Result<usize, Refusal> {
        let parts = RtpParts {
            header,
            prefix,
            payload,
            padding: 0,
        };
        // Late, but all at once instead of piece by piece.
        prefetch_front(&self.rtp, HOT_LEN);
        self.rtp.protect(index, ssrc, parts, out)
    }

    /// As [`OutboundRtcp::protect`].
    ///
    /// # Errors
    /// [`Refusal`]; after [`Refusal::Cipher`] an index counts as used, after any other nothing changed.
    pub fn protect_rtcp(&mut self, packet: &[u8], out: &mut [u8]) -> Result<usize, Refusal> {
        self.rtcp.protect(packet, out)
    }
}

/// The RTCP half of what we send on one transport. Of one master key there must be one only.
#[derive(Debug)]
pub struct OutboundRtcp {
    keys: SeldomUsed,
    /// The next SRTCP index. RFC 3711 §3.2.1 counts per SSRC; one count for all is stricter and also never repeats.
    pub(super) next_index: u32,
}

impl OutboundRtcp {
    /// Derives the session keys for RTCP from our master key.
    ///
    /// # Errors
    /// [`KeyError`] if the cipher library refuses a key.
    pub fn new(master: &MasterKey) -> Result<Self, KeyError> {
        Ok(Self {
            keys: SeldomUsed::new(master, Use::Rtcp)?,
            next_index: 0,
        })
    }

    /// The profile in use.
    pub fn profile(&self) -> Profile {
        self.keys.profile()
    }

    /// Writes a protected, encrypted RTCP packet to the front of `out` and returns its length. `packet` may be compound.
    ///
    /// # Errors
    /// [`Refusal`]; after [`Refusal::Cipher`] an index counts as used, after any other nothing changed.
    pub fn protect(&mut self, packet: &[u8], out: &mut [u8]) -> Result<usize, Refusal> {
        let (clear, _) = packet
            .split_first_chunk::<RTCP_CLEAR_LEN>()
            .ok_or(Refusal::TooShort)?;
        let [_, _, _, _, ssrc @ ..] = *clear;
        let len = packet
            .len()
            .checked_add(self.profile().rtcp_overhead())
            .ok_or(Refusal::BufferTooSmall)?;
        let out = out.get_mut(..len).ok_or(Refusal::BufferTooSmall)?;
        let index = self.next_index;
        if index >= RTCP_INDEX_END {
            return Err(Refusal::IndexExhausted);
        }
        self.next_index = index.saturating_add(1);
        self.keys
            .with(|keys| keys.protect_rtcp(u32::from_be_bytes(ssrc), index, packet, out))
            .map_err(|_| Refusal::Cipher)?;
        Ok(len)
    }
}
