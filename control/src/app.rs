//! The one owner of all calls, and what everything else in the process holds a handle on.
//!
//! [`Core`] is locked for short steps that never wait. A step ends with [`Core::settle`], which carries the consequences on: to
//! the sockets of those who must hear, and to the nodes.

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use link::desired::DesiredState;
use link::{Change, Entry, Key};
use scheduler::{Hint, Strategy};

use crate::api::limits::{Places, Rate};
use crate::api::rpc::sessions::{Member, Overdue, RpcSessions};
use crate::auth::Door;
use crate::cluster::load::{self, Unplaced};
use crate::cluster::{Loads, MediaNode, Registry};
use crate::config::Config;
use crate::domain::ids::SystemChance;
use crate::domain::{
    Chance, Code, Domain, IceServer, Millis, NodeId, Output, Reason, Refused, SessionId, StreamId,
    Voice,
};
use crate::events::{self, Event, Ledger};
use crate::joins::Joins;
use crate::metrics::Metrics;
use crate::nodes::dialling::Dials;
use crate::reconcile::{
    Held, Orders, Place, Reconciler, Removals, restored_desired, write_desired,
};
use crate::sizes::Sizes;
use crate::standing::Standings;
use crate::store::{self, Batch, Facts, Loaded, Store, Table, Unwritten};

/// Demonstration tokens that one address may have in a second, averaged.
const DEMO_TOKENS_RATE: u32 = 2;

/// How long clients may take at least to come back after a restart of the master: they notice one after the other.
const RETURN: Duration = Duration::from_secs(30);

/// A gap between two ticks that shows that we were not running.
const ASLEEP_AFTER: Duration = Duration::from_secs(1);

/// What every task and handler shares.
pub struct App {
    config: RwLock<Arc<Config>>,
    /// When [`tick`](Self::tick) last came to its end.
    ticked: Mutex<Instant>,
    stopping: AtomicBool,
    /// What operators see.
    pub metrics: Metrics,
    /// Who this master is, over restarts.
    pub facts: Facts,
    /// Who may come in as an application.
    pub door: Door,
    sockets: Mutex<Places>,
    store: Store,
    dialler: OnceLock<Box<dyn Dials>>,
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
    /// How loaded these are, and where sessions go by that.
    pub loads: Loads,
    /// How their transports stand.
    pub standings: Standings,
    /// The sockets of their users.
    pub rpc: RpcSessions,
    /// Who waits for the first media.
    pub joins: Joins,
    /// How many people sessions have had.
    sizes: Sizes,
    /// Joins per address.
    pub joins_by_address: Rate,
    /// Demonstration tokens per address.
    pub demo_tokens_by_address: Rate,
    /// Where ids and secrets come from.
    pub chance: Box<dyn Chance>,
    /// What this step changes of what must outlive us.
    pub batch: Batch,
    /// Writes events down, to be delivered.
    pub events: Ledger,
    /// What a predecessor wanted on nodes that are not dialled yet.
    desired_before: BTreeMap<NodeId, BTreeMap<Key, Entry>>,
    /// What is to be taken off nodes once the disk has it.
    pub held: Held,
    /// In this step is written what nobody waits for.
    is_tick: bool,
    store: Store,
    metrics: Metrics,
    /// Subscribers whose transports the node has given up while they are here.
    pub cut_off: Vec<(Member, StreamId)>,
    last_look: Instant,
    /// We stood still and have not heard what was said meanwhile: nobody's silence counts until then.
    deaf_until: Option<Instant>,
}

