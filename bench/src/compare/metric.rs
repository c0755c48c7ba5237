//! What of a run is compared.

use serde::{Deserialize, Serialize};

use crate::outcome::Outcome;

/// The figure of a run that is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// The forwarder's processor time per delivered packet, in nanoseconds: the less the better.
    Cost,
    /// The share of packets that was forwarded: the more the better. Here a lossy run counts, if what came was right, the
    /// strangers that it may have had were as many as asked for, and they left nothing behind.
    Delivered,
    /// Latency that 99 of 100 packets kept from publisher to subscriber, in nanoseconds: the less the better.
    Latency,
    /// Latency that half of the packets kept within the left forwarder, in nanoseconds. It is not compared with anybody's.
    Inside,
    /// Memory for each transport that the left side has more than the right, in bytes: process and kernel.
    Memory,
}

impl Metric {
    /// All.
    pub const ALL: [Self; 5] = [
        Self::Cost,
        Self::Delivered,
        Self::Latency,
        Self::Inside,
        Self::Memory,
    ];

    /// Whether one side's figure is divided by the other's.
    pub fn is_compared(self) -> bool {
        matches!(self, Self::Cost | Self::Delivered | Self::Latency)
    }

    /// The figure of `outcome`; none if it has none that counts.
    pub fn of(self, outcome: &Outcome) -> Option<f64> {
        match self {
            Self::Cost => outcome.cost(),
            Self::Delivered => {
                let objection = outcome.strangers.and_then(|them| them.objection());
                let is_right = outcome.is_right_but_for_loss() && objection.is_none();
                outcome.packets.forwarded_share().filter(|_| is_right)
            }
            Self::Latency => {
                let latency = outcome.latency.as_ref().filter(|_| outcome.is_result())?;
                Some(latency.p99 as f64)
            }
            Self::Inside => {
                let inside = outcome.forwarding_latency.as_ref();
                Some(inside.filter(|_| outcome.is_result())?.p50 as f64)
            }
            Self::Memory => {
                let memory = outcome.memory.filter(|_| outcome.is_result())?;
                Some((memory.resident as i64 + memory.slab_growth) as f64)
            }
        }
    }
}
