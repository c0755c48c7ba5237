use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use clock::Instant;

use crate::{Error, Memory};

/// Bytes of a chunk of transmit memory, and so the most that one reservation may ask for.
pub const CHUNK_BYTES: usize = 64 << 10;
/// The most packets in a burst: past that a longer run hardly saves anything.
pub const MAX_SEGMENTS: usize = 16;
/// The most bytes in a burst: what fits into one UDP datagram over IPv4, as segmentation offload demands.
const MAX_BURST_BYTES: usize = 65_507;
const NO_CHUNK: usize = usize::MAX;

/// Counts bursts in the order in which they were begun, from zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BurstId(u64);

/// A finished burst on its way out: packets of equal size to one destination, end to end in memory; the last may be shorter.
///
/// A driver gets it from [`Bursts::take`] and hands it to [`Bursts::complete`] when the kernel no longer needs the bytes. It
/// cannot be copied, so it cannot be completed twice; one that is dropped instead costs its chunk of memory for good.
#[derive(Debug)]
pub struct Burst {
    id: BurstId,
    destination: SocketAddr,
    local: Option<IpAddr>,
    start: usize,
    len: usize,
    segment: usize,
    segments: usize,
    until: Instant,
}

impl Burst {
    /// Its number.
    pub fn id(&self) -> BurstId {
        self.id
    }

    /// Where it goes.
    pub fn destination(&self) -> SocketAddr {
        self.destination
    }

    /// The address of ours that it should come from, where the socket leaves a choice.
    pub fn local(&self) -> Option<IpAddr> {
        self.local
    }

    /// Bytes of all packets together.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Always false: a burst has at least one packet, and a packet at least one byte.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes of each packet but the last, which may have fewer.
    pub fn segment_size(&self) -> usize {
        self.segment
    }

    /// Packets, at most [`MAX_SEGMENTS`].
    pub fn segments(&self) -> usize {
        self.segments
    }
}

/// How much a [`Bursts`] holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BurstsSize {
    /// Chunks of [`CHUNK_BYTES`]; at least two, so that one can be written while another leaves.
    pub chunks: usize,
    /// Finished bursts that may wait for the driver.
    pub bursts: usize,
}

/// Transmit memory of one worker, written as runs of packets.
///
/// Writing: [`Bursts::begin`] names the peer, [`Bursts::reserve`] gives room for a packet, [`Bursts::commit`] says how long it
/// became. Packets that can leave together become one [`Burst`]: equal sizes in a row; a shorter packet closes its run as the
/// last segment, a longer one starts a new run; at most [`MAX_SEGMENTS`] and one datagram's worth of bytes. When memory or the
/// queue is exhausted, `reserve` says `None`, and the caller counts a drop.
///
/// A driver that stands still must not send later what is of no use by then: [`Bursts::expire`].
///
/// Sending, for drivers: [`Bursts::take`], [`Bursts::bytes`], [`Bursts::complete`], the last in any order.
#[derive(Debug)]
pub struct Bursts {
    memory: Arc<Memory>,
    /// Per chunk, bursts that are open, queued or with the driver.
    outstanding: Box<[u32]>,
    free: Vec<usize>,
    chunk: usize,
    /// Where the next packet goes, in bytes from the start of the chunk.
    offset: usize,
    reserved: usize,
    peer: Option<(SocketAddr, Option<IpAddr>)>,
    /// For how long it is of use what is written now.
    until: Instant,
    expired: u64,
    open: Option<Burst>,
    queue: VecDeque<Burst>,
    capacity: usize,
    next: u64,
    taken: usize,
    sent_at: Box<[Instant]>,
}

impl Bursts {
    /// Maps the memory. This is the last time anything is allocated here.
    ///
    /// # Errors
    /// [`Error::Map`] if the memory cannot be had.
    ///
    /// # Panics
    /// If there are fewer than two chunks, or no room for two bursts.
    pub fn new(size: BurstsSize) -> Result<Self, Error> {
        assert!(size.chunks >= 2, "one chunk is written while one leaves");
        assert!(
            size.bursts >= 2,
            "a packet may close one burst and open another"
        );
        let memory = Memory::map(size.chunks * CHUNK_BYTES)?;
        let history = (2 * size.bursts).next_power_of_two();
        Ok(Self {
            memory: Arc::new(memory),
            outstanding: vec![0; size.chunks].into_boxed_slice(),
            free: (0..size.chunks).rev().collect(),
            chunk: NO_CHUNK,
            offset: 0,
            reserved: 0,
            peer: None,
            until: Instant::FAR_FUTURE,
            expired: 0,
            open: None,
            queue: VecDeque::with_capacity(size.bursts),
            capacity: size.bursts,
            next: 0,
            taken: 0,
            sent_at: vec![Instant::ZERO; history].into_boxed_slice(),
        })
    }

