//! What operators and Prometheus ask: `/metrics`, `/healthz/live`, `/healthz/ready`, `/healthz/startup`, `/debug`.

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use exposition::Format;
use hyper::body::Incoming;
use hyper::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use net::Waker;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::{sleep, timeout};

use crate::metrics::{self, AgentCounters, Cells};

/// Most connections at once.
const CONNECTIONS_MAX: usize = 32;
/// How long a client may take to ask.
const HEADER_PATIENCE: Duration = Duration::from_secs(5);
/// How long a connection may last.
const CONNECTION_LIFE: Duration = Duration::from_secs(300);
/// An agent that does not answer for so long hangs, and so does a worker that takes no turn; both are waited for together.
const AGENT_PATIENCE: Duration = Duration::from_secs(2);
/// How often a woken worker is looked at.
const WORKER_LOOK: Duration = Duration::from_millis(2);
/// Questions that wait for the agent.
const QUESTIONS_MAX: usize = 16;

/// A question to the agent.
pub enum Question {
    /// Whether it goes round. Costs it nothing, for this is asked every few seconds.
    Ping(oneshot::Sender<()>),
    /// Everything it knows, which grows with its transports.
    Everything(oneshot::Sender<Value>),
}

/// What is asked about.
pub struct View {
    /// The workers' counters.
    pub cells: Vec<Arc<Cells>>,
    /// What wakes them.
    pub wakers: Vec<Waker>,
    /// What changes only when the configuration is read again.
    pub node: Mutex<metrics::Node>,
    /// The agent's counters, brought up to date several times a second.
    pub agent: Mutex<AgentCounters>,
    /// Why no new transports are taken, if so.
    pub unready: Mutex<Option<String>>,
}

/// How far the start is, and what there is to be seen when it is over.
pub struct Stage {
    /// Everybody may ask, wherever they are.
    pub open: AtomicBool,
    phase: Mutex<&'static str>,
    view: OnceLock<Arc<View>>,
}

impl Stage {
    /// The beginning. `open`: everybody may ask.
    pub fn new(open: bool) -> Self {
        Self {
            open: AtomicBool::new(open),
            phase: Mutex::new("beginning"),
            view: OnceLock::new(),
        }
    }

    /// What takes time now.
    pub fn is_at(&self, phase: &'static str) {
        *self.phase.lock().unwrap_or_else(PoisonError::into_inner) = phase;
    }

    /// The start is over. Only the first time counts.
    pub fn started(&self, view: Arc<View>) {
        let _ = self.view.set(view);
    }

