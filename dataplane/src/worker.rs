//! The loop of one core.
//!
//! A worker never acts in reaction to one packet: it collects, and then does everything in a fixed order. Every step is
//! bounded, so a turn is too.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use clock::Instant;
use net::{Driver, Fatal, PeerSocket, Wait, Waker};
use packet::{Arena, Batch, Bursts};
use sfu::Engine;
use sfu::api::{Command, Event};

use crate::crossing::Crossing;
use crate::effort::{Effort, Reading};
use crate::gather::Gather;
use crate::mailbox::{Receiver, Sender};
use crate::metrics::{Cells, Snapshot};

/// Most orders taken in one turn.
pub const ORDERS_PER_TURN: usize = 32;
/// A turn that takes longer is counted as a stall. What the driver waited does not count.
pub const TURN_BUDGET: Duration = Duration::from_millis(1);
/// How soon news that found the mailbox full are tried again.
const RETRY: Duration = Duration::from_millis(1);
/// Looks for the rest of a picture in a turn.
const LOOKS_MAX: usize = 64;
/// How often the worker publishes what it has counted, and reads how much of its core it has used.
const PUBLISH_INTERVAL: Duration = Duration::from_millis(100);

/// What the agent tells a worker.
#[derive(Debug)]
pub enum Order {
    /// For the engine.
    Engine(Command),
    /// For the driver: a socket for one peer.
    Attach(PeerSocket),
    /// For the driver: the socket of this peer is not needed any more.
    Detach(SocketAddr),
    /// The end.
    Stop,
}

/// What a worker tells the agent.
#[derive(Debug)]
pub struct News {
    /// Who.
    pub worker: u16,
    /// What.
    pub what: What,
}

/// What happened on a worker.
#[derive(Debug)]
pub enum What {
    /// Something in the engine.
    Engine(Event),
    /// The driver can't go on, for this reason: the worker has ended.
    Failed(String),
}

/// One core: a driver, an engine, and the memory between them.
pub struct Worker<D> {
    /// Its number; its port is the base port plus this.
    pub number: u16,
    /// How it meets the network.
    pub driver: D,
    /// What it does with packets.
    pub engine: Engine,
    /// Memory for what comes.
    pub arena: Arena,
    /// Memory for what goes.
    pub bursts: Bursts,
    /// Orders of the agent.
    pub orders: Receiver<Order>,
    /// News for the agent.
    pub news: Sender<News>,
    /// Wakes the agent.
    pub agent: Waker,
    /// The way to and from the other workers.
    pub crossing: Crossing,
    /// When to wait for the rest of a picture.
    pub gather: Gather,
    /// Where the counters are published.
    pub cells: Arc<Cells>,
}

/// Whether there is another turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// There is.
    Continue,
    /// The worker was told to stop.
    Stop,
}

/// What one worker remembers from turn to turn besides its engine.
pub struct Rounds {
    batch: Batch,
    snapshot: Snapshot,
    published: Instant,
    /// Something was counted since.
    unpublished: bool,
    /// Orders were followed or news told in this turn, so that somebody may look at once.
    eventful: bool,
    effort: Effort,
    /// News are waiting because the mailbox was full.
    deferred: bool,
}

impl<D: Driver> Worker<D> {
    /// Turns until told to stop. What ends a worker before that is told to the agent.
    pub fn run(mut self) {
        let mut rounds = self.start();
        let end = loop {
            match self.turn(&mut rounds) {
                Ok(Flow::Continue) => {}
                Ok(Flow::Stop) => break None,
                Err(fatal) => break Some(chain(&fatal)),
            }
        };
        if let Some(why) = end {
            let mut news = self.say(What::Failed(why));
            while let Err(unsent) = self.news.push(news) {
                self.agent.wake();
                std::thread::sleep(RETRY);
                news = unsent;
            }
            self.agent.wake();
        }
    }

