use core::fmt;
use core::ops::Range;
use core::ptr::NonNull;
use std::sync::Arc;

use crate::{Error, Memory};

/// Bytes of a receive slot: kernel metadata, headroom, an Ethernet-sized packet, tailroom.
pub const SLOT_BYTES: usize = 2048;
/// Bytes of a small slot, for remembering audio and other short packets.
pub const SMALL_SLOT_BYTES: usize = 256;

/// The count of a slot that nobody has.
const FREE: u32 = 0;
/// The count of a slot that the kernel may write to at any moment.
const LENT: u32 = u32::MAX;

/// Names a slot of one arena. Copying the name copies no reference: see [`Arena::retain`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SlotId(u32);

impl SlotId {
    /// The number behind the name, dense from zero: receive slots first, then small ones.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Debug for SlotId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "slot {}", self.0)
    }
}

/// How much an [`Arena`] holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArenaSize {
    /// Slots of [`SLOT_BYTES`].
    pub slots: u32,
    /// Slots of [`SMALL_SLOT_BYTES`].
    pub small_slots: u32,
    /// Of `slots`, how many stay free for receiving, whatever caches would like.
    pub reserve: u32,
}

/// Reference-counted packet slots of one worker.
///
/// A slot is *free*, *lent* to the kernel, or *held* by the worker with a count of at least one. Counts are plain integers,
/// for one thread owns them. A count that would go wrong is a broken invariant of ours and ends the process.
#[derive(Debug)]
pub struct Arena {
    memory: Arc<Memory>,
    counts: Box<[u32]>,
    slots: u32,
    reserve: u32,
    free: Vec<u32>,
    free_small: Vec<u32>,
    lent: u32,
}

impl Arena {
    /// Maps the slots. Whoever uses them calls [`Arena::settle`] first; nothing else allocates.
    ///
    /// # Errors
    /// [`Error::Map`] if the memory cannot be had.
    ///
    /// # Panics
    /// If there are 2^31 slots or more, or the reserve is larger than the slots.
    pub fn new(size: ArenaSize) -> Result<Self, Error> {
        let total = size.slots.checked_add(size.small_slots);
        let total = total.filter(|total| *total < 1 << 31);
        let total = total.expect("an arena has fewer than 2^31 slots");
        assert!(
            size.reserve <= size.slots,
            "the reserve is part of the slots"
        );
        let bytes = size.slots as usize * SLOT_BYTES + size.small_slots as usize * SMALL_SLOT_BYTES;
        let memory = Memory::map(bytes)?;
        Ok(Self {
            memory: Arc::new(memory),
            counts: vec![FREE; total as usize].into_boxed_slice(),
            slots: size.slots,
            reserve: size.reserve,
            free: (0..size.slots).rev().collect(),
            free_small: (size.slots..total).rev().collect(),
            lent: 0,
        })
    }

    /// Moves in, on the thread that uses the arena from now on: memory comes from the node of the processor that touches it
    /// first, so this is for a thread that stays on its core. Huge pages of the system's pool are there already.
    pub fn settle(&mut self) {
        // The kernel goes through all that it is lent before it returns to the first: so these are used soon in any case, and
        // no packet should wait until a huge page is zeroed.
        self.memory.populate(self.reserve as usize * SLOT_BYTES);
        self.counts = self.counts.clone();
        self.free = moved(&self.free);
        self.free_small = moved(&self.free_small);
    }

    /// A receive slot, with one reference for the caller; `None` if all are taken.
    ///
    /// For what cannot be put off. Caches ask [`Arena::free_for_cache`] before they keep what they have.
    pub fn alloc(&mut self) -> Option<SlotId> {
        let slot = self.free.pop()?;
        self.counts[slot as usize] = 1;
        Some(SlotId(slot))
    }

    /// A small slot, with one reference for the caller; `None` if all are taken.
    pub fn alloc_small(&mut self) -> Option<SlotId> {
        let slot = self.free_small.pop()?;
        self.counts[slot as usize] = 1;
        Some(SlotId(slot))
    }

    /// One more reference to a held slot.
    pub fn retain(&mut self, slot: SlotId) {
        let count = self.held(slot);
        assert!(count < LENT - 1, "a slot has fewer than 2^32 references");
        self.counts[slot.index()] = count + 1;
    }

    /// One reference less; the last one frees the slot.
    pub fn release(&mut self, slot: SlotId) {
        let count = self.held(slot) - 1;
        self.counts[slot.index()] = count;
        if count == FREE {
            self.put_back(slot);
        }
    }

    /// References to a held slot.
    pub fn count(&self, slot: SlotId) -> u32 {
        self.held(slot)
    }

