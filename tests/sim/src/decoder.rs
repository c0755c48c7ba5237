//! A model of a browser's jitter buffer and VP8 decoder: which pictures are whole, which can be decoded by what their packets
//! say, when each is shown, and where the picture freezes.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use clock::{Duration, Instant};
use proto::codec::vp8;
use proto::rtp::TimestampUnwrapper;

use crate::media::Part;

/// What is shown is shown so long after it could be, for decoding and the screen's rhythm.
const RENDERING: Duration = Duration::from_millis(10);
/// Pictures by which the delay of the jitter buffer is judged, and which share of a hundred it must suffice for.
const JITTER_WINDOW: usize = 100;
const JITTER_SHARE: usize = 95;
/// After a retransmission the jitter buffer leaves time for another one for so long.
const NACK_MEMORY: Duration = Duration::from_secs(60);
/// At most so much (libwebrtc's limit of what it adds for a round trip).
const NACK_ROOM_MAX: Duration = Duration::from_millis(200);
/// Pictures over which the mean time between two is taken (W3C webrtc-stats, `freezeCount`).
const FREEZE_WINDOW: usize = 30;
/// And what it must be exceeded by, besides being three times as long.
const FREEZE_BEYOND: Duration = Duration::from_millis(150);

/// A packet with a part of a picture.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Piece {
    pub(crate) timestamp: u32,
    pub(crate) marker: bool,
    pub(crate) descriptor: vp8::Descriptor,
    pub(crate) part: Part,
    /// It came as a retransmission.
    pub(crate) is_again: bool,
}

/// A picture on the screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shown {
    /// The publisher's number of it.
    pub number: u32,
    /// When.
    pub at: Instant,
    /// In which encoding it came, lowest first.
    pub encoding: u8,
    /// Its temporal layer.
    pub layer: u8,
    /// Whether it is a key frame.
    pub is_key: bool,
}

/// A time without a new picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Freeze {
    /// When the picture before it was shown.
    pub from: Instant,
    /// How long it was.
    pub length: Duration,
}

#[derive(Clone, Copy, Debug)]
struct Frame {
    first: u64,
    last: u64,
    descriptor: vp8::Descriptor,
    part: Part,
    /// When its last packet came.
    whole: Instant,
    /// The publisher's time by the timestamp, in nanoseconds since any moment.
    time: i64,
}

/// What pictures to come may build on, by what the wire says.
#[derive(Clone, Debug)]
struct State {
    /// Packet index of the last part of the last decoded picture.
    last: u64,
    tl0: Option<u8>,
    /// Ids of pictures decoded since the last one of the lowest layer, and its own.
    since_base: Vec<u16>,
}

/// Puts pictures together, decodes and shows them.
pub(crate) struct Decoder {
    pieces: BTreeMap<u64, Piece>,
    paddings: BTreeSet<u64>,
    frames: BTreeMap<u64, Frame>,
    state: Option<State>,
    /// What really has been decoded since the last key frame: encoding and number.
    decoded: BTreeSet<(u8, u32)>,
    timestamps: TimestampUnwrapper,
    /// From the publisher's time to ours, in nanoseconds.
    transits: VecDeque<i64>,
    retransmitted: Option<Instant>,
    round_trip: Duration,
    intervals: VecDeque<Duration>,
    /// Everything shown.
    pub(crate) shown: Vec<Shown>,
    pub(crate) freezes: Vec<Freeze>,
    /// Pictures whose packets said that they could be decoded, which was not so.
    pub(crate) errors: u64,
}

impl Decoder {
    pub(crate) fn new(round_trip: Duration) -> Self {
        Self {
            pieces: BTreeMap::new(),
            paddings: BTreeSet::new(),
            frames: BTreeMap::new(),
            state: None,
            decoded: BTreeSet::new(),
            timestamps: TimestampUnwrapper::new(),
            transits: VecDeque::new(),
            retransmitted: None,
            round_trip,
            intervals: VecDeque::new(),
            shown: Vec::new(),
            freezes: Vec::new(),
            errors: 0,
        }
    }

    /// Whether packet `index` is of no more use.
    pub(crate) fn is_past(&self, index: u64) -> bool {
        self.state.as_ref().is_some_and(|state| index <= state.last)
    }

    /// A packet that holds nothing.
    pub(crate) fn on_padding(&mut self, index: u64) {
        self.paddings.insert(index);
    }

