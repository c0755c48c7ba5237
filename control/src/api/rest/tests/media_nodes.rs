//! Nodes that come and go by REST.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use exposition::Format;

use super::*;
use crate::cluster::{Health, Status};
use crate::domain::NodeId;
use crate::events::Event;
use crate::metrics::Metrics;
use crate::testing::{FakeNetwork, FakeNode};

mod restart;

const SILENCE: Duration = Duration::from_secs(3);

/// A master with the node `media_1`, and a network with others.
struct Cluster {
    rest: Rest,
    first: Arc<FakeNode>,
    network: FakeNetwork,
}

impl Cluster {
    fn new() -> Self {
        Self::with("")
    }

    fn with(toml: &str) -> Self {
        let (app, first) = master_with(toml);
        let network = FakeNetwork::default();
        app.dial_with(Box::new(network.clone()));
        let routes = routes(&app, None);
        let rest = Rest { app, routes };
        Self {
            rest,
            first,
            network,
        }
    }

    async fn add(&self, uri: &str) -> (u16, Value) {
        let body = json!({"uri": uri, "environmentId": "rack 7"});
        self.rest.call("POST", "/media-nodes", body).await
    }

    async fn status(&self, id: &str) -> String {
        let path = format!("/media-nodes/{id}");
        let (_, node) = self.rest.call("GET", &path, Value::Null).await;
        node["status"].as_str().unwrap_or("gone").to_owned()
    }

    /// What a few ticks do.
    fn tend(&self) {
        for _ in 0..3 {
            let now = Instant::now();
            self.rest.app.step(|core| core.tend_nodes(now, SILENCE));
        }
    }

    /// What a few ticks do so much later.
    fn tend_later(&self, after: Duration) {
        for _ in 0..3 {
            let later = Instant::now() + after;
            self.rest.app.step(|core| core.tend_nodes(later, SILENCE));
        }
    }

    /// Somebody joins a new session of that name.
    async fn call(&self, session: &str) {
        let body = json!({"customSessionId": session});
        self.rest.call("POST", "/sessions", body).await;
        let path = format!("/sessions/{session}/connection");
        let made = self.rest.call("POST", &path, json!({})).await.1;
        let id = ConnectionId::new(made["connectionId"].as_str().expect("an id"));
        let session = SessionId::new(session);
        self.rest.app.step(|core| {
            let connection = core.domain.connection(&session, &id).expect("there");
            let request = JoinRequest {
                session: session.to_string(),
                token: connection.token.clone(),
                ..JoinRequest::default()
            };
            let chance = core.chance.as_mut();
            let joined = core.domain.join(&request, now_millis(), chance);
            joined.expect("joins");
            core.place(&session).expect("a node is up");
        });
    }

    /// Its silence is a metric, which wakes people when it is long.
    fn is_missed(&self, node: &NodeId) -> bool {
        let app = &self.rest.app;
        let look = |metrics: &Metrics| app.step(|core| metrics.observe(core));
        let page = app.metrics.scrape(look, Format::Text);
        page.contains(&format!(
            "ringcast_master_link_lag_seconds{{node=\"{node}\"}}"
        ))
    }

    fn in_use(&self) -> Vec<String> {
        let sessions = |core: &mut crate::app::Core| {
            let sessions = core.domain.sessions().into_iter();
            sessions.map(|one| one.id.to_string()).collect()
        };
        self.rest.app.step(sessions)
    }
}

