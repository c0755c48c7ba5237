//! What the engine alone costs: one publisher, N subscribers, k packets a turn, no I/O; or many calls, and a few of their publishers
//! in each turn.
//!
//! `cargo bench -p sfu --bench engine -- [--calls C] [--subscribers N] [--packets K] [--bytes B] [--profile gcm128|gcm256|cm] [--rounds R]`
//!
//! Prints nanoseconds per forwarded packet in the quickest turn, out of rounds that alternate between the loads, so that a
//! machine that is busy with other things disturbs all alike; and what each subscriber's transport takes of resident memory.
//! Without arguments it measures a table of loads. With `--calls C` there are C publishers with N subscribers each, of whom
//! eight send in each turn, and what the processor's second cache holds is driven out before, as the kernel and the other calls do;
//! then it is the median turn that counts.
//!
//! With `--count TURNS` it takes only so many turns under callgrind's eye, and after each of them a subscriber asks for `--nacks
//! M` packets again: `cargo xtask micro` runs that and says what each stage costs in instructions.

use std::net::SocketAddr;
use std::time::Instant as Clock;

use clock::{Duration, Instant, NtpTime, Rng};
use packet::{Arena, ArenaSize, Batch, Bursts, BurstsSize, Datagram};
use proto::codec::Codec;
use proto::ice::controlling::{Config as IceConfig, Controlling};
use proto::ice::{Credentials, Output};
use proto::rtcp::{Nack, ReceiverReport, Writer};
use proto::rtp::{Element, Fields, Uri, write_header};
use proto::srtp::{KeyingMaterial, Outbound, Profile};
use proto::stun::{MAX_RESPONSE_LEN, Message};
use sfu::Engine;
use sfu::api::*;

const NODE: ([u8; 4], u16) = ([192, 0, 2, 1], 7000);
/// Where a packet lies in its slot, as drivers leave headroom.
const HEADROOM: u16 = 64;
/// Forwarded packets of one round, about.
const ROUND_PACKETS: usize = 40_000;
const VIDEO: u8 = 96;
const VIDEO_RTX: u8 = 97;
const SSRC: u32 = 0xb0b0_0001;
/// How many publishers send in a turn, if there are so many.
const SENDERS: usize = 8;
/// More than a processor's second cache holds.
const COLD_BYTES: usize = 3 << 20;

/// What is measured.
#[derive(Clone, Copy, Debug)]
struct Load {
    publishers: usize,
    /// Of each publisher.
    subscribers: usize,
    packets: usize,
    bytes: usize,
    profile: Profile,
}

/// Nanoseconds per forwarded packet.
#[derive(Clone, Copy, Debug)]
struct Cost {
    receive: f64,
    flush: f64,
}

impl Cost {
    const UNKNOWN: Self = Self {
        receive: f64::MAX,
        flush: f64::MAX,
    };

