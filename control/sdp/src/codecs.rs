//! Which codec is taken, and which two are the same.

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::model::{Codec, Kind};

/// A video codec that a node can forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum VideoCodec {
    /// RFC 7741.
    Vp8,
    /// RFC 9628.
    Vp9,
    /// RFC 6184.
    H264,
    /// AV1 RTP payload specification.
    Av1,
}

impl VideoCodec {
    /// The encoding name as registered.
    pub fn name(self) -> &'static str {
        match self {
            Self::Vp8 => "VP8",
            Self::Vp9 => "VP9",
            Self::H264 => "H264",
            Self::Av1 => "AV1",
        }
    }

    /// The codec of this name, in any case.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Vp8, Self::Vp9, Self::H264, Self::Av1]
            .into_iter()
            .find(|codec| codec.name().eq_ignore_ascii_case(name))
    }
}

/// Which video codec a publisher is asked to send. Audio is always Opus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CodecPreferences {
    /// The only one allowed, if any.
    pub forced: Option<VideoCodec>,
    /// Otherwise the first of these that is offered.
    pub order: Vec<VideoCodec>,
}

impl Default for CodecPreferences {
    /// VP8, since every browser has it; then what most subscribers can decode.
    fn default() -> Self {
        Self {
            forced: None,
            order: vec![
                VideoCodec::Vp8,
                VideoCodec::H264,
                VideoCodec::Vp9,
                VideoCodec::Av1,
            ],
        }
    }
}

impl CodecPreferences {
    /// Allows `codec` only.
    pub fn forced(codec: VideoCodec) -> Self {
        Self {
            forced: Some(codec),
            order: Vec::new(),
        }
    }
}

/// The codec to use of those offered; `None` when there is none that we know.
pub(crate) fn choose(
    kind: Kind,
    offered: &[Codec],
    preferences: &CodecPreferences,
) -> Result<Option<Codec>, Error> {
    match (kind, preferences.forced) {
        (Kind::Audio, _) => Ok(offered.iter().find(|codec| is_opus(codec)).map(canonical)),
        (Kind::Video, Some(forced)) => match best(forced, offered) {
            Some(codec) => Ok(Some(codec)),
            None => Err(Error::ForcedCodecNotOffered(forced)),
        },
        (Kind::Video, None) => Ok(preferences
            .order
            .iter()
            .find_map(|&codec| best(codec, offered))),
    }
}

/// The format of `offered` that repeats packets of `codec`, and nothing else (RFC 2198 §5).
pub(crate) fn redundancy<'a>(codec: &Codec, offered: &'a [Codec]) -> Option<&'a Codec> {
    let own = codec.payload_type.to_string();
    offered.iter().find(|one| {
        let mut listed = one.fmtp.split('/');
        is_redundancy(one)
            && one.clock_rate == codec.clock_rate
            && one.channels == codec.channels
            && listed.all(|listed| listed.trim() == own)
    })
}

/// Whether a format repeats what is sent in another.
pub(crate) fn is_redundancy(codec: &Codec) -> bool {
    codec.name.eq_ignore_ascii_case("red")
}

/// The value of `a=fmtp` of a format that repeats packets of `codec`: as often as browsers do, once.
pub(crate) fn redundancy_of(codec: &Codec) -> String {
    format!("{0}/{0}", codec.payload_type)
}

/// RFC 7587 §7: always 48000 Hz and two channels, whatever is sent.
fn is_opus(codec: &Codec) -> bool {
    codec.name.eq_ignore_ascii_case("opus")
        && codec.clock_rate == 48_000
        && codec.channels == Some(2)
}

/// The variant of `wanted` that most receivers can decode; the first offered among equals.
fn best(wanted: VideoCodec, offered: &[Codec]) -> Option<Codec> {
    offered
        .iter()
        .filter(|codec| {
            codec.name.eq_ignore_ascii_case(wanted.name()) && codec.clock_rate == 90_000
        })
        .min_by_key(|codec| rank(wanted, codec))
        .map(canonical)
}

/// How far a variant is from the one that everybody decodes.
fn rank(codec: VideoCodec, offered: &Codec) -> u32 {
    match codec {
        VideoCodec::Vp8 => 0,
        VideoCodec::Vp9 => number(&offered.fmtp, "profile-id"),
        VideoCodec::Av1 => number(&offered.fmtp, "profile"),
        VideoCodec::H264 => {
            // RFC 6184 §8.1. Constrained baseline in mode 1 is what RFC 7742 §6.2 asks of browsers; without mode 1 a
            // slice has to fit a packet.
            let mode = if number(&offered.fmtp, "packetization-mode") == 1 {
                0
            } else {
                10
            };
            let profile = match h264_profile(&offered.fmtp) {
                H264Profile::ConstrainedBaseline => 0,
                H264Profile::Baseline => 1,
                H264Profile::Main => 2,
                H264Profile::Other(..) => 3,
            };
            mode + profile
        }
    }
}

/// The codec with its name spelt as registered.
fn canonical(codec: &Codec) -> Codec {
    let name = match VideoCodec::from_name(&codec.name) {
        Some(video) => video.name(),
        None if codec.name.eq_ignore_ascii_case("opus") => "opus",
        None => &codec.name,
    };
    Codec {
        name: name.to_owned(),
        ..codec.clone()
    }
}

