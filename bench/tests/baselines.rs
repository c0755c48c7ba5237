//! The built-in forwarders as processes: what goes in comes out for every subscriber, under its own keys.

use std::io::{BufRead, BufReader, Write};
use std::net::UdpSocket;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use bench::baseline::{Answer, Key, Mapping, Order, Statistics};
use proto::srtp::{Inbound, MasterKey, Outbound, Profile};

const PUBLISHED: u32 = 0x1111;
const PACKETS: u16 = 160;
const SUBSCRIBERS: u8 = 70;
/// Of the first packet.
const FIRST_INDEX: u64 = 65_400;

struct Forwarder {
    child: Child,
    orders: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Forwarder {
    fn start(name: &str, profile: Profile, more: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_ringcast-bench"))
            .args(["baseline", name, "--listen", "127.0.0.1"])
            .args(["--profile", &profile.id().to_string()])
            .args(more)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        Self {
            orders: child.stdin.take(),
            answers: BufReader::new(child.stdout.take().unwrap()),
            child,
        }
    }

    fn tell(&mut self, order: &Order) {
        let mut line = serde_json::to_string(order).unwrap();
        line.push('\n');
        self.orders
            .as_mut()
            .unwrap()
            .write_all(line.as_bytes())
            .unwrap();
    }

    fn hear(&mut self) -> Answer {
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap()
    }

    fn statistics(&mut self) -> Statistics {
        self.tell(&Order::Statistics);
        match self.hear() {
            Answer::Statistics(statistics) => statistics,
            other => panic!("{other:?}"),
        }
    }

    fn end(mut self) {
        self.orders = None;
        assert!(self.child.wait().unwrap().success());
    }
}

fn master(profile: Profile, seed: u8) -> MasterKey {
    MasterKey::new(
        profile,
        &vec![seed; profile.key_len()],
        &vec![seed ^ 0x55; profile.salt_len()],
    )
    .unwrap()
}

fn socket() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_nonblocking(true).unwrap();
    socket
}

fn plain(sequence: u16) -> Vec<u8> {
    let mut packet = vec![0x80, 96];
    packet.extend(sequence.to_be_bytes());
    packet.extend([0, 0, 0, 1]);
    packet.extend(PUBLISHED.to_be_bytes());
    packet.extend((0..600_u16).map(|octet| (octet ^ sequence) as u8));
    packet
}

/// What became of the copies of all subscribers together.
#[derive(Debug, Default, PartialEq, Eq)]
struct Copies {
    right: usize,
    wrong: usize,
    missing: usize,
}

/// Sends [`PACKETS`] packets through a forwarder and looks at what every subscriber gets.
fn forward(name: &str, profile: Profile, more: &[&str]) -> (Copies, Statistics) {
    let mut forwarder = Forwarder::start(name, profile, more);
    let Answer::Ready { address } = forwarder.hear() else {
        panic!("not ready");
    };
    let publisher = socket();
    forwarder.tell(&Order::Publisher {
        address: publisher.local_addr().unwrap(),
        key: Key::from(&master(profile, 200)),
    });
    let subscribers: Vec<_> = (0..SUBSCRIBERS).map(|_| socket()).collect();
    for (number, subscriber) in (0..).zip(&subscribers) {
        forwarder.tell(&Order::Subscriber {
            address: subscriber.local_addr().unwrap(),
            key: Key::from(&master(profile, number)),
            streams: vec![Mapping {
                from: PUBLISHED,
                to: 0x2000 + u32::from(number),
                first_sequence: 100 * u16::from(number),
            }],
        });
    }
    assert_eq!(forwarder.statistics().forwarded, 0);

    let mut outbound = Outbound::new(&master(profile, 200)).unwrap();
    let mut inbound: Vec<_> = (0..SUBSCRIBERS)
        .map(|number| Inbound::new(&master(profile, number)).unwrap())
        .collect();
    let mut copies = Copies::default();
    let mut sent = 0;
    let mut statistics = Statistics::default();
    for number in 0..PACKETS {
        // The sequence numbers wrap on the way.
        let index = FIRST_INDEX + u64::from(number);
        let packet = plain(index as u16);
        let (header, payload) = packet.split_at(12);
        let mut sealed = [0; 1500];
        let length = outbound
            .protect_rtp(index, PUBLISHED, header, &[], payload, &mut sealed)
            .unwrap();
        publisher.send_to(&sealed[..length], address).unwrap();
        sent += 1;
        if number % 50 == 7 {
            // A repetition, a forgery and a stranger change nothing.
            publisher.send_to(&sealed[..length], address).unwrap();
            sealed[3] ^= 0x40;
            publisher.send_to(&sealed[..length], address).unwrap();
            subscribers[0].send_to(&sealed[..length], address).unwrap();
            sent += 3;
        }
        if number % 20 == 19 || number == PACKETS - 1 {
            while statistics.received < sent {
                std::thread::sleep(Duration::from_millis(1));
                statistics = forwarder.statistics();
            }
            for (who, socket) in subscribers.iter().enumerate() {
                copies.take(who, socket, &mut inbound[who]);
            }
        }
    }
    forwarder.end();
    copies.missing = usize::from(PACKETS) * subscribers.len() - copies.right - copies.wrong;
    (copies, statistics)
}

impl Copies {
    /// Everything that waits in one subscriber's socket.
    fn take(&mut self, who: usize, socket: &UdpSocket, inbound: &mut Inbound) {
        let mut buffer = [0; 1500];
        while let Ok(length) = socket.recv(&mut buffer) {
            let packet = &mut buffer[..length];
            let ssrc = 0x2000 + who as u32;
            assert_eq!(packet[8..12], ssrc.to_be_bytes());
            let sequence = u16::from_be_bytes([packet[2], packet[3]]);
            let (length, _) = inbound.unprotect_rtp(packet, 12, ssrc, sequence).unwrap();
            let number = sequence.wrapping_sub(100 * who as u16);
            let original = plain(number.wrapping_add(FIRST_INDEX as u16));
            if packet[12..length] == original[12..] {
                self.right += 1;
            } else {
                self.wrong += 1;
            }
        }
    }
}

fn forwards_everything(name: &str) {
    for profile in Profile::ALL {
        let (copies, statistics) = forward(name, profile, &[]);
        let all = usize::from(PACKETS) * usize::from(SUBSCRIBERS);
        let expected = Copies {
            right: all,
            ..Copies::default()
        };
        assert_eq!(copies, expected, "{name}, {profile}");
        assert_eq!(statistics.forwarded, all as u64);
        assert_eq!((statistics.unauthentic, statistics.ignored), (8, 4));
    }
}

#[test]
fn the_conventional_one_forwards_everything() {
    forwards_everything("conventional");
}

#[test]
fn the_naive_one_forwards_everything() {
    forwards_everything("naive");
}

#[test]
fn deliberate_mistakes_are_made() {
    for name in ["conventional", "naive"] {
        let profile = Profile::AeadAes128Gcm;
        let (copies, _) = forward(name, profile, &["--spoil-every", "1000"]);
        assert_eq!((copies.wrong, copies.missing), (11, 0), "{name}");
        let (copies, _) = forward(name, profile, &["--skip-every", "100"]);
        assert_eq!((copies.wrong, copies.missing), (0, 112), "{name}");
    }
}
