//! How the transports of streams stand, as applications see it.

use link::{Cause, CloseReason, TransportId, Trouble};

use super::*;
use crate::domain::{NodeId, StreamId};
use crate::standing;

fn report(id: &TransportId, state: TransportState, trouble: Option<Trouble>) -> TransportReport {
    TransportReport {
        id: id.clone(),
        worker: 0,
        addresses: Vec::new(),
        state,
        since: Some(1_700_000_000_000),
        trouble,
    }
}

fn connected() -> TransportState {
    TransportState::Connected {
        srtp_profile: "SRTP_AEAD_AES_256_GCM".into(),
    }
}

fn closed(reason: CloseReason) -> TransportState {
    TransportState::Closed { reason }
}

/// What the node says of a transport.
fn hear(app: &Arc<App>, report: TransportReport) {
    let node = NodeId::new("media_1");
    let report = Report::Transport(report);
    app.step(|core| crate::nodes::on_report(app, core, &node, &report));
}

/// The session as it is shown at that time.
fn shown(app: &Arc<App>, at: crate::domain::Millis) -> Value {
    let id = SessionId::new("S");
    app.step(|core| {
        let session = core.domain.session(&id).expect("there");
        let mut shown = crate::api::rest::sessions::render(session, true, "https://h");
        standing::add_to_session(core, &id, &mut shown, at);
        shown
    })
}

/// The transport of the only publisher, and of the only subscriber.
fn transports(shown: &Value) -> (Value, Value) {
    let all = shown["connections"]["content"].as_array().expect("a list");
    let of = |list: &str| {
        let found = all.iter().find_map(|one| one[list].get(0));
        found.expect("there")["transport"].clone()
    };
    (of("publishers"), of("subscribers"))
}

/// Somebody publishes, and somebody receives it: the stream and both transports.
async fn call(app: &Arc<App>) -> (Client, Client, StreamId, TransportId, TransportId) {
    let mut a = Client::join(app, Role::Publisher).await;
    let stream = StreamId::new(a.publish().await);
    let mut b = Client::join(app, Role::Subscriber).await;
    b.subscribe(stream.as_str()).await;
    let id = crate::domain::ConnectionId::new(b.id.clone());
    let session = SessionId::new("S");
    let (sends, receives) = app.step(|core| {
        let sends = core.media.publication_transport(&session, &stream).cloned();
        let receives = core.media.subscription_transport(&session, &id, &stream);
        (sends.expect("there"), receives.cloned().expect("there"))
    });
    (a, b, stream, sends, receives)
}

#[tokio::test]
async fn a_trouble_is_shown_while_it_lasts_and_nothing_of_what_works() {
    let (app, _) = master();
    let (_a, _b, _, sends, receives) = call(&app).await;
    let now = now_millis();
    let (publisher, _) = transports(&shown(&app, now));
    assert_eq!(
        (&publisher["state"], &publisher["cause"]),
        (&json!("new"), &Value::Null)
    );
    hear(&app, report(&sends, connected(), None));
    hear(
        &app,
        report(&receives, TransportState::New, Some(Cause::NoCheck.into())),
    );
    let (publisher, subscriber) = transports(&shown(&app, now));
    assert_eq!(
        publisher,
        json!({
            "id": sends, "mediaNodeId": "media_1", "state": "connected", "since": 1_700_000_000_000_u64, "cause": null,
        })
    );
    assert_eq!(subscriber["cause"], "noCheck");
    assert_eq!(subscriber["what"], Cause::NoCheck.what());
    assert_eq!(subscriber["mend"], Cause::NoCheck.mend());
    assert_eq!(shown(&app, now)["transportFailures"], Value::Null);
    hear(&app, report(&receives, connected(), None));
    let (_, subscriber) = transports(&shown(&app, now));
    assert_eq!(
        (&subscriber["state"], &subscriber["cause"]),
        (&json!("connected"), &Value::Null)
    );
    assert_eq!(subscriber.get("what"), None);
}

