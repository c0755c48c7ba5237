//! Both drivers against real sockets on the loopback interface: each test runs once for every driver.

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use net::{AnyDriver, Config, Driver, DriverStats, Kind, MAX_PAYLOAD, PeerSocket, Wait, Waker};
use packet::{Arena, ArenaSize, Batch, Bursts, BurstsSize, Datagram};

/// However slow the machine is, a peer's own socket is used.
const ALWAYS: Duration = Duration::MAX;

/// A driver and everything it works on.
struct Node {
    driver: Option<AnyDriver>,
    arena: Arena,
    bursts: Bursts,
    batch: Batch,
    addresses: Vec<SocketAddr>,
}

/// One received datagram, copied out of its slot.
struct Got {
    datagram: Datagram,
    bytes: Vec<u8>,
}

impl Node {
    fn open(kind: Kind, listeners: &[&str]) -> Self {
        Self::open_with(kind, listeners, 1024, |_| {})
    }

    fn open_with(kind: Kind, listeners: &[&str], slots: u32, edit: fn(&mut Config)) -> Self {
        let listeners = listeners.iter().map(|address| address.parse().unwrap());
        let mut config = Config::new(listeners.collect());
        config.kind = kind;
        config.lent_slots = 512;
        edit(&mut config);
        let (driver, choice) = net::open(&config).unwrap();
        assert_eq!(choice.driver == "uring", kind == Kind::Uring, "{choice}");
        Self {
            addresses: driver.local_addresses().collect(),
            driver: Some(driver),
            arena: Arena::new(ArenaSize {
                slots,
                small_slots: 0,
                reserve: 0,
            })
            .unwrap(),
            bursts: Bursts::new(BurstsSize {
                chunks: 32,
                bursts: 4096,
            })
            .unwrap(),
            batch: Batch::new(),
        }
    }

    fn turn(&mut self, wait: Wait) {
        let driver = self.driver.as_mut().unwrap();
        driver
            .turn(&mut self.bursts, wait, &mut self.arena, &mut self.batch)
            .unwrap();
    }

    fn take(&mut self) -> Vec<Got> {
        let datagrams: Vec<_> = self.batch.drain().collect();
        let got = datagrams.into_iter().map(|datagram| Got {
            bytes: datagram.payload(&self.arena).to_vec(),
            datagram,
        });
        let got: Vec<_> = got.collect();
        for one in &got {
            self.arena.release(one.datagram.slot);
        }
        got
    }

    /// Turns until so many datagrams have come.
    fn receive(&mut self, count: usize) -> Vec<Got> {
        let mut got = Vec::new();
        let started = Instant::now();
        while got.len() < count {
            assert!(
                started.elapsed() < Duration::from_secs(5),
                "{} of {count} came; {:?}",
                got.len(),
                self.stats()
            );
            self.turn(self.soon());
            got.extend(self.take());
        }
        got
    }

    fn soon(&self) -> Wait {
        Wait::Until(net::now() + Duration::from_millis(50))
    }

    fn send(&mut self, to: SocketAddr, local: Option<IpAddr>, bytes: &[u8]) {
        self.bursts.begin(to, local);
        let room = self.bursts.reserve(bytes.len()).unwrap();
        room.copy_from_slice(bytes);
        self.bursts.commit(bytes.len());
    }

    fn stats(&self) -> DriverStats {
        *self.driver.as_ref().unwrap().stats()
    }

    fn waker(&self) -> Waker {
        self.driver.as_ref().unwrap().waker()
    }
}

impl Drop for Node {
    /// Nothing may be missing at the end of any test.
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        self.batch.clear(&mut self.arena);
        assert_eq!(self.bursts.in_flight(), 0);
        self.driver.take().unwrap().close(&mut self.arena);
        assert_eq!(self.arena.in_use(), 0, "slots leaked");
        assert_eq!(self.arena.free(), self.arena.slots(), "slots stayed lent");
        assert_eq!(Arc::strong_count(self.arena.memory()), 1, "memory leaked");
        assert_eq!(Arc::strong_count(self.bursts.memory()), 1, "memory leaked");
    }
}

