//! The types that keys have, and how they are read and printed.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Error, value};
use crate::domain::{IceServer, NodeId};

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

/// How long somebody is waited for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Patience {
    /// Without end.
    #[default]
    Forever,
    /// For so long.
    For(Duration),
}

impl Patience {
    /// The word for no end.
    const FOREVER: &str = "forever";

    /// When it is over; none: never.
    pub fn limit(self) -> Option<Duration> {
        match self {
            Self::Forever => None,
            Self::For(length) => Some(length),
        }
    }
}

impl std::str::FromStr for Patience {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            Self::FOREVER => Ok(Self::Forever),
            _ => parse_duration(text).map(Self::For),
        }
    }
}

impl<'de> Deserialize<'de> for Patience {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl Serialize for Patience {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Forever => serializer.serialize_str(Self::FOREVER),
            Self::For(length) => serializer.collect_str(&humantime::format_duration(*length)),
        }
    }
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

/// A URL whose query is never printed: keys stand there.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct HookUrl(String);

impl HookUrl {
    /// The whole of it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for HookUrl {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Display for HookUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.split_once('?') {
            Some((before, _)) => write!(f, "{before}?***"),
            None => f.write_str(&self.0),
        }
    }
}

impl fmt::Debug for HookUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for HookUrl {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
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
    /// Where its metrics are, `http://HOST:PORT[/PATH]`, if not where it says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metrics: Option<String>,
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

/// Credentials and secrets are not printed.
pub fn without_credentials<S: serde::Serializer>(
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

/// Of headers only the names are printed.
pub fn without_values<S: serde::Serializer>(
    headers: &[String],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let names = headers.iter().map(|header| {
        let name = header.split_once(':').map_or("", |(name, _)| name);
        format!("{name}: ***")
    });
    serializer.collect_seq(names)
}

/// What is no URL, for the text that says so. It may be anything: where a password may be in it, it is not printed.
pub fn quoted(url: &str) -> String {
    match url.contains(['@', '?']) {
        true => "it".to_owned(),
        false => format!("'{url}'"),
    }
}

/// A secret of the command line.
pub fn secret(text: &str) -> Result<Secret, String> {
    Ok(Secret::new(text))
}

/// A length of time with its unit: `250ms`, `1m 30s`.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|error| error.to_string())
}

/// So many seconds.
pub const fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// A node of the command line, `ID=quic://IP:PORT`.
pub fn parse_node(text: &str) -> Result<NodeConfig, String> {
    let (id, uri) = text
        .split_once('=')
        .ok_or_else(|| format!("'{text}' is not ID=quic://IP:PORT"))?;
    Ok(NodeConfig {
        id: NodeId::new(id),
        uri: uri.to_owned(),
        node_id: None,
        environment_id: None,
        metrics: None,
    })
}

/// How a duration is read and printed.
pub mod duration {
    use std::time::Duration;

    /// Prints it with its unit.
    pub fn serialize<S: serde::Serializer>(
        duration: &Duration,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&humantime::format_duration(*duration))
    }

    /// Reading one that may be missing.
    pub mod optional {
        use std::time::Duration;

        use serde::Deserialize as _;

        /// Reads it with its unit.
        pub fn deserialize<'de, D: serde::Deserializer<'de>>(
            deserializer: D,
        ) -> Result<Option<Duration>, D::Error> {
            let text = String::deserialize(deserializer)?;
            super::super::parse_duration(&text)
                .map(Some)
                .map_err(serde::de::Error::custom)
        }
    }
}
