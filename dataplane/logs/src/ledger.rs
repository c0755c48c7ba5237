//! The lines of [`AUDIT`] in a file of their own, for those who must keep them longer than a log, or away from who reads it.
//!
//! A line is handed to the system before whatever wrote it goes on, so that it outlives this process; it is not waited for until it is on the disk.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Stderr, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::writer::OptionalWriter;
use tracing_subscriber::layer::{Context, Layer};

use super::json::JsonLine;
use super::{AUDIT, OURSELVES};

/// A file for the lines of [`AUDIT`], one JSON object each.
#[derive(Debug)]
pub struct AuditFile {
    path: PathBuf,
    file: File,
}

impl AuditFile {
    /// Opens it, or makes it, for its owner alone. What is in it stays.
    ///
    /// # Errors
    /// Those of the file system; and what is no regular file is refused.
    pub fn open(path: &Path) -> io::Result<Self> {
        Self::check(path)?;
        let mut options = OpenOptions::new();
        options.read(true).append(true).create(true).mode(0o600);
        let mut file = options.open(path)?;
        end_last_line(&mut file)?;
        let path = path.to_owned();
        Ok(Self { path, file })
    }

    /// Whether it can be opened, as far as that is known without making it.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn check(path: &Path) -> io::Result<()> {
        match std::fs::metadata(path) {
            Ok(there) if there.is_file() => OpenOptions::new().append(true).open(path).map(drop),
            Ok(_) => Err(io::Error::other("it is not a regular file")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let parent = path.parent().filter(|one| !one.as_os_str().is_empty());
                std::fs::read_dir(parent.unwrap_or(Path::new("."))).map(drop)
            }
            Err(error) => Err(error),
        }
    }

    /// Writes a line, or nothing of it.
    fn append(&mut self, line: &str) -> io::Result<()> {
        let before = self.file.metadata()?.len();
        self.file.write_all(line.as_bytes()).inspect_err(|_| {
            // Half a line would spoil the next one.
            let _ = self.file.set_len(before);
        })
    }
}

/// After a power cut the last line may be half a one: the next one is not to be spoilt by it.
fn end_last_line(file: &mut File) -> io::Result<()> {
    if file.metadata()?.len() == 0 {
        return Ok(());
    }
    let mut last = [0];
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut last)?;
    match last {
        [b'\n'] => Ok(()),
        _ => file.write_all(b"\n"),
    }
}

/// How many lines there were since somebody asked last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Audited {
    /// In the file.
    pub written: u64,
    /// Not in the file, for it could not be written; the log has them.
    pub failed: u64,
}

/// Writes the lines of [`AUDIT`] into the file, if there is one, and says whether they belong into the log as well. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Ledger {
    line: JsonLine,
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    file: Option<AuditFile>,
    /// Those of the log.
    shown: LevelFilter,
    audited: Audited,
    /// Why the last line is not in the file.
    trouble: Option<io::Error>,
    is_trouble_told: bool,
}

