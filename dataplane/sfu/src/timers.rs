//! A timer wheel: who is due when, for many owners with one deadline each.
//!
//! Time is cut into ticks of [`TICK`]; a deadline sits in the list of its tick, or in the last list of the round if it is
//! farther away, and is then put off again. Moving a deadline earlier leaves the old entry behind, which is recognised
//! as stale when its tick comes: nothing is searched and, once the lists have grown, nothing is allocated.

use clock::{Duration, Instant};

/// Length of a tick.
pub(crate) const TICK: Duration = Duration::from_millis(5);

/// Ticks in a round: 2.56 s.
const ROUND: u64 = 512;

const WORDS: usize = (ROUND / 64) as usize;

const NEVER: u64 = u64::MAX;

/// Deadlines of owners, which are small numbers.
#[derive(Debug)]
pub(crate) struct Wheel {
    slots: Vec<Vec<u32>>,
    /// Which slots have an entry, a bit each.
    occupied: [u64; WORDS],
    /// By owner: the tick it is listed for, or `NEVER`.
    listed: Vec<u64>,
    /// All ticks before this one were handed out.
    next: u64,
}

impl Wheel {
    /// A wheel at `now`, with nothing due.
    pub fn new(now: Instant) -> Self {
        Self {
            slots: (0..ROUND).map(|_| Vec::new()).collect(),
            occupied: [0; WORDS],
            listed: Vec::new(),
            next: tick_of(now),
        }
    }

    /// Wakes `owner` at `deadline`, up to a tick later. A deadline that is already nearer stays: wake-ups may be early.
    pub fn schedule(&mut self, owner: u32, deadline: Instant) {
        let tick = tick_of(deadline)
            .saturating_add(1)
            .clamp(self.next, self.next + ROUND - 1);
        let index = owner as usize;
        if index >= self.listed.len() {
            self.listed.resize(index + 1, NEVER);
        }
        if tick < self.listed[index] {
            self.listed[index] = tick;
            let slot = (tick % ROUND) as usize;
            self.slots[slot].push(owner);
            self.occupied[slot / 64] |= 1 << (slot % 64);
        }
    }

    /// Forgets the deadline of `owner`.
    pub fn cancel(&mut self, owner: u32) {
        if let Some(listed) = self.listed.get_mut(owner as usize) {
            *listed = NEVER;
        }
    }

    /// Appends to `due` who is due by `now`, at most `limit` of them; they have no deadline any more. Who is left over is due
    /// the next time.
    pub fn expire(&mut self, now: Instant, limit: usize, due: &mut Vec<u32>) {
        let last = tick_of(now);
        // After a long silence one round visits every list.
        let from = self.next.max(last.saturating_sub(ROUND - 1));
        for visited in from..=last {
            let slot = (visited % ROUND) as usize;
            let listed = &mut self.listed;
            self.slots[slot].retain(|owner| {
                let at = &mut listed[*owner as usize];
                if *at <= last {
                    if due.len() >= limit {
                        return true;
                    }
                    *at = NEVER;
                    due.push(*owner);
                }
                // What is still to come stays if this is its list; everything else is stale.
                *at != NEVER && (*at % ROUND) as usize == slot
            });
            if self.slots[slot].is_empty() {
                self.occupied[slot / 64] &= !(1 << (slot % 64));
            }
            if due.len() >= limit {
                self.next = self.next.max(visited);
                return;
            }
        }
        self.next = self.next.max(last + 1);
    }

    /// When [`Wheel::expire`] next has something to do; it may turn out stale.
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
        let mut wheel = Wheel::new(Instant::ZERO);
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
        let mut wheel = Wheel::new(Instant::ZERO);
        let mut due = Vec::new();
        wheel.schedule(1, Instant::from_millis(60_000));
        wheel.expire(Instant::from_millis(2_600), usize::MAX, &mut due);
        assert_eq!(due, [1]);
    }

    #[test]
    fn a_crowd_is_served_in_turns_and_nobody_is_forgotten() {
        let mut wheel = Wheel::new(Instant::ZERO);
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

    proptest! {
        #[test]
        fn agrees_with_a_list(steps in prop::collection::vec((0u32..8, 0u64..3_000, 0u64..400), 1..200), limit in 1usize..10) {
            let mut wheel = Wheel::new(Instant::ZERO);
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
