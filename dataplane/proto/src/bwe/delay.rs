//! Is a queue on the path growing? Trendline of the one-way delay variation and an adaptive threshold
//! (draft-ietf-rmcat-gcc-02 §5.2 to §5.4, with a least-squares line in place of the Kalman filter).

use std::collections::VecDeque;

/// Packets sent within so many milliseconds are one group: pacers and browsers send frames as bursts.
const GROUP_MS: f64 = 5.0;
/// Points that the line is laid through.
const WINDOW: usize = 20;
/// Share of the old value in the smoothed delay.
const SMOOTHING: f64 = 0.9;
/// Makes of a slope, which is a ratio, something comparable with a threshold in milliseconds.
const GAIN: f64 = 4.0;
/// More groups than that do not make the trend more certain.
const CERTAIN: f64 = 60.0;
const THRESHOLD_START_MS: f64 = 12.5;
const THRESHOLD_MIN_MS: f64 = 6.0;
const THRESHOLD_MAX_MS: f64 = 600.0;
/// How quickly the threshold follows a trend that exceeds it, and one below it, per millisecond.
const THRESHOLD_UP: f64 = 0.0087;
const THRESHOLD_DOWN: f64 = 0.039;
/// A trend so far above the threshold is an event of its own, a route change for example, and not followed.
const OUTLIER_MS: f64 = 15.0;
/// So long must a trend stay above the threshold to be over-use.
const OVERUSE_MS: f64 = 10.0;

/// What the path does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Usage {
    /// The queue keeps its length.
    #[default]
    Normal,
    /// It grows.
    Over,
    /// It shrinks.
    Under,
}

impl Usage {
    /// What two say of the same path: the worse counts.
    pub(super) fn or(self, other: Self) -> Self {
        match (self, other) {
            (Self::Over, _) | (_, Self::Over) => Self::Over,
            (Self::Under, _) | (_, Self::Under) => Self::Under,
            (Self::Normal, Self::Normal) => Self::Normal,
        }
    }
}

/// Packets sent together. All times in milliseconds, each on the clock of its side.
#[derive(Clone, Copy, Debug)]
struct Group {
    first_sent: f64,
    last_sent: f64,
    last_arrival: f64,
}

/// Watches the packets of one transport, in the order of their sending.
#[derive(Debug)]
pub(super) struct Detector {
    current: Option<Group>,
    previous: Option<Group>,
    groups: f64,
    accumulated: f64,
    smoothed: f64,
    /// Arrival and smoothed delay.
    points: VecDeque<(f64, f64)>,
    threshold: f64,
    over_for: f64,
    over_count: u32,
    slope: f64,
    usage: Usage,
}

impl Detector {
    pub(super) fn new() -> Self {
        Self::with(VecDeque::with_capacity(WINDOW.saturating_add(1)))
    }

    /// As new, with the memory that it has.
    pub(super) fn reset(&mut self) {
        let mut points = core::mem::take(&mut self.points);
        points.clear();
        *self = Self::with(points);
    }

    fn with(points: VecDeque<(f64, f64)>) -> Self {
        Self {
            current: None,
            previous: None,
            groups: 0.0,
            accumulated: 0.0,
            smoothed: 0.0,
            points,
            threshold: THRESHOLD_START_MS,
            over_for: 0.0,
            over_count: 0,
            slope: 0.0,
            usage: Usage::Normal,
        }
    }

    pub(super) fn usage(&self) -> Usage {
        self.usage
    }

    /// A packet that arrived.
    pub(super) fn on_packet(&mut self, sent: f64, arrival: f64) {
        let Some(group) = &mut self.current else {
            self.current = Some(Group::of(sent, arrival));
            return;
        };
        if sent < group.first_sent {
            // Reordered across groups: it says nothing that the group has not said.
            return;
        }
        if group.takes(sent, arrival) {
            group.last_sent = group.last_sent.max(sent);
            group.last_arrival = group.last_arrival.max(arrival);
            return;
        }
        let complete = *group;
        self.current = Some(Group::of(sent, arrival));
        if let Some(previous) = self.previous.replace(complete) {
            let sent_apart = complete.last_sent - previous.last_sent;
            let came_apart = complete.last_arrival - previous.last_arrival;
            self.on_group(sent_apart, came_apart, complete.last_arrival);
        }
    }

