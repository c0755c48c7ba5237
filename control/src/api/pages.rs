//! The page at `/` where people can talk at once: plain static files, and the client package byte for byte as it was published.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use axum::body::Bytes;
use axum::extract::{ConnectInfo, DefaultBodyLimit, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::json;

use super::proxies;
use super::urls::{public_url, token_url};
use crate::app::{App, now_millis};
use crate::domain::{
    ConnectionProperties, CreateSessionError, Limits, SessionId, SessionProperties, ids,
};

/// The name under which the page asks for the client package.
pub const CLIENT_PACKAGE: &str = "/openvidu-browser-2.32.2.min.js";

const INDEX: &str = include_str!("../../web/index.html");
const SCRIPT: &str = include_str!("../../web/app.js");
const STYLE: &str = include_str!("../../web/style.css");
const NO_PACKAGE: &str = include_str!("../../web/missing.html");

/// The longest body of a request for a demonstration token, bytes.
const BODY_MAX: usize = 1024;

/// The files of the page. `package` is the client package, if there is one.
pub fn router(package: Option<Bytes>) -> Router<Arc<App>> {
    let index = match package {
        Some(_) => INDEX,
        None => NO_PACKAGE,
    };
    let package = move || async move {
        match package {
            Some(bytes) => file("text/javascript; charset=utf-8", bytes),
            None => StatusCode::NOT_FOUND.into_response(),
        }
    };
    Router::new()
        .route(
            "/",
            get(move || async move { text_file("text/html; charset=utf-8", index) }),
        )
        .route(
            "/app.js",
            get(|| async { text_file("text/javascript; charset=utf-8", SCRIPT) }),
        )
        .route(
            "/style.css",
            get(|| async { text_file("text/css; charset=utf-8", STYLE) }),
        )
        .route(CLIENT_PACKAGE, get(package))
        .route("/demo/token", post(demo_token))
        .layer(DefaultBodyLimit::max(BODY_MAX))
}

/// Reads the client package.
///
/// # Errors
/// When the file can't be read.
pub fn read_package(path: &Path) -> std::io::Result<Bytes> {
    std::fs::read(path).map(Bytes::from)
}

pub(super) fn text_file(kind: &'static str, text: &'static str) -> Response {
    file(kind, Bytes::from_static(text.as_bytes()))
}

fn file(kind: &'static str, bytes: Bytes) -> Response {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(kind)),
        // A new master may bring new files.
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
        (
            header::X_CONTENT_TYPE_OPTIONS,
            HeaderValue::from_static("nosniff"),
        ),
    ];
    (headers, bytes).into_response()
}

/// `POST /demo/token`: a publisher's token to any session, for whoever asks. For demonstrations: real applications give tokens to
/// users that they know. Off unless configured, and limited per address.
async fn demo_token(
    State(app): State<Arc<App>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let refuse = |status: StatusCode, message: &str| {
        (status, Json(json!({"message": message}))).into_response()
    };
    if !app.config().demo_page {
        let message = "This server lets nobody in without an application (start it with --demo-page to change that)";
        return refuse(StatusCode::NOT_FOUND, message);
    }
    let allowed = app.step(|core| {
        core.demo_tokens_by_address.allows(
            proxies::client(&app.config().trusted_proxies, peer.ip(), &headers),
            Instant::now(),
        )
    });
    if !allowed {
        let message = "Too many people are joining from your network. Try again in a moment";
        return refuse(StatusCode::TOO_MANY_REQUESTS, message);
    }
    let Some(session) = wanted_session(&body) else {
        let message = "A session's name has letters, digits, '_' and '-' only";
        return refuse(StatusCode::BAD_REQUEST, message);
    };
    let url = public_url(&app.config(), &headers);
    let token = app.step(|core| {
        let properties = demo_session(&app, &session);
        let (now, chance) = (now_millis(), core.chance.as_mut());
        // Taken is as good as made.
        match core.domain.create_session(properties, now, chance) {
            Ok(_) | Err(CreateSessionError::Taken) => {}
            Err(CreateSessionError::Malformed | CreateSessionError::TooMany) => return None,
        }
        let properties = ConnectionProperties::default();
        let connection = core
            .domain
            .create_connection(&session, properties, now, core.chance.as_mut())
            .ok()?;
        Some(token_url(&url, &session, &connection.token))
    });
    match token {
        Some(token) => Json(json!({"token": token})).into_response(),
        None => StatusCode::BAD_REQUEST.into_response(),
    }
}

fn wanted_session(body: &Bytes) -> Option<SessionId> {
    let body: serde_json::Value = serde_json::from_slice(body).ok()?;
    let id = body.get("sessionId")?.as_str()?;
    ids::is_session_id(id).then(|| SessionId::new(id))
}

fn demo_session(app: &App, id: &SessionId) -> SessionProperties {
    SessionProperties {
        media_mode: "ROUTED".to_owned(),
        recording_mode: "MANUAL".to_owned(),
        custom_session_id: id.to_string(),
        default_recording_properties: super::rest::default_recording_properties(),
        media_node: None,
        expected_connections: None,
        expected_publishers: None,
        forced_video_codec: app.config().forced_video_codec.clone(),
        allow_transcoding: app.config().allow_transcoding,
        limits: Limits::default(),
    }
}
