//! How long people wait until their first media can flow, phase by phase.
//!
//! What people do themselves is no waiting: whoever looks at a question for the camera, or sits in a session in which nobody else is, waits
//! for nobody. So a phase begins with a request and ends with what it asked for. The first media of each who joined in this life of the
//! master count, be they sent or received.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use link::TransportId;

use crate::api::rpc::sessions::Member;
use crate::app::Core;
use crate::reconcile::Owner;

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The answer to `joinRoom`.
    Join,
    /// An offer and its answer: a place on the node, and what both sides can do.
    Negotiate,
    /// The node's report that ICE and DTLS are through.
    Connect,
}

impl Phase {
    /// The word in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Join => "join",
            Self::Negotiate => "negotiate",
            Self::Connect => "connect",
        }
    }
}

/// Those who have joined and have no media yet: as many as are in sessions, at most.
#[derive(Debug, Default)]
pub struct Joins {
    coming: HashMap<Member, Step>,
}

#[derive(Debug, PartialEq)]
enum Step {
    Joined,
    Asked(Instant),
    Answered(TransportId, Instant),
}

impl Joins {
    /// Somebody has joined.
    pub fn joined(&mut self, member: Member) {
        self.coming.insert(member, Step::Joined);
    }

    /// Somebody asks for media. Only the first time counts, until it is refused.
    pub fn asked(&mut self, member: &Member, now: Instant) {
        if let Some(step @ Step::Joined) = self.coming.get_mut(member) {
            *step = Step::Asked(now);
        }
    }

    /// What somebody asked for can't be; the next time is the first.
    pub fn refused(&mut self, member: &Member) {
        if let Some(step @ Step::Asked(_)) = self.coming.get_mut(member) {
            *step = Step::Joined;
        }
    }

    /// An offer has its answer; how long that took, if it is the first one.
    pub fn answered(
        &mut self,
        member: &Member,
        transport: &TransportId,
        now: Instant,
    ) -> Option<Duration> {
        let step = self.coming.get_mut(member)?;
        let Step::Asked(since) = *step else {
            return None;
        };
        *step = Step::Answered(transport.clone(), now);
        Some(now.saturating_duration_since(since))
    }

    /// The node says that a transport of this member is connected; how long that took, if it is the first one.
    pub fn connected(
        &mut self,
        member: &Member,
        transport: &TransportId,
        now: Instant,
    ) -> Option<Duration> {
        let Some(Step::Answered(first, since)) = self.coming.get(member) else {
            return None;
        };
        let took = (first == transport).then(|| now.saturating_duration_since(*since))?;
        self.coming.remove(member);
        Some(took)
    }

    /// Somebody has gone.
    pub fn gone(&mut self, member: &Member) {
        self.coming.remove(member);
    }

    /// How many have no media yet.
    #[cfg(test)]
    pub fn waiting(&self) -> usize {
        self.coming.len()
    }
}

impl Core {
    /// Somebody's offer has its answer, or ours has theirs.
    pub fn media_agreed(&mut self, member: &Member, transport: &TransportId) {
        if let Some(took) = self.joins.answered(member, transport, Instant::now()) {
            self.metrics().join(Phase::Negotiate, took);
        }
    }

    /// The node says that a transport is connected.
    pub fn media_connected(&mut self, transport: &TransportId) {
        let member = match self.media.owner(transport) {
            Some(Owner::Publication(session, stream)) => {
                let stream = self.domain.stream(session, stream);
                stream
                    .ok()
                    .map(|one| (session.clone(), one.connection.clone()))
            }
            Some(Owner::Subscription(session, connection, _)) => {
                Some((session.clone(), connection.clone()))
            }
            None => None,
        };
        let Some(member) = member else { return };
        if let Some(took) = self.joins.connected(&member, transport, Instant::now()) {
            self.metrics().join(Phase::Connect, took);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{ConnectionId, SessionId};

    fn member(name: &str) -> Member {
        (SessionId::new("S"), ConnectionId::new(name))
    }

    fn at(start: Instant, millis: u64) -> Instant {
        start + Duration::from_millis(millis)
    }

    #[test]
    fn each_phase_is_told_once() {
        let (mut joins, who, start) = (Joins::default(), member("a"), Instant::now());
        let [first, second] = ["first", "second"].map(TransportId::new);
        joins.joined(who.clone());
        // Somebody looks for the camera for a minute, which is nobody's time.
        joins.asked(&who, at(start, 60_000));
        joins.asked(&who, at(start, 60_020));
        let took = joins.answered(&who, &first, at(start, 60_050));
        assert_eq!(took, Some(Duration::from_millis(50)));
        assert_eq!(joins.answered(&who, &second, at(start, 60_060)), None);
        assert_eq!(joins.connected(&who, &second, at(start, 60_070)), None);
        let took = joins.connected(&who, &first, at(start, 60_350));
        assert_eq!(took, Some(Duration::from_millis(300)));
        // It may connect anew, after a cut.
        assert_eq!(joins.connected(&who, &first, at(start, 90_000)), None);
        assert_eq!(joins.waiting(), 0);
    }

    #[test]
    fn what_was_refused_does_not_count() {
        let (mut joins, who, start) = (Joins::default(), member("a"), Instant::now());
        let transport = TransportId::new("t");
        joins.joined(who.clone());
        joins.asked(&who, at(start, 0));
        joins.refused(&who);
        assert_eq!(joins.answered(&who, &transport, at(start, 10)), None);
        joins.asked(&who, at(start, 600_000));
        let took = joins.answered(&who, &transport, at(start, 600_030));
        assert_eq!(took, Some(Duration::from_millis(30)));
    }

    #[test]
    fn nobody_is_remembered_who_has_gone_or_was_there_before() {
        let (mut joins, who, now) = (Joins::default(), member("a"), Instant::now());
        joins.joined(who.clone());
        joins.gone(&who);
        assert_eq!(joins.waiting(), 0);
        let before = member("before");
        joins.asked(&before, now);
        assert_eq!(joins.answered(&before, &TransportId::new("t"), now), None);
        assert_eq!(joins.waiting(), 0);
    }
}
