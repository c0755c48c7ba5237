//! Opus (RFC 6716, RFC 7587): how long a packet sounds, and whether it is silence.

use clock::Duration;

use crate::rtp::wire::u8_at;

/// A packet of so many bytes or fewer is one of discontinuous transmission (RFC 6716 §2.1.9).
const MAX_DTX_LENGTH: usize = 2;
/// A packet holds at most 120 ms (RFC 6716 §3.2.5).
const MAX_DURATION: Duration = Duration::from_millis(120);

/// Whether the packet only says that there is silence.
pub const fn is_dtx(payload: &[u8]) -> bool {
    !payload.is_empty() && payload.len() <= MAX_DTX_LENGTH
}

/// How long the packet sounds (RFC 6716 §3.1); `None` if it cannot be an Opus packet.
pub fn duration(payload: &[u8]) -> Option<Duration> {
    let toc = u8_at(payload, 0)?;
    let frames = match toc & 3 {
        0 => 1,
        1 | 2 => 2,
        _ => u32::from(u8_at(payload, 1)? & 0x3f),
    };
    let duration = frame_duration(toc >> 3).checked_mul(frames)?;
    (!duration.is_zero() && duration <= MAX_DURATION).then_some(duration)
}

/// Of one frame in a configuration (RFC 6716 table 2).
const fn frame_duration(configuration: u8) -> Duration {
    let micros = match (configuration, configuration & 3) {
        // SILK: 10, 20, 40, 60 ms.
        (0..=11, 0) => 10_000,
        (0..=11, 1) => 20_000,
        (0..=11, 2) => 40_000,
        (0..=11, _) => 60_000,
        // Hybrid: 10, 20 ms.
        (12..=15, 0 | 2) => 10_000,
        (12..=15, _) => 20_000,
        // CELT: 2.5, 5, 10, 20 ms.
        (_, 0) => 2_500,
        (_, 1) => 5_000,
        (_, 2) => 10_000,
        (_, _) => 20_000,
    };
    Duration::from_micros(micros)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_of_the_rfc() {
        let millis = |payload: &[u8]| duration(payload).map(|d| d.as_micros());
        assert_eq!(millis(&[0x78, 0]), Some(20_000), "hybrid, 15");
        assert_eq!(millis(&[3 << 3, 0]), Some(60_000), "SILK, 3");
        assert_eq!(millis(&[16 << 3, 0]), Some(2_500), "CELT, 16");
        assert_eq!(millis(&[(31 << 3) | 1, 0]), Some(40_000), "two frames");
        assert_eq!(millis(&[(31 << 3) | 3, 6]), Some(120_000));
        assert_eq!(millis(&[(31 << 3) | 3, 7]), None, "more than 120 ms");
        assert_eq!(millis(&[(31 << 3) | 3, 0]), None, "no frame");
        assert_eq!(millis(&[(31 << 3) | 3]), None);
        assert_eq!(millis(&[]), None);
    }

    #[test]
    fn silence_is_short() {
        assert!(is_dtx(&[0x78]) && is_dtx(&[0x78, 0]));
        assert!(!is_dtx(&[]) && !is_dtx(&[0x78, 0, 0]));
    }
}
