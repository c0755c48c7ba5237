//! What an engine keeps between two turns, counted by looking at it: whoever tests it compares that with the counters.

use crate::engine::Engine;

/// For tests, between [`Engine::flush`] and the next turn.
impl Engine {
    /// Copies of packets for subscribers that wait for the next flush.
    pub fn waiting_copies(&self) -> u64 {
        let transports = self.queue.waiting_transports();
        let copies = transports.map(|key| self.queue.count_runs(&self.model.exits[key]));
        copies.sum()
    }

    /// Slots with references of the engine: those of the caches, of what waits, and of what went away since. Looks through
    /// everything, which takes long.
    pub fn slots_kept(&self) -> usize {
        let caches = self.model.encodings.iter();
        let cached = caches.flat_map(|(_, encoding)| encoding.cache.slots());
        let orphans = self.orphans.iter().copied();
        let all = cached.chain(self.queue.slots()).chain(orphans);
        let mut slots: Vec<usize> = all.map(|slot| slot.index()).collect();
        slots.sort_unstable();
        slots.dedup();
        slots.len()
    }
}
