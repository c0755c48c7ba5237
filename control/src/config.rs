//! What the master is told at its start: defaults, then the file, then the environment, then flags.

pub mod openvidu;

use std::collections::BTreeSet;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use serde::{Deserialize, Serialize};

use crate::domain::{IceServer, NodeId, VideoBandwidth};

/// Most media nodes of one master.
pub const NODES_MAX: usize = 100;

/// Why the configuration is unusable.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file can't be read.
    #[error("read configuration {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not what we understand: syntax, an unknown key, a wrong type.
    #[error("configuration {}: {source}", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: Box<toml::de::Error>,
    },
    /// A value makes no sense.
    #[error("configuration: {key}: {why}")]
    Value {
        /// Whose value.
        key: String,
        /// What is wrong with it.
        why: String,
    },
}

/// Who decides on the codecs of a subscription.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum MediaServer {
    /// The master makes the offer; simulcast is possible.
    #[default]
    Mediasoup,
    /// The client makes the offer.
    Kurento,
}

impl MediaServer {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Mediasoup => "mediasoup",
            Self::Kurento => "kurento",
        }
    }
}

/// The form of a log line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// One line of words.
    #[default]
    Text,
    /// One JSON object.
    Json,
}

/// A text that is never printed.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Serialize for Secret {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("***")
    }
}

/// One media node as the operator names it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeConfig {
    /// The master's name for it.
    pub id: NodeId,
    /// `quic://ADDRESS:PORT`, where it listens for the link.
    pub uri: String,
    /// The id that its certificate must name; without it, whatever it says, if its certificate agrees.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_id: Option<String>,
    /// The operator's own label.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment_id: Option<String>,
}

impl NodeConfig {
    /// Where to dial.
    ///
    /// # Errors
    /// When the URI is not `quic://` with a literal address and port.
    pub fn address(&self) -> Result<SocketAddr, Error> {
        self.uri
            .strip_prefix("quic://")
            .and_then(|rest| rest.trim_end_matches('/').parse().ok())
            .ok_or_else(|| {
                let why = format!(
                    "'{}' is not quic://IP:PORT (a literal address, no name)",
                    self.uri
                );
                value(&format!("nodes.{}.uri", self.id), why)
            })
    }
}

/// Everything, checked.
#[derive(Clone, Debug, Serialize)]
pub struct Config {
    /// Where browsers and applications come.
    pub listen: SocketAddr,
    /// Speak HTTP without TLS.
    pub plain_http: bool,
    /// PEM file of our certificate chain; none: a self-signed one is made in the data directory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate: Option<PathBuf>,
    /// PEM file of its key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub private_key: Option<PathBuf>,
    /// How clients reach us, `https://HOST[:PORT]`; none: as each request says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub public_url: Option<String>,
    /// The password of `OPENVIDUAPP`.
    pub secret: Secret,
    /// Where `/metrics` is.
    pub admin_listen: SocketAddr,
    /// What must outlive the process.
    pub data_dir: PathBuf,
    /// Where `ca.pem`, `master.pem` and `master.key` are.
    pub pki_dir: PathBuf,
    /// Who makes the offer of a subscription.
    pub media_server: MediaServer,
    /// Clients publish simulcast unless they say otherwise.
    pub video_simulcast: bool,
    /// The video codec of sessions that name none.
    pub forced_video_codec: String,
    /// Echoed only.
    pub allow_transcoding: bool,
    /// Negotiate transport-wide congestion control.
    pub transport_cc: bool,
    /// Publishers who can repeat their sound, so that a lost packet is not heard (RFC 2198).
    pub audio_redundancy: bool,
    /// How much video there may be of one stream, where its connection does not say.
    #[serde(flatten)]
    pub video_bandwidth: VideoBandwidth,
    /// ICE servers of clients whose connection has none of its own.
    #[serde(serialize_with = "without_credentials")]
    pub ice_servers: Vec<IceServer>,
    /// Give tokens to the page at `/` without a secret.
    pub demo_page: bool,
    /// The published `openvidu-browser` file for the page at `/`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_package: Option<PathBuf>,
    /// How long a client whose socket is gone may take to come back.
    #[serde(with = "duration")]
    pub reconnect_grace: Duration,
    /// After so much silence a node has crashed.
    #[serde(with = "duration")]
    pub node_silence: Duration,
    /// How long a node may take to make a transport.
    #[serde(with = "duration")]
    pub node_answer_timeout: Duration,
    /// How often never-joined sessions are looked for; 0: never.
    #[serde(with = "duration")]
    pub sessions_garbage_interval: Duration,
    /// How old they must be.
    #[serde(with = "duration")]
    pub sessions_garbage_threshold: Duration,
    /// Tell users of each other's network quality.
    pub network_quality: bool,
    /// How often it is looked at.
    #[serde(with = "duration")]
    pub network_quality_interval: Duration,
    /// Most WebSockets from one address.
    pub sockets_per_address_max: usize,
    /// Most joins from one address in a second, averaged; bursts of ten seconds' worth.
    pub joins_per_address_rate: u32,
    /// `error`, `warn`, `info`, `debug`, `trace`, or directives like `info,control=debug`.
    pub log_level: String,
    /// For people or for machines.
    pub log_format: LogFormat,
    /// The media nodes.
    pub nodes: Vec<NodeConfig>,
}