    fn total(self) -> f64 {
        self.receive + self.flush
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let Some(turns) = number(&arguments, "--count") {
        let nacks = number(&arguments, "--nacks").unwrap_or(0);
        return Bench::new(loads(&arguments)[0]).count(turns, nacks);
    }
    let rounds = number(&arguments, "--rounds").unwrap_or(9);
    let mut benches: Vec<Bench> = loads(&arguments).into_iter().map(Bench::new).collect();
    let mut best = vec![Cost::UNKNOWN; benches.len()];
    for _ in 0..rounds {
        for (bench, best) in benches.iter_mut().zip(&mut best) {
            let cost = bench.round();
            if cost.total() < best.total() {
                *best = cost;
            }
        }
    }
    println!(
        "publishers  subscribers  packets  bytes  profile                receive    flush    total  ns per forwarded packet; KiB a transport"
    );
    for (bench, cost) in benches.iter().zip(&best) {
        let load = bench.load;
        println!(
            "{:>10}  {:>11}  {:>7}  {:>5}  {:<20}  {:>8.1} {:>8.1} {:>8.1}  {:>6.1}",
            load.publishers,
            load.subscribers,
            load.packets,
            load.bytes,
            format!("{:?}", load.profile),
            cost.receive,
            cost.flush,
            cost.total(),
            bench.memory as f64 / 1024.0
        );
    }
}

fn loads(arguments: &[String]) -> Vec<Load> {
    let profile = match text(arguments, "--profile") {
        Some("gcm256") => Profile::AeadAes256Gcm,
        Some("cm") => Profile::Aes128CmHmacSha1_80,
        _ => Profile::AeadAes128Gcm,
    };
    let bytes = number(arguments, "--bytes").unwrap_or(1_188);
    let publishers = number(arguments, "--calls").unwrap_or(1);
    let load = |subscribers, packets| Load {
        publishers,
        subscribers,
        packets,
        bytes,
        profile,
    };
    match (
        number(arguments, "--subscribers"),
        number(arguments, "--packets"),
    ) {
        (None, None) => [
            (100, 1),
            (100, 4),
            (100, 8),
            (1_000, 1),
            (5_000, 1),
            (5_000, 4),
        ]
        .map(|(subscribers, packets)| load(subscribers, packets))
        .to_vec(),
        (subscribers, packets) => vec![load(subscribers.unwrap_or(100), packets.unwrap_or(1))],
    }
}

fn text<'a>(arguments: &'a [String], name: &str) -> Option<&'a str> {
    let at = arguments.iter().position(|argument| argument == name)?;
    arguments.get(at + 1).map(String::as_str)
}

fn number(arguments: &[String], name: &str) -> Option<usize> {
    text(arguments, name)?.parse().ok()
}

/// An engine in a call, and what feeds it.
struct Bench {
    load: Load,
    engine: Engine,
    arena: Arena,
    bursts: Bursts,
    batch: Batch,
    now: Instant,
    sources: Vec<Source>,
    /// Who sends next.
    turn: usize,
    /// What is read to drive everything else out of the cache.
    cold: Vec<u64>,
    /// RTCP of the first subscriber.
    subscriber: Option<Outbound>,
    /// Sequence numbers that it got last, in the order of arrival.
    got: Vec<u16>,
    /// Resident memory that each subscriber's transport took, once packets were forwarded to it.
    memory: usize,
}

/// A publisher.
struct Source {
    place: usize,
    outbound: Outbound,
    index: u64,
    frame: u32,
}

impl Bench {
    fn new(load: Load) -> Self {
        let config = Config {
            ntp_at_zero: NtpTime::from_unix(Duration::from_secs(1_700_000_000)),
            transports_max: (load.subscribers + 1) * load.publishers,
            cache_packets_max: 512,
            nack: true,
            padding_max: 1,
            transport_wide: true,
            pacing: true,
            playout_delay_max: Duration::from_millis(200),
            follow_remb: false,
            cycles: || 0,
            drop_rtp: false,
        };
        let arena = ArenaSize {
            slots: 4_096,
            small_slots: 1_024,
            reserve: 2_048,
        };
        let bursts = BurstsSize {
            chunks: 256,
            bursts: 8_192,
        };
        let mut rng = Rng::from_number(7);
        let mut bench = Self {
            load,
            engine: Engine::new(config, Rng::from_number(1)),
            arena: Arena::new(arena).expect("there is memory"),
            bursts: Bursts::new(bursts).expect("there is memory"),
            batch: Batch::new(),
            now: Instant::from_millis(1_000),
            sources: Vec::new(),
            turn: 0,
            cold: vec![
                0;
                if load.publishers > 1 {
                    COLD_BYTES / 8
                } else {
                    0
                }
            ],
            subscriber: None,
            got: Vec::new(),
            memory: 0,
        };
        bench.engine.on_timeout(bench.now, &mut bench.arena);
        let before = resident();
        for _ in 0..load.publishers {
            bench.publish(&mut rng);
        }
        let transports = load.subscribers * load.publishers;
        bench.memory = resident().saturating_sub(before) / transports;
        bench.round();
        let dropped: u64 = bench.engine.stats().drops.0.as_flattened().iter().sum();
        assert_eq!(dropped, 0, "nothing is lost in a measurement");
        bench
    }

