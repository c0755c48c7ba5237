//! What the way to a person carries, found out by transport-wide feedback: what is sent is numbered, and the peer says when it
//! came. All transports of a connection share one estimate, for they share one way.
//!
//! Only transports on which somebody can choose among encodings are numbered: elsewhere nothing can be done about it.

use clock::{Duration, Instant};
use proto::bwe::{Beside, Estimator, Leg, Limits};
use proto::rtcp::TransportFeedback;
use proto::rtp::Uri;

use crate::api::Way;
use crate::discard::{DropReason, Stage};
use crate::engine::Engine;
use crate::model::packet::Packet;
use crate::model::transport::Numbered;
use crate::model::{Model, Outgoing, Transport};
use crate::pacer::{Held, Pacer};
use crate::stats::Refusal;

/// Where estimates begin: less than nearly every way carries, and enough for a picture that can be recognized.
const LIMITS: Limits = Limits {
    min: 30e3,
    start: 600e3,
    max: 100e6,
    // Encodings are few and far apart: what is sent is mostly less than what there is room for, and an estimate that fell to that
    // for nothing would stay low for long.
    jitter: Duration::from_millis(60),
    // For the same reason an estimate that grew by itself would mean little. Probes show what there is.
    unproven: 1.05,
    probe_interval: Duration::from_secs(3),
};
/// A peer that has told nothing for so long since the beginning never will.
const DEAF_AFTER: Duration = Duration::from_secs(3);
/// Packets wait so long in queues on the way when it is used too much; shorter queues come and go with busy pictures.
const QUEUEING_MAX: Duration = Duration::from_millis(80);
/// They are what waits of pictures, or of what came before, where all but this part of what is sent arrives.
const MISSING_DIVISOR: u64 = 16;
/// Less than this part of what is sent arrives where a way without queues carries far too little.
const CHOKED_PERCENT: u64 = 66;
/// An estimate that changed by so much calls for another look, in percent.
const FALL_PERCENT: f64 = 3.0;
const RISE_PERCENT: f64 = 8.0;
/// How many of the packets sent last may be sent again to fill up a probe.
const FILLINGS: u64 = 64;

/// What is known of the way to a person.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View {
    /// Bits per second.
    pub(crate) estimate: u64,
    /// What loss allows of that.
    by_loss: u64,
    /// How long packets wait on the way.
    queueing: Duration,
    /// Bits per second that arrive.
    arriving: u64,
    pub(crate) told: Told,
}

/// So much has come in all, and when that was told: between two of these lies what a way carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) bytes: u64,
    pub(crate) at: Instant,
}

impl Told {
    /// Nothing was told yet.
    pub(crate) const NOTHING: Self = Self {
        bytes: 0,
        at: Instant::ZERO,
    };
}

/// What has just become of what is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    More,
    Less,
}

impl View {
    /// Whether packets wait for so long that anything more would only make it longer.
    pub(crate) fn is_blocked(&self) -> bool {
        self.queueing >= QUEUEING_MAX
    }

    /// Whether next to nothing waits.
    pub(crate) fn has_drained(&self) -> bool {
        self.queueing < QUEUEING_MAX / 2
    }

    /// Whether of so many bit/s only a part arrives.
    pub(crate) fn is_choked(&self, sent: u64) -> bool {
        self.arriving < sent * CHOKED_PERCENT / 100
    }

    /// Whether so much, in bit/s, is too much; what is sent may have changed just now. Where all of it arrives, longer queues are
    /// borne, and what was lost before says nothing.
    pub(crate) fn is_congested(&self, sent: u64, change: Option<Change>) -> bool {
        let arrives = self.arriving >= sent - sent / MISSING_DIVISOR;
        let most = match (change, arrives) {
            // What came before must leave.
            (Some(Change::Less), true) => QUEUEING_MAX * 4,
            // A key frame takes its time.
            (Some(Change::More), _) | (None, true) => QUEUEING_MAX * 2,
            (Some(Change::Less) | None, false) => QUEUEING_MAX,
        };
        let sent = sent - sent / 32;
        let is_lossy = self.by_loss < sent && !arrives && change != Some(Change::More);
        is_lossy || self.estimate < sent && self.queueing >= most
    }
}

