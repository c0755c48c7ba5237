//! The file: opened, checked, brought to the present form, and read.

use std::collections::HashMap;
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, OptionalExtension as _, params};

use super::{Row, Table};

/// The name of the file in the data directory.
pub const FILE: &str = "master.db";
/// Who has it locked is the master.
const LOCK: &str = "master.lock";
/// Tells our files from those of other programs: "Ring".
const APPLICATION: i64 = 0x5269_6e67;
/// How long somebody who looks into the file may hold it up.
const BUSY: Duration = Duration::from_secs(1);

/// The steps that made the present form, oldest first: one for each version of it.
const MIGRATIONS: [&str; 2] = [
    "
    CREATE TABLE sessions      (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
    CREATE TABLE connections   (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
    CREATE TABLE rpc_sessions  (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
    CREATE TABLE notices       (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
    CREATE TABLE publications  (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
    CREATE TABLE subscriptions (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
    CREATE TABLE desired       (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
    CREATE TABLE nodes         (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
    CREATE TABLE events        (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
    CREATE TABLE facts         (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
    CREATE TABLE counters      (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
",
    "
    CREATE TABLE history       (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
",
];

/// Why there is no state to work with.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The directory or the lock.
    #[error("state {}: {source}", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Two masters would overwrite each other.
    #[error(
        "state {}: another ringcast-master uses this data directory; stop it, or give this one a directory of its own (data_dir)",
        path.display()
    )]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// SQLite says no.
    #[error("state {}: {what}: {source}", path.display())]
    Sqlite {
        /// The file.
        path: PathBuf,
        /// What was attempted.
        what: &'static str,
        /// Why.
        source: rusqlite::Error,
    },
    /// It is no longer what was written.
    #[error(
        "state {}: the file is damaged ({found}); restore a copy, or move it (and {}-wal) away to begin with no sessions",
        path.display(), path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What SQLite found.
        found: String,
    },
    /// Something else has that name.
    #[error("state {}: not a file of ringcast-master", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// A later program has written it.
    #[error(
        "state {}: written by a later ringcast-master (form {found}, this one knows {known}); start that one",
        path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its form.
        found: i64,
        /// Ours.
        known: i64,
    },
    /// The disk takes nothing.
    #[error("state: {0}")]
    Unwritten(super::Unwritten),
    /// A row is not what we write.
    #[error("state: {table:?} '{key}': {why}")]
    Row {
        /// Its table.
        table: Table,
        /// Its key.
        key: String,
        /// What is wrong with it.
        why: String,
    },
}

/// The open file, and the lock that keeps others away from it.
pub(super) struct Database {
    pub(super) connection: Connection,
    path: PathBuf,
    _lock: Option<File>,
}

impl Database {
    /// Opens the file in that directory, or makes it.
    pub(super) fn open(dir: &Path) -> Result<Self, Error> {
        let io = |path: &Path| {
            let path = path.to_path_buf();
            move |source| Error::Io { path, source }
        };
        std::fs::create_dir_all(dir).map_err(io(dir))?;
        let lock_path = dir.join(LOCK);
        let lock = File::create(&lock_path).map_err(io(&lock_path))?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => Error::InUse {
                path: dir.to_path_buf(),
            },
            TryLockError::Error(source) => Error::Io {
                path: lock_path.clone(),
                source,
            },
        })?;
        let path = dir.join(FILE);
        keep_private(&path).map_err(io(&path))?;
        let connection = Connection::open(&path).map_err(|source| Error::Sqlite {
            path: path.clone(),
            what: "open",
            source,
        })?;
        let mut database = Self {
            connection,
            path,
            _lock: Some(lock),
        };
        database.prepare()?;
        Ok(database)
    }

    /// One that is gone with the process.
    pub(super) fn in_memory() -> Result<Self, Error> {
        let path = PathBuf::from(":memory:");
        let connection = Connection::open_in_memory().map_err(|source| Error::Sqlite {
            path: path.clone(),
            what: "open",
            source,
        })?;
        let mut database = Self {
            connection,
            path,
            _lock: None,
        };
        database.prepare()?;
        Ok(database)
    }

    fn prepare(&mut self) -> Result<(), Error> {
        let path = self.path.clone();
        let failed = |what| {
            let path = path.clone();
            move |source| error(path, what, source)
        };
        let db = &mut self.connection;
        db.busy_timeout(BUSY).map_err(failed("set up"))?;
        let found: String = db
            .query_row("PRAGMA quick_check(1)", [], |row| row.get(0))
            .map_err(failed("check"))?;
        if found != "ok" {
            return Err(Error::Damaged { path, found });
        }
        // A commit is on the disk when it returns; what is written meanwhile goes to the log beside the file.
        db.pragma_update(None, "journal_mode", "WAL")
            .and_then(|()| db.pragma_update(None, "synchronous", "FULL"))
            .and_then(|()| db.pragma_update(None, "journal_size_limit", 64 << 20))
            .map_err(failed("set up"))?;
        let application: i64 = db
            .pragma_query_value(None, "application_id", |row| row.get(0))
            .map_err(failed("read"))?;
        let version: i64 = db
            .pragma_query_value(None, "user_version", |row| row.get(0))
            .map_err(failed("read"))?;
        let tables: i64 = db
            .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
            .map_err(failed("read"))?;
        let known = MIGRATIONS.len() as i64;
        if application != APPLICATION && (application != 0 || tables > 0) {
            return Err(Error::Foreign { path });
        }
        if version > known {
            let found = version;
            return Err(Error::Newer { path, found, known });
        }
        let transaction = db.transaction().map_err(failed("migrate"))?;
        for migration in &MIGRATIONS[version as usize..] {
            transaction
                .execute_batch(migration)
                .map_err(failed("migrate"))?;
        }
        transaction
            .pragma_update(None, "application_id", APPLICATION)
            .and_then(|()| transaction.pragma_update(None, "user_version", known))
            .and_then(|()| transaction.commit())
            .map_err(failed("migrate"))
    }

    /// Everything in the file.
    pub(super) fn load(&self) -> Result<Loaded, Error> {
        let mut loaded = Loaded::default();
        for table in Table::ALL {
            // There may be very many of them, and nobody needs all at once.
            if table == Table::Events {
                continue;
            }
            let rows = rows_of(&self.connection, table)
                .map_err(|source| error(self.path.clone(), "read", source))?;
            loaded.tables.insert(table, rows);
        }
        Ok(loaded)
    }

    /// Writes rows, all of them or none.
    pub(super) fn write<'a>(
        &mut self,
        rows: impl Iterator<Item = (&'a (Table, String), &'a Option<String>)>,
    ) -> Result<(), rusqlite::Error> {
        let transaction = self.connection.transaction()?;
        for ((table, key), value) in rows {
            let name = table.name();
            match value {
                Some(value) => transaction
                    .prepare_cached(&format!(
                        "INSERT INTO {name} (key, value) VALUES (?1, ?2)
                         ON CONFLICT (key) DO UPDATE SET value = ?2"
                    ))?
                    .execute(params![key, value])?,
                None => transaction
                    .prepare_cached(&format!("DELETE FROM {name} WHERE key = ?1"))?
                    .execute(params![key])?,
            };
        }
        transaction.commit()
    }

    /// A second way in, for whoever reads more than fits into memory.
    pub(super) fn reader(&self) -> Reader {
        Reader {
            path: self.path.clone(),
            open: Arc::default(),
        }
    }
}

/// Reads the file beside the writer. Clones share what they read with.
#[derive(Clone, Debug)]
pub struct Reader {
    path: PathBuf,
    /// Opened when it is first needed.
    open: Arc<Mutex<Option<Connection>>>,
}

impl Reader {
    /// The first rows of a table behind the first key and before the second, at most `limit`, in the order of their keys. Blocks:
    /// not for async tasks.
    ///
    /// # Errors
    /// When the file can't be read.
    pub fn page(
        &self,
        table: Table,
        (after, before): (&str, &str),
        limit: usize,
    ) -> Result<Vec<(String, String)>, Error> {
        self.read(|db| {
            let name = table.name();
            let query = format!(
                "SELECT key, value FROM {name} WHERE key > ?1 AND key < ?2 ORDER BY key LIMIT ?3"
            );
            db.prepare_cached(&query)?
                .query_map(params![after, before, limit as i64], |row| {
                    Ok((row.get(0)?, row.get(1)?))
                })?
                .collect()
        })
    }

    /// How many rows a table has.
    ///
    /// # Errors
    /// When the file can't be read.
    pub fn count(&self, table: Table) -> Result<u64, Error> {
        let name = table.name();
        let count: Option<i64> = self.read(|db| {
            db.query_row(&format!("SELECT count(*) FROM {name}"), [], |row| {
                row.get(0)
            })
            .optional()
        })?;
        Ok(count.unwrap_or(0) as u64)
    }

    fn read<T>(
        &self,
        query: impl FnOnce(&Connection) -> Result<T, rusqlite::Error>,
    ) -> Result<T, Error> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let result = match &*open {
            Some(db) => query(db),
            None => {
                let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
                Connection::open_with_flags(&self.path, flags).and_then(|db| {
                    db.busy_timeout(BUSY)?;
                    query(open.insert(db))
                })
            }
        };
        result.map_err(|source| {
            // Whatever was wrong with the file, the next one looks at it anew.
            *open = None;
            error(self.path.clone(), "read", source)
        })
    }
}

/// Everything that was in the file at the start, but for events.
#[derive(Clone, Debug, Default)]
pub struct Loaded {
    tables: HashMap<Table, Vec<(String, String)>>,
}

impl Loaded {
    /// The rows of a table, in the order of their keys. They are gone from here then.
    pub fn take(&mut self, table: Table) -> Vec<(String, String)> {
        self.tables.remove(&table).unwrap_or_default()
    }

    /// The rows of a table, understood.
    ///
    /// # Errors
    /// [`Error::Row`] naming the first that can't be.
    pub fn parse<T: serde::de::DeserializeOwned>(
        &mut self,
        table: Table,
    ) -> Result<Vec<(String, T)>, Error> {
        let rows = self.take(table).into_iter();
        rows.map(|(key, text)| match serde_json::from_str(&text) {
            Ok(value) => Ok((key, value)),
            Err(error) => Err(Error::Row {
                table,
                key,
                why: error.to_string(),
            }),
        })
        .collect()
    }
}

impl Loaded {
    /// The same where keys have several parts, written as JSON.
    ///
    /// # Errors
    /// [`Error::Row`] naming the first that can't be.
    pub fn parse_keyed<K: serde::de::DeserializeOwned, V: serde::de::DeserializeOwned>(
        &mut self,
        table: Table,
    ) -> Result<Vec<(K, V)>, Error> {
        let rows = self.parse::<V>(table)?.into_iter();
        rows.map(|(text, value)| match serde_json::from_str(&text) {
            Ok(key) => Ok((key, value)),
            Err(error) => Err(Error::Row {
                table,
                key: text,
                why: error.to_string(),
            }),
        })
        .collect()
    }
}

fn rows_of(db: &Connection, table: Table) -> Result<Vec<(String, String)>, rusqlite::Error> {
    let name = table.name();
    db.prepare(&format!("SELECT key, value FROM {name} ORDER BY key"))?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect()
}

fn error(path: PathBuf, what: &'static str, source: rusqlite::Error) -> Error {
    use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
    match source.sqlite_error_code() {
        Some(DatabaseCorrupt) => Error::Damaged {
            path,
            found: source.to_string(),
        },
        Some(NotADatabase) => Error::Foreign { path },
        _ => Error::Sqlite { path, what, source },
    }
}

/// Tokens and passwords are in it: nobody else reads it.
fn keep_private(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt as _;
    std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(path)
        .map(drop)
}

impl Table {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::Sessions,
        Self::Connections,
        Self::RpcSessions,
        Self::Notices,
        Self::Publications,
        Self::Subscriptions,
        Self::Desired,
        Self::Nodes,
        Self::Events,
        Self::Facts,
        Self::Counters,
        Self::History,
    ];

    /// Its name in the file.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sessions => "sessions",
            Self::Connections => "connections",
            Self::RpcSessions => "rpc_sessions",
            Self::Notices => "notices",
            Self::Publications => "publications",
            Self::Subscriptions => "subscriptions",
            Self::Desired => "desired",
            Self::Nodes => "nodes",
            Self::Events => "events",
            Self::Facts => "facts",
            Self::Counters => "counters",
            Self::History => "history",
        }
    }
}

impl Row {
    /// What it is about, and what is there from now on.
    pub(super) fn into_parts(self) -> ((Table, String), Option<String>) {
        match self {
            Self::Put(table, key, value) => ((table, key), Some(value)),
            Self::Remove(table, key) => ((table, key), None),
        }
    }
}
