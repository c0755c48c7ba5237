//! Where sessions go, and what applications are told where they can't.

use std::time::{Duration, Instant};

use super::*;
use crate::cluster::MediaNode;
use crate::cluster::load::Sample;
use crate::domain::NodeId;
use crate::testing::FakeNode;

/// What a node with room for 1000 packets a second says after so many packets.
fn page(packets: u32) -> Sample {
    Sample::parse(&format!(
        "ringcast_node_ready 1\n\
         ringcast_node_packets_total{{direction=\"in\"}} {packets}\n\
         ringcast_node_capacity_packets_per_second 1000000\n\
         ringcast_node_cpu_seconds_total {}\n",
        f64::from(packets) / 1e6,
    ))
}

/// The node has used that share of what it can for two seconds, until now.
fn loaded(app: &App, node: &str, load: f64) {
    let node = NodeId::new(node);
    app.step(|core| {
        let now = Instant::now();
        let before = now.checked_sub(Duration::from_secs(2));
        let before = before.expect("this machine is up for two seconds");
        core.loads.sampled(before, &node, before, page(0), 1);
        let after = page((load * 2e6) as u32);
        core.loads.sampled(now, &node, now, after, 1);
    });
}

/// Another node, `media_2`.
fn second(app: &App) -> Arc<FakeNode> {
    let node = FakeNode::new("media_2");
    let address = ([127, 0, 0, 2], 7443).into();
    let (id, uri) = (NodeId::new("media_2"), "quic://127.0.0.2:7443".to_owned());
    app.step(|core| {
        core.registry
            .add(MediaNode::new(id, uri, address, node.clone(), 0));
        core.look_at_nodes(Instant::now(), Duration::from_secs(3));
    });
    node
}

async fn create(rest: &Rest, session: &str, more: Value) -> (u16, Value) {
    let mut body = json!({"customSessionId": session});
    if let (Some(body), Value::Object(more)) = (body.as_object_mut(), more) {
        body.extend(more);
    }
    rest.call("POST", "/sessions", body).await
}

async fn connect(rest: &Rest, session: &str) -> (u16, Value) {
    let path = format!("/sessions/{session}/connection");
    rest.call("POST", &path, json!({})).await
}

fn place(app: &App, session: &str) -> Result<String, i64> {
    let placed = app.step(|core| core.place(&SessionId::new(session)));
    placed
        .map(|node| node.to_string())
        .map_err(|refused| refused.code as i64)
}

#[tokio::test]
async fn a_full_cluster_creates_sessions_and_lets_nobody_in() {
    let rest = Rest::new();
    assert_eq!(create(&rest, "early", json!({})).await.0, 200);
    assert_eq!(place(&rest.app, "early"), Ok("media_1".to_owned()));
    loaded(&rest.app, "media_1", 1.5);
    // Creation takes no node.
    assert_eq!(create(&rest, "S", json!({})).await.0, 200);
    let (status, problem) = connect(&rest, "S").await;
    assert_eq!(status, 503);
    let why = "Session 'S' cannot be placed: every media node is full";
    assert_eq!(problem["message"], why);
    let token = json!({"session": "S"});
    assert_eq!(rest.status("POST", "/tokens", token.clone()).await, 503);
    assert_eq!(place(&rest.app, "S"), Err(204));
    // Who is inside stays, and others may come to it.
    assert_eq!(connect(&rest, "early").await.0, 200);
    assert_eq!(connect(&rest, "unknown").await.0, 404);
    rest.app.step(|core| rest.app.metrics.observe(core));
    let metrics = rest.app.metrics.render(exposition::Format::Text);
    for line in [
        "ringcast_master_placements_total{outcome=\"all_full\"} 1",
        "ringcast_master_placements_foreseen_total{outcome=\"all_full\"} 2",
        "ringcast_master_placements_total{outcome=\"placed\"} 1",
        "ringcast_master_nodes_for_placement{standing=\"full\"} 1",
        "ringcast_master_placement_duration_seconds_count 2",
        "ringcast_master_node_sessions{node=\"media_1\"} 1",
    ] {
        assert!(metrics.contains(line), "{line}\n{metrics}");
    }
    assert_eq!(closed(&rest).await, "1 full");
    // There is room again.
    loaded(&rest.app, "media_1", 0.5);
    assert_eq!(closed(&rest).await, "");
    assert_eq!(rest.status("POST", "/tokens", token).await, 200);
    assert_eq!(connect(&rest, "S").await.0, 200);
    assert_eq!(place(&rest.app, "S"), Ok("media_1".to_owned()));
}

