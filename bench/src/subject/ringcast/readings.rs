use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::subject::Readings;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a node's `/metrics` said, in the text format of Prometheus.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metrics {
    samples: Vec<Sample>,
}

/// One line of it.
#[derive(Clone, Debug, PartialEq)]
struct Sample {
    name: String,
    labels: Vec<(String, String)>,
    value: f64,
}

impl Metrics {
    /// Reads the text format; lines that are none are passed over.
    pub fn parse(text: &str) -> Self {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        Self {
            samples: lines.filter_map(Sample::parse).collect(),
        }
    }

    /// The sum of all samples of this name that have these labels; none if there are none.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let mut found = self.named(name).filter(|sample| sample.has(labels));
        let first = found.next()?.value;
        Some(found.fold(first, |sum, sample| sum + sample.value))
    }

    /// The sums by the value of `label`, of all samples of this name that have it.
    pub fn by(&self, name: &str, label: &str) -> Vec<(String, f64)> {
        let mut sums: Vec<(String, f64)> = Vec::new();
        for sample in self.named(name) {
            let Some(key) = sample.label(label) else {
                continue;
            };
            match sums.iter_mut().find(|(known, _)| known == key) {
                Some((_, sum)) => *sum += sample.value,
                None => sums.push((key.to_owned(), sample.value)),
            }
        }
        sums
    }

    /// The buckets of a histogram, those of all workers together: upper bounds, the last infinite, and how many observations
    /// were below. Empty if there is none.
    pub fn buckets(&self, name: &str) -> Vec<(f64, u64)> {
        let sums = self.by(&format!("{name}_bucket"), "le");
        let mut buckets: Vec<_> = sums
            .into_iter()
            .filter_map(|(bound, count)| {
                let bound = match bound.as_str() {
                    "+Inf" => f64::INFINITY,
                    number => number.parse().ok()?,
                };
                Some((bound, count as u64))
            })
            .collect();
        buckets.sort_by(|one, other| one.0.total_cmp(&other.0));
        buckets
    }

    fn named(&self, name: &str) -> impl Iterator<Item = &Sample> {
        self.samples
            .iter()
            .filter(move |sample| sample.name == name)
    }
}

impl Sample {
    fn parse(line: &str) -> Option<Self> {
        let (series, value) = line.trim().rsplit_once(' ')?;
        let (name, labels) = match series.split_once('{') {
            None => (series, Vec::new()),
            Some((name, rest)) => (name, parse_labels(rest.strip_suffix('}')?)?),
        };
        Some(Self {
            name: name.to_owned(),
            labels,
            value: value.parse().ok()?,
        })
    }

    fn label(&self, name: &str) -> Option<&str> {
        let mut labels = self.labels.iter();
        labels
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }

    fn has(&self, labels: &[(&str, &str)]) -> bool {
        labels
            .iter()
            .all(|(name, value)| self.label(name) == Some(value))
    }
}

/// `name="value",…`: no value of ours has a quote or a comma in it.
fn parse_labels(text: &str) -> Option<Vec<(String, String)>> {
    let pairs = text.split(',').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (name, value) = pair.split_once('=')?;
            let value = value.strip_prefix('"')?.strip_suffix('"')?;
            Some((name.to_owned(), value.to_owned()))
        })
        .collect()
}

/// What matters of a node's metrics.
pub(super) fn of_node(metrics: &Metrics) -> Readings {
    let count = |name, labels: &[_]| metrics.sum(name, labels).map(|value| value as u64);
    let packets = "ringcast_node_driver_packets_total";
    let runs = metrics.buckets("ringcast_node_run_packets");
    let latency = metrics.buckets("ringcast_node_forward_latency_seconds");
    let in_nanoseconds = |(bound, count): (f64, u64)| (bound * 1e9, count);
    Readings {
        system_calls: count("ringcast_node_driver_system_calls_total", &[]),
        runs: (!runs.is_empty()).then(|| by_length(&runs)),
        latency: (!latency.is_empty()).then(|| latency.into_iter().map(in_nanoseconds).collect()),
        received: count(packets, &[("direction", "in")]),
        sent: count(packets, &[("direction", "out")]),
        dropped: metrics
            .by("ringcast_node_packets_dropped_total", "reason")
            .into_iter()
            .map(|(reason, count)| (reason, count as u64))
            .collect(),
        state: state(metrics),
    }
}

