//! AES-GCM with the key state inside the structure.

#[cfg(target_arch = "x86_64")]
use subtle::ConstantTimeEq;

use super::gcm_aws_lc::AwsLcGcm;
#[cfg(target_arch = "x86_64")]
use super::gcm_vaes::VaesGcm;
use super::{Failed, GCM_NONCE_LEN, GCM_TAG_LEN};
use crate::srtp::profile::KeyError;

/// AES-GCM with a fixed key: by our own code where the processor has the instructions for it, else by AWS-LC.
pub(in crate::srtp) enum AesGcm {
    AwsLc(AwsLcGcm),
    #[cfg(target_arch = "x86_64")]
    Vaes(VaesGcm),
}

impl AesGcm {
    /// Takes a key of 16 or 32 octets.
    pub(in crate::srtp) fn new(key: &[u8]) -> Result<Self, KeyError> {
        #[cfg(target_arch = "x86_64")]
        if let Some(gcm) = VaesGcm::new(key) {
            return Ok(Self::Vaes(gcm));
        }
        Ok(Self::AwsLc(AwsLcGcm::new(key)?))
    }

    /// Encrypts `plain` into `out`, which is longer by the tag that ends it.
    pub(in crate::srtp) fn seal(
        &self,
        nonce: &[u8; GCM_NONCE_LEN],
        aad: &[u8],
        plain: &[u8],
        out: &mut [u8],
    ) -> Result<(), Failed> {
        let (cipher, tag) = out.split_last_chunk_mut::<GCM_TAG_LEN>().ok_or(Failed)?;
        if cipher.len() != plain.len() {
            return Err(Failed);
        }
        // SAFETY: `cipher` is as long as `plain`; as distinct borrows they do not overlap.
        unsafe { self.seal_raw(nonce, aad, plain.as_ptr(), cipher, tag) }
    }

    /// Encrypts the front of `octets` in place and writes the tag over their last 16.
    pub(in crate::srtp) fn seal_in_place(
        &self,
        nonce: &[u8; GCM_NONCE_LEN],
        aad: &[u8],
        octets: &mut [u8],
    ) -> Result<(), Failed> {
        let (body, tag) = octets.split_last_chunk_mut::<GCM_TAG_LEN>().ok_or(Failed)?;
        let plain = body.as_mut_ptr().cast_const();
        // SAFETY: the pointer is to `body` itself.
        unsafe { self.seal_raw(nonce, aad, plain, body, tag) }
    }

    /// Verifies the tag and decrypts in place. On failure `octets` are lost.
    pub(in crate::srtp) fn open_in_place(
        &self,
        nonce: &[u8; GCM_NONCE_LEN],
        aad: &[u8],
        octets: &mut [u8],
        tag: &[u8],
    ) -> Result<(), Failed> {
        match self {
            Self::AwsLc(gcm) => gcm.open_in_place(nonce, aad, octets, tag),
            #[cfg(target_arch = "x86_64")]
            Self::Vaes(gcm) => {
                let expected = gcm.open_in_place(nonce, aad, octets);
                if bool::from(expected.as_slice().ct_eq(tag)) {
                    return Ok(());
                }
                // Whoever overlooks the error shall not find text in here.
                octets.fill(0);
                Err(Failed)
            }
        }
    }

    /// Encrypts as many octets from `plain` as fit into `cipher`.
    ///
    /// # Safety
    /// `plain` must be readable for the length of `cipher`, and be the start of `cipher` or not overlap it.
    unsafe fn seal_raw(
        &self,
        nonce: &[u8; GCM_NONCE_LEN],
        aad: &[u8],
        plain: *const u8,
        cipher: &mut [u8],
        tag: &mut [u8; GCM_TAG_LEN],
    ) -> Result<(), Failed> {
        match self {
            // SAFETY: what the caller vouches for is what this asks for.
            Self::AwsLc(gcm) => unsafe { gcm.seal(nonce, aad, plain, cipher, tag) },
            #[cfg(target_arch = "x86_64")]
            Self::Vaes(gcm) => {
                // SAFETY: likewise; `cipher` is writable for its length.
                *tag = unsafe { gcm.seal(nonce, aad, plain, cipher.as_mut_ptr(), cipher.len()) };
                Ok(())
            }
        }
    }
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::*;

