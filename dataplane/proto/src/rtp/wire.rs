//! Big-endian fields: reading them out of bytes, and a cursor that appends them. Out of range is `None`, never a panic.

/// The byte at `at`.
pub(crate) fn u8_at(bytes: &[u8], at: usize) -> Option<u8> {
    bytes.get(at).copied()
}

/// The 16-bit field that starts at `at`.
pub(crate) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    array_at(bytes, at).map(u16::from_be_bytes)
}

/// The 24-bit field that starts at `at`.
pub(crate) fn u24_at(bytes: &[u8], at: usize) -> Option<u32> {
    let [a, b, c] = array_at(bytes, at)?;
    Some(u32::from_be_bytes([0, a, b, c]))
}

/// The 32-bit field that starts at `at`.
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    array_at(bytes, at).map(u32::from_be_bytes)
}

/// The 64-bit field that starts at `at`.
pub(crate) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    array_at(bytes, at).map(u64::from_be_bytes)
}

fn array_at<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

/// Appends to a buffer of the caller; what does not fit is refused as a whole.
#[derive(Debug)]
pub(crate) struct Cursor<'a> {
    buffer: &'a mut [u8],
    used: usize,
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(buffer: &'a mut [u8]) -> Self {
        Self { buffer, used: 0 }
    }

    pub(crate) fn used(&self) -> usize {
        self.used
    }

    /// How many bytes still fit.
    pub(crate) fn room(&self) -> usize {
        self.buffer.len().saturating_sub(self.used)
    }

    /// Forgets what was written after `used`.
    pub(crate) fn truncate(&mut self, used: usize) {
        self.used = self.used.min(used);
    }

    /// For elements of a few bytes, where a call of `memcpy` costs more than the copy.
    pub(crate) fn put_short(&mut self, bytes: &[u8]) -> Option<()> {
        let end = self.used.checked_add(bytes.len())?;
        let room = self.buffer.get_mut(self.used..end)?;
        match (room, bytes) {
            ([a], &[x]) => *a = x,
            ([a, b], &[x, y]) => (*a, *b) = (x, y),
            ([a, b, c], &[x, y, z]) => (*a, *b, *c) = (x, y, z),
            (room, bytes) => room.copy_from_slice(bytes),
        }
        self.used = end;
        Some(())
    }

    #[inline]
    pub(crate) fn put(&mut self, bytes: &[u8]) -> Option<()> {
        let end = self.used.checked_add(bytes.len())?;
        self.buffer.get_mut(self.used..end)?.copy_from_slice(bytes);
        self.used = end;
        Some(())
    }

    pub(crate) fn u8(&mut self, value: u8) -> Option<()> {
        self.put(&[value])
    }

    pub(crate) fn u16(&mut self, value: u16) -> Option<()> {
        self.put(&value.to_be_bytes())
    }

    /// The lower 24 bits of `value`.
    pub(crate) fn u24(&mut self, value: u32) -> Option<()> {
        let [_, low @ ..] = value.to_be_bytes();
        self.put(&low)
    }

    pub(crate) fn u32(&mut self, value: u32) -> Option<()> {
        self.put(&value.to_be_bytes())
    }

    pub(crate) fn u64(&mut self, value: u64) -> Option<()> {
        self.put(&value.to_be_bytes())
    }

    /// Zeroes up to the next multiple of four bytes, counted from `start`.
    pub(crate) fn align(&mut self, start: usize) -> Option<()> {
        let length = self.used.saturating_sub(start);
        let missing = length.next_multiple_of(4).saturating_sub(length);
        self.put([0; 3].get(..missing)?)
    }

    /// Overwrites the 16-bit field at `at`, which must have been written.
    pub(crate) fn patch_u16(&mut self, at: usize, value: u16) -> Option<()> {
        let end = at.checked_add(2)?;
        self.buffer
            .get_mut(..self.used)?
            .get_mut(at..end)?
            .copy_from_slice(&value.to_be_bytes());
        Some(())
    }
}
