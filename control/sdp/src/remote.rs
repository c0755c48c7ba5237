//! What a peer's description says (RFC 9429 §5.8).

use crate::candidate::Candidate;
use crate::codecs::parameter;
use crate::error::Error;
use crate::model::{Codec, Feedback, Fingerprint, IceCredentials, Kind};
use crate::session::{Attribute, MediaSection, Session};

/// The longest `a=mid`, `a=rid` and the like, bytes; the header extensions that carry them end at 255.
const MAX_ID: usize = 64;
/// The longest `a=fmtp` value, bytes: it may be repeated to every subscriber.
const MAX_FMTP: usize = 512;

/// A peer's offer or answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteDescription {
    /// The session id of `o=` (RFC 8866 §5.2): the same in all descriptions of one `RTCPeerConnection` (RFC 9429 §5.2.1).
    pub session_id: String,
    /// `a=ice-lite`.
    pub ice_lite: bool,
    /// The mids of each `a=group:BUNDLE` (RFC 9143).
    pub bundles: Vec<Vec<String>>,
    /// The media sections in order.
    pub media: Vec<RemoteMedia>,
}

/// One media section; session-level values are already filled in where the section has none of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteMedia {
    /// What it carries.
    pub media_type: MediaType,
    /// `m=`: the protocol.
    pub protocol: String,
    /// `m=`: the formats.
    pub formats: Vec<String>,
    /// `a=mid`.
    pub mid: String,
    /// `m=`: the port.
    pub port: u16,
    /// Port 0 without `a=bundle-only`: not there.
    pub rejected: bool,
    /// The direction, as the peer sees it.
    pub direction: Direction,
    /// The codecs in order of preference, with RTX folded in. Payload types 64 to 95 are left out: they can't be told
    /// from RTCP on the same port (RFC 5761 §4).
    pub codecs: Vec<Codec>,
    /// `a=extmap` (RFC 8285 §5).
    pub extensions: Vec<RemoteExtension>,
    /// `a=extmap-allow-mixed`.
    pub extmap_allow_mixed: bool,
    /// `a=ssrc` (RFC 5576 §4.1), each once, in order.
    pub ssrcs: Vec<Ssrc>,
    /// `a=ssrc-group` (RFC 5576 §4.2).
    pub ssrc_groups: Vec<SsrcGroup>,
    /// `a=rid` (RFC 8851 §4).
    pub rids: Vec<Rid>,
    /// The RIDs of the `send` part of `a=simulcast` (RFC 8853 §5.1), the first of each alternative.
    pub simulcast_send: Vec<String>,
    /// `a=msid`: stream and track.
    pub msid: Option<String>,
    /// `a=ice-ufrag` and `a=ice-pwd`.
    pub ice: Option<IceCredentials>,
    /// The words of `a=ice-options`.
    pub ice_options: Vec<String>,
    /// `a=fingerprint`, all of them.
    pub fingerprints: Vec<Fingerprint>,
    /// `a=setup`.
    pub setup: Option<Setup>,
    /// `a=candidate`; malformed ones are left out.
    pub candidates: Vec<Candidate>,
    /// `a=end-of-candidates`.
    pub end_of_candidates: bool,
    /// `a=rtcp-mux`.
    pub rtcp_mux: bool,
    /// `a=rtcp-rsize` (RFC 5506).
    pub rtcp_rsize: bool,
}

/// The media type of a section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MediaType {
    /// `audio`.
    Audio,
    /// `video`.
    Video,
    /// `application`: data channels.
    Application,
    /// Anything else.
    Other(String),
}

impl MediaType {
    /// The kind, if it is one that we forward.
    pub fn kind(&self) -> Option<Kind> {
        match self {
            Self::Audio => Some(Kind::Audio),
            Self::Video => Some(Kind::Video),
            Self::Application | Self::Other(_) => None,
        }
    }

    /// As in `m=`.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Audio => "audio",
            Self::Video => "video",
            Self::Application => "application",
            Self::Other(name) => name,
        }
    }
}

