//! The URLs that clients are given.

use axum::http::{HeaderMap, header};

use crate::config::Config;
use crate::domain::SessionId;

/// `HOST[:PORT]` of an `http` or `https` URL without a path.
pub fn host_of(url: &str) -> Option<&str> {
    let rest = url
        .strip_prefix("https://")
        .or_else(|| url.strip_prefix("http://"))?;
    let host = rest.strip_suffix('/').unwrap_or(rest);
    let plain = host
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte));
    (!host.is_empty() && plain).then_some(host)
}

/// How clients reach us: as configured, else as this request did.
pub fn public_url(config: &Config, headers: &HeaderMap) -> String {
    if let Some(url) = &config.public_url {
        return url.trim_end_matches('/').to_owned();
    }
    let url = headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok())
        .map(|host| format!("{}://{host}", config.scheme()))
        .filter(|url| host_of(url).is_some());
    url.unwrap_or_else(|| format!("{}://{}", config.scheme(), config.listen))
}

/// The token as applications hand it to browsers: a WebSocket URL around it.
pub fn token_url(public_url: &str, session: &SessionId, token: &str) -> String {
    let (scheme, host) = match public_url.split_once("://") {
        Some(("http", host)) => ("ws", host),
        Some((_, host)) => ("wss", host),
        None => ("wss", public_url),
    };
    format!("{scheme}://{host}?sessionId={session}&token={token}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_urls_that_the_client_accepts() {
        let session = SessionId::new("S");
        assert_eq!(
            token_url("https://h:4443", &session, "tok_A"),
            "wss://h:4443?sessionId=S&token=tok_A"
        );
        assert_eq!(
            token_url("http://localhost:4443", &session, "tok_A"),
            "ws://localhost:4443?sessionId=S&token=tok_A"
        );
    }

    #[test]
    fn only_plain_hosts_pass() {
        assert_eq!(host_of("https://h:1/"), Some("h:1"));
        for bad in [
            "ftp://h",
            "https://",
            "https://h/x",
            "https://h?x",
            "https://a@b",
        ] {
            assert_eq!(host_of(bad), None, "{bad}");
        }
    }
}
