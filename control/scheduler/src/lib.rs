//! Which media node takes a session.
//!
//! [`Cluster`] is a view of the nodes that is fed by small steps: a node came, its metrics were read, a session was placed, grew
//! or ended. [`Cluster::place`] decides by it. Nothing here reads a clock, waits or speaks to anybody; time and chance are
//! arguments, so that a trace gives the same decisions each time.
//!
//! What a node has to do is measured by the node ([`Report`], against the [`Limits`] that it measured of itself). Reports are
//! always late, so what was placed and can't show in them yet is reckoned with as a *reservation* ([`growth`]): without that,
//! all that comes between two reports goes to the one node that looked idle. How large a session becomes is foreseen by
//! [`Predictor`], from what its application says, what became of earlier ones of its name, and how quickly it grows. No decision looks at all nodes, except where none
//! can be found and the reason is looked for.
#![forbid(unsafe_code)]

pub mod accuracy;
mod choose;
pub mod cluster;
pub mod forecast;
pub mod growth;
pub mod history;
mod index;
pub mod load;
mod node;
pub mod predictor;
mod sessions;
pub mod strategy;

pub use accuracy::{Accuracy, Tally};
pub use choose::NoNode;
pub use cluster::{Cluster, NodeView};
pub use forecast::{Ended, Forecast, Source};
pub use growth::Hint;
pub use history::History;
pub use load::{Component, Demand, Limits, Load, Rates, Report, Shape};
pub use node::Standing;
pub use predictor::{Predictor, Sources};
pub use strategy::{Fit, Policy, Strategy, UnknownStrategy};
