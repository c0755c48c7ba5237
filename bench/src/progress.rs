//! What a run tells while it goes on, for those who watch it.

use core::time::Duration;

/// One thing to tell.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// What is being made ready, for people: `starting ringcast`.
    Preparing(String),
    /// People join.
    Joining {
        /// Who have joined.
        joined: usize,
        /// Out of so many.
        of: usize,
    },
    /// All are there, and the load is on, but nothing counts yet.
    WarmingUp {
        /// For so long.
        remaining: Duration,
    },
    /// It counts.
    Measuring {
        /// So much is over.
        elapsed: Duration,
        /// Of so much.
        of: Duration,
        /// Copies delivered so far.
        delivered: u64,
        /// Copies lost so far.
        lost: u64,
        /// The forwarder's share of one processor just now.
        subject_busy: f64,
    },
}

/// Takes events. It must return quickly: it is called from threads that keep time.
pub type Listener<'a> = dyn FnMut(Event) + Send + 'a;
