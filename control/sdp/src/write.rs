//! What offers and answers of ours have in common, and what we need of the peer for a transport.

use std::net::SocketAddr;

use crate::candidate::Candidate;
use crate::error::Error;
use crate::model::{
    Codec, CodecMapping, Feedback, Fingerprint, IceCredentials, Kind, LocalParameters, Msid,
};
use crate::remote::{
    Direction, RemoteDescription, RemoteExtension, RemoteMedia, Rid, Setup, SsrcGroup,
};
use crate::session::{Attribute, MediaSection, Session};

/// One of our media sections that is in use.
pub(crate) struct Section<'a> {
    pub(crate) kind: Kind,
    pub(crate) mid: &'a str,
    pub(crate) protocol: &'a str,
    /// As we see it.
    pub(crate) direction: Direction,
    pub(crate) codecs: Vec<Codec>,
    /// With the direction as we see it.
    pub(crate) extensions: Vec<RemoteExtension>,
    pub(crate) rtcp_rsize: bool,
    /// The encodings that we take, as the peer wrote them.
    pub(crate) rids: Vec<Rid>,
    pub(crate) simulcast: bool,
    /// How much we take, in bit/s.
    pub(crate) receive_max: Option<u64>,
    /// What we send, if we do.
    pub(crate) source: Option<Source<'a>>,
}

/// The announced identity of what we send.
#[derive(Clone, Copy)]
pub(crate) struct Source<'a> {
    pub(crate) ssrc: u32,
    pub(crate) rtx_ssrc: Option<u32>,
    pub(crate) cname: &'a str,
    pub(crate) msid: &'a Msid,
}

/// The session level.
pub(crate) fn session(local: &LocalParameters, bundle: &[&str]) -> Session {
    let mut attributes = Vec::new();
    if !bundle.is_empty() {
        attributes.push(Attribute::new(
            "group",
            format!("BUNDLE {}", bundle.join(" ")),
        ));
    }
    attributes.push(Attribute::flag("ice-lite"));
    attributes.push(Attribute::new("msid-semantic", " WMS *"));
    // RFC 8866 §5.2: numeric; RFC 9429 §5.2.1: 63 bits.
    let session_id = local.session_id & (u64::MAX >> 1);
    Session {
        origin: format!("- {session_id} {} IN IP4 127.0.0.1", local.session_version),
        name: "-".to_owned(),
        connection: None,
        attributes,
        media: Vec::new(),
    }
}

/// A section in use.
pub(crate) fn section(local: &LocalParameters, section: &Section<'_>, setup: &str) -> MediaSection {
    let mut out = head(local, section);
    out.attribute("ice-ufrag", &*local.ice.ufrag);
    out.attribute("ice-pwd", &*local.ice.pwd);
    let fingerprint = &local.fingerprint;
    out.attribute(
        "fingerprint",
        format!("{} {}", fingerprint.algorithm, fingerprint.value),
    );
    out.attribute("setup", setup);
    out.attribute("mid", section.mid);
    for extension in &section.extensions {
        let direction = match extension.direction {
            None | Some(Direction::SendRecv) => String::new(),
            Some(direction) => format!("/{}", direction.as_str()),
        };
        let value = format!("{}{direction} {}", extension.id, extension.uri);
        out.attribute("extmap", value);
    }
    out.flag(section.direction.as_str());
    if let Some(source) = &section.source {
        out.attribute(
            "msid",
            format!("{} {}", source.msid.stream, source.msid.track),
        );
    }
    out.flag("rtcp-mux");
    if section.rtcp_rsize {
        out.flag("rtcp-rsize");
        // RFC 3611 §5: a browser that only receives learns its round trip by asking for it, and without one it repeats NACKs late
        // and leaves them no time in its jitter buffer.
        out.attribute("rtcp-xr", "rcvr-rtt=all");
    }
    section
        .codecs
        .iter()
        .for_each(|codec| write_codec(&mut out, codec));
    write_rids(&mut out, section);
    if let Some(source) = section.source {
        write_source(&mut out, source);
    }
    for candidate in host_candidates(&local.candidates) {
        out.attribute("candidate", candidate.to_string());
    }
    out.flag("end-of-candidates");
    out
}

/// A section of the peer's that we do not take (RFC 3264 §6: port 0, one format at least).
pub(crate) fn rejected(remote: &RemoteMedia) -> MediaSection {
    let mut out = MediaSection {
        media: remote.media_type.as_str().to_owned(),
        port: 0,
        protocol: remote.protocol.clone(),
        formats: remote.formats.iter().take(1).cloned().collect(),
        connection: Some("IN IP4 0.0.0.0".to_owned()),
        bandwidth: Vec::new(),
        attributes: Vec::new(),
        line: 0,
    };
    out.attribute("mid", &*remote.mid);
    out.flag("inactive");
    out
}

