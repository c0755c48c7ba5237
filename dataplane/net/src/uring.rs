//! The driver on io_uring: one `io_uring_enter` per turn sends, receives and waits.

mod buffers;
mod peers;
pub(crate) mod refusal;
mod ring;
mod sends;

use core::time::Duration;
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;

use clock::Instant;
use io_uring::types::{Fixed, RecvMsgOut};
use io_uring::{cqueue, opcode};
use packet::{Arena, Batch, Bursts, MAX_BATCH, Memory};

use crate::control::RECEIVE_CONTROL_BYTES;
use crate::driver::LONGEST_WAIT;
use crate::errno;
use crate::inbound::{self, Arrived, HEADROOM, NAME_ROOM};
use crate::socket::{Listener, MAX_LISTENERS};
use crate::time::Moment;
use crate::{Driver, DriverStats, Fatal, PeerSocket, Wait, Waker, time};
use buffers::Buffers;
use peers::Peers;
use ring::Ring;
use sends::{MAX_SENDS, Sends, Sockets};

/// Requests that fit between two calls: all sends, all receives, the waker.
const REQUESTS: u32 = 1024;
const GROUP: u16 = 0;
/// How long a driver without slots waits at most: its owner must come by to free some.
const STARVED: Duration = Duration::from_millis(1);

/// How often the kernel may take only a part of what is queued, before the rest is left to the next turn.
const MAX_ATTEMPTS: usize = 64;
/// How long a turn that left something over takes a rest, so that the kernel comes by memory.
const REST: Duration = Duration::from_millis(1);
/// What an empty place in the table of files is registered as.
const NO_FILE: i32 = -1;

/// Datagrams that one multishot receive yields before it lets others run.
const SHARE: usize = 32;

const _: () = assert!(MAX_SENDS + MAX_LISTENERS < REQUESTS as usize);

/// What a completion is about, packed into the 64 bits that travel with a request.
///
/// No generation is needed: a listener is armed again only after its last completion has been seen, and sends end in the call
/// that submits them. The completion queue has room for everything that can complete in one call, so none is late.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Event {
    Received(usize),
    SendFailed(usize),
    Woken,
}

impl From<Event> for u64 {
    fn from(event: Event) -> Self {
        match event {
            Event::Received(listener) => 1 << 32 | listener as Self,
            Event::SendFailed(index) => 2 << 32 | index as Self,
            Event::Woken => 3 << 32,
        }
    }
}

impl Event {
    fn of(user_data: u64) -> Option<Self> {
        let index = (user_data & 0xffff_ffff) as usize;
        match user_data >> 32 {
            1 => Some(Self::Received(index)),
            2 => Some(Self::SendFailed(index)),
            3 => Some(Self::Woken),
            _ => None,
        }
    }
}

/// A ring with everything registered that does not depend on a thread.
#[derive(Debug)]
pub(crate) struct Setup {
    ring: Ring,
    buffers: Buffers,
    peers: Peers,
}

impl Setup {
    /// Tries whether the system allows all that the driver needs.
    pub(crate) fn prepare(
        listeners: &[Listener],
        waker: &Waker,
        lent: u16,
        peers: usize,
        peer_idle_max: Duration,
    ) -> io::Result<Self> {
        let buffers = Buffers::new(lent).map_err(io::Error::other)?;
        let completions = u32::from(buffers.capacity()) + REQUESTS;
        let ring = Ring::build(REQUESTS, completions.next_power_of_two())?;
        let files = listeners.iter().map(Listener::raw);
        let mut files: Vec<_> = files.chain([waker.as_fd().as_raw_fd()]).collect();
        let own = files.len();
        // The table may not be longer than the number of files that this process may open, though its files do not count.
        let room = open_files_max().saturating_sub(own);
        let mut peers = peers.min(room);
        files.resize(own + peers, NO_FILE);
        if peers > 0 && ring.register_files(&files).is_err() {
            peers = 0;
        }
        if peers == 0 {
            ring.register_files(&files[..own])?;
        }
        // SAFETY: the entries are a page-aligned, zeroed mapping with this capacity, which the driver keeps until its ring is
        // gone (field order), here as well as in `Uring`.
        unsafe { ring.register_buffers(buffers.address(), buffers.capacity(), GROUP) }?;
        Ok(Self {
            ring,
            buffers,
            peers: Peers::new(own as u32, peers, peer_idle_max),
        })
    }

    pub(crate) fn features(&self) -> String {
        let mut features = self.ring.features();
        if self.peers.most() > 0 {
            features.push_str(" peer_sockets");
        }
        features
    }
}