impl App {
    /// A master that knows no nodes yet, and all calls that its predecessor left in this state.
    ///
    /// # Errors
    /// When the state can't be understood, or its disk takes nothing.
    pub fn restored(
        config: Config,
        metrics: Metrics,
        (store, mut loaded): (Store, Loaded),
    ) -> Result<Arc<Self>, store::Error> {
        let mut chance = SystemChance;
        let facts = Facts::next(&mut loaded, now_millis(), &mut chance)?;
        // An epoch that a power cut may bring back is no epoch.
        store.submit_and_wait(facts.batch())?;
        let mut desired_before = BTreeMap::<_, BTreeMap<_, _>>::new();
        for (node, entry) in restored_desired(&mut loaded)? {
            let entries = desired_before.entry(node).or_default();
            entries.insert(entry.key(), entry);
        }
        let grace = config.reconnect_grace.max(RETURN);
        // The configuration was checked when it was read.
        let policy = config.placement().unwrap_or_default();
        let mut registry = Registry::new(config.node_reconnection_timeout.limit());
        registry.restore(loaded.parse(Table::Nodes)?);
        let mut domain = Domain::restored(&mut loaded)?;
        domain.set_bounds(config.bounds());
        let mut batch = Batch::default();
        let names = config.sessions_max;
        let history = load::kept::restored(&mut loaded, names, &mut batch)?;
        let mut core = Core {
            domain,
            media: Reconciler::restored(&mut loaded)?,
            registry,
            loads: Loads::new(policy, history, chance.next_u64()),
            standings: Standings::default(),
            rpc: RpcSessions::restored(&mut loaded, Instant::now() + grace)?,
            joins: Joins::default(),
            sizes: Sizes::default(),
            joins_by_address: Rate::new(config.joins_per_address_rate),
            demo_tokens_by_address: Rate::new(DEMO_TOKENS_RATE),
            chance: Box::new(chance),
            batch,
            desired_before,
            events: Ledger::new(facts.cluster.clone(), facts.epoch, events::targets(&config)),
            held: Held::default(),
            is_tick: false,
            store: store.clone(),
            metrics: metrics.clone(),
            cut_off: Vec::new(),
            last_look: Instant::now(),
            deaf_until: None,
        };
        core.adopt_sessions();
        let app = Self {
            door: Door::new(&config),
            sockets: Mutex::new(Places::new(
                config.sockets_max,
                config.sockets_per_address_max,
            )),
            config: RwLock::new(Arc::new(config)),
            ticked: Mutex::new(Instant::now()),
            stopping: AtomicBool::new(false),
            metrics,
            facts,
            store,
            dialler: OnceLock::new(),
            core: Mutex::new(core),
        };
        app.step(Core::evict_who_cannot_come_back);
        Ok(Arc::new(app))
    }

    /// What is configured now.
    pub fn config(&self) -> Arc<Config> {
        // What it guards is replaced as a whole.
        let config = self.config.read().unwrap_or_else(PoisonError::into_inner);
        config.clone()
    }

    /// This is configured from now on, as far as it may change while the master runs.
    pub fn reconfigure(&self, config: Config) {
        self.door.reconfigure(&config);
        self.sockets()
            .set_max(config.sockets_max, config.sockets_per_address_max);
        self.step(|core| {
            core.domain.set_bounds(config.bounds());
            core.joins_by_address
                .set_rate(config.joins_per_address_rate);
        });
        let mut place = self.config.write().unwrap_or_else(PoisonError::into_inner);
        *place = Arc::new(config);
    }

    /// How long nothing was done of what is done a few times a second: a lock that nobody gives back, or no processor.
    pub fn stillness(&self) -> Duration {
        let ticked = self.ticked.lock().unwrap_or_else(PoisonError::into_inner);
        ticked.elapsed()
    }

    /// The master takes no new requests from now on.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// It takes no new requests.
    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// Who dials nodes from now on. Only the first one counts.
    pub fn dial_with(&self, dialler: Box<dyn Dials>) {
        // A second one is a mistake that changes nothing.
        let _ = self.dialler.set(dialler);
    }

    /// Who dials nodes; none: this master can't.
    pub fn dialler(&self) -> Option<&dyn Dials> {
        self.dialler.get().map(Box::as_ref)
    }

