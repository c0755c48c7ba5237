//! What a good C server does: one thread, flat arrays, nothing allocated per packet; recvmmsg, one SRTP call per packet and
//! subscriber on OpenSSL with contexts made once, sendmmsg in groups of 64. No segmentation offload.

mod openssl;
mod socket;
mod srtp;

use std::collections::HashMap;
use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use proto::srtp::Profile;
use rustix::event::{PollFd, PollFlags, poll};

use self::openssl::{Direction, Library};
use self::socket::{GROUP, Inbox, Outbox, Socket};
use self::srtp::Srtp;
use super::{
    Answer, Every, Key, Numbering, Order, Replay, Settings, Statistics, is_rtp, rewrite,
    rtp_header_length, say, sequence_of, ssrc_of,
};
use crate::measure::thread_time;

/// Groups of datagrams taken before orders are looked at again.
const GROUPS: usize = 16;

/// Runs until standard input ends.
///
/// # Errors
/// If there is no libcrypto.so.3, or no socket.
pub fn run(settings: &Settings, profile: Profile) -> anyhow::Result<()> {
    let SocketAddr::V4(listen) = SocketAddr::new(settings.listen, 0) else {
        bail!("the conventional forwarder knows IPv4 only");
    };
    let library = Library::open().context("cannot use OpenSSL 3 (libcrypto.so.3)")?;
    let socket = Socket::bind(listen)?;
    let address = socket.address()?;
    let mut forwarder = Forwarder::new(library, profile, socket, settings)?;
    say(&Answer::Ready {
        address: address.into(),
    })?;
    forwarder.run()
}

/// What a bare sendmmsg costs here: processor time of this thread for each of `packets` packets of `length` octets that look like
/// RTP, sent to `targets` in turn and in groups as the forwarder does.
///
/// # Errors
/// If there is no socket, or the kernel takes nothing.
pub fn cost_of_sending(
    from: Ipv4Addr,
    targets: &[SocketAddrV4],
    length: usize,
    packets: u64,
) -> anyhow::Result<Duration> {
    let socket = Socket::bind(SocketAddrV4::new(from, 0))?;
    let mut outbox = Outbox::new();
    for _ in 0..GROUP {
        outbox.slot()[..2].copy_from_slice(&[0x80, 96]);
        outbox.push(SocketAddrV4::new(from, 0), length);
    }
    outbox.clear();
    let (mut sent, mut refused) = (0, 0);
    let before = thread_time();
    for target in targets.iter().cycle() {
        outbox.push(*target, length);
        if outbox.is_full() {
            let group = outbox.send(&socket)?;
            sent += group.packets;
            refused += group.refused;
        }
        if sent + refused >= packets {
            break;
        }
    }
    let used = thread_time() - before;
    ensure!(sent > packets / 2, "the kernel refused {refused} packets");
    Ok(used / u32::try_from(sent)?)
}

struct Forwarder {
    library: Library,
    profile: Profile,
    socket: Socket,
    inbox: Inbox,
    outbox: Outbox,
    publishers: Vec<Publisher>,
    by_address: HashMap<SocketAddrV4, usize>,
    streams: Vec<Stream>,
    by_ssrc: HashMap<u32, usize>,
    statistics: Statistics,
    spoil: Every,
    skip: Every,
    carries: Option<u64>,
    too_many: Every,
}

struct Publisher {
    srtp: Srtp,
    /// Per SSRC; a publisher has one or two.
    replay: Vec<(u32, Replay)>,
}

/// One published RTP stream and everybody who gets it, end to end in memory.
#[derive(Default)]
struct Stream {
    sinks: Vec<Sink>,
}

struct Sink {
    address: SocketAddrV4,
    ssrc: u32,
    numbering: Numbering,
    srtp: Srtp,
}

