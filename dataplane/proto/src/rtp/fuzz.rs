use super::extension::{AudioLevel, Element, locate, transport_sequence};
use super::{Fields, Header, LayersAllocation, write_header};
use crate::rtx;

/// Body of the fuzz target: reads `bytes` as an RTP packet in every way there is, and writes again what it understood.
///
/// # Panics
/// When a packet that was read and written is read differently: a bug.
pub fn fuzz(bytes: &[u8]) {
    let Ok(header) = Header::parse(bytes) else {
        return;
    };
    assert!(header.len() <= bytes.len(), "header ends inside its packet");
    if let Ok(range) = header.payload_range(bytes) {
        assert!(bytes.get(range).is_some(), "payload lies in its packet");
    }
    let elements: Vec<Element<'_>> = header.extensions(bytes).collect();
    for element in &elements {
        let found = locate(&header, bytes, element.id).and_then(|range| bytes.get(range));
        assert!(found.is_some(), "an element that was read can be located");
        let _ = (
            AudioLevel::parse(element.data),
            transport_sequence(element.data),
            LayersAllocation::parse(element.data),
        );
    }
    let mut retransmission = bytes.to_vec();
    let _ = rtx::unwrap(&header, bytes);
    let _ = rtx::restore(&mut retransmission, &header, 1, 96, 2);
    let fields = Fields {
        marker: header.marker,
        padding: header.padding,
        payload_type: header.payload_type,
        sequence: header.sequence,
        timestamp: header.timestamp,
        ssrc: header.ssrc,
    };
    // The two-byte form spends a byte more on each element.
    let mut out = vec![0; bytes.len().saturating_mul(2).saturating_add(32)];
    let Some(length) = write_header(&mut out, &fields, &elements) else {
        return;
    };
    let again = Header::parse(&out).ok();
    assert_eq!(again.map(|header| header.len()), Some(length), "reads back");
    let count = again.map_or(0, |header| header.extensions(&out).count());
    assert_eq!(count, elements.len(), "all elements read back");
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn never_panics(mut bytes in prop::collection::vec(any::<u8>(), 0..200), likely: bool) {
            if let (true, Some(first)) = (likely, bytes.first_mut()) {
                *first = 0x80 | (*first & 0x33);
            }
            if likely && bytes.len() > 16 && bytes[0] & 0x0f == 0 {
                bytes[12] = 0xbe;
                bytes[13] = 0xde;
                bytes[14] = 0;
                bytes[15] &= 0x1f;
            }
            super::fuzz(&bytes);
        }
    }
}
