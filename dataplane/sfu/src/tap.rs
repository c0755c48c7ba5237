//! The same packets to another worker, and from one.
//!
//! A session may be larger than a worker. Where a publisher has its transport, a *tap* per worker with subscribers hands every
//! packet that is forwarded over once, decrypted, with what is known of it ([`Crossed`]); over there it enters at `route`,
//! under a publisher without a transport that has a cache, subscribers and key-frame requests like any other. What must
//! reach the publisher's peer is said where its transport is: reports, NACK and congestion feedback never cross, and what
//! subscribers want of it crosses back as a [`Wish`].
//!
//! How the bytes get there is the caller's business: it lends slots, copies, and says when there was none.

use std::collections::VecDeque;

use clock::{Instant, NtpTime, Rng};
use foldhash::SharedSeed;
use foldhash::quality::SeedableRandomState;
use packet::{Arena, SlotId};

use crate::api::{PublisherId, TapId};
use crate::discard::{DropReason, Stage};
use crate::engine::Engine;
use crate::model::encoding::Sighting;
use crate::model::layers::Places;
use crate::model::packet::Packet;
use crate::model::publisher::{Origin, Tap};
use crate::model::{Map, Medium, Publisher};
use crate::select;
use crate::stats::Stats;

/// Wishes that may wait for the mailbox. What finds no room is wished again, as everything is that remains unfulfilled.
const WISHES_MAX: usize = 1024;
/// Packets that may cross in one turn. There are never so many slots that other workers have lent.
const CROSSING_MAX: usize = 8192;

/// Everything that is known of a packet on its way to another worker but its bytes. Those lie at the start of the slot.
#[derive(Clone, Copy, Debug)]
pub struct Crossed {
    tap: TapId,
    /// Place among the publisher's media, and of the encoding among the medium's.
    medium: u8,
    encoding: u8,
    /// The encodings that arrive, whether they cross or not.
    arriving: Places,
    /// Names the RTP stream on the worker that received it.
    source: u32,
    arrival: Option<Instant>,
    sender_report: Option<(NtpTime, u32, Instant)>,
    /// Its slot and its encoding mean something at home only.
    packet: Packet,
}

/// What a worker with subscribers wants of the one with the publisher.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// A key frame of an encoding.
    KeyFrame {
        /// Through which tap.
        tap: TapId,
        /// Place among the publisher's media.
        medium: u8,
        /// Place among the encodings of the medium.
        encoding: u8,
    },
    /// Packets of these encodings, and of no others.
    Encodings {
        /// Through which tap.
        tap: TapId,
        /// Place among the publisher's media.
        medium: u8,
        /// A bit for each place among the encodings of the medium.
        wanted: u8,
    },
}

/// All taps of an engine.
#[derive(Debug)]
pub(crate) struct Taps {
    /// Key of the publisher here.
    outgoing: Map<TapId, u32>,
    /// Key of the publisher without a transport.
    incoming: Map<TapId, u32>,
    /// How many of those come from each worker.
    from: Vec<u32>,
    encodings: u64,
    /// Packets of this turn that are to cross.
    crossing: Vec<Crossing>,
    /// Encodings from elsewhere of which somebody may want a key frame.
    wanting: Vec<u32>,
    wishes: VecDeque<(u16, Wish)>,
}

#[derive(Clone, Copy, Debug)]
struct Crossing {
    tap: Tap,
    /// Where it lies in the queue.
    packet: u32,
}

impl Taps {
    pub(crate) fn new(rng: &mut Rng) -> Self {
        let mut state =
            || SeedableRandomState::with_seed(rng.next_u64(), SharedSeed::global_fixed());
        Self {
            outgoing: Map::with_hasher(state()),
            incoming: Map::with_hasher(state()),
            from: Vec::new(),
            encodings: 0,
            crossing: Vec::with_capacity(CROSSING_MAX),
            wanting: Vec::new(),
            wishes: VecDeque::with_capacity(WISHES_MAX),
        }
    }

    /// Somebody wants a key frame of an encoding that comes from elsewhere.
    pub(crate) fn want(&mut self, encoding: u32) {
        if !self.wanting.contains(&encoding) {
            self.wanting.push(encoding);
        }
    }

    /// Sets the gauges. Returns the publishers and encodings that come from elsewhere.
    pub(crate) fn count(&self, stats: &mut Stats) -> (u64, u64) {
        stats.taps_out = self.outgoing.len() as u64;
        stats.taps_in = self.incoming.len() as u64;
        (stats.taps_in, self.encodings)
    }
}

