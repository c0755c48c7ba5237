use packet::MAX_SEGMENTS;

/// What a driver did since it was opened; every number only grows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DriverStats {
    /// Turns taken.
    pub turns: u64,
    /// System calls made to submit, to receive or to wait.
    pub system_calls: u64,
    /// Turns that brought at least one datagram.
    pub receiving_turns: u64,
    /// Turns that the kernel ended for want of memory, with requests left over for the next one.
    pub refused_submissions: u64,
    /// Datagrams received whole.
    pub received_packets: u64,
    /// Payload bytes of those.
    pub received_bytes: u64,
    /// Datagrams that did not fit into a slot, or whose sender was not understood, and that were dropped.
    pub truncated: u64,
    /// Datagrams that the kernel dropped because a socket's queue was full.
    pub kernel_drops: u64,
    /// Times that receiving stopped for want of slots.
    pub out_of_slots: u64,
    /// Receives that ended and were armed again.
    pub rearmed: u64,
    /// Bursts handed to the kernel.
    pub sent_bursts: u64,
    /// Bursts of those that left by the peer's own socket.
    pub peer_bursts: u64,
    /// Bursts by their number of packets: the first entry counts those of one packet, the last those of [`MAX_SEGMENTS`].
    pub runs: [u64; MAX_SEGMENTS],
    /// Send requests: one per burst, plus repetitions and packets sent singly.
    pub sends: u64,
    /// Packets in those that the kernel accepted.
    pub sent_packets: u64,
    /// Payload bytes of those packets.
    pub sent_bytes: u64,
    /// Bursts that left as one segmented send.
    pub segmented_bursts: u64,
    /// Bursts that had to be sent packet by packet, because path or device does not segment.
    pub segmentation_fallbacks: u64,
    /// Reports of an unreachable peer (ECONNREFUSED, EHOSTUNREACH, ENETUNREACH), which only count.
    pub unreachable: u64,
    /// Packets that waited until they were of no use, and were not sent.
    pub expired_packets: u64,
    /// Packets that the kernel did not accept, for any reason.
    pub send_failures: u64,
}

impl DriverStats {
    pub(crate) fn count_run(&mut self, packets: usize) {
        if let Some(count) = self.runs.get_mut(packets.wrapping_sub(1)) {
            *count += 1;
        }
    }
}
