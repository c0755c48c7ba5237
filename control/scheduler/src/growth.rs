//! How large a session becomes, and for how long room is kept for that.

use core::time::Duration;

use crate::forecast::Forecast;
use crate::load::{Demand, Shape};

/// Most sessions that grow have done so by then.
pub const WINDOW: Duration = Duration::from_secs(300);
/// Users of a session of which nothing is known: most calls are of two, but the few large ones make the load.
pub(crate) const USUAL_CONNECTIONS: u32 = 4;
/// Users who make a session a call.
const CALL: u32 = 2;
/// More than this is nobody's meeting, and would only make a node look full.
const CONNECTIONS_MAX: u32 = 10_000;

/// What an application knows of a session beforehand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hint {
    /// Users that it expects at the peak.
    pub connections: Option<u32>,
    /// How many of them publish; none: as many as under its name before, or all.
    pub publishers: Option<u32>,
}

/// What a session will be at its peak by what its application knows, or as usual.
pub fn peak(hint: Hint) -> Shape {
    let connections = hint
        .connections
        .unwrap_or(USUAL_CONNECTIONS)
        .min(CONNECTIONS_MAX);
    audience(connections, hint.publishers.unwrap_or(connections))
}

/// So many users, of whom at most so many publish, and everybody receives everybody else.
pub(crate) fn audience(connections: u32, publishers: u32) -> Shape {
    let publishers = publishers.min(connections);
    let subscribers = publishers.saturating_mul(connections.saturating_sub(1));
    Shape {
        connections,
        publishers,
        subscribers,
        media_lines: publishers.saturating_add(subscribers).saturating_mul(2),
        taps: 0,
    }
}

/// What is reserved for the growth of a session of that age: what lacks to its peak, less the longer it does not come.
pub(crate) fn reserve(forecast: &Forecast, is: &Shape, age: Duration) -> Demand {
    match Left::at(age) {
        Some(left) => to_come(forecast, is, left),
        None => Demand::NONE,
    }
}

/// The streams that a session of that age is expected to have at its peak.
pub(crate) fn streams(forecast: &Forecast, is: &Shape, age: Duration) -> f64 {
    // A stream is a transport.
    f64::from(is.streams()) + reserve(forecast, is, age).transports
}

fn to_come(forecast: &Forecast, is: &Shape, left: Left) -> Demand {
    let peak = &forecast.peak;
    if !forecast.follows_growth {
        return peak.ends().beyond(is.ends()).demand().times(left.time);
    }
    let more = |will: u32, is: u32| more(forecast.trust(), will, is, left);
    let publishers = more(peak.publishers, is.publishers);
    let subscribers = match received(is).or_else(|| received(peak)) {
        None => more(peak.subscribers, is.subscribers),
        Some(share) => {
            let others = f64::from(is.connections) + more(peak.connections, is.connections) - 1.0;
            let all = share * (f64::from(is.publishers) + publishers) * others;
            (all - f64::from(is.subscribers)).max(0.0)
        }
    };
    Demand::of(publishers, subscribers)
}

/// How much of the time is left in which sessions grow, 0 to 1, and how much of the growth.
#[derive(Clone, Copy)]
struct Left {
    time: f64,
    growth: f64,
}

impl Left {
    /// None once the time is over.
    fn at(age: Duration) -> Option<Self> {
        let time = 1.0 - age.as_secs_f64() / WINDOW.as_secs_f64();
        // Most come early: the middle of them after a third of the time.
        let growth = time * time;
        (time > 0.0).then_some(Self { time, growth })
    }
}

/// How many more of something come, that was foreseen to become `will` and `is` so many. Arrivals are taken for a Poisson process
/// with the rate unknown: its gamma prior is worth `trust` sessions, and what has come within the time that has passed corrects it.
fn more(trust: f64, will: u32, is: u32, left: Left) -> f64 {
    // Those who make a session a call say nothing of whether others follow.
    let call = will.min(CALL).saturating_sub(is);
    let foreseen = f64::from(will.saturating_sub(CALL));
    let came = f64::from(is.saturating_sub(CALL));
    let rate = (trust * foreseen + came) / (trust + 1.0 - left.growth);
    f64::from(call) * left.time + rate * left.growth
}

