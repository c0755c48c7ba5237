use std::fmt;
use std::time::Duration;

use hdrhistogram::Histogram;

/// The longest latency that is told apart, in nanoseconds.
const LATENCY_MAX_NS: u64 = 60_000_000_000;
/// The longest join that is told apart, in microseconds.
const JOIN_MAX_US: u64 = 600_000_000;
/// Runs of so many packets or more count as one kind.
pub const RUN_LENGTHS: usize = 17;

/// What a fleet has done since its start. All but the gauges only grow: a measurement is the difference of two.
#[derive(Clone)]
pub struct Counters {
    /// Media packets that publishers sent, retransmissions not included.
    pub published_packets: u64,
    /// Payload bytes of those UDP datagrams.
    pub published_bytes: u64,
    /// Frames that publishers left out because they were far behind: the generator is overloaded.
    pub skipped_frames: u64,
    /// Key frames that publishers made because they were asked to.
    pub key_frames_asked: u64,
    /// Retransmissions by publishers.
    pub published_retransmissions: u64,

    /// Copies that subscribers should have got, by the RTP sequence numbers. Zero in a sampled fleet.
    pub expected: u64,
    /// Copies of those that came, each counted once. Zero in a sampled fleet.
    pub delivered: u64,
    /// Copies of those that came as retransmissions only.
    pub recovered: u64,
    /// Copies that came again.
    pub duplicates: u64,
    /// Copies that came too late to tell whether they had come before.
    pub late: u64,
    /// RTP packets that subscribers received, of every kind.
    pub received_packets: u64,
    /// Payload bytes of those UDP datagrams.
    pub received_bytes: u64,
    /// Packets of an SSRC that nobody announced.
    pub unknown_ssrc: u64,

    /// Packets that were authenticated, decrypted and compared with what was published.
    pub samples: u64,
    /// Samples, and RTCP packets, that were not authentic.
    pub unauthentic: u64,
    /// Samples whose payload was not what was published.
    pub wrong_payloads: u64,
    /// What was wrong first, in words.
    pub first_wrong: Option<String>,
    /// From the sending of a sampled packet by its publisher to its arrival in the kernel at the subscriber, nanoseconds.
    pub latency: Histogram<u64>,
    /// How many packets of one peer came in a row: element *n* counts the runs of *n* packets, the last of more too.
    pub runs: [u64; RUN_LENGTHS],

    /// Packets that subscribers asked for again, each request counted (RFC 4585 §6.2.1).
    pub nacks: u64,
    /// Picture loss indications (RFC 4585 §6.3.1).
    pub plis: u64,
    /// Receiver and sender reports (RFC 3550 §6.4).
    pub reports: u64,
    /// Transport-wide feedback packets.
    pub feedback: u64,

    /// Peers that became connected.
    pub joined: u64,
    /// Viewers of whom all transports became connected, as far as [`super::Fleet::newcomer`] was told of them.
    pub viewers: u64,
    /// From the start of ICE to usable SRTP keys, microseconds.
    pub join: Histogram<u64>,
    /// From the start of ICE to the first media packet of a subscriber, microseconds.
    pub first_packet: Histogram<u64>,
    /// From the request for a token to the first media packet of a subscriber, microseconds.
    pub whole_join: Histogram<u64>,
    /// Peers whose ICE found nobody, or lost consent (RFC 7675).
    pub ice_failures: u64,
    /// Peers whose DTLS handshake failed.
    pub dtls_failures: u64,

    /// Gauge: peers there are.
    pub peers: u64,
    /// Gauge: peers that are connected.
    pub connected: u64,
    /// Gauge: subscribers there are.
    pub subscribers: u64,
    /// Gauge: of these, subscribers of whom a packet was checked since [`super::Fleet::begin_checks`].
    pub looked_into: u64,
    /// Gauge: RTP streams of connected subscribers that got nothing for more than a second while their publisher sent.
    pub silent: u64,

    /// Datagrams that belong to no peer, or that none of its protocols understands.
    pub stray: u64,
    /// Datagrams that the kernel dropped because a receive queue of the fleet was full: the generator is overloaded.
    pub kernel_drops: u64,
    /// Datagrams that could not be sent.
    pub send_failures: u64,
    /// System calls for media.
    pub system_calls: u64,
    /// Processor time of the media threads.
    pub cpu: Duration,
}

impl Counters {
    /// Nothing has happened yet.
    pub fn new() -> Self {
        Self {
            published_packets: 0,
            published_bytes: 0,
            skipped_frames: 0,
            key_frames_asked: 0,
            published_retransmissions: 0,
            expected: 0,
            delivered: 0,
            recovered: 0,
            duplicates: 0,
            late: 0,
            received_packets: 0,
            received_bytes: 0,
            unknown_ssrc: 0,
            samples: 0,
            unauthentic: 0,
            wrong_payloads: 0,
            first_wrong: None,
            latency: histogram(LATENCY_MAX_NS),
            runs: [0; RUN_LENGTHS],
            nacks: 0,
            plis: 0,
            reports: 0,
            feedback: 0,
            joined: 0,
            viewers: 0,
            join: histogram(JOIN_MAX_US),
            first_packet: histogram(JOIN_MAX_US),
            whole_join: histogram(JOIN_MAX_US),
            ice_failures: 0,
            dtls_failures: 0,
            peers: 0,
            connected: 0,
            subscribers: 0,
            looked_into: 0,
            silent: 0,
            stray: 0,
            kernel_drops: 0,
            send_failures: 0,
            system_calls: 0,
            cpu: Duration::ZERO,
        }
    }

