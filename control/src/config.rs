//! What the master is told at its start: defaults, then the file, then the environment, then flags.

pub mod environment;
mod events;
pub mod openvidu;
mod places;
mod reload;
mod settings;
mod sources;
mod values;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hyper::Uri;
use scheduler::{Fit, Policy, UnknownStrategy};
use toml::{Table, Value};

use crate::domain::{Bounds, VideoBandwidth};

pub use self::environment::Environment;
pub use self::reload::Merged;
pub use self::settings::{Config, Settings};
pub use self::sources::Sources;
use self::values::quoted;
pub use self::values::{HookUrl, LogFormat, MediaServer, NodeConfig, Patience, Secret, parse_node};

/// The shortest time that OpenVidu gives a crashed node to come back.
const NODE_RECONNECTION_MIN: Duration = Duration::from_secs(3);

/// Most media nodes of one master.
pub const NODES_MAX: usize = 10_000;

/// How full nodes may be that are filled one after the other.
const BEST_FIT_BELOW: f64 = 0.7;

/// The keys whose values may be secrets.
const CONFIDENTIAL: [&str; 5] = [
    "secret",
    "secret_previous",
    "ice_servers",
    "webhook_headers",
    "webhook_signature_secret",
];

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
    /// The file is not what we understand: syntax, an unknown key, a wrong type. What stands there is not shown: it may be a secret.
    #[error("configuration {}, line {line}: {why}", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// Where.
        line: usize,
        /// Why.
        why: String,
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
        layered(flags, by_openvidu, file).checked()
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
        let config = self.filled();
        match config.mistakes().into_iter().next() {
            Some(mistake) => Err(mistake),
            None => Ok(config),
        }
    }

    fn filled(self) -> Config {
        let mut config = self.complete();
        if config.pki_dir.as_os_str().is_empty() {
            config.pki_dir = config.data_dir.join("pki");
        }
        config
    }
}

impl Config {
    /// Everything that is wrong with it.
    pub(crate) fn mistakes(&self) -> Vec<Error> {
        let mut found = Vec::new();
        self.check_identity(&mut found);
        self.check_times(&mut found);
        let mut note = |result: Result<(), Error>| found.extend(result.err());
        if !crate::api::rest::is_video_codec(&self.forced_video_codec) {
            let why = format!("'{}' is not a codec", self.forced_video_codec);
            note(Err(value("forced_video_codec", why)));
        }
        for server in &self.ice_servers {
            note(server.check().map_err(|why| value("ice_servers", why)));
        }
        if logs::check_level(&self.log_level).is_err() {
            let why = format!(
                "'{}' is not error, warn, info, debug, trace, or directives like info,control=debug",
                self.log_level
            );
            note(Err(value("log_level", why)));
        }
        note(self.placement().map(drop));
        if self.load_stale_after < 2 || self.load_excluded_after <= self.load_stale_after {
            let why = "must be at least 2, and less than load_excluded_after";
            note(Err(value("load_stale_after", why)));
        }
        if let Some(url) = &self.prometheus_url {
            note(check_http_url("prometheus_url", url));
        }
        self.check_events(&mut found);
        self.check_nodes(&mut found);
        found
    }

    fn check_identity(&self, found: &mut Vec<Error>) {
        if self.secret.expose().is_empty() {
            found.push(value(
                "secret",
                "is not set (OPENVIDU_SECRET, --secret, or secret in the file that --config names)",
            ));
        }
        if let Some(previous) = &self.secret_previous
            && previous.expose().is_empty()
        {
            found.push(value("secret_previous", "is empty: leave it out"));
        }
        if self.certificate.is_some() != self.private_key.is_some() {
            let why = "certificate and private_key go together";
            found.push(value("certificate", why));
        }
        if let Some(url) = &self.public_url
            && (url.contains('@') || crate::api::urls::host_of(url).is_none())
        {
            let why = format!("{} is not http(s)://HOST[:PORT]", quoted(url));
            found.push(value("public_url", why));
        }
    }

