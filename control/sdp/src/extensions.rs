//! RTP header extensions that a node reads or writes, by URI.

use crate::model::{Codec, Extension, Kind};

/// RFC 9143.
pub(crate) const MID: &str = "urn:ietf:params:rtp-hdrext:sdes:mid";
/// RFC 8852.
pub(crate) const RID: &str = "urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id";
/// RFC 8852, on retransmissions.
pub(crate) const REPAIRED_RID: &str = "urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id";
/// RFC 6464.
pub(crate) const AUDIO_LEVEL: &str = "urn:ietf:params:rtp-hdrext:ssrc-audio-level";
/// The send time that REMB is computed from.
pub(crate) const ABS_SEND_TIME: &str = "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time";
/// draft-holmer-rmcat-transport-wide-cc-extensions-01.
pub(crate) const TRANSPORT_CC: &str =
    "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01";
/// 3GPP TS 26.114 §7.4.5.
pub(crate) const VIDEO_ORIENTATION: &str = "urn:3gpp:video-orientation";
/// The sender's bounds for the jitter buffer.
pub(crate) const PLAYOUT_DELAY: &str = "http://www.webrtc.org/experiments/rtp-hdrext/playout-delay";
/// Camera or screen.
pub(crate) const VIDEO_CONTENT_TYPE: &str =
    "http://www.webrtc.org/experiments/rtp-hdrext/video-content-type";
/// Primaries, transfer, matrix, range and HDR metadata.
pub(crate) const COLOR_SPACE: &str = "http://www.webrtc.org/experiments/rtp-hdrext/color-space";
/// AV1 RTP payload specification, appendix A.
pub(crate) const DEPENDENCY_DESCRIPTOR: &str =
    "https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension";

/// Which simulcast encodings the sender produces.
pub(crate) const LAYERS_ALLOCATION: &str =
    "http://www.webrtc.org/experiments/rtp-hdrext/video-layers-allocation00";

/// What we offer a subscriber, under the ids that Chromium uses itself, so that a capture reads alike on both sides.
const OFFERED: [(u8, &str); 9] = [
    (1, AUDIO_LEVEL),
    (2, ABS_SEND_TIME),
    (3, TRANSPORT_CC),
    (4, MID),
    (5, PLAYOUT_DELAY),
    (6, VIDEO_CONTENT_TYPE),
    (8, COLOR_SPACE),
    (12, DEPENDENCY_DESCRIPTOR),
    (13, VIDEO_ORIENTATION),
];

/// Whether an extension is of use on packets that a publisher sends us.
pub(crate) fn useful_from_publisher(uri: &str, kind: Kind, transport_cc: bool) -> bool {
    match uri {
        TRANSPORT_CC => transport_cc,
        MID | ABS_SEND_TIME => true,
        AUDIO_LEVEL => kind == Kind::Audio,
        RID
        | REPAIRED_RID
        | VIDEO_ORIENTATION
        | PLAYOUT_DELAY
        | VIDEO_CONTENT_TYPE
        | COLOR_SPACE
        | DEPENDENCY_DESCRIPTOR
        | LAYERS_ALLOCATION => kind == Kind::Video,
        _ => false,
    }
}

/// Whether an extension is of use on packets that we send a subscriber in one of `codecs`.
pub(crate) fn useful_to_subscriber(
    uri: &str,
    kind: Kind,
    codecs: &[Codec],
    transport_cc: bool,
) -> bool {
    match uri {
        // A subscriber sees one encoding under one SSRC, whatever we switch between.
        RID | REPAIRED_RID | LAYERS_ALLOCATION => false,
        // It numbers the frames of one encoding, and a decoder that gets it believes it: after a switch between VP8 or
        // H.264 encodings it would contradict the stream. Those codecs need it for nothing; AV1 relies on it.
        DEPENDENCY_DESCRIPTOR => {
            kind == Kind::Video
                && codecs
                    .iter()
                    .any(|codec| codec.name.eq_ignore_ascii_case("AV1"))
        }
        _ => useful_from_publisher(uri, kind, transport_cc),
    }
}

/// The extensions of a section that we offer.
pub(crate) fn offered(kind: Kind, codecs: &[Codec], transport_cc: bool) -> Vec<Extension> {
    OFFERED
        .iter()
        .filter(|(_, uri)| useful_to_subscriber(uri, kind, codecs, transport_cc))
        .map(|&(id, uri)| Extension {
            id,
            uri: uri.to_owned(),
        })
        .collect()
}