/// Which way media flow, as the writer of the description sees it (RFC 8866 §6.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Both ways.
    SendRecv,
    /// From the writer.
    SendOnly,
    /// To the writer.
    RecvOnly,
    /// Not at all.
    Inactive,
}

impl Direction {
    /// The attribute's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SendRecv => "sendrecv",
            Self::SendOnly => "sendonly",
            Self::RecvOnly => "recvonly",
            Self::Inactive => "inactive",
        }
    }

    /// Whether the writer sends.
    pub fn sends(self) -> bool {
        matches!(self, Self::SendRecv | Self::SendOnly)
    }

    /// Whether the writer receives.
    pub fn receives(self) -> bool {
        matches!(self, Self::SendRecv | Self::RecvOnly)
    }

    /// The same as the other end sees it.
    #[must_use]
    pub fn flipped(self) -> Self {
        match self {
            Self::SendOnly => Self::RecvOnly,
            Self::RecvOnly => Self::SendOnly,
            same => same,
        }
    }

    fn parse(word: &str) -> Option<Self> {
        [
            Self::SendRecv,
            Self::SendOnly,
            Self::RecvOnly,
            Self::Inactive,
        ]
        .into_iter()
        .find(|direction| direction.as_str() == word)
    }
}

/// `a=setup` (RFC 4145 §4): who starts DTLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setup {
    /// The writer starts.
    Active,
    /// The writer waits.
    Passive,
    /// Either: the answer decides.
    Actpass,
    /// Nobody for now.
    Holdconn,
}

/// One `a=extmap`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteExtension {
    /// 1 to 255, never 15.
    pub id: u8,
    /// The direction behind the id, if there is one.
    pub direction: Option<Direction>,
    /// The URI.
    pub uri: String,
}

/// One announced SSRC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ssrc {
    /// The SSRC.
    pub id: u32,
    /// Its `cname`.
    pub cname: Option<String>,
}

/// One `a=ssrc-group`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SsrcGroup {
    /// `FID`, `FEC-FR`, `SIM`…
    pub semantics: String,
    /// The members in order.
    pub ssrcs: Vec<u32>,
}

/// One `a=rid`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rid {
    /// The RID.
    pub id: String,
    /// Whether the writer sends it; otherwise it receives it.
    pub send: bool,
    /// The restrictions, `pt=96;max-width=1280` and the like.
    pub restrictions: String,
}

impl RemoteDescription {
    /// Reads a description that a peer sent.
    ///
    /// # Errors
    ///
    /// When it passes a bound or has a malformed line, names the line: see [`Error`].
    pub fn parse(text: &str) -> Result<Self, Error> {
        let session = Session::parse(text)?;
        let session_id = session.origin.split_ascii_whitespace().nth(1);
        let session_id = session_id.unwrap_or_default().to_owned();
        let mut common = Transport::default();
        let mut bundles = Vec::new();
        let mut ice_lite = false;
        for attribute in &session.attributes {
            match attribute.name.as_str() {
                "ice-lite" => ice_lite = true,
                "group" => bundles.extend(bundle(attribute.text())),
                _ => {
                    common.read(attribute)?;
                }
            }
        }
        let mut media: Vec<RemoteMedia> = Vec::with_capacity(session.media.len());
        for section in session.media {
            let line = section.line;
            let section = Reader::read(section, &common)?;
            if media.iter().any(|before| before.mid == section.mid) {
                return Err(Error::syntax(line, "a=mid of this section is not unique"));
            }
            media.push(section);
        }
        Ok(Self {
            session_id,
            ice_lite,
            bundles,
            media,
        })
    }
}

fn bundle(value: &str) -> Option<Vec<String>> {
    let mut words = value.split_ascii_whitespace();
    (words.next() == Some("BUNDLE")).then(|| words.map(str::to_owned).collect())
}

/// The attributes that may stand at either level.
#[derive(Clone, Default)]
struct Transport {
    ufrag: Option<String>,
    pwd: Option<String>,
    ice_options: Vec<String>,
    fingerprints: Vec<Fingerprint>,
    setup: Option<Setup>,
    direction: Option<Direction>,
    extmap_allow_mixed: bool,
}

