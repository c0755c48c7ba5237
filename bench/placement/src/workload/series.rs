//! Meetings that take place again and again under one name, and what is usual under it.

use clock::Rng;

use super::{Earlier, SIZE_MAX, TENANTS, shape};
use crate::random::{between, happens, log_normal, noise, unit};

/// Of this share of sessions the size is two.
const OF_TWO: f64 = 0.62;
/// The others have two and so many more: median and sigma.
const MORE: (f64, f64) = (3.0, 1.15);
/// Up to this size all publish.
pub(super) const ALL_PUBLISH: u32 = 12;
/// Up to this size all publish in so many of the larger ones: 24 people send and receive 576 streams.
const OPEN_MAX: u32 = 24;
const OPEN: f64 = 0.3;
/// Publishers of the others: median and sigma.
const FEW: (f64, f64) = (4.0, 0.7);
/// A session with more streams than these needs nodes that share it, which is not simulated. One publishes to any number.
pub(super) const STREAMS_MAX: u32 = 600;

/// To so many meetings nobody comes but the first.
const ALONE: f64 = 0.05;
/// In so many of those of more than two somebody comes early and waits.
const CLASSES: f64 = 0.15;
/// Waits for so long, ms.
const WAITS: (f64, f64) = (2.0 * 60e3, 12.0 * 60e3);

/// Sizes under one name differ by that.
const NAME_SIGMA: f64 = 0.25;
/// Under so many names they have nothing to do with each other.
const FICKLE: f64 = 0.15;
/// Sessions of a recurring name that were seen on earlier days, at most.
const EARLIER_MAX: u64 = 5;
/// A name that is free is looked for so often.
const LOOKS: u32 = 16;

/// What is usual under a name.
#[derive(Clone, Copy, Debug)]
pub(super) struct Usual {
    pub(super) tenant: u32,
    size: f64,
    publishers: u32,
    /// All have a camera on.
    open: bool,
    /// The first waits for the others.
    class: bool,
    /// The next meeting is not like the last one.
    fickle: bool,
}

/// Somebody's next meeting.
#[derive(Clone, Copy, Debug)]
pub(super) struct Meeting {
    /// So many come.
    pub(super) size: u32,
    /// So many were to come, and so many of them to publish.
    pub(super) invited: u32,
    pub(super) publishers: u32,
    /// The first is there so much earlier than the others begin to come, ms; none: no later than they.
    pub(super) waits: Option<u64>,
}

impl Usual {
    pub(super) fn draw(rng: &mut Rng) -> Self {
        let size = match happens(rng, OF_TWO) {
            true => 2.0,
            false => 2.0 + log_normal(rng, MORE.0, MORE.1),
        };
        // Few tenants have most of the sessions.
        let tenant = (f64::from(TENANTS + 1).powf(unit(rng)) as u32).clamp(1, TENANTS) - 1;
        Self {
            tenant,
            size: size.min(f64::from(SIZE_MAX)),
            publishers: log_normal(rng, FEW.0, FEW.1).round().max(1.0) as u32,
            open: happens(rng, OPEN),
            class: happens(rng, CLASSES),
            fickle: happens(rng, FICKLE),
        }
    }

    pub(super) fn meeting(self, rng: &mut Rng) -> Meeting {
        let usual = match self.fickle {
            true => Self::draw(rng),
            false => self,
        };
        let invited = usual.some_size(rng);
        let size = if happens(rng, ALONE) { 1 } else { invited };
        let waits = between(rng, WAITS.0, WAITS.1) as u64;
        Meeting {
            size,
            invited,
            publishers: usual.publishers_of(invited),
            waits: (usual.class && size > 2).then_some(waits),
        }
    }

    fn some_size(self, rng: &mut Rng) -> u32 {
        match self.size <= 2.0 {
            true => 2,
            false => {
                let size = (self.size * noise(rng, NAME_SIGMA)).round();
                size.clamp(2.0, f64::from(SIZE_MAX)) as u32
            }
        }
    }

    pub(super) fn publishers_of(self, size: u32) -> u32 {
        let all = if self.open { OPEN_MAX } else { ALL_PUBLISH };
        match size <= all {
            true => size,
            false => self.publishers.min(STREAMS_MAX / size).max(1),
        }
    }
}

/// All names that are used again, and until when each is in use, ms.
pub(super) struct Series(Vec<(Usual, u64)>);

impl Series {
    pub(super) fn draw(names: u32, rng: &mut Rng) -> Self {
        Self((0..names).map(|_| (Usual::draw(rng), 0)).collect())
    }

    pub(super) fn names(&self) -> u32 {
        self.0.len() as u32
    }

    /// One that is free at `at`, if it is soon found.
    pub(super) fn free(&self, at: u64, rng: &mut Rng) -> Option<(u32, Usual)> {
        let many = self.0.len() as u64;
        let mut names = (0..LOOKS.min(self.names())).map(|_| rng.below(many) as usize);
        let name = names.find(|name| self.0[*name].1 < at)?;
        Some((name as u32, self.0[name].0))
    }

    /// It is in use. Answers since when it may be: two meetings never have one name.
    pub(super) fn take(&mut self, name: u32, ends: u64) -> u64 {
        let until = &mut self.0[name as usize].1;
        std::mem::replace(until, ends) + 1
    }

    pub(super) fn earlier(&self, rng: &mut Rng) -> Vec<Earlier> {
        let mut earlier = Vec::new();
        for (name, (usual, _)) in (0..).zip(&self.0) {
            for _ in 0..=rng.below(EARLIER_MAX) {
                let Meeting {
                    size, publishers, ..
                } = usual.meeting(rng);
                earlier.push(Earlier {
                    name,
                    peak: shape(size, publishers),
                });
            }
        }
        earlier
    }
}
