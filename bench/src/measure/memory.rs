//! Memory of a process, and of the kernel on its behalf.

use std::io;

/// At one moment, in octets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// Resident set of the processes asked about; pages that several share are counted once for each.
    pub resident: u64,
    /// The kernel's slab of the whole machine: sockets and their buffers are in it, and much else.
    pub slab: u64,
}

impl Memory {
    /// Reads both.
    ///
    /// # Errors
    /// If a process is gone or `/proc` cannot be read.
    pub fn read(pids: &[u32]) -> io::Result<Self> {
        let mut resident = 0;
        for pid in pids {
            let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
            resident += field(&text, "Rss:")?;
        }
        Ok(Self {
            resident,
            slab: field(&std::fs::read_to_string("/proc/meminfo")?, "Slab:")?,
        })
    }
}

/// The value of a line such as `Rss:   1234 kB`, in octets.
fn field(text: &str, name: &str) -> io::Result<u64> {
    text.lines()
        .find_map(|line| line.strip_prefix(name))
        .and_then(|rest| rest.split_whitespace().next())
        .and_then(|number| number.parse::<u64>().ok())
        .map(|kilobytes| kilobytes * 1024)
        .ok_or_else(|| io::Error::other(format!("no {name} where the kernel should say it")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn touched_memory_shows() {
        let me = [std::process::id()];
        let before = Memory::read(&me).unwrap();
        let touched = vec![1_u8; 32 << 20];
        let after = Memory::read(&me).unwrap();
        assert!(after.resident >= before.resident + (24 << 20));
        assert!(after.slab > 1 << 20);
        assert_eq!(touched.iter().filter(|octet| **octet != 1).count(), 0);
        assert!(field("Rss: x kB", "Rss:").is_err());
    }
}
