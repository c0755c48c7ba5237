//! A fleet against a forwarder of a page, which can be told to do its work badly.

use std::net::UdpSocket;
use std::sync::atomic::AtomicBool;
use std::time::Instant as StdInstant;

use proto::demux;
use proto::rtcp::{self, Nack, Pli, Writer};
use proto::rtp::Header;
use proto::rtx;
use proto::srtp::{Inbound, KeyingMaterial, MasterKey, Outbound, Profile};

use super::*;
use crate::plan::{Codec, Medium, Packets, Sizes, Synthetic};
use crate::stream::Verifier;

const SUBSCRIBERS: u32 = 3;
const SEED: u64 = 77;

/// What a forwarder does with a packet before it protects it for one subscriber.
type Spoil = fn(sequence: u16, packet: &mut Vec<u8>) -> Fate;

enum Fate {
    Sent,
    /// Protected with another key than the subscriber has.
    WithAnotherKey,
    Dropped,
    /// Dropped, and those after it numbered as if it had never been.
    Hidden,
    Twice,
}

fn medium() -> Medium {
    Medium::Synthetic(Synthetic {
        codec: Codec::Vp8,
        frames_per_second: 100.0,
        packets_per_frame: Packets::Fixed(4),
        packet_bytes: Sizes::Fixed(600),
        spacing: Duration::ZERO,
        key_frame_every: None,
    })
}

fn keys(number: u8) -> KeyingMaterial {
    let profile = Profile::AeadAes128Gcm;
    let key = |byte| MasterKey::new(profile, &[byte; 16], &[byte; 12]).unwrap();
    KeyingMaterial {
        profile,
        local: key(number),
        remote: key(number + 100),
    }
}

/// How a forwarder behaves.
#[derive(Clone, Copy)]
struct Manners {
    spoil: Spoil,
    /// Subscribers get again what they ask for.
    answers: bool,
    /// It asks the publisher for some packets again, and for key frames.
    asks: bool,
}

impl From<Spoil> for Manners {
    fn from(spoil: Spoil) -> Self {
        Self {
            spoil,
            answers: false,
            asks: false,
        }
    }
}

/// Runs a publisher and its subscribers against a forwarder that spoils packets so, for a while.
fn run(settings: &Settings, spoil: Spoil) -> Counters {
    run_with(settings, spoil.into()).0
}

/// The same; also how many packets the publisher sent again.
fn run_with(settings: &Settings, manners: Manners) -> (Counters, u64) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let timeout = Duration::from_millis(50);
    socket.set_read_timeout(Some(timeout)).unwrap();
    let forwarder = socket.local_addr().unwrap();
    let keyed = |number| Association::Keyed {
        remote: forwarder,
        keys: Box::new(keys(number)),
    };
    let fleet = Fleet::start(settings).unwrap();
    let subscribers: Vec<_> = (1..=SUBSCRIBERS).map(|n| (n, fleet.allocate())).collect();
    let ids = subscribers.iter().map(|(number, local)| {
        let expected = ExpectedStream {
            ssrc: 1000 + number,
            codec: Codec::Vp8,
            seed: SEED,
            verifier: Verifier::new(&medium(), SEED).unwrap(),
            rtx: Some(Rtx {
                ssrc: 2000 + number,
                payload_type: 97,
            }),
            key_frames_on_request: true,
        };
        let spec = SubscriberSpec {
            local: *local,
            association: keyed(*number as u8),
            expect: vec![expected],
            transport_sequence: Some(3),
            asked: None,
        };
        fleet.subscribe(spec).unwrap()
    });
    let ids: Vec<_> = ids.collect();
    fleet.wait_connected(&ids, Duration::from_secs(5)).unwrap();
    let local = fleet.allocate();
    let published = PublishedMedium {
        medium: medium(),
        seed: SEED,
        ssrc: 1,
        payload_type: 96,
        rtx: Some(Rtx {
            ssrc: 2,
            payload_type: 97,
        }),
        mid: "1".to_owned(),
        extensions: ExtensionIds {
            mid: Some(4),
            abs_send_time: Some(2),
            transport_sequence: Some(3),
            audio_level: None,
        },
    };
    let spec = PublisherSpec {
        local,
        association: keyed(0),
        media: vec![published],
    };
    let publisher = fleet.publish(spec).unwrap();
    let stop = AtomicBool::new(false);
    let forwarder = Forwarder::new(&socket, &subscribers, local, manners);
    let again = std::thread::scope(|scope| {
        let forwarder = scope.spawn(|| forwarder.run(&stop));
        if settings.silent {
            std::thread::sleep(Duration::from_millis(200));
            assert_eq!(fleet.counters().unwrap().published_packets, 0);
            fleet.speak().unwrap();
        }
        std::thread::sleep(Duration::from_millis(600));
        fleet.remove(publisher);
        std::thread::sleep(Duration::from_millis(150));
        stop.store(true, Ordering::Relaxed);
        forwarder.join().unwrap()
    });
    (fleet.counters().unwrap(), again)
}

