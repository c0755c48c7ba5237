//! What the pages say that a scrape reads.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::SystemTime;

use exposition::{Format, process};
use packet::MAX_SEGMENTS as RUNS;
use sfu::discard::{DropReason, Stage};
use sfu::stats::{Consumed, Direction, LATENCY_BOUNDS, PacketKind, Refusal};

use super::families::*;
use super::page::Page;
use super::{BATCHES, Cells, Snapshot};
use crate::capacity::{Capacity, LIMITS, Limit};
use crate::config::MetricsLevel as Level;

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
    /// Captures that began, without payload and with it.
    pub captures: [u64; 2],
    /// Times that a transport came into trouble, by its cause.
    pub troubles: BTreeMap<&'static str, u64>,
    /// Transports in trouble that are not closed, by its cause.
    pub troubled: BTreeMap<&'static str, u64>,
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
    /// Sessions are waited for, and then the node ends.
    pub leaving: bool,
    /// Times that the configuration was read again: well, and with a mistake in it.
    pub reloads: [u64; 2],
    /// The last time went well; the start is one.
    pub reload_is_good: bool,
    /// Share of its core that each worker used lately.
    pub busy: Vec<f64>,
    /// Sessions on one worker, and on several.
    pub sessions: (u64, u64),
    /// Which limits are reached, and how many transports each has cost, in the order of [`Limit::ALL`].
    pub limits: [(bool, u64); LIMITS],
    /// Orders and news that had to wait.
    pub overflows: [u64; 2],
}

/// What changes only when the configuration is read again.
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
    /// How much detail the page has.
    pub level: Level,
}

/// The most series that the short page has.
pub const LOAD_SERIES_MAX: usize = 20;

/// The most series that the page has at a level, however many workers there are.
pub const fn series_max(level: Level) -> usize {
    match level {
        Level::Basic => 300,
        Level::Full => 2000,
    }
}

/// The page, at the node's level.
pub fn render<'a>(
    node: &Node,
    agent: &AgentCounters,
    workers: impl Iterator<Item = &'a Cells>,
    format: Format,
) -> String {
    let workers: Vec<Snapshot> = workers.map(Cells::read).collect();
    let mut sum = Snapshot::default();
    workers.iter().cloned().for_each(|worker| sum.add(worker));
    let mut page = Page::new(node.level);
    page.gauge(BUILD_INFO, &[("version", env!("CARGO_PKG_VERSION"))], 1.0);
    packets(&mut page, &sum);
    stages(&mut page, &sum);
    model(&mut page, agent, &sum);
    limits(&mut page, node, agent);
    driver(&mut page, node.driver, &sum);
    crossing(&mut page, agent, &sum);
    match node.level {
        Level::Basic => worker(&mut page, &[], &sum),
        Level::Full => each_worker(&mut page, agent, &workers),
    }
    the_agent(&mut page, agent);
    page.gauge(
        CERTIFICATE_EXPIRY,
        &[],
        since_epoch(node.certificate_expiry),
    );
    used(&mut page);
    descriptors(&mut page);
    page.gauge(STARTED, &[], since_epoch(node.started));
    page.gauge(CLOCK, &[], since_epoch(SystemTime::now()));
    page.encode(format)
}

/// What a master weighs when it places sessions, in [`LOAD_SERIES_MAX`] series at most however large the node is, the same at every
/// level: sums of what the whole page has in detail.
pub fn render_load<'a>(
    node: &Node,
    agent: &AgentCounters,
    workers: impl Iterator<Item = &'a Cells>,
    format: Format,
) -> String {
    let mut sum = Snapshot::default();
    workers.for_each(|worker| sum.add(worker.read()));
    let mut page = Page::new(Level::Full);
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
    used(&mut page);
    page.encode(format)
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
    }
    drops(page, sum);
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

fn drops(page: &mut Page, sum: &Snapshot) {
    let drops = &sum.engine.drops;
    for reason in DropReason::ALL {
        let label = ("reason", reason.as_str());
        if page.level() == Level::Basic {
            page.count(DROPPED, &[label], drops.of(reason));
            continue;
        }
        for stage in Stage::ALL {
            let labels = [("stage", stage.as_str()), label];
            page.count(DROPPED, &labels, drops.get(stage, reason));
        }
    }
}

fn model(page: &mut Page, agent: &AgentCounters, sum: &Snapshot) {
    let engine = &sum.engine;
    transports(page, sum);
    page.gauge(ENCODINGS, &[], engine.encodings as f64);
    page.gauge(CACHE_PACKETS, &[], engine.cache_packets as f64);
    for (reason, count) in &agent.closed {
        page.count(TRANSPORTS_CLOSED, &[("reason", reason)], *count);
    }
    for (payload, count) in ["false", "true"].into_iter().zip(agent.captures) {
        page.count(CAPTURES, &[("payload", payload)], count);
    }
    for (cause, count) in &agent.troubles {
        page.count(TRANSPORT_TROUBLES, &[("cause", cause)], *count);
    }
    for (cause, count) in &agent.troubled {
        page.gauge(TRANSPORTS_TROUBLED, &[("cause", cause)], *count as f64);
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
    let worker = &sum.worker;
    let bounds: [f64; BATCHES] = core::array::from_fn(|nth| f64::from(1u32 << nth));
    let packets = worker.batch_packets as f64;
    page.histogram(BATCH_PACKETS, &bounds, &worker.batches, packets);
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
        worker(page, &label, snapshot);
        let busy = agent.busy.get(number).copied().unwrap_or(0.0);
        page.gauge(WORKER_BUSY, &label, busy);
    }
}

