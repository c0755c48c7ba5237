//! One WebSocket: its frames, its pings, its end.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Bytes;
use axum::extract::ws::{CloseFrame, Message, WebSocket};
use serde_json::{Map, Value, json};
use tokio::sync::mpsc;
use tokio::time::{sleep_until, timeout};

use super::Call;
use super::frame::{self, Request};
use super::sessions::{Frame, SOCKET_QUEUE, SocketId};
use crate::app::App;
use crate::domain::{Code, Reason, Refused};

/// Most requests of one socket that wait for their turn.
const REQUESTS_MAX: usize = 256;
/// How long a client may take to make room for one frame.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a socket may be silent before its client has said how often it will ping.
const SILENCE_MAX: Duration = Duration::from_secs(60);
/// How long the other side may take to say goodbye.
const FAREWELL: Duration = Duration::from_secs(2);
/// The close code of a client that leaves (`disconnect()`, or evicted).
const LEAVING: u16 = 4102;

/// The right to one socket, given back at the end.
pub struct Admitted {
    app: Arc<App>,
    address: IpAddr,
}

impl Admitted {
    /// An address that was admitted.
    pub fn new(app: Arc<App>, address: IpAddr) -> Self {
        Self { app, address }
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.app
            .step(|core| core.sockets_by_address.give_back(self.address));
    }
}

/// How a socket ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// The client said that it leaves.
    Left,
    /// Anything else: the client may come back.
    Lost,
}

/// Serves a socket to its end.
pub async fn serve(admitted: Admitted, client: String, mut socket: WebSocket) {
    let app = admitted.app.clone();
    let (frames, mut to_write) = mpsc::channel(SOCKET_QUEUE);
    let id = app.step(|core| core.rpc.open(frames));
    let (requests, turns) = mpsc::channel(REQUESTS_MAX);
    // What was asked is done even when the socket is gone meanwhile: a client forgets its pending requests, not what it wanted.
    tokio::spawn(take_turns(app.clone(), id, admitted.address, client, turns));
    let mut life = Life::new();
    let end = loop {
        tokio::select! {
            frame = to_write.recv() => {
                let Some(frame) = frame else { break End::Lost };
                if let Some(end) = write(&mut socket, frame, &mut to_write).await {
                    break end;
                }
            }
            message = socket.recv() => {
                let Some(message) = message else { break End::Lost };
                let Ok(message) = message else {
                    // Too long, not UTF-8, or a broken connection, which does not hear this.
                    close(&mut socket, 1009, "Unreadable or too long").await;
                    break End::Lost;
                };
                if let Some(end) = read(&app, id, message, &mut socket, &requests, &mut life).await {
                    break end;
                }
            }
            () = sleep_until(life.deadline().into()) => {
                close(&mut socket, 1000, "Close for not receive ping from client").await;
                break End::Lost;
            }
        }
    };
    ended(&app, id, end);
    // The close frames of both sides cross before TCP ends (RFC 6455 §7.1.1).
    let farewell = async { while let Some(Ok(_)) = socket.recv().await {} };
    let _ = timeout(FAREWELL, farewell).await;
}

/// When a socket counts as dead.
struct Life {
    interval: Option<Duration>,
    last_ping: Instant,
    last_frame: Instant,
}

impl Life {
    fn new() -> Self {
        Self {
            interval: None,
            last_ping: Instant::now(),
            last_frame: Instant::now(),
        }
    }

    /// Three pings missed, once the client has announced them.
    fn deadline(&self) -> Instant {
        match self.interval {
            Some(interval) => self.last_ping + interval * 3,
            None => self.last_frame + SILENCE_MAX,
        }
    }

    fn pinged(&mut self, params: &Map<String, Value>) {
        self.last_ping = Instant::now();
        if let Some(ms) = params.get("interval").and_then(Value::as_u64) {
            self.interval = Some(Duration::from_millis(ms.clamp(1_000, 60_000)));
        }
    }
}

