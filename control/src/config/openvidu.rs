//! The names that OpenVidu deployments already use.

use super::{Error, MediaServer, Secret, Settings, value};
use crate::domain::IceServer;

/// The settings that these environment variables make.
///
/// # Errors
/// [`Error::Value`] naming the variable.
pub fn settings(env: impl Fn(&str) -> Option<String>) -> Result<Settings, Error> {
    let get = |name: &str| env(name).filter(|text| !text.is_empty());
    let https_port: Option<u16> = number(&get, "HTTPS_PORT")?;
    let public_url = get("DOMAIN_OR_PUBLIC_IP").map(|host| match https_port.unwrap_or(443) {
        443 => format!("https://{host}"),
        port => format!("https://{host}:{port}"),
    });
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
    Ok(Settings {
        listen: https_port.map(|port| ([0, 0, 0, 0], port).into()),
        public_url,
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
        network_quality: number(&get, "OPENVIDU_PRO_NETWORK_QUALITY")?,
        network_quality_interval: seconds("OPENVIDU_PRO_NETWORK_QUALITY_INTERVAL")?,
        ..Settings::default()
    })
}

fn number<T: std::str::FromStr>(
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
            .ok_or_else(|| format!("'{pair}' is not KEY=VALUE"))?;
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
