//! What a run found. All of it follows from the seed.

use serde::{Deserialize, Serialize};

/// Above these loads people are said to be on a hot node, and on an overloaded one.
pub const HOT: [f64; 2] = [0.8, 1.0];

/// One policy in one world. The time before [`Facts::measured_from_seconds`](crate::run::Facts) counts for series, requests, people who
/// come and go, and the policy's own account of its forecasts, and for nothing else.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// The policy.
    pub policy: String,
    /// Load over nodes and time: each node that was up, every ten seconds.
    pub load: Quantiles,
    /// Standard deviation of the load over nodes divided by its mean, averaged over time.
    pub variation: f64,
    /// Participant-minutes on nodes above 80 % and above 100 %, and on none because all refused: whoever takes nobody in is no better.
    pub overload_minutes: [f64; 2],
    /// Of these, those on none.
    #[serde(default)]
    pub unserved_minutes: f64,
    /// Participant-minutes in all.
    pub minutes: f64,
    /// The share of participants, without those who went before it was measured, who ever were on a node above 80 % and above 100 %, or
    /// were turned away.
    pub hot_participants: [f64; 2],
    /// Hours that all nodes were up, together.
    pub node_hours: f64,
    /// Requests for a node that were refused; each is tried three times.
    pub refusals: u64,
    /// Sessions that were given up for that.
    pub turned_away: u64,
    /// Sessions that were sent to a node that had died.
    pub misplaced: u64,
    /// Placements, those after a failure among them.
    pub placements: u64,
    /// Participants who came; went; were in at the end; were in a session that was turned away.
    pub people: People,
    /// After the loss of a rack.
    pub recovery: Option<Recovery>,
    /// Between tenants, by Jain's index of the share of their minutes that were not above 80 % load since the second spike began, in
    /// which one of them begins many sessions: 1 if all fare alike.
    pub fairness: f64,
    /// How some of them fared then.
    #[serde(default)]
    pub tenants: Tenants,
    /// How well the peak of sessions was predicted when they were placed, if the policy predicts.
    pub prediction: Option<Prediction>,
    /// How well each source of forecasts did, by the policy's own account of sessions that are over.
    #[serde(default)]
    pub sources: Vec<SourceError>,
    /// Every thirty seconds.
    pub series: Vec<Point>,
}

/// Of some tenants, the share of their participant-minutes that were above 80 %.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Tenants {
    /// Half of the tenants have less.
    pub usual: f64,
    /// Nobody has more.
    pub worst: f64,
    /// The one that begins many sessions in the second spike.
    pub bursting: f64,
}

/// Of a distribution.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Quantiles {
    /// Half are below.
    pub p50: f64,
    /// 99 of 100 are.
    pub p99: f64,
    /// All are at most this.
    pub max: f64,
}

/// Who came and went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct People {
    /// Came.
    pub came: u64,
    /// Went.
    pub went: u64,
    /// Were in at the end.
    pub inside: u64,
    /// Were sent away, for no node took their session, or would have come to one that was.
    pub turned_away: u64,
}

/// What the loss of a rack did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Recovery {
    /// People on the rack.
    pub people: u64,
    /// Until 99 % of them were on a node again, s; none: they never were.
    pub seconds: Option<f64>,
    /// The largest share of all people that was on nodes above 100 % at a second within five minutes after.
    pub overloaded: f64,
    /// The same within the minute before.
    pub overloaded_before: f64,
}

/// Predicted streams against those that came, over all sessions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Prediction {
    /// Sessions of which something was predicted.
    pub sessions: u64,
    /// Predicted streams divided by real ones, of all sessions together: above 1 too many were expected.
    pub bias: f64,
    /// The share of sessions predicted within a factor of two.
    pub within_two: f64,
    /// Absolute errors divided by real streams, of all sessions together.
    pub error: f64,
}

/// What forecasts of one source were worth.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SourceError {
    /// The source, as the master's metrics name it.
    pub source: String,
    /// Sessions that are over.
    pub sessions: u64,
    /// By how many doublings forecasts were too large in the mean; below 0: too small.
    pub bias: f64,
    /// By how many doublings they were wrong in the mean, either way.
    pub error: f64,
}

/// A moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// Seconds since the beginning.
    pub at: u64,
    /// Over all nodes that are up.
    pub mean: f64,
    /// 99 of 100 nodes are below.
    pub p99: f64,
    /// The fullest.
    pub max: f64,
    /// The share of people on nodes above 80 % and above 100 %.
    pub hot: [f64; 2],
}
