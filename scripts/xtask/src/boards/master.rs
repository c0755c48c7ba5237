//! What the master does, and what it waits for.

use super::grafana::{Board, Row, row, series, stat};

/// The board.
pub fn board() -> Board {
    Board {
        uid: "ringcast-master",
        title: "Ringcast / Master",
        about: "What the master is asked, how soon it answers, whether its disk keeps up, and who waits for its events. A choice of nodes is for the row of that name.",
        by_node: true,
        rows: vec![now(), rpc(), rest(), store(), events(), nodes(), process()],
    }
}

fn now() -> Row {
    row(
        "Now",
        [
            stat("Masters", "short", "Masters that answer.")
                .ask(r#"sum(up{@cluster,job="ringcast-master"})"#, ""),
            stat("Running for", "s", "Time since the youngest of them began.").ask(
                "time() - max(ringcast_master_start_time_seconds{@cluster})",
                "",
            ),
            stat("Version", "short", "Masters by version.")
                .ask(
                    "count by (version) (ringcast_master_build_info{@cluster})",
                    "{{version}}",
                )
                .named(),
            stat(
                "Superseded",
                "short",
                "Masters whose nodes a newer one has taken over.",
            )
            .ask("sum(ringcast_master_superseded{@cluster})", "")
            .from(1.0, "red"),
            stat(
                "Disk takes nothing",
                "short",
                "Masters that refuse changes because they can't write them down.",
            )
            .ask("sum(ringcast_master_store_failing{@cluster})", "")
            .from(1.0, "red"),
            stat("WebSockets", "short", "Open WebSockets.")
                .ask("sum(ringcast_master_websockets{@cluster})", ""),
            stat("Sessions", "short", "Sessions that exist, joined or not.")
                .ask("sum(ringcast_master_sessions{@cluster})", ""),
            stat(
                "Events waiting",
                "short",
                "Events that wait to be delivered, all targets together.",
            )
            .ask("sum(ringcast_master_events_waiting{@cluster})", "")
            .from(1000.0, "orange"),
        ],
    )
}

fn rpc() -> Row {
    row("Clients", [
        series("Requests", "reqps", "RPC requests of clients, by method.")
            .ask("sum by (method) (rate(ringcast_master_rpc_requests_total{@cluster}[@rate]))", "{{method}}").stacked(),
        series("Refused", "reqps", "RPC requests that were not done, by the code that the client got.")
            .ask(r#"sum by (method, outcome) (rate(ringcast_master_rpc_requests_total{@cluster,outcome!="ok"}[@rate]))"#, "{{method}} {{outcome}}").if_none("None so far"),
        series("Time to an answer, 99 %", "s", "How long 99 of 100 answers take at most, by method.")
            .ask("histogram_quantile(0.99, sum by (method, le) (rate(ringcast_master_rpc_duration_seconds_bucket{@cluster}[@rate])))", "{{method}}"),
        series("Time to an answer, mean", "s", "How long answers take on average, by method.")
            .ask("sum by (method) (rate(ringcast_master_rpc_duration_seconds_sum{@cluster}[@rate])) / sum by (method) (rate(ringcast_master_rpc_duration_seconds_count{@cluster}[@rate]))", "{{method}}"),
        series("WebSockets", "short", "Open WebSockets.")
            .ask("sum by (cluster) (ringcast_master_websockets{@cluster})", "{{cluster}}"),
        series("Refused for their number", "cps", "WebSockets and joins that were refused because there are too many, by limit.")
            .ask("sum by (limit) (rate(ringcast_master_websockets_refused_total{@cluster}[@rate]))", "{{limit}}").if_none("None so far"),
    ])
}

fn rest() -> Row {
    row("Applications", [
        series("Requests", "reqps", "HTTP requests, by method.")
            .ask("sum by (method) (rate(ringcast_master_http_requests_total{@cluster}[@rate]))", "{{method}}").stacked(),
        series("Answers", "reqps", "HTTP requests, by status.")
            .ask("sum by (status) (rate(ringcast_master_http_requests_total{@cluster}[@rate]))", "{{status}}").stacked(),
        series("Time to choose a node, 99 %", "s", "How long 99 of 100 placements take at most.")
            .ask("histogram_quantile(0.99, sum by (cluster, le) (rate(ringcast_master_placement_duration_seconds_bucket{@cluster}[@rate])))", "{{cluster}}"),
    ])
}

fn store() -> Row {
    row("Disk", [
        series("Transactions", "cps", "Transactions that brought the state to the disk, and those that the disk did not take.")
            .ask("sum by (cluster) (rate(ringcast_master_store_commits_total{@cluster}[@rate]))", "{{cluster}} written")
            .ask("sum by (cluster) (rate(ringcast_master_store_failures_total{@cluster}[@rate]))", "{{cluster}} failed"),
        series("Time a transaction", "s", "How long a transaction takes; everybody who changes something waits for one.")
            .ask("sum by (cluster) (rate(ringcast_master_store_commit_seconds_total{@cluster}[@rate])) / sum by (cluster) (rate(ringcast_master_store_commits_total{@cluster}[@rate]))", "{{cluster}}")
            .from(0.25, "red"),
        series("Rows a transaction", "short", "How many rows a transaction writes: more where many changes share one.")
            .ask("sum by (cluster) (rate(ringcast_master_store_rows_total{@cluster}[@rate])) / sum by (cluster) (rate(ringcast_master_store_commits_total{@cluster}[@rate]))", "{{cluster}}"),
    ])
}

fn events() -> Row {
    row("Events", [
        series("Waiting", "short", "Events that wait to be delivered, by target.")
            .ask("sum by (target) (ringcast_master_events_waiting{@cluster})", "{{target}}"),
        series("Oldest", "s", "Age of the event that waits longest, by target.")
            .ask("max by (target) (ringcast_master_events_oldest_seconds{@cluster})", "{{target}}").from(300.0, "red"),
        series("Lost", "short", "Events that were not kept because too many waited, in the last hour.")
            .ask("sum by (target) (increase(ringcast_master_events_lost_total{@cluster}[1h]))", "{{target}}"),
        series("Deliveries to the webhook", "reqps", "Attempts to deliver an event, by outcome.")
            .ask("sum by (outcome) (rate(ringcast_master_webhook_deliveries_total{@cluster}[@rate]))", "{{outcome}}").stacked(),
        series("Time to the webhook's answer, 99 %", "s", "How long 99 of 100 attempts take at most, by outcome.")
            .ask("histogram_quantile(0.99, sum by (outcome, le) (rate(ringcast_master_webhook_duration_seconds_bucket{@cluster}[@rate])))", "{{outcome}}"),
        series("Readers", "short", "Who reads events as they happen (GET /openvidu/api/events).")
            .ask("sum by (cluster) (ringcast_master_event_listeners{@cluster})", "{{cluster}}"),
        series("Records", "cps", "Lines of call detail records, by outcome.")
            .ask("sum by (outcome) (rate(ringcast_master_cdr_lines_total{@cluster}[@rate]))", "{{outcome}}").if_none("No records are written"),
    ])
}

fn nodes() -> Row {
    row(
        "Nodes",
        [
            series("Silence", "s", "Time since each node was last heard of.")
                .ask("ringcast_master_link_lag_seconds{@node}", "{{node}}")
                .by_node()
                .from(3.0, "red")
                .at_least_to(4.0),
            series(
                "Behind",
                "short",
                "Revisions of the desired state that each node has not taken up yet.",
            )
            .ask(
                "ringcast_master_link_unapplied_revisions{@node}",
                "{{node}}",
            )
            .by_node(),
            series("Refused by nodes", "cps", "Entries that nodes refused.")
                .ask(
                    "sum by (node) (rate(ringcast_master_node_refusals_total{@node}[@rate]))",
                    "{{node}}",
                )
                .by_node()
                .if_none("None so far"),
            series(
                "Age of loads",
                "s",
                "Time since each node's metrics were last read.",
            )
            .ask("ringcast_master_node_load_age_seconds{@node}", "{{node}}")
            .by_node(),
            series(
                "Reading loads",
                "cps",
                "Attempts to read a node's metrics, by outcome.",
            )
            .ask(
                "sum by (outcome) (rate(ringcast_master_node_load_reads_total{@cluster}[@rate]))",
                "{{outcome}}",
            )
            .stacked(),
            series(
                "Processors of nodes",
                "percentunit",
                "Share of each node's cores in use, by its own last heartbeat.",
            )
            .ask("ringcast_master_node_cpu_ratio{@node}", "{{node}}")
            .by_node()
            .up_to(1.0),
        ],
    )
}

fn process() -> Row {
    row("Process", [
        series("Processors", "short", "Cores that the master uses.")
            .ask("sum by (cluster) (rate(ringcast_master_cpu_seconds_total{@cluster}[@rate]))", "{{cluster}}"),
        series("Memory", "bytes", "Resident memory.")
            .ask("ringcast_master_resident_memory_bytes{@cluster}", "{{cluster}}"),
        series("File descriptors", "percentunit", "Open file descriptors, against the most that the process may have. Each WebSocket is one.")
            .ask("ringcast_master_open_file_descriptors{@cluster} / ringcast_master_file_descriptors_max{@cluster}", "{{cluster}}").from(0.9, "red"),
    ])
}
