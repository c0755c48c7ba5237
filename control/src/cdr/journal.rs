//! The files of call detail records.

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use crate::domain::Millis;

/// The file that is written to.
pub const FILE: &str = "CDR.log";
/// How much of the end of a file is searched for lines that were written before the master died.
const SEARCHED: u64 = 4 << 20;
const DAY: u64 = 24 * 60 * 60 * 1000;

/// Lines in files, one of which is written to.
pub(super) struct Journal {
    dir: PathBuf,
    /// Octets of a file; a line is never divided.
    size_max: u64,
    /// Files that are kept besides the one that is written to; 0: all.
    files_max: usize,
    open: Option<Open>,
    /// What a predecessor wrote last: lines that may come again.
    known: Option<HashSet<String>>,
}

struct Open {
    file: File,
    size: u64,
    /// The day of its first line, since the epoch.
    day: u64,
}

impl Journal {
    /// Nothing is opened yet.
    pub(super) fn new(dir: PathBuf, size_max: u64, files_max: usize) -> Self {
        Self {
            dir,
            size_max,
            files_max,
            open: None,
            known: None,
        }
    }

    /// Writes these lines to the end. When it answers well, they are on the disk; else none of them is, as far as the disk obeys.
    pub(super) fn append(&mut self, lines: &[String], now: Millis) -> io::Result<()> {
        let known = match self.known.take() {
            Some(known) => known,
            None => self.last_lines()?,
        };
        // A predecessor wrote them in this order, and so its last ones are the first of ours.
        let again = lines
            .iter()
            .take_while(|line| known.contains(*line))
            .count();
        let new = &lines[again..];
        let written = self.write(new, now);
        // A page that is all known may be followed by another such.
        self.known = Some(match written.is_ok() && !new.is_empty() {
            true => HashSet::new(),
            false => known,
        });
        written
    }

    fn write(&mut self, lines: &[String], now: Millis) -> io::Result<()> {
        if lines.is_empty() {
            return Ok(());
        }
        self.rotate_if_due(now)?;
        let open = match &mut self.open {
            Some(open) => open,
            None => self.open.insert(Open::at(&self.dir, now)?),
        };
        let text = lines.join("\n") + "\n";
        let written = open.file.write_all(text.as_bytes());
        if let Err(error) = written.and_then(|()| open.file.sync_data()) {
            // Half a line would spoil the one behind it. If not even this works, it is cut off when the file is opened again.
            let _ = open.file.set_len(open.size);
            self.open = None;
            return Err(error);
        }
        open.size += text.len() as u64;
        Ok(())
    }

    fn rotate_if_due(&mut self, now: Millis) -> io::Result<()> {
        if self.open.is_none() {
            self.open = Some(Open::at(&self.dir, now)?);
        }
        let due = self
            .open
            .as_ref()
            .filter(|open| open.size > 0 && (open.size >= self.size_max || open.day < now / DAY));
        let Some(open) = due else {
            return Ok(());
        };
        let date = date(open.day);
        let mut number = 1;
        let mut path = self.dir.join(format!("CDR-{date}.{number}.log"));
        while path.exists() {
            number += 1;
            path = self.dir.join(format!("CDR-{date}.{number}.log"));
        }
        std::fs::rename(self.dir.join(FILE), &path)?;
        self.open = None;
        sync(&self.dir)?;
        self.forget_old_files()
    }

    fn forget_old_files(&self) -> io::Result<()> {
        if self.files_max == 0 {
            return Ok(());
        }
        let mut files = Vec::new();
        for entry in std::fs::read_dir(&self.dir)? {
            let entry = entry?;
            let name = entry.file_name().into_string().unwrap_or_default();
            if let Some(place) = place(&name) {
                files.push((place, entry.path()));
            }
        }
        files.sort();
        let surplus = files.len().saturating_sub(self.files_max);
        for (_, path) in files.into_iter().take(surplus) {
            std::fs::remove_file(path)?;
        }
        Ok(())
    }

    /// The lines at the end of what a predecessor wrote, in whichever file.
    fn last_lines(&self) -> io::Result<HashSet<String>> {
        std::fs::create_dir_all(&self.dir)?;
        let mut file = match File::open(self.dir.join(FILE)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(HashSet::new()),
            Err(error) => return Err(error),
        };
        let (_, end) = end_of(&mut file)?;
        let mut lines = String::from_utf8_lossy(&end).into_owned();
        // What has no end is not a line.
        lines.truncate(lines.rfind('\n').unwrap_or(0));
        Ok(lines.lines().map(str::to_owned).collect())
    }
}

impl Open {
    /// Opens the file that is written to, and cuts off half a line.
    fn at(dir: &Path, now: Millis) -> io::Result<Self> {
        std::fs::create_dir_all(dir)?;
        let mut options = OpenOptions::new();
        let path = dir.join(FILE);
        let new = !path.exists();
        // Names and addresses are in it.
        options.create(true).append(true).read(true).mode(0o640);
        let mut file = options.open(path)?;
        let size = whole_lines(&mut file)?;
        file.set_len(size)?;
        if new {
            sync(dir)?;
        }
        let changed = file.metadata()?.modified()?;
        let changed = changed.duration_since(UNIX_EPOCH).unwrap_or_default();
        let day = match size {
            0 => now / DAY,
            _ => changed.as_millis() as u64 / DAY,
        };
        Ok(Self { file, size, day })
    }
}

