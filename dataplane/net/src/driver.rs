use core::time::Duration;
use std::io;
use std::net::SocketAddr;

use clock::Instant;
use packet::{Arena, Batch, Bursts};

use crate::{DriverStats, PeerSocket, Waker};

/// A limit that the kernel adds to its clock must not overflow it; nobody minds a turn an hour.
pub(crate) const LONGEST_WAIT: Duration = Duration::from_secs(3600);

/// How a worker meets its network: one call per turn, in batches both ways.
///
/// Workers are generic over it, so nothing is paid per packet. A driver keeps to the thread of its first turn.
pub trait Driver {
    /// Submits every burst of `out`, waits as `wait` says unless something is there already, and appends what has been
    /// received to `batch`, up to its bound. Slots come out of `arena`; bursts that have left go back to `out`.
    ///
    /// Ends early when a [`Waker`] of this driver is used, and may end early for no reason.
    ///
    /// # Errors
    /// [`Fatal`] when the driver cannot go on at all. What single peers and packets do is counted, never an error.
    fn turn(
        &mut self,
        out: &mut Bursts,
        wait: Wait,
        arena: &mut Arena,
        batch: &mut Batch,
    ) -> Result<(), Fatal>;

    /// From now on, bursts from the socket's local address to its peer leave by it; it takes the place of an earlier one to the
    /// same peer. Whether the driver wanted it: one that does not, or has no room, goes on sending by its listeners, which is
    /// as good but for the time it takes.
    fn attach(&mut self, socket: PeerSocket) -> bool {
        drop(socket);
        false
    }

    /// Gives up the socket to a peer, if there is one.
    fn detach(&mut self, remote: SocketAddr) {
        let _ = remote;
    }

    /// The present: nanoseconds of the system's monotonic clock, or of the simulation's.
    fn now(&self) -> Instant;

    /// A handle with which another thread ends the wait of this driver.
    fn waker(&self) -> Waker;

    /// What happened so far.
    fn stats(&self) -> &DriverStats;
}

/// How long a turn may wait for packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Not at all.
    Poll,
    /// Until something arrives, a waker is used, or this instant.
    Until(Instant),
    /// Until something arrives or a waker is used.
    Forever,
    /// Until this instant, whatever arrives meanwhile, so that it arrives together. May end early all the same.
    Gather(Instant),
}

/// Why a driver cannot go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Fatal {
    /// The system refused something that a working driver is never refused.
    #[error("cannot {doing}")]
    System {
        /// What was attempted.
        doing: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

impl Fatal {
    pub(crate) fn new(doing: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::System { doing, source }
    }
}
