//! Why nothing flows on a transport, as far as the engine can tell.
//!
//! Each transport is looked at every two seconds. What is wrong must be wrong for some seconds before it is told, and is taken
//! back at once. Nothing is done for this on the packet path: it reads what is kept there anyway, and counts refused checks.

use clock::{Duration, Instant};

use crate::api::{Event, Kind, Trouble};
use crate::engine::Engine;
use crate::model::layers::Room;
use crate::model::subscriber::Stance;
use crate::model::transport::State;
use crate::model::{Medium, Model, Outgoing, Transport};

/// How often a transport is looked at.
const INTERVAL: Duration = Duration::from_secs(2);
/// What is wrong for so long is told.
const PATIENCE: Duration = Duration::from_secs(5);
/// A picture may stand still for longer: shared screens do.
const PICTURE_PATIENCE: Duration = Duration::from_secs(10);
/// What came or left so lately flows.
const LATELY: Duration = Duration::from_secs(3);

/// What is known of how a transport stands.
#[derive(Debug)]
pub(crate) struct Standing {
    /// When it is looked at next.
    pub(crate) due: Instant,
    /// What was wrong at the last look, and since which look.
    seen: Option<(Trouble, Instant)>,
    told: Option<Trouble>,
    /// A check for it had a wrong MESSAGE-INTEGRITY.
    pub(crate) wrong_integrity: bool,
    /// A check of its peer was for a ufrag that nobody has.
    pub(crate) unknown_ufrag: bool,
    /// By which ufrag of its peer it is found in [`Model::awaited`].
    pub(crate) awaited: Option<Box<[u8]>>,
}

impl Standing {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            due: now + INTERVAL,
            seen: Some((Trouble::NoCheck, now)),
            told: None,
            wrong_integrity: false,
            unknown_ufrag: false,
            awaited: None,
        }
    }
}

/// Looks at a transport if it is time to, and tells what changed.
pub(crate) fn serve(engine: &mut Engine, now: Instant, key: u32) {
    if engine.model.transports[key].standing.due > now {
        return;
    }
    let trouble = look(&engine.model, now, key);
    let events_are_full = engine.events_are_full();
    let transport = &mut engine.model.transports[key];
    let standing = &mut transport.standing;
    standing.due = now + INTERVAL;
    let since = match standing.seen {
        // Whose address is not proven gets nowhere, whatever else is found out about why.
        Some((seen, since)) if trouble.is_some_and(|now| phase(now) == phase(seen)) => since,
        _ => now,
    };
    standing.seen = trouble.map(|trouble| (trouble, since));
    let ripe = match trouble {
        None => true,
        Some(trouble) => now - since >= patience(trouble),
    };
    // Without room it is told at the next look.
    if ripe && standing.told != trouble && !events_are_full {
        standing.told = trouble;
        let transport = transport.id;
        engine.push_event(Event::Standing { transport, trouble });
    }
}

/// A transport times out: why no address of its peer was proven is told before that.
pub(crate) fn tell_last(engine: &mut Engine, key: u32) {
    let transport = &engine.model.transports[key];
    let (id, trouble) = (transport.id, Some(unreached(transport)));
    if transport.standing.told != trouble {
        engine.push_event(Event::Standing {
            transport: id,
            trouble,
        });
    }
}

/// Troubles of one phase are one standstill.
fn phase(trouble: Trouble) -> Trouble {
    match trouble {
        Trouble::UnknownUfrag
        | Trouble::WrongIntegrity
        | Trouble::NoRemoteDescription
        | Trouble::AddressNotProven => Trouble::NoCheck,
        other => other,
    }
}

fn patience(trouble: Trouble) -> Duration {
    match trouble {
        Trouble::NoPictures | Trouble::PublisherSilent | Trouble::NoRoom => PICTURE_PATIENCE,
        _ => PATIENCE,
    }
}

