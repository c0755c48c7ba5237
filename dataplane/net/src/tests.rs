//! What needs a look inside a driver: sockets that refuse to segment, sockets that report errors, systems that refuse io_uring.

use core::time::Duration;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};

use packet::{Arena, ArenaSize, Batch, Bursts, BurstsSize};

use crate::address::{self, NAME_BYTES};
use crate::{AnyDriver, Choice, Config, Driver, Error, Kind, PeerSocket, Wait};

struct Node {
    driver: AnyDriver,
    choice: Choice,
    arena: Arena,
    bursts: Bursts,
    batch: Batch,
    address: SocketAddr,
}

impl Node {
    fn open(kind: Kind) -> Self {
        Self::open_with(kind, 0)
    }

    fn open_for_peers(peers: usize) -> Self {
        Self::open_with(Kind::Uring, peers)
    }

    fn open_with(kind: Kind, peers: usize) -> Self {
        let mut config = Config::new(vec![([127, 0, 0, 1], 0).into()]);
        config.kind = kind;
        config.peers_max = peers;
        config.peer_idle_max = Duration::MAX;
        config.lent_slots = 64;
        let (driver, choice) = crate::open(&config).unwrap();
        let address = driver.local_addresses().next().unwrap();
        let size = ArenaSize {
            slots: 256,
            small_slots: 0,
            reserve: 0,
        };
        let bursts = BurstsSize {
            chunks: 8,
            bursts: 64,
        };
        Self {
            driver,
            choice,
            arena: Arena::new(size).unwrap(),
            bursts: Bursts::new(bursts).unwrap(),
            batch: Batch::new(),
            address,
        }
    }

    fn socket(&self) -> i32 {
        match &self.driver {
            AnyDriver::Uring(driver) => driver.listeners()[0].raw(),
            AnyDriver::Mmsg(driver) => driver.listeners()[0].raw(),
        }
    }

    fn send(&mut self, to: SocketAddr, packets: &[&[u8]]) {
        self.bursts.begin(to, None);
        for packet in packets {
            let room = self.bursts.reserve(packet.len()).unwrap();
            room.copy_from_slice(packet);
            self.bursts.commit(packet.len());
        }
        self.bursts.finish();
    }

    /// One turn; the datagrams it brought.
    fn turn(&mut self, wait: Wait) -> Vec<Vec<u8>> {
        self.driver
            .turn(&mut self.bursts, wait, &mut self.arena, &mut self.batch)
            .unwrap();
        let datagrams = self.batch.as_slice().iter();
        let bytes = datagrams.map(|datagram| datagram.payload(&self.arena).to_vec());
        let bytes = bytes.collect();
        self.batch.clear(&mut self.arena);
        bytes
    }
}

fn soon() -> Wait {
    Wait::Until(crate::now() + Duration::from_millis(50))
}

fn peer() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let limit = Some(Duration::from_secs(2));
    socket.set_read_timeout(limit).unwrap();
    socket
}

fn read(socket: &UdpSocket) -> Vec<u8> {
    let mut bytes = [0; 2048];
    let len = socket.recv(&mut bytes).unwrap();
    bytes[..len].to_vec()
}

