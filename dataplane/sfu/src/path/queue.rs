//! What waits to be rewritten: the packets of a turn, and for each transport of a subscriber the runs of them that it gets.
//!
//! A run names packets that lie in a row, so that handing a frame to a subscriber is one step and not one per packet. What a
//! flush leaves over stays for the next.

use std::collections::VecDeque;

use clock::{Duration, Instant};
use packet::{Arena, SlotId};

use super::Run;
use crate::model::exit::{Exit, WAITING_MAX};
use crate::model::packet::Packet;

/// Most packets that runs may refer to. Only a worker that can't keep up comes near.
const PACKETS_MAX: usize = 4096;
/// Of those, how many may be retransmissions.
const RESENT_MAX: usize = 2048;
/// How many more there may be during a flush, for subscribers who start late and are given copies from the cache: twice the
/// budget of a turn, which ends with the one that spends it.
const COPIES_MAX: usize = 1024;
/// Runs for each transport that there is memory for, and all together. It is touched only if so many wait.
const RUNS_PER_TRANSPORT: usize = 512;
const RUNS_MAX: usize = 1 << 19;
/// How long after its arrival a packet may leave at the latest.
///
/// A conversation suffers from more than 150 ms from mouth to ear and breaks beyond 400 (ITU-T G.114), and both ends and two
/// paths need a part of that. Whoever waits for a packet has asked for it again by then, perhaps twice. So it is of no use any
/// more, while all that arrive behind it wait for it: without a limit one overload would delay everybody until it is over.
pub(crate) const STAY_MAX: Duration = Duration::from_millis(200);

/// Packets, and who gets them.
#[derive(Debug)]
pub(crate) struct Queue {
    /// Each has a reference to its slot until every run is served.
    packets: Vec<Packet>,
    /// When each of those arrived, or was asked for.
    since: Vec<Instant>,
    /// No packet arrived before this.
    oldest: Instant,
    runs: Vec<Run>,
    /// No more than this.
    runs_max: usize,
    /// Transports with runs, in the order in which they are served.
    transports: VecDeque<u32>,
    /// Most of those; some may be listed twice, if runs went away.
    transports_max: usize,
}

impl Queue {
    /// Nothing waits. There is memory for everything that may, with so many transports.
    pub(crate) fn new(transports: usize) -> Self {
        let runs_max = RUNS_MAX.min(RUNS_PER_TRANSPORT * transports.max(1));
        let transports_max = 2 * transports.max(1);
        Self {
            packets: Vec::with_capacity(PACKETS_MAX + COPIES_MAX),
            since: Vec::with_capacity(PACKETS_MAX + COPIES_MAX),
            oldest: Instant::FAR_FUTURE,
            runs: Vec::with_capacity(runs_max),
            runs_max,
            transports: VecDeque::with_capacity(transports_max),
            transports_max,
        }
    }

