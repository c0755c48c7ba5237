//! People whom nobody knows, and what they throw at a forwarder.

use std::io::IoSlice;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::os::fd::AsRawFd as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clock::Rng;
use nix::sys::socket::{ControlMessage, MsgFlags, MultiHeaders, SockaddrIn, sendmmsg};

use crate::exit::Exit;

/// From how many addresses they come.
const SOURCES: u32 = 1000;
/// One source sends so many datagrams with one system call, then it is the next one's turn: 100 000 a second must not take a core.
const TOGETHER: usize = 64;
/// How many different datagrams they know.
const KNOWN: usize = 4096;
/// They catch up in portions of this length.
const PORTION: Duration = Duration::from_millis(1);
/// The longest datagram they send, in octets.
const LONGEST: u64 = 1200;
/// The magic cookie of STUN (RFC 8489 §5).
const STUN_COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];

/// A thread that sends garbage, and datagrams that look like STUN, DTLS and RTP.
pub(super) struct Strangers {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Strangers {
    /// Starts to send `rate` datagrams a second to `targets`, from many addresses beyond those of the fleet's peers.
    pub(super) fn start(rate: f64, targets: &[SocketAddr], exit: &Exit) -> anyhow::Result<Self> {
        let peers = exit.peers();
        let last = u32::from(peers.base) + peers.count - 2;
        let mut sockets = Vec::new();
        for number in 0..SOURCES {
            let source = IpAddr::V4(Ipv4Addr::from(last - number));
            let socket = UdpSocket::bind((source, 0))
                .with_context(|| format!("no socket for a stranger at {source}"))?;
            socket.set_nonblocking(true)?;
            sockets.push(socket);
        }
        anyhow::ensure!(!targets.is_empty(), "strangers know no address to send to");
        let v4 = |target: &SocketAddr| match target {
            SocketAddr::V4(target) => Ok(*target),
            SocketAddr::V6(_) => Err(anyhow::anyhow!("the exits are IPv4")),
        };
        let targets: Vec<_> = targets.iter().map(v4).collect::<anyhow::Result<_>>()?;
        let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::default());
        let thread = std::thread::Builder::new()
            .name("strangers".to_owned())
            .spawn({
                let (stop, sent) = (Arc::clone(&stop), Arc::clone(&sent));
                move || flood(rate, &sockets, &targets, &stop, &sent)
            })?;
        Ok(Self {
            stop,
            sent,
            thread: Some(thread),
        })
    }

    /// Datagrams sent so far.
    pub(super) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }
}

impl Drop for Strangers {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic there has been printed; the count says how far it came.
            let _ = thread.join();
        }
    }
}

fn flood(
    rate: f64,
    sockets: &[UdpSocket],
    targets: &[SocketAddrV4],
    stop: &AtomicBool,
    sent: &AtomicU64,
) {
    let datagrams = datagrams();
    let slices: Vec<[IoSlice<'_>; 1]> = datagrams.iter().map(|one| [IoSlice::new(one)]).collect();
    let mut headers = MultiHeaders::<SockaddrIn>::preallocate(TOGETHER, None);
    let none: [ControlMessage<'_>; 0] = [];
    let mut turns = (0..slices.len() / TOGETHER)
        .cycle()
        .zip(sockets.iter().cycle())
        .zip(targets.iter().cycle());
    let start = Instant::now();
    let mut count: u64 = 0;
    while !stop.load(Ordering::Relaxed) {
        let due = (start.elapsed().as_secs_f64() * rate) as u64;
        // One who falls behind by more than a tenth of a second does not try to catch up.
        count = count.max(due.saturating_sub((rate / 10.0) as u64));
        while count < due
            && let Some(((part, socket), target)) = turns.next()
        {
            let together = TOGETHER.min((due - count) as usize);
            let first = part * TOGETHER;
            let to = [Some(SockaddrIn::from(*target)); TOGETHER];
            let slices = &slices[first..first + together];
            let (socket, flags) = (socket.as_raw_fd(), MsgFlags::MSG_DONTWAIT);
            let taken = sendmmsg(socket, &mut headers, slices, to, none, flags);
            // What the kernel does not take was not sent, and the count says so.
            let taken = taken.map_or(0, Iterator::count);
            sent.fetch_add(taken as u64, Ordering::Relaxed);
            count += together as u64;
        }
        std::thread::sleep(PORTION);
    }
}

/// What they throw.
fn datagrams() -> Vec<Vec<u8>> {
    let mut rng = Rng::from_number(0x5745_4952_444f);
    let mut datagram = [0; LONGEST as usize];
    let one = || {
        let length = imitate(&mut datagram, &mut rng);
        datagram[..length].to_vec()
    };
    std::iter::repeat_with(one).take(KNOWN).collect()
}

/// Writes one datagram: in turn what looks like STUN, like DTLS, like RTP, and like nothing at all.
fn imitate(datagram: &mut [u8; LONGEST as usize], rng: &mut Rng) -> usize {
    let length = 20 + rng.below(LONGEST - 20) as usize;
    let front = length.min(64);
    rng.fill(&mut datagram[..front]);
    match rng.below(4) {
        0 => {
            // A Binding request (RFC 8489 §5) whose attributes are random.
            let attributes = (length - 20) as u16 & !3;
            datagram[..2].copy_from_slice(&[0, 1]);
            datagram[2..4].copy_from_slice(&attributes.to_be_bytes());
            datagram[4..8].copy_from_slice(&STUN_COOKIE);
            return 20 + usize::from(attributes);
        }
        // A handshake record of DTLS 1.2 (RFC 6347 §4.1).
        1 => datagram[..3].copy_from_slice(&[22, 0xfe, 0xfd]),
        2 => datagram[..2].copy_from_slice(&[0x80, 96]),
        _ => {}
    }
    length
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_imitate_everything() {
        let mut rng = Rng::from_number(1);
        let mut datagram = [0; LONGEST as usize];
        let mut kinds = [0; 4];
        for _ in 0..1000 {
            let length = imitate(&mut datagram, &mut rng);
            assert!((20..=LONGEST as usize).contains(&length));
            kinds[match datagram[0] {
                0 if datagram[4..8] == STUN_COOKIE => 0,
                22 => 1,
                128 => 2,
                _ => 3,
            }] += 1;
        }
        assert!(kinds.iter().all(|kind| *kind > 150), "{kinds:?}");
    }
}
