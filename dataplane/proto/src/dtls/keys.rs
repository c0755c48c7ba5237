//! Getting at the keys of DTLS records (RFC 5288, RFC 6347 §4.1.2), which `dimpl` keeps to itself.
//!
//! Ciphers are made by a provider of ours. Each does what the usual one does, and leaves a note of its last record for
//! whoever is calling into `dimpl`: there is no other way from a cipher to the association that it belongs to. A note
//! lives for one call and never leaves the thread; it makes no difference which thread that is.

use core::cell::RefCell;

use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use dimpl::CryptoError;
use dimpl::crypto::aws_lc_rs::default_provider;
use dimpl::crypto::{
    self, Buf, Cipher, CryptoProvider, Dtls12CipherSuite, HashAlgorithm,
    SupportedDtls12CipherSuite, TmpBuf,
};
use zeroize::Zeroizing;

/// Longest key of AES-GCM, in bytes.
const KEY_MAX: usize = 32;
/// The part of the nonce that both ends know (RFC 5288 §3), in bytes.
const SALT_LEN: usize = 4;
/// The part that every record carries, in bytes.
pub(super) const EXPLICIT_LEN: usize = 8;
/// What AES-GCM appends, in bytes.
pub(super) const TAG_LEN: usize = 16;

/// `provider` with ciphers that leave notes.
pub(super) fn noting(provider: CryptoProvider) -> CryptoProvider {
    CryptoProvider {
        cipher_suites: &[
            &Noting(Dtls12CipherSuite::ECDHE_ECDSA_AES128_GCM_SHA256),
            &Noting(Dtls12CipherSuite::ECDHE_ECDSA_AES256_GCM_SHA384),
            &Noting(Dtls12CipherSuite::ECDHE_ECDSA_CHACHA20_POLY1305_SHA256),
        ],
        ..provider
    }
}

/// The record keys of one direction, and what its newest record had.
pub(super) struct RecordKey {
    key: Zeroizing<[u8; KEY_MAX]>,
    key_len: u8,
    salt: [u8; SALT_LEN],
    /// Epoch and sequence number as one number, the way both are sent.
    number: u64,
    /// `dimpl` draws it at random.
    explicit: u64,
}

impl RecordKey {
    /// Number and explicit nonce of the next record to be sealed. Counted on, so that no nonce is used twice.
    pub(super) fn advance(&mut self) -> (u64, u64) {
        self.number = self.number.saturating_add(1);
        self.explicit = self.explicit.wrapping_add(1);
        (self.number, self.explicit)
    }

    /// Whether `number` is that of a newer record than all before, which it then is. To be asked for authentic records only.
    pub(super) fn is_next(&mut self, number: u64) -> bool {
        let is_newer = number > self.number;
        self.number = self.number.max(number);
        is_newer
    }

    /// Encrypts `body` and appends its tag. `explicit` comes from [`Self::advance`].
    pub(super) fn seal(&self, explicit: u64, aad: &[u8], body: &mut Vec<u8>) -> Option<()> {
        self.cipher()?
            .seal_in_place_append_tag(self.nonce(explicit), Aad::from(aad), body)
            .ok()
    }

    /// What is in a record, if it is authentic. `body` is encrypted text and tag.
    pub(super) fn open(&self, explicit: u64, aad: &[u8], body: &[u8]) -> Option<Vec<u8>> {
        let mut body = body.to_vec();
        let plain = self
            .cipher()?
            .open_in_place(self.nonce(explicit), Aad::from(aad), &mut body)
            .ok()?;
        let len = plain.len();
        body.truncate(len);
        Some(body)
    }

    /// Made for each use: that is seldom, and ready for use it is large. The library has that on the heap, and wipes it when it is
    /// dropped.
    fn cipher(&self) -> Option<LessSafeKey> {
        let algorithm = match self.key_len {
            16 => &AES_128_GCM,
            32 => &AES_256_GCM,
            _ => return None,
        };
        let key = self.key.get(..usize::from(self.key_len))?;
        Some(LessSafeKey::new(UnboundKey::new(algorithm, key).ok()?))
    }

    fn nonce(&self, explicit: u64) -> Nonce {
        let ([a, b, c, d], [e, f, g, h, i, j, k, l]) = (self.salt, explicit.to_be_bytes());
        Nonce::assume_unique_for_key([a, b, c, d, e, f, g, h, i, j, k, l])
    }
}

/// What ciphers did lately.
#[derive(Default)]
pub(super) struct Notes {
    /// The keys of the record that was encrypted last.
    pub(super) sealed: Option<RecordKey>,
    /// The keys of the record that was decrypted last.
    pub(super) opened: Option<RecordKey>,
}

thread_local! {
    static NOTES: RefCell<Notes> = const { RefCell::new(Notes { sealed: None, opened: None }) };
}

/// Throws away what others left. To be called before a call into `dimpl`.
pub(super) fn discard_notes() {
    let _ = take_notes();
}

/// What was noted since the last look.
pub(super) fn take_notes() -> Notes {
    NOTES
        .with(|notes| {
            let notes = notes.try_borrow_mut();
            notes.map(|mut notes| core::mem::take(&mut *notes))
        })
        .unwrap_or_default()
}

