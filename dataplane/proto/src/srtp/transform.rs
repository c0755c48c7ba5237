//! The cryptographic transforms: nonces, what is covered, and where tag and index stand. No state besides the keys.
//!
//! RFC 3711 §4.1.1 and §4.2 for AES-CM with HMAC-SHA1, RFC 7714 §8 and §9 for AES-GCM. Layouts:
//!
//! ```text
//! SRTP,  both   header | encrypted payload | tag
//! SRTCP, GCM    first 8 octets | encrypted rest | tag | E and index
//! SRTCP, CM     first 8 octets | encrypted rest | E and index | tag
//! ```

use core::fmt;

use zeroize::Zeroizing;

use super::backend::{
    AES_BLOCK_LEN, AesCtr, AesGcm, Failed, GCM_NONCE_LEN, GCM_TAG_LEN, HmacSha1, LANES,
    SHA1_80_LEN, tags,
};
use super::kdf::{SessionKeys, Use, derive};
use super::profile::{KeyError, MAX_SALT_LEN, MasterKey, Profile, SRTCP_WORD_LEN};

/// The part of an RTCP packet that SRTCP leaves in clear: first header word and SSRC (RFC 3711 §3.4), in octets.
pub(super) const RTCP_CLEAR_LEN: usize = 8;

/// The E flag beside the SRTCP index: the packet is encrypted (RFC 3711 §3.4).
pub(super) const ENCRYPTED_FLAG: u32 = 1 << 31;

/// The session keys of one direction for one of SRTP and SRTCP, ready for use. All of it lies here, nothing behind a
/// pointer.
#[repr(C)]
pub(super) struct Transform {
    cipher: Cipher,
    salt: Zeroizing<[u8; MAX_SALT_LEN]>,
}

/// The discriminant of [`Cipher`] hides in [`AesGcm`]; if it did not, the layout of whole contexts would shift.
const _: () = assert!(size_of::<Cipher>() == size_of::<AesGcm>());

impl fmt::Debug for Transform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transform").finish_non_exhaustive()
    }
}

/// What an RTP packet is put together from, in the order in which it leaves.
#[derive(Clone, Copy)]
pub(super) struct RtpParts<'a> {
    pub(super) header: &'a [u8],
    pub(super) prefix: &'a [u8],
    pub(super) payload: &'a [u8],
    /// How many octets of padding follow; the last of them says how many (RFC 3550 §5.1).
    pub(super) padding: u8,
}

impl RtpParts<'_> {
    /// Writes what is to be encrypted into `body`, which is exactly as long.
    fn join_into(&self, body: &mut [u8]) -> Result<(), Failed> {
        let (prefix, rest) = split_mut(body, self.prefix.len())?;
        let (payload, padding) = split_mut(rest, self.payload.len())?;
        prefix.copy_from_slice(self.prefix);
        payload.copy_from_slice(self.payload);
        padding.fill(0);
        match padding.last_mut() {
            Some(last) => *last = self.padding,
            None if self.padding == 0 => {}
            None => return Err(Failed),
        }
        Ok(())
    }
}

/// How far the encryption of a packet has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// The packet may leave.
    Done,
    /// Encrypted, and the tag is missing.
    Untagged,
}

#[expect(
    clippy::large_enum_variant,
    reason = "a box is a cache miss per packet"
)]
enum Cipher {
    Gcm(AesGcm),
    CmSha1(CmSha1),
}

struct CmSha1 {
    stream: AesCtr,
    mac: HmacSha1,
}

impl Transform {
    /// Derives the session keys for one use from a master key.
    pub(super) fn new(master: &MasterKey, usage: Use) -> Result<Self, KeyError> {
        Self::with_session_keys(master.profile(), &derive(master, usage)?)
    }

    /// Takes session keys as they are.
    pub(super) fn with_session_keys(
        profile: Profile,
        keys: &SessionKeys,
    ) -> Result<Self, KeyError> {
        let encryption = keys
            .encryption
            .get(..profile.key_len())
            .ok_or(KeyError::Length)?;
        let cipher = match profile {
            Profile::AeadAes256Gcm | Profile::AeadAes128Gcm => {
                Cipher::Gcm(AesGcm::new(encryption)?)
            }
            Profile::Aes128CmHmacSha1_80 => Cipher::CmSha1(CmSha1 {
                stream: AesCtr::new(encryption)?,
                mac: HmacSha1::new(keys.authentication.as_slice()),
            }),
        };
        Ok(Self {
            cipher,
            salt: keys.salt.clone(),
        })
    }

