use link::state::{
    ConnectionId, IceCredentials, PublisherId, SessionId, SubscriberId, Transport as Wanted,
    TransportId,
};
use proto::dtls;

use super::*;

fn node(transports_max: u32) -> Node {
    let certificate = dtls::Certificate::generate().expect("made");
    let config = dtls::Config::new(dtls::Settings::default()).expect("good settings");
    let handshakes = Handshakes::new(certificate, config, std::time::Instant::now());
    let address = |port: u16| vec![SocketAddr::from(([192, 0, 2, 1], port))];
    let limits = Limits {
        transports_max,
        session_transports: 2,
        capacity: crate::capacity::Capacity::UNLIMITED,
    };
    Node::new(vec![address(100), address(101)], limits, handshakes)
}

fn wanted(id: &str, session: &str) -> Wanted {
    Wanted {
        id: TransportId::new(id),
        session: SessionId::new(session),
        connection: ConnectionId::new(session),
        local_ice: IceCredentials {
            ufrag: format!("ufrag{id}"),
            pwd: "0123456789012345678901".into(),
        },
        remote_ice: None,
        remote_fingerprints: Vec::new(),
    }
}

fn publisher(id: &str, transport: &str) -> Entry {
    Entry::Publisher(state::Publisher {
        id: PublisherId::new(id),
        transport: TransportId::new(transport),
        media: Vec::new(),
    })
}

fn subscriber(id: &str, transport: &str, publisher: &str) -> Entry {
    Entry::Subscriber(state::Subscriber {
        id: SubscriberId::new(id),
        transport: TransportId::new(transport),
        publisher: PublisherId::new(publisher),
        media: Vec::new(),
    })
}

fn add(node: &mut Node, entry: Entry) {
    node.on_step(Instant::ZERO, Step::Add(entry));
}

/// What the workers are told, in short.
fn orders(node: &mut Node) -> Vec<(u16, String)> {
    let short = |command: Command| {
        let text = format!("{command:?}");
        let end = text.find(['(', ' ', '{']).unwrap_or(text.len());
        text[..end].to_owned()
    };
    std::iter::from_fn(|| node.poll_order())
        .map(|(worker, command)| (worker, short(command)))
        .collect()
}

fn state_of(node: &Node, id: &str) -> TransportState {
    match node
        .reported
        .get(&state::Key::Transport(TransportId::new(id)))
    {
        Some(Report::Transport(report)) => report.state.clone(),
        other => panic!("{id}: {other:?}"),
    }
}

fn refusal_of(node: &Node, key: &state::Key) -> String {
    match node.reported.get(key) {
        Some(Report::Refused(refusal)) => refusal.limit.clone(),
        other => panic!("{key:?}: {other:?}"),
    }
}

#[test]
fn a_session_goes_to_one_worker_and_its_port_is_reported() {
    let mut node = node(10);
    for (id, session) in [("a", "one"), ("b", "two"), ("c", "one")] {
        add(&mut node, Entry::Transport(wanted(id, session)));
    }
    let told = orders(&mut node);
    let expected = [0, 1, 0].map(|worker| (worker, "AddTransport".to_owned()));
    assert_eq!(told, expected);
    let Some(Report::Transport(report)) = node
        .reported
        .get(&state::Key::Transport(TransportId::new("b")))
    else {
        panic!("not reported")
    };
    assert_eq!((report.worker, report.addresses[0].port()), (1, 101));
    assert_eq!(report.state, TransportState::New);
}

#[test]
fn what_cannot_be_is_refused_with_the_limit() {
    let mut node = node(1);
    add(&mut node, Entry::Transport(wanted("a", "one")));
    add(&mut node, Entry::Transport(wanted("b", "one")));
    let key = |id| state::Key::Transport(TransportId::new(id));
    assert!(refusal_of(&node, &key("b")).contains("1 transports"));

    let mut twin = wanted("c", "two");
    twin.local_ice = wanted("a", "one").local_ice;
    add(&mut node, Entry::Transport(twin));
    assert!(refusal_of(&node, &key("c")).contains("same ufrag"));

    let mut short = wanted("d", "two");
    short.local_ice.pwd = "short".into();
    add(&mut node, Entry::Transport(short));
    assert!(refusal_of(&node, &key("d")).contains("ICE credentials"));

    add(&mut node, publisher("p", "nowhere"));
    let of_publisher = state::Key::Publisher(PublisherId::new("p"));
    assert!(refusal_of(&node, &of_publisher).contains("nowhere"));
    assert_eq!(node.counters.refusals, 4);
    // Whoever is refused leaves nothing behind, and there is room when the other goes.
    node.on_step(
        Instant::ZERO,
        Step::Remove(Entry::Transport(wanted("a", "one"))),
    );
    node.on_step(
        Instant::ZERO,
        Step::Remove(Entry::Transport(wanted("b", "one"))),
    );
    add(&mut node, Entry::Transport(wanted("b", "one")));
    assert_eq!(state_of(&node, "b"), TransportState::New);
}

