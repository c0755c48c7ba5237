//! `/sessions/{sid}/connection`

use std::collections::HashMap;
use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use serde_json::{Value, json};

use super::body::Fields;
use super::statistics::Statistics;
use super::{Problem, WEB_RTC_STATS, flag, list as list_of, public_url};
use crate::api::urls::token_url;
use crate::app::{App, Core, now_millis};
use crate::domain::{
    Code, Connection, ConnectionId, ConnectionProperties, IceServer, Reason, Refused, Role,
    SessionId, Stream,
};
use crate::standing;

/// `POST /sessions/{sid}/connection`
pub async fn create(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    Path(session): Path<String>,
    body: Bytes,
) -> Result<Json<Value>, Problem> {
    let fields = Fields::parse(&body)?;
    if fields.word("type", &["WEBRTC", "IPCAM"], "WEBRTC")? == "IPCAM" {
        return Err(ip_camera(&fields));
    }
    let properties = properties(&fields)?;
    let url = public_url(&app, &headers);
    let session = SessionId::new(session);
    app.step(|core| {
        expect_place(core, &session)?;
        let created =
            core.domain
                .create_connection(&session, properties, now_millis(), core.chance.as_mut());
        created
            .map(|connection| Json(render(&session, connection, &url)))
            .map_err(|refused| super::refusal(&refused))
    })
}

/// Nobody is given a token for a session that no node would take: who holds one finds that out too late.
pub fn expect_place(core: &mut Core, session: &SessionId) -> Result<(), Problem> {
    core.could_place(session)
        .map_err(|refused| Problem::new(StatusCode::SERVICE_UNAVAILABLE, refused.message))
}

/// `GET /sessions/{sid}/connection`
pub async fn list(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    Path(session): Path<String>,
    Query(query): Query<HashMap<String, String>>,
) -> Result<Json<Value>, Problem> {
    // Here, unlike for sessions, pending ones are listed unless asked otherwise.
    let pending = flag(&query, "pendingConnections", true);
    let url = public_url(&app, &headers);
    let session = SessionId::new(session);
    let statistics = match flag(&query, WEB_RTC_STATS, false) {
        true => Some(Statistics::of_session(&app, &session, None).await),
        false => None,
    };
    app.step(|core| {
        let session = core
            .domain
            .session(&session)
            .ok_or_else(|| Problem::empty(StatusCode::NOT_FOUND))?;
        let content = session
            .connections()
            .filter(|one| (pending || one.is_active()) && !one.is_hidden())
            .map(|one| with(statistics.as_ref(), core, &session.id, one, &url));
        Ok(Json(list_of(content.collect())))
    })
}

/// `GET /sessions/{sid}/connection/{cid}`
pub async fn get(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    Path((session, connection)): Path<(String, String)>,
    Query(query): Query<HashMap<String, String>>,
) -> Result<Json<Value>, Problem> {
    let (session, connection) = (SessionId::new(session), ConnectionId::new(connection));
    let url = public_url(&app, &headers);
    let statistics = match flag(&query, WEB_RTC_STATS, false) {
        true => Some(Statistics::of_session(&app, &session, Some(&connection)).await),
        false => None,
    };
    app.step(|core| {
        core.domain
            .connection(&session, &connection)
            .map(|one| Json(with(statistics.as_ref(), core, &session, one, &url)))
            .map_err(|refused| unknown(&refused))
    })
}

/// A connection as applications see it, with how its transports stand, and statistics if they were asked for.
fn with(
    statistics: Option<&Statistics>,
    core: &Core,
    session: &SessionId,
    connection: &Connection,
    public_url: &str,
) -> Value {
    let mut shown = render(session, connection, public_url);
    standing::add_to(core, session, &mut shown, now_millis());
    if let Some(statistics) = statistics {
        statistics.add_to(core, session, &mut shown);
    }
    shown
}

/// `PATCH /sessions/{sid}/connection/{cid}`
pub async fn update(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    Path((session, connection)): Path<(String, String)>,
    body: Bytes,
) -> Result<Json<Value>, Problem> {
    let fields = Fields::parse(&body)?;
    let role = role(&fields)?;
    let record = fields.flag("record")?;
    let (session, connection) = (SessionId::new(session), ConnectionId::new(connection));
    let url = public_url(&app, &headers);
    app.step(|core| {
        core.domain
            .update_connection(&session, &connection, role, record)
            .map(|one| Json(render(&session, one, &url)))
            .map_err(|refused| unknown(&refused))
    })
}

/// `DELETE /sessions/{sid}/connection/{cid}`
pub async fn remove(
    State(app): State<Arc<App>>,
    Path((session, connection)): Path<(String, String)>,
) -> Result<StatusCode, Problem> {
    let (session, connection) = (SessionId::new(session), ConnectionId::new(connection));
    app.step(|core| {
        core.domain
            .evict(&session, &connection, Reason::ForceDisconnectByServer)
            .map(|()| StatusCode::NO_CONTENT)
            .map_err(|refused| unknown(&refused))
    })
}

/// An unknown session is 400 here, an unknown connection 404.
pub fn unknown(refused: &Refused) -> Problem {
    match refused.code {
        Code::SessionNotFound => Problem::bad(refused.message.clone()),
        _ => Problem::empty(StatusCode::NOT_FOUND),
    }
}

