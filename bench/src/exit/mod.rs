//! Where packets leave: which networks forwarder and fleet live in, and what is counted at the way out.
//!
//! On loopback the kernel receives a packet in the context of whoever sends it, so the sender pays for both. The drop exit keeps
//! them apart: nearly every RTP packet has gone the whole way down to the device and ends there.

mod drop;
mod namespace;
mod netlink;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::process::{Child, Command};

use serde::{Deserialize, Serialize};

use drop::Veth;
pub use namespace::Namespace;

/// The share of sends of media that pass the exit that drops, unless a plan says otherwise: passing costs the forwarder something.
pub const PASS_SHARE: f64 = 0.01;

/// Which way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Into bound sockets on the same machine.
    Loopback,
    /// Down to a virtual device, where nearly all RTP packets are dropped.
    Drop,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Loopback => "loopback",
            Self::Drop => "egress drop",
        })
    }
}

/// Why an exit could not be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Namespaces and devices are root's to make.
    #[error("the drop exit needs root (CAP_SYS_ADMIN and CAP_NET_ADMIN): {0}")]
    NotRoot(#[source] std::io::Error),
    /// A program that ought to be installed is not, or said no.
    #[error("`{command}` failed: {reason}")]
    Command {
        /// What was run.
        command: String,
        /// What it said.
        reason: String,
    },
    /// The system refused something.
    #[error("cannot {doing}")]
    System {
        /// What was attempted.
        doing: &'static str,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
}

impl Error {
    pub(crate) fn system(doing: &'static str) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::System { doing, source }
    }
}

/// Addresses that the fleet may use, one for each simulated peer: `base` is the first of 65 536 in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// The first.
    pub base: Ipv4Addr,
    /// How many there are.
    pub count: u32,
}

/// A way out, made ready. Dropping it takes everything away again; so does the end of the process, however it comes.
#[derive(Debug)]
pub struct Exit {
    kind: Kind,
    veth: Option<Veth>,
}

impl Exit {
    /// Makes `kind` ready. At the exit that drops this share of the sends of media pass, from 0 to 1.
    ///
    /// # Errors
    /// [`Error::NotRoot`] when the drop exit is asked for without the rights, [`Error::Command`] when `ip` or `tc` are missing.
    pub fn prepare(kind: Kind, pass_share: f64) -> Result<Self, Error> {
        let veth = match kind {
            Kind::Loopback => None,
            Kind::Drop => Some(Veth::prepare(pass_share)?),
        };
        Ok(Self { kind, veth })
    }

    /// Which one it is.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Where the forwarder listens, and what it has to advertise.
    pub fn subject_address(&self) -> IpAddr {
        match self.kind {
            Kind::Loopback => Ipv4Addr::LOCALHOST.into(),
            Kind::Drop => drop::SUBJECT.into(),
        }
    }

    /// Where the fleet's own side listens: the master for instance, which lives beside the fleet.
    pub fn fleet_address(&self) -> IpAddr {
        match self.kind {
            Kind::Loopback => Ipv4Addr::LOCALHOST.into(),
            Kind::Drop => drop::FLEET.into(),
        }
    }

    /// What the simulated peers are called.
    pub fn peers(&self) -> Addresses {
        let base = match self.kind {
            Kind::Loopback => Ipv4Addr::new(127, 1, 0, 0),
            Kind::Drop => drop::PEERS,
        };
        Addresses {
            base,
            count: 1 << 16,
        }
    }

    /// Whether only a small share of the RTP packets reaches the fleet, and the rest is to be counted by [`Exit::counts`].
    pub fn is_sampled(&self) -> bool {
        self.kind == Kind::Drop
    }

    /// Where the fleet lives, and everything beside it.
    pub fn fleet_network(&self) -> Network {
        Network(self.veth.as_ref().map(|veth| veth.fleet.clone()))
    }

    /// Where the forwarder lives.
    pub fn subject_network(&self) -> Network {
        Network(self.veth.as_ref().map(|veth| veth.subject.clone()))
    }

    /// Starts a process in the forwarder's network.
    ///
    /// # Errors
    /// If the network cannot be entered or the program not be started.
    pub fn spawn(&self, command: &mut Command) -> Result<Child, Error> {
        let spawn = |command: &mut Command| {
            command
                .spawn()
                .map_err(Error::system("start the forwarder"))
        };
        match &self.veth {
            None => spawn(command),
            Some(veth) => veth.subject.enter(|| spawn(command))?,
        }
    }

    /// What has come to the exit so far; none where nothing is dropped and receivers count for themselves.
    ///
    /// # Errors
    /// If the kernel does not say.
    pub fn counts(&mut self) -> Result<Option<Counts>, Error> {
        self.veth.as_mut().map(Veth::counts).transpose()
    }
}

/// The network of one side: the machine's own, or a namespace.
#[derive(Clone, Debug)]
pub struct Network(Option<Namespace>);

impl Network {
    /// Runs `work` in it. Threads, sockets and processes that `work` makes live there too.
    ///
    /// # Errors
    /// If the network cannot be entered.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, Error> {
        match &self.0 {
            None => Ok(work()),
            Some(namespace) => namespace.enter(work),
        }
    }
}

/// Packets, as the kernel counts them; each segment of a segmented send is one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Everything that the forwarder's side handed to its device, packets of every kind.
    pub offered: u64,
    /// What of it has come to the fleet's device: whatever is not RTP, and the sample of RTP.
    pub passed: u64,
}
