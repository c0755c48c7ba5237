//! Recent packets per encoding, for retransmission.
//!
//! A packet stays as long as three bounds allow: so many per encoding, [`AGE_MAX`], and a share of the arena that all
//! encodings have together, the oldest going first. Subscribers remember none: they know how their sequence numbers map.

use std::collections::VecDeque;

use clock::{Duration, Instant};
use packet::{Arena, SMALL_SLOT_BYTES, SlotId};

use crate::model::packet::Packet;

/// How long a packet may be asked for.
pub(crate) const AGE_MAX: Duration = Duration::from_secs(1);
/// How much longer it may lie there when nothing else happens.
const EXPIRY_SLACK: Duration = Duration::from_millis(500);
/// Hard bound on packets of one encoding, whatever the configuration says.
pub(crate) const PACKETS_MAX: usize = 512;
/// Packets that are let go in one turn because of their age, so that no turn is long.
const EXPIRED_MAX: usize = 1024;
/// The caches together take at most this many percent of the arena.
const ARENA_PERCENT_MAX: usize = 60;

/// The packets of one encoding, in a ring by sequence number.
#[derive(Debug, Default)]
pub(crate) struct Cache {
    ring: Box<[Option<Packet>]>,
}

impl Cache {
    /// Room for `packets`, at most [`PACKETS_MAX`]; none at all for 0.
    pub(crate) fn new(packets: usize) -> Self {
        Self {
            ring: vec![None; packets.min(PACKETS_MAX)].into_boxed_slice(),
        }
    }

    /// The packet with this sequence number, if it is still here.
    #[inline(never)]
    pub(crate) fn get(&self, sequence: u64) -> Option<&Packet> {
        let packet = self.ring.get(self.index(sequence)?)?.as_ref()?;
        (packet.sequence == sequence).then_some(packet)
    }

    /// Asks for the place of a packet that will be kept.
    pub(crate) fn prefetch(&self, sequence: u64) {
        if let Some(place) = self.index(sequence).and_then(|index| self.ring.get(index)) {
            packet::prefetch(place, size_of::<Option<Packet>>());
        }
    }

    /// Where its packets lie.
    pub(crate) fn slots(&self) -> impl Iterator<Item = SlotId> + '_ {
        let packets = self.ring.iter().flatten();
        packets.map(|packet| packet.slot)
    }

    fn index(&self, sequence: u64) -> Option<usize> {
        usize::try_from(sequence.checked_rem(self.ring.len() as u64)?).ok()
    }

    fn take(&mut self, sequence: u64) -> Option<Packet> {
        let index = self.index(sequence)?;
        let entry = self.ring.get_mut(index)?;
        match entry {
            Some(packet) if packet.sequence == sequence => entry.take(),
            _ => None,
        }
    }
}

/// All caches together: who is oldest, and how many there are.
#[derive(Debug, Default)]
pub(crate) struct Quota {
    /// In the order of insertion; what is gone already is skipped.
    order: VecDeque<(u32, u64, Instant)>,
    packets: usize,
}

/// Gives access to the cache of an encoding by its key.
pub(crate) trait Caches {
    fn cache(&mut self, encoding: u32) -> Option<&mut Cache>;
}

impl Quota {
    /// Most packets that all caches together keep of an arena.
    pub(crate) fn limit(arena: &Arena) -> usize {
        arena.slots() * ARENA_PERCENT_MAX / 100
    }

    /// Makes room for so many.
    pub(crate) fn reserve(&mut self, arena: &Arena) {
        let limit = Self::limit(arena);
        self.order
            .reserve_exact(limit.saturating_sub(self.order.len()));
    }

    /// Packets in all caches.
    pub(crate) fn packets(&self) -> usize {
        self.packets
    }

