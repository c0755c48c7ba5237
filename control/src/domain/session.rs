//! A call: its properties and its connections.

use std::collections::HashMap;
use std::sync::Arc;

use scheduler::Shape;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::connection::Publication;
use super::{
    Chance, Connection, ConnectionId, ConnectionProperties, Limits, Millis, NodeId, Notification,
    Output, SessionId, Stream, StreamId, Voice, ids,
};
use crate::store::Kept;

/// What the application wants of a session.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SessionProperties {
    /// `ROUTED` or `RELAYED`; kept and echoed, media are always routed.
    pub media_mode: String,
    /// `MANUAL` or `ALWAYS`; kept and echoed.
    pub recording_mode: String,
    /// The wanted id; empty: a random one.
    pub custom_session_id: String,
    /// Kept and echoed, with every key present.
    pub default_recording_properties: Value,
    /// The node that the application wants it on.
    pub media_node: Option<NodeId>,
    /// How many users the application expects in it at its peak.
    pub expected_connections: Option<u32>,
    /// How many of them publish; none: as many as under that id before, or all.
    pub expected_publishers: Option<u32>,
    /// The codec that publishers must use: `VP8`, `VP9`, `H264`, or `NONE`, or the server's choice.
    pub forced_video_codec: String,
    /// Kept and echoed: nothing is ever transcoded.
    pub allow_transcoding: bool,
    /// How much there may be in it.
    #[serde(default)]
    pub limits: Limits,
}

/// A call.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Session {
    /// Its id.
    pub id: SessionId,
    /// Which life of that id this is; grows with every session.
    pub incarnation: u64,
    /// When it was created.
    pub created_at: Millis,
    /// What the application wants of it.
    pub properties: SessionProperties,
    /// The node that carries its media, once somebody joined.
    pub node: Option<NodeId>,
    /// Who is heard in it.
    #[serde(skip)]
    pub voice: Voice,
    /// In the order of their creation, which is what the numbers tell.
    #[serde(skip)]
    pub(super) connections: Kept<u64, Connection>,
    /// The numbers of the connections.
    #[serde(skip)]
    pub(super) numbers: HashMap<ConnectionId, u64>,
    pub(super) last_number: u64,
    /// More than its connections has changed since it was written.
    #[serde(skip)]
    pub(super) is_changed: bool,
}

impl Session {
    pub(super) fn new(
        id: SessionId,
        incarnation: u64,
        properties: SessionProperties,
        now: Millis,
    ) -> Self {
        Self {
            id,
            incarnation,
            created_at: now,
            properties,
            node: None,
            voice: Voice::default(),
            connections: Kept::default(),
            numbers: HashMap::new(),
            last_number: 0,
            is_changed: true,
        }
    }

    /// All connections in the order of their creation.
    pub fn connections(&self) -> impl Iterator<Item = &Connection> {
        self.connections.values()
    }

    /// Those whose users are here, the hidden ones included.
    pub fn active(&self) -> impl Iterator<Item = &Connection> {
        self.connections().filter(|one| one.is_active())
    }

    /// How many connections wait for their users.
    pub fn pending(&self) -> usize {
        self.connections.len() - self.active().count()
    }

    /// The connection of that id.
    pub fn connection(&self, id: &ConnectionId) -> Option<&Connection> {
        self.connections.get(self.numbers.get(id)?)
    }

    /// The stream of that id and who publishes it.
    pub fn stream(&self, id: &StreamId) -> Option<&Stream> {
        self.active()
            .filter_map(Connection::stream)
            .find(|stream| stream.id == *id)
    }

