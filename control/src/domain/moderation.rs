//! What users do to each other: signals, and what moderators may.

use std::sync::Arc;

use super::{
    Code, ConnectionId, Domain, Happened, Notification, Output, Reason, Refused, SessionId,
    StreamId, no_session,
};

/// What marks the type of a signal: applications listen for `signal:NAME`.
const SIGNAL_PREFIX: &str = "signal:";

impl Domain {
    /// Sends a signal to those users, or to everybody, the sender included.
    ///
    /// # Errors
    /// Code 202 when there is no such session, 601 when a recipient is not in it: then nobody gets it.
    pub fn signal(
        &mut self,
        session_id: &SessionId,
        from: Option<&ConnectionId>,
        to: &[ConnectionId],
        kind: Option<&str>,
        data: Option<&str>,
    ) -> Result<(), Refused> {
        let session = self
            .sessions
            .get(session_id)
            .ok_or_else(|| no_session(session_id))?;
        for id in to {
            if !session.active().any(|one| one.id == *id) {
                let text = format!("Connection '{id}' is not in session '{session_id}'");
                return Err(Refused::new(Code::SignalTo, text));
            }
        }
        let message = Arc::new(Notification::SendMessage {
            from: from.cloned(),
            kind: kind.map(with_prefix),
            data: data.map(str::to_owned),
        });
        let reached = session
            .active()
            .filter(|one| to.is_empty() || to.contains(&one.id));
        let mut heard_by = Vec::new();
        for one in reached {
            let message = Arc::clone(&message);
            self.outputs
                .push_back(Output::notify(session_id, &one.id, message));
            if !one.is_hidden() {
                heard_by.push(one.id.clone());
            }
        }
        let kind = kind.unwrap_or_default();
        let event = session.event(Happened::SignalSent {
            from: from.cloned(),
            to: heard_by,
            // Applications hear the type as its sender named it: clients put the mark before it, applications do not have to.
            kind: match from {
                Some(_) => kind.strip_prefix(SIGNAL_PREFIX).unwrap_or(kind).to_owned(),
                None => kind.to_owned(),
            },
            data: data.unwrap_or_default().to_owned(),
        });
        self.outputs.push_back(event);
        Ok(())
    }

    /// A moderator puts a user out.
    ///
    /// # Errors
    /// Code 401 without the role, 102 when that user is not here.
    pub fn force_disconnect(
        &mut self,
        session: &SessionId,
        moderator: &ConnectionId,
        id: &ConnectionId,
    ) -> Result<(), Refused> {
        if !self.connection(session, moderator)?.may_moderate() {
            return Err(Refused::unauthorized("force disconnect"));
        }
        if !self.connection(session, id)?.is_active() {
            return Err(super::no_user(id));
        }
        self.evict(session, id, Reason::ForceDisconnectByUser)
    }

    /// A moderator takes a stream down.
    ///
    /// # Errors
    /// Code 401 without the role, 105 when there is no such stream.
    pub fn moderate_stream(
        &mut self,
        session: &SessionId,
        moderator: &ConnectionId,
        stream: &StreamId,
    ) -> Result<(), Refused> {
        if !self.connection(session, moderator)?.may_moderate() {
            return Err(Refused::unauthorized("force unpublish"));
        }
        self.force_unpublish(session, stream, Reason::ForceUnpublishByUser)
    }
}

fn with_prefix(kind: &str) -> String {
    match kind.starts_with(SIGNAL_PREFIX) {
        true => kind.to_owned(),
        false => format!("{SIGNAL_PREFIX}{kind}"),
    }
}
