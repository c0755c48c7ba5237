use core::time::Duration;

/// Seconds between the NTP era (1900) and the Unix epoch (1970), RFC 5905 §6.
const UNIX_EPOCH_IN_NTP: u64 = 2_208_988_800;

/// An NTP timestamp in 32.32 fixed point, as RTCP sender reports carry it (RFC 3550 §4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NtpTime(u64);

impl NtpTime {
    /// From the 64 bits on the wire.
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// The time `since_unix_epoch` after 1970-01-01T00:00:00Z.
    pub fn from_unix(since_unix_epoch: Duration) -> Self {
        let seconds = since_unix_epoch.as_secs().wrapping_add(UNIX_EPOCH_IN_NTP);
        let fraction = (u64::from(since_unix_epoch.subsec_nanos()) << 32) / 1_000_000_000;
        Self((seconds << 32) | fraction)
    }

    /// All 64 bits, as on the wire.
    pub const fn to_bits(self) -> u64 {
        self.0
    }

    /// The middle 32 bits: LSR of a reception report, and the unit of its DLSR (RFC 3550 §6.4.1).
    pub const fn middle_bits(self) -> u32 {
        (self.0 >> 16) as u32
    }

    /// This time moved by `duration`.
    pub fn plus(self, duration: Duration) -> Self {
        let whole = duration.as_secs() << 32;
        let fraction = (u64::from(duration.subsec_nanos()) << 32) / 1_000_000_000;
        Self(self.0.wrapping_add(whole).wrapping_add(fraction))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unix_epoch_has_the_era_offset() {
        let time = NtpTime::from_unix(Duration::from_millis(1_500));
        assert_eq!(time.to_bits() >> 32, UNIX_EPOCH_IN_NTP + 1);
        assert_eq!(time.to_bits() & 0xffff_ffff, 0x8000_0000);
        assert_eq!(
            time.plus(Duration::from_millis(500)).to_bits() & 0xffff_ffff,
            0
        );
        assert_eq!(
            NtpTime::from_bits(0x1122_3344_5566_7788).middle_bits(),
            0x3344_5566
        );
    }
}