/// The caller's side of crossing.
impl Engine {
    /// Takes over a packet from another worker; to be called before [`Engine::receive`]. The one reference to `slot` is the
    /// engine's from now on.
    pub fn take_in(&mut self, now: Instant, slot: SlotId, crossed: &Crossed) {
        self.stats.stage_mut(Stage::CrossIn).packets_in += 1;
        match arrive(self, now, slot, crossed) {
            Ok(packet) => {
                self.stats.stage_mut(Stage::CrossIn).packets_out += 1;
                self.media.push(packet);
            }
            Err(reason) => {
                self.stats.drop_at(Stage::CrossIn, reason);
                self.orphans.push(slot);
            }
        }
    }

    /// Hands this turn's packets to other workers; to be called between [`Engine::receive`] and [`Engine::flush`].
    ///
    /// `hand_over` copies the bytes to the start of a slot that the worker has lent, and sends the slot back with what is
    /// known of the packet; or it says why there is no such slot, and the packet is dropped for that reason.
    pub fn cross(
        &mut self,
        arena: &Arena,
        mut hand_over: impl FnMut(u16, &Crossed, &[u8]) -> Result<(), DropReason>,
    ) {
        if self.taps.crossing.is_empty() {
            return;
        }
        self.stats.stage_mut(Stage::CrossOut).calls += 1;
        let mut since = self.cycles();
        let mut crossing = core::mem::take(&mut self.taps.crossing);
        for one in crossing.drain(..) {
            self.stats.stage_mut(Stage::CrossOut).held -= 1;
            let packet = self.queue.packet(one.packet);
            let outcome = depart(self, one.tap, packet).and_then(|crossed| {
                let (first, end) = packet.extent();
                let bytes = &arena.bytes(packet.slot)[usize::from(first)..usize::from(end)];
                hand_over(one.tap.worker, &crossed, bytes)
            });
            match outcome {
                Ok(()) => self.stats.stage_mut(Stage::CrossOut).packets_out += 1,
                Err(reason) => self.stats.drop_at(Stage::CrossOut, reason),
            }
        }
        self.taps.crossing = crossing;
        self.lap(Stage::CrossOut, &mut since);
    }

    /// Hears what another worker wants.
    pub fn on_wish(&mut self, wish: Wish) {
        let (Wish::KeyFrame { tap, medium, .. } | Wish::Encodings { tap, medium, .. }) = wish;
        let publisher = self.taps.outgoing.get(&tap);
        let medium = publisher.and_then(|publisher| {
            let media = &self.model.publishers[*publisher].media;
            media.get(usize::from(medium)).copied()
        });
        match (wish, medium) {
            (Wish::KeyFrame { encoding, .. }, medium) => {
                self.stats.key_frame_wishes_received += 1;
                let encodings = medium.map(|medium| &self.model.media[medium].encodings);
                if let Some(&encoding) = encodings.and_then(|all| all.get(usize::from(encoding))) {
                    // How often it was asked for in vain is reckoned over there.
                    self.model.encodings[encoding].key_frame.renew();
                    self.want_key_frame(encoding);
                }
            }
            (Wish::Encodings { wanted, .. }, Some(medium)) => {
                let mut taps = self.model.media[medium].taps.iter_mut();
                if let Some(tap) = taps.find(|one| one.id == tap) {
                    tap.wants = Places::from_bits(wanted);
                }
            }
            (Wish::Encodings { .. }, None) => {}
        }
    }

    /// What another worker is asked for next, and which.
    pub fn poll_wish(&mut self) -> Option<(u16, Wish)> {
        self.taps.wishes.pop_front()
    }

    /// How many streams come from another worker.
    pub fn taps_from(&self, worker: u16) -> u32 {
        let count = self.taps.from.get(usize::from(worker));
        count.copied().unwrap_or(0)
    }
}

/// Packets of the encoding in that place, `count` from `first` of the queue on, cross once for each worker that wants them.
/// Returns how many will.
pub(crate) fn route(
    taps: &mut Taps,
    stats: &mut Stats,
    medium: &Medium,
    encoding: u8,
    first: u32,
    count: u32,
) -> u64 {
    let mut crossing = 0;
    for tap in &medium.taps {
        if !tap.wants.contains(encoding) {
            continue;
        }
        let before = taps.crossing.len();
        let packets = (first..first + count).take(CROSSING_MAX - before);
        let crossings = packets.map(|packet| Crossing { tap: *tap, packet });
        taps.crossing.extend(crossings);
        let held = (taps.crossing.len() - before) as u64;
        let cells = stats.stage_mut(Stage::CrossOut);
        cells.packets_in += u64::from(count);
        cells.held += held;
        stats.drop_many(Stage::CrossOut, DropReason::NoLoan, u64::from(count) - held);
        crossing += u64::from(count);
    }
    crossing
}

