//! Simulation of a media node: the production worker and engine, real STUN, SRTP and RTCP, simulated browsers, and a
//! network and a clock that exist only in memory.
//!
//! One thread, no socket, no real time: everything follows from one number, the seed. After every turn of the worker the
//! promises that must always hold are asserted ([`Node`]), and every datagram that leaves is looked at ([`Oracle`]).
//!
//! ```text
//! Browser ──▶ Network (loss, queues, delay, jitter, reordering) ──▶ SimDriver ──▶ Worker
//!    ▲                                                                                   │
//!    └──────────────── Network ◀── Oracle ◀── SimDriver ◀── bursts ◀─────────────────────┘
//! ```
#![forbid(unsafe_code)]

mod browser;
mod conditions;
mod decoder;
mod driver;
mod encoder;
mod estimate;
mod media;
mod network;
mod node;
mod oracle;
pub mod quality;
mod report;
mod seeds;
mod simulation;
mod sink;
mod source;
pub mod trace;
mod viewer;

pub use browser::Browser;
pub use conditions::{Conditions, Loss, Rate};
pub use decoder::{Freeze, Shown};
pub use driver::{SimDriver, Still};
pub use encoder::Encoder;
pub use media::Style;
pub use network::{BottleneckId, HostId, Network, Seen};
pub use node::Node;
pub use oracle::Oracle;
pub use report::Report;
pub use seeds::{over_few_seeds, over_seeds};
pub use simulation::{BrowserId, Settings, Simulation};
pub use sink::Sink;
pub use source::Source;
pub use viewer::Viewer;
