//! The media node of Ringcast: it receives each published stream once and forwards it to everyone who subscribed.
//!
//! ```text
//! agent thread                                        worker 0 … N-1, one per core
//!   link: desired state in, reported state out   ──▶    orders by mailbox
//!   handshakes: datagrams in, keys out           ◀──    news by mailbox
//!   admin: /metrics /healthz /debug              ◀──    counters in cells
//! ```
//!
//! [`daemon::run`] puts it together; [`worker`] is the loop that everything serves.
#![forbid(unsafe_code)]

pub mod agent;
pub mod ask;
pub mod capacity;
pub mod check_host;
pub mod config;
pub mod crossing;
pub mod daemon;
pub mod effort;
pub mod gather;
pub mod mailbox;
pub mod metrics;
pub mod placement;
pub mod reload;
pub mod rtpdump;
pub mod worker;

pub use config::Config;
