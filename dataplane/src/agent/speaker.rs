//! Who speaks: the dominant speaker of a session, sans-IO.
//!
//! The decision of I. Volfin and I. Cohen, "Dominant speaker identification for multipoint videoconferencing" (2012): each
//! length of time gets a score, which says how much likelier speech is than none; somebody takes over when it is ahead of who
//! speaks now in all three, by far in the shorter ones. In addition somebody must have spoken for a while, or each cough into
//! a silence would count.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

use clock::Instant;
use sfu::loudness::{Activity, FIVES, FRAMES, STEPS};

/// How many of how many units are active where there is speech follows a binomial distribution of this chance; where there is
/// none, an exponential one of these rates.
const CHANCE: f64 = 0.5;
const RATES: [f64; 3] = [0.78, 24.0, 47.0];
/// By how much the logarithm of a score must be ahead.
const AHEAD: [f64; 3] = [3.0, 2.0, 0.0];
/// A score that says nothing for speech.
const SCORE_MIN: f64 = 1e-10;
/// So many tenths of the last second somebody must have spoken to take over.
const FIVES_MIN: u8 = 3;
/// Of whom nothing was heard for so long is silent.
const HEARD_FOR: Duration = Duration::from_millis(1_500);

/// Those who may speak in a session, by their names.
#[derive(Clone, Debug)]
pub struct Speaker<Name> {
    heard: HashMap<Name, (Activity, Instant)>,
    dominant: Option<Name>,
}

impl<Name> Default for Speaker<Name> {
    fn default() -> Self {
        Self {
            heard: HashMap::new(),
            dominant: None,
        }
    }
}

impl<Name: Clone + Eq + Hash> Speaker<Name> {
    /// Who speaks, or spoke last. Somebody who is muted does not.
    pub fn dominant(&self) -> Option<&Name> {
        self.dominant.as_ref()
    }

    /// What was heard last of each.
    pub fn heard(&self) -> impl Iterator<Item = (&Name, &Activity)> {
        let heard = self.heard.iter();
        heard.map(|(name, (activity, _))| (name, activity))
    }

    /// Nobody is known.
    pub fn is_empty(&self) -> bool {
        self.heard.is_empty()
    }

    /// Takes what was heard of somebody. Answers whether another one speaks now.
    pub fn on_activity(&mut self, now: Instant, name: &Name, activity: Activity) -> bool {
        self.heard.insert(name.clone(), (activity, now));
        if self.dominant.as_ref() == Some(name) {
            if activity.is_muted {
                self.dominant = None;
            }
            return activity.is_muted;
        }
        let takes_over = activity.fives >= FIVES_MIN
            && !activity.is_muted
            && self.beats(activity, self.dominant.as_ref(), now);
        if takes_over {
            self.dominant = Some(name.clone());
        }
        takes_over
    }

    /// Somebody is gone. Answers whether nobody speaks any more.
    pub fn on_gone(&mut self, name: &Name) -> bool {
        self.heard.remove(name);
        self.dominant.take_if(|dominant| dominant == name).is_some()
    }

    fn beats(&self, activity: Activity, dominant: Option<&Name>, now: Instant) -> bool {
        let Some(dominant) = dominant else {
            return true;
        };
        let heard = self.heard.get(dominant);
        let heard = heard.filter(|(_, at)| now.saturating_since(*at) <= HEARD_FOR);
        let other = heard.map_or(Activity::default(), |(activity, _)| *activity);
        let (mine, theirs) = (scores(activity), scores(other));
        (0..AHEAD.len()).all(|time| (mine[time] / theirs[time]).ln() > AHEAD[time])
    }
}

/// How much likelier speech is than none, over each of the three lengths of time.
fn scores(activity: Activity) -> [f64; 3] {
    let score = |active: u8, of: u8, rate: f64| {
        let (active, of) = (active.min(of), of);
        let speech = ways(active, of).ln()
            + f64::from(active) * CHANCE.ln()
            + f64::from(of - active) * (1.0 - CHANCE).ln();
        let none = rate.ln() - rate * f64::from(active);
        (speech - none).max(SCORE_MIN)
    };
    [
        score(activity.steps, STEPS, RATES[0]),
        score(activity.frames, FRAMES, RATES[1]),
        score(activity.fives, FIVES, RATES[2]),
    ]
}

