//! `/config`, and what is done to it by the API.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use serde_json::{Value, json};

use super::Problem;
use crate::api::rpc::OPENVIDU_VERSION;
use crate::app::App;
use crate::config::Config;

/// `GET /config`: every key of OpenVidu's configuration that means something here, or says what is not there.
pub async fn all(State(app): State<Arc<App>>, headers: HeaderMap) -> Json<Value> {
    let url = super::public_url(&app, &headers);
    let nodes: Vec<_> = app.step(|core| {
        let nodes = core.registry.nodes().iter();
        nodes.map(|node| node.uri.clone()).collect()
    });
    let mut all = community(&app.config(), &url);
    for (name, value) in pro(&app, &nodes) {
        all[name] = value;
    }
    Json(all)
}

fn community(config: &Config, url: &str) -> Value {
    let host = crate::api::urls::host_of(url).unwrap_or("");
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    let bandwidth = config.video_bandwidth();
    let mut all = json!({
        "VERSION": OPENVIDU_VERSION,
        "DOMAIN_OR_PUBLIC_IP": name,
        "HTTPS_PORT": config.listen.port(),
        "OPENVIDU_PUBLICURL": url,
        "OPENVIDU_CDR": config.cdr_path.is_some(),
        "OPENVIDU_STREAMS_VIDEO_MAX_RECV_BANDWIDTH": bandwidth.max_recv,
        "OPENVIDU_STREAMS_VIDEO_MIN_RECV_BANDWIDTH": bandwidth.min_recv,
        "OPENVIDU_STREAMS_VIDEO_MAX_SEND_BANDWIDTH": bandwidth.max_send,
        "OPENVIDU_STREAMS_VIDEO_MIN_SEND_BANDWIDTH": bandwidth.min_send,
        "OPENVIDU_STREAMS_FORCED_VIDEO_CODEC": config.forced_video_codec,
        "OPENVIDU_STREAMS_ALLOW_TRANSCODING": config.allow_transcoding,
        "OPENVIDU_WEBRTC_SIMULCAST": config.video_simulcast,
        "OPENVIDU_SESSIONS_GARBAGE_INTERVAL": config.sessions_garbage_interval.as_secs(),
        "OPENVIDU_SESSIONS_GARBAGE_THRESHOLD": config.sessions_garbage_threshold.as_secs(),
        "OPENVIDU_RECORDING": false,
        "OPENVIDU_WEBHOOK": config.webhook_endpoint.is_some(),
    });
    if let Some(path) = &config.cdr_path {
        all["OPENVIDU_CDR_PATH"] = json!(path);
    }
    if let Some(endpoint) = &config.webhook_endpoint {
        // Values of headers are secrets more often than not.
        let headers = config.webhook_headers.iter();
        let names = headers.filter_map(|header| header.split(':').next());
        let hidden: Vec<_> = names.map(|name| format!("{name}: ***")).collect();
        all["OPENVIDU_WEBHOOK_ENDPOINT"] = json!(endpoint);
        all["OPENVIDU_WEBHOOK_HEADERS"] = json!(hidden);
        all["OPENVIDU_WEBHOOK_EVENTS"] = json!(config.webhook_events_or_all());
    }
    all
}

fn pro(app: &App, nodes: &[String]) -> [(&'static str, Value); 18] {
    let config = &app.config();
    let patience = config.node_reconnection_timeout.limit();
    [
        (
            "OPENVIDU_SERVER_DEPENDENCY_VERSION",
            json!(OPENVIDU_VERSION),
        ),
        ("KMS_URIS", json!(nodes)),
        ("OPENVIDU_PRO_CLUSTER_ID", json!(app.facts.cluster)),
        ("OPENVIDU_PRO_CLUSTER_ENVIRONMENT", json!("on_premise")),
        ("OPENVIDU_PRO_CLUSTER_MODE", json!("manual")),
        ("OPENVIDU_PRO_CLUSTER_MEDIA_NODES", json!(nodes.len())),
        (
            "OPENVIDU_PRO_CLUSTER_LOAD_STRATEGY",
            json!(config.load_strategy),
        ),
        (
            "OPENVIDU_PRO_CLUSTER_LOAD_INTERVAL",
            json!(config.load_interval.as_secs()),
        ),
        (
            "OPENVIDU_PRO_CLUSTER_RECONNECTION_TIMEOUT",
            patience.map_or(json!(-1), |limit: Duration| json!(limit.as_secs())),
        ),
        ("OPENVIDU_PRO_CLUSTER_AUTOSCALING", json!(false)),
        ("OPENVIDU_PRO_ELASTICSEARCH", json!(false)),
        (
            "OPENVIDU_PRO_NETWORK_QUALITY",
            json!(config.network_quality),
        ),
        (
            "OPENVIDU_PRO_NETWORK_QUALITY_INTERVAL",
            json!(config.network_quality_interval.as_secs()),
        ),
        ("OPENVIDU_PRO_SPEECH_TO_TEXT", json!("disabled")),
        ("OPENVIDU_PRO_COTURN_IN_MEDIA_NODES", json!(false)),
        ("OPENVIDU_BROWSER_LOGS", json!("disabled")),
        (
            "OPENVIDU_ENTERPRISE_MEDIA_SERVER",
            json!(config.media_server),
        ),
        (
            "OPENVIDU_WEBRTC_ICE_SERVERS",
            json!(
                config
                    .ice_servers
                    .iter()
                    .map(|one| &one.url)
                    .collect::<Vec<_>>()
            ),
        ),
    ]
}

/// `POST /restart`: the configuration belongs to the operator, who restarts the master while calls go on.
pub async fn restart() -> Problem {
    Problem::new(
        StatusCode::NOT_IMPLEMENTED,
        "Change the configuration file and restart the process: calls go on meanwhile",
    )
}

/// `GET /config/openvidu-version`
pub async fn version() -> &'static str {
    OPENVIDU_VERSION
}

/// `GET /config/openvidu-publicurl`
pub async fn public_url(State(app): State<Arc<App>>, headers: HeaderMap) -> String {
    super::public_url(&app, &headers)
}

/// `GET` of a service that is off.
pub async fn no() -> &'static str {
    "false"
}

/// `GET /config/openvidu-cdr`
pub async fn cdr(State(app): State<Arc<App>>) -> String {
    app.config().cdr_path.is_some().to_string()
}

/// `GET` of a path that is not set.
pub async fn nothing() -> &'static str {
    ""
}
