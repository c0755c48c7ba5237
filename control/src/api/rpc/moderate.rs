//! What moderators may do: `forceDisconnect`, `forceUnpublish`.

use serde_json::Map;

use super::Call;
use super::sessions::Member;
use crate::audit::Moderation;
use crate::domain::{ConnectionId, StreamId};

/// `forceDisconnect`
pub fn force_disconnect(call: &Call, member: &Member) {
    call.finish(|core| {
        let whom = ConnectionId::new(call.request.text("connectionId")?);
        core.domain.force_disconnect(&member.0, &member.1, &whom)?;
        done("forceDisconnect", call, member, &whom, None).note();
        Ok(Map::new())
    });
}

/// `forceUnpublish`
pub fn force_unpublish(call: &Call, member: &Member) {
    call.finish(|core| {
        let stream = StreamId::new(call.request.text("streamId")?);
        let whose = core.domain.stream(&member.0, &stream);
        let whose = whose.map(|stream| stream.connection.clone());
        core.domain.moderate_stream(&member.0, &member.1, &stream)?;
        // There was such a stream, or it could not have been taken down.
        done("forceUnpublish", call, member, &whose?, Some(&stream)).note();
        Ok(Map::new())
    });
}

fn done<'a>(
    what: &'static str,
    call: &'a Call,
    member: &'a Member,
    whom: &'a ConnectionId,
    stream: Option<&'a StreamId>,
) -> Moderation<'a> {
    Moderation {
        what,
        address: &call.client,
        session: member.0.as_str(),
        moderator: member.1.as_str(),
        connection: whom.as_str(),
        stream: stream.map(StreamId::as_str),
    }
}
