//! What should be becomes what is: the entries of the master turned into orders for the workers, and their news into reports.
//!
//! Sans-IO: entries, news and time in; orders and reports out. It decides only what the master can't know: the worker, and
//! with it the port.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;

use clock::Instant;
use link::replica::Step;
use link::reported::ReportedState;
use link::state::{self, CloseReason, Entry, Refusal, Report, TransportReport, TransportState};
use link::statistics::StatisticsQuestion;
use link::{Cause, Trouble};
use sfu::api::{self, Command, Event};

use super::handshake::{Deed, Handshakes};
use super::link::Seldom;
use super::peers::Peers;
use super::statistics::Questions;
use super::taps::Taps;
use super::translate;
use super::voices::{self, Voices};
use crate::placement::{Limits, Place, Placement};

mod standing;

/// The state of everything on this node.
pub struct Node {
    /// Where browsers reach each worker.
    addresses: Vec<Vec<SocketAddr>>,
    placement: Placement,
    handshakes: Handshakes,
    /// Who is sent to by a socket of its own.
    pub peers: Peers,
    /// What the master is told.
    pub reported: ReportedState,
    /// What it asks about streams.
    pub questions: Questions,
    transports: HashMap<state::TransportId, Transport>,
    names: HashMap<api::TransportId, state::TransportId>,
    publishers: HashMap<state::PublisherId, Publisher>,
    subscribers: HashMap<state::SubscriberId, Subscriber>,
    /// What crosses between workers.
    taps: Taps,
    /// Who is heard.
    voices: Voices,
    /// Publishers and subscribers that should be, by their transport, whether it is there or not; in the order of their keys. Mostly
    /// there is one.
    hanging: HashMap<state::TransportId, Vec<Arc<Entry>>>,
    /// Our own ufrags, by which a first check finds its transport.
    ufrags: HashSet<String>,
    next_id: u64,
    /// Wall-clock time at `Instant::ZERO`, milliseconds since 1970.
    millis_at_zero: u64,
    /// Which troubles are logged.
    told_trouble: Seldom,
    orders: VecDeque<(u16, Command)>,
    /// Counted for metrics.
    pub counters: Counters,
}

/// What this part of the node counts.
#[derive(Clone, Debug, Default)]
pub struct Counters {
    /// Transports that ended, by reason.
    pub closed: BTreeMap<&'static str, u64>,
    /// Handshakes that ended, by result.
    pub handshakes: BTreeMap<&'static str, u64>,
    /// Entries refused.
    pub refusals: u64,
    /// Times that a transport came into trouble, by its cause.
    pub troubles: BTreeMap<&'static str, u64>,
    /// Transports in trouble that are not closed, by its cause.
    pub troubled: BTreeMap<&'static str, u64>,
}

struct Transport {
    id: api::TransportId,
    worker: u16,
    session: state::SessionId,
    connection: state::ConnectionId,
    ufrag: String,
    state: TransportState,
    /// Since when that is so, or its trouble: milliseconds since 1970.
    since: u64,
    /// What the engine last said of it.
    seen: Option<api::Trouble>,
    /// An entry on it that was refused, and why.
    refused: Option<(state::Key, String)>,
    trouble: Option<Trouble>,
}

/// A name that was mentioned, by the publisher itself or by a subscriber who waits for it.
struct Publisher {
    id: api::PublisherId,
    /// The worker that was told to have it, while it is there.
    on: Option<u16>,
    subscribers: usize,
}

struct Subscriber {
    id: api::SubscriberId,
    worker: u16,
    publisher: state::PublisherId,
}

impl Transport {
    fn is_closed(&self) -> bool {
        matches!(self.state, TransportState::Closed { .. })
    }
}

impl Node {
    /// A node without anything. `addresses` is one list per worker, best first.
    pub fn new(addresses: Vec<Vec<SocketAddr>>, limits: Limits, handshakes: Handshakes) -> Self {
        let workers = u16::try_from(addresses.len()).unwrap_or(u16::MAX);
        Self {
            addresses,
            placement: Placement::new(workers, limits),
            handshakes,
            peers: Peers::default(),
            reported: ReportedState::new(),
            questions: Questions::default(),
            transports: HashMap::new(),
            names: HashMap::new(),
            publishers: HashMap::new(),
            subscribers: HashMap::new(),
            taps: Taps::default(),
            voices: Voices::default(),
            hanging: HashMap::new(),
            ufrags: HashSet::new(),
            next_id: 0,
            millis_at_zero: 0,
            told_trouble: Seldom::default(),
            orders: VecDeque::new(),
            counters: Counters::default(),
        }
    }

