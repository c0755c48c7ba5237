use std::net::{Ipv4Addr, SocketAddr};

use tokio::sync::mpsc;
use tokio::time::timeout;

use super::master::{Dialer, News, NoReport, NodeConfig, NodeEvent, NodeLink};
use super::node::{Listener, MasterConnection};
use super::*;
use crate::applied::AppliedState;
use crate::desired::DesiredState;
use crate::message::{Capacity, Heartbeat, Hello, PROTOCOL_VERSION, ToMaster, ToNode, Welcome};
use crate::pki::Authority;
use crate::reported::ReportedState;
use crate::state::*;
use crate::statistics::{StatisticsAnswer, StatisticsQuestion, TransportStatistics};

const PATIENCE: Duration = Duration::from_secs(10);
const LOCALHOST: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

fn transport(id: &str) -> Entry {
    Entry::Transport(Transport {
        id: TransportId::new(id),
        session: SessionId::new("s"),
        connection: ConnectionId::new("c"),
        local_ice: IceCredentials {
            ufrag: "abcd".into(),
            pwd: "0123456789012345678901".into(),
        },
        remote_ice: None,
        remote_fingerprints: Vec::new(),
    })
}

fn hello(node: &str, instance: &str) -> Hello {
    Hello {
        version: PROTOCOL_VERSION,
        node: node.into(),
        instance: instance.into(),
        software: "test".into(),
        dtls_fingerprints: Vec::new(),
        capacity: Capacity::default(),
        metrics: None,
    }
}

/// A node that makes every transport, at once, on worker 3, except those called `no…`.
struct FakeNode {
    applied: AppliedState,
    reported: ReportedState,
    hello: Hello,
}

impl FakeNode {
    fn new(node: &str, instance: &str) -> Self {
        Self {
            applied: AppliedState::new(),
            reported: ReportedState::new(),
            hello: hello(node, instance),
        }
    }

    /// Until the connection breaks.
    async fn serve(&mut self, mut master: MasterConnection) -> Result<(), Error> {
        if let Err(error) = self.applied.on_welcome(&master.welcome) {
            master.hang_up.superseded(&error);
            return Err(error.into());
        }
        master
            .sender
            .send(&ToMaster::Hello(self.hello.clone()))
            .await?;
        self.reported.on_connected();
        let mut beat = tokio::time::interval(HEARTBEAT);
        loop {
            while let Some(message) = self.reported.poll() {
                master.sender.send(&message).await?;
            }
            tokio::select! {
                message = master.receiver.receive() => {
                    let message = message?;
                    if let ToNode::AskStatistics(question) = &message {
                        for part in answer(question) {
                            master.sender.send(&ToMaster::Statistics(part)).await?;
                        }
                    }
                    self.applied.on_message(message)?;
                    self.report();
                }
                _ = beat.tick() => {
                    let heartbeat = Heartbeat { applied: self.applied.revision(), ..Heartbeat::default() };
                    master.sender.send(&ToMaster::Heartbeat(heartbeat)).await?;
                }
            }
        }
    }

    fn report(&mut self) {
        for entry in self.applied.entries() {
            let Entry::Transport(transport) = entry else {
                continue;
            };
            self.reported
                .put(if transport.id.as_str().starts_with("no") {
                    Report::Refused(Refusal {
                        key: entry.key(),
                        limit: "full".into(),
                    })
                } else {
                    Report::Transport(TransportReport {
                        id: transport.id.clone(),
                        worker: 3,
                        addresses: vec![LOCALHOST],
                        state: TransportState::New,
                        since: None,
                        trouble: None,
                    })
                });
        }
    }
}

/// Two parts; about the session `silent` nothing is said.
fn answer(question: &StatisticsQuestion) -> Vec<StatisticsAnswer> {
    if question.session == Some(SessionId::new("silent")) {
        return Vec::new();
    }
    let part = |id: &str, more| StatisticsAnswer {
        number: question.number,
        transports: vec![TransportStatistics {
            id: TransportId::new(id),
            round_trip_micros: Some(7),
            estimate_bits_per_second: None,
            received: Vec::new(),
            sent: Vec::new(),
        }],
        more,
    };
    vec![part("a", true), part("b", false)]
}

