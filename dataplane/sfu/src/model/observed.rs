//! What is noted of an RTP stream, in either direction, when reports are sent and received.

use clock::Instant;

/// A rate is read over no less than this, in milliseconds.
const INTERVAL_MIN_MS: u32 = 400;

/// A report counts for so many seconds at most.
const SECONDS_MAX: u32 = 8;

/// The small numbers that statistics are made of.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Observed {
    /// The counter of bytes at the last look, and when that was, in milliseconds; both start over.
    counted: Option<(u32, u32)>,
    /// Smoothed, in bit/s.
    rate: u32,
    /// The part of packets lost, in 65536ths, smoothed.
    loss: Option<u16>,
    /// When that was told last, in milliseconds.
    lost_at: u32,
    /// What the peer last said.
    pub(crate) told: Told,
    /// Packets that were asked for again.
    pub(crate) nacks: u32,
    /// Key frames that were asked for.
    pub(crate) key_frame_requests: u32,
}

/// From the last report block about an RTP stream that we send (RFC 3550 §6.4.1).
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Told {
    pub(crate) packets_lost: i32,
    /// In units of the RTP clock.
    pub(crate) jitter: u32,
}

impl Observed {
    /// The counter of bytes stands at `bytes` now, but for multiples of 2^32.
    pub(crate) fn count(&mut self, bytes: u32, now: Instant) {
        let now_ms = now.as_millis() as u32;
        let Some((before, at)) = self.counted else {
            self.counted = Some((bytes, now_ms));
            return;
        };
        let passed = now_ms.wrapping_sub(at);
        if passed < INTERVAL_MIN_MS {
            return;
        }
        let grown = bytes.wrapping_sub(before);
        // What was counted gave way to something else.
        let grown = if grown > u32::MAX / 2 { 0 } else { grown };
        let lately = u64::from(grown) * 8_000 / u64::from(passed);
        let lately = u32::try_from(lately).unwrap_or(u32::MAX);
        // Half of it counts from the first time on; silence is told as such.
        self.rate = match self.rate {
            0 => lately,
            rate if lately > 0 => rate / 2 + lately / 2,
            _ => 0,
        };
        self.counted = Some((bytes, now_ms));
    }

    /// Of the packets since the last report so many 256ths were lost.
    pub(crate) fn lose(&mut self, fraction: u8, now: Instant) {
        let lately = u16::from(fraction) << 8;
        let now_ms = now.as_millis() as u32;
        let passed = now_ms.wrapping_sub(core::mem::replace(&mut self.lost_at, now_ms));
        let Some(mut loss) = self.loss else {
            self.loss = Some(lately);
            return;
        };
        // A quarter counts for each second, so that it is the loss of the last few seconds. Browsers report on sound every 5.
        for _ in 0..(passed / 1_000).clamp(1, SECONDS_MAX) {
            loss = loss - loss / 4 + lately / 4;
        }
        self.loss = Some(loss);
    }

    /// In bit/s, as of the last report.
    pub(crate) fn bits_per_second(&self) -> u64 {
        u64::from(self.rate)
    }

    /// In millionths.
    pub(crate) fn loss_ppm(&self) -> u32 {
        let loss = u64::from(self.loss.unwrap_or(0));
        (loss * 1_000_000 / 65_536) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_follow_the_counter_over_its_end_and_fall_silent_with_it() {
        let mut observed = Observed::default();
        let mut at = |bytes: u32, ms: u64| {
            observed.count(bytes, Instant::from_millis(ms));
            observed.bits_per_second()
        };
        assert_eq!(at(u32::MAX - 62_499, 1_000), 0);
        assert_eq!(at(0, 1_100), 0, "too early to say");
        assert_eq!(at(62_500, 2_000), 1_000_000);
        assert_eq!(at(62_500 + 250_000, 3_000), 1_500_000);
        // Another counter.
        assert_eq!(at(7, 4_000), 0);
        assert_eq!(at(125_007, 5_000), 1_000_000);
        assert_eq!(at(125_007, 6_000), 0);
    }

    #[test]
    fn losses_are_smoothed_and_pass() {
        let at = |second: u64| Instant::from_millis(second * 1_000);
        let mut observed = Observed::default();
        assert_eq!(observed.loss_ppm(), 0);
        observed.lose(26, at(0));
        assert_eq!(observed.loss_ppm() / 1_000, 101);
        for nth in 1..=4 {
            observed.lose(0, at(nth));
        }
        let left = observed.loss_ppm() / 1_000;
        assert!((30..35).contains(&left), "{left}");
        for nth in 5..45 {
            observed.lose(0, at(nth));
        }
        assert!(observed.loss_ppm() < 100);
        for nth in 45..85 {
            observed.lose(255, at(nth));
        }
        assert!(observed.loss_ppm() > 990_000);
        // One report of five seconds says as much as five of one.
        let (mut often, mut seldom) = (observed, observed);
        (85..90).for_each(|second| often.lose(0, at(second)));
        seldom.lose(0, at(89));
        assert_eq!(often.loss_ppm(), seldom.loss_ppm());
    }
}
