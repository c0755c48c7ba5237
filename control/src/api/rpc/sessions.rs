//! Sockets and RPC sessions: who is connected, what it has not heard yet, and how long it may stay away.
//!
//! A notification is kept until the client's WebSocket has acknowledged it (a pong that echoes its number, RFC 6455 §5.5.3), so that
//! what was written to a dead socket is not lost: it is sent again on the next one. Sans-IO but for the senders it holds.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::ws::Utf8Bytes;
use tokio::sync::mpsc;

use super::frame;
use crate::domain::{ConnectionId, Notification, SessionId, StreamId};

/// Most notifications that a client may have unheard. One more and it is evicted.
pub const UNHEARD_MAX: usize = 1000;
/// Most bytes of them.
pub const UNHEARD_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Room in a socket's queue: all unheard notifications at once, and answers beside them.
pub const SOCKET_QUEUE: usize = UNHEARD_MAX + 512;
/// How long an evicted client may take to close its socket.
pub const EVICTION_GRACE: Duration = Duration::from_secs(10);

/// A WebSocket of this process. Never given twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SocketId(pub u64);

/// The bearer secret with which a client takes its connection over to a new socket.
pub type RpcId = String;

/// Whose RPC session it is.
pub type Member = (SessionId, ConnectionId);

/// What a socket's task has to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// An answer.
    Answer(String),
    /// A notification, its number, and how soon it must be written.
    Notification(u64, Utf8Bytes, Urgency),
    /// Close with that code and reason.
    Close(u16, &'static str),
}

/// How soon a frame must be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Urgency {
    /// At once, and with it what waits before it.
    Prompt,
    /// It may wait a little for others: where thousands join, everybody hears of each of them.
    CanWait,
}

/// Requests of one RPC session are handled one after the other, whatever socket they came by.
pub type Lane = Arc<tokio::sync::Mutex<()>>;

#[derive(Debug)]
struct Socket {
    frames: mpsc::Sender<Frame>,
    rpc: Option<RpcId>,
}

#[derive(Debug)]
struct RpcSession {
    member: Member,
    socket: Option<SocketId>,
    lane: Lane,
    unheard: VecDeque<Unheard>,
    /// Of all in `unheard`.
    unheard_bytes: usize,
    next: u64,
    /// When it is over if nothing happens: a lost client's grace, or an evicted one's.
    deadline: Option<Instant>,
    evicted: bool,
}

#[derive(Debug)]
struct Unheard {
    number: u64,
    text: Utf8Bytes,
    urgency: Urgency,
    /// The stream that it announces, if it does.
    announces: Option<StreamId>,
}

/// All sockets and RPC sessions.
#[derive(Debug, Default)]
pub struct RpcSessions {
    sockets: HashMap<SocketId, Socket>,
    sessions: HashMap<RpcId, RpcSession>,
    by_member: HashMap<Member, RpcId>,
    last_socket: u64,
    /// The last notification and its text: it mostly goes to many.
    last_text: Option<(Arc<Notification>, Utf8Bytes)>,
}

/// What became overdue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Overdue {
    /// The grace of a lost client is over.
    Lost(Member),
}

impl RpcSessions {
    /// A socket opened.
    pub fn open(&mut self, frames: mpsc::Sender<Frame>) -> SocketId {
        self.last_socket += 1;
        let id = SocketId(self.last_socket);
        self.sockets.insert(id, Socket { frames, rpc: None });
        id
    }

    /// How many sockets are open.
    pub fn sockets(&self) -> usize {
        self.sockets.len()
    }

    /// The socket is still there.
    pub fn is_open(&self, socket: SocketId) -> bool {
        self.sockets.contains_key(&socket)
    }

    /// Whose socket it is, and the lane of its requests. Who was put out speaks for nobody, though its socket is still open: its
    /// connection is gone, and another may have its id by now.
    pub fn member(&self, socket: SocketId) -> Option<(Member, Lane)> {
        let rpc = self.sockets.get(&socket)?.rpc.as_ref()?;
        let session = self.sessions.get(rpc).filter(|one| !one.evicted)?;
        Some((session.member.clone(), session.lane.clone()))
    }

