use core::ops::Range;

use super::wire::u16_at;
use super::{Extensions, Malformed};

/// Length of the fixed part of the header (RFC 3550 §5.1).
pub const FIXED_LENGTH: usize = 12;

/// The header of an RTP packet (RFC 3550 §5.1), with offsets in place of borrows.
///
/// It is readable before decryption, since SRTP leaves the header in the clear (RFC 3711 §3.1); the padding is not, so
/// the payload is asked for later, with [`Header::payload_range`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The M bit: in video the last packet of a frame, in audio the first of a talk spurt.
    pub marker: bool,
    /// The P bit: the last byte of the decrypted packet counts the padding.
    pub padding: bool,
    /// Payload type, 7 bits.
    pub payload_type: u8,
    /// Sequence number as on the wire.
    pub sequence: u16,
    /// Timestamp in units of the codec's clock rate.
    pub timestamp: u32,
    /// Synchronization source.
    pub ssrc: u32,
    /// How many contributing sources follow the fixed part, 0 to 15.
    pub csrc_count: u8,
    profile: u16,
    extension_start: u16,
    length: u16,
}

impl Header {
    /// Reads the header at the start of `packet`. The packet may be encrypted.
    ///
    /// # Errors
    /// When the bytes are no RTP packet, see [`Malformed`]. The padding is not looked at.
    pub fn parse(packet: &[u8]) -> Result<Self, Malformed> {
        // One check of the length for the whole fixed part, since this runs for every packet.
        let Some((fixed, _)) = packet.split_first_chunk::<FIXED_LENGTH>() else {
            return Err(Malformed::Short);
        };
        let &[first, second, s0, s1, t0, t1, t2, t3, c0, c1, c2, c3] = fixed;
        if first >> 6 != 2 {
            return Err(Malformed::Version);
        }
        let csrc_count = first & 0x0f;
        let sources_end = FIXED_LENGTH.saturating_add(usize::from(csrc_count).saturating_mul(4));
        if packet.len() < sources_end {
            return Err(Malformed::Short);
        }
        let (profile, extension_start, length) = if first & 0x10 == 0 {
            (0, sources_end, sources_end)
        } else {
            extension_block(packet, sources_end)?
        };
        Ok(Self {
            marker: second & 0x80 != 0,
            padding: first & 0x20 != 0,
            payload_type: second & 0x7f,
            sequence: u16::from_be_bytes([s0, s1]),
            timestamp: u32::from_be_bytes([t0, t1, t2, t3]),
            ssrc: u32::from_be_bytes([c0, c1, c2, c3]),
            csrc_count,
            profile,
            extension_start: u16::try_from(extension_start).map_err(|_| Malformed::Extension)?,
            length: u16::try_from(length).map_err(|_| Malformed::Extension)?,
        })
    }

    /// Length in bytes, with contributing sources and extension block: where the payload starts.
    #[expect(
        clippy::len_without_is_empty,
        reason = "a header is at least twelve bytes"
    )]
    pub fn len(&self) -> usize {
        usize::from(self.length)
    }

    /// The elements of the extension block of `packet`, the one this header was read from.
    pub fn extensions<'a>(&self, packet: &'a [u8]) -> Extensions<'a> {
        let block = packet.get(..usize::from(self.length)).unwrap_or_default();
        Extensions::new(self.profile, block, usize::from(self.extension_start))
    }

    /// Where the payload lies in the decrypted `packet`, without padding. It is empty when there is only padding.
    ///
    /// # Errors
    /// [`Malformed::Padding`] if the padding count is 0 or reaches into the header (RFC 3550 §5.1), and
    /// [`Malformed::Short`] if the packet ends inside the header.
    pub fn payload_range(&self, packet: &[u8]) -> Result<Range<usize>, Malformed> {
        let start = self.len();
        if packet.len() < start {
            return Err(Malformed::Short);
        }
        if !self.padding {
            return Ok(start..packet.len());
        }
        let count = packet.last().copied().map_or(0, usize::from);
        let end = packet.len().checked_sub(count);
        match end {
            Some(end) if count > 0 && end >= start => Ok(start..end),
            _ => Err(Malformed::Padding),
        }
    }
}

