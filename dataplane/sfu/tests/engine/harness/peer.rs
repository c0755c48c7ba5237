//! One simulated browser end of a transport: its keys, what it sends, and what it makes of what comes.

use std::collections::HashMap;
use std::net::SocketAddr;

use clock::{Instant, Rng};
use proto::ice::Credentials;
use proto::ice::controlling::{Config as IceConfig, Controlling};
use proto::rtcp;
use proto::rtp::{Element, Fields, Header, write_header};
use proto::srtp::{Inbound, KeyingMaterial, Outbound, Profile};
use sfu::api::*;

use super::NODE;

/// A packet that a peer decrypted.
#[derive(Clone, Debug)]
pub struct Received {
    pub at: Instant,
    pub header: Header,
    pub index: u64,
    pub payload: Vec<u8>,
    pub elements: Vec<(u8, Vec<u8>)>,
}

/// One simulated browser end of a transport.
pub struct Peer {
    pub id: TransportId,
    pub address: SocketAddr,
    pub node_credentials: Credentials,
    pub credentials: Credentials,
    pub ice: Option<Controlling>,
    pub answers_checks: bool,
    pub keys: KeyingMaterial,
    /// What the keys were cut from, as the DTLS exporter gives it.
    pub exported: Vec<u8>,
    /// Protected RTP as it came.
    pub raw: Vec<Vec<u8>>,
    pub inbound: Inbound,
    pub outbound: Outbound,
    pub rtp: Vec<Received>,
    pub rtcp: Vec<Vec<u8>>,
    pub dtls: Vec<Vec<u8>>,
    /// Datagrams by first byte class: STUN requests, STUN responses, media.
    pub stun_requests: usize,
    pub stun_responses: usize,
    pub media: usize,
    /// Everything that came under an (SSRC, index), to see that it is one thing only.
    seen: HashMap<(bool, u32, u64), Vec<u8>>,
    /// Sent by this peer: the rollover counters.
    pub(super) indices: HashMap<u32, u64>,
}

impl Peer {
    /// The peer in that `place`, and what the engine is told of its transport.
    pub(super) fn new(
        place: usize,
        profile: Profile,
        now: Instant,
        rng: &mut Rng,
    ) -> (Self, TransportSpec) {
        let id = TransportId(place as u64 + 1);
        let (node, own) = (Credentials::generate(rng), Credentials::generate(rng));
        let mut exported = vec![0; profile.exporter_len()];
        rng.fill(&mut exported);
        let keys = KeyingMaterial::from_exporter(profile, &exported, true).unwrap();
        let address = SocketAddr::from(([198, 51, 100, place as u8 + 1], 5_000));
        let ice = Controlling::new(
            now,
            own.clone(),
            node.clone(),
            NODE.into(),
            IceConfig::default(),
            rng.fork(),
        )
        .unwrap();
        let spec = TransportSpec {
            id,
            connection: None,
            local_ufrag: node.ufrag().into(),
            local_pwd: node.password().into(),
            remote: Some((own.ufrag().into(), own.password().into())),
        };
        let peer = Self {
            id,
            address,
            node_credentials: node,
            credentials: own,
            ice: Some(ice),
            answers_checks: true,
            inbound: Inbound::new(&keys.remote).unwrap(),
            outbound: Outbound::new(&keys.local).unwrap(),
            keys,
            exported,
            raw: Vec::new(),
            rtp: Vec::new(),
            rtcp: Vec::new(),
            dtls: Vec::new(),
            stun_requests: 0,
            stun_responses: 0,
            media: 0,
            seen: HashMap::new(),
            indices: HashMap::new(),
        };
        (peer, spec)
    }

    pub fn protect(
        &mut self,
        fields: &Fields,
        elements: &[(u8, &[u8])],
        payload: &[u8],
    ) -> Vec<u8> {
        let elements: Vec<_> = elements
            .iter()
            .map(|(id, data)| Element::new(*id, data))
            .collect();
        let mut header = [0; 512];
        let len = write_header(&mut header, fields, &elements).unwrap();
        let before = self.indices.get(&fields.ssrc);
        let index = before.map_or(u64::from(fields.sequence), |before| {
            proto::rtp::sequence::nearest(*before, fields.sequence)
        });
        self.indices.insert(
            fields.ssrc,
            before.map_or(index, |before| index.max(*before)),
        );
        let mut out = vec![0; len + payload.len() + 64];
        let len = self
            .outbound
            .protect_rtp(index, fields.ssrc, &header[..len], &[], payload, &mut out)
            .unwrap();
        out.truncate(len);
        out
    }

    pub(super) fn on_media(&mut self, now: Instant, datagram: &[u8]) {
        let mut bytes = datagram.to_vec();
        if (192..=223).contains(&datagram[1]) {
            let len = self
                .inbound
                .unprotect_rtcp(&mut bytes)
                .expect("SRTCP opens");
            let trailer = datagram.len() - len;
            let word = &datagram[datagram.len() - 4..];
            assert!(trailer >= 14);
            let is_gcm = trailer == 20;
            if is_gcm {
                let index = u32::from_be_bytes(word.try_into().unwrap()) & 0x7fff_ffff;
                let ssrc = u32::from_be_bytes(datagram[4..8].try_into().unwrap());
                self.record(true, ssrc, u64::from(index), datagram);
            }
            bytes.truncate(len);
            assert!(rtcp::compound(&bytes).unwrap().all(|packet| packet.is_ok()));
            self.rtcp.push(bytes);
            return;
        }
        self.raw.push(datagram.to_vec());
        let header = Header::parse(&bytes).unwrap();
        let (len, index) = self
            .inbound
            .unprotect_rtp(&mut bytes, header.len(), header.ssrc, header.sequence)
            .expect("SRTP opens");
        self.record(false, header.ssrc, index, datagram);
        bytes.truncate(len);
        let elements = header
            .extensions(&bytes)
            .map(|element| (element.id, element.data.to_vec()))
            .collect();
        let payload = bytes[header.payload_range(&bytes).unwrap()].to_vec();
        self.rtp.push(Received {
            at: now,
            header,
            index,
            payload,
            elements,
        });
    }

    fn record(&mut self, is_rtcp: bool, ssrc: u32, index: u64, datagram: &[u8]) {
        let before = self.seen.insert((is_rtcp, ssrc, index), datagram.to_vec());
        assert!(before.is_none(), "an index is used once");
    }

    pub fn of(&self, ssrc: u32) -> Vec<&Received> {
        let mut all: Vec<_> = self
            .rtp
            .iter()
            .filter(|packet| packet.header.ssrc == ssrc)
            .collect();
        all.sort_by_key(|packet| packet.index);
        all
    }

    /// How many RTCP packets of a kind came.
    pub fn count_rtcp(&self, matches: impl Fn(&rtcp::Packet<'_>) -> bool) -> usize {
        self.rtcp
            .iter()
            .flat_map(|datagram| rtcp::compound(datagram).unwrap())
            .filter(|packet| matches(packet.as_ref().unwrap()))
            .count()
    }
}