/// Runs a test with each driver.
macro_rules! for_both {
    ($($name:ident)*) => {
        mod uring {
            $(#[test] fn $name() { super::$name(net::Kind::Uring); })*
        }
        mod mmsg {
            $(#[test] fn $name() { super::$name(net::Kind::Mmsg); })*
        }
    };
}

for_both! {
    echoes_both_families
    names_the_address_that_was_used
    answers_leave_from_the_address_that_was_used
    runs_arrive_as_their_packets
    more_bursts_than_fit_into_one_call
    an_empty_arena_recovers
    a_flood_takes_nothing_from_peers_that_get_sockets
    a_flood_takes_nothing_from_peers_whose_sockets_rest
    a_peer_with_a_socket_may_close_and_come_back
    a_full_batch_loses_nothing
    a_waker_ends_a_wait
    deadlines_are_kept
    what_is_gathered_comes_together
    a_closed_port_stops_nothing
    oversized_datagrams_are_dropped
    arrival_is_when_the_kernel_had_it
    destinations_nobody_can_reach_are_counted
    a_flooded_socket_counts_its_drops
    a_second_thread_may_open_it
}

fn peer(address: &str) -> UdpSocket {
    let socket = UdpSocket::bind(address).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(2)))
        .unwrap();
    socket
}

fn read(socket: &UdpSocket) -> (Vec<u8>, SocketAddr) {
    let mut bytes = [0; 4096];
    let (len, from) = socket.recv_from(&mut bytes).unwrap();
    (bytes[..len].to_vec(), from)
}

fn echoes_both_families(kind: Kind) {
    const COUNT: usize = 600;
    let mut node = Node::open(kind, &["127.0.0.1:0", "[::1]:0"]);
    for (listener, address) in node.addresses.clone().into_iter().enumerate() {
        let socket = peer(if address.is_ipv4() {
            "127.0.0.1:0"
        } else {
            "[::1]:0"
        });
        let mut answered = HashSet::new();
        for first in (0..COUNT).step_by(50) {
            for number in first..first + 50 {
                socket
                    .send_to(format!("packet {number}").as_bytes(), address)
                    .unwrap();
            }
            for got in node.receive(50) {
                assert_eq!(usize::from(got.datagram.listener), listener);
                assert_eq!(got.datagram.source, socket.local_addr().unwrap());
                node.send(got.datagram.source, got.datagram.local, &got.bytes);
            }
            node.turn(Wait::Poll);
            for _ in 0..50 {
                let (bytes, from) = read(&socket);
                assert_eq!(from, address);
                answered.insert(bytes);
            }
        }
        assert_eq!(answered.len(), COUNT);
    }
    let stats = node.stats();
    assert_eq!(stats.received_packets, 2 * COUNT as u64);
    assert_eq!(stats.sent_packets, 2 * COUNT as u64);
    assert_eq!(stats.send_failures, 0);
}

fn names_the_address_that_was_used(kind: Kind) {
    let mut node = Node::open(kind, &["0.0.0.0:0", "[::]:0"]);
    for (address, host) in node.addresses.clone().iter().zip(["127.0.0.3", "::1"]) {
        let host: IpAddr = host.parse().unwrap();
        let socket = peer(if host.is_ipv4() {
            "127.0.0.1:0"
        } else {
            "[::1]:0"
        });
        socket.send_to(b"?", (host, address.port())).unwrap();
        let got = node.receive(1);
        assert_eq!(got[0].datagram.local, Some(host));
        assert_eq!(got[0].datagram.source, socket.local_addr().unwrap());
    }
}