#[test]
fn late_knowledge_of_the_peer_reaches_the_engine_and_makes_no_new_transport() {
    let mut node = node(10);
    let old = wanted("a", "one");
    add(&mut node, Entry::Transport(old.clone()));
    orders(&mut node);
    let new = Wanted {
        remote_ice: Some(wanted("peer", "one").local_ice),
        ..old.clone()
    };
    let change = |old: &Wanted, new: &Wanted| Step::Change {
        old: Entry::Transport(old.clone()),
        new: Entry::Transport(new.clone()),
    };
    node.on_step(Instant::ZERO, change(&old, &new));
    assert_eq!(orders(&mut node), [(0, "SetRemoteIce".to_owned())]);
    // Other credentials of our own make it another association.
    let other = Wanted {
        local_ice: wanted("other", "one").local_ice,
        ..new.clone()
    };
    node.on_step(Instant::ZERO, change(&new, &other));
    let told = orders(&mut node);
    assert_eq!(
        told,
        ["RemoveTransport", "AddTransport"].map(|order| (0, order.to_owned()))
    );
}

#[test]
fn ice_is_restarted_on_the_same_transport_and_another_certificate_is_another_one() {
    let mut node = node(10);
    let described = |ufrag: &str, remote: &str, fingerprint: &str| Wanted {
        local_ice: IceCredentials {
            ufrag: ufrag.into(),
            pwd: "0123456789012345678901".into(),
        },
        remote_ice: Some(IceCredentials {
            ufrag: remote.into(),
            pwd: "1098765432109876543210".into(),
        }),
        remote_fingerprints: vec![state::Fingerprint {
            algorithm: "sha-256".into(),
            value: vec![fingerprint; 32].join(":"),
        }],
        ..wanted("a", "one")
    };
    let first = described("ours1", "theirs1", "AB");
    add(&mut node, Entry::Transport(first.clone()));
    orders(&mut node);
    let change = |node: &mut Node, old: &Wanted, new: &Wanted| {
        let step = Step::Change {
            old: Entry::Transport(old.clone()),
            new: Entry::Transport(new.clone()),
        };
        node.on_step(Instant::ZERO, step);
        let told = orders(node).into_iter().map(|(_, order)| order);
        told.collect::<Vec<_>>()
    };
    let second = described("ours2", "theirs2", "AB");
    assert_eq!(change(&mut node, &first, &second), ["RestartIce"]);
    // Its old name is free, its new one is not.
    let other = |id: &str, ufrag: &str| Wanted {
        id: TransportId::new(id),
        ..described(ufrag, "theirs3", "AB")
    };
    add(&mut node, Entry::Transport(other("b", "ours2")));
    assert!(refusal_of(&node, &state::Key::Transport(TransportId::new("b"))).contains("ufrag"));
    add(&mut node, Entry::Transport(other("c", "ours1")));
    assert_eq!(state_of(&node, "c"), TransportState::New);
    orders(&mut node);
    let third = described("ours4", "theirs4", "CD");
    let told = change(&mut node, &second, &third);
    assert!(told.contains(&"RemoveTransport".into()) && told.contains(&"AddTransport".into()));
    // Of a restart both sides are told, or it is none.
    let half = Wanted {
        local_ice: described("ours5", "x", "CD").local_ice,
        ..third.clone()
    };
    assert!(change(&mut node, &third, &half).contains(&"AddTransport".into()));
}

