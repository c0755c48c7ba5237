//! Reads the nodes' metrics at intervals, for placement.

mod prometheus;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper::{StatusCode, Uri};
use tokio::sync::Semaphore;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{MissedTickBehavior, interval};

use crate::app::{App, Core};
use crate::cluster::MediaNode;
use crate::cluster::load::Sample;
use crate::domain::NodeId;
use crate::http_client::{self, HttpClient};

/// How long a node may take to answer.
const PATIENCE: Duration = Duration::from_secs(1);
/// The longest page that is read: a whole one of a node with a hundred workers is a tenth of it.
const PAGE_MAX: usize = 1024 * 1024;
/// Nodes that are asked at the same time.
const ASKED_MAX: usize = 256;
/// And of those that could not be read last: they wait among themselves, for most of them take all of [`PATIENCE`].
const DOUBTFUL_MAX: usize = 64;
/// How often is looked who is due.
const TICK: Duration = Duration::from_millis(100);

/// Why a node's load is not known.
#[derive(Debug, thiserror::Error)]
enum Unread {
    #[error("it does not say where its metrics are")]
    NoAddress,
    #[error(transparent)]
    Http(#[from] http_client::Error),
    #[error("HTTP status {0}")]
    Status(StatusCode),
    #[error("these are not the metrics of a media node")]
    NotANode,
    #[error("{0}")]
    Prometheus(String),
}

impl Unread {
    /// The word in metrics.
    fn as_str(&self) -> &'static str {
        match self {
            Self::NoAddress => "no_address",
            Self::Http(http_client::Error::Timeout(_)) => "timeout",
            Self::Http(_) => "connection",
            Self::Status(_) => "status",
            Self::NotANode => "not_a_node",
            Self::Prometheus(_) => "prometheus",
        }
    }
}

/// Reads for as long as the process lives: of each node by itself, or of all at once where there is a Prometheus server.
pub async fn watch(app: Arc<App>, client: HttpClient) {
    match app.config().prometheus_url.clone() {
        Some(url) => prometheus::watch(app, client, &url).await,
        None => Watch::new(app, client).run().await,
    }
}

/// What is asked for, and what of it came.
struct Asked {
    node: NodeId,
    at: Instant,
    workers: u16,
    outcome: Result<Sample, Unread>,
}

/// A node of which something is to be asked.
struct Question {
    node: NodeId,
    url: Option<Uri>,
    workers: u16,
}

struct Watch {
    app: Arc<App>,
    client: HttpClient,
    places: Arc<Semaphore>,
    /// Places for nodes that could not be read last.
    doubtful: Arc<Semaphore>,
    /// Where the operator says that a node's metrics are.
    configured: HashMap<NodeId, String>,
    /// When each node is asked next.
    due: HashMap<NodeId, Instant>,
    under_way: JoinSet<Asked>,
    /// Whose question is under way.
    asked: HashMap<NodeId, AbortHandle>,
    trouble: Trouble,
}

impl Watch {
    fn new(app: Arc<App>, client: HttpClient) -> Self {
        let config = app.config();
        let nodes = config.nodes.iter();
        let configured = nodes.filter_map(|node| Some((node.id.clone(), node.metrics.clone()?)));
        Self {
            configured: configured.collect(),
            app,
            client,
            places: Arc::new(Semaphore::new(ASKED_MAX)),
            doubtful: Arc::new(Semaphore::new(DOUBTFUL_MAX)),
            due: HashMap::new(),
            under_way: JoinSet::new(),
            asked: HashMap::new(),
            trouble: Trouble::default(),
        }
    }

    async fn run(mut self) {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => self.ask(Instant::now()),
                Some(Ok(asked)) = self.under_way.join_next() => self.take(asked),
            }
        }
    }

    /// Asks who is due. A node that has just connected is asked at once, and one that has not answered yet is not asked again.
    fn ask(&mut self, now: Instant) {
        let period = self.app.config().load_interval;
        let (due, asked) = (&mut self.due, &mut self.asked);
        asked.retain(|_, question| !question.is_finished());
        let questions = self.app.step(|core| {
            due.retain(|node, _| {
                core.registry
                    .node(node)
                    .is_some_and(|node| node.link.is_up())
            });
            let up = core
                .registry
                .nodes()
                .iter()
                .filter(|node| node.link.is_up());
            let up = up.filter(|node| due.get(&node.id).is_none_or(|due| *due <= now));
            let up = up.filter(|node| !asked.contains_key(&node.id));
            let questions: Vec<_> = up.map(|node| question(&self.configured, node)).collect();
            for question in &questions {
                due.insert(question.node.clone(), now + jittered(core, period));
            }
            questions
        });
        for Question { node, url, workers } in questions {
            let places = match self.trouble.told.contains_key(&node) {
                true => self.doubtful.clone(),
                false => self.places.clone(),
            };
            let (client, id) = (self.client.clone(), node.clone());
            let question = self.under_way.spawn(async move {
                // Never closed.
                let _place = places.acquire().await;
                let at = Instant::now();
                let outcome = match url {
                    Some(url) => read(&client, url).await,
                    None => Err(Unread::NoAddress),
                };
                Asked {
                    node,
                    at,
                    workers,
                    outcome,
                }
            });
            self.asked.insert(id, question);
        }
    }

    fn take(&mut self, asked: Asked) {
        let app = &self.app;
        match asked.outcome {
            Ok(sample) => {
                self.trouble.over(&asked.node);
                app.metrics.load_read("ok");
                app.step(|core| {
                    let now = Instant::now();
                    core.loads
                        .sampled(now, &asked.node, asked.at, sample, asked.workers);
                });
            }
            Err(error) => {
                app.metrics.load_read(error.as_str());
                self.trouble.again(&asked.node, &error);
            }
        }
    }
}

