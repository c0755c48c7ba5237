//! What the dependency descriptors of an RTP stream mean: the template structure that came last, read once for all subscribers.

use clock::{Duration, Instant};
use proto::codec::dependency::{Descriptor, Layer, Structure};

/// Octets before those that tell of the structure: the mandatory fields (AV1 RTP specification, §A.8.2), other in each packet.
const MANDATORY: usize = 3;
/// A header extension is no longer than that (RFC 8285 §4.3).
const ELEMENT_MAX: usize = 255;
/// Structures change when a picture changes its size or its layers, which encoders do now and then. Reading one takes
/// microseconds, so that not each packet may bring another: a few at once, and so many a second.
const CHANGES_AT_ONCE: u32 = 4;
const CHANGE_INTERVAL: Duration = Duration::from_millis(250);

/// What is known of one RTP stream. All its memory is part of it, about a kilobyte.
#[derive(Debug)]
pub(crate) struct Templates {
    structure: Structure,
    /// What it was read from, without the mandatory fields, and how long that is.
    bytes: [u8; ELEMENT_MAX],
    len: u8,
    /// It holds from this packet on.
    since: Option<u64>,
    /// Structures that changed lately are paid for by then.
    paid: Instant,
}

/// What a packet brought is not looked at: the structure changes too often. Until the next nothing is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Flood;

impl Templates {
    /// By what nobody has said anything yet.
    pub(crate) fn new() -> Self {
        Self {
            structure: Structure::new(),
            bytes: [0; ELEMENT_MAX],
            len: 0,
            since: None,
            paid: Instant::ZERO,
        }
    }

    /// Another RTP stream takes the place of the one before. How often structures came is not forgotten.
    pub(crate) fn forget(&mut self) {
        self.structure = Structure::new();
        (self.len, self.since) = (0, None);
    }

    /// The layer of a packet with that descriptor, as far as it is known.
    pub(crate) fn on_packet(
        &mut self,
        now: Instant,
        sequence: u64,
        data: &[u8],
    ) -> Result<Option<Layer>, Flood> {
        // The templates of one that came late may be those of the structure before.
        if self.since.is_some_and(|since| sequence < since) {
            return Ok(None);
        }
        if Descriptor::parse(data).is_some_and(|descriptor| descriptor.has_structure) {
            self.learn(now, sequence, data)?;
        }
        Ok(self.structure.layer(data))
    }

    fn learn(&mut self, now: Instant, sequence: u64, data: &[u8]) -> Result<(), Flood> {
        let told = &data[MANDATORY..];
        if self.since.is_some() && self.bytes[..usize::from(self.len)] == *told {
            return Ok(());
        }
        self.forget();
        self.since = Some(sequence);
        if self.paid > now + CHANGE_INTERVAL * (CHANGES_AT_ONCE - 1) {
            return Err(Flood);
        }
        self.paid = self.paid.max(now) + CHANGE_INTERVAL;
        self.bytes[..told.len()].copy_from_slice(told);
        self.len = told.len() as u8;
        self.structure.update(data);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A key frame, then the nth template; see `tests/engine/described.rs`.
    const STRUCTURE: [u8; 9] = [0xc5, 0, 0, 0x80, 0xa2, 0x17, 0xaa, 0xa1, 0x81];
    const T2: [u8; 3] = [0xc8, 0, 1];

    fn temporal(layer: Result<Option<Layer>, Flood>) -> Option<u8> {
        layer.unwrap().map(|layer| layer.temporal)
    }

    #[test]
    fn a_structure_holds_from_its_packet_on() {
        let (mut templates, now) = (Templates::new(), Instant::from_millis(5));
        assert_eq!(temporal(templates.on_packet(now, 9, &T2)), None);
        assert_eq!(temporal(templates.on_packet(now, 10, &STRUCTURE)), Some(0));
        assert_eq!(temporal(templates.on_packet(now, 11, &T2)), Some(2));
        assert_eq!(temporal(templates.on_packet(now, 9, &T2)), None, "late");
        let mut late = STRUCTURE;
        late[4] ^= 0x40;
        assert_eq!(temporal(templates.on_packet(now, 8, &late)), None);
        assert_eq!(temporal(templates.on_packet(now, 12, &T2)), Some(2));
        templates.forget();
        assert_eq!(temporal(templates.on_packet(now, 13, &T2)), None);
    }

    #[test]
    fn the_same_structure_may_come_as_often_as_it_likes_and_others_may_not() {
        let (mut templates, now) = (Templates::new(), Instant::from_millis(5));
        let with = |nth: u8| {
            let mut data = STRUCTURE;
            data[8] ^= nth;
            data
        };
        for nth in 0..1_000 {
            assert!(templates.on_packet(now, nth, &STRUCTURE).is_ok());
        }
        let taken = (1_u8..100).filter(|nth| {
            let sequence = 1_000 + u64::from(*nth);
            templates.on_packet(now, sequence, &with(*nth)).is_ok()
        });
        assert_eq!(taken.count(), CHANGES_AT_ONCE as usize - 1);
        assert_eq!(temporal(templates.on_packet(now, 1_200, &T2)), None);
        let later = now + CHANGE_INTERVAL * 2;
        assert!(templates.on_packet(later, 1_201, &STRUCTURE).is_ok());
        assert_eq!(temporal(templates.on_packet(later, 1_202, &T2)), Some(2));
    }
}
