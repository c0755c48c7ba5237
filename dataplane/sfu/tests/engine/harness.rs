//! An engine in a network of simulated browsers: virtual time, real STUN, real SRTP, no sockets.
//!
//! After every turn the packets of each stage must add up, and no peer may ever see two different packets under one
//! (SSRC, index).

use std::collections::HashMap;
use std::net::SocketAddr;

use clock::{Duration, Instant, NtpTime, Rng};
use packet::{Arena, ArenaSize, Batch, Bursts, BurstsSize, Datagram};
use proto::codec::Codec;
use proto::ice::controlling::{Config as IceConfig, Controlling};
use proto::ice::{Credentials, Output};
use proto::rtcp;
use proto::rtp::{Element, Fields, Header, Uri, write_header};
use proto::srtp::{Inbound, KeyingMaterial, Outbound, Profile};
use proto::stun::{Class, MAX_RESPONSE_LEN, Message};
use sfu::Engine;
use sfu::api::*;
use sfu::discard::Stage;
use sfu::tap::Crossed;

use crate::counting::watch;

pub const NODE: ([u8; 4], u16) = ([192, 0, 2, 1], 7000);
/// Where the packet lies in its slot, as drivers leave headroom.
const HEADROOM: u16 = 64;
/// So many flushes in one turn are no work but a loop.
const FLUSHES_MAX: usize = 1_000;
/// A turn never writes more than this: its budget, a run as long as a batch and what crossed, and the packets of a cache.
const WRITTEN_MAX: u64 = 512 + 512 + 512;
pub const STEP: Duration = Duration::from_millis(5);

pub const OPUS: u8 = 111;
pub const VP8: u8 = 96;
pub const VP8_RTX: u8 = 97;
/// What subscribers have negotiated instead.
pub const OUT_OPUS: u8 = 109;
pub const OUT_VP8: u8 = 39;
pub const OUT_VP8_RTX: u8 = 40;

pub const IN_MID: u8 = 4;
pub const IN_LEVEL: u8 = 1;
pub const IN_TWCC: u8 = 3;
pub const IN_RID: u8 = 10;
pub const IN_REPAIRED_RID: u8 = 11;
pub const IN_DESCRIPTOR: u8 = 12;
pub const IN_ORIENTATION: u8 = 13;
pub const IN_ALLOCATION: u8 = 14;
pub const OUT_MID: u8 = 9;
pub const OUT_LEVEL: u8 = 5;
pub const OUT_DESCRIPTOR: u8 = 7;
pub const OUT_ORIENTATION: u8 = 6;
pub const OUT_PLAYOUT: u8 = 11;

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
    indices: HashMap<u32, u64>,
}

/// Decides whether a datagram to this peer is lost.
pub type Loss = Box<dyn FnMut(usize, &[u8]) -> bool>;

pub struct Net {
    pub now: Instant,
    pub engine: Engine,
    pub arena: Arena,
    bursts: Bursts,
    inbox: Vec<(SocketAddr, Vec<u8>)>,
    leaving: Vec<(SocketAddr, Vec<u8>)>,
    /// Every run that left: to whom, and how long its packets were.
    pub runs: Vec<(SocketAddr, Vec<usize>)>,
    pub peers: Vec<Peer>,
    pub events: Vec<Event>,
    /// What went to nobody's address.
    pub astray: Vec<(SocketAddr, Vec<u8>)>,
    pub lose_out: Loss,
    /// Most packets that waited for their time.
    pub paced_most: u64,
    /// Nothing that is written leaves.
    pub stands_still: bool,
    /// How often the engine has asked for memory, once somebody wants to know.
    pub allocations: Option<u64>,
    /// What another worker is handed, and what it hands over.
    pub crossing: Vec<(Crossed, Vec<u8>)>,
    pub crossed: Vec<(Crossed, Vec<u8>)>,
    pub rng: Rng,
    /// Whose the next transports are.
    pub connection: Option<ConnectionId>,
}

pub fn config() -> Config {
    Config {
        ntp_at_zero: NtpTime::from_unix(Duration::from_secs(1_700_000_000)),
        transports_max: 100,
        cache_packets_max: 512,
        nack: true,
        padding_max: 1,
        transport_wide: false,
        pacing: true,
        playout_delay_max: Duration::from_millis(200),
        follow_remb: true,
        cycles: || 0,
        drop_rtp: false,
    }
}

impl Net {
    pub fn new() -> Self {
        Self::with(config())
    }

