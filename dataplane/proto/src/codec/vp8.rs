//! VP8 (RFC 7741): the payload descriptor, and the first bytes of the payload header.

use crate::rtp::wire::{Cursor, u8_at, u16_at};

/// The longest payload descriptor (RFC 7741 §4.2).
pub const MAX_DESCRIPTOR_LENGTH: usize = 6;

/// The payload descriptor (RFC 7741 §4.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Descriptor {
    /// N: no other frame depends on this one.
    pub non_reference: bool,
    /// S: a partition starts here.
    pub starts_partition: bool,
    /// PID: which partition.
    pub partition: u8,
    /// Counts pictures.
    pub picture_id: Option<PictureId>,
    /// TL0PICIDX: counts the pictures of the lowest temporal layer.
    pub tl0_picture_index: Option<u8>,
    /// The temporal layer.
    pub temporal: Option<Temporal>,
    /// KEYIDX: counts key frames, 5 bits.
    pub key_index: Option<u8>,
    length: u8,
}

/// A picture id and its width on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PictureId {
    /// 7 bits.
    Short(u8),
    /// 15 bits.
    Long(u16),
}

impl PictureId {
    /// The number, without its width.
    pub const fn value(self) -> u16 {
        match self {
            Self::Short(value) => value as u16,
            Self::Long(value) => value,
        }
    }

    /// `value` in as many bits as this one.
    pub const fn with_value(self, value: u16) -> Self {
        match self {
            Self::Short(_) => Self::Short((value & 0x7f) as u8),
            Self::Long(_) => Self::Long(value & 0x7fff),
        }
    }
}

/// The temporal layer of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Temporal {
    /// TID: 0 is the lowest layer, 2 bits.
    pub id: u8,
    /// Y: it depends on layer 0 only, so that a receiver may switch up to it here.
    pub layer_sync: bool,
}

impl Descriptor {
    /// Reads the descriptor at the start of `payload`. `None` if it is cut short.
    pub fn parse(payload: &[u8]) -> Option<Self> {
        let first = u8_at(payload, 0)?;
        let mut descriptor = Self {
            non_reference: first & 0x20 != 0,
            starts_partition: first & 0x10 != 0,
            partition: first & 0x07,
            length: 1,
            ..Self::default()
        };
        if first & 0x80 != 0 {
            descriptor.parse_extensions(payload)?;
        }
        Some(descriptor)
    }

    fn parse_extensions(&mut self, payload: &[u8]) -> Option<()> {
        let flags = u8_at(payload, 1)?;
        let mut at = 2_usize;
        if flags & 0x80 != 0 {
            let byte = u8_at(payload, at)?;
            let long = byte & 0x80 != 0;
            self.picture_id = Some(if long {
                PictureId::Long(u16_at(payload, at)? & 0x7fff)
            } else {
                PictureId::Short(byte)
            });
            at = at.checked_add(if long { 2 } else { 1 })?;
        }
        if flags & 0x40 != 0 {
            self.tl0_picture_index = Some(u8_at(payload, at)?);
            at = at.checked_add(1)?;
        }
        if flags & 0x30 != 0 {
            let byte = u8_at(payload, at)?;
            // One byte holds both; each part counts only if its own flag is set.
            self.temporal = (flags & 0x20 != 0).then_some(Temporal {
                id: byte >> 6,
                layer_sync: byte & 0x20 != 0,
            });
            self.key_index = (flags & 0x10 != 0).then_some(byte & 0x1f);
            at = at.checked_add(1)?;
        }
        self.length = u8::try_from(at).ok()?;
        Some(())
    }

    /// How long the descriptor was on the wire.
    #[expect(
        clippy::len_without_is_empty,
        reason = "a descriptor is at least one byte"
    )]
    pub fn len(&self) -> usize {
        usize::from(self.length)
    }

    /// Whether the packet is the first of its frame: partition 0 starts here (RFC 7741 §4.4).
    pub const fn starts_frame(&self) -> bool {
        self.starts_partition && self.partition == 0
    }

    /// Writes the descriptor to the start of `out` and returns its length; `None` if it does not fit.
    ///
    /// This is how a forwarder changes a picture id: it sends the new descriptor before the rest of the payload.
    pub fn write(&self, out: &mut [u8]) -> Option<usize> {
        let mut cursor = Cursor::new(out);
        let flags = (u8::from(self.picture_id.is_some()) << 7)
            | (u8::from(self.tl0_picture_index.is_some()) << 6)
            | (u8::from(self.temporal.is_some()) << 5)
            | (u8::from(self.key_index.is_some()) << 4);
        let first = (u8::from(self.non_reference) << 5)
            | (u8::from(self.starts_partition) << 4)
            | (self.partition & 0x07);
        // An extended descriptor may have said nothing; then it had two bytes, which are kept.
        if flags == 0 && self.length < 2 {
            cursor.u8(first)?;
            return Some(cursor.used());
        }
        cursor.u8(first | 0x80)?;
        cursor.u8(flags)?;
        match self.picture_id {
            None => {}
            Some(PictureId::Short(value)) => cursor.u8(value & 0x7f)?,
            Some(PictureId::Long(value)) => cursor.u16(value | 0x8000)?,
        }
        if let Some(index) = self.tl0_picture_index {
            cursor.u8(index)?;
        }
        if self.temporal.is_some() || self.key_index.is_some() {
            let temporal = self.temporal.map_or(0, |temporal| {
                ((temporal.id & 3) << 6) | (u8::from(temporal.layer_sync) << 5)
            });
            cursor.u8(temporal | (self.key_index.unwrap_or(0) & 0x1f))?;
        }
        Some(cursor.used())
    }
}

