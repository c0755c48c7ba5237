//! The page that a scrape reads.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use packet::MAX_SEGMENTS as RUNS;
use prometheus::proto::{
    Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType,
};
use prometheus::{Encoder as _, TextEncoder};
use sfu::discard::{DropReason, Stage};
use sfu::stats::{Consumed, Direction, LATENCY_BOUNDS, PacketKind, Refusal};

use super::families::*;
use super::{Cells, Snapshot};
use crate::capacity::{Capacity, LIMITS, Limit};

/// How the orders of the master and the driver are called where they stand beside the stages.
const ORDERS: &str = "orders";
const DRIVER: &str = "driver";

/// What the agent counts.
#[derive(Clone, Debug, Default)]
pub struct AgentCounters {
    /// Transports that ended, by reason.
    pub closed: BTreeMap<&'static str, u64>,
    /// Entries refused.
    pub refusals: u64,
    /// Handshakes that ended, by result.
    pub handshakes: BTreeMap<&'static str, u64>,
    /// Handshakes under way.
    pub handshakes_open: u64,
    /// Handshake datagrams dropped because too many were under way.
    pub handshakes_deferred: u64,
    /// A master is connected.
    pub link_up: bool,
    /// Where that is.
    pub master: Option<IpAddr>,
    /// Connections that a master made.
    pub link_connections: u64,
    /// Attempts that were refused.
    pub link_refused: u64,
    /// Revision taken up.
    pub revision: u64,
    /// New transports are taken.
    pub ready: bool,
    /// Share of its core that each worker used lately.
    pub busy: Vec<f64>,
    /// Sessions on one worker, and on several.
    pub sessions: (u64, u64),
    /// Which limits are reached, and how many transports each has cost, in the order of [`Limit::ALL`].
    pub limits: [(bool, u64); LIMITS],
    /// Orders and news that had to wait.
    pub overflows: [u64; 2],
}

/// What does not change while the node runs.
#[derive(Clone, Debug)]
pub struct Node {
    /// `uring` or `mmsg`.
    pub driver: &'static str,
    /// Most transports, all workers together.
    pub transports_max: u64,
    /// What all workers together can do.
    pub capacity: Capacity,
    /// When the certificate for the link ends.
    pub certificate_expiry: SystemTime,
    /// When the process began.
    pub started: SystemTime,
}

/// The most series that the short page has.
pub const LOAD_SERIES_MAX: usize = 20;

/// The whole page, in the text format 0.0.4.
pub fn render<'a>(
    node: &Node,
    agent: &AgentCounters,
    workers: impl Iterator<Item = &'a Cells>,
) -> String {
    let workers: Vec<Snapshot> = workers.map(Cells::read).collect();
    let mut sum = Snapshot::default();
    workers.iter().cloned().for_each(|worker| sum.add(worker));
    let mut page = Page::new();
    page.gauge(BUILD_INFO, &[("version", env!("CARGO_PKG_VERSION"))], 1.0);
    packets(&mut page, &sum);
    stages(&mut page, &sum);
    model(&mut page, agent, &sum);
    limits(&mut page, node, agent);
    driver(&mut page, node.driver, &sum);
    crossing(&mut page, agent, &sum);
    each_worker(&mut page, agent, &workers);
    the_agent(&mut page, agent);
    page.gauge(
        CERTIFICATE_EXPIRY,
        &[],
        since_epoch(node.certificate_expiry),
    );
    process(&mut page, node);
    page.encode()
}