    /// Writes a protected RTP packet into `out`, which is as long as parts and tag together.
    pub(super) fn protect_rtp(
        &self,
        ssrc: u32,
        index: u64,
        parts: RtpParts<'_>,
        out: &mut [u8],
    ) -> Result<(), Failed> {
        match self.encrypt_rtp(ssrc, index, parts, out)? {
            Progress::Done => Ok(()),
            Progress::Untagged => self.tag_rtp(index, out),
        }
    }

    /// The same, but with HMAC-SHA1 the tag may still be missing: it is cheaper to make several at once.
    pub(super) fn encrypt_rtp(
        &self,
        ssrc: u32,
        index: u64,
        parts: RtpParts<'_>,
        out: &mut [u8],
    ) -> Result<Progress, Failed> {
        let (header, rest) = split_mut(out, parts.header.len())?;
        header.copy_from_slice(parts.header);
        match &self.cipher {
            Cipher::Gcm(cipher) => {
                let nonce = self.gcm_nonce(ssrc, rtp_counter(index));
                if parts.prefix.is_empty() && parts.padding == 0 {
                    cipher.seal(&nonce, parts.header, parts.payload, rest)?;
                } else {
                    let (body, _) = rest.split_last_chunk_mut::<GCM_TAG_LEN>().ok_or(Failed)?;
                    parts.join_into(body)?;
                    cipher.seal_in_place(&nonce, parts.header, rest)?;
                }
                Ok(Progress::Done)
            }
            Cipher::CmSha1(CmSha1 { stream, .. }) => {
                let (body, _) = rest.split_last_chunk_mut::<SHA1_80_LEN>().ok_or(Failed)?;
                let iv = self.cm_iv(ssrc, index);
                if parts.prefix.is_empty() && parts.padding == 0 {
                    stream.apply_to(&iv, parts.payload, body)?;
                } else {
                    parts.join_into(body)?;
                    stream.apply(&iv, body);
                }
                Ok(Progress::Untagged)
            }
        }
    }

    /// Writes the tag that [`Self::encrypt_rtp`] left out.
    pub(super) fn tag_rtp(&self, index: u64, out: &mut [u8]) -> Result<(), Failed> {
        let Cipher::CmSha1(CmSha1 { mac, .. }) = &self.cipher else {
            return Err(Failed);
        };
        let (covered, tag) = out.split_last_chunk_mut::<SHA1_80_LEN>().ok_or(Failed)?;
        *tag = mac.tag(covered, &rollover_counter(index));
        Ok(())
    }

    /// The same for several packets, each with its own keys.
    pub(super) fn tag_several_rtp(
        keys: [&Self; LANES],
        indices: [u64; LANES],
        outs: [&mut [u8]; LANES],
    ) -> Result<(), Failed> {
        let mut macs = [const { None }; LANES];
        for (mac, keys) in macs.iter_mut().zip(keys) {
            if let Cipher::CmSha1(keys) = &keys.cipher {
                *mac = Some(&keys.mac);
            }
        }
        let ([Some(a), Some(b), Some(c), Some(d)], [out_a, out_b, out_c, out_d]) = (macs, outs)
        else {
            return Err(Failed);
        };
        let (covered_a, tag_a) = out_a.split_last_chunk_mut().ok_or(Failed)?;
        let (covered_b, tag_b) = out_b.split_last_chunk_mut().ok_or(Failed)?;
        let (covered_c, tag_c) = out_c.split_last_chunk_mut().ok_or(Failed)?;
        let (covered_d, tag_d) = out_d.split_last_chunk_mut().ok_or(Failed)?;
        [*tag_a, *tag_b, *tag_c, *tag_d] = tags(
            [a, b, c, d],
            [covered_a, covered_b, covered_c, covered_d],
            indices.map(rollover_counter),
        );
        Ok(())
    }

