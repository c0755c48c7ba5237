//! Every message of the link, as it is written. Whoever changes one of these files changes the language.
//!
//! After a change that is meant: `RINGCAST_BLESS=1 cargo test -p link --test golden`.

use std::fs;
use std::path::Path;

use link::message::{
    Capacity, Change, Delta, Heartbeat, Hello, Load, Snapshot, ToMaster, ToNode, Welcome,
};
use link::state::*;
use link::statistics::*;
use link::{Cause, Trouble};
use serde::Serialize;
use serde::de::DeserializeOwned;

fn check<M: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(name: &str, message: &M) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/{name}.json"));
    let written = format!(
        "{}\n",
        serde_json::to_string_pretty(message).expect("can be written")
    );
    if std::env::var_os("RINGCAST_BLESS").is_some() {
        fs::write(&path, &written).expect("the golden file can be written");
    }
    let golden = fs::read_to_string(&path).expect("there is a golden file");
    assert_eq!(written, golden, "{name}");
    let read: M = serde_json::from_str(&golden).expect("can be read");
    assert_eq!(&read, message, "{name}");
}

fn transport() -> Transport {
    Transport {
        id: TransportId::new("t1"),
        session: SessionId::new("s1"),
        connection: ConnectionId::new("c1"),
        local_ice: IceCredentials {
            ufrag: "ufrag1".into(),
            pwd: "pwd1pwd1pwd1pwd1pwd1pwd1".into(),
        },
        remote_ice: Some(IceCredentials {
            ufrag: "ufrag2".into(),
            pwd: "pwd2pwd2pwd2pwd2pwd2pwd2".into(),
        }),
        remote_fingerprints: vec![Fingerprint {
            algorithm: "sha-256".into(),
            value: "AA:BB".into(),
        }],
    }
}

fn vp8() -> Codec {
    Codec {
        payload_type: 96,
        name: "VP8".into(),
        clock_rate: 90_000,
        rtx_payload_type: Some(97),
        feedback: Feedback {
            nack: true,
            pli: true,
            fir: true,
            remb: false,
            transport_cc: true,
        },
    }
}

fn mid() -> Vec<Extension> {
    vec![Extension {
        id: 4,
        uri: "urn:ietf:params:rtp-hdrext:sdes:mid".into(),
    }]
}

fn publisher() -> Publisher {
    Publisher {
        id: PublisherId::new("p1"),
        transport: TransportId::new("t1"),
        media: vec![PublishedMedia {
            bandwidth_max: Some(1_000_000),
            is_screen: true,
            kind: Kind::Video,
            mid: "1".into(),
            codecs: vec![vp8()],
            extensions: mid(),
            encodings: vec![
                Encoding {
                    rid: Some("l".into()),
                    ..Encoding::default()
                },
                Encoding {
                    ssrc: Some(1234),
                    rtx_ssrc: Some(1235),
                    ..Encoding::default()
                },
            ],
        }],
    }
}

fn subscriber() -> Subscriber {
    Subscriber {
        id: SubscriberId::new("u1"),
        transport: TransportId::new("t2"),
        publisher: PublisherId::new("p1"),
        media: vec![SubscribedMedia {
            bandwidth_max: None,
            kind: Kind::Audio,
            mid: "0".into(),
            ssrc: 77,
            rtx_ssrc: None,
            cname: "c1".into(),
            codecs: vec![CodecMapping {
                published_payload_type: 96,
                codec: vp8(),
            }],
            extensions: mid(),
        }],
    }
}

fn report(state: TransportState) -> Report {
    Report::Transport(TransportReport {
        id: TransportId::new("t1"),
        worker: 1,
        addresses: vec![
            "192.0.2.1:20001".parse().expect("an address"),
            "[2001:db8::1]:20001".parse().expect("an address"),
        ],
        state,
        since: None,
        trouble: None,
    })
}

