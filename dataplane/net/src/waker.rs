use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::event::{EventfdFlags, eventfd};

/// Ends the wait of one driver, from any thread.
///
/// Cloning it is cheap. Using it before the driver waits makes the next wait end at once.
#[derive(Clone, Debug)]
pub struct Waker {
    event: Arc<OwnedFd>,
}

impl Waker {
    /// A waker for a driver to wait on.
    ///
    /// # Errors
    /// If the process has no descriptor left.
    pub fn new() -> io::Result<Self> {
        // Blocking, because io_uring would fail a read of an empty one instead of waiting. The mmsg driver reads it only when
        // it is known to be readable, and a write blocks only at the end of 64 bits.
        Ok(Self {
            event: Arc::new(eventfd(0, EventfdFlags::CLOEXEC)?),
        })
    }

    /// Ends the wait, or the next one.
    pub fn wake(&self) {
        // A signal may interrupt only a write that blocks.
        let _ = rustix::io::write(&*self.event, &1u64.to_ne_bytes());
    }

    /// Forgets earlier uses. Blocks until there is one.
    pub(crate) fn reset(&self) {
        let mut counter = [0; 8];
        // Nobody else reads it, so the only failure is a signal, and then the next wait ends early.
        let _ = rustix::io::read(&*self.event, &mut counter);
    }
}

impl AsFd for Waker {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }
}
