//! What is known of each RTP stream, for whoever asks: a look at what the engine keeps anyway.
//!
//! Nothing of it is made on the packet path. Rates are read when reports are sent, once a second, from counters that are there for
//! those reports; what peers say of our RTP streams is noted when their reports come.

use clock::Duration;

use crate::api::{Kind, TransportId};
use crate::congestion;
use crate::engine::Engine;
use crate::model::observed::Observed;
use crate::model::{Encoding, Medium, Outgoing};
use crate::select;

/// One transport and its RTP streams.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransportStatistics {
    /// Which.
    pub id: TransportId,
    /// The round trip to its peer: by reception reports (RFC 3550 §6.4.1), else by connectivity checks.
    pub round_trip: Option<Duration>,
    /// What the way to its peer carries, in bit/s, where that is estimated.
    pub estimate: Option<u64>,
    /// What arrives, lowest encoding first.
    pub received: Vec<ReceivedStatistics>,
    /// What leaves.
    pub sent: Vec<SentStatistics>,
}

/// What is known of an RTP stream in either direction, its retransmissions included where that is said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StreamStatistics {
    /// Bits of it in a second lately, retransmissions included.
    pub bits_per_second: u64,
    /// Packets since the beginning, retransmissions not included. Counted modulo 2^32 where we send.
    pub packets: u64,
    /// Packets that its receiver misses by its own count; negative if more came again than got lost (RFC 3550 §6.4.1).
    pub packets_lost: i32,
    /// The part of packets lost lately, in millionths, before retransmission.
    pub loss_ppm: u32,
    /// Mean deviation of the transit time (RFC 3550 §6.4.1), in microseconds.
    pub jitter_micros: u32,
    /// Packets that its receiver asked for again.
    pub nacks: u32,
    /// Key frames that its receiver asked for.
    pub key_frame_requests: u32,
}

/// An RTP stream of the peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceivedStatistics {
    /// Audio or video.
    pub kind: Kind,
    /// The RID of its encoding, with simulcast.
    pub rid: Option<String>,
    /// Its numbers, as we count them.
    pub stream: StreamStatistics,
}

/// An RTP stream to the peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SentStatistics {
    /// Audio or video.
    pub kind: Kind,
    /// The RID of the encoding that is forwarded, with simulcast; none while nothing is, as of a picture that is paused because
    /// the way to the peer has no room for it.
    pub rid: Option<String>,
    /// The highest temporal layer that is forwarded, if that is not simply all of them.
    pub temporal: Option<u8>,
    /// What the best encoding that the application allows takes, in bit/s; 0 where there is no choice.
    pub wanted_bits_per_second: u64,
    /// Its numbers, as the peer says.
    pub stream: StreamStatistics,
}

/// What is known of these transports; those that are not here are left out.
pub(crate) fn gather(engine: &Engine, transports: &[TransportId]) -> Vec<TransportStatistics> {
    let known = transports.iter();
    known
        .filter_map(|id| Some(of_transport(engine, *id, engine.model.transport_key(*id)?)))
        .collect()
}

fn of_transport(engine: &Engine, id: TransportId, key: u32) -> TransportStatistics {
    let model = &engine.model;
    let transport = &model.transports[key];
    let received = model.encodings_of(transport).filter_map(|encoding| {
        let encoding = &model.encodings[encoding];
        let kind = model.media[encoding.medium].kind;
        // One that never came has nothing to tell.
        encoding.last_arrival.map(|_| of_encoding(encoding, kind))
    });
    let sent = transport.outgoing.iter();
    TransportStatistics {
        id,
        round_trip: transport.measured_round_trip(),
        estimate: congestion::estimate(model, key),
        received: received.collect(),
        sent: sent
            .map(|outgoing| of_outgoing(engine, *outgoing))
            .collect(),
    }
}

fn of_encoding(encoding: &Encoding, kind: Kind) -> ReceivedStatistics {
    let clock_rate = encoding.clock_rate;
    ReceivedStatistics {
        kind,
        rid: rid(encoding),
        stream: StreamStatistics {
            packets: encoding.reception.received(),
            packets_lost: encoding.reception.cumulative_lost(),
            jitter_micros: micros(encoding.reception.jitter(), clock_rate),
            ..common(&encoding.observed)
        },
    }
}

fn of_outgoing(engine: &Engine, key: u32) -> SentStatistics {
    let model = &engine.model;
    let outgoing = &model.outgoing[key];
    let medium = outgoing.medium.and_then(|medium| model.media.get(medium));
    let shown = select::shown_by(engine, key).map(|encoding| &model.encodings[encoding]);
    let encoding = |medium: &Medium, place: u8| {
        let key = medium.encodings.get(usize::from(place))?;
        model.encodings.get(*key)
    };
    let best = medium.and_then(|medium| encoding(medium, best_place(outgoing, medium)?));
    let clock_rate = shown.map_or(0, |encoding| encoding.clock_rate);
    let observed = &outgoing.observed;
    SentStatistics {
        kind: outgoing.kind,
        rid: shown.and_then(rid),
        temporal: outgoing
            .layers
            .as_ref()
            .map(|layers| layers.limit.temporal)
            .filter(|temporal| *temporal != u8::MAX),
        wanted_bits_per_second: best.map_or(0, |best| best.observed.bits_per_second()),
        stream: StreamStatistics {
            packets: u64::from(outgoing.sent.packets),
            packets_lost: observed.told.packets_lost,
            jitter_micros: micros(observed.told.jitter, clock_rate),
            ..common(observed)
        },
    }
}

/// Place of the best encoding that could be forwarded if the way carried anything; `None` without a choice.
fn best_place(outgoing: &Outgoing, medium: &Medium) -> Option<u8> {
    let layers = outgoing.layers.as_ref()?;
    layers.possible(medium.arriving).highest()
}

fn common(observed: &Observed) -> StreamStatistics {
    StreamStatistics {
        bits_per_second: observed.bits_per_second(),
        loss_ppm: observed.loss_ppm(),
        nacks: observed.nacks,
        key_frame_requests: observed.key_frame_requests,
        ..StreamStatistics::default()
    }
}

fn rid(encoding: &Encoding) -> Option<String> {
    let rid = encoding.rid.as_ref()?;
    Some(String::from_utf8_lossy(rid).into_owned())
}

/// Units of an RTP clock in microseconds.
fn micros(units: u32, clock_rate: u32) -> u32 {
    let micros = u64::from(units) * 1_000_000 / u64::from(clock_rate.max(1));
    u32::try_from(micros).unwrap_or(u32::MAX)
}