fn in_trouble(state: TransportState, cause: Cause, detail: Option<&str>) -> Report {
    let Report::Transport(report) = report(state) else {
        unreachable!("it is one of a transport")
    };
    Report::Transport(TransportReport {
        since: Some(1_700_000_000_123),
        trouble: Some(Trouble {
            cause,
            detail: detail.map(str::to_owned),
        }),
        ..report
    })
}

fn voice(speaker: Option<&str>, levels: &[(&str, i8)]) -> Report {
    let level = |(name, level): &(&str, i8)| (PublisherId::new(*name), *level);
    Report::Voice(VoiceReport {
        id: SessionId::new("s1"),
        speaker: speaker.map(PublisherId::new),
        levels: levels.iter().map(level).collect(),
    })
}

#[test]
fn messages_to_a_node() {
    check(
        "welcome",
        &ToNode::Welcome(Welcome {
            version: 1,
            epoch: 7,
        }),
    );
    let entries = vec![
        Entry::Transport(transport()),
        Entry::Publisher(publisher()),
        Entry::Subscriber(subscriber()),
    ];
    let snapshot = Snapshot {
        revision: 3,
        entries,
        more: true,
    };
    check("desired-snapshot", &ToNode::DesiredSnapshot(snapshot));
    let changes = vec![
        Change::Put(Entry::Transport(transport())),
        Change::Remove(Key::Subscriber(SubscriberId::new("u1"))),
        Change::Remove(Key::Publisher(PublisherId::new("p1"))),
        Change::Remove(Key::Transport(TransportId::new("t1"))),
    ];
    check(
        "desired",
        &ToNode::Desired(Delta {
            from: 3,
            to: 7,
            changes,
        }),
    );
    let question = StatisticsQuestion {
        number: 9,
        session: Some(SessionId::new("s1")),
        connection: Some(ConnectionId::new("c1")),
    };
    check("ask-statistics", &ToNode::AskStatistics(question));
}

#[test]
fn an_older_master_does_not_say_what_is_a_screen() {
    let mut medium = publisher().media.remove(0);
    let mut written = serde_json::to_value(&medium).expect("can be written");
    let fields = written.as_object_mut().expect("an object");
    assert!(fields.remove("isScreen").is_some());
    medium.is_screen = false;
    let read: PublishedMedia = serde_json::from_value(written.clone()).expect("can be read");
    assert_eq!(read, medium);
    assert_eq!(
        serde_json::to_value(&read).expect("can be written"),
        written
    );
}

/// As browsers with some loss have it.
fn stream(packets: u64) -> StreamStatistics {
    StreamStatistics {
        bits_per_second: 1_234_567,
        packets,
        packets_lost: 17,
        loss_ppm: 12_345,
        jitter_micros: 4_321,
        nacks: 16,
        key_frame_requests: 2,
    }
}

fn subscribed(id: &str) -> TransportStatistics {
    let sent = |kind, rid: Option<&str>| SentStatistics {
        kind,
        rid: rid.map(str::to_owned),
        temporal: None,
        wanted_bits_per_second: 1_234_567,
        stream: stream(123_456),
    };
    TransportStatistics {
        id: TransportId::new(id),
        round_trip_micros: Some(23_456),
        estimate_bits_per_second: Some(2_345_678),
        received: Vec::new(),
        sent: vec![sent(Kind::Audio, None), sent(Kind::Video, Some("rdiv2"))],
    }
}

#[test]
fn statistics() {
    let published = TransportStatistics {
        received: vec![ReceivedStatistics {
            kind: Kind::Video,
            rid: Some("rdiv1".into()),
            stream: StreamStatistics {
                packets_lost: -1,
                ..StreamStatistics::default()
            },
        }],
        sent: Vec::new(),
        round_trip_micros: None,
        estimate_bits_per_second: None,
        ..subscribed("t1")
    };
    let answer = StatisticsAnswer {
        number: 9,
        transports: vec![published, subscribed("t2")],
        more: true,
    };
    check("statistics", &ToMaster::Statistics(answer));
}