impl Forwarder {
    fn new(
        library: Library,
        profile: Profile,
        socket: Socket,
        settings: &Settings,
    ) -> anyhow::Result<Self> {
        // The first context tells early whether the library has the ciphers.
        Srtp::new(
            &library,
            profile,
            &Key {
                key: vec![0; profile.key_len()],
                salt: vec![0; profile.salt_len()],
            },
            Direction::Encrypt,
        )?;
        Ok(Self {
            library,
            profile,
            socket,
            inbox: Inbox::new(),
            outbox: Outbox::new(),
            publishers: Vec::new(),
            by_address: HashMap::new(),
            streams: Vec::new(),
            by_ssrc: HashMap::new(),
            statistics: Statistics::default(),
            spoil: Every::new(settings.spoil_every),
            skip: Every::new(settings.skip_every),
            carries: settings.carries,
            too_many: Every::new(settings.carries.map(|_| 10)),
        })
    }

    fn run(&mut self) -> anyhow::Result<()> {
        let stdin = std::io::stdin();
        let mut orders = Orders::default();
        loop {
            self.statistics.system_calls += 1;
            // Not epoll: a socket that is registered there is told of every packet that has left, which costs more than
            // asking anew each time does.
            let (packets, more) = {
                let mut sources = [
                    PollFd::new(&self.socket, PollFlags::IN),
                    PollFd::new(&stdin, PollFlags::IN),
                ];
                match poll(&mut sources, None) {
                    Ok(_) => {}
                    Err(rustix::io::Errno::INTR) => continue,
                    Err(errno) => return Err(errno.into()),
                }
                let [socket, stdin] = sources;
                (!socket.revents().is_empty(), !stdin.revents().is_empty())
            };
            if packets {
                self.drain()?;
            }
            if more && !self.follow(&mut orders)? {
                return Ok(());
            }
        }
    }

    /// Takes what is in the socket and sends everybody's copies.
    fn drain(&mut self) -> anyhow::Result<()> {
        for _ in 0..GROUPS {
            self.statistics.system_calls += 1;
            let count = self.inbox.receive(&self.socket)?;
            self.statistics.received += count as u64;
            for index in 0..count {
                self.forward(index)?;
            }
            if count < GROUP {
                break;
            }
        }
        self.flush()
    }

    fn forward(&mut self, number: usize) -> anyhow::Result<()> {
        let (from, packet) = self.inbox.datagram(number);
        let known = from.and_then(|from| self.by_address.get(&from));
        let (Some(publisher), true) = (known, is_rtp(packet)) else {
            self.statistics.ignored += 1;
            return Ok(());
        };
        let Some((ssrc, index, length)) = self.publishers[*publisher].unprotect(packet) else {
            self.statistics.unauthentic += 1;
            return Ok(());
        };
        let Some(stream) = self.by_ssrc.get(&ssrc) else {
            self.statistics.ignored += 1;
            return Ok(());
        };
        let plain = &packet[..length];
        let Some(header) = rtp_header_length(plain) else {
            self.statistics.ignored += 1;
            return Ok(());
        };
        let sinks = &mut self.streams[*stream].sinks;
        let is_too_many = self.carries.is_some_and(|most| sinks.len() as u64 > most);
        for sink in sinks {
            let Some(index) = sink.numbering.map(index) else {
                continue;
            };
            if self.skip.is_due() || is_too_many && self.too_many.is_due() {
                continue;
            }
            if self.outbox.is_full() {
                send(&self.socket, &mut self.outbox, &mut self.statistics)?;
            }
            let out = self.outbox.slot();
            out[..length].copy_from_slice(plain);
            rewrite(&mut out[..header], index as u16, sink.ssrc);
            if self.spoil.is_due() {
                out[header + (length - header) / 2] ^= 1;
            }
            let length = sink.srtp.protect(out, header, length, sink.ssrc, index)?;
            self.outbox.push(sink.address, length);
        }
        Ok(())
    }

    fn flush(&mut self) -> anyhow::Result<()> {
        if !self.outbox.is_empty() {
            send(&self.socket, &mut self.outbox, &mut self.statistics)?;
        }
        Ok(())
    }