#[test]
fn subscribers_may_come_before_their_publisher_and_survive_its_change() {
    let mut node = node(10);
    add(&mut node, Entry::Transport(wanted("a", "one")));
    add(&mut node, Entry::Transport(wanted("b", "one")));
    add(&mut node, subscriber("s", "b", "p"));
    add(&mut node, publisher("p", "a"));
    let ids = |node: &mut Node| -> Vec<api::PublisherId> {
        let all = std::iter::from_fn(|| node.poll_order());
        all.filter_map(|(_, command)| match command {
            Command::AddPublisher(spec) => Some(spec.id),
            Command::AddSubscriber(spec) => Some(spec.publisher),
            _ => None,
        })
        .collect()
    };
    let first = ids(&mut node);
    assert_eq!(first.len(), 2);
    assert_eq!(first[0], first[1], "both mean the same publisher");
    node.on_step(
        Instant::ZERO,
        Step::Change {
            old: publisher("p", "a"),
            new: publisher("p", "b"),
        },
    );
    assert_eq!(
        ids(&mut node),
        [first[0]],
        "the waiting subscriber finds it again"
    );
    assert_eq!(node.sizes(), (2, 1, 1));
    node.on_step(Instant::ZERO, Step::Remove(subscriber("s", "b", "p")));
    node.on_step(Instant::ZERO, Step::Remove(publisher("p", "b")));
    assert_eq!(node.sizes(), (2, 0, 0));
    assert!(node.publishers.is_empty(), "nobody mentions it any more");
}

#[test]
fn entries_may_come_in_any_order() {
    let entries = [
        Entry::Transport(wanted("a", "one")),
        Entry::Transport(wanted("b", "one")),
        publisher("p", "a"),
        subscriber("s", "b", "p"),
    ];
    // All permutations of four.
    for first in 0..256usize {
        let order = [first % 4, first / 4 % 4, first / 16 % 4, first / 64];
        if (0..4).any(|which| !order.contains(&which)) {
            continue;
        }
        let mut node = node(10);
        for which in order {
            add(&mut node, entries[which].clone());
        }
        assert_eq!(node.sizes(), (2, 1, 1), "{order:?}");
        let told = orders(&mut node);
        let place = |name: &str| told.iter().position(|(_, order)| order == name);
        assert_eq!(told.len(), 4, "{order:?}: {told:?}");
        assert!(place("AddTransport") < place("AddPublisher").min(place("AddSubscriber")));
        let refused = node.reported.reports();
        let refused = refused.filter(|report| matches!(report, Report::Refused(_)));
        assert_eq!(refused.count(), 0, "{order:?}");
        for which in order {
            node.on_step(Instant::ZERO, Step::Remove(entries[which].clone()));
        }
        assert_eq!(node.sizes(), (0, 0, 0), "{order:?}");
        let left = (node.publishers.len(), node.hanging.len());
        assert_eq!(left, (0, 0), "{order:?}");
    }
}

#[test]
fn a_transport_made_anew_carries_what_hung_on_the_old_one() {
    let mut node = node(10);
    let (old, other) = (wanted("a", "one"), wanted("b", "one"));
    add(&mut node, Entry::Transport(old.clone()));
    add(&mut node, Entry::Transport(other.clone()));
    add(&mut node, publisher("p", "a"));
    add(&mut node, subscriber("s", "b", "p"));
    orders(&mut node);
    let anew = |from: &Wanted, ufrag: &str| Step::Change {
        old: Entry::Transport(from.clone()),
        new: Entry::Transport(Wanted {
            local_ice: wanted(ufrag, "one").local_ice,
            ..from.clone()
        }),
    };
    node.on_step(Instant::ZERO, anew(&old, "c"));
    let expected = ["RemoveTransport", "AddTransport", "AddPublisher"];
    assert_eq!(
        orders(&mut node),
        expected.map(|order| (0, order.to_owned()))
    );
    node.on_step(Instant::ZERO, anew(&other, "d"));
    let expected = ["RemoveTransport", "AddTransport", "AddSubscriber"];
    assert_eq!(
        orders(&mut node),
        expected.map(|order| (0, order.to_owned()))
    );
    assert_eq!(node.sizes(), (2, 1, 1));
}

