//! A media node of one or more workers, and what must be true of it after every turn.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use clock::{Duration, Instant, Rng};
use dataplane::crossing::Crossing;
use dataplane::gather::Gather;
use dataplane::mailbox::{Outbox, Receiver, mailbox};
use dataplane::metrics::Cells;
use dataplane::worker::{Flow, News, Order, Rounds, What, Worker};
use net::{Driver, Waker};
use packet::{Arena, ArenaSize, Bursts, BurstsSize};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use sfu::Engine;
use sfu::api::{Command, Config, Event, TransportId, Way};
use sfu::discard::Stage;
use sfu::stats::{Direction, Stats};

use crate::driver::{SimDriver, Still};
use crate::network::Network;

/// Messages in each mailbox. Few, so that it runs full now and then.
const MAILBOX: usize = 64;
/// So many turns at one instant are no work but a loop.
const TURNS_AT_ONCE_MAX: usize = 1_000;
/// How much earlier one of several workers may get an order than another.
pub(crate) const ORDERS_DELAY: Duration = Duration::from_millis(20);

/// Production workers on [`SimDriver`]s, with their mailboxes.
pub struct Node {
    workers: Vec<OneWorker>,
    network: Rc<RefCell<Network>>,
    /// Who of those that have something to do turns first.
    rng: Rng,
}

struct OneWorker {
    worker: Worker<SimDriver>,
    rounds: Rounds,
    orders: Outbox<Order>,
    news: Receiver<News>,
    /// What a turn waits for is decided before its work, so only an idle turn has the last word.
    is_restless: bool,
    /// When the orders that wait reach it: with several workers nobody knows who hears first.
    orders_at: Instant,
    has_stopped: bool,
}

/// What moved through a worker, to see whether a turn did anything.
#[derive(PartialEq, Eq)]
struct Progress {
    received: u64,
    crossed: u64,
    lent: u64,
    wishes: u64,
}

impl Node {
    /// A worker at each address; each neighbour is lent so many slots.
    pub(crate) fn new(
        network: &Rc<RefCell<Network>>,
        addresses: &[SocketAddr],
        config: &Config,
        loans: usize,
        rng: &mut Rng,
    ) -> Self {
        let mut workers: Vec<OneWorker> = (0u16..)
            .zip(addresses)
            .map(|(number, address)| {
                OneWorker::new(network, number, *address, config.clone(), rng.fork())
            })
            .collect();
        let wakers: Vec<Waker> = workers
            .iter()
            .map(|one| one.worker.driver.waker())
            .collect();
        for (one, crossing) in workers.iter_mut().zip(Crossing::between(&wakers, loans)) {
            one.worker.crossing = crossing;
        }
        Self {
            workers,
            network: network.clone(),
            rng: rng.fork(),
        }
    }

    /// How many workers it has.
    pub fn workers(&self) -> usize {
        self.workers.len()
    }

    /// What the engine of the first worker counted.
    pub fn stats(&self) -> &Stats {
        self.stats_of(0)
    }

    /// What the engine of a worker counted.
    pub fn stats_of(&self, worker: u16) -> &Stats {
        self.workers[usize::from(worker)].worker.engine.stats()
    }

    /// What the first worker knows of the way to the peer of a transport.
    pub fn way(&self, now: Instant, transport: TransportId) -> Option<Way> {
        self.workers[0].worker.engine.way(now, transport)
    }

    /// What the driver of the first worker counted.
    pub fn driver_stats(&self) -> &net::DriverStats {
        self.workers[0].worker.driver.stats()
    }

    /// What a worker counted of its neighbours.
    pub fn crossing_of(&self, worker: u16) -> dataplane::crossing::Counters {
        self.workers[usize::from(worker)].worker.crossing.counters
    }

    /// Slots that are in use now.
    pub fn slots_in_use(&self) -> usize {
        let all = self.workers.iter();
        all.map(|one| one.worker.arena.in_use()).sum()
    }

    /// Posts an order. One worker follows it at the present instant, several follow theirs a little later, each when it hears.
    pub fn order(&mut self, worker: u16, command: Command) {
        self.post(worker, Order::Engine(command));
    }