    fn phase(&self) -> &'static str {
        *self.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl View {
    fn node(&self) -> metrics::Node {
        let node = self.node.lock();
        node.unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn counters(&self) -> AgentCounters {
        let agent = self.agent.lock();
        agent.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The queue of questions.
pub fn questions() -> (mpsc::Sender<Question>, mpsc::Receiver<Question>) {
    mpsc::channel(QUESTIONS_MAX)
}

/// Answers on `listener` for as long as the process lives.
pub async fn serve(listener: TcpListener, stage: Arc<Stage>, agent: mpsc::Sender<Question>) {
    let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    while let Ok(permit) = connections.clone().acquire_owned().await {
        let Ok((stream, from)) = listener.accept().await else {
            // Out of descriptors, most likely: wait for some to come back.
            sleep(Duration::from_millis(100)).await;
            continue;
        };
        let (stage, agent) = (stage.clone(), agent.clone());
        tokio::spawn(async move {
            let service =
                service_fn(move |request| answer(request, from.ip(), stage.clone(), agent.clone()));
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEADER_PATIENCE)
                .serve_connection(TokioIo::new(stream), service);
            // A client that goes away in the middle is no news.
            let _ = timeout(CONNECTION_LIFE, connection).await;
            drop(permit);
        });
    }
}

async fn answer(
    request: Request<Incoming>,
    from: IpAddr,
    stage: Arc<Stage>,
    agent: mpsc::Sender<Question>,
) -> Result<Response<String>, Infallible> {
    if request.method() != Method::GET && request.method() != Method::HEAD {
        return Ok(text(StatusCode::METHOD_NOT_ALLOWED, "only GET\n"));
    }
    let view = stage.view.get();
    let master = view.and_then(|view| view.counters().master);
    let (path, query) = (request.uri().path(), request.uri().query());
    if !may_ask(from, path, stage.open.load(Ordering::Relaxed), master) {
        return Ok(text(
            StatusCode::FORBIDDEN,
            "for this host, private networks and the master only (admin.open)\n",
        ));
    }
    Ok(match view {
        Some(view) => show(path, (query, wanted(request.headers())), view, &agent).await,
        None => show_start(path, stage.phase()),
    })
}

/// Before there is anything to be seen: the process lives.
fn show_start(path: &str, phase: &str) -> Response<String> {
    match path {
        "/healthz/live" => text(StatusCode::OK, "live\n"),
        _ => text(
            StatusCode::SERVICE_UNAVAILABLE,
            &format!("starting: {phase}\n"),
        ),
    }
}

async fn show(
    path: &str,
    (query, format): (Option<&str>, Format),
    view: &View,
    agent: &mpsc::Sender<Question>,
) -> Response<String> {
    match path {
        "/metrics" => scrape(view, query, format),
        "/healthz/live" => match tokio::join!(ask(agent, Question::Ping), hanging(view)) {
            (Some(_), None) => text(StatusCode::OK, "live\n"),
            (None, _) => text(
                StatusCode::SERVICE_UNAVAILABLE,
                "the agent does not answer\n",
            ),
            (_, Some(worker)) => {
                let why = format!("worker {worker} hangs\n");
                text(StatusCode::SERVICE_UNAVAILABLE, &why)
            }
        },
        "/healthz/ready" => {
            let unready = view.unready.lock();
            match unready.unwrap_or_else(PoisonError::into_inner).as_ref() {
                None => text(StatusCode::OK, "ready\n"),
                Some(why) => text(StatusCode::SERVICE_UNAVAILABLE, &format!("{why}\n")),
            }
        }
        "/healthz/startup" => text(StatusCode::OK, "started\n"),
        "/debug" => match ask(agent, Question::Everything).await {
            Some(everything) => {
                let mut response = Response::new(format!("{everything:#}\n"));
                let format = HeaderValue::from_static("application/json");
                response.headers_mut().insert(CONTENT_TYPE, format);
                response
            }
            None => text(
                StatusCode::SERVICE_UNAVAILABLE,
                "the agent does not answer\n",
            ),
        },
        "/" => text(
            StatusCode::OK,
            "/metrics /healthz/live /healthz/ready /healthz/startup /debug\n",
        ),
        _ => text(
            StatusCode::NOT_FOUND,
            "there are /metrics, /healthz/live, /healthz/ready, /healthz/startup and /debug\n",
        ),
    }
}

/// Numbers, in that format.
fn scrape(view: &View, query: Option<&str>, format: Format) -> Response<String> {
    let cells = view.cells.iter().map(Arc::as_ref);
    let (node, counters) = (view.node(), view.counters());
    let page = match query {
        Some("collect=load") => metrics::render_load(&node, &counters, cells, format),
        _ => metrics::render(&node, &counters, cells, format),
    };
    let mut response = Response::new(page);
    let format = HeaderValue::from_static(format.content_type());
    response.headers_mut().insert(CONTENT_TYPE, format);
    response
}

/// The format that a scraper asks for.
fn wanted(headers: &HeaderMap) -> Format {
    let lines = headers.get_all(ACCEPT).iter().map(HeaderValue::to_str);
    let accept: Vec<&str> = lines.filter_map(Result::ok).collect();
    Format::wanted(Some(&accept.join(",")))
}

/// What this page tells is no secret among those who run the cluster, and no business of anybody else; `/debug` names clients.
fn may_ask(from: IpAddr, path: &str, open: bool, master: Option<IpAddr>) -> bool {
    let from = from.to_canonical();
    if from.is_loopback() {
        return true;
    }
    let is_near = match from {
        IpAddr::V4(ip) => ip.is_private() || ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unique_local() || ip.is_unicast_link_local(),
    };
    let is_master = master.is_some_and(|master| master.to_canonical() == from);
    path != "/debug" && (open || is_near || is_master)
}

/// The first worker that takes no turn although it was woken.
async fn hanging(view: &View) -> Option<usize> {
    let turns = || view.cells.iter().map(|cells| cells.read().worker.turns);
    let before: Vec<u64> = turns().collect();
    view.wakers.iter().for_each(Waker::wake);
    let stuck = || {
        turns()
            .zip(&before)
            .position(|(now, before)| now == *before)
    };
    let wait = async {
        while stuck().is_some() {
            sleep(WORKER_LOOK).await;
        }
    };
    match timeout(AGENT_PATIENCE, wait).await {
        Ok(()) => None,
        Err(_) => stuck(),
    }
}

async fn ask<T>(
    agent: &mpsc::Sender<Question>,
    what: fn(oneshot::Sender<T>) -> Question,
) -> Option<T> {
    let (asker, reply) = oneshot::channel();
    let wait = async {
        agent.send(what(asker)).await.ok()?;
        reply.await.ok()
    };
    timeout(AGENT_PATIENCE, wait).await.ok().flatten()
}

fn text(status: StatusCode, body: &str) -> Response<String> {
    let mut response = Response::new(body.to_owned());
    *response.status_mut() = status;
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_learn_nothing_unless_they_may() {
        let master: IpAddr = [198, 51, 100, 7].into();
        for (from, path, open, expected) in [
            ("127.0.0.1", "/debug", false, true),
            ("::ffff:127.0.0.1", "/metrics", false, true),
            ("10.77.0.1", "/metrics", false, true),
            ("fd00::1", "/healthz/ready", false, true),
            ("10.77.0.1", "/debug", true, false),
            ("198.51.100.7", "/metrics", false, true),
            ("::ffff:198.51.100.7", "/metrics", false, true),
            ("198.51.100.8", "/metrics", false, false),
            ("2001:db8::1", "/healthz/live", false, false),
            ("198.51.100.8", "/metrics", true, true),
        ] {
            let ip = from.parse().expect("an address");
            let may = may_ask(ip, path, open, Some(master));
            assert_eq!(may, expected, "{from} {path} {open}");
        }
        assert!(!may_ask(master, "/metrics", false, None));
    }

    fn view(workers: usize) -> View {
        let waker = || Waker::new().expect("descriptors");
        View {
            cells: (0..workers).map(|_| Arc::new(Cells::new())).collect(),
            wakers: (0..workers).map(|_| waker()).collect(),
            node: Mutex::new(metrics::Node {
                driver: "mmsg",
                transports_max: 1,
                capacity: crate::capacity::Capacity::UNLIMITED,
                certificate_expiry: std::time::SystemTime::UNIX_EPOCH,
                started: std::time::SystemTime::UNIX_EPOCH,
                level: crate::config::MetricsLevel::Full,
            }),
            agent: Mutex::new(AgentCounters::default()),
            unready: Mutex::new(Some("no master is connected".to_owned())),
        }
    }

    /// An agent that answers, without a master; what it counts as turns of these workers goes on.
    async fn live(turning: &[bool]) -> (StatusCode, String) {
        let view = Arc::new(view(turning.len()));
        let (agent, mut questions) = questions();
        let cells = view.cells.clone();
        let turning = turning.to_vec();
        let running = tokio::spawn(async move {
            let mut snapshot = metrics::Snapshot::default();
            loop {
                snapshot.worker.turns += 1;
                for (cells, _) in cells.iter().zip(&turning).filter(|(_, turns)| **turns) {
                    cells.publish(&mut snapshot);
                }
                tokio::select! {
                    // What costs more than a ping gets no answer, and would be no life.
                    Some(Question::Ping(reply)) = questions.recv() => drop(reply.send(())),
                    () = sleep(Duration::from_millis(5)) => {}
                }
            }
        });
        let answered = show("/healthz/live", (None, Format::Text), &view, &agent).await;
        running.abort();
        (answered.status(), answered.into_body())
    }

    #[tokio::test]
    async fn a_worker_that_hangs_is_no_life_and_a_master_that_is_away_is_no_death() {
        let all = live(&[true, true, true]).await;
        assert_eq!(all, (StatusCode::OK, "live\n".to_owned()));
        let (status, why) = live(&[true, false, true]).await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(why, "worker 1 hangs\n");
    }

    #[tokio::test]
    async fn an_agent_that_does_not_answer_is_no_life() {
        let (agent, _questions) = questions();
        let answered = show("/healthz/live", (None, Format::Text), &view(0), &agent).await;
        assert_eq!(answered.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(answered.into_body(), "the agent does not answer\n");
    }

    #[tokio::test]
    async fn who_asks_for_life_waits_no_longer_than_one_patience() {
        // Neither the agent nor the workers do anything.
        let (agent, _questions) = questions();
        let asked = std::time::Instant::now();
        let answered = show("/healthz/live", (None, Format::Text), &view(2), &agent).await;
        let took = asked.elapsed();
        assert_eq!(answered.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert!(took >= AGENT_PATIENCE, "the control: {took:?}");
        assert!(took < AGENT_PATIENCE * 3 / 2, "{took:?}");
    }

    #[tokio::test]
    async fn the_start_is_told_until_it_is_over() {
        let stage = Stage::new(false);
        stage.is_at("measuring");
        let during = |path| show_start(path, stage.phase());
        assert_eq!(during("/healthz/live").status(), StatusCode::OK);
        for path in ["/healthz/startup", "/healthz/ready", "/metrics"] {
            let told = during(path);
            assert_eq!(told.status(), StatusCode::SERVICE_UNAVAILABLE, "{path}");
            assert_eq!(told.body(), "starting: measuring\n");
        }
        stage.started(Arc::new(view(1)));
        let (agent, _questions) = questions();
        let view = stage.view.get().expect("started");
        // Whatever becomes of it later, it has started.
        let told = show("/healthz/startup", (None, Format::Text), view, &agent).await;
        assert_eq!(told.status(), StatusCode::OK);
        let told = show("/healthz/ready", (None, Format::Text), view, &agent).await;
        assert_eq!(told.body(), "no master is connected\n");
    }
}