/// How many files this process may have open.
fn open_files_max() -> usize {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let limit = limit.current.map(usize::try_from);
    limit.and_then(Result::ok).unwrap_or(usize::MAX)
}

/// A datagram that was received beyond the bound of its turn.
#[derive(Clone, Copy, Debug)]
struct Held {
    listener: usize,
    buffer: u16,
    len: usize,
}

/// Sends and receives with one call to io_uring per turn.
#[derive(Debug)]
pub struct Uring {
    // The first field is dropped first: nothing below may go before the ring.
    ring: Ring,
    buffers: Buffers,
    sends: Sends,
    peers: Peers,
    /// What the kernel may write to or read from, kept alive whatever the owners of the packets do.
    memory: Option<(Arc<Memory>, Arc<Memory>)>,
    receive: Box<ReceiveHeader>,
    woken: Box<u64>,
    listeners: Vec<Listener>,
    armed: [bool; MAX_LISTENERS],
    waker: Waker,
    waker_armed: bool,
    held: VecDeque<Held>,
    stats: DriverStats,
}

/// How much room a received datagram leaves for its name and its control messages; no pointers.
#[derive(Debug)]
struct ReceiveHeader(libc::msghdr);

// SAFETY: the pointers in it are null and stay so.
unsafe impl Send for ReceiveHeader {}

impl Uring {
    pub(crate) fn new(setup: Setup, listeners: Vec<Listener>, waker: Waker) -> Self {
        // SAFETY: a plain C structure, for which all zeros is a valid value.
        let mut header: libc::msghdr = unsafe { core::mem::zeroed() };
        header.msg_namelen = NAME_ROOM as libc::socklen_t;
        header.msg_controllen = RECEIVE_CONTROL_BYTES as _;
        let capacity = usize::from(setup.buffers.capacity());
        Self {
            ring: setup.ring,
            buffers: setup.buffers,
            sends: Sends::new(),
            peers: setup.peers,
            memory: None,
            receive: Box::new(ReceiveHeader(header)),
            woken: Box::new(0),
            listeners,
            armed: [false; MAX_LISTENERS],
            waker,
            waker_armed: false,
            held: VecDeque::with_capacity(capacity),
            stats: DriverStats::default(),
        }
    }

    pub(crate) fn listeners(&self) -> &[Listener] {
        &self.listeners
    }

    pub(crate) fn peers_max(&self) -> usize {
        self.peers.most()
    }

    #[cfg(test)]
    pub(crate) fn set_taken_at_most(&mut self, requests: Option<u32>) {
        self.ring.taken_at_most = requests;
    }

    pub(crate) fn close(mut self, arena: &mut Arena) {
        if self.ring.cancel_all() {
            // SAFETY: every request has just ended.
            unsafe { self.buffers.give_back(arena) };
        }
    }

    /// Keeps alive what the kernel is about to be told of. A driver serves one arena and one set of bursts.
    fn hold_memory(&mut self, arena: &Arena, out: &Bursts) {
        let (slots, bursts) = self
            .memory
            .get_or_insert_with(|| (Arc::clone(arena.memory()), Arc::clone(out.memory())));
        assert!(
            Arc::ptr_eq(slots, arena.memory()) && Arc::ptr_eq(bursts, out.memory()),
            "a driver keeps to the arena and the bursts of its first turn"
        );
    }

    /// Queues what waits for packets and wakers and is not armed.
    fn arm(&mut self) {
        for index in 0..self.listeners.len() {
            // Without buffers it would only end again.
            if !self.armed[index] && self.buffers.lent() > 0 {
                let request = opcode::RecvMsgMulti::new(
                    Fixed(index as u32),
                    &raw const self.receive.0,
                    GROUP,
                )
                .build()
                .user_data(Event::Received(index).into());
                // SAFETY: the header is boxed and never written again; the buffers come from the registered ring.
                self.armed[index] = unsafe { self.ring.push(&request) };
            }
        }
        if !self.waker_armed {
            let file = Fixed(self.listeners.len() as u32);
            let target = (&raw mut *self.woken).cast();
            let request = opcode::Read::new(file, target, size_of::<u64>() as u32)
                .build()
                .user_data(Event::Woken.into());
            // SAFETY: the target is boxed, nobody else looks at it, and it is freed after the ring, or never (`drop`).
            self.waker_armed = unsafe { self.ring.push(&request) };
        }
    }

    fn enter(&mut self, completions: usize, limit: Option<Duration>) -> Result<(), Fatal> {
        self.stats.system_calls += 1;
        self.ring
            .enter(completions, limit)
            .map_err(Fatal::new("enter the ring"))
    }

