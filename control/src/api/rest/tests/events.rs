//! The stream of events.

use std::time::Duration;

use axum::body::BodyDataStream;
use futures_util::StreamExt as _;
use tokio::time::timeout;

use super::*;
use crate::events::live::{BEHIND_MAX, LISTENERS_MAX};
use crate::store::{Store, Table};
use crate::testing::{Dir, master_in, master_of};

/// Longer than anything here takes.
const LONG: Duration = Duration::from_secs(10);
/// So long nothing comes.
const SILENCE: Duration = Duration::from_millis(200);

/// An event as it is read: its id and its body.
type Read = (String, String);

struct Reader {
    pieces: BodyDataStream,
    text: String,
}

impl Rest {
    async fn events(&self, user: &str) -> Result<Reader, u16> {
        let authorization = format!("Basic {}", STANDARD.encode(user));
        let mut request = Request::get(format!("{API}/events"))
            .header(header::AUTHORIZATION, authorization)
            .body(Body::empty())
            .expect("good");
        let peer = SocketAddr::from(([10, 0, 0, 1], 1));
        request.extensions_mut().insert(ConnectInfo(peer));
        let answer = self.routes.clone().oneshot(request).await;
        let answer = answer.expect("infallible");
        if answer.status() != 200 {
            return Err(answer.status().as_u16());
        }
        assert_eq!(answer.headers()[header::CONTENT_TYPE], "text/event-stream");
        let mut reader = Reader {
            pieces: answer.into_body().into_data_stream(),
            text: String::new(),
        };
        // It says so when it has begun.
        assert_eq!(
            reader.line().await.as_deref(),
            Some(": what happens from now on")
        );
        Ok(reader)
    }

    async fn listen(&self) -> Reader {
        let reader = self.events(&format!("OPENVIDUAPP:{SECRET}")).await;
        reader.expect("there is room")
    }

    fn with(app: &Arc<App>) -> Self {
        Self {
            routes: routes(app, None),
            app: app.clone(),
        }
    }
}

impl Reader {
    /// The next line that is not empty; none: the stream is over.
    async fn line(&mut self) -> Option<String> {
        loop {
            while let Some((line, rest)) = self.text.split_once('\n') {
                let (line, rest) = (line.to_owned(), rest.to_owned());
                self.text = rest;
                if !line.is_empty() {
                    return Some(line);
                }
            }
            let piece = self.pieces.next().await?.expect("infallible");
            self.text
                .push_str(std::str::from_utf8(&piece).expect("text"));
        }
    }

    async fn event(&mut self) -> Option<Read> {
        let id = self.line().await?;
        let body = self.line().await?;
        let id = id.strip_prefix("id: ").expect("an id").to_owned();
        let body = body.strip_prefix("data: ").expect("data").to_owned();
        Some((id, body))
    }

    async fn events(&mut self, count: usize) -> Vec<Read> {
        let mut read = Vec::new();
        for _ in 0..count {
            let event = timeout(LONG, self.event()).await;
            read.push(event.expect("in time").expect("it goes on"));
        }
        read
    }

    async fn is_silent(&mut self) -> bool {
        timeout(SILENCE, self.line()).await.is_err()
    }
}

fn names(read: &[Read]) -> Vec<String> {
    let parsed = read.iter().map(|(_, body)| {
        let body: Value = serde_json::from_str(body).expect("JSON");
        body["event"].as_str().expect("a name").to_owned()
    });
    parsed.collect()
}

#[tokio::test]
async fn it_tells_in_order_what_webhooks_are_told() {
    // Nobody takes the webhooks, so they stay where they can be looked at.
    let dir = Dir::new("told");
    let toml = "webhook_endpoint = 'http://192.0.2.1/'\nwebhook_allow_internal = true\nwebhook_events = ['sessionDestroyed']";
    let (app, _) = master_of(toml, Store::open(&dir.0).expect("writable"), 7);
    let rest = Rest::with(&app);
    let before = rest.prepared().await;
    let mut reader = rest.listen().await;
    rest.join(&before);
    let signal = json!({"session": "S", "type": "t", "data": "line\nend \u{2028}"});
    assert_eq!(rest.status("POST", "/signal", signal).await, 200);
    assert_eq!(rest.status("DELETE", "/sessions/S", Value::Null).await, 204);
    let read = reader.events(6).await;
    let expected = [
        "participantJoined",
        "webrtcConnectionCreated",
        "signalSent",
        "webrtcConnectionDestroyed",
        "participantLeft",
        "sessionDestroyed",
    ];
    assert_eq!(names(&read), expected, "and not what was before");
    assert!(read.is_sorted_by(|one, next| one.0 < next.0), "{read:?}");
    assert!(read[2].1.contains(r#""data":"line\nend"#), "{}", read[2].1);
    let rows = app.store().reader();
    let rows = rows.page(Table::Events, ("webhook/", "webhook0"), 9);
    let rows = rows.expect("readable");
    assert_eq!(rows.len(), 1, "webhooks are only told what they want");
    let row: Value = serde_json::from_str(&rows[0].1).expect("JSON");
    assert_eq!((row["id"].as_str(), row["body"].as_str()), {
        let (id, body) = &read[5];
        (Some(id.as_str()), Some(body.as_str()))
    });
    assert!(reader.is_silent().await);
}

#[tokio::test]
async fn it_needs_the_secret() {
    let rest = Rest::new();
    for user in ["OPENVIDUAPP:wrong", "admin:MY_SECRET", ""] {
        assert_eq!(rest.events(user).await.err(), Some(401), "{user}");
    }
    drop(rest.listen().await);
}

#[tokio::test]
async fn nothing_is_told_before_it_is_on_the_disk() {
    let dir = Dir::new("events");
    let (app, _) = master_in(&dir, 7);
    let rest = Rest::with(&app);
    let id = rest.prepared().await;
    let mut reader = rest.listen().await;
    // Another program holds the file.
    let other = rusqlite::Connection::open(dir.0.join("master.db")).expect("a database");
    other.execute_batch("BEGIN IMMEDIATE").expect("free");
    rest.join(&id);
    assert!(reader.is_silent().await);
    other.execute_batch("ROLLBACK").expect("begun");
    let read = reader.events(2).await;
    assert_eq!(
        names(&read),
        ["participantJoined", "webrtcConnectionCreated"]
    );
}

#[tokio::test]
async fn as_many_listen_as_may_and_a_place_that_is_left_is_taken_again() {
    let rest = Rest::new();
    let mut readers = Vec::new();
    for _ in 0..LISTENERS_MAX {
        readers.push(rest.listen().await);
    }
    let user = format!("OPENVIDUAPP:{SECRET}");
    assert_eq!(rest.events(&user).await.err(), Some(429));
    readers.pop();
    let again = async {
        while rest.events(&user).await.is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(LONG, again).await.expect("its place is free");
}

#[tokio::test]
async fn who_falls_behind_is_told_no_more() {
    let rest = Rest::new();
    let id = rest.prepared().await;
    rest.join(&id);
    for (count, is_lost) in [(BEHIND_MAX, false), (BEHIND_MAX + 1, true)] {
        let listener = rest.app.step(|core| core.events.listen(core.store()));
        let mut listener = listener.expect("there is room");
        for _ in 0..count {
            let signal = json!({"session": "S", "type": "t", "data": "d"});
            rest.status("POST", "/signal", signal).await;
        }
        assert_eq!(listener.next().await.is_none(), is_lost, "{count}");
    }
}
