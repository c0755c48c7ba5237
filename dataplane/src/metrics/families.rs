//! The names, kinds and meanings of all metrics of the node, and which of them are told of by how much detail.

use crate::config::MetricsLevel as Level;

/// What a number does over time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It only grows.
    Counter,
    /// It goes up and down.
    Gauge,
    /// Counts of observations by size.
    Histogram,
}

/// One metric. Its unit is what its name ends in ([`exposition::unit`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Family {
    /// Its name.
    pub name: &'static str,
    /// What it does over time.
    pub kind: Kind,
    /// The least level at which it is told.
    pub level: Level,
    /// What it says.
    pub help: &'static str,
}

macro_rules! families {
    ($($constant:ident: $kind:ident $($level:ident)? $name:literal $help:literal;)*) => {
        $(pub(super) const $constant: Family = Family {
            name: $name,
            kind: Kind::$kind,
            level: families!(@level $($level)?),
            help: $help,
        };)*

        /// Every metric of the node.
        pub const FAMILIES: &[Family] = &[$($constant),*];
    };
    (@level) => { Level::Basic };
    (@level full) => { Level::Full };
}

// What has `full` behind its kind is told at that level only. DROPPED has no stages and the WORKER_ ones no workers at the basic level.
families! {
    BUILD_INFO: Gauge "ringcast_node_build_info" "Always 1; the version is in the label.";
    PACKETS: Counter "ringcast_node_packets_total" "Datagrams from (in) and to (out) peers, by protocol.";
    BYTES: Counter "ringcast_node_bytes_total" "Payload bytes of those datagrams.";
    DROPPED: Counter "ringcast_node_packets_dropped_total" "Packets that were not forwarded, by the one reason for it and, at the full level, the stage that dropped them.";
    CONSUMED: Counter "ringcast_node_packets_consumed_total" "Packets that were for the node itself.";
    STAGE_CALLS: Counter full "ringcast_node_stage_calls_total" "Times that a stage ran over a batch.";
    STAGE_IN: Counter full "ringcast_node_stage_packets_in_total" "Packets that entered a stage.";
    STAGE_MADE: Counter full "ringcast_node_stage_packets_made_total" "Packets that a stage added: copies, retransmissions, the node's own messages.";
    STAGE_OUT: Counter full "ringcast_node_stage_packets_out_total" "Packets that left a stage for the next one.";
    STAGE_CONSUMED: Counter full "ringcast_node_stage_packets_consumed_total" "Packets that were for the node itself, by the stage that took them.";
    STAGE_HELD: Gauge full "ringcast_node_stage_packets_held" "Packets that wait inside a stage.";
    STAGE_CYCLES: Counter "ringcast_node_stage_cycles_total" "Processor cycles that a stage took; orders of the master are a stage of their own, and so is the driver, which has what the worker used and no other stage took.";
    UNBALANCED: Gauge "ringcast_node_packets_unbalanced" "in + made - out - consumed - dropped - held over all stages of the workers; anything but 0 is a bug.";
    LATENCY: Histogram "ringcast_node_forward_latency_seconds" "From the arrival of a packet in the kernel until its last copy is handed to the kernel, or dropped; each packet once.";
    PADDING: Counter full "ringcast_node_padding_bytes_total" "Bytes of RTP padding that made packets of pictures equal, so that they leave in one send.";
    SOUND_RECOVERED: Counter "ringcast_node_sound_recovered_total" "Packets of sound that got lost on their way here and were found repeated in others (RFC 2198).";
    BATCH_PACKETS: Histogram "ringcast_node_batch_packets" "Datagrams that a worker took from the kernel at a time; it handles them together.";
    RUN_PACKETS: Histogram "ringcast_node_run_packets" "Packets per burst handed to the kernel; more than one leave as one segmented send.";
    NACKS: Counter "ringcast_node_nacks_total" "Sequence numbers asked for again: by subscribers (in), of publishers (out).";
    RETRANSMISSIONS: Counter "ringcast_node_retransmissions_total" "Retransmissions that filled a gap (in) or were sent to subscribers (out).";
    PROBES: Counter "ringcast_node_probes_total" "Packets sent once more, to find out what the way to a subscriber carries.";
    RETRANSMISSIONS_REFUSED: Counter "ringcast_node_retransmissions_refused_total" "Requests that found no packet in the cache or no budget.";
    NOT_HEARD: Counter "ringcast_node_not_heard_total" "What peers say beside their media and nobody listened to, by the one reason for it.";
    KEY_FRAME_REQUESTS: Counter "ringcast_node_key_frame_requests_total" "Key frames that subscribers asked for (in) and publishers were asked for (out).";
    KEY_FRAMES: Counter "ringcast_node_key_frames_total" "Key frames that arrived.";
    FEEDBACK: Counter "ringcast_node_feedback_sent_total" "Congestion feedback messages to publishers.";
    TRANSPORTS: Gauge "ringcast_node_transports" "Transports by state.";
    TRANSPORTS_MAX: Gauge "ringcast_node_transports_max" "Most transports that the node takes.";
    CAPACITY_PACKETS: Gauge "ringcast_node_capacity_packets_per_second" "Datagrams per second, in and out, that the node takes: measured of itself at the start, or configured.";
    CAPACITY_BYTES: Gauge "ringcast_node_capacity_bytes_per_second" "Payload bytes per second, in and out, that the node takes: what its interfaces carry, or configured.";
    CAPACITY_MEMORY: Gauge "ringcast_node_capacity_memory_bytes" "Resident memory with which the node takes no more: most of what its control group or host has, or configured.";
    OVER_LIMIT: Gauge "ringcast_node_over_limit" "1 while a limit is reached and new transports are refused for it.";
    LIMIT_REFUSALS: Counter "ringcast_node_limit_refusals_total" "Transports that were refused because a limit was reached.";
    TRANSPORTS_CLOSED: Counter "ringcast_node_transports_closed_total" "Transports that ended, by reason.";
    TRANSPORT_TROUBLES: Counter "ringcast_node_transport_troubles_total" "Times that nothing flowed on a transport for seconds, or that it ended so, by the cause.";
    TRANSPORTS_TROUBLED: Gauge "ringcast_node_transports_troubled" "Transports on which nothing flows, or not all that should, by the cause.";
    CAPTURES: Counter "ringcast_node_captures_total" "Captures of decrypted packets that were begun (ringcast-node capture), by whether media were asked for.";
    REFUSALS: Counter "ringcast_node_refusals_total" "Entries of the master that the node refused.";
    PUBLISHERS: Gauge "ringcast_node_publishers" "Published streams.";
    SUBSCRIBERS: Gauge "ringcast_node_subscribers" "Copies of streams being sent.";
    ENCODINGS: Gauge "ringcast_node_encodings" "Encodings of published streams.";
    CACHE_PACKETS: Gauge "ringcast_node_cache_packets" "Packets kept for retransmission.";
    DRIVER_INFO: Gauge "ringcast_node_driver_info" "Always 1; how packets get in and out is in the label.";
    DRIVER_PACKETS: Counter "ringcast_node_driver_packets_total" "Datagrams that the driver carried.";
    DRIVER_BYTES: Counter "ringcast_node_driver_bytes_total" "Payload bytes of those datagrams.";
    DRIVER_TURNS: Counter "ringcast_node_driver_turns_total" "Turns of the driver.";
    DRIVER_SYSTEM_CALLS: Counter "ringcast_node_driver_system_calls_total" "System calls to submit, to receive or to wait.";
    DRIVER_BURSTS: Counter full "ringcast_node_driver_bursts_total" "Bursts handed to the kernel.";
    DRIVER_SENDS: Counter full "ringcast_node_driver_sends_total" "Send requests: one per burst, repetitions, and packets sent singly.";
    DRIVER_PEER_BURSTS: Counter full "ringcast_node_driver_peer_bursts_total" "Bursts that left by the peer's own socket.";
    DRIVER_RECEIVING_TURNS: Counter full "ringcast_node_driver_receiving_turns_total" "Turns that brought at least one datagram.";
    DRIVER_REFUSED: Counter "ringcast_node_driver_refused_submissions_total" "Turns that io_uring ended for want of memory, with requests left over for the next one.";
    DRIVER_SEGMENTED: Counter full "ringcast_node_driver_segmented_bursts_total" "Bursts that left as one segmented send.";
    DRIVER_FALLBACKS: Counter "ringcast_node_driver_segmentation_fallbacks_total" "Bursts that had to be sent packet by packet.";
    DRIVER_EXPIRED: Counter "ringcast_node_driver_expired_packets_total" "Packets that waited for the driver until they were of no use, and were not sent.";
    DRIVER_SEND_FAILURES: Counter "ringcast_node_driver_send_failures_total" "Packets that the kernel did not accept.";
    DRIVER_UNREACHABLE: Counter "ringcast_node_driver_unreachable_total" "Reports of an unreachable peer.";
    DRIVER_KERNEL_DROPS: Counter "ringcast_node_driver_kernel_drops_total" "Datagrams dropped because a socket's queue was full.";
    DRIVER_TRUNCATED: Counter "ringcast_node_driver_truncated_total" "Datagrams that did not fit into a slot.";
    DRIVER_OUT_OF_SLOTS: Counter "ringcast_node_driver_out_of_slots_total" "Times that receiving stopped for want of memory.";
    DRIVER_REARMED: Counter full "ringcast_node_driver_rearmed_total" "Receives that ended and were armed again.";
    CROSSED: Counter "ringcast_node_crossed_packets_total" "Packets that went to another worker (out), once for each, and came from one (in).";
    CROSSING_TAPS: Gauge full "ringcast_node_crossing_taps" "Streams that other workers get (out), once for each, and that come from others (in).";
    CROSSING_SLOTS: Gauge full "ringcast_node_crossing_slots_lent" "Receive slots that workers have lent each other.";
    CROSSING_WAKES: Counter full "ringcast_node_crossing_wakes_total" "Times that a worker woke another one.";
    CROSSING_WISHES: Counter full "ringcast_node_crossing_key_frame_wishes_total" "Key frames that workers asked others for (out) and were asked for by others (in).";
    SESSIONS: Gauge "ringcast_node_sessions" "Sessions with a transport here, by how many workers they are spread over.";
    WORKER_TURNS: Counter "ringcast_node_worker_turns_total" "Turns of the workers; at the full level of each.";
    TURN_STALLS: Counter "ringcast_node_turn_stalls_total" "Turns that took longer than 1 ms without waiting, by the stage that took the most of it.";
    WORKER_ORDERS: Counter "ringcast_node_worker_orders_total" "Orders that the workers followed; at the full level each.";
    WORKER_CPU: Counter "ringcast_node_worker_cpu_seconds_total" "Processor time of the workers; at the full level of each.";
    WORKER_BUSY: Gauge full "ringcast_node_worker_busy_ratio" "Share of its core that a worker used lately, 0 to 1.";
    BUSIEST_WORKER: Gauge "ringcast_node_busiest_worker_ratio" "The greatest share of its core that a worker used lately, 0 to 1.";
    MAILBOX_OVERFLOWS: Counter "ringcast_node_mailbox_overflows_total" "Times that a message had to wait because a mailbox was full.";
    HANDSHAKES: Counter "ringcast_node_handshakes_total" "DTLS handshakes that ended, by result.";
    HANDSHAKES_OPEN: Gauge "ringcast_node_handshakes_in_progress" "DTLS handshakes under way.";
    HANDSHAKES_DEFERRED: Counter "ringcast_node_handshake_datagrams_dropped_total" "Handshake datagrams dropped because too many handshakes were under way.";
    LINK_UP: Gauge "ringcast_node_link_up" "1 while a master is connected.";
    LINK_CONNECTIONS: Counter "ringcast_node_link_connections_total" "Connections that a master made.";
    LINK_REFUSED: Counter "ringcast_node_link_refused_total" "Attempts to connect that were refused.";
    LINK_REVISION: Gauge "ringcast_node_link_applied_revision" "Revision of the desired state that was taken up.";
    CERTIFICATE_EXPIRY: Gauge "ringcast_node_link_certificate_expiry_timestamp_seconds" "When the certificate for the link ends, since the Unix epoch.";
    READY: Gauge "ringcast_node_ready" "1 while the node takes new transports.";
    LEAVING: Gauge "ringcast_node_leaving" "1 while the node waits for its sessions to end, in order to end itself.";
    CONFIG_RELOADS: Counter "ringcast_node_config_reloads_total" "Times that the configuration was read again, by outcome.";
    CONFIG_RELOADED: Gauge "ringcast_node_config_last_reload_successful" "1 unless the configuration had a mistake in it when it was last read again, and the one before is in effect.";
    CPU: Counter "ringcast_node_cpu_seconds_total" "Processor time of the process: workers, agent and all.";
    MEMORY: Gauge "ringcast_node_resident_memory_bytes" "Resident memory of the process.";
    DESCRIPTORS: Gauge "ringcast_node_open_file_descriptors" "File descriptors that the process has open.";
    DESCRIPTORS_MAX: Gauge "ringcast_node_file_descriptors_max" "Most file descriptors that the process may have open.";
    STARTED: Gauge "ringcast_node_start_time_seconds" "When the process began, since the Unix epoch.";
    CLOCK: Gauge "ringcast_node_clock_timestamp_seconds" "What the host's clock shows while this is asked, since the Unix epoch.";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_conventions() {
        for (index, family) in FAMILIES.iter().enumerate() {
            let name = family.name;
            assert_eq!(
                family.kind == Kind::Counter,
                name.ends_with("_total"),
                "{name}"
            );
            assert!(
                name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'),
                "{name}"
            );
            assert!(name.starts_with("ringcast_node_"), "{name}");
            assert!(family.help.ends_with('.'), "{name}");
            // OpenMetrics calls a counter without its `_total`, so that must be no other's name.
            let bare = |name: &'static str| name.strip_suffix("_total").unwrap_or(name);
            assert!(
                FAMILIES[..index]
                    .iter()
                    .all(|other| bare(other.name) != bare(name)),
                "{name} twice"
            );
            for unit in ["_ns", "_ms", "_us", "_percent", "_mb"] {
                assert!(
                    !name.contains(&format!("{unit}_")) && !name.ends_with(unit),
                    "{name}"
                );
            }
        }
    }
}
