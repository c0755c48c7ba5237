//! Our certificate towards browsers: the operator's files, or a self-signed one that is made once and kept.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rcgen::{CertificateParams, DnType, KeyPair, date_time_ymd};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::api::urls::host_of;
use crate::config::Config;

/// The files of the self-signed certificate in the data directory.
const CERTIFICATE_FILE: &str = "https.pem";
const KEY_FILE: &str = "https.key";
/// How long it lasts. Browsers refuse more than 825 days even after a user's consent.
const LIFE: Duration = Duration::from_secs(820 * 24 * 60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Why there is no TLS to be had.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file can't be read or written.
    #[error("{what} {}: {why}", path.display())]
    File {
        /// What was attempted.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why it failed.
        why: String,
    },
    /// The certificate can't be made.
    #[error("make a self-signed certificate: {0}")]
    Make(#[from] rcgen::Error),
    /// Certificate and key don't fit together.
    #[error("certificate {}: {source}", path.display())]
    Unusable {
        /// The certificate's file.
        path: PathBuf,
        /// Why.
        source: rustls::Error,
    },
}

/// TLS as configured. Makes the self-signed certificate if it must.
///
/// # Errors
/// [`Error`], which names the file.
pub fn server_config(config: &Config) -> Result<Arc<ServerConfig>, Error> {
    let (certificate, key) = match (&config.certificate, &config.private_key) {
        (Some(certificate), Some(key)) => (certificate.clone(), key.clone()),
        _ => self_signed(config)?,
    };
    load(&certificate, &key)
}

/// Tries the certificate and key that are there, and makes none.
///
/// # Errors
/// [`Error`], which names the file.
pub fn check(config: &Config) -> Result<(), Error> {
    let is_made = own_certificate(config).is_some_and(|own| !own.exists());
    if !config.plain_http && !is_made {
        server_config(config)?;
    }
    Ok(())
}

/// When the certificate towards browsers ends; none: we speak plain HTTP, or there is none yet.
pub fn expiry(config: &Config) -> Option<SystemTime> {
    let file = own_certificate(config).or_else(|| config.certificate.clone())?;
    let first = CertificateDer::pem_file_iter(file).ok()?.next()?.ok()?;
    (!config.plain_http).then(|| link::quic::expiry(&first))
}

/// The certificate that we made for ourselves, which nobody else vouches for; none: the operator gave us one, or we speak plain HTTP.
pub fn own_certificate(config: &Config) -> Option<PathBuf> {
    let own = !config.plain_http && config.certificate.is_none();
    own.then(|| config.data_dir.join(CERTIFICATE_FILE))
}

fn load(certificate: &Path, key: &Path) -> Result<Arc<ServerConfig>, Error> {
    let unreadable = |what, path: &Path, why: String| Error::File {
        what,
        path: path.to_owned(),
        why,
    };
    let chain: Vec<_> = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect)
        .map_err(|error| unreadable("read certificate", certificate, error.to_string()))?;
    if chain.is_empty() {
        let why = "it holds no certificate in PEM form".to_owned();
        return Err(unreadable("read certificate", certificate, why));
    }
    let key = PrivateKeyDer::from_pem_file(key)
        .map_err(|error| unreadable("read private key", key, error.to_string()))?;
    let unusable = |source| Error::Unusable {
        path: certificate.to_owned(),
        source,
    };
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(unusable)?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(unusable)?;
    // WebSockets are upgraded from HTTP/1.1; a browser that could choose HTTP/2 would gain nothing here.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn self_signed(config: &Config) -> Result<(PathBuf, PathBuf), Error> {
    let certificate = config.data_dir.join(CERTIFICATE_FILE);
    let key = config.data_dir.join(KEY_FILE);
    if certificate.exists() && key.exists() {
        return Ok((certificate, key));
    }
    let mut names = vec![
        "localhost".to_owned(),
        "127.0.0.1".to_owned(),
        "::1".to_owned(),
    ];
    let listen = config.listen.ip();
    let public = config.public_url.as_deref().and_then(host_of);
    let public = public.map(|host| host.rsplit_once(':').map_or(host, |(name, _)| name));
    names.extend(public.map(str::to_owned));
    if !listen.is_unspecified() {
        names.push(listen.to_string());
    }
    names.sort();
    names.dedup();
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::CommonName, "Ringcast (self-signed)");
    let since_epoch = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or(DAY);
    let now = date_time_ymd(1970, 1, 1) + since_epoch;
    params.not_before = now - DAY;
    params.not_after = now + LIFE;
    let pair = KeyPair::generate()?;
    let made = params.self_signed(&pair)?;
    write(&key, &pair.serialize_pem(), 0o600)?;
    write(&certificate, &made.pem(), 0o644)?;
    tracing::info!(certificate = %certificate.display(), "made a self-signed certificate");
    Ok((certificate, key))
}

fn write(path: &Path, text: &str, mode: u32) -> Result<(), Error> {
    let attempt = || {
        if let Some(directory) = path.parent() {
            std::fs::create_dir_all(directory)?;
        }
        // A full disk must not leave half a file behind, which every later start would trip over.
        let new = path.with_extension("new");
        let _ = std::fs::remove_file(&new);
        std::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(&new)?
            .write_all(text.as_bytes())?;
        std::fs::rename(&new, path)
    };
    attempt().map_err(|error: std::io::Error| Error::File {
        what: "write",
        path: path.to_owned(),
        why: error.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Settings;

    #[test]
    fn a_self_signed_certificate_is_made_once_and_whole() {
        let dir = std::env::temp_dir().join(format!("ringcast-tls-{}", std::process::id()));
        let settings = format!("secret = 's'\ndata_dir = '{}'", dir.display());
        let settings: Settings = toml::from_str(&settings).expect("good");
        let config = Config::load(None, settings, |_| None).expect("good");
        assert!(server_config(&config).is_ok());
        let first = std::fs::read(dir.join(CERTIFICATE_FILE)).expect("there");
        assert!(server_config(&config).is_ok());
        let again = std::fs::read(dir.join(CERTIFICATE_FILE)).expect("there");
        assert_eq!(first, again);
        let left = expiry(&config)
            .expect("it says so")
            .duration_since(SystemTime::now());
        let left = left.expect("it goes on");
        assert!(left > LIFE - 2 * DAY && left <= LIFE, "{left:?}");
        let empty = dir.join("empty.pem");
        std::fs::write(&empty, "no PEM").expect("writable");
        let refused = load(&empty, &empty)
            .expect_err("no certificate")
            .to_string();
        assert!(refused.contains("no certificate in PEM form"), "{refused}");
        // What an interrupted start left behind is no obstacle.
        std::fs::remove_file(dir.join(CERTIFICATE_FILE)).expect("there");
        std::fs::write(dir.join("https.new"), "half").expect("writable");
        assert!(server_config(&config).is_ok());
        assert!(!dir.join("https.new").exists());
        std::fs::remove_dir_all(&dir).expect("removable");
    }
}
