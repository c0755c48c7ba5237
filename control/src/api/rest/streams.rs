//! `/sessions/{sid}/stream/{streamId}`

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde_json::{Value, json};

use super::body::Fields;
use super::{Problem, connections};
use crate::api::rpc::force;
use crate::app::App;
use crate::domain::{ConnectionId, Reason, SessionId, StreamId};

/// `POST …/reconnect`: has those who receive a stream, or the one that the body names, negotiate it anew. An extension of ours.
///
/// They are sent `forciblyReconnectSubscriber`, and what they have goes on until they have answered.
pub async fn reconnect(
    State(app): State<Arc<App>>,
    Path((session, stream)): Path<(String, String)>,
    body: Bytes,
) -> Result<Json<Value>, Problem> {
    let fields = Fields::parse(&body)?;
    let only = fields.text("connection")?.map(ConnectionId::new);
    let (session, stream) = (SessionId::new(session), StreamId::new(stream));
    let receivers = app.step(|core| {
        let known = core.domain.stream(&session, &stream);
        known.map_err(|refused| connections::unknown(&refused))?;
        Ok(core.domain.receivers(&session, &stream))
    })?;
    if only.as_ref().is_some_and(|only| !receivers.contains(only)) {
        return Err(Problem::empty(StatusCode::NOT_FOUND));
    }
    let told = force::reconnect_all(&app, &session, &stream, only.as_ref()).await;
    Ok(Json(json!({"numberOfElements": told})))
}

/// `DELETE`: takes a stream down.
pub async fn remove(
    State(app): State<Arc<App>>,
    Path((session, stream)): Path<(String, String)>,
) -> Result<StatusCode, Problem> {
    let (session, stream) = (SessionId::new(session), StreamId::new(stream));
    app.step(|core| {
        core.domain
            .force_unpublish(&session, &stream, Reason::ForceUnpublishByServer)
            .map(|()| StatusCode::NO_CONTENT)
            .map_err(|refused| connections::unknown(&refused))
    })
}
