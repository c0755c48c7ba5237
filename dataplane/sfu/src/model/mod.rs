//! What the engine knows: transports, publishers with their media and encodings, subscribers with their outgoing RTP
//! streams. Everything lives in slabs and refers to the rest by small keys; ids of the agent are looked up in commands only.

pub(crate) mod encoding;
pub(crate) mod exit;
pub(crate) mod layers;
pub(crate) mod observed;
pub(crate) mod packet;
pub(crate) mod policer;
pub(crate) mod publisher;
mod slab;
pub(crate) mod subscriber;
pub(crate) mod templates;
pub(crate) mod transport;

use std::net::{IpAddr, SocketAddr};

use clock::Rng;
use foldhash::SharedSeed;
use foldhash::quality::SeedableRandomState;
use hashbrown::HashMap;
use proto::srtp;

use crate::api::{ConnectionId, Kind, PublisherId, SubscriberId, TransportId};
use crate::cache::{Cache, Caches};
use crate::share::Connection;

pub(crate) use encoding::Encoding;
use exit::Exits;
pub(crate) use publisher::{Listener, Medium, Publisher};
pub(crate) use slab::Slab;
pub(crate) use subscriber::{Outgoing, Subscriber};
pub(crate) use transport::Transport;

pub(crate) type Map<K, V> = HashMap<K, V, SeedableRandomState>;

/// Where a datagram goes, and from which address of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Path {
    pub(crate) remote: SocketAddr,
    pub(crate) local: Option<IpAddr>,
}

/// All of it.
#[derive(Debug)]
pub(crate) struct Model {
    pub(crate) transports: Slab<Transport>,
    pub(crate) connections: Slab<Connection>,
    pub(crate) exits: Exits,
    /// What protects media, one for each transport with keys.
    pub(crate) contexts: srtp::Slab,
    pub(crate) publishers: Slab<Publisher>,
    pub(crate) media: Slab<Medium>,
    pub(crate) encodings: Slab<Encoding>,
    pub(crate) subscribers: Slab<Subscriber>,
    pub(crate) outgoing: Slab<Outgoing>,
    pub(crate) transport_keys: Map<TransportId, u32>,
    pub(crate) connection_keys: Map<ConnectionId, u32>,
    pub(crate) publisher_keys: Map<PublisherId, u32>,
    pub(crate) subscriber_keys: Map<SubscriberId, u32>,
    pub(crate) ufrags: Map<Box<[u8]>, u32>,
    /// Transports without a proven address, by the ufrag of their peer.
    pub(crate) awaited: Map<Box<[u8]>, u32>,
    /// Whose datagrams come from an address: the transport that a valid check came for.
    pub(crate) addresses: Map<SocketAddr, u32>,
    /// Who else sent a valid check from an address: its former owner, or whoever wants it of one that has proven it. The
    /// source of a check can be faked, so only a proof decides.
    claims: Map<SocketAddr, u32>,
}

impl Model {
    pub(crate) fn new(transports_max: usize, rng: &mut Rng) -> Self {
        let mut state =
            || SeedableRandomState::with_seed(rng.next_u64(), SharedSeed::global_fixed());
        Self {
            transports: Slab::with_capacity(transports_max),
            connections: Slab::with_capacity(transports_max),
            exits: Exits::with_capacity(transports_max),
            contexts: srtp::Slab::with_capacity(transports_max),
            publishers: Slab::default(),
            media: Slab::default(),
            encodings: Slab::default(),
            subscribers: Slab::with_capacity(transports_max),
            // A subscriber of sound and pictures each; there may be more.
            outgoing: Slab::with_capacity(transports_max.saturating_mul(2)),
            transport_keys: Map::with_hasher(state()),
            connection_keys: Map::with_hasher(state()),
            publisher_keys: Map::with_hasher(state()),
            subscriber_keys: Map::with_hasher(state()),
            ufrags: Map::with_hasher(state()),
            awaited: Map::with_hasher(state()),
            addresses: Map::with_hasher(state()),
            claims: Map::with_hasher(state()),
        }
    }

    /// Makes room for so many more addresses of peers, and for one of each transport that has none yet.
    pub(crate) fn reserve_addresses(&mut self, count: usize) {
        let unheard = self.transports.len().saturating_sub(self.addresses.len());
        self.addresses.reserve(unheard + count);
        self.claims.reserve(count);
    }

    pub(crate) fn transport_key(&self, id: TransportId) -> Option<u32> {
        self.transport_keys.get(&id).copied()
    }

    /// The connection of that name, or a new one.
    pub(crate) fn connection(&mut self, id: Option<ConnectionId>) -> u32 {
        let known = id.and_then(|id| self.connection_keys.get(&id));
        if let Some(&known) = known {
            return known;
        }
        let key = self.connections.insert(Connection::new(id));
        if let Some(id) = id {
            self.connection_keys.insert(id, key);
        }
        key
    }

