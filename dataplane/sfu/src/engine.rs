//! The forwarding engine: the one public type.

use std::collections::VecDeque;
use std::sync::Arc;

use clock::{Instant, NtpTime, Rng};
use packet::{Arena, Batch, BurstId, Bursts, MAX_BATCH, SlotId};
use proto::ice;
use proto::srtp::Job;

use crate::allocate::Wanted;
use crate::api::{CloseReason, Command, Config, Event, TransportId, Way};
use crate::cache::Quota;
use crate::capture;
use crate::capture::Capture;
use crate::commands;
use crate::congestion;
use crate::discard::{DropReason, Stage};
use crate::feedback;
use crate::model::packet::Packet;
use crate::model::publisher::{Origin, Role};
use crate::model::transport::Source;
use crate::model::{Model, Path};
use crate::outbox::Outbox;
use crate::path::pace::Due;
use crate::path::protect::JOBS_MAX;
use crate::path::queue::Queue;

use crate::path::rewrite::{DATAGRAM_MAX, OVERSHOOT_MAX, WRITTEN_MAX};
use crate::path::rewritten::Rewritten;
use crate::path::{Arrived, Plain, classify, ingest, protect, rewrite, route, unprotect};
use crate::select;
use crate::standing;
use crate::stats::{PacketKind, Stats};
use crate::tap;
use crate::tap::Taps;
use crate::timers::Wheel;

/// Events that may wait to be polled.
const EVENTS_MAX: usize = 4096;
/// Transports whose timers are served in one turn; the rest is due in the next.
const TIMERS_MAX: usize = 256;
/// Packets that leave in one turn, and a few more: as many as fit into a processor's nearer caches until they are sent.
pub(crate) const FLUSHED_MAX: usize = 512;
/// Of the bursts and the bytes that can still be written while the driver stands still, what media leave to STUN, DTLS and
/// RTCP.
const CONTROL_BURSTS: usize = 256;
const CONTROL_BYTES: usize = 64 << 10;
/// With those that a turn may do beyond.
const REWRITTEN_MAX: usize = FLUSHED_MAX + OVERSHOOT_MAX;
/// Packets whose stay is measured while what was written can't leave.
const DEPARTING_MAX: usize = 1024;

/// Forwards what publishers send to whoever subscribed, on one worker.
///
/// One turn is `command…`, `receive`, `on_timeout`, `flush`, and `poll_event` until there is none. References to slots that
/// the engine keeps are given back to the arena that the next call brings; it must always be the same one.
#[derive(Debug)]
pub struct Engine {
    pub(crate) config: Config,
    pub(crate) rng: Rng,
    pub(crate) model: Model,
    pub(crate) stats: Stats,
    pub(crate) wheel: Wheel,
    pub(crate) quota: Quota,
    pub(crate) outbox: Outbox,
    pub(crate) taps: Taps,
    events: VecDeque<Event>,
    /// Slots of things that went away while there was no arena at hand.
    pub(crate) orphans: Vec<SlotId>,
    next_source: u32,
    // What lies between two stages. The vectors keep their memory from turn to turn.
    pub(crate) arrived: Vec<Arrived>,
    pub(crate) plain: Vec<Plain>,
    pub(crate) media: Vec<Packet>,
    /// By encoding and place: the order in which those are routed.
    pub(crate) order: Vec<(u32, u32)>,
    pub(crate) queue: Queue,
    pub(crate) gathering: Gathering,
    /// When the packets arrived whose last copies are on their way out, and the last burst among those.
    departing: Vec<Instant>,
    pub(crate) last_burst: Option<BurstId>,
    pub(crate) rewritten: Vec<Rewritten>,
    /// The headers of those, end to end.
    pub(crate) headers: Vec<u8>,
    /// Empty between two lists of jobs, whose memory it keeps.
    pub(crate) jobs: Vec<Job<'static>>,
    due: Vec<u32>,
    /// Transports on which something that waited may leave now.
    pub(crate) paced: Due,
    /// Packets that wait in pacers.
    pub(crate) paced_packets: u64,
    /// Somebody looks at the packets of a transport.
    pub(crate) capture: Option<Box<Capture>>,
    /// Empty between two divisions, whose memory it keeps.
    pub(crate) wanted: Vec<Wanted>,
    /// Of all transports.
    pub(crate) ice: Arc<ice::lite::Config>,
}

