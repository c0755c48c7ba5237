//! Sharing a number of bits per second among the subscriptions of one connection.
//!
//! First everybody gets what can't be left out: sound, and pictures that nobody may pause. Then one step more at a time, in
//! rounds, the more important first, until nothing more fits; the first step of pictures that may be paused is their base. Who
//! can't have its next step keeps what it has, and the others go on.

use core::cmp::Reverse;

use crate::model::layers::ENCODINGS_MAX;

/// A step up must leave so much of the budget free, in percent of what is spent, or the next ripple would take it back.
/// Several who can go up do so with more, for the key frames of one make all others wait.
const MARGIN_PERCENT: u64 = 8;
const MARGIN_OF_SEVERAL_PERCENT: u64 = 20;
/// One for each encoding, and none of them.
const STEPS_MAX: usize = ENCODINGS_MAX + 1;

/// One who wants a share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// Its name, which also decides between equals.
    pub(crate) outgoing: u32,
    /// Greater ones are served first in each round.
    pub(crate) priority: u8,
    /// What each step takes in all, in bit/s, lowest first.
    steps: [u64; STEPS_MAX],
    count: u8,
    /// The lowest step is that nothing is sent.
    is_pausable: bool,
    /// It gets this step even if there is no room for it.
    least: u8,
    /// The step that it has, and afterwards the one that it gets.
    pub(crate) has: u8,
    pub(crate) gets: u8,
    closed: bool,
}

impl Wanted {
    /// Somebody who can't be served with less than `base` bit/s.
    pub(crate) fn new(outgoing: u32, priority: u8, base: u64) -> Self {
        let mut steps = [0; STEPS_MAX];
        steps[0] = base;
        Self {
            outgoing,
            priority,
            steps,
            count: 1,
            is_pausable: false,
            least: 0,
            has: 0,
            gets: 0,
            closed: false,
        }
    }

    /// Somebody who can do without: its base, for so many bit/s, is a step already.
    pub(crate) fn pausable(outgoing: u32, priority: u8, base: u64) -> Self {
        let mut one = Self {
            is_pausable: true,
            ..Self::new(outgoing, priority, 0)
        };
        one.step(base);
        one
    }

    /// Which of the encodings that there could be comes with a step, from zero; `None` if nothing is sent.
    pub(crate) fn encoding(&self, step: u8) -> Option<u8> {
        step.checked_sub(u8::from(self.is_pausable))
    }

    /// The step with which that one comes.
    pub(crate) fn step_of(&self, encoding: u8) -> u8 {
        encoding + u8::from(self.is_pausable)
    }

    /// It must keep its base if it has that.
    pub(crate) fn keep(&mut self) {
        self.least = self.has.min(self.step_of(0));
    }

    /// There is more, for so much in all. What costs less than the step below counts as if it cost the same.
    pub(crate) fn step(&mut self, bits_per_second: u64) {
        if usize::from(self.count) < STEPS_MAX {
            self.steps[usize::from(self.count)] = bits_per_second.max(self.price(self.top()));
            self.count += 1;
        }
    }

    /// A step may take more than was said. To be told in order; what costs less than the step below costs the same.
    pub(crate) fn reprice(&mut self, step: u8, bits_per_second: u64) {
        let below = step.checked_sub(1).map_or(0, |below| self.price(below));
        let price = &mut self.steps[usize::from(step)];
        *price = bits_per_second.max(*price).max(below);
    }

    /// The highest step.
    pub(crate) fn top(&self) -> u8 {
        self.count - 1
    }

    /// It must not get more than it has.
    pub(crate) fn stay(&mut self) {
        self.count = self.has + 1;
    }

    /// What a step takes in all, in bit/s.
    pub(crate) fn price(&self, step: u8) -> u64 {
        self.steps[usize::from(step.min(self.top()))]
    }

    fn next(&self) -> Option<u8> {
        (!self.closed && self.gets < self.top()).then_some(self.gets + 1)
    }
}

