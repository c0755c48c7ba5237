//! Webhooks: each event as a POST to the application's own server, at least once, and in order within a session.
//!
//! An answer with a status of success means delivered; everything else, a redirect too, means again, without end or until
//! [`Config::webhook_give_up_after`]. What was delivered when the master died before it noted so comes again, under the same
//! `Ringcast-Event-Id`.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use aws_lc_rs::hmac;
use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use hyper::{Method, Request, Uri};
use tokio::time::sleep_until;

use crate::app::{App, now_millis};
use crate::config::Config;
use crate::domain::Millis;
use crate::events::Channel;
use crate::http_client::{Error, HttpClient, Options, Reach};
use crate::metrics::Metrics;
use crate::outbox::{Failure, Feed, Lanes, Next, Parcel, warn_of_leftovers};

/// How long the receiver may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long the note that something was delivered may wait for others.
const CLEAR_AFTER: Duration = Duration::from_millis(50);
/// How many of them may wait.
const CLEAR_MAX: u64 = 256;
/// Which event this is, also when it comes again.
const ID: HeaderName = HeaderName::from_static("ringcast-event-id");
/// That it is from us, and when it was sent.
const SIGNATURE: HeaderName = HeaderName::from_static("ringcast-signature");

/// Begins to deliver what waits and what will come, if webhooks are configured. Must be called inside a tokio runtime.
///
/// # Errors
/// When the endpoint or the authorities' file is unusable.
pub fn start(app: &Arc<App>) -> anyhow::Result<Option<Webhook>> {
    let Some(feed) = Feed::new(app, Channel::Webhook) else {
        warn_of_leftovers(app, Channel::Webhook);
        return Ok(None);
    };
    let endpoint = Endpoint::new(&app.config())?;
    tracing::info!(endpoint = %endpoint.shown, signed = endpoint.secret.is_some(), "events go to the webhook");
    let courier = courier(app, feed, endpoint);
    let webhook = Webhook(courier.endpoint.clone());
    tokio::spawn(courier.run());
    Ok(Some(webhook))
}

/// Where events go, to be changed while they do.
#[derive(Clone)]
pub struct Webhook(Arc<Mutex<Arc<Endpoint>>>);

impl Webhook {
    /// Events go there from now on, under those headers and that signature. Requests under way end as they began.
    pub fn set(&self, endpoint: Endpoint) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(endpoint);
    }
}

fn courier(app: &App, feed: Feed, endpoint: Endpoint) -> Courier {
    Courier {
        feed,
        lanes: Lanes::new(app.config().webhook_parallel),
        endpoint: Arc::new(Mutex::new(Arc::new(endpoint))),
        give_up_after: app.config().webhook_give_up_after,
        metrics: app.metrics.clone(),
        troubled: false,
    }
}

/// Where events are posted.
pub struct Endpoint {
    uri: Uri,
    /// The same without what may be secret, for the log.
    shown: String,
    headers: HeaderMap,
    secret: Option<hmac::Key>,
    client: HttpClient,
    /// How long the receiver may take to answer.
    patience: Duration,
}

impl Endpoint {
    /// As it is configured.
    ///
    /// # Errors
    /// When there is none, or the authorities' file is unusable.
    pub fn new(config: &Config) -> anyhow::Result<Self> {
        let uri = config
            .webhook_uri()?
            .context("webhook_endpoint is not set")?;
        let reach = match config.webhook_allow_internal {
            true => Reach::Everywhere,
            false => Reach::Public,
        };
        let ca = config.webhook_ca.clone();
        let mut headers = config.webhook_header_map()?;
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let agent = concat!("ringcast-master/", env!("CARGO_PKG_VERSION"));
        headers
            .entry(USER_AGENT)
            .or_insert(HeaderValue::from_static(agent));
        let secret = config.webhook_signature_secret.as_ref();
        Ok(Self {
            shown: format!(
                "{}://{}{}",
                uri.scheme_str().unwrap_or_default(),
                uri.authority().map_or("", |authority| authority.as_str()),
                uri.path()
            ),
            uri,
            headers,
            secret: secret.map(|text| hmac::Key::new(hmac::HMAC_SHA256, text.expose().as_bytes())),
            client: HttpClient::new(&Options { reach, ca })?,
            patience: PATIENCE,
        })
    }

    async fn post(&self, parcel: &Parcel) -> Result<(), Undelivered> {
        let status = self
            .client
            .status(self.request(parcel, now_millis()), self.patience);
        let status = status.await?;
        match status.is_success() {
            true => Ok(()),
            false => Err(Undelivered::Status(status.as_u16())),
        }
    }

    fn request(&self, parcel: &Parcel, now: Millis) -> Request<Bytes> {
        let row = &parcel.row;
        let mut headers = self.headers.clone();
        if let Ok(id) = HeaderValue::from_str(&row.id) {
            headers.insert(ID, id);
        }
        if let Some(secret) = &self.secret
            && let Ok(signature) = HeaderValue::from_str(&signature(secret, now / 1000, &row.body))
        {
            headers.insert(SIGNATURE, signature);
        }
        let mut request = Request::new(Bytes::from(row.body.clone()));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = headers;
        request
    }
}

