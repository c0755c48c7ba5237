//! Which worker takes a transport.
//!
//! All transports of a session live on one worker, so that no packet crosses cores; a session starts on the worker with the
//! fewest transports and stays there until its last transport has gone.

use std::collections::HashMap;

use link::SessionId;

/// Who has what.
#[derive(Debug)]
pub struct Placement {
    /// Transports per worker.
    load: Vec<u32>,
    transports_max: u32,
    sessions: HashMap<SessionId, Place>,
}

#[derive(Debug)]
struct Place {
    worker: u16,
    transports: u32,
}

/// The session's worker has as many transports as it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "worker {worker}, where the session lives, has {transports_max} transports, and may have no more"
)]
pub struct Full {
    /// The worker.
    pub worker: u16,
    /// The limit.
    pub transports_max: u32,
}

impl Placement {
    /// Nobody has anything yet.
    pub fn new(workers: u16, transports_max: u32) -> Self {
        Self {
            load: vec![0; usize::from(workers)],
            transports_max,
            sessions: HashMap::new(),
        }
    }

    /// Takes room for one transport of `session`.
    ///
    /// # Errors
    ///
    /// [`Full`], and then nothing is taken.
    pub fn take(&mut self, session: &SessionId) -> Result<u16, Full> {
        let worker = self
            .sessions
            .get(session)
            .map_or_else(|| self.least_loaded(), |place| place.worker);
        let load = &mut self.load[usize::from(worker)];
        if *load >= self.transports_max {
            return Err(Full {
                worker,
                transports_max: self.transports_max,
            });
        }
        *load += 1;
        let place = self.sessions.entry(session.clone()).or_insert(Place {
            worker,
            transports: 0,
        });
        place.transports += 1;
        Ok(worker)
    }

    /// Gives the room of one transport of `session` back.
    pub fn give_back(&mut self, session: &SessionId) {
        let place = self
            .sessions
            .get_mut(session)
            .expect("a session with a transport has a place");
        place.transports -= 1;
        self.load[usize::from(place.worker)] -= 1;
        if place.transports == 0 {
            self.sessions.remove(session);
        }
    }

    /// Transports of all workers together.
    pub fn transports(&self) -> u32 {
        self.load.iter().sum()
    }

    /// No worker has room for a new session.
    pub fn is_full(&self) -> bool {
        self.load.iter().all(|load| *load >= self.transports_max)
    }

    fn least_loaded(&self) -> u16 {
        let least = self.load.iter().zip(0u16..).min_by_key(|(load, _)| **load);
        least.map_or(0, |(_, worker)| worker)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(name: &str) -> SessionId {
        SessionId::new(name)
    }

    #[test]
    fn a_session_stays_together_and_sessions_spread() {
        let mut placement = Placement::new(2, 10);
        let first = placement.take(&session("a")).expect("room");
        let second = placement.take(&session("b")).expect("room");
        assert_ne!(first, second);
        for _ in 0..5 {
            assert_eq!(placement.take(&session("a")), Ok(first));
        }
        assert_eq!(placement.take(&session("c")), Ok(second));
        assert_eq!(placement.transports(), 8);
    }

    #[test]
    fn a_full_worker_takes_no_more_and_forgets_what_has_gone() {
        let mut placement = Placement::new(2, 2);
        let worker = placement.take(&session("a")).expect("room");
        placement.take(&session("a")).expect("room");
        let full = Full {
            worker,
            transports_max: 2,
        };
        assert_eq!(placement.take(&session("a")), Err(full));
        assert!(!placement.is_full());
        placement.take(&session("b")).expect("room");
        placement.take(&session("b")).expect("room");
        assert!(placement.is_full());
        placement.give_back(&session("a"));
        placement.give_back(&session("a"));
        assert_eq!(placement.take(&session("c")), Ok(worker));
    }
}
