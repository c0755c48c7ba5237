//! One user's membership in a session, from its token to its end.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::quality::{Level, Quality};
use super::{ConnectionId, IceServer, Millis, Role, Stream, StreamId};

/// Between client data and server data in a connection's metadata.
pub const METADATA_SEPARATOR: &str = "%/%";

/// What the application wants of a connection.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ConnectionProperties {
    /// What the user may do.
    pub role: Role,
    /// Server data.
    pub data: String,
    /// Include its stream in individual recordings.
    pub record: bool,
    /// Options for a Kurento media server; kept as they came. Of these the greatest bandwidths are heeded.
    pub kurento_options: Option<Value>,
    /// The ICE servers of this user, in place of the configured ones.
    pub custom_ice_servers: Vec<IceServer>,
}

impl Default for ConnectionProperties {
    fn default() -> Self {
        Self {
            role: Role::default(),
            data: String::new(),
            record: true,
            kurento_options: None,
            custom_ice_servers: Vec::new(),
        }
    }
}

/// How much video there may be of one stream, in kbit/s; 0: as much as there is. The least is only echoed: nothing here can make
/// an encoder spend more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VideoBandwidth {
    /// Of what a user publishes.
    pub max_recv: u32,
    /// The same, at least.
    pub min_recv: u32,
    /// Of what a user is sent.
    pub max_send: u32,
    /// The same, at least.
    pub min_send: u32,
}

impl VideoBandwidth {
    /// The most that comes of a published stream, in bit/s.
    pub fn receive_max(self) -> Option<u64> {
        (self.max_recv > 0).then(|| u64::from(self.max_recv) * 1_000)
    }

    /// The most that is sent of a stream, in bit/s.
    pub fn send_max(self) -> Option<u64> {
        (self.max_send > 0).then(|| u64::from(self.max_send) * 1_000)
    }
}

impl ConnectionProperties {
    /// What its own options say, or else `defaults`.
    pub fn bandwidth(&self, defaults: VideoBandwidth) -> VideoBandwidth {
        let of = |name: &str, default: u32| {
            let own = self.kurento_options.as_ref().and_then(|all| all.get(name));
            let own = own.and_then(Value::as_u64);
            own.map_or(default, |kbit| u32::try_from(kbit).unwrap_or(u32::MAX))
        };
        VideoBandwidth {
            max_recv: of("videoMaxRecvBandwidth", defaults.max_recv),
            min_recv: of("videoMinRecvBandwidth", defaults.min_recv),
            max_send: of("videoMaxSendBandwidth", defaults.max_send),
            min_send: of("videoMinSendBandwidth", defaults.min_send),
        }
    }
}

/// How far a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionStatus {
    /// It has a token that nobody used yet.
    Pending,
    /// Its user is in the session.
    Active,
}

/// What is known of a user since it joined.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Presence {
    /// When it joined.
    pub active_at: Millis,
    /// Its address.
    pub ip: String,
    /// Its browser and system, by its own account.
    pub platform: String,
    /// What the browser passed to `connect()`.
    pub client_data: String,
    /// Joined with the secret: passes every check, and counts as trusted.
    pub trusted: bool,
    /// The stream it publishes.
    pub publication: Publication,
    /// The streams it receives, oldest first.
    pub subscriptions: Vec<Subscription>,
    /// The network quality that everybody was told of.
    #[serde(skip)]
    pub quality: Quality,
    /// It was told of that of those who were there before it.
    #[serde(skip)]
    pub knows_quality: bool,
}

/// How far publishing is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Publication {
    /// Nothing is published.
    #[default]
    None,
    /// The media node is asked; nobody else knows yet.
    Pending(StreamId),
    /// Others may receive it.
    Live(Box<Stream>),
}

/// A stream that a connection receives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Subscription {
    /// The stream.
    pub stream: StreamId,
    /// Its publisher.
    pub publisher: ConnectionId,
    /// Since when.
    pub created_at: Millis,
}