/// What waits in the queue since the last flush.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gathering {
    /// Nothing new.
    Nothing,
    /// Beginnings of pictures.
    Pictures,
    /// Something that should leave at once: sound, the end of a picture, a retransmission.
    Urgent,
}

impl Engine {
    /// An engine without transports. Everything random is drawn from `rng`.
    pub fn new(config: Config, mut rng: Rng) -> Self {
        Self {
            model: Model::new(config.transports_max, &mut rng),
            taps: Taps::new(&mut rng),
            rng,
            stats: Stats::default(),
            wheel: Wheel::new(Instant::ZERO, config.transports_max),
            quota: Quota::default(),
            outbox: Outbox::new(),
            events: VecDeque::new(),
            orphans: Vec::new(),
            next_source: 0,
            arrived: Vec::with_capacity(MAX_BATCH),
            plain: Vec::with_capacity(MAX_BATCH),
            // What other workers hand over comes on top.
            media: Vec::with_capacity(2 * MAX_BATCH),
            order: Vec::with_capacity(2 * MAX_BATCH),
            queue: Queue::new(config.transports_max),
            gathering: Gathering::Nothing,
            departing: Vec::with_capacity(DEPARTING_MAX),
            last_burst: None,
            rewritten: Vec::with_capacity(REWRITTEN_MAX),
            // Headers are nearly always short, and what they don't reach is not touched.
            headers: Vec::with_capacity(REWRITTEN_MAX * WRITTEN_MAX),
            jobs: Vec::with_capacity(JOBS_MAX),
            due: Vec::with_capacity(TIMERS_MAX),
            paced: Due::new(config.transports_max),
            paced_packets: 0,
            capture: None,
            wanted: Vec::new(),
            ice: Arc::default(),
            config,
        }
    }

    /// Makes room for what grows with the arena; to be called once. Without it, that is done as packets come.
    pub fn prepare(&mut self, arena: &Arena) {
        self.quota.reserve(arena);
        // At most everything that is cached, and what other workers handed over.
        self.orphans.reserve(Quota::limit(arena) + 2 * MAX_BATCH);
    }

    /// Follows an order. What can't be followed is answered by [`Event::Refused`].
    pub fn command(&mut self, now: Instant, command: Command) {
        let start = (self.config.cycles)();
        commands::follow(self, now, command);
        self.count_model();
        self.stats.order_cycles += (self.config.cycles)().wrapping_sub(start);
    }

    /// Takes in what arrived; `batch` is empty afterwards, its references are the engine's.
    pub fn receive(&mut self, now: Instant, arena: &mut Arena, batch: &mut Batch) {
        self.release_orphans(arena);
        let crossed = !self.media.is_empty();
        self.stats.stage_mut(Stage::CrossIn).calls += u64::from(crossed);
        if batch.is_empty() && !crossed {
            return;
        }
        let mut since = (self.config.cycles)();
        classify::run(self, now, arena, batch);
        self.lap(Stage::Classify, &mut since);
        unprotect::run(self, arena);
        if self.capture.is_some() {
            capture::incoming(self, arena);
        }
        self.lap(Stage::Unprotect, &mut since);
        ingest::run(self, now, arena);
        self.lap(Stage::Ingest, &mut since);
        route::run(self, now, arena);
        self.lap(Stage::Route, &mut since);
    }

    /// Does what is due: reports, NACK, key-frame requests, consent, closing. To be called every turn.
    pub fn on_timeout(&mut self, now: Instant, arena: &mut Arena) {
        self.release_orphans(arena);
        tap::serve(self, now);
        let mut since = (self.config.cycles)();
        self.quota.expire(&mut self.model.encodings, arena, now);
        let mut due = core::mem::take(&mut self.due);
        self.wheel.expire(now, TIMERS_MAX, &mut due);
        for transport in due.drain(..) {
            self.serve(now, transport);
        }
        self.due = due;
        if self.capture.is_some() {
            capture::serve(self, now);
        }
        self.lap(Stage::Control, &mut since);
    }

