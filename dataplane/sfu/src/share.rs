//! Who gets what of the way to a person: tells subscriptions which encoding they may have.
//!
//! Where our own estimate (`congestion.rs`) is known it decides: down at once when packets begin to queue or to be lost, up when
//! it says that more fits, and probes find that out. After a step up that was too much the next comes twice as late.
//!
//! Sound comes first: where it stays too much although everybody has only the lowest encoding, pictures are paused until they
//! fit again, the less important first. As long as there is room for sound and any one of them, one goes on.
//!
//! Elsewhere browsers may say what they can take (REMB). Down it goes at once, when one says that it is too much. Up it goes when
//! more fits, or as an attempt: such estimates hardly grow beyond what is sent, so only trying shows whether there is room.
//! One attempt at a time.

use clock::{Duration, Instant};
use proto::bwe::Estimator;
use proto::rtcp::Remb;

use crate::allocate::{Wanted, allocate, margin};
use crate::api::{ConnectionId, Kind};
use crate::budget::Outlook;
use crate::congestion::{self, Change, Told, View};
use crate::engine::Engine;
use crate::feedback::outgoing_with;
use crate::model::layers::Room;
use crate::model::subscriber::Stance;
use crate::model::{Encoding, Medium, Model, Outgoing};
use crate::select;

/// How often a connection is looked at while browsers estimate for it.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);
/// The same when an estimate has just fallen.
const LOOK_INTERVAL_MIN: Duration = Duration::from_millis(100);
/// More is tried so long after there was too much, at first and at last, and after half of that where we measure ourselves.
const PATIENCE_MIN: Duration = Duration::from_secs(4);
const PATIENCE_MAX: Duration = Duration::from_secs(60);
/// An attempt is judged after so long, and has failed if there is too much before it is over.
const ATTEMPT: Duration = Duration::from_secs(3);
const TRIAL: Duration = Duration::from_secs(10);
/// An attempt at more than this part of the budget is given up at the first sign that it is too much.
const BOLD_PERCENT: u64 = 130;
/// Pictures are paused only if the lowest encodings of all were too much for so long: their key frames take a while on a slow
/// path, and so does what waits on it from before.
const CROWDED: Duration = Duration::from_millis(1_200);
/// What waits on the way when pictures are paused is gone after so long.
const RELIEF: Duration = Duration::from_secs(2);
/// Of what a way was found to carry then so much may be used.
const CARRIED_PERCENT: u64 = 90;
/// After so long one of them is, however much seems to arrive.
const HOPELESS: Duration = Duration::from_secs(4);
/// So long a look that finds nothing wrong does not end that.
const CROWDED_STILL: Duration = Duration::from_millis(1_000);
/// What waits on the way is given so long at most to leave.
const DRAINING_MAX: Duration = Duration::from_millis(800);
/// Key frames, which every change begins with, fill a slow path for so long.
const GRACE: Duration = Duration::from_secs(1);
/// More than what was too much by this part is something else, however recent the failure.
const GROWN_PERCENT: u64 = 130;
/// Below this part of what there is nobody need wait for others.
const AMPLE_PERCENT: u64 = 60;
/// Most RTP streams named by an estimate that are looked up.
const NAMED_MAX: usize = 8;
/// What the lowest encoding takes until it was measured, in bit/s, and how much more each further one.
const BASE_DEFAULT: u64 = 150_000;
const STEP_DEFAULT: u64 = 3;

