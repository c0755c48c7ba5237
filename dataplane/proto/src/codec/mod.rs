//! What a forwarder must know of a payload: where frames and key frames begin, and which layer a packet is of.
//!
//! Each codec is a file, named as its payload format. Nothing here decodes a picture.

pub mod av1;
pub mod dependency;
mod fuzz;
pub mod h264;
pub mod opus;
pub mod red;
pub mod vp8;
mod vp8_numbers;
pub mod vp9;

#[doc(hidden)]
pub use fuzz::fuzz;
pub use vp8_numbers::Vp8Numbers;

/// A codec, as far as we tell them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Codec {
    /// RFC 7741.
    Vp8,
    /// RFC 9628.
    Vp9,
    /// RFC 6184.
    H264,
    /// AV1 RTP specification of the Alliance for Open Media.
    Av1,
    /// RFC 7587.
    Opus,
    /// RFC 2198: sound of another payload type, and that of packets before it once more.
    Red,
    /// Anything else: forwarded as it is, with every packet taken for a key frame.
    Other,
}

impl Codec {
    /// By the encoding name of `a=rtpmap`, in any case (RFC 8866 §6.6).
    pub fn from_name(name: &str) -> Self {
        let known = [
            Self::Vp8,
            Self::Vp9,
            Self::H264,
            Self::Av1,
            Self::Opus,
            Self::Red,
        ];
        let named = |codec: &Self| name.eq_ignore_ascii_case(codec.name());
        known.into_iter().find(named).unwrap_or(Self::Other)
    }

    /// The encoding name; empty for [`Codec::Other`].
    pub const fn name(self) -> &'static str {
        match self {
            Self::Vp8 => "VP8",
            Self::Vp9 => "VP9",
            Self::H264 => "H264",
            Self::Av1 => "AV1",
            Self::Opus => "opus",
            Self::Red => "red",
            Self::Other => "",
        }
    }

    /// Whether its packets form frames of which some are key frames.
    pub const fn is_video(self) -> bool {
        matches!(self, Self::Vp8 | Self::Vp9 | Self::H264 | Self::Av1)
    }
}

/// Whether a receiver can begin to decode with the packet that has this decrypted `payload`.
///
/// Always true of audio and of unknown codecs; false of a payload that cannot be read.
pub fn is_key_frame_start(codec: Codec, payload: &[u8]) -> bool {
    match codec {
        Codec::Vp8 => vp8::is_key_frame_start(payload),
        Codec::Vp9 => vp9::is_key_frame_start(payload),
        Codec::H264 => h264::is_key_frame_start(payload),
        Codec::Av1 => av1::is_key_frame_start(payload),
        Codec::Opus | Codec::Red | Codec::Other => true,
    }
}

/// Whether the packet with this decrypted `payload` is the first of its frame.
///
/// H.264 and AV1 do not mark it; there it is what the first unit in the payload suggests, see their files.
pub fn starts_frame(codec: Codec, payload: &[u8]) -> bool {
    match codec {
        Codec::Vp8 => vp8::Descriptor::parse(payload).is_some_and(|d| d.starts_frame()),
        Codec::Vp9 => vp9::Descriptor::parse(payload).is_some_and(|d| d.starts_picture()),
        Codec::H264 => h264::starts_frame(payload),
        Codec::Av1 => av1::starts_frame(payload),
        Codec::Opus | Codec::Red | Codec::Other => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_any_case() {
        for codec in [Codec::Vp8, Codec::Vp9, Codec::H264, Codec::Av1, Codec::Opus] {
            assert_eq!(Codec::from_name(codec.name()), codec);
            assert_eq!(Codec::from_name(&codec.name().to_lowercase()), codec);
            assert_eq!(codec.is_video(), codec != Codec::Opus);
        }
        assert_eq!(Codec::from_name("RED"), Codec::Red);
        assert_eq!(Codec::from_name("telephone-event"), Codec::Other);
        assert_eq!(Codec::from_name(""), Codec::Other);
    }

    #[test]
    fn audio_can_always_begin_and_nothing_in_video_cannot() {
        assert!(is_key_frame_start(Codec::Opus, &[]) && starts_frame(Codec::Other, &[]));
        for codec in [Codec::Vp8, Codec::Vp9, Codec::H264, Codec::Av1] {
            assert!(!is_key_frame_start(codec, &[]) && !starts_frame(codec, &[]));
        }
    }
}