struct Forwarder<'a> {
    socket: &'a UdpSocket,
    publisher: SocketAddr,
    manners: Manners,
    inbound: Inbound,
    outbound: Outbound,
    wrong: Outbound,
    copies: Vec<Copies>,
    /// Plain packets as they were published.
    history: Vec<Vec<u8>>,
    again: u64,
}

/// One subscriber's.
struct Copies {
    number: u32,
    to: SocketAddr,
    inbound: Inbound,
    outbound: Outbound,
    hidden: u64,
    rtx_index: u64,
}

impl<'a> Forwarder<'a> {
    fn new(
        socket: &'a UdpSocket,
        subscribers: &[(u32, SocketAddr)],
        publisher: SocketAddr,
        manners: Manners,
    ) -> Self {
        let copies = subscribers.iter().map(|(number, to)| Copies {
            number: *number,
            to: *to,
            inbound: Inbound::new(&keys(*number as u8).local).unwrap(),
            outbound: Outbound::new(&keys(*number as u8).remote).unwrap(),
            hidden: 0,
            rtx_index: 100,
        });
        Self {
            socket,
            publisher,
            manners,
            inbound: Inbound::new(&keys(0).local).unwrap(),
            outbound: Outbound::new(&keys(0).remote).unwrap(),
            wrong: Outbound::new(&keys(50).remote).unwrap(),
            copies: copies.collect(),
            history: Vec::new(),
            again: 0,
        }
    }

    fn run(mut self, stop: &AtomicBool) -> u64 {
        let mut buffer = [0; 2000];
        while !stop.load(Ordering::Relaxed) {
            let Ok((len, from)) = self.socket.recv_from(&mut buffer) else {
                continue;
            };
            let packet = &mut buffer[..len];
            match (from == self.publisher, demux::classify(packet)) {
                (true, demux::Packet::Rtp) => self.on_published(packet),
                (false, demux::Packet::Rtcp) if self.manners.answers => self.on_rtcp(packet, from),
                _ => {}
            }
        }
        self.again
    }

