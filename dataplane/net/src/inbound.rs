//! What both drivers do with a datagram that the kernel has put into a slot.

use packet::{Datagram, SLOT_BYTES, SlotId};

use crate::DriverStats;
use crate::address;
use crate::control::{self, RECEIVE_CONTROL_BYTES};
use crate::socket::Listener;
use crate::time::Moment;

/// Room for the sender's address in front of a packet: a `sockaddr_in6`, rounded up.
pub(crate) const NAME_ROOM: usize = 32;
/// What io_uring writes first: `struct io_uring_recvmsg_out`.
pub(crate) const RESULT_ROOM: usize = 16;
/// Where the payload begins in a slot, in both drivers.
pub(crate) const HEADROOM: usize = RESULT_ROOM + NAME_ROOM + RECEIVE_CONTROL_BYTES;

/// The largest payload that is received, in bytes; a larger datagram is dropped and counted.
pub const MAX_PAYLOAD: usize = SLOT_BYTES - HEADROOM;

/// What the kernel said about a datagram.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrived<'a> {
    /// Index of the listener.
    pub(crate) listener: usize,
    pub(crate) name: &'a [u8],
    pub(crate) control: &'a [u8],
    pub(crate) len: usize,
    pub(crate) truncated: bool,
}

/// Turns a report into a datagram; `None`, counted, if it was cut off or came from nowhere.
pub(crate) fn accept(
    arrived: Arrived<'_>,
    slot: SlotId,
    moment: Moment,
    listeners: &mut [Listener],
    stats: &mut DriverStats,
) -> Option<Datagram> {
    let received = control::read(arrived.control);
    if let Some(total) = received.drops {
        stats.kernel_drops += listeners[arrived.listener].new_drops(total);
    }
    let len = u16::try_from(arrived.len).ok();
    let (Some(len), Some(source), false) =
        (len, address::read_name(arrived.name), arrived.truncated)
    else {
        stats.truncated += 1;
        return None;
    };
    stats.received_packets += 1;
    stats.received_bytes += u64::from(len);
    Some(Datagram {
        slot,
        offset: HEADROOM as u16,
        len,
        source,
        local: received.local,
        arrival: moment.arrival(received.stamp),
        listener: arrived.listener as u8,
    })
}
