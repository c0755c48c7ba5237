//! How transports stand: what is wrong with one that does not work yet, or any more.
//!
//! The engine says what it sees of ICE and media, the handshakes what they lack; here both become one cause, which is reported,
//! counted, and logged once.

use super::*;
use crate::agent::local::TransportLine;

/// What an entry does on its transport.
fn hangs(entry: &Entry) -> Option<String> {
    match entry {
        Entry::Transport(_) => None,
        Entry::Publisher(publisher) => Some(format!("publishes {}", publisher.id)),
        Entry::Subscriber(subscriber) => Some(format!("receives {}", subscriber.publisher)),
    }
}

impl Node {
    /// The engine sees something else than before.
    pub(super) fn on_standing(
        &mut self,
        now: Instant,
        transport: api::TransportId,
        trouble: Option<api::Trouble>,
    ) {
        if let Some(found) = self.find_mut(transport) {
            found.seen = trouble;
            self.reconsider(now, transport);
        }
    }

    /// What is wrong with a transport may be something else by now.
    pub(super) fn reconsider(&mut self, now: Instant, transport: api::TransportId) {
        let Some(found) = self.find(transport).filter(|found| !found.is_closed()) else {
            return;
        };
        let is_connected = matches!(found.state, TransportState::Connected { .. });
        let seen = match found.seen {
            // The keys are on their way to the engine.
            Some(api::Trouble::NoKeys) if is_connected => None,
            seen => seen,
        };
        let progress = self.handshakes.progress(transport);
        let cause = seen.map(|seen| translate::cause(seen, progress));
        let trouble = match &found.refused {
            Some((_, limit)) => Some(Trouble {
                cause: Cause::Refused,
                detail: Some(limit.clone()),
            }),
            None => cause.map(Trouble::from),
        };
        self.set_trouble(now, transport, trouble);
    }

    /// A transport is in another state, and what was wrong with it is over.
    pub(super) fn set_state(
        &mut self,
        now: Instant,
        transport: api::TransportId,
        state: TransportState,
    ) {
        self.count_troubled(transport, -1);
        let since = self.millis(now);
        let Some(found) = self.find_mut(transport) else {
            return;
        };
        found.state = state;
        found.since = since;
        found.seen = None;
        found.trouble = None;
        self.report_on(transport);
    }

    /// A transport has ended, for that.
    fn close_troubled(
        &mut self,
        now: Instant,
        transport: api::TransportId,
        reason: CloseReason,
        trouble: Option<Trouble>,
    ) {
        let before = self.find(transport).and_then(|found| found.trouble.clone());
        self.count_troubled(transport, -1);
        let since = self.millis(now);
        let Some(found) = self.find_mut(transport) else {
            return;
        };
        found.state = TransportState::Closed { reason };
        found.since = since;
        found.trouble.clone_from(&trouble);
        let cause = trouble.as_ref().map(|trouble| trouble.cause);
        if let Some(cause) = cause
            && before.map(|before| before.cause) != Some(cause)
        {
            *self.counters.troubles.entry(cause.label()).or_default() += 1;
        }
        if let Some(trouble) = trouble.filter(|trouble| trouble.cause.is_failure()) {
            self.log_trouble(now, transport, &trouble);
        }
        self.report_on(transport);
    }

    /// An entry on a transport was refused for that, or is gone.
    pub(super) fn note_refusal(&mut self, now: Instant, entry: &Entry, limit: Option<&str>) {
        let key = entry.key();
        let Some(found) = transport_of(entry).and_then(|name| self.transports.get_mut(name)) else {
            return;
        };
        match limit {
            Some(limit) => found.refused = Some((key, limit.to_owned())),
            None if found.refused.as_ref().is_some_and(|(of, _)| *of == key) => {
                found.refused = None;
            }
            None => return,
        }
        let id = found.id;
        self.reconsider(now, id);
    }

    /// Why no address of a peer was proven.
    pub(super) fn why_unreached(&self, transport: api::TransportId) -> Cause {
        let seen = self.find(transport).and_then(|found| found.seen);
        let progress = self.handshakes.progress(transport);
        translate::cause(seen.unwrap_or(api::Trouble::NoCheck), progress)
    }

    /// Ends a transport on our side.
    pub(super) fn close(
        &mut self,
        now: Instant,
        transport: api::TransportId,
        reason: CloseReason,
        trouble: Option<Trouble>,
    ) {
        let Some(found) = self.find(transport).filter(|found| !found.is_closed()) else {
            return;
        };
        let worker = found.worker;
        for deed in self.handshakes.remove(now, transport) {
            if let Deed::Send(datagram) = deed {
                self.order(
                    worker,
                    Command::SendDtls {
                        transport,
                        datagram,
                    },
                );
            }
        }
        self.order(worker, Command::RemoveTransport(transport));
        self.closed(now, transport, reason, trouble);
    }

