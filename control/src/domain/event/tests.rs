//! What applications are told of calls, in the order in which they are told.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use super::super::ids::{self, testing::Seeded};
use super::super::*;
use super::*;

/// An application that keeps books, and objects to what would confuse it.
#[derive(Debug, Default)]
pub(in crate::domain) struct Books {
    sessions: BTreeSet<(SessionId, Millis)>,
    users: BTreeMap<ConnectionId, User>,
    ends: BTreeMap<(ConnectionId, StreamId), StreamEnd>,
}

impl Books {
    pub(in crate::domain) fn note(&mut self, event: &SessionEvent) {
        let session = (event.session.clone(), event.session_started_at);
        let is_new = matches!(event.happened, Happened::SessionCreated);
        assert!(is_new || self.sessions.contains(&session), "{event:?}");
        match &event.happened {
            Happened::SessionCreated => assert!(self.sessions.insert(session), "made twice"),
            Happened::SessionDestroyed(_) => {
                assert!(self.users.is_empty() && self.ends.is_empty(), "{self:?}");
                self.sessions.remove(&session);
            }
            Happened::ParticipantJoined(user) => {
                let before = self.users.insert(user.connection.clone(), user.clone());
                assert_eq!(before, None, "joined twice");
            }
            Happened::ParticipantLeft(user, _) => {
                assert_eq!(self.users.remove(&user.connection).as_ref(), Some(user));
                let left = self.ends.keys().any(|(who, _)| *who == user.connection);
                assert!(!left, "its streams end first");
            }
            Happened::WebrtcConnectionCreated(end) => {
                assert!(self.users.contains_key(&end.connection), "joined first");
                if let Some(publisher) = &end.receiving_from {
                    let source = (publisher.clone(), end.stream.clone());
                    assert!(self.ends.contains_key(&source), "published first");
                }
                let before = self.ends.insert(key(end), end.clone());
                assert!(before.is_none() || end.receiving_from.as_ref() == Some(&end.connection));
            }
            Happened::WebrtcConnectionDestroyed(end, _) => {
                let begun = self.ends.remove(&key(end));
                assert_eq!(begun.as_ref(), Some(end), "as it began, and once");
                if end.receiving_from.is_none() {
                    let mut streams = self.ends.keys().map(|(_, stream)| stream);
                    assert!(streams.all(|one| *one != end.stream), "receivers first");
                }
            }
            Happened::SignalSent { .. } => {}
        }
    }

    /// Nothing is under way.
    pub(in crate::domain) fn are_closed(&self) -> bool {
        self.sessions.is_empty() && self.users.is_empty() && self.ends.is_empty()
    }
}

/// Who receives its own stream has two ends of it.
fn key(end: &StreamEnd) -> (ConnectionId, StreamId) {
    let own = end.receiving_from.as_ref() == Some(&end.connection);
    let who = match own {
        true => ConnectionId::new(format!("{} itself", end.connection)),
        false => end.connection.clone(),
    };
    (who, end.stream.clone())
}

struct Call {
    domain: Domain,
    chance: Seeded,
    session: SessionId,
    books: Books,
    now: Millis,
}

impl Call {
    fn new() -> Self {
        let mut call = Self {
            domain: Domain::new(),
            chance: Seeded(3),
            session: SessionId::new("S"),
            books: Books::default(),
            now: 1,
        };
        call.create("S");
        call
    }

    fn create(&mut self, id: &str) {
        let properties = super::super::tests::properties(id);
        let made = self.domain.create_session(properties, 1, &mut self.chance);
        assert!(made.is_ok());
    }

    fn join(&mut self, name: &str) -> ConnectionId {
        let hidden = name == ids::RECORDER;
        let mut request = JoinRequest {
            session: "S".to_owned(),
            ip: "198.51.100.7".to_owned(),
            trusted: hidden,
            recorder: hidden,
            ..JoinRequest::default()
        };
        if !hidden {
            let properties = ConnectionProperties {
                data: json!({"openviduCustomConnectionId": name}).to_string(),
                ..ConnectionProperties::default()
            };
            let (session, chance) = (&self.session, &mut self.chance);
            let made = self
                .domain
                .create_connection(session, properties, 1, chance);
            request.token = made.expect("the session is there").token.clone();
        }
        self.now += 1;
        let joined = self.domain.join(&request, self.now, &mut self.chance);
        joined.expect("it may").id
    }

    fn publish(&mut self, who: &ConnectionId) -> StreamId {
        let properties = StreamProperties {
            has_audio: true,
            has_video: true,
            type_of_video: Some("CAMERA".to_owned()),
            ..StreamProperties::default()
        };
        let (session, chance) = (&self.session, &mut self.chance);
        let begun = self.domain.begin_publish(session, who, &properties, chance);
        let stream = begun.expect("it may");
        self.now += 1;
        let done = self
            .domain
            .complete_publish(session, who, &stream, properties, self.now);
        done.expect("it was begun").id
    }

    fn subscribe(&mut self, who: &ConnectionId, stream: &StreamId) {
        self.now += 1;
        let done = self.domain.subscribe(&self.session, who, stream, self.now);
        assert_eq!(done, Ok(()));
    }

    /// What applications were told since, in short.
    fn told(&mut self) -> Vec<String> {
        let mut told = Vec::new();
        while let Some(output) = self.domain.poll() {
            if let Output::Event(event) = output {
                self.books.note(&event);
                told.push(in_short(&event.happened));
            }
        }
        told
    }
}

