//! How many bits per second a connection can be sent, from what its transports carry and what their peers say of them.
//!
//! A browser has one transport for every stream, and each estimates for itself (draft-alvestrand-rmcat-remb-03); they share one
//! bottleneck. So the budget is what is acknowledged on all of them, and the greatest headroom of any one.
//! An estimate grows slowly, and never far beyond what is sent, so one that is low does not say that the path is: it says so
//! when it falls, or stays below what is sent.

use clock::{Duration, Instant};

use crate::congestion::Told;

/// Estimates beyond these bounds are taken for them, in bit/s: nobody lives on less, and nobody needs more.
const ESTIMATE_RANGE: (u64, u64) = (30_000, 100_000_000);
/// After so long an estimate says nothing any more.
const ESTIMATE_AGE_MAX: Duration = Duration::from_secs(10);
/// Below this part of what is sent, in percent, an estimate says that it is too much: browsers go down to 85.
const CONGESTED_PERCENT: u64 = 90;
/// An estimate that is lower by so much falls, in percent.
const FALL_PERCENT: u64 = 3;
/// One that has grown by so much within `PLATEAU` rises, in percent.
const RISE_PERCENT: u64 = 2;
const PLATEAU: Duration = Duration::from_secs(1);
/// Whoever is sent less than this says nothing about the path beyond that, in bit/s.
const TELLING_MIN: u64 = 10_000;

/// Shortest time that a rate is measured over.
const METER_INTERVAL: Duration = Duration::from_millis(500);

/// A peak falls by this part from one measurement to the next.
const PEAK_DECAY: u64 = 16;

/// Measures a rate by a counter of bytes, which may start over.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Meter {
    last: Option<(u32, Instant)>,
    rate: Option<u64>,
    peak: u64,
}

impl Meter {
    /// The counter stands at `bytes` now, but for multiples of 2^32.
    pub(crate) fn read(&mut self, bytes: u32, now: Instant) {
        let Some((before, at)) = self.last else {
            self.last = Some((bytes, now));
            return;
        };
        let passed = now.saturating_since(at);
        if passed < METER_INTERVAL {
            return;
        }
        self.last = Some((bytes, now));
        let grown = bytes.wrapping_sub(before);
        // What was counted has been replaced by something else.
        let grown = if grown > u32::MAX / 2 { 0 } else { grown };
        let lately = (u128::from(grown) * 8_000_000_000 / passed.as_nanos()) as u64;
        let rate = self.rate.map_or(lately, |rate| (rate + lately) / 2);
        self.rate = Some(rate);
        self.peak = rate.max(self.peak - self.peak / PEAK_DECAY);
    }

    /// What it may be when it is more than usual, in bit/s: half-way to the most of the last few seconds.
    pub(crate) fn busy(&self) -> u64 {
        self.rate.unwrap_or(self.peak).midpoint(self.peak)
    }

    /// Smoothed, in bit/s; `None` before it was measured.
    pub(crate) fn rate(&self) -> Option<u64> {
        self.rate
    }
}

/// Where an estimate goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trend {
    /// Too early to say.
    Open,
    Rising,
    Level,
    Falling,
}

/// What the peer of one transport says about the way to it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Downlink {
    estimate: Option<(u64, Instant)>,
    trend: Trend,
    /// What the trend is measured against, and since when.
    mark: (u64, Instant),
}

impl Default for Downlink {
    fn default() -> Self {
        Self {
            estimate: None,
            trend: Trend::Open,
            mark: (0, Instant::ZERO),
        }
    }
}

impl Downlink {
    /// The peer says what it can take. Whether that is less than before.
    pub(crate) fn on_estimate(&mut self, bits_per_second: u64, now: Instant) -> bool {
        let estimate = bits_per_second.clamp(ESTIMATE_RANGE.0, ESTIMATE_RANGE.1);
        let before = self.estimate.replace((estimate, now));
        if before.is_none() {
            (self.trend, self.mark) = (Trend::Open, (estimate, now));
        }
        let before = before.map_or(estimate, |(before, _)| before);
        let mark = self.mark.0;
        if estimate < before - before * FALL_PERCENT / 100 {
            (self.trend, self.mark) = (Trend::Falling, (estimate, now));
            return true;
        }
        if estimate > mark + mark * RISE_PERCENT / 100 {
            (self.trend, self.mark) = (Trend::Rising, (estimate, now));
        } else if now.saturating_since(self.mark.1) > PLATEAU {
            (self.trend, self.mark) = (Trend::Level, (estimate, now));
        }
        false
    }

    /// More is sent from now on: what the estimate did before says nothing about that.
    pub(crate) fn watch(&mut self, now: Instant) {
        if let Some((estimate, _)) = self.estimate {
            (self.trend, self.mark) = (Trend::Open, (estimate, now));
        }
    }

    fn estimate(&self, now: Instant) -> Option<u64> {
        let (estimate, at) = self.estimate?;
        (now.saturating_since(at) <= ESTIMATE_AGE_MAX).then_some(estimate)
    }
}

/// What is known about all transports of a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Outlook {
    /// Whether any peer has said anything lately.
    pub(crate) is_known: bool,
    /// Whether more is sent than one of them can take.
    pub(crate) is_congested: bool,
    /// Whether packets wait for long on the way.
    pub(crate) is_blocked: bool,
    /// Whether that is our own measurement and not what peers say.
    pub(crate) is_measured: bool,
    /// Whether far less arrives than is sent.
    pub(crate) is_choked: bool,
    /// What has arrived, where that is measured.
    pub(crate) told: Option<Told>,
    acknowledged: u64,
    headroom: u64,
}

