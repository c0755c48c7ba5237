//! What a media node does, and what holds it up.

use super::grafana::{Board, Row, heatmap, row, series, stat};

/// The board.
pub fn board() -> Board {
    Board {
        uid: "ringcast-node",
        title: "Ringcast / Node",
        about: "What a media node does, what each packet costs it, how near its limits it is, and what holds it up.",
        by_node: true,
        rows: vec![
            now(),
            packets(),
            time(),
            cost(),
            limits(),
            peers(),
            link(),
            stages(),
            driver(),
            workers(),
        ],
    }
}

fn now() -> Row {
    row(
        "Now",
        [
            stat(
                "Ready",
                "short",
                "Nodes that take new transports, of those chosen.",
            )
            .ask("sum(ringcast_node_ready{@node})", ""),
            stat(
                "Load",
                "percentunit",
                "How full the fullest of them is, as the master sees it.",
            )
            .ask("max(ringcast_master_node_load_ratio{@node})", "")
            .from(0.7, "orange")
            .from(0.9, "red"),
            stat(
                "Busiest worker",
                "percentunit",
                "The greatest share of its core that a worker uses.",
            )
            .ask("max(ringcast_node_busiest_worker_ratio{@node})", "")
            .from(0.7, "orange")
            .from(0.9, "red"),
            stat(
                "Limits reached",
                "short",
                "Limits for which new transports are refused.",
            )
            .ask("sum(ringcast_node_over_limit{@node})", "")
            .from(1.0, "red"),
            stat("Transports", "short", "Peer connections that carry media.").ask(
                r#"sum(ringcast_node_transports{@node,state="connected"})"#,
                "",
            ),
            stat(
                "Not accounted for",
                "short",
                "Packets that do not add up; anything but 0 is a bug.",
            )
            .ask("sum(abs(ringcast_node_packets_unbalanced{@node}))", "")
            .from(1.0, "red"),
            stat("Running for", "s", "Time since the youngest of them began.").ask(
                r#"time() - max(ringcast_node_start_time_seconds{@node})"#,
                "",
            ),
            stat(
                "Driver",
                "short",
                "How packets get in and out: io_uring, or recvmmsg and sendmmsg.",
            )
            .ask(
                "sum by (driver) (ringcast_node_driver_info{@node})",
                "{{driver}}",
            )
            .named(),
        ],
    )
}