    /// What must outlive the process.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Waits until everything that was changed so far is on the disk.
    ///
    /// # Errors
    /// [`Unwritten`] when it takes nothing at the moment.
    pub async fn committed(&self) -> Result<(), Unwritten> {
        self.store.committed(self.store.submitted()).await
    }

    /// One step: changes something, and carries the consequences on.
    pub fn step<T>(&self, step: impl FnOnce(&mut Core) -> T) -> T {
        let mut core = self.core();
        let result = step(&mut core);
        core.settle(Instant::now());
        result
    }

    fn core(&self) -> MutexGuard<'_, Core> {
        // A panic inside a step aborts the process in release builds; in tests the state is looked at no more.
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Room for sockets. Its own lock, for a flood of sockets that are refused should hold up no call.
    pub fn sockets(&self) -> MutexGuard<'_, Places> {
        // What it guards is whole at every moment.
        self.sockets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has taken off nodes what is over, as soon as that is written down. Never ends.
    pub async fn carry_removals(&self) {
        let mut endings = self.store.endings();
        loop {
            endings.next().await;
            self.core().carry_removals();
        }
    }

    /// Waits for the disk, and has taken off nodes what is over.
    #[cfg(test)]
    pub fn wait_and_carry_removals(&self) {
        let submitted = self.store.submitted();
        while self.store.failure().is_none() && !self.store.is_committed(submitted) {
            std::thread::sleep(Duration::from_millis(1));
        }
        self.core().carry_removals();
    }