    /// Writes what leaves in this turn into `bursts`. What is more than is done in one turn stays, and the deadline is then in
    /// the past.
    pub fn flush(&mut self, now: Instant, arena: &mut Arena, bursts: &mut Bursts) {
        self.release_orphans(arena);
        tap::abandon(self);
        self.note_departures(bursts);
        let stands_still = bursts.queued() > 0;
        let mut since = (self.config.cycles)();
        self.outbox.flush(&mut self.stats, bursts);
        self.lap(Stage::Control, &mut since);
        let mark = self.queue.len();
        let (mut bytes, mut free) = bursts.room_left();
        if stands_still {
            bytes = bytes.saturating_sub(CONTROL_BYTES);
            free = free.saturating_sub(CONTROL_BURSTS);
        }
        let budget = FLUSHED_MAX.min(free).min(bytes / DATAGRAM_MAX);
        rewrite::run(self, now, arena, budget);
        self.lap(Stage::Rewrite, &mut since);
        if self.capture.is_some() {
            capture::outgoing(self, now, arena);
        }
        protect::run(self, arena, bursts);
        self.queue.release(arena, mark, &mut self.departing);
        self.gathering = Gathering::Nothing;
        bursts.finish();
        self.lap(Stage::Protect, &mut since);
        self.stats.cache_packets = self.quota.packets() as u64;
        debug_assert_eq!(
            self.stats.unbalanced(),
            None,
            "every packet is accounted for"
        );
    }

    /// What is known of the way to the peer of a transport; `None` where that is not measured, or nothing was heard yet.
    pub fn way(&self, now: Instant, transport: TransportId) -> Option<Way> {
        let key = self.model.transport_key(transport)?;
        congestion::way(&self.model, now, key)
    }

    /// How many copies leave with the next flush if there is room, of whatever length; not those that wait for their time.
    pub fn copies_waiting(&self) -> u64 {
        self.stats.stage(Stage::Rewrite).held - self.paced_packets
    }

    /// Whether to wait a moment for more before [`Engine::flush`] may pay: what was received since the last one are parts of
    /// pictures only, and of every picture the end is still to come.
    pub fn may_gather(&self) -> bool {
        self.gathering == Gathering::Pictures && !self.queue.is_empty()
    }

    /// The next piece of news.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When [`Engine::on_timeout`] has something to do next, if nothing happens before.
    pub fn deadline(&self) -> Option<Instant> {
        if !self.queue.is_empty() || !self.paced.is_empty() {
            return Some(Instant::ZERO);
        }
        let timers = self.wheel.deadline();
        let cache = self.quota.deadline();
        let wishes = tap::deadline(self);
        timers.into_iter().chain(cache).chain(wishes).min()
    }

    /// The counter that stages are measured with, [`Config::cycles`].
    pub fn cycles(&self) -> u64 {
        (self.config.cycles)()
    }

    /// What was counted so far.
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// Wall-clock time at `now`.
    pub(crate) fn ntp(&self, now: Instant) -> NtpTime {
        self.config.ntp_at_zero.plus(now - Instant::ZERO)
    }

    pub(crate) fn events_are_full(&self) -> bool {
        self.events.len() >= EVENTS_MAX
    }

    /// News for the agent. Handshake datagrams are refused earlier; the rest comes from orders and transports, whose number
    /// is bounded.
    pub(crate) fn push_event(&mut self, event: Event) {
        self.events.push_back(event);
    }

    pub(crate) fn next_source(&mut self) -> u32 {
        self.next_source = self.next_source.wrapping_add(1);
        self.next_source
    }

