//! What a browser estimates of the way to it, and says by REMB: in outline what libwebrtc makes of send times
//! (RemoteBitrateEstimatorAbsSendTime with AimdRateControl).

use std::collections::VecDeque;

use clock::{Duration, Instant};

/// What arrives is measured over this.
const WINDOW: Duration = Duration::from_secs(1);
/// The first estimate is what has arrived by then, unless there was too much before.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often it is told; at once when it falls.
const INTERVAL: Duration = Duration::from_millis(200);
/// How often it is looked at.
const TICK: Duration = Duration::from_millis(50);
/// Packets wait so long when there is too much, in milliseconds, and so long when all that has waited is gone.
const TOO_MUCH: f64 = 50.0;
const DRAINED: f64 = 15.0;
/// Of a new measurement so much is believed.
const WEIGHT: f64 = 0.1;
/// 64 s in 6.18 fixed point.
const WRAP: i64 = 1 << 24;

/// A browser's estimate of the way to it.
#[derive(Clone, Debug)]
pub(crate) struct Estimate {
    began: Option<Instant>,
    /// Of the first packet: arrival less send time, in units of 2^-18 s.
    offset: i64,
    /// The shortest time on the way, relative to that, and how much longer it is lately, in milliseconds.
    shortest: f64,
    queue: f64,
    arrived: VecDeque<(Instant, usize)>,
    rate: Option<f64>,
    looked: Instant,
    decreased: Instant,
    /// What was told last, and when.
    told: (f64, Instant),
}

impl Estimate {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            began: None,
            offset: 0,
            shortest: 0.0,
            queue: 0.0,
            arrived: VecDeque::new(),
            rate: None,
            looked: now,
            decreased: Instant::ZERO,
            told: (f64::MAX, Instant::ZERO),
        }
    }

    pub(crate) fn deadline(&self) -> Instant {
        self.looked + TICK
    }

    /// A packet of `bytes` has come with this send time.
    pub(crate) fn on_packet(&mut self, now: Instant, sent: u32, bytes: usize) {
        let arrival = ((u128::from(now.as_nanos()) << 18) / 1_000_000_000) as i64;
        let way = arrival - i64::from(sent);
        if self.began.is_none() {
            (self.began, self.offset) = (Some(now), way);
        }
        let longer = (way - self.offset + WRAP / 2).rem_euclid(WRAP) - WRAP / 2;
        let longer = longer as f64 * 1e3 / f64::from(1 << 18);
        self.shortest = self.shortest.min(longer);
        self.queue += (longer - self.shortest - self.queue) * WEIGHT;
        self.arrived.push_back((now, bytes));
    }

    /// What is to be told now, in bits per second.
    pub(crate) fn poll(&mut self, now: Instant) -> Option<u64> {
        if now < self.deadline() {
            return None;
        }
        let passed = (now - self.looked).as_secs_f64();
        self.looked = now;
        while self
            .arrived
            .front()
            .is_some_and(|(at, _)| now - *at > WINDOW)
        {
            self.arrived.pop_front();
        }
        let began = self.began?;
        let measured = (now - began).min(WINDOW).as_secs_f64().max(0.2);
        let bytes: usize = self.arrived.iter().map(|(_, bytes)| bytes).sum();
        let incoming = bytes as f64 * 8.0 / measured;
        let before = self.rate;
        let is_settled = now - self.decreased > INTERVAL;
        if self.queue > TOO_MUCH && is_settled {
            let less = 0.85 * incoming;
            self.rate = Some(before.map_or(less, |rate| rate.min(less)));
            self.decreased = now;
        } else if let Some(rate) = before {
            // Beyond what arrives it grows no further, but it does not fall for that either.
            let most = rate.max(1.5 * incoming + 10_000.0);
            let grown = rate * 1.08_f64.powf(passed.min(1.0));
            if self.queue < DRAINED {
                self.rate = Some(grown.min(most));
            }
        } else if now - began > PATIENCE {
            self.rate = Some(incoming);
        }
        let rate = self.rate?;
        if rate < 0.97 * self.told.0 || now - self.told.1 >= INTERVAL {
            self.told = (rate, now);
            return Some(rate as u64);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settles_below_what_the_way_carries_and_grows_with_what_comes() {
        let mut estimate = Estimate::new(Instant::ZERO);
        let mut told = 0;
        // A packet of 1000 bytes every ten milliseconds, later on each a millisecond later than the one before.
        for nth in 1..2_000_u64 {
            let queue = nth.saturating_sub(1_500);
            let now = Instant::from_millis(10 * nth + queue);
            let sent = (((10 * nth) << 18) / 1_000) as u32 & 0x00ff_ffff;
            estimate.on_packet(now, sent, 1_000);
            told = estimate.poll(now).unwrap_or(told);
            if nth == 1_500 {
                assert!((1_190_000..1_230_000).contains(&told), "{told}");
            }
        }
        assert!((600_000..700_000).contains(&told), "{told}");
    }
}