/// The file as it is written, and the flags over it: everything is optional.
#[derive(Args, Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Address and port for browsers and applications [default: 0.0.0.0:4443].
    #[arg(long, env = "RINGCAST_MASTER_LISTEN")]
    listen: Option<SocketAddr>,
    /// Speak HTTP without TLS.
    #[arg(long, env = "RINGCAST_MASTER_PLAIN_HTTP", num_args = 0..=1, default_missing_value = "true")]
    plain_http: Option<bool>,
    /// PEM file of the certificate chain [default: self-signed, in the data directory].
    #[arg(long, env = "RINGCAST_MASTER_CERTIFICATE")]
    certificate: Option<PathBuf>,
    /// PEM file of the certificate's key.
    #[arg(long, env = "RINGCAST_MASTER_PRIVATE_KEY")]
    private_key: Option<PathBuf>,
    /// How clients reach the master, https://HOST[:PORT] [default: as each request says].
    #[arg(long, env = "RINGCAST_MASTER_PUBLIC_URL")]
    public_url: Option<String>,
    /// The password of OPENVIDUAPP.
    #[arg(long, env = "RINGCAST_MASTER_SECRET", hide_env_values = true, value_parser = secret)]
    secret: Option<Secret>,
    /// Address and port of /metrics [default: 127.0.0.1:9091].
    #[arg(long, env = "RINGCAST_MASTER_ADMIN_LISTEN")]
    admin_listen: Option<SocketAddr>,
    /// What must outlive the process [default: /var/lib/ringcast].
    #[arg(long, env = "RINGCAST_MASTER_DATA_DIR")]
    data_dir: Option<PathBuf>,
    /// Where ca.pem, master.pem and master.key are [default: DATA_DIR/pki].
    #[arg(long, env = "RINGCAST_MASTER_PKI_DIR")]
    pki_dir: Option<PathBuf>,
    /// Who makes the offer of a subscription [default: mediasoup].
    #[arg(long, env = "RINGCAST_MASTER_MEDIA_SERVER")]
    media_server: Option<MediaServer>,
    /// Clients publish simulcast unless they say otherwise [default: false].
    #[arg(long, env = "RINGCAST_MASTER_VIDEO_SIMULCAST", num_args = 0..=1, default_missing_value = "true")]
    video_simulcast: Option<bool>,
    /// VP8, VP9, H264, NONE or MEDIA_SERVER_PREFERRED, for sessions that name none.
    #[arg(long, env = "RINGCAST_MASTER_FORCED_VIDEO_CODEC")]
    forced_video_codec: Option<String>,
    /// Echoed to applications; nothing is transcoded.
    #[arg(long, env = "RINGCAST_MASTER_ALLOW_TRANSCODING")]
    allow_transcoding: Option<bool>,
    /// Negotiate transport-wide congestion control [default: true].
    #[arg(long, env = "RINGCAST_MASTER_TRANSPORT_CC")]
    transport_cc: Option<bool>,
    /// Have publishers repeat their sound (RFC 2198), so that a lost packet is not heard [default: true].
    #[arg(long, env = "RINGCAST_MASTER_AUDIO_REDUNDANCY")]
    audio_redundancy: Option<bool>,
    /// Most video that a user may publish in one stream, in kbit/s; 0: no limit [default: 0].
    #[arg(long, env = "RINGCAST_MASTER_VIDEO_MAX_RECV_BANDWIDTH")]
    video_max_recv_bandwidth: Option<u32>,
    /// Echoed to applications only.
    #[arg(long, env = "RINGCAST_MASTER_VIDEO_MIN_RECV_BANDWIDTH")]
    video_min_recv_bandwidth: Option<u32>,
    /// Most video that a user is sent of one stream, in kbit/s; 0: no limit [default: 0].
    #[arg(long, env = "RINGCAST_MASTER_VIDEO_MAX_SEND_BANDWIDTH")]
    video_max_send_bandwidth: Option<u32>,
    /// Echoed to applications only.
    #[arg(long, env = "RINGCAST_MASTER_VIDEO_MIN_SEND_BANDWIDTH")]
    video_min_send_bandwidth: Option<u32>,
    /// ICE servers of clients whose connection has none of its own.
    #[arg(skip)]
    ice_servers: Option<Vec<IceServer>>,
    /// Give tokens to the page at / without a secret: for demonstrations only [default: false].
    #[arg(long, env = "RINGCAST_MASTER_DEMO_PAGE", num_args = 0..=1, default_missing_value = "true")]
    demo_page: Option<bool>,
    /// The published openvidu-browser file (minified) for the page at /.
    #[arg(long, env = "RINGCAST_MASTER_CLIENT_PACKAGE")]
    client_package: Option<PathBuf>,
    /// How long a client whose socket is gone may take to come back [default: 10s].
    #[arg(long, env = "RINGCAST_MASTER_RECONNECT_GRACE", value_parser = parse_duration)]
    #[serde(with = "duration_option")]
    reconnect_grace: Option<Duration>,
    /// After so much silence a node has crashed, at least 1s [default: 3s].
    #[arg(long, env = "RINGCAST_MASTER_NODE_SILENCE", value_parser = parse_duration)]
    #[serde(with = "duration_option")]
    node_silence: Option<Duration>,
    /// How long a node may take to make a transport, below 10s [default: 5s].
    #[arg(long, env = "RINGCAST_MASTER_NODE_ANSWER_TIMEOUT", value_parser = parse_duration)]
    #[serde(with = "duration_option")]
    node_answer_timeout: Option<Duration>,
    /// How often never-joined sessions are looked for, 0s: never [default: 15m].
    #[arg(long, env = "RINGCAST_MASTER_SESSIONS_GARBAGE_INTERVAL", value_parser = parse_duration)]
    #[serde(with = "duration_option")]
    sessions_garbage_interval: Option<Duration>,
    /// How old they must be [default: 1h].
    #[arg(long, env = "RINGCAST_MASTER_SESSIONS_GARBAGE_THRESHOLD", value_parser = parse_duration)]
    #[serde(with = "duration_option")]
    sessions_garbage_threshold: Option<Duration>,
    /// Tell users of each other's network quality (networkQualityLevelChanged) [default: false].
    #[arg(long, env = "RINGCAST_MASTER_NETWORK_QUALITY", num_args = 0..=1, default_missing_value = "true")]
    network_quality: Option<bool>,
    /// How often network quality is looked at [default: 5s].
    #[arg(long, env = "RINGCAST_MASTER_NETWORK_QUALITY_INTERVAL", value_parser = parse_duration)]
    #[serde(with = "duration_option")]
    network_quality_interval: Option<Duration>,
    /// Most WebSockets from one address [default: 1000].
    #[arg(long, env = "RINGCAST_MASTER_SOCKETS_PER_ADDRESS_MAX")]
    sockets_per_address_max: Option<usize>,
    /// Most joins a second from one address [default: 100].
    #[arg(long, env = "RINGCAST_MASTER_JOINS_PER_ADDRESS_RATE")]
    joins_per_address_rate: Option<u32>,
    /// error, warn, info, debug, trace, or directives like info,control=debug [default: info].
    #[arg(long, env = "RINGCAST_MASTER_LOG_LEVEL")]
    log_level: Option<String>,
    /// The form of log lines [default: text].
    #[arg(long, env = "RINGCAST_MASTER_LOG_FORMAT")]
    log_format: Option<LogFormat>,
    /// A media node, ID=quic://IP:PORT; may be given several times.
    #[arg(long = "node", env = "RINGCAST_MASTER_NODES", value_delimiter = ',', value_parser = parse_node)]
    nodes: Option<Vec<NodeConfig>>,
}

