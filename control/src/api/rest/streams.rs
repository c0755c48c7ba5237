//! `/sessions/{sid}/stream/{streamId}`

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;

use super::{Problem, connections};
use crate::app::App;
use crate::domain::{Reason, SessionId, StreamId};

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
