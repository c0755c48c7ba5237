//! Key derivation (RFC 3711 §4.3): from one master key to the session keys of a direction.

use zeroize::Zeroizing;

use super::backend::{self, AesCtr};
use super::profile::{KeyError, MAX_KEY_LEN, MAX_SALT_LEN, MasterKey};

/// Length of the HMAC-SHA1 key (RFC 3711 §5.2), in octets.
pub(super) const AUTH_KEY_LEN: usize = 20;

/// Which of SRTP and SRTCP a set of session keys is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    /// RTP packets.
    Rtp,
    /// RTCP packets.
    Rtcp,
}

/// The session keys for one use. Shorter keys fill the front.
pub(super) struct SessionKeys {
    pub(super) encryption: Zeroizing<[u8; MAX_KEY_LEN]>,
    pub(super) authentication: Zeroizing<[u8; AUTH_KEY_LEN]>,
    pub(super) salt: Zeroizing<[u8; MAX_SALT_LEN]>,
}

/// Derives the session keys of `master`. The key derivation rate is zero, as in all of DTLS-SRTP (RFC 5764 §4.1.2), so
/// this happens once.
///
/// Keys of 256 bits are derived with AES-256 (RFC 7714 §11, RFC 6188 §3).
pub(super) fn derive(master: &MasterKey, usage: Use) -> Result<SessionKeys, KeyError> {
    // Labels of RFC 3711 §4.3.1 and §4.3.2.
    let (encryption_label, authentication_label, salt_label) = match usage {
        Use::Rtp => (0x00, 0x01, 0x02),
        Use::Rtcp => (0x03, 0x04, 0x05),
    };
    let prf = AesCtr::new(master.key())?;
    let mut keys = SessionKeys {
        encryption: Zeroizing::new([0; MAX_KEY_LEN]),
        authentication: Zeroizing::new([0; AUTH_KEY_LEN]),
        salt: Zeroizing::new([0; MAX_SALT_LEN]),
    };
    let salt = master.padded_salt();
    generate(&prf, salt, encryption_label, keys.encryption.as_mut_slice());
    generate(
        &prf,
        salt,
        authentication_label,
        keys.authentication.as_mut_slice(),
    );
    generate(&prf, salt, salt_label, keys.salt.as_mut_slice());
    Ok(keys)
}

/// The AES-CM pseudo-random function (RFC 3711 §4.3.3): keystream that starts at (label XOR salt) × 2^16.
fn generate(prf: &AesCtr, salt: &[u8; MAX_SALT_LEN], label: u8, out: &mut [u8]) {
    let mut iv = [0u8; backend::AES_BLOCK_LEN];
    for (to, from) in iv.iter_mut().zip(salt) {
        *to = *from;
    }
    // key_id = label || index DIV kdr: the index has 48 bits and is zero here, so the label is the seventh octet from
    // the right of 112 bits.
    if let Some(octet) = iv.get_mut(7) {
        *octet ^= label;
    }
    out.fill(0);
    prf.apply(&iv, out);
}