    /// To be called once, before the first turn, on the thread that takes the turns.
    pub fn start(&mut self) -> Rounds {
        self.arena.settle();
        self.engine.prepare(&self.arena);
        // The engine's timers begin at zero; the first look at the clock brings them to the present.
        self.engine.on_timeout(self.driver.now(), &mut self.arena);
        let reading = self.reading(self.driver.now());
        Rounds {
            batch: Batch::new(),
            snapshot: Snapshot::default(),
            published: Instant::ZERO,
            unpublished: false,
            eventful: false,
            effort: Effort::new(reading),
            deferred: false,
        }
    }

    /// One turn, in the order that everything else relies on. Simulation calls it; everybody else calls [`Worker::run`].
    ///
    /// # Errors
    /// What the driver can't go on after.
    pub fn turn(&mut self, rounds: &mut Rounds) -> Result<Flow, Fatal> {
        // 1. What the last turn wrote leaves, then we wait for packets or the next deadline.
        let wait = self.wait(rounds);
        let is_pressed = rounds.effort.is_pressed(wait);
        let before = self.engine.cycles();
        let Self {
            driver,
            bursts,
            arena,
            ..
        } = self;
        driver.turn(bursts, wait, arena, &mut rounds.batch)?;
        rounds.snapshot.worker.came(rounds.batch.len());

        // 2. The one look at the clock, the orders, and what comes from other workers.
        let now = self.driver.now();
        let worked = is_pressed.then(|| self.engine.cycles().wrapping_sub(before));
        rounds.effort.driven(now, worked);
        let flow = self.take_orders(now, rounds);
        self.crossing
            .take_in(now, &mut self.engine, &mut self.arena);

        // 3. classify → unprotect → ingest → route.
        let first = rounds.batch.as_slice().first();
        let first = first.map(|datagram| datagram.arrival);
        self.engine.receive(now, &mut self.arena, &mut rounds.batch);
        let now = self.look_again(now, rounds)?;
        let now = match first {
            Some(first) if self.engine.may_gather() => {
                let after = self.gather(now, first, rounds)?;
                // What it receives meanwhile is little beside the waiting.
                rounds.effort.waited(after - now);
                after
            }
            _ => now,
        };

        self.crossing.hand_over(&mut self.engine, &self.arena);

        // 4. Timers come before the second half, so that what they produce leaves in the same bursts.
        self.engine.on_timeout(now, &mut self.arena);

        // 5. rewrite → protect, and what there is to tell.
        self.engine.flush(now, &mut self.arena, &mut self.bursts);
        self.crossing.finish(&mut self.engine, &mut self.arena);
        self.tell(rounds);
        self.publish(rounds);
        if flow == Flow::Stop {
            self.crossing.close(&mut self.arena);
            // What was said last still leaves.
            self.driver.turn(
                &mut self.bursts,
                Wait::Poll,
                &mut self.arena,
                &mut rounds.batch,
            )?;
        }
        Ok(flow)
    }

    /// Receives the rest of the pictures that have begun, if it is about to come; the present.
    fn look_again(&mut self, mut now: Instant, rounds: &mut Rounds) -> Result<Instant, Fatal> {
        if !self.engine.may_gather() {
            return Ok(now);
        }
        let Some(until) = self.gather.look(now, self.engine.copies_waiting()) else {
            return Ok(now);
        };
        let mut brought = 0;
        // The clock may stand still, in a simulation.
        for _ in 0..LOOKS_MAX {
            let (arena, batch) = (&mut self.arena, &mut rounds.batch);
            self.driver
                .turn(&mut self.bursts, Wait::Poll, arena, batch)?;
            now = self.driver.now();
            brought += batch.len();
            rounds.snapshot.worker.came(batch.len());
            self.engine.receive(now, arena, batch);
            if !self.engine.may_gather() || now >= until {
                break;
            }
        }
        self.gather.looked(brought > 0);
        Ok(now)
    }

    /// Sleeps for the rest of the pictures that have begun, if it comes soon; the present.
    fn gather(
        &mut self,
        mut now: Instant,
        first: Instant,
        rounds: &mut Rounds,
    ) -> Result<Instant, Fatal> {
        let Some(mut attempt) = self.gather.begin(first) else {
            return Ok(now);
        };
        while self.engine.may_gather()
            && let Some(until) = self.gather.until(&mut attempt, now)
        {
            let wait = Wait::Gather(until);
            let (arena, batch) = (&mut self.arena, &mut rounds.batch);
            self.driver.turn(&mut self.bursts, wait, arena, batch)?;
            now = self.driver.now();
            let last = batch.as_slice().last().map(|datagram| datagram.arrival);
            Gather::came(&mut attempt, batch.len(), last);
            rounds.snapshot.worker.came(batch.len());
            self.engine.receive(now, arena, batch);
        }
        self.gather.end(&attempt, !self.engine.may_gather());
        Ok(now)
    }