#[tokio::test]
async fn a_failure_is_shown_for_ten_minutes_after_its_transport() {
    let (app, node) = master();
    let (_a, b, stream, _, receives) = call(&app).await;
    let alert = Trouble {
        cause: Cause::AlertReceived,
        detail: Some("alert 42: bad_certificate".to_owned()),
    };
    let failed = closed(CloseReason::HandshakeFailed);
    hear(&app, report(&receives, failed.clone(), Some(alert)));
    assert_eq!(node.counts().0, 1, "it is gone from the node");
    let now = now_millis();
    let (publisher, subscriber) = transports(&shown(&app, now));
    assert_eq!(publisher["cause"], Value::Null);
    assert_eq!(
        (&subscriber["state"], &subscriber["cause"]),
        (&json!("closed"), &json!("alertReceived"))
    );
    assert_eq!(subscriber["detail"], "alert 42: bad_certificate");
    let failures = shown(&app, now)["transportFailures"].clone();
    assert_eq!(failures.as_array().map(Vec::len), Some(1));
    let failure = &failures[0];
    assert_eq!(
        (&failure["connectionId"], &failure["streamId"]),
        (&json!(b.id), &json!(stream))
    );
    assert_eq!(failure["role"], "subscriber");
    let later = now + 10 * 60 * 1000;
    assert_eq!(shown(&app, later)["transportFailures"], Value::Null);
    assert_eq!(transports(&shown(&app, later)).1, Value::Null);
}

#[tokio::test]
async fn what_somebody_switched_off_is_no_trouble() {
    let (app, _) = master();
    let (mut a, _b, stream, sends, receives) = call(&app).await;
    let cause = |app: &Arc<App>| {
        let (publisher, subscriber) = transports(&shown(app, now_millis()));
        (publisher["cause"].clone(), subscriber["cause"].clone())
    };
    let tell = |app: &Arc<App>| {
        hear(
            app,
            report(&sends, connected(), Some(Cause::NoPictures.into())),
        );
        hear(
            app,
            report(&receives, connected(), Some(Cause::PublisherSilent.into())),
        );
    };
    tell(&app);
    assert_eq!(cause(&app), (json!("noPictures"), json!("publisherSilent")));
    let params = json!({
        "streamId": stream, "property": "videoActive", "newValue": false, "reason": "publishVideo",
    });
    a.heard();
    a.good("streamPropertyChanged", params).await;
    assert_eq!(cause(&app), (Value::Null, Value::Null));
}

/// The transport of a stream ends so many times for that, and each time its client reconnects.
async fn end(
    app: &Arc<App>,
    a: &mut Client,
    stream: &str,
    (times, reason, cause): (usize, CloseReason, Cause),
) {
    for _ in 0..times {
        let session = SessionId::new("S");
        let id = StreamId::new(stream.to_owned());
        let transport = app.step(|core| core.media.publication_transport(&session, &id).cloned());
        let over = closed(reason);
        hear(
            app,
            report(&transport.expect("there"), over, Some(cause.into())),
        );
        let params = json!({"stream": stream, "sdpString": OFFER});
        a.good("reconnectStream", params).await;
    }
}

#[tokio::test]
async fn who_hangs_up_is_no_failure_and_pushes_none_out() {
    let (app, _) = master();
    let mut a = Client::join(&app, Role::Publisher).await;
    let stream = a.publish().await;
    for ending in [
        (1, CloseReason::ConsentLost, Cause::ConsentLost),
        (33, CloseReason::ClosedByPeer, Cause::ClosedByPeer),
        (1, CloseReason::NodeStopped, Cause::NodeStopped),
    ] {
        end(&app, &mut a, &stream, ending).await;
    }
    let failures = shown(&app, now_millis())["transportFailures"].clone();
    let causes: Vec<_> = failures
        .as_array()
        .expect("a list")
        .iter()
        .map(|one| &one["cause"])
        .collect();
    assert_eq!(causes, ["consentLost"]);
}

#[tokio::test]
async fn failures_are_bounded() {
    let (app, _) = master();
    let mut a = Client::join(&app, Role::Publisher).await;
    let stream = a.publish().await;
    let lost = (40, CloseReason::ConsentLost, Cause::ConsentLost);
    end(&app, &mut a, &stream, lost).await;
    let failures = shown(&app, now_millis())["transportFailures"].clone();
    assert_eq!(failures.as_array().map(Vec::len), Some(32));
}
