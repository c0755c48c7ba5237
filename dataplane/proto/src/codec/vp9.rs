//! VP9 (RFC 9628): the payload descriptor.

use crate::rtp::wire::{u8_at, u16_at};

/// The most reference indices in flexible mode (RFC 9628 §4.2).
const MAX_REFERENCES: usize = 3;

/// The payload descriptor (RFC 9628 §4.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Descriptor {
    /// I, with the number: counts pictures, in 7 or 15 bits.
    pub picture_id: Option<u16>,
    /// P: the frame depends on earlier pictures.
    pub inter_picture: bool,
    /// F: flexible mode.
    pub flexible: bool,
    /// B: a frame of a layer starts here.
    pub starts_frame: bool,
    /// E: a frame of a layer ends here.
    pub ends_frame: bool,
    /// V: the scalability structure is in this packet.
    pub has_structure: bool,
    /// Z: no frame of a higher spatial layer depends on this one.
    pub not_reference_for_upper: bool,
    /// L: which layer.
    pub layer: Option<Layer>,
    /// TL0PICIDX: counts the pictures of the lowest temporal layer; in non-flexible mode only.
    pub tl0_picture_index: Option<u8>,
    length: u8,
}

/// The layer of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layer {
    /// TID: 0 is the lowest, 3 bits.
    pub temporal: u8,
    /// SID: 0 is the lowest, 3 bits.
    pub spatial: u8,
    /// U: a receiver may switch up to this temporal layer here.
    pub switching_up: bool,
    /// D: the frame depends on the spatial layer below.
    pub inter_layer: bool,
}

impl Descriptor {
    /// Reads the descriptor at the start of `payload`. `None` if it is cut short or breaks a rule.
    pub fn parse(payload: &[u8]) -> Option<Self> {
        let flags = u8_at(payload, 0)?;
        let mut descriptor = Self {
            inter_picture: flags & 0x40 != 0,
            flexible: flags & 0x10 != 0,
            starts_frame: flags & 0x08 != 0,
            ends_frame: flags & 0x04 != 0,
            has_structure: flags & 0x02 != 0,
            not_reference_for_upper: flags & 0x01 != 0,
            ..Self::default()
        };
        let mut at = 1_usize;
        if flags & 0x80 != 0 {
            at = at.checked_add(descriptor.parse_picture_id(payload, at)?)?;
        }
        if flags & 0x20 != 0 {
            at = at.checked_add(descriptor.parse_layer(payload, at)?)?;
        }
        if descriptor.flexible && descriptor.inter_picture {
            at = at.checked_add(references_length(payload, at)?)?;
        }
        if descriptor.has_structure {
            at = at.checked_add(structure_length(payload, at)?)?;
        }
        payload.get(..at)?;
        descriptor.length = u8::try_from(at).ok()?;
        Some(descriptor)
    }

    /// How long the descriptor is on the wire.
    #[expect(
        clippy::len_without_is_empty,
        reason = "a descriptor is at least one byte"
    )]
    pub fn len(&self) -> usize {
        usize::from(self.length)
    }

    /// Whether the packet is the first of its picture: a frame of the lowest spatial layer starts here.
    pub const fn starts_picture(&self) -> bool {
        let lowest = match self.layer {
            Some(layer) => layer.spatial == 0,
            None => true,
        };
        self.starts_frame && lowest
    }

    fn parse_picture_id(&mut self, payload: &[u8], at: usize) -> Option<usize> {
        let byte = u8_at(payload, at)?;
        if byte & 0x80 == 0 {
            self.picture_id = Some(u16::from(byte));
            return Some(1);
        }
        self.picture_id = Some(u16_at(payload, at)? & 0x7fff);
        Some(2)
    }

    fn parse_layer(&mut self, payload: &[u8], at: usize) -> Option<usize> {
        let byte = u8_at(payload, at)?;
        self.layer = Some(Layer {
            temporal: byte >> 5,
            switching_up: byte & 0x10 != 0,
            spatial: (byte >> 1) & 7,
            inter_layer: byte & 1 != 0,
        });
        if self.flexible {
            return Some(1);
        }
        self.tl0_picture_index = Some(u8_at(payload, at.checked_add(1)?)?);
        Some(2)
    }
}

