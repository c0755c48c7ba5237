//! A timer wheel: who is due when, for many owners with one deadline each.
//!
//! Time is cut into ticks of [`TICK`]; a deadline sits in the list of its tick, or in the last list of the round if it is
//! farther away, and is then put off again. The lists are threaded through one table with an entry for each owner, so that
//! moving a deadline searches nothing and allocates nothing.

use clock::{Duration, Instant};

/// Length of a tick.
pub(crate) const TICK: Duration = Duration::from_millis(5);

/// Ticks in a round: 2.56 s.
const ROUND: u64 = 512;

const WORDS: usize = (ROUND / 64) as usize;

const NEVER: u64 = u64::MAX;

/// No owner: the end of a list.
const NOBODY: u32 = u32::MAX;

/// Deadlines of owners, which are small numbers.
#[derive(Debug)]
pub(crate) struct Wheel {
    lists: Box<[List]>,
    /// Which lists have an entry, a bit each.
    occupied: [u64; WORDS],
    /// By owner.
    entries: Vec<Entry>,
    /// All ticks before this one were handed out.
    next: u64,
}

/// Who is due in a tick, in the order in which that was said.
#[derive(Clone, Copy, Debug)]
struct List {
    first: u32,
    last: u32,
}

/// Where an owner stands.
#[derive(Clone, Copy, Debug)]
struct Entry {
    /// The tick it is listed for, or `NEVER`: then it is in no list.
    tick: u64,
    before: u32,
    after: u32,
}

impl List {
    const EMPTY: Self = Self {
        first: NOBODY,
        last: NOBODY,
    };
}

impl Entry {
    const UNLISTED: Self = Self {
        tick: NEVER,
        before: NOBODY,
        after: NOBODY,
    };
}

impl Wheel {
    /// A wheel at `now`, with nothing due. Owners from 0 to `owners` - 1 cost no allocation later.
    pub fn new(now: Instant, owners: usize) -> Self {
        Self {
            lists: (0..ROUND).map(|_| List::EMPTY).collect(),
            occupied: [0; WORDS],
            entries: Vec::with_capacity(owners),
            next: tick_of(now),
        }
    }

    /// Wakes `owner` at `deadline`, up to a tick later. A deadline that is already nearer stays: wake-ups may be early.
    pub fn schedule(&mut self, owner: u32, deadline: Instant) {
        let tick = tick_of(deadline)
            .saturating_add(1)
            .clamp(self.next, self.next + ROUND - 1);
        let index = owner as usize;
        if index >= self.entries.len() {
            self.entries.resize(index + 1, Entry::UNLISTED);
        }
        if tick < self.entries[index].tick {
            self.unlist(owner);
            self.list(owner, tick);
        }
    }

    /// Forgets the deadline of `owner`.
    pub fn cancel(&mut self, owner: u32) {
        if (owner as usize) < self.entries.len() {
            self.unlist(owner);
        }
    }

    /// Appends to `due` who is due by `now`, at most `limit` of them; they have no deadline any more. Who is left over is due
    /// the next time.
    pub fn expire(&mut self, now: Instant, limit: usize, due: &mut Vec<u32>) {
        let last = tick_of(now);
        // After a long silence one round visits every list.
        let from = self.next.max(last.saturating_sub(ROUND - 1));
        for visited in from..=last {
            let mut owner = self.lists[(visited % ROUND) as usize].first;
            while owner != NOBODY {
                let entry = self.entries[owner as usize];
                // What is of the next round stays.
                if entry.tick <= last {
                    if due.len() >= limit {
                        break;
                    }
                    self.unlist(owner);
                    due.push(owner);
                }
                owner = entry.after;
            }
            if due.len() >= limit {
                self.next = self.next.max(visited);
                return;
            }
        }
        self.next = self.next.max(last + 1);
    }

    /// Puts an owner that is in no list at the end of one.
    fn list(&mut self, owner: u32, tick: u64) {
        let slot = (tick % ROUND) as usize;
        let before = self.lists[slot].last;
        self.entries[owner as usize] = Entry {
            tick,
            before,
            after: NOBODY,
        };
        match self.entries.get_mut(before as usize) {
            Some(neighbour) => neighbour.after = owner,
            None => self.lists[slot].first = owner,
        }
        self.lists[slot].last = owner;
        self.occupied[slot / 64] |= 1 << (slot % 64);
    }

    /// Takes an owner out of its list, if it is in one.
    fn unlist(&mut self, owner: u32) {
        let entry = self.entries[owner as usize];
        if entry.tick == NEVER {
            return;
        }
        self.entries[owner as usize] = Entry::UNLISTED;
        let slot = (entry.tick % ROUND) as usize;
        match self.entries.get_mut(entry.before as usize) {
            Some(neighbour) => neighbour.after = entry.after,
            None => self.lists[slot].first = entry.after,
        }
        match self.entries.get_mut(entry.after as usize) {
            Some(neighbour) => neighbour.before = entry.before,
            None => self.lists[slot].last = entry.before,
        }
        if self.lists[slot].first == NOBODY {
            self.occupied[slot / 64] &= !(1 << (slot % 64));
        }
    }

