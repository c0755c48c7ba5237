//! What it costs this host to forward a packet: received, decrypted, encrypted for each peer and sent, over loopback.
//!
//! It is the drivers and ciphers of the workers on a small call: runs of two packets, from one to three others. Only processor
//! time counts, so that a busy neighbour does not make a node small.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant as StdInstant};

use net::{AnyDriver, Driver as _, Wait};
use packet::{Arena, ArenaSize, Batch, Bursts, BurstsSize};
use proto::srtp::{Handle, Inbound, Job, MasterKey, Outbound, Profile, Slab, protect_batch};
use rustix::time::{ClockId, clock_gettime};

use super::Cost;
use crate::config::{Config, Driver};
use crate::worker::chain;

/// Bytes of a picture's packet, header included.
const PACKET_BYTES: usize = 1200;
/// Packets of a picture that arrive together.
const RUN: usize = 2;
/// Who gets them.
const PEERS: usize = 3;
/// All that may pass meanwhile.
const PATIENCE: Duration = Duration::from_millis(120);
/// Turns that are one sample; the first samples warm up.
const TURNS_PER_SAMPLE: usize = 32;
const WARM_UP: usize = 3;
const SAMPLES_MAX: usize = 40;
/// With fewer samples nothing is said.
const SAMPLES_MIN: usize = 5;
/// How long a packet may take through loopback, and how often none may come.
const ARRIVAL: Duration = Duration::from_millis(20);
const MISSES_MAX: usize = 4;
const HEADER: usize = 12;
const SSRC: u32 = 0x5249_4e47;
/// What is encrypted is at least so much longer.
const ROOM: usize = PACKET_BYTES + 32;

/// Tries it, for an eighth of a second at most.
///
/// # Errors
///
/// In words for an operator, what of the host did not let us.
pub fn forwarding(config: &Config) -> Result<Cost, String> {
    let kind = match config.media.driver {
        Driver::Auto => net::Kind::Auto,
        Driver::Uring => net::Kind::Uring,
        Driver::Mmsg => net::Kind::Mmsg,
    };
    // A driver keeps to one thread, and processor time is a thread's.
    let thread = std::thread::Builder::new().name("measure".into());
    let measuring = thread.spawn(move || Call::begin(kind)?.measure());
    let measuring = measuring.map_err(|error| format!("start a thread: {error}"))?;
    measuring
        .join()
        .unwrap_or_else(|_| Err("the measurement failed".into()))
}

/// One publisher, its subscribers, and a worker's means between them.
struct Call {
    driver: AnyDriver,
    name: &'static str,
    arena: Arena,
    bursts: Bursts,
    batch: Batch,
    publisher: UdpSocket,
    to: SocketAddr,
    outbound: Outbound,
    inbound: Inbound,
    slab: Slab,
    peers: Vec<(SocketAddr, Handle)>,
    /// Nobody reads them: what comes is dropped by the kernel.
    _sinks: Vec<UdpSocket>,
    index: u64,
}

impl Call {
    fn begin(kind: net::Kind) -> Result<Self, String> {
        let local = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let mut config = net::Config::new(vec![local]);
        config.kind = kind;
        let (driver, choice) = net::open(&config).map_err(|error| chain(&error))?;
        let to = driver.local_addresses().next().ok_or("no address")?;
        let socket = || UdpSocket::bind(local).map_err(|error| format!("loopback: {error}"));
        let sinks: Vec<UdpSocket> = (0..PEERS).map(|_| socket()).collect::<Result<_, _>>()?;
        let mut slab = Slab::with_capacity(PEERS);
        let mut peers = Vec::new();
        for (sink, number) in sinks.iter().zip(1..) {
            let address = sink.local_addr().map_err(|error| error.to_string())?;
            let handle = slab.insert(&key(number)?).map_err(|error| chain(&error))?;
            peers.push((address, handle));
        }
        let arena = ArenaSize {
            slots: 4608,
            small_slots: 0,
            reserve: 0,
        };
        let bursts = BurstsSize {
            chunks: 16,
            bursts: 256,
        };
        Ok(Self {
            driver,
            name: choice.driver,
            arena: Arena::new(arena).map_err(|error| chain(&error))?,
            bursts: Bursts::new(bursts).map_err(|error| chain(&error))?,
            batch: Batch::new(),
            publisher: socket()?,
            to,
            outbound: Outbound::new(&key(0)?).map_err(|error| chain(&error))?,
            inbound: Inbound::new(&key(0)?).map_err(|error| chain(&error))?,
            slab,
            peers,
            _sinks: sinks,
            index: 0,
        })
    }

    /// The median of some samples.
    fn measure(mut self) -> Result<Cost, String> {
        let until = StdInstant::now() + PATIENCE;
        let mut samples = Vec::new();
        for number in 0..WARM_UP + SAMPLES_MAX {
            let sample = self.sample()?;
            if number >= WARM_UP {
                samples.push(sample);
            }
            if StdInstant::now() >= until {
                break;
            }
        }
        if samples.len() < SAMPLES_MIN {
            return Err(format!(
                "only {} of {SAMPLES_MIN} samples in {PATIENCE:?}",
                samples.len()
            ));
        }
        samples.sort_by(f64::total_cmp);
        Ok(Cost {
            nanos: samples[samples.len() / 2],
            driver: self.name,
        })
    }