    /// What is done at intervals, a few times a second.
    pub fn tick(&self) {
        let crashed_after = self.config().node_silence;
        self.step(|core| {
            core.is_tick = true;
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
        *self.ticked.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
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
    /// What must outlive the process.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// What operators see.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Carries on what follows from the step that was made.
    pub fn settle(&mut self, now: Instant) {
        self.tell_of_nodes();
        self.carry_outputs(now);
        self.registry.keep(&mut self.batch);
        let changes = self.media.take_changes();
        for (node, change) in &changes {
            write_desired(&mut self.batch, node, change);
        }
        let (orders, removals) = self.held.split(changes);
        self.order(orders);
        let removals = self.remove_before(removals);
        self.domain.write(&mut self.batch);
        self.media.write(&mut self.batch);
        self.rpc
            .keep(&mut self.batch, std::mem::take(&mut self.is_tick));
        let number = self.store.submit(self.batch.take());
        self.held.wait(number, removals);
        self.events.submitted(number);
        self.rpc.flush(number);
    }

    /// Has taken off nodes what the disk knows by now to be over.
    pub fn carry_removals(&mut self) {
        let orders = self
            .held
            .take_written(|number| self.store.is_committed(number));
        self.order(orders);
    }

    fn order(&mut self, orders: Orders) {
        for (id, changes) in orders {
            match self.registry.node(&id) {
                Some(node) => node.link.apply(changes),
                None => self.change_before(&id, changes),
            }
        }
    }

    /// Has applications told of this, if what this step changes comes to pass.
    pub fn event(&mut self, event: &Event) {
        self.events.write(event, now_millis(), &mut self.batch);
    }

    /// Whoever is in a session and has nothing to come back with would stay for ever. That can't be, so it is told if it is.
    fn evict_who_cannot_come_back(&mut self) {
        let members: HashSet<Member> = self.rpc.members().cloned().collect();
        let sessions = self.domain.sessions().into_iter();
        let active =
            sessions.flat_map(|session| session.active().map(|one| (&session.id, &one.id)));
        let lost = active.map(|(session, id)| (session.clone(), id.clone()));
        let lost: Vec<Member> = lost.filter(|one| !members.contains(one)).collect();
        for (session, connection) in lost {
            tracing::error!(%session, %connection, "kept without its RPC session, and evicted");
            // It was found a moment ago.
            let _ = self
                .domain
                .evict(&session, &connection, Reason::NetworkDisconnect);
        }
    }

    /// Has nothing wait that is to be taken off nodes that are not dialled yet: nobody hears of it. Answers the rest.
    fn remove_before(&mut self, removals: Removals) -> Removals {
        let mut rest = Removals::new();
        for (node, keys) in removals {
            match self.registry.node(&node) {
                Some(_) => drop(rest.insert(node, keys)),
                None => self.change_before(&node, keys.into_iter().map(Change::Remove).collect()),
            }
        }
        rest
    }

    /// Changes what is to be on a node that is not dialled yet.
    fn change_before(&mut self, node: &NodeId, changes: Vec<Change<Entry>>) {
        let Some(entries) = self.desired_before.get_mut(node) else {
            return;
        };
        for change in changes {
            match change {
                Change::Put(entry) => entries.insert(entry.key(), entry),
                Change::Remove(key) => entries.remove(&key),
            };
        }
    }

    /// What should be on a node when it is dialled first in this life of the master.
    pub fn desired_before(&mut self, node: &NodeId) -> DesiredState {
        let entries = self.desired_before.remove(node).unwrap_or_default();
        DesiredState::restored(0, entries.into_values())
    }

    /// Carries on what calls have given out so far.
    pub fn carry_outputs(&mut self, now: Instant) {
        while let Some(output) = self.domain.poll() {
            self.carry(output, now);
        }
    }

    /// The session's node; on its first use the one that [`Loads`] finds.
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
        let wanted = session.properties.media_node.clone();
        let hint = Hint {
            connections: session.properties.expected_connections,
            publishers: session.properties.expected_publishers,
        };
        let began = Instant::now();
        let placed = self.find_place(began, session_id, wanted.as_ref(), hint);
        let outcome = placed.as_ref().map_or_else(Unplaced::as_str, |_| "placed");
        self.metrics.placement(outcome, began.elapsed());
        match placed {
            Ok(node) => {
                let load = self.loads.view(began, &node).map(|view| view.load);
                let (load, of) = load.map_or((0.0, ""), |one| (one.ratio, one.component.as_str()));
                tracing::info!(session = %session_id, %node, load = format!("{load:.3}"), of, "session placed");
                self.domain.place(session_id, node.clone());
                self.reshape(session_id);
                Ok(node)
            }
            Err(error) => {
                let text = format!("Session '{session_id}' cannot be placed: {error}");
                tracing::warn!(session = %session_id, %error, "session cannot be placed");
                Err(Refused::new(Code::NoMediaNode, text))
            }
        }
    }

    /// What was placed before this life of the master.
    fn adopt_sessions(&mut self) {
        let lines = self.needs_media_lines();
        for session in self.domain.sessions() {
            let shape = session.shape(lines);
            self.sizes.is(&session.id, shape.connections);
            if let Some(node) = &session.node {
                self.loads.adopt(Instant::now(), &session.id, node, shape);
            }
        }
    }

    fn needs_media_lines(&self) -> bool {
        self.loads.strategy() == Strategy::MediaObjects
    }

    /// What happened to nodes since they were last looked at counts as well.
    fn find_place(
        &mut self,
        now: Instant,
        session: &SessionId,
        wanted: Option<&NodeId>,
        hint: Hint,
    ) -> Result<NodeId, Unplaced> {
        match self.loads.place(now, session, wanted, hint) {
            Ok(node) if self.takes_sessions(&node) => return Ok(node),
            Ok(_) | Err(Unplaced::NoneUp | Unplaced::WantedNotUp(_)) => {}
            Err(error) => return Err(error),
        }
        self.loads.unplace(session);
        self.look_at_loads(now);
        self.loads.place(now, session, wanted, hint)
    }

    fn takes_sessions(&self, node: &NodeId) -> bool {
        let node = self.registry.node(node);
        node.is_some_and(MediaNode::takes_sessions)
    }

    /// Whether a session has a node, or would get one now.
    ///
    /// # Errors
    /// Code 204 with the reason why not.
    pub fn could_place(&mut self, session: &SessionId) -> Result<(), Refused> {
        let Some(session) = self
            .domain
            .session(session)
            .filter(|one| one.node.is_none())
        else {
            return Ok(());
        };
        let (id, wanted) = (session.id.clone(), session.properties.media_node.clone());
        let now = Instant::now();
        let mut could = self.loads.could_place(now, wanted.as_ref());
        if let Err(Unplaced::NoneUp | Unplaced::WantedNotUp(_)) = could {
            self.look_at_loads(now);
            could = self.loads.could_place(now, wanted.as_ref());
        }
        could.map_err(|error| {
            self.metrics.placement_foreseen(error.as_str());
            let text = format!("Session '{id}' cannot be placed: {error}");
            Refused::new(Code::NoMediaNode, text)
        })
    }

    /// A node has refused a session for want of room. If nothing of it is there, and nobody wants it there, it is placed anew when
    /// its node is asked for next. Answers whether it may be tried again.
    pub fn node_is_full(&mut self, node: &NodeId, session: &SessionId) -> bool {
        self.loads.refused(Instant::now(), node);
        let Some(known) = self.domain.session(session) else {
            return false;
        };
        if known.node.as_ref() != Some(node) {
            // Another of its users was refused and has had it moved.
            return true;
        }
        if known.properties.media_node.is_some() || self.media.has_media(session) {
            return false;
        }
        tracing::info!(%session, %node, "the media node is full: the session goes elsewhere");
        self.metrics.placement_moved();
        self.loads.unplace(session);
        self.domain.unplace(session);
        true
    }

    /// A session has become larger or smaller.
    pub fn reshape(&mut self, session: &SessionId) {
        if let Some(known) = self.domain.session(session) {
            let shape = known.shape(self.needs_media_lines());
            self.sizes.is(session, shape.connections);
            self.loads.reshape(Instant::now(), session, shape);
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
                self.reshape(&session);
                self.media.connection_gone(&session, &connection);
                let member = (session, connection);
                self.joins.gone(&member);
                match reason {
                    Reason::Disconnect => self.rpc.left(&member),
                    Reason::NetworkDisconnect => self.rpc.lost(&member),
                    _ => self.rpc.evicted(&member, now),
                }
            }
            Output::StreamGone { session, stream } => {
                self.media.stream_gone(&session, &stream);
                self.reshape(&session);
            }
            Output::SubscriptionGone {
                session,
                connection,
                stream,
            } => {
                self.media.subscription_gone(&session, &connection, &stream);
                self.reshape(&session);
            }
            Output::SpeakerChanged {
                session,
                connection,
                stream,
            } => tracing::debug!(%session, %connection, %stream, "somebody else speaks"),
            Output::Event(event) => self.event(&Event::Session(*event)),
            Output::SessionGone { session, .. } => {
                tracing::info!(%session, "session gone");
                if let Some(people) = self.sizes.over(&session) {
                    self.metrics.session_over(people);
                }
                // Another one of that name may be there already.
                if self.domain.session(&session).is_none() {
                    self.learn(&session);
                }
            }
        }
    }

    /// A session is over: the next one of its name is placed by what this one became.
    fn learn(&mut self, session: &SessionId) {
        let Some((ended, learned)) = self.loads.over(session) else {
            return;
        };
        for (source, ratio) in ended.ratios() {
            self.metrics.prediction(source, ratio);
        }
        if let Some(learned) = learned {
            load::kept::keep(&mut self.batch, session, learned);
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
        self.tend_nodes(now, crashed_after);
        self.look_at_loads(now);
        true
    }

    /// Who takes sessions now.
    pub fn look_at_loads(&mut self, now: Instant) {
        let nodes = self.registry.nodes().iter();
        let nodes = nodes.map(|node| (&node.id, node.takes_sessions()));
        self.loads.look(now, nodes);
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
                expected_connections: None,
                expected_publishers: None,
                forced_video_codec: "NONE".to_owned(),
                allow_transcoding: false,
                limits: crate::domain::Limits::default(),
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