/// The profile, start and end of the extension block whose own header is at `at`.
fn extension_block(packet: &[u8], at: usize) -> Result<(u16, usize, usize), Malformed> {
    let profile = u16_at(packet, at).ok_or(Malformed::Extension)?;
    let words = u16_at(packet, at.saturating_add(2)).ok_or(Malformed::Extension)?;
    let start = at.saturating_add(4);
    let end = start.saturating_add(usize::from(words).saturating_mul(4));
    if end > packet.len() {
        return Err(Malformed::Extension);
    }
    Ok((profile, start, end))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PLAIN: [u8; 14] = [
        0x80, 0xe0, 0x12, 0x34, 0, 0, 0, 9, 0xde, 0xad, 0xbe, 0xef, 7, 7,
    ];

    #[test]
    fn reads_every_fixed_field() {
        let header = Header::parse(&PLAIN).unwrap();
        assert!(header.marker && !header.padding);
        assert_eq!(header.payload_type, 96);
        assert_eq!(header.sequence, 0x1234);
        assert_eq!(header.timestamp, 9);
        assert_eq!(header.ssrc, 0xdead_beef);
        assert_eq!(header.len(), 12);
        assert_eq!(header.payload_range(&PLAIN), Ok(12..14));
        assert_eq!(header.extensions(&PLAIN).count(), 0);
    }

    #[test]
    fn contributing_sources_and_extension_move_the_payload() {
        let mut packet = PLAIN[..12].to_vec();
        packet[0] = 0x92;
        packet.extend([0; 8]);
        packet.extend([0xbe, 0xde, 0, 1, 0x10, 0xaa, 0, 0, 0xff]);
        let header = Header::parse(&packet).unwrap();
        assert_eq!(header.csrc_count, 2);
        assert_eq!(header.len(), 28);
        let elements: Vec<_> = header.extensions(&packet).collect();
        assert_eq!(elements.len(), 1);
        assert_eq!((elements[0].id, elements[0].data), (1, &[0xaa][..]));
        assert_eq!(packet[usize::from(elements[0].offset)], 0xaa);
    }

    #[test]
    fn refuses_what_does_not_fit() {
        assert_eq!(Header::parse(&[]), Err(Malformed::Short));
        assert_eq!(Header::parse(&PLAIN[..11]), Err(Malformed::Short));
        let mut packet = PLAIN;
        packet[0] = 0x40;
        assert_eq!(Header::parse(&packet), Err(Malformed::Version));
        packet[0] = 0x8f;
        assert_eq!(Header::parse(&packet), Err(Malformed::Short));
        packet[0] = 0x90;
        assert_eq!(Header::parse(&packet), Err(Malformed::Extension));
        let mut long = PLAIN[..12].to_vec();
        long[0] = 0x90;
        long.extend([0xbe, 0xde, 0xff, 0xff]);
        assert_eq!(Header::parse(&long), Err(Malformed::Extension));
        long.resize(300_000, 0);
        assert_eq!(Header::parse(&long), Err(Malformed::Extension));
    }

    #[test]
    fn padding_is_counted_by_the_last_byte() {
        let mut packet = PLAIN;
        packet[0] = 0xa0;
        let header = Header::parse(&packet).unwrap();
        for (count, expected) in [
            (0, Err(Malformed::Padding)),
            (1, Ok(12..13)),
            (2, Ok(12..12)),
            (3, Err(Malformed::Padding)),
        ] {
            packet[13] = count;
            assert_eq!(header.payload_range(&packet), expected);
        }
        assert_eq!(header.payload_range(&packet[..5]), Err(Malformed::Short));
        // Padding set, nothing after the header: there is no byte to count with.
        packet[11] = 0;
        assert_eq!(header.payload_range(&packet[..12]), Err(Malformed::Padding));
    }

    proptest! {
        #[test]
        fn every_single_bit_flip_is_handled(bit in 0usize..14 * 8) {
            let mut packet = PLAIN;
            packet[bit / 8] ^= 1 << (bit % 8);
            if let Ok(header) = Header::parse(&packet) {
                prop_assert!(header.len() <= packet.len());
            }
        }
    }
}
