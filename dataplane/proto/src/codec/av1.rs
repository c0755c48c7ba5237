//! AV1 (RTP payload format of the Alliance for Open Media, v1.0): the aggregation header and the first OBU.
//!
//! Layers and the beginning of frames are told better by the dependency descriptor, a header extension.

use crate::rtp::wire::u8_at;

/// OBU types (AV1 bitstream specification §6.2.2).
mod obu {
    pub(super) const SEQUENCE_HEADER: u8 = 1;
    pub(super) const TEMPORAL_DELIMITER: u8 = 2;
    pub(super) const FRAME_HEADER: u8 = 3;
    pub(super) const FRAME: u8 = 6;
}

/// The longest size field: leb128 of 32 bits (AV1 bitstream specification §4.10.5).
const MAX_LEB128_LENGTH: usize = 5;

/// The aggregation header (§4.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AggregationHeader {
    /// Z: the first element continues an OBU of the packet before.
    pub continues: bool,
    /// Y: the last element continues in the packet after.
    pub continued: bool,
    /// W: how many elements there are, the last without a size; 0 if each has a size.
    pub elements: u8,
    /// N: a coded video sequence starts here.
    pub new_sequence: bool,
}

impl AggregationHeader {
    /// Reads the first byte of `payload`; `None` if it is empty or says both that a sequence starts and an OBU continues.
    pub fn parse(payload: &[u8]) -> Option<Self> {
        let byte = u8_at(payload, 0)?;
        let header = Self {
            continues: byte & 0x80 != 0,
            continued: byte & 0x40 != 0,
            elements: (byte >> 4) & 3,
            new_sequence: byte & 0x08 != 0,
        };
        // §4.4: if N is 1, Z must be 0.
        (!(header.new_sequence && header.continues)).then_some(header)
    }
}

/// Whether a coded video sequence, and with it a key frame, starts in this packet.
pub fn is_key_frame_start(payload: &[u8]) -> bool {
    let header = AggregationHeader::parse(payload);
    payload.len() > 1 && header.is_some_and(|header| header.new_sequence)
}

/// Whether the packet may be the first of its frame: its first OBU is one with which a frame begins.
pub fn starts_frame(payload: &[u8]) -> bool {
    let begins = [
        obu::SEQUENCE_HEADER,
        obu::TEMPORAL_DELIMITER,
        obu::FRAME_HEADER,
        obu::FRAME,
    ];
    first_obu_type(payload).is_some_and(|kind| begins.contains(&kind))
}

/// The type of the OBU that starts at the beginning of the payload.
fn first_obu_type(payload: &[u8]) -> Option<u8> {
    let header = AggregationHeader::parse(payload)?;
    if header.continues {
        return None;
    }
    let elements = payload.get(1..)?;
    // With W = 1 the only element has no size.
    let size_length = if header.elements == 1 {
        0
    } else {
        leb128_length(elements)?
    };
    let byte = u8_at(elements, size_length)?;
    Some((byte >> 3) & 0x0f)
}

fn leb128_length(bytes: &[u8]) -> Option<usize> {
    let last = bytes
        .iter()
        .take(MAX_LEB128_LENGTH)
        .position(|byte| byte & 0x80 == 0)?;
    last.checked_add(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_sequence_is_a_key_frame() {
        assert!(is_key_frame_start(&[0x18, 0x08, 0]));
        assert!(!is_key_frame_start(&[0x10, 0x08, 0]));
        assert!(
            !is_key_frame_start(&[0x98, 0x08, 0]),
            "N and Z exclude each other"
        );
        assert!(!is_key_frame_start(&[0x18]), "no element");
        let header = AggregationHeader::parse(&[0x68]).unwrap();
        assert!(header.continued && !header.continues);
        assert_eq!(header.elements, 2);
    }

    #[test]
    fn the_first_obu_tells_whether_a_frame_begins() {
        // Frame (6) alone; frame with a size of two bytes; tile group (4); continuation.
        assert!(starts_frame(&[0x10, 6 << 3]));
        assert!(starts_frame(&[0x20, 0x80, 0x01, 6 << 3]));
        assert!(starts_frame(&[0x00, 0x05, 1 << 3]));
        assert!(!starts_frame(&[0x10, 4 << 3]));
        assert!(!starts_frame(&[0x90, 6 << 3]));
        assert!(!starts_frame(&[
            0x00,
            0xff,
            0xff,
            0xff,
            0xff,
            0xff,
            0,
            6 << 3
        ]));
        assert!(!starts_frame(&[0x10]));
    }
}
