//! `/sessions`

use std::collections::HashMap;
use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use serde_json::{Value, json};

use super::body::Fields;
use super::connections::render as connection;
use super::recordings::default_properties;
use super::statistics::Statistics;
use super::{Problem, WEB_RTC_STATS, flag, list as list_of, public_url};
use crate::app::{App, now_millis};
use crate::domain::{NodeId, Reason, Session, SessionId, SessionProperties};

const VIDEO_CODECS: [&str; 5] = ["MEDIA_SERVER_PREFERRED", "NONE", "VP8", "VP9", "H264"];

/// What `forcedVideoCodec` may be.
pub fn is_video_codec(text: &str) -> bool {
    VIDEO_CODECS.contains(&text)
}

/// `POST /sessions`
pub async fn create(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Value>, Problem> {
    let properties = properties(&app, &Fields::parse(&body)?)?;
    let url = public_url(&app, &headers);
    app.step(|core| {
        use crate::domain::CreateSessionError;
        let created = core
            .domain
            .create_session(properties, now_millis(), core.chance.as_mut());
        match created {
            Ok(session) => Ok(Json(render(session, true, &url))),
            Err(CreateSessionError::Malformed) => Err(Problem::bad(
                "'customSessionId' may have letters, digits, '_' and '-' only",
            )),
            // The client takes this for success and fetches the session.
            Err(CreateSessionError::Taken) => Err(Problem::empty(StatusCode::CONFLICT)),
        }
    })
}

/// `GET /sessions`
pub async fn list(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    Query(query): Query<HashMap<String, String>>,
) -> Json<Value> {
    let pending = flag(&query, "pendingConnections", false);
    let url = public_url(&app, &headers);
    let statistics = match flag(&query, WEB_RTC_STATS, false) {
        true => Some(Statistics::of_all(&app).await),
        false => None,
    };
    app.step(|core| {
        let sessions = core.domain.sessions();
        let content = sessions.iter().map(|one| {
            let mut shown = render(one, pending, &url);
            if let Some(statistics) = &statistics {
                statistics.add_to_session(core, &one.id, &mut shown);
            }
            shown
        });
        Json(list_of(content.collect()))
    })
}

/// `GET /sessions/{id}`
pub async fn get(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    Path(id): Path<String>,
    Query(query): Query<HashMap<String, String>>,
) -> Result<Json<Value>, Problem> {
    let pending = flag(&query, "pendingConnections", false);
    let url = public_url(&app, &headers);
    let id = SessionId::new(id);
    let statistics = match flag(&query, WEB_RTC_STATS, false) {
        true => Some(Statistics::of_session(&app, &id, None).await),
        false => None,
    };
    app.step(|core| {
        let session = core.domain.session(&id);
        let session = session.ok_or_else(|| Problem::empty(StatusCode::NOT_FOUND))?;
        let mut shown = render(session, pending, &url);
        if let Some(statistics) = &statistics {
            statistics.add_to_session(core, &id, &mut shown);
        }
        Ok(Json(shown))
    })
}

/// `DELETE /sessions/{id}`
pub async fn close(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    app.step(|core| {
        core.domain
            .close_session(&SessionId::new(id), Reason::SessionClosedByServer)
            .map(|()| StatusCode::NO_CONTENT)
            .map_err(|_| Problem::empty(StatusCode::NOT_FOUND))
    })
}

/// A session as applications see it. Keys and lists have one order: the node client compares texts.
pub fn render(session: &Session, pending: bool, public_url: &str) -> Value {
    let connections: Vec<_> = session
        .connections()
        .filter(|one| (pending || one.is_active()) && !one.is_hidden())
        .map(|one| connection(&session.id, one, public_url))
        .collect();
    let properties = &session.properties;
    let mut value = json!({
        "id": session.id,
        "object": "session",
        "sessionId": session.id,
        "createdAt": session.created_at,
        "mediaMode": properties.media_mode,
        "recordingMode": properties.recording_mode,
        "defaultRecordingProperties": properties.default_recording_properties,
        "customSessionId": properties.custom_session_id,
        "connections": list_of(connections),
        "recording": false,
        "broadcasting": false,
        "forcedVideoCodec": properties.forced_video_codec,
        "allowTranscoding": properties.allow_transcoding,
    });
    let speaker = session.voice.speaker.as_ref();
    let speaker = speaker.and_then(|stream| session.stream(stream));
    value["dominantSpeaker"] = speaker.map_or(
        Value::Null,
        |stream| json!({"connectionId": stream.connection, "streamId": stream.id}),
    );
    value["audioLevels"] = json!(session.voice.levels);
    if let Some(node) = &session.node {
        value["mediaNodeId"] = json!(node);
    }
    if let Some(node) = &properties.media_node {
        value["mediaNode"] = json!({"id": node});
    }
    value
}

/// The properties of a session that a request (perhaps without any fields) makes.
pub fn properties(app: &App, fields: &Fields) -> Result<SessionProperties, Problem> {
    let media_node = match fields.value("mediaNode") {
        None => None,
        Some(Value::String(id)) => Some(NodeId::new(id.clone())),
        Some(_) => fields
            .object("mediaNode")?
            .map(|node| node.required_text("id").map(NodeId::new))
            .transpose()?,
    };
    let recording = fields.object("defaultRecordingProperties")?;
    Ok(SessionProperties {
        media_mode: fields.word("mediaMode", &["ROUTED", "RELAYED"], "ROUTED")?,
        recording_mode: fields.word("recordingMode", &["MANUAL", "ALWAYS"], "MANUAL")?,
        custom_session_id: fields.text("customSessionId")?.unwrap_or("").to_owned(),
        default_recording_properties: default_properties(recording)?,
        media_node,
        forced_video_codec: fields.word(
            "forcedVideoCodec",
            &VIDEO_CODECS,
            &app.config.forced_video_codec,
        )?,
        allow_transcoding: fields
            .flag("allowTranscoding")?
            .unwrap_or(app.config.allow_transcoding),
    })
}
