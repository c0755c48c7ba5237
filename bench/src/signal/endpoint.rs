use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// How long a connection may take.
const CONNECT_PATIENCE: Duration = Duration::from_secs(20);

/// Why signalling did not work.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The address of the master is none.
    #[error("{0:?} is no address of a master, such as http://localhost:4443")]
    Address(String),
    /// TLS could not be set up.
    #[error("TLS")]
    Tls(#[from] rustls::Error),
    /// The master cannot be reached.
    #[error("cannot reach {authority}")]
    Connect {
        /// Host and port.
        authority: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The master speaks another language.
    #[error("{doing}: {why}")]
    Protocol {
        /// What was attempted.
        doing: String,
        /// What went wrong.
        why: String,
    },
    /// The master said no.
    #[error("{doing} was refused: {code} {message}")]
    Refused {
        /// What was asked for.
        doing: String,
        /// HTTP status or JSON-RPC error code.
        code: i64,
        /// Its words.
        message: String,
    },
    /// There was no answer in time.
    #[error("{0} was not answered in time")]
    Late(String),
    /// The connection ended.
    #[error("the connection to the master has ended")]
    Ended,
}

impl Error {
    pub(super) fn protocol(doing: &str, why: impl ToString) -> Self {
        Self::Protocol {
            doing: doing.to_owned(),
            why: why.to_string(),
        }
    }
}

/// Bytes both ways, with or without TLS.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Where the master is. Cheap to clone.
#[derive(Clone)]
pub struct Endpoint {
    /// Host and port, as in a URL.
    authority: String,
    host: String,
    tls: Option<TlsConnector>,
}

impl Endpoint {
    /// Reads `http://HOST[:PORT]` or `https://HOST[:PORT]`.
    ///
    /// A certificate must be signed by one of `roots` (DER), unless `insecure` lets any pass: for the one that a master makes
    /// for itself.
    ///
    /// # Errors
    /// [`Error::Address`], [`Error::Tls`].
    pub fn new(
        url: &str,
        roots: &[CertificateDer<'static>],
        insecure: bool,
    ) -> Result<Self, Error> {
        let wrong = || Error::Address(url.to_owned());
        let (scheme, rest) = url.split_once("://").ok_or_else(wrong)?;
        let authority = rest.trim_end_matches('/');
        if authority.is_empty() || authority.contains(['/', '?', '#', '@', ' ']) {
            return Err(wrong());
        }
        let (default_port, tls) = match scheme {
            "http" | "ws" => (80, None),
            "https" | "wss" => (443, Some(connector(roots, insecure)?)),
            _ => return Err(wrong()),
        };
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => (host, port.parse().map_err(|_| wrong())?),
            _ => (authority, default_port),
        };
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        Ok(Self {
            authority: format!("{host}:{port}"),
            host: bare.to_owned(),
            tls,
        })
    }

    /// Host and port.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// `ws` or `wss`.
    pub(super) fn socket_scheme(&self) -> &'static str {
        match self.tls {
            Some(_) => "wss",
            None => "ws",
        }
    }

    pub(super) async fn connect(&self) -> Result<Box<dyn Stream>, Error> {
        let failed = |source| Error::Connect {
            authority: self.authority.clone(),
            source,
        };
        let connect = async {
            let tcp = TcpStream::connect(&self.authority).await.map_err(failed)?;
            tcp.set_nodelay(true).map_err(failed)?;
            let stream: Box<dyn Stream> = match &self.tls {
                None => Box::new(tcp),
                Some(tls) => {
                    let name = ServerName::try_from(self.host.clone())
                        .map_err(|_| Error::Address(self.authority.clone()))?;
                    Box::new(tls.connect(name, tcp).await.map_err(failed)?)
                }
            };
            Ok(stream)
        };
        let connected = tokio::time::timeout(CONNECT_PATIENCE, connect).await;
        connected.unwrap_or_else(|_| Err(Error::Late("the connection to the master".to_owned())))
    }
}

impl std::fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Endpoint({}://{})", self.socket_scheme(), self.authority)
    }
}

fn connector(roots: &[CertificateDer<'static>], insecure: bool) -> Result<TlsConnector, Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()?;
    let config = if insecure {
        builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
            .with_no_client_auth()
    } else {
        let mut store = RootCertStore::empty();
        for root in roots {
            store.add(root.clone())?;
        }
        builder.with_root_certificates(store).with_no_client_auth()
    };
    Ok(TlsConnector::from(Arc::new(config)))
}

/// Takes every certificate: for load against one's own machine.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read() {
        for (url, authority, scheme) in [
            ("http://localhost:4443", "localhost:4443", "ws"),
            ("https://example.org/", "example.org:443", "wss"),
            ("http://[::1]:8080", "[::1]:8080", "ws"),
            ("http://[::1]", "[::1]:80", "ws"),
        ] {
            let endpoint = Endpoint::new(url, &[], true).unwrap();
            assert_eq!(endpoint.authority(), authority);
            assert_eq!(endpoint.socket_scheme(), scheme);
        }
        for url in [
            "localhost:4443",
            "ftp://x",
            "http://",
            "http://x:y",
            "http://a/b",
        ] {
            assert!(Endpoint::new(url, &[], true).is_err(), "{url}");
        }
    }
}
