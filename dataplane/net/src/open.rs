use core::fmt;
use core::time::Duration;
use std::io;
use std::net::SocketAddr;

use clock::Instant;
use packet::{Arena, Batch, Bursts};

use crate::mmsg::Mmsg;
use crate::socket::{Listener, MAX_LISTENERS};
use crate::uring::{Setup, Uring, refusal};
use crate::{Driver, DriverStats, Fatal, PeerSocket, Wait, Waker};

/// Which driver to open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// io_uring where the system allows it, the plain system calls elsewhere.
    #[default]
    Auto,
    /// io_uring or nothing.
    Uring,
    /// The plain system calls.
    Mmsg,
}

/// What a driver is opened with.
#[derive(Clone, Debug)]
pub struct Config {
    /// Which driver.
    pub kind: Kind,
    /// The addresses to listen on, at most [`MAX_LISTENERS`]; IPv4 and IPv6 are separate.
    pub listeners: Vec<SocketAddr>,
    /// Receive queue of each socket, in bytes.
    pub receive_buffer: usize,
    /// Send queue of each socket, in bytes.
    pub send_buffer: usize,
    /// Receive slots lent to the kernel at a time; rounded up to a power of two between 16 and 32768. For io_uring only.
    pub lent_slots: u16,
    /// The most peers that may have a socket of their own ([`Driver::attach`]); 0 for none. For io_uring only. Never more
    /// than the files that the process may have open.
    pub peers_max: usize,
    /// How long after the last short send to a peer its own socket is used again: it costs less than a listener only while what the
    /// kernel needs of it is in the processor's caches.
    pub peer_idle_max: Duration,
}

impl Config {
    /// Listens on `listeners`, with buffers for a few milliseconds of a fast interface.
    pub fn new(listeners: Vec<SocketAddr>) -> Self {
        Self {
            kind: Kind::Auto,
            listeners,
            receive_buffer: 4 << 20,
            send_buffer: 4 << 20,
            lent_slots: 4096,
            peers_max: 0,
            peer_idle_max: Duration::from_millis(2),
        }
    }
}

/// Which driver it became, and why: one line for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// `uring` or `mmsg`.
    pub driver: &'static str,
    /// What of the kernel it uses.
    pub features: String,
    /// Why it is not the better one, if it is not.
    pub reason: Option<String>,
}

impl fmt::Display for Choice {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "driver {} ({})", self.driver, self.features)?;
        match &self.reason {
            Some(reason) => write!(formatter, "; {reason}"),
            None => Ok(()),
        }
    }
}

