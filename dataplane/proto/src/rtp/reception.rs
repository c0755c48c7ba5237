use clock::{Duration, Instant, NtpTime};

use crate::rtcp::ReportBlock;

/// A step of the transit time beyond this is a stall or a restart of the source, and no jitter.
const MAX_TRANSIT_STEP_SECONDS: u32 = 5;
/// Cumulative loss is a signed 24-bit number (RFC 3550 §6.4.1).
const LOST_RANGE: (i64, i64) = (-0x80_0000, 0x7f_ffff);
/// How far back a duplicate is told from a late packet.
const HISTORY: u64 = 128;

/// Statistics of a received RTP stream, as reception reports carry them (RFC 3550 §6.4.1, §A.3, §A.8).
///
/// There is no probation (§A.1): SRTP has authenticated every packet that gets here.
#[derive(Clone, Debug)]
pub struct Reception {
    clock_rate: u32,
    first: Option<u64>,
    /// The cycle of the packet that came first; cycles are counted from it.
    first_cycle: u64,
    highest: u64,
    /// Which of the `HISTORY` numbers up to `highest` came; bit 0 is `highest`.
    history: u128,
    received: u64,
    duplicates: u64,
    expected_before: u64,
    received_before: u64,
    transit: Option<u32>,
    /// Sixteen times the jitter, as RFC 3550 §A.8 keeps it.
    jitter_scaled: u32,
    sender_report: Option<(u32, Instant)>,
}

impl Reception {
    /// Of an RTP stream with `clock_rate` in Hz.
    pub const fn new(clock_rate: u32) -> Self {
        Self {
            clock_rate,
            first: None,
            first_cycle: 0,
            highest: 0,
            history: 0,
            received: 0,
            duplicates: 0,
            expected_before: 0,
            received_before: 0,
            transit: None,
            jitter_scaled: 0,
            sender_report: None,
        }
    }

    /// Counts a packet with the extended `sequence` ([`super::Unwrapper`]).
    ///
    /// Retransmissions are not counted: they came in another RTP stream, and a report speaks of the path (RFC 4588 §5.1).
    pub fn on_packet(&mut self, sequence: u64, timestamp: u32, arrival: Instant) {
        self.received = self.received.saturating_add(1);
        if self.first.is_none() {
            self.highest = sequence;
            self.first_cycle = sequence & !0xffff;
        }
        let first = self.first.unwrap_or(sequence).min(sequence);
        self.first = Some(first);
        self.note(sequence);
        self.update_jitter(timestamp, arrival);
    }

    /// Notes a sender report of this RTP stream, for the round trip (RFC 3550 §6.4.1).
    pub fn on_sender_report(&mut self, ntp: NtpTime, arrival: Instant) {
        self.sender_report = Some((ntp.middle_bits(), arrival));
    }

    /// The report block about `ssrc`, and the beginning of the next interval. `None` before the first packet.
    pub fn report(&mut self, ssrc: u32, now: Instant) -> Option<ReportBlock> {
        self.first?;
        let expected = self.expected();
        let expected_now = expected.saturating_sub(self.expected_before);
        let received_now = self.received.saturating_sub(self.received_before);
        self.expected_before = expected;
        self.received_before = self.received;
        let (last_sender_report, delay) = match self.sender_report {
            Some((ntp, arrival)) => (ntp, in_65536ths(now.saturating_since(arrival))),
            None => (0, 0),
        };
        Some(ReportBlock {
            ssrc,
            fraction_lost: fraction_lost(expected_now, received_now),
            cumulative_lost: self.cumulative_lost(),
            extended_highest_sequence: self.extended_highest(),
            jitter: self.jitter(),
            last_sender_report,
            delay_since_last_sender_report: delay,
        })
    }

    /// How many packets should have come by the sequence numbers.
    pub fn expected(&self) -> u64 {
        let first = self.first.map(|first| self.highest.saturating_sub(first));
        first.map_or(0, |span| span.saturating_add(1))
    }

    /// How many packets came, duplicates included.
    pub const fn received(&self) -> u64 {
        self.received
    }

    /// How many packets came again, as far back as 128 packets tell.
    pub const fn duplicates(&self) -> u64 {
        self.duplicates
    }

    /// Packets missing since the beginning; negative if duplicates outnumber them (RFC 3550 §6.4.1).
    pub fn cumulative_lost(&self) -> i32 {
        let lost = self
            .expected()
            .cast_signed()
            .saturating_sub(self.received.cast_signed());
        lost.clamp(LOST_RANGE.0, LOST_RANGE.1) as i32
    }

    /// Mean deviation of the transit time, in units of the clock rate.
    pub const fn jitter(&self) -> u32 {
        self.jitter_scaled >> 4
    }

    /// The highest number, with the count of cycles above it. The cycle that `Unwrapper` adds is taken off.
    fn extended_highest(&self) -> u32 {
        self.highest.wrapping_sub(self.first_cycle) as u32
    }

    fn note(&mut self, sequence: u64) {
        if sequence > self.highest {
            let step = u32::try_from(sequence.saturating_sub(self.highest)).unwrap_or(u32::MAX);
            self.history = self.history.checked_shl(step).unwrap_or(0);
            self.highest = sequence;
        }
        let behind = self.highest.saturating_sub(sequence);
        if behind >= HISTORY {
            return;
        }
        let bit = 1_u128.rotate_left(behind as u32);
        if self.history & bit != 0 {
            self.duplicates = self.duplicates.saturating_add(1);
        }
        self.history |= bit;
    }

