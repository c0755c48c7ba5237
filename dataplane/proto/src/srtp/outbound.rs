//! The sending SRTP context. It encrypts no packet index twice, whatever it is asked.

use thiserror::Error;

use super::kdf::Use;
use super::profile::{KeyError, MasterKey, Profile};
use super::replay::{MAX_RTP_INDEX, Verdict, Window};
use super::sources::Sources;
use super::transform::{RTCP_CLEAR_LEN, RtpParts, Transform};

/// How many SSRCs we may send on one transport. They are never forgotten: an SSRC that returned with an old index
/// would repeat a nonce.
pub const MAX_OUTBOUND_SOURCES: usize = 1024;

/// The longest prefix that can be put before a payload, in octets.
pub const MAX_PREFIX_LEN: usize = 16;

/// For how many SSRCs a new context has room without allocating.
const RESERVED_SOURCES: usize = 8;

/// The shortest RTP header (RFC 3550 §5.1), in octets.
const RTP_HEADER_MIN: usize = 12;

/// 1024 packets.
const WINDOW_WORDS: usize = 16;

/// How many RTP packet indices, the highest included, are remembered per SSRC.
pub const RTP_SENT_WINDOW: u64 = Window::<WINDOW_WORDS>::SIZE;

/// The SRTCP index has 31 bits; the keys end with it (RFC 3711 §9.2).
const RTCP_INDEX_END: u32 = 1 << 31;

/// Why a packet was not encrypted. Nothing was written that could be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
pub enum Refusal {
    /// Less than an RTP header, or less than the eight octets every RTCP packet begins with.
    #[error("not an RTP or RTCP packet")]
    TooShort,
    /// The header names another SSRC or sequence number than the caller; the peer could not decrypt it.
    #[error("the RTP header contradicts SSRC or index")]
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

/// One transport's SRTP context for what we send: RTP and RTCP.
///
/// Of one master key there must be one `Outbound` only, or indices repeat behind its back.
#[derive(Debug)]
pub struct Outbound {
    profile: Profile,
    rtp: Transform,
    rtcp: Transform,
    sources: Sources<WINDOW_WORDS>,
    /// The next SRTCP index. RFC 3711 §3.2.1 counts per SSRC; one count for all is stricter and also never repeats.
    pub(super) next_rtcp_index: u32,
}

impl Outbound {
    /// Derives the session keys from our master key.
    ///
    /// # Errors
    /// [`KeyError`] if the cipher library refuses a key.
    pub fn new(master: &MasterKey) -> Result<Self, KeyError> {
        Ok(Self {
            profile: master.profile(),
            rtp: Transform::new(master, Use::Rtp)?,
            rtcp: Transform::new(master, Use::Rtcp)?,
            sources: Sources::new(RESERVED_SOURCES, MAX_OUTBOUND_SOURCES),
            next_rtcp_index: 0,
        })
    }

    /// The profile in use.
    pub fn profile(&self) -> Profile {
        self.profile
    }

    /// How many SSRCs were sent.
    pub fn source_count(&self) -> usize {
        self.sources.len()
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
        };
        check_header(header, ssrc, index)?;
        if prefix.len() > MAX_PREFIX_LEN {
            return Err(Refusal::PrefixTooLong);
        }
        let len = header
            .len()
            .checked_add(prefix.len())
            .and_then(|len| len.checked_add(payload.len()))
            .and_then(|len| len.checked_add(self.profile.rtp_overhead()))
            .ok_or(Refusal::BufferTooSmall)?;
        let out = out.get_mut(..len).ok_or(Refusal::BufferTooSmall)?;
        self.reserve(ssrc, index)?;
        self.rtp
            .protect_rtp(ssrc, index, parts, out)
            .map_err(|_| Refusal::Cipher)?;
        Ok(len)
    }

    /// Writes a protected, encrypted RTCP packet to the front of `out` and returns its length. `packet` may be compound.
    ///
    /// # Errors
    /// [`Refusal`]; after [`Refusal::Cipher`] an index counts as used, after any other nothing changed.
    pub fn protect_rtcp(&mut self, packet: &[u8], out: &mut [u8]) -> Result<usize, Refusal> {
        let (clear, _) = packet
            .split_first_chunk::<RTCP_CLEAR_LEN>()
            .ok_or(Refusal::TooShort)?;
        let [_, _, _, _, ssrc @ ..] = *clear;
        let len = packet
            .len()
            .checked_add(self.profile.rtcp_overhead())
            .ok_or(Refusal::BufferTooSmall)?;
        let out = out.get_mut(..len).ok_or(Refusal::BufferTooSmall)?;
        let index = self.next_rtcp_index;
        if index >= RTCP_INDEX_END {
            return Err(Refusal::IndexExhausted);
        }
        self.next_rtcp_index = index.saturating_add(1);
        self.rtcp
            .protect_rtcp(u32::from_be_bytes(ssrc), index, packet, out)
            .map_err(|_| Refusal::Cipher)?;
        Ok(len)
    }

    /// Takes an index for one encryption, or refuses.
    fn reserve(&mut self, ssrc: u32, index: u64) -> Result<(), Refusal> {
        if let Some(window) = self.sources.find(ssrc) {
            match window.check(index) {
                Verdict::Fresh => window.commit(index),
                Verdict::Seen => return Err(Refusal::Repeated),
                Verdict::TooOld => return Err(Refusal::TooOld),
            }
            return Ok(());
        }
        if self.sources.is_full() {
            return Err(Refusal::TooManySources);
        }
        self.sources.insert(ssrc, index);
        Ok(())
    }
}

/// The receiver takes SSRC and sequence number for its nonce from the header, so they must be the ones we encrypt with.
fn check_header(header: &[u8], ssrc: u32, index: u64) -> Result<(), Refusal> {
    let fixed = header
        .first_chunk::<RTP_HEADER_MIN>()
        .ok_or(Refusal::TooShort)?;
    let [_, _, sequence @ .., _, _, _, _, _, _, _, _] = *fixed;
    let [_, _, _, _, _, _, _, _, header_ssrc @ ..] = *fixed;
    if index > MAX_RTP_INDEX {
        return Err(Refusal::IndexExhausted);
    }
    if u32::from_be_bytes(header_ssrc) != ssrc
        || u16::from_be_bytes(sequence) != (index & 0xffff) as u16
    {
        return Err(Refusal::HeaderMismatch);
    }
    Ok(())
}
