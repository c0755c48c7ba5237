//! Where the packets go.

use std::net::{SocketAddr, UdpSocket};
use std::process::Command;

/// Which exit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Through the whole UDP and IP way to a device of a network namespace of our own, which drops everything.
    Drop,
    /// Into sockets that nobody reads, so that their queues are full.
    Loopback,
}

/// A prepared exit.
pub struct Exit {
    /// The address to send from.
    pub local: SocketAddr,
    /// The peers.
    pub peers: Vec<SocketAddr>,
    _sinks: Vec<UdpSocket>,
}

/// Drops whatever leaves by a device; see `tc-bpf(8)` for the notation.
const DEVICE: &str = "ip link set lo up
ip link add bench0 type veth peer name bench1
ip addr add 10.77.0.1/16 dev bench0
ip link set bench0 up
ip link set bench1 up
ip neigh add 10.77.0.2 lladdr 02:00:00:00:00:02 dev bench0
ip route add 10.200.0.0/16 via 10.77.0.2
tc qdisc add dev bench0 clsact";

impl Exit {
    /// Needs root for [`Kind::Drop`].
    pub fn prepare(kind: Kind, peers: usize) -> Result<Self, String> {
        match kind {
            Kind::Drop => {
                drop_all()?;
                let peer = |index: usize| {
                    let [.., high, low] = (index + 1).to_be_bytes();
                    SocketAddr::from(([10, 200, high, low], 5000))
                };
                Ok(Self {
                    local: ([10, 77, 0, 1], 0).into(),
                    peers: (0..peers).map(peer).collect(),
                    _sinks: Vec::new(),
                })
            }
            Kind::Loopback => {
                let sinks = (0..peers).map(|_| UdpSocket::bind("127.0.0.1:0"));
                let sinks: Vec<_> = sinks.collect::<Result<_, _>>().map_err(|e| e.to_string())?;
                let addresses = sinks.iter().map(|sink| sink.local_addr());
                Ok(Self {
                    local: ([127, 0, 0, 1], 0).into(),
                    peers: addresses
                        .collect::<Result<_, _>>()
                        .map_err(|e| e.to_string())?,
                    _sinks: sinks,
                })
            }
        }
    }
}

fn drop_all() -> Result<(), String> {
    // SAFETY: no other thread runs yet; the namespace ends with the process.
    if unsafe { libc::unshare(libc::CLONE_NEWNET) } != 0 {
        return Err(format!(
            "a network namespace is refused ({}); the drop exit needs root",
            std::io::Error::last_os_error()
        ));
    }
    for line in DEVICE.lines() {
        run(&line.split(' ').collect::<Vec<_>>())?;
    }
    // Only media (first payload byte 128..191) over IPv4, as on the exit of the full benchmark.
    let filter =
        "8,40 0 0 12,21 0 5 2048,48 0 0 23,21 0 3 17,48 0 0 42,53 0 1 128,6 0 0 2,6 0 0 4294967295";
    let mut words: Vec<&str> = "tc filter add dev bench0 egress bpf da bytecode"
        .split(' ')
        .collect();
    words.push(filter);
    run(&words)
}

fn run(words: &[&str]) -> Result<(), String> {
    let output = Command::new(words[0]).args(&words[1..]).output();
    let output = output.map_err(|error| format!("{}: {error}", words[0]))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("{}: {}", words.join(" "), said.trim()))
}
