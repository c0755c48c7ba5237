//! Packet indices: which one a sequence number stands for, and whether it was there before.

use super::backend::{prefetch, prefetch_front};

/// The highest RTP packet index: 32 bits of ROC and 16 of sequence number (RFC 3711 §3.3.1).
pub const MAX_RTP_INDEX: u64 = (1 << 48) - 1;

/// Half of the space of sequence numbers, the boundary of guessing (RFC 3711 Appendix A).
const SEQUENCE_MEDIAN: u16 = 1 << 15;

/// One turn of the sequence number.
const ROLLOVER: u64 = 1 << 16;

/// What a [`Window`] thinks of an index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Not seen yet.
    Fresh,
    /// Seen before.
    Seen,
    /// So far behind the highest index that we no longer know.
    TooOld,
}

/// The most recent `WORDS` × 64 packet indices of one RTP stream: which of them were seen (RFC 3711 §3.3.2).
///
/// The receiver uses it against replay, the sender against encrypting one index twice.
#[derive(Clone, Debug)]
pub(super) struct Window<const WORDS: usize> {
    highest: u64,
    /// A ring: the bit of index `i` is bit `i` modulo the size.
    seen: [u64; WORDS],
}

impl<const WORDS: usize> Window<WORDS> {
    /// How many indices are remembered, the highest included.
    pub(super) const SIZE: u64 = WORDS as u64 * 64;

    /// A window of an RTP stream that does not exist yet.
    pub(super) const fn empty() -> Self {
        Self {
            highest: 0,
            seen: [0; WORDS],
        }
    }

    /// A window whose one seen index is `first`. Earlier ones still count as fresh: the first packet to arrive need not
    /// be the first that was sent.
    pub(super) fn starting_at(first: u64) -> Self {
        let mut window = Self {
            highest: first,
            seen: [0; WORDS],
        };
        window.mark(first);
        window
    }

    /// A window that has seen everything up to `highest`.
    pub(super) fn filled_up_to(highest: u64) -> Self {
        Self {
            highest,
            seen: [u64::MAX; WORDS],
        }
    }

    /// The highest index seen.
    pub(super) fn highest(&self) -> u64 {
        self.highest
    }

    /// Asks for all of the window.
    #[inline]
    pub(super) fn prefetch_whole(&self) {
        prefetch_front(self, size_of::<Self>());
    }

    /// Asks for the memory that [`Self::check`] will read.
    #[inline]
    pub(super) fn prefetch(&self, index: u64) {
        prefetch(&self.highest);
        let (word, _) = Self::place(index);
        if let Some(seen) = self.seen.get(word) {
            prefetch(seen);
        }
    }

    /// Whether `index` was seen. Changes nothing.
    pub(super) fn check(&self, index: u64) -> Verdict {
        if index > self.highest {
            return Verdict::Fresh;
        }
        if self.highest.saturating_sub(index) >= Self::SIZE {
            return Verdict::TooOld;
        }
        let (word, bit) = Self::place(index);
        match self.seen.get(word) {
            Some(seen) if seen & bit == 0 => Verdict::Fresh,
            _ => Verdict::Seen,
        }
    }

    /// Remembers that `index` was seen, and moves the window up to it. To be called after authentication only.
    pub(super) fn commit(&mut self, index: u64) {
        if index > self.highest {
            self.advance(index);
        } else if self.highest.saturating_sub(index) >= Self::SIZE {
            return;
        }
        self.mark(index);
    }

    fn advance(&mut self, index: u64) {
        if index.saturating_sub(self.highest) >= Self::SIZE {
            self.seen = [0; WORDS];
        } else {
            let mut next = self.highest.saturating_add(1);
            while next <= index {
                let (word, bit) = Self::place(next);
                let whole = bit == 1 && index.saturating_sub(next) >= 63;
                if let Some(seen) = self.seen.get_mut(word) {
                    *seen &= if whole { 0 } else { !bit };
                }
                next = next.saturating_add(if whole { 64 } else { 1 });
            }
        }
        self.highest = index;
    }

    fn mark(&mut self, index: u64) {
        let (word, bit) = Self::place(index);
        if let Some(seen) = self.seen.get_mut(word) {
            *seen |= bit;
        }
    }

    /// Word and bit of an index.
    fn place(index: u64) -> (usize, u64) {
        let word = (index >> 6).checked_rem(WORDS as u64).unwrap_or(0);
        (word as usize, 1u64.wrapping_shl((index & 63) as u32))
    }
}

