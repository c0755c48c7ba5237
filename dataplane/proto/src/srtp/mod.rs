//! SRTP and SRTCP framing (RFC 3711, RFC 7714) with keys from DTLS (RFC 5764).
//!
//! A transport has one [`Inbound`] and one [`Outbound`] context. What the peer sends is decrypted in place, where it
//! arrived; what we send is encrypted out of place, from a payload that many subscribers share straight into each one's
//! burst. Neither allocates per packet; a table grows when a new SSRC comes, up to its bound.
//!
//! Who sends to many peers keeps the RTP halves of the sending contexts in one flat [`Slab`] (the RTCP halves are
//! [`OutboundRtcp`]) and has whole lists of packets encrypted at once by [`protect_batch`].
//!
//! Two rules hold whatever the caller does: a packet changes no state before it is authentic, and no (key, SSRC, index)
//! is encrypted twice.
//!
//! Not here: MKI, key derivation rates other than zero, encrypted header extensions (RFC 6904, RFC 9335). DTLS-SRTP
//! with browsers uses none of them.

mod backend;
mod batch;
pub mod fuzz;
mod inbound;
mod kdf;
mod outbound;
mod outbound_rtp;
mod profile;
mod replay;
mod seldom;
mod slab;
mod sources;
mod transform;

#[cfg(test)]
mod tests;

pub(crate) use backend::prefetch;
pub use backend::wipe_stack;
#[cfg(test)]
pub(crate) use backend::{is_left, leave};
pub use batch::{Job, protect_batch};
pub use inbound::{Inbound, MAX_INBOUND_SOURCES, RTP_REPLAY_WINDOW, Reject};
pub use outbound::{Outbound, OutboundRtcp, Refusal};
pub use outbound_rtp::{INLINE_SOURCES, MAX_OUTBOUND_SOURCES, MAX_PREFIX_LEN, RTP_SENT_WINDOW};
pub use profile::{KeyError, KeyingMaterial, MAX_KEY_LEN, MAX_SALT_LEN, MasterKey, Profile};
pub use replay::{MAX_RTP_INDEX, estimate_index};
pub use slab::{Handle, Slab, SlabError};