    /// Submits everything that is queued, with one call unless the kernel is short of memory, and settles the sends in it. Waits
    /// for `completions` others, at most for `limit`.
    ///
    /// `false` if the kernel does not take it all: then the turn should end. What is queued stays as it is, memory and sockets
    /// included, and goes first in the next turn.
    fn submit(
        &mut self,
        completions: usize,
        limit: Option<Duration>,
        out: &mut Bursts,
        arena: &mut Arena,
        batch: &mut Batch,
    ) -> Result<bool, Fatal> {
        self.enter(completions, limit)?;
        self.drain(arena, batch)?;
        let mut attempts = 0;
        while self.ring.queued() > 0 {
            attempts += 1;
            if attempts > MAX_ATTEMPTS {
                self.stats.refused_submissions += 1;
                std::thread::sleep(REST);
                return Ok(false);
            }
            self.enter(0, None)?;
            self.drain(arena, batch)?;
        }
        let mut sockets = Sockets {
            listeners: &mut self.listeners,
            peers: &mut self.peers,
        };
        self.sends.settle(out, &mut sockets, &mut self.stats);
        while let Some(place) = self.peers.next_leaving() {
            self.close_file(place);
        }
        Ok(true)
    }

    /// Queues all bursts, entering the ring in between where they do not fit; `false` as [`Uring::submit`].
    fn send(
        &mut self,
        out: &mut Bursts,
        arena: &mut Arena,
        batch: &mut Batch,
    ) -> Result<bool, Fatal> {
        out.finish();
        loop {
            let mut sockets = Sockets {
                listeners: &mut self.listeners,
                peers: &mut self.peers,
            };
            let (ring, stats) = (&mut self.ring, &mut self.stats);
            if self.sends.queue(out, ring, &mut sockets, stats) {
                return Ok(true);
            }
            if !self.submit(0, None, out, arena, batch)? {
                return Ok(false);
            }
        }
    }

    /// Sends all bursts, and waits for `completions` others as `limit` says, once; `false` as [`Uring::submit`].
    fn exchange(
        &mut self,
        wait: Wait,
        out: &mut Bursts,
        arena: &mut Arena,
        batch: &mut Batch,
    ) -> Result<bool, Fatal> {
        if !self.send(out, arena, batch)? {
            return Ok(false);
        }
        let (completions, limit) = match self.patience(wait, batch) {
            None => (0, None),
            // Sends complete without a word, so whatever completes is worth waking up for, unless more is to gather.
            Some(limit) if matches!(wait, Wait::Gather(_)) => (SHARE, limit),
            Some(limit) => (1, limit),
        };
        let mut is_done = self.submit(completions, limit, out, arena, batch)?;
        while is_done && self.sends.has_more() {
            is_done = self.send(out, arena, batch)? && self.submit(0, None, out, arena, batch)?;
        }
        Ok(is_done)
    }

    fn close_file(&self, place: usize) {
        let _ = self.ring.replace_file(self.peers.file(place).0, NO_FILE);
    }

    /// Handles every completion that is there. What does not fit into the batch is held for the next turn.
    fn drain(&mut self, arena: &mut Arena, batch: &mut Batch) -> Result<(), Fatal> {
        let mut moment = None;
        while let Some(completion) = self.ring.next() {
            let (result, flags) = (completion.result(), completion.flags());
            match Event::of(completion.user_data()) {
                // Only failures are told of.
                Some(Event::SendFailed(index)) => self.sends.failed(index, -result),
                Some(Event::Received(listener)) => {
                    self.received(listener, result, flags)?;
                    if !batch.is_full() {
                        self.deliver(arena, batch, &mut moment);
                    }
                }
                Some(Event::Woken) => self.waker_armed = false,
                None => {}
            }
        }
        self.ring.taken();
        Ok(())
    }

    /// Puts a received datagram last in the queue of those held.
    fn received(&mut self, listener: usize, result: i32, flags: u32) -> Result<(), Fatal> {
        if !cqueue::more(flags) {
            self.armed[listener] = false;
            self.stats.rearmed += 1;
        }
        if let Ok(len) = usize::try_from(result) {
            if let Some(buffer) = cqueue::buffer_select(flags) {
                self.held.push_back(Held {
                    listener,
                    buffer,
                    len,
                });
            }
            return Ok(());
        }
        let errno = -result;
        if errno::ends_receiving(errno) {
            let error = io::Error::from_raw_os_error(errno);
            return Err(Fatal::new("receive datagrams")(error));
        }
        self.stats.out_of_slots += u64::from(errno == libc::ENOBUFS);
        self.stats.unreachable += u64::from(errno::is_unreachable(errno));
        Ok(())
    }

