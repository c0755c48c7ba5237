//! Simulated browsers against a real master and a real node, which are built first.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use bench::exit::{self, Exit};
use bench::fleet::{Counters, Fleet, Settings};
use bench::plan::{Codec, Medium, Packets, Plan, Session, Sizes, Stream, Suite, Synthetic};
use bench::runner;
use bench::subject::ringcast::{Options, Ringcast, Scrape};
use bench::subject::{Choice, Subject as _};

/// The folder with fresh binaries of master and node.
fn binaries() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let status = Command::new(cargo)
            .args([
                "build",
                "--quiet",
                "--package",
                "control",
                "--package",
                "dataplane",
            ])
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .status()
            .expect("cargo starts");
        assert!(status.success(), "master and node can be built");
        let own = std::env::current_exe().expect("a test has a file");
        // The test lies in `deps`.
        own.ancestors().nth(2).expect("a build folder").to_owned()
    })
}

fn video(codec: Codec) -> Medium {
    Medium::Synthetic(Synthetic {
        codec,
        frames_per_second: 30.0,
        packets_per_frame: Packets::Fixed(4),
        packet_bytes: Sizes::EqualParts { max: 1100 },
        spacing: Duration::ZERO,
        key_frame_every: None,
    })
}

fn audio() -> Medium {
    Medium::Synthetic(Synthetic {
        codec: Codec::Opus,
        frames_per_second: 50.0,
        packets_per_frame: Packets::Fixed(1),
        packet_bytes: Sizes::Fixed(120),
        spacing: Duration::ZERO,
        key_frame_every: None,
    })
}

fn plan(session: Session, suite: Suite) -> Plan {
    Plan {
        name: "test".to_owned(),
        sessions: vec![session],
        suite,
        joins_per_second: None,
        churn_per_second: 0.0,
        strangers_per_second: 0,
        silent_joins: false,
        pass_share: exit::PASS_SHARE,
        warm_up: Duration::ZERO,
        measure: Duration::from_secs(1),
        seed: 5,
    }
}

/// Starts a cluster, brings everybody in, and gives both to `work`.
fn with_people(options: &Options, plan: &Plan, work: impl FnOnce(&Fleet, &mut Ringcast)) {
    let exit =
        Exit::prepare(exit::Kind::Loopback, exit::PASS_SHARE).expect("loopback is always there");
    let fleet = Fleet::start(&Settings::default()).expect("sockets");
    let mut ringcast = Ringcast::start(options, &exit, plan.seed).expect("a cluster");
    let mut told = (0, 0);
    ringcast
        .bring_in(&fleet, plan, &mut |joined, of| {
            told = (joined, of);
            true
        })
        .expect("everybody is let in");
    let people: usize = plan
        .sessions
        .iter()
        .map(|s| s.viewers + s.streams.len())
        .sum();
    assert_eq!(told, (people, people));
    work(&fleet, &mut ringcast);
    ringcast.stop().expect("all processes lived until now");
}

/// What happens within `time`, from when every subscriber has got something.
fn measure(fleet: &Fleet, time: Duration) -> Counters {
    let patience = Instant::now() + Duration::from_secs(20);
    let before = loop {
        let counters = fleet.counters().expect("the fleet lives");
        if counters.delivered >= 100 && counters.first_packet.len() >= counters.subscribers {
            break counters;
        }
        assert!(Instant::now() < patience, "{counters:?}");
        std::thread::sleep(Duration::from_millis(20));
    };
    std::thread::sleep(time);
    fleet.counters().expect("the fleet lives").since(&before)
}

fn assert_right(counters: &Counters) {
    assert_eq!(counters.wrong_payloads, 0, "{:?}", counters.first_wrong);
    assert_eq!(counters.unauthentic, 0, "{:?}", counters.first_wrong);
    assert!(counters.samples > 0, "{counters:?}");
    assert_eq!(counters.unknown_ssrc, 0);
    assert_eq!(counters.silent, 0);
}

#[test]
fn one_publishes_and_five_watch() {
    let session = Session {
        streams: vec![Stream {
            video: Some(video(Codec::Vp8)),
            audio: Some(audio()),
        }],
        viewers: 5,
        publishers_watch: false,
    };
    for driver in ["mmsg", "auto"] {
        let options = Options {
            driver: driver.to_owned(),
            ..Options::new(binaries().to_owned())
        };
        let plan = plan(session.clone(), Suite::Aes256Gcm);
        with_people(&options, &plan, |fleet, ringcast| {
            let counters = measure(fleet, Duration::from_millis(1500));
            assert_right(&counters);
            assert_eq!((counters.peers, counters.connected), (6, 6));
            // 170 packets a second for each of five; the machine may be busy.
            assert!(counters.expected > 700, "{counters:?}");
            let lost = counters.lost() as f64 / counters.expected as f64;
            assert!(lost < 0.05, "{lost}");
            assert!(counters.reports >= 5, "{counters:?}");
            let total = fleet.counters().expect("the fleet lives");
            assert!(
                total.key_frames_asked > 0,
                "whoever comes late wants a picture"
            );

            let readings = ringcast.readings().expect("the node answers");
            assert!(readings.sent > Some(700) && readings.system_calls > Some(0));
            // Transports, a session, a publisher, subscribers, and the encodings of sound and picture.
            assert_eq!(readings.state, Some(6 + 1 + 1 + 5 + 2));

            ringcast
                .replace_viewers(fleet, 2)
                .expect("two go, two come");
            let until = Instant::now() + Duration::from_secs(10);
            while fleet.counters().expect("the fleet lives").viewers < 7 {
                assert!(Instant::now() < until, "{:?}", fleet.counters());
                std::thread::sleep(Duration::from_millis(20));
            }
            let counters = measure(fleet, Duration::from_millis(500));
            assert_right(&counters);
            assert_eq!(counters.peers, 6);
        });
    }
}