    fn on_group(&mut self, sent_apart: f64, came_apart: f64, arrival: f64) {
        self.groups += 1.0;
        self.accumulated += came_apart - sent_apart;
        self.smoothed = SMOOTHING * self.smoothed + (1.0 - SMOOTHING) * self.accumulated;
        self.points.push_back((arrival, self.smoothed));
        if self.points.len() <= WINDOW {
            return;
        }
        self.points.pop_front();
        let slope = slope(&self.points).unwrap_or(self.slope);
        let trend = self.groups.min(CERTAIN) * slope * GAIN;
        self.judge(trend, slope, sent_apart);
        self.adapt(trend, came_apart);
        self.slope = slope;
    }

    fn judge(&mut self, trend: f64, slope: f64, sent_apart: f64) {
        if trend > self.threshold {
            // The trend has begun somewhere within the first interval.
            self.over_for += match self.over_count {
                0 => sent_apart / 2.0,
                _ => sent_apart,
            };
            self.over_count = self.over_count.saturating_add(1);
            if self.over_for > OVERUSE_MS && self.over_count > 1 && slope >= self.slope {
                self.over_for = 0.0;
                self.over_count = 0;
                self.usage = Usage::Over;
            }
            return;
        }
        self.over_for = 0.0;
        self.over_count = 0;
        self.usage = match trend < -self.threshold {
            true => Usage::Under,
            false => Usage::Normal,
        };
    }

    /// A threshold that stands still would let flows that fill queues starve us (§5.4).
    fn adapt(&mut self, trend: f64, elapsed: f64) {
        let excess = trend.abs() - self.threshold;
        if excess > OUTLIER_MS {
            return;
        }
        let rate = if excess < 0.0 {
            THRESHOLD_DOWN
        } else {
            THRESHOLD_UP
        };
        let changed = self.threshold + rate * excess * elapsed.clamp(0.0, 100.0);
        self.threshold = changed.clamp(THRESHOLD_MIN_MS, THRESHOLD_MAX_MS);
    }
}

impl Group {
    const fn of(sent: f64, arrival: f64) -> Self {
        Self {
            first_sent: sent,
            last_sent: sent,
            last_arrival: arrival,
        }
    }

    /// Whether a packet belongs to it: sent with the others, or held up with them on the way.
    fn takes(&self, sent: f64, arrival: f64) -> bool {
        let came_apart = arrival - self.last_arrival;
        let caught_up = came_apart - (sent - self.last_sent) < 0.0;
        sent - self.first_sent <= GROUP_MS || (caught_up && came_apart <= GROUP_MS)
    }
}

/// Of the line with the least squares; `None` if all points are at one place.
fn slope(points: &VecDeque<(f64, f64)>) -> Option<f64> {
    let count = points.len() as f64;
    let (sum_x, sum_y) = points.iter().fold((0.0, 0.0), |sums, point| {
        (sums.0 + point.0, sums.1 + point.1)
    });
    let (mean_x, mean_y) = (sum_x / count, sum_y / count);
    let (up, down) = points.iter().fold((0.0, 0.0), |(up, down), (x, y)| {
        let x = x - mean_x;
        (up + x * (y - mean_y), down + x * x)
    });
    (down > 0.0).then(|| up / down)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Packets every 10 ms, each `growth` later than the one before; what was found on the way.
    fn watch(detector: &mut Detector, from: f64, count: u32, growth: f64) -> Vec<Usage> {
        let usages = (0..count).map(|nth| {
            let nth = f64::from(nth);
            let sent = from + nth * 10.0;
            detector.on_packet(sent, sent + 30.0 + nth * growth);
            detector.usage()
        });
        usages.collect()
    }

    #[test]
    fn a_steady_path_is_normal_whatever_its_delay() {
        let found = watch(&mut Detector::new(), 0.0, 500, 0.0);
        assert!(found.iter().all(|usage| *usage == Usage::Normal));
    }

    #[test]
    fn a_growing_queue_is_over_use_within_half_a_second() {
        let mut detector = Detector::new();
        watch(&mut detector, 0.0, 100, 0.0);
        let found = watch(&mut detector, 1000.0, 50, 1.0);
        assert!(found.contains(&Usage::Over));
    }

    #[test]
    fn a_shrinking_queue_is_under_use() {
        let mut detector = Detector::new();
        watch(&mut detector, 0.0, 100, 0.0);
        let found = watch(&mut detector, 1000.0, 60, -1.0);
        assert!(found.contains(&Usage::Under));
        assert!(!found.contains(&Usage::Over));
    }

    #[test]
    fn jitter_is_no_trend() {
        let mut detector = Detector::new();
        let mut rng = clock::Rng::from_number(3);
        for nth in 0..3000 {
            let sent = f64::from(nth) * 10.0;
            detector.on_packet(sent, sent + 30.0 + rng.below(8_000) as f64 / 1000.0);
            assert_ne!(detector.usage(), Usage::Over, "after {nth}");
        }
    }
}