/// Whether a key frame starts in this packet: the P bit of the payload header is 0 (RFC 7741 §4.3).
pub fn is_key_frame_start(payload: &[u8]) -> bool {
    let Some(descriptor) = Descriptor::parse(payload) else {
        return false;
    };
    let header = u8_at(payload, descriptor.len());
    descriptor.starts_frame() && header.is_some_and(|byte| byte & 1 == 0)
}

/// Width and height in pixels, from the packet in which a key frame starts (RFC 6386 §9.1).
pub fn dimensions(payload: &[u8]) -> Option<(u16, u16)> {
    if !is_key_frame_start(payload) {
        return None;
    }
    let frame = payload.get(Descriptor::parse(payload)?.len()..)?;
    // Three bytes of frame tag, the start code, then both little-endian with two bits of scaling on top.
    if frame.get(3..6)? != [0x9d, 0x01, 0x2a] {
        return None;
    }
    let width = u16_at(frame, 6)?.swap_bytes() & 0x3fff;
    let height = u16_at(frame, 8)?.swap_bytes() & 0x3fff;
    Some((width, height))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn descriptors_of_the_rfc() {
        // RFC 7741 §4.6.1 to §4.6.4.
        let simple = Descriptor::parse(&[0x10, 0]).unwrap();
        assert!(simple.starts_frame() && simple.len() == 1);
        assert!(is_key_frame_start(&[0x10, 0]) && !is_key_frame_start(&[0x10, 1]));

        let partition = Descriptor::parse(&[0x81, 0x80, 0x81, 0, 1]).unwrap();
        assert!(!partition.starts_partition);
        assert_eq!(partition.picture_id, Some(PictureId::Long(256)));
        assert_eq!((partition.len(), partition.partition), (4, 1));

        let short = Descriptor::parse(&[0x90, 0x80, 0x11, 0]).unwrap();
        assert_eq!(short.picture_id, Some(PictureId::Short(17)));
        assert_eq!(short.len(), 3);
    }

    #[test]
    fn all_fields_at_once() {
        let payload = [0xb0, 0xf0, 0x92, 0x34, 0x56, 0xa7, 0];
        let descriptor = Descriptor::parse(&payload).unwrap();
        assert!(descriptor.non_reference);
        assert_eq!(descriptor.picture_id.map(PictureId::value), Some(0x1234));
        assert_eq!(descriptor.tl0_picture_index, Some(0x56));
        let temporal = Temporal {
            id: 2,
            layer_sync: true,
        };
        assert_eq!(
            (descriptor.temporal, descriptor.key_index),
            (Some(temporal), Some(7))
        );
        assert_eq!(descriptor.len(), MAX_DESCRIPTOR_LENGTH);
        assert!(is_key_frame_start(&payload));
        for length in 0..6 {
            assert_eq!(Descriptor::parse(&payload[..length]), None);
        }
        assert!(
            !is_key_frame_start(&payload[..6]),
            "the payload header is missing"
        );
    }

    #[test]
    fn a_picture_id_keeps_its_width() {
        assert_eq!(
            PictureId::Short(1).with_value(0x1ff),
            PictureId::Short(0x7f)
        );
        assert_eq!(
            PictureId::Long(1).with_value(0xffff),
            PictureId::Long(0x7fff)
        );
    }

    #[test]
    fn dimensions_of_a_key_frame() {
        let payload = [0x10, 0x10, 2, 0, 0x9d, 1, 0x2a, 0x80, 0x42, 0xe0, 0x01];
        assert_eq!(dimensions(&payload), Some((640, 480)));
        assert_eq!(dimensions(&payload[..10]), None);
        let delta = [0x10, 0x11, 2, 0, 0x9d, 1, 0x2a, 0x80, 0x42, 0xe0, 0x01];
        assert_eq!(dimensions(&delta), None);
    }

    proptest! {
        #[test]
        fn writing_gives_the_bytes_that_were_read(bytes in prop::collection::vec(any::<u8>(), 0..12)) {
            let Some(descriptor) = Descriptor::parse(&bytes) else {
                return Ok(());
            };
            let mut out = [0; MAX_DESCRIPTOR_LENGTH];
            prop_assert_eq!(descriptor.write(&mut out), Some(descriptor.len()));
            let again = Descriptor::parse(&out).unwrap();
            prop_assert_eq!(again, descriptor);
            prop_assert!(descriptor.write(&mut out[..descriptor.len() - 1]).is_none());
        }
    }
}
