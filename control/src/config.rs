//! What the master is told at its start: defaults, then the file, then the environment, then flags.

pub mod environment;
mod events;
pub mod openvidu;
mod settings;
mod values;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hyper::Uri;
use scheduler::{Fit, Policy, UnknownStrategy};

use crate::domain::{Bounds, VideoBandwidth};

pub use self::environment::Environment;
pub use self::settings::{Config, Settings};
pub use self::values::{LogFormat, MediaServer, NodeConfig, Patience, Secret, parse_node};

/// The shortest time that OpenVidu gives a crashed node to come back.
const NODE_RECONNECTION_MIN: Duration = Duration::from_secs(3);

/// Most media nodes of one master.
pub const NODES_MAX: usize = 10_000;

/// How full nodes may be that are filled one after the other.
const BEST_FIT_BELOW: f64 = 0.7;

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
        let by_openvidu = openvidu::settings(env)?;
        // Where OpenVidu's name is set it is the deployment's own word on that: nothing of ours goes over it.
        let strategy = by_openvidu.load_strategy.clone();
        let mut settings = flags.over(by_openvidu).over(file);
        settings.load_strategy = strategy.or(settings.load_strategy);
        settings.checked()
    }

    /// How much video there may be of one stream, where its connection does not say.
    pub fn video_bandwidth(&self) -> VideoBandwidth {
        VideoBandwidth {
            max_recv: self.video_max_recv_bandwidth,
            min_recv: self.video_min_recv_bandwidth,
            max_send: self.video_max_send_bandwidth,
            min_send: self.video_min_send_bandwidth,
        }
    }

    /// How much there may be of everything.
    pub fn bounds(&self) -> Bounds {
        Bounds {
            sessions: self.sessions_max,
            connections: self.session_connections_max,
            streams: self.session_streams_max,
            subscriptions: self.connection_subscriptions_max,
            pending: self.session_tokens_max,
        }
    }

    /// The scheme of our own URLs.
    pub fn scheme(&self) -> &'static str {
        match self.plain_http {
            true => "http",
            false => "https",
        }
    }
}

impl Settings {
    fn checked(self) -> Result<Config, Error> {
        let mut config = self.complete();
        if config.pki_dir.as_os_str().is_empty() {
            config.pki_dir = config.data_dir.join("pki");
        }
        config.check()?;
        Ok(config)
    }
}

impl Config {
    fn check(&self) -> Result<(), Error> {
        if self.secret.expose().is_empty() {
            return Err(value("secret", "is not set (OPENVIDU_SECRET, --secret)"));
        }
        if let Some(previous) = &self.secret_previous
            && previous.expose().is_empty()
        {
            return Err(value("secret_previous", "is empty: leave it out"));
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
            ("load_interval", self.load_interval, 1, 60),
            // Clients give up after ten seconds.
            ("node_answer_timeout", self.node_answer_timeout, 1, 9),
        ];
        for (key, duration, least, most) in bounds {
            if duration < Duration::from_secs(least) || duration > Duration::from_secs(most) {
                return Err(value(key, format!("must be between {least}s and {most}s")));
            }
        }
        if self
            .node_reconnection_timeout
            .limit()
            .is_some_and(|limit| limit < NODE_RECONNECTION_MIN)
        {
            return Err(value(
                "node_reconnection_timeout",
                "must be at least 3s, or forever",
            ));
        }
        self.check_events()?;
        self.placement()?;
        if self.load_stale_after < 2 || self.load_excluded_after <= self.load_stale_after {
            let why = "must be at least 2, and less than load_excluded_after";
            return Err(value("load_stale_after", why));
        }
        if let Some(url) = &self.prometheus_url {
            check_http_url("prometheus_url", url)?;
        }
        self.check_nodes()
    }

