//! VP8's own numbers for one subscriber: picture ids and TL0PICIDX that go on over skipped frames and switches.
//!
//! A receiver finds out by them which frames it misses (RFC 7741 §4.2), so a frame that is left out on purpose must leave
//! no gap, and a lost one must.

use super::vp8::{Descriptor, PictureId};

/// How many pictures are remembered, for packets that come late.
const REMEMBERED: usize = 32;

/// Renumbers the pictures of one source after the other.
#[derive(Clone, Debug, Default)]
pub struct Vp8Numbers {
    /// A ring; the newest is at `newest`.
    pictures: [Picture; REMEMBERED],
    newest: usize,
    /// The last numbers that were given.
    last: Option<(u16, u8)>,
    current: Option<Offsets>,
    /// The next picture is the first of its source.
    switched: bool,
}

/// A picture of a source, and what is added to its numbers and to those after it.
#[derive(Clone, Copy, Debug, Default)]
struct Picture {
    known: bool,
    /// Left out: only those after it have the offsets.
    skipped: bool,
    value: u16,
    offsets: Offsets,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Offsets {
    source: u32,
    picture: u16,
    tl0: u8,
}

impl Vp8Numbers {
    /// For a subscriber that has been sent nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Continues with `source`. Its next picture, a key frame, follows the last one that was sent.
    pub fn switch(&mut self, source: u32) {
        self.current = Some(Offsets {
            source,
            picture: 0,
            tl0: 0,
        });
        self.switched = true;
    }

    /// The descriptor to send in place of `descriptor`, of a packet of `source`.
    ///
    /// `None` if the packet has no place: its picture was skipped, or is older than what is remembered.
    pub fn forward(&mut self, source: u32, descriptor: &Descriptor) -> Option<Descriptor> {
        let id = descriptor.picture_id;
        let mask = id.map_or(0x7fff, mask);
        let value = id.map_or(0, PictureId::value);
        if self.switched && self.is_current(source) {
            self.align(value, descriptor.tl0_picture_index.unwrap_or(0));
        }
        let offsets = match id {
            Some(_) if self.is_new(source, value, mask) => {
                let offsets = self.current?;
                self.remember(value, false, offsets);
                offsets
            }
            Some(_) => self.offsets_of(source, value, mask)?,
            None => self.current.filter(|offsets| offsets.source == source)?,
        };
        let picture = value.wrapping_add(offsets.picture) & mask;
        let tl0 = descriptor
            .tl0_picture_index
            .map(|index| index.wrapping_add(offsets.tl0));
        self.note_last(offsets, picture, tl0, mask);
        let mut renumbered = *descriptor;
        renumbered.picture_id = id.map(|id| id.with_value(picture));
        renumbered.tl0_picture_index = tl0;
        Some(renumbered)
    }

    /// Leaves out the picture of `descriptor`, unless it or a later one has been seen. All its packets may be given.
    pub fn skip(&mut self, source: u32, descriptor: &Descriptor) {
        let Some(id) = descriptor.picture_id else {
            return;
        };
        let new = self.is_new(source, id.value(), mask(id));
        let Some(current) = self.current.as_mut().filter(|_| new && !self.switched) else {
            return;
        };
        current.picture = current.picture.wrapping_sub(1);
        let offsets = *current;
        self.remember(id.value(), true, offsets);
        // The picture before it may still come, and has its number.
        let before = id.value().wrapping_add(offsets.picture) & mask(id);
        let tl0 = descriptor
            .tl0_picture_index
            .map(|index| index.wrapping_add(offsets.tl0));
        self.note_last(offsets, before, tl0, mask(id));
    }

    fn is_current(&self, source: u32) -> bool {
        self.current.is_some_and(|offsets| offsets.source == source)
    }

    /// Whether the picture is of the current source and after all of it so far.
    fn is_new(&self, source: u32, value: u16, mask: u16) -> bool {
        let newest = self
            .recent()
            .find(|picture| picture.offsets.source == source);
        let after = newest.is_none_or(|picture| is_after(picture.value, value, mask));
        self.is_current(source) && after
    }

