//! `/health`

use std::sync::Arc;
use std::time::Instant;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde_json::{Value, json};

use crate::app::App;
use crate::domain::NodeId;

/// `GET /health`: are all nodes connected? Beside OpenVidu's words: do they take new sessions?
pub async fn health(State(app): State<Arc<App>>) -> (StatusCode, Json<Value>) {
    let (all, disconnected) = nodes(&app);
    let (status, word) = match disconnected.len() {
        lost if lost == all => (StatusCode::SERVICE_UNAVAILABLE, "DOWN"),
        0 => (StatusCode::OK, "UP"),
        _ => (StatusCode::CONFLICT, "UNSTABLE"),
    };
    let closed = takes_no_sessions(&app);
    let mut body = json!({
        "status": word,
        "disconnectedMediaNodes": disconnected,
        "takesSessions": closed.is_none(),
    });
    if let Some(why) = closed {
        body["noSessionsBecause"] = why.into();
    }
    (status, Json(body))
}

/// `GET /openvidu/health`: can this master be used?
pub async fn usable(State(app): State<Arc<App>>) -> StatusCode {
    match unready(&app) {
        None => StatusCode::OK,
        Some(_) => StatusCode::SERVICE_UNAVAILABLE,
    }
}

/// Why nobody should come to this master, if so. That its nodes take no new sessions is no such reason: whoever is in a call, or joins one that
/// goes on, needs it. [`takes_no_sessions`] tells of that.
pub fn unready(app: &App) -> Option<String> {
    if app.is_stopping() {
        return Some("stopping".to_owned());
    }
    // Nodes obey the master that was started last: whoever comes to an older one is in the wrong place.
    if app.step(|core| core.registry.superseded()) {
        return Some("a newer master has taken over media nodes".to_owned());
    }
    // Nobody can join while nothing can be kept.
    if let Some(unwritten) = app.store().failure() {
        return Some(unwritten.to_string());
    }
    match nodes(app) {
        (0, _) => Some("there are no media nodes".to_owned()),
        (all, disconnected) if disconnected.len() == all => {
            Some(format!("none of {all} media nodes is connected"))
        }
        _ => None,
    }
}

/// Why nobody gets a new session here now, if so.
pub fn takes_no_sessions(app: &App) -> Option<String> {
    unready(app).or_else(|| {
        let why = app.step(|core| core.takes_no_sessions(Instant::now()));
        why.map(|why| format!("no media node takes new sessions: {why}"))
    })
}

/// How many there are, and which are not connected.
fn nodes(app: &App) -> (usize, Vec<NodeId>) {
    app.step(|core| {
        let nodes = core.registry.nodes();
        let lost = nodes
            .iter()
            .filter(|node| !node.link.is_up() || node.copy_of.is_some());
        (nodes.len(), lost.map(|node| node.id.clone()).collect())
    })
}
