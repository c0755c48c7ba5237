//! What a negotiation ended in, in the words of the link.

use sdp::{PublishParameters, SubscribeParameters};

/// ICE credentials for the link.
pub fn ice(from: &sdp::IceCredentials) -> link::IceCredentials {
    link::IceCredentials {
        ufrag: from.ufrag.clone(),
        pwd: from.pwd.clone(),
    }
}

/// ICE credentials for a description.
pub fn sdp_ice(from: &link::IceCredentials) -> sdp::IceCredentials {
    sdp::IceCredentials {
        ufrag: from.ufrag.clone(),
        pwd: from.pwd.clone(),
    }
}

/// Fingerprints for the link.
pub fn fingerprints(from: &[sdp::Fingerprint]) -> Vec<link::Fingerprint> {
    from.iter()
        .map(|one| link::Fingerprint {
            algorithm: (&one.algorithm).into(),
            value: one.value.clone(),
        })
        .collect()
}

/// The fingerprint of a node that its descriptions name: sha-256 if there is one, since every client knows it.
pub fn node_fingerprint(from: &[link::Fingerprint]) -> Option<sdp::Fingerprint> {
    from.iter()
        .find(|one| *one.algorithm == *"sha-256")
        .or_else(|| from.first())
        .map(|one| sdp::Fingerprint {
            algorithm: one.algorithm.to_string(),
            value: one.value.clone(),
        })
}

/// The media of a publisher; `is_screen` says that the pictures are a shared screen.
pub fn published(from: &PublishParameters, is_screen: bool) -> Vec<link::PublishedMedia> {
    from.media
        .iter()
        .map(|media| link::PublishedMedia {
            kind: kind(media.kind),
            mid: media.mid.clone(),
            codecs: media.codecs.iter().map(codec).collect(),
            extensions: extensions(&media.extensions),
            encodings: media.encodings.iter().map(encoding).collect(),
            bandwidth_max: media.bandwidth_max,
            is_screen: is_screen && media.kind == sdp::Kind::Video,
        })
        .collect()
}

/// The media of a subscriber.
pub fn subscribed(from: &SubscribeParameters) -> Vec<link::SubscribedMedia> {
    from.media
        .iter()
        .map(|media| link::SubscribedMedia {
            kind: kind(media.kind),
            mid: media.mid.clone(),
            ssrc: media.ssrc,
            rtx_ssrc: media.rtx_ssrc,
            cname: media.cname.clone(),
            codecs: media.codecs.iter().map(mapping).collect(),
            extensions: extensions(&media.extensions),
            bandwidth_max: media.bandwidth_max,
        })
        .collect()
}

fn kind(from: sdp::Kind) -> link::Kind {
    match from {
        sdp::Kind::Audio => link::Kind::Audio,
        sdp::Kind::Video => link::Kind::Video,
    }
}

fn codec(from: &sdp::Codec) -> link::Codec {
    link::Codec {
        payload_type: from.payload_type,
        name: (&from.name).into(),
        clock_rate: from.clock_rate,
        rtx_payload_type: from.rtx_payload_type,
        feedback: link::Feedback {
            nack: from.feedback.nack,
            pli: from.feedback.pli,
            fir: from.feedback.fir,
            remb: from.feedback.remb,
            transport_cc: from.feedback.transport_cc,
        },
    }
}

fn mapping(from: &sdp::CodecMapping) -> link::CodecMapping {
    link::CodecMapping {
        published_payload_type: from.published_payload_type,
        codec: codec(&from.codec),
    }
}

fn extensions(from: &[sdp::Extension]) -> Vec<link::Extension> {
    from.iter()
        .map(|one| link::Extension {
            id: one.id,
            uri: (&one.uri).into(),
        })
        .collect()
}

fn encoding(from: &sdp::Encoding) -> link::Encoding {
    link::Encoding {
        rid: from.rid.clone(),
        ssrc: from.ssrc,
        rtx_ssrc: from.rtx_ssrc,
    }
}
