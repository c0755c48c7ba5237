//! What operators see: one table of all metrics, and the text that Prometheus scrapes.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use exposition::{Format, process};
use link::quic::Trouble;
use prometheus::core::Collector;
use prometheus::{
    Counter, Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec,
    IntGauge, IntGaugeVec, Opts, Registry,
};

use scheduler::{Source, Standing};

use crate::app::{Core, now_millis};
use crate::cluster::{Health, Status};
use crate::joins::Phase;

macro_rules! table {
    ($($(#[$doc:meta])* $field:ident: $kind:ident($name:literal, $help:literal $(, [$($label:literal),*])? $(; $buckets:ident)?);)*) => {
        /// Every metric of the master. The unit of one is what its name ends in ([`exposition::unit`]).
        #[derive(Clone)]
        pub struct Metrics {
            registry: Registry,
            /// Whoever looks writes what others may be reading.
            turn: Arc<Mutex<()>>,
            $($(#[$doc])* $field: $kind,)*
        }

        impl Metrics {
            /// All at zero.
            pub fn new() -> Self {
                let registry = Registry::new();
                $(let $field = register(&registry, table!(@make $kind, $name, $help $(, [$($label),*])? $(; $buckets)?));)*
                let metrics = Self { registry, turn: Arc::default(), $($field,)* };
                metrics.build_info.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
                metrics.config_reloaded.set(1);
                for outcome in ["ok", "failed"] {
                    let _ = metrics.config_reloads.with_label_values(&[outcome]);
                }
                metrics
            }

            /// Name and help of every metric, for checks of dashboards.
            pub const NAMES: &'static [(&'static str, &'static str)] = &[$(($name, $help)),*];

            #[cfg(test)]
            const KINDS: &'static [(&'static str, &'static str)] = &[$(($name, stringify!($kind))),*];
        }
    };
    (@make HistogramVec, $name:literal, $help:literal, [$($label:literal),*]; $buckets:ident) => {
        HistogramVec::new(HistogramOpts::new($name, $help).buckets($buckets.to_vec()), &[$($label),*])
    };
    (@make Histogram, $name:literal, $help:literal; $buckets:ident) => {
        Histogram::with_opts(HistogramOpts::new($name, $help).buckets($buckets.to_vec()))
    };
    (@make $kind:ident, $name:literal, $help:literal, [$($label:literal),*]) => {
        $kind::new(Opts::new($name, $help), &[$($label),*])
    };
    (@make $kind:ident, $name:literal, $help:literal) => {
        $kind::with_opts(Opts::new($name, $help))
    };
}

/// From a step that waits for nobody to what a client no longer waits for, seconds.
const RPC_BUCKETS: [f64; 12] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0,
];

/// From nothing to a step that others notice, seconds.
const STEP_BUCKETS: [f64; 9] = [1e-6, 2.5e-6, 5e-6, 1e-5, 2.5e-5, 1e-4, 1e-3, 1e-2, 1e-1];

/// From a line that nobody notices to people who have given up, seconds.
const JOIN_BUCKETS: [f64; 12] = [
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
];

/// From somebody alone to a large audience, people.
const SIZE_BUCKETS: [f64; 15] = [
    1.0, 2.0, 3.0, 4.0, 5.0, 8.0, 12.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0, 5000.0,
];

/// From a fourth of what came to sixteen times that: the middle is right.
const PREDICTION_BUCKETS: [f64; 7] = [0.25, 0.5, 0.8, 1.25, 2.0, 4.0, 16.0];

/// The most series that each media node adds to the page: what is told by node.
#[cfg(test)]
const NODE_SERIES_MAX: usize = 24;

table! {
    sessions: IntGauge("ringcast_master_sessions", "Sessions that exist, joined or not.");
    connections: IntGaugeVec("ringcast_master_connections", "Connections by status.", ["status"]);
    streams: IntGaugeVec("ringcast_master_streams", "Published streams and subscriptions to them.", ["end"]);
    rpc_requests: IntCounterVec("ringcast_master_rpc_requests_total", "RPC requests by method and outcome.", ["method", "outcome"]);
    rpc_duration: HistogramVec("ringcast_master_rpc_duration_seconds", "Time from an RPC request's turn to its answer, seconds.", ["method"]; RPC_BUCKETS);
    join_duration: HistogramVec("ringcast_master_join_duration_seconds", "What somebody waits for until the first media can flow, seconds: for the answer to joinRoom (join), from the first request for media until an offer has its answer (negotiate), and from there until the media node says that the transport is connected (connect). Time that people take in between is none of it.", ["phase"]; JOIN_BUCKETS);
    session_size: Histogram("ringcast_master_session_participants", "Most people who were in a session at a time, each session once, when it is over."; SIZE_BUCKETS);
    placements: IntCounterVec("ringcast_master_placements_total", "Sessions that were to be placed on a media node, by outcome.", ["outcome"]);
    placements_foreseen: IntCounterVec("ringcast_master_placements_foreseen_total", "Connections that applications were refused because their session could not be placed, by reason.", ["outcome"]);
    placements_moved: IntCounter("ringcast_master_placements_moved_total", "Sessions that were placed anew because their media node refused them.");
    predictions: HistogramVec("ringcast_master_prediction_ratio", "Streams that a session was foreseen to have, for each that it had at its greatest, each session once, when it is over; 1 is right. By what it was foreseen from when it was placed: the application (hint), earlier sessions of its name (name) or of the beginning of its name (stem), earlier ones of which nothing was known either (strangers), or nothing (usual); and once more by how it had grown when it was a minute old (growth).", ["source"]; PREDICTION_BUCKETS);
    placement_duration: Histogram("ringcast_master_placement_duration_seconds", "Time to choose a media node, seconds."; STEP_BUCKETS);
    loads_read: IntCounterVec("ringcast_master_node_load_reads_total", "Attempts to read a media node's metrics, by outcome.", ["outcome"]);
    load_ratio: GaugeVec("ringcast_master_node_load_ratio", "Load of a media node: the largest of its components against its own limit, with what was placed since its last report; 1 is full.", ["node"]);
    load_age: GaugeVec("ringcast_master_node_load_age_seconds", "Time since a media node's metrics were last read, seconds.", ["node"]);
    load_reserved: GaugeVec("ringcast_master_node_reserved_packets_per_second", "Packets a second that are reserved on a media node: for what its metrics can't show yet (placed), and for sessions to come into their own (growth).", ["node", "what"]);
    load_sessions: IntGaugeVec("ringcast_master_node_sessions", "Sessions placed on a media node.", ["node"]);
    load_standing: IntGaugeVec("ringcast_master_nodes_for_placement", "Media nodes by what they are to placement.", ["standing"]);
    store_commits: IntCounter("ringcast_master_store_commits_total", "Transactions that brought the state to the disk.");
    store_rows: IntCounter("ringcast_master_store_rows_total", "Rows that these transactions wrote.");
    store_seconds: Counter("ringcast_master_store_commit_seconds_total", "Time that these transactions took.");
    store_failures: IntCounter("ringcast_master_store_failures_total", "Transactions that the disk did not take; they are tried again.");
    store_failing: IntGauge("ringcast_master_store_failing", "1 while the disk takes nothing: changes are refused.");
    nodes: IntGaugeVec("ringcast_master_nodes", "Media nodes by state.", ["state"]);
    node_statuses: IntGaugeVec("ringcast_master_node_statuses", "Media nodes by what they are for, in OpenVidu's words.", ["status"]);
    node_status: IntGaugeVec("ringcast_master_node_status", "1 for what a media node is for, in OpenVidu's words, and 0 for what it is not.", ["node", "status"]);
    node_standing: IntGaugeVec("ringcast_master_node_standing", "1 for what a media node is to placement, and 0 for what it is not.", ["node", "standing"]);
    nodes_unreached: IntGaugeVec("ringcast_master_nodes_unreached", "Media nodes without a link, by what is in its way.", ["trouble"]);
    superseded: IntGauge("ringcast_master_superseded", "1: a newer master has taken over media nodes of ours.");
    node_load: GaugeVec("ringcast_master_node_cpu_ratio", "Share of a media node's cores in use, by its own last heartbeat, 0 to 1.", ["node"]);
    link_lag: GaugeVec("ringcast_master_link_lag_seconds", "Time since a media node was last heard of, seconds; nothing of one that ended in order.", ["node"]);
    link_unapplied: IntGaugeVec("ringcast_master_link_unapplied_revisions", "Revisions of the desired state that a media node has not taken up yet.", ["node"]);
    transports_closed: IntCounterVec("ringcast_master_transports_closed_total", "Transports that media nodes let go by themselves, by reason.", ["reason"]);
    refusals: IntCounterVec("ringcast_master_node_refusals_total", "Entries that media nodes refused.", ["node"]);
    sockets: IntGauge("ringcast_master_websockets", "Open WebSockets.");
    sockets_refused: IntCounterVec("ringcast_master_websockets_refused_total", "WebSockets and joins refused for their number, by limit.", ["limit"]);
    http_requests: IntCounterVec("ringcast_master_http_requests_total", "HTTP requests by method and status.", ["method", "status"]);
    webhook_deliveries: IntCounterVec("ringcast_master_webhook_deliveries_total", "Attempts to deliver an event to the webhook, by outcome.", ["outcome"]);
    webhook_duration: HistogramVec("ringcast_master_webhook_duration_seconds", "Time until the webhook's receiver answered, or was given up, seconds.", ["outcome"]; RPC_BUCKETS);
    audit_lines: IntCounterVec("ringcast_master_audit_lines_total", "Lines for the file of who changed what, by outcome.", ["outcome"]);
    cdr_lines: IntCounterVec("ringcast_master_cdr_lines_total", "Lines of call detail records, by outcome.", ["outcome"]);
    events_waiting: IntGaugeVec("ringcast_master_events_waiting", "Events that wait to be delivered, by target.", ["target"]);
    events_oldest: GaugeVec("ringcast_master_events_oldest_seconds", "Age of the event that waits longest, by target, seconds.", ["target"]);
    events_refused: IntCounterVec("ringcast_master_events_lost_total", "Events that were not kept because too many waited, by target.", ["target"]);
    event_listeners: IntGauge("ringcast_master_event_listeners", "Who reads events as they happen (GET /openvidu/api/events).");
    certificate_expiry: GaugeVec("ringcast_master_certificate_expiry_timestamp_seconds", "When a certificate of the master ends, seconds since the epoch: towards browsers (https) and towards nodes (link); and that of the authority which signs those for the link (authority), the first to end where several are trusted.", ["what"]);
    cpu: Counter("ringcast_master_cpu_seconds_total", "Processor time of the process.");
    memory: Gauge("ringcast_master_resident_memory_bytes", "Resident memory of the process.");
    descriptors: Gauge("ringcast_master_open_file_descriptors", "File descriptors that the process has open; each WebSocket is one.");
    descriptors_max: Gauge("ringcast_master_file_descriptors_max", "Most file descriptors that the process may have open.");
    config_reloads: IntCounterVec("ringcast_master_config_reloads_total", "Times that the configuration was read again, by outcome.", ["outcome"]);
    config_reloaded: IntGauge("ringcast_master_config_last_reload_successful", "1 unless the configuration had a mistake in it when it was last read again, and the one before is in effect.");
    started: Gauge("ringcast_master_start_time_seconds", "When this process started, seconds since the epoch.");
    clock: Gauge("ringcast_master_clock_timestamp_seconds", "What the host's clock shows while this is asked, seconds since the epoch.");
    build_info: IntGaugeVec("ringcast_master_build_info", "Always 1; the version is in the label.", ["version"]);
}

/// A media node that shows the certificate of another one.
const COPIED_ID: &str = "copied_id";
/// What can be in the way of a link.
const TROUBLES: [&str; 7] = [
    COPIED_ID,
    Trouble::Unreachable.as_str(),
    Trouble::Certificate.as_str(),
    Trouble::WrongPeer.as_str(),
    Trouble::Superseded.as_str(),
    Trouble::Version.as_str(),
    Trouble::Broken.as_str(),
];

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// The page of a scrape, for which `look` brings up to date what is counted by looking. Scrapes take turns: a node that one has just
    /// begun to look at would be missing on the page of the other.
    pub fn scrape(&self, look: impl FnOnce(&Self), format: Format) -> String {
        // What it guards is nothing that could be half.
        let turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        look(self);
        let families = self.registry.gather();
        drop(turn);
        exposition::encode(&families, format)
    }

    /// The page as it is.
    #[cfg(test)]
    pub fn render(&self, format: Format) -> String {
        exposition::encode(&self.registry.gather(), format)
    }

    /// Reads what is counted by looking.
    pub fn observe(&self, core: &mut Core) {
        self.observe_process();
        self.observe_loads(core);
        self.observe_nodes(core);
        self.observe_events(core);
        let (mut pending, mut active, mut publishers, mut subscribers) = (0, 0, 0, 0);
        let sessions = core.domain.sessions();
        for connection in sessions.iter().flat_map(|session| session.connections()) {
            match connection.is_active() {
                true => active += 1,
                false => pending += 1,
            }
            publishers += i64::from(connection.stream().is_some());
            subscribers += connection.subscriptions().len() as i64;
        }
        self.sessions.set(sessions.len() as i64);
        set(&self.connections, "pending", pending);
        set(&self.connections, "active", active);
        set(&self.streams, "publisher", publishers);
        set(&self.streams, "subscriber", subscribers);
        self.sockets.set(core.rpc.sockets() as i64);
        self.observe_store(core);
    }

    fn observe_nodes(&self, core: &Core) {
        let nodes = core.registry.nodes();
        for health in Health::ALL {
            let count = nodes.iter().filter(|node| node.health == health).count();
            set(&self.nodes, health.as_str(), count as i64);
        }
        for status in Status::ALL {
            let count = nodes.iter().filter(|node| node.status == status).count();
            set(&self.node_statuses, status.as_str(), count as i64);
        }
        for trouble in TROUBLES {
            let unreached = nodes.iter().filter(|node| {
                let copied = node.copy_of.as_ref().map(|_| COPIED_ID);
                let unreached = node.unreached.as_ref().map(|(kind, _)| kind.as_str());
                copied.or(unreached) == Some(trouble)
            });
            set(&self.nodes_unreached, trouble, unreached.count() as i64);
        }
        self.superseded.set(i64::from(core.registry.superseded()));
        // A node that has left leaves nothing behind.
        self.link_lag.reset();
        self.node_load.reset();
        self.link_unapplied.reset();
        self.node_status.reset();
        for node in nodes {
            let label = [node.id.as_str()];
            // Whoever ended in order is not missed.
            if !node.has_ended() {
                self.link_lag
                    .with_label_values(&label)
                    .set(node.silence().as_secs_f64());
            }
            self.node_load
                .with_label_values(&label)
                .set(node.link.load().cpu_ratio);
            set(&self.link_unapplied, label[0], node.link.unapplied() as i64);
            for status in Status::ALL {
                let labels = [label[0], status.as_str()];
                let is_it = i64::from(node.status == status);
                self.node_status.with_label_values(&labels).set(is_it);
            }
        }
    }

    fn observe_events(&self, core: &Core) {
        let now = now_millis();
        for target in core.events.targets() {
            let (label, backlog) = (target.channel.as_str(), &target.backlog);
            set(&self.events_waiting, label, backlog.waiting() as i64);
            let refused = self.events_refused.with_label_values(&[label]);
            refused.inc_by(backlog.refused().saturating_sub(refused.get()));
            let oldest = backlog.oldest_at().unwrap_or(now);
            self.events_oldest
                .with_label_values(&[label])
                .set(now.saturating_sub(oldest) as f64 / 1000.0);
        }
        self.event_listeners.set(core.events.listeners() as i64);
    }

    fn observe_process(&self) {
        let used = process::cpu().as_secs_f64();
        self.cpu.inc_by((used - self.cpu.get()).max(0.0));
        self.memory.set(process::resident_bytes() as f64);
        self.descriptors.set(process::open_descriptors() as f64);
        let most = process::descriptors_max().map_or(f64::INFINITY, |most| most as f64);
        self.descriptors_max.set(most);
        self.clock.set(now_millis() as f64 / 1000.0);
    }

    fn observe_store(&self, core: &Core) {
        let commits = core.store().commits();
        let total = |count: &AtomicU64| count.load(Ordering::Relaxed);
        for (counter, now) in [
            (&self.store_commits, total(&commits.count)),
            (&self.store_rows, total(&commits.rows)),
            (&self.store_failures, total(&commits.failures)),
        ] {
            counter.inc_by(now.saturating_sub(counter.get()));
        }
        let seconds = Duration::from_nanos(total(&commits.nanoseconds)).as_secs_f64();
        self.store_seconds
            .inc_by((seconds - self.store_seconds.get()).max(0.0));
        let failing = core.store().failure().is_some();
        self.store_failing.set(i64::from(failing));
    }

    fn observe_loads(&self, core: &mut Core) {
        for gauges in [&self.load_ratio, &self.load_age, &self.load_reserved] {
            // Nodes that are gone have no load.
            gauges.reset();
        }
        self.load_sessions.reset();
        self.node_standing.reset();
        let mut standings = [0; Standing::ALL.len()];
        let now = Instant::now();
        let nodes: Vec<_> = core
            .registry
            .nodes()
            .iter()
            .map(|node| node.id.clone())
            .collect();
        for node in nodes {
            let Some(view) = core.loads.view(now, &node) else {
                continue;
            };
            standings[view.standing as usize] += 1;
            let node = node.as_str();
            self.load_ratio
                .with_label_values(&[node])
                .set(view.load.ratio);
            self.load_age
                .with_label_values(&[node])
                .set(view.age.as_secs_f64());
            for (what, reserved) in [("placed", view.unseen), ("growth", view.growth)] {
                let gauge = self.load_reserved.with_label_values(&[node, what]);
                gauge.set(reserved.packets);
            }
            set(&self.load_sessions, node, view.sessions as i64);
            for standing in Standing::ALL {
                let labels = [node, standing.as_str()];
                let is_it = i64::from(view.standing == standing);
                self.node_standing.with_label_values(&labels).set(is_it);
            }
        }
        for (standing, count) in Standing::ALL.iter().zip(standings) {
            set(&self.load_standing, standing.as_str(), count);
        }
    }

    /// An RPC request was answered.
    pub fn rpc(&self, method: &str, outcome: &str, took: Duration) {
        self.rpc_requests
            .with_label_values(&[method, outcome])
            .inc();
        self.rpc_duration
            .with_label_values(&[method])
            .observe(took.as_secs_f64());
    }

    /// Somebody has got so far towards the first media, and waited so long for it.
    pub fn join(&self, phase: Phase, took: Duration) {
        self.join_duration
            .with_label_values(&[phase.as_str()])
            .observe(took.as_secs_f64());
    }

    /// A session is over that had so many people at its greatest.
    pub fn session_over(&self, participants: u32) {
        self.session_size.observe(f64::from(participants));
    }

    /// An event was to be delivered to the webhook; none: nobody was asked.
    pub fn webhook(&self, outcome: &'static str, took: Option<Duration>) {
        self.webhook_deliveries.with_label_values(&[outcome]).inc();
        if let Some(took) = took {
            self.webhook_duration
                .with_label_values(&[outcome])
                .observe(took.as_secs_f64());
        }
    }

    /// So many lines were to be written to the file of who changed what.
    pub fn audited(&self, lines: logs::Audited) {
        for (outcome, lines) in [("written", lines.written), ("failed", lines.failed)] {
            self.audit_lines.with_label_values(&[outcome]).inc_by(lines);
        }
    }

    /// Lines of call detail records were to be written.
    pub fn cdr(&self, outcome: &'static str, lines: usize) {
        self.cdr_lines
            .with_label_values(&[outcome])
            .inc_by(lines as u64);
    }

    /// A session was to be placed, and it took so long to say where.
    pub fn placement(&self, outcome: &str, took: Duration) {
        self.placements.with_label_values(&[outcome]).inc();
        self.placement_duration.observe(took.as_secs_f64());
    }

    /// A session is over for each of whose streams so many were foreseen.
    pub fn prediction(&self, source: Source, ratio: f64) {
        self.predictions
            .with_label_values(&[source.as_str()])
            .observe(ratio);
    }

    /// An application was told that a session can't be placed.
    pub fn placement_foreseen(&self, outcome: &str) {
        self.placements_foreseen.with_label_values(&[outcome]).inc();
    }

    /// A session was taken from a node that refused it.
    pub fn placement_moved(&self) {
        self.placements_moved.inc();
    }

    /// A node's metrics were read, or could not be.
    pub fn load_read(&self, outcome: &str) {
        self.loads_read.with_label_values(&[outcome]).inc();
    }

    /// A node let a transport go. The label is spelled as nodes spell it in their own metrics.
    pub fn transport_closed(&self, reason: link::CloseReason) {
        let mut label = String::new();
        for letter in format!("{reason:?}").chars() {
            if letter.is_ascii_uppercase() && !label.is_empty() {
                label.push('_');
            }
            label.push(letter.to_ascii_lowercase());
        }
        self.transports_closed.with_label_values(&[&label]).inc();
    }

    /// A node refused an entry.
    pub fn refusal(&self, node: &str) {
        self.refusals.with_label_values(&[node]).inc();
    }

    /// A WebSocket or join was refused for its number.
    pub fn refused(&self, limit: &'static str) {
        self.sockets_refused.with_label_values(&[limit]).inc();
    }

    /// An HTTP request was answered.
    pub fn http(&self, method: &str, status: u16) {
        self.http_requests
            .with_label_values(&[method, &status.to_string()])
            .inc();
    }

    /// A certificate was loaded that lasts until then; none: there is no certificate.
    pub fn certificate(&self, what: &str, expiry: Option<SystemTime>) {
        let Some(expiry) = expiry else { return };
        let since = expiry.duration_since(SystemTime::UNIX_EPOCH);
        self.certificate_expiry
            .with_label_values(&[what])
            .set(since.unwrap_or_default().as_secs_f64());
    }

    /// The configuration was read again, and `is_good`.
    pub fn reloaded(&self, is_good: bool) {
        let outcome = if is_good { "ok" } else { "failed" };
        self.config_reloads.with_label_values(&[outcome]).inc();
        self.config_reloaded.set(i64::from(is_good));
    }

    /// The process started.
    pub fn started(&self, at_millis: u64) {
        self.started.set(at_millis as f64 / 1000.0);
    }
}

fn set(gauges: &IntGaugeVec, label: &str, value: i64) {
    gauges.with_label_values(&[label]).set(value);
}

fn register<C: Collector + Clone + 'static>(registry: &Registry, made: prometheus::Result<C>) -> C {
    let collector = made.expect("the table names every metric well");
    registry
        .register(Box::new(collector.clone()))
        .expect("the table names every metric once");
    collector
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::cluster::MediaNode;
    use crate::domain::NodeId;
    use crate::testing::{FakeNode, master};

    #[test]
    fn every_metric_is_named_by_the_rules() {
        let mut bare = BTreeSet::new();
        for (name, kind) in Metrics::KINDS {
            assert_eq!(
                kind.contains("Counter"),
                name.ends_with("_total"),
                "{name} is a {kind}"
            );
            // OpenMetrics calls a counter without its `_total`, so that must be no other's name.
            let name = name.strip_suffix("_total").unwrap_or(name);
            assert!(bare.insert(name), "{name} twice");
        }
        for (name, help) in Metrics::NAMES {
            assert!(name.starts_with("ringcast_master_"), "{name}");
            assert!(help.ends_with('.'), "{name}");
        }
    }

    #[test]
    fn what_is_counted_is_on_the_page() {
        let metrics = Metrics::new();
        metrics.rpc("joinRoom", "ok", Duration::from_millis(2));
        metrics.join(Phase::Connect, Duration::from_millis(300));
        metrics.session_over(4);
        metrics.placement("placed", Duration::from_micros(3));
        metrics.prediction(Source::Name, 1.0);
        metrics.transport_closed(link::CloseReason::NoCommonSrtpProfile);
        let expiry = SystemTime::UNIX_EPOCH + Duration::from_secs(7);
        metrics.certificate("link", Some(expiry));
        metrics.certificate("https", None);
        let text = metrics.render(Format::Text);
        for line in [
            "ringcast_master_certificate_expiry_timestamp_seconds{what=\"link\"} 7",
            "ringcast_master_build_info{version=\"0.1.0\"} 1",
            "ringcast_master_rpc_requests_total{method=\"joinRoom\",outcome=\"ok\"} 1",
            "ringcast_master_sessions 0",
            "ringcast_master_transports_closed_total{reason=\"no_common_srtp_profile\"} 1",
            "ringcast_master_join_duration_seconds_bucket{phase=\"connect\",le=\"0.25\"} 0",
            "ringcast_master_join_duration_seconds_bucket{phase=\"connect\",le=\"0.5\"} 1",
            "ringcast_master_prediction_ratio_bucket{source=\"name\",le=\"0.8\"} 0",
            "ringcast_master_prediction_ratio_bucket{source=\"name\",le=\"1.25\"} 1",
            "ringcast_master_session_participants_bucket{le=\"3.0\"} 0",
            "ringcast_master_session_participants_bucket{le=\"4.0\"} 1",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}: {text}");
        }
        assert!(!text.contains("what=\"https\""));
        let open = metrics.render(Format::OpenMetrics);
        for line in [
            "# TYPE ringcast_master_rpc_requests counter",
            "# UNIT ringcast_master_join_duration_seconds seconds",
        ] {
            assert!(open.lines().any(|found| found == line), "{line}: {open}");
        }
    }

    #[test]
    fn each_node_adds_a_few_series_and_says_what_it_is_for() {
        let (app, _first) = master();
        let page = || {
            app.step(|core| app.metrics.observe(core));
            app.metrics.render(Format::Text)
        };
        let series = |page: &str| page.lines().filter(|line| !line.starts_with('#')).count();
        app.metrics.refusal("media_1");
        let one = page();
        let (id, uri) = (NodeId::new("media_2"), "quic://127.0.0.2:7443".to_owned());
        let address = ([127, 0, 0, 2], 7443).into();
        app.step(|core| {
            let node = MediaNode::new(id, uri, address, FakeNode::new("media_2"), 0);
            core.registry.add(node);
            core.look_at_nodes(Instant::now(), Duration::from_secs(3));
        });
        app.metrics.refusal("media_2");
        let two = page();
        let more = series(&two) - series(&one);
        println!("{} series, and {more} for each node more", series(&one));
        assert!((10..=NODE_SERIES_MAX).contains(&more), "{more}: {two}");
        let says = |name: &str, node: &str, what: &str| {
            let of = |line: &&str| line.starts_with(&format!("{name}{{node=\"{node}\","));
            let its: Vec<_> = two.lines().filter(of).collect();
            let ones: Vec<_> = its.iter().filter(|line| line.ends_with(" 1")).collect();
            assert_eq!(ones.len(), 1, "{its:?}");
            assert!(ones[0].contains(what), "{ones:?}");
            its.len()
        };
        for node in ["media_1", "media_2"] {
            let statuses = says("ringcast_master_node_status", node, "status=\"running\"");
            let standings = says("ringcast_master_node_standing", node, "standing=\"open\"");
            assert_eq!(statuses, Status::ALL.len());
            assert_eq!(standings, Standing::ALL.len());
        }
    }

    #[test]
    fn scrapes_do_not_disturb_each_other() {
        let (app, _node) = master();
        let scrape = || {
            let look = |metrics: &Metrics| app.step(|core| metrics.observe(core));
            app.metrics.scrape(look, Format::Text)
        };
        let is_whole = |page: String| page.contains("ringcast_master_link_lag_seconds{");
        std::thread::scope(|scope| {
            let scraping = || (0..300).all(|_| is_whole(scrape()));
            let scrapers = [(); 4].map(|()| scope.spawn(scraping));
            for scraper in scrapers {
                assert!(scraper.join().expect("no panic"));
            }
        });
    }

    #[test]
    fn who_listens_and_what_the_process_uses_is_looked_up() {
        let (app, _node) = master();
        let _listener = app.step(|core| core.events.listen(core.store()));
        app.step(|core| app.metrics.observe(core));
        let text = app.metrics.render(Format::Text);
        let value = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|rest| rest.trim().parse::<f64>().ok())
        };
        assert_eq!(value("ringcast_master_event_listeners "), Some(1.0));
        for name in [
            "cpu_seconds_total",
            "resident_memory_bytes",
            "open_file_descriptors",
            "clock_timestamp_seconds",
        ] {
            let used = value(&format!("ringcast_master_{name} "));
            assert!(used.is_some_and(|used| used > 0.0), "{name}: {used:?}");
        }
    }
}
