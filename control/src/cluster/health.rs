//! What the silence of a node means.

use std::time::Duration;

/// A node that has been silent for so long gets no new sessions. Its heartbeat is a fifth of that.
pub const SUSPECT_AFTER: Duration = Duration::from_secs(1);

/// How a node is, as far as we can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Health {
    /// It was never met.
    Launching,
    /// It answers.
    Up,
    /// It is silent, or the link is being dialled again: no placements, calls go on.
    Suspect,
    /// It was silent for too long: its sessions are over.
    Crashed,
}

impl Health {
    /// All of them, for metrics.
    pub const ALL: [Self; 4] = [Self::Launching, Self::Up, Self::Suspect, Self::Crashed];

    /// Judges by the link and by how long nothing was heard (none: never met).
    pub fn judge(connected: bool, silence: Option<Duration>, crashed_after: Duration) -> Self {
        match silence {
            None => Self::Launching,
            Some(silence) if silence >= crashed_after => Self::Crashed,
            Some(silence) if silence >= SUSPECT_AFTER || !connected => Self::Suspect,
            Some(_) => Self::Up,
        }
    }

    /// The word in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Launching => "launching",
            Self::Up => "up",
            Self::Suspect => "suspect",
            Self::Crashed => "crashed",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_is_judged_step_by_step() {
        let after = Duration::from_secs(3);
        let judge = |connected, ms: Option<u64>| {
            Health::judge(connected, ms.map(Duration::from_millis), after)
        };
        assert_eq!(judge(false, None), Health::Launching);
        assert_eq!(judge(true, Some(200)), Health::Up);
        assert_eq!(judge(false, Some(200)), Health::Suspect);
        assert_eq!(judge(true, Some(1000)), Health::Suspect);
        assert_eq!(judge(true, Some(3000)), Health::Crashed);
    }
}
