//! A master with a node that is not there: for tests of what needs both.

use std::collections::HashMap;
use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use link::desired::DesiredState;
use link::quic::master::NoReport;
use link::statistics::{StatisticsQuestion, TransportStatistics};
use link::{Change, Entry, Fingerprint, Hello, Load, TransportId, TransportReport, TransportState};

use crate::app::App;
use crate::cluster::link::StatisticsAnswer;
use crate::cluster::{Link, MediaNode};
use crate::config::{Config, Settings};
use crate::domain::NodeId;
use crate::domain::ids::testing::Seeded;
use crate::metrics::Metrics;
use crate::nodes::dialling::{DialOrder, Dials, Identified};
use crate::store::{Loaded, Store};

/// The secret of test masters.
pub const SECRET: &str = "MY_SECRET";

/// A node that makes every transport at once and reports it.
pub struct FakeNode {
    /// The id in its certificate.
    pub id: String,
    /// How long it has been silent while it is not up.
    pub silence: Mutex<Duration>,
    /// Its link was given up.
    pub stopped: AtomicBool,
    /// What should be on it.
    pub desired: Mutex<DesiredState>,
    /// Who waits with what is to be taken off it.
    master: Mutex<Weak<App>>,
    /// The link is there.
    pub up: AtomicBool,
    /// Where it says that its metrics are.
    pub metrics: Mutex<Option<SocketAddr>>,
    /// It answers orders.
    pub answers: AtomicBool,
    /// It has no room for transports.
    pub refuses: AtomicBool,
    /// What it knows of its streams.
    pub statistics: Mutex<Vec<TransportStatistics>>,
    /// What it was asked of them.
    pub questions: Mutex<Vec<StatisticsQuestion>>,
}

impl FakeNode {
    /// A node that is up.
    pub fn new(id: &str) -> Arc<Self> {
        Arc::new(Self {
            id: id.to_owned(),
            silence: Mutex::new(Duration::from_secs(2)),
            stopped: AtomicBool::new(false),
            desired: Mutex::new(DesiredState::new()),
            master: Mutex::default(),
            up: AtomicBool::new(true),
            metrics: Mutex::default(),
            answers: AtomicBool::new(true),
            refuses: AtomicBool::new(false),
            statistics: Mutex::default(),
            questions: Mutex::default(),
        })
    }

    /// It is a node of this master.
    pub fn belong_to(&self, master: &Arc<App>) {
        *self.master.lock().expect("no test panicked with it") = Arc::downgrade(master);
    }

    /// How many transports, publishers and subscribers should be on it.
    pub fn counts(&self) -> (usize, usize, usize) {
        let mut counts = (0, 0, 0);
        for entry in self.entries() {
            match entry {
                Entry::Transport(_) => counts.0 += 1,
                Entry::Publisher(_) => counts.1 += 1,
                Entry::Subscriber(_) => counts.2 += 1,
            }
        }
        counts
    }

    /// A copy of what should be on it, with all written down that was changed so far.
    pub fn entries(&self) -> Vec<Entry> {
        let master = self.master.lock().expect("no test panicked with it");
        if let Some(master) = master.upgrade() {
            master.wait_and_carry_removals();
        }
        let desired = self.desired.lock().expect("no test panicked with it");
        desired.entries().cloned().collect()
    }
}

impl Link for FakeNode {
    fn apply(&self, changes: Vec<Change<Entry>>) {
        let mut desired = self.desired.lock().expect("no test panicked with it");
        for change in changes {
            match change {
                Change::Put(entry) => desired.put(entry),
                Change::Remove(key) => desired.remove(&key),
            };
        }
    }

    fn is_up(&self) -> bool {
        self.up.load(Ordering::SeqCst)
    }

    fn silence(&self) -> Option<Duration> {
        Some(match self.is_up() {
            true => Duration::ZERO,
            false => *self.silence.lock().expect("no test panicked with it"),
        })
    }

    fn hello(&self) -> Option<Hello> {
        Some(Hello {
            version: 1,
            node: self.id.clone(),
            instance: "i".to_owned(),
            software: "test".to_owned(),
            dtls_fingerprints: vec![Fingerprint {
                algorithm: "sha-256".into(),
                value: vec!["AB"; 32].join(":"),
            }],
            capacity: link::Capacity::default(),
            metrics: *self.metrics.lock().expect("no test panicked with it"),
        })
    }

    fn load(&self) -> Load {
        Load::default()
    }

    fn unapplied(&self) -> u64 {
        0
    }

    fn transport_report(
        &self,
        transport: TransportId,
        _: Duration,
    ) -> Pin<Box<dyn Future<Output = Result<TransportReport, NoReport>> + Send>> {
        let answers = self.answers.load(Ordering::SeqCst);
        let refuses = self.refuses.load(Ordering::SeqCst);
        Box::pin(async move {
            tokio::task::yield_now().await;
            if refuses {
                return Err(NoReport::Refused("no room here".to_owned()));
            }
            match answers {
                true => Ok(TransportReport {
                    id: transport,
                    worker: 0,
                    addresses: vec![([192, 0, 2, 1], 20000).into()],
                    state: TransportState::New,
                    since: None,
                    trouble: None,
                }),
                false => Err(NoReport::Timeout),
            }
        })
    }

