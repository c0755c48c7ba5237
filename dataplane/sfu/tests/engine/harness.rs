//! An engine in a network of simulated browsers: virtual time, real STUN, real SRTP, no sockets.
//!
//! After every turn the packets of each stage must add up, and no peer may ever see two different packets under one
//! (SSRC, index).

mod media;
mod peer;

use std::net::SocketAddr;

use clock::{Duration, Instant, NtpTime, Rng};
use packet::{Arena, ArenaSize, Batch, Bursts, BurstsSize, Datagram};
use proto::ice::Output;
use proto::rtcp;
use proto::rtp::Fields;
use proto::srtp::Profile;
use proto::stun::{Class, MAX_RESPONSE_LEN, Message};
use sfu::Engine;
use sfu::api::*;
use sfu::discard::Stage;
use sfu::tap::Crossed;

use crate::counting::watch;

pub use media::*;
pub use peer::*;

pub const NODE: ([u8; 4], u16) = ([192, 0, 2, 1], 7000);
/// Where the packet lies in its slot, as drivers leave headroom.
const HEADROOM: u16 = 64;
/// So many flushes in one turn are no work but a loop.
const FLUSHES_MAX: usize = 1_000;
/// A turn never writes more than this: its budget, a run as long as a batch and what crossed, and the packets of a cache.
const WRITTEN_MAX: u64 = 512 + 512 + 512;
pub const STEP: Duration = Duration::from_millis(5);

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
        let (peer, spec) = Peer::new(place, profile, self.now, &mut self.rng);
        let connection = self.connection;
        self.command(Command::AddTransport(Box::new(TransportSpec {
            connection,
            ..spec
        })));
        self.peers.push(peer);
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