#[test]
fn what_ends_by_itself_is_reported_and_makes_room() {
    let mut node = node(1);
    add(&mut node, Entry::Transport(wanted("a", "one")));
    node.on_event(Instant::ZERO, Event::IceConnected(api::TransportId(1)));
    assert_eq!(state_of(&node, "a"), TransportState::Connecting);
    let closed = Event::Closed {
        transport: api::TransportId(1),
        reason: api::CloseReason::ConsentLost,
    };
    node.on_event(Instant::ZERO, closed);
    let expected = TransportState::Closed {
        reason: CloseReason::ConsentLost,
    };
    assert_eq!(state_of(&node, "a"), expected);
    // Late news of what is gone change nothing.
    node.on_event(Instant::ZERO, Event::IceConnected(api::TransportId(1)));
    assert_eq!(state_of(&node, "a"), expected);
    assert_eq!(node.counters.closed["consent_lost"], 1);
    orders(&mut node);
    // What was to be on it is not refused, it only comes to nothing.
    add(&mut node, publisher("p", "a"));
    assert_eq!(orders(&mut node), []);
    assert_eq!(node.sizes(), (0, 0, 0));
    add(&mut node, Entry::Transport(wanted("b", "two")));
    add(&mut node, Entry::Transport(wanted("c", "three")));
    assert_eq!(state_of(&node, "c"), TransportState::New);
    node.on_step(
        Instant::ZERO,
        Step::Remove(Entry::Transport(wanted("a", "one"))),
    );
    assert!(
        node.reported
            .get(&state::Key::Transport(TransportId::new("a")))
            .is_none()
    );
}

#[test]
fn a_stop_ends_everything() {
    let mut node = node(10);
    add(&mut node, Entry::Transport(wanted("a", "one")));
    add(&mut node, Entry::Transport(wanted("b", "two")));
    orders(&mut node);
    node.stop(Instant::ZERO);
    let expected = TransportState::Closed {
        reason: CloseReason::NodeStopped,
    };
    for id in ["a", "b"] {
        assert_eq!(state_of(&node, id), expected);
    }
    assert_eq!(orders(&mut node).len(), 2);
}

#[test]
fn a_session_goes_on_at_another_worker_and_what_is_subscribed_to_there_crosses() {
    let mut node = node(10);
    // Two transports of one session and worker, says the limit; further users go elsewhere.
    let user = |id: &str, connection: &str| {
        Entry::Transport(Wanted {
            connection: ConnectionId::new(connection),
            ..wanted(id, "one")
        })
    };
    add(&mut node, user("a", "alice"));
    add(&mut node, user("a2", "alice"));
    add(&mut node, user("b", "bob"));
    add(&mut node, user("a3", "alice"));
    let placed: Vec<u16> = orders(&mut node)
        .iter()
        .map(|(worker, _)| *worker)
        .collect();
    assert_eq!(placed, [0, 0, 1, 0], "alice stays together");
    assert_eq!(node.placement().sessions(), (0, 1));

    add(&mut node, subscriber("s", "b", "p"));
    add(&mut node, publisher("p", "a"));
    let named = |list: &[(u16, &str)]| -> Vec<(u16, String)> {
        let owned = list
            .iter()
            .map(|(worker, order)| (*worker, (*order).into()));
        owned.collect()
    };
    let expected = [
        (1, "AddSubscriber"),
        (0, "AddPublisher"),
        (0, "AddTap"),
        (1, "AddRemotePublisher"),
    ];
    assert_eq!(orders(&mut node), named(&expected));
    // One who subscribes at home needs no tap, and a second one over there no second.
    add(&mut node, subscriber("s2", "a2", "p"));
    add(&mut node, subscriber("s3", "b", "p"));
    let expected = [(0, "AddSubscriber"), (1, "AddSubscriber")];
    assert_eq!(orders(&mut node), named(&expected));
    // The publisher's transport ends by itself, and comes again.
    let closed = Event::Closed {
        transport: api::TransportId(1),
        reason: api::CloseReason::ConsentLost,
    };
    node.on_event(Instant::ZERO, closed);
    let expected = [(1, "RemovePublisher"), (0, "RemoveTap")];
    assert_eq!(orders(&mut node), named(&expected));
    node.on_step(Instant::ZERO, Step::Remove(user("a", "alice")));
    add(&mut node, user("a", "alice"));
    let expected = [
        (0, "AddTransport"),
        (0, "AddPublisher"),
        (0, "AddTap"),
        (1, "AddRemotePublisher"),
    ];
    assert_eq!(orders(&mut node), named(&expected));
    for (id, transport) in [("s", "b"), ("s3", "b")] {
        node.on_step(Instant::ZERO, Step::Remove(subscriber(id, transport, "p")));
    }
    let expected = [
        (1, "RemoveSubscriber"),
        (1, "RemovePublisher"),
        (0, "RemoveTap"),
        (1, "RemoveSubscriber"),
    ];
    assert_eq!(orders(&mut node), named(&expected));
    node.on_step(Instant::ZERO, Step::Remove(publisher("p", "a")));
    node.on_step(Instant::ZERO, Step::Remove(subscriber("s2", "a2", "p")));
    assert!(node.taps.is_empty() && node.publishers.is_empty());
}