    /// Tells a worker to stop, which it does with its next turn.
    pub fn stop(&mut self, worker: u16) {
        self.post(worker, Order::Stop);
    }

    /// For so long, the driver of a worker does not do that.
    pub fn stand_still(&mut self, worker: u16, what: Still, duration: Duration) {
        let now = self.network.borrow().now();
        let one = &mut self.workers[usize::from(worker)];
        one.worker.driver.stand_still(what, now + duration);
    }

    fn post(&mut self, worker: u16, order: Order) {
        let now = self.network.borrow().now();
        let delay = match self.workers.len() {
            1 => Duration::ZERO,
            _ => Duration::from_micros(self.rng.below(ORDERS_DELAY.as_micros() as u64)),
        };
        let one = &mut self.workers[usize::from(worker)];
        one.orders.post(order);
        one.orders_at = one.orders_at.max(now + delay);
    }

    pub(crate) fn is_due(&self) -> bool {
        (0..self.workers.len()).any(|place| self.is_due_at(place))
    }

    fn is_due_at(&self, place: usize) -> bool {
        let one = &self.workers[place];
        let network = self.network.borrow();
        let is_told = one.orders.waiting() > 0 && one.orders_at <= network.now();
        let is_due = one.is_restless || is_told || network.is_due(one.worker.driver.port());
        is_due && !one.has_stopped
    }

    pub(crate) fn wake_at(&self) -> clock::Instant {
        let network = self.network.borrow();
        let wakes = self.workers.iter();
        let wakes = wakes.filter(|one| !one.has_stopped).flat_map(|one| {
            let told = (one.orders.waiting() > 0).then_some(one.orders_at);
            told.into_iter()
                .chain([network.wake_at(one.worker.driver.port())])
        });
        wakes.min().unwrap_or(Instant::FAR_FUTURE)
    }

    /// Turns until there is nothing left to do at this instant. Returns what happened.
    ///
    /// # Panics
    /// If a promise is broken, or a worker goes on turning without anything to do.
    pub(crate) fn turn(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        let count = self.workers.len();
        for _ in 0..TURNS_AT_ONCE_MAX {
            if !self.is_due() {
                self.check_crossing();
                return events;
            }
            let first = self.rng.below(count as u64) as usize;
            for place in (first..count).chain(0..first) {
                if self.is_due_at(place) {
                    let now = self.network.borrow().now();
                    self.workers[place].turn(now, &mut events);
                    self.wake_neighbours();
                }
            }
        }
        panic!("the workers turn and turn, and time does not pass");
    }

    /// Whoever was woken by another worker turns. Nothing else wakes a worker for what crosses.
    fn wake_neighbours(&mut self) {
        for one in &self.workers {
            if was_woken(&one.worker.driver.waker()) {
                self.network.borrow_mut().wake(one.worker.driver.port());
            }
        }
    }

    /// When everybody waits, everything that left for another worker has arrived there.
    fn check_crossing(&self) {
        let sum = |of: fn(&Stats) -> u64| -> u64 {
            let all = self.workers.iter();
            all.map(|one| of(one.worker.engine.stats())).sum()
        };
        let left = sum(|stats| stats.stage(Stage::CrossOut).packets_out);
        let came = sum(|stats| stats.stage(Stage::CrossIn).packets_in);
        let is_heard = self.workers.iter().all(|one| !one.has_stopped);
        assert!(left == came || !is_heard, "{left} left, {came} came");
    }

    /// What must be true when every transport is gone.
    ///
    /// # Panics
    /// If anything is left.
    pub fn check_empty(&self) {
        self.workers.iter().for_each(OneWorker::check_empty);
    }
}

