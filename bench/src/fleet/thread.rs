use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::SocketAddrV4;
use std::sync::{Arc, mpsc};
use std::time::SystemTime;

use clock::{Instant, NtpTime, Rng};
use net::{AnyDriver, Driver as _, Wait};
use packet::{Arena, ArenaSize, Batch, Datagram};

use super::addresses::Places;
use super::association::Handshakes;
use super::counters::RUN_LENGTHS;
use super::outbox::Outbox;
use super::peer::Peer;
use super::registry::Registry;
use super::{Association, Counters, PeerId, Settings, publisher, subscriber};
use crate::measure::thread_time;

/// Datagrams that may be with the kernel or with us at a time.
const ARENA_SLOTS: u32 = 8192;
const LENT_SLOTS: u16 = 4096;
/// Timers that are served between two looks at the network.
const TIMERS_MAX: usize = 256;

/// What a thread is told.
#[derive(Debug)]
pub(super) enum Command {
    Add(Box<NewPeer>),
    Remove(PeerId),
    Report(mpsc::SyncSender<Counters>),
    Speak,
    Hush,
    BeginChecks,
    Stop,
}

/// A peer to be.
#[derive(Debug)]
pub(super) struct NewPeer {
    pub(super) id: PeerId,
    pub(super) place: usize,
    pub(super) association: Association,
    pub(super) role: Role,
}

/// What it does.
#[derive(Debug)]
pub(super) enum Role {
    Publisher(publisher::Plan),
    Subscriber(subscriber::Plan),
}

/// What all peers of a thread use.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) settings: Settings,
    pub(super) counters: Counters,
    pub(super) registry: Arc<Registry>,
    pub(super) handshakes: Handshakes,
    pub(super) rng: Rng,
    /// Wall-clock time of this turn.
    pub(super) wall: NtpTime,
}

impl Shared {
    /// A payload is not what was published.
    pub(super) fn wrong_payload(&mut self, words: impl FnOnce() -> String) {
        self.counters.wrong_payloads += 1;
        self.wrong(words);
    }

    /// Remembers what was wrong first.
    pub(super) fn wrong(&mut self, words: impl FnOnce() -> String) {
        if self.counters.first_wrong.is_none() {
            self.counters.first_wrong = Some(words());
        }
    }
}

/// One media thread: a socket, the peers behind it, and their timers.
#[derive(Debug)]
pub(super) struct Thread {
    driver: AnyDriver,
    arena: Arena,
    batch: Batch,
    out: Outbox,
    places: Places,
    peers: Vec<Option<Box<Peer>>>,
    /// When to look after whom. Entries that do not agree with the peer's own time are out of date.
    timers: BinaryHeap<Reverse<(Instant, usize)>>,
    shared: Shared,
}

