use std::net::SocketAddr;

use proto::dtls::Fingerprint;
use proto::ice::Credentials;
use proto::rtp::Uri;
use sdp::{Address, Attribute, Kind, MediaSection, Protocol, RemoteDescription, Session};

use super::Error;
use crate::fleet::{ExtensionIds, Rtx};
use crate::plan::Codec;

const PROTOCOL: &str = "UDP/TLS/RTP/SAVPF";
/// `a=rtcp-fb` of every video codec of Chromium.
const VIDEO_FEEDBACK: [&str; 5] = ["goog-remb", "transport-cc", "ccm fir", "nack", "nack pli"];
/// Header extensions with Chromium's ids.
const AUDIO_EXTENSIONS: [(u8, Uri); 4] = [
    (1, Uri::AudioLevel),
    (2, Uri::AbsSendTime),
    (3, Uri::TransportCc),
    (4, Uri::Mid),
];
const VIDEO_EXTENSIONS: [(u8, Uri); 11] = [
    (14, Uri::TransmissionOffset),
    (2, Uri::AbsSendTime),
    (13, Uri::VideoOrientation),
    (3, Uri::TransportCc),
    (5, Uri::PlayoutDelay),
    (6, Uri::ContentType),
    (7, Uri::VideoTiming),
    (8, Uri::ColorSpace),
    (4, Uri::Mid),
    (10, Uri::Rid),
    (11, Uri::RepairedRid),
];
/// Payload types with those of their retransmissions, encoding names and parameters, as Chromium has them.
const VIDEO_CODECS: [(u8, u8, &str, &str); 3] = [
    (96, 97, "VP8/90000", ""),
    (
        102,
        103,
        "H264/90000",
        "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42001f",
    ),
    (
        108,
        109,
        "H264/90000",
        "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f",
    ),
];

/// One transport of a browser, as it describes itself.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Its ICE credentials.
    pub ice: Credentials,
    /// The SHA-256 fingerprint of its certificate, as SDP has it.
    pub fingerprint: String,
    /// The session id of `o=`.
    pub session_id: u64,
    /// Its one candidate, where everything is in the description: nothing will be trickled (RFC 8838), and an offer says already
    /// that we begin the DTLS handshake (RFC 5763 §5).
    pub complete: Option<SocketAddr>,
}

/// One medium that a publisher offers.
#[derive(Clone, Debug)]
pub struct Offered {
    /// What it will send.
    pub codec: Codec,
    /// Its SSRC.
    pub ssrc: u32,
    /// The SSRC of its retransmissions; sound has none.
    pub rtx_ssrc: Option<u32>,
}

impl Peer {
    /// The offer of one who publishes, as Chromium writes it after `setCodecPreferences`: with the one codec that will be sent,
    /// since the server chooses one of those offered.
    pub fn publishing(&self, media: &[Offered]) -> String {
        let cname = format!("{:016x}", self.session_id);
        let sections = media.iter().enumerate().map(|(number, offered)| {
            let mut section =
                self.offered(kind(offered.codec), number, "sendonly", Some(offered.codec));
            let mut add = |name: &str, value: String| {
                section.attributes.push(Attribute::new(name, value));
            };
            add("msid", format!("stream track{number}"));
            if let Some(rtx) = offered.rtx_ssrc {
                add("ssrc-group", format!("FID {} {rtx}", offered.ssrc));
            }
            for ssrc in [Some(offered.ssrc), offered.rtx_ssrc].into_iter().flatten() {
                add("ssrc", format!("{ssrc} cname:{cname}"));
            }
            section
        });
        self.describe(sections.collect())
    }

    /// The offer of one who subscribes, where the server does not make one.
    pub fn subscribing(&self, kinds: &[Kind]) -> String {
        let sections = kinds.iter().enumerate();
        let sections = sections.map(|(number, kind)| self.offered(*kind, number, "recvonly", None));
        self.describe(sections.collect())
    }

    /// The answer to the server's offer of a stream: everything in it is wanted.
    ///
    /// # Errors
    /// If the offer is no SDP.
    pub fn answer(&self, offer: &str) -> Result<String, Error> {
        let offer = Session::parse(offer).map_err(|error| Error::protocol("an offer", error))?;
        let sections = offer.media.into_iter().map(|offered| {
            let mut section = self.section(&offered.media, offered.formats);
            self.transport(&mut section, "active");
            let kept = offered.attributes.into_iter().filter(|attribute| {
                matches!(
                    attribute.name.as_str(),
                    "mid" | "rtpmap" | "rtcp-fb" | "fmtp" | "extmap" | "rtcp-mux" | "rtcp-rsize"
                )
            });
            section.attributes.extend(kept);
            section.attributes.push(Attribute::flag("recvonly"));
            section
        });
        Ok(self.describe(sections.collect()))
    }

