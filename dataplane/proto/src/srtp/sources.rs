//! The bounded table behind a context: one window per SSRC.

use super::backend::prefetch;
use super::replay::Window;

/// For how many SSRCs that were forgotten the highest index is still known.
const MAX_FORGOTTEN: usize = 256;

/// Windows by SSRC. Few and mostly asked for in runs, so a flat scan that remembers its last hit beats a map.
#[derive(Debug)]
pub(super) struct Sources<const WORDS: usize> {
    ssrcs: Vec<u32>,
    windows: Vec<Window<WORDS>>,
    /// SSRC and highest index, oldest first.
    forgotten: Vec<(u32, u64)>,
    limit: usize,
    last: usize,
}

impl<const WORDS: usize> Sources<WORDS> {
    /// An empty table with room for `reserved` SSRCs that never holds more than `limit`.
    pub(super) fn new(reserved: usize, limit: usize) -> Self {
        Self {
            ssrcs: Vec::with_capacity(reserved),
            windows: Vec::with_capacity(reserved),
            forgotten: Vec::new(),
            limit,
            last: 0,
        }
    }

    /// Takes the memory for so many SSRCs more, and for remembering those that go.
    pub(super) fn reserve(&mut self, more: usize) {
        let more = more.min(self.limit.saturating_sub(self.ssrcs.len()));
        self.ssrcs.reserve(more);
        self.windows.reserve(more);
        let forgotten = MAX_FORGOTTEN.saturating_sub(self.forgotten.len());
        self.forgotten.reserve_exact(forgotten);
    }

    /// Asks for the memory that [`Self::find`] will read for the SSRC of its last hit.
    #[inline]
    pub(super) fn prefetch(&self) {
        if let (Some(ssrc), Some(window)) = (self.ssrcs.get(self.last), self.windows.get(self.last))
        {
            prefetch(ssrc);
            window.prefetch_whole();
        }
    }

    /// The window of an SSRC.
    pub(super) fn find(&mut self, ssrc: u32) -> Option<&mut Window<WORDS>> {
        if self.ssrcs.get(self.last) != Some(&ssrc) {
            self.last = self.ssrcs.iter().position(|known| *known == ssrc)?;
        }
        self.windows.get_mut(self.last)
    }

    /// The highest index that an SSRC had when it was forgotten.
    pub(super) fn recall(&self, ssrc: u32) -> Option<u64> {
        self.forgotten
            .iter()
            .rev()
            .find_map(|(known, highest)| (*known == ssrc).then_some(*highest))
    }

    /// Whether another SSRC would be one too many.
    pub(super) fn is_full(&self) -> bool {
        self.ssrcs.len() >= self.limit
    }

    /// How many SSRCs are in the table.
    pub(super) fn len(&self) -> usize {
        self.ssrcs.len()
    }

    /// Adds an SSRC that is not in the table, which must not be full, with the first index seen.
    pub(super) fn insert(&mut self, ssrc: u32, index: u64) {
        debug_assert!(!self.is_full() && !self.ssrcs.contains(&ssrc));
        let window = match self.recall(ssrc) {
            None => Window::starting_at(index),
            Some(highest) => {
                self.forgotten.retain(|(known, _)| *known != ssrc);
                let mut window = Window::filled_up_to(highest);
                window.commit(index);
                window
            }
        };
        self.last = self.ssrcs.len();
        self.ssrcs.push(ssrc);
        self.windows.push(window);
    }

    /// Takes an SSRC out of the table. Should it come back, it goes on behind its highest index, so that nothing of its
    /// first life can be played again.
    pub(super) fn forget(&mut self, ssrc: u32) {
        let Some(at) = self.ssrcs.iter().position(|known| *known == ssrc) else {
            return;
        };
        self.ssrcs.swap_remove(at);
        let window = self.windows.swap_remove(at);
        if self.forgotten.len() >= MAX_FORGOTTEN {
            self.forgotten.remove(0);
        }
        self.forgotten.push((ssrc, window.highest()));
    }
}
