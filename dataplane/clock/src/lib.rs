//! Time and chance for deterministic code.
//!
//! Everything that decides in Ringcast takes time as an argument and draws from a generator it was given, so that a run can be
//! repeated exactly. This crate has the four types for that and nothing else; it never reads a clock itself.
#![forbid(unsafe_code)]

mod instant;
mod ntp;
mod rng;

pub use core::time::Duration;
pub use instant::Instant;
pub use ntp::NtpTime;
pub use rng::{Rng, SeldomRng};
