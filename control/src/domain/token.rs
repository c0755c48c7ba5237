//! Tokens: single-use keys to one pending connection.

use std::collections::HashMap;

use super::ids::{self, Chance, ConnectionId, SessionId};

/// Every token that still opens something.
#[derive(Debug, Default)]
pub struct Tokens {
    open: HashMap<String, (SessionId, ConnectionId)>,
}

impl Tokens {
    /// A new token for that connection.
    pub fn issue(
        &mut self,
        session: &SessionId,
        connection: &ConnectionId,
        chance: &mut dyn Chance,
    ) -> String {
        // An upper-case letter and 15 alphanumerics: 94 bits.
        let token = ids::random("tok_", 15, chance);
        self.open
            .insert(token.clone(), (session.clone(), connection.clone()));
        token
    }

    /// A token that was issued before a restart.
    pub(super) fn restore(&mut self, token: String, of: (SessionId, ConnectionId)) {
        self.open.insert(token, of);
    }

    /// What a token opens.
    pub fn find(&self, token: &str) -> Option<&(SessionId, ConnectionId)> {
        self.open.get(token)
    }

    /// Uses a token up.
    pub fn revoke(&mut self, token: &str) {
        self.open.remove(token);
    }
}

/// The `tok_…` in whatever the client was given: the bare token or the URL around it.
pub fn extract(text: &str) -> Option<&str> {
    let start = text.rfind("tok_")?;
    let token = &text[start..];
    let end = token
        .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .unwrap_or(token.len());
    Some(&token[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_found_in_its_url() {
        let url = "wss://h:4443?sessionId=S&token=tok_Abc123&edition=pro";
        assert_eq!(extract(url), Some("tok_Abc123"));
        assert_eq!(extract("tok_X"), Some("tok_X"));
        assert_eq!(extract("wss://h?sessionId=S"), None);
    }
}
