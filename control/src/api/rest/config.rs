//! `/config`

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use serde_json::{Value, json};

use crate::api::rpc::OPENVIDU_VERSION;
use crate::app::App;

/// `GET /config`
pub async fn all(State(app): State<Arc<App>>, headers: HeaderMap) -> Json<Value> {
    let url = super::public_url(&app, &headers);
    let host = crate::api::urls::host_of(&url).unwrap_or("");
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    let config = &app.config;
    let nodes: Vec<_> = config.nodes.iter().map(|node| node.uri.as_str()).collect();
    Json(json!({
        "VERSION": OPENVIDU_VERSION,
        "DOMAIN_OR_PUBLIC_IP": name,
        "HTTPS_PORT": config.listen.port(),
        "OPENVIDU_PUBLICURL": url,
        "OPENVIDU_CDR": false,
        "OPENVIDU_STREAMS_VIDEO_MAX_RECV_BANDWIDTH": config.video_bandwidth.max_recv,
        "OPENVIDU_STREAMS_VIDEO_MIN_RECV_BANDWIDTH": config.video_bandwidth.min_recv,
        "OPENVIDU_STREAMS_VIDEO_MAX_SEND_BANDWIDTH": config.video_bandwidth.max_send,
        "OPENVIDU_STREAMS_VIDEO_MIN_SEND_BANDWIDTH": config.video_bandwidth.min_send,
        "OPENVIDU_STREAMS_FORCED_VIDEO_CODEC": config.forced_video_codec,
        "OPENVIDU_STREAMS_ALLOW_TRANSCODING": config.allow_transcoding,
        "OPENVIDU_WEBRTC_SIMULCAST": config.video_simulcast,
        "OPENVIDU_SESSIONS_GARBAGE_INTERVAL": config.sessions_garbage_interval.as_secs(),
        "OPENVIDU_SESSIONS_GARBAGE_THRESHOLD": config.sessions_garbage_threshold.as_secs(),
        "OPENVIDU_PRO_NETWORK_QUALITY": config.network_quality,
        "OPENVIDU_PRO_NETWORK_QUALITY_INTERVAL": config.network_quality_interval.as_secs(),
        "OPENVIDU_RECORDING": false,
        "OPENVIDU_WEBHOOK": false,
        "KMS_URIS": nodes,
    }))
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

/// `GET` of a path that is not set.
pub async fn nothing() -> &'static str {
    ""
}
