//! Statistics and network quality, as applications and users hear of them.

use axum::body::{Body, to_bytes};
use axum::http::{Request, header};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use link::TransportId;
use link::statistics::{
    ReceivedStatistics, SentStatistics, StatisticsQuestion, StreamStatistics, TransportStatistics,
};
use tower::ServiceExt as _;

use super::*;
use crate::network_quality;
use crate::server::routes;
use crate::testing::FakeNode;

async fn get(app: &Arc<App>, path: &str) -> Value {
    let user = STANDARD.encode(format!("OPENVIDUAPP:{SECRET}"));
    let request = Request::builder()
        .uri(format!("/openvidu/api{path}"))
        .header(header::AUTHORIZATION, format!("Basic {user}"))
        .body(Body::empty())
        .expect("good");
    let answer = routes(app, None)
        .oneshot(request)
        .await
        .expect("infallible");
    assert_eq!(answer.status(), 200, "{path}");
    let bytes = to_bytes(answer.into_body(), 1 << 20).await.expect("small");
    serde_json::from_slice(&bytes).expect("JSON")
}

/// A call of two: the transports of its publisher and its subscriber.
async fn call(app: &Arc<App>, node: &FakeNode) -> (Client, Client, [TransportId; 2]) {
    let mut a = Client::join(app, Role::Publisher).await;
    let stream = a.publish().await;
    let mut b = Client::join(app, Role::Subscriber).await;
    b.subscribe(&stream).await;
    a.heard();
    b.heard();
    let transports: Vec<_> = node
        .entries()
        .into_iter()
        .filter_map(|entry| match entry {
            Entry::Publisher(one) => Some((0, one.transport)),
            Entry::Subscriber(one) => Some((1, one.transport)),
            Entry::Transport(_) => None,
        })
        .collect();
    let of = |which| {
        let found = transports.iter().find(|(what, _)| *what == which);
        found.expect("ordered").1.clone()
    };
    (a, b, [of(0), of(1)])
}

fn stream(loss_ppm: u32) -> StreamStatistics {
    StreamStatistics {
        bits_per_second: 1_000_000,
        packets: 500,
        packets_lost: 5,
        loss_ppm,
        jitter_micros: 2_500,
        nacks: 4,
        key_frame_requests: 1,
    }
}

/// What a node says of a publisher and a subscriber whose path loses so much.
fn told(transports: &[TransportId; 2], loss_ppm: [u32; 2]) -> Vec<TransportStatistics> {
    let transport = |id: &TransportId| TransportStatistics {
        id: id.clone(),
        round_trip_micros: Some(12_500),
        estimate_bits_per_second: None,
        received: Vec::new(),
        sent: Vec::new(),
    };
    let received = ReceivedStatistics {
        kind: link::Kind::Video,
        rid: Some("rdiv2".to_owned()),
        stream: stream(loss_ppm[0]),
    };
    let sent = SentStatistics {
        kind: link::Kind::Video,
        rid: Some("rdiv2".to_owned()),
        temporal: Some(1),
        wanted_bits_per_second: 1_000_000,
        stream: stream(loss_ppm[1]),
    };
    vec![
        TransportStatistics {
            received: vec![received],
            ..transport(&transports[0])
        },
        TransportStatistics {
            sent: vec![sent],
            ..transport(&transports[1])
        },
        transport(&TransportId::new("tra_of_nobody")),
    ]
}

fn set(node: &FakeNode, told: Vec<TransportStatistics>) {
    *node.statistics.lock().expect("no test panicked with it") = told;
}

