//! Who is an application: HTTP Basic with the user `OPENVIDUAPP` and the secret of the deployment, or the one before it.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use axum::http::{HeaderMap, header};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use subtle::{Choice, ConstantTimeEq as _};

use crate::api::limits::{Rate, counted_as};
use crate::config::{Config, Secret};

/// The user of every application.
pub const USER: &str = "OPENVIDUAPP";

/// For so long an address is known to be an application's since it last came with a right secret.
const KNOWN_FOR: Duration = Duration::from_secs(3600);

/// Whoever asks, with what result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It knows a secret.
    Right,
    /// It does not, or says none.
    Wrong,
    /// It has guessed too often lately.
    TooMany,
}

/// The door: what opens it, and who has tried to.
#[derive(Debug)]
pub struct Door {
    secrets: RwLock<Vec<Secret>>,
    guesses: Mutex<Guesses>,
}

#[derive(Debug)]
struct Guesses {
    wrong: Rate,
    /// Addresses from where a right secret came, and when last.
    known: HashMap<IpAddr, Instant>,
}

impl Door {
    /// Opens to the secrets of the configuration.
    pub fn new(config: &Config) -> Self {
        Self {
            secrets: RwLock::new(secrets(config)),
            guesses: Mutex::new(Guesses {
                wrong: Rate::new(config.wrong_secrets_per_address_rate),
                known: HashMap::new(),
            }),
        }
    }

    /// Opens to these secrets, and to them only, from now on.
    pub fn reconfigure(&self, config: &Config) {
        // Let go of at once: whoever judges holds the guesses and then looks at the secrets.
        *self.secrets.write().unwrap_or_else(PoisonError::into_inner) = secrets(config);
        let mut guesses = self.guesses.lock().unwrap_or_else(PoisonError::into_inner);
        guesses
            .wrong
            .set_rate(config.wrong_secrets_per_address_rate);
    }

    /// Judges a request by its `Authorization` (RFC 7617). Saying nothing is no guess.
    pub fn request(&self, headers: &HeaderMap, address: IpAddr, now: Instant) -> Verdict {
        match headers.get(header::AUTHORIZATION) {
            None => Verdict::Wrong,
            Some(_) => self.judge(address, now, || {
                let given = password(headers);
                given.is_some_and(|given| self.accepts(&given))
            }),
        }
    }

    /// Judges a bare secret.
    pub fn secret(&self, given: &str, address: IpAddr, now: Instant) -> Verdict {
        self.judge(address, now, || self.accepts(given))
    }

    /// From where nobody ever knew the secret, it is not even looked at after too many wrong ones: else guessing would cost nothing. From where
    /// an application came lately it is: whoever guesses from beside it can't lock it out.
    fn judge(&self, address: IpAddr, now: Instant, is_right: impl FnOnce() -> bool) -> Verdict {
        let address = counted_as(address);
        // What it guards is a table of counts and times, whole at every moment.
        let mut guesses = self.guesses.lock().unwrap_or_else(PoisonError::into_inner);
        let is_known = guesses.known.get(&address);
        let is_known = is_known.is_some_and(|at| now.saturating_duration_since(*at) < KNOWN_FOR);
        if !is_known && !guesses.wrong.has_left(address, now) {
            return Verdict::TooMany;
        }
        if is_right() {
            guesses.known.insert(address, now);
            return Verdict::Right;
        }
        match guesses.wrong.allows(address, now) {
            true => Verdict::Wrong,
            false => Verdict::TooMany,
        }
    }

    /// Compares with every secret, in a time that depends on the lengths only.
    fn accepts(&self, given: &str) -> bool {
        let same = |secret: &Secret| given.as_bytes().ct_eq(secret.expose().as_bytes());
        let secrets = self.secrets.read().unwrap_or_else(PoisonError::into_inner);
        let all = secrets.iter().map(same);
        all.fold(Choice::from(0), |any, one| any | one).into()
    }
}

fn secrets(config: &Config) -> Vec<Secret> {
    let secrets = [Some(&config.secret), config.secret_previous.as_ref()];
    secrets.into_iter().flatten().cloned().collect()
}