    fn describe(&self, media: Vec<MediaSection>) -> String {
        let mids: Vec<_> = media
            .iter()
            .flat_map(|section| &section.attributes)
            .filter(|attribute| attribute.name == "mid")
            .map(Attribute::text)
            .collect();
        let session = Session {
            origin: format!("- {} 2 IN IP4 127.0.0.1", self.session_id >> 1),
            name: "-".to_owned(),
            connection: None,
            attributes: vec![
                Attribute::new("group", format!("BUNDLE {}", mids.join(" "))),
                Attribute::flag("extmap-allow-mixed"),
                Attribute::new("msid-semantic", " WMS"),
            ],
            media,
        };
        session.to_string()
    }

    /// A section with all codecs of `kind`, or with `only` one.
    fn offered(
        &self,
        kind: Kind,
        number: usize,
        direction: &str,
        only: Option<Codec>,
    ) -> MediaSection {
        let is_wanted = |(_, _, encoding, _): &&(u8, u8, &str, &str)| {
            only.is_none_or(|only| encoding.starts_with(name(only)))
        };
        let formats = match kind {
            Kind::Audio => vec!["111".to_owned()],
            Kind::Video => VIDEO_CODECS
                .iter()
                .filter(is_wanted)
                .flat_map(|(payload_type, rtx, ..)| [payload_type.to_string(), rtx.to_string()])
                .collect(),
        };
        let mut section = self.section(kind.as_str(), formats);
        self.transport(&mut section, "actpass");
        let mut add = |name: &str, value: String| {
            section.attributes.push(Attribute::new(name, value));
        };
        add("mid", number.to_string());
        let extensions: &[_] = match kind {
            Kind::Audio => &AUDIO_EXTENSIONS,
            Kind::Video => &VIDEO_EXTENSIONS,
        };
        for (id, uri) in extensions {
            add("extmap", format!("{id} {}", uri.as_str()));
        }
        match kind {
            Kind::Audio => {
                add("rtpmap", "111 opus/48000/2".to_owned());
                add("rtcp-fb", "111 transport-cc".to_owned());
                add("fmtp", "111 minptime=10;useinbandfec=1".to_owned());
            }
            Kind::Video => {
                for (payload_type, rtx, encoding, parameters) in
                    VIDEO_CODECS.iter().filter(is_wanted)
                {
                    add("rtpmap", format!("{payload_type} {encoding}"));
                    for feedback in VIDEO_FEEDBACK {
                        add("rtcp-fb", format!("{payload_type} {feedback}"));
                    }
                    if !parameters.is_empty() {
                        add("fmtp", format!("{payload_type} {parameters}"));
                    }
                    add("rtpmap", format!("{rtx} rtx/90000"));
                    add("fmtp", format!("{rtx} apt={payload_type}"));
                }
            }
        }
        for flag in ["rtcp-mux", "rtcp-rsize", direction] {
            section.attributes.push(Attribute::flag(flag));
        }
        section
    }

    fn section(&self, media: &str, formats: Vec<String>) -> MediaSection {
        MediaSection {
            media: media.to_owned(),
            port: 9,
            protocol: PROTOCOL.to_owned(),
            formats,
            connection: Some("IN IP4 0.0.0.0".to_owned()),
            bandwidth: Vec::new(),
            attributes: Vec::new(),
            line: 0,
        }
    }

    fn transport(&self, section: &mut MediaSection, setup: &str) {
        section.attributes.extend([
            Attribute::new("rtcp", "9 IN IP4 0.0.0.0"),
            Attribute::new("ice-ufrag", self.ice.ufrag()),
            Attribute::new("ice-pwd", self.ice.password()),
            Attribute::new("fingerprint", format!("sha-256 {}", self.fingerprint)),
        ]);
        let rest = match self.complete {
            None => [
                Attribute::new("ice-options", "trickle"),
                Attribute::new("setup", setup),
            ],
            Some(address) => {
                let candidate = host_candidate(address, self.ice.ufrag());
                let value = candidate.trim_start_matches("candidate:");
                [
                    Attribute::new("candidate", value),
                    Attribute::new("setup", "active"),
                ]
            }
        };
        section.attributes.extend(rest);
    }
}