fn packets() -> Row {
    row("Packets", [
        series("In", "count:p/s", "Datagrams from peers, by protocol.")
            .ask(r#"sum by (kind) (rate(ringcast_node_packets_total{@node,direction="in"}[@rate]))"#, "{{kind}}").stacked(),
        series("Out", "count:p/s", "Datagrams to peers, by protocol.")
            .ask(r#"sum by (kind) (rate(ringcast_node_packets_total{@node,direction="out"}[@rate]))"#, "{{kind}}").stacked(),
        series("Bits", "bps", "Payload of those datagrams.")
            .ask("8 * sum by (node, direction) (rate(ringcast_node_bytes_total{@node}[@rate]))", "{{node}} {{direction}}"),
        series("Dropped", "count:p/s", "Packets that were not forwarded, by the one reason for it. Most are ordinary: nobody subscribes, another encoding is shown.")
            .ask("sum by (reason) (rate(ringcast_node_packets_dropped_total{@node}[@rate])) > 0", "{{reason}}"),
        series("Lost around the node", "count:p/s", "Packets that the kernel dropped before, or did not take after; that waited too long for the driver; that did not fit.")
            .ask("sum by (node) (rate(ringcast_node_driver_kernel_drops_total{@node}[@rate]))", "{{node}} kernel's queue full")
            .ask("sum by (node) (rate(ringcast_node_driver_send_failures_total{@node}[@rate]))", "{{node}} not accepted")
            .ask("sum by (node) (rate(ringcast_node_driver_expired_packets_total{@node}[@rate]))", "{{node}} expired")
            .ask("sum by (node) (rate(ringcast_node_driver_truncated_total{@node}[@rate]))", "{{node}} too long"),
        series("For the node itself", "count:p/s", "Packets that are not forwarded because the node is whom they are for.")
            .ask("sum by (what) (rate(ringcast_node_packets_consumed_total{@node}[@rate]))", "{{what}}").stacked(),
    ])
}

fn time() -> Row {
    row("Time", [
        series("Time in the node", "s", "From the arrival of a packet in the kernel until its last copy is handed to the kernel.")
            .ask("histogram_quantile(0.5, sum by (node, le) (rate(ringcast_node_forward_latency_seconds_bucket{@node}[@rate])))", "{{node}} half of them")
            .ask("histogram_quantile(0.99, sum by (node, le) (rate(ringcast_node_forward_latency_seconds_bucket{@node}[@rate])))", "{{node}} 99 %")
            .ask("histogram_quantile(0.999, sum by (node, le) (rate(ringcast_node_forward_latency_seconds_bucket{@node}[@rate])))", "{{node}} 99.9 %")
            .from(0.01, "red"),
        heatmap("Time in the node", "s", "The same as a picture: how many packets stayed how long.")
            .ask("sum by (le) (increase(ringcast_node_forward_latency_seconds_bucket{@node}[@rate]))", "{{le}}"),
        series("Turns that took long", "cps", "Turns of more than 1 ms without waiting, by the stage that took the most of it.")
            .ask("sum by (stage) (rate(ringcast_node_turn_stalls_total{@node}[@rate]))", "{{stage}}").stacked(),
    ])
}

fn cost() -> Row {
    row("Cost", [
        series("Workers", "percentunit", "Share of its core that each worker uses. At the basic level of metrics a node tells of the busiest one only.")
            .ask("ringcast_node_worker_busy_ratio{@node}", "{{node}} {{worker}}")
            .ask("ringcast_node_busiest_worker_ratio{@node}", "{{node}} busiest").up_to(1.0),
        series("Processor time a packet", "s", "Processor time of the workers for each packet out.")
            .ask(r#"sum by (node) (rate(ringcast_node_worker_cpu_seconds_total{@node}[@rate])) / sum by (node) (rate(ringcast_node_packets_total{@node,direction="out"}[@rate]))"#, "{{node}}"),
        series("Cycles a packet by stage", "short", "Where processor time goes: cycles of each stage for each packet out. All stages together are what the workers used.")
            .ask(r#"sum by (stage) (rate(ringcast_node_stage_cycles_total{@node}[@rate])) / scalar(sum(rate(ringcast_node_packets_total{@node,direction="out"}[@rate])))"#, "{{stage}}").stacked(),
        series("System calls a packet", "short", "System calls to submit, to receive or to wait, for each packet in or out.")
            .ask("sum by (node) (rate(ringcast_node_driver_system_calls_total{@node}[@rate])) / sum by (node) (rate(ringcast_node_driver_packets_total{@node}[@rate]))", "{{node}}"),
        series("Packets a send", "short", "Packets that leave in one burst; more are cheaper.")
            .ask("sum by (node) (rate(ringcast_node_run_packets_sum{@node}[@rate])) / sum by (node) (rate(ringcast_node_run_packets_count{@node}[@rate]))", "{{node}}"),
        series("Packets a batch", "short", "Datagrams that a worker takes from the kernel at a time: the busier it is, the more, and the less each costs.")
            .ask("sum by (node) (rate(ringcast_node_batch_packets_sum{@node}[@rate])) / sum by (node) (rate(ringcast_node_batch_packets_count{@node}[@rate]))", "{{node}} mean")
            .ask("histogram_quantile(0.99, sum by (node, le) (rate(ringcast_node_batch_packets_bucket{@node}[@rate])))", "{{node}} 99 %"),
        heatmap("Packets a send", "short", "How many packets leave in one burst.")
            .ask("sum by (le) (increase(ringcast_node_run_packets_bucket{@node}[@rate]))", "{{le}}"),
        series("Between workers", "count:p/s", "Packets of sessions that are spread over several workers.")
            .ask("sum by (node, direction) (rate(ringcast_node_crossed_packets_total{@node}[@rate]))", "{{node}} {{direction}}"),
    ])
}

fn limits() -> Row {
    row("Limits", [
        series("Packets of what it takes", "percentunit", "Datagrams in and out, against what the node takes.")
            .ask("sum by (cluster, node) (rate(ringcast_node_packets_total{@node}[@rate])) / sum by (cluster, node) (ringcast_node_capacity_packets_per_second{@node})", "{{node}}").from(0.9, "red"),
        series("Bits of what it takes", "percentunit", "Payload in and out, against what the node takes.")
            .ask("sum by (cluster, node) (rate(ringcast_node_bytes_total{@node}[@rate])) / sum by (cluster, node) (ringcast_node_capacity_bytes_per_second{@node})", "{{node}}").from(0.9, "red"),
        series("Memory", "bytes", "Resident memory.")
            .ask("ringcast_node_resident_memory_bytes{@node}", "{{node}}").by_node(),
        series("Memory and transports of what it takes", "percentunit", "Resident memory, and transports in any state, against the most that the node takes.")
            .ask("ringcast_node_resident_memory_bytes{@node} / ringcast_node_capacity_memory_bytes{@node}", "{{node}} memory")
            .ask("sum by (cluster, node) (ringcast_node_transports{@node}) / sum by (cluster, node) (ringcast_node_transports_max{@node})", "{{node}} transports").from(0.9, "red"),
        series("Refused for a limit", "cps", "Transports that were refused because a limit was reached.")
            .ask("sum by (limit) (rate(ringcast_node_limit_refusals_total{@node}[@rate]))", "{{limit}}").stacked(),
        series("File descriptors", "percentunit", "Open file descriptors, against the most that the process may have. Each peer's own socket is one.")
            .ask("ringcast_node_open_file_descriptors{@node} / ringcast_node_file_descriptors_max{@node}", "{{node}}").from(0.9, "red"),
        series("Packets kept", "short", "Packets that are kept for retransmission.")
            .ask("ringcast_node_cache_packets{@node}", "{{node}}"),
    ])
}

fn peers() -> Row {
    row("Peers", [
        series("Transports", "short", "Peer connections by state.")
            .ask("sum by (state) (ringcast_node_transports{@node})", "{{state}}").stacked(),
        series("Handshakes", "cps", "DTLS handshakes that ended, by result.")
            .ask("sum by (result) (rate(ringcast_node_handshakes_total{@node}[@rate]))", "{{result}}").stacked(),
        series("Handshakes under way", "short", "DTLS handshakes under way.")
            .ask("ringcast_node_handshakes_in_progress{@node}", "{{node}}"),
        series("Handshakes put off", "cps", "Handshake datagrams dropped because too many handshakes were under way; browsers repeat them.")
            .ask("sum by (node) (rate(ringcast_node_handshake_datagrams_dropped_total{@node}[@rate]))", "{{node}}"),
        series("Transports that ended", "cps", "By reason. Closed by the peer and removed are ordinary.")
            .ask("sum by (reason) (rate(ringcast_node_transports_closed_total{@node}[@rate]))", "{{reason}}").stacked(),
        series("Captures of packets", "cps", "By ringcast-node capture, and whether media were asked for. The node's log says by whom.")
            .ask("sum by (payload) (rate(ringcast_node_captures_total{@node}[@rate]))", "payload {{payload}}").stacked(),
        series("Without media", "short", "Transports on which nothing flows, or not all that should, by the cause. control/TROUBLESHOOTING.md says what to do.")
            .ask("sum by (cause) (ringcast_node_transports_troubled{@node}) > 0", "{{cause}}").stacked(),
        series("Streams", "short", "What is published here, in how many encodings, and how many copies are sent.")
            .ask("sum(ringcast_node_publishers{@node})", "published")
            .ask("sum(ringcast_node_encodings{@node})", "encodings")
            .ask("sum(ringcast_node_subscribers{@node})", "copies"),
        series("Sessions", "short", "Sessions with a transport here, by how many workers they are spread over.")
            .ask("sum by (workers) (ringcast_node_sessions{@node})", "{{workers}}").stacked(),
        series("Not heard", "cps", "What peers say beside their media and nobody listened to, by the one reason for it.")
            .ask("sum by (reason) (rate(ringcast_node_not_heard_total{@node}[@rate]))", "{{reason}}").stacked(),
    ])
}

fn link() -> Row {
    row("Link to the master", [
        series("Connected", "short", "1 while a master is connected.")
            .ask("ringcast_node_link_up{@node}", "{{node}}").up_to(1.0),
        series("Connections", "short", "Connections that a master made, and attempts that were refused, in the last hour.")
            .ask("sum by (node) (increase(ringcast_node_link_connections_total{@node}[1h]))", "{{node}} made")
            .ask("sum by (node) (increase(ringcast_node_link_refused_total{@node}[1h]))", "{{node}} refused"),
        series("Behind", "short", "Revisions of what the master wants that the node has not taken up yet.")
            .ask("ringcast_master_link_unapplied_revisions{@node}", "{{node}}"),
        series("Revision", "short", "Revision of what the master wants that the node has taken up: it stands still where nothing changes.")
            .ask("ringcast_node_link_applied_revision{@node}", "{{node}}"),
        series("Waited for a mailbox", "cps", "Times that a message between the agent and a worker had to wait.")
            .ask("sum by (direction) (rate(ringcast_node_mailbox_overflows_total{@node}[@rate]))", "{{direction}}"),
        series("Refused entries", "cps", "Entries of the master that the node refused.")
            .ask("sum by (node) (rate(ringcast_node_refusals_total{@node}[@rate]))", "{{node}}"),
        series("Reserved", "count:p/s", "Packets a second that the master keeps free on the node: for what its metrics can't show yet, and for sessions that grow.")
            .ask("ringcast_master_node_reserved_packets_per_second{@node}", "{{node}} {{what}}"),
    ])
}

/// For whoever looks into the engine. At the basic level of metrics nodes don't tell of it.
fn stages() -> Row {
    row(
        "Stages, at the full level of metrics",
        [
            series("Come in", "count:p/s", "Packets that enter each stage.").ask(
                "sum by (stage) (rate(ringcast_node_stage_packets_in_total{@node}[@rate]))",
                "{{stage}}",
            ),
            series(
                "Made",
                "count:p/s",
                "Packets that each stage adds: copies, retransmissions, the node's own messages.",
            )
            .ask(
                "sum by (stage) (rate(ringcast_node_stage_packets_made_total{@node}[@rate]))",
                "{{stage}}",
            ),
            series(
                "Go on",
                "count:p/s",
                "Packets that each stage hands to the next.",
            )
            .ask(
                "sum by (stage) (rate(ringcast_node_stage_packets_out_total{@node}[@rate]))",
                "{{stage}}",
            ),
            series(
                "Consumed",
                "count:p/s",
                "Packets that were for the node itself, by the stage that took them.",
            )
            .ask(
                "sum by (stage) (rate(ringcast_node_stage_packets_consumed_total{@node}[@rate]))",
                "{{stage}}",
            )
            .stacked(),
            series("Held", "short", "Packets that wait inside each stage.")
                .ask(
                    "sum by (stage) (ringcast_node_stage_packets_held{@node})",
                    "{{stage}}",
                )
                .stacked(),
            series("Runs", "cps", "How often each stage runs over a batch.").ask(
                "sum by (stage) (rate(ringcast_node_stage_calls_total{@node}[@rate]))",
                "{{stage}}",
            ),
        ],
    )
}

fn driver() -> Row {
    row("Driver", [
        series("Turns", "cps", "Turns of the driver, and those that brought a datagram.")
            .ask("sum by (node) (rate(ringcast_node_driver_turns_total{@node}[@rate]))", "{{node}} all")
            .ask("sum by (node) (rate(ringcast_node_driver_receiving_turns_total{@node}[@rate]))", "{{node}} received"),
        series("Sends", "cps", "Bursts, the requests to send them, and how they leave: as one segmented send, packet by packet where that is refused, by the peer's own socket.")
            .ask("sum(rate(ringcast_node_driver_bursts_total{@node}[@rate]))", "bursts")
            .ask("sum(rate(ringcast_node_driver_sends_total{@node}[@rate]))", "requests")
            .ask("sum(rate(ringcast_node_driver_segmented_bursts_total{@node}[@rate]))", "segmented")
            .ask("sum(rate(ringcast_node_driver_segmentation_fallbacks_total{@node}[@rate]))", "packet by packet")
            .ask("sum(rate(ringcast_node_driver_peer_bursts_total{@node}[@rate]))", "by the peer's socket"),
        series("Want of memory", "cps", "Times that receiving stopped for want of slots, and turns that io_uring ended for want of memory.")
            .ask("sum by (node) (rate(ringcast_node_driver_out_of_slots_total{@node}[@rate]))", "{{node}} slots")
            .ask("sum by (node) (rate(ringcast_node_driver_refused_submissions_total{@node}[@rate]))", "{{node}} io_uring"),
        series("Receives armed again", "cps", "Receives that ended and were armed again.")
            .ask("sum by (node) (rate(ringcast_node_driver_rearmed_total{@node}[@rate]))", "{{node}}"),
        series("Out of reach", "cps", "Reports of an unreachable peer.")
            .ask("sum by (node) (rate(ringcast_node_driver_unreachable_total{@node}[@rate]))", "{{node}}"),
        series("Padding", "percentunit", "Bytes that make packets of pictures equal, so that they leave in one send, of all that leaves.")
            .ask(r#"sum by (node) (rate(ringcast_node_padding_bytes_total{@node}[@rate])) / sum by (node) (rate(ringcast_node_driver_bytes_total{@node,direction="out"}[@rate]))"#, "{{node}}"),
    ])
}

fn workers() -> Row {
    row("Workers", [
        series("Turns", "cps", "Turns of the workers.")
            .ask("sum by (node) (rate(ringcast_node_worker_turns_total{@node}[@rate]))", "{{node}}"),
        series("Orders", "cps", "Orders that the workers follow.")
            .ask("sum by (node) (rate(ringcast_node_worker_orders_total{@node}[@rate]))", "{{node}}"),
        series("Wake each other", "cps", "Times that a worker wakes another one.")
            .ask("sum by (node) (rate(ringcast_node_crossing_wakes_total{@node}[@rate]))", "{{node}}"),
        series("Streams between them", "short", "Streams that other workers get (out), and that come from others (in).")
            .ask("sum by (node, direction) (ringcast_node_crossing_taps{@node})", "{{node}} {{direction}}"),
        series("Slots lent", "short", "Receive slots that workers have lent each other.")
            .ask("ringcast_node_crossing_slots_lent{@node}", "{{node}}"),
        series("Key frames wished for", "cps", "Key frames that workers ask each other for.")
            .ask("sum by (node, direction) (rate(ringcast_node_crossing_key_frame_wishes_total{@node}[@rate]))", "{{node}} {{direction}}"),
    ])
}
