use clock::Instant;
use proto::rtp::sequence::nearest;
use std::time::Duration;

/// How many packets back a copy is told from the first.
const WINDOW: u64 = 1024;
const WORDS: usize = (WINDOW / 64) as usize;
/// Packets that are asked for at a time, at most; more are a matter for a key frame.
const MISSING_MAX: usize = 256;
/// A packet that is merely overtaken comes within this.
const REORDER_WAIT: Duration = Duration::from_millis(5);
/// The shortest time between two requests for a packet.
const REPEAT_MIN: Duration = Duration::from_millis(20);
/// A packet is asked for so often at most.
const TRIES_MAX: u8 = 10;
/// The most packets that one NACK asks for.
pub(super) const NACK_MAX: usize = 64;

/// Which packets of an RTP stream came: counts and a window, nothing else per packet.
#[derive(Debug)]
pub(super) struct Reception {
    /// The first and the highest number, extended; from 65536 on, so that there is room below. Zero before the first packet.
    first: u64,
    highest: u64,
    /// Which of the last numbers came, as a ring.
    came: [u64; WORDS],
    received: u64,
    expected_before: u64,
    received_before: u64,
    /// Takes no memory before the first gap.
    missing: Vec<Missing>,
}

#[derive(Clone, Copy, Debug)]
struct Missing {
    number: u64,
    next: Instant,
    tries: u8,
}

/// What a packet was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arrival {
    /// Newer than all before; so many between them did not come.
    Newer {
        /// How many.
        gap: u64,
    },
    /// It had been missing.
    Filled,
    /// Older than the very first one; so many numbers, itself included, are expected besides.
    BeforeFirst {
        /// How many.
        more: u64,
    },
    /// It came before.
    Duplicate,
    /// Nobody knows any more.
    Late,
}

/// What [`Reception::poll_nack`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Due {
    /// How many sequence numbers were written.
    pub(super) count: usize,
    /// Whether some packet has been given up.
    pub(super) given_up: bool,
}

impl Reception {
    pub(super) fn new() -> Self {
        Self {
            first: 0,
            highest: 0,
            came: [0; WORDS],
            received: 0,
            expected_before: 0,
            received_before: 0,
            missing: Vec::new(),
        }
    }

    /// Whether a packet has come.
    pub(super) fn has_begun(&self) -> bool {
        self.highest != 0
    }

    /// The extended form of `sequence`, as seen from the highest.
    pub(super) fn extend(&self, sequence: u16) -> u64 {
        match self.highest {
            0 => 0x1_0000 + u64::from(sequence),
            highest => nearest(highest, sequence),
        }
    }

    /// Notes the packet with this extended number.
    pub(super) fn on_packet(&mut self, number: u64) -> Arrival {
        if number == self.highest + 1 && self.has_begun() {
            // Nearly every packet.
            self.highest = number;
            self.mark(number);
            self.received += 1;
            return Arrival::Newer { gap: 0 };
        }
        if !self.has_begun() {
            (self.first, self.highest) = (number, number);
            self.mark(number);
            self.received += 1;
            return Arrival::Newer { gap: 0 };
        }
        if number > self.highest {
            let gap = number - self.highest - 1;
            if gap >= WINDOW {
                self.came = [0; WORDS];
            } else {
                (self.highest + 1..number).for_each(|skipped| self.unmark(skipped));
            }
            self.highest = number;
            self.mark(number);
            self.received += 1;
            return Arrival::Newer { gap };
        }
        self.on_older(number)
    }

    fn on_older(&mut self, number: u64) -> Arrival {
        if self.highest - number >= WINDOW {
            return Arrival::Late;
        }
        if self.is_marked(number) {
            return Arrival::Duplicate;
        }
        self.mark(number);
        self.received += 1;
        if number < self.first {
            let more = self.first - number;
            self.first = number;
            return Arrival::BeforeFirst { more };
        }
        self.missing.retain(|missing| missing.number != number);
        Arrival::Filled
    }

    /// Remembers the `gap` packets before the highest, to ask for them. False: they are too many, only a key frame helps.
    pub(super) fn ask_for(&mut self, now: Instant, gap: u64) -> bool {
        let missing = &mut self.missing;
        if missing.len() as u64 + gap > MISSING_MAX as u64 {
            missing.clear();
            return false;
        }
        missing.extend((self.highest - gap..self.highest).map(|number| Missing {
            number,
            next: now + REORDER_WAIT,
            tries: 0,
        }));
        true
    }

    /// When the next packet is to be asked for.
    pub(super) fn nack_deadline(&self) -> Option<Instant> {
        self.missing.iter().map(|missing| missing.next).min()
    }

