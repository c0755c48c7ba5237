//! How loud a publisher is, and how much of that looks like speech, from the levels that its packets tell (RFC 6464).
//!
//! After I. Volfin and I. Cohen, "Dominant speaker identification for multipoint videoconferencing" (2012): speech is told from
//! short noises by looking at three lengths of time. Here they are a frame of 20 ms, five frames, and the ten fives of the last
//! second. The paper counts sub-bands in which there is signal; all that we have of a frame is its level, so the level is cut into
//! as many steps instead, and counts only above the sender's own background noise.

use clock::{Duration, Instant};
use proto::rtp::extension::AudioLevel;
use proto::rtp::sequence::timestamp_distance;

/// Frames per second.
const FRAMES_PER_SECOND: u32 = 50;
/// Most frames that one packet stands for: Opus packets are of up to 120 ms.
const PACKET_FRAMES_MAX: u32 = 6;
/// A level that says digital silence.
const SILENCE: u8 = 127;
/// Steps of a level.
pub const STEPS: u8 = 13;
/// A frame of more steps than this may be speech: louder than about −50 dBov.
const STEPS_OF_SPEECH: u8 = 7;
/// By so much speech is above the background, in dB.
const MARGIN: u32 = 9;
/// The background is never taken for louder than this, in dB above silence: −40 dBov.
const BACKGROUND_MAX: u32 = 87;
/// Frames of the medium time.
pub const FRAMES: u8 = 5;
/// Fives of frames of the long time.
pub const FIVES: u8 = 10;
/// So many frames of five must be of speech for the five to be.
const FRAMES_OF_SPEECH: u32 = 4;
/// Frames that are remembered.
const REMEMBERED: u32 = FRAMES as u32 * FIVES as u32;
/// How often something is told.
const TELL_INTERVAL: Duration = Duration::from_millis(300);
/// A change of less than so many dB is not told of those who do not speak.
const TELL_CHANGE: u8 = 6;
/// A packet so much older than the newest, in seconds, begins a new clock.
const CLOCK_RESTART: u32 = 2;

/// What was heard of a publisher lately.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Activity {
    /// Steps of the newest frame if it may be speech, else 0; at most [`STEPS`].
    pub steps: u8,
    /// How many of the last five frames may be speech, 0 to [`FRAMES`].
    pub frames: u8,
    /// How many fives of the last second are speech, 0 to [`FIVES`].
    pub fives: u8,
    /// Smoothed level in dB below overload, 0 to 127, which is silence.
    pub level: u8,
    /// There was nothing but digital silence for a second: it is muted.
    pub is_muted: bool,
}

/// Follows one publisher.
#[derive(Clone, Copy, Debug)]
pub struct Loudness {
    ticks_per_frame: u32,
    /// Where the newest frame ends.
    timestamp: Option<u32>,
    /// Whether each of the last frames may be speech, newest in the lowest bit.
    speech: u64,
    /// Steps of the newest.
    steps: u8,
    /// Frames of digital silence in a row.
    silent: u32,
    /// Smoothed, in dB above silence, 256ths.
    level: u32,
    /// Background noise in the same unit.
    background: u32,
    told: Activity,
    tell_at: Instant,
}

impl Loudness {
    /// Follows a publisher with that RTP clock, in hertz.
    pub fn new(clock_rate: u32) -> Self {
        Self {
            ticks_per_frame: (clock_rate / FRAMES_PER_SECOND).max(1),
            timestamp: None,
            speech: 0,
            steps: 0,
            silent: 0,
            level: 0,
            background: 0,
            told: Activity {
                level: SILENCE,
                ..Activity::default()
            },
            tell_at: Instant::ZERO,
        }
    }