/// What a master weighs when it places sessions, in [`LOAD_SERIES_MAX`] series at most however large the node is: sums of what the
/// whole page has in detail.
pub fn render_load<'a>(
    node: &Node,
    agent: &AgentCounters,
    workers: impl Iterator<Item = &'a Cells>,
) -> String {
    let mut sum = Snapshot::default();
    workers.for_each(|worker| sum.add(worker.read()));
    let mut page = Page::new();
    capacity(&mut page, node);
    for direction in Direction::ALL {
        let label = [("direction", direction.as_str())];
        let all = |table: &[[u64; _]; 2]| table[direction as usize].iter().sum();
        page.count(PACKETS, &label, all(&sum.engine.packets));
        page.count(BYTES, &label, all(&sum.engine.bytes));
    }
    transports(&mut page, &sum);
    page.gauge(BUSIEST_WORKER, &[], busiest(agent));
    page.count(
        DRIVER_KERNEL_DROPS,
        &[("driver", node.driver)],
        sum.driver.kernel_drops,
    );
    page.gauge(READY, &[], f64::from(u8::from(agent.ready)));
    process(&mut page, node);
    page.encode()
}

fn packets(page: &mut Page, sum: &Snapshot) {
    for direction in Direction::ALL {
        for kind in PacketKind::ALL {
            let labels = [
                ("direction", direction.as_str()),
                ("kind", kind_label(kind)),
            ];
            let cell = |table: &[[u64; _]; 2]| table[direction as usize][kind as usize];
            page.count(PACKETS, &labels, cell(&sum.engine.packets));
            page.count(BYTES, &labels, cell(&sum.engine.bytes));
        }
    }
    for what in Consumed::ALL {
        let count = sum.engine.consumed[what as usize];
        page.count(CONSUMED, &[("what", what.as_str())], count);
    }
    let engine = &sum.engine;
    for (name, came, left) in [
        (NACKS, engine.nacks_received, engine.nacks_sent),
        (
            RETRANSMISSIONS,
            engine.retransmissions_received,
            engine.retransmissions_sent,
        ),
        (
            KEY_FRAME_REQUESTS,
            engine.key_frame_requests_received,
            engine.key_frame_requests_sent,
        ),
    ] {
        page.count(name, &[("direction", "in")], came);
        page.count(name, &[("direction", "out")], left);
    }
    page.count(RETRANSMISSIONS_REFUSED, &[], engine.retransmissions_refused);
    for reason in Refusal::ALL {
        let count = engine.refusals[reason as usize];
        page.count(NOT_HEARD, &[("reason", reason.as_str())], count);
    }
    page.count(PROBES, &[], engine.probes_sent);
    page.count(KEY_FRAMES, &[], engine.key_frames_received);
    page.count(
        FEEDBACK,
        &[("kind", "twcc")],
        engine.transport_feedback_sent,
    );
    page.count(FEEDBACK, &[("kind", "remb")], engine.remb_sent);
}

/// On the wire it is SRTP; what operators count is RTP.
fn kind_label(kind: PacketKind) -> &'static str {
    match kind {
        PacketKind::Srtp => "rtp",
        PacketKind::Srtcp => "rtcp",
        other => other.as_str(),
    }
}

fn stages(page: &mut Page, sum: &Snapshot) {
    for stage in Stage::ALL {
        let cells = sum.engine.stage(stage);
        let label = [("stage", stage.as_str())];
        page.count(STAGE_CALLS, &label, cells.calls);
        page.count(STAGE_CYCLES, &label, cells.cycles);
        page.count(STAGE_IN, &label, cells.packets_in);
        page.count(STAGE_MADE, &label, cells.made);
        page.count(STAGE_OUT, &label, cells.packets_out);
        page.count(STAGE_CONSUMED, &label, cells.consumed);
        page.gauge(STAGE_HELD, &label, cells.held as f64);
        for reason in DropReason::ALL {
            let labels = [("stage", stage.as_str()), ("reason", reason.as_str())];
            page.count(
                DROPPED,
                &labels,
                sum.engine.drops.0[stage as usize][reason as usize],
            );
        }
    }
    page.count(STAGE_CYCLES, &[("stage", ORDERS)], sum.engine.order_cycles);
    page.count(STAGE_CYCLES, &[("stage", DRIVER)], sum.worker.driver_cycles);
    let stages = Stage::ALL.map(Stage::as_str).into_iter();
    let stages = stages.chain([ORDERS, DRIVER]);
    for (stage, stalls) in stages.zip(sum.worker.stalls) {
        page.count(TURN_STALLS, &[("stage", stage)], stalls);
    }
    page.gauge(UNBALANCED, &[], sum.worker.unbalanced as f64);
    page.count(PADDING, &[], sum.engine.padding_bytes);
    page.count(SOUND_RECOVERED, &[], sum.engine.sound_recovered);
    let latency = &sum.engine.latency;
    let bounds = LATENCY_BOUNDS.map(|bound| bound as f64 / 1e9);
    page.histogram(LATENCY, &bounds, &latency.buckets, latency.sum as f64 / 1e9);
}