/// What nobody came to hand over is dropped with the turn.
pub(crate) fn abandon(engine: &mut Engine) {
    for _ in engine.taps.crossing.drain(..) {
        engine.stats.stage_mut(Stage::CrossOut).held -= 1;
        engine.stats.drop_at(Stage::CrossOut, DropReason::NoLoan);
    }
}

/// A tap of a publisher here.
pub(crate) fn add(engine: &mut Engine, id: TapId, publisher: PublisherId, worker: u16) {
    let Some(&key) = engine.model.publisher_keys.get(&publisher) else {
        return;
    };
    let publisher = &engine.model.publishers[key];
    let is_here = matches!(publisher.origin, Origin::Transport(_));
    if !is_here || engine.taps.outgoing.contains_key(&id) {
        return;
    }
    for medium in &publisher.media {
        let taps = &mut engine.model.media[*medium].taps;
        taps.push(Tap {
            id,
            worker,
            wants: Places::ALL,
        });
    }
    engine.taps.outgoing.insert(id, key);
}

/// The other worker needs it no longer.
pub(crate) fn remove(engine: &mut Engine, id: TapId) {
    let Some(publisher) = engine.taps.outgoing.remove(&id) else {
        return;
    };
    for medium in &engine.model.publishers[publisher].media {
        let taps = &mut engine.model.media[*medium].taps;
        taps.retain(|tap| tap.id != id);
    }
}

/// A publisher without a transport has been stored.
pub(crate) fn begin(engine: &mut Engine, id: TapId, worker: u16, publisher: u32) {
    engine.taps.incoming.insert(id, publisher);
    *count_at(&mut engine.taps.from, worker) += 1;
    engine.taps.encodings += encodings(engine, &engine.model.publishers[publisher]);
    // Each of them may be wanted, and some that went away meanwhile are still listed.
    let wanted_max = engine.taps.encodings as usize;
    engine.taps.wanting.reserve(wanted_max);
}

/// A publisher of either sort goes, and its media are still there.
pub(crate) fn end(engine: &mut Engine, key: u32, publisher: &Publisher) {
    match publisher.origin {
        Origin::Tap { tap, worker } => {
            engine.taps.incoming.remove(&tap);
            *count_at(&mut engine.taps.from, worker) -= 1;
            engine.taps.encodings -= encodings(engine, publisher);
        }
        Origin::Transport(_) => {
            engine.taps.outgoing.retain(|_, of| *of != key);
        }
    }
}

fn encodings(engine: &Engine, publisher: &Publisher) -> u64 {
    let media = publisher.media.iter();
    media
        .map(|medium| engine.model.media[*medium].encodings.len() as u64)
        .sum()
}

/// Asks other workers for the key frames that are due.
pub(crate) fn serve(engine: &mut Engine, now: Instant) {
    if engine.taps.wanting.is_empty() {
        return;
    }
    let mut wanting = core::mem::take(&mut engine.taps.wanting);
    wanting.retain(|key| ask(engine, now, *key));
    engine.taps.wanting = wanting;
}

/// Says which encodings of a medium from elsewhere are wanted here, if that has changed. At least one crosses always, for with
/// its packets comes the news about the others.
fn tell(engine: &mut Engine, key: u32) {
    let medium = &mut engine.model.media[key];
    let Origin::Tap { tap, worker } = medium.origin else {
        return;
    };
    let mut wanted = medium.wanted();
    if wanted.and(medium.arriving).is_empty() {
        wanted = wanted.or(medium.arriving.lowest().into());
    }
    let is_known = medium.told.unwrap_or(Places::ALL).and(medium.places()) == wanted;
    if is_known || wanted.is_empty() || engine.taps.wishes.len() >= WISHES_MAX {
        return;
    }
    medium.told = Some(wanted);
    let wish = Wish::Encodings {
        tap,
        medium: medium.place,
        wanted: wanted.bits(),
    };
    engine.taps.wishes.push_back((worker, wish));
}

