//! How both daemons write their logs: for people or for machines, at a level that can change, and never more lines of a kind than
//! a disk can bear, whoever causes them.
#![forbid(unsafe_code)]

mod bound;
mod json;
mod ledger;

use std::io::IsTerminal as _;
use std::time::Instant;

use tracing::Level;
use tracing_subscriber::filter::{EnvFilter, LevelFilter, ParseError};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::Registry;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{fmt, reload};

use bound::{Bound, LeftOut};
pub use bound::{ORDINARY_MAX, PERIOD, STRANGERS_MAX};
use json::JsonLine;
use ledger::Ledger;
pub use ledger::{AuditFile, Audited};

/// The target of lines that anybody can cause who reaches a port of ours: there are at most [`STRANGERS_MAX`] of a kind in a [`PERIOD`].
pub const STRANGERS: &str = "strangers";
/// The target of the lines that say who changed what. They are never left out, and are written at every level.
pub const AUDIT: &str = "audit";
/// The target of what we say of the log itself.
const OURSELVES: &str = "logs";

/// The form of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Words, in colours where somebody looks on.
    Text,
    /// One JSON object.
    Json,
}

/// The log of this process.
#[derive(Clone, Debug)]
pub struct Logs {
    level: reload::Handle<EnvFilter, Registry>,
    bound: Bound,
    ledger: Ledger,
}