/// In how many ways `some` of `all` can be chosen.
fn ways(some: u8, all: u8) -> f64 {
    (1..=some).fold(1.0, |ways, nth| {
        ways * f64::from(all - some + nth) / f64::from(nth)
    })
}

#[cfg(test)]
mod tests {
    use clock::Rng;
    use proto::rtp::extension::AudioLevel;
    use sfu::loudness::Loudness;

    use super::*;

    /// People in a room, each with a microphone, 20 ms at a time.
    struct Room {
        now: Instant,
        people: Vec<Loudness>,
        speaker: Speaker<usize>,
        rng: Rng,
        /// Who spoke from when on.
        history: Vec<(u64, Option<usize>)>,
    }

    impl Room {
        fn new(people: usize, seed: u64) -> Self {
            Self {
                now: Instant::from_millis(10_000),
                people: vec![Loudness::new(48_000); people],
                speaker: Speaker::default(),
                rng: Rng::from_number(seed),
                history: Vec::new(),
            }
        }

        fn millis(&self) -> u64 {
            self.now.as_millis() - 10_000
        }

        /// Lets time pass; `level` says how loud each is at a moment, in dB below overload.
        fn run(&mut self, millis: u64, mut level: impl FnMut(&mut Rng, usize, u64) -> u8) {
            let began = self.millis();
            for nth in 0..millis / 20 {
                self.now += Duration::from_millis(20);
                let timestamp = (self.now.as_millis() * 48) as u32;
                for person in 0..self.people.len() {
                    let level = AudioLevel {
                        voice: false,
                        level: level(&mut self.rng, person, nth * 20),
                    };
                    let told = self.people[person].on_packet(self.now, timestamp, level);
                    let changed = told.is_some_and(|activity| {
                        self.speaker.on_activity(self.now, &person, activity)
                    });
                    if changed {
                        let at = self.millis() - began;
                        self.history.push((at, self.speaker.dominant().copied()));
                    }
                }
            }
        }

        fn changes(&mut self) -> Vec<(u64, Option<usize>)> {
            core::mem::take(&mut self.history)
        }
    }

    /// Words of some 300 ms at −20 to −35 dBov, and pauses of up to 150 ms between them.
    fn speech(rng: &mut Rng, at: u64) -> u8 {
        match at % 450 {
            0..300 => 20 + rng.below(15) as u8,
            _ => background(rng),
        }
    }

    fn background(rng: &mut Rng) -> u8 {
        65 + rng.below(10) as u8
    }

    #[test]
    fn who_begins_to_speak_soon_is_the_speaker() {
        for seed in 0..20 {
            let mut room = Room::new(5, seed);
            room.run(5_000, |rng, _, _| background(rng));
            assert_eq!(room.changes(), [], "nobody has spoken");
            for who in [3, 1, 4, 0] {
                room.run(6_000, |rng, person, at| match person == who {
                    true => speech(rng, at),
                    false => background(rng),
                });
                let changes = room.changes();
                assert_eq!(changes.len(), 1, "seed {seed}: {changes:?}");
                let (at, speaker) = changes[0];
                assert_eq!(speaker, Some(who), "seed {seed}");
                assert!((300..=1_500).contains(&at), "seed {seed}: {at} ms");
            }
            room.run(60_000, |rng, _, _| background(rng));
            assert_eq!(room.changes(), [], "who spoke last is kept");
        }
    }