    /// By what sessions are placed.
    ///
    /// # Errors
    /// [`Error::Value`] for words that mean nothing.
    pub fn placement(&self) -> Result<Policy, Error> {
        let strategy = self.load_strategy.parse();
        let strategy =
            strategy.map_err(|error: UnknownStrategy| value("load_strategy", error.to_string()))?;
        let fit = match self.load_fit.as_str() {
            "twoChoices" => Fit::TwoChoices,
            "bestFit" => Fit::BestFit {
                below: BEST_FIT_BELOW,
            },
            other => {
                let why = format!("'{other}' is not twoChoices or bestFit");
                return Err(value("load_fit", why));
            }
        };
        Ok(Policy {
            strategy,
            fit,
            stale_after: self.load_interval * self.load_stale_after,
            excluded_after: self.load_interval * self.load_excluded_after,
            may_place_blind: !self.load_required,
            ..Policy::default()
        })
    }

    fn check_nodes(&self) -> Result<(), Error> {
        if self.nodes.len() > NODES_MAX {
            return Err(value("nodes", format!("more than {NODES_MAX}")));
        }
        let mut seen = BTreeSet::new();
        for node in &self.nodes {
            node.address()?;
            if let Some(url) = &node.metrics {
                check_http_url(&format!("nodes.{}.metrics", node.id), url)?;
            }
            if !seen.insert(&node.id) {
                return Err(value("nodes", format!("'{}' is there twice", node.id)));
            }
        }
        Ok(())
    }
}

fn check_http_url(key: &str, url: &str) -> Result<(), Error> {
    let parsed = url.parse::<Uri>().ok();
    let usable = parsed.is_some_and(|uri| {
        matches!(uri.scheme_str(), Some("http" | "https"))
            && uri.host().is_some()
            && uri.query().is_none()
    });
    match usable {
        true => Ok(()),
        false => Err(value(
            key,
            format!("'{url}' is not http(s)://HOST[:PORT][/PATH]"),
        )),
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
            ("secret = 's'\nload_strategy = 'random'", "mediaObjects"),
            ("secret = 's'\nload_fit = 'worst'", "bestFit"),
            ("secret = 's'\nload_interval = '100ms'", "load_interval"),
            ("secret = 's'\nload_excluded_after = 3", "load_stale_after"),
            (
                "secret = 's'\nprometheus_url = 'prometheus:9090'",
                "prometheus",
            ),
            (
                "secret = 's'\n[[nodes]]\nid='a'\nuri='quic://127.0.0.1:1'\nmetrics='127.0.0.1:2'",
                "nodes.a.metrics",
            ),
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
    fn the_name_that_openvidu_gives_the_strategy_wins_over_the_file() {
        let file = "secret = 's'\nload_strategy = 'sessions'";
        let strategy = |env: &[(&str, &str)]| {
            let config = load(file, env).expect("good");
            config.placement().expect("good").strategy.as_str()
        };
        assert_eq!(strategy(&[]), "sessions");
        let name = "OPENVIDU_PRO_CLUSTER_LOAD_STRATEGY";
        assert_eq!(strategy(&[(name, "streams")]), "streams");
        assert_eq!(strategy(&[(name, "")]), "sessions");
        assert!(load(file, &[(name, "luck")]).is_err());
        let default = load("secret = 's'", &[]).expect("good");
        assert_eq!(default.placement().expect("good"), Policy::default());
    }

    #[test]
    fn the_name_that_openvidu_gives_the_strategy_wins_over_flags() {
        let strategy = |set: Option<&str>| {
            let flags = toml::from_str("secret = 's'\nload_strategy = 'sessions'");
            let name = "OPENVIDU_PRO_CLUSTER_LOAD_STRATEGY";
            let env = |asked: &str| set.filter(|_| asked == name).map(str::to_owned);
            let config = Config::load(None, flags.expect("good"), env).expect("good");
            config.load_strategy
        };
        assert_eq!(strategy(None), "sessions");
        assert_eq!(strategy(Some("streams")), "streams");
        assert_eq!(strategy(Some("")), "sessions");
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
