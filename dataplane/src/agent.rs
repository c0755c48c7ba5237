//! The node's second kind of thread: everything that is not a packet.
//!
//! One loop hears the workers, the master, operators and the clock, and after each of them delivers what became of it.

use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant as StdInstant};

use ::link::applied::AppliedState;
use ::link::message::{Heartbeat, Hello, Load, ToMaster, ToNode};
use ::link::quic::HEARTBEAT;
use ::link::quic::node::{Listener, MasterConnection};
use exposition::process;
use net::{PeerSocket, Waker};
use tokio::io::unix::AsyncFd;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, sleep};

pub mod admin;
pub mod capture;
pub mod handshake;
mod leaving;
mod leftovers;
pub mod link;
pub mod local;
pub mod node;
pub mod peers;
pub mod speaker;
pub mod statistics;
pub mod taps;
mod translate;
pub mod voices;

#[cfg(test)]
pub(crate) use self::translate::end_labels;

use self::leaving::Leaving;
use self::leftovers::Leftovers;
use self::link::{FromLink, Master};
use crate::capacity;
use crate::mailbox::{Outbox, Receiver};
use crate::metrics::{AgentCounters, Cells};
use crate::reload::Reloader;
use crate::worker::{News, Order, What};
use admin::{Question, Stage, View};
use capture::Captures;
use node::Node;
use peers::PeerOrder;

/// How soon orders that found a mailbox full are tried again.
const RETRY: Duration = Duration::from_millis(1);
/// Most news taken from one worker at a time.
const NEWS_PER_ROUND: usize = 256;
/// How often is said what the log left out.
const LEFT_OUT: Duration = Duration::from_secs(1);
/// How long the master may take to hear that we stop.
const FAREWELL: Duration = Duration::from_millis(300);

/// The agent's end of one worker.
pub struct WorkerPort {
    /// What it is told.
    pub orders: Outbox<Order>,
    /// What it tells.
    pub news: Receiver<News>,
    /// Wakes it.
    pub waker: Waker,
    /// How sockets for its peers are made, if it takes any.
    pub peer_sockets: Option<PeerSockets>,
    /// Its counters.
    pub cells: Arc<Cells>,
    /// How often its mailbox was full, orders and news.
    pub overflows: [Arc<AtomicU64>; 2],
}

/// How sockets for the peers of a worker are made.
#[derive(Clone, Copy, Debug)]
pub struct PeerSockets {
    /// The port that the worker listens on, for IPv4 and IPv6.
    pub port: u16,
    /// Send queue of each, in bytes.
    pub send_buffer: usize,
}

/// Why the agent has ended.
#[derive(Debug, PartialEq, Eq)]
pub enum End {
    /// It was asked to.
    Asked,
    /// A worker can't go on.
    WorkerFailed {
        /// Which.
        worker: u16,
        /// Why.
        why: String,
    },
}

/// What operators and the system send the process. Until these are made, each of them kills it.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    /// From now on they wait for [`Agent::run`]. Must be called inside a tokio runtime.
    ///
    /// # Errors
    ///
    /// If the system refuses to tell of them.
    pub fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }
}

/// What the agent is made of.
pub struct Agent {
    node: Node,
    hello: Hello,
    workers: Vec<WorkerPort>,
    /// The workers' way to wake us.
    wake: Waker,
    view: Arc<View>,
    stage: Arc<Stage>,
    reloader: Reloader,
    /// Times that the configuration was read again: well, and with a mistake in it.
    reloads: [u64; 2],
    reload_is_good: bool,
    leaving: Leaving,
    applied: AppliedState,
    master: Option<Master>,
    /// The next message for the master, until there is room for it.
    next_report: Option<ToMaster>,
    connections: u64,
    /// Sockets for peers that were asked for.
    sockets: u64,
    refused: u64,
    usage: Usage,
    leftovers: Leftovers,
    captures: Captures,
    failed: Option<End>,
    stopping: bool,
}