/// The length of the reference indices: the lowest bit says whether another follows.
fn references_length(payload: &[u8], at: usize) -> Option<usize> {
    let list = payload.get(at..)?;
    let last = list
        .iter()
        .take(MAX_REFERENCES)
        .position(|byte| byte & 1 == 0)?;
    last.checked_add(1)
}

/// The length of the scalability structure (RFC 9628 §4.2.1).
fn structure_length(payload: &[u8], at: usize) -> Option<usize> {
    let first = u8_at(payload, at)?;
    let mut length = 1_usize;
    if first & 0x10 != 0 {
        // Width and height of each spatial layer, 16 bits each.
        let layers = usize::from(first >> 5).checked_add(1)?;
        length = length.checked_add(layers.checked_mul(4)?)?;
    }
    if first & 0x08 != 0 {
        let pictures = u8_at(payload, at.checked_add(length)?)?;
        length = length.checked_add(1)?;
        for _ in 0..pictures {
            let picture = u8_at(payload, at.checked_add(length)?)?;
            let references = usize::from((picture >> 2) & 3);
            length = length.checked_add(1)?.checked_add(references)?;
        }
    }
    Some(length)
}

/// Whether a key picture starts in this packet: its lowest spatial layer, which depends on nothing.
pub fn is_key_frame_start(payload: &[u8]) -> bool {
    Descriptor::parse(payload).is_some_and(|d| d.starts_picture() && !d.inter_picture)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn non_flexible_with_layers() {
        let payload = [0x80 | 0x20 | 0x08 | 0x04, 0x92, 0x34, 0x36, 0x77, 1];
        let descriptor = Descriptor::parse(&payload).unwrap();
        assert_eq!(descriptor.picture_id, Some(0x1234));
        let layer = Layer {
            temporal: 1,
            spatial: 3,
            switching_up: true,
            inter_layer: false,
        };
        assert_eq!(descriptor.layer, Some(layer));
        assert_eq!(descriptor.tl0_picture_index, Some(0x77));
        assert!(descriptor.starts_frame && descriptor.ends_frame && !descriptor.starts_picture());
        assert_eq!(descriptor.len(), 5);
        assert!(
            !is_key_frame_start(&payload),
            "not the lowest spatial layer"
        );
        for length in 0..5 {
            assert_eq!(Descriptor::parse(&payload[..length]), None);
        }
    }

    #[test]
    fn key_frame_is_the_lowest_layer_without_dependency() {
        assert!(is_key_frame_start(&[0x88, 5, 0]));
        assert!(!is_key_frame_start(&[0xc8, 5, 0]), "inter-picture");
        assert!(!is_key_frame_start(&[0x80, 5, 0]), "not the first packet");
        assert!(is_key_frame_start(&[0xa8, 5, 0x00, 1, 0]), "layer 0");
        assert!(!is_key_frame_start(&[0xa8, 5, 0x02, 1, 0]), "layer 1");
    }

    #[test]
    fn flexible_mode_has_references() {
        let two = Descriptor::parse(&[0x80 | 0x40 | 0x20 | 0x10, 5, 0, 0x03, 0x04]).unwrap();
        assert_eq!((two.len(), two.tl0_picture_index), (5, None));
        assert_eq!(
            Descriptor::parse(&[0xd0, 5, 1, 1, 1, 0]),
            None,
            "four references"
        );
        assert_eq!(Descriptor::parse(&[0xd0, 5, 1]), None);
    }

    #[test]
    fn structure_is_measured() {
        // Two spatial layers with resolutions, two pictures with one and two references.
        let payload = [
            0x0a, 0x38, 1, 64, 0, 180, 2, 128, 1, 104, 2, 0x04, 1, 0x08, 1, 2, 0xff,
        ];
        let descriptor = Descriptor::parse(&payload).unwrap();
        assert_eq!(descriptor.len(), payload.len() - 1);
        for length in 0..payload.len() - 1 {
            assert_eq!(Descriptor::parse(&payload[..length]), None);
        }
        // The longest there can be does not fit the type of a length, and no packet either.
        let mut long = vec![0x0a, 0x08, 255];
        long.extend(core::iter::repeat_n([0x0c, 1, 1, 1], 255).flatten());
        assert_eq!(Descriptor::parse(&long), None);
    }
}
