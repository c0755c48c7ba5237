//! When to give back the memory that handshakes leave behind.
//!
//! A handshake takes some twelve kilobytes for a moment, so a storm of joins leaves a heap with many holes, between what
//! stays. They would be of use in the next storm only.

use clock::{Duration, Instant};

/// Fewer handshakes leave too little behind to bother.
const WORTH_IT: u64 = 64;
/// So long none must have been under way.
const CALM: Duration = Duration::from_secs(1);

/// Watches over handshakes.
#[derive(Debug, Default)]
pub struct Leftovers {
    /// How many had ended when memory was given back last.
    given_back: u64,
    calm_since: Option<Instant>,
}

impl Leftovers {
    /// Whether now is the time; then it counts as done. `open` handshakes are under way, `ended` are over, ever.
    pub fn is_time(&mut self, now: Instant, open: usize, ended: u64) -> bool {
        if open > 0 {
            self.calm_since = None;
            return false;
        }
        let calm_since = *self.calm_since.get_or_insert(now);
        let is_time = now.saturating_since(calm_since) >= CALM
            && ended.saturating_sub(self.given_back) >= WORTH_IT;
        if is_time {
            self.given_back = ended;
        }
        is_time
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn once_after_a_storm() {
        let mut leftovers = Leftovers::default();
        let mut at =
            |millis, open, ended| leftovers.is_time(Instant::from_millis(millis), open, ended);
        assert!(!at(0, 0, 0));
        assert!(!at(5_000, 0, 63), "nothing much");
        assert!(!at(6_000, 9, 500), "in the middle of it");
        assert!(!at(6_200, 0, 509), "perhaps a pause");
        assert!(!at(6_400, 1, 509));
        assert!(!at(7_000, 0, 510));
        assert!(!at(7_900, 0, 510));
        assert!(at(8_000, 0, 510));
        assert!(!at(8_200, 0, 510), "once");
        assert!(!at(20_000, 0, 573));
        assert!(at(20_200, 0, 574));
    }
}
