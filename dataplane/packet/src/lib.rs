//! Buffer memory of the packet path, and who owns which part of it.
//!
//! Received datagrams live in the slots of an [`Arena`] and travel through the worker as a [`Batch`]; what leaves is written
//! into [`Bursts`]. Both are mapped once, at start: nothing here allocates afterwards. The memory itself is a [`Memory`],
//! which a driver keeps alive for as long as the kernel may still touch it.

mod arena;
mod batch;
mod bursts;
mod memory;
mod prefetch;

pub use arena::{Arena, ArenaSize, Loan, SLOT_BYTES, SMALL_SLOT_BYTES, SlotId};
pub use batch::{Batch, Datagram, MAX_BATCH};
pub use bursts::{Burst, BurstId, Bursts, BurstsSize, CHUNK_BYTES, MAX_SEGMENTS};
pub use memory::{Error, Memory};
pub use prefetch::prefetch;
