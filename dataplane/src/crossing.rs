//! How packets get from one worker to another, and wishes back.
//!
//! A worker that takes streams from a neighbour lends it empty slots of its own arena, as it lends them to the kernel. The
//! neighbour copies each packet once into one of them and sends it back over a bounded queue; a slot belongs to exactly one
//! thread at any time. Without a slot the packet is dropped and counted, and nobody waits. A worker that takes no stream from a
//! neighbour any more calls its slots back.

use clock::Instant;
use net::Waker;
use packet::{Arena, Loan, SlotId};
use sfu::Engine;
use sfu::discard::DropReason;
use sfu::tap::{Crossed, Wish};

use crate::mailbox::{Receiver, Sender, mailbox};

/// Most packets that a worker takes from its neighbours in one turn.
pub const PACKETS_PER_TURN: usize = 256;
/// The bounds of how many slots one neighbour is lent.
const LOANS: (usize, usize) = (16, 512);
/// Slots that all neighbours of a worker together have queues for.
const LOANS_TOGETHER: usize = 4096;
/// Notes that may wait at a neighbour.
const NOTES: usize = 256;

/// A slot that comes back, with what is known of the packet in it.
enum Parcel<T> {
    Packet(Loan, T),
    /// Empty, as it was called back.
    Returned(Loan),
}

/// What a worker says to the one that streams come from.
enum Note {
    Wish(Wish),
    /// Return every slot.
    Recall,
}

/// One worker's ends of the queues between it and all others.
pub struct Crossing {
    /// By worker; none for itself.
    neighbours: Vec<Option<Neighbour<Crossed>>>,
    /// Who is heard first, so that nobody is always last.
    first: usize,
    /// Slots that all neighbours together may be lent.
    loans_max: usize,
    /// Counted for metrics.
    pub counters: Counters,
}

/// What crossing counts besides what the engine counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Slots that neighbours have now.
    pub slots_lent: u64,
    /// Times that a neighbour was woken.
    pub wakes: u64,
}

/// What is known of a packet is a `T`; it only passes through.
struct Neighbour<T> {
    /// Its slots, to be filled.
    loans: Receiver<Loan>,
    /// It has lent some since it last called them back.
    has_lent: bool,
    parcels_out: Sender<Parcel<T>>,
    /// Our slots.
    lend: Sender<Loan>,
    parcels_in: Receiver<Parcel<T>>,
    /// Slots of ours that it has.
    lent: usize,
    /// Streams come from there, or did until its slots are called back.
    is_source: bool,
    notes_out: Sender<Note>,
    notes_in: Receiver<Note>,
    waker: Waker,
    /// It has something to take, and does not know it yet.
    is_to_be_woken: bool,
}

impl Crossing {
    /// The queues between workers, who are woken by `wakers`. A worker lends its neighbours at most `loans_max` slots in all.
    pub fn between(wakers: &[Waker], loans_max: usize) -> Vec<Self> {
        let count = wakers.len();
        let alone = || Self {
            neighbours: (0..count).map(|_| None).collect(),
            first: 0,
            loans_max,
            counters: Counters::default(),
        };
        let mut all: Vec<Self> = (0..count).map(|_| alone()).collect();
        let capacity = LOANS_TOGETHER / count.saturating_sub(1).max(1);
        let capacity = capacity.clamp(LOANS.0, LOANS.1);
        for one in 0..count {
            for other in 0..one {
                let (left, right) = pair(&wakers[one], &wakers[other], capacity);
                all[one].neighbours[other] = Some(right);
                all[other].neighbours[one] = Some(left);
            }
        }
        all
    }

    /// A worker without neighbours.
    pub fn none() -> Self {
        Self {
            neighbours: Vec::new(),
            first: 0,
            loans_max: 0,
            counters: Counters::default(),
        }
    }

    /// Whether a neighbour has sent something.
    pub fn has_mail(&self) -> bool {
        let mut neighbours = self.neighbours.iter().flatten();
        neighbours.any(|one| !(one.parcels_in.is_empty() && one.notes_in.is_empty()))
    }

