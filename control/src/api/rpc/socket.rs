//! One WebSocket: its frames, its pings, its end.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Bytes;
use axum::extract::ws::{CloseFrame, Message, WebSocket};
use futures_util::SinkExt as _;
use serde_json::{Map, Value, json};
use tokio::sync::mpsc;
use tokio::time::{sleep_until, timeout};

use super::Call;
use super::frame::{self, Request};
use super::sessions::{Frame, SOCKET_QUEUE, SocketId, Urgency};
use crate::app::App;
use crate::domain::{Code, Reason, Refused};

/// Most requests of one socket that wait for their turn.
const REQUESTS_MAX: usize = 256;
/// How many bytes of frames are written together.
const TOGETHER_MAX: usize = 64 << 10;
/// What can wait does so until this long after the last time that something was written.
const GATHERING: Duration = Duration::from_millis(200);
/// How long a client may take to make room for what is written together.
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
    let mut waiting = Waiting::new();
    let end = loop {
        tokio::select! {
            frame = to_write.recv() => {
                let Some(frame) = frame else { break End::Lost };
                if waiting.is_full_with(frame) && write(&mut socket, &mut waiting, &mut to_write).await.is_err() {
                    break End::Lost;
                }
            }
            () = sleep_until(waiting.deadline().into()), if !waiting.frames.is_empty() => {
                if write(&mut socket, &mut waiting, &mut to_write).await.is_err() {
                    break End::Lost;
                }
            }
            message = socket.recv() => {
                let Some(message) = message else { break End::Lost };
                let Ok(message) = message else {
                    // Too long, not UTF-8, or a broken connection, which does not hear this.
                    close(&mut socket, 1009, "Unreadable or too long").await;
                    break End::Lost;
                };
                if let Some(end) = read(&app, id, message, &mut socket, &requests, &mut life, &mut waiting).await {
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

/// Frames that wait to be written together, and what the client was last asked to confirm.
struct Waiting {
    frames: Vec<Frame>,
    written_at: Option<Instant>,
    /// The numbers of the last notification that was written, of the last that the client has confirmed, and of the one that it was
    /// asked to confirm and has not.
    last_notification: u64,
    confirmed: u64,
    asked: Option<u64>,
}

impl Waiting {
    fn new() -> Self {
        Self {
            frames: Vec::new(),
            written_at: None,
            last_notification: 0,
            confirmed: 0,
            asked: None,
        }
    }

    /// Takes a frame; says whether it is time to write.
    fn is_full_with(&mut self, frame: Frame) -> bool {
        let can_wait = matches!(frame, Frame::Notification(_, _, Urgency::CanWait));
        self.frames.push(frame);
        !can_wait || self.deadline() <= Instant::now()
    }

    /// When those that can wait have waited long enough.
    fn deadline(&self) -> Instant {
        self.written_at
            .map_or_else(Instant::now, |written| written + GATHERING)
    }

    /// The client has heard everything up to this number.
    fn heard(&mut self, number: u64) {
        self.confirmed = self.confirmed.max(number);
        self.asked.take_if(|asked| *asked <= number);
    }

    /// What to ask the client next, if it has confirmed what it was asked before: one question at a time, however much is said.
    fn question(&mut self) -> Option<u64> {
        let is_new = self.asked.is_none() && self.confirmed < self.last_notification;
        is_new.then(|| *self.asked.insert(self.last_notification))
    }
}

/// The client takes nothing more.
struct Stuck;

/// Writes what waits and all that has come behind it, and asks the client's WebSocket to confirm the notifications among them.
async fn write(
    socket: &mut WebSocket,
    waiting: &mut Waiting,
    more: &mut mpsc::Receiver<Frame>,
) -> Result<(), Stuck> {
    let mut first = std::mem::take(&mut waiting.frames).into_iter();
    let mut together = 0;
    while let Some(frame) = first.next().or_else(|| more.try_recv().ok()) {
        let text = match frame {
            Frame::Answer(text) => text.into(),
            Frame::Notification(number, text, _) => {
                waiting.last_notification = number;
                text
            }
            Frame::Close(code, reason) => {
                close(socket, code, reason).await;
                return Err(Stuck);
            }
        };
        together += text.len();
        feed(socket, Message::Text(text)).await?;
        if together >= TOGETHER_MAX {
            flush(socket).await?;
            together = 0;
        }
    }
    if let Some(number) = waiting.question() {
        feed(socket, question(number)).await?;
    }
    waiting.written_at = Some(Instant::now());
    flush(socket).await
}

fn question(number: u64) -> Message {
    Message::Ping(Bytes::copy_from_slice(&number.to_be_bytes()))
}

async fn read(
    app: &App,
    id: SocketId,
    message: Message,
    socket: &mut WebSocket,
    requests: &mpsc::Sender<Request>,
    life: &mut Life,
    waiting: &mut Waiting,
) -> Option<End> {
    life.last_frame = Instant::now();
    let text = match message {
        Message::Text(text) => text,
        Message::Pong(payload) => {
            if let Ok(number) = <[u8; 8]>::try_from(payload.as_ref()) {
                let number = u64::from_be_bytes(number);
                app.step(|core| core.rpc.heard(id, number));
                waiting.heard(number);
            }
            let asked = match waiting.question() {
                Some(number) => send(socket, question(number)).await,
                None => true,
            };
            return (!asked).then_some(End::Lost);
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

async fn feed(socket: &mut WebSocket, message: Message) -> Result<(), Stuck> {
    let fed = timeout(WRITE_TIMEOUT, socket.feed(message)).await;
    fed.map_err(|_| Stuck)?.map_err(|_| Stuck)
}

async fn flush(socket: &mut WebSocket) -> Result<(), Stuck> {
    let flushed = timeout(WRITE_TIMEOUT, socket.flush()).await;
    flushed.map_err(|_| Stuck)?.map_err(|_| Stuck)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn notification(urgency: Urgency) -> Frame {
        Frame::Notification(1, "{}".into(), urgency)
    }

    #[test]
    fn what_can_wait_does_so_only_shortly_after_something_was_written() {
        let mut waiting = Waiting::new();
        assert!(waiting.is_full_with(notification(Urgency::CanWait)));
        waiting.written_at = Some(Instant::now());
        assert!(!waiting.is_full_with(notification(Urgency::CanWait)));
        assert!(waiting.is_full_with(notification(Urgency::Prompt)));
        assert!(waiting.is_full_with(Frame::Answer("{}".to_owned())));
        assert_eq!(waiting.frames.len(), 4, "none overtakes another");
        waiting.written_at = Instant::now().checked_sub(GATHERING);
        assert!(waiting.is_full_with(notification(Urgency::CanWait)));
    }

    #[test]
    fn one_confirmation_is_under_way_at_a_time() {
        let mut waiting = Waiting::new();
        assert_eq!(waiting.question(), None, "nothing was said");
        waiting.last_notification = 3;
        assert_eq!(waiting.question(), Some(3));
        waiting.last_notification = 5;
        assert_eq!(waiting.question(), None, "it has not answered yet");
        waiting.heard(2);
        assert_eq!(waiting.question(), None, "not what was asked");
        waiting.heard(3);
        assert_eq!(waiting.question(), Some(5));
        waiting.heard(5);
        assert_eq!(waiting.question(), None, "all is confirmed");
    }
}
