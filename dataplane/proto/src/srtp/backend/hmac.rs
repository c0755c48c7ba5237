//! HMAC-SHA1 (RFC 2104) with both keyed states computed once.

use aws_lc_sys::{SHA_CTX, SHA1, SHA1_Final, SHA1_Init, SHA1_Transform, SHA1_Update};
use subtle::ConstantTimeEq;
use zeroize::Zeroize;

use super::sha1::BLOCK_LEN;
use super::{Failed, SHA1_80_LEN};

/// The same, in bits.
pub(super) const BLOCK_BITS: u32 = 512;

/// Length of a SHA-1 digest, in octets.
pub(super) const DIGEST_LEN: usize = 20;

/// HMAC-SHA1 with a fixed key, truncated to 80 bits.
pub(in crate::srtp) struct HmacSha1 {
    /// SHA-1 after the block key XOR ipad.
    pub(super) inner: [u32; 5],
    /// SHA-1 after the block key XOR opad.
    pub(super) outer: [u32; 5],
}

impl HmacSha1 {
    /// Takes a key of any length.
    pub(in crate::srtp) fn new(key: &[u8]) -> Self {
        aws_lc_sys::init();
        let mut digest = [0; DIGEST_LEN];
        let key = if key.len() > BLOCK_LEN {
            // SAFETY: `key` is readable for its length and `digest` holds 20 octets.
            unsafe { SHA1(key.as_ptr(), key.len(), digest.as_mut_ptr()) };
            digest.as_slice()
        } else {
            key
        };
        Self {
            inner: keyed(key, 0x36),
            outer: keyed(key, 0x5c),
        }
    }

    /// The tag over `first` and then `second`.
    pub(in crate::srtp) fn tag(&self, first: &[u8], second: &[u8]) -> [u8; SHA1_80_LEN] {
        let digest = finish(&self.inner, &[first, second]);
        truncate(&finish(&self.outer, &[&digest]))
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

impl Drop for HmacSha1 {
    fn drop(&mut self) {
        self.inner.zeroize();
        self.outer.zeroize();
    }
}

/// The first 80 bits.
pub(super) fn truncate(digest: &[u8; DIGEST_LEN]) -> [u8; SHA1_80_LEN] {
    let (tag, _) = digest
        .split_first_chunk()
        .expect("a SHA-1 digest is longer than 80 bits");
    *tag
}

/// The state of SHA-1 after one block: `key`, filled up with zeros, XOR `pad` in every octet.
fn keyed(key: &[u8], pad: u8) -> [u32; 5] {
    let mut block = [pad; BLOCK_LEN];
    for (to, from) in block.iter_mut().zip(key) {
        *to ^= *from;
    }
    let mut context = context(&[0; 5], 0);
    // SAFETY: the context is ours; `block` is one block.
    unsafe {
        SHA1_Init(&raw mut context);
        SHA1_Transform(&raw mut context, block.as_ptr());
    }
    let state = context.h;
    block.zeroize();
    context.h.zeroize();
    state
}

/// The digest of one block that led to `state`, and `parts` behind it.
fn finish(state: &[u32; 5], parts: &[&[u8]]) -> [u8; DIGEST_LEN] {
    let mut context = context(state, BLOCK_BITS);
    let mut digest = [0; DIGEST_LEN];
    for part in parts {
        // SAFETY: the context is ours and well formed; `part` is readable for its length.
        unsafe { SHA1_Update(&raw mut context, part.as_ptr().cast(), part.len()) };
    }
    // SAFETY: the context is ours; `digest` holds 20 octets.
    unsafe { SHA1_Final(digest.as_mut_ptr(), &raw mut context) };
    digest
}

fn context(state: &[u32; 5], bits: u32) -> SHA_CTX {
    SHA_CTX {
        h: *state,
        Nl: bits,
        Nh: 0,
        data: [0; BLOCK_LEN],
        num: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 2202 §3, the cases whose digests differ within 80 bits by key length.
    #[test]
    fn known_answers() {
        for (key, data, expected) in [
            (&[0x0b; 20][..], &b"Hi There"[..], 0xb617_3186_5505_7264u64),
            (
                b"Jefe",
                b"what do ya want for nothing?",
                0xeffc_df6a_e5eb_2fa2,
            ),
            (
                &[0xaa; 80],
                b"Test Using Larger Than Block-Size Key - Hash Key First",
                0xaa4a_e5e1_5272_d00e,
            ),
        ] {
            let tag = HmacSha1::new(key).tag(data, &[]);
            assert_eq!(tag[..8], expected.to_be_bytes());
        }
    }
}
