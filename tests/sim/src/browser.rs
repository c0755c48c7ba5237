//! A simulated browser: the far end of one transport.

use std::net::SocketAddr;

use clock::{Instant, Rng};
use proto::demux::{self, Packet};
use proto::ice::controlling::{Config, Controlling};
use proto::ice::{Credentials, Output};
use proto::rtcp;
use proto::rtp::Header;
use proto::srtp::{Inbound, KeyingMaterial, Outbound};
use proto::stun::{MAX_RESPONSE_LEN, Message};
use sfu::api::TransportId;

use crate::network::HostId;
use crate::sink::Sink;
use crate::source::{Source, Wire, protect_rtcp};
use crate::viewer::Viewer;

/// ICE, SRTP, and either a camera or somebody who watches.
pub struct Browser {
    /// Its end of the path.
    pub host: HostId,
    /// Its transport.
    pub transport: TransportId,
    pub(crate) node: SocketAddr,
    pub(crate) own: Credentials,
    pub(crate) nodes: Credentials,
    ice: Controlling,
    /// From its own point of view.
    pub(crate) keys: KeyingMaterial,
    srtp: Option<(Inbound, Outbound)>,
    /// Whether it still does anything.
    pub is_online: bool,
    /// What it publishes.
    pub source: Option<Source>,
    /// What it subscribes to.
    pub sink: Option<Sink>,
    /// What it subscribes to, as a browser does it.
    pub viewer: Option<Viewer>,
    /// Datagrams that didn't open, malformed or seen before.
    pub unopened: u64,
}

impl Browser {
    pub(crate) fn new(
        now: Instant,
        host: HostId,
        transport: TransportId,
        node: SocketAddr,
        keys: KeyingMaterial,
        rng: &mut Rng,
    ) -> Self {
        let (own, nodes) = (Credentials::generate(rng), Credentials::generate(rng));
        let ice = controlling(now, &own, &nodes, node, rng);
        Self {
            host,
            transport,
            node,
            own,
            nodes,
            ice,
            keys,
            srtp: None,
            is_online: true,
            source: None,
            sink: None,
            viewer: None,
            unopened: 0,
        }
    }

    /// Its camera or microphone, which is there.
    pub fn source(&self) -> &Source {
        self.source.as_ref().expect("it publishes")
    }

    /// The same, to be changed.
    pub fn source_mut(&mut self) -> &mut Source {
        self.source.as_mut().expect("it publishes")
    }

    /// Whoever watches, who is there.
    pub fn sink(&self) -> &Sink {
        self.sink.as_ref().expect("it subscribes")
    }

    /// Whoever watches as a browser does, who is there.
    pub fn viewer(&self) -> &Viewer {
        self.viewer.as_ref().expect("it watches")
    }

    /// Whether a check was answered and consent lives.
    pub fn is_connected(&self) -> bool {
        self.ice.is_connected()
    }

    pub(crate) fn has_keys(&self) -> bool {
        self.srtp.is_some()
    }

    /// The handshake is done.
    pub(crate) fn on_keys(&mut self) {
        let inbound = Inbound::new(&self.keys.remote).expect("the keys fit");
        let outbound = Outbound::new(&self.keys.local).expect("the keys fit");
        self.srtp = Some((inbound, outbound));
    }

    /// Another agent with its credentials, for somebody who pretends.
    pub(crate) fn impostor(&self, now: Instant, rng: &mut Rng) -> Controlling {
        controlling(now, &self.own, &self.nodes, self.node, rng)
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        if !self.is_online {
            return None;
        }
        let media = self.srtp.as_ref().and_then(|_| {
            let source = self.source.as_ref().map(Source::deadline);
            let sink = self.sink.as_ref().map(Sink::deadline);
            let viewer = self.viewer.as_ref().map(Viewer::deadline);
            source.into_iter().chain(sink).chain(viewer).min()
        });
        self.ice.deadline().into_iter().chain(media).min()
    }

