//! RTP (RFC 3550): the header and its extensions, and the arithmetic of its numbers.
//!
//! Nothing here holds or copies a packet: [`Header`] is a small value with offsets into the bytes it was read from.

pub mod extension;
mod fuzz;
mod header;
mod layers_allocation;
pub(crate) mod reception;
pub mod rewrite;
mod sender_clock;
pub mod sequence;
pub(crate) mod wire;
mod write;

pub use extension::{Element, ExtensionMap, Extensions, Uri};
#[doc(hidden)]
pub use fuzz::fuzz;
pub use header::{FIXED_LENGTH, Header};
pub use layers_allocation::LayersAllocation;
pub use reception::Reception;
pub use rewrite::{Mapped, Refused, Rewriter};
pub use sender_clock::SenderClock;
pub use sequence::{TimestampUnwrapper, Unwrapper};
pub use write::{Fields, write_header};

/// Why bytes are not an RTP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Malformed {
    /// The packet ends before its fixed header or its list of contributing sources does.
    #[error("RTP packet is shorter than its header")]
    Short,
    /// The version is not 2 (RFC 3550 §5.1).
    #[error("RTP version is not 2")]
    Version,
    /// The header extension claims more bytes than there are, or than an offset can name.
    #[error("RTP header extension is longer than its packet")]
    Extension,
    /// The padding count is 0 or exceeds the payload (RFC 3550 §5.1).
    #[error("RTP padding does not fit its packet")]
    Padding,
    /// A retransmission is too short for its original sequence number (RFC 4588 §4).
    #[error("RTX payload has no original sequence number")]
    Retransmission,
}