    fn statistics(&self, question: StatisticsQuestion, _: Duration) -> StatisticsAnswer {
        let told = self.statistics.lock().expect("no test panicked with it");
        let answer = match self.answers.load(Ordering::SeqCst) {
            true => Ok(told.clone()),
            false => Err(NoReport::Timeout),
        };
        let mut questions = self.questions.lock().expect("no test panicked with it");
        questions.push(question);
        Box::pin(async move { answer })
    }

    fn dial_now(&self) {}

    fn stop(&self) {
        self.stopped.store(true, Ordering::SeqCst);
        self.up.store(false, Ordering::SeqCst);
    }
}

/// What was written with the target of audits.
#[derive(Clone, Default)]
pub struct AuditLines(Arc<Mutex<Vec<String>>>);

impl AuditLines {
    /// Listens on this thread for as long as the guard lives.
    pub fn listen(&self) -> tracing::subscriber::DefaultGuard {
        tracing::subscriber::set_default(self.clone())
    }

    /// The lines so far, as `name=value` one after the other.
    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().expect("no test panicked with it"))
    }
}

impl tracing::Subscriber for AuditLines {
    fn enabled(&self, of: &tracing::Metadata<'_>) -> bool {
        of.target() == logs::AUDIT
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        let mut fields = Vec::new();
        event.record(
            &mut |field: &tracing::field::Field, value: &dyn std::fmt::Debug| {
                fields.push(format!("{field}={value:?}"));
            },
        );
        let mut lines = self.0.lock().expect("no test panicked with it");
        lines.push(fields.join(" "));
    }

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}

/// A network of nodes that can be dialled.
#[derive(Clone, Default)]
pub struct FakeNetwork {
    nodes: Arc<Mutex<HashMap<SocketAddr, Arc<FakeNode>>>>,
}

impl FakeNetwork {
    /// A node that can be dialled there from now on.
    pub fn node(&self, address: &str, id: &str) -> Arc<FakeNode> {
        let node = FakeNode::new(id);
        let address = address.parse().expect("an address");
        let mut nodes = self.nodes.lock().expect("no test panicked with it");
        nodes.insert(address, node.clone());
        node
    }

    fn at(&self, address: SocketAddr) -> Option<Arc<FakeNode>> {
        let nodes = self.nodes.lock().expect("no test panicked with it");
        nodes.get(&address).cloned()
    }
}

impl Dials for FakeNetwork {
    fn dial(&self, order: DialOrder) -> Arc<dyn Link> {
        let node = self.at(order.address).unwrap_or_else(|| {
            let nobody = FakeNode::new("nobody");
            nobody.up.store(false, Ordering::SeqCst);
            nobody
        });
        node.stopped.store(false, Ordering::SeqCst);
        node
    }

    fn identify(&self, address: SocketAddr) -> Identified {
        let node = self.at(address);
        let there = node.filter(|node| node.is_up()).map(|node| node.id.clone());
        Box::pin(async move { there.ok_or_else(|| "nothing heard".to_owned()) })
    }
}

/// A master with one node, `media_1`, and chance that repeats.
pub fn master() -> (Arc<App>, Arc<FakeNode>) {
    master_with("")
}

/// The same with these lines of configuration.
pub fn master_with(toml: &str) -> (Arc<App>, Arc<FakeNode>) {
    master_of(toml, Store::in_memory().expect("memory"), 7)
}

/// A master whose state is in that directory, as its predecessor left it; `seed` of its chance.
pub fn master_in(dir: &Dir, seed: u64) -> (Arc<App>, Arc<FakeNode>) {
    master_of("", Store::open(&dir.0).expect("a good state"), seed)
}

/// The same with this state and these lines of configuration.
pub fn master_of(toml: &str, state: (Store, Loaded), seed: u64) -> (Arc<App>, Arc<FakeNode>) {
    let settings: Settings =
        toml::from_str(&format!("secret = '{SECRET}'\n{toml}")).expect("good configuration");
    let config = Config::load(None, settings, |_| None).expect("good configuration");
    let app = App::restored(config, Metrics::new(), state).expect("a good state");
    let id = NodeId::new("media_1");
    let node = FakeNode::new("media_1");
    let desired = app.step(|core| core.desired_before(&id));
    *node.desired.lock().expect("nobody else has it") = desired;
    let address = ([127, 0, 0, 1], 7443).into();
    let uri = "quic://127.0.0.1:7443".to_owned();
    let known = MediaNode::new(id, uri, address, node.clone(), 0);
    node.belong_to(&app);
    app.step(|core| {
        core.chance = Box::new(Seeded(seed));
        core.registry.add(known);
        core.look_at_nodes(Instant::now(), Duration::from_secs(3));
    });
    (app, node)
}

/// A directory that goes with the test.
pub struct Dir(pub PathBuf);

impl Dir {
    /// A new name for one; it is not made yet.
    pub fn new(name: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("ringcast-{name}-{}-{count}", std::process::id());
        Self(std::env::temp_dir().join(name))
    }

    /// A copy of what is in it at this moment, as a death of the process leaves it.
    pub fn copy(&self) -> Self {
        let copy = Self::new("copy");
        std::fs::create_dir_all(&copy.0).expect("a directory");
        for file in std::fs::read_dir(&self.0).expect("a directory") {
            let file = file.expect("a file");
            std::fs::copy(file.path(), copy.0.join(file.file_name())).expect("copied");
        }
        copy
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        // Whatever is left is in the system's directory for such things.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
