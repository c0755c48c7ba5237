//! Files that a command is to write: opened before it begins, so that nobody waits for an hour to hear that one can't be written.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};

/// One of them. What was in it stays until it is written; if it never is, a file that was not there before goes again.
#[derive(Debug)]
pub(super) struct Output {
    path: PathBuf,
    file: File,
    is_new: bool,
}

impl Output {
    /// Opens it, if one is wanted.
    pub(super) fn open(path: Option<&PathBuf>) -> anyhow::Result<Option<Self>> {
        let open = |path: &PathBuf| {
            Self::try_open(path).with_context(|| format!("{} can't be written", path.display()))
        };
        path.map(open).transpose()
    }

    fn try_open(path: &Path) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.write(true);
        let new = options.clone().create_new(true).open(path);
        let (file, is_new) = match new {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                (options.open(path)?, false)
            }
            other => (other?, true),
        };
        let path = path.to_owned();
        Ok(Self { path, file, is_new })
    }

    /// Replaces what is in it.
    pub(super) fn write(mut self, text: &str) -> anyhow::Result<()> {
        self.try_write(text)
            .with_context(|| format!("{} can't be written", self.path.display()))?;
        self.is_new = false;
        Ok(())
    }

    fn try_write(&mut self, text: &str) -> io::Result<()> {
        // Pipes and devices have no length.
        if self.file.metadata()?.is_file() {
            self.file.set_len(0)?;
        }
        self.file.write_all(text.as_bytes())
    }

    /// The file on the disk, whatever it is called; none of pipes and devices.
    fn identity(&self) -> io::Result<Option<(u64, u64)>> {
        let about = self.file.metadata()?;
        Ok(about.is_file().then(|| (about.dev(), about.ino())))
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        if self.is_new {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Refuses to write one over the other.
pub(super) fn ensure_different(files: &[&Option<Output>]) -> anyhow::Result<()> {
    let mut seen = Vec::new();
    for file in files.iter().copied().flatten() {
        if let Some(identity) = file.identity()? {
            let path = file.path.display();
            ensure!(!seen.contains(&identity), "{path} is to be written twice");
            seen.push(identity);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("ringcast-output-{}-{name}", std::process::id()))
    }

    fn open(path: &PathBuf) -> Option<Output> {
        Output::open(Some(path)).expect("it can be written")
    }

    #[test]
    fn a_file_is_replaced_when_it_is_written_and_not_before() {
        let path = path("kept");
        fs::write(&path, "a long text of yesterday").expect("it can");
        drop(open(&path));
        let text = || fs::read_to_string(&path).expect("it is there");
        assert_eq!(text(), "a long text of yesterday");
        let file = open(&path).expect("one is wanted");
        file.write("short").expect("it can");
        assert_eq!(text(), "short");
        fs::remove_file(&path).expect("it is there");
        drop(open(&path));
        assert!(!path.exists(), "what was never written is not left");
    }

    #[test]
    fn one_file_under_two_names_is_one() {
        let path = path("twice");
        let other = path
            .parent()
            .expect("a folder")
            .join(".")
            .join(path.file_name().expect("one"));
        let (one, two) = (open(&path), open(&other));
        let error = ensure_different(&[&one, &None, &two]).expect_err("they are one");
        assert!(error.to_string().contains("twice"), "{error}");
        assert!(ensure_different(&[&one, &None]).is_ok());
        let null = PathBuf::from("/dev/null");
        assert!(ensure_different(&[&open(&null), &open(&null)]).is_ok());
    }
}
