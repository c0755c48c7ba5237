//! How the transports of streams stand by what nodes say: what works, and of what does not the cause.
//!
//! Of transports that are over the causes are kept for a while, for whoever looks only when somebody complains. They outlive neither
//! [`KEPT_FOR`] nor this process.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use link::{Cause, TransportId, TransportReport, TransportState, Trouble};
use serde_json::{Map, Value, json};

use crate::app::Core;
use crate::domain::{ConnectionId, Millis, NodeId, SessionId, StreamId};
use crate::reconcile::Owner;

/// How long failures are kept, milliseconds.
const KEPT_FOR: Millis = 10 * 60 * 1000;
/// Most failures that are kept, of all sessions.
const KEPT_MAX: usize = 1024;
/// Most failures of a session that are shown, the latest ones.
const SHOWN_MAX: usize = 32;
/// Most lines about troubles in the log in a second.
const LINES_MAX: u32 = 20;

/// How a transport stands.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Standing {
    node: NodeId,
    state: &'static str,
    since: Option<Millis>,
    trouble: Option<Trouble>,
}

/// A transport that failed, or that a node refused.
#[derive(Clone, Debug)]
struct Failure {
    at: Millis,
    owner: Owner,
    connection: ConnectionId,
    transport: TransportId,
    node: NodeId,
    trouble: Trouble,
}

/// All transports that nodes report on, and the latest failures.
#[derive(Debug, Default)]
pub struct Standings {
    now: HashMap<TransportId, Standing>,
    failures: VecDeque<Failure>,
    lines: Lines,
}

/// Keeps the log readable when everything fails at once.
#[derive(Debug, Default)]
struct Lines {
    second: Option<Instant>,
    written: u32,
    left_out: u64,
}

impl Lines {
    /// How many lines were left out before this one, if it may be written.
    fn pass(&mut self, now: Instant) -> Option<u64> {
        let is_over = |second| now.saturating_duration_since(second) >= Duration::from_secs(1);
        if self.second.is_none_or(is_over) {
            self.second = Some(now);
            self.written = 0;
        }
        if self.written >= LINES_MAX {
            self.left_out += 1;
            return None;
        }
        self.written += 1;
        Some(std::mem::take(&mut self.left_out))
    }
}

impl Standings {
    /// Takes a report. Answers the trouble if it is another than before.
    fn note(&mut self, node: &NodeId, report: &TransportReport) -> Option<Trouble> {
        let standing = Standing {
            node: node.clone(),
            state: word(&report.state),
            since: report.since,
            trouble: report.trouble.clone(),
        };
        let cause = |standing: &Standing| {
            standing
                .trouble
                .as_ref()
                .map(|one| (standing.state, one.cause))
        };
        let news = cause(&standing);
        let before = match standing.state {
            "closed" => self.now.remove(&report.id),
            _ => self.now.insert(report.id.clone(), standing),
        };
        let is_news = news.is_some() && before.as_ref().and_then(cause) != news;
        report.trouble.clone().filter(|_| is_news)
    }

    /// A node says nothing of a transport any more.
    pub fn forget(&mut self, transport: &TransportId) {
        self.now.remove(transport);
    }

    /// Nothing of a node is there any more.
    pub fn forget_node(&mut self, node: &NodeId) {
        self.now.retain(|_, standing| standing.node != *node);
    }

    fn fail(&mut self, failure: Failure) {
        let oldest = failure.at.saturating_sub(KEPT_FOR);
        while self.failures.len() >= KEPT_MAX
            || self.failures.front().is_some_and(|one| one.at < oldest)
        {
            self.failures.pop_front();
        }
        self.failures.push_back(failure);
    }

    /// The latest failures, the last one first.
    fn latest(&self, now: Millis) -> impl Iterator<Item = &Failure> {
        let kept = move |one: &&Failure| now.saturating_sub(one.at) < KEPT_FOR;
        self.failures.iter().rev().take_while(kept)
    }
}

/// Takes what a node says of a transport: it is shown from now on, and logged once if something is wrong.
pub fn on_report(core: &mut Core, node: &NodeId, report: &TransportReport, now: Millis) {
    let Some(trouble) = core.standings.note(node, report) else {
        return;
    };
    // What was taken down ends as well; that is nobody's trouble.
    let Some(owner) = core.media.owner(&report.id).cloned() else {
        return;
    };
    let closed = matches!(report.state, TransportState::Closed { .. });
    let connection = connection_of(core, &owner);
    if is_excused(core, &owner, trouble.cause) {
        return;
    }
    if trouble.cause.is_failure() {
        log(
            core,
            node,
            &report.id,
            (&owner, &connection),
            (&trouble, word(&report.state)),
        );
    }
    // People who hang up are no failures, and push none out.
    if closed && trouble.cause.is_failure() {
        core.standings.fail(Failure {
            at: now,
            owner,
            connection,
            transport: report.id.clone(),
            node: node.clone(),
            trouble,
        });
    }
}

