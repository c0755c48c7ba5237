//! Receivers that behave, fail, hang, redirect, and are not there; and a master that dies.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Mutex;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::any;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::time::timeout;

use super::*;
use crate::config::Settings;
use crate::domain::{Happened, NodeId, SessionEvent, SessionId};
use crate::events::{Event, NodeIdentity};
use crate::store::{Store, Table};

/// Longer than any pause that the tests provoke.
const LONG: Duration = Duration::from_secs(20);
/// A patience that is soon over.
const SHORT: Duration = Duration::from_millis(500);

struct Dir(PathBuf);

impl Dir {
    fn new(name: &str) -> Self {
        let name = format!("ringcast-webhook-{name}-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).expect("room");
        Self(path)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// What a receiver does with its n-th request, counted from 0.
type Manners = Box<dyn Fn(usize, &Value) -> Answer + Send + Sync>;

enum Answer {
    Status(u16),
    Redirect(String),
    Never,
}

#[derive(Clone)]
struct Receiver {
    manners: Arc<Manners>,
    heard: Arc<Mutex<Vec<(HeaderMap, Value, StatusCode)>>>,
    count: Arc<Mutex<usize>>,
}

impl Receiver {
    fn new(manners: impl Fn(usize, &Value) -> Answer + Send + Sync + 'static) -> Self {
        Self {
            manners: Arc::new(Box::new(manners)),
            heard: Arc::default(),
            count: Arc::default(),
        }
    }

    async fn listen(&self, listener: TcpListener) {
        let routes = Router::new()
            .route("/{*any}", any(hear))
            .with_state(self.clone());
        tokio::spawn(async move { axum::serve(listener, routes).await });
    }

    /// What it has taken, by session, in the order in which it came.
    fn taken(&self) -> BTreeMap<String, Vec<u64>> {
        let mut taken: BTreeMap<String, Vec<u64>> = BTreeMap::new();
        for (_, body, status) in self.heard.lock().expect("no panic").iter() {
            if status.is_success() {
                let session = body["sessionId"].as_str().expect("a session").to_owned();
                let number = body["data"].as_str().expect("a number").parse();
                taken
                    .entry(session)
                    .or_default()
                    .push(number.expect("a number"));
            }
        }
        taken
    }

    async fn expect(&self, expected: &BTreeMap<String, Vec<u64>>) {
        let all = async {
            while self.taken() != *expected {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let done = timeout(LONG, all).await;
        assert!(done.is_ok(), "{:?}", self.taken());
    }
}

async fn hear(State(receiver): State<Receiver>, headers: HeaderMap, body: Bytes) -> Response {
    let body: Value = serde_json::from_slice(&body).expect("JSON");
    let turn = {
        let mut count = receiver.count.lock().expect("no panic");
        *count += 1;
        *count - 1
    };
    let response = match (receiver.manners)(turn, &body) {
        Answer::Status(status) => StatusCode::from_u16(status).expect("one").into_response(),
        Answer::Redirect(to) => {
            (StatusCode::TEMPORARY_REDIRECT, [("location", to)]).into_response()
        }
        Answer::Never => std::future::pending().await,
    };
    let mut heard = receiver.heard.lock().expect("no panic");
    heard.push((headers, body, response.status()));
    response
}

fn master(dir: &Dir, toml: &str) -> Arc<App> {
    let text = format!("secret = 's'\nwebhook_allow_internal = true\n{toml}");
    let settings: Settings = toml::from_str(&text).expect("good configuration");
    let config = Config::load(None, settings, |_| None).expect("good configuration");
    let state = Store::open(&dir.0).expect("a directory of its own");
    App::restored(config, Metrics::new(), state).expect("readable")
}

fn deliver(app: &Arc<App>) -> tokio::task::JoinHandle<()> {
    deliver_within(app, LONG)
}

fn deliver_within(app: &Arc<App>, patience: Duration) -> tokio::task::JoinHandle<()> {
    let feed = Feed::new(app, Channel::Webhook).expect("it is configured");
    let mut endpoint = Endpoint::new(&app.config()).expect("good configuration");
    endpoint.patience = patience;
    let mut courier = courier(app, feed, endpoint);
    courier.lanes = Lanes::with_pause(app.config().webhook_parallel, Duration::from_millis(20));
    tokio::spawn(courier.run())
}

/// So many events of each of so many sessions, each with its number as the text of a signal. Answers what must arrive.
fn happen(app: &App, sessions: u64, each: std::ops::Range<u64>) -> BTreeMap<String, Vec<u64>> {
    let mut expected: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for number in each {
        for session in 0..sessions {
            let session = format!("ses_{session}");
            let event = Event::Session(SessionEvent {
                session: SessionId::new(&*session),
                session_started_at: 1,
                happened: Happened::SignalSent {
                    from: None,
                    to: Vec::new(),
                    kind: String::new(),
                    data: number.to_string(),
                },
            });
            app.step(|core| core.event(&event));
            expected.entry(session).or_default().push(number);
        }
    }
    expected
}

async fn listener() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    (
        listener,
        format!("webhook_endpoint = 'http://{address}/hook'\n"),
    )
}

/// Nothing waits any more, in memory or on the disk.
async fn expect_empty(app: &App) {
    let empty = async {
        loop {
            app.committed().await.expect("written");
            let rows = app.store().reader().count(Table::Events).expect("read");
            let waiting = app.step(|core| core.events.targets()[0].backlog.waiting());
            if (rows, waiting) == (0, 0) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    assert!(timeout(LONG, empty).await.is_ok(), "rows are left");
}

fn outcome(app: &App, outcome: &str) -> u64 {
    let name = format!("ringcast_master_webhook_deliveries_total{{outcome=\"{outcome}\"}} ");
    let text = app.metrics.render(exposition::Format::Text);
    let line = text.lines().find_map(|line| line.strip_prefix(&name));
    line.map_or(0, |count| count.parse().expect("a count"))
}

#[tokio::test]
async fn events_arrive_once_in_order_signed_and_with_their_headers() {
    let dir = Dir::new("good");
    let (socket, endpoint) = listener().await;
    let more =
        "webhook_signature_secret = 'whsec'\nwebhook_headers = ['Authorization: Basic eDp5']";
    let app = master(&dir, &(endpoint + more));
    let receiver = Receiver::new(|_, _| Answer::Status(200));
    receiver.listen(socket).await;
    let before = happen(&app, 3, 0..2);
    let _task = deliver(&app);
    receiver.expect(&before).await;
    happen(&app, 3, 2..40);
    let all: BTreeMap<_, _> = before
        .into_keys()
        .map(|key| (key, (0..40).collect()))
        .collect();
    receiver.expect(&all).await;
    expect_empty(&app).await;
    assert_eq!(outcome(&app, "delivered"), 120);
    let heard = receiver.heard.lock().expect("no panic");
    let ids: std::collections::BTreeSet<_> = heard
        .iter()
        .map(|(headers, ..)| headers[ID].to_str().expect("text"))
        .collect();
    assert_eq!(ids.len(), 120);
    let (headers, body, _) = &heard[0];
    assert_eq!(headers["content-type"], "application/json");
    assert_eq!(headers["authorization"], "Basic eDp5");
    assert_eq!(body["event"], "signalSent");
    let signed = headers[SIGNATURE].to_str().expect("text");
    let (time, tag) = signed.split_once(",v1=").expect("both parts");
    let seconds: u64 = time
        .strip_prefix("t=")
        .expect("a time")
        .parse()
        .expect("a number");
    assert!(seconds.abs_diff(now_millis() / 1000) < 60);
    assert_eq!(tag.len(), 64);
}

#[test]
fn signatures_are_such_as_anybody_can_check() {
    let key = hmac::Key::new(hmac::HMAC_SHA256, b"whsec_test");
    // printf '1700000000.{"event":"sessionCreated"}' | openssl dgst -sha256 -hmac whsec_test
    assert_eq!(
        signature(&key, 1_700_000_000, r#"{"event":"sessionCreated"}"#),
        "t=1700000000,v1=312e52cf848c4b32ee055f78233866506d658a2e515641d11e8bdeef973572c3"
    );
}

#[tokio::test]
async fn failures_delay_a_session_and_neither_lose_nor_reorder() {
    let dir = Dir::new("failures");
    let (socket, endpoint) = listener().await;
    let app = master(&dir, &endpoint);
    let turn_away = |turn: usize| matches!(turn % 7, 1 | 4);
    let receiver = Receiver::new(move |turn, _| match turn {
        turn if turn < 30 && turn_away(turn) => {
            Answer::Status(if turn % 2 == 0 { 500 } else { 404 })
        }
        _ => Answer::Status(204),
    });
    receiver.listen(socket).await;
    let _task = deliver(&app);
    let expected = happen(&app, 12, 0..10);
    receiver.expect(&expected).await;
    expect_empty(&app).await;
    assert!(outcome(&app, "rejected") >= 6);
    assert_eq!(outcome(&app, "delivered"), 120);
}

#[tokio::test]
async fn one_event_that_is_never_taken_holds_up_its_own_session_only() {
    let dir = Dir::new("poison");
    let (socket, endpoint) = listener().await;
    let app = master(&dir, &endpoint);
    let poison = |body: &Value| body["sessionId"] == "ses_0" && body["data"] == "3";
    let receiver = Receiver::new(move |_, body| match poison(body) {
        true => Answer::Status(400),
        false => Answer::Status(200),
    });
    receiver.listen(socket).await;
    let _task = deliver(&app);
    let mut expected = happen(&app, 5, 0..60);
    expected.insert("ses_0".to_owned(), vec![0, 1, 2]);
    receiver.expect(&expected).await;
    let left = || app.step(|core| core.events.targets()[0].backlog.waiting());
    while left() > 57 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(left(), 57);
}

#[tokio::test]
async fn the_crash_of_a_node_is_told_before_what_followed_from_it() {
    let dir = Dir::new("crash");
    let (socket, endpoint) = listener().await;
    let app = master(&dir, &endpoint);
    let refused = std::sync::atomic::AtomicU32::new(0);
    let receiver = Receiver::new(move |_, body| {
        let crash = body["event"] == "nodeCrashed";
        match crash && refused.fetch_add(1, std::sync::atomic::Ordering::Relaxed) < 4 {
            true => Answer::Status(500),
            false => Answer::Status(200),
        }
    });
    receiver.listen(socket).await;
    let crash = Event::NodeCrashed {
        node: NodeIdentity {
            id: NodeId::new("n1"),
            environment_id: None,
            ip: [192, 0, 2, 1].into(),
            uri: "quic://192.0.2.1:4443".to_owned(),
        },
        sessions: vec![SessionId::new("ses_0"), SessionId::new("ses_1")],
        disconnected_at: 6,
    };
    app.step(|core| core.event(&crash));
    happen(&app, 3, 0..2);
    let _task = deliver(&app);
    expect_empty(&app).await;
    let heard = receiver.heard.lock().expect("no panic");
    let order: Vec<_> = heard
        .iter()
        .filter(|(_, _, status)| status.is_success())
        .map(|(_, body, _)| body["sessionId"].as_str().unwrap_or("the crash"))
        .collect();
    let mut later = order.iter().skip_while(|what| **what != "the crash");
    assert_eq!(order.len(), 7);
    assert_eq!(later.next(), Some(&"the crash"));
    assert_eq!(
        later.count(),
        4,
        "its sessions wait, the third does not: {order:?}"
    );
}

#[tokio::test]
async fn hanging_receivers_are_left_and_redirects_are_not_followed() {
    let dir = Dir::new("hang");
    let (socket, endpoint) = listener().await;
    let address = socket.local_addr().expect("bound");
    let app = master(&dir, &endpoint);
    let receiver = Receiver::new(move |turn, _| match turn {
        0 => Answer::Never,
        1 => Answer::Redirect(format!("http://{address}/elsewhere")),
        _ => Answer::Status(200),
    });
    receiver.listen(socket).await;
    let _task = deliver_within(&app, SHORT);
    let expected = happen(&app, 1, 0..3);
    receiver.expect(&expected).await;
    expect_empty(&app).await;
    assert_eq!(
        (outcome(&app, "timeout"), outcome(&app, "rejected")),
        (1, 1)
    );
    assert_eq!(
        *receiver.count.lock().expect("no panic"),
        5,
        "nothing went elsewhere"
    );
}

#[tokio::test]
async fn whoever_is_not_there_is_waited_for() {
    let dir = Dir::new("absent");
    let (socket, endpoint) = listener().await;
    let address = socket.local_addr().expect("bound");
    drop(socket);
    let app = master(&dir, &endpoint);
    let _task = deliver(&app);
    let expected = happen(&app, 6, 0..50);
    while outcome(&app, "unreachable") < 2 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(outcome(&app, "unreachable") < 20, "it is not stormed");
    let oldest = app.step(|core| core.events.targets()[0].backlog.oldest_at());
    assert!(oldest.is_some(), "operators see how long it waits");
    let receiver = Receiver::new(|_, _| Answer::Status(200));
    receiver
        .listen(TcpListener::bind(address).await.expect("free again"))
        .await;
    receiver.expect(&expected).await;
    expect_empty(&app).await;
}

#[tokio::test]
async fn what_is_inside_is_not_posted_to() {
    let dir = Dir::new("inside");
    let (socket, endpoint) = listener().await;
    let app = master(&dir, &endpoint);
    let receiver = Receiver::new(|_, _| Answer::Status(200));
    receiver.listen(socket).await;
    let feed = Feed::new(&app, Channel::Webhook).expect("it is configured");
    let mut endpoint = Endpoint::new(&app.config()).expect("good configuration");
    let public = Options {
        reach: Reach::Public,
        ca: None,
    };
    endpoint.client = HttpClient::new(&public).expect("nothing to read");
    let _task = tokio::spawn(courier(&app, feed, endpoint).run());
    happen(&app, 1, 0..1);
    while outcome(&app, "internal_address") == 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(*receiver.count.lock().expect("no panic"), 0);
}

#[tokio::test]
async fn nothing_is_lost_or_reordered_when_the_master_dies() {
    let (before, after) = (Dir::new("dies"), Dir::new("dies-after"));
    let (socket, endpoint) = listener().await;
    let address = socket.local_addr().expect("bound");
    let app = master(&before, &endpoint);
    let receiver = Receiver::new(|turn, _| match turn {
        0..40 => Answer::Status(200),
        _ => Answer::Status(503),
    });
    receiver.listen(socket).await;
    let _task = deliver(&app);
    let expected = happen(&app, 4, 0..30);
    while *receiver.count.lock().expect("no panic") < 45 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    app.committed().await.expect("written");
    // What a crash leaves: the files as they are.
    for file in ["master.db", "master.db-wal"] {
        std::fs::copy(before.0.join(file), after.0.join(file)).expect("copied");
    }
    let endpoint = format!("webhook_endpoint = 'http://{address}/hook'\n");
    let (socket, other) = listener().await;
    assert_ne!(endpoint, other);
    let successor = master(&after, &other);
    let second = Receiver::new(|_, _| Answer::Status(200));
    second.listen(socket).await;
    let _task = deliver(&successor);
    let mut newer = happen(&successor, 4, 30..33);
    expect_empty(&successor).await;
    let (first, second) = (receiver.taken(), second.taken());
    for (session, numbers) in expected {
        let mut all = numbers;
        all.append(newer.get_mut(&session).expect("the same sessions"));
        let (first, second) = (
            first.get(&session).cloned().unwrap_or_default(),
            &second[&session],
        );
        assert!(
            all.starts_with(&first) && all.ends_with(second),
            "{session}: {first:?} {second:?}"
        );
        let again = first.len() + second.len() - all.len();
        assert!(
            first.len() + second.len() >= all.len(),
            "{session}: some are lost"
        );
        assert!(again <= 12, "{session}: {again} come again");
    }
}

#[tokio::test]
async fn what_is_too_old_is_given_up_where_that_is_wanted() {
    let dir = Dir::new("old");
    let (socket, endpoint) = listener().await;
    let app = master(&dir, &(endpoint + "webhook_give_up_after = '300ms'"));
    let receiver = Receiver::new(|_, body| match body["data"] == "0" {
        true => Answer::Status(500),
        false => Answer::Status(200),
    });
    receiver.listen(socket).await;
    let _task = deliver(&app);
    happen(&app, 1, 0..1);
    while outcome(&app, "given_up") == 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let expected = happen(&app, 1, 1..2);
    receiver.expect(&expected).await;
    expect_empty(&app).await;
}

/// The resident memory of this process, in MiB.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|rest| rest.trim().strip_suffix(" kB"));
    kib.expect("a size")
        .trim()
        .parse::<u64>()
        .expect("a number")
        >> 10
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "writes some 500 MiB; for figures"]
async fn a_million_events_wait_in_little_memory_and_go_in_order() {
    const SESSIONS: u64 = 1000;
    let dir = Dir::new("million");
    let (socket, endpoint) = listener().await;
    let address = socket.local_addr().expect("bound");
    drop(socket);
    let app = master(&dir, &endpoint);
    for part in 0..100 {
        happen(&app, SESSIONS, part * 10..(part + 1) * 10);
        app.committed().await.expect("written");
    }
    drop(app);
    let before = resident();
    let app = master(&dir, &endpoint);
    let started = Instant::now();
    let _task = deliver(&app);
    let waiting = || app.step(|core| core.events.targets()[0].backlog.waiting());
    while waiting() < 1_000_000 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    println!(
        "read in {:?}, {} MiB more",
        started.elapsed(),
        resident() - before
    );
    let receiver = Receiver::new(|_, _| Answer::Status(200));
    let socket = TcpListener::bind(address).await.expect("free again");
    receiver.listen(socket).await;
    while waiting() > 999_000 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let (started, first) = (Instant::now(), waiting());
    tokio::time::sleep(Duration::from_secs(20)).await;
    let rate = (first - waiting()) as f64 / started.elapsed().as_secs_f64();
    println!("{rate:.0} a second");
    for (session, numbers) in receiver.taken() {
        assert!(
            numbers.iter().copied().eq(0..numbers.len() as u64),
            "{session}"
        );
    }
}
