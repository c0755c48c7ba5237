//! The master dies, and another one goes on from what it has written.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::domain::{ConnectionId, StreamId};
use crate::store::{Batch, Row, Store, Table};
use crate::testing::{Dir, FakeNode, master_in};

/// Everything that must outlive a master, as it has it in memory.
fn image(app: &App) -> BTreeMap<(Table, String), String> {
    app.step(|core| {
        let mut batch = Batch::default();
        core.domain.touch_all();
        core.media.touch_all();
        core.rpc.touch_all();
        core.domain.write(&mut batch);
        core.media.write(&mut batch);
        core.rpc.keep(&mut batch, false);
        crate::cluster::load::kept::keep_all(&mut batch, core.loads.history());
        let rows = batch.rows().iter().map(|row| match row {
            Row::Put(table, key, value) => ((*table, key.clone()), value.clone()),
            Row::Remove(table, key) => panic!("{table:?} {key} is there no more"),
        });
        rows.collect()
    })
}

/// The same as it is on the disk.
fn kept(dir: &Dir, of: &BTreeMap<(Table, String), String>) -> BTreeMap<(Table, String), String> {
    let (_, mut loaded) = Store::open(&dir.0).expect("a good state");
    let tables = [
        Table::Sessions,
        Table::Connections,
        Table::RpcSessions,
        Table::Publications,
        Table::Subscriptions,
        Table::Counters,
        Table::History,
    ];
    let rows = tables.into_iter().flat_map(|table| {
        let rows = loaded.take(table).into_iter();
        rows.map(move |(key, value)| ((table, key), value))
    });
    // Other counters are none of ours.
    rows.filter(|(key, _)| key.0 != Table::Counters || of.contains_key(key))
        .collect()
}

async fn written(app: &App) {
    app.tick();
    app.committed().await.expect("the disk takes it");
}

fn entries(node: &FakeNode) -> Vec<String> {
    let entries = node.entries().into_iter();
    entries.map(|one| format!("{one:?}")).collect()
}

#[tokio::test]
async fn a_call_goes_on_under_the_next_master() {
    let dir = Dir::new("again");
    let (app, node) = master_in(&dir, 7);
    let mut a = Client::join(&app, Role::Publisher).await;
    let stream = a.publish().await;
    let mut b = Client::join(&app, Role::Publisher).await;
    b.subscribe(&stream).await;
    // Offered, and the client is about to answer.
    let mut c = Client::join(&app, Role::Subscriber).await;
    let params = json!({"sender": stream, "reconnect": false});
    c.good("prepareReceiveVideoFrom", params).await;
    let unused = token(&app, Role::Moderator);
    a.heard();
    b.heard();
    a.good(
        "sendMessage",
        json!({"message": "{\"data\":\"x\",\"type\":\"t\",\"to\":[]}"}),
    )
    .await;
    written(&app).await;
    let (before, life) = (image(&app), app.facts.clone());

    let copy = dir.copy();
    let (next, next_node) = master_in(&copy, 8);
    assert_eq!(
        next.facts.life, life.life,
        "clients must not take it for another"
    );
    assert!(next.facts.epoch > life.epoch);
    assert_eq!(image(&next), before);
    assert_eq!(entries(&next_node), entries(&node));
    for client in [&mut a, &mut b, &mut c] {
        client.app = next.clone();
        client.reopen();
        let answer = client.resume().await;
        assert_eq!(answer["result"]["value"], "reconnection successful");
    }
    assert_eq!(
        b.heard_methods().last().map(String::as_str),
        Some("sendMessage")
    );
    c.heard();
    c.good(
        "receiveVideoFrom",
        json!({"sender": stream, "sdpAnswer": ANSWER}),
    )
    .await;
    let mut d = Client::connect(&next);
    d.good("joinRoom", join_params(&unused)).await;
    let (transports, publishers, subscribers) = next_node.counts();
    assert_eq!((transports, publishers, subscribers), (3, 1, 2));
}