#[test]
fn who_speaks_is_told_to_the_master_and_to_workers_that_send_it_on() {
    let mut node = node(10);
    for id in ["a", "b", "c"] {
        add(&mut node, Entry::Transport(wanted(id, "one")));
    }
    let sound = |id: &str, transport: &str| {
        let media = state::PublishedMedia {
            kind: state::Kind::Audio,
            mid: "0".into(),
            codecs: Vec::new(),
            extensions: Vec::new(),
            encodings: vec![state::Encoding::default()],
            bandwidth_max: None,
            is_screen: false,
        };
        Entry::Publisher(state::Publisher {
            id: PublisherId::new(id),
            transport: TransportId::new(transport),
            media: vec![media],
        })
    };
    add(&mut node, sound("p", "a"));
    add(&mut node, sound("q", "b"));
    add(&mut node, subscriber("s", "c", "p"));
    let mut publishers = Vec::new();
    while let Some((_, command)) = node.poll_order() {
        if let Command::AddPublisher(spec) = command {
            publishers.push(spec.id);
        }
    }
    let speaks = |node: &mut Node, nth: usize, millis: u64| {
        let activity = api::Activity {
            steps: 10,
            frames: 5,
            fives: 10,
            level: 20,
            is_muted: false,
        };
        let publisher = publishers[nth];
        let event = Event::Heard {
            publisher,
            activity,
        };
        node.on_event(Instant::from_millis(millis), event);
    };
    let told = |node: &Node| {
        let key = state::Key::Session(SessionId::new("one"));
        match node.reported.get(&key) {
            Some(Report::Voice(report)) => report.speaker.clone(),
            other => panic!("{other:?}"),
        }
    };
    let ordered = |node: &mut Node| -> Vec<(api::PublisherId, bool)> {
        let all = std::iter::from_fn(|| node.poll_order());
        all.filter_map(|(worker, command)| match command {
            Command::SetSpeaking { publisher, speaks } => {
                assert_eq!(worker, 0, "where the subscriber is");
                Some((publisher, speaks))
            }
            _ => None,
        })
        .collect()
    };
    speaks(&mut node, 0, 1_000);
    assert_eq!(told(&node), Some(PublisherId::new("p")));
    assert_eq!(ordered(&mut node), [(publishers[0], true)]);
    // Of the first nothing is heard for seconds. Nobody subscribes to the second, until somebody does.
    speaks(&mut node, 1, 5_000);
    assert_eq!(told(&node), Some(PublisherId::new("q")));
    assert_eq!(ordered(&mut node), [(publishers[0], false)]);
    add(&mut node, subscriber("t", "c", "q"));
    assert_eq!(ordered(&mut node), [(publishers[1], true)]);
    let due = Instant::from_millis(6_000);
    node.on_step(due, Step::Remove(sound("q", "b")));
    assert_eq!(told(&node), None);
    assert_eq!(ordered(&mut node), [(publishers[1], false)]);
    node.on_step(due, Step::Remove(sound("p", "a")));
    let key = state::Key::Session(SessionId::new("one"));
    assert_eq!(node.reported.get(&key), None, "nothing is left of it");
}

fn trouble_of(node: &Node, id: &str) -> (Option<Trouble>, Option<u64>) {
    let key = state::Key::Transport(TransportId::new(id));
    match node.reported.get(&key) {
        Some(Report::Transport(report)) => (report.trouble.clone(), report.since),
        other => panic!("{id}: {other:?}"),
    }
}

fn standing(node: &mut Node, at: u64, id: u64, trouble: Option<api::Trouble>) {
    let transport = api::TransportId(id);
    let event = Event::Standing { transport, trouble };
    node.on_event(Instant::from_millis(at), event);
}