#[test]
fn peers_are_sent_to_by_sockets_of_their_own() {
    // Sounds, because long runs leave by the listener nevertheless.
    let session = Session {
        streams: vec![Stream {
            video: None,
            audio: Some(audio()),
        }],
        viewers: 5,
        publishers_watch: false,
    };
    for wanted in [true, false] {
        let mut options = Options::new(binaries().to_owned());
        let variable = "RINGCAST_NODE__MEDIA__PEER_SOCKETS".to_owned();
        options.environment.push((variable, wanted.to_string()));
        // Sounds are so rare that the listener is used by default.
        let variable = "RINGCAST_NODE__MEDIA__PEER_SOCKET_IDLE".to_owned();
        options.environment.push((variable, "1m".to_owned()));
        let plan = plan(session.clone(), Suite::Aes256Gcm);
        with_people(&options, &plan, |fleet, ringcast| {
            // Whoever has just come may still be sent to by the listener.
            measure(fleet, Duration::from_millis(500));
            let (bursts_before, own_before, _) = bursts(ringcast);
            measure(fleet, Duration::from_secs(1));
            let (bursts, own, is_uring) = bursts(ringcast);
            let (bursts, own) = (bursts - bursts_before, own - own_before);
            assert!(bursts > 100, "{bursts}");
            match (is_uring, wanted) {
                (true, true) => assert!(own * 100 > bursts * 95, "{own} of {bursts}"),
                (true, false) => assert_eq!(own, 0, "the control: nobody has one"),
                (false, _) => eprintln!("io_uring is refused here, so nobody has one: {own}"),
            }
        });
    }
}

/// What the node sent, how much of that by peers' own sockets, and whether it could have.
fn bursts(ringcast: &Ringcast) -> (u64, u64, bool) {
    let metrics = ringcast.metrics().expect("the node answers");
    let metrics = metrics.expect("it is of this kind");
    let sum = |name: &str| metrics.sum(name, &[]).expect(name) as u64;
    let uring = metrics.sum("ringcast_node_driver_info", &[("driver", "uring")]);
    (
        sum("ringcast_node_driver_bursts_total"),
        sum("ringcast_node_driver_peer_bursts_total"),
        uring == Some(1.0),
    )
}

#[test]
fn people_watch_each_other_under_every_suite() {
    for (suite, codec) in [
        (Suite::Aes128Gcm, Codec::H264),
        (Suite::AesCm80, Codec::Vp8),
    ] {
        let stream = Stream {
            video: Some(video(codec)),
            audio: None,
        };
        let session = Session {
            streams: vec![stream; 3],
            viewers: 0,
            publishers_watch: true,
        };
        // Each way of negotiating a subscription, with TLS and without.
        let options = match suite {
            Suite::AesCm80 => Options {
                media_server: "kurento".to_owned(),
                https: true,
                ..Options::new(binaries().to_owned())
            },
            _ => Options::new(binaries().to_owned()),
        };
        with_people(&options, &plan(session, suite), |fleet, _| {
            let counters = measure(fleet, Duration::from_secs(1));
            assert_right(&counters);
            // Each of three sends, and receives two.
            assert_eq!((counters.peers, counters.connected), (9, 9));
            let copies = counters.delivered as f64 / counters.published_packets as f64;
            assert!((1.8..2.2).contains(&copies), "{copies} copies of a packet");
        });
    }
}

fn two_watch_pictures() -> Session {
    Session {
        streams: vec![Stream {
            video: Some(video(Codec::Vp8)),
            audio: None,
        }],
        viewers: 2,
        publishers_watch: false,
    }
}

#[test]
fn a_node_that_drops_media_delivers_nothing() {
    let session = two_watch_pictures();
    let mut options = Options::new(binaries().to_owned());
    options.environment.push((
        "RINGCAST_NODE__FAULTS__DROP_RTP".to_owned(),
        "true".to_owned(),
    ));
    with_people(&options, &plan(session, Suite::Aes256Gcm), |fleet, _| {
        std::thread::sleep(Duration::from_millis(2500));
        let counters = fleet.counters().expect("the fleet lives");
        assert!(counters.published_packets > 100);
        assert_eq!(counters.delivered, 0);
        assert_eq!(counters.silent, 2, "both notice that nothing comes");
    });
}

#[test]
fn whoever_scrapes_says_what_it_took() {
    let session = two_watch_pictures();
    let every = Scrape::Every(Duration::from_millis(100));
    for (scrape, is_scraped) in [(every, true), (Scrape::Never, false)] {
        let settings = runner::Settings {
            subject: Choice::Ringcast(Options {
                scrape: Some(scrape),
                ..Options::new(binaries().to_owned())
            }),
            exit: exit::Kind::Loopback,
            plan: plan(session.clone(), Suite::Aes256Gcm),
            fleet_threads: 1,
            check_every: 8,
            program: Some(PathBuf::from(env!("CARGO_BIN_EXE_ringcast-bench"))),
        };
        let outcome = runner::run(&settings, &mut |_| {}, &AtomicBool::new(false));
        let says = |what: &str| outcome.notes.iter().any(|note| note.starts_with(what));
        assert_eq!(says("scraped "), is_scraped, "{outcome:?}");
        assert!(!says("scraped: never"), "{outcome:?}");
        assert!(says("while measured "), "{outcome:?}");
    }
}
