//! What a path does to datagrams, decided by dice.

use clock::{Duration, Instant, Rng};

/// The shortest time for which a path is good or bad.
const SHORTEST: Duration = Duration::from_millis(1);

/// How a path loses datagrams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// Not at all.
    None,
    /// Each by itself, so many of a thousand.
    Independent(u64),
    /// In bursts, after Gilbert and Elliott: the path is good and loses nothing, or bad. It changes with time and not with
    /// traffic, so that a path on which little travels isn't bad for long.
    Bursts {
        /// How long it is good, on average.
        good: Duration,
        /// How long it is bad, on average.
        bad: Duration,
        /// How many of a thousand are lost while it is bad.
        lost: u64,
    },
}

/// What one direction of a path does to datagrams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conditions {
    /// What is lost.
    pub loss: Loss,
    /// Every datagram takes this long.
    pub delay: Duration,
    /// And up to this much longer; the order stays.
    pub jitter: Duration,
    /// So many of a thousand are overtaken by what is sent up to `held_back` later.
    pub reordered: u64,
    /// How long those are held back at most.
    pub held_back: Duration,
    /// So many of a thousand come twice.
    pub duplicated: u64,
}

impl Conditions {
    /// A path that only takes its time.
    pub const fn delayed(delay: Duration) -> Self {
        Self {
            loss: Loss::None,
            delay,
            jitter: Duration::ZERO,
            reordered: 0,
            held_back: Duration::ZERO,
            duplicated: 0,
        }
    }

    /// The same path, with other losses.
    #[must_use]
    pub const fn losing(self, loss: Loss) -> Self {
        Self { loss, ..self }
    }
}

/// One direction of a path, and what it remembers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Direction {
    pub(crate) conditions: Conditions,
    is_bad: bool,
    /// When it turns from good to bad or back.
    turns: Instant,
    /// When the last one in order arrives.
    latest: Instant,
}

impl Direction {
    pub(crate) const fn new(conditions: Conditions) -> Self {
        Self {
            conditions,
            is_bad: false,
            turns: Instant::ZERO,
            latest: Instant::ZERO,
        }
    }

    /// When a datagram that is sent `now` arrives: never, once or twice.
    pub(crate) fn arrivals(&mut self, now: Instant, rng: &mut Rng) -> [Option<Instant>; 2] {
        if self.loses(now, rng) {
            return [None; 2];
        }
        let first = self.arrival(now, rng);
        let again = happens(self.conditions.duplicated, rng).then(|| self.arrival(now, rng));
        [Some(first), again]
    }

    fn loses(&mut self, now: Instant, rng: &mut Rng) -> bool {
        match self.conditions.loss {
            Loss::None => false,
            Loss::Independent(share) => happens(share, rng),
            Loss::Bursts { good, bad, lost } => {
                if self.turns == Instant::ZERO {
                    self.turns = now + up_to(2 * good, rng);
                }
                while self.turns <= now {
                    self.is_bad = !self.is_bad;
                    let mean = if self.is_bad { bad } else { good };
                    // Never of no length, so that there is an end to it.
                    self.turns += SHORTEST + up_to(2 * mean, rng);
                }
                self.is_bad && happens(lost, rng)
            }
        }
    }

    fn arrival(&mut self, now: Instant, rng: &mut Rng) -> Instant {
        let conditions = self.conditions;
        let in_order = now + conditions.delay + up_to(conditions.jitter, rng);
        if happens(conditions.reordered, rng) {
            return in_order + up_to(conditions.held_back, rng);
        }
        self.latest = self.latest.max(in_order);
        self.latest
    }
}

/// True `share` times of a thousand.
pub(crate) fn happens(share: u64, rng: &mut Rng) -> bool {
    share > 0 && rng.below(1_000) < share
}

/// A random time up to `most`.
pub(crate) fn up_to(most: Duration, rng: &mut Rng) -> Duration {
    let nanos = u64::try_from(most.as_nanos()).expect("a delay is shorter than centuries");
    match nanos {
        0 => Duration::ZERO,
        nanos => Duration::from_nanos(rng.below(nanos)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of so many datagrams, one a millisecond.
    fn lost_of(loss: Loss, count: u64) -> usize {
        let mut rng = Rng::from_number(1);
        let mut path = Direction::new(Conditions::delayed(Duration::ZERO).losing(loss));
        (1..=count)
            .filter(|at| path.arrivals(Instant::from_millis(*at), &mut rng)[0].is_none())
            .count()
    }

    #[test]
    fn loses_as_much_as_it_should() {
        assert_eq!(lost_of(Loss::None, 10_000), 0);
        assert!((450..550).contains(&lost_of(Loss::Independent(50), 10_000)));
        let bursts = Loss::Bursts {
            good: Duration::from_millis(190),
            bad: Duration::from_millis(10),
            lost: 1_000,
        };
        assert!((350..700).contains(&lost_of(bursts, 10_000)));
    }

    #[test]
    fn jitter_keeps_the_order_and_reordering_does_not() {
        let mut rng = Rng::from_number(1);
        let mut conditions = Conditions::delayed(Duration::from_millis(20));
        conditions.jitter = Duration::from_millis(30);
        let in_order = |conditions, rng: &mut Rng| {
            let mut path = Direction::new(conditions);
            let arrivals: Vec<_> = (0..500)
                .filter_map(|millis| path.arrivals(Instant::from_millis(millis), rng)[0])
                .collect();
            assert!(arrivals[0] >= Instant::from_millis(20));
            arrivals.is_sorted()
        };
        assert!(in_order(conditions, &mut rng));
        conditions.reordered = 100;
        conditions.held_back = Duration::from_millis(10);
        assert!(!in_order(conditions, &mut rng));
    }

    #[test]
    fn some_come_twice() {
        let mut rng = Rng::from_number(1);
        let mut conditions = Conditions::delayed(Duration::ZERO);
        conditions.duplicated = 100;
        let mut path = Direction::new(conditions);
        let twice = (0..1_000)
            .filter(|_| path.arrivals(Instant::ZERO, &mut rng)[1].is_some())
            .count();
        assert!((60..140).contains(&twice));
    }
}