/// Whether what is sent in `a` can be decoded as `b`: name, clock, channels, and the profile where the codec has one.
pub(crate) fn compatible(a: &Codec, b: &Codec) -> bool {
    let same = a.name.eq_ignore_ascii_case(&b.name)
        && a.clock_rate == b.clock_rate
        && a.channels.unwrap_or(1) == b.channels.unwrap_or(1);
    same && match VideoCodec::from_name(&a.name) {
        Some(VideoCodec::Vp9) => number(&a.fmtp, "profile-id") == number(&b.fmtp, "profile-id"),
        Some(VideoCodec::Av1) => number(&a.fmtp, "profile") == number(&b.fmtp, "profile"),
        Some(VideoCodec::H264) => {
            h264_profile(&a.fmtp) == h264_profile(&b.fmtp)
                && number(&a.fmtp, "packetization-mode") == number(&b.fmtp, "packetization-mode")
        }
        Some(VideoCodec::Vp8) | None => true,
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum H264Profile {
    ConstrainedBaseline,
    Baseline,
    Main,
    Other(u8, u8),
}

/// RFC 6184 §8.1 table 5: several `profile-level-id` say the same profile.
fn h264_profile(fmtp: &str) -> H264Profile {
    // Without the parameter it is the baseline profile at level 1 (RFC 6184 §8.1).
    let id = parameter(fmtp, "profile-level-id")
        .and_then(|id| u32::from_str_radix(id, 16).ok())
        .unwrap_or(0x42_00_0a);
    let [_, idc, iop, _level] = id.to_be_bytes();
    match (idc, iop) {
        (0x42, iop) if iop & 0x4f == 0x40 => H264Profile::ConstrainedBaseline,
        (0x4d, iop) if iop & 0x8f == 0x80 => H264Profile::ConstrainedBaseline,
        (0x58, iop) if iop & 0xcf == 0xc0 => H264Profile::ConstrainedBaseline,
        (0x42, iop) if iop & 0x4f == 0 => H264Profile::Baseline,
        (0x58, iop) if iop & 0xcf == 0x80 => H264Profile::Baseline,
        (0x4d, iop) if iop & 0xaf == 0 => H264Profile::Main,
        (idc, iop) => H264Profile::Other(idc, iop),
    }
}

fn number(fmtp: &str, name: &str) -> u32 {
    parameter(fmtp, name)
        .and_then(|value| value.parse().ok())
        .unwrap_or(0)
}

/// The value of `name` in `a=1;b=2`.
pub(crate) fn parameter<'a>(fmtp: &'a str, name: &str) -> Option<&'a str> {
    fmtp.split(';').find_map(|pair| {
        let (key, value) = pair.split_once('=')?;
        key.trim().eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Feedback;

    fn video(payload_type: u8, name: &str, fmtp: &str) -> Codec {
        Codec {
            payload_type,
            name: name.to_owned(),
            clock_rate: 90_000,
            channels: None,
            fmtp: fmtp.to_owned(),
            rtx_payload_type: None,
            feedback: Feedback::default(),
        }
    }

    #[test]
    fn takes_the_variant_that_everybody_decodes() {
        let offered = [
            video(102, "H264", "packetization-mode=1;profile-level-id=42001f"),
            video(114, "H264", "packetization-mode=0;profile-level-id=42e01f"),
            video(108, "H264", "packetization-mode=1;profile-level-id=42e01f"),
            video(100, "VP9", "profile-id=2"),
            video(98, "vp9", "profile-id=0"),
        ];
        let take = |preferences: &CodecPreferences| {
            choose(Kind::Video, &offered, preferences)
                .map(|codec| codec.map(|codec| (codec.payload_type, codec.name)))
        };
        assert_eq!(
            take(&CodecPreferences::default()),
            Ok(Some((108, "H264".to_owned())))
        );
        assert_eq!(
            take(&CodecPreferences::forced(VideoCodec::Vp9)),
            Ok(Some((98, "VP9".to_owned())))
        );
        assert_eq!(
            take(&CodecPreferences::forced(VideoCodec::Av1)),
            Err(Error::ForcedCodecNotOffered(VideoCodec::Av1))
        );
    }

    #[test]
    fn profiles_decide_what_is_the_same() {
        let h264 = |fmtp| video(1, "H264", fmtp);
        let cb = h264("profile-level-id=42e01f;packetization-mode=1");
        assert!(compatible(
            &cb,
            &h264("packetization-mode=1; profile-level-id=42C00B")
        ));
        assert!(!compatible(
            &cb,
            &h264("profile-level-id=42001f;packetization-mode=1")
        ));
        assert!(!compatible(&cb, &h264("profile-level-id=42e01f")));
        assert!(compatible(
            &h264(""),
            &h264("profile-level-id=42001f;packetization-mode=0")
        ));
        assert!(compatible(
            &video(1, "VP9", ""),
            &video(2, "VP9", "profile-id=0")
        ));
        assert!(!compatible(
            &video(1, "VP9", "profile-id=2"),
            &video(2, "VP9", "profile-id=0")
        ));
        assert!(compatible(
            &video(1, "VP8", "max-fs=12288"),
            &video(2, "vp8", "")
        ));
    }
}
