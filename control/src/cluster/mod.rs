//! The media nodes: which there are, how they are, and which one takes a session.
//!
//! [`health`] and [`placement`] are pure; [`registry`] keeps a handle on each node's link.

pub mod health;
pub mod placement;
pub mod registry;

pub use health::Health;
pub use registry::{Link, MediaNode, Registry};
