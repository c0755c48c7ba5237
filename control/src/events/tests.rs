//! Events in the words of the reference.

use serde_json::{Value, json};

use super::*;
use crate::domain::event::{Happened, Pictures, StreamEnd, User};
use crate::domain::{ConnectionId, Reason, StreamId};
use crate::store::Row;

fn ledger(targets: &[Target]) -> Ledger {
    Ledger::new("cluster_A".to_owned(), 2, targets.to_vec())
}

fn target(channel: Channel, most: u64) -> Target {
    Target {
        channel,
        only: None,
        backlog: Backlog::new(most),
    }
}

fn in_session(happened: Happened) -> Event {
    Event::Session(SessionEvent {
        session: SessionId::new("S"),
        session_started_at: 1_000,
        happened,
    })
}

/// The bodies of a webhook and of a line, parsed.
fn bodies(event: &Event, now: Millis) -> (Value, Value) {
    let targets = [target(Channel::Webhook, 9), target(Channel::Cdr, 9)];
    let mut batch = Batch::default();
    ledger(&targets).write(event, now, &mut batch);
    let rows = rows(&batch);
    let parse = |at: usize| serde_json::from_str(&rows[at].1.body).expect("JSON");
    (parse(0), parse(1))
}

fn rows(batch: &Batch) -> Vec<(String, Waiting)> {
    let rows = batch.rows().iter().map(|row| match row {
        Row::Put(Table::Events, key, text) => {
            (key.clone(), serde_json::from_str(text).expect("a row"))
        }
        other => panic!("{other:?}"),
    });
    rows.collect()
}

fn user() -> User {
    User {
        connection: ConnectionId::new("con_A"),
        started_at: 5_000,
        ip: "198.51.100.7".to_owned(),
        platform: "Chrome \"140\"".to_owned(),
        client_data: "{\"name\":\"a\"}".to_owned(),
        server_data: "s".to_owned(),
    }
}

fn stream(receiving_from: Option<&str>, video: bool) -> StreamEnd {
    StreamEnd {
        connection: ConnectionId::new("con_A"),
        stream: StreamId::new("str_CAM_X_con_B"),
        receiving_from: receiving_from.map(ConnectionId::new),
        started_at: 6_000,
        audio: true,
        video: video.then(|| Pictures {
            source: Some("CAMERA".to_owned()),
            frame_rate: Some(30),
            dimensions: Some("{\"width\":640,\"height\":480}".to_owned()),
        }),
    }
}

/// What every event of the session has.
fn with_session(timestamp: u64, mut fields: Value) -> Value {
    let common = json!({"timestamp": timestamp, "sessionId": "S", "uniqueSessionId": "S_1000"});
    let all = fields.as_object_mut().expect("an object");
    all.extend(common.as_object().expect("an object").clone());
    fields
}

#[test]
fn webhook_and_line_say_the_same_under_different_wrappings() {
    let (webhook, line) = bodies(&in_session(Happened::SessionCreated), 1_001);
    let expected = with_session(1_000, json!({}));
    assert_eq!(line, json!({"sessionCreated": expected}));
    assert_eq!(
        webhook,
        with_session(1_000, json!({"event": "sessionCreated"}))
    );
}

#[test]
fn sessions_end_with_start_duration_and_reason() {
    let over = Happened::SessionDestroyed(Reason::LastParticipantLeft);
    let (_, line) = bodies(&in_session(over), 63_999);
    let expected = json!({"startTime": 1000, "duration": 62, "reason": "lastParticipantLeft"});
    let expected = with_session(63_999, expected);
    assert_eq!(line["sessionDestroyed"], expected);
}

#[test]
fn participants_have_all_their_fields_at_both_ends() {
    let (_, line) = bodies(&in_session(Happened::ParticipantJoined(user())), 5_001);
    let joined = json!({
        "connectionId": "con_A", "participantId": "con_A", "location": "unknown", "ip": "198.51.100.7",
        "platform": "Chrome \"140\"", "clientData": "{\"name\":\"a\"}", "serverData": "s",
    });
    assert_eq!(
        line["participantJoined"],
        with_session(5_000, joined.clone())
    );
    let left = Happened::ParticipantLeft(user(), Reason::NetworkDisconnect);
    let (_, line) = bodies(&in_session(left), 8_400);
    let mut expected = with_session(8_400, joined);
    expected["startTime"] = json!(5_000);
    expected["duration"] = json!(3);
    expected["reason"] = json!("networkDisconnect");
    assert_eq!(line["participantLeft"], expected);
}

#[test]
fn streams_have_all_their_fields_at_both_ends() {
    let created = Happened::WebrtcConnectionCreated(stream(None, true));
    let (_, line) = bodies(&in_session(created), 6_001);
    let sent = json!({
        "streamId": "str_CAM_X_con_B", "connectionId": "con_A", "participantId": "con_A",
        "connection": "OUTBOUND", "audioEnabled": true, "videoEnabled": true, "videoSource": "CAMERA",
        "videoFramerate": 30, "videoDimensions": "{\"width\":640,\"height\":480}",
    });
    assert_eq!(line["webrtcConnectionCreated"], with_session(6_000, sent));
    let received = stream(Some("con_B"), false);
    let destroyed = Happened::WebrtcConnectionDestroyed(received, Reason::Unsubscribe);
    let (_, line) = bodies(&in_session(destroyed), 7_999);
    let received = json!({
        "streamId": "str_CAM_X_con_B", "connectionId": "con_A", "participantId": "con_A",
        "connection": "INBOUND", "receivingFrom": "con_B", "audioEnabled": true, "videoEnabled": false,
        "startTime": 6000, "duration": 1, "reason": "unsubscribe",
    });
    assert_eq!(
        line["webrtcConnectionDestroyed"],
        with_session(7_999, received)
    );
}

