//! What is known of the sessions that were placed.

use std::collections::HashMap;
use std::hash::Hash;

use clock::{Duration, Instant};

use crate::forecast::{Ended, Forecast, Source};
use crate::growth;
use crate::index::Slot;
use crate::load::{Demand, Ends, Shape};

/// The number of a session.
pub type Number = u32;

/// Who waits alone in a session of which something is known waits for the others, but not for longer than this.
const ALONE_MAX: Duration = Duration::from_secs(1800);

/// At this age of a session is noted what its growth promises.
const NOTED: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(crate) struct Session {
    pub node: Slot,
    /// When it was placed.
    pub since: Instant,
    /// When a second user came.
    called: Option<Instant>,
    /// What it is expected to become; none of one that is there since long.
    pub forecast: Option<Forecast>,
    /// How many streams its growth promised at a minute's age.
    promised: Option<f64>,
    /// What it is.
    pub shape: Shape,
    /// What it was at its greatest.
    greatest: Shape,
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
    pub fn new(node: Slot, now: Instant, forecast: Forecast) -> Self {
        Self {
            node,
            since: now,
            called: None,
            forecast: Some(forecast),
            promised: None,
            shape: Shape::default(),
            greatest: Shape::default(),
            changed_at: now,
            marked: Ends::default(),
            seen: Ends::default(),
            unseen: Demand::NONE,
            growth: Demand::NONE,
            young: None,
        }
    }

    /// It has been there since long, and of this shape.
    pub fn settle(&mut self, shape: Shape) {
        self.since = Instant::ZERO;
        self.forecast = None;
        (self.shape, self.greatest) = (shape, shape);
        (self.marked, self.seen) = (shape.ends(), shape.ends());
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
        self.note(now);
        if self.called.is_none() && shape.connections > 1 {
            self.called = Some(now);
        }
        let ends = shape.ends();
        self.shape = shape;
        self.greatest = self.greatest.greatest(shape);
        self.changed_at = now;
        self.marked = self.marked.common(ends);
        self.seen = self.seen.common(ends);
    }

    /// What is to be reserved for it.
    pub fn reservation(&mut self, now: Instant) -> (Demand, Demand) {
        let unseen = self.shape.ends().beyond(self.seen).demand();
        let Some(forecast) = &self.forecast else {
            return (unseen, Demand::NONE);
        };
        let growth = growth::reserve(forecast, &self.shape, self.growing(forecast, now));
        self.note(now);
        (unseen, growth)
    }

    /// For how long it has grown: a teacher who waits alone has a class to come, however long ago the room was opened.
    fn growing(&self, forecast: &Forecast, now: Instant) -> Duration {
        let waited = now.saturating_since(self.since);
        let is_known = matches!(forecast.source, Source::Hint | Source::Name | Source::Stem);
        match self.called {
            _ if !is_known => waited,
            Some(called) => now.saturating_since(called),
            None if waited < ALONE_MAX => Duration::ZERO,
            None => waited,
        }
    }

    /// Notes what its growth promised, by what it has been until now.
    fn note(&mut self, now: Instant) {
        let growing = self.forecast.filter(|forecast| forecast.follows_growth);
        if let (None, Some(forecast)) = (self.promised, growing)
            && now.saturating_since(self.since) >= NOTED
        {
            self.promised = Some(growth::streams(&forecast, &self.shape, NOTED));
        }
    }

    pub fn ended(&self) -> Ended {
        Ended {
            became: self.greatest,
            forecast: self.forecast,
            promised: self.promised,
        }
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
