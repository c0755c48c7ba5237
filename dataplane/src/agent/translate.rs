//! From the words of the link to the words of the engine.

use link::state::{self, CloseReason};
use link::{Cause, Trouble};
use proto::codec::Codec;
use proto::dtls::{self, Fingerprint};
use proto::ice::Credentials;
use proto::rtp::Uri;
use sfu::api;

use super::handshake::Progress;

/// Longest ufrag of our own: it returns in every check, and has to fit.
const OWN_UFRAG_MAX: usize = 32;
/// Most media sections of a stream.
const MEDIA_MAX: usize = 16;
/// Most encodings of a medium.
const ENCODINGS_MAX: usize = 8;

/// An entry that makes no sense, in words for an operator.
pub type Senseless = String;

/// A transport for the engine, of no connection yet.
///
/// # Errors
///
/// If its ICE credentials are not valid.
pub fn transport(
    id: api::TransportId,
    transport: &state::Transport,
) -> Result<api::TransportSpec, Senseless> {
    let local = &transport.local_ice;
    if local.ufrag.len() > OWN_UFRAG_MAX {
        return Err(format!(
            "our own ufrag has more than {OWN_UFRAG_MAX} characters"
        ));
    }
    credentials(local)?;
    let remote = transport.remote_ice.as_ref().map(credentials).transpose()?;
    Ok(api::TransportSpec {
        id,
        connection: None,
        local_ufrag: local.ufrag.clone(),
        local_pwd: local.pwd.clone(),
        remote,
    })
}

/// ICE credentials: ufrag, password.
///
/// # Errors
///
/// If RFC 8839 does not allow them.
pub fn credentials(ice: &state::IceCredentials) -> Result<(String, String), Senseless> {
    Credentials::new(&ice.ufrag, &ice.pwd).map_err(|error| format!("ICE credentials: {error}"))?;
    Ok((ice.ufrag.clone(), ice.pwd.clone()))
}

/// The fingerprints that can be compared with. A weak or unknown hash function is as good as none (RFC 8122 §5).
///
/// # Errors
///
/// If there are fingerprints, and none of them can be used.
pub fn fingerprints(list: &[state::Fingerprint]) -> Result<Vec<Fingerprint>, Senseless> {
    let parse = |one: &state::Fingerprint| Fingerprint::parse(&one.algorithm, &one.value);
    let usable: Vec<_> = list.iter().flat_map(parse).collect();
    if usable.is_empty() && !list.is_empty() {
        return Err(format!(
            "no usable certificate fingerprint among {}",
            list.len()
        ));
    }
    Ok(usable)
}

/// A publisher for the engine.
///
/// # Errors
///
/// If there are too many of something.
pub fn publisher(
    id: api::PublisherId,
    transport: api::TransportId,
    publisher: &state::Publisher,
) -> Result<api::PublisherSpec, Senseless> {
    let media = bounded(&publisher.media)?.iter().map(|medium| {
        if !(1..=ENCODINGS_MAX).contains(&medium.encodings.len()) {
            return Err(format!("a medium has 1 to {ENCODINGS_MAX} encodings"));
        }
        let encoding = |encoding: &state::Encoding| api::EncodingSpec {
            rid: encoding.rid.clone(),
            ssrc: encoding.ssrc,
            rtx_ssrc: encoding.rtx_ssrc,
        };
        Ok(api::PublishedMedia {
            kind: kind(medium.kind),
            mid: medium.mid.clone(),
            codecs: medium.codecs.iter().map(codec).collect(),
            extensions: extensions(&medium.extensions),
            encodings: medium.encodings.iter().map(encoding).collect(),
            bandwidth_max: medium.bandwidth_max,
            is_screen: medium.is_screen,
        })
    });
    Ok(api::PublisherSpec {
        id,
        transport,
        media: media.collect::<Result<_, _>>()?,
    })
}

