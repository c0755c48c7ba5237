//! DTLS handshakes, away from the packets: datagrams in, datagrams and keys out.
//!
//! One association per transport, begun by the first datagram. The keys of a finished handshake are given out before the
//! flight that lets the peer send media; whoever queues both keeps that order.

use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;

use clock::Instant;
use proto::dtls::{Certificate, CloseReason, Config, Fingerprint, Handshake, Output};
use proto::srtp::KeyingMaterial;
use sfu::api::TransportId;

/// Most handshakes under way at once. A datagram that would begin one more is dropped; its sender will repeat it.
pub const OPEN_MAX: usize = 512;

/// What a handshake wants done.
#[derive(Debug)]
pub enum Deed {
    /// Send this to the peer.
    Send(Vec<u8>),
    /// Media may flow with these keys. The peer's last flight came from `address`.
    KeysReady {
        /// The keys.
        keys: Box<KeyingMaterial>,
        /// Where the peer is.
        address: SocketAddr,
    },
    /// The association is over.
    Closed(CloseReason),
}

/// How far a handshake is that is not over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// No datagram has come.
    Unbegun,
    /// Flights go to and fro.
    UnderWay,
    /// It is complete, and which certificate the peer should have is not known.
    AwaitsFingerprint,
}

/// The associations of all transports.
pub struct Handshakes {
    certificate: Certificate,
    config: Config,
    epoch: std::time::Instant,
    table: HashMap<TransportId, Association>,
    timers: BTreeSet<(Instant, TransportId)>,
    open: usize,
    /// Datagrams dropped because of [`OPEN_MAX`].
    pub deferred: u64,
}

#[derive(Default)]
struct Association {
    /// For the handshake, which has it as soon as there is one.
    expected: Vec<Fingerprint>,
    /// Begun by the first datagram. Boxed: it is large, and a hash table has room for twice as many as there are.
    handshake: Option<Box<Handshake>>,
    from: Option<SocketAddr>,
    timer: Option<Instant>,
    /// It counts among the open ones.
    open: bool,
}

impl Handshakes {
    /// `epoch` is the reading of the system's monotonic clock that [`Instant::ZERO`] stands for.
    pub fn new(certificate: Certificate, config: Config, epoch: std::time::Instant) -> Self {
        Self {
            certificate,
            config,
            epoch,
            table: HashMap::new(),
            timers: BTreeSet::new(),
            open: 0,
            deferred: 0,
        }
    }

    /// The value for `a=fingerprint:sha-256`.
    pub fn fingerprint(&self) -> String {
        self.certificate.fingerprint_sha256()
    }

    /// Handshakes under way.
    pub fn open(&self) -> usize {
        self.open
    }

    /// A transport is there, and datagrams may come.
    pub fn add(&mut self, transport: TransportId) {
        self.table.insert(transport, Association::default());
    }

    /// The transport is gone. Answers the good-bye to its peer, if there is one to say.
    pub fn remove(&mut self, now: Instant, transport: TransportId) -> Vec<Deed> {
        let Some(mut association) = self.table.remove(&transport) else {
            return Vec::new();
        };
        if let Some(due) = association.timer {
            self.timers.remove(&(due, transport));
        }
        self.open -= usize::from(association.open);
        let Some(handshake) = &mut association.handshake else {
            return Vec::new();
        };
        handshake.close(now);
        let mut farewell = deeds(handshake, association.from);
        farewell.retain(|deed| matches!(deed, Deed::Send(_)));
        farewell
    }

    /// The peer's certificate must have one of these fingerprints.
    pub fn expect(
        &mut self,
        now: Instant,
        transport: TransportId,
        fingerprints: Vec<Fingerprint>,
    ) -> Vec<Deed> {
        let Some(association) = self.table.get_mut(&transport) else {
            return Vec::new();
        };
        match &mut association.handshake {
            Some(handshake) => handshake.set_remote_fingerprints(now, &fingerprints),
            None => association.expected = fingerprints,
        }
        self.drain(transport)
    }

    /// A datagram has come, from an address that passed a check.
    pub fn on_datagram(
        &mut self,
        now: Instant,
        transport: TransportId,
        from: SocketAddr,
        datagram: &[u8],
    ) -> Vec<Deed> {
        let Some(association) = self.table.get_mut(&transport) else {
            return Vec::new();
        };
        if association.handshake.is_none() {
            if self.open >= OPEN_MAX {
                self.deferred += 1;
                return Vec::new();
            }
            let mut handshake = Handshake::server(now, self.epoch, &self.certificate, &self.config);
            let expected = std::mem::take(&mut association.expected);
            if !expected.is_empty() {
                handshake.set_remote_fingerprints(now, &expected);
            }
            association.handshake = Some(Box::new(handshake));
            association.open = true;
            self.open += 1;
        }
        association.from = Some(from);
        if let Some(handshake) = &mut association.handshake {
            handshake.on_datagram(now, datagram);
        }
        self.drain(transport)
    }

    /// How far the handshake of a transport is.
    pub fn progress(&self, transport: TransportId) -> Progress {
        let association = self.table.get(&transport);
        match association.and_then(|association| association.handshake.as_deref()) {
            None => Progress::Unbegun,
            Some(handshake) if handshake.awaits_fingerprint() => Progress::AwaitsFingerprint,
            Some(_) => Progress::UnderWay,
        }
    }

    /// When something is due.
    pub fn deadline(&self) -> Option<Instant> {
        self.timers.first().map(|(due, _)| *due)
    }

    /// Repeats what is due, and gives up what took too long.
    pub fn on_timeout(&mut self, now: Instant) -> Vec<(TransportId, Vec<Deed>)> {
        let mut done = Vec::new();
        while let Some((due, transport)) =
            self.timers.first().copied().filter(|(due, _)| *due <= now)
        {
            self.timers.remove(&(due, transport));
            let Some(association) = self.table.get_mut(&transport) else {
                continue;
            };
            association.timer = None;
            if let Some(handshake) = &mut association.handshake {
                handshake.on_timeout(now);
            }
            done.push((transport, self.drain(transport)));
        }
        done
    }

    fn drain(&mut self, transport: TransportId) -> Vec<Deed> {
        let Some(association) = self.table.get_mut(&transport) else {
            return Vec::new();
        };
        let Some(handshake) = &mut association.handshake else {
            return Vec::new();
        };
        let deeds = deeds(handshake, association.from);
        let over =
            handshake.is_connected() || deeds.iter().any(|deed| matches!(deed, Deed::Closed(_)));
        if over && association.open {
            association.open = false;
            self.open -= 1;
        }
        let due = handshake.deadline();
        if due != association.timer {
            if let Some(before) = association.timer {
                self.timers.remove(&(before, transport));
            }
            self.timers.extend(due.map(|due| (due, transport)));
            association.timer = due;
        }
        deeds
    }
}

fn deeds(handshake: &mut Handshake, from: Option<SocketAddr>) -> Vec<Deed> {
    let mut deeds = Vec::new();
    while let Some(output) = handshake.poll() {
        match output {
            Output::Datagram(datagram) => deeds.push(Deed::Send(datagram)),
            Output::KeysReady(keys) => deeds.push(Deed::KeysReady {
                keys: Box::new(keys),
                address: from.expect("a handshake that finishes has heard of its peer"),
            }),
            // The certificate is compared inside; `Connected` says nothing that the keys did not.
            Output::PeerCertificate { .. } | Output::Connected => {}
            Output::Closed(reason) => deeds.push(Deed::Closed(reason)),
        }
    }
    deeds
}
