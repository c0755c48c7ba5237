//! How much arrives, by the receiver's clock.

use std::collections::VecDeque;

/// What is looked at, in milliseconds of the receiver.
const WINDOW_MS: f64 = 250.0;
/// Less is no rate yet.
const LEAST_MS: f64 = 150.0;
/// Packets are summed over so long.
const BUCKET_MS: f64 = 25.0;

/// Bits per second over a sliding window.
#[derive(Debug)]
pub(super) struct Acknowledged {
    /// Where each begins, and its bytes.
    buckets: VecDeque<(f64, f64)>,
    newest: f64,
}

impl Acknowledged {
    pub(super) fn new() -> Self {
        Self {
            buckets: VecDeque::with_capacity((WINDOW_MS / BUCKET_MS) as usize),
            newest: f64::NEG_INFINITY,
        }
    }

    /// As new, with the memory that it has.
    pub(super) fn reset(&mut self) {
        self.buckets.clear();
        self.newest = f64::NEG_INFINITY;
    }

    pub(super) fn on_packet(&mut self, arrival: f64, bytes: u16) {
        self.newest = self.newest.max(arrival);
        while let Some((start, _)) = self.buckets.front()
            && self.newest - start >= WINDOW_MS
        {
            self.buckets.pop_front();
        }
        match self.buckets.back_mut() {
            Some((start, sum)) if arrival < *start + BUCKET_MS => *sum += f64::from(bytes),
            _ => self.buckets.push_back((arrival, f64::from(bytes))),
        }
    }

    /// Bits per second, if enough has come.
    pub(super) fn rate(&self) -> Option<f64> {
        let (start, _) = self.buckets.front()?;
        let (last, _) = self.buckets.back()?;
        let span = last + BUCKET_MS - start;
        let bytes: f64 = self.buckets.iter().map(|(_, bytes)| bytes).sum();
        (span >= LEAST_MS).then(|| bytes * 8_000.0 / span)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_of_the_last_quarter_of_a_second() {
        let mut acknowledged = Acknowledged::new();
        for nth in 0..200 {
            acknowledged.on_packet(f64::from(nth) * 10.0, 1250);
            if nth < 12 {
                assert_eq!(acknowledged.rate(), None);
            }
        }
        let rate = acknowledged.rate().unwrap();
        assert!((rate - 1e6).abs() < 0.1e6, "{rate}");
        for nth in 0..100 {
            acknowledged.on_packet(2_000.0 + f64::from(nth) * 10.0, 125);
        }
        let rate = acknowledged.rate().unwrap();
        assert!((rate - 1e5).abs() < 0.1e5, "{rate}");
    }
}
