use core::fmt;
use core::ptr::NonNull;
use std::io;

use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous, munmap};

/// Regions smaller than this are not worth a huge page; it is also the unit to which larger ones are rounded up.
const HUGE_PAGE: usize = 2 << 20;
const PAGE: usize = 4096;

/// A zeroed, page-aligned piece of address space, unmapped when the last owner lets go.
///
/// It hands out addresses, not references: [`crate::Arena`] and [`crate::Bursts`] decide which bytes may be looked at, and a
/// driver holds a clone of the `Arc` around it so that the kernel never writes to memory that has been given back.
pub struct Memory {
    base: NonNull<u8>,
    len: usize,
}

// SAFETY: the mapping belongs to the process, not to a thread, and `Memory` itself only gives out its address and length.
unsafe impl Send for Memory {}
// SAFETY: as above; there is no interior state.
unsafe impl Sync for Memory {}

impl Memory {
    /// Maps at least `bytes` bytes, in huge pages where the system has some to spare.
    ///
    /// # Errors
    /// [`Error::Map`] if the address space or the memory limit of the process does not allow it.
    pub fn map(bytes: usize) -> Result<Self, Error> {
        let unit = if bytes < HUGE_PAGE { PAGE } else { HUGE_PAGE };
        let len = bytes.max(1).next_multiple_of(unit);
        let huge = if unit == HUGE_PAGE {
            map_huge(len)
        } else {
            None
        };
        let base = match huge {
            Some(base) => base,
            None => {
                let base = map(len, MapFlags::PRIVATE).map_err(|errno| Error::Map {
                    bytes: len,
                    source: errno.into(),
                })?;
                // Transparent huge pages are a wish: a kernel without them says no, and nothing is lost.
                // SAFETY: the range was mapped just above and advice does not change its contents.
                let _ = unsafe { madvise(base.as_ptr().cast(), len, Advice::LinuxHugepage) };
                base
            }
        };
        Ok(Self { base, len })
    }

    /// Has the first `bytes` bytes there already when they are written to for the first time. A wish: without it, that takes
    /// longer.
    pub(crate) fn populate(&self, bytes: usize) {
        let bytes = bytes.min(self.len).next_multiple_of(PAGE);
        if bytes > 0 {
            // SAFETY: the range lies within the mapping, and filling it in changes nothing that can be seen.
            let _ =
                unsafe { madvise(self.base.as_ptr().cast(), bytes, Advice::LinuxPopulateWrite) };
        }
    }

    /// The first byte.
    pub fn base(&self) -> NonNull<u8> {
        self.base
    }

    /// Bytes mapped.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Always false: a mapping has at least one page.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: `base` and `len` are those of the mapping, and nobody can reach it any more.
        let _ = unsafe { munmap(self.base.as_ptr().cast(), self.len) };
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Memory({} bytes)", self.len)
    }
}

/// Why buffer memory could not be had.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The system refused the mapping.
    Map {
        /// Bytes asked for.
        bytes: usize,
        /// What the system said.
        source: io::Error,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Map { bytes, .. } => write!(formatter, "cannot map {bytes} bytes of buffers"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Map { source, .. } => Some(source),
        }
    }
}

/// Huge pages of the system's pool, all of them there already; `None` if it has not so many for us.
///
/// A container may be denied pages that the mapping promised, and would then die at the first touch: so ask now.
fn map_huge(len: usize) -> Option<NonNull<u8>> {
    let base = map(len, MapFlags::PRIVATE | MapFlags::HUGETLB).ok()?;
    // SAFETY: the range was mapped just above; filling it in changes nothing that can be seen.
    if unsafe { madvise(base.as_ptr().cast(), len, Advice::LinuxPopulateWrite) }.is_ok() {
        return Some(base);
    }
    // SAFETY: nobody has been told of the mapping.
    let _ = unsafe { munmap(base.as_ptr().cast(), len) };
    None
}

fn map(len: usize, flags: MapFlags) -> Result<NonNull<u8>, rustix::io::Errno> {
    // SAFETY: a fresh anonymous mapping at an address of the kernel's choice touches nothing that exists.
    let address = unsafe {
        mmap_anonymous(
            core::ptr::null_mut(),
            len,
            ProtFlags::READ | ProtFlags::WRITE,
            flags,
        )
    }?;
    Ok(NonNull::new(address.cast()).expect("a mapping is never placed at address zero"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mapping_is_zeroed_aligned_and_whole() {
        for bytes in [1, PAGE + 1, HUGE_PAGE + 1] {
            let memory = Memory::map(bytes).unwrap();
            assert!(memory.len() >= bytes && !memory.is_empty());
            assert_eq!(memory.base().as_ptr() as usize % PAGE, 0);
            // SAFETY: the range is mapped, zeroed and reachable only from here.
            let all = unsafe { core::slice::from_raw_parts(memory.base().as_ptr(), memory.len()) };
            assert!(all.iter().all(|byte| *byte == 0));
        }
    }

    #[test]
    fn an_impossible_size_is_an_error() {
        let Err(error) = Memory::map(1 << 60) else {
            panic!("nobody has that much address space");
        };
        assert!(error.to_string().contains("cannot map"));
    }
}
