//! The drop exit: forwarder and fleet in a network each, joined by a pair of virtual devices.

use std::net::Ipv4Addr;
use std::process::Command;

use super::netlink::Counter;
use super::{Counts, Error, Namespace};

/// Where the forwarder is.
pub(super) const SUBJECT: Ipv4Addr = Ipv4Addr::new(10, 199, 0, 2);
/// The fleet's end of the pair.
pub(super) const FLEET: Ipv4Addr = Ipv4Addr::new(10, 199, 0, 1);
/// The first of the peers' addresses; the whole /16 is the fleet's.
pub(super) const PEERS: Ipv4Addr = Ipv4Addr::new(10, 200, 0, 0);

const SUBJECT_DEVICE: &str = "subject";
const FLEET_DEVICE: &str = "fleet";
const SUBJECT_MAC: &str = "02:52:43:00:00:02";
const FLEET_MAC: &str = "02:52:43:00:00:01";

/// A classic BPF program for `tc`: drops RTP over UDP over IPv4, but for this share of the sends, taken by chance.
///
/// RTP is what begins with 128..=191 (RFC 7983 §7) and whose second octet is no RTCP packet type (192..=223, RFC 5761 §4).
/// STUN, DTLS, RTCP, QUIC and TCP pass. A segmented send is one decision: dropped or let through as a whole.
fn drop_rtp(pass_share: f64) -> String {
    let bound = (pass_share.clamp(0.0, 1.0) * f64::from(u32::MAX)) as u32;
    format!(
        "14,\
         40 0 0 12,21 0 10 2048,48 0 0 23,21 0 8 17,\
         48 0 0 42,53 0 6 128,53 5 0 192,\
         48 0 0 43,53 0 1 192,53 0 2 224,\
         32 0 0 4294963256,37 1 0 {bound},6 0 0 4294967295,6 0 0 2"
    )
}

/// Lets everything pass; the device counts what it is asked about.
const PASS_ALL: &str = "1,6 0 0 4294967295";

/// Both networks and what counts between them.
#[derive(Debug)]
pub(super) struct Veth {
    pub(super) subject: Namespace,
    pub(super) fleet: Namespace,
    offered: Counter,
    passed: Counter,
}

impl Veth {
    pub(super) fn prepare(pass_share: f64) -> Result<Self, Error> {
        let drop_rtp = drop_rtp(pass_share);
        let subject = Namespace::create()?;
        let fleet = Namespace::create()?;
        subject.enter(without_ipv6)?;
        let other = subject.path();
        let other = other.display();
        fleet.enter(|| {
            without_ipv6();
            all(&[
                "ip link set lo up",
                &format!(
                    "ip link add {FLEET_DEVICE} address {FLEET_MAC} type veth \
                     peer name {SUBJECT_DEVICE} address {SUBJECT_MAC} netns {other}"
                ),
                &format!("ip address add {FLEET}/30 dev {FLEET_DEVICE}"),
                &format!("ip link set {FLEET_DEVICE} up"),
                &format!(
                    "ip neigh add {SUBJECT} lladdr {SUBJECT_MAC} dev {FLEET_DEVICE} nud permanent"
                ),
                &format!("ip route add local {PEERS}/16 dev lo"),
                &format!("tc qdisc add dev {FLEET_DEVICE} clsact"),
                &format!("tc filter add dev {FLEET_DEVICE} ingress bpf da bytecode {PASS_ALL:?}"),
            ])
        })??;
        subject.enter(|| {
            all(&[
                "ip link set lo up",
                &format!("ip address add {SUBJECT}/30 dev {SUBJECT_DEVICE}"),
                &format!("ip link set {SUBJECT_DEVICE} up"),
                &format!(
                    "ip neigh add {FLEET} lladdr {FLEET_MAC} dev {SUBJECT_DEVICE} nud permanent"
                ),
                &format!("ip route add {PEERS}/16 via {FLEET} dev {SUBJECT_DEVICE}"),
                &format!("tc qdisc add dev {SUBJECT_DEVICE} clsact"),
                &format!("tc filter add dev {SUBJECT_DEVICE} egress bpf da bytecode {drop_rtp:?}"),
            ])
        })??;
        let offered = subject.enter(Counter::open)??;
        let passed = fleet.enter(Counter::open)??;
        Ok(Self {
            subject,
            fleet,
            offered,
            passed,
        })
    }

