//! The receiving half: slots lent in advance, filled many at a time.

use std::io;

use packet::{Arena, Batch, SLOT_BYTES, SlotId};

use crate::DriverStats;
use crate::control::RECEIVE_CONTROL_BYTES;
use crate::errno;
use crate::inbound::{self, Arrived, HEADROOM, MAX_PAYLOAD, NAME_ROOM};
use crate::socket::Listener;
use crate::time::Moment;

/// Datagrams per system call.
pub(super) const CHUNK: usize = 64;
/// Errors of a socket that are read away in one turn before the next socket has its turn.
const MAX_REPORTS: usize = 8;

/// Why a turn stopped receiving.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Drained {
    /// Nothing is left, or the batch is full.
    Empty,
    /// The arena has no slot to give.
    OutOfSlots,
}

/// Where the kernel writes what it received.
pub(super) struct Inbox {
    /// Lent slots, at most a chunk of them.
    slots: Vec<SlotId>,
    headers: Box<[libc::mmsghdr; CHUNK]>,
    vectors: Box<[libc::iovec; CHUNK]>,
    names: Box<[[u8; NAME_ROOM]; CHUNK]>,
    controls: Box<[[u8; RECEIVE_CONTROL_BYTES]; CHUNK]>,
    /// The listener that is served first, so that none is starved.
    first: usize,
}

// SAFETY: the pointers in `headers` and `vectors` are written before each call and used by that call only.
unsafe impl Send for Inbox {}

impl Inbox {
    pub(super) fn new() -> Self {
        Self {
            slots: Vec::with_capacity(CHUNK),
            // SAFETY: both are plain C structures, for which all zeros is a valid value.
            headers: Box::new(unsafe { core::mem::zeroed() }),
            // SAFETY: as above.
            vectors: Box::new(unsafe { core::mem::zeroed() }),
            names: Box::new([[0; NAME_ROOM]; CHUNK]),
            controls: Box::new([[0; RECEIVE_CONTROL_BYTES]; CHUNK]),
            first: 0,
        }
    }

    /// Takes what all sockets have, as far as batch and slots go.
    pub(super) fn receive(
        &mut self,
        listeners: &mut [Listener],
        arena: &mut Arena,
        batch: &mut Batch,
        stats: &mut DriverStats,
    ) -> io::Result<Drained> {
        let count = listeners.len();
        let first = self.first;
        self.first = (first + 1) % count.max(1);
        for index in (first..count).chain(0..first) {
            let mut reports = 0;
            while !batch.is_full() && reports < MAX_REPORTS {
                if !self.top_up(arena) {
                    stats.out_of_slots += 1;
                    return Ok(Drained::OutOfSlots);
                }
                let wanted = self.slots.len().min(batch.room());
                stats.system_calls += 1;
                match self.call(listeners[index].raw(), wanted, arena) {
                    Ok(got) => {
                        self.deliver(index, got, listeners, arena, batch, stats);
                        if got < wanted {
                            break;
                        }
                    }
                    Err(error) => {
                        let errno = error.raw_os_error().unwrap_or(0);
                        if errno::ends_receiving(errno) {
                            return Err(error);
                        }
                        if error.kind() == io::ErrorKind::WouldBlock {
                            break;
                        }
                        stats.unreachable += u64::from(errno::is_unreachable(errno));
                        reports += 1;
                    }
                }
            }
        }
        Ok(Drained::Empty)
    }

    /// Borrows slots up to a chunk; whether there is any now.
    pub(super) fn top_up(&mut self, arena: &mut Arena) -> bool {
        while self.slots.len() < CHUNK {
            let Some(slot) = arena.lend() else {
                break;
            };
            self.slots.push(slot);
        }
        !self.slots.is_empty()
    }

    /// Hands every borrowed slot back.
    pub(super) fn give_back(&mut self, arena: &mut Arena) {
        for slot in self.slots.drain(..) {
            // SAFETY: the kernel writes to slots during a call only, and none is under way.
            unsafe { arena.take_back(slot) };
            arena.release(slot);
        }
    }

    /// Receives at most `wanted` datagrams into the last `wanted` slots, the last slot first.
    fn call(&mut self, socket: i32, wanted: usize, arena: &Arena) -> io::Result<usize> {
        for (entry, slot) in self.slots.iter().rev().take(wanted).enumerate() {
            self.vectors[entry] = libc::iovec {
                // SAFETY: the headroom is smaller than the slot.
                iov_base: unsafe { arena.lent_address(*slot).add(HEADROOM) }
                    .as_ptr()
                    .cast(),
                iov_len: MAX_PAYLOAD,
            };
            let header = &mut self.headers[entry].msg_hdr;
            header.msg_iov = &raw mut self.vectors[entry];
            header.msg_iovlen = 1;
            header.msg_name = self.names[entry].as_mut_ptr().cast();
            header.msg_namelen = NAME_ROOM as libc::socklen_t;
            header.msg_control = self.controls[entry].as_mut_ptr().cast();
            header.msg_controllen = RECEIVE_CONTROL_BYTES as _;
            header.msg_flags = 0;
        }
        // SAFETY: the first `wanted` headers were just pointed at buffers of the stated sizes, which live until the call
        // returns: our own, and slots that are lent, so nobody else looks at them.
        let got = unsafe {
            libc::recvmmsg(
                socket,
                self.headers.as_mut_ptr(),
                wanted as _,
                libc::MSG_DONTWAIT as _,
                core::ptr::null_mut(),
            )
        };
        usize::try_from(got).map_err(|_| io::Error::last_os_error())
    }

    fn deliver(
        &mut self,
        listener: usize,
        got: usize,
        listeners: &mut [Listener],
        arena: &mut Arena,
        batch: &mut Batch,
        stats: &mut DriverStats,
    ) {
        let moment = Moment::read();
        for entry in 0..got {
            let slot = self.slots.pop().expect("each datagram came in a slot");
            // SAFETY: the call that filled the slot has returned.
            unsafe { arena.take_back(slot) };
            let header = &self.headers[entry];
            let arrived = Arrived {
                listener,
                name: &self.names[entry][..(header.msg_hdr.msg_namelen as usize).min(NAME_ROOM)],
                control: &self.controls[entry]
                    [..header.msg_hdr.msg_controllen.min(RECEIVE_CONTROL_BYTES)],
                len: header.msg_len as usize,
                truncated: header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0,
            };
            debug_assert!(HEADROOM + arrived.len <= SLOT_BYTES);
            match inbound::accept(arrived, slot, moment, listeners, stats) {
                Some(datagram) => batch.push(datagram),
                None => arena.release(slot),
            }
        }
    }
}

impl core::fmt::Debug for Inbox {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(formatter, "Inbox({} slots)", self.slots.len())
    }
}