    /// One more publisher, and its subscribers.
    fn publish(&mut self, rng: &mut Rng) {
        let load = self.load;
        let place = self.sources.len() * (load.subscribers + 1);
        let keys = keying(Profile::AeadAes128Gcm, rng);
        self.connect(place, &keys, rng);
        self.command(Command::AddPublisher(Box::new(publisher(place))));
        self.sources.push(Source {
            place,
            outbound: Outbound::new(&keys.local).expect("the keys fit"),
            index: 100,
            frame: 0,
        });
        for subscribing in place + 1..=place + load.subscribers {
            let keys = keying(load.profile, rng);
            self.connect(subscribing, &keys, rng);
            self.subscriber
                .get_or_insert_with(|| Outbound::new(&keys.local).expect("the keys fit"));
            self.command(Command::AddSubscriber(Box::new(subscriber(
                subscribing,
                place,
            ))));
        }
        self.send_frame(self.sources.len() - 1, true);
        self.forward();
        self.drain();
    }

    /// A transport with a proven address and keys.
    fn connect(&mut self, place: usize, keys: &KeyingMaterial, rng: &mut Rng) {
        let id = TransportId(place as u64);
        let (node, own) = (Credentials::generate(rng), Credentials::generate(rng));
        self.command(Command::AddTransport(Box::new(TransportSpec {
            id,
            connection: None,
            local_ufrag: node.ufrag().into(),
            local_pwd: node.password().into(),
            remote: Some((own.ufrag().into(), own.password().into())),
        })));
        let mut ice = Controlling::new(
            self.now,
            own,
            node,
            NODE.into(),
            IceConfig::default(),
            rng.fork(),
        )
        .expect("credentials are valid");
        // A check of ours, the node's answer and its own check, and our answer to that.
        for _ in 0..6 {
            if ice.deadline().is_some_and(|due| due <= self.now) {
                ice.on_timeout(self.now);
            }
            while let Some(output) = ice.poll() {
                if let Output::Send { datagram, .. } = output {
                    let datagram = datagram.to_vec();
                    self.push(peer_address(place), &datagram);
                }
            }
            self.forward();
            for datagram in self.drain_to(peer_address(place)) {
                let message = Message::parse(&datagram).expect("the node sends STUN");
                let mut response = [0; MAX_RESPONSE_LEN];
                let len = ice.on_message(self.now, &message, NODE.into(), &mut response);
                let len = len.unwrap_or(0);
                if len > 0 {
                    self.push(peer_address(place), &response[..len]);
                }
            }
            self.now += Duration::from_micros(10);
        }
        self.command(Command::KeysReady {
            transport: id,
            keys: Box::new(keys.mirrored()),
        });
    }

    fn command(&mut self, command: Command) {
        self.engine.command(self.now, command);
        while let Some(event) = self.engine.poll_event() {
            assert!(!matches!(event, Event::Refused { .. }), "{event:?}");
        }
    }

    /// Turns until enough packets were forwarded, and the least that a turn took; or the median, where turns are unlike.
    fn round(&mut self) -> Cost {
        let senders = SENDERS.min(self.load.publishers);
        let forwarded = self.load.subscribers * self.load.packets * senders;
        let mut costs = Vec::new();
        for _ in 0..ROUND_PACKETS.div_ceil(forwarded) {
            self.fill(false);
            std::hint::black_box(self.cold.iter().sum::<u64>());
            let (receive, flush) = self.forward();
            let cost = Cost {
                receive: receive / forwarded as f64,
                flush: flush / forwarded as f64,
            };
            costs.push(cost);
            self.drain();
            self.now += Duration::from_micros(100);
        }
        costs.sort_by(|one, other| one.total().total_cmp(&other.total()));
        costs[if senders > 1 { costs.len() / 2 } else { 0 }]
    }

