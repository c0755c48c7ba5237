//! Which worker takes a transport.
//!
//! The unit is the connection: all transports of one user live on one worker. A session starts on the least busy worker and
//! stays there while it fits; when it has its share of that worker, further connections go to others, and what they subscribe
//! to crosses. Most sessions never leave their first worker.

use std::collections::HashMap;

use clock::Duration;
use link::{ConnectionId, SessionId};

use crate::capacity::{Capacity, Guard, LIMITS, Limit, Over, Usage};

/// Packets per second that a transport is reckoned with until it shows in what was measured.
const FRESH_PACKETS: f64 = 100.0;
/// What remains of that from one measurement to the next.
const FRESH_DECAY: f64 = 0.95;

/// How much a worker may take, and the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Transports, of all sessions together.
    pub transports_max: u32,
    /// Transports of one session; with so many, its further connections go elsewhere.
    pub session_transports: u32,
    /// What all workers together may do.
    pub capacity: Capacity,
}

/// Who has what.
#[derive(Debug)]
pub struct Placement {
    workers: Vec<Load>,
    limits: Limits,
    sessions: HashMap<SessionId, Session>,
    /// Connections that were ever given a place.
    connections: u64,
    /// What the node does as a whole.
    guard: Guard,
    /// Transports that found no room, in the order of [`Limit::ALL`].
    refused: [u64; LIMITS],
    /// No new sessions are taken.
    leaving: bool,
}

/// Where a transport goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The worker.
    pub worker: u16,
    /// The connection as that worker knows it: the same for all its transports as long as it has any.
    pub connection: sfu::api::ConnectionId,
}

/// What a worker has to do.
#[derive(Clone, Copy, Debug, Default)]
struct Load {
    transports: u32,
    /// Datagrams per second, both ways, at the last look.
    packets: f64,
    /// Transports that do not show in that yet.
    fresh: f64,
}

/// Where a session is: transports by worker, in the order in which it went there.
#[derive(Debug, Default)]
struct Session {
    shares: Vec<(u16, u32)>,
    /// With how many transports each has.
    connections: HashMap<ConnectionId, (Place, u32)>,
}

/// No worker may take the transport.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Full {
    /// The connection's worker has as many transports as it may.
    #[error(
        "worker {worker}, where the connection lives, has {transports_max} transports, and may have no more"
    )]
    Worker {
        /// The worker.
        worker: u16,
        /// The limit.
        transports_max: u32,
    },
    /// All of them have.
    #[error("every worker has {transports_max} transports, and may have no more")]
    Node {
        /// The limit.
        transports_max: u32,
    },
    /// The node has as much to do as it may.
    #[error("{0}")]
    Over(Over),
    /// The node is about to end.
    #[error("draining: the node is about to end and takes no new sessions")]
    Leaving,
}

impl Placement {
    /// Nobody has anything yet.
    pub fn new(workers: u16, limits: Limits) -> Self {
        Self {
            workers: vec![Load::default(); usize::from(workers)],
            limits,
            sessions: HashMap::new(),
            connections: 0,
            guard: Guard::new(limits.capacity),
            refused: [0; LIMITS],
            leaving: false,
        }
    }

    /// From now on sessions that are not here are sent away.
    pub fn leave(&mut self) {
        self.leaving = true;
    }

    /// All workers together may do so much from now on.
    pub fn set_capacity(&mut self, capacity: Capacity) {
        self.limits.capacity = capacity;
        self.guard.set_capacity(capacity);
    }

    /// Takes room for one transport of a connection.
    ///
    /// # Errors
    ///
    /// [`Full`], and then nothing is taken.
    pub fn take(&mut self, session: &SessionId, connection: &ConnectionId) -> Result<Place, Full> {
        let taken = self.try_to_take(session, connection);
        if let Err(full) = taken {
            let limit = match full {
                Full::Worker { .. } | Full::Node { .. } => Some(Limit::Transports),
                Full::Over(over) => Some(over.limit),
                Full::Leaving => None,
            };
            if let Some(limit) = limit {
                self.refused[limit as usize] += 1;
            }
        }
        taken
    }

