//! The link between master and media node: state, not commands.
//!
//! The master holds a *desired state* per node, the node a *reported state*; each is a map that one side owns and the other
//! side follows. [`replica`] keeps the two copies equal whatever happens to the connection between them: every message says
//! "from revision a to b, these entries changed", every connection begins with snapshots, and there is no other recovery path.
//!
//! ```text
//! master                                   node
//!   ToNode::Welcome { epoch }        ──▶
//!                                    ◀──   ToMaster::Hello { node, instance, capacity … }
//!   ToNode::DesiredSnapshot, Desired ──▶   applied::AppliedState → steps to carry out
//!   reported, seen by control        ◀──   ToMaster::ReportedSnapshot, Reported, Heartbeat (every 200 ms)
//! ```
//!
//! Everything but [`quic`] and [`pki`] is sans-IO: no clock, socket, thread or lock.
#![forbid(unsafe_code)]

pub mod applied;
pub mod cause;
pub mod desired;
pub mod frame;
pub mod message;
pub mod pki;
pub mod quic;
pub mod replica;
pub mod reported;
pub mod state;
pub mod statistics;
pub mod word;

pub use cause::{Cause, Trouble};
pub use message::{Capacity, Change, Hello, Load, ToMaster, ToNode, Welcome};
pub use state::*;
pub use word::Word;