    /// What follows goes to `destination`, from the address `local` of ours if that is known.
    ///
    /// A run to the same peer is continued; a run to another peer ends. What is left of a reservation stays reserved, so that
    /// one may be made for the packets of several peers.
    pub fn begin(&mut self, destination: SocketAddr, local: Option<IpAddr>) {
        self.until = Instant::FAR_FUTURE;
        if self.peer != Some((destination, local)) {
            self.finish();
            self.peer = Some((destination, local));
        }
    }

    /// What follows, up to the next [`Bursts::begin`], need not leave any more after `until`, unless it continues a run: the
    /// first packet of a run decides.
    pub fn expire(&mut self, until: Instant) {
        self.until = until;
    }

    /// Room for a packet of at most `max_len` bytes; `None` when memory or queue is exhausted.
    ///
    /// A reservation that is not committed costs nothing and ends at the next one.
    pub fn reserve(&mut self, max_len: usize) -> Option<&mut [u8]> {
        self.reserve_run(max_len, 1)
    }

    /// Room for `packets` packets of at most `max_len` bytes in all, which lie end to end and are committed one by one in order.
    ///
    /// # Panics
    /// If [`Bursts::begin`] has not been called yet.
    pub fn reserve_run(&mut self, max_len: usize, packets: usize) -> Option<&mut [u8]> {
        assert!(self.peer.is_some(), "a packet has a destination");
        self.reserved = 0;
        if max_len > CHUNK_BYTES || self.queued() + packets > self.capacity {
            return None;
        }
        if self.chunk == NO_CHUNK || self.room() < max_len {
            self.next_chunk(max_len)?;
        }
        self.reserved = max_len;
        let start = self.chunk * CHUNK_BYTES + self.offset;
        // SAFETY: the range lies within the current chunk (`room`), behind everything committed: no burst covers it, so
        // neither the kernel nor another slice does. The mapping was zeroed, and the borrow is mutable.
        Some(unsafe {
            core::slice::from_raw_parts_mut(self.memory.base().as_ptr().add(start), max_len)
        })
    }

    /// The first `len` reserved bytes are a packet. Returns the burst with which it will leave.
    ///
    /// # Panics
    /// If `len` is zero or more than what is left of the reservation.
    pub fn commit(&mut self, len: usize) -> BurstId {
        assert!(
            len > 0 && len <= self.reserved,
            "a packet lies within its reservation"
        );
        let fits = self
            .open
            .as_ref()
            .is_some_and(|open| len <= open.segment && open.len + len <= MAX_BURST_BYTES);
        if !fits {
            self.finish();
        }
        let start = self.chunk * CHUNK_BYTES + self.offset;
        self.offset += len;
        self.reserved -= len;
        let open = match &mut self.open {
            Some(open) => open,
            None => {
                let (destination, local) = self.peer.expect("reserve checked the destination");
                let id = BurstId(self.next);
                self.next += 1;
                self.outstanding[self.chunk] += 1;
                self.open.insert(Burst {
                    id,
                    destination,
                    local,
                    start,
                    len: 0,
                    segment: len,
                    segments: 0,
                    until: self.until,
                })
            }
        };
        open.len += len;
        open.segments += 1;
        let (id, full) = (open.id, len < open.segment || open.segments == MAX_SEGMENTS);
        if full {
            self.finish();
        }
        id
    }

    /// The first `len` reserved bytes hold no packet, and none that leaves with those before.
    ///
    /// # Panics
    /// If `len` is more than what is left of the reservation.
    pub fn skip(&mut self, len: usize) {
        assert!(
            len <= self.reserved,
            "what is skipped lies within its reservation"
        );
        self.finish();
        self.offset += len;
        self.reserved -= len;
    }

    /// How many bytes, in packets that are much shorter than a chunk, and how many bursts can be reserved for certain before
    /// others are completed.
    pub fn room_left(&self) -> (usize, usize) {
        // At the end of each chunk, up to a reservation is lost.
        let chunks = self.free.len() * (CHUNK_BYTES / 2);
        (chunks, self.capacity - self.queued())
    }

    /// Ends the open run, if there is one; what follows starts another burst.
    pub fn finish(&mut self) {
        if let Some(burst) = self.open.take() {
            assert!(
                self.queue.len() < self.capacity,
                "reserve left room in the queue"
            );
            self.queue.push_back(burst);
        }
    }

