//! Every status that the reference lists.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::ConnectInfo;
use axum::http::{Request, header};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::app::{App, now_millis};
use crate::domain::{ConnectionId, JoinRequest, SessionId, StreamProperties};
use crate::server::routes;
use crate::testing::{SECRET, master, master_with};

mod disk;
mod events;
mod limits;
mod media_nodes;
mod placement;

const API: &str = "/openvidu/api";

struct Rest {
    app: Arc<App>,
    routes: Router,
}

impl Rest {
    fn new() -> Self {
        let (app, _) = master();
        let routes = routes(&app, None);
        Self { app, routes }
    }

    async fn raw(&self, method: &str, path: &str, user: &str, body: Body) -> (u16, Value) {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "call.example:4443")
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(
                header::AUTHORIZATION,
                format!("Basic {}", STANDARD.encode(user)),
            )
            .body(body)
            .expect("good");
        let peer = SocketAddr::from(([10, 0, 0, 1], 1));
        request.extensions_mut().insert(ConnectInfo(peer));
        let answer = self
            .routes
            .clone()
            .oneshot(request)
            .await
            .expect("infallible");
        let status = answer.status().as_u16();
        let bytes = to_bytes(answer.into_body(), 1 << 20).await.expect("small");
        let text = String::from_utf8(bytes.to_vec()).expect("text");
        (
            status,
            serde_json::from_str(&text).unwrap_or(Value::String(text)),
        )
    }

    async fn call(&self, method: &str, path: &str, body: Value) -> (u16, Value) {
        let body = match body {
            Value::Null => Body::empty(),
            body => Body::from(body.to_string()),
        };
        let user = format!("OPENVIDUAPP:{SECRET}");
        self.raw(method, &format!("{API}{path}"), &user, body).await
    }

    async fn status(&self, method: &str, path: &str, body: Value) -> u16 {
        self.call(method, path, body).await.0
    }

    /// A session S with a pending connection; answers its id.
    async fn prepared(&self) -> String {
        self.call("POST", "/sessions", json!({"customSessionId": "S"}))
            .await;
        let made = self
            .call("POST", "/sessions/S/connection", json!({"data": "d"}))
            .await;
        made.1["connectionId"].as_str().expect("an id").to_owned()
    }

    /// The connection joins and publishes.
    fn join(&self, id: &str) -> String {
        let (session, id) = (SessionId::new("S"), ConnectionId::new(id));
        self.app.step(|core| {
            let token = core
                .domain
                .connection(&session, &id)
                .expect("there")
                .token
                .clone();
            let request = JoinRequest {
                session: "S".to_owned(),
                token,
                platform: "Chrome".to_owned(),
                ip: "10.0.0.9".to_owned(),
                ..JoinRequest::default()
            };
            core.domain
                .join(&request, now_millis(), core.chance.as_mut())
                .expect("joins");
            let properties = StreamProperties {
                has_audio: true,
                ..StreamProperties::default()
            };
            let chance = core.chance.as_mut();
            let stream = core
                .domain
                .begin_publish(&session, &id, &properties, chance)
                .expect("publishes");
            core.domain
                .complete_publish(&session, &id, &stream, properties, now_millis())
                .expect("publishes");
            stream.to_string()
        })
    }
}

#[tokio::test]
async fn only_the_secret_opens() {
    let rest = Rest::new();
    for user in ["OPENVIDUAPP:wrong", "admin:MY_SECRET", ""] {
        let (status, _) = rest
            .raw("GET", "/openvidu/api/sessions", user, Body::empty())
            .await;
        assert_eq!(status, 401, "{user}");
        let (status, _) = rest
            .raw("GET", "/openvidu/api/nowhere", user, Body::empty())
            .await;
        assert_eq!(status, 401, "{user}");
    }
    let public = "/openvidu/api/config/openvidu-publicurl";
    let (status, url) = rest.raw("GET", public, "", Body::empty()).await;
    assert_eq!((status, url), (200, json!("https://call.example:4443")));
    assert_eq!(rest.status("GET", "/nowhere", Value::Null).await, 404);
    assert_eq!(rest.status("PUT", "/sessions", Value::Null).await, 405);
    let (status, _) = rest.raw("GET", "/nowhere", "", Body::empty()).await;
    assert_eq!(status, 404, "outside the API nothing asks for the secret");
}

