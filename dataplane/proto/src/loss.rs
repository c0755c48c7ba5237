//! What is missing of a received RTP stream, and when to ask for it again with NACK (RFC 4585 §6.2.1).

use core::ops::Add as _;

use clock::{Duration, Instant};

/// At most so many packets are asked for; more are a matter for a key frame.
const MAX_MISSING: usize = 512;
/// At most so many are asked for in one NACK: a packet of half a kilobyte at worst.
const MAX_AT_ONCE: usize = 128;
/// A packet that is merely overtaken by others comes within this.
const REORDER_WAIT: Duration = Duration::from_millis(5);
/// The shortest time between two requests for a packet.
const MIN_REPEAT: Duration = Duration::from_millis(20);
/// On a way that loses requests each is made twice, so far apart: the one is soon lost with the other, but not by chance alone.
/// Browsers answer only one (they count round trips too), and a request is small.
const TWICE_AFTER: Duration = Duration::from_millis(10);
/// For so long after one was lost.
const TWICE_FOR: Duration = Duration::from_secs(5);
/// So many in a row that were asked for twice are no chance.
const DOUBTS_MAX: u8 = 3;
/// The time between two requests doubles at most so often.
const DOUBLINGS_MAX: u32 = 5;
/// A packet is asked for at most so often.
const MAX_TRIES: u8 = 10;
/// A packet older than this comes too late to be shown.
const MAX_AGE: Duration = Duration::from_secs(1);
/// If more is missing after a silence of `MAX_AGE`, it was lost all the while and most of it is too old: the answers would only
/// delay the key frame. Fewer may be what was lost just now of an RTP stream that pauses, as a shared screen does.
const MAX_AFTER_SILENCE: u64 = 16;

/// What became of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// It is the next one, or the first at all.
    InOrder,
    /// It is newer than the next: those between are missing now.
    AfterGap {
        /// How many of them there are.
        missing: u64,
    },
    /// So much is missing that only a key frame helps. Nothing from before is asked for any more.
    KeyFrameNeeded,
    /// It was missing and is found.
    Recovered,
    /// It is old and was not missing: a duplicate, or given up.
    Late,
}

/// What is due now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Due<'a> {
    /// Sequence numbers to ask for, ascending.
    pub sequences: &'a [u16],
    /// How many packets were given up, for age or number of requests. Unless it is audio, a key frame is needed.
    pub given_up: usize,
}

#[derive(Clone, Copy, Debug)]
struct Missing {
    sequence: u64,
    since: Instant,
    next: Instant,
    /// Milliseconds from `since` to the last request.
    asked: u16,
    tries: u8,
    /// What comes next is the last request once more.
    repeats: bool,
}

impl Missing {
    /// How long after the request that is made now the next one is due. Chance loses one or two requests or their answers; each
    /// more in vain doubles it: where packets wait in a queue that is full, asking often only makes it longer.
    fn patience(&self, first: Duration) -> Duration {
        let doublings = u32::from(self.tries.saturating_sub(2)).min(DOUBLINGS_MAX);
        first.saturating_mul(1 << doublings).min(MAX_AGE)
    }
}

/// Decides which packets of one RTP stream to ask for, and when.
///
/// Retransmissions are given to it like packets of the RTP stream itself, with their original sequence number.
#[derive(Clone, Debug)]
pub struct NackGenerator {
    newest: Option<u64>,
    /// When the newest came.
    heard: Instant,
    /// Ascending, at most `MAX_MISSING`.
    missing: Vec<Missing>,
    due: Vec<u16>,
    /// How long it lately took from the request for a packet until it came, smoothed.
    answer: Duration,
    /// How long the last requests were thought to take.
    expected: Duration,
    /// Until then each is made twice.
    twice_until: Instant,
    /// Packets in a row of which it is not known which request was answered.
    doubts: u8,
}

impl Default for NackGenerator {
    fn default() -> Self {
        Self::new()
    }
}

impl NackGenerator {
    /// One that has seen nothing. All its memory is taken here.
    pub fn new() -> Self {
        Self {
            newest: None,
            heard: Instant::ZERO,
            missing: Vec::with_capacity(MAX_MISSING),
            due: Vec::with_capacity(MAX_AT_ONCE),
            answer: Duration::ZERO,
            expected: Duration::ZERO,
            twice_until: Instant::ZERO,
            doubts: 0,
        }
    }

