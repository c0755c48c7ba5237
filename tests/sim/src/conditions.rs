//! What a path does to datagrams, decided by dice.

use core::ops::Range;

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
    /// In runs of datagrams, after Gilbert: what follows a lost one is lost as well, with a probability that makes runs of this
    /// mean length. It changes with traffic and not with time.
    Runs {
        /// How many of a thousand are lost in the long run.
        share: u64,
        /// How many in a row, on average; at least one.
        mean: u64,
    },
    /// All: the path is cut.
    All,
}

/// How much fits through, and how much may wait for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Bits per second, with the headers of UDP and IP.
    pub bits_per_second: u64,
    /// What would have to wait longer than this is lost.
    pub queue: Duration,
}

impl Rate {
    /// So many thousand bits per second, and a queue of 300 ms.
    pub const fn kbit(kilobits_per_second: u64) -> Self {
        Self {
            bits_per_second: kilobits_per_second * 1_000,
            queue: Duration::from_millis(300),
        }
    }
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
    /// How much fits through; everything without.
    pub rate: Option<Rate>,
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
            rate: None,
        }
    }

    /// The same path, with other losses.
    #[must_use]
    pub const fn losing(self, loss: Loss) -> Self {
        Self { loss, ..self }
    }

    /// The same path, with another rate.
    #[must_use]
    pub const fn limited(self, rate: Rate) -> Self {
        Self {
            rate: Some(rate),
            ..self
        }
    }
}

/// Headers of IPv4 and UDP.
const HEADERS: usize = 28;

/// Where datagrams wait for their turn: first in, first out, and what finds it full is lost.
#[derive(Clone, Debug, Default)]
pub(crate) struct Queue {
    /// When the last one that waits has left.
    busy_until: Instant,
    /// How long each had to wait, by when it came.
    waits: Vec<(Instant, Duration)>,
    lost: u64,
}

impl Queue {
    /// When a datagram of `bytes` that comes at `now` has left; `None` if it is lost.
    pub(crate) fn pass(&mut self, now: Instant, bytes: usize, rate: Rate) -> Option<Instant> {
        let wait = self.busy_until.saturating_since(now);
        if wait > rate.queue {
            self.lost += 1;
            return None;
        }
        let bits = (bytes + HEADERS) as u64 * 8;
        let takes = Duration::from_nanos(bits * 1_000_000_000 / rate.bits_per_second.max(1));
        self.busy_until = now + wait + takes;
        self.waits.push((now, wait));
        Some(self.busy_until)
    }

    /// How long datagrams that came in that time had to wait, in order.
    pub(crate) fn waits_in(&self, then: Range<Instant>) -> impl Iterator<Item = Duration> {
        let [first, end] =
            [then.start, then.end].map(|bound| self.waits.partition_point(|(at, _)| *at < bound));
        self.waits[first..end].iter().map(|(_, wait)| *wait)
    }

    /// Datagrams that found it full.
    pub(crate) const fn lost(&self) -> u64 {
        self.lost
    }
}

/// One direction of a path, and what it remembers.
#[derive(Clone, Debug)]
pub(crate) struct Direction {
    pub(crate) conditions: Conditions,
    /// What waits where a rate limits it.
    pub(crate) queue: Queue,
    is_bad: bool,
    /// When it turns from good to bad or back.
    turns: Instant,
    /// When the last one in order arrives.
    latest: Instant,
}

impl Direction {
    pub(crate) fn new(conditions: Conditions) -> Self {
        Self {
            conditions,
            queue: Queue::default(),
            is_bad: false,
            turns: Instant::ZERO,
            latest: Instant::ZERO,
        }
    }

