//! `/sessions`

use std::collections::HashMap;
use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::body::Fields;
use super::connections::render as connection;
use super::recordings::default_properties;
use super::statistics::Statistics;
use super::{Problem, WEB_RTC_STATS, flag, list as list_of, public_url};
use crate::app::{App, now_millis};
use crate::domain::{Limits, NodeId, Reason, Session, SessionId, SessionProperties};
use crate::standing;

/// How many are shown between two other steps.
pub(super) const SESSIONS_AT_A_TIME: usize = 16;

/// What `limits` of a session may say.
const LIMITS: [&str; 5] = [
    "connections",
    "streams",
    "subscriptions",
    "videoMaxRecvBandwidth",
    "videoMaxSendBandwidth",
];

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
) -> Result<Response, Problem> {
    let properties = properties(&app, &Fields::parse(&body)?)?;
    let url = public_url(&app, &headers);
    app.step(|core| {
        use crate::domain::CreateSessionError;
        let created = core
            .domain
            .create_session(properties, now_millis(), core.chance.as_mut());
        match created {
            Ok(session) => Ok(Json(render(session, true, &url)).into_response()),
            Err(CreateSessionError::Malformed) => Err(Problem::bad(
                "'customSessionId' may have letters, digits, '_' and '-' only",
            )),
            Err(CreateSessionError::TooMany) => Err(Problem::new(
                StatusCode::TOO_MANY_REQUESTS,
                "There are as many sessions as this master may have (sessions_max)",
            )),
            // The client takes this for success and fetches the session.
            Err(CreateSessionError::Taken) => Ok(StatusCode::CONFLICT.into_response()),
        }
    })
}

/// `GET /sessions`. There may be thousands, and calls go on beside it: each session is shown as it is when its turn comes.
pub async fn list(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    Query(query): Query<HashMap<String, String>>,
) -> impl IntoResponse {
    let pending = flag(&query, "pendingConnections", false);
    let url = public_url(&app, &headers);
    let statistics = match flag(&query, WEB_RTC_STATS, false) {
        true => Some(Statistics::of_all(&app).await),
        false => None,
    };
    let ids: Vec<_> = app.step(|core| {
        let sessions = core.domain.sessions().into_iter();
        sessions.map(|session| session.id.clone()).collect()
    });
    let mut content = Vec::new();
    for some in ids.chunks(SESSIONS_AT_A_TIME) {
        let shown: Vec<_> = app.step(|core| {
            let still_there = some.iter().filter_map(|id| core.domain.session(id));
            let shown = still_there.map(|session| {
                let mut shown = render(session, pending, &url);
                standing::add_to_session(core, &session.id, &mut shown, now_millis());
                if let Some(statistics) = &statistics {
                    statistics.add_to_session(core, &session.id, &mut shown);
                }
                shown
            });
            shown.collect()
        });
        content.extend(shown.iter().map(Value::to_string));
        tokio::task::yield_now().await;
    }
    let (count, content) = (content.len(), content.join(","));
    let text = format!("{{\"numberOfElements\":{count},\"content\":[{content}]}}");
    ([(header::CONTENT_TYPE, "application/json")], text)
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
        standing::add_to_session(core, &id, &mut shown, now_millis());
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
    if !properties.limits.is_empty() {
        value["limits"] = json!(properties.limits);
    }
    if let Some(node) = &properties.media_node {
        value["mediaNode"] = json!({"id": node});
    }
    value
}

/// How many of something an application expects: our own extension, so that large sessions are given room before they have come.
fn expected(fields: &Fields, name: &str) -> Result<Option<u32>, Problem> {
    match fields.value(name) {
        None => Ok(None),
        Some(_) => {
            let many = fields.number(name, 1..=i64::from(u32::MAX), 0, Problem::bad)?;
            Ok(u32::try_from(many).ok())
        }
    }
}

/// An extension of ours: how much there may be in a session. Unknown words are refused, for a mistyped limit would be none.
fn limits(fields: &Fields) -> Result<Limits, Problem> {
    let Some(given) = fields.object("limits")? else {
        return Ok(Limits::default());
    };
    given.expect_only("limits", &LIMITS)?;
    let [connections, streams, subscriptions, receive, send] = LIMITS.map(|name| {
        let given = given
            .value(name)
            .map(|_| given.number(name, 0..=i64::from(u32::MAX), 0, Problem::bad));
        given
            .transpose()
            .map(|number| number.and_then(|number| u32::try_from(number).ok()))
    });
    Ok(Limits {
        connections: connections?,
        streams: streams?,
        subscriptions: subscriptions?,
        video_max_recv_bandwidth: receive?,
        video_max_send_bandwidth: send?,
    })
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
        expected_connections: expected(fields, "expectedConnections")?,
        expected_publishers: expected(fields, "expectedPublishers")?,
        forced_video_codec: fields.word(
            "forcedVideoCodec",
            &VIDEO_CODECS,
            &app.config().forced_video_codec,
        )?,
        allow_transcoding: fields
            .flag("allowTranscoding")?
            .unwrap_or(app.config().allow_transcoding),
        limits: limits(fields)?,
    })
}
