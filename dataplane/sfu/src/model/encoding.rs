//! One version of a published medium: what arrives in one RTP stream and its retransmissions.

use clock::{Duration, Instant, NtpTime};
use proto::loss::NackGenerator;
use proto::rtcp::SenderInfo;
use proto::rtp::{Reception, SenderClock, Unwrapper};

use super::layers::Pace;
use super::observed::Observed;
use super::publisher::Role;
use super::templates::Templates;
use crate::api::EncodingSpec;
use crate::budget::Meter;
use crate::cache::Cache;

/// Least time between two key-frame requests for one encoding.
pub(crate) const KEY_FRAME_REQUEST_INTERVAL: Duration = Duration::from_millis(500);
/// The interval doubles with each request in vain, up to this.
const KEY_FRAME_REQUEST_INTERVAL_MAX: Duration = Duration::from_secs(4);
/// Least time between two changes of the SSRC of an encoding.
const SSRC_CHANGE_INTERVAL: Duration = Duration::from_millis(500);
/// An encoding that has sent nothing for so long may be replaced by another.
pub(crate) const SILENCE: Duration = Duration::from_secs(2);

/// A version of a medium.
#[derive(Debug)]
pub(crate) struct Encoding {
    pub(crate) medium: u32,
    /// Its place among the encodings of the medium, lowest first.
    pub(crate) place: u8,
    /// Names the RTP stream to rewriters. Never given twice, and new when the SSRC changes.
    pub(crate) source: u32,
    /// The same on the worker that it comes from, if that is another one.
    pub(crate) crossed_source: Option<u32>,
    pub(crate) rid: Option<Box<[u8]>>,
    pub(crate) ssrc: Option<u32>,
    pub(crate) rtx_ssrc: Option<u32>,
    pub(crate) unwrapper: Unwrapper,
    pub(crate) seen: Seen,
    pub(crate) reception: Reception,
    pub(crate) nack: Option<NackGenerator>,
    pub(crate) cache: Cache,
    pub(crate) key_frame: KeyFrameRequest,
    pub(crate) last_arrival: Option<Instant>,
    /// Kept where there are several encodings.
    pub(crate) pace: Pace,
    /// Kept where only dependency descriptors tell of temporal layers.
    pub(crate) templates: Option<Box<Templates>>,
    /// Until then it counts as one that does not arrive, for nobody can begin with it.
    pub(crate) deaf_until: Option<Instant>,
    /// The last sender report: NTP time, RTP timestamp, arrival.
    pub(crate) sender_report: Option<(NtpTime, u32, Instant)>,
    pub(crate) clock_rate: u32,
    /// Sequence number of the last FIR (RFC 5104 §4.3.1).
    pub(crate) fir_sequence: u8,
    /// Bytes of packets that came for the first time, without padding: what whoever is sent all of it gets.
    pub(crate) bytes: u64,
    /// All bytes that came, with what its sender repeats or makes up to find out what its way carries: that may be more than the media.
    pub(crate) arrived: u64,
    /// How many a second, while somebody wants to know.
    pub(crate) rate: Meter,
    /// Packets expected and received, and all bytes, at the last estimate for the publisher.
    pub(crate) measured: (u64, u64, u64),
    /// For statistics.
    pub(crate) observed: Observed,
    /// When its SSRC last gave way to another.
    changed: Option<Instant>,
}

impl Encoding {
    /// The version in that place of a medium, of which nothing has come yet.
    pub(crate) fn new(
        (medium, place): (u32, u8),
        source: u32,
        spec: EncodingSpec,
        clock_rate: u32,
    ) -> Self {
        Self {
            medium,
            place,
            source,
            crossed_source: None,
            rid: spec.rid.map(|rid| rid.into_bytes().into()),
            ssrc: spec.ssrc,
            rtx_ssrc: spec.rtx_ssrc,
            unwrapper: Unwrapper::new(),
            seen: Seen::default(),
            reception: Reception::new(clock_rate),
            nack: None,
            cache: Cache::default(),
            key_frame: KeyFrameRequest::default(),
            last_arrival: None,
            pace: Pace::default(),
            templates: None,
            deaf_until: None,
            sender_report: None,
            clock_rate,
            fir_sequence: 0,
            bytes: 0,
            arrived: 0,
            rate: Meter::default(),
            measured: (0, 0, 0),
            observed: Observed::default(),
            changed: None,
        }
    }