    pub fn with(config: Config) -> Self {
        let arena = ArenaSize {
            slots: 2048,
            small_slots: 300,
            reserve: 512,
        };
        let bursts = BurstsSize {
            chunks: 64,
            bursts: 2048,
        };
        Self::sized(config, arena, bursts)
    }

    /// With as much memory as that.
    pub fn sized(config: Config, arena: ArenaSize, bursts: BurstsSize) -> Self {
        let arena = Arena::new(arena).unwrap();
        let mut engine = Engine::new(config, Rng::from_number(1));
        engine.prepare(&arena);
        Self {
            now: Instant::from_millis(1_000),
            engine,
            arena,
            bursts: Bursts::new(bursts).unwrap(),
            inbox: Vec::new(),
            leaving: Vec::new(),
            runs: Vec::new(),
            peers: Vec::new(),
            events: Vec::new(),
            astray: Vec::new(),
            lose_out: Box::new(|_, _| false),
            paced_most: 0,
            stands_still: false,
            allocations: None,
            crossing: Vec::new(),
            crossed: Vec::new(),
            rng: Rng::from_number(2),
            connection: None,
        }
    }

    /// A transport and its peer, which does nothing yet.
    pub fn add_peer(&mut self, profile: Profile) -> usize {
        let place = self.peers.len();
        let id = TransportId(place as u64 + 1);
        let rng = &mut self.rng;
        let (node, own) = (Credentials::generate(rng), Credentials::generate(rng));
        let mut exported = vec![0; profile.exporter_len()];
        rng.fill(&mut exported);
        let keys = KeyingMaterial::from_exporter(profile, &exported, true).unwrap();
        let address = SocketAddr::from(([198, 51, 100, place as u8 + 1], 5_000));
        let ice = Controlling::new(
            self.now,
            own.clone(),
            node.clone(),
            NODE.into(),
            IceConfig::default(),
            rng.fork(),
        )
        .unwrap();
        self.command(Command::AddTransport(Box::new(TransportSpec {
            id,
            connection: self.connection,
            local_ufrag: node.ufrag().into(),
            local_pwd: node.password().into(),
            remote: Some((own.ufrag().into(), own.password().into())),
        })));
        self.peers.push(Peer {
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
        });
        place
    }

    /// A peer with a proven address and keys.
    pub fn connect(&mut self) -> usize {
        self.connect_with(Profile::AeadAes128Gcm)
    }

    pub fn connect_with(&mut self, profile: Profile) -> usize {
        let peer = self.add_peer(profile);
        self.run(100);
        self.give_keys(peer);
        self.run(20);
        assert!(
            self.events
                .contains(&Event::IceConnected(self.peers[peer].id))
        );
        peer
    }

    /// The handshake, as far as the engine knows of it.
    pub fn give_keys(&mut self, peer: usize) {
        let keys = self.peers[peer].keys.mirrored();
        let transport = self.peers[peer].id;
        self.command(Command::KeysReady {
            transport,
            keys: Box::new(keys),
        });
    }

    pub fn command(&mut self, command: Command) {
        self.engine.command(self.now, command);
        self.take_events();
    }

    fn take_events(&mut self) {
        while let Some(event) = self.engine.poll_event() {
            self.events.push(event);
        }
    }

    /// A datagram on its way to the node.
    pub fn send(&mut self, from: SocketAddr, datagram: Vec<u8>) {
        self.inbox.push((from, datagram));
    }

    /// The next datagram to arrive is overtaken by all others that are on their way.
    pub fn hold_first_back(&mut self) {
        self.inbox.rotate_left(1);
    }

    /// Encrypts and sends an RTP packet of a peer.
    pub fn send_rtp(
        &mut self,
        peer: usize,
        fields: &Fields,
        elements: &[(u8, &[u8])],
        payload: &[u8],
    ) {
        let datagram = self.peers[peer].protect(fields, elements, payload);
        let from = self.peers[peer].address;
        self.send(from, datagram);
    }

    /// The next 20 ms of somebody's sound, which may say how loud it is.
    pub fn frame_of_sound(&mut self, peer: usize, level: Option<u8>) {
        let sequence = self.peers[peer].indices.get(&AUDIO_SSRC);
        let sequence = sequence.map_or(10, |last| *last as u16 + 1);
        let fields = Fields {
            payload_type: OPUS,
            sequence,
            timestamp: u32::from(sequence) * 960,
            ssrc: AUDIO_SSRC,
            ..Fields::default()
        };
        let level = level.map(|level| [level]);
        let level = level.as_ref().map(|level| (IN_LEVEL, level.as_slice()));
        let elements: Vec<(u8, &[u8])> = [(IN_MID, b"0".as_slice())]
            .into_iter()
            .chain(level)
            .collect();
        self.send_rtp(peer, &fields, &elements, b"sound");
    }