/// The host candidate that a browser trickles for its own address (RFC 8839 §5.1).
pub(crate) fn host_candidate(address: SocketAddr, ufrag: &str) -> String {
    format!(
        "candidate:1014227576 1 udp 2122194687 {} {} typ host generation 0 ufrag {ufrag} network-id 1",
        address.ip(),
        address.port()
    )
}

/// What the server says about one transport.
#[derive(Clone, Debug)]
pub struct Remote {
    /// Its ICE credentials.
    pub ice: Credentials,
    /// Its certificate's fingerprints.
    pub fingerprints: Vec<Fingerprint>,
    /// Where it is: the best of its UDP candidates.
    pub candidate: SocketAddr,
    /// The media sections that were not rejected.
    pub sections: Vec<Section>,
}

/// One media section.
#[derive(Clone, Debug)]
pub struct Section {
    /// Audio or video.
    pub kind: Kind,
    /// Its name.
    pub mid: String,
    /// The codecs, best first.
    pub codecs: Vec<sdp::Codec>,
    /// The ids of the header extensions that matter here.
    pub extensions: ExtensionIds,
    /// The SSRC that the server sends under, and that of its retransmissions.
    pub ssrcs: Option<(u32, Option<u32>)>,
}

impl Remote {
    /// Reads an offer or answer of the server.
    ///
    /// # Errors
    /// If it is no SDP, or something is missing without which there is no transport.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let wrong = |why: &str| Error::protocol("the server's description", why);
        let description = RemoteDescription::parse(text)
            .map_err(|error| Error::protocol("the server's description", error))?;
        let media: Vec<_> = description
            .media
            .iter()
            .filter(|media| !media.rejected)
            .collect();
        let first = media.first().ok_or_else(|| wrong("no media section"))?;
        let ice = first
            .ice
            .as_ref()
            .ok_or_else(|| wrong("no ICE credentials"))?;
        let ice = Credentials::new(&ice.ufrag, &ice.pwd);
        let fingerprints = first.fingerprints.iter();
        let fingerprints: Vec<_> = fingerprints
            .filter_map(|print| Fingerprint::parse(&print.algorithm, &print.value).ok())
            .collect();
        if fingerprints.is_empty() {
            return Err(wrong("no fingerprint"));
        }
        let candidates = media.iter().flat_map(|media| &media.candidates);
        let usable = candidates.filter_map(|candidate| match candidate.address {
            Address::Ip(ip) if candidate.protocol == Protocol::Udp && ip.is_ipv4() => {
                Some((candidate.priority, SocketAddr::new(ip, candidate.port)))
            }
            _ => None,
        });
        let best = usable.max_by_key(|(priority, _)| *priority);
        Ok(Self {
            ice: ice.map_err(|error| Error::protocol("the server's description", error))?,
            fingerprints,
            candidate: best.ok_or_else(|| wrong("no UDP candidate over IPv4"))?.1,
            sections: media.into_iter().filter_map(Section::read).collect(),
        })
    }
}

impl Section {
    fn read(media: &sdp::RemoteMedia) -> Option<Self> {
        let id = |uri: Uri| {
            let named = |extension: &&sdp::RemoteExtension| extension.uri == uri.as_str();
            media.extensions.iter().find(named).map(|found| found.id)
        };
        let pair = media
            .ssrc_groups
            .iter()
            .find(|group| group.semantics == "FID");
        let ssrcs = match pair.map(|group| group.ssrcs.as_slice()) {
            Some([first, second, ..]) => Some((*first, Some(*second))),
            _ => media.ssrcs.first().map(|ssrc| (ssrc.id, None)),
        };
        Some(Self {
            kind: media.media_type.kind()?,
            mid: media.mid.clone(),
            codecs: media.codecs.clone(),
            extensions: ExtensionIds {
                mid: id(Uri::Mid),
                abs_send_time: id(Uri::AbsSendTime),
                transport_sequence: id(Uri::TransportCc),
                audio_level: id(Uri::AudioLevel),
            },
            ssrcs,
        })
    }