    /// It was so late at `Instant::ZERO`, in milliseconds since 1970.
    #[must_use]
    pub fn with_clock(mut self, millis_at_zero: u64) -> Self {
        self.millis_at_zero = millis_at_zero;
        self
    }

    /// Carries out a difference between what should be and what is.
    pub fn on_step(&mut self, now: Instant, step: impl Into<Step<Arc<Entry>>>) {
        match step.into() {
            Step::Add(entry) => self.add(now, &entry),
            Step::Change { old, new } => match (&*old, &*new) {
                (Entry::Transport(old), Entry::Transport(new)) if is_same_association(old, new) => {
                    self.change_transport(now, old, new);
                }
                // What is sent and received is settled when it is added.
                _ => {
                    self.remove(now, &old);
                    self.add(now, &new);
                }
            },
            Step::Remove(entry) => self.remove(now, &entry),
        }
    }

    /// The master asks how streams are doing.
    pub fn ask(&mut self, question: &StatisticsQuestion) {
        let is_meant = |known: &&Transport| {
            let (session, connection) = (&question.session, &question.connection);
            !known.is_closed()
                && session.as_ref().is_none_or(|of| *of == known.session)
                && connection.as_ref().is_none_or(|of| *of == known.connection)
        };
        let meant = self.transports.values().filter(is_meant);
        let meant = meant.map(|known| (known.worker, known.id));
        self.questions.ask(question.number, meant);
    }

    /// Takes news of a worker.
    pub fn on_event(&mut self, now: Instant, event: Event) {
        match event {
            Event::Dtls {
                transport,
                from,
                datagram,
            } => {
                let deeds = self.handshakes.on_datagram(now, transport, from, &datagram);
                self.carry_out(now, transport, deeds);
                self.reconsider(now, transport);
            }
            Event::IceConnected(transport) => {
                if let Some(found) = self.find(transport)
                    && found.state == TransportState::New
                {
                    self.set_state(now, transport, TransportState::Connecting);
                }
            }
            Event::Standing { transport, trouble } => self.on_standing(now, transport, trouble),
            Event::PathSelected {
                transport,
                remote,
                local,
            } => {
                // One that was removed meanwhile needs no socket.
                if let Some(worker) = self
                    .find(transport)
                    .filter(|found| !found.is_closed())
                    .map(|found| found.worker)
                {
                    self.peers.on_path(worker, transport, remote, local);
                }
            }
            Event::Heard {
                publisher,
                activity,
            } => {
                let outcome = self.voices.on_activity(now, publisher, activity);
                self.hear(outcome);
            }
            Event::Closed { transport, reason } => {
                let (reason, cause) = match reason {
                    api::CloseReason::IceTimeout => {
                        (CloseReason::IceTimeout, self.why_unreached(transport))
                    }
                    api::CloseReason::ConsentLost => (CloseReason::ConsentLost, Cause::ConsentLost),
                };
                self.handshakes.remove(now, transport);
                self.closed(now, transport, reason, Some(cause.into()));
            }
            Event::Statistics { number, transports } => {
                let name = |id| self.names.get(&id);
                self.questions.on_told(number, transports, name);
            }
            // Whoever captures has taken these.
            Event::Captured { .. } | Event::CaptureEnded { .. } => {}
            Event::Refused { transport, why } => {
                // A transport that has just closed can't take what was on its way to it.
                if let Some(found) = self.find(transport)
                    && !found.is_closed()
                {
                    let name = self.names.get(&transport).map(ToString::to_string);
                    tracing::warn!(transport = name, why, "the engine refused an order");
                }
            }
        }
    }

    /// When [`on_timeout`](Self::on_timeout) is due.
    pub fn deadline(&self) -> Option<Instant> {
        let handshakes = self.handshakes.deadline();
        handshakes.into_iter().chain(self.voices.deadline()).min()
    }

    /// Does what is due.
    pub fn on_timeout(&mut self, now: Instant) {
        for (transport, deeds) in self.handshakes.on_timeout(now) {
            self.carry_out(now, transport, deeds);
        }
        while let Some(report) = self.voices.on_timeout(now) {
            self.reported.put(Report::Voice(report));
        }
    }

