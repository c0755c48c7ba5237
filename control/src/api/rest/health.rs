//! `/health`

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde_json::{Value, json};

use crate::app::App;
use crate::domain::NodeId;

/// `GET /health`: are all nodes connected?
pub async fn health(State(app): State<Arc<App>>) -> (StatusCode, Json<Value>) {
    let (all, disconnected) = nodes(&app);
    let (status, word) = match disconnected.len() {
        lost if lost == all => (StatusCode::SERVICE_UNAVAILABLE, "DOWN"),
        0 => (StatusCode::OK, "UP"),
        _ => (StatusCode::CONFLICT, "UNSTABLE"),
    };
    let body = json!({"status": word, "disconnectedMediaNodes": disconnected});
    (status, Json(body))
}

/// `GET /openvidu/health`: can this master be used?
pub async fn usable(State(app): State<Arc<App>>) -> StatusCode {
    match unready(&app) {
        None => StatusCode::OK,
        Some(_) => StatusCode::SERVICE_UNAVAILABLE,
    }
}

/// Why nobody should come to this master, if so.
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