    /// A transport leaves its connection, which ends with its last one.
    pub(crate) fn leave_connection(&mut self, transport: u32, connection: u32) {
        let transports = &mut self.connections[connection].transports;
        transports.retain(|key| *key != transport);
        if transports.is_empty()
            && let Some(Connection { id: Some(id), .. }) = self.connections.remove(connection)
        {
            self.connection_keys.remove(&id);
        }
    }

    /// Lets the RTP streams of a subscriber listen to the media of its publisher, in order, by kind.
    pub(crate) fn bind(&mut self, subscriber: u32) {
        let Some(publisher) = self
            .publisher_keys
            .get(&self.subscribers[subscriber].publisher)
        else {
            return;
        };
        let mut taken = [0_usize; 2];
        for &outgoing in &self.subscribers[subscriber].outgoing {
            let stream = &mut self.outgoing[outgoing];
            let nth = &mut taken[usize::from(stream.kind == Kind::Video)];
            let media = &self.publishers[*publisher].media;
            let found = media
                .iter()
                .filter(|key| self.media[**key].kind == stream.kind)
                .nth(*nth);
            *nth += 1;
            if let Some(&medium) = found
                && stream.medium.is_none()
            {
                let of = &mut self.media[medium];
                let is_lossy = self.transports[stream.transport].lossy_until.is_some();
                let wants = stream.begin(medium, of, is_lossy);
                stream.listens_at = of.listen(Listener {
                    outgoing,
                    transport: stream.transport,
                    wants,
                });
            }
        }
    }

    /// An RTP stream no longer listens to its medium.
    pub(crate) fn unbind(&mut self, outgoing: u32) {
        let stream = &mut self.outgoing[outgoing];
        let at = stream.listens_at;
        let Some(medium) = stream.medium.take() else {
            return;
        };
        if let Some(moved) = self.media[medium].unlisten(at) {
            self.outgoing[moved.outgoing].listens_at = at;
        }
    }

    /// The encodings of everything published on a transport.
    pub(crate) fn encodings_of<'a>(
        &'a self,
        transport: &'a Transport,
    ) -> impl Iterator<Item = u32> + 'a {
        transport
            .publishers
            .iter()
            .flat_map(|publisher| &self.publishers[*publisher].media)
            .flat_map(|medium| &self.media[*medium].encodings)
            .copied()
    }

    /// The ufrag of a peer is known before its address is.
    pub(crate) fn await_peer(&mut self, transport: u32, ufrag: &str) {
        self.stop_awaiting(transport);
        let one = &mut self.transports[transport];
        if one.selected.is_none() {
            let ufrag: Box<[u8]> = ufrag.as_bytes().into();
            one.standing.awaited = Some(ufrag.clone());
            self.awaited.insert(ufrag, transport);
        }
    }

    /// An address of the peer is proven, or it is given up.
    pub(crate) fn stop_awaiting(&mut self, transport: u32) {
        let ufrag = self.transports[transport].standing.awaited.take();
        if let Some(ufrag) = ufrag
            && self.awaited.get(&ufrag) == Some(&transport)
        {
            self.awaited.remove(&ufrag);
        }
    }

    /// A valid check for `transport` came from `address`, and its agent remembers the address.
    pub(crate) fn claim_address(&mut self, address: SocketAddr, transport: u32) {
        let owner = self.addresses.get(&address).copied();
        let is_proven = |owner: u32| self.transports[owner].ice.is_proven(address);
        match owner {
            Some(owner) if owner == transport => {}
            Some(owner) if is_proven(owner) => {
                self.claims.insert(address, transport);
            }
            _ => {
                // Whoever was asked there may still answer.
                if let Some(former) = self.addresses.insert(address, transport) {
                    self.claims.insert(address, former);
                }
            }
        }
    }

    /// Whose question a response from `address` may answer.
    pub(crate) fn asked(&self, address: SocketAddr) -> [Option<u32>; 2] {
        let (owner, claimant) = (self.addresses.get(&address), self.claims.get(&address));
        [owner.copied(), claimant.copied()]
    }

    /// `transport` got an answer from `address`.
    pub(crate) fn prove_address(&mut self, address: SocketAddr, transport: u32) {
        self.addresses.insert(address, transport);
        if self.claims.get(&address) == Some(&transport) {
            self.claims.remove(&address);
        }
    }

    /// Datagrams from `address` are a stranger's again, unless they are another transport's.
    pub(crate) fn forget_address(&mut self, address: SocketAddr, transport: u32) {
        for map in [&mut self.addresses, &mut self.claims] {
            if map.get(&address) == Some(&transport) {
                map.remove(&address);
            }
        }
    }
}

impl Caches for Slab<Encoding> {
    fn cache(&mut self, encoding: u32) -> Option<&mut Cache> {
        self.get_mut(encoding).map(|encoding| &mut encoding.cache)
    }
}
