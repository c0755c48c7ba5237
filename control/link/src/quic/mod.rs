//! The link on QUIC (RFC 9000): the master dials, the node listens, both show a certificate of the cluster's authority.
//!
//! One bidirectional stream, opened by the master, carries the frames of both directions. TLS 1.3 only, ALPN
//! [`ALPN`]. [`master`] and [`node`] are the two ends.

pub mod master;
pub mod node;
mod trouble;
mod wire;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{ClientConfig, ConnectionError, IdleTimeout, ServerConfig, TransportConfig, VarInt};
use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

pub use trouble::Trouble;
pub use wire::{Receiver, Sender};

use crate::applied::Superseded;
use crate::frame;
use crate::message::PROTOCOL_VERSION;
use crate::pki::Identity;
use crate::replica::Gap;

/// The protocol that both ends must speak (RFC 7301).
pub const ALPN: &[u8] = b"ringcast/1";
/// How often a node says that it is alive.
pub const HEARTBEAT: Duration = Duration::from_millis(200);

/// How long the two may hear nothing of each other before QUIC gives the connection up.
const IDLE: Duration = Duration::from_secs(3);
/// What a round trip is taken for until it is measured. A node that is dialled before it listens is asked again after three
/// of these, and not only after the second that is usual on the Internet.
const INITIAL_RTT: Duration = Duration::from_millis(50);
/// How long dialling and introductions may take.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// How often QUIC probes a silent peer.
const KEEP_ALIVE: Duration = Duration::from_millis(500);

