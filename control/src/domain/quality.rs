//! Network quality: how good the way to and from a user is, as a level from 0 to 5, and when to tell of a change.
//!
//! The words are OpenVidu's: 5 excellent, 4 good, 3 non-optimal (bursts of loss, which repair hides), 2 poor, 1 bad
//! (interruptions), 0 broken (the client is cut off and tries to reconnect). OpenVidu's own formula is not public; this is ours:
//! each number has a level of its own, and the worst of them counts, for a chain is as weak as its weakest link.
//!
//! | level | loss before repair | jitter | round trip | gets of what it could have |
//! |---|---|---|---|---|
//! | 5 | ≤ 1 % | ≤ 30 ms | ≤ 200 ms | ≥ 75 % |
//! | 4 | ≤ 3 % | ≤ 50 ms | ≤ 350 ms | ≥ 50 % |
//! | 3 | ≤ 8 % | ≤ 100 ms | ≤ 600 ms | ≥ 25 % |
//! | 2 | ≤ 20 % | ≤ 200 ms | ≤ 1 s | ≥ 10 % |
//! | 1 | more | more | more | less |
//!
//! Nothing arriving of a stream that is on is 1; a lost WebSocket is 0.

/// 0 to 5.
pub type Level = u8;

/// Everything is fine.
pub const EXCELLENT: Level = 5;
/// Interruptions.
const BAD: Level = 1;
/// The client is cut off.
pub(super) const BROKEN: Level = 0;

/// The worst that levels 5, 4, 3 and 2 allow: loss in millionths, jitter and round trip in microseconds.
const LOSS_PPM: [u32; 4] = [10_000, 30_000, 80_000, 200_000];
const JITTER_MICROS: [u32; 4] = [30_000, 50_000, 100_000, 200_000];
const ROUND_TRIP_MICROS: [u32; 4] = [200_000, 350_000, 600_000, 1_000_000];
/// How much less than all, in percent.
const MISSING_PERCENT: [u32; 4] = [25, 50, 75, 90];

/// A level that is lower by so much is told at once.
const PLUNGE: Level = 2;
/// One that is lower by less must be seen so often in a row, and a higher one so often.
const LOWER_LOOKS: u8 = 2;
const HIGHER_LOOKS: u8 = 3;

/// What was measured of one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Direction {
    /// Bits of all RTP streams in a second.
    bits_per_second: u64,
    /// Losses, weighed by those.
    lost_bits_ppm: u128,
    /// The least of any RTP stream: pacing by the sender looks like jitter in some of them, the path is in all.
    jitter_micros: Option<u32>,
    /// What the best encodings take of which a copy could be had.
    wanted_bits_per_second: u64,
}

/// What was measured of a user's transports at one look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Measured {
    /// From the user.
    pub up: Direction,
    /// To the user.
    pub down: Direction,
    /// The shortest of any transport, microseconds.
    pub round_trip_micros: Option<u32>,
    /// A stream of the user is on, and nothing of it arrives.
    pub is_silent: bool,
    /// Its WebSocket is gone.
    pub is_away: bool,
}

impl Direction {
    /// Takes in an RTP stream. One that carries nothing says nothing.
    pub fn add(&mut self, bits_per_second: u64, loss_ppm: u32, jitter_micros: u32, wanted: u64) {
        self.wanted_bits_per_second = self.wanted_bits_per_second.saturating_add(wanted);
        if bits_per_second == 0 {
            return;
        }
        self.bits_per_second = self.bits_per_second.saturating_add(bits_per_second);
        self.lost_bits_ppm += u128::from(bits_per_second) * u128::from(loss_ppm);
        let least = self.jitter_micros.unwrap_or(jitter_micros);
        self.jitter_micros = Some(least.min(jitter_micros));
    }

    /// Nothing came.
    pub fn is_empty(&self) -> bool {
        self.bits_per_second == 0
    }

    fn loss_ppm(&self) -> u32 {
        let mean = self
            .lost_bits_ppm
            .checked_div(u128::from(self.bits_per_second));
        u32::try_from(mean.unwrap_or(0)).unwrap_or(u32::MAX)
    }

    fn missing_percent(&self) -> u32 {
        let had = u128::from(self.bits_per_second) * 100;
        let percent = had.checked_div(u128::from(self.wanted_bits_per_second));
        100 - percent.unwrap_or(100).min(100) as u32
    }
}

impl Measured {
    /// Takes in the round trip of a transport.
    pub fn add_round_trip(&mut self, micros: Option<u32>) {
        self.round_trip_micros = match (self.round_trip_micros, micros) {
            (Some(least), Some(micros)) => Some(least.min(micros)),
            (least, micros) => least.or(micros),
        };
    }

    /// The level that this is; `None` if nothing was measured.
    pub fn level(&self) -> Option<Level> {
        if self.is_away {
            return Some(BROKEN);
        }
        if self.is_silent {
            return Some(BAD);
        }
        let directions = [&self.up, &self.down];
        if directions.iter().all(|one| one.is_empty()) {
            return None;
        }
        let of_directions = directions.iter().map(|one| {
            let loss = graded(one.loss_ppm(), LOSS_PPM);
            let jitter = graded(one.jitter_micros.unwrap_or(0), JITTER_MICROS);
            let missing = graded(one.missing_percent(), MISSING_PERCENT);
            loss.min(jitter).min(missing)
        });
        let round_trip = graded(self.round_trip_micros.unwrap_or(0), ROUND_TRIP_MICROS);
        of_directions.chain([round_trip]).min()
    }
}

fn graded(number: u32, bounds: [u32; 4]) -> Level {
    let worse = bounds.iter().filter(|bound| number > **bound).count();
    EXCELLENT - worse as Level
}