    /// As new, for another RTP stream, with the memory that it has.
    pub fn reset(&mut self) {
        let (mut missing, mut due) = (
            core::mem::take(&mut self.missing),
            core::mem::take(&mut self.due),
        );
        missing.clear();
        due.clear();
        *self = Self {
            newest: None,
            heard: Instant::ZERO,
            missing,
            due,
            answer: Duration::ZERO,
            expected: Duration::ZERO,
            twice_until: Instant::ZERO,
            doubts: 0,
        };
    }

    /// Notes packet `sequence`, extended by [`crate::rtp::Unwrapper`].
    pub fn on_packet(&mut self, now: Instant, sequence: u64) -> Arrival {
        let Some(newest) = self.newest else {
            self.newest = Some(sequence);
            self.heard = now;
            return Arrival::InOrder;
        };
        if sequence <= newest {
            return self.found(now, sequence);
        }
        self.newest = Some(sequence);
        let silence = now.saturating_since(self.heard);
        self.heard = now;
        let first = newest.saturating_add(1);
        let gap = sequence.saturating_sub(first);
        if gap == 0 {
            return Arrival::InOrder;
        }
        let room = MAX_MISSING.saturating_sub(self.missing.len());
        if gap > room as u64 || (silence > MAX_AGE && gap > MAX_AFTER_SILENCE) {
            self.missing.clear();
            return Arrival::KeyFrameNeeded;
        }
        self.missing
            .extend((first..sequence).map(|sequence| Missing {
                sequence,
                since: now,
                next: now.add(REORDER_WAIT),
                asked: 0,
                tries: 0,
                repeats: false,
            }));
        Arrival::AfterGap { missing: gap }
    }

    /// Forgets what is missing from before `sequence`: a key frame has begun there.
    pub fn forget_before(&mut self, sequence: u64) {
        self.missing.retain(|missing| missing.sequence >= sequence);
    }

