//! What is read of a node's metrics, and what it did between two readings.

use scheduler::{Limits, Rates, Report};

/// A reading of a node's metrics: what placement needs of them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sample {
    received: f64,
    sent: f64,
    bytes: f64,
    dropped: f64,
    cpu_seconds: f64,
    busiest_worker: f64,
    memory: f64,
    transports: f64,
    ready: Option<bool>,
    limits: Limits,
}

/// The metrics that a [`Sample`] is made of, as nodes name them.
pub const NAMES: [&str; 13] = [
    "ringcast_node_packets_total",
    "ringcast_node_bytes_total",
    "ringcast_node_driver_kernel_drops_total",
    "ringcast_node_worker_busy_ratio",
    "ringcast_node_busiest_worker_ratio",
    "ringcast_node_transports",
    "ringcast_node_transports_max",
    "ringcast_node_capacity_packets_per_second",
    "ringcast_node_capacity_bytes_per_second",
    "ringcast_node_capacity_memory_bytes",
    "ringcast_node_ready",
    "ringcast_node_cpu_seconds_total",
    "ringcast_node_resident_memory_bytes",
];

impl Sample {
    /// Takes one series; what is none of [`NAMES`] is passed over.
    pub fn take<'a>(&mut self, name: &str, label: impl Fn(&str) -> Option<&'a str>, value: f64) {
        if !value.is_finite() {
            return;
        }
        match name {
            "ringcast_node_packets_total" => match label("direction") {
                Some("in") => self.received += value,
                _ => self.sent += value,
            },
            "ringcast_node_bytes_total" => self.bytes += value,
            "ringcast_node_driver_kernel_drops_total" => self.dropped += value,
            "ringcast_node_worker_busy_ratio" | "ringcast_node_busiest_worker_ratio" => {
                self.busiest_worker = self.busiest_worker.max(value);
            }
            "ringcast_node_transports" => self.transports += value,
            "ringcast_node_transports_max" => self.limits.transports = Some(value),
            "ringcast_node_capacity_packets_per_second" => self.limits.packets = Some(value),
            "ringcast_node_capacity_bytes_per_second" => self.limits.bits = Some(8.0 * value),
            "ringcast_node_capacity_memory_bytes" => self.limits.memory = Some(value),
            "ringcast_node_ready" => self.ready = Some(value > 0.5),
            "ringcast_node_cpu_seconds_total" => self.cpu_seconds = value,
            "ringcast_node_resident_memory_bytes" => self.memory = value,
            _ => {}
        }
    }

    /// Transports that are not closed.
    pub fn transports(&self) -> f64 {
        self.transports
    }

    /// It is of a media node: others have metrics too.
    pub fn is_of_a_node(&self) -> bool {
        self.ready.is_some()
    }

    /// What it says beside what was read `seconds` before, of a node with so many workers. [`Report::at`] is left to the caller.
    ///
    /// A counter that went back has begun anew: then there are no rates, as in the first reading.
    pub fn report(&self, before: Option<(&Self, f64)>, workers: u16) -> Report {
        let rates = before.and_then(|(before, seconds)| self.rates(before, seconds, workers));
        Report {
            rates,
            busiest_worker: self.busiest_worker,
            memory: self.memory,
            transports: self.transports,
            ready: self.ready.unwrap_or(true),
            limits: self.limits,
            ..Report::default()
        }
    }

    fn rates(&self, before: &Self, seconds: f64, workers: u16) -> Option<Rates> {
        let rate = |now: f64, before: f64| {
            let grown = now - before;
            (grown >= 0.0 && seconds > 0.0).then_some(grown / seconds)
        };
        let received = rate(self.received, before.received)?;
        let cpu = rate(self.cpu_seconds, before.cpu_seconds)?;
        Some(Rates {
            packets: received + rate(self.sent, before.sent)?,
            received,
            bits: 8.0 * rate(self.bytes, before.bytes)?,
            dropped: rate(self.dropped, before.dropped)?,
            cpu: (cpu / f64::from(workers.max(1))).clamp(0.0, 1.0),
        })
    }

    /// Reads the Prometheus text format. Lines that can't be read are passed over: newer nodes may say more than we know.
    pub fn parse(text: &str) -> Self {
        let mut sample = Self::default();
        for line in text.lines() {
            if let Some((name, labels, value)) = series(line) {
                sample.take(name, |wanted| find(labels, wanted), value);
            }
        }
        sample
    }
}

