use std::net::{IpAddr, SocketAddr};

use clock::Instant;
use proto::demux::{self, Packet};

use super::PeerId;
use super::association::{Association, Progress};
use super::outbox::Outbox;
use super::publisher::Publisher;
use super::registry::{Failure, PeerState};
use super::subscriber::{Subscriber, Way};
use super::thread::{NewPeer, Role, Shared};

/// One simulated browser's transport.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) id: PeerId,
    /// What the timer of this peer is set to.
    pub(super) wake: Instant,
    local: IpAddr,
    begun: Instant,
    is_connected: bool,
    association: Association,
    side: Side,
}

#[derive(Debug)]
enum Side {
    Publisher(Box<Publisher>),
    Subscriber(Box<Subscriber>),
}

impl Peer {
    /// A peer that has begun: a keyed one is connected at once.
    pub(super) fn new(now: Instant, new: NewPeer, shared: &mut Shared) -> Self {
        let local = new.id.local.ip();
        let side = match new.role {
            Role::Publisher(plan) => {
                let is_silent = shared.settings.silent;
                Side::Publisher(Box::new(Publisher::new(plan, is_silent, &mut shared.rng)))
            }
            Role::Subscriber(plan) => {
                Side::Subscriber(Box::new(Subscriber::new(now, plan, shared)))
            }
        };
        let (association, progress) = Association::new(
            now,
            local,
            new.association,
            &shared.handshakes,
            &mut shared.rng,
        );
        let mut peer = Self {
            id: new.id,
            wake: Instant::FAR_FUTURE,
            local,
            begun: now,
            is_connected: false,
            association,
            side,
        };
        shared.counters.peers += 1;
        peer.advance(now, progress, shared);
        peer
    }

    /// Begins the media of a publisher who has been silent so far.
    pub(super) fn speak(&mut self) {
        if let Side::Publisher(publisher) = &mut self.side {
            publisher.speak();
        }
    }

    /// Ends the media of a publisher.
    pub(super) fn hush(&mut self) {
        if let Side::Publisher(publisher) = &mut self.side {
            publisher.hush();
        }
    }

    /// From now on it counts as unchecked.
    pub(super) fn begin_checks(&mut self) {
        if let Side::Subscriber(subscriber) = &mut self.side {
            subscriber.begin_checks();
        }
    }

    /// Takes a datagram. Says whether the timer may have to be set anew.
    pub(super) fn on_datagram(
        &mut self,
        now: Instant,
        datagram: &mut [u8],
        (source, arrival): (SocketAddr, Instant),
        out: &mut Outbox,
        shared: &mut Shared,
    ) -> bool {
        if source != self.association.remote() {
            shared.counters.stray += 1;
            return false;
        }
        match demux::classify(datagram) {
            Packet::Rtp => match &mut self.side {
                Side::Subscriber(subscriber) => subscriber.on_rtp(datagram, arrival, now, shared),
                Side::Publisher(_) => {
                    shared.counters.stray += 1;
                    false
                }
            },
            Packet::Rtcp => {
                let mut way = Way {
                    local: self.local,
                    remote: source,
                    out,
                };
                match &mut self.side {
                    Side::Subscriber(subscriber) => subscriber.on_rtcp(datagram, arrival, shared),
                    Side::Publisher(publisher) => publisher.on_rtcp(datagram, &mut way, shared),
                }
                true
            }
            Packet::Stun => {
                let handshakes = &shared.handshakes;
                let progress = self
                    .association
                    .on_stun(now, datagram, source, handshakes, out);
                self.advance(now, progress, shared);
                true
            }
            Packet::Dtls => {
                let handshakes = &shared.handshakes;
                let progress = self.association.on_dtls(now, datagram, handshakes, out);
                self.advance(now, progress, shared);
                true
            }
            Packet::Other => {
                shared.counters.stray += 1;
                false
            }
        }
    }

    /// Does what is due.
    pub(super) fn on_timeout(&mut self, now: Instant, out: &mut Outbox, shared: &mut Shared) {
        if self.association.deadline().is_some_and(|due| due <= now) {
            let progress = self.association.on_timeout(now, &shared.handshakes, out);
            self.advance(now, progress, shared);
        }
        let rtt = self.association.rtt();
        let mut way = Way {
            local: self.local,
            remote: self.association.remote(),
            out,
        };
        match &mut self.side {
            Side::Publisher(publisher) => publisher.on_timeout(now, &mut way, shared),
            Side::Subscriber(subscriber) => subscriber.on_timeout(now, rtt, &mut way, shared),
        }
    }

    /// When [`Peer::on_timeout`] is due.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let media = match &self.side {
            Side::Publisher(publisher) => publisher.deadline(),
            Side::Subscriber(subscriber) => subscriber.deadline(),
        };
        [self.association.deadline(), media]
            .into_iter()
            .flatten()
            .min()
    }

    /// It is being removed: what it contributed to gauges goes.
    pub(super) fn retire(&mut self, shared: &mut Shared) {
        shared.counters.peers -= 1;
        shared.counters.connected -= u64::from(self.is_connected);
        if let Side::Subscriber(subscriber) = &mut self.side {
            subscriber.retire(shared);
        }
    }

    fn advance(&mut self, now: Instant, progress: Option<Progress>, shared: &mut Shared) {
        match progress {
            None => {}
            Some(Progress::Keys(keys)) => {
                let connected = match &mut self.side {
                    Side::Publisher(publisher) => publisher.connect(now, &keys, shared),
                    Side::Subscriber(subscriber) => subscriber.connect(now, &keys, shared),
                };
                if !connected {
                    return self.fail(Failure::Keys, shared);
                }
                self.is_connected = true;
                let took = now.saturating_since(self.begun);
                shared.counters.connected += 1;
                shared.counters.joined += 1;
                shared
                    .counters
                    .join
                    .saturating_record(took.as_micros() as u64);
                shared.registry.set(self.id, PeerState::Connected(took));
            }
            Some(Progress::Failed(failure)) => self.fail(failure, shared),
        }
    }

    fn fail(&mut self, failure: Failure, shared: &mut Shared) {
        match failure {
            Failure::Ice | Failure::ConsentLost => shared.counters.ice_failures += 1,
            _ => shared.counters.dtls_failures += 1,
        }
        tracing::warn!(peer = %self.id.local, %failure, "a simulated browser gave up");
        if self.is_connected {
            self.is_connected = false;
            shared.counters.connected -= 1;
        }
        shared.registry.set(self.id, PeerState::Failed(failure));
    }
}
