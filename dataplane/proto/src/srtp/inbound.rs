//! The receiving SRTP context: authenticate first, then believe.

use thiserror::Error;

use super::backend::prefetch_front;
use super::kdf::Use;
use super::profile::{KeyError, MasterKey, Profile};
use super::replay::{Verdict, Window, estimate_index};
use super::seldom::SeldomUsed;
use super::sources::Sources;
use super::transform::{ENCRYPTED_FLAG, RTCP_CLEAR_LEN, Transform, rtcp_word};

/// How many SSRCs a peer may have in use on one transport, in RTP and in RTCP each. An answer describes a handful.
pub const MAX_INBOUND_SOURCES: usize = 64;

/// For how many SSRCs a new context has room without allocating: audio, video, and RTX of both.
const RESERVED_SOURCES: usize = 4;

/// The shortest RTP header (RFC 3550 §5.1), in octets.
const RTP_HEADER_MIN: usize = 12;

/// 1024 packets: at 1000 packets a second, a second of reordering.
const RTP_WINDOW_WORDS: usize = 16;

/// 128 packets, twice the least that RFC 3711 §3.3.2 asks for.
const RTCP_WINDOW_WORDS: usize = 2;

/// How many RTP packet indices, the highest included, are remembered per SSRC.
pub const RTP_REPLAY_WINDOW: u64 = Window::<RTP_WINDOW_WORDS>::SIZE;

/// The largest packet for which a second rollover counter is tried, in octets; no datagram on a usual path is larger.
const RETRY_MAX_LEN: usize = 2048;

/// One turn of the sequence number.
const ROLLOVER: u64 = 1 << 16;

/// Why a packet was not let in. Nothing else changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
pub enum Reject {
    /// Shorter than header, tag and index together.
    #[error("too short for SRTP")]
    TooShort,
    /// This index was let in before.
    #[error("replayed")]
    Replayed,
    /// So far behind the highest index that a replay could not be told.
    #[error("behind the replay window")]
    TooOld,
    /// The tag is wrong.
    #[error("not authentic")]
    Unauthentic,
    /// A new SSRC, and [`MAX_INBOUND_SOURCES`] are in use.
    #[error("too many SSRCs on one transport")]
    TooManySources,
    /// The 48-bit index is used up; the keys are at their end (RFC 3711 §9.2).
    #[error("packet index exhausted")]
    IndexExhausted,
    /// An RTP packet, although none is expected; see [`Inbound::for_rtcp`].
    #[error("no RTP is expected")]
    Unexpected,
}

/// One transport's SRTP context for what the peer sends: RTP and RTCP.
///
/// No state is made or moved before a packet is authentic. On an error the content of the packet is lost.
#[derive(Debug)]
pub struct Inbound {
    rtcp: SeldomUsed,
    rtcp_sources: Sources<RTCP_WINDOW_WORDS>,
    rtp: Rtp,
}

/// RTP, which most peers of a fan-out do not send.
#[derive(Debug)]
enum Rtp {
    Unexpected(SeldomUsed),
    Expected(Box<InboundRtp>),
}

#[derive(Debug)]
struct InboundRtp {
    keys: Transform,
    sources: Sources<RTP_WINDOW_WORDS>,
}

impl Inbound {
    /// Derives the session keys from the peer's master key.
    ///
    /// # Errors
    /// [`KeyError`] if the cipher library refuses a key.
    pub fn new(master: &MasterKey) -> Result<Self, KeyError> {
        let mut inbound = Self::for_rtcp(master)?;
        inbound.expect_rtp()?;
        Ok(inbound)
    }

    /// The same for a peer that sends RTCP only, so far. It takes less memory by a kilobyte.
    ///
    /// # Errors
    /// [`KeyError`] if the cipher library refuses a key.
    pub fn for_rtcp(master: &MasterKey) -> Result<Self, KeyError> {
        Ok(Self {
            rtcp: SeldomUsed::new(master, Use::Rtcp)?,
            rtcp_sources: Sources::new(RESERVED_SOURCES, MAX_INBOUND_SOURCES),
            rtp: Rtp::Unexpected(SeldomUsed::new(master, Use::Rtp)?),
        })
    }