    /// Whether an RTP stream with this SSRC may be taken for it now. Changes are as good as a new publisher, with a key frame
    /// for all subscribers, so they are rare.
    pub(crate) fn may_become(&mut self, ssrc: u32, role: Role, now: Instant) -> bool {
        let current = match role {
            Role::Media => self.ssrc,
            Role::Rtx => self.rtx_ssrc,
        };
        if current.is_none_or(|current| current == ssrc) {
            return true;
        }
        let rests = self
            .changed
            .is_some_and(|at| now - at < SSRC_CHANGE_INTERVAL);
        if !rests {
            self.changed = Some(now);
        }
        !rests
    }

    /// How its timestamps tell the time, once it has said so.
    pub(crate) fn clock(&self) -> Option<SenderClock> {
        let (ntp, timestamp, _) = self.sender_report?;
        let info = SenderInfo {
            ntp,
            timestamp,
            ..SenderInfo::default()
        };
        SenderClock::new(&info, self.clock_rate)
    }

    /// Another RTP stream takes its place: nothing of the old one says anything about it.
    pub(crate) fn restart(&mut self, source: u32) {
        self.source = source;
        self.unwrapper = Unwrapper::new();
        self.seen = Seen::default();
        self.reception = Reception::new(self.clock_rate);
        if let Some(nack) = &mut self.nack {
            nack.reset();
        }
        self.last_arrival = None;
        self.pace = Pace::default();
        if let Some(templates) = &mut self.templates {
            templates.forget();
        }
        self.deaf_until = None;
        self.sender_report = None;
        self.measured = (0, 0, self.arrived);
    }
}

/// When to ask for a key frame: at once if someone wants it, and again until it comes, but never too often.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct KeyFrameRequest {
    wanted: bool,
    last: Option<Instant>,
    in_vain: u32,
}

impl KeyFrameRequest {
    /// Somebody needs a key frame.
    pub(crate) fn want(&mut self) {
        self.wanted = true;
    }

    /// It came.
    pub(crate) fn satisfied(&mut self) {
        self.wanted = false;
        self.in_vain = 0;
    }

    /// Something has changed: to ask is worth a try again, as soon as the shortest interval allows.
    pub(crate) fn renew(&mut self) {
        self.in_vain = 0;
    }

    /// How often it was asked for since one came.
    pub(crate) fn in_vain(&self) -> u32 {
        self.in_vain
    }

    /// Nobody needs it any more.
    pub(crate) fn give_up(&mut self) {
        self.satisfied();
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        let interval = KEY_FRAME_REQUEST_INTERVAL * (1 << self.in_vain.saturating_sub(1).min(3));
        self.wanted.then(|| {
            self.last.map_or(Instant::ZERO, |last| {
                last + interval.min(KEY_FRAME_REQUEST_INTERVAL_MAX)
            })
        })
    }

    /// Whether to send a request now, which then counts as sent.
    pub(crate) fn poll(&mut self, now: Instant) -> bool {
        if self.deadline().is_none_or(|deadline| deadline > now) {
            return false;
        }
        self.last = Some(now);
        self.in_vain = self.in_vain.saturating_add(1);
        true
    }
}

/// Which of the last sequence numbers came, in the RTP stream itself or by retransmission.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    bits: [u64; (SEEN_WINDOW / 64) as usize],
    highest: Option<u64>,
}

