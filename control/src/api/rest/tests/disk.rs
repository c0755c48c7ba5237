//! The disk takes nothing for a while.

use futures_util::FutureExt as _;

use super::*;
use crate::testing::{AuditLines, Dir, master_in};

#[tokio::test]
async fn what_was_done_for_somebody_who_did_not_wait_for_the_answer_is_written_down() {
    let lines = AuditLines::default();
    let _listening = lines.listen();
    let dir = Dir::new("gone");
    let (app, _) = master_in(&dir, 7);
    let rest = Rest {
        routes: routes(&app, None),
        app: app.clone(),
    };
    let call = |id: &str| rest.call("POST", "/sessions", json!({"customSessionId": id}));
    assert_eq!(call("A").await.0, 200);
    let [line] = <[String; 1]>::try_from(lines.take()).expect("one");
    assert!(
        line.contains("status=200") && !line.contains("outcome"),
        "{line}"
    );
    // Nothing can be written while another program holds the file, and nobody is answered before.
    let other = rusqlite::Connection::open(dir.0.join("master.db")).expect("a database");
    other.execute_batch("BEGIN IMMEDIATE").expect("free");
    assert!(
        call("B").now_or_never().is_none(),
        "it is not answered yet, and the request is dropped"
    );
    other.execute_batch("ROLLBACK").expect("begun");
    let is_there = app.step(|core| core.domain.session(&SessionId::new("B")).is_some());
    assert!(is_there, "it was done");
    let [line] = <[String; 1]>::try_from(lines.take()).expect("one");
    let expected = ["path=\"/sessions\"", "outcome=\"gone\"", "method=\"POST\""];
    assert!(expected.iter().all(|part| line.contains(part)), "{line}");
    assert!(!line.contains("status"), "{line}");
}

#[tokio::test]
async fn what_cannot_be_kept_is_not_begun() {
    let dir = Dir::new("disk");
    let (app, _) = master_in(&dir, 7);
    let rest = Rest {
        routes: routes(&app, None),
        app: app.clone(),
    };
    let (status, _) = rest
        .call("POST", "/sessions", json!({"customSessionId": "A"}))
        .await;
    assert_eq!(status, 200);
    // Another program holds the file.
    let other = rusqlite::Connection::open(dir.0.join("master.db")).expect("a database");
    other.execute_batch("BEGIN IMMEDIATE").expect("free");
    // The first that is asked finds out; what it asked for is not answered with success.
    let (status, answer) = rest
        .call("POST", "/sessions", json!({"customSessionId": "B"}))
        .await;
    assert_eq!(status, 503, "{answer}");
    let message = answer["message"].as_str().expect("a text");
    assert!(
        message.contains("could not be written to the disk"),
        "{message}"
    );
    let (status, _) = rest
        .call("POST", "/sessions", json!({"customSessionId": "C"}))
        .await;
    assert_eq!(status, 503);
    let (status, _) = rest.call("GET", "/sessions/A", Value::Null).await;
    assert_eq!(status, 200, "who only looks is answered");
    let (status, _) = rest.call("GET", "/sessions/C", Value::Null).await;
    assert_eq!(status, 404, "it was not begun");
    other.execute_batch("ROLLBACK").expect("begun");
    while app.store().failure().is_some() {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let (status, _) = rest
        .call("POST", "/sessions", json!({"customSessionId": "C"}))
        .await;
    assert_eq!(status, 200);
    drop(other);
    let copy = dir.copy();
    let (next, _) = master_in(&copy, 8);
    let known = next.step(|core| core.domain.sessions().len());
    assert_eq!(
        known, 3,
        "what was changed before it was known is not lost either"
    );
}
