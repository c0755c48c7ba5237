//! The listeners: HTTPS (or HTTP) for browsers and applications, and the operator's own for metrics.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{ConnectInfo, Request, State};
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use exposition::Format;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt as _;

use crate::api::limits::Count;
use crate::api::proxies::{Network, is_trusted};
use crate::api::rest::HangUp;
use crate::api::{inspector, pages, rest, rpc};
use crate::app::App;
use crate::config::Config;
use crate::metrics::Metrics;
use crate::tls;

/// How long a client may take to send its request's head.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// How long it may take to shake hands.
const TLS_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a request may take, its body included.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// Most TCP connections at a time; more wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 20_000;
/// Most of them from one address, before they become WebSockets: nobody may take all places by being slow.
const CONNECTIONS_PER_ADDRESS_MAX: usize = 1_000;
/// A master that does nothing for so long of what it does a few times a second is not alive.
const STILL_MAX: Duration = Duration::from_secs(5);
/// The pause after a failed accept, which means that the process has no descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Everything that browsers and applications reach.
pub fn routes(app: &Arc<App>, package: Option<Bytes>) -> Router {
    Router::new()
        .route("/openvidu", get(rpc::upgrade))
        .merge(rest::router(app))
        .merge(pages::router(package))
        .merge(inspector::router())
        .layer(from_fn_with_state(app.clone(), count))
        .with_state(app.clone())
}

/// How far the start is, and the master when it is over.
pub struct Stage {
    phase: Mutex<&'static str>,
    app: OnceLock<Arc<App>>,
}

impl Stage {
    /// The beginning.
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            phase: Mutex::new("beginning"),
            app: OnceLock::new(),
        })
    }

    /// What takes time now.
    pub fn is_at(&self, phase: &'static str) {
        *self.phase.lock().unwrap_or_else(PoisonError::into_inner) = phase;
    }

    /// The start is over. Only the first time counts.
    pub fn started(&self, app: &Arc<App>) {
        let _ = self.app.set(app.clone());
    }

    /// The master, when it has started.
    fn app(&self) -> Result<&Arc<App>, (StatusCode, String)> {
        self.app.get().ok_or_else(|| {
            let phase = *self.phase.lock().unwrap_or_else(PoisonError::into_inner);
            let text = format!("starting: {phase}\n");
            (StatusCode::SERVICE_UNAVAILABLE, text)
        })
    }
}

/// What operators are told: well, or why not.
type Told = (StatusCode, String);

/// What operators reach.
pub fn admin_routes(stage: &Arc<Stage>) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz/live", get(live))
        .route("/healthz/ready", get(ready))
        .route("/healthz/sessions", get(sessions))
        .route("/healthz/startup", get(startup))
        .with_state(stage.clone())
}

async fn metrics(State(stage): State<Arc<Stage>>, headers: HeaderMap) -> Result<Response, Told> {
    let (app, format) = (stage.app()?, wanted(&headers));
    let look = |metrics: &Metrics| app.step(|core| metrics.observe(core));
    let page = app.metrics.scrape(look, format);
    Ok(([(CONTENT_TYPE, format.content_type())], page).into_response())
}

/// The format that a scraper asks for.
fn wanted(headers: &HeaderMap) -> Format {
    let lines = headers.get_all(ACCEPT).iter().map(HeaderValue::to_str);
    let accept: Vec<&str> = lines.filter_map(Result::ok).collect();
    Format::wanted(Some(&accept.join(",")))
}

/// Of this process alone: whatever nodes and disks do, to end it would mend nothing.
async fn live(State(stage): State<Arc<Stage>>) -> Told {
    let stillness = stage.app().map_or(Duration::ZERO, |app| app.stillness());
    match stillness < STILL_MAX {
        true => (StatusCode::OK, "live\n".to_owned()),
        false => {
            let text = format!("nothing was done for {} s\n", stillness.as_secs());
            (StatusCode::SERVICE_UNAVAILABLE, text)
        }
    }
}

