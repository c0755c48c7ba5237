//! What applications are told of calls, by webhook and in the call detail records: the words of OpenVidu's events, as data.

use super::connection::Subscription;
use super::{
    Connection, ConnectionId, Millis, Output, Reason, Session, SessionId, Stream, StreamId,
};

/// Something happened in a session.
#[derive(Clone, Debug, PartialEq)]
pub struct SessionEvent {
    /// Its id.
    pub session: SessionId,
    /// When it was created, which tells apart sessions that had the same id one after the other.
    pub session_started_at: Millis,
    /// What happened.
    pub happened: Happened,
}

/// What may happen in a session. What ends tells everything again that was told when it began.
#[derive(Clone, Debug, PartialEq)]
pub enum Happened {
    /// It was made.
    SessionCreated,
    /// It is over.
    SessionDestroyed(Reason),
    /// Somebody joined.
    ParticipantJoined(User),
    /// Somebody is no longer in it.
    ParticipantLeft(User, Reason),
    /// Somebody sends or receives from now on.
    WebrtcConnectionCreated(StreamEnd),
    /// Somebody no longer sends or receives.
    WebrtcConnectionDestroyed(StreamEnd, Reason),
    /// A signal was sent.
    SignalSent {
        /// By whom; none: by the application.
        from: Option<ConnectionId>,
        /// Everybody who was sent it.
        to: Vec<ConnectionId>,
        /// Its type.
        kind: String,
        /// Its text.
        data: String,
    },
}

/// Somebody in a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Their connection.
    pub connection: ConnectionId,
    /// When they joined.
    pub started_at: Millis,
    /// Their address.
    pub ip: String,
    /// Their browser and system, by their own account.
    pub platform: String,
    /// What their browser passed to `connect()`.
    pub client_data: String,
    /// What the application said of them.
    pub server_data: String,
}

impl User {
    fn of(connection: &Connection) -> Option<Self> {
        let presence = connection.presence.as_ref()?;
        (!connection.is_hidden()).then(|| Self {
            connection: connection.id.clone(),
            started_at: presence.active_at,
            ip: presence.ip.clone(),
            platform: presence.platform.clone(),
            client_data: presence.client_data.clone(),
            server_data: connection.properties.data.clone(),
        })
    }
}

/// One who sends or receives a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamEnd {
    /// Who.
    pub connection: ConnectionId,
    /// The stream.
    pub stream: StreamId,
    /// Whose it is; none: their own, which they send.
    pub receiving_from: Option<ConnectionId>,
    /// Since when.
    pub started_at: Millis,
    /// It has sound.
    pub audio: bool,
    /// Its pictures.
    pub video: Option<Pictures>,
}

/// What is known of pictures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pictures {
    /// `CAMERA`, `SCREEN` or `CUSTOM`.
    pub source: Option<String>,
    /// Pictures a second.
    pub frame_rate: Option<i64>,
    /// JSON text of width and height.
    pub dimensions: Option<String>,
}

impl StreamEnd {
    fn sends(stream: &Stream) -> Self {
        let properties = &stream.properties;
        Self {
            connection: stream.connection.clone(),
            stream: stream.id.clone(),
            receiving_from: None,
            started_at: stream.created_at,
            audio: properties.has_audio,
            video: properties.has_video.then(|| Pictures {
                source: properties.type_of_video.clone(),
                frame_rate: properties.frame_rate,
                dimensions: properties.video_dimensions.clone(),
            }),
        }
    }

    fn receives(connection: &ConnectionId, subscription: &Subscription, stream: &Stream) -> Self {
        Self {
            connection: connection.clone(),
            receiving_from: Some(subscription.publisher.clone()),
            started_at: subscription.created_at,
            ..Self::sends(stream)
        }
    }
}

impl Session {
    /// This happened in it.
    pub(super) fn event(&self, happened: Happened) -> Output {
        Output::Event(Box::new(SessionEvent {
            session: self.id.clone(),
            session_started_at: self.created_at,
            happened,
        }))
    }

    /// It is over because of that. Who leaves of their own accord, or is put out, ends no session: that nobody is left does.
    pub(super) fn destroyed(&self, reason: Reason) -> Output {
        let reason = match reason {
            Reason::Disconnect
            | Reason::ForceDisconnectByUser
            | Reason::ForceDisconnectByServer
            | Reason::NetworkDisconnect => Reason::LastParticipantLeft,
            _ => reason,
        };
        self.event(Happened::SessionDestroyed(reason))
    }

