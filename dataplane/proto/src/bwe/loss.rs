//! How much may be sent, by what is lost (draft-ietf-rmcat-gcc-02 §6): above a tenth less, below a fiftieth more.

use clock::{Duration, Instant};

const TOO_MUCH: f64 = 0.10;
const HARDLY_ANY: f64 = 0.02;
const GROWTH: f64 = 1.08;
/// Of so many packets at least, a share says something.
const PACKETS_MIN: u64 = 50;
/// Between two changes.
const INTERVAL: Duration = Duration::from_millis(1_000);

/// The rate by loss.
#[derive(Debug)]
pub(super) struct LossControl {
    rate: f64,
    packets: u64,
    lost: u64,
    /// Whether too much was lost when that was looked at last.
    is_heavy: bool,
    changed: Option<Instant>,
}

impl LossControl {
    pub(super) fn new() -> Self {
        Self {
            rate: f64::MAX,
            packets: 0,
            lost: 0,
            is_heavy: false,
            changed: None,
        }
    }

    /// No bound as long as nothing is lost.
    pub(super) fn rate(&self) -> f64 {
        self.rate
    }

    /// Feedback about `packets`, of which `lost` did not come; what is sent at most now, in bits per second.
    pub(super) fn on_feedback(&mut self, now: Instant, packets: u64, lost: u64, sending: f64) {
        self.packets = self.packets.saturating_add(packets);
        self.lost = self.lost.saturating_add(lost);
        let rests = self
            .changed
            .is_some_and(|last| now.saturating_since(last) < INTERVAL);
        if rests || self.packets < PACKETS_MIN {
            return;
        }
        let share = self.lost as f64 / self.packets as f64;
        self.is_heavy = share > TOO_MUCH;
        if self.is_heavy {
            self.rate = self.rate.min(sending) * (1.0 - 0.5 * share);
        } else if share < HARDLY_ANY {
            self.rate *= GROWTH;
        }
        (self.packets, self.lost) = (0, 0);
        self.changed = Some(now);
    }

    /// A probe went through: loss has not shown itself at this rate. Where much is lost anyway that was luck.
    pub(super) fn on_probed(&mut self, rate: f64) {
        if !self.is_heavy {
            self.rate = self.rate.max(rate);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heavy_loss_lowers_light_loss_lets_be_and_none_raises() {
        let mut control = LossControl::new();
        let mut now = Instant::ZERO;
        let mut feedback = |lost, sending| {
            now += INTERVAL;
            control.on_feedback(now, 100, lost, sending);
            control.rate()
        };
        assert_eq!(feedback(0, 1e6), f64::INFINITY.min(f64::MAX * GROWTH));
        assert_eq!(feedback(5, 1e6), f64::INFINITY);
        assert_eq!(feedback(20, 1e6), 0.9e6);
        assert_eq!(feedback(5, 0.9e6), 0.9e6);
        assert!((feedback(1, 0.9e6) - 0.972e6).abs() < 1.0);
    }

    #[test]
    fn a_few_packets_say_nothing() {
        let mut control = LossControl::new();
        control.on_feedback(Instant::from_millis(1), 10, 10, 1e6);
        assert_eq!(control.rate(), f64::MAX);
    }
}
