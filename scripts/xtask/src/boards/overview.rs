//! How the cluster does, at a glance.

use super::grafana::{Board, Row, bars, row, series, stat, table_of_nodes};

const DAY: f64 = 86_400.0;

/// The board.
pub fn board() -> Board {
    Board {
        uid: "ringcast-overview",
        title: "Ringcast / Overview",
        about: "How the cluster does, at a glance: who is there, how full it is, and whether people get what they were promised. Where nodes are chosen it tells of these what is told of nodes; the rest is of the cluster.",
        by_node: true,
        rows: vec![now(), each_node(), room(), media(), promises(), nodes()],
    }
}

fn now() -> Row {
    row("Now", [
        stat("Alerts", "short", "Alerts of Ringcast that are firing, of the chosen nodes and of none. The runbook says what each means.")
            .ask(r#"count(ALERTS{@cluster,node=~"$node|",alertname=~"Ringcast.*",alertstate="firing"}) or vector(0)"#, "")
            .from(1.0, "red"),
        stat("Nodes up", "short", "Media nodes that answer the master.")
            .ask(r#"sum(ringcast_master_nodes{@cluster,state="up"})"#, ""),
        stat("Nodes away", "short", "Media nodes that were there and are silent, or that were never met.")
            .ask(r#"sum(ringcast_master_nodes{@cluster,state!="up"})"#, "")
            .from(1.0, "red"),
        stat("Load", "percentunit", "How full the nodes are on average; at 100 % nobody takes sessions.")
            .ask("max(avg by (cluster) (ringcast_master_node_load_ratio{@node} and on (cluster, node) ringcast_master_node_load_age_seconds{@node} < 30))", "")
            .from(0.7, "orange").from(0.9, "red"),
        stat("Sessions", "short", "Sessions that exist, joined or not.")
            .ask("sum(ringcast_master_sessions{@cluster})", ""),
        stat("People", "short", "Connections that have joined.")
            .ask(r#"sum(ringcast_master_connections{@cluster,status="active"})"#, ""),
        stat("Published", "short", "Streams that are published.")
            .ask(r#"sum(ringcast_master_streams{@cluster,end="publisher"})"#, ""),
        stat("Subscribed", "short", "Subscriptions to published streams.")
            .ask(r#"sum(ringcast_master_streams{@cluster,end="subscriber"})"#, ""),
    ])
}

fn each_node() -> Row {
    row("Each node", [
        table_of_nodes("Nodes", "A row for each node: what it is for, what it is to placement, how full it is, what it carries, when it was heard of. Where clusters share names of nodes, choose one.")
            .word("Status", "status", "max by (node, status) (ringcast_master_node_status{@node} == 1)")
            .word("Placement", "standing", "max by (node, standing) (ringcast_master_node_standing{@node} == 1)")
            .column("Load", "percentunit", "max by (node) (ringcast_master_node_load_ratio{@node})")
            .column("Busiest worker", "percentunit", "max by (node) (ringcast_node_busiest_worker_ratio{@node})")
            .column("Sessions", "short", "max by (node) (ringcast_master_node_sessions{@node})")
            .column("Transports", "short", r#"sum by (node) (ringcast_node_transports{@node,state="connected"})"#)
            .column("Out", "count:p/s", r#"sum by (node) (rate(ringcast_node_packets_total{@node,direction="out"}[@rate]))"#)
            .column("Memory", "bytes", "max by (node) (ringcast_node_resident_memory_bytes{@node})")
            .column("Silent for", "s", "max by (node) (ringcast_master_link_lag_seconds{@node})"),
    ])
}

fn room() -> Row {
    row("Room", [
        series("Load", "percentunit", "How full each node is: the largest of its components against its own limit, with what was placed since its last report.")
            .ask("ringcast_master_node_load_ratio{@node}", "{{node}}").by_node(),
        series("Forecast", "percentunit", "The average load now, and in two hours if it grows on as in the last hour.")
            .ask("cluster:ringcast_node_load:avg{@cluster}", "{{cluster}} now")
            .ask("clamp(predict_linear(cluster:ringcast_node_load:avg{@cluster}[1h], 2 * 3600), 0, 1.2)", "{{cluster}} in two hours")
            .from(0.9, "red"),
        series("Nodes for placement", "short", "Nodes by what they are to placement. Only open and stale ones take sessions.")
            .ask("sum by (standing) (ringcast_master_node_standing{@node}) > 0", "{{standing}}").stacked()
            .colour("open", "green").colour("stale", "yellow").colour("full", "orange").colour("excluded", "red").colour("closed", "blue"),
        series("Sessions by node", "short", "Sessions that the master placed on each node.")
            .ask("ringcast_master_node_sessions{@node}", "{{node}}").by_node().stacked(),
        series("Busiest worker", "percentunit", "The greatest share of its core that a worker of each node uses.")
            .ask("ringcast_node_busiest_worker_ratio{@node}", "{{node}}").by_node().up_to(1.0),
        series("Transports", "short", "Peer connections that carry media, by node.")
            .ask(r#"ringcast_node_transports{@node,state="connected"}"#, "{{node}}").by_node().stacked(),
    ])
}

fn media() -> Row {
    row("Media", [
        series("Packets", "count:p/s", "Datagrams from (in) and to (out) peers, all chosen nodes together.")
            .ask("sum by (direction) (rate(ringcast_node_packets_total{@node}[@rate]))", "{{direction}}"),
        series("Bits", "bps", "Payload of those datagrams.")
            .ask("8 * sum by (direction) (rate(ringcast_node_bytes_total{@node}[@rate]))", "{{direction}}"),
        series("Time in the node, 99 %", "s", "How long 99 of 100 packets stay in each node at most.")
            .ask("node:ringcast_node_forward_latency_seconds:p99_5m{@node}", "{{node}}").by_node().from(0.01, "red"),
        series("Drops that are our fault", "count:p/s", "Packets that nodes threw away because they could not cope.")
            .ask(r#"sum by (reason) (node:ringcast_node_packets_dropped:rate5m{@node,reason=~"stale|queue_full|no_burst|too_long|no_loan|key_exhausted|injected"})"#, "{{reason}}"),
        series("Drops of the kernel", "count:p/s", "Packets that came faster than a node took them.")
            .ask("sum by (node) (rate(ringcast_node_driver_kernel_drops_total{@node}[@rate]))", "{{node}}").by_node(),
        series("Processor time a packet", "s", "What a node uses for each packet of media that leaves it, all its threads together: the benchmark's ns/packet.")
            .ask("node:ringcast_node_cpu_seconds_per_packet:rate5m{@node}", "{{node}}").by_node(),
        series("System calls a packet", "short", "System calls of a node's workers for each packet of media that leaves it.")
            .ask("node:ringcast_node_system_calls_per_packet:rate5m{@node}", "{{node}}").by_node(),
        series("Refused of strangers", "count:p/s", "Packets of people who have nothing to do with the cluster.")
            .ask(r#"sum by (reason) (node:ringcast_node_packets_dropped:rate5m{@node,reason=~"unknown_protocol|stranger|stun_malformed|stun_unknown_ufrag|stun_unauthentic|dtls_flood|unauthentic|replay"})"#, "{{reason}}"),
    ])
}

fn promises() -> Row {
    row("Promises", [
        series("Joins that fail", "percentunit", "Share of the requests to join, publish and subscribe that fail by our fault; 0.1 % is allowed.")
            .ask("cluster:ringcast_joins_failed:ratio_rate5m{@cluster}", "{{cluster}}, 5 minutes")
            .ask("cluster:ringcast_joins_failed:ratio_rate1h{@cluster}", "{{cluster}}, an hour")
            .ask("cluster:ringcast_joins_failed:ratio_rate6h{@cluster}", "{{cluster}}, six hours")
            .from(0.0144, "red").at_least_to(0.02),
        series("Placements that fail", "percentunit", "Share of sessions that got no node; 0.1 % is allowed.")
            .ask("cluster:ringcast_placements_failed:ratio_rate5m{@cluster}", "{{cluster}}, 5 minutes")
            .ask("cluster:ringcast_placements_failed:ratio_rate1h{@cluster}", "{{cluster}}, an hour")
            .ask("cluster:ringcast_placements_failed:ratio_rate6h{@cluster}", "{{cluster}}, six hours")
            .from(0.0144, "red").at_least_to(0.02),
        series("Time to join, 99 %", "s", "How long 99 of 100 answers to a join take at most.")
            .ask(r#"histogram_quantile(0.99, sum by (cluster, le) (rate(ringcast_master_rpc_duration_seconds_bucket{@cluster,method="joinRoom"}[@rate])))"#, "{{cluster}}")
            .from(1.0, "red"),
        series("Time to media, 99 %", "s", "How long 99 of 100 people wait at most, by phase: for the answer to their join, until their first media are negotiated, and until these are connected.")
            .ask("cluster:ringcast_join_duration_seconds:p99_5m{@cluster}", "{{cluster}} {{phase}}"),
    ])
}

fn nodes() -> Row {
    row("Nodes", [
        series("Health", "short", "Nodes by what their silence means.")
            .ask("sum by (state) (ringcast_master_nodes{@cluster}) > 0", "{{state}}").stacked()
            .colour("up", "green").colour("launching", "blue").colour("suspect", "orange").colour("crashed", "red"),
        series("Status", "short", "Nodes by what they are for, in OpenVidu's words.")
            .ask("sum by (status) (ringcast_master_node_status{@node}) > 0", "{{status}}").stacked()
            .colour("running", "green").colour("launching", "blue").colour("waiting-idle-to-terminate", "orange").colour("terminating", "yellow").colour("failed", "red"),
        series("Out of reach", "short", "Nodes without a link, by what is in its way.")
            .ask("sum by (trouble) (ringcast_master_nodes_unreached{@cluster})", "{{trouble}}").stacked(),
        series("Silence", "s", "Time since the master last heard of each node; after three seconds it counts as crashed.")
            .ask("ringcast_master_link_lag_seconds{@node}", "{{node}}").by_node().from(3.0, "red").at_least_to(4.0),
        series("Versions", "short", "Daemons by version.")
            .ask("count by (version) (ringcast_node_build_info{@node})", "nodes {{version}}")
            .ask("count by (version) (ringcast_master_build_info{@cluster})", "masters {{version}}").stacked(),
        bars("Certificates", "s", "Time until certificates end: those of nodes for the link, those of the master for the link and towards browsers, and that of the authority of the link.")
            .ask("ringcast_master_certificate_expiry_timestamp_seconds{@cluster} - time()", "master {{what}}")
            .ask("ringcast_node_link_certificate_expiry_timestamp_seconds{@node} - time()", "{{node}}").by_node()
            .base("red").from(14.0 * DAY, "orange").from(30.0 * DAY, "green").up_to(365.0 * DAY),
        series("Clocks", "s", "How far the clock of each host is ahead of that of Prometheus; they should not differ by more than two seconds.")
            .ask("instance:ringcast_clock_seconds:offset{@cluster,node=\"\"}", "master {{instance}}")
            .ask("instance:ringcast_clock_seconds:offset{@node,node!=\"\"}", "{{node}}").by_node(),
        series("About to end", "short", "Nodes that wait for their sessions to end, in order to end themselves (SIGTERM).")
            .ask("ringcast_node_leaving{@node}", "{{node}}").by_node(),
        series("Configuration read again", "short", "Times that a daemon read its configuration again (SIGHUP), in an hour, by outcome; after one that failed the old one is in effect.")
            .ask("sum by (instance, outcome) (increase(ringcast_master_config_reloads_total{@cluster}[1h]))", "master {{instance}} {{outcome}}")
            .ask("sum by (node, outcome) (increase(ringcast_node_config_reloads_total{@node}[1h]))", "{{node}} {{outcome}}").by_node(),
    ])
}
