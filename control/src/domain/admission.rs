//! Coming and going: join, leave, eviction.

use std::sync::Arc;

use super::connection::{Presence, Publication};
use super::quality::Quality;
use super::{
    Chance, Connection, ConnectionId, ConnectionProperties, Domain, IceServer, Millis,
    Notification, Output, Reason, Refused, Role, SessionId, Stream, ids, no_user, token,
};
use super::{Code, no_session};

/// A client wants in.
#[derive(Clone, Debug, Default)]
pub struct JoinRequest {
    /// The session.
    pub session: String,
    /// The token as the client was given it: bare or inside a URL.
    pub token: String,
    /// The client proved the secret of the deployment: it needs no token.
    pub trusted: bool,
    /// It is the hidden recorder; needs the secret.
    pub recorder: bool,
    /// It is the hidden transcriber; needs the secret.
    pub speech_to_text: bool,
    /// Client data.
    pub metadata: String,
    /// Its browser and system, by its own account.
    pub platform: String,
    /// Its address.
    pub ip: String,
    /// Tokens that are older can't be used any more.
    pub tokens_since: Millis,
}

/// What a client that got in is told.
#[derive(Clone, Debug, PartialEq)]
pub struct Joined {
    /// Its session.
    pub session: SessionId,
    /// Its own connection.
    pub id: ConnectionId,
    /// When its connection was made.
    pub created_at: Millis,
    /// Its own metadata.
    pub metadata: String,
    /// What it may do.
    pub role: Role,
    /// Include its stream in individual recordings.
    pub record: bool,
    /// Its own ICE servers, if the application gave it some.
    pub custom_ice_servers: Vec<IceServer>,
    /// Who is here already.
    pub others: Vec<Participant>,
}

/// Somebody who is here already.
#[derive(Clone, Debug, PartialEq)]
pub struct Participant {
    /// Its connection.
    pub id: ConnectionId,
    /// Since when.
    pub created_at: Millis,
    /// Client and server data.
    pub metadata: String,
    /// What it publishes.
    pub stream: Option<Stream>,
}

impl Domain {
    /// The session that a join is for, and the connection that its token opens, checked; nothing changes.
    ///
    /// # Errors
    /// Code 202, 401, or 429 when the session is full.
    pub fn check_join(
        &self,
        request: &JoinRequest,
    ) -> Result<(SessionId, Option<ConnectionId>), Refused> {
        let id = SessionId::new(request.session.clone());
        let session = self.sessions.get(&id).ok_or_else(|| no_session(&id))?;
        if request.trusted {
            let is_hidden = request.recorder || request.speech_to_text;
            if !is_hidden {
                session.expect_room(&self.bounds)?;
            }
            return Ok((id, None));
        }
        let unauthorized = || Refused::unauthorized("join session");
        let token = token::extract(&request.token).ok_or_else(unauthorized)?;
        let (of, connection) = self.tokens.find(token).ok_or_else(unauthorized)?;
        let found = session.connection(connection).filter(|_| *of == id);
        let made = found.ok_or_else(unauthorized)?.created_at;
        if made < request.tokens_since {
            return Err(Refused::unauthorized("join session: its token has expired"));
        }
        session.expect_room(&self.bounds)?;
        Ok((id, Some(connection.clone())))
    }

    /// Lets a client in: others are told, and it gets the picture of the same moment.
    ///
    /// # Errors
    /// Code 202, 401, 429, or 104 when a second recorder wants in.
    pub fn join(
        &mut self,
        request: &JoinRequest,
        now: Millis,
        chance: &mut dyn Chance,
    ) -> Result<Joined, Refused> {
        let (session_id, connection) = self.check_join(request)?;
        let id = match connection {
            Some(id) => id,
            None => self.trusted_connection(&session_id, request, now, chance)?,
        };
        let session = self.active_session_mut(&session_id)?;
        let others = session
            .active()
            .filter(|one| !one.is_hidden())
            .map(participant)
            .collect();
        let connection = session.connection_mut(&id).ok_or_else(|| no_user(&id))?;
        connection.presence = Some(Presence {
            active_at: now,
            ip: request.ip.clone(),
            platform: request.platform.clone(),
            client_data: request.metadata.clone(),
            trusted: request.trusted,
            publication: Publication::None,
            subscriptions: Vec::new(),
            quality: Quality::default(),
            knows_quality: false,
        });
        let connection = connection.clone();
        let joined = Arc::new(Notification::ParticipantJoined {
            id: id.clone(),
            created_at: connection.created_at,
            metadata: connection.metadata(),
        });
        let news = match connection.is_hidden() {
            true => Vec::new(),
            false => session.tell_others(&id, &joined),
        };
        let event = session.joined(&connection);
        self.outputs.extend(news.into_iter().chain(event));
        self.tokens.revoke(&connection.token);
        Ok(Joined {
            session: session_id,
            id,
            created_at: connection.created_at,
            metadata: connection.metadata(),
            role: connection.properties.role,
            record: connection.properties.record,
            custom_ice_servers: connection.properties.custom_ice_servers,
            others,
        })
    }