    /// Turns to be counted by callgrind, which is told to look at [`Bench::counted_turn`] only. Prints what went through them.
    fn count(&mut self, turns: usize, nacks: usize) {
        let before = self.engine.stats().clone();
        for _ in 0..turns {
            self.fill(false);
            self.counted_turn();
            self.got.clear();
            self.drain();
            if nacks > 0 {
                self.ask_again(nacks);
                self.counted_turn();
                self.drain();
            }
            // Long enough for every request to be answered: one packet is sent again once a round trip.
            self.now += Duration::from_millis(5);
        }
        let after = self.engine.stats();
        let received = turns * self.load.packets;
        let resent = after.retransmissions_sent - before.retransmissions_sent;
        let forwarded = received * self.load.subscribers;
        println!("received {received} forwarded {forwarded} resent {resent}");
    }

    #[inline(never)]
    fn counted_turn(&mut self) {
        std::hint::black_box(self.forward());
    }

    /// The first subscriber has lost the last few packets.
    fn ask_again(&mut self, count: usize) {
        let lost = &self.got[self.got.len().saturating_sub(count)..];
        let mut plain = [0; 1_200];
        let mut writer = Writer::new(&mut plain);
        ReceiverReport::write(99, &[], &mut writer).expect("it fits");
        Nack::write(99, 0x1000_0002, lost, &mut writer).expect("it fits");
        let len = writer.len();
        let mut datagram = [0; 1_300];
        let outbound = self.subscriber.as_mut().expect("there is a subscriber");
        let len = outbound
            .protect_rtcp(&plain[..len], &mut datagram)
            .expect("the keys are there");
        self.push(peer_address(1), &datagram[..len]);
    }

    /// One turn, and what its halves took in nanoseconds.
    #[inline(never)]
    fn forward(&mut self) -> (f64, f64) {
        let start = Clock::now();
        self.engine
            .receive(self.now, &mut self.arena, &mut self.batch);
        let middle = Clock::now();
        self.engine.on_timeout(self.now, &mut self.arena);
        self.engine
            .flush(self.now, &mut self.arena, &mut self.bursts);
        let mut flush = middle.elapsed();
        // What is more than leaves in one turn.
        while self.engine.deadline() == Some(Instant::ZERO) {
            self.drain();
            let more = Clock::now();
            self.engine
                .flush(self.now, &mut self.arena, &mut self.bursts);
            flush += more.elapsed();
        }
        ((middle - start).as_nanos() as f64, flush.as_nanos() as f64)
    }

    /// A frame of each who sends in this turn arrives.
    fn fill(&mut self, key: bool) {
        for _ in 0..SENDERS.min(self.load.publishers) {
            // Far apart, so that no two turns use the same memory.
            self.turn += 37;
            self.send_frame(self.turn % self.load.publishers, key);
        }
    }

    /// A frame of one publisher arrives.
    fn send_frame(&mut self, publisher: usize, key: bool) {
        self.sources[publisher].frame += 1;
        for part in 0..self.load.packets {
            let source = &mut self.sources[publisher];
            let ssrc = SSRC + source.place as u32;
            let fields = Fields {
                marker: part + 1 == self.load.packets,
                padding: false,
                payload_type: VIDEO,
                sequence: source.index as u16,
                timestamp: source.frame.wrapping_mul(3_000),
                ssrc,
            };
            let mut header = [0; 64];
            let number = (source.index as u16).to_be_bytes();
            let elements = [Element::new(4, b"1"), Element::new(3, &number)];
            let len = write_header(&mut header, &fields, &elements).expect("it fits");
            // VP8 (RFC 7741): descriptor, and the first bytes of the payload header.
            let mut payload = vec![7; self.load.bytes];
            let first: &[u8] = if key {
                &[
                    0x10, 0x10, 0x02, 0x00, 0x9d, 0x01, 0x2a, 0x40, 0x01, 0xf0, 0x00,
                ]
            } else {
                &[0x10, 0x11, 0x02, 0x00]
            };
            payload[..first.len()].copy_from_slice(first);
            payload[0] = if part == 0 { 0x10 } else { 0 };
            let mut datagram = [0; 1_500];
            let len = source
                .outbound
                .protect_rtp(
                    source.index,
                    ssrc,
                    &header[..len],
                    &[],
                    &payload,
                    &mut datagram,
                )
                .expect("the index is new");
            source.index += 1;
            let from = peer_address(source.place);
            self.push(from, &datagram[..len]);
        }
    }