    /// When [`Wheel::expire`] next has something to do.
    pub fn deadline(&self) -> Option<Instant> {
        let start = (self.next % ROUND) as usize;
        // The word of `start` comes twice: first its upper bits, at the end of the round its lower ones.
        (0..=WORDS).find_map(|step| {
            let word = (start / 64 + step) % WORDS;
            let mask = match step {
                0 => u64::MAX << (start % 64),
                WORDS => !(u64::MAX << (start % 64)),
                _ => u64::MAX,
            };
            let bits = self.occupied[word] & mask;
            let slot = (word * 64) as u64 + u64::from(bits.trailing_zeros());
            let ahead = (slot + ROUND - start as u64) % ROUND;
            let tick = self.next + ahead;
            (bits != 0).then(|| Instant::from_nanos(tick * TICK.as_nanos() as u64))
        })
    }
}

fn tick_of(instant: Instant) -> u64 {
    instant.as_nanos() / TICK.as_nanos() as u64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn wakes_in_time_and_once() {
        let mut wheel = Wheel::new(Instant::ZERO, 8);
        let mut due = Vec::new();
        wheel.schedule(7, Instant::from_millis(100));
        wheel.schedule(7, Instant::from_millis(20));
        wheel.schedule(9, Instant::from_millis(100));
        wheel.expire(Instant::from_millis(19), usize::MAX, &mut due);
        assert!(due.is_empty());
        wheel.expire(Instant::from_millis(26), usize::MAX, &mut due);
        assert_eq!(due, [7]);
        wheel.expire(Instant::from_millis(200), usize::MAX, &mut due);
        assert_eq!(due, [7, 9]);
        assert_eq!(wheel.deadline(), None);
    }

    #[test]
    fn a_far_deadline_wakes_early_rather_than_never() {
        let mut wheel = Wheel::new(Instant::ZERO, 8);
        let mut due = Vec::new();
        wheel.schedule(1, Instant::from_millis(60_000));
        wheel.expire(Instant::from_millis(2_600), usize::MAX, &mut due);
        assert_eq!(due, [1]);
    }

    #[test]
    fn a_crowd_is_served_in_turns_and_nobody_is_forgotten() {
        let mut wheel = Wheel::new(Instant::ZERO, 8);
        for owner in 0..1_000 {
            wheel.schedule(owner, Instant::from_millis(u64::from(owner % 50)));
        }
        // A standstill longer than a round.
        let mut now = Instant::from_millis(10_000);
        let mut served = Vec::new();
        while wheel.deadline().is_some_and(|deadline| deadline <= now) {
            let mut due = Vec::new();
            wheel.expire(now, 64, &mut due);
            assert!(due.len() <= 64);
            served.extend(due);
            now += Duration::from_millis(1);
        }
        served.sort_unstable();
        assert_eq!(served, (0..1_000).collect::<Vec<_>>());
        assert_eq!(wheel.deadline(), None);
    }

    #[test]
    fn a_cancelled_deadline_leaves_its_neighbours_alone() {
        let mut wheel = Wheel::new(Instant::ZERO, 8);
        for owner in 0..5 {
            wheel.schedule(owner, Instant::from_millis(50));
        }
        // First, middle, last, and one that is not there.
        for owner in [0, 2, 4, 9] {
            wheel.cancel(owner);
        }
        let mut due = Vec::new();
        wheel.expire(Instant::from_millis(100), usize::MAX, &mut due);
        assert_eq!(due, [1, 3]);
        assert_eq!(wheel.deadline(), None);
    }

    proptest! {
        #[test]
        fn agrees_with_a_list(steps in prop::collection::vec((0u32..8, 0u64..3_000, 0u64..400), 1..200), limit in 1usize..10) {
            let mut wheel = Wheel::new(Instant::ZERO, 8);
            let mut wanted = [None; 8];
            let mut now = Instant::ZERO;
            let mut due = Vec::new();
            for (owner, after_ms, pass_ms) in steps {
                let deadline = now + Duration::from_millis(after_ms);
                wheel.schedule(owner, deadline);
                let slot: &mut Option<Instant> = &mut wanted[owner as usize];
                *slot = Some(slot.map_or(deadline, |at: Instant| at.min(deadline)));
                now += Duration::from_millis(pass_ms);
                // However few are served at a time, all are before long.
                for _ in 0..10 {
                    due.clear();
                    wheel.expire(now, limit, &mut due);
                    prop_assert!(due.len() <= limit);
                    for owner in &due {
                        prop_assert!(wanted[*owner as usize].take().is_some());
                    }
                }
                for late in wanted.iter().flatten() {
                    prop_assert!(*late + TICK * 2 >= now);
                }
                // The next wake-up is never later than the first deadline by more than a tick.
                if let Some(first) = wanted.iter().flatten().min() {
                    let wake = wheel.deadline();
                    prop_assert!(wake.is_some_and(|wake| wake <= *first + TICK || wake <= now + TICK * 2));
                }
            }
        }
    }
}