/// How long a file is without the half line at its end.
fn whole_lines(file: &mut File) -> io::Result<u64> {
    let (from, end) = end_of(file)?;
    let whole = end.iter().rposition(|byte| *byte == b'\n');
    Ok(whole.map_or(from, |at| from + at as u64 + 1))
}

/// The end of a file, and where it begins.
fn end_of(file: &mut File) -> io::Result<(u64, Vec<u8>)> {
    let about = file.metadata()?;
    if !about.is_file() {
        // A device may have no end.
        return Err(io::Error::other(format!("{FILE} is not a file")));
    }
    let from = about.len().saturating_sub(SEARCHED);
    file.seek(SeekFrom::Start(from))?;
    let mut end = Vec::new();
    file.take(SEARCHED).read_to_end(&mut end)?;
    Ok((from, end))
}

/// The names in a directory outlive a power cut only when it is written too.
fn sync(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// The place of a full file among others, by its name.
fn place(name: &str) -> Option<(String, u64)> {
    let rest = name.strip_prefix("CDR-")?.strip_suffix(".log")?;
    let (date, number) = rest.split_once('.')?;
    Some((date.to_owned(), number.parse().ok()?))
}

/// `YYYY-MM-DD` of a day since the epoch, in the Gregorian calendar.
fn date(day: u64) -> String {
    // Years that begin in March have their leap day at the end, and 400 of them are always as long.
    const ERA: u64 = 146_097;
    let since = day + 719_468;
    let (era, of_era) = (since / ERA, since % ERA);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let march_month = (5 * of_year + 2) / 153;
    let of_month = of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 {
        march_month + 3
    } else {
        march_month - 9
    };
    let year = era * 400 + year + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{of_month:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Dir(PathBuf);

    impl Dir {
        fn new(name: &str) -> Self {
            let name = format!("ringcast-cdr-{name}-{}", std::process::id());
            let path = std::env::temp_dir().join(name);
            let _ = std::fs::remove_dir_all(&path);
            Self(path)
        }

        fn read(&self, file: &str) -> String {
            std::fs::read_to_string(self.0.join(file)).expect("it is there")
        }

        fn files(&self) -> Vec<String> {
            let entries = std::fs::read_dir(&self.0).expect("it is there");
            let names = entries.map(|one| one.expect("readable").file_name());
            let mut names: Vec<_> = names.filter_map(|name| name.into_string().ok()).collect();
            names.sort();
            names
        }
    }

    impl Drop for Dir {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn lines(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    /// 2026-11-23.
    const NOW: Millis = 1_795_392_000_000;

    #[test]
    fn days_have_their_dates() {
        for (day, text) in [
            (0, "1970-01-01"),
            (58, "1970-02-28"),
            (59, "1970-03-01"),
            (11_016, "2000-02-29"),
            (19_782, "2024-02-29"),
            (20_819, "2027-01-01"),
            (NOW / DAY, "2026-11-23"),
            (47_541, "2100-03-01"),
        ] {
            assert_eq!(date(day), text);
        }
    }

    #[test]
    fn full_files_and_those_of_yesterday_are_put_aside() {
        let dir = Dir::new("rotate");
        let mut journal = Journal::new(dir.0.clone(), 10, 2);
        let mut write = |text: &str, at| journal.append(&lines(&[text]), at).expect("written");
        write("{\"long\":1}", NOW);
        write("{\"a\":2}", NOW);
        write("{\"b\":2}", NOW + 1);
        assert_eq!(dir.files(), ["CDR-2026-11-23.1.log", FILE]);
        assert_eq!(dir.read(FILE), "{\"a\":2}\n{\"b\":2}\n");
        write("{\"c\":3}", NOW + 2);
        write("{\"d\":4}", NOW + DAY);
        assert_eq!(
            dir.files(),
            ["CDR-2026-11-23.2.log", "CDR-2026-11-23.3.log", FILE],
            "the oldest is gone"
        );
        assert_eq!(dir.read("CDR-2026-11-23.3.log"), "{\"c\":3}\n");
        assert_eq!(dir.read(FILE), "{\"d\":4}\n");
    }

    #[test]
    fn half_a_line_is_cut_off_and_what_was_written_is_not_written_again() {
        let dir = Dir::new("again");
        let big = 1 << 20;
        let before = &mut Journal::new(dir.0.clone(), big, 0);
        before
            .append(&lines(&["{1}", "{2}", "{3}"]), NOW)
            .expect("written");
        let mut file = OpenOptions::new()
            .append(true)
            .open(dir.0.join(FILE))
            .expect("there");
        file.write_all(b"{4").expect("written");
        // The master died before it noted that 2 and 3 were written.
        let mut after = Journal::new(dir.0.clone(), big, 0);
        after.append(&lines(&["{2}"]), NOW).expect("known");
        after.append(&lines(&["{3}", "{4}"]), NOW).expect("written");
        after.append(&lines(&["{1}"]), NOW).expect("written");
        assert_eq!(dir.read(FILE), "{1}\n{2}\n{3}\n{4}\n{1}\n");
    }

    #[test]
    fn a_directory_that_is_not_one_is_an_error_that_passes() {
        let dir = Dir::new("blocked");
        std::fs::write(&dir.0, "a file").expect("written");
        let mut journal = Journal::new(dir.0.clone(), 10, 0);
        assert!(journal.append(&lines(&["{1}"]), NOW).is_err());
        std::fs::remove_file(&dir.0).expect("it was there");
        journal.append(&lines(&["{1}"]), NOW).expect("written");
        assert_eq!(dir.read(FILE), "{1}\n");
    }
}