/// Entries of all tables that a node tells of and that only those it was told of should get into.
fn state(metrics: &Metrics) -> Option<u64> {
    let count = |name: &str| metrics.sum(name, &[]).map(|value| value as u64);
    let certain = count("ringcast_node_transports")?
        .checked_add(count("ringcast_node_handshakes_in_progress")?)?;
    let others = [
        "ringcast_node_sessions",
        "ringcast_node_publishers",
        "ringcast_node_subscribers",
        "ringcast_node_encodings",
        "ringcast_node_crossing_taps",
    ];
    let others: u64 = others.into_iter().filter_map(count).sum();
    certain.checked_add(others)
}

/// Cumulative buckets to counts by length. A bucket that holds several lengths counts as its longest; the open one as one more
/// than the bound below it.
fn by_length(buckets: &[(f64, u64)]) -> Vec<u64> {
    let mut counts = Vec::new();
    let (mut below, mut longest) = (0, 0);
    for (bound, count) in buckets {
        let length = if bound.is_finite() {
            *bound as usize
        } else {
            longest + 1
        };
        longest = length;
        counts.resize(counts.len().max(length + 1), 0);
        counts[length] += count.saturating_sub(below);
        below = below.max(*count);
    }
    counts
}

/// Asks a node for its metrics.
pub(super) async fn fetch(address: SocketAddr) -> anyhow::Result<Metrics> {
    let exchange = async {
        let mut stream = TcpStream::connect(address).await?;
        let request =
            format!("GET /metrics HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        std::io::Result::Ok(answer)
    };
    let answer = tokio::time::timeout(PATIENCE, exchange)
        .await
        .context("no answer")??;
    let answer = String::from_utf8(answer).context("not text")?;
    let (head, body) = answer.split_once("\r\n\r\n").context("no HTTP answer")?;
    if !head.starts_with("HTTP/1.1 200") {
        bail!("{}", head.lines().next().unwrap_or_default());
    }
    Ok(Metrics::parse(body))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = r#"# HELP packets Packets.
# TYPE packets counter
packets{worker="0",kind="rtp"} 5
packets{worker="1",kind="rtp"} 7
packets{worker="1",kind="rtcp"} 1
up 1
took_bucket{worker="0",le="0.001"} 2
took_bucket{worker="0",le="+Inf"} 3
took_bucket{worker="1",le="0.001"} 1
took_bucket{worker="1",le="+Inf"} 1
nonsense
"#;

    #[test]
    fn samples_are_added_up_over_what_is_not_asked_for() {
        let metrics = Metrics::parse(PAGE);
        assert_eq!(metrics.sum("packets", &[]), Some(13.0));
        assert_eq!(metrics.sum("packets", &[("kind", "rtp")]), Some(12.0));
        assert_eq!(metrics.sum("up", &[]), Some(1.0));
        assert_eq!(metrics.sum("nonsense", &[]), None);
        let by = metrics.by("packets", "kind");
        assert_eq!(by, [("rtp".to_owned(), 12.0), ("rtcp".to_owned(), 1.0)]);
        assert_eq!(metrics.buckets("took"), [(0.001, 3), (f64::INFINITY, 4)]);
    }

    #[test]
    fn runs_are_counted_by_length() {
        let buckets = [(1.0, 5), (2.0, 5), (4.0, 9), (f64::INFINITY, 10)];
        assert_eq!(by_length(&buckets), [0, 5, 0, 0, 4, 1]);
        let node = of_node(&Metrics::parse(
            "ringcast_node_run_packets_bucket{le=\"1\"} 3\nringcast_node_packets_dropped_total{stage=\"x\",reason=\"late\"} 2\n",
        ));
        assert_eq!(node.runs, Some(vec![0, 3]));
        assert_eq!(node.dropped.get("late"), Some(&2));
        assert_eq!((node.latency, node.sent), (None, None));
        assert_eq!(node.state, None);
    }

    #[test]
    fn every_table_of_a_node_is_state() {
        let tables = [
            "transports",
            "handshakes_in_progress",
            "sessions",
            "publishers",
            "subscribers",
            "encodings",
            "crossing_taps",
        ];
        let lines = tables.map(|table| format!("ringcast_node_{table}{{worker=\"0\"}} 2\n"));
        let state = |page: &str| of_node(&Metrics::parse(page)).state;
        assert_eq!(state(&lines.concat()), Some(14));
        assert_eq!(state(&lines[..2].concat()), Some(4), "an older node");
        for line in &lines {
            let raised = line.replace(" 2", " 3");
            let page = lines.concat().replace(line, &raised);
            assert_eq!(state(&page), Some(15), "{raised}");
        }
    }
}