/// A subscriber for the engine.
///
/// # Errors
///
/// If there are too many of something.
pub fn subscriber(
    id: api::SubscriberId,
    transport: api::TransportId,
    publisher: api::PublisherId,
    subscriber: &state::Subscriber,
) -> Result<api::SubscriberSpec, Senseless> {
    let media = bounded(&subscriber.media)?.iter().map(|medium| {
        let mapping =
            |mapping: &state::CodecMapping| (mapping.published_payload_type, codec(&mapping.codec));
        api::SubscribedMedia {
            kind: kind(medium.kind),
            mid: medium.mid.clone(),
            ssrc: medium.ssrc,
            rtx_ssrc: medium.rtx_ssrc,
            cname: medium.cname.clone(),
            codecs: medium.codecs.iter().map(mapping).collect(),
            extensions: extensions(&medium.extensions),
            bandwidth_max: medium.bandwidth_max,
        }
    });
    Ok(api::SubscriberSpec {
        id,
        transport,
        publisher,
        media: media.collect(),
    })
}

fn bounded<T>(media: &[T]) -> Result<&[T], Senseless> {
    if media.len() > MEDIA_MAX {
        return Err(format!("more than {MEDIA_MAX} media sections"));
    }
    Ok(media)
}

fn kind(kind: state::Kind) -> api::Kind {
    match kind {
        state::Kind::Audio => api::Kind::Audio,
        state::Kind::Video => api::Kind::Video,
    }
}

fn codec(codec: &state::Codec) -> api::PayloadType {
    let feedback = &codec.feedback;
    api::PayloadType {
        payload_type: codec.payload_type,
        codec: Codec::from_name(&codec.name),
        clock_rate: codec.clock_rate,
        rtx: codec.rtx_payload_type,
        nack: feedback.nack,
        pli: feedback.pli,
        fir: feedback.fir,
        remb: feedback.remb,
        transport_cc: feedback.transport_cc,
    }
}

/// What we don't know is not forwarded, so that it need not be carried here.
fn extensions(list: &[state::Extension]) -> Vec<(u8, Uri)> {
    let known = |extension: &state::Extension| {
        let uri = Uri::ALL
            .into_iter()
            .find(|uri| *uri.as_str() == *extension.uri)?;
        Some((extension.id, uri))
    };
    list.iter().filter_map(known).collect()
}

/// What is wrong with a transport, as the engine and its handshake see it.
pub fn cause(trouble: api::Trouble, progress: Progress) -> Cause {
    match trouble {
        api::Trouble::NoCheck => Cause::NoCheck,
        api::Trouble::UnknownUfrag => Cause::UnknownUfrag,
        api::Trouble::WrongIntegrity => Cause::WrongIntegrity,
        api::Trouble::NoRemoteDescription => Cause::NoRemoteDescription,
        api::Trouble::AddressNotProven => Cause::AddressNotProven,
        api::Trouble::NoKeys => match progress {
            Progress::Unbegun => Cause::NoClientHello,
            Progress::UnderWay => Cause::HandshakeUnfinished,
            Progress::AwaitsFingerprint => Cause::FingerprintMissing,
        },
        api::Trouble::NoMedia => Cause::NoMedia,
        api::Trouble::NoPictures => Cause::NoPictures,
        api::Trouble::PublisherAbsent => Cause::PublisherAbsent,
        api::Trouble::PublisherSilent => Cause::PublisherSilent,
        api::Trouble::NoKeyFrame => Cause::NoKeyFrame,
        api::Trouble::NoRoom => Cause::NoRoom,
        api::Trouble::NotForwarded => Cause::NotForwarded,
    }
}

/// Why a handshake ended; nothing if we wanted that.
pub fn handshake_trouble(reason: dtls::CloseReason) -> Option<Trouble> {
    let cause = match reason {
        dtls::CloseReason::FingerprintMismatch => Cause::FingerprintMismatch,
        dtls::CloseReason::FingerprintTimeout => Cause::FingerprintMissing,
        dtls::CloseReason::NoCommonSrtpProfile => Cause::NoCommonSrtpProfile,
        dtls::CloseReason::HandshakeTimeout => Cause::HandshakeUnfinished,
        dtls::CloseReason::Alert(_) => Cause::AlertReceived,
        dtls::CloseReason::Version => Cause::DtlsVersion,
        dtls::CloseReason::NoCommonCipherSuite => Cause::NoCommonCipherSuite,
        dtls::CloseReason::HandshakeFailed => Cause::HandshakeFailed,
        dtls::CloseReason::PeerClosed => Cause::ClosedByPeer,
        dtls::CloseReason::Local => return None,
    };
    let detail = match reason {
        dtls::CloseReason::Alert(number) => Some(format!("alert {number}: {}", alert_name(number))),
        _ => None,
    };
    Some(Trouble { cause, detail })
}

