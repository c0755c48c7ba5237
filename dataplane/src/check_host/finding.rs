//! One thing that was looked at, and what came of it.

use serde::Serialize;

/// How good it is, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Grade {
    /// As it should be.
    Ok,
    /// It could not be read, so nothing is said of it.
    Unknown,
    /// Good enough; the mend buys something.
    Advice,
    /// It costs packets, latency or capacity under load.
    Warning,
    /// The node will not work as configured.
    Bad,
}

impl Grade {
    /// The word for it, as it stands in the table and in JSON.
    pub fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Unknown => "unknown",
            Self::Advice => "advice",
            Self::Warning => "warning",
            Self::Bad => "bad",
        }
    }
}

/// One line of the report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at, in words that stay the same from version to version.
    pub subject: &'static str,
    /// How good it is.
    pub grade: Grade,
    /// What was read.
    pub found: String,
    /// Why a media node cares, in one sentence.
    pub why: &'static str,
    /// What to do about it: a command, a sysctl line, or where to look. None if there is nothing to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mend: Option<String>,
}

/// What may be found out, before it is.
#[derive(Clone, Copy)]
pub(super) struct Topic {
    pub(super) subject: &'static str,
    pub(super) why: &'static str,
}

impl Topic {
    pub(super) fn ok(self, found: impl Into<String>) -> Finding {
        self.finding(Grade::Ok, found.into(), None)
    }

    /// `what` names what could not be read.
    pub(super) fn unknown(self, what: impl Into<String>) -> Finding {
        self.finding(Grade::Unknown, what.into(), None)
    }

    pub(super) fn advice(self, found: impl Into<String>, mend: impl Into<String>) -> Finding {
        self.finding(Grade::Advice, found.into(), Some(mend.into()))
    }

    pub(super) fn warning(self, found: impl Into<String>, mend: impl Into<String>) -> Finding {
        self.finding(Grade::Warning, found.into(), Some(mend.into()))
    }

    pub(super) fn bad(self, found: impl Into<String>, mend: impl Into<String>) -> Finding {
        self.finding(Grade::Bad, found.into(), Some(mend.into()))
    }

    fn finding(self, grade: Grade, found: String, mend: Option<String>) -> Finding {
        Finding {
            subject: self.subject,
            grade,
            found,
            why: self.why,
            mend,
        }
    }
}
