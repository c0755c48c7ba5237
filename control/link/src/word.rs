//! Text that says the same in many places, such as names of codecs.

use std::borrow::Cow;
use std::fmt;
use std::ops::Deref;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Words of which a process need have no copies.
const KNOWN: [&str; 27] = [
    "VP8",
    "VP9",
    "H264",
    "AV1",
    "opus",
    "sha-256",
    "sha-384",
    "sha-512",
    "SRTP_AEAD_AES_256_GCM",
    "SRTP_AEAD_AES_128_GCM",
    "SRTP_AES128_CM_HMAC_SHA1_80",
    "urn:ietf:params:rtp-hdrext:sdes:mid",
    "urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id",
    "urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id",
    "urn:ietf:params:rtp-hdrext:ssrc-audio-level",
    "urn:ietf:params:rtp-hdrext:csrc-audio-level",
    "urn:ietf:params:rtp-hdrext:toffset",
    "urn:3gpp:video-orientation",
    "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time",
    "http://www.webrtc.org/experiments/rtp-hdrext/abs-capture-time",
    "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01",
    "http://www.webrtc.org/experiments/rtp-hdrext/playout-delay",
    "http://www.webrtc.org/experiments/rtp-hdrext/video-content-type",
    "http://www.webrtc.org/experiments/rtp-hdrext/video-timing",
    "http://www.webrtc.org/experiments/rtp-hdrext/color-space",
    "http://www.webrtc.org/experiments/rtp-hdrext/video-layers-allocation00",
    "https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension",
];

/// A text that is often one of a few: those take no memory of their own. Behaves like a `str`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Word(Cow<'static, str>);

impl From<&str> for Word {
    fn from(text: &str) -> Self {
        let known = KNOWN.into_iter().find(|known| *known == text);
        Self(known.map_or_else(|| Cow::Owned(text.to_owned()), Cow::Borrowed))
    }
}

impl From<String> for Word {
    fn from(text: String) -> Self {
        text.as_str().into()
    }
}

impl From<&String> for Word {
    fn from(text: &String) -> Self {
        text.as_str().into()
    }
}

impl Deref for Word {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}

impl Serialize for Word {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self)
    }
}

impl<'de> Deserialize<'de> for Word {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Cow::<str>::deserialize(deserializer).map(|text| (&*text).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_words_take_no_memory_and_others_read_as_they_are() {
        for text in KNOWN.into_iter().chain(["", "G722", "vp8"]) {
            let json = serde_json::to_string(text).expect("text is JSON");
            let word: Word = serde_json::from_str(&json).expect("a string");
            assert_eq!(&*word, text);
            assert_eq!(serde_json::to_string(&word).expect("a string"), json);
            let is_known = KNOWN.contains(&text);
            assert_eq!(matches!(word.0, Cow::Borrowed(_)), is_known, "{text}");
        }
    }
}