impl Config {
    /// Puts the layers together and checks the result.
    ///
    /// # Errors
    /// [`Error`], which names the file or the key.
    pub fn load(
        file: Option<&Path>,
        flags: Settings,
        env: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, Error> {
        let file = match file {
            Some(path) => read(path)?,
            None => Settings::default(),
        };
        let settings = flags.over(openvidu::settings(env)?).over(file);
        settings.checked()
    }

    /// The scheme of our own URLs.
    pub fn scheme(&self) -> &'static str {
        match self.plain_http {
            true => "http",
            false => "https",
        }
    }
}

macro_rules! first_of {
    ($over:expr, $under:expr, $($key:ident),* $(,)?) => {
        Settings { $($key: $over.$key.or($under.$key)),* }
    };
}

impl Settings {
    /// What is set here, else what is set there.
    fn over(self, under: Self) -> Self {
        first_of!(
            self,
            under,
            listen,
            plain_http,
            certificate,
            private_key,
            public_url,
            secret,
            admin_listen,
            data_dir,
            pki_dir,
            media_server,
            video_simulcast,
            forced_video_codec,
            allow_transcoding,
            transport_cc,
            audio_redundancy,
            video_max_recv_bandwidth,
            video_min_recv_bandwidth,
            video_max_send_bandwidth,
            video_min_send_bandwidth,
            ice_servers,
            demo_page,
            client_package,
            reconnect_grace,
            node_silence,
            node_answer_timeout,
            sessions_garbage_interval,
            sessions_garbage_threshold,
            network_quality,
            network_quality_interval,
            sockets_per_address_max,
            joins_per_address_rate,
            log_level,
            log_format,
            nodes,
        )
    }