    /// Moves datagrams from the queue of those held to the batch.
    fn deliver(&mut self, arena: &mut Arena, batch: &mut Batch, moment: &mut Option<Moment>) {
        while !batch.is_full()
            && let Some(held) = self.held.pop_front()
        {
            let moment = *moment.get_or_insert_with(Moment::read);
            let slot = self.buffers.take(held.buffer);
            // SAFETY: the kernel has named this buffer in a completion, and uses each once.
            unsafe { arena.take_back(slot) };
            let bytes = arena.bytes(slot).get(..held.len).unwrap_or_default();
            let Ok(message) = RecvMsgOut::parse(bytes, &self.receive.0) else {
                self.stats.truncated += 1;
                arena.release(slot);
                continue;
            };
            let arrived = Arrived {
                listener: held.listener,
                name: message.name_data(),
                control: message.control_data(),
                len: message.payload_data().len(),
                truncated: message.is_payload_truncated(),
            };
            debug_assert_eq!(HEADROOM + arrived.len, bytes.len());
            let (listeners, stats) = (&mut self.listeners, &mut self.stats);
            match inbound::accept(arrived, slot, moment, listeners, stats) {
                Some(datagram) => batch.push(datagram),
                None => arena.release(slot),
            }
        }
    }

    /// Under load the kernel stops after a share, so that no request starves another; the batch, which had `before` datagrams
    /// before the kernel was asked, shall grow nevertheless.
    fn fill(
        &mut self,
        mut before: usize,
        arena: &mut Arena,
        batch: &mut Batch,
    ) -> Result<(), Fatal> {
        while batch.len() - before >= SHARE && !batch.is_full() {
            before = batch.len();
            self.enter(batch.room(), Some(Duration::ZERO))?;
            self.drain(arena, batch)?;
        }
        Ok(())
    }

    /// How long to stay in the kernel: `None` for not at all, `Some(None)` without limit.
    fn patience(&self, wait: Wait, batch: &Batch) -> Option<Option<Duration>> {
        let something_to_do = !batch.is_empty() || !self.held.is_empty() || self.ring.overflowed();
        if something_to_do {
            return None;
        }
        let limit = match wait {
            Wait::Poll => return None,
            Wait::Until(deadline) | Wait::Gather(deadline) => {
                match deadline.saturating_since(time::now()) {
                    Duration::ZERO => return None,
                    limit => Some(limit.min(LONGEST_WAIT)),
                }
            }
            Wait::Forever => None,
        };
        if self.buffers.lent() == 0 {
            return Some(Some(limit.unwrap_or(STARVED).min(STARVED)));
        }
        Some(limit)
    }
}

impl Driver for Uring {
    fn turn(
        &mut self,
        out: &mut Bursts,
        wait: Wait,
        arena: &mut Arena,
        batch: &mut Batch,
    ) -> Result<(), Fatal> {
        self.stats.turns += 1;
        self.ring
            .enable()
            .map_err(Fatal::new("make the ring this thread's own"))?;
        self.hold_memory(arena, out);
        let first = self.stats.turns == 1;
        let limit = if first { usize::MAX } else { MAX_BATCH };
        self.buffers.top_up(arena, limit);
        self.deliver(arena, batch, &mut None);
        self.arm();
        let before = batch.len();
        if self.exchange(wait, out, arena, batch)? {
            self.fill(before, arena, batch)?;
        }
        self.stats.receiving_turns += u64::from(!batch.is_empty());
        Ok(())
    }

    fn attach(&mut self, socket: PeerSocket) -> bool {
        let Some(place) = self.peers.add(&socket) else {
            return false;
        };
        let file = self.peers.file(place).0;
        let registered = self.ring.replace_file(file, socket.raw()).is_ok();
        if !registered {
            self.peers.remove(socket.remote());
        }
        registered
    }

    fn detach(&mut self, remote: SocketAddr) {
        if self.ring.queued() > 0 {
            // Some of that may be about to leave by it, and must not leave by the next one in its place.
            self.peers.leave(remote);
        } else if let Some(place) = self.peers.remove(remote) {
            // Nothing is under way by it: sends end in the call that submits them.
            self.close_file(place);
        }
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

impl Drop for Uring {
    fn drop(&mut self) {
        if !self.ring.cancel_all() {
            // The kernel might still write there: better lost than given to somebody else.
            core::mem::forget(self.memory.take());
            core::mem::forget(core::mem::take(&mut self.woken));
        }
    }
}
