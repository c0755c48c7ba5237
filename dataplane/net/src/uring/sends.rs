//! Sends under way: which burst each belongs to, and the memory that describes it to the kernel.
//!
//! Every send may not wait (`MSG_DONTWAIT`), so the kernel has finished with it when the call that submits it returns, and says
//! something only of those that failed: successes cost no completion.

use clock::Instant;
use io_uring::{opcode, squeue, types};
use packet::{Burst, Bursts, MAX_SEGMENTS};

use super::peers::Peers;
use super::ring::Ring;
use crate::DriverStats;
use crate::address::{self, NAME_BYTES};
use crate::control::{self, SEND_CONTROL_BYTES};
use crate::errno::Refusal;
use crate::socket::{self, Listener, Segmentation};
use crate::time;

/// Sends that one call submits.
pub(super) const MAX_SENDS: usize = 960;

/// Bytes up to which a burst leaves by the peer's own socket. Between two long ones to the same peer so much has gone through
/// the caches that the socket's own lines are cold, and fetching them costs more than looking the route up does.
const PEER_BYTES_MAX: usize = 4096;

/// What the kernel reads about a send, left alone until it is submitted.
struct Message {
    header: libc::msghdr,
    vector: libc::iovec,
    name: [u8; NAME_BYTES],
    control: [u8; SEND_CONTROL_BYTES],
}

/// By which socket something leaves.
#[derive(Clone, Copy, Debug)]
enum Way {
    /// Of a listener, by its number.
    Listener(usize),
    /// Of a peer, by its place.
    Peer(usize),
}

/// What we remember of a send.
#[derive(Clone, Copy, Debug)]
struct Sent {
    burst: usize,
    way: Way,
    /// Where in the burst it begins.
    start: usize,
    bytes: usize,
    /// More than one means a run that the kernel segments.
    packets: usize,
    retried: bool,
    /// To be sent packet by packet, because the run was refused.
    singly: bool,
}

/// The sockets that sends leave by.
pub(super) struct Sockets<'a> {
    pub(super) listeners: &'a mut [Listener],
    pub(super) peers: &'a mut Peers,
}

impl Sockets<'_> {
    fn segmentation(&mut self, way: Way) -> &mut Segmentation {
        match way {
            Way::Listener(index) => &mut self.listeners[index].segmentation,
            Way::Peer(place) => self.peers.segmentation(place),
        }
    }
}

/// The sends of a driver.
pub(super) struct Sends {
    messages: Box<[Message]>,
    /// What is queued or submitted, in order; the message of the same number belongs to each.
    sent: Vec<Sent>,
    /// What the kernel said of each: zero unless it failed.
    errors: Box<[i32]>,
    /// The bursts that those belong to.
    bursts: Vec<Burst>,
    /// Runs to be repeated packet by packet, and sends to be repeated as they were.
    again: Vec<Sent>,
}

// SAFETY: the pointers in the messages point into the same value's boxes and into transmit memory that the driver keeps.
unsafe impl Send for Sends {}

impl Sends {
    pub(super) fn new() -> Self {
        // SAFETY: a message is made of plain C structures and bytes, for which all zeros is a valid value.
        let message = || unsafe { core::mem::zeroed() };
        Self {
            messages: (0..MAX_SENDS).map(|_| message()).collect(),
            sent: Vec::with_capacity(MAX_SENDS),
            errors: vec![0; MAX_SENDS].into_boxed_slice(),
            bursts: Vec::with_capacity(MAX_SENDS),
            again: Vec::with_capacity(MAX_SENDS),
        }
    }

    /// Queues what must be repeated, then waiting bursts, as many as there is room for; whether all are queued now.
    pub(super) fn queue(
        &mut self,
        out: &mut Bursts,
        ring: &mut Ring,
        sockets: &mut Sockets<'_>,
        stats: &mut DriverStats,
    ) -> bool {
        // A burst may need one send for each of its packets.
        while self.has_room(ring)
            && let Some(sent) = self.again.pop()
        {
            if sent.singly {
                self.start_singly(sent, out, ring, sockets);
            } else {
                self.start(sent, out, ring, sockets);
            }
        }
        if out.queued() > 0 {
            let now = time::now();
            while self.has_room(ring)
                && let Some(burst) = out.take(now)
            {
                self.queue_burst(burst, now, out, ring, sockets, stats);
            }
            stats.expired_packets = out.expired();
        }
        self.again.is_empty() && out.queued() == 0
    }

    /// What the kernel said of a send that failed.
    pub(super) fn failed(&mut self, index: usize, errno: i32) {
        if let Some(error) = self.errors.get_mut(index) {
            *error = errno;
        }
    }

    /// To be called when everything queued is submitted, and every completion seen: settles it.
    pub(super) fn settle(
        &mut self,
        out: &mut Bursts,
        sockets: &mut Sockets<'_>,
        stats: &mut DriverStats,
    ) {
        stats.sends += self.sent.len() as u64;
        for index in 0..self.sent.len() {
            let sent = self.sent[index];
            let errno = core::mem::take(&mut self.errors[index]);
            if errno == 0 {
                stats.sent_packets += sent.packets as u64;
                stats.sent_bytes += sent.bytes as u64;
                if sent.packets > 1 {
                    stats.segmented_bursts += 1;
                    sockets.segmentation(sent.way).accepted();
                }
            } else {
                self.refused(sent, errno, sockets, stats);
            }
        }
        self.sent.clear();
        if self.again.is_empty() {
            for burst in self.bursts.drain(..) {
                out.complete(burst);
            }
        }
    }

    /// Whether something must be sent again.
    pub(super) fn has_more(&self) -> bool {
        !self.again.is_empty()
    }

