//! What was sent under which transport-wide sequence number, until feedback about it comes.

use clock::Instant;

/// Packets that are remembered; older ones are as good as never sent. Two seconds at 1000 packets a second: feedback comes after
/// a round trip and what the peer waits with it, and must find them.
const REMEMBERED: u64 = 2_048;

/// The first number. Beyond 16 bits, so that numbers before it exist, too.
const FIRST: u64 = 1 << 16;

/// Times are kept in units of 2 to the power of this, in nanoseconds: 16 µs. In 32 bits that is 19 hours.
const TICK_BITS: u32 = 14;

/// One packet that was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sent {
    /// To 16 µs, a fraction of the ticks of feedback.
    pub(super) at: Instant,
    pub(super) bytes: u16,
    /// The probe that it belongs to; 0 for none.
    pub(super) probe: u16,
}

/// The same in as little as possible, for there are many: when in ticks, cut to 32 bits.
#[derive(Clone, Copy, Debug, Default)]
struct Entry {
    at: u32,
    bytes: u16,
    probe: u16,
}

/// The packets sent last, by number.
#[derive(Debug)]
pub(super) struct History {
    entries: Box<[Entry]>,
    /// A bit for each that nothing was heard of.
    unheard_of: [u64; (REMEMBERED / 64) as usize],
    /// When the last was sent, in ticks.
    newest: u64,
    next: u64,
}

impl History {
    /// All its memory, 16 KiB, is taken here.
    pub(super) fn new() -> Self {
        Self {
            entries: vec![Entry::default(); REMEMBERED as usize].into_boxed_slice(),
            unheard_of: [0; (REMEMBERED / 64) as usize],
            newest: 0,
            next: FIRST,
        }
    }

    /// Notes a packet; its number.
    pub(super) fn push(&mut self, sent: Sent) -> u64 {
        let number = self.next;
        self.next = self.next.wrapping_add(1);
        self.newest = self.newest.max(sent.at.as_nanos() >> TICK_BITS);
        if let Some(entry) = self.entries.get_mut(place(number)) {
            *entry = Entry {
                at: (sent.at.as_nanos() >> TICK_BITS) as u32,
                bytes: sent.bytes,
                probe: sent.probe,
            };
        }
        if let Some(word) = self.unheard_of.get_mut(place(number) / 64) {
            *word |= bits(number, 1);
        }
        number
    }

    /// Whatever is heard of those sent so far says nothing.
    pub(super) fn forget(&mut self) {
        self.unheard_of.fill(0);
    }

    /// The number that will be given out next.
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// Takes a packet out: feedback about it counts once.
    pub(super) fn take(&mut self, number: u64) -> Option<Sent> {
        if self.unheard_of(number, 1) == 0 {
            return None;
        }
        *self.unheard_of.get_mut(place(number) / 64)? &= !bits(number, 1);
        let entry = self.entries.get(place(number))?;
        let age = (self.newest as u32).wrapping_sub(entry.at);
        let ticks = self.newest.checked_sub(age.into())?;
        Some(Sent {
            at: Instant::from_nanos(ticks.checked_shl(TICK_BITS)?),
            bytes: entry.bytes,
            probe: entry.probe,
        })
    }

    /// How many of so many packets from `first` on were sent, not too long ago, and are not known to have come.
    pub(super) fn unheard_of(&self, first: u64, count: u64) -> u64 {
        let mut at = first.max(self.next.saturating_sub(REMEMBERED));
        let end = first.saturating_add(count).min(self.next);
        let mut sum = 0_u64;
        while at < end {
            // As many as are in one word.
            let some = end.min((at | 63).saturating_add(1)).saturating_sub(at);
            let word = self.unheard_of.get(place(at) / 64).copied();
            let those = word.unwrap_or(0) & bits(at, some);
            sum = sum.saturating_add(those.count_ones().into());
            at = at.saturating_add(some);
        }
        sum
    }
}

fn place(number: u64) -> usize {
    (number % REMEMBERED) as usize
}

/// The bits of `count` numbers from `first` on, which are all in one word.
fn bits(first: u64, count: u64) -> u64 {
    let ones = u64::MAX.checked_shr(64_u32.saturating_sub(count as u32));
    let shifted = ones.and_then(|ones| ones.checked_shl((first % 64) as u32));
    shifted.unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sent(millis: u64) -> Sent {
        Sent {
            at: Instant::from_nanos(millis << (TICK_BITS + 6)),
            bytes: 1,
            probe: 0,
        }
    }

    #[test]
    fn packets_are_taken_once_and_forgotten_when_old() {
        let mut history = History::new();
        for nth in 0..REMEMBERED + 100 {
            assert_eq!(history.push(sent(nth)), FIRST + nth);
        }
        let newest = REMEMBERED + 99;
        assert_eq!(history.take(FIRST + newest + 1), None, "not sent yet");
        assert_eq!(history.take(FIRST + newest), Some(sent(newest)));
        assert_eq!(history.take(FIRST + newest), None);
        assert_eq!(history.take(FIRST + 100), Some(sent(100)));
        let replaced = history.take(FIRST + 99);
        assert_eq!(replaced, None, "another one is in its place");
    }

    #[test]
    fn two_seconds_are_remembered_at_a_thousand_packets_a_second() {
        let mut history = History::new();
        for millis in 0..2_000 {
            let at = Instant::from_millis(1_000_000_000 + millis);
            history.push(Sent { at, ..sent(0) });
        }
        let first = history.take(FIRST).expect("it is not forgotten");
        let error = Instant::from_millis(1_000_000_000).saturating_since(first.at);
        assert!(error.as_micros() <= 16, "{error:?}");
        assert_eq!(history.unheard_of(FIRST - 500, 5_000), 1_999);
    }

    #[test]
    fn it_takes_little_memory() {
        let entries = REMEMBERED as usize * size_of::<Entry>();
        assert!(entries + size_of::<History>() <= 17 << 10);
    }

    proptest! {
        #[test]
        fn it_agrees_with_a_list(
            steps in prop::collection::vec((0u64..400, 0u64..3_000, 0u64..3_000, any::<bool>()), 1..40)
        ) {
            let mut history = History::new();
            let mut list = Vec::new();
            for (more, back, count, takes) in steps {
                for _ in 0..more {
                    history.push(sent(list.len() as u64));
                    list.push(true);
                }
                let first = history.next().saturating_sub(back);
                let is_there = |number: u64, list: &[bool]| {
                    let place = number.checked_sub(FIRST).map(|place| place as usize);
                    let age = history.next().saturating_sub(number);
                    age <= REMEMBERED && place.is_some_and(|place| list.get(place) == Some(&true))
                };
                let expected = (first..first + count).filter(|number| is_there(*number, &list)).count();
                prop_assert_eq!(history.unheard_of(first, count), expected as u64);
                if takes {
                    let there = is_there(first, &list);
                    let place = first.wrapping_sub(FIRST);
                    prop_assert_eq!(history.take(first), there.then(|| sent(place)));
                    if there {
                        list[place as usize] = false;
                    }
                }
            }
        }
    }
}