    /// The offsets of a picture that is not new: those of the last one remembered up to it.
    fn offsets_of(&self, source: u32, value: u16, mask: u16) -> Option<Offsets> {
        let of_source = self
            .recent()
            .filter(|picture| picture.offsets.source == source);
        let before = of_source
            .into_iter()
            .find(|p| !is_after(value, p.value, mask))?;
        let is_itself_skipped = before.skipped && before.value == value;
        (!is_itself_skipped).then_some(before.offsets)
    }

    /// Chooses the offsets of a new source by its first picture.
    fn align(&mut self, value: u16, tl0: u8) {
        self.switched = false;
        let last = self.last;
        if let (Some(current), Some((picture, index))) = (self.current.as_mut(), last) {
            current.picture = picture.wrapping_add(1).wrapping_sub(value);
            current.tl0 = index.wrapping_add(1).wrapping_sub(tl0);
        }
        // Pictures of an earlier visit to the same source must not be taken for later ones.
        let source = self.current.map(|offsets| offsets.source);
        for picture in &mut self.pictures {
            picture.known &= Some(picture.offsets.source) != source;
        }
    }

    fn note_last(&mut self, offsets: Offsets, picture: u16, tl0: Option<u8>, mask: u16) {
        if self.current != Some(offsets) {
            return;
        }
        let (last_picture, last_tl0) = self.last.unwrap_or((picture, tl0.unwrap_or(0)));
        let newer = is_after(last_picture, picture, mask);
        let index = tl0.filter(|&index| index.wrapping_sub(last_tl0) < 0x80);
        self.last = Some((
            if newer { picture } else { last_picture },
            index.unwrap_or(last_tl0),
        ));
    }

    fn remember(&mut self, value: u16, skipped: bool, offsets: Offsets) {
        self.newest = self.newest.wrapping_add(1) % REMEMBERED;
        if let Some(slot) = self.pictures.get_mut(self.newest) {
            *slot = Picture {
                known: true,
                skipped,
                value,
                offsets,
            };
        }
    }