/// All transports of a person: their estimates share one bottleneck.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) id: Option<ConnectionId>,
    /// Keys.
    pub(crate) transports: Vec<u32>,
    /// When to look again; `None` while nobody estimates.
    pub(crate) due: Option<Instant>,
    looked: Option<Instant>,
    /// Whether somebody has less than there is.
    limited: bool,
    /// Somebody's picture is paused.
    is_pausing: bool,
    /// Not everybody can have what there is, or what is sent is too much already.
    pub(crate) is_short: bool,
    patience: Duration,
    /// Nobody gets more before this.
    not_before: Instant,
    /// When somebody last got more, while that may prove wrong.
    raised: Option<Raised>,
    /// When somebody last got more or less.
    changed: Option<(Instant, Change)>,
    /// Since when what waits on the way is left to leave.
    draining: Option<Instant>,
    /// Who got it, if that was an attempt.
    attempt: Option<u32>,
    /// What estimates do until then is not heeded.
    grace: Option<Instant>,
    /// Of the way to all transports, if what is sent on one of them is numbered.
    pub(crate) estimator: Option<Box<Estimator>>,
    /// What it said when it was looked at last.
    pub(crate) seen: u64,
    /// What it said when there was too much, if somebody got less for that.
    failed: Option<u64>,
    /// There is too much, if nobody got less or more since.
    crowded: Option<Crowded>,
    /// That can't be told before.
    relieved: Instant,
}

/// Somebody got more.
#[derive(Clone, Copy, Debug)]
struct Raised {
    at: Instant,
    /// What the estimate was.
    seen: u64,
}

/// There is too much.
#[derive(Clone, Copy, Debug)]
struct Crowded {
    since: Instant,
    /// When that was seen last.
    last: Instant,
    /// What had arrived when it began to last. What arrives since is what the way carries, while estimates only fall for as long as
    /// queues are full.
    mark: Option<Told>,
}

impl Connection {
    pub(crate) fn new(id: Option<ConnectionId>) -> Self {
        Self {
            id,
            transports: Vec::new(),
            due: None,
            looked: None,
            limited: false,
            is_pausing: false,
            is_short: false,
            patience: PATIENCE_MIN,
            not_before: Instant::ZERO,
            raised: None,
            changed: None,
            draining: None,
            attempt: None,
            grace: None,
            estimator: None,
            seen: 0,
            failed: None,
            crowded: None,
            relieved: Instant::ZERO,
        }
    }

    /// Something has changed.
    pub(crate) fn look_soon(&mut self, now: Instant) {
        let soonest = self
            .looked
            .map_or(now, |looked| now.max(looked + LOOK_INTERVAL_MIN));
        self.due = Some(self.due.map_or(soonest, |due| due.min(soonest)));
    }

    fn on_lowered(&mut self, now: Instant) {
        self.attempt = None;
        let raised = self.raised.take();
        // Where hardly half is left of what there was, that is not because of what was raised.
        let is_failure = |raised: Raised| now - raised.at < TRIAL && self.seen >= raised.seen / 2;
        if raised.is_some_and(is_failure) {
            self.patience = (self.patience * 2).min(PATIENCE_MAX);
        }
        self.changed = Some((now, Change::Less));
        self.not_before = match self.estimator {
            Some(_) => now + self.patience / 2,
            None => now + self.patience,
        };
        self.crowded = None;
        self.failed = self.estimator.is_some().then_some(self.seen);
    }

    /// Whether somebody may get more, if it fits.
    fn may_raise(&self, now: Instant) -> bool {
        let grown = self.failed.map(|failed| failed * GROWN_PERCENT / 100);
        self.not_before <= now || grown.is_some_and(|grown| self.seen > grown)
    }

    /// What the way may not show yet.
    fn last_change(&self, now: Instant) -> Option<Change> {
        let recent = self.changed.filter(|(at, _)| now - *at < GRACE);
        recent.map(|(_, change)| change)
    }

    /// Whether what waits on the way is left to leave, as it is seen now.
    fn is_draining(&self, now: Instant, view: Option<View>) -> bool {
        let waits = view.is_some_and(|view| !view.has_drained());
        self.draining
            .is_some_and(|since| now - since < DRAINING_MAX)
            && waits
    }

    /// What was granted may begin. Whether anything waited for that.
    fn end_draining(&mut self, now: Instant) -> bool {
        let ends = self.draining.take().is_some();
        if ends {
            self.changed = Some((now, Change::More));
            self.set_draining(false);
        }
        ends
    }

    /// What waits on the way is left to leave.
    fn drain(&mut self, now: Instant) {
        self.draining = Some(now);
        self.set_draining(true);
        self.look_soon(now);
    }

    fn set_draining(&mut self, is_draining: bool) {
        if let Some(estimator) = &mut self.estimator {
            estimator.set_draining(is_draining);
        }
    }

