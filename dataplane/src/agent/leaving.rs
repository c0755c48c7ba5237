//! How a node ends: at once, or when what is on it is over, and then no later than it was told.

use std::time::{Duration, Instant};

/// How long the master may take to close what is left when the time is over.
const CLOSING: Duration = Duration::from_secs(1);

/// Whether the node is about to end.
#[derive(Debug)]
pub struct Leaving {
    patience: Duration,
    due: Option<Instant>,
}

impl Leaving {
    /// Nobody has asked for the end. Who does will wait for calls so long at most.
    pub fn new(patience: Duration) -> Self {
        Self {
            patience,
            due: None,
        }
    }

    /// Who asks from now on waits so long at most.
    pub fn set_patience(&mut self, patience: Duration) {
        self.patience = patience;
    }

    /// Somebody asks for the end. Answers whether it is here: where there is nothing to wait for, and when they ask again.
    pub fn asked(&mut self, now: Instant, transports: u32) -> bool {
        if transports == 0 || self.patience.is_zero() || self.due.is_some() {
            return true;
        }
        self.due = Some(now + self.patience);
        false
    }

    /// How long it may still take; none: nobody has asked.
    pub fn left(&self, now: Instant) -> Option<Duration> {
        self.due.map(|due| due.saturating_duration_since(now))
    }

    /// Whether there is nothing more to wait for. `is_heard`: a master is there, who closes what is left when it hears that the time is over.
    pub fn is_over(&self, now: Instant, transports: u32, is_heard: bool) -> bool {
        let closing = match is_heard {
            true => CLOSING,
            false => Duration::ZERO,
        };
        self.due
            .is_some_and(|due| transports == 0 || now >= due + closing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn an_empty_node_ends_at_once_and_so_does_one_that_is_asked_twice() {
        let now = Instant::now();
        assert!(Leaving::new(MINUTE).asked(now, 0));
        assert!(Leaving::new(Duration::ZERO).asked(now, 5));
        let mut leaving = Leaving::new(MINUTE);
        assert_eq!(leaving.left(now), None);
        assert!(!leaving.asked(now, 5));
        assert!(leaving.asked(now, 5));
    }

    #[test]
    fn it_waits_for_calls_and_not_for_ever() {
        let now = Instant::now();
        let mut leaving = Leaving::new(MINUTE);
        assert!(!leaving.is_over(now, 0, true), "nobody has asked");
        assert!(!leaving.asked(now, 5));
        assert_eq!(leaving.left(now + MINUTE / 4), Some(MINUTE / 4 * 3));
        assert!(!leaving.is_over(now + MINUTE / 2, 5, true));
        assert!(leaving.is_over(now + MINUTE / 2, 0, true), "they are over");
        assert_eq!(leaving.left(now + MINUTE * 2), Some(Duration::ZERO));
        assert!(!leaving.is_over(now + MINUTE, 5, true), "the master closes");
        assert!(leaving.is_over(now + MINUTE + CLOSING, 5, true));
        assert!(leaving.is_over(now + MINUTE, 5, false), "nobody would");
    }
}