    fn try_to_take(
        &mut self,
        session: &SessionId,
        connection: &ConnectionId,
    ) -> Result<Place, Full> {
        if let Some(over) = self.guard.over() {
            return Err(Full::Over(over));
        }
        let transports_max = self.limits.transports_max;
        let known = self.sessions.get(session);
        if self.leaving && known.is_none() {
            return Err(Full::Leaving);
        }
        let home = known.and_then(|session| session.connections.get(connection));
        let place = match home {
            Some(&(place, _)) if self.has_room(place.worker) => place,
            Some(&(Place { worker, .. }, _)) => {
                return Err(Full::Worker {
                    worker,
                    transports_max,
                });
            }
            None => {
                let worker = self.choose(known).ok_or(Full::Node { transports_max })?;
                self.connections += 1;
                let connection = sfu::api::ConnectionId(self.connections);
                Place { worker, connection }
            }
        };
        let worker = place.worker;
        let load = &mut self.workers[usize::from(worker)];
        load.transports += 1;
        load.fresh += 1.0;
        let session = self.sessions.entry(session.clone()).or_default();
        match session.shares.iter_mut().find(|(on, _)| *on == worker) {
            Some((_, transports)) => *transports += 1,
            None => session.shares.push((worker, 1)),
        }
        let known = session.connections.entry(connection.clone());
        known.or_insert((place, 0)).1 += 1;
        Ok(place)
    }

    /// Gives the room of one transport of a connection back.
    pub fn give_back(&mut self, name: &SessionId, connection: &ConnectionId) {
        let session = self.sessions.get_mut(name);
        let session = session.expect("a session with a transport has a place");
        let place = session.connections.get_mut(connection);
        let (place, transports) = place.expect("a connection with a transport has a place");
        let worker = place.worker;
        *transports -= 1;
        if *transports == 0 {
            session.connections.remove(connection);
        }
        let load = &mut self.workers[usize::from(worker)];
        load.transports -= 1;
        load.fresh = (load.fresh - 1.0).max(0.0);
        session.shares.retain_mut(|(on, transports)| {
            *transports -= u32::from(*on == worker);
            *transports > 0
        });
        if session.shares.is_empty() {
            self.sessions.remove(name);
        }
    }

    /// So many datagrams per second go through `worker`, both ways. To be said a few times a second.
    pub fn observe(&mut self, worker: u16, packets: f64) {
        if let Some(load) = self.workers.get_mut(usize::from(worker)) {
            load.packets = packets;
            load.fresh *= FRESH_DECAY;
        }
    }

    /// The node did so much during `passed`. To be said a few times a second.
    pub fn observe_all(&mut self, passed: Duration, usage: Usage) {
        self.guard.observe(passed, usage);
    }

    /// Why nothing more is taken, if so.
    pub fn full(&self) -> Option<Full> {
        if self.leaving {
            return Some(Full::Leaving);
        }
        let over = self.guard.over().map(Full::Over);
        let transports_max = self.limits.transports_max;
        over.or_else(|| self.is_full().then_some(Full::Node { transports_max }))
    }

    /// Which limits are reached, and how many transports each has cost so far, in the order of [`Limit::ALL`].
    pub fn limits(&self) -> [(bool, u64); LIMITS] {
        Limit::ALL.map(|limit| {
            let is_over = match limit {
                Limit::Transports => self.is_full(),
                limit => self.guard.is_over(limit),
            };
            (is_over, self.refused[limit as usize])
        })
    }

    /// Transports of all workers together.
    pub fn transports(&self) -> u32 {
        self.workers.iter().map(|load| load.transports).sum()
    }

    /// No worker has room for a new session.
    fn is_full(&self) -> bool {
        let limit = self.limits.transports_max;
        self.workers.iter().all(|load| load.transports >= limit)
    }

    /// Sessions on one worker, and on several.
    pub fn sessions(&self) -> (u64, u64) {
        let all = self.sessions.len() as u64;
        let spread = self.sessions.values();
        let spread = spread.filter(|one| one.shares.len() > 1).count() as u64;
        (all - spread, spread)
    }

