//! `/tokens`: deprecated, and still used by `session.generateToken()`.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::HeaderMap;
use serde_json::{Value, json};

use super::body::Fields;
use super::{Problem, connections, public_url};
use crate::api::urls::token_url;
use crate::app::{App, now_millis};
use crate::domain::SessionId;

/// `POST /tokens`
pub async fn create(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Value>, Problem> {
    let fields = Fields::parse(&body)?;
    let session = SessionId::new(fields.required_text("session")?);
    let properties = connections::properties(&fields)?;
    let url = public_url(&app, &headers);
    app.step(|core| {
        connections::expect_place(core, &session)?;
        let connection = core
            .domain
            .create_connection(&session, properties, now_millis(), core.chance.as_mut())
            .map_err(|refused| super::refusal(&refused))?;
        let token = token_url(&url, &session, &connection.token);
        let mut value = json!({
            "id": token,
            "token": token,
            "connectionId": connection.id,
            "createdAt": connection.created_at,
            "session": session,
            "data": connection.properties.data,
            "role": connection.properties.role,
            "record": connection.properties.record,
        });
        if let Some(options) = &connection.properties.kurento_options {
            value["kurentoOptions"] = options.clone();
        }
        Ok(Json(value))
    })
}
