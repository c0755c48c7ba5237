//! The names that OpenVidu deployments already use.

mod unserved;

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use super::environment::Environment;
use super::values::HookUrl;
use super::{Error, MediaServer, NodeConfig, Patience, Secret, Settings, events, value};
use crate::cluster::address;
use crate::domain::{IceServer, NodeId};

/// What is set of OpenVidu's names and has no effect here: a sentence each, with what to do instead.
pub fn unserved(environment: &Environment) -> Vec<String> {
    let served = served();
    unserved::warnings(environment, |name| served.contains(name))
}

/// The names that [`settings`] asks for.
fn served() -> BTreeSet<String> {
    let asked = RefCell::new(BTreeSet::new());
    let nothing = settings(|name| {
        asked.borrow_mut().insert(name.to_owned());
        None
    });
    debug_assert!(nothing.is_ok(), "nothing is set");
    asked.into_inner()
}

/// The settings that these environment variables make.
///
/// # Errors
/// [`Error::Value`] naming the variable.
pub fn settings(env: impl Fn(&str) -> Option<String>) -> Result<Settings, Error> {
    let get = |name: &str| env(name).filter(|text| !text.is_empty());
    let https_port: Option<u16> = number(&get, "HTTPS_PORT")?;
    let old_public_url = get("OPENVIDU_PUBLICURL").filter(|url| url.starts_with("http"));
    let public_url = get("DOMAIN_OR_PUBLIC_IP").map(|host| match https_port.unwrap_or(443) {
        443 => format!("https://{host}"),
        port => format!("https://{host}:{port}"),
    });
    let nodes = get("KMS_URIS")
        .map(|text| media_nodes(&text).map_err(|why| value("KMS_URIS", why)))
        .transpose()?;
    let media_server = match get("OPENVIDU_ENTERPRISE_MEDIA_SERVER").as_deref() {
        None => None,
        Some("mediasoup") => Some(MediaServer::Mediasoup),
        Some("kurento") => Some(MediaServer::Kurento),
        Some(other) => {
            let why = format!("'{other}' is not mediasoup or kurento");
            return Err(value("OPENVIDU_ENTERPRISE_MEDIA_SERVER", why));
        }
    };
    let ice_servers = get("OPENVIDU_WEBRTC_ICE_SERVERS")
        .map(|text| ice_servers(&text).map_err(|why| value("OPENVIDU_WEBRTC_ICE_SERVERS", why)))
        .transpose()?;
    let seconds =
        |name| -> Result<_, Error> { Ok(number(&get, name)?.map(std::time::Duration::from_secs)) };
    let reconnection = match number::<i64>(&get, "OPENVIDU_PRO_CLUSTER_RECONNECTION_TIMEOUT")? {
        None => None,
        Some(-1) => Some(Patience::Forever),
        // What is too short is found where the file's own value is.
        Some(seconds) => {
            let seconds = seconds.max(0).unsigned_abs();
            Some(Patience::For(Duration::from_secs(seconds)))
        }
    };
    let webhook = events::webhook(&get)?;
    let cdr_path = get("OPENVIDU_CDR_PATH").unwrap_or_else(|| "/opt/openvidu/cdr".to_owned());
    let cdr = number(&get, "OPENVIDU_CDR")?.unwrap_or(false);
    Ok(Settings {
        node_reconnection_timeout: reconnection,
        listen: https_port.map(|port| ([0, 0, 0, 0], port).into()),
        public_url: public_url.or(old_public_url),
        nodes: nodes.filter(|nodes| !nodes.is_empty()),
        secret: get("OPENVIDU_SECRET").map(Secret::new),
        media_server,
        video_simulcast: number(&get, "OPENVIDU_WEBRTC_SIMULCAST")?,
        forced_video_codec: get("OPENVIDU_STREAMS_FORCED_VIDEO_CODEC"),
        allow_transcoding: number(&get, "OPENVIDU_STREAMS_ALLOW_TRANSCODING")?,
        video_max_recv_bandwidth: number(&get, "OPENVIDU_STREAMS_VIDEO_MAX_RECV_BANDWIDTH")?,
        video_min_recv_bandwidth: number(&get, "OPENVIDU_STREAMS_VIDEO_MIN_RECV_BANDWIDTH")?,
        video_max_send_bandwidth: number(&get, "OPENVIDU_STREAMS_VIDEO_MAX_SEND_BANDWIDTH")?,
        video_min_send_bandwidth: number(&get, "OPENVIDU_STREAMS_VIDEO_MIN_SEND_BANDWIDTH")?,
        ice_servers,
        sessions_garbage_interval: seconds("OPENVIDU_SESSIONS_GARBAGE_INTERVAL")?,
        sessions_garbage_threshold: seconds("OPENVIDU_SESSIONS_GARBAGE_THRESHOLD")?,
        load_strategy: get("OPENVIDU_PRO_CLUSTER_LOAD_STRATEGY"),
        load_interval: seconds("OPENVIDU_PRO_CLUSTER_LOAD_INTERVAL")?,
        network_quality: number(&get, "OPENVIDU_PRO_NETWORK_QUALITY")?,
        network_quality_interval: seconds("OPENVIDU_PRO_NETWORK_QUALITY_INTERVAL")?,
        webhook_endpoint: webhook.endpoint.map(HookUrl::from),
        webhook_headers: webhook.headers,
        webhook_events: webhook.events,
        cdr_path: cdr.then(|| PathBuf::from(cdr_path)),
        ..Settings::default()
    })
}