    /// Copies that should have come and did not, up to now. Those on their way count too.
    pub fn lost(&self) -> u64 {
        self.expected.saturating_sub(self.delivered)
    }

    /// What happened after `earlier`. Gauges keep their value of now.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let mut difference = self.clone();
        difference.combine(earlier, u64::saturating_sub);
        for (mine, before) in [
            (&mut difference.latency, &earlier.latency),
            (&mut difference.join, &earlier.join),
            (&mut difference.first_packet, &earlier.first_packet),
            (&mut difference.whole_join, &earlier.whole_join),
        ] {
            // An earlier histogram of the same series has no count that the later one lacks.
            let _ = mine.subtract(before);
        }
        if earlier.first_wrong.is_some() {
            difference.first_wrong = None;
        }
        difference.cpu = self.cpu.saturating_sub(earlier.cpu);
        difference.peers = self.peers;
        difference.connected = self.connected;
        difference.subscribers = self.subscribers;
        difference.looked_into = self.looked_into;
        difference.silent = self.silent;
        difference
    }

    /// Adds what another thread has done.
    pub(super) fn add(&mut self, other: &Self) {
        self.combine(other, u64::saturating_add);
        for (mine, theirs) in [
            (&mut self.latency, &other.latency),
            (&mut self.join, &other.join),
            (&mut self.first_packet, &other.first_packet),
            (&mut self.whole_join, &other.whole_join),
        ] {
            // Both were made with the same bounds.
            let _ = mine.add(theirs);
        }
        if self.first_wrong.is_none() {
            self.first_wrong.clone_from(&other.first_wrong);
        }
        self.cpu += other.cpu;
    }

    fn combine(&mut self, other: &Self, with: fn(u64, u64) -> u64) {
        for (mine, theirs) in [
            (&mut self.published_packets, other.published_packets),
            (&mut self.published_bytes, other.published_bytes),
            (&mut self.skipped_frames, other.skipped_frames),
            (&mut self.key_frames_asked, other.key_frames_asked),
            (
                &mut self.published_retransmissions,
                other.published_retransmissions,
            ),
            (&mut self.expected, other.expected),
            (&mut self.delivered, other.delivered),
            (&mut self.recovered, other.recovered),
            (&mut self.duplicates, other.duplicates),
            (&mut self.late, other.late),
            (&mut self.received_packets, other.received_packets),
            (&mut self.received_bytes, other.received_bytes),
            (&mut self.unknown_ssrc, other.unknown_ssrc),
            (&mut self.samples, other.samples),
            (&mut self.unauthentic, other.unauthentic),
            (&mut self.wrong_payloads, other.wrong_payloads),
            (&mut self.nacks, other.nacks),
            (&mut self.plis, other.plis),
            (&mut self.reports, other.reports),
            (&mut self.feedback, other.feedback),
            (&mut self.joined, other.joined),
            (&mut self.viewers, other.viewers),
            (&mut self.ice_failures, other.ice_failures),
            (&mut self.dtls_failures, other.dtls_failures),
            (&mut self.peers, other.peers),
            (&mut self.connected, other.connected),
            (&mut self.subscribers, other.subscribers),
            (&mut self.looked_into, other.looked_into),
            (&mut self.silent, other.silent),
            (&mut self.stray, other.stray),
            (&mut self.kernel_drops, other.kernel_drops),
            (&mut self.send_failures, other.send_failures),
            (&mut self.system_calls, other.system_calls),
        ] {
            *mine = with(*mine, theirs);
        }
        for (mine, theirs) in self.runs.iter_mut().zip(other.runs) {
            *mine = with(*mine, theirs);
        }
    }
}

/// One line with what tells good from bad.
impl fmt::Debug for Counters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Counters")
            .field("peers", &(self.connected, self.peers))
            .field("failures", &(self.ice_failures, self.dtls_failures))
            .field("published", &self.published_packets)
            .field("expected", &self.expected)
            .field("delivered", &self.delivered)
            .field("recovered", &self.recovered)
            .field("received", &self.received_packets)
            .field("samples", &self.samples)
            .field("unauthentic", &self.unauthentic)
            .field("wrong", &(self.wrong_payloads, &self.first_wrong))
            .field("silent", &self.silent)
            .field("asked", &(self.nacks, self.plis))
            .field("reports", &(self.reports, self.feedback))
            .field(
                "overload",
                &(self.kernel_drops, self.skipped_frames, self.send_failures),
            )
            .finish_non_exhaustive()
    }
}

impl Default for Counters {
    fn default() -> Self {
        Self::new()
    }
}

fn histogram(max: u64) -> Histogram<u64> {
    Histogram::new_with_bounds(1, max, 3).expect("the bounds are in order")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_is_what_happened_in_between() {
        let mut earlier = Counters::new();
        earlier.delivered = 10;
        earlier.latency.record(5).unwrap();
        earlier.connected = 3;
        let mut later = earlier.clone();
        later.add(&earlier);
        assert_eq!((later.delivered, later.latency.len()), (20, 2));
        later.expected = 12;
        later.runs[4] = 2;
        let between = later.since(&earlier);
        assert_eq!((between.delivered, between.expected), (10, 12));
        assert_eq!((between.lost(), between.runs[4]), (2, 2));
        assert_eq!(between.latency.len(), 1);
        assert_eq!(between.connected, 6, "a gauge is no difference");
    }
}
