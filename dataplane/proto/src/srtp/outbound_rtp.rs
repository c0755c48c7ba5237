//! The RTP half of a sending context, laid out for a cache: what every packet needs comes first and in one piece.

use core::fmt;

use super::kdf::Use;
use super::outbound::Refusal;
use super::profile::{KeyError, MasterKey, Profile};
use super::replay::{MAX_RTP_INDEX, Verdict, Window};
use super::sources::Sources;
use super::transform::{Progress, RtpParts, Transform};

/// How many SSRCs we may send on one transport. They are never forgotten: an SSRC that returned with an old index
/// would repeat a nonce.
pub const MAX_OUTBOUND_SOURCES: usize = 1024;

/// How many SSRCs one transport sends without anything outside its context: audio, video, and RTX of both.
pub const INLINE_SOURCES: usize = 4;

/// The longest prefix that can be put before a payload, in octets.
pub const MAX_PREFIX_LEN: usize = 16;

/// How many RTP packet indices, the highest included, are remembered per SSRC.
pub const RTP_SENT_WINDOW: u64 = Window::<WINDOW_WORDS>::SIZE;

/// The shortest RTP header (RFC 3550 §5.1), in octets.
const RTP_HEADER_MIN: usize = 12;

/// The P bit in the first octet of the header (RFC 3550 §5.1).
const PADDING_BIT: u8 = 0x20;

/// 1024 packets.
const WINDOW_WORDS: usize = 16;

/// Up to here reaches what every packet needs, in octets: keys, salt, and which SSRCs there are.
pub(super) const HOT_LEN: usize = 640;

const _: () = assert!(core::mem::offset_of!(OutboundRtp, windows) <= HOT_LEN);

/// One transport's SRTP context for the RTP that we send. It encrypts no packet index twice, whatever it is asked.
///
/// Of one master key there must be one only, or indices repeat behind its back.
#[repr(C)]
pub(super) struct OutboundRtp {
    keys: Transform,
    profile: Profile,
    /// How many of `ssrcs` and `windows` are in use.
    inline: u8,
    ssrcs: [u32; INLINE_SOURCES],
    /// All other SSRCs.
    more: Option<Box<Sources<WINDOW_WORDS>>>,
    windows: [Window<WINDOW_WORDS>; INLINE_SOURCES],
}

impl OutboundRtp {
    /// Derives the session keys for RTP from our master key.
    pub(super) fn new(master: &MasterKey) -> Result<Self, KeyError> {
        Ok(Self {
            keys: Transform::new(master, Use::Rtp)?,
            profile: master.profile(),
            inline: 0,
            ssrcs: [0; INLINE_SOURCES],
            more: None,
            windows: [const { Window::empty() }; INLINE_SOURCES],
        })
    }

    pub(super) fn profile(&self) -> Profile {
        self.profile
    }

    /// How many SSRCs were sent.
    pub(super) fn source_count(&self) -> usize {
        let more = self.more.as_ref().map_or(0, |more| more.len());
        usize::from(self.inline).saturating_add(more)
    }

    /// Asks for the part of a window that [`Self::protect`] will read for this packet. The hot part should be there.
    #[inline]
    pub(super) fn prefetch_window(&self, ssrc: u32, index: u64) {
        let known = self.ssrcs.iter().zip(&self.windows);
        let known = known.take(usize::from(self.inline));
        for (known, window) in known {
            if *known == ssrc {
                window.prefetch(index);
            }
        }
    }

    /// Writes a protected RTP packet to the front of `out` and returns its length.
    pub(super) fn protect(
        &mut self,
        index: u64,
        ssrc: u32,
        parts: RtpParts<'_>,
        out: &mut [u8],
    ) -> Result<usize, Refusal> {
        let len = self.admit(index, ssrc, parts, out.len())?;
        let out = out.get_mut(..len).ok_or(Refusal::BufferTooSmall)?;
        self.keys
            .protect_rtp(ssrc, index, parts, out)
            .map_err(|_| Refusal::Cipher)?;
        Ok(len)
    }