impl OneWorker {
    fn new(
        network: &Rc<RefCell<Network>>,
        number: u16,
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
            chunks: 16,
            bursts: 4096,
        };
        let mut worker = Worker {
            number,
            driver: SimDriver::new(network.clone(), address),
            engine: Engine::new(config, rng),
            arena: Arena::new(arena).expect("there is memory for an arena"),
            bursts: Bursts::new(bursts).expect("there is memory for bursts"),
            orders: from_agent,
            news: to_agent,
            agent: Waker::new().expect("the process has descriptors left"),
            crossing: Crossing::none(),
            gather: Gather::new(Duration::ZERO),
            cells: Arc::new(Cells::new()),
        };
        let rounds = worker.start();
        Self {
            worker,
            rounds,
            orders: Outbox::new(orders),
            news,
            is_restless: false,
            orders_at: Instant::ZERO,
            has_stopped: false,
        }
    }

    fn turn(&mut self, now: Instant, events: &mut Vec<Event>) {
        let before = self.progress();
        let posted = self.orders_at <= now && self.orders.flush();
        let flow = self.worker.turn(&mut self.rounds);
        let flow = flow.expect("a simulated driver never fails");
        self.has_stopped = flow == Flow::Stop;
        self.check();
        while let Some(News { what, .. }) = self.news.pop() {
            match what {
                What::Engine(event) => events.push(event),
                other => panic!("a simulated worker says {other:?}"),
            }
        }
        let may_send = self.worker.driver.still().is_none();
        let wants_to_send = may_send && self.worker.bursts.queued() > 0;
        self.is_restless = posted || wants_to_send || self.progress() != before;
    }

    fn progress(&self) -> Progress {
        let stats = self.worker.engine.stats();
        Progress {
            received: self.worker.driver.stats().received_packets,
            crossed: stats.stage(Stage::CrossIn).packets_in,
            lent: self.worker.crossing.counters.slots_lent,
            wishes: stats.key_frame_wishes_received,
        }
    }

    /// What must be true after every turn.
    fn check(&self) {
        let stats = self.worker.engine.stats();
        assert_eq!(stats.unbalanced(), None, "in + made = out + dropped + held");
        let copies = self.worker.engine.waiting_copies();
        let (counted, paced) = self.worker.engine.paced_copies();
        assert_eq!(counted, paced, "what pacers hold is counted");
        for stage in Stage::ALL {
            let waiting = match stage {
                Stage::Rewrite => copies,
                _ => 0,
            };
            let held = stats.stage(stage).held;
            assert_eq!(held, waiting, "what {stage:?} holds is what waits there");
        }
        let arena = &self.worker.arena;
        let slots = match copies {
            0 => stats.cache_packets as usize,
            _ => self.worker.engine.slots_kept(),
        };
        assert_eq!(
            arena.in_use(),
            slots,
            "between turns only the cache and what waits have slots"
        );
        let driver = self.worker.driver.stats();
        let written: u64 = stats.packets[Direction::Out as usize].iter().sum();
        let unsent = self.worker.bursts.queued_packets() as u64;
        assert_eq!(
            written,
            driver.sent_packets + driver.expired_packets + unsent,
            "what was written left, became stale, or waits"
        );
        assert_eq!(
            arena.lent() as u64,
            self.worker.crossing.counters.slots_lent,
            "the rest is free, or with neighbours"
        );
        assert_eq!(
            self.worker.bursts.in_flight(),
            0,
            "the driver completes what it takes"
        );
    }

    fn check_empty(&self) {
        let stats = self.worker.engine.stats();
        assert_eq!(
            (stats.publishers, stats.subscribers, stats.encodings),
            (0, 0, 0)
        );
        assert_eq!((stats.taps_in, stats.taps_out), (0, 0), "nothing crosses");
        let transports =
            stats.transports_new + stats.transports_connecting + stats.transports_connected;
        assert_eq!(transports, 0, "every transport is gone");
        assert_eq!(stats.cache_packets, 0, "the cache is empty");
        assert_eq!(self.worker.arena.in_use(), 0, "every slot came back");
        assert_eq!(self.worker.arena.lent(), 0, "neighbours returned theirs");
        assert_eq!(self.worker.bursts.queued(), 0, "nothing waits to leave");
    }
}

/// Whether a waker was used since the last look.
fn was_woken(waker: &Waker) -> bool {
    let mut fds = [PollFd::new(waker, PollFlags::IN)];
    let used = poll(&mut fds, Some(&Timespec::default()));
    if used.expect("a waker can be looked at") == 0 {
        return false;
    }
    let mut counter = [0; 8];
    rustix::io::read(waker, &mut counter).expect("there is something to read");
    true
}