/// One user's membership in a session.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Connection {
    /// Its id.
    pub id: ConnectionId,
    /// Its token: `tok_…`.
    pub token: String,
    /// What the application wants of it.
    pub properties: ConnectionProperties,
    /// When the application, or its own join, made it.
    pub created_at: Millis,
    /// Set once its user is in the session.
    pub presence: Option<Presence>,
}

impl Connection {
    /// A connection that waits for its user.
    pub fn pending(
        id: ConnectionId,
        token: String,
        properties: ConnectionProperties,
        now: Millis,
    ) -> Self {
        Self {
            id,
            token,
            properties,
            created_at: now,
            presence: None,
        }
    }

    /// How far it is.
    pub fn status(&self) -> ConnectionStatus {
        match self.presence {
            None => ConnectionStatus::Pending,
            Some(_) => ConnectionStatus::Active,
        }
    }

    /// Its user is in the session.
    pub fn is_active(&self) -> bool {
        self.presence.is_some()
    }

    /// A helper that users must not see: recorder or transcriber.
    pub fn is_hidden(&self) -> bool {
        matches!(
            self.id.as_str(),
            super::ids::RECORDER | super::ids::SPEECH_TO_TEXT
        )
    }

    /// It has a stream, or is about to.
    pub fn publishes(&self) -> bool {
        let publication = self.presence.as_ref().map(|one| &one.publication);
        publication.is_some_and(|one| *one != Publication::None)
    }

    /// The stream that others may receive.
    pub fn stream(&self) -> Option<&Stream> {
        match &self.presence.as_ref()?.publication {
            Publication::Live(stream) => Some(stream),
            Publication::None | Publication::Pending(_) => None,
        }
    }

    /// The stream as a place.
    pub fn stream_mut(&mut self) -> Option<&mut Stream> {
        match &mut self.presence.as_mut()?.publication {
            Publication::Live(stream) => Some(stream),
            Publication::None | Publication::Pending(_) => None,
        }
    }

    /// The streams it receives, oldest first.
    pub fn subscriptions(&self) -> &[Subscription] {
        self.presence
            .as_ref()
            .map_or(&[], |presence| &presence.subscriptions)
    }

    /// The network quality that everybody was told of.
    pub fn quality(&self) -> Option<Level> {
        self.presence.as_ref()?.quality.told()
    }

    /// May publish.
    pub fn may_publish(&self) -> bool {
        self.properties.role.publishes() || self.is_trusted()
    }

    /// May unpublish and disconnect others.
    pub fn may_moderate(&self) -> bool {
        self.properties.role.moderates() || self.is_trusted()
    }

    /// Client data and server data, with the separator only between two that are not empty.
    pub fn metadata(&self) -> String {
        let client = self
            .presence
            .as_ref()
            .map_or("", |presence| presence.client_data.as_str());
        match (client, self.properties.data.as_str()) {
            (client, "") => client.to_owned(),
            ("", server) => server.to_owned(),
            (client, server) => format!("{client}{METADATA_SEPARATOR}{server}"),
        }
    }

    fn is_trusted(&self) -> bool {
        self.presence
            .as_ref()
            .is_some_and(|presence| presence.trusted)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_connection_says_for_itself_how_much_it_may_take() {
        let defaults = VideoBandwidth {
            max_recv: 1_000,
            max_send: 800,
            ..VideoBandwidth::default()
        };
        let of = |options: Option<Value>| {
            let properties = ConnectionProperties {
                kurento_options: options,
                ..ConnectionProperties::default()
            };
            let bandwidth = properties.bandwidth(defaults);
            (bandwidth.receive_max(), bandwidth.send_max())
        };
        assert_eq!(of(None), (Some(1_000_000), Some(800_000)));
        let own = json!({"videoMaxRecvBandwidth": 300, "videoMaxSendBandwidth": 0});
        assert_eq!(of(Some(own)), (Some(300_000), None));
        assert_eq!(
            of(Some(json!({"videoMinRecvBandwidth": 1}))).0,
            Some(1_000_000)
        );
    }
}