    /// When a burst was handed to the kernel; `None` if it has not been yet, or so long ago that it is forgotten.
    ///
    /// Remembered for at least as many bursts as may wait for the driver.
    pub fn sent_at(&self, id: BurstId) -> Option<Instant> {
        let waiting = self.queue.front().or(self.open.as_ref());
        let first_unsent = waiting.map_or(self.next, |burst| burst.id.0);
        let known = first_unsent.saturating_sub(self.sent_at.len() as u64)..first_unsent;
        known
            .contains(&id.0)
            .then(|| self.sent_at[self.remembered(id)])
    }

    /// Bursts that wait for the driver, the open one included.
    pub fn queued(&self) -> usize {
        self.queue.len() + usize::from(self.open.is_some())
    }

    /// Bursts that a driver has taken and not completed.
    pub fn in_flight(&self) -> usize {
        self.taken
    }

    /// Packets that wait for the driver.
    pub fn queued_packets(&self) -> usize {
        let waiting = self.queue.iter().chain(&self.open);
        waiting.map(Burst::segments).sum()
    }

    /// Packets that waited for the driver until they were of no use, and never left.
    pub fn expired(&self) -> u64 {
        self.expired
    }

    /// The memory behind the bursts, for a driver to keep alive while the kernel reads some of it.
    pub fn memory(&self) -> &Arc<Memory> {
        &self.memory
    }

    /// The oldest waiting burst that is still of use, which counts as sent `now`. Drivers only; call [`Bursts::finish`] first.
    pub fn take(&mut self, now: Instant) -> Option<Burst> {
        loop {
            let burst = self.queue.pop_front()?;
            self.sent_at[self.remembered(burst.id)] = now;
            self.taken += 1;
            if burst.until >= now {
                return Some(burst);
            }
            self.expired += burst.segments as u64;
            self.complete(burst);
        }
    }

    /// The bytes of a burst that was taken here.
    pub fn bytes(&self, burst: &Burst) -> &[u8] {
        debug_assert!(self.outstanding[burst.start / CHUNK_BYTES] > 0);
        assert!(
            burst.start + burst.len <= self.memory.len(),
            "a burst belongs to its memory"
        );
        // SAFETY: the range lies in the mapping, which was zeroed, and was committed; it is not written again before the
        // burst is completed, for which the caller would need it by value.
        unsafe {
            core::slice::from_raw_parts(self.memory.base().as_ptr().add(burst.start), burst.len)
        }
    }

    /// The kernel is through with a burst; its bytes may be used again. Drivers only.
    pub fn complete(&mut self, burst: Burst) {
        let chunk = burst.start / CHUNK_BYTES;
        let outstanding = &mut self.outstanding[chunk];
        assert!(
            *outstanding > 0 && self.taken > 0,
            "a burst is completed where it was taken"
        );
        *outstanding -= 1;
        self.taken -= 1;
        if *outstanding > 0 {
            return;
        }
        if chunk == self.chunk {
            // Nobody looks at the chunk any more: written from its start it stays warm in the cache.
            if self.reserved == 0 {
                self.offset = 0;
            }
        } else {
            self.free.push(chunk);
        }
    }

    fn room(&self) -> usize {
        CHUNK_BYTES - self.offset
    }

    fn remembered(&self, id: BurstId) -> usize {
        (id.0 & (self.sent_at.len() as u64 - 1)) as usize
    }