    /// Takes in what neighbours sent, at most [`PACKETS_PER_TURN`] packets.
    pub fn take_in(&mut self, now: Instant, engine: &mut Engine, arena: &mut Arena) {
        let count = self.neighbours.len();
        if count == 0 {
            return;
        }
        self.first = (self.first + 1) % count;
        let mut room = PACKETS_PER_TURN;
        let (before, after) = self.neighbours.split_at_mut(self.first);
        for neighbour in after.iter_mut().chain(before).flatten() {
            while let Some(note) = neighbour.notes_in.pop() {
                match note {
                    Note::Wish(wish) => engine.on_wish(wish),
                    Note::Recall => neighbour.return_all(),
                }
            }
            while room > 0 {
                match neighbour.receive(arena) {
                    Some((slot, Some(crossed))) => {
                        room -= 1;
                        engine.take_in(now, slot, &crossed);
                    }
                    Some((slot, None)) => arena.release(slot),
                    None => break,
                }
            }
        }
    }

    /// Hands over what is to cross in this turn.
    pub fn hand_over(&mut self, engine: &mut Engine, arena: &Arena) {
        let neighbours = &mut self.neighbours;
        engine.cross(arena, |worker, crossed, bytes| {
            let neighbour = neighbours.get_mut(usize::from(worker));
            let neighbour = neighbour.and_then(Option::as_mut);
            let neighbour = neighbour.ok_or(DropReason::Gone)?;
            match neighbour.send(crossed, bytes) {
                true => Ok(()),
                false if neighbour.has_lent => Err(DropReason::NoLoan),
                false => Err(DropReason::NoLoanYet),
            }
        });
    }

    /// The end of a turn: wishes leave, slots are lent or called back, and whoever has something to take is woken, once.
    pub fn finish(&mut self, engine: &mut Engine, arena: &mut Arena) {
        while let Some((worker, wish)) = engine.poll_wish() {
            if let Some(Some(neighbour)) = self.neighbours.get_mut(usize::from(worker)) {
                // One that finds no room is wished again.
                neighbour.is_to_be_woken |= neighbour.notes_out.push(Note::Wish(wish)).is_ok();
            }
        }
        let sources = (0u16..).zip(&self.neighbours);
        let sources = sources.filter(|(worker, _)| engine.taps_from(*worker) > 0);
        let share = self.loans_max / sources.count().max(1);
        let mut lent = 0;
        for (worker, neighbour) in (0u16..).zip(&mut self.neighbours) {
            let Some(neighbour) = neighbour else { continue };
            if engine.taps_from(worker) > 0 {
                neighbour.is_source = true;
                neighbour.lend_up_to(share.max(1), arena);
            } else if neighbour.is_source && neighbour.notes_out.push(Note::Recall).is_ok() {
                neighbour.is_source = false;
                neighbour.is_to_be_woken = true;
            }
            if core::mem::take(&mut neighbour.is_to_be_woken) {
                neighbour.waker.wake();
                self.counters.wakes += 1;
            }
            lent += neighbour.lent as u64;
        }
        self.counters.slots_lent = lent;
    }

    /// The worker ends: what it was lent goes back, and what has come back is taken.
    pub fn close(&mut self, arena: &mut Arena) {
        for neighbour in self.neighbours.iter_mut().flatten() {
            neighbour.return_all();
            while let Some((slot, _)) = neighbour.receive(arena) {
                arena.release(slot);
            }
            neighbour.waker.wake();
        }
        let neighbours = self.neighbours.iter().flatten();
        self.counters.slots_lent = neighbours.map(|one| one.lent as u64).sum();
    }
}

