//! ICE servers as applications and operators name them, checked.

use std::fmt;

use serde::{Deserialize, Serialize};

/// One entry of a client's ICE configuration.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct IceServer {
    /// `stun:host[:port]`, `turn:host[:port][?transport=tcp|udp]`, or the same with TLS.
    pub url: String,
    /// TURN user name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// TURN password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential: Option<String>,
    /// The secret that user name and password are made from for each client. Never given to clients.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub static_auth_secret: Option<String>,
}

impl fmt::Debug for IceServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Credentials stay out of logs.
        write!(f, "IceServer({})", self.url)
    }
}

impl IceServer {
    /// A STUN server.
    pub fn stun(host_port: impl std::fmt::Display) -> Self {
        Self {
            url: format!("stun:{host_port}"),
            username: None,
            credential: None,
            static_auth_secret: None,
        }
    }

    /// Checks the entry.
    ///
    /// # Errors
    /// A text that names what is wrong.
    pub fn check(&self) -> Result<(), String> {
        let (scheme, rest) = self
            .url
            .split_once(':')
            .ok_or_else(|| format!("'{}' has no scheme", self.url))?;
        let turn = match scheme {
            "stun" | "stuns" => false,
            "turn" | "turns" => true,
            _ => return Err(format!("'{scheme}' is not stun, stuns, turn or turns")),
        };
        let (address, query) = match rest.split_once('?') {
            Some((address, query)) => (address, Some(query)),
            None => (rest, None),
        };
        check_address(address)?;
        match query {
            None => {}
            Some("transport=udp" | "transport=tcp") if turn => {}
            Some(query) => return Err(format!("'?{query}' is not allowed in '{}'", self.url)),
        }
        let user = self.username.is_some() && self.credential.is_some();
        let none = self.username.is_none() && self.credential.is_none();
        match (turn, self.static_auth_secret.is_some()) {
            (true, true) if none => Ok(()),
            (true, false) if user => Ok(()),
            (true, _) => Err(format!(
                "'{}' needs username and credential, or staticAuthSecret",
                self.url
            )),
            (false, false) if none => Ok(()),
            (false, _) => Err(format!("'{}' takes no credentials", self.url)),
        }
    }
}

fn check_address(address: &str) -> Result<(), String> {
    let bad = || format!("'{address}' is not a host with an optional port");
    let (host, port) = match address.strip_prefix('[') {
        Some(rest) => {
            let (host, after) = rest.split_once(']').ok_or_else(bad)?;
            host.parse::<std::net::Ipv6Addr>().map_err(|_| bad())?;
            (
                "v6",
                after.strip_prefix(':').or(after.is_empty().then_some("0")),
            )
        }
        None => match address.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (address, Some("0")),
        },
    };
    let port = port.ok_or_else(bad)?;
    let host_ok = !host.is_empty()
        && host.len() <= 253
        && host
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
    if host_ok && port.parse::<u16>().is_ok() {
        Ok(())
    } else {
        Err(bad())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(url: &str, user: bool, secret: bool) -> IceServer {
        IceServer {
            url: url.to_owned(),
            username: user.then(|| "u".to_owned()),
            credential: user.then(|| "p".to_owned()),
            static_auth_secret: secret.then(|| "s".to_owned()),
        }
    }

    #[test]
    fn the_forms_of_the_reference_pass() {
        for (url, user, secret) in [
            ("stun:h.example", false, false),
            ("stun:10.0.0.1:3478", false, false),
            ("stun:[2001:db8::1]:3478", false, false),
            ("turn:h.example:3478?transport=tcp", true, false),
            ("turns:h.example", false, true),
        ] {
            assert_eq!(server(url, user, secret).check(), Ok(()), "{url}");
        }
    }

    #[test]
    fn everything_else_is_named() {
        for (url, user, secret) in [
            ("", false, false),
            ("http://h", false, false),
            ("stun:", false, false),
            ("stun:h:70000", false, false),
            ("stun:h?transport=udp", false, false),
            ("stun:h", true, false),
            ("turn:h", false, false),
            ("turn:h", true, true),
            ("turn:h?transport=sctp", true, false),
            ("stun:[::1", false, false),
            ("stun:a b", false, false),
        ] {
            assert!(server(url, user, secret).check().is_err(), "{url}");
        }
    }
}
