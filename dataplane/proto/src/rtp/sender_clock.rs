use clock::{Duration, NtpTime};

use super::sequence::timestamp_distance;
use crate::rtcp::SenderInfo;

/// The relation of an RTP stream's timestamps to wall-clock time, by its last sender report (RFC 3550 §6.4.1).
///
/// The encodings of one stream have unrelated timestamps and one wall clock; this is how a switch between them keeps time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SenderClock {
    ntp: NtpTime,
    timestamp: u32,
    clock_rate: u32,
}

impl SenderClock {
    /// From a sender report; `clock_rate` in Hz. `None` for a rate of 0.
    pub const fn new(info: &SenderInfo, clock_rate: u32) -> Option<Self> {
        if clock_rate == 0 {
            return None;
        }
        Some(Self {
            ntp: info.ntp,
            timestamp: info.timestamp,
            clock_rate,
        })
    }

    /// The wall-clock time of `timestamp`, which is within half a cycle of the report.
    pub fn ntp(&self, timestamp: u32) -> NtpTime {
        let distance = timestamp_distance(self.timestamp, timestamp);
        let nanos = u64::from(distance.unsigned_abs())
            .saturating_mul(1_000_000_000)
            .checked_div(u64::from(self.clock_rate));
        let duration = Duration::from_nanos(nanos.unwrap_or(0));
        if distance >= 0 {
            return self.ntp.plus(duration);
        }
        let span = NtpTime::from_bits(0).plus(duration).to_bits();
        NtpTime::from_bits(self.ntp.to_bits().wrapping_sub(span))
    }

    /// The timestamp at wall-clock time `ntp`.
    pub fn timestamp(&self, ntp: NtpTime) -> u32 {
        let elapsed = ntp.to_bits().wrapping_sub(self.ntp.to_bits()).cast_signed();
        // 32.32 seconds times the rate, rounded to the nearest unit.
        let scaled = i128::from(elapsed).saturating_mul(i128::from(self.clock_rate));
        let units = scaled.saturating_add(1 << 31) >> 32;
        self.timestamp.wrapping_add(units as u32)
    }

    /// The timestamp in the RTP stream of `other` at the instant that `timestamp` means in this one.
    pub fn translate(&self, timestamp: u32, other: &Self) -> u32 {
        other.timestamp(self.ntp(timestamp))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn clock(seconds: u64, timestamp: u32) -> SenderClock {
        let info = SenderInfo {
            ntp: NtpTime::from_bits(seconds << 32),
            timestamp,
            ..SenderInfo::default()
        };
        SenderClock::new(&info, 90_000).unwrap()
    }

    #[test]
    fn a_frame_has_one_instant_in_both_encodings() {
        let (low, high) = (clock(100, 1_000), clock(101, u32::MAX - 9));
        // One second after the report of `low` is the report of `high`.
        assert_eq!(low.translate(91_000, &high), u32::MAX - 9);
        assert_eq!(high.translate(u32::MAX - 9, &low), 91_000);
        assert_eq!(low.translate(91_900, &high), 890);
        assert_eq!(
            low.translate(1_000, &high),
            (u32::MAX - 9).wrapping_sub(90_000)
        );
        assert_eq!(SenderClock::new(&SenderInfo::default(), 0), None);
    }

    proptest! {
        #[test]
        fn there_and_back(seconds in 1000u64..1 << 31, apart in 0u64..100, a: u32, b: u32, distance in -9_000_000i32..9_000_000) {
            let (one, two) = (clock(seconds, a), clock(seconds + apart, b));
            let timestamp = a.wrapping_add_signed(distance);
            let there = one.translate(timestamp, &two);
            prop_assert_eq!(two.translate(there, &one), timestamp);
        }
    }
}
