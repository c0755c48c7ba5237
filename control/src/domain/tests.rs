//! What users see is what is, whatever happens in whatever order.

use std::collections::BTreeMap;

use serde_json::json;

use super::ids::testing::Seeded;
use super::*;

/// A client that believes what it is told, and objects to what would confuse a real one.
#[derive(Debug, Default)]
struct View {
    others: BTreeMap<ConnectionId, Option<StreamId>>,
    own: Option<StreamId>,
}

impl View {
    fn hear(&mut self, me: &ConnectionId, notification: &Notification) {
        match notification {
            Notification::ParticipantJoined { id, .. } => {
                assert!(id != me && !self.others.contains_key(id), "joined twice");
                self.others.insert(id.clone(), None);
            }
            Notification::ParticipantPublished { id, stream } => {
                let known = self.others.get_mut(id).expect("joined before it published");
                assert_eq!(*known, None, "published twice");
                *known = Some(stream.id.clone());
            }
            Notification::ParticipantUnpublished { connection_id, .. } => {
                let stream = match connection_id == me {
                    true => self.own.take(),
                    false => self.others.get_mut(connection_id).expect("known").take(),
                };
                assert!(stream.is_some(), "nothing was published");
            }
            Notification::ParticipantLeft { connection_id, .. } => {
                let left = self.others.remove(connection_id);
                assert!(left.is_some(), "left before it joined");
            }
            _ => {}
        }
    }
}

/// Of a session that is to have this id.
pub(super) fn properties(id: &str) -> SessionProperties {
    SessionProperties {
        media_mode: "ROUTED".to_owned(),
        recording_mode: "MANUAL".to_owned(),
        custom_session_id: id.to_owned(),
        default_recording_properties: json!({}),
        media_node: None,
        expected_connections: None,
        expected_publishers: None,
        forced_video_codec: "NONE".to_owned(),
        allow_transcoding: false,
        limits: crate::domain::Limits::default(),
    }
}

struct World {
    domain: Domain,
    chance: Seeded,
    session: SessionId,
    views: BTreeMap<ConnectionId, View>,
    gone: Vec<Output>,
    books: event::tests::Books,
}

impl World {
    fn new(seed: u64) -> Self {
        Self {
            domain: Domain::new(),
            chance: Seeded(seed),
            session: SessionId::new("S"),
            views: BTreeMap::new(),
            gone: Vec::new(),
            books: event::tests::Books::default(),
        }
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.chance.next_u64() % bound
    }

    fn somebody(&mut self) -> Option<ConnectionId> {
        let count = self.views.len() as u64;
        if count == 0 {
            return None;
        }
        let at = self.below(count) as usize;
        self.views.keys().nth(at).cloned()
    }

    fn join(&mut self) {
        let properties = properties("S");
        // Taken is fine.
        let _ = self.domain.create_session(properties, 0, &mut self.chance);
        let connection = self
            .domain
            .create_connection(
                &self.session,
                ConnectionProperties::default(),
                0,
                &mut self.chance,
            )
            .expect("the session is there");
        let request = JoinRequest {
            session: "S".to_owned(),
            token: connection.token.clone(),
            ..JoinRequest::default()
        };
        let joined = self
            .domain
            .join(&request, 0, &mut self.chance)
            .expect("the token is good");
        assert!(
            self.domain.join(&request, 0, &mut self.chance).is_err(),
            "single use"
        );
        let others = joined.others.into_iter();
        let others = others
            .map(|one| (one.id, one.stream.map(|stream| stream.id)))
            .collect();
        self.views.insert(joined.id, View { others, own: None });
    }

    fn publish(&mut self, id: &ConnectionId) {
        let properties = StreamProperties::default();
        let begun = self
            .domain
            .begin_publish(&self.session, id, &properties, &mut self.chance);
        let publishes = self.views[id].own.is_some();
        let stream = match begun {
            Ok(stream) => stream,
            Err(refused) => {
                assert!(
                    publishes && refused.code == Code::UserStreaming,
                    "{refused}"
                );
                return;
            }
        };
        assert!(!publishes);
        if self.below(4) == 0 {
            self.domain.abandon_publish(&self.session, id, &stream);
            return;
        }
        self.domain
            .complete_publish(&self.session, id, &stream, properties, 0)
            .expect("it is reserved");
        self.views.get_mut(id).expect("here").own = Some(stream);
    }

    fn act(&mut self) {
        let action = self.below(12);
        let (Some(one), Some(other)) = (self.somebody(), self.somebody()) else {
            return self.join();
        };
        let session = self.session.clone();
        let stream = self.views[&other].own.clone();
        match (action, stream) {
            (0..=2, _) => self.join(),
            (3, _) => {
                self.views.remove(&one);
                self.domain
                    .leave(&session, &one, Reason::Disconnect)
                    .expect("it was here");
            }
            (4, _) => self
                .domain
                .evict(&session, &one, Reason::ForceDisconnectByServer)
                .expect("it was here"),
            (5 | 6, _) => self.publish(&one),
            (7, _) => {
                let unpublished = self.domain.unpublish(&session, &one).is_ok();
                let own = self.views.get_mut(&one).expect("here").own.take();
                assert_eq!(unpublished, own.is_some());
            }
            (8 | 9, Some(stream)) => {
                assert_eq!(self.domain.subscribe(&session, &one, &stream, 0), Ok(()));
            }
            (10, Some(stream)) => {
                let reason = Reason::ForceUnpublishByServer;
                assert_eq!(
                    self.domain.force_unpublish(&session, &stream, reason),
                    Ok(())
                );
            }
            (11, _) if self.below(10) == 0 => {
                let reason = Reason::SessionClosedByServer;
                assert_eq!(self.domain.close_session(&session, reason), Ok(()));
            }
            _ => assert_eq!(self.domain.unsubscribe(&session, &one, &other), Ok(())),
        }
    }

