//! So many names and no more: who was longest not heard of goes, and first of those who were heard of once.
//!
//! Many names are used once, a random one for each call. They would push out those that come again each week; so they have a part of
//! the shelf for themselves, and only what is left of it belongs to the others as well.

use std::collections::{BTreeMap, HashMap};

use super::{Learned, Memory, PEAKS};
use crate::load::Shape;

/// One of so many names on a full shelf may have been heard of once, whoever else there is.
const ONCE_SHARE: usize = 4;

#[derive(Clone, Debug)]
pub struct Shelf {
    room: usize,
    names: HashMap<Box<str>, Memory>,
    /// Names that were heard of once, by their turns: the first is who was longest not heard of.
    once: BTreeMap<u64, Box<str>>,
    /// The others likewise.
    often: BTreeMap<u64, Box<str>>,
    last_turn: u64,
}

impl Shelf {
    /// An empty one, for so many.
    pub fn new(room: usize) -> Self {
        Self {
            room,
            names: HashMap::new(),
            once: BTreeMap::new(),
            often: BTreeMap::new(),
            last_turn: 0,
        }
    }

    pub fn len(&self) -> usize {
        self.names.len()
    }

    pub fn memories(&self) -> impl Iterator<Item = (&str, &Memory)> {
        self.names.iter().map(|(name, memory)| (&**name, memory))
    }

    pub fn peaks(&self, name: &str) -> Option<&[Shape]> {
        Some(&self.names.get(name)?.peaks)
    }

    /// A session of that name became this.
    pub fn learn(&mut self, name: &str, peak: Shape) -> Learned {
        let mut memory = match self.names.get_mut(name) {
            Some(known) => std::mem::replace(known, Memory::NONE),
            None => Memory::NONE,
        };
        self.leave_turn(&memory);
        if memory.peaks.len() >= PEAKS {
            memory.peaks.remove(0);
        }
        memory.peaks.push(peak);
        memory.turn = self.last_turn + 1;
        Learned {
            memory: memory.clone(),
            forgotten: self.put(name.into(), memory),
        }
    }

    /// What was kept of a name that is not here. Answers who was forgotten for it.
    pub fn restore(&mut self, name: Box<str>, mut memory: Memory) -> Option<Box<str>> {
        let more = memory.peaks.len().saturating_sub(PEAKS);
        memory.peaks.drain(..more);
        // Two that claim the same turn have it one after the other, and nobody has the last of all.
        memory.turn = memory.turn.min(u64::MAX / 2).max(self.last_turn + 1);
        self.put(name, memory)
    }

    /// With a turn that is later than all.
    fn put(&mut self, name: Box<str>, memory: Memory) -> Option<Box<str>> {
        self.last_turn = memory.turn;
        let turns = match memory.peaks.len() {
            0 | 1 => &mut self.once,
            _ => &mut self.often,
        };
        turns.insert(memory.turn, name.clone());
        if let Some(before) = self.names.insert(name, memory) {
            self.leave_turn(&before);
        }
        if self.names.len() <= self.room {
            return None;
        }
        let (first, then) = match self.once.len() > (self.room / ONCE_SHARE).max(1) {
            true => (&mut self.once, &mut self.often),
            false => (&mut self.often, &mut self.once),
        };
        let (_, oldest) = first.pop_first().or_else(|| then.pop_first())?;
        self.names.remove(&oldest);
        Some(oldest)
    }

    fn leave_turn(&mut self, memory: &Memory) {
        self.once.remove(&memory.turn);
        self.often.remove(&memory.turn);
    }
}

impl Memory {
    /// Nothing; turns begin with 1.
    const NONE: Self = Self {
        turn: 0,
        peaks: Vec::new(),
    };
}