    fn on_published(&mut self, packet: &mut [u8]) {
        let header = Header::parse(packet).unwrap();
        let (len, index) = self
            .inbound
            .unprotect_rtp(packet, header.len(), header.ssrc, header.sequence)
            .unwrap();
        let packet = &packet[..len];
        if header.ssrc == 2 {
            let Ok(rtx::Retransmission::Original { sequence, payload }) =
                rtx::unwrap(&header, packet)
            else {
                panic!("no retransmission");
            };
            let sent = |old: &&Vec<u8>| old[2..4] == sequence.to_be_bytes();
            let original = self.history.iter().find(sent).unwrap();
            assert!(original.ends_with(&packet[payload]));
            self.again += 1;
            return;
        }
        self.history.push(packet.to_vec());
        if self.manners.asks && header.sequence % 20 == 7 {
            let mut buffer = [0; 100];
            let mut writer = Writer::new(&mut buffer);
            let missing = [header.sequence.wrapping_sub(1), header.sequence];
            Nack::write(9, 1, &missing, &mut writer).unwrap();
            let pli = Pli {
                sender: 9,
                media: 1,
            };
            pli.write(&mut writer).unwrap();
            let (len, mut out) = (writer.len(), [0; 200]);
            let len = self
                .outbound
                .protect_rtcp(&buffer[..len], &mut out)
                .unwrap();
            self.socket.send_to(&out[..len], self.publisher).unwrap();
        }
        for copies in &mut self.copies {
            let spoil = self.manners.spoil;
            copies.send(self.socket, index, packet, spoil, &mut self.wrong);
        }
    }

    fn on_rtcp(&mut self, packet: &mut [u8], from: SocketAddr) {
        let copies = self.copies.iter_mut().find(|copies| copies.to == from);
        let copies = copies.unwrap();
        let len = copies.inbound.unprotect_rtcp(packet).unwrap();
        for packet in rtcp::compound(&packet[..len]).unwrap() {
            let Ok(rtcp::Packet::Nack(nack)) = packet else {
                continue;
            };
            assert_eq!(nack.media, 1000 + copies.number);
            for sequence in nack.sequences() {
                let sent = |old: &&Vec<u8>| old[2..4] == sequence.to_be_bytes();
                let original = self.history.iter().find(sent).unwrap();
                copies.send_again(self.socket, sequence, original);
            }
        }
    }
}

impl Copies {
    fn send(
        &mut self,
        socket: &UdpSocket,
        index: u64,
        packet: &[u8],
        spoil: Spoil,
        wrong: &mut Outbound,
    ) {
        let mut packet = packet.to_vec();
        let (srtp, times) = match spoil(index as u16, &mut packet) {
            Fate::Dropped => return,
            Fate::Hidden => {
                self.hidden += 1;
                return;
            }
            Fate::Sent => (&mut self.outbound, 1),
            Fate::Twice => (&mut self.outbound, 2),
            Fate::WithAnotherKey => (wrong, 1),
        };
        let (index, ssrc) = (index - self.hidden, 1000 + self.number);
        packet[2..4].copy_from_slice(&(index as u16).to_be_bytes());
        packet[8..12].copy_from_slice(&ssrc.to_be_bytes());
        let (header, payload) = packet.split_at(Header::parse(&packet).unwrap().len());
        let mut out = [0; 2000];
        let len = srtp
            .protect_rtp(index, ssrc, header, &[], payload, &mut out)
            .unwrap();
        for _ in 0..times {
            socket.send_to(&out[..len], self.to).unwrap();
        }
    }

    fn send_again(&mut self, socket: &UdpSocket, sequence: u16, original: &[u8]) {
        let ssrc = 2000 + self.number;
        let (header, payload) = original.split_at(Header::parse(original).unwrap().len());
        let mut header = header.to_vec();
        header[1] = 97;
        header[2..4].copy_from_slice(&(self.rtx_index as u16).to_be_bytes());
        header[8..12].copy_from_slice(&ssrc.to_be_bytes());
        let mut out = [0; 2000];
        let prefix = rtx::prefix(sequence);
        let len = self
            .outbound
            .protect_rtp(self.rtx_index, ssrc, &header, &prefix, payload, &mut out)
            .unwrap();
        self.rtx_index += 1;
        socket.send_to(&out[..len], self.to).unwrap();
    }
}

#[test]
fn who_is_silent_speaks_when_told_and_has_missed_nothing() {
    let silent = Settings {
        silent: true,
        ..settings(1)
    };
    let counters = run(&silent, |_, _| Fate::Sent);
    assert!(counters.published_packets > 100, "{counters:?}");
    assert_eq!(counters.skipped_frames, 0);
    assert_eq!(
        (counters.expected, counters.lost()),
        (counters.delivered, 0)
    );
}

