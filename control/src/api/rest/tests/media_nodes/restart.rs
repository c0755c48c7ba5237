//! What the next master knows of its nodes.

use super::*;
use crate::store::{Row, Table};

/// The last rows of nodes that these steps leave behind.
fn rows(cluster: &Cluster) -> Vec<(String, String)> {
    let mut rows = std::collections::BTreeMap::new();
    cluster.rest.app.step(|core| {
        let mut batch = crate::store::Batch::default();
        core.registry.keep_all(&mut batch);
        for row in batch.rows() {
            if let Row::Put(Table::Nodes, id, text) = row {
                rows.insert(id.clone(), text.clone());
            }
        }
    });
    rows.into_iter().collect()
}

const CONFIGURED: &str = "[[nodes]]\nid = 'media_1'\nuri = 'quic://127.0.0.1:7443'\n[[nodes]]\nid = 'media_2'\nuri = 'quic://127.0.0.2:7443'";

/// A master that was started on these rows, with everybody at hand.
fn restarted(rows: &[(String, String)]) -> Cluster {
    restarted_with(rows, None)
}

/// The same, where a node may take so long to come back.
fn restarted_with(rows: &[(String, String)], reconnection: Option<Duration>) -> Cluster {
    let (app, _) = master_with(CONFIGURED);
    app.step(|core| core.registry = crate::cluster::Registry::new(reconnection));
    let network = FakeNetwork::default();
    let first = network.node("127.0.0.1:7443", "media_1");
    network.node("127.0.0.2:7443", "media_2");
    network.node("10.0.0.7:7443", "media_7");
    app.dial_with(Box::new(network.clone()));
    let parse =
        |(id, text): &(String, String)| (id.clone(), serde_json::from_str(text).expect("a row"));
    let kept = app.step(|core| {
        core.registry.restore(rows.iter().map(parse));
        core.registry.take_all_kept()
    });
    crate::nodes::dialling::dial_all(&app, kept).expect("good addresses");
    let routes = routes(&app, None);
    let rest = Rest { app, routes };
    Cluster {
        rest,
        first,
        network,
    }
}

#[tokio::test]
async fn nodes_are_what_they_were_after_a_restart() {
    let before = restarted(&[]);
    before.tend();
    assert_eq!(before.add("10.0.0.7").await.0, 200);
    before.tend();
    let body = json!({"status": "waiting-idle-to-terminate", "deadline": "10m"});
    before.call("S").await;
    before.rest.app.step(|core| {
        core.domain
            .place(&SessionId::new("S"), NodeId::new("media_7"))
    });
    assert_eq!(
        before
            .rest
            .status("PATCH", "/media-nodes/media_7", body)
            .await,
        200
    );
    let delete = "/media-nodes/media_2?deletion-strategy=now";
    assert_eq!(before.rest.status("DELETE", delete, Value::Null).await, 200);
    before.tend();
    let kept = rows(&before);
    assert_eq!(kept.len(), 3, "{kept:?}");

    let after = restarted(&kept);
    let nodes = |cluster: &Cluster| {
        cluster.rest.app.step(|core| {
            let nodes = core.registry.nodes().iter();
            let shown = nodes.map(|node| (node.id.to_string(), node.status, node.health));
            shown.collect::<Vec<_>>()
        })
    };
    let drained = Status::WaitingIdleToTerminate;
    // Known, and not met again: no work yet, but no new node either.
    let expected = [
        ("media_1".to_owned(), Status::Running, Health::Suspect),
        ("media_7".to_owned(), drained, Health::Suspect),
    ];
    assert_eq!(nodes(&after), expected);
    let told = after.rest.app.step(|core| core.registry.take_news());
    assert_eq!(told, [], "nothing has happened");
    after.rest.app.step(|core| {
        let deadline = core.registry.node(&NodeId::new("media_7"));
        let deadline = deadline.and_then(|node| node.drain_deadline);
        assert!(deadline.is_some_and(|at| at.shown > now_millis() + 590_000));
    });
    // What was removed stays away until it is added again.
    assert_eq!(after.status("media_2").await, "gone");
    let (status, added) = after.add("127.0.0.2").await;
    assert_eq!((status, &added["id"]), (200, &json!("media_2")), "{added}");
    after.tend();
    let kept = rows(&after);
    let again = restarted(&kept);
    assert_eq!(again.status("media_2").await, "running");
}

#[tokio::test]
async fn silence_counts_from_the_masters_own_start_and_a_crash_is_not_told_twice() {
    let before = restarted(&[]);
    before.tend();
    let kept = rows(&before);
    let after = restarted(&kept);
    after.first.up.store(false, Ordering::SeqCst);
    *after.first.silence.lock().expect("no panic") = Duration::from_millis(2_900);
    after.tend();
    let health = |cluster: &Cluster| {
        let health = |core: &mut crate::app::Core| core.registry.nodes()[0].health;
        cluster.rest.app.step(health)
    };
    assert_eq!(health(&after), Health::Suspect);
    *after.first.silence.lock().expect("no panic") = Duration::from_millis(3_000);
    after.tend();
    assert_eq!(health(&after), Health::Crashed);
    let once_more = restarted(&rows(&after));
    once_more.first.up.store(false, Ordering::SeqCst);
    // In this life of the master it has not been silent for long, but it was dead before.
    *once_more.first.silence.lock().expect("no panic") = Duration::from_millis(100);
    assert_eq!(health(&once_more), Health::Crashed);
    once_more.tend();
    assert_eq!(health(&once_more), Health::Crashed, "until it answers");
}