    fn on_raised(&mut self, now: Instant, attempt: Option<u32>, is_bold: bool) {
        self.raised = Some(Raised {
            at: now,
            seen: self.seen,
        });
        self.changed = Some((now, Change::More));
        self.crowded = None;
        self.attempt = attempt;
        self.grace = (!is_bold).then_some(now + GRACE);
        self.not_before = now + attempt.map_or(GRACE, |_| ATTEMPT);
    }

    /// There is far too much now, and so much has arrived in all.
    fn on_crowded(&mut self, now: Instant, told: Told) {
        if now < self.relieved {
            return;
        }
        let lasts = |last: Instant| now.saturating_since(last) <= CROWDED_STILL;
        let before = self.crowded.filter(|crowded| lasts(crowded.last));
        let mut crowded = before.unwrap_or(Crowded {
            since: now,
            last: now,
            mark: None,
        });
        crowded.last = now;
        // Before that it may be what came before it was too much.
        if now - crowded.since >= CROWDED / 4 {
            crowded.mark.get_or_insert(told);
        }
        self.crowded = Some(crowded);
    }

    /// What the way carries, in bit/s, where so much was told to have arrived of what is sent at a rate of `sent`, if there is too much
    /// for so long that it won't end by itself.
    fn carried(&self, told: Told, sent: u64) -> Option<u64> {
        let crowded = self.crowded?;
        let mark = crowded.mark?;
        let passed = told.at.saturating_since(mark.at).as_millis() as u64;
        let is_lasting = crowded.last - crowded.since >= CROWDED && passed > 0;
        let bits = told.bytes.saturating_sub(mark.bytes) * 8_000;
        // Whatever it seems to carry then, it is less than what is sent.
        let is_hopeless = crowded.last - crowded.since >= HOPELESS;
        let most = if is_hopeless {
            sent.saturating_sub(1)
        } else {
            u64::MAX
        };
        is_lasting.then(|| most.min(bits / passed * CARRIED_PERCENT / 100))
    }

    /// Pictures were paused. What waits on the way must leave before it is known whether that was enough.
    fn on_paused(&mut self, now: Instant) {
        self.relieved = now + RELIEF;
    }

    /// An RTP stream is gone, and its key may come to mean another.
    pub(crate) fn forget(&mut self, outgoing: u32) {
        self.attempt = self.attempt.filter(|attempt| *attempt != outgoing);
    }

    /// Nothing speaks against what was raised.
    fn on_calm(&mut self, now: Instant) {
        if self.raised.is_some_and(|raised| now - raised.at >= TRIAL) {
            (self.raised, self.attempt) = (None, None);
            self.patience = PATIENCE_MIN;
        }
    }
}

/// A browser says what the way to it can take.
pub(crate) fn on_estimate(engine: &mut Engine, now: Instant, key: u32, remb: &Remb<'_>) {
    if !engine.config.follow_remb {
        return;
    }
    let model = &mut engine.model;
    let mut named = remb.ssrcs().take(NAMED_MAX);
    if !named.any(|ssrc| outgoing_with(model, key, ssrc).is_some()) {
        return;
    }
    let transport = &mut model.transports[key];
    let falls = transport.downlink.on_estimate(remb.bits_per_second, now);
    let connection = &mut model.connections[transport.connection];
    if falls || connection.due.is_none() {
        connection.look_soon(now);
    }
    if let Some(due) = connection.due {
        engine.wheel.schedule(key, due);
    }
}

/// Somebody on this transport begins to listen. Where there is little room it begins with the least, and where others are
/// paused for want of it with nothing.
pub(crate) fn on_subscribed(engine: &mut Engine, now: Instant, subscriber: u32) {
    for nth in 0..engine.model.subscribers[subscriber].outgoing.len() {
        let outgoing = engine.model.subscribers[subscriber].outgoing[nth];
        begin(engine, now, outgoing);
    }
    let model = &mut engine.model;
    let transport = model.subscribers[subscriber].transport;
    let connection = &mut model.connections[model.transports[transport].connection];
    if !connection.limited {
        return;
    }
    connection.due = Some(now);
    let room = match connection.is_pausing {
        true => Room::Nothing,
        false => Room::UpTo(0),
    };
    engine.wheel.schedule(transport, now);
    for nth in 0..engine.model.subscribers[subscriber].outgoing.len() {
        let outgoing = engine.model.subscribers[subscriber].outgoing[nth];
        select::grant(engine, outgoing, room);
    }
}

