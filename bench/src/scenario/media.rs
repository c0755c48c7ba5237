//! What publishers send, on the command line.

use core::time::Duration;
use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::plan::{Codec, Medium, Packets, Sizes, Stream, Synthetic};

/// Sound as browsers send it: a packet every 20 ms.
const AUDIO_PACKETS_PER_SECOND: f64 = 50.0;
/// RTP header, extensions and 20 ms of Opus at about 40 kbit/s.
const AUDIO_PACKET_BYTES: u16 = 120;

/// What each publisher sends.
#[derive(Clone, Debug, PartialEq, Args)]
pub struct MediaArguments {
    /// What each publisher sends; the default depends on the scenario.
    #[arg(long, value_enum)]
    pub media: Option<MediaKind>,
    /// Codec of the pictures.
    #[arg(long, value_enum, default_value_t = VideoCodec::Vp8)]
    pub codec: VideoCodec,
    /// Bits per second of the pictures, such as 500k or 2.5M; frames have then sizes as from a browser.
    #[arg(long, value_name = "BITS/S", value_parser = parse_bitrate, conflicts_with = "burst")]
    pub bitrate: Option<f64>,
    /// Frames per second.
    #[arg(long, default_value_t = 30.0)]
    pub fps: f64,
    /// Largest packet of pictures, in bytes, with an RTP header of 12 bytes.
    #[arg(long, value_name = "BYTES", default_value_t = 1_200)]
    pub packet_bytes: u16,
    /// Every frame has exactly so many packets, all of the same size, back to back.
    #[arg(long, value_name = "PACKETS")]
    pub burst: Option<u32>,
    /// Time between the packets of a frame; none: back to back, as browsers do.
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = humantime::parse_duration)]
    pub spacing: Duration,
    /// A key frame every so many frames; otherwise only when asked for.
    #[arg(long, value_name = "FRAMES")]
    pub key_frame_every: Option<u32>,
    /// Pictures from a file (rtpdump, pcap or pcapng), in a loop.
    #[arg(long, value_name = "FILE")]
    pub recording: Option<PathBuf>,
    /// Sound from a file.
    #[arg(long, value_name = "FILE")]
    pub audio_recording: Option<PathBuf>,
}

/// Which media a stream has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum MediaKind {
    /// Pictures.
    Video,
    /// Sound.
    Audio,
    /// Pictures and sound.
    Both,
}

/// Codecs of pictures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum VideoCodec {
    /// RFC 7741.
    Vp8,
    /// RFC 6184.
    H264,
}

/// What they are where nothing is said.
impl Default for MediaArguments {
    fn default() -> Self {
        Self {
            media: None,
            codec: VideoCodec::Vp8,
            bitrate: None,
            fps: 30.0,
            packet_bytes: 1_200,
            burst: None,
            spacing: Duration::ZERO,
            key_frame_every: None,
            recording: None,
            audio_recording: None,
        }
    }
}

impl MediaArguments {
    /// A publisher's stream. Kind and bits per second are the scenario's unless they were given.
    pub(super) fn stream(&self, kind: MediaKind, bitrate: f64) -> Stream {
        let kind = self.media.unwrap_or(kind);
        Stream {
            video: (kind != MediaKind::Audio).then(|| self.video(bitrate)),
            audio: (kind != MediaKind::Video).then(|| self.audio()),
        }
    }

    /// In words, for names.
    pub(super) fn describe(&self, kind: MediaKind, bitrate: f64) -> String {
        let kind = self.media.unwrap_or(kind);
        let video = match (&self.recording, self.burst) {
            (Some(path), _) => format!("pictures from {}", path.display()),
            (None, Some(packets)) => {
                let (bytes, rate) = (self.packet_bytes, self.fps);
                let times = plural(packets, "packet");
                format!("{times} of {bytes} B {rate}/s")
            }
            (None, None) => format!("video {}bit/s", si(self.bitrate.unwrap_or(bitrate))),
        };
        match kind {
            MediaKind::Video => video,
            MediaKind::Audio => "audio".to_owned(),
            MediaKind::Both => format!("{video} and audio"),
        }
    }

    fn video(&self, bitrate: f64) -> Medium {
        let codec = match self.codec {
            VideoCodec::Vp8 => Codec::Vp8,
            VideoCodec::H264 => Codec::H264,
        };
        if let Some(path) = &self.recording {
            return recorded(path, codec);
        }
        let bitrate = self.bitrate.unwrap_or(bitrate);
        let mean = bitrate / 8.0 / self.fps / f64::from(self.packet_bytes);
        let (packets_per_frame, packet_bytes) = match self.burst {
            Some(packets) => (Packets::Fixed(packets), Sizes::Fixed(self.packet_bytes)),
            None => (
                Packets::AroundMean(mean),
                Sizes::EqualParts {
                    max: self.packet_bytes,
                },
            ),
        };
        Medium::Synthetic(Synthetic {
            codec,
            frames_per_second: self.fps,
            packets_per_frame,
            packet_bytes,
            spacing: self.spacing,
            key_frame_every: self.key_frame_every,
        })
    }

    fn audio(&self) -> Medium {
        match &self.audio_recording {
            Some(path) => recorded(path, Codec::Opus),
            None => sound(AUDIO_PACKETS_PER_SECOND, AUDIO_PACKET_BYTES),
        }
    }
}

/// Made-up sound.
pub(super) fn sound(packets_per_second: f64, packet_bytes: u16) -> Medium {
    Medium::Synthetic(Synthetic {
        codec: Codec::Opus,
        frames_per_second: packets_per_second,
        packets_per_frame: Packets::Fixed(1),
        packet_bytes: Sizes::Fixed(packet_bytes),
        spacing: Duration::ZERO,
        key_frame_every: None,
    })
}

fn recorded(path: &std::path::Path, codec: Codec) -> Medium {
    Medium::Recorded {
        path: path.to_path_buf(),
        codec,
    }
}

/// `500k`, `2.5M`, `300000`.
fn parse_bitrate(text: &str) -> Result<f64, String> {
    let (number, factor) = match text.strip_suffix(['k', 'K', 'M']) {
        Some(number) if text.ends_with('M') => (number, 1e6),
        Some(number) => (number, 1e3),
        None => (text, 1.0),
    };
    let value: f64 = number
        .parse()
        .map_err(|_| format!("{text} is no number of bits such as 500k or 2.5M"))?;
    let bits = value * factor;
    if !(1e3..=1e9).contains(&bits) {
        return Err("from 1k to 1000M are possible".to_owned());
    }
    Ok(bits)
}

/// `2.5 M`, `500 k`.
fn si(value: f64) -> String {
    if value >= 1e6 {
        format!("{} M", round(value / 1e6))
    } else {
        format!("{} k", round(value / 1e3))
    }
}

fn round(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

/// `1 packet`, `3 packets`.
pub(super) fn plural(count: impl Into<u64>, noun: &str) -> String {
    match count.into() {
        1 => format!("1 {noun}"),
        count => format!("{count} {noun}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bitrates_are_read() {
        assert_eq!(parse_bitrate("500k"), Ok(500_000.0));
        assert_eq!(parse_bitrate("2.5M"), Ok(2_500_000.0));
        assert_eq!(parse_bitrate("30000"), Ok(30_000.0));
        assert!(parse_bitrate("M").is_err());
        assert!(parse_bitrate("5").is_err());
        assert_eq!(si(2_500_000.0), "2.5 M");
    }
}