impl Ledger {
    pub(crate) fn new(who: Option<(&'static str, String)>, shown: LevelFilter) -> Self {
        let state = State {
            file: None,
            shown,
            audited: Audited::default(),
            trouble: None,
            is_trouble_told: false,
        };
        Self {
            line: JsonLine { who },
            state: Arc::new(Mutex::new(state)),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing in it is half done at any moment.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on lines go there.
    pub(crate) fn write_to(&self, file: Option<AuditFile>) {
        let mut state = self.state();
        state.file = file;
        state.trouble = None;
    }

    /// From now on the log has lines of that level and those above.
    pub(crate) fn show(&self, level: LevelFilter) {
        self.state().shown = level;
    }

    /// Whether a line that was just handed to us belongs into the log as well.
    fn shows(&self, level: Level) -> bool {
        let state = self.state();
        level <= state.shown || state.trouble.is_some()
    }

    /// What there was since the last time.
    pub(crate) fn take_audited(&self) -> Audited {
        std::mem::take(&mut self.state().audited)
    }

    /// Says in the log that lines can't be written, once, and when they can again.
    pub(crate) fn tell_trouble(&self) {
        let mut state = self.state();
        let is_trouble = state.trouble.is_some();
        let told = std::mem::replace(&mut state.is_trouble_told, is_trouble);
        let path = state.file.as_ref().map(|file| file.path.clone());
        let path = path.unwrap_or_default();
        let why = state.trouble.as_ref().map(ToString::to_string);
        // What is said now comes back to us.
        drop(state);
        match (told, why) {
            (false, Some(why)) => {
                tracing::error!(target: OURSELVES, file = %path.display(), why, "audit lines can't be written: they are in the log alone");
            }
            (true, None) => {
                tracing::info!(target: OURSELVES, file = %path.display(), "audit lines are written again");
            }
            _ => {}
        }
    }
}

impl<S: Subscriber> Layer<S> for Ledger {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if event.metadata().target() != AUDIT {
            return;
        }
        let mut guard = self.state();
        let state = &mut *guard;
        let Some(file) = &mut state.file else {
            return;
        };
        let mut line = String::new();
        let put = self.line.write(&mut line, event).map_err(io::Error::other);
        match put.and_then(|()| file.append(&line)) {
            Ok(()) => {
                state.audited.written += 1;
                state.trouble = None;
            }
            Err(error) => {
                state.audited.failed += 1;
                state.trouble = Some(error);
            }
        }
    }
}

/// Standard error, but for audit lines that nobody wants there. What the file does not take is there in any case.
impl MakeWriter<'_> for Ledger {
    type Writer = OptionalWriter<Stderr>;

    fn make_writer(&self) -> Self::Writer {
        OptionalWriter::some(io::stderr())
    }

    fn make_writer_for(&self, metadata: &Metadata<'_>) -> Self::Writer {
        match metadata.target() == AUDIT && !self.shows(*metadata.level()) {
            true => OptionalWriter::none(),
            false => self.make_writer(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use serde_json::Value;
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    struct Dir(PathBuf);

    impl Dir {
        fn new(name: &str) -> Self {
            let name = format!("ringcast-ledger-{name}-{}", std::process::id());
            let path = std::env::temp_dir().join(name);
            std::fs::create_dir_all(&path).expect("room");
            Self(path)
        }
    }

    impl Drop for Dir {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn lines(path: &Path) -> Vec<Value> {
        let text = std::fs::read_to_string(path).expect("there");
        let lines = text.lines().map(serde_json::from_str);
        lines.map(|line| line.unwrap_or(Value::Null)).collect()
    }

    #[test]
    fn what_is_for_the_ledger_goes_there_and_nothing_else() {
        let dir = Dir::new("lines");
        let path = dir.0.join("audit.jsonl");
        let ledger = Ledger::new(None, LevelFilter::OFF);
        ledger.write_to(Some(AuditFile::open(&path).expect("opened")));
        let log = tracing_subscriber::registry().with(ledger.clone());
        tracing::subscriber::with_default(log, || {
            tracing::info!(target: AUDIT, session = "S", "audit");
            tracing::error!("something else");
            std::fs::rename(&path, dir.0.join("old")).expect("moved");
            tracing::info!(target: AUDIT, session = "T", "audit");
            ledger.write_to(Some(AuditFile::open(&path).expect("opened")));
            tracing::info!(target: AUDIT, session = "U", "audit");
            ledger.write_to(None);
            tracing::info!(target: AUDIT, session = "V", "audit");
        });
        let sessions = |name: &str| {
            let lines = lines(&dir.0.join(name));
            let sessions = lines.iter().map(|line| line["session"].to_string());
            sessions.collect::<String>()
        };
        assert_eq!(sessions("old"), "\"S\"\"T\"");
        assert_eq!(sessions("audit.jsonl"), "\"U\"");
        let mode = std::fs::metadata(&path)
            .expect("there")
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600, "for its owner alone");
        let expected = Audited {
            written: 3,
            failed: 0,
        };
        assert_eq!(ledger.take_audited(), expected);
        assert_eq!(ledger.take_audited(), Audited::default());
    }

    #[test]
    fn half_a_line_of_a_predecessor_spoils_no_other() {
        let dir = Dir::new("half");
        let path = dir.0.join("audit.jsonl");
        std::fs::write(&path, "{\"a\":1}\n{\"b\":").expect("room");
        for c in [2, 3] {
            let mut file = AuditFile::open(&path).expect("opened");
            file.append(&format!("{{\"c\":{c}}}\n")).expect("room");
        }
        let numbers: Vec<_> = lines(&path).iter().map(|one| one["c"].as_u64()).collect();
        assert_eq!(numbers, [None, None, Some(2), Some(3)]);
    }

    #[test]
    fn what_cannot_be_a_ledger_is_refused_and_nothing_is_made_to_find_out() {
        let dir = Dir::new("refused");
        let path = dir.0.join("audit.jsonl");
        assert!(AuditFile::check(&path).is_ok() && !path.exists());
        for wrong in [Path::new("/dev/full"), &dir.0, &dir.0.join("no/where")] {
            assert!(AuditFile::check(wrong).is_err(), "{}", wrong.display());
            assert!(AuditFile::open(wrong).is_err(), "{}", wrong.display());
        }
    }

    #[test]
    fn what_the_file_does_not_take_is_in_the_log_and_counted() {
        let dir = Dir::new("full");
        let path = dir.0.join("audit.jsonl");
        let ledger = Ledger::new(None, LevelFilter::OFF);
        let is_shown = |ledger: &Ledger| {
            let log = tracing_subscriber::registry().with(ledger.clone());
            tracing::subscriber::with_default(log, || tracing::info!(target: AUDIT, "audit"));
            ledger.shows(Level::INFO)
        };
        ledger.write_to(Some(AuditFile::open(&path).expect("opened")));
        assert!(!is_shown(&ledger));
        // It takes nothing: it was opened for reading alone.
        let file = File::open(&path).expect("there");
        ledger.write_to(Some(AuditFile { path, file }));
        assert!(is_shown(&ledger));
        let expected = Audited {
            written: 1,
            failed: 1,
        };
        assert_eq!(ledger.take_audited(), expected);
    }
}