    /// Somebody joined. Nobody hears of hidden helpers.
    pub(super) fn joined(&self, connection: &Connection) -> Option<Output> {
        Some(self.event(Happened::ParticipantJoined(User::of(connection)?)))
    }

    /// Somebody sends from now on.
    pub(super) fn sends(&self, stream: &Stream) -> Option<Output> {
        let seen = self.connection(&stream.connection)?;
        let end = StreamEnd::sends(stream);
        (!seen.is_hidden()).then(|| self.event(Happened::WebrtcConnectionCreated(end)))
    }

    /// Somebody receives from now on.
    pub(super) fn receives(&self, id: &ConnectionId, stream: &StreamId) -> Option<Output> {
        let connection = self.connection(id).filter(|one| !one.is_hidden())?;
        let mut subscriptions = connection.subscriptions().iter();
        let subscription = subscriptions.find(|one| one.stream == *stream)?;
        let end = StreamEnd::receives(id, subscription, self.stream(stream)?);
        Some(self.event(Happened::WebrtcConnectionCreated(end)))
    }

    /// Somebody no longer receives this; the stream itself must still be there.
    pub(super) fn receives_no_more(
        &self,
        connection: &Connection,
        subscription: &Subscription,
        reason: Reason,
    ) -> Option<Output> {
        if connection.is_hidden() {
            return None;
        }
        // Who has just been taken out of the session may have received its own stream.
        let publisher = match subscription.publisher == connection.id {
            true => Some(connection),
            false => self.connection(&subscription.publisher),
        };
        let stream = publisher.and_then(Connection::stream)?;
        if stream.id != subscription.stream {
            return None;
        }
        let end = StreamEnd::receives(&connection.id, subscription, stream);
        Some(self.event(Happened::WebrtcConnectionDestroyed(end, reason)))
    }

    /// A stream ends: those who receive it first, its publisher last. Whoever receives it must still be known to.
    pub(super) fn stream_ends_for_all(&self, stream: &Stream, reason: Reason) -> Vec<Output> {
        let mut news = self.stream_ends_for_others(stream, None, reason);
        news.extend(self.sends_no_more(self.connection(&stream.connection), stream, reason));
        news
    }

    /// Somebody is no longer in it, and has been taken out of it already; others still receive what it published.
    pub(super) fn left(&self, connection: &Connection, reason: Reason) -> Vec<Output> {
        let mut news = Vec::new();
        let stream = connection.stream();
        if let Some(stream) = stream {
            news = self.stream_ends_for_others(stream, Some(&connection.id), reason);
        }
        let subscriptions = connection.subscriptions().iter();
        news.extend(subscriptions.filter_map(|one| self.receives_no_more(connection, one, reason)));
        news.extend(stream.and_then(|one| self.sends_no_more(Some(connection), one, reason)));
        let user = User::of(connection);
        news.extend(user.map(|user| self.event(Happened::ParticipantLeft(user, reason))));
        news
    }

    fn stream_ends_for_others(
        &self,
        stream: &Stream,
        except: Option<&ConnectionId>,
        reason: Reason,
    ) -> Vec<Output> {
        let seen = self.active().filter(|one| !one.is_hidden());
        let others = seen.filter(|one| Some(&one.id) != except);
        let ends = others.filter_map(|one| {
            let mut subscriptions = one.subscriptions().iter();
            let subscription = subscriptions.find(|one| one.stream == stream.id)?;
            let end = StreamEnd::receives(&one.id, subscription, stream);
            Some(self.event(Happened::WebrtcConnectionDestroyed(end, reason)))
        });
        ends.collect()
    }

    fn sends_no_more(
        &self,
        publisher: Option<&Connection>,
        stream: &Stream,
        reason: Reason,
    ) -> Option<Output> {
        let end = StreamEnd::sends(stream);
        let seen = publisher.is_some_and(|publisher| !publisher.is_hidden());
        seen.then(|| self.event(Happened::WebrtcConnectionDestroyed(end, reason)))
    }
}

#[cfg(test)]
pub(super) mod tests;
