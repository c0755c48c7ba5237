//! The kernel's own price, without a driver around it.
#![expect(
    clippy::vec_box,
    reason = "a message points at itself, so it must stay where it is"
)]

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::os::fd::AsRawFd;

use io_uring::{IoUring, opcode, squeue, types};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::Way;
use crate::PACKET_BYTES;
use crate::exit::Exit;

/// What a socket of a ring is aimed at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aim {
    /// One socket; each send names its peer.
    Each,
    /// A socket per peer, connected, on the port of the listener.
    Connected,
    /// As before, but bound to a group address, so that it never receives.
    SendOnly,
}

/// An address that no group has (RFC 6676 §3).
const NOBODYS_GROUP: Ipv4Addr = Ipv4Addr::new(233, 252, 0, 1);

/// What the kernel reads of one message. Boxed, so that it stays where it is.
struct Message {
    header: libc::msghdr,
    vector: libc::iovec,
    name: SockAddr,
    control: [u64; 3],
    bytes: Vec<u8>,
}

impl Message {
    fn new(peer: SocketAddr, run: usize, named: bool) -> Box<Self> {
        let mut bytes = vec![7; PACKET_BYTES * run];
        bytes
            .chunks_mut(PACKET_BYTES)
            .for_each(|packet| packet[0] = 0x80);
        // SAFETY: a plain C structure, for which all zeros is a valid value.
        let header = unsafe { core::mem::zeroed() };
        let vector = libc::iovec {
            iov_base: bytes.as_mut_ptr().cast(),
            iov_len: bytes.len(),
        };
        // cmsghdr: length, then level and type, then the data.
        let kind = (libc::UDP_SEGMENT as u64) << 32 | libc::SOL_UDP as u64;
        let mut message = Box::new(Self {
            header,
            vector,
            name: peer.into(),
            control: [18, kind, PACKET_BYTES as u64],
            bytes,
        });
        message.header.msg_iov = &raw mut message.vector;
        message.header.msg_iovlen = 1;
        if named {
            message.header.msg_name = message.name.as_ptr().cast_mut().cast();
            message.header.msg_namelen = message.name.len();
        }
        if run > 1 {
            message.header.msg_control = message.control.as_mut_ptr().cast();
            message.header.msg_controllen = 24;
        }
        message
    }

    /// What every way does: the payload is written anew each time.
    fn fill(&mut self) {
        for packet in self.bytes.chunks_mut(PACKET_BYTES) {
            packet[1..].fill(9);
        }
        std::hint::black_box(&mut self.bytes);
    }
}

fn socket(exit: &Exit) -> io::Result<Socket> {
    let socket = Socket::new(
        Domain::for_address(exit.local),
        Type::DGRAM,
        Some(Protocol::UDP),
    )?;
    socket.set_reuse_address(true)?;
    socket.set_send_buffer_size(4 << 20)?;
    Ok(socket)
}

/// `sendmmsg`, 64 messages a call.
pub struct Messages {
    socket: Socket,
    headers: Vec<libc::mmsghdr>,
    messages: Vec<Box<Message>>,
}

impl Messages {
    /// One socket for all peers.
    pub fn new(exit: &Exit, run: usize) -> io::Result<Self> {
        let socket = socket(exit)?;
        socket.bind(&exit.local.into())?;
        let messages = exit.peers.iter().map(|peer| Message::new(*peer, run, true));
        let messages: Vec<_> = messages.collect();
        let headers = messages.iter().map(|message| libc::mmsghdr {
            msg_hdr: message.header,
            msg_len: 0,
        });
        Ok(Self {
            headers: headers.collect(),
            socket,
            messages,
        })
    }
}

impl Way for Messages {
    fn turn(&mut self) {
        self.messages.iter_mut().for_each(|message| message.fill());
        for chunk in self.headers.chunks_mut(64) {
            // SAFETY: the messages live as long as the headers.
            let sent = unsafe {
                libc::sendmmsg(
                    self.socket.as_raw_fd(),
                    chunk.as_mut_ptr(),
                    chunk.len() as u32,
                    libc::MSG_DONTWAIT as _,
                )
            };
            assert!(sent == chunk.len() as i32, "{}", io::Error::last_os_error());
        }
    }
}

/// io_uring with one `enter` a turn.
pub struct Ring {
    ring: IoUring,
    _sockets: Vec<Socket>,
    messages: Vec<Box<Message>>,
    requests: Vec<squeue::Entry>,
    quiet: bool,
}

impl Ring {
    /// Sends that succeed complete without a word if `quiet`.
    pub fn new(exit: &Exit, run: usize, aim: Aim, quiet: bool) -> io::Result<Self> {
        let count = exit.peers.len();
        let ring = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_submit_all()
            .setup_clamp()
            .build(count.next_power_of_two() as u32)?;
        let sockets = sockets(exit, aim)?;
        let files: Vec<_> = sockets.iter().map(AsRawFd::as_raw_fd).collect();
        ring.submitter().register_files(&files)?;
        let named = aim == Aim::Each;
        let messages = exit
            .peers
            .iter()
            .map(|peer| Message::new(*peer, run, named));
        let messages: Vec<_> = messages.collect();
        let requests = messages.iter().enumerate().map(|(index, message)| {
            let file = types::Fixed(if named { 0 } else { index as u32 });
            let request = if run == 1 {
                let mut send =
                    opcode::Send::new(file, message.bytes.as_ptr(), message.bytes.len() as u32)
                        .flags(libc::MSG_DONTWAIT);
                if named {
                    let name = message.name.as_ptr().cast();
                    send = send.dest_addr(name).dest_addr_len(message.name.len());
                }
                send.build()
            } else {
                opcode::SendMsg::new(file, &raw const message.header)
                    .flags(libc::MSG_DONTWAIT as u32)
                    .build()
            };
            match quiet {
                true => request.flags(squeue::Flags::SKIP_SUCCESS),
                false => request,
            }
        });
        Ok(Self {
            requests: requests.collect(),
            ring,
            _sockets: sockets,
            messages,
            quiet,
        })
    }
}

impl Way for Ring {
    fn turn(&mut self) {
        self.messages.iter_mut().for_each(|message| message.fill());
        for request in &self.requests {
            // SAFETY: what it points at lives as long as the ring and is not written while the kernel reads.
            unsafe { self.ring.submission().push(request) }.expect("room for all");
        }
        let submitted = self.ring.submit().expect("the ring works");
        assert_eq!(submitted, self.requests.len());
        let mut completed = 0;
        for completion in self.ring.completion() {
            assert!(completion.result() > 0, "{}", completion.result());
            completed += 1;
        }
        assert_eq!(completed, if self.quiet { 0 } else { submitted });
    }
}

fn sockets(exit: &Exit, aim: Aim) -> io::Result<Vec<Socket>> {
    let listener = socket(exit)?;
    listener.bind(&exit.local.into())?;
    if aim == Aim::Each {
        return Ok(vec![listener]);
    }
    let local = listener.local_addr()?.as_socket().expect("an IP address");
    let own = match aim {
        Aim::SendOnly => SocketAddr::V4(SocketAddrV4::new(NOBODYS_GROUP, local.port())),
        Aim::Each | Aim::Connected => local,
    };
    let connected = exit.peers.iter().map(|peer| {
        let socket = socket(exit)?;
        socket.bind(&own.into())?;
        socket.connect(&(*peer).into())?;
        Ok(socket)
    });
    let connected: io::Result<Vec<_>> = connected.collect();
    // The listener need not stay: nothing comes here.
    connected
}
