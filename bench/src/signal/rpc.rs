use std::collections::HashMap;
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};

use super::endpoint::Stream;
use super::{Endpoint, Error, Token};

/// Between two pings of openvidu-browser.
const PING_INTERVAL: Duration = Duration::from_secs(5);
/// After so long openvidu-browser gives a request up.
const PATIENCE: Duration = Duration::from_secs(10);
/// Requests that wait to be written.
const QUEUE: usize = 16;
/// What a socket reads at a time, in bytes: the library clears as much at every look, and keeps it for every socket.
const READ_BUFFER: usize = 8 << 10;
/// What openvidu-browser closes with when it leaves.
const LEAVING: u16 = 4102;
const SDK_VERSION: &str = "2.32.2";
const PLATFORM: &str = "Chrome 156.0.0.0 on Linux 64-bit";

/// Somebody who has joined a session: one WebSocket, as openvidu-browser has one.
#[derive(Debug)]
pub struct Browser {
    requests: mpsc::Sender<Ask>,
    conversation: tokio::task::AbortHandle,
    connection: String,
    server_offers: bool,
}

/// What a join led to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Joined {
    /// The id of the own connection.
    pub connection: String,
    /// Whether the server makes the offer of a subscription (`mediasoup`), or we do.
    pub server_offers: bool,
    /// The ids of the streams that are there already.
    pub streams: Vec<String>,
}

/// What publishing led to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// The id of the stream.
    pub stream: String,
    /// The answer to our offer.
    pub answer: String,
}

/// Where the answer to a request goes: the result is read by whoever asked.
type Answer = oneshot::Sender<Result<Box<RawValue>, Error>>;

/// What matters of a frame that is no notification.
#[derive(Deserialize)]
struct Reply {
    id: Option<u64>,
    result: Option<Box<RawValue>>,
    error: Option<Value>,
}

/// What matters of the result of `joinRoom`. In a large session most of it is people who publish nothing.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct JoinResult {
    id: String,
    media_server: Option<String>,
    value: Vec<Other>,
}

#[derive(Deserialize)]
struct Other {
    #[serde(default)]
    streams: Vec<Named>,
}