    fn checked(self) -> Result<Config, Error> {
        let data_dir = self
            .data_dir
            .unwrap_or_else(|| PathBuf::from("/var/lib/ringcast"));
        let config = Config {
            listen: self.listen.unwrap_or(([0, 0, 0, 0], 4443).into()),
            plain_http: self.plain_http.unwrap_or(false),
            certificate: self.certificate,
            private_key: self.private_key,
            public_url: self.public_url,
            secret: self.secret.unwrap_or_default(),
            admin_listen: self.admin_listen.unwrap_or(([127, 0, 0, 1], 9091).into()),
            pki_dir: self.pki_dir.unwrap_or_else(|| data_dir.join("pki")),
            data_dir,
            media_server: self.media_server.unwrap_or_default(),
            video_simulcast: self.video_simulcast.unwrap_or(false),
            forced_video_codec: self
                .forced_video_codec
                .unwrap_or_else(|| "MEDIA_SERVER_PREFERRED".to_owned()),
            allow_transcoding: self.allow_transcoding.unwrap_or(false),
            transport_cc: self.transport_cc.unwrap_or(true),
            audio_redundancy: self.audio_redundancy.unwrap_or(true),
            video_bandwidth: VideoBandwidth {
                max_recv: self.video_max_recv_bandwidth.unwrap_or(0),
                min_recv: self.video_min_recv_bandwidth.unwrap_or(0),
                max_send: self.video_max_send_bandwidth.unwrap_or(0),
                min_send: self.video_min_send_bandwidth.unwrap_or(0),
            },
            ice_servers: self.ice_servers.unwrap_or_default(),
            demo_page: self.demo_page.unwrap_or(false),
            client_package: self.client_package,
            reconnect_grace: self.reconnect_grace.unwrap_or(Duration::from_secs(10)),
            node_silence: self.node_silence.unwrap_or(Duration::from_secs(3)),
            node_answer_timeout: self.node_answer_timeout.unwrap_or(Duration::from_secs(5)),
            sessions_garbage_interval: self
                .sessions_garbage_interval
                .unwrap_or(Duration::from_secs(900)),
            sessions_garbage_threshold: self
                .sessions_garbage_threshold
                .unwrap_or(Duration::from_secs(3600)),
            network_quality: self.network_quality.unwrap_or(false),
            network_quality_interval: self
                .network_quality_interval
                .unwrap_or(Duration::from_secs(5)),
            sockets_per_address_max: self.sockets_per_address_max.unwrap_or(1000),
            joins_per_address_rate: self.joins_per_address_rate.unwrap_or(100),
            log_level: self.log_level.unwrap_or_else(|| "info".to_owned()),
            log_format: self.log_format.unwrap_or_default(),
            nodes: self.nodes.unwrap_or_default(),
        };
        config.check()?;
        Ok(config)
    }
}

