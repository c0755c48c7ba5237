//! From calls to media and back: which transports, publishers and subscribers should be on which node.
//!
//! Ids, ICE credentials and SSRCs are chosen here, so that an order can be repeated to the same effect. Sans-IO: what has to
//! change on nodes is drained by [`Reconciler::take_changes`]; who listens to a transport is told by the node's reports.

mod held;
mod kept;
mod restart;

use std::collections::HashMap;
use std::fmt;

use link::{Change, Entry, Key, PublisherId, SubscriberId, Transport, TransportId};
use serde::{Deserialize, Serialize};

use sdp::{Msid, Offered, PublishParameters, SubscribeMedia, SubscribeParameters};

use crate::domain::{Chance, ConnectionId, NodeId, SessionId, StreamId, ids};
use crate::media;
use crate::store::Kept;

pub use held::{Held, Orders, Removals};
pub use kept::{restored_desired, write_desired};
use restart::Agreed;
pub use restart::NoRestart;

/// Where the media of a connection live, and the names under which the node knows session and connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The node.
    pub node: NodeId,
    /// The session on the link: its id and which life of it.
    pub session: link::SessionId,
    /// The connection on the link: unique among all sessions.
    pub connection: link::ConnectionId,
}

impl Place {
    /// The place of a connection in that life of a session.
    pub fn new(
        node: NodeId,
        session: &SessionId,
        incarnation: u64,
        connection: &ConnectionId,
    ) -> Self {
        let session = format!("{session}_{incarnation}");
        Self {
            node,
            connection: link::ConnectionId::new(format!("{session}/{connection}")),
            session: link::SessionId::new(session),
        }
    }

    /// The session, and which life of it, that a node knows under that name.
    pub fn session_of(name: &link::SessionId) -> Option<(SessionId, u64)> {
        let (session, incarnation) = name.as_str().rsplit_once('_')?;
        Some((SessionId::new(session), incarnation.parse().ok()?))
    }
}

/// A transport that was ordered and waits for the node's report and the peer's description.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pending {
    /// Its id.
    pub transport: TransportId,
    /// Our ICE credentials on it.
    pub ice: link::IceCredentials,
    place: Place,
    offered: Option<Offered>,
    /// How we described ourselves on it.
    local: Option<sdp::LocalParameters>,
}

/// The name of a published stream.
type StreamKey = (SessionId, StreamId);
/// The name of a subscription.
type SubscriptionKey = (SessionId, ConnectionId, StreamId);

/// What a publisher and we agreed on.
#[derive(Clone, Copy, Debug)]
pub struct Publishing<'a> {
    /// What it sends.
    pub agreed: &'a PublishParameters,
    /// What it gets back of its own stream, if it wants that.
    pub loopback: Option<&'a SubscribeParameters>,
    /// Its pictures are a shared screen.
    pub is_screen: bool,
}

