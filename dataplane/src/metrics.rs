//! Everything that the node counts: declared once, published a few times a second, added up by the scrape.
//!
//! A worker writes its counters into a block of cells that only it writes ([`Cells`]); whoever scrapes reads the blocks of
//! all workers. Names follow Prometheus: base units, `_total` for counters, never an id.

use std::sync::atomic::{AtomicU64, Ordering};

use net::DriverStats;
use sfu::stats::{Latency, StageCells, Stats};

use crate::crossing;
use crate::effort::PARTS;

mod families;
mod page;
mod render;

pub use families::{FAMILIES, Family, Kind};
pub use render::{AgentCounters, LOAD_SERIES_MAX, Node, render, render_load, series_max};

/// Buckets of [`WorkerCounters::batches`]: 1, 2, 4 and so on to a full batch.
pub const BATCHES: usize = packet::MAX_BATCH.ilog2() as usize + 1;

/// Everything that one worker counts.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// What the engine counts.
    pub engine: Stats,
    /// What the driver counts.
    pub driver: DriverStats,
    /// What the worker itself counts.
    pub worker: WorkerCounters,
    /// What it counts of its neighbours.
    pub crossing: crossing::Counters,
}

/// What a worker itself counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WorkerCounters {
    /// Turns.
    pub turns: u64,
    /// Turns that took longer than their budget, by the part that took the most: [`sfu::discard::Stage`], orders, the driver.
    pub stalls: [u64; PARTS],
    /// What the driver took, in the unit of [`StageCells::cycles`]: what the thread used and nothing else took.
    pub driver_cycles: u64,
    /// Packets that do not add up in the engine.
    pub unbalanced: u64,
    /// Orders followed.
    pub orders: u64,
    /// Processor time, nanoseconds.
    pub cpu_nanos: u64,
    /// Batches that were not empty, by the first power of two that is not less than their length.
    pub batches: [u64; BATCHES],
    /// Datagrams in all of them.
    pub batch_packets: u64,
}

impl WorkerCounters {
    /// So many datagrams came at a time.
    pub fn came(&mut self, datagrams: usize) {
        if datagrams > 0 {
            let bucket = datagrams.next_power_of_two().ilog2() as usize;
            self.batches[bucket.min(BATCHES - 1)] += 1;
            self.batch_packets += datagrams as u64;
        }
    }
}

impl Snapshot {
    /// Adds what another worker counts.
    pub fn add(&mut self, mut other: Self) {
        let mut numbers = Vec::new();
        visit(&mut other, |cell| numbers.push(*cell));
        let mut numbers = numbers.into_iter();
        visit(self, |cell| *cell += numbers.next().unwrap_or(0));
    }
}

/// Calls `f` with every counter, always in the same order.
fn visit(snapshot: &mut Snapshot, mut f: impl FnMut(&mut u64)) {
    let Snapshot {
        engine,
        driver,
        worker,
        crossing,
    } = snapshot;
    visit_engine(engine, &mut f);
    visit_driver(driver, &mut f);
    let crossing::Counters { slots_lent, wakes } = crossing;
    [slots_lent, wakes].into_iter().for_each(&mut f);
    let WorkerCounters {
        turns,
        stalls,
        driver_cycles,
        unbalanced,
        orders,
        cpu_nanos,
        batches,
        batch_packets,
    } = worker;
    stalls.iter_mut().chain(batches).for_each(&mut f);
    [
        turns,
        driver_cycles,
        unbalanced,
        orders,
        cpu_nanos,
        batch_packets,
    ]
    .into_iter()
    .for_each(f);
}

/// Every field is named, so that a new one can't be forgotten.
fn visit_engine(stats: &mut Stats, f: &mut impl FnMut(&mut u64)) {
    let Stats {
        stages,
        drops,
        consumed,
        refusals,
        packets,
        bytes,
        nacks_sent,
        nacks_received,
        retransmissions_sent,
        retransmissions_received,
        retransmissions_refused,
        probes_sent,
        key_frame_requests_received,
        key_frame_requests_sent,
        key_frames_received,
        transport_feedback_sent,
        remb_sent,
        transports_new,
        transports_connecting,
        transports_connected,
        publishers,
        subscribers,
        encodings,
        cache_packets,
        taps_out,
        taps_in,
        key_frame_wishes_received,
        key_frame_wishes_sent,
        order_cycles,
        latency,
        padding_bytes,
        sound_recovered,
    } = stats;
    stages.iter_mut().for_each(|stage| visit_stage(stage, f));
    visit_latency(latency, f);
    let ends = drops.0.iter_mut().flatten().chain(consumed).chain(refusals);
    let datagrams = packets.iter_mut().chain(bytes).flatten();
    ends.chain(datagrams).for_each(&mut *f);
    [
        nacks_sent,
        nacks_received,
        retransmissions_sent,
        retransmissions_received,
        retransmissions_refused,
        probes_sent,
        key_frame_requests_received,
        key_frame_requests_sent,
        key_frames_received,
        transport_feedback_sent,
        remb_sent,
        transports_new,
        transports_connecting,
        transports_connected,
        publishers,
        subscribers,
        encodings,
        cache_packets,
        taps_out,
        taps_in,
        key_frame_wishes_received,
        key_frame_wishes_sent,
        order_cycles,
        padding_bytes,
        sound_recovered,
    ]
    .into_iter()
    .for_each(f);
}