    /// Encrypts and sends RTCP of a peer.
    pub fn send_rtcp(
        &mut self,
        peer: usize,
        write: impl FnOnce(&mut rtcp::Writer<'_>) -> Result<(), rtcp::Full>,
    ) {
        let mut plain = [0; 1200];
        let mut writer = rtcp::Writer::new(&mut plain);
        write(&mut writer).unwrap();
        let len = writer.len();
        let mut out = [0; 1300];
        let peer = &mut self.peers[peer];
        let len = peer.outbound.protect_rtcp(&plain[..len], &mut out).unwrap();
        let from = peer.address;
        self.send(from, out[..len].to_vec());
    }

    /// Lets `millis` pass in steps.
    pub fn run(&mut self, millis: u64) {
        let end = self.now + Duration::from_millis(millis);
        while self.now < end {
            self.turn();
            self.now += STEP;
        }
    }

    /// Lets `millis` pass as a worker does: a turn only when something arrives or a deadline comes. Returns the turns.
    pub fn run_lazily(&mut self, millis: u64) -> usize {
        let end = self.now + Duration::from_millis(millis);
        let mut turns = 0;
        while self.now < end {
            self.turn();
            turns += 1;
            let ices = self.peers.iter().filter_map(|peer| peer.ice.as_ref());
            let peers = ices.filter_map(|ice| ice.deadline());
            let arrival = (!self.inbox.is_empty()).then_some(self.now + Duration::from_millis(1));
            let wake = self
                .engine
                .deadline()
                .into_iter()
                .chain(peers)
                .chain(arrival)
                .min();
            let wake = wake.unwrap_or(end).min(end);
            self.now = wake.max(self.now + Duration::from_micros(1));
        }
        turns
    }

    /// One turn of the worker; everything sent arrives at once, and answers are in the next turn.
    pub fn turn(&mut self) {
        self.receive();
        self.flush();
    }

    /// The first half of a turn.
    pub fn receive(&mut self) {
        let mut batch = Batch::new();
        for (source, bytes) in core::mem::take(&mut self.inbox) {
            if batch.is_full() {
                self.inbox.push((source, bytes));
                continue;
            }
            let slot = self.arena.alloc().expect("the harness has slots enough");
            let datagram = Datagram {
                slot,
                offset: HEADROOM,
                len: bytes.len() as u16,
                source,
                local: Some([192, 0, 2, 1].into()),
                arrival: self.now,
                listener: 0,
            };
            datagram
                .payload_mut(&mut self.arena)
                .copy_from_slice(&bytes);
            batch.push(datagram);
        }
        for (crossed, bytes) in core::mem::take(&mut self.crossed) {
            let slot = self.arena.alloc().expect("the harness has slots enough");
            self.arena.bytes_mut(slot)[..bytes.len()].copy_from_slice(&bytes);
            self.watch(|net| net.engine.take_in(net.now, slot, &crossed));
        }
        let now = self.now;
        self.watch(|net| net.engine.receive(now, &mut net.arena, &mut batch));
        assert!(batch.is_empty());
        assert_eq!(self.engine.stats().unbalanced(), None);
        self.watch(|net| net.engine.on_timeout(now, &mut net.arena));
        let crossing = &mut self.crossing;
        self.engine.cross(&self.arena, |_, crossed, bytes| {
            crossing.push((*crossed, bytes.to_vec()));
            Ok(())
        });
    }

    /// The second half of a turn.
    pub fn flush(&mut self) {
        if self.stands_still {
            let now = self.now;
            self.watch(|net| net.engine.flush(now, &mut net.arena, &mut net.bursts));
            return;
        }
        // What is more than leaves in one turn leaves in the next ones, which come at once.
        for _ in 0..FLUSHES_MAX {
            let now = self.now;
            let before = self.written();
            self.watch(|net| net.engine.flush(now, &mut net.arena, &mut net.bursts));
            let written = self.written() - before;
            assert!(written <= WRITTEN_MAX, "{written} packets in one turn");
            assert_eq!(self.engine.stats().unbalanced(), None);
            self.carry();
            if self.engine.deadline() != Some(Instant::ZERO) {
                break;
            }
        }
        let held: u64 = (self.engine.stats().stages.iter())
            .map(|cells| cells.held)
            .sum();
        assert_eq!(held, self.engine.waiting_copies());
        let (counted, paced) = self.engine.paced_copies();
        assert_eq!(counted, paced);
        assert_eq!(self.engine.copies_waiting(), held - paced);
        self.paced_most = self.paced_most.max(paced);
        assert_eq!(
            self.arena.in_use(),
            self.engine.slots_kept(),
            "between turns only the cache and what is paced have slots"
        );
        self.take_events();
        for (to, datagram) in core::mem::take(&mut self.leaving) {
            self.deliver(to, &datagram);
        }
        for place in 0..self.peers.len() {
            self.pump_ice(place);
        }
    }

    fn written(&self) -> u64 {
        self.engine.stats().stage(Stage::Rewrite).packets_out
    }

    fn watch(&mut self, task: impl FnOnce(&mut Self)) {
        if self.allocations.is_none() {
            return task(self);
        }
        let ((), count) = watch(|| task(self));
        self.allocations = self.allocations.map(|before| before + count);
    }

    /// Takes what leaves out of the bursts.
    fn carry(&mut self) {
        while let Some(burst) = self.bursts.take(self.now) {
            let size = burst.segment_size();
            let lens = self.bursts.bytes(&burst).chunks(size).map(<[u8]>::len);
            self.runs.push((burst.destination(), lens.collect()));
            for segment in self.bursts.bytes(&burst).chunks(size) {
                self.leaving.push((burst.destination(), segment.to_vec()));
            }
            self.bursts.complete(burst);
        }
    }

    fn deliver(&mut self, to: SocketAddr, datagram: &[u8]) {
        match self.peers.iter().position(|peer| peer.address == to) {
            Some(place) if (self.lose_out)(place, datagram) => {}
            Some(place) => self.at_peer(place, datagram),
            None => self.astray.push((to, datagram.to_vec())),
        }
    }

    fn at_peer(&mut self, place: usize, datagram: &[u8]) {
        let now = self.now;
        let peer = &mut self.peers[place];
        match datagram[0] {
            0..=3 => {
                let message = Message::parse(datagram).unwrap();
                if message.class() == Class::Request {
                    peer.stun_requests += 1;
                    if !peer.answers_checks {
                        return;
                    }
                } else {
                    peer.stun_responses += 1;
                }
                let Some(ice) = &mut peer.ice else { return };
                let mut response = [0; MAX_RESPONSE_LEN];
                let len = ice
                    .on_message(now, &message, NODE.into(), &mut response)
                    .unwrap_or(0);
                if len > 0 {
                    self.inbox.push((peer.address, response[..len].to_vec()));
                }
            }
            20..=63 => peer.dtls.push(datagram.to_vec()),
            _ => {
                peer.media += 1;
                peer.on_media(now, datagram);
            }
        }
    }

    fn pump_ice(&mut self, place: usize) {
        let now = self.now;
        let peer = &mut self.peers[place];
        let Some(ice) = &mut peer.ice else { return };
        if ice.deadline().is_some_and(|due| due <= now) {
            ice.on_timeout(now);
        }
        while let Some(output) = ice.poll() {
            if let Output::Send { datagram, .. } = output {
                self.inbox.push((peer.address, datagram.to_vec()));
            }
        }
    }

    /// Removes every transport; then nothing may be left.
    pub fn finish(&mut self) {
        for place in 0..self.peers.len() {
            self.command(Command::RemoveTransport(self.peers[place].id));
        }
        self.turn();
        let stats = self.engine.stats();
        assert_eq!(stats.publishers + stats.subscribers + stats.encodings, 0);
        assert_eq!(stats.transports_new + stats.transports_connecting, 0);
        assert_eq!(stats.transports_connected, 0);
        assert_eq!(self.arena.in_use(), 0, "every slot came back");
    }

    pub fn stat(&self, reason: sfu::discard::DropReason) -> u64 {
        self.engine.stats().drops.of(reason)
    }
}

impl Peer {
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

