//! What operators see: one table of all metrics, and the text that Prometheus scrapes.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use link::quic::Trouble;
use prometheus::core::Collector;
use prometheus::{
    Counter, Encoder as _, Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter,
    IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder,
};

use scheduler::Standing;

use crate::app::{Core, now_millis};
use crate::cluster::{Health, Status};

macro_rules! table {
    ($($(#[$doc:meta])* $field:ident: $kind:ident($name:literal, $help:literal $(, [$($label:literal),*])?);)*) => {
        /// Every metric of the master.
        #[derive(Clone)]
        pub struct Metrics {
            registry: Registry,
            $($(#[$doc])* $field: $kind,)*
        }

        impl Metrics {
            /// All at zero.
            pub fn new() -> Self {
                let registry = Registry::new();
                $(let $field = register(&registry, table!(@make $kind, $name, $help $(, [$($label),*])?));)*
                let metrics = Self { registry, $($field,)* };
                metrics.build_info.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
                metrics
            }

            /// Name and help of every metric, for checks of dashboards.
            pub const NAMES: &'static [(&'static str, &'static str)] = &[$(($name, $help)),*];

            #[cfg(test)]
            const KINDS: &'static [(&'static str, &'static str)] = &[$(($name, stringify!($kind))),*];
        }
    };
    (@make HistogramVec, $name:literal, $help:literal, [$($label:literal),*]) => {
        HistogramVec::new(HistogramOpts::new($name, $help).buckets(RPC_BUCKETS.to_vec()), &[$($label),*])
    };
    (@make Histogram, $name:literal, $help:literal) => {
        Histogram::with_opts(HistogramOpts::new($name, $help).buckets(STEP_BUCKETS.to_vec()))
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

table! {
    sessions: IntGauge("ringcast_master_sessions", "Sessions that exist, joined or not.");
    connections: IntGaugeVec("ringcast_master_connections", "Connections by status.", ["status"]);
    streams: IntGaugeVec("ringcast_master_streams", "Published streams and subscriptions to them.", ["end"]);
    rpc_requests: IntCounterVec("ringcast_master_rpc_requests_total", "RPC requests by method and outcome.", ["method", "outcome"]);
    rpc_duration: HistogramVec("ringcast_master_rpc_duration_seconds", "Time from an RPC request's turn to its answer, seconds.", ["method"]);
    placements: IntCounterVec("ringcast_master_placements_total", "Sessions that were to be placed on a media node, by outcome.", ["outcome"]);
    placements_foreseen: IntCounterVec("ringcast_master_placements_foreseen_total", "Connections that applications were refused because their session could not be placed, by reason.", ["outcome"]);
    placements_moved: IntCounter("ringcast_master_placements_moved_total", "Sessions that were placed anew because their media node refused them.");
    placement_duration: Histogram("ringcast_master_placement_duration_seconds", "Time to choose a media node, seconds.");
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
    nodes_unreached: IntGaugeVec("ringcast_master_nodes_unreached", "Media nodes without a link, by what is in its way.", ["trouble"]);
    superseded: IntGauge("ringcast_master_superseded", "1: a newer master has taken over media nodes of ours.");
    node_load: GaugeVec("ringcast_master_node_cpu_ratio", "Share of a media node's cores in use, by its own last heartbeat, 0 to 1.", ["node"]);
    link_lag: GaugeVec("ringcast_master_link_lag_seconds", "Time since a media node was last heard of, seconds.", ["node"]);
    link_unapplied: IntGaugeVec("ringcast_master_link_unapplied_revisions", "Revisions of the desired state that a media node has not taken up yet.", ["node"]);
    transports_closed: IntCounterVec("ringcast_master_transports_closed_total", "Transports that media nodes let go by themselves, by reason.", ["reason"]);
    refusals: IntCounterVec("ringcast_master_node_refusals_total", "Entries that media nodes refused.", ["node"]);
    sockets: IntGauge("ringcast_master_websockets", "Open WebSockets.");
    sockets_refused: IntCounterVec("ringcast_master_websockets_refused_total", "WebSockets and joins refused for their number, by limit.", ["limit"]);
    http_requests: IntCounterVec("ringcast_master_http_requests_total", "HTTP requests by method and status.", ["method", "status"]);
    webhook_deliveries: IntCounterVec("ringcast_master_webhook_deliveries_total", "Attempts to deliver an event to the webhook, by outcome.", ["outcome"]);
    webhook_duration: HistogramVec("ringcast_master_webhook_duration_seconds", "Time until the webhook's receiver answered, or was given up, seconds.", ["outcome"]);
    cdr_lines: IntCounterVec("ringcast_master_cdr_lines_total", "Lines of call detail records, by outcome.", ["outcome"]);
    events_waiting: IntGaugeVec("ringcast_master_events_waiting", "Events that wait to be delivered, by target.", ["target"]);
    events_oldest: GaugeVec("ringcast_master_events_oldest_seconds", "Age of the event that waits longest, by target, seconds.", ["target"]);
    events_refused: IntCounterVec("ringcast_master_events_lost_total", "Events that were not kept because too many waited, by target.", ["target"]);
    certificate_expiry: GaugeVec("ringcast_master_certificate_expiry_timestamp_seconds", "When a certificate of the master ends, seconds since the epoch: towards browsers (https) and towards nodes (link).", ["what"]);
    started: Gauge("ringcast_master_start_time_seconds", "When this process started, seconds since the epoch.");
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
    /// The text of a scrape.
    pub fn render(&self) -> String {
        let mut text = Vec::new();
        match TextEncoder::new().encode(&self.registry.gather(), &mut text) {
            Ok(()) => String::from_utf8_lossy(&text).into_owned(),
            // An encoder error means a metric without samples; the scrape then shows as failed.
            Err(error) => format!("# {error}\n"),
        }
    }

    /// Reads what is counted by looking.
    pub fn observe(&self, core: &mut Core) {
        self.observe_loads(core);
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
        for node in nodes {
            let label = [node.id.as_str()];
            self.link_lag
                .with_label_values(&label)
                .set(node.silence().as_secs_f64());
            self.node_load
                .with_label_values(&label)
                .set(node.link.load().cpu_ratio);
            set(&self.link_unapplied, label[0], node.link.unapplied() as i64);
        }
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

    /// An event was to be delivered to the webhook; none: nobody was asked.
    pub fn webhook(&self, outcome: &'static str, took: Option<Duration>) {
        self.webhook_deliveries.with_label_values(&[outcome]).inc();
        if let Some(took) = took {
            self.webhook_duration
                .with_label_values(&[outcome])
                .observe(took.as_secs_f64());
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
    use super::*;

    #[test]
    fn every_metric_is_named_by_the_rules_and_rendered() {
        let metrics = Metrics::new();
        metrics.rpc("joinRoom", "ok", Duration::from_millis(2));
        metrics.placement("placed", Duration::from_micros(3));
        metrics.transport_closed(link::CloseReason::NoCommonSrtpProfile);
        metrics.certificate(
            "link",
            Some(SystemTime::UNIX_EPOCH + Duration::from_secs(7)),
        );
        metrics.certificate("https", None);
        let text = metrics.render();
        for (name, kind) in Metrics::KINDS {
            assert_eq!(
                kind.contains("Counter"),
                name.ends_with("_total"),
                "{name} is a {kind}"
            );
        }
        assert!(text.contains("expiry_timestamp_seconds{what=\"link\"} 7\n"));
        for (name, help) in Metrics::NAMES {
            assert!(name.starts_with("ringcast_master_"), "{name}");
            assert!(help.ends_with('.'), "{name}");
        }
        assert!(text.contains("ringcast_master_build_info{version=\"0.1.0\"} 1"));
        assert!(
            text.contains(
                "ringcast_master_rpc_requests_total{method=\"joinRoom\",outcome=\"ok\"} 1"
            )
        );
        assert!(text.contains("ringcast_master_sessions 0"));
        assert!(text.contains("closed_total{reason=\"no_common_srtp_profile\"} 1"));
    }
}
