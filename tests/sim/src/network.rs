//! The virtual network and its clock: hosts with a path each, ports of media nodes, and datagrams between them.

use core::ops::Range;
use std::collections::{BTreeMap, VecDeque};
use std::hash::BuildHasher;
use std::net::SocketAddr;

use clock::{Instant, Rng};
use foldhash::quality::FixedState;
use net::Wait;
use proto::demux::{self, Packet};

use crate::conditions::{Conditions, Direction, Queue, Rate};
use crate::oracle::Oracle;

/// Datagrams that wait at a port; what comes then is lost, as with a full socket.
const PORT_QUEUE_MAX: usize = 4096;
/// The newest datagrams to the node that are remembered, for somebody to replay.
const OVERHEARD_MAX: usize = 64;

/// Somebody with a path to the nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostId(pub(crate) usize);

/// A queue that several hosts share, in one direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BottleneckId(usize);

/// From a host to the nodes, or back.
#[derive(Clone, Copy, Debug)]
enum Way {
    Up,
    Down,
}

struct Bottleneck {
    rate: Option<Rate>,
    queue: Queue,
}

/// What a host was sent by the nodes, before its path did anything to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// STUN messages.
    pub stun: u64,
    /// Bytes of those.
    pub stun_bytes: u64,
    /// Everything else.
    pub other: u64,
    /// Bytes of that.
    pub other_bytes: u64,
}

struct Host {
    address: SocketAddr,
    up: Direction,
    down: Direction,
    /// Which queues it shares with others, up and down.
    shared: [Option<BottleneckId>; 2],
    seen: Seen,
}

/// Where a node listens.
struct Port {
    address: SocketAddr,
    queue: VecDeque<Flight>,
    dropped: u64,
    wake: Instant,
    /// The node has no memory to receive with: what is queued doesn't wake it.
    is_starved: bool,
}

/// A datagram on its way.
#[derive(Clone, Debug)]
pub(crate) struct Flight {
    pub(crate) source: SocketAddr,
    pub(crate) destination: SocketAddr,
    pub(crate) arrival: Instant,
    pub(crate) bytes: Vec<u8>,
}

/// All paths, all that is on them, and the time.
pub struct Network {
    now: Instant,
    rng: Rng,
    hosts: Vec<Host>,
    bottlenecks: Vec<Bottleneck>,
    /// Every address that a host ever had.
    owners: BTreeMap<SocketAddr, HostId>,
    ports: Vec<Port>,
    /// By arrival, and in the order of departure.
    flying: BTreeMap<(Instant, u64), Flight>,
    departed: u64,
    astray: u64,
    overheard: VecDeque<Flight>,
    oracle: Oracle,
    hasher: FixedState,
    trace: u64,
}

impl Network {
    /// An empty network at `now`.
    pub fn new(now: Instant, rng: Rng) -> Self {
        Self {
            now,
            rng,
            hosts: Vec::new(),
            bottlenecks: Vec::new(),
            owners: BTreeMap::new(),
            ports: Vec::new(),
            flying: BTreeMap::new(),
            departed: 0,
            astray: 0,
            overheard: VecDeque::new(),
            oracle: Oracle::default(),
            hasher: FixedState::with_seed(0),
            trace: 0,
        }
    }

    /// The present.
    pub fn now(&self) -> Instant {
        self.now
    }

    /// A number that two runs have in common only if every datagram left and arrived at the same time with the same bytes.
    pub fn trace(&self) -> u64 {
        self.trace
    }

    /// Datagrams to addresses that nobody has (any more).
    pub fn astray(&self) -> u64 {
        self.astray
    }

    /// Datagrams that nodes lost because they did not come to fetch them.
    pub fn overflowed(&self) -> u64 {
        self.ports.iter().map(|port| port.dropped).sum()
    }

    /// What a host was sent.
    pub fn seen(&self, host: HostId) -> Seen {
        self.hosts[host.0].seen
    }

    /// What looks at everything that nodes send.
    pub fn oracle(&mut self) -> &mut Oracle {
        &mut self.oracle
    }

    /// A host at `address`, and its path in both directions.
    pub fn add_host(&mut self, address: SocketAddr, up: Conditions, down: Conditions) -> HostId {
        let id = HostId(self.hosts.len());
        self.hosts.push(Host {
            address,
            up: Direction::new(up),
            down: Direction::new(down),
            shared: [None; 2],
            seen: Seen::default(),
        });
        let before = self.owners.insert(address, id);
        assert_eq!(before, None, "an address belongs to one host for ever");
        id
    }