#[tokio::test]
async fn a_node_is_added_where_one_is_and_only_once() {
    let cluster = Cluster::new();
    cluster.network.node("10.0.0.7:7443", "seven");
    let (status, node) = cluster.add("ws://10.0.0.7:8888/kurento").await;
    assert_eq!(status, 200, "{node}");
    assert_eq!(node["id"], "media_seven");
    assert_eq!(node["status"], "launching");
    assert_eq!(node["uri"], "quic://10.0.0.7:7443");
    assert_eq!(node["environmentId"], "rack 7");
    cluster.tend();
    assert_eq!(cluster.status("media_seven").await, "running");
    // The same address, the same certificate elsewhere, nobody, nonsense, nothing.
    assert_eq!(cluster.add("10.0.0.7").await.0, 409);
    cluster.network.node("10.0.0.8:7443", "seven");
    let (status, problem) = cluster.add("quic://10.0.0.8:7443").await;
    assert_eq!(status, 409);
    let text = problem["message"].as_str().expect("a text");
    assert!(text.contains("certificate of 'seven'"), "{text}");
    let (status, problem) = cluster.add("10.0.0.9").await;
    assert_eq!(status, 404);
    let text = problem["message"].as_str().expect("a text");
    assert!(text.contains("10.0.0.9:7443: nothing heard"), "{text}");
    assert_eq!(cluster.add("http://10.0.0.9").await.0, 400);
    assert_eq!(
        cluster.rest.status("POST", "/media-nodes", json!({})).await,
        501
    );
    let wait = "/media-nodes?wait=true";
    cluster.network.node("10.0.0.10:7443", "media_ten");
    let ticking = async {
        tokio::time::sleep(Duration::from_millis(20)).await;
        cluster.tend();
    };
    let body = json!({"uri": "10.0.0.10"});
    let (added, ()) = tokio::join!(cluster.rest.call("POST", wait, body), ticking);
    assert_eq!((added.0, &added.1["status"]), (200, &json!("running")));
    assert_eq!(added.1["id"], "media_ten");
}

#[tokio::test]
async fn what_is_drained_takes_nothing_new_and_goes_when_it_is_empty() {
    let cluster = Cluster::new();
    let patch = async |status: &str| {
        let body = json!({"status": status});
        cluster
            .rest
            .call("PATCH", "/media-nodes/media_1", body)
            .await
    };
    cluster.call("old").await;
    let (status, node) = patch("waiting-idle-to-terminate").await;
    assert_eq!(
        (status, &node["status"]),
        (200, &json!("waiting-idle-to-terminate"))
    );
    let in_use = async || {
        let path = "/media-nodes/media_1?extra-info=true";
        let (_, node) = cluster.rest.call("GET", path, Value::Null).await;
        node["ringcastInfo"]["inUse"].clone()
    };
    assert_eq!(in_use().await, json!(true));
    assert_eq!(patch("waiting-idle-to-terminate").await.0, 204);
    let place = |core: &mut crate::app::Core| core.place(&SessionId::new("new")).is_ok();
    cluster
        .rest
        .call("POST", "/sessions", json!({"customSessionId": "new"}))
        .await;
    assert!(!cluster.rest.app.step(place), "it takes nothing new");
    cluster.tend();
    assert_eq!(cluster.in_use(), ["old", "new"]);
    // And back again.
    assert_eq!(patch("running").await.0, 200);
    assert!(cluster.rest.app.step(place));
    for nonsense in ["launching", "canceled", "terminated", "failed"] {
        assert_eq!(patch(nonsense).await.0, 400, "{nonsense}");
    }
    assert_eq!(patch("idle").await.0, 400);
    assert_eq!(patch("running").await.0, 204);
    let unknown = cluster
        .rest
        .status("PATCH", "/media-nodes/none", json!({"status": "running"}));
    assert_eq!(unknown.await, 404);
    // A session that nobody is in yet, although it has its place here, keeps nothing waiting.
    assert_eq!(patch("waiting-idle-to-terminate").await.0, 200);
    cluster
        .rest
        .status("DELETE", "/sessions/old", Value::Null)
        .await;
    assert_eq!(in_use().await, json!(false));
    cluster.tend();
    assert_eq!(cluster.status("media_1").await, "gone");
    assert_eq!(cluster.in_use(), ["new"]);
    assert!(cluster.first.stopped.load(Ordering::SeqCst));
}