    /// Its client has lost its socket and may come back.
    pub fn is_away(&self, member: &Member) -> bool {
        let rpc = self.by_member.get(member);
        let session = rpc.and_then(|rpc| self.sessions.get(rpc));
        session.is_some_and(|session| session.socket.is_none())
    }

    /// A client joined on this socket.
    pub fn join(&mut self, socket: SocketId, rpc: RpcId, member: Member) {
        // Put out of one session and in another by the same socket: the first may not cut it off.
        if let Some(over) = self.sockets.get(&socket).and_then(|open| open.rpc.clone()) {
            self.forget(&over);
        }
        let Some(open) = self.sockets.get_mut(&socket) else {
            return;
        };
        open.rpc = Some(rpc.clone());
        self.by_member.insert(member.clone(), rpc.clone());
        let session = RpcSession {
            member,
            socket: Some(socket),
            lane: Lane::default(),
            unheard: VecDeque::new(),
            unheard_bytes: 0,
            next: 1,
            deadline: None,
            evicted: false,
        };
        self.sessions.insert(rpc, session);
    }

    /// The lane of an RPC session's requests, while it lives.
    pub fn lane(&self, rpc: &str) -> Option<Lane> {
        Some(self.sessions.get(rpc)?.lane.clone())
    }

    /// A client came back on this socket: its old one is closed. Answers whose it is, or none if the RPC session is over. What it
    /// has not heard is sent by [`Self::replay`].
    pub fn resume(&mut self, socket: SocketId, rpc: &str) -> Option<Member> {
        let session = self.sessions.get_mut(rpc)?;
        let open = self.sockets.get_mut(&socket)?;
        open.rpc = Some(rpc.to_owned());
        let old = session.socket.replace(socket);
        if !session.evicted {
            session.deadline = None;
        }
        if let Some(old) = old.filter(|old| *old != socket)
            && let Some(old) = self.sockets.remove(&old)
        {
            let _ = old
                .frames
                .try_send(Frame::Close(1000, "Replaced by a new connection"));
        }
        Some(session.member.clone())
    }

    /// Sends again what a client that came back has not heard. An announced stream that it receives already it has heard of: a
    /// second announcement would take its subscription away.
    pub fn replay(&mut self, socket: SocketId, received: &HashSet<StreamId>) {
        let Some(session) = self.session_of(socket) else {
            return;
        };
        session.unheard.retain(|unheard| {
            unheard
                .announces
                .as_ref()
                .is_none_or(|stream| !received.contains(stream))
        });
        session.unheard_bytes = session.unheard.iter().map(|one| one.text.len()).sum();
        let frames: Vec<_> = session
            .unheard
            .iter()
            .map(|unheard| {
                Frame::Notification(unheard.number, unheard.text.clone(), unheard.urgency)
            })
            .collect();
        for frame in frames {
            self.write(socket, frame);
        }
    }

    /// Answers a request on the socket it came by; an answer to a socket that is gone is forgotten, as its client has.
    pub fn answer(&mut self, socket: SocketId, text: String) {
        self.write(socket, Frame::Answer(text));
    }

    /// Tells a client something, now or when it comes back. Answers false when it has too much unheard already.
    pub fn notify(&mut self, member: &Member, notification: &Arc<Notification>) -> bool {
        let text = self.text_of(notification);
        let Some(session) = self
            .by_member
            .get(member)
            .and_then(|rpc| self.sessions.get_mut(rpc))
        else {
            return true;
        };
        let bytes = session.unheard_bytes + text.len();
        if session.unheard.len() >= UNHEARD_MAX || bytes > UNHEARD_BYTES_MAX {
            return false;
        }
        let urgency = match **notification {
            Notification::ParticipantJoined { .. } => Urgency::CanWait,
            _ => Urgency::Prompt,
        };
        let number = session.next;
        session.next += 1;
        session.unheard_bytes = bytes;
        session.unheard.push_back(Unheard {
            number,
            text: text.clone(),
            urgency,
            announces: match &**notification {
                Notification::ParticipantPublished { stream, .. } => Some(stream.id.clone()),
                _ => None,
            },
        });
        if let Some(socket) = session.socket {
            self.write(socket, Frame::Notification(number, text, urgency));
        }
        true
    }

