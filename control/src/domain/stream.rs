//! A published stream: what its publisher says of it, and what changed since.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{ConnectionId, Millis, StreamId};

/// What a publisher says of its stream.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StreamProperties {
    /// It has sound.
    pub has_audio: bool,
    /// It has pictures.
    pub has_video: bool,
    /// Sound is on; none without sound.
    pub audio_active: Option<bool>,
    /// Pictures are on; none without pictures.
    pub video_active: Option<bool>,
    /// `CAMERA`, `SCREEN` or `CUSTOM`; none without pictures.
    pub type_of_video: Option<String>,
    /// Pictures a second; -1: unknown; none: not said.
    pub frame_rate: Option<i64>,
    /// JSON **text** of width and height: clients break on an object.
    pub video_dimensions: Option<String>,
    /// The filter that the publisher asked for. None is ever applied.
    pub filter: Option<Value>,
}

impl StreamProperties {
    /// Its pictures are a shared screen. Clients say so when they publish, and it stays so whatever track they put in its place.
    pub fn is_screen(&self) -> bool {
        self.type_of_video.as_deref() == Some("SCREEN")
    }
}

/// A stream that others may receive.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Stream {
    /// Its id.
    pub id: StreamId,
    /// Who publishes it.
    pub connection: ConnectionId,
    /// When it was published.
    pub created_at: Millis,
    /// What it is.
    pub properties: StreamProperties,
}

impl Stream {
    /// Takes a change that the publisher announced into the state that later joiners see.
    pub fn change(&mut self, property: &str, value: &Value) {
        match property {
            "audioActive" => {
                self.properties.audio_active = value.as_bool().or(self.properties.audio_active);
            }
            "videoActive" => {
                self.properties.video_active = value.as_bool().or(self.properties.video_active);
            }
            "videoDimensions" => {
                if let Some(text) = value.as_str() {
                    self.properties.video_dimensions = Some(text.to_owned());
                }
            }
            // A replaced track changes nothing that a joiner is told.
            _ => {}
        }
    }
}
