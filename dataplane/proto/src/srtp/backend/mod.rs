//! The ciphers under SRTP. Framing, nonces and indices are decided above; here octets are only turned into octets.
//!
//! There is one backend, `aws_lc`. Another one (several HMACs interleaved, say) offers the same three types.

mod aws_lc;
#[cfg(test)]
pub(super) mod counting;

pub(super) use aws_lc::{AesCtr, AesGcm, HmacSha1};

/// Length of an AES block and of a counter-mode IV, in octets.
pub(super) const AES_BLOCK_LEN: usize = 16;

/// Length of a GCM nonce (RFC 5116 §5.1), in octets.
pub(super) const GCM_NONCE_LEN: usize = 12;

/// Length of a GCM tag, in octets.
pub(super) const GCM_TAG_LEN: usize = 16;

/// Length of an HMAC-SHA1 tag truncated to 80 bits (RFC 3711 §4.2.1), in octets.
pub(super) const SHA1_80_LEN: usize = 10;

/// The cipher did not work out: on opening, because the tag was wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Failed;
