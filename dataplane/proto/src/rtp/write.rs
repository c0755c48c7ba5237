use super::Element;
use super::extension::{ONE_BYTE_PROFILE, TWO_BYTE_PROFILE};
use super::wire::Cursor;

/// Longest value of an element in the one-byte form (RFC 8285 §4.2).
const ONE_BYTE_MAX_LENGTH: usize = 16;
/// Largest id of an element in the one-byte form.
const ONE_BYTE_MAX_ID: u8 = 14;

/// What the fixed part of a header says (RFC 3550 §5.1). There are never contributing sources.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fields {
    /// The M bit.
    pub marker: bool,
    /// The P bit; the caller appends the padding.
    pub padding: bool,
    /// Payload type; the lower 7 bits count.
    pub payload_type: u8,
    /// Sequence number.
    pub sequence: u16,
    /// Timestamp in units of the clock rate.
    pub timestamp: u32,
    /// Synchronization source.
    pub ssrc: u32,
}

/// Writes a header with `elements` to the start of `out` and returns its length.
///
/// The one-byte form is taken unless an element is empty, longer than 16 bytes or has an id above 14 (RFC 8285 §4.3).
/// Without elements there is no extension block. `None` if `out` is too short, or an element has id 0 or more than 255
/// bytes.
pub fn write_header(out: &mut [u8], fields: &Fields, elements: &[Element<'_>]) -> Option<usize> {
    let has_extensions = !elements.is_empty();
    let flags = 0x80 | (u8::from(fields.padding) << 5) | (u8::from(has_extensions) << 4);
    let second = (u8::from(fields.marker) << 7) | (fields.payload_type & 0x7f);
    let [s0, s1] = fields.sequence.to_be_bytes();
    let [t0, t1, t2, t3] = fields.timestamp.to_be_bytes();
    let [c0, c1, c2, c3] = fields.ssrc.to_be_bytes();
    let mut cursor = Cursor::new(out);
    // One copy for the whole fixed part, since this runs for every packet that leaves.
    cursor.put(&[flags, second, s0, s1, t0, t1, t2, t3, c0, c1, c2, c3])?;
    if has_extensions {
        write_block(&mut cursor, elements)?;
    }
    Some(cursor.used())
}

fn write_block(cursor: &mut Cursor<'_>, elements: &[Element<'_>]) -> Option<()> {
    let one_byte = elements.iter().all(fits_one_byte_form);
    cursor.u16(if one_byte {
        ONE_BYTE_PROFILE
    } else {
        TWO_BYTE_PROFILE
    })?;
    let length_at = cursor.used();
    cursor.u16(0)?;
    let start = cursor.used();
    for element in elements {
        let length = u8::try_from(element.data.len()).ok()?;
        if element.id == 0 {
            return None;
        }
        if one_byte {
            // The form is only taken for lengths 1 to 16, so that the difference fits four bits.
            cursor.u8((element.id << 4) | (length.saturating_sub(1) & 0x0f))?;
        } else {
            cursor.u8(element.id)?;
            cursor.u8(length)?;
        }
        cursor.put_short(element.data)?;
    }
    cursor.align(start)?;
    let words = cursor.used().saturating_sub(start) / 4;
    cursor.patch_u16(length_at, u16::try_from(words).ok()?)
}

fn fits_one_byte_form(element: &Element<'_>) -> bool {
    element.id <= ONE_BYTE_MAX_ID && (1..=ONE_BYTE_MAX_LENGTH).contains(&element.data.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rtp::Header;
    use crate::rtp::extension::locate;
    use proptest::prelude::*;

    #[test]
    fn chooses_the_form() {
        let mut out = [0; 128];
        let cases: [(u8, usize, u8); 5] = [
            (14, 16, 0xbe),
            (15, 1, 0x10),
            (1, 17, 0x10),
            (1, 0, 0x10),
            (1, 1, 0xbe),
        ];
        for (id, length, first) in cases {
            let data = vec![7; length];
            let element = [Element::new(id, &data)];
            write_header(&mut out, &Fields::default(), &element).unwrap();
            assert_eq!(out[12], first, "id {id}, length {length}");
        }
    }

    #[test]
    fn refuses_what_no_form_can_carry() {
        let mut out = [0; 512];
        let fields = Fields::default();
        assert_eq!(
            write_header(&mut out, &fields, &[Element::new(0, &[1])]),
            None
        );
        let long = [0; 256];
        assert_eq!(
            write_header(&mut out, &fields, &[Element::new(1, &long)]),
            None
        );
        assert_eq!(write_header(&mut out[..11], &fields, &[]), None);
        assert_eq!(write_header(&mut out, &fields, &[]), Some(12));
        assert_eq!(
            write_header(&mut out[..19], &fields, &[Element::new(1, &[1])]),
            None
        );
    }

    proptest! {
        #[test]
        fn reading_gives_back_what_was_written(
            marker: bool,
            padding: bool,
            payload_type in 0u8..128,
            sequence: u16,
            timestamp: u32,
            ssrc: u32,
            elements in prop::collection::vec((1u8.., prop::collection::vec(any::<u8>(), 0..40)), 0..12),
        ) {
            let fields = Fields { marker, padding, payload_type, sequence, timestamp, ssrc };
            let list: Vec<_> = elements.iter().map(|(id, data)| Element::new(*id, data)).collect();
            let mut out = [0xff; 1024];
            let length = write_header(&mut out, &fields, &list).unwrap();
            let header = Header::parse(&out[..length]).unwrap();
            prop_assert_eq!(header.len(), length);
            let read = Fields {
                marker: header.marker,
                padding: header.padding,
                payload_type: header.payload_type,
                sequence: header.sequence,
                timestamp: header.timestamp,
                ssrc: header.ssrc,
            };
            prop_assert_eq!(read, fields);
            let back: Vec<_> = header.extensions(&out).map(|e| (e.id, e.data.to_vec())).collect();
            prop_assert_eq!(&back, &elements);
            for (id, data) in &elements {
                let first = elements.iter().find(|(other, _)| other == id).unwrap();
                let range = locate(&header, &out, *id).unwrap();
                prop_assert_eq!(&out[range], &first.1[..]);
                prop_assert!(data.len() < 40);
            }
        }
    }
}
