//! Which of several encodings, and how much of one, a subscriber gets.

use clock::{Duration, Instant};
use proto::codec::Vp8Numbers;
use proto::rtp::sequence::timestamp_distance;

use crate::api::LayerLimit;
use crate::ceiling::Ceiling;

/// Most encodings of a medium: as many as [`Places`] tells apart.
pub(crate) const ENCODINGS_MAX: usize = 8;
/// An encoding that comes more often than this is not given up sooner.
const PATIENCE_MIN: Duration = Duration::from_millis(250);
/// However rarely an encoding came, after so long without it another one takes its place.
const PATIENCE_MAX: Duration = Duration::from_secs(2);
/// So many pictures must be missing for an encoding to count as switched off: encoders leave out one or two at times.
const PICTURES_MISSED: u32 = 4;
/// The time between two pictures until it was measured.
const INTERVAL_DEFAULT: Duration = Duration::from_millis(66);
/// A picture may be shown so much later than it was meant to be when a switch would else run time backwards.
const SHIFT_MAX: u32 = 90_000 / 4;
/// Sender reports and arrival times agree about a switch but for that, however congested the path; else the reports are not
/// believed.
const DISAGREEMENT_MAX: u32 = 90_000 * 3;

/// A set of the encodings of one medium, by their places, lowest first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Places(u8);

impl Places {
    /// Every place there can be.
    pub(crate) const ALL: Self = Self(u8::MAX);
    /// None of them.
    pub(crate) const NONE: Self = Self(0);

    /// One of them.
    pub(crate) const fn only(place: u8) -> Self {
        Self(1 << place)
    }

    /// All up to `place`.
    pub(crate) const fn up_to(place: u8) -> Self {
        Self((2_u16 << if place < 7 { place } else { 7 }).wrapping_sub(1) as u8)
    }

    #[inline]
    pub(crate) const fn contains(self, place: u8) -> bool {
        self.0 & (1 << place) != 0
    }

    pub(crate) const fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(crate) const fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    pub(crate) const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// All up to `place`, but for that.
    pub(crate) const fn below(place: u8) -> Self {
        Self((1_u16 << if place < 8 { place } else { 8 }).wrapping_sub(1) as u8)
    }

    /// As many as there are bits.
    pub(crate) const fn from_bits(bits: u8) -> Self {
        Self(bits)
    }

    pub(crate) const fn bits(self) -> u8 {
        self.0
    }

    pub(crate) const fn minus(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    pub(crate) const fn without(self, place: u8) -> Self {
        Self(self.0 & !(1 << place))
    }

    pub(crate) fn lowest(self) -> Option<u8> {
        (self.0 != 0).then(|| self.0.trailing_zeros() as u8)
    }

    pub(crate) fn highest(self) -> Option<u8> {
        (self.0 != 0).then(|| 7 - self.0.leading_zeros() as u8)
    }

    pub(crate) fn iter(self) -> impl Iterator<Item = u8> {
        (0..8).filter(move |place| self.contains(*place))
    }
}

impl From<Option<u8>> for Places {
    fn from(place: Option<u8>) -> Self {
        place.map_or(Self::NONE, Self::only)
    }
}

/// How regularly an encoding arrives.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// Timestamp of the newest picture, and when it began to arrive.
    picture: Option<(u32, Instant)>,
    /// Smoothed time between two pictures.
    interval: Duration,
    last: Instant,
    /// Since when there was no break.
    since: Instant,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            picture: None,
            interval: INTERVAL_DEFAULT,
            last: Instant::ZERO,
            since: Instant::ZERO,
        }
    }
}

impl Pace {
    /// A packet of a picture has come. Whether it is the first of it.
    pub(crate) fn on_packet(&mut self, timestamp: u32, arrival: Instant) -> bool {
        let breaks = arrival.saturating_since(self.last) > self.patience();
        if self.picture.is_none() || breaks {
            self.since = arrival;
        }
        self.last = self.last.max(arrival);
        let Some((newest, at)) = self.picture else {
            self.picture = Some((timestamp, arrival));
            return true;
        };
        if timestamp_distance(newest, timestamp) <= 0 && !breaks {
            return false;
        }
        self.picture = Some((timestamp, arrival));
        if !breaks {
            let passed = arrival.saturating_since(at).min(PATIENCE_MAX);
            self.interval = (self.interval * 7 + passed) / 8;
        }
        true
    }