    /// The next order, and for which worker. To be delivered in this order.
    pub fn poll_order(&mut self) -> Option<(u16, Command)> {
        self.orders.pop_front()
    }

    /// The node stops: everybody is told, the peers included.
    pub fn stop(&mut self, now: Instant) {
        let all: Vec<api::TransportId> = self.names.keys().copied().collect();
        for transport in all {
            let trouble = Some(Cause::NodeStopped.into());
            self.close(now, transport, CloseReason::NodeStopped, trouble);
        }
    }

    /// Transports, publishers, subscribers.
    pub fn sizes(&self) -> (u32, u32, u32) {
        let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        let publishing = self
            .publishers
            .values()
            .filter(|one| one.on.is_some())
            .count();
        (
            self.placement.transports(),
            count(publishing),
            count(self.subscribers.len()),
        )
    }

    /// Who has what, and whether there is room.
    pub fn placement(&self) -> &Placement {
        &self.placement
    }

    /// Who has what, to be told what goes through the workers.
    pub fn placement_mut(&mut self) -> &mut Placement {
        &mut self.placement
    }

    /// The associations.
    pub fn handshakes(&self) -> &Handshakes {
        &self.handshakes
    }

    fn add(&mut self, now: Instant, entry: &Arc<Entry>) {
        let outcome = match &**entry {
            Entry::Transport(transport) => self.add_transport(now, transport),
            Entry::Publisher(_) | Entry::Subscriber(_) => {
                self.hang(entry);
                self.place(entry)
            }
        };
        match (outcome, &**entry) {
            (Err(limit), _) => self.refuse(now, entry, limit),
            (Ok(()), Entry::Transport(transport)) => self.place_all_on(now, &transport.id),
            (Ok(()), Entry::Publisher(_) | Entry::Subscriber(_)) => {}
        }
    }

    fn refuse(&mut self, now: Instant, entry: &Entry, limit: String) {
        let key = entry.key();
        tracing::warn!(entry = ?key, %limit, "refused");
        self.note_refusal(now, entry, Some(&limit));
        self.counters.refusals += 1;
        self.reported.put(Report::Refused(Refusal { key, limit }));
    }

    fn remove(&mut self, now: Instant, entry: &Entry) {
        let key = entry.key();
        self.unhang(entry);
        self.note_refusal(now, entry, None);
        match entry {
            Entry::Transport(transport) => {
                let known = self.transports.get(&transport.id).map(|known| known.id);
                if let Some(id) = known {
                    self.close(now, id, CloseReason::Removed, None);
                    self.transports.remove(&transport.id);
                }
            }
            Entry::Publisher(publisher) => self.remove_publisher(&publisher.id),
            Entry::Subscriber(subscriber) => self.remove_subscriber(&subscriber.id),
        }
        self.reported.remove(&key);
    }

    /// Remembers what should be on a transport.
    fn hang(&mut self, entry: &Arc<Entry>) {
        if let Some(transport) = transport_of(entry) {
            let hanging = self.hanging.entry(transport.clone()).or_default();
            let key = entry.key();
            match hanging.binary_search_by_key(&key, |known| known.key()) {
                Ok(known) => hanging[known] = Arc::clone(entry),
                Err(place) => {
                    hanging.reserve_exact(1);
                    hanging.insert(place, Arc::clone(entry));
                }
            }
        }
    }

    fn unhang(&mut self, entry: &Entry) {
        let Some(transport) = transport_of(entry) else {
            return;
        };
        if let Some(hanging) = self.hanging.get_mut(transport) {
            let key = entry.key();
            hanging.retain(|known| known.key() != key);
            if hanging.is_empty() {
                self.hanging.remove(transport);
            }
        }
    }

    /// Puts a publisher or subscriber on its transport.
    fn place(&mut self, entry: &Entry) -> Result<(), String> {
        match entry {
            Entry::Transport(_) => Ok(()),
            Entry::Publisher(publisher) => self.add_publisher(publisher),
            Entry::Subscriber(subscriber) => self.add_subscriber(subscriber),
        }
    }

    /// A transport is there: whatever was waiting for it, refused or left over from one of the same name, goes on it.
    fn place_all_on(&mut self, now: Instant, transport: &state::TransportId) {
        let waiting = self.hanging.get(transport).cloned().unwrap_or_default();
        for entry in waiting {
            let key = entry.key();
            match self.place(&entry) {
                Ok(()) => {
                    self.reported.remove(&key);
                }
                Err(limit) => self.refuse(now, &entry, limit),
            }
        }
    }