/// What went wrong with the link.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A certificate or key file can't be used.
    #[error("certificates of the link: {what} {}: {why}", path.display())]
    Credentials {
        /// What was attempted.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why it failed.
        why: String,
    },
    /// The certificates were read, but TLS won't take them.
    #[error("certificates of the link don't fit together: {0}")]
    Tls(String),
    /// The socket can't be had.
    #[error("link: listen or dial on {address}: {source}")]
    Socket {
        /// Where.
        address: std::net::SocketAddr,
        /// Why it failed.
        source: std::io::Error,
    },
    /// The peer's address can't be dialled.
    #[error("link: dial: {0}")]
    Dial(#[from] quinn::ConnectError),
    /// The connection ended, or never came to be.
    #[error("link: {0}")]
    Connection(#[from] ConnectionError),
    /// The master only wanted to know who is there.
    #[error("link: the master only asked who is here")]
    OnlyAsked,
    /// The peer ended its half of the conversation.
    #[error("link: the peer hung up")]
    HungUp,
    /// The stream broke.
    #[error("link: {0}")]
    Stream(String),
    /// The peer said something that is no message.
    #[error("link: {0}")]
    Frame(#[from] frame::Error),
    /// A message is missing.
    #[error("link: {0}")]
    Gap(#[from] Gap),
    /// A newer master is there.
    #[error("link: {0}")]
    Superseded(#[from] Superseded),
    /// The peer was silent for too long.
    #[error("link: nothing heard for {0:?}")]
    Silent(Duration),
    /// The peer is of the cluster, but not what it should be.
    #[error("link: the peer is not {expected}: its certificate names {names:?}")]
    WrongPeer {
        /// Who was expected.
        expected: String,
        /// Who it is.
        names: Vec<String>,
    },
    /// The peer speaks a later version than we can.
    #[error(
        "link: the peer speaks version {theirs} of the protocol and we only {ours}: update this side first"
    )]
    Version {
        /// What the peer speaks.
        theirs: u32,
        /// What we speak.
        ours: u32,
    },
    /// The peer began with the wrong message.
    #[error("link: expected {0} first")]
    OutOfOrder(&'static str),
}

/// Who we are, and whom we trust.
pub struct Credentials {
    roots: Arc<RootCertStore>,
    authority_expiry: SystemTime,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    provider: Arc<CryptoProvider>,
}

impl Credentials {
    /// Reads the authority's certificate, our own and its key from PEM files.
    ///
    /// # Errors
    ///
    /// If a file is missing or damaged.
    pub fn load(ca: &Path, certificate: &Path, key: &Path) -> Result<Self, Error> {
        let bad = |what, path: &Path, why: String| Error::Credentials {
            what,
            path: path.to_owned(),
            why,
        };
        let read = |what, path: &Path| {
            std::fs::read(path).map_err(|error| bad(what, path, error.to_string()))
        };
        let certificates = |what, path: &Path| -> Result<Vec<CertificateDer<'static>>, Error> {
            let found: Result<Vec<_>, _> =
                CertificateDer::pem_slice_iter(&read(what, path)?).collect();
            match found {
                Ok(list) if !list.is_empty() => Ok(list),
                Ok(_) => Err(bad(what, path, "no certificate in the file".into())),
                Err(error) => Err(bad(what, path, error.to_string())),
            }
        };
        let authorities = certificates("read the authority", ca)?;
        let chain = certificates("read the certificate", certificate)?;
        let key = PrivateKeyDer::from_pem_slice(&read("read the key", key)?)
            .map_err(|error| bad("read the key", key, error.to_string()))?;
        Self::new(authorities, chain, key)
    }

    /// The same from memory.
    ///
    /// # Errors
    ///
    /// If the PEM text is damaged.
    pub fn from_identity(ca_pem: &str, identity: &Identity) -> Result<Self, Error> {
        let damaged = |error: rustls::pki_types::pem::Error| Error::Tls(error.to_string());
        let parse = |pem: &str| {
            CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<Vec<_>, _>>()
        };
        Self::new(
            parse(ca_pem).map_err(damaged)?,
            parse(&identity.certificate_pem).map_err(damaged)?,
            PrivateKeyDer::from_pem_slice(identity.key_pem.as_bytes()).map_err(damaged)?,
        )
    }

    fn new(
        authorities: Vec<CertificateDer<'static>>,
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    ) -> Result<Self, Error> {
        let mut roots = RootCertStore::empty();
        let authority_expiry = authorities.iter().map(|one| expiry(one)).min();
        for authority in authorities {
            roots.add(authority).map_err(tls)?;
        }
        Ok(Self {
            roots: Arc::new(roots),
            authority_expiry: authority_expiry.unwrap_or(SystemTime::UNIX_EPOCH),
            chain,
            key,
            provider: Arc::new(rustls::crypto::aws_lc_rs::default_provider()),
        })
    }

    /// The names in our own certificate.
    pub fn names(&self) -> Vec<String> {
        self.chain
            .first()
            .map(|first| names_in(first))
            .unwrap_or_default()
    }

    /// When our own certificate ends; the Unix epoch if it does not say.
    pub fn expiry(&self) -> SystemTime {
        let first = self.chain.first();
        first.map_or(SystemTime::UNIX_EPOCH, |first| expiry(first))
    }

    /// When the authority's certificate ends, the first of them where several are trusted; the Unix epoch if it does not say.
    pub fn authority_expiry(&self) -> SystemTime {
        self.authority_expiry
    }

    fn client_config(&self) -> Result<ClientConfig, Error> {
        let mut config = rustls::ClientConfig::builder_with_provider(self.provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(tls)?
            .with_root_certificates(self.roots.clone())
            .with_client_auth_cert(self.chain.clone(), self.key.clone_key())
            .map_err(tls)?;
        config.alpn_protocols = vec![ALPN.to_vec()];
        let config =
            QuicClientConfig::try_from(config).map_err(|error| Error::Tls(error.to_string()))?;
        let mut config = ClientConfig::new(Arc::new(config));
        config.transport_config(Arc::new(transport_config(0)));
        Ok(config)
    }

    /// Whether they would do, without opening anything.
    ///
    /// # Errors
    ///
    /// If certificate and key don't fit together.
    pub fn check(&self) -> Result<(), Error> {
        self.server_config().map(drop)
    }

    fn server_config(&self) -> Result<ServerConfig, Error> {
        let verifier =
            WebPkiClientVerifier::builder_with_provider(self.roots.clone(), self.provider.clone())
                .build()
                .map_err(|error| Error::Tls(error.to_string()))?;
        let mut config = rustls::ServerConfig::builder_with_provider(self.provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(tls)?
            .with_client_cert_verifier(verifier)
            .with_single_cert(self.chain.clone(), self.key.clone_key())
            .map_err(tls)?;
        config.alpn_protocols = vec![ALPN.to_vec()];
        let config =
            QuicServerConfig::try_from(config).map_err(|error| Error::Tls(error.to_string()))?;
        let mut config = ServerConfig::with_crypto(Arc::new(config));
        config
            .transport_config(Arc::new(transport_config(1)))
            .migration(false)
            .max_incoming(node::INCOMING_MAX);
        Ok(config)
    }
}

fn tls(error: rustls::Error) -> Error {
    Error::Tls(error.to_string())
}

fn transport_config(streams_from_peer: u8) -> TransportConfig {
    let mut config = TransportConfig::default();
    let idle = IdleTimeout::try_from(IDLE).expect("three seconds fit");
    config
        .max_idle_timeout(Some(idle))
        .initial_rtt(INITIAL_RTT)
        .keep_alive_interval(Some(KEEP_ALIVE))
        .max_concurrent_bidi_streams(VarInt::from(u32::from(streams_from_peer)))
        .max_concurrent_uni_streams(VarInt::from(0u32))
        .datagram_receive_buffer_size(None);
    config
}

/// Checks that the peer's certificate carries `name`. That the authority has signed it, TLS has seen to.
fn expect_peer(connection: &quinn::Connection, name: &str) -> Result<(), Error> {
    let names = peer_names(connection);
    if names.iter().any(|candidate| candidate == name) {
        return Ok(());
    }
    Err(Error::WrongPeer {
        expected: name.to_owned(),
        names,
    })
}

/// The names in the peer's certificate.
fn peer_names(connection: &quinn::Connection) -> Vec<String> {
    let identity = connection
        .peer_identity()
        .and_then(|identity| identity.downcast::<Vec<CertificateDer<'static>>>().ok());
    identity
        .as_ref()
        .and_then(|chain| chain.first())
        .map(|first| names_in(first))
        .unwrap_or_default()
}

/// When a certificate (DER) ends; the Unix epoch if it does not say.
pub fn expiry(certificate: &[u8]) -> SystemTime {
    let seconds = || {
        let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
        u64::try_from(certificate.validity().not_after.timestamp()).ok()
    };
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds().unwrap_or(0))
}

fn names_in(certificate: &[u8]) -> Vec<String> {
    let Ok((_, certificate)) = X509Certificate::from_der(certificate) else {
        return Vec::new();
    };
    let Ok(Some(extension)) = certificate.subject_alternative_name() else {
        return Vec::new();
    };
    let names = extension.value.general_names.iter();
    names
        .filter_map(|name| match name {
            GeneralName::DNSName(name) => Some((*name).to_owned()),
            _ => None,
        })
        .collect()
}

/// Earlier versions are understood, later ones are not.
fn understand(theirs: u32) -> Result<(), Error> {
    let ours = PROTOCOL_VERSION;
    (theirs <= ours)
        .then_some(())
        .ok_or(Error::Version { theirs, ours })
}

/// The reason that a peer reads when we close.
fn close(connection: &quinn::Connection, why: &str) {
    connection.close(VarInt::from(1u32), why.as_bytes());
}

#[cfg(test)]
mod tests;
