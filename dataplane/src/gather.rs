//! When to wait a moment for the rest of a picture: looking again at once, or sleeping.
//!
//! A browser sends the packets of a picture back to back, and a worker that has nothing else to do wakes up for the first of
//! them. If it forwards that one at once, the others come while it is busy and leave as a second, shorter run; if it sleeps until
//! the last is there, all leave as one run per subscriber, which costs little more than a single packet does. So it sleeps for as
//! long as pictures lately took to arrive. A busy worker need not: its packets wait anyway, and nothing older than the window is
//! kept back.
//!
//! Sleeping is dear on many machines (`media.gather`, off by default). Looking again is not, where many copies wait: another
//! send for each of them costs more than the short time does.

use std::time::Duration;

use clock::Instant;

/// Less is not worth falling asleep for.
const SHORTEST: Duration = Duration::from_micros(20);
/// What a picture took to arrive until we know better.
const SPAN_AT_FIRST: Duration = Duration::from_micros(100);
/// Fewer waiting copies are sent at once.
const COPIES_MIN: u64 = 32;
/// What a second send would cost at least, for each copy, by which the time of looking again is bound.
const LOOK_PER_COPY: Duration = Duration::from_nanos(400);
/// Nobody waits longer for others.
const LOOK_MAX: Duration = Duration::from_micros(60);
/// After so many attempts in vain, one in 2 to the power of this is made.
const MISSES_MAX: u32 = 6;

/// What one worker has learned about the pictures that it forwards.
#[derive(Debug)]
pub struct Gather {
    window: Duration,
    /// How long pictures lately took from their first packet to their last.
    span: Duration,
    /// Attempts in a row that brought nothing.
    misses: u32,
    /// Chances to let pass before the next attempt.
    skip: u32,
    looks: Looks,
}

/// How looking again went lately.
#[derive(Debug, Default)]
struct Looks {
    misses: u32,
    skip: u32,
}

/// One attempt.
#[derive(Debug)]
pub struct Attempt {
    /// When the first packet arrived.
    first: Instant,
    /// When the last one did.
    last: Instant,
    /// Whether it has slept for as long as pictures usually take.
    slept: bool,
    brought: usize,
}

impl Gather {
    /// Keeps nothing back for longer than `window` after its arrival; zero for never.
    pub fn new(window: Duration) -> Self {
        Self {
            window,
            span: SPAN_AT_FIRST.min(window),
            misses: 0,
            skip: 0,
            looks: Looks::default(),
        }
    }

    /// Parts of a picture are there, and so many copies wait: until when to look for the rest again and again.
    pub fn look(&mut self, now: Instant, copies: u64) -> Option<Instant> {
        if copies < COPIES_MIN {
            return None;
        }
        if self.looks.skip > 0 {
            self.looks.skip -= 1;
            return None;
        }
        let most = u32::try_from(copies).unwrap_or(u32::MAX);
        Some(now + LOOK_PER_COPY.saturating_mul(most).min(LOOK_MAX))
    }

    /// Whether looking again brought anything.
    pub fn looked(&mut self, brought: bool) {
        match brought {
            true => self.looks.misses = 0,
            false => {
                self.looks.misses = (self.looks.misses + 1).min(MISSES_MAX);
                self.looks.skip = (1 << self.looks.misses) - 1;
            }
        }
    }

    /// Parts of a picture are there, the first of which arrived at `first`.
    pub fn begin(&mut self, first: Instant) -> Option<Attempt> {
        if self.window.is_zero() {
            return None;
        }
        if self.skip > 0 {
            self.skip -= 1;
            return None;
        }
        Some(Attempt {
            first,
            last: first,
            slept: false,
            brought: 0,
        })
    }

    /// Until when to sleep now, if the picture is still not complete: first as long as pictures usually take, then as long as
    /// the window allows.
    pub fn until(&self, attempt: &mut Attempt, now: Instant) -> Option<Instant> {
        let end = attempt.first + self.window;
        let usual = attempt.first + (self.span + self.span / 4).min(self.window);
        let is_worth_it = |until: &Instant| *until >= now + SHORTEST;
        let until = Some(usual).filter(|usual| !attempt.slept && is_worth_it(usual));
        attempt.slept = true;
        until.or(Some(end).filter(is_worth_it))
    }

