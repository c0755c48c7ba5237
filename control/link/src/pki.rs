//! The cluster's own certificate authority.
//!
//! Master and nodes prove to each other that they are of one cluster with certificates of this authority, and which of the
//! two they are by the name in them: [`MASTER_NAME`] or [`NODE_NAME`]. A node's certificate names its id too, so that one
//! node can't pass for another.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType, date_time_ymd,
};

/// The name that every master's certificate carries.
pub const MASTER_NAME: &str = "master.ringcast";
/// The name that every node's certificate carries.
pub const NODE_NAME: &str = "node.ringcast";

/// The file of the authority's certificate.
pub const CA_CERTIFICATE_FILE: &str = "ca.pem";
/// The file of the authority's key. It stays with the master.
pub const CA_KEY_FILE: &str = "ca.key";

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// How long the authority's own certificate lasts.
const CA_LIFE: Duration = Duration::from_secs(3650 * 24 * 60 * 60);
/// How long a master's or node's certificate lasts.
const LEAF_LIFE: Duration = Duration::from_secs(825 * 24 * 60 * 60);

/// Why certificates can't be made, read or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file can't be read or written.
    #[error("{what} {}: {source}", path.display())]
    File {
        /// What was attempted.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
    /// A certificate or key can't be made or understood.
    #[error("{what}: {source}")]
    Certificate {
        /// What was attempted.
        what: &'static str,
        /// Why it failed.
        source: rcgen::Error,
    },
    /// A node can't be called so: it could be taken for something else.
    #[error("{0:?} can't be the id of a node")]
    Reserved(String),
}

/// The authority: who may be in the cluster.
pub struct Authority {
    certificate_pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key, as PEM.
pub struct Identity {
    /// The certificate.
    pub certificate_pem: String,
    /// Its key, PKCS #8.
    pub key_pem: String,
}

impl Authority {
    /// Makes a new authority.
    ///
    /// # Errors
    ///
    /// If the system has no randomness to give.
    pub fn generate(cluster: &str) -> Result<Self, Error> {
        let key = KeyPair::generate().map_err(making("make the authority's key"))?;
        let mut params = params(cluster, CA_LIFE);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params
            .self_signed(&key)
            .map_err(making("make the authority's certificate"))?;
        Ok(Self {
            certificate_pem: certificate.pem(),
            issuer: Issuer::new(params, key),
        })
    }

    /// Reads the authority from `directory`.
    ///
    /// # Errors
    ///
    /// If a file is missing or damaged.
    pub fn load(directory: &Path) -> Result<Self, Error> {
        let certificate_pem = read(&directory.join(CA_CERTIFICATE_FILE))?;
        let key = KeyPair::from_pem(&read(&directory.join(CA_KEY_FILE))?)
            .map_err(making("read the authority's key"))?;
        let issuer = Issuer::from_ca_cert_pem(&certificate_pem, key)
            .map_err(making("read the authority's certificate"))?;
        Ok(Self {
            certificate_pem,
            issuer,
        })
    }

    /// Writes the authority into `directory`, the key for the owner's eyes only.
    ///
    /// # Errors
    ///
    /// If a file can't be written.
    pub fn store(&self, directory: &Path) -> Result<(), Error> {
        write(
            &directory.join(CA_CERTIFICATE_FILE),
            &self.certificate_pem,
            0o644,
        )?;
        write(
            &directory.join(CA_KEY_FILE),
            &self.issuer.key().serialize_pem(),
            0o600,
        )
    }

    /// The authority's certificate, which everybody in the cluster needs.
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// A certificate for the node with this id.
    ///
    /// # Errors
    ///
    /// If the id can't stand in a certificate (it must be ASCII), or is empty or one of our own names.
    pub fn issue_node(&self, id: &str) -> Result<Identity, Error> {
        if ["", MASTER_NAME, NODE_NAME].contains(&id) {
            return Err(Error::Reserved(id.to_owned()));
        }
        self.issue(id, &[NODE_NAME, id], ExtendedKeyUsagePurpose::ServerAuth)
    }

    /// A certificate for a master.
    ///
    /// # Errors
    ///
    /// If the system has no randomness to give.
    pub fn issue_master(&self) -> Result<Identity, Error> {
        self.issue(
            MASTER_NAME,
            &[MASTER_NAME],
            ExtendedKeyUsagePurpose::ClientAuth,
        )
    }

    fn issue(
        &self,
        name: &str,
        names: &[&str],
        usage: ExtendedKeyUsagePurpose,
    ) -> Result<Identity, Error> {
        let key = KeyPair::generate().map_err(making("make a key"))?;
        let mut params = params(name, LEAF_LIFE);
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![usage];
        params.use_authority_key_identifier_extension = true;
        for name in names {
            let name = (*name)
                .try_into()
                .map_err(making("put a name into a certificate"))?;
            params.subject_alt_names.push(SanType::DnsName(name));
        }
        let certificate = params
            .signed_by(&key, &self.issuer)
            .map_err(making("sign a certificate"))?;
        Ok(Identity {
            certificate_pem: certificate.pem(),
            key_pem: key.serialize_pem(),
        })
    }
}

impl Identity {
    /// Writes `NAME.pem` and `NAME.key` into `directory`, the key for the owner's eyes only. Answers the two paths.
    ///
    /// # Errors
    ///
    /// If a file can't be written.
    pub fn store(&self, directory: &Path, name: &str) -> Result<(PathBuf, PathBuf), Error> {
        let certificate = directory.join(format!("{name}.pem"));
        let key = directory.join(format!("{name}.key"));
        write(&certificate, &self.certificate_pem, 0o644)?;
        write(&key, &self.key_pem, 0o600)?;
        Ok((certificate, key))
    }
}

/// Valid from yesterday, since clocks differ.
fn params(common_name: &str, life: Duration) -> CertificateParams {
    let since_epoch = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or(DAY);
    let now = date_time_ymd(1970, 1, 1) + since_epoch;
    let mut params = CertificateParams::default();
    params.not_before = now - DAY;
    params.not_after = now + life;
    params.distinguished_name = rcgen::DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::CommonName, common_name);
    params
}

fn making(what: &'static str) -> impl FnOnce(rcgen::Error) -> Error {
    move |source| Error::Certificate { what, source }
}

fn read(path: &Path) -> Result<String, Error> {
    fs::read_to_string(path).map_err(|source| Error::File {
        what: "read",
        path: path.to_owned(),
        source,
    })
}

fn write(path: &Path, text: &str, mode: u32) -> Result<(), Error> {
    let attempt = || -> std::io::Result<()> {
        // A file that is there already keeps its mode when opened; a key must not inherit a lax one.
        match fs::remove_file(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(path)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()
    };
    attempt().map_err(|source| Error::File {
        what: "write",
        path: path.to_owned(),
        source,
    })
}
