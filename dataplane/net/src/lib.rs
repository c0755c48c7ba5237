//! Datagram input and output in batches: the [`Driver`] trait and what implements it.

mod driver;
mod stats;
mod waker;

pub use driver::{Driver, Fatal, Wait};
pub use stats::DriverStats;
pub use waker::Waker;