impl Transport {
    /// Takes the attribute if it is one of these.
    fn read(&mut self, attribute: &Attribute) -> Result<bool, Error> {
        let text = attribute.text();
        let wrong = |what| Error::syntax(attribute.line, what);
        match attribute.name.as_str() {
            "ice-ufrag" => self.ufrag = Some(ice_word(text, 4).ok_or(wrong("a bad ice-ufrag"))?),
            "ice-pwd" => self.pwd = Some(ice_word(text, 22).ok_or(wrong("a bad ice-pwd"))?),
            "ice-options" => {
                self.ice_options = text.split_ascii_whitespace().map(str::to_owned).collect();
            }
            "fingerprint" => {
                let fingerprint = fingerprint(text).ok_or(wrong("a bad fingerprint"))?;
                if !self.fingerprints.contains(&fingerprint) {
                    self.fingerprints.push(fingerprint);
                }
            }
            "setup" => {
                self.setup = Some(match text {
                    "active" => Setup::Active,
                    "passive" => Setup::Passive,
                    "actpass" => Setup::Actpass,
                    "holdconn" => Setup::Holdconn,
                    _ => return Err(wrong("a bad setup")),
                });
            }
            "extmap-allow-mixed" => self.extmap_allow_mixed = true,
            name => match Direction::parse(name) {
                Some(direction) => self.direction = Some(direction),
                None => return Ok(false),
            },
        }
        Ok(true)
    }

    /// Fills in what only the session level says.
    fn or(mut self, common: &Self) -> Self {
        self.ufrag = self.ufrag.or_else(|| common.ufrag.clone());
        self.pwd = self.pwd.or_else(|| common.pwd.clone());
        self.setup = self.setup.or(common.setup);
        self.direction = self.direction.or(common.direction);
        self.extmap_allow_mixed |= common.extmap_allow_mixed;
        if self.ice_options.is_empty() {
            self.ice_options.clone_from(&common.ice_options);
        }
        if self.fingerprints.is_empty() {
            self.fingerprints.clone_from(&common.fingerprints);
        }
        self
    }
}

/// Collects the attributes of one section, which come in any order.
#[derive(Default)]
struct Reader {
    transport: Transport,
    mid: Option<String>,
    bundle_only: bool,
    rtpmaps: Vec<RtpMap>,
    fmtps: Vec<(u8, String)>,
    /// Without a payload type it is for all of them.
    feedback: Vec<(Option<u8>, Feedback)>,
    extensions: Vec<RemoteExtension>,
    ssrcs: Vec<Ssrc>,
    ssrc_groups: Vec<SsrcGroup>,
    rids: Vec<Rid>,
    simulcast_send: Vec<String>,
    msid: Option<String>,
    candidates: Vec<Candidate>,
    end_of_candidates: bool,
    rtcp_mux: bool,
    rtcp_rsize: bool,
}

struct RtpMap {
    payload_type: u8,
    name: String,
    clock_rate: u32,
    channels: Option<u8>,
}

impl Reader {
    fn read(section: MediaSection, common: &Transport) -> Result<RemoteMedia, Error> {
        let mut reader = Self::default();
        for attribute in &section.attributes {
            let _known = reader.transport.read(attribute)?
                || reader.general(attribute)?
                || reader.rtp(attribute)?
                || reader.streams(attribute)?;
        }
        reader.finish(section, common)
    }