pub(super) fn number<T: std::str::FromStr>(
    get: &impl Fn(&str) -> Option<String>,
    name: &str,
) -> Result<Option<T>, Error> {
    get(name)
        .map(|text| {
            text.parse()
                .map_err(|_| value(name, format!("'{text}' can't be read")))
        })
        .transpose()
}

/// `["ws://IP:8888/kurento"]`: where there was a Kurento media server there is a media node now, on its own port.
fn media_nodes(text: &str) -> Result<Vec<NodeConfig>, String> {
    let uris: Vec<String> = serde_json::from_str(text).map_err(|error| error.to_string())?;
    uris.iter().map(|uri| media_node(uri)).collect()
}

fn media_node(uri: &str) -> Result<NodeConfig, String> {
    let address = address::parse(uri)?;
    let id = address
        .to_string()
        .replace(['[', ']'], "")
        .replace(['.', ':'], "_");
    Ok(NodeConfig {
        id: NodeId::new(format!("media_{id}")),
        uri: format!("quic://{address}"),
        node_id: None,
        environment_id: None,
        metrics: None,
    })
}

/// `["url=turns:HOST:443,username=u,credential=p"]`, each item with `staticAuthSecret=` perhaps.
fn ice_servers(text: &str) -> Result<Vec<IceServer>, String> {
    let items: Vec<String> = serde_json::from_str(text).map_err(|error| error.to_string())?;
    items.iter().map(|item| ice_server(item)).collect()
}

