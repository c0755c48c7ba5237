//! Every key: its name in the file, its flag, its environment variable and its default, said once.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use scheduler::Strategy;
use serde::{Deserialize, Serialize};

use super::values::{
    HookUrl, LogFormat, MediaServer, NodeConfig, Patience, Secret, duration, parse_duration,
    parse_node, seconds, secret, without_credentials, without_values,
};
use crate::api::proxies::Network;
use crate::domain::{Bounds, IceServer};

/// Makes [`Config`], where every key has a value, and [`Settings`], where none needs one, of one list of keys.
/// `shown` names the function that prints a value that can't print itself, or should not.
macro_rules! keys {
    (
        with_default {$(
            $(#[doc = $doc:literal])+
            #[arg($($arg:tt)*)]
            $(#[serde($($read:tt)*)])?
            $key:ident: $type:ty = $default:expr $(, shown $shown:literal)?;
        )*}
        optional {$(
            $(#[doc = $doc_of_optional:literal])+
            #[arg($($arg_of_optional:tt)*)]
            $optional:ident: $type_of_optional:ty;
        )*}
    ) => {
        /// Everything, checked.
        #[derive(Clone, Debug, Serialize)]
        pub struct Config {
            $(
                $(#[doc = $doc])+
                $(#[serde(serialize_with = $shown)])?
                pub $key: $type,
            )*
            $(
                $(#[doc = $doc_of_optional])+
                #[serde(skip_serializing_if = "Option::is_none")]
                pub $optional: Option<$type_of_optional>,
            )*
        }

        /// The file as it is written, and the flags over it: everything is optional.
        #[derive(Args, Clone, Debug, Default, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        pub struct Settings {
            $(
                $(#[doc = $doc])+
                #[arg($($arg)*)]
                $(#[serde($($read)*)])?
                pub(super) $key: Option<$type>,
            )*
            $(
                $(#[doc = $doc_of_optional])+
                #[arg($($arg_of_optional)*)]
                pub(super) $optional: Option<$type_of_optional>,
            )*
        }

        impl Config {
            /// The keys whose values are not those of `other`.
            pub(super) fn differing(&self, other: &Self) -> Vec<&'static str> {
                let mut keys = Vec::new();
                $(if self.$key != other.$key { keys.push(stringify!($key)); })*
                $(if self.$optional != other.$optional { keys.push(stringify!($optional)); })*
                keys
            }

            /// Takes over the value of that key.
            pub(super) fn adopt(&mut self, key: &str, other: &Self) {
                $(if key == stringify!($key) { self.$key = other.$key.clone(); })*
                $(if key == stringify!($optional) { self.$optional = other.$optional.clone(); })*
            }
        }

        impl Settings {
            /// All keys.
            pub(super) const NAMES: &[&str] = &[$(stringify!($key),)* $(stringify!($optional),)*];

            /// The keys that are set here.
            pub(super) fn keys(&self) -> Vec<&'static str> {
                let mut keys = Vec::new();
                $(if self.$key.is_some() { keys.push(stringify!($key)); })*
                $(if self.$optional.is_some() { keys.push(stringify!($optional)); })*
                keys
            }

            /// What is set here, else what is set there.
            pub(super) fn over(self, under: Self) -> Self {
                Self {
                    $($key: self.$key.or(under.$key),)*
                    $($optional: self.$optional.or(under.$optional),)*
                }
            }

            /// What is set here, else what is so by default.
            pub(super) fn complete(self) -> Config {
                Config {
                    $($key: self.$key.unwrap_or_else(|| $default),)*
                    $($optional: self.$optional,)*
                }
            }
        }
    };
}

keys! {
    with_default {
        /// Address and port for browsers and applications [default: 0.0.0.0:4443].
        #[arg(long, env = "RINGCAST_MASTER_LISTEN")]
        listen: SocketAddr = ([0, 0, 0, 0], 4443).into();
        /// Speak HTTP without TLS.
        #[arg(long, env = "RINGCAST_MASTER_PLAIN_HTTP", num_args = 0..=1, default_missing_value = "true")]
        plain_http: bool = false;
        /// The password of OPENVIDUAPP.
        #[arg(long, env = "RINGCAST_MASTER_SECRET", hide_env_values = true, value_parser = secret)]
        secret: Secret = Secret::default();
        /// Reverse proxies whose X-Forwarded-For, or else X-Real-IP, is believed, ADDRESS[/BITS] [default: 127.0.0.0/8,::1].
        #[arg(long, env = "RINGCAST_MASTER_TRUSTED_PROXIES", value_delimiter = ',')]
        trusted_proxies: Vec<Network> = Network::loopback();
        /// Wrong secrets a second from one address, averaged over 10 s, before it is refused [default: 1].
        #[arg(long, env = "RINGCAST_MASTER_WRONG_SECRETS_PER_ADDRESS_RATE")]
        wrong_secrets_per_address_rate: u32 = 1;
        /// How long a token can be used, 0s: as long as its session lives [default: 0s].
        #[arg(long, env = "RINGCAST_MASTER_TOKEN_LIFETIME", value_parser = parse_duration)]
        #[serde(with = "duration::optional")]
        token_lifetime: Duration = seconds(0), shown "duration::serialize";
        /// Address and port of /metrics [default: 127.0.0.1:9091].
        #[arg(long, env = "RINGCAST_MASTER_ADMIN_LISTEN")]
        admin_listen: SocketAddr = ([127, 0, 0, 1], 9091).into();
        /// What must outlive the process [default: /var/lib/ringcast].
        #[arg(long, env = "RINGCAST_MASTER_DATA_DIR")]
        data_dir: PathBuf = PathBuf::from("/var/lib/ringcast");
        /// Where ca.pem, master.pem and master.key are [default: DATA_DIR/pki].
        #[arg(long, env = "RINGCAST_MASTER_PKI_DIR")]
        pki_dir: PathBuf = PathBuf::new();
        /// Who makes the offer of a subscription [default: mediasoup].
        #[arg(long, env = "RINGCAST_MASTER_MEDIA_SERVER")]
        media_server: MediaServer = MediaServer::default();
        /// Clients publish simulcast unless they say otherwise [default: false].
        #[arg(long, env = "RINGCAST_MASTER_VIDEO_SIMULCAST", num_args = 0..=1, default_missing_value = "true")]
        video_simulcast: bool = false;
        /// VP8, VP9, H264, NONE or MEDIA_SERVER_PREFERRED, for sessions that name none.
        #[arg(long, env = "RINGCAST_MASTER_FORCED_VIDEO_CODEC")]
        forced_video_codec: String = "MEDIA_SERVER_PREFERRED".to_owned();
        /// Echoed to applications; nothing is transcoded.
        #[arg(long, env = "RINGCAST_MASTER_ALLOW_TRANSCODING")]
        allow_transcoding: bool = false;
        /// Negotiate transport-wide congestion control [default: true].
        #[arg(long, env = "RINGCAST_MASTER_TRANSPORT_CC")]
        transport_cc: bool = true;
        /// Have publishers repeat their sound (RFC 2198), so that a lost packet is not heard [default: true].
        #[arg(long, env = "RINGCAST_MASTER_AUDIO_REDUNDANCY")]
        audio_redundancy: bool = true;
        /// Most video that a user may publish in one stream, in kbit/s; 0: no limit [default: 0].
        #[arg(long, env = "RINGCAST_MASTER_VIDEO_MAX_RECV_BANDWIDTH")]
        video_max_recv_bandwidth: u32 = 0;
        /// Echoed to applications only.
        #[arg(long, env = "RINGCAST_MASTER_VIDEO_MIN_RECV_BANDWIDTH")]
        video_min_recv_bandwidth: u32 = 0;
        /// Most video that a user is sent of one stream, in kbit/s; 0: no limit [default: 0].
        #[arg(long, env = "RINGCAST_MASTER_VIDEO_MAX_SEND_BANDWIDTH")]
        video_max_send_bandwidth: u32 = 0;
        /// Echoed to applications only.
        #[arg(long, env = "RINGCAST_MASTER_VIDEO_MIN_SEND_BANDWIDTH")]
        video_min_send_bandwidth: u32 = 0;
        /// ICE servers of clients whose connection has none of its own.
        #[arg(skip)]
        ice_servers: Vec<IceServer> = Vec::new(), shown "without_credentials";
        /// Give tokens to the page at / without a secret: for demonstrations only [default: false].
        #[arg(long, env = "RINGCAST_MASTER_DEMO_PAGE", num_args = 0..=1, default_missing_value = "true")]
        demo_page: bool = false;
        /// How long the end may take after SIGTERM: requests that are under way are answered, and then it ends [default: 10s].
        #[arg(long, env = "RINGCAST_MASTER_SHUTDOWN_DEADLINE", value_parser = parse_duration)]
        #[serde(with = "duration::optional")]
        shutdown_deadline: Duration = seconds(10), shown "duration::serialize";
        /// How long a client whose socket is gone may take to come back [default: 10s].
        #[arg(long, env = "RINGCAST_MASTER_RECONNECT_GRACE", value_parser = parse_duration)]
        #[serde(with = "duration::optional")]
        reconnect_grace: Duration = seconds(10), shown "duration::serialize";
        /// After so much silence a node has crashed, at least 1s [default: 3s].
        #[arg(long, env = "RINGCAST_MASTER_NODE_SILENCE", value_parser = parse_duration)]
        #[serde(with = "duration::optional")]
        node_silence: Duration = seconds(3), shown "duration::serialize";
        /// How long a crashed node may take to come back before it is given up, at least 3s, or forever [default: forever].
        #[arg(long, env = "RINGCAST_MASTER_NODE_RECONNECTION_TIMEOUT")]
        node_reconnection_timeout: Patience = Patience::Forever;
        /// How long a node may take to make a transport, below 10s [default: 5s].
        #[arg(long, env = "RINGCAST_MASTER_NODE_ANSWER_TIMEOUT", value_parser = parse_duration)]
        #[serde(with = "duration::optional")]
        node_answer_timeout: Duration = seconds(5), shown "duration::serialize";
        /// How often never-joined sessions are looked for, 0s: never [default: 15m].
        #[arg(long, env = "RINGCAST_MASTER_SESSIONS_GARBAGE_INTERVAL", value_parser = parse_duration)]
        #[serde(with = "duration::optional")]
        sessions_garbage_interval: Duration = seconds(900), shown "duration::serialize";
        /// How old they must be [default: 1h].
        #[arg(long, env = "RINGCAST_MASTER_SESSIONS_GARBAGE_THRESHOLD", value_parser = parse_duration)]
        #[serde(with = "duration::optional")]
        sessions_garbage_threshold: Duration = seconds(3600), shown "duration::serialize";
        /// Tell users of each other's network quality (networkQualityLevelChanged) [default: false].
        #[arg(long, env = "RINGCAST_MASTER_NETWORK_QUALITY", num_args = 0..=1, default_missing_value = "true")]
        network_quality: bool = false;
        /// How often network quality is looked at [default: 5s].
        #[arg(long, env = "RINGCAST_MASTER_NETWORK_QUALITY_INTERVAL", value_parser = parse_duration)]
        #[serde(with = "duration::optional")]
        network_quality_interval: Duration = seconds(5), shown "duration::serialize";
        /// Which node takes a session: capacity, streams, sessions, mediaObjects, cpu, connections or manual; OPENVIDU_PRO_CLUSTER_LOAD_STRATEGY wins over it [default: capacity].
        #[arg(long, env = "RINGCAST_MASTER_LOAD_STRATEGY")]
        load_strategy: String = Strategy::default().to_string();
        /// With capacity, among nodes with room: the least loaded (least), the less loaded of two (twoChoices), or the fullest below 70 % (bestFit) [default: least].
        #[arg(long, env = "RINGCAST_MASTER_LOAD_FIT")]
        load_fit: String = "least".to_owned();
        /// How often the nodes' metrics are read [default: 2s].
        #[arg(long, env = "RINGCAST_MASTER_LOAD_INTERVAL", value_parser = parse_duration)]
        #[serde(with = "duration::optional")]
        load_interval: Duration = seconds(2), shown "duration::serialize";
        /// Metrics that are older than so many intervals are worth less [default: 3].
        #[arg(long, env = "RINGCAST_MASTER_LOAD_STALE_AFTER")]
        load_stale_after: u32 = 3;
        /// A node whose metrics are older than so many intervals takes no sessions [default: 6].
        #[arg(long, env = "RINGCAST_MASTER_LOAD_EXCLUDED_AFTER")]
        load_excluded_after: u32 = 6;
        /// Place nothing while no node's metrics can be read; else sessions then go where the fewest were placed [default: false].
        #[arg(long, env = "RINGCAST_MASTER_LOAD_REQUIRED", num_args = 0..=1, default_missing_value = "true")]
        load_required: bool = false;
        /// Most WebSockets [default: 20000].
        #[arg(long, env = "RINGCAST_MASTER_SOCKETS_MAX")]
        sockets_max: usize = 20_000;
        /// Most sessions [default: 100000].
        #[arg(long, env = "RINGCAST_MASTER_SESSIONS_MAX")]
        sessions_max: usize = Bounds::default().sessions;
        /// Most users in one session [default: 5000].
        #[arg(long, env = "RINGCAST_MASTER_SESSION_CONNECTIONS_MAX")]
        session_connections_max: usize = Bounds::default().connections;
        /// Most published streams in one session [default: 1000].
        #[arg(long, env = "RINGCAST_MASTER_SESSION_STREAMS_MAX")]
        session_streams_max: usize = Bounds::default().streams;
        /// Most tokens of one session that nobody has used yet [default: 10000].
        #[arg(long, env = "RINGCAST_MASTER_SESSION_TOKENS_MAX")]
        session_tokens_max: usize = Bounds::default().pending;
        /// Most streams that one user receives [default: 1000].
        #[arg(long, env = "RINGCAST_MASTER_CONNECTION_SUBSCRIPTIONS_MAX")]
        connection_subscriptions_max: usize = Bounds::default().subscriptions;
        /// Most WebSockets from one address [default: 1000].
        #[arg(long, env = "RINGCAST_MASTER_SOCKETS_PER_ADDRESS_MAX")]
        sockets_per_address_max: usize = 1000;
        /// Most joins a second from one address [default: 100].
        #[arg(long, env = "RINGCAST_MASTER_JOINS_PER_ADDRESS_RATE")]
        joins_per_address_rate: u32 = 100;
        /// error, warn, info, debug, trace, or directives like info,control=debug [default: info].
        #[arg(long, env = "RINGCAST_MASTER_LOG_LEVEL")]
        log_level: String = "info".to_owned();
        /// The form of log lines [default: text].
        #[arg(long, env = "RINGCAST_MASTER_LOG_FORMAT")]
        log_format: LogFormat = LogFormat::default();
        /// A header of webhook requests, "Name: value"; may be given several times.
        #[arg(long = "webhook-header", env = "RINGCAST_MASTER_WEBHOOK_HEADERS", hide_env_values = true)]
        webhook_headers: Vec<String> = Vec::new(), shown "without_values";
        /// The events that go to the webhook, by OpenVidu's names [default: all].
        #[arg(long, env = "RINGCAST_MASTER_WEBHOOK_EVENTS", value_delimiter = ',')]
        webhook_events: Vec<String> = Vec::new();
        /// Let the webhook be at an address inside the network: loopback, private, link-local and the like [default: false].
        #[arg(long, env = "RINGCAST_MASTER_WEBHOOK_ALLOW_INTERNAL", num_args = 0..=1, default_missing_value = "true")]
        webhook_allow_internal: bool = false;
        /// Webhook requests at a time, of different sessions; 1: all events in one order [default: 8].
        #[arg(long, env = "RINGCAST_MASTER_WEBHOOK_PARALLEL")]
        webhook_parallel: usize = 8;
        /// Most events that wait for the webhook; more are lost, loudly [default: 1000000].
        #[arg(long, env = "RINGCAST_MASTER_WEBHOOK_BACKLOG_MAX")]
        webhook_backlog_max: u64 = 1_000_000;
        /// Give up an event that could not be delivered for so long; 0s: never [default: 0s].
        #[arg(long, env = "RINGCAST_MASTER_WEBHOOK_GIVE_UP_AFTER", value_parser = parse_duration)]
        #[serde(with = "duration::optional")]
        webhook_give_up_after: Duration = seconds(0), shown "duration::serialize";
        /// Most events that wait for the call detail records; more are lost, loudly [default: 1000000].
        #[arg(long, env = "RINGCAST_MASTER_CDR_BACKLOG_MAX")]
        cdr_backlog_max: u64 = 1_000_000;
        /// Octets after which another file of call detail records is begun [default: 104857600].
        #[arg(long, env = "RINGCAST_MASTER_CDR_FILE_SIZE_MAX")]
        cdr_file_size_max: u64 = 100 << 20;
        /// Full files of call detail records that are kept; 0: all [default: 0].
        #[arg(long, env = "RINGCAST_MASTER_CDR_FILES_MAX")]
        cdr_files_max: usize = 0;
        /// A media node, ID=quic://IP:PORT; may be given several times.
        #[arg(long = "node", env = "RINGCAST_MASTER_NODES", value_delimiter = ',', value_parser = parse_node)]
        nodes: Vec<NodeConfig> = Vec::new();
    }
    optional {
        /// Where events are posted, http(s)://HOST[:PORT]/PATH [default: nowhere].
        #[arg(long, env = "RINGCAST_MASTER_WEBHOOK_ENDPOINT", hide_env_values = true)]
        webhook_endpoint: HookUrl;
        /// Sign webhook requests with this (Ringcast-Signature).
        #[arg(long, env = "RINGCAST_MASTER_WEBHOOK_SIGNATURE_SECRET", hide_env_values = true, value_parser = secret)]
        webhook_signature_secret: Secret;
        /// PEM file of the authorities that vouch for the webhook's server [default: those that this machine trusts].
        #[arg(long, env = "RINGCAST_MASTER_WEBHOOK_CA")]
        webhook_ca: PathBuf;
        /// The directory of call detail records [default: none are written].
        #[arg(long, env = "RINGCAST_MASTER_CDR_PATH")]
        cdr_path: PathBuf;
        /// A file for the lines that say who changed what, one JSON object each, besides the log [default: none].
        #[arg(long, env = "RINGCAST_MASTER_AUDIT_PATH")]
        audit_path: PathBuf;
        /// The password of OPENVIDUAPP before the present one: both are right while applications change over.
        #[arg(long, env = "RINGCAST_MASTER_SECRET_PREVIOUS", hide_env_values = true, value_parser = secret)]
        secret_previous: Secret;
        /// PEM file of the certificate chain [default: self-signed, in the data directory].
        #[arg(long, env = "RINGCAST_MASTER_CERTIFICATE")]
        certificate: PathBuf;
        /// PEM file of the certificate's key.
        #[arg(long, env = "RINGCAST_MASTER_PRIVATE_KEY")]
        private_key: PathBuf;
        /// How clients reach the master, https://HOST[:PORT] [default: as each request says].
        #[arg(long, env = "RINGCAST_MASTER_PUBLIC_URL")]
        public_url: String;
        /// A Prometheus server, http(s)://HOST[:PORT], that is asked for the nodes' metrics [default: the nodes are asked].
        #[arg(long, env = "RINGCAST_MASTER_PROMETHEUS_URL", hide_env_values = true)]
        prometheus_url: String;
        /// The published openvidu-browser file (minified) for the page at /.
        #[arg(long, env = "RINGCAST_MASTER_CLIENT_PACKAGE")]
        client_package: PathBuf;
    }
}
