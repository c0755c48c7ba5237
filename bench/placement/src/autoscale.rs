//! The seat of an autoscaler: who adds nodes and empties them while the world goes on. Nobody sits there unless a plan says so.

use crate::node::Reading;

/// It looks so often, ms.
pub const EVERY: u64 = 10_000;

/// A node as an autoscaler sees it: like the master, by what it told last.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Seen {
    /// Its number.
    pub node: u32,
    /// How many times the smaller size it is.
    pub size: f64,
    /// It was told to be emptied by an order.
    pub drains: bool,
    /// Sessions on it: the master placed them.
    pub sessions: usize,
    /// What it told last; none before it has.
    pub reading: Option<Reading>,
}

/// What an autoscaler wants.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Order {
    /// A node of this size, that is there after so long, ms.
    Add {
        /// How many times the smaller size.
        size: f64,
        /// Until it takes sessions.
        after: u64,
    },
    /// This one takes nothing new, and is no more once it is empty.
    Drain(u32),
}

/// Who sits there.
pub trait Autoscaler {
    /// Looks at the nodes that run, in the order of their numbers. Time is ms.
    fn look(&mut self, now: u64, nodes: &[Seen]) -> Vec<Order>;
}