    #[test]
    fn short_noises_change_nothing() {
        for seed in 0..20 {
            let mut room = Room::new(4, seed);
            room.run(4_000, |rng, person, at| match person {
                0 => speech(rng, at),
                _ => background(rng),
            });
            assert_eq!(room.changes().len(), 1);
            // Doors and coughs of up to 200 ms, louder than speech, while somebody speaks and while nobody does.
            for speaks in [true, false] {
                room.run(60_000, |rng, person, at| match person {
                    0 if speaks => speech(rng, at),
                    1 | 2 if (at + 700 * person as u64) % 1_900 < 200 => 5 + rng.below(5) as u8,
                    _ => background(rng),
                });
                assert_eq!(room.changes(), [], "seed {seed}");
            }
            // The control: one of three quarters of a second is speech, for all that anybody knows.
            room.run(3_000, |rng, person, at| match person {
                1 if (1_000..1_750).contains(&at) => 8,
                _ => background(rng),
            });
            assert_eq!(room.changes().len(), 1, "seed {seed}");
        }
    }

    #[test]
    fn who_speaks_goes_on_while_others_interrupt() {
        for seed in 0..20 {
            let mut room = Room::new(3, seed);
            room.run(3_000, |rng, person, at| match person {
                0 => speech(rng, at),
                _ => background(rng),
            });
            room.changes();
            // Two at once: whoever has the word keeps it most of the time.
            room.run(30_000, |rng, person, at| match person {
                0 => speech(rng, at),
                1 => speech(rng, at + 200),
                _ => background(rng),
            });
            let changes = room.changes();
            assert!(changes.len() <= 6, "seed {seed}: {changes:?}");
        }
    }

    #[test]
    fn who_is_muted_never_speaks() {
        let mut room = Room::new(3, 1);
        room.run(3_000, |rng, person, at| match person {
            0 => speech(rng, at),
            _ => 127,
        });
        assert_eq!(room.speaker.dominant(), Some(&0));
        room.changes();
        room.run(3_000, |_, _, _| 127);
        let changes = room.changes();
        assert_eq!(changes.len(), 1);
        assert_eq!(changes[0].1, None);
        assert!(changes[0].0 <= 1_600, "{changes:?}");
        // Whatever it is said to be: what says muted is muted.
        let loud = Activity {
            steps: STEPS,
            frames: FRAMES,
            fives: FIVES,
            level: 10,
            is_muted: true,
        };
        assert!(!room.speaker.on_activity(room.now, &1, loud));
    }

    #[test]
    fn who_is_gone_or_not_heard_of_any_more_gives_way() {
        let mut room = Room::new(2, 1);
        let one = |who: usize| {
            move |rng: &mut Rng, person: usize, at: u64| match person == who {
                true => speech(rng, at),
                false => background(rng),
            }
        };
        room.run(3_000, one(0));
        assert!(!room.speaker.on_gone(&1));
        assert!(room.speaker.on_gone(&0));
        assert_eq!(room.speaker.dominant(), None);
        room.run(3_000, one(0));
        assert_eq!(room.speaker.dominant(), Some(&0));
        // Its packets stop in the middle of a word, and the other one speaks.
        let loud = Activity {
            steps: 10,
            frames: FRAMES,
            fives: 5,
            level: 20,
            is_muted: false,
        };
        let still = room.speaker.on_activity(room.now, &1, loud);
        assert!(!still, "the other one has the word");
        let later = room.now + HEARD_FOR + Duration::from_millis(1);
        assert!(room.speaker.on_activity(later, &1, loud));
    }

    #[test]
    fn scores_grow_with_what_is_active() {
        let at = |steps, frames, fives| {
            scores(Activity {
                steps,
                frames,
                fives,
                ..Activity::default()
            })
        };
        assert_eq!(at(0, 0, 0), [SCORE_MIN; 3]);
        for steps in 8..=STEPS {
            assert!(at(steps, 0, 0)[0] > 1.0, "any step of speech is a lot");
        }
        for more in 1..=FRAMES {
            assert!(at(0, more, 0)[1] > at(0, more - 1, 0)[1]);
        }
        for more in 1..=FIVES {
            assert!(at(0, 0, more)[2] > at(0, 0, more - 1)[2]);
        }
        assert_eq!(ways(5, 13), 1_287.0);
    }
}
