//! What the host says about itself.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

/// The host's name, `node` if it has none.
pub fn host_name() -> String {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    match name.trim() {
        "" => "node".to_owned(),
        name => name.to_owned(),
    }
}

/// Whether an IPv6 socket can be had.
pub fn has_ipv6() -> bool {
    UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)).is_ok()
}

/// What to tell browsers when listening on `bind`: the addresses themselves, or where they are unspecified the host's own.
pub fn to_advertise(bind: &[IpAddr]) -> Vec<IpAddr> {
    let mut found = Vec::new();
    for ip in bind {
        match ip {
            ip if !ip.is_unspecified() => found.push(*ip),
            IpAddr::V4(_) => found.extend(first_v4().map(IpAddr::V4)),
            IpAddr::V6(_) => found.extend(first_global_v6().map(IpAddr::V6)),
        }
    }
    found
}

/// The address that the default route starts from; on a host without one, any that is not loopback.
fn first_v4() -> Option<Ipv4Addr> {
    // Connecting a datagram socket sends nothing; the kernel only looks up the route.
    let routed = match source_towards((Ipv4Addr::new(1, 1, 1, 1), 53).into()) {
        Some(IpAddr::V4(ip)) => Some(ip),
        _ => None,
    };
    routed
        .into_iter()
        .chain(local_v4(
            &fs::read_to_string("/proc/net/fib_trie").unwrap_or_default(),
        ))
        .find(|ip| !ip.is_loopback() && !ip.is_unspecified() && !ip.is_link_local())
}

fn first_global_v6() -> Option<Ipv6Addr> {
    // 2000::/3 are the global unicast addresses (RFC 4291 §2.4, IANA).
    match source_towards(
        (
            Ipv6Addr::new(0x2606, 0x4700, 0x4700, 0, 0, 0, 0, 0x1111),
            53,
        )
            .into(),
    ) {
        Some(IpAddr::V6(ip)) if ip.segments()[0] & 0xe000 == 0x2000 => Some(ip),
        _ => None,
    }
}

fn source_towards(far: SocketAddr) -> Option<IpAddr> {
    let any: IpAddr = match far {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0)).ok()?;
    socket.connect(far).ok()?;
    Some(socket.local_addr().ok()?.ip())
}

/// The host's own addresses in the kernel's routing trie: a leaf `|-- ADDRESS`, and below it `/32 host LOCAL`.
fn local_v4(trie: &str) -> Vec<Ipv4Addr> {
    let mut found = Vec::new();
    let mut leaf: Option<Ipv4Addr> = None;
    for line in trie.lines().map(str::trim) {
        if let Some(address) = line.strip_prefix("|-- ") {
            leaf = address.parse().ok();
        } else if line == "/32 host LOCAL" {
            found.extend(leaf);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_addresses_are_found_in_the_trie() {
        let trie = "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 0.0.0.0\n        /0 universe UNICAST\n     |-- 192.0.2.7\n        \
                    /32 host LOCAL\n     |-- 192.0.2.255\n        /32 link BROADCAST\n     |-- 127.0.0.1\n        /32 host LOCAL\n";
        let expected: [Ipv4Addr; 2] = [Ipv4Addr::new(192, 0, 2, 7), Ipv4Addr::LOCALHOST];
        assert_eq!(local_v4(trie), expected);
    }

    #[test]
    fn a_bound_address_is_advertised_as_it_is() {
        let bind: [IpAddr; 2] = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
        assert_eq!(to_advertise(&bind), bind);
        assert!(
            to_advertise(&[Ipv4Addr::UNSPECIFIED.into()])
                .iter()
                .all(|ip| !ip.is_loopback())
        );
    }
}