    /// Whether no run waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.transports.is_empty()
    }

    /// Whether no further packet may be taken in.
    pub(crate) fn is_full(&self) -> bool {
        self.packets.len() >= PACKETS_MAX
    }

    /// Whether no further retransmission may be taken in: publishers come first.
    pub(crate) fn is_full_for_retransmissions(&self) -> bool {
        self.packets.len() >= RESENT_MAX || self.runs.len() >= self.runs_max / 2
    }

    /// Whether no further copy from the cache may be taken in, for a subscriber who starts late.
    pub(crate) fn is_full_for_copies(&self) -> bool {
        self.packets.len() >= PACKETS_MAX + COPIES_MAX
    }

    /// Takes in a packet with a reference to its slot, and says where it lies. The next one lies behind it.
    pub(crate) fn add(&mut self, now: Instant, packet: Packet) -> u32 {
        let place = u32::try_from(self.packets.len()).expect("the queue is bounded");
        let since = packet.arrival.unwrap_or(now);
        self.since.push(since);
        self.oldest = self.oldest.min(since);
        self.packets.push(packet);
        place
    }

    /// The packet in that place.
    pub(crate) fn packet(&self, place: u32) -> &Packet {
        &self.packets[place as usize]
    }

    /// When the packet in that place arrived, or was asked for.
    pub(crate) fn since(&self, place: u32) -> Instant {
        self.since[place as usize]
    }

    /// What no packet is older than.
    pub(crate) fn oldest(&self) -> Instant {
        self.oldest
    }

    /// How many places are taken.
    pub(crate) fn len(&self) -> usize {
        self.packets.len()
    }

    /// Lets `run` wait for a transport; `false` if too much waits there already.
    pub(crate) fn push(&mut self, exit: &mut Exit, transport: u32, run: Run) -> bool {
        if exit.waiting + run.count > WAITING_MAX || self.runs.len() >= self.runs_max {
            return false;
        }
        if exit.waiting == 0 && self.transports.len() >= self.transports_max {
            return false;
        }
        let place = u32::try_from(self.runs.len()).expect("the queue is bounded");
        if exit.waiting == 0 {
            exit.runs.first = place;
            self.transports.push_back(transport);
        } else {
            self.runs[exit.runs.last as usize].next = place;
        }
        exit.runs.last = place;
        exit.waiting += run.count;
        self.runs.push(run);
        true
    }

    /// The run in that place.
    pub(crate) fn run(&self, place: u32) -> Run {
        self.runs[place as usize]
    }

    /// The next transport to be served. One that lost its runs meanwhile comes with nothing waiting.
    pub(crate) fn next_transport(&mut self) -> Option<u32> {
        self.transports.pop_front()
    }

    /// What waited for a transport waits on from the run in `first` on, with so many packets, and is served next.
    pub(crate) fn put_back(&mut self, exit: &mut Exit, transport: u32, first: u32, packets: u32) {
        exit.runs.first = first;
        exit.waiting = packets;
        self.transports.push_front(transport);
    }

    /// The transport that is served so many after the next.
    pub(crate) fn ahead(&self, steps: usize) -> Option<u32> {
        self.transports.get(steps).copied()
    }

    /// The RTP stream of the first run of an exit; of another one if there is none.
    pub(crate) fn first_outgoing(&self, exit: &Exit) -> Option<u32> {
        let run = self.runs.get(exit.runs.first as usize)?;
        Some(run.outgoing)
    }

    /// Takes runs of one transport out, all those of RTP streams that are `gone`. Returns how many packets they had.
    pub(crate) fn drop_runs(&mut self, exit: &mut Exit, gone: impl Fn(u32) -> bool) -> u32 {
        if exit.waiting == 0 {
            return 0;
        }
        let before = core::mem::take(&mut exit.waiting);
        let (mut place, last) = (exit.runs.first, exit.runs.last);
        loop {
            let run = self.runs[place as usize];
            if !gone(run.outgoing) {
                if exit.waiting == 0 {
                    exit.runs.first = place;
                } else {
                    self.runs[exit.runs.last as usize].next = place;
                }
                exit.runs.last = place;
                exit.waiting += run.count;
            }
            if place == last {
                return before - exit.waiting;
            }
            place = run.next;
        }
    }

    /// Where the packets lie.
    pub(crate) fn slots(&self) -> impl Iterator<Item = SlotId> + '_ {
        self.packets.iter().map(|packet| packet.slot)
    }

    /// The transports that are still to be served.
    pub(crate) fn waiting_transports(&self) -> impl Iterator<Item = u32> + '_ {
        self.transports.iter().copied()
    }

    /// Packets of all runs that wait for a transport, by the runs themselves.
    pub(crate) fn count_runs(&self, exit: &Exit) -> u64 {
        let first = (exit.waiting > 0).then_some(exit.runs.first);
        let places = core::iter::successors(first, |place| {
            (*place != exit.runs.last).then(|| self.run(*place).next)
        });
        places.map(|place| u64::from(self.run(place).count)).sum()
    }

    /// Lets go of the packets that nobody needs any more: from `mark` on, and all if no run is left. Says in `departing` when
    /// those arrived that came from a publisher and not from the cache.
    pub(crate) fn release(&mut self, arena: &mut Arena, mark: usize, departing: &mut Vec<Instant>) {
        let keep = if self.is_empty() { 0 } else { mark };
        self.since.truncate(keep);
        for packet in self.packets.drain(keep..) {
            // What a list that is full leaves out is not measured.
            if departing.len() < departing.capacity() {
                departing.extend(packet.arrival);
            }
            arena.release(packet.slot);
        }
        if self.is_empty() {
            self.runs.clear();
            self.oldest = Instant::FAR_FUTURE;
        }
    }
}
