//! What is known of the sessions that were placed.

use std::collections::HashMap;
use std::hash::Hash;

use clock::Instant;

use crate::growth;
use crate::index::Slot;
use crate::load::{Demand, Ends, Shape};

/// The number of a session.
pub type Number = u32;

#[derive(Debug)]
pub(crate) struct Session {
    pub node: Slot,
    /// When it was placed.
    pub since: Instant,
    /// What it is expected to become.
    pub peak: Ends,
    /// What it is.
    pub shape: Shape,
    /// When it last changed.
    pub changed_at: Instant,
    /// What it was at the last report.
    pub marked: Ends,
    /// What the last report shows of it.
    pub seen: Ends,
    /// What is reserved for it, as its node has it.
    pub unseen: Demand,
    pub growth: Demand,
    /// Where it is among those of its node with a reservation.
    pub young: Option<usize>,
}

impl Session {
    pub fn new(node: Slot, now: Instant, peak: Shape) -> Self {
        Self {
            node,
            since: now,
            peak: peak.ends(),
            shape: Shape::default(),
            changed_at: now,
            marked: Ends::default(),
            seen: Ends::default(),
            unseen: Demand::NONE,
            growth: Demand::NONE,
            young: None,
        }
    }

    /// A report came. Rates are averages since the report before, so only what was there at that one shows whole.
    pub fn on_report(&mut self, at: Instant, has_rates: bool) {
        if has_rates {
            self.seen = self.marked;
        }
        if self.changed_at <= at {
            self.marked = self.shape.ends();
        }
    }

    /// What has ended shows no more.
    pub fn reshape(&mut self, now: Instant, shape: Shape) {
        let ends = shape.ends();
        self.shape = shape;
        self.changed_at = now;
        self.marked = self.marked.common(ends);
        self.seen = self.seen.common(ends);
    }

    /// What is to be reserved for it.
    pub fn reservation(&self, now: Instant) -> (Demand, Demand) {
        let ends = self.shape.ends();
        let unseen = ends.beyond(self.seen).demand();
        (unseen, growth::reserve(now, self.since, self.peak, ends))
    }
}

/// All sessions, by name and by number.
#[derive(Debug)]
pub(crate) struct Sessions<S> {
    numbers: HashMap<S, Number>,
    entries: Vec<Option<Session>>,
    free: Vec<Number>,
}

impl<S: Eq + Hash> Sessions<S> {
    pub fn new() -> Self {
        Self {
            numbers: HashMap::new(),
            entries: Vec::new(),
            free: Vec::new(),
        }
    }

    pub fn len(&self) -> usize {
        self.numbers.len()
    }

    pub fn insert(&mut self, name: S, session: Session) -> Number {
        let number = self.free.pop().unwrap_or_else(|| {
            self.entries.push(None);
            Number::try_from(self.entries.len() - 1).expect("fewer than 2^32 sessions")
        });
        self.entries[number as usize] = Some(session);
        self.numbers.insert(name, number);
        number
    }

    pub fn remove(&mut self, name: &S) -> Option<Session> {
        let number = self.numbers.remove(name)?;
        self.free.push(number);
        self.entries[number as usize].take()
    }

    pub fn number(&self, name: &S) -> Option<Number> {
        self.numbers.get(name).copied()
    }

    pub fn get_mut(&mut self, number: Number) -> &mut Session {
        let entry = self.entries[number as usize].as_mut();
        entry.expect("numbers are of sessions that are there")
    }

    /// Forgets all on a node.
    pub fn forget_node(&mut self, node: Slot) {
        let (entries, free) = (&mut self.entries, &mut self.free);
        self.numbers.retain(|_, number| {
            let entry = &mut entries[*number as usize];
            let is_there = entry.as_ref().is_some_and(|session| session.node == node);
            if is_there {
                *entry = None;
                free.push(*number);
            }
            !is_there
        });
    }
}
