//! What the node is told at its start: one TOML file, overridden key by key by the environment and by flags.
//!
//! Everything is parsed once into [`Config`]; an unknown key is an error, units stand in the value (`"250ms"`, `"64MiB"`),
//! and every limit has a hard bound.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use toml::{Table, Value};

mod addresses;
mod layers;
mod limits;
mod sources;
mod span;

pub use layers::{ENVIRONMENT_PREFIX, from_environment, misspelt, overlay, variable};
pub use limits::{BitRate, LimitsSection};
pub use sources::{Sources, leaves};
pub use span::Span;

/// The hard bound on workers.
pub const WORKERS_MAX: u16 = 256;
/// The hard bound on transports of one worker.
pub const TRANSPORTS_MAX: u32 = 65_536;
/// The hard bound on a worker's receive memory.
pub const ARENA_MAX: u64 = 16 << 30;
/// The least receive memory with which a worker can work.
pub const ARENA_MIN: u64 = 4 << 20;
/// The hard bound on packets that are kept for one encoding: a second of a few Mbit/s, and the cache keeps no longer.
pub const CACHE_PACKETS_MAX: usize = 512;
/// The hard bound on padding of one packet: more would cost more than a send saves.
pub const PADDING_MAX: u8 = 32;
/// The hard bound on waiting for the rest of a picture: more would be seen.
pub const GATHER_MAX: Duration = Duration::from_millis(5);
/// The hard bound on waiting for calls to end.
pub const DRAIN_MAX: Duration = Duration::from_secs(7 * 24 * 3600);
/// The port of the admin endpoint, unless another is configured.
pub const ADMIN_PORT: u16 = 9090;
/// The hard bounds on the queues of a socket in the kernel.
pub const SOCKET_BUFFER: (u64, u64) = (64 << 10, 1 << 30);

/// What is wrong with a configuration, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file can't be read.
    #[error("read the configuration {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is no TOML.
    #[error("the configuration {} is no TOML: {source}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: Box<toml::de::Error>,
    },
    /// A key is unknown or a value has the wrong form.
    #[error("configuration: {0}")]
    Value(String),
    /// Any of the above, with where it stands.
    #[error("configuration {0}")]
    Placed(String),
    /// A value is out of bounds, or values don't fit together.
    #[error("configuration: {key}: {why}")]
    Bounds {
        /// The key.
        key: &'static str,
        /// What is wrong and how to mend it.
        why: String,
    },
}

/// The node's configuration. Immutable after the start.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The node's id; its certificate must name the same. The host's name if empty.
    pub node_id: String,
    /// Where the master finds us.
    pub link: Link,
    /// Where browsers find us, and with how much.
    pub media: Media,
    /// How packets are handled.
    pub engine: Engine,
    /// How much is taken at most.
    pub limits: LimitsSection,
    /// Where operators find us.
    pub admin: Admin,
    /// What is written to standard error.
    pub log: Log,
    /// How the node ends.
    pub shutdown: Shutdown,
    /// Switches for tests.
    pub faults: Faults,
}

/// The link to the master.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Link {
    /// Where the master dials us (UDP).
    pub listen: SocketAddr,
    /// The directory with `ca.pem`, `NODE_ID.pem` and `NODE_ID.key`, unless they are named one by one.
    pub pki: PathBuf,
    /// The authority's certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
    /// Our certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate: Option<PathBuf>,
    /// Its key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<PathBuf>,
}

/// Media.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Media {
    /// The addresses to bind, one IPv4 and one IPv6 at most. A host without IPv6 does without the latter.
    pub bind: Vec<IpAddr>,
    /// Worker 0's UDP port; worker *i* has `base_port + i`.
    pub base_port: u16,
    /// The addresses that browsers are told, best first. Empty: `bind`, or what the host has.
    pub advertise: Vec<IpAddr>,
    /// The port that browsers are told for worker 0, where something in front of us maps ports.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advertised_base_port: Option<u16>,
    /// Packet workers; 0 for one per core.
    pub workers: u16,
    /// Whether each worker keeps to a core of its own.
    pub pin: bool,
    /// How packets get in and out.
    pub driver: Driver,
    /// Most transports of one worker.
    pub transports_max: u32,
    /// Transports of one session on one worker; with so many, its further users go to other workers.
    pub session_worker_transports: u32,
    /// Receive memory of one worker.
    pub arena: Bytes,
    /// Send memory of one worker.
    pub bursts: Bytes,
    /// Most packets that are kept for one encoding, for retransmission.
    pub cache_packets_max: usize,
    /// Receive queue of each socket, in the kernel.
    pub receive_buffer: Bytes,
    /// Send queue of each socket, in the kernel.
    pub send_buffer: Bytes,
    /// Whether each peer gets sends of up to 4 KiB by a socket of its own, which is cheaper (io_uring only; it receives nothing
    /// and opens no port). A peer's socket is a kernel object of about 2.5 KiB.
    pub peer_sockets: bool,
    /// How long after the last send of up to 4 KiB to a peer its own socket is used; later it has left the processor's caches, and
    /// the common socket costs less.
    pub peer_socket_idle: Span,
    /// How long the first packets of a picture may wait for the rest on a worker with little to do, so that they leave together;
    /// zero for never.
    pub gather: Span,
}