#[tokio::test]
async fn the_time_without_a_master_does_not_count_towards_giving_up() {
    let patience = Some(Duration::from_secs(5));
    let lost = || {
        let before = restarted_with(&[], patience);
        before.tend();
        before.first.up.store(false, Ordering::SeqCst);
        *before.first.silence.lock().expect("no panic") = SILENCE;
        before.tend();
        let mut kept = rows(&before);
        let (_, first) = &mut kept[0];
        let mut row: Value = serde_json::from_str(first).expect("a row");
        assert_eq!(row["crashed"], true, "{row}");
        for (time, hours) in [("connectionTime", 2), ("disconnectionTime", 1)] {
            row[time] = json!(now_millis() - hours * 3_600_000);
        }
        *first = row.to_string();
        let after = restarted_with(&kept, patience);
        after.first.up.store(false, Ordering::SeqCst);
        *after.first.silence.lock().expect("no panic") = Duration::from_millis(100);
        after.tend();
        after
    };
    let back = lost();
    back.tend_later(Duration::from_millis(4_500));
    assert_eq!(back.status("media_1").await, "running", "it has its time");
    back.first.up.store(true, Ordering::SeqCst);
    back.tend();
    back.tend_later(Duration::from_secs(60));
    assert_eq!(back.status("media_1").await, "running");
    let away = lost();
    away.tend_later(Duration::from_millis(5_100));
    assert_eq!(away.status("media_1").await, "gone");
}

#[tokio::test]
async fn nodes_that_are_begun_twice_are_there_once() {
    let cluster = restarted(&[]);
    let begin = || crate::nodes::dialling::dial_all(&cluster.rest.app, Default::default());
    let there = || {
        cluster.rest.app.step(|core| {
            let nodes = core.registry.nodes().iter();
            nodes.map(|node| node.id.to_string()).collect::<Vec<_>>()
        })
    };
    begin().expect("good addresses");
    assert_eq!(there(), ["media_1", "media_2"]);
    // Somebody else's node is at the address by now.
    cluster.tend();
    let gone = "/media-nodes/media_2?deletion-strategy=now";
    assert_eq!(cluster.rest.status("DELETE", gone, Value::Null).await, 200);
    cluster.tend();
    cluster.rest.app.step(|core| {
        let mut other = core.registry.nodes()[0].clone();
        other.id = NodeId::new("media_other");
        other.address = ([127, 0, 0, 2], 7443).into();
        core.registry.add(other);
    });
    begin().expect("good addresses");
    assert_eq!(there(), ["media_1", "media_other"]);
}

#[tokio::test]
async fn a_configured_node_that_was_added_and_failed_is_dialled_at_the_next_start() {
    let cluster = restarted(&[]);
    cluster.tend();
    let gone = "/media-nodes/media_2?deletion-strategy=now";
    assert_eq!(cluster.rest.status("DELETE", gone, Value::Null).await, 200);
    cluster.tend();
    let second = cluster.network.node("127.0.0.2:7443", "media_2");
    assert_eq!(cluster.add("127.0.0.2").await.0, 200);
    second.up.store(false, Ordering::SeqCst);
    cluster.tend_later(Duration::from_secs(21));
    assert_eq!(cluster.status("media_2").await, "gone");
    let after = restarted(&rows(&cluster));
    after.tend();
    assert_eq!(after.status("media_2").await, "running");
    // And when it is looked for.
    second.up.store(true, Ordering::SeqCst);
    crate::nodes::dialling::look_for_nodes(&cluster.rest.app);
    cluster.tend();
    assert_eq!(cluster.status("media_2").await, "running");
}

#[tokio::test]
async fn a_node_that_left_the_configuration_is_drained_and_a_removed_one_forgotten() {
    let before = restarted(&[]);
    before.tend();
    let mut kept = rows(&before);
    kept.push((
        "media_9".to_owned(),
        kept[0].1.replace("127.0.0.1", "10.0.0.7"),
    ));
    kept.push((
        "media_8".to_owned(),
        kept[0].1.replace("\"running\"", "\"terminated\""),
    ));
    let after = restarted(&kept);
    assert_eq!(after.status("media_9").await, "waiting-idle-to-terminate");
    assert_eq!(after.status("media_8").await, "gone");
    after.tend();
    assert_eq!(after.status("media_9").await, "gone", "nobody was on it");
    let left = rows(&after);
    assert_eq!(left.len(), 2, "{left:?}");
}