/// What is wrong with a transport at this moment.
fn look(model: &Model, now: Instant, key: u32) -> Option<Trouble> {
    let transport = &model.transports[key];
    match transport.state() {
        State::New => Some(unreached(transport)),
        State::Connecting => Some(Trouble::NoKeys),
        State::Connected => {
            published(model, now, transport).or_else(|| subscribed(model, now, transport))
        }
    }
}

/// Why no address of the peer is proven.
fn unreached(transport: &Transport) -> Trouble {
    let (ice, standing) = (&transport.ice, &transport.standing);
    match (ice.has_candidates(), ice.has_remote()) {
        (true, true) => Trouble::AddressNotProven,
        (true, false) => Trouble::NoRemoteDescription,
        (false, _) if standing.wrong_integrity => Trouble::WrongIntegrity,
        (false, _) if standing.unknown_ufrag => Trouble::UnknownUfrag,
        (false, _) => Trouble::NoCheck,
    }
}

/// What is wrong with what should arrive.
fn published(model: &Model, now: Instant, transport: &Transport) -> Option<Trouble> {
    let publishers = transport.publishers.iter();
    let media = publishers.flat_map(|key| &model.publishers[*key].media);
    let (mut any, mut pictures, mut arriving, mut seen) = (false, false, false, false);
    for medium in media.map(|key| &model.media[*key]) {
        let arrives = arrives(model, now, medium);
        any = true;
        arriving |= arrives;
        if medium.kind == Kind::Video {
            pictures = true;
            seen |= arrives;
        }
    }
    match (any, arriving, pictures, seen) {
        (true, false, ..) => Some(Trouble::NoMedia),
        (true, true, true, false) => Some(Trouble::NoPictures),
        _ => None,
    }
}

/// What is wrong with what should leave; pictures are looked at first.
fn subscribed(model: &Model, now: Instant, transport: &Transport) -> Option<Trouble> {
    let of = |kind: Kind| {
        let streams = transport.outgoing.iter().map(|key| &model.outgoing[*key]);
        let mut streams = streams.filter(move |outgoing| outgoing.kind == kind);
        streams.find_map(|outgoing| withheld(model, now, outgoing))
    };
    // Who sees somebody misses no sound of one that sends none.
    let mut streams = transport.outgoing.iter().map(|key| &model.outgoing[*key]);
    let has_pictures = streams.any(|outgoing| outgoing.kind == Kind::Video);
    let is_trouble = |trouble: &Trouble| !has_pictures || *trouble != Trouble::PublisherSilent;
    of(Kind::Video).or_else(|| of(Kind::Audio).filter(is_trouble))
}

/// Why an RTP stream does not leave.
fn withheld(model: &Model, now: Instant, outgoing: &Outgoing) -> Option<Trouble> {
    if outgoing.sent.at.is_some_and(|at| now - at < LATELY) {
        return None;
    }
    let Some(medium) = outgoing.medium.and_then(|medium| model.media.get(medium)) else {
        return Some(Trouble::PublisherAbsent);
    };
    let layers = outgoing.layers.as_deref();
    if layers.is_some_and(|layers| layers.room == Room::Nothing) {
        return Some(Trouble::NoRoom);
    }
    if !arrives(model, now, medium) {
        return Some(Trouble::PublisherSilent);
    }
    let awaits = match outgoing.stance {
        Stance::Awaiting => !outgoing.described.codecs.is_empty(),
        Stance::Layered => layers.is_some_and(|layers| layers.current.is_none()),
        Stance::Following | Stance::Plain => false,
    };
    Some(match awaits {
        true => Trouble::NoKeyFrame,
        false => Trouble::NotForwarded,
    })
}

fn arrives(model: &Model, now: Instant, medium: &Medium) -> bool {
    let mut encodings = medium.encodings.iter().map(|key| &model.encodings[*key]);
    encodings.any(|one| one.last_arrival.is_some_and(|at| now - at < LATELY))
}
