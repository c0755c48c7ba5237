//! A media node of one worker, and what must be true of it after every turn.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use clock::Rng;
use dataplane::mailbox::{Outbox, Receiver, mailbox};
use dataplane::metrics::Cells;
use dataplane::worker::{News, Order, Rounds, What, Worker};
use net::{Driver, Waker};
use packet::{Arena, ArenaSize, Bursts, BurstsSize};
use sfu::Engine;
use sfu::api::{Command, Config, Event};
use sfu::stats::Stats;

use crate::driver::SimDriver;
use crate::network::Network;

/// Messages in each mailbox. Few, so that it runs full now and then.
const MAILBOX: usize = 64;
/// So many turns at one instant are no work but a loop.
const TURNS_AT_ONCE_MAX: usize = 1_000;

/// The production worker on a [`SimDriver`], with its mailboxes.
pub struct Node {
    worker: Worker<SimDriver>,
    rounds: Rounds,
    orders: Outbox<Order>,
    news: Receiver<News>,
    network: Rc<RefCell<Network>>,
}

impl Node {
    pub(crate) fn new(
        network: &Rc<RefCell<Network>>,
        address: SocketAddr,
        config: Config,
        rng: Rng,
    ) -> Self {
        let (orders, from_agent) = mailbox(MAILBOX);
        let (to_agent, news) = mailbox(MAILBOX);
        let arena = ArenaSize {
            slots: 4096,
            small_slots: 1024,
            reserve: 1024,
        };
        let bursts = BurstsSize {
            chunks: 64,
            bursts: 4096,
        };
        let mut worker = Worker {
            number: 0,
            driver: SimDriver::new(network.clone(), address),
            engine: Engine::new(config, rng),
            arena: Arena::new(arena).expect("there is memory for an arena"),
            bursts: Bursts::new(bursts).expect("there is memory for bursts"),
            orders: from_agent,
            news: to_agent,
            agent: Waker::new().expect("the process has descriptors left"),
            cells: Arc::new(Cells::new()),
        };
        let rounds = worker.start();
        Self {
            worker,
            rounds,
            orders: Outbox::new(orders),
            news,
            network: network.clone(),
        }
    }

    /// What the engine counted.
    pub fn stats(&self) -> &Stats {
        self.worker.engine.stats()
    }

    /// What the driver counted.
    pub fn driver_stats(&self) -> &net::DriverStats {
        self.worker.driver.stats()
    }

    /// Slots that are in use now.
    pub fn slots_in_use(&self) -> usize {
        self.worker.arena.in_use()
    }

    /// Posts an order; it is followed at the present instant.
    pub fn order(&mut self, command: Command) {
        self.orders.post(Order::Engine(command));
        self.network.borrow_mut().wake(self.worker.driver.port());
    }

    pub(crate) fn is_due(&self) -> bool {
        self.network.borrow().is_due(self.worker.driver.port())
    }

    pub(crate) fn wake_at(&self) -> clock::Instant {
        self.network.borrow().wake_at(self.worker.driver.port())
    }

    /// Turns until there is nothing left to do at this instant. Returns what happened.
    ///
    /// # Panics
    /// If a promise is broken, or the worker goes on turning without anything to do.
    pub(crate) fn turn(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        for _ in 0..TURNS_AT_ONCE_MAX {
            let before = self.driver_stats().received_packets;
            let posted = self.orders.flush();
            self.worker
                .turn(&mut self.rounds)
                .expect("a simulated driver never fails");
            self.check();
            while let Some(News { what, .. }) = self.news.pop() {
                match what {
                    What::Engine(event) => events.push(event),
                    other => panic!("a simulated worker says {other:?}"),
                }
            }
            // What a turn waits for is decided before its work, so only an idle turn has the last word.
            let idle = self.driver_stats().received_packets == before
                && !posted
                && self.worker.bursts.queued() == 0;
            if idle && !self.is_due() {
                return events;
            }
        }
        panic!("the worker turns and turns, and time does not pass");
    }

    /// What must be true after every turn.
    fn check(&self) {
        let stats = self.stats();
        assert_eq!(stats.unbalanced(), None, "in + made = out + dropped + held");
        for cells in &stats.stages {
            assert_eq!(cells.held, 0, "no stage keeps packets between turns");
        }
        assert_eq!(
            self.worker.arena.in_use() as u64,
            stats.cache_packets,
            "between turns only the cache has slots"
        );
        assert_eq!(
            self.worker.bursts.in_flight(),
            0,
            "the driver completes what it takes"
        );
    }

    /// What must be true when every transport is gone.
    ///
    /// # Panics
    /// If anything is left.
    pub fn check_empty(&self) {
        let stats = self.stats();
        assert_eq!(
            (stats.publishers, stats.subscribers, stats.encodings),
            (0, 0, 0)
        );
        let transports =
            stats.transports_new + stats.transports_connecting + stats.transports_connected;
        assert_eq!(transports, 0, "every transport is gone");
        assert_eq!(stats.cache_packets, 0, "the cache is empty");
        assert_eq!(self.slots_in_use(), 0, "every slot came back");
        assert_eq!(self.worker.bursts.queued(), 0, "nothing waits to leave");
    }
}
