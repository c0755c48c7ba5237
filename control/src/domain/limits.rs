//! How much there may be of everything: what the operator allows, and what an application wants less of in one session.

use serde::{Deserialize, Serialize};

use super::{Code, ConnectionId, Refused, Session, SessionId, StreamId, VideoBandwidth};

/// What an application allows in one session; what it does not say is as the operator allows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub struct Limits {
    /// Users at a time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connections: Option<u32>,
    /// Published streams at a time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub streams: Option<u32>,
    /// Streams that one user receives at a time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subscriptions: Option<u32>,
    /// Video that comes of one stream, kbit/s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub video_max_recv_bandwidth: Option<u32>,
    /// Video that one user is sent of one stream, kbit/s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub video_max_send_bandwidth: Option<u32>,
}

/// What the operator allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Sessions.
    pub sessions: usize,
    /// Users of one session at a time.
    pub connections: usize,
    /// Published streams of one session at a time.
    pub streams: usize,
    /// Streams that one user receives at a time.
    pub subscriptions: usize,
    /// Connections of one session that wait for their users.
    pub pending: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            sessions: 100_000,
            connections: 5_000,
            streams: 1_000,
            subscriptions: 1_000,
            pending: 10_000,
        }
    }
}

impl Limits {
    /// Nothing is said.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// What a connection's own options leave, or the least of both.
    pub fn bandwidth(&self, own: VideoBandwidth) -> VideoBandwidth {
        let least = |own: u32, limit: Option<u32>| match limit.filter(|limit| *limit > 0) {
            Some(limit) if own == 0 => limit,
            Some(limit) => own.min(limit),
            None => own,
        };
        VideoBandwidth {
            max_recv: least(own.max_recv, self.video_max_recv_bandwidth),
            max_send: least(own.max_send, self.video_max_send_bandwidth),
            ..own
        }
    }
}

impl Session {
    /// One more user may come.
    ///
    /// # Errors
    /// Code 429.
    pub(super) fn expect_room(&self, bounds: &Bounds) -> Result<(), Refused> {
        let here = self.active().filter(|one| !one.is_hidden()).count();
        let most = least(self.properties.limits.connections, bounds.connections);
        expect(here < most, || {
            format!("Session '{}' has {here} users, which is its limit", self.id)
        })
    }

    /// One more stream may be published.
    ///
    /// # Errors
    /// Code 429.
    pub(super) fn expect_room_for_stream(&self, bounds: &Bounds) -> Result<(), Refused> {
        let streams = self.active().filter(|one| one.publishes()).count();
        let most = least(self.properties.limits.streams, bounds.streams);
        expect(streams < most, || {
            format!(
                "Session '{}' has {streams} streams, which is its limit",
                self.id
            )
        })
    }

    /// One more connection may wait for its user.
    ///
    /// # Errors
    /// Code 429.
    pub(super) fn expect_room_for_pending(&self, bounds: &Bounds) -> Result<(), Refused> {
        let pending = self.pending();
        expect(pending < bounds.pending, || {
            format!(
                "Session '{}' has {pending} unused tokens, which is the limit",
                self.id
            )
        })
    }
}

impl super::Domain {
    /// What the operator allows, from now on.
    pub fn set_bounds(&mut self, bounds: Bounds) {
        self.bounds = bounds;
    }

    /// A user may receive this stream too.
    ///
    /// # Errors
    /// Code 202 or 102 if session or user are not here, 429 when it receives too many.
    pub fn check_subscribe(
        &self,
        session: &SessionId,
        id: &ConnectionId,
        stream: &StreamId,
    ) -> Result<(), Refused> {
        let subscriptions = self.connection(session, id)?.subscriptions();
        if subscriptions.iter().any(|one| one.stream == *stream) {
            return Ok(());
        }
        let limits = self.session(session).map(|one| one.properties.limits);
        let most = least(
            limits.and_then(|one| one.subscriptions),
            self.bounds.subscriptions,
        );
        let count = subscriptions.len();
        expect(count < most, || {
            format!("Connection '{id}' receives {count} streams, which is its limit")
        })
    }
}

fn least(own: Option<u32>, bound: usize) -> usize {
    own.map_or(bound, |own| bound.min(own as usize))
}

fn expect(is_within: bool, why: impl FnOnce() -> String) -> Result<(), Refused> {
    match is_within {
        true => Ok(()),
        false => Err(Refused::new(Code::Limit, why())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_bandwidth_counts() {
        let own = |max_recv, max_send| VideoBandwidth {
            max_recv,
            max_send,
            ..VideoBandwidth::default()
        };
        let limits = Limits {
            video_max_recv_bandwidth: Some(500),
            ..Limits::default()
        };
        assert_eq!(limits.bandwidth(own(0, 0)), own(500, 0));
        assert_eq!(limits.bandwidth(own(300, 7)), own(300, 7));
        assert_eq!(limits.bandwidth(own(900, 7)), own(500, 7));
        assert_eq!(Limits::default().bandwidth(own(900, 0)), own(900, 0));
        let none = Limits {
            video_max_recv_bandwidth: Some(0),
            ..Limits::default()
        };
        assert_eq!(none.bandwidth(own(900, 0)), own(900, 0));
    }
}
