//! Sends in flight: which burst each belongs to, and the memory that describes it to the kernel.

use io_uring::{opcode, squeue, types};
use packet::{Burst, Bursts, MAX_SEGMENTS};

use super::ring::Ring;
use crate::DriverStats;
use crate::address::{self, NAME_BYTES};
use crate::control::{self, SEND_CONTROL_BYTES};
use crate::errno::Refusal;
use crate::socket::{self, Listener};
use crate::time;

/// Sends that may be in flight. They complete while they are submitted, so this is how many go in one call.
pub(super) const MAX_SENDS: usize = 960;

/// What the kernel reads about a send, left alone until it completes.
struct Message {
    header: libc::msghdr,
    vector: libc::iovec,
    name: [u8; NAME_BYTES],
    control: [u8; SEND_CONTROL_BYTES],
}

/// What we remember of a send.
#[derive(Clone, Copy, Debug, Default)]
struct Sent {
    burst: usize,
    listener: usize,
    /// Where in the burst it begins.
    start: usize,
    bytes: usize,
    /// More than one means a run that the kernel segments.
    packets: usize,
    retried: bool,
    /// To be sent packet by packet, because the run was refused.
    singly: bool,
}

#[derive(Debug)]
struct InFlight {
    burst: Burst,
    sends: usize,
}

/// The sends of a driver.
pub(super) struct Sends {
    messages: Box<[Message]>,
    sent: Box<[Sent]>,
    free: Vec<usize>,
    bursts: Box<[Option<InFlight>]>,
    free_bursts: Vec<usize>,
    /// Runs to be repeated packet by packet, and sends to be repeated as they were.
    again: Vec<Sent>,
    /// Sends that were queued and not yet submitted.
    queued: usize,
    /// Whether one of those is the first run of its socket, or the first after a refusal.
    on_trial: bool,
}

// SAFETY: the pointers in the messages point into the same value's boxes and into transmit memory that the driver keeps.
unsafe impl Send for Sends {}

impl Sends {
    pub(super) fn new() -> Self {
        // SAFETY: a message is made of plain C structures and bytes, for which all zeros is a valid value.
        let message = || unsafe { core::mem::zeroed() };
        Self {
            messages: (0..MAX_SENDS).map(|_| message()).collect(),
            sent: vec![Sent::default(); MAX_SENDS].into_boxed_slice(),
            free: (0..MAX_SENDS).rev().collect(),
            bursts: (0..MAX_SENDS).map(|_| None).collect(),
            free_bursts: (0..MAX_SENDS).rev().collect(),
            again: Vec::with_capacity(MAX_SENDS),
            queued: 0,
            on_trial: false,
        }
    }

    /// Queues sends for waiting bursts, as many as there is room for; whether all are queued now.
    pub(super) fn queue(
        &mut self,
        out: &mut Bursts,
        ring: &mut Ring,
        listeners: &mut [Listener],
        stats: &mut DriverStats,
    ) -> bool {
        let now = time::now();
        // A burst may need one send for each of its packets.
        while self.free.len() >= MAX_SEGMENTS && ring.room() >= MAX_SEGMENTS {
            if let Some(sent) = self.again.pop() {
                self.repeat(sent, out, ring, listeners);
                continue;
            }
            let Some(burst) = out.take(now) else {
                return true;
            };
            let chosen = socket::choose(listeners, burst.destination(), burst.local());
            let Some(listener) = chosen else {
                stats.send_failures += burst.segments() as u64;
                out.complete(burst);
                continue;
            };
            stats.sent_bursts += 1;
            let sent = Sent {
                burst: self.free_bursts.pop().expect("a burst has a send"),
                listener,
                start: 0,
                bytes: burst.len(),
                packets: burst.segments(),
                retried: false,
                singly: false,
            };
            let place = sent.burst;
            self.bursts[place] = Some(InFlight { burst, sends: 0 });
            let listener = &mut listeners[listener];
            if sent.packets == 1 {
                self.start(sent, out, ring, listener);
            } else if listener.may_segment() {
                self.on_trial |= !listener.segments();
                self.start(sent, out, ring, listener);
            } else {
                stats.segmentation_fallbacks += 1;
                self.start_singly(sent, out, ring, listener);
            }
        }
        self.again.is_empty() && out.queued() == 0
    }

    /// What a completion with this index and result says; the burst goes back when it was its last.
    pub(super) fn complete(
        &mut self,
        index: usize,
        result: i32,
        out: &mut Bursts,
        listeners: &mut [Listener],
        stats: &mut DriverStats,
    ) {
        let sent = self.sent[index];
        self.free.push(index);
        let listener = &mut listeners[sent.listener];
        if result >= 0 {
            stats.sent_packets += sent.packets as u64;
            stats.sent_bytes += sent.bytes as u64;
            if sent.packets > 1 {
                stats.segmented_bursts += 1;
                listener.segmentation_accepted();
            }
            return self.settle(sent.burst, out);
        }
        match Refusal::of(-result, sent.packets > 1) {
            Refusal::Unreachable if !sent.retried => {
                // The report may be about an earlier packet, and then it has eaten this send.
                stats.unreachable += 1;
                self.again.push(Sent {
                    retried: true,
                    ..sent
                });
            }
            Refusal::Segmentation => {
                listener.segmentation_refused();
                stats.segmentation_fallbacks += 1;
                self.again.push(Sent {
                    singly: true,
                    ..sent
                });
            }
            Refusal::Unreachable | Refusal::QueueFull | Refusal::Other => {
                stats.send_failures += sent.packets as u64;
                self.settle(sent.burst, out);
            }
        }
    }

