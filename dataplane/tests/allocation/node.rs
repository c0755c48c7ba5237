//! One worker as the daemon makes it, taking its turns on the test's own thread.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Mutex;

use dataplane::agent::WorkerPort;
use dataplane::config::Config;
use dataplane::daemon;
use dataplane::worker::{Order, Rounds, What, Worker, chain};
use net::{AnyDriver, Driver, PeerSocket, Waker};
use sfu::api::{Command, Event};
use sfu::stats::Stats;

use crate::counting::watch;

static OPENING: Mutex<()> = Mutex::new(());

pub struct Node {
    pub worker: Worker<AnyDriver>,
    pub address: SocketAddr,
    port: WorkerPort,
    rounds: Rounds,
    /// Sockets of peers, so far.
    sockets: u64,
    /// Turns whose allocations count, and what they allocated.
    pub watched: u64,
    pub allocations: u64,
    /// Datagrams that came and went in turns that were not watched, since the beginning.
    pub unwatched_datagrams: u64,
}

impl Node {
    /// A worker with io_uring or without. `None` if io_uring is asked for and can't be had from this system; a driver that
    /// does without it although it could be had is a panic.
    pub fn open(driver: &str) -> Option<Self> {
        // A port that is free until now stays so for the one that looked.
        let _alone = OPENING.lock().expect("nobody panics with it");
        let address = free_port();
        let text = format!(
            "node_id = 'test'\n[media]\nbind = ['127.0.0.1']\nadvertise = ['127.0.0.1']\n\
             base_port = {}\nworkers = 1\narena = '16MiB'\ntransports_max = 100\ndriver = '{driver}'",
            address.port()
        );
        let config = Config::load(None, text.parse().expect("TOML")).expect("good");
        let agent = Waker::new().expect("a descriptor");
        let made = daemon::make_worker(&config, 0, &agent);
        let (port, mut worker, choice) = match made {
            Err(error) if driver == "uring" && !has_io_uring() => {
                eprintln!("nothing is tested: {}", chain(&error));
                return None;
            }
            made => made.expect("the driver opens, for the system has what it needs"),
        };
        eprintln!("{choice}");
        assert_eq!(choice.driver, driver);
        let rounds = worker.start();
        Some(Self {
            worker,
            address,
            port,
            rounds,
            sockets: 0,
            watched: 0,
            allocations: 0,
            unwatched_datagrams: 0,
        })
    }

    /// A turn whose allocations count.
    pub fn turn(&mut self) {
        let (worker, rounds) = (&mut self.worker, &mut self.rounds);
        let (outcome, allocations) = watch(|| worker.turn(rounds));
        outcome.expect("goes on");
        self.watched += 1;
        self.allocations += allocations;
        self.hear();
    }

    /// A turn that may allocate: it follows an order, or things are still warming up.
    pub fn turn_unwatched(&mut self) {
        self.follow();
        self.hear();
    }

    fn follow(&mut self) {
        let before = datagrams(self.worker.engine.stats());
        self.worker.turn(&mut self.rounds).expect("goes on");
        self.unwatched_datagrams += datagrams(self.worker.engine.stats()) - before;
    }

    /// Follows an order, in a turn of its own.
    pub fn order(&mut self, command: Command) {
        self.post(command);
        self.turn_unwatched();
    }

    /// Leaves an order for the next turn.
    pub fn post(&mut self, command: Command) {
        self.hand_over(Order::Engine(command));
    }

    fn hand_over(&mut self, order: Order) {
        self.port.orders.post(order);
        assert!(self.port.orders.flush());
    }

    /// The peer at `remote` is gone.
    pub fn detach(&mut self, remote: SocketAddr) {
        self.hand_over(Order::Detach(remote));
        self.turn_unwatched();
    }

    /// Lets the next turn end although nothing has come.
    pub fn wake(&self) {
        self.port.waker.wake();
    }

    /// Does with news what the agent does: peers get sockets of their own.
    fn hear(&mut self) {
        while let Some(news) = self.port.news.pop() {
            let (remote, local) = match news.what {
                What::Engine(Event::IceConnected(_) | Event::Heard { .. }) => continue,
                What::Engine(Event::PathSelected { remote, local, .. }) => (remote, local),
                other => panic!("unexpected: {other:?}"),
            };
            let Some(how) = self.port.peer_sockets else {
                continue;
            };
            self.sockets += 1;
            let made = PeerSocket::connect(how.port, remote, local, how.send_buffer, self.sockets);
            self.hand_over(Order::Attach(made.expect("a socket")));
            self.follow();
        }
    }

    pub fn stats(&self) -> &Stats {
        self.worker.engine.stats()
    }

    pub fn now(&self) -> clock::Instant {
        self.worker.driver.now()
    }
}

/// Whether this system gives anybody a ring: asked without our driver.
fn has_io_uring() -> bool {
    tokio_uring::Runtime::new(&tokio_uring::builder()).is_ok()
}

pub fn datagrams(stats: &Stats) -> u64 {
    stats.packets.iter().flatten().sum()
}

/// A port that is free now, below those that the system gives away.
fn free_port() -> SocketAddr {
    let start = 12_000 + (std::process::id() % 600) as u16 * 20;
    let mut candidates = (start..32_000).map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    candidates
        .find(|address| UdpSocket::bind(address).is_ok())
        .expect("a free port")
}
