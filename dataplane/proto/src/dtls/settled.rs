//! What a server must still be able to do once the handshake is complete, in a few hundred bytes: repeat its last flight
//! for a peer that did not get it (RFC 6347 §4.2.4), hear the peer's good-bye, and say its own (RFC 5246 §7.2.1).
//!
//! Authentic records count that are newer than all before: a retransmission is a new record (RFC 6347 §4.2.2). What anybody
//! could send who listens or guesses counts a few times in the life of an association, and only if it is what a client's last
//! flight has: a record from before its Finished, for where much is lost the Finished alone may be lost each time, and a Finished
//! that came before. A new ClientHello is ignored.

use clock::{Duration, Instant};

use super::keys::{EXPLICIT_LEN, RecordKey, TAG_LEN};
use super::later;

/// Content types of records (RFC 5246 §6.2.1).
const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
/// DTLS 1.2 as it stands in records (RFC 6347 §4.1).
const VERSION: [u8; 2] = [254, 253];
/// The epoch of the keys that the handshake made.
const EPOCH: u16 = 1;
/// Handshake types (RFC 5246 §7.4): a Finished, and what precedes it in a client's last flight.
const FINISHED: u8 = 20;
const BEFORE_FINISHED: [u8; 3] = [11, 15, 16];
/// Alert level and description (RFC 5246 §7.2).
const FATAL: u8 = 2;
const CLOSE_NOTIFY: u8 = 0;
const WARNING: u8 = 1;
/// Records of one datagram that are looked at; a last flight has fewer.
const RECORDS_MAX: usize = 8;
/// The last flight is not repeated sooner than this: browsers begin with as long a pause.
const REPEAT_PAUSE: Duration = Duration::from_millis(50);
/// So often it is repeated for records that are not authentic or not new. More than a client repeats its own, and little to have
/// of us for somebody who writes in its name.
const HINTS: u8 = 16;

/// A complete association of a server.
pub(super) struct Settled {
    opening: RecordKey,
    sealing: RecordKey,
    /// The datagrams of our last flight, as they were sent.
    flight: Box<[Vec<u8>]>,
    repeat_from: Instant,
    hints_left: u8,
}

/// What a datagram said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// Nothing that matters.
    Nothing,
    /// The peer sent its Finished again: it lacks our last flight.
    Finished,
    /// So it seems, or so somebody wants it to seem.
    Hint,
    /// It says good-bye.
    GoodBye,
    /// It gives up.
    Fatal,
}

impl Settled {
    /// `opening` and `sealing` are the keys of the handshake's last records, `flight` is what was sent last.
    pub(super) fn new(opening: RecordKey, sealing: RecordKey, flight: Vec<Vec<u8>>) -> Self {
        Self {
            opening,
            sealing,
            flight: flight.into(),
            repeat_from: Instant::ZERO,
            hints_left: HINTS,
        }
    }

    /// What is of most interest in a datagram.
    pub(super) fn hear(&mut self, datagram: &[u8]) -> Heard {
        let (mut rest, mut hint) = (datagram, Heard::Nothing);
        for _ in 0..RECORDS_MAX {
            let Some((record, tail)) = Record::split(rest) else {
                break;
            };
            rest = tail;
            match self.hear_record(&record) {
                Heard::Nothing => {}
                Heard::Hint => hint = Heard::Hint,
                heard => return heard,
            }
        }
        hint
    }

    /// The last flight again, unless that was just done. The very same records: whoever has them takes them for replayed.
    pub(super) fn repeat(&mut self, now: Instant, heard: Heard) -> &[Vec<u8>] {
        let is_hint = heard == Heard::Hint;
        if now < self.repeat_from || (is_hint && self.hints_left == 0) {
            return &[];
        }
        self.hints_left = self.hints_left.saturating_sub(u8::from(is_hint));
        self.repeat_from = later(now, REPEAT_PAUSE);
        &self.flight
    }

    /// A datagram that says good-bye.
    pub(super) fn say_goodbye(&mut self) -> Option<Vec<u8>> {
        seal(&mut self.sealing, ALERT, vec![WARNING, CLOSE_NOTIFY])
    }

    fn hear_record(&mut self, record: &Record<'_>) -> Heard {
        let fits = record.version == VERSION && matches!(record.content, ALERT | HANDSHAKE);
        if !fits || record.epoch() > EPOCH {
            return Heard::Nothing;
        }
        if record.epoch() < EPOCH {
            let kind = record.fragment.first();
            let is_hint = kind.is_some_and(|kind| BEFORE_FINISHED.contains(kind));
            return match is_hint && record.content == HANDSHAKE {
                true => Heard::Hint,
                false => Heard::Nothing,
            };
        }
        match (record.content, record.open(&self.opening).as_deref()) {
            (ALERT, Some([_, CLOSE_NOTIFY])) => Heard::GoodBye,
            (ALERT, Some([FATAL, _])) => Heard::Fatal,
            (HANDSHAKE, Some([FINISHED, ..])) => match self.opening.is_next(record.number) {
                true => Heard::Finished,
                false => Heard::Hint,
            },
            _ => Heard::Nothing,
        }
    }
}

/// The next record of `key`'s direction.
pub(super) fn seal(key: &mut RecordKey, content: u8, mut body: Vec<u8>) -> Option<Vec<u8>> {
    let (number, explicit) = key.advance();
    let aad = associated(number, content, body.len())?;
    key.seal(explicit, &aad, &mut body)?;
    let length = u16::try_from(body.len().checked_add(EXPLICIT_LEN)?).ok()?;
    let mut record = vec![content];
    record.extend(VERSION);
    record.extend(number.to_be_bytes());
    record.extend(length.to_be_bytes());
    record.extend(explicit.to_be_bytes());
    record.extend(body);
    Some(record)
}

/// A record as it is sent (RFC 6347 §4.1).
struct Record<'a> {
    content: u8,
    version: [u8; 2],
    /// Epoch and sequence number.
    number: u64,
    fragment: &'a [u8],
}

impl<'a> Record<'a> {
    /// The first record, and what follows it.
    fn split(datagram: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let ([content, version @ ..], rest) = datagram.split_first_chunk::<3>()?;
        let (number, rest) = rest.split_first_chunk::<8>()?;
        let (length, rest) = rest.split_first_chunk::<2>()?;
        let length = usize::from(u16::from_be_bytes(*length));
        let (fragment, rest) = rest.split_at_checked(length)?;
        let record = Self {
            content: *content,
            version: *version,
            number: u64::from_be_bytes(*number),
            fragment,
        };
        Some((record, rest))
    }

    fn epoch(&self) -> u16 {
        (self.number >> 48) as u16
    }

    /// What is in it, if it is authentic.
    fn open(&self, key: &RecordKey) -> Option<Vec<u8>> {
        let (explicit, body) = self.fragment.split_first_chunk::<EXPLICIT_LEN>()?;
        let aad = associated(self.number, self.content, body.len().checked_sub(TAG_LEN)?)?;
        key.open(u64::from_be_bytes(*explicit), &aad, body)
    }
}

/// RFC 5246 §6.2.3.3, with epoch and sequence number as RFC 6347 §4.1.2.1 has them.
fn associated(number: u64, content: u8, length: usize) -> Option<[u8; 13]> {
    let [a, b, c, d, e, f, g, h] = number.to_be_bytes();
    let ([v, w], [l, m]) = (VERSION, u16::try_from(length).ok()?.to_be_bytes());
    Some([a, b, c, d, e, f, g, h, content, v, w, l, m])
}