    fn wait(&self, rounds: &Rounds) -> Wait {
        if !self.orders.is_empty() || self.crossing.has_mail() {
            return Wait::Poll;
        }
        let retry = rounds.deferred.then(|| self.driver.now() + RETRY);
        let publish = rounds
            .unpublished
            .then(|| rounds.published + PUBLISH_INTERVAL);
        let extra = retry.into_iter().chain(publish);
        match self.engine.deadline().into_iter().chain(extra).min() {
            Some(deadline) => Wait::Until(deadline),
            None => Wait::Forever,
        }
    }

    fn take_orders(&mut self, now: Instant, rounds: &mut Rounds) -> Flow {
        for _ in 0..ORDERS_PER_TURN {
            match self.orders.pop() {
                Some(Order::Engine(command)) => {
                    rounds.snapshot.worker.orders += 1;
                    rounds.eventful = true;
                    self.engine.command(now, command);
                }
                Some(Order::Attach(socket)) => {
                    rounds.snapshot.worker.orders += 1;
                    // Without room for it, the listener does.
                    self.driver.attach(socket);
                }
                Some(Order::Detach(remote)) => {
                    rounds.snapshot.worker.orders += 1;
                    self.driver.detach(remote);
                }
                Some(Order::Stop) => return Flow::Stop,
                None => break,
            }
        }
        Flow::Continue
    }

    /// News that don't fit stay in the engine, whose own queue is bounded.
    fn tell(&mut self, rounds: &mut Rounds) {
        let mut told = false;
        rounds.deferred = false;
        loop {
            if self.news.is_full() {
                self.news.count_overflow();
                rounds.deferred = true;
                break;
            }
            let Some(event) = self.engine.poll_event() else {
                break;
            };
            let news = self.say(What::Engine(event));
            self.news
                .push(news)
                .expect("there was room, and nobody else writes");
            told = true;
        }
        rounds.eventful |= told;
        if told || rounds.deferred {
            self.agent.wake();
        }
    }

    /// Counting is cheap, and publishing is not: a few times a second is enough for whoever scrapes.
    fn publish(&mut self, rounds: &mut Rounds) {
        let end = self.driver.now();
        let worker = &mut rounds.snapshot.worker;
        worker.turns += 1;
        if let Some(part) = rounds.effort.end(end, self.engine.stats()) {
            worker.stalls[part] += 1;
        }
        let eventful = core::mem::take(&mut rounds.eventful);
        let recent = end.saturating_since(rounds.published) < PUBLISH_INTERVAL;
        rounds.unpublished = recent && !eventful;
        if rounds.unpublished {
            return;
        }
        rounds.published = end;
        let reading = self.reading(end);
        worker.cpu_nanos = reading.cpu_nanos;
        worker.driver_cycles = rounds.effort.driver_cycles(reading, self.engine.stats());
        worker.unbalanced = self.engine.stats().unbalanced_packets();
        rounds.snapshot.engine.clone_from(self.engine.stats());
        rounds.snapshot.driver = *self.driver.stats();
        rounds.snapshot.crossing = self.crossing.counters;
        self.cells.publish(&mut rounds.snapshot);
    }

    fn reading(&self, now: Instant) -> Reading {
        Reading {
            now,
            cycles: self.engine.cycles(),
            cpu_nanos: cpu_nanos(),
        }
    }

    fn say(&self, what: What) -> News {
        News {
            worker: self.number,
            what,
        }
    }
}

/// An error and everything that caused it, in one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// Processor time of this thread.
fn cpu_nanos() -> u64 {
    let used = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    used.tv_sec.unsigned_abs() * 1_000_000_000 + used.tv_nsec.unsigned_abs()
}
