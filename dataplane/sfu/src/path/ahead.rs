//! What the packets of a batch will need, fetched before it is needed.
//!
//! In a call of four among hundreds of others the state of a publisher has left the caches when its next packet comes, and lies
//! behind several pointers. One after the other, each of those costs as much as everything else that a stage does. So before
//! a stage begins, each step below goes once through the whole batch and follows one pointer of every packet: the misses of
//! different packets then overlap. Nothing but time depends on any of it.

use super::{Arrived, Plain};
use crate::engine::Engine;
use crate::model::packet::Packet;
use crate::model::{Encoding, Medium, Model, Outgoing, Transport};

/// How many subscribers of an encoding are fetched with it; [`route`](super::route) sees to those of a long list on its way.
const FIRST_LISTENERS: usize = 8;

/// Before `unprotect`: keys and windows, and what `ingest` asks the transport for.
pub(crate) fn fetch_transports(model: &Model, arrived: &[Arrived]) {
    for key in changes(arrived, |one| one.transport) {
        model.transports.prefetch(key, Transport::HOT_BYTES);
    }
    for transport in
        changes(arrived, |one| one.transport).filter_map(|key| model.transports.get(key))
    {
        if let Some(inbound) = &transport.inbound {
            inbound.prefetch_keys();
        }
        fetch_first(&transport.sources);
    }
    for transport in
        changes(arrived, |one| one.transport).filter_map(|key| model.transports.get(key))
    {
        if let Some(inbound) = &transport.inbound {
            inbound.prefetch_window();
        }
        if let Some(feedback) = &transport.feedback {
            feedback.prefetch();
        }
    }
}

/// Before `ingest`: encodings, and media.
pub(crate) fn fetch_encodings(model: &Model, plain: &[Plain]) {
    let encodings = || {
        let streams = changes(plain, |one| {
            (one.transport, one.header.map(|header| header.ssrc))
        });
        streams.filter_map(|(transport, ssrc)| {
            let sources = &model.transports.get(transport)?.sources;
            let source = sources.iter().find(|source| Some(source.ssrc) == ssrc)?;
            Some(source.encoding)
        })
    };
    for encoding in encodings() {
        model.encodings.prefetch(encoding, size_of::<Encoding>());
    }
    for encoding in encodings().filter_map(|key| model.encodings.get(key)) {
        model.media.prefetch(encoding.medium, size_of::<Medium>());
    }
    for encoding in encodings().filter_map(|key| model.encodings.get(key)) {
        if let Some(medium) = model.media.get(encoding.medium) {
            fetch_first(&medium.codecs);
            fetch_first(&medium.encodings);
            fetch_first(&medium.listeners);
        }
    }
}

/// Before `route`: places in the caches, and the first of those who listen.
pub(crate) fn fetch_listeners(engine: &Engine, media: &[Packet]) {
    let model = &engine.model;
    for packet in media {
        if let Some(encoding) = model.encodings.get(packet.encoding) {
            encoding.cache.prefetch(packet.sequence);
        }
    }
    for encoding in
        changes(media, |packet| packet.encoding).filter_map(|key| model.encodings.get(key))
    {
        let Some(medium) = model.media.get(encoding.medium) else {
            continue;
        };
        for listener in medium.listeners.iter().take(FIRST_LISTENERS) {
            model.exits.prefetch(listener.transport);
            model
                .outgoing
                .prefetch(listener.outgoing, Outgoing::HOT_BYTES);
        }
    }
}

/// The first cache line of a list.
fn fetch_first<T>(list: &[T]) {
    if let Some(first) = list.first() {
        packet::prefetch(first, 1);
    }
}

/// The keys in order, without one that is the same as before.
fn changes<T, K: PartialEq + Copy>(list: &[T], key: impl Fn(&T) -> K) -> impl Iterator<Item = K> {
    let mut before = None;
    list.iter().filter_map(move |one| {
        let key = key(one);
        (before.replace(key) != Some(key)).then_some(key)
    })
}