/// An RTP stream may have got a choice among encodings.
pub(crate) fn begin(engine: &mut Engine, now: Instant, outgoing: u32) {
    congestion::begin(engine, now, outgoing);
    let model = &mut engine.model;
    let transport = model.outgoing[outgoing].transport;
    let connection = &mut model.connections[model.transports[transport].connection];
    connection.limited |= connection.estimator.is_some();
}

/// Shares anew if it is time to.
pub(crate) fn serve(engine: &mut Engine, now: Instant, key: u32) {
    let key = engine.model.transports[key].connection;
    let connection = &engine.model.connections[key];
    if connection.due.is_none_or(|due| due > now) {
        return;
    }
    let view = congestion::view(&mut engine.model, now, key);
    let connection = &mut engine.model.connections[key];
    if connection.is_draining(now, view) {
        connection.due = Some(now + LOOK_INTERVAL_MIN);
        return;
    }
    let resumes = connection.end_draining(now);
    // What still waits although so little was sent is not ours, or hardly leaves: whatever comes next begins with the least.
    let is_stuck = resumes && view.is_some_and(|view| view.is_blocked());
    let mut wanted = core::mem::take(&mut engine.wanted);
    wanted.clear();
    let mut outlook = look(engine, now, (key, view), &mut wanted);
    if is_stuck {
        outlook = Outlook::stuck();
    }
    let connection = &mut engine.model.connections[key];
    connection.seen = view.map_or(0, |view| view.estimate);
    connection.looked = Some(now);
    connection.due = outlook.is_known.then_some(now + LOOK_INTERVAL);
    let lacks = wanted.iter().any(|one| one.has < one.top());
    connection.is_short = outlook.is_known && (outlook.is_congested || lacks);
    if outlook.is_known && !outlook.is_congested {
        connection.on_calm(now);
    }
    if !outlook.is_known {
        if core::mem::take(&mut connection.limited) {
            set_free(engine, key);
        }
    } else if connection.is_short {
        if outlook.is_measured {
            probe(engine, now, &wanted);
        }
        divide(engine, now, key, outlook, &mut wanted);
    }
    let connection = &mut engine.model.connections[key];
    let is_paused = |one: &Wanted| one.encoding(one.gets).is_none();
    connection.is_pausing = connection.is_short && wanted.iter().any(is_paused);
    engine.wanted = wanted;
    if resumes && connection.draining.is_none() {
        each_stream(engine, key, select::resume);
    }
}

/// Nothing is known of the way any more: everybody gets everything, also who waits for a picture that does not come now.
fn set_free(engine: &mut Engine, key: u32) {
    each_stream(engine, key, |engine, outgoing| {
        select::grant(engine, outgoing, Room::Unknown);
    });
}

/// Does something for each RTP stream on a connection.
fn each_stream(engine: &mut Engine, key: u32, what: impl Fn(&mut Engine, u32)) {
    for nth in 0..engine.model.connections[key].transports.len() {
        let transport = engine.model.connections[key].transports[nth];
        for nth in 0..engine.model.transports[transport].outgoing.len() {
            let outgoing = engine.model.transports[transport].outgoing[nth];
            what(engine, outgoing);
        }
    }
}

/// Finds out whether there is room for what people do not have.
fn probe(engine: &mut Engine, now: Instant, wanted: &[Wanted]) {
    // Better where something is lacking, but all are on one way.
    let model = &engine.model;
    let lacking = wanted.iter().filter(|one| one.has < one.top());
    let transports = lacking.chain(wanted);
    let mut transports = transports.map(|one| model.outgoing[one.outgoing].transport);
    let Some(transport) = transports.find(|key| congestion::can_probe(model, *key)) else {
        return;
    };
    let all: u64 = wanted.iter().map(|one| one.price(one.top())).sum();
    let goal = all.saturating_add(all.saturating_mul(margin(wanted)) / 100);
    congestion::probe(engine, now, transport, goal);
}

