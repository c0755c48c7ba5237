//! The sockets of single peers: which file of the ring is whose.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use clock::Instant;
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use io_uring::types::Fixed;

use crate::PeerSocket;
use crate::socket::Segmentation;

/// A peer, packed so that comparing and hashing is a few instructions: address, port, scope, family.
type Key = [u64; 3];

#[derive(Clone, Copy, Debug)]
struct Place {
    local: IpAddr,
    place: usize,
    /// When a burst short enough for the peer's socket was last sent to the peer, by whatever socket.
    sent: Instant,
}

/// Sockets by peer. A peer has one at most.
#[derive(Debug)]
pub(super) struct Peers {
    by_address: HashMap<Key, Place, RandomState>,
    free: Vec<usize>,
    /// Places without a peer whose files something that is queued may still use.
    leaving: Vec<usize>,
    segmentation: Box<[Segmentation]>,
    /// The file of place zero.
    first_file: u32,
    /// So long after the last such send the peer's socket is used.
    idle_max: Duration,
}

impl Peers {
    /// Room for `most` peers, whose files begin at `first_file`, and whose sockets are used up to `idle_max` after the last short send.
    pub(super) fn new(first_file: u32, most: usize, idle_max: Duration) -> Self {
        Self {
            // Grows when a peer joins, not before: a table for thousands, with few in it, is a cache miss for every send.
            by_address: HashMap::with_hasher(RandomState::default()),
            free: (0..most).rev().collect(),
            leaving: Vec::with_capacity(most),
            segmentation: vec![Segmentation::default(); most].into_boxed_slice(),
            first_file,
            idle_max,
        }
    }

    /// The place of the socket by which a short burst leaves now for `remote` from `local`: none if the peer has no such socket, and
    /// none if the last short one to it is so long ago that what the kernel needs of the socket has left the caches. Fetching that costs
    /// more than the listener's looking the route up.
    #[inline]
    pub(super) fn warm(
        &mut self,
        remote: SocketAddr,
        local: Option<IpAddr>,
        now: Instant,
    ) -> Option<usize> {
        if self.by_address.is_empty() {
            return None;
        }
        let found = self.by_address.get_mut(&key(remote))?;
        let before = core::mem::replace(&mut found.sent, now);
        (Some(found.local) == local && now - before <= self.idle_max).then_some(found.place)
    }

    /// The place of the socket that sends to `remote` from `local`.
    #[cfg(test)]
    fn find(&self, remote: SocketAddr, local: Option<IpAddr>) -> Option<usize> {
        let found = self.by_address.get(&key(remote))?;
        (Some(found.local) == local).then_some(found.place)
    }

    /// How many peers there is room for.
    pub(super) fn most(&self) -> usize {
        self.segmentation.len()
    }

    /// The file of a place.
    pub(super) fn file(&self, place: usize) -> Fixed {
        Fixed(self.first_file + place as u32)
    }

    pub(super) fn segmentation(&mut self, place: usize) -> &mut Segmentation {
        &mut self.segmentation[place]
    }

    /// A place for a socket: that of the one that it replaces, or a free one; `None` if there is none.
    pub(super) fn add(&mut self, socket: &PeerSocket) -> Option<usize> {
        let former = self.by_address.get(&key(socket.remote()));
        let place = former
            .map(|former| former.place)
            .or_else(|| self.free.pop())?;
        let added = Place {
            local: socket.local(),
            place,
            sent: Instant::ZERO,
        };
        self.by_address.insert(key(socket.remote()), added);
        self.segmentation[place] = Segmentation::default();
        Some(place)
    }

    /// Forgets the socket of a peer; its place, which is free from now on.
    pub(super) fn remove(&mut self, remote: SocketAddr) -> Option<usize> {
        let found = self.by_address.remove(&key(remote))?;
        self.free.push(found.place);
        Some(found.place)
    }