    /// Nanoseconds per packet, in or out.
    fn sample(&mut self) -> Result<f64, String> {
        let counted = |driver: &AnyDriver| {
            let stats = driver.stats();
            stats.received_packets + stats.sent_packets
        };
        let before = counted(&self.driver);
        let (mut spent, mut misses) = (Duration::ZERO, 0);
        for _ in 0..TURNS_PER_SAMPLE {
            self.publish()?;
            let begun = processor_time();
            let came = self.turn()?;
            spent += processor_time().saturating_sub(begun);
            misses += usize::from(came == 0);
            if misses > MISSES_MAX {
                return Err("nothing comes through loopback".into());
            }
        }
        let packets = counted(&self.driver) - before;
        let expected = (TURNS_PER_SAMPLE * RUN * (1 + PEERS)) as u64;
        if packets < expected / 2 {
            return Err(format!(
                "{packets} of {expected} packets came through loopback"
            ));
        }
        Ok(spent.as_nanos() as f64 / packets as f64)
    }

    /// What the publisher does is not ours.
    fn publish(&mut self) -> Result<(), String> {
        let mut packet = [0; ROOM];
        for _ in 0..RUN {
            self.index += 1;
            let payload = [7; PACKET_BYTES - HEADER];
            let len = self
                .outbound
                .protect_rtp(
                    self.index,
                    SSRC,
                    &header(self.index),
                    &[],
                    &payload,
                    &mut packet,
                )
                .map_err(|refusal| format!("{refusal:?}"))?;
            self.publisher
                .send_to(&packet[..len], self.to)
                .map_err(|error| format!("loopback: {error}"))?;
        }
        Ok(())
    }

    /// Receives a run and sends it to everybody; it leaves with the next turn, as a worker's does. How many packets came.
    fn turn(&mut self) -> Result<usize, String> {
        let wait = Wait::Until(self.driver.now() + ARRIVAL);
        self.driver
            .turn(&mut self.bursts, wait, &mut self.arena, &mut self.batch)
            .map_err(|error| chain(&error))?;
        let mut run = Vec::with_capacity(RUN);
        for datagram in self.batch.as_slice() {
            let packet = datagram.payload_mut(&mut self.arena);
            let Some(sequence) = packet.get(2..4) else {
                continue;
            };
            let sequence = u16::from_be_bytes([sequence[0], sequence[1]]);
            let opened = self.inbound.unprotect_rtp(packet, HEADER, SSRC, sequence);
            let (len, index) = opened.map_err(|reject| format!("{reject:?}"))?;
            run.push((datagram, len, index));
        }
        for (address, handle) in &self.peers {
            self.bursts.begin(*address, None);
            for (datagram, len, index) in &run {
                let payload = &datagram.payload(&self.arena)[HEADER..*len];
                let header = header(*index);
                let Some(room) = self.bursts.reserve(ROOM) else {
                    continue;
                };
                let mut job = Job::new(*handle, *index, SSRC, &header, payload, room);
                protect_batch(&mut self.slab, core::slice::from_mut(&mut job));
                let written = job.outcome.map_err(|refusal| format!("{refusal:?}"))?;
                self.bursts.commit(written);
            }
        }
        let came = run.len();
        self.batch.clear(&mut self.arena);
        Ok(came)
    }
}

/// Keys of nobody: they leave with the measurement.
fn key(number: u8) -> Result<MasterKey, String> {
    let profile = Profile::AeadAes256Gcm;
    let (key, salt) = (vec![number; profile.key_len()], vec![9; profile.salt_len()]);
    MasterKey::new(profile, &key, &salt).map_err(|error| chain(&error))
}

/// RFC 3550 §5.1.
fn header(index: u64) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    header[..2].copy_from_slice(&[0x80, 96]);
    header[2..4].copy_from_slice(&(index as u16).to_be_bytes());
    header[8..].copy_from_slice(&SSRC.to_be_bytes());
    header
}

fn processor_time() -> Duration {
    let used = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(
        used.tv_sec.unsigned_abs(),
        used.tv_nsec.unsigned_abs() as u32,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_costs_something_and_not_much_time_passes() {
        for kind in [net::Kind::Auto, net::Kind::Mmsg] {
            let begun = StdInstant::now();
            let cost = Call::begin(kind)
                .and_then(Call::measure)
                .expect("loopback works");
            assert!((100.0..1e6).contains(&cost.nanos), "{cost:?}");
            assert!(begun.elapsed() < Duration::from_secs(3), "{cost:?}");
        }
    }

    #[test]
    fn a_driver_that_is_not_there_is_an_error() {
        let mut config = net::Config::new(vec![]);
        config.kind = net::Kind::Mmsg;
        assert!(net::open(&config).is_err());
        let mut call = Call::begin(net::Kind::Mmsg).expect("loopback works");
        call.to.set_port(9);
        assert!(call.measure().is_err(), "nothing comes");
    }
}