    /// All bytes of a held slot.
    pub fn bytes(&self, slot: SlotId) -> &[u8] {
        self.held(slot);
        let (address, len) = self.place(slot);
        // SAFETY: the range lies in the mapping (`place`), was zeroed by it, and belongs to a held slot, so the kernel does
        // not write to it; only `bytes_mut` does, which borrows the arena mutably.
        unsafe { core::slice::from_raw_parts(address.as_ptr(), len) }
    }

    /// All bytes of a slot that has exactly one reference: a shared slot is never patched.
    pub fn bytes_mut(&mut self, slot: SlotId) -> &mut [u8] {
        let count = self.held(slot);
        debug_assert_eq!(count, 1, "{slot:?} is shared");
        let (address, len) = self.place(slot);
        // SAFETY: as in `bytes`, and the mutable borrow of the arena excludes every other slice of it.
        unsafe { core::slice::from_raw_parts_mut(address.as_ptr(), len) }
    }

    /// Copies `range` of one held slot to the offset `at` of another that has exactly one reference.
    ///
    /// # Panics
    /// If the slots are the same, or the bytes lie outside of one of them.
    pub fn copy(&mut self, from: SlotId, range: Range<usize>, to: SlotId, at: usize) {
        assert_ne!(from, to, "a slot is not copied onto itself");
        self.held(from);
        debug_assert_eq!(self.held(to), 1, "{to:?} is shared");
        self.held(to);
        let ((source, source_len), (target, target_len)) = (self.place(from), self.place(to));
        // SAFETY: two different held slots do not overlap, and the mutable borrow excludes every other slice.
        let (source, target) = unsafe {
            (
                core::slice::from_raw_parts(source.as_ptr(), source_len),
                core::slice::from_raw_parts_mut(target.as_ptr(), target_len),
            )
        };
        let source = &source[range];
        target[at..at + source.len()].copy_from_slice(source);
    }

    /// Slots, of both classes, that the worker holds: zero once everything is handed back. What is lent does not count.
    pub fn in_use(&self) -> usize {
        self.counts.len() - self.free.len() - self.free_small.len() - self.lent as usize
    }

    /// Receive slots that nobody has.
    pub fn free(&self) -> usize {
        self.free.len()
    }

    /// Small slots that nobody has.
    pub fn free_small(&self) -> usize {
        self.free_small.len()
    }

    /// Receive slots lent to the kernel.
    pub fn lent(&self) -> usize {
        self.lent as usize
    }

    /// How many more receive slots caches may keep before they would eat into the reserve.
    pub fn free_for_cache(&self) -> usize {
        (self.free.len() + self.lent as usize).saturating_sub(self.reserve as usize)
    }

    /// Receive slots in all states.
    pub fn slots(&self) -> usize {
        self.slots as usize
    }

    /// The memory behind the slots, for a driver to keep alive while the kernel has some of them.
    pub fn memory(&self) -> &Arc<Memory> {
        &self.memory
    }

    /// Takes a free receive slot for the kernel to fill; `None` if there is none.
    ///
    /// Drivers only. Nobody can look into the slot until [`Arena::take_back`].
    pub fn lend(&mut self) -> Option<SlotId> {
        let slot = self.free.pop()?;
        self.counts[slot as usize] = LENT;
        self.lent += 1;
        Some(SlotId(slot))
    }

    /// Where the kernel is to write a lent slot: [`SLOT_BYTES`] from here on.
    pub fn lent_address(&self, slot: SlotId) -> NonNull<u8> {
        assert_eq!(self.counts[slot.index()], LENT, "{slot:?} is not lent");
        self.place(slot).0
    }

    /// A lent slot comes back, filled or not, with one reference for the caller. Drivers only.
    ///
    /// # Safety
    /// Nobody writes to the slot any more: neither the kernel nor, through a [`Loan`], another thread.
    pub unsafe fn take_back(&mut self, slot: SlotId) {
        let count = &mut self.counts[slot.index()];
        assert_eq!(*count, LENT, "{slot:?} is not lent");
        *count = 1;
        self.lent -= 1;
    }

    /// Lends a free receive slot to another thread, to be filled there; `None` if there is none.
    pub fn loan(&mut self) -> Option<Loan> {
        let slot = self.lend()?;
        Some(Loan {
            slot,
            address: self.lent_address(slot),
            memory: Arc::clone(&self.memory),
        })
    }

    /// A loan comes back; its slot is held, with one reference for the caller.
    ///
    /// # Panics
    /// If it was lent by another arena.
    pub fn redeem(&mut self, loan: Loan) -> SlotId {
        assert!(
            Arc::ptr_eq(&loan.memory, &self.memory),
            "a loan goes back where it came from"
        );
        // SAFETY: the loan was the only way to write to the slot, and it ends here.
        unsafe { self.take_back(loan.slot) };
        loan.slot
    }