/// What was told of a user's level, and where it leans.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quality {
    told: Option<Level>,
    /// A level on the same side of the told one for so many looks: of those the nearest to it.
    leans: Option<(Level, u8)>,
}

impl Quality {
    /// Takes a look. Answers the old and the new level when the change is to be told, which it is only if that is allowed now; else it
    /// will be at the next look. What was never told of begins at 0.
    pub fn look(&mut self, level: Level, may_tell: bool) -> Option<(Level, Level)> {
        let Some(told) = self.told else {
            return may_tell.then(|| (BROKEN, *self.told.insert(level)));
        };
        if level == told {
            self.leans = None;
            return None;
        }
        let (nearest, looks) = match self.leans {
            Some((leans, looks)) if (leans < told) == (level < told) => {
                let nearest = if level < told {
                    leans.max(level)
                } else {
                    leans.min(level)
                };
                (nearest, looks.saturating_add(1))
            }
            _ => (level, 1),
        };
        self.leans = Some((nearest, looks));
        let is_sure = match level < told {
            true => level + PLUNGE <= told || looks >= LOWER_LOOKS,
            false => looks >= HIGHER_LOOKS,
        };
        if !is_sure || !may_tell {
            return None;
        }
        let new = if level + PLUNGE <= told {
            level
        } else {
            nearest
        };
        (self.told, self.leans) = (Some(new), None);
        Some((told, new))
    }

    /// What was told last.
    pub fn told(&self) -> Option<Level> {
        self.told
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Loss in percent, jitter and round trip in milliseconds, what is had of what is wanted in percent.
    fn level(loss: f64, jitter: u32, round_trip: u32, had: u64) -> Option<Level> {
        let mut measured = Measured::default();
        let ppm = (loss * 1e4) as u32;
        measured
            .down
            .add(had * 10_000, ppm, jitter * 1_000, 1_000_000);
        measured.add_round_trip(Some(round_trip * 1_000));
        measured.level()
    }

    #[test]
    fn the_worst_number_decides() {
        for (expected, loss, jitter, round_trip, had) in [
            (5, 0.0, 0, 0, 100),
            (5, 1.0, 30, 200, 75),
            (5, 0.0, 5, 20, 300),
            (4, 1.1, 5, 20, 100),
            (4, 0.0, 31, 20, 100),
            (4, 0.0, 5, 201, 100),
            (4, 0.0, 5, 20, 74),
            (3, 3.1, 31, 201, 74),
            (3, 0.0, 5, 20, 49),
            (2, 8.5, 5, 20, 100),
            (2, 0.0, 101, 20, 100),
            (2, 0.0, 5, 700, 100),
            (2, 0.0, 5, 20, 24),
            (1, 20.5, 5, 20, 100),
            (1, 0.0, 250, 20, 100),
            (1, 0.0, 5, 1_001, 100),
            (1, 0.0, 5, 20, 9),
        ] {
            let found = level(loss, jitter, round_trip, had);
            assert_eq!(found, Some(expected), "{loss} {jitter} {round_trip} {had}");
        }
    }

    #[test]
    fn a_direction_is_judged_by_all_its_streams() {
        let mut measured = Measured::default();
        assert_eq!(measured.level(), None, "nothing was measured");
        measured.up.add(0, 900_000, 900_000, 0);
        assert_eq!(measured.level(), None, "what carries nothing says nothing");
        // The picture's packets come in bursts; the sound shows that the path is steady. A few packets of sound lost are little.
        measured.up.add(950_000, 0, 90_000, 0);
        measured.up.add(50_000, 100_000, 2_000, 0);
        assert_eq!(measured.level(), Some(5));
        measured.down.add(1_000_000, 50_000, 2_000, 0);
        assert_eq!(measured.level(), Some(3), "the worse direction decides");
        measured.add_round_trip(Some(900_000));
        measured.add_round_trip(None);
        assert_eq!(measured.level(), Some(2));
        measured.add_round_trip(Some(10_000));
        assert_eq!(measured.level(), Some(3));
        measured.is_silent = true;
        assert_eq!(measured.level(), Some(1));
        measured.is_away = true;
        assert_eq!(measured.level(), Some(0));
    }

    fn told(looks: &[Level]) -> Vec<(Level, Level)> {
        let mut quality = Quality::default();
        looks
            .iter()
            .filter_map(|level| quality.look(*level, true))
            .collect()
    }

    #[test]
    fn changes_are_told_once_they_are_sure() {
        assert_eq!(told(&[5, 5, 5]), [(0, 5)]);
        assert_eq!(told(&[5, 4, 5, 4, 5, 4, 5]), [(0, 5)], "it does not flap");
        assert_eq!(told(&[5, 4, 4, 4]), [(0, 5), (5, 4)]);
        assert_eq!(
            told(&[5, 2, 2]),
            [(0, 5), (5, 2)],
            "a plunge is told at once"
        );
        assert_eq!(
            told(&[2, 5, 5, 3, 5]),
            [(0, 2), (2, 3)],
            "up to the lowest of the last"
        );
        assert_eq!(told(&[2, 5, 5, 2, 5, 5, 2]), [(0, 2)]);
        assert_eq!(told(&[4, 3, 5, 3, 5]), [(0, 4)], "both sides");
        assert_eq!(told(&[0, 5, 5, 5]), [(0, 0), (0, 5)]);
    }

    #[test]
    fn what_may_not_be_told_now_is_told_later() {
        let mut quality = Quality::default();
        assert_eq!(quality.look(5, false), None);
        assert_eq!(quality.look(5, true), Some((0, 5)));
        assert_eq!(quality.look(3, false), None);
        assert_eq!(quality.look(4, false), None);
        assert_eq!(quality.look(4, true), Some((5, 4)));
        assert_eq!(quality.told(), Some(4));
    }
}