/// What everybody on a connection could have, and what is known of what they get.
fn look(
    engine: &mut Engine,
    now: Instant,
    (key, view): (u32, Option<View>),
    wanted: &mut Vec<Wanted>,
) -> Outlook {
    let model = &mut engine.model;
    let mut outlook = Outlook::default();
    let (mut numbered, mut others) = (0, 0);
    for &of in &model.connections[key].transports {
        let transport = &model.transports[of];
        let first = wanted.len();
        for &outgoing in &transport.outgoing {
            let stream = &model.outgoing[outgoing];
            let Some(medium) = stream.medium.and_then(|medium| model.media.get(medium)) else {
                continue;
            };
            for encoding in &medium.encodings {
                let encoding = &mut model.encodings[*encoding];
                encoding.rate.read(encoding.bytes as u32, now);
            }
            let encodings = |place: u8| &model.encodings[medium.encodings[usize::from(place)]];
            let can_pause = view.is_some() && transport.numbered.is_some();
            wanted.extend(wish(stream, outgoing, medium, can_pause, encodings));
        }
        let has: u64 = wanted[first..].iter().map(|one| one.price(one.has)).sum();
        outlook.add(&transport.downlink, has, now);
        match transport.numbered {
            Some(_) => numbered += has,
            None => others += has,
        }
    }
    let Some(view) = view else {
        return outlook;
    };
    set_shares(model, key, wanted, numbered);
    let change = model.connections[key].last_change(now);
    let is_congested = view.is_congested(numbered, change);
    let mut outlook = Outlook::measured(view.estimate + others, is_congested);
    outlook.is_blocked = view.is_blocked();
    outlook.is_choked = view.is_choked(numbered);
    outlook.told = Some(view.told);
    outlook
}

/// Each transport leaves the others what they need of the way.
fn set_shares(model: &mut Model, key: u32, wanted: &[Wanted], all: u64) {
    let is_narrow = wanted.iter().any(|one| one.has < one.top());
    for &of in &model.connections[key].transports {
        let own = wanted.iter();
        let own = own.filter(|one| model.outgoing[one.outgoing].transport == of);
        let has: u64 = own.map(|one| one.price(one.has)).sum();
        let share = has as f64 / all.max(1) as f64;
        congestion::set_share(&mut model.transports[of], share, is_narrow);
    }
}

/// What one RTP stream could have; `None` if nothing is sent in it.
fn wish<'a>(
    stream: &Outgoing,
    outgoing: u32,
    medium: &Medium,
    can_pause: bool,
    encoding: impl Fn(u8) -> &'a Encoding,
) -> Option<Wanted> {
    let measured = |place: u8| encoding(place).rate.rate();
    let Some(layers) = &stream.layers else {
        let comes = measured(0).unwrap_or(0);
        // Without its repetition a packet of sound is a little more than half as long.
        let rate = match stream.stance {
            Stance::Plain => comes * 4 / 7,
            _ => comes,
        };
        return Some(Wanted::new(outgoing, 0, rate));
    };
    let mut prices = [0; 8];
    let mut below = None;
    let possible = layers.possible(medium.arriving);
    for place in possible.iter() {
        let guess = below.map_or(BASE_DEFAULT, |below: u64| {
            below.saturating_mul(STEP_DEFAULT)
        });
        let price = measured(place).filter(|rate| *rate > 0).unwrap_or(guess);
        prices[usize::from(place)] = price;
        below = Some(price);
    }
    let mut places = possible.iter();
    let (priority, base) = (medium.priority(), prices[usize::from(places.next()?)]);
    // Only padding of retransmissions shows that there is room again.
    let can_pause = can_pause && stream.kind == Kind::Video && stream.rtx.is_some();
    let mut one = match can_pause {
        true => Wanted::pausable(outgoing, priority, base),
        false => Wanted::new(outgoing, priority, base),
    };
    for place in places {
        one.step(prices[usize::from(place)]);
    }
    let has = layers.granted(possible);
    let has = has.map(|has| possible.iter().filter(|place| *place < has).count() as u8);
    one.has = has.map_or(0, |has| one.step_of(has));
    // Whoever goes up should not have to come down at the next busy picture. A paused one may as well try.
    for (nth, place) in (0..).zip(possible.iter()).skip(1) {
        let step = one.step_of(nth);
        if step > one.has {
            one.reprice(step, encoding(place).rate.busy());
        }
    }
    Some(one)
}

