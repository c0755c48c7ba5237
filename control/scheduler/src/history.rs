//! What earlier sessions became, by their names: the same class, the same weekly meeting.
//!
//! Of each name the last few peaks are kept, and so they are of the *stem* of names whose end changes each time
//! ("standup-2026-11-23"), and of *strangers*: sessions of which nothing was known beforehand. The names that were longest not heard
//! of are forgotten, those that were heard of once first, so memory is bounded (some 50 MB). Nothing here depends on time or chance: the same sessions in the same order give
//! the same answers.

mod shelf;

use std::collections::VecDeque;

use crate::growth;
use crate::load::Shape;

use shelf::Shelf;

/// Names that are remembered, and half as many stems.
pub const NAMES: usize = 100_000;
/// Peaks of a name that are remembered: enough to tell what is usual, and few enough to follow a change.
pub const PEAKS: usize = 8;
/// A longer name, in octets, is nobody's habit.
pub const NAME_OCTETS: usize = 128;
/// Strangers that are remembered.
const STRANGERS: usize = 256;
/// So many of them must be known before they say more than what is usual elsewhere.
const STRANGERS_LEAST: u64 = 20;
/// So many sessions of a stem must be known: two that begin alike may be so by chance.
const STEM_LEAST: usize = 3;
/// Letters that make a word of a stem.
const WORD_LETTERS: usize = 3;
/// Of ten sessions, how many are to become no larger than expected.
const OF_TEN: usize = 9;
/// Users of ten sessions of which nothing is known: most calls are of two. Nine of ten stay within the usual size.
const USUAL: [u32; 10] = [2, 2, 2, 2, 2, 2, 2, 3, growth::USUAL_CONNECTIONS, 8];

/// What earlier sessions became.
#[derive(Clone, Debug)]
pub struct History {
    names: Shelf,
    stems: Shelf,
    strangers: Strangers,
}

/// By what a session is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// Earlier sessions of that name.
    Name,
    /// Earlier sessions whose names begin as this one does.
    Stem,
    /// Nothing but that nothing is known, as of earlier ones.
    Stranger,
}

/// What a session is expected to become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expected {
    /// Nine of ten of its name, or stem, became no larger; of strangers it is one of mean size.
    pub peak: Shape,
    /// By what it is known.
    pub known: Known,
    /// How many sessions like it are remembered.
    pub seen: u32,
}

/// What is remembered of a name, to be kept where it outlives the process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Memory {
    /// Grows with each session that was learned of: who has the least was not heard of for longest.
    pub turn: u64,
    /// What its last sessions became, the latest last; [`PEAKS`] at most.
    pub peaks: Vec<Shape>,
}

/// What learning has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Learned {
    /// What is remembered of the name now.
    pub memory: Memory,
    /// Who was forgotten for it.
    pub forgotten: Option<Box<str>>,
}

impl Default for History {
    fn default() -> Self {
        Self::new(NAMES)
    }
}

impl History {
    /// Nothing has been yet. So many names are remembered at most, and half as many stems.
    pub fn new(names: usize) -> Self {
        Self {
            names: Shelf::new(names),
            stems: Shelf::new(names.div_ceil(2)),
            strangers: Strangers::new(),
        }
    }

    /// What was kept of so many names at most, and who of it is too much and forgotten. Stems follow from the names; what strangers are
    /// like shows soon.
    pub fn restored(
        names: usize,
        kept: impl IntoIterator<Item = (Box<str>, Memory)>,
    ) -> (Self, Vec<Box<str>>) {
        let (mut history, mut forgotten) = (Self::new(names), Vec::new());
        let mut kept: Vec<_> = kept.into_iter().collect();
        kept.sort_by(|(a, one), (b, other)| (one.turn, a).cmp(&(other.turn, b)));
        for (name, memory) in kept {
            if !is_name(&name) || memory.peaks.is_empty() {
                forgotten.push(name);
                continue;
            }
            if let Some(stem) = stem(&name) {
                for peak in &memory.peaks {
                    history.stems.learn(stem, *peak);
                }
            }
            forgotten.extend(history.names.restore(name, memory));
        }
        (history, forgotten)
    }

    /// A session has ended that was so large at its greatest; without a name where that does not come again. It was a stranger if nothing
    /// was known of it beforehand. Answers what there is to keep.
    pub fn learn(
        &mut self,
        name: Option<&str>,
        peak: Shape,
        was_stranger: bool,
    ) -> Option<Learned> {
        if peak.connections == 0 {
            // Nobody came: that says nothing of the next one.
            return None;
        }
        if was_stranger {
            self.strangers.learn(peak);
        }
        let name = name.filter(|name| is_name(name))?;
        if let Some(stem) = stem(name) {
            self.stems.learn(stem, peak);
        }
        Some(self.names.learn(name, peak))
    }

