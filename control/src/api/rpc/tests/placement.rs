//! Sessions whose media node has no room.

use super::*;
use crate::cluster::MediaNode;
use crate::domain::NodeId;
use crate::testing::{Dir, master_in};

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

/// Streams that are reserved on all nodes for sessions to grow. They become fewer with each moment.
fn expected(app: &App) -> f64 {
    app.step(|core| {
        let nodes = core.registry.nodes().iter().map(|node| node.id.clone());
        let nodes: Vec<_> = nodes.collect();
        let views = nodes
            .iter()
            .filter_map(|node| core.loads.view(Instant::now(), node));
        views
            .map(|view| view.growth.transports)
            .sum::<f64>()
            .round()
    })
}

/// A session of three who publish and of as many listeners, from the first to the last.
async fn conference(app: &Arc<App>) {
    let mut members = Vec::new();
    for _ in 0..3 {
        let mut member = Client::join(app, Role::Publisher).await;
        member.publish().await;
        members.push(member);
    }
    for _ in 0..3 {
        members.push(Client::join(app, Role::Publisher).await);
    }
    let streams: Vec<_> = app.step(|core| {
        let session = core
            .domain
            .session(&SessionId::new("S"))
            .expect("it is there");
        let streams = session.active().filter_map(|one| one.stream());
        streams.map(|stream| stream.id.to_string()).collect()
    });
    for (at, member) in members.iter_mut().enumerate() {
        for (of, stream) in streams.iter().enumerate() {
            if at != of {
                member.heard();
                member.subscribe(stream).await;
            }
        }
    }
    for mut member in members {
        member.heard();
        member.good("leaveRoom", json!({})).await;
    }
    assert!(app.step(|core| core.domain.session(&SessionId::new("S")).is_none()));
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

/// What a call of four has.
const USUAL: f64 = 16.0;

#[tokio::test]
async fn a_session_of_a_known_name_is_placed_with_room_for_what_the_first_became() {
    let dir = Dir::new("history");
    let (app, _) = master_in(&dir, 7);
    let place = |app: &App| {
        let placed = app.step(|core| core.place(&SessionId::new("S")));
        assert!(placed.is_ok());
    };
    // Nobody knows that name yet.
    session(&app);
    place(&app);
    assert_eq!(expected(&app), USUAL);
    conference(&app).await;
    // Three publish and six receive all but their own.
    let became = 3.0 + 15.0;
    session(&app);
    place(&app);
    assert_eq!(expected(&app), became);
    let page = app.metrics.render(exposition::Format::Text);
    for line in [
        "ringcast_master_prediction_ratio_count{source=\"usual\"} 1",
        "ringcast_master_prediction_ratio_bucket{source=\"usual\",le=\"0.8\"} 0",
        "ringcast_master_prediction_ratio_bucket{source=\"usual\",le=\"1.25\"} 1",
    ] {
        assert!(page.lines().any(|found| found == line), "{line}: {page}");
    }
    app.committed().await.expect("the disk takes it");

    // The next master knows it as well.
    let copy = dir.copy();
    let (next, _) = master_in(&copy, 8);
    assert_eq!(
        expected(&next),
        0.0,
        "what is there since long grows no more"
    );
    next.step(|core| {
        let closed = core
            .domain
            .close_session(&SessionId::new("S"), Reason::SessionClosedByServer);
        assert!(closed.is_ok());
    });
    session(&next);
    place(&next);
    assert_eq!(expected(&next), became);
    // The control: one that has a file of its own does not.
    let (stranger, _) = master();
    session(&stranger);
    place(&stranger);
    assert_eq!(expected(&stranger), USUAL);
}