impl Config {
    fn check(&self) -> Result<(), Error> {
        if self.secret.expose().is_empty() {
            return Err(value("secret", "is not set (OPENVIDU_SECRET, --secret)"));
        }
        if self.certificate.is_some() != self.private_key.is_some() {
            return Err(value(
                "certificate",
                "certificate and private_key go together",
            ));
        }
        if let Some(url) = &self.public_url
            && crate::api::urls::host_of(url).is_none()
        {
            return Err(value(
                "public_url",
                format!("'{url}' is not http(s)://HOST[:PORT]"),
            ));
        }
        if !crate::api::rest::is_video_codec(&self.forced_video_codec) {
            let why = format!("'{}' is not a codec", self.forced_video_codec);
            return Err(value("forced_video_codec", why));
        }
        for server in &self.ice_servers {
            server.check().map_err(|why| value("ice_servers", why))?;
        }
        let bounds = [
            ("reconnect_grace", self.reconnect_grace, 1, 600),
            ("node_silence", self.node_silence, 1, 3600),
            (
                "network_quality_interval",
                self.network_quality_interval,
                1,
                3600,
            ),
            // Clients give up after ten seconds.
            ("node_answer_timeout", self.node_answer_timeout, 1, 9),
        ];
        for (key, duration, least, most) in bounds {
            if duration < Duration::from_secs(least) || duration > Duration::from_secs(most) {
                return Err(value(key, format!("must be between {least}s and {most}s")));
            }
        }
        self.check_nodes()
    }

    fn check_nodes(&self) -> Result<(), Error> {
        if self.nodes.len() > NODES_MAX {
            return Err(value("nodes", format!("more than {NODES_MAX}")));
        }
        let mut seen = BTreeSet::new();
        for node in &self.nodes {
            node.address()?;
            if !seen.insert(&node.id) {
                return Err(value("nodes", format!("'{}' is there twice", node.id)));
            }
        }
        Ok(())
    }
}

fn read(path: &Path) -> Result<Settings, Error> {
    let text = std::fs::read_to_string(path).map_err(|source| Error::Read {
        path: path.to_owned(),
        source,
    })?;
    toml::from_str(&text).map_err(|source| Error::Parse {
        path: path.to_owned(),
        source: Box::new(source),
    })
}

pub(crate) fn value(key: &str, why: impl Into<String>) -> Error {
    Error::Value {
        key: key.to_owned(),
        why: why.into(),
    }
}