/// Name, labels (without their braces) and value of a line that has a series.
fn series(line: &str) -> Option<(&str, &str, f64)> {
    let line = line.trim();
    if line.starts_with('#') {
        return None;
    }
    let end = line.find(|c: char| c == '{' || c.is_whitespace())?;
    let (name, rest) = line.split_at(end);
    let (labels, rest) = match rest.strip_prefix('{') {
        None => ("", rest),
        Some(rest) => rest.split_at(end_of_labels(rest)?),
    };
    // A time may follow.
    let value = rest.trim_start_matches('}').split_whitespace().next()?;
    Some((name, labels, value.parse().ok()?))
}

/// Where the brace is that no quotes hide.
fn end_of_labels(text: &str) -> Option<usize> {
    let (mut quoted, mut escaped) = (false, false);
    text.char_indices().find_map(|(at, c)| {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => quoted = !quoted,
            '}' if !quoted => return Some(at),
            _ => {}
        }
        None
    })
}

/// The value of a label. Those that we ask for have no escapes and no commas in them.
fn find<'a>(labels: &'a str, wanted: &str) -> Option<&'a str> {
    labels.split(',').find_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        (name.trim() == wanted).then(|| value.trim().trim_matches('"'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = r#"# HELP ringcast_node_packets_total Datagrams
# TYPE ringcast_node_packets_total counter
ringcast_node_packets_total{direction="in",kind="srtp"} 100
ringcast_node_packets_total{direction="in",kind="stun"} 20
ringcast_node_packets_total{direction="out",kind="srtp"} 1000 1700000000000
ringcast_node_bytes_total{direction="in",kind="srtp"} 1e5
ringcast_node_bytes_total{direction="out",kind="srtp"} 1.1e6
ringcast_node_driver_kernel_drops_total 3
ringcast_node_worker_busy_ratio{worker="0"} 0.25
ringcast_node_worker_busy_ratio{worker="1"} 0.5
ringcast_node_transports{state="new"} 1
ringcast_node_transports{state="connected"} 11
ringcast_node_transports_max 4000
ringcast_node_capacity_packets_per_second 400000
ringcast_node_capacity_bytes_per_second 1.25e8
ringcast_node_capacity_memory_bytes 2e9
ringcast_node_ready 1
ringcast_node_cpu_seconds_total 10.5
ringcast_node_resident_memory_bytes 52428800
"#;

    #[test]
    fn a_page_is_read() {
        let sample = Sample::parse(PAGE);
        assert!(sample.is_of_a_node());
        let report = sample.report(None, 2);
        assert_eq!(report.rates, None);
        assert_eq!((report.busiest_worker, report.transports), (0.5, 12.0));
        assert_eq!((report.memory, report.ready), (52_428_800.0, true));
        assert_eq!(report.limits.packets, Some(400e3));
        assert_eq!(report.limits.bits, Some(1e9));
        assert_eq!(report.limits.memory, Some(2e9));
        assert_eq!(report.limits.transports, Some(4000.0));
    }

    #[test]
    fn every_name_counts_for_something() {
        for name in NAMES {
            let mut sample = Sample::default();
            sample.take(name, |_| None, 0.75);
            assert_ne!(sample, Sample::default(), "{name}");
        }
    }

    #[test]
    fn rates_are_differences() {
        let before = Sample::parse(PAGE);
        let later = PAGE
            .replace("\"srtp\"} 100\n", "\"srtp\"} 500\n")
            .replace("} 1000 ", "} 5000 ")
            .replace("1.1e6", "3.1e6")
            .replace("drops_total 3", "drops_total 13")
            .replace("10.5", "12.5");
        let after = Sample::parse(&later);
        let rates = after.report(Some((&before, 2.0)), 4).rates;
        let expected = Rates {
            packets: 2200.0,
            received: 200.0,
            bits: 8e6,
            dropped: 5.0,
            cpu: 0.25,
        };
        assert_eq!(rates, Some(expected));
        // Began anew, or the clock did.
        assert_eq!(before.report(Some((&after, 2.0)), 4).rates, None);
        assert_eq!(after.report(Some((&before, 0.0)), 4).rates, None);
    }

    #[test]
    fn what_cannot_be_read_is_passed_over() {
        for text in [
            "",
            "ringcast_node_ready",
            "ringcast_node_ready{",
            "ringcast_node_ready{a=\"}\"",
            "ringcast_node_ready one",
            "# ringcast_node_ready 1",
            "{} 1",
            "<html>ringcast_node_ready 1</html>",
        ] {
            assert_eq!(Sample::parse(text), Sample::default(), "{text}");
        }
        let odd = "ringcast_node_ready{x=\"a}\\\"b\",y=\"1\"}\t1\r\nringcast_node_transports +Inf\nringcast_node_resident_memory_bytes NaN";
        let sample = Sample::parse(odd);
        assert!(sample.is_of_a_node());
        assert_eq!((sample.transports, sample.memory), (0.0, 0.0));
    }
}