    /// What to ask for now. Each packet is asked for again after `rtt`, or after what answers took lately if that is longer,
    /// and a quarter; from the third time on after twice as long, and so on. Where requests get lost each is made twice. Call it
    /// until there are no sequences.
    pub fn poll_nack(&mut self, now: Instant, rtt: Duration) -> Due<'_> {
        self.due.clear();
        let before = self.missing.len();
        self.missing.retain(|missing| {
            missing.next > now
                || (missing.tries < MAX_TRIES && now.saturating_since(missing.since) < MAX_AGE)
        });
        let given_up = before.saturating_sub(self.missing.len());
        let expected = rtt.max(self.answer);
        let quarter = expected.checked_div(4).unwrap_or_default();
        let first = expected.saturating_add(quarter).clamp(MIN_REPEAT, MAX_AGE);
        self.expected = expected;
        let is_twice = now < self.twice_until && first > TWICE_AFTER.saturating_mul(2);
        let due = self
            .missing
            .iter_mut()
            .filter(|missing| missing.next <= now);
        for missing in due.take(MAX_AT_ONCE) {
            self.due.push(missing.sequence as u16);
            let too_old = missing.since.add(MAX_AGE);
            if missing.repeats {
                missing.repeats = false;
                let waited = TWICE_AFTER.min(first);
                let next = now.add(missing.patience(first).saturating_sub(waited));
                missing.next = next.min(too_old);
                continue;
            }
            missing.repeats = is_twice && missing.tries < 2;
            missing.next = match missing.repeats {
                true => now.add(TWICE_AFTER),
                false => now.add(missing.patience(first)),
            };
            missing.next = missing.next.min(too_old);
            missing.tries = missing.tries.saturating_add(1);
            missing.asked = now.saturating_since(missing.since).as_millis() as u16;
        }
        Due {
            sequences: &self.due,
            given_up,
        }
    }

    /// When the next packet is due.
    pub fn deadline(&self) -> Option<Instant> {
        self.missing.iter().map(|missing| missing.next).min()
    }

    /// How many packets are missing.
    pub fn outstanding(&self) -> usize {
        self.missing.len()
    }

    fn found(&mut self, now: Instant, sequence: u64) -> Arrival {
        let position = self
            .missing
            .binary_search_by_key(&sequence, |missing| missing.sequence);
        match position {
            Ok(position) => {
                let missing = self.missing.remove(position);
                if missing.tries > 0 {
                    self.note_answer(now, &missing);
                }
                Arrival::Recovered
            }
            Err(_) => Arrival::Late,
        }
    }

    /// Smoothed as TCP smooths its round trips (RFC 6298 §2), but quicker: there are few.
    ///
    /// Whoever was asked twice may have answered the first request late or the second in time (Karn's question). Where the second is
    /// too recent for an answer it was the first. Else it is taken for the second, as long as most need no second at all.
    fn note_answer(&mut self, now: Instant, missing: &Missing) {
        let since_last = Duration::from_millis(u64::from(missing.asked));
        let since_last = now.saturating_since(missing.since.add(since_last));
        let is_prompt = since_last.saturating_mul(4) >= self.expected.saturating_mul(3);
        let took = match missing.tries {
            1 => {
                self.doubts = 0;
                since_last
            }
            2 if is_prompt && self.doubts < DOUBTS_MAX => {
                self.doubts = self.doubts.saturating_add(1);
                self.twice_until = now.add(TWICE_FOR);
                return;
            }
            _ => {
                // Asking twice would only make a queue longer.
                self.twice_until = Instant::ZERO;
                now.saturating_since(missing.since.add(REORDER_WAIT))
            }
        };
        let old = self.answer.saturating_mul(3);
        self.answer = old.saturating_add(took).checked_div(4).unwrap_or_default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    const RTT: Duration = Duration::from_millis(100);

    fn at(millis: u64) -> Instant {
        Instant::from_millis(millis)
    }

    fn poll(nack: &mut NackGenerator, millis: u64) -> (Vec<u16>, usize) {
        let due = nack.poll_nack(at(millis), RTT);
        (due.sequences.to_vec(), due.given_up)
    }

    #[test]
    fn waits_for_the_overtaken_then_asks_once_a_round_trip() {
        let mut nack = NackGenerator::new();
        assert_eq!(nack.on_packet(at(0), 65534), Arrival::InOrder);
        assert_eq!(nack.on_packet(at(0), 65535), Arrival::InOrder);
        assert_eq!(
            nack.on_packet(at(0), 65539),
            Arrival::AfterGap { missing: 3 }
        );
        assert_eq!(nack.deadline(), Some(at(5)));
        assert_eq!(poll(&mut nack, 4), (vec![], 0));
        assert_eq!(nack.on_packet(at(4), 65536), Arrival::Recovered);
        assert_eq!(poll(&mut nack, 5), (vec![1, 2], 0));
        assert_eq!(poll(&mut nack, 129), (vec![], 0));
        assert_eq!(nack.on_packet(at(129), 65537), Arrival::Recovered);
        assert_eq!(nack.on_packet(at(129), 65537), Arrival::Late);
        assert_eq!(poll(&mut nack, 130), (vec![2], 0));
        nack.forget_before(65539);
        assert_eq!((nack.deadline(), nack.outstanding()), (None, 0));
    }

    #[test]
    fn gives_up_after_a_second() {
        let mut nack = NackGenerator::new();
        nack.on_packet(at(0), 10);
        nack.on_packet(at(0), 12);
        let (mut requests, mut now) = (0, 0);
        let given_up = loop {
            now = nack.deadline().unwrap().as_millis().max(now);
            let (sequences, given_up) = poll(&mut nack, now);
            requests += sequences.len();
            if given_up > 0 {
                break given_up;
            }
        };
        // After 5, 130, 255, 380 and 630 ms.
        assert_eq!((requests, given_up), (5, 1));
        assert_eq!(now, 1000);

        nack.on_packet(at(3000), 14);
        let mut requests = 0;
        for millis in 3000..=4000 {
            let due = nack.poll_nack(at(millis), Duration::ZERO);
            requests += due.sequences.len();
        }
        // After 5, 25, 45, 65, 105, 185, 345 and 665 ms.
        assert_eq!((requests, nack.outstanding()), (8, 0));
    }

    /// A peer behind a queue of `delay`: how often each of 100 lost packets is asked for until it comes.
    fn requests_behind_a_queue(delay: u64) -> f64 {
        let mut nack = NackGenerator::new();
        let mut coming: Vec<(u64, u64)> = Vec::new();
        let mut requests = 0;
        for now in 0..200 * 20 {
            // Every second packet is lost, one is due every 20 ms.
            if now % 20 == 0 && (now / 20) % 2 == 0 {
                nack.on_packet(at(now), now / 20);
            }
            let mut come = coming
                .extract_if(.., |(due, _)| *due <= now)
                .collect::<Vec<_>>();
            come.sort_unstable();
            for (_, sequence) in come {
                nack.on_packet(at(now), sequence);
            }
            let due = nack.poll_nack(at(now), Duration::ZERO).sequences.to_vec();
            requests += due.len();
            coming.extend(
                due.iter()
                    .map(|sequence| (now + delay, u64::from(*sequence))),
            );
        }
        requests as f64 / 100.0
    }

    #[test]
    fn a_long_queue_is_not_made_longer() {
        assert!(requests_behind_a_queue(1) < 1.1);
        let behind = requests_behind_a_queue(300);
        assert!(behind < 2.0, "{behind} requests for each packet");
    }

    #[test]
    fn a_lost_request_makes_the_next_ones_go_twice_and_not_later() {
        let mut nack = NackGenerator::new();
        nack.on_packet(at(0), 0);
        nack.on_packet(at(0), 2);
        assert_eq!(poll(&mut nack, 5).0, [1]);
        assert_eq!(poll(&mut nack, 130).0, [1]);
        assert_eq!(nack.on_packet(at(230), 1), Arrival::Recovered);
        // The answer to the second took as long as ever.
        assert_eq!(nack.answer, Duration::ZERO);
        nack.on_packet(at(1_000), 4);
        let mut asked = Vec::new();
        for now in 1_000..1_200 {
            asked.extend(poll(&mut nack, now).0.iter().map(|_| now));
        }
        assert_eq!(asked, [1_005, 1_015, 1_130, 1_140]);
        assert_eq!(nack.on_packet(at(1_200), 3), Arrival::Recovered);
        // Long after nothing was lost any more.
        nack.on_packet(at(8_000), 6);
        assert_eq!(poll(&mut nack, 8_005).0, [5]);
        assert_eq!(poll(&mut nack, 8_015).0, []);
    }

    #[test]
    fn a_great_gap_asks_for_a_key_frame() {
        let mut nack = NackGenerator::new();
        nack.on_packet(at(0), 0);
        assert_eq!(
            nack.on_packet(at(0), 513),
            Arrival::AfterGap { missing: 512 }
        );
        assert_eq!(nack.on_packet(at(0), 515), Arrival::KeyFrameNeeded);
        assert_eq!(nack.outstanding(), 0);
        assert_eq!(nack.on_packet(at(0), 1029), Arrival::KeyFrameNeeded);
        assert_eq!(nack.on_packet(at(0), 1030), Arrival::InOrder);
    }

    #[test]
    fn what_was_lost_in_a_long_silence_is_not_asked_for() {
        let mut nack = NackGenerator::new();
        nack.on_packet(at(0), 0);
        assert_eq!(
            nack.on_packet(at(1_000), 18),
            Arrival::AfterGap { missing: 17 }
        );
        assert_eq!(nack.on_packet(at(2_001), 36), Arrival::KeyFrameNeeded);
        assert_eq!(nack.outstanding(), 0);
        let few = nack.on_packet(at(9_000), 53);
        assert_eq!(few, Arrival::AfterGap { missing: 16 });
    }

    #[test]
    fn many_are_asked_for_in_portions() {
        let mut nack = NackGenerator::new();
        nack.on_packet(at(0), 0);
        nack.on_packet(at(0), 301);
        let portions: Vec<_> = (0..4).map(|_| poll(&mut nack, 10).0.len()).collect();
        assert_eq!(portions, [128, 128, 44, 0]);
    }

    proptest! {
        #[test]
        fn asks_for_exactly_what_a_set_says(steps in prop::collection::vec((-20i64..12, 0u64..30), 1..200)) {
            let mut nack = NackGenerator::new();
            let (mut newest, mut missing, mut now) = (1000_i64, BTreeSet::new(), 0);
            nack.on_packet(at(0), 1000);
            for (step, wait) in steps {
                now += wait;
                let sequence = newest + step;
                let arrival = nack.on_packet(at(now), sequence as u64);
                if sequence > newest {
                    missing.extend(newest + 1..sequence);
                    newest = sequence;
                    let too_many = missing.len() > MAX_MISSING;
                    prop_assert_eq!(arrival == Arrival::KeyFrameNeeded, too_many);
                    if arrival == Arrival::KeyFrameNeeded {
                        missing.clear();
                    }
                } else {
                    prop_assert_eq!(arrival == Arrival::Recovered, missing.remove(&sequence));
                }
                let (asked, given_up) = poll(&mut nack, now);
                prop_assert!(asked.iter().all(|&s| missing.contains(&i64::from(s))));
                if given_up > 0 {
                    let kept: BTreeSet<_> = nack.missing.iter().map(|m| m.sequence as i64).collect();
                    prop_assert_eq!(missing.len() - kept.len(), given_up);
                    missing = kept;
                }
                prop_assert_eq!(nack.outstanding(), missing.len());
            }
        }
    }
}
