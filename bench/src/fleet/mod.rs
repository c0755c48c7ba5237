//! The media side of simulated browsers: thousands of peers on a few threads.
//!
//! Every peer has an IPv4 address of its own out of one network, and all peers of a thread share that thread's one wildcard
//! socket: the kernel says with every datagram to which address it was sent, so a peer is found without looking anything up.
//! A peer is sans-IO: ICE, DTLS and SRTP of the `proto` crate, media from [`crate::stream`], and for received packets as little
//! as possible: counting by sequence number, and a sample that is checked with a second implementation of SRTP.

mod addresses;
mod association;
mod counters;
mod outbox;
mod peer;
mod publisher;
mod reception;
mod registry;
mod second_opinion;
mod spec;
mod subscriber;
mod thread;

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use addresses::Addresses;
pub use counters::{Counters, RUN_LENGTHS};
pub use registry::Failure;
use registry::Registry;
pub(crate) use second_opinion::protection_profile;
pub use spec::{
    Association, ExpectedStream, ExtensionIds, Negotiated, PublishedMedium, PublisherSpec, Rtx,
    SubscriberSpec,
};
use thread::{Command, NewPeer, Role};

/// How a fleet is set up.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Media threads.
    pub threads: usize,
    /// A /16 network, all of whose addresses this host takes for its own; 127.x is always one. Every peer gets one of them.
    pub network: Ipv4Addr,
    /// Where the first thread listens, the others on the ports after it; zero: wherever the system likes.
    pub port: u16,
    /// How the threads talk to the kernel.
    pub driver: net::Kind,
    /// Receive queue of each thread, in bytes.
    pub receive_buffer: usize,
    /// Only a sample of the packets arrives: gaps are no loss, nothing is asked for again, reports claim that all is well.
    pub sampled: bool,
    /// Of so many packets of an RTP stream one is authenticated, decrypted and compared; the first ones always are.
    pub sample_every: u32,
    /// Publishers send nothing until [`Fleet::speak`].
    pub silent: bool,
    /// Everything random is drawn from it.
    pub seed: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            threads: 1,
            network: Ipv4Addr::new(127, 64, 0, 0),
            port: 0,
            driver: net::Kind::Auto,
            receive_buffer: 64 << 20,
            sampled: false,
            sample_every: 64,
            silent: false,
            seed: 0,
        }
    }
}

/// Why a fleet cannot go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A fleet has at least one thread and at most 256.
    #[error("a fleet has 1 to 256 threads, not {0}")]
    Threads(usize),
    /// Sockets or memory could not be had.
    #[error("cannot set up media thread {thread}")]
    Setup {
        /// Which thread, counted from zero.
        thread: usize,
        /// What was refused.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A peer was described in a way that cannot work.
    #[error("a peer cannot be made: {0}")]
    BadPeer(String),
    /// A thread ended before its time.
    #[error("media thread {0} has ended; see the log")]
    Ended(usize),
    /// Not all peers became connected in time.
    #[error("{missing} of {of} peers were not connected in time; {failed} of them failed{first}")]
    NotConnected {
        /// How many were not connected.
        missing: usize,
        /// Of how many.
        of: usize,
        /// How many of the missing have given up.
        failed: usize,
        /// The first failure, in words, or nothing.
        first: String,
    },
}

/// Names a peer; never used again after it was removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PeerId {
    serial: u64,
    local: SocketAddr,
}

/// The simulated browsers.
#[derive(Debug)]
pub struct Fleet {
    threads: Vec<Handle>,
    addresses: Addresses,
    registry: Arc<Registry>,
    serial: AtomicU64,
}