/// The most likely packet index of `sequence`, given the highest authenticated index of the RTP stream so far
/// (RFC 3711 §3.3.1 and Appendix A). `None` when that index would be beyond the last one of the key.
///
/// RFC 3711 computes ROC - 1 modulo 2^32 even at ROC 0. Nobody has sent such an index, so there the number is taken as
/// it stands: a jump ahead within the first turn, which authentication then confirms or refuses.
pub fn estimate_index(highest: u64, sequence: u16) -> Option<u64> {
    let highest_sequence = (highest & 0xffff) as u16;
    let same_turn = (highest & !0xffff) | u64::from(sequence);
    let index = if highest_sequence < SEQUENCE_MEDIAN {
        if sequence.saturating_sub(highest_sequence) > SEQUENCE_MEDIAN {
            same_turn.checked_sub(ROLLOVER).unwrap_or(same_turn)
        } else {
            same_turn
        }
    } else if highest_sequence.saturating_sub(SEQUENCE_MEDIAN) > sequence {
        same_turn.saturating_add(ROLLOVER)
    } else {
        same_turn
    };
    (index <= MAX_RTP_INDEX).then_some(index)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    /// The rule in its plainest form.
    struct Naive {
        seen: BTreeSet<u64>,
    }

    impl Naive {
        fn check(&self, index: u64, size: u64) -> Verdict {
            match self.seen.last() {
                Some(highest) if index + size <= *highest => Verdict::TooOld,
                _ if self.seen.contains(&index) => Verdict::Seen,
                _ => Verdict::Fresh,
            }
        }
    }

    fn agree<const WORDS: usize>(first: u64, moves: &[i64]) -> Result<(), TestCaseError> {
        let size = Window::<WORDS>::SIZE;
        let mut window = Window::<WORDS>::starting_at(first);
        let mut naive = Naive {
            seen: BTreeSet::from([first]),
        };
        for by in moves {
            let index = window.highest().saturating_add_signed(*by);
            let verdict = window.check(index);
            prop_assert_eq!(verdict, naive.check(index, size));
            if verdict == Verdict::Fresh {
                window.commit(index);
                naive.seen.insert(index);
            }
            prop_assert_eq!(window.highest(), *naive.seen.last().unwrap());
        }
        for index in window.highest().saturating_sub(size + 3)..=window.highest() + 3 {
            prop_assert_eq!(window.check(index), naive.check(index, size));
        }
        Ok(())
    }

    proptest! {
        #[test]
        fn windows_agree_with_the_plain_rule(
            first in 0..200_000u64,
            moves in prop::collection::vec(
                prop_oneof![-5..5i64, -140..140i64, -1100..1100i64, 1000..5000i64],
                0..300,
            ),
        ) {
            agree::<2>(first, &moves)?;
            agree::<16>(first, &moves)?;
        }

        #[test]
        fn an_index_within_half_a_turn_is_estimated_exactly(
            highest in 0..1u64 << 48,
            by in -32_768..=32_767i64,
        ) {
            let index = highest.saturating_add_signed(by);
            let expected = (index <= MAX_RTP_INDEX).then_some(index);
            prop_assert_eq!(estimate_index(highest, index as u16), expected);
        }
    }

    /// Words are cleared whole where that is right and bit by bit at the ends, so try every alignment and length.
    #[test]
    fn advancing_clears_what_is_new_and_nothing_else() {
        let size = Window::<2>::SIZE;
        for start in 1000..1064 {
            for by in 1..=size + 2 {
                let mut window = Window::<2>::filled_up_to(start);
                window.commit(start + by);
                for index in start + by + 1 - size..start + by {
                    let expected = if index <= start {
                        Verdict::Seen
                    } else {
                        Verdict::Fresh
                    };
                    assert_eq!(window.check(index), expected, "{start} + {by}: {index}");
                }
                assert_eq!(window.check(start + by), Verdict::Seen);
            }
        }
    }

    #[test]
    fn the_first_turn_has_none_before_it() {
        assert_eq!(estimate_index(5, 65_535), Some(65_535));
        assert_eq!(estimate_index(0x1_0005, 65_535), Some(65_535));
        assert_eq!(estimate_index(MAX_RTP_INDEX, 3), None);
    }
}
