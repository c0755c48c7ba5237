//! Slots lent to the kernel: the ring of provided buffers.

use core::sync::atomic::{AtomicU16, Ordering};

use io_uring::types::BufRingEntry;
use packet::{Arena, Error, Memory, SLOT_BYTES, SlotId};

/// How the kernel and we speak of lent slots. An entry names a slot by a small number, the buffer id.
#[derive(Debug)]
pub(super) struct Buffers {
    entries: Memory,
    mask: u16,
    tail: u16,
    slots: Box<[Option<SlotId>]>,
    unused: Vec<u16>,
}

impl Buffers {
    /// A ring for at least `wanted` buffers.
    pub(super) fn new(wanted: u16) -> Result<Self, Error> {
        let count = wanted.clamp(16, 1 << 15).next_power_of_two();
        Ok(Self {
            entries: Memory::map(usize::from(count) * size_of::<BufRingEntry>())?,
            mask: count - 1,
            tail: 0,
            slots: vec![None; usize::from(count)].into_boxed_slice(),
            unused: (0..count).rev().collect(),
        })
    }

    pub(super) fn address(&self) -> u64 {
        self.entries.base().as_ptr() as u64
    }

    /// Entries of the ring.
    pub(super) fn capacity(&self) -> u16 {
        self.mask + 1
    }

    /// Slots that the kernel has, filled ones included.
    pub(super) fn lent(&self) -> usize {
        self.slots.len() - self.unused.len()
    }

    /// Lends slots until the ring is full, the arena empty or the limit reached.
    pub(super) fn top_up(&mut self, arena: &mut Arena, limit: usize) {
        let before = self.tail;
        for _ in 0..limit {
            let Some(id) = self.unused.pop() else {
                break;
            };
            let Some(slot) = arena.lend() else {
                self.unused.push(id);
                break;
            };
            self.slots[usize::from(id)] = Some(slot);
            let index = usize::from(self.tail & self.mask);
            let first = self.entries.base().as_ptr().cast::<BufRingEntry>();
            // SAFETY: the masked index lies within the mapping, which has one entry per id. The kernel reads an entry only once
            // the tail has passed it, and there are no more entries in use than ids, so this one is ours.
            let entry = unsafe { &mut *first.add(index) };
            entry.set_addr(arena.lent_address(slot).as_ptr() as u64);
            entry.set_len(SLOT_BYTES as u32);
            entry.set_bid(id);
            self.tail = self.tail.wrapping_add(1);
        }
        if self.tail != before {
            self.publish();
        }
    }

    /// The slot behind a buffer id that the kernel has filled; the id is free again.
    pub(super) fn take(&mut self, id: u16) -> SlotId {
        let slot = self.slots.get_mut(usize::from(id)).and_then(Option::take);
        self.unused.push(id);
        slot.expect("the kernel returns the buffers that it was lent")
    }

    /// Takes every slot back.
    ///
    /// # Safety
    /// No request is left that could fill a buffer.
    pub(super) unsafe fn give_back(&mut self, arena: &mut Arena) {
        for slot in self.slots.iter_mut().filter_map(Option::take) {
            // SAFETY: handed on to the caller.
            unsafe { arena.take_back(slot) };
            arena.release(slot);
        }
    }

    fn publish(&self) {
        let first = self.entries.base().as_ptr().cast::<BufRingEntry>();
        // SAFETY: the tail lies within the first entry, at an address aligned for it; the kernel only reads it.
        let tail = unsafe { AtomicU16::from_ptr(BufRingEntry::tail(first).cast_mut()) };
        // Release: the entries must be there before the tail says so.
        tail.store(self.tail, Ordering::Release);
    }
}