/// A suite of the usual provider whose ciphers leave notes.
#[derive(Debug)]
struct Noting(Dtls12CipherSuite);

impl Noting {
    fn inner(&self) -> &'static dyn SupportedDtls12CipherSuite {
        let known = default_provider().cipher_suites.iter();
        let mut same = known.copied().filter(|suite| suite.suite() == self.0);
        same.next()
            .expect("the default provider has the suites that are named above")
    }
}

impl SupportedDtls12CipherSuite for Noting {
    fn suite(&self) -> Dtls12CipherSuite {
        self.0
    }

    fn hash_algorithm(&self) -> HashAlgorithm {
        self.inner().hash_algorithm()
    }

    fn key_lengths(&self) -> (usize, usize, usize) {
        self.inner().key_lengths()
    }

    fn explicit_nonce_len(&self) -> usize {
        self.inner().explicit_nonce_len()
    }

    fn tag_len(&self) -> usize {
        self.inner().tag_len()
    }

    fn create_cipher(&self, key: &[u8]) -> Result<Box<dyn Cipher>, CryptoError> {
        let inner = self.inner().create_cipher(key)?;
        let mut copy = Zeroizing::new([0; KEY_MAX]);
        // The others have nonces of another make.
        let fits = self.explicit_nonce_len() == EXPLICIT_LEN;
        let key = match copy.get_mut(..key.len()).filter(|_| fits) {
            Some(place) => {
                place.copy_from_slice(key);
                Some((copy, key.len() as u8))
            }
            None => None,
        };
        Ok(Box::new(NotingCipher { inner, key }))
    }
}

struct NotingCipher {
    inner: Box<dyn Cipher>,
    /// The key and its length, if notes are to be left.
    key: Option<(Zeroizing<[u8; KEY_MAX]>, u8)>,
}

impl core::fmt::Debug for NotingCipher {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("NotingCipher").finish_non_exhaustive()
    }
}

impl NotingCipher {
    fn note(
        &self,
        aad: &crypto::Aad,
        nonce: &crypto::Nonce,
        set: impl FnOnce(&mut Notes, RecordKey),
    ) {
        // RFC 6347 §4.1.2.1: what is authenticated begins with epoch and sequence number.
        let number = aad.first_chunk::<8>();
        let (salt, explicit) = (nonce.first_chunk(), nonce.last_chunk());
        let (Some((key, key_len)), Some(number), Some(salt), Some(explicit)) =
            (&self.key, number, salt, explicit)
        else {
            return;
        };
        let noted = RecordKey {
            key: key.clone(),
            key_len: *key_len,
            salt: *salt,
            number: u64::from_be_bytes(*number),
            explicit: u64::from_be_bytes(*explicit),
        };
        NOTES.with(|notes| {
            if let Ok(mut notes) = notes.try_borrow_mut() {
                set(&mut notes, noted);
            }
        });
    }
}

impl Cipher for NotingCipher {
    fn encrypt(
        &mut self,
        plaintext: &mut Buf,
        aad: crypto::Aad,
        nonce: crypto::Nonce,
    ) -> Result<(), CryptoError> {
        self.note(&aad, &nonce, |notes, key| notes.sealed = Some(key));
        self.inner.encrypt(plaintext, aad, nonce)
    }

    fn decrypt(
        &mut self,
        ciphertext: &mut TmpBuf<'_>,
        aad: crypto::Aad,
        nonce: crypto::Nonce,
    ) -> Result<(), CryptoError> {
        self.inner.decrypt(ciphertext, aad.clone(), nonce)?;
        self.note(&aad, &nonce, |notes, key| notes.opened = Some(key));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::srtp::{is_left, leave, wipe_stack};

    /// Seals a record and opens it.
    #[inline(never)]
    fn seal_and_open(key: &RecordKey) {
        let mut body = b"good-bye".to_vec();
        key.seal(1, b"", &mut body).unwrap();
        assert_eq!(key.open(1, b"", &body).unwrap(), b"good-bye");
    }

    #[test]
    fn neither_key_nor_round_key_of_a_record_stays_on_the_stack() {
        let mut key = Zeroizing::new([0; KEY_MAX]);
        key[..16].fill(5);
        let key = RecordKey {
            key,
            key_len: 16,
            salt: [6; SALT_LEN],
            number: 1 << 48,
            explicit: 0,
        };
        // The first words that the expansion makes of sixteen fives (FIPS 197 §5.2; the S-box has 6b for 05).
        let round_key = [
            0x6f, 0x6e, 0x6e, 0x6e, 0x6a, 0x6b, 0x6b, 0x6b, //
            0x6f, 0x6e, 0x6e, 0x6e, 0x6a, 0x6b, 0x6b, 0x6b,
        ];
        for secret in [&[5; 16], &round_key] {
            wipe_stack();
            seal_and_open(&key);
            assert!(!is_left(secret));
            leave(secret);
            assert!(is_left(secret), "one that is left would be found");
        }
    }
}
