//! Retransmission in an RTP stream of its own (RFC 4588).
//!
//! The payload of a retransmission is the original sequence number (OSN) followed by the original payload. Chromium
//! sends padding without an OSN in the same RTP stream, to probe the path; a receiver tells the two apart by length.

use core::ops::Range;

use crate::rtp::{Header, Malformed};

/// How many bytes an original sequence number puts before the payload (RFC 4588 §4).
pub const PREFIX_LENGTH: usize = 2;

/// What a packet of an RTX stream holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Retransmission {
    /// Only padding, if anything: a probe. It has no original.
    Probe,
    /// A packet of the original RTP stream.
    Original {
        /// Its sequence number there.
        sequence: u16,
        /// Where its payload lies in the retransmission.
        payload: Range<usize>,
    },
}

/// Reads the decrypted `packet` of an RTX stream, whose header is `header`.
///
/// # Errors
/// [`Malformed`] if the padding is wrong or the payload has one byte only.
pub fn unwrap(header: &Header, packet: &[u8]) -> Result<Retransmission, Malformed> {
    let range = header.payload_range(packet)?;
    let payload = packet.get(range.clone()).unwrap_or_default();
    if payload.is_empty() {
        return Ok(Retransmission::Probe);
    }
    let (prefix, _) = payload
        .split_first_chunk()
        .ok_or(Malformed::Retransmission)?;
    Ok(Retransmission::Original {
        sequence: u16::from_be_bytes(*prefix),
        payload: range.start.saturating_add(PREFIX_LENGTH)..range.end,
    })
}

/// Turns a retransmission into its original in place: the header moves up over the OSN, and gets the original's SSRC,
/// payload type and sequence number. Returns where the original starts: two bytes later than `packet`.
///
/// `None` if the packet has no OSN.
pub fn restore(
    packet: &mut [u8],
    header: &Header,
    ssrc: u32,
    payload_type: u8,
    sequence: u16,
) -> Option<usize> {
    let end = header.len().checked_add(PREFIX_LENGTH)?;
    packet.get(..end)?;
    packet.copy_within(..header.len(), PREFIX_LENGTH);
    let moved = packet.get_mut(PREFIX_LENGTH..end)?;
    let second = moved.get_mut(1)?;
    *second = (*second & 0x80) | (payload_type & 0x7f);
    moved
        .get_mut(2..4)?
        .copy_from_slice(&sequence.to_be_bytes());
    moved.get_mut(8..12)?.copy_from_slice(&ssrc.to_be_bytes());
    Some(PREFIX_LENGTH)
}

/// What is put before the payload of packet `sequence` to retransmit it.
pub const fn prefix(sequence: u16) -> [u8; PREFIX_LENGTH] {
    sequence.to_be_bytes()
}

/// Which payload type an RTX payload type repairs: the `apt` parameter (RFC 4588 §8.6), both ways.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AssociatedTypes {
    /// By RTX payload type: the original's, or `NONE`.
    originals: [u8; 128],
}

const NONE: u8 = 0xff;

impl Default for AssociatedTypes {
    fn default() -> Self {
        Self {
            originals: [NONE; 128],
        }
    }
}

impl AssociatedTypes {
    /// An empty table.
    pub fn new() -> Self {
        Self::default()
    }

    /// Notes `a=fmtp:rtx apt=original`. Payload types above 127 do not exist and are ignored.
    pub fn insert(&mut self, rtx: u8, original: u8) {
        if let Some(slot) = self.originals.get_mut(usize::from(rtx)) {
            *slot = if original < 128 { original } else { NONE };
        }
    }

    /// The payload type that `rtx` repairs; `None` if `rtx` is not an RTX payload type.
    pub fn original(&self, rtx: u8) -> Option<u8> {
        let original = self.originals.get(usize::from(rtx)).copied()?;
        (original != NONE).then_some(original)
    }

    /// The payload type that repairs `original`.
    pub fn rtx(&self, original: u8) -> Option<u8> {
        let position = self.originals.iter().position(|&o| o == original)?;
        let rtx = u8::try_from(position).ok()?;
        (original != NONE).then_some(rtx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rtp::{Element, Fields, write_header};

    fn packet(padding: bool, payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; 64];
        let fields = Fields {
            marker: true,
            padding,
            payload_type: 97,
            sequence: 9,
            timestamp: 3000,
            ssrc: 22,
        };
        let length = write_header(&mut bytes, &fields, &[Element::new(11, b"q")]).unwrap();
        bytes.truncate(length);
        bytes.extend(payload);
        bytes
    }

    #[test]
    fn tells_probes_from_retransmissions() {
        let read = |bytes: &[u8]| unwrap(&Header::parse(bytes).unwrap(), bytes);
        assert_eq!(read(&packet(false, &[])), Ok(Retransmission::Probe));
        assert_eq!(read(&packet(true, &[0, 0, 3])), Ok(Retransmission::Probe));
        assert_eq!(read(&packet(false, &[1])), Err(Malformed::Retransmission));
        assert_eq!(read(&packet(true, &[1, 9])), Err(Malformed::Padding));
        let original = read(&packet(false, &[0x12, 0x34, 7, 8]));
        assert_eq!(
            original,
            Ok(Retransmission::Original {
                sequence: 0x1234,
                payload: 22..24
            })
        );
    }

    #[test]
    fn restores_the_original_in_place() {
        let mut bytes = packet(false, &[0x12, 0x34, 7, 8]);
        let header = Header::parse(&bytes).unwrap();
        let start = restore(&mut bytes, &header, 11, 96, 0x1234).unwrap();
        let original = Header::parse(&bytes[start..]).unwrap();
        assert_eq!((original.ssrc, original.payload_type), (11, 96));
        assert_eq!((original.sequence, original.timestamp), (0x1234, 3000));
        assert!(original.marker);
        let payload = original.payload_range(&bytes[start..]).unwrap();
        assert_eq!(bytes[start..][payload], [7, 8]);
        assert_eq!(
            original.extensions(&bytes[start..]).find(11),
            Some(&b"q"[..])
        );
        assert_eq!(prefix(0x1234), [0x12, 0x34]);
        let mut short = packet(false, &[1]);
        let header = Header::parse(&short).unwrap();
        assert_eq!(restore(&mut short, &header, 1, 1, 1), None);
    }

    #[test]
    fn associated_payload_types() {
        let mut types = AssociatedTypes::new();
        types.insert(97, 96);
        types.insert(200, 96);
        types.insert(99, 200);
        assert_eq!(types.original(97), Some(96));
        assert_eq!(types.original(96), None);
        assert_eq!(types.original(255), None);
        assert_eq!(
            (types.rtx(96), types.rtx(98), types.rtx(255)),
            (Some(97), None, None)
        );
    }
}
