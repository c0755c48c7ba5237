//! The OpenVidu REST API under `/openvidu/api`: what applications and `openvidu-node-client` use. One file per resource.

mod body;
mod cdr;
mod config;
mod connections;
mod events;
mod health;
mod media_nodes;
mod openapi;
mod recordings;
pub(crate) mod sessions;
mod signal;
mod statistics;
mod streams;
mod tokens;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::HttpBody as _;
use axum::extract::{ConnectInfo, DefaultBodyLimit, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use http_body_util::{BodyExt as _, Limited};
use serde_json::{Value, json};

use crate::api::proxies;
use crate::app::{App, now_millis};
use crate::audit::{Deed, OfSession};
use crate::auth::Verdict;
use crate::domain::{Code, Refused};
use crate::store::Unwritten;

pub use events::HangUp;
pub use health::{takes_no_sessions, unready};
pub use recordings::default_recording_properties;
pub use sessions::is_video_codec;

/// The longest body that is read, bytes.
pub const BODY_MAX: usize = 1024 * 1024;
/// So much of a longer one is taken before it is refused, octets, and for so long.
const DISCARDED_MAX: usize = 16 * BODY_MAX;
const DISCARD_TIME: Duration = Duration::from_secs(5);

/// What is told to whoever wants a change from a master whose nodes obey another one.
const SUPERSEDED: &str = "Another master was started later and has taken over media nodes of this one: ask that one, or stop it and start this one again";

/// What needs no secret.
const OPEN: [&str; 3] = [
    "/openvidu/api/config/openvidu-publicurl",
    "/openvidu/api/openapi.json",
    "/openvidu/health",
];

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
        .route(
            "/media-nodes",
            get(media_nodes::list)
                .post(media_nodes::add)
                .put(media_nodes::discover),
        )
        .route(
            "/media-nodes/{node}",
            get(media_nodes::get)
                .patch(media_nodes::change)
                .delete(media_nodes::remove),
        )
        .route("/config", get(config::all))
        .route("/config/openvidu-version", get(config::version))
        .route("/config/openvidu-publicurl", get(config::public_url))
        .route("/config/openvidu-recording", get(config::no))
        .route("/config/openvidu-recording-path", get(config::nothing))
        .route("/config/openvidu-cdr", get(config::cdr))
        .route("/events", get(events::stream))
        .route("/health", get(health::health))
        .route("/restart", post(config::restart))
        .route("/openapi.json", get(openapi::document))
        .method_not_allowed_fallback(|| async { Problem::empty(StatusCode::METHOD_NOT_ALLOWED) })
        .fallback(|| async { Problem::empty(StatusCode::NOT_FOUND) });
    Router::new()
        .nest("/openvidu/api", api)
        .route("/openvidu/health", get(health::usable))
        .route("/openvidu/cdr", get(cdr::list))
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

    /// Without a text.
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

impl Problem {
    fn with_path(self, path: &str) -> Response {
        let body = json!({
            "timestamp": now_millis(),
            "status": self.status.as_u16(),
            "error": self.status.canonical_reason().unwrap_or(""),
            "message": self.message.unwrap_or_default(),
            "path": path,
        });
        (self.status, axum::Json(body)).into_response()
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        // The guard knows the path, which belongs into the body.
        response.extensions_mut().insert(self);
        response
    }
}

/// Lets nobody in without the secret, and puts bodies on errors.
async fn guard(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let path = request.uri().path().to_owned();
    let address = address(&app, &request);
    let is_open = OPEN.contains(&path.as_str());
    let verdict = match is_open {
        true => Verdict::Right,
        false => judge(&app, &request, address),
    };
    if verdict != Verdict::Right {
        return turned_away(&app, verdict, &path);
    }
    let is_change = !request.method().is_safe();
    // Of what needs no secret nobody knows who asks, and there is nothing to be changed.
    let deed = (is_change && !is_open)
        .then(|| Deed::of(request.method(), &path, request.headers(), address));
    let refused = is_change.then(|| cannot_change(&app, &path)).flatten();
    let mut response = match refused {
        Some(problem) => problem.into_response(),
        None if is_too_long(&request) => too_long(request).await,
        None => next.run(request).await,
    };
    // Nobody is told of what a crash may take back.
    if let Err(unwritten) = app.committed().await
        && is_change
        && response.status().is_success()
    {
        response = unavailable(&unwritten).into_response();
    }
    if response.status() == StatusCode::PAYLOAD_TOO_LARGE {
        let problem = Problem::new(response.status(), "The body is longer than 1 MiB");
        response = problem.into_response();
    }
    let of_session = response.extensions().get::<OfSession>().cloned();
    let mut response = match problem_of(&mut response) {
        Some(problem) => problem.with_path(&path),
        None => response,
    };
    // Where there is a problem, that is another answer.
    if let Some(session) = of_session {
        response.extensions_mut().insert(session);
    }
    match deed {
        Some(deed) => deed.note(response).await,
        None => response,
    }
}

/// Whether its head says already that the body is longer than any may be.
fn is_too_long(request: &Request) -> bool {
    request.body().size_hint().lower() > BODY_MAX as u64
}

/// The answer to a body that is too long. It is taken and thrown away first: a connection that is closed on somebody who still sends is
/// a broken pipe for him, and no answer.
async fn too_long(request: Request) -> Response {
    let mut body = Limited::new(request.into_body(), DISCARDED_MAX);
    let all = async { while let Some(Ok(_)) = body.frame().await {} };
    // Whoever sends more, or more slowly, has had his chance.
    let _ = tokio::time::timeout(DISCARD_TIME, all).await;
    StatusCode::PAYLOAD_TOO_LARGE.into_response()
}

/// Why nothing can be changed here now. What can't be kept is not begun.
fn cannot_change(app: &App, path: &str) -> Option<Problem> {
    if let Some(unwritten) = app.store().failure() {
        return Some(unavailable(&unwritten));
    }
    // Taking the node off, or looking for it again, is how an operator mends this.
    let is_of_nodes = path.starts_with("/openvidu/api/media-nodes");
    let is_theirs = is_of_nodes || app.step(|core| !core.registry.superseded());
    (!is_theirs).then(|| Problem::new(StatusCode::SERVICE_UNAVAILABLE, SUPERSEDED))
}

/// The answer to somebody who does not know the secret.
fn turned_away(app: &App, verdict: Verdict, path: &str) -> Response {
    let (status, message, name, value) = match verdict {
        Verdict::TooMany => {
            app.metrics.refused("wrong_secrets_per_address");
            let text = "Too many wrong secrets from this address";
            (
                StatusCode::TOO_MANY_REQUESTS,
                text,
                header::RETRY_AFTER,
                "10",
            )
        }
        Verdict::Wrong | Verdict::Right => {
            let text = "The secret is missing or wrong";
            let challenge = "Basic realm=\"OPENVIDUAPP\"";
            (
                StatusCode::UNAUTHORIZED,
                text,
                header::WWW_AUTHENTICATE,
                challenge,
            )
        }
    };
    let mut response = Problem::new(status, message).with_path(path);
    response
        .headers_mut()
        .insert(name, HeaderValue::from_static(value));
    response
}

/// What went wrong, if something did. Whatever refuses a request before any of ours sees it speaks plain text: here it becomes a body like all others.
fn problem_of(response: &mut Response) -> Option<Problem> {
    if let Some(problem) = response.extensions_mut().remove::<Problem>() {
        return Some(problem);
    }
    let kind = response.headers().get(header::CONTENT_TYPE);
    let is_plain = kind.is_some_and(|kind| kind.as_bytes().starts_with(b"text/"));
    (response.status().is_client_error() && is_plain)
        .then(|| Problem::new(response.status(), "The request can't be read"))
}

/// Where the request comes from.
fn address(app: &App, request: &Request) -> IpAddr {
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
    let peer = peer.map_or(IpAddr::from([0, 0, 0, 0]), |peer| peer.0.ip());
    proxies::client(&app.config().trusted_proxies, peer, request.headers())
}

/// Whether the request comes from somebody who knows the secret.
fn judge(app: &App, request: &Request, address: IpAddr) -> Verdict {
    let verdict = app.door.request(request.headers(), address, Instant::now());
    if verdict == Verdict::Wrong && request.headers().contains_key(header::AUTHORIZATION) {
        tracing::warn!(target: logs::STRANGERS, %address, "wrong secret");
    }
    verdict
}

fn unavailable(unwritten: &Unwritten) -> Problem {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, unwritten.to_string())
}

/// The query flag that asks for statistics.
const WEB_RTC_STATS: &str = "webRtcStats";

/// Query flags as the node client sends them: anything but `true` is false.
fn flag(query: &std::collections::HashMap<String, String>, name: &str, default: bool) -> bool {
    query.get(name).map_or(default, |value| value == "true")
}

/// What the domain refused, where an unknown session is 404.
fn refusal(refused: &Refused) -> Problem {
    match refused.code {
        Code::Limit => Problem::new(StatusCode::TOO_MANY_REQUESTS, refused.message.clone()),
        _ => Problem::empty(StatusCode::NOT_FOUND),
    }
}

/// A list as applications expect it.
fn list(content: Vec<Value>) -> Value {
    json!({"numberOfElements": content.len(), "content": content})
}

/// How clients of this request reach us.
fn public_url(app: &App, headers: &HeaderMap) -> String {
    super::urls::public_url(&app.config(), headers)
}

#[cfg(test)]
mod tests;
