//! The epoch of this master: it grows at each start, so that nodes can tell an old master from its successor.

use std::path::{Path, PathBuf};

const FILE: &str = "epoch";

/// The file can't be read or written.
#[derive(Debug, thiserror::Error)]
#[error("epoch {}: {source}", path.display())]
pub struct Error {
    path: PathBuf,
    source: std::io::Error,
}

/// The next epoch, kept in the data directory before it is used. It is never below the clock, in seconds, so that a lost data
/// directory does not bring back an old one.
///
/// # Errors
/// When the file can't be written.
pub fn next(data_dir: &Path, now_seconds: u64) -> Result<u64, Error> {
    let path = data_dir.join(FILE);
    let last = std::fs::read_to_string(&path)
        .ok()
        .and_then(|text| text.trim().parse::<u64>().ok())
        .unwrap_or(0);
    let next = now_seconds.max(last.saturating_add(1));
    let written = path.with_extension("new");
    std::fs::create_dir_all(data_dir)
        .and_then(|()| std::fs::write(&written, format!("{next}\n")))
        .and_then(|()| std::fs::rename(&written, &path))
        .map_err(|source| Error { path, source })?;
    Ok(next)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_grows_even_when_the_clock_does_not() {
        let dir = std::env::temp_dir().join(format!("ringcast-epoch-{}", std::process::id()));
        assert_eq!(next(&dir, 100).expect("writable"), 100);
        assert_eq!(next(&dir, 100).expect("writable"), 101);
        assert_eq!(next(&dir, 50).expect("writable"), 102);
        assert_eq!(next(&dir, 500).expect("writable"), 500);
        std::fs::remove_dir_all(&dir).expect("removable");
    }
}