fn visit_latency(latency: &mut Latency, f: &mut impl FnMut(&mut u64)) {
    let Latency { buckets, sum } = latency;
    buckets.iter_mut().for_each(&mut *f);
    f(sum);
}

fn visit_stage(cells: &mut StageCells, f: &mut impl FnMut(&mut u64)) {
    let StageCells {
        calls,
        packets_in,
        made,
        packets_out,
        consumed,
        held,
        cycles,
    } = cells;
    [calls, packets_in, made, packets_out, consumed, held, cycles]
        .into_iter()
        .for_each(f);
}

fn visit_driver(stats: &mut DriverStats, f: &mut impl FnMut(&mut u64)) {
    let DriverStats {
        turns,
        system_calls,
        receiving_turns,
        refused_submissions,
        received_packets,
        received_bytes,
        truncated,
        kernel_drops,
        out_of_slots,
        rearmed,
        sent_bursts,
        peer_bursts,
        sends,
        sent_packets,
        sent_bytes,
        segmented_bursts,
        segmentation_fallbacks,
        unreachable,
        expired_packets,
        send_failures,
        runs,
    } = stats;
    runs.iter_mut().for_each(&mut *f);
    [
        turns,
        system_calls,
        receiving_turns,
        refused_submissions,
        received_packets,
        received_bytes,
        truncated,
        kernel_drops,
        out_of_slots,
        rearmed,
        sent_bursts,
        peer_bursts,
        sends,
        sent_packets,
        sent_bytes,
        segmented_bursts,
        segmentation_fallbacks,
        unreachable,
        expired_packets,
        send_failures,
    ]
    .into_iter()
    .for_each(f);
}

/// Cells in a line; two cache lines, because neighbours are prefetched in pairs.
const CELLS_PER_LINE: usize = 16;

#[repr(align(128))]
#[derive(Default)]
struct Line([AtomicU64; CELLS_PER_LINE]);

/// The published counters of one worker. One thread writes, anyone reads.
pub struct Cells(Box<[Line]>);

impl Cells {
    /// All zero.
    pub fn new() -> Self {
        let mut count = 0usize;
        visit(&mut Snapshot::default(), |_| count += 1);
        let lines = count.div_ceil(CELLS_PER_LINE);
        Self((0..lines).map(|_| Line::default()).collect())
    }

    /// Writes every counter. A reader may see some of this time and some of the last one, never half a number.
    pub fn publish(&self, snapshot: &mut Snapshot) {
        let mut cells = self.0.iter().flat_map(|line| &line.0);
        visit(snapshot, |value| {
            if let Some(cell) = cells.next() {
                cell.store(*value, Ordering::Relaxed);
            }
        });
    }

    /// Reads every counter.
    pub fn read(&self) -> Snapshot {
        let mut cells = self.0.iter().flat_map(|line| &line.0);
        let mut snapshot = Snapshot::default();
        visit(&mut snapshot, |value| {
            if let Some(cell) = cells.next() {
                *value = cell.load(Ordering::Relaxed);
            }
        });
        snapshot
    }
}

impl Default for Cells {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_published_can_be_read_and_added_up() {
        let mut snapshot = Snapshot::default();
        let mut next = 0;
        visit(&mut snapshot, |cell| {
            next += 1;
            *cell = next;
        });
        assert!(next > 200, "stages by reasons alone are more");
        let cells = Cells::new();
        cells.publish(&mut snapshot);
        let mut read = cells.read();
        assert_eq!(read.worker, snapshot.worker);
        assert_eq!(read.driver, snapshot.driver);
        read.add(snapshot);
        assert_eq!(read.worker.batch_packets, 2 * next);
        assert_eq!(read.engine.stages[0].calls, 2);
    }

    #[test]
    fn batches_are_counted_by_powers_of_two() {
        let mut worker = WorkerCounters::default();
        for length in [0, 1, 2, 3, 4, 5, 255, packet::MAX_BATCH] {
            worker.came(length);
        }
        assert_eq!(worker.batches, [1, 1, 2, 1, 0, 0, 0, 0, 2]);
        let all = 1 + 2 + 3 + 4 + 5 + 255 + packet::MAX_BATCH as u64;
        assert_eq!(worker.batch_packets, all);
    }
}