/// An RTP stream has got a choice among encodings: from now on its transport is numbered, if the peer tells what came.
pub(crate) fn begin(engine: &mut Engine, now: Instant, outgoing: u32) {
    let model = &mut engine.model;
    let stream = &model.outgoing[outgoing];
    let is_possible = stream.described.extensions.id(Uri::TransportCc).is_some();
    let transport = &mut model.transports[stream.transport];
    if transport.numbered.is_some() {
        renumber(model, outgoing);
        return;
    }
    if !engine.config.transport_wide || !is_possible || stream.layers.is_none() {
        return;
    }
    transport.numbered = Some(Box::new(Numbered {
        leg: Leg::new(),
        pacer: Pacer::new(now),
        since: None,
    }));
    let key = stream.transport;
    model.exits[key].is_numbered = true;
    let connection = &mut model.connections[transport.connection];
    connection
        .estimator
        .get_or_insert_with(|| Box::new(Estimator::new(LIMITS)));
    for nth in 0..model.transports[key].outgoing.len() {
        let outgoing = model.transports[key].outgoing[nth];
        renumber(model, outgoing);
    }
}

fn renumber(model: &mut Model, outgoing: u32) {
    let stream = &mut model.outgoing[outgoing];
    stream.rebuild_extensions(true);
}

/// The number of the next packet of an RTP stream on a numbered transport, if it gets one.
pub(crate) fn next_number(model: &Model, key: u32, outgoing: u32) -> Option<u16> {
    let numbered = model.transports[key].numbered.as_ref()?;
    let stream = model.outgoing.get(outgoing)?;
    stream.is_counted().then(|| numbered.leg.next_number())
}

/// A packet of so many bytes leaves on a numbered transport, perhaps under a number.
pub(crate) fn on_sent(model: &mut Model, now: Instant, key: u32, wide: Option<u16>, bytes: usize) {
    let transport = &mut model.transports[key];
    let Some(numbered) = &mut transport.numbered else {
        return;
    };
    if wide.is_none() {
        return numbered.pacer.owe(bytes);
    }
    numbered.since.get_or_insert(now);
    let probe = numbered.pacer.probe_id();
    numbered.pacer.on_sent(bytes);
    if let Some(estimator) = &mut model.connections[transport.connection].estimator {
        estimator.on_sent(&mut numbered.leg, now, bytes, probe);
    }
}

/// A peer tells what came.
pub(crate) fn on_feedback(
    engine: &mut Engine,
    now: Instant,
    key: u32,
    feedback: &TransportFeedback<'_>,
) {
    let model = &mut engine.model;
    let transport = &mut model.transports[key];
    let connection = &mut model.connections[transport.connection];
    let Some(mut numbered) = transport.numbered.take() else {
        engine.stats.refuse(Refusal::FeedbackUnasked, 1);
        return;
    };
    let others = connection.transports.iter();
    let others = others.filter_map(|other| model.transports[*other].numbered.as_ref());
    let beside = others.fold(Beside::default(), |all, one| all.and(&one.leg, now));
    if let Some(estimator) = &mut connection.estimator {
        estimator.on_feedback(&mut numbered.leg, beside, now, feedback);
        let estimate = estimator.estimate();
        if engine.config.pacing {
            let queueing = numbered.leg.queueing(now);
            numbered.pacer.set_estimate(now, estimate, queueing);
        }
        let seen = connection.seen as f64;
        let falls = estimate < seen * (1.0 - FALL_PERCENT / 100.0);
        let rises = estimate > seen * (1.0 + RISE_PERCENT / 100.0);
        if falls || rises {
            connection.look_soon(now);
            if let Some(due) = connection.due {
                engine.wheel.schedule(key, due);
            }
        }
    }
    model.transports[key].numbered = Some(numbered);
}

/// What is sent on a transport takes another path from now on.
pub(crate) fn on_new_path(transport: &mut Transport) {
    if let Some(numbered) = &mut transport.numbered {
        numbered.leg.on_new_path();
    }
}

/// So much of what is sent on a connection is sent on this transport, from zero to one, and not everybody there has what they
/// want if it `is_narrow`.
pub(crate) fn set_share(transport: &mut Transport, share: f64, is_narrow: bool) {
    if let Some(numbered) = &mut transport.numbered {
        numbered.pacer.set_share(share, is_narrow);
    }
}