#[tokio::test]
async fn sessions_are_made_listed_and_closed() {
    let rest = Rest::new();
    let (status, made) = rest.call("POST", "/sessions", Value::Null).await;
    assert_eq!(status, 200);
    assert_eq!(made["id"], made["sessionId"]);
    assert_eq!(made["object"], "session");
    assert_eq!(
        made["connections"],
        json!({"numberOfElements": 0, "content": []})
    );
    assert_eq!(made["defaultRecordingProperties"]["shmSize"], 536_870_912);
    assert!(made.get("mediaNodeId").is_none());
    let own = json!({"customSessionId": "my-own_1", "mediaMode": null, "forcedVideoCodec": "VP8"});
    let (status, made) = rest.call("POST", "/sessions", own.clone()).await;
    assert_eq!((status, &made["forcedVideoCodec"]), (200, &json!("VP8")));
    assert_eq!(rest.call("POST", "/sessions", own).await, (409, json!("")));
    let (_, list) = rest
        .call("GET", "/sessions?pendingConnections=true", Value::Null)
        .await;
    assert_eq!(list["numberOfElements"], 2);
    assert_eq!(
        rest.status("GET", "/sessions/my-own_1", Value::Null).await,
        200
    );
    assert_eq!(
        rest.status("DELETE", "/sessions/my-own_1", Value::Null)
            .await,
        204
    );
    assert_eq!(
        rest.status("DELETE", "/sessions/my-own_1", Value::Null)
            .await,
        404
    );
    assert_eq!(
        rest.status("GET", "/sessions/my-own_1", Value::Null).await,
        404
    );
}

#[tokio::test]
async fn bad_sessions_are_named() {
    let rest = Rest::new();
    for (body, names) in [
        (json!({"customSessionId": "a b"}), "customSessionId"),
        (json!({"customSessionId": 5}), "customSessionId"),
        (json!({"mediaMode": "DIRECT"}), "mediaMode"),
        (json!({"recordingMode": "SOMETIMES"}), "recordingMode"),
        (json!({"forcedVideoCodec": "H266"}), "forcedVideoCodec"),
        (json!({"allowTranscoding": "yes"}), "allowTranscoding"),
        (json!({"mediaNode": 5}), "mediaNode"),
        (
            json!({"defaultRecordingProperties": {"name": "a/b"}}),
            "name",
        ),
        (json!([]), "object"),
    ] {
        let (status, answer) = rest.call("POST", "/sessions", body).await;
        assert_eq!(status, 400);
        assert_eq!(answer["path"], "/openvidu/api/sessions");
        assert_eq!(answer["status"], 400);
        assert!(
            answer["message"].as_str().expect("text").contains(names),
            "{answer}"
        );
    }
    for properties in [
        json!({"resolution": "99x720"}),
        json!({"resolution": "big"}),
        json!({"frameRate": 121}),
        json!({"shmSize": 1}),
        json!({"hasAudio": false, "hasVideo": false}),
    ] {
        let body = json!({"defaultRecordingProperties": properties});
        assert_eq!(rest.status("POST", "/sessions", body).await, 422);
    }
    let user = format!("OPENVIDUAPP:{SECRET}");
    let (status, _) = rest
        .raw("POST", "/openvidu/api/sessions", &user, Body::from("{"))
        .await;
    assert_eq!(status, 400);
    let big = Body::from(vec![b' '; super::BODY_MAX + 1]);
    let (status, _) = rest.raw("POST", "/openvidu/api/sessions", &user, big).await;
    assert_eq!(status, 413);
}

#[tokio::test]
async fn connections_are_made_changed_and_removed() {
    let rest = Rest::new();
    let id = rest.prepared().await;
    let (status, pending) = rest
        .call("GET", &format!("/sessions/S/connection/{id}"), Value::Null)
        .await;
    assert_eq!(status, 200);
    assert_eq!(pending["status"], "pending");
    assert_eq!(pending["role"], "PUBLISHER");
    assert_eq!(pending["record"], true);
    assert_eq!(pending["customIceServers"], json!([]));
    for null in [
        "activeAt",
        "location",
        "ip",
        "platform",
        "clientData",
        "publishers",
        "subscribers",
        "rtspUri",
    ] {
        assert_eq!(pending.get(null), Some(&Value::Null), "{null}");
    }
    let token = pending["token"].as_str().expect("a token");
    assert!(
        token.starts_with("wss://call.example:4443?sessionId=S&token=tok_"),
        "{token}"
    );
    rest.join(&id);
    let (_, active) = rest
        .call("GET", &format!("/sessions/S/connection/{id}"), Value::Null)
        .await;
    assert_eq!(active["status"], "active");
    assert_eq!(active["ip"], "10.0.0.9");
    assert_eq!(active["location"], "unknown");
    assert!(
        active["publishers"][0]["mediaOptions"]["hasAudio"]
            .as_bool()
            .expect("there")
    );
    let path = format!("/sessions/S/connection/{id}");
    let (status, changed) = rest
        .call(
            "PATCH",
            &path,
            json!({"role": "MODERATOR", "record": false}),
        )
        .await;
    assert_eq!(
        (status, &changed["role"], &changed["record"]),
        (200, &json!("MODERATOR"), &json!(false))
    );
    assert_eq!(
        rest.status("PATCH", &path, json!({"role": "BOSS"})).await,
        400
    );
    for method in ["GET", "PATCH", "DELETE"] {
        assert_eq!(
            rest.status(
                method,
                &format!("/sessions/none/connection/{id}"),
                Value::Null
            )
            .await,
            400
        );
        assert_eq!(
            rest.status(method, "/sessions/S/connection/none", Value::Null)
                .await,
            404
        );
    }
    assert_eq!(
        rest.status("GET", "/sessions/none/connection", Value::Null)
            .await,
        404
    );
    assert_eq!(
        rest.status("POST", "/sessions/none/connection", Value::Null)
            .await,
        404
    );
    assert_eq!(rest.status("DELETE", &path, Value::Null).await, 204);
    assert_eq!(
        rest.status("GET", "/sessions/S", Value::Null).await,
        404,
        "the last one left"
    );
}