    /// Writes the sequence numbers to ask for now, ascending. Each is asked for again after a round trip and a quarter.
    pub(super) fn poll_nack(
        &mut self,
        now: Instant,
        rtt: Duration,
        sequences: &mut [u16; NACK_MAX],
    ) -> Due {
        let mut due = Due {
            count: 0,
            given_up: false,
        };
        let missing = &mut self.missing;
        let before = missing.len();
        missing.retain(|missing| missing.next > now || missing.tries < TRIES_MAX);
        due.given_up = missing.len() < before;
        let repeat = (rtt + rtt / 4).max(REPEAT_MIN);
        let ready = missing.iter_mut().filter(|missing| missing.next <= now);
        for (missing, sequence) in ready.zip(sequences) {
            missing.next = now + repeat;
            missing.tries += 1;
            *sequence = missing.number as u16;
            due.count += 1;
        }
        due
    }

    /// The highest number as a report has it: cycles are counted from the first packet's (RFC 3550 §6.4.1).
    pub(super) fn extended_highest(&self) -> u32 {
        self.highest.wrapping_sub(self.first & !0xffff) as u32
    }

    /// Packets that should have come since the beginning.
    pub(super) fn expected(&self) -> u64 {
        if self.has_begun() {
            self.highest - self.first + 1
        } else {
            0
        }
    }

    /// Packets that came, each counted once.
    pub(super) fn received(&self) -> u64 {
        self.received
    }

    /// The share that was lost since the last call, in 256ths (RFC 3550 §A.3).
    pub(super) fn fraction_lost(&mut self) -> u8 {
        let expected = self.expected() - self.expected_before;
        let received = self.received - self.received_before;
        self.expected_before += expected;
        self.received_before += received;
        let lost = expected.saturating_sub(received);
        let share = (lost * 256).checked_div(expected).unwrap_or(0);
        u8::try_from(share).unwrap_or(u8::MAX)
    }

    fn mark(&mut self, number: u64) {
        let (word, bit) = position(number);
        self.came[word] |= bit;
    }

    fn unmark(&mut self, number: u64) {
        let (word, bit) = position(number);
        self.came[word] &= !bit;
    }

    fn is_marked(&self, number: u64) -> bool {
        let (word, bit) = position(number);
        self.came[word] & bit != 0
    }
}

fn position(number: u64) -> (usize, u64) {
    let place = number % WINDOW;
    ((place / 64) as usize, 1 << (place % 64))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn feed(reception: &mut Reception, sequence: u16) -> Arrival {
        let number = reception.extend(sequence);
        reception.on_packet(number)
    }

    #[test]
    fn a_missing_packet_is_lost_until_it_comes() {
        let mut reception = Reception::new();
        assert_eq!(feed(&mut reception, 65_534), Arrival::Newer { gap: 0 });
        assert_eq!(feed(&mut reception, 65_535), Arrival::Newer { gap: 0 });
        assert_eq!(feed(&mut reception, 1), Arrival::Newer { gap: 1 });
        assert_eq!((reception.expected(), reception.received()), (4, 3));
        assert_eq!(reception.fraction_lost(), 64);
        assert_eq!(feed(&mut reception, 0), Arrival::Filled);
        assert_eq!((reception.expected(), reception.received()), (4, 4));
        assert_eq!(feed(&mut reception, 0), Arrival::Duplicate);
        assert_eq!(
            feed(&mut reception, 65_532),
            Arrival::BeforeFirst { more: 2 }
        );
        assert_eq!((reception.expected(), reception.received()), (6, 5));
        assert_eq!(reception.extended_highest(), 0x1_0001);
    }

    #[test]
    fn far_away_packets_are_no_duplicates() {
        let mut reception = Reception::new();
        feed(&mut reception, 0);
        assert_eq!(feed(&mut reception, 2000), Arrival::Newer { gap: 1999 });
        assert_eq!(feed(&mut reception, 5), Arrival::Late);
        assert_eq!(feed(&mut reception, 1000), Arrival::Filled);
        assert_eq!(feed(&mut reception, 1000), Arrival::Duplicate);
    }

    #[test]
    fn what_is_missing_is_asked_for_some_times_and_given_up() {
        let mut now = Instant::from_millis(100);
        let mut reception = Reception::new();
        feed(&mut reception, 10);
        assert_eq!(feed(&mut reception, 14), Arrival::Newer { gap: 3 });
        assert!(reception.ask_for(now, 3));
        feed(&mut reception, 12);
        let mut sequences = [0; NACK_MAX];
        let mut poll = |now, reception: &mut Reception| {
            reception.poll_nack(now, Duration::ZERO, &mut sequences)
        };
        assert_eq!(poll(now, &mut reception).count, 0, "it may be on its way");
        let mut asked = 0;
        for _ in 0..100 {
            now += Duration::from_millis(10);
            let due = poll(now, &mut reception);
            asked += due.count;
            if due.given_up {
                break;
            }
        }
        assert_eq!(asked, 2 * usize::from(TRIES_MAX));
        assert_eq!(reception.nack_deadline(), None);
        assert_eq!((reception.expected(), reception.received()), (5, 3));
        feed(&mut reception, 1000);
        assert!(
            !reception.ask_for(now, 985),
            "that is a matter for a key frame"
        );
    }
}