#[tokio::test]
async fn a_drain_ends_at_its_deadline() {
    let cluster = Cluster::new();
    cluster.call("long").await;
    let drain = |deadline: Value| {
        let body = json!({"status": "waiting-idle-to-terminate", "deadline": deadline});
        cluster.rest.call("PATCH", "/media-nodes/media_1", body)
    };
    for nonsense in [json!("soon"), json!(-1), json!(true), json!("5000d")] {
        assert_eq!(drain(nonsense.clone()).await.0, 400, "{nonsense}");
    }
    let body = json!({"status": "terminating", "deadline": 1});
    let wrong = cluster.rest.status("PATCH", "/media-nodes/media_1", body);
    assert_eq!(wrong.await, 400);
    let (status, node) = drain(json!("10m")).await;
    assert_eq!(status, 200);
    let left = node["deadline"].as_u64().expect("a time") - now_millis();
    assert!((590_000..=600_000).contains(&left), "{left}");
    cluster.tend();
    assert_eq!(cluster.in_use(), ["long"]);
    // The same status with another deadline is another order.
    assert_eq!(drain(json!(0)).await.0, 200);
    cluster.tend();
    assert!(cluster.in_use().is_empty());
    assert_eq!(cluster.status("media_1").await, "gone");
}

#[tokio::test]
async fn a_deadline_is_taken_back_with_null_alone() {
    let cluster = Cluster::new();
    cluster.call("long").await;
    let drain = |body: Value| cluster.rest.call("PATCH", "/media-nodes/media_1", body);
    let bare = json!({"status": "waiting-idle-to-terminate"});
    let timed = json!({"status": "waiting-idle-to-terminate", "deadline": "10m"});
    let endless = json!({"status": "waiting-idle-to-terminate", "deadline": null});
    assert_eq!(drain(timed).await.0, 200);
    assert_eq!(drain(bare).await.0, 204, "nothing is said of the deadline");
    let shown = cluster
        .rest
        .call("GET", "/media-nodes/media_1", Value::Null);
    assert!(shown.await.1["deadline"].is_u64());
    let (status, node) = drain(endless.clone()).await;
    assert_eq!((status, &node["deadline"]), (200, &Value::Null), "{node}");
    assert_eq!(drain(endless).await.0, 204, "there is none already");
    cluster.tend_later(Duration::from_secs(11 * 60));
    assert_eq!(cluster.in_use(), ["long"]);
}

/// What is shown and kept is set far back here, as if the wall clock had jumped ahead: what is due does not hear of it.
#[tokio::test]
async fn deadlines_are_not_of_the_wall_clock() {
    let cluster = Cluster::new();
    cluster.call("long").await;
    let body = json!({"status": "waiting-idle-to-terminate", "deadline": "10m"});
    let drained = cluster.rest.status("PATCH", "/media-nodes/media_1", body);
    assert_eq!(drained.await, 200);
    cluster.rest.app.step(|core| {
        let node = core.registry.node_mut(&NodeId::new("media_1"));
        let deadline = node.and_then(|node| node.drain_deadline.as_mut());
        deadline.expect("it has one").shown = 0;
    });
    cluster.tend_later(Duration::from_secs(9 * 60));
    assert_eq!(cluster.in_use(), ["long"], "the clock is far ahead");
    cluster.tend_later(Duration::from_secs(11 * 60));
    assert!(cluster.in_use().is_empty());

    let cluster = Cluster::with("node_reconnection_timeout = '5s'");
    cluster.first.up.store(false, Ordering::SeqCst);
    *cluster.first.silence.lock().expect("no panic") = SILENCE;
    cluster.tend();
    cluster.rest.app.step(|core| {
        let node = core.registry.node_mut(&NodeId::new("media_1"));
        node.expect("it is there").disconnection_time = Some(0);
    });
    cluster.tend();
    assert_eq!(cluster.status("media_1").await, "running");
    cluster.tend_later(Duration::from_millis(2_100));
    assert_eq!(cluster.status("media_1").await, "gone");
}

