//! What was sent under which transport-wide sequence number, until feedback about it comes.

use clock::Instant;

/// Packets that are remembered; older ones are as good as never sent. Two seconds at 250 packets a second.
const REMEMBERED: u64 = 512;

/// The first number. Beyond 16 bits, so that numbers before it exist, too.
const FIRST: u64 = 1 << 16;

/// One packet that was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sent {
    pub(super) at: Instant,
    pub(super) bytes: u16,
    /// The probe that it belongs to; 0 for none.
    pub(super) probe: u16,
}

/// The packets sent last, by number.
#[derive(Debug)]
pub(super) struct History {
    packets: Box<[Option<Sent>]>,
    next: u64,
}

impl History {
    /// All its memory is taken here.
    pub(super) fn new() -> Self {
        Self {
            packets: vec![None; REMEMBERED as usize].into_boxed_slice(),
            next: FIRST,
        }
    }

    /// Notes a packet; its number.
    pub(super) fn push(&mut self, sent: Sent) -> u64 {
        let number = self.next;
        self.next = self.next.wrapping_add(1);
        if let Some(place) = self.place(number) {
            *place = Some(sent);
        }
        number
    }

    /// The number that will be given out next.
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// Takes a packet out: feedback about it counts once.
    pub(super) fn take(&mut self, number: u64) -> Option<Sent> {
        let age = self.next.checked_sub(number)?;
        if age == 0 || age > REMEMBERED {
            return None;
        }
        self.place(number)?.take()
    }

    /// Whether a packet with that number was sent, not too long ago, and is not known to have come.
    pub(super) fn is_known(&self, number: u64) -> bool {
        let age = self.next.saturating_sub(number);
        let place = self.packets.get((number % REMEMBERED) as usize);
        (1..=REMEMBERED).contains(&age) && place.is_some_and(Option::is_some)
    }

    fn place(&mut self, number: u64) -> Option<&mut Option<Sent>> {
        self.packets.get_mut((number % REMEMBERED) as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_taken_once_and_forgotten_when_old() {
        let mut history = History::new();
        let sent = |millis| Sent {
            at: Instant::from_millis(millis),
            bytes: 1,
            probe: 0,
        };
        for nth in 0..600 {
            assert_eq!(history.push(sent(nth)), FIRST + nth);
        }
        assert_eq!(history.take(FIRST + 600), None, "not sent yet");
        assert_eq!(history.take(FIRST + 599), Some(sent(599)));
        assert_eq!(history.take(FIRST + 599), None);
        assert_eq!(history.take(FIRST + 88), Some(sent(88)));
        let replaced = history.take(FIRST + 87);
        assert_eq!(replaced, None, "another one is in its place");
    }
}