fn answers_leave_from_the_address_that_was_used(kind: Kind) {
    let mut node = Node::open(kind, &["0.0.0.0:0"]);
    let socket = peer("127.0.0.1:0");
    let used = SocketAddr::from(([127, 0, 0, 9], node.addresses[0].port()));
    socket.send_to(b"?", used).unwrap();
    let local = node.receive(1)[0].datagram.local;
    // A single packet and a run take different ways to the kernel.
    node.send(socket.local_addr().unwrap(), local, b"one");
    node.bursts.finish();
    for _ in 0..3 {
        node.send(socket.local_addr().unwrap(), local, b"many");
    }
    node.turn(Wait::Poll);
    for expected in [b"one".as_slice(), b"many", b"many", b"many"] {
        assert_eq!(read(&socket), (expected.to_vec(), used));
    }
}

fn runs_arrive_as_their_packets(kind: Kind) {
    let mut node = Node::open(kind, &["127.0.0.1:0", "[::1]:0"]);
    for host in ["127.0.0.1:0", "[::1]:0"] {
        let socket = peer(host);
        let sizes = [1200, 1200, 1200, 1200, 700, 90, 90, 1100, 1100];
        for (size, fill) in sizes.into_iter().zip(1u8..) {
            node.send(socket.local_addr().unwrap(), None, &vec![fill; size]);
        }
        node.turn(Wait::Poll);
        for (size, fill) in sizes.into_iter().zip(1u8..) {
            assert_eq!(read(&socket).0, vec![fill; size]);
        }
    }
    let stats = node.stats();
    assert_eq!(stats.sent_packets, 18);
    assert_eq!(stats.sent_bursts, 6, "{stats:?}");
    assert_eq!(stats.segmented_bursts, 6, "{stats:?}");
    assert_eq!(stats.segmentation_fallbacks, 0, "{stats:?}");
}

fn more_bursts_than_fit_into_one_call(kind: Kind) {
    const COUNT: usize = 2500;
    let mut node = Node::open(kind, &["127.0.0.1:0"]);
    let sockets: Vec<_> = (0..5).map(|_| peer("127.0.0.1:0")).collect();
    for number in 0..COUNT {
        let to = sockets[number % sockets.len()].local_addr().unwrap();
        node.send(to, None, &[number as u8; 40]);
    }
    node.turn(Wait::Poll);
    let mut stats = node.stats();
    for _ in 0..10 {
        node.turn(Wait::Poll);
        stats = node.stats();
    }
    assert_eq!(stats.sent_packets + stats.send_failures, COUNT as u64);
    assert_eq!(stats.send_failures, 0);
    assert_eq!(read(&sockets[0]).0, [0; 40]);
}

fn an_empty_arena_recovers(kind: Kind) {
    let mut node = Node::open_with(kind, &["127.0.0.1:0"], 16, |_| {});
    let socket = peer("127.0.0.1:0");
    let mut seen = HashSet::new();
    for number in 0..40u8 {
        socket.send_to(&[number], node.addresses[0]).unwrap();
    }
    for _ in 0..20 {
        // The batch keeps its slots while the driver would like more of them.
        while node.arena.free() > 0 || node.arena.lent() > 0 {
            let before = node.batch.len();
            node.turn(node.soon());
            if node.batch.len() == before {
                break;
            }
        }
        let started = Instant::now();
        node.turn(Wait::Until(net::now() + Duration::from_millis(5)));
        assert!(started.elapsed() < Duration::from_millis(500));
        seen.extend(node.take().into_iter().map(|got| got.bytes[0]));
        if seen.len() == 40 {
            break;
        }
    }
    assert_eq!(seen.len(), 40);
    assert!(node.stats().out_of_slots > 0, "{:?}", node.stats());
    socket.send_to(&[99], node.addresses[0]).unwrap();
    assert_eq!(node.receive(1)[0].bytes, [99]);
}

fn a_full_batch_loses_nothing(kind: Kind) {
    let mut node = Node::open(kind, &["127.0.0.1:0"]);
    // Armed first, so that everything is received while nobody looks.
    node.turn(Wait::Poll);
    let socket = peer("127.0.0.1:0");
    for number in 0..400u16 {
        socket
            .send_to(&number.to_be_bytes(), node.addresses[0])
            .unwrap();
    }
    let mut numbers = Vec::new();
    for _ in 0..4 {
        node.turn(node.soon());
        assert!(node.batch.len() <= packet::MAX_BATCH);
        let got = node.take();
        numbers.extend(
            got.iter()
                .map(|got| u16::from_be_bytes([got.bytes[0], got.bytes[1]])),
        );
    }
    assert_eq!(numbers, (0..400).collect::<Vec<_>>(), "in order, none lost");
}

