//! AES-GCM of AWS-LC, with the key state inside the structure.

use core::ffi::c_int;
use core::{mem, ptr};

use aws_lc_sys::{
    EVP_AEAD_CTX, EVP_AEAD_CTX_init, EVP_AEAD_CTX_open_gather, EVP_AEAD_CTX_seal_scatter,
    EVP_aead_aes_128_gcm, EVP_aead_aes_256_gcm,
};

use super::{Failed, GCM_NONCE_LEN, GCM_TAG_LEN, cleanse};
use crate::srtp::profile::KeyError;

/// AES-GCM with a fixed key.
///
/// AWS-LC keeps all that the key yields (round keys, powers of the hash key, function pointers) inside `EVP_AEAD_CTX`
/// and owns nothing elsewhere; its own copy of such a context is a copy of the octets. So a value of this type may be
/// moved like any other.
#[repr(C)]
pub(in crate::srtp) struct AwsLcGcm {
    context: EVP_AEAD_CTX,
    /// Has one valid value, so that an `enum` with this type in it finds its discriminant here and costs no extra space.
    _niche: Niche,
}

#[derive(Clone, Copy)]
#[repr(u8)]
enum Niche {
    Occupied,
}

// SAFETY: the context holds plain data and pointers to static functions and tables of the library.
unsafe impl Send for AwsLcGcm {}
// SAFETY: sealing and opening take the context as `const` and the library documents them as safe to call concurrently.
unsafe impl Sync for AwsLcGcm {}

impl AwsLcGcm {
    /// Takes a key of 16 or 32 octets.
    pub(super) fn new(key: &[u8]) -> Result<Self, KeyError> {
        aws_lc_sys::init();
        let aead = match key.len() {
            // SAFETY: returns a pointer to a static table.
            16 => unsafe { EVP_aead_aes_128_gcm() },
            // SAFETY: as above.
            32 => unsafe { EVP_aead_aes_256_gcm() },
            _ => return Err(KeyError::Length),
        };
        let mut gcm = Self {
            // SAFETY: all zeros is what `EVP_AEAD_CTX_zero` makes: a null pointer and integers.
            context: unsafe { mem::zeroed() },
            _niche: Niche::Occupied,
        };
        // SAFETY: the context is ours, `aead` is one of the library's, and `key` is readable for its length. A tag
        // length of 0 stands for the default of 16 octets; there is no engine.
        let done = unsafe {
            EVP_AEAD_CTX_init(
                &raw mut gcm.context,
                aead,
                key.as_ptr(),
                key.len(),
                0,
                ptr::null_mut(),
            )
        };
        if done == 1 {
            Ok(gcm)
        } else {
            Err(KeyError::Refused)
        }
    }

    /// Verifies the tag and decrypts in place. On failure `octets` are lost.
    pub(super) fn open_in_place(
        &self,
        nonce: &[u8; GCM_NONCE_LEN],
        aad: &[u8],
        octets: &mut [u8],
        tag: &[u8],
    ) -> Result<(), Failed> {
        let at = octets.as_mut_ptr();
        // SAFETY: the context was initialised in `new`; every pointer comes from a slice or array and goes with its
        // length. Input and output are the same octets, which the library allows.
        let done = unsafe {
            EVP_AEAD_CTX_open_gather(
                &raw const self.context,
                at,
                nonce.as_ptr(),
                nonce.len(),
                at.cast_const(),
                octets.len(),
                tag.as_ptr(),
                tag.len(),
                aad.as_ptr(),
                aad.len(),
            )
        };
        check(done)
    }

    /// Encrypts as many octets from `plain` as fit into `cipher`.
    ///
    /// # Safety
    /// `plain` must be readable for the length of `cipher`, and be the start of `cipher` or not overlap it.
    pub(super) unsafe fn seal(
        &self,
        nonce: &[u8; GCM_NONCE_LEN],
        aad: &[u8],
        plain: *const u8,
        cipher: &mut [u8],
        tag: &mut [u8; GCM_TAG_LEN],
    ) -> Result<(), Failed> {
        let mut tag_len = 0;
        // SAFETY: the context was initialised in `new`. The caller vouches for `plain`; every other pointer comes from
        // a slice or array and goes with its length. There is no additional input.
        let done = unsafe {
            EVP_AEAD_CTX_seal_scatter(
                &raw const self.context,
                cipher.as_mut_ptr(),
                tag.as_mut_ptr(),
                &raw mut tag_len,
                tag.len(),
                nonce.as_ptr(),
                nonce.len(),
                plain,
                cipher.len(),
                ptr::null(),
                0,
                aad.as_ptr(),
                aad.len(),
            )
        };
        check(done)
    }
}

impl Drop for AwsLcGcm {
    fn drop(&mut self) {
        // The library's clean-up does nothing for AES-GCM; what matters is that the key does not stay.
        // SAFETY: a context of zeros is what it was made from.
        unsafe { cleanse(&mut self.context) }
    }
}

fn check(done: c_int) -> Result<(), Failed> {
    if done == 1 { Ok(()) } else { Err(Failed) }
}