/// Why a driver could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There are no listeners, or more than [`MAX_LISTENERS`].
    #[error("a driver has 1 to {MAX_LISTENERS} listeners, not {0}")]
    Listeners(usize),
    /// A socket could not be made ready.
    #[error("cannot {doing} the UDP socket for {address}")]
    Socket {
        /// The address it was meant for.
        address: SocketAddr,
        /// What was attempted.
        doing: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// io_uring was asked for and is refused.
    #[error("io_uring is refused: {reason}")]
    Uring {
        /// The likely cause, in words.
        reason: String,
        /// What the system said.
        source: io::Error,
    },
    /// The descriptor for waking could not be had.
    #[error("cannot make a waker")]
    Waker(#[source] io::Error),
}

/// The driver that was opened. What it does is decided once per turn, not per packet.
#[derive(Debug)]
pub enum AnyDriver {
    /// io_uring.
    Uring(Box<Uring>),
    /// `recvmmsg` and `sendmmsg`.
    Mmsg(Box<Mmsg>),
}

/// Opens the sockets and the driver that `config` asks for.
///
/// May happen on another thread than the one that takes the turns.
///
/// # Errors
/// [`Error`], if a socket cannot be had, or io_uring is demanded and refused.
pub fn open(config: &Config) -> Result<(AnyDriver, Choice), Error> {
    let count = config.listeners.len();
    if !(1..=MAX_LISTENERS).contains(&count) {
        return Err(Error::Listeners(count));
    }
    // The first look at the clock finds the vDSO with system calls of its own; whoever filters those later has a clock then.
    crate::time::now();
    let listeners = config
        .listeners
        .iter()
        .map(|address| Listener::open(*address, config.receive_buffer, config.send_buffer));
    let listeners = listeners.collect::<Result<Vec<_>, _>>()?;
    let waker = Waker::new().map_err(Error::Waker)?;
    let queue = queue_note(&listeners, config.receive_buffer);
    let (driver, mut choice) = choose(config, listeners, waker)?;
    choice.features.push_str(&queue);
    Ok((driver, choice))
}

fn choose(
    config: &Config,
    listeners: Vec<Listener>,
    waker: Waker,
) -> Result<(AnyDriver, Choice), Error> {
    if config.kind == Kind::Mmsg {
        return Ok(mmsg(listeners, waker, None));
    }
    match Setup::prepare(
        &listeners,
        &waker,
        config.lent_slots,
        config.peers_max,
        config.peer_idle_max,
    ) {
        Ok(setup) => {
            let choice = Choice {
                driver: "uring",
                features: setup.features(),
                reason: None,
            };
            let driver = Uring::new(setup, listeners, waker);
            Ok((AnyDriver::Uring(Box::new(driver)), choice))
        }
        Err(source) => {
            let reason = refusal::explain(&source);
            if config.kind == Kind::Uring {
                return Err(Error::Uring { reason, source });
            }
            let reason = format!("io_uring is refused: {reason}");
            Ok(mmsg(listeners, waker, Some(reason)))
        }
    }
}

/// Says so if the system gives less room for received packets than asked for.
fn queue_note(listeners: &[Listener], asked: usize) -> String {
    let shortfalls = listeners
        .iter()
        .filter_map(|listener| listener.receive_shortfall(asked));
    match shortfalls.min() {
        Some(granted) => format!(
            "; receive queues of {granted} instead of {asked} bytes, which net.core.rmem_max limits"
        ),
        None => String::new(),
    }
}

fn mmsg(listeners: Vec<Listener>, waker: Waker, reason: Option<String>) -> (AnyDriver, Choice) {
    let choice = Choice {
        driver: "mmsg",
        features: "recvmmsg sendmmsg udp_segment".to_owned(),
        reason,
    };
    let driver = Mmsg::new(listeners, waker);
    (AnyDriver::Mmsg(Box::new(driver)), choice)
}

impl AnyDriver {
    /// The addresses listened on, with the ports that the system chose; [`packet::Datagram::listener`] counts along.
    pub fn local_addresses(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        let listeners = match self {
            Self::Uring(driver) => driver.listeners(),
            Self::Mmsg(driver) => driver.listeners(),
        };
        listeners.iter().map(|listener| listener.local)
    }

    /// Closes the sockets and gives every lent slot back.
    pub fn close(self, arena: &mut Arena) {
        match self {
            Self::Uring(driver) => driver.close(arena),
            Self::Mmsg(driver) => driver.close(arena),
        }
    }
}

impl AnyDriver {
    /// How many peers may have a socket of their own ([`Driver::attach`]).
    pub fn peers_max(&self) -> usize {
        match self {
            Self::Uring(driver) => driver.peers_max(),
            Self::Mmsg(_) => 0,
        }
    }
}

impl Driver for AnyDriver {
    fn turn(
        &mut self,
        out: &mut Bursts,
        wait: Wait,
        arena: &mut Arena,
        batch: &mut Batch,
    ) -> Result<(), Fatal> {
        match self {
            Self::Uring(driver) => driver.turn(out, wait, arena, batch),
            Self::Mmsg(driver) => driver.turn(out, wait, arena, batch),
        }
    }

    fn attach(&mut self, socket: PeerSocket) -> bool {
        match self {
            Self::Uring(driver) => driver.attach(socket),
            Self::Mmsg(driver) => driver.attach(socket),
        }
    }

    fn detach(&mut self, remote: SocketAddr) {
        match self {
            Self::Uring(driver) => driver.detach(remote),
            Self::Mmsg(driver) => driver.detach(remote),
        }
    }

    fn now(&self) -> Instant {
        match self {
            Self::Uring(driver) => driver.now(),
            Self::Mmsg(driver) => driver.now(),
        }
    }

    fn waker(&self) -> Waker {
        match self {
            Self::Uring(driver) => driver.waker(),
            Self::Mmsg(driver) => driver.waker(),
        }
    }

    fn stats(&self) -> &DriverStats {
        match self {
            Self::Uring(driver) => driver.stats(),
            Self::Mmsg(driver) => driver.stats(),
        }
    }
}
