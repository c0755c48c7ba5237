//! recvmmsg and sendmmsg over arrays that are made once.

use std::io;
use std::mem::zeroed;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::ptr;

use super::super::{MAX_DATAGRAM, SOCKET_BUFFER};

/// Datagrams a call.
pub(super) const GROUP: usize = 64;

/// The one UDP socket.
pub(super) struct Socket(socket2::Socket);

impl Socket {
    pub(super) fn bind(address: SocketAddrV4) -> io::Result<Self> {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::DGRAM, None)?;
        // Beyond the system's limit root gets more, everybody else as much as there is.
        if rustix::net::sockopt::set_socket_recv_buffer_size_force(&socket, SOCKET_BUFFER).is_err()
        {
            socket.set_recv_buffer_size(SOCKET_BUFFER)?;
        }
        socket.set_send_buffer_size(SOCKET_BUFFER)?;
        socket.bind(&address.into())?;
        Ok(Self(socket))
    }

    pub(super) fn address(&self) -> io::Result<SocketAddrV4> {
        match self.0.local_addr()?.as_socket() {
            Some(SocketAddr::V4(address)) => Ok(address),
            _ => Err(io::ErrorKind::AddrNotAvailable.into()),
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Buffers, addresses and message headers that point at each other; boxed, so that they stay where they are.
struct Messages {
    headers: Box<[libc::mmsghdr; GROUP]>,
    vectors: Box<[libc::iovec; GROUP]>,
    addresses: Box<[libc::sockaddr_in; GROUP]>,
    buffers: Box<[[u8; MAX_DATAGRAM]; GROUP]>,
}

impl Messages {
    fn new() -> Self {
        // SAFETY: all three are plain C structures of integers and pointers, for which zero is a value.
        let (headers, vectors, addresses) = unsafe {
            (
                Box::new(zeroed::<[libc::mmsghdr; GROUP]>()),
                Box::new(zeroed::<[libc::iovec; GROUP]>()),
                Box::new(zeroed::<[libc::sockaddr_in; GROUP]>()),
            )
        };
        let buffers: Box<[[u8; MAX_DATAGRAM]; GROUP]> = vec![[0; MAX_DATAGRAM]; GROUP]
            .into_boxed_slice()
            .try_into()
            .expect("the vector has GROUP elements");
        let mut messages = Self {
            headers,
            vectors,
            addresses,
            buffers,
        };
        for number in 0..GROUP {
            messages.point(number, MAX_DATAGRAM);
        }
        messages
    }

    /// Makes message `number` cover `length` octets of its buffer, and its address.
    fn point(&mut self, number: usize, length: usize) {
        self.vectors[number] = libc::iovec {
            iov_base: self.buffers[number].as_mut_ptr().cast(),
            iov_len: length,
        };
        let header = &mut self.headers[number].msg_hdr;
        header.msg_name = ptr::from_mut(&mut self.addresses[number]).cast();
        header.msg_namelen = size_of::<libc::sockaddr_in>() as libc::socklen_t;
        header.msg_iov = ptr::from_mut(&mut self.vectors[number]);
        header.msg_iovlen = 1;
    }
}

/// Where datagrams come in.
pub(super) struct Inbox(Messages);

impl Inbox {
    pub(super) fn new() -> Self {
        Self(Messages::new())
    }

    /// Takes what is there, at most [`GROUP`] datagrams, and does not wait.
    pub(super) fn receive(&mut self, socket: &Socket) -> io::Result<usize> {
        for header in self.0.headers.iter_mut() {
            header.msg_hdr.msg_namelen = size_of::<libc::sockaddr_in>() as libc::socklen_t;
        }
        // SAFETY: every header points at one address and one vector, each vector at a buffer of its length; all of them are
        // owned by `self`, boxed, and live longer than the call.
        let count = unsafe {
            libc::recvmmsg(
                socket.as_fd().as_raw_fd(),
                self.0.headers.as_mut_ptr(),
                GROUP as u32,
                libc::MSG_DONTWAIT,
                ptr::null_mut(),
            )
        };
        match usize::try_from(count) {
            Ok(count) => Ok(count),
            Err(_) => match io::Error::last_os_error() {
                error if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
                // What ICMP has said about an earlier packet.
                error if error.kind() == io::ErrorKind::ConnectionRefused => Ok(0),
                error => Err(error),
            },
        }
    }

    /// Datagram `number` of the last call, and from whom.
    pub(super) fn datagram(&mut self, number: usize) -> (Option<SocketAddrV4>, &mut [u8]) {
        let length = (self.0.headers[number].msg_len as usize).min(MAX_DATAGRAM);
        let from = &self.0.addresses[number];
        let from = (i32::from(from.sin_family) == libc::AF_INET).then(|| {
            SocketAddrV4::new(
                Ipv4Addr::from(u32::from_be(from.sin_addr.s_addr)),
                u16::from_be(from.sin_port),
            )
        });
        (from, &mut self.0.buffers[number][..length])
    }
}

/// Where copies wait until there are [`GROUP`] of them.
pub(super) struct Outbox {
    messages: Messages,
    count: usize,
}

/// What became of a group.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sent {
    pub(super) packets: u64,
    pub(super) refused: u64,
    pub(super) system_calls: u64,
}

impl Outbox {
    pub(super) fn new() -> Self {
        Self {
            messages: Messages::new(),
            count: 0,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub(super) fn is_full(&self) -> bool {
        self.count == GROUP
    }

    /// The buffer of the next packet; there must be room.
    pub(super) fn slot(&mut self) -> &mut [u8; MAX_DATAGRAM] {
        &mut self.messages.buffers[self.count]
    }

    /// Takes what was written into the slot.
    pub(super) fn push(&mut self, to: SocketAddrV4, length: usize) {
        let address = &mut self.messages.addresses[self.count];
        address.sin_family = libc::AF_INET as libc::sa_family_t;
        address.sin_port = to.port().to_be();
        address.sin_addr.s_addr = u32::from(*to.ip()).to_be();
        self.messages.vectors[self.count].iov_len = length.min(MAX_DATAGRAM);
        self.count += 1;
    }

    /// Forgets the group; what is in the buffers stays there.
    pub(super) fn clear(&mut self) {
        self.count = 0;
    }

    /// Sends the group; waits while the socket's queue is full.
    pub(super) fn send(&mut self, socket: &Socket) -> io::Result<Sent> {
        let mut sent = Sent::default();
        let mut done = 0;
        while done < self.count {
            sent.system_calls += 1;
            let rest = &mut self.messages.headers[done..self.count];
            // SAFETY: every header of `rest` points at one address and one vector, each vector at a buffer of at least its
            // length; all of them are owned by `self`, boxed, and live longer than the call.
            let count = unsafe {
                libc::sendmmsg(
                    socket.as_fd().as_raw_fd(),
                    rest.as_mut_ptr(),
                    rest.len() as u32,
                    0,
                )
            };
            match usize::try_from(count) {
                Ok(count) => {
                    done += count;
                    sent.packets += count as u64;
                }
                Err(_) => match io::Error::last_os_error() {
                    error if error.kind() == io::ErrorKind::Interrupted => {}
                    error if is_about_one_packet(&error) => {
                        done += 1;
                        sent.refused += 1;
                    }
                    error => return Err(error),
                },
            }
        }
        self.count = 0;
        Ok(sent)
    }
}

/// Whether an error concerns the packet at hand only: nobody there, or the exit has dropped it.
fn is_about_one_packet(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(
            libc::ECONNREFUSED
                | libc::EHOSTUNREACH
                | libc::ENETUNREACH
                | libc::ENOBUFS
                | libc::EPERM
                | libc::EMSGSIZE
        )
    )
}
