use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, RawFd};

use socket2::{Domain, Protocol, Socket, Type};

use crate::Error;

/// The most sockets that one driver listens on.
pub const MAX_LISTENERS: usize = 8;

/// After this many refusals in a row, segmentation is tried once in so many bursts.
const LONGEST_PAUSE: u32 = 1024;

/// An unconnected UDP socket that one worker receives on and sends from.
#[derive(Debug)]
pub(crate) struct Listener {
    socket: Socket,
    pub(crate) local: SocketAddr,
    /// What the kernel said last about packets it dropped.
    drops: u32,
    pub(crate) segmentation: Segmentation,
}

impl Listener {
    /// Opens and binds a socket with everything switched on that a driver reads.
    pub(crate) fn open(
        address: SocketAddr,
        receive_buffer: usize,
        send_buffer: usize,
    ) -> Result<Self, Error> {
        let refused = |doing| {
            move |source| Error::Socket {
                address,
                doing,
                source,
            }
        };
        let domain = Domain::for_address(address);
        let socket = Socket::new(
            domain,
            Type::DGRAM.nonblocking().cloexec(),
            Some(Protocol::UDP),
        )
        .map_err(refused("open"))?;
        if address.is_ipv6() {
            socket
                .set_only_v6(true)
                .map_err(refused("make IPv6-only"))?;
        }
        ask_for_reports(&socket, address).map_err(refused("set options of"))?;
        prepare_to_send(&socket, address.is_ipv4(), send_buffer)
            .map_err(refused("set options of"))?;
        set_buffer(
            &socket,
            libc::SO_RCVBUFFORCE,
            libc::SO_RCVBUF,
            receive_buffer,
        )
        .map_err(refused("size the receive queue of"))?;
        socket.bind(&address.into()).map_err(refused("bind"))?;
        // From here on sockets for single peers may share the port. Not before: a port that is taken must be noticed.
        socket
            .set_reuse_port(true)
            .map_err(refused("set options of"))?;
        let local = socket.local_addr().map_err(refused("ask the address of"))?;
        let local = local.as_socket().unwrap_or(address);
        Ok(Self {
            socket,
            local,
            drops: 0,
            segmentation: Segmentation::default(),
        })
    }

    /// Bytes that the receive queue really has, if those are fewer than were asked for.
    pub(crate) fn receive_shortfall(&self, asked: usize) -> Option<usize> {
        // The system doubles what it grants, for its own bookkeeping.
        let granted = self.socket.recv_buffer_size().ok()? / 2;
        (granted < asked).then_some(granted)
    }

    /// Whether a send from here must name its source address to have that one and no other.
    pub(crate) fn source(&self, wanted: Option<IpAddr>) -> Option<IpAddr> {
        wanted.filter(|wanted| {
            self.local.ip().is_unspecified() && wanted.is_ipv4() == self.local.is_ipv4()
        })
    }

    /// Packets dropped since the last report, given the socket's total.
    pub(crate) fn new_drops(&mut self, total: u32) -> u64 {
        let new = total.wrapping_sub(self.drops);
        self.drops = total;
        u64::from(new)
    }

    /// The descriptor, owned by this value.
    pub(crate) fn raw(&self) -> RawFd {
        self.socket.as_raw_fd()
    }

    /// One datagram, past any driver.
    #[cfg(test)]
    pub(crate) fn receive(&self, room: &mut [core::mem::MaybeUninit<u8>]) -> io::Result<usize> {
        self.socket.recv(room)
    }
}

/// Which listener a packet to `destination` from `local` leaves by: of its family, and bound to that address if one is.
pub(crate) fn choose(
    listeners: &[Listener],
    destination: SocketAddr,
    local: Option<IpAddr>,
) -> Option<usize> {
    let same_family = |listener: &Listener| listener.local.is_ipv4() == destination.is_ipv4();
    let exact = listeners
        .iter()
        .position(|listener| same_family(listener) && Some(listener.local.ip()) == local);
    let any = || {
        listeners
            .iter()
            .position(|listener| same_family(listener) && listener.local.ip().is_unspecified())
    };
    exact
        .or_else(any)
        .or_else(|| listeners.iter().position(same_family))
}

/// Whether the way of a socket segments: each refusal in a row doubles how long it is not tried, so that one odd path costs
/// little, and a device that cannot do it at all hardly sees an attempt.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Segmentation {
    pause: u32,
    left: u32,
}

impl Segmentation {
    /// Whether to try a segmented send now.
    pub(crate) fn may_try(&mut self) -> bool {
        let may = self.left == 0;
        self.left = self.left.saturating_sub(1);
        may
    }