/// Both ends of everything between two workers: what the one that `left` wakes keeps of the other, and the reverse.
fn pair<T>(right: &Waker, left: &Waker, capacity: usize) -> (Neighbour<T>, Neighbour<T>) {
    let (lend_left, loans_of_left) = mailbox(capacity);
    let (lend_right, loans_of_right) = mailbox(capacity);
    let (to_left, at_left) = mailbox(capacity);
    let (to_right, at_right) = mailbox(capacity);
    let (note_left, noted_left) = mailbox(NOTES);
    let (note_right, noted_right) = mailbox(NOTES);
    let kept_by_left = Neighbour {
        loans: loans_of_right,
        has_lent: false,
        parcels_out: to_right,
        lend: lend_left,
        parcels_in: at_left,
        lent: 0,
        is_source: false,
        notes_out: note_right,
        notes_in: noted_left,
        waker: right.clone(),
        is_to_be_woken: false,
    };
    let kept_by_right = Neighbour {
        loans: loans_of_left,
        has_lent: false,
        parcels_out: to_left,
        lend: lend_right,
        parcels_in: at_right,
        lent: 0,
        is_source: false,
        notes_out: note_left,
        notes_in: noted_right,
        waker: left.clone(),
        is_to_be_woken: false,
    };
    (kept_by_left, kept_by_right)
}

impl<T: Copy> Neighbour<T> {
    /// A slot of ours that comes back, with one reference, and what is in it.
    fn receive(&mut self, arena: &mut Arena) -> Option<(SlotId, Option<T>)> {
        let (loan, crossed) = match self.parcels_in.pop()? {
            Parcel::Packet(loan, crossed) => (loan, Some(crossed)),
            Parcel::Returned(loan) => (loan, None),
        };
        self.lent -= 1;
        Some((arena.redeem(loan), crossed))
    }

    /// Copies a packet into a slot of the neighbour and sends it; or there is none.
    fn send(&mut self, crossed: &T, bytes: &[u8]) -> bool {
        let Some(mut loan) = self.loans.pop() else {
            return false;
        };
        self.has_lent = true;
        loan.bytes_mut()[..bytes.len()].copy_from_slice(bytes);
        self.give_back(Parcel::Packet(loan, *crossed));
        true
    }

    fn return_all(&mut self) {
        self.has_lent = false;
        while let Some(loan) = self.loans.pop() {
            self.give_back(Parcel::Returned(loan));
        }
    }

    fn give_back(&mut self, parcel: Parcel<T>) {
        let sent = self.parcels_out.push(parcel);
        assert!(
            sent.is_ok(),
            "no more slots are lent than the way back has room for"
        );
        self.is_to_be_woken = true;
    }

