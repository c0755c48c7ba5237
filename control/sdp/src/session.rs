//! A description as sections and attributes, before it means anything.

/// A session description (RFC 8866 §5). Lines that WebRTC gives no meaning to (`i=`, `k=`, `t=`…) are not kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// The value of `o=`.
    pub origin: String,
    /// The value of `s=`.
    pub name: String,
    /// The value of `c=` before the first media section.
    pub connection: Option<String>,
    /// The `a=` lines before the first media section.
    pub attributes: Vec<Attribute>,
    /// The media sections in order.
    pub media: Vec<MediaSection>,
}

/// One `m=` line and what belongs to it (RFC 8866 §5.14).
#[derive(Clone, Debug)]
pub struct MediaSection {
    /// `audio`, `video`, `application`…
    pub media: String,
    /// The port; 0 when rejected, or in an offer when only usable in a bundle.
    pub port: u16,
    /// `UDP/TLS/RTP/SAVPF` and the like.
    pub protocol: String,
    /// The formats: payload types for RTP.
    pub formats: Vec<String>,
    /// The value of `c=`.
    pub connection: Option<String>,
    /// The values of `b=` (RFC 8866 §5.8).
    pub bandwidth: Vec<String>,
    /// The `a=` lines.
    pub attributes: Vec<Attribute>,
    /// Where the section starts, counted from 1; 0 when it was not parsed. Not part of equality.
    pub line: u32,
}

impl PartialEq for MediaSection {
    fn eq(&self, other: &Self) -> bool {
        self.media == other.media
            && self.port == other.port
            && self.protocol == other.protocol
            && self.formats == other.formats
            && self.connection == other.connection
            && self.bandwidth == other.bandwidth
            && self.attributes == other.attributes
    }
}

impl Eq for MediaSection {}

impl MediaSection {
    /// Adds `a=name`.
    pub(crate) fn flag(&mut self, name: &str) {
        self.attributes.push(Attribute::flag(name));
    }

    /// Adds `a=name:value`.
    pub(crate) fn attribute(&mut self, name: &str, value: impl Into<String>) {
        self.attributes.push(Attribute::new(name, value));
    }
}

/// One `a=` line (RFC 8866 §5.13).
#[derive(Clone, Debug)]
pub struct Attribute {
    /// What is before the first colon.
    pub name: String,
    /// What is after it; none without a colon.
    pub value: Option<String>,
    /// Where it stood, counted from 1; 0 when it was not parsed. Not part of equality.
    pub line: u32,
}

impl PartialEq for Attribute {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && self.value == other.value
    }
}

impl Eq for Attribute {}

impl Attribute {
    /// `a=name`.
    pub fn flag(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            value: None,
            line: 0,
        }
    }

    /// `a=name:value`.
    pub fn new(name: &str, value: impl Into<String>) -> Self {
        Self {
            name: name.to_owned(),
            value: Some(value.into()),
            line: 0,
        }
    }

    /// The value, empty when there is none.
    pub fn text(&self) -> &str {
        self.value.as_deref().unwrap_or("")
    }
}