    fn on_media(&mut self, now: Instant, datagram: &[u8]) {
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

fn payload_type(number: u8, codec: Codec, clock_rate: u32, rtx: Option<u8>) -> PayloadType {
    let video = codec.is_video();
    PayloadType {
        payload_type: number,
        codec,
        clock_rate,
        rtx,
        nack: video,
        pli: video,
        fir: video,
        remb: video,
        transport_cc: true,
    }
}

pub fn opus(number: u8) -> PayloadType {
    payload_type(number, Codec::Opus, 48_000, None)
}

pub fn vp8(number: u8, rtx: Option<u8>) -> PayloadType {
    payload_type(number, Codec::Vp8, 90_000, rtx)
}

pub fn in_extensions() -> Vec<(u8, Uri)> {
    vec![
        (IN_MID, Uri::Mid),
        (IN_LEVEL, Uri::AudioLevel),
        (IN_TWCC, Uri::TransportCc),
        (IN_RID, Uri::Rid),
        (IN_REPAIRED_RID, Uri::RepairedRid),
        (IN_DESCRIPTOR, Uri::DependencyDescriptor),
        (IN_ORIENTATION, Uri::VideoOrientation),
        (IN_ALLOCATION, Uri::VideoLayersAllocation),
    ]
}

pub const AUDIO_SSRC: u32 = 0xa0a0_0001;
pub const VIDEO_SSRC: u32 = 0xb0b0_0001;
pub const VIDEO_RTX: u32 = 0xb0b0_0002;

/// Camera and microphone; SSRCs announced.
pub fn publisher(net: &Net, peer: usize, id: u64) -> PublisherSpec {
    PublisherSpec {
        id: PublisherId(id),
        transport: net.peers[peer].id,
        media: vec![
            PublishedMedia {
                bandwidth_max: None,
                is_screen: false,
                kind: Kind::Audio,
                mid: "0".into(),
                codecs: vec![opus(OPUS)],
                extensions: in_extensions(),
                encodings: vec![EncodingSpec {
                    ssrc: Some(AUDIO_SSRC),
                    ..EncodingSpec::default()
                }],
            },
            PublishedMedia {
                bandwidth_max: None,
                is_screen: false,
                kind: Kind::Video,
                mid: "1".into(),
                codecs: vec![vp8(VP8, Some(VP8_RTX))],
                extensions: in_extensions(),
                encodings: vec![EncodingSpec {
                    ssrc: Some(VIDEO_SSRC),
                    rtx_ssrc: Some(VIDEO_RTX),
                    ..EncodingSpec::default()
                }],
            },
        ],
    }
}

/// SSRCs of what a subscriber on `peer` gets.
pub fn out_ssrcs(peer: usize) -> (u32, u32, u32) {
    let base = 0x1000_0000 + 0x100 * peer as u32;
    (base, base + 1, base + 2)
}

pub fn subscriber(net: &Net, peer: usize, publisher: u64) -> SubscriberSpec {
    let (audio, video, rtx) = out_ssrcs(peer);
    let extensions = vec![
        (OUT_MID, Uri::Mid),
        (OUT_LEVEL, Uri::AudioLevel),
        (OUT_DESCRIPTOR, Uri::DependencyDescriptor),
        (OUT_PLAYOUT, Uri::PlayoutDelay),
        (OUT_ORIENTATION, Uri::VideoOrientation),
    ];
    SubscriberSpec {
        id: SubscriberId(peer as u64),
        transport: net.peers[peer].id,
        publisher: PublisherId(publisher),
        media: vec![
            SubscribedMedia {
                bandwidth_max: None,
                kind: Kind::Audio,
                mid: "a".into(),
                ssrc: audio,
                rtx_ssrc: None,
                cname: "someone".into(),
                codecs: vec![(OPUS, opus(OUT_OPUS))],
                extensions: extensions.clone(),
            },
            SubscribedMedia {
                bandwidth_max: None,
                kind: Kind::Video,
                mid: "v".into(),
                ssrc: video,
                rtx_ssrc: Some(rtx),
                cname: "someone".into(),
                codecs: vec![(VP8, vp8(OUT_VP8, Some(OUT_VP8_RTX)))],
                extensions,
            },
        ],
    }
}

/// What a camera and a microphone send.
pub struct Source {
    pub peer: usize,
    pub ssrc: u32,
    pub sequence: u16,
    pub frame: u32,
    pub audio_sequence: u16,
    /// Everything sent, by sequence number: what arrives must be this.
    pub payloads: HashMap<u16, Vec<u8>>,
    pub transport_sequence: u16,
}

pub const PACKETS_PER_FRAME: u16 = 3;

impl Source {
    pub fn new(peer: usize) -> Self {
        Self {
            peer,
            ssrc: VIDEO_SSRC,
            sequence: 65_500,
            frame: 0,
            audio_sequence: 10,
            payloads: HashMap::new(),
            transport_sequence: 0,
        }
    }

    /// A picture of a few packets. `lose` says which of its packets never reach the node.
    pub fn frame(&mut self, net: &mut Net, key: bool, lose: &[u16]) {
        self.frame += 1;
        for part in 0..PACKETS_PER_FRAME {
            let fields = Fields {
                marker: part + 1 == PACKETS_PER_FRAME,
                padding: false,
                payload_type: VP8,
                sequence: self.sequence,
                timestamp: self.frame.wrapping_mul(3_000),
                ssrc: self.ssrc,
            };
            let payload = picture(key, part == 0, self.frame, part);
            self.payloads.insert(self.sequence, payload.clone());
            self.transport_sequence = self.transport_sequence.wrapping_add(1);
            let number = self.transport_sequence.to_be_bytes();
            let elements: [(u8, &[u8]); 3] =
                [(IN_MID, b"1"), (IN_TWCC, &number), (IN_ORIENTATION, &[1])];
            let count = if fields.marker { 3 } else { 2 };
            let datagram = net.peers[self.peer].protect(&fields, &elements[..count], &payload);
            if !lose.contains(&part) {
                let from = net.peers[self.peer].address;
                net.send(from, datagram);
            }
            self.sequence = self.sequence.wrapping_add(1);
        }
    }

    pub fn audio(&mut self, net: &mut Net) {
        let fields = Fields {
            marker: false,
            padding: false,
            payload_type: OPUS,
            sequence: self.audio_sequence,
            timestamp: u32::from(self.audio_sequence) * 960,
            ssrc: AUDIO_SSRC,
        };
        self.audio_sequence += 1;
        self.transport_sequence = self.transport_sequence.wrapping_add(1);
        let number = self.transport_sequence.to_be_bytes();
        let elements: [(u8, &[u8]); 3] = [(IN_MID, b"0"), (IN_LEVEL, &[33]), (IN_TWCC, &number)];
        let payload = [b'o', fields.sequence as u8, 3, 4];
        net.send_rtp(self.peer, &fields, &elements, &payload);
    }

    /// Sends a packet again as RTX, the way browsers do.
    pub fn resend(&self, net: &mut Net, sequence: u16, rtx_sequence: u16) {
        let mut payload = sequence.to_be_bytes().to_vec();
        payload.extend(&self.payloads[&sequence]);
        let fields = Fields {
            marker: false,
            padding: false,
            payload_type: VP8_RTX,
            sequence: rtx_sequence,
            timestamp: self.frame.wrapping_mul(3_000),
            ssrc: VIDEO_RTX,
        };
        net.send_rtp(self.peer, &fields, &[(IN_MID, b"1")], &payload);
    }
}

/// A VP8 payload (RFC 7741): descriptor, payload header, and something that can be recognised.
pub fn picture(key: bool, first: bool, frame: u32, part: u16) -> Vec<u8> {
    let mut payload = vec![if first { 0x10 } else { 0x00 }];
    if first && key {
        payload.extend([0x10, 0x02, 0x00, 0x9d, 0x01, 0x2a, 0x40, 0x01, 0xf0, 0x00]);
    } else {
        payload.extend([0x11, 0x02, 0x00]);
    }
    payload.extend(frame.to_be_bytes());
    payload.extend(part.to_be_bytes());
    // The last packet of a frame is short.
    let len = if part + 1 == PACKETS_PER_FRAME {
        60
    } else {
        900
    };
    payload.resize(len, frame as u8);
    payload
}

/// Publisher on the first peer, subscribers on the others, a key frame forwarded.
pub fn call(net: &mut Net, subscribers: usize) -> (Source, Vec<usize>) {
    let sender = net.connect();
    let spec = publisher(net, sender, 1);
    net.command(Command::AddPublisher(Box::new(spec)));
    let mut receivers = Vec::new();
    for _ in 0..subscribers {
        let receiver = net.connect();
        let spec = subscriber(net, receiver, 1);
        net.command(Command::AddSubscriber(Box::new(spec)));
        receivers.push(receiver);
    }
    let mut source = Source::new(sender);
    source.frame(net, true, &[]);
    source.audio(net);
    net.run(5);
    (source, receivers)
}
