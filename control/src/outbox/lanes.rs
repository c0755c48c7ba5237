//! Which event goes next: in order within a session, sessions side by side, and patiently where the receiver fails.
//!
//! Each session has a lane while events of it wait. A lane whose event fails tries that event again, later each time; others don't
//! wait for it, unless what it waits with is the news of a node that crashed: what followed from that comes after it. When it is the
//! receiver that fails, and not one event, the lanes try one at a time until something gets through, and then all go on at once.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::{Duration, Instant};

use super::Parcel;
use crate::domain::Millis;

/// So many lanes' room is kept when nothing waits any more.
const LANES_KEPT: usize = 1024;
/// Rows of a lane that are held whole; of more only the numbers are.
const WHOLE_PER_LANE: usize = 32;
/// Rows that are held whole, all together.
const WHOLE: usize = 4096;
/// The first pause after a failure; each further one is twice as long.
const PAUSE: Duration = Duration::from_millis(500);
/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// When so many sessions fail with an event that was not refused before, and none gets through, it is the receiver.
const FAILING: usize = 3;
/// So many of the first are asked for the time of the oldest.
const OLDEST: usize = 64;

/// What failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The receiver does not take this event.
    Rejected,
    /// There is no receiver.
    Unreachable,
}

/// What to deliver next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Next {
    /// Its lane: to be told what became of it.
    pub lane: usize,
    /// Its number.
    pub number: u64,
    /// All of it; none: it must be read again.
    pub parcel: Option<Box<Parcel>>,
}

/// All events that wait for a target.
#[derive(Debug)]
pub struct Lanes {
    lanes: Vec<Lane>,
    /// The lane of each session of which something waits, by its hash.
    by_session: HashMap<u64, usize>,
    /// Lanes without a session.
    free: Vec<usize>,
    /// The first event of each lane, in the order of all.
    firsts: BTreeSet<(u64, usize)>,
    /// Lanes whose first event may go.
    ready: VecDeque<usize>,
    /// Lanes that try again later.
    later: BTreeSet<(Instant, usize)>,
    /// What comes after this number waits in this lane until that event is gone.
    held: BTreeSet<(usize, u64)>,
    /// The lanes that are held by an event.
    holding: HashMap<u64, Vec<usize>>,
    /// Sessions that have failed, with what was not refused before, since something last got through.
    failing: HashSet<u64>,
    /// The receiver is taken to be out of order: one try at a time, not before that.
    down: Option<Instant>,
    /// Attempts in a row that failed, of all lanes, those left out that were refused before.
    in_a_row: u32,
    flying: usize,
    most_flying: usize,
    /// The first pause after a failure.
    pause: Duration,
    waiting: usize,
    whole: usize,
}

#[derive(Debug, Default)]
struct Lane {
    session: u64,
    queue: VecDeque<Item>,
    failures: u32,
    /// The receiver has refused the first event: that it does so again tells nothing of the others.
    refused: bool,
}

#[derive(Debug)]
struct Item {
    number: u64,
    parcel: Option<Box<Parcel>>,
}

impl Lanes {
    /// Nothing waits; at most so many will be on their way at a time. If that is one, all are in one order.
    pub fn new(most_flying: usize) -> Self {
        Self::with_pause(most_flying, PAUSE)
    }

    pub(crate) fn with_pause(most_flying: usize, pause: Duration) -> Self {
        Self {
            lanes: Vec::new(),
            by_session: HashMap::new(),
            free: Vec::new(),
            firsts: BTreeSet::new(),
            ready: VecDeque::new(),
            later: BTreeSet::new(),
            held: BTreeSet::new(),
            holding: HashMap::new(),
            failing: HashSet::new(),
            down: None,
            in_a_row: 0,
            flying: 0,
            most_flying,
            pause,
            waiting: 0,
            whole: 0,
        }
    }

    /// One more waits, after all others of its session. Must be pushed in the order of their numbers.
    pub fn push(&mut self, parcel: Parcel) {
        for session in parcel.holds() {
            self.hold(&session, parcel.number);
        }
        let at = self.lane(parcel.session());
        let number = parcel.number;
        let lane = &mut self.lanes[at];
        let whole = lane.queue.len() < WHOLE_PER_LANE && self.whole < WHOLE;
        self.whole += usize::from(whole);
        self.waiting += 1;
        lane.queue.push_back(Item {
            number,
            parcel: whole.then(|| Box::new(parcel)),
        });
        if lane.queue.len() == 1 {
            self.firsts.insert((number, at));
            if !self.is_held(at, number) {
                self.ready.push_back(at);
            }
        }
    }

