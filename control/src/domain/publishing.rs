//! Sending and receiving: publish, unpublish, subscribe, unsubscribe, changes of a stream.

use std::sync::Arc;

use serde_json::Value;

use super::connection::{Publication, Subscription};
use super::{
    Chance, Code, Connection, ConnectionId, Domain, Millis, Notification, Output, Reason, Refused,
    SessionId, Stream, StreamId, StreamProperties, ids, no_user,
};

impl Domain {
    /// Reserves a stream for a user that wants to publish. Nobody else knows until [`Domain::complete_publish`].
    ///
    /// # Errors
    /// Code 401 for a subscriber, 106 when a stream is there or on its way, 429 when the session has too many.
    pub fn begin_publish(
        &mut self,
        session: &SessionId,
        id: &ConnectionId,
        properties: &StreamProperties,
        chance: &mut dyn Chance,
    ) -> Result<StreamId, Refused> {
        let bounds = self.bounds;
        let session = self.active_session_mut(session)?;
        let room = session.expect_room_for_stream(&bounds);
        let connection = session.connection_mut(id).ok_or_else(|| no_user(id))?;
        if !connection.may_publish() {
            return Err(Refused::unauthorized("publish video"));
        }
        let kind = properties.type_of_video.as_deref();
        let stream = ids::stream_id(kind, id, chance);
        let presence = connection.presence.as_mut().ok_or_else(|| no_user(id))?;
        if presence.publication != Publication::None {
            let text = format!("Connection '{id}' publishes already");
            return Err(Refused::new(Code::UserStreaming, text));
        }
        room?;
        presence.publication = Publication::Pending(stream.clone());
        Ok(stream)
    }

    /// The media node has it: the stream can be received from now on, and others are told.
    ///
    /// # Errors
    /// Code 102 or 105 when user or reservation went away meanwhile.
    pub fn complete_publish(
        &mut self,
        session_id: &SessionId,
        id: &ConnectionId,
        stream_id: &StreamId,
        properties: StreamProperties,
        now: Millis,
    ) -> Result<Stream, Refused> {
        let session = self.active_session_mut(session_id)?;
        let presence = session
            .connection_mut(id)
            .and_then(|connection| connection.presence.as_mut())
            .ok_or_else(|| no_user(id))?;
        if presence.publication != Publication::Pending(stream_id.clone()) {
            return Err(not_streaming(stream_id));
        }
        let stream = Stream {
            id: stream_id.clone(),
            connection: id.clone(),
            created_at: now,
            properties,
        };
        presence.publication = Publication::Live(Box::new(stream.clone()));
        let published = Arc::new(Notification::ParticipantPublished {
            id: id.clone(),
            stream: Box::new(stream.clone()),
        });
        let news = session.tell_others(id, &published);
        let event = session.sends(&stream);
        self.outputs.extend(news.into_iter().chain(event));
        Ok(stream)
    }

    /// The media node does not have it: the reservation goes, silently.
    pub fn abandon_publish(&mut self, session: &SessionId, id: &ConnectionId, stream: &StreamId) {
        let presence = self
            .sessions
            .get_mut(session)
            .and_then(|session| session.connection_mut(id))
            .and_then(|connection| connection.presence.as_mut());
        if let Some(presence) = presence
            && presence.publication == Publication::Pending(stream.clone())
        {
            presence.publication = Publication::None;
        }
    }

    /// A user takes its stream back. Others are told; itself it knows by the response.
    ///
    /// # Errors
    /// Code 105 when it publishes nothing.
    pub fn unpublish(&mut self, session: &SessionId, id: &ConnectionId) -> Result<(), Refused> {
        self.end_stream(session, id, Reason::Unpublish, false)
    }

    /// Takes a stream down. Everybody is told, the owner too.
    ///
    /// # Errors
    /// Code 105 when there is no such stream.
    pub fn force_unpublish(
        &mut self,
        session: &SessionId,
        stream: &StreamId,
        reason: Reason,
    ) -> Result<(), Refused> {
        let owner = self.stream(session, stream)?.connection.clone();
        self.end_stream(session, &owner, reason, true)
    }

    /// The stream of that id.
    ///
    /// # Errors
    /// Code 202 or 105.
    pub fn stream(&self, session: &SessionId, stream: &StreamId) -> Result<&Stream, Refused> {
        self.sessions
            .get(session)
            .ok_or_else(|| super::no_session(session))?
            .stream(stream)
            .ok_or_else(|| not_streaming(stream))
    }

    /// A user receives a stream from now on. Again is fine: it starts anew.
    ///
    /// # Errors
    /// Code 102 or 105 when user or stream went away, 429 when the user receives too many.
    pub fn subscribe(
        &mut self,
        session_id: &SessionId,
        id: &ConnectionId,
        stream: &StreamId,
        now: Millis,
    ) -> Result<(), Refused> {
        let publisher = self.stream(session_id, stream)?.connection.clone();
        self.check_subscribe(session_id, id, stream)?;
        let session = self.active_session_mut(session_id)?;
        let presence = session
            .connection_mut(id)
            .and_then(|connection| connection.presence.as_mut())
            .ok_or_else(|| no_user(id))?;
        if presence
            .subscriptions
            .iter()
            .all(|one| one.stream != *stream)
        {
            presence.subscriptions.push(Subscription {
                stream: stream.clone(),
                publisher,
                created_at: now,
            });
            let event = session.receives(id, stream);
            self.outputs.extend(event);
        }
        Ok(())
    }