    /// A segmented send was refused.
    pub(crate) fn refused(&mut self) {
        self.pause = (self.pause * 2).clamp(1, LONGEST_PAUSE);
        self.left = self.pause;
    }

    /// A segmented send was accepted.
    pub(crate) fn accepted(&mut self) {
        *self = Self::default();
    }
}

/// What every socket that sends has: a queue of so many bytes, and no belief in path-MTU reports.
pub(crate) fn prepare_to_send(
    socket: &Socket,
    is_ipv4: bool,
    send_buffer: usize,
) -> io::Result<()> {
    set_buffer(socket, libc::SO_SNDBUFFORCE, libc::SO_SNDBUF, send_buffer)?;
    // The reports come from anyone who can guess a port; too large packets are fragmented.
    if is_ipv4 {
        let omit = libc::IP_PMTUDISC_OMIT;
        set_option(socket, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, omit)
    } else {
        let omit = libc::IPV6_PMTUDISC_OMIT;
        set_option(socket, libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, omit)
    }
}

fn ask_for_reports(socket: &Socket, address: SocketAddr) -> io::Result<()> {
    set_option(socket, libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, 1)?;
    set_option(socket, libc::SOL_SOCKET, libc::SO_RXQ_OVFL, 1)?;
    if address.is_ipv4() {
        set_option(socket, libc::IPPROTO_IP, libc::IP_PKTINFO, 1)
    } else {
        set_option(socket, libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, 1)
    }
}

/// Beyond the limit of the system where we may (CAP_NET_ADMIN), up to it elsewhere.
fn set_buffer(socket: &Socket, force: i32, polite: i32, bytes: usize) -> io::Result<()> {
    let bytes = i32::try_from(bytes).unwrap_or(i32::MAX / 2);
    set_option(socket, libc::SOL_SOCKET, force, bytes)
        .or_else(|_| set_option(socket, libc::SOL_SOCKET, polite, bytes))
}

fn set_option(socket: &Socket, level: i32, name: i32, value: i32) -> io::Result<()> {
    // SAFETY: the pointer and the length describe `value`, which lives until the call returns.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
            (&raw const value).cast(),
            size_of_val(&value) as libc::socklen_t,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(address: &str) -> Listener {
        Listener::open(address.parse().unwrap(), 1 << 16, 1 << 16).unwrap()
    }

    #[test]
    fn destination_and_local_address_choose_the_socket() {
        let listeners = [open("127.0.0.2:0"), open("0.0.0.0:0"), open("[::1]:0")];
        let choose = |destination: &str, local: Option<&str>| {
            let local = local.map(|local| local.parse().unwrap());
            choose(&listeners, destination.parse().unwrap(), local)
        };
        assert_eq!(choose("192.0.2.1:1", Some("127.0.0.2")), Some(0));
        assert_eq!(choose("192.0.2.1:1", Some("127.0.0.9")), Some(1));
        assert_eq!(choose("192.0.2.1:1", None), Some(1));
        assert_eq!(choose("[2001:db8::1]:1", None), Some(2));
        assert_eq!(
            super::choose(&listeners[..2], "[::1]:1".parse().unwrap(), None),
            None
        );
        let here = "127.0.0.9".parse().ok();
        assert_eq!(
            listeners[0].source(here),
            None,
            "it is bound to its only source"
        );
        assert_eq!(listeners[1].source(here), here);
        assert_eq!(listeners[1].source("::1".parse().ok()), None);
    }

    #[test]
    fn refusals_pause_segmentation_ever_longer() {
        let mut segmentation = Segmentation::default();
        let mut tries = 0;
        for _ in 0..10_000 {
            if segmentation.may_try() {
                tries += 1;
                segmentation.refused();
            }
        }
        assert!((11..25).contains(&tries), "{tries}");
        segmentation.accepted();
        assert!(segmentation.may_try() && segmentation.may_try());
    }

    #[test]
    fn a_receive_queue_smaller_than_asked_for_is_noticed() {
        let listener = open("127.0.0.1:0");
        assert_eq!(listener.receive_shortfall(1 << 16), None);
        assert_eq!(listener.receive_shortfall(1 << 20), Some(1 << 16));
    }

    #[test]
    fn drops_are_differences() {
        let mut listener = open("127.0.0.1:0");
        assert_eq!(listener.new_drops(u32::MAX), u64::from(u32::MAX));
        assert_eq!(listener.new_drops(2), 3);
    }

    #[test]
    fn a_taken_port_is_an_error_that_names_it() {
        let first = open("127.0.0.1:0");
        let error = Listener::open(first.local, 1 << 16, 1 << 16).unwrap_err();
        assert!(
            error.to_string().contains(&first.local.to_string()),
            "{error}"
        );
    }
}
