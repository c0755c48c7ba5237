//! What a user may do in a session.

use serde::{Deserialize, Serialize};

/// The role of a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Role {
    /// Receives, and sends signals.
    Subscriber,
    /// Also publishes.
    #[default]
    Publisher,
    /// Also unpublishes and disconnects others.
    Moderator,
}

impl Role {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Subscriber => "SUBSCRIBER",
            Self::Publisher => "PUBLISHER",
            Self::Moderator => "MODERATOR",
        }
    }

    /// The role of that word.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Subscriber, Self::Publisher, Self::Moderator]
            .into_iter()
            .find(|role| role.as_str() == text)
    }

    /// May publish a stream.
    pub fn publishes(self) -> bool {
        self != Self::Subscriber
    }

    /// May unpublish and disconnect others.
    pub fn moderates(self) -> bool {
        self == Self::Moderator
    }
}
