//! Who gets what of the way to a person: tells subscriptions which encoding they may have.
//!
//! Where our own estimate (`congestion.rs`) is known it decides: down at once when packets begin to queue or to be lost, up when
//! it says that more fits, and probes find that out. After a step up that was too much the next comes twice as late.
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
use crate::congestion::{self, View};
use crate::engine::Engine;
use crate::feedback::outgoing_with;
use crate::model::subscriber::Stance;
use crate::model::{Encoding, Medium, Model, Outgoing};
use crate::select;

/// How often a connection is looked at while browsers estimate for it.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);
/// The same when an estimate has just fallen.
const LOOK_INTERVAL_MIN: Duration = Duration::from_millis(100);
/// More is tried so long after there was too much, at first and at last.
const PATIENCE_MIN: Duration = Duration::from_secs(4);
const PATIENCE_MAX: Duration = Duration::from_secs(60);
/// An attempt is judged after so long, and has failed if there is too much before it is over.
const ATTEMPT: Duration = Duration::from_secs(3);
const TRIAL: Duration = Duration::from_secs(10);
/// An attempt at more than this part of the budget is given up at the first sign that it is too much.
const BOLD_PERCENT: u64 = 130;
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
    /// Not everybody can have what there is, or what is sent is too much already.
    pub(crate) is_short: bool,
    patience: Duration,
    /// Nobody gets more before this.
    not_before: Instant,
    /// When somebody last got more, while that may prove wrong.
    raised: Option<Instant>,
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
}

impl Connection {
    pub(crate) fn new(id: Option<ConnectionId>) -> Self {
        Self {
            id,
            transports: Vec::new(),
            due: None,
            looked: None,
            limited: false,
            is_short: false,
            patience: PATIENCE_MIN,
            not_before: Instant::ZERO,
            raised: None,
            attempt: None,
            grace: None,
            estimator: None,
            seen: 0,
            failed: None,
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
        if self.raised.take().is_some() {
            self.patience = (self.patience * 2).min(PATIENCE_MAX);
        }
        self.not_before = now + self.patience;
        self.failed = self.estimator.is_some().then_some(self.seen);
    }

    /// Whether somebody may get more, if it fits.
    fn may_raise(&self, now: Instant) -> bool {
        let grown = self.failed.map(|failed| failed * GROWN_PERCENT / 100);
        self.not_before <= now || grown.is_some_and(|grown| self.seen > grown)
    }

    /// Whether the key frame of something that was raised may be on its way.
    fn has_just_raised(&self, now: Instant) -> bool {
        self.raised.is_some_and(|raised| now - raised < GRACE)
    }

    fn on_raised(&mut self, now: Instant, attempt: Option<u32>, is_bold: bool) {
        self.raised = Some(now);
        self.attempt = attempt;
        self.grace = (!is_bold).then_some(now + GRACE);
        self.not_before = now + attempt.map_or(GRACE, |_| ATTEMPT);
    }

    /// Nothing speaks against what was raised.
    fn on_calm(&mut self, now: Instant) {
        if self.raised.is_some_and(|at| now - at >= TRIAL) {
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

/// Somebody on this transport begins to listen. Where there is little room it begins with the least.
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
    engine.wheel.schedule(transport, now);
    for nth in 0..engine.model.subscribers[subscriber].outgoing.len() {
        let outgoing = engine.model.subscribers[subscriber].outgoing[nth];
        select::grant(engine, outgoing, Some(0));
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
    let mut wanted = core::mem::take(&mut engine.wanted);
    wanted.clear();
    let view = congestion::view(&mut engine.model, now, key);
    let outlook = look(engine, now, (key, view), &mut wanted);
    let connection = &mut engine.model.connections[key];
    connection.seen = view.map_or(0, |view| view.estimate);
    connection.looked = Some(now);
    connection.due = outlook.is_known.then_some(now + LOOK_INTERVAL);
    let lacks = wanted.iter().any(|one| one.has < one.top());
    connection.is_short = outlook.is_known && (outlook.is_congested || lacks);
    if !outlook.is_known {
        let was_limited = core::mem::take(&mut connection.limited);
        for one in wanted.iter().filter(|_| was_limited) {
            select::grant(engine, one.outgoing, None);
        }
    } else if connection.is_short {
        if outlook.is_measured {
            probe(engine, now, &wanted);
        }
        divide(engine, now, key, outlook, &mut wanted);
    }
    engine.wanted = wanted;
}

/// Finds out whether there is room for what people do not have.
fn probe(engine: &mut Engine, now: Instant, wanted: &[Wanted]) {
    let lacks = wanted.iter().find(|one| one.has < one.top());
    let Some(first) = lacks else {
        return;
    };
    let transport = engine.model.outgoing[first.outgoing].transport;
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
            wanted.extend(wish(stream, outgoing, medium, encodings));
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
    let has_raised = model.connections[key].has_just_raised(now);
    let is_congested = view.is_congested(numbered, has_raised);
    let mut outlook = Outlook::measured(view.estimate + others, is_congested);
    outlook.is_blocked = view.is_blocked();
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
    let mut one = Wanted::new(
        outgoing,
        medium.priority(),
        prices[usize::from(places.next()?)],
    );
    for place in places {
        one.step(prices[usize::from(place)]);
    }
    let has = layers.granted(possible)?;
    one.has = possible.iter().filter(|place| *place < has).count() as u8;
    // Whoever goes up should not have to come down at the next busy picture.
    for (step, place) in (0..).zip(possible.iter()) {
        if step > one.has {
            one.reprice(step, encoding(place).rate.peak());
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
    if !outlook.is_congested {
        connection.on_calm(now);
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
    for one in wanted.iter() {
        give(engine, one);
        if one.gets < one.has && outlook.is_blocked {
            select::cease(engine, one.outgoing);
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
    let takes = allocate(outlook.budget().max(flows), wanted);
    if outlook.is_measured && takes > outlook.budget().saturating_mul(AMPLE_PERCENT) / 100 {
        raise_one(wanted);
    }
    let is_same = wanted.iter().all(|one| one.gets == one.has);
    (may_raise && is_same && !outlook.is_measured)
        .then(|| attempt(wanted))
        .flatten()
}

/// Where it is getting narrow only the first of those who could have more gets it, for key frames all come at once.
fn raise_one(wanted: &mut [Wanted]) {
    let raised = wanted.iter_mut().filter(|one| one.gets > one.has);
    for one in raised.skip(1) {
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

/// The subscription may have that step from now on.
fn give(engine: &mut Engine, one: &Wanted) {
    let stream = &engine.model.outgoing[one.outgoing];
    let (Some(layers), Some(medium)) = (&stream.layers, stream.medium) else {
        return;
    };
    debug_assert!(stream.kind == Kind::Video || one.top() == 0);
    let possible = layers.possible(engine.model.media[medium].arriving);
    let place = possible.iter().nth(usize::from(one.gets));
    if place.is_some() && (layers.grant.is_some() || one.gets != one.has) {
        select::grant(engine, one.outgoing, place);
    }
}
