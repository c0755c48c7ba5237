//! Limits that an operator sets in place of what the node finds out by itself.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::{Bytes, Error, bad};

/// The hard bounds on `limits.packets_per_second`: less is no node, and more is a slip of the pen.
pub const PACKETS_PER_SECOND: (u64, u64) = (100, 1_000_000_000);
/// The hard bounds on `limits.bits_per_second`.
pub const BITS_PER_SECOND: (u64, u64) = (1_000_000, 10_000_000_000_000);
/// The hard bounds on `limits.memory`.
pub const MEMORY: (u64, u64) = (64 << 20, 1 << 44);

/// How much the node takes before it refuses more. What is not set is measured at the start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsSection {
    /// Datagrams in and out, all workers together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub packets_per_second: Option<u64>,
    /// Payload of those datagrams.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bits_per_second: Option<BitRate>,
    /// Resident memory of the process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<Bytes>,
}

impl LimitsSection {
    /// What is not within its hard bounds.
    pub(super) fn check(&self, found: &mut Vec<Error>) {
        let within = |value: Option<u64>, (least, most): (u64, u64)| {
            value.is_none_or(|value| (least..=most).contains(&value))
        };
        if !within(self.packets_per_second, PACKETS_PER_SECOND) {
            let (least, most) = PACKETS_PER_SECOND;
            let why = format!("{least} to {most}");
            bad(found, "limits.packets_per_second", why);
        }
        if !within(self.bits_per_second.map(|rate| rate.0), BITS_PER_SECOND) {
            let (least, most) = BITS_PER_SECOND;
            let why = format!("{} to {}", BitRate(least), BitRate(most));
            bad(found, "limits.bits_per_second", why);
        }
        if !within(self.memory.map(|memory| memory.0), MEMORY) {
            let (least, most) = MEMORY;
            let why = format!("{} to {}", Bytes(least), Bytes(most));
            bad(found, "limits.memory", why);
        }
    }
}

/// Bits per second, written with their unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BitRate(pub u64);

const UNITS: [(&str, u64); 4] = [
    ("Gbit/s", 1_000_000_000),
    ("Mbit/s", 1_000_000),
    ("kbit/s", 1_000),
    ("bit/s", 1),
];

impl fmt::Display for BitRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let exact = UNITS.iter().find(|(_, size)| self.0.is_multiple_of(*size));
        let (unit, size) = exact.unwrap_or(&("bit/s", 1));
        write!(f, "{}{unit}", self.0 / size)
    }
}

impl std::str::FromStr for BitRate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refused = || format!("{text:?} is no rate, like \"10Gbit/s\"");
        let found = UNITS
            .iter()
            .find_map(|(unit, size)| Some((text.strip_suffix(unit)?, size)));
        let (number, size) = found.ok_or_else(refused)?;
        let number: u64 = number.trim().parse().map_err(|_| refused())?;
        number.checked_mul(*size).map(Self).ok_or_else(refused)
    }
}

impl<'de> Deserialize<'de> for BitRate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(de::Error::custom)
    }
}

impl Serialize for BitRate {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_have_units() {
        assert_eq!("10Gbit/s".parse(), Ok(BitRate(10_000_000_000)));
        assert_eq!("25 Mbit/s".parse(), Ok(BitRate(25_000_000)));
        assert_eq!(BitRate(1_500_000).to_string(), "1500kbit/s");
        assert_eq!(BitRate(7).to_string(), "7bit/s");
        for wrong in ["10", "10MiB", "-1Mbit/s", "99999999999Gbit/s"] {
            assert!(wrong.parse::<BitRate>().is_err(), "{wrong}");
        }
    }
}