    /// Whether this encoding has stopped, which shows by `other` that goes on at `now`. If neither comes, the path is to blame.
    pub(crate) fn has_stopped_beside(&self, other: &Self, now: Instant) -> bool {
        now.saturating_since(self.last.max(other.since)) > self.patience()
    }

    /// For how long it has arrived without a break.
    pub(crate) fn has_lasted(&self, now: Instant) -> Duration {
        now.saturating_since(self.since)
    }

    fn patience(&self) -> Duration {
        (self.interval * PICTURES_MISSED).clamp(PATIENCE_MIN, PATIENCE_MAX)
    }
}

/// What there is room for on the way to a peer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Room {
    /// Nobody knows: everything.
    #[default]
    Unknown,
    /// For the encodings up to that place.
    UpTo(u8),
    /// Not even for the lowest encoding: the picture is paused.
    Nothing,
}

impl Room {
    fn places(self) -> Places {
        match self {
            Self::Unknown => Places::ALL,
            Self::UpTo(place) => Places::up_to(place),
            Self::Nothing => Places::NONE,
        }
    }
}

/// What one subscriber gets of a medium with several encodings or a limit. Others have none of this.
#[derive(Debug)]
pub(crate) struct Layers {
    /// What may be forwarded: the least of the wish, the cap and the room.
    pub(crate) limit: LayerLimit,
    /// What the application allows.
    pub(crate) wish: LayerLimit,
    /// How much is sent at most, if anybody said so, and what keeps to that.
    pub(crate) ceiling: Option<Box<Ceiling>>,
    pub(crate) cap: LayerLimit,
    /// What there is room for on the way to the peer.
    pub(crate) room: Room,
    /// Nothing is forwarded until what waits on that way has left.
    waits: bool,
    /// What was sent before this index was given up.
    pub(crate) obsolete: u64,
    /// Place of the encoding that is forwarded.
    pub(crate) current: Option<u8>,
    /// Place of the one that shall be, from its next key frame on.
    pub(crate) target: Option<u8>,
    pub(crate) numbers: Vp8Numbers,
    /// The last picture that was judged: its timestamp, and whether it is forwarded.
    pub(crate) judged: Option<(u32, bool)>,
    /// Highest temporal layer that is forwarded.
    pub(crate) temporal: u8,
    /// The RTP stream that was forwarded last: place of its encoding, and its source.
    pub(crate) last: Option<(u8, u32)>,
    /// How much later than its sender meant that one is shown, in units of its clock.
    shift: u32,
}

/// What is known about the moment of a switch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    /// The same moment in the timestamps of the RTP stream before, by the sender reports of both, with its offset.
    pub(crate) by_reports: Option<u32>,
    /// The same by arrival times.
    pub(crate) by_arrival: u32,
    /// The newest timestamp that was sent.
    pub(crate) sent: u32,
}

impl Layers {
    pub(crate) fn new(wish: LayerLimit) -> Self {
        Self {
            limit: wish,
            wish,
            ceiling: None,
            cap: LayerLimit::NONE,
            room: Room::Unknown,
            waits: false,
            obsolete: 0,
            current: None,
            target: None,
            numbers: Vp8Numbers::new(),
            judged: None,
            temporal: u8::MAX,
            last: None,
            shift: 0,
        }
    }

    /// The application allows this.
    pub(crate) fn set_wish(&mut self, wish: LayerLimit) {
        self.wish = wish;
        self.restrict();
    }

    /// This keeps to the ceiling.
    pub(crate) fn set_cap(&mut self, cap: LayerLimit) {
        self.cap = cap;
        self.restrict();
    }

    /// There is room for this.
    pub(crate) fn set_room(&mut self, room: Room) {
        self.room = room;
        self.restrict();
    }

    /// Nothing is forwarded for now. `next` is the index of the next packet: what was sent before is of no use without what would have
    /// followed.
    pub(crate) fn hold(&mut self, next: u64) {
        self.obsolete = next;
        self.waits = true;
        self.restrict();
    }