async fn take_turns(
    app: Arc<App>,
    socket: SocketId,
    peer: IpAddr,
    client: String,
    mut turns: mpsc::Receiver<Request>,
) {
    while let Some(request) = turns.recv().await {
        let call = Call {
            app: app.clone(),
            socket,
            peer,
            client: client.clone(),
            request,
            began: Instant::now(),
        };
        call.handle().await;
    }
}

/// Writes a frame and all that wait behind it, and asks the client's WebSocket to confirm the notifications among them.
async fn write(
    socket: &mut WebSocket,
    first: Frame,
    more: &mut mpsc::Receiver<Frame>,
) -> Option<End> {
    let mut next = Some(first);
    let mut last_notification = None;
    while let Some(frame) = next {
        let text = match frame {
            Frame::Answer(text) => text,
            Frame::Notification(number, text) => {
                last_notification = Some(number);
                text.to_string()
            }
            Frame::Close(code, reason) => {
                close(socket, code, reason).await;
                return Some(End::Lost);
            }
        };
        if !send(socket, Message::Text(text.into())).await {
            return Some(End::Lost);
        }
        next = more.try_recv().ok();
    }
    if let Some(number) = last_notification {
        let probe = Message::Ping(Bytes::copy_from_slice(&number.to_be_bytes()));
        if !send(socket, probe).await {
            return Some(End::Lost);
        }
    }
    None
}

async fn read(
    app: &App,
    id: SocketId,
    message: Message,
    socket: &mut WebSocket,
    requests: &mpsc::Sender<Request>,
    life: &mut Life,
) -> Option<End> {
    life.last_frame = Instant::now();
    let text = match message {
        Message::Text(text) => text,
        Message::Pong(payload) => {
            if let Ok(number) = <[u8; 8]>::try_from(payload.as_ref()) {
                app.step(|core| core.rpc.heard(id, u64::from_be_bytes(number)));
            }
            return None;
        }
        Message::Close(frame) => {
            let leaving = frame.is_some_and(|frame| frame.code == LEAVING);
            return Some(if leaving { End::Left } else { End::Lost });
        }
        Message::Ping(_) => return None,
        Message::Binary(_) => {
            close(socket, 1003, "Text frames only").await;
            return Some(End::Lost);
        }
    };
    let answer = match Request::parse(&text) {
        Err((id, refused)) => Some(frame::failure(&id.unwrap_or_default(), &refused)),
        Ok(request) => match request.method.as_str() {
            "ping" => {
                life.pinged(&request.params);
                let result = Map::from_iter([("value".to_owned(), json!("pong"))]);
                request.id.map(|id| frame::success(&id, &result))
            }
            // The client asks whether we live, and waits three seconds only.
            "echo" => request.id.map(|id| frame::success(&id, &Map::new())),
            _ => match requests.try_send(request) {
                Ok(()) => None,
                Err(error) => error.into_inner().id.map(|id| {
                    let text = "Too many requests are waiting";
                    frame::failure(&id, &Refused::new(Code::TransportRequest, text))
                }),
            },
        },
    };
    let sent = match answer {
        Some(answer) => send(socket, Message::Text(answer.into())).await,
        None => true,
    };
    (!sent).then_some(End::Lost)
}

/// Answers whether the frame went out.
async fn send(socket: &mut WebSocket, message: Message) -> bool {
    matches!(
        timeout(WRITE_TIMEOUT, socket.send(message)).await,
        Ok(Ok(()))
    )
}

async fn close(socket: &mut WebSocket, code: u16, reason: &'static str) {
    let frame = CloseFrame {
        code,
        reason: reason.into(),
    };
    let _ = send(socket, Message::Close(Some(frame))).await;
}

fn ended(app: &App, id: SocketId, end: End) {
    let deadline = Instant::now() + app.config.reconnect_grace;
    app.step(|core| {
        let Some((session, connection)) = core.rpc.closed(id, deadline) else {
            return;
        };
        match end {
            // Its `leaveRoom` may have come before.
            End::Left => {
                let _ = core.domain.leave(&session, &connection, Reason::Disconnect);
            }
            End::Lost => {
                tracing::info!(%session, %connection, "socket lost: waiting for the client")
            }
        }
    });
}
