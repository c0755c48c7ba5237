//! A fleet against a forwarder of a page, which can be told to do its work badly.

use std::net::UdpSocket;
use std::sync::atomic::AtomicBool;
use std::time::Instant as StdInstant;

use proto::rtp::Header;
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

/// Runs a publisher and its subscribers against a forwarder that spoils packets so, for a while.
fn run(settings: &Settings, spoil: Spoil) -> Counters {
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
            transport_sequence: None,
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
        rtx: None,
        mid: "1".to_owned(),
        extensions: ExtensionIds {
            mid: Some(4),
            abs_send_time: Some(2),
            ..ExtensionIds::default()
        },
    };
    let spec = PublisherSpec {
        local,
        association: keyed(0),
        media: vec![published],
    };
    let publisher = fleet.publish(spec).unwrap();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| forward(&socket, &subscribers, spoil, &stop));
        std::thread::sleep(Duration::from_millis(600));
        fleet.remove(publisher);
        std::thread::sleep(Duration::from_millis(150));
        stop.store(true, Ordering::Relaxed);
    });
    fleet.counters().unwrap()
}

fn forward(socket: &UdpSocket, subscribers: &[(u32, SocketAddr)], spoil: Spoil, stop: &AtomicBool) {
    let mut inbound = Inbound::new(&keys(0).local).unwrap();
    let mut outbound: Vec<_> = (1..=SUBSCRIBERS)
        .map(|number| Outbound::new(&keys(number as u8).remote).unwrap())
        .collect();
    let mut hidden = [0; SUBSCRIBERS as usize];
    let mut wrong = Outbound::new(&keys(50).remote).unwrap();
    let mut buffer = [0; 2000];
    while !stop.load(Ordering::Relaxed) {
        let Ok((len, from)) = socket.recv_from(&mut buffer) else {
            continue;
        };
        let is_subscriber = subscribers.iter().any(|(_, local)| *local == from);
        let Ok(header) = Header::parse(&buffer[..len]) else {
            continue;
        };
        // What subscribers send is RTCP.
        if is_subscriber || header.ssrc != 1 || header.payload_type != 96 {
            continue;
        }
        let (ssrc, sequence) = (header.ssrc, header.sequence);
        let (len, index) = inbound
            .unprotect_rtp(&mut buffer[..len], header.len(), ssrc, sequence)
            .unwrap();
        let each = subscribers.iter().zip(&mut outbound).zip(&mut hidden);
        for (((number, to), right), hidden) in each {
            let mut packet = buffer[..len].to_vec();
            let fate = spoil(sequence, &mut packet);
            let ssrc = 1000 + number;
            let index = index - *hidden;
            packet[2..4].copy_from_slice(&(index as u16).to_be_bytes());
            packet[8..12].copy_from_slice(&ssrc.to_be_bytes());
            let (header, payload) = packet.split_at(header.len());
            let mut out = [0; 2000];
            let copies = match fate {
                Fate::Dropped => continue,
                Fate::Hidden => {
                    *hidden += 1;
                    continue;
                }
                Fate::Twice => 2,
                Fate::Sent | Fate::WithAnotherKey => 1,
            };
            let srtp = match fate {
                Fate::WithAnotherKey => &mut wrong,
                _ => right,
            };
            let len = srtp
                .protect_rtp(index, ssrc, header, &[], payload, &mut out)
                .unwrap();
            for _ in 0..copies {
                socket.send_to(&out[..len], to).unwrap();
            }
        }
    }
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
    assert_eq!(fleet.state(peer), Some(PeerState::Joining));
    fleet.remove(peer);
    assert_eq!(fleet.state(peer), None);
    assert_eq!(fleet.counters().unwrap().peers, 0);
}