#[tokio::test]
async fn applications_are_shown_statistics_when_they_ask() {
    let (app, node) = master();
    let (a, b, transports) = call(&app, &node).await;
    set(&node, told(&transports, [20_000, 0]));
    for (path, publisher, subscriber) in [
        (
            "/sessions?",
            "/content/0/connections/content/0",
            "/content/0/connections/content/1",
        ),
        (
            "/sessions/S?",
            "/connections/content/0",
            "/connections/content/1",
        ),
        ("/sessions/S/connection?", "/content/0", "/content/1"),
    ] {
        let plain = get(&app, path).await;
        let asked = get(&app, &format!("{path}&webRtcStats=true")).await;
        for (shown, item) in [(publisher, "/publishers/0"), (subscriber, "/subscribers/0")] {
            let at = format!("{shown}{item}");
            assert!(plain.pointer(&at).expect(path).get("serverStats").is_none());
            let stats = &asked.pointer(&at).expect(path)["serverStats"];
            assert_eq!(stats["roundTripMs"], 12.5, "{path} {asked}");
        }
    }
    let of = |id: &str| format!("/sessions/S/connection/{id}?webRtcStats=true");
    let publisher = get(&app, &of(&a.id)).await;
    let streams = &publisher["publishers"][0]["serverStats"]["streams"];
    let expected = json!([{
        "kind": "video", "rid": "rdiv2", "bitsPerSecond": 1_000_000, "packets": 500, "packetsLost": 5, "lossRatio": 0.02,
        "jitterMs": 2.5, "nacks": 4, "keyFrameRequests": 1,
    }]);
    assert_eq!(*streams, expected);
    let subscriber = get(&app, &of(&b.id)).await;
    let stream = &subscriber["subscribers"][0]["serverStats"]["streams"][0];
    assert_eq!(
        (&stream["temporalLayer"], &stream["wantedBitsPerSecond"]),
        (&json!(1), &json!(1_000_000))
    );

    // The node is asked for no more than is shown, and for nothing that is not.
    let questions = node
        .questions
        .lock()
        .expect("no test panicked with it")
        .clone();
    let [all, session, list, first, _] = &questions[..] else {
        panic!("{questions:?}");
    };
    assert_eq!(*all, StatisticsQuestion::default());
    assert_eq!(session, list);
    assert!(session.session.is_some() && session.connection.is_none());
    let wanted = node.entries().into_iter().find_map(|entry| match entry {
        Entry::Transport(one) if one.id == transports[0] => Some((one.session, one.connection)),
        _ => None,
    });
    assert_eq!(wanted, first.session.clone().zip(first.connection.clone()));

    // A node that does not answer spoils nothing.
    node.answers.store(false, Ordering::SeqCst);
    let shown = get(&app, &of(&a.id)).await;
    assert!(shown["publishers"][0].get("serverStats").is_none());
    assert_eq!(
        shown["publishers"][0]["streamId"],
        publisher["publishers"][0]["streamId"]
    );
}

#[tokio::test]
async fn everybody_hears_of_everybodys_network_quality() {
    let (app, node) = master();
    let (mut a, mut b, transports) = call(&app, &node).await;
    let look = async |loss_ppm| {
        set(&node, told(&transports, loss_ppm));
        network_quality::look(&app, Duration::from_secs(1)).await;
    };
    let level = |id: &str, old: u8, new: u8| {
        let params = json!({"connectionId": id, "newValue": new, "oldValue": old});
        ("networkQualityLevelChanged".to_owned(), params)
    };
    look([0, 0]).await;
    let first = [level(&a.id, 0, 5), level(&b.id, 0, 5)];
    assert_eq!((a.heard(), b.heard()), (first.to_vec(), first.to_vec()));
    look([0, 0]).await;
    assert_eq!(
        (a.heard(), b.heard()),
        (vec![], vec![]),
        "what stays is no news"
    );
    // The subscriber's path loses a tenth; the publisher's is as it was.
    look([0, 100_000]).await;
    let worse = vec![level(&b.id, 5, 2)];
    assert_eq!((a.heard(), b.heard()), (worse.clone(), worse));
    // Who joins late hears of all that others know, once.
    let mut late = Client::join(&app, Role::Subscriber).await;
    a.heard();
    b.heard();
    assert_eq!(late.heard(), []);
    look([0, 100_000]).await;
    assert_eq!(late.heard(), [level(&a.id, 0, 5), level(&b.id, 0, 2)]);
    look([0, 100_000]).await;
    assert_eq!(late.heard(), []);
    assert_eq!((a.heard(), b.heard()), (vec![], vec![]));
    late.good("leaveRoom", json!({})).await;
    a.heard();
    b.heard();
    // Nothing comes of a stream that is on.
    let nobody = told(&transports, [0, 0]).split_off(1);
    set(&node, nobody);
    network_quality::look(&app, Duration::from_secs(1)).await;
    assert_eq!(b.heard(), [level(&a.id, 5, 1)]);
    // A socket is cut: its user is away, and hears of it when it is back.
    a.heard();
    a.cut();
    look([0, 100_000]).await;
    assert_eq!(
        b.heard(),
        [],
        "one step down at the first look may be chance"
    );
    look([0, 100_000]).await;
    assert_eq!(b.heard(), [level(&a.id, 1, 0)]);
    // A node that does not answer says nothing about users.
    node.answers.store(false, Ordering::SeqCst);
    for _ in 0..5 {
        look([0, 0]).await;
    }
    assert_eq!(b.heard(), []);
}
