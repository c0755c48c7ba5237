//! `/media-nodes`, for reading: the operator names the nodes in the configuration.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use serde_json::{Value, json};

use super::{Problem, flag, list as list_of, public_url, sessions};
use crate::app::{App, Core};
use crate::cluster::{Health, MediaNode};
use crate::domain::NodeId;

/// `GET /media-nodes`
pub async fn list(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    Query(query): Query<HashMap<String, String>>,
) -> Json<Value> {
    let url = public_url(&app, &headers);
    app.step(|core| {
        let nodes = core.registry.nodes().iter();
        let content = nodes.map(|node| render(core, node, &query, &url));
        Json(list_of(content.collect()))
    })
}

/// `GET /media-nodes/{id}`
pub async fn get(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    Path(id): Path<String>,
    Query(query): Query<HashMap<String, String>>,
) -> Result<Json<Value>, Problem> {
    let url = public_url(&app, &headers);
    app.step(|core| {
        core.registry
            .node(&NodeId::new(id))
            .map(|node| Json(render(core, node, &query, &url)))
            .ok_or_else(|| Problem::empty(StatusCode::NOT_FOUND))
    })
}

fn render(core: &Core, node: &MediaNode, query: &HashMap<String, String>, url: &str) -> Value {
    let connected = node.link.is_up();
    let percent = (node.link.load().cpu_ratio * 10_000.0).round() / 100.0;
    let mut value = json!({
        "id": node.id,
        "object": "mediaNode",
        "environmentId": node.environment_id,
        "ip": node.ip().to_string(),
        "uri": node.uri,
        "launchingTime": node.launching_time,
        "connected": connected,
        "connectionTime": node.connection_time,
        "load": percent,
        "status": if node.health == Health::Launching { "launching" } else { "running" },
    });
    if !connected && let Some(time) = node.disconnection_time {
        value["disconnectionTime"] = json!(time);
    }
    if flag(query, "sessions", false) {
        let on_it = core.domain.sessions().into_iter();
        let on_it = on_it.filter(|one| one.node.as_ref() == Some(&node.id));
        value["sessions"] = on_it.map(|one| sessions::render(one, false, url)).collect();
    }
    if flag(query, "recordings", false) {
        value["recordingIds"] = json!([]);
        value["broadcasts"] = json!([]);
    }
    value
}
