//! Sessions whose media node has no room.

use super::*;
use crate::cluster::MediaNode;
use crate::domain::NodeId;

/// Another node, `media_2`.
fn second(app: &Arc<App>) -> Arc<FakeNode> {
    let node = FakeNode::new("media_2");
    node.belong_to(app);
    let address = ([127, 0, 0, 2], 7443).into();
    let (id, uri) = (NodeId::new("media_2"), "quic://127.0.0.2:7443".to_owned());
    app.step(|core| {
        core.registry
            .add(MediaNode::new(id, uri, address, node.clone(), 0));
        core.look_at_nodes(Instant::now(), Duration::from_secs(3));
    });
    node
}

fn node_of(app: &App) -> Option<String> {
    app.step(|core| {
        let session = core.domain.session(&SessionId::new("S"));
        session.and_then(|one| one.node.as_ref().map(ToString::to_string))
    })
}

/// Two nodes, and the one that has the session.
async fn placed() -> (Arc<App>, Client, Arc<FakeNode>, Arc<FakeNode>) {
    let (app, first) = master();
    let second = second(&app);
    let client = Client::join(&app, Role::Publisher).await;
    match node_of(&app).as_deref() {
        Some("media_1") => (app, client, first, second),
        _ => (app, client, second, first),
    }
}

#[tokio::test]
async fn nobody_joins_where_no_node_has_room() {
    let (app, _) = master();
    let token = token(&app, Role::Publisher);
    app.step(|core| core.loads.refused(Instant::now(), &NodeId::new("media_1")));
    let mut client = Client::connect(&app);
    assert_eq!(client.error("joinRoom", join_params(&token)).await, 204);
    assert_eq!(node_of(&app), None);
}

#[tokio::test]
async fn a_session_that_its_node_refuses_goes_elsewhere_before_it_has_media() {
    let (app, mut a, full, other) = placed().await;
    full.refuses.store(true, Ordering::SeqCst);
    let before = node_of(&app);
    let stream = a.publish().await;
    assert_ne!(node_of(&app), before);
    assert_eq!((full.counts(), other.counts()), ((0, 0, 0), (1, 1, 0)));
    // Everybody follows it there.
    let mut b = Client::join(&app, Role::Subscriber).await;
    b.subscribe(&stream).await;
    assert_eq!((full.counts(), other.counts()), ((0, 0, 0), (2, 1, 1)));
    let metrics = app.metrics.render(exposition::Format::Text);
    assert!(
        metrics.contains("ringcast_master_placements_moved_total 1"),
        "{metrics}"
    );
}

#[tokio::test]
async fn a_session_with_media_stays_and_the_client_is_told() {
    let (app, mut a, full, other) = placed().await;
    let stream = a.publish().await;
    let before = node_of(&app);
    let mut b = Client::join(&app, Role::Subscriber).await;
    full.refuses.store(true, Ordering::SeqCst);
    let params = json!({"sender": stream, "reconnect": false});
    let answer = b.call("prepareReceiveVideoFrom", params).await;
    assert_eq!(answer["error"]["code"], 303, "{answer}");
    let text = answer["error"]["message"].as_str().unwrap_or_default();
    assert!(text.contains("no room here"), "{text}");
    assert_eq!(node_of(&app), before);
    assert_eq!((full.counts(), other.counts()), ((1, 1, 0), (0, 0, 0)));
}

#[tokio::test]
async fn where_all_refuse_it_is_tried_twice_and_not_for_ever() {
    let (app, mut a, full, other) = placed().await;
    full.refuses.store(true, Ordering::SeqCst);
    other.refuses.store(true, Ordering::SeqCst);
    assert_eq!(a.error("publishVideo", publish_params(OFFER)).await, 303);
    assert_eq!((full.counts(), other.counts()), ((0, 0, 0), (0, 0, 0)));
    // Both are known to be full now.
    let mut late = Client::connect(&app);
    let token = token(&app, Role::Publisher);
    app.step(|core| core.domain.unplace(&SessionId::new("S")));
    assert_eq!(late.error("joinRoom", join_params(&token)).await, 204);
}