fn head(local: &LocalParameters, section: &Section<'_>) -> MediaSection {
    let formats = section
        .codecs
        .iter()
        .flat_map(|codec| [Some(codec.payload_type), codec.rtx_payload_type])
        .flatten()
        .map(|number| number.to_string())
        .collect();
    // RFC 8839 §4.2: the default destination; without a candidate, the discard port.
    let (connection, port) = match local.candidates.first() {
        Some(address) => {
            let ip = address.ip().to_canonical();
            let family = if ip.is_ipv4() { "IP4" } else { "IP6" };
            (format!("IN {family} {ip}"), address.port())
        }
        None => ("IN IP4 0.0.0.0".to_owned(), 9),
    };
    MediaSection {
        media: section.kind.as_str().to_owned(),
        port,
        protocol: section.protocol.to_owned(),
        formats,
        connection: Some(connection),
        bandwidth: section.receive_max.map(bandwidth).unwrap_or_default(),
        attributes: Vec::new(),
        line: 0,
    }
}

/// What the peer may send, in both ways that browsers know: in kbit/s with the headers of IP and UDP (RFC 8866 §5.8), and in
/// bit/s without (RFC 3890 §6.2).
fn bandwidth(max: u64) -> Vec<String> {
    vec![format!("AS:{}", max.div_ceil(1_000)), format!("TIAS:{max}")]
}

fn write_codec(out: &mut MediaSection, codec: &Codec) {
    let number = codec.payload_type;
    let channels = match codec.channels {
        Some(channels) => format!("/{channels}"),
        None => String::new(),
    };
    out.attribute(
        "rtpmap",
        format!("{number} {}/{}{channels}", codec.name, codec.clock_rate),
    );
    let Feedback {
        nack,
        pli,
        fir,
        remb,
        transport_cc,
    } = codec.feedback;
    let values = [
        (remb, "goog-remb"),
        (transport_cc, "transport-cc"),
        (fir, "ccm fir"),
        (nack, "nack"),
        (pli, "nack pli"),
    ];
    for (_, value) in values.iter().filter(|(wanted, _)| *wanted) {
        out.attribute("rtcp-fb", format!("{number} {value}"));
    }
    if !codec.fmtp.is_empty() {
        out.attribute("fmtp", format!("{number} {}", codec.fmtp));
    }
    if let Some(rtx) = codec.rtx_payload_type {
        out.attribute("rtpmap", format!("{rtx} rtx/{}", codec.clock_rate));
        out.attribute("fmtp", format!("{rtx} apt={number}"));
    }
}

/// RFC 8853 §5.3.2: the answer receives what the offer sends.
fn write_rids(out: &mut MediaSection, section: &Section<'_>) {
    for rid in &section.rids {
        let value = format!("{} recv {}", rid.id, rid.restrictions);
        out.attribute("rid", value.trim_end());
    }
    if section.simulcast {
        let ids: Vec<&str> = section.rids.iter().map(|rid| rid.id.as_str()).collect();
        out.attribute("simulcast", format!("recv {}", ids.join(";")));
    }
}

fn write_source(out: &mut MediaSection, source: Source<'_>) {
    if let Some(rtx) = source.rtx_ssrc {
        out.attribute("ssrc-group", format!("FID {} {rtx}", source.ssrc));
    }
    for ssrc in [Some(source.ssrc), source.rtx_ssrc].into_iter().flatten() {
        out.attribute("ssrc", format!("{ssrc} cname:{}", source.cname));
        let Msid { stream, track } = source.msid;
        out.attribute("ssrc", format!("{ssrc} msid:{stream} {track}"));
    }
}

fn host_candidates(addresses: &[SocketAddr]) -> impl Iterator<Item = Candidate> + '_ {
    addresses.iter().zip(0_u16..).map(|(&address, rank)| {
        // RFC 8445 §5.1.1.3: the same foundation for the same base address.
        let foundation = addresses
            .iter()
            .position(|other| other.ip() == address.ip())
            .unwrap_or_default();
        Candidate::host(address, rank, foundation.saturating_add(1))
    })
}

/// What a transport needs to know of the peer.
pub(crate) struct Peer {
    pub(crate) ice: IceCredentials,
    pub(crate) fingerprints: Vec<Fingerprint>,
}

