//! The dependency descriptor (AV1 RTP specification, appendix A): a header extension that browsers also send with VP8, VP9 and
//! H.264, and beside payloads that only the ends can read.
//!
//! Read are where frames begin and end, which packet brings a structure, and by that structure the temporal layer of a frame
//! and what can be gone over to with it.

use crate::rtp::wire::{u8_at, u16_at};

/// Most templates of a structure: they are numbered with 6 bits (§A.8.2).
const TEMPLATES_MAX: usize = 64;
/// Most decode targets: their number has 5 bits (§A.8.2).
const TARGETS_MAX: usize = 32;
/// The decode target indication "switch" (§A.8.2, table A.1).
const SWITCH: u64 = 2;
/// The one that says that the frame is no part of the target.
const NOT_PRESENT: u64 = 0;

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

/// What a frame is among temporal layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layer {
    /// Its temporal layer, from zero.
    pub temporal: u8,
    /// Whoever has all frames of its layer and those below can go over to this layer with it, if to any.
    pub switches_to: Option<u8>,
}

/// The template structure of an RTP stream (§A.8.2), as far as temporal layers need it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Structure {
    /// The number of the first template.
    offset: u8,
    templates: u8,
    targets: u8,
    temporal: [u8; TEMPLATES_MAX],
    /// Two bits for each decode target, the first one lowest.
    indications: [u64; TEMPLATES_MAX],
    /// The temporal layer of each decode target that has the highest spatial layer.
    levels: [Option<u8>; TARGETS_MAX],
}

impl Default for Structure {
    fn default() -> Self {
        Self::new()
    }
}

impl Structure {
    /// One of which nothing is known.
    pub const fn new() -> Self {
        Self {
            offset: 0,
            templates: 0,
            targets: 0,
            temporal: [0; TEMPLATES_MAX],
            indications: [0; TEMPLATES_MAX],
            levels: [None; TARGETS_MAX],
        }
    }

    /// Takes in the structure that comes with a descriptor. Whether there was one; what is cut short or makes no sense leaves
    /// nothing known.
    pub fn update(&mut self, data: &[u8]) -> bool {
        if !Descriptor::parse(data).is_some_and(|descriptor| descriptor.has_structure) {
            return false;
        }
        match self.read(data) {
            Some(()) => true,
            None => {
                *self = Self::new();
                false
            }
        }
    }

    /// What a descriptor says of its frame; `None` if the structure does not know it.
    pub fn layer(&self, data: &[u8]) -> Option<Layer> {
        let descriptor = Descriptor::parse(data)?;
        let template = descriptor.template.wrapping_sub(self.offset) & 0x3f;
        if template >= self.templates {
            return None;
        }
        let template = usize::from(template);
        let indications = match self.custom(data, descriptor.has_structure) {
            Some(custom) => custom,
            None => *self.indications.get(template)?,
        };
        let levels = self.levels.iter().zip(0..u32::from(self.targets));
        let switches = levels
            .filter(|(_, target)| indication(indications, *target) == SWITCH)
            .filter_map(|(level, _)| *level);
        Some(Layer {
            temporal: *self.temporal.get(template)?,
            switches_to: switches.max(),
        })
    }

    /// The indications that a frame has of its own. With a structure they come too late to be worth reading: it is a key frame.
    fn custom(&self, data: &[u8], has_structure: bool) -> Option<u64> {
        let flags = u8_at(data, 3)?;
        if has_structure || flags & 0x20 == 0 {
            return None;
        }
        let mut bits = Bits::after_flags(data);
        if flags & 0x40 != 0 {
            bits.skip(u32::from(self.targets))?;
        }
        bits.indications(self.targets)
    }

    fn read(&mut self, data: &[u8]) -> Option<()> {
        let mut bits = Bits::after_flags(data);
        *self = Self::new();
        self.offset = bits.take(6)? as u8;
        self.targets = (bits.take(5)? as u8).checked_add(1)?;
        let mut spatial = [0_u8; TEMPLATES_MAX];
        let (mut temporal_id, mut spatial_id) = (0_u8, 0_u8);
        loop {
            let place = usize::from(self.templates);
            *self.temporal.get_mut(place)? = temporal_id;
            *spatial.get_mut(place)? = spatial_id;
            self.templates = self.templates.checked_add(1)?;
            match bits.take(2)? {
                0 => {}
                1 => temporal_id = temporal_id.checked_add(1)?,
                2 => (temporal_id, spatial_id) = (0, spatial_id.checked_add(1)?),
                _ => break,
            }
        }
        for place in 0..usize::from(self.templates) {
            *self.indications.get_mut(place)? = bits.indications(self.targets)?;
        }
        let described = spatial.iter().zip(&self.temporal).zip(&self.indications);
        for (target, level) in (0..u32::from(self.targets)).zip(&mut self.levels) {
            let parts = described
                .clone()
                .take(usize::from(self.templates))
                .filter(|(_, indications)| indication(**indications, target) != NOT_PRESENT);
            let highest = parts.map(|((spatial, temporal), _)| (*spatial, *temporal));
            let (spatial, temporal) =
                highest.fold((0, 0), |all, one| (all.0.max(one.0), all.1.max(one.1)));
            *level = (spatial == spatial_id).then_some(temporal);
        }
        Some(())
    }
}

