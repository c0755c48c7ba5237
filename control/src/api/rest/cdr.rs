//! `GET /openvidu/cdr`: which files of call detail records there are.

use std::path::Path;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde_json::{Value, json};

use super::{Problem, list as list_of};
use crate::app::App;

/// The files by name; none where none are written.
pub async fn list(State(app): State<Arc<App>>) -> Result<Json<Value>, Problem> {
    let Some(path) = app.config().cdr_path.clone() else {
        return Ok(Json(list_of(Vec::new())));
    };
    let found = tokio::task::spawn_blocking(move || files(&path)).await;
    let found = found.map_err(std::io::Error::other).and_then(|found| found);
    match found {
        Ok(files) => Ok(Json(list_of(files))),
        Err(error) => {
            let text = format!("The files of call detail records can't be listed: {error}");
            Err(Problem::new(StatusCode::INTERNAL_SERVER_ERROR, text))
        }
    }
}

fn files(directory: &Path) -> std::io::Result<Vec<Value>> {
    let entries = match std::fs::read_dir(directory) {
        // Nothing has happened yet.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut files = Vec::new();
    for entry in entries {
        let entry = entry?;
        let about = entry.metadata()?;
        let name = entry.file_name().to_string_lossy().into_owned();
        // What begins with a dot is on its way to be something.
        if !about.is_file() || name.starts_with('.') {
            continue;
        }
        let modified = about.modified()?.duration_since(UNIX_EPOCH);
        files.push((
            name,
            about.len(),
            modified.map_or(0, |since| since.as_millis() as u64),
        ));
    }
    files.sort();
    let shown = files.into_iter();
    let shown = shown.map(|(name, size, at)| json!({"name": name, "size": size, "modifiedAt": at}));
    Ok(shown.collect())
}