/// Gives everybody a share, and tells those who get another one than they have.
fn divide(engine: &mut Engine, now: Instant, key: u32, outlook: Outlook, wanted: &mut [Wanted]) {
    let connection = &mut engine.model.connections[key];
    connection.limited = true;
    if let Some(until) = connection.grace.filter(|_| !outlook.is_measured) {
        if until <= now {
            connection.grace = None;
            watch(engine, now, key);
        }
        return;
    }
    let crowding = outlook.told.filter(|_| outlook.is_crowded());
    if let Some(told) = crowding {
        connection.on_crowded(now, told);
    }
    let failed = connection.attempt.filter(|_| outlook.is_congested);
    let attempt = match failed {
        Some(outgoing) => {
            undo(wanted, outgoing);
            connection.grace = Some(now + GRACE);
            None
        }
        None => reckon(connection, now, outlook, wanted),
    };
    if wanted.iter().any(|one| one.gets > one.has) {
        let takes: u64 = wanted.iter().map(|one| one.price(one.gets)).sum();
        let is_bold = takes > outlook.budget().saturating_mul(BOLD_PERCENT) / 100;
        connection.on_raised(now, attempt, is_bold);
        watch(engine, now, key);
    } else if failed.is_some() || wanted.iter().any(|one| one.gets < one.has) {
        connection.on_lowered(now);
    }
    let is_paused = |one: &Wanted| one.encoding(one.gets).is_none() && one.gets < one.has;
    if wanted.iter().any(is_paused) {
        engine.model.connections[key].on_paused(now);
    }
    for one in wanted.iter() {
        if give(engine, one, outlook.is_blocked) {
            engine.model.connections[key].drain(now);
        }
    }
}

/// Shares what there is. Returns who gets more than that as an attempt.
fn reckon(
    connection: &Connection,
    now: Instant,
    outlook: Outlook,
    wanted: &mut [Wanted],
) -> Option<u32> {
    let has: u64 = wanted.iter().map(|one| one.price(one.has)).sum();
    // What flows without complaint is no more than there is, however that is reckoned.
    let flows = if outlook.is_congested { 0 } else { has };
    let may_raise = !outlook.is_congested && connection.may_raise(now);
    if !may_raise {
        wanted.iter_mut().for_each(Wanted::stay);
    }
    let crowding = outlook.told.filter(|_| outlook.is_crowded());
    let carried = crowding.and_then(|told| connection.carried(told, has));
    if outlook.is_congested && carried.is_none() {
        wanted.iter_mut().for_each(Wanted::keep);
    }
    let budget = outlook.budget().max(carried.unwrap_or(flows));
    let takes = allocate(budget, wanted);
    if outlook.is_measured && takes > outlook.budget().saturating_mul(AMPLE_PERCENT) / 100 {
        raise_one(wanted);
    }
    let is_same = wanted.iter().all(|one| one.gets == one.has);
    (may_raise && is_same && !outlook.is_measured)
        .then(|| attempt(wanted))
        .flatten()
}

/// Where it is getting narrow only the first of those who could have more gets it, for key frames all come at once. Who has
/// nothing at all comes before the others.
fn raise_one(wanted: &mut [Wanted]) {
    let raised = wanted.iter().filter(|one| one.gets > one.has);
    let first = raised.min_by_key(|one| one.encoding(one.has).is_some());
    let Some(first) = first.map(|one| one.outgoing) else {
        return;
    };
    let others = wanted.iter_mut().filter(|one| one.outgoing != first);
    for one in others.filter(|one| one.gets > one.has) {
        one.gets = one.has;
    }
}