    /// Lends slots until the neighbour has `share` of them, or the arena has none to spare.
    fn lend_up_to(&mut self, share: usize, arena: &mut Arena) {
        let share = share.min(self.lend.capacity());
        while self.lent < share && arena.free_for_cache() > 0 {
            let Some(loan) = arena.loan() else { break };
            let lent = self.lend.push(loan);
            assert!(
                lent.is_ok(),
                "the queue has room for everything that is lent"
            );
            self.lent += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant as Clock;

    use packet::ArenaSize;

    use super::*;

    const CAPACITY: usize = 64;

    fn ends<T>() -> (Neighbour<T>, Neighbour<T>) {
        let waker = || Waker::new().expect("the process has descriptors left");
        pair(&waker(), &waker(), CAPACITY)
    }

    fn arena() -> Arena {
        let size = ArenaSize {
            slots: 256,
            small_slots: 0,
            reserve: 64,
        };
        Arena::new(size).expect("there is memory")
    }

    /// A packet whose bytes follow from its number.
    fn bytes(number: u64) -> Vec<u8> {
        let length = 100 + (number * 37 % 1100) as usize;
        let fill = |at: usize| (number as usize * 31 + at) as u8;
        (0..length).map(fill).collect()
    }

    #[test]
    fn packets_cross_between_threads_whole_and_in_order_and_every_slot_returns() {
        const PACKETS: u64 = 20_000;
        let (mut source, mut listener) = ends::<u64>();
        let sending = std::thread::spawn(move || {
            let mut number = 0;
            loop {
                if let Some(Note::Recall) = source.notes_in.pop() {
                    source.return_all();
                    return;
                }
                // A real worker would drop what finds no slot; here it waits, so that nothing may be missing.
                if number < PACKETS && source.send(&number, &bytes(number)) {
                    number += 1;
                } else {
                    std::thread::yield_now();
                }
            }
        });
        let mut arena = arena();
        let mut next = 0;
        while next < PACKETS {
            listener.lend_up_to(40, &mut arena);
            assert!(listener.lent <= 40);
            while let Some((slot, number)) = listener.receive(&mut arena) {
                assert_eq!(number, Some(next));
                let expected = bytes(next);
                assert_eq!(arena.bytes(slot)[..expected.len()], expected);
                arena.release(slot);
                next += 1;
            }
            std::thread::yield_now();
        }
        assert!(listener.notes_out.push(Note::Recall).is_ok());
        sending.join().expect("it ends");
        while let Some((slot, returned)) = listener.receive(&mut arena) {
            assert_eq!(returned, None);
            arena.release(slot);
        }
        let left = (listener.lent, arena.lent(), arena.in_use());
        assert_eq!(left, (0, 0, 0));
    }

    #[test]
    fn without_a_slot_nothing_is_sent_and_the_reserve_is_not_lent() {
        let (mut source, mut listener) = ends::<u64>();
        assert!(!source.send(&1, b"one"));
        let mut arena = arena();
        let held: Vec<_> = (0..190).map_while(|_| arena.alloc()).collect();
        listener.lend_up_to(40, &mut arena);
        assert_eq!((listener.lent, arena.free_for_cache()), (40, 2));
        let full = CAPACITY + 10;
        listener.lend_up_to(full, &mut arena);
        assert_eq!(
            listener.lent, CAPACITY,
            "no more than the way back has room for"
        );
        (0..full as u64).for_each(|number| {
            let sent = source.send(&number, b"packet");
            assert_eq!(sent, number < CAPACITY as u64);
        });
        held.into_iter().for_each(|slot| arena.release(slot));
    }

    /// `cargo test --release -p dataplane what_a_crossing_costs -- --ignored --nocapture`
    #[test]
    #[ignore = "a measurement"]
    fn what_a_crossing_costs() {
        const BATCH: usize = 32;
        const ROUNDS: usize = 2_000;
        /// As large as what is known of a packet.
        type Known = [u64; size_of::<Crossed>() / 8];
        let (mut source, mut listener) = ends::<Known>();
        let mut arena = arena();
        let known: Known = [7; _];
        for length in [120, 1_200] {
            let payload = vec![1; length];
            let mut target = vec![0; length];
            let (mut copy, mut out, mut back) = (f64::MAX, f64::MAX, f64::MAX);
            for _ in 0..ROUNDS {
                listener.lend_up_to(BATCH, &mut arena);
                let at = Clock::now();
                for _ in 0..BATCH {
                    target.copy_from_slice(std::hint::black_box(&payload));
                    std::hint::black_box(&mut target);
                }
                let copied = Clock::now();
                for _ in 0..BATCH {
                    assert!(source.send(&known, std::hint::black_box(&payload)));
                }
                let sent = Clock::now();
                while let Some((slot, _)) = listener.receive(&mut arena) {
                    arena.release(slot);
                }
                listener.lend_up_to(BATCH, &mut arena);
                let received = Clock::now();
                let nanos = |from: Clock, to: Clock| (to - from).as_nanos() as f64 / BATCH as f64;
                copy = copy.min(nanos(at, copied));
                out = out.min(nanos(copied, sent));
                back = back.min(nanos(sent, received));
            }
            println!(
                "{length} bytes: {out:.0} ns to hand over, of which a copy alone is {copy:.0}; {back:.0} ns to take in and lend again"
            );
        }
    }
}