fn a_waker_ends_a_wait(kind: Kind) {
    let mut node = Node::open(kind, &["127.0.0.1:0"]);
    for _ in 0..3 {
        let waker = node.waker();
        let thread = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(20));
            waker.wake();
        });
        let started = Instant::now();
        node.turn(Wait::Forever);
        assert!(started.elapsed() >= Duration::from_millis(15));
        thread.join().unwrap();
    }
    node.waker().wake();
    node.turn(Wait::Forever);
    let started = Instant::now();
    node.turn(Wait::Until(net::now() + Duration::from_millis(20)));
    assert!(started.elapsed() >= Duration::from_millis(18), "used up");
}

fn deadlines_are_kept(kind: Kind) {
    let mut node = Node::open(kind, &["127.0.0.1:0"]);
    node.turn(Wait::Poll);
    for millis in [1, 10, 50] {
        let deadline = net::now() + Duration::from_millis(millis);
        node.turn(Wait::Until(deadline));
        let late = net::now().saturating_since(deadline);
        assert!(net::now() >= deadline, "too early");
        assert!(late < Duration::from_millis(100), "{late:?} late");
    }
    let started = Instant::now();
    node.turn(Wait::Until(clock::Instant::ZERO));
    assert!(started.elapsed() < Duration::from_millis(100));
    // Far away is not an overflow: the waker comes first.
    let waker = node.waker();
    let thread = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(20));
        waker.wake();
    });
    let started = Instant::now();
    node.turn(Wait::Until(clock::Instant::FAR_FUTURE));
    assert!(started.elapsed() >= Duration::from_millis(15));
    thread.join().unwrap();
}

fn a_closed_port_stops_nothing(kind: Kind) {
    let mut node = Node::open(kind, &["127.0.0.1:0"]);
    let socket = peer("127.0.0.1:0");
    let closed = peer("127.0.0.1:0").local_addr().unwrap();
    for round in 0..5u8 {
        for _ in 0..3 {
            node.send(closed, None, b"nobody");
        }
        node.send(socket.local_addr().unwrap(), None, &[round]);
        node.turn(Wait::Poll);
        assert_eq!(read(&socket).0, [round]);
        socket.send_to(&[round], node.addresses[0]).unwrap();
        assert_eq!(node.receive(1)[0].bytes, [round]);
    }
}

fn oversized_datagrams_are_dropped(kind: Kind) {
    let mut node = Node::open(kind, &["127.0.0.1:0"]);
    let socket = peer("127.0.0.1:0");
    let lens = [MAX_PAYLOAD + 1, 9000, MAX_PAYLOAD, 0, 5];
    for len in lens {
        socket.send_to(&vec![7; len], node.addresses[0]).unwrap();
    }
    let got: Vec<_> = node.receive(3).iter().map(|got| got.bytes.len()).collect();
    assert_eq!(got, [MAX_PAYLOAD, 0, 5]);
    assert_eq!(node.stats().truncated, 2);
}

fn arrival_is_when_the_kernel_had_it(kind: Kind) {
    let mut node = Node::open(kind, &["127.0.0.1:0"]);
    let socket = peer("127.0.0.1:0");
    socket.send_to(b"early", node.addresses[0]).unwrap();
    std::thread::sleep(Duration::from_millis(60));
    socket.send_to(b"late", node.addresses[0]).unwrap();
    let got = node.receive(2);
    let between = got[1].datagram.arrival - got[0].datagram.arrival;
    assert!(between >= Duration::from_millis(50), "{between:?}");
    assert!(got[1].datagram.arrival <= net::now());
}