    /// Reads orders; false when there will be no more.
    fn follow(&mut self, orders: &mut Orders) -> anyhow::Result<bool> {
        if !orders.read()? {
            return Ok(false);
        }
        while let Some(order) = orders.next() {
            let followed = match order {
                Ok(order) => self.obey(order),
                Err(error) => Err(error.into()),
            };
            if let Err(error) = followed {
                say(&Answer::Refused(format!("{error:#}")))?;
            }
        }
        Ok(true)
    }

    fn obey(&mut self, order: Order) -> anyhow::Result<()> {
        match order {
            Order::Publisher { address, key } => {
                let srtp = Srtp::new(&self.library, self.profile, &key, Direction::Decrypt)?;
                self.by_address.insert(v4(address)?, self.publishers.len());
                self.publishers.push(Publisher {
                    srtp,
                    replay: Vec::with_capacity(2),
                });
            }
            Order::Subscriber {
                address,
                key,
                streams,
            } => {
                for mapping in streams {
                    let stream = *self.by_ssrc.entry(mapping.from).or_insert_with(|| {
                        self.streams.push(Stream::default());
                        self.streams.len() - 1
                    });
                    self.streams[stream].sinks.push(Sink {
                        address: v4(address)?,
                        ssrc: mapping.to,
                        numbering: Numbering::new(mapping.first_sequence),
                        srtp: Srtp::new(&self.library, self.profile, &key, Direction::Encrypt)?,
                    });
                }
            }
            Order::Remove { address } => {
                let address = v4(address)?;
                self.by_address.remove(&address);
                for stream in &mut self.streams {
                    stream.sinks.retain(|sink| sink.address != address);
                }
            }
            Order::Statistics => say(&Answer::Statistics(self.statistics))?,
        }
        Ok(())
    }
}

impl Publisher {
    /// Decrypts in place; the SSRC, the index and how much is left, if it was authentic and new.
    fn unprotect(&mut self, packet: &mut [u8]) -> Option<(u32, u64, usize)> {
        let ssrc = ssrc_of(packet);
        let place = match self.replay.iter().position(|(known, _)| *known == ssrc) {
            Some(place) => place,
            None => {
                self.replay.push((ssrc, Replay::default()));
                self.replay.len() - 1
            }
        };
        let replay = &mut self.replay[place].1;
        let index = replay.index(sequence_of(packet))?;
        let header = rtp_header_length(packet)?;
        let length = self.srtp.unprotect(packet, header, ssrc, index)?;
        replay.accept(index);
        Some((ssrc, index, length))
    }
}

fn send(socket: &Socket, outbox: &mut Outbox, statistics: &mut Statistics) -> anyhow::Result<()> {
    let sent = outbox.send(socket)?;
    statistics.forwarded += sent.packets;
    statistics.refused += sent.refused;
    statistics.system_calls += sent.system_calls;
    Ok(())
}

fn v4(address: SocketAddr) -> anyhow::Result<SocketAddrV4> {
    match address {
        SocketAddr::V4(address) => Ok(address),
        SocketAddr::V6(_) => bail!("{address} is no IPv4 address"),
    }
}

/// Lines of standard input, as far as they have come.
#[derive(Default)]
struct Orders {
    pending: Vec<u8>,
    taken: usize,
}

impl Orders {
    /// Reads once; false at the end.
    fn read(&mut self) -> std::io::Result<bool> {
        self.pending.drain(..self.taken);
        self.taken = 0;
        let mut chunk = [0; 64 * 1024];
        let count = std::io::stdin().lock().read(&mut chunk)?;
        self.pending.extend_from_slice(&chunk[..count]);
        Ok(count > 0)
    }

    fn next(&mut self) -> Option<Result<Order, serde_json::Error>> {
        let rest = &self.pending[self.taken..];
        let end = rest.iter().position(|octet| *octet == b'\n')?;
        let line = &rest[..end];
        self.taken += end + 1;
        Some(serde_json::from_slice(line))
    }
}
