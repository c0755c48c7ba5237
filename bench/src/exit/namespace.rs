//! Network namespaces without a name: they end with the last process in them, so nothing is ever left behind.

use std::fs::File;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;

use nix::sched::{CloneFlags, setns, unshare};

use super::Error;

/// A network of its own, kept alive by an open file.
#[derive(Clone, Debug)]
pub struct Namespace(Arc<File>);

impl Namespace {
    /// Makes an empty one.
    ///
    /// # Errors
    /// [`Error::NotRoot`] without the rights.
    pub fn create() -> Result<Self, Error> {
        // Only the thread that asks moves, so a short-lived one does.
        on_a_thread(|| {
            unshare(CloneFlags::CLONE_NEWNET).map_err(|errno| Error::NotRoot(errno.into()))?;
            File::open("/proc/thread-self/ns/net")
                .map(|file| Self(Arc::new(file)))
                .map_err(Error::system("open a network namespace"))
        })
    }

    /// Runs `work` on a new thread inside.
    ///
    /// # Errors
    /// If the kernel does not let us in.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, Error> {
        on_a_thread(|| {
            setns(self.0.as_fd(), CloneFlags::CLONE_NEWNET)
                .map_err(|errno| Error::NotRoot(errno.into()))?;
            Ok(work())
        })
    }

    /// A path by which `ip` finds it while this process lives.
    pub fn path(&self) -> PathBuf {
        use std::os::fd::AsRawFd;
        PathBuf::from(format!(
            "/proc/{}/fd/{}",
            std::process::id(),
            self.0.as_raw_fd()
        ))
    }
}

fn on_a_thread<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| match scope.spawn(work).join() {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}