    /// A transport has ended, and everything on it with it; the worker knows.
    fn displace_all_on(&mut self, transport: &state::TransportId) {
        let hanging = self.hanging.get(transport).cloned().unwrap_or_default();
        for entry in hanging {
            match &*entry {
                Entry::Transport(_) => {}
                Entry::Publisher(publisher) => {
                    if let Some(known) = self.publishers.get_mut(&publisher.id)
                        && known.on.take().is_some()
                    {
                        let id = known.id;
                        let ended = self.taps.unpublished(id);
                        self.orders.extend(ended);
                        self.silence(id);
                    }
                    self.forget_unmentioned(&publisher.id);
                }
                Entry::Subscriber(subscriber) => {
                    self.take_subscriber(&subscriber.id);
                }
            }
        }
    }

    fn add_transport(&mut self, now: Instant, wanted: &state::Transport) -> Result<(), String> {
        let id = api::TransportId(self.fresh_id());
        let mut spec = translate::transport(id, wanted)?;
        let fingerprints = translate::fingerprints(&wanted.remote_fingerprints)?;
        let ufrag = &wanted.local_ice.ufrag;
        if self.ufrags.contains(ufrag) {
            return Err("another transport has the same ufrag".into());
        }
        let Place { worker, connection } = self
            .placement
            .take(&wanted.session, &wanted.connection)
            .map_err(|full| full.to_string())?;
        spec.connection = Some(connection);
        let transport = Transport {
            id,
            worker,
            session: wanted.session.clone(),
            connection: wanted.connection.clone(),
            ufrag: ufrag.clone(),
            state: TransportState::New,
            since: self.millis(now),
            seen: None,
            refused: None,
            trouble: None,
        };
        self.transports.insert(wanted.id.clone(), transport);
        self.names.insert(id, wanted.id.clone());
        self.ufrags.insert(ufrag.clone());
        self.order(worker, Command::AddTransport(Box::new(spec)));
        self.handshakes.add(id);
        self.handshakes.expect(now, id, fingerprints);
        self.report(&wanted.id);
        Ok(())
    }

    fn change_transport(&mut self, now: Instant, old: &state::Transport, new: &state::Transport) {
        let Some(known) = self
            .transports
            .get(&new.id)
            .filter(|known| !known.is_closed())
        else {
            return;
        };
        let (id, worker) = (known.id, known.worker);
        if old.local_ice != new.local_ice {
            self.restart_ice(new);
        } else if old.remote_ice != new.remote_ice
            && let Some(ice) = &new.remote_ice
        {
            match translate::credentials(ice) {
                Ok((ufrag, pwd)) => self.order(
                    worker,
                    Command::SetRemoteIce {
                        transport: id,
                        ufrag,
                        pwd,
                    },
                ),
                Err(why) => {
                    tracing::warn!(transport = %new.id, %why, "ignored what the peer is said to be")
                }
            }
        }
        if old.remote_fingerprints != new.remote_fingerprints {
            match translate::fingerprints(&new.remote_fingerprints) {
                Ok(fingerprints) => {
                    let deeds = self.handshakes.expect(now, id, fingerprints);
                    self.carry_out(now, id, deeds);
                }
                // Nobody can match it.
                Err(why) => {
                    tracing::warn!(transport = %new.id, %why, "closing");
                    let trouble = Trouble {
                        cause: Cause::FingerprintMismatch,
                        detail: Some(why),
                    };
                    let reason = CloseReason::FingerprintMismatch;
                    self.close(now, id, reason, Some(trouble));
                }
            }
        }
    }

    /// Both sides of a transport begin ICE anew. Should the order be impossible, the old way goes on.
    fn restart_ice(&mut self, new: &state::Transport) {
        let Some(known) = self.transports.get_mut(&new.id) else {
            return;
        };
        let remote = new.remote_ice.as_ref().map(translate::credentials);
        let local = translate::credentials(&new.local_ice);
        let (Ok(local), Some(Ok(remote))) = (local, remote) else {
            tracing::warn!(transport = %new.id, "ignored a restart of ICE without good credentials");
            return;
        };
        if !self.ufrags.insert(local.0.clone()) {
            tracing::warn!(transport = %new.id, "ignored a restart of ICE with another transport's ufrag");
            return;
        }
        let before = std::mem::replace(&mut known.ufrag, local.0.clone());
        self.ufrags.remove(&before);
        let (transport, worker) = (known.id, known.worker);
        let restart = api::IceRestart {
            transport,
            local,
            remote,
        };
        self.order(worker, Command::RestartIce(Box::new(restart)));
    }

