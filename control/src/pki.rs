//! `ringcast-master pki`: the certificates with which master and nodes know each other.

use std::path::Path;

use link::pki::{Authority, CA_KEY_FILE};

use crate::nodes::{MASTER_CERTIFICATE, MASTER_KEY};

/// Why certificates were not made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// As the link says.
    #[error(transparent)]
    Link(#[from] link::pki::Error),
    /// The directory can't be made.
    #[error("make directory {}: {source}", path.display())]
    Directory {
        /// The directory.
        path: std::path::PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// An id that is no file name.
    #[error(
        "'{0}' can't be a node's id: letters, digits, '_', '-' and '.' only, and not 'ca' or 'master'"
    )]
    NodeId(String),
}

/// Makes what is missing of authority, master's certificate and nodes' certificates. What is there stays.
///
/// # Errors
/// [`Error`], which names file or id.
pub fn init(dir: &Path, nodes: &[String]) -> Result<(), Error> {
    std::fs::create_dir_all(dir).map_err(|source| Error::Directory {
        path: dir.to_owned(),
        source,
    })?;
    let authority = match dir.join(CA_KEY_FILE).exists() {
        true => Authority::load(dir)?,
        false => {
            let authority = Authority::generate("Ringcast cluster")?;
            authority.store(dir)?;
            authority
        }
    };
    if !(dir.join(MASTER_CERTIFICATE).exists() && dir.join(MASTER_KEY).exists()) {
        authority.issue_master()?.store(dir, "master")?;
    }
    for id in nodes {
        if !dir.join(format!("{id}.key")).exists() {
            issue(&authority, dir, id)?;
        }
    }
    Ok(())
}

/// Makes a certificate for one node, anew if there was one.
///
/// # Errors
/// [`Error`], which names file or id.
pub fn node(dir: &Path, id: &str) -> Result<(), Error> {
    issue(&Authority::load(dir)?, dir, id)
}

fn issue(authority: &Authority, dir: &Path, id: &str) -> Result<(), Error> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
    let reserved = id.is_empty() || id.starts_with('.') || id == "ca" || id == "master";
    if reserved || !id.bytes().all(plain) {
        return Err(Error::NodeId(id.to_owned()));
    }
    authority.issue_node(id)?.store(dir, id)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn init_makes_what_is_missing_and_keeps_the_rest() {
        let dir = std::env::temp_dir().join(format!("ringcast-pki-{}", std::process::id()));
        init(&dir, &["node-1".to_owned()]).expect("made");
        let ca = std::fs::read(dir.join("ca.pem")).expect("there");
        let first = std::fs::read(dir.join("node-1.pem")).expect("there");
        init(&dir, &["node-1".to_owned(), "node-2".to_owned()]).expect("made");
        assert_eq!(std::fs::read(dir.join("ca.pem")).expect("there"), ca);
        assert_eq!(std::fs::read(dir.join("node-1.pem")).expect("there"), first);
        for file in ["master.pem", "master.key", "node-2.pem", "node-2.key"] {
            assert!(dir.join(file).exists(), "{file}");
        }
        for bad in ["", "../x", "ca", ".hidden"] {
            assert!(node(&dir, bad).is_err(), "{bad}");
        }
        std::fs::remove_dir_all(&dir).expect("removable");
    }
}