/// Of one worker, or of all.
fn worker(page: &mut Page, label: &[(&str, &str)], snapshot: &Snapshot) {
    let worker = &snapshot.worker;
    page.count(WORKER_TURNS, label, worker.turns);
    page.count(WORKER_ORDERS, label, worker.orders);
    page.count_real(WORKER_CPU, label, worker.cpu_nanos as f64 / 1e9);
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
    page.gauge(LEAVING, &[], f64::from(u8::from(agent.leaving)));
    for (outcome, count) in ["ok", "failed"].into_iter().zip(agent.reloads) {
        page.count(CONFIG_RELOADS, &[("outcome", outcome)], count);
    }
    let good = f64::from(u8::from(agent.reload_is_good));
    page.gauge(CONFIG_RELOADED, &[], good);
}

/// What the process uses.
fn used(page: &mut Page) {
    page.count_real(CPU, &[], process::cpu().as_secs_f64());
    page.gauge(MEMORY, &[], process::resident_bytes() as f64);
}

fn descriptors(page: &mut Page) {
    page.gauge(DESCRIPTORS, &[], process::open_descriptors() as f64);
    let most = process::descriptors_max().map_or(f64::INFINITY, |most| most as f64);
    page.gauge(DESCRIPTORS_MAX, &[], most);
}

