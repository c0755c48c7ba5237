//! Packet indices: which one a sequence number stands for, and whether it was there before.

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
