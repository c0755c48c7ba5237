//! What the engine counted: plain cells, written by one thread, read between turns.

use crate::discard::{DropReason, DropTable, STAGES, Stage};
use crate::model::transport::State;

/// Which way a packet went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From a peer.
    In,
    /// To a peer.
    Out,
}

impl Direction {
    /// Both.
    pub const ALL: [Self; 2] = [Self::In, Self::Out];

    /// The name in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::In => "in",
            Self::Out => "out",
        }
    }
}

/// What a datagram was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PacketKind {
    /// RFC 8489.
    Stun,
    /// RFC 6347.
    Dtls,
    /// RFC 3711, media.
    Srtp,
    /// RFC 3711, control.
    Srtcp,
    /// Nothing of these.
    Other,
}

/// Number of kinds.
pub const KINDS: usize = 5;

impl PacketKind {
    /// All kinds.
    pub const ALL: [Self; KINDS] = [Self::Stun, Self::Dtls, Self::Srtp, Self::Srtcp, Self::Other];

    /// The name in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stun => "stun",
            Self::Dtls => "dtls",
            Self::Srtp => "srtp",
            Self::Srtcp => "srtcp",
            Self::Other => "other",
        }
    }
}

/// What became of a datagram that was meant for the engine itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consumed {
    /// A check or the answer to one of ours.
    Stun,
    /// Given to the handshake.
    Dtls,
    /// A report, a request or feedback.
    Rtcp,
    /// A retransmission with nothing in it: a bandwidth probe.
    Probe,
}

/// Number of ways to be consumed.
pub const CONSUMED: usize = 4;

impl Consumed {
    /// All ways.
    pub const ALL: [Self; CONSUMED] = [Self::Stun, Self::Dtls, Self::Rtcp, Self::Probe];

    /// The name in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stun => "stun",
            Self::Dtls => "dtls",
            Self::Rtcp => "rtcp",
            Self::Probe => "probe",
        }
    }
}

/// Why something that peers say beside their media was not listened to. The datagram that brought it is none the worse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// More transport-wide feedback in one datagram than anybody has to give.
    FeedbackFlood,
    /// Transport-wide feedback on a transport whose packets are not numbered.
    FeedbackUnasked,
    /// More key-frame requests in one datagram than are answered.
    RequestFlood,
    /// A template structure of dependency descriptors, where they change more often than any encoder does.
    StructureFlood,
}

/// Number of these reasons.
pub const REFUSALS: usize = 4;

impl Refusal {
    /// All reasons.
    pub const ALL: [Self; REFUSALS] = [
        Self::FeedbackFlood,
        Self::FeedbackUnasked,
        Self::RequestFlood,
        Self::StructureFlood,
    ];

    /// The name in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::FeedbackFlood => "feedback_flood",
            Self::FeedbackUnasked => "feedback_unasked",
            Self::RequestFlood => "request_flood",
            Self::StructureFlood => "structure_flood",
        }
    }
}

/// Flow through one stage. `packets_in + made = packets_out + consumed + dropped + held` at every moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StageCells {
    /// Times the stage ran over a batch.
    pub calls: u64,
    /// Packets that came from the stage before.
    pub packets_in: u64,
    /// Packets that the stage added: copies, retransmissions, our own messages.
    pub made: u64,
    /// Packets given to the next stage.
    pub packets_out: u64,
    /// Packets that were for the engine itself.
    pub consumed: u64,
    /// Packets waiting inside the stage now.
    pub held: u64,
    /// What the stage took, in the unit of [`Config::cycles`](crate::api::Config::cycles).
    pub cycles: u64,
}

/// Upper bounds of the buckets of [`Latency`], in nanoseconds.
pub const LATENCY_BOUNDS: [u64; 16] = [
    10_000, 20_000, 30_000, 40_000, 60_000, 80_000, 100_000, 150_000, 250_000, 500_000, 1_000_000,
    2_500_000, 5_000_000, 10_000_000, 25_000_000, 50_000_000,
];