/// `t=SECONDS,v1=HEX`: HMAC-SHA256 of the time, a full stop and the body.
fn signature(secret: &hmac::Key, seconds: u64, body: &str) -> String {
    let tag = hmac::sign(secret, format!("{seconds}.{body}").as_bytes());
    let hex: String = tag
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("t={seconds},v1={hex}")
}

/// Why an event was not delivered.
#[derive(Debug, thiserror::Error)]
enum Undelivered {
    /// The receiver answered something else than success.
    #[error("the receiver answers {0}")]
    Status(u16),
    /// It did not answer.
    #[error(transparent)]
    Failed(#[from] Error),
}

impl Undelivered {
    /// The label in metrics.
    fn outcome(&self) -> &'static str {
        match self {
            Self::Status(_) => "rejected",
            Self::Failed(Error::Timeout(_)) => "timeout",
            Self::Failed(Error::Refused { .. }) => "internal_address",
            Self::Failed(_) => "unreachable",
        }
    }

    fn failure(&self) -> Failure {
        match self {
            Self::Status(_) => Failure::Rejected,
            Self::Failed(_) => Failure::Unreachable,
        }
    }
}

/// What became of an attempt.
struct Landed {
    lane: usize,
    key: String,
    took: Duration,
    result: Result<(), Undelivered>,
}

struct Courier {
    feed: Feed,
    lanes: Lanes,
    /// Where events go; who flies takes what it is at that moment.
    endpoint: Arc<Mutex<Arc<Endpoint>>>,
    give_up_after: Duration,
    metrics: Metrics,
    /// It was said that nothing gets through.
    troubled: bool,
}

impl Courier {
    async fn run(mut self) {
        let mut flights = FuturesUnordered::new();
        let mut clear_at = None;
        loop {
            if self.feed.has_more() {
                for parcel in self.feed.read().await {
                    self.lanes.push(parcel);
                }
            }
            while let Some(next) = self.lanes.next(Instant::now()) {
                if let Some((lane, parcel)) = self.parcel(next).await {
                    flights.push(fly(self.endpoint(), lane, parcel));
                }
            }
            self.feed.backlog().set_oldest_at(self.lanes.oldest_at());
            if self.feed.uncleared() >= CLEAR_MAX {
                self.feed.clear();
            }
            if self.feed.uncleared() > 0 {
                clear_at.get_or_insert_with(|| Instant::now() + CLEAR_AFTER);
            }
            let wake_at = self.lanes.wake_at();
            tokio::select! {
                Some(landed) = flights.next() => self.landed(landed),
                () = self.feed.wait() => {}
                () = until(wake_at) => {}
                () = until(clear_at) => {
                    clear_at = None;
                    self.feed.clear();
                }
            }
        }
    }

    fn endpoint(&self) -> Arc<Endpoint> {
        let endpoint = self.endpoint.lock();
        endpoint.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The whole of what goes next, unless it is too old.
    async fn parcel(&mut self, next: Next) -> Option<(usize, Parcel)> {
        let parcel = match next.parcel {
            Some(parcel) => Some(*parcel),
            None => self.feed.again(next.number).await,
        };
        let Some(parcel) = parcel else {
            tracing::error!(
                number = next.number,
                "an event that waits is no longer in the file"
            );
            self.lanes.done(next.lane, false);
            return None;
        };
        let age = now_millis().saturating_sub(parcel.row.at);
        if !self.give_up_after.is_zero() && u128::from(age) > self.give_up_after.as_millis() {
            tracing::error!(
                id = parcel.row.id,
                name = parcel.row.name,
                body = parcel.row.body,
                "an event could not be delivered in time: it is LOST"
            );
            self.metrics.webhook("given_up", None);
            self.lanes.done(next.lane, false);
            self.feed.done(parcel.key);
            return None;
        }
        Some((next.lane, parcel))
    }

    fn landed(&mut self, landed: Landed) {
        let Landed {
            lane,
            key,
            took,
            result,
        } = landed;
        match result {
            Ok(()) => {
                self.metrics.webhook("delivered", Some(took));
                self.feed.done(key);
                self.lanes.done(lane, true);
                if std::mem::take(&mut self.troubled) {
                    let waiting = self.lanes.waiting();
                    tracing::info!(waiting, "webhook: events get through again");
                }
            }
            Err(why) => {
                self.metrics.webhook(why.outcome(), Some(took));
                let chance = getrandom::u64().unwrap_or_default();
                self.lanes
                    .failed(lane, why.failure(), Instant::now(), chance);
                let endpoint = self.endpoint();
                let endpoint = &endpoint.shown;
                let down = self.lanes.is_down();
                if down && !std::mem::replace(&mut self.troubled, true) {
                    let waiting = self.lanes.waiting();
                    tracing::error!(%endpoint, %why, waiting, "webhook: nothing gets through; events are kept and tried again");
                } else {
                    tracing::warn!(%endpoint, %why, key, "webhook: not delivered; it is tried again");
                }
            }
        }
    }
}

async fn fly(endpoint: Arc<Endpoint>, lane: usize, parcel: Parcel) -> Landed {
    let began = Instant::now();
    let result = endpoint.post(&parcel).await;
    Landed {
        lane,
        key: parcel.key,
        took: began.elapsed(),
        result,
    }
}

/// Waits until then; without a time, for ever.
async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