    /// Verifies and decrypts an RTP packet in place; the plain packet is what comes before the tag. On failure the
    /// content of `packet` is lost.
    pub(super) fn unprotect_rtp(
        &self,
        ssrc: u32,
        index: u64,
        packet: &mut [u8],
        header_len: usize,
    ) -> Result<(), Failed> {
        match &self.cipher {
            Cipher::Gcm(cipher) => {
                let (header, rest) = split_mut(packet, header_len)?;
                let (body, tag) = rest.split_last_chunk_mut::<GCM_TAG_LEN>().ok_or(Failed)?;
                let nonce = self.gcm_nonce(ssrc, rtp_counter(index));
                cipher.open_in_place(&nonce, header, body, tag)
            }
            Cipher::CmSha1(CmSha1 { stream, mac }) => {
                let (covered, tag) = packet.split_last_chunk_mut::<SHA1_80_LEN>().ok_or(Failed)?;
                mac.verify(covered, &rollover_counter(index), tag)?;
                let (_, body) = split_mut(covered, header_len)?;
                stream.apply(&self.cm_iv(ssrc, index), body);
                Ok(())
            }
        }
    }

    /// Writes a protected and encrypted RTCP packet into `out`, which is longer by [`Profile::rtcp_overhead`].
    pub(super) fn protect_rtcp(
        &self,
        ssrc: u32,
        index: u32,
        packet: &[u8],
        out: &mut [u8],
    ) -> Result<(), Failed> {
        let word = (ENCRYPTED_FLAG | index).to_be_bytes();
        let (clear, plain) = packet.split_first_chunk::<RTCP_CLEAR_LEN>().ok_or(Failed)?;
        match &self.cipher {
            Cipher::Gcm(cipher) => {
                let (rest, trailer) = out.split_last_chunk_mut::<SRTCP_WORD_LEN>().ok_or(Failed)?;
                let (head, rest) = rest
                    .split_first_chunk_mut::<RTCP_CLEAR_LEN>()
                    .ok_or(Failed)?;
                *head = *clear;
                *trailer = word;
                let nonce = self.gcm_nonce(ssrc, rtcp_counter(index));
                cipher.seal(&nonce, &rtcp_aad(*clear, word), plain, rest)
            }
            Cipher::CmSha1(CmSha1 { stream, mac }) => {
                let (covered, tag) = out.split_last_chunk_mut::<SHA1_80_LEN>().ok_or(Failed)?;
                let (rest, trailer) = covered
                    .split_last_chunk_mut::<SRTCP_WORD_LEN>()
                    .ok_or(Failed)?;
                let (head, body) = rest
                    .split_first_chunk_mut::<RTCP_CLEAR_LEN>()
                    .ok_or(Failed)?;
                *head = *clear;
                *trailer = word;
                stream.apply_to(&self.cm_iv(ssrc, u64::from(index)), plain, body)?;
                *tag = mac.tag(covered, &[]);
                Ok(())
            }
        }
    }

    /// Verifies and, if it is encrypted, decrypts an RTCP packet in place. `word` is what [`rtcp_word`] said. On
    /// failure the content of `packet` is lost.
    pub(super) fn unprotect_rtcp(
        &self,
        ssrc: u32,
        word: [u8; SRTCP_WORD_LEN],
        packet: &mut [u8],
    ) -> Result<(), Failed> {
        let encrypted = u32::from_be_bytes(word) & ENCRYPTED_FLAG != 0;
        let index = u32::from_be_bytes(word) & !ENCRYPTED_FLAG;
        match &self.cipher {
            Cipher::Gcm(cipher) => {
                let nonce = self.gcm_nonce(ssrc, rtcp_counter(index));
                let (rest, _) = packet
                    .split_last_chunk_mut::<SRTCP_WORD_LEN>()
                    .ok_or(Failed)?;
                let (rest, tag) = rest.split_last_chunk_mut::<GCM_TAG_LEN>().ok_or(Failed)?;
                if encrypted {
                    let (clear, body) = rest
                        .split_first_chunk_mut::<RTCP_CLEAR_LEN>()
                        .ok_or(Failed)?;
                    return cipher.open_in_place(&nonce, &rtcp_aad(*clear, word), body, tag);
                }
                // RFC 7714 §9.3: everything is associated data, the index behind it. The tag stands between the two,
                // so the index moves over its first octets.
                let tag = *tag;
                let covered_len = packet.len().saturating_sub(GCM_TAG_LEN);
                let (covered, _) = split_mut(packet, covered_len)?;
                *covered.last_chunk_mut::<SRTCP_WORD_LEN>().ok_or(Failed)? = word;
                cipher.open_in_place(&nonce, covered, &mut [], &tag)
            }
            Cipher::CmSha1(CmSha1 { stream, mac }) => {
                let (covered, tag) = packet.split_last_chunk_mut::<SHA1_80_LEN>().ok_or(Failed)?;
                mac.verify(covered, &[], tag)?;
                if !encrypted {
                    return Ok(());
                }
                let (rest, _) = covered
                    .split_last_chunk_mut::<SRTCP_WORD_LEN>()
                    .ok_or(Failed)?;
                let (_, body) = split_mut(rest, RTCP_CLEAR_LEN)?;
                stream.apply(&self.cm_iv(ssrc, u64::from(index)), body);
                Ok(())
            }
        }
    }