fn model(page: &mut Page, agent: &AgentCounters, sum: &Snapshot) {
    let engine = &sum.engine;
    transports(page, sum);
    page.gauge(ENCODINGS, &[], engine.encodings as f64);
    page.gauge(CACHE_PACKETS, &[], engine.cache_packets as f64);
    for (reason, count) in &agent.closed {
        page.count(TRANSPORTS_CLOSED, &[("reason", reason)], *count);
    }
    page.count(REFUSALS, &[], agent.refusals);
}

fn transports(page: &mut Page, sum: &Snapshot) {
    let engine = &sum.engine;
    for (state, count) in [
        ("new", engine.transports_new),
        ("connecting", engine.transports_connecting),
        ("connected", engine.transports_connected),
    ] {
        page.gauge(TRANSPORTS, &[("state", state)], count as f64);
    }
    page.gauge(PUBLISHERS, &[], engine.publishers as f64);
    page.gauge(SUBSCRIBERS, &[], engine.subscribers as f64);
}

fn limits(page: &mut Page, node: &Node, agent: &AgentCounters) {
    capacity(page, node);
    for (limit, (is_over, refused)) in Limit::ALL.into_iter().zip(agent.limits) {
        let label = [("limit", limit.as_str())];
        page.gauge(OVER_LIMIT, &label, f64::from(u8::from(is_over)));
        page.count(LIMIT_REFUSALS, &label, refused);
    }
    page.gauge(BUSIEST_WORKER, &[], busiest(agent));
}

fn capacity(page: &mut Page, node: &Node) {
    let capacity = &node.capacity;
    page.gauge(TRANSPORTS_MAX, &[], node.transports_max as f64);
    for (family, most) in [
        (CAPACITY_PACKETS, capacity.packets_per_second),
        (CAPACITY_BYTES, capacity.bits_per_second / 8),
        (CAPACITY_MEMORY, capacity.memory_bytes),
    ] {
        page.gauge(family, &[], most as f64);
    }
}

fn busiest(agent: &AgentCounters) -> f64 {
    agent.busy.iter().copied().fold(0.0, f64::max)
}

fn driver(page: &mut Page, name: &str, sum: &Snapshot) {
    let stats = &sum.driver;
    let label = [("driver", name)];
    page.gauge(DRIVER_INFO, &label, 1.0);
    for (direction, packets, bytes) in [
        ("in", stats.received_packets, stats.received_bytes),
        ("out", stats.sent_packets, stats.sent_bytes),
    ] {
        let labels = [("driver", name), ("direction", direction)];
        page.count(DRIVER_PACKETS, &labels, packets);
        page.count(DRIVER_BYTES, &labels, bytes);
    }
    let sizes: [f64; RUNS] = core::array::from_fn(|nth| (nth + 1) as f64);
    let packets = (1..).zip(stats.runs).map(|(size, runs)| size * runs);
    page.histogram(
        RUN_PACKETS,
        &sizes,
        &stats.runs,
        packets.sum::<u64>() as f64,
    );
    for (family, count) in [
        (DRIVER_SENDS, stats.sends),
        (DRIVER_PEER_BURSTS, stats.peer_bursts),
        (DRIVER_RECEIVING_TURNS, stats.receiving_turns),
        (DRIVER_TURNS, stats.turns),
        (DRIVER_SYSTEM_CALLS, stats.system_calls),
        (DRIVER_BURSTS, stats.sent_bursts),
        (DRIVER_SEGMENTED, stats.segmented_bursts),
        (DRIVER_FALLBACKS, stats.segmentation_fallbacks),
        (DRIVER_REFUSED, stats.refused_submissions),
        (DRIVER_EXPIRED, stats.expired_packets),
        (DRIVER_SEND_FAILURES, stats.send_failures),
        (DRIVER_UNREACHABLE, stats.unreachable),
        (DRIVER_KERNEL_DROPS, stats.kernel_drops),
        (DRIVER_TRUNCATED, stats.truncated),
        (DRIVER_OUT_OF_SLOTS, stats.out_of_slots),
        (DRIVER_REARMED, stats.rearmed),
    ] {
        page.count(family, &label, count);
    }
}

