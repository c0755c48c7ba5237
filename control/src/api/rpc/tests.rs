//! Whole conversations, without sockets and without a node.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use link::{Entry, Report, TransportReport, TransportState};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::Call;
use super::frame::Request;
use super::sessions::{Frame, Numbered, SOCKET_QUEUE, SocketId};
use crate::app::{App, now_millis};
use crate::domain::{
    ConnectionProperties, CreateSessionError, Reason, Role, SessionId, SessionProperties,
};
use crate::testing::{FakeNode, SECRET, master, master_with};

mod again;
mod away;
mod ending;
mod force;
mod joins;
mod limits;
mod placement;
mod quality;
mod restart;
mod standing;

const OFFER: &str = include_str!(
    "../../../../tests/data/sdp/openvidu-browser-2.32.2-mediasoup-static.publishVideo.offer.sdp"
);
const ANSWER: &str = include_str!(
    "../../../../tests/data/sdp/openvidu-browser-2.32.2-mediasoup-static.receiveVideoFrom.answer.sdp"
);
const RECEIVE_OFFER: &str = include_str!(
    "../../../../tests/data/sdp/openvidu-browser-2.32.2-kurento.receiveVideoFrom.offer.sdp"
);
const SENDRECV_OFFER: &str =
    include_str!("../../../../tests/data/sdp/chromium-156-offer-addTrack-sendrecv.sdp");

/// A browser as far as signalling goes.
struct Client {
    app: Arc<App>,
    socket: SocketId,
    frames: mpsc::Receiver<Numbered>,
    next: u64,
    id: String,
    rpc: String,
    join: Value,
}

impl Client {
    fn connect(app: &Arc<App>) -> Self {
        let (sender, frames) = mpsc::channel(SOCKET_QUEUE);
        Self {
            app: app.clone(),
            socket: app.step(|core| core.rpc.open(sender)),
            frames,
            next: 0,
            id: String::new(),
            rpc: String::new(),
            join: Value::Null,
        }
    }

    async fn join(app: &Arc<App>, role: Role) -> Self {
        let mut client = Self::connect(app);
        let result = client
            .call("joinRoom", join_params(&token(app, role)))
            .await;
        client.id = result["result"]["id"].as_str().expect("joined").to_owned();
        client.rpc = result["result"]["sessionId"]
            .as_str()
            .expect("joined")
            .to_owned();
        client.join = result["result"].clone();
        client
    }

    async fn send(&mut self, method: &str, params: Value) -> u64 {
        let id = self.next;
        self.next += 1;
        let text = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
        let call = Call {
            app: self.app.clone(),
            socket: self.socket,
            peer: IpAddr::from([10, 0, 0, 1]),
            client: "10.0.0.1".to_owned(),
            request: Request::parse(&text.to_string()).expect("good"),
            began: Instant::now(),
        };
        call.handle().await;
        id
    }

    /// The answer; notifications before it fail the test.
    async fn call(&mut self, method: &str, params: Value) -> Value {
        let id = self.send(method, params).await;
        let answer = self.next_frame().expect("an answer");
        assert_eq!(answer["id"], id, "the answer comes first: {answer}");
        answer
    }

    async fn good(&mut self, method: &str, params: Value) -> Value {
        let answer = self.call(method, params).await;
        assert!(answer.get("error").is_none(), "{method}: {answer}");
        answer["result"].clone()
    }

    async fn error(&mut self, method: &str, params: Value) -> i64 {
        let answer = self.call(method, params).await;
        answer["error"]["code"].as_i64().expect("an error")
    }

    fn next_frame(&mut self) -> Option<Value> {
        match self.frames.try_recv().ok()?.frame {
            Frame::Answer(text) => Some(serde_json::from_str(&text).expect("JSON")),
            Frame::Notification(_, text, _) => Some(serde_json::from_str(&text).expect("JSON")),
            Frame::Close(code, reason) => Some(json!({"close": code, "reason": reason})),
        }
    }