fn since_epoch(time: SystemTime) -> f64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    since.unwrap_or_default().as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::WORKERS_MAX;

    fn node(level: Level) -> Node {
        Node {
            driver: "mmsg",
            transports_max: 7,
            capacity: Capacity {
                packets_per_second: 8,
                bits_per_second: 72,
                memory_bytes: 10,
            },
            certificate_expiry: SystemTime::UNIX_EPOCH,
            started: SystemTime::UNIX_EPOCH,
            level,
        }
    }

    /// Of an agent that has seen everything that can happen.
    fn agent() -> AgentCounters {
        let mut agent = AgentCounters {
            busy: vec![0.25, 0.75],
            ..AgentCounters::default()
        };
        for label in crate::agent::end_labels() {
            agent.closed.insert(label, 1);
            agent.handshakes.insert(label, 1);
        }
        for cause in link::Cause::ALL {
            agent.troubles.insert(cause.label(), 1);
            agent.troubled.insert(cause.label(), 1);
        }
        agent.limits[Limit::Memory as usize] = (true, 3);
        agent
    }

    fn busy() -> [Cells; 2] {
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
        snapshot.worker.turns = 4;
        snapshot.worker.came(3);
        let drops = &mut snapshot.engine.drops;
        drops.count(Stage::Route, DropReason::NoSubscriber);
        drops.count(Stage::CrossIn, DropReason::NoSubscriber);
        cells.iter().for_each(|cells| cells.publish(&mut snapshot));
        cells
    }

    fn page(level: Level, format: Format) -> String {
        render(&node(level), &agent(), busy().iter(), format)
    }

    fn series(page: &str) -> impl Iterator<Item = &str> {
        page.lines().filter(|line| !line.starts_with('#'))
    }

    fn has(page: &str, lines: &[&str]) {
        for line in lines {
            assert!(series(page).any(|found| found == *line), "{line}: {page}");
        }
    }

    #[test]
    fn a_page_has_every_declared_metric_of_its_level_and_no_other() {
        for level in [Level::Basic, Level::Full] {
            let page = page(level, Format::Text);
            for family in FAMILIES {
                let is_told = page.contains(&format!("# HELP {} ", family.name));
                assert_eq!(is_told, family.level <= level, "{}", family.name);
                let sample = |line: &str| {
                    let name = line.split(['{', ' ']).next();
                    let name = name.map(|name| match family.kind {
                        Kind::Histogram => name.trim_end_matches("_bucket"),
                        _ => name,
                    });
                    name == Some(family.name)
                };
                assert_eq!(series(&page).any(sample), is_told, "{}", family.name);
            }
        }
    }

    #[test]
    fn a_page_says_what_was_counted() {
        let page = page(Level::Full, Format::Text);
        has(
            &page,
            &[
                "ringcast_node_packets_total{direction=\"out\",kind=\"rtp\"} 42",
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
                "ringcast_node_forward_latency_seconds_bucket{le=\"1e-05\"} 0",
                "ringcast_node_forward_latency_seconds_bucket{le=\"2e-05\"} 6",
                "ringcast_node_forward_latency_seconds_bucket{le=\"+Inf\"} 8",
                "ringcast_node_forward_latency_seconds_sum 0.0002",
                "ringcast_node_run_packets_bucket{le=\"3.0\"} 10",
                "ringcast_node_run_packets_sum 30",
                "ringcast_node_batch_packets_bucket{le=\"2.0\"} 0",
                "ringcast_node_batch_packets_bucket{le=\"4.0\"} 2",
                "ringcast_node_batch_packets_bucket{le=\"256.0\"} 2",
                "ringcast_node_batch_packets_sum 6",
                "ringcast_node_packets_dropped_total{stage=\"route\",reason=\"no_subscriber\"} 2",
                "ringcast_node_worker_turns_total{worker=\"1\"} 4",
            ],
        );
    }

    #[test]
    fn the_basic_level_adds_up_what_the_full_one_tells_apart() {
        let page = page(Level::Basic, Format::Text);
        has(
            &page,
            &[
                "ringcast_node_packets_dropped_total{reason=\"no_subscriber\"} 4",
                "ringcast_node_worker_turns_total 8",
                "ringcast_node_packets_total{direction=\"out\",kind=\"rtp\"} 42",
            ],
        );
        assert!(!page.contains("worker=\""), "{page}");
    }

    #[test]
    fn a_page_has_no_more_series_than_its_level_allows() {
        let count = |level, workers: usize| {
            let mut agent = agent();
            agent.busy = vec![0.5; workers];
            let cells: Vec<_> = std::iter::repeat_with(Cells::new).take(workers).collect();
            let page = render(&node(level), &agent, cells.iter(), Format::OpenMetrics);
            series(&page).count()
        };
        let most = usize::from(WORKERS_MAX);
        for workers in [1, 64, most] {
            for level in [Level::Basic, Level::Full] {
                let count = count(level, workers);
                println!("{level:?}, {workers} workers: {count} series");
                assert!(count <= series_max(level), "{level:?}, {workers}: {count}");
            }
        }
        // What operators are told to reckon with.
        let told = include_str!("../../../control/OPERATING.md");
        for (level, workers, most) in [(Level::Full, 1, 700), (Level::Full, 64, 950)] {
            let sentence = format!("at most {most} with {workers}");
            assert!(told.contains(&sentence), "OPERATING.md lacks {sentence:?}");
            assert!(count(level, workers) <= most, "{workers}: more than {most}");
        }
        for level in [Level::Basic, Level::Full] {
            let sentence = format!("at most {} series", series_max(level));
            assert!(told.contains(&sentence), "OPERATING.md lacks {sentence:?}");
        }
        // The control: the one level grows with the workers and is too much for the other.
        assert_eq!(count(Level::Basic, 1), count(Level::Basic, most));
        assert!(count(Level::Full, 64) > count(Level::Full, 1));
        assert!(count(Level::Full, 1) > series_max(Level::Basic));
    }

    #[test]
    fn a_master_gets_the_same_short_page_at_every_level() {
        let page = page(Level::Full, Format::Text);
        for level in [Level::Basic, Level::Full] {
            let short = render_load(&node(level), &agent(), busy().iter(), Format::Text);
            assert!(series(&short).count() <= LOAD_SERIES_MAX, "{short}");
            let name = |line: &str| line.split(['{', ' ']).next().map(str::to_owned);
            for line in series(&short) {
                let same = |other: &str| name(other) == name(line);
                assert!(series(&page).any(same), "{line} is not on the whole page");
            }
            has(
                &short,
                &[
                    "ringcast_node_packets_total{direction=\"out\"} 42",
                    "ringcast_node_transports_max 7",
                    "ringcast_node_capacity_memory_bytes 10",
                    "ringcast_node_busiest_worker_ratio 0.75",
                    "ringcast_node_driver_kernel_drops_total{driver=\"mmsg\"} 0",
                    "ringcast_node_ready 0",
                ],
            );
        }
    }

    #[test]
    fn the_clock_is_that_of_the_host() {
        let shown = || {
            let page = page(Level::Basic, Format::Text);
            let name = "ringcast_node_clock_timestamp_seconds ";
            let value = page.lines().find_map(|line| line.strip_prefix(name));
            value.and_then(|value| value.parse::<f64>().ok())
        };
        let before = since_epoch(SystemTime::now());
        let (first, second) = (shown().expect("there"), shown().expect("there"));
        assert!(before <= first && first <= second && second <= since_epoch(SystemTime::now()));
    }

    #[test]
    fn openmetrics_says_the_same_and_the_units() {
        // What the process uses changes from one page to the next, and so does the clock.
        let is_steady = |line: &&str| {
            let changing = ["_cpu_seconds", "_memory_bytes", "_clock_timestamp"];
            !changing.iter().any(|name| line.contains(name))
        };
        let [text, open] =
            [Format::Text, Format::OpenMetrics].map(|format| page(Level::Full, format));
        assert!(
            series(&text)
                .filter(is_steady)
                .eq(series(&open).filter(is_steady))
        );
        for line in [
            "# TYPE ringcast_node_packets counter",
            "# UNIT ringcast_node_forward_latency_seconds seconds",
            "# UNIT ringcast_node_worker_busy_ratio ratio",
        ] {
            assert!(open.lines().any(|found| found == line), "{line}: {open}");
        }
        assert!(open.ends_with("\n# EOF\n"));
    }
}
