use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::atomic::{AtomicU32, Ordering};

/// Hosts of a /16 without the first and the last, which other hosts take for the network itself and for everybody.
const HOSTS: u32 = 0xfffe;

/// Gives every peer an address, and every address a thread and a place there: by arithmetic, so that finding the peer of a
/// datagram is no search.
#[derive(Debug)]
pub(super) struct Addresses {
    network: u32,
    ports: Vec<u16>,
    next: AtomicU32,
}

impl Addresses {
    /// All hosts of `network`/16, dealt out to threads that listen on `ports`.
    pub(super) fn new(network: Ipv4Addr, ports: Vec<u16>) -> Self {
        Self {
            network: network.to_bits() & 0xffff_0000,
            ports,
            next: AtomicU32::new(0),
        }
    }

    /// The address that rested longest.
    pub(super) fn next(&self) -> SocketAddrV4 {
        let host = self.next.fetch_add(1, Ordering::Relaxed) % HOSTS;
        let port = self.ports[host as usize % self.ports.len()];
        SocketAddrV4::new(Ipv4Addr::from_bits(self.network + host + 1), port)
    }

    /// Which thread serves an address; `None` if it is none of ours.
    pub(super) fn thread(&self, address: SocketAddr) -> Option<usize> {
        let host = host(self.network, address)?;
        let thread = host as usize % self.ports.len();
        (self.ports.get(thread) == Some(&address.port())).then_some(thread)
    }

    /// Its place there; `None` if it is none of ours.
    pub(super) fn place(&self, address: SocketAddr) -> Option<usize> {
        Some(host(self.network, address)? as usize / self.ports.len())
    }
}

/// The same for one thread: from the address that a datagram was sent to, to the place of its peer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Places {
    network: u32,
    threads: u32,
}

impl Places {
    pub(super) fn new(network: Ipv4Addr, threads: usize) -> Self {
        Self {
            network: network.to_bits() & 0xffff_0000,
            threads: u32::try_from(threads).expect("a fleet has few threads"),
        }
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        (HOSTS / self.threads) as usize + 1
    }

    /// The place of `address`, within [`Places::count`]; `None` if it lies outside of the network.
    pub(super) fn of(&self, address: std::net::IpAddr) -> Option<usize> {
        let host = host(self.network, SocketAddr::new(address, 0))?;
        Some((host / self.threads) as usize)
    }
}

/// The host part, counted from zero.
fn host(network: u32, address: SocketAddr) -> Option<u32> {
    let SocketAddr::V4(address) = address else {
        return None;
    };
    let host = address.ip().to_bits().checked_sub(network + 1)?;
    (host < HOSTS).then_some(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_address_has_its_own_place_on_its_thread() {
        let network = Ipv4Addr::new(127, 64, 0, 0);
        let addresses = Addresses::new(network, vec![5000, 5001, 5002]);
        let places = Places::new(network, 3);
        let mut taken = std::collections::HashSet::new();
        for _ in 0..HOSTS {
            let address = SocketAddr::from(addresses.next());
            let thread = addresses.thread(address).unwrap();
            let place = addresses.place(address).unwrap();
            assert_eq!(address.port(), 5000 + thread as u16);
            assert_eq!(places.of(address.ip()), Some(place));
            assert!(place < places.count());
            assert!(taken.insert((thread, place)), "{address} twice");
        }
        assert_eq!(addresses.next().ip(), &Ipv4Addr::new(127, 64, 0, 1));
    }

    #[test]
    fn others_addresses_have_none() {
        let network = Ipv4Addr::new(10, 200, 3, 4);
        let addresses = Addresses::new(network, vec![5000]);
        for other in [
            "10.201.0.1:5000",
            "10.200.0.0:5000",
            "10.200.0.1:5001",
            "[::1]:5000",
        ] {
            assert_eq!(addresses.thread(other.parse().unwrap()), None, "{other}");
        }
        assert_eq!(
            addresses.thread("10.200.0.1:5000".parse().unwrap()),
            Some(0)
        );
    }
}
