//! Programs that run for a subject, in a folder of their own.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use rustix::process::{Pid, Resource, Signal, getrlimit, kill_process, setrlimit};

/// How long a program may take to end when asked to.
const STOP_PATIENCE: Duration = Duration::from_secs(5);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(50);
/// Lines of a log that an error repeats.
const LAST_WORDS: usize = 12;

/// Where a program lies, by the variable PATH; `package` is what has to be installed if it is missing.
pub(super) fn find(program: &str, package: &str) -> anyhow::Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|folder| folder.join(program))
        .find(|file| file.is_file())
        .with_context(|| format!("{program} is not installed: apt-get install {package}"))
}

/// Every person is a socket or more, here or at a server, which inherits the limit.
pub(super) fn raise_descriptor_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
}

/// A program that runs, and its log. Killed when dropped.
#[derive(Debug)]
pub(super) struct Process {
    name: &'static str,
    id: u32,
    child: Mutex<Child>,
    log: PathBuf,
}

impl Process {
    pub(super) fn start(
        name: &'static str,
        command: &mut Command,
        folder: &Path,
        spawn: impl FnOnce(&mut Command) -> anyhow::Result<Child>,
    ) -> anyhow::Result<Self> {
        let log = folder.join(format!("{name}.log"));
        let file = File::create(&log)?;
        command
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file);
        let child = spawn(command).with_context(|| format!("cannot start {name}"))?;
        Ok(Self {
            name,
            id: child.id(),
            child: Mutex::new(child),
            log,
        })
    }

    pub(super) fn id(&self) -> u32 {
        self.id
    }

    fn child(&self) -> MutexGuard<'_, Child> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn ensure_alive(&self) -> anyhow::Result<()> {
        match self.child().try_wait()? {
            None => Ok(()),
            Some(status) => bail!("{} has ended ({status})\n{}", self.name, self.last_words()),
        }
    }

    pub(super) fn last_words(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<_> = text.lines().collect();
        let last = &lines[lines.len().saturating_sub(LAST_WORDS)..];
        format!("{} said:\n{}", self.name, last.join("\n"))
    }

    pub(super) fn stop(&mut self) {
        let mut child = self.child();
        if let Some(pid) = Pid::from_raw(self.id.cast_signed())
            && matches!(child.try_wait(), Ok(None))
            && kill_process(pid, Signal::TERM).is_ok()
        {
            let until = Instant::now() + STOP_PATIENCE;
            while matches!(child.try_wait(), Ok(None)) && Instant::now() < until {
                std::thread::sleep(PAUSE);
            }
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let mut child = self.child();
        if matches!(child.try_wait(), Ok(None)) {
            // It may end by itself meanwhile; then there is nobody to kill.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A temporary folder.
#[derive(Debug)]
pub(super) struct Folder(PathBuf);

impl Folder {
    pub(super) fn new() -> anyhow::Result<Self> {
        let mut name = [0; 8];
        getrandom::fill(&mut name)?;
        let name = u64::from_ne_bytes(name);
        let path = std::env::temp_dir().join(format!("ringcast-bench-{name:016x}"));
        std::fs::create_dir(&path)
            .with_context(|| format!("cannot make the folder {}", path.display()))?;
        Ok(Self(path))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What cannot be removed is left to whoever cleans the folder for temporary files.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