    /// The methods and parameters of what was notified.
    fn heard(&mut self) -> Vec<(String, Value)> {
        std::iter::from_fn(|| self.next_frame())
            .map(|frame| {
                let method = frame["method"].as_str().unwrap_or("close").to_owned();
                (method, frame["params"].clone())
            })
            .collect()
    }

    fn heard_methods(&mut self) -> Vec<String> {
        self.heard().into_iter().map(|(method, _)| method).collect()
    }

    async fn publish(&mut self) -> String {
        let result = self.good("publishVideo", publish_params(OFFER)).await;
        result["id"].as_str().expect("a stream id").to_owned()
    }

    async fn subscribe(&mut self, stream: &str) {
        let params = json!({"sender": stream, "reconnect": false});
        let offer = self.good("prepareReceiveVideoFrom", params).await;
        assert!(
            offer["sdpOffer"]
                .as_str()
                .expect("an offer")
                .contains("m=video")
        );
        let params = json!({"sender": stream, "sdpAnswer": ANSWER});
        self.good("receiveVideoFrom", params).await;
    }

    /// The socket is cut.
    fn cut(&mut self) {
        let deadline = Instant::now() + Duration::from_secs(10);
        self.app.step(|core| core.rpc.closed(self.socket, deadline));
    }

    /// A new socket.
    fn reopen(&mut self) {
        let (sender, frames) = mpsc::channel(SOCKET_QUEUE);
        self.socket = self.app.step(|core| core.rpc.open(sender));
        self.frames = frames;
    }

    async fn resume(&mut self) -> Value {
        let params = json!({"sessionId": self.rpc, "reconnect": true});
        self.call("connect", params).await
    }
}

fn session(app: &Arc<App>) -> SessionId {
    let id = SessionId::new("S");
    app.step(|core| {
        let properties = SessionProperties {
            media_mode: "ROUTED".to_owned(),
            recording_mode: "MANUAL".to_owned(),
            custom_session_id: "S".to_owned(),
            default_recording_properties: json!({}),
            media_node: None,
            expected_connections: None,
            expected_publishers: None,
            forced_video_codec: app.config().forced_video_codec.clone(),
            allow_transcoding: false,
            limits: crate::domain::Limits::default(),
        };
        let made = core
            .domain
            .create_session(properties, now_millis(), core.chance.as_mut());
        assert!(matches!(made, Ok(_) | Err(CreateSessionError::Taken)));
    });
    id
}

fn token(app: &Arc<App>, role: Role) -> String {
    let session = session(app);
    app.step(|core| {
        let properties = ConnectionProperties {
            role,
            data: "server".to_owned(),
            ..ConnectionProperties::default()
        };
        let chance = core.chance.as_mut();
        let made = core
            .domain
            .create_connection(&session, properties, now_millis(), chance)
            .expect("the session is there");
        format!("wss://h?sessionId=S&token={}", made.token)
    })
}

fn join_params(token: &str) -> Value {
    json!({
        "token": token, "session": "S", "platform": "Chrome", "sdkVersion": "2.32.2",
        "metadata": "client", "secret": "", "recorder": false, "stt": false,
    })
}

fn publish_params(offer: &str) -> Value {
    json!({
        "doLoopback": false, "hasAudio": true, "hasVideo": true, "audioActive": true, "videoActive": true,
        "typeOfVideo": "CAMERA", "frameRate": -1, "videoDimensions": "{\"width\":640,\"height\":480}",
        "sdpOffer": offer,
    })
}

