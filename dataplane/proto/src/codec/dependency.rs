//! The dependency descriptor (AV1 RTP specification, appendix A): a header extension that browsers also send with VP8.
//!
//! Only what needs no memory of earlier packets is read: where frames begin and end, and which packet brings a structure.

use crate::rtp::wire::{u8_at, u16_at};

/// The fields that every descriptor has (§A.8.2), and the first flag of those that it may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Descriptor {
    /// The packet is the first of its frame.
    pub starts_frame: bool,
    /// The packet is the last of its frame.
    pub ends_frame: bool,
    /// Which template of the structure describes the frame, 6 bits.
    pub template: u8,
    /// Counts frames of all layers.
    pub frame: u16,
    /// A template structure comes with it: on the first packet of a key frame (§A.4).
    pub has_structure: bool,
}

impl Descriptor {
    /// From the value of [`crate::rtp::Uri::DependencyDescriptor`]; `None` if it is cut short.
    pub fn parse(data: &[u8]) -> Option<Self> {
        let first = u8_at(data, 0)?;
        Some(Self {
            starts_frame: first & 0x80 != 0,
            ends_frame: first & 0x40 != 0,
            template: first & 0x3f,
            frame: u16_at(data, 1)?,
            has_structure: u8_at(data, 3).is_some_and(|flags| flags & 0x80 != 0),
        })
    }

    /// Whether a receiver can begin to decode with this packet.
    pub const fn is_key_frame_start(&self) -> bool {
        self.starts_frame && self.has_structure
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mandatory_fields_and_the_structure() {
        let plain = Descriptor::parse(&[0x40 | 5, 0x12, 0x34]).unwrap();
        assert_eq!((plain.template, plain.frame), (5, 0x1234));
        assert!(plain.ends_frame && !plain.starts_frame && !plain.has_structure);
        let key = Descriptor::parse(&[0x80, 0, 1, 0x80, 0]).unwrap();
        assert!(key.is_key_frame_start());
        let flags = Descriptor::parse(&[0x80, 0, 1, 0x40]).unwrap();
        assert!(!flags.is_key_frame_start());
        assert_eq!(Descriptor::parse(&[0x80, 0]), None);
    }
}