    /// Sends queued since the last call, which complete while they are submitted.
    pub(super) fn submitted(&mut self) -> usize {
        self.on_trial = false;
        core::mem::take(&mut self.queued)
    }

    /// Whether the outcome of what is queued should be known before anything is waited for.
    pub(super) fn on_trial(&self) -> bool {
        self.on_trial
    }

    /// Whether something must be sent again.
    pub(super) fn has_more(&self) -> bool {
        !self.again.is_empty()
    }

    fn repeat(&mut self, sent: Sent, out: &Bursts, ring: &mut Ring, listeners: &mut [Listener]) {
        // The send itself is over; what follows counts anew.
        self.in_flight(sent.burst).sends -= 1;
        let listener = &listeners[sent.listener];
        if sent.singly {
            self.start_singly(sent, out, ring, listener);
        } else {
            self.start(sent, out, ring, listener);
        }
    }

    fn start_singly(&mut self, run: Sent, out: &Bursts, ring: &mut Ring, listener: &Listener) {
        let size = self.in_flight(run.burst).burst.segment_size();
        for start in (run.start..run.start + run.bytes).step_by(size) {
            let single = Sent {
                start,
                bytes: size.min(run.start + run.bytes - start),
                packets: 1,
                singly: false,
                ..run
            };
            self.start(single, out, ring, listener);
        }
    }

    fn start(&mut self, sent: Sent, out: &Bursts, ring: &mut Ring, listener: &Listener) {
        let index = self.free.pop().expect("the caller saw free sends");
        self.sent[index] = sent;
        let in_flight = self.bursts[sent.burst]
            .as_mut()
            .expect("a burst stays until its last send is settled");
        in_flight.sends += 1;
        let burst = &in_flight.burst;
        let bytes = &out.bytes(burst)[sent.start..sent.start + sent.bytes];
        let message = &mut self.messages[index];
        let name_len = address::write_name(burst.destination(), &mut message.name);
        // A run is shorter than the largest datagram.
        let segment = (sent.packets > 1).then_some(burst.segment_size() as u16);
        let source = listener.source(burst.local());
        let control_len = control::write(segment, source, &mut message.control);
        let file = types::Fixed(sent.listener as u32);
        // Never to be parked: a full queue is a drop, and transmit memory is free again when the call returns.
        let flags = libc::MSG_DONTWAIT;
        let request = if control_len == 0 {
            opcode::Send::new(file, bytes.as_ptr(), bytes.len() as u32)
                .dest_addr(message.name.as_ptr().cast())
                .dest_addr_len(name_len as libc::socklen_t)
                .flags(flags)
                .build()
        } else {
            message.vector = libc::iovec {
                iov_base: bytes.as_ptr().cast_mut().cast(),
                iov_len: bytes.len(),
            };
            message.header.msg_name = message.name.as_mut_ptr().cast();
            message.header.msg_namelen = name_len as libc::socklen_t;
            message.header.msg_control = message.control.as_mut_ptr().cast();
            message.header.msg_controllen = control_len as _;
            message.header.msg_iov = &raw mut message.vector;
            message.header.msg_iovlen = 1;
            opcode::SendMsg::new(file, &raw const message.header)
                .flags(flags as u32)
                .build()
        };
        self.push(ring, request.user_data(super::Event::Sent(index).into()));
    }

    fn push(&mut self, ring: &mut Ring, request: squeue::Entry) {
        // SAFETY: the message is not written again before its completion makes its index free, and the driver keeps the
        // transmit memory; the burst is completed, and its bytes reused, only after all its sends.
        let pushed = unsafe { ring.push(&request) };
        assert!(pushed, "the caller saw room in the queue");
        self.queued += 1;
    }

    /// One send of a burst is over for good.
    fn settle(&mut self, place: usize, out: &mut Bursts) {
        let in_flight = self.in_flight(place);
        in_flight.sends -= 1;
        if in_flight.sends == 0
            && let Some(done) = self.bursts[place].take()
        {
            out.complete(done.burst);
            self.free_bursts.push(place);
        }
    }

    fn in_flight(&mut self, place: usize) -> &mut InFlight {
        self.bursts[place]
            .as_mut()
            .expect("a burst stays until its last send is settled")
    }
}

impl core::fmt::Debug for Sends {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(
            formatter,
            "Sends({} in flight)",
            MAX_SENDS - self.free.len()
        )
    }
}