    fn add_publisher(&mut self, wanted: &state::Publisher) -> Result<(), String> {
        let Some((transport, worker)) = self.living(&wanted.transport)? else {
            return Ok(());
        };
        let id = self.mention(&wanted.id);
        let spec = translate::publisher(id, transport, wanted);
        if let Some(publisher) = self.publishers.get_mut(&wanted.id) {
            publisher.on = spec.is_ok().then_some(worker);
        }
        match spec {
            Ok(spec) => {
                let ended = self.taps.unpublished(id);
                self.orders.extend(ended);
                self.silence(id);
                let session = self.transports.get(&wanted.transport);
                if let Some(session) = session.map(|transport| &transport.session)
                    && spec.media.iter().any(|one| one.kind == api::Kind::Audio)
                {
                    self.voices.add(id, &wanted.id, session);
                }
                let taps = self.taps.published(id, worker, &spec.media);
                self.order(worker, Command::AddPublisher(Box::new(spec)));
                self.orders.extend(taps);
            }
            Err(why) => {
                self.forget_unmentioned(&wanted.id);
                return Err(why);
            }
        }
        Ok(())
    }

    fn remove_publisher(&mut self, name: &state::PublisherId) {
        if let Some(publisher) = self.publishers.get_mut(name)
            && let Some(worker) = publisher.on.take()
        {
            let id = publisher.id;
            self.silence(id);
            let ended = self.taps.unpublished(id);
            self.orders.extend(ended);
            self.order(worker, Command::RemovePublisher(id));
        }
        self.forget_unmentioned(name);
    }

    fn add_subscriber(&mut self, wanted: &state::Subscriber) -> Result<(), String> {
        let Some((transport, worker)) = self.living(&wanted.transport)? else {
            return Ok(());
        };
        let id = api::SubscriberId(self.fresh_id());
        let publisher = self.mention(&wanted.publisher);
        let spec = match translate::subscriber(id, transport, publisher, wanted) {
            Ok(spec) => spec,
            Err(why) => {
                self.forget_unmentioned(&wanted.publisher);
                return Err(why);
            }
        };
        if let Some(publisher) = self.publishers.get_mut(&wanted.publisher) {
            publisher.subscribers += 1;
        }
        let subscriber = Subscriber {
            id,
            worker,
            publisher: wanted.publisher.clone(),
        };
        self.subscribers.insert(wanted.id.clone(), subscriber);
        self.order(worker, Command::AddSubscriber(Box::new(spec)));
        let taps = self.taps.subscribed(publisher, worker);
        self.orders.extend(taps);
        if self.voices.speaks(publisher) {
            let speaks = true;
            self.order(worker, Command::SetSpeaking { publisher, speaks });
        }
        Ok(())
    }

    fn remove_subscriber(&mut self, name: &state::SubscriberId) {
        if let Some(subscriber) = self.take_subscriber(name) {
            self.order(subscriber.worker, Command::RemoveSubscriber(subscriber.id));
        }
    }

    fn take_subscriber(&mut self, name: &state::SubscriberId) -> Option<Subscriber> {
        let subscriber = self.subscribers.remove(name)?;
        if let Some(publisher) = self.publishers.get_mut(&subscriber.publisher) {
            publisher.subscribers -= 1;
            let ended = self.taps.unsubscribed(publisher.id, subscriber.worker);
            self.orders.extend(ended);
        }
        self.forget_unmentioned(&subscriber.publisher);
        Some(subscriber)
    }

    /// A publisher is heard no more.
    fn silence(&mut self, publisher: api::PublisherId) {
        match self.voices.remove(publisher) {
            Ok(outcome) => self.hear(outcome),
            Err(session) => {
                self.reported.remove(&state::Key::Session(session));
            }
        }
    }

    /// What workers heard is told to the master, and who speaks to the workers where somebody gets that.
    fn hear(&mut self, outcome: voices::Outcome) {
        if let Some(report) = outcome.report {
            self.reported.put(Report::Voice(report));
        }
        let (before, after) = outcome.speaker.unwrap_or_default();
        let changed = [(before, false), (after, true)];
        for (publisher, speaks) in changed {
            let Some(publisher) = publisher else { continue };
            for worker in self.taps.listeners(publisher) {
                let order = Command::SetSpeaking { publisher, speaks };
                self.orders.push_back((worker, order));
            }
        }
    }

