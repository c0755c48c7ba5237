//! The one owner of all calls, and what everything else in the process holds a handle on.
//!
//! [`Core`] is locked for short steps that never wait. A step ends with [`Core::settle`], which carries the consequences on: to
//! the sockets of those who must hear, and to the nodes.

use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use link::{Change, Entry};

use crate::api::limits::{Count, Rate};
use crate::api::rpc::sessions::{Member, Overdue, RpcSessions};
use crate::cluster::placement;
use crate::cluster::{Health, Registry};
use crate::config::Config;
use crate::domain::ids::SystemChance;
use crate::domain::{
    Chance, Code, Domain, IceServer, Millis, NodeId, Output, Reason, Refused, SessionId, StreamId,
    Voice,
};
use crate::metrics::Metrics;
use crate::reconcile::{Place, Reconciler};

/// Demonstration tokens that one address may have in a second, averaged.
const DEMO_TOKENS_RATE: u32 = 2;

/// A gap between two ticks that shows that we were not running.
const ASLEEP_AFTER: Duration = Duration::from_secs(1);

/// What every task and handler shares.
pub struct App {
    /// As it was at the start.
    pub config: Config,
    /// What operators see.
    pub metrics: Metrics,
    /// When this master started: clients compare it to tell a restart from a lost network.
    pub life: Millis,
    core: Mutex<Core>,
}

/// All that changes.
pub struct Core {
    /// Calls.
    pub domain: Domain,
    /// Their media.
    pub media: Reconciler,
    /// The nodes that carry them.
    pub registry: Registry,
    /// The sockets of their users.
    pub rpc: RpcSessions,
    /// Sockets per address.
    pub sockets_by_address: Count,
    /// Joins per address.
    pub joins_by_address: Rate,
    /// Demonstration tokens per address.
    pub demo_tokens_by_address: Rate,
    /// Where ids and secrets come from.
    pub chance: Box<dyn Chance>,
    metrics: Metrics,
    /// Subscribers whose transports the node has given up while they are here.
    pub cut_off: Vec<(Member, StreamId)>,
    last_look: Instant,
    /// We stood still and have not heard what was said meanwhile: nobody's silence counts until then.
    deaf_until: Option<Instant>,
}

impl App {
    /// A master that knows no nodes yet.
    pub fn new(config: Config, metrics: Metrics) -> Arc<Self> {
        let core = Core {
            domain: Domain::new(),
            media: Reconciler::new(),
            registry: Registry::default(),
            rpc: RpcSessions::default(),
            sockets_by_address: Count::new(config.sockets_per_address_max),
            joins_by_address: Rate::new(config.joins_per_address_rate),
            demo_tokens_by_address: Rate::new(DEMO_TOKENS_RATE),
            chance: Box::new(SystemChance),
            metrics: metrics.clone(),
            cut_off: Vec::new(),
            last_look: Instant::now(),
            deaf_until: None,
        };
        Arc::new(Self {
            config,
            metrics,
            life: now_millis(),
            core: Mutex::new(core),
        })
    }

    /// One step: changes something, and carries the consequences on.
    pub fn step<T>(&self, step: impl FnOnce(&mut Core) -> T) -> T {
        // A panic inside a step aborts the process in release builds; in tests the state is looked at no more.
        let mut core = self.core.lock().unwrap_or_else(PoisonError::into_inner);
        let result = step(&mut core);
        core.settle(Instant::now());
        result
    }

    /// What is done at intervals, a few times a second.
    pub fn tick(&self) {
        let crashed_after = self.config.node_silence;
        self.step(|core| {
            if !core.look_at_nodes(Instant::now(), crashed_after) {
                return;
            }
            for Overdue::Lost((session, connection)) in core.rpc.overdue(Instant::now()) {
                tracing::info!(%session, %connection, "client lost: grace period over");
                // It may have gone at the same moment.
                let _ = core
                    .domain
                    .evict(&session, &connection, Reason::NetworkDisconnect);
            }
        });
    }

    /// Forgets sessions that nobody ever joined.
    pub fn collect_garbage(&self, threshold: Duration) {
        let older_than = now_millis().saturating_sub(threshold.as_millis() as Millis);
        let collected = self.step(|core| core.domain.collect_garbage(older_than));
        if collected > 0 {
            tracing::info!(collected, "never-joined sessions forgotten");
        }
    }
}

impl Core {
    /// Carries on what follows from the step that was made.
    pub fn settle(&mut self, now: Instant) {
        while let Some(output) = self.domain.poll() {
            self.carry(output, now);
        }
        let mut by_node: BTreeMap<NodeId, Vec<Change<Entry>>> = BTreeMap::new();
        for (node, change) in self.media.take_changes() {
            by_node.entry(node).or_default().push(change);
        }
        for (node, changes) in by_node {
            if let Some(node) = self.registry.node(&node) {
                node.link.apply(changes);
            }
        }
    }

