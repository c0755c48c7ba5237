//! How much may be sent, by what the delay says: multiplicative increase far from the capacity, additive near it, and less than
//! what arrives once the path is over-used (draft-ietf-rmcat-gcc-02 §5.5).

use clock::{Duration, Instant};

use super::delay::Usage;

/// Of what arrives, after over-use.
const BACK_OFF: f64 = 0.85;
/// Growth per second as long as the capacity is unknown.
const GROWTH: f64 = 1.08;
/// The least additive growth, bits per second and second.
const SLOW_GROWTH_MIN: f64 = 4_000.0;
/// So much above what arrives an estimate may be without a probe, so that hardly anything can become something.
const UNPROVEN_BITS: f64 = 10_000.0;
/// Bits of a packet and pictures a second, as additive increase assumes them.
const PACKET_BITS: f64 = 9_600.0;
const PICTURES: f64 = 30.0;
/// How long the path takes to answer a change, beside its round trip.
const RESPONSE: Duration = Duration::from_millis(100);
/// So long the result of a probe is better than what arrives.
const PROBED: Duration = Duration::from_millis(500);
/// Share of a new observation in what is known of the capacity.
const NEW: f64 = 0.05;

/// The rate by delay.
#[derive(Debug)]
pub(super) struct RateControl {
    rate: f64,
    /// See [`Limits::unproven`](super::Limits).
    unproven: f64,
    /// What is left free after over-use, beside [`BACK_OFF`], in bits per second.
    spared: f64,
    may_grow: bool,
    changed: Option<Instant>,
    backed_off: Option<Instant>,
    /// What a probe has shown last.
    probed: Option<(Instant, f64)>,
    capacity: Capacity,
}

/// Where over-use began, so far: mean and normalised variance of what arrived then.
#[derive(Debug, Default)]
struct Capacity {
    mean: Option<f64>,
    variance: f64,
}

impl RateControl {
    pub(super) fn new(start: f64, unproven: f64) -> Self {
        Self {
            rate: start,
            unproven,
            spared: 0.0,
            may_grow: true,
            changed: None,
            backed_off: None,
            probed: None,
            capacity: Capacity::default(),
        }
    }

    /// From now on so much is left free after over-use.
    pub(super) fn spare(&mut self, bits_per_second: f64) {
        self.spared = bits_per_second;
    }

    pub(super) fn rate(&self) -> f64 {
        self.rate
    }

    /// A probe has shown that so much passes.
    pub(super) fn on_probed(&mut self, now: Instant, rate: f64) {
        self.set(now, rate);
        self.probed = Some((now, rate));
        self.capacity.forget_if_outside(rate);
    }

    /// Something else than delay says so.
    pub(super) fn set(&mut self, now: Instant, rate: f64) {
        self.rate = rate;
        self.changed = Some(now);
    }

    /// Feedback has come: what the delay says, and what arrives, in bits per second, if known.
    pub(super) fn on_feedback(
        &mut self,
        now: Instant,
        usage: Usage,
        arriving: Option<f64>,
        rtt: Duration,
    ) {
        let elapsed = self
            .changed
            .map_or(Duration::ZERO, |last| now.saturating_since(last));
        self.changed = Some(now);
        match usage {
            Usage::Over => self.back_off(now, arriving, rtt),
            // The queue is being emptied: growing now would stop that.
            Usage::Under => self.may_grow = false,
            Usage::Normal if self.may_grow => self.grow(elapsed, arriving, rtt),
            Usage::Normal => self.may_grow = true,
        }
    }

    fn back_off(&mut self, now: Instant, arriving: Option<f64>, rtt: Duration) {
        // Once for each time that a change can show.
        let pause = RESPONSE.saturating_add(rtt);
        if self
            .backed_off
            .is_some_and(|last| now.saturating_since(last) < pause)
        {
            return;
        }
        let arriving = arriving.unwrap_or(self.rate);
        // The queue may be the probe's own; what arrived before it says little of the path then.
        let probed = self
            .probed
            .take()
            .filter(|(at, _)| now.saturating_since(*at) < PROBED);
        let arriving = probed.map_or(arriving, |(_, rate)| rate.max(arriving));
        self.capacity.forget_if_outside(arriving);
        self.capacity.observe(arriving);
        self.rate = self.rate.min(arriving * BACK_OFF - self.spared).max(0.0);
        self.backed_off = Some(now);
        self.may_grow = false;
    }