    /// The transport of this name: `None` if it has closed, an error if it was never there.
    fn living(&self, name: &state::TransportId) -> Result<Option<(api::TransportId, u16)>, String> {
        let known = self.transports.get(name);
        let known = known.ok_or_else(|| format!("its transport {name} is not there"))?;
        Ok((!known.is_closed()).then_some((known.id, known.worker)))
    }

    /// The id of a publisher, there or to come.
    fn mention(&mut self, name: &state::PublisherId) -> api::PublisherId {
        if let Some(publisher) = self.publishers.get(name) {
            return publisher.id;
        }
        let id = api::PublisherId(self.fresh_id());
        let publisher = Publisher {
            id,
            on: None,
            subscribers: 0,
        };
        self.publishers.insert(name.clone(), publisher);
        id
    }

    fn forget_unmentioned(&mut self, name: &state::PublisherId) {
        let unused = |publisher: &Publisher| publisher.on.is_none() && publisher.subscribers == 0;
        if self.publishers.get(name).is_some_and(unused) {
            self.publishers.remove(name);
        }
    }

    fn carry_out(&mut self, now: Instant, transport: api::TransportId, deeds: Vec<Deed>) {
        let Some(worker) = self.find(transport).map(|found| found.worker) else {
            return;
        };
        for deed in deeds {
            match deed {
                Deed::Send(datagram) => self.order(
                    worker,
                    Command::SendDtls {
                        transport,
                        datagram,
                    },
                ),
                Deed::KeysReady { keys, address } => {
                    let srtp_profile = keys.profile.name().into();
                    self.order(worker, Command::KeysReady { transport, keys });
                    self.order(worker, Command::DtlsCompleted { transport, address });
                    *self.counters.handshakes.entry("connected").or_default() += 1;
                    self.set_state(now, transport, TransportState::Connected { srtp_profile });
                }
                Deed::Closed(reason) => {
                    let trouble = translate::handshake_trouble(reason);
                    let (result, reason) = translate::close_reason(reason);
                    let was_connected = self.find(transport).is_some_and(|found| {
                        matches!(found.state, TransportState::Connected { .. })
                    });
                    if !was_connected {
                        *self.counters.handshakes.entry(result).or_default() += 1;
                    }
                    self.close(now, transport, reason, trouble);
                }
            }
        }
    }

    fn find(&self, transport: api::TransportId) -> Option<&Transport> {
        self.transports.get(self.names.get(&transport)?)
    }

    fn order(&mut self, worker: u16, command: Command) {
        self.orders.push_back((worker, command));
    }

    fn fresh_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    /// Everything, for whoever looks into a running node.
    pub fn debug(&self) -> serde_json::Value {
        let reports: Vec<&Report> = self.reported.reports().collect();
        serde_json::json!({
            "reports": reports,
            "publishers": self.publishers.iter().map(|(name, publisher)| serde_json::json!({
                "id": name, "worker": publisher.on, "subscribers": publisher.subscribers,
            })).collect::<Vec<_>>(),
            "subscribers": self.subscribers.iter().map(|(name, subscriber)| serde_json::json!({
                "id": name, "worker": subscriber.worker, "publisher": subscriber.publisher,
            })).collect::<Vec<_>>(),
        })
    }
}

/// What a peer may learn later, or change while it goes on: its own side. Ours changes by a restart of ICE, which both take part in and
/// which changes nothing else (RFC 8842 §4: another fingerprint is another association). The rest makes another association.
fn is_same_association(old: &state::Transport, new: &state::Transport) -> bool {
    let is_restart = new.remote_ice.is_some()
        && old.remote_ice != new.remote_ice
        && old.remote_fingerprints == new.remote_fingerprints;
    old.session == new.session
        && old.connection == new.connection
        && (old.local_ice == new.local_ice || is_restart)
}

/// The transport that an entry hangs on.
fn transport_of(entry: &Entry) -> Option<&state::TransportId> {
    match entry {
        Entry::Transport(_) => None,
        Entry::Publisher(publisher) => Some(&publisher.transport),
        Entry::Subscriber(subscriber) => Some(&subscriber.transport),
    }
}

#[cfg(test)]
mod tests;