    fn has_room(&self, ring: &Ring) -> bool {
        self.sent.len() + MAX_SEGMENTS <= MAX_SENDS
            && self.bursts.len() < MAX_SENDS
            && ring.room() >= MAX_SEGMENTS
    }

    fn refused(
        &mut self,
        sent: Sent,
        errno: i32,
        sockets: &mut Sockets<'_>,
        stats: &mut DriverStats,
    ) {
        match Refusal::of(errno, sent.packets > 1) {
            Refusal::Unreachable if !sent.retried => {
                // The report may be about an earlier packet, and then it has eaten this send.
                stats.unreachable += 1;
                self.again.push(Sent {
                    retried: true,
                    ..sent
                });
            }
            Refusal::Segmentation => {
                sockets.segmentation(sent.way).refused();
                stats.segmentation_fallbacks += 1;
                self.again.push(Sent {
                    singly: true,
                    ..sent
                });
            }
            Refusal::Unreachable | Refusal::QueueFull | Refusal::Other => {
                stats.send_failures += sent.packets as u64;
            }
        }
    }

    fn queue_burst(
        &mut self,
        burst: Burst,
        now: Instant,
        out: &mut Bursts,
        ring: &mut Ring,
        sockets: &mut Sockets<'_>,
        stats: &mut DriverStats,
    ) {
        let Some(way) = way(&burst, now, sockets) else {
            stats.send_failures += burst.segments() as u64;
            out.complete(burst);
            return;
        };
        stats.sent_bursts += 1;
        stats.peer_bursts += u64::from(matches!(way, Way::Peer(_)));
        stats.count_run(burst.segments());
        let sent = Sent {
            burst: self.bursts.len(),
            way,
            start: 0,
            bytes: burst.len(),
            packets: burst.segments(),
            retried: false,
            singly: false,
        };
        self.bursts.push(burst);
        if sent.packets == 1 || sockets.segmentation(way).may_try() {
            self.start(sent, out, ring, sockets);
        } else {
            stats.segmentation_fallbacks += 1;
            self.start_singly(sent, out, ring, sockets);
        }
    }

    fn start_singly(&mut self, run: Sent, out: &Bursts, ring: &mut Ring, sockets: &Sockets<'_>) {
        let size = self.bursts[run.burst].segment_size();
        for start in (run.start..run.start + run.bytes).step_by(size) {
            let single = Sent {
                start,
                bytes: size.min(run.start + run.bytes - start),
                packets: 1,
                singly: false,
                ..run
            };
            self.start(single, out, ring, sockets);
        }
    }

    fn start(&mut self, sent: Sent, out: &Bursts, ring: &mut Ring, sockets: &Sockets<'_>) {
        let index = self.sent.len();
        self.sent.push(sent);
        let burst = &self.bursts[sent.burst];
        let bytes = &out.bytes(burst)[sent.start..sent.start + sent.bytes];
        let message = &mut self.messages[index];
        let (file, name_len, source) = match sent.way {
            // The socket knows both ends.
            Way::Peer(place) => (sockets.peers.file(place), 0, None),
            Way::Listener(index) => (
                types::Fixed(index as u32),
                address::write_name(burst.destination(), &mut message.name),
                sockets.listeners[index].source(burst.local()),
            ),
        };
        // A run is shorter than the largest datagram.
        let segment = (sent.packets > 1).then_some(burst.segment_size() as u16);
        let control_len = control::write(segment, source, &mut message.control);
        // Never to be parked: a full queue is a drop, and transmit memory is free again when the call returns.
        let flags = libc::MSG_DONTWAIT;
        let request = if control_len == 0 {
            let send = opcode::Send::new(file, bytes.as_ptr(), bytes.len() as u32).flags(flags);
            match name_len {
                0 => send.build(),
                _ => send
                    .dest_addr(message.name.as_ptr().cast())
                    .dest_addr_len(name_len as libc::socklen_t)
                    .build(),
            }
        } else {
            message.describe(bytes, name_len, control_len);
            opcode::SendMsg::new(file, &raw const message.header)
                .flags(flags as u32)
                .build()
        };
        let request = request
            .flags(squeue::Flags::SKIP_SUCCESS)
            .user_data(super::Event::SendFailed(index).into());
        // SAFETY: message and bytes stay as they are until everything queued is submitted and settled, and the driver keeps
        // the memory of both.
        let pushed = unsafe { ring.push(&request) };
        assert!(pushed, "the caller saw room in the queue");
    }
}

impl Message {
    fn describe(&mut self, bytes: &[u8], name_len: usize, control_len: usize) {
        self.vector = libc::iovec {
            iov_base: bytes.as_ptr().cast_mut().cast(),
            iov_len: bytes.len(),
        };
        self.header.msg_name = match name_len {
            0 => core::ptr::null_mut(),
            _ => self.name.as_mut_ptr().cast(),
        };
        self.header.msg_namelen = name_len as libc::socklen_t;
        self.header.msg_control = self.control.as_mut_ptr().cast();
        self.header.msg_controllen = control_len as _;
        self.header.msg_iov = &raw mut self.vector;
        self.header.msg_iovlen = 1;
    }
}

/// The peer's own socket for a short burst soon after another, if it has one for this source address; the right listener
/// otherwise.
fn way(burst: &Burst, now: Instant, sockets: &mut Sockets<'_>) -> Option<Way> {
    let (to, from) = (burst.destination(), burst.local());
    let peer = match burst.len() <= PEER_BYTES_MAX {
        true => sockets.peers.warm(to, from, now).map(Way::Peer),
        false => None,
    };
    peer.or_else(|| socket::choose(sockets.listeners, to, from).map(Way::Listener))
}

impl core::fmt::Debug for Sends {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(formatter, "Sends({} queued)", self.sent.len())
    }
}
