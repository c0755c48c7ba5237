//! What the domain says: to users, and to those who keep media in step with it.

use std::sync::Arc;

use super::{ConnectionId, Level, Millis, Reason, SessionEvent, SessionId, Stream, StreamId};

/// A consequence of a call to the domain.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// Somebody must hear something.
    Notify {
        /// The session of the recipient.
        session: SessionId,
        /// The recipient.
        to: ConnectionId,
        /// What to hear. Shared by all recipients, so that it is put into words once.
        notification: Arc<Notification>,
    },
    /// A connection is no longer in its session; its user has been told why.
    ConnectionGone {
        /// Its session.
        session: SessionId,
        /// The connection.
        connection: ConnectionId,
        /// Why.
        reason: Reason,
    },
    /// A stream is no more, and nobody receives it any longer.
    StreamGone {
        /// Its session.
        session: SessionId,
        /// The stream.
        stream: StreamId,
    },
    /// Somebody no longer receives a stream.
    SubscriptionGone {
        /// Its session.
        session: SessionId,
        /// Who received.
        connection: ConnectionId,
        /// The stream.
        stream: StreamId,
    },
    /// Somebody else than before speaks in a session. No user is told: OpenVidu has no word for it.
    SpeakerChanged {
        /// Its session.
        session: SessionId,
        /// Who speaks.
        connection: ConnectionId,
        /// In which stream.
        stream: StreamId,
    },
    /// Applications must hear something.
    Event(Box<SessionEvent>),
    /// A session is over.
    SessionGone {
        /// Its id, free again.
        session: SessionId,
        /// Which life of that id.
        incarnation: u64,
    },
}

impl Output {
    /// A notification to one connection.
    pub fn notify(
        session: &SessionId,
        to: &ConnectionId,
        notification: impl Into<Arc<Notification>>,
    ) -> Self {
        Self::Notify {
            session: session.clone(),
            to: to.clone(),
            notification: notification.into(),
        }
    }
}

/// A message from the master to a user, as OpenVidu names them.
#[derive(Clone, Debug, PartialEq)]
pub enum Notification {
    /// Somebody joined.
    ParticipantJoined {
        /// Who.
        id: ConnectionId,
        /// When.
        created_at: Millis,
        /// Client and server data.
        metadata: String,
    },
    /// Somebody publishes.
    ParticipantPublished {
        /// Who.
        id: ConnectionId,
        /// What. Boxed: it is far larger than the others.
        stream: Box<Stream>,
    },
    /// A stream ended while its user stays.
    ParticipantUnpublished {
        /// Whose.
        connection_id: ConnectionId,
        /// Why.
        reason: Reason,
    },
    /// Somebody left, with stream if there was one.
    ParticipantLeft {
        /// Who.
        connection_id: ConnectionId,
        /// Why.
        reason: Reason,
    },
    /// The recipient has to go.
    ParticipantEvicted {
        /// The recipient.
        connection_id: ConnectionId,
        /// Why.
        reason: Reason,
    },
    /// A signal.
    SendMessage {
        /// The sender; none: the server.
        from: Option<ConnectionId>,
        /// `signal:NAME`.
        kind: Option<String>,
        /// The text.
        data: Option<String>,
    },
    /// A published stream changed.
    StreamPropertyChanged {
        /// Whose.
        connection_id: ConnectionId,
        /// Which.
        stream_id: StreamId,
        /// What changed.
        property: String,
        /// The JSON text of the new value: clients parse it.
        new_value: String,
        /// Why.
        reason: String,
    },
    /// The way to and from somebody is better or worse.
    NetworkQualityLevelChanged {
        /// Whose.
        connection_id: ConnectionId,
        /// From now on, 0 to 5.
        new_value: Level,
        /// Until now.
        old_value: Level,
    },
    /// The recipient has to negotiate a stream anew.
    ForciblyReconnectSubscriber {
        /// Whose stream.
        connection_id: ConnectionId,
        /// Which.
        stream_id: StreamId,
        /// What it is to answer.
        sdp_offer: String,
    },
    /// What the recipient may do changed.
    ConnectionPropertyChanged {
        /// `role` or `record`.
        property: &'static str,
        /// The new value as text.
        new_value: String,
    },
}