    /// How large it is. To count sound and pictures singly takes a look at every stream; else both are taken to be everywhere.
    pub fn shape(&self, media_lines: bool) -> Shape {
        let count = |many: usize| u32::try_from(many).unwrap_or(u32::MAX);
        let (mut connections, mut publishers, mut subscribers) = (0, 0, 0);
        for one in self.active() {
            connections += 1;
            publishers += usize::from(one.stream().is_some());
            subscribers += one.subscriptions().len();
        }
        let lines = match media_lines {
            true => self.media_lines(),
            false => 2 * (publishers + subscribers),
        };
        Shape {
            connections: count(connections),
            publishers: count(publishers),
            subscribers: count(subscribers),
            media_lines: count(lines),
            taps: 0,
        }
    }

    fn media_lines(&self) -> usize {
        let streams = self.active().filter_map(Connection::stream);
        let lines: HashMap<_, _> = streams
            .map(|stream| {
                let properties = &stream.properties;
                let lines = [properties.has_audio, properties.has_video];
                (&stream.id, lines.into_iter().filter(|has| *has).count())
            })
            .collect();
        let subscriptions = self.active().flat_map(Connection::subscriptions);
        let received = subscriptions.filter_map(|one| lines.get(&one.stream));
        lines.values().sum::<usize>() + received.sum::<usize>()
    }

    pub(super) fn connection_mut(&mut self, id: &ConnectionId) -> Option<&mut Connection> {
        self.connections.get_mut(self.numbers.get(id)?)
    }

    /// The same, for what is not kept of it.
    pub(super) fn connection_mut_unkept(&mut self, id: &ConnectionId) -> Option<&mut Connection> {
        self.connections.get_mut_unkept(self.numbers.get(id)?)
    }

    pub(super) fn add(&mut self, connection: Connection) -> &Connection {
        self.last_number += 1;
        self.is_changed = true;
        let number = self.last_number;
        self.numbers.insert(connection.id.clone(), number);
        self.connections.get_or_insert_with(number, || connection)
    }

    pub(super) fn remove(&mut self, id: &ConnectionId) -> Option<Connection> {
        self.connections.remove(&self.numbers.remove(id)?)
    }

    pub(super) fn active_ids(&self) -> Vec<ConnectionId> {
        self.active().map(|one| one.id.clone()).collect()
    }

    /// Tells everybody but one.
    pub(super) fn tell_others(
        &self,
        except: &ConnectionId,
        notification: &Arc<Notification>,
    ) -> Vec<Output> {
        self.active()
            .filter(|one| one.id != *except)
            .map(|one| Output::notify(&self.id, &one.id, Arc::clone(notification)))
            .collect()
    }

    /// Nobody receives this stream any longer.
    pub(super) fn forget_stream(&mut self, stream: &StreamId) {
        self.voice.forget(stream);
        self.connections.change_some(|connection| {
            let Some(presence) = &mut connection.presence else {
                return false;
            };
            let received = presence.subscriptions.len();
            presence.subscriptions.retain(|one| one.stream != *stream);
            let own = match &presence.publication {
                Publication::None => false,
                Publication::Pending(id) => id == stream,
                Publication::Live(live) => live.id == *stream,
            };
            if own {
                presence.publication = Publication::None;
            }
            own || presence.subscriptions.len() != received
        });
    }

    /// An id that no connection of the session has: the application's own choice if it made one.
    pub(super) fn free_connection_id(
        &self,
        properties: &ConnectionProperties,
        chance: &mut dyn Chance,
    ) -> ConnectionId {
        let custom = custom_connection_id(&properties.data);
        if let Some(id) = custom.filter(|id| self.connection(id).is_none()) {
            return id;
        }
        loop {
            let id = ConnectionId::new(ids::random("con_", 9, chance));
            if self.connection(&id).is_none() {
                return id;
            }
        }
    }
}

/// `openviduCustomConnectionId` in the server data, if that is a JSON object that has one.
fn custom_connection_id(data: &str) -> Option<ConnectionId> {
    let data: Value = serde_json::from_str(data).ok()?;
    let wanted: String = data
        .get("openviduCustomConnectionId")?
        .as_str()?
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || *c == '_')
        .collect();
    (!wanted.is_empty()).then(|| ConnectionId::new(format!("con_{wanted}")))
}