    /// RFC 7714 §8.1 and §9.1: two zero octets, SSRC and six octets of counter, XORed with the salt.
    fn gcm_nonce(&self, ssrc: u32, counter: [u8; 6]) -> [u8; GCM_NONCE_LEN] {
        let [s0, s1, s2, s3] = ssrc.to_be_bytes();
        let [c0, c1, c2, c3, c4, c5] = counter;
        let mut nonce = [0, 0, s0, s1, s2, s3, c0, c1, c2, c3, c4, c5];
        xor_into(&mut nonce, self.salt.as_slice());
        nonce
    }

    /// RFC 3711 §4.1.1: (salt × 2^16) XOR (SSRC × 2^64) XOR (index × 2^16); the low 16 bits count blocks.
    fn cm_iv(&self, ssrc: u32, index: u64) -> [u8; AES_BLOCK_LEN] {
        let counter = (u128::from(ssrc) << 64) ^ (u128::from(index) << 16);
        let mut iv = counter.to_be_bytes();
        xor_into(&mut iv, self.salt.as_slice());
        iv
    }
}

/// The E flag and index of a protected RTCP packet, not yet authenticated.
pub(super) fn rtcp_word(profile: Profile, packet: &[u8]) -> Option<[u8; SRTCP_WORD_LEN]> {
    let before_tag = match profile {
        Profile::AeadAes256Gcm | Profile::AeadAes128Gcm => packet,
        Profile::Aes128CmHmacSha1_80 => packet.split_last_chunk::<SHA1_80_LEN>()?.0,
    };
    before_tag.last_chunk().copied()
}

/// RFC 7714 §8.1: ROC and sequence number.
fn rtp_counter(index: u64) -> [u8; 6] {
    let [_, _, counter @ ..] = index.to_be_bytes();
    counter
}

/// RFC 7714 §9.1: two zero octets, then a zero bit and the SRTCP index.
fn rtcp_counter(index: u32) -> [u8; 6] {
    rtp_counter(u64::from(index))
}

/// The ROC, which the tag of RFC 3711 §4.2 covers although it is not sent.
fn rollover_counter(index: u64) -> [u8; 4] {
    ((index >> 16) as u32).to_be_bytes()
}

/// RFC 7714 §9.2: the octets in clear, then the E flag and index.
fn rtcp_aad(clear: [u8; RTCP_CLEAR_LEN], word: [u8; SRTCP_WORD_LEN]) -> [u8; 12] {
    let [a0, a1, a2, a3, a4, a5, a6, a7] = clear;
    let [w0, w1, w2, w3] = word;
    [a0, a1, a2, a3, a4, a5, a6, a7, w0, w1, w2, w3]
}

fn xor_into(octets: &mut [u8], salt: &[u8]) {
    for (octet, salt) in octets.iter_mut().zip(salt) {
        *octet ^= *salt;
    }
}

fn split_mut(octets: &mut [u8], at: usize) -> Result<(&mut [u8], &mut [u8]), Failed> {
    octets.split_at_mut_checked(at).ok_or(Failed)
}