#[test]
fn a_refused_run_leaves_packet_by_packet() {
    for kind in [Kind::Uring, Kind::Mmsg] {
        let mut node = Node::open(kind);
        let socket = peer();
        let to = socket.local_addr().unwrap();
        // Without checksums the kernel does not segment (EINVAL).
        set_no_checksums(node.socket(), true);
        let mut expected = Vec::new();
        for round in 0..20u8 {
            let run: [&[u8]; 3] = [&[round; 50], &[round + 100; 50], &[round; 20]];
            node.send(to, &run);
            node.turn(Wait::Poll);
            expected.extend(run.map(<[u8]>::to_vec));
        }
        for bytes in expected {
            assert_eq!(read(&socket), bytes, "{kind:?}");
        }
        let stats = *node.driver.stats();
        assert_eq!(stats.sent_packets, 60, "{stats:?}");
        assert_eq!(stats.segmentation_fallbacks, 20, "{stats:?}");
        assert_eq!((stats.segmented_bursts, stats.send_failures), (0, 0));
        assert_eq!(node.bursts.in_flight(), 0);
        // Once the way is fit for it again, segmentation comes back by itself.
        set_no_checksums(node.socket(), false);
        for _ in 0..40 {
            node.send(to, &[&[1; 9], &[2; 9]]);
            node.turn(Wait::Poll);
        }
        let stats = node.driver.stats();
        assert!(stats.segmented_bursts > 8, "{stats:?}");
        assert_eq!(stats.sent_packets, 140, "{stats:?}");
    }
}

#[test]
fn a_kernel_without_memory_ends_turns_and_not_the_driver() {
    let mut node = Node::open_for_peers(2);
    let sockets = [peer(), peer()];
    let to = sockets
        .each_ref()
        .map(|socket| socket.local_addr().unwrap());
    node.turn(Wait::Poll);
    let local = node.address.ip();
    let port = node.address.port();
    let own = PeerSocket::connect(port, to[0], local, 1 << 16, 0).unwrap();
    assert!(node.driver.attach(own));
    // Of twelve sends the kernel takes five, and then nothing for two turns.
    set_taken_at_most(&mut node.driver, Some(5));
    for round in 0..12u8 {
        node.bursts.begin(to[0], Some(local));
        node.bursts.reserve(9).unwrap().fill(round);
        node.bursts.commit(9);
        node.bursts.finish();
    }
    for refused in [1, 2] {
        assert_eq!(node.turn(soon()), [[0; 0]; 0]);
        let stats = node.driver.stats();
        assert_eq!(stats.refused_submissions, refused);
        assert_eq!(
            (stats.sent_packets, stats.send_failures),
            (0, 0),
            "nothing is settled"
        );
        assert_eq!(node.bursts.in_flight(), 12);
    }
    // The socket that seven of them shall leave by goes meanwhile, and its place is wanted.
    node.driver.detach(to[0]);
    let other = PeerSocket::connect(port, to[1], local, 1 << 16, 0).unwrap();
    assert!(node.driver.attach(other), "there is another place");
    sockets[0].send_to(b"meanwhile", node.address).unwrap();
    set_taken_at_most(&mut node.driver, None);
    let mut came = node.turn(soon());
    for round in 0..12u8 {
        assert_eq!(read(&sockets[0]), [round; 9], "each once, in order");
    }
    if came.is_empty() {
        came = node.turn(soon());
    }
    assert_eq!(came, [b"meanwhile"]);
    let stats = node.driver.stats();
    assert_eq!((stats.refused_submissions, stats.sent_packets), (2, 12));
    assert_eq!((stats.send_failures, stats.peer_bursts), (0, 12));
    assert_eq!((node.bursts.in_flight(), node.bursts.queued()), (0, 0));
    let again = PeerSocket::connect(port, to[0], local, 1 << 16, 0).unwrap();
    assert!(node.driver.attach(again), "the place is free by now");
    sockets[1].set_nonblocking(true).unwrap();
    assert!(sockets[1].recv(&mut [0; 9]).is_err(), "nothing was for it");
}

fn set_taken_at_most(driver: &mut AnyDriver, requests: Option<u32>) {
    match driver {
        AnyDriver::Uring(driver) => driver.set_taken_at_most(requests),
        AnyDriver::Mmsg(_) => panic!("this is about io_uring"),
    }
}

