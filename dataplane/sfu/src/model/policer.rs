//! How much may come of a published medium, and what becomes of more.
//!
//! Senders are told their ceiling, and those that obey never meet this. Whoever goes on above it for seconds loses whole
//! encodings, the highest first, and of the only one that is left everything until there is room again. What comes at once is
//! bounded by [`DEPTH`].

use clock::{Duration, Instant};

use super::layers::Places;
use crate::api::Kind;

/// What may come of a picture where nobody has said less, in bit/s: more than a screen of 4K takes.
const VIDEO_DEFAULT: u64 = 30_000_000;
/// What may come of sound, in bit/s: the most that Opus makes (RFC 6716 §2.1.1), twice (RFC 2198). No ceiling is about it.
const SOUND_MAX: u64 = 1_300_000;
/// Senders aim at the ceiling, and retransmissions and probes come on top: so much of it may come, in percent.
const MARGIN_PERCENT: u64 = 125;
/// For so long somebody may send twice as much as he may.
const DEPTH: u64 = Duration::from_secs(3).as_nanos() as u64;
/// Once an encoding is left out there is so much room for the others, and so much must there be before one goes on.
const RELIEF: u64 = Duration::from_millis(750).as_nanos() as u64;
/// What a packet takes besides its RTP, in bytes: the headers of UDP and IP.
const HEADERS: u64 = 28;
/// Of fractions of a nanosecond so many bits are kept.
const FRACTION: u32 = 8;

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Passes,
    /// The first that passes after others did not: what it builds on is missing.
    Resumes,
    TooMuch,
}

/// Watches over one medium (in the way of the Generic Cell Rate Algorithm, ITU-T I.371).
#[derive(Clone, Debug)]
pub(crate) struct Policer {
    /// How long a byte takes at the rate that is allowed, in nanoseconds, `FRACTION` bits of fraction.
    byte: u64,
    /// Until when what has passed would take at that rate; and everything that came. In nanoseconds, for the sake of few
    /// instructions.
    passed: u64,
    offered: u64,
    /// Encodings that are left out.
    barred: Places,
    /// The only one left is left out for now.
    pauses: bool,
}

impl Policer {
    /// No more than `max` bit/s, if anybody said so; nothing of sound.
    pub(crate) fn new(kind: Kind, max: Option<u64>) -> Self {
        let max = match kind {
            Kind::Audio => SOUND_MAX,
            Kind::Video => max.unwrap_or(VIDEO_DEFAULT).clamp(1_000, VIDEO_DEFAULT),
        };
        let allowed = max * MARGIN_PERCENT / 100 / 8;
        Self {
            byte: (1_000_000_000 << FRACTION) / allowed,
            passed: 0,
            offered: 0,
            barred: Places::NONE,
            pauses: false,
        }
    }

    /// A packet of the encoding in `place` has come, one of those that are `arriving`.
    #[inline]
    pub(crate) fn judge(
        &mut self,
        now: Instant,
        place: u8,
        arriving: Places,
        bytes: usize,
    ) -> Verdict {
        let now = now.as_nanos();
        let takes = ((bytes as u64 + HEADERS) * self.byte) >> FRACTION;
        let end = now + DEPTH;
        self.offered = (self.offered.max(now) + takes).min(end);
        let passed = self.passed.max(now) + takes;
        if passed <= end && self.barred.is_empty() && !self.pauses {
            self.passed = passed;
            return Verdict::Passes;
        }
        self.restrict(now, place, arriving, passed)
    }