    fn octets(len: usize, seed: usize) -> Vec<u8> {
        let mut state = (seed as u32 + 1).wrapping_mul(2_654_435_761);
        (0..len)
            .map(|_| {
                state ^= state << 13;
                state ^= state >> 17;
                state ^= state << 5;
                state as u8
            })
            .collect()
    }

    /// Our kernel and the library's, or nothing where ours can't run.
    fn both(key: &[u8]) -> Option<(AesGcm, AesGcm)> {
        let ours = VaesGcm::new(key)?;
        Some((
            AesGcm::Vaes(ours),
            AesGcm::AwsLc(AwsLcGcm::new(key).unwrap()),
        ))
    }

    fn compare(ours: &AesGcm, theirs: &AesGcm, aad_len: usize, len: usize) {
        let nonce = *octets(12, len + aad_len).first_chunk().unwrap();
        let aad = octets(aad_len, len * 3 + 1);
        let plain = octets(len, len + 7);
        let (mut out, mut expected) = (vec![0x11; len + 16], vec![0; len + 16]);
        ours.seal(&nonce, &aad, &plain, &mut out).unwrap();
        theirs.seal(&nonce, &aad, &plain, &mut expected).unwrap();
        assert_eq!(out, expected, "{aad_len} + {len} octets");

        let mut in_place = plain.clone();
        in_place.resize(len + 16, 0);
        ours.seal_in_place(&nonce, &aad, &mut in_place).unwrap();
        assert_eq!(in_place, expected, "{aad_len} + {len} octets in place");

        let (body, tag) = in_place.split_at_mut(len);
        assert_eq!(ours.open_in_place(&nonce, &aad, body, tag), Ok(()));
        assert_eq!(body, plain, "{aad_len} + {len} octets opened");
        let (body, tag) = expected.split_at_mut(len);
        tag[len % 16] ^= 1 << (len % 8);
        assert_eq!(ours.open_in_place(&nonce, &aad, body, tag), Err(Failed));
        assert!(body.iter().all(|octet| *octet == 0));
    }

    #[test]
    fn our_kernel_is_the_librarys_at_every_length() {
        for key_len in [16, 32] {
            let Some((ours, theirs)) = both(&octets(key_len, 5)) else {
                return;
            };
            for len in 0..=2100 {
                compare(&ours, &theirs, 12 + len % 7 * 4, len);
                compare(&ours, &theirs, 48 + len % 18, len);
            }
            for aad_len in 0..=600 {
                compare(&ours, &theirs, aad_len, aad_len % 3 * 100);
            }
        }
    }

    #[test]
    fn our_kernel_is_the_librarys_with_many_keys() {
        for seed in 0..400 {
            let key_len = 16 + seed % 2 * 16;
            let Some((ours, theirs)) = both(&octets(key_len, seed)) else {
                return;
            };
            compare(&ours, &theirs, 20, 300);
        }
    }

    /// Writing behind the end would spoil the next packet of a burst.
    #[test]
    fn nothing_is_written_outside() {
        let Some((ours, _)) = both(&[3; 16]) else {
            return;
        };
        for len in 0..300 {
            let plain = octets(len, 1);
            let mut out = vec![0x77; len + 16 + 128];
            ours.seal(&[1; 12], &[2; 12], &plain, &mut out[64..][..len + 16])
                .unwrap();
            assert!(out[..64].iter().all(|octet| *octet == 0x77));
            assert!(out[len + 80..].iter().all(|octet| *octet == 0x77));
        }
    }

    #[test]
    fn keys_are_wiped() {
        for gcm in [
            AesGcm::AwsLc(AwsLcGcm::new(&[9; 32]).unwrap()),
            AesGcm::new(&[9; 32]).unwrap(),
        ] {
            let mut place = Box::new(core::mem::MaybeUninit::new(gcm));
            // SAFETY: the value is there, and is not used as one afterwards.
            let left = unsafe {
                place.assume_init_drop();
                core::slice::from_raw_parts(place.as_ptr().cast::<u8>(), 480)
            };
            assert!(left.iter().all(|octet| *octet == 0));
        }
    }
}