#[tokio::test]
async fn whoever_does_not_come_back_is_gone_in_the_end() {
    let dir = Dir::new("gone");
    let (app, _) = master_in(&dir, 7);
    let a = Client::join(&app, Role::Publisher).await;
    let mut b = Client::join(&app, Role::Publisher).await;
    written(&app).await;
    let copy = dir.copy();
    let (next, _) = master_in(&copy, 8);
    b.app = next.clone();
    b.reopen();
    b.resume().await;
    b.heard();
    let later = Instant::now() + Duration::from_secs(3600);
    next.step(|core| {
        let overdue = core.rpc.overdue(later);
        assert_eq!(overdue.len(), 1, "the one that did not come back");
        let super::super::sessions::Overdue::Lost((session, id)) = &overdue[0];
        assert_eq!(id.as_str(), a.id);
        let evicted = core.domain.evict(session, id, Reason::NetworkDisconnect);
        assert!(evicted.is_ok());
    });
    assert_eq!(b.heard_methods(), ["participantLeft"]);
}

/// What a client may do; which one, and to whom, is in the numbers.
#[derive(Clone, Debug)]
enum Act {
    Join,
    Publish(usize),
    Unpublish(usize),
    Subscribe(usize, usize),
    Prepare(usize, usize),
    Signal(usize),
    Confirm(usize),
    Cut(usize),
    Return(usize),
    Leave(usize),
    Evict(usize),
    CloseSession,
}

fn act() -> impl Strategy<Value = Act> {
    let who = || 0..6usize;
    prop_oneof![
        3 => Just(Act::Join),
        3 => who().prop_map(Act::Publish),
        1 => who().prop_map(Act::Unpublish),
        4 => (who(), who()).prop_map(|(a, b)| Act::Subscribe(a, b)),
        2 => (who(), who()).prop_map(|(a, b)| Act::Prepare(a, b)),
        2 => who().prop_map(Act::Signal),
        2 => who().prop_map(Act::Confirm),
        1 => who().prop_map(Act::Cut),
        1 => who().prop_map(Act::Return),
        1 => who().prop_map(Act::Leave),
        1 => who().prop_map(Act::Evict),
        1 => Just(Act::CloseSession),
    ]
}

struct Crowd {
    app: Arc<App>,
    clients: Vec<Client>,
    streams: Vec<String>,
}

impl Crowd {
    async fn act(&mut self, act: &Act) {
        let count = self.clients.len();
        let pick = |which: usize| (count > 0).then(|| which % count);
        match act {
            Act::Join => {
                let client = Client::join(&self.app, Role::Moderator).await;
                self.clients.push(client);
            }
            Act::CloseSession => {
                let id = SessionId::new("S");
                self.app.step(|core| {
                    // There may be none.
                    let _ = core
                        .domain
                        .close_session(&id, Reason::SessionClosedByServer);
                });
            }
            Act::Publish(who) => {
                self.ask(pick(*who), "publishVideo", publish_params(OFFER))
                    .await
            }
            Act::Unpublish(who) => self.ask(pick(*who), "unpublishVideo", json!({})).await,
            Act::Prepare(who, whom) => self.prepare(pick(*who), *whom).await,
            Act::Subscribe(who, whom) => {
                self.prepare(pick(*who), *whom).await;
                let sender = self.stream(*whom);
                let params = json!({"sender": sender, "sdpAnswer": ANSWER});
                self.ask(pick(*who), "receiveVideoFrom", params).await;
            }
            Act::Signal(who) => {
                let message = json!({"data": "x", "type": "t", "to": []}).to_string();
                self.ask(pick(*who), "sendMessage", json!({"message": message}))
                    .await;
            }
            Act::Leave(who) => self.ask(pick(*who), "leaveRoom", json!({})).await,
            Act::Evict(who) => {
                if let Some(who) = pick(*who) {
                    let id = crate::domain::ConnectionId::new(self.clients[who].id.clone());
                    self.app.step(|core| {
                        let session = SessionId::new("S");
                        let reason = Reason::ForceDisconnectByServer;
                        // It may be gone.
                        let _ = core.domain.evict(&session, &id, reason);
                    });
                }
            }
            Act::Confirm(who) => {
                if let Some(who) = pick(*who) {
                    let socket = self.clients[who].socket;
                    self.app.step(|core| core.rpc.heard(socket, u64::MAX));
                }
            }
            Act::Cut(who) => {
                if let Some(who) = pick(*who) {
                    self.clients[who].cut();
                }
            }
            Act::Return(who) => {
                if let Some(who) = pick(*who) {
                    self.clients[who].heard();
                    self.clients[who].reopen();
                    self.clients[who].resume().await;
                }
            }
        }
    }