    /// What there is room for may be forwarded. Whether it was held back.
    pub(crate) fn resume(&mut self) -> bool {
        let waited = core::mem::take(&mut self.waits);
        self.restrict();
        waited
    }

    /// Whether more is forwarded than there would be room for.
    pub(crate) fn exceeds(&self, room: Room) -> bool {
        self.current
            .is_some_and(|place| !room.places().contains(place))
    }

    fn restrict(&mut self) {
        self.limit = self.told();
        match (self.room, &mut self.limit.encoding) {
            (_, encoding) if self.waits => *encoding = None,
            (Room::UpTo(most), Some(place)) => *place = most.min(*place),
            (Room::Nothing, encoding) => *encoding = None,
            _ => {}
        }
    }

    /// What the application allows, in one way or the other.
    fn told(&self) -> LayerLimit {
        let encodings = self.wish.encoding.zip(self.cap.encoding);
        LayerLimit {
            encoding: encodings.map(|(wish, cap)| wish.min(cap)),
            temporal: self.wish.temporal.min(self.cap.temporal),
        }
    }

    /// The encodings that could be forwarded if there were room: those that the application allows, or the lowest.
    pub(crate) fn possible(&self, arriving: Places) -> Places {
        let Some(highest) = self.told().encoding else {
            return Places::NONE;
        };
        let allowed = arriving.and(Places::up_to(highest));
        match allowed.is_empty() {
            true => arriving.lowest().into(),
            false => allowed,
        }
    }

    /// Of those the one that it is about to get or has; `None` if it is paused.
    pub(crate) fn granted(&self, possible: Places) -> Option<u8> {
        if self.room == Room::Nothing {
            return None;
        }
        let granted = possible.and(self.room.places());
        granted.highest().or(possible.lowest())
    }

    /// Chooses the encoding to be forwarded among those that arrive: the highest that is allowed, and if there is none the
    /// lowest, for something is better than nothing. Whether a key frame is needed for it.
    pub(crate) fn aim(&mut self, arriving: Places) -> bool {
        let Some(allowed) = self.allowed() else {
            (self.current, self.target) = (None, None);
            return false;
        };
        let chosen = arriving.and(allowed).highest();
        self.target = chosen.or(arriving.lowest()).or(self.current);
        self.target.is_some() && self.target != self.current
    }

    /// The encodings whose packets the subscriber must see.
    pub(crate) fn wants(&self, arriving: Places) -> Places {
        let Some(allowed) = self.allowed() else {
            return Places::NONE;
        };
        let named = Places::from(self.current).or(self.target.into());
        let flows = self.current.is_some_and(|place| arriving.contains(place));
        match (flows, arriving.is_empty()) {
            (true, _) => named,
            // Whichever begins first is welcome.
            (false, true) => named.or(allowed),
            (false, false) => named.or(arriving.and(allowed)),
        }
    }

    /// Whether to go on with the encoding in `place`, of which a key frame has come.
    pub(crate) fn accepts(&self, place: u8, arriving: Places) -> bool {
        self.target == Some(place) || {
            let flows = self.current.is_some_and(|place| arriving.contains(place));
            !flows && self.wants(arriving).contains(place)
        }
    }

    fn allowed(&self) -> Option<Places> {
        self.limit.encoding.map(Places::up_to)
    }

    /// The timestamp to go on with, later than what was sent. `None` if time would stand still for too long by that; the
    /// encoding that `flows` can go on, and a later key frame will do better.
    pub(crate) fn align(&mut self, moment: &Moment, flows: bool) -> Option<u32> {
        let exact = moment.by_reports.map(|told| told.wrapping_sub(self.shift));
        let exact = exact.filter(|exact| {
            timestamp_distance(*exact, moment.by_arrival).unsigned_abs() <= DISAGREEMENT_MAX
        });
        let meant = exact.unwrap_or(moment.by_arrival);
        let distance = timestamp_distance(moment.sent, meant);
        let shift = u32::try_from(1_i64 - i64::from(distance)).unwrap_or(0);
        if flows && shift > SHIFT_MAX {
            return None;
        }
        self.shift = shift;
        Some(meant.wrapping_add(shift))
    }
}