/// What `OPENVIDUAPP` says. Who comes under another name says nothing right.
fn password(headers: &HeaderMap) -> Option<String> {
    let (scheme, encoded) = headers
        .get(header::AUTHORIZATION)?
        .to_str()
        .ok()?
        .split_once(' ')?;
    let is_basic = scheme.eq_ignore_ascii_case("Basic");
    let decoded = is_basic.then(|| STANDARD.decode(encoded.trim()).ok())??;
    let text = String::from_utf8(decoded).ok()?;
    let (user, password) = text.split_once(':')?;
    (user == USER).then(|| password.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Settings;

    fn door(toml: &str) -> Door {
        let settings: Settings = toml::from_str(toml).expect("good");
        Door::new(&Config::load(None, settings, |_| None).expect("good"))
    }

    fn headers(text: &str) -> HeaderMap {
        let value = format!("Basic {}", STANDARD.encode(text));
        HeaderMap::from_iter([(header::AUTHORIZATION, value.parse().expect("good"))])
    }

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
    const THERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));

    #[test]
    fn only_the_right_user_and_secret_pass() {
        let door = door("secret = 'MY:SECRET'");
        let now = Instant::now();
        let check = |text: &str| door.request(&headers(text), HERE, now);
        assert_eq!(check("OPENVIDUAPP:MY:SECRET"), Verdict::Right);
        for wrong in [
            "OPENVIDUAPP:MY",
            "openviduapp:MY:SECRET",
            "MY:SECRET",
            "",
            "OPENVIDUAPP:",
        ] {
            assert_eq!(check(wrong), Verdict::Wrong, "{wrong}");
        }
        assert_eq!(door.request(&HeaderMap::new(), HERE, now), Verdict::Wrong);
    }

    #[test]
    fn both_secrets_pass_during_a_rotation() {
        let rotating = door("secret = 'new'\nsecret_previous = 'old'");
        let now = Instant::now();
        assert_eq!(rotating.secret("new", HERE, now), Verdict::Right);
        assert_eq!(rotating.secret("old", HERE, now), Verdict::Right);
        assert_eq!(rotating.secret("older", HERE, now), Verdict::Wrong);
        assert_eq!(rotating.secret("", HERE, now), Verdict::Wrong);
        assert_eq!(
            door("secret = 'new'").secret("old", HERE, now),
            Verdict::Wrong
        );
    }

    #[test]
    fn secrets_change_while_the_master_runs() {
        let door = door("secret = 'old'");
        let settings = toml::from_str("secret = 'new'\nsecret_previous = 'old'");
        let config = Config::load(None, settings.expect("good"), |_| None);
        let now = Instant::now();
        assert_eq!(door.secret("new", HERE, now), Verdict::Wrong);
        door.reconfigure(&config.expect("good"));
        assert_eq!(door.secret("new", HERE, now), Verdict::Right);
        assert_eq!(door.secret("old", HERE, now), Verdict::Right);
        door.reconfigure(
            &Config::load(
                None,
                toml::from_str("secret = 'new'").expect("good"),
                |_| None,
            )
            .expect("good"),
        );
        assert_eq!(door.secret("old", HERE, now), Verdict::Wrong);
    }

    #[test]
    fn secrets_change_while_others_are_judged() {
        let door = door("secret = 's'\nwrong_secrets_per_address_rate = 1");
        let config = Config::load(None, toml::from_str("secret = 's'").expect("good"), |_| {
            None
        });
        let config = config.expect("good");
        let (over, is_over) = std::sync::mpsc::channel();
        // A test that waits for ever would say nothing: these threads may outlive it.
        let door = std::sync::Arc::new(door);
        for is_judging in [true, false] {
            let (door, config, over) = (door.clone(), config.clone(), over.clone());
            std::thread::spawn(move || {
                for _ in 0..100_000 {
                    match is_judging {
                        true => drop(door.secret("s", HERE, Instant::now())),
                        false => door.reconfigure(&config),
                    }
                }
                over.send(()).expect("heard");
            });
        }
        for _ in 0..2 {
            let ended = is_over.recv_timeout(Duration::from_secs(20));
            ended.expect("neither waits for the other");
        }
    }

    #[test]
    fn guessing_is_slow_and_locks_out_nobody_else() {
        let door = door("secret = 's'\nwrong_secrets_per_address_rate = 1");
        let start = Instant::now();
        assert_eq!(door.secret("s", THERE, start), Verdict::Right);
        for address in [HERE, THERE] {
            let wrong = |_: &u32| door.secret("x", address, start) == Verdict::Wrong;
            assert_eq!((0..100).filter(wrong).count(), 10);
        }
        // Even the right one is not looked at, and where an application lives it is.
        assert_eq!(door.secret("s", HERE, start), Verdict::TooMany);
        assert_eq!(door.secret("s", THERE, start), Verdict::Right);
        assert_eq!(door.request(&HeaderMap::new(), HERE, start), Verdict::Wrong);
        let later = start + Duration::from_secs(1);
        assert_eq!(door.secret("s", HERE, later), Verdict::Right);
        // Whoever was an application long ago is none.
        let much_later = start + KNOWN_FOR * 2;
        for _ in 0..10 {
            assert_eq!(door.secret("x", THERE, much_later), Verdict::Wrong);
        }
        assert_eq!(door.secret("s", THERE, much_later), Verdict::TooMany);
    }
}
