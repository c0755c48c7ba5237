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
    let (all, disconnected) = nodes(&app);
    // Nodes obey the master that was started last: whoever comes to an older one is in the wrong place.
    let is_theirs = app.step(|core| !core.registry.superseded());
    // Nobody can join while nothing can be kept.
    let is_kept = app.store().failure().is_none();
    match is_theirs && is_kept && disconnected.len() < all {
        true => StatusCode::OK,
        false => StatusCode::SERVICE_UNAVAILABLE,
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