    /// The count of a slot, which must be held: the proof that the kernel does not write to it.
    fn held(&self, slot: SlotId) -> u32 {
        let count = self.counts[slot.index()];
        assert!(count != FREE && count != LENT, "{slot:?} is not held");
        count
    }

    fn place(&self, slot: SlotId) -> (NonNull<u8>, usize) {
        let (offset, len) = if slot.0 < self.slots {
            (slot.index() * SLOT_BYTES, SLOT_BYTES)
        } else {
            let small = (slot.0 - self.slots) as usize;
            let large = self.slots as usize * SLOT_BYTES;
            (large + small * SMALL_SLOT_BYTES, SMALL_SLOT_BYTES)
        };
        debug_assert!(offset + len <= self.memory.len());
        // SAFETY: `counts` has an entry for the slot (every caller looked there first), and the mapping was made large enough
        // for all of them, so the offset stays inside.
        (unsafe { self.memory.base().add(offset) }, len)
    }

    fn put_back(&mut self, slot: SlotId) {
        if slot.0 < self.slots {
            self.free.push(slot.0);
        } else {
            self.free_small.push(slot.0);
        }
    }
}

/// The same list in other memory, with as much room.
fn moved(list: &Vec<u32>) -> Vec<u32> {
    let mut other = Vec::with_capacity(list.capacity());
    other.extend_from_slice(list);
    other
}

/// An empty slot on its way to another thread and back, as a slot is lent to the kernel.
///
/// One that is dropped instead of redeemed costs its arena the slot for good.
#[derive(Debug)]
pub struct Loan {
    slot: SlotId,
    address: NonNull<u8>,
    memory: Arc<Memory>,
}

// SAFETY: a lent slot is reachable through its loan only, and the loan keeps its memory mapped.
unsafe impl Send for Loan {}