/// What a transport is for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Owner {
    /// It carries a published stream to us.
    Publication(SessionId, StreamId),
    /// It carries a stream from us.
    Subscription(SessionId, ConnectionId, StreamId),
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Publication(session, stream) => write!(f, "publisher of {stream} in {session}"),
            Self::Subscription(session, connection, stream) => {
                write!(f, "subscriber {connection} of {stream} in {session}")
            }
        }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Publication {
    publisher: PublisherId,
    /// The publisher's own copy of its stream, on the same transport.
    loopback: Option<SubscriberId>,
    wants_loopback: bool,
    current: Option<(NodeId, TransportId)>,
    pending: Option<Pending>,
    /// What was agreed with the publisher; empty until then.
    media: Vec<sdp::PublishedMedia>,
    /// What a restart of ICE must repeat.
    agreed: Option<Box<Agreed>>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Subscription {
    /// What a restart of ICE must repeat.
    agreed: Option<Box<Agreed>>,
    current: Option<(NodeId, TransportId, SubscriberId)>,
    pending: Option<Pending>,
}

/// The negotiation was overtaken: the stream, the connection or a newer negotiation took its place away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the stream is gone, or was negotiated anew meanwhile")]
pub struct Overtaken;

/// The media of all calls.
#[derive(Debug, Default)]
pub struct Reconciler {
    publications: Kept<StreamKey, Publication>,
    subscriptions: Kept<SubscriptionKey, Subscription>,
    owners: HashMap<TransportId, Owner>,
    /// Orders that are not on their way yet.
    changes: Vec<(NodeId, Change<Entry>)>,
}

impl Reconciler {
    /// No calls.
    pub fn new() -> Self {
        Self::default()
    }

    /// What has to change on nodes, in order.
    pub fn take_changes(&mut self) -> Vec<(NodeId, Change<Entry>)> {
        std::mem::take(&mut self.changes)
    }

    /// A session has a transport, ordered or in use.
    pub fn has_media(&self, session: &SessionId) -> bool {
        let first = (session.clone(), StreamId::new(""));
        let published = self.publications.range(first..);
        let mut published = published.take_while(|((of, _), _)| of == session);
        let first = (session.clone(), ConnectionId::new(""), StreamId::new(""));
        let subscribed = self.subscriptions.range(first..);
        let mut subscribed = subscribed.take_while(|((of, ..), _)| of == session);
        published.any(|(_, one)| one.current.is_some() || one.pending.is_some())
            || subscribed.any(|(_, one)| one.current.is_some() || one.pending.is_some())
    }

    /// What a transport is for.
    pub fn owner(&self, transport: &TransportId) -> Option<&Owner> {
        self.owners.get(transport)
    }

    /// Orders a transport for a stream that is published, or published anew after its old transport died.
    pub fn begin_publication(
        &mut self,
        place: &Place,
        session: &SessionId,
        stream: &StreamId,
        chance: &mut dyn Chance,
    ) -> Pending {
        let owner = Owner::Publication(session.clone(), stream.clone());
        let pending = self.order_transport(place, owner, chance);
        let publication =
            self.publications
                .get_or_insert_with((session.clone(), stream.clone()), || Publication {
                    publisher: PublisherId::new(ids::random("pub_", 11, chance)),
                    loopback: None,
                    wants_loopback: false,
                    current: None,
                    pending: None,
                    media: Vec::new(),
                    agreed: None,
                });
        let overtaken = publication.pending.replace(pending.clone());
        self.drop_pending(overtaken);
        pending
    }

    /// The publisher's description is agreed on: media may come.
    ///
    /// # Errors
    /// [`Overtaken`] when it is no longer wanted.
    pub fn commit_publication(
        &mut self,
        session: &SessionId,
        stream: &StreamId,
        transport: &TransportId,
        publishing: Publishing<'_>,
        chance: &mut dyn Chance,
    ) -> Result<(), Overtaken> {
        let Publishing {
            agreed,
            loopback,
            is_screen,
        } = publishing;
        let publication = self
            .publications
            .get_mut(&(session.clone(), stream.clone()))
            .ok_or(Overtaken)?;
        let pending = take_pending(&mut publication.pending, transport)?;
        let node = pending.place.node.clone();
        let mut changes = vec![
            Change::Put(described(&pending, &agreed.ice, &agreed.fingerprints)),
            Change::Put(Entry::Publisher(link::Publisher {
                id: publication.publisher.clone(),
                transport: transport.clone(),
                media: media::published(agreed, is_screen),
            })),
        ];
        if let Some(old) = publication.loopback.take() {
            changes.push(Change::Remove(Key::Subscriber(old)));
        }
        if let Some(loopback) = loopback {
            let subscriber = SubscriberId::new(ids::random("sub_", 11, chance));
            changes.push(Change::Put(Entry::Subscriber(link::Subscriber {
                id: subscriber.clone(),
                transport: transport.clone(),
                publisher: publication.publisher.clone(),
                media: media::subscribed(loopback),
            })));
            publication.loopback = Some(subscriber);
        }
        publication.wants_loopback = loopback.is_some();
        // The publisher has moved by now: what is left of the old transport can go.
        if let Some((_, old)) = publication.current.take() {
            self.owners.remove(&old);
            changes.push(Change::Remove(Key::Transport(old)));
        }
        publication.current = Some((node.clone(), transport.clone()));
        publication.media = agreed.media.clone();
        let hash = restart::hash_of(&agreed.media);
        publication.agreed = Agreed::new(&pending, &agreed.ice, &agreed.fingerprints, hash);
        self.push(&node, changes);
        Ok(())
    }

    /// What a subscriber of that stream is offered, with SSRCs of its own; empty when the stream has no media yet.
    pub fn subscribe_media(
        &self,
        session: &SessionId,
        stream: &StreamId,
        wanted: impl Fn(sdp::Kind) -> bool,
        chance: &mut dyn Chance,
    ) -> Vec<SubscribeMedia> {
        let published = self
            .publications
            .get(&(session.clone(), stream.clone()))
            .map_or(&[][..], |publication| &publication.media);
        subscribe_media(published, stream, wanted, chance)
    }

    /// The transport that carries a stream to us.
    pub fn publication_transport(
        &self,
        session: &SessionId,
        stream: &StreamId,
    ) -> Option<&TransportId> {
        let key = (session.clone(), stream.clone());
        let (_, transport) = self.publications.get(&key)?.current.as_ref()?;
        Some(transport)
    }

    /// The transport that carries a stream to somebody.
    pub fn subscription_transport(
        &self,
        session: &SessionId,
        connection: &ConnectionId,
        stream: &StreamId,
    ) -> Option<&TransportId> {
        let key = (session.clone(), connection.clone(), stream.clone());
        let (_, transport, _) = self.subscriptions.get(&key)?.current.as_ref()?;
        Some(transport)
    }

    /// The name under which the node knows the publisher of a stream.
    pub fn publisher(&self, session: &SessionId, stream: &StreamId) -> Option<&PublisherId> {
        let publication = self.publications.get(&(session.clone(), stream.clone()));
        publication.map(|publication| &publication.publisher)
    }

    /// What subscribers of a stream have agreed on by payload type.
    pub fn published_codecs(
        &self,
        session: &SessionId,
        stream: &StreamId,
    ) -> Vec<(sdp::Kind, Vec<sdp::Codec>)> {
        let publication = self.publications.get(&(session.clone(), stream.clone()));
        let media = publication.map_or(&[][..], |one| &one.media);
        media
            .iter()
            .map(|one| (one.kind, one.codecs.clone()))
            .collect()
    }

    /// The publisher was given its own stream back, and will want it again.
    pub fn wants_loopback(&self, session: &SessionId, stream: &StreamId) -> bool {
        self.publications
            .get(&(session.clone(), stream.clone()))
            .is_some_and(|publication| publication.wants_loopback)
    }

    /// The publisher's own copy of a stream that is being published: codecs are those of the same negotiation.
    pub fn loopback_media(stream: &StreamId, chance: &mut dyn Chance) -> Vec<SubscribeMedia> {
        [sdp::Kind::Audio, sdp::Kind::Video]
            .into_iter()
            .map(|kind| one_medium(kind, Vec::new(), stream, "loopback", chance))
            .collect()
    }

    /// Orders a transport for a stream that somebody wants to receive, or receive anew.
    pub fn begin_subscription(
        &mut self,
        place: &Place,
        session: &SessionId,
        connection: &ConnectionId,
        stream: &StreamId,
        chance: &mut dyn Chance,
    ) -> Pending {
        let key = (session.clone(), connection.clone(), stream.clone());
        let owner = Owner::Subscription(key.0.clone(), key.1.clone(), key.2.clone());
        let pending = self.order_transport(place, owner, chance);
        let subscription = self
            .subscriptions
            .get_or_insert_with(key, Subscription::default);
        let overtaken = subscription.pending.replace(pending.clone());
        self.drop_pending(overtaken);
        pending
    }

    /// Keeps what a subscriber was offered until it answers.
    ///
    /// # Errors
    /// [`Overtaken`] when it is no longer wanted.
    pub fn keep_offer(
        &mut self,
        session: &SessionId,
        connection: &ConnectionId,
        stream: &StreamId,
        transport: &TransportId,
        offered: Offered,
    ) -> Result<(), Overtaken> {
        let key = (session.clone(), connection.clone(), stream.clone());
        let pending = self
            .subscriptions
            .get_mut(&key)
            .and_then(|subscription| subscription.pending.as_mut())
            .filter(|pending| pending.transport == *transport)
            .ok_or(Overtaken)?;
        pending.offered = Some(offered);
        Ok(())
    }

    /// The newest offer that a subscriber has not answered yet, and its transport.
    pub fn open_offer(
        &self,
        session: &SessionId,
        connection: &ConnectionId,
        stream: &StreamId,
    ) -> Option<(TransportId, Offered)> {
        let key = (session.clone(), connection.clone(), stream.clone());
        let pending = self.subscriptions.get(&key)?.pending.as_ref()?;
        Some((pending.transport.clone(), pending.offered.clone()?))
    }

    /// The subscriber's description is agreed on: media may go.
    ///
    /// # Errors
    /// [`Overtaken`] when it is no longer wanted.
    pub fn commit_subscription(
        &mut self,
        session: &SessionId,
        connection: &ConnectionId,
        stream: &StreamId,
        transport: &TransportId,
        agreed: &SubscribeParameters,
        chance: &mut dyn Chance,
    ) -> Result<(), Overtaken> {
        let publisher = self
            .publications
            .get(&(session.clone(), stream.clone()))
            .map(|publication| publication.publisher.clone())
            .ok_or(Overtaken)?;
        let key = (session.clone(), connection.clone(), stream.clone());
        let subscription = self.subscriptions.get_mut(&key).ok_or(Overtaken)?;
        let pending = take_pending(&mut subscription.pending, transport)?;
        let node = pending.place.node.clone();
        let subscriber = SubscriberId::new(ids::random("sub_", 11, chance));
        let mut changes = vec![
            Change::Put(described(&pending, &agreed.ice, &agreed.fingerprints)),
            Change::Put(Entry::Subscriber(link::Subscriber {
                id: subscriber.clone(),
                transport: transport.clone(),
                publisher,
                media: media::subscribed(agreed),
            })),
        ];
        let hash = restart::hash_of(&agreed.media);
        subscription.agreed = Agreed::new(&pending, &agreed.ice, &agreed.fingerprints, hash)
            .map(|one| one.sending(agreed));
        let current = (node.clone(), transport.clone(), subscriber);
        if let Some((_, old, old_subscriber)) = subscription.current.replace(current) {
            self.owners.remove(&old);
            changes.push(Change::Remove(Key::Subscriber(old_subscriber)));
            changes.push(Change::Remove(Key::Transport(old)));
        }
        self.push(&node, changes);
        Ok(())
    }

    /// A negotiation failed: its transport goes. What was agreed on before stays.
    pub fn abandon(&mut self, transport: &TransportId) {
        let Some(owner) = self.owners.get(transport).cloned() else {
            return;
        };
        let pending = match &owner {
            Owner::Publication(session, stream) => self
                .publications
                .get_mut(&(session.clone(), stream.clone()))
                .and_then(|one| one.pending.take_if(|p| p.transport == *transport)),
            Owner::Subscription(session, connection, stream) => self
                .subscriptions
                .get_mut(&(session.clone(), connection.clone(), stream.clone()))
                .and_then(|one| one.pending.take_if(|p| p.transport == *transport)),
        };
        self.drop_pending(pending);
        self.forget_if_empty(&owner);
    }

    /// The node let a transport go: nothing of it is wanted there any more, so that a reconnection starts clean.
    pub fn transport_closed(&mut self, transport: &TransportId) {
        let Some(owner) = self.owners.get(transport).cloned() else {
            return;
        };
        self.abandon(transport);
        match &owner {
            Owner::Publication(session, stream) => {
                let key = (session.clone(), stream.clone());
                let Some(publication) = self.publications.get_mut(&key) else {
                    return;
                };
                if let Some((node, id)) = publication.current.take_if(|(_, id)| id == transport) {
                    let mut keys: Vec<_> = publication
                        .loopback
                        .take()
                        .map(Key::Subscriber)
                        .into_iter()
                        .collect();
                    keys.push(Key::Publisher(publication.publisher.clone()));
                    keys.push(Key::Transport(id));
                    self.remove(&node, keys);
                }
            }
            Owner::Subscription(session, connection, stream) => {
                let key = (session.clone(), connection.clone(), stream.clone());
                let Some(subscription) = self.subscriptions.get_mut(&key) else {
                    return;
                };
                let closed = subscription.current.take_if(|(_, id, _)| id == transport);
                if let Some((node, id, subscriber)) = closed {
                    self.remove(&node, vec![Key::Subscriber(subscriber), Key::Transport(id)]);
                }
            }
        }
        self.owners.remove(transport);
    }

    /// A stream is no more: its transport and everybody's copy go.
    pub fn stream_gone(&mut self, session: &SessionId, stream: &StreamId) {
        self.subscriptions_gone(session, |(_, _, id)| id == stream);
        let Some(publication) = self.publications.remove(&(session.clone(), stream.clone())) else {
            return;
        };
        self.drop_pending(publication.pending);
        if let Some((node, transport)) = publication.current {
            let mut keys: Vec<_> = publication
                .loopback
                .map(Key::Subscriber)
                .into_iter()
                .collect();
            keys.push(Key::Publisher(publication.publisher));
            keys.push(Key::Transport(transport));
            self.remove(&node, keys);
        }
    }

    /// Somebody no longer receives a stream.
    pub fn subscription_gone(
        &mut self,
        session: &SessionId,
        connection: &ConnectionId,
        stream: &StreamId,
    ) {
        self.subscriptions_gone(session, |key| key.1 == *connection && key.2 == *stream);
    }

    /// A connection is no more: what it received goes. What it published has been told of by [`Self::stream_gone`].
    pub fn connection_gone(&mut self, session: &SessionId, connection: &ConnectionId) {
        self.subscriptions_gone(session, |(_, id, _)| id == connection);
    }

    fn subscriptions_gone(
        &mut self,
        session: &SessionId,
        which: impl Fn(&SubscriptionKey) -> bool,
    ) {
        let first = (session.clone(), ConnectionId::new(""), StreamId::new(""));
        let of_session = self.subscriptions.range(first..).map(|(key, _)| key);
        let of_session = of_session.take_while(|key| key.0 == *session);
        let gone: Vec<_> = of_session.filter(|key| which(key)).cloned().collect();
        for key in gone {
            let Some(subscription) = self.subscriptions.remove(&key) else {
                continue;
            };
            self.drop_pending(subscription.pending);
            if let Some((node, transport, subscriber)) = subscription.current {
                self.remove(
                    &node,
                    vec![Key::Subscriber(subscriber), Key::Transport(transport)],
                );
            }
        }
    }

    fn order_transport(&mut self, place: &Place, owner: Owner, chance: &mut dyn Chance) -> Pending {
        let pending = Pending {
            transport: TransportId::new(ids::random("tra_", 11, chance)),
            ice: credentials(chance),
            place: place.clone(),
            offered: None,
            local: None,
        };
        self.owners.insert(pending.transport.clone(), owner);
        let order = Change::Put(Entry::Transport(transport(&pending)));
        self.changes.push((place.node.clone(), order));
        pending
    }

    fn drop_pending(&mut self, pending: Option<Pending>) {
        if let Some(pending) = pending {
            self.remove(&pending.place.node, vec![Key::Transport(pending.transport)]);
        }
    }

    fn forget_if_empty(&mut self, owner: &Owner) {
        match owner {
            Owner::Publication(session, stream) => {
                let key = (session.clone(), stream.clone());
                // One that was never agreed on. After that it waits for its publisher to reconnect.
                let publication = self.publications.get(&key);
                if publication.is_some_and(|one| one.pending.is_none() && one.media.is_empty()) {
                    self.publications.remove(&key);
                }
            }
            Owner::Subscription(session, connection, stream) => {
                let key = (session.clone(), connection.clone(), stream.clone());
                let subscription = self.subscriptions.get(&key);
                if subscription.is_some_and(|one| one.pending.is_none() && one.current.is_none()) {
                    self.subscriptions.remove(&key);
                }
            }
        }
    }

    fn push(&mut self, node: &NodeId, changes: Vec<Change<Entry>>) {
        self.changes
            .extend(changes.into_iter().map(|change| (node.clone(), change)));
    }

    fn remove(&mut self, node: &NodeId, keys: Vec<Key>) {
        for key in keys {
            if let Key::Transport(transport) = &key {
                self.owners.remove(transport);
            }
            self.changes.push((node.clone(), Change::Remove(key)));
        }
    }
}

/// RFC 8445 §5.3 asks for 24 bits and 128 bits of randomness; these have 71 and 190.
fn credentials(chance: &mut dyn Chance) -> link::IceCredentials {
    link::IceCredentials {
        ufrag: ids::alphanumerics(12, chance),
        pwd: ids::alphanumerics(32, chance),
    }
}

fn take_pending(
    pending: &mut Option<Pending>,
    transport: &TransportId,
) -> Result<Pending, Overtaken> {
    pending
        .take_if(|pending| pending.transport == *transport)
        .ok_or(Overtaken)
}

fn transport(pending: &Pending) -> Transport {
    Transport {
        id: pending.transport.clone(),
        session: pending.place.session.clone(),
        connection: pending.place.connection.clone(),
        local_ice: pending.ice.clone(),
        remote_ice: None,
        remote_fingerprints: Vec::new(),
    }
}

fn described(
    pending: &Pending,
    ice: &sdp::IceCredentials,
    fingerprints: &[sdp::Fingerprint],
) -> Entry {
    Entry::Transport(Transport {
        remote_ice: Some(media::ice(ice)),
        remote_fingerprints: media::fingerprints(fingerprints),
        ..transport(pending)
    })
}

fn subscribe_media(
    published: &[sdp::PublishedMedia],
    stream: &StreamId,
    wanted: impl Fn(sdp::Kind) -> bool,
    chance: &mut dyn Chance,
) -> Vec<SubscribeMedia> {
    let cname = ids::alphanumerics(16, chance);
    published
        .iter()
        .filter(|media| wanted(media.kind))
        .map(|media| one_medium(media.kind, media.codecs.clone(), stream, &cname, chance))
        .collect()
}

fn one_medium(
    kind: sdp::Kind,
    codecs: Vec<sdp::Codec>,
    stream: &StreamId,
    cname: &str,
    chance: &mut dyn Chance,
) -> SubscribeMedia {
    SubscribeMedia {
        kind,
        codecs,
        ssrc: ssrc(chance),
        rtx_ssrc: (kind == sdp::Kind::Video).then(|| ssrc(chance)),
        cname: cname.to_owned(),
        msid: Msid {
            stream: stream.to_string(),
            track: format!("{stream}-{}", kind.as_str()),
        },
    }
}

/// Any but 0, which some clients take for "none".
fn ssrc(chance: &mut dyn Chance) -> u32 {
    loop {
        let ssrc = (chance.next_u64() >> 32) as u32;
        if ssrc != 0 {
            return ssrc;
        }
    }
}

#[cfg(test)]
mod tests;