/// How packets get in and out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Driver {
    /// io_uring if the host allows it.
    #[default]
    Auto,
    /// io_uring or nothing.
    Uring,
    /// recvmmsg and sendmmsg.
    Mmsg,
}

/// How packets are handled.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Engine {
    /// By how many bytes a packet of a picture may be padded to become equal to its neighbours, so that they leave in one
    /// send; 0 for never. Browsers cut pictures into packets that differ by one byte.
    pub padding_max: u8,
    /// Whether subscribers of simulcast get the encodings that fit on the way to them, as their browsers' transport-wide feedback
    /// tells it.
    pub congestion_control: bool,
    /// Whether pictures leave evenly where that is known, and probes are sent to find out whether more fits.
    pub pacing: bool,
    /// How much longer pictures may be held back at most where packets get lost, so that repetitions come in time and the picture
    /// does not stop; 0 for never. Browsers delay sound with it.
    pub playout_delay_max: Span,
    /// Whether others get lower encodings of simulcast when their browsers estimate that the way to them carries no more
    /// (REMB). Off by default: Chromium's first estimates are far below what the way carries.
    pub follow_remb: bool,
}

/// How much detail `/metrics` has.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Deserialize,
    Serialize,
    clap::ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub enum MetricsLevel {
    /// Without details by worker, and of stages only their time: at most 300 series. For clusters of thousands of nodes.
    Basic,
    /// Everything: at most 2000 series.
    #[default]
    Full,
}

/// The admin endpoint.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Admin {
    /// Where `/metrics`, `/healthz/live`, `/healthz/ready` and `/debug` are served (TCP). The master reads `/metrics` in order to
    /// place sessions, so by default it is the address on which it dials us, port 9090.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listen: Option<SocketAddr>,
    /// Whether everybody may ask. Otherwise only this host, private networks (RFC 1918, RFC 4193, link-local) and the connected
    /// master; and `/debug` is for this host alone, always.
    pub open: bool,
    /// How much detail `/metrics` has. What rules, alerts and the master ask for is there at either level.
    pub metrics: MetricsLevel,
    /// The Unix socket by which `ringcast-node capture` and `transports` ask. Our own user and root may connect. Without it nobody can
    /// look into packets; systemd's `RUNTIME_DIRECTORY` makes it `admin.socket` there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub socket: Option<PathBuf>,
}

/// What is written to standard error.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// `error`, `warn`, `info`, `debug`, `trace`, or directives like `info,link=debug`.
    pub level: String,
    /// For people or for machines.
    pub format: LogFormat,
}

/// How the node ends.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Shutdown {
    /// How long calls may go on after SIGTERM; then they are closed. Zero: they are closed at once. A service manager must have more
    /// patience than that (systemd: `TimeoutStopSec`, 90 s by default), or it kills the node before.
    pub drain: Span,
}

/// The form of a log line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// One line of words.
    #[default]
    Text,
    /// One JSON object.
    Json,
}

/// Switches that only tests need.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Faults {
    /// Drop every RTP packet after authentication.
    pub drop_rtp: bool,
    /// Ask for and answer retransmissions.
    pub nack: bool,
}

impl Default for Link {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 7443)),
            pki: PathBuf::from("pki"),
            ca: None,
            certificate: None,
            key: None,
        }
    }
}

impl Default for Media {
    fn default() -> Self {
        Self {
            bind: vec![Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()],
            base_port: 20_000,
            advertise: Vec::new(),
            advertised_base_port: None,
            workers: 0,
            pin: true,
            driver: Driver::Auto,
            transports_max: 4_000,
            session_worker_transports: 1_000,
            arena: Bytes(64 << 20),
            bursts: Bytes(16 << 20),
            cache_packets_max: 512,
            receive_buffer: Bytes(4 << 20),
            send_buffer: Bytes(4 << 20),
            peer_sockets: true,
            peer_socket_idle: Span(Duration::from_millis(2)),
            gather: Span(Duration::ZERO),
        }
    }
}

