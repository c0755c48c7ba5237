//! Which peers have a socket of their own to be sent to by, and which are to have one.
//!
//! Sans-IO: the paths of transports in, sockets to make and to give up out. A socket only saves time: a transport without
//! one, or with one for a path that it has left, is sent to by the listener. So nothing here need be in step with the engine.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};

use sfu::api::TransportId;

/// Most sockets that are made for one transport in its life. A peer that keeps changing its path does not keep us busy.
const SOCKETS_MAX: u8 = 16;

/// Something to do about a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerOrder {
    /// Make one for this worker.
    Attach {
        /// The worker.
        worker: u16,
        /// The peer.
        remote: SocketAddr,
        /// The address of ours that the peer uses.
        local: IpAddr,
    },
    /// Give up this worker's socket to a peer.
    Detach {
        /// The worker.
        worker: u16,
        /// The peer.
        remote: SocketAddr,
    },
}

/// The paths that have sockets.
#[derive(Debug, Default)]
pub struct Peers {
    of: HashMap<TransportId, Known>,
    owners: HashMap<(u16, SocketAddr), TransportId>,
    orders: VecDeque<PeerOrder>,
}

#[derive(Debug)]
struct Known {
    worker: u16,
    remote: SocketAddr,
    made: u8,
}

impl Peers {
    /// Media of a transport goes to `remote` from now on, and comes from `local`.
    pub fn on_path(
        &mut self,
        worker: u16,
        transport: TransportId,
        remote: SocketAddr,
        local: IpAddr,
    ) {
        let made = self.of.get(&transport).map_or(0, |known| known.made);
        self.give_up(transport);
        if made < SOCKETS_MAX {
            let order = PeerOrder::Attach {
                worker,
                remote,
                local,
            };
            self.owners.insert((worker, remote), transport);
            self.orders.push_back(order);
        }
        let known = Known {
            worker,
            remote,
            made: made.saturating_add(1),
        };
        self.of.insert(transport, known);
    }

    /// A transport has ended.
    pub fn on_closed(&mut self, transport: TransportId) {
        self.give_up(transport);
        self.of.remove(&transport);
    }

    /// Where the peer of a transport is, if that was heard.
    pub fn remote(&self, transport: TransportId) -> Option<SocketAddr> {
        self.of.get(&transport).map(|known| known.remote)
    }

    /// What is to be done next.
    pub fn poll(&mut self) -> Option<PeerOrder> {
        self.orders.pop_front()
    }

    fn give_up(&mut self, transport: TransportId) {
        let Some(known) = self.of.get(&transport) else {
            return;
        };
        let (worker, remote) = (known.worker, known.remote);
        // Another transport may have come to the same address since; then the socket is its own.
        if self.owners.get(&(worker, remote)) == Some(&transport) {
            self.owners.remove(&(worker, remote));
            self.orders.push_back(PeerOrder::Detach { worker, remote });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCAL: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn remote(port: u16) -> SocketAddr {
        ([192, 0, 2, 1], port).into()
    }

    fn attach(port: u16) -> PeerOrder {
        PeerOrder::Attach {
            worker: 0,
            remote: remote(port),
            local: LOCAL,
        }
    }

    fn detach(port: u16) -> PeerOrder {
        PeerOrder::Detach {
            worker: 0,
            remote: remote(port),
        }
    }

    fn orders(peers: &mut Peers) -> Vec<PeerOrder> {
        std::iter::from_fn(|| peers.poll()).collect()
    }

    #[test]
    fn a_socket_follows_the_path_and_ends_with_the_transport() {
        let mut peers = Peers::default();
        peers.on_path(0, TransportId(1), remote(1), LOCAL);
        peers.on_path(0, TransportId(1), remote(2), LOCAL);
        peers.on_closed(TransportId(1));
        peers.on_closed(TransportId(1));
        assert_eq!(
            orders(&mut peers),
            [attach(1), detach(1), attach(2), detach(2)]
        );
        assert!(peers.of.is_empty() && peers.owners.is_empty());
    }

    #[test]
    fn an_address_that_went_to_another_keeps_its_socket() {
        let mut peers = Peers::default();
        peers.on_path(0, TransportId(1), remote(1), LOCAL);
        peers.on_path(0, TransportId(2), remote(1), LOCAL);
        peers.on_closed(TransportId(1));
        assert_eq!(orders(&mut peers), [attach(1), attach(1)]);
        peers.on_closed(TransportId(2));
        assert_eq!(orders(&mut peers), [detach(1)]);
    }

    #[test]
    fn a_restless_peer_ends_up_with_the_listener() {
        let mut peers = Peers::default();
        for change in 0..1000 {
            peers.on_path(0, TransportId(1), remote(change), LOCAL);
        }
        let orders = orders(&mut peers);
        let made = orders.iter().filter(|order| **order != detach(0));
        assert!(made.count() <= 2 * usize::from(SOCKETS_MAX));
        assert_eq!(orders.last(), Some(&detach(u16::from(SOCKETS_MAX) - 1)));
    }
}
