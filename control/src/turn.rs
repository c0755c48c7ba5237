//! TURN credentials of a limited life, made from a secret that the TURN server shares (the "TURN REST API" of coturn).

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::domain::{Chance, IceServer, ids};

/// How long a credential lasts, seconds.
const LIFE: u64 = 24 * 60 * 60;

/// The servers as a client is given them: secrets turned into credentials, `{url, username?, credential?}`.
pub fn for_client(servers: &[IceServer], now_seconds: u64, chance: &mut dyn Chance) -> Value {
    servers
        .iter()
        .map(|server| {
            let mut entry = json!({"url": server.url});
            let credentials = match &server.static_auth_secret {
                Some(secret) => Some(temporary(secret, now_seconds, chance)),
                None => server.username.clone().zip(server.credential.clone()),
            };
            if let Some((username, credential)) = credentials {
                entry["username"] = json!(username);
                entry["credential"] = json!(credential);
            }
            entry
        })
        .collect()
}

fn temporary(secret: &str, now_seconds: u64, chance: &mut dyn Chance) -> (String, String) {
    let username = format!("{}:{}", now_seconds + LIFE, ids::alphanumerics(8, chance));
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret.as_bytes());
    let credential = STANDARD.encode(hmac::sign(&key, username.as_bytes()));
    (username, credential)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::testing::Seeded;

    #[test]
    fn a_secret_never_reaches_a_client() {
        let server = IceServer {
            static_auth_secret: Some("north".to_owned()),
            ..IceServer::stun("unused")
        };
        let made = for_client(&[server], 1000, &mut Seeded(1));
        let username = made[0]["username"].as_str().expect("text");
        assert!(username.starts_with("87400:"));
        assert_eq!(username.len(), "87400:".len() + 8);
        // SHA-1 has 20 bytes, base64 makes 28 characters of them.
        assert_eq!(made[0]["credential"].as_str().map(str::len), Some(28));
        assert!(!made.to_string().contains("north"));
    }

    #[test]
    fn a_plain_server_stays_plain() {
        let made = for_client(&[IceServer::stun("h:1")], 0, &mut Seeded(1));
        assert_eq!(made, json!([{"url": "stun:h:1"}]));
    }
}