    /// What a session is expected to become; nothing where too little has been.
    pub fn expect(&self, name: Option<&str>) -> Option<Expected> {
        match self.known(name.filter(|name| is_name(name))) {
            Some((peaks, known)) => Some(Expected {
                peak: self.strangers.nine_of_ten(peaks),
                known,
                seen: peaks.len() as u32,
            }),
            None => self.strangers.expected(),
        }
    }

    fn known(&self, name: Option<&str>) -> Option<(&[Shape], Known)> {
        let name = name?;
        if let Some(peaks) = self.names.peaks(name) {
            return Some((peaks, Known::Name));
        }
        let peaks = self.stems.peaks(stem(name)?)?;
        (peaks.len() >= STEM_LEAST).then_some((peaks, Known::Stem))
    }

    /// All that is remembered of names, in no order.
    pub fn memories(&self) -> impl Iterator<Item = (&str, &Memory)> {
        self.names.memories()
    }

    /// How many names are remembered.
    pub fn names(&self) -> usize {
        self.names.len()
    }
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= NAME_OCTETS
}

/// What a name has in common with those of earlier days: all but the words at its end that have digits in them
/// ("standup-2026-11-23", "room-5f3a"), or but the digits at its end ("room12"). Where the beginning changes there is none.
fn stem(name: &str) -> Option<&str> {
    let has_digit = |word: &str| word.chars().any(|c| c.is_ascii_digit());
    let mut stem = name;
    while let Some((before, last)) = stem.rsplit_once(|c: char| !c.is_alphanumeric())
        && (last.is_empty() || has_digit(last))
    {
        stem = before;
    }
    if stem == name {
        stem = name.trim_end_matches(|c: char| c.is_ascii_digit());
    }
    // What is left of a random id has seldom so many letters in a row.
    let mut words = stem.split(|c: char| !c.is_alphabetic());
    let is_word = words.any(|word| word.chars().count() >= WORD_LETTERS);
    (is_word && stem != name).then_some(stem)
}

/// In this order sizes are compared.
fn size(peak: &Shape) -> (u32, u32, u32, u32, u32) {
    let Shape {
        connections,
        publishers,
        media_lines,
        taps,
        ..
    } = *peak;
    (peak.streams(), publishers, connections, media_lines, taps)
}

/// The last strangers, which begin as if usual sessions had been.
#[derive(Clone, Debug)]
struct Strangers {
    /// The oldest first.
    recent: VecDeque<Shape>,
    /// The same, the smallest first.
    sorted: Vec<Shape>,
    /// How many really were.
    seen: u64,
}

impl Strangers {
    fn new() -> Self {
        let usual = USUAL.map(|users| growth::audience(users, users));
        Self {
            recent: usual.into(),
            // It is written down in that order.
            sorted: usual.to_vec(),
            seen: 0,
        }
    }

    fn learn(&mut self, peak: Shape) {
        self.seen = self.seen.saturating_add(1);
        if self.recent.len() == STRANGERS
            && let Some(oldest) = self.recent.pop_front()
            && let Ok(at) = self.sorted.binary_search_by_key(&size(&oldest), size)
        {
            self.sorted.remove(at);
        }
        self.recent.push_back(peak);
        let at = self.sorted.partition_point(|one| size(one) < size(&peak));
        self.sorted.insert(at, peak);
    }

    /// One of mean size. A node has many of which nothing is known: their sum is what it must carry, and nine of ten of sessions so
    /// different would be many times that.
    fn expected(&self) -> Option<Expected> {
        let known = (self.seen >= STRANGERS_LEAST).then_some(Known::Stranger)?;
        let sum: u64 = self.sorted.iter().map(|one| u64::from(one.streams())).sum();
        let mean = sum / self.sorted.len() as u64;
        let at = self
            .sorted
            .partition_point(|one| u64::from(one.streams()) < mean);
        Some(Expected {
            peak: *self.sorted.get(at)?,
            known,
            seen: self.seen.min(STRANGERS as u64) as u32,
        })
    }

    /// What nine of ten stay within, of these and one more that may be like any stranger: few say something, but not all.
    fn nine_of_ten(&self, peaks: &[Shape]) -> Shape {
        let prior = (0..10).map(|tenth| (self.sorted[self.sorted.len() * (2 * tenth + 1) / 20], 1));
        let own = peaks.iter().map(|peak| (*peak, 10));
        let mut all: Vec<(Shape, usize)> = own.chain(prior).collect();
        all.sort_by_key(|(peak, _)| size(peak));
        let total = 10 * (peaks.len() + 1);
        let mut within = 0;
        let found = all.into_iter().find(|(_, weight)| {
            within += weight;
            within * 10 >= total * OF_TEN
        });
        found.map_or_else(Shape::default, |(peak, _)| peak)
    }
}

#[cfg(test)]
mod tests;
