//! Units of metrics, as their names tell them.

/// Every unit that a name may end in. A rate has its time in it, so it comes before what it is a rate of.
const UNITS: [&str; 7] = [
    "bytes_per_second",
    "packets_per_second",
    "seconds",
    "bytes",
    "ratio",
    "cycles",
    "packets",
];

/// The unit of a metric; none: it counts things that its name says, or has no unit. The `_total` of a counter is no part of it.
pub fn unit(name: &str) -> Option<&'static str> {
    let name = name.strip_suffix("_total").unwrap_or(name);
    let ends = |unit: &&str| {
        let before = name.strip_suffix(*unit);
        before.is_some_and(|before| before.ends_with('_'))
    };
    UNITS.into_iter().find(|unit| ends(unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_ends_in_its_unit() {
        for (name, expected) in [
            ("ringcast_node_forward_latency_seconds", Some("seconds")),
            ("ringcast_node_worker_cpu_seconds_total", Some("seconds")),
            (
                "ringcast_node_capacity_bytes_per_second",
                Some("bytes_per_second"),
            ),
            ("ringcast_node_stage_cycles_total", Some("cycles")),
            ("ringcast_node_run_packets", Some("packets")),
            ("ringcast_node_packets_dropped_total", None),
            ("ringcast_node_transports", None),
            ("seconds", None),
            ("ringcast_master_milliseconds", None),
        ] {
            assert_eq!(unit(name), expected, "{name}");
        }
    }
}