    /// A packet with that level and timestamp came. Returns what is worth telling, if it is time to.
    pub fn on_packet(
        &mut self,
        now: Instant,
        timestamp: u32,
        level: AudioLevel,
    ) -> Option<Activity> {
        let frames = self.frames_until(timestamp);
        // What did not come was silence that nobody sent, unless it is only that packets are long, or one got lost.
        let is_pause = frames > PACKET_FRAMES_MAX;
        if is_pause {
            self.pause(frames - 1);
        }
        for _ in 0..if is_pause { 1 } else { frames } {
            self.frame(level.level);
        }
        if now < self.tell_at {
            return None;
        }
        // Those of a worker tell at about the same time, so that the agent is woken for many at once.
        let interval = TELL_INTERVAL.as_nanos() as u64;
        self.tell_at = Instant::from_nanos((now.as_nanos() / interval + 1) * interval);
        self.tell()
    }

    /// How many frames have passed since the last packet.
    fn frames_until(&mut self, timestamp: u32) -> u32 {
        let Some(last) = self.timestamp else {
            self.timestamp = Some(timestamp);
            return 1;
        };
        let distance = timestamp_distance(last, timestamp);
        let restart = self.ticks_per_frame * FRAMES_PER_SECOND * CLOCK_RESTART;
        if distance < 0 {
            if distance.unsigned_abs() > restart {
                self.timestamp = Some(timestamp);
            }
            return 0;
        }
        let frames = distance.unsigned_abs() / self.ticks_per_frame;
        self.timestamp = Some(last.wrapping_add(frames * self.ticks_per_frame));
        frames
    }

    /// So many frames did not come.
    fn pause(&mut self, frames: u32) {
        let frames = frames.min(REMEMBERED);
        self.speech = self.speech.checked_shl(frames).unwrap_or(0);
        self.steps = 0;
        self.level -= self.level * frames / REMEMBERED;
    }

    fn frame(&mut self, level: u8) {
        let loud = u32::from(SILENCE.saturating_sub(level)) << 8;
        self.silent = if loud == 0 {
            self.silent.saturating_add(1)
        } else {
            0
        };
        // Quieter at once, louder by 3 dB a second: between two words there is always some background alone.
        self.background = loud.min(self.background + 15).min(BACKGROUND_MAX << 8);
        self.level = (self.level * 15 + loud) / 16;
        let is_above = loud >= self.background + (MARGIN << 8);
        let steps = (loud >> 8) * u32::from(STEPS) / u32::from(SILENCE);
        let may_be_speech = is_above && steps > u32::from(STEPS_OF_SPEECH);
        self.steps = if may_be_speech { steps as u8 } else { 0 };
        self.speech = self.speech << 1 | u64::from(may_be_speech);
    }

    fn activity(&self) -> Activity {
        let five = |nth: u8| {
            let frames = self.speech >> (u32::from(nth) * u32::from(FRAMES));
            (frames & ((1 << FRAMES) - 1)).count_ones()
        };
        let spoken = (0..FIVES).filter(|nth| five(*nth) >= FRAMES_OF_SPEECH);
        Activity {
            steps: self.steps,
            frames: five(0) as u8,
            fives: spoken.count() as u8,
            level: SILENCE - ((self.level + 128) >> 8) as u8,
            is_muted: self.silent >= FRAMES_PER_SECOND,
        }
    }