#[tokio::test]
async fn the_join_result_has_all_that_a_client_needs() {
    let (app, _) = master();
    let mut a = Client::join(&app, Role::Publisher).await;
    assert_eq!(a.join["value"], json!([]));
    assert_eq!(a.join["version"], "2.32.2");
    assert_eq!(a.join["role"], "PUBLISHER");
    assert_eq!(a.join["metadata"], "client%/%server");
    assert_eq!(a.join["mediaServer"], "mediasoup");
    assert_eq!(a.rpc.len(), 26);
    let servers = a.join["customIceServers"].as_array().expect("a list");
    assert!(
        servers[0]["url"]
            .as_str()
            .expect("text")
            .starts_with("stun:127.0.0.1:")
    );
    a.publish().await;
    let b = Client::join(&app, Role::Subscriber).await;
    let first = &b.join["value"][0];
    assert_eq!(first["id"], a.id);
    assert!(first.get("role").is_none());
    assert_eq!(first["streams"].as_array().expect("a list").len(), 1);
    assert!(first["streams"][0]["videoDimensions"].is_string());
    let c = Client::join(&app, Role::Subscriber).await;
    let quiet = &c.join["value"][1];
    assert_eq!(quiet["id"], b.id);
    assert!(
        quiet.get("streams").is_none(),
        "an empty list would hang the client"
    );
    assert_eq!(
        a.heard_methods(),
        ["participantJoined", "participantJoined"]
    );
}

#[tokio::test]
async fn wrong_and_used_tokens_are_refused() {
    let (app, _) = master();
    let token = token(&app, Role::Publisher);
    let mut client = Client::connect(&app);
    assert_eq!(client.error("publishVideo", json!({})).await, 803);
    assert_eq!(
        client
            .error("joinRoom", join_params("wss://h?token=tok_Wrong"))
            .await,
        401
    );
    let mut elsewhere = join_params(&token);
    elsewhere["session"] = json!("other");
    assert_eq!(client.error("joinRoom", elsewhere).await, 202);
    client.good("joinRoom", join_params(&token)).await;
    let mut second = Client::connect(&app);
    assert_eq!(second.error("joinRoom", join_params(&token)).await, 401);
    let mut params = join_params("");
    params["secret"] = json!("guessed");
    assert_eq!(second.error("joinRoom", params).await, 401);
}

#[tokio::test]
async fn the_recorder_is_hidden() {
    let (app, _) = master();
    let mut a = Client::join(&app, Role::Publisher).await;
    let mut params = join_params("");
    params["secret"] = json!(SECRET);
    params["recorder"] = json!(true);
    let mut recorder = Client::connect(&app);
    let result = recorder.good("joinRoom", params).await;
    assert_eq!(result["id"], "RECORDER");
    assert_eq!(a.heard(), []);
    let b = Client::join(&app, Role::Publisher).await;
    assert_eq!(b.join["value"].as_array().map(Vec::len), Some(1));
    assert_eq!(recorder.heard_methods(), ["participantJoined"]);
    recorder.good("leaveRoom", json!({})).await;
    assert_eq!(a.heard_methods(), ["participantJoined"]);
}

#[tokio::test]
async fn a_stream_is_announced_after_the_publishers_answer_and_can_be_received() {
    let (app, node) = master();
    let mut a = Client::join(&app, Role::Publisher).await;
    let mut b = Client::join(&app, Role::Subscriber).await;
    a.heard();
    // `call` fails if anything precedes the answer.
    let stream = a.publish().await;
    assert!(stream.starts_with("str_CAM_") && stream.ends_with(&a.id));
    assert_eq!(node.counts(), (1, 1, 0));
    let heard = b.heard();
    assert_eq!(heard[0].0, "participantPublished");
    assert_eq!(heard[0].1["streams"][0]["id"], stream);
    b.subscribe(&stream).await;
    assert_eq!(node.counts(), (2, 1, 1));
    let described = node.entries().into_iter().all(|entry| match entry {
        Entry::Transport(transport) => {
            transport.remote_ice.is_some() && !transport.remote_fingerprints.is_empty()
        }
        _ => true,
    });
    assert!(described);
    b.good("unsubscribeFromVideo", json!({"sender": a.id}))
        .await;
    assert_eq!(node.counts(), (1, 1, 0));
    a.good("unpublishVideo", json!({})).await;
    assert_eq!(node.counts(), (0, 0, 0));
    assert_eq!(b.heard()[0].1["reason"], "unpublish");
    assert_eq!(a.heard(), [], "the publisher knows by its answer");
}