    /// What a notification says; written once for all who hear it.
    fn text_of(&mut self, notification: &Arc<Notification>) -> Utf8Bytes {
        match &self.last_text {
            Some((last, text)) if Arc::ptr_eq(last, notification) => text.clone(),
            _ => {
                let text = Utf8Bytes::from(frame::notification(notification));
                self.last_text = Some((Arc::clone(notification), text.clone()));
                text
            }
        }
    }

    /// The client has heard everything up to this number.
    pub fn heard(&mut self, socket: SocketId, number: u64) {
        if let Some(session) = self.session_of(socket) {
            while session
                .unheard
                .front()
                .is_some_and(|one| one.number <= number)
            {
                let heard = session.unheard.pop_front();
                session.unheard_bytes -= heard.map_or(0, |one| one.text.len());
            }
        }
    }

    /// A socket is gone. Answers whose it was, if that member has none now; it may come back until the deadline.
    pub fn closed(&mut self, socket: SocketId, deadline: Instant) -> Option<Member> {
        let rpc = self.sockets.remove(&socket)?.rpc?;
        let session = self.sessions.get_mut(&rpc)?;
        if session.socket != Some(socket) {
            return None;
        }
        session.socket = None;
        if session.evicted {
            // It was told to go, and it did; or it will be told again if it comes back in time.
            if session.unheard.is_empty() {
                self.forget(&rpc);
            }
            return None;
        }
        session.deadline = Some(deadline);
        Some(session.member.clone())
    }

    /// A member left by itself: its socket, if it has one, belongs to nobody from now on.
    pub fn left(&mut self, member: &Member) {
        if let Some(rpc) = self.by_member.get(member).cloned() {
            self.forget(&rpc);
        }
    }

    /// A member was put out: it has been told, and has some time to close its socket by itself.
    pub fn evicted(&mut self, member: &Member, now: Instant) {
        let Some(rpc) = self.by_member.remove(member) else {
            return;
        };
        if let Some(session) = self.sessions.get_mut(&rpc) {
            session.evicted = true;
            session.deadline = Some(now + EVICTION_GRACE);
        }
    }

    /// A member is lost for good: whoever comes back in its name is turned away.
    pub fn lost(&mut self, member: &Member) {
        if let Some(rpc) = self.by_member.get(member).cloned()
            && let Some(socket) = self.forget(&rpc)
        {
            self.close(socket, 1000, "Too slow");
        }
    }

    /// Closes a socket from our side.
    pub fn close(&mut self, socket: SocketId, code: u16, reason: &'static str) {
        if let Some(open) = self.sockets.remove(&socket) {
            let _ = open.frames.try_send(Frame::Close(code, reason));
        }
    }

    /// What is overdue: lost clients to be evicted. Evicted ones that still hang on are cut off here.
    pub fn overdue(&mut self, now: Instant) -> Vec<Overdue> {
        let due: Vec<_> = self
            .sessions
            .iter()
            .filter(|(_, session)| session.deadline.is_some_and(|deadline| deadline <= now))
            .map(|(rpc, session)| (rpc.clone(), session.member.clone(), session.evicted))
            .collect();
        let mut overdue = Vec::new();
        for (rpc, member, evicted) in due {
            if evicted {
                if let Some(socket) = self.forget(&rpc) {
                    self.close(socket, 1000, "Evicted");
                }
            } else {
                overdue.push(Overdue::Lost(member));
            }
        }
        overdue
    }

    fn forget(&mut self, rpc: &str) -> Option<SocketId> {
        let session = self.sessions.remove(rpc)?;
        if self
            .by_member
            .get(&session.member)
            .is_some_and(|of| of == rpc)
        {
            self.by_member.remove(&session.member);
        }
        if let Some(open) = session.socket.and_then(|id| self.sockets.get_mut(&id)) {
            open.rpc = None;
        }
        session.socket
    }

    fn session_of(&mut self, socket: SocketId) -> Option<&mut RpcSession> {
        let rpc = self.sockets.get(&socket)?.rpc.as_ref()?;
        self.sessions.get_mut(rpc)
    }