    /// Does what is due; datagrams to the node are appended to `out`.
    pub(crate) fn on_timeout(&mut self, now: Instant, out: &mut Vec<Vec<u8>>) {
        if self.ice.deadline().is_some_and(|due| due <= now) {
            self.ice.on_timeout(now);
            drain(&mut self.ice, out);
        }
        let Some((_, outbound)) = &mut self.srtp else {
            return;
        };
        if let Some(source) = &mut self.source {
            source.on_timeout(&mut Wire {
                now,
                srtp: outbound,
                out,
            });
        }
        if let Some(sink) = &mut self.sink {
            sink.on_timeout(now, outbound, out);
        }
        if let Some(viewer) = &mut self.viewer {
            viewer.on_timeout(now, outbound, out);
        }
    }

    /// Takes a datagram from the node.
    pub(crate) fn on_datagram(&mut self, now: Instant, bytes: &[u8], out: &mut Vec<Vec<u8>>) {
        match demux::classify(bytes) {
            Packet::Stun => self.on_stun(now, bytes, out),
            Packet::Rtp => self.on_rtp(now, bytes),
            Packet::Rtcp => self.on_rtcp(now, bytes, out),
            Packet::Dtls | Packet::Other => panic!("the node sends neither here"),
        }
    }

    /// Protects RTCP of somebody's choice, if its keys are there.
    pub(crate) fn protect(&mut self, plain: &[u8]) -> Option<Vec<u8>> {
        let (_, outbound) = self.srtp.as_mut()?;
        Some(protect_rtcp(plain, outbound))
    }

    fn on_stun(&mut self, now: Instant, bytes: &[u8], out: &mut Vec<Vec<u8>>) {
        let message = Message::parse(bytes).expect("the node's STUN is well-formed");
        let mut response = [0; MAX_RESPONSE_LEN];
        let len = self
            .ice
            .on_message(now, &message, self.node, &mut response)
            .unwrap_or(0);
        if len > 0 {
            out.push(response[..len].to_vec());
        }
        drain(&mut self.ice, out);
    }

    fn on_rtp(&mut self, now: Instant, bytes: &[u8]) {
        let Some((inbound, _)) = &mut self.srtp else {
            // Its handshake is not done yet: browsers drop what comes before.
            self.unopened += 1;
            return;
        };
        let mut bytes = bytes.to_vec();
        let header = Header::parse(&bytes).expect("the node's RTP has a good header");
        let opened = inbound.unprotect_rtp(&mut bytes, header.len(), header.ssrc, header.sequence);
        let Ok((len, index)) = opened else {
            self.unopened += 1;
            return;
        };
        if let Some(sink) = &mut self.sink {
            sink.on_rtp(now, &header, index, &bytes[..len]);
        } else if let Some(viewer) = &mut self.viewer {
            viewer.on_rtp(now, &header, index, &bytes[..len]);
        } else {
            panic!("media for nobody");
        }
    }

    fn on_rtcp(&mut self, now: Instant, bytes: &[u8], out: &mut Vec<Vec<u8>>) {
        let Some((inbound, outbound)) = &mut self.srtp else {
            self.unopened += 1;
            return;
        };
        let mut bytes = bytes.to_vec();
        let Ok(len) = inbound.unprotect_rtcp(&mut bytes) else {
            self.unopened += 1;
            return;
        };
        let packets = rtcp::compound(&bytes[..len]).expect("the node's RTCP is well-formed");
        for packet in packets {
            let packet = packet.expect("and so is every packet of it");
            if let Some(source) = &mut self.source {
                let mut wire = Wire {
                    now,
                    srtp: outbound,
                    out,
                };
                source.on_rtcp(&packet, &mut wire);
            }
            if let Some(sink) = &mut self.sink {
                sink.on_rtcp(now, &packet);
            }
            if let Some(viewer) = &mut self.viewer {
                viewer.on_rtcp(now, &packet);
            }
        }
    }
}

fn controlling(
    now: Instant,
    own: &Credentials,
    nodes: &Credentials,
    node: SocketAddr,
    rng: &mut Rng,
) -> Controlling {
    let config = Config::default();
    let (own, nodes) = (own.clone(), nodes.clone());
    Controlling::new(now, own, nodes, node, config, rng.fork()).expect("generated ones are valid")
}

/// What an agent wants sent.
pub(crate) fn drain(ice: &mut Controlling, out: &mut Vec<Vec<u8>>) {
    while let Some(output) = ice.poll() {
        if let Output::Send { datagram, .. } = output {
            out.push(datagram.to_vec());
        }
    }
}