    fn push(&mut self, source: SocketAddr, bytes: &[u8]) {
        let slot = self.arena.alloc().expect("there are slots enough");
        let datagram = Datagram {
            slot,
            offset: HEADROOM,
            len: bytes.len() as u16,
            source,
            local: Some([192, 0, 2, 1].into()),
            arrival: self.now,
            listener: 0,
        };
        datagram.payload_mut(&mut self.arena).copy_from_slice(bytes);
        self.batch.push(datagram);
    }

    fn drain(&mut self) {
        while let Some(burst) = self.bursts.take(self.now) {
            if burst.destination() == peer_address(1) {
                let packets = self.bursts.bytes(&burst).chunks(burst.segment_size());
                let media = packets.filter(|packet| packet[1] & 0x7f == VIDEO);
                let numbers = media.map(|packet| u16::from_be_bytes([packet[2], packet[3]]));
                self.got.extend(numbers);
            }
            self.bursts.complete(burst);
        }
    }

    /// What is for one peer; the rest is lost.
    fn drain_to(&mut self, peer: SocketAddr) -> Vec<Vec<u8>> {
        let mut datagrams = Vec::new();
        while let Some(burst) = self.bursts.take(self.now) {
            if burst.destination() == peer {
                datagrams.push(self.bursts.bytes(&burst).to_vec());
            }
            self.bursts.complete(burst);
        }
        datagrams
    }
}

/// Resident memory of the process, in bytes.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kibibytes = line.and_then(|rest| rest.trim().strip_suffix(" kB")?.parse::<usize>().ok());
    kibibytes.unwrap_or(0) * 1024
}

fn peer_address(place: usize) -> SocketAddr {
    let [.., high, low] = (place as u32).to_be_bytes();
    SocketAddr::from(([198, 51, high, low], 5_000))
}

fn keying(profile: Profile, rng: &mut Rng) -> KeyingMaterial {
    let mut exported = vec![0; profile.exporter_len()];
    rng.fill(&mut exported);
    KeyingMaterial::from_exporter(profile, &exported, true).expect("the length is the profile's")
}

fn vp8() -> PayloadType {
    PayloadType {
        payload_type: VIDEO,
        codec: Codec::Vp8,
        clock_rate: 90_000,
        rtx: Some(VIDEO_RTX),
        nack: true,
        pli: true,
        fir: true,
        remb: true,
        transport_cc: true,
    }
}

fn publisher(place: usize) -> PublisherSpec {
    PublisherSpec {
        id: PublisherId(place as u64),
        transport: TransportId(place as u64),
        media: vec![PublishedMedia {
            bandwidth_max: None,
            is_screen: false,
            kind: Kind::Video,
            mid: "1".into(),
            codecs: vec![vp8()],
            extensions: vec![
                (4, Uri::Mid),
                (3, Uri::TransportCc),
                (13, Uri::VideoOrientation),
            ],
            encodings: vec![EncodingSpec {
                ssrc: Some(SSRC + place as u32),
                ..EncodingSpec::default()
            }],
        }],
    }
}

fn subscriber(place: usize, publisher: usize) -> SubscriberSpec {
    SubscriberSpec {
        id: SubscriberId(place as u64),
        transport: TransportId(place as u64),
        publisher: PublisherId(publisher as u64),
        media: vec![SubscribedMedia {
            bandwidth_max: None,
            kind: Kind::Video,
            mid: "1".into(),
            ssrc: 0x1000_0000 + 2 * place as u32,
            rtx_ssrc: Some(0x1000_0001 + 2 * place as u32),
            cname: "someone".into(),
            codecs: vec![(VIDEO, vp8())],
            extensions: vec![
                (9, Uri::Mid),
                (2, Uri::AbsSendTime),
                (6, Uri::VideoOrientation),
            ],
        }],
    }
}
