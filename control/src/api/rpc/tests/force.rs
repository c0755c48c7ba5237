//! Subscribers that have to negotiate anew.

use super::*;
use crate::api::rpc::force;

/// What a client was told to answer: connection, stream and offer.
fn forced(heard: &[(String, Value)]) -> Vec<&Value> {
    let forced = heard
        .iter()
        .filter(|(method, _)| method == "forciblyReconnectSubscriber");
    forced.map(|(_, params)| params).collect()
}

/// Lets what was begun go on to its end.
async fn settled() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_forced_subscriber_answers_and_has_another_transport() {
    let (app, node) = master();
    let mut a = Client::join(&app, Role::Publisher).await;
    let stream = a.publish().await;
    let mut b = Client::join(&app, Role::Subscriber).await;
    b.subscribe(&stream).await;
    let mut c = Client::join(&app, Role::Subscriber).await;
    a.heard();
    b.heard();
    let member = |client: &Client| {
        (
            session(&app),
            crate::domain::ConnectionId::new(client.id.clone()),
        )
    };
    let stream_id = crate::domain::StreamId::new(stream.clone());
    let before = node.entries();
    force::reconnect(&app, &member(&b), &stream_id)
        .await
        .expect("told");
    let heard = b.heard();
    let [told] = forced(&heard)[..] else {
        panic!("{heard:?}");
    };
    assert_eq!(
        (&told["connectionId"], &told["streamId"]),
        (&json!(a.id), &json!(stream))
    );
    assert!(
        told["sdpOffer"]
            .as_str()
            .expect("an offer")
            .contains("m=video")
    );
    assert_eq!(
        node.counts(),
        (3, 1, 1),
        "the old transport goes on until the answer"
    );
    let params = json!({"stream": stream, "sdpString": ANSWER, "forciblyReconnect": true});
    b.good("reconnectStream", params.clone()).await;
    assert_eq!(node.counts(), (2, 1, 1));
    let transport_of = |entries: &[Entry]| {
        entries.iter().find_map(|entry| match entry {
            Entry::Subscriber(one) => Some(one.transport.clone()),
            _ => None,
        })
    };
    assert_ne!(transport_of(&before), transport_of(&node.entries()));
    assert_eq!(
        (a.heard(), c.heard()),
        (vec![], vec![]),
        "it is nobody else's business"
    );

    // Who answers an offer that was overtaken has given up what it had: it gets another.
    assert_eq!(b.error("reconnectStream", params.clone()).await, 303);
    settled().await;
    assert_eq!(forced(&b.heard()).len(), 1);
    b.good("reconnectStream", params).await;
    // Who does not receive the stream is not forced to.
    let refused = force::reconnect(&app, &member(&c), &stream_id).await;
    assert!(refused.is_err());
    assert_eq!((c.heard(), node.counts()), (vec![], (2, 1, 1)));
}

#[tokio::test]
async fn other_codecs_of_a_publisher_make_its_subscribers_negotiate_anew() {
    let (app, _) = master();
    let mut a = Client::join(&app, Role::Publisher).await;
    let stream = a.publish().await;
    let mut b = Client::join(&app, Role::Subscriber).await;
    b.subscribe(&stream).await;
    a.heard();
    b.heard();
    let params = json!({"stream": stream, "sdpString": OFFER});
    a.good("reconnectStream", params).await;
    settled().await;
    assert_eq!(b.heard(), [], "the same as before");
    // Opus under another number.
    let other = OFFER
        .replace(" 111", " 121")
        .replace(":111 ", ":121 ")
        .replace("111/111", "121/121");
    assert_ne!(other, OFFER);
    let params = json!({"stream": stream, "sdpString": other});
    a.good("reconnectStream", params).await;
    settled().await;
    let heard = b.heard();
    let told = forced(&heard);
    assert_eq!(told.len(), 1, "{heard:?}");
}

#[tokio::test]
async fn a_subscriber_whose_path_has_died_is_offered_another() {
    let (app, node) = master();
    let mut a = Client::join(&app, Role::Publisher).await;
    let stream = a.publish().await;
    let mut b = Client::join(&app, Role::Subscriber).await;
    b.subscribe(&stream).await;
    a.heard();
    let id = crate::domain::NodeId::new("media_1");
    let lost = |entries: Vec<Entry>| {
        for entry in entries {
            let Entry::Subscriber(one) = entry else {
                continue;
            };
            let report = Report::Transport(TransportReport {
                id: one.transport,
                worker: 0,
                addresses: Vec::new(),
                state: TransportState::Closed {
                    reason: link::CloseReason::ConsentLost,
                },
                since: None,
                trouble: None,
            });
            app.step(|core| crate::nodes::on_report(&app, core, &id, &report));
        }
        app.step(|core| std::mem::take(&mut core.cut_off))
    };
    let cut_off = lost(node.entries());
    assert_eq!(cut_off.len(), 1);
    let (member, stream_id) = &cut_off[0];
    force::soon(&app, member, stream_id);
    settled().await;
    assert_eq!(forced(&b.heard()).len(), 1);
    let params = json!({"stream": stream, "sdpString": ANSWER, "forciblyReconnect": true});
    b.good("reconnectStream", params).await;
    // Who is away altogether will see to it by itself.
    b.cut();
    assert_eq!(lost(node.entries()), []);
    assert_eq!(a.heard(), []);
}
