//! The numbers of one subscriber's RTP stream: gapless, whatever is dropped, late or switched before it.

use clock::Rng;

use super::sequence::nearest;

/// How many runs of unbroken numbering are remembered. A new one begins at each skipped frame and each switch.
const SEGMENTS: usize = 32;
/// For so many before the current one there is memory from the beginning.
const USUAL_OLDER: usize = 4;
/// How far behind the newest a packet may still be sent, and a NACK be answered, in packets.
pub const WINDOW: u64 = 1024;
/// A first sequence number up to here leaves room to learn the rollover counter (RFC 3711 §3.3.1).
const FIRST_SEQUENCE_BOUND: u64 = 1 << 15;
/// A packet index has 48 bits (RFC 3711 §3.3.1).
const INDEX_BOUND: u64 = 1 << 48;
/// Larger steps of a source cannot be repaired by the subscriber; they become a gap of one packet.
const MAX_GAP: u64 = WINDOW / 2;

/// The numbers under which a packet goes to the subscriber.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mapped {
    /// The 48-bit packet index of SRTP, `ROC << 16 | SEQ` (RFC 3711 §3.3.1).
    pub index: u64,
    /// The RTP timestamp.
    pub timestamp: u32,
}

impl Mapped {
    /// The sequence number on the wire.
    pub const fn sequence(self) -> u16 {
        self.index as u16
    }

    /// The rollover counter.
    pub const fn rollover(self) -> u32 {
        (self.index >> 16) as u32
    }
}

/// Why a packet has no place in the subscriber's RTP stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refused {
    /// Its number has been sent. A second packet under one index would reuse a nonce of the cipher.
    Duplicate,
    /// It is too far behind the newest.
    TooLate,
    /// It was skipped, belongs to a source that is not the current one, or precedes the switch to it.
    NotSelected,
    /// All 2^48 indices of the key are spent (RFC 3711 §9.2).
    Exhausted,
}

/// Maps the packets of one source after the other into a single gapless RTP stream.
///
/// A *source* is whatever the caller numbers so: one encoding of a publisher. Its sequence numbers are extended
/// ([`super::Unwrapper`]). Packets that the caller does not want to forward are [skipped](Self::skip) and leave no gap;
/// packets that have not come leave their place open and keep it until they come.
// What every packet needs comes first, so that it shares few cache lines.
#[repr(C)]
#[derive(Clone, Debug)]
pub struct Rewriter {
    current: Segment,
    /// The lowest index that has not been given away or reserved.
    next: u64,
    /// Where in `older` the last one lies, if there is any.
    newest: usize,
    started: bool,
    /// What was sent of the `WINDOW` indices below `next`: bit `index % WINDOW`.
    sent: [u64; (WINDOW / 64) as usize],
    /// Those before the current one; a ring once there are as many as are remembered. Most RTP streams have few in all their
    /// life, and growing is over soon where frames are skipped.
    older: Vec<Segment>,
}

/// Source numbers `first .. first + length` became `out ..`, with a constant added to the timestamps.
#[derive(Clone, Copy, Debug, Default)]
struct Segment {
    source: u32,
    timestamp_offset: u32,
    first: u64,
    out: u64,
    length: u64,
}

impl Segment {
    fn find(&self, source: u32, sequence: u64) -> Option<u64> {
        let distance = sequence.checked_sub(self.first)?;
        (self.source == source && distance < self.length).then(|| self.out.saturating_add(distance))
    }

    fn find_out(&self, index: u64) -> Option<u64> {
        let distance = index.checked_sub(self.out)?;
        (distance < self.length).then(|| self.first.saturating_add(distance))
    }

    fn end(&self) -> u64 {
        self.first.saturating_add(self.length)
    }
}

impl Rewriter {
    /// A rewriter without a source. The first sequence number is random and at most 32767.
    pub fn new(rng: &mut Rng) -> Self {
        Self::starting_at(rng.below(FIRST_SEQUENCE_BOUND))
    }

    /// The same, starting at `index`.
    pub fn starting_at(index: u64) -> Self {
        Self {
            current: Segment::default(),
            next: index,
            newest: 0,
            started: false,
            sent: [0; (WINDOW / 64) as usize],
            older: Vec::with_capacity(USUAL_OLDER),
        }
    }

    /// Makes room for as many switches and skipped frames as are remembered, so that they allocate nothing.
    pub fn make_room(&mut self) {
        let more = (SEGMENTS - 1).saturating_sub(self.older.len());
        self.older.reserve_exact(more);
    }