    /// The payload type under which `codec` goes, and that of its retransmissions.
    pub fn payload_types(&self, codec: Codec) -> Option<(u8, Option<u8>)> {
        let found = self
            .codecs
            .iter()
            .find(|known| known.name.eq_ignore_ascii_case(name(codec)))?;
        Some((found.payload_type, found.rtx_payload_type))
    }

    /// Retransmissions of `codec` as they come from the server, if there are any.
    pub fn rtx(&self, codec: Codec) -> Option<Rtx> {
        Some(Rtx {
            ssrc: self.ssrcs?.1?,
            payload_type: self.payload_types(codec)?.1?,
        })
    }
}

/// Sound or pictures.
pub(crate) fn kind(codec: Codec) -> Kind {
    match codec {
        Codec::Vp8 | Codec::H264 => Kind::Video,
        Codec::Opus => Kind::Audio,
    }
}

fn name(codec: Codec) -> &'static str {
    match codec {
        Codec::Vp8 => "VP8",
        Codec::H264 => "H264",
        Codec::Opus => "opus",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clock::Rng;

    fn peer() -> Peer {
        let digest: Vec<_> = (0..32).map(|byte| format!("{byte:02X}")).collect();
        Peer {
            ice: Credentials::generate(&mut Rng::from_number(1)),
            fingerprint: digest.join(":"),
            session_id: 77,
            complete: None,
        }
    }

    fn local() -> sdp::LocalParameters {
        sdp::LocalParameters {
            session_id: 5,
            session_version: 1,
            ice: sdp::IceCredentials {
                ufrag: "node".to_owned(),
                pwd: "a".repeat(24),
            },
            fingerprint: sdp::Fingerprint {
                algorithm: "sha-256".to_owned(),
                value: peer().fingerprint,
            },
            candidates: vec!["192.0.2.7:40000".parse().unwrap()],
            audio_redundancy: false,
            video_receive_max: None,
            video_send_max: None,
            transport_cc: true,
        }
    }

    fn offered() -> [Offered; 2] {
        [
            Offered {
                codec: Codec::Opus,
                ssrc: 11,
                rtx_ssrc: None,
            },
            Offered {
                codec: Codec::H264,
                ssrc: 12,
                rtx_ssrc: Some(13),
            },
        ]
    }

    #[test]
    fn the_server_understands_our_offer_and_we_its_answer() {
        let offer = RemoteDescription::parse(&peer().publishing(&offered())).unwrap();
        let (answer, published) =
            sdp::answer_publisher(&offer, &local(), &sdp::CodecPreferences::default()).unwrap();
        assert_eq!(published.media.len(), 2);
        assert_eq!(published.media[1].encodings[0].ssrc, Some(12));
        assert_eq!(published.media[1].encodings[0].rtx_ssrc, Some(13));
        let remote = Remote::parse(&answer).unwrap();
        assert_eq!(remote.candidate, "192.0.2.7:40000".parse().unwrap());
        assert_eq!(remote.ice.ufrag(), "node");
        assert_eq!(remote.sections.len(), 2);
        assert_eq!(
            remote.sections[0].payload_types(Codec::Opus),
            Some((111, None))
        );
        let (h264, rtx) = remote.sections[1].payload_types(Codec::H264).unwrap();
        assert_eq!(rtx, Some(h264 + 1));
        assert_eq!(remote.sections[1].payload_types(Codec::Opus), None);
        assert_eq!(remote.sections[1].extensions.mid, Some(4));
    }

    #[test]
    fn a_complete_description_needs_no_trickling_and_leaves_no_choice_of_roles() {
        let peer = Peer {
            complete: Some("127.1.0.9:5000".parse().unwrap()),
            ..peer()
        };
        let text = peer.publishing(&offered());
        let offer = RemoteDescription::parse(&text).unwrap();
        for media in &offer.media {
            assert_eq!(media.setup, Some(sdp::Setup::Active));
            let ip = Address::Ip([127, 1, 0, 9].into());
            assert_eq!(
                (&media.candidates[0].address, media.candidates[0].port),
                (&ip, 5000)
            );
        }
        assert!(!text.contains("trickle"), "{text}");
    }

    #[test]
    fn what_is_no_description_is_an_error() {
        assert!(Remote::parse("v=0\r\n").is_err());
        assert!(peer().answer("hello").is_err());
        let ours = peer().subscribing(&[Kind::Audio, Kind::Video]);
        let error = Remote::parse(&ours).unwrap_err();
        assert!(error.to_string().contains("candidate"), "{error}");
    }
}