    pub(super) fn counts(&mut self) -> Result<Counts, Error> {
        Ok(Counts {
            offered: self.offered.read()?,
            passed: self.passed.read()?,
        })
    }
}

/// Keeps devices made from now on from announcing themselves with packets of their own, which would be counted.
fn without_ipv6() {
    // A kernel without IPv6 has no such file, and nothing to keep quiet.
    let _ = std::fs::write("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1");
}

fn all(commands: &[&str]) -> Result<(), Error> {
    commands.iter().try_for_each(|command| run(command))
}

/// Runs one command. A word in double quotes may contain spaces.
fn run(command: &str) -> Result<(), Error> {
    let failed = |reason: String| Error::Command {
        command: command.to_owned(),
        reason,
    };
    let mut words = Vec::new();
    for (index, part) in command.split('"').enumerate() {
        if index % 2 == 1 {
            words.push(part);
        } else {
            words.extend(part.split_whitespace());
        }
    }
    let (program, arguments) = words
        .split_first()
        .ok_or_else(|| failed("empty".to_owned()))?;
    let output = Command::new(program)
        .args(arguments)
        .output()
        .map_err(|error| failed(format!("{error} (iproute2 is needed)")))?;
    if output.status.success() {
        Ok(())
    } else {
        Err(failed(
            String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        ))
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::time::Duration;

    use super::*;

    /// Sends `count` packets that begin with `first` and `second` and says how many of them were offered and received.
    fn send(veth: &mut Veth, first: u8, second: u8, count: u64) -> (u64, u64) {
        let receiver = veth
            .fleet
            .enter(|| UdpSocket::bind((PEERS, 5000)).unwrap())
            .unwrap();
        receiver
            .set_read_timeout(Some(Duration::from_millis(50)))
            .unwrap();
        let sender = veth
            .subject
            .enter(|| UdpSocket::bind((SUBJECT, 4000)).unwrap())
            .unwrap();
        let before = veth.counts().unwrap();
        let mut received = 0;
        let mut buffer = [0; 2000];
        for _ in 0..count {
            let mut packet = [7; 100];
            packet[0] = first;
            packet[1] = second;
            sender.send_to(&packet, (PEERS, 5000)).unwrap();
            receiver.set_nonblocking(true).unwrap();
            received += u64::from(receiver.recv(&mut buffer).is_ok());
        }
        receiver.set_nonblocking(false).unwrap();
        while receiver.recv(&mut buffer).is_ok() {
            received += 1;
        }
        let after = veth.counts().unwrap();
        assert_eq!(after.passed - before.passed, received);
        (after.offered - before.offered, received)
    }

    /// None where nobody may make one.
    fn prepare(pass_share: f64) -> Option<Veth> {
        match Veth::prepare(pass_share) {
            Ok(veth) => Some(veth),
            Err(error @ Error::NotRoot(_)) => {
                assert!(
                    std::env::var_os("RINGCAST_NO_SKIP").is_none(),
                    "nothing may be skipped here: {error}"
                );
                eprintln!("SKIPPED: {error}");
                None
            }
            Err(error) => panic!("{error}"),
        }
    }

    #[test]
    fn the_share_that_passes_is_the_one_asked_for() {
        let Some(mut veth) = prepare(0.25) else {
            return;
        };
        let (offered, received) = send(&mut veth, 0x80, 96, 2000);
        assert_eq!(offered, 2000);
        assert!((400..=600).contains(&received), "{received} of 2000");
    }

    #[test]
    fn rtp_is_dropped_but_for_a_sample_and_everything_else_passes() {
        let Some(mut veth) = prepare(super::super::PASS_SHARE) else {
            return;
        };
        let (offered, received) = send(&mut veth, 0x80, 96, 5000);
        assert_eq!(offered, 5000);
        assert!((10..=120).contains(&received), "{received} of 5000 RTP");
        let (_, received) = send(&mut veth, 0x90, 0xe0 | 0x10, 1000);
        assert!(received <= 40, "{received} of 1000 RTP with marker");
        // STUN, DTLS, RTCP of three types, QUIC.
        for (first, second) in [
            (0, 1),
            (22, 254),
            (0x81, 200),
            (0x80, 192),
            (0x8f, 223),
            (0x40, 0),
        ] {
            assert_eq!(
                send(&mut veth, first, second, 50),
                (50, 50),
                "{first} {second}"
            );
        }
    }
}