#[test]
fn a_reported_error_neither_stops_receiving_nor_eats_a_packet() {
    for kind in [Kind::Uring, Kind::Mmsg] {
        let mut node = Node::open(kind);
        let socket = peer();
        let to = socket.local_addr().unwrap();
        node.turn(Wait::Poll);
        // Only a connected socket hears of closed ports.
        connect(node.socket(), to);
        drop(socket);
        for _ in 0..3 {
            node.send(to, &[b"nobody there"]);
            node.turn(soon());
        }
        let stats = *node.driver.stats();
        assert!(stats.unreachable > 0, "{kind:?} {stats:?}");
        let socket = UdpSocket::bind(to).unwrap();
        let limit = Some(Duration::from_secs(2));
        socket.set_read_timeout(limit).unwrap();
        node.send(to, &[b"now"]);
        let mut got = node.turn(Wait::Poll);
        assert_eq!(read(&socket), b"now");
        socket.send_to(b"back", node.address).unwrap();
        for _ in 0..10 {
            got.extend(node.turn(soon()));
            if !got.is_empty() {
                break;
            }
        }
        assert_eq!(got, [b"back"], "{kind:?} {:?}", node.driver.stats());
    }
}

#[test]
fn a_denied_ring_is_explained_and_replaced() {
    let setup = libc::SYS_io_uring_setup as u32;
    for errno in [libc::EPERM, libc::ENOSYS] {
        let thread = std::thread::spawn(move || {
            filter(&[(setup, Some(errno))], None);
            let mut config = Config::new(vec![([127, 0, 0, 1], 0).into()]);
            config.kind = Kind::Uring;
            let Err(Error::Uring { source, .. }) = crate::open(&config) else {
                panic!("it is denied");
            };
            assert_eq!(source.raw_os_error(), Some(errno));
            let mut node = Node::open(Kind::Auto);
            assert_eq!(node.choice.driver, "mmsg");
            let line = node.choice.to_string();
            let cause = if errno == libc::EPERM {
                "denies"
            } else {
                "built without"
            };
            assert!(
                line.contains("io_uring is refused") && line.contains(cause),
                "{line}"
            );
            let socket = peer();
            socket.send_to(b"works", node.address).unwrap();
            assert_eq!(node.turn(soon()), [b"works"]);
        });
        thread.join().unwrap();
    }
}

#[test]
fn a_ring_refused_on_the_way_is_fatal_and_names_the_call() {
    let thread = std::thread::spawn(|| {
        let mut node = Node::open(Kind::Uring);
        node.turn(Wait::Poll);
        filter(
            &[(libc::SYS_io_uring_enter as u32, Some(libc::EPERM))],
            None,
        );
        let result = node.driver.turn(
            &mut node.bursts,
            Wait::Forever,
            &mut node.arena,
            &mut node.batch,
        );
        result.unwrap_err().to_string()
    });
    assert_eq!(thread.join().unwrap(), "cannot enter the ring");
}

#[test]
fn a_ring_belongs_to_the_thread_of_its_first_turn() {
    let mut node = Node::open(Kind::Uring);
    node.turn(Wait::Poll);
    let thread = std::thread::spawn(move || {
        node.driver
            .turn(
                &mut node.bursts,
                Wait::Poll,
                &mut node.arena,
                &mut node.batch,
            )
            .is_err()
    });
    assert!(thread.join().unwrap());
}

