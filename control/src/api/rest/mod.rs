//! The OpenVidu REST API under `/openvidu/api`: what applications and `openvidu-node-client` use. One file per resource.

mod body;
mod config;
mod connections;
mod health;
mod media_nodes;
mod recordings;
pub(crate) mod sessions;
mod signal;
mod statistics;
mod streams;
mod tokens;

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use serde_json::{Value, json};

use crate::app::{App, now_millis};
use crate::auth;

pub use health::usable;
pub use recordings::default_recording_properties;
pub use sessions::is_video_codec;

/// The longest body that is read, bytes.
pub const BODY_MAX: usize = 1024 * 1024;

/// The one thing that needs no secret.
const PUBLIC_URL: &str = "/openvidu/api/config/openvidu-publicurl";

/// All of it.
pub fn router(app: &Arc<App>) -> Router<Arc<App>> {
    let api = Router::new()
        .route("/sessions", post(sessions::create).get(sessions::list))
        .route(
            "/sessions/{session}",
            get(sessions::get).delete(sessions::close),
        )
        .route(
            "/sessions/{session}/connection",
            post(connections::create).get(connections::list),
        )
        .route(
            "/sessions/{session}/connection/{connection}",
            get(connections::get)
                .patch(connections::update)
                .delete(connections::remove),
        )
        .route(
            "/sessions/{session}/stream/{stream}",
            delete(streams::remove),
        )
        .route(
            "/sessions/{session}/stream/{stream}/reconnect",
            post(streams::reconnect),
        )
        .route("/tokens", post(tokens::create))
        .route("/signal", post(signal::send))
        .route("/recordings", get(recordings::disabled))
        .route("/recordings/start", post(recordings::disabled))
        .route("/recordings/stop/{recording}", post(recordings::disabled))
        .route(
            "/recordings/{recording}",
            get(recordings::disabled).delete(recordings::disabled),
        )
        .route("/broadcast/{what}", post(recordings::disabled))
        .route("/speech-to-text/{what}", post(recordings::disabled))
        .route("/media-nodes", get(media_nodes::list))
        .route("/media-nodes/{node}", get(media_nodes::get))
        .route("/config", get(config::all))
        .route("/config/openvidu-version", get(config::version))
        .route("/config/openvidu-publicurl", get(config::public_url))
        .route("/config/openvidu-recording", get(config::no))
        .route("/config/openvidu-recording-path", get(config::nothing))
        .route("/config/openvidu-cdr", get(config::no))
        .route("/health", get(health::health))
        .method_not_allowed_fallback(|| async { Problem::empty(StatusCode::METHOD_NOT_ALLOWED) })
        .fallback(|| async { Problem::empty(StatusCode::NOT_FOUND) });
    Router::new()
        .nest("/openvidu/api", api)
        .route("/openvidu/health", get(health::usable))
        .layer(DefaultBodyLimit::max(BODY_MAX))
        .layer(from_fn_with_state(app.clone(), guard))
}

/// A request that was not fulfilled.
#[derive(Clone, Debug)]
pub struct Problem {
    status: StatusCode,
    message: Option<String>,
}

impl Problem {
    /// With a text for the developer.
    pub fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self {
            status,
            message: Some(message.into()),
        }
    }

    /// Without a body.
    pub fn empty(status: StatusCode) -> Self {
        Self {
            status,
            message: None,
        }
    }

    /// 400 with a text that names what is wrong.
    pub fn bad(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        if self.message.is_some() {
            // The guard knows the path, which belongs into the body.
            response.extensions_mut().insert(self);
        }
        response
    }
}

/// Lets nobody in without the secret, and puts bodies on errors.
async fn guard(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let path = request.uri().path().to_owned();
    let open = path == PUBLIC_URL || path == "/openvidu/health";
    if !open && !auth::is_application(request.headers(), app.config.secret.expose()) {
        let challenge = HeaderValue::from_static("Basic realm=\"OPENVIDUAPP\"");
        let mut response = StatusCode::UNAUTHORIZED.into_response();
        response
            .headers_mut()
            .insert(header::WWW_AUTHENTICATE, challenge);
        return response;
    }
    let mut response = next.run(request).await;
    if response.status() == StatusCode::PAYLOAD_TOO_LARGE {
        let problem = Problem::new(response.status(), "The body is longer than 1 MiB");
        response = problem.into_response();
    }
    if let Some(problem) = response.extensions_mut().remove::<Problem>() {
        let body = json!({
            "timestamp": now_millis(),
            "status": problem.status.as_u16(),
            "error": problem.status.canonical_reason().unwrap_or(""),
            "message": problem.message,
            "path": path,
        });
        return (problem.status, axum::Json(body)).into_response();
    }
    response
}

/// The query flag that asks for statistics.
const WEB_RTC_STATS: &str = "webRtcStats";

/// Query flags as the node client sends them: anything but `true` is false.
fn flag(query: &std::collections::HashMap<String, String>, name: &str, default: bool) -> bool {
    query.get(name).map_or(default, |value| value == "true")
}

/// A list as applications expect it.
fn list(content: Vec<Value>) -> Value {
    json!({"numberOfElements": content.len(), "content": content})
}

/// How clients of this request reach us.
fn public_url(app: &App, headers: &HeaderMap) -> String {
    super::urls::public_url(&app.config, headers)
}

#[cfg(test)]
mod tests;