impl Outlook {
    /// The way carries so many bit/s, and that is or is not less than what is sent.
    pub(crate) fn measured(estimate: u64, is_congested: bool) -> Self {
        Self {
            is_known: true,
            is_congested,
            is_blocked: false,
            is_measured: true,
            is_choked: false,
            told: None,
            acknowledged: estimate,
            headroom: 0,
        }
    }

    /// Nobody knows how much the way carries, but what waits on it does not leave.
    pub(crate) fn stuck() -> Self {
        Self {
            is_blocked: true,
            ..Self::measured(0, true)
        }
    }

    /// Whether what is too much waits for long, or is lost for the most part: losses alone have other reasons too.
    pub(crate) fn is_crowded(&self) -> bool {
        self.is_congested && (self.is_blocked || self.is_choked)
    }

    /// One more transport, on which so many bit/s are sent.
    pub(crate) fn add(&mut self, downlink: &Downlink, sent: u64, now: Instant) {
        let Some(estimate) = downlink.estimate(now) else {
            // It fits as far as anybody knows.
            self.acknowledged += sent;
            return;
        };
        self.is_known = true;
        if sent < TELLING_MIN {
            self.acknowledged += sent;
            return;
        }
        self.acknowledged += sent.min(estimate);
        self.headroom = self.headroom.max(estimate.saturating_sub(sent));
        let grows = matches!(downlink.trend, Trend::Rising | Trend::Open);
        self.is_congested |= !grows && estimate < sent * CONGESTED_PERCENT / 100;
    }

    /// In bit/s.
    pub(crate) fn budget(&self) -> u64 {
        let headroom = if self.is_congested { 0 } else { self.headroom };
        self.acknowledged + headroom
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Instant {
        Instant::from_millis(millis)
    }

    fn outlook(all: &[(Downlink, u64)], now: Instant) -> Outlook {
        let mut outlook = Outlook::default();
        for (one, sent) in all {
            outlook.add(one, *sent, now);
        }
        outlook
    }

    #[test]
    fn a_meter_goes_on_over_the_end_of_its_counter_and_over_another_counter() {
        let mut meter = Meter::default();
        meter.read(u32::MAX - 49_999, at(0));
        assert_eq!(meter.rate(), None);
        meter.read(12, at(100));
        meter.read(75_000, at(1_000));
        assert_eq!(meter.rate(), Some(1_000_000));
        meter.read(5, at(2_000));
        assert_eq!(meter.rate(), Some(500_000));
    }

    #[test]
    fn a_single_transport_can_have_what_its_peer_says() {
        let mut one = Downlink::default();
        assert!(!outlook(&[(one, 500_000)], at(2_000)).is_known);
        one.on_estimate(800_000, at(2_000));
        let seen = outlook(&[(one, 500_000)], at(2_000));
        assert!(seen.is_known && !seen.is_congested);
        assert_eq!(seen.budget(), 800_000);
        assert!(one.on_estimate(425_000, at(2_100)));
        let seen = outlook(&[(one, 500_000)], at(2_100));
        assert!(seen.is_congested);
        assert_eq!(seen.budget(), 425_000);
        assert!(!outlook(&[(one, 450_000)], at(2_100)).is_congested);
    }

    #[test]
    fn headroom_is_shared_and_not_summed() {
        let now = at(2_000);
        let mut all = [(Downlink::default(), 100_000); 6];
        for (one, _) in &mut all {
            one.on_estimate(160_000, now);
        }
        assert_eq!(outlook(&all, now).budget(), 660_000);
        // One that can't go on takes the headroom of all.
        all[3].0.on_estimate(80_000, now);
        let seen = outlook(&all, now);
        assert!(seen.is_congested);
        assert_eq!(seen.budget(), 580_000);
    }

    #[test]
    fn an_estimate_that_lags_behind_and_grows_does_no_harm() {
        let mut one = Downlink::default();
        let is_congested = |one, now| outlook(&[(one, 1_500_000)], now).is_congested;
        for step in 0..50 {
            let now = at(1_000 + 200 * step);
            one.on_estimate(400_000 * (100 + 2 * step) / 100, now);
            assert!(!is_congested(one, now));
        }
        // It stands still, and that is what the path carries.
        for step in 50..65 {
            one.on_estimate(790_000, at(1_000 + 200 * step));
        }
        assert!(is_congested(one, at(14_000)));
        one.watch(at(14_000));
        assert!(!is_congested(one, at(14_000)));
    }

    #[test]
    fn old_and_silly_estimates_say_nothing() {
        let mut one = Downlink::default();
        let budget = |one, now| outlook(&[(one, 500_000)], now).budget();
        one.on_estimate(0, at(1_000));
        one.on_estimate(u64::MAX, at(1_000));
        assert_eq!(budget(one, at(1_000)), ESTIMATE_RANGE.1);
        one.on_estimate(0, at(1_000));
        assert_eq!(budget(one, at(11_000)), ESTIMATE_RANGE.0);
        assert!(!outlook(&[(one, 500_000)], at(11_001)).is_known);
        // Whoever is sent nothing has no idea.
        one.on_estimate(u64::MAX, at(12_000));
        assert_eq!(outlook(&[(one, 0)], at(12_000)).budget(), 0);
    }
}