    /// So many packets have come meanwhile, the last one at `last`.
    pub fn came(attempt: &mut Attempt, packets: usize, last: Option<Instant>) {
        attempt.brought += packets;
        attempt.last = last.map_or(attempt.last, |last| last.max(attempt.last));
    }

    /// The attempt is over; whether all pictures are complete now.
    pub fn end(&mut self, attempt: &Attempt, complete: bool) {
        if attempt.brought == 0 {
            self.misses = (self.misses + 1).min(MISSES_MAX);
            self.skip = (1 << self.misses) - 1;
            return;
        }
        self.misses = 0;
        if complete {
            let span = attempt.last.saturating_since(attempt.first);
            // Up at once, down slowly: a run that is cut in two costs more than a few microseconds of sleep.
            self.span = if span > self.span {
                span.min(self.window)
            } else {
                self.span - (self.span - span) / 8
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looking_again_costs_less_than_a_second_send() {
        let mut gather = Gather::new(Duration::ZERO);
        let now = at(1);
        assert_eq!(gather.look(now, 3), None, "a few copies are not worth it");
        assert_eq!(gather.look(now, 100), Some(at(41)));
        assert_eq!(gather.look(now, 5_000), Some(at(61)));
        for misses in 1..=8 {
            gather.looked(false);
            let skipped = (0..)
                .take_while(|_| gather.look(now, 100).is_none())
                .count();
            assert_eq!(skipped, (1 << misses.min(MISSES_MAX)) - 1);
        }
        gather.looked(true);
        assert!(gather.look(now, 100).is_some());
    }

    const WINDOW: Duration = Duration::from_micros(300);

    fn at(micros: u64) -> Instant {
        Instant::from_nanos(micros * 1000)
    }

    /// One picture whose packets arrive at these times; when it leaves, and how many sleeps it took.
    fn picture(gather: &mut Gather, arrivals: &[u64]) -> (u64, usize) {
        let mut now = at(arrivals[0]);
        let Some(mut attempt) = gather.begin(now) else {
            return (arrivals[0], 0);
        };
        let (mut sleeps, mut seen) = (0, 1);
        while seen < arrivals.len()
            && let Some(until) = gather.until(&mut attempt, now)
        {
            assert!(until > now && until <= at(arrivals[0]) + WINDOW);
            sleeps += 1;
            now = until;
            let there = arrivals.iter().filter(|arrival| at(**arrival) <= now);
            let there = there.count();
            Gather::came(&mut attempt, there - seen, Some(at(arrivals[there - 1])));
            seen = there;
        }
        gather.end(&attempt, seen == arrivals.len());
        (now.as_nanos() / 1000, sleeps)
    }

    #[test]
    fn it_learns_how_long_pictures_take() {
        let mut gather = Gather::new(WINDOW);
        for start in 0..50 {
            let start = start * 33_000;
            picture(&mut gather, &[start, start + 10, start + 20, start + 30]);
        }
        let (left, sleeps) = picture(&mut gather, &[0, 10, 20, 30]);
        assert!((30..60).contains(&left) && sleeps == 1, "{left} {sleeps}");
        // A longer one is waited for in two steps, and its like in one from then on.
        assert_eq!(picture(&mut gather, &[0, 50, 100, 150]).1, 2);
        let (left, sleeps) = picture(&mut gather, &[0, 50, 100, 150]);
        assert!((150..200).contains(&left) && sleeps == 1, "{left} {sleeps}");
    }

    #[test]
    fn what_is_paced_is_soon_let_alone() {
        let mut gather = Gather::new(WINDOW);
        let mut slept = 0;
        for start in 0..1000 {
            slept += picture(&mut gather, &[start * 4000, start * 4000 + 2000]).1;
        }
        assert!(slept < 50, "{slept}");
        // And tried again when it has changed.
        let mut gathered = 0;
        for start in 0..100 {
            let start = start * 33_000;
            let (left, _) = picture(&mut gather, &[start, start + 20]);
            gathered += usize::from(left > start);
        }
        assert!(gathered >= 30, "{gathered}");
    }

    #[test]
    fn nothing_old_is_kept_and_nothing_at_all_without_a_window() {
        let mut gather = Gather::new(WINDOW);
        let mut attempt = gather.begin(at(0)).expect("a first chance");
        assert_eq!(gather.until(&mut attempt, at(290)), None);
        assert!(Gather::new(Duration::ZERO).begin(at(0)).is_none());
    }
}
