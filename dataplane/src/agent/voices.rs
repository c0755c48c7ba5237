//! How loud publishers are and who speaks, session by session: what workers hear becomes what the master is told, seldom.
//!
//! Workers know publishers only; a session's may be on several of them, and here they come together. Sans-IO.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use clock::Instant;
use link::state::{self, SessionId, VoiceReport};
use sfu::api::{Activity, PublisherId};

use super::speaker::Speaker;

/// Levels of a session are told at most this often. A new speaker is told at once.
const TELL_INTERVAL: Duration = Duration::from_secs(1);
/// Levels are told anew when one of them differs by so many dB.
const TELL_CHANGE: u8 = 6;
/// Who is below this, in dB below overload, is not worth a word.
const AUDIBLE: u8 = 70;

/// The voices of a node.
#[derive(Debug, Default)]
pub struct Voices {
    publishers: HashMap<PublisherId, Known>,
    sessions: HashMap<SessionId, Voice>,
    /// Sessions of which something is still to be told, and when that may be.
    due: BTreeSet<(Instant, SessionId)>,
}

#[derive(Debug)]
struct Known {
    name: state::PublisherId,
    session: SessionId,
}

#[derive(Debug)]
struct Voice {
    publishers: usize,
    speaker: Speaker<PublisherId>,
    told: VoiceReport,
    told_at: Option<Instant>,
    due: Option<Instant>,
}

/// What became of news.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// To be reported: the voices of a session.
    pub report: Option<VoiceReport>,
    /// Somebody else speaks: who did, and who does.
    pub speaker: Option<(Option<PublisherId>, Option<PublisherId>)>,
}

impl Voices {
    /// A publisher with sound is there.
    pub fn add(&mut self, id: PublisherId, name: &state::PublisherId, session: &SessionId) {
        let known = Known {
            name: name.clone(),
            session: session.clone(),
        };
        if self.publishers.insert(id, known).is_none() {
            let voice = self.sessions.entry(session.clone());
            voice.or_insert_with(|| Voice::new(session)).publishers += 1;
        }
    }

    /// A publisher is gone. With the last of a session nothing of that is left, and its report is to be taken back: the answer.
    pub fn remove(&mut self, id: PublisherId) -> Result<Outcome, SessionId> {
        let Some(known) = self.publishers.remove(&id) else {
            return Ok(Outcome::default());
        };
        let Some(voice) = self.sessions.get_mut(&known.session) else {
            return Ok(Outcome::default());
        };
        voice.publishers -= 1;
        if voice.publishers == 0 {
            if let Some(due) = voice.due {
                self.due.remove(&(due, known.session.clone()));
            }
            self.sessions.remove(&known.session);
            return Err(known.session);
        }
        let spoke = voice.speaker.on_gone(&id);
        let report = voice.report(&self.publishers);
        let is_news = differs(&report, &voice.told);
        if is_news {
            voice.told = report.clone();
        }
        Ok(Outcome {
            report: is_news.then_some(report),
            speaker: spoke.then_some((Some(id), None)),
        })
    }

    /// Whether a publisher is the speaker of its session.
    pub fn speaks(&self, id: PublisherId) -> bool {
        let known = self.publishers.get(&id);
        let voice = known.and_then(|known| self.sessions.get(&known.session));
        voice.is_some_and(|voice| voice.speaker.dominant() == Some(&id))
    }

    /// A worker has heard somebody.
    pub fn on_activity(&mut self, now: Instant, id: PublisherId, activity: Activity) -> Outcome {
        let Some(known) = self.publishers.get(&id) else {
            return Outcome::default();
        };
        let session = known.session.clone();
        let Some(voice) = self.sessions.get_mut(&session) else {
            return Outcome::default();
        };
        let before = voice.speaker.dominant().copied();
        let changed = voice.speaker.on_activity(now, &id, activity);
        let after = voice.speaker.dominant().copied();
        Outcome {
            speaker: changed.then_some((before, after)),
            ..self.tell(now, &session, changed)
        }
    }

    /// When [`Voices::on_timeout`] has something to tell.
    pub fn deadline(&self) -> Option<Instant> {
        self.due.first().map(|(due, _)| *due)
    }

    /// What was put off until now; to be called until there is nothing.
    pub fn on_timeout(&mut self, now: Instant) -> Option<VoiceReport> {
        while let Some((due, session)) = self.due.first().cloned()
            && due <= now
        {
            self.due.pop_first();
            if let Some(voice) = self.sessions.get_mut(&session) {
                voice.due = None;
            }
            let told = self.tell(now, &session, true).report;
            if told.is_some() {
                return told;
            }
        }
        None
    }

    /// What is to be told of a session: now if that `is_urgent` or it is time, or else later.
    fn tell(&mut self, now: Instant, session: &SessionId, is_urgent: bool) -> Outcome {
        let Some(voice) = self.sessions.get_mut(session) else {
            return Outcome::default();
        };
        let report = voice.report(&self.publishers);
        if !differs(&report, &voice.told) {
            return Outcome::default();
        }
        let next = voice.told_at.map(|told_at| told_at + TELL_INTERVAL);
        if let Some(next) = next.filter(|next| *next > now && !is_urgent) {
            if voice.due.is_none() {
                voice.due = Some(next);
                self.due.insert((next, session.clone()));
            }
            return Outcome::default();
        }
        voice.told = report.clone();
        voice.told_at = Some(now);
        Outcome {
            report: Some(report),
            speaker: None,
        }
    }
}

