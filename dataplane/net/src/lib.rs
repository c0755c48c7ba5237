//! Datagram input and output in batches: the [`Driver`] trait and what implements it on Linux.
//!
//! [`open`] probes what the system offers and returns an [`AnyDriver`]: io_uring where it may be used, `recvmmsg` and
//! `sendmmsg` elsewhere. Both have the same manners: bounded batches, runs as one segmented send, arrival times of the
//! kernel, and errors of single peers only counted.

mod address;
mod control;
mod cores;
mod driver;
mod errno;
mod heap;
mod inbound;
mod mmsg;
mod open;
mod peer;
mod socket;
mod stats;
mod time;
mod uring;
mod waker;

pub use cores::{available_cores, pin_to_core, sharpen_timers};
pub use driver::{Driver, Fatal, Wait};
pub use heap::trim_heap;
pub use inbound::MAX_PAYLOAD;
pub use mmsg::Mmsg;
pub use open::{AnyDriver, Choice, Config, Error, Kind, open};
pub use peer::{PeerError, PeerSocket};
pub use socket::MAX_LISTENERS;
pub use stats::DriverStats;
pub use time::{cycles, now};
pub use uring::Uring;
pub use waker::Waker;

#[cfg(test)]
mod tests;