    /// The same where there is or was too much.
    #[cold]
    fn restrict(&mut self, now: u64, place: u8, arriving: Places, passed: u64) -> Verdict {
        let end = now + DEPTH;
        if self.offered <= now + RELIEF {
            // All of it would fit.
            self.barred = Places::NONE;
        }
        if self.barred.contains(place) {
            return Verdict::TooMuch;
        }
        if self.pauses {
            if passed + RELIEF > end {
                return Verdict::TooMuch;
            }
            self.pauses = false;
            self.passed = passed;
            return Verdict::Resumes;
        }
        if passed <= end {
            self.passed = passed;
            return Verdict::Passes;
        }
        let left = arriving.or(Places::only(place)).minus(self.barred);
        let highest = left.highest().filter(|_| left.highest() != left.lowest());
        match highest {
            Some(highest) => {
                self.barred = self.barred.or(Places::only(highest));
                self.passed = end.saturating_sub(RELIEF);
            }
            None => self.pauses = true,
        }
        match highest {
            Some(highest) if highest != place => Verdict::Passes,
            _ => Verdict::TooMuch,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const THREE: Places = Places::up_to(2);

    /// Feeds packets of 972 bytes, of each encoding at so many kbit/s, for so long. Percents of each that passed, second by
    /// second.
    fn feed(policer: &mut Policer, kbit: &[u64], from: u64, seconds: u64) -> Vec<Vec<u64>> {
        let mut due: Vec<f64> = vec![0.0; kbit.len()];
        let mut all = Vec::new();
        for second in from..from + seconds {
            let mut counts = vec![(0, 0); kbit.len()];
            for ms in 0..1_000 {
                let now = Instant::from_millis(1_000 * second + ms);
                for (place, rate) in kbit.iter().enumerate() {
                    due[place] += *rate as f64 / 8_000.0;
                    while due[place] >= 1.0 {
                        due[place] -= 1.0;
                        let arriving = (0..3_u8)
                            .filter(|one| kbit.get(usize::from(*one)).is_some_and(|rate| *rate > 0))
                            .fold(Places::NONE, |all, one| all.or(Places::only(one)));
                        let verdict = policer.judge(now, place as u8, arriving, 972);
                        counts[place].0 += 1;
                        counts[place].1 += u64::from(verdict != Verdict::TooMuch);
                    }
                }
            }
            all.push(
                counts
                    .iter()
                    .map(|(all, passed)| 100 * passed / (*all).max(1))
                    .collect(),
            );
        }
        all
    }

    fn policer(kbit: u64) -> Policer {
        Policer::new(Kind::Video, Some(1_000 * kbit))
    }

    #[test]
    fn who_keeps_to_the_ceiling_loses_nothing() {
        let mut policer = policer(1_000);
        let all = feed(&mut policer, &[150, 350, 700], 10, 60);
        assert!(all.iter().flatten().all(|percent| *percent == 100));
        // Neither does who pauses and then sends what was saved up.
        let mut policer = self::policer(1_000);
        for round in 0..10 {
            let all = feed(&mut policer, &[4_000], 10 + 10 * round, 1);
            assert_eq!(all[0][0], 100);
        }
    }

    #[test]
    fn whole_encodings_go_the_highest_first() {
        assert!(THREE.contains(2));
        let mut policer = policer(600);
        let all = feed(&mut policer, &[150, 450, 1_200], 10, 30);
        assert_eq!(all[0], [100, 100, 100]);
        assert_eq!(all[8..], vec![vec![100, 100, 0]; 22]);
        // It obeys at last, and gets everything again.
        let all = feed(&mut policer, &[150, 300, 200], 40, 25);
        assert_eq!(all[20..], vec![vec![100, 100, 100]; 5]);
    }

    #[test]
    fn of_the_only_one_no_more_passes_than_may() {
        let mut policer = policer(1_000);
        let all = feed(&mut policer, &[10_000], 10, 100);
        let passed: u64 = all[10..].iter().map(|second| second[0]).sum();
        let average = passed as f64 / 90.0;
        assert!((11.0..13.5).contains(&average), "{average} %");
        // Also if there were others first.
        let mut policer = self::policer(1_000);
        let all = feed(&mut policer, &[10_000, 10_000, 10_000], 10, 100);
        let passed: u64 = all[10..].iter().flatten().sum();
        assert!(passed as f64 / 90.0 < 13.5, "{passed}");
        assert!(all[10..].iter().all(|second| second[1..] == [0, 0]));
    }

    #[test]
    fn sound_has_a_ceiling_of_its_own() {
        let mut policer = Policer::new(Kind::Audio, Some(1));
        let all = feed(&mut policer, &[1_000], 10, 30);
        assert!(all.iter().flatten().all(|percent| *percent == 100));
        let all = feed(&mut policer, &[20_000], 40, 30);
        assert!(all[10..].iter().all(|second| second[0] < 20));
    }

    #[test]
    fn tiny_packets_are_weighed_by_their_headers() {
        let mut policer = Policer::new(Kind::Video, None);
        let mut passed = 0;
        for nth in 0..1_000_000_u64 {
            let now = Instant::from_nanos(10_000_000_000 + 5_000 * nth);
            let verdict = policer.judge(now, 0, Places::only(0), 13);
            passed += u64::from(verdict != Verdict::TooMuch);
        }
        // Five seconds at 200 000 packets a second, of which 114 000 are allowed, and three seconds' worth at once.
        assert!((800_000..960_000).contains(&passed), "{passed}");
    }
}
