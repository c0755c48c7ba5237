//! Sockets and RPC sessions: who is connected, what it has not heard yet, and how long it may stay away.
//!
//! A notification is kept until the client's WebSocket has acknowledged it (a pong that echoes its number, RFC 6455 §5.5.3), so that
//! what was written to a dead socket is not lost: it is sent again on the next one. Sans-IO but for the senders it holds.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::ws::Utf8Bytes;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use super::frame;
use super::notices::{Notice, Notices, To};
use crate::domain::{ConnectionId, Notification, SessionId, StreamId};
use crate::store::{Batch, Error, Loaded, Table};

/// Most notifications that a client may have unheard. One more and it is evicted.
pub const UNHEARD_MAX: usize = 1000;
/// Most bytes of them.
pub const UNHEARD_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Room in a socket's queue: all unheard notifications at once, and answers beside them.
pub const SOCKET_QUEUE: usize = UNHEARD_MAX + 512;
/// How long an evicted client may take to close its socket.
pub const EVICTION_GRACE: Duration = Duration::from_secs(10);

/// How many RPC sessions are written at once only for what they have confirmed.
const STALE_AT_ONCE: usize = 500;

/// A WebSocket of this process. Never given twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SocketId(pub u64);

/// The bearer secret with which a client takes its connection over to a new socket.
pub type RpcId = String;

/// Whose RPC session it is.
pub type Member = (SessionId, ConnectionId);

/// What a socket's task has to write, and when it may.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Numbered {
    /// The batch that must be on the disk before.
    pub after: u64,
    /// What to write.
    pub frame: Frame,
}

/// What a socket is told.
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
    frames: mpsc::Sender<Numbered>,
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
    /// The last notification before it joined, the last that it has confirmed, and the last that is meant for it: after that it was
    /// put out.
    since: u64,
    heard: u64,
    until: Option<u64>,
    /// Later than that one, and not to be told again all the same.
    passed_over: Vec<u64>,
    /// When it is over if nothing happens: a lost client's grace, or an evicted one's.
    deadline: Option<Instant>,
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
    by_session: HashMap<SessionId, BTreeSet<RpcId>>,
    notices: Notices,
    /// What is to be written of them.
    touched: BTreeSet<RpcId>,
    /// Of these only what they have confirmed: nobody waits for that.
    stale: BTreeSet<RpcId>,
    last_socket: u64,
    /// What this step says, in order.
    said: Vec<(mpsc::Sender<Numbered>, Frame, SocketId)>,
    /// The last notification: it mostly goes to many.
    last: Option<Saying>,
}

/// A notification that others may hear too.
#[derive(Debug)]
struct Saying {
    notification: Arc<Notification>,
    session: SessionId,
    number: u64,
    text: Utf8Bytes,
    urgency: Urgency,
    to: Vec<RpcId>,
}

/// What is kept of an RPC session.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    session: SessionId,
    connection: ConnectionId,
    since: u64,
    heard: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    until: Option<u64>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    passed_over: Vec<u64>,
}

/// What became overdue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Overdue {
    /// The grace of a lost client is over.
    Lost(Member),
}

