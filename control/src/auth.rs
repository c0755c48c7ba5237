//! Secrets, compared without telling how much of them was right.

use axum::http::{HeaderMap, header};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use subtle::ConstantTimeEq as _;

/// The user of every application.
const USER: &str = "OPENVIDUAPP";

/// Compares in a time that depends on the lengths only.
pub fn same(given: &str, secret: &str) -> bool {
    given.as_bytes().ct_eq(secret.as_bytes()).into()
}

/// The request carries `OPENVIDUAPP:secret` (RFC 7617).
pub fn is_application(headers: &HeaderMap, secret: &str) -> bool {
    let given = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("Basic"))
        .and_then(|(_, encoded)| STANDARD.decode(encoded.trim()).ok())
        .and_then(|decoded| String::from_utf8(decoded).ok());
    given.is_some_and(|given| same(&given, &format!("{USER}:{secret}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_right_user_and_secret_pass() {
        let check = |text: &str| {
            let mut headers = HeaderMap::new();
            let value = format!("Basic {}", STANDARD.encode(text));
            headers.insert(header::AUTHORIZATION, value.parse().expect("good"));
            is_application(&headers, "MY:SECRET")
        };
        assert!(check("OPENVIDUAPP:MY:SECRET"));
        for wrong in ["OPENVIDUAPP:MY", "openviduapp:MY:SECRET", "MY:SECRET", ""] {
            assert!(!check(wrong), "{wrong}");
        }
        assert!(!is_application(&HeaderMap::new(), "s"));
    }
}
