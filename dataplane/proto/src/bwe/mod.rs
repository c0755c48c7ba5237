//! How much a path carries: an estimate by delay, one by loss, and probes (draft-ietf-rmcat-gcc-02).
//!
//! Sans-IO: what is sent and the feedback about it go in, a rate comes out. One [`Estimator`] belongs to one transport.

mod acknowledged;
mod delay;
mod history;
mod loss;
mod probe;
mod rate;

use clock::{Duration, Instant};

use crate::rtcp::TransportFeedback;
use crate::rtp::sequence::nearest;

use acknowledged::Acknowledged;
use delay::{Detector, Usage};
use history::{History, Sent};
use loss::LossControl;
pub use probe::Probe;
use probe::Prober;
use rate::RateControl;

/// A tick of the receiver's clock in transport-wide feedback, in milliseconds.
const TICK_MS: f64 = 0.25;
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
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            min: 30e3,
            start: 300e3,
            max: 100e6,
        }
    }
}

/// Estimates what the path of one transport carries.
#[derive(Debug)]
pub struct Estimator {
    limits: Limits,
    history: History,
    detector: Detector,
    by_delay: RateControl,
    by_loss: LossControl,
    acknowledged: Acknowledged,
    prober: Prober,
    /// What the peer allows (REMB), if it says so.
    allowed: Option<f64>,
    rtt: Duration,
    /// When feedback came last, or something was sent after a silence.
    heard: Option<Instant>,
    is_waiting: bool,
}

impl Estimator {
    /// One that knows nothing of its path. All its memory, some 13 KiB, is taken here.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            history: History::new(),
            detector: Detector::new(),
            by_delay: RateControl::new(limits.start),
            by_loss: LossControl::new(),
            acknowledged: Acknowledged::new(),
            prober: Prober::new(),
            allowed: None,
            rtt: RTT_START,
            heard: None,
            is_waiting: false,
        }
    }

    /// Notes a packet of `bytes` that leaves now, as part of a probe if `probe` is not zero; the transport-wide sequence number
    /// that it must carry.
    pub fn on_sent(&mut self, now: Instant, bytes: usize, probe: u16) -> u16 {
        if !self.is_waiting {
            self.is_waiting = true;
            self.heard = Some(now);
        }
        let bytes = u16::try_from(bytes).unwrap_or(u16::MAX);
        if probe != 0 {
            self.prober.on_sent(probe, millis(now), bytes);
        }
        let sent = Sent {
            at: now,
            bytes,
            probe,
        };
        self.history.push(sent) as u16
    }

    /// Feedback of the peer about what it got.
    pub fn on_feedback(&mut self, now: Instant, feedback: &TransportFeedback<'_>) {
        let (mut packets, mut lost) = (0_u64, 0_u64);
        let mut newest: Option<Instant> = None;
        let mut passed = None;
        for status in feedback.statuses() {
            let number = nearest(self.history.next(), status.sequence);
            let Some(arrival) = status.arrival else {
                // It may yet be reported as come; until then it counts as lost, and is not forgotten.
                packets = packets.saturating_add(1);
                lost = lost.saturating_add(1);
                continue;
            };
            let Some(sent) = self.history.take(number) else {
                continue;
            };
            packets = packets.saturating_add(1);
            newest = newest.max(Some(sent.at));
            let arrival = arrival as f64 * TICK_MS;
            self.acknowledged.on_packet(arrival, sent.bytes);
            self.detector.on_packet(millis(sent.at), arrival);
            if sent.probe != 0 {
                let found = self.prober.on_arrival(now, sent.probe, arrival, sent.bytes);
                passed = found.or(passed);
            }
        }
        self.is_waiting = false;
        if packets == 0 {
            return;
        }
        if let Some(newest) = newest {
            self.note_round_trip(now.saturating_since(newest));
        }
        let arriving = self.acknowledged.rate();
        let usage = self.detector.usage();
        if usage == Usage::Over {
            self.prober.on_overuse(now);
        }
        self.by_delay.on_feedback(now, usage, arriving, self.rtt);
        let sending = self.by_delay.rate().min(self.by_loss.rate());
        self.by_loss.on_feedback(now, packets, lost, sending);
        if let Some(passed) = passed
            && usage != Usage::Over
            && passed > self.estimate()
        {
            self.by_delay.on_probed(now, passed.min(self.limits.max));
            self.by_loss.on_probed(passed);
        }
        self.hold_bounds(now);
    }

    /// The peer allows so much, in bits per second (draft-alvestrand-rmcat-remb-03).
    pub fn on_remb(&mut self, rate: u64) {
        self.allowed = Some(rate as f64);
    }

    /// To be called now and then: a path from which nothing is heard is believed less and less.
    pub fn on_timeout(&mut self, now: Instant) {
        if let Some(heard) = self.heard
            && self.is_waiting
            && now.saturating_since(heard) > SILENCE.saturating_add(self.rtt)
        {
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

    /// Bits per second that arrive, if that is known.
    pub fn acknowledged(&self) -> Option<f64> {
        self.acknowledged.rate()
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