impl Thread {
    /// Opens its socket and takes its memory.
    pub(super) fn open(
        settings: &Settings,
        number: usize,
        listener: SocketAddrV4,
        registry: Arc<Registry>,
    ) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        let mut config = net::Config::new(vec![listener.into()]);
        config.kind = settings.driver;
        config.receive_buffer = settings.receive_buffer;
        config.lent_slots = LENT_SLOTS;
        let (driver, choice) = net::open(&config)?;
        tracing::debug!(thread = number, %choice, "media thread");
        let places = Places::new(settings.network, settings.threads);
        let peers = (0..places.count()).map(|_| None).collect();
        let seed = settings.seed ^ ((number as u64 + 1) << 48);
        Ok(Self {
            driver,
            arena: Arena::new(ArenaSize {
                slots: ARENA_SLOTS,
                small_slots: 0,
                reserve: 0,
            })?,
            batch: Batch::new(),
            out: Outbox::new()?,
            places,
            peers,
            timers: BinaryHeap::new(),
            shared: Shared {
                settings: settings.clone(),
                counters: Counters::new(),
                registry,
                handshakes: Handshakes::new(net::now())?,
                rng: Rng::from_number(seed),
                wall: NtpTime::default(),
            },
        })
    }

    pub(super) fn port(&self) -> u16 {
        let mut addresses = self.driver.local_addresses();
        addresses.next().map_or(0, |address| address.port())
    }

    pub(super) fn waker(&self) -> net::Waker {
        self.driver.waker()
    }

    /// Works until it is told to stop.
    pub(super) fn run(mut self, inbox: &mpsc::Receiver<Command>) {
        loop {
            loop {
                match inbox.try_recv() {
                    Ok(Command::Stop) | Err(mpsc::TryRecvError::Disconnected) => {
                        return self.driver.close(&mut self.arena);
                    }
                    Ok(command) => self.obey(command),
                    Err(mpsc::TryRecvError::Empty) => break,
                }
            }
            if let Err(error) = self.turn() {
                tracing::error!(%error, "a media thread cannot go on");
                return;
            }
        }
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Add(new) => {
                let (now, place) = (self.driver.now(), new.place);
                self.remove(place, None);
                let peer = Box::new(Peer::new(now, *new, &mut self.shared));
                self.peers[place] = Some(peer);
                self.set_timer(place);
            }
            Command::Remove(id) => {
                if let Some(place) = self.places.of(id.local.ip()) {
                    self.remove(place, Some(id));
                }
            }
            Command::Report(answer) => {
                self.shared.counters.kernel_drops = self.driver.stats().kernel_drops;
                self.shared.counters.system_calls = self.driver.stats().system_calls;
                self.shared.counters.send_failures =
                    self.driver.stats().send_failures + self.out.refused;
                self.shared.counters.cpu = thread_time();
                // Whoever asked may have gone.
                let _ = answer.send(self.shared.counters.clone());
            }
            Command::Speak => {
                self.shared.settings.silent = false;
                for place in 0..self.peers.len() {
                    if let Some(peer) = &mut self.peers[place] {
                        peer.speak();
                        self.set_timer(place);
                    }
                }
            }
            Command::Hush => self.peers.iter_mut().flatten().for_each(|peer| peer.hush()),
            Command::BeginChecks => {
                self.shared.counters.looked_into = 0;
                let peers = self.peers.iter_mut().flatten();
                peers.for_each(|peer| peer.begin_checks());
            }
            Command::Stop => {}
        }
    }

    /// Takes the peer at `place` away, if it is the one meant.
    fn remove(&mut self, place: usize, id: Option<PeerId>) {
        let meant = |peer: &mut Box<Peer>| id.is_none_or(|id| peer.id == id);
        let slot = self.peers.get_mut(place);
        if let Some(mut peer) = slot.and_then(|slot| slot.take_if(meant)) {
            peer.retire(&mut self.shared);
        }
    }

    fn turn(&mut self) -> Result<(), net::Fatal> {
        let wait = match self.timers.peek() {
            Some(Reverse((at, _))) if *at <= self.driver.now() => Wait::Poll,
            Some(Reverse((at, _))) => Wait::Until(*at),
            None => Wait::Forever,
        };
        let bursts = &mut self.out.bursts;
        self.driver
            .turn(bursts, wait, &mut self.arena, &mut self.batch)?;
        let now = self.driver.now();
        self.receive(now);
        if self
            .timers
            .peek()
            .is_some_and(|Reverse((at, _))| *at <= now)
        {
            self.serve_timers(now);
        }
        Ok(())
    }

    fn receive(&mut self, now: Instant) {
        let mut run = Run::default();
        for number in 0..self.batch.len() {
            let datagram = self.batch.as_slice()[number];
            let place = datagram.local.and_then(|local| self.places.of(local));
            run.next(place, &mut self.shared.counters);
            self.receive_one(now, place, &datagram);
            self.arena.release(datagram.slot);
        }
        run.next(None, &mut self.shared.counters);
        // Their slots have been released one by one.
        self.batch.drain().for_each(drop);
    }

    fn receive_one(&mut self, now: Instant, place: Option<usize>, datagram: &Datagram) {
        let peer = place.and_then(|place| Some((place, self.peers.get_mut(place)?.as_mut()?)));
        let Some((place, peer)) = peer else {
            self.shared.counters.stray += 1;
            return;
        };
        let changed = peer.on_datagram(
            now,
            datagram.payload_mut(&mut self.arena),
            (datagram.source, datagram.arrival),
            &mut self.out,
            &mut self.shared,
        );
        if changed {
            self.set_timer(place);
        }
    }

    fn serve_timers(&mut self, now: Instant) {
        let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        self.shared.wall = NtpTime::from_unix(wall.unwrap_or_default());
        for _ in 0..TIMERS_MAX {
            let due = self.timers.peek();
            let Some(Reverse((at, place))) = due.copied().filter(|Reverse((at, _))| *at <= now)
            else {
                return;
            };
            self.timers.pop();
            let peer = self.peers.get_mut(place).and_then(Option::as_mut);
            let Some(peer) = peer.filter(|peer| peer.wake == at) else {
                continue;
            };
            peer.wake = Instant::FAR_FUTURE;
            peer.on_timeout(now, &mut self.out, &mut self.shared);
            self.set_timer(place);
        }
    }

    /// Sees to it that the peer is looked after in time.
    fn set_timer(&mut self, place: usize) {
        let Some(peer) = self.peers.get_mut(place).and_then(Option::as_mut) else {
            return;
        };
        if let Some(deadline) = peer.deadline()
            && deadline < peer.wake
        {
            peer.wake = deadline;
            self.timers.push(Reverse((deadline, place)));
        }
    }
}

/// Packets of one peer in a row.
#[derive(Debug, Default)]
struct Run {
    place: Option<usize>,
    length: usize,
}

impl Run {
    fn next(&mut self, place: Option<usize>, counters: &mut Counters) {
        if place == self.place {
            self.length += 1;
            return;
        }
        if self.place.is_some() {
            counters.runs[self.length.min(RUN_LENGTHS - 1)] += 1;
        }
        *self = Self { place, length: 1 };
    }
}