impl RpcSessions {
    /// A socket opened.
    pub fn open(&mut self, frames: mpsc::Sender<Numbered>) -> SocketId {
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
        let session = self.sessions.get(rpc).filter(|one| !one.is_evicted())?;
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
            since: self.notices.last(),
            heard: 0,
            until: None,
            passed_over: Vec::new(),
            deadline: None,
        };
        self.add(rpc, session);
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
        if !session.is_evicted() {
            session.deadline = None;
        }
        let member = session.member.clone();
        if let Some(old) = old.filter(|old| *old != socket) {
            self.close(old, 1000, "Replaced by a new connection");
        }
        Some(member)
    }

    /// Sends again what a client that came back has not heard. An announced stream that it receives already it has heard of: a
    /// second announcement would take its subscription away.
    pub fn replay(&mut self, socket: SocketId, received: &HashSet<StreamId>) {
        let Some(session) = self.session_of(socket) else {
            return;
        };
        let known: Vec<_> = session
            .unheard
            .iter()
            .filter(|one| {
                let announces = one.announces.as_ref();
                announces.is_some_and(|stream| received.contains(stream))
            })
            .map(|one| one.number)
            .collect();
        session.unheard.retain(|one| !known.contains(&one.number));
        session.passed_over.extend(&known);
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
        let rpc = self.sockets.get(&socket).and_then(|open| open.rpc.clone());
        self.stale.extend(rpc.filter(|_| !known.is_empty()));
        for number in known {
            self.notices.settled(number);
        }
    }

    /// Answers a request on the socket it came by; an answer to a socket that is gone is forgotten, as its client has.
    pub fn answer(&mut self, socket: SocketId, text: String) {
        self.write(socket, Frame::Answer(text));
    }

    /// Tells a client something, now or when it comes back. Answers false when it has too much unheard already.
    pub fn notify(&mut self, member: &Member, notification: &Arc<Notification>) -> bool {
        let Some(rpc) = self.by_member.get(member).cloned() else {
            return true;
        };
        let (number, text, urgency) = self.say(&member.0, notification);
        let Some(session) = self.sessions.get_mut(&rpc) else {
            return true;
        };
        let bytes = session.unheard_bytes + text.len();
        if session.unheard.len() >= UNHEARD_MAX || bytes > UNHEARD_BYTES_MAX {
            return false;
        }
        session.unheard_bytes = bytes;
        session.unheard.push_back(Unheard {
            number,
            text: text.clone(),
            urgency,
            announces: announced(notification).cloned(),
        });
        let socket = session.socket;
        self.notices.told(number);
        if let Some(saying) = &mut self.last {
            saying.to.push(rpc);
        }
        if let Some(socket) = socket {
            self.write(socket, Frame::Notification(number, text, urgency));
        }
        true
    }

    /// The number of a notification, and its words; both are made once for all who hear it.
    fn say(
        &mut self,
        session: &SessionId,
        notification: &Arc<Notification>,
    ) -> (u64, Utf8Bytes, Urgency) {
        if let Some(last) = &self.last
            && Arc::ptr_eq(&last.notification, notification)
            && last.session == *session
        {
            return (last.number, last.text.clone(), last.urgency);
        }
        self.said_it();
        let number = self.notices.number();
        let text = Utf8Bytes::from(frame::notification(notification));
        let urgency = match **notification {
            Notification::ParticipantJoined { .. } => Urgency::CanWait,
            _ => Urgency::Prompt,
        };
        self.last = Some(Saying {
            notification: Arc::clone(notification),
            session: session.clone(),
            number,
            text: text.clone(),
            urgency,
            to: Vec::new(),
        });
        (number, text, urgency)
    }

    /// Everybody who hears the last notification has been told.
    fn said_it(&mut self) {
        let Some(said) = self.last.take() else { return };
        if said.to.is_empty() {
            return;
        }
        let everybody = self.by_session.get(&said.session);
        let count = everybody.map_or(0, BTreeSet::len);
        let to = match everybody {
            Some(everybody) if said.to.len() * 2 > count => {
                let told: HashSet<_> = said.to.iter().collect();
                let others = everybody.iter().filter(|one| !told.contains(one));
                To::AllBut(others.cloned().collect())
            }
            _ => To::Only(said.to),
        };
        let notice = Notice {
            session: said.session,
            text: said.text.to_string(),
            can_wait: said.urgency == Urgency::CanWait,
            announces: announced(&said.notification).cloned(),
            to,
        };
        self.notices.keep(said.number, notice);
    }

    /// The client has heard everything up to this number.
    pub fn heard(&mut self, socket: SocketId, number: u64) {
        let Some(rpc) = self.sockets.get(&socket).and_then(|open| open.rpc.clone()) else {
            return;
        };
        let Some(session) = self.sessions.get_mut(&rpc) else {
            return;
        };
        while let Some(one) = session.unheard.pop_front_if(|one| one.number <= number) {
            session.unheard_bytes -= one.text.len();
            session.heard = one.number;
            session.passed_over.retain(|passed| *passed > one.number);
            self.notices.settled(one.number);
            self.stale.insert(rpc.clone());
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
        if session.is_evicted() {
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
            session.until = Some(self.notices.last());
            session.deadline = Some(now + EVICTION_GRACE);
            self.touched.insert(rpc);
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
            self.said
                .push((open.frames, Frame::Close(code, reason), socket));
        }
    }

    /// What is overdue: lost clients to be evicted. Evicted ones that still hang on are cut off here.
    pub fn overdue(&mut self, now: Instant) -> Vec<Overdue> {
        let due: Vec<_> = self
            .sessions
            .iter()
            .filter(|(_, session)| session.deadline.is_some_and(|deadline| deadline <= now))
            .map(|(rpc, session)| (rpc.clone(), session.member.clone(), session.is_evicted()))
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

    fn add(&mut self, rpc: RpcId, session: RpcSession) {
        self.said_it();
        let of_session = self.by_session.entry(session.member.0.clone());
        of_session.or_default().insert(rpc.clone());
        self.touched.insert(rpc.clone());
        self.sessions.insert(rpc, session);
    }

    fn forget(&mut self, rpc: &str) -> Option<SocketId> {
        // Nobody may be missing among those who heard the last notification.
        self.said_it();
        let session = self.sessions.remove(rpc)?;
        for unheard in &session.unheard {
            self.notices.settled(unheard.number);
        }
        self.touched.insert(rpc.to_owned());
        let of_session = self.by_session.get_mut(&session.member.0);
        if of_session.is_some_and(|all| all.remove(rpc) && all.is_empty()) {
            self.by_session.remove(&session.member.0);
        }
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

    fn write(&mut self, socket: SocketId, frame: Frame) {
        if let Some(open) = self.sockets.get(&socket) {
            self.said.push((open.frames.clone(), frame, socket));
        }
    }

    /// Queues what was said in this step: it may be heard once that batch is on the disk. A socket that does not take it is dropped,
    /// which ends its task: the client will come back or be lost.
    pub fn flush(&mut self, after: u64) {
        for (frames, frame, socket) in std::mem::take(&mut self.said) {
            if frames.try_send(Numbered { after, frame }).is_err() {
                // The task finds its queue closed, and reports the socket closed like any other.
                tracing::debug!(?socket, "socket queue is full");
                self.close_queue(socket);
            }
        }
    }

    fn close_queue(&mut self, socket: SocketId) {
        if let Some(open) = self.sockets.get_mut(&socket) {
            let (closed, _) = mpsc::channel(1);
            open.frames = closed;
        }
    }
}

impl RpcSession {
    /// It was put out, and is told so.
    fn is_evicted(&self) -> bool {
        self.until.is_some()
    }
}

/// The stream that a notification announces.
fn announced(notification: &Notification) -> Option<&StreamId> {
    match notification {
        Notification::ParticipantPublished { stream, .. } => Some(&stream.id),
        _ => None,
    }
}

/// RPC sessions as rows.
impl RpcSessions {
    /// Writes what this step changed, and with it what nobody waits for. That alone is written only when `anyway`.
    pub fn keep(&mut self, batch: &mut Batch, anyway: bool) {
        self.said_it();
        self.notices.write(batch);
        for rpc in std::mem::take(&mut self.touched) {
            self.stale.remove(&rpc);
            self.keep_one(&rpc, batch);
        }
        if batch.is_empty() && !anyway {
            return;
        }
        self.notices.tidy(batch);
        for _ in 0..STALE_AT_ONCE {
            let Some(rpc) = self.stale.pop_first() else {
                break;
            };
            self.keep_one(&rpc, batch);
        }
    }

    /// Everything is to be written again.
    #[cfg(test)]
    pub fn touch_all(&mut self) {
        self.touched.extend(self.sessions.keys().cloned());
    }

    /// What each has not confirmed.
    #[cfg(test)]
    pub fn unheard(&self) -> std::collections::BTreeMap<RpcId, Vec<(u64, String)>> {
        let sessions = self.sessions.iter().map(|(rpc, session)| {
            let unheard = session.unheard.iter();
            let unheard = unheard.map(|one| (one.number, one.text.to_string()));
            (rpc.clone(), unheard.collect())
        });
        sessions.collect()
    }

    fn keep_one(&self, rpc: &RpcId, batch: &mut Batch) {
        let Some(session) = self.sessions.get(rpc) else {
            return batch.remove(Table::RpcSessions, rpc);
        };
        let kept = Kept {
            session: session.member.0.clone(),
            connection: session.member.1.clone(),
            since: session.since,
            heard: session.heard,
            until: session.until,
            passed_over: session.passed_over.clone(),
        };
        batch.put(Table::RpcSessions, rpc, &kept);
    }

    /// Everybody who was connected to a predecessor: away, and free to come back until the deadline.
    ///
    /// # Errors
    /// [`Error::Row`] when a row is not what we write.
    pub fn restored(loaded: &mut Loaded, deadline: Instant) -> Result<Self, Error> {
        let mut all = Self::default();
        let notices = loaded.parse::<Notice>(Table::Notices)?.into_iter();
        let notices = notices.filter_map(|(key, notice)| Some((key.parse().ok()?, notice)));
        let notices: Vec<(u64, Notice)> = notices.collect();
        for (rpc, kept) in loaded.parse::<Kept>(Table::RpcSessions)? {
            let last = kept.since.max(kept.heard).max(kept.until.unwrap_or(0));
            all.notices.skip_to(last);
            let member = (kept.session, kept.connection);
            if kept.until.is_none() {
                all.by_member.insert(member.clone(), rpc.clone());
            }
            let session = RpcSession {
                member,
                socket: None,
                lane: Lane::default(),
                unheard: VecDeque::new(),
                unheard_bytes: 0,
                since: kept.since,
                heard: kept.heard,
                until: kept.until,
                passed_over: kept.passed_over,
                deadline: Some(deadline),
            };
            all.add(rpc, session);
        }
        all.touched.clear();
        for (number, notice) in notices {
            all.notices.skip_to(number);
            all.tell_again(number, &notice);
        }
        Ok(all)
    }

    /// Those who were told by a predecessor and had not confirmed it will hear it when they come back.
    fn tell_again(&mut self, number: u64, notice: &Notice) {
        let text = notice.words();
        let mut is_open = false;
        for rpc in self.by_session.get(&notice.session).into_iter().flatten() {
            let Some(session) = self.sessions.get_mut(rpc) else {
                continue;
            };
            let was_there = session.since.max(session.heard) < number
                && session.until.is_none_or(|until| number <= until)
                && !session.passed_over.contains(&number);
            if !was_there || !notice.to.is_for(rpc) {
                continue;
            }
            session.unheard_bytes += text.len();
            session.unheard.push_back(Unheard {
                number,
                text: text.clone(),
                urgency: notice.urgency(),
                announces: notice.announces.clone(),
            });
            self.notices.told(number);
            is_open = true;
        }
        if !is_open {
            self.notices.drop_row(number);
        }
    }

    /// Everybody who has an RPC session and was not put out.
    pub fn members(&self) -> impl Iterator<Item = &Member> {
        self.by_member.keys()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Reason;

    fn member() -> Member {
        (SessionId::new("S"), ConnectionId::new("con_A"))
    }

    fn joined(room: usize) -> (RpcSessions, SocketId, mpsc::Receiver<Numbered>) {
        let mut rpc = RpcSessions::default();
        let (sender, frames) = mpsc::channel(room);
        let socket = rpc.open(sender);
        rpc.join(socket, "secret".to_owned(), member());
        (rpc, socket, frames)
    }

    /// The next frame, whatever is on the disk.
    fn heard(
        rpc: &mut RpcSessions,
        frames: &mut mpsc::Receiver<Numbered>,
    ) -> Result<Frame, mpsc::error::TryRecvError> {
        rpc.flush(0);
        frames.try_recv().map(|numbered| numbered.frame)
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
        assert_eq!(
            heard(&mut rpc, &mut frames),
            Ok(Frame::Close(1000, "Evicted"))
        );
        assert_eq!(rpc.resume(socket, "secret"), None);
    }

    #[test]
    fn a_socket_that_takes_nothing_is_given_up_and_nothing_is_lost() {
        let (mut rpc, socket, mut frames) = joined(1);
        assert!(rpc.notify(&member(), &left()));
        assert!(rpc.notify(&member(), &left()));
        assert!(matches!(
            heard(&mut rpc, &mut frames),
            Ok(Frame::Notification(1, ..))
        ));
        let closed = mpsc::error::TryRecvError::Disconnected;
        assert_eq!(heard(&mut rpc, &mut frames), Err(closed), "its task ends");
        let deadline = Instant::now();
        assert_eq!(rpc.closed(socket, deadline), Some(member()));
        let (sender, mut frames) = mpsc::channel(8);
        let socket = rpc.open(sender);
        assert_eq!(rpc.resume(socket, "secret"), Some(member()));
        rpc.replay(socket, &HashSet::new());
        for number in 1..=2 {
            let frame = heard(&mut rpc, &mut frames);
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
        assert!(heard(&mut rpc, &mut frames).is_err());
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
