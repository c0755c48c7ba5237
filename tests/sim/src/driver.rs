//! The third driver: a port of the virtual network.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;

use clock::{Duration, Instant};
use net::{Driver, DriverStats, Fatal, MAX_PAYLOAD, Wait, Waker};
use packet::{Arena, Batch, Bursts, Datagram};

use crate::network::Network;

/// Where a datagram lies in its slot; real drivers leave room in front too.
const HEADROOM: u16 = 64;
/// How long a driver without slots waits at most, as the real ones do; one that stands still looks as often how it is.
const STARVED: Duration = Duration::from_millis(1);

/// What a driver does not do for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Still {
    /// It sends nothing, as if the kernel had no memory to spare.
    Sending,
    /// It does nothing at all, as if the processor were elsewhere.
    Everything,
}

/// Meets the virtual network. It never blocks: it says when it wants to be woken, and the simulation moves the clock.
pub struct SimDriver {
    network: Rc<RefCell<Network>>,
    port: usize,
    local: SocketAddr,
    waker: Waker,
    stats: DriverStats,
    still: Option<(Still, Instant)>,
}

impl SimDriver {
    pub(crate) fn new(network: Rc<RefCell<Network>>, local: SocketAddr) -> Self {
        let port = network.borrow_mut().add_port(local);
        Self {
            network,
            port,
            local,
            waker: Waker::new().expect("the process has descriptors left"),
            stats: DriverStats::default(),
            still: None,
        }
    }

    pub(crate) fn stand_still(&mut self, what: Still, until: Instant) {
        self.still = Some((what, until));
    }

    /// What it does not do now.
    pub(crate) fn still(&self) -> Option<Still> {
        let (what, until) = self.still?;
        (self.now() < until).then_some(what)
    }

    pub(crate) fn port(&self) -> usize {
        self.port
    }

    fn send(&mut self, out: &mut Bursts) {
        let mut network = self.network.borrow_mut();
        out.finish();
        while let Some(burst) = out.take(network.now()) {
            self.stats.sent_bursts += 1;
            self.stats.segmented_bursts += u64::from(burst.segments() > 1);
            let size = burst.segment_size();
            let mut segments = 0;
            for segment in out.bytes(&burst).chunks(size) {
                segments += 1;
                self.stats.sent_packets += 1;
                self.stats.sent_bytes += segment.len() as u64;
                network.send_from(self.port, burst.destination(), segment.to_vec());
            }
            assert_eq!(segments, burst.segments(), "a run is as long as it says");
            out.complete(burst);
        }
        self.stats.expired_packets = out.expired();
    }

    /// Fills `batch`. Returns whether there are slots left.
    fn receive(&mut self, arena: &mut Arena, batch: &mut Batch) -> bool {
        let mut network = self.network.borrow_mut();
        while !batch.is_full() && network.front(self.port).is_some() {
            let Some(slot) = arena.alloc() else {
                self.stats.out_of_slots += 1;
                return false;
            };
            let flight = network.pop(self.port).expect("there is one in front");
            assert!(flight.bytes.len() <= MAX_PAYLOAD, "nobody sends such");
            let datagram = Datagram {
                slot,
                offset: HEADROOM,
                len: flight.bytes.len() as u16,
                source: flight.source,
                local: Some(self.local.ip()),
                arrival: flight.arrival,
                listener: 0,
            };
            datagram.payload_mut(arena).copy_from_slice(&flight.bytes);
            self.stats.received_packets += 1;
            self.stats.received_bytes += flight.bytes.len() as u64;
            batch.push(datagram);
        }
        true
    }
}

impl Driver for SimDriver {
    fn turn(
        &mut self,
        out: &mut Bursts,
        wait: Wait,
        arena: &mut Arena,
        batch: &mut Batch,
    ) -> Result<(), Fatal> {
        self.stats.turns += 1;
        let still = self.still();
        if still.is_none() {
            self.send(out);
        }
        let has_slots = still == Some(Still::Everything) || self.receive(arena, batch);
        let mut network = self.network.borrow_mut();
        let soon = network.now() + STARVED;
        if still.is_some() {
            // Whatever is overdue is overdue because of that.
            network.sleep(self.port, Wait::Until(soon), Some(soon));
            return Ok(());
        }
        let starved_until = (!has_slots).then_some(soon);
        network.sleep(self.port, wait, starved_until);
        Ok(())
    }

    fn now(&self) -> Instant {
        self.network.borrow().now()
    }

    fn waker(&self) -> Waker {
        self.waker.clone()
    }

    fn stats(&self) -> &DriverStats {
        &self.stats
    }
}
