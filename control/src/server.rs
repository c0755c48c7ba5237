//! The listeners: HTTPS (or HTTP) for browsers and applications, and the operator's own for metrics.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
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
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt as _;

use crate::api::limits::Count;
use crate::api::proxies::{Network, is_trusted};
use crate::api::rest::HangUp;
use crate::api::{inspector, pages, rest, rpc};
use crate::app::App;
use crate::metrics::Metrics;

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

/// What operators reach.
pub fn admin_routes(app: &Arc<App>) -> Router {
    let metrics = |State(app): State<Arc<App>>, headers: HeaderMap| async move {
        let format = wanted(&headers);
        let look = |metrics: &Metrics| app.step(|core| metrics.observe(core));
        let page = app.metrics.scrape(look, format);
        ([(CONTENT_TYPE, format.content_type())], page)
    };
    Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz/live", get(|| async { "ok" }))
        .route("/healthz/ready", get(rest::usable))
        .with_state(app.clone())
}

/// The format that a scraper asks for.
fn wanted(headers: &HeaderMap) -> Format {
    let lines = headers.get_all(ACCEPT).iter().map(HeaderValue::to_str);
    let accept: Vec<&str> = lines.filter_map(Result::ok).collect();
    Format::wanted(Some(&accept.join(",")))
}

/// Serves until the listener's task is dropped. Without `tls` it speaks plain HTTP.
pub async fn serve(
    listener: TcpListener,
    tls: Option<Arc<ServerConfig>>,
    routes: Router,
    proxies: Vec<Network>,
) {
    let acceptor = tls.map(TlsAcceptor::from);
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let by_address = Arc::new(Mutex::new(Count::new(CONNECTIONS_PER_ADDRESS_MAX)));
    loop {
        let Ok(place) = places.clone().acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((stream, peer)) => {
                let limited = (!is_trusted(&proxies, peer.ip())).then_some(peer.ip());
                let Some(guest) = Guest::admit(&by_address, limited, place) else {
                    tracing::debug!(%peer, "too many connections from this address");
                    continue;
                };
                tokio::spawn(connection(
                    stream,
                    peer,
                    acceptor.clone(),
                    routes.clone(),
                    guest,
                ));
            }
            Err(error) => {
                tracing::warn!(%error, "accept");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
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
    _guest: Guest,
) {
    // Answers are small and somebody waits for each.
    let _ = stream.set_nodelay(true);
    match acceptor {
        None => http(stream, peer, routes).await,
        Some(acceptor) => match timeout(TLS_TIMEOUT, acceptor.accept(stream)).await {
            Ok(Ok(stream)) => http(stream, peer, routes).await,
            Ok(Err(error)) => tracing::debug!(%peer, %error, "TLS handshake"),
            Err(_) => tracing::debug!(%peer, "TLS handshake took too long"),
        },
    }
}

async fn http<S>(stream: S, peer: SocketAddr, routes: Router)
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
    tokio::select! {
        served = served => if let Err(error) = served {
            tracing::debug!(%peer, %error, "HTTP");
        },
        () = hang_up.wanted() => tracing::debug!(%peer, "hung up on"),
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

    use tokio::io::AsyncWriteExt as _;

    use super::*;

    #[tokio::test]
    async fn the_master_is_ready_when_somebody_can_join() {
        let (app, node) = crate::testing::master();
        let ready = async || {
            let request = Request::get("/healthz/ready")
                .body(Body::empty())
                .expect("a request");
            let answered = admin_routes(&app).oneshot(request).await;
            answered.expect("infallible").status()
        };
        assert_eq!(ready().await, StatusCode::OK);
        node.up.store(false, std::sync::atomic::Ordering::SeqCst);
        assert_eq!(ready().await, StatusCode::SERVICE_UNAVAILABLE);
    }

    #[tokio::test]
    async fn a_scraper_gets_the_format_that_it_asks_for() {
        let (app, _node) = crate::testing::master();
        let ask = async |method: &str, accept: &[&str]| {
            let request = Request::builder().method(method).uri("/metrics");
            let request = accept
                .iter()
                .fold(request, |request, one| request.header(ACCEPT, *one));
            let request = request.body(Body::empty()).expect("a request");
            let answered = admin_routes(&app)
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
            let served = tokio::spawn(http(far, ([10, 0, 0, 1], 1).into(), routes.clone()));
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
