use super::{Packet, compound};

/// Body of the fuzz target: reads `bytes` as a datagram, and drains every iterator that comes out of it.
///
/// # Panics
/// When an iterator gives more than its bytes can hold: a bug.
pub fn fuzz(bytes: &[u8]) {
    let Ok(packets) = compound(bytes) else {
        return;
    };
    let mut read = 0_usize;
    for packet in packets.flatten() {
        read = read.saturating_add(1);
        let items = match packet {
            Packet::SenderReport(report) => report.blocks.count(),
            Packet::ReceiverReport(report) => report.blocks.count(),
            Packet::Sdes(sdes) => sdes.count(),
            Packet::Bye(bye) => bye.count(),
            Packet::Nack(nack) => nack.sequences().count() / 17,
            Packet::Pli(_) => 0,
            Packet::Fir(fir) => fir.entries().count(),
            Packet::Remb(remb) => remb.ssrcs().count(),
            // A run of thousands is two bytes and one report; 14 packets that came are 16.
            Packet::TransportFeedback(feedback) => {
                let count = feedback.statuses().count();
                assert_eq!(
                    count,
                    usize::from(feedback.status_count),
                    "as many as announced"
                );
                feedback.reports().count() / 16
            }
            Packet::ExtendedReport(report) => {
                let _ = report.reference_time();
                report.dlrr().count()
            }
        };
        assert!(
            items <= bytes.len() / 4,
            "an item takes at least four bytes"
        );
    }
    assert!(
        read <= bytes.len() / 4,
        "a packet takes at least four bytes"
    );
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            super::fuzz(&bytes);
        }

        #[test]
        fn never_panics_on_well_framed_packets(
            packets in prop::collection::vec(
                (0u8..32, 200u8..=207, prop::collection::vec(any::<u32>(), 0..20), any::<bool>()),
                1..5,
            ),
        ) {
            let last = packets.len() - 1;
            let mut bytes = Vec::new();
            for (position, (count, kind, words, padded)) in packets.iter().enumerate() {
                let flags = 0x80 | (u8::from(*padded && position == last) << 5);
                bytes.extend([flags | count, *kind, 0, words.len() as u8]);
                // Small words make lengths and counts that fit now and then.
                bytes.extend(words.iter().flat_map(|word| (word >> (word % 32)).to_be_bytes()));
            }
            super::fuzz(&bytes);
        }
    }
}
