//! Restarting ICE on connections that go on.

use super::*;

/// The same description with other ICE credentials.
fn restarted(description: &str, ufrag: &str) -> String {
    let lines = description.lines().map(|line| match line.split_once(':') {
        Some(("a=ice-ufrag", _)) => format!("a=ice-ufrag:{ufrag}"),
        Some(("a=ice-pwd", _)) => format!("a=ice-pwd:{}", "p".repeat(24)),
        _ => line.to_owned(),
    });
    lines.collect::<Vec<_>>().join("\r\n") + "\r\n"
}

/// The same of another `RTCPeerConnection`.
fn of_another(description: &str) -> String {
    let lines = description
        .lines()
        .map(|line| match line.strip_prefix("o=") {
            Some(_) => "o=- 4711 2 IN IP4 127.0.0.1".to_owned(),
            None => line.to_owned(),
        });
    lines.collect::<Vec<_>>().join("\r\n") + "\r\n"
}

/// The transports, and everything else.
fn on(node: &crate::testing::FakeNode) -> (Vec<link::Transport>, Vec<Entry>) {
    let (mut transports, mut others) = (Vec::new(), Vec::new());
    for entry in node.entries() {
        match entry {
            Entry::Transport(transport) => transports.push(transport),
            other => others.push(other),
        }
    }
    (transports, others)
}

/// One transport has other credentials on both sides; nothing else has changed. Ours is what the description names.
fn assert_restarted(before: &link::Transport, after: &link::Transport, ufrag: &str, said: &Value) {
    let said = said.as_str().expect("a description");
    assert_eq!(before.id, after.id);
    assert_eq!(before.remote_fingerprints, after.remote_fingerprints);
    assert_ne!(before.local_ice.ufrag, after.local_ice.ufrag);
    assert_ne!(before.local_ice.pwd, after.local_ice.pwd);
    assert!(said.contains(&format!("a=ice-ufrag:{}", after.local_ice.ufrag)));
    let remote = after.remote_ice.as_ref().map(|ice| ice.ufrag.as_str());
    assert_eq!(remote, Some(ufrag));
    let version = said.lines().next().and(said.lines().nth(1)).expect("o=");
    assert!(version.contains(" 2 IN IP4"), "{version}");
}

#[tokio::test]
async fn a_publisher_restarts_ice_on_its_transport() {
    let (app, node) = master();
    let mut a = Client::join(&app, Role::Publisher).await;
    let stream = a.publish().await;
    let (before, others) = on(&node);
    let params = json!({"stream": stream, "sdpString": restarted(OFFER, "anew")});
    let result = a.good("reconnectStream", params).await;
    assert_eq!(result["id"], stream);
    let (after, same) = on(&node);
    assert_eq!(others, same, "the publisher is as it was");
    assert_restarted(&before[0], &after[0], "anew", &result["sdpAnswer"]);

    // The control: another connection of the client, by its name, or by its certificate.
    let another = restarted(&of_another(OFFER), "more");
    let certificate =
        restarted(OFFER, "more").replace("a=fingerprint:sha-256 ", "a=fingerprint:sha-256 00:");
    let certificate = certificate
        .lines()
        .map(|line| match line.starts_with("a=fingerprint") {
            true => &line[..line.len() - 3],
            false => line,
        })
        .collect::<Vec<_>>()
        .join("\r\n")
        + "\r\n";
    let mut last = after[0].id.clone();
    for offer in [another, certificate] {
        let params = json!({"stream": stream, "sdpString": offer});
        a.good("reconnectStream", params).await;
        let (now, _) = on(&node);
        assert_eq!(now.len(), 1, "the old transport is gone");
        assert_ne!(now[0].id, last, "there is another");
        last = now[0].id.clone();
    }
}

#[tokio::test]
async fn what_would_change_media_is_refused_and_changes_nothing() {
    let (app, node) = master();
    let mut a = Client::join(&app, Role::Publisher).await;
    let stream = a.publish().await;
    let before = node.entries();
    let offer = restarted(OFFER, "anew")
        .replace("a=mid:1", "a=mid:7")
        .replace("BUNDLE 0 1", "BUNDLE 0 7");
    let params = json!({"stream": stream, "sdpString": offer});
    assert_eq!(a.error("reconnectStream", params).await, 303);
    assert_eq!(before, node.entries());
    let params = json!({"stream": stream, "sdpString": restarted(OFFER, "anew")});
    a.good("reconnectStream", params).await;
}

#[tokio::test]
async fn a_subscriber_that_offers_restarts_ice_on_its_transport() {
    let (app, node) = master_with("media_server = 'kurento'");
    let mut a = Client::join(&app, Role::Publisher).await;
    let stream = a.publish().await;
    let mut b = Client::join(&app, Role::Subscriber).await;
    let params = json!({"sender": stream, "sdpOffer": RECEIVE_OFFER});
    b.good("receiveVideoFrom", params).await;
    let (before, others) = on(&node);
    let params = json!({"stream": stream, "sdpOffer": restarted(RECEIVE_OFFER, "anew")});
    let result = b.good("reconnectStream", params).await;
    let (after, same) = on(&node);
    assert_eq!(others, same, "the same SSRCs, the same subscriber");
    let changed: Vec<_> = before.iter().zip(&after).filter(|(b, a)| b != a).collect();
    assert_eq!(changed.len(), 1, "the publisher's transport is none of it");
    assert_restarted(changed[0].0, changed[0].1, "anew", &result["sdpAnswer"]);
}

#[tokio::test]
async fn a_subscriber_that_answers_may_ask_for_a_restart() {
    let (app, node) = master();
    let mut a = Client::join(&app, Role::Publisher).await;
    let stream = a.publish().await;
    let mut b = Client::join(&app, Role::Subscriber).await;
    b.subscribe(&stream).await;
    let (before, others) = on(&node);
    let params = json!({"sender": stream, "reconnect": true, "iceRestart": true});
    let offer = b.good("prepareReceiveVideoFrom", params.clone()).await;
    assert_eq!(on(&node).0, before, "nothing changes before the answer");
    let answer = json!({"stream": stream, "sdpString": restarted(ANSWER, "anew"), "forciblyReconnect": false});
    b.good("reconnectStream", answer).await;
    let (after, same) = on(&node);
    assert_eq!(others, same);
    let changed: Vec<_> = before.iter().zip(&after).filter(|(b, a)| b != a).collect();
    assert_eq!(changed.len(), 1);
    assert_restarted(changed[0].0, changed[0].1, "anew", &offer["sdpOffer"]);

    // An answer of another connection is none to that offer.
    b.good("prepareReceiveVideoFrom", params).await;
    let answer = json!({"stream": stream, "sdpString": restarted(&of_another(ANSWER), "more")});
    assert_eq!(b.error("reconnectStream", answer).await, 303);
    assert_eq!(on(&node).0, after);
    // Nobody restarts what is not there.
    let mut c = Client::join(&app, Role::Subscriber).await;
    let params = json!({"sender": stream, "iceRestart": true});
    assert_eq!(c.error("prepareReceiveVideoFrom", params).await, 303);
}