#[test]
fn the_ring_needs_no_other_system_call() {
    static DONE: AtomicBool = AtomicBool::new(false);
    let socket = peer();
    let to = socket.local_addr().unwrap();
    let echo = std::thread::spawn(move || {
        let mut bytes = [0; 2048];
        socket
            .set_read_timeout(Some(Duration::from_millis(50)))
            .unwrap();
        while !DONE.load(Ordering::Relaxed) {
            if let Ok((len, from)) = socket.recv_from(&mut bytes) {
                socket.send_to(&bytes[..len], from).unwrap();
            }
        }
    });
    let node = std::thread::spawn(move || {
        let mut node = Node::open(Kind::Uring);
        node.turn(Wait::Poll);
        let waker = node.driver.waker();
        waker.wake();
        // Entering the ring, freeing memory and ending the thread are all that is left to this thread.
        let allowed = [
            libc::SYS_io_uring_enter,
            libc::SYS_futex,
            libc::SYS_mmap,
            libc::SYS_munmap,
            libc::SYS_madvise,
            libc::SYS_brk,
            libc::SYS_mprotect,
            libc::SYS_rt_sigprocmask,
            libc::SYS_sigaltstack,
            libc::SYS_exit,
            libc::SYS_set_robust_list,
        ];
        let allowed = allowed.map(|number| (number as u32, None));
        filter(&allowed, Some(libc::EPERM));
        let denied = UdpSocket::bind("127.0.0.1:0").is_err();
        let mut echoed = 0;
        for round in 0..50u8 {
            node.send(to, &[&[round; 30], &[round; 30], &[round; 10]]);
            echoed += node.turn(soon()).len();
        }
        while echoed < 150 {
            let more = node.turn(soon()).len();
            if more == 0 {
                break;
            }
            echoed += more;
        }
        // Closing is for a thread that may.
        (node, echoed, denied)
    });
    let (node, echoed, denied) = node.join().unwrap();
    DONE.store(true, Ordering::Relaxed);
    echo.join().unwrap();
    assert!(denied, "the filter works");
    assert_eq!(echoed, 150, "{:?}", node.driver.stats());
    assert_eq!(node.driver.stats().sent_packets, 150);
}

#[test]
fn a_driver_has_one_to_eight_listeners() {
    for count in [0, 9] {
        let config = Config::new(vec![([127, 0, 0, 1], 0).into(); count]);
        assert!(matches!(crate::open(&config), Err(Error::Listeners(n)) if n == count));
    }
}

fn set_no_checksums(socket: i32, off: bool) {
    let value = i32::from(off);
    // SAFETY: pointer and length describe `value`.
    let result = unsafe {
        libc::setsockopt(
            socket,
            libc::SOL_SOCKET,
            libc::SO_NO_CHECK,
            (&raw const value).cast(),
            4,
        )
    };
    assert_eq!(result, 0);
}

fn connect(socket: i32, to: SocketAddr) {
    let mut name = [0; NAME_BYTES];
    let len = address::write_name(to, &mut name);
    // SAFETY: pointer and length describe `name`.
    let result = unsafe { libc::connect(socket, name.as_ptr().cast(), len as u32) };
    assert_eq!(result, 0);
}

/// Filters the system calls of this thread, for good: those listed are answered with an error or allowed, and so are all others.
fn filter(listed: &[(u32, Option<i32>)], others: Option<i32>) {
    let verdict = |errno: Option<i32>| match errno {
        Some(errno) => libc::SECCOMP_RET_ERRNO | errno as u32,
        None => libc::SECCOMP_RET_ALLOW,
    };
    let instruction = |code: u32, jt, jf, k| libc::sock_filter {
        code: code as u16,
        jt,
        jf,
        k,
    };
    // The number of the call is the first word of what a filter is shown.
    let mut program = vec![instruction(
        libc::BPF_LD | libc::BPF_W | libc::BPF_ABS,
        0,
        0,
        0,
    )];
    for (number, errno) in listed {
        let jump = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
        program.push(instruction(jump, 0, 1, *number));
        program.push(instruction(
            libc::BPF_RET | libc::BPF_K,
            0,
            0,
            verdict(*errno),
        ));
    }
    program.push(instruction(
        libc::BPF_RET | libc::BPF_K,
        0,
        0,
        verdict(others),
    ));
    let program = libc::sock_fprog {
        len: program.len() as u16,
        filter: program.as_mut_ptr(),
    };
    // SAFETY: the filter outlives the calls, which copy it; it concerns this thread only.
    let results = unsafe {
        [
            libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0),
            libc::prctl(
                libc::PR_SET_SECCOMP,
                libc::SECCOMP_MODE_FILTER,
                &raw const program,
            ),
        ]
    };
    assert_eq!(results, [0, 0]);
}
