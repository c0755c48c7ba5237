//! What operators and Prometheus ask: `/metrics`, `/healthz/live`, `/healthz/ready`, `/debug`.

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
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
/// An agent that does not answer for so long hangs, and so does a worker that takes no turn.
const AGENT_PATIENCE: Duration = Duration::from_secs(2);
/// How often a woken worker is looked at.
const WORKER_LOOK: Duration = Duration::from_millis(2);
/// Questions that wait for the agent.
const QUESTIONS_MAX: usize = 16;

/// A question to the agent: everything it knows.
pub type Question = oneshot::Sender<Value>;

/// What is asked about.
pub struct View {
    /// The workers' counters.
    pub cells: Vec<Arc<Cells>>,
    /// What wakes them.
    pub wakers: Vec<Waker>,
    /// What does not change.
    pub node: metrics::Node,
    /// The agent's counters, brought up to date several times a second.
    pub agent: Mutex<AgentCounters>,
    /// Everybody may ask, wherever they are.
    pub open: bool,
    /// Why no new transports are taken, if so.
    pub unready: Mutex<Option<String>>,
}

impl View {
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
pub async fn serve(listener: TcpListener, view: Arc<View>, agent: mpsc::Sender<Question>) {
    let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    while let Ok(permit) = connections.clone().acquire_owned().await {
        let Ok((stream, from)) = listener.accept().await else {
            // Out of descriptors, most likely: wait for some to come back.
            sleep(Duration::from_millis(100)).await;
            continue;
        };
        let (view, agent) = (view.clone(), agent.clone());
        tokio::spawn(async move {
            let service =
                service_fn(move |request| answer(request, from.ip(), view.clone(), agent.clone()));
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
    view: Arc<View>,
    agent: mpsc::Sender<Question>,
) -> Result<Response<String>, Infallible> {
    if request.method() != Method::GET && request.method() != Method::HEAD {
        return Ok(text(StatusCode::METHOD_NOT_ALLOWED, "only GET\n"));
    }
    let counters = view.counters();
    let path = request.uri().path();
    if !may_ask(from, path, view.open, counters.master) {
        return Ok(text(
            StatusCode::FORBIDDEN,
            "for this host, private networks and the master only (admin.open)\n",
        ));
    }
    Ok(match path {
        "/metrics" => scrape(&request, &view, &counters),
        "/healthz/live" => match (ask(&agent).await, all_turn(&view).await) {
            (Some(_), true) => text(StatusCode::OK, "live\n"),
            (None, _) => text(
                StatusCode::SERVICE_UNAVAILABLE,
                "the agent does not answer\n",
            ),
            (_, false) => text(StatusCode::SERVICE_UNAVAILABLE, "a worker hangs\n"),
        },
        "/healthz/ready" => {
            let unready = view
                .unready
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone();
            match unready {
                None => text(StatusCode::OK, "ready\n"),
                Some(why) => text(StatusCode::SERVICE_UNAVAILABLE, &format!("{why}\n")),
            }
        }
        "/debug" => match ask(&agent).await {
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
            "/metrics /healthz/live /healthz/ready /debug\n",
        ),
        _ => text(
            StatusCode::NOT_FOUND,
            "there are /metrics, /healthz/live, /healthz/ready and /debug\n",
        ),
    })
}

/// Numbers, in the format that is asked for.
fn scrape(request: &Request<Incoming>, view: &View, counters: &AgentCounters) -> Response<String> {
    let cells = view.cells.iter().map(Arc::as_ref);
    let format = wanted(request.headers());
    let page = match request.uri().query() {
        Some("collect=load") => metrics::render_load(&view.node, counters, cells, format),
        _ => metrics::render(&view.node, counters, cells, format),
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

/// Whether every worker, once woken, takes a turn.
async fn all_turn(view: &View) -> bool {
    let turns = || view.cells.iter().map(|cells| cells.read().worker.turns);
    let before: Vec<u64> = turns().collect();
    view.wakers.iter().for_each(Waker::wake);
    let wait = async {
        while turns().zip(&before).any(|(now, before)| now == *before) {
            sleep(WORKER_LOOK).await;
        }
    };
    timeout(AGENT_PATIENCE, wait).await.is_ok()
}

async fn ask(agent: &mpsc::Sender<Question>) -> Option<Value> {
    let (question, reply) = oneshot::channel();
    let wait = async {
        agent.send(question).await.ok()?;
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
}