    /// Who receives a stream.
    pub fn receivers(&self, session: &SessionId, stream: &StreamId) -> Vec<ConnectionId> {
        let session = self.sessions.get(session);
        let active = session.into_iter().flat_map(super::Session::active);
        let receives = active.filter(|one| {
            let mut subscriptions = one.subscriptions().iter();
            subscriptions.any(|subscription| subscription.stream == *stream)
        });
        receives.map(|one| one.id.clone()).collect()
    }

    /// A user that receives a stream has to negotiate it anew, beginning with this offer.
    ///
    /// # Errors
    /// Code 105 when there is no such stream, 102 when the user is not here or does not receive it.
    pub fn force_reconnection(
        &mut self,
        session: &SessionId,
        id: &ConnectionId,
        stream: &StreamId,
        sdp_offer: String,
    ) -> Result<(), Refused> {
        let publisher = self.stream(session, stream)?.connection.clone();
        let mut subscriptions = self.connection(session, id)?.subscriptions().iter();
        if !subscriptions.any(|one| one.stream == *stream) {
            return Err(no_user(id));
        }
        let forced = Notification::ForciblyReconnectSubscriber {
            connection_id: publisher,
            stream_id: stream.clone(),
            sdp_offer,
        };
        self.outputs.push_back(Output::notify(session, id, forced));
        Ok(())
    }

    /// A user no longer receives what that connection publishes. Not receiving it is fine too.
    ///
    /// # Errors
    /// Code 102 when the user itself is not here.
    pub fn unsubscribe(
        &mut self,
        session_id: &SessionId,
        id: &ConnectionId,
        publisher: &ConnectionId,
    ) -> Result<(), Refused> {
        let session = self.active_session_mut(session_id)?;
        let of_publisher = session
            .connection(publisher)
            .and_then(|connection| connection.stream())
            .map(|stream| stream.id.clone());
        let presence = session
            .connection_mut(id)
            .and_then(|connection| connection.presence.as_mut())
            .ok_or_else(|| no_user(id))?;
        // A subscription that is still being negotiated is known to the media side only.
        let mut gone: Vec<_> = of_publisher.into_iter().collect();
        for one in &presence.subscriptions {
            if one.publisher == *publisher && !gone.contains(&one.stream) {
                gone.push(one.stream.clone());
            }
        }
        let ended = |connection: &Connection| {
            let subscriptions = connection.subscriptions().iter();
            let gone = subscriptions.filter(|one| one.publisher == *publisher);
            gone.filter_map(|one| session.receives_no_more(connection, one, Reason::Unsubscribe))
                .collect()
        };
        let events: Vec<_> = session.connection(id).map(ended).unwrap_or_default();
        if let Some(presence) = session
            .connection_mut(id)
            .and_then(|connection| connection.presence.as_mut())
        {
            presence
                .subscriptions
                .retain(|one| one.publisher != *publisher);
        }
        let gone = gone.into_iter().map(|stream| Output::SubscriptionGone {
            session: session_id.clone(),
            connection: id.clone(),
            stream,
        });
        self.outputs.extend(gone.chain(events));
        Ok(())
    }

    /// A publisher says that something about its stream changed; others are told.
    ///
    /// # Errors
    /// Code 105 when there is no such stream, 401 when it is another's.
    pub fn change_stream(
        &mut self,
        session_id: &SessionId,
        id: &ConnectionId,
        stream_id: &StreamId,
        property: &str,
        new_value: &Value,
        reason: &str,
    ) -> Result<(), Refused> {
        if self.stream(session_id, stream_id)?.connection != *id {
            return Err(Refused::unauthorized("change another user's stream"));
        }
        let session = self.active_session_mut(session_id)?;
        if let Some(stream) = session
            .connection_mut(id)
            .and_then(|connection| connection.stream_mut())
        {
            stream.change(property, new_value);
        }
        let changed = Arc::new(Notification::StreamPropertyChanged {
            connection_id: id.clone(),
            stream_id: stream_id.clone(),
            property: property.to_owned(),
            // Always a string that holds JSON: a bare `true` would be read as false by clients.
            new_value: new_value.to_string(),
            reason: reason.to_owned(),
        });
        let news = session.tell_others(id, &changed);
        self.outputs.extend(news);
        Ok(())
    }

    fn end_stream(
        &mut self,
        session_id: &SessionId,
        id: &ConnectionId,
        reason: Reason,
        tell_owner: bool,
    ) -> Result<(), Refused> {
        let session = self.active_session_mut(session_id)?;
        let connection = session.connection(id).ok_or_else(|| no_user(id))?;
        let stream = connection.stream().ok_or_else(|| {
            let text = format!("Connection '{id}' publishes nothing");
            Refused::new(Code::UserNotStreaming, text)
        })?;
        let events = session.stream_ends_for_all(stream, reason);
        let stream = stream.id.clone();
        session.forget_stream(&stream);
        let unpublished = Arc::new(Notification::ParticipantUnpublished {
            connection_id: id.clone(),
            reason,
        });
        let mut news = session.tell_others(id, &unpublished);
        if tell_owner {
            news.push(Output::notify(session_id, id, unpublished));
        }
        news.push(Output::StreamGone {
            session: session_id.clone(),
            stream,
        });
        self.outputs.extend(news.into_iter().chain(events));
        Ok(())
    }
}

fn not_streaming(stream: &StreamId) -> Refused {
    let text = format!("Stream '{stream}' is not published");
    Refused::new(Code::UserNotStreaming, text)
}