/// Writes to standard error from now on. `level` is one of `error`, `warn`, `info`, `debug`, `trace`, or directives like
/// `info,link=debug`; `who` is a field of every line of JSON.
///
/// # Errors
/// When `level` can't be understood.
pub fn start(
    level: &str,
    form: Form,
    who: Option<(&'static str, &str)>,
) -> Result<Logs, ParseError> {
    let (filter, audited) = filter(level)?;
    let (filter, level) = reload::Layer::new(filter);
    let who = who.map(|(name, value)| (name, value.to_owned()));
    let (bound, ledger) = (Bound::default(), Ledger::new(who.clone(), audited));
    // The ledger comes before the log, which has what that can't write.
    let all = tracing_subscriber::registry()
        .with(filter)
        .with(bound.clone())
        .with(ledger.clone());
    let lines = fmt::layer().with_writer(ledger.clone());
    match form {
        Form::Text => {
            // Colours are for people who look on: a file or a pipe gets plain text.
            let colours = std::io::stderr().is_terminal();
            all.with(lines.with_target(false).with_ansi(colours)).init();
        }
        Form::Json => all.with(lines.event_format(JsonLine { who })).init(),
    }
    Ok(Logs {
        level,
        bound,
        ledger,
    })
}

/// The line with which `program` says why it could not start or go on; it is written whether there is a log yet or not, and at every
/// level. `who` is as for [`start`].
pub fn last_words(
    program: &str,
    why: &str,
    form: Form,
    who: Option<(&'static str, &str)>,
) -> String {
    let who = who.map(|(name, value)| (name, value.to_owned()));
    match form {
        Form::Text => format!("{program}: {why}"),
        Form::Json => JsonLine { who }.alone(Level::ERROR, program, why),
    }
}

/// Whether such a level can be set.
///
/// # Errors
/// When it can't be understood.
pub fn check_level(level: &str) -> Result<(), ParseError> {
    filter(level).map(drop)
}

impl Logs {
    /// Writes at another level from now on.
    ///
    /// # Errors
    /// When `level` can't be understood; then nothing changes.
    pub fn set_level(&self, level: &str) -> Result<(), ParseError> {
        let (filter, audited) = filter(level)?;
        self.ledger.show(audited);
        // It fails only where the log is gone, which is nowhere.
        let _ = self.level.reload(filter);
        Ok(())
    }

    /// Writes the lines of [`AUDIT`] to this file too from now on, at every level; none: to none any more.
    pub fn audit_to(&self, file: Option<AuditFile>) {
        self.ledger.write_to(file);
    }

    /// How many of those lines there were since the last call.
    pub fn take_audited(&self) -> Audited {
        self.ledger.take_audited()
    }

    /// Says what was left out lately, and what is wrong with the file for audit lines. To be called about once a second.
    pub fn tell_left_out(&self) {
        self.ledger.tell_trouble();
        for LeftOut { level, lines, what } in self.bound.take_left_out(Instant::now()) {
            let seconds = PERIOD.as_secs();
            match level {
                Level::ERROR | Level::WARN => {
                    tracing::warn!(target: OURSELVES, "… and {lines} more in {seconds} s: {what}");
                }
                Level::INFO => {
                    tracing::info!(target: OURSELVES, "… and {lines} more in {seconds} s: {what}");
                }
                _ => {
                    tracing::debug!(target: OURSELVES, "… and {lines} more in {seconds} s: {what}");
                }
            }
        }
    }
}

/// What some libraries write below `info` is what passes through them: messages with tokens, headers with secrets, keys.
const CONFIDANTS: [&str; 12] = [
    "axum",
    "dimpl",
    "h2",
    "hyper",
    "hyper_util",
    "quinn",
    "quinn_proto",
    "quinn_udp",
    "rustls",
    "tokio_tungstenite",
    "tower",
    "tungstenite",
];

/// Whoever names none of [`CONFIDANTS`] hears nothing in confidence. The lines of [`AUDIT`] pass in any case, for a file may want them; beside
/// the filter is the level of those in the log, which whoever says nothing of them gets.
fn filter(level: &str) -> Result<(EnvFilter, LevelFilter), ParseError> {
    let whom = |one: &str| {
        one.split(['=', '['])
            .next()
            .unwrap_or(one)
            .trim()
            .to_owned()
    };
    let named: Vec<String> = level.split(',').map(whom).collect();
    let is_named = |target: &str| named.iter().any(|one| one == target);
    // A directive without a target is a level for everybody, as a word or as a number.
    let is_low = level.split(',').any(|one| {
        let everybody = one.trim().parse::<LevelFilter>();
        everybody.is_ok_and(|level| level >= LevelFilter::DEBUG)
    });
    let (mut shown, mut directives) = (LevelFilter::INFO, Vec::new());
    for one in level.split(',') {
        match one.trim().strip_prefix(AUDIT) {
            Some("") => shown = LevelFilter::TRACE,
            Some(word) if word.starts_with('=') => {
                let level = word.trim_start_matches('=').parse::<LevelFilter>();
                // What is none is refused below.
                shown = level
                    .inspect_err(|_| directives.push(one.to_owned()))
                    .unwrap_or(shown);
            }
            _ => directives.push(one.to_owned()),
        }
    }
    for library in CONFIDANTS {
        if is_low && !is_named(library) {
            directives.push(format!("{library}=info"));
        }
    }
    directives.push(format!("{AUDIT}=info"));
    Ok((EnvFilter::try_new(directives.join(","))?, shown))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_words_are_one_line_for_machines() {
        let why = "read \"x\":\nno such file";
        let words = |form| last_words("daemon", why, form, Some(("node", "media_1")));
        assert_eq!(words(Form::Text), format!("daemon: {why}"));
        let line = words(Form::Json);
        assert_eq!(line.lines().count(), 1, "{line}");
        let said: serde_json::Value = serde_json::from_str(&line).expect("JSON");
        for (key, value) in [
            ("level", "ERROR"),
            ("target", "daemon"),
            ("msg", why),
            ("node", "media_1"),
        ] {
            assert_eq!(said[key], value, "{line}");
        }
        assert!(said["ts"].as_str().is_some_and(|at| at.ends_with('Z')));
    }

    #[test]
    fn who_changed_what_is_written_at_every_level() {
        let shown = |level| filter(level).expect("a level").0.to_string();
        let audited = |level| filter(level).expect("a level").1;
        for (level, expected) in [
            ("error", LevelFilter::INFO),
            ("error,audit=off", LevelFilter::OFF),
            ("audit=warn,debug", LevelFilter::WARN),
            ("error,audit", LevelFilter::TRACE),
        ] {
            assert_eq!(audited(level), expected);
            assert!(shown(level).contains("audit=info"), "a file may want it");
        }
        assert!(filter("info,audit=loud").is_err());
        for (level, expected) in [
            ("info", false),
            ("warn,control=trace", false),
            ("trace", true),
            ("DEBUG,link=trace", true),
            ("4", true),
            ("warn,5", true),
            ("3", false),
            ("control=5", false),
            ("trace,tungstenite=trace", false),
        ] {
            let is_held = shown(level).split(',').any(|one| one == "tungstenite=info");
            assert_eq!(is_held, expected, "{level}: {}", shown(level));
        }
        assert!(check_level("info,link=debug").is_ok());
        assert!(check_level("info,link=loud").is_err());
    }
}