/// What is known of the way on which a connection's numbered transports are; `None` if their peers have never told anything and
/// had the time to. Whoever falls silent later may be cut off for a while: what was known is better than nothing.
pub(crate) fn view(model: &mut Model, now: Instant, connection: u32) -> Option<View> {
    let connection = &mut model.connections[connection];
    let estimator = connection.estimator.as_mut()?;
    estimator.on_timeout(now);
    let mut queueing = Duration::ZERO;
    let (mut is_heard, mut is_young, mut is_deaf) = (false, false, false);
    let (mut arriving, mut told) = (0.0, Told::NOTHING);
    for transport in &connection.transports {
        let Some(numbered) = &model.transports[*transport].numbered else {
            continue;
        };
        let heard = numbered.leg.heard();
        queueing = queueing.max(numbered.leg.queueing(now));
        arriving += numbered.leg.acknowledged().unwrap_or_default();
        told.bytes += numbered.leg.arrived();
        told.at = told.at.max(heard.unwrap_or(Instant::ZERO));
        is_heard |= heard.is_some();
        // One on which nothing was sent yet has nothing to tell.
        if let (None, Some(since)) = (heard, numbered.since) {
            let has_had_time = now.saturating_since(since) >= DEAF_AFTER;
            is_deaf |= has_had_time;
            is_young |= !has_had_time;
        }
    }
    let rate = |rate: f64| rate.clamp(LIMITS.min, LIMITS.max) as u64;
    (is_heard || is_young || !is_deaf).then(|| View {
        estimate: rate(estimator.estimate()),
        by_loss: rate(estimator.by_loss()),
        queueing,
        arriving: arriving as u64,
        told,
    })
}

/// For statistics: what the way to the peer of a transport carries, in bit/s, once that was measured.
pub(crate) fn estimate(model: &Model, key: u32) -> Option<u64> {
    let transport = &model.transports[key];
    transport.numbered.as_ref()?.leg.heard()?;
    let estimator = model.connections[transport.connection].estimator.as_ref()?;
    Some(estimator.estimate() as u64)
}

/// What is known of the way on which a transport is.
pub(crate) fn way(model: &Model, now: Instant, key: u32) -> Option<Way> {
    let transport = &model.transports[key];
    let numbered = transport.numbered.as_ref()?;
    let estimator = model.connections[transport.connection].estimator.as_ref()?;
    numbered.leg.heard()?;
    Some(Way {
        estimate: estimator.estimate() as u64,
        queueing: numbered.leg.queueing(now),
        round_trip: estimator.round_trip(),
    })
}

/// Finds out whether the way carries so much, in bit/s, if it is time to. `key` is a transport that [can](can_probe).
pub(crate) fn probe(engine: &mut Engine, now: Instant, key: u32, wanted: u64) {
    let transport = &mut engine.model.transports[key];
    let Some(numbered) = &mut transport.numbered else {
        return;
    };
    let connection = &mut engine.model.connections[transport.connection];
    if !engine.config.pacing {
        return;
    }
    let estimator = connection.estimator.as_mut();
    let probe = estimator.and_then(|estimator| estimator.poll_probe(now, wanted as f64));
    if let Some(probe) = probe {
        numbered.pacer.probe(now, probe);
        engine.wheel.schedule(key, now);
    }
}

/// What fills up a probe.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Filling {
    /// A packet that was sent lately in an RTP stream, once more, and its number there.
    Again(u32, u16, Packet),
    /// Nothing but padding, in the retransmissions of an RTP stream.
    Padding(u32),
}

/// What can be sent on a transport to fill up a probe, if anything; `is_small` if a packet of it is to be that.
pub(crate) fn filling(
    engine: &mut Engine,
    now: Instant,
    key: u32,
    is_small: bool,
) -> Option<Filling> {
    let model = &mut engine.model;
    let count = model.transports[key].outgoing.len();
    let mut found = None;
    for nth in (0..count).filter(|_| !is_small) {
        let outgoing = model.transports[key].outgoing[nth];
        if can_pad(&model.outgoing[outgoing]) {
            found = found.or_else(|| again(model, now, outgoing));
        }
    }
    found.or_else(|| padded(model, key).map(Filling::Padding))
}

/// The RTP stream of a transport as whose retransmissions padding can be sent.
fn padded(model: &Model, key: u32) -> Option<u32> {
    let mut streams = model.transports[key].outgoing.iter();
    let stream = streams.find(|key| can_pad(&model.outgoing[**key]))?;
    Some(*stream)
}

/// Whether a probe can be sent on a transport, and its peer would tell what became of it.
pub(crate) fn can_probe(model: &Model, key: u32) -> bool {
    let numbered = model.transports[key].numbered.as_ref();
    numbered.is_some_and(|numbered| numbered.leg.heard().is_some()) && padded(model, key).is_some()
}

/// Whether padding can be sent as if it were retransmissions of an RTP stream.
fn can_pad(stream: &Outgoing) -> bool {
    stream.is_counted() && stream.rtx.is_some()
}