    /// The same while something that is queued may use the socket: its place is free after [`Peers::next_leaving`].
    pub(super) fn leave(&mut self, remote: SocketAddr) {
        if let Some(found) = self.by_address.remove(&key(remote)) {
            self.leaving.push(found.place);
        }
    }

    /// A place that a peer has left and that is free from now on; to be called when nothing is queued.
    pub(super) fn next_leaving(&mut self) -> Option<usize> {
        let place = self.leaving.pop()?;
        self.free.push(place);
        Some(place)
    }
}

fn key(address: SocketAddr) -> Key {
    match address {
        SocketAddr::V4(v4) => [u64::from(v4.ip().to_bits()), u64::from(v4.port()), 4],
        SocketAddr::V6(v6) => {
            let bits = v6.ip().to_bits();
            let port_and_scope = u64::from(v6.port()) << 32 | u64::from(v6.scope_id());
            [(bits >> 64) as u64, bits as u64, port_and_scope << 8 | 6]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_tell_addresses_apart() {
        let addresses = [
            "192.0.2.1:1",
            "192.0.2.1:2",
            "192.0.2.2:1",
            "[2001:db8::1]:1",
            "[2001:db8::1]:2",
            "[2001:db8::2]:1",
            "[2001:db8:1::1]:1",
            "[fe80::1%1]:1",
            "[fe80::1%2]:1",
        ];
        let mut keys: Vec<_> = addresses
            .iter()
            .map(|address| key(address.parse().unwrap()))
            .collect();
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), addresses.len());
    }

    #[test]
    fn places_are_used_again() {
        let mut peers = Peers::new(3, 2, Duration::from_millis(2));
        let local: IpAddr = [127, 0, 0, 1].into();
        let remote = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
        // The port that these send from does not matter here; nobody listens on it.
        let socket = |port| PeerSocket::connect(9, remote(port), local, 4096, 0).unwrap();
        let first = peers.add(&socket(1)).unwrap();
        assert_eq!(peers.find(remote(1), Some(local)), Some(first));
        assert_eq!(peers.find(remote(1), None), None);
        assert_eq!(peers.add(&socket(1)), Some(first), "replaced");
        let second = peers.add(&socket(2)).unwrap();
        assert_ne!(peers.file(first).0, peers.file(second).0);
        assert_eq!(peers.add(&socket(3)), None, "full");
        assert_eq!(peers.remove(remote(1)), Some(first));
        assert_eq!(peers.remove(remote(1)), None);
        assert_eq!(peers.find(remote(1), Some(local)), None);
        assert_eq!(peers.add(&socket(3)), Some(first));
        peers.leave(remote(3));
        assert_eq!(peers.find(remote(3), Some(local)), None);
        assert_eq!(peers.add(&socket(4)), None, "not free yet");
        assert_eq!(peers.next_leaving(), Some(first));
        assert_eq!(peers.next_leaving(), None);
        assert_eq!(peers.add(&socket(4)), Some(first));
    }

    #[test]
    fn a_socket_is_used_soon_after_another_send_only() {
        let mut peers = Peers::new(3, 1, Duration::from_millis(2));
        let local: IpAddr = [127, 0, 0, 1].into();
        let remote = SocketAddr::from(([127, 0, 0, 1], 1));
        let at = |micros| Instant::from_millis(100) + Duration::from_micros(micros);
        assert_eq!(peers.warm(remote, Some(local), at(0)), None, "nobody's");
        let socket = PeerSocket::connect(9, remote, local, 4096, 0).unwrap();
        let place = peers.add(&socket);
        let mut used = |micros, from| peers.warm(remote, from, at(micros));
        assert_eq!(used(0, Some(local)), None, "nothing was sent yet");
        assert_eq!(used(2_000, Some(local)), place);
        assert_eq!(used(2_000, Some(local)), place, "in the same batch");
        assert_eq!(used(4_001, Some(local)), None, "too late");
        assert_eq!(used(4_002, None), None, "from another address");
        assert_eq!(used(6_000, Some(local)), place);
    }
}