    /// Keeps `packet` at `now`, and lets others go for it. Returns whether there was room.
    pub(crate) fn insert(
        &mut self,
        caches: &mut impl Caches,
        arena: &mut Arena,
        packet: &Packet,
        now: Instant,
    ) -> bool {
        let limit = Self::limit(arena);
        self.expire(caches, arena, now);
        while !self.order.is_empty() && (self.order.len() >= limit || arena.free_for_cache() == 0) {
            self.evict_oldest(caches, arena);
        }
        if limit == 0 || arena.free_for_cache() == 0 {
            return false;
        }
        let Some(cache) = caches.cache(packet.encoding) else {
            return false;
        };
        let Some(index) = cache.index(packet.sequence) else {
            return false;
        };
        let mut kept = compact(arena, packet).unwrap_or_else(|| {
            arena.retain(packet.slot);
            *packet
        });
        kept.arrival = None;
        match cache.ring[index].replace(kept) {
            Some(old) => arena.release(old.slot),
            None => self.packets += 1,
        }
        self.order
            .push_back((packet.encoding, packet.sequence, now));
        true
    }

    /// Lets go of what is too old, some at a time.
    pub(crate) fn expire(&mut self, caches: &mut impl Caches, arena: &mut Arena, now: Instant) {
        for _ in 0..EXPIRED_MAX {
            if self
                .order
                .front()
                .is_none_or(|(_, _, since)| now - *since < AGE_MAX)
            {
                break;
            }
            self.evict_oldest(caches, arena);
        }
    }

    /// When to call [`Quota::expire`] if no packet comes before: late, for every packet that is kept expires others.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let oldest = self.order.front();
        oldest.map(|(_, _, since)| *since + AGE_MAX + EXPIRY_SLACK)
    }

    /// Moves the slots of a cache that is going away to `orphans`, for there is no arena at hand.
    pub(crate) fn clear(&mut self, cache: &mut Cache, orphans: &mut Vec<SlotId>) {
        for packet in cache.ring.iter_mut().filter_map(Option::take) {
            orphans.push(packet.slot);
            self.packets -= 1;
        }
    }

    fn evict_oldest(&mut self, caches: &mut impl Caches, arena: &mut Arena) {
        let Some((encoding, sequence, _)) = self.order.pop_front() else {
            return;
        };
        if let Some(packet) = caches
            .cache(encoding)
            .and_then(|cache| cache.take(sequence))
        {
            arena.release(packet.slot);
            self.packets -= 1;
        }
    }
}

/// A copy of a short packet in a small slot, so that it does not hold a large one for a second; `None` if it is too long
/// or there is no such slot.
fn compact(arena: &mut Arena, packet: &Packet) -> Option<Packet> {
    let (first, end) = packet.extent();
    if usize::from(end - first) > SMALL_SLOT_BYTES {
        return None;
    }
    let slot = arena.alloc_small()?;
    arena.copy(packet.slot, usize::from(first)..usize::from(end), slot, 0);
    Some(packet.moved(slot, first))
}

#[cfg(test)]
mod tests {
    use packet::ArenaSize;
    use proptest::prelude::*;

    use super::*;

    impl Caches for Vec<Cache> {
        fn cache(&mut self, encoding: u32) -> Option<&mut Cache> {
            self.get_mut(encoding as usize)
        }
    }

    fn arena(slots: u32, reserve: u32) -> Arena {
        Arena::new(ArenaSize {
            slots,
            small_slots: 0,
            reserve,
        })
        .unwrap()
    }

    fn packet(slot: SlotId, encoding: u32, sequence: u64) -> Packet {
        Packet {
            encoding,
            sequence,
            ..Packet::empty(slot)
        }
    }

    /// Receives a packet and keeps it if the quota allows.
    fn keep(
        quota: &mut Quota,
        caches: &mut Vec<Cache>,
        arena: &mut Arena,
        at: (u32, u64),
        now: Instant,
    ) -> bool {
        let slot = arena.alloc().unwrap();
        let kept = quota.insert(caches, arena, &packet(slot, at.0, at.1), now);
        arena.release(slot);
        kept
    }

