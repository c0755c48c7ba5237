//! The sending half: bursts gathered into messages, many messages to a system call.

use std::io;

use packet::{Burst, Bursts, MAX_SEGMENTS};

use crate::address::{self, NAME_BYTES};
use crate::control::{self, SEND_CONTROL_BYTES};
use crate::errno::Refusal;
use crate::socket::{self, Listener};
use crate::{DriverStats, time};

/// Messages per system call.
const CHUNK: usize = 64;

/// What one message of a chunk carries.
#[derive(Clone, Copy, Debug, Default)]
struct Content {
    /// Index into the bursts of this chunk.
    burst: usize,
    listener: usize,
    /// More than one means a run that the kernel segments.
    packets: usize,
    bytes: usize,
}

/// Where the kernel reads what it is to send.
pub(super) struct Outbox {
    bursts: Vec<Burst>,
    contents: Vec<Content>,
    headers: Box<[libc::mmsghdr; CHUNK]>,
    vectors: Box<[libc::iovec; CHUNK]>,
    names: Box<[[u8; NAME_BYTES]; CHUNK]>,
    controls: Box<[[u8; SEND_CONTROL_BYTES]; CHUNK]>,
}

// SAFETY: the pointers in `headers` and `vectors` are written before each call and used by that call only.
unsafe impl Send for Outbox {}

impl Outbox {
    pub(super) fn new() -> Self {
        Self {
            bursts: Vec::with_capacity(CHUNK),
            contents: Vec::with_capacity(CHUNK),
            // SAFETY: both are plain C structures, for which all zeros is a valid value.
            headers: Box::new(unsafe { core::mem::zeroed() }),
            // SAFETY: as above.
            vectors: Box::new(unsafe { core::mem::zeroed() }),
            names: Box::new([[0; NAME_BYTES]; CHUNK]),
            controls: Box::new([[0; SEND_CONTROL_BYTES]; CHUNK]),
        }
    }

    /// Sends everything that waits. What the kernel does not take is counted and lost, as on any full queue.
    pub(super) fn send_all(
        &mut self,
        out: &mut Bursts,
        listeners: &mut [Listener],
        stats: &mut DriverStats,
    ) {
        out.finish();
        while out.queued() > 0 {
            self.gather(out, listeners, stats);
            let mut start = 0;
            while start < self.contents.len() {
                let listener = self.contents[start].listener;
                let run = self.contents[start..].iter();
                let run = run.take_while(|content| content.listener == listener);
                let end = start + run.count();
                self.send(start, end, out, &mut listeners[listener], stats);
                start = end;
            }
            self.contents.clear();
            for burst in self.bursts.drain(..) {
                out.complete(burst);
            }
        }
    }

    /// Takes as many bursts as fit into a chunk of messages.
    fn gather(&mut self, out: &mut Bursts, listeners: &mut [Listener], stats: &mut DriverStats) {
        let now = time::now();
        // A burst may need one message for each of its packets.
        while self.contents.len() + MAX_SEGMENTS <= CHUNK {
            let taken = out.take(now);
            stats.expired_packets = out.expired();
            let Some(burst) = taken else {
                return;
            };
            let chosen = socket::choose(listeners, burst.destination(), burst.local());
            let Some(listener) = chosen else {
                stats.send_failures += burst.segments() as u64;
                out.complete(burst);
                continue;
            };
            stats.sent_bursts += 1;
            stats.count_run(burst.segments());
            let content = Content {
                burst: self.bursts.len(),
                listener,
                packets: burst.segments(),
                bytes: burst.len(),
            };
            if burst.segments() == 1 || listeners[listener].segmentation.may_try() {
                self.push(content, &burst, out.bytes(&burst), &listeners[listener]);
            } else {
                stats.segmentation_fallbacks += 1;
                for packet in out.bytes(&burst).chunks(burst.segment_size()) {
                    let single = Content {
                        packets: 1,
                        bytes: packet.len(),
                        ..content
                    };
                    self.push(single, &burst, packet, &listeners[listener]);
                }
            }
            self.bursts.push(burst);
        }
    }

    fn push(&mut self, content: Content, burst: &Burst, bytes: &[u8], listener: &Listener) {
        let entry = self.contents.len();
        self.contents.push(content);
        self.write(entry, content, burst, bytes, listener);
    }

