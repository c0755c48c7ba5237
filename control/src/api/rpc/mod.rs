//! JSON-RPC 2.0 over WebSocket at `/openvidu`: what `openvidu-browser` speaks.
//!
//! Each socket has two tasks. One reads and writes frames, and answers pings at once; the other handles requests one after the other,
//! so that a media node's slowness never delays a pong, and nothing overtakes what came before it.

pub mod frame;
pub mod notices;
pub mod sessions;

pub mod force;

mod moderate;
mod publish;
mod session;
mod signal;
mod socket;
mod subscribe;
mod transport;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use axum::extract::ws::WebSocketUpgrade;
use axum::extract::{ConnectInfo, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::api::proxies;
use crate::app::{App, Core};
use crate::domain::{Code, Refused};
use frame::Request;
use sessions::{Member, SocketId};

pub use frame::fuzz;
pub use session::OPENVIDU_VERSION;

/// What a socket reads at a time, in bytes. The library clears as much at every look and keeps it for every socket, and by
/// default that is 128 KiB; offers are about as long as this.
const READ_BUFFER: usize = 8 << 10;

/// What a request is answered with.
type Outcome = Result<Map<String, Value>, Refused>;

/// Takes a WebSocket, from whatever origin.
pub async fn upgrade(
    State(app): State<Arc<App>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    upgrade: WebSocketUpgrade,
) -> Response {
    let address = proxies::client(&app.config().trusted_proxies, peer.ip(), &headers);
    if let Err(limit) = app.sockets().take(address) {
        app.metrics.refused(limit);
        return StatusCode::TOO_MANY_REQUESTS.into_response();
    }
    let admitted = socket::Admitted::new(app.clone(), address);
    let client = address.to_string();
    upgrade
        .read_buffer_size(READ_BUFFER)
        .max_message_size(frame::FRAME_MAX)
        .max_frame_size(frame::FRAME_MAX)
        .on_upgrade(move |socket| socket::serve(admitted, client, socket))
}

/// One request, on its way to its answer.
struct Call {
    app: Arc<App>,
    socket: SocketId,
    /// The address for limits.
    peer: IpAddr,
    /// The address to show.
    client: String,
    request: Request,
    began: Instant,
}

impl Call {
    /// Handles the request to its end.
    async fn handle(self) {
        if let Some(unwritten) = self.app.store().failure().filter(|_| self.is_change()) {
            // What can't be kept is not begun.
            let text = format!("Not done: {unwritten}");
            return self.refuse(Refused::new(Code::Generic, text));
        }
        let member = self.app.step(|core| {
            let member = core.rpc.member(self.socket);
            if let (Some((member, _)), true) = (&member, self.asks_for_media()) {
                core.joins.asked(member, self.began);
            }
            member
        });
        match (self.request.method.as_str(), member) {
            ("joinRoom", None) => session::join(&self),
            ("connect", None) => session::connect(&self).await,
            ("sessionStatus", _) => session::status(&self),
            ("closeSession", _) => session::close(&self),
            (_, None) => self.refuse(Refused::new(
                Code::TransportGeneric,
                "No RPC session: call joinRoom first",
            )),
            (_, Some((member, lane))) => {
                // On a resumed connection a request of the old socket may still be under way.
                let _turn = lane.lock().await;
                self.handle_of(member).await;
            }
        }
    }

    async fn handle_of(&self, member: Member) {
        match self.request.method.as_str() {
            "joinRoom" => self.refuse(Refused::new(Code::UserExists, "Already joined")),
            "connect" => session::connect_again(self),
            "leaveRoom" => session::leave(self, &member),
            "publishVideo" => publish::publish(self, &member).await,
            "unpublishVideo" => publish::unpublish(self, &member),
            "streamPropertyChanged" => publish::property_changed(self, &member),
            "reconnectStream" => self.reconnect_stream(&member).await,
            "prepareReceiveVideoFrom" => subscribe::prepare(self, &member).await,
            "receiveVideoFrom" => subscribe::receive(self, &member).await,
            "unsubscribeFromVideo" => subscribe::unsubscribe(self, &member),
            "sendMessage" => signal::send(self, &member),
            "forceDisconnect" => moderate::force_disconnect(self, &member),
            "forceUnpublish" => moderate::force_unpublish(self, &member),
            // We are ICE-lite and learn the client's addresses from its checks. Late or early, a candidate is never an error.
            // The sizes of `videoData` are for an estimate of network quality; ours is made of what nodes measure.
            "onIceCandidate" | "videoData" => self.finish(|_| Ok(Map::new())),
            "applyFilter"
            | "removeFilter"
            | "execFilterMethod"
            | "addFilterEventListener"
            | "removeFilterEventListener" => self.refuse(Refused::new(
                Code::FilterNotApplied,
                "Filters are not supported",
            )),
            "subscribeToSpeechToText" | "unsubscribeFromSpeechToText" => self.refuse(Refused::new(
                Code::NotEnabled,
                "Speech to text is not enabled",
            )),
            other => self.refuse(Refused::new(
                Code::TransportRequest,
                format!(
                    "Unknown method '{}'",
                    other.chars().take(64).collect::<String>()
                ),
            )),
        }
    }

    /// Its answer brings media nearer.
    fn asks_for_media(&self) -> bool {
        matches!(
            self.request.method.as_str(),
            "publishVideo" | "prepareReceiveVideoFrom" | "receiveVideoFrom"
        )
    }

    /// It makes something that must be kept.
    fn is_change(&self) -> bool {
        !matches!(
            self.request.method.as_str(),
            "connect"
                | "sessionStatus"
                | "closeSession"
                | "leaveRoom"
                | "unpublishVideo"
                | "unsubscribeFromVideo"
                | "onIceCandidate"
                | "videoData"
        )
    }

    /// A stream is negotiated anew: by its publisher if it is the member's own, else by a subscriber.
    async fn reconnect_stream(&self, member: &Member) {
        let stream = match self.request.text("stream") {
            Ok(stream) => crate::domain::StreamId::new(stream),
            Err(refused) => return self.refuse(refused),
        };
        let owner = self.app.step(|core| {
            core.domain
                .stream(&member.0, &stream)
                .map(|s| s.connection.clone())
        });
        match owner {
            Err(refused) => self.refuse(refused),
            Ok(owner) if owner == member.1 => publish::reconnect(self, member, &stream).await,
            Ok(_) => subscribe::reconnect(self, member, &stream).await,
        }
    }

    /// Makes the last step of the request and answers it; notifications that follow from the step come after the answer.
    fn finish<T: Serialize>(&self, step: impl FnOnce(&mut Core) -> Result<T, Refused>) {
        self.finish_then(step, |_| ());
    }

    /// The same, and `then` comes between the answer and the notifications, whatever the answer was.
    fn finish_then<T: Serialize>(
        &self,
        step: impl FnOnce(&mut Core) -> Result<T, Refused>,
        then: impl FnOnce(&mut Core),
    ) {
        let outcome = self.app.step(|core| {
            let outcome = step(core);
            if outcome.is_err()
                && self.asks_for_media()
                && let Some((member, _)) = core.rpc.member(self.socket)
            {
                core.joins.refused(&member);
            }
            self.answer(core, &outcome);
            then(core);
            outcome.map(drop).map_err(|refused| refused.code)
        });
        let took = self.began.elapsed();
        let outcome = match outcome {
            Ok(()) => "ok".to_owned(),
            Err(code) => (code as i64).to_string(),
        };
        self.app.metrics.rpc(self.known_method(), &outcome, took);
    }

    /// Answers that it can't be.
    fn refuse(&self, refused: Refused) {
        tracing::debug!(target: logs::STRANGERS, method = self.known_method(), %refused, "request refused");
        self.finish(|_| Outcome::Err(refused));
    }

    fn answer<T: Serialize>(&self, core: &mut Core, outcome: &Result<T, Refused>) {
        let Some(id) = &self.request.id else { return };
        let text = match outcome {
            Ok(result) => frame::success(id, result),
            Err(refused) => frame::failure(id, refused),
        };
        core.rpc.answer(self.socket, text);
    }

    /// The method as a metric's label: what clients make up is not one.
    fn known_method(&self) -> &'static str {
        METHODS
            .iter()
            .find(|known| **known == self.request.method)
            .copied()
            .unwrap_or("other")
    }
}

/// Every method that clients know.
const METHODS: [&str; 24] = [
    "joinRoom",
    "connect",
    "sessionStatus",
    "closeSession",
    "leaveRoom",
    "publishVideo",
    "unpublishVideo",
    "streamPropertyChanged",
    "reconnectStream",
    "prepareReceiveVideoFrom",
    "receiveVideoFrom",
    "unsubscribeFromVideo",
    "sendMessage",
    "forceDisconnect",
    "forceUnpublish",
    "onIceCandidate",
    "videoData",
    "applyFilter",
    "removeFilter",
    "execFilterMethod",
    "addFilterEventListener",
    "removeFilterEventListener",
    "subscribeToSpeechToText",
    "unsubscribeFromSpeechToText",
];

/// An object from its fields.
fn object<const N: usize>(fields: [(&str, Value); N]) -> Map<String, Value> {
    fields
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

#[cfg(test)]
mod tests;
