//! What operators and Prometheus ask: `/metrics`, `/healthz/live`, `/healthz/ready`, `/debug`.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
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
    /// Why no new transports are taken, if so.
    pub unready: Mutex<Option<String>>,
}

/// The queue of questions.
pub fn questions() -> (mpsc::Sender<Question>, mpsc::Receiver<Question>) {
    mpsc::channel(QUESTIONS_MAX)
}

/// Answers on `listener` for as long as the process lives.
pub async fn serve(listener: TcpListener, view: Arc<View>, agent: mpsc::Sender<Question>) {
    let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    while let Ok(permit) = connections.clone().acquire_owned().await {
        let Ok((stream, _)) = listener.accept().await else {
            // Out of descriptors, most likely: wait for some to come back.
            sleep(Duration::from_millis(100)).await;
            continue;
        };
        let (view, agent) = (view.clone(), agent.clone());
        tokio::spawn(async move {
            let service = service_fn(move |request| answer(request, view.clone(), agent.clone()));
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
    view: Arc<View>,
    agent: mpsc::Sender<Question>,
) -> Result<Response<String>, Infallible> {
    if request.method() != Method::GET && request.method() != Method::HEAD {
        return Ok(text(StatusCode::METHOD_NOT_ALLOWED, "only GET\n"));
    }
    Ok(match request.uri().path() {
        "/metrics" => {
            let counters = view
                .agent
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone();
            let page = metrics::render(&view.node, &counters, view.cells.iter().map(Arc::as_ref));
            let mut response = Response::new(page);
            let format = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
            response.headers_mut().insert(CONTENT_TYPE, format);
            response
        }
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
