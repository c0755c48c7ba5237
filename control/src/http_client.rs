//! HTTP requests of the master's own: to applications (events) and to machines of the cluster (metrics).
//!
//! HTTP/1.1 with kept connections; TLS with verified certificates; bodies of a bounded size; redirects are answers and are not
//! followed. Where somebody else chose the address, a request can be kept away from what is inside the operator's network:
//! then the *resolved* address is judged, and that very address connected to, so a name that changes its mind between two
//! questions gains nothing.

mod reach;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::{HeaderMap, Request, StatusCode, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use tokio::time::timeout;

use reach::{Connector, NoConnection};
pub use reach::{Reach, internal};

/// How long a connection without a request is kept.
const IDLE: Duration = Duration::from_secs(30);
/// Connections without a request that are kept for each host.
const IDLE_PER_HOST: usize = 32;

/// The longest body that is taken for the sake of the connection, in bytes, and how long it may take.
const SHORT: usize = 16 << 10;
const SOON: Duration = Duration::from_millis(500);

/// Whom a client may reach and whom it trusts.
#[derive(Clone, Debug)]
pub struct Options {
    /// Addresses that it connects to.
    pub reach: Reach,
    /// PEM file of the authorities that may vouch for servers; none: those that the machine trusts.
    pub ca: Option<PathBuf>,
}

/// Why a client can't be made.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The authorities can't be read.
    #[error("read certificates {}: {why}", path.display())]
    Ca {
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// All addresses of the host are such as must not be reached.
    #[error("{host} is at {address}, {what}, which must not be reached from here")]
    Refused {
        /// The host as it was named.
        host: String,
        /// Where it is.
        address: SocketAddr,
        /// What kind of address that is.
        what: &'static str,
    },
    /// It took too long.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// The answer's body is longer than was allowed.
    #[error("the answer is longer than {0} bytes")]
    TooLong(usize),
    /// No connection, no TLS, or no HTTP.
    #[error("{0}")]
    Failed(String),
}

/// What a server answered.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Its status, whatever it is.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its whole body.
    pub body: Bytes,
}

/// A client. Clones share connections.
#[derive(Clone, Debug)]
pub struct HttpClient {
    client: Client<Connector, Full<Bytes>>,
}

impl HttpClient {
    /// A client without connections yet.
    ///
    /// # Errors
    /// [`SetupError`] when the authorities' file is unusable. A machine that trusts nobody is no error: then no HTTPS succeeds.
    pub fn new(options: &Options) -> Result<Self, SetupError> {
        let roots = match &options.ca {
            Some(path) => authorities(path)?,
            None => trusted_here(),
        };
        let tls = ClientConfig::builder()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let connector = Connector::new(options.reach, Arc::new(tls));
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(hyper_util::rt::TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(IDLE_PER_HOST)
            .build(connector);
        Ok(Self { client })
    }

    /// `GET`.
    ///
    /// # Errors
    /// [`Error`]. A status that is no success is an answer, not an error.
    pub async fn get(&self, uri: Uri, patience: Duration, longest: usize) -> Result<Answer, Error> {
        let mut request = Request::new(Bytes::new());
        *request.uri_mut() = uri;
        self.send(request, patience, longest).await
    }

    /// Sends a request of which only the answer's status counts. It has `patience`.
    ///
    /// # Errors
    /// [`Error`]. A status that is no success is an answer, not an error.
    pub async fn status(
        &self,
        request: Request<Bytes>,
        patience: Duration,
    ) -> Result<StatusCode, Error> {
        let head = timeout(patience, self.client.request(request.map(Full::new))).await;
        let head = head.map_err(|_| Error::Timeout(patience))?;
        let response = head.map_err(|error| failed(&error))?;
        let (head, body) = response.into_parts();
        // A short body is taken so that the connection can be used again; what comes of it does not matter.
        let rest = Limited::new(body, SHORT).collect();
        let _ = timeout(SOON, rest).await;
        Ok(head.status)
    }

    /// Sends a request and takes the whole answer: within `patience`, and with at most `longest` bytes of body.
    ///
    /// # Errors
    /// [`Error`]. A status that is no success is an answer, not an error.
    pub async fn send(
        &self,
        request: Request<Bytes>,
        patience: Duration,
        longest: usize,
    ) -> Result<Answer, Error> {
        let whole = async {
            let response = self.client.request(request.map(Full::new)).await;
            let response = response.map_err(|error| failed(&error))?;
            let (head, body) = response.into_parts();
            let body = Limited::new(body, longest).collect().await;
            let body = body.map_err(|error| match error.is::<LengthLimitError>() {
                true => Error::TooLong(longest),
                false => Error::Failed(error.to_string()),
            })?;
            Ok(Answer {
                status: head.status,
                headers: head.headers,
                body: body.to_bytes(),
            })
        };
        timeout(patience, whole)
            .await
            .unwrap_or(Err(Error::Timeout(patience)))
    }
}

/// What went wrong, found among what was wrapped around it.
fn failed(error: &(dyn std::error::Error + 'static)) -> Error {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        if let Some(NoConnection::Refused {
            host,
            address,
            what,
        }) = inner.downcast_ref()
        {
            return Error::Refused {
                host: host.clone(),
                address: *address,
                what,
            };
        }
        let words = inner.to_string();
        if !text.contains(&words) {
            text = format!("{text}: {words}");
        }
        cause = inner.source();
    }
    Error::Failed(text)
}

fn authorities(path: &Path) -> Result<RootCertStore, SetupError> {
    let unusable = |why: String| SetupError::Ca {
        path: path.to_owned(),
        why,
    };
    let certificates: Vec<_> = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .map_err(|error| unusable(error.to_string()))?;
    let mut roots = RootCertStore::empty();
    for certificate in certificates {
        let added = roots.add(certificate);
        added.map_err(|error| unusable(error.to_string()))?;
    }
    match roots.is_empty() {
        true => Err(unusable("it holds no certificate in PEM form".to_owned())),
        false => Ok(roots),
    }
}

fn trusted_here() -> RootCertStore {
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::debug!(%error, "certificates of this machine");
    }
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(found.certs);
    if added == 0 {
        tracing::warn!(
            "this machine trusts no certificate authority: no HTTPS request of ours can succeed"
        );
    }
    roots
}

#[cfg(test)]
mod tests;