    /// The session's node; on its first use the emptiest one that is up.
    ///
    /// # Errors
    /// Code 202 without a session, 204 when no node can take it, or its own can't be reached.
    pub fn place(&mut self, session_id: &SessionId) -> Result<NodeId, Refused> {
        let session = self.domain.session(session_id).ok_or_else(|| {
            let text = format!("Session '{session_id}' not found");
            Refused::new(Code::SessionNotFound, text)
        })?;
        if let Some(node) = session.node.clone() {
            self.expect_up(&node)?;
            return Ok(node);
        }
        let occupancy = self.domain.occupancy();
        let candidates = self
            .registry
            .candidates(|node| occupancy.get(node).copied().unwrap_or_default());
        let wanted = session.properties.media_node.as_ref();
        match placement::choose(&candidates, wanted) {
            Ok(node) => {
                self.metrics.placement("placed");
                tracing::info!(session = %session_id, %node, "session placed");
                self.domain.place(session_id, node.clone());
                Ok(node)
            }
            Err(error) => {
                self.metrics.placement("no_node");
                let text = format!("Session '{session_id}' cannot be placed: {error}");
                Err(Refused::new(Code::NoMediaNode, text))
            }
        }
    }

    /// The node can be told things now.
    ///
    /// # Errors
    /// Code 204 that names it.
    pub fn expect_up(&self, node: &NodeId) -> Result<(), Refused> {
        let up = self
            .registry
            .node(node)
            .is_some_and(|node| node.link.is_up());
        if up {
            return Ok(());
        }
        let text = format!("Media node '{node}' cannot be reached");
        Err(Refused::new(Code::NoMediaNode, text))
    }

    /// Where the media of a member are.
    ///
    /// # Errors
    /// Code 102 when it is no longer here, 202 or 204.
    pub fn place_of(&mut self, (session, connection): &Member) -> Result<Place, Refused> {
        if !self.domain.connection(session, connection)?.is_active() {
            let text = format!("Connection '{connection}' is not in session '{session}'");
            return Err(Refused::new(Code::UserNotFound, text));
        }
        let node = self.place(session)?;
        let incarnation = self
            .domain
            .session(session)
            .map_or(0, |session| session.incarnation);
        Ok(Place::new(node, session, incarnation, connection))
    }

    /// The ICE servers of a client: its own, else the configured ones, else the node, which keeps it from asking public ones.
    pub fn ice_servers(
        &self,
        own: &[IceServer],
        configured: &[IceServer],
        node: &NodeId,
    ) -> Vec<IceServer> {
        if !own.is_empty() {
            return own.to_vec();
        }
        if !configured.is_empty() {
            return configured.to_vec();
        }
        let node = self.registry.node(node);
        node.map(|node| IceServer::stun(node.stun_address()))
            .into_iter()
            .collect()
    }

    /// The streams that a member receives.
    pub fn received(&self, (session, connection): &Member) -> HashSet<crate::domain::StreamId> {
        self.domain
            .connection(session, connection)
            .map(|one| {
                one.subscriptions()
                    .iter()
                    .map(|s| s.stream.clone())
                    .collect()
            })
            .unwrap_or_default()
    }

    /// This is what is heard in a session, by the name that its node knows.
    pub fn hear(&mut self, session: &link::SessionId, voice: Voice) {
        if let Some((session, incarnation)) = Place::session_of(session) {
            self.domain.hear(&session, incarnation, voice);
        }
    }

    /// One more socket of that address; false when it has too many.
    pub fn admit(&mut self, address: IpAddr) -> bool {
        self.sockets_by_address.take(address)
    }

    fn carry(&mut self, output: Output, now: Instant) {
        match output {
            Output::Notify {
                session,
                to,
                notification,
            } => {
                let member = (session, to);
                if !self.rpc.notify(&member, &notification) {
                    tracing::warn!(session = %member.0, connection = %member.1, "client is too slow and is evicted");
                    self.rpc.lost(&member);
                    // It may have gone at the same moment.
                    let _ = self
                        .domain
                        .leave(&member.0, &member.1, Reason::NetworkDisconnect);
                }
            }
            Output::ConnectionGone {
                session,
                connection,
                reason,
            } => {
                tracing::info!(%session, %connection, reason = reason.as_str(), "connection gone");
                self.media.connection_gone(&session, &connection);
                let member = (session, connection);
                match reason {
                    Reason::Disconnect => self.rpc.left(&member),
                    Reason::NetworkDisconnect => self.rpc.lost(&member),
                    _ => self.rpc.evicted(&member, now),
                }
            }
            Output::StreamGone { session, stream } => self.media.stream_gone(&session, &stream),
            Output::SubscriptionGone {
                session,
                connection,
                stream,
            } => self.media.subscription_gone(&session, &connection, &stream),
            Output::SpeakerChanged {
                session,
                connection,
                stream,
            } => tracing::debug!(%session, %connection, %stream, "somebody else speaks"),
            Output::SessionGone { session, .. } => tracing::info!(%session, "session gone"),
        }
    }

