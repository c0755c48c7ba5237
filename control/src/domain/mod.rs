//! What the master knows of calls: sessions, connections, streams and tokens, as pure state machines.
//!
//! Nothing here reads a clock, locks, waits or speaks to anybody. Time comes in as milliseconds since the epoch, chance by
//! [`ids::Chance`], and what others must hear comes out as [`Output`]s, in the order in which they must hear it.

pub mod connection;
pub mod event;
pub mod ice;
pub mod ids;
pub mod kept;
pub mod limits;
pub mod notification;
pub mod quality;
pub mod reason;
pub mod refusal;
pub mod roles;
pub mod session;
pub mod stream;
pub mod token;
pub mod voice;

mod admission;
mod moderation;
mod publishing;

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

pub use connection::{Connection, ConnectionProperties, ConnectionStatus, VideoBandwidth};
pub use event::{Happened, SessionEvent};
pub use ice::IceServer;
pub use ids::{Chance, ConnectionId, NodeId, SessionId, StreamId};
pub use limits::{Bounds, Limits};
pub use notification::{Notification, Output};
pub use quality::Level;
pub use reason::Reason;
pub use refusal::{Code, Refused};
pub use roles::Role;
pub use session::{Session, SessionProperties};
pub use stream::{Stream, StreamProperties};
pub use voice::Voice;

use crate::store::{Kept, Table};

pub use admission::{JoinRequest, Joined, Participant};

/// Milliseconds since the epoch.
pub type Millis = u64;

/// All calls of this master.
#[derive(Debug, Default)]
pub struct Domain {
    sessions: Kept<SessionId, Session>,
    tokens: token::Tokens,
    bounds: Bounds,
    incarnations: u64,
    /// That count is written.
    is_counted: bool,
    /// Rows that are gone.
    gone: Vec<(Table, String)>,
    outputs: VecDeque<Output>,
}

impl Domain {
    /// A master without calls.
    pub fn new() -> Self {
        Self::default()
    }

    /// The next thing that somebody must hear or do; drain until `None` after every call.
    pub fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Makes a session. It takes no media node until somebody joins.
    ///
    /// # Errors
    /// [`CreateSessionError`], when the wanted id is malformed or taken.
    pub fn create_session(
        &mut self,
        properties: SessionProperties,
        now: Millis,
        chance: &mut dyn Chance,
    ) -> Result<&Session, CreateSessionError> {
        let id = match properties.custom_session_id.as_str() {
            "" => self.free_session_id(chance),
            custom if !ids::is_session_id(custom) => return Err(CreateSessionError::Malformed),
            custom => SessionId::new(custom),
        };
        if self.sessions.contains_key(&id) {
            return Err(CreateSessionError::Taken);
        }
        if self.sessions.len() >= self.bounds.sessions {
            return Err(CreateSessionError::TooMany);
        }
        self.incarnations += 1;
        self.is_counted = false;
        let session = Session::new(id.clone(), self.incarnations, properties, now);
        self.outputs
            .push_back(session.event(Happened::SessionCreated));
        Ok(self.sessions.get_or_insert_with(id, || session))
    }

    /// The session of that id.
    pub fn session(&self, id: &SessionId) -> Option<&Session> {
        self.sessions.get(id)
    }

    /// All sessions, oldest first.
    pub fn sessions(&self) -> Vec<&Session> {
        let mut sessions: Vec<_> = self.sessions.values().collect();
        sessions.sort_by_key(|session| (session.created_at, session.incarnation));
        sessions
    }

    /// Puts a session on a media node, where it stays for its life.
    pub fn place(&mut self, session: &SessionId, node: NodeId) {
        if let Some(session) = self.sessions.get_mut(session) {
            session.node = Some(node);
            session.is_changed = true;
        }
    }

    /// Takes a session from its media node, on which nothing of it is.
    pub fn unplace(&mut self, session: &SessionId) {
        if let Some(session) = self.sessions.get_mut(session) {
            session.node = None;
            session.is_changed = true;
        }
    }