impl Default for Engine {
    fn default() -> Self {
        Self {
            padding_max: 1,
            congestion_control: true,
            pacing: true,
            playout_delay_max: Span(Duration::from_millis(200)),
            follow_remb: false,
        }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self {
            level: "info".into(),
            format: LogFormat::Text,
        }
    }
}

impl Default for Shutdown {
    fn default() -> Self {
        Self {
            drain: Span(Duration::from_secs(60)),
        }
    }
}

impl Default for Faults {
    fn default() -> Self {
        Self {
            drop_rtp: false,
            nack: true,
        }
    }
}

impl Config {
    /// Reads `file`, lays `overrides` over it, fills in what depends on the host, and checks bounds.
    ///
    /// # Errors
    ///
    /// [`Error`] names the key and what is wrong with it.
    pub fn load(file: Option<&Path>, overrides: Table) -> Result<Self, Error> {
        let mut table = match file {
            Some(path) => read(path)?,
            None => Table::new(),
        };
        overlay(&mut table, overrides);
        let config = parse(table)?.resolved();
        match config.mistakes().into_iter().next() {
            Some(mistake) => Err(mistake),
            None => Ok(config),
        }
    }

    /// The configuration in effect, as TOML.
    pub fn to_toml(&self) -> String {
        toml::to_string_pretty(self).expect("a configuration is made of strings, numbers and lists")
    }

    /// The authority's certificate, ours, and its key.
    pub fn pki_files(&self) -> (PathBuf, PathBuf, PathBuf) {
        let link = &self.link;
        let or = |named: &Option<PathBuf>, default: String| {
            named.clone().unwrap_or_else(|| link.pki.join(default))
        };
        (
            or(&link.ca, link::pki::CA_CERTIFICATE_FILE.into()),
            or(&link.certificate, format!("{}.pem", self.node_id)),
            or(&link.key, format!("{}.key", self.node_id)),
        )
    }

    /// Where operators, Prometheus and the master find us.
    pub fn admin_listen(&self) -> SocketAddr {
        let default = SocketAddr::new(self.link.listen.ip(), ADMIN_PORT);
        self.admin.listen.unwrap_or(default)
    }

    /// Where browsers reach `worker`, best first.
    pub fn advertised(&self, worker: u16) -> Vec<SocketAddr> {
        let base = self
            .media
            .advertised_base_port
            .unwrap_or(self.media.base_port);
        let port = base.saturating_add(worker);
        let addresses = self.media.advertise.iter();
        addresses.map(|ip| SocketAddr::new(*ip, port)).collect()
    }

    /// What `worker` listens on.
    pub fn listeners(&self, worker: u16) -> Vec<SocketAddr> {
        let port = self.media.base_port.saturating_add(worker);
        self.media
            .bind
            .iter()
            .map(|ip| SocketAddr::new(*ip, port))
            .collect()
    }

    /// Fills in what depends on the host.
    fn resolved(mut self) -> Self {
        if self.node_id.is_empty() {
            self.node_id = addresses::host_name();
        }
        self.admin.listen = Some(self.admin_listen());
        if self.admin.socket.is_none() {
            // systemd makes this directory for the unit. Whether others can write in it is looked at when the socket is made.
            let directories = std::env::var("RUNTIME_DIRECTORY").unwrap_or_default();
            let first = directories
                .split(':')
                .next()
                .filter(|path| !path.is_empty());
            self.admin.socket = first.map(|path| Path::new(path).join("admin.socket"));
        }
        if self.media.workers == 0 {
            let cores = std::thread::available_parallelism().map_or(1, usize::from);
            self.media.workers = u16::try_from(cores).unwrap_or(WORKERS_MAX).min(WORKERS_MAX);
        }
        if self.media.bind == Media::default().bind && !addresses::has_ipv6() {
            self.media.bind.retain(IpAddr::is_ipv4);
        }
        if self.media.advertise.is_empty() {
            self.media.advertise = addresses::to_advertise(&self.media.bind);
        }
        self
    }

    /// Everything that is wrong with it.
    fn mistakes(&self) -> Vec<Error> {
        let mut found = Vec::new();
        self.check_addresses(&mut found);
        self.check_limits(&mut found);
        self.limits.check(&mut found);
        if logs::check_level(&self.log.level).is_err() {
            let why = "error, warn, info, debug, trace, or directives like info,link=debug";
            bad(&mut found, "log.level", why.into());
        }
        if self.shutdown.drain.0 > DRAIN_MAX {
            let why = format!("at most {}", Span(DRAIN_MAX));
            bad(&mut found, "shutdown.drain", why);
        }
        found
    }