fn in_short(happened: &Happened) -> String {
    let name = |id: &ConnectionId| id.as_str().trim_start_matches("con_").to_owned();
    let end = |end: &StreamEnd| match &end.receiving_from {
        None => format!("{} sends", name(&end.connection)),
        Some(from) => format!("{} receives {}", name(&end.connection), name(from)),
    };
    match happened {
        Happened::SessionCreated => "created".to_owned(),
        Happened::SessionDestroyed(reason) => format!("destroyed: {}", reason.as_str()),
        Happened::ParticipantJoined(user) => format!("{} joined", name(&user.connection)),
        Happened::ParticipantLeft(user, reason) => {
            format!("{} left: {}", name(&user.connection), reason.as_str())
        }
        Happened::WebrtcConnectionCreated(one) => end(one),
        Happened::WebrtcConnectionDestroyed(one, reason) => {
            format!("{} no more: {}", end(one), reason.as_str())
        }
        Happened::SignalSent {
            from,
            to,
            kind,
            data,
        } => {
            let from = from.as_ref().map_or_else(|| "server".to_owned(), name);
            let to: Vec<_> = to.iter().map(name).collect();
            format!("{from} to {}: {kind} {data}", to.join("+"))
        }
    }
}

#[test]
fn a_whole_call_is_told_in_order() {
    let mut call = Call::new();
    let session = call.session.clone();
    let (a, b) = (call.join("A"), call.join("B"));
    let recorder = call.join(ids::RECORDER);
    let of_a = call.publish(&a);
    let of_b = call.publish(&b);
    call.subscribe(&b, &of_a);
    call.subscribe(&a, &of_b);
    // Once more is a reconnection, and helpers are nobody.
    call.subscribe(&b, &of_a);
    call.subscribe(&recorder, &of_a);
    assert_eq!(
        call.told(),
        [
            "created",
            "A joined",
            "B joined",
            "A sends",
            "B sends",
            "B receives A",
            "A receives B"
        ]
    );
    let signal = |call: &mut Call, from: Option<&ConnectionId>, to: &[ConnectionId], kind| {
        let sent = call.domain.signal(&session, from, to, kind, Some("hi"));
        assert_eq!(sent, Ok(()));
    };
    signal(&mut call, Some(&a), &[], Some("signal:chat"));
    signal(
        &mut call,
        None,
        std::slice::from_ref(&b),
        Some("signal:chat"),
    );
    assert_eq!(
        call.told(),
        ["A to A+B: chat hi", "server to B: signal:chat hi"]
    );
    assert_eq!(call.domain.unsubscribe(&session, &a, &b), Ok(()));
    call.subscribe(&a, &of_b);
    assert_eq!(call.domain.unpublish(&session, &a), Ok(()));
    assert_eq!(
        call.told(),
        [
            "A receives B no more: unsubscribe",
            "A receives B",
            "B receives A no more: unpublish",
            "A sends no more: unpublish",
        ]
    );
    let of_a = call.publish(&a);
    call.subscribe(&b, &of_a);
    call.told();
    assert_eq!(call.domain.leave(&session, &a, Reason::Disconnect), Ok(()));
    assert_eq!(
        call.told(),
        [
            "B receives A no more: disconnect",
            "A receives B no more: disconnect",
            "A sends no more: disconnect",
            "A left: disconnect",
        ]
    );
    let reason = Reason::ForceUnpublishByServer;
    assert_eq!(call.domain.force_unpublish(&session, &of_b, reason), Ok(()));
    let reason = Reason::ForceDisconnectByServer;
    assert_eq!(call.domain.evict(&session, &b, reason), Ok(()));
    assert_eq!(
        call.told(),
        [
            "B sends no more: forceUnpublishByServer",
            "B left: forceDisconnectByServer",
            "destroyed: lastParticipantLeft",
        ]
    );
    assert!(call.books.are_closed());
}

#[test]
fn what_ends_a_session_at_once_is_the_reason_of_everything() {
    for reason in [Reason::SessionClosedByServer, Reason::NodeCrashed] {
        let mut call = Call::new();
        let session = call.session.clone();
        let (a, b) = (call.join("A"), call.join("B"));
        let of_a = call.publish(&a);
        call.subscribe(&b, &of_a);
        call.subscribe(&a, &of_a);
        call.told();
        match reason {
            Reason::NodeCrashed => {
                let node = NodeId::new("media_1");
                call.domain.place(&session, node.clone());
                call.domain.node_lost(&node, reason);
            }
            _ => assert_eq!(call.domain.close_session(&session, reason), Ok(())),
        }
        let why = reason.as_str();
        assert_eq!(
            call.told(),
            [
                format!("B receives A no more: {why}"),
                format!("A receives A no more: {why}"),
                format!("A sends no more: {why}"),
                format!("A left: {why}"),
                format!("B left: {why}"),
                format!("destroyed: {why}"),
            ]
        );
        assert!(call.books.are_closed());
    }
}

#[test]
fn sessions_that_nobody_used_end_silently_unless_they_are_ended() {
    let mut call = Call::new();
    call.create("T");
    assert_eq!(call.told(), ["created", "created"]);
    let reason = Reason::SessionClosedByServer;
    assert_eq!(
        call.domain.close_session(&SessionId::new("T"), reason),
        Ok(())
    );
    assert_eq!(call.told(), ["destroyed: sessionClosedByServer"]);
    assert_eq!(call.domain.collect_garbage(2), 1);
    assert_eq!(call.told(), Vec::<String>::new());
}