fn destinations_nobody_can_reach_are_counted(kind: Kind) {
    let mut node = Node::open(kind, &["127.0.0.1:0"]);
    let socket = peer("127.0.0.1:0");
    // No IPv6 listener; and an address that a loopback socket has no way to.
    node.send("[::1]:9".parse().unwrap(), None, b"no socket");
    node.send("192.0.2.1:9".parse().unwrap(), None, b"no way");
    node.send("255.255.255.255:9".parse().unwrap(), None, b"forbidden");
    node.send(socket.local_addr().unwrap(), None, b"fine");
    node.turn(Wait::Poll);
    assert_eq!(read(&socket).0, b"fine");
    for _ in 0..2 {
        node.turn(Wait::Poll);
    }
    let stats = node.stats();
    assert_eq!(
        (stats.sent_packets, stats.send_failures),
        (1, 3),
        "{stats:?}"
    );
}

fn a_flooded_socket_counts_its_drops(kind: Kind) {
    let mut node = Node::open_with(kind, &["127.0.0.1:0"], 16, |config| {
        config.receive_buffer = 4096;
    });
    let socket = peer("127.0.0.1:0");
    for _ in 0..200 {
        socket.send_to(&[1; 1000], node.addresses[0]).unwrap();
    }
    while !node.receive_some().is_empty() {}
    // The kernel reports what it dropped along with a later packet.
    socket.send_to(b"later", node.addresses[0]).unwrap();
    node.receive(1);
    let stats = node.stats();
    assert_eq!(
        stats.received_packets + stats.kernel_drops,
        201,
        "{stats:?}"
    );
    assert!(stats.kernel_drops > 0);
}

impl Node {
    fn receive_some(&mut self) -> Vec<Got> {
        self.turn(Wait::Until(net::now() + Duration::from_millis(20)));
        self.take()
    }
}

fn a_second_thread_may_open_it(kind: Kind) {
    let node = std::thread::spawn(move || Node::open(kind, &["127.0.0.1:0"]));
    let mut node = node.join().unwrap();
    let socket = peer("127.0.0.1:0");
    socket.send_to(b"moved", node.addresses[0]).unwrap();
    assert_eq!(node.receive(1)[0].bytes, b"moved");
}

fn what_is_gathered_comes_together(kind: Kind) {
    let mut node = Node::open(kind, &["127.0.0.1:0"]);
    let to = node.addresses[0];
    node.turn(Wait::Poll);
    let sender = std::thread::spawn(move || {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        for number in 0..4_u8 {
            socket.send_to(&[number], to).unwrap();
            std::thread::sleep(Duration::from_millis(5));
        }
    });
    let started = Instant::now();
    // The rest of a second is for machines that are busy with other things.
    while node.batch.is_empty() && started.elapsed() < Duration::from_secs(1) {
        node.turn(Wait::Gather(net::now() + Duration::from_millis(60)));
    }
    assert!(started.elapsed() >= Duration::from_millis(60));
    sender.join().unwrap();
    let got: Vec<_> = node.take().into_iter().map(|one| one.bytes[0]).collect();
    assert_eq!(got, [0, 1, 2, 3], "in one turn, though far apart");
    // One who has something to send does not wait with it.
    let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
    let limit = Some(Duration::from_secs(2));
    peer.set_read_timeout(limit).unwrap();
    node.send(peer.local_addr().unwrap(), None, b"now");
    node.turn(Wait::Gather(net::now() + Duration::from_millis(5)));
    let mut bytes = [0; 8];
    assert_eq!(peer.recv(&mut bytes).unwrap(), 3);
}

/// What a node knows of one of its peers in the test below.
struct Peer {
    socket: UdpSocket,
    address: SocketAddr,
    said: u32,
}

fn a_flood_takes_nothing_from_peers_that_get_sockets(kind: Kind) {
    let bursts = flood(kind, |config| {
        make_room(config);
        config.peer_idle_max = ALWAYS;
    });
    let own = if kind == Kind::Uring { 2 * PEERS } else { 0 };
    assert_eq!(bursts, own as u64);
}

