use super::{Full, Writer, format, packet_type};
use crate::rtp::wire::{u16_at, u32_at};

/// Generic NACK: sequence numbers that are missing (RFC 4585 §6.2.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nack<'a> {
    /// Who misses them.
    pub sender: u32,
    /// The RTP stream.
    pub media: u32,
    entries: &'a [u8],
}

impl<'a> Nack<'a> {
    pub(super) fn parse(body: &'a [u8]) -> Option<Self> {
        Some(Self {
            sender: u32_at(body, 0)?,
            media: u32_at(body, 4)?,
            entries: body.get(8..)?,
        })
    }

    /// The missing sequence numbers, in the order of the packet.
    pub fn sequences(&self) -> NackSequences<'a> {
        NackSequences {
            entries: self.entries,
            base: 0,
            mask: 0,
        }
    }
}

impl Nack<'_> {
    /// Writes as many of `missing` as fit and returns how many those are. Neighbours in ascending order share an entry.
    ///
    /// # Errors
    /// [`Full`] if not even one fits, or `missing` is empty.
    pub fn write(
        sender: u32,
        media: u32,
        missing: &[u16],
        out: &mut Writer<'_>,
    ) -> Result<usize, Full> {
        // Header and two SSRCs take 12 bytes, an entry 4.
        let mut room = out.room().saturating_sub(12) / 4;
        if room == 0 || missing.is_empty() {
            return Err(Full);
        }
        let mut rest = missing;
        out.packet(packet_type::TRANSPORT_FEEDBACK, format::NACK, |cursor| {
            cursor.u32(sender)?;
            cursor.u32(media)?;
            while let (Some((&base, after)), true) = (rest.split_first(), room > 0) {
                let (mask, after) = gather(base, after);
                cursor.u16(base)?;
                cursor.u16(mask)?;
                rest = after;
                room = room.saturating_sub(1);
            }
            Some(())
        })?;
        Ok(missing.len().saturating_sub(rest.len()))
    }
}

/// The mask of those at the front of `rest` that are 1 to 16 after `base`, and the others.
fn gather(base: u16, mut rest: &[u16]) -> (u16, &[u16]) {
    let mut mask = 0;
    while let Some((&next, after)) = rest.split_first() {
        let distance = next.wrapping_sub(base);
        if !(1..=16).contains(&distance) {
            break;
        }
        mask |= 1_u16.rotate_left(u32::from(distance.saturating_sub(1)));
        rest = after;
    }
    (mask, rest)
}

/// Iterates over the sequence numbers of a [`Nack`]: at most 17 for each four bytes.
#[derive(Clone, Debug)]
pub struct NackSequences<'a> {
    entries: &'a [u8],
    base: u16,
    /// What is left of the current entry; bit 0 is `base + 1`.
    mask: u16,
}

impl Iterator for NackSequences<'_> {
    type Item = u16;

    fn next(&mut self) -> Option<u16> {
        if self.mask != 0 {
            let position = self.mask.trailing_zeros() as u16;
            self.mask &= self.mask.wrapping_sub(1);
            return Some(self.base.wrapping_add(position).wrapping_add(1));
        }
        self.base = u16_at(self.entries, 0)?;
        self.mask = u16_at(self.entries, 2)?;
        self.entries = self.entries.get(4..)?;
        Some(self.base)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Packet, compound};
    use super::*;
    use proptest::prelude::*;

    fn round_trip(missing: &[u16], size: usize) -> (usize, Vec<u16>) {
        let mut buffer = vec![0; size];
        let mut writer = Writer::new(&mut buffer);
        let count = Nack::write(1, 2, missing, &mut writer).unwrap();
        let length = writer.len();
        let Some(Ok(Packet::Nack(nack))) = compound(&buffer[..length]).unwrap().next() else {
            panic!("not a NACK");
        };
        assert_eq!((nack.sender, nack.media), (1, 2));
        (count, nack.sequences().collect())
    }

    #[test]
    fn neighbours_share_an_entry() {
        let missing = [65535, 0, 15, 16];
        assert_eq!(round_trip(&missing, 20), (4, missing.to_vec()));
        assert_eq!(round_trip(&missing, 16), (3, missing[..3].to_vec()));
        let mut buffer = [0; 15];
        let mut writer = Writer::new(&mut buffer);
        assert_eq!(Nack::write(1, 2, &[1], &mut writer), Err(Full));
        assert_eq!(
            Nack::write(1, 2, &[], &mut Writer::new(&mut [0; 50])),
            Err(Full)
        );
    }

    proptest! {
        #[test]
        fn any_list_keeps_its_order(missing in prop::collection::vec(any::<u16>(), 1..100), dense: bool) {
            let mut missing = missing;
            if dense {
                missing.iter_mut().for_each(|m| *m %= 128);
                missing.sort_unstable();
                missing.dedup();
            }
            let (count, read) = round_trip(&missing, 1000);
            prop_assert_eq!(count, missing.len());
            if dense {
                prop_assert_eq!(&read, &missing);
            }
            let set = |list: &[u16]| list.iter().copied().collect::<std::collections::BTreeSet<_>>();
            prop_assert_eq!(set(&read), set(&missing));
        }
    }
}