/// Standing, load and what that is of, as the list of nodes says it.
async fn stands(rest: &Rest, node: &str) -> (Value, Value, Value) {
    let path = format!("/media-nodes/{node}?extra-info=true");
    let (_, shown) = rest.call("GET", &path, Value::Null).await;
    let info = &shown["ringcastInfo"];
    let of = |key: &str| info[key].clone();
    (of("standing"), of("loadRatio"), of("loadOf"))
}

#[tokio::test]
async fn nodes_are_shown_with_their_standing_and_load() {
    let rest = Rest::new();
    let _other = second(&rest.app);
    let unread = (json!("open"), Value::Null, Value::Null);
    assert_eq!(stands(&rest, "media_1").await, unread);
    for (load, standing) in [(0.25, "open"), (1.5, "full"), (0.5, "open")] {
        loaded(&rest.app, "media_1", load);
        let expected = (json!(standing), json!(load), json!("packets"));
        assert_eq!(stands(&rest, "media_1").await, expected);
    }
    assert_eq!(stands(&rest, "media_2").await, unread, "each has its own");
    // What refuses is full, whatever its metrics say; and what is drained is closed.
    let id = NodeId::new("media_1");
    rest.app
        .step(|core| core.loads.refused(Instant::now(), &id));
    assert_eq!(stands(&rest, "media_1").await.0, "full");
    let drain = json!({"status": "waiting-idle-to-terminate"});
    rest.status("PATCH", "/media-nodes/media_1", drain).await;
    assert_eq!(stands(&rest, "media_1").await.0, "closed");
    // It was not asked for: OpenVidu's own answer is as it was.
    let (_, shown) = rest.call("GET", "/media-nodes/media_1", Value::Null).await;
    assert_eq!(shown.get("ringcastInfo"), None);
}

#[tokio::test]
async fn a_limit_of_nothing_is_shown_as_a_number_and_transports_are_counted() {
    let rest = Rest::new();
    let sample = Sample::parse(
        "ringcast_node_ready 1\nringcast_node_transports{state=\"new\"} 2\n\
         ringcast_node_transports{state=\"connected\"} 5\nringcast_node_transports_max 0\n",
    );
    let now = Instant::now();
    let id = NodeId::new("media_1");
    rest.app
        .step(|core| core.loads.sampled(now, &id, now, sample, 1));
    let expected = (json!("full"), json!(100.0), json!("transports"));
    assert_eq!(stands(&rest, "media_1").await, expected);
    let path = "/media-nodes/media_1?extra-info=true";
    let (_, shown) = rest.call("GET", path, Value::Null).await;
    assert_eq!(shown["ringcastInfo"]["transports"], 7);
}

/// Why no session is taken, as health says it; empty: they are.
async fn closed(rest: &Rest) -> String {
    let (status, health) = rest.call("GET", "/health", Value::Null).await;
    assert_eq!((status, &health["status"]), (200, &json!("UP")), "{health}");
    let why = health["noSessionsBecause"].as_str().unwrap_or_default();
    assert_eq!(health["takesSessions"], why.is_empty(), "{health}");
    let why = why.trim_start_matches("no media node takes new sessions: ");
    why.to_owned()
}

#[tokio::test]
async fn health_says_why_no_session_is_taken() {
    let rest = Rest::new();
    let _other = second(&rest.app);
    let order = async |id: &str, status: &str| {
        let path = format!("/media-nodes/{id}");
        let (status, _) = rest.call("PATCH", &path, json!({"status": status})).await;
        assert_eq!(status, 200);
    };
    order("media_1", "waiting-idle-to-terminate").await;
    assert_eq!(closed(&rest).await, "", "the other takes them");
    loaded(&rest.app, "media_2", 1.5);
    assert_eq!(closed(&rest).await, "1 drained, 1 full");
    assert_eq!(create(&rest, "S", json!({})).await.0, 200);
    assert_eq!(connect(&rest, "S").await.0, 503, "and it is so");
    order("media_2", "waiting-idle-to-terminate").await;
    assert_eq!(closed(&rest).await, "2 drained");
    order("media_1", "running").await;
    assert_eq!(closed(&rest).await, "");
    assert_eq!(connect(&rest, "S").await.0, 200);
}