/// Takes that a node refused a transport.
pub fn on_refusal(
    core: &mut Core,
    node: &NodeId,
    transport: &TransportId,
    limit: &str,
    now: Millis,
) {
    let Some(owner) = core.media.owner(transport).cloned() else {
        return;
    };
    let connection = connection_of(core, &owner);
    let trouble = Trouble {
        cause: Cause::Refused,
        detail: Some(limit.to_owned()),
    };
    log(
        core,
        node,
        transport,
        (&owner, &connection),
        (&trouble, "refused"),
    );
    core.standings.fail(Failure {
        at: now,
        owner,
        connection,
        transport: transport.clone(),
        node: node.clone(),
        trouble,
    });
}

/// One line for each trouble of a transport.
fn log(
    core: &mut Core,
    node: &NodeId,
    transport: &TransportId,
    (owner, connection): (&Owner, &ConnectionId),
    (trouble, state): (&Trouble, &str),
) {
    let Some(left_out) = core.standings.lines.pass(Instant::now()) else {
        return;
    };
    let (session, stream, role) = parts(owner);
    tracing::warn!(
        %session, %connection, %stream, role, %node, %transport, state,
        cause = trouble.cause.as_str(), detail = trouble.detail, left_out,
        "{} {}", trouble.cause.what(), trouble.cause.mend()
    );
}

/// Adds `transport` to the publishers and subscribers of a connection as it is shown.
pub fn add_to(core: &Core, session: &SessionId, shown: &mut Value, now: Millis) {
    let Some(connection) = shown["id"].as_str().map(ConnectionId::new) else {
        return;
    };
    for (list, is_publisher) in [("publishers", true), ("subscribers", false)] {
        for item in shown[list].as_array_mut().into_iter().flatten() {
            let Some(stream) = item["streamId"].as_str().map(StreamId::new) else {
                continue;
            };
            let owner = match is_publisher {
                true => Owner::Publication(session.clone(), stream),
                false => Owner::Subscription(session.clone(), connection.clone(), stream),
            };
            item["transport"] = shown_of(core, &owner, now);
        }
    }
}

/// The same for all connections of a session as it is shown, and what failed in it lately.
pub fn add_to_session(core: &Core, session: &SessionId, shown: &mut Value, now: Millis) {
    let connections = shown["connections"]["content"].as_array_mut();
    for connection in connections.into_iter().flatten() {
        add_to(core, session, connection, now);
    }
    let since = core.domain.session(session).map_or(0, |one| one.created_at);
    let latest = core.standings.latest(now).take_while(|one| one.at >= since);
    let latest = latest.filter(|one| parts(&one.owner).0 == session);
    let failures: Vec<_> = latest.take(SHOWN_MAX).map(failure).collect();
    if !failures.is_empty() {
        shown["transportFailures"] = failures.into();
    }
}

fn shown_of(core: &Core, owner: &Owner, now: Millis) -> Value {
    let current = match owner {
        Owner::Publication(session, stream) => core.media.publication_transport(session, stream),
        Owner::Subscription(session, connection, stream) => core
            .media
            .subscription_transport(session, connection, stream),
    };
    if let Some(id) = current {
        let standing = core.standings.now.get(id);
        let trouble = standing.and_then(|one| one.trouble.as_ref());
        let trouble = trouble.filter(|one| !is_excused(core, owner, one.cause));
        let mut shown = words(trouble);
        shown.insert("id".to_owned(), json!(id));
        shown.insert(
            "state".to_owned(),
            json!(standing.map_or("new", |one| one.state)),
        );
        shown.insert(
            "since".to_owned(),
            json!(standing.and_then(|one| one.since)),
        );
        let node = standing.map(|one| &one.node);
        shown.insert("mediaNodeId".to_owned(), json!(node));
        return shown.into();
    }
    match core.standings.latest(now).find(|one| one.owner == *owner) {
        Some(last) => {
            let mut shown = words(Some(&last.trouble));
            shown.insert("id".to_owned(), json!(last.transport));
            shown.insert("state".to_owned(), json!("closed"));
            shown.insert("since".to_owned(), json!(last.at));
            shown.insert("mediaNodeId".to_owned(), json!(last.node));
            shown.into()
        }
        None => Value::Null,
    }
}

