//! The media nodes: which there are, how they are, what they are for, and which one takes a session.
//!
//! [`health`], [`status`] and [`load`] are pure; a [`node`] has a handle on its link, and [`registry`] all nodes.

pub mod address;
pub mod health;
pub mod link;
pub mod load;
pub mod node;
pub mod registry;
pub mod status;

pub use health::Health;
pub use link::Link;
pub use load::Loads;
pub use node::{DrainDeadline, MediaNode, NodeRow, Removal};
pub use registry::Registry;
pub use status::Status;