    /// The same, but the tag may still be missing, as with [`Transform::encrypt_rtp`].
    pub(super) fn encrypt(
        &mut self,
        index: u64,
        ssrc: u32,
        parts: RtpParts<'_>,
        out: &mut [u8],
    ) -> Result<(usize, Progress), Refusal> {
        let len = self.admit(index, ssrc, parts, out.len())?;
        let out = out.get_mut(..len).ok_or(Refusal::BufferTooSmall)?;
        let progress = self
            .keys
            .encrypt_rtp(ssrc, index, parts, out)
            .map_err(|_| Refusal::Cipher)?;
        Ok((len, progress))
    }

    pub(super) fn keys(&self) -> &Transform {
        &self.keys
    }

    /// Checks a packet, takes its index, and returns how long it will be.
    fn admit(
        &mut self,
        index: u64,
        ssrc: u32,
        parts: RtpParts<'_>,
        room: usize,
    ) -> Result<usize, Refusal> {
        let len = protected_len(self.profile, parts).ok_or(Refusal::BufferTooSmall)?;
        check(index, ssrc, parts)?;
        if len > room {
            return Err(Refusal::BufferTooSmall);
        }
        self.reserve(ssrc, index)?;
        Ok(len)
    }

    /// Takes an index for one encryption, or refuses.
    fn reserve(&mut self, ssrc: u32, index: u64) -> Result<(), Refusal> {
        let known = self.ssrcs.iter().zip(&mut self.windows);
        let known = known.take(usize::from(self.inline));
        for (known, window) in known {
            if *known == ssrc {
                return take(window, index);
            }
        }
        self.reserve_elsewhere(ssrc, index)
    }

    /// The same for an SSRC that is new or one of many.
    #[cold]
    fn reserve_elsewhere(&mut self, ssrc: u32, index: u64) -> Result<(), Refusal> {
        let at = usize::from(self.inline);
        if let (Some(known), Some(window)) = (self.ssrcs.get_mut(at), self.windows.get_mut(at)) {
            *known = ssrc;
            *window = Window::starting_at(index);
            self.inline = self.inline.saturating_add(1);
            return Ok(());
        }
        let limit = MAX_OUTBOUND_SOURCES.saturating_sub(INLINE_SOURCES);
        let more = self
            .more
            .get_or_insert_with(|| Box::new(Sources::new(INLINE_SOURCES, limit)));
        if let Some(window) = more.find(ssrc) {
            return take(window, index);
        }
        if more.is_full() {
            return Err(Refusal::TooManySources);
        }
        more.insert(ssrc, index);
        Ok(())
    }
}

impl fmt::Debug for OutboundRtp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OutboundRtp")
            .field("profile", &self.profile)
            .field("sources", &self.source_count())
            .finish_non_exhaustive()
    }
}

fn take(window: &mut Window<WINDOW_WORDS>, index: u64) -> Result<(), Refusal> {
    match window.check(index) {
        Verdict::Fresh => {
            window.commit(index);
            Ok(())
        }
        Verdict::Seen => Err(Refusal::Repeated),
        Verdict::TooOld => Err(Refusal::TooOld),
    }
}

fn protected_len(profile: Profile, parts: RtpParts<'_>) -> Option<usize> {
    parts
        .header
        .len()
        .checked_add(parts.prefix.len())?
        .checked_add(parts.payload.len())?
        .checked_add(usize::from(parts.padding))?
        .checked_add(profile.rtp_overhead())
}

/// The receiver takes SSRC and sequence number for its nonce from the header, so they must be the ones we encrypt with;
/// and it takes padding off only if the header says that there is some.
fn check(index: u64, ssrc: u32, parts: RtpParts<'_>) -> Result<(), Refusal> {
    let fixed = parts
        .header
        .first_chunk::<RTP_HEADER_MIN>()
        .ok_or(Refusal::TooShort)?;
    let [first, _, sequence @ .., _, _, _, _, _, _, _, _] = *fixed;
    let [_, _, _, _, _, _, _, _, header_ssrc @ ..] = *fixed;
    if index > MAX_RTP_INDEX {
        return Err(Refusal::IndexExhausted);
    }
    if u32::from_be_bytes(header_ssrc) != ssrc
        || u16::from_be_bytes(sequence) != (index & 0xffff) as u16
        || (parts.padding > 0 && first & PADDING_BIT == 0)
    {
        return Err(Refusal::HeaderMismatch);
    }
    if parts.prefix.len() > MAX_PREFIX_LEN {
        return Err(Refusal::PrefixTooLong);
    }
    Ok(())
}