    fn grow(&mut self, elapsed: Duration, arriving: Option<f64>, rtt: Duration) {
        let seconds = elapsed.as_secs_f64().min(1.0);
        if let Some(arriving) = arriving {
            self.capacity.forget_if_above(arriving);
        }
        let grown = match self.capacity.mean {
            Some(_) => {
                let packets = (self.rate / PICTURES / PACKET_BITS).ceil().max(1.0);
                let packet = self.rate / PICTURES / packets;
                let response = RESPONSE.saturating_add(rtt).as_secs_f64();
                self.rate + seconds * (packet / response).max(SLOW_GROWTH_MIN)
            }
            None => self.rate * GROWTH.powf(seconds),
        };
        let most = arriving.map(|arriving| arriving * self.unproven + UNPROVEN_BITS);
        // What was there already stays: an application that sends less does not make the path smaller.
        let most = most.unwrap_or(f64::MAX).max(self.rate);
        self.rate = grown.min(most);
    }
}

impl Capacity {
    fn observe(&mut self, arriving: f64) {
        let mean = match self.mean {
            None => arriving,
            Some(mean) => (1.0 - NEW) * mean + NEW * arriving,
        };
        let deviation = (mean - arriving).powi(2) / mean.max(1.0);
        self.variance = ((1.0 - NEW) * self.variance + NEW * deviation).clamp(400.0, 2_500.0);
        self.mean = Some(mean);
    }

    /// Three standard deviations.
    fn reach(&self, mean: f64) -> f64 {
        3.0 * (self.variance.max(400.0) * mean).sqrt()
    }

    fn forget_if_outside(&mut self, arriving: f64) {
        if let Some(mean) = self.mean
            && (arriving - mean).abs() > self.reach(mean)
        {
            self.mean = None;
        }
    }

    fn forget_if_above(&mut self, arriving: f64) {
        if let Some(mean) = self.mean
            && arriving > mean + self.reach(mean)
        {
            self.mean = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RTT: Duration = Duration::from_millis(50);

    fn at(millis: u64) -> Instant {
        Instant::from_millis(millis)
    }

    #[test]
    fn it_grows_by_a_share_until_it_knows_the_capacity_and_slowly_then() {
        let mut control = RateControl::new(1e6, 1.5);
        for tick in 0..50 {
            let arriving = Some(control.rate());
            control.on_feedback(at(tick * 100), Usage::Normal, arriving, RTT);
        }
        let before = control.rate();
        assert!((1.3e6..1.6e6).contains(&before), "{before}");
        control.on_feedback(at(5_000), Usage::Over, Some(before), RTT);
        assert!((control.rate() - before * BACK_OFF).abs() < 1.0);
        let low = control.rate();
        for tick in 51..=60 {
            let arriving = Some(control.rate());
            control.on_feedback(at(tick * 100), Usage::Normal, arriving, RTT);
        }
        let slow = control.rate() - low;
        assert!((4_000.0..80_000.0).contains(&slow), "{slow} in a second");
    }

    #[test]
    fn it_does_not_believe_in_what_was_not_tried() {
        let mut control = RateControl::new(1e6, 1.5);
        for tick in 0..600 {
            control.on_feedback(at(tick * 100), Usage::Normal, Some(300e3), RTT);
        }
        assert!((control.rate() - 1e6).abs() < 1.0, "{}", control.rate());
    }

    #[test]
    fn it_backs_off_once_for_each_round_trip() {
        let mut control = RateControl::new(1e6, 1.5);
        for tick in 0..15 {
            control.on_feedback(at(tick * 10), Usage::Over, Some(1e6), RTT);
        }
        assert!((control.rate() - 850e3).abs() < 1.0);
    }

    #[test]
    fn what_is_spared_comes_on_top_and_never_below_nothing() {
        let mut control = RateControl::new(1e6, 1.5);
        control.spare(5e3);
        control.on_feedback(at(0), Usage::Over, Some(100e3), RTT);
        assert!((control.rate() - 80e3).abs() < 1.0);
        control.on_feedback(at(1_000), Usage::Over, Some(1e3), RTT);
        assert!(control.rate().abs() < 1.0, "{}", control.rate());
    }
}