#[test]
fn signals_name_everybody_who_was_sent_them() {
    let signal = Happened::SignalSent {
        from: None,
        to: vec![ConnectionId::new("con_A"), ConnectionId::new("con_B")],
        kind: "chat".to_owned(),
        data: "hé\"".to_owned(),
    };
    let (webhook, _) = bodies(&in_session(signal), 9_000);
    let expected = json!({
        "event": "signalSent", "from": null, "to": ["con_A", "con_B"], "type": "chat", "data": "hé\"",
    });
    assert_eq!(webhook, with_session(9_000, expected));
}

#[test]
fn nodes_are_named_with_their_cluster() {
    let node = NodeIdentity {
        id: NodeId::new("media_1"),
        environment_id: None,
        ip: [10, 5, 0, 3].into(),
        uri: "quic://10.5.0.3:7443".to_owned(),
    };
    let identity = |mut more: Value| {
        let common = json!({
            "timestamp": 9, "id": "media_1", "environmentId": null, "ip": "10.5.0.3",
            "uri": "quic://10.5.0.3:7443", "clusterId": "cluster_A",
        });
        let all = more.as_object_mut().expect("an object");
        all.extend(common.as_object().expect("an object").clone());
        more
    };
    let changed = Event::MediaNodeStatusChanged {
        node: node.clone(),
        new_status: "launching",
        old_status: None,
    };
    let expected = identity(json!({"newStatus": "launching", "oldStatus": null}));
    let line = bodies(&changed, 9).1;
    assert_eq!(line["mediaNodeStatusChanged"], expected);
    let crashed = Event::NodeCrashed {
        node: node.clone(),
        sessions: vec![SessionId::new("S")],
        disconnected_at: 6,
    };
    let expected = identity(json!({
        "nodeRole": "medianode", "sessionIds": ["S"], "recordingIds": [], "broadcasts": [],
        "timeOfDisconnection": 6,
    }));
    assert_eq!(bodies(&crashed, 9).1["nodeCrashed"], expected);
    let recovered = Event::NodeRecovered { node };
    let expected = identity(json!({"nodeRole": "medianode"}));
    assert_eq!(bodies(&recovered, 9).1["nodeRecovered"], expected);
}

#[test]
fn every_name_is_one_of_openvidus() {
    for happened in [
        Happened::SessionCreated,
        Happened::SessionDestroyed(Reason::Disconnect),
        Happened::ParticipantJoined(user()),
        Happened::ParticipantLeft(user(), Reason::Disconnect),
        Happened::WebrtcConnectionCreated(stream(None, true)),
        Happened::WebrtcConnectionDestroyed(stream(None, true), Reason::Disconnect),
    ] {
        let name = in_session(happened).name();
        assert!(NAMES.contains(&name), "{name}");
    }
}

#[test]
fn only_what_is_wanted_is_kept_and_only_as_long_as_there_is_room() {
    let mut webhook = target(Channel::Webhook, 2);
    webhook.only = Some(["sessionCreated".to_owned()].into());
    let mut ledger = ledger(&[webhook.clone()]);
    let mut batch = Batch::default();
    let over = in_session(Happened::SessionDestroyed(Reason::Disconnect));
    ledger.write(&over, 1, &mut batch);
    assert!(batch.is_empty());
    let created = in_session(Happened::SessionCreated);
    for _ in 0..3 {
        ledger.write(&created, 1, &mut batch);
    }
    assert_eq!(rows(&batch).len(), 2);
    assert_eq!(
        (webhook.backlog.waiting(), webhook.backlog.refused()),
        (2, 1)
    );
    webhook.backlog.gone(1);
    ledger.write(&created, 1, &mut batch);
    assert_eq!(rows(&batch).len(), 3);
}

#[test]
fn keys_are_in_the_order_of_events_over_restarts() {
    let targets = [target(Channel::Webhook, 9), target(Channel::Cdr, 9)];
    let mut batch = Batch::default();
    let created = in_session(Happened::SessionCreated);
    for epoch in [1_790_000_000, 1_790_000_001] {
        let mut ledger = Ledger::new("c".to_owned(), epoch, targets.to_vec());
        ledger.write(&created, 1, &mut batch);
        ledger.write(&created, 1, &mut batch);
    }
    let rows = rows(&batch);
    let keys: Vec<_> = rows.iter().map(|(key, _)| key).collect();
    let of_webhook: Vec<_> = keys
        .iter()
        .filter(|key| key.starts_with("webhook/"))
        .collect();
    assert_eq!(of_webhook.len(), 4);
    assert!(of_webhook.is_sorted());
    let (number, session) = Channel::Webhook.parse(of_webhook[0]).expect("ours");
    assert_eq!((number, session), ((1_790_000_000 << 32) + 1, "S"));
    assert_eq!(Channel::Cdr.parse(of_webhook[0]), None);
    let ids: BTreeSet<_> = rows.iter().map(|(_, row)| &row.id).collect();
    assert_eq!(
        ids.len(),
        4,
        "both targets of one event know it by the same id"
    );
}
