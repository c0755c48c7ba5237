//! H.264 (RFC 6184): the types of the NAL units in a payload.

use crate::rtp::wire::{u8_at, u16_at};

/// NAL unit types (RFC 6184 §5.2, ITU-T H.264 table 7-1).
mod nal {
    pub(super) const SLICE: u8 = 1;
    pub(super) const IDR: u8 = 5;
    pub(super) const SEI: u8 = 6;
    pub(super) const SPS: u8 = 7;
    pub(super) const PPS: u8 = 8;
    pub(super) const DELIMITER: u8 = 9;
    pub(super) const STAP_A: u8 = 24;
    pub(super) const FU_A: u8 = 28;
}

/// A NAL unit that starts in a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unit<'a> {
    /// Its type, 5 bits.
    pub kind: u8,
    /// Its bytes after the NAL header, as far as they are in the payload.
    pub data: &'a [u8],
}

/// The NAL units that start in a payload: a single one, those of a STAP-A, or that of a first FU-A.
///
/// Other packetizations (STAP-B, MTAP, FU-B) are for the interleaved mode, which no browser offers.
#[derive(Clone, Debug)]
pub struct Units<'a> {
    rest: Rest<'a>,
}

#[derive(Clone, Debug)]
enum Rest<'a> {
    One(Unit<'a>),
    Aggregated(&'a [u8]),
    Nothing,
}

/// Iterates over the NAL units that start in `payload`.
pub fn units(payload: &[u8]) -> Units<'_> {
    Units {
        rest: classify(payload).unwrap_or(Rest::Nothing),
    }
}

fn classify(payload: &[u8]) -> Option<Rest<'_>> {
    let kind = u8_at(payload, 0)? & 0x1f;
    match kind {
        1..=23 => Some(Rest::One(Unit {
            kind,
            data: payload.get(1..)?,
        })),
        nal::STAP_A => Some(Rest::Aggregated(payload.get(1..)?)),
        nal::FU_A => {
            let header = u8_at(payload, 1)?;
            let starts = header & 0x80 != 0;
            starts.then_some(Rest::One(Unit {
                kind: header & 0x1f,
                data: payload.get(2..)?,
            }))
        }
        _ => None,
    }
}

impl<'a> Iterator for Units<'a> {
    type Item = Unit<'a>;

    fn next(&mut self) -> Option<Unit<'a>> {
        match self.rest {
            Rest::Nothing => None,
            Rest::One(unit) => {
                self.rest = Rest::Nothing;
                Some(unit)
            }
            Rest::Aggregated(bytes) => {
                self.rest = Rest::Nothing;
                let length = usize::from(u16_at(bytes, 0)?);
                let (unit, after) = bytes.get(2..)?.split_at_checked(length)?;
                let (&header, data) = unit.split_first()?;
                self.rest = Rest::Aggregated(after);
                Some(Unit {
                    kind: header & 0x1f,
                    data,
                })
            }
        }
    }
}

/// Whether a key frame starts in this packet: an IDR picture, or the sequence parameters that precede it.
///
/// Parameters and picture may be packets of their own with the same timestamp, so two packets of a frame may say so.
pub fn is_key_frame_start(payload: &[u8]) -> bool {
    units(payload).any(|unit| match unit.kind {
        nal::SPS => true,
        nal::IDR => is_first_slice(&unit),
        _ => false,
    })
}

/// Whether the packet may be the first of its frame: it has the first slice, or what comes before one.
pub fn starts_frame(payload: &[u8]) -> bool {
    units(payload).next().is_some_and(|unit| match unit.kind {
        nal::SEI | nal::SPS | nal::PPS | nal::DELIMITER => true,
        nal::SLICE | nal::IDR => is_first_slice(&unit),
        _ => false,
    })
}

/// `first_mb_in_slice` is 0: in Exp-Golomb code a single 1 bit (ITU-T H.264 §7.3.3).
fn is_first_slice(unit: &Unit<'_>) -> bool {
    u8_at(unit.data, 0).is_some_and(|byte| byte & 0x80 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn single_units() {
        assert!(is_key_frame_start(&[0x67, 0x42]));
        assert!(is_key_frame_start(&[0x65, 0x88]));
        assert!(!is_key_frame_start(&[0x65, 0x08]), "a later slice");
        assert!(!is_key_frame_start(&[0x61, 0x88]));
        assert!(starts_frame(&[0x61, 0x88]) && !starts_frame(&[0x61, 0x08]));
        assert!(starts_frame(&[0x06, 5]) && starts_frame(&[0x09, 5]));
        assert!(!starts_frame(&[0x0c, 0xff]), "filler data");
    }

    #[test]
    fn aggregated_units() {
        let payload = [0x78, 0, 2, 0x67, 0x42, 0, 1, 0x68, 0, 2, 0x65, 0x88];
        let kinds: Vec<u8> = units(&payload).map(|unit| unit.kind).collect();
        assert_eq!(kinds, [7, 8, 5]);
        assert!(is_key_frame_start(&payload));
        assert!(!is_key_frame_start(&[0x78, 0, 1, 0x68]));
        assert_eq!(units(&payload[..4]).count(), 0, "cut short");
        assert_eq!(units(&[0x78, 0, 0, 0, 1, 0x68]).count(), 0, "an empty unit");
    }

    #[test]
    fn fragmented_units() {
        assert!(is_key_frame_start(&[0x7c, 0x85, 0x88]));
        assert!(
            !is_key_frame_start(&[0x7c, 0x05, 0x88]),
            "not the first fragment"
        );
        assert!(!is_key_frame_start(&[0x7c, 0x81, 0x88]));
        assert!(starts_frame(&[0x7c, 0x81, 0x88]) && !starts_frame(&[0x7c, 0x41, 0x88]));
        assert_eq!(units(&[0x7c]).count(), 0);
        assert_eq!(units(&[0x79, 1, 2]).count(), 0, "STAP-B");
    }
}