/// As it comes: the first burst of each leaves by the listener, the second by the peer's own socket if it follows soon enough.
fn a_flood_takes_nothing_from_peers_whose_sockets_rest(kind: Kind) {
    let bursts = flood(kind, make_room);
    let own = if kind == Kind::Uring {
        1..=PEERS
    } else {
        0..=0
    };
    assert!(own.contains(&(bursts as usize)), "{bursts}");
}

/// Peers who get sockets while strangers flood.
const PEERS: usize = 1000;

fn make_room(config: &mut Config) {
    config.lent_slots = 8192;
    config.receive_buffer = 16 << 20;
    config.peers_max = PEERS;
}

/// Everybody's datagrams arrive and are told apart; the bursts that left by peers' own sockets.
fn flood(kind: Kind, edit: fn(&mut Config)) -> u64 {
    let mut node = Node::open_with(kind, &["127.0.0.1:0"], 16_384, edit);
    let to = node.addresses[0];
    let stop = Arc::new(AtomicBool::new(false));
    let shouted = Arc::new(AtomicU64::new(0));
    let stranger = {
        let (stop, shouted) = (stop.clone(), shouted.clone());
        std::thread::spawn(move || {
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            let name = socket.local_addr().unwrap().to_string();
            while !stop.load(Ordering::Relaxed) {
                for _ in 0..32 {
                    socket.send_to(name.as_bytes(), to).unwrap();
                }
                shouted.fetch_add(32, Ordering::Relaxed);
                std::thread::sleep(Duration::from_micros(200));
            }
        })
    };
    let (made, sockets) = std::sync::mpsc::sync_channel(8);
    let agent = std::thread::spawn(move || {
        for turn in 0..PEERS {
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            let address = socket.local_addr().unwrap();
            let own = PeerSocket::connect(to.port(), address, to.ip(), 1 << 16, turn as u64);
            made.send((socket, address, own.unwrap())).unwrap();
        }
    });
    let mut peers: Vec<Peer> = Vec::new();
    let (mut heard, mut strange) = (0, 0_u64);
    let mut check = |got: Vec<Got>| {
        for one in got {
            // Everybody says who it is.
            let name = String::from_utf8(one.bytes).unwrap();
            match name.strip_prefix("peer ") {
                Some(name) => {
                    heard += 1;
                    assert_eq!(name, one.datagram.source.to_string());
                }
                None => {
                    strange += 1;
                    assert_eq!(name, one.datagram.source.to_string());
                }
            }
        }
    };
    while let Ok((socket, address, own)) = sockets.recv() {
        let mut peer = Peer {
            socket,
            address,
            said: 0,
        };
        // Before, while and after there is a socket for it; and its neighbours all the time.
        peer.speak(to);
        assert_eq!(
            node.driver.as_mut().unwrap().attach(own),
            kind == Kind::Uring
        );
        peer.speak(to);
        peers.push(peer);
        let neighbour = peers.len() / 2;
        peers[neighbour].speak(to);
        for text in [b"one", b"two", b"san"] {
            node.send(address, Some(to.ip()), text);
        }
        node.turn(Wait::Poll);
        check(node.take());
        node.send(address, Some(to.ip()), b"for");
        node.turn(Wait::Poll);
        check(node.take());
    }
    stop.store(true, Ordering::Relaxed);
    agent.join().unwrap();
    stranger.join().unwrap();
    let spoken: u32 = peers.iter().map(|peer| peer.said).sum();
    let all = u64::from(spoken) + shouted.load(Ordering::Relaxed);
    let deadline = Instant::now() + Duration::from_secs(5);
    while node.stats().received_packets < all && Instant::now() < deadline {
        node.turn(node.soon());
        check(node.take());
    }
    let stats = node.stats();
    assert_eq!(
        stats.kernel_drops, 0,
        "the flood is below what a queue holds"
    );
    assert_eq!(
        (heard, strange),
        (spoken, shouted.load(Ordering::Relaxed)),
        "{stats:?}"
    );
    assert!(strange > 1000, "it was a flood: {strange}");
    for peer in &peers {
        peer.hear(to, &["one", "two", "san", "for"]);
    }
    stats.peer_bursts
}