/// Takes credentials and fingerprints from the sections in use, and checks that one transport can serve them all with us
/// as the DTLS server.
pub(crate) fn peer(
    remote: &RemoteDescription,
    used: &[&RemoteMedia],
    setups: &[Setup],
) -> Result<Peer, Error> {
    if remote.ice_lite {
        return Err(Error::PeerIsLite);
    }
    let first = *used.first().ok_or(Error::NoUsableMedia)?;
    let mid = first.mid.clone();
    let bundle = remote.bundles.iter().find(|mids| mids.contains(&first.mid));
    for section in used {
        let mid = section.mid.clone();
        let alone = section.mid == first.mid;
        if !alone && !bundle.is_some_and(|mids| mids.contains(&mid)) {
            return Err(Error::NotBundled { mid });
        }
        if !section.rtcp_mux {
            return Err(Error::NoRtcpMux { mid });
        }
        if section.setup.is_some_and(|setup| !setups.contains(&setup)) {
            return Err(Error::Setup { mid });
        }
    }
    // RFC 9143 §7.1.3: in a bundle these may be given once.
    if used.iter().all(|section| section.setup.is_none()) {
        return Err(Error::Setup { mid });
    }
    let ice = used.iter().find_map(|section| section.ice.clone());
    let fingerprints = used
        .iter()
        .map(|section| usable(&section.fingerprints))
        .find(|fingerprints| !fingerprints.is_empty());
    Ok(Peer {
        ice: ice.ok_or(Error::NoIceCredentials { mid: mid.clone() })?,
        fingerprints: fingerprints.ok_or(Error::NoFingerprint { mid })?,
    })
}

fn usable(fingerprints: &[Fingerprint]) -> Vec<Fingerprint> {
    // RFC 8122 §5 leaves the others to history.
    let good =
        |one: &&Fingerprint| matches!(one.algorithm.as_str(), "sha-256" | "sha-384" | "sha-512");
    fingerprints.iter().filter(good).cloned().collect()
}

/// The feedback that makes sense from a subscriber. Audio has no RTX, so a NACK could not be served.
pub(crate) fn subscriber_feedback(kind: Kind, local: &LocalParameters) -> Feedback {
    let video = kind == Kind::Video;
    Feedback {
        nack: video,
        pli: video,
        fir: video,
        remb: video,
        transport_cc: local.transport_cc,
    }
}

/// The feedback that makes sense to a publisher.
pub(crate) fn publisher_feedback(kind: Kind, local: &LocalParameters) -> Feedback {
    Feedback {
        nack: true,
        ..subscriber_feedback(kind, local)
    }
}

/// The distinct codecs of a mapping, in order.
pub(crate) fn distinct(mappings: &[CodecMapping]) -> Vec<Codec> {
    let mut codecs: Vec<Codec> = Vec::new();
    for CodecMapping { codec, .. } in mappings {
        if codecs
            .iter()
            .all(|known| known.payload_type != codec.payload_type)
        {
            codecs.push(codec.clone());
        }
    }
    codecs
}

/// The SSRC of each encoding and of its retransmissions, as far as announced (RFC 5576 §4.2): one of each, or as many as a
/// group `SIM` lists, lowest first, as browsers had it before RIDs.
pub(crate) fn announced(section: &RemoteMedia) -> Vec<(Option<u32>, Option<u32>)> {
    let groups = |wanted: &'static str| {
        let groups = section.ssrc_groups.iter();
        groups.filter(move |SsrcGroup { semantics, .. }| semantics == wanted)
    };
    let pairs = || groups("FID").filter_map(|group| <[u32; 2]>::try_from(&*group.ssrcs).ok());
    if let Some(simulcast) = groups("SIM").find(|group| group.ssrcs.len() > 1) {
        let rtx = |ssrc| pairs().find(|[media, _]| *media == ssrc);
        let ssrcs = simulcast.ssrcs.iter().enumerate();
        return ssrcs
            .filter(|(nth, ssrc)| !simulcast.ssrcs.iter().take(*nth).any(|one| one == *ssrc))
            .map(|(_, ssrc)| ssrc)
            .map(|ssrc| (Some(*ssrc), rtx(*ssrc).map(|[_, rtx]| rtx)))
            .collect();
    }
    match pairs().next() {
        Some([ssrc, rtx]) => vec![(Some(ssrc), Some(rtx))],
        None => vec![(section.ssrcs.first().map(|ssrc| ssrc.id), None)],
    }
}