    /// How many wait, those on their way included.
    pub fn waiting(&self) -> usize {
        self.waiting
    }

    /// The receiver is taken to be out of order.
    pub fn is_down(&self) -> bool {
        self.down.is_some()
    }

    /// The next one that may go now. It stays first in its lane until it is told what became of it.
    pub fn next(&mut self, now: Instant) -> Option<Next> {
        if self.flying >= self.most_flying {
            return None;
        }
        let at = match self.down {
            Some(until) if self.flying > 0 || now < until => return None,
            // Those that have not tried yet first: of the others it is known what comes.
            Some(_) => self.ready.pop_front().or_else(|| self.due(now)),
            None => self.due(now).or_else(|| self.ready.pop_front()),
        }?;
        self.flying += 1;
        let first = self.lanes[at].queue.front()?;
        Some(Next {
            lane: at,
            number: first.number,
            parcel: first.parcel.clone(),
        })
    }

    /// When [`Lanes::next`] may have something that it has not now, unless something is pushed or told before.
    pub fn wake_at(&self) -> Option<Instant> {
        if self.flying >= self.most_flying {
            return None;
        }
        match self.down {
            Some(_) if self.flying > 0 || self.waiting == 0 => None,
            Some(until) if !self.ready.is_empty() => Some(until),
            Some(until) => Some(until.max(self.later.first()?.0)),
            None => self.later.first().map(|(until, _)| *until),
        }
    }

    /// The first of this lane is delivered, or given up.
    pub fn done(&mut self, at: usize, delivered: bool) {
        self.flying -= 1;
        self.waiting -= 1;
        let lane = &mut self.lanes[at];
        (lane.failures, lane.refused) = (0, false);
        if let Some(gone) = lane.queue.pop_front() {
            self.whole -= usize::from(gone.parcel.is_some());
            self.firsts.remove(&(gone.number, at));
            self.release(gone.number);
        }
        match self.lanes[at].queue.front().map(|item| item.number) {
            Some(number) => {
                self.firsts.insert((number, at));
                if !self.is_held(at, number) {
                    self.ready.push_back(at);
                }
            }
            None => self.leave(at),
        }
        if delivered {
            self.in_a_row = 0;
            self.failing.clear();
            if self.down.take().is_some() {
                // It was not their fault.
                for (_, at) in std::mem::take(&mut self.later) {
                    self.lanes[at].failures = 0;
                    self.ready.push_back(at);
                }
            }
        }
    }

    /// The first of this lane is not delivered, and will be tried again. `chance` is any number: pauses differ, so that not everybody
    /// who waits for one receiver comes at once.
    pub fn failed(&mut self, at: usize, failure: Failure, now: Instant, chance: u64) {
        self.flying -= 1;
        let lane = &mut self.lanes[at];
        lane.failures = lane.failures.saturating_add(1);
        let again = now + pause(self.pause, lane.failures, chance);
        let rejected = failure == Failure::Rejected;
        let known = rejected && lane.refused;
        lane.refused |= rejected;
        self.later.insert((again, at));
        if !known {
            self.failing.insert(lane.session);
            // What was on its way at the same time failed for the same reason, and is one attempt.
            if self.in_a_row == 0 || self.flying == 0 {
                self.in_a_row = self.in_a_row.saturating_add(1);
            }
        }
        let nobody = !rejected || (!known && self.failing.len() >= FAILING);
        if nobody || self.down.is_some() {
            self.down = Some(now + pause(self.pause, self.in_a_row, chance));
        }
    }

    /// When the oldest of those that wait happened, as far as it is known.
    pub fn oldest_at(&self) -> Option<Millis> {
        let mut firsts = self.firsts.iter().take(OLDEST);
        firsts.find_map(|(_, at)| Some(self.lanes[*at].queue.front()?.parcel.as_ref()?.row.at))
    }

    /// The lane of a session, a new one if nothing of it waits.
    fn lane(&mut self, session: &str) -> usize {
        let session = match self.most_flying {
            // All are in one order.
            0 | 1 => 0,
            _ => {
                let mut hasher = DefaultHasher::new();
                session.hash(&mut hasher);
                hasher.finish()
            }
        };
        *self.by_session.entry(session).or_insert_with(|| {
            let at = self.free.pop().unwrap_or_else(|| {
                self.lanes.push(Lane::default());
                self.lanes.len() - 1
            });
            self.lanes[at].session = session;
            at
        })
    }