    /// Closes a session: everybody in it is evicted with this reason.
    ///
    /// # Errors
    /// Code 202 if there is no such session.
    pub fn close_session(&mut self, id: &SessionId, reason: Reason) -> Result<(), Refused> {
        let session = self.sessions.get(id).ok_or_else(|| no_session(id))?;
        for connection in session.active_ids() {
            self.evict(id, &connection, reason)?;
        }
        // With somebody in it, the last eviction has ended it already.
        self.end_session(id, Some(reason));
        Ok(())
    }

    /// Closes every session on a node that is gone.
    pub fn node_lost(&mut self, node: &NodeId, reason: Reason) -> usize {
        let lost: Vec<_> = self
            .sessions
            .values()
            .filter(|session| session.node.as_ref() == Some(node))
            .map(|session| session.id.clone())
            .collect();
        for session in &lost {
            // The session was found a moment ago and nothing ran in between.
            let _ = self.close_session(session, reason);
        }
        lost.len()
    }

    /// Forgets sessions that were created before `older_than` and never joined. Answers how many.
    pub fn collect_garbage(&mut self, older_than: Millis) -> usize {
        let stale: Vec<_> = self
            .sessions
            .values()
            .filter(|session| session.created_at < older_than && session.active().next().is_none())
            .map(|session| session.id.clone())
            .collect();
        for session in &stale {
            self.end_session(session, None);
        }
        stale.len()
    }

    /// The sessions on a media node.
    pub fn sessions_on(&self, node: &NodeId) -> Vec<SessionId> {
        let sessions = self.sessions.values();
        let on_it = sessions.filter(|session| session.node.as_ref() == Some(node));
        on_it.map(|session| session.id.clone()).collect()
    }

    /// The media nodes of sessions that somebody is in.
    pub fn nodes_in_use(&self) -> BTreeSet<NodeId> {
        let sessions = self.sessions.values();
        let joined = sessions.filter(|session| session.active().next().is_some());
        joined.filter_map(|session| session.node.clone()).collect()
    }

    /// The sessions that have their place on that node and nobody in them.
    pub fn unjoined_on(&self, node: &NodeId) -> Vec<SessionId> {
        let sessions = self.sessions.values();
        let on_it = sessions.filter(|session| session.node.as_ref() == Some(node));
        let unjoined = on_it.filter(|session| session.active().next().is_none());
        unjoined.map(|session| session.id.clone()).collect()
    }

    /// The network quality of a user was found to be this. A change that is sure, and that `may_tell` allows, is told to everybody in
    /// the session; whether it was.
    pub fn look_at_quality(
        &mut self,
        session_id: &SessionId,
        id: &ConnectionId,
        level: Level,
        may_tell: bool,
    ) -> bool {
        let Some(session) = self.sessions.get_mut_unkept(session_id) else {
            return false;
        };
        let presence = session
            .connection_mut_unkept(id)
            .and_then(|one| one.presence.as_mut());
        let change = presence.and_then(|presence| presence.quality.look(level, may_tell));
        let Some((old_value, new_value)) = change else {
            return false;
        };
        let changed = Arc::new(Notification::NetworkQualityLevelChanged {
            connection_id: id.clone(),
            new_value,
            old_value,
        });
        let mut news = session.tell_others(id, &changed);
        news.push(Output::notify(session_id, id, changed));
        self.outputs.extend(news);
        true
    }

    /// Somebody who has joined hears once, if `may_tell` allows, of the network quality of those who were there before: else it would
    /// learn of none that stays as it is. Whether it was told anything.
    pub fn catch_up_on_quality(
        &mut self,
        session_id: &SessionId,
        id: &ConnectionId,
        may_tell: bool,
    ) -> bool {
        let Some(session) = self.sessions.get_mut_unkept(session_id) else {
            return false;
        };
        let presence = session
            .connection_mut_unkept(id)
            .and_then(|one| one.presence.as_mut());
        let is_new = presence.filter(|one| may_tell && !one.knows_quality);
        let Some(presence) = is_new else {
            return false;
        };
        presence.knows_quality = true;
        let others = session.active().filter(|one| one.id != *id);
        let levels = others.filter_map(|one| Some((one.id.clone(), one.quality()?)));
        let news = levels.map(|(connection_id, new_value)| {
            let level = Notification::NetworkQualityLevelChanged {
                connection_id,
                new_value,
                old_value: quality::BROKEN,
            };
            Output::notify(session_id, id, Arc::new(level))
        });
        let before = self.outputs.len();
        self.outputs.extend(news);
        self.outputs.len() > before
    }

