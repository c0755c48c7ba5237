//! What a media node is for: OpenVidu's statuses and how they follow each other. How it *is* says [`Health`](super::Health).

use serde::{Deserialize, Serialize};

/// A node's status. Applications see and order it under these words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// It is being started, or dialled for the first time.
    Launching,
    /// It was being launched and is no longer wanted.
    Canceled,
    /// It did not come up.
    Failed,
    /// It takes sessions.
    Running,
    /// It is drained: it keeps its sessions and takes no more, and ends when it is empty.
    WaitingIdleToTerminate,
    /// It has no sessions and is being let go.
    Terminating,
    /// It is no longer of the cluster; its machine may be switched off.
    Terminated,
}

impl Status {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Launching,
        Self::Canceled,
        Self::Failed,
        Self::Running,
        Self::WaitingIdleToTerminate,
        Self::Terminating,
        Self::Terminated,
    ];

    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Launching => "launching",
            Self::Canceled => "canceled",
            Self::Failed => "failed",
            Self::Running => "running",
            Self::WaitingIdleToTerminate => "waiting-idle-to-terminate",
            Self::Terminating => "terminating",
            Self::Terminated => "terminated",
        }
    }

    /// The status of that word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == word)
    }

    /// New sessions may be placed on it.
    pub fn takes_sessions(self) -> bool {
        self == Self::Running
    }

    /// It is no longer of the cluster.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Failed | Self::Terminated)
    }

    /// Whether the one can follow the other, whoever wants it.
    pub fn may_become(self, next: Self) -> bool {
        use Status::{
            Canceled, Failed, Launching, Running, Terminated, Terminating, WaitingIdleToTerminate,
        };
        matches!(
            (self, next),
            (Launching, Running | Canceled | Failed)
                | (Canceled, Launching | Terminating)
                | (Running, WaitingIdleToTerminate | Terminating)
                | (WaitingIdleToTerminate, Running | Terminating)
                | (Terminating, Terminated)
        )
    }

    /// Whether an application may order it: some changes happen by themselves alone.
    pub fn may_be_ordered(self, next: Self) -> bool {
        let by_itself = matches!(
            (self, next),
            (_, Self::Failed | Self::Terminated)
                | (Self::Launching, Self::Running)
                | (Self::Canceled, Self::Terminating)
        );
        self.may_become(next) && !by_itself
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows are what it was and columns what it becomes, in the order of [`Status::ALL`]: `o` may be ordered, `x` only happens by itself.
    const TABLE: [&str; 7] = [
        ".oxx...", // launching
        "o....x.", // canceled
        ".......", // failed
        "....oo.", // running
        "...o.o.", // waiting-idle-to-terminate
        "......x", // terminating
        ".......", // terminated
    ];

    #[test]
    fn every_pair_is_as_the_reference_says() {
        for (was, row) in Status::ALL.into_iter().zip(TABLE) {
            for (next, mark) in Status::ALL.into_iter().zip(row.chars()) {
                let pair = format!("{} to {}", was.as_str(), next.as_str());
                assert_eq!(was.may_become(next), mark != '.', "{pair}");
                assert_eq!(was.may_be_ordered(next), mark == 'o', "{pair}");
            }
            let is_last = !Status::ALL.into_iter().any(|next| was.may_become(next));
            assert_eq!(is_last, was.is_final(), "{}", was.as_str());
        }
    }

    #[test]
    fn words_are_those_of_the_wire_in_both_directions() {
        for status in Status::ALL {
            assert_eq!(Status::parse(status.as_str()), Some(status));
            let kept = serde_json::to_string(&status).expect("text");
            assert_eq!(kept, format!("{:?}", status.as_str()));
        }
        assert_eq!(Status::parse("Running"), None);
    }
}
