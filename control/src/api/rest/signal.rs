//! `/signal`

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Extension, State};
use axum::http::StatusCode;
use serde_json::Value;

use super::Problem;
use super::body::Fields;
use crate::app::App;
use crate::audit::OfSession;
use crate::domain::{ConnectionId, SessionId};

/// What became of it, and which session it was for.
type Sent = (Extension<OfSession>, Result<StatusCode, Problem>);

/// `POST /signal`
pub async fn send(State(app): State<Arc<App>>, body: Bytes) -> Result<Sent, Problem> {
    let fields = Fields::parse(&body)?;
    let session = SessionId::new(fields.required_text("session")?);
    let to = match fields.value("to") {
        None => Vec::new(),
        Some(Value::Array(to)) => to
            .iter()
            .map(|one| one.as_str().map(ConnectionId::new))
            .collect::<Option<_>>()
            .ok_or_else(|| Problem::bad("'to' must be a list of texts"))?,
        Some(_) => return Err(Problem::bad("Wrong type of 'to': Array expected")),
    };
    let kind = fields.text("type")?.filter(|text| !text.is_empty());
    let data = fields.text("data")?;
    let sent = app.step(|core| {
        let known = core
            .domain
            .session(&session)
            .ok_or_else(|| Problem::empty(StatusCode::NOT_FOUND))?;
        if known.active().next().is_none() {
            return Err(Problem::empty(StatusCode::NOT_ACCEPTABLE));
        }
        core.domain
            .signal(&session, None, &to, kind, data)
            .map(|()| StatusCode::OK)
            .map_err(|_| Problem::empty(StatusCode::NOT_ACCEPTABLE))
    });
    Ok((Extension(OfSession(session)), sent))
}