/// A packet of an RTP stream that was sent lately, to be sent once more.
fn again(model: &mut Model, now: Instant, outgoing: u32) -> Option<Filling> {
    let stream = &mut model.outgoing[outgoing];
    let round_trip = model.transports[stream.transport].round_trip();
    if stream
        .layers
        .as_ref()
        .is_some_and(|one| one.current.is_none())
    {
        return None;
    }
    let medium = &model.media[stream.medium?];
    let mut encodings = medium.encodings.iter().map(|key| &model.encodings[*key]);
    // What came before a switch is of no use to anybody.
    let encoding = encodings.find(|one| Some(one.source) == stream.source)?;
    let newest = stream.rewriter.next_index().checked_sub(1)?;
    let rtx = stream.rtx.as_mut()?;
    (0..FILLINGS).find_map(|back| {
        let sequence = newest.checked_sub(back)? as u16;
        let (source, original) = stream.rewriter.source_of(sequence)?;
        let packet = encoding.cache.get(original)?;
        let is_fresh = source == encoding.source && rtx.probe_with(original, round_trip, now);
        is_fresh.then_some(Filling::Again(outgoing, sequence, *packet))
    })
}

/// Whether so much waits to leave on a transport that nothing should be sent again, or this packet waits for that already.
pub(crate) fn is_full(transport: &Transport, (outgoing, sequence): (u32, u16)) -> bool {
    transport.numbered.as_ref().is_some_and(|numbered| {
        let waits =
            |held: &Held| held.outgoing == outgoing && held.retransmission == Some(sequence);
        numbered.pacer.is_full() || numbered.pacer.held().any(waits)
    })
}

/// What waits of an RTP stream is not to be sent any more.
pub(crate) fn discard(engine: &mut Engine, outgoing: u32) {
    let transport = engine.model.outgoing[outgoing].transport;
    let Some(numbered) = &mut engine.model.transports[transport].numbered else {
        return;
    };
    let (mut packets, orphans) = (0, &mut engine.orphans);
    numbered.pacer.remove(
        |of| of == outgoing,
        |held| {
            packets += 1;
            orphans.push(held.packet.slot);
        },
    );
    let stats = &mut engine.stats;
    stats.stage_mut(Stage::Rewrite).held -= packets;
    engine.paced_packets -= packets;
    stats.drop_many(Stage::Rewrite, DropReason::NotSelected, packets);
}

/// Something that waited on a transport may leave.
pub(crate) fn serve(engine: &mut Engine, now: Instant, key: u32) {
    let is_due = deadline(&engine.model, key).is_some_and(|due| due <= now);
    if is_due {
        engine.paced.push(key);
    }
}

/// When [`serve`] has something to do.
pub(crate) fn deadline(model: &Model, key: u32) -> Option<Instant> {
    let numbered = model.transports[key].numbered.as_ref()?;
    numbered.pacer.deadline()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 400 kbit/s are sent, and the estimate is less.
    fn is_congested(queueing: u64, arriving: u64, change: Option<Change>) -> bool {
        let view = View {
            estimate: 340_000,
            by_loss: 340_000,
            queueing: Duration::from_millis(queueing),
            arriving,
            told: Told::NOTHING,
        };
        view.is_congested(400_000, change)
    }

    #[test]
    fn queues_are_borne_as_long_as_everything_arrives() {
        assert!(!is_congested(159, 380_000, None));
        assert!(is_congested(160, 380_000, None));
        assert!(!is_congested(159, 400_000, Some(Change::More)));
        assert!(is_congested(160, 400_000, Some(Change::More)));
        assert!(!is_congested(319, 380_000, Some(Change::Less)));
        assert!(is_congested(320, 380_000, Some(Change::Less)));
    }

    #[test]
    fn what_does_not_arrive_is_too_much() {
        assert!(is_congested(0, 370_000, None), "by what was lost");
        assert!(!is_congested(0, 380_000, None), "that is over");
        let view = |queueing| View {
            estimate: 340_000,
            by_loss: u64::MAX,
            queueing: Duration::from_millis(queueing),
            arriving: 340_000,
            told: Told::NOTHING,
        };
        for (queueing, change) in [
            (80, None),
            (80, Some(Change::Less)),
            (160, Some(Change::More)),
        ] {
            assert!(view(queueing).is_congested(400_000, change));
            assert!(!view(queueing - 1).is_congested(400_000, change));
            assert!(
                !view(queueing).is_congested(340_000, change),
                "it is what the way carries"
            );
        }
    }
}