fn crossing(page: &mut Page, agent: &AgentCounters, sum: &Snapshot) {
    let engine = &sum.engine;
    for (direction, packets, taps, wishes) in [
        (
            "in",
            engine.stage(Stage::CrossIn).packets_in,
            engine.taps_in,
            engine.key_frame_wishes_received,
        ),
        (
            "out",
            engine.stage(Stage::CrossOut).packets_out,
            engine.taps_out,
            engine.key_frame_wishes_sent,
        ),
    ] {
        let label = [("direction", direction)];
        page.count(CROSSED, &label, packets);
        page.gauge(CROSSING_TAPS, &label, taps as f64);
        page.count(CROSSING_WISHES, &label, wishes);
    }
    page.gauge(CROSSING_SLOTS, &[], sum.crossing.slots_lent as f64);
    page.count(CROSSING_WAKES, &[], sum.crossing.wakes);
    let (one, several) = agent.sessions;
    page.gauge(SESSIONS, &[("workers", "one")], one as f64);
    page.gauge(SESSIONS, &[("workers", "several")], several as f64);
}

fn each_worker(page: &mut Page, agent: &AgentCounters, workers: &[Snapshot]) {
    for (number, snapshot) in workers.iter().enumerate() {
        let number_text = number.to_string();
        let label = [("worker", number_text.as_str())];
        let worker = &snapshot.worker;
        page.count(WORKER_TURNS, &label, worker.turns);
        page.count(WORKER_ORDERS, &label, worker.orders);
        page.count_real(WORKER_CPU, &label, worker.cpu_nanos as f64 / 1e9);
        let busy = agent.busy.get(number).copied().unwrap_or(0.0);
        page.gauge(WORKER_BUSY, &label, busy);
    }
}

fn the_agent(page: &mut Page, agent: &AgentCounters) {
    for (direction, count) in ["orders", "news"].into_iter().zip(agent.overflows) {
        page.count(MAILBOX_OVERFLOWS, &[("direction", direction)], count);
    }
    for (result, count) in &agent.handshakes {
        page.count(HANDSHAKES, &[("result", result)], *count);
    }
    page.gauge(HANDSHAKES_OPEN, &[], agent.handshakes_open as f64);
    page.count(HANDSHAKES_DEFERRED, &[], agent.handshakes_deferred);
    page.gauge(LINK_UP, &[], f64::from(u8::from(agent.link_up)));
    page.count(LINK_CONNECTIONS, &[], agent.link_connections);
    page.count(LINK_REFUSED, &[], agent.link_refused);
    page.gauge(LINK_REVISION, &[], agent.revision as f64);
    page.gauge(READY, &[], f64::from(u8::from(agent.ready)));
}

fn process(page: &mut Page, node: &Node) {
    page.count_real(PROCESS_CPU, &[], process_cpu().as_secs_f64());
    page.gauge(PROCESS_MEMORY, &[], resident_bytes() as f64);
    page.gauge(PROCESS_START, &[], since_epoch(node.started));
}