/// Processor time at the last look, to tell how busy everybody is.
struct Usage {
    at: StdInstant,
    process: Duration,
    workers: Vec<u64>,
    cpu_ratio: f64,
    busy: Vec<f64>,
    /// Datagrams of each worker so far, both ways.
    packets: Vec<u64>,
    /// Payload of all of them, bytes.
    bytes: u64,
    /// Resident memory, bytes.
    memory: u64,
}

impl Agent {
    /// An agent for `workers`, none of which has anything yet.
    pub fn new(
        node: Node,
        hello: Hello,
        workers: Vec<WorkerPort>,
        wake: Waker,
        (view, stage): (Arc<View>, Arc<Stage>),
        reloader: Reloader,
    ) -> Self {
        let usage = Usage {
            at: StdInstant::now(),
            process: process::cpu(),
            workers: vec![0; workers.len()],
            cpu_ratio: 0.0,
            busy: vec![0.0; workers.len()],
            packets: vec![0; workers.len()],
            bytes: 0,
            memory: process::resident_bytes(),
        };
        Self {
            node,
            hello,
            workers,
            wake,
            view,
            stage,
            leaving: Leaving::new(reloader.drain()),
            reloader,
            reloads: [0; 2],
            reload_is_good: true,
            applied: AppliedState::new(),
            master: None,
            next_report: None,
            connections: 0,
            sockets: 0,
            refused: 0,
            usage,
            leftovers: Leftovers::default(),
            captures: Captures::default(),
            failed: None,
            stopping: false,
        }
    }