    /// Moves on to a chunk with room for `len` bytes, which may be the same one from its start.
    fn next_chunk(&mut self, len: usize) -> Option<()> {
        if self.chunk != NO_CHUNK && self.outstanding[self.chunk] == 0 {
            self.offset = 0;
            debug_assert!(len <= self.room());
            return Some(());
        }
        let chunk = self.free.pop()?;
        // A burst is contiguous, so the run in the old chunk ends there.
        self.finish();
        self.chunk = chunk;
        self.offset = 0;
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bursts(chunks: usize, bursts: usize) -> Bursts {
        Bursts::new(BurstsSize { chunks, bursts }).unwrap()
    }

    fn peer(port: u16) -> SocketAddr {
        ([127, 0, 0, 1], port).into()
    }

    fn write(bursts: &mut Bursts, len: usize, fill: u8) -> BurstId {
        bursts.reserve(len + 16).unwrap()[..len].fill(fill);
        bursts.commit(len)
    }

    /// Segment size, segments and total length of everything queued.
    fn drain(bursts: &mut Bursts) -> Vec<(usize, usize, usize)> {
        bursts.finish();
        let mut shapes = Vec::new();
        while let Some(burst) = bursts.take(Instant::from_millis(1)) {
            shapes.push((burst.segment_size(), burst.segments(), burst.len()));
            bursts.complete(burst);
        }
        shapes
    }

    #[test]
    fn equal_packets_make_one_run() {
        let mut bursts = bursts(2, 8);
        bursts.begin(peer(1), None);
        let ids: Vec<_> = (0..3).map(|fill| write(&mut bursts, 100, fill)).collect();
        assert!(ids.iter().all(|id| *id == ids[0]));
        bursts.finish();
        let burst = bursts.take(Instant::from_millis(7)).unwrap();
        assert_eq!(burst.destination(), peer(1));
        let bytes = bursts.bytes(&burst);
        assert!(
            bytes
                .chunks(100)
                .zip(0u8..)
                .all(|(packet, fill)| packet == [fill; 100])
        );
        assert_eq!(bursts.sent_at(ids[0]), Some(Instant::from_millis(7)));
        bursts.complete(burst);
        assert_eq!((bursts.queued(), bursts.in_flight()), (0, 0));
    }

    #[test]
    fn a_shorter_packet_closes_and_a_longer_one_opens() {
        let mut bursts = bursts(2, 8);
        bursts.begin(peer(1), None);
        for len in [100, 100, 60, 60, 80, 80] {
            write(&mut bursts, len, 1);
        }
        assert_eq!(
            drain(&mut bursts),
            [(100, 3, 260), (60, 1, 60), (80, 2, 160)]
        );
    }

    #[test]
    fn runs_end_at_sixteen_at_another_peer_and_at_another_source() {
        let mut bursts = bursts(2, 16);
        bursts.begin(peer(1), None);
        for _ in 0..17 {
            write(&mut bursts, 50, 1);
        }
        bursts.begin(peer(1), None);
        write(&mut bursts, 50, 1);
        bursts.begin(peer(2), None);
        write(&mut bursts, 50, 1);
        bursts.begin(peer(2), Some([127, 0, 0, 2].into()));
        write(&mut bursts, 50, 1);
        let shapes = drain(&mut bursts);
        assert_eq!(
            shapes,
            [(50, 16, 800), (50, 2, 100), (50, 1, 50), (50, 1, 50)]
        );
    }

    #[test]
    fn a_run_fits_into_a_datagram_and_a_chunk() {
        let mut bursts = bursts(4, 64);
        bursts.begin(peer(1), None);
        for _ in 0..16 {
            write(&mut bursts, 8_000, 1);
        }
        let shapes = drain(&mut bursts);
        assert!(shapes.iter().all(|(_, _, total)| *total <= MAX_BURST_BYTES));
        assert_eq!(shapes.iter().map(|(_, count, _)| count).sum::<usize>(), 16);
    }

    #[test]
    fn several_packets_share_a_reservation() {
        let mut bursts = bursts(2, 64);
        bursts.begin(peer(1), None);
        let room = bursts.reserve_run(350, 3).unwrap();
        room[..100].fill(1);
        room[100..200].fill(2);
        room[200..350].fill(3);
        for len in [100, 100, 150] {
            bursts.commit(len);
        }
        bursts.finish();
        let first = bursts.take(Instant::ZERO).unwrap();
        assert_eq!((first.segments(), bursts.bytes(&first)[199]), (2, 2));
        let second = bursts.take(Instant::ZERO).unwrap();
        assert_eq!(bursts.bytes(&second), [3; 150]);
        bursts.complete(first);
        bursts.complete(second);
    }

    #[test]
    fn exhausted_memory_comes_back_in_any_order() {
        let mut bursts = bursts(2, 64);
        let mut taken = Vec::new();
        for port in 1.. {
            bursts.begin(peer(port), None);
            let Some(room) = bursts.reserve(30_000) else {
                break;
            };
            room.fill(port as u8);
            bursts.commit(30_000);
            bursts.finish();
            taken.extend(bursts.take(Instant::ZERO));
        }
        assert_eq!(taken.len(), 4);
        let third = taken.remove(2);
        bursts.complete(third);
        assert!(
            bursts.reserve(30_000).is_none(),
            "its neighbour still holds the chunk"
        );
        for burst in taken.drain(..) {
            assert_eq!(bursts.bytes(&burst)[0], burst.destination().port() as u8);
            bursts.complete(burst);
        }
        assert_eq!(bursts.in_flight(), 0);
        assert!(bursts.reserve(CHUNK_BYTES).is_some());
        assert!(bursts.reserve(CHUNK_BYTES + 1).is_none());
    }

    #[test]
    fn a_full_queue_refuses_before_anything_is_written() {
        let mut bursts = bursts(2, 4);
        let mut written = 0;
        for port in 1..9 {
            bursts.begin(peer(port), None);
            if bursts.reserve(10).is_some() {
                bursts.commit(10);
                written += 1;
            }
        }
        assert_eq!(drain(&mut bursts).len(), written);
        assert_eq!(written, 4);
    }

    #[test]
    fn what_waited_too_long_does_not_leave() {
        let mut bursts = bursts(2, 8);
        let at = Instant::from_millis;
        for (port, until) in [(1, Some(at(5))), (2, None), (3, Some(at(7)))] {
            bursts.begin(peer(port), None);
            until.into_iter().for_each(|until| bursts.expire(until));
            write(&mut bursts, 100, 1);
            write(&mut bursts, 100, 1);
        }
        bursts.finish();
        assert_eq!((bursts.queued(), bursts.queued_packets()), (3, 6));
        let ports = core::iter::from_fn(|| {
            let burst = bursts.take(at(7))?;
            let port = burst.destination().port();
            bursts.complete(burst);
            Some(port)
        });
        assert_eq!(ports.collect::<Vec<_>>(), [2, 3]);
        assert_eq!((bursts.expired(), bursts.in_flight()), (2, 0));
        assert_eq!((bursts.queued(), bursts.queued_packets()), (0, 0));
        assert!(bursts.reserve(CHUNK_BYTES).is_some(), "its memory too");
    }

    #[test]
    fn send_times_are_known_once_sent_and_then_for_a_while() {
        let mut bursts = bursts(2, 4);
        bursts.begin(peer(1), None);
        let first = write(&mut bursts, 10, 1);
        assert_eq!(bursts.sent_at(first), None);
        drain(&mut bursts);
        assert_eq!(bursts.sent_at(first), Some(Instant::from_millis(1)));
        for _ in 0..8 {
            write(&mut bursts, 10, 1);
            drain(&mut bursts);
        }
        assert_eq!(bursts.sent_at(first), None);
    }

    /// Random histories against a model that only remembers, per peer, which packets were committed.
    #[test]
    fn any_history_sends_every_packet_once_and_in_order() {
        for seed in 0..20 {
            let mut rng = clock::Rng::from_number(seed);
            let mut bursts = bursts(3, 12);
            let mut expected: Vec<VecDeque<(usize, u8)>> = vec![VecDeque::new(); 3];
            let mut flying: Vec<(Burst, Vec<u8>)> = Vec::new();
            let (mut fill, mut refused) = (0u8, 0);
            for _ in 0..500 {
                match rng.below(8) {
                    0 => {
                        bursts.finish();
                        let Some(burst) = bursts.take(Instant::ZERO) else {
                            continue;
                        };
                        let bytes = bursts.bytes(&burst).to_vec();
                        assert!(burst.segments() <= MAX_SEGMENTS && bytes.len() <= 65_507);
                        let peer = usize::from(burst.destination().port());
                        for packet in bytes.chunks(burst.segment_size()) {
                            let (len, fill) = expected[peer].pop_front().unwrap();
                            assert_eq!(
                                (packet.len(), packet[0], packet[len - 1]),
                                (len, fill, fill)
                            );
                        }
                        flying.push((burst, bytes));
                    }
                    1 if !flying.is_empty() => {
                        let any = rng.below(flying.len() as u64) as usize;
                        let (burst, bytes) = flying.swap_remove(any);
                        assert!(bursts.bytes(&burst) == bytes, "overwritten while in flight");
                        bursts.complete(burst);
                    }
                    _ => {
                        let to = rng.below(3) as usize;
                        let len = [60, 1000, 1000, 1200, 9000][rng.below(5) as usize];
                        bursts.begin(peer(to as u16), None);
                        let Some(room) = bursts.reserve(len + rng.below(40) as usize) else {
                            refused += 1;
                            continue;
                        };
                        fill = fill.wrapping_add(1);
                        room[..len].fill(fill);
                        bursts.commit(len);
                        expected[to].push_back((len, fill));
                    }
                }
            }
            assert!(refused > 0, "the history reaches exhaustion");
            bursts.finish();
            let waiting = core::iter::from_fn(|| bursts.take(Instant::ZERO)).collect::<Vec<_>>();
            for burst in waiting
                .into_iter()
                .chain(flying.into_iter().map(|flown| flown.0))
            {
                bursts.complete(burst);
            }
            assert_eq!((bursts.queued(), bursts.in_flight()), (0, 0));
            assert!(
                bursts.reserve(CHUNK_BYTES).is_some(),
                "all memory came back"
            );
        }
    }
}
