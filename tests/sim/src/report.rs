//! What a viewer got of what a publisher sent, in the measures of WebRTC's statistics.

use clock::{Duration, Instant};

use crate::source::Source;
use crate::viewer::Viewer;

/// What sound may wait for in a jitter buffer: so much more than the shortest way, or this share of a thousand of sounds.
const SOUND_ROOM: Duration = Duration::from_millis(60);
const SOUND_SHARE: usize = 950;

/// A viewer's view of a time.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// How long it was.
    pub length: Duration,
    /// Pictures that the publisher took, but for those that the encoding which the viewer had left out.
    pub taken: usize,
    /// Those that were decoded and shown.
    pub shown: usize,
    /// How often the picture froze (`freezeCount`).
    pub freezes: usize,
    /// For how long in all (`totalFreezesDuration`).
    pub frozen: Duration,
    /// For how long at most.
    pub longest: Duration,
    /// From taking to showing, of 95 in 100 pictures at most.
    pub delay: Duration,
    /// Bits per second of RTP that arrived.
    pub rate: u64,
    /// Shown pictures by encoding, lowest first.
    pub by_encoding: [usize; 3],
    /// Of a hundred sounds, how many did not come in time, nor repeated in a later packet.
    pub concealed: f64,
    /// Pictures that could not be decoded although their packets said so.
    pub errors: u64,
}

impl Report {
    /// What happened from one time until another, which is over.
    pub fn new(source: &Source, viewer: &Viewer, from: Instant, until: Instant) -> Self {
        let is_within = |at: Instant| (from..until).contains(&at);
        let taken = source.taken.iter().filter(|(number, (at, _))| {
            let had = viewer.shown().partition_point(|shown| shown.at <= *at);
            let had = had.checked_sub(1).map(|last| viewer.shown()[last].encoding);
            let left_out = had.is_some_and(|had| source.left_out.contains(&(had, **number)));
            is_within(*at) && !left_out
        });
        let of_then = |number: u32| {
            let taken = source.taken.get(&number).map(|(at, _)| *at);
            taken.filter(|at| is_within(*at))
        };
        let mut delays = Vec::new();
        let mut by_encoding = [0; 3];
        for shown in viewer.shown() {
            if let Some(taken) = of_then(shown.number) {
                delays.push(shown.at - taken);
                by_encoding[usize::from(shown.encoding)] += 1;
            }
        }
        delays.sort_unstable();
        let freezes = viewer.freezes().iter().copied();
        let freezes = freezes.chain(viewer.frozen(until));
        let lengths: Vec<_> = freezes
            .filter(|freeze| freeze.from < until && freeze.from + freeze.length > from)
            .map(|freeze| freeze.length)
            .collect();
        let received = viewer.received.iter().filter(|(at, _)| is_within(*at));
        let bits: usize = received.map(|(_, bytes)| bytes * 8).sum();
        let length = until - from;
        Self {
            length,
            taken: taken.count(),
            shown: delays.len(),
            freezes: lengths.len(),
            frozen: lengths.iter().sum(),
            longest: lengths.iter().max().copied().unwrap_or_default(),
            delay: nth(&delays, 950),
            rate: (bits as f64 / length.as_secs_f64()) as u64,
            by_encoding,
            concealed: concealed(source, viewer, from, until),
            errors: viewer.errors(),
        }
    }

    /// Of a hundred pictures that were taken, how many were shown.
    pub fn shown_percent(&self) -> f64 {
        100.0 * self.shown as f64 / self.taken.max(1) as f64
    }

    /// Of a hundred seconds, how many were frozen.
    pub fn frozen_percent(&self) -> f64 {
        100.0 * self.frozen.as_secs_f64() / self.length.as_secs_f64()
    }

    /// Of a hundred pictures that were shown, how many came in that encoding.
    pub fn percent_of_encoding(&self, encoding: usize) -> f64 {
        100.0 * self.by_encoding[encoding] as f64 / self.shown.max(1) as f64
    }
}

/// Of a hundred sounds that were taken, how many had to be invented.
fn concealed(source: &Source, viewer: &Viewer, from: Instant, until: Instant) -> f64 {
    let way = |number: &u32, taken: &Instant| Some(*viewer.sounds.get(number)? - *taken);
    let then = source.heard.iter();
    let then: Vec<_> = then.filter(|(_, at)| (from..until).contains(at)).collect();
    let mut ways: Vec<_> = then
        .iter()
        .filter_map(|(number, at)| way(number, at))
        .collect();
    ways.sort_unstable();
    let room = nth(&ways, SOUND_SHARE).max(nth(&ways, 0) + SOUND_ROOM);
    let invented = then
        .iter()
        .filter(|(number, at)| way(number, at).is_none_or(|way| way > room));
    100.0 * invented.count() as f64 / then.len().max(1) as f64
}

/// The value that so many of a thousand don't exceed.
fn nth(sorted: &[Duration], share: usize) -> Duration {
    let nth = (sorted.len() * share / 1_000).min(sorted.len().saturating_sub(1));
    sorted.get(nth).copied().unwrap_or_default()
}