impl Loan {
    /// All bytes of the slot.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: receive slots have this many bytes, were zeroed, and while one is lent its arena gives out no slice of it;
        // there is one loan of it, borrowed mutably.
        unsafe { core::slice::from_raw_parts_mut(self.address.as_ptr(), SLOT_BYTES) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arena() -> Arena {
        Arena::new(ArenaSize {
            slots: 4,
            small_slots: 2,
            reserve: 1,
        })
        .unwrap()
    }

    #[test]
    fn slots_come_and_go_by_count() {
        let mut arena = arena();
        let slot = arena.alloc().unwrap();
        arena.bytes_mut(slot)[..3].copy_from_slice(b"abc");
        arena.retain(slot);
        assert_eq!((arena.count(slot), arena.in_use()), (2, 1));
        arena.release(slot);
        assert_eq!(&arena.bytes(slot)[..3], b"abc");
        arena.release(slot);
        assert_eq!((arena.in_use(), arena.free()), (0, 4));
    }

    /// Whether a page has memory: the last bit of its entry in what the kernel shows of it.
    fn is_there(address: NonNull<u8>) -> bool {
        use std::os::unix::fs::FileExt;
        let mut entry = [0; 8];
        let at = address.as_ptr() as u64 / 4096 * 8;
        let map = std::fs::File::open("/proc/self/pagemap").unwrap();
        map.read_exact_at(&mut entry, at).unwrap();
        entry[7] & 0x80 != 0
    }

    #[test]
    fn memory_comes_on_the_thread_that_settles() {
        let mut arena = Arena::new(ArenaSize {
            slots: 40,
            small_slots: 2,
            reserve: 20,
        })
        .unwrap();
        let taken = arena.lend();
        let pages = |arena: &Arena, slots: Range<u32>| {
            let mut there = slots.map(|slot| is_there(arena.place(SlotId(slot)).0));
            there.all(|there| there)
        };
        assert!(!is_there(arena.place(SlotId(0)).0));
        let arena = std::thread::spawn(move || {
            arena.settle();
            arena
        });
        let mut arena = arena.join().unwrap();
        assert!(pages(&arena, 0..20));
        assert_eq!((arena.lent(), arena.free(), arena.free_small()), (1, 39, 2));
        assert_eq!(taken.map(SlotId::index), Some(0));
        assert_eq!(arena.alloc().map(SlotId::index), Some(1));
    }

    #[test]
    fn exhaustion_is_none_and_passes() {
        let mut arena = arena();
        let all: Vec<_> = core::iter::from_fn(|| arena.alloc()).collect();
        assert_eq!(all.len(), 4);
        assert!(arena.lend().is_none());
        arena.release(all[2]);
        assert_eq!(arena.alloc(), Some(all[2]));
    }

    #[test]
    fn classes_do_not_overlap() {
        let mut arena = arena();
        let large: Vec<_> = core::iter::from_fn(|| arena.alloc()).collect();
        let small: Vec<_> = core::iter::from_fn(|| arena.alloc_small()).collect();
        assert_eq!(small.len(), 2);
        for (fill, slot) in (1u8..).zip(large.iter().chain(&small)) {
            arena.bytes_mut(*slot).fill(fill);
        }
        for (fill, slot) in (1u8..).zip(large.iter().chain(&small)) {
            assert!(arena.bytes(*slot).iter().all(|byte| *byte == fill));
        }
        assert_eq!(arena.bytes(small[0]).len(), SMALL_SLOT_BYTES);
        arena.copy(large[0], 10..20, small[1], 0);
        assert_eq!(
            arena.bytes(small[1])[..11],
            [1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 6]
        );
    }

    #[test]
    fn the_reserve_counts_what_the_kernel_has() {
        let mut arena = arena();
        assert_eq!(arena.free_for_cache(), 3);
        let lent = arena.lend().unwrap();
        assert_eq!((arena.free_for_cache(), arena.in_use()), (3, 0));
        // SAFETY: no address of it was given to anybody.
        unsafe { arena.take_back(lent) };
        assert_eq!((arena.free_for_cache(), arena.in_use()), (2, 1));
        arena.release(lent);
        assert_eq!((arena.free_for_cache(), arena.lent()), (3, 0));
    }

    #[test]
    #[should_panic(expected = "not held")]
    fn a_lent_slot_cannot_be_read() {
        let mut arena = arena();
        let slot = arena.lend().unwrap();
        arena.bytes(slot);
    }

    #[test]
    #[should_panic(expected = "not held")]
    fn a_slot_is_not_released_twice() {
        let mut arena = arena();
        let slot = arena.alloc().unwrap();
        arena.release(slot);
        arena.release(slot);
    }

    #[test]
    fn a_loan_is_filled_elsewhere() {
        let mut arena = arena();
        let mut loan = arena.loan().unwrap();
        assert_eq!((arena.in_use(), arena.lent(), arena.free()), (0, 1, 3));
        let filler = std::thread::spawn(move || {
            loan.bytes_mut()[..4].copy_from_slice(b"tap!");
            loan
        });
        let slot = arena.redeem(filler.join().unwrap());
        assert_eq!(&arena.bytes(slot)[..4], b"tap!");
        arena.release(slot);
        assert_eq!((arena.lent(), arena.free()), (0, 4));
    }

    /// Random histories against a model that only remembers who has what.
    #[test]
    fn any_history_adds_up() {
        for seed in 0..5 {
            let mut rng = clock::Rng::from_number(seed);
            let mut arena = Arena::new(ArenaSize {
                slots: 12,
                small_slots: 5,
                reserve: 3,
            })
            .unwrap();
            let mut held: Vec<(SlotId, u8)> = Vec::new();
            let mut lent: Vec<SlotId> = Vec::new();
            for step in 0..1000u32 {
                let fill = step as u8;
                match rng.below(6) {
                    0 => {
                        if let Some(slot) = arena.alloc() {
                            arena.bytes_mut(slot).fill(fill);
                            held.push((slot, fill));
                        }
                    }
                    1 => {
                        if let Some(slot) = arena.alloc_small() {
                            arena.bytes_mut(slot).fill(fill);
                            held.push((slot, fill));
                        }
                    }
                    2 => lent.extend(arena.lend()),
                    3 if !lent.is_empty() => {
                        let slot = lent.swap_remove(rng.below(lent.len() as u64) as usize);
                        // SAFETY: no address of it was given to anybody.
                        unsafe { arena.take_back(slot) };
                        arena.bytes_mut(slot).fill(fill);
                        held.push((slot, fill));
                    }
                    4 if !held.is_empty() => {
                        let reference = held[rng.below(held.len() as u64) as usize];
                        arena.retain(reference.0);
                        held.push(reference);
                    }
                    _ if !held.is_empty() => {
                        let (slot, _) = held.swap_remove(rng.below(held.len() as u64) as usize);
                        arena.release(slot);
                    }
                    _ => {}
                }
                let mut slots: Vec<_> = held.iter().map(|(slot, _)| *slot).collect();
                slots.sort();
                slots.dedup();
                assert_eq!((arena.in_use(), arena.lent()), (slots.len(), lent.len()));
                let large = slots.iter().filter(|slot| slot.index() < 12).count();
                assert_eq!(arena.free_for_cache(), 9usize.saturating_sub(large));
                for (slot, fill) in &held {
                    let bytes = arena.bytes(*slot);
                    assert_eq!([bytes[0], bytes[bytes.len() - 1]], [*fill; 2]);
                }
            }
        }
    }
}