    /// Nothing waits in this lane.
    fn leave(&mut self, at: usize) {
        if self.held.range((at, 0)..=(at, u64::MAX)).next().is_some() {
            return;
        }
        let lane = std::mem::take(&mut self.lanes[at]);
        self.by_session.remove(&lane.session);
        self.free.push(at);
        if self.by_session.is_empty() && self.lanes.len() > LANES_KEPT {
            (self.lanes, self.free) = (Vec::new(), Vec::new());
            self.by_session.shrink_to(LANES_KEPT);
            self.ready.shrink_to(LANES_KEPT);
        }
    }

    /// What comes of this session waits until the event of this number is gone.
    fn hold(&mut self, session: &str, number: u64) {
        if self.most_flying > 1 {
            let at = self.lane(session);
            if self.held.insert((at, number)) {
                self.holding.entry(number).or_default().push(at);
            }
        }
    }

    /// The event of this number is gone: what waited for it goes on.
    fn release(&mut self, number: u64) {
        for at in self.holding.remove(&number).unwrap_or_default() {
            self.held.remove(&(at, number));
            match self.lanes[at].queue.front().map(|item| item.number) {
                Some(first) if first > number && !self.is_held(at, first) => {
                    self.ready.push_back(at);
                }
                Some(_) => {}
                None => self.leave(at),
            }
        }
    }

    /// Something must go before the event of this number in this lane.
    fn is_held(&self, at: usize, number: u64) -> bool {
        self.held.range((at, 0)..(at, number)).next().is_some()
    }

    /// A lane whose pause is over.
    fn due(&mut self, now: Instant) -> Option<usize> {
        self.later.first().filter(|(until, _)| *until <= now)?;
        self.later.pop_first().map(|(_, at)| at)
    }
}