    /// Whether this process stood still so lately (stopped, or starved) that silence is ours and not that of others.
    fn was_asleep(&mut self, now: Instant, recovery: Duration) -> bool {
        let slept = now.duration_since(self.last_look);
        self.last_look = now;
        if slept >= ASLEEP_AFTER {
            tracing::warn!(?slept, "this process stood still");
            self.deaf_until = Some(now + recovery);
        }
        self.deaf_until.take_if(|until| *until <= now);
        self.deaf_until.is_some()
    }

    /// Looks at every node's silence again, unless the silence is our own. Answers whether it was looked at.
    ///
    /// Whoever looks first after a standstill, a timer or a lost link, must find out that there was one.
    pub fn look_at_nodes(&mut self, now: Instant, crashed_after: Duration) -> bool {
        if self.was_asleep(now, crashed_after) {
            return false;
        }
        for (node, was, is) in self.registry.look(crashed_after, now_millis()) {
            tracing::info!(%node, was = was.as_str(), is = is.as_str(), "media node");
            if is == Health::Crashed {
                self.node_lost(&node);
            }
        }
        true
    }

    /// A node is dead: its sessions are over.
    pub fn node_lost(&mut self, node: &NodeId) {
        let sessions = self.domain.node_lost(node, Reason::NodeCrashed);
        tracing::warn!(%node, sessions, "media node crashed: its sessions are closed");
    }
}

/// Wall-clock time.
pub fn now_millis() -> Millis {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_millis() as Millis)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use crate::cluster::Health;
    use crate::testing::master;

    use super::*;

    fn health(app: &App) -> Health {
        app.step(|core| core.registry.nodes()[0].health)
    }

    #[test]
    fn our_own_sleep_is_nobody_elses_silence() {
        let (app, node) = master();
        let recovery = Duration::from_secs(2);
        node.up.store(false, Ordering::SeqCst);
        // The lost links are news before the timer runs again.
        let woken = app.step(|core| {
            let woken = core.last_look + Duration::from_secs(60);
            assert!(!core.look_at_nodes(woken, recovery));
            woken
        });
        let step = Duration::from_millis(200);
        let mut now = woken + step;
        while app.step(|core| !core.look_at_nodes(now, recovery)) {
            assert_eq!(health(&app), Health::Up, "it has not been judged");
            now += step;
        }
        assert!(now >= woken + recovery);
        assert_eq!(health(&app), Health::Crashed);
    }

    #[test]
    fn sessions_are_placed_once_and_only_on_what_is_up() {
        let (app, node) = master();
        let session = SessionId::new("S");
        let refused = app.step(|core| core.place(&session));
        assert_eq!(
            refused.map_err(|refused| refused.code),
            Err(Code::SessionNotFound)
        );
        app.step(|core| {
            let properties = crate::domain::SessionProperties {
                media_mode: "ROUTED".to_owned(),
                recording_mode: "MANUAL".to_owned(),
                custom_session_id: "S".to_owned(),
                default_recording_properties: serde_json::Value::Null,
                media_node: None,
                forced_video_codec: "NONE".to_owned(),
                allow_transcoding: false,
            };
            let made = core
                .domain
                .create_session(properties, 0, core.chance.as_mut());
            assert!(made.is_ok());
            assert!(core.place(&session).is_ok());
        });
        node.up.store(false, Ordering::SeqCst);
        let refused = app.step(|core| core.place(&session));
        assert_eq!(
            refused.map_err(|refused| refused.code),
            Err(Code::NoMediaNode)
        );
    }

    #[test]
    fn a_client_is_never_left_without_an_ice_server() {
        let (app, _) = master();
        let node = NodeId::new("media_1");
        let (own, configured) = ([IceServer::stun("own")], [IceServer::stun("configured")]);
        app.step(|core| {
            assert_eq!(core.ice_servers(&own, &configured, &node), own);
            assert_eq!(core.ice_servers(&[], &configured, &node), configured);
            let fallback = core.ice_servers(&[], &[], &node);
            assert_eq!(fallback.len(), 1);
            assert!(fallback[0].url.starts_with("stun:127.0.0.1"));
        });
    }
}
