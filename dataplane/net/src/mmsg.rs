//! The driver for hosts without io_uring: `recvmmsg`, `sendmmsg`, `ppoll`.

mod inbox;
mod outbox;

use core::time::Duration;
use std::io;
use std::os::fd::{AsFd, AsRawFd};

use clock::Instant;
use packet::{Arena, Batch, Bursts};

use crate::driver::LONGEST_WAIT;
use crate::socket::{Listener, MAX_LISTENERS};
use crate::{Driver, DriverStats, Fatal, Wait, Waker, time};
use inbox::{Drained, Inbox};
use outbox::Outbox;

/// How long a driver without slots waits at most: its owner must come by to free some.
const STARVED: Duration = Duration::from_millis(1);

/// Sends and receives with the system calls for many messages at once.
#[derive(Debug)]
pub struct Mmsg {
    listeners: Vec<Listener>,
    waker: Waker,
    stats: DriverStats,
    outbox: Outbox,
    inbox: Inbox,
    /// Whether the last turn found packets without waiting: then the next one looks before it waits.
    busy: bool,
}

impl Mmsg {
    pub(crate) fn new(listeners: Vec<Listener>, waker: Waker) -> Self {
        Self {
            listeners,
            waker,
            stats: DriverStats::default(),
            outbox: Outbox::new(),
            inbox: Inbox::new(),
            busy: false,
        }
    }

    pub(crate) fn listeners(&self) -> &[Listener] {
        &self.listeners
    }

    pub(crate) fn close(mut self, arena: &mut Arena) {
        self.inbox.give_back(arena);
    }

    fn receive(&mut self, arena: &mut Arena, batch: &mut Batch) -> Result<Drained, Fatal> {
        self.inbox
            .receive(&mut self.listeners, arena, batch, &mut self.stats)
            .map_err(Fatal::new("receive datagrams"))
    }

    /// Sleeps until something is readable, a waker is used or `wait` is over.
    fn sleep(&mut self, wait: Wait, starved: bool) -> Result<(), Fatal> {
        let limit = match wait {
            Wait::Poll => return Ok(()),
            Wait::Until(deadline) | Wait::Gather(deadline) => {
                Some(deadline.saturating_since(time::now()).min(LONGEST_WAIT))
            }
            Wait::Forever => None,
        };
        let limit = if starved {
            Some(limit.unwrap_or(STARVED).min(STARVED))
        } else {
            limit
        };
        let mut entries = [libc::pollfd {
            fd: self.waker.as_fd().as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        }; 1 + MAX_LISTENERS];
        // Without slots a readable socket is no reason to get up, nor while more is to gather.
        let deaf = starved || matches!(wait, Wait::Gather(_));
        let listeners = if deaf { 0 } else { self.listeners.len() };
        for (entry, listener) in entries[1..].iter_mut().zip(&self.listeners) {
            entry.fd = listener.raw();
        }
        let limit = limit.map(timespec);
        let limit = limit
            .as_ref()
            .map_or(core::ptr::null(), core::ptr::from_ref);
        self.stats.system_calls += 1;
        // SAFETY: the array outlives the call and has at least as many entries as stated (`open` bounds the listeners); the
        // limit is null or points at a value that outlives the call; a null mask leaves signals alone.
        let ready = unsafe {
            libc::ppoll(
                entries.as_mut_ptr(),
                1 + listeners as libc::nfds_t,
                limit,
                core::ptr::null(),
            )
        };
        if ready < 0 {
            let error = io::Error::last_os_error();
            return match error.kind() {
                io::ErrorKind::Interrupted => Ok(()),
                _ => Err(Fatal::new("wait for datagrams")(error)),
            };
        }
        if entries[0].revents != 0 {
            self.waker.reset();
        }
        Ok(())
    }
}

impl Driver for Mmsg {
    fn turn(
        &mut self,
        out: &mut Bursts,
        wait: Wait,
        arena: &mut Arena,
        batch: &mut Batch,
    ) -> Result<(), Fatal> {
        self.stats.turns += 1;
        self.outbox
            .send_all(out, &mut self.listeners, &mut self.stats);
        let wait = if batch.is_empty() { wait } else { Wait::Poll };
        let before = batch.len();
        let mut drained = Drained::Empty;
        let gathers = matches!(wait, Wait::Gather(_));
        if (self.busy && !gathers) || wait == Wait::Poll {
            drained = self.receive(arena, batch)?;
        } else if !self.inbox.top_up(arena) {
            drained = Drained::OutOfSlots;
        }
        self.busy = batch.len() > before;
        if (!self.busy || gathers) && wait != Wait::Poll {
            self.sleep(wait, drained == Drained::OutOfSlots)?;
            self.receive(arena, batch)?;
            // A full chunk after a wait is load too.
            self.busy = batch.len() - before >= inbox::CHUNK;
        }
        self.stats.receiving_turns += u64::from(!batch.is_empty());
        Ok(())
    }

    fn now(&self) -> Instant {
        time::now()
    }

    fn waker(&self) -> Waker {
        self.waker.clone()
    }

    fn stats(&self) -> &DriverStats {
        &self.stats
    }
}

fn timespec(duration: Duration) -> libc::timespec {
    libc::timespec {
        tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(duration.subsec_nanos()),
    }
}