    /// A transport has ended.
    pub(super) fn closed(
        &mut self,
        now: Instant,
        transport: api::TransportId,
        reason: CloseReason,
        trouble: Option<Trouble>,
    ) {
        if self.find(transport).is_none_or(Transport::is_closed) {
            return;
        }
        self.close_troubled(now, transport, reason, trouble);
        self.peers.on_closed(transport);
        let Some(name) = self.names.remove(&transport) else {
            return;
        };
        *self
            .counters
            .closed
            .entry(translate::reason_label(reason))
            .or_default() += 1;
        tracing::debug!(transport = %name, ?reason, "transport closed");
        self.displace_all_on(&name);
        if let Some(found) = self.transports.get(&name) {
            self.placement.give_back(&found.session, &found.connection);
            self.ufrags.remove(&found.ufrag);
        }
    }

    pub(super) fn report(&mut self, name: &state::TransportId) {
        if let Some(transport) = self.transports.get(name) {
            self.reported.put(Report::Transport(TransportReport {
                id: name.clone(),
                worker: transport.worker,
                addresses: self.addresses[usize::from(transport.worker)].clone(),
                state: transport.state.clone(),
                since: Some(transport.since),
                trouble: transport.trouble.clone(),
            }));
        }
    }

    /// The worker that has a transport, and the name that it has there.
    pub fn place_of(&self, name: &str) -> Option<(u16, api::TransportId)> {
        let found = self.transports.get(&state::TransportId::new(name))?;
        (!found.is_closed()).then_some((found.worker, found.id))
    }

    /// Where browsers reach a worker.
    pub fn address_of(&self, worker: u16) -> Option<SocketAddr> {
        self.addresses.get(usize::from(worker))?.first().copied()
    }

    /// Every transport that is not closed, for people, in the order of sessions.
    pub fn list(&self) -> Vec<TransportLine> {
        let living = self.transports.iter().filter(|(_, one)| !one.is_closed());
        let line = |(name, one): (&state::TransportId, &Transport)| {
            let streams = self.hanging.get(name).into_iter().flatten();
            let streams: Vec<_> = streams.filter_map(|entry| hangs(entry)).collect();
            let trouble = one.trouble.as_ref();
            TransportLine {
                transport: name.to_string(),
                session: one.session.to_string(),
                connection: one.connection.to_string(),
                streams: streams.join(", "),
                state: match one.state {
                    TransportState::New => "new",
                    TransportState::Connecting => "connecting",
                    TransportState::Connected { .. } => "connected",
                    TransportState::Closed { .. } => "closed",
                }
                .into(),
                cause: trouble.map_or("", |trouble| trouble.cause.as_str()).into(),
            }
        };
        let mut lines: Vec<_> = living.map(line).collect();
        lines.sort_by(|one, other| {
            let key = |line: &TransportLine| (line.connection.clone(), line.transport.clone());
            key(one).cmp(&key(other))
        });
        lines
    }

    pub(super) fn millis(&self, now: Instant) -> u64 {
        self.millis_at_zero.saturating_add(now.as_millis())
    }

    fn set_trouble(&mut self, now: Instant, transport: api::TransportId, trouble: Option<Trouble>) {
        if self
            .find(transport)
            .is_none_or(|found| found.trouble == trouble)
        {
            return;
        }
        self.count_troubled(transport, -1);
        let since = self.millis(now);
        let Some(found) = self.find_mut(transport) else {
            return;
        };
        found.trouble.clone_from(&trouble);
        found.since = since;
        self.count_troubled(transport, 1);
        match trouble {
            Some(trouble) => {
                let counted = &mut self.counters.troubles;
                *counted.entry(trouble.cause.label()).or_default() += 1;
                self.log_trouble(now, transport, &trouble);
            }
            None => {
                let name = self.names.get(&transport);
                tracing::debug!(transport = name.map(ToString::to_string), "works again");
            }
        }
        self.report_on(transport);
    }

    /// Adds a transport in trouble to the gauge, or takes it off.
    fn count_troubled(&mut self, transport: api::TransportId, by: i64) {
        let trouble = self
            .find(transport)
            .and_then(|found| found.trouble.as_ref());
        if let Some(cause) = trouble.map(|trouble| trouble.cause) {
            let count = self.counters.troubled.entry(cause.label()).or_default();
            *count = count.saturating_add_signed(by);
        }
    }

    /// One line for each trouble of a transport, unless there are many at once: the master tells of those by session and stream.
    fn log_trouble(&mut self, now: Instant, transport: api::TransportId, trouble: &Trouble) {
        let Some(left_out) = self.told_trouble.pass(now) else {
            return;
        };
        let Some(found) = self.find(transport) else {
            return;
        };
        tracing::info!(
            transport = self.names.get(&transport).map(ToString::to_string),
            session = %found.session,
            connection = %found.connection,
            cause = trouble.cause.as_str(),
            detail = trouble.detail,
            closed = found.is_closed(),
            left_out,
            "{}", trouble.cause.what()
        );
    }

    fn find_mut(&mut self, transport: api::TransportId) -> Option<&mut Transport> {
        self.transports.get_mut(self.names.get(&transport)?)
    }

    fn report_on(&mut self, transport: api::TransportId) {
        if let Some(name) = self.names.get(&transport).cloned() {
            self.report(&name);
        }
    }
}