#[test]
fn a_trouble_is_reported_with_its_time_and_taken_back() {
    let mut node = node(10).with_clock(1_000_000);
    add(&mut node, Entry::Transport(wanted("a", "one")));
    assert_eq!(trouble_of(&node, "a"), (None, Some(1_000_000)));
    standing(&mut node, 6_000, 1, Some(api::Trouble::NoCheck));
    let no_check = Some(Trouble::from(Cause::NoCheck));
    assert_eq!(trouble_of(&node, "a"), (no_check.clone(), Some(1_006_000)));
    standing(&mut node, 8_000, 1, Some(api::Trouble::NoCheck));
    assert_eq!(
        trouble_of(&node, "a"),
        (no_check, Some(1_006_000)),
        "as before"
    );
    assert_eq!(node.counters.troubled["no_check"], 1);
    let ice = Event::IceConnected(api::TransportId(1));
    node.on_event(Instant::from_millis(9_000), ice);
    assert_eq!(trouble_of(&node, "a"), (None, Some(1_009_000)));
    assert_eq!(node.counters.troubled["no_check"], 0);
    // What is missing of the handshake is known to the handshake.
    standing(&mut node, 15_000, 1, Some(api::Trouble::NoKeys));
    let waits = Some(Trouble::from(Cause::NoClientHello));
    assert_eq!(trouble_of(&node, "a"), (waits, Some(1_015_000)));
    let datagram = Event::Dtls {
        transport: api::TransportId(1),
        from: SocketAddr::from(([198, 51, 100, 1], 1)),
        datagram: vec![22, 254, 253, 0, 0],
    };
    node.on_event(Instant::from_millis(16_000), datagram);
    let begun = Some(Trouble::from(Cause::HandshakeUnfinished));
    assert_eq!(trouble_of(&node, "a"), (begun, Some(1_016_000)));
    assert_eq!(node.counters.troubles.values().sum::<u64>(), 3);
}

#[test]
fn why_a_transport_ended_stays_with_it() {
    let mut node = node(10);
    for id in ["a", "b", "c"] {
        add(&mut node, Entry::Transport(wanted(id, id)));
    }
    standing(&mut node, 6_000, 1, Some(api::Trouble::WrongIntegrity));
    let closed = |id, reason| Event::Closed {
        transport: api::TransportId(id),
        reason,
    };
    let now = Instant::from_millis(30_000);
    node.on_event(now, closed(1, api::CloseReason::IceTimeout));
    node.on_event(now, closed(2, api::CloseReason::ConsentLost));
    let cause = |node: &Node, id| trouble_of(node, id).0.map(|trouble| trouble.cause);
    assert_eq!(cause(&node, "a"), Some(Cause::WrongIntegrity));
    assert_eq!(cause(&node, "b"), Some(Cause::ConsentLost));
    assert_eq!(node.counters.troubled["wrong_integrity"], 0);
    assert_eq!(node.counters.troubles["wrong_integrity"], 1, "counted once");
    assert_eq!(node.counters.troubles["consent_lost"], 1);
    // What is taken off is in no trouble.
    let taken = Entry::Transport(wanted("c", "c"));
    node.on_step(now, Step::Remove(taken));
    assert_eq!(node.counters.troubles.len(), 2);
}

#[test]
fn what_is_refused_on_a_transport_is_its_trouble() {
    let mut node = node(10);
    add(&mut node, Entry::Transport(wanted("a", "one")));
    let Entry::Publisher(mut many) = publisher("p", "a") else {
        unreachable!("it is one")
    };
    let medium = state::PublishedMedia {
        kind: state::Kind::Audio,
        mid: "0".into(),
        codecs: Vec::new(),
        extensions: Vec::new(),
        encodings: Vec::new(),
        bandwidth_max: None,
        is_screen: false,
    };
    many.media = vec![medium; 17];
    add(&mut node, Entry::Publisher(many.clone()));
    let (trouble, _) = trouble_of(&node, "a");
    let trouble = trouble.expect("it is told");
    assert_eq!(trouble.cause, Cause::Refused);
    assert!(trouble.detail.is_some_and(|why| why.contains("16 media")));
    node.on_step(Instant::ZERO, Step::Remove(Entry::Publisher(many)));
    assert_eq!(trouble_of(&node, "a").0, None);
}
