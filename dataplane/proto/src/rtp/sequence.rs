//! Numbers that wrap: comparing them (RFC 1982) and counting on beyond them (RFC 3550 §A.1).

/// One cycle is added to the first number, so that packets from before it still have a positive one.
const SEQUENCE_START: u64 = 1 << 16;
/// The same for timestamps.
const TIMESTAMP_START: u64 = 1 << 32;

/// How far `b` is ahead of `a`; negative if it is behind. Half a cycle counts as behind.
pub const fn sequence_distance(a: u16, b: u16) -> i16 {
    b.wrapping_sub(a) as i16
}

/// Whether `b` comes after `a`.
pub const fn sequence_is_newer(a: u16, b: u16) -> bool {
    sequence_distance(a, b) > 0
}

/// How far timestamp `b` is ahead of `a`, in units of the clock rate; negative if it is behind.
pub const fn timestamp_distance(a: u32, b: u32) -> i32 {
    b.wrapping_sub(a) as i32
}

/// Extends 16-bit sequence numbers to 64 bits that do not wrap.
///
/// A number is taken for the one nearest to the newest so far. The first becomes `65536 + number`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unwrapper {
    newest: Option<u64>,
}

impl Unwrapper {
    /// One that has seen nothing.
    pub const fn new() -> Self {
        Self { newest: None }
    }

    /// Extends `sequence` and remembers it if it is the newest.
    pub fn unwrap(&mut self, sequence: u16) -> u64 {
        let extended = self.peek(sequence);
        self.newest = self.newest.max(Some(extended));
        extended
    }

    /// Extends `sequence` and remembers nothing.
    pub fn peek(&self, sequence: u16) -> u64 {
        match self.newest {
            None => SEQUENCE_START.saturating_add(u64::from(sequence)),
            Some(newest) => nearest(newest, sequence),
        }
    }

    /// The newest so far.
    pub const fn newest(&self) -> Option<u64> {
        self.newest
    }
}

/// The number with the lower 16 bits `sequence` that is nearest to `reference`.
pub fn nearest(reference: u64, sequence: u16) -> u64 {
    let distance = sequence_distance(reference as u16, sequence);
    reference.saturating_add_signed(i64::from(distance))
}

/// Extends 32-bit timestamps to 64 bits that do not wrap, like [`Unwrapper`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TimestampUnwrapper {
    newest: Option<u64>,
}

impl TimestampUnwrapper {
    /// One that has seen nothing.
    pub const fn new() -> Self {
        Self { newest: None }
    }

    /// Extends `timestamp` and remembers it if it is the newest. The first becomes `2^32 + timestamp`.
    pub fn unwrap(&mut self, timestamp: u32) -> u64 {
        let extended = match self.newest {
            None => TIMESTAMP_START.saturating_add(u64::from(timestamp)),
            Some(newest) => {
                let distance = timestamp_distance(newest as u32, timestamp);
                newest.saturating_add_signed(i64::from(distance))
            }
        };
        self.newest = self.newest.max(Some(extended));
        extended
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn order_survives_the_wrap() {
        assert!(sequence_is_newer(65535, 0));
        assert!(!sequence_is_newer(0, 65535));
        assert!(!sequence_is_newer(5, 5));
        assert_eq!(sequence_distance(65530, 4), 10);
        assert_eq!(sequence_distance(0, 32768), i16::MIN);
        assert_eq!(timestamp_distance(u32::MAX, 2), 3);
    }

    #[test]
    fn reordering_around_the_start_stays_positive() {
        let mut unwrapper = Unwrapper::new();
        assert_eq!(unwrapper.unwrap(2), 65538);
        assert_eq!(unwrapper.unwrap(65535), 65535);
        assert_eq!(unwrapper.newest(), Some(65538));
        assert_eq!(unwrapper.peek(3), 65539);
        assert_eq!(unwrapper.newest(), Some(65538));
    }

    proptest! {
        #[test]
        fn unwraps_any_walk_of_small_steps(start: u16, steps in prop::collection::vec(-1000i64..1000, 0..200)) {
            let mut unwrapper = Unwrapper::new();
            let mut truth = i64::from(unwrapper.unwrap(start) as u32);
            let mut newest = truth;
            for step in steps {
                truth = (newest + step).max(0);
                newest = newest.max(truth);
                prop_assert_eq!(unwrapper.unwrap(truth as u16), truth as u64);
            }
            prop_assert_eq!(unwrapper.newest(), Some(newest as u64));
        }

        #[test]
        fn timestamps_too(start: u32, steps in prop::collection::vec(0u32..1 << 30, 0..50)) {
            let mut unwrapper = TimestampUnwrapper::new();
            let mut truth = unwrapper.unwrap(start);
            for step in steps {
                truth += u64::from(step);
                prop_assert_eq!(unwrapper.unwrap(truth as u32), truth);
            }
        }
    }
}
