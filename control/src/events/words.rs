//! Events as OpenVidu spells them.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::{Event, NodeIdentity};
use crate::domain::event::{Happened, SessionEvent, StreamEnd, User};
use crate::domain::{Millis, Reason, SessionId};

/// What an event says, in the order in which it is said.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Fields(Vec<(&'static str, Value)>);

impl Fields {
    /// The body of a webhook.
    pub(super) fn webhook(&self, name: &str) -> String {
        let mut text = format!("{{\"event\":\"{name}\",");
        self.write(&mut text);
        text
    }

    /// A line of the call detail records.
    pub(super) fn cdr(&self, name: &str) -> String {
        let mut text = format!("{{\"{name}\":{{");
        self.write(&mut text);
        text.push('}');
        text
    }

    fn write(&self, text: &mut String) {
        for (at, (name, value)) in self.0.iter().enumerate() {
            let comma = if at > 0 { "," } else { "" };
            // Our own names need no escapes, and a text takes whatever is written to it.
            let _ = write!(text, "{comma}\"{name}\":{value}");
        }
        text.push('}');
    }

    fn say(&mut self, name: &'static str, value: impl Into<Value>) {
        self.0.push((name, value.into()));
    }

    /// Since when it was, how long, and why it is no more.
    fn ended(&mut self, started_at: Millis, now: Millis, reason: Reason) {
        self.say("startTime", started_at);
        self.say("duration", now.saturating_sub(started_at) / 1000);
        self.say("reason", reason.as_str());
    }
}

impl Event {
    /// The name of the event.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Session(event) => match event.happened {
                Happened::SessionCreated => "sessionCreated",
                Happened::SessionDestroyed(_) => "sessionDestroyed",
                Happened::ParticipantJoined(_) => "participantJoined",
                Happened::ParticipantLeft(..) => "participantLeft",
                Happened::WebrtcConnectionCreated(_) => "webrtcConnectionCreated",
                Happened::WebrtcConnectionDestroyed(..) => "webrtcConnectionDestroyed",
                Happened::SignalSent { .. } => "signalSent",
            },
            Self::MediaNodeStatusChanged { .. } => "mediaNodeStatusChanged",
            Self::NodeCrashed { .. } => "nodeCrashed",
            Self::NodeRecovered { .. } => "nodeRecovered",
        }
    }

    /// The session that it is about.
    pub fn session(&self) -> Option<&SessionId> {
        match self {
            Self::Session(event) => Some(&event.session),
            _ => None,
        }
    }

    /// What it says, of what happened now.
    pub(super) fn fields(&self, now: Millis, cluster: &str) -> Fields {
        let mut fields = Fields::default();
        match self {
            Self::Session(event) => of_session(&mut fields, event, now),
            Self::MediaNodeStatusChanged {
                node,
                new_status,
                old_status,
            } => {
                fields.say("timestamp", now);
                of_node(&mut fields, node);
                fields.say("newStatus", *new_status);
                fields.say("oldStatus", *old_status);
                fields.say("clusterId", cluster);
            }
            Self::NodeCrashed {
                node,
                sessions,
                disconnected_at,
            } => {
                fields.say("timestamp", now);
                of_node(&mut fields, node);
                fields.say("nodeRole", "medianode");
                fields.say("sessionIds", json!(sessions));
                fields.say("recordingIds", json!([]));
                fields.say("broadcasts", json!([]));
                fields.say("timeOfDisconnection", *disconnected_at);
                fields.say("clusterId", cluster);
            }
            Self::NodeRecovered { node } => {
                fields.say("timestamp", now);
                of_node(&mut fields, node);
                fields.say("nodeRole", "medianode");
                fields.say("clusterId", cluster);
            }
        }
        fields
    }
}

fn of_node(fields: &mut Fields, node: &NodeIdentity) {
    fields.say("id", node.id.as_str());
    fields.say("environmentId", node.environment_id.as_deref());
    fields.say("ip", node.ip.to_string());
    fields.say("uri", node.uri.as_str());
}

fn of_session(fields: &mut Fields, event: &SessionEvent, now: Millis) {
    let (id, started_at) = (&event.session, event.session_started_at);
    // What begins says when it began, what ends when it ended.
    let timestamp = match &event.happened {
        Happened::SessionCreated => started_at,
        Happened::ParticipantJoined(user) => user.started_at,
        Happened::WebrtcConnectionCreated(end) => end.started_at,
        _ => now,
    };
    fields.say("timestamp", timestamp);
    fields.say("sessionId", id.as_str());
    fields.say("uniqueSessionId", format!("{id}_{started_at}"));
    match &event.happened {
        Happened::SessionCreated => {}
        Happened::SessionDestroyed(reason) => fields.ended(started_at, now, *reason),
        Happened::ParticipantJoined(user) => of_user(fields, user),
        Happened::ParticipantLeft(user, reason) => {
            of_user(fields, user);
            fields.ended(user.started_at, now, *reason);
        }
        Happened::WebrtcConnectionCreated(end) => of_stream(fields, end),
        Happened::WebrtcConnectionDestroyed(end, reason) => {
            of_stream(fields, end);
            fields.ended(end.started_at, now, *reason);
        }
        Happened::SignalSent {
            from,
            to,
            kind,
            data,
        } => {
            fields.say("from", json!(from));
            fields.say("to", json!(to));
            fields.say("type", kind.as_str());
            fields.say("data", data.as_str());
        }
    }
}

fn of_user(fields: &mut Fields, user: &User) {
    fields.say("connectionId", user.connection.as_str());
    fields.say("participantId", user.connection.as_str());
    // Addresses are looked up in no table of places.
    fields.say("location", "unknown");
    fields.say("ip", user.ip.as_str());
    fields.say("platform", user.platform.as_str());
    fields.say("clientData", user.client_data.as_str());
    fields.say("serverData", user.server_data.as_str());
}

fn of_stream(fields: &mut Fields, end: &StreamEnd) {
    fields.say("streamId", end.stream.as_str());
    fields.say("connectionId", end.connection.as_str());
    fields.say("participantId", end.connection.as_str());
    match &end.receiving_from {
        None => fields.say("connection", "OUTBOUND"),
        Some(publisher) => {
            fields.say("connection", "INBOUND");
            fields.say("receivingFrom", publisher.as_str());
        }
    }
    fields.say("audioEnabled", end.audio);
    fields.say("videoEnabled", end.video.is_some());
    if let Some(video) = &end.video {
        fields.say("videoSource", video.source.as_deref());
        fields.say("videoFramerate", video.frame_rate);
        fields.say("videoDimensions", video.dimensions.as_deref());
    }
}