/// Somebody gets a step more than fits: the first of those who have least.
fn attempt(wanted: &mut [Wanted]) -> Option<u32> {
    let candidates = wanted.iter_mut().filter(|one| one.gets < one.top());
    let first = candidates.min_by_key(|one| (core::cmp::Reverse(one.priority), one.gets))?;
    first.gets += 1;
    Some(first.outgoing)
}

/// Everybody keeps what they have, but for the one whose attempt has failed: it gets what it had before.
fn undo(wanted: &mut [Wanted], outgoing: u32) {
    for one in wanted {
        let tried = u8::from(one.outgoing == outgoing);
        one.gets = one.has.saturating_sub(tried);
    }
}

/// What estimates did so far says nothing about what is sent from now on.
fn watch(engine: &mut Engine, now: Instant, key: u32) {
    for &transport in &engine.model.connections[key].transports {
        engine.model.transports[transport].downlink.watch(now);
    }
}

/// The subscription may have that step from now on. Whether it waits for a way that `is_blocked` to drain.
fn give(engine: &mut Engine, one: &Wanted, is_blocked: bool) -> bool {
    let stream = &engine.model.outgoing[one.outgoing];
    let (Some(layers), Some(medium)) = (&stream.layers, stream.medium) else {
        return false;
    };
    debug_assert!(stream.kind == Kind::Video || one.top() == 0);
    let mut possible = layers.possible(engine.model.media[medium].arriving).iter();
    let room = match one.encoding(one.gets) {
        Some(nth) => possible.nth(usize::from(nth)).map(Room::UpTo),
        None => Some(Room::Nothing),
    };
    let is_limited = layers.room != Room::Unknown || one.gets != one.has;
    let Some(room) = room.filter(|_| is_limited) else {
        return false;
    };
    if one.gets < one.has && is_blocked {
        return select::grant_later(engine, one.outgoing, room);
    }
    select::grant(engine, one.outgoing, room);
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Instant {
        Instant::from_millis(seconds * 1_000)
    }

    #[test]
    fn patience_grows_with_failures_and_ends_with_success() {
        let mut connection = Connection::new(None);
        connection.on_raised(at(10), None, false);
        connection.on_lowered(at(12));
        assert_eq!(connection.patience, PATIENCE_MIN * 2);
        connection.on_raised(at(30), None, false);
        connection.on_lowered(at(90));
        assert_eq!(connection.patience, PATIENCE_MIN * 2, "that was no failure");
        connection.on_raised(at(100), None, false);
        connection.on_calm(at(105));
        assert_eq!(connection.patience, PATIENCE_MIN * 2);
        connection.on_calm(at(111));
        connection.on_lowered(at(112));
        assert_eq!(connection.patience, PATIENCE_MIN);
    }

    #[test]
    fn a_way_that_lost_half_of_what_it_was_is_no_failure() {
        let lowered_at = |seen| {
            let mut connection = Connection::new(None);
            connection.seen = 2_000_000;
            connection.on_raised(at(10), None, false);
            connection.seen = seen;
            connection.on_lowered(at(12));
            connection.patience
        };
        assert_eq!(lowered_at(1_000_000), PATIENCE_MIN * 2);
        assert_eq!(lowered_at(999_999), PATIENCE_MIN);
    }

    #[test]
    fn what_has_changed_is_known_for_a_while() {
        let mut connection = Connection::new(None);
        assert_eq!(connection.last_change(at(10)), None);
        connection.on_lowered(at(10));
        assert_eq!(connection.last_change(at(10)), Some(Change::Less));
        assert_eq!(connection.last_change(at(11)), None);
        connection.on_raised(at(12), None, false);
        assert_eq!(connection.last_change(at(12)), Some(Change::More));
        assert_eq!(connection.last_change(at(13)), None);
    }

    #[test]
    fn nobody_pays_for_the_attempt_of_somebody_who_is_gone() {
        let mut connection = Connection::new(None);
        connection.on_raised(at(10), Some(7), true);
        connection.forget(8);
        assert_eq!(connection.attempt, Some(7));
        connection.forget(7);
        assert_eq!(connection.attempt, None);
    }
}