/// Says what each gets of `budget` bit/s, and what that takes in all: no more than the budget unless everybody has only what
/// nobody may take away. Up from what somebody has it goes with a margin.
pub(crate) fn allocate(budget: u64, wanted: &mut [Wanted]) -> u64 {
    let margin = margin(wanted);
    wanted.sort_unstable_by_key(|one| (Reverse(one.priority), one.outgoing));
    let mut spent = 0_u64;
    for one in wanted.iter_mut() {
        (one.gets, one.closed) = (one.least, false);
        spent = spent.saturating_add(one.price(one.least));
    }
    let mut raised = true;
    while raised {
        raised = false;
        for one in wanted.iter_mut() {
            let Some(next) = one.next() else {
                continue;
            };
            let price = one.price(next) - one.price(one.gets);
            let total = spent.saturating_add(price);
            let percent = match next {
                _ if next <= one.has => 0,
                // One picture that is there again is worth more than the others are harmed by its key frame.
                _ if one.encoding(one.gets).is_none() => MARGIN_PERCENT,
                _ => margin,
            };
            let takes = total.saturating_add(total.saturating_mul(percent) / 100);
            if takes <= budget {
                (spent, one.gets, raised) = (total, next, true);
            } else {
                one.closed = true;
            }
        }
    }
    spent
}

