//! Calls as rows: what changed is written, and what was written is there again after a restart.
//!
//! Who is heard, and how good the networks of users are, is not kept: nodes tell it again.

use super::connection::Publication;
use super::{Connection, Domain, Session};
use crate::store::{Batch, Error, Kept, Loaded, Table};

/// How many lives of sessions there were, as a row.
const INCARNATIONS: &str = "incarnations";

impl Domain {
    /// Writes what changed since this was last asked.
    pub fn write(&mut self, batch: &mut Batch) {
        if !std::mem::replace(&mut self.is_counted, true) {
            batch.put(Table::Counters, INCARNATIONS, &self.incarnations);
        }
        for (table, key) in self.gone.drain(..) {
            batch.remove(table, key);
        }
        for id in self.sessions.take_touched() {
            let Some(session) = self.sessions.get_mut_unkept(&id) else {
                continue;
            };
            if std::mem::take(&mut session.is_changed) {
                batch.put(Table::Sessions, id.as_str(), session);
            }
            for number in session.connections.take_touched() {
                let key = key(session, number);
                match session.connections.get(&number) {
                    Some(connection) => batch.put(Table::Connections, key, connection),
                    None => batch.remove(Table::Connections, key),
                }
            }
        }
    }

    /// Everything is to be written again.
    #[cfg(test)]
    pub fn touch_all(&mut self) {
        self.is_counted = self.incarnations == 0;
        self.sessions.touch_all();
        let ids: Vec<_> = self.sessions.iter().map(|(id, _)| id.clone()).collect();
        for id in ids {
            if let Some(session) = self.sessions.get_mut_unkept(&id) {
                session.is_changed = true;
                session.connections.touch_all();
            }
        }
    }

    /// The calls of a predecessor. What it was asked for and had not answered is forgotten.
    ///
    /// # Errors
    /// [`Error::Row`] when a row is not what we write.
    pub fn restored(loaded: &mut Loaded) -> Result<Self, Error> {
        let mut domain = Self::new();
        let counters = loaded.parse::<u64>(Table::Counters)?;
        let counter = counters.iter().find(|(key, _)| key == INCARNATIONS);
        domain.is_counted = true;
        domain.incarnations = counter.map_or(0, |(_, count)| *count);
        let sessions = loaded.parse::<Session>(Table::Sessions)?.into_iter();
        domain.sessions = Kept::restored(sessions.map(|(_, one)| (one.id.clone(), one)));
        for (key, mut connection) in loaded.parse::<Connection>(Table::Connections)? {
            let bad = |why: &str| Error::Row {
                table: Table::Connections,
                key: key.clone(),
                why: why.to_owned(),
            };
            let (session, number) = key.rsplit_once('/').ok_or_else(|| bad("no number"))?;
            let number: u64 = number.parse().map_err(|_| bad("no number"))?;
            let id = super::SessionId::new(session);
            let session = domain.sessions.get_mut_unkept(&id);
            let session = session.ok_or_else(|| bad("its session is missing"))?;
            match &mut connection.presence {
                None => {
                    let of = (id, connection.id.clone());
                    domain.tokens.restore(connection.token.clone(), of);
                }
                Some(presence) => {
                    if matches!(presence.publication, Publication::Pending(_)) {
                        presence.publication = Publication::None;
                    }
                }
            }
            session.numbers.insert(connection.id.clone(), number);
            session.connections.restore(number, connection);
        }
        Ok(domain)
    }
}

/// The rows of a session, those of connections that have just left it too.
pub(super) fn rows(session: &mut Session) -> Vec<(Table, String)> {
    session.connections.touch_all();
    let numbers = session.connections.take_touched();
    let connections = numbers.map(|number| (Table::Connections, key(session, number)));
    let own = (Table::Sessions, session.id.to_string());
    connections.chain([own]).collect()
}

/// Of a connection. Numbers are never given twice in the life of a session.
fn key(session: &Session, number: u64) -> String {
    format!("{}/{number:012}", session.id)
}
