//! What kind of trouble a failed link is in, for whoever must say how it is mended.

use quinn::ConnectionError;

use super::Error;

/// The code with which a node closes the connection of a master that has been superseded.
pub(super) const SUPERSEDED: u32 = 2;

/// The code with which a master ends a connection on which it only asked who is there.
pub(super) const ONLY_ASKED: u32 = 3;

/// The range of QUIC's transport errors that carry an alert of TLS (RFC 9001 §4.8).
const CRYPTO_ERRORS: std::ops::Range<u64> = 0x100..0x200;
/// The alerts that are about certificates and who shows them (RFC 8446 §6.2): bad_certificate to certificate_unknown,
/// unknown_ca, access_denied, decrypt_error and certificate_required.
const CERTIFICATE_ALERTS: [u64; 9] = [42, 43, 44, 45, 46, 48, 49, 51, 116];

/// Why there is no link, in kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Trouble {
    /// Nobody answers there, or not for long.
    Unreachable,
    /// One side does not trust the other's certificate: another authority, or it has ended.
    Certificate,
    /// It is a node of the cluster, but not the one that was meant.
    WrongPeer,
    /// A newer master has taken over.
    Superseded,
    /// It speaks a later version of the link than we do.
    Version,
    /// It answered and then something broke.
    Broken,
}

impl Trouble {
    /// The word in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Certificate => "certificate",
            Self::WrongPeer => "wrong_peer",
            Self::Superseded => "superseded",
            Self::Version => "version",
            Self::Broken => "broken",
        }
    }
}

impl Error {
    /// The kind of trouble that this is.
    pub fn trouble(&self) -> Trouble {
        match self {
            Self::Connection(error) => of_connection(error),
            Self::Silent(_) | Self::Dial(_) | Self::Socket { .. } => Trouble::Unreachable,
            Self::Credentials { .. } | Self::Tls(_) => Trouble::Certificate,
            Self::WrongPeer { .. } => Trouble::WrongPeer,
            Self::Superseded(_) => Trouble::Superseded,
            Self::Version { .. } => Trouble::Version,
            Self::OnlyAsked
            | Self::HungUp
            | Self::Stream(_)
            | Self::Frame(_)
            | Self::Gap(_)
            | Self::OutOfOrder(_) => Trouble::Broken,
        }
    }
}

/// The same of QUIC's own errors.
fn of_connection(error: &ConnectionError) -> Trouble {
    match error {
        ConnectionError::TransportError(error) => of_code(u64::from(error.code)),
        ConnectionError::ConnectionClosed(close) => of_code(u64::from(close.error_code)),
        ConnectionError::ApplicationClosed(close)
            if close.error_code.into_inner() == u64::from(SUPERSEDED) =>
        {
            Trouble::Superseded
        }
        ConnectionError::TimedOut | ConnectionError::Reset => Trouble::Unreachable,
        _ => Trouble::Broken,
    }
}

fn of_code(code: u64) -> Trouble {
    let alert = code.checked_sub(CRYPTO_ERRORS.start);
    match alert {
        Some(alert) if CERTIFICATE_ALERTS.contains(&alert) => Trouble::Certificate,
        _ => Trouble::Broken,
    }
}