#[test]
fn statistics_of_a_thousand_streams_are_half_a_megabyte() {
    let transports = (0..1_000).map(|id| subscribed(&format!("tra_{id:011}")));
    let answer = ToMaster::Statistics(StatisticsAnswer {
        number: 1,
        transports: transports.collect(),
        more: false,
    });
    let bytes = serde_json::to_vec(&answer).expect("JSON").len();
    assert!((400_000..550_000).contains(&bytes), "{bytes} bytes");
}

#[test]
fn messages_to_the_master() {
    check(
        "hello",
        &ToMaster::Hello(Hello {
            version: 1,
            node: "node-1".into(),
            instance: "9f2c".into(),
            software: "ringcast-node 0.1.0".into(),
            dtls_fingerprints: vec![Fingerprint {
                algorithm: "sha-256".into(),
                value: "AA:BB".into(),
            }],
            capacity: Capacity {
                workers: 4,
                transports_max: 4000,
                packets_per_second: Some(500_000),
                bits_per_second: Some(9_000_000_000),
                memory_bytes: Some(8_589_934_592),
            },
            metrics: Some("192.0.2.1:9090".parse().expect("an address")),
        }),
    );
    let entries = vec![
        report(TransportState::New),
        Report::Refused(Refusal {
            key: Key::Publisher(PublisherId::new("p1")),
            limit: "no such transport".into(),
        }),
        voice(None, &[]),
    ];
    let snapshot = Snapshot {
        revision: 2,
        entries,
        more: false,
    };
    check("reported-snapshot", &ToMaster::ReportedSnapshot(snapshot));
    let changes = vec![
        Change::Put(report(TransportState::Connecting)),
        Change::Put(report(TransportState::Connected {
            srtp_profile: "SRTP_AEAD_AES_256_GCM".into(),
        })),
        Change::Put(report(TransportState::Closed {
            reason: CloseReason::ConsentLost,
        })),
        Change::Put(in_trouble(TransportState::New, Cause::NoCheck, None)),
        Change::Put(in_trouble(
            TransportState::Closed {
                reason: CloseReason::HandshakeFailed,
            },
            Cause::AlertReceived,
            Some("alert 42: bad_certificate"),
        )),
        Change::Remove(Key::Transport(TransportId::new("t1"))),
        Change::Put(voice(Some("p1"), &[("p1", -25), ("p2", -61)])),
        Change::Remove(Key::Session(SessionId::new("s1"))),
    ];
    check(
        "reported",
        &ToMaster::Reported(Delta {
            from: 2,
            to: 10,
            changes,
        }),
    );
    let load = Load {
        transports: 12,
        publishers: 4,
        subscribers: 8,
        cpu_ratio: 0.25,
        busiest_worker_ratio: 0.5,
        memory_bytes: 104_857_600,
    };
    check(
        "heartbeat",
        &ToMaster::Heartbeat(Heartbeat {
            applied: 7,
            load,
            leaving: None,
        }),
    );
}

/// What the version before this one knew of a transport's report: it must read what we write, and its reports must be read.
#[test]
fn a_master_and_a_node_of_before_causes_are_understood() {
    #[derive(serde::Serialize, serde::Deserialize)]
    #[serde(tag = "report", rename_all = "camelCase")]
    enum Before {
        Transport(ReportBefore),
    }
    #[derive(serde::Serialize, serde::Deserialize)]
    struct ReportBefore {
        id: TransportId,
        worker: u16,
        addresses: Vec<std::net::SocketAddr>,
        state: TransportState,
    }
    let ours = in_trouble(TransportState::Connecting, Cause::NoClientHello, None);
    let written = serde_json::to_string(&ours).expect("written");
    let Before::Transport(theirs) = serde_json::from_str(&written).expect("an old master reads it");
    assert_eq!(theirs.state, TransportState::Connecting);
    let written = serde_json::to_string(&Before::Transport(theirs)).expect("written");
    let read: Report = serde_json::from_str(&written).expect("an old node is read");
    assert_eq!(read, report(TransportState::Connecting));
}
