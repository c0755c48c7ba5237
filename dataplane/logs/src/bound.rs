//! How many lines of a kind there may be: a log without a bound lets anybody fill the disk.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tracing::callsite::Identifier;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer};

use super::{AUDIT, OURSELVES, STRANGERS};

/// Lines are counted for so long.
pub const PERIOD: Duration = Duration::from_secs(10);
/// Most lines of one kind in that time that strangers cause, and that libraries write.
pub const STRANGERS_MAX: u32 = 10;
/// Most lines of one kind in that time of everything else, which users with a token can cause.
pub const ORDINARY_MAX: u32 = 5_000;
/// Most kinds that are told apart. There are as many as the program has places that write lines.
const KINDS_MAX: usize = 4_096;

/// Whose lines are ours: those of libraries, which know nothing of strangers, are held to [`STRANGERS_MAX`].
const OURS: [&str; 7] = [
    "control",
    "dataplane",
    "link",
    "net",
    "scheduler",
    "sdp",
    "logs",
];

/// Where in the program a line comes from. All lines of the `log` crate come from the same few places, so they say themselves whose they are.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Kind {
    Place(Identifier),
    Library(String, u64),
    /// All that there is no room for.
    Other,
}

/// What was written of a kind lately.
#[derive(Debug)]
struct Window {
    began: Instant,
    written: u32,
    left_out: u64,
    level: Level,
    what: String,
}

/// Lines that were left out.
#[derive(Debug, PartialEq, Eq)]
pub struct LeftOut {
    /// At which level.
    pub level: Level,
    /// How many.
    pub lines: u64,
    /// What they said, but for what differed.
    pub what: String,
}

/// Lets through so many lines of each kind. Clones share what they count.
#[derive(Clone, Debug, Default)]
pub struct Bound(Arc<Mutex<HashMap<Kind, Window>>>);

impl Bound {
    fn windows(&self) -> MutexGuard<'_, HashMap<Kind, Window>> {
        // What it guards is a table of counts, whole at every moment.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn admits(&self, kind: Kind, most: u32, level: Level, what: &str, now: Instant) -> bool {
        let mut windows = self.windows();
        let kind = match windows.len() < KINDS_MAX || windows.contains_key(&kind) {
            true => kind,
            false => Kind::Other,
        };
        let window = windows.entry(kind).or_insert_with(|| Window {
            began: now,
            written: 0,
            left_out: 0,
            level,
            what: what.to_owned(),
        });
        if window.is_over(now) && window.left_out == 0 {
            (window.began, window.written) = (now, 0);
        }
        let admitted = window.written < most;
        match admitted {
            true => window.written += 1,
            false => window.left_out += 1,
        }
        admitted
    }

    /// What was left out in periods that are over.
    pub fn take_left_out(&self, now: Instant) -> Vec<LeftOut> {
        let mut windows = self.windows();
        let over = windows
            .values_mut()
            .filter(|window| window.left_out > 0 && window.is_over(now));
        over.map(|window| {
            (window.began, window.written) = (now, 0);
            LeftOut {
                level: window.level,
                lines: std::mem::take(&mut window.left_out),
                what: window.what.clone(),
            }
        })
        .collect()
    }
}

impl Window {
    fn is_over(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.began) >= PERIOD
    }
}

/// How many lines with this target there may be; none: as many as there are.
fn most(target: &str) -> Option<u32> {
    let whose = target.split("::").next().unwrap_or(target);
    match target {
        AUDIT | OURSELVES => None,
        STRANGERS => Some(STRANGERS_MAX),
        _ if OURS.contains(&whose) => Some(ORDINARY_MAX),
        _ => Some(STRANGERS_MAX),
    }
}

// A layer of its own and not the filter of another one: of those, tracing-subscriber 0.3.23 takes it amiss when an event is refused that it
// had admitted by its metadata.
impl<S: Subscriber> Layer<S> for Bound {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        let metadata = event.metadata();
        let mut said = Said::default();
        event.record(&mut said);
        let target = said.target.as_deref().unwrap_or(metadata.target());
        let Some(most) = most(target) else {
            return true;
        };
        let kind = match &said.target {
            Some(library) => Kind::Library(library.clone(), said.line),
            None => Kind::Place(metadata.callsite()),
        };
        let level = *metadata.level();
        self.admits(kind, most, level, &said.message, Instant::now())
    }
}