    /// Queues a frame. A socket that does not take it is dropped, which ends its task: the client will come back or be lost.
    fn write(&mut self, socket: SocketId, frame: Frame) {
        if let Some(open) = self.sockets.get(&socket)
            && open.frames.try_send(frame).is_err()
        {
            // The task finds its queue closed, and reports the socket closed like any other.
            tracing::debug!(?socket, "socket queue is full");
            self.close_queue(socket);
        }
    }

    fn close_queue(&mut self, socket: SocketId) {
        if let Some(open) = self.sockets.get_mut(&socket) {
            let (closed, _) = mpsc::channel(1);
            open.frames = closed;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Reason;

    fn member() -> Member {
        (SessionId::new("S"), ConnectionId::new("con_A"))
    }

    fn joined(room: usize) -> (RpcSessions, SocketId, mpsc::Receiver<Frame>) {
        let mut rpc = RpcSessions::default();
        let (sender, frames) = mpsc::channel(room);
        let socket = rpc.open(sender);
        rpc.join(socket, "secret".to_owned(), member());
        (rpc, socket, frames)
    }

    fn left() -> Arc<Notification> {
        Arc::new(Notification::ParticipantLeft {
            connection_id: ConnectionId::new("con_B"),
            reason: Reason::Disconnect,
        })
    }

    #[test]
    fn an_evicted_client_that_hangs_on_is_cut_off() {
        let (mut rpc, socket, mut frames) = joined(8);
        let now = Instant::now();
        rpc.evicted(&member(), now);
        assert_eq!(rpc.overdue(now + EVICTION_GRACE / 2), []);
        assert!(rpc.is_open(socket));
        assert_eq!(rpc.overdue(now + EVICTION_GRACE), []);
        assert!(!rpc.is_open(socket));
        assert_eq!(frames.try_recv(), Ok(Frame::Close(1000, "Evicted")));
        assert_eq!(rpc.resume(socket, "secret"), None);
    }

    #[test]
    fn a_socket_that_takes_nothing_is_given_up_and_nothing_is_lost() {
        let (mut rpc, socket, mut frames) = joined(1);
        assert!(rpc.notify(&member(), &left()));
        assert!(rpc.notify(&member(), &left()));
        assert!(matches!(frames.try_recv(), Ok(Frame::Notification(1, ..))));
        let closed = mpsc::error::TryRecvError::Disconnected;
        assert_eq!(frames.try_recv(), Err(closed), "its task ends");
        let deadline = Instant::now();
        assert_eq!(rpc.closed(socket, deadline), Some(member()));
        let (sender, mut frames) = mpsc::channel(8);
        let socket = rpc.open(sender);
        assert_eq!(rpc.resume(socket, "secret"), Some(member()));
        rpc.replay(socket, &HashSet::new());
        for number in 1..=2 {
            let frame = frames.try_recv();
            assert!(matches!(frame, Ok(Frame::Notification(n, ..)) if n == number));
        }
        assert_eq!(rpc.overdue(deadline), [], "it came back in time");
    }

    #[test]
    fn what_was_heard_is_forgotten() {
        let (mut rpc, socket, _frames) = joined(SOCKET_QUEUE);
        for _ in 0..UNHEARD_MAX {
            assert!(rpc.notify(&member(), &left()));
        }
        assert!(!rpc.notify(&member(), &left()));
        rpc.heard(socket, 10);
        assert!(rpc.notify(&member(), &left()));
        rpc.heard(SocketId(99), 1000);
        rpc.heard(socket, u64::MAX);
        rpc.closed(socket, Instant::now());
        let (sender, mut frames) = mpsc::channel(8);
        let socket = rpc.open(sender);
        assert_eq!(rpc.resume(socket, "secret"), Some(member()));
        rpc.replay(socket, &HashSet::new());
        assert!(frames.try_recv().is_err());
    }

    #[test]
    fn unheard_notifications_are_bounded_in_bytes_too() {
        let (mut rpc, _socket, _frames) = joined(SOCKET_QUEUE);
        let long = Arc::new(Notification::SendMessage {
            from: None,
            kind: None,
            data: Some("x".repeat(1024 * 1024)),
        });
        let taken = (0..100)
            .take_while(|_| rpc.notify(&member(), &long))
            .count();
        assert_eq!(taken, UNHEARD_BYTES_MAX / (1024 * 1024) - 1);
    }
}
