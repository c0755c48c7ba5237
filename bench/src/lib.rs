//! Load from simulated browsers, and what it costs the media node to serve them.
//!
//! It meets the node on the wire only: nothing here uses the forwarding engine, the daemon or the master.

#![warn(missing_docs)]

pub mod baseline;
pub mod cli;
pub mod compare;
pub mod exit;
pub mod fleet;
pub mod measure;
pub mod outcome;
pub mod plan;
pub mod progress;
pub mod report;
pub mod runner;
pub mod scenario;
pub mod signal;
pub mod stream;
pub mod subject;