    /// The worker for another connection of a session.
    fn choose(&self, session: Option<&Session>) -> Option<u16> {
        let shares = session.map_or(&[][..], |session| &session.shares);
        let fits = shares.iter().find(|(worker, transports)| {
            *transports < self.limits.session_transports && self.has_room(*worker)
        });
        if let Some((worker, _)) = fits {
            return Some(*worker);
        }
        // Where the session is already it has its share; but rather there than nowhere.
        let is_new = |worker: u16| shares.iter().all(|(known, _)| *known != worker);
        self.least_busy(is_new)
            .or_else(|| self.least_busy(|_| true))
    }

    fn least_busy(&self, may: impl Fn(u16) -> bool) -> Option<u16> {
        let workers = (0u16..).zip(&self.workers);
        workers
            .filter(|(worker, _)| may(*worker) && self.has_room(*worker))
            .min_by(|(_, one), (_, other)| one.score().total_cmp(&other.score()))
            .map(|(worker, _)| worker)
    }

    fn has_room(&self, worker: u16) -> bool {
        self.workers[usize::from(worker)].transports < self.limits.transports_max
    }
}

impl Load {
    /// Packets per second, what is not seen of them yet included. Transports decide between idle workers.
    fn score(&self) -> f64 {
        self.packets + FRESH_PACKETS * self.fresh + f64::from(self.transports)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        transports_max: 10,
        session_transports: 6,
        capacity: Capacity::UNLIMITED,
    };

    /// Takes room for a transport of connection `user` of `session`.
    fn take(placement: &mut Placement, session: &str, user: &str) -> Result<u16, Full> {
        let place = placement.take(&SessionId::new(session), &ConnectionId::new(user));
        place.map(|place| place.worker)
    }

    fn give_back(placement: &mut Placement, session: &str, user: &str) {
        placement.give_back(&SessionId::new(session), &ConnectionId::new(user));
    }

    #[test]
    fn a_session_stays_together_while_it_fits_and_sessions_spread() {
        let mut placement = Placement::new(2, LIMITS);
        let first = take(&mut placement, "a", "1").expect("room");
        let second = take(&mut placement, "b", "1").expect("room");
        assert_ne!(first, second);
        for user in ["1", "2", "2", "3", "4"] {
            assert_eq!(take(&mut placement, "a", user), Ok(first));
        }
        assert_eq!(take(&mut placement, "c", "1"), Ok(second));
        assert_eq!(placement.transports(), 8);
        assert_eq!(placement.sessions(), (3, 0));
    }

    #[test]
    fn a_session_with_its_share_goes_on_elsewhere_connection_by_connection() {
        let mut placement = Placement::new(3, LIMITS);
        for _ in 0..6 {
            assert_eq!(take(&mut placement, "a", "1"), Ok(0));
        }
        assert_eq!(take(&mut placement, "b", "1"), Ok(1));
        assert_eq!(take(&mut placement, "a", "2"), Ok(2), "the least busy one");
        assert_eq!(take(&mut placement, "a", "1"), Ok(0), "never apart");
        assert_eq!(take(&mut placement, "a", "3"), Ok(2), "there it fits");
        assert_eq!(placement.sessions(), (1, 1));
        // Whoever leaves makes room at home, where the session is rather than elsewhere.
        for _ in 0..3 {
            give_back(&mut placement, "a", "1");
        }
        assert_eq!(take(&mut placement, "a", "4"), Ok(0));
        for user in ["2", "3"] {
            give_back(&mut placement, "a", user);
        }
        assert_eq!(placement.sessions(), (2, 0));
    }

    #[test]
    fn a_session_that_has_its_share_everywhere_is_still_taken() {
        let mut placement = Placement::new(2, LIMITS);
        for user in 0..20 {
            take(&mut placement, "a", &user.to_string()).expect("room");
        }
        assert!(placement.is_full());
        let full = Full::Node { transports_max: 10 };
        assert_eq!(take(&mut placement, "a", "20"), Err(full));
        assert_eq!(placement.full(), Some(full));
        assert_eq!(placement.limits()[Limit::Transports as usize], (true, 1));
        let Err(Full::Worker { worker, .. }) = take(&mut placement, "a", "0") else {
            panic!("a connection is not torn apart");
        };
        give_back(&mut placement, "a", "0");
        assert_eq!(take(&mut placement, "b", "1"), Ok(worker));
    }

