//! What becomes of the others, and of the node, when clients leave, sessions end, and what served them dies.

use super::*;

#[tokio::test]
async fn leaving_ends_the_session_with_the_last() {
    let (app, node) = master();
    let mut a = Client::join(&app, Role::Publisher).await;
    let mut b = Client::join(&app, Role::Publisher).await;
    a.heard();
    let unused = token(&app, Role::Publisher);
    b.publish().await;
    a.heard();
    b.good("leaveRoom", json!({})).await;
    assert_eq!(
        a.heard_methods(),
        ["participantLeft"],
        "no participantUnpublished beside it"
    );
    assert_eq!(node.counts(), (0, 0, 0));
    a.good("leaveRoom", json!({})).await;
    assert!(app.step(|core| core.domain.session(&SessionId::new("S")).is_none()));
    let mut late = Client::connect(&app);
    assert_eq!(late.error("joinRoom", join_params(&unused)).await, 202);
    session(&app);
    assert_eq!(late.error("joinRoom", join_params(&unused)).await, 401);
}

#[tokio::test]
async fn a_dead_node_ends_its_sessions() {
    let (app, node) = master();
    let mut a = Client::join(&app, Role::Publisher).await;
    a.publish().await;
    app.step(|core| core.node_lost(&crate::domain::NodeId::new("media_1")));
    let heard = a.heard();
    assert_eq!(heard[0].0, "participantEvicted");
    assert_eq!(heard[0].1["reason"], "nodeCrashed");
    assert_eq!(node.counts(), (0, 0, 0));
}

#[tokio::test]
async fn closing_a_session_evicts_everybody() {
    let (app, _) = master();
    let mut a = Client::join(&app, Role::Publisher).await;
    let mut b = Client::join(&app, Role::Publisher).await;
    a.heard();
    app.step(|core| {
        let closed = core
            .domain
            .close_session(&SessionId::new("S"), Reason::SessionClosedByServer);
        assert_eq!(closed, Ok(()));
    });
    assert_eq!(a.heard_methods(), ["participantEvicted"]);
    let heard = b.heard();
    assert_eq!(heard[1].0, "participantEvicted");
    assert_eq!(heard[1].1["reason"], "sessionClosedByServer");
}

#[tokio::test]
async fn a_transport_that_dies_makes_room_for_the_next() {
    let (app, node) = master();
    let mut a = Client::join(&app, Role::Publisher).await;
    let stream = a.publish().await;
    let transport = node.entries().into_iter().find_map(|entry| match entry {
        Entry::Transport(transport) => Some(transport.id),
        _ => None,
    });
    let report = Report::Transport(TransportReport {
        id: transport.expect("there"),
        worker: 0,
        addresses: Vec::new(),
        state: TransportState::Closed {
            reason: link::CloseReason::ConsentLost,
        },
        since: None,
        trouble: None,
    });
    let id = crate::domain::NodeId::new("media_1");
    app.step(|core| crate::nodes::on_report(&app, core, &id, &report));
    assert_eq!(node.counts(), (0, 0, 0));
    assert_eq!(a.heard(), [], "the client notices by itself");
    let params = json!({"stream": stream, "sdpString": OFFER});
    a.good("reconnectStream", params).await;
    assert_eq!(node.counts(), (1, 1, 0));
}