#[tokio::test]
async fn in_kurento_mode_the_client_offers() {
    let (app, node) = master_with("media_server = 'kurento'");
    let mut a = Client::join(&app, Role::Publisher).await;
    assert_eq!(a.join["mediaServer"], "kurento");
    let stream = a.publish().await;
    let mut b = Client::join(&app, Role::Subscriber).await;
    let params = json!({"sender": stream, "sdpOffer": RECEIVE_OFFER});
    let result = b.good("receiveVideoFrom", params).await;
    assert!(
        result["sdpAnswer"]
            .as_str()
            .expect("an answer")
            .contains("a=sendonly")
    );
    assert_eq!(node.counts(), (2, 1, 1));
    let params = json!({"stream": stream, "sdpOffer": RECEIVE_OFFER, "forciblyReconnect": false});
    b.good("reconnectStream", params).await;
    assert_eq!(node.counts(), (2, 1, 1), "the old transport is gone");
}

#[tokio::test]
async fn streams_are_reconnected_under_their_ids() {
    let (app, node) = master();
    let mut a = Client::join(&app, Role::Publisher).await;
    let stream = a.publish().await;
    let mut b = Client::join(&app, Role::Subscriber).await;
    b.subscribe(&stream).await;
    a.heard();
    let before = node.entries();
    let params = json!({"stream": stream, "sdpString": OFFER});
    let result = a.good("reconnectStream", params).await;
    assert_eq!(result["id"], stream);
    assert!(result["sdpAnswer"].is_string());
    assert_eq!(
        b.heard(),
        [],
        "a second announcement would detach the subscription"
    );
    let publisher = |entries: &[Entry]| {
        entries.iter().find_map(|entry| match entry {
            Entry::Publisher(publisher) => Some(publisher.clone()),
            _ => None,
        })
    };
    let (old, new) = (publisher(&before), publisher(&node.entries()));
    let (old, new) = (old.expect("there"), new.expect("there"));
    assert_eq!(old.id, new.id, "subscribers stay attached");
    assert_ne!(old.transport, new.transport);
    assert_eq!(node.counts(), (2, 1, 1));
    let params = json!({"sender": stream, "reconnect": true});
    b.good("prepareReceiveVideoFrom", params).await;
    let params = json!({"stream": stream, "sdpString": ANSWER, "forciblyReconnect": false});
    assert_eq!(b.good("reconnectStream", params).await, json!({}));
    assert_eq!(node.counts(), (2, 1, 1));
    let params = json!({"stream": "str_CAM_gone", "sdpString": OFFER});
    assert_eq!(b.error("reconnectStream", params).await, 105);
}

/// Of each publisher on a node: its media, and whether they are a screen.
fn screens(node: &FakeNode) -> Vec<Vec<(link::Kind, bool)>> {
    let entries = node.entries();
    let media = entries.iter().filter_map(|entry| match entry {
        Entry::Publisher(publisher) => Some(&publisher.media),
        _ => None,
    });
    media
        .map(|media| media.iter().map(|one| (one.kind, one.is_screen)).collect())
        .collect()
}

#[tokio::test]
async fn the_node_is_told_which_pictures_are_a_screen() {
    for (kind, is_screen) in [("SCREEN", true), ("CAMERA", false), ("CUSTOM", false)] {
        let (app, node) = master();
        let mut a = Client::join(&app, Role::Publisher).await;
        let mut params = publish_params(OFFER);
        params["typeOfVideo"] = json!(kind);
        let stream = a.good("publishVideo", params).await["id"].clone();
        let expected = [[(link::Kind::Audio, false), (link::Kind::Video, is_screen)]];
        assert_eq!(screens(&node), expected, "{kind}");
        // Clients don't say it again: neither when they replace the track nor when they reconnect.
        let replaced = json!({
            "streamId": stream, "property": "videoTrack", "newValue": {"label": "other"},
            "reason": "trackReplaced",
        });
        a.good("streamPropertyChanged", replaced).await;
        let params = json!({"stream": stream, "sdpString": OFFER});
        a.good("reconnectStream", params).await;
        assert_eq!(screens(&node), expected, "{kind}, reconnected");
    }
}

