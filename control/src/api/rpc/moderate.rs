//! What moderators may do: `forceDisconnect`, `forceUnpublish`.

use serde_json::Map;

use super::Call;
use super::sessions::Member;
use crate::domain::{ConnectionId, StreamId};

/// `forceDisconnect`
pub fn force_disconnect(call: &Call, member: &Member) {
    call.finish(|core| {
        let whom = ConnectionId::new(call.request.text("connectionId")?);
        core.domain.force_disconnect(&member.0, &member.1, &whom)?;
        Ok(Map::new())
    });
}

/// `forceUnpublish`
pub fn force_unpublish(call: &Call, member: &Member) {
    call.finish(|core| {
        let stream = StreamId::new(call.request.text("streamId")?);
        core.domain.moderate_stream(&member.0, &member.1, &stream)?;
        Ok(Map::new())
    });
}