    /// Continues with packets of `source`, beginning with `first_sequence`. Its `first_timestamp` becomes `timestamp`.
    ///
    /// What is open of the source before stays open: its late packets may still come.
    pub fn switch(
        &mut self,
        source: u32,
        first_sequence: u64,
        first_timestamp: u32,
        timestamp: u32,
    ) {
        self.started = true;
        self.open(Segment {
            source,
            timestamp_offset: timestamp.wrapping_sub(first_timestamp),
            first: first_sequence,
            out: self.next,
            length: 0,
        });
    }

    /// The numbers for packet `sequence` of `source`, which the caller is about to send.
    ///
    /// # Errors
    /// [`Refused`] says why the packet must not be sent; nothing has changed then.
    pub fn forward(
        &mut self,
        source: u32,
        sequence: u64,
        timestamp: u32,
    ) -> Result<Mapped, Refused> {
        let selected = self.started && self.current.source == source;
        if selected && sequence == self.current.end() && self.next < INDEX_BOUND {
            // Nearly every packet is the next one.
            let index = self.next;
            self.mark(index, true);
            self.next = index.saturating_add(1);
            self.current.length = self.current.length.saturating_add(1);
            return Ok(Mapped {
                index,
                timestamp: self.timestamp(timestamp),
            });
        }
        if selected && sequence >= self.current.end() {
            return self.advance(sequence, timestamp);
        }
        self.fill(source, sequence, timestamp)
    }

    /// The numbers for a packet whose place was kept for it: it is late, and its source need not be the current one any more.
    ///
    /// # Errors
    /// [`Refused`] says why the packet must not be sent; nothing has changed then.
    pub fn fill(&mut self, source: u32, sequence: u64, timestamp: u32) -> Result<Mapped, Refused> {
        let found = self.recent().find_map(|segment| {
            let index = segment.find(source, sequence)?;
            Some((index, segment.timestamp_offset))
        });
        let (index, offset) = found.ok_or(Refused::NotSelected)?;
        if index.saturating_add(WINDOW) < self.next {
            return Err(Refused::TooLate);
        }
        if self.was_sent(index) {
            return Err(Refused::Duplicate);
        }
        self.mark(index, true);
        Ok(Mapped {
            index,
            timestamp: timestamp.wrapping_add(offset),
        })
    }

    /// Leaves out packet `sequence` of `source`: the numbers close over it. Late packets keep their place even so.
    pub fn skip(&mut self, source: u32, sequence: u64) {
        let current = self.current;
        if !self.started || current.source != source || sequence < current.end() {
            return;
        }
        let gap = sequence.saturating_sub(current.end());
        self.reserve(if gap <= MAX_GAP { gap } else { 1 });
        self.open(Segment {
            first: sequence.saturating_add(1),
            out: self.next,
            length: 0,
            ..current
        });
    }

    /// Which source packet, as (source, extended sequence number), was sent under `sequence`. For NACK.
    ///
    /// `None` if nothing was, or it is more than [`WINDOW`] packets or too many switches ago.
    pub fn source_of(&self, sequence: u16) -> Option<(u32, u64)> {
        let (index, segment) = self.sent_segment(sequence)?;
        Some((segment.source, segment.find_out(index)?))
    }

    /// The numbers under which packet `sequence` was sent: for its retransmission. `timestamp` is the source's.
    pub fn mapped(&self, sequence: u16, timestamp: u32) -> Option<Mapped> {
        let (index, segment) = self.sent_segment(sequence)?;
        Some(Mapped {
            index,
            timestamp: timestamp.wrapping_add(segment.timestamp_offset),
        })
    }

    /// The subscriber's timestamp for a `timestamp` of the current source; for sender reports.
    pub fn timestamp(&self, timestamp: u32) -> u32 {
        timestamp.wrapping_add(self.current.timestamp_offset)
    }

    /// The index that the next packet in order will get.
    pub const fn next_index(&self) -> u64 {
        self.next
    }

    /// A packet of the current source that comes after all before.
    fn advance(&mut self, sequence: u64, timestamp: u32) -> Result<Mapped, Refused> {
        let current = self.current;
        let gap = sequence.saturating_sub(current.end());
        let reserved = if gap <= MAX_GAP { gap } else { 1 };
        let index = self.next.saturating_add(reserved);
        if index >= INDEX_BOUND {
            return Err(Refused::Exhausted);
        }
        if gap <= MAX_GAP {
            self.reserve(gap);
        } else {
            // Nobody will fill the gap; a hole of one tells the subscriber that something is missing.
            self.reserve(1);
            self.open(Segment {
                first: sequence,
                out: index,
                length: 0,
                ..current
            });
        }
        self.reserve(1);
        self.mark(index, true);
        Ok(Mapped {
            index,
            timestamp: self.timestamp(timestamp),
        })
    }

