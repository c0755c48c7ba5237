//! The host, as far as it can be read.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::str::FromStr;

/// What can only be found out by trying.
pub trait Probes {
    /// What a driver says that is opened as the node would open it: the features in use, or why io_uring is refused.
    ///
    /// # Errors
    /// The reason, in words.
    fn io_uring(&self) -> Result<String, String>;

    /// What `ethtool --show-features` prints of an interface.
    ///
    /// # Errors
    /// Why there is nothing to read.
    fn offloads(&self, interface: &str) -> Result<String, String>;
}

/// The real ones.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemProbes;

impl Probes for SystemProbes {
    fn io_uring(&self) -> Result<String, String> {
        let mut config = net::Config::new(vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 0))]);
        config.kind = net::Kind::Uring;
        let (_, choice) = net::open(&config).map_err(|error| match error {
            net::Error::Uring { reason, .. } => reason,
            other => crate::worker::chain(&other),
        })?;
        // What follows the first part is about the queues of the socket, which have findings of their own.
        Ok(choice.features.split(';').next().unwrap_or("").to_owned())
    }

    fn offloads(&self, interface: &str) -> Result<String, String> {
        // The folders are named because a service's PATH often lacks them.
        let programs = ["ethtool", "/usr/sbin/ethtool", "/sbin/ethtool"];
        for program in programs {
            let Ok(output) = Command::new(program)
                .args(["--show-features", interface])
                .output()
            else {
                continue;
            };
            if output.status.success() {
                return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
            }
            let words = String::from_utf8_lossy(&output.stderr);
            return Err(format!("ethtool: {}", words.trim()));
        }
        Err("ethtool is not installed".into())
    }
}

/// A host: files below `root`, and probes.
pub struct Host<'a> {
    root: PathBuf,
    probes: &'a dyn Probes,
}

impl<'a> Host<'a> {
    /// Reads below `root`, which is `/` for the real host.
    pub fn new(root: impl Into<PathBuf>, probes: &'a dyn Probes) -> Self {
        Self {
            root: root.into(),
            probes,
        }
    }

    pub(super) fn probes(&self) -> &dyn Probes {
        self.probes
    }

    /// The text of a file, without white space around it; `None` if it can't be read.
    pub(super) fn text(&self, path: &str) -> Option<String> {
        let text = fs::read_to_string(self.path(path)).ok()?;
        Some(text.trim().to_owned())
    }

    /// The file's whole content as one value.
    pub(super) fn value<T: FromStr>(&self, path: &str) -> Option<T> {
        self.text(path)?.parse().ok()
    }

    /// The word that the kernel puts in brackets to say which of several it uses.
    pub(super) fn chosen(&self, path: &str) -> Option<String> {
        let text = self.text(path)?;
        let (_, rest) = text.split_once('[')?;
        Some(rest.split_once(']')?.0.to_owned())
    }

    /// Cores as the kernel writes them: `0-3,8`.
    pub(super) fn cores(&self, path: &str) -> Option<Vec<usize>> {
        parse_list(&self.text(path)?)
    }

    /// What follows `key:` in a file of lines like those of `/proc/self/status`.
    pub(super) fn field(&self, path: &str, key: &str) -> Option<String> {
        let text = self.text(path)?;
        let mut lines = text.lines();
        lines.find_map(|line| {
            let (name, value) = line.split_once(':')?;
            (name.trim() == key).then(|| value.trim().to_owned())
        })
    }

    /// Names of what a folder holds, sorted; empty if it can't be read.
    pub(super) fn names(&self, folder: &str) -> Vec<String> {
        let entries = fs::read_dir(self.path(folder)).into_iter().flatten();
        let mut names: Vec<String> = entries
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .collect();
        names.sort();
        names
    }

    pub(super) fn exists(&self, path: &str) -> bool {
        self.path(path).exists()
    }

    /// The last part of what a link points at.
    pub(super) fn link_name(&self, path: &str) -> Option<String> {
        let target = fs::read_link(self.path(path)).ok()?;
        Some(target.file_name()?.to_string_lossy().into_owned())
    }

    fn path(&self, path: &str) -> PathBuf {
        self.root.join(Path::new(path.trim_start_matches('/')))
    }
}

/// `0-3,8` → 0, 1, 2, 3, 8. Empty text is an empty list.
pub(super) fn parse_list(text: &str) -> Option<Vec<usize>> {
    let mut list = Vec::new();
    for part in text
        .split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty())
    {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
        list.extend(first..=last);
    }
    Some(list)
}

/// 0, 1, 2, 3, 8 → `0-3,8`.
pub(super) fn print_list(cores: &[usize]) -> String {
    let mut sorted = cores.to_vec();
    sorted.sort_unstable();
    sorted.dedup();
    let mut parts: Vec<(usize, usize)> = Vec::new();
    for core in sorted {
        match parts.last_mut() {
            Some((_, last)) if *last + 1 == core => *last = core,
            _ => parts.push((core, core)),
        }
    }
    let print = |(first, last): (usize, usize)| match first == last {
        true => first.to_string(),
        false => format!("{first}-{last}"),
    };
    parts.into_iter().map(print).collect::<Vec<_>>().join(",")
}

/// Bytes in the largest unit that divides them evenly enough to read.
pub(crate) fn print_bytes(bytes: u64) -> String {
    const UNITS: [(&str, u32); 3] = [("GiB", 30), ("MiB", 20), ("KiB", 10)];
    for (unit, shift) in UNITS {
        let size = 1_u64 << shift;
        if bytes >= size {
            return match bytes % size {
                0 => format!("{} {unit}", bytes >> shift),
                _ => format!("{:.1} {unit}", bytes as f64 / size as f64),
            };
        }
    }
    format!("{bytes} bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_cores_are_read_and_printed_as_the_kernel_does() {
        assert_eq!(parse_list("0-3,8"), Some(vec![0, 1, 2, 3, 8]));
        assert_eq!(parse_list(""), Some(vec![]));
        assert_eq!(parse_list("x"), None);
        assert_eq!(print_list(&[8, 1, 0, 2, 3, 3]), "0-3,8");
        assert_eq!(print_list(&[]), "");
    }

    #[test]
    fn bytes_are_printed_for_people() {
        assert_eq!(print_bytes(212_992), "208 KiB");
        assert_eq!(print_bytes(3 << 29), "1.5 GiB");
        assert_eq!(print_bytes(7), "7 bytes");
    }
}