fn settings(sample_every: u32) -> Settings {
    Settings {
        sample_every,
        ..Settings::default()
    }
}

#[test]
fn all_is_well_with_a_good_forwarder() {
    for driver in [net::Kind::Mmsg, net::Kind::Auto] {
        let settings = Settings {
            driver,
            threads: 2,
            ..settings(16)
        };
        let counters = run(&settings, |_, _| Fate::Sent);
        let published = counters.published_packets;
        assert!(published > 150, "{published} packets");
        assert_eq!(counters.delivered, published * u64::from(SUBSCRIBERS));
        assert_eq!(counters.expected, counters.delivered);
        assert_eq!((counters.lost(), counters.duplicates), (0, 0));
        assert_eq!((counters.wrong_payloads, counters.unauthentic), (0, 0));
        let samples = counters.samples;
        assert!(
            (counters.delivered / 16..counters.delivered / 8).contains(&samples),
            "{samples} of {}",
            counters.delivered
        );
        assert_eq!(counters.latency.len(), samples);
        assert!(
            counters.latency.max() < 1_000_000_000 && counters.latency.min() > 1000,
            "{:?}",
            counters.latency
        );
        assert_eq!((counters.stray, counters.unknown_ssrc), (0, 0));
        assert_eq!((counters.peers, counters.connected), (3, 3));
        assert!(counters.reports >= 2 && counters.cpu > Duration::ZERO);
        assert!(counters.feedback >= 10, "{counters:?}");
        assert_eq!((counters.nacks, counters.plis), (0, 0));
        let in_runs: u64 = (0..).zip(counters.runs).map(|(n, count)| n * count).sum();
        assert!(in_runs >= counters.delivered);
    }
}

#[test]
fn a_flipped_byte_of_the_payload_is_found() {
    let counters = run(&settings(1), |sequence, packet| {
        if sequence.is_multiple_of(50) {
            let last = packet.len() - 1;
            packet[last] ^= 1;
        }
        Fate::Sent
    });
    assert!(counters.wrong_payloads > 0);
    assert!(counters.wrong_payloads < counters.samples / 10);
    assert_eq!((counters.unauthentic, counters.lost()), (0, 0));
    let first = counters.first_wrong.unwrap();
    assert!(first.contains("RTP stream 0x3"), "{first}");
}

#[test]
fn a_packet_under_another_key_is_not_authentic() {
    let counters = run(&settings(1), |sequence, _| match sequence % 64 {
        0 => Fate::WithAnotherKey,
        _ => Fate::Sent,
    });
    assert!(counters.unauthentic > 0);
    assert!(counters.unauthentic < counters.samples / 10);
    assert_eq!(counters.wrong_payloads, 0);
}

#[test]
fn a_missing_packet_is_lost_and_asked_for() {
    let counters = run(&settings(64), |sequence, _| match sequence % 50 {
        25 => Fate::Dropped,
        _ => Fate::Sent,
    });
    assert!(counters.lost() > 0);
    assert!(
        counters.lost() < counters.expected / 25,
        "{}",
        counters.lost()
    );
    assert!(counters.nacks >= counters.lost());
    assert!(counters.plis > 0, "nobody answers: a key frame is wanted");
    assert_eq!(counters.recovered, 0);
}

#[test]
fn what_is_lost_and_sent_again_is_delivered() {
    let manners = Manners {
        spoil: |sequence, _| match sequence % 50 {
            25 | 26 => Fate::Dropped,
            _ => Fate::Sent,
        },
        answers: true,
        asks: false,
    };
    let (counters, _) = run_with(&settings(64), manners);
    assert!(counters.recovered > 10, "{counters:?}");
    assert_eq!(counters.lost(), 0, "{counters:?}");
    assert!(counters.nacks >= counters.recovered);
    assert_eq!((counters.wrong_payloads, counters.unauthentic), (0, 0));
    assert_eq!((counters.duplicates, counters.plis), (0, 0));
}

