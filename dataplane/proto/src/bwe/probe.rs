//! Sending more than the media for a moment, to learn whether more would pass.

use core::ops::Add as _;

use clock::{Duration, Instant};

/// A probe lasts so long at least.
const LENGTH: Duration = Duration::from_millis(20);
/// And has so many packets at least.
const PACKETS_MIN: u32 = 5;
/// Of its packets so many must have come for a result.
const SHARE_MIN: f64 = 0.8;
/// Feedback about it comes within this or not at all.
const PATIENCE: Duration = Duration::from_secs(1);
/// What may pass of what was sent, before the difference is taken for the path's limit.
const DRAINED: f64 = 0.9;
/// Of a limit that was found so, so much is used.
const CAUTION: f64 = 0.95;
/// What passed beyond this multiple of the estimate says that the estimate was wrong.
const FAR_MORE: f64 = 1.3;
/// Beyond this multiple the next one comes so many times sooner: short probes of slow paths often show too little.
const MORE: f64 = 1.05;
const SOONER: u32 = 3;
/// The first probe of a path, and those that follow a success, as multiples of the estimate.
const FIRST: f64 = 3.0;
const NEXT: f64 = 2.0;

/// What to send: `packets` or more, `bytes` or more, at `rate`, each noted with `id`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Probe {
    /// Never zero.
    pub id: u16,
    /// Bits per second.
    pub rate: f64,
    /// Least number of packets.
    pub packets: u32,
    /// Least number of bytes.
    pub bytes: u32,
}

/// Decides when to probe, and reads the result.
#[derive(Debug)]
pub(super) struct Prober {
    /// Between probes of a path that is used up to its estimate and wants more.
    interval: Duration,
    running: Option<Running>,
    last_id: u16,
    /// Not before.
    next: Option<Instant>,
    /// What the next one aims at, if it follows a success.
    follow: Option<f64>,
}

#[derive(Debug)]
struct Running {
    probe: Probe,
    /// The estimate when it began.
    known: f64,
    begun: Instant,
    sent: Seen,
    came: Seen,
}

/// A row of packets.
#[derive(Debug, Default)]
struct Seen {
    packets: u32,
    bytes: f64,
    first: Option<(f64, f64)>,
    last: Option<(f64, f64)>,
}

impl Prober {
    pub(super) fn new(interval: Duration) -> Self {
        Self {
            interval,
            running: None,
            last_id: 0,
            next: None,
            follow: None,
        }
    }

    /// A probe to be sent now, if one is due and `wanted`, in bits per second, is more than the estimate.
    pub(super) fn poll(&mut self, now: Instant, estimate: f64, wanted: f64) -> Option<Probe> {
        if let Some(running) = &self.running {
            if now.saturating_since(running.begun) < PATIENCE {
                return None;
            }
            self.end(now);
        }
        if wanted <= estimate || self.next.is_some_and(|next| now < next) {
            return None;
        }
        let first = self.next.is_none();
        let aim = match self.follow.take() {
            Some(aim) => aim,
            None if first => estimate * FIRST,
            None => estimate * NEXT,
        };
        self.last_id = self.last_id.checked_add(1).unwrap_or(1);
        let rate = aim.min(wanted * NEXT);
        let bytes = rate * LENGTH.as_secs_f64() / 8.0;
        let probe = Probe {
            id: self.last_id,
            rate,
            packets: PACKETS_MIN,
            bytes: bytes as u32,
        };
        self.next = Some(now.add(self.interval));
        self.running = Some(Running {
            probe,
            known: estimate,
            begun: now,
            sent: Seen::default(),
            came: Seen::default(),
        });
        Some(probe)
    }

    /// Over-use: probing would make it worse.
    pub(super) fn on_overuse(&mut self, now: Instant) {
        self.running = None;
        self.follow = None;
        self.next = Some(now.add(self.interval));
    }

    pub(super) fn on_sent(&mut self, probe: u16, sent: f64, bytes: u16) {
        if let Some(running) = &mut self.running
            && running.probe.id == probe
        {
            running.sent.note(sent, bytes);
        }
    }

    /// A packet of a probe has come; what passes, in bits per second, when that is known.
    pub(super) fn on_arrival(
        &mut self,
        now: Instant,
        probe: u16,
        arrival: f64,
        bytes: u16,
    ) -> Option<f64> {
        let running = self.running.as_mut()?;
        if running.probe.id != probe {
            return None;
        }
        running.came.note(arrival, bytes);
        let (passed, is_limited) = running.result()?;
        let known = running.known;
        self.end(now);
        // Nothing but the probe itself was the limit, or there is far more than was known: another one may find out more.
        if !is_limited || passed > known * FAR_MORE {
            self.follow = Some(passed * NEXT);
            self.next = Some(now);
        } else if passed > known * MORE {
            let soon = self.interval.checked_div(SOONER).unwrap_or(self.interval);
            self.next = Some(now.add(soon));
        }
        Some(passed)
    }