    fn check_times(&self, found: &mut Vec<Error>) {
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
            ("shutdown_deadline", self.shutdown_deadline, 0, 3600),
        ];
        for (key, duration, least, most) in bounds {
            if duration < Duration::from_secs(least) || duration > Duration::from_secs(most) {
                let why = format!("must be between {least}s and {most}s");
                found.push(value(key, why));
            }
        }
        let reconnection = self.node_reconnection_timeout.limit();
        if reconnection.is_some_and(|limit| limit < NODE_RECONNECTION_MIN) {
            let why = "must be at least 3s, or forever";
            found.push(value("node_reconnection_timeout", why));
        }
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
            "least" => Fit::Least,
            "twoChoices" => Fit::TwoChoices,
            "bestFit" => Fit::BestFit {
                below: BEST_FIT_BELOW,
            },
            other => {
                let why = format!("'{other}' is not least, twoChoices or bestFit");
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

    fn check_nodes(&self, found: &mut Vec<Error>) {
        if self.nodes.len() > NODES_MAX {
            found.push(value("nodes", format!("more than {NODES_MAX}")));
        }
        let mut seen = BTreeSet::new();
        for node in &self.nodes {
            found.extend(node.address().err());
            if let Some(url) = &node.metrics {
                found.extend(check_http_url(&format!("nodes.{}.metrics", node.id), url).err());
            }
            if !seen.insert(&node.id) {
                found.push(value("nodes", format!("'{}' is there twice", node.id)));
            }
        }
    }
}

fn check_http_url(key: &str, url: &str) -> Result<(), Error> {
    let parsed = url.parse::<Uri>().ok();
    let usable = parsed.is_some_and(|uri| {
        matches!(uri.scheme_str(), Some("http" | "https"))
            && uri.host().is_some()
            && uri.query().is_none()
            && !url.contains('@')
    });
    let form = "is not http(s)://HOST[:PORT][/PATH], without a name and a password";
    match usable {
        true => Ok(()),
        false => Err(value(key, format!("{} {form}", quoted(url)))),
    }
}

/// One layer over the other.
fn layered(flags: Settings, by_openvidu: Settings, file: Settings) -> Settings {
    // Where OpenVidu's name is set it is the deployment's own word on that: nothing of ours goes over it.
    let strategy = by_openvidu.load_strategy.clone();
    let mut settings = flags.over(by_openvidu).over(file);
    settings.load_strategy = strategy.or(settings.load_strategy);
    settings
}

/// The file, if nothing is wrong with it.
fn read(path: &Path) -> Result<Settings, Error> {
    let (settings, mistakes) = read_all(path)?;
    match mistakes.into_iter().next() {
        Some(mistake) => Err(mistake),
        None => Ok(settings),
    }
}

/// What of the file can be understood, and everything that can't.
fn read_all(path: &Path) -> Result<(Settings, Vec<Error>), Error> {
    let text = std::fs::read_to_string(path).map_err(|source| Error::Read {
        path: path.to_owned(),
        source,
    })?;
    Ok(understood(path, &text))
}

/// Each key by itself, so that one that can't be read hides no other.
fn understood(path: &Path, text: &str) -> (Settings, Vec<Error>) {
    let parse = |line, why| Error::Parse {
        path: path.to_owned(),
        line,
        why,
    };
    let table: Table = match text.parse() {
        Ok(table) => table,
        Err(error) => {
            let error: toml::de::Error = error;
            let before = error.span().and_then(|span| text.get(..span.start));
            let line = before.map_or(1, |before| before.matches('\n').count() + 1);
            return (
                Settings::default(),
                vec![parse(line, error.message().to_owned())],
            );
        }
    };
    let (mut good, mut mistakes) = (Table::new(), Vec::new());
    for (key, value) in table {
        let alone = Table::from_iter([(key.clone(), value.clone())]);
        let parsed: Result<Settings, toml::de::Error> = Value::Table(alone).try_into();
        match parsed {
            Ok(_) => drop(good.insert(key, value)),
            Err(error) => {
                let why = format!("{key}: {}", why_not(&key, &error));
                mistakes.push(parse(line_of(text, &key), why));
            }
        }
    }
    // Each of them was good.
    (Value::Table(good).try_into().unwrap_or_default(), mistakes)
}

/// Why a key can't be read. Of what may be a secret the value is not shown, but names of fields are.
fn why_not(key: &str, error: &toml::de::Error) -> String {
    if !Settings::NAMES.contains(&key) {
        let nearest = environment::meant(Settings::NAMES.iter().copied(), key);
        return format!("there is no such key{nearest}");
    }
    let of_fields = ["unknown field", "missing field"];
    let message = error.message();
    match key {
        "ice_servers" if of_fields.iter().any(|one| message.starts_with(one)) => message.to_owned(),
        "ice_servers" => {
            "each is a table of its own, [[ice_servers]], with texts in quotes".to_owned()
        }
        "webhook_headers" => "must be a list of texts in quotes, [\"Name: value\"]".to_owned(),
        _ if CONFIDENTIAL.contains(&key) => "must be a text in quotes".to_owned(),
        _ => message.to_owned(),
    }
}

/// The line where a key stands.
fn line_of(text: &str, key: &str) -> usize {
    let is_it = |line: &str| {
        let line = line.trim_start().trim_start_matches('[');
        let rest = line.strip_prefix(key).map(str::trim_start);
        rest.is_some_and(|rest| rest.starts_with(['=', '.', ']']))
    };
    text.lines().position(is_it).map_or(1, |line| line + 1)
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
        let (file, mistakes) = understood(Path::new("test"), toml);
        if let Some(mistake) = mistakes.into_iter().next() {
            return Err(mistake);
        }
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
            ("secret = 's'\nlog_level = 'info,link=loud'", "log_level"),
            (
                "secret = 's'\nshutdown_deadline = '2h'",
                "shutdown_deadline",
            ),
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
    fn a_mistake_shows_no_secret() {
        for toml in [
            "secret = hush-hush",
            "secret = 'hush-hush\nlisten = 5",
            "secret = ['hush-hush']",
            "secret = { is = 'hush-hush' }",
            "webhook_headers = 'Authorization: hush-hush'",
            "webhook_signature_secret = ['hush-hush']",
            "[[ice_servers]]\nurl = 5\ncredential = 'hush-hush'",
        ] {
            let toml = format!("plain_http = true\n{toml}");
            let error = load(&toml, &[]).expect_err(&toml).to_string();
            assert!(!error.contains("hush-hush"), "{error}");
            assert!(error.contains("test, line 2: "), "{error}");
        }
        for toml in [
            "prometheus_url = 'http://u:hush-hush@prometheus:9090'",
            "prometheus_url = 'prom:hush-hush@prometheus:9090'",
            "prometheus_url = 'http://prometheus:9090/?key=hush-hush'",
            "public_url = 'https://u:hush-hush@call.example'",
            "[[nodes]]\nid = 'a'\nuri = 'quic://127.0.0.1:1'\nmetrics = 'http://u:hush-hush@h:1'",
        ] {
            let error = load(&format!("secret = 's'\n{toml}"), &[]).expect_err(toml);
            let error = error.to_string();
            assert!(
                error.contains("http(s)://HOST[:PORT]") && !error.contains("hush-hush"),
                "{error}"
            );
        }
        let typo = load("secret = 's'\n\nsesions_max = 5", &[]).expect_err("unknown");
        let expected = "configuration test, line 3: sesions_max: there is no such key; did you mean sessions_max?";
        assert_eq!(typo.to_string(), expected);
        for (toml, says) in [
            ("foo = 1", "foo: there is no such key"),
            ("secret = 12345678", "secret: must be a text in quotes"),
            (
                "[[ice_servers]]\nurl = 'turn:h'\nfoo = 'x'",
                "unknown field `foo`",
            ),
        ] {
            let error = load(toml, &[]).expect_err(toml).to_string();
            assert!(error.contains(says), "{error}");
            assert!(
                !error.contains("did you mean"),
                "nothing is like it: {error}"
            );
        }
    }

    #[test]
    fn the_secret_is_not_printed() {
        let turn = "[[ice_servers]]\nurl = 'turn:h'\nstatic_auth_secret = 'hush-hush'";
        let text = format!(
            "secret = 'hush-hush'\n{}",
            turn.replace("static_auth_secret", "staticAuthSecret")
        );
        let text = format!("webhook_endpoint = 'https://app.example/hook?key=hush-hush'\n{text}");
        let config = load(&text, &[]).expect("good");
        let printed = toml::to_string(&config).expect("printable");
        assert!(!printed.contains("hush-hush") && printed.contains("app.example/hook?***"));
        assert!(!format!("{config:?}").contains("hush-hush"));
    }
}
