use std::collections::HashMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::{Error, PeerId};

/// How far a peer has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerState {
    /// ICE and DTLS are under way.
    Joining,
    /// Media may flow; so long it took from the start of ICE.
    Connected(Duration),
    /// It gave up.
    Failed(Failure),
}

/// Why a peer gave up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// No connectivity check was answered in time (RFC 8445).
    #[error("no connectivity check was answered")]
    Ice,
    /// Checks are not answered any more (RFC 7675).
    #[error("consent was lost")]
    ConsentLost,
    /// The DTLS handshake failed.
    #[error("DTLS: {0}")]
    Dtls(proto::dtls::CloseReason),
    /// Another SRTP profile was negotiated than the one asked for.
    #[error("SRTP with {0} was negotiated, which was not asked for")]
    Profile(proto::srtp::Profile),
    /// The cipher libraries did not take the keys.
    #[error("the SRTP keys were refused")]
    Keys,
    /// It was removed.
    #[error("it was removed")]
    Removed,
}

/// What threads and callers share: who is connected, and how much of each stream has been published.
#[derive(Debug)]
pub(super) struct Registry {
    peers: Mutex<HashMap<u64, PeerState>>,
    newcomers: Mutex<Newcomers>,
    changed: Condvar,
    notify: Notify,
    streams: Mutex<HashMap<u64, Arc<AtomicU64>>>,
}

/// Viewers on their way in, and how many have come.
#[derive(Debug, Default)]
struct Newcomers {
    /// Of each, the transports that are not connected yet.
    coming: Vec<Vec<u64>>,
    come: u64,
}

impl Registry {
    pub(super) fn new() -> Self {
        Self {
            peers: Mutex::new(HashMap::new()),
            newcomers: Mutex::new(Newcomers::default()),
            changed: Condvar::new(),
            notify: Notify::new(),
            streams: Mutex::new(HashMap::new()),
        }
    }

    /// How many packets of the stream with this seed have been published; its publisher counts it up.
    pub(super) fn published(&self, seed: u64) -> Arc<AtomicU64> {
        let mut streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(streams.entry(seed).or_default())
    }

    /// A viewer with these transports is on the way in.
    pub(super) fn newcomer(&self, peers: &[PeerId]) {
        let serials = peers.iter().map(|peer| peer.serial);
        self.newcomers().coming.push(serials.collect());
    }

    /// How many of the newcomers have come: whoever was connected when somebody asked stays counted, whoever failed or went
    /// before is not. To be asked more often than viewers come and go.
    pub(super) fn come(&self) -> u64 {
        let mut newcomers = self.newcomers();
        let Newcomers { coming, come } = &mut *newcomers;
        let states = self.lock();
        coming.retain_mut(|missing| {
            missing.retain(|serial| !matches!(states.get(serial), Some(PeerState::Connected(_))));
            let is_lost = |serial: &u64| !matches!(states.get(serial), Some(PeerState::Joining));
            *come += u64::from(missing.is_empty());
            !missing.is_empty() && !missing.iter().any(is_lost)
        });
        *come
    }

    pub(super) fn begin(&self, peer: PeerId) {
        self.lock().insert(peer.serial, PeerState::Joining);
    }

    /// What a thread has to say about a peer; nothing if it was removed meanwhile.
    pub(super) fn set(&self, peer: PeerId, state: PeerState) {
        if let Some(known) = self.lock().get_mut(&peer.serial) {
            *known = state;
        }
        self.changed.notify_all();
        self.notify.notify_waiters();
    }

    pub(super) fn forget(&self, peer: PeerId) {
        self.lock().remove(&peer.serial);
        self.changed.notify_all();
        self.notify.notify_waiters();
    }

    pub(super) fn state(&self, peer: PeerId) -> Option<PeerState> {
        self.lock().get(&peer.serial).copied()
    }

    pub(super) fn wait_connected(&self, peers: &[PeerId], timeout: Duration) -> Result<(), Error> {
        let until = Instant::now() + timeout;
        let mut states = self.lock();
        loop {
            let of = |peer: &PeerId| states.get(&peer.serial).copied();
            let (mut missing, mut failed, mut first) = (0, 0, None);
            for peer in peers {
                match of(peer) {
                    Some(PeerState::Connected(_)) => continue,
                    Some(PeerState::Failed(failure)) => {
                        failed += 1;
                        first = first.or(Some(failure));
                    }
                    Some(PeerState::Joining) => {}
                    None => {
                        failed += 1;
                        first = first.or(Some(Failure::Removed));
                    }
                }
                missing += 1;
            }
            if missing == 0 {
                return Ok(());
            }
            let left = until.saturating_duration_since(Instant::now());
            if missing == failed || left.is_zero() {
                return Err(Error::NotConnected {
                    missing,
                    of: peers.len(),
                    failed,
                    first: first.map_or_else(String::new, |first| format!(": {first}")),
                });
            }
            let waited = self.changed.wait_timeout(states, left);
            states = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    pub(super) async fn connected(&self, peer: PeerId) -> Result<Duration, Failure> {
        loop {
            let changed = self.notify.notified();
            tokio::pin!(changed);
            // From here on a change is not missed, although it is looked for first.
            changed.as_mut().enable();
            match self.state(peer) {
                Some(PeerState::Connected(took)) => return Ok(took),
                Some(PeerState::Failed(failure)) => return Err(failure),
                Some(PeerState::Joining) => changed.await,
                None => return Err(Failure::Removed),
            }
        }
    }

    fn newcomers(&self) -> MutexGuard<'_, Newcomers> {
        self.newcomers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, PeerState>> {
        // Nothing is left half done under this lock, so a panic elsewhere spoils nothing.
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_newcomer_has_come_when_all_transports_are_connected() {
        let registry = Registry::new();
        let peers: Vec<PeerId> = (1..=5)
            .map(|serial| PeerId {
                serial,
                local: ([127, 0, 0, 1], 9).into(),
            })
            .collect();
        peers.iter().for_each(|peer| registry.begin(*peer));
        registry.newcomer(&peers[..2]);
        registry.newcomer(&peers[2..3]);
        registry.newcomer(&peers[3..]);
        let connected = PeerState::Connected(Duration::ZERO);
        registry.set(peers[0], connected);
        assert_eq!(registry.come(), 0, "half of one");
        registry.set(peers[1], connected);
        registry.set(peers[2], PeerState::Failed(Failure::Ice));
        registry.set(peers[3], connected);
        assert_eq!(registry.come(), 1);
        registry.forget(peers[0]);
        registry.forget(peers[4]);
        assert_eq!(registry.come(), 1, "who went half way has not come");
        assert!(registry.newcomers().coming.is_empty());
    }
}
