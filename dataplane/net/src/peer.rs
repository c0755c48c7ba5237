//! Sockets that only send, each to one peer: the kernel looks its route up once and copies no address.
//!
//! A connected socket on the listener's port would also *receive* what the peer sends, and every stranger's packet would have to
//! be compared with each such socket on its port (microseconds at thousands). So these are bound to the listener's port, but on
//! the address of a group that nobody has: a socket receives only what is sent to the address it is bound to, and sends from an
//! address of the host, because a group is never a source (RFC 1112 §7.2, RFC 4291 §2.7). What the peer sends keeps coming
//! by the listener, as it did before there was such a socket, and as it does when there is none any more.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsRawFd, RawFd};

use socket2::{Domain, Protocol, Socket, Type};

use crate::socket;

/// Groups over which the sockets of a port are spread, so that closing one searches few.
const GROUPS: u16 = 256;

/// A socket that sends to one peer, from one address of ours, and receives nothing.
#[derive(Debug)]
pub struct PeerSocket {
    socket: Socket,
    remote: SocketAddr,
    local: IpAddr,
}

/// Why there is no socket for a peer. Its packets leave by the listener.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PeerError {
    /// The routing table would send from another address than the one that the peer uses.
    #[error("packets to {remote} would leave from {chosen}, and the peer uses {wanted}")]
    OtherSource {
        /// The peer.
        remote: SocketAddr,
        /// What the routing table says.
        chosen: IpAddr,
        /// What the peer knows us by.
        wanted: IpAddr,
    },
    /// The system refuses.
    #[error("cannot {doing} a socket for {remote}")]
    System {
        /// The peer.
        remote: SocketAddr,
        /// What was attempted.
        doing: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

impl PeerSocket {
    /// Opens a socket that sends to `remote` from `local`, the address that the peer uses, and from `port`, on which a driver
    /// of this process listens; `send_buffer` is the size of its queue in bytes. `turn` is any number, better not always the
    /// same one.
    ///
    /// Takes some 20 to 50 µs: not on the thread of a driver.
    ///
    /// # Errors
    /// [`PeerError`]; nothing is lost but time.
    pub fn connect(
        port: u16,
        remote: SocketAddr,
        local: IpAddr,
        send_buffer: usize,
        turn: u64,
    ) -> Result<Self, PeerError> {
        let refused = |doing| {
            move |source| PeerError::System {
                remote,
                doing,
                source,
            }
        };
        let chosen = source_to(remote).map_err(refused("find the source address of"))?;
        if chosen != local {
            return Err(PeerError::OtherSource {
                remote,
                chosen,
                wanted: local,
            });
        }
        let kind = Type::DGRAM.nonblocking().cloexec();
        let socket = Socket::new(Domain::for_address(remote), kind, Some(Protocol::UDP))
            .map_err(refused("open"))?;
        // Only sockets of this user may share the port.
        socket
            .set_reuse_port(true)
            .map_err(refused("share the port with"))?;
        socket::prepare_to_send(&socket, remote.is_ipv4(), send_buffer)
            .map_err(refused("set options of"))?;
        // Should somebody use the group after all, what comes in is thrown away after the first few.
        socket
            .set_recv_buffer_size(0)
            .map_err(refused("set options of"))?;
        let group = SocketAddr::new(group(remote.is_ipv4(), turn), port);
        socket.bind(&group.into()).map_err(refused("bind"))?;
        socket.connect(&remote.into()).map_err(refused("connect"))?;
        Ok(Self {
            socket,
            remote,
            local,
        })
    }

    /// The peer.
    pub fn remote(&self) -> SocketAddr {
        self.remote
    }

    /// The address of ours that it sends from.
    pub fn local(&self) -> IpAddr {
        self.local
    }

    /// The descriptor, owned by this value.
    pub(crate) fn raw(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

/// The address of ours from which packets to `remote` leave.
fn source_to(remote: SocketAddr) -> io::Result<IpAddr> {
    let any: IpAddr = match remote {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let scout = UdpSocket::bind((any, 0))?;
    scout.connect(remote)?;
    Ok(scout.local_addr()?.ip())
}

/// A group reserved for documentation (RFC 6676 §3, §4): nobody joins it.
fn group(is_ipv4: bool, turn: u64) -> IpAddr {
    let which = (turn % u64::from(GROUPS)) as u16;
    if is_ipv4 {
        let [_, low] = which.to_be_bytes();
        Ipv4Addr::new(233, 252, 0, low).into()
    } else {
        Ipv6Addr::new(0xff3e, 0, 0, 0, 0, 0x0db8, 0, which).into()
    }
}

#[cfg(test)]
mod tests {
    use core::time::Duration;

    use super::*;
    use crate::socket::Listener;

    const PATIENCE: Option<Duration> = Some(Duration::from_secs(2));

    fn peer(address: &str) -> UdpSocket {
        let socket = UdpSocket::bind(address).unwrap();
        socket.set_read_timeout(PATIENCE).unwrap();
        socket
    }

    #[test]
    fn it_sends_from_the_listener_and_receives_nothing() {
        for (listen, at) in [
            ("127.0.0.1:0", "127.0.0.9:0"),
            ("0.0.0.0:0", "127.0.0.9:0"),
            ("[::1]:0", "[::1]:0"),
            ("[::]:0", "[::1]:0"),
        ] {
            let listener = Listener::open(listen.parse().unwrap(), 1 << 16, 1 << 16).unwrap();
            let (peer, stranger) = (peer(at), peer(at));
            let remote = peer.local_addr().unwrap();
            let local: IpAddr = if remote.is_ipv4() {
                [127, 0, 0, 1].into()
            } else {
                Ipv6Addr::LOCALHOST.into()
            };
            let port = listener.local.port();
            let sockets =
                (0..600).map(|turn| PeerSocket::connect(port, remote, local, 1 << 16, turn));
            let sockets: Vec<_> = sockets.collect::<Result<_, _>>().unwrap();
            let mut bytes = [0; 16];
            for socket in [&sockets[0], &sockets[599]] {
                socket.socket.send(b"hello").unwrap();
                let (len, from) = peer.recv_from(&mut bytes).unwrap();
                assert_eq!((&bytes[..len], from), (&b"hello"[..], (local, port).into()));
            }
            peer.send_to(b"peer", (local, port)).unwrap();
            stranger.send_to(b"stranger", (local, port)).unwrap();
            let mut got = Vec::new();
            for _ in 0..2 {
                let mut room = [core::mem::MaybeUninit::uninit(); 16];
                got.push(listener_recv(&listener, &mut room));
            }
            assert_eq!(got, [4, 8], "both came by the listener at {listen}");
            let silent = sockets.iter().all(|socket| {
                let mut room = [core::mem::MaybeUninit::uninit(); 16];
                let refusal = socket.socket.recv(&mut room).unwrap_err();
                refusal.kind() == io::ErrorKind::WouldBlock
            });
            assert!(silent, "and by nothing else");
        }
    }

    fn listener_recv(listener: &Listener, room: &mut [core::mem::MaybeUninit<u8>]) -> usize {
        let started = std::time::Instant::now();
        loop {
            match listener.receive(room) {
                Ok(len) => return len,
                Err(_) => assert!(started.elapsed() < Duration::from_secs(2), "nothing came"),
            }
        }
    }

    #[test]
    fn another_source_than_the_peers_is_refused() {
        let listener = Listener::open("0.0.0.0:0".parse().unwrap(), 1 << 16, 1 << 16).unwrap();
        let remote = ([127, 0, 0, 9], 9).into();
        let local = [127, 0, 0, 5].into();
        let refused = PeerSocket::connect(listener.local.port(), remote, local, 1 << 16, 0);
        assert!(matches!(refused, Err(PeerError::OtherSource { wanted, .. }) if wanted == local));
    }

    #[test]
    fn a_second_listener_does_not_get_the_port() {
        let first = Listener::open("0.0.0.0:0".parse().unwrap(), 1 << 16, 1 << 16).unwrap();
        let remote = ([127, 0, 0, 9], 9).into();
        let socket =
            PeerSocket::connect(first.local.port(), remote, [127, 0, 0, 1].into(), 4096, 0);
        let _socket = socket.unwrap();
        for address in ["0.0.0.0", "127.0.0.1", "233.252.0.0"] {
            let address = SocketAddr::new(address.parse().unwrap(), first.local.port());
            assert!(
                Listener::open(address, 1 << 16, 1 << 16).is_err(),
                "{address}"
            );
        }
    }
}