    /// Somebody can't go on without a key frame of this encoding.
    pub(crate) fn want_key_frame(&mut self, encoding: u32) {
        let of = &mut self.model.encodings[encoding];
        of.key_frame.want();
        match self.model.media[of.medium].origin {
            Origin::Transport(transport) => {
                if let Some(deadline) = of.key_frame.deadline() {
                    self.wheel.schedule(transport, deadline);
                }
            }
            Origin::Tap { .. } => self.taps.want(encoding),
        }
    }

    /// The first sender report of a medium has come: subscribers can bring audio and video in step only with it, so they get
    /// it at once.
    pub(crate) fn report_soon(&mut self, now: Instant, medium: u32) {
        for listener in &self.model.media[medium].listeners {
            self.model.transports[listener.transport].reports_due = now;
            self.wheel.schedule(listener.transport, now);
        }
    }

    /// Whoever waits on this transport for a picture gets one soon.
    pub(crate) fn want_key_frames_for(&mut self, transport: u32) {
        let transport = &self.model.transports[transport];
        if transport.outbound.is_none() || transport.selected.is_none() {
            return;
        }
        let wanted: Vec<u32> = transport
            .outgoing
            .iter()
            .filter_map(|outgoing| select::needed_by(self, *outgoing))
            .collect();
        for encoding in wanted {
            // Others may have asked in vain for long; who is new does not wait for that.
            self.model.encodings[encoding].key_frame.renew();
            self.want_key_frame(encoding);
        }
    }

    /// From now on this SSRC means this encoding. Another one that meant it is forgotten, with everything known of it.
    pub(crate) fn learn(&mut self, transport: u32, source: Source) -> Source {
        let fresh = self.next_source();
        let encoding = &mut self.model.encodings[source.encoding];
        let slot = match source.role {
            Role::Media => &mut encoding.ssrc,
            Role::Rtx => &mut encoding.rtx_ssrc,
        };
        let before = slot.replace(source.ssrc);
        if source.role == Role::Media && encoding.last_arrival.is_some() {
            encoding.restart(fresh);
            self.quota.clear(&mut encoding.cache, &mut self.orphans);
        }
        let transport = &mut self.model.transports[transport];
        if let (Some(before), Some(inbound)) = (before, &mut transport.inbound)
            && before != source.ssrc
        {
            inbound.forget(before);
        }
        let sources = &mut transport.sources;
        sources.retain(|known| Some(known.ssrc) != before || known.encoding != source.encoding);
        sources.push(source);
        source
    }

    /// Does what the agent of a transport wants done.
    pub(crate) fn drain_ice(&mut self, key: u32) {
        let mut closed = None;
        loop {
            let transport = &mut self.model.transports[key];
            let Some(output) = transport.ice.poll() else {
                break;
            };
            match output {
                ice::Output::Send { to, datagram } => {
                    let path = transport.path(to);
                    self.outbox
                        .push(&mut self.stats, path, PacketKind::Stun, &datagram);
                }
                ice::Output::Event(ice::Event::Checked(address)) => {
                    self.model.claim_address(address, key);
                }
                ice::Output::Event(ice::Event::Forgotten(address)) => {
                    transport.paths.retain(|path| path.remote != address);
                    self.model.forget_address(address, key);
                }
                ice::Output::Event(ice::Event::Selected { address, .. }) => {
                    self.select_path(key, address);
                }
                ice::Output::Event(ice::Event::ConsentLost) => {
                    closed = Some(CloseReason::ConsentLost);
                }
                ice::Output::Event(ice::Event::Timeout) => closed = Some(CloseReason::IceTimeout),
            }
        }
        if let Some(reason) = closed {
            self.close(key, reason);
        } else if let Some(deadline) = self.model.transports[key].ice.deadline() {
            self.wheel.schedule(key, deadline);
        }
    }

    fn close(&mut self, key: u32, reason: CloseReason) {
        let transport = self.model.transports[key].id;
        if reason == CloseReason::IceTimeout {
            standing::tell_last(self, key);
        }
        commands::remove_transport(self, key);
        self.push_event(Event::Closed { transport, reason });
        self.count_model();
    }