    #[test]
    fn old_packets_leave_and_the_slots_come_back() {
        let (mut quota, mut arena) = (Quota::default(), arena(32, 0));
        let mut caches = vec![Cache::new(4)];
        for sequence in 0..6 {
            assert!(keep(
                &mut quota,
                &mut caches,
                &mut arena,
                (0, sequence),
                Instant::ZERO
            ));
        }
        assert_eq!((quota.packets(), arena.in_use()), (4, 4));
        assert!(caches[0].get(1).is_none() && caches[0].get(2).is_some());
        quota.expire(&mut caches, &mut arena, Instant::from_millis(999));
        assert_eq!(quota.packets(), 4);
        quota.expire(&mut caches, &mut arena, Instant::from_millis(1_000));
        assert_eq!((quota.packets(), arena.in_use()), (0, 0));
        assert_eq!(quota.deadline(), None);
    }

    #[test]
    fn a_cache_that_is_out_of_date_empties_in_steps() {
        let (mut quota, mut arena) = (Quota::default(), arena(4096, 0));
        let mut caches: Vec<Cache> = (0..4).map(|_| Cache::new(PACKETS_MAX)).collect();
        for number in 0..4 * PACKETS_MAX as u64 {
            let at = ((number % 4) as u32, number / 4);
            assert!(keep(&mut quota, &mut caches, &mut arena, at, Instant::ZERO));
        }
        let late = Instant::from_millis(5_000);
        let left = |quota: &mut Quota, caches: &mut Vec<Cache>, arena: &mut Arena| {
            quota.expire(caches, arena, late);
            quota.packets()
        };
        assert_eq!(
            left(&mut quota, &mut caches, &mut arena),
            4 * PACKETS_MAX - EXPIRED_MAX
        );
        assert!(quota.deadline().is_some_and(|deadline| deadline <= late));
        assert_eq!(left(&mut quota, &mut caches, &mut arena), 0);
        assert_eq!((arena.in_use(), quota.deadline()), (0, None));
    }

    #[test]
    fn the_reserve_of_the_arena_is_never_touched() {
        let (mut quota, mut arena) = (Quota::default(), arena(10, 7));
        let mut caches = vec![Cache::new(64), Cache::new(64)];
        for sequence in 0..20 {
            keep(
                &mut quota,
                &mut caches,
                &mut arena,
                ((sequence % 2) as u32, sequence),
                Instant::ZERO,
            );
            assert!(arena.free() >= 7);
        }
        assert!(quota.packets() >= 1);
        assert!(
            caches[1].get(19).is_some(),
            "the newest stays, the oldest goes"
        );
    }

    proptest! {
        #[test]
        fn agrees_with_a_list(steps in prop::collection::vec((0u32..2, 0u64..20, 0u64..300), 1..100)) {
            let (mut quota, mut arena) = (Quota::default(), arena(20, 0));
            let mut caches = vec![Cache::new(8), Cache::new(8)];
            let mut model: Vec<(u32, u64, Instant)> = Vec::new();
            let mut now = Instant::ZERO;
            for (encoding, sequence, pass_ms) in steps {
                now += Duration::from_millis(pass_ms);
                if caches[encoding as usize].get(sequence).is_some() {
                    continue;
                }
                model.retain(|(_, _, since)| now - *since < AGE_MAX);
                prop_assert!(keep(&mut quota, &mut caches, &mut arena, (encoding, sequence), now));
                model.retain(|(e, s, _)| (*e, s % 8) != (encoding, sequence % 8));
                model.push((encoding, sequence, now));
                for (encoding, sequence, _) in &model {
                    // The share of the arena may have taken old ones earlier; the newest is always there.
                    if (*encoding, *sequence) == (model.last().unwrap().0, model.last().unwrap().1) {
                        prop_assert!(caches[*encoding as usize].get(*sequence).is_some());
                    }
                }
                prop_assert!(quota.packets() <= model.len());
                prop_assert_eq!(arena.in_use(), quota.packets());
                prop_assert!(quota.packets() <= 12);
            }
            let mut orphans = Vec::new();
            for cache in &mut caches {
                quota.clear(cache, &mut orphans);
            }
            orphans.into_iter().for_each(|slot| arena.release(slot));
            prop_assert_eq!((arena.in_use(), quota.packets()), (0, 0));
        }
    }
}
