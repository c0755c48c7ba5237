//! What an engine keeps between two turns, counted by looking at it: whoever tests it compares that with the counters.

use crate::engine::Engine;
use crate::pacer::Held;

/// For tests, between [`Engine::flush`] and the next turn.
impl Engine {
    /// Copies of packets for subscribers that wait for the next flush.
    pub fn waiting_copies(&self) -> u64 {
        let transports = self.queue.waiting_transports();
        let copies = transports.map(|key| self.queue.count_runs(&self.model.exits[key]));
        copies.sum::<u64>() + self.held().count() as u64
    }

    /// Those of them that wait for their time, as counted and as they are.
    pub fn paced_copies(&self) -> (u64, u64) {
        (self.paced_packets, self.held().count() as u64)
    }

    /// Slots with references of the engine: those of the caches, of what waits, and of what went away since. Looks through
    /// everything, which takes long.
    pub fn slots_kept(&self) -> usize {
        let caches = self.model.encodings.iter();
        let cached = caches.flat_map(|(_, encoding)| encoding.cache.slots());
        let orphans = self.orphans.iter().copied();
        let held = self.held().map(|held| held.packet.slot);
        let all = cached.chain(self.queue.slots()).chain(orphans).chain(held);
        let mut slots: Vec<usize> = all.map(|slot| slot.index()).collect();
        slots.sort_unstable();
        slots.dedup();
        slots.len()
    }

    /// What waits for its time.
    fn held(&self) -> impl Iterator<Item = &Held> {
        let transports = self.model.transports.iter();
        let numbered = transports.filter_map(|(_, transport)| transport.numbered.as_ref());
        numbered.flat_map(|numbered| numbered.pacer.held())
    }
}