    #[test]
    fn a_busy_worker_with_few_transports_is_spared() {
        let mut placement = Placement::new(2, LIMITS);
        take(&mut placement, "a", "1").expect("room");
        for user in ["1", "2", "3"] {
            assert_eq!(take(&mut placement, "b", user), Ok(1));
        }
        for _ in 0..100 {
            placement.observe(0, 5_000.0);
            placement.observe(1, 300.0);
        }
        assert_eq!(take(&mut placement, "c", "1"), Ok(1));
        // Many at once do not all fall on the same one before anything is measured.
        let many = (0..9).map(|number| take(&mut placement, &format!("d{number}"), "1"));
        let on_first = many.filter(|worker| *worker == Ok(0)).count();
        assert!(on_first >= 3, "{on_first}: the other one is full");
    }

    #[test]
    fn a_connection_has_one_number_and_shares_it_with_nobody() {
        let mut placement = Placement::new(2, LIMITS);
        let mut number = |session, user| {
            let place = placement.take(&SessionId::new(session), &ConnectionId::new(user));
            place.expect("room").connection
        };
        let first = number("a", "1");
        assert_eq!(number("a", "1"), first);
        let others = [number("a", "2"), number("b", "1"), number("b", "2")];
        assert!(!others.contains(&first) && others[0] != others[1] && others[1] != others[2]);
    }

    #[test]
    fn a_node_over_its_limit_takes_nothing_and_says_which() {
        let capacity = Capacity {
            packets_per_second: 1_000,
            ..Capacity::UNLIMITED
        };
        let mut placement = Placement::new(2, Limits { capacity, ..LIMITS });
        take(&mut placement, "a", "1").expect("room");
        let mut busy = |packets_per_second| {
            let usage = Usage {
                packets_per_second,
                ..Usage::default()
            };
            placement.observe_all(Duration::from_secs(60), usage);
            let taken = take(&mut placement, "a", "2");
            (taken.is_ok(), placement.full(), placement.limits())
        };
        let none = Limit::ALL.map(|_| (false, 0));
        assert_eq!(busy(999.0), (true, None, none));
        let (taken, full, limits) = busy(1_500.0);
        assert!(!taken && limits[Limit::PacketsPerSecond as usize] == (true, 1));
        let said = full.map(|full| full.to_string()).unwrap_or_default();
        assert!(said.contains("packets/s of at most 1000"), "{said}");
        let (taken, full, limits) = busy(100.0);
        assert!(taken && full.is_none());
        assert_eq!(limits[Limit::PacketsPerSecond as usize], (false, 1));
    }

    #[test]
    fn a_node_that_leaves_keeps_its_sessions_and_takes_no_others() {
        let mut placement = Placement::new(2, LIMITS);
        take(&mut placement, "a", "1").expect("room");
        placement.leave();
        assert!(take(&mut placement, "a", "2").is_ok(), "who joins is here");
        assert_eq!(take(&mut placement, "b", "1"), Err(Full::Leaving));
        assert_eq!(placement.full(), Some(Full::Leaving));
        assert!(placement.limits().iter().all(|limit| *limit == (false, 0)));
    }

    #[test]
    fn a_limit_can_change_while_the_node_runs() {
        let mut placement = Placement::new(1, LIMITS);
        let busy = |placement: &mut Placement| {
            let usage = Usage {
                packets_per_second: 2_000.0,
                ..Usage::default()
            };
            placement.observe_all(Duration::from_secs(60), usage);
            placement.full().is_some()
        };
        assert!(!busy(&mut placement));
        placement.set_capacity(Capacity {
            packets_per_second: 1_000,
            ..Capacity::UNLIMITED
        });
        assert!(busy(&mut placement));
        placement.set_capacity(Capacity::UNLIMITED);
        assert!(!busy(&mut placement));
    }

    #[test]
    fn what_has_gone_is_forgotten() {
        let mut placement = Placement::new(2, LIMITS);
        take(&mut placement, "a", "1").expect("room");
        take(&mut placement, "a", "2").expect("room");
        give_back(&mut placement, "a", "1");
        give_back(&mut placement, "a", "2");
        assert_eq!((placement.transports(), placement.sessions()), (0, (0, 0)));
        assert!(placement.sessions.is_empty());
    }
}