#[tokio::test]
async fn each_strategy_removes_as_it_says() {
    let delete = async |cluster: &Cluster, query: &str| {
        let path = format!("/media-nodes/media_1?{query}");
        cluster.rest.status("DELETE", &path, Value::Null).await
    };
    let empty = Cluster::new();
    assert_eq!(delete(&empty, "deletion-strategy=never").await, 400);
    assert_eq!(delete(&empty, "deadline=10m").await, 400);
    assert_eq!(delete(&empty, "").await, 200);
    assert_eq!(empty.status("media_1").await, "terminating");
    empty.tend();
    assert_eq!(delete(&empty, "").await, 404);

    let busy = Cluster::new();
    busy.call("S").await;
    assert_eq!(delete(&busy, "").await, 409);
    assert_eq!(delete(&busy, "deletion-strategy=if-no-sessions").await, 409);
    assert_eq!(busy.status("media_1").await, "running");
    assert_eq!(
        delete(&busy, "deletion-strategy=when-no-sessions").await,
        202
    );
    assert_eq!(busy.status("media_1").await, "waiting-idle-to-terminate");
    assert_eq!(busy.in_use(), ["S"]);
    let gone = async {
        tokio::time::sleep(Duration::from_millis(20)).await;
        busy.tend();
    };
    let (status, ()) = tokio::join!(delete(&busy, "deletion-strategy=now&wait=true"), gone);
    assert_eq!(status, 204);
    assert!(busy.in_use().is_empty());
}

#[tokio::test]
async fn a_node_that_was_never_met_can_be_canceled_and_one_that_does_not_come_fails() {
    let cluster = Cluster::new();
    let node = cluster.network.node("10.0.0.7:7443", "media_7");
    assert_eq!(cluster.add("10.0.0.7").await.0, 200);
    node.up.store(false, Ordering::SeqCst);
    *node.silence.lock().expect("no panic") = Duration::ZERO;
    let patch = async |status: &str| {
        let body = json!({"status": status});
        cluster
            .rest
            .status("PATCH", "/media-nodes/media_7", body)
            .await
    };
    assert_eq!(patch("running").await, 400, "that it becomes by itself");
    assert_eq!(patch("canceled").await, 200);
    assert_eq!(patch("launching").await, 200);
    assert_eq!(patch("canceled").await, 200);
    cluster.tend();
    assert_eq!(cluster.status("media_7").await, "canceled");
    node.up.store(true, Ordering::SeqCst);
    cluster.tend();
    assert_eq!(cluster.status("media_7").await, "gone");

    let node = cluster.network.node("10.0.0.7:7443", "media_7");
    assert_eq!(cluster.add("10.0.0.7").await.0, 200);
    node.up.store(false, Ordering::SeqCst);
    let later = Instant::now() + Duration::from_secs(30);
    cluster
        .rest
        .app
        .step(|core| core.tend_nodes(later, SILENCE));
    assert_eq!(cluster.status("media_7").await, "gone");
}

#[tokio::test]
async fn one_that_is_wanted_after_all_gets_its_time_anew_and_one_that_is_not_goes_unseen() {
    for (wanted, sooner, later) in [(true, "launching", "gone"), (false, "canceled", "gone")] {
        let cluster = Cluster::new();
        let node = cluster.network.node("10.0.0.7:7443", "media_7");
        assert_eq!(cluster.add("10.0.0.7").await.0, 200);
        node.up.store(false, Ordering::SeqCst);
        let patch = |status: &str| {
            let body = json!({"status": status});
            cluster.rest.status("PATCH", "/media-nodes/media_7", body)
        };
        cluster.rest.app.step(|core| {
            let node = core.registry.node_mut(&NodeId::new("media_7"));
            let node = node.expect("it is there");
            node.dialled -= Duration::from_secs(15);
            node.status_since -= Duration::from_secs(15);
        });
        assert_eq!(patch("canceled").await, 200);
        if wanted {
            assert_eq!(patch("launching").await, 200);
        }
        cluster.tend_later(Duration::from_secs(19));
        assert_eq!(cluster.status("media_7").await, sooner);
        cluster.tend_later(Duration::from_secs(21));
        assert_eq!(cluster.status("media_7").await, later);
    }
}

