//! What operators see: one table of all metrics, and the text that Prometheus scrapes.

use std::time::Duration;

use prometheus::core::Collector;
use prometheus::{
    Encoder as _, Gauge, GaugeVec, HistogramOpts, HistogramVec, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry, TextEncoder,
};

use crate::app::Core;
use crate::cluster::Health;

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
        }
    };
    (@make HistogramVec, $name:literal, $help:literal, [$($label:literal),*]) => {
        HistogramVec::new(HistogramOpts::new($name, $help).buckets(RPC_BUCKETS.to_vec()), &[$($label),*])
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

table! {
    sessions: IntGauge("ringcast_master_sessions", "Sessions that exist, joined or not.");
    connections: IntGaugeVec("ringcast_master_connections", "Connections by status.", ["status"]);
    streams: IntGaugeVec("ringcast_master_streams", "Published streams and subscriptions to them.", ["end"]);
    rpc_requests: IntCounterVec("ringcast_master_rpc_requests_total", "RPC requests by method and outcome.", ["method", "outcome"]);
    rpc_duration: HistogramVec("ringcast_master_rpc_duration_seconds", "Time from an RPC request's turn to its answer, seconds.", ["method"]);
    placements: IntCounterVec("ringcast_master_placements_total", "Sessions that were to be placed on a media node, by outcome.", ["outcome"]);
    nodes: IntGaugeVec("ringcast_master_nodes", "Media nodes by state.", ["state"]);
    node_load: GaugeVec("ringcast_master_node_cpu_ratio", "Share of a media node's cores in use, by its own last heartbeat, 0 to 1.", ["node"]);
    link_lag: GaugeVec("ringcast_master_link_lag_seconds", "Time since a media node was last heard of, seconds.", ["node"]);
    link_unapplied: IntGaugeVec("ringcast_master_link_unapplied_revisions", "Revisions of the desired state that a media node has not taken up yet.", ["node"]);
    transports_closed: IntCounterVec("ringcast_master_transports_closed_total", "Transports that media nodes let go by themselves, by reason.", ["reason"]);
    refusals: IntCounterVec("ringcast_master_node_refusals_total", "Entries that media nodes refused.", ["node"]);
    sockets: IntGauge("ringcast_master_websockets", "Open WebSockets.");
    sockets_refused: IntCounterVec("ringcast_master_websockets_refused_total", "WebSockets and joins refused for their number, by limit.", ["limit"]);
    http_requests: IntCounterVec("ringcast_master_http_requests_total", "HTTP requests by method and status.", ["method", "status"]);
    started: Gauge("ringcast_master_start_time_seconds", "When this process started, seconds since the epoch.");
    build_info: IntGaugeVec("ringcast_master_build_info", "Always 1; the version is in the label.", ["version"]);
}

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
    pub fn observe(&self, core: &Core) {
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
        let nodes = core.registry.nodes();
        for health in Health::ALL {
            let count = nodes.iter().filter(|node| node.health == health).count();
            set(&self.nodes, health.as_str(), count as i64);
        }
        for node in nodes {
            let label = [node.id.as_str()];
            let silence = node.link.silence().unwrap_or_default();
            self.link_lag
                .with_label_values(&label)
                .set(silence.as_secs_f64());
            self.node_load
                .with_label_values(&label)
                .set(node.link.load().cpu_ratio);
            set(&self.link_unapplied, label[0], node.link.unapplied() as i64);
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

    /// A session was to be placed.
    pub fn placement(&self, outcome: &'static str) {
        self.placements.with_label_values(&[outcome]).inc();
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
        metrics.placement("placed");
        metrics.transport_closed(link::CloseReason::NoCommonSrtpProfile);
        let text = metrics.render();
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
