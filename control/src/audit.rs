//! Who changed what by the REST API: a line for each request of somebody who knows the secret that may change something, with what came
//! of it; and what moderators did by WebSocket. Bodies are never written, since tokens, secrets and what applications call `data` and `customData` are in them.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Method, header};
use axum::response::Response;
use logs::AuditFile;
use serde_json::Value;

use crate::auth::USER;
use crate::config::Config;
use crate::domain::SessionId;

/// The longest name that is written, characters: names are the clients' to choose.
const NAME_MAX: usize = 100;
/// The longest answer that is looked into for the id of what was made, bytes.
const ANSWER_MAX: usize = 1024 * 1024;

/// The file for these lines that the configuration names, open.
///
/// # Errors
/// What is wrong with it.
pub fn file(config: &Config) -> anyhow::Result<Option<AuditFile>> {
    let open = |path: &PathBuf| AuditFile::open(path).with_context(|| named(path));
    config.audit_path.as_ref().map(open).transpose()
}

/// Whether that could be opened. Nothing is made to find out.
///
/// # Errors
/// What is wrong with it.
pub fn check_file(config: &Config) -> anyhow::Result<()> {
    match &config.audit_path {
        Some(path) => AuditFile::check(path).with_context(|| named(path)),
        None => Ok(()),
    }
}

fn named(path: &Path) -> String {
    format!("configuration: audit_path: {}", path.display())
}

/// Goes with an answer to say which session the request was for, where only its body names it.
#[derive(Clone, Debug)]
pub struct OfSession(pub SessionId);

/// A request that may change something. Its line is written in any case: if it goes away before its answer is there, by its end.
#[derive(Debug)]
pub struct Deed {
    is_noted: bool,
    method: String,
    /// The path without ids.
    path: &'static str,
    /// What the ids of the path name, in its order.
    ids: Vec<(&'static str, String)>,
    address: IpAddr,
    /// What the client calls the request.
    request: Option<String>,
    /// With what program it comes.
    agent: Option<String>,
}

impl Deed {
    /// A request as it came.
    pub fn of(method: &Method, path: &str, headers: &HeaderMap, address: IpAddr) -> Self {
        let (path, ids) = template(path);
        let text = |name: &str| Some(bounded(headers.get(name)?.to_str().ok()?));
        Self {
            is_noted: false,
            method: bounded(method.as_str()),
            path,
            ids,
            address,
            request: text("x-request-id"),
            agent: text(header::USER_AGENT.as_str()),
        }
    }

    /// Writes the line, with what came of it.
    pub async fn note(mut self, response: Response) -> Response {
        let (parts, body) = response.into_parts();
        let mut body = body;
        if let Some(OfSession(session)) = parts.extensions.get() {
            self.ids.push(("session", bounded(session.as_str())));
        }
        if parts.status.is_success()
            && let Some((member, what)) = self.made()
        {
            let Ok(bytes) = to_bytes(body, ANSWER_MAX).await else {
                // Answers are made in one piece, and what is made is never so long.
                self.write(Some(parts.status.as_u16()));
                return Response::from_parts(parts, Body::empty());
            };
            let answer: Option<Value> = serde_json::from_slice(&bytes).ok();
            let id = answer.as_ref().and_then(|answer| answer[member].as_str());
            self.ids.extend(id.map(|id| (what, bounded(id))));
            body = Body::from(bytes);
        }
        self.write(Some(parts.status.as_u16()));
        Response::from_parts(parts, body)
    }

    /// The member of the answer that names what was made, and what that is. Of a token the name is the token itself.
    fn made(&self) -> Option<(&'static str, &'static str)> {
        match (self.method.as_str(), self.path) {
            ("POST", "/sessions") => Some(("id", "session")),
            ("POST", "/sessions/{session}/connection") => Some(("id", "connection")),
            ("POST", "/media-nodes") => Some(("id", "node")),
            ("POST", "/tokens") => Some(("session", "session")),
            _ => None,
        }
    }

    /// `status`: that of the answer; none: there was nobody any more to be answered.
    fn write(&mut self, status: Option<u16>) {
        self.is_noted = true;
        let id = |wanted: &str| {
            let found = self.ids.iter().find(|(what, _)| *what == wanted);
            found.map(|(_, id)| id.as_str())
        };
        tracing::info!(
            target: logs::AUDIT,
            user = USER,
            address = %self.address,
            method = self.method,
            path = self.path,
            status,
            outcome = status.is_none().then_some("gone"),
            session = id("session"),
            connection = id("connection"),
            stream = id("stream"),
            node = id("node"),
            request = self.request,
            agent = self.agent,
            "audit"
        );
    }
}

/// What a moderator did to others by WebSocket.
#[derive(Debug)]
pub struct Moderation<'a> {
    /// The method.
    pub what: &'static str,
    /// The moderator's address.
    pub address: &'a str,
    /// Where it happened.
    pub session: &'a str,
    /// The moderator.
    pub moderator: &'a str,
    /// Who it was done to.
    pub connection: &'a str,
    /// The stream that was taken down; none: the connection was.
    pub stream: Option<&'a str>,
}