/// What is told of `media_1` until its sessions are over, and afterwards.
fn news(cluster: &Cluster, millis: u64) -> Vec<Event> {
    *cluster.first.silence.lock().expect("no panic") = Duration::from_millis(millis);
    cluster.first.up.store(millis == 0, Ordering::SeqCst);
    cluster.rest.app.step(|core| {
        for change in core.registry.look(Instant::now(), now_millis(), SILENCE) {
            match change.is {
                Health::Crashed => {
                    let on_it = core.domain.sessions_on(&change.node);
                    core.registry
                        .tell_crashed(&change.node, on_it, now_millis());
                }
                Health::Up if change.was == Health::Crashed => {
                    core.registry.tell_recovered(&change.node);
                }
                _ => {}
            }
        }
        core.registry.take_news()
    })
}

#[tokio::test]
async fn a_crash_is_told_once_with_what_was_there_and_so_is_the_return() {
    let cluster = Cluster::new();
    cluster.call("S").await;
    assert_eq!(news(&cluster, 1500), [], "suspect is nothing to tell");
    let told = news(&cluster, 3100);
    let [
        Event::NodeCrashed {
            node,
            sessions,
            disconnected_at,
        },
    ] = &told[..]
    else {
        panic!("{told:?}")
    };
    assert_eq!(node.id, NodeId::new("media_1"));
    assert_eq!(sessions[..], [SessionId::new("S")]);
    assert!(*disconnected_at < now_millis() - 1400, "{disconnected_at}");
    assert_eq!(news(&cluster, 9000), []);
    let told = news(&cluster, 0);
    assert!(
        matches!(&told[..], [Event::NodeRecovered { .. }]),
        "{told:?}"
    );
    assert_eq!(news(&cluster, 0), []);
}

#[tokio::test]
async fn a_crashed_node_ends_its_sessions_and_is_given_up_in_time() {
    let patience = "node_reconnection_timeout = '5s'";
    for (toml, after, gone) in [
        ("", 60_000, false),
        (patience, 4_000, false),
        (patience, 5_100, true),
    ] {
        let cluster = Cluster::with(toml);
        cluster.call("S").await;
        cluster.first.up.store(false, Ordering::SeqCst);
        *cluster.first.silence.lock().expect("no panic") = Duration::from_millis(after);
        cluster.tend();
        assert!(cluster.in_use().is_empty());
        let status = cluster.status("media_1").await;
        assert_eq!(status == "gone", gone, "{toml} {after}: {status}");
        if !gone {
            cluster.first.up.store(true, Ordering::SeqCst);
            cluster.tend();
            cluster.call("S").await;
            assert_eq!(cluster.in_use(), ["S"], "it is usable again");
        }
    }
}

#[tokio::test]
async fn a_copied_certificate_gets_no_work() {
    let cluster = Cluster::new();
    let copy = cluster.network.node("10.0.0.7:7443", "media_7");
    assert_eq!(cluster.add("10.0.0.7").await.0, 200);
    let hello = crate::cluster::Link::hello(cluster.first.as_ref()).expect("there");
    let (first, seventh) = (NodeId::new("media_1"), NodeId::new("media_7"));
    cluster.rest.app.step(|core| {
        core.node_met(&first, &hello, false);
        core.node_met(&seventh, &hello, false);
    });
    cluster.tend();
    assert!(copy.stopped.load(Ordering::SeqCst));
    assert!(!cluster.first.stopped.load(Ordering::SeqCst));
    let shown = cluster
        .rest
        .call("GET", "/media-nodes/media_7?extra-info=true", Value::Null);
    let shown = shown.await.1;
    assert_eq!(shown["connected"], false);
    assert_eq!(shown["status"], "launching");
    assert_eq!(shown["ringcastInfo"]["copyOf"], "media_1");
    cluster
        .rest
        .app
        .step(|core| cluster.rest.app.metrics.observe(core));
    let metrics = cluster.rest.app.metrics.render(exposition::Format::Text);
    assert!(metrics.contains("nodes_unreached{trouble=\"copied_id\"} 1"));
    // Mended and looked for, it comes.
    copy.up.store(true, Ordering::SeqCst);
    let found = cluster.rest.call("PUT", "/media-nodes", Value::Null).await;
    assert_eq!(found.0, 200);
    assert_eq!(found.1["content"][0]["id"], "media_7");
    cluster.tend();
    assert_eq!(cluster.status("media_7").await, "running");
}

