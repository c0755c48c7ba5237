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
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        Ok(Self {
            event: Arc::new(eventfd(0, flags)?),
        })
    }

    /// Ends the wait, or the next one.
    pub fn wake(&self) {
        // The only failure is a counter at its end (EAGAIN), and then the wait ends anyway.
        let _ = rustix::io::write(&*self.event, &1u64.to_ne_bytes());
    }

    /// Forgets earlier uses; whether there were any.
    pub(crate) fn reset(&self) -> bool {
        let mut counter = [0; 8];
        rustix::io::read(&*self.event, &mut counter).is_ok()
    }
}

impl AsFd for Waker {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }
}