    /// The host changes its address; what is on the way to the old one is lost.
    pub fn move_host(&mut self, host: HostId, address: SocketAddr) {
        let before = self.owners.insert(address, host);
        assert!(
            before.is_none_or(|before| before == host),
            "an address belongs to one host for ever"
        );
        self.hosts[host.0].address = address;
    }

    /// From now on the path of the host is like that.
    pub fn set_conditions(&mut self, host: HostId, up: Conditions, down: Conditions) {
        let host = &mut self.hosts[host.0];
        host.up.conditions = up;
        host.down.conditions = down;
    }

    /// A queue that hosts can share.
    pub fn add_bottleneck(&mut self, rate: Rate) -> BottleneckId {
        self.bottlenecks.push(Bottleneck {
            rate: Some(rate),
            queue: Queue::default(),
        });
        BottleneckId(self.bottlenecks.len() - 1)
    }

    /// From now on that much fits through it, or everything.
    pub fn set_rate(&mut self, bottleneck: BottleneckId, rate: Option<Rate>) {
        self.bottlenecks[bottleneck.0].rate = rate;
    }

    /// The host is behind these queues, in the one direction and the other.
    pub fn put_behind(
        &mut self,
        host: HostId,
        up: Option<BottleneckId>,
        down: Option<BottleneckId>,
    ) {
        self.hosts[host.0].shared = [up, down];
    }

    /// How long what was sent to a host in that time had to wait on its path: what `share` of a thousand waited at most, in its own
    /// queue or, if there is one, in that which it shares.
    pub fn waited(&self, host: HostId, then: Range<Instant>, share: usize) -> clock::Duration {
        let host = &self.hosts[host.0];
        let queue = match host.shared[Way::Down as usize] {
            Some(shared) => &self.bottlenecks[shared.0].queue,
            None => &host.down.queue,
        };
        let mut waits: Vec<_> = queue.waits_in(then).collect();
        waits.sort_unstable();
        let nth = (waits.len() * share / 1_000).min(waits.len().saturating_sub(1));
        waits.get(nth).copied().unwrap_or_default()
    }

    /// How many datagrams found the host's own queue full, up and down.
    pub fn overfull(&self, host: HostId) -> [u64; 2] {
        let host = &self.hosts[host.0];
        [host.up.queue.lost(), host.down.queue.lost()]
    }

    /// The delay from the nodes to a host.
    pub(crate) fn delay_down(&self, host: HostId) -> clock::Duration {
        self.hosts[host.0].down.conditions.delay
    }

    pub(crate) fn address(&self, host: HostId) -> SocketAddr {
        self.hosts[host.0].address
    }

    pub(crate) fn add_port(&mut self, address: SocketAddr) -> usize {
        self.ports.push(Port {
            address,
            queue: VecDeque::new(),
            dropped: 0,
            wake: Instant::ZERO,
            is_starved: false,
        });
        self.ports.len() - 1
    }

    /// A host sends. Whoever lies about its address names another `source`.
    pub fn send(
        &mut self,
        host: HostId,
        source: SocketAddr,
        destination: SocketAddr,
        bytes: Vec<u8>,
    ) {
        let arrivals = self.arrivals(host, Way::Up, bytes.len());
        self.depart(arrivals, source, destination, bytes);
    }

    /// A node sends.
    pub(crate) fn send_from(&mut self, port: usize, destination: SocketAddr, bytes: Vec<u8>) {
        let source = self.ports[port].address;
        let Some(&owner) = self.owners.get(&destination) else {
            panic!("a node sends to {destination}, which is nobody's address");
        };
        self.oracle.look(owner, &bytes);
        let host = &mut self.hosts[owner.0];
        match demux::classify(&bytes) {
            Packet::Stun => {
                host.seen.stun += 1;
                host.seen.stun_bytes += bytes.len() as u64;
            }
            _ => {
                host.seen.other += 1;
                host.seen.other_bytes += bytes.len() as u64;
            }
        }
        let arrivals = self.arrivals(owner, Way::Down, bytes.len());
        self.depart(arrivals, source, destination, bytes);
    }

