//! Placement in simulation: the master's own scheduler and others' rules on virtual nodes, by the ten thousand.
//!
//! [`Workload`](workload::Workload) is what happens whatever is decided, [`Faults`](faults::Faults) what becomes of nodes;
//! [`World`](world::World) plays both through one [`Policy`](policy::Policy) and measures what comes of it. A run has no clock and no
//! thread: the same seed gives the same [`Outcome`](outcome::Outcome), byte for byte, and each policy meets the same arrivals.
#![forbid(unsafe_code)]

pub mod autoscale;
pub mod faults;
pub mod incidents;
pub mod measure;
pub mod node;
pub mod oracle;
pub mod outcome;
pub mod policy;
mod random;
pub mod run;
pub mod timing;
pub mod workload;
pub mod world;