    fn settle(&mut self) {
        while let Some(output) = self.domain.poll() {
            if let Output::Event(event) = &output {
                self.books.note(event);
                continue;
            }
            let Output::Notify {
                to, notification, ..
            } = &output
            else {
                self.gone.push(output);
                continue;
            };
            if let Notification::ParticipantEvicted { connection_id, .. } = &**notification {
                assert_eq!(connection_id, to);
                self.views.remove(to).expect("evicted once");
                continue;
            }
            let view = self
                .views
                .get_mut(to)
                .expect("nobody speaks to those who left");
            view.hear(to, notification);
        }
    }

    /// What everybody believes is what is.
    fn check(&self) {
        let Some(session) = self.domain.session(&self.session) else {
            assert!(self.views.is_empty());
            assert!(self.books.are_closed());
            return;
        };
        let truth: BTreeMap<_, _> = session
            .active()
            .map(|one| (one.id.clone(), one.stream().map(|stream| stream.id.clone())))
            .collect();
        assert_eq!(truth.len(), self.views.len());
        for (id, view) in &self.views {
            let mut believed = view.others.clone();
            believed.insert(id.clone(), view.own.clone());
            assert_eq!(believed, truth);
        }
        let streams: Vec<_> = truth.values().flatten().collect();
        for one in session.active().flat_map(|one| one.subscriptions()) {
            assert!(streams.contains(&&one.stream), "receives what is gone");
        }
    }
}

#[test]
fn everybody_sees_what_is() {
    for seed in 0..200 {
        let mut world = World::new(seed);
        for _ in 0..120 {
            world.act();
            world.settle();
            world.check();
        }
    }
}

#[test]
fn those_who_stay_hear_of_an_eviction_before_the_evicted() {
    let mut world = World::new(1);
    world.join();
    world.join();
    world.settle();
    let ids: Vec<_> = world.views.keys().cloned().collect();
    let session = world.session.clone();
    let reason = Reason::ForceDisconnectByServer;
    assert_eq!(world.domain.evict(&session, &ids[0], reason), Ok(()));
    let order: Vec<_> = std::iter::from_fn(|| world.domain.poll()).collect();
    assert!(
        matches!(&order[0], Output::Notify { to, notification, .. } if *to == ids[1] && matches!(**notification, Notification::ParticipantLeft { .. }))
    );
    assert!(
        matches!(&order[1], Output::Notify { to, notification, .. } if *to == ids[0] && matches!(**notification, Notification::ParticipantEvicted { .. }))
    );
    assert!(matches!(&order[2], Output::ConnectionGone { .. }));
}

#[test]
fn a_session_that_nobody_joined_is_forgotten_silently() {
    let mut world = World::new(1);
    world.join();
    let used = world.domain.sessions()[0].created_at;
    assert_eq!(
        world.domain.collect_garbage(used + 1),
        0,
        "somebody is in it"
    );
    let properties = world.domain.sessions()[0].properties.clone();
    let properties = SessionProperties {
        custom_session_id: "T".to_owned(),
        ..properties
    };
    let chance = &mut world.chance;
    assert!(world.domain.create_session(properties, 50, chance).is_ok());
    world.settle();
    assert_eq!(world.domain.collect_garbage(50), 0);
    assert_eq!(world.domain.collect_garbage(51), 1);
    assert!(world.domain.session(&SessionId::new("T")).is_none());
}

#[test]
fn custom_connection_ids_are_honoured_once() {
    let mut world = World::new(1);
    world.join();
    let properties = ConnectionProperties {
        data: r#"{"openviduCustomConnectionId":"tea cher!"}"#.to_owned(),
        ..ConnectionProperties::default()
    };
    let mut make = || {
        let (session, chance) = (&world.session, &mut world.chance);
        let made = world
            .domain
            .create_connection(session, properties.clone(), 0, chance);
        made.expect("made").id.to_string()
    };
    assert_eq!(make(), "con_teacher");
    assert_ne!(make(), "con_teacher");
}

#[test]
fn metadata_has_a_separator_only_between_two() {
    let mut connection = Connection::pending(
        ConnectionId::new("con_A"),
        String::new(),
        ConnectionProperties::default(),
        0,
    );
    assert_eq!(connection.metadata(), "");
    connection.properties.data = "server".to_owned();
    assert_eq!(connection.metadata(), "server");
    connection.presence = Some(connection::Presence {
        client_data: "client".to_owned(),
        ..connection::Presence::default()
    });
    assert_eq!(connection.metadata(), "client%/%server");
    connection.properties.data.clear();
    assert_eq!(connection.metadata(), "client");
}