#[tokio::test]
async fn a_master_that_was_superseded_declares_nobody_dead_and_is_not_ready() {
    let cluster = Cluster::new();
    cluster.call("S").await;
    cluster.first.up.store(false, Ordering::SeqCst);
    *cluster.first.silence.lock().expect("no panic") = Duration::from_secs(60);
    cluster.rest.app.step(|core| {
        let node = core.registry.node_mut(&NodeId::new("media_1"));
        let node = node.expect("it is there");
        assert!(node.failed_to_reach(link::quic::Trouble::Superseded, "epoch 8"));
        assert!(
            !node.failed_to_reach(link::quic::Trouble::Superseded, "epoch 8"),
            "no news"
        );
    });
    cluster.tend();
    assert_eq!(cluster.in_use(), ["S"], "its calls are another master's");
    cluster.first.up.store(true, Ordering::SeqCst);
    let ready = async || {
        cluster
            .rest
            .raw("GET", "/openvidu/health", "", Body::empty())
            .await
            .0
    };
    assert_eq!(ready().await, 503);
    // What would be accepted here the other master would never hear of.
    let make = async || {
        let body = json!({"customSessionId": "T"});
        cluster.rest.call("POST", "/sessions", body).await
    };
    let (status, said) = make().await;
    assert_eq!(status, 503);
    assert!(
        said["message"]
            .as_str()
            .is_some_and(|text| text.contains("Another master"))
    );
    let end = cluster
        .rest
        .call("DELETE", "/sessions/S", Value::Null)
        .await;
    assert_eq!(end.0, 503);
    let look = cluster.rest.call("GET", "/sessions/S", Value::Null).await;
    assert_eq!(look.0, 200, "whoever only looks may");
    let find = cluster.rest.call("PUT", "/media-nodes", Value::Null).await;
    assert_eq!(find.0, 200, "that is how it is mended");
    let hello = crate::cluster::Link::hello(cluster.first.as_ref()).expect("there");
    let first = NodeId::new("media_1");
    cluster
        .rest
        .app
        .step(|core| core.node_met(&first, &hello, false));
    cluster.tend();
    assert_eq!(ready().await, 200);
    assert_eq!(make().await.0, 200);
}

#[tokio::test]
async fn the_sessions_of_nodes_are_shown_as_they_are_when_their_turn_comes() {
    let cluster = Cluster::new();
    for at in 0..40 {
        cluster.call(&format!("S{at}")).await;
    }
    let count = async |path: &str| {
        let (_, shown) = cluster.rest.call("GET", path, Value::Null).await;
        let node = shown.get("content").map_or(&shown, |content| &content[0]);
        let shown = node["sessions"].as_array().map(Vec::len);
        (shown, node["ringcastInfo"]["sessions"].clone())
    };
    let all = count("/media-nodes?sessions=true&extra-info=true").await;
    assert_eq!(all, (Some(40), json!(40)));
    assert_eq!(
        count("/media-nodes?extra-info=true").await,
        (None, json!(40))
    );
    // Something else comes to its turn before all are shown.
    let mut left = 40;
    for path in ["/media-nodes", "/media-nodes/media_1"] {
        let path = format!("{path}?sessions=true");
        left -= 1;
        let last = format!("/sessions/S{left}");
        let end = cluster.rest.call("DELETE", &last, Value::Null);
        let (shown, ended) = tokio::join!(count(&path), end);
        assert_eq!((shown.0, ended.0), (Some(left), 204), "{path}");
    }
}