    /// Makes a connection that waits for its user.
    ///
    /// # Errors
    /// Code 202 if there is no such session, 429 if too many of its tokens are unused.
    pub fn create_connection(
        &mut self,
        session_id: &SessionId,
        properties: ConnectionProperties,
        now: Millis,
        chance: &mut dyn Chance,
    ) -> Result<&Connection, Refused> {
        let session = self
            .sessions
            .get_mut(session_id)
            .ok_or_else(|| no_session(session_id))?;
        session.expect_room_for_pending(&self.bounds)?;
        let id = session.free_connection_id(&properties, chance);
        let token = self.tokens.issue(session_id, &id, chance);
        let connection = Connection::pending(id, token, properties, now);
        Ok(session.add(connection))
    }

    /// Changes what a connection may do, and tells its user.
    ///
    /// # Errors
    /// Code 202 or 102 if session or connection are unknown.
    pub fn update_connection(
        &mut self,
        session_id: &SessionId,
        id: &ConnectionId,
        role: Option<Role>,
        record: Option<bool>,
    ) -> Result<&Connection, Refused> {
        let session = self
            .sessions
            .get_mut(session_id)
            .ok_or_else(|| no_session(session_id))?;
        let connection = session.connection_mut(id).ok_or_else(|| no_user(id))?;
        let mut changes = Vec::new();
        if let Some(role) = role.filter(|role| *role != connection.properties.role) {
            connection.properties.role = role;
            changes.push(("role", role.as_str().to_owned()));
        }
        if let Some(record) = record.filter(|record| *record != connection.properties.record) {
            connection.properties.record = record;
            changes.push(("record", record.to_string()));
        }
        if connection.is_active() {
            self.outputs
                .extend(changes.into_iter().map(|(property, new_value)| {
                    Output::notify(
                        session_id,
                        id,
                        Notification::ConnectionPropertyChanged {
                            property,
                            new_value,
                        },
                    )
                }));
        }
        self.connection(session_id, id)
    }

    /// The connection of that id.
    ///
    /// # Errors
    /// Code 202 or 102 if session or connection are unknown.
    pub fn connection(
        &self,
        session: &SessionId,
        id: &ConnectionId,
    ) -> Result<&Connection, Refused> {
        self.sessions
            .get(session)
            .ok_or_else(|| no_session(session))?
            .connection(id)
            .ok_or_else(|| no_user(id))
    }

    fn free_session_id(&self, chance: &mut dyn Chance) -> SessionId {
        loop {
            let id = SessionId::new(ids::random(ids::SESSION, ids::SESSION_TAIL, chance));
            if !self.sessions.contains_key(&id) {
                return id;
            }
        }
    }

    /// Forgets a session that nobody is in. Without a reason it is as if it had never been, and applications hear nothing.
    fn end_session(&mut self, id: &SessionId, reason: Option<Reason>) {
        if let Some(mut session) = self.sessions.remove(id) {
            let destroyed = reason.map(|reason| session.destroyed(reason));
            self.outputs.extend(destroyed);
            for connection in session.connections() {
                self.tokens.revoke(&connection.token);
            }
            self.gone.extend(kept::rows(&mut session));
            self.outputs.push_back(Output::SessionGone {
                session: id.clone(),
                incarnation: session.incarnation,
            });
        }
    }

    fn active_session_mut(&mut self, id: &SessionId) -> Result<&mut Session, Refused> {
        self.sessions.get_mut(id).ok_or_else(|| no_session(id))
    }
}

/// Why a session was not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CreateSessionError {
    /// The wanted id has characters other than letters, digits, `_` and `-`.
    Malformed,
    /// A session of that id exists.
    Taken,
    /// There are as many as the operator allows.
    TooMany,
}

fn no_session(id: &SessionId) -> Refused {
    Refused::new(Code::SessionNotFound, format!("Session '{id}' not found"))
}

fn no_user(id: &ConnectionId) -> Refused {
    Refused::new(Code::UserNotFound, format!("Connection '{id}' not found"))
}

#[cfg(test)]
mod tests;
