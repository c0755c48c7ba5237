//! What of this host limits a media node: read, graded, and with the mend at hand (`ringcast-node --check-host`).
//!
//! Everything that is a file is read below a root folder, so that tests can show [`inspect`] hosts that are made up; what
//! is no file comes through [`Probes`]. Nothing is changed.
//!
//! ```text
//! Host (files, probes)  ─┐
//!                        ├─▶  kernel  processor  memory  sockets  interface  ──▶  Report  ──▶  table, JSON
//! Plan (configuration)  ─┘
//! ```

mod finding;
mod host;
mod interface;
mod kernel;
mod memory;
mod plan;
mod processor;
mod report;
mod resources;
mod sockets;
mod steering;

pub use finding::{Finding, Grade};
pub(crate) use host::print_bytes;
pub use host::{Host, Probes, SystemProbes};
pub use report::Report;

use crate::config::Config;
use plan::Plan;

/// Looks at everything and grades it, for a node with this configuration.
pub fn inspect(host: &Host<'_>, config: &Config) -> Report {
    let plan = Plan::new(host, config);
    let mut findings = Vec::new();
    kernel::inspect(host, &plan, &mut findings);
    processor::inspect(host, &plan, &mut findings);
    memory::inspect(host, &plan, &mut findings);
    sockets::inspect(host, &plan, &mut findings);
    interface::inspect(host, &plan, &mut findings);
    Report { findings }
}