    fn check_addresses(&self, found: &mut Vec<Error>) {
        let media = &self.media;
        if media.bind.is_empty() {
            let why = "at least one address is needed, for example \"0.0.0.0\"";
            bad(found, "media.bind", why.into());
        }
        let too_many = |v4: bool| media.bind.iter().filter(|ip| ip.is_ipv4() == v4).count() > 1;
        if too_many(true) || too_many(false) {
            let why = "one IPv4 and one IPv6 address at most";
            bad(found, "media.bind", why.into());
        }
        if media.advertise.is_empty() && !media.bind.is_empty() {
            let why = "this host has no address but loopback ones; name the address that browsers can reach, \
                       for example --advertise 192.0.2.1 (or 127.0.0.1 for a test on this machine)";
            bad(found, "media.advertise", why.into());
        }
        if let Some(ip) = media.advertise.iter().find(|ip| ip.is_unspecified()) {
            let why = format!("{ip} is no address that a browser can reach");
            bad(found, "media.advertise", why);
        }
        if !self.node_id.is_ascii() || self.node_id.contains(['/', ' ']) {
            let why = "letters, digits, '-', '_' and '.' only, as it stands in a certificate";
            bad(found, "node_id", why.into());
        }
    }

    fn check_limits(&self, found: &mut Vec<Error>) {
        let media = &self.media;
        if media.workers > WORKERS_MAX {
            bad(found, "media.workers", format!("at most {WORKERS_MAX}"));
        }
        for (key, base) in [
            ("media.base_port", Some(media.base_port)),
            ("media.advertised_base_port", media.advertised_base_port),
        ] {
            let last = base.map(|base| base.checked_add(media.workers.saturating_sub(1)));
            if base == Some(0) || last == Some(None) {
                let why = format!(
                    "the ports of {} workers must lie within 1 to 65535",
                    media.workers
                );
                bad(found, key, why);
            }
        }
        if self.engine.padding_max > PADDING_MAX {
            let why = format!("0 to {PADDING_MAX} bytes");
            bad(found, "engine.padding_max", why);
        }
        for (key, transports) in [
            ("media.transports_max", media.transports_max),
            (
                "media.session_worker_transports",
                media.session_worker_transports,
            ),
        ] {
            if !(1..=TRANSPORTS_MAX).contains(&transports) {
                bad(found, key, format!("1 to {TRANSPORTS_MAX}"));
            }
        }
        if !(1..=CACHE_PACKETS_MAX).contains(&media.cache_packets_max) {
            let why = format!("1 to {CACHE_PACKETS_MAX}");
            bad(found, "media.cache_packets_max", why);
        }
        if media.gather.0 > GATHER_MAX {
            let why = format!("at most {}", Span(GATHER_MAX));
            bad(found, "media.gather", why);
        }
        for (key, bytes, (least, most)) in [
            ("media.arena", media.arena, (ARENA_MIN, ARENA_MAX)),
            ("media.bursts", media.bursts, (ARENA_MIN, ARENA_MAX)),
            ("media.receive_buffer", media.receive_buffer, SOCKET_BUFFER),
            ("media.send_buffer", media.send_buffer, SOCKET_BUFFER),
        ] {
            if !(least..=most).contains(&bytes.0) {
                let why = format!("{} to {} per worker", Bytes(least), Bytes(most));
                bad(found, key, why);
            }
        }
    }
}

fn bad(found: &mut Vec<Error>, key: &'static str, why: String) {
    found.push(Error::Bounds { key, why });
}

fn read(path: &Path) -> Result<Table, Error> {
    table(path, &read_text(path)?)
}

fn read_text(path: &Path) -> Result<String, Error> {
    std::fs::read_to_string(path).map_err(|source| Error::Read {
        path: path.to_owned(),
        source,
    })
}

fn table(path: &Path, text: &str) -> Result<Table, Error> {
    text.parse().map_err(|source| Error::Syntax {
        path: path.to_owned(),
        source: Box::new(source),
    })
}

fn parse(table: Table) -> Result<Config, Error> {
    let parsed: Result<Config, toml::de::Error> = Value::Table(table).try_into();
    parsed.map_err(|error| Error::Value(error.to_string().trim_end().to_owned()))
}

/// An amount of memory, written with its unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bytes(pub u64);

const UNITS: [(&str, u64); 4] = [
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("B", 1),
];

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let exact = UNITS.iter().find(|(_, size)| self.0.is_multiple_of(*size));
        let (unit, size) = exact.unwrap_or(&("B", 1));
        write!(f, "{}{unit}", self.0 / size)
    }
}