    fn end(&mut self, now: Instant) {
        self.running = None;
        self.next = Some(now.add(self.interval));
    }
}

impl Running {
    /// What has passed, and whether that was less than what was sent.
    fn result(&self) -> Option<(f64, bool)> {
        let enough = f64::from(self.sent.packets) * SHARE_MIN;
        let complete = self.sent.packets >= self.probe.packets
            && self.sent.bytes >= f64::from(self.probe.bytes)
            && f64::from(self.came.packets) >= enough;
        if !complete {
            return None;
        }
        let sent = self.sent.rate(|seen| seen.last)?;
        let came = self.came.rate(|seen| seen.first)?;
        // What came quicker than it was sent was held up and let go at once: that is no capacity.
        Some(match came < sent * DRAINED {
            true => (came * CAUTION, true),
            false => (came.min(sent), false),
        })
    }
}

impl Seen {
    fn note(&mut self, at: f64, bytes: u16) {
        let bytes = f64::from(bytes);
        self.packets = self.packets.saturating_add(1);
        self.bytes += bytes;
        if self.first.is_none_or(|(first, _)| at < first) {
            self.first = Some((at, bytes));
        }
        if self.last.is_none_or(|(last, _)| at >= last) {
            self.last = Some((at, bytes));
        }
    }

    /// Bits per second between the first and the last packet, without the one that begins or ends outside of that time.
    fn rate(&self, without: impl Fn(&Self) -> Option<(f64, f64)>) -> Option<f64> {
        let span = self.last?.0 - self.first?.0;
        let bytes = self.bytes - without(self)?.1;
        (span > 0.0).then(|| bytes * 8_000.0 / span)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Instant {
        Instant::from_millis(millis)
    }

    /// Sends a probe over a path that passes `capacity` bits per second; what it says.
    fn run(prober: &mut Prober, probe: Probe, start: u64, capacity: f64) -> Option<f64> {
        let (mut sent, mut arrival) = (start as f64, 0.0_f64);
        let mut result = None;
        let packets = (f64::from(probe.bytes) / 1200.0).ceil().max(5.0) as u32;
        let mut arrivals = Vec::new();
        for _ in 0..packets {
            prober.on_sent(probe.id, sent, 1200);
            arrival = (sent + 20.0).max(arrival + 1200.0 * 8_000.0 / capacity);
            arrivals.push(arrival);
            sent += 1200.0 * 8_000.0 / probe.rate;
        }
        for arrival in arrivals {
            let found = prober.on_arrival(at(arrival as u64), probe.id, arrival, 1200);
            result = result.or(found);
        }
        result
    }

    #[test]
    fn success_leads_to_the_next_and_a_limit_is_found() {
        let mut prober = Prober::new(Duration::from_secs(5));
        let first = prober.poll(at(0), 300e3, 5e6).unwrap();
        assert_eq!((first.rate, first.id), (900e3, 1));
        assert_eq!(prober.poll(at(10), 300e3, 5e6), None, "one at a time");
        let passed = run(&mut prober, first, 0, 1.5e6).unwrap();
        assert!((800e3..=901e3).contains(&passed), "{passed}");

        let second = prober.poll(at(200), passed, 5e6).unwrap();
        assert!((1.6e6..=1.81e6).contains(&second.rate), "{}", second.rate);
        let third = run(&mut prober, second, 200, 1e6).unwrap();
        assert!((0.9e6..=1e6).contains(&third), "{third}");
        assert_eq!(prober.poll(at(400), third, 5e6), None, "it has failed");
        assert!(prober.poll(at(5_600), third, 5e6).is_some(), "later again");
    }

    #[test]
    fn nobody_probes_who_wants_no_more_or_is_told_to_stop() {
        let mut prober = Prober::new(Duration::from_secs(5));
        assert_eq!(prober.poll(at(0), 1e6, 0.9e6), None);
        prober.on_overuse(at(0));
        assert_eq!(prober.poll(at(4_999), 1e6, 2e6), None);
        assert!(prober.poll(at(5_000), 1e6, 2e6).is_some());
    }

    #[test]
    fn a_lost_probe_says_nothing() {
        let mut prober = Prober::new(Duration::from_secs(5));
        let probe = prober.poll(at(0), 1e6, 9e6).unwrap();
        for nth in 0..10 {
            prober.on_sent(probe.id, f64::from(nth), 1200);
        }
        assert_eq!(prober.on_arrival(at(50), probe.id, 50.0, 1200), None);
        assert_eq!(prober.poll(at(999), 1e6, 9e6), None);
        assert_eq!(prober.poll(at(1_001), 1e6, 9e6), None, "its pause begins");
        assert!(prober.poll(at(6_001), 1e6, 9e6).is_some());
    }
}