impl Peer {
    fn speak(&mut self, to: SocketAddr) {
        let text = format!("peer {}", self.address);
        self.socket.send_to(text.as_bytes(), to).unwrap();
        self.said += 1;
    }

    /// Exactly these have come, from the node's address.
    fn hear(&self, from: SocketAddr, texts: &[&str]) {
        let limit = Some(Duration::from_secs(2));
        self.socket.set_read_timeout(limit).unwrap();
        for text in texts {
            let mut bytes = [0; 16];
            let (len, source) = self.socket.recv_from(&mut bytes).unwrap();
            assert_eq!((&bytes[..len], source), (text.as_bytes(), from));
        }
    }
}

fn a_peer_with_a_socket_may_close_and_come_back(kind: Kind) {
    for (listen, at) in [("0.0.0.0:0", "127.0.0.9:0"), ("[::]:0", "[::1]:0")] {
        let mut node = Node::open_with(kind, &[listen], 1024, |config| {
            config.peers_max = 1;
            config.peer_idle_max = ALWAYS;
        });
        let socket = UdpSocket::bind(at).unwrap();
        let remote = socket.local_addr().unwrap();
        let local: IpAddr = match remote {
            SocketAddr::V4(_) => [127, 0, 0, 1].into(),
            SocketAddr::V6(_) => remote.ip(),
        };
        let from = SocketAddr::new(local, node.addresses[0].port());
        let connect = || PeerSocket::connect(from.port(), remote, local, 1 << 16, 7).unwrap();
        let uring = kind == Kind::Uring;
        assert_eq!(node.driver.as_mut().unwrap().attach(connect()), uring);
        assert_eq!(
            node.driver.as_mut().unwrap().attach(connect()),
            uring,
            "replaced"
        );
        drop(socket);
        // Nobody there: nothing stops, and nothing is kept back.
        for _ in 0..4 {
            node.send(remote, Some(local), b"nobody");
            node.turn(node.soon());
        }
        let socket = UdpSocket::bind(remote).unwrap();
        let peer = Peer {
            socket,
            address: remote,
            said: 0,
        };
        node.send(remote, Some(local), b"socket");
        node.turn(Wait::Poll);
        peer.hear(from, &["socket"]);
        // A run, as one send.
        node.bursts.begin(remote, Some(local));
        for text in [b"ab", b"cd"] {
            node.bursts.reserve(2).unwrap().copy_from_slice(text);
            node.bursts.commit(2);
        }
        node.turn(Wait::Poll);
        peer.hear(from, &["ab", "cd"]);
        let bursts = node.stats().peer_bursts;
        assert_eq!(bursts, if uring { 6 } else { 0 });
        assert_eq!(node.stats().runs[..2], [5, 1]);
        // A long one costs less by the listener.
        node.bursts.begin(remote, Some(local));
        for _ in 0..4 {
            node.bursts.reserve(1200).unwrap().fill(b'x');
            node.bursts.commit(1200);
        }
        node.turn(Wait::Poll);
        peer.hear(from, &["xxxxxxxxxxxxxxxx"; 4]);
        assert_eq!(node.stats().peer_bursts, bursts);
        assert_eq!(node.stats().runs[3], 1);
        // From another address, or without a socket, by the listener.
        node.send(remote, None, b"listener");
        node.turn(Wait::Poll);
        peer.hear(from, &["listener"]);
        node.driver.as_mut().unwrap().detach(remote);
        node.send(remote, Some(local), b"again");
        node.turn(Wait::Poll);
        peer.hear(from, &["again"]);
        assert_eq!(node.stats().peer_bursts, bursts);
        // What it has to say comes by the listener, as ever.
        peer.socket.send_to(b"me", from).unwrap();
        assert_eq!(node.receive(1)[0].datagram.source, remote);
    }
}