    /// RFC 3550 §A.8, in integers.
    fn update_jitter(&mut self, timestamp: u32, arrival: Instant) {
        let ticks = u128::from(arrival.as_nanos()).saturating_mul(u128::from(self.clock_rate))
            / 1_000_000_000;
        let transit = (ticks as u32).wrapping_sub(timestamp);
        if let Some(before) = self.transit {
            let step = transit.wrapping_sub(before).cast_signed().unsigned_abs();
            if step <= self.clock_rate.saturating_mul(MAX_TRANSIT_STEP_SECONDS) {
                let decay = self.jitter_scaled.saturating_add(8) >> 4;
                self.jitter_scaled = self
                    .jitter_scaled
                    .saturating_add(step)
                    .saturating_sub(decay);
            }
        }
        self.transit = Some(transit);
    }
}

/// Lost packets of an interval in 256ths; duplicates may make it negative, which counts as none (RFC 3550 §A.3).
fn fraction_lost(expected: u64, received: u64) -> u8 {
    let lost = expected.saturating_sub(received);
    let fraction = lost.saturating_mul(256).checked_div(expected);
    u8::try_from(fraction.unwrap_or(0)).unwrap_or(u8::MAX)
}

/// The unit of DLSR: 1/65536 s.
pub(crate) fn in_65536ths(duration: Duration) -> u32 {
    let ticks = duration.as_nanos().saturating_mul(65_536) / 1_000_000_000;
    u32::try_from(ticks).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(millis: u64) -> Instant {
        Instant::from_millis(millis)
    }

    #[test]
    fn counts_loss_and_interval() {
        let mut reception = Reception::new(90_000);
        assert_eq!(reception.report(1, at(0)), None);
        for sequence in [65536, 65537, 65539, 65541] {
            reception.on_packet(sequence, 0, at(0));
        }
        let report = reception.report(7, at(0)).unwrap();
        assert_eq!(report.ssrc, 7);
        assert_eq!(report.cumulative_lost, 2);
        assert_eq!(report.fraction_lost, (2 * 256 / 6) as u8);
        assert_eq!(report.extended_highest_sequence, 5);
        assert_eq!(
            (
                report.last_sender_report,
                report.delay_since_last_sender_report
            ),
            (0, 0)
        );
        reception.on_packet(65542, 0, at(0));
        assert_eq!(reception.report(7, at(0)).unwrap().fraction_lost, 0);
        // Everything of the next interval is lost but its last packet.
        reception.on_packet(66542, 0, at(0));
        let report = reception.report(7, at(0)).unwrap();
        assert_eq!(report.fraction_lost, 255);
    }

    #[test]
    fn cycles_are_counted_above_the_sequence_number() {
        let mut reception = Reception::new(48_000);
        reception.on_packet(65536 + 65535, 0, at(0));
        reception.on_packet(65536 * 2 + 1, 0, at(0));
        let report = reception.report(1, at(0)).unwrap();
        assert_eq!(report.extended_highest_sequence, 0x0001_0001);
    }

    #[test]
    fn duplicates_make_the_loss_negative_but_not_the_fraction() {
        let mut reception = Reception::new(48_000);
        for _ in 0..3 {
            reception.on_packet(70_000, 0, at(0));
        }
        assert_eq!(reception.duplicates(), 2);
        let report = reception.report(1, at(0)).unwrap();
        assert_eq!((report.cumulative_lost, report.fraction_lost), (-2, 0));
    }

    #[test]
    fn loss_is_clamped_to_24_bits() {
        let mut reception = Reception::new(48_000);
        reception.on_packet(0, 0, at(0));
        reception.on_packet(1 << 30, 0, at(0));
        assert_eq!(reception.cumulative_lost(), 0x7f_ffff);
    }

    #[test]
    fn steady_arrival_has_no_jitter_and_a_late_packet_a_sixteenth_of_its_delay() {
        let mut reception = Reception::new(90_000);
        for frame in 0..20_u64 {
            reception.on_packet(frame, (frame * 900) as u32, at(frame * 10));
        }
        assert_eq!(reception.jitter(), 0);
        // 16 ms late: 1440 units, a sixteenth of which is 90.
        reception.on_packet(20, 20 * 900, at(216));
        assert_eq!(reception.jitter(), 90);
        let before = reception.jitter();
        reception.on_packet(21, 21 * 900, at(60_000));
        assert_eq!(reception.jitter(), before);
    }

    #[test]
    fn the_delay_since_a_sender_report_is_in_65536ths() {
        let mut reception = Reception::new(90_000);
        reception.on_packet(1, 0, at(0));
        reception.on_sender_report(NtpTime::from_bits(0x1122_3344_5566_7788), at(1000));
        let report = reception.report(1, at(2500)).unwrap();
        assert_eq!(report.last_sender_report, 0x3344_5566);
        assert_eq!(report.delay_since_last_sender_report, 98_304);
    }

    proptest! {
        #[test]
        fn any_input_keeps_the_sums(packets in prop::collection::vec((any::<u64>(), any::<u32>(), any::<u64>()), 1..50)) {
            let mut reception = Reception::new(90_000);
            for &(sequence, timestamp, nanos) in &packets {
                reception.on_packet(sequence, timestamp, Instant::from_nanos(nanos));
            }
            let low = packets.iter().map(|p| p.0).min().unwrap();
            let high = packets.iter().map(|p| p.0).max().unwrap();
            prop_assert_eq!(reception.expected(), (high - low).saturating_add(1));
            prop_assert_eq!(reception.received(), packets.len() as u64);
            prop_assert!(reception.report(1, Instant::ZERO).is_some());
        }
    }
}
