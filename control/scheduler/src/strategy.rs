//! By what nodes are compared.

use core::fmt;
use core::str::FromStr;
use core::time::Duration;

/// By what nodes are compared: the lowest takes the session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Strategy {
    /// Load by the nodes' own metrics, with reservations: [`Fit`] says how.
    #[default]
    Capacity,
    /// Publishers and subscribers; among equals, sessions.
    Streams,
    /// Sessions.
    Sessions,
    /// Sound and pictures sent and received, counted singly, and taps; among equals, sessions.
    MediaObjects,
    /// Processor time, and what is reserved.
    Cpu,
    /// Users; among equals, sessions.
    Connections,
    /// The application names the node.
    Manual,
}

impl Strategy {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Capacity,
        Self::Streams,
        Self::Sessions,
        Self::MediaObjects,
        Self::Cpu,
        Self::Connections,
        Self::Manual,
    ];

    /// The word in configurations.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Capacity => "capacity",
            Self::Streams => "streams",
            Self::Sessions => "sessions",
            Self::MediaObjects => "mediaObjects",
            Self::Cpu => "cpu",
            Self::Connections => "connections",
            Self::Manual => "manual",
        }
    }

    /// It compares what nodes report; the others count what the master knows.
    pub fn needs_reports(self) -> bool {
        matches!(self, Self::Capacity | Self::Cpu)
    }
}

impl fmt::Display for Strategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// There is no such strategy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is none of capacity, streams, sessions, mediaObjects, cpu, connections, manual")]
pub struct UnknownStrategy(pub String);

impl FromStr for Strategy {
    type Err = UnknownStrategy;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let known = Self::ALL.into_iter();
        let mut found = known.filter(|one| one.as_str().eq_ignore_ascii_case(text));
        found.next().ok_or_else(|| UnknownStrategy(text.to_owned()))
    }
}

/// How [`Strategy::Capacity`] chooses among nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Fit {
    /// The least loaded with the session at its peak, by reports and reservations. Without reservations all would go to one node between two reports.
    #[default]
    Least,
    /// The less loaded of two that chance names: less even, but it needs no reservations.
    TwoChoices,
    /// The most loaded that stays below this load with the session at its peak: leaves nodes empty, for those who pay for them.
    /// It packs sessions together that begin small and grow together, so it wants good hints.
    BestFit {
        /// 0 to 1.
        below: f64,
    },
}

/// What the operator wants.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Policy {
    /// By what nodes are compared.
    pub strategy: Strategy,
    /// How, with [`Strategy::Capacity`].
    pub fit: Fit,
    /// A report of this age is worth less.
    pub stale_after: Duration,
    /// A node whose last report is of this age takes nothing more, if the strategy needs reports.
    pub excluded_after: Duration,
    /// For so long a node that refused counts as full.
    pub full_after_refusal: Duration,
    /// If not one node reports, whoever asks them is more likely to be at fault than all of them: places are then given by
    /// what was placed alone.
    pub may_place_blind: bool,
}

impl Default for Policy {
    /// For reports every two seconds.
    fn default() -> Self {
        Self {
            strategy: Strategy::default(),
            fit: Fit::default(),
            stale_after: Duration::from_secs(6),
            excluded_after: Duration::from_secs(12),
            full_after_refusal: Duration::from_secs(5),
            may_place_blind: true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_read_back() {
        for one in Strategy::ALL {
            assert_eq!(one.as_str().parse(), Ok(one));
        }
        assert_eq!("MEDIAOBJECTS".parse(), Ok(Strategy::MediaObjects));
        let error = "least".parse::<Strategy>().expect_err("unknown");
        for one in Strategy::ALL {
            assert!(error.to_string().contains(one.as_str()));
        }
    }
}
