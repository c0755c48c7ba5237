//! Telling protocols on one port apart by their first bytes: RFC 7983, and RFC 5761 for RTP and RTCP.

/// Length of the shortest STUN message, its header (RFC 8489 §5).
const STUN_HEADER: usize = 20;
/// Length of a DTLS record header (RFC 6347 §4.1).
const DTLS_RECORD_HEADER: usize = 13;
/// Length of the fixed RTP header (RFC 3550 §5.1).
const RTP_HEADER: usize = 12;
/// Length of the shortest RTCP packet, header and one SSRC (RFC 3550 §6.4).
const RTCP_HEADER: usize = 8;

/// What a datagram is, judged by its first two bytes and its length alone. Nothing is validated yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Packet {
    /// A STUN message, RFC 8489.
    Stun,
    /// One or more DTLS records, RFC 6347.
    Dtls,
    /// An RTP or SRTP packet.
    Rtp,
    /// An RTCP or SRTCP packet.
    Rtcp,
    /// Something else (TURN channel data, ZRTP, QUIC), or too short for what it claims to be.
    Other,
}

/// Classifies a datagram by RFC 7983 §7 and RFC 5761 §4.
pub fn classify(datagram: &[u8]) -> Packet {
    let Some(&[first, second]) = datagram.first_chunk::<2>() else {
        return Packet::Other;
    };
    let (kind, shortest) = match (first, second) {
        (0..=3, _) => (Packet::Stun, STUN_HEADER),
        (20..=63, _) => (Packet::Dtls, DTLS_RECORD_HEADER),
        // RFC 5761 §4: RTCP packet types 192 to 223 lie where no RTP payload type may with the marker bit set.
        (128..=191, 192..=223) => (Packet::Rtcp, RTCP_HEADER),
        (128..=191, _) => (Packet::Rtp, RTP_HEADER),
        _ => return Packet::Other,
    };
    if datagram.len() < shortest {
        return Packet::Other;
    }
    kind
}

/// Body of a fuzz target: the answer never contradicts the first byte.
#[doc(hidden)]
pub fn fuzz_demux(data: &[u8]) {
    match (classify(data), data.first()) {
        (Packet::Stun, Some(0..=3))
        | (Packet::Dtls, Some(20..=63))
        | (Packet::Rtp | Packet::Rtcp, Some(128..=191))
        | (Packet::Other, _) => {}
        (kind, first) => unreachable!("{kind:?} for first byte {first:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn datagram(first: u8, second: u8, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        bytes[0] = first;
        bytes[1] = second;
        bytes
    }

    #[test]
    fn every_first_byte_has_the_meaning_of_rfc_7983() {
        for first in 0..=255 {
            let expected = match first {
                0..=3 => Packet::Stun,
                20..=63 => Packet::Dtls,
                128..=191 => Packet::Rtp,
                _ => Packet::Other,
            };
            assert_eq!(classify(&datagram(first, 96, 100)), expected, "{first}");
        }
    }

    #[test]
    fn rtcp_types_are_192_to_223() {
        for second in 0..=255 {
            let expected = if (192..=223).contains(&second) {
                Packet::Rtcp
            } else {
                Packet::Rtp
            };
            assert_eq!(classify(&datagram(0x80, second, 100)), expected, "{second}");
        }
    }

    #[test]
    fn what_is_too_short_is_nothing() {
        assert_eq!(classify(&[]), Packet::Other);
        assert_eq!(classify(&[0x80]), Packet::Other);
        for (first, second, shortest, kind) in [
            (0, 1, 20, Packet::Stun),
            (22, 254, 13, Packet::Dtls),
            (0x80, 111, 12, Packet::Rtp),
            (0x80, 201, 8, Packet::Rtcp),
        ] {
            assert_eq!(classify(&datagram(first, second, shortest)), kind);
            assert_eq!(
                classify(&datagram(first, second, shortest - 1)),
                Packet::Other
            );
        }
    }
}