    /// Who speaks, or has just stopped, is always news.
    fn tell(&mut self) -> Option<Activity> {
        let activity = self.activity();
        let told = self.told;
        let speaks = activity.fives > 0 || told.fives > 0;
        let differs = activity.level.abs_diff(told.level) >= TELL_CHANGE
            || activity.is_muted != told.is_muted;
        if !speaks && !differs {
            return None;
        }
        self.told = activity;
        Some(activity)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: u32 = 960;

    struct Talk {
        loudness: Loudness,
        now: Instant,
        timestamp: u32,
        told: Vec<Activity>,
    }

    impl Talk {
        fn new() -> Self {
            Self {
                loudness: Loudness::new(48_000),
                now: Instant::from_millis(1_000),
                timestamp: u32::MAX - 5_000,
                told: Vec::new(),
            }
        }

        /// Packets of `frames` frames each for so long, at that level.
        fn speak(&mut self, millis: u64, frames: u32, level: u8) -> Activity {
            let packet = u64::from(frames) * 20;
            for _ in 0..millis / packet {
                self.timestamp = self.timestamp.wrapping_add(FRAME * frames);
                self.now += Duration::from_millis(packet);
                let level = AudioLevel {
                    voice: false,
                    level,
                };
                let told = self.loudness.on_packet(self.now, self.timestamp, level);
                self.told.extend(told);
            }
            self.loudness.activity()
        }
    }

    #[test]
    fn speech_fills_three_lengths_of_time_one_after_the_other() {
        for frames in [1, 3, 6] {
            let mut talk = Talk::new();
            assert_eq!(talk.speak(1_200, frames, 80).fives, 0, "background");
            let soon = talk.speak(240, frames, 25);
            assert_eq!((soon.frames, soon.fives), (5, 2));
            let later = talk.speak(1_200, frames, 25);
            assert_eq!((later.steps, later.frames, later.fives), (10, 5, 10));
            assert!(later.level.abs_diff(25) <= 1, "{}", later.level);
            let after = talk.speak(480, frames, 80);
            assert_eq!((after.steps, after.frames), (0, 0));
            assert!((4..=6).contains(&after.fives), "{}", after.fives);
            assert_eq!(talk.speak(1_200, frames, 80).fives, 0);
        }
    }

    #[test]
    fn a_pause_that_nobody_sends_is_silence() {
        let mut talk = Talk::new();
        talk.speak(2_000, 1, 25);
        talk.timestamp = talk.timestamp.wrapping_add(FRAME * 40);
        let after = talk.speak(20, 1, 70);
        assert_eq!(after.fives, 2, "of 200 ms before the pause");
        assert!(after.level > 80, "{}", after.level);
        assert!(!after.is_muted);
        // A lost packet is none.
        talk.speak(2_000, 1, 25);
        talk.timestamp = talk.timestamp.wrapping_add(FRAME);
        assert_eq!(talk.speak(20, 1, 25).fives, 10);
    }

    #[test]
    fn noise_that_never_stops_is_background() {
        let mut talk = Talk::new();
        assert_eq!(talk.speak(2_000, 1, 45).fives, 10);
        assert_eq!(talk.speak(120_000, 1, 45).fives, 0);
        // Speech is louder than that, and not taken for background however long it lasts.
        assert_eq!(talk.speak(300_000, 1, 25).fives, 10);
    }

    #[test]
    fn muted_is_more_than_silent() {
        let mut talk = Talk::new();
        assert!(!talk.speak(2_000, 1, 126).is_muted);
        assert!(!talk.speak(980, 1, 127).is_muted);
        assert!(talk.speak(20, 1, 127).is_muted);
        assert!(!talk.speak(20, 1, 90).is_muted);
    }

    #[test]
    fn of_silence_little_is_told() {
        let mut talk = Talk::new();
        talk.speak(60_000, 1, 127);
        assert_eq!(talk.told.len(), 1, "that it is muted");
        talk.speak(3_000, 1, 25);
        let spoken = talk.told.len();
        assert!((9..=12).contains(&spoken), "{spoken}");
        talk.speak(60_000, 1, 80);
        let (last, told) = (talk.told[talk.told.len() - 1], talk.told.len() - spoken);
        assert_eq!((last.steps, last.frames, last.fives), (0, 0, 0));
        assert!(told <= 8, "{told} times");
    }

    #[test]
    fn clocks_may_start_anew() {
        let mut talk = Talk::new();
        talk.speak(2_000, 1, 25);
        talk.timestamp = talk.timestamp.wrapping_sub(48_000 * 100);
        assert_eq!(talk.speak(40, 1, 25).fives, 10);
        // What comes late says nothing new.
        talk.timestamp = talk.timestamp.wrapping_sub(FRAME * 10);
        assert_eq!(talk.speak(100, 1, 127).fives, 10);
    }
}