/// Whether the encoding still wants a key frame.
fn ask(engine: &mut Engine, now: Instant, key: u32) -> bool {
    let Some(encoding) = engine.model.encodings.get_mut(key) else {
        return false;
    };
    let medium = &engine.model.media[encoding.medium];
    let Origin::Tap { tap, worker } = medium.origin else {
        return false;
    };
    if !medium.is_wanted(encoding.place) {
        encoding.key_frame.give_up();
    }
    if encoding.key_frame.deadline().is_none() {
        return false;
    }
    if engine.taps.wishes.len() + 1 < WISHES_MAX && encoding.key_frame.poll(now) {
        let wish = Wish::KeyFrame {
            tap,
            medium: medium.place,
            encoding: encoding.place,
        };
        let of = encoding.medium;
        // First of all its packets must cross.
        tell(engine, of);
        engine.taps.wishes.push_back((worker, wish));
        engine.stats.key_frame_wishes_sent += 1;
    }
    true
}

/// When [`serve`] has something to do.
pub(crate) fn deadline(engine: &Engine) -> Option<Instant> {
    let wanting = engine.taps.wanting.iter();
    wanting
        .filter_map(|key| engine.model.encodings.get(*key)?.key_frame.deadline())
        .min()
}

fn depart(engine: &Engine, tap: Tap, packet: &Packet) -> Result<Crossed, DropReason> {
    let encoding = engine.model.encodings.get(packet.encoding);
    let encoding = encoding.ok_or(DropReason::Gone)?;
    if packet.source != encoding.source {
        return Err(DropReason::Superseded);
    }
    let medium = &engine.model.media[encoding.medium];
    Ok(Crossed {
        tap: tap.id,
        medium: medium.place,
        encoding: encoding.place,
        arriving: medium.arriving,
        source: encoding.source,
        arrival: encoding.last_arrival,
        sender_report: encoding.sender_report,
        // The bytes from the first that is needed lie at the start over there.
        packet: packet.moved(packet.slot, packet.extent().0),
    })
}

/// What a packet from elsewhere means here.
fn arrive(
    engine: &mut Engine,
    now: Instant,
    slot: SlotId,
    crossed: &Crossed,
) -> Result<Packet, DropReason> {
    let publisher = engine.taps.incoming.get(&crossed.tap);
    let publisher = *publisher.ok_or(DropReason::Gone)?;
    let media = &engine.model.publishers[publisher].media;
    let medium = *media
        .get(usize::from(crossed.medium))
        .ok_or(DropReason::Gone)?;
    let of = &engine.model.media[medium];
    let key = *of
        .encodings
        .get(usize::from(crossed.encoding))
        .ok_or(DropReason::Gone)?;
    if engine.model.encodings[key].crossed_source != Some(crossed.source) {
        change_source(engine, key, crossed.source);
    }
    let encoding = &mut engine.model.encodings[key];
    match encoding.seen.note(crossed.packet.sequence) {
        Sighting::New => {}
        Sighting::Again => return Err(DropReason::Duplicate),
        Sighting::TooOld => return Err(DropReason::TooOld),
    }
    encoding.last_arrival = crossed.arrival;
    let (first, end) = crossed.packet.extent();
    encoding.bytes += u64::from(end.saturating_sub(first));
    let before = core::mem::replace(&mut encoding.sender_report, crossed.sender_report);
    if before.is_none() && crossed.sender_report.is_some() {
        engine.report_soon(now, medium);
    }
    if crossed.packet.key_frame {
        engine.model.encodings[key].key_frame.satisfied();
    }
    if engine.model.media[medium].has_layers() {
        select::on_arriving(engine, medium, crossed.arriving);
        tell(engine, medium);
    }
    let mut packet = crossed.packet.moved(slot, 0);
    packet.encoding = key;
    packet.source = engine.model.encodings[key].source;
    Ok(packet)
}

/// Another RTP stream takes the place of the one before.
fn change_source(engine: &mut Engine, encoding: u32, source: u32) {
    let fresh = engine.next_source();
    let encoding = &mut engine.model.encodings[encoding];
    if encoding.crossed_source.replace(source).is_some() {
        encoding.restart(fresh);
        engine.quota.clear(&mut encoding.cache, &mut engine.orphans);
    }
}

fn count_at(counts: &mut Vec<u32>, worker: u16) -> &mut u32 {
    let index = usize::from(worker);
    if index >= counts.len() {
        counts.resize(index + 1, 0);
    }
    &mut counts[index]
}