    /// When a datagram arrives that a host sends or is sent. What it shares with others comes before its own path.
    fn arrivals(&mut self, host: HostId, way: Way, bytes: usize) -> [Option<Instant>; 2] {
        let host = &mut self.hosts[host.0];
        let mut now = self.now;
        if let Some(shared) = host.shared[way as usize] {
            let shared = &mut self.bottlenecks[shared.0];
            let left = match shared.rate {
                None => Some(now),
                Some(rate) => shared.queue.pass(now, bytes, rate),
            };
            let Some(left) = left else {
                return [None; 2];
            };
            now = left;
        }
        let path = match way {
            Way::Up => &mut host.up,
            Way::Down => &mut host.down,
        };
        path.arrivals(now, bytes, &mut self.rng)
    }

    fn depart(
        &mut self,
        arrivals: [Option<Instant>; 2],
        source: SocketAddr,
        destination: SocketAddr,
        bytes: Vec<u8>,
    ) {
        let key = (
            self.trace,
            self.now.as_nanos(),
            source,
            destination,
            arrivals.map(|arrival| arrival.map(Instant::as_nanos)),
            &bytes[..],
        );
        self.trace = self.hasher.hash_one(key);
        for arrival in arrivals.into_iter().flatten() {
            self.departed += 1;
            let flight = Flight {
                source,
                destination,
                arrival,
                bytes: bytes.clone(),
            };
            self.flying.insert((arrival, self.departed), flight);
        }
    }

    /// When the next datagram arrives anywhere.
    pub(crate) fn next_arrival(&self) -> Option<Instant> {
        self.flying.keys().next().map(|(arrival, _)| *arrival)
    }

    pub(crate) fn advance(&mut self, now: Instant) {
        assert!(now >= self.now, "time does not go back");
        self.now = now;
    }

    /// Takes what has arrived off the paths: ports queue theirs, the rest is returned.
    pub(crate) fn arrive(&mut self) -> Vec<(HostId, Vec<u8>)> {
        let mut at_hosts = Vec::new();
        while let Some(entry) = self.flying.first_entry() {
            if entry.key().0 > self.now {
                break;
            }
            let flight = entry.remove();
            let port = self
                .ports
                .iter_mut()
                .find(|port| port.address == flight.destination);
            if let Some(port) = port {
                if self.overheard.len() == OVERHEARD_MAX {
                    self.overheard.pop_front();
                }
                self.overheard.push_back(flight.clone());
                if port.queue.len() < PORT_QUEUE_MAX {
                    port.queue.push_back(flight);
                } else {
                    port.dropped += 1;
                }
                continue;
            }
            match self.owners.get(&flight.destination) {
                Some(host) if self.hosts[host.0].address == flight.destination => {
                    at_hosts.push((*host, flight.bytes));
                }
                _ => self.astray += 1,
            }
        }
        at_hosts
    }

    /// One of the last datagrams that reached a node, and who sent it: what an eavesdropper has.
    pub(crate) fn overhear(&mut self) -> Option<(SocketAddr, Vec<u8>)> {
        let count = self.overheard.len() as u64;
        let nth = (count > 0).then(|| self.rng.below(count))?;
        let flight = self.overheard.get(usize::try_from(nth).ok()?)?;
        Some((flight.source, flight.bytes.clone()))
    }

    /// The oldest datagram that waits at a port.
    pub(crate) fn front(&self, port: usize) -> Option<&Flight> {
        self.ports[port].queue.front()
    }

    pub(crate) fn pop(&mut self, port: usize) -> Option<Flight> {
        self.ports[port].queue.pop_front()
    }

    /// The node at this port waits.
    pub(crate) fn sleep(&mut self, port: usize, wait: Wait, starved_until: Option<Instant>) {
        let wake = match wait {
            Wait::Poll => self.now,
            Wait::Until(at) | Wait::Gather(at) => at,
            Wait::Forever => Instant::FAR_FUTURE,
        };
        let port = &mut self.ports[port];
        port.is_starved = starved_until.is_some();
        port.wake = starved_until.map_or(wake, |at| at.min(wake));
    }

    /// Wakes the node at this port: there is something besides packets to do.
    pub(crate) fn wake(&mut self, port: usize) {
        self.ports[port].wake = self.now;
    }

    /// Whether the node at this port should turn.
    pub(crate) fn is_due(&self, port: usize) -> bool {
        let port = &self.ports[port];
        port.wake <= self.now || (!port.queue.is_empty() && !port.is_starved)
    }

    /// When the node at this port wants to be woken.
    pub(crate) fn wake_at(&self, port: usize) -> Instant {
        self.ports[port].wake
    }
}