/// What tells kinds apart.
#[derive(Default)]
struct Said {
    message: String,
    target: Option<String>,
    line: u64,
}

impl Visit for Said {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.message = format!("{value:?}");
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "log.target" => self.target = Some(value.to_owned()),
            "message" => self.message = value.to_owned(),
            _ => {}
        }
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        if field.name() == "log.line" {
            self.line = value;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(name: &str) -> Kind {
        Kind::Library(name.to_owned(), 0)
    }

    #[test]
    fn a_flood_of_one_kind_is_cut_and_counted_and_hides_no_other() {
        let (bound, start) = (Bound::default(), Instant::now());
        let admits = |name: &str, at: Duration| {
            bound.admits(kind(name), STRANGERS_MAX, Level::WARN, name, start + at)
        };
        let flood = (0..241).filter(|_| admits("flood", Duration::ZERO)).count();
        assert_eq!(flood, 10);
        assert!(admits("rare", Duration::from_secs(1)));
        assert_eq!(bound.take_left_out(start + Duration::from_secs(9)), []);
        let told = bound.take_left_out(start + PERIOD);
        let expected = LeftOut {
            level: Level::WARN,
            lines: 231,
            what: "flood".to_owned(),
        };
        assert_eq!(told, [expected]);
        assert_eq!(bound.take_left_out(start + PERIOD), []);
        assert!(admits("flood", PERIOD), "and it is heard of again");
    }

    #[test]
    fn a_flood_reaches_nobody_who_writes_and_what_comes_beside_it_does() {
        use std::sync::atomic::{AtomicU64, Ordering};

        use tracing_subscriber::filter::EnvFilter;
        use tracing_subscriber::layer::SubscriberExt as _;

        #[derive(Clone, Default)]
        struct Written(Arc<AtomicU64>);
        impl<S: Subscriber> Layer<S> for Written {
            fn on_event(&self, _: &Event<'_>, _: Context<'_, S>) {
                self.0.fetch_add(1, Ordering::Relaxed);
            }
        }

        let (written, bound) = (Written::default(), Bound::default());
        // As the daemons put it together.
        let log = tracing_subscriber::registry()
            .with(EnvFilter::new("info"))
            .with(bound.clone())
            .with(written.clone());
        tracing::subscriber::with_default(log, || {
            for number in 0..300 {
                tracing::warn!(target: STRANGERS, number, "flood");
                tracing::debug!(target: STRANGERS, number, "below the level");
            }
            tracing::info!(target: STRANGERS, "rare");
            for number in 0..300 {
                tracing::info!(target: AUDIT, number, "never left out");
            }
        });
        assert_eq!(written.0.load(Ordering::Relaxed), 10 + 1 + 300);
        let told = bound.take_left_out(Instant::now() + PERIOD);
        let told: Vec<_> = told
            .iter()
            .map(|one| (one.lines, one.what.as_str()))
            .collect();
        assert_eq!(told, [(290, "flood")]);
    }

    #[test]
    fn what_is_seldom_is_never_left_out() {
        let (bound, start) = (Bound::default(), Instant::now());
        for at in 0..1_000 {
            let now = start + PERIOD / STRANGERS_MAX * at;
            assert!(bound.admits(kind("a"), STRANGERS_MAX, Level::INFO, "seldom", now));
        }
    }

    #[test]
    fn there_is_room_for_so_many_kinds_and_the_rest_share_one() {
        let (bound, now) = (Bound::default(), Instant::now());
        for at in 0..KINDS_MAX * 2 {
            bound.admits(kind(&at.to_string()), 1, Level::INFO, "x", now);
        }
        assert_eq!(bound.windows().len(), KINDS_MAX + 1);
    }

    #[test]
    fn whose_lines_they_are_decides_how_many_there_may_be() {
        assert_eq!(most(AUDIT), None);
        assert_eq!(most(STRANGERS), Some(STRANGERS_MAX));
        assert_eq!(most("control::server"), Some(ORDINARY_MAX));
        assert_eq!(most("rustls::conn"), Some(STRANGERS_MAX));
        assert_eq!(most("controlled"), Some(STRANGERS_MAX));
    }
}