impl std::str::FromStr for Bytes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refused = || format!("{text:?} is no amount of memory, like \"64MiB\"");
        let found = UNITS
            .iter()
            .find_map(|(unit, size)| Some((text.strip_suffix(unit)?, size)));
        let (number, size) = found.ok_or_else(refused)?;
        let number: u64 = number.trim().parse().map_err(|_| refused())?;
        number.checked_mul(*size).map(Self).ok_or_else(refused)
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(de::Error::custom)
    }
}

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// How long the node takes at most to end in order.
pub const SHUTDOWN_PATIENCE: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str) -> Result<Config, Error> {
        Config::load(None, text.parse().expect("TOML"))
    }

    #[test]
    fn nothing_has_to_be_said() {
        let config = load("media.advertise = ['192.0.2.1']").expect("valid");
        assert!(!config.node_id.is_empty());
        assert!(config.media.workers >= 1);
        assert_eq!(config.media.base_port, 20_000);
        assert!(config.faults.nack && !config.faults.drop_rtp);
        assert_eq!(config.admin_listen().to_string(), "0.0.0.0:9090");
        let (ca, certificate, _) = config.pki_files();
        assert_eq!(ca, Path::new("pki/ca.pem"));
        assert_eq!(
            certificate,
            PathBuf::from(format!("pki/{}.pem", config.node_id))
        );
    }

    #[test]
    fn what_is_printed_can_be_read_back() {
        let config = load("media.advertise = ['192.0.2.1']\nmedia.arena = '8MiB'").expect("valid");
        let again = load(&config.to_toml()).expect("valid");
        assert_eq!(config, again);
        assert_eq!(again.media.arena, Bytes(8 << 20));
    }

    #[test]
    fn the_admin_endpoint_is_where_the_master_comes_unless_told() {
        let text = "media.advertise = ['192.0.2.1']\nlink.listen = '192.0.2.1:7443'";
        let listen = |text: &str| load(text).expect("valid").admin_listen().to_string();
        assert_eq!(listen(text), "192.0.2.1:9090");
        let other = format!("{text}\nadmin.listen = '127.0.0.1:9095'");
        assert_eq!(listen(&other), "127.0.0.1:9095");
    }

    #[test]
    fn workers_have_a_port_each() {
        let text = "media = { advertise = ['192.0.2.1', '2001:db8::1'], bind = ['0.0.0.0'], base_port = 100, \
                    advertised_base_port = 200, workers = 4 }";
        let config = load(text).expect("valid");
        let expected: Vec<SocketAddr> = ["192.0.2.1:203", "[2001:db8::1]:203"]
            .map(|text| text.parse().expect("an address"))
            .into();
        assert_eq!(config.advertised(3), expected);
        assert_eq!(
            config.listeners(3),
            ["0.0.0.0:103".parse().expect("an address")]
        );
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, expected) in [
            ("media.colour = 'red'", "colour"),
            ("media.arena = 64", "arena"),
            ("media.arena = '64 bananas'", "64 bananas"),
            ("media.arena = '64KiB'", "media.arena"),
            (
                "media.base_port = 65535\nmedia.workers = 2",
                "media.base_port",
            ),
            ("media.transports_max = 0", "media.transports_max"),
            (
                "media.session_worker_transports = 0",
                "media.session_worker_transports",
            ),
            ("media.cache_packets_max = 513", "media.cache_packets_max"),
            ("media.receive_buffer = '0B'", "media.receive_buffer"),
            ("media.send_buffer = '2GiB'", "media.send_buffer"),
            ("media.gather = '6ms'", "media.gather"),
            ("media.gather = 6", "gather"),
            ("log.level = 'info,link=loud'", "log.level"),
            ("shutdown.drain = '8days'", "shutdown.drain"),
            ("shutdown.drain = 60", "drain"),
            (
                "limits.packets_per_second = 10",
                "limits.packets_per_second",
            ),
            ("limits.bits_per_second = 1000000", "bits_per_second"),
            ("limits.memory = '1MiB'", "limits.memory"),
            ("limits.transports = 1", "transports"),
            ("media.bind = []", "media.bind"),
            ("media.bind = ['0.0.0.0', '127.0.0.1']", "media.bind"),
            ("media.advertise = ['0.0.0.0']", "media.advertise"),
            ("node_id = '../etc'", "node_id"),
        ] {
            let error = load(text).expect_err(text).to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn memory_has_units() {
        assert_eq!("3GiB".parse(), Ok(Bytes(3 << 30)));
        assert_eq!(Bytes(1536).to_string(), "1536B");
        assert_eq!(Bytes(2048).to_string(), "2KiB");
        assert!("99999999999GiB".parse::<Bytes>().is_err());
    }
}