/// How many sequence numbers [`Seen`] tells apart.
pub(crate) const SEEN_WINDOW: u64 = 1024;

impl Default for Seen {
    fn default() -> Self {
        Self {
            bits: [0; (SEEN_WINDOW / 64) as usize],
            highest: None,
        }
    }
}

/// What [`Seen`] says about a sequence number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sighting {
    New,
    Again,
    TooOld,
}

impl Seen {
    /// The highest sequence number that was noted.
    pub(crate) fn highest(&self) -> Option<u64> {
        self.highest
    }

    /// Notes `sequence`.
    pub(crate) fn note(&mut self, sequence: u64) -> Sighting {
        let highest = *self.highest.get_or_insert(sequence);
        if sequence > highest {
            let step = sequence - highest;
            for passed in 1..=step.min(SEEN_WINDOW) {
                self.set(highest + passed, false);
            }
            // After a jump beyond the window everything in it is unseen.
            if step > SEEN_WINDOW {
                self.bits.fill(0);
            }
            self.highest = Some(sequence);
        } else if highest - sequence >= SEEN_WINDOW {
            return Sighting::TooOld;
        }
        let word = self.bits[(sequence % SEEN_WINDOW / 64) as usize];
        if word & (1 << (sequence % 64)) != 0 {
            return Sighting::Again;
        }
        self.set(sequence, true);
        Sighting::New
    }

    /// Whether `sequence` was noted, or is so old that nobody knows.
    pub(crate) fn is_past(&self, sequence: u64) -> bool {
        let Some(highest) = self.highest.filter(|highest| *highest >= sequence) else {
            return false;
        };
        let word = self.bits[(sequence % SEEN_WINDOW / 64) as usize];
        highest - sequence >= SEEN_WINDOW || word & (1 << (sequence % 64)) != 0
    }

    fn set(&mut self, sequence: u64, seen: bool) {
        let word = &mut self.bits[(sequence % SEEN_WINDOW / 64) as usize];
        let bit = 1 << (sequence % 64);
        *word = if seen { *word | bit } else { *word & !bit };
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn key_frames_are_asked_for_at_once_and_then_ever_more_rarely() {
        let mut request = KeyFrameRequest::default();
        assert!(!request.poll(Instant::from_millis(1)));
        request.want();
        request.want();
        let mut asked = Vec::new();
        for ms in 1..20_000 {
            if request.poll(Instant::from_millis(ms)) {
                asked.push(ms);
            }
        }
        assert_eq!(asked, [1, 501, 1_501, 3_501, 7_501, 11_501, 15_501, 19_501]);
        request.renew();
        let renewed = (19_502..25_000).find(|ms| request.poll(Instant::from_millis(*ms)));
        assert_eq!(renewed, Some(20_001));
        request.satisfied();
        assert_eq!(request.deadline(), None);
        request.want();
        assert!(!request.poll(Instant::from_millis(20_499)));
        assert!(request.poll(Instant::from_millis(20_501)));
    }

    proptest! {
        #[test]
        fn seen_agrees_with_a_set(jumps in prop::collection::vec((-1_100_i64..1_100, any::<bool>()), 1..300)) {
            let mut seen = Seen::default();
            let mut model = std::collections::HashSet::new();
            let mut highest = 100_000_u64;
            seen.note(highest);
            model.insert(highest);
            for (jump, small) in jumps {
                let jump = if small { jump / 300 } else { jump };
                let sequence = highest.saturating_add_signed(jump);
                let expected = if highest.saturating_sub(sequence) >= SEEN_WINDOW {
                    Sighting::TooOld
                } else if model.insert(sequence) {
                    Sighting::New
                } else {
                    Sighting::Again
                };
                prop_assert_eq!(seen.is_past(sequence), expected != Sighting::New);
                prop_assert_eq!(seen.note(sequence), expected);
                highest = highest.max(sequence);
            }
        }
    }
}