#[tokio::test]
async fn a_publisher_may_want_its_own_stream_back() {
    let (app, node) = master();
    let mut a = Client::join(&app, Role::Publisher).await;
    let mut params = publish_params(SENDRECV_OFFER);
    params["doLoopback"] = json!(true);
    let result = a.good("publishVideo", params).await;
    assert!(
        result["sdpAnswer"]
            .as_str()
            .expect("an answer")
            .contains("a=sendrecv")
    );
    assert_eq!(node.counts(), (1, 1, 1));
    a.good("unpublishVideo", json!({})).await;
    assert_eq!(node.counts(), (0, 0, 0));
}

#[tokio::test]
async fn what_fails_leaves_nothing_behind() {
    let (app, node) = master();
    let mut a = Client::join(&app, Role::Publisher).await;
    assert_eq!(
        a.error("publishVideo", publish_params("garbage")).await,
        302
    );
    node.answers.store(false, Ordering::SeqCst);
    assert_eq!(a.error("publishVideo", publish_params(OFFER)).await, 303);
    node.up.store(false, Ordering::SeqCst);
    assert_eq!(a.error("publishVideo", publish_params(OFFER)).await, 204);
    assert_eq!(node.counts(), (0, 0, 0));
    let mut late = Client::connect(&app);
    let token = token(&app, Role::Publisher);
    assert_eq!(late.error("joinRoom", join_params(&token)).await, 204);
    node.up.store(true, Ordering::SeqCst);
    node.answers.store(true, Ordering::SeqCst);
    late.good("joinRoom", join_params(&token)).await;
    a.heard();
    let stream = a.publish().await;
    assert_eq!(a.error("publishVideo", publish_params(OFFER)).await, 106);
    late.heard();
    let params = json!({"sender": stream, "sdpAnswer": ANSWER});
    assert_eq!(late.error("receiveVideoFrom", params).await, 303);
    let params = json!({"sender": "str_CAM_none", "reconnect": false});
    assert_eq!(late.error("prepareReceiveVideoFrom", params).await, 105);
    assert_eq!(node.counts(), (1, 1, 0));
}

#[tokio::test]
async fn a_codec_that_is_forced_must_be_offered() {
    let (app, _) = master_with("forced_video_codec = 'H264'");
    let mut a = Client::join(&app, Role::Publisher).await;
    let vp8_only: String = OFFER
        .lines()
        .filter(|line| !line.contains("H264"))
        .map(|line| format!("{line}\r\n"))
        .collect();
    assert_eq!(
        a.error("publishVideo", publish_params(&vp8_only)).await,
        800
    );
    let result = a.good("publishVideo", publish_params(OFFER)).await;
    let answer = result["sdpAnswer"].as_str().expect("an answer");
    assert!(answer.contains("H264/90000") && !answer.contains("VP8/90000"));
}