/// RFC 5246 §7.2, those that occur.
fn alert_name(number: u8) -> &'static str {
    match number {
        10 => "unexpected_message",
        20 => "bad_record_mac",
        22 => "record_overflow",
        40 => "handshake_failure",
        42 => "bad_certificate",
        43 => "unsupported_certificate",
        44 => "certificate_revoked",
        45 => "certificate_expired",
        46 => "certificate_unknown",
        47 => "illegal_parameter",
        48 => "unknown_ca",
        50 => "decode_error",
        51 => "decrypt_error",
        70 => "protocol_version",
        71 => "insufficient_security",
        80 => "internal_error",
        90 => "user_canceled",
        110 => "unsupported_extension",
        _ => "of no name",
    }
}

/// The result of a handshake that ended so, for metrics, and the word of the link.
pub fn close_reason(reason: dtls::CloseReason) -> (&'static str, CloseReason) {
    match reason {
        dtls::CloseReason::FingerprintMismatch => {
            ("fingerprint_mismatch", CloseReason::FingerprintMismatch)
        }
        dtls::CloseReason::FingerprintTimeout => {
            ("fingerprint_timeout", CloseReason::FingerprintTimeout)
        }
        dtls::CloseReason::NoCommonSrtpProfile => {
            ("no_common_srtp_profile", CloseReason::NoCommonSrtpProfile)
        }
        dtls::CloseReason::HandshakeTimeout
        | dtls::CloseReason::Alert(_)
        | dtls::CloseReason::Version
        | dtls::CloseReason::NoCommonCipherSuite
        | dtls::CloseReason::HandshakeFailed => ("failed", CloseReason::HandshakeFailed),
        dtls::CloseReason::PeerClosed => ("closed_by_peer", CloseReason::ClosedByPeer),
        dtls::CloseReason::Local => ("removed", CloseReason::Removed),
    }
}

/// The label in metrics.
pub fn reason_label(reason: CloseReason) -> &'static str {
    match reason {
        CloseReason::Removed => "removed",
        CloseReason::IceTimeout => "ice_timeout",
        CloseReason::ConsentLost => "consent_lost",
        CloseReason::HandshakeFailed => "handshake_failed",
        CloseReason::FingerprintMismatch => "fingerprint_mismatch",
        CloseReason::FingerprintTimeout => "fingerprint_timeout",
        CloseReason::NoCommonSrtpProfile => "no_common_srtp_profile",
        CloseReason::ClosedByPeer => "closed_by_peer",
        CloseReason::NodeStopped => "node_stopped",
    }
}

/// Every label that the end of a transport or a handshake can have.
#[cfg(test)]
pub fn end_labels() -> impl Iterator<Item = &'static str> {
    use dtls::CloseReason as Handshake;
    let transports = [
        CloseReason::Removed,
        CloseReason::IceTimeout,
        CloseReason::ConsentLost,
        CloseReason::HandshakeFailed,
        CloseReason::FingerprintMismatch,
        CloseReason::FingerprintTimeout,
        CloseReason::NoCommonSrtpProfile,
        CloseReason::ClosedByPeer,
        CloseReason::NodeStopped,
    ];
    let handshakes = [
        Handshake::FingerprintMismatch,
        Handshake::FingerprintTimeout,
        Handshake::NoCommonSrtpProfile,
        Handshake::HandshakeFailed,
        Handshake::PeerClosed,
        Handshake::Local,
    ];
    let handshakes = handshakes.map(|reason| close_reason(reason).0);
    let connected = ["connected"].into_iter();
    connected
        .chain(transports.map(reason_label))
        .chain(handshakes)
}
