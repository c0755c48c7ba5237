//! A master with a node that is not there: for tests of what needs both.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use link::desired::DesiredState;
use link::quic::master::NoReport;
use link::statistics::{StatisticsQuestion, TransportStatistics};
use link::{Change, Entry, Fingerprint, Hello, Load, TransportId, TransportReport, TransportState};

use crate::app::App;
use crate::cluster::registry::StatisticsAnswer;
use crate::cluster::{Link, MediaNode};
use crate::config::{Config, Settings};
use crate::domain::NodeId;
use crate::domain::ids::testing::Seeded;
use crate::metrics::Metrics;

/// The secret of test masters.
pub const SECRET: &str = "MY_SECRET";

/// A node that makes every transport at once and reports it.
pub struct FakeNode {
    /// What should be on it.
    pub desired: Mutex<DesiredState>,
    /// The link is there.
    pub up: AtomicBool,
    /// It answers orders.
    pub answers: AtomicBool,
    /// What it knows of its streams.
    pub statistics: Mutex<Vec<TransportStatistics>>,
    /// What it was asked of them.
    pub questions: Mutex<Vec<StatisticsQuestion>>,
}

impl FakeNode {
    /// How many transports, publishers and subscribers should be on it.
    pub fn counts(&self) -> (usize, usize, usize) {
        let desired = self.desired.lock().expect("no test panicked with it");
        let mut counts = (0, 0, 0);
        for entry in desired.entries() {
            match entry {
                Entry::Transport(_) => counts.0 += 1,
                Entry::Publisher(_) => counts.1 += 1,
                Entry::Subscriber(_) => counts.2 += 1,
            }
        }
        counts
    }

    /// A copy of what should be on it.
    pub fn entries(&self) -> Vec<Entry> {
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
            false => Duration::from_secs(2),
        })
    }

    fn hello(&self) -> Option<Hello> {
        Some(Hello {
            version: 1,
            node: "media_1".to_owned(),
            instance: "i".to_owned(),
            software: "test".to_owned(),
            dtls_fingerprints: vec![Fingerprint {
                algorithm: "sha-256".into(),
                value: vec!["AB"; 32].join(":"),
            }],
            capacity: link::Capacity::default(),
            metrics: None,
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
        Box::pin(async move {
            tokio::task::yield_now().await;
            match answers {
                true => Ok(TransportReport {
                    id: transport,
                    worker: 0,
                    addresses: vec![([192, 0, 2, 1], 20000).into()],
                    state: TransportState::New,
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
}

/// A master with one node, `media_1`, and chance that repeats.
pub fn master() -> (Arc<App>, Arc<FakeNode>) {
    master_with("")
}

/// The same with these lines of configuration.
pub fn master_with(toml: &str) -> (Arc<App>, Arc<FakeNode>) {
    let settings: Settings =
        toml::from_str(&format!("secret = '{SECRET}'\n{toml}")).expect("good configuration");
    let config = Config::load(None, settings, |_| None).expect("good configuration");
    let app = App::new(config, Metrics::new());
    let node = Arc::new(FakeNode {
        desired: Mutex::new(DesiredState::new()),
        up: AtomicBool::new(true),
        answers: AtomicBool::new(true),
        statistics: Mutex::default(),
        questions: Mutex::default(),
    });
    let address = ([127, 0, 0, 1], 7443).into();
    let (id, uri) = (NodeId::new("media_1"), "quic://127.0.0.1:7443".to_owned());
    let known = MediaNode::new(id, uri, address, node.clone(), 0);
    app.step(|core| {
        core.chance = Box::new(Seeded(7));
        core.registry.add(known);
        core.look_at_nodes(Instant::now(), Duration::from_secs(3));
    });
    (app, node)
}