#[tokio::test]
async fn what_moderators_do_is_written_down_and_what_others_try_is_not() {
    let lines = crate::testing::AuditLines::default();
    let _listening = lines.listen();
    let (app, _) = master();
    let mut moderator = Client::join(&app, Role::Moderator).await;
    let mut publisher = Client::join(&app, Role::Publisher).await;
    let stream = publisher.good("publishVideo", publish_params(OFFER)).await["id"].clone();
    let (stream, whom) = (
        json!({ "streamId": stream }),
        json!({"connectionId": publisher.id}),
    );
    for (method, params) in [("forceUnpublish", &stream), ("forceDisconnect", &whom)] {
        assert_eq!(publisher.error(method, params.clone()).await, 401);
    }
    assert_eq!(lines.take(), Vec::<String>::new());
    let on = |what: &str| {
        let (by, whom) = (&moderator.id, &publisher.id);
        let names = format!("session=\"S\" moderator=\"{by}\" connection=\"{whom}\"");
        format!("{names} {what}")
    };
    let stream_id = stream["streamId"].as_str().expect("an id");
    let expected = [on(&format!("stream=\"{stream_id}\"")), on("")];
    for ((method, params), expected) in [("forceUnpublish", &stream), ("forceDisconnect", &whom)]
        .into_iter()
        .zip(&expected)
    {
        moderator.heard();
        moderator.good(method, params.clone()).await;
        let [line] = <[String; 1]>::try_from(lines.take()).expect("one");
        assert!(line.contains(&format!("what=\"{method}\"")), "{line}");
        assert!(line.contains(expected.trim_end()), "{line}");
    }
    // It is done already.
    moderator.heard();
    assert_eq!(moderator.error("forceDisconnect", whom).await, 102);
    assert_eq!(lines.take(), Vec::<String>::new());
}

#[tokio::test]
async fn roles_are_enforced() {
    let (app, _) = master();
    let mut moderator = Client::join(&app, Role::Moderator).await;
    let mut publisher = Client::join(&app, Role::Publisher).await;
    let mut subscriber = Client::join(&app, Role::Subscriber).await;
    publisher.heard();
    assert_eq!(
        subscriber
            .error("publishVideo", publish_params(OFFER))
            .await,
        401
    );
    let stream = publisher.good("publishVideo", publish_params(OFFER)).await["id"].clone();
    moderator.heard();
    subscriber.heard();
    for client in [&mut publisher, &mut subscriber] {
        client.heard();
        let who = json!({"connectionId": moderator.id});
        assert_eq!(client.error("forceDisconnect", who).await, 401);
        assert_eq!(
            client
                .error("forceUnpublish", json!({"streamId": stream}))
                .await,
            401
        );
    }
    // The moderator hears its answer first: `good` checks.
    moderator
        .good("forceUnpublish", json!({"streamId": stream}))
        .await;
    for client in [&mut moderator, &mut publisher, &mut subscriber] {
        let heard = client.heard();
        assert_eq!(heard[0].0, "participantUnpublished");
        assert_eq!(heard[0].1["reason"], "forceUnpublishByUser");
    }
    let who = json!({"connectionId": subscriber.id});
    moderator.good("forceDisconnect", who.clone()).await;
    assert_eq!(moderator.heard_methods(), ["participantLeft"]);
    let heard = subscriber.heard();
    assert_eq!(heard.len(), 1, "the evicted is told nothing else");
    assert_eq!(heard[0].0, "participantEvicted");
    assert_eq!(heard[0].1["reason"], "forceDisconnectByUser");
    assert_eq!(moderator.error("forceDisconnect", who).await, 102);
}

#[tokio::test]
async fn signals_reach_those_they_are_for() {
    let (app, _) = master();
    let mut a = Client::join(&app, Role::Publisher).await;
    let mut b = Client::join(&app, Role::Subscriber).await;
    a.heard();
    let signal = |to: Value| json!({"message": json!({"to": to, "data": "d", "type": "signal:chat"}).to_string()});
    a.send("sendMessage", signal(json!([]))).await;
    let sent = json!({"from": a.id, "type": "signal:chat", "data": "d"});
    assert_eq!(b.heard(), [("sendMessage".to_owned(), sent)]);
    assert!(a.heard_methods().contains(&"sendMessage".to_owned()));
    a.good("sendMessage", signal(json!([b.id]))).await;
    assert_eq!(b.heard().len(), 1);
    assert_eq!(a.heard(), []);
    let nobody = signal(json!([b.id, "con_nobody"]));
    assert_eq!(a.error("sendMessage", nobody).await, 601);
    assert_eq!(b.heard(), []);
    for bad in ["", "[]", "{\"to\":5}", "{\"type\":{}}"] {
        assert_eq!(
            a.error("sendMessage", json!({"message": bad})).await,
            600,
            "{bad}"
        );
    }
}