fn ice_server(item: &str) -> Result<IceServer, String> {
    let mut server = IceServer {
        url: String::new(),
        username: None,
        credential: None,
        static_auth_secret: None,
    };
    for pair in item.split(',') {
        let (key, text) = pair
            .split_once('=')
            // It may be a credential, and is not shown.
            .ok_or("a part of an item is not KEY=VALUE")?;
        let text = text.to_owned();
        match key.trim() {
            "url" => server.url = text,
            "username" => server.username = Some(text),
            "credential" => server.credential = Some(text),
            "staticAuthSecret" => server.static_auth_secret = Some(text),
            other => return Err(format!("unknown key '{other}'")),
        }
    }
    Ok(server)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every name of OpenVidu 2.32's base, cluster and Pro configuration.
    const NAMES: [&str; 72] = [
        "DOMAIN_OR_PUBLIC_IP",
        "OPENVIDU_SECRET",
        "CERTIFICATE_TYPE",
        "HTTPS_PORT",
        "HTTP_PORT",
        "OPENVIDU_CDR",
        "OPENVIDU_CDR_PATH",
        "OPENVIDU_WEBHOOK",
        "OPENVIDU_WEBHOOK_ENDPOINT",
        "OPENVIDU_WEBHOOK_HEADERS",
        "OPENVIDU_WEBHOOK_EVENTS",
        "OPENVIDU_RECORDING",
        "OPENVIDU_RECORDING_PATH",
        "OPENVIDU_RECORDING_PUBLIC_ACCESS",
        "OPENVIDU_RECORDING_NOTIFICATION",
        "OPENVIDU_RECORDING_CUSTOM_LAYOUT",
        "OPENVIDU_RECORDING_AUTOSTOP_TIMEOUT",
        "OPENVIDU_RECORDING_COMPOSED_URL",
        "OPENVIDU_RECORDING_DEBUG",
        "OPENVIDU_STREAMS_VIDEO_MAX_RECV_BANDWIDTH",
        "OPENVIDU_STREAMS_VIDEO_MIN_RECV_BANDWIDTH",
        "OPENVIDU_STREAMS_VIDEO_MAX_SEND_BANDWIDTH",
        "OPENVIDU_STREAMS_VIDEO_MIN_SEND_BANDWIDTH",
        "OPENVIDU_STREAMS_FORCED_VIDEO_CODEC",
        "OPENVIDU_STREAMS_ALLOW_TRANSCODING",
        "OPENVIDU_SESSIONS_GARBAGE_INTERVAL",
        "OPENVIDU_SESSIONS_GARBAGE_THRESHOLD",
        "OPENVIDU_WEBRTC_ICE_SERVERS",
        "COTURN_IP",
        "COTURN_PORT",
        "KMS_URIS",
        "OPENVIDU_EDITION",
        "OPENVIDU_PRO_CLUSTER_ID",
        "OPENVIDU_PRO_CLUSTER_ENVIRONMENT",
        "OPENVIDU_PRO_CLUSTER_MODE",
        "OPENVIDU_PRO_CLUSTER_MEDIA_NODES",
        "OPENVIDU_PRO_CLUSTER_AUTODISCOVERY",
        "OPENVIDU_PRO_CLUSTER_PATH",
        "OPENVIDU_PRO_CLUSTER_TEST",
        "OPENVIDU_PRO_CLUSTER_LOAD_STRATEGY",
        "OPENVIDU_PRO_CLUSTER_LOAD_INTERVAL",
        "OPENVIDU_PRO_CLUSTER_RECONNECTION_TIMEOUT",
        "OPENVIDU_PRO_CLUSTER_AUTOSCALING",
        "OPENVIDU_PRO_CLUSTER_AUTOSCALING_MAX_NODES",
        "OPENVIDU_PRO_CLUSTER_AUTOSCALING_INTERVAL",
        "OPENVIDU_PRO_RECORDING_STORAGE",
        "OPENVIDU_PRO_AWS_S3_BUCKET",
        "OPENVIDU_PRO_AWS_REGION",
        "OPENVIDU_PRO_NETWORK_QUALITY",
        "OPENVIDU_PRO_NETWORK_QUALITY_INTERVAL",
        "OPENVIDU_PRO_STATS_SESSION_INTERVAL",
        "OPENVIDU_PRO_STATS_WEBRTC_INTERVAL",
        "OPENVIDU_PRO_ELASTICSEARCH",
        "OPENVIDU_PRO_ELASTICSEARCH_HOST",
        "OPENVIDU_PRO_KIBANA_HOST",
        "OPENVIDU_BROWSER_LOGS",
        "OPENVIDU_PRO_SPEECH_TO_TEXT",
        "OPENVIDU_PRO_COTURN_IN_MEDIA_NODES",
        "OPENVIDU_ENTERPRISE_MEDIA_SERVER",
        "OPENVIDU_WEBRTC_SIMULCAST",
        "OPENVIDU_ENTERPRISE_HA_REDIS_HOST",
        "OPENVIDU_ENTERPRISE_HA_NODE_PRIVATE_IP",
        "OPENVIDU_ENTERPRISE_HA_S3_CONFIG_BUCKET",
        "OPENVIDU_ENTERPRISE_S3_CONFIG_AUTORESTART",
        "OPENVIDU_PRO_LICENSE",
        "LETSENCRYPT_EMAIL",
        "OPENVIDU_PUBLICURL",
        "OPENVIDU_PRO_CLUSTER",
        "KMS_IMAGE",
        "OPENVIDU_PRO_RECORDING_X",
        "OPENVIDU_NEVER_HEARD_OF",
        "OPENVIDU_PRO_STATS_SERVER_INTERVAL",
    ];

    #[test]
    fn whatever_is_set_is_heeded_or_named() {
        let served = served();
        for name in NAMES {
            let set = Environment::new([(name.to_owned(), "something".to_owned())]);
            let warnings = unserved(&set);
            assert_eq!(
                warnings.is_empty(),
                served.contains(name),
                "{name}: {warnings:?}"
            );
            assert!(
                warnings.iter().all(|text| text.starts_with(name)),
                "{warnings:?}"
            );
        }
        let harmless = [
            ("OPENVIDU_RECORDING", "false"),
            ("CERTIFICATE_TYPE", "selfsigned"),
            ("OPENVIDU_EDITION", ""),
            ("HOME", "/root"),
        ];
        let set = Environment::new(harmless.map(|(name, text)| (name.to_owned(), text.to_owned())));
        assert!(unserved(&set).is_empty());
    }

    #[test]
    fn kurento_uris_become_nodes() {
        let text = r#"["ws://10.0.0.1:8888/kurento","quic://10.0.0.2:9000","ws://[2001:db8::1]:8888/kurento"]"#;
        let nodes = media_nodes(text).expect("good");
        let uris: Vec<_> = nodes.iter().map(|node| node.uri.as_str()).collect();
        assert_eq!(
            uris,
            [
                "quic://10.0.0.1:7443",
                "quic://10.0.0.2:9000",
                "quic://[2001:db8::1]:7443"
            ]
        );
        assert_eq!(nodes[0].id.as_str(), "media_10_0_0_1_7443");
        assert!(nodes.iter().all(|node| node.address().is_ok()));
        for bad in ["[\"ws://host:8888/kurento\"]", "ws://10.0.0.1:8888"] {
            assert!(media_nodes(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn ice_servers_are_read() {
        let text = r#"["url=turns:h:443?transport=tcp,username=u,credential=p=","url=stun:h"]"#;
        let servers = ice_servers(text).expect("good");
        assert_eq!(servers[0].url, "turns:h:443?transport=tcp");
        assert_eq!(servers[0].credential.as_deref(), Some("p="));
        assert_eq!(servers[1].url, "stun:h");
        assert!(ice_servers("[\"color=red\"]").is_err());
    }
}
