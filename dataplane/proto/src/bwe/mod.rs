//! How much a path carries: an estimate by delay, one by loss, and probes (draft-ietf-rmcat-gcc-02).
//!
//! Sans-IO: what is sent and the feedback about it go in, a rate comes out. One [`Estimator`] belongs to one path. Several
//! transports may share that, as those of one browser do; each has a [`Leg`] with its own numbers and its own clock of the
//! peer. What arrives is summed over them, and each of them can say that the path is used too much.

mod acknowledged;
mod delay;
mod history;
mod leg;
mod loss;
mod probe;
mod rate;

use clock::{Duration, Instant};

use crate::rtcp::TransportFeedback;

use delay::Usage;
pub use leg::{Beside, Leg};
use loss::LossControl;
pub use probe::Probe;
use probe::Prober;
use rate::RateControl;

/// Round trip until one is known.
const RTT_START: Duration = Duration::from_millis(100);
/// What is believed of a path that has told nothing for so long shrinks.
const SILENCE: Duration = Duration::from_millis(500);

/// Between which rates an estimate lies, in bits per second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// It never falls below.
    pub min: f64,
    /// Where it begins.
    pub start: f64,
    /// It never rises above.
    pub max: f64,
    /// As long as packets wait no longer than this on the way, a growing delay is taken for jitter. Zero is what the draft has;
    /// it suits encoders, which follow the estimate at once and can use whatever it is.
    pub jitter: Duration,
    /// An estimate that no probe has confirmed stays below this multiple of what arrives: nobody knows what was not tried.
    pub unproven: f64,
    /// Between probes of a path that is used up to its estimate and wants more.
    pub probe_interval: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            min: 30e3,
            start: 300e3,
            max: 100e6,
            jitter: Duration::ZERO,
            unproven: 1.5,
            probe_interval: Duration::from_secs(5),
        }
    }
}

/// Estimates what a path carries.
#[derive(Debug)]
pub struct Estimator {
    limits: Limits,
    by_delay: RateControl,
    by_loss: LossControl,
    prober: Prober,
    /// What the peer allows (REMB), if it says so.
    allowed: Option<f64>,
    rtt: Duration,
    /// When feedback came last, or something was sent after a silence.
    heard: Option<Instant>,
    is_waiting: bool,
    is_draining: bool,
}

impl Estimator {
    /// One that knows nothing of its path.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            by_delay: RateControl::new(limits.start, limits.unproven),
            by_loss: LossControl::new(),
            prober: Prober::new(limits.probe_interval),
            allowed: None,
            rtt: RTT_START,
            heard: None,
            is_waiting: false,
            is_draining: false,
        }
    }

    /// The same, which after over-use is so much more below its share of what arrives, in bits per second. The draft has nothing
    /// of the kind; browsers have 5 kbit/s, without which slow paths hardly drain.
    #[must_use]
    pub fn sparing(mut self, bits_per_second: f64) -> Self {
        self.by_delay.spare(bits_per_second);
        self
    }

    /// Notes a packet of `bytes` that leaves now on `leg`, as part of a probe if `probe` is not zero; the transport-wide sequence
    /// number that it must carry.
    pub fn on_sent(&mut self, leg: &mut Leg, now: Instant, bytes: usize, probe: u16) -> u16 {
        if !self.is_waiting {
            self.is_waiting = true;
            self.heard = Some(now);
        }
        let bytes = u16::try_from(bytes).unwrap_or(u16::MAX);
        if probe != 0 {
            self.prober.on_sent(probe, millis(now), bytes);
        }
        leg.on_sent(now, bytes, probe)
    }

    /// Feedback of the peer about what it got on `leg`, and what the other legs say.
    pub fn on_feedback(
        &mut self,
        leg: &mut Leg,
        beside: Beside,
        now: Instant,
        feedback: &TransportFeedback<'_>,
    ) {
        let told = leg.on_feedback(now, feedback, &mut self.prober);
        self.is_waiting = false;
        if told.packets == 0 {
            return;
        }
        if let Some(newest) = told.newest {
            self.note_round_trip(now.saturating_since(newest));
        }
        let arriving = leg.acknowledged().map(|rate| rate + beside.arriving);
        let waits = leg.queueing(now).max(beside.queueing);
        let usage = match leg.usage().or(beside.usage) {
            Usage::Over if waits < self.limits.jitter => Usage::Normal,
            Usage::Over if self.is_draining => Usage::Under,
            usage => usage,
        };
        if usage == Usage::Over {
            self.prober.on_overuse(now);
        }
        self.by_delay.on_feedback(now, usage, arriving, self.rtt);
        let sending = self.by_delay.rate().min(self.by_loss.rate());
        self.by_loss
            .on_feedback(now, told.packets, told.lost, sending);
        // What the other legs carried meanwhile is not known well enough to be added.
        if let Some(passed) = told.passed
            && usage != Usage::Over
            && passed > self.estimate()
        {
            self.by_delay.on_probed(now, passed.min(self.limits.max));
            self.by_loss.on_probed(passed);
        }
        self.hold_bounds(now);
    }

    /// As long as next to nothing is sent so that queues on the path empty, what arrives says nothing of what it carries.
    pub fn set_draining(&mut self, is_draining: bool) {
        self.is_draining = is_draining;
    }

    /// The peer allows so much, in bits per second (draft-alvestrand-rmcat-remb-03).
    pub fn on_remb(&mut self, rate: u64) {
        self.allowed = Some(rate as f64);
    }

    /// To be called now and then: a path from which nothing is heard is believed less and less.
    pub fn on_timeout(&mut self, now: Instant) {
        if self.is_silent(now) {
            self.heard = Some(now);
            let half = self.by_delay.rate() / 2.0;
            self.by_delay.set(now, half);
            self.hold_bounds(now);
        }
    }

    /// A probe to send now, if more than the estimate is `wanted`, both in bits per second.
    pub fn poll_probe(&mut self, now: Instant, wanted: f64) -> Option<Probe> {
        let wanted = wanted.min(self.limits.max);
        self.prober.poll(now, self.estimate(), wanted)
    }

    /// Bits per second that the path carries.
    pub fn estimate(&self) -> f64 {
        let rate = self.by_delay.rate().min(self.by_loss.rate());
        let allowed = self.allowed.unwrap_or(f64::MAX);
        rate.min(allowed).clamp(self.limits.min, self.limits.max)
    }

    /// What loss allows, in bits per second; without a bound as long as little is lost.
    pub fn by_loss(&self) -> f64 {
        self.by_loss.rate()
    }

    /// Whether feedback is being waited for that is late.
    pub fn is_silent(&self, now: Instant) -> bool {
        let since = self.heard.filter(|_| self.is_waiting);
        since.is_some_and(|since| now.saturating_since(since) > SILENCE.saturating_add(self.rtt))
    }

    /// From the sending of a packet to the feedback about it, smoothed.
    pub fn round_trip(&self) -> Duration {
        self.rtt
    }

    fn note_round_trip(&mut self, took: Duration) {
        let old = self.rtt.saturating_mul(7);
        self.rtt = old.saturating_add(took).checked_div(8).unwrap_or(took);
    }

    fn hold_bounds(&mut self, now: Instant) {
        let rate = self.by_delay.rate();
        let held = rate.clamp(self.limits.min, self.limits.max);
        if held != rate {
            self.by_delay.set(now, held);
        }
    }
}

fn millis(at: Instant) -> f64 {
    at.as_nanos() as f64 / 1e6
}

#[cfg(test)]
mod tests;