    async fn prepare(&mut self, who: Option<usize>, whom: usize) {
        let params = json!({"sender": self.stream(whom), "reconnect": false});
        self.ask(who, "prepareReceiveVideoFrom", params).await;
    }

    fn stream(&self, which: usize) -> String {
        match self.streams.len() {
            0 => "str_none".to_owned(),
            count => self.streams[which % count].clone(),
        }
    }

    /// Refusals are fine: who is gone can't publish.
    async fn ask(&mut self, who: Option<usize>, method: &str, params: Value) {
        let Some(who) = who else { return };
        let client = &mut self.clients[who];
        client.send(method, params).await;
        while let Some(frame) = client.next_frame() {
            if method == "publishVideo"
                && let Some(stream) = frame["result"]["id"].as_str()
            {
                self.streams.push(stream.to_owned());
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_the_next_master_knows_it(acts in prop::collection::vec(act(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(async {
            let dir = Dir::new("any");
            let (app, node) = master_in(&dir, 7);
            let mut crowd = Crowd { app: app.clone(), clients: Vec::new(), streams: Vec::new() };
            for act in &acts {
                crowd.act(act).await;
            }
            written(&app).await;
            let before = image(&app);
            let copy = dir.copy();
            assert_eq!(kept(&copy, &before), before, "all that changed was written");
            let unheard = app.step(|core| core.rpc.unheard());
            let (next, next_node) = master_in(&copy, 8);
            assert_eq!(image(&next), before, "all that was written is understood");
            assert_eq!(entries(&next_node), entries(&node));
            assert_eq!(next.step(|core| core.rpc.unheard()), unheard);
        });
    }
}

#[tokio::test]
async fn an_announcement_that_was_passed_over_is_not_told_by_the_next_master() {
    let dir = Dir::new("passed");
    let (app, _node) = master_in(&dir, 7);
    let mut viewer = Client::join(&app, Role::Subscriber).await;
    let _other = Client::join(&app, Role::Subscriber).await;
    let mut publisher = Client::join(&app, Role::Publisher).await;
    let stream = publisher.publish().await;
    // It had not confirmed the announcement when its socket broke, and receives the stream.
    while viewer.next_frame().is_some() {}
    viewer.subscribe(&stream).await;
    viewer.cut();
    viewer.reopen();
    viewer.resume().await;
    let announced = |app: &App| {
        let unheard = app.step(|core| core.rpc.unheard());
        let texts = unheard.into_values().flatten().map(|(_, text)| text);
        texts
            .filter(|text| text.contains("participantPublished"))
            .count()
    };
    assert_eq!(announced(&app), 1, "the other one has still to hear of it");
    written(&app).await;
    let (next, _next_node) = master_in(&dir.copy(), 8);
    assert_eq!(announced(&next), 1);
}

#[tokio::test]
async fn what_is_over_is_taken_off_the_node_once_that_is_written_down() {
    let (app, node) = master();
    let mut a = Client::join(&app, Role::Publisher).await;
    a.publish().await;
    let there = || node.desired.lock().expect("nobody else").entries().count();
    let before = there();
    assert!(before > 0);
    app.step(|core| {
        let (session, connection) = (SessionId::new("S"), ConnectionId::new(a.id.clone()));
        let gone = core
            .domain
            .evict(&session, &connection, Reason::ForceDisconnectByServer);
        assert!(gone.is_ok());
    });
    assert_eq!(there(), before, "the disk may not have it yet");
    app.wait_and_carry_removals();
    assert_eq!(there(), 0);
}

#[tokio::test]
async fn a_publisher_that_was_not_answered_leaves_nothing_on_the_node() {
    let dir = Dir::new("unanswered");
    let (app, node) = master_in(&dir, 7);
    let mut a = Client::join(&app, Role::Publisher).await;
    a.publish().await;
    let before = node.counts();
    app.step(|core| {
        let member = (SessionId::new("S"), ConnectionId::new(a.id.clone()));
        let place = core.place_of(&member).expect("it is there");
        let stream = StreamId::new("str_asked_for");
        let chance = core.chance.as_mut();
        core.media
            .begin_publication(&place, &member.0, &stream, chance);
    });
    assert_eq!(node.counts().0, before.0 + 1);
    written(&app).await;
    let copy = dir.copy();
    let (_next, next_node) = master_in(&copy, 8);
    assert_eq!(next_node.counts(), before);
}
