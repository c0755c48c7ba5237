//! How long people wait for media, and how many were in a session, as operators see it.

use exposition::Format;
use link::TransportId;

use super::*;

/// The series of that beginning.
fn value(app: &App, series: &str) -> Option<f64> {
    let page = app.metrics.render(Format::Text);
    let line = page.lines().find_map(|line| line.strip_prefix(series));
    line.and_then(|rest| rest.trim().parse().ok())
}

/// How often somebody has got through each phase: join, negotiate, connect.
fn phases(app: &App) -> [Option<f64>; 3] {
    ["join", "negotiate", "connect"].map(|phase| {
        let name = "ringcast_master_join_duration_seconds_count";
        value(app, &format!("{name}{{phase=\"{phase}\"}} "))
    })
}

fn transports(node: &FakeNode) -> Vec<TransportId> {
    let entries = node.entries().into_iter();
    let transport = |entry| match entry {
        Entry::Transport(transport) => Some(transport.id),
        _ => None,
    };
    entries.filter_map(transport).collect()
}

/// The node says that a transport is connected.
fn connect(app: &App, transport: &TransportId) {
    let report = Report::Transport(TransportReport {
        id: transport.clone(),
        worker: 0,
        addresses: Vec::new(),
        state: TransportState::Connected {
            srtp_profile: "SRTP_AEAD_AES_128_GCM".into(),
        },
        since: None,
        trouble: None,
    });
    let node = crate::domain::NodeId::new("media_1");
    app.step(|core| crate::nodes::on_report(app, core, &node, &report));
}

#[tokio::test]
async fn publishers_and_subscribers_go_through_every_phase_once() {
    let (app, node) = master();
    let mut a = Client::join(&app, Role::Publisher).await;
    assert_eq!(phases(&app), [Some(1.0), None, None]);
    let stream = a.publish().await;
    assert_eq!(phases(&app), [Some(1.0), Some(1.0), None]);
    let of_a = transports(&node);
    // As often as the node likes to say it.
    for _ in 0..2 {
        connect(&app, &of_a[0]);
    }
    assert_eq!(phases(&app), [Some(1.0); 3]);

    let mut b = Client::join(&app, Role::Publisher).await;
    b.subscribe(&stream).await;
    assert_eq!(phases(&app), [Some(2.0), Some(2.0), Some(1.0)]);
    // What comes after the first media is no part of joining.
    b.publish().await;
    assert_eq!(phases(&app), [Some(2.0), Some(2.0), Some(1.0)]);
    for transport in transports(&node) {
        connect(&app, &transport);
    }
    assert_eq!(phases(&app), [Some(2.0); 3]);
    assert_eq!(app.step(|core| core.joins.waiting()), 0);
}

#[tokio::test]
async fn whoever_is_refused_or_goes_is_not_counted() {
    let (app, _node) = master();
    let mut a = Client::join(&app, Role::Subscriber).await;
    assert!(a.error("publishVideo", publish_params(OFFER)).await > 0);
    assert_eq!(phases(&app), [Some(1.0), None, None]);
    a.good("leaveRoom", json!({})).await;
    assert_eq!(app.step(|core| core.joins.waiting()), 0);
    let mut nobody = Client::connect(&app);
    let refused = nobody.error("joinRoom", join_params("tok_nonsense")).await;
    assert!(refused > 0);
    assert_eq!(phases(&app), [Some(1.0), None, None]);
}

#[tokio::test]
async fn a_session_is_counted_by_its_greatest_size_when_it_is_over() {
    let (app, _node) = master();
    let mut clients = Vec::new();
    for _ in 0..3 {
        clients.push(Client::join(&app, Role::Publisher).await);
    }
    let name = "ringcast_master_session_participants";
    assert_eq!(value(&app, &format!("{name}_count ")), Some(0.0));
    for client in &mut clients {
        client.heard();
        client.send("leaveRoom", json!({})).await;
    }
    assert_eq!(value(&app, &format!("{name}_count ")), Some(1.0));
    assert_eq!(
        value(&app, &format!("{name}_bucket{{le=\"2.0\"}} ")),
        Some(0.0)
    );
    assert_eq!(
        value(&app, &format!("{name}_bucket{{le=\"3.0\"}} ")),
        Some(1.0)
    );
    // One that nobody joined is none.
    session(&app);
    app.step(|core| {
        let closed = core
            .domain
            .close_session(&SessionId::new("S"), Reason::SessionClosedByServer);
        assert_eq!(closed, Ok(()));
    });
    assert_eq!(value(&app, &format!("{name}_count ")), Some(1.0));
}
