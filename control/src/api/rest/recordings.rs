//! `/recordings`, and the other services that are not there: each says so with 501, as OpenVidu does when they are off.

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::Problem;
use super::body::Fields;

/// The answer of a service that is off.
pub async fn disabled() -> Problem {
    Problem::empty(StatusCode::NOT_IMPLEMENTED)
}

/// The recording properties of a session that names none.
pub fn default_recording_properties() -> Value {
    default_properties(None).unwrap_or_default()
}

/// A session's recording properties, checked and complete: always the same keys, for clients compare them.
pub fn default_properties(fields: Option<Fields>) -> Result<Value, Problem> {
    let fields = match fields {
        Some(fields) => fields,
        None => Fields::parse(&axum::body::Bytes::new())?,
    };
    let unprocessable = |message| Problem::new(StatusCode::UNPROCESSABLE_ENTITY, message);
    let name = fields.text("name")?.unwrap_or("");
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-~".contains(&byte);
    if !name.bytes().all(plain) {
        return Err(Problem::bad(
            "'name' may have letters, digits, '_', '-' and '~' only",
        ));
    }
    let has_audio = fields.flag("hasAudio")?.unwrap_or(true);
    let has_video = fields.flag("hasVideo")?.unwrap_or(true);
    if !has_audio && !has_video {
        return Err(unprocessable(
            "'hasAudio' and 'hasVideo' can't both be false".to_owned(),
        ));
    }
    let resolution = fields.text("resolution")?.unwrap_or("1280x720");
    if !is_resolution(resolution) {
        return Err(unprocessable(
            "'resolution' must be WIDTHxHEIGHT, each 100 to 1999".to_owned(),
        ));
    }
    let modes = ["COMPOSED", "COMPOSED_QUICK_START", "INDIVIDUAL"];
    let layouts = [
        "BEST_FIT",
        "CUSTOM",
        "PICTURE_IN_PICTURE",
        "VERTICAL_PRESENTATION",
        "HORIZONTAL_PRESENTATION",
    ];
    let mut value = json!({
        "name": name,
        "hasAudio": has_audio,
        "hasVideo": has_video,
        "outputMode": fields.word("outputMode", &modes, "COMPOSED")?,
        "recordingLayout": fields.word("recordingLayout", &layouts, "BEST_FIT")?,
        "resolution": resolution,
        "frameRate": fields.number("frameRate", 1..=120, 25, unprocessable)?,
        "shmSize": fields.number("shmSize", 134_217_728..=i64::MAX, 536_870_912, unprocessable)?,
    });
    if let Some(layout) = fields.text("customLayout")?.filter(|text| !text.is_empty()) {
        value["customLayout"] = json!(layout);
    }
    if let Some(ignore) = fields.flag("ignoreFailedStreams")? {
        value["ignoreFailedStreams"] = json!(ignore);
    }
    Ok(value)
}

fn is_resolution(text: &str) -> bool {
    let side = |text: &str| {
        text.parse::<u16>()
            .is_ok_and(|side| (100..=1999).contains(&side))
    };
    text.split_once('x')
        .is_some_and(|(width, height)| side(width) && side(height))
}
