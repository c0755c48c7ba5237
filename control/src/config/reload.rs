//! What of a configuration that was read again takes effect while the master runs.

use super::Config;

/// The keys that do.
const LIVE: [&str; 37] = [
    "secret",
    "secret_previous",
    "trusted_proxies",
    "wrong_secrets_per_address_rate",
    "token_lifetime",
    "pki_dir",
    "certificate",
    "private_key",
    "public_url",
    "video_simulcast",
    "forced_video_codec",
    "allow_transcoding",
    "video_max_recv_bandwidth",
    "video_min_recv_bandwidth",
    "video_max_send_bandwidth",
    "video_min_send_bandwidth",
    "ice_servers",
    "demo_page",
    "shutdown_deadline",
    "reconnect_grace",
    "node_silence",
    "node_answer_timeout",
    "sockets_max",
    "sockets_per_address_max",
    "sessions_max",
    "session_connections_max",
    "session_streams_max",
    "session_tokens_max",
    "connection_subscriptions_max",
    "joins_per_address_rate",
    "log_level",
    "audit_path",
    "webhook_endpoint",
    "webhook_headers",
    "webhook_allow_internal",
    "webhook_signature_secret",
    "webhook_ca",
];

/// What becomes of a configuration that was read again.
#[derive(Debug)]
pub struct Merged {
    /// What is in effect from now on.
    pub config: Config,
    /// The keys that changed and are in effect.
    pub now: Vec<&'static str>,
    /// The keys that changed and take effect at the next start.
    pub later: Vec<&'static str>,
}

impl Config {
    /// What is in effect when `wanted` was read: of ours, what may not change while the master runs.
    pub fn merged(&self, wanted: &Self) -> Merged {
        let is_live = |key: &&str| match *key {
            // Whether there is a webhook at all decides who is told of what is written down.
            "webhook_endpoint" => {
                self.webhook_endpoint.is_some() && wanted.webhook_endpoint.is_some()
            }
            key => LIVE.contains(&key),
        };
        let (now, later): (Vec<_>, Vec<_>) = self.differing(wanted).into_iter().partition(is_live);
        let mut config = self.clone();
        for key in &now {
            config.adopt(key, wanted);
        }
        Merged { config, now, later }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Settings;
    use super::*;

    fn config(toml: &str) -> Config {
        let settings: Settings = toml::from_str(toml).expect("known keys");
        Config::load(None, settings, |_| None).expect("good")
    }

    #[test]
    fn what_may_change_changes_and_the_rest_waits_for_the_next_start() {
        let old = config("secret = 'a'\nlisten = '127.0.0.1:1'\nlog_level = 'info'");
        let new =
            config("secret = 'b'\nlisten = '127.0.0.1:2'\nlog_level = 'debug'\nsessions_max = 5");
        let merged = old.merged(&new);
        assert_eq!(merged.now, ["secret", "sessions_max", "log_level"]);
        assert_eq!(merged.later, ["listen"]);
        assert_eq!(merged.config.secret.expose(), "b");
        assert_eq!(merged.config.listen, old.listen);
        assert_eq!(merged.config.bounds().sessions, 5);
        let same = old.merged(&old.clone());
        assert!(same.now.is_empty() && same.later.is_empty());
    }

    #[test]
    fn a_webhook_moves_but_does_not_begin_or_end() {
        let none = config("secret = 'a'");
        let some = |path: &str| {
            config(&format!(
                "secret = 'a'\nwebhook_endpoint = 'https://app.example/{path}'"
            ))
        };
        assert_eq!(some("x").merged(&some("y")).now, ["webhook_endpoint"]);
        for (old, new) in [(&none, &some("x")), (&some("x"), &none)] {
            let merged = old.merged(new);
            assert_eq!(merged.later, ["webhook_endpoint"]);
            assert_eq!(merged.config.webhook_endpoint, old.webhook_endpoint);
        }
    }

    #[test]
    fn every_key_of_the_list_is_one() {
        let command = <Settings as clap::Args>::augment_args(clap::Command::new("x"));
        let known: Vec<_> = command
            .get_arguments()
            .map(|one| one.get_id().to_string())
            .collect();
        for key in LIVE {
            assert!(
                known.iter().any(|one| one == key) || key == "ice_servers",
                "{key}"
            );
        }
    }
}