fn node_config(address: SocketAddr) -> NodeConfig {
    NodeConfig {
        name: "first".into(),
        address,
        node_id: Some("node-1".into()),
        epoch: 1,
        known_instance: None,
    }
}

fn serve_forever(listener: Listener, mut node: FakeNode) -> tokio::task::JoinHandle<()> {
    tokio::spawn(async move {
        while let Some(incoming) = listener.accept().await {
            if let Ok(master) = incoming.establish().await {
                let _ = node.serve(master).await;
            }
        }
    })
}

async fn next(events: &mut mpsc::Receiver<NodeEvent>, wanted: impl Fn(&News) -> bool) -> News {
    let wait = async {
        loop {
            let event = events.recv().await.expect("the link lives");
            if wanted(&event.news) {
                return event.news;
            }
        }
    };
    timeout(PATIENCE, wait)
        .await
        .expect("the news come in time")
}

fn id(text: &str) -> TransportId {
    TransportId::new(text)
}

#[tokio::test]
async fn what_is_put_is_made_and_reported_and_survives_the_loss_of_the_connection() {
    let authority = Authority::generate("test").expect("randomness");
    let ca = authority.certificate_pem();
    let ours =
        Credentials::from_identity(ca, &authority.issue_master().expect("made")).expect("fits");
    let theirs = Credentials::from_identity(ca, &authority.issue_node("node-1").expect("made"))
        .expect("fits");

    let listener = Listener::bind(LOCALHOST, &theirs).expect("a free port");
    let address = listener.local_address().expect("bound");
    let node = serve_forever(listener, FakeNode::new("node-1", "a"));
    let (events, mut news) = mpsc::channel(1024);
    let dialer = Dialer::new(&ours).expect("sockets");
    let mut desired = DesiredState::new();
    desired.put(transport("early"));
    let link = NodeLink::spawn(dialer, node_config(address), desired, events);

    let report = link
        .transport_report(&id("early"), PATIENCE)
        .await
        .expect("made");
    assert_eq!((report.worker, report.state), (3, TransportState::New));
    assert!(link.is_up());
    link.put_all((0..600).map(|i| transport(&format!("t{i}"))));
    link.put(transport("no-room"));
    let refused = link.transport_report(&id("no-room"), PATIENCE).await;
    assert_eq!(refused, Err(NoReport::Refused("full".into())));
    assert!(link.report(&Key::Transport(id("t599"))).is_some());
    let never = link.transport_report(&id("unheard-of"), PATIENCE).await;
    assert_eq!(never, Err(NoReport::Withdrawn));
    next(
        &mut news,
        |news| matches!(news, News::Heartbeat(beat) if beat.applied == link.revision()),
    )
    .await;

    // The process dies; another one takes its place, at the same address, and knows nothing.
    node.abort();
    let _ = node.await;
    next(&mut news, |news| {
        matches!(news, News::Down { was_up: true, .. })
    })
    .await;
    assert!(!link.is_up());
    // Nobody answers; and who waits for something that is taken back need not wait to the end.
    link.put(transport("unanswered"));
    let none = link
        .transport_report(&id("unanswered"), Duration::from_millis(50))
        .await;
    assert_eq!(none, Err(NoReport::Timeout));
    let (asked, waited) = (link.clone(), id("unanswered"));
    let waiting = tokio::spawn(async move { asked.transport_report(&waited, PATIENCE).await });
    link.remove(&Key::Transport(id("unanswered")));
    let taken_back = timeout(PATIENCE / 2, waiting).await.expect("at once");
    assert_eq!(taken_back.expect("no panic"), Err(NoReport::Withdrawn));
    let listener = loop {
        match Listener::bind(address, &theirs) {
            Ok(listener) => break listener,
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    };
    let node = serve_forever(listener, FakeNode::new("node-1", "b"));
    let up = next(&mut news, |news| matches!(news, News::Up { .. })).await;
    assert!(matches!(up, News::Up { restarted: true, hello } if hello.instance == "b"));
    let News::Reports(gone) = next(&mut news, |news| matches!(news, News::Reports(_))).await else {
        unreachable!()
    };
    assert_eq!(
        gone.len(),
        602,
        "everything that the old process had is gone"
    );
    link.put(transport("late"));
    link.transport_report(&id("late"), PATIENCE)
        .await
        .expect("made");
    assert_eq!(link.reports().len(), 1);
    link.stop();
    let stopped = link.transport_report(&id("unheard-of"), PATIENCE).await;
    assert_eq!(stopped, Err(NoReport::Stopped));
    node.abort();
}

#[tokio::test]
async fn streams_are_asked_about_and_nobody_waits_for_ever() {
    let authority = Authority::generate("test").expect("randomness");
    let ca = authority.certificate_pem();
    let ours =
        Credentials::from_identity(ca, &authority.issue_master().expect("made")).expect("fits");
    let theirs = Credentials::from_identity(ca, &authority.issue_node("node-1").expect("made"))
        .expect("fits");
    let listener = Listener::bind(LOCALHOST, &theirs).expect("a free port");
    let address = listener.local_address().expect("bound");
    let node = serve_forever(listener, FakeNode::new("node-1", "a"));
    let (events, mut news) = mpsc::channel(1024);
    let dialer = Dialer::new(&ours).expect("sockets");
    let link = NodeLink::spawn(dialer, node_config(address), DesiredState::new(), events);
    let all = StatisticsQuestion::default();
    let early = link.statistics(all.clone(), PATIENCE).await;
    assert_eq!(early, Err(NoReport::Stopped), "it is not there yet");
    next(&mut news, |news| matches!(news, News::Up { .. })).await;

    let told = link.statistics(all.clone(), PATIENCE).await.expect("told");
    let names: Vec<_> = told.iter().map(|one| one.id.as_str()).collect();
    assert_eq!(names, ["a", "b"], "both parts");

    let silent = || StatisticsQuestion {
        session: Some(SessionId::new("silent")),
        ..StatisticsQuestion::default()
    };
    let none = link.statistics(silent(), Duration::from_millis(20)).await;
    assert_eq!(none, Err(NoReport::Timeout));
    // Who gave up makes room for others; more than a few are not asked at a time.
    let waiting: Vec<_> = (0..super::master::QUESTIONS_MAX)
        .map(|_| {
            let asked = link.clone();
            tokio::spawn(async move { asked.statistics(silent(), PATIENCE).await })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(50)).await;
    let refused = link.statistics(all, PATIENCE).await;
    assert_eq!(refused, Err(NoReport::Timeout));
    node.abort();
    for one in waiting {
        let told = timeout(PATIENCE / 2, one)
            .await
            .expect("as soon as the link is lost");
        assert_eq!(told.expect("no panic"), Err(NoReport::Stopped));
    }
}

#[tokio::test]
async fn only_a_master_of_the_cluster_gets_in_and_only_to_the_node_it_means() {
    let authority = Authority::generate("test").expect("randomness");
    let stranger = Authority::generate("test").expect("randomness");
    let ca = authority.certificate_pem();
    let node = |id: &str| {
        Credentials::from_identity(ca, &authority.issue_node(id).expect("made")).expect("fits")
    };
    let listener = Listener::bind(LOCALHOST, &node("node-1")).expect("a free port");
    let address = listener.local_address().expect("bound");
    let served = serve_forever(listener, FakeNode::new("node-1", "a"));

    let foreign = Credentials::from_identity(
        stranger.certificate_pem(),
        &stranger.issue_master().expect("made"),
    )
    .expect("fits");
    let mixed =
        Credentials::from_identity(ca, &stranger.issue_master().expect("made")).expect("fits");
    let another_node = node("node-2");
    let ours =
        Credentials::from_identity(ca, &authority.issue_master().expect("made")).expect("fits");
    let meant = |id: &str| NodeConfig {
        node_id: Some(id.into()),
        ..node_config(address)
    };
    for (credentials, config, kind) in [
        (&foreign, node_config(address), Trouble::Certificate),
        (&mixed, node_config(address), Trouble::Certificate),
        (&another_node, node_config(address), Trouble::Certificate),
        (&ours, meant("node-2"), Trouble::WrongPeer),
    ] {
        let (events, mut news) = mpsc::channel(16);
        let dialer = Dialer::new(credentials).expect("sockets");
        let link = NodeLink::spawn(dialer, config, DesiredState::new(), events);
        let first = next(&mut news, |_| true).await;
        let News::Down {
            trouble,
            was_up: false,
            ..
        } = first
        else {
            panic!("{first:?}")
        };
        assert_eq!(trouble, kind);
        link.stop();
    }
    let dialer = Dialer::new(&ours).expect("sockets");
    let there = dialer.identify(address, PATIENCE).await;
    assert_eq!(there.expect("a node of ours"), "node-1");
    let dialer = Dialer::new(&foreign).expect("sockets");
    let refused = dialer.identify(address, PATIENCE).await;
    let trouble = refused.expect_err("another authority").trouble();
    assert_eq!(trouble, Trouble::Certificate);
    // The same node, a right master, and no particular node meant.
    let (events, mut news) = mpsc::channel(16);
    let any = NodeConfig {
        node_id: None,
        ..node_config(address)
    };
    let _link = NodeLink::spawn(
        Dialer::new(&ours).expect("sockets"),
        any,
        DesiredState::new(),
        events,
    );
    let first = next(&mut news, |_| true).await;
    assert!(
        matches!(
            &first,
            News::Up {
                restarted: false,
                ..
            }
        ),
        "{first:?}"
    );
    served.abort();
}

#[tokio::test]
async fn an_older_master_is_turned_away() {
    let authority = Authority::generate("test").expect("randomness");
    let ca = authority.certificate_pem();
    let ours =
        Credentials::from_identity(ca, &authority.issue_master().expect("made")).expect("fits");
    let theirs = Credentials::from_identity(ca, &authority.issue_node("node-1").expect("made"))
        .expect("fits");
    let listener = Listener::bind(LOCALHOST, &theirs).expect("a free port");
    let address = listener.local_address().expect("bound");
    let mut fake = FakeNode::new("node-1", "a");
    let newer = Welcome {
        version: PROTOCOL_VERSION,
        epoch: 7,
    };
    fake.applied.on_welcome(&newer).expect("the first one");
    let served = serve_forever(listener, fake);
    let (events, mut news) = mpsc::channel(16);
    let _link = NodeLink::spawn(
        Dialer::new(&ours).expect("sockets"),
        node_config(address),
        DesiredState::new(),
        events,
    );
    let first = next(&mut news, |_| true).await;
    let News::Down { why, trouble, .. } = first else {
        panic!("an older epoch got in")
    };
    assert_eq!(trouble, Trouble::Superseded);
    assert!(why.contains("epoch 7"), "{why}");
    served.abort();
}

#[tokio::test]
async fn a_node_of_a_later_version_is_not_misunderstood() {
    let authority = Authority::generate("test").expect("randomness");
    let ca = authority.certificate_pem();
    let ours =
        Credentials::from_identity(ca, &authority.issue_master().expect("made")).expect("fits");
    let theirs = Credentials::from_identity(ca, &authority.issue_node("node-1").expect("made"))
        .expect("fits");
    let listener = Listener::bind(LOCALHOST, &theirs).expect("a free port");
    let address = listener.local_address().expect("bound");
    let mut fake = FakeNode::new("node-1", "a");
    fake.hello.version = PROTOCOL_VERSION + 1;
    let served = serve_forever(listener, fake);
    let (events, mut news) = mpsc::channel(16);
    let dialer = Dialer::new(&ours).expect("sockets");
    let link = NodeLink::spawn(dialer, node_config(address), DesiredState::new(), events);
    let News::Down { why, trouble, .. } = next(&mut news, |_| true).await else {
        panic!("a later version got in")
    };
    assert_eq!(trouble, Trouble::Version);
    assert!(why.contains("update this side"), "{why}");
    assert!(!link.is_up());
    served.abort();
}

/// An authority whose certificate ended in the year 2000.
fn ended_authority() -> Authority {
    let directory = std::env::temp_dir().join(format!("ringcast-ended-{}", std::process::id()));
    std::fs::create_dir_all(&directory).expect("a temporary directory");
    let key = rcgen::KeyPair::generate().expect("randomness");
    let mut params = rcgen::CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Constrained(0));
    params.not_before = rcgen::date_time_ymd(1999, 1, 1);
    params.not_after = rcgen::date_time_ymd(2000, 1, 1);
    let certificate = params.self_signed(&key).expect("signed").pem();
    let write = |file, text: String| std::fs::write(directory.join(file), text).expect("written");
    write(crate::pki::CA_CERTIFICATE_FILE, certificate);
    write(crate::pki::CA_KEY_FILE, key.serialize_pem());
    let authority = Authority::load(&directory).expect("read back");
    std::fs::remove_dir_all(&directory).expect("removed");
    authority
}

#[tokio::test]
async fn what_an_authority_signed_is_trusted_after_its_end_and_the_end_is_known() {
    let (ended, young) = (
        ended_authority(),
        Authority::generate("test").expect("randomness"),
    );
    let both = [ended.certificate_pem(), young.certificate_pem()].concat();
    let from = |identity| Credentials::from_identity(&both, &identity).expect("fits");
    let ours = from(ended.issue_master().expect("made"));
    let end = SystemTime::UNIX_EPOCH + Duration::from_secs(946_684_800);
    assert_eq!(ours.authority_expiry(), end, "the first to end");

    let theirs = from(ended.issue_node("node-1").expect("made"));
    let listener = Listener::bind(LOCALHOST, &theirs).expect("a free port");
    let address = listener.local_address().expect("bound");
    let node = serve_forever(listener, FakeNode::new("node-1", "a"));
    let (events, _news) = mpsc::channel(1024);
    let mut desired = DesiredState::new();
    desired.put(transport("t"));
    let dialer = Dialer::new(&ours).expect("sockets");
    let link = NodeLink::spawn(dialer, node_config(address), desired, events);
    let made = link.transport_report(&id("t"), PATIENCE).await;
    assert!(made.is_ok(), "{made:?}");
    node.abort();
}

#[test]
fn files_hold_what_was_made_and_keys_are_for_the_owner_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = std::env::temp_dir().join(format!("ringcast-pki-{}", std::process::id()));
    std::fs::create_dir_all(&directory).expect("a temporary directory");
    let made = Authority::generate("test").expect("randomness");
    made.store(&directory).expect("written");
    let authority = Authority::load(&directory).expect("read back");
    let identity = authority.issue_node("media_10.0.0.1").expect("made");
    let (certificate, key) = identity.store(&directory, "node").expect("written");
    let ca = directory.join(crate::pki::CA_CERTIFICATE_FILE);
    let credentials = Credentials::load(&ca, &certificate, &key).expect("read back");
    assert_eq!(credentials.names(), ["node.ringcast", "media_10.0.0.1"]);
    let in_a_year = std::time::SystemTime::now() + Duration::from_secs(365 * 24 * 60 * 60);
    assert!(credentials.expiry() > in_a_year);
    assert!(credentials.authority_expiry() > credentials.expiry());
    for reserved in ["master.ringcast", "node.ringcast", ""] {
        assert!(authority.issue_node(reserved).is_err(), "{reserved:?}");
    }
    for secret in [key, directory.join(crate::pki::CA_KEY_FILE)] {
        let mode = std::fs::metadata(secret)
            .expect("there")
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    let missing = Credentials::load(&ca, &certificate, &directory.join("none.key"));
    assert!(matches!(missing, Err(Error::Credentials { .. })));
    std::fs::remove_dir_all(&directory).expect("removed");
}