    /// Runs until asked to stop. Must be called inside a tokio runtime with one thread.
    ///
    /// # Errors
    ///
    /// If the system refuses descriptors.
    pub async fn run(
        mut self,
        listener: Arc<Listener>,
        mut questions: mpsc::Receiver<Question>,
        mut local: mpsc::Receiver<local::Question>,
        mut signals: Signals,
    ) -> std::io::Result<End> {
        let (to_agent, mut from_link) = self::link::channel();
        let accepting = self::link::accept(listener.clone(), to_agent.clone());
        #[expect(
            deprecated,
            reason = "its successor is unsafe, for types that change their descriptor; an OwnedFd does not"
        )]
        let wake = AsyncFd::new(self.wake.as_fd().try_clone_to_owned()?)?;
        let mut heartbeat = interval(HEARTBEAT);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut left_out = interval(LEFT_OUT);
        left_out.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.publish();
        self.stage.started(self.view.clone());
        while self.failed.is_none() && !self.is_over() {
            let pause = self.deliver();
            let room = self.master.as_ref().map(|master| master.sender.clone());
            tokio::select! {
                read = woken(&wake) => { read?; self.hear_workers(); }
                Some(said) = from_link.recv() => self.hear_link(said, &to_agent),
                Ok(permit) = reserve(room), if self.next_report.is_some() => {
                    if let Some(report) = self.next_report.take() { permit.send(report); }
                }
                () = sleep(pause) => {
                    self.node.on_timeout(net::now());
                    self.captures.on_timeout(net::now());
                }
                _ = heartbeat.tick() => self.beat(),
                Some(question) = questions.recv() => self.answer(question),
                _ = left_out.tick() => self.reloader.logs().tell_left_out(),
                Some(question) = local.recv() => self.answer_locally(question),
                _ = signals.hangup.recv() => self.reload(&listener),
                _ = signals.terminate.recv() => if self.leave() { break },
                _ = signals.interrupt.recv() => break,
            }
        }
        accepting.abort();
        self.stop(&listener).await;
        Ok(self.failed.unwrap_or(End::Asked))
    }

    /// Hands out what has piled up; how long we may sleep then.
    fn deliver(&mut self) -> Duration {
        if let Some((worker, command)) = self.node.questions.poll_order() {
            let worker = &mut self.workers[usize::from(worker)];
            worker.orders.post(Order::Engine(command));
        }
        if self.next_report.is_none() && self.master.is_some() {
            let report = self.node.reported.poll();
            let answer = || self.node.questions.poll_answer().map(ToMaster::Statistics);
            self.next_report = report.or_else(answer);
        }
        while let Some((worker, command)) = self.node.poll_order() {
            self.workers[usize::from(worker)]
                .orders
                .post(Order::Engine(command));
        }
        for (worker, command) in self.captures.take_orders() {
            let worker = &mut self.workers[usize::from(worker)];
            worker.orders.post(Order::Engine(command));
        }
        self.deliver_sockets();
        let mut waiting = false;
        for worker in &mut self.workers {
            if worker.orders.flush() {
                worker.waker.wake();
            }
            waiting |= worker.orders.waiting() > 0;
        }
        let now = net::now();
        let due = self.node.deadline().into_iter();
        let due = due.chain(self.captures.deadline()).min();
        let due = due.map(|due| due.saturating_since(now));
        let retry = waiting.then_some(RETRY);
        due.into_iter()
            .chain(retry)
            .min()
            .unwrap_or(Duration::from_secs(1))
    }

    fn deliver_sockets(&mut self) {
        while let Some(order) = self.node.peers.poll() {
            let (PeerOrder::Attach { worker, .. } | PeerOrder::Detach { worker, .. }) = order;
            let worker = &mut self.workers[usize::from(worker)];
            let Some(how) = worker.peer_sockets else {
                continue;
            };
            match order {
                PeerOrder::Attach { remote, local, .. } => {
                    self.sockets += 1;
                    let (port, queue) = (how.port, how.send_buffer);
                    match PeerSocket::connect(port, remote, local, queue, self.sockets) {
                        Ok(socket) => worker.orders.post(Order::Attach(socket)),
                        Err(error) => tracing::debug!(%error, "sent to by the listener"),
                    }
                }
                PeerOrder::Detach { remote, .. } => worker.orders.post(Order::Detach(remote)),
            }
        }
    }

    fn hear_workers(&mut self) {
        let now = net::now();
        let mut more = false;
        for worker in &mut self.workers {
            for _ in 0..NEWS_PER_ROUND {
                let Some(news) = worker.news.pop() else { break };
                match news.what {
                    What::Engine(event) => {
                        if let Some(event) = self.captures.on_event(now, event) {
                            self.node.on_event(now, event);
                        }
                    }
                    What::Failed(why) => {
                        self.failed = Some(End::WorkerFailed {
                            worker: news.worker,
                            why,
                        });
                    }
                }
            }
            more |= !worker.news.is_empty();
        }
        if more {
            self.wake.wake();
        }
    }

    fn hear_link(&mut self, said: FromLink, to_agent: &mpsc::Sender<FromLink>) {
        match said {
            FromLink::Connected(connection) => self.meet(*connection, to_agent),
            FromLink::Refused(from, ::link::quic::Error::OnlyAsked) => {
                tracing::debug!(%from, "a master asked who is here");
            }
            FromLink::Refused(from, error) => {
                self.refused += 1;
                tracing::warn!(target: logs::STRANGERS, %from, %error, "turned someone away on the link");
            }
            FromLink::Message(id, message) => {
                if self.master.as_ref().is_some_and(|master| master.id == id) {
                    self.obey(message);
                }
            }
            FromLink::Lost(id, error) => {
                if self.master.as_ref().is_some_and(|master| master.id == id) {
                    self.part(&error.to_string());
                }
            }
        }
    }

    fn meet(&mut self, connection: MasterConnection, to_agent: &mpsc::Sender<FromLink>) {
        if let Err(superseded) = self.applied.on_welcome(&connection.welcome) {
            self.refused += 1;
            tracing::warn!(master = %connection.address, %superseded, "turned an older master away");
            connection.hang_up.superseded(&superseded);
            return;
        }
        if let Some(former) = self.master.take() {
            former.drop_because("a newer connection has taken over");
            self.node.reported.on_disconnected();
            self.node.questions.clear();
        }
        self.connections += 1;
        let master = Master::new(self.connections, connection, to_agent.clone());
        tracing::info!(master = %master.address, epoch = master.welcome.epoch, "link up");
        master
            .sender
            .try_send(ToMaster::Hello(self.hello.clone().seen_at(master.local)))
            .expect("a new queue has room");
        self.master = Some(master);
        self.next_report = None;
        self.node.reported.on_connected();
        self.publish();
    }

    fn obey(&mut self, message: ToNode) {
        if let ToNode::AskStatistics(question) = &message {
            return self.node.ask(question);
        }
        match self.applied.on_message(message) {
            Ok(steps) => {
                let now = net::now();
                for step in steps {
                    self.node.on_step(now, step);
                }
            }
            Err(gap) => self.part(&gap.to_string()),
        }
    }

    /// The master is away: what there is goes on.
    fn part(&mut self, why: &str) {
        if let Some(master) = self.master.take() {
            tracing::warn!(master = %master.address, why, "link down; media goes on");
            master.drop_because(why);
            self.node.reported.on_disconnected();
            self.node.questions.clear();
            self.next_report = None;
            self.publish();
        }
    }

    /// Whoever may look at what is decrypted asks.
    fn answer_locally(&mut self, question: local::Question) {
        match question {
            local::Question::Transports(reply) => drop(reply.send(self.node.list())),
            local::Question::Capture {
                wish,
                caller,
                reader,
                begun,
            } => {
                let now = net::now();
                let place = self.node.place_of(&wish.name);
                let peer = place.and_then(|(_, transport)| self.node.peers.remote(transport));
                let worker = place.map(|(worker, _)| worker);
                let began = self.captures.begin(now, &wish, place, caller, reader);
                let answer = began.map(|()| local::Begun {
                    at_nanos: now.as_nanos(),
                    unix_micros: local::unix_micros(now, now),
                    peer,
                    local: worker.and_then(|worker| self.node.address_of(worker)),
                });
                // Who has gone is found out when there is something to tell.
                let _ = begun.send(answer);
            }
        }
    }

    fn beat(&mut self) {
        self.captures.on_timeout(net::now());
        self.measure();
        self.publish();
        let open = self.node.handshakes().open();
        let ended = self.node.counters.handshakes.values().sum();
        if self.leftovers.is_time(net::now(), open, ended) {
            net::trim_heap();
        }
        let Some(master) = &self.master else { return };
        let (transports, publishers, subscribers) = self.node.sizes();
        let load = Load {
            transports,
            publishers,
            subscribers,
            cpu_ratio: self.usage.cpu_ratio,
            busiest_worker_ratio: self.usage.busy.iter().copied().fold(0.0, f64::max),
            memory_bytes: self.usage.memory,
        };
        let left = self.leaving.left(StdInstant::now());
        let heartbeat = Heartbeat {
            applied: self.applied.revision(),
            load,
            leaving: left.map(|left| u64::try_from(left.as_millis()).unwrap_or(u64::MAX)),
        };
        // A full queue means that the master is slow; it hears of us soon enough.
        let _ = master.sender.try_send(ToMaster::Heartbeat(heartbeat));
    }

    fn measure(&mut self) {
        let usage = &mut self.usage;
        let passed = usage.at.elapsed().as_secs_f64();
        if passed < 0.05 {
            return;
        }
        usage.at = StdInstant::now();
        let ratio = |used: Duration| (used.as_secs_f64() / passed).clamp(0.0, 1.0);
        let process = process::cpu();
        let cores = self.workers.len().max(1) as u32;
        usage.cpu_ratio = ratio(process.saturating_sub(usage.process) / cores);
        usage.process = process;
        let (mut rate, mut bytes) = (0.0, 0);
        for (index, worker) in self.workers.iter().enumerate() {
            let counted = worker.cells.read();
            bytes += counted.driver.received_bytes + counted.driver.sent_bytes;
            let packets = counted.driver.received_packets + counted.driver.sent_packets;
            let moved = packets.saturating_sub(usage.packets[index]);
            usage.packets[index] = packets;
            let number = u16::try_from(index).unwrap_or(u16::MAX);
            let placement = self.node.placement_mut();
            placement.observe(number, moved as f64 / passed);
            rate += moved as f64 / passed;
            let used = counted.worker.cpu_nanos;
            let since = used.saturating_sub(usage.workers[index]);
            usage.busy[index] = ratio(Duration::from_nanos(since));
            usage.workers[index] = used;
        }
        let moved = bytes.saturating_sub(usage.bytes);
        usage.bytes = bytes;
        usage.memory = process::resident_bytes();
        let whole = capacity::Usage {
            packets_per_second: rate,
            bits_per_second: 8.0 * moved as f64 / passed,
            memory_bytes: usage.memory,
        };
        let placement = self.node.placement_mut();
        placement.observe_all(Duration::from_secs_f64(passed), whole);
    }

    /// Brings what the admin endpoint shows up to date.
    fn publish(&self) {
        let placement = self.node.placement();
        let unready = if self.stopping {
            Some("stopping".to_owned())
        } else if self.master.is_none() {
            Some("no master is connected".to_owned())
        } else {
            placement.full().map(|full| full.to_string())
        };
        let sum = |which: usize| {
            let counts = self.workers.iter().map(|worker| &worker.overflows[which]);
            counts.map(|count| count.load(Ordering::Relaxed)).sum()
        };
        let handshakes = self.node.handshakes();
        let counters = AgentCounters {
            closed: self.node.counters.closed.clone(),
            refusals: self.node.counters.refusals,
            captures: self.captures.counted,
            troubles: self.node.counters.troubles.clone(),
            troubled: self.node.counters.troubled.clone(),
            handshakes: self.node.counters.handshakes.clone(),
            handshakes_open: handshakes.open() as u64,
            handshakes_deferred: handshakes.deferred,
            link_up: self.master.is_some(),
            master: self.master.as_ref().map(|master| master.address.ip()),
            link_connections: self.connections,
            link_refused: self.refused,
            revision: self.applied.revision(),
            ready: unready.is_none(),
            leaving: self.leaving.left(StdInstant::now()).is_some(),
            reloads: self.reloads,
            reload_is_good: self.reload_is_good,
            busy: self.usage.busy.clone(),
            sessions: placement.sessions(),
            limits: placement.limits(),
            overflows: [sum(0), sum(1)],
        };
        *self
            .view
            .agent
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = counters;
        *self
            .view
            .unready
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = unready;
    }

    fn answer(&self, question: Question) {
        // Whoever asked may have gone.
        match question {
            Question::Ping(reply) => drop(reply.send(())),
            Question::Everything(reply) => drop(reply.send(self.everything())),
        }
    }

    fn everything(&self) -> serde_json::Value {
        let master = self.master.as_ref().map(|master| {
            serde_json::json!({ "address": master.address, "epoch": master.welcome.epoch })
        });
        serde_json::json!({
            "node": self.hello.node,
            "instance": self.hello.instance,
            "master": master,
            "revision": self.applied.revision(),
            "state": self.node.debug(),
        })
    }

    /// Somebody asks for the end. Answers whether it is here.
    fn leave(&mut self) -> bool {
        let now = StdInstant::now();
        let transports = self.node.placement().transports();
        let was_asked = self.leaving.left(now).is_some();
        if self.leaving.asked(now, transports) {
            if was_asked {
                tracing::warn!(transports, "asked again: what is left is closed now");
            }
            return true;
        }
        let left = self.leaving.left(now).unwrap_or_default();
        tracing::info!(
            transports,
            "draining: no new sessions; the node ends when those that are here are over, in {left:?} at the latest, or when it is asked again"
        );
        self.node.placement_mut().leave();
        // The master is told at once.
        self.beat();
        false
    }

    /// Whether the end that somebody asked for is here.
    fn is_over(&self) -> bool {
        let now = StdInstant::now();
        // Looked at after every event: it must cost next to nothing as long as nobody has asked.
        if self.leaving.left(now).is_none() {
            return false;
        }
        let transports = self.node.placement().transports();
        let is_over = self.leaving.is_over(now, transports, self.master.is_some());
        match (is_over, transports) {
            (false, _) => {}
            (true, 0) => tracing::info!("drained"),
            (true, _) => tracing::warn!(transports, "the time is over: what is left is closed"),
        }
        is_over
    }

    /// Reads configuration and certificates again. A mistake in them changes nothing.
    fn reload(&mut self, listener: &Listener) {
        let fresh = self.reloader.read().and_then(|fresh| {
            let renewed = listener.renew(&fresh.credentials);
            renewed.map(|()| fresh).map_err(|error| error.to_string())
        });
        self.reload_is_good = fresh.is_ok();
        self.reloads[usize::from(fresh.is_err())] += 1;
        match fresh {
            Ok(fresh) => {
                let (now, later) = &fresh.changed;
                for key in now {
                    tracing::info!(key, "changed: in effect from now on");
                }
                for key in later {
                    tracing::warn!(key, "changed: takes effect at the next start");
                }
                let expires = fresh.credentials.expiry();
                {
                    let mut node = self
                        .view
                        .node
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner);
                    (node.capacity, node.certificate_expiry) = (fresh.capacity, expires);
                }
                self.node.placement_mut().set_capacity(fresh.capacity);
                self.leaving.set_patience(fresh.config.shutdown.drain.0);
                let open = fresh.config.admin.open;
                self.stage.open.store(open, Ordering::Relaxed);
                let capacity = &mut self.hello.capacity;
                capacity.packets_per_second = Some(fresh.capacity.packets_per_second);
                capacity.bits_per_second = Some(fresh.capacity.bits_per_second);
                capacity.memory_bytes = Some(fresh.capacity.memory_bytes);
                self.reloader.commit(fresh);
                tracing::info!("configuration and certificates read again");
            }
            Err(why) => tracing::error!(%why, "not read again: everything stays as it was"),
        }
        self.publish();
    }

    /// Tells everybody, in order: peers, master, workers.
    async fn stop(&mut self, listener: &Listener) {
        tracing::info!("stopping");
        self.stopping = true;
        self.publish();
        if let Some(master) = &self.master {
            let farewell = Heartbeat {
                applied: self.applied.revision(),
                leaving: Some(0),
                ..Heartbeat::default()
            };
            // A full queue means that the master is slow; it notices soon enough that we are gone.
            let _ = master.sender.try_send(ToMaster::Heartbeat(farewell));
        }
        self.captures.stop();
        self.node.stop(net::now());
        let patience = StdInstant::now() + FAREWELL;
        while StdInstant::now() < patience {
            self.deliver();
            if let (Some(report), Some(master)) = (self.next_report.take(), &self.master) {
                if let Err(mpsc::error::TrySendError::Full(report)) = master.sender.try_send(report)
                {
                    self.next_report = Some(report);
                }
            } else if self
                .workers
                .iter()
                .all(|worker| worker.orders.waiting() == 0)
            {
                break;
            }
            sleep(RETRY).await;
        }
        if let Some(master) = self.master.take() {
            master.finish(FAREWELL, "the node stops").await;
        }
        for worker in &mut self.workers {
            worker.orders.post(Order::Stop);
            worker.orders.flush();
            worker.waker.wake();
        }
        let _ = tokio::time::timeout(FAREWELL, listener.close("the node stops")).await;
    }
}

/// Waits until a worker has news.
async fn woken(wake: &AsyncFd<OwnedFd>) -> std::io::Result<()> {
    let mut ready = wake.readable().await?;
    let mut counter = [0; 8];
    // An empty counter (EAGAIN) means that somebody was faster.
    let _ = rustix::io::read(wake.get_ref(), &mut counter);
    ready.clear_ready();
    Ok(())
}

/// Waits for room in the master's queue; for ever if there is no master.
async fn reserve(
    room: Option<mpsc::Sender<ToMaster>>,
) -> Result<mpsc::OwnedPermit<ToMaster>, mpsc::error::SendError<()>> {
    match room {
        Some(sender) => sender.reserve_owned().await,
        None => std::future::pending().await,
    }
}