    fn write(
        &mut self,
        entry: usize,
        content: Content,
        burst: &Burst,
        bytes: &[u8],
        listener: &Listener,
    ) {
        // A chunk of transmit memory is 64 KiB, and a run is shorter than that.
        let segment = (content.packets > 1).then_some(burst.segment_size() as u16);
        let source = listener.source(burst.local());
        let name = &mut self.names[entry];
        let name_len = address::write_name(burst.destination(), name);
        let control = &mut self.controls[entry];
        let control_len = control::write(segment, source, control);
        self.vectors[entry] = libc::iovec {
            iov_base: bytes.as_ptr().cast_mut().cast(),
            iov_len: bytes.len(),
        };
        let header = &mut self.headers[entry].msg_hdr;
        header.msg_name = name.as_mut_ptr().cast();
        header.msg_namelen = name_len as libc::socklen_t;
        header.msg_control = control.as_mut_ptr().cast();
        header.msg_controllen = control_len as _;
        header.msg_iov = &raw mut self.vectors[entry];
        header.msg_iovlen = 1;
        header.msg_flags = 0;
    }

    /// Sends the messages `start..end`, all by one socket.
    fn send(
        &mut self,
        start: usize,
        end: usize,
        out: &Bursts,
        listener: &mut Listener,
        stats: &mut DriverStats,
    ) {
        let mut at = start;
        let mut retried = false;
        while at < end {
            match self.call(at, end, listener, stats) {
                Ok(sent) => {
                    for content in &self.contents[at..at + sent] {
                        accepted(*content, listener, stats);
                    }
                    at += sent;
                    retried = false;
                }
                Err(error) => {
                    let errno = error.raw_os_error().unwrap_or(0);
                    let content = self.contents[at];
                    match Refusal::of(errno, content.packets > 1) {
                        Refusal::Unreachable if !retried => {
                            // The report may be about an earlier packet, and then it has eaten this send.
                            stats.unreachable += 1;
                            retried = true;
                            continue;
                        }
                        Refusal::QueueFull => {
                            // The rest would fare no better: one call instead of one for each.
                            let rest = self.contents[at..end].iter();
                            stats.send_failures +=
                                rest.map(|content| content.packets as u64).sum::<u64>();
                            return;
                        }
                        Refusal::Segmentation => {
                            listener.segmentation.refused();
                            stats.segmentation_fallbacks += 1;
                            self.send_singly(at, out, listener, stats);
                        }
                        Refusal::Unreachable | Refusal::Other => {
                            stats.send_failures += content.packets as u64;
                        }
                    }
                    retried = false;
                    at += 1;
                }
            }
        }
    }

    /// Sends the packets of a refused run one by one.
    fn send_singly(
        &mut self,
        entry: usize,
        out: &Bursts,
        listener: &mut Listener,
        stats: &mut DriverStats,
    ) {
        let content = self.contents[entry];
        // The burst steps aside so that the buffers of its message can be written.
        let burst = self.bursts.swap_remove(content.burst);
        for packet in out.bytes(&burst).chunks(burst.segment_size()) {
            let single = Content {
                packets: 1,
                bytes: packet.len(),
                ..content
            };
            self.write(entry, single, &burst, packet, listener);
            match self.call(entry, entry + 1, listener, stats) {
                Ok(_) => accepted(single, listener, stats),
                Err(_) => stats.send_failures += 1,
            }
        }
        let last = self.bursts.len();
        self.bursts.push(burst);
        self.bursts.swap(content.burst, last);
    }

    /// One system call for the messages `start..end`; how many of them were taken.
    fn call(
        &mut self,
        start: usize,
        end: usize,
        listener: &Listener,
        stats: &mut DriverStats,
    ) -> io::Result<usize> {
        stats.system_calls += 1;
        let messages = &mut self.headers[start..end];
        stats.sends += messages.len() as u64;
        // SAFETY: each message was pointed at its buffers when it was written, and those are ours or belong to a burst that
        // is completed only after the call.
        let sent = unsafe {
            libc::sendmmsg(
                listener.raw(),
                messages.as_mut_ptr(),
                messages.len() as _,
                libc::MSG_DONTWAIT as _,
            )
        };
        usize::try_from(sent).map_err(|_| io::Error::last_os_error())
    }
}

impl core::fmt::Debug for Outbox {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(formatter, "Outbox({} bursts)", self.bursts.len())
    }
}

fn accepted(content: Content, listener: &mut Listener, stats: &mut DriverStats) {
    stats.sent_packets += content.packets as u64;
    stats.sent_bytes += content.bytes as u64;
    if content.packets > 1 {
        stats.segmented_bursts += 1;
        listener.segmentation.accepted();
    }
}