/// How long packets stayed in the node: from the kernel's stamp at arrival until the last copy was handed to the kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Latency {
    /// Packets by the first of [`LATENCY_BOUNDS`] that they kept to; the last entry counts those that kept to none.
    pub buckets: [u64; LATENCY_BOUNDS.len() + 1],
    /// All of them together, in nanoseconds.
    pub sum: u64,
}

impl Latency {
    pub(crate) fn record(&mut self, nanos: u64) {
        let bucket = LATENCY_BOUNDS.partition_point(|bound| *bound < nanos);
        self.buckets[bucket] += 1;
        self.sum += nanos;
    }
}

/// Everything that the engine counts.
#[derive(Clone, Debug, Default)]
pub struct Stats {
    /// Flow, by [`Stage`].
    pub stages: [StageCells; STAGES],
    /// Drops, by stage and reason.
    pub drops: DropTable,
    /// Datagrams for the engine itself, by [`Consumed`].
    pub consumed: [u64; CONSUMED],
    /// What peers say beside their media and nobody listens to, by [`Refusal`].
    pub refusals: [u64; REFUSALS],
    /// Datagrams, by [`Direction`] and [`PacketKind`].
    pub packets: [[u64; KINDS]; 2],
    /// Bytes of those datagrams.
    pub bytes: [[u64; KINDS]; 2],
    /// Sequence numbers that publishers were asked to send again.
    pub nacks_sent: u64,
    /// Sequence numbers that subscribers asked for again.
    pub nacks_received: u64,
    /// Retransmissions sent to subscribers.
    pub retransmissions_sent: u64,
    /// Packets sent to subscribers once more, only to find out what the way to them carries.
    pub probes_sent: u64,
    /// Retransmissions from publishers that filled a gap.
    pub retransmissions_received: u64,
    /// Requests of subscribers that found no packet in the cache, or none left in the budget.
    pub retransmissions_refused: u64,
    /// Key frames that subscribers asked for (PLI and FIR).
    pub key_frame_requests_received: u64,
    /// Key frames that publishers were asked for.
    pub key_frame_requests_sent: u64,
    /// Key frames that arrived.
    pub key_frames_received: u64,
    /// Transport-wide feedback messages sent.
    pub transport_feedback_sent: u64,
    /// REMB messages sent.
    pub remb_sent: u64,
    /// Transports that wait for a first check.
    pub transports_new: u64,
    /// Transports with a proven address and without keys.
    pub transports_connecting: u64,
    /// Transports with keys.
    pub transports_connected: u64,
    /// Publishers.
    pub publishers: u64,
    /// Subscribers.
    pub subscribers: u64,
    /// Encodings.
    pub encodings: u64,
    /// Packets in the cache.
    pub cache_packets: u64,
    /// Streams that other workers get from here, once for each of them.
    pub taps_out: u64,
    /// Streams that come from other workers.
    pub taps_in: u64,
    /// Key frames that other workers asked us for.
    pub key_frame_wishes_received: u64,
    /// Key frames that we asked other workers for.
    pub key_frame_wishes_sent: u64,
    /// What following orders took, in the unit of [`StageCells::cycles`].
    pub order_cycles: u64,
    /// Forwarded packets, each once however many copies there were.
    pub latency: Latency,
    /// Bytes of padding that made packets of pictures equal.
    pub padding_bytes: u64,
    /// Packets of sound that got lost on their way here and were found repeated in others (RFC 2198).
    pub sound_recovered: u64,
}

impl Stats {
    /// The cells of `stage`.
    pub fn stage(&self, stage: Stage) -> &StageCells {
        &self.stages[stage as usize]
    }

