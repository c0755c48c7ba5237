//! Reading configuration and certificates again while the master runs (SIGHUP). An error in them changes nothing.

use link::quic::Credentials;
use link::quic::master::Dialer;
use logs::{AuditFile, Logs};
use tokio::sync::watch;

use crate::app::App;
use crate::audit;
use crate::config::{Merged, Sources};
use crate::nodes::dialling;
use crate::server::Front;
use crate::tls;
use crate::webhook::{Endpoint, Webhook};

/// Everything that can be changed, beside what [`App`] holds itself.
pub struct Reloader {
    /// Where the configuration is read.
    pub sources: Sources,
    /// The log.
    pub logs: Logs,
    /// The listener for browsers and applications.
    pub front: watch::Sender<Front>,
    /// Where events go; none: nowhere.
    pub webhook: Option<Webhook>,
    /// From where nodes are dialled; none: there are none.
    pub dialer: Option<Dialer>,
}

/// What changes, all of it good.
struct Fresh {
    merged: Merged,
    front: Front,
    endpoint: Option<Endpoint>,
    credentials: Option<Credentials>,
    audit: Option<AuditFile>,
}

impl Reloader {
    /// Reads everything again, and says in the log what became of it.
    pub fn reload(&self, app: &App) {
        let outcome = self.read(app).and_then(|fresh| self.commit(app, fresh));
        app.metrics.reloaded(outcome.is_ok());
        match outcome {
            Ok(()) => {
                tracing::info!(target: logs::AUDIT, what = "reload", outcome = "ok", "audit");
            }
            Err(error) => {
                let why = crate::cli::in_words(&error);
                tracing::error!(%why, "not read again: everything stays as it was");
                tracing::info!(target: logs::AUDIT, what = "reload", outcome = "failed", "audit");
            }
        }
    }

    fn read(&self, app: &App) -> anyhow::Result<Fresh> {
        let mistakes = self.sources.mistakes();
        if !mistakes.is_empty() {
            anyhow::bail!("{}", mistakes.join("; "));
        }
        let wanted = self.sources.load()?;
        let merged = app.config().merged(&wanted);
        let config = &merged.config;
        if let Some(mistake) = config.mistakes().into_iter().next() {
            return Err(mistake.into());
        }
        let front = Front::of(config)?;
        let audit = audit::file(config)?;
        let endpoint = match &self.webhook {
            Some(_) => Some(Endpoint::new(config)?),
            None => None,
        };
        let credentials = match &self.dialer {
            Some(_) => Some(dialling::credentials(config)?),
            None => None,
        };
        Ok(Fresh {
            merged,
            front,
            endpoint,
            credentials,
            audit,
        })
    }

    /// What can fail comes first.
    fn commit(&self, app: &App, fresh: Fresh) -> anyhow::Result<()> {
        let Merged { config, now, later } = fresh.merged;
        if let (Some(dialer), Some(credentials)) = (&self.dialer, &fresh.credentials) {
            dialer.renew(credentials)?;
            dialling::tell_expiry(&app.metrics, credentials);
        }
        app.metrics.certificate("https", tls::expiry(&config));
        // Whoever shakes hands from now on.
        self.front.send_replace(fresh.front);
        if let (Some(webhook), Some(endpoint)) = (&self.webhook, fresh.endpoint) {
            webhook.set(endpoint);
        }
        // It was tried when the configuration was checked.
        let _ = self.logs.set_level(&config.log_level);
        // Under its name there may be another one by now: whoever moved the old one away wants that.
        self.logs.audit_to(fresh.audit);
        app.reconfigure(config);
        for key in now {
            tracing::info!(key, "changed: in effect from now on");
        }
        for key in later {
            tracing::warn!(key, "changed: takes effect at the next start");
        }
        tracing::info!("configuration and certificates read again");
        Ok(())
    }
}
