//! Reading the configuration again while the node runs (SIGHUP): what may change then, and that an error changes nothing.

use link::quic::Credentials;
use logs::Logs;
use toml::{Table, Value};

use crate::capacity::{self, Capacity, Cost};
use crate::check_host::{Host, SystemProbes};
use crate::config::{Config, Sources};
use crate::daemon;

/// The keys that take effect at once, and sections all of whose keys do.
const LIVE: [&str; 8] = [
    "link.pki",
    "link.ca",
    "link.certificate",
    "link.key",
    "limits.",
    "admin.open",
    "log.level",
    "shutdown.drain",
];

/// What was found out at the start and is not found out again.
pub struct Reloader {
    sources: Sources,
    /// What is in effect.
    current: Config,
    logs: Logs,
    /// What a packet costs, if it was measured.
    measured: Option<Result<Cost, String>>,
    capacity: Capacity,
}

/// What changes, all of it good.
pub struct Fresh {
    /// Who we are, by the files of now.
    pub credentials: Credentials,
    /// What the node takes.
    pub capacity: Capacity,
    /// The configuration in effect.
    pub config: Config,
    /// The keys that changed and take effect now, and those that take effect at the next start.
    pub changed: (Vec<String>, Vec<String>),
}

impl Reloader {
    /// Of what the node was started with.
    pub fn new(
        sources: Sources,
        current: Config,
        logs: Logs,
        measured: Option<Result<Cost, String>>,
        capacity: Capacity,
    ) -> Self {
        Self {
            sources,
            current,
            logs,
            measured,
            capacity,
        }
    }

    /// How long calls may go on when the node is to end.
    pub fn drain(&self) -> std::time::Duration {
        self.current.shutdown.drain.0
    }

    /// The log.
    pub fn logs(&self) -> &Logs {
        &self.logs
    }

    /// Reads everything again.
    ///
    /// # Errors
    /// What is wrong, in words. Then nothing has changed.
    pub fn read(&self) -> Result<Fresh, String> {
        let mistakes = self.sources.mistakes();
        if !mistakes.is_empty() {
            return Err(mistakes.join("; "));
        }
        let wanted = self.sources.load().map_err(|error| error.to_string())?;
        let (config, changed) = merged(&self.current, &wanted);
        let credentials = daemon::credentials(&config).map_err(|error| error.to_string())?;
        let capacity = match config.limits == self.current.limits {
            true => self.capacity,
            false => self.assess(&config),
        };
        Ok(Fresh {
            credentials,
            capacity,
            config,
            changed,
        })
    }

    /// This is in effect from now on.
    pub fn commit(&mut self, fresh: Fresh) {
        // It was tried when the configuration was checked.
        let _ = self.logs.set_level(&fresh.config.log.level);
        self.capacity = fresh.capacity;
        self.current = fresh.config;
    }

    /// What was not measured at the start is not measured beside calls: then it stays as it is.
    fn assess(&self, config: &Config) -> Capacity {
        let host = Host::new("/", &SystemProbes);
        let measured = || {
            let unknown = || Err("it was not measured at the start".to_owned());
            self.measured.clone().unwrap_or_else(unknown)
        };
        let (mut capacity, told) = capacity::assess(config, &host, measured);
        if config.limits.packets_per_second.is_none() && self.measured.is_none() {
            capacity.packets_per_second = self.capacity.packets_per_second;
        }
        tracing::info!("limits: {told}");
        capacity
    }
}

/// What is in effect when `wanted` has been read: what may change, changed. And the keys that differ: those, and the others.
fn merged(current: &Config, wanted: &Config) -> (Config, (Vec<String>, Vec<String>)) {
    let (now, then) = (tabled(current), tabled(wanted));
    let keys = crate::config::leaves(&now)
        .into_iter()
        .chain(crate::config::leaves(&then))
        .map(|(key, _)| key);
    let mut changed: Vec<String> = keys.filter(|key| at(&now, key) != at(&then, key)).collect();
    changed.sort();
    changed.dedup();
    let changed = changed.into_iter().partition(|key| is_live(key));
    let mut config = current.clone();
    config.link.pki.clone_from(&wanted.link.pki);
    config.link.ca.clone_from(&wanted.link.ca);
    config.link.certificate.clone_from(&wanted.link.certificate);
    config.link.key.clone_from(&wanted.link.key);
    config.limits.clone_from(&wanted.limits);
    config.admin.open = wanted.admin.open;
    config.log.level.clone_from(&wanted.log.level);
    config.shutdown.clone_from(&wanted.shutdown);
    (config, changed)
}

fn is_live(key: &str) -> bool {
    LIVE.iter().any(|live| match live.ends_with('.') {
        true => key.starts_with(live),
        false => key == *live,
    })
}

fn tabled(config: &Config) -> Table {
    // A configuration is made of strings, numbers and lists.
    config.to_toml().parse().unwrap_or_default()
}

fn at<'a>(table: &'a Table, key: &str) -> Option<&'a Value> {
    match key.split_once('.') {
        Some((section, rest)) => at(table.get(section)?.as_table()?, rest),
        None => table.get(key),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> Config {
        let text = format!("media.advertise = ['192.0.2.1']\n{text}");
        Config::load(None, text.parse().expect("TOML")).expect("good")
    }

    #[test]
    fn what_may_change_changes_and_the_rest_waits_for_the_next_start() {
        let old = config("media.base_port = 1000\nlimits.memory = '1GiB'");
        let new = config(
            "media.base_port = 2000\nlimits.packets_per_second = 5000\nadmin.open = true\nlog.level = 'debug'\nshutdown.drain = '5s'\n\
             link = { pki = 'other', certificate = 'c.pem' }\nengine.pacing = false",
        );
        let (merged, (live, later)) = merged(&old, &new);
        assert_eq!(
            live,
            [
                "admin.open",
                "limits.memory",
                "limits.packets_per_second",
                "link.certificate",
                "link.pki",
                "log.level",
                "shutdown.drain"
            ]
        );
        assert_eq!(later, ["engine.pacing", "media.base_port"]);
        assert_eq!(merged.media, old.media);
        assert_eq!(merged.engine, old.engine);
        assert_eq!(merged.limits, new.limits);
        assert_eq!(merged.link, new.link);
        assert!(merged.admin.open && merged.log.level == "debug");
        assert_eq!(merged.shutdown, new.shutdown);
    }

    #[test]
    fn every_key_that_may_change_does() {
        // A key on the list that `merged` forgets would be called changed and stay as it is.
        let old = config("");
        let changes = [
            "link.pki = 'x'",
            "link.ca = 'x'",
            "link.certificate = 'x'",
            "link.key = 'x'",
            "limits.memory = '1GiB'",
            "admin.open = true",
            "log.level = 'warn'",
            "shutdown.drain = '1s'",
        ];
        assert_eq!(changes.len(), LIVE.len());
        for change in changes {
            let new = config(change);
            let (merged, (live, later)) = merged(&old, &new);
            assert_eq!((live.len(), later.len()), (1, 0), "{change}");
            assert_eq!(merged, new, "{change}");
        }
    }
}