    /// What is remembered, the newest first.
    fn recent(&self) -> impl Iterator<Item = &Picture> {
        let split = self.newest.saturating_add(1).min(REMEMBERED);
        let (young, old) = self.pictures.split_at(split);
        let all = young.iter().rev().chain(old.iter().rev());
        all.filter(|picture| picture.known)
    }
}

/// The bits of a picture id.
const fn mask(id: PictureId) -> u16 {
    match id {
        PictureId::Short(_) => 0x7f,
        PictureId::Long(_) => 0x7fff,
    }
}

/// Whether `b` comes after `a`, less than half a cycle of `mask` ahead.
const fn is_after(a: u16, b: u16, mask: u16) -> bool {
    let distance = b.wrapping_sub(a) & mask;
    distance != 0 && distance <= mask >> 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn picture(value: u16, tl0: u8) -> Descriptor {
        let mut descriptor = Descriptor::default();
        descriptor.picture_id = Some(PictureId::Long(value & 0x7fff));
        descriptor.tl0_picture_index = Some(tl0);
        descriptor
    }

    fn numbers_of(descriptor: Option<Descriptor>) -> Option<(u16, u8)> {
        let descriptor = descriptor?;
        Some((
            descriptor.picture_id?.value(),
            descriptor.tl0_picture_index?,
        ))
    }

    #[test]
    fn skipped_pictures_leave_no_gap_and_lost_ones_do() {
        let mut numbers = Vp8Numbers::new();
        assert_eq!(numbers.forward(1, &picture(0, 0)), None, "no source yet");
        numbers.switch(1);
        let mut forward = |value, tl0| numbers_of(numbers.forward(1, &picture(value, tl0)));
        assert_eq!(forward(0x7ffe, 255), Some((0x7ffe, 255)));
        assert_eq!(forward(0x7ffe, 255), Some((0x7ffe, 255)), "second packet");
        numbers.skip(1, &picture(0x7fff, 255));
        numbers.skip(1, &picture(0x7fff, 255));
        let mut forward = |value, tl0| numbers_of(numbers.forward(1, &picture(value, tl0)));
        assert_eq!(
            forward(1, 0),
            Some((0, 0)),
            "picture 0 is missing and keeps its place"
        );
        assert_eq!(forward(0x7fff, 255), None, "skipped");
        assert_eq!(forward(0, 0), Some((0x7fff, 0)), "late");
        assert_eq!(forward(0x7ffe, 255), Some((0x7ffe, 255)));
        assert_eq!(forward(0x7f00, 200), None, "before the beginning");
    }

    #[test]
    fn a_switch_continues() {
        let mut numbers = Vp8Numbers::new();
        numbers.switch(1);
        numbers.forward(1, &picture(100, 7)).unwrap();
        numbers.forward(1, &picture(101, 7)).unwrap();
        numbers.switch(2);
        assert_eq!(
            numbers_of(numbers.forward(2, &picture(9000, 200))),
            Some((102, 8))
        );
        assert_eq!(
            numbers_of(numbers.forward(2, &picture(9001, 201))),
            Some((103, 9))
        );
        assert_eq!(
            numbers_of(numbers.forward(1, &picture(101, 7))),
            Some((101, 7))
        );
        assert_eq!(numbers_of(numbers.forward(2, &picture(8999, 199))), None);
        // Back to a source whose old pictures are remembered, after it restarted with lower numbers.
        numbers.switch(1);
        assert_eq!(
            numbers_of(numbers.forward(1, &picture(50, 3))),
            Some((104, 10))
        );
        assert_eq!(
            numbers_of(numbers.forward(1, &picture(51, 3))),
            Some((105, 10))
        );
    }

    #[test]
    fn a_lost_picture_before_a_skipped_one_keeps_its_number_over_a_switch() {
        let mut numbers = Vp8Numbers::new();
        numbers.switch(1);
        numbers.forward(1, &picture(100, 7)).unwrap();
        // Picture 101 has not come.
        numbers.skip(1, &picture(102, 8));
        numbers.switch(2);
        let key = numbers_of(numbers.forward(2, &picture(9, 1)));
        assert_eq!(key, Some((102, 9)));
        let late = numbers_of(numbers.forward(1, &picture(101, 8)));
        assert_eq!(late, Some((101, 8)));
    }

    #[test]
    fn without_picture_ids_only_the_index_changes() {
        let mut numbers = Vp8Numbers::new();
        numbers.switch(1);
        let plain = Descriptor::default();
        assert_eq!(numbers.forward(1, &plain), Some(plain));
        assert_eq!(numbers.forward(2, &plain), None);
        numbers.skip(1, &plain);
        let mut short = plain;
        short.picture_id = Some(PictureId::Short(127));
        assert_eq!(numbers.forward(1, &short), Some(short));
    }

    proptest! {
        /// Pictures come nearly in order; some are skipped and some never come.
        #[test]
        fn numbers_are_those_of_a_count(
            start in 0u16..0x8000,
            fates in prop::collection::vec((0u8..4, 0usize..3), 1..300),
        ) {
            let mut numbers = Vp8Numbers::new();
            numbers.switch(1);
            numbers.forward(1, &picture(start, 0)).unwrap();
            // Skips are decided in order; what is forwarded may come a little later.
            let (mut kept, mut waiting) = (0_u16, Vec::new());
            for (position, (fate, delay)) in fates.into_iter().enumerate() {
                let value = start.wrapping_add(position as u16 + 1);
                if fate == 0 {
                    numbers.skip(1, &picture(value, 0));
                } else {
                    kept += 1;
                    let expected = start.wrapping_add(kept) & 0x7fff;
                    if fate == 1 {
                        waiting.push((position + delay, value, expected));
                    } else {
                        let sent = numbers_of(numbers.forward(1, &picture(value, 0)));
                        prop_assert_eq!(sent, Some((expected, 0)));
                    }
                }
                for &(_, value, expected) in waiting.iter().filter(|w| w.0 <= position) {
                    let sent = numbers_of(numbers.forward(1, &picture(value, 0)));
                    prop_assert_eq!(sent, Some((expected, 0)));
                }
                waiting.retain(|w| w.0 > position);
            }
        }
    }
}
