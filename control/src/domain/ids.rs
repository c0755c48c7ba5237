//! Identifiers in the shapes that OpenVidu gives them, and the chance that they are drawn from.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A source of randomness. Tokens and RPC sessions are bearer secrets: in production it must be the system's.
pub trait Chance: Send {
    /// The next 64 random bits.
    fn next_u64(&mut self) -> u64;
}

/// The randomness of the operating system.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemChance;

impl Chance for SystemChance {
    fn next_u64(&mut self) -> u64 {
        getrandom::u64().expect("the operating system gives random numbers")
    }
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// Wraps the text of an id.
            pub fn new(text: impl Into<String>) -> Self {
                Self(text.into())
            }

            /// The text of the id.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

id!(
    /// A call, `ses_…` or what the application chose.
    SessionId
);
id!(
    /// One user's membership in a session, `con_…`.
    ConnectionId
);
id!(
    /// The audio and video that one user sends, `str_…`.
    StreamId
);
id!(
    /// A media node, `media_…`.
    NodeId
);

/// How ids of sessions begin that we draw.
pub const SESSION: &str = "ses_";
/// How many random letters and digits follow the first one.
pub const SESSION_TAIL: usize = 9;

impl SessionId {
    /// Whether an application chose it, and may choose it again another day. (If it chose one in the shape of ours, that is taken for ours.)
    pub fn is_chosen(&self) -> bool {
        let drawn = self.0.strip_prefix(SESSION);
        drawn.is_none_or(|tail| tail.len() != 1 + SESSION_TAIL)
    }
}

/// The fixed id of the hidden connection that records a session.
pub const RECORDER: &str = "RECORDER";
/// The fixed id of the hidden connection that transcribes a session.
pub const SPEECH_TO_TEXT: &str = "SPEECH_TO_TEXT";

const UPPER: &[u8; 26] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ";
const ALPHANUMERIC: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

/// A prefix, an upper-case letter and `tail` alphanumerics: the shape of OpenVidu's ids.
pub fn random(prefix: &str, tail: usize, chance: &mut dyn Chance) -> String {
    let mut id = String::with_capacity(prefix.len() + 1 + tail);
    id.push_str(prefix);
    id.push(pick(UPPER, chance));
    id.push_str(&alphanumerics(tail, chance));
    id
}

/// `count` random letters and digits; each carries 5.95 bits.
pub fn alphanumerics(count: usize, chance: &mut dyn Chance) -> String {
    (0..count).map(|_| pick(ALPHANUMERIC, chance)).collect()
}

/// The id of a new stream of that type (`CAMERA`, `SCREEN`, `CUSTOM`; none: audio only) and connection.
pub fn stream_id(
    type_of_video: Option<&str>,
    connection: &ConnectionId,
    chance: &mut dyn Chance,
) -> StreamId {
    let kind: String = type_of_video.unwrap_or("MIC").chars().take(3).collect();
    let random = random("", 3, chance);
    StreamId::new(format!("str_{kind}_{random}_{connection}"))
}

/// Letters, digits, `_` and `-`, at least one, at most 255: what may be a session's id.
pub fn is_session_id(text: &str) -> bool {
    (1..=255).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
}

/// A uniform choice: the bias of a modulo would make ids easier to guess.
fn pick(alphabet: &[u8], chance: &mut dyn Chance) -> char {
    let count = alphabet.len() as u64;
    let unbiased = u64::MAX - u64::MAX % count;
    loop {
        let draw = chance.next_u64();
        if draw < unbiased {
            return char::from(alphabet[(draw % count) as usize]);
        }
    }
}

#[cfg(test)]
pub mod testing {
    //! Chance that repeats.

    use super::Chance;

    /// SplitMix64 from a seed.
    #[derive(Debug)]
    pub struct Seeded(pub u64);

    impl Chance for Seeded {
        fn next_u64(&mut self) -> u64 {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut mixed = self.0;
            mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            mixed ^ (mixed >> 31)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_have_the_shapes_of_openvidu() {
        let mut chance = testing::Seeded(1);
        let id = random("con_", 9, &mut chance);
        assert_eq!(id.len(), 14);
        assert!(id[4..5].bytes().all(|byte| byte.is_ascii_uppercase()));
        let connection = ConnectionId::new("con_A");
        let stream = stream_id(Some("SCREEN"), &connection, &mut chance);
        assert!(stream.as_str().starts_with("str_SCR_"));
        assert!(stream.as_str().ends_with("_con_A"));
        let audio = stream_id(None, &connection, &mut chance);
        assert!(audio.as_str().starts_with("str_MIC_"));
    }

    #[test]
    fn session_ids_are_checked() {
        assert!(is_session_id("my-call_1"));
        for bad in ["", "a b", "a/b", "é", &"x".repeat(256)] {
            assert!(!is_session_id(bad), "{bad:?}");
        }
    }
}