    /// Gives the next `count` indices to the current segment.
    fn reserve(&mut self, count: u64) {
        for _ in 0..count.min(WINDOW) {
            self.mark(self.next, false);
            self.next = self.next.saturating_add(1);
        }
        self.current.length = self.current.length.saturating_add(count);
    }

    /// Makes `segment` the current one; an empty one before it is replaced, so that a skipped run costs one place.
    fn open(&mut self, segment: Segment) {
        if self.current.length > 0 {
            if self.older.len() < SEGMENTS - 1 {
                self.newest = self.older.len();
                self.older.push(self.current);
            } else {
                self.newest = self.newest.wrapping_add(1) % (SEGMENTS - 1);
                if let Some(slot) = self.older.get_mut(self.newest) {
                    *slot = self.current;
                }
            }
        }
        self.current = segment;
    }

    /// All segments, the current one first.
    fn recent(&self) -> impl Iterator<Item = &Segment> {
        let split = self.newest.saturating_add(1).min(self.older.len());
        let (young, old) = self.older.split_at(split);
        let older = young.iter().rev().chain(old.iter().rev());
        core::iter::once(&self.current).chain(older)
    }

    fn sent_segment(&self, sequence: u16) -> Option<(u64, &Segment)> {
        let index = nearest(self.next.checked_sub(1)?, sequence);
        let in_window = index < self.next && index.saturating_add(WINDOW) >= self.next;
        if !in_window || !self.was_sent(index) {
            return None;
        }
        let segment = self.recent().find(|s| s.find_out(index).is_some())?;
        Some((index, segment))
    }

    fn was_sent(&self, index: u64) -> bool {
        let slot = (index % WINDOW / 64) as usize;
        let word = self.sent.get(slot).copied().unwrap_or_default();
        word & bit(index) != 0
    }

    fn mark(&mut self, index: u64, sent: bool) {
        let slot = (index % WINDOW / 64) as usize;
        if let Some(word) = self.sent.get_mut(slot) {
            *word = if sent {
                *word | bit(index)
            } else {
                *word & !bit(index)
            };
        }
    }
}