/// Of the indications of a frame that for one decode target.
fn indication(all: u64, target: u32) -> u64 {
    all.checked_shr(target.saturating_mul(2)).unwrap_or(0) & 3
}

/// Bits, the most significant first.
struct Bits<'a> {
    data: &'a [u8],
    at: u32,
}

impl<'a> Bits<'a> {
    /// Those after the mandatory fields and the five flags (§A.8.2).
    const fn after_flags(data: &'a [u8]) -> Self {
        Self { data, at: 29 }
    }

    fn take(&mut self, count: u32) -> Option<u32> {
        let mut value = 0_u32;
        for _ in 0..count {
            let byte = u8_at(self.data, usize::try_from(self.at / 8).ok()?)?;
            let bit = byte.checked_shr(7_u32.saturating_sub(self.at % 8))? & 1;
            value = value.wrapping_shl(1) | u32::from(bit);
            self.at = self.at.checked_add(1)?;
        }
        Some(value)
    }

    fn skip(&mut self, count: u32) -> Option<()> {
        self.at = self.at.checked_add(count)?;
        Some(())
    }

    /// Two bits for each decode target.
    fn indications(&mut self, targets: u8) -> Option<u64> {
        let mut all = 0;
        for target in 0..u32::from(targets) {
            let one = u64::from(self.take(2)?);
            all |= one.checked_shl(target.saturating_mul(2))?;
        }
        Some(all)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

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

    /// Bits as text, with spaces anywhere, filled up to octets.
    fn bytes(text: &str) -> Vec<u8> {
        let bits: Vec<u8> = text
            .bytes()
            .filter(|byte| *byte != b' ')
            .map(|byte| byte - b'0')
            .collect();
        bits.chunks(8)
            .map(|octet| {
                let value = octet.iter().fold(0, |value, bit| value << 1 | bit);
                value << (8 - octet.len())
            })
            .collect()
    }

    /// One spatial and three temporal layers as in §A.8.2's L1T3: a key frame, then T0, T1 and T2. The structure's first template
    /// has number `offset`.
    fn l1t3(offset: u8) -> Structure {
        // Begin and end of the frame, template, frame number; five flags; offset, two more targets; layers of templates.
        let head = format!("11 {offset:06b} 0000000000000001 10000 {offset:06b} 00010 00 01 01 11");
        // Indications of each template for three targets: SSS, SSS, -DS, --D.
        let structure = bytes(&format!("{head} 101010 101010 000110 000001 0000000000"));
        let mut known = Structure::new();
        assert!(known.update(&structure));
        known
    }

    fn plain(template: u8) -> [u8; 3] {
        [0xc0 | template, 0, 2]
    }

    #[test]
    fn temporal_layers_and_switches_by_templates() {
        for offset in [0, 7, 62] {
            let known = l1t3(offset);
            let layer = |nth: u8| known.layer(&plain((offset + nth) & 0x3f));
            let of = |temporal, switches_to| {
                Some(Layer {
                    temporal,
                    switches_to,
                })
            };
            assert_eq!(layer(0), of(0, Some(2)));
            assert_eq!(layer(1), of(0, Some(2)));
            assert_eq!(layer(2), of(1, Some(2)));
            assert_eq!(layer(3), of(2, None));
            assert_eq!(layer(4), None, "no such template");
        }
        assert_eq!(Structure::new().layer(&plain(0)), None);
    }

    #[test]
    fn a_frame_may_say_otherwise_for_itself() {
        let known = l1t3(0);
        // Its own indications, after a bit for each of three targets that says whether it is active.
        let own = bytes("11 000001 0000000000000010 01100 111 101001");
        assert_eq!(
            known.layer(&own),
            Some(Layer {
                temporal: 0,
                switches_to: Some(1)
            })
        );
    }

    #[test]
    fn what_makes_no_sense_leaves_nothing_known() {
        let mut known = l1t3(0);
        assert!(!known.update(&plain(0)), "no structure");
        assert!(known.layer(&plain(0)).is_some());
        assert!(!known.update(&[0xc0, 0, 1, 0x80, 0, 0]), "cut short");
        assert_eq!(known, Structure::new());
        // Templates without an end.
        let endless = [&[0xc0, 0, 1, 0x80][..], &[0; 100]].concat();
        assert!(!known.update(&endless));
    }

    proptest! {
        #[test]
        fn anything_can_come(packets in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 1..20)) {
            let mut known = Structure::new();
            for packet in &packets {
                known.update(packet);
                if let Some(layer) = known.layer(packet) {
                    prop_assert!(layer.temporal < 64);
                }
            }
        }
    }
}