#[tokio::test]
async fn new_values_are_texts_of_json() {
    let (app, _) = master();
    let mut a = Client::join(&app, Role::Publisher).await;
    let stream = a.publish().await;
    let mut b = Client::join(&app, Role::Subscriber).await;
    let dimensions = json!("{\"width\":1,\"height\":2}");
    let track = json!({"label": "x"});
    for (property, value, text) in [
        ("audioActive", json!(false), "false"),
        (
            "videoDimensions",
            dimensions,
            "\"{\\\"width\\\":1,\\\"height\\\":2}\"",
        ),
        ("videoTrack", track, "{\"label\":\"x\"}"),
    ] {
        let params =
            json!({"streamId": stream, "property": property, "newValue": value, "reason": "r"});
        a.send("streamPropertyChanged", params.clone()).await;
        assert_eq!(b.heard()[0].1["newValue"], text);
        assert_eq!(b.error("streamPropertyChanged", params).await, 401);
    }
    let c = Client::join(&app, Role::Subscriber).await;
    let seen = &c.join["value"][0]["streams"][0];
    assert_eq!(seen["audioActive"], false);
    assert_eq!(seen["videoDimensions"], "{\"width\":1,\"height\":2}");
}

#[tokio::test]
async fn who_was_put_out_speaks_for_nobody() {
    let (app, node) = master();
    let mut a = Client::join(&app, Role::Moderator).await;
    let mut b = Client::join(&app, Role::Subscriber).await;
    a.heard();
    let stream = a.publish().await;
    a.good("forceDisconnect", json!({"connectionId": b.id}))
        .await;
    a.heard();
    b.heard();
    // Its socket is open for another ten seconds, and whatever it asks comes from nobody.
    let params = json!({"sender": stream, "reconnect": false});
    assert_eq!(b.error("prepareReceiveVideoFrom", params).await, 803);
    let message = json!({"to": [], "data": "still here", "type": "x"}).to_string();
    let signal = json!({"message": message});
    assert_eq!(b.error("sendMessage", signal).await, 803);
    assert_eq!(a.heard(), []);
    assert_eq!(node.counts(), (1, 1, 0));
    // The same socket may join again, and then is not cut off for what was before.
    b.good("joinRoom", join_params(&token(&app, Role::Subscriber)))
        .await;
    let later = Instant::now() + super::sessions::EVICTION_GRACE * 2;
    app.step(|core| assert_eq!(core.rpc.overdue(later), []));
    assert!(app.step(|core| core.rpc.is_open(b.socket)));
    b.subscribe(&stream).await;
}

#[tokio::test]
async fn an_order_that_comes_after_its_connection_is_refused() {
    let (app, node) = master();
    let mut a = Client::join(&app, Role::Publisher).await;
    let b = Client::join(&app, Role::Subscriber).await;
    a.heard();
    a.publish().await;
    let member = (
        SessionId::new("S"),
        crate::domain::ConnectionId::new(&*b.id),
    );
    app.step(|core| {
        core.domain
            .evict(&member.0, &member.1, Reason::ForceDisconnectByUser)
            .expect("it is here");
    });
    let refused = app.step(|core| core.place_of(&member));
    assert_eq!(
        refused.map_err(|refused| refused.code as i64),
        Err(102),
        "a request that waited in its lane meanwhile"
    );
    assert_eq!(node.counts(), (1, 1, 0));
}

#[tokio::test]
async fn guessed_secrets_count_as_joins() {
    let (app, _) = master_with("joins_per_address_rate = 1");
    session(&app);
    let mut guesser = Client::connect(&app);
    let mut params = join_params("");
    params["secret"] = json!("guess");
    for _ in 0..10 {
        assert_eq!(guesser.error("joinRoom", params.clone()).await, 401);
    }
    assert_eq!(guesser.error("joinRoom", params).await, 429);
}