fn since_epoch(time: SystemTime) -> f64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    since.unwrap_or_default().as_secs_f64()
}

/// Processor time of the process.
pub fn process_cpu() -> Duration {
    let used = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    // Processor time counts up from zero, and nanoseconds stay below a second.
    Duration::new(
        used.tv_sec.unsigned_abs(),
        used.tv_nsec.unsigned_abs() as u32,
    )
}

/// Resident memory of the process; 0 if the system does not say.
pub fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kibibytes = line.and_then(|rest| rest.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kibibytes.unwrap_or(0) * 1024
}

/// Samples, gathered by name.
struct Page(BTreeMap<&'static str, Vec<Metric>>);

impl Page {
    fn new() -> Self {
        Self(BTreeMap::new())
    }

    fn gauge(&mut self, name: &'static str, labels: &[(&str, &str)], value: f64) {
        let mut gauge = Gauge::default();
        gauge.set_value(value);
        let mut metric = Metric::from_gauge(gauge);
        metric.set_label(pairs(labels));
        self.0.entry(name).or_default().push(metric);
    }

    fn count(&mut self, name: &'static str, labels: &[(&str, &str)], value: u64) {
        self.count_real(name, labels, value as f64);
    }

    fn count_real(&mut self, name: &'static str, labels: &[(&str, &str)], value: f64) {
        let mut counter = Counter::default();
        counter.set_value(value);
        let mut metric = Metric::from_label(pairs(labels));
        metric.set_counter(counter);
        self.0.entry(name).or_default().push(metric);
    }

    /// `counts` by the first of `bounds` that is not exceeded; one more entry counts what exceeds all.
    fn histogram(&mut self, name: &'static str, bounds: &[f64], counts: &[u64], sum: f64) {
        let mut total = 0;
        let buckets = bounds.iter().zip(counts).map(|(bound, count)| {
            total += count;
            let mut bucket = Bucket::default();
            bucket.set_upper_bound(*bound);
            bucket.set_cumulative_count(total);
            bucket
        });
        let mut histogram = Histogram::default();
        histogram.set_bucket(buckets.collect());
        histogram.set_sample_count(counts.iter().sum());
        histogram.set_sample_sum(sum);
        let mut metric = Metric::default();
        metric.set_histogram(histogram);
        self.0.entry(name).or_default().push(metric);
    }

    fn encode(mut self) -> String {
        let mut text = Vec::new();
        for family in FAMILIES {
            let Some(samples) = self.0.remove(family.name) else {
                continue;
            };
            let mut written = MetricFamily::default();
            written.set_name(family.name.to_owned());
            written.set_help(family.help.to_owned());
            written.set_field_type(match family.kind {
                Kind::Counter => MetricType::COUNTER,
                Kind::Gauge => MetricType::GAUGE,
                Kind::Histogram => MetricType::HISTOGRAM,
            });
            written.set_metric(samples);
            TextEncoder::new()
                .encode(&[written], &mut text)
                .expect("a family has a name and samples, and memory takes what is written");
        }
        String::from_utf8(text).expect("names and labels are UTF-8")
    }
}

fn pairs(labels: &[(&str, &str)]) -> Vec<LabelPair> {
    let pair = |(name, value): &(&str, &str)| {
        let mut pair = LabelPair::default();
        pair.set_name((*name).to_owned());
        pair.set_value((*value).to_owned());
        pair
    };
    labels.iter().map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_has_every_declared_metric_and_no_other() {
        let mut agent = AgentCounters::default();
        agent.closed.insert("removed", 1);
        agent.busy = vec![0.25, 0.75];
        agent.limits[Limit::Memory as usize] = (true, 3);
        agent.handshakes.insert("connected", 1);
        let node = Node {
            driver: "mmsg",
            transports_max: 7,
            capacity: Capacity {
                packets_per_second: 8,
                bits_per_second: 72,
                memory_bytes: 10,
            },
            certificate_expiry: SystemTime::UNIX_EPOCH,
            started: SystemTime::UNIX_EPOCH,
        };
        let cells = [Cells::new(), Cells::new()];
        let mut snapshot = Snapshot::default();
        snapshot.engine.packets[1][2] = 21;
        snapshot.engine.latency.buckets[1] = 3;
        snapshot.engine.latency.buckets[16] = 1;
        snapshot.engine.latency.sum = 100_000;
        snapshot.driver.runs[2] = 5;
        snapshot.worker.stalls[crate::effort::ORDERS] = 1;
        snapshot.worker.stalls[crate::effort::DRIVER] = 2;
        snapshot.worker.driver_cycles = 1_500;
        cells.iter().for_each(|cells| cells.publish(&mut snapshot));
        let page = render(&node, &agent, cells.iter());
        for family in FAMILIES {
            assert!(
                page.contains(&format!("# HELP {} ", family.name)),
                "{}",
                family.name
            );
            let sample = |line: &str| {
                let name = line.split(['{', ' ']).next();
                let name = name.map(|name| match family.kind {
                    Kind::Histogram => name.trim_end_matches("_bucket"),
                    _ => name,
                });
                name == Some(family.name)
            };
            assert!(page.lines().any(sample), "{}", family.name);
        }
        assert!(
            page.contains("ringcast_node_packets_total{direction=\"out\",kind=\"rtp\"} 42\n"),
            "{page}"
        );
        for line in [
            "ringcast_node_transports_max 7",
            "ringcast_node_capacity_packets_per_second 8",
            "ringcast_node_capacity_bytes_per_second 9",
            "ringcast_node_capacity_memory_bytes 10",
            "ringcast_node_busiest_worker_ratio 0.75",
            "ringcast_node_over_limit{limit=\"memory\"} 1",
            "ringcast_node_limit_refusals_total{limit=\"memory\"} 3",
            "ringcast_node_turn_stalls_total{stage=\"orders\"} 2",
            "ringcast_node_turn_stalls_total{stage=\"driver\"} 4",
            "ringcast_node_stage_cycles_total{stage=\"driver\"} 3000",
            "ringcast_node_forward_latency_seconds_bucket{le=\"0.00001\"} 0",
            "ringcast_node_forward_latency_seconds_bucket{le=\"0.00002\"} 6",
            "ringcast_node_forward_latency_seconds_bucket{le=\"+Inf\"} 8",
            "ringcast_node_forward_latency_seconds_sum 0.0002",
            "ringcast_node_run_packets_bucket{le=\"3\"} 10",
            "ringcast_node_run_packets_sum 30",
        ] {
            assert!(page.lines().any(|found| found == line), "{line}: {page}");
        }
        let short = render_load(&node, &agent, cells.iter());
        let series = || short.lines().filter(|line| !line.starts_with('#'));
        assert!(series().count() <= LOAD_SERIES_MAX, "{short}");
        let name = |line: &str| line.split(['{', ' ']).next().map(str::to_owned);
        for line in series() {
            let same = |other: &str| name(other) == name(line);
            assert!(page.lines().any(same), "{line} is not on the whole page");
        }
        for line in [
            "ringcast_node_packets_total{direction=\"out\"} 42",
            "ringcast_node_transports_max 7",
            "ringcast_node_capacity_memory_bytes 10",
            "ringcast_node_busiest_worker_ratio 0.75",
            "ringcast_node_driver_kernel_drops_total{driver=\"mmsg\"} 0",
            "ringcast_node_ready 0",
        ] {
            assert!(series().any(|found| found == line), "{line}: {short}");
        }
    }

    #[test]
    fn the_process_is_measured() {
        assert!(resident_bytes() > 100_000);
        assert!(process_cpu() > Duration::ZERO);
    }
}