    /// From now on RTP is expected too. Once is enough.
    ///
    /// # Errors
    /// [`KeyError`] if the cipher library refuses a key; then nothing has changed.
    pub fn expect_rtp(&mut self) -> Result<(), KeyError> {
        if let Rtp::Unexpected(keys) = &self.rtp {
            self.rtp = Rtp::Expected(Box::new(InboundRtp {
                keys: keys.transform()?,
                sources: Sources::new(RESERVED_SOURCES, MAX_INBOUND_SOURCES),
            }));
        }
        Ok(())
    }

    /// Takes memory for so many RTP streams more, in RTP and RTCP, and for as many others that take the place of them as come
    /// before they are forgotten. What comes beyond takes memory with its first packet.
    pub fn reserve_sources(&mut self, more: usize) {
        self.rtcp_sources
            .reserve(more.saturating_add(RESERVED_SOURCES));
        if let Rtp::Expected(rtp) = &mut self.rtp {
            rtp.sources.reserve(more.saturating_add(RESERVED_SOURCES));
        }
    }

    /// The profile in use.
    pub fn profile(&self) -> Profile {
        self.rtcp.profile()
    }

    /// How many SSRCs have sent authentic RTP and are not forgotten.
    pub fn source_count(&self) -> usize {
        match &self.rtp {
            Rtp::Unexpected(_) => 0,
            Rtp::Expected(rtp) => rtp.sources.len(),
        }
    }

    /// Asks for the keys that [`Self::unprotect_rtp`] will read, so that they come at once and not piece by piece. Best called
    /// a few hundred nanoseconds before.
    #[inline]
    pub fn prefetch_keys(&self) {
        if let Rtp::Expected(rtp) = &self.rtp {
            prefetch_front(&**rtp, size_of::<InboundRtp>());
        }
    }

    /// The same for the replay window, some time after the keys.
    #[inline]
    pub fn prefetch_window(&self) {
        if let Rtp::Expected(rtp) = &self.rtp {
            rtp.sources.prefetch();
        }
    }

    /// Authenticates and decrypts an RTP packet in place (RFC 3711 §3.3).
    ///
    /// `header_len` counts CSRCs and header extension; `ssrc` and `sequence` are what the header says. Returns the
    /// length of the plain packet, which is the front of `packet`, and its 48-bit index (ROC × 2^16 + sequence number).
    ///
    /// # Errors
    /// [`Reject`] says why the packet must be dropped.
    pub fn unprotect_rtp(
        &mut self,
        packet: &mut [u8],
        header_len: usize,
        ssrc: u32,
        sequence: u16,
    ) -> Result<(usize, u64), Reject> {
        let overhead = self.profile().rtp_overhead();
        let Rtp::Expected(rtp) = &mut self.rtp else {
            return Err(Reject::Unexpected);
        };
        rtp.prefetch();
        let plain_len = packet
            .len()
            .checked_sub(overhead)
            .filter(|plain_len| header_len >= RTP_HEADER_MIN && *plain_len >= header_len)
            .ok_or(Reject::TooShort)?;
        debug_assert_eq!(packet.get(2..4), Some(sequence.to_be_bytes().as_slice()));
        debug_assert_eq!(packet.get(8..12), Some(ssrc.to_be_bytes().as_slice()));

        let Some(window) = rtp.sources.find(ssrc) else {
            let index = rtp.unprotect_first(packet, header_len, ssrc, sequence)?;
            rtp.sources.insert(ssrc, index);
            return Ok((plain_len, index));
        };
        let index = estimate_index(window.highest(), sequence).ok_or(Reject::IndexExhausted)?;
        admit(window.check(index))?;
        rtp.keys
            .unprotect_rtp(ssrc, index, packet, header_len)
            .map_err(|_| Reject::Unauthentic)?;
        window.commit(index);
        Ok((plain_len, index))
    }