/// Whose metrics can't be read, so that it is told once and not each time.
#[derive(Default)]
struct Trouble {
    told: HashMap<NodeId, String>,
}

impl Trouble {
    fn again(&mut self, node: &NodeId, error: &Unread) {
        let why = error.to_string();
        if self.told.get(node) != Some(&why) {
            tracing::warn!(%node, %why, "the load of a media node is not known: its metrics can't be read");
            self.told.insert(node.clone(), why);
        }
    }

    fn over(&mut self, node: &NodeId) {
        if self.told.remove(node).is_some() {
            tracing::info!(%node, "the load of a media node is known again");
        }
    }
}

async fn read(client: &HttpClient, url: Uri) -> Result<Sample, Unread> {
    let answer = client.get(url, PATIENCE, PAGE_MAX).await?;
    if answer.status != StatusCode::OK {
        return Err(Unread::Status(answer.status));
    }
    let sample = Sample::parse(&String::from_utf8_lossy(&answer.body));
    match sample.is_of_a_node() {
        true => Ok(sample),
        false => Err(Unread::NotANode),
    }
}

fn question(configured: &HashMap<NodeId, String>, node: &MediaNode) -> Question {
    let hello = node.link.hello();
    let said = || metrics_address(node).map(|address| format!("http://{address}"));
    let base = configured.get(&node.id).cloned().or_else(said);
    Question {
        node: node.id.clone(),
        url: base.and_then(|base| load_page(&base)),
        workers: hello.map_or(1, |hello| hello.capacity.workers),
    }
}

/// Where a node's metrics are: where its link is, on the port that it says. Whoever has a node must not choose whom the master asks.
fn metrics_address(node: &MediaNode) -> Option<SocketAddr> {
    let said = node.link.hello()?.metrics?;
    Some(SocketAddr::new(node.ip(), said.port()))
}

/// The page with what placement needs, and nothing more from nodes that can tell it apart.
fn load_page(base: &str) -> Option<Uri> {
    let uri: Uri = base.parse().ok()?;
    let path = match uri.path() {
        "" | "/" => "/metrics",
        path => path,
    };
    let page = format!(
        "{}://{}{path}?collect=load",
        uri.scheme_str()?,
        uri.authority()?
    );
    page.parse().ok()
}

/// So that nodes are not all asked at the same moment.
fn jittered(core: &mut Core, period: Duration) -> Duration {
    let share = core.chance.next_u64() as f64 / u64::MAX as f64;
    period.mul_f64(0.9 + 0.2 * share)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http_client::Reach;
    use crate::testing::master;

    fn client() -> HttpClient {
        let options = http_client::Options {
            reach: Reach::Everywhere,
            ca: None,
        };
        HttpClient::new(&options).expect("nothing to read")
    }

    #[tokio::test]
    async fn a_node_is_not_asked_while_it_owes_an_answer() {
        // Connections are taken by the kernel, and nobody answers.
        let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = silent.local_addr().expect("bound");
        let (app, node) = master();
        *node.metrics.lock().expect("no test panicked with it") = Some(address);
        let mut watch = Watch::new(app, client());
        let start = Instant::now();
        for hour in 0..3 {
            watch.ask(start + Duration::from_secs(3600) * hour);
            tokio::task::yield_now().await;
            assert_eq!(watch.under_way.len(), 1, "{hour}");
        }
        let asked = watch.under_way.join_next().await;
        watch.take(asked.expect("one").expect("no panic"));
        assert_eq!(watch.trouble.told.len(), 1);
        watch.ask(start + Duration::from_secs(3600) * 4);
        assert_eq!(watch.under_way.len(), 1, "it is asked again");
        tokio::task::yield_now().await;
        let left = watch.doubtful.available_permits();
        assert_eq!(left, DOUBTFUL_MAX - 1, "beside those that answer");
    }

    #[test]
    fn a_node_chooses_no_more_than_its_port() {
        let (app, fake) = master();
        let asked = |said: &str, configured: &HashMap<NodeId, String>| {
            let said = said.parse().expect("an address");
            *fake.metrics.lock().expect("no test panicked with it") = Some(said);
            app.step(|core| {
                let node = core.registry.node(&NodeId::new("media_1")).expect("there");
                let url = question(configured, node).url.expect("it says where");
                url.authority().expect("an address").to_string()
            })
        };
        let nothing = HashMap::new();
        assert_eq!(asked("0.0.0.0:9092", &nothing), "127.0.0.1:9092");
        assert_eq!(asked("169.254.169.254:80", &nothing), "127.0.0.1:80");
        let by_operator = "http://192.0.2.9:7".to_owned();
        let configured = HashMap::from([(NodeId::new("media_1"), by_operator)]);
        assert_eq!(asked("169.254.169.254:80", &configured), "192.0.2.9:7");
    }

    #[test]
    fn where_the_page_is() {
        let page = |base| load_page(base).map(|uri| uri.to_string());
        let expected = Some("http://127.0.0.1:9/metrics?collect=load".to_owned());
        assert_eq!(page("http://127.0.0.1:9"), expected);
        assert_eq!(page("http://127.0.0.1:9/"), expected);
        let behind = Some("https://proxy/node/7?collect=load".to_owned());
        assert_eq!(page("https://proxy/node/7"), behind);
        assert_eq!(page("proxy:9"), None);
    }
}