impl Voice {
    fn new(session: &SessionId) -> Self {
        Self {
            publishers: 0,
            speaker: Speaker::default(),
            told: VoiceReport {
                id: session.clone(),
                speaker: None,
                levels: BTreeMap::new(),
            },
            told_at: None,
            due: None,
        }
    }

    fn report(&self, publishers: &HashMap<PublisherId, Known>) -> VoiceReport {
        let name = |id: &PublisherId| publishers.get(id).map(|known| known.name.clone());
        let audible = self
            .speaker
            .heard()
            .filter(|(_, activity)| activity.level < AUDIBLE);
        let levels: BTreeMap<_, _> = audible
            .filter_map(|(id, activity)| Some((name(id)?, -(activity.level as i8))))
            .collect();
        VoiceReport {
            id: self.told.id.clone(),
            speaker: self.speaker.dominant().and_then(name),
            levels,
        }
    }
}

/// Whether there is something new in `report`. Nobody needs to know of every decibel.
fn differs(report: &VoiceReport, told: &VoiceReport) -> bool {
    let is_same = |(name, level): (&state::PublisherId, &i8)| {
        let before = told.levels.get(name);
        before.is_some_and(|before| before.abs_diff(*level) < TELL_CHANGE)
    };
    report.speaker != told.speaker
        || report.levels.len() != told.levels.len()
        || !report.levels.iter().all(is_same)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn activity(level: u8, fives: u8) -> Activity {
        let speaks = u8::from(fives > 0);
        Activity {
            steps: 10 * speaks,
            frames: 5 * speaks,
            fives,
            level,
            is_muted: false,
        }
    }

    fn name(id: u64) -> state::PublisherId {
        state::PublisherId::new(format!("p{id}"))
    }

    fn voices() -> (Voices, SessionId) {
        let mut voices = Voices::default();
        let session = SessionId::new("s");
        for id in [1, 2] {
            voices.add(PublisherId(id), &name(id), &session);
        }
        (voices, session)
    }

    const START: Instant = Instant::from_millis(5_000);

    #[test]
    fn a_speaker_is_told_at_once_and_levels_seldom() {
        let (mut voices, session) = voices();
        let first = voices.on_activity(START, PublisherId(1), activity(40, 1));
        let expected = VoiceReport {
            id: session.clone(),
            speaker: None,
            levels: [(name(1), -40)].into(),
        };
        assert_eq!(first.report, Some(expected));
        assert_eq!(first.speaker, None);

        let soon = START + Duration::from_millis(300);
        let second = voices.on_activity(soon, PublisherId(1), activity(25, 4));
        let told = second.report.expect("somebody speaks");
        assert_eq!(told.speaker, Some(name(1)));
        assert_eq!(second.speaker, Some((None, Some(PublisherId(1)))));

        // Levels alone wait, and only the last of them is told.
        for (after, level) in [(400, 50), (700, 35), (900, 60)] {
            let at = START + Duration::from_millis(after);
            let outcome = voices.on_activity(at, PublisherId(2), activity(level, 0));
            assert_eq!(outcome, Outcome::default());
        }
        let due = voices.deadline().expect("something waits");
        assert_eq!(due, soon + TELL_INTERVAL);
        let told = voices.on_timeout(due).expect("it is time");
        assert_eq!(told.levels, [(name(1), -25), (name(2), -60)].into());
        assert_eq!((voices.on_timeout(due), voices.deadline()), (None, None));

        // A decibel is no news, and who is not heard any more is left out.
        let later = due + TELL_INTERVAL;
        let outcome = voices.on_activity(later, PublisherId(2), activity(62, 0));
        assert_eq!(outcome, Outcome::default());
        let outcome = voices.on_activity(later, PublisherId(2), activity(90, 0));
        assert_eq!(outcome.report.map(|report| report.levels.len()), Some(1));
    }

    #[test]
    fn with_its_last_publisher_a_session_is_forgotten() {
        let (mut voices, session) = voices();
        voices.on_activity(START, PublisherId(1), activity(25, 4));
        voices.on_activity(START, PublisherId(2), activity(50, 0));
        assert!(voices.deadline().is_some());
        let outcome = voices.remove(PublisherId(1)).expect("one is left");
        assert_eq!(outcome.speaker, Some((Some(PublisherId(1)), None)));
        let told = outcome.report.expect("nobody speaks any more");
        assert_eq!((told.speaker, told.levels.len()), (None, 1));
        assert_eq!(voices.remove(PublisherId(2)), Err(session));
        assert_eq!(voices.deadline(), None);
        assert!(voices.sessions.is_empty() && voices.publishers.is_empty());
        let outcome = voices.on_activity(START, PublisherId(2), activity(25, 4));
        assert_eq!(outcome, Outcome::default());
    }

    #[test]
    fn sessions_are_apart() {
        let (mut voices, _) = voices();
        voices.add(PublisherId(3), &name(3), &SessionId::new("other"));
        voices.on_activity(START, PublisherId(1), activity(25, 10));
        let other = voices.on_activity(START, PublisherId(3), activity(30, 3));
        assert_eq!(other.speaker, Some((None, Some(PublisherId(3)))));
    }
}
