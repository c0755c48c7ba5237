//! AES in counter mode with the key schedule inside the structure.

use aws_lc_sys::{AES_KEY, AES_ctr128_encrypt, AES_set_encrypt_key};

use super::{AES_BLOCK_LEN, Failed, cleanse};
use crate::srtp::profile::KeyError;

/// AES in counter mode with a fixed key.
pub(in crate::srtp) struct AesCtr(AES_KEY);

impl AesCtr {
    /// Takes a key of 16 or 32 octets.
    pub(in crate::srtp) fn new(key: &[u8]) -> Result<Self, KeyError> {
        aws_lc_sys::init();
        let bits = match key.len() {
            16 => 128,
            32 => 256,
            _ => return Err(KeyError::Length),
        };
        let mut ctr = Self(AES_KEY::default());
        // SAFETY: `key` is readable for `bits` bits, and the schedule is ours to write.
        let refused = unsafe { AES_set_encrypt_key(key.as_ptr(), bits, &raw mut ctr.0) };
        if refused == 0 {
            Ok(ctr)
        } else {
            Err(KeyError::Refused)
        }
    }

    /// XORs the keystream that starts at `iv` into `octets`: encryption and decryption at once.
    pub(in crate::srtp) fn apply(&self, iv: &[u8; AES_BLOCK_LEN], octets: &mut [u8]) {
        let at = octets.as_mut_ptr();
        // SAFETY: both pointers are to `octets`.
        unsafe { self.apply_raw(*iv, at.cast_const(), at, octets.len()) }
    }

    /// Writes `from` XOR the keystream that starts at `iv` to `to`, which is as long.
    pub(in crate::srtp) fn apply_to(
        &self,
        iv: &[u8; AES_BLOCK_LEN],
        from: &[u8],
        to: &mut [u8],
    ) -> Result<(), Failed> {
        if from.len() != to.len() {
            return Err(Failed);
        }
        // SAFETY: both slices have this length and, as distinct borrows, do not overlap.
        unsafe { self.apply_raw(*iv, from.as_ptr(), to.as_mut_ptr(), from.len()) }
        Ok(())
    }

    /// # Safety
    /// `from` must be readable and `to` writable for `len` octets; they are equal or do not overlap.
    unsafe fn apply_raw(
        &self,
        mut counter: [u8; AES_BLOCK_LEN],
        from: *const u8,
        to: *mut u8,
        len: usize,
    ) {
        let mut block = [0; AES_BLOCK_LEN];
        let mut used = 0;
        // SAFETY: the caller vouches for `from` and `to`; the schedule was made in `new`, and the rest are our own.
        unsafe {
            AES_ctr128_encrypt(
                from,
                to,
                len,
                &raw const self.0,
                counter.as_mut_ptr(),
                block.as_mut_ptr(),
                &raw mut used,
            );
        }
    }
}

impl Drop for AesCtr {
    fn drop(&mut self) {
        // SAFETY: a schedule is integers.
        unsafe { cleanse(&mut self.0) }
    }
}