#[tokio::test]
async fn small_methods_are_answered() {
    let (app, _) = master();
    let mut a = Client::join(&app, Role::Publisher).await;
    for method in ["onIceCandidate", "videoData"] {
        assert_eq!(a.good(method, json!({"candidate": ""})).await, json!({}));
    }
    assert_eq!(
        a.good("sessionStatus", json!({})).await["life"],
        app.facts.life
    );
    assert_eq!(a.error("applyFilter", json!({})).await, 406);
    assert_eq!(a.error("subscribeToSpeechToText", json!({})).await, 996);
    assert_eq!(a.error("madeUp", json!({})).await, 801);
    assert_eq!(a.error("unpublishVideo", json!({})).await, 105);
    assert_eq!(a.error("joinRoom", json!({})).await, 104);
}

#[tokio::test]
async fn who_speaks_is_what_the_node_says_of_streams_that_are_there() {
    let (app, node) = master();
    let mut a = Client::join(&app, Role::Publisher).await;
    let mut b = Client::join(&app, Role::Publisher).await;
    a.heard();
    let first = a.publish().await;
    b.heard();
    let streams = [first, b.publish().await];
    a.heard();
    let entries = node.entries();
    let publishers: Vec<_> = entries
        .iter()
        .filter_map(|entry| match entry {
            Entry::Publisher(publisher) => Some(publisher.id.clone()),
            _ => None,
        })
        .collect();
    let session = entries.iter().find_map(|entry| match entry {
        Entry::Transport(transport) => Some(transport.session.clone()),
        _ => None,
    });
    let session = session.expect("there are transports");
    let say = |session: &link::SessionId, speaker: usize, levels: [i8; 2]| {
        let report = Report::Voice(link::VoiceReport {
            id: session.clone(),
            speaker: publishers.get(speaker).cloned(),
            levels: publishers.iter().cloned().zip(levels).collect(),
        });
        let id = crate::domain::NodeId::new("media_1");
        app.step(|core| crate::nodes::on_report(&app, core, &id, &report));
    };
    let shown = || {
        app.step(|core| {
            let session = core.domain.session(&SessionId::new("S")).expect("there");
            let shown = crate::api::rest::sessions::render(session, false, "");
            (
                shown["dominantSpeaker"]["streamId"].clone(),
                shown["audioLevels"].clone(),
            )
        })
    };
    assert_eq!(shown(), (Value::Null, json!({})));
    say(&session, 1, [-70, -20]);
    let by_publisher = |nth: usize| {
        app.step(|core| {
            let id = crate::domain::StreamId::new(streams[nth].clone());
            let publisher = core.media.publisher(&SessionId::new("S"), &id);
            publishers.iter().position(|one| Some(one) == publisher)
        })
    };
    // The node's list is in the order of its keys.
    let speaks = usize::from(by_publisher(1) == Some(1));
    let levels = json!({&streams[speaks]: -20, &streams[1 - speaks]: -70});
    assert_eq!(shown(), (json!(streams[speaks]), levels));
    assert_eq!(a.heard(), [], "no client knows a word for it");

    // Of another life of the session nothing is believed.
    say(&link::SessionId::new("S_99"), 0, [-1, -1]);
    say(&link::SessionId::new("S"), 0, [-1, -1]);
    assert_eq!(shown().0, json!(streams[speaks]));
    // A stream that ends speaks no more, even if the node has not noticed.
    let who = if speaks == 0 { &mut a } else { &mut b };
    who.good("unpublishVideo", json!({})).await;
    let levels = json!({&streams[1 - speaks]: -70});
    assert_eq!(shown(), (Value::Null, levels.clone()));
    say(&session, 1, [-70, -20]);
    assert_eq!(shown(), (Value::Null, levels));
}
