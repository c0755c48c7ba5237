//! What travels over the link: one JSON object per frame.
//!
//! Unknown fields are ignored and new ones are optional, so that versions can meet. A message of an unknown type reads as
//! `Unknown` and is skipped.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Deserializer, Serialize};

use crate::state::{Entry, Fingerprint, Key, Report};
use crate::statistics::{StatisticsAnswer, StatisticsQuestion};

/// The version of this language. It grows when an old reader would misunderstand.
pub const PROTOCOL_VERSION: u32 = 1;

/// From the master to a node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "message", rename_all = "camelCase")]
pub enum ToNode {
    /// The first message of every connection.
    Welcome(Welcome),
    /// A part of everything that should exist. The node is to have exactly this.
    DesiredSnapshot(Snapshot<Entry>),
    /// What changed since.
    Desired(Delta<Entry>),
    /// How are streams doing?
    AskStatistics(StatisticsQuestion),
    /// A message of a later version.
    #[serde(other)]
    Unknown,
}

/// From a node to the master.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "message", rename_all = "camelCase")]
pub enum ToMaster {
    /// The answer to [`Welcome`]: who the node is and what it has.
    Hello(Hello),
    /// A part of everything that exists.
    ReportedSnapshot(Snapshot<Report>),
    /// What changed since.
    Reported(Delta<Report>),
    /// A sign of life.
    Heartbeat(Heartbeat),
    /// A part of the answer to [`ToNode::AskStatistics`].
    Statistics(StatisticsAnswer),
    /// A message of a later version.
    #[serde(other)]
    Unknown,
}

/// The master introduces itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Welcome {
    /// [`PROTOCOL_VERSION`] of the master.
    pub version: u32,
    /// Grows at each start of the master; a node ignores an older one.
    pub epoch: u64,
}

/// The node introduces itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Hello {
    /// [`PROTOCOL_VERSION`] of the node.
    pub version: u32,
    /// The node's id; its certificate names the same.
    pub node: String,
    /// A random name of this process: a different one means that the node has started anew and has forgotten everything.
    pub instance: String,
    /// The version of the program, for people.
    pub software: String,
    /// The fingerprints of the node's DTLS certificate, for `a=fingerprint`.
    pub dtls_fingerprints: Vec<Fingerprint>,
    /// What it can take.
    pub capacity: Capacity,
    /// Where its metrics can be scraped, if it says so. Of an unspecified address the port counts, at the address that was dialled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metrics: Option<SocketAddr>,
}

impl Hello {
    /// The same for a master that reached the node at `address`: metrics that are served on every address are served there too.
    #[must_use]
    pub fn seen_at(mut self, address: Option<IpAddr>) -> Self {
        if let (Some(metrics), Some(address)) = (&mut self.metrics, address)
            && metrics.ip().is_unspecified()
        {
            metrics.set_ip(address);
        }
        self
    }
}

/// What a node can take.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Capacity {
    /// Packet workers, that is cores.
    pub workers: u16,
    /// Most transports, all workers together.
    pub transports_max: u32,
    /// Datagrams per second that it takes, in and out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub packets_per_second: Option<u64>,
    /// Payload of those, bits per second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bits_per_second: Option<u64>,
    /// Resident memory with which it takes no more, bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
}

/// A sign of life.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Heartbeat {
    /// The revision of the desired state that the node has taken up.
    pub applied: u64,
    /// How busy it is.
    pub load: Load,
    /// It is about to end and takes no more sessions: in so many milliseconds at the latest; 0: now, and what is left on it is over.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub leaving: Option<u64>,
}

/// How busy a node is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Load {
    /// Transports that are not closed.
    pub transports: u32,
    /// Publishers.
    pub publishers: u32,
    /// Subscribers.
    pub subscribers: u32,
    /// Share of the node's cores in use since the last heartbeat, 0 to 1, read to a millionth.
    #[serde(deserialize_with = "ratio")]
    pub cpu_ratio: f64,
    /// The busiest worker's share of time at work, 0 to 1, read to a millionth.
    #[serde(deserialize_with = "ratio")]
    pub busiest_worker_ratio: f64,
    /// Resident memory, bytes.
    pub memory_bytes: u64,
}

/// Nobody is busier than 1. Long fractions are cut, because they need not read back as the same number.
fn ratio<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    const STEPS: f64 = 1e6;
    let ratio = f64::deserialize(deserializer)?;
    Ok((ratio.clamp(0.0, 1.0) * STEPS).round() / STEPS)
}

/// One change of a replicated map.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Change<V> {
    /// The value is there, in this form.
    Put(V),
    /// The value is gone.
    Remove(Key),
}

/// From revision `from` to revision `to`, these entries changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delta<V> {
    /// The revision that it builds on.
    pub from: u64,
    /// The revision that it leads to.
    pub to: u64,
    /// In the order in which they are to be carried out.
    pub changes: Vec<Change<V>>,
}

/// A part of a whole map. The parts follow each other; the last one has `more: false`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot<V> {
    /// The revision of the map.
    pub revision: u64,
    /// The entries of this part.
    pub entries: Vec<V>,
    /// Another part follows.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub more: bool,
}

impl<V> Delta<V> {
    /// The same with other values.
    pub(crate) fn map<W>(self, into: impl Fn(V) -> W) -> Delta<W> {
        let changes = self.changes.into_iter().map(|change| match change {
            Change::Put(value) => Change::Put(into(value)),
            Change::Remove(key) => Change::Remove(key),
        });
        Delta {
            from: self.from,
            to: self.to,
            changes: changes.collect(),
        }
    }
}

impl<V> Snapshot<V> {
    /// The same with other values.
    pub(crate) fn map<W>(self, into: impl Fn(V) -> W) -> Snapshot<W> {
        Snapshot {
            revision: self.revision,
            entries: self.entries.into_iter().map(into).collect(),
            more: self.more,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_stays_between_0_and_1() {
        for (written, read) in [
            ("0.25", 0.25),
            ("-3", 0.0),
            ("1e300", 1.0),
            ("0.7070499962283038836859e-181", 0.0),
            ("0.333333333333", 0.333_333),
        ] {
            let load: Load =
                serde_json::from_str(&format!(r#"{{"cpuRatio":{written}}}"#)).expect("a load");
            assert_eq!(load.cpu_ratio, read, "{written}");
        }
    }
}