    fn select_path(&mut self, key: u32, address: std::net::SocketAddr) {
        let transport = &mut self.model.transports[key];
        let path: Path = transport.path(address);
        *self.stats.transports(transport.state()) -= 1;
        let before = transport.selected.replace(path);
        let first = before.is_none();
        if before.is_some_and(|before| before.remote != path.remote || before.local != path.local) {
            congestion::on_new_path(transport);
        }
        self.model.exits[key].path = Some(path);
        *self.stats.transports(transport.state()) += 1;
        let id = transport.id;
        // Asked for by peers as often as they like, so it gives way.
        if let Some(local) = path.local
            && !self.events_are_full()
        {
            let remote = path.remote;
            self.push_event(Event::PathSelected {
                transport: id,
                remote,
                local,
            });
        }
        if first {
            self.model.stop_awaiting(key);
            self.push_event(Event::IceConnected(id));
            self.want_key_frames_for(key);
        }
    }

    /// The timers of one transport.
    fn serve(&mut self, now: Instant, key: u32) {
        let Some(transport) = self.model.transports.get_mut(key) else {
            return;
        };
        if transport.ice.deadline().is_some_and(|due| due <= now) {
            transport.ice.on_timeout(now);
            self.drain_ice(key);
        }
        if self.model.transports.get(key).is_none() {
            return;
        }
        feedback::serve(self, now, key);
        congestion::serve(self, now, key);
        standing::serve(self, now, key);
        let ice = self.model.transports[key].ice.deadline();
        let feedback = feedback::deadline(&self.model, key);
        let paced = congestion::deadline(&self.model, key);
        let look = self.model.transports[key].standing.due;
        let deadline = ice.into_iter().chain(feedback).chain(paced).min();
        self.wheel
            .schedule(key, deadline.map_or(look, |deadline| deadline.min(look)));
    }

    /// Adds to a stage what it took since the last look at the counter.
    pub(crate) fn lap(&mut self, stage: Stage, since: &mut u64) {
        let now = (self.config.cycles)();
        self.stats.stage_mut(stage).cycles += now.wrapping_sub(*since);
        *since = now;
    }

    /// What the last flush wrote has left meanwhile; that is how long its packets were here.
    fn note_departures(&mut self, bursts: &Bursts) {
        let left = self.last_burst.and_then(|burst| bursts.sent_at(burst));
        match left {
            Some(left) => {
                for arrival in self.departing.drain(..) {
                    let stay = left.saturating_since(arrival).as_nanos();
                    self.stats.latency.record(stay as u64);
                }
                self.last_burst = None;
            }
            // Nothing of it left, or it is not known when.
            None if self.last_burst.is_none() => self.departing.clear(),
            None => self.departing.truncate(DEPARTING_MAX),
        }
    }

    fn release_orphans(&mut self, arena: &mut Arena) {
        for slot in self.orphans.drain(..) {
            arena.release(slot);
        }
    }

    /// Runs that lead nowhere any more are dropped here and not found later.
    pub(crate) fn drop_runs(&mut self, transport: u32, gone: impl Fn(u32) -> bool) {
        let exit = &mut self.model.exits[transport];
        let mut packets = u64::from(self.queue.drop_runs(exit, &gone));
        let paced = &mut self.paced_packets;
        if let Some(numbered) = &mut self.model.transports[transport].numbered {
            let orphans = &mut self.orphans;
            numbered.pacer.remove(gone, |held| {
                packets += 1;
                *paced -= 1;
                orphans.push(held.packet.slot);
            });
        }
        self.stats.stage_mut(Stage::Rewrite).held -= packets;
        self.stats
            .drop_many(Stage::Rewrite, DropReason::Gone, packets);
    }

    /// Brings the gauges up to date.
    fn count_model(&mut self) {
        let stats = &mut self.stats;
        // What comes from another worker is counted there.
        let (remote, remote_encodings) = self.taps.count(stats);
        stats.publishers = self.model.publishers.len() as u64 - remote;
        stats.subscribers = self.model.subscribers.len() as u64;
        stats.encodings = self.model.encodings.len() as u64 - remote_encodings;
    }
}