#[tokio::test]
async fn bad_connections_are_named() {
    let rest = Rest::new();
    rest.prepared().await;
    for (body, names) in [
        (json!({"type": "CARRIER_PIGEON"}), "type"),
        (json!({"role": "BOSS"}), "role"),
        (json!({"record": "yes"}), "record"),
        (json!({"data": {}}), "data"),
        (
            json!({"kurentoOptions": {"videoMaxRecvBandwidth": "much"}}),
            "videoMaxRecvBandwidth",
        ),
        (
            json!({"kurentoOptions": {"allowedFilters": [1]}}),
            "allowedFilters",
        ),
        (
            json!({"customIceServers": [{"url": "turn:h"}]}),
            "customIceServers",
        ),
        (json!({"type": "IPCAM"}), "rtspUri"),
        (json!({"type": "IPCAM", "rtspUri": "gopher://x"}), "rtspUri"),
    ] {
        let (status, answer) = rest.call("POST", "/sessions/S/connection", body).await;
        assert_eq!(status, 400);
        assert!(
            answer["message"].as_str().expect("text").contains(names),
            "{answer}"
        );
    }
    let camera = json!({"type": "IPCAM", "rtspUri": "rtsp://h/x"});
    assert_eq!(
        rest.status("POST", "/sessions/S/connection", camera).await,
        500
    );
    let all_null = json!({
        "type": null, "data": null, "record": null, "role": null, "kurentoOptions": null, "rtspUri": null,
        "adaptativeBitrate": null, "onlyPlayWithSubscribers": null, "networkCache": null, "customIceServers": null,
    });
    assert_eq!(
        rest.status("POST", "/sessions/S/connection", all_null)
            .await,
        200
    );
    let turn = json!({"customIceServers": [{"url": "turn:h", "username": "u", "credential": "c"}]});
    let (_, made) = rest
        .call("POST", "/sessions/S/connection", turn.clone())
        .await;
    assert_eq!(made["customIceServers"], turn["customIceServers"]);
    let (_, list) = rest
        .call("GET", "/sessions/S/connection", Value::Null)
        .await;
    assert_eq!(list["numberOfElements"], 3);
    let (_, list) = rest
        .call(
            "GET",
            "/sessions/S/connection?pendingConnections=false",
            Value::Null,
        )
        .await;
    assert_eq!(list["numberOfElements"], 0);
}

#[tokio::test]
async fn tokens_signals_and_streams() {
    let rest = Rest::new();
    assert_eq!(rest.status("POST", "/tokens", json!({})).await, 400);
    assert_eq!(
        rest.status("POST", "/tokens", json!({"session": "none"}))
            .await,
        404
    );
    let id = rest.prepared().await;
    let (status, token) = rest
        .call(
            "POST",
            "/tokens",
            json!({"session": "S", "role": "MODERATOR"}),
        )
        .await;
    assert_eq!(
        (status, &token["id"], &token["role"]),
        (200, &token["token"], &json!("MODERATOR"))
    );
    assert_eq!(
        rest.status("POST", "/signal", json!({"type": "x"})).await,
        400
    );
    assert_eq!(
        rest.status("POST", "/signal", json!({"session": "S", "to": "x"}))
            .await,
        400
    );
    assert_eq!(
        rest.status("POST", "/signal", json!({"session": "none"}))
            .await,
        404
    );
    assert_eq!(
        rest.status("POST", "/signal", json!({"session": "S"}))
            .await,
        406
    );
    let stream = rest.join(&id);
    assert_eq!(
        rest.call("POST", "/signal", json!({"session": "S", "type": "x"}))
            .await,
        (200, json!(""))
    );
    assert_eq!(
        rest.status("POST", "/signal", json!({"session": "S", "to": ["none"]}))
            .await,
        406
    );
    assert_eq!(
        rest.status("POST", "/signal", json!({"session": "S", "to": [id]}))
            .await,
        200
    );
    assert_eq!(
        rest.status(
            "DELETE",
            &format!("/sessions/none/stream/{stream}"),
            Value::Null
        )
        .await,
        400
    );
    assert_eq!(
        rest.status("DELETE", "/sessions/S/stream/none", Value::Null)
            .await,
        404
    );
    assert_eq!(
        rest.status(
            "DELETE",
            &format!("/sessions/S/stream/{stream}"),
            Value::Null
        )
        .await,
        204
    );
    assert_eq!(
        rest.status(
            "DELETE",
            &format!("/sessions/S/stream/{stream}"),
            Value::Null
        )
        .await,
        404
    );
}

