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
use super::sessions::{Frame, Numbered, SOCKET_QUEUE, SocketId, Urgency};
use crate::app::App;
use crate::domain::{Code, Reason, Refused};
use crate::store::{Store, Unwritten};

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
        self.app.sockets().give_back(self.address);
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
        let held = waiting.held.as_ref().map(|one| one.after);
        tokio::select! {
            frame = to_write.recv(), if held.is_none() => {
                let Some(frame) = frame else { break End::Lost };
                let is_full = waiting.is_full_with(frame, app.store());
                if is_full && write(&app, &mut socket, &mut waiting, &mut to_write).await.is_err() {
                    break End::Lost;
                }
            }
            written = committed(&app, held), if held.is_some() => {
                let is_full = waiting.release(written);
                if is_full && write(&app, &mut socket, &mut waiting, &mut to_write).await.is_err() {
                    break End::Lost;
                }
            }
            () = sleep_until(waiting.deadline().into()), if !waiting.frames.is_empty() => {
                if write(&app, &mut socket, &mut waiting, &mut to_write).await.is_err() {
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

/// Waits until what a frame tells of is on the disk.
async fn committed(app: &App, number: Option<u64>) -> Result<(), Unwritten> {
    app.store().committed(number.unwrap_or(0)).await
}

/// Frames that wait to be written together, and what the client was last asked to confirm.
struct Waiting {
    frames: Vec<Frame>,
    /// The first frame that tells of what is not on the disk yet; nothing overtakes it.
    held: Option<Numbered>,
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
            held: None,
            written_at: None,
            last_notification: 0,
            confirmed: 0,
            asked: None,
        }
    }

    /// Takes a frame; says whether it is time to write.
    fn is_full_with(&mut self, numbered: Numbered, store: &Store) -> bool {
        if !store.is_committed(numbered.after) {
            self.held = Some(numbered);
            return false;
        }
        self.take(numbered.frame)
    }

    /// What the held frame tells of is on the disk, or can't be written; says whether it is time to write.
    fn release(&mut self, written: Result<(), Unwritten>) -> bool {
        let Some(Numbered { frame, .. }) = self.held.take() else {
            return false;
        };
        match (written, frame) {
            (Err(why), Frame::Answer(text)) => {
                self.take(Frame::Answer(frame::unwritten(&text, &why)))
            }
            // A call goes on as well as it can.
            (_, frame) => self.take(frame),
        }
    }

    /// The next frame that may be written.
    fn next_of(&mut self, more: &mut mpsc::Receiver<Numbered>, store: &Store) -> Option<Frame> {
        if self.held.is_some() {
            return None;
        }
        let next = more.try_recv().ok()?;
        if store.is_committed(next.after) {
            return Some(next.frame);
        }
        self.held = Some(next);
        None
    }

    fn take(&mut self, frame: Frame) -> bool {
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
    app: &App,
    socket: &mut WebSocket,
    waiting: &mut Waiting,
    more: &mut mpsc::Receiver<Numbered>,
) -> Result<(), Stuck> {
    let mut first = std::mem::take(&mut waiting.frames).into_iter();
    let mut together = 0;
    while let Some(frame) = first.next().or_else(|| waiting.next_of(more, app.store())) {
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
    let deadline = Instant::now() + app.config().reconnect_grace;
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

    #[tokio::test]
    async fn nothing_overtakes_what_waits_for_the_disk() {
        let (store, _) = Store::in_memory().expect("memory");
        let (frames, mut more) = mpsc::channel(8);
        let numbered = |after, text: &str| Numbered {
            after,
            frame: Frame::Answer(text.to_owned()),
        };
        let mut waiting = Waiting::new();
        assert!(waiting.is_full_with(numbered(0, "now"), &store));
        assert!(!waiting.is_full_with(numbered(1, "held"), &store));
        frames.try_send(numbered(0, "behind")).expect("room");
        assert_eq!(waiting.next_of(&mut more, &store), None);
        let mut batch = crate::store::Batch::default();
        batch.put(crate::store::Table::Facts, "k", &1);
        store.submit(batch);
        assert!(waiting.release(store.committed(1).await));
        assert_eq!(waiting.frames.len(), 2, "in their order");
        let behind = Frame::Answer("behind".to_owned());
        assert_eq!(waiting.next_of(&mut more, &store), Some(behind));
    }

    #[test]
    fn what_could_not_be_written_is_no_success() {
        let mut waiting = Waiting::new();
        waiting.held = Some(Numbered {
            after: 1,
            frame: Frame::Answer(r#"{"jsonrpc":"2.0","id":7,"result":{}}"#.to_owned()),
        });
        assert!(waiting.release(Err(Unwritten("the disk is full".into()))));
        let Some(Frame::Answer(text)) = waiting.frames.pop() else {
            panic!("it is answered");
        };
        let answer: Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(answer["id"], 7);
        assert!(answer.get("result").is_none());
        let message = answer["error"]["message"].as_str().expect("a text");
        assert!(message.contains("the disk is full"));
    }

    #[test]
    fn what_can_wait_does_so_only_shortly_after_something_was_written() {
        let mut waiting = Waiting::new();
        assert!(waiting.take(notification(Urgency::CanWait)));
        waiting.written_at = Some(Instant::now());
        assert!(!waiting.take(notification(Urgency::CanWait)));
        assert!(waiting.take(notification(Urgency::Prompt)));
        assert!(waiting.take(Frame::Answer("{}".to_owned())));
        assert_eq!(waiting.frames.len(), 4, "none overtakes another");
        waiting.written_at = Instant::now().checked_sub(GATHERING);
        assert!(waiting.take(notification(Urgency::CanWait)));
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