const fn bit(index: u64) -> u64 {
    1_u64.rotate_left((index & 63) as u32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clock::Rng;
    use proptest::prelude::*;
    use std::collections::{HashMap, HashSet};

    fn forward(rewriter: &mut Rewriter, source: u32, sequence: u64) -> Result<u64, Refused> {
        rewriter.forward(source, sequence, 0).map(|m| m.index)
    }

    #[test]
    fn starts_low_and_random() {
        let mut rng = Rng::from_number(1);
        let starts: HashSet<_> = (0..50)
            .map(|_| Rewriter::new(&mut rng).next_index())
            .collect();
        assert!(starts.len() > 40);
        assert!(starts.iter().all(|&start| start <= 32767));
    }

    #[test]
    fn skipped_packets_leave_no_gap_and_late_ones_keep_their_place() {
        let mut rewriter = Rewriter::starting_at(65534);
        assert_eq!(forward(&mut rewriter, 1, 5), Err(Refused::NotSelected));
        rewriter.switch(1, 100, 1000, 5000);
        assert_eq!(
            rewriter.forward(1, 100, 1000),
            Ok(Mapped {
                index: 65534,
                timestamp: 5000
            })
        );
        rewriter.skip(1, 101);
        rewriter.skip(1, 102);
        let mapped = rewriter.forward(1, 104, 1090).unwrap();
        assert_eq!((mapped.index, mapped.timestamp), (65536, 5090));
        assert_eq!((mapped.sequence(), mapped.rollover()), (0, 1));
        assert_eq!(forward(&mut rewriter, 1, 103), Ok(65535));
        assert_eq!(forward(&mut rewriter, 1, 103), Err(Refused::Duplicate));
        assert_eq!(forward(&mut rewriter, 1, 101), Err(Refused::NotSelected));
        assert_eq!(forward(&mut rewriter, 1, 99), Err(Refused::NotSelected));
        assert_eq!(rewriter.source_of(65535), Some((1, 103)));
        assert_eq!(rewriter.source_of(0), Some((1, 104)));
        assert_eq!(rewriter.source_of(1), None);
        assert_eq!(
            rewriter.mapped(65535, 1000),
            Some(Mapped {
                index: 65535,
                timestamp: 5000
            })
        );
    }

    #[test]
    fn a_switch_continues_and_the_old_source_may_still_fill_its_gaps() {
        let mut rewriter = Rewriter::starting_at(10);
        rewriter.switch(1, 100, 0, 0);
        assert_eq!(forward(&mut rewriter, 1, 100), Ok(10));
        assert_eq!(forward(&mut rewriter, 1, 102), Ok(12));
        rewriter.switch(2, 7, 900, 3000);
        assert_eq!(
            rewriter.forward(2, 7, 900),
            Ok(Mapped {
                index: 13,
                timestamp: 3000
            })
        );
        assert_eq!(forward(&mut rewriter, 1, 103), Err(Refused::NotSelected));
        assert_eq!(forward(&mut rewriter, 1, 101), Ok(11));
        assert_eq!(rewriter.timestamp(990), 3090);
    }

    #[test]
    fn a_great_leap_of_the_source_is_a_hole_of_one() {
        let mut rewriter = Rewriter::starting_at(0);
        rewriter.switch(1, 0, 0, 0);
        assert_eq!(forward(&mut rewriter, 1, 0), Ok(0));
        assert_eq!(forward(&mut rewriter, 1, 1_000_000), Ok(2));
        assert_eq!(forward(&mut rewriter, 1, 1_000_001), Ok(3));
        assert_eq!(rewriter.source_of(1), None);
    }

    #[test]
    fn a_packet_behind_the_window_is_too_late() {
        let mut rewriter = Rewriter::starting_at(0);
        rewriter.switch(1, 0, 0, 0);
        for sequence in (0..1100).filter(|&s| s != 50) {
            forward(&mut rewriter, 1, sequence).unwrap();
        }
        assert_eq!(forward(&mut rewriter, 1, 50), Err(Refused::TooLate));
        assert_eq!(rewriter.source_of(49), None);
        assert_eq!(rewriter.source_of(1099), Some((1, 1099)));
    }

    #[test]
    fn the_last_index_is_the_last() {
        let mut rewriter = Rewriter::starting_at(INDEX_BOUND - 1);
        rewriter.switch(1, 0, 0, 0);
        assert_eq!(forward(&mut rewriter, 1, 0), Ok(INDEX_BOUND - 1));
        assert_eq!(forward(&mut rewriter, 1, 1), Err(Refused::Exhausted));
    }

    /// Remembers everything, with no window and no segments.
    #[derive(Default)]
    struct Naive {
        source: u32,
        end: u64,
        next: u64,
        places: HashMap<(u32, u64), u64>,
        sent: HashMap<u64, (u32, u64)>,
    }

    impl Naive {
        fn reach(&mut self, sequence: u64) {
            for missing in self.end..sequence {
                self.places.insert((self.source, missing), self.next);
                self.next += 1;
            }
            self.end = self.end.max(sequence);
        }

        fn forward(&mut self, sequence: u64) -> Result<u64, Refused> {
            self.reach(sequence.saturating_add(1).max(self.end));
            let place = self.places.get(&(self.source, sequence));
            let index = *place.ok_or(Refused::NotSelected)?;
            let old = self.sent.insert(index, (self.source, sequence));
            old.map_or(Ok(index), |_| Err(Refused::Duplicate))
        }

        fn skip(&mut self, sequence: u64) {
            if sequence >= self.end {
                self.reach(sequence);
                self.end = sequence + 1;
            }
        }
    }

    proptest! {
        #[test]
        fn agrees_with_one_that_remembers_everything(
            start in 0u64..70_000,
            steps in prop::collection::vec((0u8..20, -12i64..6), 1..250),
        ) {
            let mut rewriter = Rewriter::starting_at(start);
            let mut naive = Naive { next: start, ..Naive::default() };
            let mut position = 1_000_i64;
            let mut source = 0;
            let mut switches = 0;
            for (action, step) in steps {
                match action {
                    0 if switches < 5 => {
                        // A new source each time, so that the naive table needs no ring.
                        (source, switches) = (source + 1, switches + 1);
                        naive.source = source;
                        naive.end = position as u64;
                        rewriter.switch(source, position as u64, 0, 0);
                    }
                    1 | 2 if switches > 0 && switches < 25 => {
                        switches += 1;
                        naive.skip((position + 1) as u64);
                        rewriter.skip(source, (position + 1) as u64);
                        position += 1;
                    }
                    _ if switches > 0 => {
                        let sequence = (position + step) as u64;
                        position = position.max(position + step);
                        prop_assert_eq!(forward(&mut rewriter, source, sequence), naive.forward(sequence));
                    }
                    _ => prop_assert_eq!(forward(&mut rewriter, 0, 1), Err(Refused::NotSelected)),
                }
                prop_assert_eq!(rewriter.next_index(), naive.next);
            }
            for index in start..naive.next {
                prop_assert_eq!(rewriter.source_of(index as u16), naive.sent.get(&index).copied());
            }
        }
    }
}