    /// The first stage whose packets do not add up, with the difference: there must be none.
    pub fn unbalanced(&self) -> Option<(Stage, i128)> {
        let stages = Stage::ALL.into_iter();
        let mut differences = stages.map(|stage| (stage, self.difference(stage)));
        differences.find(|(_, difference)| *difference != 0)
    }

    /// How many packets do not add up, over all stages: none.
    pub fn unbalanced_packets(&self) -> u64 {
        let differences = Stage::ALL.map(|stage| self.difference(stage).unsigned_abs());
        u64::try_from(differences.iter().sum::<u128>()).unwrap_or(u64::MAX)
    }

    fn difference(&self, stage: Stage) -> i128 {
        let cells = self.stage(stage);
        let came = i128::from(cells.packets_in) + i128::from(cells.made);
        let went = i128::from(cells.packets_out)
            + i128::from(cells.consumed)
            + i128::from(self.drops.at(stage))
            + i128::from(cells.held);
        came - went
    }

    pub(crate) fn stage_mut(&mut self, stage: Stage) -> &mut StageCells {
        &mut self.stages[stage as usize]
    }

    /// The gauge of transports that are so far.
    pub(crate) fn transports(&mut self, state: State) -> &mut u64 {
        match state {
            State::New => &mut self.transports_new,
            State::Connecting => &mut self.transports_connecting,
            State::Connected => &mut self.transports_connected,
        }
    }

    pub(crate) fn drop_at(&mut self, stage: Stage, reason: DropReason) {
        self.drops.count(stage, reason);
    }

    pub(crate) fn drop_many(&mut self, stage: Stage, reason: DropReason, packets: u64) {
        self.drops.0[stage as usize][reason as usize] += packets;
    }

    pub(crate) fn consume(&mut self, stage: Stage, what: Consumed) {
        self.stage_mut(stage).consumed += 1;
        self.consumed[what as usize] += 1;
    }

    pub(crate) fn refuse(&mut self, what: Refusal, times: u64) {
        self.refusals[what as usize] += times;
    }

    pub(crate) fn datagram(&mut self, direction: Direction, kind: PacketKind, bytes: usize) {
        self.datagrams(direction, kind, 1, bytes as u64);
    }

    pub(crate) fn datagrams(
        &mut self,
        direction: Direction,
        kind: PacketKind,
        packets: u64,
        bytes: u64,
    ) {
        self.packets[direction as usize][kind as usize] += packets;
        self.bytes[direction as usize][kind as usize] += bytes;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_packet_is_noticed() {
        let mut stats = Stats::default();
        stats.stage_mut(Stage::Route).packets_in = 3;
        stats.stage_mut(Stage::Route).packets_out = 2;
        assert_eq!(stats.unbalanced(), Some((Stage::Route, 1)));
        assert_eq!(stats.unbalanced_packets(), 1);
        stats.drop_at(Stage::Route, DropReason::NoSubscriber);
        assert_eq!(stats.unbalanced(), None);
    }

    #[test]
    fn latencies_fall_into_their_buckets() {
        let mut latency = Latency::default();
        for nanos in [1, 10_000, 10_001, 60_000, 50_000_000, 50_000_001] {
            latency.record(nanos);
        }
        assert_eq!(latency.buckets[..2], [2, 1]);
        assert_eq!(latency.buckets[4], 1);
        assert_eq!(latency.buckets[15..], [1, 1]);
        assert_eq!(latency.sum, 100_080_003);
    }

    #[test]
    fn names_are_listed_in_order() {
        assert!(
            PacketKind::ALL
                .iter()
                .enumerate()
                .all(|(index, kind)| *kind as usize == index)
        );
        assert!(
            Consumed::ALL
                .iter()
                .enumerate()
                .all(|(index, kind)| *kind as usize == index)
        );
        assert!(
            Refusal::ALL
                .iter()
                .enumerate()
                .all(|(index, reason)| *reason as usize == index)
        );
        assert_eq!(Direction::ALL.map(Direction::as_str), ["in", "out"]);
    }
}
