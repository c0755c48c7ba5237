//! Whatever order things happen in, nothing dangles on a node and nothing is left behind.

use link::desired::DesiredState;
use link::{Change, Entry, Key};
use sdp::{Kind, PublishedMedia};

use super::*;
use crate::domain::ids::testing::Seeded;

const STREAMS: u64 = 3;
const CONNECTIONS: u64 = 3;

struct World {
    media: Reconciler,
    desired: DesiredState,
    chance: Seeded,
    session: SessionId,
}

fn stream(at: u64) -> StreamId {
    StreamId::new(format!("str_{at}"))
}

fn connection(at: u64) -> ConnectionId {
    ConnectionId::new(format!("con_{at}"))
}

fn ice() -> sdp::IceCredentials {
    sdp::IceCredentials {
        ufrag: "ufra".to_owned(),
        pwd: "p".repeat(22),
    }
}

fn published() -> PublishParameters {
    PublishParameters {
        ice: ice(),
        fingerprints: Vec::new(),
        media: vec![PublishedMedia {
            bandwidth_max: None,
            kind: Kind::Audio,
            mid: "0".to_owned(),
            codecs: Vec::new(),
            extensions: Vec::new(),
            encodings: Vec::new(),
        }],
    }
}

fn publishing<'a>(
    agreed: &'a PublishParameters,
    loopback: Option<&'a SubscribeParameters>,
) -> Publishing<'a> {
    Publishing {
        agreed,
        loopback,
        is_screen: false,
    }
}

fn subscribed() -> SubscribeParameters {
    SubscribeParameters {
        ice: ice(),
        fingerprints: Vec::new(),
        media: Vec::new(),
    }
}

impl World {
    fn new(seed: u64) -> Self {
        Self {
            media: Reconciler::new(),
            desired: DesiredState::new(),
            chance: Seeded(seed),
            session: SessionId::new("S"),
        }
    }

    fn place(&self, at: u64) -> Place {
        Place::new(NodeId::new("media_1"), &self.session, 1, &connection(at))
    }

    fn any_transport(&mut self) -> Option<TransportId> {
        let transports: Vec<_> = self
            .desired
            .entries()
            .filter_map(|entry| match entry {
                Entry::Transport(transport) => Some(transport.id.clone()),
                _ => None,
            })
            .collect();
        let count = transports.len().max(1) as u64;
        let at = (self.chance.next_u64() % count) as usize;
        transports.into_iter().nth(at)
    }

    fn act(&mut self) {
        let (session, chance) = (self.session.clone(), &mut self.chance);
        let s = stream(chance.next_u64() % STREAMS);
        let at = chance.next_u64() % CONNECTIONS;
        let (c, action) = (connection(at), chance.next_u64() % 10);
        let place = self.place(at);
        let chance = &mut self.chance;
        match action {
            0 | 1 => {
                let pending = self.media.begin_publication(&place, &session, &s, chance);
                let id = &pending.transport;
                if !chance.next_u64().is_multiple_of(3) {
                    let loopback = chance.next_u64().is_multiple_of(4).then(subscribed);
                    self.media
                        .commit_publication(
                            &session,
                            &s,
                            id,
                            publishing(&published(), loopback.as_ref()),
                            chance,
                        )
                        .expect("it was begun");
                }
            }
            2..=4 => {
                let pending = self
                    .media
                    .begin_subscription(&place, &session, &c, &s, chance);
                let id = &pending.transport;
                if !chance.next_u64().is_multiple_of(3) {
                    // Without a publication there is nothing to receive.
                    let _ =
                        self.media
                            .commit_subscription(&session, &c, &s, id, &subscribed(), chance);
                }
            }
            5 => self.media.subscription_gone(&session, &c, &s),
            6 => self.media.connection_gone(&session, &c),
            7 => self.media.stream_gone(&session, &s),
            8 => {
                if let Some(id) = self.any_transport() {
                    self.media.abandon(&id);
                }
            }
            _ => {
                if let Some(id) = self.any_transport() {
                    self.media.transport_closed(&id);
                }
            }
        }
    }

    fn settle(&mut self) {
        for (_, change) in self.media.take_changes() {
            match change {
                Change::Put(entry) => self.desired.put(entry),
                Change::Remove(key) => self.desired.remove(&key),
            };
        }
    }

    fn check(&self) {
        let has = |id: &TransportId| self.desired.get(&Key::Transport(id.clone())).is_some();
        for entry in self.desired.entries() {
            match entry {
                Entry::Transport(transport) => {
                    assert!(
                        self.media.owner(&transport.id).is_some(),
                        "nobody's transport"
                    );
                }
                Entry::Publisher(publisher) => assert!(has(&publisher.transport), "dangles"),
                Entry::Subscriber(subscriber) => assert!(has(&subscriber.transport), "dangles"),
            }
        }
        let transports = self
            .desired
            .entries()
            .filter(|entry| matches!(entry, Entry::Transport(_)))
            .count();
        assert_eq!(self.media.owners.len(), transports);
        assert_eq!(self.media.has_media(&self.session), transports > 0);
        // Those that come right before and after it by name.
        for other in ["R", "S-", "T", ""] {
            assert!(!self.media.has_media(&SessionId::new(other)), "{other}");
        }
    }
}

#[test]
fn nothing_dangles_and_nothing_is_left_behind() {
    for seed in 0..300 {
        let mut world = World::new(seed);
        for _ in 0..80 {
            world.act();
            world.settle();
            world.check();
        }
        for at in 0..STREAMS {
            world.media.stream_gone(&world.session.clone(), &stream(at));
        }
        for at in 0..CONNECTIONS {
            world
                .media
                .connection_gone(&world.session.clone(), &connection(at));
        }
        world.settle();
        assert_eq!(world.desired.entries().count(), 0);
        assert!(world.media.publications.is_empty() && world.media.subscriptions.is_empty());
    }
}

#[test]
fn what_was_overtaken_is_not_put_into_force() {
    let mut world = World::new(1);
    let (session, s, c) = (world.session.clone(), stream(0), connection(1));
    let place = world.place(0);
    let chance = &mut world.chance;
    let first = world.media.begin_publication(&place, &session, &s, chance);
    let second = world.media.begin_publication(&place, &session, &s, chance);
    let mut commit = |pending: &Pending| {
        let id = &pending.transport;
        world.media.commit_publication(
            &session,
            &s,
            id,
            publishing(&published(), None),
            &mut world.chance,
        )
    };
    assert_eq!(commit(&first), Err(Overtaken));
    assert_eq!(commit(&second), Ok(()));
    assert_eq!(commit(&second), Err(Overtaken));
    assert_eq!(world.media.open_offer(&session, &c, &s), None);
    let place = world.place(1);
    let pending = world
        .media
        .begin_subscription(&place, &session, &c, &s, &mut world.chance);
    let offered = Offered { media: Vec::new() };
    let id = &pending.transport;
    let kept = world
        .media
        .keep_offer(&session, &c, &s, id, offered.clone());
    assert_eq!(kept, Ok(()));
    let open = world.media.open_offer(&session, &c, &s);
    assert_eq!(open, Some((id.clone(), offered)));
    world.media.stream_gone(&session, &s);
    assert_eq!(world.media.open_offer(&session, &c, &s), None);
}
