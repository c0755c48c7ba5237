//! A small browser end: a socket, ICE's controlling side, SRTP with keys that were simply given.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::net::UdpSocket;

use clock::{Instant, Rng};
use proto::ice::controlling::{Config as IceConfig, Controlling};
use proto::ice::{Credentials, Output};
use proto::rtcp::{self, Writer};
use proto::rtp::{Element, Fields, Header, write_header};
use proto::srtp::{Inbound, KeyingMaterial, Outbound, Profile};
use proto::stun::{MAX_RESPONSE_LEN, Message};
use sfu::api::{Command, TransportId, TransportSpec};

use crate::node::Node;

pub struct Peer {
    pub id: TransportId,
    socket: UdpSocket,
    ice: Controlling,
    node: std::net::SocketAddr,
    keys: KeyingMaterial,
    inbound: Inbound,
    outbound: Outbound,
    indices: HashMap<u32, u64>,
    sending: Vec<u8>,
}

/// What came that is not ICE's.
pub enum Arrival<'a> {
    /// Its header is in the clear, and all that is looked at.
    Rtp(Header),
    /// Decrypted.
    Rtcp(&'a [u8]),
}

impl Peer {
    /// A transport on the node and its peer.
    pub fn join(node: &mut Node, id: u64, rng: &mut Rng) -> Self {
        let (theirs, own) = (Credentials::generate(rng), Credentials::generate(rng));
        let profile = Profile::AeadAes128Gcm;
        let mut exported = vec![0; profile.exporter_len()];
        rng.fill(&mut exported);
        let keys = KeyingMaterial::from_exporter(profile, &exported, true).expect("long enough");
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
        socket.connect(node.address).expect("connected");
        socket.set_nonblocking(true).expect("set");
        node.order(Command::AddTransport(Box::new(TransportSpec {
            id: TransportId(id),
            connection: None,
            local_ufrag: theirs.ufrag().into(),
            local_pwd: theirs.password().into(),
            remote: Some((own.ufrag().into(), own.password().into())),
        })));
        let ice = Controlling::new(
            node.now(),
            own,
            theirs,
            node.address,
            IceConfig::default(),
            rng.fork(),
        );
        Self {
            id: TransportId(id),
            socket,
            ice: ice.expect("good credentials"),
            node: node.address,
            inbound: Inbound::new(&keys.remote).expect("keys"),
            outbound: Outbound::new(&keys.local).expect("keys"),
            keys,
            indices: HashMap::new(),
            sending: vec![0; 1500],
        }
    }

    /// The handshake, as far as the engine knows of it.
    pub fn give_keys(&self, node: &mut Node) {
        node.order(Command::KeysReady {
            transport: self.id,
            keys: Box::new(self.keys.mirrored()),
        });
    }

    pub fn address(&self) -> std::net::SocketAddr {
        self.socket.local_addr().expect("bound")
    }

    pub fn is_connected(&self) -> bool {
        self.ice.is_connected()
    }

    /// Sends the checks that are due, and takes everything that has come.
    pub fn pump(&mut self, now: Instant, mut taken: impl FnMut(Arrival<'_>)) {
        if self.ice.deadline().is_some_and(|due| due <= now) {
            self.ice.on_timeout(now);
        }
        while let Some(output) = self.ice.poll() {
            if let Output::Send { datagram, .. } = output {
                self.put(&datagram);
            }
        }
        let mut buffer = [0; 2048];
        loop {
            let len = match self.socket.recv(&mut buffer) {
                Ok(len) => len,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) => panic!("receive: {error}"),
            };
            self.take(now, &mut buffer[..len], &mut taken);
        }
    }

    fn take(&mut self, now: Instant, datagram: &mut [u8], taken: &mut impl FnMut(Arrival<'_>)) {
        match (datagram[0], datagram[1]) {
            (0..=3, _) => {
                let message = Message::parse(datagram).expect("STUN");
                let mut response = [0; MAX_RESPONSE_LEN];
                let answered = self.ice.on_message(now, &message, self.node, &mut response);
                if let Ok(len @ 1..) = answered {
                    self.put(&response[..len]);
                }
            }
            (_, 192..=223) => {
                let len = self.inbound.unprotect_rtcp(datagram).expect("authentic");
                taken(Arrival::Rtcp(&datagram[..len]));
            }
            _ => taken(Arrival::Rtp(Header::parse(datagram).expect("RTP"))),
        }
    }

    /// Sends RTP; `is_lost` loses it on the way.
    pub fn send_rtp(
        &mut self,
        fields: &Fields,
        elements: &[Element<'_>],
        payload: &[u8],
        is_lost: bool,
    ) {
        let mut header = [0; 128];
        let len = write_header(&mut header, fields, elements).expect("fits");
        let before = self.indices.get(&fields.ssrc).copied();
        let index = before.map_or(u64::from(fields.sequence), |before| {
            proto::rtp::sequence::nearest(before, fields.sequence)
        });
        self.indices
            .insert(fields.ssrc, index.max(before.unwrap_or(0)));
        let mut out = std::mem::take(&mut self.sending);
        let len = self
            .outbound
            .protect_rtp(index, fields.ssrc, &header[..len], &[], payload, &mut out)
            .expect("a new index");
        if !is_lost {
            self.put(&out[..len]);
        }
        self.sending = out;
    }

    /// Sends RTCP.
    pub fn send_rtcp(&mut self, write: impl FnOnce(&mut Writer<'_>) -> Result<(), rtcp::Full>) {
        let mut plain = [0; 1200];
        let mut writer = Writer::new(&mut plain);
        write(&mut writer).expect("fits");
        let len = writer.len();
        let mut out = [0; 1300];
        let len = self
            .outbound
            .protect_rtcp(&plain[..len], &mut out)
            .expect("keys");
        self.put(&out[..len]);
    }

    fn put(&self, datagram: &[u8]) {
        let sent = self.socket.send(datagram).expect("sent");
        assert_eq!(sent, datagram.len());
    }
}
