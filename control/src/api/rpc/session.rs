//! Coming, staying and going: `joinRoom`, `connect`, `sessionStatus`, `leaveRoom`.

use std::time::Instant;

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::sessions::Member;
use super::{Call, frame, object};
use crate::app::{App, Core, now_millis};
use crate::auth::Verdict;
use crate::domain::{
    Code, ConnectionId, JoinRequest, Joined, Millis, Participant, Reason, Refused, Role, SessionId,
    ids,
};
use crate::joins::Phase;
use crate::turn;

/// What clients are told that they talk to; they check the minor version.
pub const OPENVIDU_VERSION: &str = "2.32.2";
/// Characters of an RPC session id: 154 bits.
const RPC_ID_LENGTH: usize = 26;

/// `joinRoom`
pub fn join(call: &Call) {
    let app = &call.app;
    // Before anything is looked at: guessing secrets and tokens costs as much as joining.
    let allowed = app.step(|core| core.joins_by_address.allows(call.peer, Instant::now()));
    if !allowed {
        app.metrics.refused("joins_per_address");
        let text = "Too many joins from this address";
        return call.refuse(Refused::new(Code::Limit, text));
    }
    let join = match request(call) {
        Ok(join) => join,
        Err(refused) => return call.refuse(refused),
    };
    call.finish(|core| {
        if !core.rpc.is_open(call.socket) {
            // Nobody would ever hear the answer: joining would leave a ghost.
            return Err(Refused::new(Code::TransportGeneric, "The socket is gone"));
        }
        core.domain.check_join(&join)?;
        let session = SessionId::new(join.session.clone());
        let node = core.place(&session)?;
        let joined = core
            .domain
            .join(&join, now_millis(), core.chance.as_mut())?;
        core.reshape(&session);
        let rpc = rpc_id(core);
        let member = (joined.session.clone(), joined.id.clone());
        core.joins.joined(member.clone());
        core.rpc.join(call.socket, rpc.clone(), member);
        app.metrics.join(Phase::Join, call.began.elapsed());
        tracing::info!(session = %joined.session, connection = %joined.id, "joined");
        let own = &joined.custom_ice_servers;
        let servers = core.ice_servers(own, &app.config().ice_servers, &node);
        let servers = turn::for_client(&servers, now_millis() / 1000, core.chance.as_mut());
        Ok(join_result(app, joined, rpc, servers))
    });
}

/// `connect`, on a socket that nobody joined on: a client comes back.
pub async fn connect(call: &Call) {
    let Some(rpc) = call.request.optional_text("sessionId") else {
        return call.finish(|_| Ok(object([("value", json!("OK"))])));
    };
    let gone = || Refused::new(Code::Reconnection, "reconnection error");
    let Some(lane) = call.app.step(|core| core.rpc.lane(rpc)) else {
        return call.refuse(gone());
    };
    // What the old socket asked for comes first.
    let _turn = lane.lock().await;
    call.finish_then(
        |core| {
            let member = core.rpc.resume(call.socket, rpc).ok_or_else(gone)?;
            tracing::info!(session = %member.0, connection = %member.1, "client came back");
            Ok(object([
                ("sessionId", json!(rpc)),
                ("value", json!("reconnection successful")),
            ]))
        },
        |core| {
            let member = core.rpc.member(call.socket);
            let received = member.map(|(member, _)| core.received(&member));
            core.rpc.replay(call.socket, &received.unwrap_or_default());
        },
    );
}

/// `connect` on a socket that is joined or resumed already: nothing to do.
pub fn connect_again(call: &Call) {
    call.finish(|_| Ok(object([("value", json!("reconnection successful"))])));
}

/// `sessionStatus`: is this still the master that the client joined?
pub fn status(call: &Call) {
    let life = call.app.facts.life;
    call.finish(|_| Ok(object([("life", json!(life))])));
}

/// `closeSession`: a courtesy of the JSON-RPC layer.
pub fn close(call: &Call) {
    call.finish(|_| Ok(object([("value", json!("bye"))])));
}

/// `leaveRoom`
pub fn leave(call: &Call, member: &Member) {
    call.finish(|core| {
        core.domain
            .leave(&member.0, &member.1, Reason::Disconnect)?;
        Ok(Map::new())
    });
}

fn request(call: &Call) -> Result<JoinRequest, Refused> {
    let request = &call.request;
    let text = |name| request.optional_text(name).unwrap_or("").to_owned();
    let secret = request.optional_text("secret").unwrap_or("");
    let trusted = !secret.is_empty();
    if trusted {
        match call.app.door.secret(secret, call.peer, Instant::now()) {
            Verdict::Right => {}
            Verdict::Wrong => {
                tracing::warn!(target: logs::STRANGERS, address = %call.peer, "wrong secret");
                return Err(Refused::unauthorized("join session: wrong secret"));
            }
            Verdict::TooMany => {
                call.app.metrics.refused("wrong_secrets_per_address");
                let text = "Too many wrong secrets from this address";
                return Err(Refused::new(Code::Limit, text));
            }
        }
    }
    let lifetime = call.app.config().token_lifetime.as_millis() as Millis;
    let tokens_since = match lifetime {
        0 => 0,
        lifetime => now_millis().saturating_sub(lifetime),
    };
    Ok(JoinRequest {
        session: request.text("session")?.to_owned(),
        token: text("token"),
        trusted,
        recorder: trusted && request.flag("recorder"),
        speech_to_text: trusted && request.flag("stt"),
        metadata: text("metadata"),
        platform: text("platform"),
        ip: call.client.clone(),
        tokens_since,
    })
}

/// The answer to `joinRoom`. Of those who are here already there may be thousands: they are written as they are.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct JoinResult {
    id: ConnectionId,
    session: SessionId,
    session_id: String,
    value: Vec<Other>,
    version: &'static str,
    role: Role,
    created_at: Millis,
    metadata: String,
    final_user_id: &'static str,
    media_server: &'static str,
    video_simulcast: bool,
    record: bool,
    custom_ice_servers: Value,
    life: Millis,
}

/// Somebody who is here. Without a stream there is no `streams` at all: an empty list would make the client's `connect()` hang.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Other {
    id: ConnectionId,
    created_at: Millis,
    metadata: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    streams: Option<[Value; 1]>,
}

fn join_result(app: &App, joined: Joined, rpc: String, servers: Value) -> JoinResult {
    JoinResult {
        id: joined.id,
        session: joined.session,
        session_id: rpc,
        value: joined.others.into_iter().map(Other::from).collect(),
        version: OPENVIDU_VERSION,
        role: joined.role,
        created_at: joined.created_at,
        metadata: joined.metadata,
        final_user_id: "",
        media_server: app.config().media_server.as_str(),
        video_simulcast: app.config().video_simulcast,
        record: joined.record,
        custom_ice_servers: servers,
        life: app.facts.life,
    }
}

impl From<Participant> for Other {
    fn from(participant: Participant) -> Self {
        let stream = participant.stream.as_ref();
        Self {
            streams: stream.map(|stream| [frame::stream(stream)]),
            id: participant.id,
            created_at: participant.created_at,
            metadata: participant.metadata,
        }
    }
}

/// Lower-case letters and digits, like those of the original.
fn rpc_id(core: &mut Core) -> String {
    std::iter::repeat_with(|| ids::alphanumerics(1, core.chance.as_mut()))
        .filter(|one| !one.bytes().any(|byte| byte.is_ascii_uppercase()))
        .take(RPC_ID_LENGTH)
        .collect()
}
