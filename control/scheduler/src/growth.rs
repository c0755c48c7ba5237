//! How large a session becomes, and for how long room is kept for that.

use core::time::Duration;

use clock::Instant;

use crate::load::{Demand, Ends, Shape};

/// Most sessions that grow have done so by then.
pub const WINDOW: Duration = Duration::from_secs(300);
/// Users of a session of which nothing is known: most calls are of two, but the few large ones make the load.
const USUAL_CONNECTIONS: u32 = 4;
/// More than this is nobody's meeting, and would only make a node look full.
const CONNECTIONS_MAX: u32 = 10_000;

/// What an application knows of a session beforehand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hint {
    /// Users that it expects at the peak.
    pub connections: Option<u32>,
    /// How many of them publish; none: all.
    pub publishers: Option<u32>,
}

/// What a session will be at its peak.
///
/// This is where what is known of a session's name from earlier days would come in.
pub fn peak(hint: Hint) -> Shape {
    let connections = hint
        .connections
        .unwrap_or(USUAL_CONNECTIONS)
        .min(CONNECTIONS_MAX);
    let publishers = hint.publishers.unwrap_or(connections).min(connections);
    let subscribers = publishers.saturating_mul(connections.saturating_sub(1));
    Shape {
        connections,
        publishers,
        subscribers,
        media_lines: publishers.saturating_add(subscribers).saturating_mul(2),
        taps: 0,
    }
}

/// What is reserved for the growth of a session that began at `since`: what lacks to its peak, less the longer it does not come.
/// One that has outgrown what was expected may grow by half of itself again.
pub(crate) fn reserve(now: Instant, since: Instant, peak: Ends, is: Ends) -> Demand {
    let age = now.saturating_since(since);
    if age >= WINDOW {
        return Demand::NONE;
    }
    let left = 1.0 - age.as_secs_f64() / WINDOW.as_secs_f64();
    let expected = peak.beyond(is).demand();
    let trend = match peak.beyond(is) == Ends::default() {
        true => is.demand().times(0.5),
        false => Demand::NONE,
    };
    expected.plus(trend).times(left)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peak_follows_the_hint() {
        let usual = peak(Hint::default());
        assert_eq!((usual.publishers, usual.subscribers), (4, 12));
        let lecture = peak(Hint {
            connections: Some(100),
            publishers: Some(1),
        });
        assert_eq!((lecture.publishers, lecture.subscribers), (1, 99));
        let silly = peak(Hint {
            connections: Some(u32::MAX),
            publishers: Some(u32::MAX),
        });
        assert_eq!(silly.publishers, CONNECTIONS_MAX);
    }

    #[test]
    fn room_is_kept_for_a_while_only() {
        let start = Instant::from_millis(7);
        let peak = peak(Hint::default()).ends();
        let at = |secs| {
            reserve(
                start + Duration::from_secs(secs),
                start,
                peak,
                Ends::default(),
            )
        };
        assert_eq!(at(0), peak.demand());
        assert!((at(150).packets - peak.demand().packets / 2.0).abs() < 1e-6);
        assert_eq!(at(300), Demand::NONE);
        assert_eq!(at(100_000), Demand::NONE);
    }

    #[test]
    fn what_has_come_is_not_expected_any_more() {
        let start = Instant::ZERO;
        let peak = peak(Hint::default()).ends();
        let half = Ends {
            publishers: 2,
            subscribers: 2,
        };
        assert!(reserve(start, start, peak, half).packets < peak.demand().packets);
        let grown = Ends {
            publishers: 10,
            subscribers: 90,
        };
        assert_eq!(
            reserve(start, start, peak, grown),
            grown.demand().times(0.5)
        );
    }
}