/// Credentials and secrets are not printed.
fn without_credentials<S: serde::Serializer>(
    servers: &[IceServer],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let hide = |one: &Option<String>| one.as_ref().map(|_| "***".to_owned());
    let hidden = servers.iter().map(|server| IceServer {
        credential: hide(&server.credential),
        static_auth_secret: hide(&server.static_auth_secret),
        ..server.clone()
    });
    serializer.collect_seq(hidden)
}

fn secret(text: &str) -> Result<Secret, String> {
    Ok(Secret::new(text))
}

fn parse_duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|error| error.to_string())
}

pub(crate) fn parse_node(text: &str) -> Result<NodeConfig, String> {
    let (id, uri) = text
        .split_once('=')
        .ok_or_else(|| format!("'{text}' is not ID=quic://IP:PORT"))?;
    Ok(NodeConfig {
        id: NodeId::new(id),
        uri: uri.to_owned(),
        node_id: None,
        environment_id: None,
    })
}

mod duration {
    use std::time::Duration;

    pub fn serialize<S: serde::Serializer>(
        duration: &Duration,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&humantime::format_duration(*duration))
    }
}

mod duration_option {
    use std::time::Duration;

    use serde::Deserialize as _;

    pub fn deserialize<'de, D: serde::Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Duration>, D::Error> {
        let text = String::deserialize(deserializer)?;
        super::parse_duration(&text)
            .map(Some)
            .map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(toml: &str, env: &[(&str, &str)]) -> Result<Config, Error> {
        let file: Settings = toml::from_str(toml).map_err(|source| Error::Parse {
            path: PathBuf::from("test"),
            source: Box::new(source),
        })?;
        let get = |name: &str| {
            env.iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| (*value).to_owned())
        };
        openvidu::settings(get)?.over(file).checked()
    }

    #[test]
    fn a_file_is_read_and_openvidu_names_override_it() {
        let toml = r#"
            secret = "one"
            reconnect_grace = "2500ms"
            [[nodes]]
            id = "media_1"
            uri = "quic://127.0.0.1:7443"
        "#;
        let config = load(toml, &[("OPENVIDU_SECRET", "two")]).expect("good");
        assert_eq!(config.secret.expose(), "two");
        assert_eq!(config.reconnect_grace, Duration::from_millis(2500));
        assert_eq!(config.nodes[0].address().expect("good").port(), 7443);
        let public = [
            ("DOMAIN_OR_PUBLIC_IP", "call.example"),
            ("HTTPS_PORT", "4443"),
        ];
        let config = load(toml, &public).expect("good");
        assert_eq!(config.log_level, "info");
        assert_eq!(
            config.public_url.as_deref(),
            Some("https://call.example:4443")
        );
    }

    #[test]
    fn mistakes_are_named() {
        for (toml, names) in [
            ("secret = 's'\nsecrte = 'x'", "secrte"),
            ("", "secret"),
            ("secret = 's'\nreconnect_grace = '10'", "10"),
            (
                "secret = 's'\nnode_answer_timeout = '1m'",
                "node_answer_timeout",
            ),
            ("secret = 's'\nforced_video_codec = 'H266'", "H266"),
            ("secret = 's'\npublic_url = 'ftp://x'", "public_url"),
            (
                "secret = 's'\n[[nodes]]\nid='a'\nuri='quic://nowhere'",
                "nowhere",
            ),
        ] {
            let error = load(toml, &[]).expect_err(toml).to_string();
            assert!(error.contains(names), "{toml}: {error}");
        }
    }

    #[test]
    fn the_secret_is_not_printed() {
        let turn = "[[ice_servers]]\nurl = 'turn:h'\nstatic_auth_secret = 'hush-hush'";
        let text = format!(
            "secret = 'hush-hush'\n{}",
            turn.replace("static_auth_secret", "staticAuthSecret")
        );
        let config = load(&text, &[]).expect("good");
        let printed = toml::to_string(&config).expect("printable");
        assert!(!printed.contains("hush-hush"));
        assert!(!format!("{config:?}").contains("hush-hush"));
    }
}