#[test]
fn a_publisher_sends_again_what_it_is_asked_for() {
    let manners = Manners {
        spoil: |_, _| Fate::Sent,
        answers: false,
        asks: true,
    };
    let (counters, again) = run_with(&settings(64), manners);
    assert!(counters.key_frames_asked > 5);
    // Of the two that were asked for at a time, the very first may be from before the beginning.
    let asked = 2 * counters.key_frames_asked;
    assert!((asked - 1..=asked).contains(&again), "{again} of {asked}");
    assert_eq!(counters.published_retransmissions, again);
    assert_eq!((counters.lost(), counters.wrong_payloads), (0, 0));
}

#[test]
fn a_loss_hidden_by_renumbering_is_lost() {
    let counters = run(&settings(8), |sequence, _| match sequence % 10 {
        5 => Fate::Hidden,
        _ => Fate::Sent,
    });
    assert_eq!((counters.wrong_payloads, counters.nacks), (0, 0));
    let tenth = counters.published_packets * u64::from(SUBSCRIBERS) / 10;
    assert!(
        (tenth * 8 / 10..=tenth + 3).contains(&counters.lost()),
        "{} of {tenth}",
        counters.lost()
    );
}

#[test]
fn copies_of_copies_are_no_deliveries() {
    let counters = run(&settings(64), |sequence, _| match sequence % 20 {
        0 => Fate::Twice,
        _ => Fate::Sent,
    });
    assert!(counters.duplicates > 0);
    assert_eq!(counters.delivered, counters.expected);
    assert_eq!(
        counters.delivered,
        counters.published_packets * u64::from(SUBSCRIBERS)
    );
}

#[test]
fn a_sampled_fleet_takes_gaps_for_granted() {
    let settings = Settings {
        sampled: true,
        ..settings(1)
    };
    let counters = run(&settings, |sequence, _| match sequence % 10 {
        0 => Fate::Sent,
        _ => Fate::Dropped,
    });
    assert!(counters.samples > 30 && counters.received_packets == counters.samples);
    assert_eq!((counters.expected, counters.delivered), (0, 0));
    assert_eq!((counters.nacks, counters.plis, counters.silent), (0, 0, 0));
    assert_eq!((counters.wrong_payloads, counters.unauthentic), (0, 0));
}

#[test]
fn a_peer_that_nobody_answers_fails() {
    let fleet = Fleet::start(&Settings::default()).unwrap();
    let local = fleet.allocate();
    let mut rng = clock::Rng::from_number(3);
    let mut credentials = || proto::ice::Credentials::generate(&mut rng);
    let spec = SubscriberSpec {
        local,
        association: Association::Negotiated(Box::new(Negotiated {
            local: credentials(),
            remote: credentials(),
            candidate: "127.0.0.1:9".parse().unwrap(),
            fingerprints: Vec::new(),
            certificate: proto::dtls::Certificate::generate().unwrap(),
            suite: crate::plan::Suite::Aes256Gcm,
        })),
        expect: Vec::new(),
        transport_sequence: None,
        asked: None,
    };
    let peer = fleet.subscribe(spec).unwrap();
    let begun = StdInstant::now();
    let result = fleet.wait_connected(&[peer], Duration::from_millis(100));
    assert!(matches!(
        result,
        Err(Error::NotConnected {
            missing: 1,
            failed: 0,
            ..
        })
    ));
    assert!(begun.elapsed() >= Duration::from_millis(100));
    assert_eq!(
        fleet.registry.state(peer),
        Some(registry::PeerState::Joining)
    );
    fleet.remove(peer);
    assert_eq!(fleet.registry.state(peer), None);
    assert_eq!(fleet.counters().unwrap().peers, 0);
}