    /// A user leaves by itself, or is lost: others are told, itself it is not.
    ///
    /// # Errors
    /// Code 202 or 102 if it is not here.
    pub fn leave(
        &mut self,
        session_id: &SessionId,
        id: &ConnectionId,
        reason: Reason,
    ) -> Result<(), Refused> {
        let session = self.active_session_mut(session_id)?;
        let connection = session.remove(id).ok_or_else(|| no_user(id))?;
        let Some(presence) = &connection.presence else {
            let token = connection.token;
            self.tokens.revoke(&token);
            return Ok(());
        };
        let stream = match &presence.publication {
            Publication::None => None,
            Publication::Pending(id) => Some(id.clone()),
            Publication::Live(stream) => Some(stream.id.clone()),
        };
        // The client destroys the stream by itself: `participantLeft` is enough.
        let left = Arc::new(Notification::ParticipantLeft {
            connection_id: id.clone(),
            reason,
        });
        let news = match connection.is_hidden() {
            true => Vec::new(),
            false => session.tell_others(id, &left),
        };
        let events = session.left(&connection, reason);
        if let Some(stream) = &stream {
            session.forget_stream(stream);
        }
        // Hidden helpers serve the users: without users they go too.
        let (hidden, visible): (Vec<_>, Vec<_>) = session.active().partition(|one| one.is_hidden());
        let empty = visible.is_empty();
        let helpers: Vec<_> = match connection.is_hidden() {
            true => Vec::new(),
            false => hidden.iter().map(|one| one.id.clone()).collect(),
        };
        let deserted = empty && hidden.is_empty();
        self.outputs.extend(news);
        if let Some(stream) = stream {
            self.outputs.push_back(Output::StreamGone {
                session: session_id.clone(),
                stream,
            });
        }
        self.outputs.push_back(Output::ConnectionGone {
            session: session_id.clone(),
            connection: id.clone(),
            reason,
        });
        self.outputs.extend(events);
        if deserted {
            self.end_session(session_id, Some(reason));
        } else if empty {
            for helper in helpers {
                self.evict(session_id, &helper, reason)?;
            }
        }
        Ok(())
    }

    /// Puts a user out: those who stay are told first, then the user.
    ///
    /// # Errors
    /// Code 202 or 102 if it is not here.
    pub fn evict(
        &mut self,
        session_id: &SessionId,
        id: &ConnectionId,
        reason: Reason,
    ) -> Result<(), Refused> {
        let active = self.connection(session_id, id)?.is_active();
        let after = self.outputs.len();
        self.leave(session_id, id, reason)?;
        if active {
            let evicted = Notification::ParticipantEvicted {
                connection_id: id.clone(),
                reason,
            };
            // After those who stay, before the connection is taken apart.
            let at = self.outputs.iter().skip(after).position(|output| {
                matches!(
                    output,
                    Output::StreamGone { .. } | Output::ConnectionGone { .. }
                )
            });
            let at = at.map_or(self.outputs.len(), |at| after + at);
            self.outputs
                .insert(at, Output::notify(session_id, id, evicted));
        }
        Ok(())
    }

    /// The connection of somebody who came with the secret instead of a token.
    fn trusted_connection(
        &mut self,
        session_id: &SessionId,
        request: &JoinRequest,
        now: Millis,
        chance: &mut dyn Chance,
    ) -> Result<ConnectionId, Refused> {
        let properties = ConnectionProperties {
            role: Role::Subscriber,
            ..ConnectionProperties::default()
        };
        let session = self.active_session_mut(session_id)?;
        let id = match (request.recorder, request.speech_to_text) {
            (true, _) => ConnectionId::new(ids::RECORDER),
            (_, true) => ConnectionId::new(ids::SPEECH_TO_TEXT),
            _ => session.free_connection_id(&properties, chance),
        };
        if session.connection(&id).is_some() {
            let text = format!("'{id}' is in session '{session_id}' already");
            return Err(Refused::new(Code::UserExists, text));
        }
        session.add(Connection::pending(
            id.clone(),
            String::new(),
            properties,
            now,
        ));
        Ok(id)
    }
}

fn participant(connection: &Connection) -> Participant {
    Participant {
        id: connection.id.clone(),
        created_at: connection.created_at,
        metadata: connection.metadata(),
        stream: connection.stream().cloned(),
    }
}