/// Whether people should come here. Those in calls need a master of a cluster that is full or drained too: it stays ready, and says so.
async fn ready(State(stage): State<Arc<Stage>>) -> Result<Told, Told> {
    let app = stage.app()?;
    if let Some(why) = rest::unready(app) {
        return Err((StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")));
    }
    let text = match rest::takes_no_sessions(app) {
        None => "ready\n".to_owned(),
        Some(why) => format!("ready, but {why}\n"),
    };
    Ok((StatusCode::OK, text))
}

/// Whether a new session would find a place.
async fn sessions(State(stage): State<Arc<Stage>>) -> Result<Told, Told> {
    Ok(match rest::takes_no_sessions(stage.app()?) {
        None => (StatusCode::OK, "new sessions are taken\n".to_owned()),
        Some(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
    })
}

async fn startup(State(stage): State<Arc<Stage>>) -> Result<Told, Told> {
    stage.app()?;
    Ok((StatusCode::OK, "started\n".to_owned()))
}

/// What of a listener can change while it listens.
#[derive(Clone, Default)]
pub struct Front {
    /// TLS; none: plain HTTP.
    pub tls: Option<Arc<ServerConfig>>,
    /// Who may speak for others.
    pub proxies: Vec<Network>,
}

impl Front {
    /// As it is configured.
    ///
    /// # Errors
    /// When certificate or key are unusable.
    pub fn of(config: &Config) -> Result<Self, tls::Error> {
        let tls = match config.plain_http {
            true => None,
            false => Some(tls::server_config(config)?),
        };
        Ok(Self {
            tls,
            proxies: config.trusted_proxies.clone(),
        })
    }
}

/// Serves until `stop` says so; then lets no more connections come and waits until every request that is under way is answered.
pub async fn serve(
    listener: TcpListener,
    front: watch::Receiver<Front>,
    routes: Router,
    mut stop: watch::Receiver<bool>,
) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let by_address = Arc::new(Mutex::new(Count::new(CONNECTIONS_PER_ADDRESS_MAX)));
    loop {
        let Ok(place) = places.clone().acquire_owned().await else {
            return;
        };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = ended(&mut stop) => break,
        };
        match accepted {
            Ok((stream, peer)) => {
                let (tls, limited) = {
                    let front = front.borrow();
                    let is_proxy = is_trusted(&front.proxies, peer.ip());
                    (front.tls.clone(), (!is_proxy).then_some(peer.ip()))
                };
                let Some(guest) = Guest::admit(&by_address, limited, place) else {
                    tracing::debug!(target: logs::STRANGERS, %peer, "too many connections from this address");
                    continue;
                };
                let acceptor = tls.map(TlsAcceptor::from);
                let routes = routes.clone();
                tokio::spawn(connection(
                    stream,
                    peer,
                    acceptor,
                    routes,
                    (guest, stop.clone()),
                ));
            }
            Err(error) => {
                tracing::warn!(target: logs::STRANGERS, %error, "accept");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    // All places are free when all connections have ended, but those that became WebSockets.
    let all = u32::try_from(CONNECTIONS_MAX).unwrap_or(u32::MAX);
    let _ = places.acquire_many(all).await;
}

/// Waits until the end is wanted; for ever, if nobody is left who could.
async fn ended(stop: &mut watch::Receiver<bool>) {
    if stop.wait_for(|stop| *stop).await.is_err() {
        std::future::pending().await
    }
}

/// A connection's places, given back at its end. Of a proxy that speaks for many only all together are counted.
struct Guest {
    by_address: Arc<Mutex<Count>>,
    address: Option<IpAddr>,
    _place: OwnedSemaphorePermit,
}

impl Guest {
    fn admit(
        by_address: &Arc<Mutex<Count>>,
        address: Option<IpAddr>,
        place: OwnedSemaphorePermit,
    ) -> Option<Self> {
        let is_free = address.is_none_or(|address| lock(by_address).take(address));
        is_free.then(|| Self {
            by_address: by_address.clone(),
            address,
            _place: place,
        })
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        if let Some(address) = self.address {
            lock(&self.by_address).give_back(address);
        }
    }
}

/// What it guards is a map of counts, whole at every moment.
fn lock(counts: &Mutex<Count>) -> MutexGuard<'_, Count> {
    counts.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    acceptor: Option<TlsAcceptor>,
    routes: Router,
    (_guest, mut stop): (Guest, watch::Receiver<bool>),
) {
    // Answers are small and somebody waits for each.
    let _ = stream.set_nodelay(true);
    match acceptor {
        None => http(stream, peer, routes, stop).await,
        Some(acceptor) => {
            let shaken = tokio::select! {
                shaken = timeout(TLS_TIMEOUT, acceptor.accept(stream)) => shaken,
                // Nothing has been asked yet.
                () = ended(&mut stop) => return,
            };
            match shaken {
                Ok(Ok(stream)) => http(stream, peer, routes, stop).await,
                Ok(Err(error)) => {
                    tracing::debug!(target: logs::STRANGERS, %peer, %error, "TLS handshake");
                }
                Err(_) => {
                    tracing::debug!(target: logs::STRANGERS, %peer, "TLS handshake took too long");
                }
            }
        }
    }
}

async fn http<S>(stream: S, peer: SocketAddr, routes: Router, mut stop: watch::Receiver<bool>)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let hang_up = HangUp::default();
    let ours = hang_up.clone();
    let service = hyper::service::service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(ConnectInfo(peer));
        request.extensions_mut().insert(ours.clone());
        routes.clone().oneshot(request.map(Body::new))
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    tokio::pin!(served);
    let mut is_stopping = false;
    loop {
        tokio::select! {
            served = &mut served => {
                if let Err(error) = served {
                    tracing::debug!(target: logs::STRANGERS, %peer, %error, "HTTP");
                }
                return;
            }
            () = hang_up.wanted() => {
                tracing::debug!(target: logs::STRANGERS, %peer, "hung up on");
                return;
            }
            () = ended(&mut stop), if !is_stopping => {
                if hang_up.is_endless() {
                    return;
                }
                is_stopping = true;
                served.as_mut().graceful_shutdown();
            }
        }
    }
}

async fn count(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let method = known(request.method());
    // A WebSocket's request is answered at once; what comes after it has limits of its own.
    let response = match timeout(REQUEST_TIMEOUT, next.run(request)).await {
        Ok(response) => response,
        Err(_) => StatusCode::REQUEST_TIMEOUT.into_response(),
    };
    app.metrics.http(method, response.status().as_u16());
    response
}

/// The method as a metric's label: what clients make up is not one.
fn known(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::HEAD => "HEAD",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::time::Instant;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::sync::Notify;
    use tokio::task::JoinHandle;

    use super::*;
    use crate::app::Core;
    use crate::cluster::Status;
    use crate::domain::NodeId;
    use crate::nodes::life::DrainFor;

    async fn ask(stage: &Arc<Stage>, method: Method, path: &str) -> (StatusCode, String) {
        let request = Request::builder().method(method).uri(path);
        let request = request.body(Body::empty()).expect("a request");
        let answered = admin_routes(stage).oneshot(request).await;
        let (parts, body) = answered.expect("infallible").into_parts();
        let body = axum::body::to_bytes(body, 1 << 20).await.expect("whole");
        (parts.status, String::from_utf8_lossy(&body).into_owned())
    }

    #[tokio::test]
    async fn the_start_is_told_until_it_is_over() {
        let (app, node) = crate::testing::master();
        let stage = Stage::new();
        stage.is_at("the state is read");
        let get = async |path| ask(&stage, Method::GET, path).await;
        assert_eq!(get("/healthz/live").await.0, StatusCode::OK);
        for path in ["/healthz/startup", "/healthz/ready", "/metrics"] {
            let (status, why) = get(path).await;
            assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{path}");
            assert_eq!(why, "starting: the state is read\n");
        }
        stage.started(&app);
        for path in ["/healthz/startup", "/healthz/ready", "/metrics"] {
            assert_eq!(get(path).await.0, StatusCode::OK, "{path}");
            let head = ask(&stage, Method::HEAD, path).await;
            assert_eq!(head, (StatusCode::OK, String::new()), "{path}");
        }
        // Whatever becomes of it later, it has started.
        node.up.store(false, std::sync::atomic::Ordering::SeqCst);
        assert_eq!(get("/healthz/startup").await.0, StatusCode::OK);
    }

    #[tokio::test]
    async fn the_master_is_ready_when_somebody_can_join_and_says_why_not() {
        let (app, node) = crate::testing::master();
        let stage = Stage::new();
        stage.started(&app);
        let ready = async || ask(&stage, Method::GET, "/healthz/ready").await;
        assert_eq!(ready().await, (StatusCode::OK, "ready\n".to_owned()));
        node.up.store(false, std::sync::atomic::Ordering::SeqCst);
        let (status, why) = ready().await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(why, "none of 1 media nodes is connected\n");
        let (status, _) = ask(&stage, Method::GET, "/healthz/live").await;
        assert_eq!(status, StatusCode::OK, "that is no reason to end it");
        app.stop();
        assert_eq!(ready().await.1, "stopping\n");
    }

    #[tokio::test]
    async fn a_master_whose_nodes_take_no_sessions_stays_ready_and_says_so() {
        let (app, _node) = crate::testing::master();
        let stage = Stage::new();
        stage.started(&app);
        let ready = async || ask(&stage, Method::GET, "/healthz/ready").await;
        let sessions = async || ask(&stage, Method::GET, "/healthz/sessions").await;
        let taken = (StatusCode::OK, "new sessions are taken\n".to_owned());
        assert_eq!(sessions().await, taken);
        let id = NodeId::new("media_1");
        let order = |status| {
            let order =
                |core: &mut Core| core.order_status(&id, status, DrainFor::Unsaid, Instant::now());
            app.step(order).expect("it may be ordered");
        };
        let closed = async |why: &str| {
            let why = format!("no media node takes new sessions: {why}\n");
            assert_eq!(
                ready().await,
                (StatusCode::OK, format!("ready, but {why}")),
                "people in calls need it"
            );
            assert_eq!(sessions().await, (StatusCode::SERVICE_UNAVAILABLE, why));
        };
        order(Status::WaitingIdleToTerminate);
        closed("1 drained").await;
        order(Status::Running);
        assert_eq!(ready().await, (StatusCode::OK, "ready\n".to_owned()));
        assert_eq!(sessions().await, taken);
        app.step(|core| core.loads.refused(Instant::now(), &id));
        closed("1 full").await;
        app.stop();
        let stopping = (StatusCode::SERVICE_UNAVAILABLE, "stopping\n".to_owned());
        assert_eq!(
            (ready().await, sessions().await),
            (stopping.clone(), stopping)
        );
    }

    /// Serves these routes on a port of its own; the end of it, and when it has come.
    async fn serving(routes: Router) -> (SocketAddr, watch::Sender<bool>, JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let (stop, stopped) = watch::channel(false);
        let (_, front) = watch::channel(Front::default());
        let served = tokio::spawn(serve(listener, front, routes, stopped));
        (address, stop, served)
    }

    #[tokio::test]
    async fn requests_under_way_are_answered_at_the_end_and_idle_connections_closed() {
        let (begun, may_end) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let slow = {
            let (begun, may_end) = (begun.clone(), may_end.clone());
            get(move || async move {
                begun.notify_one();
                may_end.notified().await;
                "answered"
            })
        };
        let (address, stop, served) = serving(Router::new().route("/", slow)).await;
        let mut busy = TcpStream::connect(address).await.expect("it listens");
        let mut idle = TcpStream::connect(address).await.expect("it listens");
        let request = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n";
        busy.write_all(request).await.expect("open");
        begun.notified().await;
        stop.send_replace(true);
        let mut rest = String::new();
        idle.read_to_string(&mut rest).await.expect("closed");
        assert_eq!(rest, "");
        may_end.notify_one();
        busy.read_to_string(&mut rest).await.expect("closed");
        assert!(rest.ends_with("answered"), "{rest}");
        let patience = Duration::from_secs(5);
        timeout(patience, served)
            .await
            .expect("over")
            .expect("whole");
        assert!(TcpStream::connect(address).await.is_err());
    }

    #[tokio::test]
    async fn an_answer_without_an_end_holds_nobody_up() {
        let endless = |is_told: bool| {
            get(move |request: Request| async move {
                if let (true, Some(hang_up)) = (is_told, request.extensions().get::<HangUp>()) {
                    hang_up.is_never_over();
                }
                let quiet = futures_util::stream::once(async { Ok::<_, Infallible>("more") });
                let for_ever = futures_util::stream::pending();
                Body::from_stream(futures_util::StreamExt::chain(quiet, for_ever))
            })
        };
        for is_told in [true, false] {
            let routes = Router::new().route("/", endless(is_told));
            let (address, stop, served) = serving(routes).await;
            let mut reader = TcpStream::connect(address).await.expect("it listens");
            let request = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n";
            reader.write_all(request).await.expect("open");
            let mut some = [0; 15];
            reader.read_exact(&mut some).await.expect("it has begun");
            stop.send_replace(true);
            let patience = match is_told {
                true => Duration::from_secs(5),
                false => Duration::from_millis(200),
            };
            assert_eq!(timeout(patience, served).await.is_ok(), is_told);
        }
    }

    #[tokio::test]
    async fn a_scraper_gets_the_format_that_it_asks_for() {
        let (app, _node) = crate::testing::master();
        let stage = Stage::new();
        stage.started(&app);
        let ask = async |method: &str, accept: &[&str]| {
            let request = Request::builder().method(method).uri("/metrics");
            let request = accept
                .iter()
                .fold(request, |request, one| request.header(ACCEPT, *one));
            let request = request.body(Body::empty()).expect("a request");
            let answered = admin_routes(&stage)
                .oneshot(request)
                .await
                .expect("infallible");
            let format = answered.headers()[CONTENT_TYPE].clone();
            let body = axum::body::to_bytes(answered.into_body(), usize::MAX).await;
            let body = body.expect("there").to_vec();
            (format, String::from_utf8(body).expect("text"))
        };
        let (format, page) = ask("GET", &[]).await;
        assert_eq!(format, "text/plain; version=0.0.4; charset=utf-8");
        assert!(
            page.contains("# TYPE ringcast_master_store_rows_total counter\n"),
            "{page}"
        );
        let both = [
            "text/plain;q=0.5",
            "application/openmetrics-text;version=1.0.0",
        ];
        let (format, page) = ask("GET", &both).await;
        assert_eq!(
            format,
            "application/openmetrics-text; version=1.0.0; charset=utf-8"
        );
        assert!(
            page.contains("# TYPE ringcast_master_store_rows counter\n"),
            "{page}"
        );
        assert!(page.ends_with("# EOF\n"));
        let (format, page) = ask("HEAD", &both).await;
        assert!(
            format
                .to_str()
                .is_ok_and(|text| text.contains("openmetrics"))
                && page.is_empty()
        );
    }

    #[tokio::test]
    async fn a_connection_whose_other_side_reads_nothing_can_be_ended() {
        let endless = |end: bool| {
            get(move |request: Request| async move {
                if let (true, Some(hang_up)) = (end, request.extensions().get::<HangUp>()) {
                    hang_up.now();
                }
                let more = futures_util::stream::repeat_with(|| Ok::<_, Infallible>("more"));
                Body::from_stream(more)
            })
        };
        let routes = Router::new()
            .route("/kept", endless(false))
            .route("/ended", endless(true));
        for (path, ends) in [("/kept", false), ("/ended", true)] {
            // Of the answer there is only room for a few octets on the way.
            let (mut near, far) = tokio::io::duplex(64);
            let served = {
                let (_, stop) = watch::channel(false);
                tokio::spawn(http(far, ([10, 0, 0, 1], 1).into(), routes.clone(), stop))
            };
            let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
            near.write_all(request.as_bytes()).await.expect("open");
            let patience = match ends {
                true => Duration::from_secs(5),
                false => Duration::from_millis(100),
            };
            assert_eq!(timeout(patience, served).await.is_ok(), ends, "{path}");
        }
    }

    #[test]
    fn one_address_cannot_take_every_place() {
        let places = Arc::new(Semaphore::new(10));
        let by_address = Arc::new(Mutex::new(Count::new(2)));
        let admit = |last: u8| {
            let place = places.clone().try_acquire_owned().expect("free");
            let address = (last > 0).then(|| IpAddr::from([10, 0, 0, last]));
            Guest::admit(&by_address, address, place)
        };
        let (first, second) = (admit(1), admit(1));
        assert!(first.is_some() && second.is_some());
        assert!(admit(1).is_none());
        assert!(admit(2).is_some());
        let of_proxy: Vec<_> = (0..3).map(|_| admit(0)).collect();
        assert!(of_proxy.iter().all(Option::is_some));
        drop((of_proxy, first));
        assert!(admit(1).is_some());
        drop(second);
        assert_eq!(places.available_permits(), 10, "all are given back");
    }
}
