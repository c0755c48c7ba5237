//! Rules by which a node is chosen: ours and others'.
//!
//! A policy sees what a master sees: nodes that come and go, what is read of them, and what is placed. It never sees the future, and
//! what nodes really do only if it says so ([`Policy::sees_truth`]).

mod board;
mod choices;
mod counts;
pub(crate) mod jitsi;
mod livekit;
mod openvidu;
mod ours;
mod simple;
#[cfg(test)]
mod testing;

use std::fmt;

use clock::Rng;
use scheduler::{Hint, Shape};

use crate::node::Reading;
use crate::outcome::SourceError;

/// A session that needs a node.
#[derive(Clone, Copy, Debug)]
pub struct Request {
    /// Its number.
    pub session: u32,
    /// Its name.
    pub name: u32,
    /// What its application says.
    pub hint: Hint,
    /// What it will become: for [`Family::Ideal`] alone.
    pub becomes: Shape,
}

/// What becomes of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It takes sessions.
    Takes,
    /// It keeps what it has.
    Drains,
    /// It is not there.
    Gone,
}

/// No node takes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused;

/// How a policy learns of loads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cadence {
    /// A node is read after so long, ms: at least and at most.
    pub every: (u64, u64),
}

impl Cadence {
    /// Every so many ms, a tenth more or less.
    pub const fn every(millis: u64) -> Self {
        Self {
            every: (millis - millis / 10, millis + millis / 10),
        }
    }
}

/// A rule. Times are ms.
pub trait Policy {
    /// How often nodes are read for it; none: it does not ask.
    fn cadence(&self) -> Option<Cadence> {
        Some(Cadence::every(2000))
    }

    /// It is told the real load at once, which nobody can have: to compare with.
    fn sees_truth(&self) -> bool {
        false
    }

    /// Tells the real load of a node, if that is wanted.
    fn truth(&mut self, _node: u32, _load: f64) {}

    /// Tells of a session of an earlier day.
    fn learn(&mut self, _name: u32, _peak: Shape) {}

    /// A node comes, goes, or drains.
    fn node(&mut self, now: u64, node: u32, standing: Standing);

    /// A node was read.
    fn report(&mut self, _now: u64, _node: u32, _reading: &Reading) {}

    /// Where a session goes.
    ///
    /// # Errors
    /// [`Refused`], if no node takes it.
    fn place(&mut self, now: u64, request: &Request, rng: &mut Rng) -> Result<u32, Refused>;

    /// A session that was placed has changed: users came or went.
    fn reshape(&mut self, _now: u64, _session: u32, _shape: Shape) {}

    /// A session of that name is no longer where it was: it is over, or its node is gone and it will ask for another.
    fn end(&mut self, _now: u64, _session: u32, _name: u32) {}

    /// How good its forecasts were, by what they were made from.
    fn accuracy(&self) -> Vec<SourceError> {
        Vec::new()
    }

    /// What it expects a session to become; none: it does not predict.
    fn expects(&self, _request: &Request) -> Option<Shape> {
        None
    }
}

/// Whose rule it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// This project's scheduler.
    Ours,
    /// What others run.
    Existing,
    /// Rules of the textbook.
    Textbook,
    /// What nobody can have.
    Ideal,
}

/// A policy by name.
#[derive(Clone, Copy)]
pub struct Entry {
    /// The word on the command line.
    pub name: &'static str,
    /// Whose it is.
    pub family: Family,
    /// What it does.
    pub about: &'static str,
    /// Makes it anew, for a world.
    pub make: fn() -> Box<dyn Policy>,
}

impl Entry {
    /// A fresh one, which knows of no node.
    pub fn make(&self) -> Box<dyn Policy> {
        (self.make)()
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// All policies, in the order of tables.
pub fn all() -> Vec<Entry> {
    let mut all = simple::entries();
    all.extend(choices::entries());
    all.extend(openvidu::entries());
    all.extend(livekit::entries());
    all.extend(jitsi::entries());
    all.extend(ours::entries());
    all
}

/// The one of this name.
pub fn named(name: &str) -> Option<Entry> {
    all().into_iter().find(|entry| entry.name == name)
}