/// What must be free beyond what is spent, in percent of that, for somebody to go up.
pub(crate) fn margin(wanted: &[Wanted]) -> u64 {
    match wanted.iter().filter(|one| one.top() > 0).count() {
        0 | 1 => MARGIN_PERCENT,
        _ => MARGIN_OF_SEVERAL_PERCENT,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn wanted(outgoing: u32, priority: u8, steps: &[u64]) -> Wanted {
        let mut one = Wanted::new(outgoing, priority, steps[0]);
        for step in &steps[1..] {
            one.step(*step);
        }
        one
    }

    fn pausable(outgoing: u32, priority: u8, steps: &[u64]) -> Wanted {
        let mut one = Wanted::pausable(outgoing, priority, steps[0]);
        for step in &steps[1..] {
            one.step(*step);
        }
        one
    }

    fn gets(wanted: &mut [Wanted], budget: u64) -> Vec<u8> {
        allocate(budget, wanted);
        wanted.sort_by_key(|one| one.outgoing);
        wanted.iter().map(|one| one.gets).collect()
    }

    #[test]
    fn goes_in_rounds_and_the_more_important_first() {
        let steps = [100, 300, 900];
        let mut all = [
            wanted(0, 0, &[40]),
            wanted(1, 1, &steps),
            wanted(2, 2, &steps),
            wanted(3, 1, &steps),
        ];
        assert_eq!(gets(&mut all, 0), [0, 0, 0, 0]);
        // With its margin a step must fit: 540 and 108, 740 and 148, 940 and 188.
        assert_eq!(gets(&mut all, 647), [0, 0, 0, 0]);
        assert_eq!(gets(&mut all, 648), [0, 0, 1, 0]);
        assert_eq!(gets(&mut all, 888), [0, 1, 1, 0]);
        assert_eq!(gets(&mut all, 1_128), [0, 1, 1, 1]);
        assert_eq!(gets(&mut all, 1_848), [0, 1, 2, 1]);
        assert_eq!(gets(&mut all, 4_000), [0, 2, 2, 2]);
    }

    #[test]
    fn sound_comes_first_and_then_the_base_of_the_more_important() {
        let steps = [100, 300];
        let mut all = [
            wanted(0, 0, &[40]),
            pausable(1, 0, &steps),
            pausable(2, 1, &steps),
        ];
        assert_eq!(gets(&mut all, 10), [0, 0, 0]);
        // With their margin: 140 and 11, 240 and 19.
        assert_eq!(gets(&mut all, 150), [0, 0, 0]);
        assert_eq!(gets(&mut all, 151), [0, 0, 1]);
        assert_eq!(gets(&mut all, 259), [0, 1, 1]);
        for one in &mut all {
            one.has = one.gets;
        }
        assert_eq!(gets(&mut all, 140), [0, 0, 1]);
        all.iter_mut().for_each(Wanted::keep);
        assert_eq!(gets(&mut all, 10), [0, 1, 1]);
    }

    #[test]
    fn what_somebody_has_needs_no_margin() {
        let mut one = [wanted(1, 0, &[100, 300, 900])];
        assert_eq!(gets(&mut one, 310), [0]);
        one[0].has = 1;
        assert_eq!(gets(&mut one, 310), [1]);
        assert_eq!(gets(&mut one, 299), [0]);
        one[0].stay();
        assert_eq!(gets(&mut one, u64::MAX), [1]);
    }

    #[test]
    fn who_needs_too_much_does_not_keep_the_others_from_more() {
        let mut all = [wanted(1, 1, &[100, 5_000]), wanted(2, 0, &[100, 200])];
        assert_eq!(gets(&mut all, 1_000), [0, 1]);
    }

    fn any_wanted() -> impl Strategy<Value = Vec<Wanted>> {
        let one = (
            0_u8..3,
            prop::collection::vec(0_u64..3_000_000, 1..=ENCODINGS_MAX),
            any::<u8>(),
        );
        prop::collection::vec(one, 0..12).prop_map(|all| {
            let all = all.into_iter().zip(0..);
            all.map(|((priority, mut steps, has), outgoing)| {
                steps.sort_unstable();
                let mut one = match has % 2 {
                    0 => wanted(outgoing, priority, &steps),
                    _ => pausable(outgoing, priority, &steps),
                };
                one.has = has / 2 % one.count;
                one
            })
            .collect()
        })
    }

    proptest! {
        #[test]
        fn never_spends_more_than_there_is(mut all in any_wanted(), budget in 0_u64..20_000_000) {
            let spent = allocate(budget, &mut all);
            prop_assert_eq!(spent, all.iter().map(|one| one.price(one.gets)).sum::<u64>());
            prop_assert!(spent <= budget || all.iter().all(|one| one.gets == 0));
        }

        #[test]
        fn the_order_in_which_they_are_named_is_of_no_matter(all in any_wanted(), budget in 0_u64..20_000_000) {
            let (mut forth, mut back) = (all.clone(), all);
            back.reverse();
            prop_assert_eq!(gets(&mut forth, budget), gets(&mut back, budget));
        }

        /// Round by round, the more important first: the first that is decided otherwise with more is decided in favour.
        #[test]
        fn more_never_takes_from_those_who_come_first(mut all in any_wanted(), budget in 0_u64..20_000_000, more in 0_u64..5_000_000) {
            let decisions = |all: &[Wanted]| -> Vec<bool> {
                let rounds = 1..ENCODINGS_MAX as u8;
                rounds.flat_map(|round| all.iter().map(move |one| one.gets >= round)).collect()
            };
            allocate(budget, &mut all);
            let before = decisions(&all);
            allocate(budget + more, &mut all);
            prop_assert!(decisions(&all) >= before);
        }

        /// As encodings are made: each takes more on top of the one below than that on top of its own.
        #[test]
        fn more_is_never_worse_for_anybody_among_equals(
            mut increments in prop::collection::vec(0_u64..1_000_000, 1..=ENCODINGS_MAX), count in 1_u32..12,
            budget in 0_u64..20_000_000, more in 0_u64..5_000_000,
        ) {
            increments.sort_unstable();
            let steps = increments.iter().scan(0, |sum, increment| {
                *sum += increment;
                Some(*sum)
            });
            let steps: Vec<u64> = steps.collect();
            let mut all: Vec<_> = (0..count).map(|name| wanted(name, 0, &steps)).collect();
            let before = gets(&mut all, budget);
            let after = gets(&mut all, budget + more);
            prop_assert!(before.iter().zip(&after).all(|(before, after)| before <= after));
        }

        /// As far as the margin of one who wants more reaches.
        #[test]
        fn ripples_change_nothing(mut all in any_wanted(), budget in 10_000_u64..20_000_000, ripples in prop::collection::vec(96_u64..=103, 1..30)) {
            for one in &mut all {
                one.has = 0;
            }
            // From there to the deepest ripple it is less than the least margin.
            let first = gets(&mut all, budget * 103 / 100);
            for ripple in ripples {
                for one in &mut all {
                    one.has = one.gets;
                }
                prop_assert_eq!(&gets(&mut all, budget * ripple / 100), &first);
            }
        }
    }
}