#[tokio::test]
async fn unknown_loads_close_a_cluster_that_requires_them() {
    for (toml, why) in [
        ("load_required = true", Some("1 of unknown load")),
        ("", None),
        // Applications name the nodes, and whoever is named takes them.
        ("load_strategy = 'manual'", None),
    ] {
        let (app, _node) = master_with(toml);
        let later = Instant::now() + Duration::from_secs(3600);
        let closed = app.step(|core| core.takes_no_sessions(later));
        assert_eq!(closed.as_deref(), why, "{toml}");
    }
}

#[tokio::test]
async fn sessions_go_where_the_metrics_say_that_room_is() {
    let rest = Rest::new();
    let _other = second(&rest.app);
    for (busy, idle) in [("media_1", "media_2"), ("media_2", "media_1")] {
        loaded(&rest.app, busy, 0.9);
        loaded(&rest.app, idle, 0.2);
        for number in 0..10 {
            let session = format!("{busy}-{number}");
            assert_eq!(create(&rest, &session, json!({})).await.0, 200);
            assert_eq!(place(&rest.app, &session), Ok(idle.to_owned()));
        }
    }
    let (_, node) = rest.call("GET", "/media-nodes/media_2", Value::Null).await;
    assert_eq!(node["load"], 90.0);
}

#[tokio::test]
async fn an_application_may_name_the_node_and_the_size() {
    let rest = Rest::new();
    let _other = second(&rest.app);
    loaded(&rest.app, "media_1", 0.1);
    loaded(&rest.app, "media_2", 0.8);
    let wanted = json!({"mediaNode": {"id": "media_2"}});
    assert_eq!(create(&rest, "there", wanted).await.0, 200);
    assert_eq!(place(&rest.app, "there"), Ok("media_2".to_owned()));
    let unknown = json!({"mediaNode": {"id": "media_9"}});
    assert_eq!(create(&rest, "nowhere", unknown).await.0, 200);
    let (status, problem) = connect(&rest, "nowhere").await;
    assert_eq!(status, 503);
    let text = problem["message"].as_str().unwrap_or_default();
    assert!(text.contains("'media_9' is not available"), "{text}");
    let grown = |app: &App| {
        app.step(|core| {
            let view = core.loads.view(Instant::now(), &NodeId::new("media_1"));
            view.map_or(0.0, |view| view.growth.transports)
        })
    };
    let before = grown(&rest.app);
    let large = json!({"expectedConnections": 100, "expectedPublishers": 2});
    assert_eq!(create(&rest, "large", large).await.0, 200);
    assert_eq!(place(&rest.app, "large"), Ok("media_1".to_owned()));
    // Two who send, to 99 each; some of it has decayed already.
    let expected = grown(&rest.app) - before;
    assert!((199.0..=200.0).contains(&expected), "{expected}");
    for wrong in [json!(0), json!(-1), json!("many"), json!(2.5)] {
        let body = json!({"expectedConnections": wrong});
        assert_eq!(rest.status("POST", "/sessions", body).await, 400);
    }
}

#[tokio::test]
async fn strategies_count_what_the_master_knows() {
    for strategy in ["sessions", "streams", "connections", "mediaObjects"] {
        let (app, _first) = master_with(&format!("load_strategy = '{strategy}'"));
        let _second = second(&app);
        let routes = routes(&app, None);
        let rest = Rest { app, routes };
        // What their metrics say does not matter, nor that it is old.
        loaded(&rest.app, "media_1", 0.8);
        let mut nodes = Vec::new();
        for number in 0..8 {
            let session = number.to_string();
            assert_eq!(create(&rest, &session, json!({})).await.0, 200);
            nodes.push(place(&rest.app, &session));
        }
        let on_first = nodes
            .iter()
            .filter(|node| **node == Ok("media_1".to_owned()));
        assert_eq!(on_first.count(), 4, "{strategy}");
    }
    let (app, _first) = master_with("load_strategy = 'manual'");
    let routes = routes(&app, None);
    let rest = Rest { app, routes };
    assert_eq!(create(&rest, "S", json!({})).await.0, 200);
    assert_eq!(place(&rest.app, "S"), Err(204));
    let named = json!({"mediaNode": "media_1"});
    assert_eq!(create(&rest, "named", named).await.0, 200);
    assert_eq!(place(&rest.app, "named"), Ok("media_1".to_owned()));
}