#[tokio::test]
async fn what_is_not_there_says_so() {
    let rest = Rest::new();
    for (method, path) in [
        ("POST", "/recordings/start"),
        ("POST", "/recordings/stop/r"),
        ("GET", "/recordings"),
        ("GET", "/recordings/r"),
        ("DELETE", "/recordings/r"),
        ("POST", "/broadcast/start"),
        ("POST", "/speech-to-text/load"),
    ] {
        assert_eq!(rest.status(method, path, Value::Null).await, 501, "{path}");
    }
}

#[tokio::test]
async fn configuration_health_and_nodes() {
    let rest = Rest::new();
    let (_, config) = rest.call("GET", "/config", Value::Null).await;
    assert_eq!(config["VERSION"], "2.32.2");
    assert_eq!(config["OPENVIDU_PUBLICURL"], "https://call.example:4443");
    assert!(!config.to_string().contains(SECRET));
    assert!(config.get("OPENVIDU_WEBHOOK_EVENTS").is_none());
    let (app, _) = master_with("webhook_endpoint = 'https://hook.example'");
    let routes_of_it = routes(&app, None);
    let told = Rest {
        app,
        routes: routes_of_it,
    };
    let (_, config) = told.call("GET", "/config", Value::Null).await;
    let all = json!(told.app.config().webhook_events_or_all());
    assert_eq!(config["OPENVIDU_WEBHOOK_EVENTS"], all, "none named: all");
    assert!(all.to_string().contains("sessionCreated"));
    let (_, version) = rest
        .call("GET", "/config/openvidu-version", Value::Null)
        .await;
    assert_eq!(version, "2.32.2");
    assert_eq!(
        rest.call("GET", "/config/openvidu-recording", Value::Null)
            .await
            .1,
        json!(false)
    );
    let up = json!({"status": "UP", "disconnectedMediaNodes": [], "takesSessions": true});
    assert_eq!(rest.call("GET", "/health", Value::Null).await, (200, up));
    let (_, nodes) = rest
        .call("GET", "/media-nodes?sessions=true", Value::Null)
        .await;
    assert_eq!(nodes["content"][0]["id"], "media_1");
    assert_eq!(nodes["content"][0]["status"], "running");
    assert_eq!(
        rest.status("GET", "/media-nodes/none", Value::Null).await,
        404
    );
    let (app, node) = master();
    node.up.store(false, std::sync::atomic::Ordering::SeqCst);
    let routes = routes(&app, None);
    let down = Rest { app, routes };
    let (status, health) = down.call("GET", "/health", Value::Null).await;
    assert_eq!((status, &health["status"]), (503, &json!("DOWN")));
    assert_eq!(
        down.raw("GET", "/openvidu/health", "", Body::empty())
            .await
            .0,
        503
    );
}

#[tokio::test]
async fn demonstration_tokens_need_no_secret_only_where_allowed() {
    let rest = Rest::new();
    let body = || Body::from(r#"{"sessionId":"demo"}"#);
    assert_eq!(rest.raw("POST", "/demo/token", "", body()).await.0, 404);
    let (app, _) = master_with("demo_page = true");
    let routes = routes(&app, None);
    let rest = Rest { app, routes };
    let (status, answer) = rest.raw("POST", "/demo/token", "", body()).await;
    assert_eq!(status, 200);
    let token = answer["token"].as_str().expect("a token");
    assert!(token.starts_with("wss://call.example:4443?sessionId=demo&token=tok_"));
    let bad = Body::from(r#"{"sessionId":"../x"}"#);
    assert_eq!(rest.raw("POST", "/demo/token", "", bad).await.0, 400);
    let mut refused = 0;
    for _ in 0..30 {
        refused += usize::from(rest.raw("POST", "/demo/token", "", body()).await.0 == 429);
    }
    assert!(refused > 5, "{refused}");
    let (status, page) = rest.raw("GET", "/", "", Body::empty()).await;
    assert_eq!(status, 200);
    assert!(page.as_str().expect("text").contains("--client-package"));
}