impl Moderation<'_> {
    /// Writes the line. Only of what was done: who may not could write as many as they like.
    pub fn note(&self) {
        tracing::info!(
            target: logs::AUDIT,
            what = self.what,
            address = self.address,
            session = self.session,
            moderator = self.moderator,
            connection = self.connection,
            stream = self.stream,
            "audit"
        );
    }
}

impl Drop for Deed {
    /// The client has closed, or the time was over: what was asked may have been done nevertheless.
    fn drop(&mut self) {
        if !self.is_noted {
            self.write(None);
        }
    }
}

/// The path without ids, and the ids.
fn template(path: &str) -> (&'static str, Vec<(&'static str, String)>) {
    let path = path.strip_prefix("/openvidu/api/").unwrap_or("");
    let parts: Vec<&str> = path.trim_end_matches('/').split('/').collect();
    let named = |names: &[(&'static str, &str)]| {
        let names = names.iter();
        names.map(|(what, id)| (*what, bounded(id))).collect()
    };
    match parts.as_slice() {
        ["sessions"] => ("/sessions", Vec::new()),
        ["tokens"] => ("/tokens", Vec::new()),
        ["signal"] => ("/signal", Vec::new()),
        ["media-nodes"] => ("/media-nodes", Vec::new()),
        ["restart"] => ("/restart", Vec::new()),
        ["recordings", ..] => ("/recordings", Vec::new()),
        ["sessions", session] => ("/sessions/{session}", named(&[("session", session)])),
        ["sessions", session, "connection"] => (
            "/sessions/{session}/connection",
            named(&[("session", session)]),
        ),
        ["sessions", session, "connection", connection] => (
            "/sessions/{session}/connection/{connection}",
            named(&[("session", session), ("connection", connection)]),
        ),
        ["sessions", session, "stream", stream] => (
            "/sessions/{session}/stream/{stream}",
            named(&[("session", session), ("stream", stream)]),
        ),
        ["sessions", session, "stream", stream, "reconnect"] => (
            "/sessions/{session}/stream/{stream}/reconnect",
            named(&[("session", session), ("stream", stream)]),
        ),
        ["media-nodes", node] => ("/media-nodes/{node}", named(&[("node", node)])),
        // What there is not is of no interest, and may be anything.
        _ => ("(none)", Vec::new()),
    }
}

/// A name that a client chose, without what would make a line unreadable.
fn bounded(name: &str) -> String {
    let printable = |c: char| match c.is_control() {
        true => '?',
        false => c,
    };
    name.chars().take(NAME_MAX).map(printable).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_taken_out_of_paths() {
        let names = |path: &str| {
            let (template, ids) = template(path);
            let ids: Vec<_> = ids
                .iter()
                .map(|(what, id)| format!("{what}={id}"))
                .collect();
            format!("{template} {}", ids.join(" "))
        };
        let api = "/openvidu/api";
        for (path, expected) in [
            ("/sessions", "/sessions "),
            ("/sessions/S/", "/sessions/{session} session=S"),
            (
                "/sessions/S/connection/con_1",
                "/sessions/{session}/connection/{connection} session=S connection=con_1",
            ),
            (
                "/sessions/S/stream/str_1/reconnect",
                "/sessions/{session}/stream/{stream}/reconnect session=S stream=str_1",
            ),
            ("/media-nodes/m", "/media-nodes/{node} node=m"),
            ("/tok_en?x", "(none) "),
        ] {
            assert_eq!(names(&format!("{api}{path}")), expected);
        }
        assert_eq!(names("/elsewhere"), "(none) ");
    }

    #[test]
    fn what_clients_choose_is_short_and_on_one_line() {
        assert_eq!(bounded("a\nb\u{1b}[31m"), "a?b?[31m");
        assert_eq!(bounded(&"x".repeat(1_000)).len(), NAME_MAX);
    }

    #[tokio::test]
    async fn an_answer_passes_unchanged_and_names_what_was_made() {
        let deed = |path| Deed::of(&Method::POST, path, &HeaderMap::new(), [10, 0, 0, 1].into());
        let text = r#"{"id":"tok_x","session":"S","token":"tok_x"}"#;
        let mut tokens = deed("/openvidu/api/tokens");
        assert_eq!(tokens.made(), Some(("session", "session")));
        tokens.request = Some("r".to_owned());
        let response = tokens.note(Response::new(Body::from(text))).await;
        let bytes = to_bytes(response.into_body(), ANSWER_MAX)
            .await
            .expect("whole");
        assert_eq!(bytes, text);
        assert_eq!(deed("/openvidu/api/signal").made(), None);
    }
}
