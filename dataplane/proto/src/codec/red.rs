//! Redundant audio data (RFC 2198): a packet that repeats the sound of those before it.

use core::ops::Range;

use crate::rtp::wire::{u8_at, u24_at};

/// Most repeated blocks that are read; browsers send one.
pub const REPEATED_MAX: usize = 4;
/// Length of the header of a repeated block, and of that of the last block, in octets.
const REPEATED_HEADER: usize = 4;
const LAST_HEADER: usize = 1;

/// One block of sound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// The payload type that its packet has, or would have had.
    pub payload_type: u8,
    /// By how much its timestamp is before that of the packet, at most 16 383; 0 for the packet's own block.
    pub timestamp_offset: u16,
    /// Where it lies in the payload.
    pub range: Range<usize>,
}

/// What a payload consists of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redundant {
    /// Those that repeat, oldest first; the rest is unused.
    repeated: [Option<Block>; REPEATED_MAX],
    /// The packet's own block.
    pub own: Block,
}

impl Redundant {
    /// Reads `payload`; `None` if it is not what RFC 2198 §3 describes, repeats more than [`REPEATED_MAX`] blocks, or if there is
    /// nothing in its own block.
    pub fn parse(payload: &[u8]) -> Option<Self> {
        let mut headers = [(0_u8, 0_u16, 0_usize); REPEATED_MAX];
        let (mut count, mut at) = (0_usize, 0_usize);
        let last = loop {
            let first = u8_at(payload, at)?;
            // The F bit: another header follows.
            if first & 0x80 == 0 {
                break first;
            }
            // 14 bits of timestamp offset, 10 bits of length.
            let rest = u24_at(payload, at.checked_add(1)?)?;
            let (offset, length) = ((rest >> 10) as u16, (rest & 0x3ff) as usize);
            *headers.get_mut(count)? = (first & 0x7f, offset, length);
            count = count.checked_add(1)?;
            at = at.checked_add(REPEATED_HEADER)?;
        };
        let mut start = at.checked_add(LAST_HEADER)?;
        let mut repeated = [const { None }; REPEATED_MAX];
        for (place, &(payload_type, timestamp_offset, length)) in
            repeated.iter_mut().zip(headers.iter().take(count))
        {
            let end = start.checked_add(length)?;
            *place = Some(Block {
                payload_type,
                timestamp_offset,
                range: start..end,
            });
            start = end;
        }
        (start < payload.len()).then_some(Self {
            repeated,
            own: Block {
                payload_type: last,
                timestamp_offset: 0,
                range: start..payload.len(),
            },
        })
    }

    /// The blocks of the packets before this one, newest first, with how many packets before each is. An empty one stands for a
    /// packet that is not repeated.
    ///
    /// RFC 2198 numbers only the packet itself: senders repeat consecutive packets, as all known ones do.
    pub fn repeated(&self) -> impl Iterator<Item = (u64, &Block)> {
        let blocks = self.repeated.iter().flatten().rev();
        (1..).zip(blocks)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(blocks: &[(u8, u16, &[u8])], own: (u8, &[u8])) -> Vec<u8> {
        let mut out = Vec::new();
        for (payload_type, offset, data) in blocks {
            let word = u32::from(*offset) << 10 | data.len() as u32;
            out.push(0x80 | payload_type);
            out.extend_from_slice(&word.to_be_bytes()[1..]);
        }
        out.push(own.0);
        for (.., data) in blocks {
            out.extend_from_slice(data);
        }
        out.extend_from_slice(own.1);
        out
    }

    #[test]
    fn blocks_are_told_apart() {
        let payload = written(
            &[(111, 1_920, b"oldest"), (111, 960, b"old")],
            (111, b"new"),
        );
        let red = Redundant::parse(&payload).unwrap();
        assert_eq!(&payload[red.own.range.clone()], b"new");
        assert_eq!(red.own.payload_type, 111);
        let repeated: Vec<_> = red
            .repeated()
            .map(|(before, block)| {
                (
                    before,
                    block.timestamp_offset,
                    &payload[block.range.clone()],
                )
            })
            .collect();
        assert_eq!(repeated, [(1, 960, &b"old"[..]), (2, 1_920, b"oldest")]);
        let alone = written(&[], (111, b"new"));
        assert_eq!(Redundant::parse(&alone).unwrap().repeated().count(), 0);
    }

    #[test]
    fn what_is_cut_off_or_too_much_is_refused() {
        let payload = written(&[(111, 960, b"old")], (111, b"n"));
        for len in 0..payload.len() {
            assert_eq!(Redundant::parse(&payload[..len]), None, "{len} octets");
        }
        let many = [(111, 960, &b"x"[..]); REPEATED_MAX];
        assert!(Redundant::parse(&written(&many, (111, b"n"))).is_some());
        let many = [(111, 960, &b"x"[..]); REPEATED_MAX + 1];
        assert_eq!(Redundant::parse(&written(&many, (111, b"n"))), None);
    }

    proptest! {
        #[test]
        fn blocks_cover_the_payload(payload in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Some(red) = Redundant::parse(&payload) {
                let mut end = payload.len();
                for range in core::iter::once(&red.own).chain(red.repeated().map(|(_, block)| block)).map(|block| &block.range) {
                    prop_assert_eq!(range.end, end);
                    end = range.start;
                }
                prop_assert_eq!(end, red.repeated().count() * 4 + 1);
            }
        }
    }
}
