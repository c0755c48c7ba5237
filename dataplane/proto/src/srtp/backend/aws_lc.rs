//! The ciphers of AWS-LC, through the safe interface of `aws-lc-rs`. None of the calls per packet allocates.

use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::cipher::{AES_128, AES_256, EncryptingKey, EncryptionContext, UnboundCipherKey};
use aws_lc_rs::hmac;
use aws_lc_rs::iv::FixedLength;
use subtle::ConstantTimeEq;

use super::{AES_BLOCK_LEN, Failed, GCM_NONCE_LEN, GCM_TAG_LEN, SHA1_80_LEN};
use crate::srtp::profile::KeyError;

/// AES-GCM with a fixed key.
pub(in crate::srtp) struct AesGcm(LessSafeKey);

impl AesGcm {
    /// Takes a key of 16 or 32 octets.
    pub(in crate::srtp) fn new(key: &[u8]) -> Result<Self, KeyError> {
        let algorithm = match key.len() {
            16 => &AES_128_GCM,
            32 => &AES_256_GCM,
            _ => return Err(KeyError::Length),
        };
        let unbound = UnboundKey::new(algorithm, key).map_err(|_| KeyError::Refused)?;
        Ok(Self(LessSafeKey::new(unbound)))
    }

    /// Encrypts `plain` into `cipher`, which has the same length, and writes the tag.
    pub(in crate::srtp) fn seal(
        &self,
        nonce: [u8; GCM_NONCE_LEN],
        aad: &[u8],
        plain: &[u8],
        cipher: &mut [u8],
        tag: &mut [u8; GCM_TAG_LEN],
    ) -> Result<(), Failed> {
        self.0
            .seal_out_of_place_scatter(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(aad),
                plain,
                cipher,
                &[],
                tag,
            )
            .map_err(|_| Failed)
    }

    /// Encrypts in place and writes the tag.
    pub(in crate::srtp) fn seal_in_place(
        &self,
        nonce: [u8; GCM_NONCE_LEN],
        aad: &[u8],
        octets: &mut [u8],
        tag: &mut [u8; GCM_TAG_LEN],
    ) -> Result<(), Failed> {
        self.0
            .seal_in_place_scatter(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(aad),
                octets,
                &[],
                tag,
            )
            .map_err(|_| Failed)
    }

    /// Verifies the tag and decrypts in place. On failure `octets` are lost.
    pub(in crate::srtp) fn open_in_place(
        &self,
        nonce: [u8; GCM_NONCE_LEN],
        aad: &[u8],
        octets: &mut [u8],
        tag: &[u8],
    ) -> Result<(), Failed> {
        self.0
            .open_in_place_separate_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(aad),
                tag,
                octets,
            )
            .map(|_| ())
            .map_err(|_| Failed)
    }
}

/// AES in counter mode with a fixed key.
pub(in crate::srtp) struct AesCtr(EncryptingKey);

impl AesCtr {
    /// Takes a key of 16 or 32 octets.
    pub(in crate::srtp) fn new(key: &[u8]) -> Result<Self, KeyError> {
        let algorithm = match key.len() {
            16 => &AES_128,
            32 => &AES_256,
            _ => return Err(KeyError::Length),
        };
        let unbound = UnboundCipherKey::new(algorithm, key).map_err(|_| KeyError::Refused)?;
        let key = EncryptingKey::ctr(unbound).map_err(|_| KeyError::Refused)?;
        Ok(Self(key))
    }

    /// XORs the keystream that starts at `iv` into `octets`: encryption and decryption at once.
    pub(in crate::srtp) fn apply(
        &self,
        iv: &[u8; AES_BLOCK_LEN],
        octets: &mut [u8],
    ) -> Result<(), Failed> {
        let context = EncryptionContext::Iv128(FixedLength::from(iv));
        self.0
            .less_safe_encrypt(octets, context)
            .map(|_| ())
            .map_err(|_| Failed)
    }
}

/// HMAC-SHA1 with a fixed key, truncated to 80 bits.
pub(in crate::srtp) struct HmacSha1(hmac::Key);

impl HmacSha1 {
    /// Takes a key of any length.
    pub(in crate::srtp) fn new(key: &[u8]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, key))
    }

    /// The tag over `first` and then `second`.
    pub(in crate::srtp) fn tag(&self, first: &[u8], second: &[u8]) -> [u8; SHA1_80_LEN] {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(first);
        context.update(second);
        let full = context.sign();
        *full
            .as_ref()
            .first_chunk()
            .expect("HMAC-SHA1 yields 20 octets")
    }

    /// Whether `tag` is the tag over `first` and `second`, in a time that does not depend on where they differ.
    pub(in crate::srtp) fn verify(
        &self,
        first: &[u8],
        second: &[u8],
        tag: &[u8],
    ) -> Result<(), Failed> {
        if bool::from(self.tag(first, second).as_slice().ct_eq(tag)) {
            Ok(())
        } else {
            Err(Failed)
        }
    }
}