#[derive(Deserialize)]
struct Named {
    id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PublishResult {
    id: String,
    sdp_answer: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Offer {
    sdp_offer: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answered {
    sdp_answer: String,
}

#[derive(Debug)]
struct Ask {
    method: &'static str,
    params: Value,
    answer: Answer,
}

impl Browser {
    /// Opens a socket and joins with `token`.
    ///
    /// # Errors
    /// If the master cannot be reached or refuses.
    pub async fn join(endpoint: &Endpoint, token: &Token) -> Result<(Self, Joined), Error> {
        let stream = endpoint.connect().await?;
        let url = format!(
            "{}://{}/openvidu?sessionId={}",
            endpoint.socket_scheme(),
            endpoint.authority(),
            token.session
        );
        let config = WebSocketConfig::default().read_buffer_size(READ_BUFFER);
        let handshake = tokio_tungstenite::client_async_with_config(url, stream, Some(config));
        let (socket, _) = tokio::time::timeout(PATIENCE, handshake)
            .await
            .map_err(|_| Error::Late("the WebSocket handshake".to_owned()))?
            .map_err(|error| Error::protocol("the WebSocket handshake", error))?;
        let (requests, inbox) = mpsc::channel(QUEUE);
        let conversation = tokio::spawn(Conversation::new(socket, inbox).run());
        let mut browser = Self {
            requests,
            conversation: conversation.abort_handle(),
            connection: String::new(),
            server_offers: false,
        };
        let params = json!({
            "token": token.url, "session": token.session, "platform": PLATFORM, "sdkVersion": SDK_VERSION,
            "metadata": "", "secret": "", "recorder": false, "stt": false,
        });
        let result = browser.ask("joinRoom", params).await?;
        let joined = Joined::from(read::<JoinResult>("joinRoom", &result)?);
        browser.connection.clone_from(&joined.connection);
        browser.server_offers = joined.server_offers;
        Ok((browser, joined))
    }

    /// The id of the own connection.
    pub fn connection(&self) -> &str {
        &self.connection
    }

    /// Whether the server makes the offer of a subscription, or we do.
    pub fn server_offers(&self) -> bool {
        self.server_offers
    }

    /// Offers to publish.
    ///
    /// # Errors
    /// If the master refuses, does not answer in time, or has hung up.
    pub async fn publish(
        &self,
        offer: &str,
        has_audio: bool,
        has_video: bool,
    ) -> Result<Published, Error> {
        let mut params = json!({
            "sdpOffer": offer, "doLoopback": false, "hasAudio": has_audio, "hasVideo": has_video, "frameRate": -1,
        });
        if let Some(params) = params.as_object_mut() {
            if has_audio {
                params.insert("audioActive".to_owned(), true.into());
            }
            if has_video {
                params.insert("videoActive".to_owned(), true.into());
                params.insert("typeOfVideo".to_owned(), "CAMERA".into());
                let dimensions = json!({ "width": 640, "height": 480 }).to_string();
                params.insert("videoDimensions".to_owned(), dimensions.into());
            }
        }
        let result = self.ask("publishVideo", params).await?;
        let PublishResult { id, sdp_answer } = read("publishVideo", &result)?;
        Ok(Published {
            stream: id,
            answer: sdp_answer,
        })
    }

    /// Asks for the server's offer of a stream.
    ///
    /// # Errors
    /// As for [`Browser::publish`].
    pub async fn prepare_subscription(&self, stream: &str) -> Result<String, Error> {
        let params = json!({ "sender": stream, "reconnect": false });
        let result = self.ask("prepareReceiveVideoFrom", params).await?;
        let Offer { sdp_offer } = read("prepareReceiveVideoFrom", &result)?;
        Ok(sdp_offer)
    }

    /// Answers the server's offer of a stream.
    ///
    /// # Errors
    /// As for [`Browser::publish`].
    pub async fn accept_subscription(&self, stream: &str, answer: &str) -> Result<(), Error> {
        let params = json!({ "sender": stream, "sdpAnswer": answer });
        self.ask("receiveVideoFrom", params).await.map(|_| ())
    }

    /// Offers to receive a stream, where the server does not offer; its answer.
    ///
    /// # Errors
    /// As for [`Browser::publish`].
    pub async fn subscribe(&self, stream: &str, offer: &str) -> Result<String, Error> {
        let params = json!({ "sender": stream, "sdpOffer": offer });
        let result = self.ask("receiveVideoFrom", params).await?;
        let Answered { sdp_answer } = read("receiveVideoFrom", &result)?;
        Ok(sdp_answer)
    }

    /// Trickles a candidate. `of` is the connection that publishes the stream which the transport is for.
    ///
    /// # Errors
    /// As for [`Browser::publish`].
    pub async fn ice_candidate(&self, of: &str, candidate: &str, mid: &str) -> Result<(), Error> {
        let params = json!({
            "endpointName": of, "candidate": candidate, "sdpMid": mid, "sdpMLineIndex": 0,
        });
        self.ask("onIceCandidate", params).await.map(|_| ())
    }

    /// The socket breaks, as when a network is lost: the master may wait for the browser to come back.
    pub fn hang_up(&self) {
        self.conversation.abort();
    }

    /// Leaves the session and closes the socket.
    ///
    /// # Errors
    /// As for [`Browser::publish`]; the socket is closed all the same.
    pub async fn leave(self) -> Result<(), Error> {
        self.ask("leaveRoom", json!({})).await.map(|_| ())
    }

    async fn ask(&self, method: &'static str, params: Value) -> Result<Box<RawValue>, Error> {
        let (answer, answered) = oneshot::channel();
        let ask = Ask {
            method,
            params,
            answer,
        };
        self.requests.send(ask).await.map_err(|_| Error::Ended)?;
        match tokio::time::timeout(PATIENCE, answered).await {
            Ok(answer) => answer.unwrap_or(Err(Error::Ended)),
            Err(_) => Err(Error::Late(method.to_owned())),
        }
    }
}

impl From<JoinResult> for Joined {
    fn from(result: JoinResult) -> Self {
        let streams = result.value.into_iter().flat_map(|other| other.streams);
        Self {
            connection: result.id,
            server_offers: result.media_server.as_deref() == Some("mediasoup"),
            streams: streams.map(|stream| stream.id).collect(),
        }
    }
}

fn read<T: DeserializeOwned>(doing: &str, result: &RawValue) -> Result<T, Error> {
    serde_json::from_str(result.get()).map_err(|error| Error::protocol(doing, error))
}

/// One socket: requests out, answers in, pings in between.
struct Conversation {
    socket: WebSocketStream<Box<dyn Stream>>,
    inbox: mpsc::Receiver<Ask>,
    waiting: HashMap<u64, (&'static str, Answer)>,
    next: u64,
}

impl Conversation {
    fn new(socket: WebSocketStream<Box<dyn Stream>>, inbox: mpsc::Receiver<Ask>) -> Self {
        Self {
            socket,
            inbox,
            waiting: HashMap::new(),
            next: 0,
        }
    }

    /// Talks until either side has had enough. Whoever waits for an answer then hears that it has ended.
    async fn run(mut self) {
        let mut pings = tokio::time::interval(PING_INTERVAL);
        pings.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut is_first_ping = true;
        loop {
            let written = tokio::select! {
                _ = pings.tick() => {
                    let params = is_first_ping.then(|| json!({ "interval": PING_INTERVAL.as_millis() as u64 }));
                    is_first_ping = false;
                    self.write("ping", params).await
                }
                ask = self.inbox.recv() => match ask {
                    Some(ask) => {
                        let id = self.next;
                        self.waiting.insert(id, (ask.method, ask.answer));
                        self.write(ask.method, Some(ask.params)).await
                    }
                    // Nobody holds the browser any more: its window was closed.
                    None => return self.close().await,
                },
                message = self.socket.next() => match message {
                    Some(Ok(Message::Text(text))) => {
                        self.read(&text);
                        Ok(())
                    }
                    Some(Ok(Message::Close(_)) | Err(_)) | None => return,
                    Some(Ok(_)) => Ok(()),
                },
            };
            if written.is_err() {
                return;
            }
        }
    }

    async fn write(
        &mut self,
        method: &str,
        params: Option<Value>,
    ) -> Result<(), tokio_tungstenite::tungstenite::Error> {
        let mut frame = json!({ "jsonrpc": "2.0", "method": method, "id": self.next });
        if let (Some(params), Some(frame)) = (params, frame.as_object_mut()) {
            frame.insert("params".to_owned(), params);
        }
        self.next += 1;
        self.socket.send(Message::text(frame.to_string())).await
    }

    fn read(&mut self, text: &str) {
        // Notifications, of which everybody in a large session gets thousands: all here know already who publishes what.
        if text.contains("\"method\"") {
            return;
        }
        let Ok(reply) = serde_json::from_str::<Reply>(text) else {
            return;
        };
        let waiting = reply.id.and_then(|id| self.waiting.remove(&id));
        let Some((method, answer)) = waiting else {
            return;
        };
        let result = match (reply.result, reply.error) {
            (_, Some(error)) => Err(Error::Refused {
                doing: method.to_owned(),
                code: error.get("code").and_then(Value::as_i64).unwrap_or(0),
                message: text_of(&error),
            }),
            (Some(result), None) => Ok(result),
            (None, None) => Err(Error::protocol(method, "neither result nor error")),
        };
        // Whoever asked may have given up.
        let _ = answer.send(result);
    }

    async fn close(mut self) {
        let frame = CloseFrame {
            code: CloseCode::from(LEAVING),
            reason: Utf8Bytes::default(),
        };
        // The other side may have gone first.
        let _ = self.socket.close(Some(frame)).await;
    }
}

fn text_of(error: &Value) -> String {
    let message = error.get("message").and_then(Value::as_str);
    message.unwrap_or("no message").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_join_result_names_the_streams_that_are_there() {
        let result = json!({
            "id": "con_A", "mediaServer": "mediasoup",
            "value": [
                { "id": "con_B", "streams": [{ "id": "str_CAM_ABCD_con_B" }] },
                { "id": "con_C" },
            ],
        });
        let read_joined = |text: &Value| -> Result<Joined, Error> {
            let raw = RawValue::from_string(text.to_string()).unwrap();
            read::<JoinResult>("joinRoom", &raw).map(Joined::from)
        };
        let joined = read_joined(&result).unwrap();
        assert_eq!(joined.connection, "con_A");
        assert!(joined.server_offers);
        assert_eq!(joined.streams, ["str_CAM_ABCD_con_B"]);
        assert!(read_joined(&json!({ "id": "con_A" })).is_err());
    }
}