#[tokio::test]
async fn a_node_that_is_about_to_end_takes_no_sessions_and_what_is_not_there_yet_goes_elsewhere() {
    let cluster = Cluster::new();
    cluster.call("S").await;
    let node = NodeId::new("media_1");
    let leaves = |left: Option<u64>| {
        let left = left.map(Duration::from_secs);
        cluster.rest.app.step(|core| core.node_leaves(&node, left));
    };
    let placed = || {
        cluster
            .rest
            .app
            .step(|core| core.domain.sessions_on(&node).len())
    };
    let make = json!({"customSessionId": "T"});
    assert_eq!(cluster.rest.status("POST", "/sessions", make).await, 200);
    let refused = async || {
        let path = "/sessions/T/connection";
        cluster.rest.status("POST", path, json!({})).await == 503
    };
    assert!(!refused().await);
    assert_eq!(placed(), 1);
    leaves(Some(60));
    assert!(refused().await);
    // Somebody is in it and nothing of it is on the node.
    assert_eq!(placed(), 0);
    assert!(cluster.in_use().contains(&"S".to_owned()));
    // It is another process now.
    leaves(None);
    assert!(!refused().await);
}

#[tokio::test]
async fn a_node_that_crashes_before_it_has_ended_is_missed() {
    let cluster = Cluster::new();
    cluster.tend();
    let node = NodeId::new("media_1");
    let make = json!({"customSessionId": "S", "mediaNode": {"id": "media_1"}});
    assert_eq!(cluster.rest.status("POST", "/sessions", make).await, 200);
    // Whoever is in a session that wants this node stays.
    cluster.call("S").await;
    let step = |left| cluster.rest.app.step(|core| core.node_leaves(&node, left));
    step(Some(Duration::from_secs(60)));
    cluster.first.up.store(false, Ordering::SeqCst);
    *cluster.first.silence.lock().expect("no panic") = Duration::from_secs(60);
    assert!(!cluster.is_missed(&node));
    cluster.tend();
    assert!(cluster.is_missed(&node), "its session was closed");
    assert!(cluster.in_use().is_empty());
}

#[tokio::test]
async fn a_node_that_ended_in_order_has_not_crashed() {
    for in_order in [true, false] {
        let cluster = Cluster::new();
        cluster.tend();
        let node = NodeId::new("media_1");
        let mut heard = cluster.rest.app.step(|core| {
            let listener = core.events.listen(core.store());
            listener.expect("nobody else listens")
        });
        let mut next = async || {
            let told = tokio::time::timeout(Duration::from_millis(300), heard.next()).await;
            let told = told.ok().flatten();
            let told: Option<Value> = told.and_then(|one| serde_json::from_str(&one.body).ok());
            told.map(|told| told["event"].as_str().unwrap_or_default().to_owned())
        };
        let expected = |name: &str| (!in_order).then(|| name.to_owned());
        if in_order {
            cluster
                .rest
                .app
                .step(|core| core.node_leaves(&node, Some(Duration::ZERO)));
        }
        let is_missed = || cluster.is_missed(&node);
        assert!(is_missed(), "nobody knows yet that it ends");
        cluster.first.up.store(false, Ordering::SeqCst);
        *cluster.first.silence.lock().expect("no panic") = Duration::from_secs(60);
        assert_eq!(is_missed(), !in_order, "before it is known to be dead");
        cluster.tend();
        assert_eq!(is_missed(), !in_order, "and after");
        assert_eq!(next().await, expected("nodeCrashed"));
        cluster.first.up.store(true, Ordering::SeqCst);
        cluster.tend();
        assert_eq!(next().await, expected("nodeRecovered"));
        let takes = cluster.rest.app.step(|core| {
            let node = core.registry.node(&node).expect("it is there");
            node.takes_sessions()
        });
        assert!(takes, "it is back");
    }
}