/// A connection as applications see it.
pub fn render(session: &SessionId, connection: &Connection, public_url: &str) -> Value {
    let properties = &connection.properties;
    let presence = connection.presence.as_ref();
    let publishers = presence.map(|_| {
        connection
            .stream()
            .map(publisher)
            .into_iter()
            .collect::<Vec<_>>()
    });
    let subscribers = presence.map(|presence| {
        let streams = presence.subscriptions.iter();
        streams
            .map(|one| json!({"createdAt": one.created_at, "streamId": one.stream}))
            .collect::<Vec<_>>()
    });
    let token = match connection.token.as_str() {
        "" => Value::Null,
        token => json!(token_url(public_url, session, token)),
    };
    json!({
        "id": connection.id,
        "object": "connection",
        "connectionId": connection.id,
        "type": "WEBRTC",
        "status": if connection.is_active() { "active" } else { "pending" },
        "sessionId": session,
        "createdAt": connection.created_at,
        "activeAt": presence.map(|one| one.active_at),
        "location": presence.map(|_| "unknown"),
        "ip": presence.map(|one| one.ip.as_str()),
        "platform": presence.map(|one| one.platform.as_str()),
        "token": token,
        "serverData": properties.data,
        "clientData": presence.map(|one| one.client_data.as_str()),
        "record": properties.record,
        "role": properties.role,
        "kurentoOptions": properties.kurento_options,
        "customIceServers": properties.custom_ice_servers,
        "rtspUri": null,
        "adaptativeBitrate": null,
        "onlyPlayWithSubscribers": null,
        "networkCache": null,
        "publishers": publishers,
        "subscribers": subscribers,
    })
}

/// The properties of a connection that a request makes; also those of a token.
pub fn properties(fields: &Fields) -> Result<ConnectionProperties, Problem> {
    let defaults = ConnectionProperties::default();
    Ok(ConnectionProperties {
        role: role(fields)?.unwrap_or_default(),
        data: fields.text("data")?.unwrap_or("").to_owned(),
        record: fields.flag("record")?.unwrap_or(defaults.record),
        kurento_options: kurento_options(fields)?,
        custom_ice_servers: ice_servers(fields)?,
    })
}

fn role(fields: &Fields) -> Result<Option<Role>, Problem> {
    fields
        .text("role")?
        .map(|text| {
            Role::parse(text)
                .ok_or_else(|| Problem::bad("'role' must be SUBSCRIBER, PUBLISHER or MODERATOR"))
        })
        .transpose()
}

/// Kept as it came, once its fields are what they should be.
fn kurento_options(fields: &Fields) -> Result<Option<Value>, Problem> {
    let Some(options) = fields.object("kurentoOptions")? else {
        return Ok(None);
    };
    for name in [
        "videoMaxRecvBandwidth",
        "videoMinRecvBandwidth",
        "videoMaxSendBandwidth",
        "videoMinSendBandwidth",
    ] {
        options.number(name, 0..=i64::from(u32::MAX), 0, Problem::bad)?;
    }
    match options.value("allowedFilters") {
        None => {}
        Some(Value::Array(filters)) if filters.iter().all(Value::is_string) => {}
        Some(_) => return Err(Problem::bad("'allowedFilters' must be a list of texts")),
    }
    Ok(fields.value("kurentoOptions").cloned())
}

fn ice_servers(fields: &Fields) -> Result<Vec<IceServer>, Problem> {
    let Some(value) = fields.value("customIceServers") else {
        return Ok(Vec::new());
    };
    let servers: Vec<IceServer> = serde_json::from_value(value.clone())
        .map_err(|error| Problem::bad(format!("'customIceServers': {error}")))?;
    for server in &servers {
        server
            .check()
            .map_err(|why| Problem::bad(format!("'customIceServers': {why}")))?;
    }
    Ok(servers)
}

/// Cameras are checked like the others, and then can't be started: there is nothing here that speaks RTSP.
fn ip_camera(fields: &Fields) -> Problem {
    let uri = match fields.required_text("rtspUri") {
        Ok(uri) => uri,
        Err(problem) => return problem,
    };
    let schemes = ["rtsp://", "rtsps://", "http://", "https://", "file://"];
    match schemes.iter().any(|scheme| uri.starts_with(scheme)) {
        true => Problem::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "IP cameras are not supported",
        ),
        false => Problem::bad("'rtspUri' must be a rtsp, rtsps, http, https or file URI"),
    }
}

fn publisher(stream: &Stream) -> Value {
    let properties = &stream.properties;
    json!({
        "createdAt": stream.created_at,
        "streamId": stream.id,
        "mediaOptions": {
            "hasAudio": properties.has_audio,
            "audioActive": properties.audio_active,
            "hasVideo": properties.has_video,
            "videoActive": properties.video_active,
            "typeOfVideo": properties.type_of_video,
            "frameRate": properties.has_video.then_some(properties.frame_rate.unwrap_or(-1)),
            "videoDimensions": properties.video_dimensions,
            "filter": properties.filter.clone().unwrap_or_else(|| json!({})),
        },
    })
}