/// Exponential in the failures so far, between half and all of it.
fn pause(first: Duration, failures: u32, chance: u64) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    let whole = first.saturating_mul(1 << doublings).min(PAUSE_MAX);
    let part = 512 + (chance % 513) as u32;
    whole * part / 1024
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::{Channel, Waiting};

    fn parcel(number: u64, session: &str) -> Parcel {
        Parcel {
            key: Channel::Webhook.key(number, session),
            number,
            row: Waiting {
                id: format!("c-{number}"),
                name: "sessionCreated".to_owned(),
                at: number,
                body: "{}".to_owned(),
            },
        }
    }

    /// Two sessions that keep to lanes of their own.
    fn lanes(flying: usize) -> Lanes {
        let mut lanes = Lanes::new(flying);
        for number in 1..=3 {
            lanes.push(parcel(number * 2, "A"));
            lanes.push(parcel(number * 2 + 1, "B"));
        }
        lanes
    }

    #[test]
    fn a_session_waits_for_its_first_event_and_others_do_not() {
        let mut lanes = lanes(8);
        let now = Instant::now();
        let (a, b) = (lanes.next(now).expect("A"), lanes.next(now).expect("B"));
        assert_eq!((a.number, b.number), (2, 3));
        assert_eq!(lanes.next(now), None, "both are on their way");
        lanes.failed(a.lane, Failure::Rejected, now, 0);
        lanes.done(b.lane, true);
        let b = lanes.next(now).expect("B goes on");
        assert_eq!(b.number, 5);
        lanes.done(b.lane, true);
        let b = lanes.next(now).expect("B goes on");
        lanes.done(b.lane, true);
        assert_eq!(lanes.next(now), None);
        let again = lanes.wake_at().expect("A tries again");
        assert!(again >= now + PAUSE / 2 && again <= now + PAUSE);
        let a = lanes.next(again).expect("A");
        assert_eq!(a.number, 2, "the same again");
        lanes.done(a.lane, true);
        assert_eq!(lanes.next(again).map(|next| next.number), Some(4));
    }

    #[test]
    fn what_fails_together_is_one_attempt() {
        let mut lanes = Lanes::new(8);
        for number in 1..=100 {
            lanes.push(parcel(number, &format!("session {number}")));
        }
        let now = Instant::now();
        let flying: Vec<_> = std::iter::from_fn(|| lanes.next(now)).collect();
        assert_eq!(flying.len(), 8);
        for next in flying {
            lanes.failed(next.lane, Failure::Unreachable, now, 512);
        }
        let again = lanes.wake_at().expect("it is tried again");
        assert!(again <= now + 2 * PAUSE, "{:?}", again - now);
    }

    #[test]
    fn without_a_receiver_one_at_a_time_asks_for_it_ever_less_often() {
        let mut lanes = lanes(8);
        let mut now = Instant::now();
        let first = now;
        let (a, b) = (lanes.next(now).expect("A"), lanes.next(now).expect("B"));
        lanes.failed(a.lane, Failure::Unreachable, now, 512);
        assert_eq!(
            (lanes.next(now), lanes.wake_at()),
            (None, None),
            "B decides"
        );
        lanes.failed(b.lane, Failure::Unreachable, now, 512);
        let mut tries = 2;
        while now < first + Duration::from_secs(600) {
            now = lanes.wake_at().expect("it never ends");
            let next = lanes.next(now).expect("one");
            assert_eq!(lanes.next(now), None, "and no other");
            lanes.failed(next.lane, Failure::Unreachable, now, 512);
            tries += 1;
        }
        assert!((14..=20).contains(&tries), "{tries}");
        assert!(lanes.wake_at() <= Some(now + PAUSE_MAX));
        now = lanes.wake_at().expect("it never ends");
        let next = lanes.next(now).expect("one");
        lanes.done(next.lane, true);
        assert!(
            lanes.next(now).is_some() && lanes.next(now).is_some(),
            "all go on"
        );
    }

    #[test]
    fn one_event_that_nobody_takes_is_not_taken_for_a_receiver_that_is_gone() {
        let mut lanes = lanes(8);
        let mut now = Instant::now();
        for _ in 0..10 {
            while let Some(next) = lanes.next(now) {
                match next.number {
                    2 => lanes.failed(next.lane, Failure::Rejected, now, 0),
                    _ => lanes.done(next.lane, true),
                }
                assert!(!lanes.is_down());
            }
            now = lanes.wake_at().expect("A tries again");
        }
        lanes.push(parcel(9, "B"));
        assert_eq!(
            lanes.next(now - PAUSE).map(|next| next.number),
            Some(9),
            "at once"
        );
    }

    #[test]
    fn events_that_nobody_takes_delay_their_own_sessions_alone() {
        let mut lanes = Lanes::new(8);
        for number in 1..=5 {
            lanes.push(parcel(number, &format!("refused {number}")));
        }
        let start = Instant::now();
        let (mut now, mut pushed, mut tries) = (start, 5, 0);
        let mut since = None;
        while now < start + Duration::from_secs(3600) {
            // Somebody else's event, rarely.
            if since.is_none() && now >= start + Duration::from_secs(300) * (pushed - 4) {
                pushed += 1;
                lanes.push(parcel(u64::from(pushed), &format!("other {pushed}")));
                since = Some(now);
            }
            while let Some(next) = lanes.next(now) {
                if next.number <= 5 {
                    lanes.failed(next.lane, Failure::Rejected, now, 512);
                    tries += 1;
                    continue;
                }
                let waited = now - since.take().expect("one at a time");
                let most = if pushed == 6 {
                    16 * PAUSE
                } else {
                    Duration::ZERO
                };
                assert!(waited <= most, "{waited:?} for {pushed}");
                lanes.done(next.lane, true);
            }
            let due = start + Duration::from_secs(300) * (pushed - 4);
            let wake = lanes.wake_at().expect("five are tried for ever");
            assert!(wake > now, "it does not spin");
            now = if since.is_none() { wake.min(due) } else { wake };
        }
        assert!(pushed >= 15 && !lanes.is_down());
        assert!((300..500).contains(&tries), "{tries}");
        assert_eq!(lanes.waiting(), 5);
    }

    #[test]
    fn what_followed_from_a_crash_comes_after_it() {
        let mut lanes = Lanes::new(8);
        let now = Instant::now();
        let crash = |number, sessions: &str| {
            let mut crash = parcel(number, "");
            crash.row.name = "nodeCrashed".to_owned();
            crash.row.body = format!("{{\"event\":\"nodeCrashed\",\"sessionIds\":[{sessions}]}}");
            crash
        };
        lanes.push(parcel(1, "A"));
        lanes.push(crash(2, "\"A\",\"B\",\"B\",\"idle\""));
        for (number, session) in [(3, "A"), (4, "B"), (5, "C")] {
            lanes.push(parcel(number, session));
        }
        lanes.push(crash(6, "\"B\""));
        lanes.push(parcel(7, "B"));
        let go = |lanes: &mut Lanes| -> Vec<(u64, usize)> {
            std::iter::from_fn(|| lanes.next(now).map(|next| (next.number, next.lane))).collect()
        };
        let flying = go(&mut lanes);
        let numbers: Vec<_> = flying.iter().map(|(number, _)| *number).collect();
        assert_eq!(numbers, [1, 2, 5], "C is not concerned");
        lanes.done(flying[0].1, true);
        assert!(go(&mut lanes).is_empty(), "A waits for the crash too");
        lanes.failed(flying[1].1, Failure::Rejected, now, 0);
        assert!(go(&mut lanes).is_empty());
        let again = lanes.next(now + PAUSE).expect("the crash again");
        assert_eq!(again.number, 2);
        lanes.done(flying[2].1, true);
        lanes.done(again.lane, true);
        let mut flying = go(&mut lanes);
        flying.sort_unstable();
        let numbers: Vec<_> = flying.iter().map(|(number, _)| *number).collect();
        assert_eq!(numbers, [3, 4, 6]);
        lanes.done(flying[1].1, true);
        assert!(go(&mut lanes).is_empty(), "B waits for the second");
        lanes.done(flying[2].1, true);
        lanes.done(flying[0].1, true);
        let last = lanes.next(now).expect("the last");
        assert_eq!(last.number, 7);
        lanes.done(last.lane, true);
        assert_eq!((lanes.waiting(), lanes.by_session.len()), (0, 0));
        assert!(lanes.held.is_empty() && lanes.holding.is_empty() && lanes.firsts.is_empty());
        assert_eq!(lanes.free.len(), lanes.lanes.len());
    }

    #[test]
    fn sessions_never_wait_for_each_other_and_their_room_is_given_back() {
        const SESSIONS: u64 = 20_000;
        let mut lanes = Lanes::new(usize::MAX);
        let now = Instant::now();
        for number in 0..SESSIONS {
            lanes.push(parcel(number, &format!("session {number}")));
        }
        let flying: Vec<_> = std::iter::from_fn(|| lanes.next(now)).collect();
        assert_eq!(flying.len() as u64, SESSIONS, "each on its own");
        assert_eq!(lanes.oldest_at(), Some(0));
        for next in flying {
            lanes.done(next.lane, true);
        }
        assert_eq!((lanes.waiting(), lanes.lanes.len()), (0, 0));
        lanes.push(parcel(SESSIONS, "again"));
        assert!(lanes.next(now).is_some());
    }

    #[test]
    fn all_are_in_one_order_where_one_goes_at_a_time() {
        let mut lanes = lanes(1);
        let now = Instant::now();
        let mut order = Vec::new();
        while let Some(next) = lanes.next(now) {
            order.push(next.number);
            lanes.done(next.lane, true);
        }
        assert_eq!(order, [2, 3, 4, 5, 6, 7]);
    }

    #[test]
    fn of_what_waits_long_only_the_numbers_are_held() {
        let mut lanes = Lanes::new(8);
        let rows = WHOLE_PER_LANE as u64 + 5;
        for number in 0..rows {
            lanes.push(parcel(number, "A"));
        }
        assert_eq!(lanes.whole, WHOLE_PER_LANE);
        assert_eq!(lanes.oldest_at(), Some(0));
        let now = Instant::now();
        for number in 0..rows {
            let next = lanes.next(now).expect("one");
            assert_eq!(next.number, number);
            assert_eq!(next.parcel.is_some(), number < WHOLE_PER_LANE as u64);
            lanes.done(next.lane, true);
        }
        assert_eq!((lanes.whole, lanes.waiting()), (0, 0));
    }

    #[test]
    fn pauses_double_up_to_a_minute_and_differ() {
        assert_eq!(pause(PAUSE, 1, 512), PAUSE);
        assert_eq!(pause(PAUSE, 1, 0), PAUSE / 2);
        assert_eq!(pause(PAUSE, 4, 512), PAUSE * 8);
        assert_eq!(pause(PAUSE, u32::MAX, 512), PAUSE_MAX);
        assert_eq!(pause(PAUSE, u32::MAX, 0), PAUSE_MAX / 2);
    }
}