    /// When a datagram of `bytes` that is sent `now` arrives: never, once or twice.
    pub(crate) fn arrivals(
        &mut self,
        now: Instant,
        bytes: usize,
        rng: &mut Rng,
    ) -> [Option<Instant>; 2] {
        if self.loses(now, rng) {
            return [None; 2];
        }
        let left = match self.conditions.rate {
            None => Some(now),
            Some(rate) => self.queue.pass(now, bytes, rate),
        };
        let Some(left) = left else {
            return [None; 2];
        };
        let first = self.arrival(left, rng);
        let again = happens(self.conditions.duplicated, rng).then(|| self.arrival(left, rng));
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
            Loss::Runs { share, mean } => {
                self.is_bad = match self.is_bad {
                    true => rng.below(mean.max(1)) > 0,
                    // So that `share` of all are lost: runs of `mean`, and between them what makes up the rest.
                    false => rng.below((1_000 - share.min(999)) * mean.max(1)) < share,
                };
                self.is_bad
            }
            Loss::All => true,
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
            .filter(|at| path.arrivals(Instant::from_millis(*at), 100, &mut rng)[0].is_none())
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
        assert_eq!(lost_of(Loss::All, 100), 100);
    }

    #[test]
    fn runs_of_loss_are_as_many_and_as_long_as_they_should() {
        let mut rng = Rng::from_number(1);
        let loss = Loss::Runs {
            share: 100,
            mean: 3,
        };
        let mut path = Direction::new(Conditions::delayed(Duration::ZERO).losing(loss));
        let (mut lost, mut runs, mut before) = (0, 0, false);
        for at in 1..=30_000 {
            let is_lost = path.arrivals(Instant::from_millis(at), 100, &mut rng)[0].is_none();
            lost += u32::from(is_lost);
            runs += u32::from(is_lost && !before);
            before = is_lost;
        }
        assert!((2_700..3_300).contains(&lost), "{lost} lost");
        let mean = f64::from(lost) / f64::from(runs);
        assert!((2.8..3.2).contains(&mean), "runs of {mean}");
    }

    #[test]
    fn a_rate_lets_through_as_much_as_it_should_and_keeps_the_rest_waiting() {
        let mut rng = Rng::from_number(1);
        let rate = Rate {
            bits_per_second: 1_000_000,
            queue: Duration::from_millis(100),
        };
        let line = Conditions::delayed(Duration::from_millis(10)).limited(rate);
        let mut path = Direction::new(line);
        // Twice as much as fits, for a second: 2 Mbit/s in datagrams of 1000 bytes with their headers.
        let arrivals: Vec<_> = (0..250)
            .filter_map(|nth| path.arrivals(Instant::from_millis(4 * nth), 972, &mut rng)[0])
            .collect();
        assert!(arrivals.is_sorted());
        // What fits in a second, and what waits at its end.
        assert!((136..=140).contains(&arrivals.len()), "{}", arrivals.len());
        let last = *arrivals.last().expect("some came");
        let longest = Duration::from_millis(996 + 100 + 8 + 10);
        assert!(last <= Instant::ZERO + longest, "{last:?}");
        assert!(last >= Instant::from_millis(1_090), "{last:?}");
        assert_eq!(path.queue.lost(), 250 - arrivals.len() as u64);
        let longest = path.queue.waits_in(Instant::ZERO..last).max();
        assert!(longest <= Some(Duration::from_millis(100)));
        let late = path.queue.waits_in(Instant::from_millis(500)..last);
        assert!(late.min() >= Some(Duration::from_millis(90)));
    }

    #[test]
    fn jitter_keeps_the_order_and_reordering_does_not() {
        let mut rng = Rng::from_number(1);
        let mut conditions = Conditions::delayed(Duration::from_millis(20));
        conditions.jitter = Duration::from_millis(30);
        let in_order = |conditions, rng: &mut Rng| {
            let mut path = Direction::new(conditions);
            let arrivals: Vec<_> = (0..500)
                .filter_map(|millis| path.arrivals(Instant::from_millis(millis), 100, rng)[0])
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
            .filter(|_| path.arrivals(Instant::ZERO, 100, &mut rng)[1].is_some())
            .count();
        assert!((60..140).contains(&twice));
    }
}
