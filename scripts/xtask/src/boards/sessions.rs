//! Who is in calls, how they got in, and how media travel.

use super::grafana::{Board, Row, heatmap, row, series};

/// The board.
pub fn board() -> Board {
    Board {
        uid: "ringcast-sessions",
        title: "Ringcast / Sessions and quality",
        about: "Who is in calls, how they got in, and what the paths do to their media. Single calls are in the REST API (webRtcStats).",
        by_node: true,
        rows: vec![calls(), joining(), paths(), pictures()],
    }
}

fn calls() -> Row {
    row("Calls", [
        series("Sessions", "short", "Sessions that exist, joined or not.")
            .ask("sum(ringcast_master_sessions{@cluster})", "sessions"),
        series("People", "short", "Connections that have joined, and those that were announced.")
            .ask("sum by (status) (ringcast_master_connections{@cluster})", "{{status}}").stacked(),
        series("Streams", "short", "Published streams and subscriptions to them.")
            .ask("sum by (end) (ringcast_master_streams{@cluster})", "{{end}}"),
        series("People a session", "short", "Connections that have joined, for each session.")
            .ask(r#"sum(ringcast_master_connections{@cluster,status="active"}) / sum(ringcast_master_sessions{@cluster})"#, "people"),
        heatmap("Size of sessions that ended", "short", "How many people were in them at their greatest.")
            .ask("sum by (le) (increase(ringcast_master_session_participants_bucket{@cluster}[@rate]))", "{{le}}"),
        series("Copies a stream", "short", "Subscriptions for each published stream: what a packet costs.")
            .ask(r#"sum(ringcast_master_streams{@cluster,end="subscriber"}) / sum(ringcast_master_streams{@cluster,end="publisher"})"#, "copies"),
        series("Sessions by node", "short", "Sessions that the master placed on each node.")
            .ask("ringcast_master_node_sessions{@node}", "{{node}}").by_node().stacked(),
    ])
}

fn joining() -> Row {
    row("Joining", [
        series("Requests", "reqps", "Requests to join, publish and subscribe.")
            .ask(r#"sum by (method) (rate(ringcast_master_rpc_requests_total{@cluster,method=~"joinRoom|publishVideo|receiveVideoFrom|prepareReceiveVideoFrom"}[@rate]))"#, "{{method}}"),
        series("Refused", "reqps", "Of these, what was not done, by the code that the client got. 204: no node; 303: the node could not; 401: not allowed; 999: an error of ours.")
            .ask(r#"sum by (method, outcome) (rate(ringcast_master_rpc_requests_total{@cluster,method=~"joinRoom|publishVideo|receiveVideoFrom|prepareReceiveVideoFrom",outcome!="ok"}[@rate]))"#, "{{method}} {{outcome}}").if_none("None so far"),
        series("Time to an answer, 99 %", "s", "How long 99 of 100 answers take at most.")
            .ask(r#"histogram_quantile(0.99, sum by (method, le) (rate(ringcast_master_rpc_duration_seconds_bucket{@cluster,method=~"joinRoom|publishVideo|receiveVideoFrom|prepareReceiveVideoFrom"}[@rate])))"#, "{{method}}"),
        series("Time to media, half of them", "s", "How long somebody waits until the first media can flow, by phase: for the answer to the join, until an offer has its answer, until the node says that the transport is connected. What people do in between is none of it.")
            .ask("histogram_quantile(0.5, sum by (phase, le) (rate(ringcast_master_join_duration_seconds_bucket{@cluster}[@rate])))", "{{phase}}").stacked(),
        series("Time to media, 99 %", "s", "The same of 99 of 100. A long connect is the way to the node, or ports that are closed.")
            .ask("histogram_quantile(0.99, sum by (phase, le) (rate(ringcast_master_join_duration_seconds_bucket{@cluster}[@rate])))", "{{phase}}"),
        series("Placements", "cps", "Sessions that were to get a node, by what became of them.")
            .ask("sum by (outcome) (rate(ringcast_master_placements_total{@cluster}[@rate]))", "{{outcome}}").stacked(),
        series("Placements foreseen to fail, or done again", "cps", "Connections that applications were refused, by reason; sessions that were placed anew because a node refused them.")
            .ask("sum by (outcome) (rate(ringcast_master_placements_foreseen_total{@cluster}[@rate]))", "{{outcome}}")
            .ask("sum(rate(ringcast_master_placements_moved_total{@cluster}[@rate]))", "placed anew"),
        series("Sizes foreseen", "short", "Streams that sessions were foreseen to have for each that they had at their greatest, by what that was foreseen from; half of them are above, half below. 1 is right; placement keeps room for what most stay within, so a little more is meant.")
            .ask("histogram_quantile(0.5, sum by (source, le) (rate(ringcast_master_prediction_ratio_bucket{@cluster}[@rate])))", "{{source}}"),
        series("Transports that ended", "cps", "By reason, as the master heard of it. What timed out or failed never had a picture.")
            .ask("sum by (reason) (rate(ringcast_master_transports_closed_total{@cluster}[@rate]))", "{{reason}}").stacked().if_none("None so far"),
        series("Came into trouble", "cps", "Transports on which nothing flowed for seconds, or that ended so, by the cause.")
            .ask("sum by (cause) (rate(ringcast_node_transport_troubles_total{@node}[@rate]))", "{{cause}}").stacked().if_none("None so far"),
    ])
}

fn paths() -> Row {
    row("Paths", [
        series("Lost on the way here", "percentunit", "Packets that nodes asked publishers for again, of those that came.")
            .ask(r#"sum by (node) (rate(ringcast_node_nacks_total{@node,direction="out"}[@rate])) / sum by (node) (rate(ringcast_node_packets_total{@node,direction="in",kind="rtp"}[@rate]))"#, "{{node}}").by_node(),
        series("Lost on the way to subscribers", "percentunit", "Packets that subscribers asked for again, of those that left.")
            .ask(r#"sum by (node) (rate(ringcast_node_nacks_total{@node,direction="in"}[@rate])) / sum by (node) (rate(ringcast_node_packets_total{@node,direction="out",kind="rtp"}[@rate]))"#, "{{node}}").by_node(),
        series("Retransmissions", "count:p/s", "Those that filled a gap (in), that were sent (out), and requests that found nothing or no budget.")
            .ask("sum by (direction) (rate(ringcast_node_retransmissions_total{@node}[@rate]))", "{{direction}}")
            .ask("sum(rate(ringcast_node_retransmissions_refused_total{@node}[@rate]))", "refused"),
        series("Sound restored", "count:p/s", "Packets of sound that got lost on their way here and were found repeated in others.")
            .ask("sum by (node) (rate(ringcast_node_sound_recovered_total{@node}[@rate]))", "{{node}}").by_node(),
        series("Probes and padding", "count:p/s", "Packets sent once more to find out what a way carries.")
            .ask("sum by (node) (rate(ringcast_node_probes_total{@node}[@rate]))", "{{node}}").by_node(),
        series("Feedback to publishers", "count:p/s", "Messages by which their browsers find out what their way carries.")
            .ask("sum by (kind) (rate(ringcast_node_feedback_sent_total{@node}[@rate]))", "{{kind}}"),
    ])
}

fn pictures() -> Row {
    row("Pictures", [
        series("Key frames", "cps", "Key frames that came; that subscribers asked for (in); that publishers were asked for (out).")
            .ask("sum(rate(ringcast_node_key_frames_total{@node}[@rate]))", "came")
            .ask("sum by (direction) (rate(ringcast_node_key_frame_requests_total{@node}[@rate]))", "asked for, {{direction}}"),
        series("Left out", "count:p/s", "Packets that were not for a subscriber: another encoding is shown, a key frame is waited for, nobody subscribes, more than was allowed.")
            .ask(r#"sum by (reason) (rate(ringcast_node_packets_dropped_total{@node,reason=~"not_selected|awaiting_key_frame|no_subscriber|above_ceiling"}[@rate]))"#, "{{reason}}"),
        series("Too late", "count:p/s", "Packets that waited in the node until they were of no use.")
            .ask(r#"sum by (node) (rate(ringcast_node_packets_dropped_total{@node,reason="stale"}[@rate]))"#, "{{node}} stale")
            .ask("sum by (node) (rate(ringcast_node_driver_expired_packets_total{@node}[@rate]))", "{{node}} expired").by_node(),
    ])
}