/// What share of all that it could a session receives; none where nobody could.
fn received(shape: &Shape) -> Option<f64> {
    let could = f64::from(shape.publishers) * (f64::from(shape.connections) - 1.0);
    (could > 1.0).then(|| f64::from(shape.subscribers) / could)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{Strategy as _, any, prop_assert, prop_oneof, proptest};

    use super::*;
    use crate::forecast::Source;

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

    const NOBODY: Shape = Shape {
        connections: 0,
        publishers: 0,
        subscribers: 0,
        media_lines: 0,
        taps: 0,
    };

    fn after(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    #[test]
    fn room_is_kept_for_a_while_only() {
        let peak = peak(Hint::default());
        for follows_growth in [true, false] {
            let forecast = Forecast {
                follows_growth,
                ..peak.into()
            };
            let at = |secs| reserve(&forecast, &NOBODY, after(secs));
            assert_eq!(at(0), peak.ends().demand());
            let half = at(150).packets / peak.ends().demand().packets;
            assert!((0.05..=0.5).contains(&half), "{half}");
            assert_eq!(at(300), Demand::NONE);
            assert_eq!(at(100_000), Demand::NONE);
        }
    }

    #[test]
    fn what_has_come_is_not_expected_any_more() {
        let forecast = Forecast::from(audience(4, 4));
        let half = reserve(&forecast, &audience(2, 2), after(30));
        let whole = reserve(&forecast, &audience(4, 4), after(30));
        assert!(half.transports + 4.0 < 16.0 + whole.transports);
        let quiet = reserve(&forecast, &audience(2, 2), after(200));
        assert!(quiet.transports < 1.0, "{quiet:?}");
    }

    #[test]
    fn who_grows_quickly_is_expected_to_go_on() {
        let forecast = Forecast::from(audience(4, 4));
        let blind = Forecast {
            follows_growth: false,
            ..forecast
        };
        // Twelve in a minute, and the same in four.
        let quickly = streams(&forecast, &audience(12, 12), after(60));
        let slowly = streams(&forecast, &audience(12, 12), after(240));
        assert!(
            quickly > 1.5 * 144.0 && slowly < 1.1 * 144.0,
            "{quickly} {slowly}"
        );
        assert_eq!(streams(&blind, &audience(12, 12), after(60)), 144.0);
        // Whose listeners come makes no speakers of them.
        let lecture = Forecast::from(audience(100, 1));
        let streams = streams(&lecture, &audience(50, 1), after(60));
        assert!((80.0..160.0).contains(&streams), "{streams}");
    }

    #[test]
    fn who_is_trusted_is_corrected_late() {
        let of = |source| Forecast {
            source,
            ..audience(40, 2).into()
        };
        let streams = |source| streams(&of(source), &audience(3, 1), after(120));
        assert!(streams(Source::Hint) > 1.3 * streams(Source::Usual));
    }

    fn any_shape() -> impl proptest::strategy::Strategy<Value = Shape> {
        let number = || prop_oneof![0_u32..60, any::<u32>()];
        (number(), number(), number()).prop_map(|(connections, publishers, subscribers)| Shape {
            connections,
            publishers,
            subscribers,
            ..NOBODY
        })
    }

    proptest! {
        #[test]
        fn no_reservation_is_negative_or_endless(peak in any_shape(), is in any_shape(), source in 0..Source::ALL.len(), seen in 0_u32..9, follows_growth in any::<bool>(), secs in 0_u64..400) {
            let forecast = Forecast { peak, source: Source::ALL[source], seen, follows_growth };
            let reserved = reserve(&forecast, &is, after(secs));
            for part in [reserved.packets, reserved.bits, reserved.transports, reserved.memory] {
                prop_assert!(part >= 0.0 && part.is_finite());
            }
            prop_assert!(secs < 300 || reserved == Demand::NONE);
        }
    }
}