fn failure(of: &Failure) -> Value {
    let (_, stream, role) = parts(&of.owner);
    let mut shown = words(Some(&of.trouble));
    shown.insert("id".to_owned(), json!(of.transport));
    shown.insert("at".to_owned(), json!(of.at));
    shown.insert("mediaNodeId".to_owned(), json!(of.node));
    shown.insert("connectionId".to_owned(), json!(of.connection));
    shown.insert("streamId".to_owned(), json!(stream));
    shown.insert("role".to_owned(), json!(role));
    shown.into()
}

/// A trouble in one word and in sentences.
fn words(trouble: Option<&Trouble>) -> Map<String, Value> {
    let mut shown = Map::new();
    shown.insert(
        "cause".to_owned(),
        json!(trouble.map(|one| one.cause.as_str())),
    );
    if let Some(trouble) = trouble {
        shown.insert("what".to_owned(), json!(trouble.cause.what()));
        shown.insert("mend".to_owned(), json!(trouble.cause.mend()));
        if let Some(detail) = &trouble.detail {
            shown.insert("detail".to_owned(), json!(detail));
        }
    }
    shown
}

/// Nothing comes of what its publisher has switched off: that is no trouble.
fn is_excused(core: &Core, owner: &Owner, cause: Cause) -> bool {
    let (session, stream, _) = parts(owner);
    let Ok(stream) = core.domain.stream(session, stream) else {
        return false;
    };
    let of = &stream.properties;
    let sound_is_off = !of.has_audio || of.audio_active == Some(false);
    let picture_is_off = !of.has_video || of.video_active == Some(false);
    match cause {
        Cause::NoPictures | Cause::NoKeyFrame => picture_is_off,
        Cause::NoMedia => sound_is_off && picture_is_off,
        Cause::PublisherSilent => sound_is_off || picture_is_off,
        _ => false,
    }
}

/// Whose transport it is.
fn connection_of(core: &Core, owner: &Owner) -> ConnectionId {
    match owner {
        Owner::Subscription(_, connection, _) => connection.clone(),
        Owner::Publication(session, stream) => match core.domain.stream(session, stream) {
            Ok(stream) => stream.connection.clone(),
            // It is not published yet; its name ends in that of its connection.
            Err(_) => {
                let name = stream.to_string();
                let at = name.rfind("con_").unwrap_or(0);
                ConnectionId::new(&name[at..])
            }
        },
    }
}

fn parts(owner: &Owner) -> (&SessionId, &StreamId, &'static str) {
    match owner {
        Owner::Publication(session, stream) => (session, stream, "publisher"),
        Owner::Subscription(session, _, stream) => (session, stream, "subscriber"),
    }
}

fn word(state: &TransportState) -> &'static str {
    match state {
        TransportState::New => "new",
        TransportState::Connecting => "connecting",
        TransportState::Connected { .. } => "connected",
        TransportState::Closed { .. } => "closed",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cause_is_in_the_list_for_operators_and_no_other() {
        let page = include_str!("../TROUBLESHOOTING.md");
        let rows = page.lines().filter_map(|line| line.strip_prefix("| `"));
        let first = rows.filter_map(|row| row.split_once('`'));
        let words = first.filter(|(word, _)| word.chars().all(|c| c.is_ascii_alphabetic()));
        let mut listed: Vec<_> = words.map(|(word, _)| word).collect();
        let all = Cause::ALL.iter().chain([&Cause::Unknown]);
        let mut known: Vec<_> = all.map(|cause| cause.as_str()).collect();
        listed.sort_unstable();
        known.sort_unstable();
        assert_eq!(listed, known);
    }

    #[test]
    fn nothing_is_kept_of_a_node_that_ended_whether_in_order_or_not() {
        for in_order in [true, false] {
            let (app, _) = crate::testing::master();
            let node = NodeId::new("media_1");
            let report = TransportReport {
                id: TransportId::new("t"),
                worker: 0,
                addresses: Vec::new(),
                state: TransportState::New,
                since: None,
                trouble: None,
            };
            app.step(|core| {
                core.standings.note(&node, &report);
                assert_eq!(core.standings.now.len(), 1);
                let left = in_order.then_some(std::time::Duration::ZERO);
                core.node_leaves(&node, left);
                core.node_lost(&node);
                assert!(core.standings.now.is_empty(), "in order: {in_order}");
            });
        }
    }

    #[test]
    fn a_flood_of_troubles_is_counted_instead() {
        let mut lines = Lines::default();
        let began = Instant::now();
        let passed = (0..1_000).filter(|_| lines.pass(began).is_some()).count();
        assert_eq!(passed, LINES_MAX as usize);
        let later = began + Duration::from_secs(1);
        assert_eq!(lines.pass(later), Some(1_000 - u64::from(LINES_MAX)));
        assert_eq!(lines.pass(later), Some(0));
    }
}