    fn general(&mut self, attribute: &Attribute) -> Result<bool, Error> {
        let text = attribute.text();
        match attribute.name.as_str() {
            "mid" => {
                let mid = token(text).ok_or(Error::syntax(attribute.line, "a bad mid"))?;
                self.mid = Some(mid.to_owned());
            }
            "bundle-only" => self.bundle_only = true,
            "rtcp-mux" => self.rtcp_mux = true,
            "rtcp-rsize" => self.rtcp_rsize = true,
            // An ICE-lite agent has no use for them: a strange one is not worth a failed negotiation.
            "candidate" => self
                .candidates
                .extend(Candidate::parse(text, attribute.line)),
            "end-of-candidates" => self.end_of_candidates = true,
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn rtp(&mut self, attribute: &Attribute) -> Result<bool, Error> {
        let text = attribute.text();
        let wrong = |what| Error::syntax(attribute.line, what);
        match attribute.name.as_str() {
            "rtpmap" => self
                .rtpmaps
                .push(rtpmap(text).ok_or(wrong("a bad rtpmap"))?),
            "fmtp" => {
                let (payload_type, value) = text.split_once(' ').unwrap_or((text, ""));
                if value.len() > MAX_FMTP {
                    return Err(wrong("a very long fmtp"));
                }
                // Data channels have fmtp lines too, with a name for a format.
                if let Ok(payload_type) = payload_type.parse() {
                    self.fmtps.push((payload_type, value.trim().to_owned()));
                }
            }
            "rtcp-fb" => {
                let (payload_type, value) = text.split_once(' ').ok_or(wrong("a bad rtcp-fb"))?;
                let payload_type = match payload_type {
                    "*" => None,
                    number => Some(number.parse().map_err(|_| wrong("a bad rtcp-fb"))?),
                };
                self.feedback.push((payload_type, feedback(value)));
            }
            "extmap" => self
                .extensions
                .extend(extmap(text).ok_or(wrong("a bad extmap"))?),
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn streams(&mut self, attribute: &Attribute) -> Result<bool, Error> {
        let text = attribute.text();
        let wrong = |what| Error::syntax(attribute.line, what);
        match attribute.name.as_str() {
            "ssrc" => {
                let (id, rest) = text.split_once(' ').unwrap_or((text, ""));
                let id = id.parse().map_err(|_| wrong("a bad ssrc"))?;
                let cname = rest.strip_prefix("cname:").map(str::to_owned);
                match self.ssrcs.iter_mut().find(|ssrc| ssrc.id == id) {
                    Some(ssrc) => ssrc.cname = ssrc.cname.take().or(cname),
                    None => self.ssrcs.push(Ssrc { id, cname }),
                }
            }
            "ssrc-group" => {
                let mut words = text.split_ascii_whitespace();
                let semantics = words.next().ok_or(wrong("a bad ssrc-group"))?.to_owned();
                let ssrcs = words
                    .map(|word| word.parse().map_err(|_| wrong("a bad ssrc-group")))
                    .collect::<Result<_, _>>()?;
                self.ssrc_groups.push(SsrcGroup { semantics, ssrcs });
            }
            "rid" => self.rids.push(rid(text).ok_or(wrong("a bad rid"))?),
            "simulcast" => {
                self.simulcast_send = simulcast_send(text).ok_or(wrong("a bad simulcast"))?
            }
            "msid" => self.msid = Some(text.to_owned()),
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn finish(self, section: MediaSection, common: &Transport) -> Result<RemoteMedia, Error> {
        let codecs = if section.protocol.contains("RTP/") {
            self.codecs(&section)?
        } else {
            Vec::new()
        };
        let transport = self.transport.or(common);
        // RFC 9429 §5.2.1: every section has one.
        let mid = self
            .mid
            .ok_or(Error::syntax(section.line, "the section has no a=mid"))?;
        Ok(RemoteMedia {
            media_type: match section.media.as_str() {
                "audio" => MediaType::Audio,
                "video" => MediaType::Video,
                "application" => MediaType::Application,
                _ => MediaType::Other(section.media),
            },
            protocol: section.protocol,
            formats: section.formats,
            mid,
            port: section.port,
            rejected: section.port == 0 && !self.bundle_only,
            direction: transport.direction.unwrap_or(Direction::SendRecv),
            codecs,
            extensions: self.extensions,
            extmap_allow_mixed: transport.extmap_allow_mixed,
            ssrcs: self.ssrcs,
            ssrc_groups: self.ssrc_groups,
            rids: self.rids,
            simulcast_send: self.simulcast_send,
            msid: self.msid,
            ice: transport
                .ufrag
                .zip(transport.pwd)
                .map(|(ufrag, pwd)| IceCredentials { ufrag, pwd }),
            ice_options: transport.ice_options,
            fingerprints: transport.fingerprints,
            setup: transport.setup,
            candidates: self.candidates,
            end_of_candidates: self.end_of_candidates,
            rtcp_mux: self.rtcp_mux,
            rtcp_rsize: self.rtcp_rsize,
        })
    }

    /// The codecs in the order of `m=`, retransmission formats folded into what they retransmit.
    fn codecs(&self, section: &MediaSection) -> Result<Vec<Codec>, Error> {
        let mut codecs: Vec<Codec> = Vec::new();
        let mut retransmissions = Vec::new();
        for format in &section.formats {
            let number = payload_type(format)
                .ok_or(Error::syntax(section.line, "m= has a bad payload type"))?;
            let reserved = (64..=95).contains(&number);
            if reserved || codecs.iter().any(|codec| codec.payload_type == number) {
                continue;
            }
            let Some(codec) = self.codec(number) else {
                continue;
            };
            if codec.name.eq_ignore_ascii_case("rtx") {
                let of = parameter(&codec.fmtp, "apt").and_then(payload_type);
                retransmissions.extend(of.map(|of| (of, number)));
            } else {
                codecs.push(codec);
            }
        }
        for (of, payload_type) in retransmissions {
            if let Some(codec) = codecs.iter_mut().find(|codec| codec.payload_type == of) {
                codec.rtx_payload_type.get_or_insert(payload_type);
            }
        }
        Ok(codecs)
    }

    fn codec(&self, payload_type: u8) -> Option<Codec> {
        let map = self
            .rtpmaps
            .iter()
            .find(|map| map.payload_type == payload_type);
        let (name, clock_rate, channels) = match map {
            Some(map) => (map.name.as_str(), map.clock_rate, map.channels),
            // RFC 3551 §6: these need no a=rtpmap.
            None => match payload_type {
                0 => ("PCMU", 8000, None),
                8 => ("PCMA", 8000, None),
                9 => ("G722", 8000, None),
                _ => return None,
            },
        };
        let fmtp = self.fmtps.iter().find(|(of, _)| *of == payload_type);
        let feedback = self
            .feedback
            .iter()
            .filter(|(of, _)| of.is_none_or(|of| of == payload_type))
            .fold(Feedback::default(), |all, (_, one)| all.or(*one));
        Some(Codec {
            payload_type,
            name: name.to_owned(),
            clock_rate,
            channels,
            fmtp: fmtp.map(|(_, value)| value.clone()).unwrap_or_default(),
            rtx_payload_type: None,
            feedback,
        })
    }
}

/// `<payload type> <name>/<clock rate>[/<channels>]` (RFC 8866 §6.6).
fn rtpmap(text: &str) -> Option<RtpMap> {
    let (number, rest) = text.split_once(' ')?;
    let mut parts = rest.trim().split('/');
    let name = parts.next().filter(|name| token(name).is_some())?;
    Some(RtpMap {
        payload_type: payload_type(number)?,
        name: name.to_owned(),
        clock_rate: parts.next()?.parse().ok()?,
        channels: match parts.next() {
            Some(channels) => Some(channels.parse().ok()?),
            None => None,
        },
    })
}

fn payload_type(text: &str) -> Option<u8> {
    text.parse().ok().filter(|&number: &u8| number < 128)
}

/// The value of `a=rtcp-fb` after the payload type; what we don't know counts for nothing.
fn feedback(value: &str) -> Feedback {
    let mut words = value.split_ascii_whitespace();
    let mut feedback = Feedback::default();
    match (words.next(), words.next()) {
        (Some("nack"), None) => feedback.nack = true,
        (Some("nack"), Some("pli")) => feedback.pli = true,
        (Some("ccm"), Some("fir")) => feedback.fir = true,
        (Some("goog-remb"), _) => feedback.remb = true,
        (Some("transport-cc"), _) => feedback.transport_cc = true,
        _ => {}
    }
    feedback
}

/// `<id>[/<direction>] <uri> […]` (RFC 8285 §8). The inner `None` is an id that can't be used as it stands: 15, or one of
/// those above 4095 that only ask for a choice (RFC 8285 §7).
fn extmap(text: &str) -> Option<Option<RemoteExtension>> {
    let mut words = text.split_ascii_whitespace();
    let key = words.next()?;
    let uri = words.next()?;
    let (id, direction) = match key.split_once('/') {
        Some((id, direction)) => (id, Some(Direction::parse(direction)?)),
        None => (key, None),
    };
    let id: u16 = id.parse().ok()?;
    Some(match u8::try_from(id) {
        Ok(0 | 15) | Err(_) => None,
        Ok(id) => Some(RemoteExtension {
            id,
            direction,
            uri: uri.to_owned(),
        }),
    })
}

/// `<id> <direction> [<restrictions>]` (RFC 8851 §10).
fn rid(text: &str) -> Option<Rid> {
    let mut words = text.splitn(3, ' ');
    let id = rid_id(words.next()?)?;
    let send = match words.next()? {
        "send" => true,
        "recv" => false,
        _ => return None,
    };
    let restrictions = words.next().unwrap_or("").trim();
    (restrictions.len() <= MAX_FMTP).then(|| Rid {
        id: id.to_owned(),
        send,
        restrictions: restrictions.to_owned(),
    })
}

/// RFC 8852 §3: letters and digits; older texts allow `-` and `_`, and so do browsers.
fn rid_id(text: &str) -> Option<&str> {
    let fits = (1..=MAX_ID).contains(&text.len());
    let good = text
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
    (fits && good).then_some(text)
}

/// `send a;~b,c recv d` (RFC 8853 §5.1): streams are parted by semicolons, alternatives by commas, `~` means paused.
fn simulcast_send(text: &str) -> Option<Vec<String>> {
    let mut words = text.split_ascii_whitespace();
    let mut send = Vec::new();
    while let Some(direction) = words.next() {
        let streams = words.next()?;
        match direction {
            "send" => {
                for stream in streams.split(';') {
                    let first = stream.split(',').next().unwrap_or(stream);
                    send.push(rid_id(first.strip_prefix('~').unwrap_or(first))?.to_owned());
                }
            }
            "recv" => {}
            _ => return None,
        }
    }
    Some(send)
}

/// `<hash> <hex>:<hex>…` (RFC 8122 §5), spelt one way.
fn fingerprint(text: &str) -> Option<Fingerprint> {
    let (algorithm, value) = text.trim().split_once(' ')?;
    let algorithm = token(algorithm)?.to_ascii_lowercase();
    let value = value.trim().to_ascii_uppercase();
    let bytes = value.split(':').try_fold(0_usize, |count, byte| {
        let good = byte.len() == 2 && byte.bytes().all(|digit| digit.is_ascii_hexdigit());
        good.then(|| count.saturating_add(1))
    })?;
    let right = match algorithm.as_str() {
        "sha-1" => bytes == 20,
        "sha-256" => bytes == 32,
        "sha-384" => bytes == 48,
        "sha-512" => bytes == 64,
        _ => bytes <= 64,
    };
    right.then_some(Fingerprint { algorithm, value })
}

/// RFC 8839 §5.4 allows letters, digits, `+` and `/`; what matters to us is that STUN's `USERNAME` can be split again.
fn ice_word(text: &str, shortest: usize) -> Option<String> {
    let fits = (shortest..=256).contains(&text.len());
    let good = text
        .bytes()
        .all(|byte| byte.is_ascii_graphic() && byte != b':');
    (fits && good).then(|| text.to_owned())
}

/// RFC 8866 §9 `token`.
fn token(text: &str) -> Option<&str> {
    let fits = (1..=MAX_ID).contains(&text.len());
    let good = text
        .bytes()
        .all(|byte| byte.is_ascii_graphic() && !b"\"(),/:;<=>?@[\\]".contains(&byte));
    (fits && good).then_some(text)
}