    /// A packet came, and with it perhaps a picture.
    pub(crate) fn on_piece(&mut self, now: Instant, index: u64, piece: Piece) {
        // What is here already came once more as part of a probe, and says nothing (libwebrtc's PacketBuffer).
        if self.is_past(index) || self.pieces.contains_key(&index) {
            return;
        }
        if piece.is_again {
            self.retransmitted = Some(now);
        }
        self.pieces.insert(index, piece);
        let Some((first, last)) = self.bounds(index) else {
            return;
        };
        let begin = self.pieces[&first];
        let time = self.time(begin.timestamp);
        let frame = Frame {
            first,
            last,
            descriptor: begin.descriptor,
            part: begin.part,
            whole: now,
            time,
        };
        let again = (first..=last).any(|index| self.pieces[&index].is_again);
        if !again {
            if self.transits.len() == JITTER_WINDOW {
                self.transits.pop_front();
            }
            self.transits.push_back(now.as_nanos() as i64 - time);
        }
        self.frames.insert(first, frame);
    }

    /// The first and last packet of the picture of which packet `index` is a part, if all are there.
    fn bounds(&self, index: u64) -> Option<(u64, u64)> {
        let (mut first, mut last) = (index, index);
        while !self.pieces.get(&first)?.descriptor.starts_frame() {
            first -= 1;
        }
        while !self.pieces.get(&last)?.marker {
            last += 1;
        }
        Some((first, last))
    }

    fn time(&mut self, timestamp: u32) -> i64 {
        let ticks = self.timestamps.unwrap(timestamp);
        (u128::from(ticks) * 1_000_000_000 / 90_000) as i64
    }

    /// Decodes and shows what is due.
    pub(crate) fn on_timeout(&mut self, now: Instant) {
        while let Some(frame) = self.next()
            && self.due(&frame) <= now
        {
            self.decode(now, &frame);
        }
    }

    /// When the next picture is shown.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.next().map(|frame| self.due(&frame))
    }

    /// The first whole picture that can be decoded.
    fn next(&self) -> Option<Frame> {
        let mut frames = self.frames.values();
        frames.find(|frame| self.can_decode(frame)).copied()
    }

    /// As libwebrtc finds what a VP8 picture builds on: by the packets before it, or by temporal layers.
    fn can_decode(&self, frame: &Frame) -> bool {
        if frame.part.is_key {
            return true;
        }
        let Some(state) = &self.state else {
            return false;
        };
        let (Some(layer), Some(tl0)) = (
            frame.descriptor.temporal,
            frame.descriptor.tl0_picture_index,
        ) else {
            let between = state.last + 1..frame.first;
            return between
                .into_iter()
                .all(|index| self.paddings.contains(&index));
        };
        if layer.id == 0 {
            return state
                .tl0
                .is_some_and(|before| before.wrapping_add(1) == tl0);
        }
        if state.tl0 != Some(tl0) {
            return false;
        }
        let (Some(base), Some(id)) = (state.since_base.first(), id_of(frame)) else {
            return false;
        };
        let between = id.wrapping_sub(*base) & 0x7fff;
        let mut between = (1..between).map(|step| base.wrapping_add(step) & 0x7fff);
        layer.layer_sync || between.all(|id| state.since_base.contains(&id))
    }

    /// When a picture is shown if it is the next one.
    fn due(&self, frame: &Frame) -> Instant {
        let mut transits: Vec<_> = self.transits.iter().copied().collect();
        transits.sort_unstable();
        let nth = transits.len() * JITTER_SHARE / 100;
        let enough = transits.get(nth.min(transits.len().saturating_sub(1)));
        let enough = enough.copied().unwrap_or_default();
        let asks = self
            .retransmitted
            .is_some_and(|at| frame.whole.saturating_since(at) < NACK_MEMORY);
        let room = match asks {
            true => self.round_trip.min(NACK_ROOM_MAX),
            false => Duration::ZERO,
        };
        let at = u64::try_from(frame.time + enough).unwrap_or(0);
        let at = Instant::from_nanos(at) + room + RENDERING;
        at.max(frame.whole)
    }

    fn decode(&mut self, now: Instant, frame: &Frame) {
        let part = frame.part;
        if part.is_key {
            self.decoded.clear();
        }
        let has = |number| self.decoded.contains(&(part.encoding, number));
        if !part.builds_on.into_iter().flatten().all(has) {
            self.errors += 1;
        }
        self.decoded.insert((part.encoding, part.number));
        self.note_state(frame);
        self.show(now, frame);
        self.frames = self.frames.split_off(&(frame.last + 1));
        self.pieces = self.pieces.split_off(&(frame.last + 1));
        self.paddings = self.paddings.split_off(&(frame.last + 1));
    }

    fn note_state(&mut self, frame: &Frame) {
        let id = id_of(frame).into_iter();
        let is_base = frame.descriptor.temporal.is_none_or(|layer| layer.id == 0);
        let state = match self.state.take() {
            Some(mut state) if !is_base => {
                state.last = frame.last;
                state.since_base.extend(id);
                state
            }
            _ => State {
                last: frame.last,
                tl0: frame.descriptor.tl0_picture_index,
                since_base: id.collect(),
            },
        };
        self.state = Some(state);
    }

    fn show(&mut self, now: Instant, frame: &Frame) {
        if let Some(last) = self.shown.last() {
            let interval = now - last.at;
            if interval >= self.freezes_from() {
                self.freezes.push(Freeze {
                    from: last.at,
                    length: interval,
                });
            }
            if self.intervals.len() == FREEZE_WINDOW {
                self.intervals.pop_front();
            }
            self.intervals.push_back(interval);
        }
        self.shown.push(Shown {
            number: frame.part.number,
            at: now,
            encoding: frame.part.encoding,
            layer: frame.descriptor.temporal.map_or(0, |layer| layer.id),
            is_key: frame.part.is_key,
        });
    }

    /// How long no new picture is a freeze (W3C webrtc-stats, `freezeCount`).
    pub(crate) fn freezes_from(&self) -> Duration {
        let count = self.intervals.len() as u32;
        let sum: Duration = self.intervals.iter().sum();
        match sum.checked_div(count) {
            Some(mean) => (3 * mean).max(mean + FREEZE_BEYOND),
            None => Duration::MAX,
        }
    }
}

