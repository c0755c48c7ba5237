//! The ciphers under SRTP. Framing, nonces and indices are decided above; here octets are only turned into octets.
//!
//! AWS-LC can do all the work, through its C functions rather than `aws-lc-rs`, for two reasons: keys lie inside our own
//! structures and not behind a pointer to the heap, so that the contexts of many transports form one flat table; and
//! what AES-CM and HMAC need of their keys is computed once and not per packet.
//!
//! Where the processor has VAES and AVX-512, or SHA instructions, code of our own is faster and takes its place: AES-GCM
//! and AES-CM made for single packets (`vaes`, `gcm_vaes`), HMAC-SHA1 of four packets at once (`sha1`, `hmac_lanes`).
//! Tests hold each to what AWS-LC yields, octet for octet, at every length.
//!
//! Nothing that is called per packet allocates.
#![allow(unsafe_code)]

#[cfg(test)]
pub(super) mod counting;
mod ctr;
mod gcm;
mod gcm_aws_lc;
#[cfg(target_arch = "x86_64")]
mod gcm_vaes;
mod hmac;
mod hmac_lanes;
mod prefetch;
mod sha1;
mod stack;
#[cfg(target_arch = "x86_64")]
mod vaes;

pub(super) use ctr::AesCtr;
pub(super) use gcm::AesGcm;
pub(super) use hmac::HmacSha1;
pub(super) use hmac_lanes::{LANES, tags};
pub(crate) use prefetch::prefetch;
pub(super) use prefetch::prefetch_front;
#[cfg(test)]
pub(crate) use stack::tests::{is_left, leave};
pub(super) use stack::wipe_frames;
pub use stack::wipe_stack;

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

/// Overwrites a structure of the C library with zeros, in a way that no optimiser takes away.
///
/// # Safety
/// All zeros must be a valid `T`.
unsafe fn cleanse<T: Copy>(secret: &mut T) {
    // SAFETY: the pointer covers exactly the `T` that we hold exclusively, and the caller vouches for its new value.
    unsafe { aws_lc_sys::OPENSSL_cleanse((&raw mut *secret).cast(), size_of::<T>()) }
}
