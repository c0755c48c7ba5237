//! How both daemons write their logs: for people or for machines, at a level that can change, and never more lines of a kind than
//! a disk can bear, whoever causes them.
#![forbid(unsafe_code)]

mod bound;
mod json;

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
    let (filter, level) = reload::Layer::new(filter(level)?);
    let bound = Bound::default();
    let all = tracing_subscriber::registry()
        .with(filter)
        .with(bound.clone());
    let lines = fmt::layer().with_writer(std::io::stderr);
    match form {
        Form::Text => {
            // Colours are for people who look on: a file or a pipe gets plain text.
            let colours = std::io::stderr().is_terminal();
            all.with(lines.with_target(false).with_ansi(colours)).init();
        }
        Form::Json => {
            let who = who.map(|(name, value)| (name, value.to_owned()));
            all.with(lines.event_format(JsonLine { who })).init();
        }
    }
    Ok(Logs { level, bound })
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
        let filter = filter(level)?;
        // It fails only where the log is gone, which is nowhere.
        let _ = self.level.reload(filter);
        Ok(())
    }

    /// Says what was left out lately. To be called about once a second.
    pub fn tell_left_out(&self) {
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

/// Whoever says nothing of [`AUDIT`] gets it, and whoever names none of [`CONFIDANTS`] hears nothing in confidence.
fn filter(level: &str) -> Result<EnvFilter, ParseError> {
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
    let mut directives = level.to_owned();
    for library in CONFIDANTS {
        if is_low && !is_named(library) {
            directives.push_str(&format!(",{library}=info"));
        }
    }
    if !is_named(AUDIT) {
        directives.push_str(&format!(",{AUDIT}=info"));
    }
    EnvFilter::try_new(directives)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_changed_what_is_written_at_every_level() {
        let shown = |level| filter(level).expect("a level").to_string();
        assert!(shown("error").contains("audit=info"));
        assert!(!shown("error,audit=off").contains("audit=info"));
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