fn id_of(frame: &Frame) -> Option<u16> {
    frame.descriptor.picture_id.map(vp8::PictureId::value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clock::NtpTime;

    /// A picture of one packet.
    fn piece(number: u32, is_key: bool, layer: Option<(u8, bool, u8)>) -> Piece {
        let mut descriptor = vp8::Descriptor::default();
        descriptor.starts_partition = true;
        descriptor.picture_id = Some(vp8::PictureId::Long(number as u16));
        descriptor.temporal = layer.map(|(id, layer_sync, _)| vp8::Temporal { id, layer_sync });
        descriptor.tl0_picture_index = layer.map(|(.., tl0)| tl0);
        Piece {
            timestamp: 90 * 40 * number,
            marker: true,
            descriptor,
            part: Part {
                number,
                part: 0,
                parts: 1,
                is_key,
                taken: NtpTime::from_bits(0),
                whose: 1,
                encoding: 0,
                builds_on: [None; 2],
            },
            is_again: false,
        }
    }

    fn numbers(decoder: &Decoder) -> Vec<u32> {
        decoder.shown.iter().map(|shown| shown.number).collect()
    }

    /// Feeds pictures, one every 40 ms, and lets a second pass.
    fn play(pieces: impl IntoIterator<Item = (u64, Piece)>) -> Decoder {
        let mut decoder = Decoder::new(Duration::from_millis(50));
        let mut now = Instant::from_millis(1_000);
        for (index, piece) in pieces {
            let at = Instant::from_millis(1_000 + 40 * u64::from(piece.part.number));
            while now < at {
                now += Duration::from_millis(5);
                decoder.on_timeout(now);
            }
            decoder.on_piece(now, index, piece);
        }
        for _ in 0..50 {
            now += Duration::from_millis(5);
            decoder.on_timeout(now);
        }
        decoder
    }

    #[test]
    fn nothing_is_decoded_after_a_gap_until_a_key_frame() {
        let decoder = play(
            (0..20)
                .filter(|number| *number != 5)
                .map(|number| (u64::from(number), piece(number, number % 10 == 0, None))),
        );
        let expected: Vec<u32> = (0..5).chain(10..20).collect();
        assert_eq!(numbers(&decoder), expected);
        assert_eq!((decoder.freezes.len(), decoder.errors), (1, 0));
        assert_eq!(decoder.freezes[0].length, Duration::from_millis(240));
    }

    #[test]
    fn a_lost_picture_of_the_highest_layer_costs_only_itself() {
        let pattern = [(0, false), (2, true), (1, true), (2, false)];
        let pieces = |lost: u32| {
            (0..20).filter(move |number| *number != lost).map(|number| {
                let (id, sync) = pattern[number as usize % 4];
                let layer = Some((id, sync, (number / 4) as u8));
                (u64::from(number), piece(number, number == 0, layer))
            })
        };
        let without = |gone: &[u32]| -> Vec<u32> {
            (0..20).filter(|number| !gone.contains(number)).collect()
        };
        // What needs it goes with it: the highest layer's second picture needs all before it since the lowest's.
        assert_eq!(numbers(&play(pieces(7))), without(&[7]));
        assert_eq!(numbers(&play(pieces(6))), without(&[6, 7]));
        let all_later: Vec<u32> = (0..4).collect();
        assert_eq!(numbers(&play(pieces(4))), all_later);
    }

    #[test]
    fn what_can_not_be_decoded_although_it_says_so_is_an_error() {
        let other = |number| {
            let mut piece = piece(number, false, None);
            piece.part.encoding = 1;
            piece.part.builds_on = [Some(number - 1), None];
            piece
        };
        let decoder = play([(0, piece(0, true, None)), (1, other(1)), (2, other(2))]);
        assert_eq!(decoder.errors, 1);
    }
}