    /// Authenticates and decrypts an RTCP packet in place (RFC 3711 §3.4). Returns the length of the plain, perhaps
    /// compound packet, which is the front of `packet`.
    ///
    /// A packet that is not encrypted (E = 0) is authenticated just the same.
    ///
    /// # Errors
    /// [`Reject`] says why the packet must be dropped.
    pub fn unprotect_rtcp(&mut self, packet: &mut [u8]) -> Result<usize, Reject> {
        let plain_len = packet
            .len()
            .checked_sub(self.profile().rtcp_overhead())
            .filter(|plain_len| *plain_len >= RTCP_CLEAR_LEN)
            .ok_or(Reject::TooShort)?;
        let ssrc = sender_ssrc(packet).ok_or(Reject::TooShort)?;
        let word = rtcp_word(self.profile(), packet).ok_or(Reject::TooShort)?;
        let index = u64::from(u32::from_be_bytes(word) & !ENCRYPTED_FLAG);

        let known = match self.rtcp_sources.find(ssrc) {
            Some(window) => {
                admit(window.check(index))?;
                true
            }
            None => {
                admit_new(
                    index,
                    self.rtcp_sources.is_full(),
                    self.rtcp_sources.recall(ssrc),
                )?;
                false
            }
        };
        self.rtcp
            .with(|keys| keys.unprotect_rtcp(ssrc, word, packet))
            .map_err(|_| Reject::Unauthentic)?;
        match self.rtcp_sources.find(ssrc) {
            Some(window) if known => window.commit(index),
            _ => self.rtcp_sources.insert(ssrc, index),
        }
        Ok(plain_len)
    }

    /// Makes room for another SSRC. Should this one come back, its ROC continues and its old packets stay refused.
    pub fn forget(&mut self, ssrc: u32) {
        if let Rtp::Expected(rtp) = &mut self.rtp {
            rtp.sources.forget(ssrc);
        }
        self.rtcp_sources.forget(ssrc);
    }
}

impl InboundRtp {
    #[inline]
    fn prefetch(&self) {
        prefetch_front(&self.keys, size_of::<Transform>());
        self.sources.prefetch();
    }

    /// The packet of an SSRC that is not in the table. Returns its index.
    fn unprotect_first(
        &self,
        packet: &mut [u8],
        header_len: usize,
        ssrc: u32,
        sequence: u16,
    ) -> Result<u64, Reject> {
        let recalled = self.sources.recall(ssrc);
        let index = match recalled {
            Some(highest) => estimate_index(highest, sequence).ok_or(Reject::IndexExhausted)?,
            None => u64::from(sequence),
        };
        admit_new(index, self.sources.is_full(), recalled)?;

        // A sender that began shortly before its sequence number wrapped may have lost all it sent before the wrap. Its
        // ROC is then 1 although we have seen nothing, and with ROC 0 we would stay deaf to it for good.
        let mut copy = [0u8; RETRY_MAX_LEN];
        let kept = copy
            .get_mut(..packet.len())
            .filter(|_| recalled.is_none() && sequence < 1 << 15);
        let Some(kept) = kept else {
            self.keys
                .unprotect_rtp(ssrc, index, packet, header_len)
                .map_err(|_| Reject::Unauthentic)?;
            return Ok(index);
        };
        kept.copy_from_slice(packet);
        if self
            .keys
            .unprotect_rtp(ssrc, index, packet, header_len)
            .is_ok()
        {
            return Ok(index);
        }
        packet.copy_from_slice(kept);
        let wrapped = index.saturating_add(ROLLOVER);
        self.keys
            .unprotect_rtp(ssrc, wrapped, packet, header_len)
            .map_err(|_| Reject::Unauthentic)?;
        Ok(wrapped)
    }
}

/// What can be said about the packet of a new SSRC before it is authentic.
fn admit_new(index: u64, full: bool, recalled: Option<u64>) -> Result<(), Reject> {
    if full {
        return Err(Reject::TooManySources);
    }
    match recalled {
        Some(highest) if index <= highest => Err(Reject::TooOld),
        _ => Ok(()),
    }
}

fn admit(verdict: Verdict) -> Result<(), Reject> {
    match verdict {
        Verdict::Fresh => Ok(()),
        Verdict::Seen => Err(Reject::Replayed),
        Verdict::TooOld => Err(Reject::TooOld),
    }
}

/// The SSRC of the packet sender, the second word of every RTCP packet (RFC 3550 §6.4).
fn sender_ssrc(packet: &[u8]) -> Option<u32> {
    let ssrc = packet.get(4..RTCP_CLEAR_LEN)?.first_chunk()?;
    Some(u32::from_be_bytes(*ssrc))
}