#[derive(Debug)]
struct Handle {
    commands: mpsc::Sender<Command>,
    waker: net::Waker,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Fleet {
    /// Opens the sockets and starts the threads.
    ///
    /// # Errors
    /// [`Error::Threads`], and [`Error::Setup`] if sockets or memory cannot be had.
    pub fn start(settings: &Settings) -> Result<Self, Error> {
        if !(1..=256).contains(&settings.threads) {
            return Err(Error::Threads(settings.threads));
        }
        let registry = Arc::new(Registry::new());
        let (mut threads, mut ports) = (Vec::new(), Vec::new());
        for number in 0..settings.threads {
            let (handle, port) =
                start_thread(settings, number, &registry).map_err(|source| Error::Setup {
                    thread: number,
                    source,
                })?;
            threads.push(handle);
            ports.push(port);
        }
        Ok(Self {
            threads,
            addresses: Addresses::new(settings.network, ports),
            registry,
            serial: AtomicU64::new(1),
        })
    }

    /// The next peer's own address. Addresses come again when all have been given out, the one that rested longest first.
    pub fn allocate(&self) -> SocketAddr {
        self.addresses.next().into()
    }

    /// Starts a peer that sends. Its media begin when it is connected.
    ///
    /// # Errors
    /// [`Error::BadPeer`] if the address is none of this fleet's or the media cannot be played, and [`Error::Ended`].
    pub fn publish(&self, spec: PublisherSpec) -> Result<PeerId, Error> {
        let local = spec.local;
        let role = publisher::Plan::new(&spec, &self.registry)?;
        self.add(local, spec.association, Role::Publisher(role))
    }

    /// Starts a peer that receives.
    ///
    /// # Errors
    /// [`Error::BadPeer`] if the address is none of this fleet's, and [`Error::Ended`].
    pub fn subscribe(&self, spec: SubscriberSpec) -> Result<PeerId, Error> {
        let local = spec.local;
        let role = subscriber::Plan::new(&spec, &self.registry);
        self.add(local, spec.association, Role::Subscriber(role))
    }

    /// Ends a peer: it falls silent at once, as when a browser's window is closed.
    pub fn remove(&self, peer: PeerId) {
        self.registry.forget(peer);
        if let Some(thread) = self.thread_of(peer.local) {
            // A thread that has ended has no peers either.
            let _ = self.send(thread, Command::Remove(peer));
        }
    }

    /// Says that `peers` are all the transports of one viewer, who counts in [`Counters::viewers`] once all are connected.
    pub fn newcomer(&self, peers: &[PeerId]) {
        self.registry.newcomer(peers);
    }

    /// From now on it is counted anew of how many subscribers a packet was checked: [`Counters::looked_into`].
    ///
    /// # Errors
    /// [`Error::Ended`] if a thread has ended.
    pub fn begin_checks(&self) -> Result<(), Error> {
        (0..self.threads.len()).try_for_each(|thread| self.send(thread, Command::BeginChecks))
    }

    /// From now on publishers send, where they have been silent so far.
    ///
    /// # Errors
    /// [`Error::Ended`] if a thread has ended.
    pub fn speak(&self) -> Result<(), Error> {
        (0..self.threads.len()).try_for_each(|thread| self.send(thread, Command::Speak))
    }

    /// Ends the media of all publishers there are, for good; everything else goes on. Once what is on its way has come, what was
    /// published and what was delivered can be compared exactly.
    ///
    /// # Errors
    /// [`Error::Ended`] if a thread has ended.
    pub fn hush(&self) -> Result<(), Error> {
        (0..self.threads.len()).try_for_each(|thread| self.send(thread, Command::Hush))
    }

    /// Waits until all of `peers` are connected.
    ///
    /// # Errors
    /// [`Error::NotConnected`] when `timeout` is over, or as soon as all that are missing have failed.
    pub fn wait_connected(&self, peers: &[PeerId], timeout: Duration) -> Result<(), Error> {
        self.registry.wait_connected(peers, timeout)
    }

    /// Waits until one peer is connected and says how long that took from the start of ICE; for asynchronous callers.
    ///
    /// # Errors
    /// [`Failure`] if the peer has given up or was removed.
    pub async fn connected(&self, peer: PeerId) -> Result<Duration, Failure> {
        self.registry.connected(peer).await
    }

    /// What all threads have done up to now.
    ///
    /// # Errors
    /// [`Error::Ended`] if a thread has ended: what it did is unknown, and no measurement is worth anything.
    pub fn counters(&self) -> Result<Counters, Error> {
        let mut answers = Vec::with_capacity(self.threads.len());
        for number in 0..self.threads.len() {
            let (sender, receiver) = mpsc::sync_channel(1);
            self.send(number, Command::Report(sender))?;
            answers.push(receiver);
        }
        let mut total = Counters::new();
        for (number, answer) in answers.into_iter().enumerate() {
            let counters = answer.recv().map_err(|_| Error::Ended(number))?;
            total.add(&counters);
        }
        total.viewers = self.registry.come();
        Ok(total)
    }

    fn add(
        &self,
        local: SocketAddr,
        association: Association,
        role: Role,
    ) -> Result<PeerId, Error> {
        let not_ours = || Error::BadPeer(format!("{local} is no address of this fleet"));
        let thread = self.thread_of(local).ok_or_else(not_ours)?;
        let place = self.addresses.place(local).ok_or_else(not_ours)?;
        let serial = self.serial.fetch_add(1, Ordering::Relaxed);
        let id = PeerId { serial, local };
        self.registry.begin(id);
        let new = NewPeer {
            id,
            place,
            association,
            role,
        };
        self.send(thread, Command::Add(Box::new(new)))?;
        Ok(id)
    }

    fn thread_of(&self, local: SocketAddr) -> Option<usize> {
        self.addresses.thread(local)
    }

    fn send(&self, thread: usize, command: Command) -> Result<(), Error> {
        let handle = self.threads.get(thread).ok_or(Error::Ended(thread))?;
        handle
            .commands
            .send(command)
            .map_err(|_| Error::Ended(thread))?;
        handle.waker.wake();
        Ok(())
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        for number in 0..self.threads.len() {
            // One that has ended already needs no telling.
            let _ = self.send(number, Command::Stop);
        }
        for handle in &mut self.threads {
            if let Some(thread) = handle.thread.take() {
                // Whatever a thread ended with has been logged there.
                let _ = thread.join();
            }
        }
    }
}

fn start_thread(
    settings: &Settings,
    number: usize,
    registry: &Arc<Registry>,
) -> Result<(Handle, u16), Box<dyn std::error::Error + Send + Sync>> {
    let port = match settings.port {
        0 => 0,
        first => first
            .checked_add(u16::try_from(number)?)
            .ok_or("there are not as many ports")?,
    };
    let listener = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port);
    let media = thread::Thread::open(settings, number, listener, Arc::clone(registry))?;
    let (port, waker) = (media.port(), media.waker());
    let (commands, inbox) = mpsc::channel();
    let thread = std::thread::Builder::new()
        .name(format!("fleet-{number}"))
        .spawn(move || media.run(&inbox))?;
    let handle = Handle {
        commands,
        waker,
        thread: Some(thread),
    };
    Ok((handle, port))
}

#[cfg(test)]
mod tests;
