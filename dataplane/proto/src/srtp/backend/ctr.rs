//! AES in counter mode with the key schedule inside the structure.

use aws_lc_sys::{AES_KEY, AES_ctr128_encrypt, AES_set_encrypt_key};

#[cfg(target_arch = "x86_64")]
use zeroize::Zeroizing;

#[cfg(target_arch = "x86_64")]
use super::vaes::{self, ROUND_KEYS_MAX, RoundKeys};
use super::{AES_BLOCK_LEN, Failed, cleanse};
use crate::srtp::profile::KeyError;

/// AES in counter mode with a fixed key: by our own code where the processor has the instructions for it, else by AWS-LC.
pub(in crate::srtp) enum AesCtr {
    AwsLc(AES_KEY),
    #[cfg(target_arch = "x86_64")]
    Vaes {
        keys: RoundKeys,
        rounds: u8,
    },
}

impl AesCtr {
    /// Takes a key of 16 or 32 octets.
    pub(in crate::srtp) fn new(key: &[u8]) -> Result<Self, KeyError> {
        #[cfg(target_arch = "x86_64")]
        {
            let mut keys = Zeroizing::new([[0; AES_BLOCK_LEN]; ROUND_KEYS_MAX]);
            if let Some(rounds) = vaes::expand(key, &mut keys) {
                let keys = *keys;
                return Ok(Self::Vaes { keys, rounds });
            }
        }
        Self::of_library(key)
    }

    /// The library's, whatever the processor.
    fn of_library(key: &[u8]) -> Result<Self, KeyError> {
        aws_lc_sys::init();
        let bits = match key.len() {
            16 => 128,
            32 => 256,
            _ => return Err(KeyError::Length),
        };
        let mut schedule = AES_KEY::default();
        // SAFETY: `key` is readable for `bits` bits, and the schedule is ours to write.
        let refused = unsafe { AES_set_encrypt_key(key.as_ptr(), bits, &raw mut schedule) };
        if refused != 0 {
            return Err(KeyError::Refused);
        }
        let cipher = Self::AwsLc(schedule);
        // SAFETY: a schedule is integers.
        unsafe { cleanse(&mut schedule) };
        Ok(cipher)
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
        let key = match self {
            Self::AwsLc(key) => key,
            #[cfg(target_arch = "x86_64")]
            // SAFETY: keys were expanded, so the processor has the instructions; the caller vouches for the rest.
            Self::Vaes { keys, rounds } => unsafe {
                return match rounds {
                    10 => vaes::counter_mode::<10>(keys, &counter, from, to, len),
                    _ => vaes::counter_mode::<14>(keys, &counter, from, to, len),
                };
            },
        };
        let mut block = [0; AES_BLOCK_LEN];
        let mut used = 0;
        // SAFETY: the caller vouches for `from` and `to`; the schedule was made in `new`, and the rest are our own.
        unsafe {
            AES_ctr128_encrypt(
                from,
                to,
                len,
                key,
                counter.as_mut_ptr(),
                block.as_mut_ptr(),
                &raw mut used,
            );
        }
    }
}

impl Drop for AesCtr {
    fn drop(&mut self) {
        match self {
            // SAFETY: a schedule is integers.
            Self::AwsLc(schedule) => unsafe { cleanse(schedule) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: round keys are octets.
            Self::Vaes { keys, .. } => unsafe { cleanse(keys) },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_code_and_the_library_agree_at_every_length() {
        for key_len in [16, 32] {
            let key: Vec<u8> = (0..key_len).map(|at| at * 5 + 1).collect();
            let ours = AesCtr::new(&key).unwrap();
            let library = AesCtr::of_library(&key).unwrap();
            let iv = [7, 6, 5, 4, 3, 2, 1, 0, 1, 2, 3, 4, 5, 6, 0, 0];
            for len in 0..=1500 {
                let plain: Vec<u8> = (0..len).map(|at| (at * 3 + len) as u8).collect();
                let mut expected = plain.clone();
                library.apply(&iv, &mut expected);
                let mut out = vec![0x33; len + 64];
                ours.apply_to(&iv, &plain, &mut out[..len]).unwrap();
                assert_eq!(out[..len], expected, "{len} octets");
                assert_eq!(out[len..], [0x33; 64], "{len} octets");
                let mut octets = plain;
                ours.apply(&iv, &mut octets);
                assert_eq!(octets, expected, "{len} octets in place");
            }
        }
    }
}
